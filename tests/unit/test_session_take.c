/* Takeovers as client and provider see them: a pass over the whole turn has named calls, and they are put in. */
#include "tests/unit/session_verdict.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static void setup(void)
{
	verdict_begin(VERDICT_CONFIG);
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* ---- reads ---- */

START_TEST(a_read_in_hand_takes_the_responses_place)
{
	read_in_hand();
	rig_silent(&rig, SESS_UPSTREAM); /* nothing to cancel yet */
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	rig_silent(&rig, SESS_UPSTREAM); /* not before its end */
	cancelled("r1");
	expect_output(expect_call("get_order"), "{\"at\":1}");
	expect_followup();
	rig_silent(&rig, SESS_CLIENT);
	ck_assert(rig.runs[0].committed);
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
	answer_begins();
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(a_read_that_runs_is_not_waited_for)
{
	turn_naming("get_order", TALK_ORDER);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	rig_silent(&rig, SESS_UPSTREAM);
	if (_i == 0) {
		rig_finish(&rig, 0, "{}");
		expect_cancel("r1");
	} else {
		/* The provider names it first: then it joins. */
		talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
		rig_finish(&rig, 0, "{}");
		rig_silent(&rig, SESS_UPSTREAM);
		talk_done(&rig, "r1", "completed");
		expect_output("c_f1", "{}");
		ck_assert_uint_eq(rig.run_count, 1);
	}
}
END_TEST

START_TEST(a_response_that_has_shown_an_item_wins)
{
	turn_naming("get_order", TALK_ORDER);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1','type':'message','role':'assistant'}}");
	rig_finish(&rig, 0, "{}");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_turn_without_calls_is_left_alone)
{
	turn_naming(NULL, NULL);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_audio(&rig, 1000, false);
	talk_done(&rig, "r1", "completed");
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		rig_expect(&rig, SESS_UPSTREAM, "input_audio_buffer.append");
	}
}
END_TEST

START_TEST(words_behind_the_pass_take_its_verdict_away)
{
	turn_naming("get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{}");
	talk_audio(&rig, 100, true);
	talk_audio(&rig, 100, false); /* too short for another pass */
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_client_tool_beside_it_leaves_the_word_to_the_provider)
{
	turn_naming_both("get_order", TALK_ORDER, "show_map");
	rig_finish(&rig, 0, "{}");
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(changed_tools_or_instructions_leave_it_to_the_provider)
{
	turn_naming("get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{}");
	rig_up(&rig, "{'type':'session.updated','session':{'tools':[]}}");
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

/* ---- the race with the cancel ---- */

START_TEST(a_call_that_slips_in_is_the_real_one)
{
	read_in_hand();
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	cancelled("r1");
	expect_output("c_f1", "{\"at\":1}");
	expect_followup();
	ck_assert_uint_eq(rig.run_count, 1);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

/* Nothing is put in any more, and the answer is the provider's. */
static void expect_the_providers_answer(void)
{
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_audio(&rig, 1000, false);
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		rig_expect(&rig, SESS_UPSTREAM, "input_audio_buffer.append");
	}
}

/* Both name one intent: the provider's call was real before the verdict's could be put in, so that one never is. */
START_TEST(what_the_provider_named_otherwise_is_not_put_in_beside_it)
{
	bool hold = _i == 1;

	turn_naming(hold ? "book" : "get_order", hold ? TALK_NIGHT : TALK_ORDER);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	if (hold) {
		expect_cancel("r1"); /* too late: it was complete */
		talk_call(&rig, "r1", "f1", "book", "{\\\"night\\\":\\\"tue\\\"}");
	} else {
		talk_call(&rig, "r1", "f1", "get_order", "{\\\"id\\\":\\\"8\\\"}");
	}
	talk_done(&rig, "r1", "completed");
	if (hold) {
		ck_assert(rig_start(&rig, 0));
		rig_finish(&rig, 0, "{}");
	} else {
		rig_finish(&rig, 0, "{\"at\":1}"); /* the read of the pass */
		rig_silent(&rig, SESS_UPSTREAM);
		rig_finish(&rig, 1, "{\"at\":2}");
	}
	expect_the_providers_answer();
	ck_assert_uint_eq(rig.run_count, hold ? 1 : 2);
}
END_TEST

START_TEST(a_call_complete_in_a_response_that_was_cut_off_is_the_real_one)
{
	read_in_hand();
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	talk_call(&rig, "r1", "f1", "get_order", "{\\\"id\\\":\\\"8\\\"}");
	cancelled("r1");
	rig_finish(&rig, 1, "{\"at\":2}");
	expect_output("c_f1", "{\"at\":2}");
	expect_followup();
	expect_the_providers_answer();
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

/* A read is in hand, a pass that was given its result names a booking, and r1 was cancelled for both: too late. */
static void read_and_what_follows(void)
{
	turn_naming("get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{\"at\":1}");
	talk_audio(&rig, 400, false);
	find_passes();
	ck_assert_uint_eq(mark_count, 2);
	answer_pass("p2", "book", TALK_NIGHT, NULL);
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
}

/*
 * A pass that was given a read's result names a booking; then the provider names that read, and beside it what the pass did
 * not know of: another booking, another read, a call that cannot be made.  The pass may have meant its own in that one's place.
 */
START_TEST(what_was_named_without_knowing_a_real_call_is_not_put_in_behind_it)
{
	static const char *const beside[][2] = {{"book", "{\\\"night\\\":\\\"tue\\\"}"},
						{"get_order", "{\\\"id\\\":\\\"8\\\"}"},
						{"get_order", "{}"}};
	unsigned reads = 1;

	read_and_what_follows();
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_call(&rig, "r1", "f2", beside[_i][0], beside[_i][1]);
	talk_done(&rig, "r1", "completed");
	if (_i == 0) {
		ck_assert(rig_start(&rig, 1));
	}
	if (_i < 2) {
		rig_finish(&rig, 1, "{}");
		reads = 2;
	}
	expect_the_providers_answer();
	ck_assert_uint_eq(rig.run_count, reads);
}
END_TEST

/* What it knew of is no reason: the booking follows from the read that the provider has made, too. */
START_TEST(what_follows_from_a_real_call_is_put_in_behind_it)
{
	read_and_what_follows();
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_done(&rig, "r1", "completed");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_cancel("r2");
}
END_TEST

/* However the provider's response ends, a complete call in it has decided; 2: it is a tool of the client's. */
START_TEST(what_was_named_before_a_response_was_cut_off_is_not_put_in_beside_it)
{
	static const char *const ends[] = {"cancelled", "incomplete", "completed"};
	static const char *const tools[] = {"book", "book", "their_own"};

	if (_i == 2) {
		rig_client(
			&rig,
			"{'type':'session.update','session':{'type':'realtime','tools':[{'type':'function','name':'their_own'}]}}");
		rig_up(&rig, "{'type':'session.updated','session':{'tools':[]}}");
	}
	turn_naming("book", TALK_NIGHT);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	talk_call(&rig, "r1", "f1", tools[_i], "{\\\"night\\\":\\\"tue\\\"}");
	talk_done(&rig, "r1", ends[_i]);
	if (_i == 2) {
		rig_client(
			&rig,
			"{'type':'conversation.item.create','item':{'type':'function_call_output','call_id':'c_f1','output':'{}'}}");
		rig_client(&rig, "{'type':'response.create'}");
	} else {
		ck_assert(rig_start(&rig, 0));
		rig_finish(&rig, 0, "{}");
	}
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r2", _i == 2 ? "null" : "{'bc':'f'}");
	talk_audio(&rig, 1000, false);
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		rig_expect(&rig, SESS_UPSTREAM, "input_audio_buffer.append");
	}
	ck_assert_uint_eq(rig.run_count, _i == 2 ? 0 : 1);
}
END_TEST

START_TEST(what_was_cut_off_leaves_the_conversation)
{
	static const char *const kinds[] = {"message", "function_call"};
	json_t *event;

	read_in_hand();
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1','type':'%s','role':'assistant','name':'book','status':'in_progress'}}",
	       kinds[_i]);
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':'u1','item':{'id':'m1','type':'%s','role':'assistant','name':'book','status':'in_progress'}}",
	       kinds[_i]);
	rig_up(&rig,
	       "{'type':'response.output_item.done','response_id':'r1','item':{'id':'m1','type':'%s','role':'assistant','name':'book','status':'incomplete','arguments':'{}'}}",
	       kinds[_i]);
	rig_silent(&rig, SESS_CLIENT);
	cancelled("r1");
	event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.delete");
	ck_assert_str_eq(rig_string(event, "item_id"), "m1");
	json_decref(event);
	expect_output(expect_call("get_order"), "{\"at\":1}");
	expect_followup();
	rig_up(&rig, "{'type':'conversation.item.deleted','item_id':'m1'}");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(an_answer_that_was_complete_before_the_cancel_is_shown)
{
	read_in_hand();
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1','type':'message','role':'assistant','status':'in_progress'}}");
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':'u1','item':{'id':'m1','type':'message','role':'assistant','status':'in_progress'}}");
	rig_up(&rig,
	       "{'type':'response.output_audio.delta','response_id':'r1','item_id':'m1','delta':'AAAA'}");
	rig_silent(&rig, SESS_CLIENT);
	talk_done(&rig, "r1", "completed");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.added");
	rig_expect(&rig, SESS_CLIENT, "response.output_audio.delta");
	rig_expect(&rig, SESS_CLIENT, "response.done");
	rig_up(&rig,
	       "{'type':'error','error':{'code':'response_cancel_not_active','event_id':'bc_x1'}}");
	rig_silent(&rig, SESS_CLIENT);
	rig_silent(&rig, SESS_UPSTREAM);
	ck_assert_int_eq(rig.runs[0].settled, JRN_UNUSED);
}
END_TEST

START_TEST(speech_between_cancel_and_end_drops_it)
{
	read_in_hand();
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	cancelled("r1");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_started");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(a_response_of_the_client_is_merged_with_its_followup)
{
	json_t *event;

	rig_client(&rig, "{'type':'response.create','response':{'instructions':'Be brief.'}}");
	talk_skip(&rig, SESS_UPSTREAM);
	read_in_hand();
	talk_created(&rig, "r1", "null");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	expect_cancel("r1");
	cancelled("r1");
	expect_output(expect_call("get_order"), "{\"at\":1}");
	event = rig_next(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_str_eq(rig_string(event, "response.instructions"), "Be brief.");
	json_decref(event);
	rig_silent(&rig, SESS_CLIENT);
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_done(&rig, "r2", "completed");
	event = rig_next(&rig, SESS_CLIENT, "response.done");
	ck_assert_str_eq(rig_string(event, "response.id"), "r1");
	ck_assert_str_eq(rig_string(event, "response.status"), "completed");
	json_decref(event);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

/* ---- holds ---- */

START_TEST(a_hold_starts_when_the_caller_has_been_silent)
{
	const char *call_id;

	booking_at_the_gate();
	talk_audio(&rig, 160, false);
	ck_assert_uint_eq(rig.run_count, 0);
	if (_i == 0) {
		talk_audio(&rig, 40, false);
	} else {
		rig_wait(&rig, 250 * BC_USEC_PER_MS); /* by the clock where no audio comes */
	}
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(!rig.runs[0].speculative);
	talk_skip(&rig, SESS_UPSTREAM);
	ck_assert(rig_start(&rig, 0));
	call_id = expect_call("book");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 0, "{\"booked\":true}");
	expect_output(call_id, "{\"booked\":true}");
	expect_followup();
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
}
END_TEST

START_TEST(j5_whatever_speaks_against_a_hold_stops_it)
{
	static const char *const from_client[] = {"{'type':'response.cancel'}", NULL, NULL, NULL};
	static const char *const from_provider[] = {
		NULL, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}",
		"{'type':'input_audio_buffer.cleared'}", NULL};
	bool asked = _i / 4 == 0; /* before it was asked for, or when its ticket comes */
	int how = _i % 4;

	booking_at_the_gate();
	if (!asked) {
		talk_audio(&rig, 220, false);
		ck_assert_uint_eq(rig.run_count, 1);
	}
	if (from_client[how] != NULL) {
		rig_client(&rig, "%s", from_client[how]);
	} else if (from_provider[how] != NULL) {
		rig_up(&rig, "%s", from_provider[how]);
	} else {
		talk_audio(&rig, 60, true); /* heard before the provider says so */
	}
	if (asked) {
		talk_audio(&rig, 1000, false);
		ck_assert_uint_eq(rig.run_count, 0);
	} else {
		ck_assert(!rig_start(&rig, 0));
		talk_audio(&rig, 1000, false);
	}
	for (; rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]; rig.seen[SESS_UPSTREAM]++) {
		ck_assert_ptr_null(
			strstr(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]], "function_call"));
	}
}
END_TEST

