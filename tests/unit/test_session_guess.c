/* Speculation as client and provider see it: passes, guesses, and what a real call takes of them. */
#include "daemon/config/config.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define STRICT TALK_CONFIG "[speculation]\nmode = \"strict\"\n"

static struct rig rig;

static void setup(void)
{
	talk_begin(&rig, STRICT, "pcm");
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* ---- pieces ---- */

/* The next pass among what reached the provider; NULL: there is none.  Owned by the caller. */
static json_t *next_pass(void)
{
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		json_t *event =
			json_loads(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]++], 0, NULL);

		if (strcmp(rig_string(event, "response.metadata.bc"), "p") == 0) {
			return event;
		}
		json_decref(event);
	}
	return NULL;
}

static char last_metadata[128];
static char last_event_id[64];

/* A pass was asked for; its parts are remembered. */
static void expect_pass(void)
{
	json_t *pass = next_pass();
	char *text;

	ck_assert_msg(pass != NULL, "no pass was asked for");
	ck_assert_str_eq(rig_string(pass, "response.conversation"), "none");
	text = json_dumps(json_object_get(json_object_get(pass, "response"), "metadata"), 0);
	(void)snprintf(last_metadata, sizeof(last_metadata), "%s", text);
	(void)snprintf(last_event_id, sizeof(last_event_id), "%s", rig_string(pass, "event_id"));
	free(text);
	json_decref(pass);
}

static void pass_created(const char *id)
{
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'%s','status':'in_progress','conversation_id':null,'metadata':%s,'output':[]}}",
	       id, last_metadata);
}

static void pass_names(const char *id, const char *name, const char *arguments)
{
	rig_up(&rig,
	       "{'type':'response.output_item.done','response_id':'%s','item':{'id':'p_%s','type':'function_call','status':'completed','name':'%s','call_id':'cp','arguments':'%s'}}",
	       id, id, name, arguments);
}

static void pass_done(const char *id, const char *status)
{
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'%s','status':'%s','conversation_id':null,'metadata':%s,'output':[],'usage':{'total_tokens':1}}}",
	       id, status, last_metadata);
}

/* The caller speaks and pauses, which asks for a pass. */
static void speak_and_pause(void)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	expect_pass();
}

/* A guess of get_order runs. */
static void guess(void)
{
	speak_and_pause();
	pass_created("p1");
	pass_names("p1", "get_order", TALK_ORDER);
	pass_done("p1", "completed");
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig.runs[0].speculative);
}

/* ---- cases ---- */

START_TEST(a_pause_asks_for_a_pass_and_a_stable_proposal_runs)
{
	static const char *const formats[] = {"pcm", "pcmu", "pcma"};

	rig_fini(&rig);
	talk_begin(&rig, STRICT, formats[_i]);
	talk_audio(&rig, 400, false);
	ck_assert_ptr_null(next_pass()); /* nobody has said anything */
	speak_and_pause();
	pass_created("p1");
	pass_names("p1", "get_order", TALK_ORDER);
	pass_names("p1", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 0);
	pass_done("p1", "completed");
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, 1); /* and never the booking */
	ck_assert_str_eq(rig.runs[0].tool->name, "get_order");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(a_real_call_joins_or_takes_the_guess)
{
	bool finished_before = _i == 0;

	guess();
	if (finished_before) {
		rig_finish(&rig, 0, "{}");
	}
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_done(&rig, "r1", "completed");
	if (!finished_before) {
		ck_assert_uint_eq(talk_outputs(&rig), 0);
		rig_finish(&rig, 0, "{}");
	}
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
}
END_TEST

START_TEST(a_real_call_with_other_arguments_is_a_miss)
{
	guess();
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", "{\\\"id\\\":\\\"8\\\"}");
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(!rig.runs[1].speculative);
	talk_done(&rig, "r1", "completed");
	talk_audio(&rig, 300, true);
	talk_commit(&rig, "u2", "u1");
	ck_assert(rig.runs[0].cancelled); /* at the next commit at the latest */
	ck_assert(!rig.runs[1].cancelled);
}
END_TEST

