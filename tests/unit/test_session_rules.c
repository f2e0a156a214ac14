/* Corner cases of the rules R1 to R9: who is told what when requests, cancels, errors and turns cross. */
#include "daemon/config/config.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define OFF TALK_CONFIG "[speculation]\nmode = \"off\"\n"

static struct rig rig;

static void setup(void)
{
	talk_begin(&rig, OFF, "pcm");
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

/* The client asks for r1, which ends with a call of the gateway's and is kept open. */
static void merged_response(const char *params)
{
	rig_client(&rig, "{'type':'response.create','event_id':'e1','response':%s}", params);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_done(&rig, "r1", "completed");
	talk_skip(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
}

static void tool_ends(unsigned run)
{
	rig_finish(&rig, run, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
}

/* ---- whose response ---- */

START_TEST(r2_the_clients_own_use_of_our_key_does_no_harm)
{
	static const char *const keys[] = {"p", "f"};

	rig_client(&rig, "{'type':'response.create','response':{'metadata':{'bc':'%s'}}}",
		   keys[_i]);
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'r1','conversation_id':'conv','metadata':{'bc':'%s'}}}",
	       keys[_i]);
	expect_string(SESS_CLIENT, "response.created", "response.id", "r1");
	rig_up(&rig,
	       "{'type':'response.output_item.done','response_id':'r1','item':{'id':'i','type':'function_call','status':'completed','name':'x','call_id':'c','arguments':'{}'}}");
	talk_done(&rig, "r1", "completed");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.done");
	rig_expect(&rig, SESS_CLIENT, "response.done");
}
END_TEST

START_TEST(r2_the_providers_own_response_does_not_answer_the_client)
{
	rig_client(&rig, "{'type':'response.create','response':{'metadata':{'n':'1'}}}");
	talk_created(&rig, "r1", "null");
	rig_silent(&rig, SESS_CLIENT);
	talk_done(&rig, "r1", "completed");
	talk_skip(&rig, SESS_CLIENT);
	talk_created(&rig, "r2", "{'n':'1'}");
	expect_string(SESS_CLIENT, "response.created", "response.id", "r2");
}
END_TEST

/* ---- merging ---- */

