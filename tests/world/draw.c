#include "tests/world/draw.h"

#include "daemon/base/digest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Uniform in (0, 1) from the n-th eight bytes of the name's digest. */
static double uniform(const struct draw_key *key, unsigned n)
{
	char name[256];
	struct bc_sha256 digest;
	uint64_t bits = 0;
	int len = snprintf(name, sizeof(name), "%llu|%s|%u|%d|%s", (unsigned long long)key->seed,
			   key->dialogue, key->turn, key->call, key->quantity);

	if (len < 0 || (size_t)len >= sizeof(name)) {
		len = sizeof(name) - 1;
	}
	digest = bc_sha256(bc_span(name, (size_t)len));
	for (unsigned i = 0; i < 8; i++) {
		bits = bits << 8 | digest.bytes[8 * n + i];
	}
	/* 53 bits and a half: never 0, never 1. */
	return ((double)(bits >> 11) + 0.5) / 9007199254740992.0;
}

double draw_uniform(const struct draw_key *key)
{
	return uniform(key, 0);
}

double draw_normal(const struct draw_key *key)
{
	/* Box and Muller. */
	return sqrt(-2.0 * log(uniform(key, 0))) * cos(2.0 * M_PI * uniform(key, 1));
}

double draw_lognormal(const struct draw_key *key, struct timing_lognormal dist)
{
	if (dist.median <= 0.0) {
		return 0.0;
	}
	return dist.median * exp(dist.sigma * draw_normal(key));
}

bool draw_chance(const struct draw_key *key, double rate)
{
	return draw_uniform(key) < rate;
}
