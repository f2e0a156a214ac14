/* What is known of one provider and model: traits.def has the list. */
#ifndef BACKCHANNEL_CONFIG_TRAITS_H
#define BACKCHANNEL_CONFIG_TRAITS_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum trait {
#define TRAIT(id, name, kind, help) TRAIT_##id,
#include "daemon/config/traits.def"
	TRAIT__COUNT /* must be last */
};

enum trait_kind {
	TRAIT_IS_FLAG,
	TRAIT_IS_MS,
	TRAIT_IS_MEDIAN, /* each is told as it was measured; the median is what is known */
	TRAIT_IS_COUNT
};

#define TRAIT_UNKNOWN   (-1)
#define TRAIT_VALUE_MAX 1000000

struct trait_set {
	int32_t value[TRAIT__COUNT]; /* 0 and 1 of a flag; TRAIT_UNKNOWN */
};

const char *trait_name(enum trait trait);
enum trait_kind trait_kind(enum trait trait);
/* What it means, and what is done without it: for operators. */
const char *trait_help(enum trait trait);
void trait_set_clear(struct trait_set *set);

/* Append "name=value" as an operator reads it; "?" for what is unknown.  Errors of bc_buf_put(). */
enum bc_err trait_put(struct bc_buf *out, enum trait trait, int32_t value) BC_MUST;

/* Read that; BC_E_INVALID: no such trait, or no value for it. */
enum bc_err trait_parse(struct bc_span text, enum trait *ret, int32_t *ret_value) BC_MUST;

#endif
