/* Reading small files whole. */
#ifndef BACKCHANNEL_CONFIG_TEXTFILE_H
#define BACKCHANNEL_CONFIG_TEXTFILE_H

#include "daemon/base/buf.h"

/*
 * Append the content of the regular file at path, as long as out's limit allows.  NULL: done; otherwise what is wrong,
 * as half a sentence ("which cannot be read: No such file or directory"), static storage; out may then hold a part.
 */
const char *cfg_textfile_read(const char *path, struct bc_buf *out);

/* NULL: path is a regular file that can be opened for reading; otherwise as above. */
const char *cfg_textfile_check(const char *path);

#endif
