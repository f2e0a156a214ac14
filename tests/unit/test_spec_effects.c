/* Effects that run on a guess and change what they were based on. */
#include "tests/unit/spec_rig.h"
#include "tests/unit/tap.h"

#include <check.h>

#define MS BC_USEC_PER_MS

static const char *const tags[] = {"orders"};
static const struct cfg_tool read_tool = {.name = "read",
					  .fresh_for = 5000 * MS,
					  .effect = CFG_EFFECT_READ,
					  .disclosure = CFG_DISCLOSURE_LOCAL,
					  .tags = {tags, 1}};
static const struct cfg_tool other_tool = {
	.name = "other", .effect = CFG_EFFECT_READ, .disclosure = CFG_DISCLOSURE_LOCAL};
static const struct cfg_tool moving_tool = {.name = "move",
					    .effect = CFG_EFFECT_REVERSIBLE,
					    .disclosure = CFG_DISCLOSURE_LOCAL,
					    .tags = {tags, 1}};
static const char *const parcel_tags[] = {"parcels"};
static const struct cfg_tool sending_tool = {.name = "send",
					     .effect = CFG_EFFECT_REVERSIBLE,
					     .disclosure = CFG_DISCLOSURE_LOCAL,
					     .tags = {parcel_tags, 1}};
static const struct spec_conf conf = {.mode = SPEC_CONFIRM,
				      .reversible = true,
				      .interval = 400 * MS,
				      .stable_for = 300 * MS,
				      .speech_max = 10000 * MS,
				      .passes_max = 8,
				      .calls_max = 8};

/* The caller was heard up to here, and a pass over all of it begins. */
static uint64_t begin_heard(bc_usec horizon)
{
	spec_heard(spec, horizon, horizon);
	return begin(horizon);
}

/* It has ended, and what it named is stable. */
static void end(uint64_t number, bc_usec horizon)
{
	spec_pass_end(spec, number, true);
	spec_heard(spec, horizon + 400 * MS, horizon);
}

/* A read is in hand. */
static void setup(void)
{
	uint64_t number;

	spec_begin(&conf);
	number = begin_heard(100 * MS);
	name(number, &read_tool, "{}");
	end(number, 100 * MS);
	spec_finished(spec, run());
}

/* An effect that rests on it and changes what it has read has run, and so has another read of the same. */
static struct guess *effect_on_it(void)
{
	uint64_t number = begin_heard(900 * MS);
	struct guess *effect;

	name(number, &moving_tool, "{}");
	name(number, &read_tool, "{\"later\":1}");
	end(number, 900 * MS);
	effect = run();
	ck_assert_ptr_eq(effect->tool, &moving_tool);
	spec_finished(spec, run());
	spec_finished(spec, effect);
	spec_withdraw_tag(spec, "orders");
	return effect;
}

START_TEST(an_effect_does_not_withdraw_what_it_rests_on_nor_itself)
{
	const struct guess *effect = effect_on_it();
	const struct guess *later = spec_next_withdrawn(spec);

	ck_assert_ptr_nonnull(later); /* read beside it: nobody knows of which state */
	ck_assert_str_eq(later->arguments, "{\"later\":1}");
	sweep();
	ck_assert_int_eq(effect->state, GUESS_DONE);
	spec_withdraw_tag(spec, "orders"); /* its own session hears of it, too */
	ck_assert_ptr_null(spec_next_withdrawn(spec));
}
END_TEST

START_TEST(what_an_effect_rests_on_is_read_again_behind_it)
{
	struct guess *effect = effect_on_it();
	const struct spec_call call = {.tool = &read_tool, .arguments = "{}", .turn = 1};

	sweep();
	spec_take_guess(spec, effect); /* real, and nobody has called the read before it */
	effect->call = NULL;
	spec_drop(spec, effect);
	sweep();
	ck_assert_ptr_null(spec_take(spec, &call));
	spec_turn_commit(spec);
	ck_assert_uint_eq(spec_verdict(spec, named), 0);
}
END_TEST

START_TEST(it_is_so_when_a_later_pass_has_named_the_effect_without_it)
{
	struct guess *effect = effect_on_it();
	const struct spec_call call = {.tool = &read_tool, .arguments = "{}", .turn = 1};
	uint64_t number;

	sweep();
	spec_heard(spec, 1400 * MS, 1400 * MS);
	number = begin_at_pause(1400 * MS, false);
	name(number, &moving_tool, "{}");
	name(number, &read_tool, "{}");
	end(number, 1400 * MS);
	spec_take_guess(spec, effect);
	effect->call = NULL;
	spec_drop(spec, effect);
	sweep();
	ck_assert_ptr_null(spec_take(spec, &call));
}
END_TEST

