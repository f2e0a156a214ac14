/* Whether a guess is worth its price: what is learnt, what is refused, and how it recovers. */
#include "daemon/config/config.h"
#include "daemon/spec/admission.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define MS     BC_USEC_PER_MS
#define MINUTE (60 * BC_USEC_PER_SEC)

static const struct cfg_tool tool = {.name = "read", .waste_price = 50 * MS};
static const struct cfg_tool dear = {.name = "dear", .waste_price = 10000 * MS};
static struct cfg_speculation conf;
static struct admission *admission;
static struct admission_ask ask;

static void setup(void)
{
	conf = (struct cfg_speculation){.learn_half_life = 30 * MINUTE,
					.kill_window = 8,
					.kill_share = 75,
					.kill_recover = 50,
					.kill_rest = 10 * MINUTE};
	admission = admission_new();
	ck_assert_ptr_nonnull(admission);
	ask = (struct admission_ask){.conf = &conf,
				     .tool = &tool,
				     .trigger = SPEC_TRIGGER_PAUSE,
				     .key = "tester",
				     .now = 1000 * MINUTE};
}

static void teardown(void)
{
	admission = admission_free(admission);
}

static void learn(enum admission_what what, bc_usec time, unsigned times)
{
	const struct admission_event event = {
		.what = what, .tool = ask.tool, .trigger = ask.trigger, .time = time};

	for (unsigned i = 0; i < times; i++) {
		admission_learn(admission, &ask, &event);
	}
}

static void expect(enum admission_refusal refusal)
{
	enum admission_refusal got = admission_ask(admission, &ask);

	ck_assert_msg(got == refusal, "%s, expected %s", admission_refusal_name(got),
		      admission_refusal_name(refusal));
}

static void expect_probability(double p)
{
	ck_assert_double_eq_tol(admission_probability(admission, &ask), p, 1e-9);
}

/* ---- the posterior ---- */

START_TEST(the_prior_is_optimistic_and_outcomes_move_it)
{
	expect_probability(0.8); /* 4 / (4 + 1) */
	expect(ADMISSION_GRANTED);
	learn(ADMISSION_HIT, 0, 3);
	expect_probability(7.0 / 8);
	learn(ADMISSION_WASTE, 0, 2);
	expect_probability(0.7);
	learn(ADMISSION_SHADOW_MISS, 0, 1);
	learn(ADMISSION_SHADOW_HIT, 0, 1);
	learn(ADMISSION_JOIN, 0, 1);
	expect_probability(9.0 / 13);
	ask.trigger = SPEC_TRIGGER_CLAUSE;
	expect_probability(0.8); /* each trigger learns for itself */
}
END_TEST

START_TEST(half_is_forgotten_in_a_half_life_and_all_in_the_end)
{
	learn(ADMISSION_WASTE, 0, 4);
	expect_probability(4.0 / 9);
	ask.now += 30 * MINUTE;
	expect_probability(4.0 / 7);
	ask.now += 15 * MINUTE;
	expect_probability(4.0 / 6.5); /* along the chord */
	ask.now += 2000 * MINUTE;
	expect_probability(0.8);
}
END_TEST

START_TEST(evidence_is_bounded_so_that_a_changed_world_is_learnt)
{
	conf.kill_window = 0;
	learn(ADMISSION_HIT, 0, 10000);
	expect_probability(68.0 / 69);
	learn(ADMISSION_WASTE, 0, 64);
	ck_assert_double_lt(admission_probability(admission, &ask), 0.5);
}
END_TEST

START_TEST(an_earlier_life_is_part_of_the_prior_of_all_triggers)
{
	admission_recall(admission, "read", false, 0, conf.learn_half_life, 320 * MS);
	admission_recall(admission, "read", false, 30 * MINUTE, conf.learn_half_life, 320 * MS);
	expect_probability(4.0 / 6.5);
	ask.trigger = SPEC_TRIGGER_CLAUSE;
	expect_probability(4.0 / 6.5);
	ck_assert_int_eq(admission_latency(admission, "read"), 320 * MS);
	for (unsigned i = 0; i < 1000; i++) {
		admission_recall(admission, "read", false, 0, conf.learn_half_life, 0);
	}
	expect_probability(4.0 / 21);
}
END_TEST

/* ---- saving against cost ---- */

