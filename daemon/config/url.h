/* The parts of a URL that a configuration is checked for. */
#ifndef BACKCHANNEL_CONFIG_URL_H
#define BACKCHANNEL_CONFIG_URL_H

#include "daemon/base/span.h"

struct cfg_url {
	struct bc_span scheme; /* "https" */
	struct bc_span host;   /* without brackets */
	struct bc_span rest;   /* path and query, may be empty */
};

/*
 * Split scheme://host[:port][/path][?query]; the spans point into text.  NULL: all is well; otherwise what is wrong,
 * static storage.  User names and fragments are refused, and templates in front of the path: a model must not choose
 * the server.
 * Source: RFC 3986 section 3.
 */
const char *cfg_url_split(const char *text, struct cfg_url *ret);

#endif
