/* Leaving a failing tool server alone: the machine by itself, told the time, and then in front of real calls. */
#include "daemon/base/metric.h"
#include "daemon/loop/loop.h"
#include "daemon/tools/call.h"
#include "daemon/tools/host.h"
#include "tests/unit/run_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define SEC BC_USEC_PER_SEC

static const char url[] = "https://shop.example/orders/{order}";
static struct breaker_list list = LIST_HEAD_INITIALIZER(list);
static const struct cfg_tools limits = {.breaker_failures = 3, .breaker_cooldown = 5 * SEC};

static void report_url(const char *at, bool probe, bool good, bc_usec now)
{
	struct breaker_outcome outcome = {.url = at, .probe = probe, .good = good};

	breaker_report(&list, &outcome, &limits, now);
}

static void report(bool probe, bool good, bc_usec now)
{
	report_url(url, probe, good, now);
}

static void trip(bc_usec now)
{
	unsigned i;

	for (i = 0; i < 3; i++) {
		ck_assert(!breaker_refuses(&list, url, now));
		ck_assert(!breaker_enter(&list, url, now));
		report(false, false, now);
	}
}

START_TEST(failures_in_a_row_open_it)
{
	int64_t opened = bc_metric_get(BC_M_BREAKER_OPENED);

	trip(0);
	ck_assert(breaker_refuses(&list, url, 0));
	ck_assert(breaker_refuses(&list, url, 5 * SEC - 1));
	ck_assert(!breaker_refuses(&list, url, 5 * SEC));
	ck_assert_int_eq(bc_metric_get(BC_M_BREAKER_OPENED) - opened, 1);
}
END_TEST

START_TEST(a_success_between_failures_counts_them_anew)
{
	unsigned i;

	for (i = 0; i < 10; i++) {
		report(false, false, 0);
		report(false, false, 0);
		report(false, true, 0);
	}
	ck_assert(!breaker_refuses(&list, url, 0));
	ck_assert(LIST_EMPTY(&list));
}
END_TEST

START_TEST(one_probe_closes_it)
{
	trip(0);
	ck_assert(breaker_enter(&list, url, 5 * SEC));
	ck_assert(breaker_refuses(&list, url, 100 * SEC));
	report(true, true, 6 * SEC);
	ck_assert(!breaker_refuses(&list, url, 6 * SEC));
	ck_assert(LIST_EMPTY(&list));
	/* The next outage begins with the first pause again. */
	trip(7 * SEC);
	ck_assert(!breaker_refuses(&list, url, 12 * SEC));
}
END_TEST

START_TEST(pauses_double_up_to_a_minute)
{
	static const bc_usec pauses[] = {5, 10, 20, 40, 60, 60, 60};
	bc_usec now = 0;
	size_t i;

	trip(now);
	for (i = 0; i < BC_ARRAY_LEN(pauses); i++) {
		ck_assert(breaker_refuses(&list, url, now + pauses[i] * SEC - 1));
		now += pauses[i] * SEC;
		ck_assert(breaker_enter(&list, url, now));
		report(true, false, now);
	}
}
END_TEST

START_TEST(an_abandoned_probe_lets_the_next_call_be_one)
{
	trip(0);
	ck_assert(breaker_enter(&list, url, 5 * SEC));
	breaker_abandon(&list, url);
	ck_assert(!breaker_refuses(&list, url, 5 * SEC));
	ck_assert(breaker_enter(&list, url, 5 * SEC));
	report(true, true, 5 * SEC);
	ck_assert(LIST_EMPTY(&list));
}
END_TEST

START_TEST(calls_from_before_tell_nothing)
{
	trip(0);
	report(false, true, 1);
	report(false, false, 2);
	ck_assert(breaker_refuses(&list, url, 5 * SEC - 1));
	ck_assert(breaker_enter(&list, url, 5 * SEC));
	report(false, true, 5 * SEC);
	report(false, false, 5 * SEC);
	ck_assert(breaker_refuses(&list, url, 5 * SEC));
	report(true, true, 5 * SEC);
	ck_assert(!breaker_refuses(&list, url, 5 * SEC));
}
END_TEST

START_TEST(zero_failures_never_open_it)
{
	struct cfg_tools never = {.breaker_cooldown = 5 * SEC};
	struct breaker_outcome outcome = {.url = url};
	unsigned i;

	for (i = 0; i < 100; i++) {
		breaker_report(&list, &outcome, &never, 0);
	}
	ck_assert(LIST_EMPTY(&list));
}
END_TEST

