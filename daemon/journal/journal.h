/*
 * The journal: what was intended, what came of it, how it was settled; on disk before an effect leaves
 * the process.  Rules J1 to J10; this header makes breaking J1 a compile error: whoever starts a tool needs a
 * struct jrn_ticket, and only the journal makes one.
 *
 * Life of an intent:
 *
 *      jrn_intend            jrn_result               jrn_settle
 *   ------------> INTENDED ------------> DONE -----------------> SETTLED (used, unused, undone, …)
 *                    |                                              ^
 *                    +------------- jrn_settle (never_started, in_doubt, …)
 *
 * One writer thread owns the store and commits in groups; callers are workers, each with a port of its own,
 * and get their answers on their own thread by jrn_port_dispatch().
 */
#ifndef BACKCHANNEL_JOURNAL_JOURNAL_H
#define BACKCHANNEL_JOURNAL_JOURNAL_H

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct jrn;
struct jrn_port;
struct jrn_store_ops; /* journal/store.h: what a store must do; sqlite.c is one */

enum jrn_effect {
	JRN_READ,
	JRN_REVERSIBLE,
	JRN_HOLD
};

/* How sure it is that the intent survives a crash. */
enum jrn_strength {
	JRN_MEMORY,
	JRN_DURABLE
};

enum jrn_settlement {
	JRN_USED, /* the result went into the conversation, or the effect stands although nobody heard of it */
	JRN_UNUSED,           /* a guess nobody asked for: dropped */
	JRN_NEVER_STARTED,    /* intended, but nothing left the process */
	JRN_FAILED,           /* ended in an error that says nothing happened */
	JRN_IN_DOUBT,         /* outcome unknown; open until status or operator resolves it */
	JRN_UNDONE,           /* executed, then undone */
	JRN_SETTLEMENT__COUNT /* must be last */
};

const char *jrn_settlement_name(enum jrn_settlement settlement);

#define JRN_KEY_SIZE 37 /* idempotency key: random UUID text and NUL */

/*
 * Permission to start one call: only the journal makes one (J1).  Copyable, no memory behind it.  A call with
 * an effect needs JRN_DURABLE, a read JRN_MEMORY or better; tool_start() checks.
 */
struct jrn_ticket {
	uint64_t intent; /* number of the intent, unique in the journal, > 0 */
	enum jrn_effect effect;
	enum jrn_strength strength;
	char key[JRN_KEY_SIZE]; /* idempotency key, stable for the intent's life (J6) */
	uint64_t seal;          /* the journal's own check that it made this ticket */
};

/* What is intended.  Spans are copied. */
struct jrn_intent {
	struct bc_span session;   /* id of the session */
	uint64_t turn;            /* number of the turn, from 1; 0: before the first */
	struct bc_span tool;      /* name */
	struct bc_span arguments; /* canonical JSON; secret arguments already replaced */
	struct bc_span tags;      /* comma-separated */
	enum jrn_effect effect;
	bool speculative; /* asked for by a pass, not by the provider's own response */
	bc_usec wall;     /* time, microseconds since the epoch */
};

typedef void jrn_ticket_fn(void *arg, enum bc_err err, const struct jrn_ticket *ticket);
typedef void jrn_done_fn(void *arg, enum bc_err err);

struct jrn_conf {
	const char *path; /* of the store */
	bc_usec retention; /* of settled records, > 0; counted from the newest time the journal was told */
	uint64_t open_max; /* intents without settlement, > 0 */
};

/* What recovery found at start: intents that a crash left open. */
struct jrn_recovery {
	uint64_t reads_open; /* reads without settlement: settled as unused */
	/*
	 * effects intended or done but not settled: listed one by one; now in doubt, or used where the
	 * recorded result leaves no doubt (recover.c has the table)
	 */
	uint64_t effects_open;
};

typedef void jrn_open_fn(void *arg, uint64_t intent, struct bc_span session, struct bc_span tool,
			 enum jrn_effect effect, bool has_result);

