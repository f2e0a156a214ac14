/* What is guessed and when: every decision without a session around it. */
#include "tests/unit/spec_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define MS BC_USEC_PER_MS

static const char *const tags[] = {"orders"};
static const struct cfg_tool read_tool = {.name = "read",
					  .fresh_for = 5000 * MS,
					  .effect = CFG_EFFECT_READ,
					  .disclosure = CFG_DISCLOSURE_FIRST_PARTY,
					  .tags = {tags, 1}};
static const struct cfg_tool other_tool = {
	.name = "other", .effect = CFG_EFFECT_READ, .disclosure = CFG_DISCLOSURE_LOCAL};
static const struct cfg_tool third_tool = {
	.name = "third", .effect = CFG_EFFECT_READ, .disclosure = CFG_DISCLOSURE_THIRD_PARTY};
static const struct cfg_tool hold_tool = {
	.name = "hold", .effect = CFG_EFFECT_HOLD, .disclosure = CFG_DISCLOSURE_LOCAL};
static const struct cfg_tool reversible_tool = {
	.name = "undo", .effect = CFG_EFFECT_REVERSIBLE, .disclosure = CFG_DISCLOSURE_LOCAL};

static const struct spec_conf conf = {.mode = SPEC_STRICT,
				      .interval = 400 * MS,
				      .stable_for = 300 * MS,
				      .speech_max = 10000 * MS,
				      .passes_max = 3,
				      .calls_max = 2};
static bc_usec spec_position;

static void setup(void)
{
	spec_begin(&conf);
}

static uint64_t begin_bare(bc_usec horizon)
{
	return begin_at_pause(horizon, false);
}

/* A pass at this position that names one call. */
static void pass(bc_usec at, const char *arguments, bool valid)
{
	uint64_t number;

	spec_heard(spec, at, at);
	number = begin(at);
	if (arguments != NULL) {
		name(number, &read_tool, arguments);
	}
	spec_pass_end(spec, number, valid);
}

static struct guess *take(const char *arguments, unsigned occurrence, uint64_t turn)
{
	struct spec_call call = {.tool = &read_tool,
				 .arguments = arguments,
				 .occurrence = occurrence,
				 .turn = turn,
				 .fresh_since = 4000 * MS};

	return spec_take(spec, &call);
}

/* ---- passes ---- */

START_TEST(an_input_said_to_be_complete_counts_as_silence)
{
	pass(100 * MS, NULL, true);
	spec_speech(spec, 0, true);
	ck_assert(!spec_pass_may_start(spec, SPEC_AT_PAUSE));
	spec_input_complete(spec, true);
	ck_assert(spec_pass_may_start(spec, SPEC_AT_PAUSE));
	ck_assert(!spec_pass_may_start(spec, SPEC_IN_SPEECH)); /* those keep their distance */
	spec_input_complete(spec, false);
	ck_assert(!spec_pass_may_start(spec, SPEC_AT_PAUSE));
	spec_input_complete(spec, true);
	spec_turn_begin(spec, 2);
	ck_assert(!spec_pass_may_start(spec, SPEC_AT_PAUSE)); /* another turn is another input */
}
END_TEST

START_TEST(a_pass_over_all_of_a_complete_input_is_stable)
{
	pass(100 * MS, "{}", true);
	ck_assert(spec_has_heard_all(spec));
	ck_assert_ptr_null(spec_next_stable(spec));
	spec_input_complete(spec, true);
	ck_assert_ptr_nonnull(spec_next_stable(spec));
	spec_heard(spec, 101 * MS, 101 * MS); /* more was said */
	ck_assert(!spec_has_heard_all(spec));
	ck_assert_ptr_null(spec_next_stable(spec));
	spec_heard(spec, 102 * MS, 100 * MS);
	spec_input_complete(spec, false);
	ck_assert_ptr_null(spec_next_stable(spec));
}
END_TEST

START_TEST(who_has_heard_all_heard_it_in_this_turn_and_validly)
{
	uint64_t number;

	ck_assert(!spec_has_heard_all(spec));
	pass(100 * MS, NULL, false);
	ck_assert(!spec_has_heard_all(spec));
	spec_heard(spec, 600 * MS, 500 * MS);
	number = begin(600 * MS);
	ck_assert(spec_has_heard_all(spec)); /* it runs */
	spec_pass_end(spec, number, true);
	ck_assert(spec_has_heard_all(spec));
	spec_turn_begin(spec, 2);
	ck_assert(!spec_has_heard_all(spec));
}
END_TEST

