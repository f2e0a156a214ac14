/* Changing JSON text by replacing byte ranges. */
#include "proto/json.h"
#include "proto/scan.h"

/* The length after all edits; BC_E_INVALID if they do not lie in order inside the original. */
static enum bc_err spliced_len(struct bc_span original, const struct json_edit *edits, size_t n,
			       size_t *ret)
{
	size_t len = original.len;
	size_t behind = 0;

	for (size_t i = 0; i < n; i++) {
		if (edits[i].at < behind || edits[i].at > original.len ||
		    edits[i].remove > original.len - edits[i].at) {
			return BC_E_INVALID;
		}
		behind = edits[i].at + edits[i].remove;
		len -= edits[i].remove;
		if (__builtin_add_overflow(len, edits[i].text.len, &len)) {
			return BC_E_LIMIT;
		}
	}
	*ret = len;
	return BC_OK;
}

static char *append(char *to, const char *bytes, size_t len)
{
	if (len > 0) {
		memcpy(to, bytes, len);
		to += len;
	}
	return to;
}

enum bc_err json_splice(struct bc_buf *out, struct bc_span original, const struct json_edit *edits,
			size_t n)
{
	struct scan rest = scan_begin(original);
	const char *begin = rest.at;
	size_t len;
	char *to = NULL;
	enum bc_err err = spliced_len(original, edits, n, &len);

	/* All room at once: either everything is appended, or nothing. */
	if (err == BC_OK) {
		err = bc_buf_room(out, len, &to);
	}
	if (err != BC_OK || len == 0) {
		return err;
	}
	for (size_t i = 0; i < n; i++) {
		to = append(to, rest.at, (size_t)(begin + edits[i].at - rest.at));
		to = append(to, edits[i].text.ptr, edits[i].text.len);
		rest.at = begin + edits[i].at + edits[i].remove;
	}
	(void)append(to, rest.at, (size_t)(rest.end - rest.at));
	bc_buf_grow(out, len);
	return BC_OK;
}

/* Where members begin, behind the '{' of an object, and whether there are none. */
static size_t members_at(struct bc_span object, bool *ret_empty)
{
	struct scan scan = scan_begin(object);
	size_t at;

	scan_space(&scan);
	(void)scan_char(&scan, '{');
	at = (size_t)(scan.at - object.ptr);
	scan_space(&scan);
	*ret_empty = scan_char(&scan, '}');
	return at;
}

static enum bc_err put_member(struct bc_buf *scratch, const char *key, struct bc_span value,
			      bool last)
{
	enum bc_err err = json_string_put(scratch, bc_span_str(key));

	if (err == BC_OK) {
		err = bc_buf_put(scratch, ":", 1);
	}
	if (err == BC_OK) {
		err = bc_buf_put_span(scratch, value);
	}
	if (err == BC_OK && !last) {
		err = bc_buf_put(scratch, ",", 1);
	}
	return err;
}

enum bc_err json_edit_set(struct bc_span original, struct bc_span object, const char *key,
			  struct bc_span value, struct bc_buf *scratch, struct json_edit *ret)
{
	struct bc_span old;
	struct bc_span text;
	size_t before = bc_buf_len(scratch);
	size_t at;
	bool empty;
	enum bc_err err = json_member(object, key, &old);

	if (err == BC_OK) {
		*ret = (struct json_edit){
			.at = (size_t)(old.ptr - original.ptr), .remove = old.len, .text = value};
		return BC_OK;
	}
	if (err != BC_E_NOTFOUND) {
		return err;
	}
	at = (size_t)(object.ptr - original.ptr) + members_at(object, &empty);
	err = put_member(scratch, key, value, empty);
	if (err != BC_OK) {
		return err;
	}
	text = bc_buf_span(scratch);
	*ret = (struct json_edit){.at = at, .text = bc_span(text.ptr + before, text.len - before)};
	return BC_OK;
}
