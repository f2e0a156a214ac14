/* Values as texts that are equal exactly when the values are. */
#include "proto/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WHOLE_MAX 9007199254740992.0 /* 2^53: up to here every whole number is a double */

struct member {
	const char *key;
	size_t len;
	const json_t *value;
};

static enum bc_err put_value(struct bc_buf *out, const json_t *value, unsigned depth) BC_MUST;

/*
 * Order of UTF-16 code units, on UTF-8: that of the bytes, but that characters beyond U+FFFF (F0..F4),
 * which are surrogates there, come before U+E000..U+FFFF (EE, EF).
 */
static int compare_members(const void *a, const void *b)
{
	const struct member *left = a;
	const struct member *right = b;
	size_t len = left->len < right->len ? left->len : right->len;
	size_t i = 0;
	uint8_t l;
	uint8_t r;

	while (i < len && left->key[i] == right->key[i]) {
		i++;
	}
	if (i == len) {
		return (left->len > right->len) - (left->len < right->len);
	}
	l = (uint8_t)left->key[i];
	r = (uint8_t)right->key[i];
	if (l >= 0xee && r >= 0xee && (l >= 0xf0) != (r >= 0xf0)) {
		return l >= 0xf0 ? -1 : 1;
	}
	return l < r ? -1 : 1;
}

static enum bc_err put_members(struct bc_buf *out, const struct member *members, size_t n,
			       unsigned depth)
{
	enum bc_err err = BC_OK;

	for (size_t i = 0; i < n && err == BC_OK; i++) {
		err = bc_buf_put(out, i == 0 ? "{" : ",", 1);
		if (err == BC_OK) {
			err = json_string_put(out, bc_span(members[i].key, members[i].len));
		}
		if (err == BC_OK) {
			err = bc_buf_put(out, ":", 1);
		}
		if (err == BC_OK) {
			err = put_value(out, members[i].value, depth);
		}
	}
	return err == BC_OK ? bc_buf_put(out, "}", 1) : err;
}

static enum bc_err put_object(struct bc_buf *out, const json_t *object, unsigned depth)
{
	/* jansson iterates over objects that are not const only. */
	json_t *plain = (json_t *)(uintptr_t)object;
	size_t n = json_object_size(object);
	struct member *members;
	size_t i = 0;
	enum bc_err err;

	if (n == 0) {
		return bc_buf_put(out, "{}", 2);
	}
	members = calloc(n, sizeof(*members));
	if (members == NULL) {
		return BC_E_NOMEM;
	}
	for (void *iter = json_object_iter(plain); iter != NULL && i < n;
	     iter = json_object_iter_next(plain, iter)) {
		members[i].key = json_object_iter_key(iter);
		members[i].len = json_object_iter_key_len(iter);
		members[i].value = json_object_iter_value(iter);
		i++;
	}
	qsort(members, i, sizeof(*members), compare_members);
	err = put_members(out, members, i, depth);
	free(members);
	return err;
}

static enum bc_err put_array(struct bc_buf *out, const json_t *array, unsigned depth)
{
	size_t n = json_array_size(array);
	enum bc_err err = bc_buf_put(out, "[", 1);

	for (size_t i = 0; i < n && err == BC_OK; i++) {
		if (i > 0) {
			err = bc_buf_put(out, ",", 1);
		}
		if (err == BC_OK) {
			err = put_value(out, json_array_get(array, i), depth);
		}
	}
	return err == BC_OK ? bc_buf_put(out, "]", 1) : err;
}

static enum bc_err put_real(struct bc_buf *out, double value)
{
	char text[32];

	if (value >= -WHOLE_MAX && value <= WHOLE_MAX && value == (double)(int64_t)value) {
		return bc_buf_printf(out, "%" PRId64, (int64_t)value);
	}
	/* 17 digits always read back equal. */
	for (int digits = 1; digits <= 17; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, /* endptr= */ NULL) == value) {
			break;
		}
	}
	return bc_buf_put_str(out, text);
}

static enum bc_err put_value(struct bc_buf *out, const json_t *value, unsigned depth)
{
	if (depth == JSON_DEPTH_MAX && (json_is_object(value) || json_is_array(value))) {
		return BC_E_LIMIT;
	}
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return put_object(out, value, depth + 1);
	case JSON_ARRAY:
		return put_array(out, value, depth + 1);
	case JSON_STRING:
		return json_string_put(
			out, bc_span(json_string_value(value), json_string_length(value)));
	case JSON_INTEGER:
		return bc_buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	case JSON_REAL:
		return put_real(out, json_real_value(value));
	case JSON_TRUE:
		return bc_buf_put(out, "true", 4);
	case JSON_FALSE:
		return bc_buf_put(out, "false", 5);
	case JSON_NULL:
	default:
		return bc_buf_put(out, "null", 4);
	}
}

enum bc_err json_canonical(struct bc_buf *out, const json_t *value)
{
	return put_value(out, value, 0);
}

json_t *json_parse(struct bc_span text)
{
	json_error_t error;

	/* jansson passes over a NUL behind a number, which is no JSON and which the scanner refuses. */
	if (text.len == 0 || memchr(text.ptr, '\0', text.len) != NULL) {
		return NULL;
	}
	return json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
}
