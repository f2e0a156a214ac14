/* Numbers as an operator writes them: "64", "10s", "64KiB". */
#ifndef BACKCHANNEL_CONFIG_UNIT_H
#define BACKCHANNEL_CONFIG_UNIT_H

#include "daemon/base/clock.h"
#include "daemon/base/span.h"
#include "daemon/config/schema.h"

#include <stdbool.h>
#include <stdint.h>

/* Digits only, at most UINT64_MAX. */
bool cfg_parse_count(struct bc_span text, uint64_t *ret);

/* A whole number and one of ms, s, m, h; at most CFG_DURATION_MAX. */
#define CFG_DURATION_MAX ((uint64_t)INT64_MAX)
bool cfg_parse_duration(struct bc_span text, bc_usec *ret);

/* A whole number and one of B, KiB, MiB, GiB, or nothing for bytes; at most SIZE_MAX / 2. */
bool cfg_parse_size(struct bc_span text, size_t *ret);

/* The longest text of the two below, with NUL. */
#define CFG_UNIT_SIZE 32

/* The shortest way to write a value that the parser reads back as the same; value >= 0, whole milliseconds. */
void cfg_format_duration(char text[CFG_UNIT_SIZE], bc_usec value);
void cfg_format_size(char text[CFG_UNIT_SIZE], size_t value);

/* A number, duration or size of type, as one scale for comparing with bounds; false: not of that form. */
bool cfg_parse_scalar(enum cfg_type type, struct bc_span text, uint64_t *ret);

#endif
