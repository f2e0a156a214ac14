/*
 * The streamed answer of a chat completion, of arbitrary bytes: in pieces of any size it tells the same text, error and
 * end as in one piece, and nothing behind its end.
 */
#include "proto/chat/stream.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (64 * 1024 * 1024)

struct outcome {
	struct bc_buf text;
	enum bc_err err;
	bool finished;
	char error[256];
	const struct chat_stream *stream;
};

static void on_text(void *arg, struct bc_span text)
{
	struct outcome *outcome = arg;

	BC_BUG_ON(text.len == 0 || memchr(text.ptr, '\0', text.len) != NULL);
	BC_BUG_ON(chat_stream_is_finished(outcome->stream));
	BC_BUG_ON(bc_buf_put_span(&outcome->text, text) != BC_OK);
}

/* In pieces of so many bytes, each of them a copy, so that a sanitizer sees a read behind it. */
static void run(struct outcome *outcome, struct bc_span bytes, size_t piece)
{
	struct chat_stream *stream = chat_stream_new(on_text, outcome);

	BC_BUG_ON(stream == NULL);
	*outcome = (struct outcome){.err = BC_OK, .stream = stream};
	bc_buf_init(&outcome->text, TEXT_MAX);
	for (size_t at = 0; at < bytes.len; at += piece) {
		size_t len = bytes.len - at < piece ? bytes.len - at : piece;
		char *copy = malloc(len);
		enum bc_err before = outcome->err;

		BC_BUG_ON(copy == NULL);
		memcpy(copy, bytes.ptr + at, len);
		outcome->err = chat_stream_feed(stream, bc_span(copy, len));
		free(copy);
		BC_BUG_ON(before != BC_OK && outcome->err != before);
	}
	outcome->finished = chat_stream_is_finished(stream);
	(void)snprintf(outcome->error, sizeof(outcome->error), "%s", chat_stream_error(stream));
	chat_stream_free(stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bc_span bytes = bc_span((const char *)data, size);
	struct outcome whole;

	run(&whole, bytes, size == 0 ? 1 : size);
	for (size_t piece = 1; piece <= 7; piece += 3) {
		struct outcome pieces;

		run(&pieces, bytes, piece);
		BC_BUG_ON(pieces.err != whole.err || pieces.finished != whole.finished);
		BC_BUG_ON(strcmp(pieces.error, whole.error) != 0);
		BC_BUG_ON(!bc_span_eq(bc_buf_span(&pieces.text), bc_buf_span(&whole.text)));
		bc_buf_release(&pieces.text);
	}
	bc_buf_release(&whole.text);
	return 0;
}
