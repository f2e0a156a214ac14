/*
 * Warming a server up: sending the request a tool declares for that, so that a connection of the pool is open when the call
 * comes.  It is no call: it has no arguments and changes nothing (GET), so no intent is recorded, and nobody waits for it.
 */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/loop/loop.h"
#include "daemon/net/http.h"
#include "daemon/tools/call.h"
#include "daemon/tools/template.h"
#include "daemon/tools/wire.h"

#include <stdlib.h>
#include <string.h>

#define WARM_MAX     16 /* in flight */
#define WARM_TIMEOUT (5 * BC_USEC_PER_SEC)
#define ANSWER_MAX   ((size_t)64 << 10)

struct tool_warmup {
	LIST_ENTRY(tool_warmup) link;
	struct tool_host *host;
	struct net_http_call *http;
	char *url;
};

static void warmup_free(struct tool_warmup *warmup)
{
	LIST_REMOVE(warmup, link);
	warmup->host->warmup_count--;
	free(warmup->url);
	free(warmup);
}

/* Whatever came: the connection was the point. */
static void on_answer(void *arg, const struct net_http_answer *answer)
{
	(void)answer;
	warmup_free(arg);
}

void tool_warmups_free(struct tool_host *host)
{
	while (!LIST_EMPTY(&host->warmups)) {
		struct tool_warmup *warmup = LIST_FIRST(&host->warmups);

		net_http_cancel(warmup->http);
		warmup_free(warmup);
	}
}

static bool is_warming(const struct tool_host *host, const char *url)
{
	const struct tool_warmup *warmup;

	LIST_FOREACH(warmup, &host->warmups, link)
	{
		if (strcmp(warmup->url, url) == 0) {
			return true;
		}
	}
	return false;
}

static bool start(struct tool_warmup *warmup, const struct cfg_request *template,
		  const struct tool_wire *wire)
{
	struct net_http_request request = {.method = template->method,
					   .url = bc_buf_span(&wire->url).ptr,
					   .headers = wire->headers,
					   .header_count = wire->header_count,
					   .timeout = WARM_TIMEOUT,
					   .response_max = ANSWER_MAX};

	return net_http_start(warmup->host->http, &request, on_answer, warmup, &warmup->http) ==
	       BC_OK;
}

void tool_warm(struct tool_host *host, const struct cfg_tool *tool)
{
	const struct cfg_request *template = &tool->warmup;
	struct tool_warmup *warmup;
	struct tool_values values = {.idempotency_key = ""};
	struct bc_buf message;
	struct tool_wire wire;

	BC_CHECK(host, TOOL_HOST_MAGIC);
	/* Even a connection tells a third party that something is coming. */
	if (template->method == NULL || tool->disclosure == CFG_DISCLOSURE_THIRD_PARTY ||
	    host->warmup_count >= WARM_MAX || is_warming(host, template->url)) {
		return;
	}
	warmup = calloc(1, sizeof(*warmup));
	if (warmup == NULL) {
		return;
	}
	warmup->host = host;
	warmup->url = strdup(template->url);
	LIST_INSERT_HEAD(&host->warmups, warmup, link);
	host->warmup_count++;
	bc_buf_init(&message, TOOL_MESSAGE_MAX);
	if (tool_wire_init(&wire, template, false, &values, &message) == BC_OK &&
	    warmup->url != NULL && start(warmup, template, &wire)) {
		bc_metric_inc(BC_M_WARMUPS);
	} else {
		warmup_free(warmup);
	}
	tool_wire_fini(&wire);
	bc_buf_release(&message);
}
