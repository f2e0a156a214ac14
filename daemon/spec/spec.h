/*
 * Deciding what to guess in one session: when a pass may start, which of its proposals are stable enough to be
 * run, and which guess a real call of the provider takes.  Decides only: it starts no tool and sends no event.
 *
 * Words: a pass is a model inference that looks for tool calls without being shown to the client; a proposal is a call
 * it names; a guess is a proposal that was handed out to be run.
 *
 * Invariants:
 *   G1  A guess belongs to one turn, tool, canonical arguments and occurrence; no two guesses share all four.
 *   G2  A guess is taken by at most one real call.
 *   G3  Only tools of class read that are not third_party, and valid arguments, become proposals.
 *   G4  Nothing here is started or finished by the wall clock: positions are stream time, counted in samples.
 */
#ifndef BACKCHANNEL_SPEC_SPEC_H
#define BACKCHANNEL_SPEC_SPEC_H

#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"
#include "daemon/tools/tool.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct cfg_tool;

#define SPEC_GUESSES_MAX 32 /* proposals and guesses of one turn kept at once */

enum guess_state {
#define STATE(id, name) GUESS_##id,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/spec/guess_fsm.def"
	/* must be last */
	GUESS_STATE__COUNT
};

enum guess_event {
#define STATE(id, name)
#define EVENT(id, name) GUESS_EV_##id,
#define EDGE(from, on, to)
#include "daemon/spec/guess_fsm.def"
	/* must be last */
	GUESS_EVENT__COUNT
};

const char *guess_state_name(enum guess_state state);
const char *guess_event_name(enum guess_event event);

/* Where an event leads; GUESS_STATE__COUNT: the pair has no edge.  Pure. */
enum guess_state guess_next(enum guess_state from, enum guess_event on);

/* Owned by struct spec.  Read by anyone; state is written by guess_move() only. */
struct guess {
	TAILQ_ENTRY(guess) link;
	uint32_t magic;
	enum guess_state state;
	const struct cfg_tool *tool;
	char *arguments; /* canonical JSON */
	unsigned
		occurrence; /* how many equal calls the pass that named it first had named before */
	uint64_t turn;      /* it was named in */
	bool named;         /* by the running pass, which proves nothing before its end */
	uint64_t pass;      /* number of the last valid pass that named it; 0: none yet */
	unsigned named_in_row;  /* valid passes in a row that named it */
	bc_usec horizon;        /* stream time of the end of what the last of them had heard */
	struct tool_call *call; /* the session's handle, from dispatch on; NULL before */
	bc_usec dispatched;     /* monotonic time of the dispatch */
};

struct spec_conf {
	bc_usec interval;    /* stream time between two passes of a turn */
	bc_usec stable_for;  /* stream time */
	bc_usec speech_max;  /* unbroken speech after which no pass starts */
	unsigned passes_max; /* per turn */
	unsigned calls_max;  /* guesses running at once */
};

struct spec;

/* NULL when out of memory. */
struct spec *spec_new(const struct spec_conf *conf);
struct spec *spec_free(struct spec *spec); /* every guess must have been dropped or taken */

/* The caller's input begins a new turn: passes are counted anew.  turn numbers grow. */
void spec_turn_begin(struct spec *spec, uint64_t turn);

/* The provider has committed the turn: what a pass over all of it named is stable at once. */
void spec_turn_commit(struct spec *spec);

/* What the detector and the transcript say; all in stream time. */
void spec_heard(struct spec *spec, bc_usec position, bc_usec last_voiced);
void spec_speech(struct spec *spec, bc_usec position, bool speech);

/*
 * Whether a pass may start now: one at a time, at most passes_max a turn, interval apart, not after speech_max, not
 * after the commit.
 */
bool spec_pass_may_start(const struct spec *spec);

/* A pass over the running turn that has heard the input up to horizon starts; returns its number (> 0). */
uint64_t spec_pass_begin(struct spec *spec, bc_usec horizon);

/* Whether the running pass heard everything that was said up to now: no voiced sample follows its horizon. */
bool spec_pass_is_complete(const struct spec *spec);

/*
 * The running pass names a call.  arguments is canonical JSON, copied.  A tool that may not be guessed (G3) is
 * ignored.  BC_E_LIMIT: more than SPEC_GUESSES_MAX in the turn, BC_E_NOMEM: the proposal is dropped.
 */
enum bc_err spec_pass_names(struct spec *spec, const struct cfg_tool *tool,
			    const char *arguments) BC_MUST;

/*
 * The running pass has ended; valid is false when it failed or was cancelled, and its proposals count for nothing.
 * A valid pass withdraws what it did not name again, except guesses that have finished (the pass was given their
 * results) and calls that were taken.
 */
void spec_pass_end(struct spec *spec, bool valid);
bool spec_pass_is_running(const struct spec *spec);

/* The next proposal that is stable now and may be run, or NULL.  The caller starts it and calls spec_dispatched(). */
struct guess *spec_next_stable(struct spec *spec);
void spec_dispatched(struct spec *spec, struct guess *guess, struct tool_call *call, bc_usec now);

/* The call of a guess has its result. */
void spec_finished(struct spec *spec, struct guess *guess);

/* The next guess that was withdrawn while it ran or after it had finished, or NULL; the caller cancels its call and
 * calls spec_drop(). */
struct guess *spec_next_withdrawn(struct spec *spec);

/* A real call of the provider. */
struct spec_call {
	const struct cfg_tool *tool;
	const char *arguments; /* canonical JSON */
	unsigned occurrence;   /* equal calls of the turn before it */
	uint64_t turn;         /* the call belongs to */
	bc_usec fresh_since; /* monotonic: guesses dispatched before this are too old and are withdrawn */
};

/*
 * The guess that stands for a real call, running or finished, or NULL; one that is too old or was not run yet is
 * withdrawn, because the real call will be run.  A taken guess leaves the table: its tool call belongs to the session
 * now, and the guess is freed with spec_drop().
 */
struct guess *spec_take(struct spec *spec, const struct spec_call *call);

/* Withdraw one guess that could not be run. */
void spec_withdraw(struct spec *spec, struct guess *guess);

/* Free a guess that was taken or withdrawn. */
void spec_drop(struct spec *spec, struct guess *guess);

/* Withdraw everything that nobody has taken and that belongs to a turn up to turn. */
void spec_withdraw_all(struct spec *spec, uint64_t turn);

/* Whether a tool reads or changes this. */
bool spec_has_tag(const struct cfg_tool *tool, const char *tag);

/* Withdraw what reads a tag that an effect changes. */
void spec_withdraw_tag(struct spec *spec, const char *tag);

/* Calls each() for every guess of the running turn whose result is there, oldest first: the pairs a pass is given. */
void spec_each_finished(struct spec *spec, void (*each)(void *arg, const struct guess *guess),
			void *arg);

#endif
