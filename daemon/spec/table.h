/* What the files of daemon/spec share: the table of guesses and the passes of one session. */
#ifndef BACKCHANNEL_SPEC_TABLE_H
#define BACKCHANNEL_SPEC_TABLE_H

#include "daemon/spec/guess.h"

#include "daemon/config/config.h"

#define SPEC_MAGIC 0x73706563u

TAILQ_HEAD(guess_list, guess);

/* One pass that has no end yet. */
struct spec_pass {
	uint64_t number; /* 0: the place is free */
	uint64_t turn;   /* it is about */
	bc_usec began;
	bc_usec horizon; /* end of what was voiced of what it heard */
	uint32_t
		premises; /* guesses whose results it was given, less those that became real since */
	uint32_t given; /* likewise with those, and with all that was real or gone when it began */
	unsigned depth; /* steps of calls that stand before what it names */
	unsigned named; /* calls it has named so far */
	enum spec_trigger trigger;
	bool exact;
	bool followup; /* it began behind the commit, and knows all that is in the conversation */
	bool void_premise; /* a guess it was given turned out wrong */
	bool beyond;       /* it named something the gateway cannot put in by itself */
	bool blind;        /* a call became real that it neither was given nor has named */
};

/* What a pass that has ended knew, and what it has said. */
struct spec_said {
	uint64_t number; /* 0: there is none */
	bc_usec began;
	uint32_t given;
	uint32_t known; /* guesses it was given or has named */
};

struct spec {
	uint32_t magic;
	unsigned pass_running; /* passes that have no end yet */
	/* of the running turn and, until they are missed, of the last one */
	struct guess_list guesses;
	unsigned guess_count;
	uint32_t slots;   /* bits in use */
	unsigned running; /* guesses in state RUNNING */
	struct spec_conf conf;
	uint64_t turn;
	bool committed; /* the running turn */
	bool complete;  /* its input, as far as is known */
	bool watch_only;
	bool unheard;     /* somebody has heard more of it than the detector, or lost some of it */
	unsigned decided; /* steps of the running turn whose calls are real */

	/* Passes; positions are stream time (G4). */
	struct spec_pass pass[SPEC_PASSES_MAX];
	struct spec_said
		newest; /* of the valid passes that have heard most in this turn, the one begun last */
	uint64_t pass_count;   /* passes ever begun: the last number */
	bc_usec valid_horizon; /* of the valid pass that has heard most in this turn; -1: none yet */
	bc_usec void_horizon; /* no verdict over what was heard up to here, whoever names it; -1: nothing stands in the way */
	bc_usec beyond_horizon; /* likewise, but by a pass of a later follow-up, which knows of what stood in the way */
	uint64_t
		beyond_after; /* passes begun when that was: one at a later follow-up has its own say */
	uint64_t followup_ended; /* the last valid pass of a follow-up */
	bc_usec lost_horizon;    /* of a pass that named a call which was lost since; -1: of none */
	uint64_t lost_after;     /* passes begun when that was lost: a later one has its own say */
	unsigned passes_in_turn; /* but those at pauses */
	unsigned confirms_in_turn;  /* those at pauses */
	unsigned followups_in_turn; /* those at follow-ups, which do not count among the others */
	bc_usec pass_last;          /* position at which the last pass of the turn began */

	/* What was heard. */
	bc_usec position;
	bc_usec last_voiced;
	bc_usec turn_since;   /* begin of the running turn */
	bc_usec speech_since; /* begin of the unbroken speech */
	bc_usec clause_since; /* end of the last clause in it */
	bc_usec end_voiced;   /* last_voiced when the turn's input had ended */
	bool speech;
};

/* The guess that stands for this call and is not withdrawn, or NULL. */
struct guess *table_find(struct spec *spec, const struct spec_call *call);

/* A new proposal; BC_E_LIMIT, BC_E_NOMEM. */
enum bc_err table_add(struct spec *spec, const struct spec_call *call, struct guess **ret) BC_MUST;

/*
 * As table_add() for what no pass has named: *ret is NULL where the call stands in the table already, or is not to be
 * guessed without one, because it is no read, third_party or off.
 */
enum bc_err table_add_read(struct spec *spec, const struct spec_call *call,
			   struct guess **ret) BC_MUST;

/* A guess is wrong, or not needed any more, and so is what rests on it. */
void spec_withdraw(struct spec *spec, struct guess *guess);

/* The mask of the guesses of the running turn that are confirmed, whether it is committed or not. */
uint32_t spec_confirmed(const struct spec *spec);

/* The call of a guess is real from now on, whoever made it so: what was named without knowing it counts for no verdict. */
void verdict_made_real(struct spec *spec, const struct guess *real);

/* Of the effects that were run on a guess and change what tool changes: the next behind that one, NULL: the first. */
struct guess *tag_next_effect(const struct spec *spec, const struct guess *behind,
			      const struct cfg_tool *tool);

/* An effect that was run on a guess is real now: what it read of the same, and nobody has called before it, is outdated. */
void tag_effect_taken(struct spec *spec, const struct guess *effect);

static inline uint32_t guess_bit(const struct guess *guess)
{
	return UINT32_C(1) << guess->slot;
}

/* Whether only a pattern has named it: then a pass is to be free to name it, too. */
static inline bool guess_is_unnamed(const struct guess *guess)
{
	return guess->predicted && guess->pass == 0;
}

#endif
