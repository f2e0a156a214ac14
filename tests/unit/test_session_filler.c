/* The line that is spoken while a tool keeps the caller waiting: when, how the client gets it, and who ends it. */
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define SEC BC_USEC_PER_SEC
#define MS  BC_USEC_PER_MS
#define TOOL(name, more)                                                               \
	"[[tool]]\nname = \"" name "\"\ndescription = \"x\"\neffect = \"read\"\n" more \
	"\nparameters = { type = \"object\" }\n"                                       \
	"request = { method = \"POST\", url = \"http://localhost:1/x\", body = \"{*}\" }\n"
#define CONFIG_OF(upstream)                                                                                                 \
	"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n" upstream \
	"[speculation]\nmode = \"off\"\n" TOOL("slow",                                                                      \
					       "filler_after = \"2s\"\nfiller = \"One moment.\"")                           \
		TOOL("own", "filler_after = \"2s\"") TOOL("mute", "")                                                       \
			TOOL("alarm", "delivery = \"interrupt\"")                                                           \
				TOOL("siren", "delivery = \"interrupt\"\nfiller_after = \"2s\"")
#define CONFIG        CONFIG_OF("")
#define CONFIG_MARKED CONFIG_OF("assume = [\"metadata=yes\"]\n")

static struct rig rig;

static void setup(void)
{
	talk_begin(&rig, CONFIG, "pcm");
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[],'audio':{'output':{'format':{'type':'audio/pcm','rate':24000}},'input':{'turn_detection':{'type':'server_vad'}}}}}");
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_CLIENT);
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* ---- pieces ---- */

static void called(const char *tool)
{
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", tool, "{}");
	talk_done(&rig, "r1", "completed");
	talk_skip(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
}

static void expect_string(enum sess_side side, const char *type, const char *path,
			  const char *expected)
{
	json_t *event = rig_next(&rig, side, type);

	ck_assert_str_eq(rig_string(event, path), expected);
	json_decref(event);
}

static void expect_request(void)
{
	json_t *event = rig_next(&rig, SESS_UPSTREAM, "response.create");

	ck_assert_str_eq(rig_string(event, "response.conversation"), "none");
	ck_assert_str_eq(rig_string(event, "response.metadata.bc"), "w");
	ck_assert_str_eq(rig_string(event, "response.tool_choice"), "none");
	json_decref(event);
}

static void begins(void)
{
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'w1','status':'in_progress','conversation_id':null,'metadata':{'bc':'w'},'output':[]}}");
}

/* Its first words: 100 ms of audio. */
static void speaks(void)
{
	char audio[6401];

	memset(audio, 'A', 6400);
	audio[6400] = '\0';
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'w1','item':{'id':'mw','type':'message','role':'assistant','status':'in_progress'}}");
	rig_up(&rig,
	       "{'type':'response.output_audio.delta','response_id':'w1','item_id':'mw','delta':'%s'}",
	       audio);
}

static void ends(const char *status)
{
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'w1','status':'%s','conversation_id':null,'metadata':{'bc':'w'},'output':[],'usage':{'total_tokens':7}}}",
	       status);
}

/* The provider is told to stop saying it. */
static void expect_cancelled(void)
{
	expect_string(SESS_UPSTREAM, "response.cancel", "response_id", "w1");
}

/* A tool has kept the caller waiting, and a line is asked for. */
static void until_asked_for(const char *tool)
{
	called(tool);
	rig_wait(&rig, 2 * SEC);
	expect_request();
}

static void until_spoken_for(const char *tool)
{
	until_asked_for(tool);
	begins();
	rig_silent(&rig, SESS_CLIENT);
	speaks();
	expect_string(SESS_CLIENT, "response.created", "response.id", "w1");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	rig_expect(&rig, SESS_CLIENT, "response.output_audio.delta");
}

static void until_spoken(void)
{
	until_spoken_for("slow");
}

/* ---- when ---- */

START_TEST(a_slow_tool_is_excused_once)
{
	json_t *event;

	called("slow");
	rig_wait(&rig, 2 * SEC - 1);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 1);
	event = rig_next(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_ptr_nonnull(strstr(rig_string(event, "response.instructions"), ": One moment."));
	ck_assert_uint_eq(
		json_array_size(json_object_get(json_object_get(event, "response"), "input")), 0);
	json_decref(event);
	begins();
	speaks();
	event = rig_next(&rig, SESS_CLIENT, "response.created");
	ck_assert(json_is_null(json_object_get(json_object_get(event, "response"), "metadata")));
	json_decref(event);
	ends("completed");
	talk_skip(&rig, SESS_CLIENT);
	rig_wait(&rig, 9 * SEC);
	rig_wait(&rig, 9 * SEC);
	rig_silent(&rig, SESS_UPSTREAM); /* one per step */
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	expect_string(SESS_UPSTREAM, "response.create", "response.metadata.bc", "f");
}
END_TEST