START_TEST(a_guess_that_costs_more_than_it_saves_is_refused)
{
	ask.tool = &dear;
	expect(ADMISSION_GRANTED); /* nobody knows yet how long the tool takes */
	learn(ADMISSION_RAN, 2500 * MS, 1);
	expect(ADMISSION_GRANTED); /* 0.8 * 2.5 s = 0.2 * 10 s */
	learn(ADMISSION_WASTE, 0, 1);
	expect(ADMISSION_REFUSED_LOSS);
	learn(ADMISSION_SHADOW_HIT, 0, 1);
	expect(ADMISSION_REFUSED_LOSS); /* 5/7 * 2.5 < 2/7 * 10 */
	learn(ADMISSION_SHADOW_HIT, 0, 3);
	expect(ADMISSION_GRANTED); /* 8/10 again: what is refused is watched, and recovers */
}
END_TEST

START_TEST(the_usual_time_follows_the_tool_slowly)
{
	learn(ADMISSION_RAN, 800 * MS, 1);
	ck_assert_int_eq(admission_latency(admission, "read"), 800 * MS);
	learn(ADMISSION_RAN, 1600 * MS, 1);
	ck_assert_int_eq(admission_latency(admission, "read"), 900 * MS);
}
END_TEST

/* ---- the kill switch ---- */

START_TEST(waste_trips_the_switch_and_what_would_have_hit_resets_it)
{
	learn(ADMISSION_HIT, 0, 2);
	learn(ADMISSION_WASTE, 0, 5);
	expect(ADMISSION_GRANTED); /* the window is not full */
	learn(ADMISSION_WASTE, 0, 1);
	ck_assert(admission_is_killed(admission, "read", ask.trigger)); /* 6 of 8 */
	expect(ADMISSION_REFUSED_KILLED);
	learn(ADMISSION_SHADOW_MISS, 0, 3);
	learn(ADMISSION_SHADOW_HIT, 0, 3);
	expect(ADMISSION_REFUSED_KILLED);
	learn(ADMISSION_SHADOW_MISS, 0, 2); /* 5 of the last 8 missed: more than half */
	expect(ADMISSION_REFUSED_KILLED);
	learn(ADMISSION_SHADOW_HIT, 0, 1);
	ck_assert(!admission_is_killed(admission, "read", ask.trigger)); /* 4 of 8 */
	expect(ADMISSION_GRANTED);
}
END_TEST

START_TEST(what_patterns_waste_leaves_passes_alone)
{
	ask.trigger = SPEC_TRIGGER_PATTERN;
	learn(ADMISSION_WASTE, 0, 8);
	expect(ADMISSION_REFUSED_KILLED);
	ask.trigger = SPEC_TRIGGER_PAUSE;
	expect(ADMISSION_GRANTED);
	ck_assert(!admission_is_killed(admission, "read", SPEC_TRIGGER_PAUSE));
	ck_assert(admission_is_killed(admission, "read", SPEC_TRIGGER_PATTERN));
}
END_TEST

START_TEST(what_follows_a_result_is_learnt_and_trips_no_switch)
{
	ask.trigger = SPEC_TRIGGER_FOLLOWUP;
	expect(ADMISSION_GRANTED); /* nothing is known of the tool */
	admission_recall(admission, tool.name, false, MINUTE, 30 * MINUTE, 0);
	expect_probability(0.5); /* whether guesses of the tool were right says nothing of it */
	expect(ADMISSION_GRANTED);
	learn(ADMISSION_SHADOW_MISS, 0, 1);
	expect_probability(1.0 / 3);
	expect(ADMISSION_REFUSED_UNLIKELY);
	learn(ADMISSION_SHADOW_HIT, 0, 1);
	expect(ADMISSION_GRANTED);
	learn(ADMISSION_SHADOW_MISS, 0, 20);
	expect(ADMISSION_REFUSED_UNLIKELY);
	ck_assert(!admission_is_killed(admission, tool.name, SPEC_TRIGGER_FOLLOWUP));
	ask.trigger = SPEC_TRIGGER_PAUSE;
	expect(ADMISSION_GRANTED);
}
END_TEST

START_TEST(the_switch_rests_and_goes_back_and_may_be_absent)
{
	learn(ADMISSION_WASTE, 0, 8);
	expect(ADMISSION_REFUSED_KILLED);
	ask.now += 10 * MINUTE - 1;
	expect(ADMISSION_REFUSED_KILLED);
	ask.now += 1;
	expect(ADMISSION_GRANTED);
	conf.kill_window = 0;
	learn(ADMISSION_WASTE, 0, 100);
	expect(ADMISSION_GRANTED);
}
END_TEST

