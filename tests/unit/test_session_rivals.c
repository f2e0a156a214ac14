/* What may happen beside a takeover: other responses, other words, other turns, clients that change their mind. */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"
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

/* ---- pieces ---- */

/* What reached the provider, but audio: one letter for each event. */
static const char *to_provider(void)
{
	static const struct {
		const char *mark;
		char letter;
	} kinds[] = {{"\"input_audio_buffer.append\"", '\0'},
		     {"\"input_audio_buffer.commit\"", 'c'},
		     {"\"response.cancel\"", 'x'},
		     {"\"bc\":\"p\"", 'p'},
		     {"\"response.create\"", 'r'},
		     {"\"conversation.item.delete\"", 'd'},
		     {"\"function_call_output\"", 'o'},
		     {"\"function_call\"", 'f'},
		     {"", '?'}};
	static char letters[64];
	size_t len = 0;

	for (; rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]; rig.seen[SESS_UPSTREAM]++) {
		size_t i = 0;

		while (strstr(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]], kinds[i].mark) ==
		       NULL) {
			i++;
		}
		ck_assert_uint_lt(len + 1, sizeof(letters));
		letters[len] = kinds[i].letter;
		len += kinds[i].letter != '\0';
	}
	letters[len] = '\0';
	return letters;
}

/* The booking's silence has passed: it waits for the journal alone. */
static void booking_asked(void)
{
	booking_at_the_gate();
	talk_audio(&rig, 220, false);
	ck_assert_uint_eq(rig.run_count, 1);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_skip(&rig, SESS_CLIENT);
}

/* ---- holds whose permission comes late ---- */

START_TEST(j5_a_later_turn_stops_a_hold_that_was_not_permitted_yet)
{
	booking_asked();
	if (_i == 0) {
		rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
		talk_audio(&rig, 300, true);
		talk_audio(&rig, 800, false);
		rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u2'}");
		talk_commit(&rig, "u2", "u1");
		talk_created(&rig, "r2", "null");
		talk_done(&rig, "r2", "completed");
	} else {
		rig_up(&rig,
		       "{'type':'conversation.item.added','previous_item_id':'u1','item':{'id':'u2','type':'message','role':'user'}}");
	}
	rig_wait(&rig, 2 * BC_USEC_PER_SEC);
	ck_assert(!rig_start(&rig, 0));
}
END_TEST

START_TEST(a_voiced_frame_behind_the_verdict_stops_a_hold)
{
	booking_asked();
	talk_audio(&rig, 20, true); /* too short to be speech */
	talk_audio(&rig, 1000, false);
	ck_assert(!rig_start(&rig, 0));
}
END_TEST

/* How many outputs of calls have been put into the conversation. */
static unsigned outputs_in_all(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < rig.count[SESS_UPSTREAM]; i++) {
		const char *text = rig.sent[SESS_UPSTREAM][i];

		count += strstr(text, "\"conversation.item.create\"") != NULL &&
			 strstr(text, "\"function_call_output\"") != NULL;
	}
	return count;
}

