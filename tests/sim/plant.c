/* Link-time wrappers: chance in place of noise, and bugs that are put in to see the checker find them. */
#include "tests/sim/world.h"

#include "daemon/spec/spec.h"

#include <string.h>

void __wrap_bc_random(void *bytes, size_t len);
struct guess *__wrap_spec_take(struct spec *spec, const struct spec_call *call);
struct guess *__real_spec_take(struct spec *spec, const struct spec_call *call);
void __wrap_spec_withdraw_tag(struct spec *spec, const char *tag);
void __real_spec_withdraw_tag(struct spec *spec, const char *tag);

void __wrap_bc_random(void *bytes, size_t len)
{
	uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++) {
		/* A stream of its own: some of it is asked for once in the life of the program. */
		at[i] = (uint8_t)sim_hash(sim.seed, ++sim.noise, 5);
	}
}

struct guess *__wrap_spec_take(struct spec *spec, const struct spec_call *call)
{
	return sim.plant == PLANT_LOST_JOIN ? NULL : __real_spec_take(spec, call);
}

void __wrap_spec_withdraw_tag(struct spec *spec, const char *tag)
{
	if (sim.plant != PLANT_STALE_READ) {
		__real_spec_withdraw_tag(spec, tag);
	}
}
