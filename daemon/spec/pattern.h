/*
 * Which call follows from which: after call A with result r, call B comes with every argument taken from r, from A's own
 * arguments, or always the same; or a call B for each element of a list in r.  Learnt from real calls, of any session, in
 * the same turn or from one turn to the next.  B is a read: nothing else is predicted.  Where an effect of B's
 * turn, behind A, has changed what B reads, a result foretold would have been of no use, so B is nothing that A has led to.
 * Source: PASTE, arXiv 2603.18897.
 *
 * A pattern predicts when it was seen at least PATTERN_SEEN_MIN times and the mean of its Beta posterior (prior 1, 1) is at
 * least one half.  Whether what it predicts is worth running is for others to say.
 *
 * Decides only.  One thread.
 */
#ifndef BACKCHANNEL_SPEC_PATTERN_H
#define BACKCHANNEL_SPEC_PATTERN_H

#include "daemon/base/clock.h"
#include "daemon/base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define PATTERNS_MAX        1024  /* known at once; the one used longest ago is forgotten */
#define PATTERN_TRAIL_MAX   8     /* calls of a session that may be an A */
#define PATTERN_OUTPUT_MAX  16384 /* bytes of r; longer ones are not looked at */
#define PATTERN_GUESSES_MAX 8     /* predicted from one call */
#define PATTERN_SEEN_MIN    2

struct patterns;
struct pattern_trail;

struct patterns *patterns_new(void);                       /* NULL when out of memory */
struct patterns *patterns_free(struct patterns *patterns); /* accepts NULL, returns NULL */

/* The last calls of one session; NULL when out of memory. */
struct pattern_trail *pattern_trail_new(void);
struct pattern_trail *pattern_trail_free(struct pattern_trail *trail);

/* A call that has ended well; nothing of it is kept by reference. */
struct pattern_call {
	const char *tool;
	const char *arguments; /* canonical JSON */
	struct bc_span output;
	uint64_t turn;
	bc_usec started; /* by one clock for all calls of a session */
	bc_usec finished;
	uint64_t tags; /* spec_tag_bits() of its tool */
	bool effect;   /* it changes what has these tags; else it reads that */
};

/* A real call; those of one session in the order in which they were made. */
void pattern_observe(struct patterns *patterns, struct pattern_trail *trail,
		     const struct pattern_call *call);

struct pattern_guess {
	char *tool;
	char *arguments; /* JSON, not yet checked against the tool's schema */
};

/*
 * What follows from a call in its own turn, the surest first.  Fills out, returns how many; the caller frees each with
 * pattern_guess_release().
 */
unsigned pattern_predict(struct patterns *patterns, const struct pattern_call *call,
			 struct pattern_guess out[PATTERN_GUESSES_MAX]);

/* Likewise what follows in this turn, before a word of it is known, from the calls of the turn before. */
unsigned pattern_predict_turn(struct patterns *patterns, const struct pattern_trail *trail,
			      uint64_t turn, struct pattern_guess out[PATTERN_GUESSES_MAX]);

void pattern_guess_release(struct pattern_guess *guess);

/* How many are known. */
unsigned patterns_count(const struct patterns *patterns);

#endif
