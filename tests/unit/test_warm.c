/* Warming up a tool's server before a call that may come. */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "tests/unit/run_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>

static char url[160];

static void setup(void)
{
	rig_setup();
	rig_serve_at("/order");
	(void)snprintf(url, sizeof(url), "%s", world.url);
	world.tool.warmup = (struct cfg_request){.method = "GET", .url = url};
	world.tool.disclosure = CFG_DISCLOSURE_FIRST_PARTY;
}

START_TEST(the_declared_request_is_sent_and_is_no_call)
{
	int64_t before = bc_metric_get(BC_M_WARMUPS);

	tool_warm(world.host, &world.tool);
	tool_warm(world.host, &world.tool); /* one at a time */
	rig_wait_until(rig_one_request_seen);
	ck_assert_int_eq(bc_metric_get(BC_M_WARMUPS) - before, 1);
	ck_assert_str_eq(server.key, "");
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents"), 0);
}
END_TEST

START_TEST(a_third_party_learns_nothing_and_without_a_request_none_is_sent)
{
	int64_t before = bc_metric_get(BC_M_WARMUPS);

	world.tool.disclosure = CFG_DISCLOSURE_THIRD_PARTY;
	tool_warm(world.host, &world.tool);
	world.tool.disclosure = CFG_DISCLOSURE_LOCAL;
	world.tool.warmup = (struct cfg_request){.method = NULL};
	tool_warm(world.host, &world.tool);
	ck_assert_int_eq(bc_metric_get(BC_M_WARMUPS), before);
	ck_assert_uint_eq(rig_requests_seen(), 0);
}
END_TEST

START_TEST(a_host_may_end_while_it_is_sent)
{
	rig_serve_at("/hold");
	(void)snprintf(url, sizeof(url), "%s", world.url);
	tool_warm(world.host, &world.tool);
	rig_wait_until(rig_one_request_seen);
	rig_restart();
	rig_release_server();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("warm");
	TCase *tcase = tcase_create("warm");

	tcase_add_checked_fixture(tcase, setup, rig_teardown);
	tcase_add_test(tcase, the_declared_request_is_sent_and_is_no_call);
	tcase_add_test(tcase, a_third_party_learns_nothing_and_without_a_request_none_is_sent);
	tcase_add_test(tcase, a_host_may_end_while_it_is_sent);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
