/*
 * Deciding what to guess in one session: when a pass may start, which of its proposals are stable enough to be
 * run, which of them a verdict over the whole turn confirms, and which guess a real call of the provider takes.
 * Decides only: it starts no tool and sends no event.
 *
 * Words: a pass is a model inference that looks for tool calls without being shown to the client; a proposal is a call
 * it names; a guess is a proposal, whether it was handed out to be run or not; the premises of a guess are the guesses whose
 * results the pass was given that named it; a guess is confirmed when a pass that has heard the whole turn has named it and
 * its premises are confirmed; the confirmed guesses of a turn are its verdict.
 *
 * Invariants:
 *   G1  A guess belongs to one turn, tool, canonical arguments and occurrence; no two guesses share all four.
 *   G2  A guess is taken by at most one real call.
 *   G3  Before the commit only reads and, where allowed, reversible calls are handed out, never third_party ones; a hold is
 *       handed out by nobody here.
 *   G4  Nothing here is started or finished by the wall clock: positions are stream time, counted in samples.
 *   G5  When a guess is withdrawn, so is every guess that has it for a premise.
 *   G6  A verdict holds nothing that was named by who did not know a call of the turn that is real by now, and no two guesses
 *       unless a pass knew of both.
 */
#ifndef BACKCHANNEL_SPEC_SPEC_H
#define BACKCHANNEL_SPEC_SPEC_H

#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"
#include "daemon/config/config.h"
#include "daemon/tools/tool.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define SPEC_GUESSES_MAX 32 /* proposals and guesses kept at once; one bit each in a mask */
#define SPEC_PASSES_MAX  2  /* running at once */

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

enum spec_trigger {
#define TRIGGER(id, name) SPEC_TRIGGER_##id,
#include "daemon/spec/trigger.def"
	SPEC_TRIGGER__COUNT /* must be last */
};

const char *spec_trigger_name(enum spec_trigger trigger);

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
	char *said; /* as the last pass that named it wrote them; NULL: nothing else than canonical is known */
	unsigned
		occurrence; /* how many equal calls the pass that named it first had named before */
	uint64_t turn;      /* it was named in */
	unsigned slot;      /* its bit in masks of guesses */
	enum spec_trigger trigger; /* what led to it first */
	bool refused;              /* it is not to be run on a guess, only watched */
	bool asked;                /* an effect: whether a verdict may make it real */
	bool watched;              /* no verdict may: the provider's own response has the word */
	bool realised;             /* a real call equals it, and is run itself */
	bool reasoned;             /* a reasoner has named it: passes do not judge it */
	bool predicted;            /* from a pattern: nobody need have named it */
	bool overtaken; /* what it read has changed; it is used in front of the guessed effect only that rested on it */
	bool blind;        /* a call of its turn became real that is not known (below) */
	uint64_t since;    /* predicted: number of the last pass begun before that */
	uint32_t premises; /* guesses it depends on, less those that became real since */
	uint32_t rests_on; /* likewise with those */
	unsigned depth;    /* steps of calls whose results were known to who named it last */
	uint32_t
		known; /* guesses that a pass knew when it named this one: given to it, or named with it */
	unsigned
		named; /* bits of the running passes that have named it, which prove nothing before their end */
	unsigned order[SPEC_PASSES_MAX]; /* its place among what each of them named */
	uint64_t pass;  /* number of the last valid pass that named it; 0: none yet */
	unsigned place; /* among what that pass named */
	unsigned
		named_in_row; /* valid passes that named it, each having heard more than the one before */
	bc_usec horizon; /* stream time of the last voice in what the last of them had heard */
	bool exact;   /* the last of them heard the caller's own input, not a recogniser's words */
	bool forgone; /* it was refused as it was foretold, before a pass named it */
	uint8_t foretold;       /* by this enum spec_trigger; where forgone */
	struct tool_call *call; /* the session's handle, from dispatch on; NULL before */
	bc_usec dispatched;     /* monotonic time of the dispatch */
};

enum spec_mode {
	SPEC_OFF,     /* nothing is guessed */
	SPEC_STRICT,  /* guesses are used by real calls of the provider only */
	SPEC_CONFIRM, /* what a pass over the whole turn names counts as called */
	SPEC_INJECT   /* reads that are in hand at the commit count as called, too */
};

