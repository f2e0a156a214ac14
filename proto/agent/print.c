#include "proto/agent/print.h"

#include "proto/agent/agent_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define TAG_MAX 64 /* bytes of a tag with its attribute */

/* What a byte is written as; NULL: itself. */
static const char *escape_of(char c)
{
	if (c == '&') {
		return "&amp;";
	}
	return c == '<' ? "&lt;" : NULL;
}

static size_t escaped_len(struct bc_span text)
{
	size_t len = text.len;

	for (size_t i = 0; i < text.len; i++) {
		const char *escape = escape_of(text.ptr[i]);

		len += escape == NULL ? 0 : strlen(escape) - 1;
	}
	return len;
}

static char *write_str(char *at, const char *string)
{
	size_t len = strlen(string);

	memcpy(at, string, len);
	return at + len;
}

static char *write_escaped(char *at, struct bc_span text)
{
	for (size_t i = 0; i < text.len; i++) {
		const char *escape = escape_of(text.ptr[i]);

		if (escape == NULL) {
			*at++ = text.ptr[i];
		} else {
			at = write_str(at, escape);
		}
	}
	return at;
}

/* Room is made for the whole at once, so that nothing is left of what does not fit. */
static enum bc_err put_whole(struct bc_buf *out, const char *open, struct bc_span text,
			     const char *close)
{
	size_t len = strlen(open) + escaped_len(text) + strlen(close);
	enum bc_err err;
	char *room;
	char *at;

	err = bc_buf_room(out, len, &room);
	if (err != BC_OK) {
		return err;
	}
	at = write_str(room, open);
	at = write_escaped(at, text);
	at = write_str(at, close);
	BC_BUG_ON((size_t)(at - room) != len);
	bc_buf_grow(out, len);
	return BC_OK;
}

static enum bc_err put_update(struct bc_buf *out, const char *name, uint64_t rev,
			      struct bc_span text)
{
	char open[TAG_MAX];
	char close[TAG_MAX];

	(void)snprintf(open, sizeof(open), "<%s rev=\"%" PRIu64 "\">", name, rev);
	(void)snprintf(close, sizeof(close), "</%s>", name);
	return put_whole(out, open, text, close);
}

enum bc_err agent_put_escaped(struct bc_buf *out, struct bc_span text)
{
	return put_whole(out, "", text, "");
}

enum bc_err agent_put_partial(struct bc_buf *out, uint64_t rev, struct bc_span text)
{
	return put_update(out, AGENT_TAG_PARTIAL, rev, text);
}

enum bc_err agent_put_final(struct bc_buf *out, uint64_t rev, struct bc_span text)
{
	return put_update(out, AGENT_TAG_FINAL, rev, text);
}

enum bc_err agent_put_result(struct bc_buf *out, unsigned id, struct bc_span text)
{
	char open[TAG_MAX];

	BC_BUG_ON(id == 0 || id > AGENT_ID_MAX);
	(void)snprintf(open, sizeof(open), "<" AGENT_TAG_RESULT " id=\"%u\">", id);
	return put_whole(out, open, text, "</" AGENT_TAG_RESULT ">");
}

enum bc_err agent_put_cancelled(struct bc_buf *out, unsigned id)
{
	char tag[TAG_MAX];

	BC_BUG_ON(id == 0 || id > AGENT_ID_MAX);
	(void)snprintf(tag, sizeof(tag), "<" AGENT_TAG_CANCELLED " id=\"%u\"/>", id);
	return put_whole(out, tag, bc_span(NULL, 0), "");
}

enum bc_err agent_put_error(struct bc_buf *out, struct bc_span text)
{
	return put_whole(out, "<" AGENT_TAG_ERROR ">", text, "</" AGENT_TAG_ERROR ">");
}

enum bc_err agent_put_interrupted(struct bc_buf *out)
{
	return put_whole(out, AGENT_MARK_INTERRUPTED, bc_span(NULL, 0), "");
}
