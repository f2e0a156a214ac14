/* Guesses that follow a pattern among those that passes have named. */
#include "tests/unit/spec_rig.h"
#include "tests/unit/tap.h"

#include <check.h>

#define MS BC_USEC_PER_MS

static const struct cfg_tool first = {.name = "first",
				      .fresh_for = 5000 * MS,
				      .effect = CFG_EFFECT_READ,
				      .disclosure = CFG_DISCLOSURE_LOCAL};
static const struct cfg_tool then = {.name = "then",
				     .fresh_for = 5000 * MS,
				     .effect = CFG_EFFECT_READ,
				     .disclosure = CFG_DISCLOSURE_LOCAL};
static const struct cfg_tool book = {
	.name = "book", .effect = CFG_EFFECT_HOLD, .disclosure = CFG_DISCLOSURE_LOCAL};
static const struct cfg_tool third = {
	.name = "third", .effect = CFG_EFFECT_READ, .disclosure = CFG_DISCLOSURE_THIRD_PARTY};
static const struct spec_conf conf = {.mode = SPEC_INJECT,
				      .interval = 400 * MS,
				      .stable_for = 300 * MS,
				      .speech_max = 10000 * MS,
				      .passes_max = 8,
				      .calls_max = 4};
static bc_usec at;

static void setup(void)
{
	at = 1000 * MS;
	spec_begin(&conf);
	spec_heard(spec, at, at);
}

static bool predict(const struct cfg_tool *tool, const struct guess *premise, bool next_turn)
{
	const struct spec_call call = {.tool = tool, .arguments = "{}", .turn = 1};
	bool proposed;

	ck_assert_int_eq(spec_predict(spec, &call, premise, next_turn, &proposed), BC_OK);
	return proposed;
}

/* The guess that is stable now runs and has its result. */
static struct guess *finish(const struct cfg_tool *tool)
{
	struct guess *guess = run();

	ck_assert_ptr_eq(guess->tool, tool);
	spec_finished(spec, guess);
	return guess;
}

/* A pass over what was heard up to now, given what has finished, names these tools and ends. */
static void pass(const struct cfg_tool *a, const struct cfg_tool *b)
{
	uint64_t number;

	at += 500 * MS;
	spec_heard(spec, at, at);
	number = begin_at_pause(at, true);
	for (unsigned i = 0; i < 2; i++) {
		const struct cfg_tool *tool = i == 0 ? a : b;

		if (tool != NULL) {
			name(number, tool, "{}");
		}
	}
	spec_pass_end(spec, number, true);
}

static unsigned verdict(void)
{
	spec_turn_commit(spec);
	return spec_verdict(spec, named);
}

START_TEST(a_prediction_runs_at_once_and_is_confirmed_by_nobody)
{
	ck_assert(predict(&then, NULL, false));
	ck_assert(!predict(&then, NULL, false)); /* it is there */
	finish(&then);
	ck_assert_uint_eq(verdict(), 0); /* not even where finished reads count */
	ck_assert(!spec_expects_verdict(spec));
}
END_TEST

START_TEST(only_reads_that_may_be_guessed_are_predicted)
{
	static const struct cfg_tool off = {.name = "off",
					    .effect = CFG_EFFECT_READ,
					    .disclosure = CFG_DISCLOSURE_LOCAL,
					    .speculation = CFG_GUESSING_OFF};

	ck_assert(!predict(&book, NULL, false));
	ck_assert(!predict(&third, NULL, false));
	ck_assert(!predict(&off, NULL, false));
}
END_TEST

START_TEST(a_pass_that_names_it_makes_it_a_guess_like_any)
{
	struct guess *guess;

	pass(&first, NULL);
	spec_input_complete(spec, true);
	guess = finish(&first);
	ck_assert(predict(&then, guess, false));
	finish(&then);
	pass(&then, NULL); /* given the result of first, and free to name what follows */
	ck_assert_uint_eq(verdict(), 2);
}
END_TEST