START_TEST(a_hold_that_is_stopped_is_made_for_the_provider_that_called_it_meanwhile)
{
	booking_at_the_gate();
	talk_audio(&rig, 220, false);
	ck_assert_uint_eq(rig.run_count, 1);
	talk_created(&rig, "r2", "null"); /* which nobody expected */
	talk_call(&rig, "r2", "f2", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(!rig_start(&rig, 0));
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(rig_start(&rig, 1)); /* the provider's own call asks nobody */
	talk_done(&rig, "r2", "completed");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 1, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	expect_followup();
}
END_TEST

START_TEST(a_hold_with_a_read_enters_in_the_order_they_were_named)
{
	char read_id[64];

	turn_naming_both("get_order", TALK_ORDER, "book");
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "{}");
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	cancelled("r1");
	talk_audio(&rig, 300, false);
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM] &&
	       strstr(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]], "append") != NULL) {
		rig.seen[SESS_UPSTREAM]++;
	}
	(void)snprintf(read_id, sizeof(read_id), "%s", expect_call("get_order"));
	talk_skip(&rig, SESS_UPSTREAM);
	ck_assert(rig_start(&rig, 1));
	(void)expect_call("book"); /* outputs wait for it */
	rig_finish(&rig, 1, "{\"b\":1}");
	expect_output(read_id, "{}");
}
END_TEST