START_TEST(only_the_readers_of_a_changed_argument_are_given_up)
{
	speak_and_pause();
	pass_created("p1");
	pass_names("p1", "get_order", TALK_ORDER);
	pass_names("p1", "get_order", "{\\\"id\\\":\\\"8\\\"}");
	pass_done("p1", "completed");
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, 2);
	speak_and_pause(); /* "no, not order 8, order 9" */
	pass_created("p2");
	pass_names("p2", "get_order", TALK_ORDER);
	pass_names("p2", "get_order", "{\\\"id\\\":\\\"9\\\"}");
	pass_done("p2", "completed");
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, 3);
	ck_assert(!rig.runs[0].cancelled);
	ck_assert(rig.runs[1].cancelled);
	ck_assert_str_eq(rig.runs[2].arguments, "{\"id\":\"9\"}");
}
END_TEST

START_TEST(an_answer_without_a_call_withdraws_the_guess)
{
	guess();
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	ck_assert(!rig.runs[0].cancelled);
	talk_done(&rig, "r1", "completed");
	ck_assert(rig.runs[0].cancelled);
}
END_TEST

START_TEST(a_stale_guess_is_run_again)
{
	guess();
	rig_finish(&rig, 0, "{}");
	rig.now += 6 * BC_USEC_PER_SEC;
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

START_TEST(an_effect_withdraws_guesses_that_read_what_it_changes)
{
	guess();
	rig_finish(&rig, 0, "{}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "book", TALK_NIGHT);
	ck_assert_int_eq(rig.runs[0].settled, JRN_UNUSED);
}
END_TEST

START_TEST(an_effect_of_another_session_withdraws_guesses_too)
{
	guess();
	rig_finish(&rig, 0, "{}");
	sess_tag_changed(rig.sess, "something else");
	ck_assert_int_eq(rig.runs[0].settled, -1);
	sess_tag_changed(rig.sess, "orders");
	ck_assert_int_eq(rig.runs[0].settled, JRN_UNUSED);
}
END_TEST

START_TEST(other_sessions_hear_of_an_effect_when_it_has_happened)
{
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "book", TALK_NIGHT);
	talk_call(&rig, "r1", "f2", "get_order", TALK_ORDER);
	rig_finish(&rig, 1, "{}");
	ck_assert_uint_eq(rig.changes, 0); /* a read changes nothing */
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(rig.changes, 1);
	ck_assert_str_eq(rig.changed, "orders");
	talk_done(&rig, "r1", "completed");
}
END_TEST

START_TEST(a_guess_made_while_an_effect_runs_is_not_used_after_it)
{
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "book", TALK_NIGHT);
	talk_done(&rig, "r1", "completed");
	speak_and_pause();
	pass_created("p1");
	pass_names("p1", "get_order", TALK_ORDER);
	pass_done("p1", "completed");
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, 2);
	rig_finish(&rig, 1, "{}");
	rig_finish(&rig, 0, "{}");
	ck_assert_int_eq(rig.runs[1].settled, JRN_UNUSED);
}
END_TEST

/* A pass that misses what was said last, and the commit, before time alone makes its proposals stable. */
static void commit_over_a_pass(void)
{
	char first[sizeof(last_metadata)];

	speak_and_pause();
	memcpy(first, last_metadata, sizeof(first));
	talk_audio(&rig, 60, true);
	talk_audio(&rig, 180, false);
	expect_pass(); /* it hears the end, and is slow */
	memcpy(last_metadata, first, sizeof(first));
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
}

static void expect_cancel_of(const char *response)
{
	json_t *cancel = rig_next(&rig, SESS_UPSTREAM, "response.cancel");

	ck_assert_str_eq(rig_string(cancel, "response_id"), response);
	json_decref(cancel);
}

START_TEST(a_pass_that_missed_the_end_still_finds_reads_behind_the_commit)
{
	commit_over_a_pass();
	pass_created("p1");
	rig_silent(&rig, SESS_UPSTREAM);
	pass_names("p1", "get_order", TALK_ORDER);
	pass_done("p1", "completed");
	ck_assert_uint_eq(rig.run_count, 1); /* nobody says anything more: at once */
	ck_assert(rig.runs[0].speculative);
}
END_TEST

START_TEST(an_answer_without_calls_cancels_the_passes_that_still_run)
{
	commit_over_a_pass();
	pass_created("p1");
	talk_created(&rig, "r1", "null");
	talk_done(&rig, "r1", "completed");
	expect_cancel_of("p1");
	pass_names("p1", "get_order", TALK_ORDER);
	pass_done("p1", "cancelled");
	ck_assert_uint_eq(rig.run_count, 0);
	rig_silent(&rig, SESS_UPSTREAM); /* and not twice */
}
END_TEST