START_TEST(without_a_line_the_model_makes_one)
{
	json_t *event;
	const json_t *input;

	called("own");
	rig_wait(&rig, 2 * SEC);
	event = rig_next(&rig, SESS_UPSTREAM, "response.create");
	input = json_object_get(json_object_get(event, "response"), "input");
	ck_assert_str_eq(rig_string(json_array_get(input, 0), "id"), "u1");
	ck_assert_str_eq(rig_string(json_array_get(input, json_array_size(input) - 1), "role"),
			 "system");
	ck_assert_str_eq(rig_string(event, "response.instructions"), "");
	json_decref(event);
}
END_TEST

START_TEST(a_quick_tool_and_one_without_the_option_say_nothing)
{
	called(_i == 0 ? "slow" : "mute");
	rig_wait(&rig, 1 * SEC);
	if (_i == 0) {
		rig_finish(&rig, 0, "{}");
		ck_assert_uint_eq(talk_outputs(&rig), 1);
		rig_expect(&rig, SESS_UPSTREAM, "response.create");
	}
	rig_wait(&rig, 9 * SEC);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(nothing_is_said_while_the_caller_speaks)
{
	called("slow");
	rig_wait(&rig, 1 * SEC);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_wait(&rig, 1 * SEC);
	rig_wait(&rig, 1 * SEC);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u2'}");
	rig_wait(&rig, 1 * SEC); /* it was only a noise */
	expect_request();
}
END_TEST

START_TEST(nothing_is_said_in_a_later_turn)
{
	called("slow");
	talk_commit(&rig, "u2", "u1");
	rig_wait(&rig, 5 * SEC);
	rig_wait(&rig, 5 * SEC);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(nothing_is_said_over_words_the_client_still_plays)
{
	static char audio[64001]; /* 1 s of pcm16 */

	memset(audio, 'A', 64000);
	audio[64000] = '\0';
	talk_created(&rig, "r1", "null");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1','type':'message','role':'assistant','status':'in_progress'}}");
	rig_up(&rig,
	       "{'type':'response.output_audio.delta','response_id':'r1','item_id':'m1','delta':'%s'}",
	       audio);
	talk_call(&rig, "r1", "f1", "slow", "{}");
	talk_done(&rig, "r1", "completed");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 2 * SEC + 900 * MS);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 200 * MS);
	expect_request();
}
END_TEST

/* ---- who ends it ---- */