/* ---- turns the client ends itself ---- */

START_TEST(a_request_waits_for_a_verdict_that_is_near)
{
	json_t *event;

	turn_naming("get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{}");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_client(&rig, "{'type':'input_audio_buffer.commit'}");
	rig_client(&rig, "{'type':'response.create','event_id':'mine'}");
	rig_expect(&rig, SESS_UPSTREAM, "input_audio_buffer.commit");
	rig_silent(&rig, SESS_UPSTREAM);
	if (_i == 1) {
		rig_wait(&rig, 301 * BC_USEC_PER_MS); /* the provider does not confirm the turn */
	} else {
		talk_commit(&rig, "u1", NULL);
		expect_output(expect_call("get_order"), "{}");
	}
	event = rig_next(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_str_eq(rig_string(event, "event_id"), "mine");
	json_decref(event);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_request_waits_for_nothing_where_nothing_was_proposed)
{
	turn_naming(NULL, NULL);
	rig_client(&rig, "{'type':'input_audio_buffer.commit'}");
	rig_client(&rig, "{'type':'response.create'}");
	rig_expect(&rig, SESS_UPSTREAM, "input_audio_buffer.commit");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(a_client_that_ends_its_turn_without_a_pause_has_it_heard)
{
	talk_audio(&rig, 500, true);
	rig_client(&rig, "{'type':'input_audio_buffer.commit'}");
	find_passes();
	ck_assert_uint_eq(mark_count, 1);
	answer_pass("p1", "get_order", TALK_ORDER, NULL);
	talk_commit(&rig, "u1", NULL);
	ck_assert_uint_eq(rig.run_count, 1); /* heard to its end: stable at once */
	talk_skip(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 0, "{}");
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
}
END_TEST

START_TEST(a_pass_that_began_behind_the_last_word_is_not_doubled)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 60, false);
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.delta','item_id':'u1','delta':'Order 7?'}");
	find_passes();
	ck_assert_uint_eq(mark_count, 1);
	talk_audio(&rig, 200, false); /* the pause */
	find_passes();
	ck_assert_uint_eq(mark_count, 1);
}
END_TEST

