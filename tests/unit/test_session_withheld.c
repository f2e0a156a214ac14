/*
 * What a guess does not tell: arguments that are left out until somebody who knows the whole turn has named the call.  A
 * guess is matched by all of its arguments all the same.
 */
#include "daemon/base/metric.h"
#include "tests/unit/session_verdict.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define FINDER(disclosure)                                                                                   \
	TALK_CONFIG                                                                                          \
	"[[tool]]\nname = \"find\"\ndescription = \"x\"\neffect = \"read\"\ndisclosure = \"" disclosure      \
	"\"\n"                                                                                               \
	"withheld_arguments = [\"reason\"]\nparameters = { type = \"object\", properties = { id = { type = " \
	"\"string\" }, reason = { type = \"string\" } }, required = [\"id\", \"reason\"] }\n"                \
	"request = { method = \"POST\", url = \"http://localhost:1/find\", body = \"{*}\" }\n"
#define STRICT "[speculation]\nmode = \"strict\"\n"
#define WANTED "{\\\"id\\\":\\\"7\\\",\\\"reason\\\":\\\"divorce\\\"}"
#define OTHER  "{\\\"id\\\":\\\"7\\\",\\\"reason\\\":\\\"moving\\\"}"

static void setup(void)
{
	verdict_begin(FINDER("first_party") STRICT);
}

static void teardown(void)
{
	rig_fini(&rig);
}

static void use(const char *toml)
{
	teardown();
	verdict_begin(toml);
}

/* A guess runs, and the turn is committed. */
static void guessed(void)
{
	turn_naming("find", WANTED);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig.runs[0].speculative && rig.runs[0].withhold);
	/* The session's own view is complete. */
	ck_assert_str_eq(rig.runs[0].arguments, "{\"id\":\"7\",\"reason\":\"divorce\"}");
	talk_commit(&rig, "u1", NULL);
}

static void provider_calls(const char *arguments)
{
	talk_created(&rig, "r1", "null");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_call(&rig, "r1", "f1", "find", arguments);
	talk_done(&rig, "r1", "completed");
}

START_TEST(a_real_call_takes_the_result_of_a_guess_that_withheld_something)
{
	guessed();
	if (_i == 0) {
		rig_finish(&rig, 0, "{\"n\":1}");
	}
	provider_calls(WANTED);
	if (_i == 1) {
		rig_finish(&rig, 0, "{\"n\":1}");
	}
	ck_assert_uint_eq(rig.run_count, 1);
	expect_output("c_f1", "{\"n\":1}");
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
}
END_TEST

START_TEST(a_real_call_is_matched_by_what_was_withheld_too)
{
	guessed();
	provider_calls(OTHER);
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(!rig.runs[1].speculative && !rig.runs[1].withhold);
}
END_TEST

START_TEST(a_call_nobody_has_guessed_withholds_nothing)
{
	talk_commit(&rig, "u1", NULL);
	provider_calls(WANTED);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(!rig.runs[0].withhold);
}
END_TEST

START_TEST(a_tool_that_withholds_nothing_is_guessed_whole)
{
	turn_naming("get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig.runs[0].speculative && !rig.runs[0].withhold);
}
END_TEST

/* The end of the turn, and behind it a pass over all of it that names the call first. */
static void named_behind_the_commit(const char *toml)
{
	use(toml);
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	talk_commit(&rig, "u1", NULL);
	answer_pass("p1", "find", WANTED, NULL);
}

START_TEST(a_pass_over_the_whole_turn_that_names_it_first_withholds_nothing)
{
	named_behind_the_commit(FINDER("first_party"));
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig.runs[0].speculative && !rig.runs[0].withhold);
}
END_TEST

/* With strict such a pass is a guess as well: only the provider's own call says what is real. */
START_TEST(with_strict_every_pass_withholds)
{
	named_behind_the_commit(FINDER("first_party") STRICT);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig.runs[0].speculative && rig.runs[0].withhold);
}
END_TEST

START_TEST(a_verdict_takes_the_result_of_a_guess_that_withheld_something)
{
	use(FINDER("first_party"));
	guessed();
	rig_finish(&rig, 0, "{\"n\":1}");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	cancelled("r1");
	expect_output(expect_call("find"), "{\"n\":1}");
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(a_third_party_waits_for_the_final_words_also_where_it_would_learn_less)
{
	use(FINDER("third_party"));
	turn_naming("find", WANTED);
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, 0);
	talk_commit(&rig, "u1", NULL);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(!rig.runs[0].withhold);
}
END_TEST

/* ---- a server that wants what was withheld ---- */

START_TEST(a_joined_call_that_was_refused_is_sent_again_whole)
{
	static const int statuses[] = {400, 422};
	int64_t before = bc_metric_get(BC_M_GUESS_INCOMPLETE);

	guessed();
	provider_calls(WANTED);
	rig_refuse(&rig, 0, statuses[_i]);
	ck_assert_int_eq(rig.runs[0].settled, JRN_UNUSED);
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(!rig.runs[1].speculative && !rig.runs[1].withhold);
	ck_assert_str_eq(rig.runs[1].arguments, rig.runs[0].arguments);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_refuse(&rig, 1, statuses[_i]); /* whole, and still: that is the result */
	ck_assert_uint_eq(rig.run_count, 2);
	expect_output("c_f1", "{\"error\":{}}");
	ck_assert_int_eq(bc_metric_get(BC_M_GUESS_INCOMPLETE) - before, 1);
}
END_TEST

START_TEST(a_guess_that_was_refused_is_not_taken)
{
	guessed();
	rig_refuse(&rig, 0, 422);
	ck_assert_int_eq(rig.runs[0].settled, JRN_UNUSED);
	provider_calls(WANTED);
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(!rig.runs[1].withhold);
	rig_finish(&rig, 1, "{}");
	expect_output("c_f1", "{}");
}
END_TEST

START_TEST(what_a_server_does_not_find_is_a_result)
{
	guessed();
	provider_calls(WANTED);
	rig_refuse(&rig, 0, 404);
	ck_assert_uint_eq(rig.run_count, 1);
	expect_output("c_f1", "{\"error\":{}}");
}
END_TEST

START_TEST(a_joined_call_that_cannot_be_sent_again_ends_the_session)
{
	guessed();
	provider_calls(WANTED);
	rig.full = true;
	rig_refuse(&rig, 0, 400);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert_int_ne(rig.close_code[SESS_CLIENT], -1);
}
END_TEST

static Suite *suite(void)
{
	const TTest *cases[] = {
		a_real_call_is_matched_by_what_was_withheld_too,
		a_call_nobody_has_guessed_withholds_nothing,
		a_tool_that_withholds_nothing_is_guessed_whole,
		a_pass_over_the_whole_turn_that_names_it_first_withholds_nothing,
		with_strict_every_pass_withholds,
		a_verdict_takes_the_result_of_a_guess_that_withheld_something,
		a_third_party_waits_for_the_final_words_also_where_it_would_learn_less,
		a_guess_that_was_refused_is_not_taken,
		what_a_server_does_not_find_is_a_result,
		a_joined_call_that_cannot_be_sent_again_ends_the_session,
	};
	Suite *s = suite_create("session_withheld");
	TCase *c = tcase_create("session_withheld");

	tcase_add_checked_fixture(c, setup, teardown);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, a_real_call_takes_the_result_of_a_guess_that_withheld_something, 0,
			    2);
	tcase_add_loop_test(c, a_joined_call_that_was_refused_is_sent_again_whole, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