START_TEST(speech_ends_it_at_once)
{
	until_spoken();
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_started");
	expect_string(SESS_CLIENT, "response.done", "response.status_details.reason",
		      "turn_detected");
	expect_cancelled();
	speaks(); /* what was on its way */
	ends("cancelled");
	rig_silent(&rig, SESS_CLIENT);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(speech_ends_one_that_has_not_begun)
{
	until_asked_for("slow");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	begins();
	expect_cancelled();
	speaks();
	ends("cancelled");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_started");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(the_answer_waits_for_a_line_that_is_heard)
{
	until_spoken();
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	rig_silent(&rig, SESS_UPSTREAM);
	ends("completed");
	expect_string(SESS_CLIENT, "response.done", "response.id", "w1");
	expect_string(SESS_UPSTREAM, "response.create", "response.metadata.bc", "f");
}
END_TEST

START_TEST(the_answer_does_not_wait_for_a_line_nobody_has_heard)
{
	bool begun = _i == 1;

	until_asked_for("slow");
	if (begun) {
		begins();
	}
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	if (begun) {
		rig_expect(&rig, SESS_UPSTREAM, "response.cancel");
	}
	expect_string(SESS_UPSTREAM, "response.create", "response.metadata.bc", "f");
	if (!begun) {
		begins();
		rig_expect(&rig, SESS_UPSTREAM, "response.cancel");
	}
	speaks();
	ends("cancelled");
	rig_silent(&rig, SESS_CLIENT);
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_done(&rig, "r2", "completed");
	expect_string(SESS_CLIENT, "response.created", "response.id", "r2");
	rig_expect(&rig, SESS_CLIENT, "response.done");
}
END_TEST

START_TEST(a_result_that_cannot_wait_cuts_it_off)
{
	until_spoken_for("siren");
	rig_finish(&rig, 0, "{}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	expect_cancelled();
	rig_silent(&rig, SESS_UPSTREAM);
	rig_silent(&rig, SESS_CLIENT);
	/* Something else happens: it is cancelled once. */
	rig_up(&rig, "{'type':'input_audio_buffer.cleared'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.cleared");
	rig_silent(&rig, SESS_UPSTREAM);
	ends("cancelled");
	expect_string(SESS_CLIENT, "response.done", "response.status", "cancelled");
	expect_string(SESS_UPSTREAM, "response.create", "response.metadata.bc", "f");
}
END_TEST

START_TEST(a_result_that_cannot_wait_waits_for_the_caller)
{
	until_spoken_for("siren");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	expect_cancelled();
	rig_finish(&rig, 0, "{}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	rig_silent(&rig, SESS_UPSTREAM);
	ends("cancelled");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_result_that_cannot_wait_ends_the_line_of_another_tool)
{
	called("alarm");
	talk_commit(&rig, "u2", "f1");
	talk_created(&rig, "r2", "null");
	talk_call(&rig, "r2", "f2", "slow", "{}");
	talk_done(&rig, "r2", "completed");
	rig_wait(&rig, 2 * SEC);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_skip(&rig, SESS_CLIENT);
	begins();
	speaks();
	rig_finish(&rig, 0, "{}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	expect_cancelled();
	ends("cancelled");
	expect_string(SESS_UPSTREAM, "response.create", "response.metadata.bc", "f");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_response_of_the_provider_ends_it)
{
	until_spoken();
	talk_created(&rig, "r2", "null");
	expect_string(SESS_CLIENT, "response.done", "response.id", "w1");
	expect_cancelled();
	ends("cancelled");
	talk_done(&rig, "r2", "completed");
	expect_string(SESS_CLIENT, "response.created", "response.id", "r2");
}
END_TEST

START_TEST(one_that_never_ends_does_not_block_the_answer)
{
	until_spoken();
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 10 * SEC);
	rig_expect(&rig, SESS_UPSTREAM, "response.cancel");
	expect_string(SESS_UPSTREAM, "response.create", "response.metadata.bc", "f");
	expect_string(SESS_CLIENT, "response.done", "response.id", "w1");
}
END_TEST

START_TEST(the_clients_cancel_ends_it_and_the_answer)
{
	bool named = _i == 1;

	until_spoken();
	rig_client(&rig, named ? "{'type':'response.cancel','response_id':'w1'}"
			       : "{'type':'response.cancel'}");
	expect_string(SESS_CLIENT, "response.done", "response.status_details.reason",
		      "client_cancelled");
	expect_cancelled();
	ends("cancelled");
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	if (named) {
		rig_expect(&rig, SESS_UPSTREAM, "response.create");
	}
	rig_silent(&rig, SESS_UPSTREAM);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

/* ---- how it is shown ---- */

/* The client has asked for the response whose tool keeps the caller waiting, and the line is heard. */
static void speaks_for_the_client(void)
{
	rig_client(&rig, "{'type':'response.create','event_id':'e1'}");
	until_asked_for("slow");
	begins();
	speaks();
}

START_TEST(in_a_response_of_the_clients_own_it_is_the_first_part)
{
	speaks_for_the_client();
	expect_string(SESS_CLIENT, "response.output_item.added", "response_id", "r1");
	expect_string(SESS_CLIENT, "response.output_audio.delta", "response_id", "r1");
	ends("completed");
	rig_silent(&rig, SESS_CLIENT);
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_done(&rig, "r2", "completed");
	expect_string(SESS_CLIENT, "response.done", "response.id", "r1");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(speech_ends_it_in_a_response_of_the_clients_own)
{
	speaks_for_the_client();
	talk_skip(&rig, SESS_CLIENT);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_started");
	expect_string(SESS_CLIENT, "response.done", "response.id", "r1");
	rig_expect(&rig, SESS_UPSTREAM, "response.cancel");
	speaks();
	ends("cancelled");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(its_truncation_is_kept_from_the_provider)
{
	until_spoken();
	rig_client(
		&rig,
		"{'type':'conversation.item.truncate','item_id':'mw','content_index':0,'audio_end_ms':50}");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(what_it_calls_is_seen_by_nobody)
{
	until_asked_for("slow");
	begins();
	talk_call(&rig, "w1", "fw", "slow", "{}");
	ends("completed");
	ck_assert_uint_eq(rig.run_count, 1);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

/* ---- failures ---- */

START_TEST(a_provider_that_refuses_is_not_asked_again)
{
	json_t *event;
	bool named = _i == 0;

	called("slow");
	rig_wait(&rig, 2 * SEC);
	event = rig_next(&rig, SESS_UPSTREAM, "response.create");
	rig_up(&rig,
	       "{'type':'error','error':{'code':'invalid_value','param':'response.conversation','event_id':%s%s%s}}",
	       named ? "'" : "", named ? rig_string(event, "event_id") : "null", named ? "'" : "");
	json_decref(event);
	rig_silent(&rig, SESS_CLIENT);
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	talk_created(&rig, "r2", "{'bc':'f'}");
	talk_call(&rig, "r2", "f2", "slow", "{\\\"n\\\":2}");
	talk_done(&rig, "r2", "completed");
	rig_wait(&rig, 5 * SEC);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(one_that_fails_is_never_seen)
{
	until_asked_for("slow");
	begins();
	ends("failed");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

/* ---- a provider that shows no metadata ---- */

static void aside_begins(const char *id)
{
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'%s','status':'in_progress','conversation_id':null,'metadata':null,'output':[]}}",
	       id);
}

static void client_asks_aside(void)
{
	rig_client(
		&rig,
		"{'type':'response.create','event_id':'c1','response':{'conversation':'none','input':[]}}");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}

/* What the client has asked for, and it is shown. */
static void the_clients_begins(void)
{
	aside_begins("x1");
	expect_string(SESS_CLIENT, "response.created", "response.id", "x1");
}

START_TEST(without_metadata_the_order_tells_it_from_the_clients)
{
	bool client_first = _i == 1;

	called("slow");
	if (client_first) {
		rig_wait(&rig, 1 * SEC);
		client_asks_aside();
	}
	rig_wait(&rig, client_first ? 1 * SEC : 2 * SEC);
	if (client_first) {
		/* No line while a request is unanswered. */
		rig_silent(&rig, SESS_UPSTREAM);
		the_clients_begins();
		rig_wait(&rig, 500 * MS);
		expect_request();
		aside_begins("w1");
	} else {
		expect_request();
		client_asks_aside();
		aside_begins("w1");
		rig_silent(&rig, SESS_CLIENT);
		/* A line is not begun beside what the client has asked for. */
		expect_cancelled();
		the_clients_begins();
	}
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(without_metadata_one_that_was_given_up_is_still_ours)
{
	until_asked_for("slow");
	rig_wait(&rig, 10 * SEC);
	client_asks_aside();
	aside_begins("w1");
	rig_silent(&rig, SESS_CLIENT);
	expect_cancelled();
	the_clients_begins();
}
END_TEST

START_TEST(a_provider_that_shows_metadata_is_believed)
{
	rig_fini(&rig);
	talk_begin(&rig, CONFIG_MARKED, "pcm");
	talk_commit(&rig, "u1", NULL);
	until_asked_for("slow");
	client_asks_aside();
	the_clients_begins();
}
END_TEST

START_TEST(an_error_without_a_name_answers_the_one_that_was_given_up)
{
	until_asked_for("slow");
	rig_wait(&rig, 10 * SEC);
	client_asks_aside();
	rig_up(&rig,
	       "{'type':'error','error':{'code':'invalid_value','param':'response.conversation','event_id':null}}");
	rig_silent(&rig, SESS_CLIENT);
	the_clients_begins();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_filler");
	TCase *c = tcase_create("session_filler");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, a_slow_tool_is_excused_once);
	tcase_add_test(c, without_a_line_the_model_makes_one);
	tcase_add_loop_test(c, a_quick_tool_and_one_without_the_option_say_nothing, 0, 2);
	tcase_add_test(c, nothing_is_said_while_the_caller_speaks);
	tcase_add_test(c, nothing_is_said_in_a_later_turn);
	tcase_add_test(c, nothing_is_said_over_words_the_client_still_plays);
	tcase_add_test(c, speech_ends_it_at_once);
	tcase_add_test(c, speech_ends_one_that_has_not_begun);
	tcase_add_test(c, the_answer_waits_for_a_line_that_is_heard);
	tcase_add_loop_test(c, the_answer_does_not_wait_for_a_line_nobody_has_heard, 0, 2);
	tcase_add_test(c, a_result_that_cannot_wait_cuts_it_off);
	tcase_add_test(c, a_result_that_cannot_wait_waits_for_the_caller);
	tcase_add_test(c, a_result_that_cannot_wait_ends_the_line_of_another_tool);
	tcase_add_loop_test(c, without_metadata_the_order_tells_it_from_the_clients, 0, 2);
	tcase_add_test(c, without_metadata_one_that_was_given_up_is_still_ours);
	tcase_add_test(c, a_provider_that_shows_metadata_is_believed);
	tcase_add_test(c, an_error_without_a_name_answers_the_one_that_was_given_up);
	tcase_add_test(c, a_response_of_the_provider_ends_it);
	tcase_add_test(c, one_that_never_ends_does_not_block_the_answer);
	tcase_add_loop_test(c, the_clients_cancel_ends_it_and_the_answer, 0, 2);
	tcase_add_test(c, in_a_response_of_the_clients_own_it_is_the_first_part);
	tcase_add_test(c, speech_ends_it_in_a_response_of_the_clients_own);
	tcase_add_test(c, its_truncation_is_kept_from_the_provider);
	tcase_add_test(c, what_it_calls_is_seen_by_nobody);
	tcase_add_loop_test(c, a_provider_that_refuses_is_not_asked_again, 0, 2);
	tcase_add_test(c, one_that_fails_is_never_seen);
	suite_add_tcase(suite, c);
	return tap_run(suite);
}