START_TEST(what_time_alone_will_bring_is_known)
{
	ck_assert_int_eq(spec_wait(spec, false), -1);
	pass(100 * MS, "{}", true);
	ck_assert_int_eq(spec_wait(spec, false), conf.stable_for);
	spec_heard(spec, 150 * MS, 100 * MS);
	ck_assert_int_eq(spec_wait(spec, true), conf.stable_for - 50 * MS);
	spec_heard(spec, 100 * MS + conf.stable_for, 100 * MS);
	(void)run();
	ck_assert_int_eq(spec_wait(spec, true), conf.interval - conf.stable_for);
	spec_heard(spec, 100 * MS + conf.interval, 100 * MS);
	ck_assert_int_eq(spec_wait(spec, true), -1); /* it is due: what hinders it is not time */
	spec_heard(spec, 100 * MS + conf.stable_for, 100 * MS);
	spec_turn_commit(spec);
	ck_assert_int_eq(spec_wait(spec, true), -1);
}
END_TEST

START_TEST(g3_only_disclosable_reads_become_proposals)
{
	uint64_t number;
	const struct cfg_tool *const never[] = {&third_tool, &hold_tool, &reversible_tool};

	for (size_t i = 0; i < BC_ARRAY_LEN(never); i++) {
		spec_heard(spec, (bc_usec)i * 400 * MS, 0);
		number = begin(0);
		name(number, never[i], "{}");
		spec_pass_end(spec, number, true);
	}
	spec_turn_commit(spec);
	ck_assert_ptr_null(spec_next_stable(spec));
}
END_TEST

/* ---- stability ---- */

START_TEST(two_equal_proposals_in_a_row_are_stable)
{
	uint64_t number;
	pass(100 * MS, "{}", true);
	ck_assert_ptr_null(spec_next_stable(spec));
	spec_heard(spec, 501 * MS, 501 * MS);
	number = begin(501 * MS);
	name(number, &read_tool, "{}");
	spec_heard(spec, 510 * MS, 510 * MS);
	spec_pass_end(spec, number, true);
	ck_assert_ptr_nonnull(spec_next_stable(spec));
}
END_TEST

START_TEST(a_proposal_nobody_contradicts_is_stable_after_its_time)
{
	pass(100 * MS, "{}", true);
	spec_heard(spec, 399 * MS, 399 * MS);
	ck_assert_ptr_null(spec_next_stable(spec));
	spec_heard(spec, 400 * MS, 400 * MS);
	ck_assert_ptr_nonnull(spec_next_stable(spec));
}
END_TEST

START_TEST(a_pass_over_all_of_the_turn_is_stable_at_the_commit)
{
	pass(100 * MS, "{}", true);
	ck_assert_ptr_null(spec_next_stable(spec));
	spec_turn_commit(spec);
	ck_assert_ptr_nonnull(spec_next_stable(spec));
	spec_heard(spec, 110 * MS, 110 * MS); /* more was said */
	ck_assert_ptr_null(spec_next_stable(spec));
}
END_TEST

/* _i: how the end of the turn became known. */
START_TEST(a_read_waits_for_nothing_when_the_turn_is_over)
{
	struct spec_conf confirm = conf;
	uint64_t number;

	spec_end();
	confirm.mode = SPEC_CONFIRM;
	confirm.reversible = true;
	spec = spec_new(&confirm);
	spec_turn_begin(spec, 1);
	spec_heard(spec, 100 * MS, 100 * MS);
	number = begin(100 * MS);
	spec_heard(spec, 200 * MS, 200 * MS);
	if (_i == 0) {
		spec_input_complete(spec, true);
	} else {
		spec_turn_commit(spec);
	}
	name(number, &reversible_tool, "{}"); /* an effect waits for who has heard the end */
	name(number, &read_tool, "{}");
	spec_pass_end(spec, number, true);
	ck_assert_ptr_eq(spec_next_stable(spec)->tool, &read_tool);
	spec_heard(spec, 210 * MS, 210 * MS); /* the caller goes on */
	ck_assert_ptr_null(spec_next_stable(spec));
	spec_turn_commit(spec);
	ck_assert(spec_next_stable(spec) == NULL || _i == 1); /* it ended where it was said to */
}
END_TEST

START_TEST(g4_an_invalid_pass_proves_nothing)
{
	/* Named by it alone: forgotten.  Named by a valid one before: not confirmed by it. */
	pass(100 * MS, "{\"a\":1}", false);
	sweep();
	spec_heard(spec, 5000 * MS, 5000 * MS);
	ck_assert_ptr_null(spec_next_stable(spec));
	pass(5000 * MS, "{}", true);
	pass(5400 * MS, "{}", false);
	spec_heard(spec, 5200 * MS, 5200 * MS);
	ck_assert_ptr_null(spec_next_stable(spec));
}
END_TEST

