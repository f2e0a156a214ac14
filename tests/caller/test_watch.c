/* The caller's judge: what it lets pass and what it calls a breach. */
#include <check.h>
#include <string.h>

#include "tests/caller/watch.h"
#include "tests/unit/tap.h"

static struct watch *watch;

static void feed(const char *text)
{
	json_t *event = json_loads(text, 0, NULL);

	ck_assert_msg(event != NULL, "%s", text);
	watch_event(watch, event);
	json_decref(event);
}

static void setup(void)
{
	watch = watch_new();
	feed("{\"type\":\"session.created\",\"session\":{\"id\":\"sess_1\",\"tools\":[]}}");
}

static void teardown(void)
{
	watch = watch_free(watch);
}

/* A spoken turn and its answer as a client should see them. */
static const char *const good[] = {
	"{\"type\":\"input_audio_buffer.speech_started\",\"item_id\":\"u1\"}",
	"{\"type\":\"conversation.item.input_audio_transcription.delta\",\"item_id\":\"u1\",\"delta\":\"hi\"}",
	"{\"type\":\"input_audio_buffer.speech_stopped\",\"item_id\":\"u1\"}",
	"{\"type\":\"input_audio_buffer.committed\",\"item_id\":\"u1\",\"previous_item_id\":null}",
	"{\"type\":\"conversation.item.added\",\"item\":{\"id\":\"u1\",\"type\":\"message\"},"
	"\"previous_item_id\":null}",
	"{\"type\":\"response.created\",\"response\":{\"id\":\"r1\",\"metadata\":null}}",
	"{\"type\":\"response.output_item.added\",\"response_id\":\"r1\",\"item\":{\"id\":\"m1\","
	"\"type\":\"message\"}}",
	"{\"type\":\"conversation.item.added\",\"item\":{\"id\":\"m1\",\"type\":\"message\"},"
	"\"previous_item_id\":\"u1\"}",
	"{\"type\":\"response.output_audio.delta\",\"response_id\":\"r1\",\"item_id\":\"m1\",\"delta\":\"AAAA\"}",
	"{\"type\":\"response.done\",\"response\":{\"id\":\"r1\",\"status\":\"completed\",\"output\":[{"
	"\"id\":\"m1\",\"type\":\"message\"}]}}"};

START_TEST(good_turn_has_no_breach)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		feed(good[i]);
		ck_assert_int_eq(watch_is_answering(watch), i >= 5 && i < 9);
	}
	watch_end(watch);
	ck_assert_uint_eq(json_array_size(watch_breaches(watch)), 0);
	ck_assert_int_eq(
		json_integer_value(json_object_get(watch_counts(watch), "conversation.item.added")),
		2);
}
END_TEST

/* Each event, sent after the good turn, is one breach; the text says which. */
static const struct {
	const char *event;
	const char *breach;
} bad[] = {
	{"{\"type\":\"error\",\"error\":{\"message\":\"no\"}}", "error event: no"},
	{"{\"type\":\"conversation.item.added\",\"item\":{\"id\":\"bc_o1\",\"type\":\"message\"}}",
	 "hidden id shown: bc_o1"},
	{"{\"type\":\"x\",\"a\":[{\"b\":{\"response_id\":\"bc_r1\"}}]}", "hidden id shown: bc_r1"},
	{"{\"type\":\"x\",\"response\":{\"metadata\":{\"bc\":\"1\"}}}",
	 "hidden metadata shown: bc"},
	{"{\"type\":\"conversation.item.added\",\"item\":{\"id\":\"f1\",\"type\":\"function_call\","
	 "\"name\":\"get_order\"}}",
	 "tool call shown: get_order"},
	{"{\"type\":\"conversation.item.added\",\"item\":{\"id\":\"m2\",\"type\":\"message\"},"
	 "\"previous_item_id\":\"f1\"}",
	 "unknown previous_item_id: f1"},
	{"{\"type\":\"response.output_audio.delta\",\"response_id\":\"r1\",\"item_id\":\"m1\"}",
	 "event of a response that is not open: response.output_audio.delta"},
	{"{\"type\":\"response.done\",\"response\":{\"id\":\"r2\",\"output\":[]}}",
	 "response.done of a response that is not open: r2"},
	{"{\"type\":\"response.created\",\"response\":{\"id\":\"r1\"}}",
	 "response created twice or without id: r1"},
	{"{\"type\":\"session.updated\",\"session\":{\"tools\":[{\"name\":\"get_order\"}]}}",
	 "a tool nobody declared: get_order"},
	{"{\"type\":\"conversation.item.input_audio_transcription.delta\",\"item_id\":\"u9\"}",
	 "event about an unknown item: u9"},
	{"{\"event_id\":\"e\"}", "event without type: ?"},
};

START_TEST(bad_event_is_one_breach)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		feed(good[i]);
	}
	feed(bad[_i].event);
	ck_assert_uint_eq(json_array_size(watch_breaches(watch)), 1);
	ck_assert_str_eq(json_string_value(json_array_get(watch_breaches(watch), 0)),
			 bad[_i].breach);
}
END_TEST

START_TEST(open_response_is_a_breach_at_the_end)
{
	feed(good[5]);
	watch_end(watch);
	ck_assert_str_eq(json_string_value(json_array_get(watch_breaches(watch), 0)),
			 "response without response.done: r1");
}
END_TEST

START_TEST(visible_function_call_is_kept)
{
	feed(good[5]);
	feed("{\"type\":\"response.function_call_arguments.done\",\"response_id\":\"r1\",\"item_id\":\"f1\"}");
	ck_assert_uint_eq(json_array_size(watch_function_calls(watch)), 1);
	ck_assert_uint_eq(json_array_size(watch_breaches(watch)), 2);
}
END_TEST

START_TEST(own_function_call_is_no_breach)
{
	watch_expect(watch, "own_f1");
	watch_expect(watch, NULL);
	feed("{\"type\":\"conversation.item.added\",\"item\":{\"id\":\"own_f1\",\"type\":\"function_call\","
	     "\"name\":\"get_order\"}}");
	ck_assert_uint_eq(json_array_size(watch_breaches(watch)), 0);
	feed("{\"type\":\"conversation.item.added\",\"item\":{\"id\":\"f2\",\"type\":\"function_call\","
	     "\"name\":\"get_order\"}}");
	ck_assert_uint_eq(json_array_size(watch_breaches(watch)), 1);
}
END_TEST

START_TEST(a_transcript_announces_its_item_where_nobody_detects_speech)
{
	static const char delta[] =
		"{\"type\":\"conversation.item.input_audio_transcription.delta\",\"item_id\":\"u1\"}";

	watch_without_detector(watch);
	feed(delta);
	ck_assert_uint_eq(json_array_size(watch_breaches(watch)), 0);
}
END_TEST

START_TEST(session_created_comes_first)
{
	struct watch *fresh = watch_new();
	json_t *event = json_loads(good[0], 0, NULL);

	watch_event(fresh, event);
	ck_assert_uint_eq(json_array_size(watch_breaches(fresh)), 1);
	json_decref(event);
	(void)watch_free(fresh);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("watch");
	TCase *tcase = tcase_create("events");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, good_turn_has_no_breach);
	tcase_add_loop_test(tcase, bad_event_is_one_breach, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(tcase, open_response_is_a_breach_at_the_end);
	tcase_add_test(tcase, visible_function_call_is_kept);
	tcase_add_test(tcase, own_function_call_is_no_breach);
	tcase_add_test(tcase, a_transcript_announces_its_item_where_nobody_detects_speech);
	tcase_add_test(tcase, session_created_comes_first);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
