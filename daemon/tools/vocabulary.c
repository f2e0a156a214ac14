/*
 * The schema keywords we understand, and the check that a schema uses no others: a keyword that was silently ignored
 * would let arguments through that the operator believes impossible.
 */
#include "daemon/tools/pattern.h"
#include "daemon/tools/schema.h"
#include "daemon/tools/tool.h"
#include "proto/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATH_SIZE 256 /* bytes of the longest place in a message, with its NUL */

/* What the value of a keyword must be. */
enum shape {
	SHAPE_ANY,     /* any value */
	SHAPE_NOTE,    /* any value: an annotation, ignored */
	SHAPE_TYPE,    /* the name of a type, or an array of them */
	SHAPE_SCHEMA,  /* a subschema */
	SHAPE_SCHEMAS, /* a non-empty array of subschemas */
	SHAPE_MAP,     /* an object of subschemas */
	SHAPE_NAMES,   /* an array of strings */
	SHAPE_VALUES,  /* a non-empty array */
	SHAPE_NUMBER,
	SHAPE_POSITIVE, /* a number greater than 0 */
	SHAPE_COUNT,    /* a whole number, 0 or more */
	SHAPE_BOOL,
	SHAPE_PATTERN,
	SHAPE_REF
};

struct keyword {
	const char *name;
	enum shape shape;
};

static const struct keyword keywords[] = {
	{"type", SHAPE_TYPE},
	{"properties", SHAPE_MAP},
	{"required", SHAPE_NAMES},
	{"additionalProperties", SHAPE_SCHEMA},
	{"enum", SHAPE_VALUES},
	{"const", SHAPE_ANY},
	{"default", SHAPE_ANY},
	{"minimum", SHAPE_NUMBER},
	{"maximum", SHAPE_NUMBER},
	{"exclusiveMinimum", SHAPE_NUMBER},
	{"exclusiveMaximum", SHAPE_NUMBER},
	{"multipleOf", SHAPE_POSITIVE},
	{"minLength", SHAPE_COUNT},
	{"maxLength", SHAPE_COUNT},
	{"pattern", SHAPE_PATTERN},
	{"items", SHAPE_SCHEMA},
	{"prefixItems", SHAPE_SCHEMAS},
	{"minItems", SHAPE_COUNT},
	{"maxItems", SHAPE_COUNT},
	{"uniqueItems", SHAPE_BOOL},
	{"minProperties", SHAPE_COUNT},
	{"maxProperties", SHAPE_COUNT},
	{"anyOf", SHAPE_SCHEMAS},
	{"oneOf", SHAPE_SCHEMAS},
	{"allOf", SHAPE_SCHEMAS},
	{"not", SHAPE_SCHEMA},
	{"$ref", SHAPE_REF},
	{"$defs", SHAPE_MAP},
	{"definitions", SHAPE_MAP},
	{"format", SHAPE_NOTE},
	{"title", SHAPE_NOTE},
	{"description", SHAPE_NOTE},
	{"examples", SHAPE_NOTE},
	{"$schema", SHAPE_NOTE},
	{"$comment", SHAPE_NOTE},
	{"deprecated", SHAPE_NOTE},
	{"readOnly", SHAPE_NOTE},
	{"writeOnly", SHAPE_NOTE},
};

struct walk {
	const json_t *root;
	struct bc_buf *message;
	char path[PATH_SIZE]; /* of the place looked at, "/properties/city" */
	unsigned depth;
};

static enum bc_err walk_schema(struct walk *walk, const json_t *schema);

static BC_PRINTF(2, 3) enum bc_err refuse(struct walk *walk, const char *format, ...)
{
	char text[SCHEMA_MESSAGE_SIZE];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (bc_buf_printf(walk->message, "%s: %s", walk->path[0] == '\0' ? "/" : walk->path,
			  text) != BC_OK) {
		bc_buf_clear(walk->message); /* half a sentence would be worse than none */
	}
	return BC_E_INVALID;
}

static size_t enter(struct walk *walk, const char *step)
{
	size_t len = strlen(walk->path);

	(void)snprintf(walk->path + len, PATH_SIZE - len, "/%s", step);
	return len;
}

static bool is_type_name(const json_t *value)
{
	static const char *const names[] = {"object",  "array",   "string", "number",
					    "integer", "boolean", "null"};
	const char *name = json_string_value(value);
	size_t i;

	for (i = 0; name != NULL && i < BC_ARRAY_LEN(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			return true;
		}
	}
	return false;
}

static enum bc_err walk_type(struct walk *walk, const json_t *value)
{
	bool known = is_type_name(value);
	size_t i;

	if (json_is_array(value)) {
		known = json_array_size(value) > 0;
	}
	for (i = 0; i < json_array_size(value); i++) {
		known = known && is_type_name(json_array_get(value, i));
	}
	if (!known) {
		return refuse(
			walk,
			"must be object, array, string, number, integer, boolean or null, or an array of these");
	}
	return BC_OK;
}

static enum bc_err walk_schemas(struct walk *walk, const json_t *array)
{
	enum bc_err err = BC_OK;
	char step[24];
	size_t i;

	if (json_array_size(array) == 0) {
		return refuse(walk, "must be an array of schemas");
	}
	for (i = 0; err == BC_OK && i < json_array_size(array); i++) {
		size_t len;

		(void)snprintf(step, sizeof(step), "%zu", i);
		len = enter(walk, step);
		err = walk_schema(walk, json_array_get(array, i));
		walk->path[len] = '\0';
	}
	return err;
}

