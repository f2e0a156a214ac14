/* The rows of conf/options.def as data, for everything that treats all options alike. */
#ifndef BACKCHANNEL_CONFIG_SCHEMA_H
#define BACKCHANNEL_CONFIG_SCHEMA_H

#include "daemon/config/config.h"

#include <stdbool.h>
#include <stddef.h>

/* The TYPE column, as it is spelt there.  Choice lists are types of their own; they stand last. */
/* NOLINTBEGIN(readability-identifier-naming) */
enum cfg_type {
	CFG_TYPE_BOOL,
	CFG_TYPE_COUNT,
	CFG_TYPE_PORT,
	CFG_TYPE_DURATION,
	CFG_TYPE_SIZE,
	CFG_TYPE_STRING,
	CFG_TYPE_PATH,
	CFG_TYPE_URL,
	CFG_TYPE_SECRET,
	CFG_TYPE_STRINGS,
	CFG_TYPE_SCHEMA,
	CFG_TYPE_REQUEST,
	CFG_TYPE_CHOICE_log_level,
	CFG_TYPE_CHOICE_auth,
	CFG_TYPE_CHOICE_key_header,
	CFG_TYPE_CHOICE_name_clash,
	CFG_TYPE_CHOICE_effect,
	CFG_TYPE_CHOICE_disclosure,
	CFG_TYPE_CHOICE_idempotency,
	CFG_TYPE_CHOICE_result,
	CFG_TYPE_CHOICE_delivery,
	CFG_TYPE_CHOICE_barge_in,
	CFG_TYPE_CHOICE_async_results,
	CFG_TYPE_CHOICE_spec_mode,
	CFG_TYPE_CHOICE_guessing,
	CFG_TYPE_CHOICE_pass_input,
	CFG_TYPE_CHOICE_reasoner,
	CFG_TYPE_CHOICE_tokens_field,
};
/* NOLINTEND(readability-identifier-naming) */

struct cfg_option {
	const char *section;
	const char *key;
	enum cfg_type type;
	bool restart; /* a change needs a restart */
	/* as an operator would write it; NULL: may stay absent; cfg_needed: must be there */
	const char *def;
	const char *min, *max; /* as an operator would write them; "": no bound */
	const char *unit;      /* "": none */
	const char *help;
	size_t offset; /* in the section's struct */
};

struct cfg_section {
	const char *name;
	bool many; /* [[name]], else [name] */
	const char *help;
	size_t first, count; /* its rows in cfg_options[] */
	size_t size;         /* bytes of its struct */
	size_t offset; /* in struct cfg: of the struct, or of the pointer to the array of them */
	size_t count_offset; /* in struct cfg, of many: of the array's length */
};

/* The top-level key that names further files; no section, hence no row. */
#define CFG_INCLUDE_KEY "include"

/* Default of the options that have none but must be given; compared by address. */
extern const char cfg_needed[];

extern const struct cfg_option cfg_options[];
extern const size_t cfg_option_count;
extern const struct cfg_section cfg_sections[];
extern const size_t cfg_section_count;

/* NULL: there is none of that name. */
const struct cfg_section *cfg_section_find(const char *name);
const struct cfg_option *cfg_option_find(const struct cfg_section *section, const char *key);

/* "[name]" or "[[name]]" is "%s%s%s" of these. */
#define CFG_SECTION_ARG(section) \
	(section)->many ? "[[" : "[", (section)->name, (section)->many ? "]]" : "]"

static inline bool cfg_type_is_choice(enum cfg_type type)
{
	return type >= CFG_TYPE_CHOICE_log_level;
}

/* The i-th word of a choice list with its value; NULL behind the last one. */
const char *cfg_choice_word(enum cfg_type type, size_t i, int *ret_value);

#endif