struct spec_conf {
	enum spec_mode mode; /* where neither tool nor session says something */
	enum cfg_guessing
		session;    /* what the session's key and upstream say, the more careful of them */
	bool words;         /* a reasoner, which is told words, names calls in place of passes */
	bool reversible;    /* reversible calls may be guessed, not only reads */
	bc_usec interval;   /* stream time between two passes of a turn, but those at pauses */
	bc_usec stable_for; /* stream time */
	bc_usec growth;     /* stream time of speech after which a pass is due; 0: never */
	bc_usec speech_max; /* speech without pause or end of a clause after which no pass starts */
	unsigned passes_max; /* per turn, and as many again at pauses */
	unsigned calls_max;  /* guesses running at once */
};

struct spec;

/* The more careful of two that may say nothing. */
enum cfg_guessing spec_more_careful(enum cfg_guessing a, enum cfg_guessing b);

/* How guesses of a tool are used under this configuration. */
enum spec_mode spec_mode_of(const struct spec_conf *conf, const struct cfg_tool *tool);

/* NULL when out of memory. */
struct spec *spec_new(const struct spec_conf *conf);
struct spec *spec_free(struct spec *spec); /* every guess must have been dropped or taken */

/* The caller's input begins a new turn: passes are counted anew.  turn numbers grow. */
void spec_turn_begin(struct spec *spec, uint64_t turn);

/*
 * The provider has committed the turn: what a pass over all of it named is stable at once, and so is a read that any pass
 * named, while nothing more is said.
 */
void spec_turn_commit(struct spec *spec);

/* What the detector and the transcript say; all in stream time. */
void spec_heard(struct spec *spec, bc_usec position, bc_usec last_voiced);
void spec_speech(struct spec *spec, bc_usec position, bool speech);
/* A recogniser has heard a clause end while the caller speaks on: speech is unbroken from here on. */
void spec_clause_ended(struct spec *spec);

/*
 * Somebody who can tell says that the running turn's input is complete, or (false) that it goes on.  While it is, it counts
 * as silence, and the same is stable as at a commit.
 */
void spec_input_complete(struct spec *spec, bool complete);

/* Whether a valid pass of the running turn, or one that runs, has heard all input up to now. */
bool spec_has_heard_all(const struct spec *spec);

/* Stream time until a wanted pass may start or a proposal becomes stable by the passing of time alone; -1: never. */
bc_usec spec_wait(const struct spec *spec, bool pass_wanted);

/* When a pass begins. */
enum spec_moment {
	SPEC_IN_SPEECH, /* interval apart, and not after speech_max */
	SPEC_AT_PAUSE, /* the caller is silent: it may be the one that hears the whole turn, and has a count of its own */
	SPEC_AT_RESULT, /* the caller is silent, and a guess has its result: the turn may end before the interval has */
	SPEC_AT_FOLLOWUP /* behind the commit, beside the response that the provider makes of results: it knows as much */
};

/* Whether a pass may start now: a place is free, at most passes_max a turn and moment, before or behind the commit as fits. */
bool spec_pass_may_start(const struct spec *spec, enum spec_moment when);

struct spec_input {
	bc_usec horizon; /* stream time of the end of what it hears; silence at its end does not count */
	uint32_t premises; /* guesses whose results it is given, from spec_each_finished() */
	bool exact;        /* it hears the caller's own input: audio, or typed words */
	enum spec_moment when;
};

/* Whether a pass is running that hears everything that was said, and was given exactly these results. */
bool spec_is_heard(const struct spec *spec, uint32_t premises);

/* Whether the caller has spoken for so long without a pass that one is due. */
bool spec_pass_is_due(const struct spec *spec);

/* Whether there is neither a guess nor a pass. */
bool spec_is_idle(const struct spec *spec);

/* A pass over the running turn starts; returns its number (> 0). */
uint64_t spec_pass_begin(struct spec *spec, const struct spec_input *input);

bool spec_pass_is_running(const struct spec *spec, uint64_t pass);

/* Whether a running pass heard everything that was said up to now: no voiced sample follows its horizon. */
bool spec_pass_is_complete(const struct spec *spec, uint64_t pass);

/*
 * A running pass names a call of a tool of the gateway.  arguments is canonical JSON, said the text the pass wrote, both
 * copied.  BC_E_LIMIT: more than SPEC_GUESSES_MAX, BC_E_NOMEM: the proposal is dropped, and the pass confirms nothing; nor
 * does it where the tool is not to be guessed, which is no error.
 */
enum bc_err spec_pass_names(struct spec *spec, uint64_t number, const struct cfg_tool *tool,
			    const char *arguments, struct bc_span said) BC_MUST;

/* A running pass names what the gateway cannot put in by itself: it confirms nothing. */
void spec_pass_names_other(struct spec *spec, uint64_t number);

