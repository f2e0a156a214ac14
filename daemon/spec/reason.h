/*
 * A reasoner: a text model that is told what the caller says as it is said, names calls before everything is said, and is
 * told their results the moment they are there.  It speaks the action protocol (proto/agent) over chat completions
 * (proto/chat).  Decides only: it runs no tool and opens no connection.
 *
 * Words: a step is one generation of the model, which ends in one action; an event is something that happened and that the
 * model does not know; a misstep is what it may not do.
 *
 * Invariants:
 *   E1  One generation runs at a time.  An event halts it; what was cut off is closed, the event is told, and the next
 *       generation begins.
 *   E2  A turn has at most steps_max generations, a third of them kept for what follows the final words, and at most
 *       REASON_RESTARTS_MAX after missteps.
 *   E3  Nothing the model says reaches the caller: its answer ends its work on the turn, no more.
 */
#ifndef BACKCHANNEL_SPEC_REASON_H
#define BACKCHANNEL_SPEC_REASON_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"
#include "daemon/spec/plan.h"

#include <stdbool.h>
#include <stdint.h>

#define REASON_RESTARTS_MAX 3 /* per turn, after missteps */

struct cfg_tool;
struct reason;

enum reason_state {
#define STATE(id, name) REASON_##id,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/spec/reason_fsm.def"
	/* must be last */
	REASON_STATE__COUNT
};

enum reason_event {
#define STATE(id, name)
#define EVENT(id, name) REASON_EV_##id,
#define EDGE(from, on, to)
#include "daemon/spec/reason_fsm.def"
	/* must be last */
	REASON_EVENT__COUNT
};

const char *reason_state_name(enum reason_state state);
const char *misstep_name(enum misstep misstep);

/* What a reasoner wants from its session; none of its functions may be called from inside these. */
struct reason_ops {
	/* The tool of that name that the session offers; NULL: none. */
	const struct cfg_tool *(*tool)(void *arg, const char *name);
	/*
	 * Begin a generation: body is a request to /v1/chat/completions; the answer comes by reason_bytes() and reason_ended().
	 * false: not now; it is tried again with the next event.
	 */
	bool (*start)(void *arg, struct bc_span body);
	/* End the running generation: nothing more comes of it. */
	void (*cancel)(void *arg);
	/* As in struct plan_ops. */
	struct bc_span (*named)(void *arg, const struct plan_call *call);
	void (*dropped)(void *arg, const struct plan_call *call);
	/* A step that knew everything up to this mark has ended well: the model stands by all calls that are NAMED. */
	void (*kept)(void *arg, int64_t mark);
};

struct reason_conf {
	const char *model;        /* borrowed, lives as long as the reasoner */
	const char *tokens_field; /* "max_completion_tokens", or as the server calls it; likewise */
	unsigned tokens_max;      /* of one generation */
	unsigned steps_max;       /* of one turn */
	size_t history_max;       /* bytes */
};

/* NULL when out of memory.  No turn is open. */
struct reason *reason_new(const struct reason_conf *conf, const struct reason_ops *ops, void *arg);

/* A generation that runs is cancelled.  Accepts NULL, returns NULL. */
struct reason *reason_free(struct reason *reason);

/* What the model is told before everything else; copied.  BC_E_NOMEM: the old text stays. */
enum bc_err reason_instruct(struct reason *reason, struct bc_span system) BC_MUST;

/*
 * Nothing that the model could still find out about the turn would be used: a generation is cancelled, the plan is
 * forgotten without a word to the owner.
 */
void reason_over(struct reason *reason);

/* A new turn begins, and the last one is over. */
void reason_turn(struct reason *reason);

/*
 * The caller's words of the turn so far; final: there will be no more.  mark, from the owner, grows: how much of the input
 * these words stand for.  Ignored in a turn that has had its final words.
 */
void reason_update(struct reason *reason, struct bc_span words, bool final, int64_t mark);

/* A call of the turn has been run, by whomever. */
void reason_result(struct reason *reason, const struct cfg_tool *tool, const char *arguments,
		   struct bc_span output);

/* A call that was NAMED will not be run, or its result is void. */
void reason_lost(struct reason *reason, const struct cfg_tool *tool, const char *arguments);

/* What was really said to the caller in the turn; the next turn begins with that. */
void reason_said(struct reason *reason, struct bc_span words);

/*
 * What counts as called: the calls of the turn's plan, once the model has had its last words and has then reached its commit
 * point (it has issued an id greater than all before those words, has paused, or has begun an answer), if every one of them is
 * a read that has its result.  Fills ret_calls in the order of their ids, returns how many; 0: nothing does.  Valid until the
 * next call of a function that takes reason.
 */
unsigned reason_verdict(const struct reason *reason,
			const struct plan_call *ret_calls[PLAN_CALLS_MAX]);

/* A piece of the answer to the running generation.  false: the answer is unusable; it was cancelled. */
bool reason_bytes(struct reason *reason, struct bc_span bytes) BC_MUST;

/* The answer is over; complete: its last byte has come.  false: it was no usable answer. */
bool reason_ended(struct reason *reason, bool complete) BC_MUST;

/* What the server says is wrong, after one of the two returned false; "": nothing. */
const char *reason_trouble(const struct reason *reason);

struct reason_report {
	enum reason_state phase;
	bool final; /* the turn's last words have been told */
	bool over;  /* nothing more is asked about the turn */
	unsigned steps;
	unsigned restarts;
	unsigned calls;
};

void reason_report(const struct reason *reason, struct reason_report *ret);

#endif
