/* Guesses that follow a pattern: run at once, confirmed by nobody. */
#include "daemon/spec/table.h"

enum bc_err spec_predict(struct spec *spec, const struct spec_call *call,
			 const struct guess *premise, bool next_turn, bool *ret)
{
	struct guess *guess;
	enum bc_err err;

	BC_CHECK(spec, SPEC_MAGIC);
	*ret = false;
	if (call->tool->effect != CFG_EFFECT_READ ||
	    call->tool->disclosure == CFG_DISCLOSURE_THIRD_PARTY ||
	    spec_mode_of(&spec->conf, call->tool) == SPEC_OFF || table_find(spec, call) != NULL) {
		return BC_OK;
	}
	err = table_add(spec, call, &guess);
	if (err != BC_OK) {
		return err;
	}
	guess->predicted = true;
	guess->trigger = next_turn ? SPEC_TRIGGER_PREFETCH : SPEC_TRIGGER_PATTERN;
	guess->since = spec->pass_count;
	guess->premises = premise == NULL ? 0 : guess_bit(premise);
	*ret = true;
	return BC_OK;
}
