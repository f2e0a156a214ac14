/*
 * A session in a scripted world: the test says what the client and the provider send and what tools return, and looks at
 * what reached either side.  No socket, no clock, no journal.
 */
#ifndef BACKCHANNEL_TESTS_SESSION_RIG_H
#define BACKCHANNEL_TESTS_SESSION_RIG_H

#include "daemon/session/session.h"
#include "daemon/spec/admission.h"
#include "daemon/spec/pattern.h"

#include <jansson.h>
#include <stdbool.h>

#define RIG_MESSAGES_MAX 512
#define RIG_RUNS_MAX     64

/* A tool run the session asked for. */
struct rig_run {
	const struct cfg_tool *tool;
	char *arguments;
	uint64_t turn;
	bool speculative;
	bool withhold;
	bool (*may_start)(void *arg);
	tool_done_fn *done;
	void *arg;
	bool committed;
	bool cancelled;
	bool finished;
	int settled; /* enum jrn_settlement, -1: not yet */
	struct tool_result result;
	char *output;
};

struct rig {
	struct cfg *cfg;
	struct toolset *tools;
	struct sess *sess;
	bc_usec now;
	char *sent[2][RIG_MESSAGES_MAX]; /* to each side, in order */
	unsigned count[2];
	unsigned seen[2]; /* looked at by rig_next() */
	struct rig_run runs[RIG_RUNS_MAX];
	unsigned run_count;
	bc_usec timers[SESS_TIMER__COUNT]; /* when they fire; -1: not running */
	bool reading[2];
	bool pressure[2];  /* what send reports */
	int close_code[2]; /* -1: not closed */
	bool ended;
	unsigned changes;              /* tags the session said it has changed */
	char changed[64];              /* the last of them */
	size_t charged;                /* bytes the client was charged for */
	bool over_quota;               /* what charge reports */
	bool full;                     /* no tool can be run */
	json_t *reasoned;              /* what the reasoner was asked last; owned */
	unsigned reasons;              /* how often it was asked */
	bool reasoning;                /* it has not answered */
	bool mindless;                 /* it cannot be asked */
	int32_t noticed[TRAIT__COUNT]; /* of the provider, last; TRAIT_UNKNOWN: not */
	struct patterns *patterns;     /* predict; the test's own; NULL: nothing is predicted */
	struct pattern_trail *trail;   /* likewise */
	unsigned warmed;               /* tools whose servers were to be warmed up */
	struct admission *admission;   /* judges guesses; the test's own; NULL: all are granted */
};

/* The sessions of rigs to come are recorded here, from its beginning; NULL: they are not.  out outlives them. */
void rig_record(struct bc_buf *out);

/* A session with this configuration text; the provider is connected when open is set. */
void rig_init(struct rig *rig, const char *toml, bool open);
void rig_fini(struct rig *rig);

/* The provider or the client says this (printf); apostrophes stand for quotes. */
void rig_up(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rig_client(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The next message that reached a side, parsed; the test fails when its type is another one.  Owned by the caller. */
json_t *rig_next(struct rig *rig, enum sess_side side, const char *type);

/* As rig_next(), without looking closer. */
void rig_expect(struct rig *rig, enum sess_side side, const char *type);

/* Nothing (more) has reached a side. */
void rig_silent(struct rig *rig, enum sess_side side);

/* A member of a parsed event by dotted path, as text; "" when absent. */
const char *rig_string(const json_t *event, const char *path);

/*
 * The journal has recorded the intent of an effect: whether the session still lets it start.  Where it does not, the run
 * is told that it was cancelled.
 */
bool rig_start(struct rig *rig, unsigned run);

/* A tool run ends well with this output. */
void rig_finish(struct rig *rig, unsigned run, const char *output);

/* Its server refuses the request with this HTTP status. */
void rig_refuse(struct rig *rig, unsigned run, int status);

/* It ends otherwise. */
void rig_fail(struct rig *rig, unsigned run, enum tool_outcome outcome);

/* The reasoner, which must have been asked, says a piece of its generation; its generation comes to its end. */
void rig_reason_says(struct rig *rig, const char *text);
void rig_reason_ends(struct rig *rig);

/* Time passes; timers that are due fire. */
void rig_wait(struct rig *rig, bc_usec delay);

#endif
