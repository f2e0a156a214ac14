#include "proto/scan.h"

#include "proto/json.h"

/*
 * Nearly all bytes of nearly all events stand in strings, so memchr does the work here.  A quote is the
 * end unless an odd run of backslashes stands in front of it; runs do not overlap, so looking back costs
 * no more than looking once.
 */
enum bc_err scan_string(struct scan *scan, struct bc_span *ret_raw)
{
	const char *from;
	const char *at;

	if (!scan_char(scan, '"')) {
		return BC_E_SYNTAX;
	}
	from = scan->at;
	at = from;
	for (;;) {
		const char *quote =
			at == scan->end ? NULL : memchr(at, '"', (size_t)(scan->end - at));
		const char *back = quote;

		if (quote == NULL) {
			return BC_E_SYNTAX;
		}
		while (back > from && back[-1] == '\\') {
			back--;
		}
		at = quote + 1;
		/* An even run of backslashes escapes itself and leaves the quote alone. */
		if ((quote - back) % 2 == 0) {
			*ret_raw = bc_span(from, (size_t)(quote - from));
			scan->at = at;
			return BC_OK;
		}
	}
}

static bool is_digit(const struct scan *scan)
{
	return scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9';
}

/* At least one digit. */
static bool scan_digits(struct scan *scan)
{
	if (!is_digit(scan)) {
		return false;
	}
	while (is_digit(scan)) {
		scan->at++;
	}
	return true;
}

/* Source: RFC 8259 section 6. */
static bool scan_number(struct scan *scan)
{
	(void)scan_char(scan, '-');
	if (!scan_char(scan, '0') && !scan_digits(scan)) {
		return false;
	}
	if (scan_char(scan, '.') && !scan_digits(scan)) {
		return false;
	}
	if (scan_char(scan, 'e') || scan_char(scan, 'E')) {
		if (!scan_char(scan, '+')) {
			(void)scan_char(scan, '-');
		}
		return scan_digits(scan);
	}
	return true;
}

static bool scan_word(struct scan *scan, const char *word, size_t len)
{
	if ((size_t)(scan->end - scan->at) < len || memcmp(scan->at, word, len) != 0) {
		return false;
	}
	scan->at += len;
	return true;
}

/* A value that is no container. */
static enum bc_err scan_scalar(struct scan *scan)
{
	struct bc_span raw;
	bool good;

	if (scan->at == scan->end) {
		return BC_E_SYNTAX;
	}
	switch (*scan->at) {
	case '"':
		return scan_string(scan, &raw);
	case 't':
		good = scan_word(scan, "true", 4);
		break;
	case 'f':
		good = scan_word(scan, "false", 5);
		break;
	case 'n':
		good = scan_word(scan, "null", 4);
		break;
	default:
		good = scan_number(scan);
	}
	return good ? BC_OK : BC_E_SYNTAX;
}

/* Key and colon, with the space behind both. */
static enum bc_err scan_key(struct scan *scan, struct bc_span *ret_key)
{
	enum bc_err err = scan_string(scan, ret_key);

	if (err != BC_OK) {
		return err;
	}
	scan_space(scan);
	if (!scan_char(scan, ':')) {
		return BC_E_SYNTAX;
	}
	scan_space(scan);
	return BC_OK;
}

/* The containers around the place we are at; the innermost one is the lowest bit, 1 for an object. */
struct nest {
	uint64_t objects;
	unsigned depth;
};

_Static_assert(JSON_DEPTH_MAX <= 64, "one bit per level");

/* Enter the container whose bracket comes next; *ret_empty if it ends at once (and has been left). */
static enum bc_err enter(struct scan *scan, struct nest *nest, bool *ret_empty)
{
	bool object = *scan->at == '{';

	if (nest->depth == JSON_DEPTH_MAX) {
		return BC_E_LIMIT;
	}
	scan->at++;
	scan_space(scan);
	*ret_empty = scan_char(scan, object ? '}' : ']');
	if (!*ret_empty) {
		nest->objects = nest->objects << 1 | object;
		nest->depth++;
	}
	return BC_OK;
}

