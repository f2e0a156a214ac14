/* The names of what a session waits for: exactly those that hold, from their beginning to their end. */
#include "daemon/session/sess.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/session_verdict.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MS   BC_USEC_PER_MS
#define OFF  "[speculation]\nmode = \"off\"\n"
#define SHOW "{'type':'function','name':'show','parameters':{'type':'object'}}"

/* What the session waits for, as an operator reads it, is this; in the order of wait.def. */
static void waits(struct rig *at, const char *expected)
{
	struct bc_buf text;
	const char *names;
	size_t len;

	bc_buf_init(&text, 4096);
	ck_assert_int_eq(sess_describe(at->sess, true, &text), BC_OK);
	ck_assert_int_eq(bc_buf_put(&text, "", 1), BC_OK);
	names = strstr(bc_buf_span(&text).ptr, "waits_for=");
	ck_assert_ptr_nonnull(names);
	names += strlen("waits_for=");
	len = strcspn(names, " \n");
	ck_assert_msg(len == strlen(expected) && memcmp(names, expected, len) == 0,
		      "waits for %.*s, not for %s", (int)len, names, expected);
	bc_buf_release(&text);
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* ---- both sides ---- */

START_TEST(of_the_way_to_the_provider)
{
	char *audio = malloc(40000);

	rig_init(&rig, TALK_CONFIG OFF "[session]\nstart_queue_max = \"64KiB\"\n", false);
	waits(&rig, "provider_connects");
	ck_assert_ptr_nonnull(audio);
	memset(audio, 'A', 39999);
	audio[39999] = '\0';
	rig_client(&rig, "{'type':'input_audio_buffer.append','audio':'%s'}", audio);
	waits(&rig, "provider_connects");
	rig_client(&rig, "{'type':'input_audio_buffer.append','audio':'%s'}", audio);
	waits(&rig, "provider_connects,start_queue_full");
	sess_upstream_open(rig.sess);
	rig_up(&rig, "{'type':'session.created','session':{'tools':[]}}");
	rig_up(&rig, "{'type':'session.updated','session':{'tools':[]}}");
	waits(&rig, "-");
	free(audio);
}
END_TEST

START_TEST(of_a_side_that_takes_too_little)
{
	enum sess_side slow = _i == 0 ? SESS_UPSTREAM : SESS_CLIENT;

	talk_begin(&rig, TALK_CONFIG OFF, "pcm");
	rig.pressure[slow] = true;
	rig_client(&rig, "{'type':'x'}");
	rig_up(&rig, "{'type':'x'}");
	waits(&rig, slow == SESS_UPSTREAM ? "provider_slow" : "client_slow");
	rig.pressure[slow] = false;
	sess_drained(rig.sess, slow);
	waits(&rig, "-");
}
END_TEST

/* ---- requests ---- */

START_TEST(of_requests_that_are_unanswered)
{
	talk_begin(&rig, TALK_CONFIG OFF, "pcm");
	rig_client(&rig,
		   "{'type':'session.update','session':{'type':'realtime','instructions':'a'}}");
	waits(&rig, "update_unanswered");
	rig_up(&rig, "{'type':'session.updated','session':{'tools':[]}}");
	waits(&rig, "-");
	rig_client(&rig, "{'type':'response.create'}");
	waits(&rig, "create_unanswered");
	talk_created(&rig, "r1", "null");
	waits(&rig, "-");
	talk_done(&rig, "r1", "completed");
	waits(&rig, "-");
}
END_TEST

START_TEST(of_a_cancel)
{
	talk_begin(&rig, TALK_CONFIG OFF, "pcm");
	talk_created(&rig, "r1", "null");
	waits(&rig, "response_withheld");
	rig_client(&rig, "{'type':'response.cancel'}");
	waits(&rig, "cancel_unfinished");
	talk_done(&rig, "r1", "cancelled");
	waits(&rig, "-");
}
END_TEST

/* ---- calls ---- */

/* A response of the provider has made a call, and goes on. */
static void order_looked_up(void)
{
	talk_begin(&rig, TALK_CONFIG OFF, "pcm");
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
}

START_TEST(of_a_result_whose_response_runs)
{
	order_looked_up();
	waits(&rig, "response_withheld,tool_runs");
	rig_finish(&rig, 0, "{}");
	waits(&rig, "response_withheld,calling_response_runs");
	talk_done(&rig, "r1", "completed");
	waits(&rig, "create_unanswered,output_unconfirmed,followup_unbegun");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	waits(&rig, "create_unanswered,followup_unbegun");
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_done(&rig, "r2", "completed");
	waits(&rig, "-");
}
END_TEST

static void client_tool_beside(void)
{
	talk_begin(&rig, TALK_CONFIG OFF, "pcm");
	rig_client(&rig,
		   "{'type':'session.update','session':{'type':'realtime','tools':[" SHOW "]}}");
	rig_up(&rig, "{'type':'session.updated','session':{'tools':[]}}");
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_call(&rig, "r1", "f2", "show", "{}");
	talk_done(&rig, "r1", "completed");
	waits(&rig, "tool_runs,client_output");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	waits(&rig, "client_output");
}

START_TEST(of_the_client_beside_a_tool)
{
	client_tool_beside();
	rig_client(&rig, "{'type':'conversation.item.create','item':{'type':'function_call_output',"
			 "'call_id':'c_f2','output':'x'}}");
	waits(&rig, "client_create");
	rig_wait(&rig, 300 * MS);
	waits(&rig, "create_unanswered,followup_unbegun");
}
END_TEST

START_TEST(of_a_client_that_never_answers)
{
	client_tool_beside();
	rig_wait(&rig, 29 * BC_USEC_PER_SEC);
	waits(&rig, "client_output");
	rig_wait(&rig, 1 * BC_USEC_PER_SEC);
	waits(&rig, "create_unanswered,followup_unbegun");
}
END_TEST

START_TEST(of_a_request_in_tool_time)
{
	order_looked_up();
	talk_done(&rig, "r1", "completed");
	rig_client(&rig, "{'type':'response.create'}");
	waits(&rig, "tool_runs,create_kept_back");
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	waits(&rig, "create_unanswered");
}
END_TEST

START_TEST(of_an_earlier_call)
{
	talk_begin(&rig, TALK_CONFIG OFF "[tools]\nsequential = true\n", "pcm");
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_call(&rig, "r1", "f2", "book", TALK_NIGHT);
	talk_done(&rig, "r1", "completed");
	waits(&rig, "tool_runs,earlier_call");
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	waits(&rig, "tool_runs");
}
END_TEST

/* ---- results ---- */

/* A result is there and in the conversation, and this stood in its way. */
static void result_behind(const char *event)
{
	talk_begin(&rig, TALK_CONFIG OFF, "pcm");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_done(&rig, "r1", "completed");
	rig_up(&rig, "%s", event);
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
}

START_TEST(of_the_caller)
{
	result_behind("{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	waits(&rig, "caller_speaks");
	talk_commit(&rig, "u2", "f1");
	waits(&rig, "provider_may_answer");
	rig_wait(&rig, 2 * BC_USEC_PER_SEC);
	waits(&rig, "create_unanswered,followup_unbegun");
}
END_TEST

START_TEST(of_another_response)
{
	result_behind(
		"{'type':'response.created','response':{'id':'r2','status':'in_progress','conversation_id':'conv','metadata':null,'output':[]}}");
	waits(&rig, "response_withheld,other_response_runs");
	talk_done(&rig, "r2", "completed");
	waits(&rig, "create_unanswered,followup_unbegun");
}
END_TEST

/* ---- guesses ---- */

START_TEST(of_a_pass)
{
	verdict_begin(VERDICT_CONFIG);
	talk_audio(&rig, 300, true);
	waits(&rig, "-");
	talk_audio(&rig, 200, false);
	waits(&rig, "pass_runs");
	find_passes();
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'p1','status':'in_progress','conversation_id':null,'metadata':{'bc':'p','bc_t':'1','bc_v':'1'},'output':[]}}");
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'p1','status':'failed','conversation_id':null,'metadata':{'bc':'p'},'output':[],'usage':null}}");
	waits(&rig, "passes_rest");
	rig_wait(&rig, 60 * BC_USEC_PER_SEC);
	waits(&rig, "-");
}
END_TEST

