#include "tests/unit/spec_rig.h"

#include <check.h>

#define FRESH_FOR (5 * BC_USEC_PER_SEC)

struct spec *spec;
struct spec_named named[SPEC_GUESSES_MAX];

static char handle; /* stands for tool calls */

void spec_begin(const struct spec_conf *conf)
{
	spec = spec_new(conf);
	ck_assert_ptr_nonnull(spec);
	spec_turn_begin(spec, 1);
}

void sweep(void)
{
	struct guess *guess;

	while ((guess = spec_next_withdrawn(spec)) != NULL) {
		guess->call = NULL;
		spec_drop(spec, guess);
	}
}

void spec_end(void)
{
	spec_withdraw_all(spec, UINT64_MAX);
	sweep();
	spec = spec_free(spec);
}

void count_one(void *arg, const struct guess *guess)
{
	(void)guess;
	++*(unsigned *)arg;
}

static uint64_t begin_given(struct spec_input input)
{
	unsigned count = 0;

	input.premises = spec_each_finished(spec, input.when == SPEC_AT_PAUSE, count_one, &count);
	return spec_pass_begin(spec, &input);
}

uint64_t begin(bc_usec horizon)
{
	return begin_given((struct spec_input){.horizon = horizon, .exact = true});
}

uint64_t begin_at_pause(bc_usec horizon, bool given)
{
	struct spec_input input = {.horizon = horizon, .exact = true, .when = SPEC_AT_PAUSE};

	return given ? begin_given(input) : spec_pass_begin(spec, &input);
}

void name(uint64_t number, const struct cfg_tool *tool, const char *arguments)
{
	ck_assert_int_eq(spec_pass_names(spec, number, tool, arguments, BC_SPAN_LIT("")), BC_OK);
}

struct guess *run(void)
{
	struct guess *guess = spec_next_stable(spec);

	ck_assert_ptr_nonnull(guess);
	spec_dispatched(spec, guess, (struct tool_call *)(void *)&handle, FRESH_FOR);
	return guess;
}
