/*
 * The JSON scanner and splicer on an arbitrary event, against jansson:
 *
 *   what jansson reads            the scanner finds the same values; deeper than JSON_DEPTH_MAX it says so instead
 *   what it refuses for a key     the scanner refuses that key as well, and finds the others
 *   that occurs twice
 *   what it refuses otherwise     the scanner refuses it too, unless the fault lies inside a string, is a number out
 *                                 of jansson's range or a key that occurs twice, which json.h leaves to whoever
 *                                 looks at them
 *
 * For the last the text is first made plain, so that jansson has nothing but its structure to judge.
 */
#include "proto/json.h"
#include "proto/ws.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#define OUT_MAX (1U << 24)

static void same_string(struct bc_span raw, const json_t *value)
{
	size_t size = json_string_length(value) + 1;
	char *out = malloc(size);
	size_t len;

	BC_BUG_ON(out == NULL);
	BC_BUG_ON(json_string_get(raw, out, size, &len) != BC_OK);
	BC_BUG_ON(len != size - 1 || memcmp(out, json_string_value(value), size) != 0);
	BC_BUG_ON(!json_string_is(raw, json_string_value(value)));
	free(out);
}

/* The raw text found stands for the value that jansson has there. */
static void same(struct bc_span raw, const json_t *value)
{
	json_t *found = json_parse(raw);

	BC_BUG_ON(found == NULL || !json_equal(found, value));
	BC_BUG_ON(json_raw_is_string(raw) != json_is_string(value));
	if (json_is_string(value)) {
		same_string(raw, value);
	}
	json_decref(found);
}

struct elements {
	const json_t *array;
	size_t count;
};

static bool check_element(void *arg, size_t index, struct bc_span value)
{
	struct elements *elements = arg;

	BC_BUG_ON(index != elements->count);
	elements->count++;
	if (elements->array != NULL) {
		same(value, json_array_get(elements->array, index));
	}
	return true;
}

static void check_array(struct bc_span text, const json_t *array)
{
	struct elements elements = {.array = array};
	enum bc_err err = json_each(text, check_element, &elements);

	BC_BUG_ON(err != BC_OK && err != BC_E_LIMIT);
	BC_BUG_ON(err == BC_OK && elements.count != json_array_size(array));
}

/* Setting a member changes that member, and no other. */
static void check_set(struct bc_span text, const json_t *object, const char *key)
{
	struct bc_span value = BC_SPAN_LIT("{\"set\":[1]}");
	json_t *want = json_copy((json_t *)(uintptr_t)object);
	struct json_edit edit;
	struct bc_buf scratch;
	struct bc_buf out;

	BC_BUG_ON(want == NULL || json_object_set_new(want, key, json_parse(value)) != 0);
	bc_buf_init(&scratch, OUT_MAX);
	bc_buf_init(&out, OUT_MAX);
	BC_BUG_ON(json_edit_set(text, text, key, value, &scratch, &edit) != BC_OK);
	BC_BUG_ON(json_splice(&out, text, &edit, 1) != BC_OK);
	same(bc_buf_span(&out), want);
	bc_buf_release(&scratch);
	bc_buf_release(&out);
	json_decref(want);
}

static void check_type(struct bc_span text, const json_t *object)
{
	const json_t *type = json_object_get(object, "type");
	struct bc_span got;
	enum bc_err err = env_type(text, &got);

	if (type == NULL) {
		BC_BUG_ON(err != BC_E_NOTFOUND);
	} else if (err == BC_OK) {
		BC_BUG_ON(!json_is_string(type));
		BC_BUG_ON(!bc_span_eq(got,
				      bc_span(json_string_value(type), json_string_length(type))));
	} else {
		BC_BUG_ON(err != BC_E_SYNTAX);
	}
}

static void check_object(struct bc_span text, json_t *object)
{
	struct bc_span raw;
	json_t *value;
	const char *key;

	if (json_member(text, "no such key", &raw) == BC_E_LIMIT) {
		return;
	}
	json_object_foreach(object, key, value) {
		BC_BUG_ON(json_member(text, key, &raw) != BC_OK);
		BC_BUG_ON(raw.ptr < text.ptr || raw.ptr + raw.len > text.ptr + text.len);
		same(raw, value);
		if (json_is_array(value)) {
			check_array(raw, value);
		}
		if (json_is_object(value)) {
			const char *const path[] = {key};

			BC_BUG_ON(json_path(text, path, 1, &raw) != BC_OK);
			check_type(raw, value);
		}
	}
	check_type(text, object);
	check_set(text, object, "type");
	check_set(text, object, "no \"such\" key");
}

static void check_canonical(const json_t *value)
{
	struct bc_buf first;
	struct bc_buf again;

	bc_buf_init(&first, OUT_MAX);
	bc_buf_init(&again, OUT_MAX);
	if (json_canonical(&first, value) == BC_OK) {
		json_t *back = json_parse(bc_buf_span(&first));

		BC_BUG_ON(back == NULL || json_canonical(&again, back) != BC_OK);
		BC_BUG_ON(!bc_span_eq(bc_buf_span(&first), bc_buf_span(&again)));
		json_decref(back);
	}
	bc_buf_release(&first);
	bc_buf_release(&again);
}

