/* Asking the tool server what became of an effect in doubt, by the status request its tool declares (J7). */
#include "daemon/base/metric.h"
#include "daemon/tools/call.h"
#include "daemon/tools/host.h"
#include "tests/unit/run_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static void ask_setup(void)
{
	rig_setup();
	rig_serve_at("/drop");
	rig_ask_at("/tell/{idempotency_key}/{args.n}");
}

START_TEST(j7_what_was_done_is_the_result)
{
	int64_t asked = bc_metric_get(BC_M_TOOL_STATUS_ASKED);
	char question[256];

	server.tell = "{\"state\": \"done\", \"result\": {\"b\": 1, \"a\": [true]}}";
	rig_run_through(_i == 0 ? CFG_EFFECT_HOLD : CFG_EFFECT_REVERSIBLE,
			_i == 0 ? "/drop" : "/status/500", "used");
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert_int_eq(world.status, 200);
	ck_assert_str_eq(world.output, "{\"a\":[true],\"b\":1}");
	ck_assert_uint_eq(server.requests, 1);
	ck_assert_uint_eq(server.questions, 1);
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_STATUS_ASKED) - asked, 1);
	ck_assert_int_eq(world.results, 1);
	ck_assert(rig_holds("results WHERE output", world.output));
	/* By the key of the call, which is not sent as if this were the call. */
	(void)snprintf(question, sizeof(question), "/tell/%s/1 ", server.key);
	ck_assert_str_eq(server.question, question);
}
END_TEST

START_TEST(j7_a_deadline_is_asked_for_within_another)
{
	world.tool.timeout = 2 * BC_USEC_PER_SEC;
	server.tell = "{\"state\":\"done\",\"result\":7}";
	rig_run_through(CFG_EFFECT_HOLD, "/hold", "used");
	ck_assert_str_eq(world.output, "7");
}
END_TEST

START_TEST(done_without_a_result_is_null)
{
	server.tell = "{\"state\":\"done\"}";
	rig_run_through(CFG_EFFECT_HOLD, "/drop", "used");
	ck_assert_str_eq(world.output, "null");
}
END_TEST

START_TEST(text_of_a_result_is_its_content)
{
	world.tool.result = CFG_RESULT_TEXT;
	server.tell = _i == 0 ? "{\"state\":\"done\",\"result\":\"it \\\"went\\\"\"}"
			      : "{\"state\":\"done\",\"result\":{\"n\":1}}";
	rig_run_through(CFG_EFFECT_HOLD, "/drop", "used");
	ck_assert_str_eq(world.output, _i == 0 ? "it \"went\"" : "{\"n\":1}");
}
END_TEST

START_TEST(j7_what_was_not_done_may_be_tried_again)
{
	struct tool_call *call;

	server.tell = "{\"state\":\"not_done\"}";
	world.tool.effect = CFG_EFFECT_HOLD;
	call = rig_run("{\"n\":1}");
	rig_wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_LOST);
	ck_assert_str_eq(rig_error_type(), "lost, retryable");
	ck_assert_ptr_nonnull(strstr(world.output, "nothing was done"));
	ck_assert_ptr_null(strstr(world.output, "do not repeat"));
	tool_settle(call, JRN_USED);
	/* An equal call is made. */
	rig_serve_at("/ok");
	call = rig_run("{\"n\":1}");
	rig_wait_done(2);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	tool_settle(call, JRN_USED);
	rig_close_journal();
	ck_assert(rig_holds("settlements WHERE how", "failed"));
	ck_assert(rig_holds("settlements WHERE how", "used"));
}
END_TEST

static const char *const vague[] = {
	NULL,
	"",
	"no json",
	"[]",
	"{}",
	"{\"state\":\"pending\"}",
	"{\"state\":\"DONE\"}",
	"{\"state\":true}",
	"{\"state\":\"done\",\"state\":\"not_done\"}",
};

START_TEST(j7_an_answer_that_tells_nothing_leaves_the_doubt)
{
	server.tell = vague[_i];
	rig_run_through(CFG_EFFECT_HOLD, "/drop", "in_doubt");
	ck_assert_int_eq(world.outcome, TOOL_LOST);
	ck_assert_str_eq(rig_error_type(), "lost");
	ck_assert_ptr_nonnull(strstr(world.output, "outcome unknown, do not repeat"));
	ck_assert_uint_eq(server.questions, 3);
	ck_assert_uint_eq(server.requests, 1);
	ck_assert_int_eq(rig_query("SELECT count(*) FROM results"), 0);
}
END_TEST

START_TEST(only_status_200_tells_anything)
{
	server.tell = "{\"state\":\"not_done\"}";
	server.tell_after = 3;
	rig_run_through(CFG_EFFECT_HOLD, "/drop", "in_doubt");
	ck_assert_uint_eq(server.questions, 3);
}
END_TEST

START_TEST(a_question_may_be_repeated)
{
	server.tell = "{\"state\":\"done\",\"result\":[]}";
	server.tell_after = 2;
	rig_run_through(CFG_EFFECT_HOLD, "/drop", "used");
	ck_assert_str_eq(world.output, "[]");
	ck_assert_uint_eq(server.questions, 3);
}
END_TEST