START_TEST(what_is_in_hand_beside_a_stopped_hold_does_not_wait_for_its_permission)
{
	char read_id[64];

	turn_naming_both("get_order", TALK_ORDER, "book");
	rig_finish(&rig, 0, "{}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	cancelled("r1");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 250 * BC_USEC_PER_MS);
	(void)snprintf(read_id, sizeof(read_id), "%s", expect_call("get_order"));
	rig_silent(&rig, SESS_UPSTREAM);
	ck_assert_uint_eq(rig.run_count, 2); /* the journal takes its time */
	switch (_i) {
	case 0:
		rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
		break;
	case 1:
		rig_up(&rig, "{'type':'input_audio_buffer.cleared'}");
		break;
	case 2:
		rig_client(&rig, "{'type':'response.cancel'}");
		rig_expect(&rig, SESS_UPSTREAM, "response.cancel");
		break;
	default:
		rig_up(&rig,
		       "{'type':'conversation.item.added','previous_item_id':'u1','item':{'id':'u2','type':'message','role':'user'}}");
	}
	expect_output(read_id, "{}");
	talk_skip(&rig, SESS_UPSTREAM);
	ck_assert(!rig_start(&rig, 1)); /* it settles as never started */
	ck_assert_str_eq(to_provider(), "");
	ck_assert_uint_eq(outputs_in_all(), 1);
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

START_TEST(a_hold_named_again_while_its_permission_is_late_is_made_and_heard_once)
{
	booking_asked();
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 520, false);
	talk_commit(&rig, "u2", "u1");
	talk_created(&rig, "r2", "null");
	talk_call(&rig, "r2", "f2", "book", TALK_NIGHT);
	talk_done(&rig, "r2", "completed");
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(!rig_start(&rig, 0));
	ck_assert(rig_start(&rig, 1));
	talk_skip(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 1, "{\"booked\":true}");
	expect_output("c_f2", "{\"booked\":true}");
	expect_followup();
	rig_silent(&rig, SESS_UPSTREAM);
	ck_assert_uint_eq(outputs_in_all(), 1);
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

/* The provider called it, too, so it is made; a caller who is quicker than its outcome means no second one. */
START_TEST(n1_a_hold_that_was_stopped_and_made_all_the_same_is_not_made_again)
{
	booking_asked();
	talk_created(&rig, "r2", "null"); /* which nobody expected */
	talk_call(&rig, "r2", "f2", "book", TALK_NIGHT);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	cancelled("r2");
	if (_i == 0) {
		ck_assert(!rig_start(&rig, 0));
		ck_assert(rig_start(&rig, 1));
	}
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 520, false);
	talk_commit(&rig, "u2", "u1");
	talk_created(&rig, "r3", "null");
	talk_call(&rig, "r3", "f3", "book", TALK_NIGHT);
	talk_done(&rig, "r3", "completed");
	if (_i == 1) {
		ck_assert(!rig_start(&rig, 0)); /* the journal takes its time */
		ck_assert(rig_start(&rig, 1));
	}
	ck_assert_uint_eq(rig.run_count, 2);
	talk_skip(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 1, "{}");
	ck_assert_uint_eq(outputs_in_all(), 2);
}
END_TEST

/* It was refused before its last look at what speaks against it; nobody is to hear of it, and nothing of it is kept. */
START_TEST(a_stopped_hold_that_could_not_start_is_over)
{
	booking_asked();
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_fail(&rig, 0, TOOL_NOT_RECORDED);
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
	ck_assert_uint_eq(rig.sess->agent->work_count, 0);
	ck_assert_str_eq(to_provider(), "");
}
END_TEST

START_TEST(whoever_lost_an_answer_for_a_hold_that_is_stopped_gets_another)
{
	booking_asked();
	talk_audio(&rig, 60, true); /* a noise the provider never speaks of */
	ck_assert(!rig_start(&rig, 0));
	ck_assert_str_eq(to_provider(), "r");
}
END_TEST

START_TEST(whoever_does_not_want_an_answer_gets_none)
{
	booking_asked();
	rig_client(&rig, "{'type':'response.cancel'}");
	talk_skip(&rig, SESS_UPSTREAM);
	ck_assert(!rig_start(&rig, 0));
	ck_assert_str_eq(to_provider(), "");
}
END_TEST

START_TEST(a_hold_is_not_made_after_the_end)
{
	booking_asked();
	talk_created(&rig, "r2", "null"); /* which nobody expected */
	talk_call(&rig, "r2", "f2", "book", TALK_NIGHT);
	sess_closed(rig.sess, SESS_CLIENT, BC_OK, WS_CLOSE_NORMAL, BC_SPAN_LIT(""));
	ck_assert(!rig_start(&rig, 0));
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(a_call_repeated_twice_is_still_the_one_that_was_put_in)
{
	booking_asked();
	ck_assert(rig_start(&rig, 0));
	rig_finish(&rig, 0, "{}");
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_call(&rig, "r2", "f2", "book", TALK_NIGHT);
	talk_call(&rig, "r2", "f3", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

/* ---- answers that are lost ---- */

START_TEST(a_client_that_clears_its_buffer_is_answered_all_the_same)
{
	booking_at_the_gate();
	rig_up(&rig, "{'type':'input_audio_buffer.cleared'}");
	ck_assert_str_eq(to_provider(), "r");
	ck_assert_uint_eq(rig.run_count, 0);
}
END_TEST

START_TEST(a_clients_call_that_slips_in_is_shown)
{
	rig_client(
		&rig,
		"{'type':'session.update','session':{'tools':[{'type':'function','name':'show_map'}]}}");
	rig_up(&rig, "{'type':'session.updated','session':{'tools':[]}}");
	read_in_hand();
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	talk_call(&rig, "r1", "f1", "show_map", "{}");
	rig_silent(&rig, SESS_CLIENT);
	cancelled("r1");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.added");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.done");
	rig_expect(&rig, SESS_CLIENT, "response.done");
	ck_assert_str_eq(to_provider(), ""); /* the client answers its call */
}
END_TEST

static void expect_behind(const char *item, const char *previous)
{
	json_t *added = rig_next(&rig, SESS_CLIENT, "conversation.item.added");

	ck_assert_str_eq(rig_string(added, "item.id"), item);
	ck_assert_str_eq(rig_string(added, "previous_item_id"), previous);
	json_decref(added);
}

static void item_behind(const char *item, const char *previous, const char *role)
{
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':'%s','item':{'id':'%s','type':'message','role':'%s','status':'in_progress'}}",
	       previous, item, role);
}

static void output_begins(const char *item)
{
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'%s','type':'message','role':'assistant','status':'in_progress'}}",
	       item);
}

