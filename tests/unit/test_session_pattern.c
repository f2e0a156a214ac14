/* Calls that follow a pattern, in a session: run at once, used only when somebody else names them. */
#include "daemon/config/config.h"
#include "daemon/session/sess.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

/* Beside get_order a read that takes what an order says. */
#define TRACK                                                                                                           \
	"[[tool]]\nname = \"track\"\ndescription = \"Where a parcel is.\"\neffect = \"read\"\ndisclosure = \"local\"\n" \
	"tags = [\"parcels\"]\nparameters = { type = \"object\", properties = { parcel = { type = \"string\" } }, "     \
	"required = [\"parcel\"] }\nrequest = { method = \"GET\", url = \"http://localhost:1/{parcel}\" }\n"
#define CONFIG     TALK_CONFIG TRACK "[speculation]\nmode = \"strict\"\n"
#define RESULT     "{\"parcel\":\"p-7\"}"
#define TALK_TRACK "{\\\"parcel\\\":\\\"p-7\\\"}"

static struct rig rig;

/* What earlier sessions have shown: an order, then its parcel; in the same turn, or in the next. */
static void teach(uint64_t turns)
{
	struct pattern_trail *trail = pattern_trail_new();
	bc_usec at = 1000;

	for (uint64_t i = 1; i < 4; i++) {
		const struct pattern_call order = {.tool = "get_order",
						   .arguments = "{\"id\":\"3\"}",
						   .output = BC_SPAN_LIT("{\"parcel\":\"p-1\"}"),
						   .turn = 10 * i,
						   .started = at,
						   .finished = at + 1};
		const struct pattern_call track = {.tool = "track",
						   .arguments = "{\"parcel\":\"p-1\"}",
						   .output = BC_SPAN_LIT("{}"),
						   .turn = 10 * i + turns,
						   .started = at + 2,
						   .finished = at + 3};

		pattern_observe(rig.patterns, trail, &order);
		pattern_observe(rig.patterns, trail, &track);
		at += 10;
	}
	pattern_trail_free(trail);
}

static void begin(const char *toml)
{
	talk_begin(&rig, toml, "pcm");
	rig.patterns = patterns_new();
	rig.trail = pattern_trail_new();
	ck_assert(rig.patterns != NULL && rig.trail != NULL);
}

static void end(void)
{
	rig_fini(&rig);
	rig.patterns = patterns_free(rig.patterns);
	rig.trail = pattern_trail_free(rig.trail);
}

/* The caller speaks, and the provider looks the order up. */
static void order(void)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 300, false);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_done(&rig, "r1", "completed");
	ck_assert_uint_eq(rig.run_count, 1);
	talk_skip(&rig, SESS_UPSTREAM);
}

START_TEST(what_follows_a_result_runs_before_it_is_called)
{
	begin(CONFIG);
	teach(0);
	order();
	rig_finish(&rig, 0, RESULT);
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert_str_eq(rig.runs[1].tool->name, "track");
	ck_assert_str_eq(rig.runs[1].arguments, RESULT);
	ck_assert(rig.runs[1].speculative);
	(void)talk_outputs(&rig);
	rig_finish(&rig, 1, "{}");
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_call(&rig, "r2", "f2", "track", TALK_TRACK);
	talk_done(&rig, "r2", "completed");
	ck_assert_uint_eq(rig.run_count, 2); /* it has the result already */
	ck_assert(rig.runs[1].committed);
	end();
}
END_TEST

START_TEST(a_prediction_that_nobody_names_is_dropped)
{
	begin(CONFIG);
	teach(0);
	order();
	rig_finish(&rig, 0, RESULT);
	ck_assert_uint_eq(rig.run_count, 2);
	(void)talk_outputs(&rig);
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_done(&rig, "r2", "completed");
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 300, false);
	talk_commit(&rig, "u2", "u1");
	ck_assert(rig.runs[1].cancelled);
	ck_assert(!rig.runs[1].committed);
	end();
}
END_TEST

START_TEST(the_turn_behind_is_prefetched_when_it_begins)
{
	begin(CONFIG);
	teach(1);
	order();
	rig_finish(&rig, 0, RESULT);
	ck_assert_uint_eq(rig.run_count, 1); /* not in the same turn */
	(void)talk_outputs(&rig);
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_done(&rig, "r2", "completed");
	talk_audio(&rig, 300, true);
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert_str_eq(rig.runs[1].arguments, RESULT);
	talk_audio(&rig, 300, false);
	talk_commit(&rig, "u2", "u1");
	talk_created(&rig, "r3", "null");
	talk_call(&rig, "r3", "f3", "track", TALK_TRACK);
	talk_done(&rig, "r3", "completed");
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(rig.runs[1].committed);
	rig_finish(&rig, 1, "{}");
	end();
}
END_TEST

START_TEST(patterns_can_be_switched_off)
{
	begin(_i == 0 ? CONFIG "patterns = false\n" : CONFIG "prefetch = false\n");
	teach((uint64_t)_i);
	order();
	rig_finish(&rig, 0, RESULT);
	(void)talk_outputs(&rig);
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_done(&rig, "r2", "completed");
	talk_audio(&rig, 300, true);
	ck_assert_uint_eq(rig.run_count, 1);
	end();
}
END_TEST

START_TEST(what_does_not_fit_or_is_no_read_is_not_proposed)
{
	static const char *const configs[] = {
		TALK_CONFIG "[speculation]\nmode = \"strict\"\n", /* there is no such tool */
		TALK_CONFIG TRACK "speculation = \"off\"\n",
	};

	begin(configs[_i]);
	teach(0);
	order();
	rig_finish(&rig, 0, RESULT);
	ck_assert_uint_eq(rig.run_count, 1);
	end();
}
END_TEST

START_TEST(a_session_teaches_others)
{
	begin(CONFIG);
	order();
	rig_finish(&rig, 0, RESULT);
	(void)talk_outputs(&rig);
	talk_created(&rig, "r2", "{'bc':'f'}");
	rig_wait(&rig, 1000);
	talk_call(&rig, "r2", "f2", "track", TALK_TRACK);
	talk_done(&rig, "r2", "completed");
	rig_finish(&rig, 1, "{}");
	ck_assert_uint_eq(patterns_count(rig.patterns), 1);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_pattern");
	TCase *tcase = tcase_create("session_pattern");

	tcase_add_test(tcase, what_follows_a_result_runs_before_it_is_called);
	tcase_add_test(tcase, a_prediction_that_nobody_names_is_dropped);
	tcase_add_test(tcase, the_turn_behind_is_prefetched_when_it_begins);
	tcase_add_loop_test(tcase, patterns_can_be_switched_off, 0, 2);
	tcase_add_loop_test(tcase, what_does_not_fit_or_is_no_read_is_not_proposed, 0, 2);
	tcase_add_test(tcase, a_session_teaches_others);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
