/* The JSON scanner and splicer on an arbitrary event; where jansson can read it, both must agree. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bc_span text = bc_span((const char *)data, size);
	json_t *value = json_parse(text);

	scan_anything(text);
	check_string_put(text);
	if (json_is_object(value)) {
		check_object(text, value);
	} else if (json_is_array(value)) {
		check_array(text, value);
	}
	if (value != NULL) {
		check_canonical(value);
	}
	json_decref(value);
	return 0;
}
