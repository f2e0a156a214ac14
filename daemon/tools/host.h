/*
 * Where calls of one worker run: its journal port, its HTTP client, and how many calls of a tool are in flight.
 * For daemon/server.c; everybody else is handed a host and uses tool.h.
 */
#ifndef BACKCHANNEL_TOOLS_HOST_H
#define BACKCHANNEL_TOOLS_HOST_H

#include <stddef.h>

struct jrn_port;
struct loop;
struct net_http;
struct tool_host;

/* A host without calls; NULL when out of memory.  All three live longer than the host.  Loop thread only. */
struct tool_host *tool_host_new(struct loop *loop, struct net_http *http, struct jrn_port *port);

/*
 * End all calls and free the host.  Requests in flight are cut off; an effect among them is recorded as in doubt.  No
 * done is called any more and every struct tool_call is gone.  Afterwards the port must be freed without
 * another jrn_port_dispatch(): answers of the journal would find no call.  An effect that waits for its ticket stays
 * open in the journal, so a drain waits for tool_host_count() to be 0 first.  Accepts NULL, returns NULL.
 */
struct tool_host *tool_host_free(struct tool_host *host);

/* Calls that are not settled yet, also cancelled ones that go on to their record. */
size_t tool_host_count(const struct tool_host *host);

#endif