START_TEST(a_refused_prediction_is_judged_anew_when_a_pass_names_it)
{
	ck_assert(predict(&then, NULL, false));
	spec_refuse(spec, spec_next_stable(spec));
	ck_assert_ptr_null(spec_next_stable(spec));
	pass(&then, NULL);
	spec_input_complete(spec, true);
	ck_assert_ptr_nonnull(spec_next_stable(spec));
	ck_assert_int_eq(spec_next_stable(spec)->trigger, SPEC_TRIGGER_PAUSE);
	ck_assert(spec_next_stable(spec)->forgone);
	ck_assert_int_eq(spec_next_stable(spec)->foretold, SPEC_TRIGGER_PATTERN);
	/* Once the pass's own proposal is refused, that stands. */
	spec_refuse(spec, spec_next_stable(spec));
	pass(&then, NULL);
	ck_assert_ptr_null(spec_next_stable(spec));
}
END_TEST

/* A pass begins, what the prediction rests on becomes real, and the pass ends without a word on what follows. */
START_TEST(a_pass_that_did_not_know_the_result_says_nothing_about_what_follows)
{
	struct spec_call real = {.tool = &first, .arguments = "{}", .turn = 1};
	struct guess *guess;
	uint64_t number;

	pass(&first, NULL);
	spec_input_complete(spec, true);
	guess = finish(&first);
	ck_assert(predict(&then, guess, false));
	finish(&then);
	number = begin_at_pause(at, false);
	name(number, &first, "{}");
	spec_turn_commit(spec);
	ck_assert_ptr_eq(spec_take(spec, &real), guess);
	spec_drop(spec, guess);
	spec_pass_end(spec, number, true);
	ck_assert_ptr_null(spec_next_withdrawn(spec));
	real.tool = &then;
	guess = spec_take(spec, &real);
	ck_assert_ptr_nonnull(guess);
	spec_drop(spec, guess);
}
END_TEST

START_TEST(a_later_pass_that_knew_better_withdraws_it)
{
	struct guess *guess;

	pass(&first, NULL);
	spec_input_complete(spec, true);
	guess = finish(&first);
	ck_assert(predict(&then, guess, false));
	finish(&then);
	pass(NULL, NULL);
	ck_assert_ptr_nonnull(spec_next_withdrawn(spec));
	ck_assert_ptr_eq(spec_next_withdrawn(spec)->tool, &then);
}
END_TEST

START_TEST(what_is_expected_of_words_to_come_is_kept)
{
	ck_assert(predict(&then, NULL, true));
	finish(&then);
	pass(NULL, NULL);
	ck_assert_ptr_null(spec_next_withdrawn(spec));
}
END_TEST

START_TEST(it_falls_with_what_it_follows_from)
{
	struct guess *guess;

	pass(&first, NULL);
	spec_input_complete(spec, true);
	guess = finish(&first);
	ck_assert(predict(&then, guess, false));
	spec_lose(spec, guess);
	ck_assert_ptr_null(spec_next_stable(spec));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("predicted");
	TCase *tcase = tcase_create("predicted");

	tcase_add_checked_fixture(tcase, setup, spec_end);
	tcase_add_test(tcase, a_prediction_runs_at_once_and_is_confirmed_by_nobody);
	tcase_add_test(tcase, only_reads_that_may_be_guessed_are_predicted);
	tcase_add_test(tcase, a_pass_that_names_it_makes_it_a_guess_like_any);
	tcase_add_test(tcase, a_refused_prediction_is_judged_anew_when_a_pass_names_it);
	tcase_add_test(tcase, a_pass_that_did_not_know_the_result_says_nothing_about_what_follows);
	tcase_add_test(tcase, a_later_pass_that_knew_better_withdraws_it);
	tcase_add_test(tcase, what_is_expected_of_words_to_come_is_kept);
	tcase_add_test(tcase, it_falls_with_what_it_follows_from);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
