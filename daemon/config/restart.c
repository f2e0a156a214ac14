/* Which options a reload leaves as they are.  Values are compared as they would be printed. */
#include "daemon/config/print.h"

#define VALUE_MAX     \
	((size_t)64 * \
	 1024) /* bytes of one option, printed; the longest are strings of at most 8 KiB */

/* Whether an option is the same in two structs of its section. */
static bool is_same(const struct cfg_option *option, const char *a, const char *b, enum bc_err *err)
{
	struct bc_buf text_a, text_b;
	struct cfg_printer printer_a = {.out = &text_a}, printer_b = {.out = &text_b};
	bool same;

	bc_buf_init(&text_a, VALUE_MAX);
	bc_buf_init(&text_b, VALUE_MAX);
	cfg_put_option(&printer_a, option, a);
	cfg_put_option(&printer_b, option, b);
	*err = printer_a.err != BC_OK ? printer_a.err : printer_b.err;
	same = bc_span_eq(bc_buf_span(&text_a), bc_buf_span(&text_b));
	bc_buf_release(&text_a);
	bc_buf_release(&text_b);
	return same;
}

static void name(struct cfg_printer *printer, size_t *named, const char *section, const char *key)
{
	cfg_putf(printer, "%s%s%s%s", (*named)++ > 0 ? ", " : "", section, key == NULL ? "" : ".",
		 key == NULL ? "" : key);
}

/* Whether any of a section's options needs a restart: then so does another number of such sections. */
static bool has_restart(const struct cfg_section *section)
{
	for (size_t row = section->first; row < section->first + section->count; row++) {
		if (cfg_options[row].restart) {
			return true;
		}
	}
	return false;
}

static void compare_one(struct cfg_printer *printer, size_t *named,
			const struct cfg_section *section, const char *a, const char *b)
{
	for (size_t row = section->first; row < section->first + section->count; row++) {
		const struct cfg_option *option = &cfg_options[row];

		if (option->restart && printer->err == BC_OK &&
		    !is_same(option, a, b, &printer->err)) {
			name(printer, named, section->name, option->key);
		}
	}
}

/* Whether two lists of sections differ in what needs a restart. */
static bool lists_differ(const struct cfg_section *section, const char *a, const char *b,
			 size_t count, enum bc_err *err)
{
	for (size_t at = 0; at < count; at++) {
		for (size_t row = section->first; row < section->first + section->count; row++) {
			size_t offset = at * section->size;

			if (cfg_options[row].restart &&
			    !is_same(&cfg_options[row], a + offset, b + offset, err)) {
				return true;
			}
			if (*err != BC_OK) {
				return false;
			}
		}
	}
	return false;
}

enum bc_err cfg_restart_needed(const struct cfg *running, const struct cfg *loaded,
			       struct bc_buf *out)
{
	struct cfg_printer printer = {.out = out};
	size_t named = 0;

	for (size_t i = 0; i < cfg_section_count && printer.err == BC_OK; i++) {
		const struct cfg_section *section = &cfg_sections[i];
		size_t count, loaded_count;
		const char *a = cfg_section_objects(running, section, &count);
		const char *b = cfg_section_objects(loaded, section, &loaded_count);

		if (!section->many) {
			compare_one(&printer, &named, section, a, b);
		} else if (has_restart(section) &&
			   (count != loaded_count ||
			    lists_differ(section, a, b, count, &printer.err))) {
			name(&printer, &named, section->name, /* key= */ NULL);
		}
	}
	return printer.err;
}
