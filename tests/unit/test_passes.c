/* When a pass may begin. */
#include "tests/unit/spec_rig.h"
#include "tests/unit/tap.h"

#include <check.h>

#define MS BC_USEC_PER_MS

static const struct spec_conf conf = {.mode = SPEC_CONFIRM,
				      .interval = 400 * MS,
				      .stable_for = 300 * MS,
				      .speech_max = 10000 * MS,
				      .passes_max = 3,
				      .calls_max = 2};

static const struct cfg_tool read_tool = {
	.name = "read", .effect = CFG_EFFECT_READ, .disclosure = CFG_DISCLOSURE_FIRST_PARTY};

static void setup(void)
{
	spec_begin(&conf);
}

START_TEST(passes_keep_their_distance_and_their_number)
{
	uint64_t number;
	for (unsigned i = 0; i < 3; i++) {
		spec_heard(spec, i * 400 * MS, i * 400 * MS);
		ck_assert(spec_pass_may_start(spec, SPEC_IN_SPEECH));
		number = begin(i * 400 * MS);
		ck_assert(!spec_pass_may_start(spec, SPEC_IN_SPEECH)); /* the interval */
		spec_pass_end(spec, number, true);
		spec_heard(spec, i * 400 * MS + 399 * MS, 0);
		ck_assert(!spec_pass_may_start(spec, SPEC_IN_SPEECH));
	}
	spec_heard(spec, 9000 * MS, 9000 * MS);
	ck_assert(!spec_pass_may_start(spec, SPEC_IN_SPEECH));
	spec_turn_begin(spec, 2);
	ck_assert(spec_pass_may_start(spec, SPEC_IN_SPEECH));
}
END_TEST

START_TEST(no_pass_before_a_turn_after_a_commit_or_in_endless_speech)
{
	struct spec *fresh = spec_new(&conf);

	ck_assert(!spec_pass_may_start(fresh, SPEC_IN_SPEECH));
	fresh = spec_free(fresh);
	spec_speech(spec, 0, true);
	spec_heard(spec, 10000 * MS, 10000 * MS);
	ck_assert(spec_pass_may_start(spec, SPEC_IN_SPEECH));
	spec_heard(spec, 10001 * MS, 10001 * MS);
	ck_assert(!spec_pass_may_start(spec, SPEC_IN_SPEECH));
	spec_clause_ended(spec);
	ck_assert(spec_pass_may_start(spec, SPEC_IN_SPEECH));
	spec_heard(spec, 20002 * MS, 20002 * MS);
	ck_assert(!spec_pass_may_start(spec, SPEC_IN_SPEECH));
	spec_speech(spec, 20100 * MS, false);
	ck_assert(spec_pass_may_start(spec, SPEC_IN_SPEECH));
	spec_turn_commit(spec);
	ck_assert(!spec_pass_may_start(spec, SPEC_IN_SPEECH));
}
END_TEST

/* Passes of pauses have a count of their own, so that what follows from results leaves them theirs. */
START_TEST(a_result_in_silence_waits_for_no_interval)
{
	struct spec_input input = {.horizon = 100 * MS, .when = SPEC_AT_RESULT};

	spec_heard(spec, 100 * MS, 100 * MS);
	for (unsigned i = 0; i < conf.passes_max; i++) {
		ck_assert(spec_pass_may_start(spec, SPEC_AT_RESULT));
		spec_pass_end(spec, spec_pass_begin(spec, &input), true);
	}
	ck_assert(!spec_pass_may_start(spec, SPEC_AT_RESULT));
	ck_assert(spec_pass_may_start(spec, SPEC_AT_PAUSE));
	spec_turn_begin(spec, 2);
	spec_speech(spec, 200 * MS, true);
	ck_assert(!spec_pass_may_start(spec, SPEC_AT_RESULT));
	spec_input_complete(spec, true);
	ck_assert(spec_pass_may_start(spec, SPEC_AT_RESULT));
	spec_turn_commit(spec);
	ck_assert(!spec_pass_may_start(spec, SPEC_AT_RESULT));
}
END_TEST

static const struct cfg_tool hold_tool = {.name = "hold", .effect = CFG_EFFECT_HOLD};

