/* Guesses that a reasoner has named: they stand until it withdraws them, and no pass judges them. */
#include "daemon/spec/table.h"

enum bc_err spec_reason_names(struct spec *spec, const struct spec_call *call, bc_usec horizon)
{
	struct guess *guess;
	enum bc_err err;

	BC_CHECK(spec, SPEC_MAGIC);
	err = table_add_read(spec, call, &guess);
	if (err != BC_OK || guess == NULL) {
		return err;
	}
	guess->reasoned = true;
	guess->trigger = SPEC_TRIGGER_REASONER;
	guess->named_in_row = 1;
	guess->horizon = horizon;
	return BC_OK;
}

void spec_reason_withdraws(struct spec *spec, const struct spec_call *call)
{
	struct guess *guess = table_find(spec, call);

	if (guess != NULL && guess->reasoned) {
		spec_withdraw(spec, guess);
	}
}

void spec_reason_keeps(struct spec *spec, uint64_t turn, bc_usec horizon)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->reasoned && guess->turn == turn && horizon > guess->horizon) {
			guess->named_in_row++;
			guess->horizon = horizon;
		}
	}
}

/* The guess that stands for a call it has named, if its result can be put in now; NULL: there is none. */
static struct guess *in_hand(struct spec *spec, const struct spec_call *call)
{
	struct guess *guess = table_find(spec, call);

	return guess != NULL && guess->state == GUESS_DONE && !guess->overtaken &&
			       guess->tool->effect == CFG_EFFECT_READ &&
			       guess->turn == spec->turn && guess->dispatched >= call->fresh_since
		       ? guess
		       : NULL;
}

static uint32_t premises_of(struct guess *const guesses[], unsigned count, uint32_t needs)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < count; i++) {
		mask |= (needs >> i & 1) != 0 ? guess_bit(guesses[i]) : 0;
	}
	return mask;
}

static unsigned depth_of(struct guess *const guesses[], unsigned count, uint32_t needs)
{
	unsigned depth = 0;

	for (unsigned i = 0; i < count; i++) {
		if ((needs >> i & 1) != 0 && depth <= guesses[i]->depth) {
			depth = guesses[i]->depth + 1;
		}
	}
	return depth;
}

bool spec_reason_confirms(struct spec *spec, const struct spec_reasoned *calls, unsigned count,
			  bc_usec horizon, bool exact)
{
	struct guess *guesses[SPEC_GUESSES_MAX];

	BC_CHECK(spec, SPEC_MAGIC);
	BC_BUG_ON(count > SPEC_GUESSES_MAX);
	for (unsigned i = 0; i < count; i++) {
		guesses[i] = in_hand(spec, &calls[i].call);
		if (guesses[i] == NULL) {
			return false;
		}
	}
	for (unsigned i = 0; i < count; i++) {
		struct guess *guess = guesses[i];

		guess->pass = spec->pass_count + 1; /* as if one over the whole turn had named it */
		guess->place = i;
		guess->horizon = horizon;
		guess->exact = exact;
		guess->known =
			premises_of(guesses, count, UINT32_MAX); /* one mind has named them all */
		guess->premises = premises_of(guesses, count, calls[i].needs);
		guess->depth =
			depth_of(guesses, i, calls[i].needs); /* it needs earlier ones only */
	}
	return count > 0;
}

void spec_reason_doubts(struct spec *spec)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		guess->pass = guess->turn == spec->turn ? 0 : guess->pass;
	}
}
