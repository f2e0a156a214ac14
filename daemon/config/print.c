/* The effective configuration as TOML that loads to the same snapshot again. */
#include "daemon/config/print.h"

#include "daemon/config/unit.h"

#include <inttypes.h>
#include <stdlib.h>

void cfg_put(struct cfg_printer *printer, const char *text)
{
	if (printer->err == BC_OK) {
		printer->err = bc_buf_put_str(printer->out, text);
	}
}

void cfg_putf(struct cfg_printer *printer, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	if (len < 0) {
		printer->err = printer->err == BC_OK ? BC_E_NOMEM : printer->err;
		return;
	}
	cfg_put(printer, text);
	free(text);
}

/* Whether text can stand between single quotes, where nothing needs escaping and JSON stays readable. */
static bool is_literal(const char *text)
{
	bool quotes = false;

	for (; *text != '\0'; text++) {
		if (*text == '\'' || (unsigned char)*text < 0x20 || *text == 0x7f) {
			return false;
		}
		quotes = quotes || *text == '"' || *text == '\\';
	}
	return quotes;
}

void cfg_put_string(struct cfg_printer *printer, const char *text)
{
	if (is_literal(text)) {
		cfg_putf(printer, "'%s'", text);
		return;
	}
	cfg_put(printer, "\"");
	while (*text != '\0') {
		size_t plain = 0;

		while ((unsigned char)text[plain] >= 0x20 && text[plain] != 0x7f &&
		       text[plain] != '"' && text[plain] != '\\') {
			plain++;
		}
		cfg_putf(printer, "%.*s", (int)plain, text);
		text += plain;
		if (*text == '"' || *text == '\\') {
			cfg_putf(printer, "\\%c", *text++);
		} else if (*text != '\0') {
			cfg_putf(printer, "\\u%04x", (unsigned)*text++);
		}
	}
	cfg_put(printer, "\"");
}

static void put_strings(struct cfg_printer *printer, const struct cfg_strings *strings)
{
	cfg_put(printer, "[");
	for (size_t i = 0; i < strings->count; i++) {
		cfg_put(printer, i == 0 ? "" : ", ");
		cfg_put_string(printer, strings->items[i]);
	}
	cfg_put(printer, "]");
}

static void put_request(struct cfg_printer *printer, const struct cfg_request *request)
{
	cfg_putf(printer, "{ method = \"%s\", url = ", request->method);
	cfg_put_string(printer, request->url);
	cfg_put(printer, request->header_count > 0 ? ", headers = { " : "");
	for (size_t i = 0; i < request->header_count; i++) {
		const struct cfg_header *header = &request->headers[i];

		cfg_put(printer, i == 0 ? "" : ", ");
		cfg_put_string(printer, header->name);
		cfg_put(printer, " = ");
		cfg_put_string(printer,
			       header->reference != NULL ? header->reference : header->value);
	}
	cfg_put(printer, request->header_count > 0 ? " }" : "");
	if (request->body != NULL) {
		cfg_put(printer, ", body = ");
		cfg_put_string(printer, request->body);
	}
	cfg_put(printer, " }");
}

/* As JSON in a string: a TOML table would have no null and would lose the order of mixed members. */
static void put_schema(struct cfg_printer *printer, const json_t *schema)
{
	char *text = json_dumps(schema, JSON_COMPACT);

	if (text == NULL) {
		printer->err = printer->err == BC_OK ? BC_E_NOMEM : printer->err;
		return;
	}
	cfg_put_string(printer, text);
	free(text);
}

static void put_choice(struct cfg_printer *printer, enum cfg_type type, int value)
{
	const char *word;
	int found;

	for (size_t i = 0; (word = cfg_choice_word(type, i, &found)) != NULL; i++) {
		if (found == value) {
			cfg_putf(printer, "\"%s\"", word);
			return;
		}
	}
	/* the snapshot holds a value that no word stands for */
	BC_BUG_ON(word == NULL);
}