/* ---- words ---- */

START_TEST(configuration_and_operator_have_the_word)
{
	static const struct cfg_tool off = {.name = "off", .speculation = CFG_GUESSING_OFF};
	static const struct cfg_tool shadow = {.name = "shadow", .shadow = true};

	ask.tool = &off;
	expect(ADMISSION_REFUSED_OFF);
	ask.tool = &shadow;
	expect(ADMISSION_REFUSED_SHADOW);
	ck_assert_int_eq(admission_set(admission, "shadow", ADMISSION_ON), BC_OK);
	expect(ADMISSION_GRANTED);
	ask.tool = &tool;
	conf.shadow = true;
	expect(ADMISSION_REFUSED_SHADOW);
	ck_assert_int_eq(admission_set(admission, NULL, ADMISSION_ON), BC_OK);
	learn(ADMISSION_WASTE, 0, 8);
	ck_assert(admission_is_killed(admission, "read", ask.trigger));
	expect(ADMISSION_GRANTED); /* whatever the switch says */
	ck_assert_int_eq(admission_set(admission, "read", ADMISSION_OFF), BC_OK);
	expect(ADMISSION_REFUSED_OFF); /* the tool's own word counts */
	ask.tool = NULL;
	expect(ADMISSION_GRANTED);
	ck_assert_int_eq(admission_set(admission, NULL, ADMISSION_OFF), BC_OK);
	expect(ADMISSION_REFUSED_OFF); /* no passes either */
	ck_assert_int_eq(admission_set(admission, NULL, ADMISSION_CONFIGURED), BC_OK);
	expect(ADMISSION_REFUSED_SHADOW);
}
END_TEST

/* ---- budgets ---- */

START_TEST(each_budget_has_its_reason)
{
	const struct admission_limits limits = {
		.calls = 2, .time = 100 * MS, .tokens = 50, .cents = 3};
	struct admission_spend spend = {
		.calls = 1, .time = 99 * MS, .tokens = 49, .money = 2999999};

	ck_assert_int_eq(admission_over(&spend, &limits, false, true), ADMISSION_GRANTED);
	ck_assert_int_eq(admission_over(&spend, &limits, false, false), ADMISSION_GRANTED);
	spend.money++;
	ck_assert_int_eq(admission_over(&spend, &limits, false, true),
			 ADMISSION_REFUSED_SESSION_COST);
	ck_assert_int_eq(admission_over(&spend, &limits, true, true), ADMISSION_REFUSED_KEY_COST);
	spend.tokens++;
	ck_assert_int_eq(admission_over(&spend, &limits, false, true),
			 ADMISSION_REFUSED_SESSION_TOKENS);
	ck_assert_int_eq(admission_over(&spend, &limits, true, true), ADMISSION_REFUSED_KEY_TOKENS);
	ck_assert_int_eq(admission_over(&spend, &limits, false, false), ADMISSION_GRANTED);
	spend.time += MS;
	ck_assert_int_eq(admission_over(&spend, &limits, false, false),
			 ADMISSION_REFUSED_SESSION_TIME);
	ck_assert_int_eq(admission_over(&spend, &limits, true, false), ADMISSION_REFUSED_KEY_TIME);
	spend.calls++;
	ck_assert_int_eq(admission_over(&spend, &limits, false, false),
			 ADMISSION_REFUSED_SESSION_CALLS);
	ck_assert_int_eq(admission_over(&spend, &limits, true, false), ADMISSION_REFUSED_KEY_CALLS);
}
END_TEST

START_TEST(a_key_has_an_hour_and_others_their_own)
{
	conf.key_waste_max = 2;
	conf.key_tokens_max = 10;
	conf.kill_window = 0;
	learn(ADMISSION_WASTE, 0, 2);
	expect(ADMISSION_REFUSED_KEY_CALLS);
	ask.key = "another";
	expect(ADMISSION_GRANTED);
	ask.key = NULL;
	expect(ADMISSION_GRANTED);
	ask.key = "tester";
	admission_learn(admission, &ask,
			&(struct admission_event){.what = ADMISSION_PASS, .tokens = 10});
	ask.tool = NULL;
	expect(ADMISSION_REFUSED_KEY_TOKENS);
	ask.now += 61 * MINUTE;
	expect(ADMISSION_GRANTED);
	ask.tool = &tool;
	expect(ADMISSION_GRANTED);
}
END_TEST