START_TEST(each_server_has_its_own)
{
	static const struct {
		const char *url;
		bool same;
	} cases[] = {
		{"https://shop.example", true},
		{"https://SHOP.example:443/other?q=1", true},
		{"https://shop.example?x=/", true},
		{"https://shop.example:8443/orders", false},
		{"http://shop.example/orders", false},
		{"https://shop.example:80/orders", false},
		{"https://shop.example.org/orders", false},
		{"https://hop.example/orders", false},
	};

	trip(0);
	ck_assert_msg(breaker_refuses(&list, cases[_i].url, 1) == cases[_i].same, "%s",
		      cases[_i].url);
	report_url(cases[_i].url, false, false, 1);
	ck_assert_int_eq(LIST_NEXT(LIST_FIRST(&list), link) == NULL, cases[_i].same);
}
END_TEST

START_TEST(the_table_has_five_edges)
{
	unsigned edges = 0;
	unsigned from;
	unsigned on;

	for (from = 0; from < BREAKER_STATE__COUNT; from++) {
		for (on = 0; on < BREAKER_EVENT__COUNT; on++) {
			edges += breaker_state_next((enum breaker_state)from,
						    (enum breaker_event)on) != BREAKER_STATE__COUNT;
		}
	}
	ck_assert_uint_eq(edges, 5);
}
END_TEST

static void clear(void)
{
	breaker_list_clear(&list);
	ck_assert(LIST_EMPTY(&list));
}

/* ---- in front of calls ---- */

static void set_failing(unsigned count)
{
	(void)pthread_mutex_lock(&server.mutex);
	server.fail_first = count;
	server.fail_status = 503;
	(void)pthread_mutex_unlock(&server.mutex);
}

static void breaker_setup(void)
{
	rig_setup();
	rig_serve_at("/flaky");
	world.common.breaker_failures = 2;
	world.common.breaker_cooldown = 60 * SEC;
}

/* One call to its end. */
static void call_once(void)
{
	struct tool_call *call = rig_run("{}");

	rig_wait_done(world.done + 1);
	tool_settle(call, JRN_USED);
}

/* The pause is over. */
static void end_pause(void)
{
	struct breaker *breaker = LIST_FIRST(&world.host->breakers);

	ck_assert_int_eq(breaker->state, BREAKER_OPEN);
	breaker->until = 0;
}

START_TEST(an_open_breaker_answers_at_once_and_leaves_no_trace)
{
	int64_t refused = bc_metric_get(BC_M_BREAKER_REFUSED);

	world.tool.effect = _i == 0 ? CFG_EFFECT_READ : CFG_EFFECT_HOLD;
	set_failing(100);
	call_once();
	world.tool.name = "cancel"; /* another tool of the same server */
	call_once();
	ck_assert_uint_eq(rig_requests_seen(), 2);
	world.tool.name = "change";
	call_once();
	ck_assert_int_eq(world.outcome, TOOL_OPEN);
	ck_assert_str_eq(tool_outcome_name(world.outcome), "breaker");
	ck_assert_str_eq(rig_error_type(), "unavailable, retryable");
	ck_assert_ptr_nonnull(strstr(world.output, "try again later"));
	ck_assert_int_eq(bc_metric_get(BC_M_BREAKER_REFUSED) - refused, 1);
	ck_assert_uint_eq(rig_requests_seen(), 2);
	ck_assert_int_eq(bc_metric_get(BC_M_TOOLS_IN_FLIGHT), 0);
	rig_close_journal();
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents"), 2);
}
END_TEST

START_TEST(a_server_that_recovers_is_called_again)
{
	set_failing(3);
	call_once();
	call_once();
	end_pause();
	call_once();
	ck_assert_int_eq(world.outcome, TOOL_HTTP_ERROR);
	call_once();
	ck_assert_int_eq(world.outcome, TOOL_OPEN);
	end_pause();
	call_once();
	ck_assert_int_eq(world.outcome, TOOL_OK);
	call_once();
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert_uint_eq(rig_requests_seen(), 5);
}
END_TEST

START_TEST(a_refusal_is_no_failure)
{
	unsigned i;

	rig_serve_at("/status/404");
	for (i = 0; i < 5; i++) {
		call_once();
		ck_assert_int_eq(world.outcome, TOOL_HTTP_ERROR);
	}
	ck_assert(LIST_EMPTY(&world.host->breakers));
}
END_TEST

START_TEST(only_one_call_probes)
{
	struct tool_call *probe;

	set_failing(2);
	call_once();
	call_once();
	end_pause();
	rig_serve_at("/hold");
	probe = rig_run("{}");
	call_once();
	ck_assert_int_eq(world.outcome, TOOL_OPEN);
	rig_release_server();
	rig_wait_done(world.done + 1);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	tool_settle(probe, JRN_USED);
	call_once();
	ck_assert_int_eq(world.outcome, TOOL_OK);
}
END_TEST