/* With the largest unit that leaves a whole number. */
static void put_scalar(struct cfg_printer *printer, enum cfg_type type, const void *value)
{
	char text[CFG_UNIT_SIZE];

	if (type == CFG_TYPE_BOOL) {
		cfg_put(printer, *(const bool *)value ? "true" : "false");
	} else if (type == CFG_TYPE_PORT) {
		cfg_putf(printer, "%u", (unsigned)*(const uint16_t *)value);
	} else if (type == CFG_TYPE_DURATION) {
		cfg_format_duration(text, *(const bc_usec *)value);
		cfg_putf(printer, "\"%s\"", text);
	} else if (type == CFG_TYPE_SIZE) {
		cfg_format_size(text, *(const size_t *)value);
		cfg_putf(printer, "\"%s\"", text);
	} else {
		cfg_putf(printer, "%" PRIu64, *(const uint64_t *)value);
	}
}

/* Whether the option has a value at all. */
static bool is_present(enum cfg_type type, const void *value)
{
	switch ((int)type) {
	case CFG_TYPE_STRING:
	case CFG_TYPE_PATH:
	case CFG_TYPE_URL:
		return *(const char *const *)value != NULL;
	case CFG_TYPE_SECRET:
		return ((const struct cfg_secret *)value)->reference != NULL;
	case CFG_TYPE_STRINGS:
		return ((const struct cfg_strings *)value)->items != NULL;
	case CFG_TYPE_SCHEMA:
		return *(json_t *const *)value != NULL;
	case CFG_TYPE_REQUEST:
		return ((const struct cfg_request *)value)->method != NULL;
	default:
		return true;
	}
}

static void put_value(struct cfg_printer *printer, enum cfg_type type, const void *value)
{
	if (cfg_type_is_choice(type)) {
		put_choice(printer, type, *(const int *)value);
		return;
	}
	switch ((int)type) {
	case CFG_TYPE_STRING:
	case CFG_TYPE_PATH:
	case CFG_TYPE_URL:
		cfg_put_string(printer, *(const char *const *)value);
		break;
	case CFG_TYPE_SECRET:
		cfg_put_string(printer, ((const struct cfg_secret *)value)->reference);
		break;
	case CFG_TYPE_STRINGS:
		put_strings(printer, value);
		break;
	case CFG_TYPE_SCHEMA:
		put_schema(printer, *(json_t *const *)value);
		break;
	case CFG_TYPE_REQUEST:
		put_request(printer, value);
		break;
	default:
		put_scalar(printer, type, value);
		break;
	}
}

void cfg_put_option(struct cfg_printer *printer, const struct cfg_option *option,
		    const void *object)
{
	const char *value = (const char *)object + option->offset;

	if (is_present(option->type, value)) {
		cfg_putf(printer, "%s = ", option->key);
		put_value(printer, option->type, value);
		cfg_put(printer, "\n");
	}
}

const char *cfg_section_objects(const struct cfg *cfg, const struct cfg_section *section,
				size_t *ret_count)
{
	const char *objects = (const char *)cfg + section->offset;

	*ret_count = 1;
	if (section->many) {
		memcpy(ret_count, (const char *)cfg + section->count_offset, sizeof(*ret_count));
		memcpy(&objects, (const char *)cfg + section->offset, sizeof(objects));
	}
	return objects;
}

enum bc_err cfg_print(const struct cfg *cfg, struct bc_buf *out)
{
	struct cfg_printer printer = {.out = out};

	for (size_t i = 0; i < cfg_section_count; i++) {
		const struct cfg_section *section = &cfg_sections[i];
		size_t count;
		const char *objects = cfg_section_objects(cfg, section, &count);

		for (size_t at = 0; at < count; at++) {
			cfg_putf(&printer, "%s%s%s%s\n", bc_buf_len(out) == 0 ? "" : "\n",
				 CFG_SECTION_ARG(section));
			for (size_t row = section->first; row < section->first + section->count;
			     row++) {
				cfg_put_option(&printer, &cfg_options[row],
					       objects + at * section->size);
			}
		}
	}
	return printer.err;
}
