/* What is sent again after a failure, how often and when; and above all what is not (J5). */
#include "daemon/base/metric.h"
#include "daemon/tools/call.h"
#include "daemon/tools/host.h"
#include "tests/unit/run_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

/* So many requests fail, with that status; 0 cuts the connection. */
static void let_fail(unsigned count, unsigned status)
{
	(void)pthread_mutex_lock(&server.mutex);
	server.fail_first = count;
	server.fail_status = status;
	(void)pthread_mutex_unlock(&server.mutex);
}

START_TEST(a_read_is_tried_again_under_one_intent)
{
	static const unsigned statuses[] = {0, 502, 503, 504};
	int64_t retries = bc_metric_get(BC_M_TOOL_RETRIES);

	let_fail(2, statuses[_i]);
	world.tool.attempts_max = 3;
	rig_run_through(CFG_EFFECT_READ, "/flaky", "used");
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert_str_eq(world.output, "{\"a\":[1,2.50],\"t\":\"x \\\" y\"}");
	ck_assert_uint_eq(server.requests, 3);
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_RETRIES) - retries, 2);
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents"), 1);
	ck_assert_int_eq(rig_query("SELECT count(*) FROM results"), 1);
	/* J6: the first key is new, the others are the same. */
	ck_assert_uint_eq(server.other_keys, 1);
	ck_assert(rig_holds("intents WHERE key", server.key));
}
END_TEST

START_TEST(attempts_have_an_end)
{
	let_fail(100, 503);
	world.tool.attempts_max = 2;
	rig_run_through(CFG_EFFECT_READ, "/flaky", "failed");
	ck_assert_str_eq(rig_error_type(), "http_error, retryable");
	ck_assert_ptr_nonnull(strstr(world.output, "tired"));
	ck_assert_uint_eq(server.requests, 2);
}
END_TEST

START_TEST(other_errors_are_final)
{
	static const unsigned statuses[] = {302, 400, 404, 500, 501};

	let_fail(100, statuses[_i]);
	world.tool.attempts_max = 5;
	rig_run_through(CFG_EFFECT_READ, "/flaky", "failed");
	ck_assert_uint_eq(server.requests, 1);
}
END_TEST

START_TEST(a_deadline_is_one_for_all_attempts)
{
	let_fail(100, 503);
	world.tool.attempts_max = 5;
	world.tool.timeout = 20 * BC_USEC_PER_SEC;
	world.common.retry_backoff = 60 * BC_USEC_PER_SEC;
	rig_run_through(CFG_EFFECT_READ, "/flaky", "failed");
	ck_assert_uint_eq(server.requests, 1);
	ck_assert_int_eq(world.outcome, TOOL_HTTP_ERROR);
}
END_TEST

START_TEST(a_server_that_says_when_is_asked_then)
{
	struct tool_call *call;
	bc_usec spent;

	let_fail(1, 429);
	world.tool.attempts_max = 2;
	rig_serve_at("/flaky");
	call = rig_run("{}");
	rig_wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert_uint_eq(server.requests, 2);
	spent = tool_result(call)->finished - tool_result(call)->started;
	ck_assert_int_ge(spent, BC_USEC_PER_SEC);
	tool_settle(call, JRN_USED);
}
END_TEST

START_TEST(a_server_that_says_too_late_is_not_asked)
{
	let_fail(1, 429);
	world.tool.attempts_max = 2;
	server.retry_after = "30";
	world.tool.timeout = 20 * BC_USEC_PER_SEC;
	rig_run_through(CFG_EFFECT_READ, "/flaky", "failed");
	ck_assert_uint_eq(server.requests, 1);
}
END_TEST