START_TEST(a_running_pass_does_not_speak_before_its_end)
{
	uint64_t number;
	spec_heard(spec, 100 * MS, 100 * MS);
	number = begin(100 * MS);
	name(number, &read_tool, "{}");
	spec_heard(spec, 2000 * MS, 100 * MS);
	ck_assert_ptr_null(spec_next_stable(spec));
	spec_pass_end(spec, number, true);
	ck_assert_ptr_nonnull(spec_next_stable(spec));
}
END_TEST

START_TEST(what_a_valid_pass_names_no_more_is_withdrawn_unless_finished)
{
	struct guess *guess;

	pass(100 * MS, "{}", true);
	spec_heard(spec, 500 * MS, 500 * MS);
	guess = run();
	spec_finished(spec, guess);
	pass(600 * MS, "{\"a\":1}", true);
	ck_assert_ptr_null(spec_next_withdrawn(spec)); /* the pass was given the result */
	pass(1000 * MS, NULL, true);
	ck_assert_ptr_nonnull(spec_next_withdrawn(spec));
	ck_assert_str_eq(spec_next_withdrawn(spec)->arguments, "{\"a\":1}");
}
END_TEST

START_TEST(a_pass_belongs_to_the_turn_it_began_in)
{
	uint64_t number;
	spec_heard(spec, 100 * MS, 100 * MS);
	number = begin(100 * MS);
	spec_turn_commit(spec);
	spec_turn_begin(spec, 2);
	name(number, &read_tool, "{}");
	spec_pass_end(spec, number, true);
	spec_heard(spec, 5000 * MS, 5000 * MS);
	ck_assert_ptr_null(spec_next_stable(spec)); /* nothing of the new turn was heard by it */
}
END_TEST

START_TEST(only_so_many_guesses_run_at_once)
{
	uint64_t number;
	const char *const arguments[] = {"1", "2", "3"};
	struct guess *guess = NULL;

	spec_heard(spec, 100 * MS, 100 * MS);
	number = begin(100 * MS);
	for (size_t i = 0; i < BC_ARRAY_LEN(arguments); i++) {
		name(number, &read_tool, arguments[i]);
	}
	spec_pass_end(spec, number, true);
	spec_turn_commit(spec);
	guess = run();
	(void)run();
	ck_assert_ptr_null(spec_next_stable(spec));
	spec_finished(spec, guess);
	ck_assert_ptr_nonnull(spec_next_stable(spec));
}
END_TEST

START_TEST(proposals_are_bounded)
{
	uint64_t number;
	char arguments[16];

	spec_heard(spec, 100 * MS, 100 * MS);
	number = begin(100 * MS);
	for (unsigned i = 0; i < SPEC_GUESSES_MAX; i++) {
		(void)snprintf(arguments, sizeof(arguments), "%u", i);
		name(number, &read_tool, arguments);
	}
	ck_assert_int_eq(spec_pass_names(spec, number, &read_tool, "x", BC_SPAN_LIT("")),
			 BC_E_LIMIT);
	spec_pass_end(spec, number, true);
}
END_TEST

/* ---- verdicts ---- */

static void use_mode(enum spec_mode mode)
{
	struct spec_conf other = conf;

	other.mode = mode;
	other.reversible = true;
	other.passes_max = 8;
	other.calls_max = 8;
	spec = spec_free(spec);
	spec = spec_new(&other);
	spec_turn_begin(spec, 1);
}

/* A pass at a pause that hears everything and names these. */
static void confirm(const struct cfg_tool *tool, const char *arguments)
{
	uint64_t number = begin_bare(spec_position);

	if (tool != NULL) {
		name(number, tool, arguments);
	}
	spec_pass_end(spec, number, true);
}

static void hear(bc_usec position)
{
	spec_position = position;
	spec_heard(spec, position, position);
}

static unsigned verdict(void)
{
	return spec_verdict(spec, named);
}

START_TEST(a_verdict_needs_the_commit_and_all_that_was_said)
{
	use_mode(_i == 0 ? SPEC_CONFIRM : SPEC_STRICT);
	hear(500 * MS);
	confirm(&hold_tool, "{}");
	ck_assert_uint_eq(verdict(), 0);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), _i == 0 ? 1 : 0);
	spec_heard(spec, 700 * MS, 510 * MS); /* a word follows */
	ck_assert_uint_eq(verdict(), 0);
}
END_TEST