START_TEST(tables_are_bounded)
{
	char name[32];
	struct cfg_tool other = {.name = name, .waste_price = 50 * MS};

	ask.tool = &other;
	conf.key_waste_max = 1;
	ask.key = name;
	for (unsigned i = 0; i < ADMISSION_KEYS_MAX + 10; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i);
		learn(ADMISSION_WASTE, 0, 1);
	}
	expect(ADMISSION_GRANTED);
	expect_probability(0.8);
	ck_assert_int_eq(admission_set(admission, name, ADMISSION_OFF), BC_E_LIMIT);
}
END_TEST

/* ---- reports ---- */

START_TEST(reports_say_what_is_known)
{
	struct bc_buf text;

	learn(ADMISSION_HIT, 1500 * MS, 2);
	learn(ADMISSION_WASTE, 250 * MS, 1);
	learn(ADMISSION_RAN, 320 * MS, 1);
	bc_buf_init(&text, 65536);
	ck_assert_int_eq(admission_show(admission, &conf, NULL, ask.now, &text), BC_OK);
	ck_assert_int_eq(bc_buf_put(&text, "", 1), BC_OK);
	ck_assert_str_eq(
		bc_buf_span(&text).ptr,
		"all mode=configured shadow=no passes=0 tokens=0 cents=0.000000\n"
		"tool=read mode=configured killed=no kills=0 usual_seconds=0.320\n"
		"tool=read trigger=pause killed=no probability=0.750 hits=2 joins=0 wasted=1 wasted_seconds=0.250"
		" saved_seconds=3.000 saved_per_wasted=3.000 shadow_hits=0 shadow_misses=0\n");
	bc_buf_clear(&text);
	ck_assert_int_eq(admission_metrics(admission, &conf, ask.now, &text), BC_OK);
	ck_assert_int_eq(bc_buf_put(&text, "", 1), BC_OK);
	ck_assert_ptr_nonnull(strstr(
		bc_buf_span(&text).ptr,
		"\nbackchannel_spec_tool_hit_probability{tool=\"read\",trigger=\"pause\"} 0.750000\n"));
	ck_assert_ptr_nonnull(strstr(
		bc_buf_span(&text).ptr,
		"\nbackchannel_spec_tool_trigger_killed{tool=\"read\",trigger=\"pause\"} 0.000000\n"));
	ask.trigger = SPEC_TRIGGER_PATTERN;
	learn(ADMISSION_WASTE, 0, 8);
	bc_buf_clear(&text);
	ck_assert_int_eq(admission_metrics(admission, &conf, ask.now, &text), BC_OK);
	ck_assert_int_eq(admission_show(admission, &conf, NULL, ask.now, &text), BC_OK);
	ck_assert_int_eq(bc_buf_put(&text, "", 1), BC_OK);
	ck_assert_ptr_nonnull(strstr(
		bc_buf_span(&text).ptr,
		"\nbackchannel_spec_tool_trigger_killed{tool=\"read\",trigger=\"pattern\"} 1.000000\n"));
	ck_assert_ptr_nonnull(
		strstr(bc_buf_span(&text).ptr, "tool=read mode=configured killed=yes kills=1 "));
	bc_buf_release(&text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("admission");
	TCase *tcase = tcase_create("admission");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, the_prior_is_optimistic_and_outcomes_move_it);
	tcase_add_test(tcase, half_is_forgotten_in_a_half_life_and_all_in_the_end);
	tcase_add_test(tcase, evidence_is_bounded_so_that_a_changed_world_is_learnt);
	tcase_add_test(tcase, an_earlier_life_is_part_of_the_prior_of_all_triggers);
	tcase_add_test(tcase, a_guess_that_costs_more_than_it_saves_is_refused);
	tcase_add_test(tcase, the_usual_time_follows_the_tool_slowly);
	tcase_add_test(tcase, waste_trips_the_switch_and_what_would_have_hit_resets_it);
	tcase_add_test(tcase, what_patterns_waste_leaves_passes_alone);
	tcase_add_test(tcase, what_follows_a_result_is_learnt_and_trips_no_switch);
	tcase_add_test(tcase, the_switch_rests_and_goes_back_and_may_be_absent);
	tcase_add_test(tcase, configuration_and_operator_have_the_word);
	tcase_add_test(tcase, each_budget_has_its_reason);
	tcase_add_test(tcase, a_key_has_an_hour_and_others_their_own);
	tcase_add_test(tcase, tables_are_bounded);
	tcase_add_test(tcase, reports_say_what_is_known);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
