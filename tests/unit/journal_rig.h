/* What the journal's tests share: a journal in a directory of its own, a port, and waiting for its answers. */
#ifndef BACKCHANNEL_TESTS_JOURNAL_RIG_H
#define BACKCHANNEL_TESTS_JOURNAL_RIG_H

#include "daemon/journal/journal.h"
#include "daemon/journal/store.h"

#include <stdbool.h>

#define RIG_OPENS_MAX 16

struct rig_open {
	uint64_t intent;
	enum jrn_effect effect;
	bool has_result;
};

struct rig {
	char dir[80];
	char path[112];
	struct jrn_conf conf;
	struct jrn *jrn;
	struct jrn_port *port;
	int wake_fd;
	struct jrn_recovery recovery;
	struct rig_open opens[RIG_OPENS_MAX]; /* what recovery reported */
	unsigned open_count;
	char message[512]; /* of the last failed opening */
};

/* The answer to one request. */
struct rig_answer {
	bool here;
	enum bc_err err;
	bool has_ticket;
	struct jrn_ticket ticket;
	void (*hook)(void *arg,
		     const struct jrn_ticket *ticket); /* called inside the callback, may be NULL */
	void *hook_arg;
};

/* The directory of all rigs, by main() before and after the tests: those that abort leave files behind. */
void rig_base_make(void);
void rig_base_remove(void);

void rig_init(struct rig *rig);
enum bc_err rig_open_on(struct rig *rig, const struct jrn_store_ops *ops);
enum bc_err rig_open(struct rig *rig); /* with a port */
void rig_close(struct rig *rig);
void rig_fini(struct rig *rig); /* closes */

/* An intent with usual fields. */
struct jrn_intent rig_intent(const char *tool, enum jrn_effect effect);

void rig_on_ticket(void *arg, enum bc_err err, const struct jrn_ticket *ticket);
void rig_on_done(void *arg, enum bc_err err);
void rig_wait(struct rig *rig, const struct rig_answer *answer); /* until it is here */

struct jrn_ticket rig_read(struct rig *rig, const char *tool);
struct jrn_ticket rig_effect(struct rig *rig, const char *tool, enum jrn_effect effect);
void rig_result(struct rig *rig, const struct jrn_ticket *ticket,
		int status); /* waits, for an effect */

/* What nobody can tell any more: every orphan is settled as in doubt.  Returns how many there were. */
unsigned rig_settle_orphans(struct rig *rig);

/* One number out of the file, by a connection of its own. */
int64_t rig_number(const char *path, const char *sql);

/* Exit status of "verify"; its output goes to text[size] when text is not NULL. */
int rig_verify(const char *path, char *text, size_t size);

#endif