START_TEST(asking_has_a_deadline_too)
{
	server.tell_after = 100;
	world.common.retry_backoff = 60 * BC_USEC_PER_SEC;
	world.tool.timeout = 20 * BC_USEC_PER_SEC;
	rig_run_through(CFG_EFFECT_HOLD, "/drop", "in_doubt");
	ck_assert_uint_eq(server.questions, 1);
}
END_TEST

START_TEST(attempts_come_first)
{
	server.tell = "{\"state\":\"done\"}";
	world.tool.attempts_max = 3;
	world.tool.idempotency = CFG_IDEMPOTENCY_KEY;
	rig_run_through(CFG_EFFECT_REVERSIBLE, "/drop", "used");
	ck_assert_uint_eq(server.requests, 3);
	ck_assert_uint_eq(server.questions, 1);
}
END_TEST

START_TEST(nothing_is_asked_without_a_doubt)
{
	static const struct {
		enum cfg_effect effect;
		const char *path;
		const char *settlement;
	} cases[] = {{CFG_EFFECT_READ, "/drop", "failed"},
		     {CFG_EFFECT_HOLD, "/status/409", "failed"},
		     {CFG_EFFECT_HOLD, "/words", "used"},
		     {CFG_EFFECT_HOLD, "/ok", "used"}};

	server.tell = "{\"state\":\"not_done\"}";
	rig_run_through(cases[_i].effect, cases[_i].path, cases[_i].settlement);
	ck_assert_uint_eq(server.questions, 0);
}
END_TEST

START_TEST(a_question_that_cannot_be_asked_leaves_the_doubt)
{
	rig_ask_at("/tell/{args.other}");
	server.tell = "{\"state\":\"not_done\"}";
	rig_run_through(CFG_EFFECT_HOLD, "/drop", "in_doubt");
	ck_assert_uint_eq(server.questions, 0);
}
END_TEST

static bool is_asking(void)
{
	struct tool_call *call = TAILQ_FIRST(&world.host->calls);

	return call->state == TOOL_STATE_ASKING;
}

/* A call whose server is being asked. */
static struct tool_call *call_being_asked(void)
{
	struct tool_call *call;

	server.tell = "{\"state\":\"done\",\"result\":1}";
	world.tool.effect = CFG_EFFECT_HOLD;
	rig_ask_at("/tell-held/{idempotency_key}");
	call = rig_run("{\"n\":1}");
	rig_wait_until(is_asking);
	return call;
}

START_TEST(j3_cancelling_awaits_the_answer)
{
	tool_cancel(call_being_asked());
	rig_release_server();
	rig_wait_until(rig_no_call_left);
	rig_close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert_int_eq(rig_query("SELECT status FROM results"), 200);
	ck_assert(rig_holds("settlements WHERE how", "used"));
}
END_TEST

START_TEST(a_host_that_goes_away_keeps_the_doubt)
{
	(void)call_being_asked();
	rig_close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert(rig_holds("settlements WHERE how", "in_doubt"));
}
END_TEST

START_TEST(what_the_server_told_is_durable_before_it_is_seen)
{
	struct tool_call *call = call_being_asked();

	ck_assert_int_eq(rig_query("SELECT count(*) FROM results"), 0);
	rig_release_server();
	rig_wait_done(1);
	ck_assert_int_eq(world.results, 1);
	tool_settle(call, JRN_USED);
}
END_TEST

static TCase *add_cases(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, ask_setup, rig_teardown);
	tcase_set_timeout(tcase, 40);
	tcase_add_loop_test(tcase, j7_what_was_done_is_the_result, 0, 2);
	tcase_add_test(tcase, j7_a_deadline_is_asked_for_within_another);
	tcase_add_test(tcase, done_without_a_result_is_null);
	tcase_add_loop_test(tcase, text_of_a_result_is_its_content, 0, 2);
	tcase_add_test(tcase, j7_what_was_not_done_may_be_tried_again);
	tcase_add_loop_test(tcase, j7_an_answer_that_tells_nothing_leaves_the_doubt, 0,
			    BC_ARRAY_LEN(vague));
	tcase_add_test(tcase, only_status_200_tells_anything);
	tcase_add_test(tcase, a_question_may_be_repeated);
	tcase_add_test(tcase, asking_has_a_deadline_too);
	tcase_add_test(tcase, attempts_come_first);
	tcase_add_loop_test(tcase, nothing_is_asked_without_a_doubt, 0, 4);
	tcase_add_test(tcase, a_question_that_cannot_be_asked_leaves_the_doubt);
	tcase_add_test(tcase, j3_cancelling_awaits_the_answer);
	tcase_add_test(tcase, a_host_that_goes_away_keeps_the_doubt);
	tcase_add_test(tcase, what_the_server_told_is_durable_before_it_is_seen);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("ask");

	suite_add_tcase(suite, add_cases(tcase_create("ask")));
	return tap_run(suite);
}
