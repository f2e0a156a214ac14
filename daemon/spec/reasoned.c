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
