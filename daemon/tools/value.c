#include "daemon/tools/value.h"

#include "proto/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

char *tool_json_text(const json_t *value)
{
	struct bc_buf buf;
	char *text = NULL;

	bc_buf_init(&buf, SIZE_MAX / 4);
	if (json_canonical(&buf, value) == BC_OK) {
		text = bc_span_dup(bc_buf_span(&buf));
	}
	bc_buf_release(&buf);
	return text;
}

static bool containers_equal(const json_t *a, const json_t *b)
{
	char *text_a = tool_json_text(a);
	char *text_b = tool_json_text(b);
	bool equal = text_a != NULL && text_b != NULL && strcmp(text_a, text_b) == 0;

	free(text_a);
	free(text_b);
	return equal;
}

bool tool_json_equal(const json_t *a, const json_t *b)
{
	if (json_is_integer(a) && json_is_integer(b)) {
		return json_integer_value(a) == json_integer_value(b);
	}
	if (json_is_number(a) && json_is_number(b)) {
		return json_number_value(a) >= json_number_value(b) &&
		       json_number_value(a) <= json_number_value(b);
	}
	if (json_typeof(a) != json_typeof(b)) {
		return false;
	}
	if (json_is_object(a) || json_is_array(a)) {
		return containers_equal(a, b);
	}
	return json_equal(a, b) != 0;
}

static bool is_whole(const json_t *value)
{
	double real;

	if (json_is_integer(value)) {
		return true;
	}
	real = json_number_value(value);
	return json_is_real(value) && floor(real) >= real;
}

bool tool_json_is_of_type(const json_t *value, const char *type)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return strcmp(type, "object") == 0;
	case JSON_ARRAY:
		return strcmp(type, "array") == 0;
	case JSON_STRING:
		return strcmp(type, "string") == 0;
	case JSON_INTEGER:
	case JSON_REAL:
		return strcmp(type, "number") == 0 ||
		       (strcmp(type, "integer") == 0 && is_whole(value));
	case JSON_TRUE:
	case JSON_FALSE:
		return strcmp(type, "boolean") == 0;
	case JSON_NULL:
		return strcmp(type, "null") == 0;
	}
	return false;
}

int tool_json_compare(const json_t *a, const json_t *b)
{
	if (json_is_integer(a) && json_is_integer(b)) {
		json_int_t left = json_integer_value(a);
		json_int_t right = json_integer_value(b);

		return (left > right) - (left < right);
	}
	return (json_number_value(a) > json_number_value(b)) -
	       (json_number_value(a) < json_number_value(b));
}

bool tool_json_is_multiple(const json_t *value, const json_t *of)
{
	double quotient;

	if (json_is_integer(value) && json_is_integer(of)) {
		return json_integer_value(of) == -1 ||
		       json_integer_value(value) % json_integer_value(of) == 0;
	}
	quotient = json_number_value(value) / json_number_value(of);
	/* 0.3 is meant to be a multiple of 0.1 although no binary fraction is either. */
	return isfinite(quotient) &&
	       fabs(quotient - round(quotient)) <= 1e-9 * fmax(1.0, fabs(quotient));
}

size_t tool_count_characters(struct bc_span text)
{
	size_t count = 0;
	size_t i;

	for (i = 0; i < text.len; i++) {
		count += ((unsigned char)text.ptr[i] & 0xC0U) != 0x80U;
	}
	return count;
}
