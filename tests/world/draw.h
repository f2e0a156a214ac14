/*
 * Random draws that belong to a name, not to an order: the same (seed, dialogue, turn, call, quantity) gives
 * the same number in every run, whatever else was asked in between.  So compared runs see the same model,
 * the same tools and the same caller.
 */
#ifndef BACKCHANNEL_TESTS_WORLD_DRAW_H
#define BACKCHANNEL_TESTS_WORLD_DRAW_H

#include "tests/world/timing.h"

#include <stdbool.h>
#include <stdint.h>

#define DRAW_NO_CALL (-1) /* call of a draw that belongs to the whole turn */

/* The name of a draw. */
struct draw_key {
	uint64_t seed;
	const char *dialogue; /* id */
	unsigned turn;
	int call;             /* or DRAW_NO_CALL */
	const char *quantity; /* e.g. "call_pass" */
};

/* Uniform in (0, 1). */
double draw_uniform(const struct draw_key *key);

/* Standard normal. */
double draw_normal(const struct draw_key *key);

/* exp(log(median) + sigma * normal); 0 for a median of 0. */
double draw_lognormal(const struct draw_key *key, struct timing_lognormal dist);

/* True with probability rate. */
bool draw_chance(const struct draw_key *key, double rate);

#endif
