#include "daemon/config/unit.h"

#include "daemon/base/bug.h"

#include <inttypes.h>
#include <stdio.h>

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first, so that formatting finds the shortest text; the entry without a name ends a list. */
static const struct unit durations[] = {
	{"h", 3600000000U}, {"m", 60000000U}, {"s", 1000000U}, {"ms", 1000U}, {NULL, 0}};
static const struct unit sizes[] = {{"GiB", 1U << 30}, {"MiB", 1U << 20}, {"KiB", 1U << 10},
				    {"B", 1},          {"", 1},           {NULL, 0}};

static size_t digits_of(struct bc_span text)
{
	size_t len = 0;

	while (len < text.len && text.ptr[len] >= '0' && text.ptr[len] <= '9') {
		len++;
	}
	return len;
}

bool cfg_parse_count(struct bc_span text, uint64_t *ret)
{
	uint64_t value = 0;

	if (text.len == 0 || digits_of(text) != text.len) {
		return false;
	}
	for (size_t i = 0; i < text.len; i++) {
		if (__builtin_mul_overflow(value, 10U, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(text.ptr[i] - '0'), &value)) {
			return false;
		}
	}
	*ret = value;
	return true;
}

/* Every step is checked for overflow: a duration that wrapped would pass as a short one. */
static bool parse_with_unit(struct bc_span text, const struct unit *units, uint64_t max,
			    uint64_t *ret)
{
	size_t digits = digits_of(text);
	struct bc_span name = bc_span(text.ptr + digits, text.len - digits);
	uint64_t value;

	if (!cfg_parse_count(bc_span(text.ptr, digits), &value)) {
		return false;
	}
	for (; units->name != NULL; units++) {
		if (bc_span_is(name, units->name)) {
			if (__builtin_mul_overflow(value, units->factor, &value) || value > max) {
				return false;
			}
			*ret = value;
			return true;
		}
	}
	return false;
}

bool cfg_parse_duration(struct bc_span text, bc_usec *ret)
{
	uint64_t value;

	if (!parse_with_unit(text, durations, CFG_DURATION_MAX, &value)) {
		return false;
	}
	*ret = (bc_usec)value;
	return true;
}

bool cfg_parse_size(struct bc_span text, size_t *ret)
{
	uint64_t value;

	if (!parse_with_unit(text, sizes, SIZE_MAX / 2, &value)) {
		return false;
	}
	*ret = (size_t)value;
	return true;
}

static void format_with_unit(char text[CFG_UNIT_SIZE], const struct unit *units, uint64_t value)
{
	while (units[1].name != NULL && value % units->factor != 0) {
		units++;
	}
	BC_BUG_ON(value % units->factor != 0);
	(void)snprintf(text, CFG_UNIT_SIZE, "%" PRIu64 "%s", value / units->factor, units->name);
}

void cfg_format_duration(char text[CFG_UNIT_SIZE], bc_usec value)
{
	BC_BUG_ON(value < 0);
	format_with_unit(text, value == 0 ? durations + 2 : durations, (uint64_t)value);
}

void cfg_format_size(char text[CFG_UNIT_SIZE], size_t value)
{
	format_with_unit(text, value == 0 ? sizes + 3 : sizes, value);
}

bool cfg_parse_scalar(enum cfg_type type, struct bc_span text, uint64_t *ret)
{
	bc_usec duration;
	size_t size;

	if (type == CFG_TYPE_DURATION && cfg_parse_duration(text, &duration)) {
		*ret = (uint64_t)duration;
		return true;
	}
	if (type == CFG_TYPE_SIZE && cfg_parse_size(text, &size)) {
		*ret = size;
		return true;
	}
	return type != CFG_TYPE_DURATION && type != CFG_TYPE_SIZE && cfg_parse_count(text, ret);
}