START_TEST(j5_what_is_not_idempotent_goes_out_once)
{
	static const struct {
		enum cfg_effect effect;
		enum cfg_idempotency idempotency;
	} cases[] = {{CFG_EFFECT_HOLD, CFG_IDEMPOTENCY_NONE},
		     {CFG_EFFECT_HOLD, CFG_IDEMPOTENCY_KEY},
		     {CFG_EFFECT_HOLD, CFG_IDEMPOTENCY_NATURAL},
		     {CFG_EFFECT_REVERSIBLE, CFG_IDEMPOTENCY_NONE}};
	static const unsigned statuses[] = {0, 503, 429};

	let_fail(1, statuses[_i % 3]);
	world.tool.attempts_max = 5;
	world.tool.idempotency = cases[_i / 3].idempotency;
	rig_run_through(cases[_i / 3].effect, "/flaky",
			statuses[_i % 3] == 429 ? "failed" : "in_doubt");
	ck_assert_uint_eq(server.requests, 1);
}
END_TEST

START_TEST(j5_what_is_idempotent_goes_out_again_with_its_key)
{
	let_fail(2, _i % 2 == 0 ? 0 : 503);
	world.tool.attempts_max = 3;
	world.tool.idempotency = _i < 2 ? CFG_IDEMPOTENCY_KEY : CFG_IDEMPOTENCY_NATURAL;
	rig_run_through(CFG_EFFECT_REVERSIBLE, "/flaky", "used");
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert_uint_eq(server.requests, 3);
	ck_assert_uint_eq(server.other_keys, 1);
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents"), 1);
	ck_assert_int_eq(rig_query("SELECT status FROM results"), 200);
}
END_TEST

static bool is_waiting(void)
{
	struct tool_call *call = TAILQ_FIRST(&world.host->calls);

	return call->state == TOOL_STATE_WAITING;
}

/* The first attempt may have been carried out, the second is refused: together that is a doubt. */
START_TEST(j7_a_refusal_does_not_lift_a_doubt)
{
	struct tool_call *call;

	let_fail(1, 503);
	world.tool.attempts_max = 2;
	world.tool.effect = CFG_EFFECT_REVERSIBLE;
	world.tool.idempotency = CFG_IDEMPOTENCY_KEY;
	world.common.retry_backoff = BC_USEC_PER_SEC;
	rig_serve_at("/flaky");
	call = rig_run("{}");
	rig_wait_until(is_waiting);
	let_fail(100, 409);
	rig_wait_done(1);
	ck_assert_uint_eq(server.requests, 2);
	ck_assert_int_eq(world.status, 409);
	ck_assert_str_eq(rig_error_type(), "http_error");
	ck_assert_ptr_nonnull(strstr(world.output, "outcome unknown, do not repeat"));
	tool_settle(call, JRN_USED);
	rig_close_journal();
	ck_assert(rig_holds("settlements WHERE how", "in_doubt"));
	ck_assert_int_eq(rig_query("SELECT count(*) FROM results"), 0);
}
END_TEST

START_TEST(a_server_that_is_not_there_is_tried_again)
{
	int64_t retries = bc_metric_get(BC_M_TOOL_RETRIES);
	struct tool_call *call;

	world.tool.attempts_max = 3;
	world.tool.effect = CFG_EFFECT_REVERSIBLE;
	world.tool.idempotency = CFG_IDEMPOTENCY_KEY;
	(void)snprintf(world.url, sizeof(world.url), "http://127.0.0.1:1/");
	call = rig_run("{}");
	rig_wait_done(1);
	ck_assert_str_eq(rig_error_type(), "unreachable, retryable");
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_RETRIES) - retries, 2);
	tool_settle(call, JRN_USED);
	rig_close_journal();
	ck_assert(rig_holds("settlements WHERE how", "failed"));
}
END_TEST

