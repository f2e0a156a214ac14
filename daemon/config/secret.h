/* Secrets by reference: "file:PATH", "env:NAME", "credential:NAME". */
#ifndef BACKCHANNEL_CONFIG_SECRET_H
#define BACKCHANNEL_CONFIG_SECRET_H

#include "daemon/config/value.h"

#include <stdbool.h>

/* Whether text has the form of a reference. */
bool cfg_secret_is_reference(const char *text);

/*
 * The secret that reference names; *ret is filled on success only, otherwise there is a finding at `at` that names
 * the reference and never the content.  A file's trailing newline is dropped; a relative path is made absolute with
 * source->dir, also in ret->reference.
 */
bool cfg_secret_read(const struct cfg_source *source, const char *what, struct toml_place at,
		     const char *reference, struct cfg_secret *ret);

#endif