START_TEST(of_a_verdict)
{
	verdict_begin(VERDICT_CONFIG);
	turn_naming("get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{}");
	rig_client(&rig, "{'type':'input_audio_buffer.commit'}");
	waits(&rig, "pass_runs"); /* what follows from the result */
	rig_client(&rig, "{'type':'response.create'}");
	waits(&rig, "create_kept_back,verdict_near,pass_runs");
	rig_wait(&rig, 301 * MS);
	waits(&rig, "create_unanswered,pass_runs");
}
END_TEST

START_TEST(of_a_hold)
{
	verdict_begin(VERDICT_CONFIG "hold_quiet = \"700ms\"\n");
	booking_at_the_gate();
	waits(&rig, "caller_silence");
	talk_audio(&rig, 200, false);
	waits(&rig, "tool_runs");
}
END_TEST

int main(void)
{
	const TTest *const cases[] = {
		of_the_way_to_the_provider,
		of_requests_that_are_unanswered,
		of_a_cancel,
		of_a_result_whose_response_runs,
		of_the_client_beside_a_tool,
		of_a_request_in_tool_time,
		of_a_client_that_never_answers,
		of_an_earlier_call,
		of_the_caller,
		of_another_response,
		of_a_pass,
		of_a_hold,
		of_a_verdict,
	};
	Suite *s = suite_create("session_waits");
	TCase *c = tcase_create("session_waits");

	tcase_add_checked_fixture(c, NULL, teardown);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, of_a_side_that_takes_too_little, 0, 2);
	suite_add_tcase(s, c);
	return tap_run(s);
}