/* _i: the response comes to its own end before the cancel reaches it, and is shown. */
START_TEST(what_is_said_meanwhile_does_not_stand_behind_what_is_kept_back)
{
	read_in_hand();
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	output_begins("m1");
	item_behind("m1", "u1", "assistant");
	output_begins("m2");
	item_behind("m2", "m1", "assistant");
	talk_skip(&rig, SESS_CLIENT);
	item_behind("u2", "m2", "user");
	expect_behind("u2", "u1"); /* it knows of nothing else */
	if (_i == 0) {
		cancelled("r1");
		return;
	}
	talk_done(&rig, "r1", "completed");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	expect_behind("m1", "u1");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	expect_behind("m2", "m1");
}
END_TEST

START_TEST(a_response_that_ended_by_itself_wins)
{
	read_in_hand();
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1','type':'message','role':'assistant','status':'in_progress'}}");
	talk_done(&rig, "r1", "incomplete"); /* it has said all it may */
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	rig_expect(&rig, SESS_CLIENT, "response.done");
	ck_assert_str_eq(to_provider(), "");
	rig_client(&rig, "{'type':'response.create'}"); /* go on */
	rig_wait(&rig, BC_USEC_PER_SEC);
	talk_created(&rig, "r2", "null");
	ck_assert_str_eq(to_provider(),
			 "r"); /* and is not taken over for what the first has decided */
}
END_TEST

START_TEST(an_answer_cut_off_aloud_is_asked_for_again)
{
	static char much[40000];

	memset(much, 'A', sizeof(much) - 1);
	read_in_hand();
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1','type':'message','role':'assistant','status':'in_progress'}}");
	for (unsigned i = 0; i < 2; i++) {
		rig_up(&rig,
		       "{'type':'response.output_audio.delta','response_id':'r1','item_id':'m1','delta':'%s'}",
		       much);
	}
	rig_expect(&rig, SESS_CLIENT, "response.created"); /* too much to be held */
	cancelled("r1");
	ck_assert_str_eq(to_provider(), "r");
	talk_created(&rig, "r2", "{'bc':'f'}");
	ck_assert_str_eq(to_provider(), ""); /* the caller has heard what r1 made of it */
}
END_TEST

START_TEST(a_call_of_the_last_turn_decides_nothing_in_the_next)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 520, false);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", "{\\\"id\\\":\\\"9\\\"}");
	talk_audio(&rig, 300, true); /* the next turn, before r1 has ended */
	talk_done(&rig, "r1", "completed");
	rig_finish(&rig, 0, "{}");
	talk_audio(&rig, 200, false);
	find_passes();
	answer_pass("p2", "get_order", TALK_ORDER, NULL);
	talk_audio(&rig, 320, false);
	rig_finish(&rig, 1, "{}");
	talk_commit(&rig, "u2", "u1");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r2", "null");
	ck_assert_str_eq(to_provider(), "x");
}
END_TEST

/* ---- requests and cancels of the client ---- */

START_TEST(a_request_on_its_way_closes_the_gate)
{
	rig_fini(&rig);
	verdict_begin(VERDICT_CONFIG "confirm_wait = \"0s\"\n");
	booking_at_the_gate();
	rig_client(&rig, "{'type':'response.create','event_id':'mine'}");
	talk_audio(&rig, 1000, false);
	ck_assert_uint_eq(rig.run_count, 0);
	ck_assert_str_eq(to_provider(), "r");
}
END_TEST

START_TEST(a_cancel_meets_the_request_that_was_kept)
{
	turn_naming("get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{}");
	rig_client(&rig, "{'type':'input_audio_buffer.commit'}");
	rig_client(&rig, "{'type':'response.create','event_id':'mine'}");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_client(&rig, "{'type':'response.cancel'}");
	ck_assert_str_eq(to_provider(), "rx");
}
END_TEST

