/* HTTP request templates of tools. */
#ifndef BACKCHANNEL_CONFIG_REQUEST_H
#define BACKCHANNEL_CONFIG_REQUEST_H

#include "daemon/config/value.h"

/* As cfg_value_read() for one REQUEST option. */
void cfg_request_read(const struct cfg_source *source, const struct cfg_option *option,
		      const struct toml_node *node, struct cfg_request *dest);

#endif
