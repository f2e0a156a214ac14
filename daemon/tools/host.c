#include "daemon/tools/host.h"

#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/loop/loop.h"
#include "daemon/tools/call.h"
#include "daemon/tools/rollback.h"

#include <stdlib.h>
#include <string.h>

#define OUTPUT_MAX ((size_t)2 << 20) /* bytes; above the longest response and the longest error */

/* Reports only what was due when it began: a caller that tries again at once must not keep the loop here. */
static void on_due(void *arg)
{
	struct tool_host *host = arg;
	size_t left;

	BC_CHECK(host, TOOL_HOST_MAGIC);
	for (left = host->due_count; left > 0 && host->due_count > 0; left--) {
		struct tool_call *call = TAILQ_FIRST(&host->due);

		tool_due_remove(call);
		tool_report(call);
	}
	if (host->due_count > 0) {
		loop_timer_start(host->timer, 0);
	}
}

struct tool_host *tool_host_new(struct loop *loop, struct net_http *http, struct jrn_port *port)
{
	struct tool_host *host = calloc(1, sizeof(*host));

	if (host == NULL) {
		return NULL;
	}
	host->magic = TOOL_HOST_MAGIC;
	host->loop = loop;
	host->http = http;
	host->port = port;
	TAILQ_INIT(&host->calls);
	TAILQ_INIT(&host->due);
	LIST_INIT(&host->slots);
	LIST_INIT(&host->breakers);
	LIST_INIT(&host->cases);
	LIST_INIT(&host->warmups);
	host->timer = loop_timer_new(loop, on_due, host);
	if (host->timer == NULL) {
		free(host);
		return NULL;
	}
	return host;
}

struct tool_host *tool_host_free(struct tool_host *host)
{
	struct tool_call *call;

	if (host == NULL) {
		return NULL;
	}
	BC_CHECK(host, TOOL_HOST_MAGIC);
	while ((call = TAILQ_FIRST(&host->calls)) != NULL) {
		tool_abandon(call);
	}
	tool_cases_free(host);
	tool_warmups_free(host);
	BC_BUG_ON(host->call_count != 0 || host->due_count != 0 || !LIST_EMPTY(&host->slots));
	breaker_list_clear(&host->breakers);
	host->timer = loop_timer_free(host->timer);
	if (host->seal != NULL) {
		explicit_bzero(host->seal, sizeof(*host->seal));
		free(host->seal);
	}
	host->magic = 0;
	free(host);
	return NULL;
}

size_t tool_host_count(const struct tool_host *host)
{
	return host->call_count + host->case_count;
}

void tool_host_hook(struct tool_host *host, const struct tool_hooks *hooks)
{
	host->hooks = *hooks;
}

enum bc_err tool_host_seal(struct tool_host *host, const struct bc_seal_key *key)
{
	host->seal = malloc(sizeof(*host->seal));
	if (host->seal == NULL) {
		return BC_E_NOMEM;
	}
	*host->seal = *key;
	return BC_OK;
}

static void on_doubt(void *arg, uint64_t intent, struct bc_span tool, struct bc_span arguments)
{
	struct tool_host *host = arg;
	char *name = bc_span_dup(tool);
	struct bc_sha256 digest;

	if (name == NULL) {
		return; /* then an equal call is made again, as without a journal */
	}
	digest = tool_doubt_digest(bc_span("", 0), name, arguments);
	tool_doubts_add(&host->doubts, intent, &digest);
	free(name);
}

void tool_host_learn(struct tool_host *host)
{
	jrn_each_doubt(host->port, on_doubt, host);
}

void tool_host_resolved(struct tool_host *host, uint64_t intent)
{
	BC_CHECK(host, TOOL_HOST_MAGIC);
	tool_doubts_drop(&host->doubts, intent);
}

/* What of the arguments goes out; a new reference, NULL when out of memory. */
static json_t *sent_part(const struct tool_request *request, json_t *args)
{
	const struct cfg_strings *names = &request->tool->withheld_arguments;
	json_t *sent;

	if (!request->withhold || names->count == 0) {
		return json_incref(args);
	}
	BC_BUG_ON(request->tool->effect != CFG_EFFECT_READ);
	sent = json_copy(args);
	for (size_t i = 0; i < names->count; i++) {
		(void)json_object_del(sent, names->items[i]); /* may be absent */
	}
	return sent;
}

