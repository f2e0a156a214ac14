#include "daemon/tools/secret.h"

#include "daemon/base/seal.h"
#include "daemon/config/config.h"
#include "proto/json.h"

#include <string.h>

#define TEXT_MAX ((size_t)1 << 21) /* bytes of an output with marks in it */

enum bc_err tool_secret_args(struct bc_buf *out, const struct cfg_tool *tool, const json_t *args)
{
	json_t *shown = json_copy((json_t *)(uintptr_t)args);
	enum bc_err err = shown == NULL ? BC_E_NOMEM : BC_OK;
	size_t i;

	for (i = 0; err == BC_OK && i < tool->secret_arguments.count; i++) {
		const char *name = tool->secret_arguments.items[i];

		if (json_object_get(shown, name) != NULL &&
		    json_object_set_new(shown, name, json_string(TOOL_SECRET_MARK)) != 0) {
			err = BC_E_NOMEM;
		}
	}
	if (err == BC_OK) {
		err = json_canonical(out, shown);
	}
	json_decref(shown);
	return err;
}

/* Append text with marks in place of every occurrence of secret. */
static enum bc_err replace(struct bc_buf *out, struct bc_span text, struct bc_span secret)
{
	enum bc_err err = BC_OK;

	while (err == BC_OK && text.len > 0) {
		const char *found = memmem(text.ptr, text.len, secret.ptr, secret.len);
		size_t before = found == NULL ? text.len : (size_t)(found - text.ptr);

		err = bc_buf_put(out, text.ptr, before);
		if (err == BC_OK && found != NULL) {
			err = bc_buf_put_str(out, TOOL_SECRET_MARK);
			before += secret.len;
		}
		text = bc_span(text.ptr + before, text.len - before);
	}
	return err;
}

/* Replace one form of a secret in *text, through a second buffer. */
static enum bc_err replace_in(struct bc_buf *text, struct bc_span secret)
{
	struct bc_buf replaced;
	enum bc_err err;

	if (secret.len < TOOL_SECRET_LEN_MIN) {
		return BC_OK;
	}
	bc_buf_init(&replaced, TEXT_MAX);
	err = replace(&replaced, bc_buf_span(text), secret);
	if (err != BC_OK) {
		bc_buf_release(&replaced);
		return err;
	}
	bc_buf_release(text);
	*text = replaced;
	return BC_OK;
}

/* Both forms in which a value may be repeated. */
static enum bc_err hide_value(struct bc_buf *text, const json_t *value)
{
	struct bc_buf form;
	struct bc_span span;
	enum bc_err err;

	bc_buf_init(&form, TEXT_MAX);
	err = json_canonical(&form, value);
	span = bc_buf_span(&form);
	if (err == BC_OK && json_string_value(value) != NULL) {
		err = replace_in(text, bc_span(span.ptr + 1, span.len - 2));
		if (err == BC_OK) {
			err = replace_in(
				text, bc_span(json_string_value(value), json_string_length(value)));
		}
	} else if (err == BC_OK) {
		err = replace_in(text, span);
	}
	bc_buf_release(&form);
	return err;
}

enum bc_err tool_secret_output(struct bc_buf *out, const struct cfg_tool *tool, const json_t *args,
			       struct bc_span output)
{
	struct bc_buf text;
	enum bc_err err;
	size_t i;

	bc_buf_init(&text, TEXT_MAX);
	err = bc_buf_put_span(&text, output);
	for (i = 0; err == BC_OK && i < tool->secret_arguments.count; i++) {
		const json_t *value = json_object_get(args, tool->secret_arguments.items[i]);

		if (value != NULL && !json_is_boolean(value) && !json_is_null(value)) {
			err = hide_value(&text, value);
		}
	}
	if (err == BC_OK) {
		err = bc_buf_put_span(out, bc_buf_span(&text));
	}
	bc_buf_release(&text);
	return err;
}

enum bc_err tool_seal_text(struct bc_buf *out, const struct bc_seal_key *key,
			   const struct cfg_tool *tool, struct bc_span text)
{
	return key == NULL ? BC_OK : bc_seal(key, bc_span_str(tool->name), text, out);
}

enum bc_err tool_seal_args(struct bc_buf *out, const struct bc_seal_key *key,
			   const struct cfg_tool *tool, const json_t *args)
{
	struct bc_buf text;
	enum bc_err err;

	if (key == NULL || tool->secret_arguments.count == 0) {
		return BC_OK;
	}
	bc_buf_init(&text, TEXT_MAX);
	err = json_canonical(&text, args);
	if (err == BC_OK) {
		err = tool_seal_text(out, key, tool, bc_buf_span(&text));
	}
	bc_buf_release(&text);
	return err;
}

enum bc_err tool_seal_open(struct bc_buf *out, const struct bc_seal_key *key,
			   const struct cfg_tool *tool, struct bc_span sealed)
{
	return key == NULL ? BC_E_INVALID : bc_seal_open(key, bc_span_str(tool->name), sealed, out);
}