START_TEST(a_followup_has_its_passes_behind_the_commit)
{
	struct spec_input input = {.horizon = 100 * MS, .exact = true, .when = SPEC_AT_FOLLOWUP};

	spec_heard(spec, 100 * MS, 100 * MS);
	ck_assert(!spec_pass_may_start(spec, SPEC_AT_FOLLOWUP));
	spec_turn_commit(spec);
	for (unsigned i = 0; i < conf.passes_max; i++) {
		ck_assert(spec_pass_may_start(spec, SPEC_AT_FOLLOWUP));
		spec_pass_end(spec, spec_pass_begin(spec, &input), true);
	}
	ck_assert(!spec_pass_may_start(spec, SPEC_AT_FOLLOWUP));
	ck_assert(!spec_pass_may_start(spec, SPEC_AT_PAUSE));
	spec_turn_begin(spec, 2);
	spec_turn_commit(spec);
	ck_assert(spec_pass_may_start(spec, SPEC_AT_FOLLOWUP));
}
END_TEST

/*
 * A call that nobody guessed ends the verdict of the turn, until a pass that knows of it names what comes next.  What was
 * named before is not put in beside that, whichever pass ends last.
 */
START_TEST(a_pass_at_a_followup_names_the_next_step_alone)
{
	struct spec_input input = {.horizon = 100 * MS, .exact = true, .when = SPEC_AT_FOLLOWUP};
	uint64_t early;
	uint64_t late;

	spec_heard(spec, 100 * MS, 100 * MS);
	early = begin_at_pause(100 * MS, false);
	name(early, &hold_tool, "{\"n\":1}");
	if (_i == 0) {
		spec_pass_end(spec, early, true);
	}
	spec_turn_commit(spec);
	spec_called_other(spec, 1);
	spec_decided(spec, 1);
	late = spec_pass_begin(spec, &input);
	name(late, &hold_tool, "{\"n\":2}");
	if (_i == 1) {
		spec_pass_end(spec, early, true);
	}
	ck_assert_uint_eq(spec_verdict(spec, named), 0);
	spec_pass_end(spec, late, true);
	if (_i == 2) {
		spec_pass_end(spec, early, true);
	}
	ck_assert_uint_eq(spec_verdict(spec, named), 1);
	ck_assert_str_eq(named[0].guess->arguments, "{\"n\":2}");
	spec_decided(spec, 1);
	ck_assert_uint_eq(spec_verdict(spec, named), 0);
}
END_TEST

/* Named for a step that has gone by without it, it is named again for the next one. */
START_TEST(what_was_meant_for_the_last_step_may_be_what_comes_next)
{
	struct spec_input input = {.horizon = 100 * MS, .exact = true, .when = SPEC_AT_FOLLOWUP};
	uint64_t number;

	spec_heard(spec, 100 * MS, 100 * MS);
	number = begin_at_pause(100 * MS, false);
	name(number, &hold_tool, "{}");
	spec_pass_end(spec, number, true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(spec_verdict(spec, named), 1);
	spec_called_other(spec, 1);
	spec_decided(spec, 1);
	ck_assert_uint_eq(spec_verdict(spec, named), 0);
	number = spec_pass_begin(spec, &input);
	name(number, &hold_tool, "{}");
	if (_i == 0) {
		spec_called_other(spec, 1); /* once more, behind the begin of the pass */
		spec_decided(spec, 1);
	}
	spec_pass_end(spec, number, true);
	ck_assert_uint_eq(spec_verdict(spec, named), (unsigned)_i);
}
END_TEST

/* The ear has heard nothing of this turn: what it has heard of the last one is no measure of time. */
START_TEST(silence_counts_from_a_word_of_the_turn)
{
	struct guess *guess;
	uint64_t number;

	spec_heard(spec, 1000 * MS, 1000 * MS);
	spec_turn_commit(spec);
	spec_heard(spec, 9000 * MS, 1000 * MS);
	spec_turn_begin(spec, 2);
	number = begin(9000 * MS);
	name(number, &read_tool, "{}");
	spec_pass_end(spec, number, true);
	ck_assert_ptr_null(spec_next_stable(spec));
	spec_heard(spec, 9300 * MS, 1000 * MS);
	guess = spec_next_stable(spec);
	ck_assert_ptr_nonnull(guess);
	ck_assert_int_eq(guess->horizon, 9000 * MS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("passes");
	TCase *tcase = tcase_create("passes");

	tcase_add_checked_fixture(tcase, setup, spec_end);
	tcase_add_test(tcase, passes_keep_their_distance_and_their_number);
	tcase_add_test(tcase, no_pass_before_a_turn_after_a_commit_or_in_endless_speech);
	tcase_add_test(tcase, a_result_in_silence_waits_for_no_interval);
	tcase_add_test(tcase, silence_counts_from_a_word_of_the_turn);
	tcase_add_test(tcase, a_followup_has_its_passes_behind_the_commit);
	tcase_add_loop_test(tcase, a_pass_at_a_followup_names_the_next_step_alone, 0, 3);
	tcase_add_loop_test(tcase, what_was_meant_for_the_last_step_may_be_what_comes_next, 0, 2);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
