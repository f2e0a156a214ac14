/* Effects in doubt: equal calls are not made (J7). */
#include "daemon/base/metric.h"
#include "daemon/tools/call.h"
#include "daemon/tools/host.h"
#include "tests/unit/run_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static void doubt_setup(void)
{
	rig_setup();
	world.tool.effect = CFG_EFFECT_HOLD;
	rig_serve_at("/drop");
}

/* One call to its end. */
static void call_once(const char *arguments)
{
	struct tool_call *call = rig_run(arguments);

	rig_wait_done(world.done + 1);
	tool_settle(call, JRN_USED);
}

START_TEST(j7_an_equal_call_is_answered_from_the_doubt)
{
	int64_t refused = bc_metric_get(BC_M_TOOL_DOUBT_REFUSED);

	world.tool.effect = _i == 0 ? CFG_EFFECT_HOLD : CFG_EFFECT_REVERSIBLE;
	call_once("{\"n\":1}");
	ck_assert_int_eq(world.outcome, TOOL_LOST);
	rig_serve_at("/ok");
	call_once("{\"n\":1}");
	ck_assert_int_eq(world.outcome, TOOL_IN_DOUBT);
	ck_assert_int_eq(world.status, 0);
	ck_assert_str_eq(rig_error_type(), "in_doubt");
	ck_assert_ptr_nonnull(strstr(world.output, "outcome unknown, do not repeat"));
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_DOUBT_REFUSED) - refused, 1);
	ck_assert_uint_eq(rig_requests_seen(), 1);
	rig_close_journal();
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents"), 1);
	ck_assert(rig_holds("settlements WHERE how", "in_doubt"));
}
END_TEST

START_TEST(other_calls_are_made)
{
	call_once("{\"n\":1}");
	rig_serve_at("/ok");
	call_once("{\"n\":2}");
	ck_assert_int_eq(world.outcome, TOOL_OK);
	world.tool.name = "cancel";
	call_once("{\"n\":1}");
	ck_assert_int_eq(world.outcome, TOOL_OK);
	world.tool.name = "order";
	world.tool.effect = CFG_EFFECT_READ;
	call_once("{\"n\":1}");
	ck_assert_int_eq(world.outcome, TOOL_OK);
}
END_TEST

START_TEST(what_surely_did_not_happen_leaves_no_doubt)
{
	rig_serve_at("/status/409");
	call_once("{}");
	rig_serve_at("/ok");
	call_once("{}");
	ck_assert_int_eq(world.outcome, TOOL_OK);
	call_once("{}");
	ck_assert_int_eq(world.outcome, TOOL_OK);
}
END_TEST

START_TEST(a_doubt_nobody_waited_for_counts)
{
	struct tool_call *call;

	world.tool.timeout = 10 * BC_USEC_PER_SEC;
	rig_serve_at("/hold-drop");
	call = rig_run("{}");
	rig_wait_until(rig_one_request_seen);
	tool_cancel(call);
	rig_release_server();
	rig_wait_until(rig_no_call_left);
	call_once("{}");
	ck_assert_int_eq(world.outcome, TOOL_IN_DOUBT);
}
END_TEST

START_TEST(doubts_are_bounded)
{
	static struct tool_doubts doubts;
	struct bc_sha256 first = tool_doubt_digest(BC_SPAN_LIT("s"), "t", BC_SPAN_LIT("first"));
	struct bc_sha256 digest;
	char text[16];
	unsigned i;

	tool_doubts_add(&doubts, 1, &first);
	tool_doubts_add(&doubts, 1, &first);
	ck_assert_uint_eq(doubts.count, 1);
	for (i = 1; i < TOOL_DOUBTS_MAX; i++) {
		(void)snprintf(text, sizeof(text), "%u", i);
		digest = tool_doubt_digest(BC_SPAN_LIT("s"), "t", bc_span_str(text));
		tool_doubts_add(&doubts, 1, &digest);
	}
	ck_assert_uint_eq(doubts.count, TOOL_DOUBTS_MAX);
	ck_assert(tool_doubts_has(&doubts, &first));
	digest = tool_doubt_digest(BC_SPAN_LIT("s"), "t", BC_SPAN_LIT("last"));
	tool_doubts_add(&doubts, 1, &digest);
	ck_assert_uint_eq(doubts.count, TOOL_DOUBTS_MAX);
	ck_assert(tool_doubts_has(&doubts, &digest));
	ck_assert(!tool_doubts_has(&doubts, &first));
}
END_TEST

START_TEST(a_name_is_no_part_of_the_arguments)
{
	struct bc_sha256 a = tool_doubt_digest(BC_SPAN_LIT("s"), "ab", BC_SPAN_LIT("c"));
	struct bc_sha256 b = tool_doubt_digest(BC_SPAN_LIT("s"), "a", BC_SPAN_LIT("bc"));

	ck_assert(!bc_sha256_eq(&a, &b));
}
END_TEST

START_TEST(another_caller_means_another_effect)
{
	call_once("{\"n\":1}");
	rig_serve_at("/ok");
	world.session = "bc_s_other";
	call_once("{\"n\":1}");
	ck_assert_int_eq(world.outcome, TOOL_OK);
}
END_TEST

static TCase *add_cases(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, doubt_setup, rig_teardown);
	tcase_set_timeout(tcase, 40);
	tcase_add_loop_test(tcase, j7_an_equal_call_is_answered_from_the_doubt, 0, 2);
	tcase_add_test(tcase, other_calls_are_made);
	tcase_add_test(tcase, another_caller_means_another_effect);
	tcase_add_test(tcase, what_surely_did_not_happen_leaves_no_doubt);
	tcase_add_test(tcase, a_doubt_nobody_waited_for_counts);
	tcase_add_test(tcase, doubts_are_bounded);
	tcase_add_test(tcase, a_name_is_no_part_of_the_arguments);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("doubt");

	suite_add_tcase(suite, add_cases(tcase_create("doubt")));
	return tap_run(suite);
}
