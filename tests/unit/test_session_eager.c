/* Turns that the provider ends before the client's silence has passed, as both sides see them. */
#include "daemon/config/config.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define EAGER TALK_CONFIG "[speculation]\neager_turn = true\n"
#define OWN                                                                                                         \
	"{'type':'server_vad','threshold':0.5,'prefix_padding_ms':300,'silence_duration_ms':500,'create_response':" \
	"true,'interrupt_response':true}"
#define SHORT                                                                                                       \
	"{'type':'server_vad','threshold':0.5,'prefix_padding_ms':300,'silence_duration_ms':200,'create_response':" \
	"true,'interrupt_response':true}"

static struct rig rig;

static void says(const char *type, const char *detection)
{
	rig_up(&rig,
	       "{'type':'%s','session':{'tools':[],'audio':{'input':{'format':{'type':'audio/pcm'},'turn_detection':%s}}}}",
	       type, detection);
}

/* A session whose provider has said what it detects turns by. */
static void begin(const char *detection)
{
	rig_init(&rig, EAGER, true);
	talk_skip(&rig, SESS_UPSTREAM);
	says("session.created", detection);
}

static void setup(void)
{
	json_t *update;

	begin(OWN);
	update = rig_next(&rig, SESS_UPSTREAM, "session.update");
	ck_assert_int_eq(
		json_integer_value(json_object_get(
			json_object_get(
				json_object_get(json_object_get(json_object_get(update, "session"),
								"audio"),
						"input"),
				"turn_detection"),
			"silence_duration_ms")),
		200);
	json_decref(update);
	says("session.updated", OWN); /* the gateway's tools */
	says("session.updated", SHORT);
	rig_expect(&rig, SESS_CLIENT, "session.created");
	rig_silent(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	talk_skip(&rig, SESS_UPSTREAM);
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* The provider ends the turn and begins to answer. */
static void answers_early(void)
{
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1','type':'message','role':'assistant','status':'in_progress'}}");
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':'u1','item':{'id':'m1','type':'message','role':'assistant','status':'in_progress'}}");
	rig_up(&rig,
	       "{'type':'response.output_audio.delta','response_id':'r1','item_id':'m1','delta':'AAAA'}");
}

START_TEST(nothing_is_shown_before_the_clients_silence_has_passed)
{
	answers_early();
	rig_silent(&rig, SESS_CLIENT);
	rig_wait(&rig, 299 * BC_USEC_PER_MS);
	rig_silent(&rig, SESS_CLIENT);
	rig_wait(&rig, 1 * BC_USEC_PER_MS);
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_stopped");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.committed");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.added");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.done");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.added");
	rig_expect(&rig, SESS_CLIENT, "response.output_audio.delta");
	rig_silent(&rig, SESS_CLIENT);
	rig_up(&rig,
	       "{'type':'response.output_audio.delta','response_id':'r1','item_id':'m1','delta':'AAAA'}");
	rig_expect(&rig, SESS_CLIENT, "response.output_audio.delta");
}
END_TEST

START_TEST(a_caller_who_goes_on_never_hears_of_it)
{
	json_t *event;

	answers_early();
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_stopped");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.committed");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.added");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.done");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_started");
	rig_silent(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_done(&rig, "r1", "cancelled");
	event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.delete");
	ck_assert_str_eq(rig_string(event, "item_id"), "m1");
	json_decref(event);
	rig_up(&rig, "{'type':'conversation.item.deleted','item_id':'m1'}");
	rig_silent(&rig, SESS_CLIENT);
	/* The window that closed does not open again by itself. */
	rig_wait(&rig, 2 * BC_USEC_PER_SEC);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(a_call_of_a_turn_that_went_on_is_not_made)
{
	json_t *event;
	bool complete = _i == 0;

	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "book", TALK_NIGHT);
	if (complete) {
		talk_done(&rig, "r1", "completed"); /* before the caller went on */
	}
	ck_assert_uint_eq(rig.run_count, 0);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	if (!complete) {
		talk_done(&rig, "r1", "cancelled");
	}
	ck_assert_uint_eq(rig.run_count, 0);
	event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.delete");
	ck_assert_str_eq(rig_string(event, "item_id"), "f1");
	json_decref(event);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_call_is_made_when_the_window_closes)
{
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 0); /* the commit point is the window's end */
	rig_wait(&rig, 300 * BC_USEC_PER_MS);
	ck_assert_uint_eq(rig.run_count, 1);
	talk_done(&rig, "r1", "completed");
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
}
END_TEST