START_TEST(silence_behind_the_horizon_does_not_take_a_verdict_away)
{
	use_mode(SPEC_CONFIRM);
	hear(500 * MS);
	confirm(&read_tool, "{}");
	spec_heard(spec, 2000 * MS, 500 * MS);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 1);
}
END_TEST

START_TEST(what_a_pass_cannot_put_in_voids_its_verdict)
{
	uint64_t number;

	use_mode(SPEC_CONFIRM);
	hear(500 * MS);
	number = begin_bare(500 * MS);
	name(number, &read_tool, "{}");
	spec_pass_names_other(spec, number);
	spec_pass_end(spec, number, true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 0);
}
END_TEST

START_TEST(changed_instructions_void_every_verdict_of_what_was_heard)
{
	use_mode(SPEC_CONFIRM);
	hear(500 * MS);
	confirm(&read_tool, "{}");
	spec_verdict_void(spec);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 0);
}
END_TEST

START_TEST(words_of_a_recogniser_confirm_reads_but_no_effect)
{
	struct spec_input words = {.horizon = 500 * MS, .when = SPEC_AT_PAUSE};
	uint64_t number;

	use_mode(SPEC_CONFIRM);
	hear(500 * MS);
	number = spec_pass_begin(spec, &words);
	name(number, &read_tool, "{}");
	if (_i == 1) {
		name(number, &hold_tool, "{}");
	}
	spec_pass_end(spec, number, true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), _i == 0 ? 1 : 0);
}
END_TEST

START_TEST(a_guess_the_whole_turn_does_not_name_is_withdrawn_although_finished)
{
	use_mode(SPEC_CONFIRM);
	pass(100 * MS, "{}", true);
	hear(500 * MS);
	spec_finished(spec, run());
	hear(900 * MS);
	confirm(NULL, NULL);
	ck_assert_ptr_nonnull(spec_next_withdrawn(spec));
	spec_next_withdrawn(spec)->call = NULL;
}
END_TEST

/* A read has finished in mid-speech, and the last word is at 900 ms. */
static void finish_a_read(void)
{
	use_mode(SPEC_CONFIRM);
	pass(100 * MS, "{}", true);
	hear(500 * MS);
	spec_finished(spec, run());
	hear(900 * MS);
}

/* At the pause a pass begins that is given that read, and one that is not. */
static void begin_two(uint64_t *ret_bare, uint64_t *ret_given)
{
	finish_a_read();
	*ret_bare = begin_bare(900 * MS);
	*ret_given = begin_at_pause(900 * MS, true);
}

/* Of the two, the bare one ends first, and names that read again, or not. */
static void two_passes(bool bare_first, bool bare_names_it)
{
	uint64_t bare;
	uint64_t given;

	begin_two(&bare, &given);
	for (unsigned i = 0; i < 2; i++) {
		if ((i == 0) == bare_first) {
			if (bare_names_it) {
				name(bare, &read_tool, "{}");
			}
			spec_pass_end(spec, bare, true);
		} else {
			name(given, &hold_tool, "{\"of\":1}");
			spec_pass_end(spec, given, true);
		}
	}
	spec_turn_commit(spec);
}

START_TEST(what_follows_from_a_guess_is_confirmed_with_it)
{
	two_passes(_i == 0, true);
	ck_assert_uint_eq(verdict(), 2);
	ck_assert_ptr_eq(named[0].guess->tool, &read_tool);
	ck_assert_uint_eq(named[0].level, 0);
	ck_assert_ptr_eq(named[1].guess->tool, &hold_tool);
	ck_assert_uint_eq(named[1].level, 1);
	named[0].guess->call = NULL;
}
END_TEST

START_TEST(g5_what_follows_from_a_wrong_guess_goes_with_it)
{
	two_passes(_i == 0, false);
	ck_assert_uint_eq(verdict(), 0);
	while (spec_next_withdrawn(spec) != NULL) {
		spec_next_withdrawn(spec)->call = NULL;
		spec_drop(spec, spec_next_withdrawn(spec));
	}
	ck_assert(!spec_expects_verdict(spec));
}
END_TEST

