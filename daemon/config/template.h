/* The placeholders of request templates, as far as the configuration is checked for them. */
#ifndef BACKCHANNEL_CONFIG_TEMPLATE_H
#define BACKCHANNEL_CONFIG_TEMPLATE_H

#include "daemon/base/span.h"

#include <stdbool.h>

/*
 * The next placeholder at or behind *at: *ret is what stands between its braces and *at moves behind it; false: there
 * is none.  A placeholder is {*} or {name}, {name.name}, {name[0]}; other braces are just text, so those of a JSON body
 * need no escaping.
 */
bool cfg_placeholder_next(const char **at, struct bc_span *ret);

/* The first name of a placeholder's path: "x" of "x.y[0]". */
struct bc_span cfg_placeholder_name(struct bc_span path);

/* The path behind "root.", or behind "root" where an index follows; empty: it does not begin so. */
struct bc_span cfg_placeholder_under(struct bc_span path, const char *root);

#endif
