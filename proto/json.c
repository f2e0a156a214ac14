#include "proto/json.h"

#include "proto/scan.h"
#include "proto/utf8.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define KEYS_MAX 16 /* of json_members() */

#define TYPE_PEEK_MAX \
	64 /* bytes of the longest type looked for without the scanner; known ones have 54 */

/* Whether the inside of a string, escapes resolved, equals string.  Stops at the first difference. */
static bool content_is(struct bc_span raw, const char *string)
{
	struct scan scan = scan_begin(raw);
	char c[4];

	while (scan.at < scan.end) {
		size_t n = scan_string_char(&scan, c);

		/* c never holds a NUL, so the end of string is a difference too. */
		for (size_t i = 0; i < n; i++) {
			if (string[i] != c[i]) {
				return false;
			}
		}
		if (n == 0) {
			return false;
		}
		string += n;
	}
	return *string == '\0';
}

static bool has_escape(struct bc_span raw)
{
	return raw.len > 0 && memchr(raw.ptr, '\\', raw.len) != NULL;
}

static bool is_good_content(struct bc_span raw)
{
	struct scan scan = scan_begin(raw);
	char c[4];

	while (scan.at < scan.end) {
		if (scan_string_char(&scan, c) == 0) {
			return false;
		}
	}
	return true;
}

/* Note value where key is one of keys.  BC_E_SYNTAX: key is ill-formed, or has been seen before. */
static enum bc_err note_member(struct bc_span key, struct bc_span value, const char *const *keys,
			       size_t n, struct bc_span *found)
{
	bool escaped = has_escape(key);

	/* A key that cannot be read might be any of them, so it is not passed over. */
	if (escaped && !is_good_content(key)) {
		return BC_E_SYNTAX;
	}
	for (size_t i = 0; i < n; i++) {
		if (escaped ? content_is(key, keys[i]) : bc_span_is(key, keys[i])) {
			if (found[i].ptr != NULL) {
				return BC_E_SYNTAX;
			}
			found[i] = value;
		}
	}
	return BC_OK;
}

enum bc_err json_members(struct bc_span text, const char *const *keys, size_t n,
			 struct bc_span *ret)
{
	struct bc_span found[KEYS_MAX] = {0};
	struct scan scan = scan_begin(text);
	struct bc_span value;
	struct bc_span key;
	enum bc_err err;
	bool first = true;

	BC_BUG_ON(n > KEYS_MAX);
	scan_space(&scan);
	if (!scan_char(&scan, '{')) {
		return BC_E_SYNTAX;
	}
	for (;;) {
		err = scan_member(&scan, first, &key, &value);
		if (err != BC_OK) {
			break;
		}
		err = note_member(key, value, keys, n, found);
		if (err != BC_OK) {
			return err;
		}
		first = false;
	}
	if (err != BC_E_NOTFOUND) {
		return err;
	}
	scan_space(&scan);
	if (scan.at != scan.end) {
		return BC_E_SYNTAX;
	}
	if (n > 0) {
		memcpy(ret, found, n * sizeof(*ret));
	}
	return BC_OK;
}

enum bc_err json_member(struct bc_span text, const char *key, struct bc_span *ret)
{
	struct bc_span found;
	enum bc_err err = json_members(text, &key, 1, &found);

	if (err != BC_OK) {
		return err;
	}
	if (found.ptr == NULL) {
		return BC_E_NOTFOUND;
	}
	*ret = found;
	return BC_OK;
}

enum bc_err json_path(struct bc_span text, const char *const *path, size_t n, struct bc_span *ret)
{
	struct bc_span at = text;

	for (size_t i = 0; i < n; i++) {
		enum bc_err err = json_member(at, path[i], &at);

		if (err != BC_OK) {
			return err;
		}
	}
	*ret = at;
	return BC_OK;
}

enum bc_err json_each(struct bc_span text,
		      bool (*each)(void *arg, size_t index, struct bc_span value), void *arg)
{
	struct scan scan = scan_begin(text);

	scan_space(&scan);
	if (!scan_char(&scan, '[')) {
		return BC_E_SYNTAX;
	}
	scan_space(&scan);
	for (size_t i = 0; !scan_char(&scan, ']'); i++) {
		const char *from;
		enum bc_err err;

		if (i > 0 && !scan_char(&scan, ',')) {
			return BC_E_SYNTAX;
		}
		scan_space(&scan);
		from = scan.at;
		err = scan_value(&scan);
		if (err != BC_OK) {
			return err;
		}
		if (!each(arg, i, bc_span(from, (size_t)(scan.at - from)))) {
			return BC_OK;
		}
		scan_space(&scan);
	}
	scan_space(&scan);
	return scan.at == scan.end ? BC_OK : BC_E_SYNTAX;
}

/* What stands between the quotes; false if raw is no string. */
static bool unquote(struct bc_span raw, struct bc_span *ret)
{
	if (!json_raw_is_string(raw) || raw.ptr[raw.len - 1] != '"') {
		return false;
	}
	*ret = bc_span(raw.ptr + 1, raw.len - 2);
	return true;
}

bool json_string_is(struct bc_span raw, const char *string)
{
	struct bc_span content;

	return unquote(raw, &content) && content_is(content, string);
}

