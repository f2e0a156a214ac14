/*
 * JSON without building a tree: find members in raw text, and change text by splicing byte ranges, so that
 * what is not understood survives byte for byte.
 *
 * The scanner is strict about structure on the way to what it looks for and never reads beyond the span;
 * a key looked for that occurs twice in one object is refused (BC_E_SYNTAX), since nobody can say which one
 * counts.  Keys are compared after resolving escapes.
 *
 * "Well-formed" here means the structure: escapes and control characters inside strings that nobody asked for are
 * passed over unread, and text that is not UTF-8 has been refused by the WebSocket layer.
 */
#ifndef BACKCHANNEL_PROTO_JSON_H
#define BACKCHANNEL_PROTO_JSON_H

#include "daemon/base/buf.h"
#include "daemon/base/span.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 64 /* nesting the scanner follows; deeper is BC_E_LIMIT */

/*
 * The raw value of member key of the object in text (white space around it is dropped, quotes of a string are
 * kept).  BC_E_NOTFOUND: well-formed object without that key; BC_E_SYNTAX, also when text is no object (null,
 * for one); BC_E_LIMIT.  The span points into text.
 */
enum bc_err json_member(struct bc_span text, const char *key, struct bc_span *ret) BC_MUST;

/* Several members in one walk: ret[i] belongs to keys[i], ptr NULL where absent.  n <= 16; no key twice. */
enum bc_err json_members(struct bc_span text, const char *const *keys, size_t n,
			 struct bc_span *ret) BC_MUST;

/* Follow a path of members, e.g. {"session", "tools"}.  Errors as json_member(). */
enum bc_err json_path(struct bc_span text, const char *const *path, size_t n,
		      struct bc_span *ret) BC_MUST;

/*
 * Calls each() for every element of the array in text; each() returns false to stop (BC_OK then, and the rest is not
 * looked at).  BC_E_SYNTAX, BC_E_LIMIT; elements in front of the fault have been handed out by then.
 */
enum bc_err json_each(struct bc_span text,
		      bool (*each)(void *arg, size_t index, struct bc_span value),
		      void *arg) BC_MUST;

/* The first character of a raw value tells its kind.  (json_is_string is jansson's, for its values.) */
static inline bool json_raw_is_string(struct bc_span raw)
{
	return raw.len >= 2 && raw.ptr[0] == '"';
}

/* Whether a raw string value, escapes resolved, equals string; false if raw is no string. */
bool json_string_is(struct bc_span raw, const char *string);

/*
 * Decode a raw string value into out (NUL-terminated; the NUL is not counted), *ret_len bytes.
 * BC_E_SYNTAX: no string, bad escape, lone surrogate or U+0000 (which would end the text early);
 * BC_E_LIMIT: does not fit into size bytes.  out is unspecified after an error.
 */
enum bc_err json_string_get(struct bc_span raw, char *out, size_t size, size_t *ret_len) BC_MUST;

/*
 * Append text as a JSON string with quotes and the fewest escapes; bytes that are no UTF-8 become U+FFFD.
 * Errors of bc_buf_put(); out holds a part of it then.
 */
enum bc_err json_string_put(struct bc_buf *out, struct bc_span text) BC_MUST;

/*
 * The type of an event: the raw value of the top-level member "type", without its quotes, as a view.
 * Looks at a "type" that stands first without scanning the rest, so a second "type" in such an event is not
 * noticed (the gateway forwards such an event as it is, and no known SDK writes one).
 * BC_E_NOTFOUND, BC_E_SYNTAX; a type with escapes is BC_E_SYNTAX.
 */
enum bc_err env_type(struct bc_span event, struct bc_span *ret) BC_MUST;

/* One replacement of a byte range of an original text. */
struct json_edit {
	size_t at;           /* offset into the original */
	size_t remove;       /* bytes removed there */
	struct bc_span text; /* put there instead */
};

/*
 * n edits, sorted by offset, not overlapping, applied to original and appended to out, all or nothing.
 * BC_E_INVALID: edits out of order or beyond the end; errors of bc_buf_put().
 */
enum bc_err json_splice(struct bc_buf *out, struct bc_span original, const struct json_edit *edits,
			size_t n) BC_MUST;

/*
 * Edit that sets member key of the object span object (which lies inside original) to raw value: replaces the
 * value, or inserts the member in front of the others.  scratch holds the inserted text until the splice, so it must
 * not be changed before, not even by another json_edit_set(): one scratch for each edit.
 * Errors of json_member() but BC_E_NOTFOUND, and of bc_buf_put().
 */
enum bc_err json_edit_set(struct bc_span original, struct bc_span object, const char *key,
			  struct bc_span value, struct bc_buf *scratch,
			  struct json_edit *ret) BC_MUST;

/*
 * Canonical text of a value: members sorted by code unit of their key, no white space, integers in plain
 * digits, reals that are whole numbers within 2^53 as integers, other reals in the shortest form that reads
 * back equal, strings with the fewest escapes.  Two values are equal as JSON exactly when their canonical
 * texts are.  BC_E_LIMIT: deeper than JSON_DEPTH_MAX; errors of bc_buf_put(), out holds a part of it then.
 * Wants the locale "C", as every program has that does not change it.
 * Source: the ideas of RFC 8785.
 */
enum bc_err json_canonical(struct bc_buf *out, const json_t *value) BC_MUST;

/* Parse with jansson: duplicate keys refused, any top-level value.  Caller owns the result; NULL on error. */
json_t *json_parse(struct bc_span text);

#endif