START_TEST(a_voice_at_the_windows_end_is_given_time)
{
	answers_early();
	talk_audio(&rig, 60, true);
	rig_wait(&rig, 300 * BC_USEC_PER_MS);
	rig_silent(&rig, SESS_CLIENT);
	rig_wait(&rig, 60 * BC_USEC_PER_MS);
	rig_silent(&rig, SESS_CLIENT);
	for (unsigned i = 0; i < 5; i++) {
		rig_wait(&rig, 60 * BC_USEC_PER_MS); /* but not for ever */
	}
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_stopped");
}
END_TEST

START_TEST(the_client_sees_its_own_silence)
{
	json_t *event;

	rig_client(&rig, "{'type':'session.update','session':{'instructions':'Be brief.'}}");
	says("session.updated", SHORT);
	event = rig_next(&rig, SESS_CLIENT, "session.updated");
	ck_assert_int_eq(
		json_integer_value(json_object_get(
			json_object_get(
				json_object_get(
					json_object_get(json_object_get(event, "session"), "audio"),
					"input"),
				"turn_detection"),
			"silence_duration_ms")),
		500);
	json_decref(event);
}
END_TEST

START_TEST(a_client_that_changes_its_silence_gets_its_way)
{
	talk_skip(&rig, SESS_UPSTREAM);
	rig_client(
		&rig,
		"{'type':'session.update','session':{'audio':{'input':{'turn_detection':{'type':'server_vad','silence_duration_ms':800}}}}}");
	rig_expect(&rig, SESS_UPSTREAM, "session.update");
	says("session.updated", "{'type':'server_vad','silence_duration_ms':800}");
	rig_expect(&rig, SESS_CLIENT, "session.updated");
	rig_expect(&rig, SESS_UPSTREAM, "session.update"); /* shortened again */
	says("session.updated", "{'type':'server_vad','silence_duration_ms':200}");
	rig_silent(&rig, SESS_CLIENT);
	answers_early();
	rig_wait(&rig, 599 * BC_USEC_PER_MS);
	rig_silent(&rig, SESS_CLIENT);
	rig_wait(&rig, 1 * BC_USEC_PER_MS);
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_stopped");
}
END_TEST

/* The silence that the client asked for is what the provider would have been asked for. */
START_TEST(a_client_that_wants_the_shorter_silence_itself_has_it)
{
	rig_client(
		&rig,
		"{'type':'session.update','session':{'audio':{'input':{'turn_detection':{'type':'server_vad','silence_duration_ms':200}}}}}");
	says("session.updated", SHORT);
	ck_assert_ptr_nonnull(strstr(rig.sent[SESS_CLIENT][rig.count[SESS_CLIENT] - 1],
				     "\"silence_duration_ms\":200"));
	talk_skip(&rig, SESS_CLIENT);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_stopped");
}
END_TEST

START_TEST(a_client_that_changes_something_else_is_shown_it)
{
	rig_client(
		&rig,
		"{'type':'session.update','session':{'audio':{'input':{'turn_detection':{'type':'server_vad','threshold':0.9}}}}}");
	says("session.updated", "{'type':'server_vad','threshold':0.9,'silence_duration_ms':200}");
	ck_assert_ptr_nonnull(strstr(rig.sent[SESS_CLIENT][rig.count[SESS_CLIENT] - 1],
				     "\"threshold\":0.9,\"silence_duration_ms\":500"));
}
END_TEST