START_TEST(j5_a_cancel_between_the_clients_commit_and_the_providers_counts)
{
	turn_naming("book", TALK_NIGHT);
	rig_client(&rig, "{'type':'input_audio_buffer.commit'}");
	rig_client(&rig, "{'type':'response.cancel'}");
	rig_client(&rig, "{'type':'response.create','event_id':'mine'}");
	talk_commit(&rig, "u1", NULL);
	talk_audio(&rig, 1000, false);
	ck_assert_uint_eq(rig.run_count, 0);
}
END_TEST

START_TEST(a_provider_that_is_about_to_answer_is_waited_for)
{
	turn_naming("book", TALK_NIGHT);
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	rig_client(&rig, "{'type':'response.create','event_id':'mine'}");
	talk_audio(&rig, 200, false);
	ck_assert_uint_eq(rig.run_count, 0); /* its own response is on its way */
	talk_created(&rig, "r1", "null");
	ck_assert_str_eq(to_provider(), "x");
}
END_TEST

/* ---- what a verdict is made of ---- */

START_TEST(steps_of_a_verdict_enter_one_after_the_other)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	answer_pass("p1", "get_order", TALK_ORDER, NULL);
	talk_audio(&rig, 320, false);
	rig_finish(&rig, 0, "{\"at\":1}");
	talk_audio(&rig, 600, false);
	find_passes();
	ck_assert_uint_eq(mark_count, 2);
	answer_pass("p2", NULL, NULL, NULL); /* nothing follows from the result yet */
	talk_audio(&rig, 100, true);
	talk_audio(&rig, 200, false);
	find_passes();
	ck_assert_uint_eq(mark_count, 4); /* without that result, and with it */
	answer_pass("p4", "get_order", "{\\\"id\\\":\\\"8\\\"}", NULL);
	mark_count--;
	answer_pass("p3", "get_order", TALK_ORDER, NULL);
	talk_audio(&rig, 400, false);
	rig_finish(&rig, 1, "{\"at\":2}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_skip(&rig, SESS_UPSTREAM);
	cancelled("r1");
	ck_assert_str_eq(to_provider(), "fofor");
}
END_TEST

START_TEST(a_read_named_behind_an_effect_is_left_to_the_provider)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'p1','status':'in_progress','conversation_id':null,'metadata':%s,'output':[]}}",
	       marks[0]);
	rig_up(&rig,
	       "{'type':'response.output_item.done','response_id':'p1','item':{'id':'i1','type':'function_call','status':'completed','name':'book','call_id':'c1','arguments':'{}'}}");
	rig_up(&rig,
	       "{'type':'response.output_item.done','response_id':'p1','item':{'id':'i2','type':'function_call','status':'completed','name':'get_order','call_id':'c2','arguments':'" TALK_ORDER
	       "'}}");
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'p1','status':'completed','conversation_id':null,'metadata':%s,'output':[]}}",
	       marks[0]);
	talk_audio(&rig, 320, false);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "{}"); /* both have the tag "orders" */
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	talk_audio(&rig, 1000, false);
	ck_assert_str_eq(to_provider(), "");
}
END_TEST

START_TEST(a_verdict_that_has_lost_a_call_is_left_to_the_provider)
{
	turn_naming_both("get_order", TALK_ORDER, "book");
	rig_finish(&rig, 0, "{}");
	sess_tag_changed(rig.sess, "orders"); /* another caller has changed what was read */
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	talk_audio(&rig, 1000, false);
	ck_assert_str_eq(to_provider(), "");
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(a_verdict_with_a_call_that_could_not_be_run_is_left_to_the_provider)
{
	static const enum tool_outcome outcomes[] = {TOOL_BUSY, TOOL_UNREACHABLE};

	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	rig.full = _i == 2; /* it cannot even be begun */
	answer_pass("p1", "get_order", TALK_ORDER, "book");
	talk_audio(&rig, 320, false);
	rig.full = false;
	if (_i < 2) {
		rig_fail(&rig, 0, outcomes[_i]);
	}
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	talk_audio(&rig, 1000, false);
	ck_assert_str_eq(to_provider(), "");
	ck_assert_uint_eq(rig.run_count, _i < 2 ? 1 : 0);
}
END_TEST

/* The provider makes calls that take long, one in each of so many turns. */
static void slow_calls(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char id[16];
		char call[16];
		char night[48];

		(void)snprintf(id, sizeof(id), "s%u", i);
		(void)snprintf(call, sizeof(call), "f_s%u", i);
		(void)snprintf(night, sizeof(night), "{\\\"night\\\":\\\"n%u\\\"}", i);
		talk_commit(&rig, id, NULL);
		talk_created(&rig, id, "null");
		talk_call(&rig, id, call, "book", night);
		talk_done(&rig, id, "completed");
	}
	ck_assert_uint_eq(rig.run_count, count);
}