/*
 * A running pass has ended; valid is false when it failed or was cancelled, and its proposals count for nothing.
 * A valid pass withdraws what it did not name again although it was not given its result, except dependent calls whose
 * premises it did not know, and calls that were taken.  One that has heard less than a valid one before counts for
 * nothing, too.
 */
void spec_pass_end(struct spec *spec, uint64_t number, bool valid);

/* What was heard so far cannot be confirmed any more, whoever names it: the session's tools or instructions have changed. */
void spec_verdict_void(struct spec *spec);

/* Not all of the running turn was heard here, or the provider has lost some: no pass of a follow-up is made in it. */
void spec_turn_unheard(struct spec *spec);

/* A call of the provider, or one that it may make. */
struct spec_call {
	const struct cfg_tool *tool;
	const char *arguments; /* canonical JSON */
	unsigned occurrence;   /* equal calls of the turn before it */
	uint64_t turn;         /* the call belongs to */
	bc_usec fresh_since; /* monotonic: reads dispatched before this are too old and are withdrawn; an effect that is done stays so */
};

/*
 * So many further steps of the running turn have their calls: the provider named them itself, or a verdict was put in.  What
 * was named for such a step and is not among them only feeds the matcher from now on; both name one intent.  So does what
 * was named for a later step by who did not know all of them (spec_take() tells which are real).
 */
void spec_decided(struct spec *spec, unsigned steps);

/*
 * The provider has made a call of this turn that no guess can stand for: no verdict follows in it, but of a pass begun
 * later at a follow-up, which knows of that call.
 */
void spec_called_other(struct spec *spec, uint64_t turn);

struct spec_named {
	struct guess *guess;
	unsigned level; /* of premises below it; 0: it has none */
};

/*
 * The verdict: the guesses of the running turn that are confirmed, in the order in which they are to be put in: those
 * without premises first, each level in the order in which its pass named it.  Fills out, returns how many; 0 before the
 * commit, when words follow what was confirmed, or when a part of what was named cannot be put in: then the provider's own
 * response decides, as it does when a tool among them is used with SPEC_STRICT.  With SPEC_INJECT finished reads count as
 * confirmed by any pass.  Where a reasoner works, the verdict is what spec_reason_confirms() was told, and words that are not
 * the caller's own need SPEC_INJECT.
 */
unsigned spec_verdict(struct spec *spec, struct spec_named out[SPEC_GUESSES_MAX]);

/*
 * A reasoner, which works in place of passes, names a call of the turn: it stands until it is withdrawn.  arguments is
 * canonical JSON, copied; occurrence counts equal calls it named before; horizon is the stream time up to which it had heard
 * the caller.  A tool that is not a read, or third_party, is ignored.  Errors as of spec_pass_names().
 */
enum bc_err spec_reason_names(struct spec *spec, const struct spec_call *call,
			      bc_usec horizon) BC_MUST;

/* It has withdrawn that call. */
void spec_reason_withdraws(struct spec *spec, const struct spec_call *call);

/* It has heard the caller up to horizon, has had the time to say so, and stands by all its calls of the turn. */
void spec_reason_keeps(struct spec *spec, uint64_t turn, bc_usec horizon);

/* One call of what a reasoner has come to. */
struct spec_reasoned {
	struct spec_call call;
	uint32_t
		needs; /* whose results its arguments are made of: bits, by place among the calls */
};

/*
 * It has heard the whole turn, up to horizon, and these are all the calls it stands by (at most SPEC_GUESSES_MAX).  exact: what it
 * was told are the caller's own words, not a recogniser's.  false, and nothing is confirmed: one of them is not a finished
 * guess, or too old.  Called again with the same it changes nothing.
 */
bool spec_reason_confirms(struct spec *spec, const struct spec_reasoned *calls, unsigned count,
			  bc_usec horizon, bool exact);

/* It does not, or not any more: none of its guesses of the running turn is confirmed. */
void spec_reason_doubts(struct spec *spec);

/*
 * A pattern says that this call follows: from the result of another guess, or (premise NULL) of a real call.  It is stable at
 * once, but confirmed by nobody: a pass must name it, or a real call take it.  A pass begun later that knows what it
 * follows from and does not name it withdraws it, unless it was expected of the words to come (next_turn).  A tool that is
 * no read, third_party or not guessed at all, and a call that is there already, are ignored; *ret tells.  Errors as of
 * spec_pass_names().
 */
