#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

struct bc_span field_raw(struct bc_span object, const char *key)
{
	struct bc_span raw;

	if (object.len == 0 || json_member(object, key, &raw) != BC_OK) {
		return bc_span(NULL, 0);
	}
	return raw;
}

bool field_id_of(struct bc_span raw, char out[SESS_ID_MAX])
{
	size_t len;

	/* What would have to be escaped is no id of anybody: it passes through unread. */
	return json_string_get(raw, out, SESS_ID_MAX, &len) == BC_OK && len > 0 &&
	       strcspn(out, "\"\\\n\r\t") == len;
}

bool field_id(struct bc_span object, const char *key, char out[SESS_ID_MAX])
{
	return field_id_of(field_raw(object, key), out);
}

bool field_is(struct bc_span object, const char *key, const char *string)
{
	return json_string_is(field_raw(object, key), string);
}

bool error_is_about(struct bc_span error, const char *request)
{
	struct bc_span param = field_raw(error, "param");

	return !json_raw_is_string(field_raw(error, "event_id")) && json_raw_is_string(param) &&
	       bc_span_has_prefix(bc_span(param.ptr + 1, param.len - 1), request);
}

uint64_t id_hash(const char *id)
{
	uint64_t value = 0xcbf29ce484222325u; /* FNV-1a */

	for (; *id != '\0'; id++) {
		value = (value ^ (unsigned char)*id) * 0x100000001b3u;
	}
	return value | 1;
}

char *field_dup(struct bc_span raw)
{
	return bc_span_dup(raw);
}

char *field_text(struct bc_span raw)
{
	char *text = json_raw_is_string(raw) ? malloc(raw.len) : NULL;
	size_t len;

	if (text != NULL && json_string_get(raw, text, raw.len, &len) != BC_OK) {
		free(text);
		return NULL;
	}
	return text;
}

struct part {
	struct bc_buf *out;
	bool typed; /* all parts so far are text */
	enum bc_err err;
};

static bool put_part(void *arg, size_t index, struct bc_span value)
{
	struct part *part = arg;
	char *words = field_text(field_raw(value, "text"));

	part->typed = part->typed && field_is(value, "type", "input_text");
	words = words == NULL ? field_text(field_raw(value, "transcript")) : words;
	if (words != NULL && words[0] != '\0') {
		part->err = bc_buf_printf(part->out, "%s%s", index == 0 ? "" : " ", words);
	}
	free(words);
	return part->err == BC_OK;
}

enum bc_err field_words(struct bc_span item, struct bc_buf *out, bool *ret_typed)
{
	struct part part = {.out = out, .typed = true, .err = BC_OK};
	enum bc_err err = json_each(field_raw(item, "content"), put_part, &part);

	*ret_typed = part.typed;
	return err == BC_OK ? part.err : err;
}
