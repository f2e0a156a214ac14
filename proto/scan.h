/* The scanner beneath json.h: walks JSON text without building anything. */
#ifndef BACKCHANNEL_PROTO_SCAN_H
#define BACKCHANNEL_PROTO_SCAN_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* What is left of a text: at <= end. */
struct scan {
	const char *at;
	const char *end;
};

static inline struct scan scan_begin(struct bc_span text)
{
	const char *at = text.len == 0 ? "" : text.ptr;

	return (struct scan){at, at + text.len};
}

static inline void scan_space(struct scan *scan)
{
	while (scan->at < scan->end &&
	       (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t')) {
		scan->at++;
	}
}

/* Pass over c if it comes next. */
static inline bool scan_char(struct scan *scan, char c)
{
	if (scan->at == scan->end || *scan->at != c) {
		return false;
	}
	scan->at++;
	return true;
}

/*
 * Pass over a whole value that begins here.  Structure is checked at every depth; the inside of strings is
 * not looked at.  BC_E_SYNTAX; BC_E_LIMIT: deeper than JSON_DEPTH_MAX.
 */
enum bc_err scan_value(struct scan *scan) BC_MUST;

/* Pass over a string; *ret_raw is what stands between its quotes.  Bad escapes are not noticed. */
enum bc_err scan_string(struct scan *scan, struct bc_span *ret_raw) BC_MUST;

/*
 * The next member of an object behind whose '{' or previous value we are: its key without quotes, and its value.
 * BC_E_NOTFOUND: the object has ended, and is passed over.
 */
enum bc_err scan_member(struct scan *scan, bool first, struct bc_span *ret_key,
			struct bc_span *ret_value) BC_MUST;

/*
 * One character of the inside of a string, escapes resolved, as UTF-8 into out; returns its bytes.
 * 0: bad escape, lone surrogate, U+0000, or a control character or quote that is not escaped.
 */
size_t scan_string_char(struct scan *scan, char out[4]);

#endif