START_TEST(r4_a_followup_of_a_followup_inherits_too)
{
	merged_response("{'instructions':'say goodbye'}");
	tool_ends(0);
	expect_string(SESS_UPSTREAM, "response.create", "response.instructions", "say goodbye");
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_call(&rig, "r2", "f2", "get_order", "{\\\"id\\\":\\\"8\\\"}");
	talk_done(&rig, "r2", "completed");
	tool_ends(1);
	expect_string(SESS_UPSTREAM, "response.create", "response.instructions", "say goodbye");
	talk_created(&rig, "r3", "{'bc':'f'}");
	talk_done(&rig, "r3", "completed");
	expect_string(SESS_CLIENT, "response.done", "response.id", "r1");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(r4_what_one_response_asked_for_is_not_inherited_by_another)
{
	merged_response("{'instructions':'say goodbye'}");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	tool_ends(0);
	talk_commit(&rig, "u2", NULL);
	talk_created(&rig, "r2", "null"); /* has heard the result: nothing is owed */
	talk_call(&rig, "r2", "f2", "get_order", TALK_ORDER);
	talk_done(&rig, "r2", "completed");
	tool_ends(1);
	expect_string(SESS_UPSTREAM, "response.create", "response.instructions", "");
}
END_TEST

START_TEST(r4_another_request_ends_the_merged_response)
{
	json_t *event;

	merged_response("{}");
	rig_client(&rig, "{'type':'response.create','event_id':'e2','response':{}}");
	tool_ends(0);
	expect_string(SESS_UPSTREAM, "response.create", "event_id", "e2");
	talk_created(&rig, "r2", "null");
	event = rig_next(&rig, SESS_CLIENT, "response.done");
	ck_assert_str_eq(rig_string(event, "response.id"), "r1");
	ck_assert_str_eq(rig_string(event, "response.status"), "completed");
	json_decref(event);
	expect_string(SESS_CLIENT, "response.created", "response.id", "r2");
}
END_TEST

START_TEST(r4_an_answer_of_the_provider_continues_the_merged_response)
{
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[],'audio':{'input':{'turn_detection':{'type':'server_vad','interrupt_response':false}}}}}");
	talk_skip(&rig, SESS_CLIENT);
	merged_response("{}");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	tool_ends(0);
	talk_commit(&rig, "u2", NULL);
	talk_skip(&rig, SESS_CLIENT);
	talk_created(&rig, "r2", "null");
	talk_done(&rig, "r2", "completed");
	expect_string(SESS_CLIENT, "response.done", "response.id", "r1");
	rig_silent(&rig, SESS_CLIENT);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(r4_a_cancel_of_another_response_leaves_the_merged_one_alone)
{
	merged_response("{}");
	rig_client(&rig, "{'type':'response.cancel','response_id':'mine'}");
	expect_string(SESS_UPSTREAM, "response.cancel", "response_id", "mine");
	rig_silent(&rig, SESS_CLIENT);
	tool_ends(0);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(r4_a_cancel_reaches_the_followup_on_its_way)
{
	bool merged = _i == 0;

	if (merged) {
		merged_response("{}");
	} else {
		talk_created(&rig, "r1", "null");
		talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
		talk_done(&rig, "r1", "completed");
	}
	tool_ends(0);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	rig_client(&rig, "{'type':'response.cancel','event_id':'x'}");
	if (merged) {
		expect_string(SESS_CLIENT, "response.done", "response.id", "r1");
	} else {
		expect_string(SESS_CLIENT, "error", "error.event_id", "x");
	}
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_string(SESS_UPSTREAM, "response.cancel", "response_id", "r2");
	talk_done(&rig, "r2", "cancelled");
	rig_silent(&rig, SESS_CLIENT);
	rig_silent(&rig, SESS_UPSTREAM); /* and it is not asked for again */
}
END_TEST

START_TEST(r4_a_cancelled_response_that_ends_all_the_same_is_not_spoken_about)
{
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	rig_client(&rig, "{'type':'response.cancel','event_id':'x'}");
	expect_string(SESS_CLIENT, "error", "error.code", "response_cancel_not_active");
	expect_string(SESS_UPSTREAM, "response.cancel", "response_id", "r1");
	talk_done(&rig, "r1", "completed");
	tool_ends(0);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

/* ---- requests ---- */

START_TEST(r5_kept_requests_keep_their_order)
{
	talk_created(&rig, "r1", "null");
	rig_client(&rig, "{'type':'response.create','event_id':'e1'}");
	rig_client(&rig, "{'type':'response.create','event_id':'e2'}");
	rig_silent(&rig, SESS_UPSTREAM);
	talk_done(&rig, "r1", "completed");
	expect_string(SESS_UPSTREAM, "response.create", "event_id", "e1");
	rig_silent(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r2", "null");
	talk_done(&rig, "r2", "completed");
	expect_string(SESS_UPSTREAM, "response.create", "event_id", "e2");
}
END_TEST

START_TEST(r5_too_many_requests_are_refused_by_name)
{
	talk_created(&rig, "r1", "null");
	for (unsigned i = 0; i < 17; i++) {
		rig_client(&rig, "{'type':'response.create','event_id':'e%u'}", i);
	}
	expect_string(SESS_CLIENT, "error", "error.event_id", "e16");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(r7_errors_without_an_id_answer_the_oldest_request)
{
	for (unsigned i = 0; i < 40; i++) {
		rig_client(&rig, "{'type':'response.create'}");
		rig_expect(&rig, SESS_UPSTREAM, "response.create");
		rig_up(&rig,
		       "{'type':'error','error':{'code':'invalid_value','param':'response.x','event_id':null}}");
		rig_expect(&rig, SESS_CLIENT, "error");
	}
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(r7_a_followup_that_is_refused_is_not_asked_for_for_ever)
{
	bool named = _i == 0;

	merged_response("{}");
	tool_ends(0);
	for (unsigned i = 0; i < 3; i++) {
		json_t *event = rig_next(&rig, SESS_UPSTREAM, "response.create");

		rig_up(&rig,
		       "{'type':'error','error':{'code':'invalid_value','param':'response.x','event_id':%s%s%s}}",
		       named ? "'" : "", named ? rig_string(event, "event_id") : "null",
		       named ? "'" : "");
		json_decref(event);
		rig_silent(&rig, SESS_UPSTREAM); /* nor in a hurry */
		rig_wait(&rig, 3 * BC_USEC_PER_SEC);
	}
	rig_silent(&rig, SESS_UPSTREAM);
	expect_string(SESS_CLIENT, "response.done", "response.status", "failed");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(r6_speech_that_does_not_interrupt_does_not_stop_the_followup)
{
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[],'audio':{'input':{'turn_detection':{'type':'server_vad','interrupt_response':false}}}}}");
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_done(&rig, "r1", "completed");
	tool_ends(0);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	talk_created(&rig, "r2", "{'bc':'f'}");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_noise_does_not_keep_an_owed_answer_for_ever)
{
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_done(&rig, "r1", "completed");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'x'}");
	tool_ends(0);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'x'}");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 3 * BC_USEC_PER_SEC);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

/* ---- turns ---- */

static void one_call(const char *response, const char *item, const char *tool, const char *args)
{
	talk_created(&rig, response, "null");
	talk_call(&rig, response, item, tool, args);
	talk_done(&rig, response, "completed");
}

START_TEST(a_typed_message_is_a_turn_and_its_call_a_new_one)
{
	one_call("r1", "f1", "book", TALK_NIGHT);
	rig_finish(&rig, 0, "{}");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r2", "{'bc':'f'}"); /* the caller hears that it was booked */
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r2','item':{'id':'m2','type':'message','role':'assistant','status':'in_progress'}}");
	talk_done(&rig, "r2", "completed");
	rig_client(
		&rig,
		"{'type':'conversation.item.create','item':{'id':'t1','type':'message','role':'user'}}");
	rig_up(&rig,
	       "{'type':'conversation.item.added','item':{'id':'t1','type':'message','role':'user'}}");
	one_call("r3", "f2", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

START_TEST(a_call_that_runs_is_joined_by_an_equal_one_of_the_next_turn)
{
	talk_commit(&rig, "u1", NULL);
	one_call("r1", "f1", "book", TALK_NIGHT);
	one_call("r2", "f2", "get_order", TALK_ORDER);
	talk_commit(&rig, "u2", "u1");
	one_call("r3", "f3", "book", TALK_NIGHT);
	one_call("r4", "f4", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 2);
	talk_skip(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 2);
	rig_finish(&rig, 1, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 2);
}
END_TEST

START_TEST(an_effect_that_was_told_behind_the_commit_is_joined_by_that_turn)
{
	talk_commit(&rig, "u1", NULL);
	one_call("r1", "f1", "book", TALK_NIGHT);
	talk_commit(&rig, "u2", "u1");
	rig_finish(&rig, 0, "{}"); /* u2 was spoken without knowing of it */
	one_call("r2", "f2", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 1);
	talk_created(&rig, "a2", "{'bc':'f'}"); /* the caller hears of it */
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'a2','item':{'id':'m2','type':'message','role':'assistant','status':'in_progress'}}");
	talk_done(&rig, "a2", "completed");
	talk_commit(&rig, "u3", "u2");
	one_call("r3", "f3", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

START_TEST(a_call_belongs_to_the_turn_before_its_response)
{
	talk_commit(&rig, "u1", NULL);
	one_call("r1", "f1", "book", TALK_NIGHT);
	rig_finish(&rig, 0, "{}");
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_commit(&rig, "u2", "u1");
	talk_call(&rig, "r2", "f2", "book", TALK_NIGHT); /* said before u2 was heard */
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(a_read_after_an_effect_of_the_same_turn_is_run_again)
{
	talk_commit(&rig, "u1", NULL);
	one_call("r1", "f1", "get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{}");
	one_call("r2", "f2", "book", TALK_NIGHT);
	rig_finish(&rig, 1, "{}");
	one_call("r3", "f3", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 3);
}
END_TEST

/* ---- tools ---- */

START_TEST(r8_an_update_without_an_id_that_fails_leaves_no_trace)
{
	rig_client(&rig, "{'type':'session.update','session':{'tools':[{'name':'a'}]}}");
	rig_up(&rig,
	       "{'type':'error','error':{'code':'unknown_parameter','param':'session.x','event_id':null}}");
	rig_expect(&rig, SESS_CLIENT, "error");
	rig_client(&rig, "{'type':'session.update','session':{'instructions':'i'}}");
	rig_up(&rig, "{'type':'session.updated','session':{ 'x':1.0, 'tools':[{'name':'b'}] }}");
	/* Only the list is changed, and to what was accepted: nothing. */
	ck_assert_str_eq(rig.sent[SESS_CLIENT][rig.count[SESS_CLIENT] - 1],
			 "{\"type\":\"session.updated\",\"session\":{ \"x\":1.0, \"tools\":[] }}");
}
END_TEST

START_TEST(r8_the_gateways_tools_may_be_refused_without_an_id)
{
	struct rig fresh;

	rig_init(&fresh, OFF, true);
	rig_expect(&fresh, SESS_UPSTREAM, "session.update");
	rig_up(&fresh,
	       "{'type':'error','error':{'code':'invalid_value','param':'session.tools[0]','event_id':null}}");
	rig_silent(&fresh, SESS_CLIENT);
	rig_client(&fresh, "{'type':'session.update','session':{'tools':[{'name':'a'}]}}");
	rig_expect(&fresh, SESS_UPSTREAM, "session.update");
	ck_assert_ptr_null(strstr(fresh.sent[SESS_UPSTREAM][1], "get_order"));
	rig_up(&fresh, "{'type':'session.updated','session':{'tools':[{'name':'a'}]}}");
	rig_expect(&fresh, SESS_CLIENT, "session.updated");
	rig_fini(&fresh);
}
END_TEST

/* Whose a call of "book" is, after the client has declared a tool of that name in an update or in a request. */
START_TEST(a_name_declared_twice_is_run_by_whom_the_operator_says)
{
	static const struct {
		const char *toml;
		bool in_update;
		bool accepted; /* by the provider */
		unsigned runs;
	} rows[] = {{OFF "[tools]\non_name_clash = \"gateway\"\n", true, true, 1},
		    {OFF "[tools]\non_name_clash = \"client\"\n", true, true, 0},
		    {OFF "[tools]\non_name_clash = \"client\"\n", true, false, 1},
		    {OFF "[tools]\non_name_clash = \"gateway\"\n", false, true, 1},
		    {OFF "[tools]\non_name_clash = \"client\"\n", false, true, 0}};
	static const char tools[] =
		"'tools':[{'type':'function','name':'book','description':'mine','parameters':{}}]";

	rig_fini(&rig);
	talk_begin(&rig, rows[_i].toml, "pcm");
	if (rows[_i].in_update) {
		rig_client(&rig, "{'type':'session.update','event_id':'e','session':{%s}}", tools);
		rig_up(&rig, rows[_i].accepted
				     ? "{'type':'session.updated','session':{'tools':[]}}"
				     : "{'type':'error','error':{'code':'x','event_id':'e'}}");
	}
	rig_client(&rig, "{'type':'response.create','response':{%s}}",
		   rows[_i].in_update ? "" : tools);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, rows[_i].runs);
}
END_TEST

START_TEST(a_request_with_a_name_that_clashes_can_be_refused)
{
	rig_fini(&rig);
	talk_begin(&rig, OFF "[tools]\non_name_clash = \"refuse\"\n", "pcm");
	rig_client(
		&rig,
		"{'type':'response.create','event_id':'e1','response':{'tools':[{'name':'book'}]}}");
	rig_silent(&rig, SESS_UPSTREAM);
	expect_string(SESS_CLIENT, "error", "error.event_id", "e1");
}
END_TEST

START_TEST(two_steps_wait_each_for_its_own_time)
{
	rig_client(
		&rig,
		"{'type':'session.update','session':{'tools':[{'type':'function','name':'mine'}]}}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_call(&rig, "r1", "c1", "mine", "{}");
	talk_done(&rig, "r1", "completed");
	talk_commit(&rig, "u2", "u1");
	talk_created(&rig, "r2", "null");
	talk_call(&rig, "r2", "f2", "get_order", "{\\\"id\\\":\\\"8\\\"}");
	talk_call(&rig, "r2", "c2", "mine", "{}");
	talk_done(&rig, "r2", "completed");
	rig_finish(&rig, 0, "{}");
	rig_finish(&rig, 1, "{}");
	rig_client(
		&rig,
		"{'type':'conversation.item.create','item':{'type':'function_call_output','call_id':'c_c1','output':''}}");
	/* The first waits 300 ms for a request of the client, the second half a minute for its output. */
	ck_assert_int_le(rig.timers[SESS_TIMER_STEP], rig.now + 300 * BC_USEC_PER_MS);
}
END_TEST

/* ---- life ---- */

START_TEST(a_provider_that_comes_too_late_is_ignored)
{
	struct rig late;

	rig_init(&late, OFF, false);
	sess_closed(late.sess, SESS_CLIENT, BC_OK, WS_CLOSE_NORMAL, BC_SPAN_LIT(""));
	sess_upstream_open(late.sess);
	sess_drained(late.sess, SESS_CLIENT);
	rig_silent(&late, SESS_UPSTREAM);
	rig_fini(&late);
}
END_TEST

static Suite *suite(void)
{
	const TTest *const cases[] = {
		r2_the_providers_own_response_does_not_answer_the_client,
		r4_a_followup_of_a_followup_inherits_too,
		r4_what_one_response_asked_for_is_not_inherited_by_another,
		r4_another_request_ends_the_merged_response,
		r4_an_answer_of_the_provider_continues_the_merged_response,
		r4_a_cancel_of_another_response_leaves_the_merged_one_alone,
		r4_a_cancelled_response_that_ends_all_the_same_is_not_spoken_about,
		r5_kept_requests_keep_their_order,
		r5_too_many_requests_are_refused_by_name,
		r7_errors_without_an_id_answer_the_oldest_request,
		r6_speech_that_does_not_interrupt_does_not_stop_the_followup,
		a_noise_does_not_keep_an_owed_answer_for_ever,
		a_typed_message_is_a_turn_and_its_call_a_new_one,
		a_call_that_runs_is_joined_by_an_equal_one_of_the_next_turn,
		an_effect_that_was_told_behind_the_commit_is_joined_by_that_turn,
		a_call_belongs_to_the_turn_before_its_response,
		a_read_after_an_effect_of_the_same_turn_is_run_again,
		r8_an_update_without_an_id_that_fails_leaves_no_trace,
		r8_the_gateways_tools_may_be_refused_without_an_id,
		a_request_with_a_name_that_clashes_can_be_refused,
		two_steps_wait_each_for_its_own_time,
		a_provider_that_comes_too_late_is_ignored,
	};
	Suite *s = suite_create("session_rules");
	TCase *c = tcase_create("session_rules");

	tcase_add_checked_fixture(c, setup, teardown);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, r2_the_clients_own_use_of_our_key_does_no_harm, 0, 2);
	tcase_add_loop_test(c, r4_a_cancel_reaches_the_followup_on_its_way, 0, 2);
	tcase_add_loop_test(c, r7_a_followup_that_is_refused_is_not_asked_for_for_ever, 0, 2);
	tcase_add_loop_test(c, a_name_declared_twice_is_run_by_whom_the_operator_says, 0, 5);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