static enum bc_err walk_map(struct walk *walk, const json_t *map)
{
	const json_t *schema;
	const char *name;

	if (!json_is_object(map)) {
		return refuse(walk, "must be a table of schemas");
	}
	/* jansson's iteration takes no const object, and does not change it. */
	json_object_foreach((json_t *)(uintptr_t)map, name, schema) {
		size_t len = enter(walk, name);
		enum bc_err err = walk_schema(walk, schema);

		if (err != BC_OK) {
			return err;
		}
		walk->path[len] = '\0';
	}
	return BC_OK;
}

static enum bc_err walk_names(struct walk *walk, const json_t *array)
{
	size_t i;

	for (i = 0; i < json_array_size(array); i++) {
		if (json_string_value(json_array_get(array, i)) == NULL) {
			return refuse(walk, "must be an array of names");
		}
	}
	return json_is_array(array) ? BC_OK : refuse(walk, "must be an array of names");
}

static enum bc_err walk_pattern(struct walk *walk, const json_t *value)
{
	const char *pattern = json_string_value(value);
	char reason[160];
	enum bc_err err;

	if (pattern == NULL) {
		return refuse(walk, "must be a regular expression");
	}
	err = tool_pattern_check(pattern, reason, sizeof(reason));
	return err == BC_E_INVALID ? refuse(walk, "%s", reason) : err;
}

/* A reference must lead to a schema, also through other references; one that leads back to itself says nothing. */
static enum bc_err walk_ref(struct walk *walk, const json_t *value)
{
	const char *ref = json_string_value(value);
	unsigned hops;

	if (ref == NULL) {
		return refuse(walk, "must be a reference");
	}
	for (hops = 0; hops < JSON_DEPTH_MAX; hops++) {
		const json_t *target = tool_schema_resolve(walk->root, ref);

		if (target == NULL) {
			return refuse(
				walk,
				"no schema \"%s\" here; only \"#\" and \"#/$defs/<name>\" can be referred to",
				ref);
		}
		ref = json_string_value(json_object_get(target, "$ref"));
		if (ref == NULL) {
			return BC_OK;
		}
	}
	return refuse(walk, "refers to itself");
}

static enum bc_err walk_number(struct walk *walk, enum shape shape, const json_t *value)
{
	if (!json_is_number(value)) {
		return refuse(walk, "must be a number");
	}
	if (shape == SHAPE_POSITIVE && json_number_value(value) <= 0) {
		return refuse(walk, "must be greater than 0");
	}
	if (shape == SHAPE_COUNT && (!json_is_integer(value) || json_integer_value(value) < 0)) {
		return refuse(walk, "must be a whole number, 0 or more");
	}
	return BC_OK;
}

static enum bc_err walk_value(struct walk *walk, enum shape shape, const json_t *value)
{
	switch (shape) {
	case SHAPE_ANY:
	case SHAPE_NOTE:
		return BC_OK;
	case SHAPE_TYPE:
		return walk_type(walk, value);
	case SHAPE_SCHEMA:
		return walk_schema(walk, value);
	case SHAPE_SCHEMAS:
		return walk_schemas(walk, value);
	case SHAPE_MAP:
		return walk_map(walk, value);
	case SHAPE_NAMES:
		return walk_names(walk, value);
	case SHAPE_VALUES:
		return json_array_size(value) > 0 ? BC_OK
						  : refuse(walk, "must be an array of values");
	case SHAPE_NUMBER:
	case SHAPE_POSITIVE:
	case SHAPE_COUNT:
		return walk_number(walk, shape, value);
	case SHAPE_BOOL:
		return json_is_boolean(value) ? BC_OK : refuse(walk, "must be true or false");
	case SHAPE_PATTERN:
		return walk_pattern(walk, value);
	case SHAPE_REF:
		return walk_ref(walk, value);
	}
	return BC_E_INVALID;
}

static const struct keyword *find_keyword(const char *name)
{
	size_t i;

	for (i = 0; i < BC_ARRAY_LEN(keywords); i++) {
		if (strcmp(keywords[i].name, name) == 0) {
			return &keywords[i];
		}
	}
	return NULL;
}

static enum bc_err walk_schema(struct walk *walk, const json_t *schema)
{
	const json_t *value;
	const char *name;

	if (json_is_boolean(schema)) {
		return BC_OK;
	}
	if (!json_is_object(schema)) {
		return refuse(walk, "must be a schema");
	}
	if (walk->depth == JSON_DEPTH_MAX) {
		return refuse(walk, "nested too deep");
	}
	walk->depth++;
	json_object_foreach((json_t *)(uintptr_t)schema, name, value) {
		const struct keyword *keyword = find_keyword(name);
		size_t len = enter(walk, name);
		enum bc_err err = keyword == NULL ? refuse(walk, "keyword not supported")
						  : walk_value(walk, keyword->shape, value);

		if (err != BC_OK) {
			return err;
		}
		walk->path[len] = '\0';
	}
	walk->depth--;
	return BC_OK;
}

enum bc_err tool_schema_check(const json_t *schema, struct bc_buf *reterr_message)
{
	struct walk walk = {.root = schema, .message = reterr_message};
	const char *type = json_string_value(json_object_get(schema, "type"));

	if (type == NULL || strcmp(type, "object") != 0) {
		return refuse(&walk, "must be a schema of type \"object\"");
	}
	return walk_schema(&walk, schema);
}
