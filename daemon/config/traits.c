#include "daemon/config/traits.h"

#include "daemon/base/bug.h"

#include <inttypes.h>
#include <string.h>

static const struct {
	const char *name;
	enum trait_kind kind;
	const char *help;
} rows[TRAIT__COUNT] = {
#define TRAIT(id, name, kind, help) [TRAIT_##id] = {name, TRAIT_IS_##kind, help},
#include "daemon/config/traits.def"
};

const char *trait_name(enum trait trait)
{
	BC_BUG_ON(trait >= TRAIT__COUNT);
	return rows[trait].name;
}

enum trait_kind trait_kind(enum trait trait)
{
	BC_BUG_ON(trait >= TRAIT__COUNT);
	return rows[trait].kind;
}

const char *trait_help(enum trait trait)
{
	BC_BUG_ON(trait >= TRAIT__COUNT);
	return rows[trait].help;
}

void trait_set_clear(struct trait_set *set)
{
	for (int i = 0; i < TRAIT__COUNT; i++) {
		set->value[i] = TRAIT_UNKNOWN;
	}
}

enum bc_err trait_put(struct bc_buf *out, enum trait trait, int32_t value)
{
	enum trait_kind kind = trait_kind(trait);

	if (value < 0) {
		return bc_buf_printf(out, "%s=?", trait_name(trait));
	}
	if (kind == TRAIT_IS_FLAG) {
		return bc_buf_printf(out, "%s=%s", trait_name(trait), value != 0 ? "yes" : "no");
	}
	return bc_buf_printf(out, "%s=%" PRId32 "%s", trait_name(trait), value,
			     kind == TRAIT_IS_COUNT ? "" : "ms");
}

static enum bc_err number(struct bc_span text, const char *unit, int32_t *ret)
{
	size_t len = strlen(unit);
	int32_t value = 0;

	if (text.len <= len || memcmp(text.ptr + text.len - len, unit, len) != 0) {
		return BC_E_INVALID;
	}
	for (size_t i = 0; i < text.len - len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9' || value > TRAIT_VALUE_MAX / 10) {
			return BC_E_INVALID;
		}
		value = value * 10 + (text.ptr[i] - '0');
	}
	*ret = value;
	return BC_OK;
}

static enum bc_err flag(struct bc_span text, int32_t *ret)
{
	if (!bc_span_is(text, "yes") && !bc_span_is(text, "no")) {
		return BC_E_INVALID;
	}
	*ret = bc_span_is(text, "yes");
	return BC_OK;
}

enum bc_err trait_parse(struct bc_span text, enum trait *ret, int32_t *ret_value)
{
	for (int i = 0; i < TRAIT__COUNT; i++) {
		size_t len = strlen(rows[i].name);
		struct bc_span value;
		enum bc_err err;

		if (text.len <= len || text.ptr[len] != '=' ||
		    memcmp(text.ptr, rows[i].name, len) != 0) {
			continue;
		}
		value = bc_span(text.ptr + len + 1, text.len - len - 1);
		err = rows[i].kind == TRAIT_IS_FLAG
			      ? flag(value, ret_value)
			      : number(value, rows[i].kind == TRAIT_IS_COUNT ? "" : "ms",
				       ret_value);
		if (err == BC_OK) {
			*ret = (enum trait)i;
		}
		return err;
	}
	return BC_E_INVALID;
}
