/* JSON values as schemas look at them: kinds, equality, order. */
#ifndef BACKCHANNEL_TOOLS_VALUE_H
#define BACKCHANNEL_TOOLS_VALUE_H

#include "daemon/base/span.h"

#include <jansson.h>
#include <stdbool.h>

/* Canonical text of a value, NUL-terminated (heap, caller frees); NULL: out of memory, or too deep to have one. */
char *tool_json_text(const json_t *value);

/* Equality as JSON: 1 equals 1.0, the order of members does not count.  Values too deep for a text are unequal. */
bool tool_json_equal(const json_t *a, const json_t *b);

/* Whether a value is of the type a schema names; 3.0 is an integer.  Source: JSON Schema 2020-12, 4.2.3. */
bool tool_json_is_of_type(const json_t *value, const char *type);

/* -1, 0, 1 as number a is less than, equal to or greater than b; whole numbers exactly. */
int tool_json_compare(const json_t *a, const json_t *b);

/* Whether a number is a multiple of another, not 0, as they are written in decimal. */
bool tool_json_is_multiple(const json_t *value, const json_t *of);

/* Code points of well-formed UTF-8. */
size_t tool_count_characters(struct bc_span text);

#endif
