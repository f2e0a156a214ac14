/* What a session does not put up with: calls that cannot be run, silence of the provider, truncations of unsent audio. */
#include "daemon/config/config.h"
#include "daemon/session/sess.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define OFF TALK_CONFIG "[speculation]\nmode = \"off\"\n"
#define SEC BC_USEC_PER_SEC
#define BAD "{\\\"id\\\":7}"

static struct rig rig;

static void setup(void)
{
	talk_begin(&rig, OFF, "pcm");
}

static void setup_guessing(void)
{
	talk_begin(&rig, TALK_CONFIG, "pcm");
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* ---- pieces ---- */

static void expect_string(enum sess_side side, const char *type, const char *path,
			  const char *expected)
{
	json_t *event = rig_next(&rig, side, type);

	ck_assert_str_eq(rig_string(event, path), expected);
	json_decref(event);
}

static void expect_error_output(const char *type)
{
	json_t *event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");
	json_t *output = json_loads(rig_string(event, "item.output"), 0, NULL);

	ck_assert_str_eq(rig_string(output, "error.type"), type);
	json_decref(output);
	rig_up(&rig,
	       "{'type':'conversation.item.added','item':{'id':'%s','type':'function_call_output'}}",
	       rig_string(event, "item.id"));
	json_decref(event);
}

static void called(const char *response, const char *metadata, const char *item, const char *tool,
		   const char *arguments)
{
	talk_created(&rig, response, metadata);
	talk_call(&rig, response, item, tool, arguments);
	talk_done(&rig, response, "completed");
}

/* The client declares a tool "mine"; taken: and the provider has said so. */
static void declare(bool taken)
{
	rig_client(
		&rig,
		"{'type':'session.update','session':{'type':'realtime','tools':[{'type':'function','name':'mine'}]}}");
	if (taken) {
		rig_up(&rig, "{'type':'session.updated','session':{'tools':[]}}");
	}
	talk_skip(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
}

/* ---- calls that cannot be run ---- */

START_TEST(an_unknown_tool_is_answered_with_an_error_and_a_restart)
{
	called("r1", "null", "f1", "teleport", "{}");
	rig_silent(&rig, SESS_CLIENT);
	ck_assert_uint_eq(rig.run_count, 0);
	expect_error_output("unknown_function");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(a_tool_of_the_client_is_its_own_business)
{
	declare(_i == 1); /* also while the provider has not answered */
	called("r1", "null", "f1", "mine", "{}");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
}
END_TEST

START_TEST(a_tool_of_one_request_is_known_in_its_response)
{
	rig_client(
		&rig,
		"{'type':'response.create','response':{'tools':[{'type':'function','name':'once'}]}}");
	talk_skip(&rig, SESS_UPSTREAM);
	called("r1", "null", "f1", "once", "{}");
	rig_silent(&rig, SESS_UPSTREAM);
	talk_skip(&rig, SESS_CLIENT);
	called("r2", "null", "f2", "once", "{}");
	expect_error_output("unknown_function");
}
END_TEST

START_TEST(a_stored_prompt_may_bring_tools)
{
	rig_up(&rig, "{'type':'session.updated','session':{'tools':[],'prompt':{'id':'pmpt_1'}}}");
	called("r1", "null", "f1", "teleport", "{}");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

static void invalid_rounds(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char id[16];
		char item[16];

		(void)snprintf(id, sizeof(id), "r%u", i + 1);
		(void)snprintf(item, sizeof(item), "f%u", i + 1);
		called(id, i == 0 ? "null" : "{'bc':'f'}", item, "get_order", BAD);
		expect_error_output("invalid_arguments");
		rig_expect(&rig, SESS_UPSTREAM, "response.create");
	}
}

START_TEST(a_turn_is_given_up_after_three_restarts)
{
	talk_commit(&rig, "u1", NULL);
	invalid_rounds(3);
	called("r8", "{'bc':'f'}", "f8", "get_order", BAD);
	expect_error_output("invalid_arguments"); /* T1 holds all the same */
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 60 * SEC);
	rig_silent(&rig, SESS_UPSTREAM);
	/* The next turn has restarts of its own. */
	talk_commit(&rig, "u2", "u1");
	called("r9", "null", "f9", "get_order", BAD);
	expect_error_output("invalid_arguments");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(a_turn_given_up_ends_the_clients_own_response)
{
	rig_client(&rig, "{'type':'response.create','event_id':'e1'}");
	talk_skip(&rig, SESS_UPSTREAM);
	invalid_rounds(3);
	talk_skip(&rig, SESS_CLIENT);
	called("r8", "{'bc':'f'}", "f8", "get_order", BAD);
	expect_error_output("invalid_arguments");
	rig_silent(&rig, SESS_UPSTREAM);
	expect_string(SESS_CLIENT, "response.done", "response.status", "failed");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(a_result_beside_a_call_that_cannot_be_run_is_told)
{
	talk_commit(&rig, "u1", NULL);
	invalid_rounds(3);
	talk_created(&rig, "r8", "{'bc':'f'}");
	talk_call(&rig, "r8", "f8", "get_order", BAD);
	talk_call(&rig, "r8", "f9", "get_order", TALK_ORDER);
	talk_done(&rig, "r8", "completed");
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 2);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(the_limit_is_the_operators)
{
	struct rig strict;

	talk_begin(&strict, OFF "[tools]\nrestarts_max = 0\n", "pcm");
	talk_created(&strict, "r1", "null");
	talk_call(&strict, "r1", "f1", "get_order", BAD);
	talk_done(&strict, "r1", "completed");
	ck_assert_uint_eq(talk_outputs(&strict), 1);
	rig_silent(&strict, SESS_UPSTREAM);
	rig_fini(&strict);
}
END_TEST

/* ---- silence of the provider ---- */

START_TEST(r5_a_request_the_provider_never_answers_ends_in_an_error)
{
	rig_client(&rig, "{'type':'response.create','event_id':'e1'}");
	rig_wait(&rig, 15 * SEC - 1);
	rig_silent(&rig, SESS_CLIENT);
	rig_wait(&rig, 1);
	expect_string(SESS_CLIENT, "error", "error.event_id", "e1");
	rig_wait(&rig, 60 * SEC);
	rig_silent(&rig, SESS_CLIENT);
	/* Nothing waits for it any more: a tool's answer is asked for. */
	talk_skip(&rig, SESS_UPSTREAM);
	called("r1", "null", "f1", "get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(an_answered_request_is_not_late)
{
	rig_client(&rig, "{'type':'response.create','event_id':'e1'}");
	talk_created(&rig, "r1", "null");
	talk_skip(&rig, SESS_CLIENT);
	rig_wait(&rig, 60 * SEC);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

/* A request with metadata that got its error; the provider's silence is over. */
static void refused_for_silence(void)
{
	rig_client(&rig,
		   "{'type':'response.create','event_id':'e1','response':{'metadata':{'n':'1'}}}");
	rig_wait(&rig, 15 * SEC);
	expect_string(SESS_CLIENT, "error", "error.event_id", "e1");
	talk_skip(&rig, SESS_UPSTREAM);
}

/* 0: it has begun, and nothing more is heard of it; 1: it was cancelled, and does not end. */
START_TEST(r5_a_request_behind_a_response_without_an_end_gets_an_error)
{
	talk_created(&rig, "r1", "null");
	if (_i == 1) {
		rig_client(&rig, "{'type':'response.cancel'}");
		rig_expect(&rig, SESS_CLIENT, "error");
	}
	talk_skip(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 10 * SEC);
	rig_client(&rig, "{'type':'response.create','event_id':'e1'}");
	rig_wait(&rig, 14 * SEC);
	rig_silent(&rig, SESS_CLIENT);
	rig_wait(&rig, 2 * SEC);
	expect_string(SESS_CLIENT, "error", "error.event_id", "e1");
	talk_done(&rig, "r1", "cancelled");
	rig_silent(&rig, SESS_UPSTREAM); /* it has had its answer */
}
END_TEST

START_TEST(r5_a_late_answer_is_no_second_one)
{
	refused_for_silence();
	talk_created(&rig, "r1", "{'n':'1'}");
	expect_string(SESS_UPSTREAM, "response.cancel", "response_id", "r1");
	/* What is asked for now is answered when that has ended. */
	rig_client(&rig,
		   "{'type':'response.create','event_id':'e2','response':{'metadata':{'n':'2'}}}");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_up(&rig, "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1',"
		     "'type':'message','role':'assistant'}}");
	talk_done(&rig, "r1", "cancelled");
	rig_silent(&rig, SESS_CLIENT);
	expect_string(SESS_UPSTREAM, "conversation.item.delete", "item_id", "m1");
	expect_string(SESS_UPSTREAM, "response.create", "event_id", "e2");
	talk_created(&rig, "r2", "{'n':'2'}");
	expect_string(SESS_CLIENT, "response.created", "response.id", "r2");
}
END_TEST

START_TEST(r5_a_request_that_meets_a_late_answer_waits_for_its_end)
{
	refused_for_silence();
	rig_client(&rig,
		   "{'type':'response.create','event_id':'e2','response':{'metadata':{'n':'2'}}}");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	talk_created(&rig, "r1", "{'n':'1'}");
	rig_expect(&rig, SESS_UPSTREAM, "response.cancel");
	rig_up(&rig, "{'type':'error','error':{'type':'invalid_request_error','code':"
		     "'conversation_already_has_active_response','event_id':'e2'}}");
	talk_done(&rig, "r1", "cancelled");
	rig_silent(&rig, SESS_CLIENT);
	expect_string(SESS_UPSTREAM, "response.create", "event_id", "e2");
}
END_TEST

START_TEST(r5_a_late_refusal_is_no_second_one)
{
	refused_for_silence();
	rig_up(&rig, "{'type':'error','error':{'type':'server_error','event_id':'e1'}}");
	rig_silent(&rig, SESS_CLIENT);
	/* One is enough: it is forgotten now. */
	rig_up(&rig, "{'type':'error','error':{'type':'server_error','event_id':'e1'}}");
	rig_expect(&rig, SESS_CLIENT, "error");
}
END_TEST

START_TEST(r5_of_equal_requests_the_one_that_waits_is_answered)
{
	rig_client(&rig, "{'type':'response.create','event_id':'e1'}");
	rig_wait(&rig, 15 * SEC);
	rig_expect(&rig, SESS_CLIENT, "error");
	rig_client(&rig, "{'type':'response.create','event_id':'e2'}");
	talk_created(&rig, "r1", "null");
	expect_string(SESS_CLIENT, "response.created", "response.id", "r1");
	rig_up(&rig, "{'type':'error','error':{'type':'invalid_request_error','code':"
		     "'conversation_already_has_active_response','event_id':'e2'}}");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(r5_a_late_answer_beside_the_conversation_is_not_shown)
{
	rig_client(&rig, "{'type':'response.create','event_id':'e1','response':{'conversation':"
			 "'none','metadata':{'n':'1'}}}");
	rig_wait(&rig, 15 * SEC);
	rig_expect(&rig, SESS_CLIENT, "error");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_up(&rig, "{'type':'response.created','response':{'id':'r1','conversation_id':null,"
		     "'metadata':{'n':'1'}}}");
	expect_string(SESS_UPSTREAM, "response.cancel", "response_id", "r1");
	talk_done(&rig, "r1", "cancelled");
	rig_silent(&rig, SESS_CLIENT);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(silence_does_not_count_while_the_provider_is_not_read)
{
	rig.pressure[SESS_CLIENT] = true;
	rig_up(&rig, "{'type':'x'}");
	ck_assert(!rig.reading[SESS_UPSTREAM]);
	rig_client(&rig, "{'type':'response.create','event_id':'e1'}");
	talk_skip(&rig, SESS_CLIENT);
	rig_wait(&rig, 20 * SEC);
	rig_silent(&rig, SESS_CLIENT);
	rig.pressure[SESS_CLIENT] = false;
	sess_drained(rig.sess, SESS_CLIENT);
	rig_wait(&rig, 15 * SEC);
	rig_expect(&rig, SESS_CLIENT, "error");
}
END_TEST

START_TEST(an_answer_of_ours_that_never_comes_is_asked_for_again_and_given_up)
{
	rig_client(&rig, "{'type':'response.create','event_id':'e1'}");
	called("r1", "null", "f1", "get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{}");
	talk_skip(&rig, SESS_CLIENT);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	for (unsigned i = 0; i < 3; i++) {
		rig_expect(&rig, SESS_UPSTREAM, "response.create");
		rig_wait(&rig, 15 * SEC);
		rig_wait(&rig, 3 * SEC);
	}
	rig_silent(&rig, SESS_UPSTREAM);
	expect_string(SESS_CLIENT, "response.done", "response.status", "failed");
	/* What begins late is the gateway's all the same: its mark is not shown. */
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_done(&rig, "r2", "completed");
	ck_assert_ptr_null(strstr(rig.sent[SESS_CLIENT][rig.count[SESS_CLIENT] - 1], "\"bc\""));
}
END_TEST

START_TEST(a_pass_that_never_ends_makes_room_for_others)
{
	talk_audio(&rig, 600, true);
	talk_audio(&rig, 200, false);
	while (strstr(rig.sent[SESS_UPSTREAM][rig.count[SESS_UPSTREAM] - 1], "\"bc\":\"p\"") ==
		       NULL &&
	       rig.count[SESS_UPSTREAM] > 0) {
		free(rig.sent[SESS_UPSTREAM][--rig.count[SESS_UPSTREAM]]);
	}
	ck_assert_uint_gt(rig.count[SESS_UPSTREAM], 0);
	talk_skip(&rig, SESS_UPSTREAM);
	if (_i == 1) {
		rig_up(&rig,
		       "{'type':'response.created','response':{'id':'p1','conversation_id':null,'metadata':{'bc':'p','bc_t':'1','bc_v':'1'}}}");
	}
	rig_wait(&rig, 10 * SEC);
	if (_i == 1) {
		expect_string(SESS_UPSTREAM, "response.cancel", "response_id", "p1");
	} else {
		rig_up(&rig,
		       "{'type':'response.created','response':{'id':'p1','conversation_id':null,'metadata':{'bc':'p','bc_t':'1','bc_v':'1'}}}");
		expect_string(SESS_UPSTREAM, "response.cancel", "response_id", "p1");
	}
	talk_audio(&rig, 600, true);
	talk_audio(&rig, 200, false);
	for (unsigned i = rig.seen[SESS_UPSTREAM]; i < rig.count[SESS_UPSTREAM]; i++) {
		if (strstr(rig.sent[SESS_UPSTREAM][i], "\"bc_v\":\"2\"") != NULL) {
			return;
		}
	}
	ck_abort_msg("no second pass");
}
END_TEST

START_TEST(passes_that_never_end_cost_no_other_response_its_place)
{
	for (unsigned i = 0; i < 2 * SESS_RESPONSES_MAX; i++) {
		rig_up(&rig,
		       "{'type':'response.created','response':{'id':'p%u','conversation_id':null,'metadata':{'bc':'p','bc_t':'1','bc_v':'999'}}}",
		       i);
		rig_expect(&rig, SESS_UPSTREAM, "response.cancel");
	}
	rig_silent(&rig, SESS_CLIENT);
	called("r1", "null", "f1", "get_order", TALK_ORDER);
	rig_silent(&rig, SESS_CLIENT);
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

/* ---- updates ---- */

START_TEST(r8_a_failure_nobody_can_attribute_does_not_shift_the_next_update)
{
	json_t *event;
	const json_t *tools;

	rig_client(
		&rig,
		"{'type':'session.update','session':{'type':'realtime','voice':'x','tools':[{'type':'function','name':'a'}]}}");
	rig_up(&rig,
	       "{'type':'error','error':{'code':'cannot_update_voice','param':null,'event_id':null}}");
	rig_expect(&rig, SESS_CLIENT, "error");
	rig_client(
		&rig,
		"{'type':'session.update','session':{'type':'realtime','tools':[{'type':'function','name':'b'}]}}");
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[{'name':'b'},{'name':'get_order'},{'name':'book'}]}}");
	event = rig_next(&rig, SESS_CLIENT, "session.updated");
	tools = json_object_get(json_object_get(event, "session"), "tools");
	ck_assert_uint_eq(json_array_size(tools), 1);
	ck_assert_str_eq(rig_string(json_array_get(tools, 0), "name"), "b");
	json_decref(event);
	/* And the one after that is not shifted either. */
	rig_client(&rig, "{'type':'session.update','session':{'type':'realtime','tools':[]}}");
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[{'name':'get_order'},{'name':'book'}]}}");
	event = rig_next(&rig, SESS_CLIENT, "session.updated");
	tools = json_object_get(json_object_get(event, "session"), "tools");
	ck_assert_uint_eq(json_array_size(tools), 0);
	json_decref(event);
}
END_TEST

/* ---- what was heard ---- */

static void sent_audio(const char *format, unsigned base64)
{
	char audio[8001];

	ck_assert_uint_lt(base64, sizeof(audio));
	memset(audio, 'A', base64);
	audio[base64] = '\0';
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[],'audio':{'output':{'format':{'type':'audio/%s'}}}}}",
	       format);
	talk_created(&rig, "r1", "null");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1','type':'message','role':'assistant','status':'in_progress'}}");
	for (unsigned i = 0; i < 2; i++) {
		rig_up(&rig,
		       "{'type':'response.output_audio.delta','response_id':'r1','item_id':'m1','delta':'%s'}",
		       audio);
	}
}

static void truncate_item(const char *item, const char *ms)
{
	rig_client(
		&rig,
		"{'type':'conversation.item.truncate','item_id':'%s','content_index':0,'audio_end_ms':%s}",
		item, ms);
}

static void expect_truncated(json_int_t ms)
{
	json_t *event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.truncate");

	ck_assert_int_eq(json_integer_value(json_object_get(event, "audio_end_ms")), ms);
	json_decref(event);
}

START_TEST(a_truncation_beyond_what_was_sent_is_corrected)
{
	sent_audio("pcm", 6400); /* 4,800 bytes, twice: 200 ms */
	truncate_item("m1", "201");
	expect_truncated(200);
	truncate_item("m1", "99999.5");
	expect_truncated(200);
	truncate_item("m1", "200");
	expect_truncated(200);
	truncate_item("m1", "120");
	expect_truncated(120);
}
END_TEST

START_TEST(a_truncation_counts_in_the_sessions_format)
{
	sent_audio("pcmu", 6400); /* 1,200 ms */
	truncate_item("m1", "1100");
	expect_truncated(1100);
	truncate_item("m1", "1300");
	expect_truncated(1200);
}
END_TEST

START_TEST(a_truncation_of_what_nobody_knows_passes_unchanged)
{
	sent_audio("pcm", 6400);
	truncate_item("m0", "99999");
	expect_truncated(99999);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_limits");
	TCase *c = tcase_create("plain");
	TCase *guessing = tcase_create("guessing");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, an_unknown_tool_is_answered_with_an_error_and_a_restart);
	tcase_add_loop_test(c, a_tool_of_the_client_is_its_own_business, 0, 2);
	tcase_add_test(c, a_tool_of_one_request_is_known_in_its_response);
	tcase_add_test(c, a_stored_prompt_may_bring_tools);
	tcase_add_test(c, a_turn_is_given_up_after_three_restarts);
	tcase_add_test(c, a_turn_given_up_ends_the_clients_own_response);
	tcase_add_test(c, a_result_beside_a_call_that_cannot_be_run_is_told);
	tcase_add_test(c, the_limit_is_the_operators);
	tcase_add_test(c, r5_a_request_the_provider_never_answers_ends_in_an_error);
	tcase_add_loop_test(c, r5_a_request_behind_a_response_without_an_end_gets_an_error, 0, 2);
	tcase_add_test(c, r5_a_late_answer_is_no_second_one);
	tcase_add_test(c, r5_a_request_that_meets_a_late_answer_waits_for_its_end);
	tcase_add_test(c, r5_a_late_refusal_is_no_second_one);
	tcase_add_test(c, r5_of_equal_requests_the_one_that_waits_is_answered);
	tcase_add_test(c, r5_a_late_answer_beside_the_conversation_is_not_shown);
	tcase_add_test(c, an_answered_request_is_not_late);
	tcase_add_test(c, silence_does_not_count_while_the_provider_is_not_read);
	tcase_add_test(c, an_answer_of_ours_that_never_comes_is_asked_for_again_and_given_up);
	tcase_add_test(c, r8_a_failure_nobody_can_attribute_does_not_shift_the_next_update);
	tcase_add_test(c, a_truncation_beyond_what_was_sent_is_corrected);
	tcase_add_test(c, a_truncation_counts_in_the_sessions_format);
	tcase_add_test(c, a_truncation_of_what_nobody_knows_passes_unchanged);
	suite_add_tcase(suite, c);
	tcase_add_checked_fixture(guessing, setup_guessing, teardown);
	tcase_add_test(guessing, passes_that_never_end_cost_no_other_response_its_place);
	tcase_add_loop_test(guessing, a_pass_that_never_ends_makes_room_for_others, 0, 2);
	suite_add_tcase(suite, guessing);
	return tap_run(suite);
}
