/* Server-sent events and the chunks of a chat completion. */
#include "proto/chat/sse.h"
#include "proto/chat/stream.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bc_buf seen;

static void setup(void)
{
	bc_buf_init(&seen, 1024 * 1024);
}

static void teardown(void)
{
	bc_buf_release(&seen);
}

static void on_event(void *arg, struct bc_span data)
{
	(void)arg;
	ck_assert_int_eq(bc_buf_printf(&seen, "[%.*s]", BC_SPAN_ARG(data)), BC_OK);
}

static void on_text(void *arg, struct bc_span text)
{
	(void)arg;
	ck_assert_uint_gt(text.len, 0);
	ck_assert_int_eq(bc_buf_put_span(&seen, text), BC_OK);
}

static void expect(const char *text)
{
	ck_assert_msg(bc_span_is(bc_buf_span(&seen), text), "got %.*s, expected %s",
		      BC_SPAN_ARG(bc_buf_span(&seen)), text);
}

/* ---- events ---- */

static const struct {
	const char *stream, *events;
} streams[] = {
	{"data: a\n\n", "[a]"},
	{"data: a\r\n\r\ndata: b\r\rdata: c\n\n", "[a][b][c]"},
	{"data:a\ndata: b\ndata:  c\n\n", "[a\nb\n c]"},
	{"\xef\xbb\xbf"
	 "data: a\n\n",
	 "[a]"},
	{": a comment\n\nevent: x\nid: 7\nretry: 10\ndata: a\n\n", "[a]"},
	{"data\n\ndata:\n\n", "[][]"},
	{"dataset: a\n\ndat: b\n\n data: c\n\n", ""},
	{"data: not complete\n", ""},
	{"\n\n\r\n", ""},
	{"data: a:b\n\n", "[a:b]"},
};

START_TEST(events_are_read_in_pieces_of_any_size)
{
	const char *stream = streams[_i].stream;

	for (size_t piece = 1; piece <= strlen(stream); piece++) {
		struct sse sse;

		bc_buf_clear(&seen);
		sse_init(&sse, 4096, on_event, NULL);
		for (size_t at = 0; at < strlen(stream); at += piece) {
			size_t len = strlen(stream) - at < piece ? strlen(stream) - at : piece;

			ck_assert_int_eq(sse_feed(&sse, bc_span(stream + at, len)), BC_OK);
		}
		expect(streams[_i].events);
		sse_release(&sse);
	}
}
END_TEST

START_TEST(a_long_event_ends_the_stream)
{
	struct sse sse;

	sse_init(&sse, 16, on_event, NULL);
	ck_assert_int_eq(sse_feed(&sse, BC_SPAN_LIT("data: 0123456789\n\ndata: 0123456789")),
			 BC_OK);
	ck_assert_int_eq(sse_feed(&sse, BC_SPAN_LIT("0")), BC_E_LIMIT);
	ck_assert_int_eq(sse_feed(&sse, BC_SPAN_LIT("\n\ndata: b\n\n")), BC_E_LIMIT);
	expect("[0123456789]");
	sse_release(&sse);
	sse_init(&sse, 16, on_event, NULL);
	ck_assert_int_eq(sse_feed(&sse, BC_SPAN_LIT("data: 01234567\ndata: 01234567\n\n")),
			 BC_E_LIMIT);
	sse_release(&sse);
}
END_TEST

/* ---- chunks ---- */

#define CHUNK(delta, reason)                                                                   \
	"data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0," \
	"\"delta\":" delta ",\"finish_reason\":" reason "}]}\n\n"

static enum bc_err run(const char *text, bool *ret_finished, char *error, size_t size)
{
	struct chat_stream *stream = chat_stream_new(on_text, NULL);
	enum bc_err err = BC_OK;

	for (size_t i = 0; i < strlen(text) && err == BC_OK; i++) {
		err = chat_stream_feed(stream, bc_span(text + i, 1));
	}
	ck_assert_int_eq(chat_stream_feed(stream, bc_span(NULL, 0)), err);
	*ret_finished = chat_stream_is_finished(stream);
	(void)snprintf(error, size, "%s", chat_stream_error(stream));
	chat_stream_free(stream);
	return err;
}

static const struct {
	const char *stream, *text;
	enum bc_err err;
	bool finished;
	const char *error;
} answers[] = {
	{CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null") CHUNK(
		 "{\"content\":\"<th\"}", "null") CHUNK("{\"content\":\"ink>\\u00e9\\n\"}", "null")
		 CHUNK("{}", "\"stop\"") "data: [DONE]\n\n",
	 "<think>\xc3\xa9\n", BC_OK, true, ""},
	{CHUNK("{\"content\":\"a\"}", "null"), "a", BC_OK, false, ""},
	{"data: [DONE]\n\n", "", BC_OK, true, ""},
	{CHUNK("{\"content\":null}", "\"length\""), "", BC_OK, true, ""},
	{CHUNK("{\"content\":\"a\"}", "\"stop\"") CHUNK("{\"content\":\"b\"}", "null"), "a", BC_OK,
	 true, ""},
	{"data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n" CHUNK("{\"content\":\"a\"}",
									   "null"),
	 "a", BC_OK, false, ""},
	{"data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"x\"}}]}\n\n", "",
	 BC_OK, false, ""},
	{CHUNK("{\"content\":\"a\"}",
	       "null") "data: {\"error\":{\"message\":\"over\\nloaded\",\"code\":503}}\n\n",
	 "a", BC_E_UPSTREAM, false, "over\\nloaded"},
	{"data: {\"error\":\"x\"}\n\n", "", BC_E_UPSTREAM, false, ""},
	{"data: {\"choices\":[{\"delta\":{\"content\":\"\\ud800\"}}]}\n\n", "", BC_E_SYNTAX, false,
	 ""},
	{"data: {\"choices\":3}\n\n", "", BC_E_SYNTAX, false, ""},
	{"data: hello\n\n", "", BC_E_SYNTAX, false, ""},
	{"data: {\"choices\":[{\"delta\"\n\n", "", BC_E_SYNTAX, false, ""},
	{"data:\n\n: keep-alive\n\n", "", BC_OK, false, ""},
};

START_TEST(chunks_become_the_text_of_a_generation)
{
	char error[64];
	bool finished;

	ck_assert_int_eq(run(answers[_i].stream, &finished, error, sizeof(error)), answers[_i].err);
	expect(answers[_i].text);
	ck_assert_int_eq(finished, answers[_i].finished);
	ck_assert_str_eq(error, answers[_i].error);
}
END_TEST

START_TEST(a_long_message_of_an_error_is_cut)
{
	char text[1024];
	char error[512];
	bool finished;
	int len = snprintf(text, sizeof(text), "data: {\"error\":{\"message\":\"");

	memset(text + len, 'x', 600);
	(void)snprintf(text + len + 600, sizeof(text) - (size_t)len - 600, "\"}}\n\n");
	ck_assert_int_eq(run(text, &finished, error, sizeof(error)), BC_E_UPSTREAM);
	ck_assert_uint_eq(strlen(error), 199);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("chat");
	TCase *tcase = tcase_create("chat");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, events_are_read_in_pieces_of_any_size, 0,
			    (int)BC_ARRAY_LEN(streams));
	tcase_add_test(tcase, a_long_event_ends_the_stream);
	tcase_add_loop_test(tcase, chunks_become_the_text_of_a_generation, 0,
			    (int)BC_ARRAY_LEN(answers));
	tcase_add_test(tcase, a_long_message_of_an_error_is_cut);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
