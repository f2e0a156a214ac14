/* What callers want: drawn before anything runs, so that it is the same with and without speculation. */
#include "tests/sim/world.h"

#include <string.h>

/* Chance of its own, apart from that of the run. */
static uint64_t state;

static unsigned pick(unsigned n)
{
	state = sim_hash(state, 7, 11);
	return (unsigned)(state % n);
}

static struct sim_wish wish(unsigned caller, unsigned turn, unsigned segment, unsigned number)
{
	static const enum sim_tool often[] = {SIM_LOOK, SIM_PEEK, SIM_SET,  SIM_SET, SIM_PUT,
					      SIM_FLIP, SIM_FLIP, SIM_BOOK, SIM_BUY, SIM_LOOK};

	return (struct sim_wish){.tool = often[pick(BC_ARRAY_LEN(often))],
				 .n = caller * 20000 + (turn + 1) * 2000 + segment * 200 +
				      number * 20,
				 .step = number > 0 && pick(3) == 0};
}

/* The next segment keeps, corrects, adds or takes away. */
static void mean(struct sim_turn *turn, unsigned caller, unsigned number, unsigned segment)
{
	struct sim_version *meant = &turn->meant[segment];
	unsigned kind = pick(6);

	if (segment > 0) {
		*meant = turn->meant[segment - 1];
	}
	if (kind == 0) {
		return;
	}
	if (kind == 1 && meant->count > 0) {
		meant->count--;
	} else if (kind <= 3 && meant->count > 0) {
		unsigned at = pick(meant->count);
		unsigned step = meant->wishes[at].step;

		meant->wishes[at] = wish(caller, number, segment, at);
		meant->wishes[at].step = step;
	} else if (meant->count < SIM_WISHES_MAX) {
		meant->wishes[meant->count] = wish(caller, number, segment, meant->count);
		meant->count++;
	}
}

void script_write(struct sim_script *script, unsigned caller)
{
	memset(script, 0, sizeof(*script));
	state = sim_hash(sim.seed, caller, 3);
	script->count = 1 + pick(SIM_TURNS_MAX);
	for (unsigned i = 0; i < script->count; i++) {
		struct sim_turn *turn = &script->turns[i];

		turn->segments = 1 + pick(SIM_SEGMENTS_MAX);
		turn->barge = pick(3) == 0;
		turn->pause = (bc_usec)pick(2500) * SIM_MS;
		for (unsigned k = 0; k < turn->segments; k++) {
			turn->voiced[k] = 4 + pick(10);
			turn->silent[k] = 3 + pick(7);
			mean(turn, caller, i, k);
		}
	}
}

const struct sim_version *script_final(const struct sim_turn *turn)
{
	return &turn->meant[turn->segments - 1];
}
