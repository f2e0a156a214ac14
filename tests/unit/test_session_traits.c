/* What a session notices of its provider, and what it does without. */
#include "daemon/config/traits.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define MS       BC_USEC_PER_MS
#define CONFIRM  TALK_CONFIG "[speculation]\nmode = \"confirm\"\n"
#define IS_AUDIO "'output_modalities':['audio'],"

static struct rig rig;

static void setup(void)
{
	talk_begin(&rig, CONFIRM, "pcm");
	rig_up(&rig, "{'type':'session.updated','session':{" IS_AUDIO "'tools':[]}}");
	talk_skip(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* The provider makes a call, its result is there, and an answer is asked for.  Owned by the caller. */
static json_t *asked_to_answer(const char *item)
{
	talk_call(&rig, "r1", item, "get_order", TALK_ORDER);
	talk_done(&rig, "r1", "completed");
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	return rig_next(&rig, SESS_UPSTREAM, "response.create");
}

START_TEST(u12_u8_a_late_response_tells_who_cancels_it_and_how_fast)
{
	static const char *const reasons[] = {"client_cancelled", "turn_detected"};

	talk_created(&rig, "r1", "null");
	json_decref(asked_to_answer("f1"));
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	talk_created(&rig, "r2", "{'bc':'f'}");
	rig_expect(&rig, SESS_UPSTREAM, "response.cancel");
	rig_wait(&rig, 300 * MS);
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'r2','status':'cancelled','usage':%s,'status_details':{'type':'cancelled','reason':'%s'},'output':[]}}",
	       _i == 0 ? "null" : "{'total_tokens':1}", reasons[_i]);
	ck_assert_int_eq(rig.noticed[TRAIT_LATE_CANCEL], _i);
	ck_assert_int_eq(rig.noticed[TRAIT_CANCELLED_USAGE], _i);
	ck_assert_int_eq(rig.noticed[TRAIT_CANCEL_TIME], 300);
}
END_TEST

START_TEST(u17_answers_that_became_text_are_asked_for_as_audio)
{
	json_t *event;

	talk_created(&rig, "r1", "null");
	if (_i == 1) {
		rig_up(&rig,
		       "{'type':'response.content_part.added','response_id':'r1','item_id':'m1','part':{'type':'text','text':''}}");
	}
	ck_assert_int_eq(rig.noticed[TRAIT_AUDIO_AFTER_TEXT], _i == 1 ? 0 : TRAIT_UNKNOWN);
	event = asked_to_answer("f1");
	ck_assert_int_eq(json_object_get(json_object_get(event, "response"), "output_modalities") !=
				 NULL,
			 _i == 1);
	json_decref(event);
}
END_TEST

START_TEST(u17_text_that_was_asked_for_tells_nothing)
{
	rig_up(&rig,
	       "{'type':'session.updated','session':{'output_modalities':['text'],'tools':[]}}");
	talk_created(&rig, "r1", "null");
	rig_up(&rig,
	       "{'type':'response.content_part.added','response_id':'r1','item_id':'m1','part':{'type':'text','text':''}}");
	ck_assert_int_eq(rig.noticed[TRAIT_AUDIO_AFTER_TEXT], TRAIT_UNKNOWN);
}
END_TEST

START_TEST(u18_the_lag_of_transcripts_is_measured)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 600, false);
	talk_commit(&rig, "u1", NULL);
	rig_wait(&rig, 400 * MS);
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.completed','item_id':'u1','transcript':'Hello.'}");
	ck_assert_int_ge(rig.noticed[TRAIT_TRANSCRIPT_LAG], 900);
	ck_assert_int_le(rig.noticed[TRAIT_TRANSCRIPT_LAG], 1100);
}
END_TEST

START_TEST(u9_a_call_under_another_id_is_taken_out)
{
	rig_up(&rig,
	       "{'type':'conversation.item.done','previous_item_id':null,'item':{'id':'bc_i1','type':'function_call','call_id':'%s','name':'get_order','arguments':'{}'}}",
	       _i == 0 ? "bc_c1" : "call_9");
	ck_assert_int_eq(rig.noticed[TRAIT_CLIENT_CALLS], _i == 0);
	if (_i == 1) {
		rig_expect(&rig, SESS_UPSTREAM, "conversation.item.delete");
	}
	rig_silent(&rig, SESS_UPSTREAM);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(every_value_is_read_as_it_is_written)
{
	static const char *const wrong[] = {"",
					    "inline_audio",
					    "inline_audio=",
					    "inline_audio=maybe",
					    "inline_audio=?",
					    "cancel_time=12",
					    "cancel_time=ms",
					    "cancel_time=-1ms",
					    "cancel_time=99999999999ms",
					    "inline_audi=yes"};
	struct bc_buf text;
	enum trait trait;
	int32_t value;

	bc_buf_init(&text, 256);
	for (int i = 0; i < TRAIT__COUNT; i++) {
		bc_buf_clear(&text);
		ck_assert_int_eq(trait_put(&text, (enum trait)i, 1), BC_OK);
		ck_assert_int_eq(trait_parse(bc_buf_span(&text), &trait, &value), BC_OK);
		ck_assert_int_eq(trait, i);
		ck_assert_int_eq(value, 1);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ck_assert_int_eq(trait_parse(bc_span_str(wrong[i]), &trait, &value), BC_E_INVALID);
	}
	bc_buf_release(&text);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("session_traits");
	TCase *c = tcase_create("session_traits");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, u12_u8_a_late_response_tells_who_cancels_it_and_how_fast, 0, 2);
	tcase_add_loop_test(c, u17_answers_that_became_text_are_asked_for_as_audio, 0, 2);
	tcase_add_test(c, u17_text_that_was_asked_for_tells_nothing);
	tcase_add_test(c, u18_the_lag_of_transcripts_is_measured);
	tcase_add_loop_test(c, u9_a_call_under_another_id_is_taken_out, 0, 2);
	tcase_add_test(c, every_value_is_read_as_it_is_written);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