START_TEST(a_takeover_without_room_is_declined_and_costs_nothing)
{
	int64_t declined = bc_metric_get(BC_M_TAKEOVERS_DECLINED);

	slow_calls(SESS_STEPS_MAX);
	turn_naming("book", TALK_NIGHT);
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_skip(&rig, SESS_CLIENT);
	talk_created(&rig, "r1", "null");
	talk_audio(&rig, 1000, false);
	ck_assert_str_eq(to_provider(), "");
	ck_assert_int_eq(bc_metric_get(BC_M_TAKEOVERS_DECLINED), declined + 1);
	ck_assert_uint_eq(rig.run_count, SESS_STEPS_MAX);
	talk_done(&rig, "r1", "completed"); /* the provider's own response has won */
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.done");
	rig_finish(&rig, 0, "{}"); /* and the session goes on */
	ck_assert_str_eq(to_provider(), "or");
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_done(&rig, "r2", "completed");
	/* With one call less there is room again. */
	mark_count = 0;
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	answer_pass("p2", "get_order", TALK_ORDER, NULL);
	talk_audio(&rig, 320, false);
	rig_finish(&rig, SESS_STEPS_MAX, "{}");
	talk_commit(&rig, "u2", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r3", "null");
	ck_assert_str_eq(to_provider(), "x");
}
END_TEST

START_TEST(w4_holds_of_a_verdict_run_one_after_the_other)
{
	rig_fini(&rig);
	verdict_begin(VERDICT_CONFIG "[tools]\nsequential = true\n");
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	answer_pass("p1", "book", TALK_NIGHT, "book");
	talk_audio(&rig, 320, false);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	cancelled("r1");
	talk_audio(&rig, 300, false);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig_start(&rig, 0));
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(rig.run_count, 2);
	talk_skip(&rig, SESS_UPSTREAM);
	if (_i == 0) {
		ck_assert(rig_start(&rig, 1));
		rig_finish(&rig, 1, "{}");
		ck_assert_str_eq(to_provider(), "foor");
	} else {
		talk_audio(&rig, 60, true);
		ck_assert(!rig_start(&rig, 1));
		ck_assert_str_eq(to_provider(), "or");
	}
}
END_TEST

START_TEST(words_of_a_voice_nobody_heard_here_release_nothing)
{
	rig_client(&rig, "{'type':'backchannel.hello','events':[]}");
	rig_client(&rig,
		   "{'type':'backchannel.input_text.final','revision':1,'text':'Book monday.'}");
	find_passes();
	answer_pass("p1", "book", TALK_NIGHT, NULL);
	talk_commit(&rig, "u1", NULL); /* of a voice too low for the detector */
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	ck_assert_str_eq(to_provider(), "");
}
END_TEST

START_TEST(r7_a_followup_that_was_given_up_for_a_nameless_error_stays_ours)
{
	json_t *event;

	read_in_hand();
	talk_created(&rig, "r1", "null");
	cancelled("r1");
	ck_assert_str_eq(to_provider(), "xfor");
	rig_up(&rig,
	       "{'type':'error','error':{'type':'invalid_request_error','code':'invalid_value','param':'response.input','event_id':null}}");
	talk_created(&rig, "r2", "{'bc':'f'}");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r2','item':{'id':'m1','type':'message','role':'assistant'}}");
	event = rig_next(&rig, SESS_CLIENT, "response.created");
	ck_assert_str_eq(rig_string(event, "response.metadata.bc"), "");
	json_decref(event);
}
END_TEST

