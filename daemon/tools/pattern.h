/*
 * The schema keyword "pattern": a regular expression searched for in a string.
 */
#ifndef BACKCHANNEL_TOOLS_PATTERN_H
#define BACKCHANNEL_TOOLS_PATTERN_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

/*
 * Whether pattern can be used.  BC_E_INVALID: it cannot; the reason is in message (size bytes, NUL-terminated).
 * BC_E_NOMEM.
 * Source: ECMA-262 expressions, by PCRE2 with the options that make the two agree on what schemas use.
 */
enum bc_err tool_pattern_check(const char *pattern, char *message, size_t size) BC_MUST;

/*
 * Search text (UTF-8) for pattern.  BC_E_NOTFOUND: no match; BC_E_LIMIT: the search was given up because it took too
 * many steps, so that no text a model writes can hold up the loop; BC_E_INVALID: no such expression; BC_E_NOMEM.
 */
enum bc_err tool_pattern_match(const char *pattern, struct bc_span text) BC_MUST;

#endif