START_TEST(a_pass_cancelled_before_it_was_created_is_cancelled_then)
{
	commit_over_a_pass();
	talk_created(&rig, "r1", "null");
	talk_done(&rig, "r1", "completed");
	pass_created("p1");
	expect_cancel_of("p1");
}
END_TEST

START_TEST(a_complete_pass_goes_on_behind_the_commit)
{
	speak_and_pause();
	pass_created("p1");
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	pass_names("p1", "get_order", TALK_ORDER);
	pass_done("p1", "completed");
	ck_assert_uint_eq(rig.run_count, 1); /* at once: it has heard everything */
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_refused_pass_falls_back_to_words_and_then_to_none)
{
	speak_and_pause();
	rig_up(&rig,
	       "{'type':'error','error':{'code':'invalid_value','param':'response.input','event_id':%s%s%s}}",
	       _i == 0 ? "'" : "", _i == 0 ? last_event_id : "null", _i == 0 ? "'" : "");
	rig_silent(&rig, SESS_CLIENT); /* R7, also without an id */
	talk_audio(&rig, 500, true);
	talk_audio(&rig, 200, false);
	ck_assert_ptr_null(next_pass()); /* no words yet */
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.delta','item_id':'u1','delta':'Where is order 7?'}");
	expect_pass();
	ck_assert_ptr_nonnull(
		strstr(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM] - 1], "Where is order 7?"));
	rig_up(&rig, "{'type':'error','error':{'code':'x','event_id':'%s'}}", last_event_id);
	talk_audio(&rig, 500, true);
	talk_audio(&rig, 500, false);
	ck_assert_ptr_null(next_pass());
}
END_TEST

START_TEST(a_failed_pass_rests_for_half_a_minute)
{
	speak_and_pause();
	pass_created("p1");
	pass_done("p1", "failed");
	talk_audio(&rig, 500, true);
	talk_audio(&rig, 500, false);
	ck_assert_ptr_null(next_pass());
	rig.now += 30 * BC_USEC_PER_SEC;
	talk_audio(&rig, 100, true);
	talk_audio(&rig, 200, false);
	expect_pass();
}
END_TEST

START_TEST(late_words_of_an_earlier_turn_are_none_of_the_next)
{
	rig_fini(&rig);
	talk_begin(&rig, STRICT "input = \"text\"\n", "pcm");
	talk_audio(&rig, 300, true);
	talk_commit(&rig, "u1", NULL);
	talk_audio(&rig, 300, true);
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.delta','item_id':'u1','delta':'Hello.'}");
	ck_assert_ptr_null(next_pass());
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.delta','item_id':'u2','delta':'Order 7.'}");
	expect_pass();
}
END_TEST

START_TEST(cleared_audio_withdraws_its_guesses)
{
	guess();
	rig_up(&rig, "{'type':'input_audio_buffer.cleared'}");
	ck_assert(rig.runs[0].cancelled);
	talk_audio(&rig, 500, false);
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(a_manual_turn_is_guessed_on_as_well)
{
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[],'audio':{'input':{'format':{'type':'audio/pcm'},'turn_detection':null}}}}");
	talk_skip(&rig, SESS_CLIENT);
	guess();
	rig_finish(&rig, 0, "{}");
	rig_client(&rig, "{'type':'input_audio_buffer.commit'}");
	rig_client(&rig, "{'type':'response.create'}");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(no_pass_where_the_provider_runs_tools_itself)
{
	rig_client(
		&rig,
		"{'type':'session.update','session':{'type':'realtime','tools':[{'type':'mcp','server_label':'x'}]}}");
	rig_up(&rig, "{'type':'session.updated','session':{'tools':[]}}");
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 500, false);
	ck_assert_ptr_null(next_pass());
}
END_TEST

START_TEST(nothing_of_a_pass_reaches_the_client)
{
	speak_and_pause();
	pass_created("p1");
	rig_up(&rig, "{'type':'rate_limits.updated','rate_limits':[]}");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'p1','item':{'id':'x','type':'message'}}");
	rig_up(&rig,
	       "{'type':'response.output_text.delta','response_id':'p1','item_id':'x','delta':'none'}");
	pass_done("p1", "completed");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