START_TEST(passes_of_one_silence_have_heard_the_same)
{
	uint64_t bare;
	uint64_t given;

	finish_a_read();
	spec_heard(spec, 920 * MS, 900 * MS);
	given = begin_at_pause(920 * MS, true);
	spec_heard(spec, 1050 * MS, 900 * MS);
	bare = begin_bare(1050 * MS);
	name(bare, &read_tool, "{}");
	spec_pass_end(spec, bare, true);
	name(given, &hold_tool, "{}");
	spec_pass_end(spec, given, true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 2);
	named[0].guess->call = NULL;
}
END_TEST

/* Of two passes of one silence the later one knows as much or more and does not name a call that the other one names. */
START_TEST(of_two_passes_that_heard_the_same_the_later_one_has_the_word)
{
	uint64_t older;
	uint64_t newer;

	finish_a_read();
	older = begin_bare(900 * MS);
	spec_heard(spec, 950 * MS, 900 * MS);
	newer = begin_at_pause(950 * MS, (_i & 2) != 0);
	name(older, &read_tool, "{}");
	name(older, &hold_tool, "{}");
	if ((_i & 2) == 0) {
		name(newer, &read_tool, "{}");
	}
	spec_pass_end(spec, (_i & 1) != 0 ? newer : older, true);
	spec_pass_end(spec, (_i & 1) != 0 ? older : newer, true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 1);
	ck_assert_ptr_eq(named[0].guess->tool, &read_tool);
	sweep();
	named[0].guess->call = NULL;
}
END_TEST

START_TEST(what_was_lost_is_named_anew_in_the_same_silence)
{
	uint64_t number;

	use_mode(SPEC_CONFIRM);
	hear(900 * MS);
	confirm(&read_tool, "{}");
	number = begin_bare(900 * MS); /* has not seen that it is lost */
	spec_heard(spec, 1300 * MS, 900 * MS);
	spec_lose(spec, run());
	ck_assert_ptr_nonnull(spec_next_withdrawn(spec));
	sweep();
	spec_pass_end(spec, number, true);
	ck_assert(!spec_expects_verdict(spec));
	confirm(&read_tool, "{}");
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 1);
}
END_TEST

/* A finished read was a wrong guess.  Of the passes at the pause one was given it and one was not; both name the right call. */
START_TEST(what_is_named_without_a_wrong_guess_outlives_it)
{
	uint64_t number[2];

	begin_two(&number[0], &number[1]);
	for (unsigned i = 0; i < 2; i++) {
		name(number[i], &hold_tool, "{\"n\":2}");
	}
	spec_pass_end(spec, number[_i], true);
	spec_pass_end(spec, number[1 - _i], true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 1);
	ck_assert_ptr_eq(named[0].guess->tool, &hold_tool);
	ck_assert_uint_eq(named[0].guess->premises, 0);
	ck_assert_uint_eq(named[0].guess->depth, 0);
	sweep();
}
END_TEST

START_TEST(what_follows_from_a_call_that_became_real_stands_by_itself)
{
	struct guess *real;

	two_passes(true, true);
	real = take("{}", 0, 1);
	ck_assert_ptr_nonnull(real);
	spec_drop(spec, real);
	ck_assert_uint_eq(verdict(), 1);
	ck_assert_uint_eq(named[0].level, 0);
}
END_TEST

/* At the pause one pass names a read anew and another read beside it, one knows the first and names a booking. */
static void three_calls(bool knows_it)
{
	uint64_t bare;
	uint64_t given;

	begin_two(&bare, &given);
	if (knows_it) {
		name(given, &read_tool, "{\"n\":2}");
	}
	name(given, &hold_tool, "{}");
	spec_pass_end(spec, given, true);
	name(bare, &read_tool, "{}");
	name(bare, &read_tool, "{\"n\":2}");
	spec_pass_end(spec, bare, true);
	spec_turn_commit(spec);
}

/* The provider names both reads. */
static void take_both(void)
{
	struct guess *real = take("{}", 0, 1);

	ck_assert_ptr_nonnull(real);
	spec_drop(spec, real);
	ck_assert_ptr_null(take("{\"n\":2}", 0, 1)); /* it does not run yet: the real one will */
	spec_decided(spec, 1);
}

START_TEST(g6_two_guesses_are_put_in_together_only_if_a_pass_knew_of_both)
{
	three_calls(_i == 1);
	if (_i == 1) {
		ck_assert_uint_eq(verdict(), 3);
		ck_assert_ptr_eq(named[2].guess->tool, &hold_tool);
	} else {
		ck_assert_uint_eq(verdict(), 2);
		ck_assert_ptr_eq(named[1].guess->tool, &read_tool);
	}
	named[0].guess->call = NULL;
}
END_TEST