START_TEST(an_effect_on_something_else_keeps_nothing_that_another_has_changed)
{
	const struct spec_call call = {.tool = &read_tool, .arguments = "{}", .turn = 1};
	uint64_t number = begin_heard(900 * MS);
	struct guess *effect;

	name(number, &sending_tool, "{}");
	end(number, 900 * MS);
	effect = run();
	spec_finished(spec, effect);
	spec_withdraw_tag(spec, "parcels"); /* its own */
	ck_assert_ptr_null(spec_next_withdrawn(spec));
	spec_withdraw_tag(spec, "orders");
	ck_assert_int_eq(effect->state, GUESS_WITHDRAWN); /* it was decided upon what is no more */
	sweep();
	ck_assert_ptr_null(spec_take(spec, &call));
}
END_TEST

START_TEST(a_pass_that_knows_of_the_effect_means_another_read)
{
	const struct guess *again;
	uint64_t number;

	(void)effect_on_it();
	sweep();
	number = begin_heard(1400 * MS);
	name(number, &read_tool, "{}");
	end(number, 1400 * MS);
	again = spec_next_stable(spec);
	ck_assert_ptr_nonnull(again);
	ck_assert_ptr_eq(again->tool, &read_tool);
	ck_assert_uint_eq(again->occurrence, 1);
}
END_TEST

START_TEST(a_guess_named_again_by_who_knows_its_result_rests_on_nothing_new)
{
	uint64_t number = begin_heard(900 * MS);

	name(number, &other_tool, "{}");
	end(number, 900 * MS);
	spec_finished(spec, run());
	number = begin_heard(1400 * MS);
	name(number, &read_tool, "{}");
	name(number, &other_tool, "{}");
	end(number, 1400 * MS);
	spec_turn_commit(spec);
	ck_assert_uint_eq(spec_verdict(spec, named), 2); /* which it would look for without end */
	ck_assert_ptr_eq(named[0].guess->tool, &read_tool);
	ck_assert_ptr_eq(named[1].guess->tool, &other_tool);
	ck_assert_uint_eq(named[1].level, 1);
}
END_TEST

/* What was read is too old after a while; what was done is done, and done again it would be there twice. */
START_TEST(an_effect_is_taken_at_any_age)
{
	struct spec_call call = {
		.tool = &moving_tool, .arguments = "{}", .turn = 1, .fresh_since = INT64_MAX};
	uint64_t number = begin_heard(900 * MS);
	struct guess *guess;

	name(number, &moving_tool, "{}");
	end(number, 900 * MS);
	guess = run();
	ck_assert_ptr_eq(guess->tool, &moving_tool);
	spec_finished(spec, guess);
	ck_assert_ptr_eq(spec_take(spec, &call), guess);
	spec_drop(spec, guess);
	call.tool = &read_tool;
	ck_assert_ptr_null(spec_take(spec, &call));
}
END_TEST

START_TEST(tags_have_a_bit_each)
{
	static const char *const both[] = {"orders", "stock"};
	const struct cfg_tool one = {.tags = {both, 1}};
	const struct cfg_tool other = {.tags = {&both[1], 1}};
	const struct cfg_tool two = {.tags = {both, 2}};
	const struct cfg_tool none = {.name = "none"};

	ck_assert_uint_eq(spec_tag_bits(&none), 0);
	ck_assert_int_eq(__builtin_popcountll(spec_tag_bits(&one)), 1);
	ck_assert_uint_ne(spec_tag_bits(&one),
			  spec_tag_bits(&other)); /* as these two happen to be */
	ck_assert_uint_eq(spec_tag_bits(&two), spec_tag_bits(&one) | spec_tag_bits(&other));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spec_effects");
	TCase *tcase = tcase_create("spec_effects");

	tcase_add_checked_fixture(tcase, setup, spec_end);
	tcase_add_test(tcase, an_effect_does_not_withdraw_what_it_rests_on_nor_itself);
	tcase_add_test(tcase, what_an_effect_rests_on_is_read_again_behind_it);
	tcase_add_test(tcase, it_is_so_when_a_later_pass_has_named_the_effect_without_it);
	tcase_add_test(tcase, an_effect_on_something_else_keeps_nothing_that_another_has_changed);
	tcase_add_test(tcase, a_pass_that_knows_of_the_effect_means_another_read);
	tcase_add_test(tcase, a_guess_named_again_by_who_knows_its_result_rests_on_nothing_new);
	tcase_add_test(tcase, tags_have_a_bit_each);
	tcase_add_test(tcase, an_effect_is_taken_at_any_age);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
