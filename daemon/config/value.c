/*
 * One reader per kind of value.  All follow one rule: the field in the snapshot is written only when the value is good,
 * so that a checker that looks at it later sees the default, or nothing, and never half of something.  What is wrong
 * is said once, here, at the place of the value; the checkers stay silent about fields they find empty.
 */
#include "daemon/config/value.h"

#include "daemon/config/request.h"
#include "daemon/config/secret.h"
#include "daemon/config/unit.h"
#include "daemon/config/url.h"

#include <inttypes.h>
#include <stdio.h>

#define ELEMENT_LEN_MAX 256 /* bytes of a string in an array */

const char *cfg_type_text(enum cfg_type type)
{
	static const char *const texts[] = {
		[CFG_TYPE_BOOL] = "true or false",
		[CFG_TYPE_COUNT] = "a whole number",
		[CFG_TYPE_PORT] = "a port number",
		[CFG_TYPE_DURATION] = "a duration such as \"500ms\", \"10s\", \"5m\" or \"1h\"",
		[CFG_TYPE_SIZE] = "a size such as \"64KiB\" or \"16MiB\", or a number of bytes",
		[CFG_TYPE_STRING] = "a string",
		[CFG_TYPE_PATH] = "a path",
		[CFG_TYPE_URL] = "a URL",
		[CFG_TYPE_SECRET] =
			"a reference: \"file:PATH\", \"env:NAME\" or \"credential:NAME\"",
		[CFG_TYPE_STRINGS] = "an array of strings",
		[CFG_TYPE_SCHEMA] = "a table, or a string that holds JSON",
		[CFG_TYPE_REQUEST] = "a table with method, url, headers and body",
	};

	return cfg_type_is_choice(type) ? "one of the words" : texts[type];
}

const char *cfg_kind_text(enum toml_kind kind)
{
	static const char *const texts[] = {
		[TOML_TABLE] = "a table",
		[TOML_ARRAY] = "an array",
		[TOML_STRING] = "a string",
		[TOML_WHOLE] = "a whole number",
		[TOML_REAL] = "a number with a fraction",
		[TOML_BOOLEAN] = "true or false",
		[TOML_OTHER] = "a date, a time or no finite number",
	};

	return texts[kind];
}

struct cfg_range_text cfg_range_text(const struct cfg_option *option)
{
	bool text = option->type == CFG_TYPE_STRING || option->type == CFG_TYPE_PATH ||
		    option->type == CFG_TYPE_URL;
	const char *of = text ? " bytes" : option->type == CFG_TYPE_STRINGS ? " elements" : "";
	struct cfg_range_text range = {""};
	int len = 0;

	if (option->min[0] != '\0' && strcmp(option->min, option->max) == 0) {
		len = snprintf(range.text, sizeof(range.text), "%s%s", option->min, of);
	} else if (option->min[0] != '\0' && option->max[0] != '\0') {
		len = snprintf(range.text, sizeof(range.text), "%s to %s%s", option->min,
			       option->max, of);
	} else if (option->min[0] != '\0') {
		len = snprintf(range.text, sizeof(range.text), "at least %s%s", option->min, of);
	} else if (option->max[0] != '\0') {
		len = snprintf(range.text, sizeof(range.text), "at most %s%s", option->max, of);
	}
	BC_BUG_ON(len < 0 || (size_t)len >= sizeof(range.text));
	return range;
}

struct cfg_words_text cfg_words_text(enum cfg_type type)
{
	struct cfg_words_text list = {""};
	size_t len = 0;
	const char *word;
	int value;

	for (size_t i = 0; (word = cfg_choice_word(type, i, &value)) != NULL; i++) {
		bool last = cfg_choice_word(type, i + 1, &value) == NULL;
		const char *join = i == 0 ? "" : last ? " or " : ", ";
		int more =
			snprintf(list.text + len, sizeof(list.text) - len, "%s\"%s\"", join, word);

		BC_BUG_ON(more < 0 || (size_t)more >= sizeof(list.text) - len);
		len += (size_t)more;
	}
	return list;
}

