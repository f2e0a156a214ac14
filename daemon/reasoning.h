/* How a session reaches the endpoint of its reasoner: one HTTP request at a time, its answer handed on as it comes. */
#ifndef BACKCHANNEL_REASONING_H
#define BACKCHANNEL_REASONING_H

#include "daemon/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct bridge;
struct net_http_call;

struct reasoning {
	uint32_t magic;
	struct bridge *bridge;
	struct net_http_call *call; /* NULL: none runs */
};

/* As reason_start() and reason_cancel() of struct sess_world; the latter also when nothing runs. */
bool reasoning_start(struct reasoning *reasoning, struct bridge *bridge, struct bc_span body);
void reasoning_cancel(struct reasoning *reasoning);

#endif