/* The result of the last turn's call comes in the window, and the caller goes on. */
START_TEST(l2_nothing_is_asked_for_while_the_caller_goes_on)
{
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_done(&rig, "r1", "completed");
	rig_wait(&rig, 300 * BC_USEC_PER_MS);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u2'}");
	talk_commit(&rig, "u2", "u1");
	talk_created(&rig, "r2", "null");
	talk_done(&rig, "r2", "completed");
	rig_finish(&rig, 0, "{}");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u3'}");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(other_ways_to_end_turns_are_left_alone)
{
	static const char *const others[] = {
		"null",
		"{'type':'semantic_vad'}",
		"{'type':'server_vad','silence_duration_ms':500,'create_response':false}",
		"{'type':'server_vad','silence_duration_ms':500,'interrupt_response':false}",
		"{'type':'server_vad','silence_duration_ms':240}",
	};

	rig_fini(&rig);
	begin(others[_i]);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_expect(&rig, SESS_CLIENT, "session.created");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_stopped");
}
END_TEST

START_TEST(a_provider_that_refuses_is_left_alone)
{
	json_t *update;

	rig_fini(&rig);
	begin(OWN);
	update = rig_next(&rig, SESS_UPSTREAM, "session.update");
	says("session.updated", OWN);
	rig_up(&rig, "{'type':'error','error':{'code':'invalid_value','event_id':'%s'}}",
	       rig_string(update, "event_id"));
	json_decref(update);
	rig_expect(&rig, SESS_CLIENT, "session.created");
	rig_silent(&rig, SESS_CLIENT);
	says("session.updated", OWN);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_expect(&rig, SESS_CLIENT, "session.updated");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_stopped");
}
END_TEST

START_TEST(a_silence_set_while_the_caller_speaks_is_shortened_behind_the_turn)
{
	static const char slower[] =
		"{'type':'server_vad','silence_duration_ms':900,'create_response':true,'interrupt_response':true}";

	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u1'}");
	says("session.updated", slower);
	rig_silent(&rig, SESS_UPSTREAM); /* in the middle of a turn it might be lost */
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_commit(&rig, "u1", NULL);
	rig_expect(&rig, SESS_UPSTREAM, "session.update");
}
END_TEST

START_TEST(what_is_kept_is_shown_when_the_provider_vanishes)
{
	answers_early();
	sess_closed(rig.sess, SESS_UPSTREAM, BC_E_CLOSED, 1006, BC_SPAN_LIT(""));
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_stopped");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.committed");
}
END_TEST

START_TEST(a_call_is_not_made_when_the_provider_vanishes_in_the_window)
{
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "book", TALK_NIGHT);
	sess_closed(rig.sess, SESS_UPSTREAM, BC_E_CLOSED, 1006, BC_SPAN_LIT(""));
	ck_assert_uint_eq(rig.run_count, 0); /* the turn was never committed */
}
END_TEST

START_TEST(however_much_was_made_of_a_pause_is_deleted)
{
	char id[8];

	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	for (unsigned i = 0; i < 9; i++) {
		(void)snprintf(id, sizeof(id), "f%u", i);
		talk_call(&rig, "r1", id, "book", TALK_NIGHT);
	}
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	talk_done(&rig, "r1", "cancelled");
	for (unsigned i = 0; i < 9; i++) {
		rig_expect(&rig, SESS_UPSTREAM, "conversation.item.delete");
	}
}
END_TEST

START_TEST(an_answer_that_begins_after_the_caller_went_on_is_never_heard)
{
	json_t *event;

	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_commit(&rig, "u1", NULL);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	talk_skip(&rig, SESS_CLIENT);
	talk_created(&rig, "r1", "null");
	event = rig_next(&rig, SESS_UPSTREAM, "response.cancel");
	ck_assert_str_eq(rig_string(event, "response_id"), "r1");
	json_decref(event);
	talk_call(&rig, "r1", "f1", "book", TALK_NIGHT);
	talk_done(&rig, "r1", "cancelled");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.delete");
	ck_assert_uint_eq(rig.run_count, 0);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

#define LONG_PIECE 60000

/* The provider says so much in the window. */
static void speaks_at_length(unsigned pieces)
{
	static char piece[LONG_PIECE + 1];

	memset(piece, 'A', LONG_PIECE);
	for (unsigned i = 0; i < pieces; i++) {
		rig_up(&rig,
		       "{'type':'response.output_audio.delta','response_id':'r1','item_id':'m1','delta':'%s'}",
		       piece);
	}
}

static void expect_turn_without_answer(void)
{
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_stopped");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.committed");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.added");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.done");
}