void *cfg_memory(const struct cfg_source *source, size_t size)
{
	void *memory = cfg_arena_alloc(source->arena, size);

	if (memory == NULL) {
		source->findings->nomem = true;
	}
	return memory;
}

const char *cfg_text_copy(const struct cfg_source *source, struct bc_span text)
{
	char *copy = cfg_arena_text(source->arena, text.ptr, text.len);

	if (copy == NULL) {
		source->findings->nomem = true;
	}
	return copy;
}

const char *cfg_path_resolve(const struct cfg_source *source, const char *path)
{
	size_t dir_len, size;
	char *joined;

	if (path[0] == '/' || source->dir == NULL) {
		return cfg_text_copy(source, bc_span_str(path));
	}
	dir_len = strlen(source->dir);
	size = dir_len + strlen(path) + 2;
	joined = cfg_memory(source, size);
	if (joined != NULL) {
		const char *slash = dir_len > 0 && source->dir[dir_len - 1] == '/' ? "" : "/";

		(void)snprintf(joined, size, "%s%s%s", source->dir, slash, path);
	}
	return joined;
}

static void wrong_kind(const struct cfg_source *source, const struct cfg_option *option,
		       const struct toml_node *node)
{
	if (cfg_type_is_choice(option->type)) {
		cfg_finding(source->findings, source->file, node->at, "\"%s\" is %s; expected %s",
			    option->key, cfg_kind_text(node->kind),
			    cfg_words_text(option->type).text);
		return;
	}
	cfg_finding(source->findings, source->file, node->at, "\"%s\" is %s; expected %s",
		    option->key, cfg_kind_text(node->kind), cfg_type_text(option->type));
}

const char *cfg_text_read(const struct cfg_source *source, const char *what,
			  const struct toml_node *node)
{
	const char *text = json_string_value(node->json);
	size_t len = json_string_length(node->json);

	if (node->kind != TOML_STRING) {
		cfg_finding(source->findings, source->file, node->at,
			    "\"%s\" is %s; expected a string", what, cfg_kind_text(node->kind));
		return NULL;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
			cfg_finding(source->findings, source->file, node->at,
				    "\"%s\" holds a control character; expected printable text",
				    what);
			return NULL;
		}
	}
	return text;
}

/* Whether number lies in the row's bounds; shown is how the operator wrote it. */
static bool in_range(const struct cfg_source *source, const struct cfg_option *option,
		     const struct toml_node *node, uint64_t number, const char *shown)
{
	uint64_t bound;

	if ((cfg_parse_scalar(option->type, bc_span_str(option->min), &bound) && number < bound) ||
	    (cfg_parse_scalar(option->type, bc_span_str(option->max), &bound) && number > bound)) {
		cfg_finding(source->findings, source->file, node->at, "\"%s\" is %s; expected %s",
			    option->key, shown, cfg_range_text(option).text);
		return false;
	}
	return true;
}

static void store_scalar(enum cfg_type type, uint64_t value, void *dest)
{
	switch ((int)type) {
	case CFG_TYPE_PORT:
		*(uint16_t *)dest = (uint16_t)value;
		break;
	case CFG_TYPE_DURATION:
		*(bc_usec *)dest = (bc_usec)value;
		break;
	case CFG_TYPE_SIZE:
		*(size_t *)dest = (size_t)value;
		break;
	default:
		*(uint64_t *)dest = value;
		break;
	}
}

