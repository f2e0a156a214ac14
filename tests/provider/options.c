#include "tests/provider/options.h"

#include "daemon/base/bug.h"
#include "daemon/base/span.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REAL_MAX 1e9

static const char *const behaviour_names[] = {"prompted", "proactive", "turn-based"};
static const char *const rule_names[] = {"word", "clause"};
static const char *const prepare_names[] = {"agree", "history", "none"};

const char *behaviour_name(enum behaviour behaviour)
{
	return behaviour_names[behaviour];
}

static bool number_read(const char *text, unsigned max, unsigned *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	*ret = (unsigned)value;
	return end != text && *end == '\0' && value <= max;
}

static bool real_read(const char *text, double max, double *ret)
{
	char *end;

	*ret = strtod(text, &end);
	return end != text && *end == '\0' && *ret >= 0.0 && *ret <= max;
}

/* Which of n words a text is; false if none. */
static bool word_read(const char *text, const char *const *words, size_t n, unsigned *ret)
{
	for (unsigned i = 0; i < n; i++) {
		if (strcmp(text, words[i]) == 0) {
			*ret = i;
			return true;
		}
	}
	return false;
}

/* ---- kinds of options: each puts a value into its member ---- */

static bool text_take(void *to, const char *value, char **argv)
{
	(void)argv;
	*(const char **)to = value;
	return true;
}

/* This word of argv and those behind it that are no options. */
static bool files_take(void *to, const char *value, char **argv)
{
	struct option_files *files = to;

	if (argv[optind - 1] != value) {
		/* --option=FILE */
		files->names[files->n] = value;
		return ++files->n < OPTION_FILES_MAX;
	}
	for (optind--; argv[optind] != NULL && argv[optind][0] != '-'; optind++) {
		if (files->n == OPTION_FILES_MAX) {
			return false;
		}
		files->names[files->n++] = argv[optind];
	}
	return true;
}

static bool port_take(void *to, const char *value, char **argv)
{
	(void)argv;
	value += strncmp(value, "127.0.0.1:", 10) == 0 ? 10 : 0;
	return number_read(value, UINT16_MAX, to);
}

static bool number_take(void *to, const char *value, char **argv)
{
	(void)argv;
	return number_read(value, UINT32_MAX, to);
}

static bool seed_take(void *to, const char *value, char **argv)
{
	char *end;

	(void)argv;
	*(uint64_t *)to = strtoull(value, &end, 10);
	return end != value && *end == '\0';
}

static bool real_take(void *to, const char *value, char **argv)
{
	(void)argv;
	return real_read(value, REAL_MAX, to);
}

static bool positive_take(void *to, const char *value, char **argv)
{
	(void)argv;
	return real_read(value, REAL_MAX, to) && *(double *)to > 0.0;
}

static bool rate_take(void *to, const char *value, char **argv)
{
	(void)argv;
	return real_read(value, 1.0, to);
}

static bool ms_take(void *to, const char *value, char **argv)
{
	bool taken = real_take(to, value, argv);

	*(double *)to /= 1000.0;
	return taken;
}

static bool flag_take(void *to, const char *value, char **argv)
{
	(void)value;
	(void)argv;
	*(bool *)to = true;
	return true;
}

static bool behaviour_take(void *to, const char *value, char **argv)
{
	unsigned choice = 0;
	bool taken = word_read(value, behaviour_names, BC_ARRAY_LEN(behaviour_names), &choice);

	(void)argv;
	*(enum behaviour *)to = (enum behaviour)choice;
	return taken;
}

static bool rule_take(void *to, const char *value, char **argv)
{
	unsigned choice = 0;
	bool taken = word_read(value, rule_names, BC_ARRAY_LEN(rule_names), &choice);

	(void)argv;
	*(bool *)to = choice == 1;
	return taken;
}

static bool prepare_take(void *to, const char *value, char **argv)
{
	unsigned choice = 0;
	bool taken = word_read(value, prepare_names, BC_ARRAY_LEN(prepare_names), &choice);

	(void)argv;
	*(enum prepare *)to = (enum prepare)choice;
	return taken;
}

static const struct row {
	const char *name;
	size_t offset;
	bool (*take)(void *to, const char *value, char **argv);
	const char *value;
	const char *help;
} rows[] = {
#define OPT(kind, name, member, value, help) \
	{name, offsetof(struct options, member), kind##_take, value, help},
#include "tests/provider/options.def"
#undef OPT
};

#define ROWS BC_ARRAY_LEN(rows)

static bool row_take(const struct row *row, struct options *options, char **argv)
{
	return row->take((char *)options + row->offset, optarg, argv);
}

bool options_parse(int argc, char **argv, struct options *ret)
{
	struct option table[ROWS + 1] = {0};
	struct options options = {.profile = "gpt-realtime",
				  .timing = "tests/provider/timing.json",
				  .seed = 1,
				  .scale = 1.0,
				  .rtt = -1.0,
				  .asr_lag = -1.0,
				  .clause = true,
				  .eagerness = -1.0,
				  .early_wrong = -1.0,
				  .premature = -1.0,
				  .disagree = -1.0,
				  .applies_repair = 1.0,
				  .asides = 2};
	int found;

	for (size_t i = 0; i < ROWS; i++) {
		table[i] = (struct option){.name = rows[i].name,
					   .has_arg = rows[i].take == flag_take ? no_argument
										: required_argument,
					   .val = (int)i + 256};
	}
	/* "+": files behind the first one are taken by their option. */
	while ((found = getopt_long(argc, argv, "+", table, NULL)) != -1) {
		if (found < 256 || !row_take(&rows[found - 256], &options, argv)) {
			return false;
		}
	}
	*ret = options;
	return optind == argc && (options.cert == NULL) == (options.key_file == NULL) &&
	       options.asides > 0;
}

static void fill(double *option, double otherwise)
{
	*option = *option < 0.0 ? otherwise : *option;
}

void options_complete(struct options *options, const struct timing *timing)
{
	bool unasked = options->behaviour == BEHAVIOUR_PROACTIVE;

	fill(&options->rtt, timing->rtt_provider);
	fill(&options->asr_lag, timing->asr_lag);
	fill(&options->eagerness, unasked ? timing->eagerness : 1.0);
	fill(&options->early_wrong, timing->early_call_wrong);
	fill(&options->premature, timing->premature_guess);
	fill(&options->disagree, timing->pass_disagrees);
}

void options_help(void)
{
	printf("usage: simprovider [OPTION]...\n");
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].help[0] != '\0') {
			printf("  --%s%s%s\n        %s\n", rows[i].name,
			       rows[i].value[0] == '\0' ? "" : " ", rows[i].value, rows[i].help);
		}
	}
}