enum bc_err json_string_get(struct bc_span raw, char *out, size_t size, size_t *ret_len)
{
	struct bc_span content;
	struct scan scan;
	size_t len = 0;
	char c[4];

	if (!unquote(raw, &content)) {
		return BC_E_SYNTAX;
	}
	scan = scan_begin(content);
	while (scan.at < scan.end) {
		size_t n = scan_string_char(&scan, c);

		if (n == 0) {
			return BC_E_SYNTAX;
		}
		if (n >= size - len) {
			return BC_E_LIMIT;
		}
		memcpy(out + len, c, n);
		len += n;
	}
	if (size == 0) {
		return BC_E_LIMIT;
	}
	out[len] = '\0';
	*ret_len = len;
	return BC_OK;
}

/* Bytes of the character at the front that can stand in a string as it is; 0: it needs an escape. */
static size_t plain_char(const uint8_t *at, size_t len)
{
	size_t size;

	if (*at < 0x80) {
		return *at >= 0x20 && *at != '"' && *at != '\\';
	}
	size = *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : 2;
	return size <= len && utf8_prefix(at, size) == size ? size : 0;
}

static enum bc_err put_escaped(struct bc_buf *out, uint8_t c)
{
	static const char escapes[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	for (size_t i = 0; i < sizeof(escapes) - 1; i += 2) {
		if (escapes[i] == (char)c) {
			return bc_buf_put(out, (const char[]){'\\', escapes[i + 1]}, 2);
		}
	}
	/* A byte that is no UTF-8 would make the whole event unreadable. */
	if (c >= 0x80) {
		return bc_buf_put_str(out, "\xef\xbf\xbd");
	}
	return bc_buf_printf(out, "\\u%04x", (unsigned)c);
}

enum bc_err json_string_put(struct bc_buf *out, struct bc_span text)
{
	const uint8_t *bytes = (const uint8_t *)text.ptr;
	enum bc_err err = bc_buf_put(out, "\"", 1);
	size_t done = 0;
	size_t at = 0;

	/* What may stay as it is goes out in one piece: transcripts hold hardly anything else. */
	while (err == BC_OK && at < text.len) {
		size_t size = plain_char(bytes + at, text.len - at);

		if (size > 0) {
			at += size;
			continue;
		}
		err = bc_buf_put(out, bytes + done, at - done);
		if (err == BC_OK) {
			err = put_escaped(out, bytes[at]);
		}
		at++;
		done = at;
	}
	if (err == BC_OK && done < text.len) {
		err = bc_buf_put(out, bytes + done, text.len - done);
	}
	return err == BC_OK ? bc_buf_put(out, "\"", 1) : err;
}

/* The first byte from at on that is a quote, a backslash or a control character; end if there is none. */
static const char *find_special(const char *at, const char *end)
{
#if defined(__SSE2__)
	for (; end - at >= 16; at += 16) {
		__m128i block = _mm_loadu_si128((const void *)at);
		__m128i quote = _mm_cmpeq_epi8(block, _mm_set1_epi8('"'));
		__m128i escape = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
		/* Bytes are compared without sign by way of the lesser of two. */
		__m128i lesser = _mm_min_epu8(block, _mm_set1_epi8(0x1f));
		__m128i control = _mm_cmpeq_epi8(block, lesser);
		int found = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, escape), control));

		if (found != 0) {
			return at + __builtin_ctz((unsigned)found);
		}
	}
#endif
	while (at < end && (unsigned char)*at >= 0x20 && *at != '"' && *at != '\\') {
		at++;
	}
	return at;
}

/*
 * The type where nearly every event has it: first and plain.  False: ask the scanner, which also finds
 * out what is wrong.  This runs for every event of every session, hence without the scanner's generality.
 */
static bool peek_type(struct bc_span event, struct bc_span *ret)
{
	struct scan scan = scan_begin(event);
	const char *from;

	scan_space(&scan);
	if (!scan_char(&scan, '{')) {
		return false;
	}
	scan_space(&scan);
	if (scan.end - scan.at < 6 || memcmp(scan.at, "\"type\"", 6) != 0) {
		return false;
	}
	scan.at += 6;
	scan_space(&scan);
	if (!scan_char(&scan, ':')) {
		return false;
	}
	scan_space(&scan);
	if (!scan_char(&scan, '"')) {
		return false;
	}
	from = scan.at;
	scan.at = find_special(from, scan.end);
	*ret = bc_span(from, (size_t)(scan.at - from));
	if (!scan_char(&scan, '"')) {
		return false;
	}
	scan_space(&scan);
	return scan_char(&scan, ',') || scan_char(&scan, '}');
}

enum bc_err env_type(struct bc_span event, struct bc_span *ret)
{
	struct bc_span content;
	struct bc_span raw;
	enum bc_err err;

	if (peek_type(event, &content)) {
		*ret = content;
		return BC_OK;
	}
	err = json_member(event, "type", &raw);
	if (err != BC_OK) {
		return err;
	}
	if (!unquote(raw, &content) || has_escape(content) || !is_good_content(content)) {
		return BC_E_SYNTAX;
	}
	*ret = content;
	return BC_OK;
}
