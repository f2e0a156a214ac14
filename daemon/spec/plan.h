/*
 * The calls a reasoner has named in one turn.  Ids are the model's; an argument may be the result of an earlier call, so
 * the calls depend on each other, without cycles.  Decides only: it runs nothing.
 *
 * Invariants:
 *   N1  A call that is DONE is never changed; it is removed only if it is a read, whose result is then dropped.
 *   N2  Whatever needs the result of a call that is changed or removed is removed with it, and the model is told.  Of that,
 *       only an effect that is DONE stays.
 *   N3  A call is NAMED with arguments that fit its tool's schema, in canonical form.
 */
#ifndef BACKCHANNEL_SPEC_PLAN_H
#define BACKCHANNEL_SPEC_PLAN_H

#include "daemon/base/buf.h"
#include "proto/agent/parser.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define PLAN_CALLS_MAX   32   /* of one turn, withdrawn ones too */
#define PLAN_TROUBLE_MAX 1024 /* bytes of what is wrong with a call, for the model */

struct cfg_tool;

enum misstep {
	MISSTEP_NONE = 0,
#define MISSTEP(id, name, text) MISSTEP_##id,
#include "daemon/spec/misstep.def"
	/* must be last */
	MISSTEP__COUNT
};

enum plan_state {
#define STATE(id, name) PLAN_##id,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/spec/plan_fsm.def"
	/* must be last */
	PLAN_STATE__COUNT
};

enum plan_event {
#define STATE(id, name)
#define EVENT(id, name) PLAN_EV_##id,
#define EDGE(from, on, to)
#include "daemon/spec/plan_fsm.def"
	/* must be last */
	PLAN_EVENT__COUNT
};

/* Owned by its plan.  Read by anyone; state is written by plan_move() only. */
struct plan_call {
	TAILQ_ENTRY(plan_call) link; /* in the order of their ids */
	enum plan_state state;
	unsigned id;
	const struct cfg_tool *tool;
	json_t *issued;                     /* its arguments, operands in them */
	unsigned needs[AGENT_OPERANDS_MAX]; /* ids, rising */
	size_t needs_n;
	char *arguments;     /* NAMED and DONE: canonical JSON; else NULL */
	unsigned occurrence; /* of equal calls that were NAMED before it */
	int64_t mark;        /* what the owner's mark was when it was issued */
	json_t *result;      /* DONE */
	bool chained;        /* it was NAMED by a result, not by a step of the model */
	bool untold;         /* REMOVED, and the model does not know, or waits to hear that it is */
	bool disowned;       /* the model has tried to change it since, in vain */
	enum misstep misstep; /* with untold: why, if that was the model's mistake */
	char *trouble;        /* … and what it was in particular; NULL: nothing to add */
};

/* What a plan wants from its owner; called from inside its functions, none of which may be called from there. */
struct plan_ops {
	/*
	 * A call has its arguments.  What it returns is the output of that call, if an equal one of the turn has it already;
	 * ptr NULL: it is yet to come, by plan_result().
	 */
	struct bc_span (*named)(void *arg, const struct plan_call *call);
	/* A NAMED call is withdrawn or changed, or a DONE one withdrawn; its arguments are still the old ones. */
	void (*dropped)(void *arg, const struct plan_call *call);
	/* A call has its result. */
	void (*finished)(void *arg, const struct plan_call *call, struct bc_span output);
};

TAILQ_HEAD(plan_calls, plan_call);

struct plan {
	struct plan_calls calls;
	unsigned count;
	const struct plan_ops *ops;
	void *arg;
};

const char *plan_state_name(enum plan_state state);

void plan_init(struct plan *plan, const struct plan_ops *ops, void *arg);

/* Forget all calls, without a word to the owner; ids begin anew. */
void plan_clear(struct plan *plan);

/*
 * The model issues a call, maybe of an id issued before.  An equal one changes nothing.  tool NULL: there is none of that
 * name.  reterr_trouble, initialised by the caller, says what is wrong in particular when the result is not MISSTEP_NONE; the
 * plan is unchanged then, but a call of that id does not count in plan_outcome() any more, unless it is issued as it was.
 * Out of memory is MISSTEP_PLAN_FULL.
 */
enum misstep plan_issue(struct plan *plan, const struct agent_call *issued,
			const struct cfg_tool *tool, int64_t mark,
			struct bc_buf *reterr_trouble) BC_MUST;

/*
 * The model withdraws a call: MISSTEP_NONE, UNKNOWN_CALL or, of an effect that is DONE, LATE_EDIT.  tell: it is told that this
 * has happened, and so has another step; it is told in any case that a call that was DONE is no more.
 */
enum misstep plan_remove(struct plan *plan, unsigned id, bool tell) BC_MUST;

/* Name every call whose operands are there.  To be called when a step's calls have been issued. */
void plan_advance(struct plan *plan);

/* Whether a NAMED call equals this one. */
bool plan_has(const struct plan *plan, const struct cfg_tool *tool, const char *arguments);

/* A call has been run, by whomever: the first NAMED one that equals it is DONE, and what waited for it goes on. */
void plan_result(struct plan *plan, const struct cfg_tool *tool, const char *arguments,
		 struct bc_span output);

/* A NAMED call was given up by others: it is REMOVED, and what needs it. */
void plan_lost(struct plan *plan, const struct cfg_tool *tool, const char *arguments);

/* The next call that was removed without the model's knowledge; it counts as told.  NULL: none.  Valid until the plan changes. */
const struct plan_call *plan_next_untold(struct plan *plan);

/*
 * What the plan has come to: its calls that were not removed, in the order of their ids, if each is a read that is DONE and
 * that the model has not tried to change since.  Fills ret_calls, returns how many; 0: one of them is not, or there is none.
 * Valid until the plan changes.
 */
unsigned plan_outcome(const struct plan *plan, const struct plan_call *ret_calls[PLAN_CALLS_MAX]);

/* Whether any call still has its result to come. */
bool plan_is_pending(const struct plan *plan);

#endif
