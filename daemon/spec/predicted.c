/* Guesses that follow a pattern: run at once, confirmed by nobody. */
#include "daemon/spec/table.h"

enum bc_err spec_predict(struct spec *spec, const struct spec_call *call,
			 const struct guess *premise, bool next_turn, bool *ret)
{
	struct guess *guess;
	enum bc_err err;

	BC_CHECK(spec, SPEC_MAGIC);
	*ret = false;
	err = table_add_read(spec, call, &guess);
	if (err != BC_OK || guess == NULL) {
		return err;
	}
	guess->predicted = true;
	guess->trigger = next_turn ? SPEC_TRIGGER_PREFETCH : SPEC_TRIGGER_PATTERN;
	guess->since = spec->pass_count;
	guess->premises = premise == NULL ? 0 : guess_bit(premise);
	guess->rests_on = guess->premises;
	guess->depth = premise == NULL ? 0 : premise->depth + 1;
	*ret = true;
	return BC_OK;
}
