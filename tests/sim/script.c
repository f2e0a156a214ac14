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

/* Whether calls follow from results.  A reasoner names such calls before the results are there. */
static bool follows(void)
{
	return variant_has(sim.profile.variant, SIM_FOLLOWS) ||
	       (sim.profile.tagged && sim.seed / 2 % 2 == 0);
}

/* What follows from that call, asked for in place of something new. */
static struct sim_wish follow(const struct sim_wish *from, unsigned n, unsigned step)
{
	return (struct sim_wish){
		.tool = sim_kinds[from->tool].tag == 0 ? SIM_LOOK : SIM_PEEK, .n = n, .step = step};
}

/* A call that does not follow from another; what follows from it is told by its result. */
static bool leads(const struct sim_wish *wish)
{
	return wish->n % 20 == 0 && wish->tool < SIM_GATEWAY_TOOLS;
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

/* One more; some follow from what was wished for before it. */
static struct sim_wish new_wish(const struct sim_version *meant, const struct sim_version *before,
				unsigned caller, unsigned turn, unsigned segment)
{
	unsigned variant = sim.profile.variant;
	unsigned at = meant->count;

	if (follows() && at > 0 && leads(&meant->wishes[at - 1]) && pick(3) > 0) {
		return follow(&meant->wishes[at - 1], SIM_NEXT(meant->wishes[at - 1].n), 1);
	}
	if (follows() && at == 0 && before != NULL && before->count > 0 &&
	    leads(&before->wishes[0]) && pick(2) == 0) {
		return follow(&before->wishes[0], SIM_THEN(before->wishes[0].n), 0);
	}
	if (variant_has(variant, SIM_CLIENT_TOOLS) && pick(3) == 0) {
		struct sim_wish asked = wish(caller, turn, segment, at);

		asked.tool = SIM_ASK;
		return asked;
	}
	if (follows() && pick(4) > 0) {
		struct sim_wish usual = wish(caller, turn, segment, at);

		/* A pattern is what was seen more than once. */
		usual.tool = sim.seed % 2 == 0 ? SIM_LOOK : SIM_SET;
		usual.step = 0;
		return usual;
	}
	return wish(caller, turn, segment, at);
}

/* The next segment keeps, corrects, adds or takes away. */
static void mean(struct sim_turn *turn, unsigned caller, unsigned number, unsigned segment)
{
	struct sim_version *meant = &turn->meant[segment];
	const struct sim_version *before = number > 0 ? script_final(turn - 1) : NULL;
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
		meant->wishes[meant->count] = new_wish(meant, before, caller, number, segment);
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
		turn->typed = sim.profile.tagged && sim_hash(sim.seed, caller * 8 + i, 47) % 3 == 0;
		turn->told = sim.profile.tagged && sim_hash(sim.seed, caller * 8 + i, 59) % 2 == 0;
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

unsigned script_marker(const struct sim_script *script, unsigned turn)
{
	unsigned marker = 0;

	for (unsigned i = 0; i < turn; i++) {
		marker += script->turns[i].segments;
	}
	return marker;
}

const struct sim_turn *script_segment(const struct sim_script *script, unsigned marker,
				      unsigned *ret_turn, unsigned *ret_segment)
{
	for (unsigned i = 0; i < script->count; i++) {
		if (marker < script->turns[i].segments) {
			*ret_turn = i;
			*ret_segment = marker;
			return &script->turns[i];
		}
		marker -= script->turns[i].segments;
	}
	return NULL;
}
