/* The HTTP request of a call, made from the tool's template. */
#ifndef BACKCHANNEL_TOOLS_WIRE_H
#define BACKCHANNEL_TOOLS_WIRE_H

#include "daemon/base/buf.h"
#include "daemon/base/bug.h"
#include "daemon/base/err.h"

#include <stdbool.h>

struct cfg_request;
struct tool_values;

#define TOOL_HEADERS_MAX 35 /* of a template, and the three we add */

struct tool_wire {
	struct bc_buf url;                     /* NUL-terminated */
	struct bc_buf body;                    /* empty: none */
	struct bc_buf lines[TOOL_HEADERS_MAX]; /* NUL-terminated "Name: value" */
	const char *headers[TOOL_HEADERS_MAX]; /* the same, for net_http_start() */
	size_t header_count;
};

/*
 * Fill a template.  Idempotency-Key (if keyed), User-Agent and, with a body, Content-Type: application/json are added where the
 * template does not declare them itself.  BC_E_INVALID: a value cannot stand where the template puts it, or there are
 * too many headers, reterr_message says why; BC_E_NOMEM; BC_E_LIMIT: a part is too long.
 * Call tool_wire_fini() in every case.
 */
enum bc_err tool_wire_init(struct tool_wire *wire, const struct cfg_request *request, bool keyed,
			   const struct tool_values *values, struct bc_buf *reterr_message) BC_MUST;
void tool_wire_fini(struct tool_wire *wire);

#endif