static bool three_requests_seen(void)
{
	return rig_requests_seen() == 3;
}

START_TEST(a_probe_that_ends_early_makes_room)
{
	struct cfg_header header = {.name = "X-Note", .value = "{note}"};
	struct tool_call *call;

	set_failing(2);
	call_once();
	call_once();
	end_pause();
	if (_i == 0) {
		rig_serve_at("/hold");
		call = rig_run("{}");
		rig_wait_until(three_requests_seen);
		tool_cancel(call);
	} else {
		world.tool.request.headers = &header;
		world.tool.request.header_count = 1;
		call = rig_run("{\"note\":\"a\\nb\"}");
		rig_wait_done(world.done + 1);
		ck_assert_str_eq(rig_error_type(), "invalid_arguments");
		tool_settle(call, JRN_USED);
		world.tool.request.header_count = 0;
	}
	rig_serve_at("/ok");
	call_once();
	ck_assert_int_eq(world.outcome, TOOL_OK);
}
END_TEST

START_TEST(attempts_count_and_end_when_it_opens)
{
	set_failing(100);
	world.tool.attempts_max = 5;
	world.tool.timeout = 3600 * SEC;
	call_once();
	ck_assert_int_eq(world.outcome, TOOL_HTTP_ERROR);
	ck_assert_uint_eq(rig_requests_seen(), 2);
}
END_TEST

START_TEST(nobody_waits_for_an_attempt_it_would_refuse)
{
	set_failing(100);
	world.common.breaker_failures = 1;
	world.common.retry_backoff = 50 * SEC;
	world.tool.attempts_max = 5;
	world.tool.timeout = 3600 * SEC;
	call_once();
	ck_assert_int_eq(world.outcome, TOOL_HTTP_ERROR);
	ck_assert_uint_eq(rig_requests_seen(), 1);
}
END_TEST

static bool is_waiting(void)
{
	struct tool_call *call = TAILQ_FIRST(&world.host->calls);

	return call->state == TOOL_STATE_WAITING;
}

START_TEST(an_attempt_that_comes_too_late_is_not_made)
{
	struct breaker_outcome outcome = {.url = world.url};
	struct tool_call *call;

	set_failing(100);
	world.tool.attempts_max = 5;
	world.common.retry_backoff = BC_USEC_PER_SEC;
	call = rig_run("{}");
	rig_wait_until(is_waiting);
	breaker_report(&world.host->breakers, &outcome, &world.common, loop_now(world.loop));
	rig_wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_HTTP_ERROR);
	ck_assert_uint_eq(rig_requests_seen(), 1);
	tool_settle(call, JRN_USED);
}
END_TEST

static TCase *machine_cases(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, NULL, clear);
	tcase_add_test(tcase, failures_in_a_row_open_it);
	tcase_add_test(tcase, a_success_between_failures_counts_them_anew);
	tcase_add_test(tcase, one_probe_closes_it);
	tcase_add_test(tcase, pauses_double_up_to_a_minute);
	tcase_add_test(tcase, an_abandoned_probe_lets_the_next_call_be_one);
	tcase_add_test(tcase, calls_from_before_tell_nothing);
	tcase_add_test(tcase, zero_failures_never_open_it);
	tcase_add_loop_test(tcase, each_server_has_its_own, 0, 8);
	tcase_add_test(tcase, the_table_has_five_edges);
	return tcase;
}

static TCase *call_cases(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, breaker_setup, rig_teardown);
	tcase_set_timeout(tcase, 40);
	tcase_add_loop_test(tcase, an_open_breaker_answers_at_once_and_leaves_no_trace, 0, 2);
	tcase_add_test(tcase, a_server_that_recovers_is_called_again);
	tcase_add_test(tcase, a_refusal_is_no_failure);
	tcase_add_test(tcase, only_one_call_probes);
	tcase_add_loop_test(tcase, a_probe_that_ends_early_makes_room, 0, 2);
	tcase_add_test(tcase, attempts_count_and_end_when_it_opens);
	tcase_add_test(tcase, nobody_waits_for_an_attempt_it_would_refuse);
	tcase_add_test(tcase, an_attempt_that_comes_too_late_is_not_made);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("breaker");

	suite_add_tcase(suite, machine_cases(tcase_create("machine")));
	suite_add_tcase(suite, call_cases(tcase_create("calls")));
	return tap_run(suite);
}
