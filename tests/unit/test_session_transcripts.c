/* Transcription that the gateway asks for, which a client that has not asked never sees. */
#include "daemon/base/metric.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define UPSTREAM_MORE(line)                                                                                             \
	"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n" line \
	"\n[[tool]]\nname = \"get_order\"\ndescription = \"Looks an order up.\"\neffect = \"read\"\n"                   \
	"disclosure = \"first_party\"\nparameters = { type = \"object\", properties = { id = { type = "                 \
	"\"string\" } } }\nrequest = { method = \"POST\", url = \"http://localhost:1/order\", body = \"{*}\" }\n"

#define TEXT_PASSES TALK_CONFIG "[speculation]\ninput = \"text\"\n"

#define SESSION(transcription)                                                                       \
	"{'tools':[],'audio':{'input':{'format':{'type':'audio/pcm'},'transcription':" transcription \
	",'turn_detection':{'type':'server_vad'}}}}"

static struct rig rig;
static char asked_id[64];

static void teardown(void)
{
	rig_fini(&rig);
}

/* The provider is there and has taken the gateway's tools. */
static void begin(const char *toml, const char *transcription)
{
	rig_init(&rig, toml, true);
	rig_expect(&rig, SESS_UPSTREAM, "session.update");
	rig_up(&rig,
	       "{'type':'session.created','session':{'tools':[],'audio':{'input':{'format':{'type':'audio/pcm'},'transcription':%s}}}}",
	       transcription);
	rig_up(&rig, "{'type':'session.updated','session':" SESSION("null") "}");
	rig_expect(&rig, SESS_CLIENT, "session.created");
}

static void expect_wish(const char *model)
{
	json_t *update = rig_next(&rig, SESS_UPSTREAM, "session.update");

	ck_assert_str_eq(rig_string(update, "session.audio.input.transcription.model"), model);
	ck_assert_str_eq(rig_string(update, "session.type"), "realtime");
	ck_assert_ptr_null(json_object_get(json_object_get(update, "session"), "tools"));
	(void)snprintf(asked_id, sizeof(asked_id), "%s", rig_string(update, "event_id"));
	json_decref(update);
}

/* The gateway has asked and the provider agreed. */
static void begin_asked(void)
{
	begin(TEXT_PASSES, "null");
	expect_wish("gpt-live-transcribe");
	rig_up(&rig, "{'type':'session.updated','session':" SESSION(
			     "{'model':'gpt-live-transcribe'}") "}");
	rig_silent(&rig, SESS_CLIENT);
}

static void words(const char *kind, const char *delta)
{
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.%s','item_id':'u1','delta':'%s','transcript':'%s'}",
	       kind, delta, delta);
}

/* ---- asking ---- */

START_TEST(passes_over_words_ask_for_them)
{
	begin_asked();
	talk_audio(&rig, 300, true);
	talk_skip(&rig, SESS_UPSTREAM);
	words("delta", "Order 7.");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(passes_over_audio_ask_for_nothing)
{
	begin(TALK_CONFIG, "null");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_refused_pass_over_audio_asks_for_them)
{
	json_t *pass;

	begin(TALK_CONFIG, "null");
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	do {
		pass = json_loads(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]++], 0, NULL);
		(void)snprintf(asked_id, sizeof(asked_id), "%s", rig_string(pass, "event_id"));
		json_decref(pass);
	} while (strncmp(asked_id, "bc_p", 4) != 0);
	talk_skip(&rig, SESS_UPSTREAM);
	rig_up(&rig, "{'type':'error','error':{'code':'x','event_id':'%s'}}", asked_id);
	expect_wish("gpt-live-transcribe");
}
END_TEST

