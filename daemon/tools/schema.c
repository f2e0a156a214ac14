/*
 * Applying a schema.  One subschema is applied to one value by apply(); the checks of one kind of value are a
 * function each.  The first finding ends the check: the model corrects one thing at a time, and the text stays short.
 */
#include "daemon/tools/schema.h"

#include "daemon/tools/pattern.h"
#include "daemon/tools/value.h"
#include "proto/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SIZE 160 /* bytes of the longest path in a message, with its NUL */

struct check {
	const json_t *root;
	char *message; /* SCHEMA_MESSAGE_SIZE bytes */
	char path[PATH_SIZE];
	unsigned depth; /* of subschemas being applied */
	unsigned steps;
};

static enum bc_err apply(struct check *check, const json_t *schema, json_t *value);

/* Cut a string that snprintf() filled to its end back to whole characters. */
static void trim_character(char *text)
{
	size_t len = strlen(text);
	size_t start = len;

	while (start > 0 && ((unsigned char)text[start - 1] & 0xC0U) == 0x80U) {
		start--;
	}
	if (start > 0 && (unsigned char)text[start - 1] >= 0xC0U) {
		text[start - 1] = '\0';
	}
}

static BC_PRINTF(2, 3) enum bc_err refuse(struct check *check, const char *format, ...)
{
	int used = snprintf(check->message, SCHEMA_MESSAGE_SIZE,
			    "%s: ", check->path[0] == '\0' ? "arguments" : check->path);
	int more;
	va_list args;

	BC_BUG_ON(used < 0 || used >= SCHEMA_MESSAGE_SIZE);
	va_start(args, format);
	more = vsnprintf(check->message + used, SCHEMA_MESSAGE_SIZE - (size_t)used, format, args);
	va_end(args);
	if (more >= SCHEMA_MESSAGE_SIZE - used) {
		trim_character(check->message);
	}
	return BC_E_INVALID;
}

/* Lengthen the path by a member's name; returns its old length for path_leave(). */
static size_t path_member(struct check *check, const char *name)
{
	size_t len = strlen(check->path);
	int more = snprintf(check->path + len, PATH_SIZE - len, "%s%s", len == 0 ? "" : ".", name);

	if (more >= (int)(PATH_SIZE - len)) {
		trim_character(check->path);
	}
	return len;
}

static size_t path_index(struct check *check, size_t index)
{
	size_t len = strlen(check->path);

	(void)snprintf(check->path + len, PATH_SIZE - len, "[%zu]", index);
	return len;
}

static void path_leave(struct check *check, size_t len)
{
	check->path[len] = '\0';
}

const json_t *tool_schema_resolve(const json_t *root, const char *ref)
{
	static const char *const places[] = {"$defs", "definitions"};
	char prefix[24];
	size_t i;

	if (strcmp(ref, "#") == 0) {
		return root;
	}
	for (i = 0; i < BC_ARRAY_LEN(places); i++) {
		(void)snprintf(prefix, sizeof(prefix), "#/%s/", places[i]);
		if (strncmp(ref, prefix, strlen(prefix)) == 0) {
			return json_object_get(json_object_get(root, places[i]),
					       ref + strlen(prefix));
		}
	}
	return NULL;
}

/* "an integer", "a string or null" for the message. */
static void name_types(const json_t *type, char *out, size_t size)
{
	size_t count = json_is_array(type) ? json_array_size(type) : 1;
	size_t used = 0;
	size_t i;

	out[0] = '\0';
	for (i = 0; i < count && used < size; i++) {
		const char *name =
			json_string_value(json_is_array(type) ? json_array_get(type, i) : type);
		const char *article = "a ";

		if (strcmp(name, "null") == 0) {
			article = "";
		} else if (strchr("aeiou", name[0]) != NULL) {
			article = "an ";
		}
		used += (size_t)snprintf(out + used, size - used, "%s%s%s", i == 0 ? "" : " or ",
					 article, name);
	}
}

static enum bc_err check_type(struct check *check, const json_t *schema, const json_t *value)
{
	const json_t *type = json_object_get(schema, "type");
	char names[128];
	size_t i;

	if (type == NULL) {
		return BC_OK;
	}
	if (json_string_value(type) != NULL &&
	    tool_json_is_of_type(value, json_string_value(type))) {
		return BC_OK;
	}
	for (i = 0; i < json_array_size(type); i++) {
		if (tool_json_is_of_type(value, json_string_value(json_array_get(type, i)))) {
			return BC_OK;
		}
	}
	name_types(type, names, sizeof(names));
	return refuse(check, "must be %s", names);
}

