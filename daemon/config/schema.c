/*
 * conf/options.def three times: its words, its rows, and its sections with the rows that belong to them.  Everything
 * else in this room works from these tables, so that a new row needs no code unless its type is new.
 */
#include "daemon/config/schema.h"

#include <string.h>

/* A row of a list is worth its enumerator, so a row without one does not compile. */
#define WORD_log_level(id)     CFG_LOG_LEVEL_##id
#define WORD_auth(id)          CFG_AUTH_##id
#define WORD_key_header(id)    CFG_KEY_HEADER_##id
#define WORD_name_clash(id)    CFG_NAME_CLASH_##id
#define WORD_effect(id)        CFG_EFFECT_##id
#define WORD_disclosure(id)    CFG_DISCLOSURE_##id
#define WORD_idempotency(id)   CFG_IDEMPOTENCY_##id
#define WORD_result(id)        CFG_RESULT_##id
#define WORD_delivery(id)      CFG_DELIVERY_##id
#define WORD_barge_in(id)      CFG_BARGE_IN_##id
#define WORD_spec_mode(id)     CFG_SPEC_MODE_##id
#define WORD_guessing(id)      CFG_GUESSING_##id
#define WORD_pass_input(id)    CFG_PASS_INPUT_##id
#define WORD_reasoner(id)      CFG_REASONER_##id
#define WORD_tokens_field(id)  CFG_TOKENS_FIELD_##id
#define WORD_async_results(id) CFG_ASYNC_RESULTS_##id

struct word {
	enum cfg_type list;
	int value;
	const char *text;
};

static const struct word words[] = {
#define CHOICE(list, id, word) {CFG_TYPE_CHOICE_##list, (int)WORD_##list(id), word},
#define SECTION_BEGIN(id, upper, number, help)
#define OPT(section, key, type, def, min, max, unit, reload, help)
#define SECTION_END(id)
#include "conf/options.def"
};

/* Values are stored through int. */
_Static_assert(sizeof(enum cfg_effect) == sizeof(int), "enums of choices have the size of int");

const char cfg_needed[] = "";

/* Where a section's rows begin and end in the table of all rows: the second name of each pair sets the counter back,
 * so that only rows count. */
enum {
#define CHOICE(list, id, word)
#define SECTION_BEGIN(id, upper, number, help)                     FIRST_##id, FIRST_##id##_REWIND = FIRST_##id - 1,
#define OPT(section, key, type, def, min, max, unit, reload, help) ROW_##section##_##key,
#define SECTION_END(id)                                            END_##id, END_##id##_REWIND = END_##id - 1,
#include "conf/options.def"
	ROW__COUNT
};

/* What the bare words in the table's columns mean. */
#define NONE    NULL
#define NEEDED  cfg_needed
#define RELOAD  false
#define RESTART true

const struct cfg_option cfg_options[] = {
#define CHOICE(list, id, word)
#define SECTION_BEGIN(id, upper, number, help)
#define OPT(section_, key_, type_, def_, min_, max_, unit_, reload_, help_) \
	{                                                                   \
		.section = #section_,                                       \
		.key = #key_,                                               \
		.type = CFG_TYPE_##type_,                                   \
		.def = (def_),                                              \
		.min = (min_),                                              \
		.max = (max_),                                              \
		.unit = (unit_),                                            \
		.restart = (reload_),                                       \
		.help = (help_),                                            \
		.offset = offsetof(struct cfg_##section_, key_),            \
	},
#define SECTION_END(id)
#include "conf/options.def"
};

#undef NONE
#undef NEEDED
#undef RELOAD
#undef RESTART

const size_t cfg_option_count = BC_ARRAY_LEN(cfg_options);

#define IS_MANY_ONE           false
#define IS_MANY_MANY          true
#define COUNT_OFFSET_ONE(id)  0
#define COUNT_OFFSET_MANY(id) offsetof(struct cfg, id##_count)

const struct cfg_section cfg_sections[] = {
#define CHOICE(list, id, word)
#define SECTION_BEGIN(id, upper, number, help_)            \
	{                                                  \
		.name = #id,                               \
		.many = IS_MANY_##number,                  \
		.help = (help_),                           \
		.first = FIRST_##id,                       \
		.count = END_##id - FIRST_##id,            \
		.size = sizeof(struct cfg_##id),           \
		.offset = offsetof(struct cfg, id),        \
		.count_offset = COUNT_OFFSET_##number(id), \
	},
#define OPT(section, key, type, def, min, max, unit, reload, help)
#define SECTION_END(id)
#include "conf/options.def"
};

const size_t cfg_section_count = BC_ARRAY_LEN(cfg_sections);

_Static_assert(BC_ARRAY_LEN(cfg_options) == ROW__COUNT, "every row is in the table");

const struct cfg_section *cfg_section_find(const char *name)
{
	for (size_t i = 0; i < cfg_section_count; i++) {
		if (strcmp(cfg_sections[i].name, name) == 0) {
			return &cfg_sections[i];
		}
	}
	return NULL;
}

const struct cfg_option *cfg_option_find(const struct cfg_section *section, const char *key)
{
	for (size_t i = section->first; i < section->first + section->count; i++) {
		if (strcmp(cfg_options[i].key, key) == 0) {
			return &cfg_options[i];
		}
	}
	return NULL;
}

const char *cfg_choice_word(enum cfg_type type, size_t i, int *ret_value)
{
	for (size_t row = 0; row < BC_ARRAY_LEN(words); row++) {
		if (words[row].list == type && i-- == 0) {
			*ret_value = words[row].value;
			return words[row].text;
		}
	}
	return NULL;
}