START_TEST(g6_behind_a_real_call_comes_only_what_knew_of_it)
{
	three_calls(_i == 1);
	take_both();
	ck_assert_uint_eq(verdict(), _i == 1 ? 1 : 0);
}
END_TEST

START_TEST(g6_a_real_call_that_nobody_guessed_ends_the_verdicts_of_its_turn)
{
	struct guess *real;

	two_passes(true, true);
	real = take("{}", 0, 1);
	spec_drop(spec, real);
	ck_assert_ptr_null(take("{\"n\":9}", 0, _i == 0 ? 1 : 2));
	ck_assert_uint_eq(verdict(), _i == 0 ? 0 : 1);
}
END_TEST

/* A pass, given a read, was under way when the provider named that one, and beside it a guess, or nobody's, or nothing. */
START_TEST(g6_a_pass_that_ends_late_counts_for_what_it_knew)
{
	uint64_t bare;
	uint64_t late;

	finish_a_read();
	late = begin_at_pause(900 * MS, true);
	bare = begin_bare(900 * MS);
	name(bare, &read_tool, "{}");
	name(bare, &read_tool, "{\"n\":2}");
	spec_pass_end(spec, bare, true);
	spec_turn_commit(spec);
	spec_drop(spec, take("{}", 0, 1));
	if (_i > 0) {
		ck_assert_ptr_null(take(_i == 1 ? "{\"n\":2}" : "{\"n\":9}", 0, 1));
	}
	spec_decided(spec, 1);
	name(late, &hold_tool, "{}");
	spec_pass_end(spec, late, true);
	ck_assert_uint_eq(verdict(), _i == 0 ? 1 : 0);
}
END_TEST

START_TEST(finished_guesses_that_follow_from_others_are_confirmed_in_one_go)
{
	struct guess *first;
	uint64_t number;

	use_mode(SPEC_CONFIRM);
	pass(100 * MS, "{}", true);
	hear(500 * MS);
	first = run();
	spec_finished(spec, first);
	number = begin(500 * MS);
	name(number, &other_tool, "{\"of\":1}");
	spec_pass_end(spec, number, true);
	hear(900 * MS);
	spec_finished(spec, run());
	number = begin_at_pause(900 * MS, true); /* given the first alone */
	confirm(&read_tool, "{}");
	name(number, &other_tool, "{\"of\":1}");
	spec_pass_end(spec, number, true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 2);
	ck_assert_uint_eq(named[1].level, 1);
	ck_assert_int_eq(named[1].guess->state, GUESS_DONE);
	spec_withdraw_all(spec, 1);
	named[0].guess->call = NULL;
	named[1].guess->call = NULL;
}
END_TEST

START_TEST(a_pass_that_has_heard_less_and_ends_later_counts_for_nothing)
{
	uint64_t early;

	use_mode(SPEC_CONFIRM);
	hear(500 * MS);
	early = begin(500 * MS);
	name(early, &read_tool, "{\"to\":\"Paris\"}");
	hear(900 * MS);
	confirm(&read_tool, "{\"to\":\"London\"}");
	spec_pass_end(spec, early, true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 1);
	ck_assert_str_eq(named[0].guess->arguments, "{\"to\":\"London\"}");
}
END_TEST

START_TEST(inject_counts_finished_reads_that_nobody_has_confirmed)
{
	use_mode(_i == 0 ? SPEC_INJECT : SPEC_CONFIRM);
	pass(100 * MS, "{}", true);
	hear(500 * MS);
	spec_finished(spec, run());
	hear(900 * MS);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), _i == 0 ? 1 : 0);
	spec_withdraw_all(spec, 1);
	spec_next_withdrawn(spec)->call = NULL;
}
END_TEST

START_TEST(a_verdict_lists_calls_in_the_order_they_were_named)
{
	uint64_t number;

	use_mode(SPEC_CONFIRM);
	pass(100 * MS, "{\"n\":2}", true);
	hear(500 * MS);
	number = begin_bare(500 * MS);
	name(number, &hold_tool, "{\"n\":1}");
	name(number, &read_tool, "{\"n\":2}");
	name(number, &read_tool, "{\"n\":3}");
	spec_pass_end(spec, number, true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 3);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(named[i].guess->arguments[5], (int)('1' + i));
	}
}
END_TEST