static enum bc_err check_choice(struct check *check, const json_t *schema, const json_t *value)
{
	const json_t *only = json_object_get(schema, "const");
	const json_t *list = json_object_get(schema, "enum");
	char *text;
	size_t i;

	if (only != NULL && !tool_json_equal(only, value)) {
		text = tool_json_text(only);
		(void)refuse(check, "must be %s", text == NULL ? "another value" : text);
		free(text);
		return BC_E_INVALID;
	}
	for (i = 0; i < json_array_size(list); i++) {
		if (tool_json_equal(json_array_get(list, i), value)) {
			return BC_OK;
		}
	}
	if (list == NULL) {
		return BC_OK;
	}
	text = tool_json_text(list);
	(void)refuse(check, "must be one of %s", text == NULL ? "the declared values" : text);
	free(text);
	return BC_E_INVALID;
}

/* A bound by its keyword, as text for a message. */
static enum bc_err refuse_number(struct check *check, const char *relation, const json_t *bound)
{
	if (json_is_integer(bound)) {
		return refuse(check, "must be %s %" JSON_INTEGER_FORMAT, relation,
			      json_integer_value(bound));
	}
	return refuse(check, "must be %s %g", relation, json_number_value(bound));
}

static enum bc_err check_number(struct check *check, const json_t *schema, const json_t *value)
{
	const json_t *least = json_object_get(schema, "minimum");
	const json_t *most = json_object_get(schema, "maximum");
	const json_t *above = json_object_get(schema, "exclusiveMinimum");
	const json_t *below = json_object_get(schema, "exclusiveMaximum");
	const json_t *multiple = json_object_get(schema, "multipleOf");

	if (least != NULL && tool_json_compare(value, least) < 0) {
		return refuse_number(check, "at least", least);
	}
	if (most != NULL && tool_json_compare(value, most) > 0) {
		return refuse_number(check, "at most", most);
	}
	if (above != NULL && tool_json_compare(value, above) <= 0) {
		return refuse_number(check, "greater than", above);
	}
	if (below != NULL && tool_json_compare(value, below) >= 0) {
		return refuse_number(check, "less than", below);
	}
	if (multiple != NULL && !tool_json_is_multiple(value, multiple)) {
		return refuse_number(check, "a multiple of", multiple);
	}
	return BC_OK;
}

/* The two counting keywords of a kind of value, e.g. minItems and maxItems. */
static enum bc_err check_count(struct check *check, const json_t *schema, const char *const keys[2],
			       size_t count, const char *unit)
{
	const json_t *least = json_object_get(schema, keys[0]);
	const json_t *most = json_object_get(schema, keys[1]);

	if (least != NULL && (json_int_t)count < json_integer_value(least)) {
		return refuse(check, "must have at least %" JSON_INTEGER_FORMAT " %s",
			      json_integer_value(least), unit);
	}
	if (most != NULL && (json_int_t)count > json_integer_value(most)) {
		return refuse(check, "must have at most %" JSON_INTEGER_FORMAT " %s",
			      json_integer_value(most), unit);
	}
	return BC_OK;
}

static enum bc_err check_string(struct check *check, const json_t *schema, const json_t *value)
{
	static const char *const lengths[2] = {"minLength", "maxLength"};
	struct bc_span text = bc_span(json_string_value(value), json_string_length(value));
	const char *pattern = json_string_value(json_object_get(schema, "pattern"));
	enum bc_err err;

	err = check_count(check, schema, lengths, tool_count_characters(text), "characters");
	if (err != BC_OK || pattern == NULL) {
		return err;
	}
	err = tool_pattern_match(pattern, text);
	if (err == BC_OK || err == BC_E_NOMEM) {
		return err;
	}
	if (err == BC_E_NOTFOUND) {
		return refuse(check, "does not match %s", pattern);
	}
	return refuse(check, "could not be compared with %s", pattern);
}

/* By canonical text, so that long arrays cost no comparison of every pair. */
static enum bc_err check_unique(struct check *check, const json_t *array)
{
	json_t *seen = json_object();
	enum bc_err err = seen == NULL ? BC_E_NOMEM : BC_OK;
	size_t i;

	for (i = 0; err == BC_OK && i < json_array_size(array); i++) {
		char *text = tool_json_text(json_array_get(array, i));

		if (text != NULL && json_object_get(seen, text) != NULL) {
			err = refuse(check, "must not hold the same value twice");
		} else if (text == NULL || json_object_set_new(seen, text, json_null()) != 0) {
			err = BC_E_NOMEM;
		}
		free(text);
	}
	json_decref(seen);
	return err;
}