START_TEST(the_operator_names_the_model_or_forbids_it)
{
	if (_i == 0) {
		begin(UPSTREAM_MORE("transcription = \"gpt-realtime-whisper\""), "null");
		expect_wish("gpt-realtime-whisper");
	} else {
		begin(UPSTREAM_MORE("transcription = \"off\"\n[speculation]\ninput = \"text\""),
		      "null");
	}
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(what_the_provider_does_anyway_is_not_asked_for)
{
	begin(TEXT_PASSES, "{'model':'whisper-1'}");
	rig_silent(&rig, SESS_UPSTREAM);
	words("delta", "Hello");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.input_audio_transcription.delta");
}
END_TEST

START_TEST(a_refusal_is_hidden_and_costs_only_the_transcripts)
{
	const char *quote = _i == 0 ? "'" : "";

	begin(TEXT_PASSES, "null");
	expect_wish("gpt-live-transcribe");
	rig_up(&rig,
	       "{'type':'error','error':{'code':'invalid_value','param':'session.audio.input.transcription.model','event_id':%s%s%s}}",
	       quote, _i == 0 ? asked_id : "null", quote);
	rig_silent(&rig, SESS_CLIENT);
	/* The tools are still there: a call of theirs is run. */
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_client(&rig,
		   "{'type':'session.update','session':{'type':'realtime','instructions':'x'}}");
	rig_expect(&rig, SESS_UPSTREAM, "session.update");
	rig_up(&rig, "{'type':'session.updated','session':" SESSION("null") "}");
	rig_silent(&rig, SESS_UPSTREAM); /* and it is not asked again */
}
END_TEST

/* ---- hiding ---- */

START_TEST(nothing_of_them_reaches_a_client_that_did_not_ask)
{
	static const char *const kinds[] = {"delta", "completed", "failed", "segment", "updated"};
	int64_t before = bc_metric_get(BC_M_TRANSCRIPTS_HIDDEN);
	json_t *event;

	begin_asked();
	for (size_t i = 0; i < BC_ARRAY_LEN(kinds); i++) {
		words(kinds[i], "Hi");
	}
	rig_silent(&rig, SESS_CLIENT);
	ck_assert_int_eq(bc_metric_get(BC_M_TRANSCRIPTS_HIDDEN) - before, 5);
	rig_client(&rig,
		   "{'type':'session.update','session':{'type':'realtime','instructions':'x'}}");
	rig_up(&rig, "{'type':'session.updated','session':" SESSION(
			     "{'model':'gpt-live-transcribe'}") "}");
	event = rig_next(&rig, SESS_CLIENT, "session.updated");
	ck_assert(json_is_null(json_object_get(
		json_object_get(json_object_get(json_object_get(event, "session"), "audio"),
				"input"),
		"transcription")));
	json_decref(event);
}
END_TEST

START_TEST(items_do_not_show_them_either)
{
	static const char *const types[] = {"added", "done", "retrieved"};

	begin_asked();
	for (size_t i = 0; i < BC_ARRAY_LEN(types); i++) {
		json_t *event;
		char type[64];

		(void)snprintf(type, sizeof(type), "conversation.item.%s", types[i]);
		rig_up(&rig,
		       "{'type':'%s','item':{'id':'u1','type':'message','role':'user','content':[{'type':'input_audio','transcript':'Hi'}]}}",
		       type);
		event = rig_next(&rig, SESS_CLIENT, type);
		ck_assert(json_is_null(json_object_get(
			json_array_get(json_object_get(json_object_get(event, "item"), "content"),
				       0),
			"transcript")));
		json_decref(event);
	}
	/* The agent's own words are no transcript of the caller. */
	rig_up(&rig,
	       "{'type':'conversation.item.done','item':{'id':'m1','type':'message','role':'assistant','content':[{'type':'output_audio','transcript':'Hi'}]}}");
	ck_assert_ptr_nonnull(strstr(rig.sent[SESS_CLIENT][rig.seen[SESS_CLIENT]], "\"Hi\""));
	rig_expect(&rig, SESS_CLIENT, "conversation.item.done");
}
END_TEST

START_TEST(a_client_that_asks_has_its_own)
{
	json_t *event;

	begin_asked();
	rig_client(
		&rig,
		"{'type':'session.update','session':{'type':'realtime','tools':[],'audio':{'input':{'transcription':{'model':'whisper-1'}}}}}");
	event = rig_next(&rig, SESS_UPSTREAM, "session.update");
	ck_assert_str_eq(rig_string(event, "session.audio.input.transcription.model"), "whisper-1");
	json_decref(event);
	words("completed", "Hi");
	rig_silent(&rig, SESS_CLIENT); /* it is asked, not yet agreed */
	rig_up(&rig, "{'type':'session.updated','session':" SESSION("{'model':'whisper-1'}") "}");
	event = rig_next(&rig, SESS_CLIENT, "session.updated");
	ck_assert_str_eq(rig_string(event, "session.audio.input.transcription.model"), "whisper-1");
	json_decref(event);
	words("completed", "Hi");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.input_audio_transcription.completed");
}
END_TEST

START_TEST(a_client_that_wants_none_is_shown_none)
{
	json_t *event;

	begin_asked();
	rig_client(
		&rig,
		"{'type':'session.update','session':{'type':'realtime','audio':{'input':{'transcription':null}}}}");
	event = rig_next(&rig, SESS_UPSTREAM, "session.update");
	ck_assert_str_eq(rig_string(event, "session.audio.input.transcription.model"),
			 "gpt-live-transcribe");
	json_decref(event);
	rig_up(&rig, "{'type':'session.updated','session':" SESSION(
			     "{'model':'gpt-live-transcribe'}") "}");
	event = rig_next(&rig, SESS_CLIENT, "session.updated");
	ck_assert_str_eq(rig_string(event, "session.audio.input.transcription.model"), "");
	json_decref(event);
	words("delta", "Hi");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(a_client_that_asked_first_is_not_overruled)
{
	rig_init(&rig, TEXT_PASSES, true);
	rig_expect(&rig, SESS_UPSTREAM, "session.update");
	rig_client(
		&rig,
		"{'type':'session.update','session':{'type':'realtime','audio':{'input':{'transcription':{'model':'whisper-1'}}}}}");
	rig_expect(&rig, SESS_UPSTREAM, "session.update");
	rig_up(&rig, "{'type':'session.created','session':" SESSION("null") "}");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_up(&rig, "{'type':'session.updated','session':" SESSION("null") "}");
	rig_up(&rig, "{'type':'session.updated','session':" SESSION("{'model':'whisper-1'}") "}");
	rig_expect(&rig, SESS_CLIENT, "session.created");
	rig_expect(&rig, SESS_CLIENT, "session.updated");
	words("delta", "Hi");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.input_audio_transcription.delta");
	/* It changes its mind: now the gateway asks. */
	rig_client(
		&rig,
		"{'type':'session.update','session':{'type':'realtime','audio':{'input':{'transcription':null}}}}");
	rig_expect(&rig, SESS_UPSTREAM, "session.update");
	rig_up(&rig, "{'type':'session.updated','session':" SESSION("null") "}");
	expect_wish("gpt-live-transcribe");
}
END_TEST

static Suite *suite(void)
{
	const TTest *const cases[] = {
		passes_over_words_ask_for_them,
		passes_over_audio_ask_for_nothing,
		a_refused_pass_over_audio_asks_for_them,
		what_the_provider_does_anyway_is_not_asked_for,
		nothing_of_them_reaches_a_client_that_did_not_ask,
		items_do_not_show_them_either,
		a_client_that_asks_has_its_own,
		a_client_that_wants_none_is_shown_none,
		a_client_that_asked_first_is_not_overruled,
	};
	Suite *s = suite_create("session_transcripts");
	TCase *c = tcase_create("session_transcripts");

	tcase_add_checked_fixture(c, NULL, teardown);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, the_operator_names_the_model_or_forbids_it, 0, 2);
	tcase_add_loop_test(c, a_refusal_is_hidden_and_costs_only_the_transcripts, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