/* Any bytes become a string that jansson reads. */
static void check_string_put(struct bc_span bytes)
{
	struct bc_buf out;
	json_error_t error;
	json_t *value;

	bc_buf_init(&out, OUT_MAX);
	BC_BUG_ON(json_string_put(&out, bytes) != BC_OK);
	value = json_loadb(bc_buf_span(&out).ptr, bc_buf_len(&out),
			   JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	BC_BUG_ON(value == NULL);
	if (ws_utf8_is_valid(bytes)) {
		BC_BUG_ON(!bc_span_eq(
			bytes, bc_span(json_string_value(value), json_string_length(value))));
	}
	json_decref(value);
	bc_buf_release(&out);
}

/* Where jansson refuses, only the bounds are checked, here by the sanitizers. */
static void scan_anything(struct bc_span text)
{
	static const char *const keys[] = {"session", "tools", "type", ""};
	struct bc_span found[BC_ARRAY_LEN(keys)];
	struct elements elements = {0};
	struct bc_span raw;
	char out[16];
	size_t len;

	(void)!env_type(text, &raw);
	(void)!json_members(text, keys, BC_ARRAY_LEN(keys), found);
	(void)!json_path(text, keys, 2, &raw);
	(void)!json_each(text, check_element, &elements);
	(void)!json_string_get(text, out, sizeof(out), &len);
	(void)json_string_is(text, "type");
}

/* Put the number of a string in its place; at is behind the opening quote, the result behind the closing one. */
static size_t plain_string(struct bc_buf *out, struct bc_span text, size_t at, unsigned number)
{
	BC_BUG_ON(bc_buf_printf(out, "\"%u", number) != BC_OK);
	while (at < text.len && text.ptr[at] != '"') {
		at += text.ptr[at] == '\\' ? 2 : 1;
	}
	if (at >= text.len) {
		return text.len; /* and stays open */
	}
	BC_BUG_ON(bc_buf_put(out, "\"", 1) != BC_OK);
	return at + 1;
}

/*
 * The text as the one element of an array, every string replaced by another one, every run of digits cut after the
 * second, which is enough to tell where zeros lead.
 */
static void put_plain(struct bc_buf *out, struct bc_span text)
{
	unsigned strings = 0;
	unsigned digits = 0;
	size_t at = 0;

	BC_BUG_ON(bc_buf_put(out, "[", 1) != BC_OK);
	while (at < text.len) {
		char c = text.ptr[at];

		at++;
		digits = c >= '0' && c <= '9' ? digits + 1 : 0;
		if (c == '"') {
			at = plain_string(out, text, at, strings);
			strings++;
		} else if (digits <= 2) {
			BC_BUG_ON(bc_buf_put(out, &c, 1) != BC_OK);
		}
	}
	BC_BUG_ON(bc_buf_put(out, "]", 1) != BC_OK);
}

/* Structure: the scanner takes what jansson takes, and nothing else. */
static void check_structure(struct bc_span text)
{
	struct elements elements = {0};
	struct bc_span found;
	struct bc_buf wrapped;
	struct bc_buf plain;
	json_t *value;
	enum bc_err err;

	bc_buf_init(&wrapped, OUT_MAX);
	bc_buf_init(&plain, OUT_MAX);
	BC_BUG_ON(bc_buf_printf(&wrapped, "[") != BC_OK);
	BC_BUG_ON(bc_buf_put_span(&wrapped, text) != BC_OK);
	BC_BUG_ON(bc_buf_printf(&wrapped, "]") != BC_OK);
	put_plain(&plain, text);
	value = json_parse(bc_buf_span(&plain));
	err = json_each(bc_buf_span(&wrapped), check_element, &elements);
	BC_BUG_ON((err == BC_OK) != (value != NULL) && err != BC_E_LIMIT);
	BC_BUG_ON(err == BC_OK && elements.count != json_array_size(value));
	if (json_member(text, "no such key", &found) == BC_E_NOTFOUND) {
		BC_BUG_ON(!json_is_object(json_array_get(value, 0)));
	}
	json_decref(value);
	bc_buf_release(&wrapped);
	bc_buf_release(&plain);
}

/* Of a text whose only fault are keys that occur twice: those that do not are found. */
static void check_twice(struct bc_span text)
{
	json_error_t error;
	/* Behind a number jansson would not mind a NUL. */
	bool whole = text.len > 0 && memchr(text.ptr, '\0', text.len) == NULL;
	json_t *object = whole ? json_loadb(text.ptr, text.len, JSON_DECODE_ANY, &error) : NULL;
	struct bc_span raw;
	json_t *value;
	const char *key;

	json_object_foreach(object, key, value) {
		enum bc_err err = json_member(text, key, &raw);

		BC_BUG_ON(err != BC_OK && err != BC_E_SYNTAX && err != BC_E_LIMIT);
		if (err == BC_OK) {
			json_t *found = json_loadb(raw.ptr, raw.len, JSON_DECODE_ANY, &error);

			BC_BUG_ON(!json_equal(found, value));
			json_decref(found);
		}
	}
	json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bc_span text = bc_span((const char *)data, size);
	json_t *value = json_parse(text);

	scan_anything(text);
	check_structure(text);
	check_string_put(text);
	if (json_is_object(value)) {
		check_object(text, value);
	} else if (json_is_array(value)) {
		check_array(text, value);
	}
	if (value != NULL) {
		check_canonical(value);
	} else {
		check_twice(text);
	}
	json_decref(value);
	return 0;
}
