/* Writing TOML: values so that the reader gets back the same. */
#ifndef BACKCHANNEL_CONFIG_PRINT_H
#define BACKCHANNEL_CONFIG_PRINT_H

#include "daemon/base/buf.h"

/* A buffer with the first error of all writes to it; after an error nothing more is written. */
struct cfg_printer {
	struct bc_buf *out;
	enum bc_err err;
};

void cfg_put(struct cfg_printer *printer, const char *text);
void cfg_putf(struct cfg_printer *printer, const char *format, ...) BC_PRINTF(2, 3);

/* A string with its quotes. */
void cfg_put_string(struct cfg_printer *printer, const char *text);

#endif