static void read_scalar(const struct cfg_source *source, const struct cfg_option *option,
			const struct toml_node *node, void *dest)
{
	bool has_unit = option->type == CFG_TYPE_DURATION || option->type == CFG_TYPE_SIZE;
	json_int_t whole = json_integer_value(node->json);
	char shown[CFG_UNIT_SIZE + 2];
	uint64_t value;

	if (node->kind == TOML_WHOLE && option->type != CFG_TYPE_DURATION) {
		(void)snprintf(shown, sizeof(shown), "%" JSON_INTEGER_FORMAT, whole);
		if (whole < 0) {
			cfg_finding(source->findings, source->file, node->at,
				    "\"%s\" is %s; expected %s", option->key, shown,
				    cfg_range_text(option).text);
			return;
		}
		value = (uint64_t)whole;
		if (in_range(source, option, node, value, shown)) {
			store_scalar(option->type, value, dest);
		}
		return;
	}
	if (node->kind != TOML_STRING || !has_unit) {
		wrong_kind(source, option, node);
		return;
	}
	if (!cfg_parse_scalar(option->type, bc_span_str(json_string_value(node->json)), &value)) {
		cfg_finding(source->findings, source->file, node->at,
			    "\"%s\" is \"%s\"; expected %s", option->key,
			    cfg_quoted(json_string_value(node->json)).text,
			    cfg_type_text(option->type));
		return;
	}
	(void)snprintf(shown, sizeof(shown), "\"%s\"", json_string_value(node->json));
	if (in_range(source, option, node, value, shown)) {
		store_scalar(option->type, value, dest);
	}
}

/* Whether len, of a string or an array, lies in the row's bounds. */
static bool len_in_range(const struct cfg_source *source, const struct cfg_option *option,
			 const struct toml_node *node, size_t len)
{
	uint64_t bound;

	if ((cfg_parse_count(bc_span_str(option->min), &bound) && len < bound) ||
	    (cfg_parse_count(bc_span_str(option->max), &bound) && len > bound)) {
		cfg_finding(source->findings, source->file, node->at,
			    "\"%s\" has %zu %s; expected %s", option->key, len,
			    option->type == CFG_TYPE_STRINGS ? "elements" : "bytes",
			    cfg_range_text(option).text);
		return false;
	}
	return true;
}

static void read_string(const struct cfg_source *source, const struct cfg_option *option,
			const struct toml_node *node, const char **dest)
{
	const char *text = cfg_text_read(source, option->key, node);
	struct cfg_url url;
	const char *wrong;

	if (text == NULL || !len_in_range(source, option, node, strlen(text))) {
		return;
	}
	if (option->type == CFG_TYPE_PATH) {
		if (text[0] == '\0') {
			cfg_finding(source->findings, source->file, node->at,
				    "\"%s\" is empty; expected a path", option->key);
			return;
		}
		*dest = cfg_path_resolve(source, text);
		return;
	}
	wrong = option->type == CFG_TYPE_URL ? cfg_url_split(text, &url) : NULL;
	if (wrong != NULL) {
		cfg_finding(source->findings, source->file, node->at,
			    "\"%s\" is no usable URL: %s; expected scheme://host[:port]/path",
			    option->key, wrong);
		return;
	}
	*dest = cfg_text_copy(source, bc_span_str(text));
}

static void read_secret(const struct cfg_source *source, const struct cfg_option *option,
			const struct toml_node *node, struct cfg_secret *dest)
{
	const char *text;

	if (node->kind != TOML_STRING) {
		wrong_kind(source, option, node);
		return;
	}
	text = cfg_text_read(source, option->key, node);
	if (text != NULL) {
		(void)cfg_secret_read(source, option->key, node->at, text, dest);
	}
}

static void read_strings(const struct cfg_source *source, const struct cfg_option *option,
			 const struct toml_node *node, struct cfg_strings *dest)
{
	const char **items;

	if (node->kind != TOML_ARRAY) {
		wrong_kind(source, option, node);
		return;
	}
	if (!len_in_range(source, option, node, node->count)) {
		return;
	}
	/* one more, so that an empty array differs from an absent one */
	items = cfg_memory(source, (node->count + 1) * sizeof(*items));
	if (items == NULL) {
		return;
	}
	for (size_t i = 0; i < node->count; i++) {
		const struct toml_node *element = &node->children[i];
		const char *text = cfg_text_read(source, option->key, element);

		if (text == NULL) {
			return;
		}
		if (text[0] == '\0' || strlen(text) > ELEMENT_LEN_MAX) {
			cfg_finding(source->findings, source->file, element->at,
				    "an element of \"%s\" has %zu bytes; expected 1 to %d bytes",
				    option->key, strlen(text), ELEMENT_LEN_MAX);
			return;
		}
		items[i] = cfg_text_copy(source, bc_span_str(text));
	}
	*dest = (struct cfg_strings){.items = items, .count = node->count};
}

