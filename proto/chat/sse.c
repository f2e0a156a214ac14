#include "proto/chat/sse.h"

#include <string.h>

void sse_init(struct sse *sse, size_t event_max, void (*emit)(void *arg, struct bc_span data),
	      void *arg)
{
	*sse = (struct sse){.err = BC_OK, .emit = emit, .arg = arg};
	bc_buf_init(&sse->line, event_max);
	bc_buf_init(&sse->data, event_max);
}

void sse_release(struct sse *sse)
{
	bc_buf_release(&sse->line);
	bc_buf_release(&sse->data);
}

static void dispatch(struct sse *sse)
{
	struct bc_span data = bc_buf_span(&sse->data);

	if (data.len > 0) {
		/* Without the end of its last line. */
		sse->emit(sse->arg, bc_span(data.ptr, data.len - 1));
		bc_buf_clear(&sse->data);
	}
}

/* One line: "name:value", with one space dropped in front of the value; without a colon all of it is the name. */
static enum bc_err take_line(struct sse *sse, struct bc_span line)
{
	const char *colon;
	size_t name;
	enum bc_err err;

	if (!sse->begun && bc_span_has_prefix(line, "\xef\xbb\xbf")) {
		line = bc_span(line.ptr + 3, line.len - 3);
	}
	sse->begun = true;
	if (line.len == 0) {
		dispatch(sse);
		return BC_OK;
	}
	colon = memchr(line.ptr, ':', line.len);
	name = colon == NULL ? line.len : (size_t)(colon - line.ptr);
	if (!bc_span_is(bc_span(line.ptr, name), "data")) {
		return BC_OK;
	}
	name += colon == NULL ? 0 : 1;
	line = bc_span(line.ptr + name, line.len - name);
	if (line.len > 0 && line.ptr[0] == ' ') {
		line = bc_span(line.ptr + 1, line.len - 1);
	}
	err = bc_buf_put_span(&sse->data, line);
	return err == BC_OK ? bc_buf_put(&sse->data, "\n", 1) : err;
}

/* How many bytes stand in front of the next end of a line. */
static size_t line_len(struct bc_span bytes)
{
	size_t len = 0;

	while (len < bytes.len && bytes.ptr[len] != '\n' && bytes.ptr[len] != '\r') {
		len++;
	}
	return len;
}

/* Take what stands in front of the next end of a line, and that end if it is there; how many bytes that is. */
static size_t feed_line(struct sse *sse, struct bc_span bytes)
{
	size_t len = line_len(bytes);
	bool ended = len < bytes.len;

	sse->err = bc_buf_put(&sse->line, bytes.ptr, len);
	if (sse->err != BC_OK || !ended) {
		return bytes.len;
	}
	sse->behind_cr = bytes.ptr[len] == '\r';
	sse->err = take_line(sse, bc_buf_span(&sse->line));
	bc_buf_clear(&sse->line);
	return len + 1;
}

enum bc_err sse_feed(struct sse *sse, struct bc_span bytes)
{
	while (bytes.len > 0 && sse->err == BC_OK) {
		size_t used = 1;

		if (sse->behind_cr && bytes.ptr[0] == '\n') {
			sse->behind_cr = false;
		} else {
			sse->behind_cr = false;
			used = feed_line(sse, bytes);
		}
		bytes = bc_span(bytes.ptr + used, bytes.len - used);
	}
	return sse->err;
}
