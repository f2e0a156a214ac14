/* Writing TOML: values so that the reader gets back the same. */
#ifndef BACKCHANNEL_CONFIG_PRINT_H
#define BACKCHANNEL_CONFIG_PRINT_H

#include "daemon/base/buf.h"
#include "daemon/config/schema.h"

/* A buffer with the first error of all writes to it; after an error nothing more is written. */
struct cfg_printer {
	struct bc_buf *out;
	enum bc_err err;
};

void cfg_put(struct cfg_printer *printer, const char *text);
void cfg_putf(struct cfg_printer *printer, const char *format, ...) BC_PRINTF(2, 3);

/* A string with its quotes. */
void cfg_put_string(struct cfg_printer *printer, const char *text);

/* "key = value" and a newline for an option of a section's struct; nothing if the option is absent. */
void cfg_put_option(struct cfg_printer *printer, const struct cfg_option *option,
		    const void *object);

/* The section's structs in a snapshot, one behind the other; *ret_count is how many. */
const char *cfg_section_objects(const struct cfg *cfg, const struct cfg_section *section,
				size_t *ret_count);

#endif