START_TEST(an_answer_longer_than_what_is_kept_is_asked_for_again)
{
	bool ended = _i == 1; /* before the window's end */
	json_t *event;

	answers_early();
	speaks_at_length(20);
	rig_silent(&rig, SESS_CLIENT); /* the turn may still go on */
	ck_assert(rig.reading[SESS_UPSTREAM]);
	if (ended) {
		talk_done(&rig, "r1", "completed");
	}
	rig_wait(&rig, 299 * BC_USEC_PER_MS);
	rig_silent(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 1 * BC_USEC_PER_MS);
	expect_turn_without_answer();
	rig_silent(&rig, SESS_CLIENT);
	if (!ended) {
		event = rig_next(&rig, SESS_UPSTREAM, "response.cancel");
		ck_assert_str_eq(rig_string(event, "response_id"), "r1");
		json_decref(event);
		rig_silent(&rig, SESS_UPSTREAM);
		talk_done(&rig, "r1", "cancelled");
	}
	event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.delete");
	ck_assert_str_eq(rig_string(event, "item_id"), "m1");
	json_decref(event);
	rig_wait(&rig, 2 * BC_USEC_PER_SEC);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	talk_created(&rig, "r2", "{'bc':'f'}");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r2','item':{'id':'m2','type':'message','role':'assistant','status':'in_progress'}}");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	rig_silent(&rig, SESS_UPSTREAM); /* once */
}
END_TEST