enum bc_err spec_predict(struct spec *spec, const struct spec_call *call,
			 const struct guess *premise, bool next_turn, bool *ret) BC_MUST;

/*
 * The next proposal that is stable now and may be run, or NULL.  Of effects that change the same (have a tag in common) one
 * at a time is run on a guess: of two, the first could not be undone once the second had become real (J3).  The caller starts
 * it and calls spec_dispatched().
 */
struct guess *spec_next_stable(struct spec *spec);
void spec_dispatched(struct spec *spec, struct guess *guess, struct tool_call *call, bc_usec now);

/*
 * Whether the running turn is committed and a pass over all of it has named this guess, where that counts as called: then it
 * is run as the real call would be, to a third party and with all its arguments.
 */
bool spec_is_final(const struct spec *spec, const struct guess *guess);

/* Instead: it must not be run.  It stays a proposal, so that its end tells whether it would have been used. */
void spec_refuse(struct spec *spec, struct guess *guess);

/*
 * The next effect that a pass has named and of which nobody has said whether a verdict may make it real, or NULL; the
 * caller says so with spec_answered().
 */
struct guess *spec_next_unasked(struct spec *spec);

/* release false: a verdict that names this guess, whatever its state, leaves the word to the provider's own response. */
void spec_answered(struct spec *spec, struct guess *guess, bool release);

/* Whether passes are only watched: then no verdict comes of them. */
void spec_watch_only(struct spec *spec, bool watch);

/* The call of a guess has its result. */
void spec_finished(struct spec *spec, struct guess *guess);

/* The next guess that was withdrawn while it ran or after it had finished, or NULL; the caller cancels its call and
 * calls spec_drop(). */
struct guess *spec_next_withdrawn(struct spec *spec);

/*
 * The guess that stands for a real call, running or finished, or NULL; one that is too old or was not run yet is
 * withdrawn, because the real call will be run.  No verdict follows in a turn with a real call that nobody has guessed.  A
 * taken guess leaves the table: its tool call belongs to the session now, and the guess is freed with spec_drop().
 */
struct guess *spec_take(struct spec *spec, const struct spec_call *call);

/* As spec_take() for a guess in hand that runs or has finished. */
void spec_take_guess(struct spec *spec, struct guess *guess);

/* A proposal that is run as a real call from now on: withdrawn, but what depends on it is not. */
void spec_realise(struct spec *spec, struct guess *guess);

/* Withdraw reads that have finished longer ago than their tools' results stay fresh: a pass may name them anew. */
void spec_expire(struct spec *spec, bc_usec now);

/*
 * Withdraw one guess that its pass still means and that could not be run: what is left of the verdict that names it is not
 * what the model would say, so it is left to the provider.
 */
void spec_lose(struct spec *spec, struct guess *guess);

/* Free a guess that was taken or withdrawn. */
void spec_drop(struct spec *spec, struct guess *guess);

/* Withdraw everything that nobody has taken and that belongs to a turn up to turn. */
void spec_withdraw_all(struct spec *spec, uint64_t turn);

/* Whether a tool reads or changes what has this tag. */
bool spec_has_tag(const struct cfg_tool *tool, const char *tag);

/* A bit for each tag of a tool; two tags may have the same one. */
uint64_t spec_tag_bits(const struct cfg_tool *tool);

/*
 * Withdraw what reads a tag that an effect changes.  What an effect that was run on a guess and changes that tag rests on was
 * read before that effect, and stays for calls in front of it (overtaken): it goes when an effect with that tag becomes real
 * without it.
 */
void spec_withdraw_tag(struct spec *spec, const char *tag);

/*
 * A real effect of tool is about to start: withdraw the effects that were run on a guess and change the same.  Behind it they
 * could not be undone any more (J3); one that was right is called again, in its order.
 */
void spec_withdraw_effects(struct spec *spec, const struct cfg_tool *tool);

/*
 * Calls each() for every guess of the running turn whose result is there, oldest first: what a pass can be given.  firsts:
 * only those without premises, so that the pass names what follows from them again, and thereby confirms it.  Returns the
 * mask of them.
 */
uint32_t spec_each_finished(struct spec *spec, bool firsts,
			    void (*each)(void *arg, const struct guess *guess), void *arg);

/*
 * Whether a verdict with calls is there or near: something was proposed in the running turn, and a pass that has heard
 * all of it has named it or still runs.  Never with SPEC_STRICT.
 */
bool spec_expects_verdict(const struct spec *spec);

/* Whether a pass that has heard all of the running turn has named a call. */
bool spec_has_named(const struct spec *spec);

#endif
