/* What is wrong in a configuration: one line each, "file:line:column: what is wrong; what would be right". */
#ifndef BACKCHANNEL_CONFIG_FINDING_H
#define BACKCHANNEL_CONFIG_FINDING_H

#include "daemon/base/buf.h"
#include "daemon/config/toml.h"

#include <stdbool.h>

struct cfg_findings {
	struct bc_buf *buf;
	unsigned count; /* lines, also those that had no room */
	bool nomem;     /* memory ran out: the configuration cannot be judged */
};

/*
 * Append one finding.  The text may name keys, sections and words of choice lists; never a value that could be a
 * secret.  Lines after the first CFG_FINDINGS_MAX are only counted.
 */
void cfg_finding(struct cfg_findings *findings, const char *file, struct toml_place at,
		 const char *format, ...) BC_PRINTF(4, 5);

/* Text from a file as it may stand in a message: shortened, without control characters. */
struct cfg_quoted {
	char text[168];
};
struct cfg_quoted cfg_quoted(const char *text);

/*
 * The candidate that text was probably meant to be, by edit distance; NULL: none is near.  next(arg, i) gives the
 * i-th candidate, NULL behind the last one.
 */
const char *cfg_nearest(const char *text, const char *(*next)(const void *arg, size_t i),
			const void *arg);

#endif