START_TEST(a_caller_who_goes_on_never_hears_of_a_long_answer_either)
{
	answers_early();
	speaks_at_length(20);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	expect_turn_without_answer();
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_started");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_done(&rig, "r1", "cancelled");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.delete");
	rig_wait(&rig, 2 * BC_USEC_PER_SEC);
	rig_silent(&rig, SESS_UPSTREAM); /* nobody asks for an answer to half a turn */
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(what_is_no_piece_of_the_answer_is_kept_however_long_and_not_lost)
{
	static char text[LONG_PIECE + 1];
	unsigned many = 18;

	memset(text, 'a', LONG_PIECE);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_commit(&rig, "u1", NULL);
	for (unsigned i = 0; i < many; i++) {
		rig_up(&rig,
		       "{'type':'conversation.item.added','item':{'id':'s%u','type':'message','role':'system','content':[{'type':'input_text','text':'%s'}]}}",
		       i, text);
	}
	ck_assert(!rig.reading[SESS_UPSTREAM]); /* what more there is waits at the provider */
	rig_silent(&rig, SESS_CLIENT);
	rig_wait(&rig, 300 * BC_USEC_PER_MS);
	expect_turn_without_answer();
	for (unsigned i = 0; i < many; i++) {
		rig_expect(&rig, SESS_CLIENT, "conversation.item.added");
	}
	ck_assert(rig.reading[SESS_UPSTREAM]);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null"); /* it comes only now, and is the one that is shown */
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1','type':'message','role':'assistant','status':'in_progress'}}");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_client_in_the_window_finds_nothing_active)
{
	json_t *event;

	answers_early();
	rig_client(&rig, "{'type':'response.create','event_id':'mine'}");
	rig_silent(&rig, SESS_UPSTREAM); /* it would collide with what the client cannot know of */
	rig_silent(&rig, SESS_CLIENT);
	if (_i == 0) {
		rig_wait(&rig, 300 * BC_USEC_PER_MS);
		rig_silent(&rig, SESS_UPSTREAM);
		talk_done(&rig, "r1", "completed");
	} else {
		/* The caller goes on: a response now would be made of half a turn. */
		rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
		talk_done(&rig, "r1", "cancelled");
		rig_expect(&rig, SESS_UPSTREAM, "conversation.item.delete");
		rig_client(&rig, "{'type':'response.create','event_id':'second'}");
		rig_silent(&rig, SESS_UPSTREAM);
		rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u2'}");
		talk_commit(&rig, "u2", "u1");
		rig_silent(&rig, SESS_UPSTREAM);
		rig_wait(&rig, 300 * BC_USEC_PER_MS);
	}
	event = rig_next(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_str_eq(rig_string(event, "event_id"), "mine");
	json_decref(event);
}
END_TEST

/* A split turn goes on, and the client asks for a response: it waits for as long as the caller speaks, however that ends. */
START_TEST(a_request_waits_for_the_rest_of_a_split_turn)
{
	answers_early();
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	talk_done(&rig, "r1", "cancelled");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.delete");
	rig_client(&rig, "{'type':'response.create','event_id':'mine'}");
	rig_up(&rig,
	       "{'type':'conversation.item.added','item':{'id':'t1','type':'message','role':'user','content':[{'type':'input_text','text':'Hm.'}]}}");
	rig_silent(&rig, SESS_UPSTREAM);
	if (_i == 0) {
		says("session.updated", "null");
	} else {
		rig_up(&rig, "{'type':'input_audio_buffer.cleared'}");
	}
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	/* And for no longer: the next turn is whole. */
	talk_created(&rig, "r2", "null");
	talk_done(&rig, "r2", "completed");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u3'}");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_client(&rig, "{'type':'response.create','event_id':'second'}");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(a_cancel_in_the_window_does_not_take_the_answer_away)
{
	json_t *event;

	answers_early();
	rig_client(&rig, "{'type':'response.cancel','event_id':'mine'}");
	rig_silent(&rig, SESS_UPSTREAM);
	event = rig_next(&rig, SESS_CLIENT, "error");
	ck_assert_str_eq(rig_string(event, "error.code"), "response_cancel_not_active");
	ck_assert_str_eq(rig_string(event, "error.event_id"), "mine");
	json_decref(event);
	rig_wait(&rig, 300 * BC_USEC_PER_MS);
	talk_skip(&rig, SESS_CLIENT);
	talk_done(&rig, "r1", "completed");
	rig_expect(&rig, SESS_CLIENT, "response.done");
}
END_TEST

static Suite *suite(void)
{
	const TTest *const cases[] = {
		nothing_is_shown_before_the_clients_silence_has_passed,
		a_caller_who_goes_on_never_hears_of_it,
		a_call_is_made_when_the_window_closes,
		a_voice_at_the_windows_end_is_given_time,
		the_client_sees_its_own_silence,
		a_client_that_wants_the_shorter_silence_itself_has_it,
		a_client_that_changes_something_else_is_shown_it,
		l2_nothing_is_asked_for_while_the_caller_goes_on,
		a_client_that_changes_its_silence_gets_its_way,
		a_provider_that_refuses_is_left_alone,
		a_silence_set_while_the_caller_speaks_is_shortened_behind_the_turn,
		what_is_kept_is_shown_when_the_provider_vanishes,
		a_call_is_not_made_when_the_provider_vanishes_in_the_window,
		however_much_was_made_of_a_pause_is_deleted,
		an_answer_that_begins_after_the_caller_went_on_is_never_heard,
		a_cancel_in_the_window_does_not_take_the_answer_away,
	};
	Suite *s = suite_create("session_eager");
	TCase *c = tcase_create("session_eager");

	tcase_add_checked_fixture(c, setup, teardown);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, a_call_of_a_turn_that_went_on_is_not_made, 0, 2);
	tcase_add_loop_test(c, an_answer_longer_than_what_is_kept_is_asked_for_again, 0, 2);
	tcase_add_test(c, a_caller_who_goes_on_never_hears_of_a_long_answer_either);
	tcase_add_test(c, what_is_no_piece_of_the_answer_is_kept_however_long_and_not_lost);
	tcase_add_loop_test(c, a_client_in_the_window_finds_nothing_active, 0, 2);
	tcase_add_loop_test(c, a_request_waits_for_the_rest_of_a_split_turn, 0, 2);
	tcase_add_loop_test(c, other_ways_to_end_turns_are_left_alone, 0, 5);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