static enum bc_err check_array(struct check *check, const json_t *schema, json_t *array)
{
	static const char *const counts[2] = {"minItems", "maxItems"};
	const json_t *first = json_object_get(schema, "prefixItems");
	const json_t *rest = json_object_get(schema, "items");
	enum bc_err err;
	size_t i;

	err = check_count(check, schema, counts, json_array_size(array), "elements");
	for (i = 0; err == BC_OK && i < json_array_size(array); i++) {
		const json_t *element =
			i < json_array_size(first) ? json_array_get(first, i) : rest;
		size_t path_len;

		if (element != NULL) {
			path_len = path_index(check, i);
			err = apply(check, element, json_array_get(array, i));
			path_leave(check, path_len);
		}
	}
	if (err == BC_OK && json_is_true(json_object_get(schema, "uniqueItems"))) {
		err = check_unique(check, array);
	}
	return err;
}

/* The default of a property: its own, or that of the definition it refers to. */
static const json_t *find_default(const struct check *check, const json_t *property)
{
	unsigned hops;

	for (hops = 0; hops < JSON_DEPTH_MAX && property != NULL; hops++) {
		const json_t *found = json_object_get(property, "default");
		const char *ref = json_string_value(json_object_get(property, "$ref"));

		if (found != NULL || ref == NULL) {
			return found;
		}
		property = tool_schema_resolve(check->root, ref);
	}
	return NULL;
}

static enum bc_err fill_defaults(const struct check *check, const json_t *properties,
				 json_t *object)
{
	const json_t *property;
	const char *name;

	/* jansson's iteration takes no const object, and does not change it. */
	json_object_foreach((json_t *)(uintptr_t)properties, name, property) {
		const json_t *value = find_default(check, property);

		if (value != NULL && json_object_get(object, name) == NULL &&
		    json_object_set_new(object, name, json_deep_copy(value)) != 0) {
			return BC_E_NOMEM;
		}
	}
	return BC_OK;
}

static enum bc_err check_required(struct check *check, const json_t *schema, const json_t *object)
{
	const json_t *required = json_object_get(schema, "required");
	size_t i;

	for (i = 0; i < json_array_size(required); i++) {
		const char *name = json_string_value(json_array_get(required, i));

		if (json_object_get(object, name) == NULL) {
			(void)path_member(check, name);
			return refuse(check, "missing");
		}
	}
	return BC_OK;
}

static enum bc_err check_object(struct check *check, const json_t *schema, json_t *object)
{
	static const char *const counts[2] = {"minProperties", "maxProperties"};
	const json_t *properties = json_object_get(schema, "properties");
	const json_t *others = json_object_get(schema, "additionalProperties");
	enum bc_err err;
	json_t *value;
	const char *name;

	err = fill_defaults(check, properties, object);
	if (err == BC_OK) {
		err = check_required(check, schema, object);
	}
	if (err == BC_OK) {
		err = check_count(check, schema, counts, json_object_size(object), "members");
	}
	if (err != BC_OK) {
		return err;
	}
	json_object_foreach(object, name, value) {
		const json_t *property = json_object_get(properties, name);
		size_t path_len = path_member(check, name);

		if (property == NULL && json_is_false(others)) {
			return refuse(check, "no such argument");
		}
		property = property == NULL ? others : property;
		err = property == NULL ? BC_OK : apply(check, property, value);
		if (err != BC_OK) {
			return err;
		}
		path_leave(check, path_len);
	}
	return BC_OK;
}

/* Make value, of the same type, hold what copy holds: the defaults the copy was given. */
static enum bc_err adopt(json_t *value, json_t *copy)
{
	int failed = 0;

	if (json_is_object(value)) {
		failed = json_object_update(value, copy);
	} else if (json_is_array(value)) {
		failed = json_array_clear(value) != 0 || json_array_extend(value, copy) != 0;
	}
	return failed != 0 ? BC_E_NOMEM : BC_OK;
}

/*
 * Try one branch on a copy, so that a branch that does not fit leaves no defaults behind.  *ret is the copy, NULL
 * where the branch does not fit; the finding is forgotten.
 */