START_TEST(speech_without_an_end_is_looked_at_now_and_then)
{
	rig_fini(&rig);
	talk_begin(&rig, VERDICT_CONFIG "growth = \"1s\"\n", "pcm");
	talk_audio(&rig, 900, true);
	find_passes();
	ck_assert_uint_eq(mark_count, 0);
	talk_audio(&rig, 200, true);
	find_passes();
	ck_assert_uint_eq(mark_count, 1);
	answer_pass("p1", NULL, NULL, NULL);
	talk_audio(&rig, 1150, true);
	find_passes();
	ck_assert_uint_eq(mark_count, 1); /* looks move apart */
	talk_audio(&rig, 200, true);
	find_passes();
	ck_assert_uint_eq(mark_count, 2);
}
END_TEST

START_TEST(a_call_enters_as_the_pass_wrote_it)
{
	json_t *event;

	turn_naming("get_order", "{ \\\"id\\\" : \\\"7\\\" }");
	rig_finish(&rig, 0, "{}");
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	cancelled("r1");
	event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");
	ck_assert_str_eq(rig_string(event, "item.arguments"), "{ \"id\" : \"7\" }");
	json_decref(event);
}
END_TEST

/* ---- providers that do not play along ---- */

START_TEST(a_provider_that_refuses_calls_is_not_asked_again)
{
	json_t *event;

	read_in_hand();
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	cancelled("r1");
	event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");
	rig_up(&rig, "{'type':'error','error':{'code':'invalid_value','event_id':'%s'}}",
	       rig_string(event, "event_id"));
	json_decref(event);
	rig_silent(&rig, SESS_CLIENT);
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_done(&rig, "r2", "completed");
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	mark_count = 0;
	find_passes();
	answer_pass("p2", "get_order", TALK_ORDER, NULL);
	talk_audio(&rig, 320, false);
	rig_finish(&rig, 1, "{}");
	talk_commit(&rig, "u2", "u1");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r3", "null");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

static Suite *suite(void)
{
	const TTest *const cases[] = {
		a_read_in_hand_takes_the_responses_place,
		a_response_that_has_shown_an_item_wins,
		a_turn_without_calls_is_left_alone,
		words_behind_the_pass_take_its_verdict_away,
		a_client_tool_beside_it_leaves_the_word_to_the_provider,
		changed_tools_or_instructions_leave_it_to_the_provider,
		a_call_that_slips_in_is_the_real_one,
		a_call_complete_in_a_response_that_was_cut_off_is_the_real_one,
		what_follows_from_a_real_call_is_put_in_behind_it,
		an_answer_that_was_complete_before_the_cancel_is_shown,
		speech_between_cancel_and_end_drops_it,
		a_response_of_the_client_is_merged_with_its_followup,
		a_hold_that_is_stopped_is_made_for_the_provider_that_called_it_meanwhile,
		a_hold_with_a_read_enters_in_the_order_they_were_named,
		a_request_waits_for_nothing_where_nothing_was_proposed,
		a_client_that_ends_its_turn_without_a_pause_has_it_heard,
		speech_without_an_end_is_looked_at_now_and_then,
		a_pass_that_began_behind_the_last_word_is_not_doubled,
		a_call_enters_as_the_pass_wrote_it,
		a_provider_that_refuses_calls_is_not_asked_again,
	};
	Suite *s = suite_create("session_take");
	TCase *c = tcase_create("session_take");

	tcase_add_checked_fixture(c, setup, teardown);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, a_read_that_runs_is_not_waited_for, 0, 2);
	tcase_add_loop_test(c, what_the_provider_named_otherwise_is_not_put_in_beside_it, 0, 2);
	tcase_add_loop_test(c, what_was_named_without_knowing_a_real_call_is_not_put_in_behind_it,
			    0, 3);
	tcase_add_loop_test(c, what_was_named_before_a_response_was_cut_off_is_not_put_in_beside_it,
			    0, 3);
	tcase_add_loop_test(c, what_was_cut_off_leaves_the_conversation, 0, 2);
	tcase_add_loop_test(c, a_hold_starts_when_the_caller_has_been_silent, 0, 2);
	tcase_add_loop_test(c, j5_whatever_speaks_against_a_hold_stops_it, 0, 8);
	tcase_add_loop_test(c, a_request_waits_for_a_verdict_that_is_near, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