/* A call that is cancelled between two attempts, and what its record says. */
static void cancel_between(enum cfg_effect effect, unsigned status, const char *settlement)
{
	struct tool_call *call;

	let_fail(100, status);
	world.tool.effect = effect;
	world.tool.idempotency = CFG_IDEMPOTENCY_KEY;
	world.tool.attempts_max = 5;
	world.common.retry_backoff = 10 * BC_USEC_PER_SEC;
	rig_serve_at("/flaky");
	call = rig_run("{}");
	rig_wait_until(is_waiting);
	tool_cancel(call);
	rig_wait_until(rig_no_call_left);
	rig_close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert_uint_eq(rig_requests_seen(), 1);
	ck_assert(rig_holds("settlements WHERE how", settlement));
	ck_assert_int_eq(bc_metric_get(BC_M_TOOLS_IN_FLIGHT), 0);
}

START_TEST(nobody_tries_again_for_nobody)
{
	static const struct {
		enum cfg_effect effect;
		unsigned status;
		const char *settlement;
	} cases[] = {{CFG_EFFECT_READ, 503, "failed"},
		     {CFG_EFFECT_REVERSIBLE, 503, "in_doubt"},
		     {CFG_EFFECT_REVERSIBLE, 429, "failed"}};

	cancel_between(cases[_i].effect, cases[_i].status, cases[_i].settlement);
}
END_TEST

START_TEST(a_call_that_was_cancelled_while_it_failed_is_not_tried_again)
{
	struct tool_call *call;

	world.tool.effect = CFG_EFFECT_REVERSIBLE;
	world.tool.idempotency = CFG_IDEMPOTENCY_KEY;
	world.tool.attempts_max = 5;
	world.tool.timeout = 10 * BC_USEC_PER_SEC;
	let_fail(100, 503);
	rig_serve_at("/hold-flaky");
	call = rig_run("{}");
	rig_wait_until(rig_one_request_seen);
	tool_cancel(call);
	rig_release_server();
	rig_wait_until(rig_no_call_left);
	ck_assert_uint_eq(rig_requests_seen(), 1);
	rig_close_journal();
	ck_assert(rig_holds("settlements WHERE how", "in_doubt"));
}
END_TEST

START_TEST(a_host_that_goes_away_forgets_no_attempt)
{
	let_fail(100, 503);
	world.tool.effect = CFG_EFFECT_REVERSIBLE;
	world.tool.idempotency = CFG_IDEMPOTENCY_KEY;
	world.tool.attempts_max = 5;
	world.common.retry_backoff = 10 * BC_USEC_PER_SEC;
	rig_serve_at("/flaky");
	(void)rig_run("{}");
	rig_wait_until(is_waiting);
	rig_close_journal();
	ck_assert(rig_holds("settlements WHERE how", "in_doubt"));
}
END_TEST

static TCase *add_cases(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, rig_setup, rig_teardown);
	tcase_set_timeout(tcase, 40);
	tcase_add_loop_test(tcase, a_read_is_tried_again_under_one_intent, 0, 4);
	tcase_add_test(tcase, attempts_have_an_end);
	tcase_add_loop_test(tcase, other_errors_are_final, 0, 5);
	tcase_add_test(tcase, a_deadline_is_one_for_all_attempts);
	tcase_add_test(tcase, a_server_that_says_when_is_asked_then);
	tcase_add_test(tcase, a_server_that_says_too_late_is_not_asked);
	tcase_add_loop_test(tcase, j5_what_is_not_idempotent_goes_out_once, 0, 12);
	tcase_add_loop_test(tcase, j5_what_is_idempotent_goes_out_again_with_its_key, 0, 4);
	tcase_add_test(tcase, j7_a_refusal_does_not_lift_a_doubt);
	tcase_add_test(tcase, a_server_that_is_not_there_is_tried_again);
	tcase_add_loop_test(tcase, nobody_tries_again_for_nobody, 0, 3);
	tcase_add_test(tcase, a_call_that_was_cancelled_while_it_failed_is_not_tried_again);
	tcase_add_test(tcase, a_host_that_goes_away_forgets_no_attempt);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("retry");

	suite_add_tcase(suite, add_cases(tcase_create("retry")));
	return tap_run(suite);
}