static enum bc_err try_branch(struct check *check, const json_t *branch, const json_t *value,
			      json_t **ret)
{
	json_t *copy = json_deep_copy(value);
	size_t path_len = strlen(check->path);
	enum bc_err err = copy == NULL ? BC_E_NOMEM : apply(check, branch, copy);

	path_leave(check, path_len);
	if (err != BC_OK) {
		json_decref(copy);
		copy = NULL;
	}
	*ret = copy;
	return err == BC_E_INVALID ? BC_OK : err;
}

/* anyOf and oneOf: how many branches fit; the first one's defaults are taken. */
static enum bc_err check_branches(struct check *check, const json_t *branches, json_t *value,
				  bool only_one)
{
	json_t *chosen = NULL;
	enum bc_err err = BC_OK;
	size_t fitting = 0;
	size_t i;

	for (i = 0; err == BC_OK && i < json_array_size(branches) && (only_one || fitting == 0);
	     i++) {
		json_t *copy = NULL;

		err = try_branch(check, json_array_get(branches, i), value, &copy);
		fitting += copy != NULL;
		if (chosen == NULL) {
			chosen = copy;
		} else {
			json_decref(copy);
		}
	}
	if (err == BC_OK && fitting == 0) {
		err = refuse(check, "fits none of the %zu forms it may have",
			     json_array_size(branches));
	} else if (err == BC_OK && only_one && fitting > 1) {
		err = refuse(check, "fits %zu forms where only one may fit", fitting);
	} else if (err == BC_OK) {
		err = adopt(value, chosen);
	}
	json_decref(chosen);
	return err;
}

static enum bc_err check_combined(struct check *check, const json_t *schema, json_t *value)
{
	const json_t *all = json_object_get(schema, "allOf");
	const json_t *any = json_object_get(schema, "anyOf");
	const json_t *one = json_object_get(schema, "oneOf");
	const json_t *none = json_object_get(schema, "not");
	json_t *copy = NULL;
	enum bc_err err = BC_OK;
	size_t i;

	for (i = 0; err == BC_OK && i < json_array_size(all); i++) {
		err = apply(check, json_array_get(all, i), value);
	}
	if (err == BC_OK && any != NULL) {
		err = check_branches(check, any, value, false);
	}
	if (err == BC_OK && one != NULL) {
		err = check_branches(check, one, value, true);
	}
	if (err == BC_OK && none != NULL) {
		err = try_branch(check, none, value, &copy);
		if (err == BC_OK && copy != NULL) {
			err = refuse(check, "has a form it must not have");
		}
		json_decref(copy);
	}
	return err;
}

/* The keywords for the value's own kind. */
static enum bc_err check_kind(struct check *check, const json_t *schema, json_t *value)
{
	if (json_is_object(value)) {
		return check_object(check, schema, value);
	}
	if (json_is_array(value)) {
		return check_array(check, schema, value);
	}
	if (json_string_value(value) != NULL) {
		return check_string(check, schema, value);
	}
	if (json_is_number(value)) {
		return check_number(check, schema, value);
	}
	return BC_OK;
}

static enum bc_err apply_all(struct check *check, const json_t *schema, json_t *value)
{
	const char *ref = json_string_value(json_object_get(schema, "$ref"));
	const json_t *target;
	enum bc_err err = BC_OK;

	if (ref != NULL) {
		target = tool_schema_resolve(check->root, ref);
		err = target == NULL ? refuse(check, "its schema is missing")
				     : apply(check, target, value);
	}
	if (err == BC_OK) {
		err = check_type(check, schema, value);
	}
	if (err == BC_OK) {
		err = check_choice(check, schema, value);
	}
	if (err == BC_OK) {
		err = check_kind(check, schema, value);
	}
	if (err == BC_OK) {
		err = check_combined(check, schema, value);
	}
	return err;
}

static enum bc_err apply(struct check *check, const json_t *schema, json_t *value)
{
	enum bc_err err;

	if (json_is_true(schema)) {
		return BC_OK;
	}
	if (json_is_false(schema)) {
		return refuse(check, "not allowed here");
	}
	if (check->depth == JSON_DEPTH_MAX) {
		return refuse(check, "nested too deep");
	}
	if (check->steps == SCHEMA_STEPS_MAX) {
		return refuse(check, "too complex to be checked");
	}
	check->steps++;
	check->depth++;
	err = apply_all(check, schema, value);
	check->depth--;
	return err;
}

enum bc_err tool_schema_apply(const json_t *schema, json_t *value,
			      char message[SCHEMA_MESSAGE_SIZE])
{
	struct check check = {.root = schema, .message = message};

	message[0] = '\0';
	return apply(&check, schema, value);
}