static void read_schema(const struct cfg_source *source, const struct cfg_option *option,
			const struct toml_node *node, json_t **dest)
{
	json_error_t error;
	json_t *json;

	if (node->kind == TOML_TABLE) {
		json = json_incref(node->json);
	} else if (node->kind == TOML_STRING) {
		json = json_loads(json_string_value(node->json), JSON_REJECT_DUPLICATES, &error);
		if (!json_is_object(json)) {
			cfg_finding(
				source->findings, source->file, node->at,
				"\"%s\" holds no JSON object (line %d of the text); expected %s",
				option->key, json == NULL ? error.line : 1,
				cfg_type_text(option->type));
			json_decref(json);
			return;
		}
	} else {
		wrong_kind(source, option, node);
		return;
	}
	json = cfg_arena_json(source->arena, json);
	if (json == NULL) {
		source->findings->nomem = true;
		return;
	}
	*dest = json;
}

static void read_choice(const struct cfg_source *source, const struct cfg_option *option,
			const struct toml_node *node, int *dest)
{
	const char *word;
	int value;

	if (node->kind != TOML_STRING) {
		wrong_kind(source, option, node);
		return;
	}
	for (size_t i = 0; (word = cfg_choice_word(option->type, i, &value)) != NULL; i++) {
		if (strcmp(word, json_string_value(node->json)) == 0) {
			*dest = value;
			return;
		}
	}
	cfg_finding(source->findings, source->file, node->at, "\"%s\" is \"%s\"; expected %s",
		    option->key, cfg_quoted(json_string_value(node->json)).text,
		    cfg_words_text(option->type).text);
}

static void read_bool(const struct cfg_source *source, const struct cfg_option *option,
		      const struct toml_node *node, bool *dest)
{
	if (node->kind != TOML_BOOLEAN) {
		wrong_kind(source, option, node);
		return;
	}
	*dest = json_is_true(node->json);
}

void cfg_value_read(const struct cfg_source *source, const struct cfg_option *option,
		    const struct toml_node *node, void *dest)
{
	if (cfg_type_is_choice(option->type)) {
		read_choice(source, option, node, dest);
		return;
	}
	/* the choices were dealt with above */
	switch ((int)option->type) {
	case CFG_TYPE_BOOL:
		read_bool(source, option, node, dest);
		break;
	case CFG_TYPE_STRING:
	case CFG_TYPE_PATH:
	case CFG_TYPE_URL:
		read_string(source, option, node, dest);
		break;
	case CFG_TYPE_SECRET:
		read_secret(source, option, node, dest);
		break;
	case CFG_TYPE_STRINGS:
		read_strings(source, option, node, dest);
		break;
	case CFG_TYPE_SCHEMA:
		read_schema(source, option, node, dest);
		break;
	case CFG_TYPE_REQUEST:
		cfg_request_read(source, option, node, dest);
		break;
	default:
		read_scalar(source, option, node, dest);
		break;
	}
}

static void default_choice(const struct cfg_option *option, int *dest)
{
	const char *word;
	int value;

	for (size_t i = 0; (word = cfg_choice_word(option->type, i, &value)) != NULL; i++) {
		if (strcmp(word, option->def) == 0) {
			*dest = value;
			return;
		}
	}
	/* the default is none of its list's words */
	BC_BUG_ON(word == NULL);
}

void cfg_value_default(const struct cfg_option *option, void *dest)
{
	uint64_t value;

	if (cfg_type_is_choice(option->type)) {
		default_choice(option, dest);
		return;
	}
	switch ((int)option->type) {
	case CFG_TYPE_BOOL:
		*(bool *)dest = strcmp(option->def, "true") == 0;
		break;
	case CFG_TYPE_STRING:
	case CFG_TYPE_PATH:
	case CFG_TYPE_URL:
		*(const char **)dest = option->def;
		break;
	default:
		BC_BUG_ON(!cfg_parse_scalar(option->type, bc_span_str(option->def), &value));
		store_scalar(option->type, value, dest);
		break;
	}
}
