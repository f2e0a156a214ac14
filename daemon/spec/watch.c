/* What is only watched: guesses that are not to be run, or not to be made real by a verdict, and all of them. */
#include "daemon/spec/table.h"

void spec_watch_only(struct spec *spec, bool watch)
{
	BC_CHECK(spec, SPEC_MAGIC);
	spec->watch_only = watch;
}

void spec_refuse(struct spec *spec, struct guess *guess)
{
	BC_CHECK(spec, SPEC_MAGIC);
	BC_BUG_ON(guess->state != GUESS_PROPOSED);
	guess->refused = true;
}

struct guess *spec_next_unasked(struct spec *spec)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		/* A read that is not run is in no verdict anyway. */
		if (guess->state == GUESS_PROPOSED && guess->turn == spec->turn &&
		    guess->pass != 0 && !guess->asked && guess->tool->effect != CFG_EFFECT_READ) {
			return guess;
		}
	}
	return NULL;
}

void spec_answered(struct spec *spec, struct guess *guess, bool release)
{
	BC_CHECK(spec, SPEC_MAGIC);
	guess->asked = true;
	guess->refused = guess->refused || !release;
	guess->watched = guess->watched || !release;
}