START_TEST(reversible_calls_run_on_guesses_where_allowed)
{
	uint64_t number;

	use_mode(_i == 0 ? SPEC_CONFIRM : SPEC_STRICT);
	hear(500 * MS);
	number = begin(500 * MS);
	name(number, &reversible_tool, "{}");
	name(number, &hold_tool, "{}");
	name(number, &third_tool, "{}");
	spec_pass_end(spec, number, true);
	spec_heard(spec, 900 * MS, 500 * MS);
	if (_i == 0) {
		struct guess *guess = run();

		ck_assert_ptr_eq(guess->tool, &reversible_tool);
		ck_assert_ptr_null(spec_next_stable(spec));
		spec_turn_commit(spec);
		/* The third party may be asked when the turn is final, the hold still only by the session's gate. */
		ck_assert_ptr_eq(run()->tool, &third_tool);
		ck_assert_ptr_null(spec_next_stable(spec));
		spec_withdraw_all(spec, 1);
		while ((guess = spec_next_withdrawn(spec)) != NULL) {
			guess->call = NULL;
			spec_drop(spec, guess);
		}
	} else {
		spec_turn_commit(spec);
		ck_assert_ptr_null(spec_next_stable(spec));
	}
}
END_TEST

START_TEST(reads_expire_and_may_be_named_anew)
{
	struct guess *guess;

	use_mode(SPEC_CONFIRM);
	pass(100 * MS, "{}", true);
	hear(500 * MS);
	guess = run();
	spec_finished(spec, guess);
	spec_expire(spec, guess->dispatched + read_tool.fresh_for);
	ck_assert_ptr_null(spec_next_withdrawn(spec));
	spec_expire(spec, guess->dispatched + read_tool.fresh_for + 1);
	ck_assert_ptr_eq(spec_next_withdrawn(spec), guess);
	guess->call = NULL;
	sweep();
	hear(900 * MS);
	confirm(&read_tool, "{}");
	spec_turn_commit(spec);
	ck_assert_ptr_nonnull(spec_next_stable(spec));
}
END_TEST

/* ---- taking ---- */

START_TEST(g1_equal_calls_of_one_pass_are_told_apart_by_occurrence)
{
	uint64_t number;
	struct guess *first;
	struct guess *second;

	spec_heard(spec, 100 * MS, 100 * MS);
	number = begin(100 * MS);
	name(number, &read_tool, "{}");
	name(number, &read_tool, "{}");
	spec_pass_end(spec, number, true);
	spec_turn_commit(spec);
	(void)run();
	(void)run();
	second = take("{}", 1, 1);
	first = take("{}", 0, 1);
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_nonnull(second);
	ck_assert_ptr_ne(first, second);
	ck_assert_ptr_null(take("{}", 2, 1));
	spec_drop(spec, first);
	spec_drop(spec, second);
}
END_TEST

START_TEST(g2_a_guess_is_taken_once_and_only_by_its_like)
{
	struct spec_call other = {.tool = &other_tool, .arguments = "{}", .turn = 1};
	struct guess *guess;

	pass(100 * MS, "{}", true);
	spec_turn_commit(spec);
	(void)run();
	ck_assert_ptr_null(spec_take(spec, &other));
	ck_assert_ptr_null(take("{\"a\":1}", 0, 1));
	ck_assert_ptr_null(take("{}", 0, 2));
	guess = take("{}", 0, 1);
	ck_assert_ptr_nonnull(guess);
	ck_assert_ptr_null(take("{}", 0, 1));
	spec_drop(spec, guess);
}
END_TEST

START_TEST(a_stale_guess_is_withdrawn_instead)
{
	struct spec_call call = {
		.tool = &read_tool, .arguments = "{}", .turn = 1, .fresh_since = 5001 * MS};

	pass(100 * MS, "{}", true);
	spec_turn_commit(spec);
	spec_finished(spec, run());
	ck_assert_ptr_null(spec_take(spec, &call));
	ck_assert_ptr_nonnull(spec_next_withdrawn(spec));
}
END_TEST

START_TEST(a_real_call_withdraws_the_proposal_that_was_not_run_yet)
{
	pass(100 * MS, "{}", true);
	ck_assert_ptr_null(take("{}", 0, 1));
	spec_turn_commit(spec);
	ck_assert_ptr_null(spec_next_stable(spec));
}
END_TEST

START_TEST(an_effect_withdraws_what_reads_its_tag)
{
	uint64_t number;
	spec_heard(spec, 100 * MS, 100 * MS);
	number = begin(100 * MS);
	name(number, &read_tool, "{}");
	name(number, &other_tool, "{}");
	spec_pass_end(spec, number, true);
	spec_turn_commit(spec);
	ck_assert_ptr_eq(run()->tool, &read_tool);
	spec_withdraw_tag(spec, "orders");
	ck_assert_ptr_eq(spec_next_withdrawn(spec)->tool, &read_tool);
	spec_next_withdrawn(spec)->call = NULL;
	sweep();
	ck_assert_ptr_eq(spec_next_stable(spec)->tool, &other_tool);
}
END_TEST