/* Behind a value: leave the containers that end here and pass the comma in front of the next value. */
static enum bc_err leave(struct scan *scan, struct nest *nest)
{
	while (nest->depth > 0) {
		bool object = nest->objects & 1;

		scan_space(scan);
		if (scan_char(scan, ',')) {
			scan_space(scan);
			return BC_OK;
		}
		if (!scan_char(scan, object ? '}' : ']')) {
			return BC_E_SYNTAX;
		}
		nest->objects >>= 1;
		nest->depth--;
	}
	return BC_OK;
}

/* Without recursion: how deep the peer nests does not decide how much stack we use. */
enum bc_err scan_value(struct scan *scan)
{
	struct nest nest = {0};
	struct bc_span key;
	enum bc_err err;

	do {
		bool whole = true;

		if ((nest.objects & 1) != 0) {
			err = scan_key(scan, &key);
			if (err != BC_OK) {
				return err;
			}
		}
		if (scan->at < scan->end && (*scan->at == '{' || *scan->at == '[')) {
			err = enter(scan, &nest, &whole);
		} else {
			err = scan_scalar(scan);
		}
		if (err == BC_OK && whole) {
			err = leave(scan, &nest);
		}
		if (err != BC_OK) {
			return err;
		}
	} while (nest.depth > 0);
	return BC_OK;
}

enum bc_err scan_member(struct scan *scan, bool first, struct bc_span *ret_key,
			struct bc_span *ret_value)
{
	const char *from;
	enum bc_err err;

	scan_space(scan);
	if (scan_char(scan, '}')) {
		return BC_E_NOTFOUND;
	}
	if (!first) {
		if (!scan_char(scan, ',')) {
			return BC_E_SYNTAX;
		}
		scan_space(scan);
	}
	err = scan_key(scan, ret_key);
	if (err != BC_OK) {
		return err;
	}
	from = scan->at;
	err = scan_value(scan);
	if (err != BC_OK) {
		return err;
	}
	*ret_value = bc_span(from, (size_t)(scan->at - from));
	return BC_OK;
}

/* Four hexadecimal digits; UINT32_MAX if they are not there. */
static uint32_t scan_hex(struct scan *scan)
{
	uint32_t value = 0;

	if (scan->end - scan->at < 4) {
		return UINT32_MAX;
	}
	for (unsigned i = 0; i < 4; i++) {
		char c = *scan->at++;

		value <<= 4;
		if (c >= '0' && c <= '9') {
			value |= (uint32_t)(c - '0');
		} else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
			value |= (uint32_t)((c | 0x20) - 'a' + 10);
		} else {
			return UINT32_MAX;
		}
	}
	return value;
}

/* Behind "\u": the character, of one escape or of a surrogate pair; 0 if there is none. */
static uint32_t scan_unicode(struct scan *scan)
{
	uint32_t high = scan_hex(scan);
	uint32_t low;

	if (high < 0xd800 || (high > 0xdfff && high <= 0xffff)) {
		return high;
	}
	if (high > 0xdbff || !scan_char(scan, '\\') || !scan_char(scan, 'u')) {
		return 0;
	}
	low = scan_hex(scan);
	if (low < 0xdc00 || low > 0xdfff) {
		return 0;
	}
	return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static size_t utf8_put(uint32_t c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return c != 0;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

size_t scan_string_char(struct scan *scan, char out[4])
{
	static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
	char c = *scan->at++;

	out[0] = c;
	if (c != '\\') {
		return (unsigned char)c >= 0x20 && c != '"';
	}
	if (scan->at == scan->end) {
		return 0;
	}
	c = *scan->at++;
	if (c == 'u') {
		return utf8_put(scan_unicode(scan), out);
	}
	for (size_t i = 0; i < sizeof(escapes) - 1; i += 2) {
		if (escapes[i] == c) {
			out[0] = escapes[i + 1];
			return 1;
		}
	}
	return 0;
}
