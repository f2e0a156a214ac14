/*
 * Findings are for a person with an editor: place first, in the form editors jump to, then what is wrong, then what
 * would be right.
 */
#include "daemon/config/finding.h"

#include "daemon/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_LEN_MAX ((size_t)40) /* bytes; no key is longer */

void cfg_finding(struct cfg_findings *findings, const char *file, struct toml_place at,
		 const char *format, ...)
{
	char *line = NULL;
	enum bc_err err = BC_E_NOMEM;
	va_list args;
	int len;

	if (findings->count++ >= CFG_FINDINGS_MAX) {
		return;
	}
	va_start(args, format);
	len = vasprintf(&line, format, args);
	va_end(args);
	if (len >= 0) {
		err = bc_buf_printf(findings->buf, "%s:%u:%u: %s\n", file, at.line, at.column,
				    line);
		free(line);
	}
	/* a full buffer only shortens the list: the count still refuses the file */
	if (err == BC_E_NOMEM) {
		findings->nomem = true;
	}
}

struct cfg_quoted cfg_quoted(const char *text)
{
	struct cfg_quoted quoted;
	size_t len = 0;

	while (*text != '\0' && len < sizeof(quoted.text) - 4) {
		bool control = (unsigned char)*text < 0x20 || *text == 0x7f;

		quoted.text[len++] = (char)(control ? '?' : *text);
		text++;
	}
	/* not in the middle of a character: UTF-8 continuation bytes go with their first one */
	while (*text != '\0' && len > 0 && ((unsigned char)*text & 0xc0) == 0x80) {
		len--;
		text--;
	}
	memcpy(quoted.text + len, *text == '\0' ? "" : "...", *text == '\0' ? 1 : 4);
	return quoted;
}

static size_t least(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Insertions, deletions and replacements that turn a into b (Levenshtein); both at most NEAR_LEN_MAX bytes. */
static size_t distance(const char *a, const char *b)
{
	size_t row[NEAR_LEN_MAX + 1];
	size_t b_len = strlen(b);

	for (size_t j = 0; j <= b_len; j++) {
		row[j] = j;
	}
	for (size_t i = 0; a[i] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < b_len; j++) {
			size_t above = row[j + 1];

			row[j + 1] =
				least(above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1));
			diagonal = above;
		}
	}
	return row[b_len];
}

const char *cfg_nearest(const char *text, const char *(*next)(const void *arg, size_t i),
			const void *arg)
{
	size_t len = strlen(text);
	size_t best_distance = len / 3 + 2; /* farther away it is another word */
	const char *best = NULL;
	const char *candidate;

	if (len > NEAR_LEN_MAX) {
		return NULL;
	}
	for (size_t i = 0; (candidate = next(arg, i)) != NULL; i++) {
		size_t found;

		BC_BUG_ON(strlen(candidate) > NEAR_LEN_MAX);
		found = distance(text, candidate);
		if (found < best_distance && found < strlen(candidate)) {
			best_distance = found;
			best = candidate;
		}
	}
	return best;
}