START_TEST(a_pass_is_given_finished_guesses_of_its_turn_only)
{
	unsigned count = 0;

	pass(100 * MS, "{}", true);
	spec_turn_commit(spec);
	(void)spec_each_finished(spec, false, count_one, &count);
	ck_assert_uint_eq(count, 0);
	spec_finished(spec, run());
	(void)spec_each_finished(spec, false, count_one, &count);
	ck_assert_uint_eq(count, 1);
	spec_turn_begin(spec, 2);
	(void)spec_each_finished(spec, false, count_one, &count);
	ck_assert_uint_eq(count, 1);
}
END_TEST

static Suite *suite(void)
{
	const TTest *const cases[] = {
		an_input_said_to_be_complete_counts_as_silence,
		a_pass_over_all_of_a_complete_input_is_stable,
		who_has_heard_all_heard_it_in_this_turn_and_validly,
		what_time_alone_will_bring_is_known,
		g3_only_disclosable_reads_become_proposals,
		two_equal_proposals_in_a_row_are_stable,
		a_proposal_nobody_contradicts_is_stable_after_its_time,
		a_pass_over_all_of_the_turn_is_stable_at_the_commit,
		g4_an_invalid_pass_proves_nothing,
		a_running_pass_does_not_speak_before_its_end,
		what_a_valid_pass_names_no_more_is_withdrawn_unless_finished,
		a_pass_belongs_to_the_turn_it_began_in,
		only_so_many_guesses_run_at_once,
		proposals_are_bounded,
		g1_equal_calls_of_one_pass_are_told_apart_by_occurrence,
		g2_a_guess_is_taken_once_and_only_by_its_like,
		a_stale_guess_is_withdrawn_instead,
		a_real_call_withdraws_the_proposal_that_was_not_run_yet,
		an_effect_withdraws_what_reads_its_tag,
		a_pass_is_given_finished_guesses_of_its_turn_only,
		silence_behind_the_horizon_does_not_take_a_verdict_away,
		what_a_pass_cannot_put_in_voids_its_verdict,
		changed_instructions_void_every_verdict_of_what_was_heard,
		a_guess_the_whole_turn_does_not_name_is_withdrawn_although_finished,
		what_follows_from_a_call_that_became_real_stands_by_itself,
		a_pass_that_has_heard_less_and_ends_later_counts_for_nothing,
		finished_guesses_that_follow_from_others_are_confirmed_in_one_go,
		a_verdict_lists_calls_in_the_order_they_were_named,
		reads_expire_and_may_be_named_anew,
		passes_of_one_silence_have_heard_the_same,
		what_was_lost_is_named_anew_in_the_same_silence,
	};
	Suite *s = suite_create("spec");
	TCase *c = tcase_create("spec");

	tcase_add_checked_fixture(c, setup, spec_end);
	tcase_add_loop_test(c, a_read_waits_for_nothing_when_the_turn_is_over, 0, 2);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, a_verdict_needs_the_commit_and_all_that_was_said, 0, 2);
	tcase_add_loop_test(c, words_of_a_recogniser_confirm_reads_but_no_effect, 0, 2);
	tcase_add_loop_test(c, what_follows_from_a_guess_is_confirmed_with_it, 0, 2);
	tcase_add_loop_test(c, what_is_named_without_a_wrong_guess_outlives_it, 0, 2);
	tcase_add_loop_test(c, of_two_passes_that_heard_the_same_the_later_one_has_the_word, 0, 4);
	tcase_add_loop_test(c, g6_two_guesses_are_put_in_together_only_if_a_pass_knew_of_both, 0,
			    2);
	tcase_add_loop_test(c, g6_behind_a_real_call_comes_only_what_knew_of_it, 0, 2);
	tcase_add_loop_test(c, g6_a_real_call_that_nobody_guessed_ends_the_verdicts_of_its_turn, 0,
			    2);
	tcase_add_loop_test(c, g6_a_pass_that_ends_late_counts_for_what_it_knew, 0, 3);
	tcase_add_loop_test(c, g5_what_follows_from_a_wrong_guess_goes_with_it, 0, 2);
	tcase_add_loop_test(c, inject_counts_finished_reads_that_nobody_has_confirmed, 0, 2);
	tcase_add_loop_test(c, reversible_calls_run_on_guesses_where_allowed, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