/* A read ends when the caller is silent, or speaks on, shortly behind the pass that has named it. */
START_TEST(what_follows_from_a_result_is_asked_at_once_at_a_pause)
{
	rig_fini(&rig);
	talk_begin(&rig, TALK_CONFIG "[speculation]\nstable_for = \"0s\"\n", "pcm");
	speak_and_pause();
	pass_created("p1");
	pass_names("p1", "get_order", TALK_ORDER);
	pass_done("p1", "completed");
	talk_audio(&rig, 20, false);
	ck_assert_uint_eq(rig.run_count, 1);
	if (_i == 1) {
		talk_audio(&rig, 100, true);
	}
	rig_finish(&rig, 0, "{}");
	if (_i == 1) {
		ck_assert_ptr_null(next_pass()); /* passes in mid-speech keep their distance */
	} else {
		expect_pass();
	}
}
END_TEST

/* A recogniser is late: a pass has heard the audio of its words, but not of any that come. */
START_TEST(words_that_a_pass_has_heard_ask_for_no_other_one)
{
	static const char delta[] =
		"{'type':'conversation.item.input_audio_transcription.delta','item_id':'u1','delta':'Where is order 7?'}";

	speak_and_pause();
	talk_audio(&rig, 500, false);
	rig_up(&rig, delta);
	ck_assert_ptr_null(next_pass());
	pass_created("p1");
	pass_done("p1", "completed");
	ck_assert_ptr_null(next_pass());
	if (_i == 0) {
		talk_audio(&rig, 500, true);
		rig_up(&rig, delta); /* the caller has said more */
	} else if (_i == 1) {
		rig_up(&rig, delta); /* and this is not what was heard */
	} else {
		talk_audio(&rig, 500, true);
		talk_audio(&rig, 200, false);
		expect_pass();
		talk_audio(&rig, 1500, false);
		rig_up(&rig, delta); /* nor what comes so late */
	}
	expect_pass();
}
END_TEST

/* A pass that is in mid-speech when a pause comes keeps one of two places, and the pause has two passes to make. */
START_TEST(the_second_pass_of_a_pause_begins_when_an_older_one_has_ended)
{
	json_t *pass;

	rig_fini(&rig);
	talk_begin(&rig, TALK_CONFIG, "pcm");
	guess();
	rig_finish(&rig, 0, "{}");
	expect_pass(); /* what follows from the result */
	pass_created("p2");
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	pass = next_pass();
	ck_assert_ptr_nonnull(pass);
	json_decref(pass);
	ck_assert_ptr_null(next_pass());
	if (_i == 1) {
		talk_commit(&rig, "u1", NULL);
	}
	pass_done("p2", "completed");
	pass = next_pass();
	ck_assert((pass != NULL) ==
		  (_i == 0)); /* behind the commit the provider's own response is as quick */
	json_decref(pass);
}
END_TEST

static Suite *suite(void)
{
	const TTest *const cases[] = {
		a_real_call_with_other_arguments_is_a_miss,
		only_the_readers_of_a_changed_argument_are_given_up,
		an_answer_without_a_call_withdraws_the_guess,
		a_stale_guess_is_run_again,
		an_effect_withdraws_guesses_that_read_what_it_changes,
		an_effect_of_another_session_withdraws_guesses_too,
		other_sessions_hear_of_an_effect_when_it_has_happened,
		a_guess_made_while_an_effect_runs_is_not_used_after_it,
		a_pass_that_missed_the_end_still_finds_reads_behind_the_commit,
		an_answer_without_calls_cancels_the_passes_that_still_run,
		a_pass_cancelled_before_it_was_created_is_cancelled_then,
		a_complete_pass_goes_on_behind_the_commit,
		a_failed_pass_rests_for_half_a_minute,
		late_words_of_an_earlier_turn_are_none_of_the_next,
		cleared_audio_withdraws_its_guesses,
		a_manual_turn_is_guessed_on_as_well,
		no_pass_where_the_provider_runs_tools_itself,
		nothing_of_a_pass_reaches_the_client,
	};
	Suite *s = suite_create("session_guess");
	TCase *c = tcase_create("session_guess");

	tcase_add_checked_fixture(c, setup, teardown);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, a_pause_asks_for_a_pass_and_a_stable_proposal_runs, 0, 3);
	tcase_add_loop_test(c, a_real_call_joins_or_takes_the_guess, 0, 2);
	tcase_add_loop_test(c, words_that_a_pass_has_heard_ask_for_no_other_one, 0, 3);
	tcase_add_loop_test(c, what_follows_from_a_result_is_asked_at_once_at_a_pause, 0, 2);
	tcase_add_loop_test(c, the_second_pass_of_a_pause_begins_when_an_older_one_has_ended, 0, 2);
	tcase_add_loop_test(c, a_refused_pass_falls_back_to_words_and_then_to_none, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
