/* Link-time wrappers: chance in place of noise, and bugs that are put in to see the checker find them. */
#include "tests/sim/world.h"

#include "daemon/spec/plan.h"
#include "daemon/spec/spec.h"

#include <string.h>

#define SECRET_SIZE 32 /* of the tickets; nothing else asks for so much */

void __wrap_bc_random(void *bytes, size_t len);
struct guess *__wrap_spec_take(struct spec *spec, const struct spec_call *call);
struct guess *__real_spec_take(struct spec *spec, const struct spec_call *call);
void __wrap_spec_withdraw_tag(struct spec *spec, const char *tag);
void __real_spec_withdraw_tag(struct spec *spec, const char *tag);
enum misstep __wrap_plan_remove(struct plan *plan, unsigned id, bool tell);
enum misstep __real_plan_remove(struct plan *plan, unsigned id, bool tell);
bool __wrap_spec_reason_confirms(struct spec *spec, const struct spec_reasoned *calls,
				 unsigned count, bc_usec horizon, bool exact);
bool __real_spec_reason_confirms(struct spec *spec, const struct spec_reasoned *calls,
				 unsigned count, bc_usec horizon, bool exact);

void __wrap_bc_random(void *bytes, size_t len)
{
	uint8_t *at = bytes;
	bool once = !sim.plain && len == SECRET_SIZE;

	for (size_t i = 0; i < len; i++) {
		/* A stream of its own: some of it is asked for once in the life of the program, and moves nothing. */
		at[i] = (uint8_t)sim_hash(sim.seed, once ? i : ++sim.noise, once ? 6 : 5);
	}
}

struct likeness {
	const struct spec_call *call;
	const struct guess *guess; /* of the same tool, with other arguments; NULL: there is none */
};

static void compare(void *arg, const struct guess *guess)
{
	struct likeness *likeness = arg;

	if (guess->tool == likeness->call->tool &&
	    strcmp(guess->arguments, likeness->call->arguments) != 0) {
		likeness->guess = guess;
	}
}

struct guess *__wrap_spec_take(struct spec *spec, const struct spec_call *call)
{
	struct likeness likeness = {.call = call};
	struct spec_call other = *call;

	if (sim.plant == PLANT_LOST_JOIN) {
		return NULL;
	}
	if (sim.plant == PLANT_WRONG_EQUALITY) {
		(void)spec_each_finished(spec, false, compare, &likeness);
	}
	if (likeness.guess != NULL) {
		other.arguments = likeness.guess->arguments;
		other.occurrence = likeness.guess->occurrence;
		other.turn = likeness.guess->turn;
	}
	return __real_spec_take(spec, &other);
}

void __wrap_spec_withdraw_tag(struct spec *spec, const char *tag)
{
	if (sim.plant != PLANT_STALE_READ) {
		__real_spec_withdraw_tag(spec, tag);
	}
}

enum misstep __wrap_plan_remove(struct plan *plan, unsigned id, bool tell)
{
	return sim.plant == PLANT_DEAF_REMOVE ? MISSTEP_NONE : __real_plan_remove(plan, id, tell);
}

bool __wrap_spec_reason_confirms(struct spec *spec, const struct spec_reasoned *calls,
				 unsigned count, bc_usec horizon, bool exact)
{
	return __real_spec_reason_confirms(spec, calls, count, horizon,
					   exact || sim.plant == PLANT_TRUSTED_EARS);
}