/*
 * Open (create, lock, verify, recover) the store and start the writer thread.  each_open is called for every
 * effect that a crash left open, before jrn_open() returns; should we crash in between, the next opening
 * calls it again.  *ret_recovery counts what was found.  BC_E_EXISTS: another process holds the journal
 * (message names it); BC_E_JOURNAL, BC_E_SYSTEM, BC_E_NOMEM: message says what to do.  Blocking; main thread.
 */
enum bc_err jrn_open(const struct jrn_conf *conf, jrn_open_fn *each_open, void *arg,
		     struct jrn_recovery *ret_recovery, struct bc_buf *reterr_message,
		     struct jrn **ret) BC_MUST;

/*
 * Write what is queued, stop the thread, unlock.  All ports must be freed.  Intents still open stay open in
 * the store, for the next opening to judge.  Accepts NULL, returns NULL.
 */
struct jrn *jrn_close(struct jrn *jrn);

/*
 * A worker's connection to the journal.  wake(arg) is called on the writer thread when answers wait; it must
 * only wake the worker, which then calls jrn_port_dispatch(); it is called under the journal's lock and must not call
 * the journal.
 */
enum bc_err jrn_port_new(struct jrn *jrn, void (*wake)(void *arg), void *arg,
			 struct jrn_port **ret) BC_MUST;
/*
 * Outstanding callbacks never run.  What was queued is still written; an effect whose ticket nobody got settles as
 * never_started.  Not from inside a callback.  Accepts NULL, returns NULL.
 */
struct jrn_port *jrn_port_free(struct jrn_port *port);
void jrn_port_dispatch(struct jrn_port *port); /* runs the callbacks of finished requests */

/*
 * Record an intent.
 *
 * For a read the ticket (JRN_MEMORY) is in *ret_ticket at return, the record is queued, and fn is not called (pass
 * NULL): reads never wait for the disk.  For an effect the ticket comes through fn(arg, BC_OK, ticket) once the
 * record is durable; fn(arg, err, NULL) when it is not: BC_E_JOURNAL.
 *
 * Returns BC_OK; BC_E_LIMIT: open_max reached, a record above 16 MiB, or 64 MiB waiting to be written;
 * BC_E_JOURNAL: an earlier sync failed and the journal hands out no more tickets for effects (J8); BC_E_NOMEM.
 * After an error nothing was promised and fn is not called.
 * While the journal has failed, reads still get a ticket; they are counted and not recorded.
 * Port's thread only.  fn is never called from inside this call.
 */
enum bc_err jrn_intend(struct jrn_port *port, const struct jrn_intent *intent,
		       struct jrn_ticket *ret_ticket, jrn_ticket_fn *fn, void *arg) BC_MUST;

/*
 * Record a result before anyone sees it (J2).  For a read the record is queued and fn must be NULL; for an effect
 * fn(arg, err) follows when it is durable.  status: HTTP status, 0: none; output: what the model will get, copied.
 * An intent has one result; a second one, or one after the settlement, aborts.
 *
 * Returns BC_OK; BC_E_LIMIT: too large, or too much is waiting; BC_E_JOURNAL: the journal has failed and this is the
 * result of an effect (that of a read is counted and not recorded); BC_E_NOMEM.  After an error fn is not called, and
 * the intent can still be settled.
 */
enum bc_err jrn_result(struct jrn_port *port, const struct jrn_ticket *ticket, int status,
		       struct bc_span output, bc_usec wall, jrn_done_fn *fn, void *arg) BC_MUST;

/* Record how the intent ended.  Queued; nobody waits.  A ticket settles once; a second time aborts. */
void jrn_settle(struct jrn_port *port, const struct jrn_ticket *ticket, enum jrn_settlement how,
		bc_usec wall);

/* Whether this ticket was made by a journal of this process and permits a call of that effect. */
bool jrn_ticket_permits(const struct jrn_ticket *ticket, enum jrn_effect effect);

/* Whether a sync has failed (J8): no more tickets for effects until a restart.  Any thread. */
bool jrn_has_failed(const struct jrn *jrn);

#endif