START_TEST(an_effect_that_changes_what_it_was_based_on_ends_well)
{
	rig_fini(&rig);
	verdict_begin(
		VERDICT_CONFIG
		"[[tool]]\nname = \"move\"\ndescription = \"Moves an order.\"\neffect = \"reversible\"\n"
		"idempotency = \"key\"\ndisclosure = \"first_party\"\ntags = [\"orders\"]\n"
		"parameters = { type = \"object\" }\n"
		"request = { method = \"POST\", url = \"http://localhost:1/move\", body = \"{*}\" }\n"
		"undo = { method = \"POST\", url = \"http://localhost:1/back\" }\n");
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	answer_pass("p1", "get_order", TALK_ORDER, NULL);
	talk_audio(&rig, 320, false);
	rig_finish(&rig, 0, "{}");
	talk_audio(&rig, 600, false);
	find_passes();
	answer_pass("p2", "move", "{}", NULL);
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, 2);
	rig_finish(&rig, 1, "{\"moved\":1}");
	sess_tag_changed(rig.sess,
			 "orders"); /* as every session of the daemon, and so this one, is told */
	talk_audio(&rig, 20, false);
	ck_assert(!rig.runs[0].cancelled);
	ck_assert(!rig.runs[1].cancelled);
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	cancelled("r1");
	expect_output(expect_call("get_order"), "{}");
	expect_output(expect_call("move"), "{\"moved\":1}");
	expect_followup();
	ck_assert_int_eq(rig.runs[1].settled, JRN_USED);
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

/* A booking of the last turn still runs: named again it is the same one, whoever names it. */
START_TEST(n1_an_effect_nobody_has_heard_of_is_not_put_in_again)
{
	turn_naming(NULL, NULL);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "book", TALK_NIGHT);
	talk_done(&rig, "r1", "completed");
	ck_assert_uint_eq(rig.run_count, 1);
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	answer_pass("p2", "book", TALK_NIGHT, NULL);
	talk_audio(&rig, 320, false);
	talk_commit(&rig, "u2", "f1");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r2", "null");
	rig_wait(&rig, BC_USEC_PER_SEC);
	rig_silent(&rig, SESS_UPSTREAM);
	talk_call(&rig, "r2", "f2", "book", TALK_NIGHT);
	talk_done(&rig, "r2", "completed");
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

static Suite *suite(void)
{
	const TTest *const cases[] = {
		a_voiced_frame_behind_the_verdict_stops_a_hold,
		a_stopped_hold_that_could_not_start_is_over,
		whoever_lost_an_answer_for_a_hold_that_is_stopped_gets_another,
		whoever_does_not_want_an_answer_gets_none,
		a_hold_named_again_while_its_permission_is_late_is_made_and_heard_once,
		a_hold_is_not_made_after_the_end,
		a_call_repeated_twice_is_still_the_one_that_was_put_in,
		a_client_that_clears_its_buffer_is_answered_all_the_same,
		a_clients_call_that_slips_in_is_shown,
		a_response_that_ended_by_itself_wins,
		an_answer_cut_off_aloud_is_asked_for_again,
		a_call_of_the_last_turn_decides_nothing_in_the_next,
		a_request_on_its_way_closes_the_gate,
		a_cancel_meets_the_request_that_was_kept,
		j5_a_cancel_between_the_clients_commit_and_the_providers_counts,
		a_provider_that_is_about_to_answer_is_waited_for,
		steps_of_a_verdict_enter_one_after_the_other,
		a_read_named_behind_an_effect_is_left_to_the_provider,
		a_verdict_that_has_lost_a_call_is_left_to_the_provider,
		words_of_a_voice_nobody_heard_here_release_nothing,
		n1_an_effect_nobody_has_heard_of_is_not_put_in_again,
		an_effect_that_changes_what_it_was_based_on_ends_well,
		r7_a_followup_that_was_given_up_for_a_nameless_error_stays_ours,
	};
	Suite *s = suite_create("session_rivals");
	TCase *c = tcase_create("session_rivals");

	tcase_add_checked_fixture(c, setup, teardown);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, what_is_said_meanwhile_does_not_stand_behind_what_is_kept_back, 0,
			    2);
	tcase_add_loop_test(c, n1_a_hold_that_was_stopped_and_made_all_the_same_is_not_made_again,
			    0, 2);
	tcase_add_loop_test(c, j5_a_later_turn_stops_a_hold_that_was_not_permitted_yet, 0, 2);
	tcase_add_loop_test(c, a_verdict_with_a_call_that_could_not_be_run_is_left_to_the_provider,
			    0, 3);
	tcase_add_test(c, a_takeover_without_room_is_declined_and_costs_nothing);
	tcase_add_loop_test(
		c, what_is_in_hand_beside_a_stopped_hold_does_not_wait_for_its_permission, 0, 4);
	tcase_add_loop_test(c, w4_holds_of_a_verdict_run_one_after_the_other, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
