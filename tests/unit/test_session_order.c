/* Calls one after the other: tools.sequential. */
#include "daemon/config/config.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define SEQUENTIAL "[tools]\nsequential = true\n"

static struct rig rig;

/* One response names a read, a hold and another read. */
static void three_calls(const char *toml)
{
	talk_begin(&rig, toml, "pcm");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_call(&rig, "r1", "f2", "book", TALK_NIGHT);
	talk_call(&rig, "r1", "f3", "get_order", "{\\\"id\\\":\\\"8\\\"}");
	talk_done(&rig, "r1", "completed");
}

static void teardown(void)
{
	rig_fini(&rig);
}

START_TEST(calls_of_a_response_run_at_once)
{
	three_calls(TALK_CONFIG "[speculation]\nmode = \"off\"\n");
	ck_assert_uint_eq(rig.run_count, 3);
}
END_TEST

START_TEST(sequential_calls_run_in_order)
{
	three_calls(TALK_CONFIG SEQUENTIAL "[speculation]\nmode = \"off\"\n");
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert_str_eq(rig.runs[0].tool->name, "get_order");
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert_str_eq(rig.runs[1].tool->name, "book");
	rig_finish(&rig, 1, "{}");
	ck_assert_uint_eq(rig.run_count, 3);
	ck_assert_ptr_nonnull(strstr(rig.runs[2].arguments, "8"));
	rig_finish(&rig, 2, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 3);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(an_equal_call_waits_with_the_one_it_repeats)
{
	talk_begin(&rig, TALK_CONFIG SEQUENTIAL "[speculation]\nmode = \"off\"\n", "pcm");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_call(&rig, "r1", "f2", "book", TALK_NIGHT);
	talk_done(&rig, "r1", "cancelled");
	talk_created(&rig, "r2", "null");
	talk_call(&rig, "r2", "f3", "book", TALK_NIGHT);
	talk_done(&rig, "r2", "completed");
	rig_finish(&rig, 0, "{}");
	rig_finish(&rig, 1, "{}");
	ck_assert_uint_eq(rig.run_count,
			  2); /* one effect, however often it was named while it waited */
	ck_assert_uint_eq(talk_outputs(&rig), 3);
}
END_TEST

START_TEST(a_read_that_is_given_up_makes_room)
{
	three_calls(
		TALK_CONFIG SEQUENTIAL
		"[speculation]\nmode = \"off\"\n[[tool]]\nname = \"look\"\ndescription = \"Looks.\"\n"
		"effect = \"read\"\non_barge_in = \"cancel\"\nparameters = { type = \"object\" }\n"
		"request = { method = \"GET\", url = \"http://localhost:1/look\" }\n");
	rig_finish(&rig, 0, "{}");
	rig_finish(&rig, 1, "{}");
	rig_finish(&rig, 2, "{}");
	(void)talk_outputs(&rig);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	talk_created(&rig, "r2", "null");
	talk_call(&rig, "r2", "f4", "look", "{}");
	talk_call(&rig, "r2", "f5", "get_order", "{\\\"id\\\":\\\"9\\\"}");
	talk_done(&rig, "r2", "completed");
	ck_assert_uint_eq(rig.run_count, 4);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	ck_assert(rig.runs[3].cancelled);
	ck_assert_uint_eq(rig.run_count, 5);
	ck_assert_str_eq(rig.runs[4].tool->name, "get_order");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session order");
	TCase *tcase = tcase_create("sequential");

	tcase_add_checked_fixture(tcase, NULL, teardown);
	tcase_add_test(tcase, calls_of_a_response_run_at_once);
	tcase_add_test(tcase, sequential_calls_run_in_order);
	tcase_add_test(tcase, an_equal_call_waits_with_the_one_it_repeats);
	tcase_add_test(tcase, a_read_that_is_given_up_makes_room);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