struct tool_call *tool_call_new(struct tool_host *host, const struct cfg_tools *common,
				const struct tool_request *request)
{
	struct tool_call *call = calloc(1, sizeof(*call));

	if (call == NULL) {
		return NULL;
	}
	call->args = json_loadb(request->arguments.ptr, request->arguments.len, 0, NULL);
	call->sent = sent_part(request, call->args);
	call->session = bc_span_dup(request->session);
	if (call->args == NULL || call->sent == NULL || call->session == NULL) {
		json_decref(call->args);
		json_decref(call->sent);
		free(call->session);
		free(call);
		return NULL;
	}
	call->magic = TOOL_CALL_MAGIC;
	call->host = host;
	call->tool = request->tool;
	call->common = common;
	call->digest = tool_doubt_digest(request->session, request->tool->name, request->arguments);
	call->turn = request->turn;
	call->speculative = request->speculative;
	call->committed = !request->speculative;
	call->may_start = request->may_start;
	call->done = request->done;
	call->arg = request->arg;
	call->created = loop_now(host->loop);
	bc_buf_init(&call->output, OUTPUT_MAX);
	TAILQ_INSERT_TAIL(&host->calls, call, link);
	host->call_count++;
	return call;
}

void tool_call_free(struct tool_call *call)
{
	BC_BUG_ON(call->state != TOOL_STATE_END || call->http != NULL);
	tool_slot_give(call);
	tool_breaker_leave(call);
	call->timer = loop_timer_free(call->timer);
	TAILQ_REMOVE(&call->host->calls, call, link);
	call->host->call_count--;
	bc_buf_release(&call->output);
	json_decref(call->args);
	json_decref(call->sent);
	free(call->session);
	call->magic = 0;
	free(call);
}

static struct tool_slot *find_slot(struct tool_host *host, const char *name)
{
	struct tool_slot *slot;

	LIST_FOREACH(slot, &host->slots, link)
	{
		if (strcmp(slot->name, name) == 0) {
			return slot;
		}
	}
	return NULL;
}

static struct tool_slot *new_slot(struct tool_host *host, const char *name)
{
	struct tool_slot *slot = calloc(1, sizeof(*slot));

	if (slot == NULL) {
		return NULL;
	}
	slot->name = bc_span_dup(bc_span_str(name));
	if (slot->name == NULL) {
		free(slot);
		return NULL;
	}
	LIST_INSERT_HEAD(&host->slots, slot, link);
	return slot;
}

enum bc_err tool_slot_take(struct tool_call *call)
{
	/* By name: after a reload the same tool has another address. */
	struct tool_slot *slot = find_slot(call->host, call->tool->name);

	BC_BUG_ON(call->slot != NULL);
	if ((slot == NULL ? 0 : slot->used) >= call->tool->concurrency_max) {
		return BC_E_LIMIT;
	}
	if (slot == NULL) {
		slot = new_slot(call->host, call->tool->name);
	}
	if (slot == NULL) {
		return BC_E_NOMEM;
	}
	slot->used++;
	call->slot = slot;
	bc_metric_inc(BC_M_TOOLS_IN_FLIGHT);
	return BC_OK;
}

void tool_slot_give(struct tool_call *call)
{
	struct tool_slot *slot = call->slot;

	if (slot == NULL) {
		return;
	}
	call->slot = NULL;
	bc_metric_add(BC_M_TOOLS_IN_FLIGHT, -1);
	slot->used--;
	if (slot->used == 0) {
		LIST_REMOVE(slot, link);
		free(slot->name);
		free(slot);
	}
}

bool tool_breaker_enter(struct tool_call *call)
{
	struct tool_host *host = call->host;
	const char *url = call->tool->request.url;

	BC_BUG_ON(call->probe);
	if (breaker_refuses(&host->breakers, url, loop_now(host->loop))) {
		return false;
	}
	call->probe = breaker_enter(&host->breakers, url, loop_now(host->loop));
	return true;
}

void tool_breaker_leave(struct tool_call *call)
{
	if (call->probe) {
		call->probe = false;
		breaker_abandon(&call->host->breakers, call->tool->request.url);
	}
}

void tool_due_add(struct tool_call *call)
{
	struct tool_host *host = call->host;

	TAILQ_INSERT_TAIL(&host->due, call, due_link);
	host->due_count++;
	if (!loop_timer_is_active(host->timer)) {
		loop_timer_start(host->timer, 0);
	}
}

void tool_due_remove(struct tool_call *call)
{
	BC_BUG_ON(call->state != TOOL_STATE_FAILED);
	TAILQ_REMOVE(&call->host->due, call, due_link);
	call->host->due_count--;
}
