#include "proto/chat/stream.h"

#include "proto/chat/sse.h"
#include "proto/json.h"

#include <stdlib.h>

#define CHAT_MAGIC 0x63686174u
#define ERROR_MAX  200 /* bytes kept of a server's message */

struct chat_stream {
	uint32_t magic;
	struct sse sse;
	bool finished;
	enum bc_err err; /* sticky */
	char error[ERROR_MAX];
	void (*text)(void *arg, struct bc_span text);
	void *arg;
};

/* A member of a raw object; empty: absent, or there is no object. */
static struct bc_span member(struct bc_span object, const char *key)
{
	struct bc_span value = {NULL, 0};

	return json_member(object, key, &value) == BC_OK ? value : bc_span(NULL, 0);
}

static bool take_first(void *arg, size_t index, struct bc_span value)
{
	struct bc_span *first = arg;

	(void)index;
	*first = value;
	return false;
}

static enum bc_err tell_text(struct chat_stream *stream, struct bc_span raw)
{
	char *text;
	size_t len;
	enum bc_err err;

	if (!json_raw_is_string(raw) || raw.len == 2) {
		return BC_OK; /* null, as in the first chunk and the last */
	}
	text = malloc(raw.len);
	if (text == NULL) {
		return BC_E_NOMEM;
	}
	err = json_string_get(raw, text, raw.len, &len);
	if (err == BC_OK) {
		stream->text(stream->arg, bc_span(text, len));
	}
	free(text);
	return err;
}

/* Printable and short: it goes into a log line. */
static void keep_error(struct chat_stream *stream, struct bc_span message)
{
	size_t len = 0;

	if (!json_raw_is_string(message)) {
		return;
	}
	message = bc_span(message.ptr + 1, message.len - 2);
	for (; len < message.len && len + 1 < sizeof(stream->error); len++) {
		char c = message.ptr[len];

		stream->error[len] = c;
		if (c < ' ' || c > '~') {
			stream->error[len] = '?';
		}
	}
	stream->error[len] = '\0';
}

static enum bc_err read_chunk(struct chat_stream *stream, struct bc_span chunk)
{
	static const char *const keys[] = {"choices", "error"};
	struct bc_span values[2];
	struct bc_span choice = {NULL, 0};
	struct bc_span reason;
	enum bc_err err = json_members(chunk, keys, 2, values);

	if (err != BC_OK) {
		return err;
	}
	if (values[1].len > 0 && !bc_span_is(values[1], "null")) {
		keep_error(stream, member(values[1], "message"));
		return BC_E_UPSTREAM;
	}
	if (values[0].len > 0) {
		err = json_each(values[0], take_first, &choice);
	}
	if (err != BC_OK || choice.len == 0) {
		return err; /* usage comes without a choice */
	}
	err = tell_text(stream, member(member(choice, "delta"), "content"));
	reason = member(choice, "finish_reason");
	stream->finished = stream->finished || json_raw_is_string(reason);
	return err;
}

static void on_event(void *arg, struct bc_span data)
{
	struct chat_stream *stream = arg;

	BC_CHECK(stream, CHAT_MAGIC);
	if (stream->err != BC_OK || stream->finished || data.len == 0) {
		return;
	}
	if (bc_span_is(data, "[DONE]")) {
		stream->finished = true;
	} else {
		stream->err = read_chunk(stream, data);
	}
}

struct chat_stream *chat_stream_new(void (*text)(void *arg, struct bc_span text), void *arg)
{
	struct chat_stream *stream = calloc(1, sizeof(*stream));

	if (stream == NULL) {
		return NULL;
	}
	stream->magic = CHAT_MAGIC;
	stream->text = text;
	stream->arg = arg;
	sse_init(&stream->sse, CHAT_EVENT_MAX, on_event, stream);
	return stream;
}

struct chat_stream *chat_stream_free(struct chat_stream *stream)
{
	if (stream != NULL) {
		BC_CHECK(stream, CHAT_MAGIC);
		sse_release(&stream->sse);
		stream->magic = 0;
		free(stream);
	}
	return NULL;
}

enum bc_err chat_stream_feed(struct chat_stream *stream, struct bc_span bytes)
{
	enum bc_err err;

	BC_CHECK(stream, CHAT_MAGIC);
	if (stream->err != BC_OK) {
		return stream->err;
	}
	err = sse_feed(&stream->sse, bytes);
	stream->err = stream->err == BC_OK ? err : stream->err;
	return stream->err;
}

bool chat_stream_is_finished(const struct chat_stream *stream)
{
	return stream->finished;
}

const char *chat_stream_error(const struct chat_stream *stream)
{
	return stream->error;
}
