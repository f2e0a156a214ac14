#include "daemon/bridge.h"

#include "daemon/base/id.h"
#include "daemon/base/metric.h"
#include "daemon/loop/loop.h"
#include "daemon/net/upgrade.h"
#include "daemon/recorder.h"
#include "daemon/thrift.h"
#include "daemon/tools/host.h"
#include "daemon/upstreams.h"

#include <stdlib.h>
#include <string.h>

#define BRIDGE_MAGIC      0x62726467u
#define AUTHORIZATION_MAX 8192 /* bytes of the header value that carries the provider's key */

/* ---- what the session can do ---- */

static bc_usec world_now(void *world)
{
	struct bridge *bridge = world;

	return loop_now(bridge->worker->loop);
}

static bool world_send(void *world, enum sess_side side, enum ws_opcode opcode,
		       struct bc_span payload)
{
	struct bridge *bridge = world;

	return bridge->links[side] != NULL && net_link_send(bridge->links[side], opcode, payload);
}

static void world_read(void *world, enum sess_side side, bool on)
{
	struct bridge *bridge = world;

	if (bridge->links[side] == NULL) {
		return;
	}
	if (on) {
		net_link_resume(bridge->links[side]);
	} else {
		net_link_pause(bridge->links[side]);
	}
}

static bool world_charge(void *world, size_t bytes)
{
	struct bridge *bridge = world;

	return quota_charge(&bridge->claim, &bridge->cfg->limits, bytes,
			    loop_now(bridge->worker->loop));
}

static void world_close(void *world, enum sess_side side, uint16_t code, struct bc_span reason)
{
	struct bridge *bridge = world;

	if (bridge->links[side] != NULL) {
		net_link_close(bridge->links[side], code, reason);
	}
}

static void fire(void *arg)
{
	struct bridge_timer *timer = arg;

	BC_CHECK(timer->bridge, BRIDGE_MAGIC);
	sess_timer_fired(timer->bridge->sess, timer->which);
}

static struct bridge_timer *timer_free(struct bridge_timer *timer)
{
	if (timer != NULL) {
		timer->timer = loop_timer_free(timer->timer);
		free(timer);
	}
	return NULL;
}

/* NULL when out of memory. */
static struct bridge_timer *timer_new(struct bridge *bridge, enum sess_timer which)
{
	struct bridge_timer *timer = calloc(1, sizeof(*timer));

	if (timer == NULL) {
		return NULL;
	}
	timer->bridge = bridge;
	timer->which = which;
	timer->timer = loop_timer_new(bridge->worker->loop, fire, timer);
	return timer->timer == NULL ? timer_free(timer) : timer;
}

static void world_timer(void *world, enum sess_timer which, bc_usec delay)
{
	struct bridge *bridge = world;

	if (bridge->timers[which] == NULL && delay >= 0) {
		bridge->timers[which] = timer_new(bridge, which);
	}
	if (bridge->timers[which] == NULL) {
		return;
	}
	if (delay < 0) {
		loop_timer_stop(bridge->timers[which]->timer);
	} else {
		loop_timer_start(bridge->timers[which]->timer, delay);
	}
}

static enum bc_err world_tool_run(void *world, const struct tool_request *request,
				  struct tool_call **ret)
{
	struct bridge *bridge = world;

	return tool_run(bridge->worker->tools, &bridge->cfg->tools, request, ret);
}

static void world_tool_cancel(void *world, struct tool_call *call)
{
	(void)world;
	tool_cancel(call);
}

static void world_tool_commit(void *world, struct tool_call *call)
{
	(void)world;
	tool_commit(call);
}

static void world_tool_settle(void *world, struct tool_call *call, enum jrn_settlement how)
{
	(void)world;
	tool_settle(call, how);
}

static const struct tool_result *world_tool_result(void *world, const struct tool_call *call)
{
	(void)world;
	return tool_result(call);
}

static void world_changed(void *world, const char *tag)
{
	struct bridge *bridge = world;

	server_tag_changed(bridge->worker->server, tag);
}

static bool world_reason_start(void *world, struct bc_span body)
{
	struct bridge *bridge = world;

	return reasoning_start(&bridge->reasoning, bridge, body);
}

static void world_reason_cancel(void *world)
{
	struct bridge *bridge = world;

	reasoning_cancel(&bridge->reasoning);
}

/* Who asks or tells. */
static struct admission_ask asks(const struct bridge *bridge, const struct cfg_tool *tool,
				 enum spec_trigger trigger)
{
	return (struct admission_ask){.conf = &bridge->cfg->speculation,
				      .tool = tool,
				      .trigger = trigger,
				      .key = bridge->client_name,
				      .now = loop_now(bridge->worker->loop)};
}

static enum admission_refusal world_admit(void *world, const struct cfg_tool *tool,
					  enum spec_trigger trigger)
{
	struct bridge *bridge = world;
	struct admission_ask ask = asks(bridge, tool, trigger);

	return thrift_admit(bridge->worker->server->thrift, &ask);
}

static void world_learn(void *world, const struct admission_event *event)
{
	struct bridge *bridge = world;
	struct admission_ask from = asks(bridge, event->tool, event->trigger);

	thrift_learn(bridge->worker->server->thrift, &from, event);
}

static void world_observe(void *world, const struct pattern_call *call)
{
	struct bridge *bridge = world;

	if (bridge->trail == NULL) {
		bridge->trail = pattern_trail_new();
	}
	/* Without memory nothing is learnt from this call. */
	if (bridge->trail != NULL) {
		pattern_observe(bridge->worker->patterns, bridge->trail, call);
	}
}

static unsigned world_predict(void *world, const struct pattern_call *call, uint64_t turn,
			      struct pattern_guess out[PATTERN_GUESSES_MAX])
{
	struct bridge *bridge = world;

	if (call != NULL) {
		return pattern_predict(bridge->worker->patterns, call, out);
	}
	return bridge->trail == NULL
		       ? 0
		       : pattern_predict_turn(bridge->worker->patterns, bridge->trail, turn, out);
}

static void world_noticed(void *world, enum trait trait, int32_t value)
{
	struct bridge *bridge = world;
	char model[UPSTREAMS_MODEL_MAX];

	upstreams_model(bridge->query, model);
	upstreams_notice(bridge->worker->server->upstreams, bridge->upstream->name, model, trait,
			 value, loop_wall(bridge->worker->loop));
}

static void world_warm(void *world, const struct cfg_tool *tool)
{
	struct bridge *bridge = world;

	tool_warm(bridge->worker->tools, tool);
}

static void free_deferred(void *arg)
{
	bridge_free(arg);
}

static void world_ended(void *world)
{
	struct bridge *bridge = world;

	bridge->ended = true;
	if (bridge->attempt != NULL) {
		/* The provider may answer in this very turn of the loop. */
		net_connect_cancel(bridge->attempt);
		bridge->attempt = NULL;
	}
	loop_defer(bridge->worker->loop, free_deferred, bridge);
}

static void world_record(void *world, struct bc_span line)
{
	struct bridge *bridge = world;

	recording_line(bridge->recording, line);
}

static const struct sess_world world_ops = {.now = world_now,
					    .send = world_send,
					    .read = world_read,
					    .charge = world_charge,
					    .close = world_close,
					    .timer = world_timer,
					    .tool_run = world_tool_run,
					    .tool_cancel = world_tool_cancel,
					    .tool_settle = world_tool_settle,
					    .tool_commit = world_tool_commit,
					    .tool_result = world_tool_result,
					    .changed = world_changed,
					    .reason_start = world_reason_start,
					    .reason_cancel = world_reason_cancel,
					    .admit = world_admit,
					    .learn = world_learn,
					    .observe = world_observe,
					    .predict = world_predict,
					    .noticed = world_noticed,
					    .warm = world_warm,
					    .ended = world_ended,
					    .record = world_record};

/* ---- what the connections say ---- */

static void client_message(void *arg, enum ws_opcode opcode, struct bc_span payload)
{
	struct bridge *bridge = arg;

	BC_CHECK(bridge, BRIDGE_MAGIC);
	sess_message(bridge->sess, SESS_CLIENT, opcode, payload);
}

static void client_drained(void *arg)
{
	struct bridge *bridge = arg;

	BC_CHECK(bridge, BRIDGE_MAGIC);
	sess_drained(bridge->sess, SESS_CLIENT);
}

static void client_closed(void *arg, const struct net_close *why)
{
	struct bridge *bridge = arg;

	BC_CHECK(bridge, BRIDGE_MAGIC);
	sess_closed(bridge->sess, SESS_CLIENT, why->err, why->code, why->reason);
}

static void upstream_message(void *arg, enum ws_opcode opcode, struct bc_span payload)
{
	struct bridge *bridge = arg;

	BC_CHECK(bridge, BRIDGE_MAGIC);
	sess_message(bridge->sess, SESS_UPSTREAM, opcode, payload);
}

static void upstream_drained(void *arg)
{
	struct bridge *bridge = arg;

	BC_CHECK(bridge, BRIDGE_MAGIC);
	sess_drained(bridge->sess, SESS_UPSTREAM);
}

static void upstream_closed(void *arg, const struct net_close *why)
{
	struct bridge *bridge = arg;

	BC_CHECK(bridge, BRIDGE_MAGIC);
	sess_closed(bridge->sess, SESS_UPSTREAM, why->err, why->code, why->reason);
}

const struct net_link_ops bridge_client_ops = {
	.message = client_message, .drained = client_drained, .closed = client_closed};

static const struct net_link_ops upstream_ops = {
	.message = upstream_message, .drained = upstream_drained, .closed = upstream_closed};

static void connected(void *arg, struct net_link *link)
{
	struct bridge *bridge = arg;

	BC_CHECK(bridge, BRIDGE_MAGIC);
	bridge->attempt = NULL;
	bridge->links[SESS_UPSTREAM] = link;
	bc_metric_inc(BC_M_UPSTREAM_CONNECTS);
	sess_upstream_open(bridge->sess);
}

static void failed(void *arg, const struct net_connect_failure *failure)
{
	struct bridge *bridge = arg;
	char detail[160];

	BC_CHECK(bridge, BRIDGE_MAGIC);
	bridge->attempt = NULL;
	bc_metric_inc(BC_M_UPSTREAM_CONNECT_ERRORS);
	(void)snprintf(detail, sizeof(detail), "%s: %s", failure->stage, failure->detail);
	sess_upstream_failed(bridge->sess, failure->err, failure->status, detail);
}

static const struct net_connect_ops connect_ops = {.connected = connected, .failed = failed};

/* ---- life ---- */

static bool asks_for(struct bc_span query, const char *parameter)
{
	size_t len = strlen(parameter);

	for (size_t at = 0; at + len <= query.len; at++) {
		bool begins = at == 0 || query.ptr[at - 1] == '&';
		bool ends = at + len == query.len || query.ptr[at + len] == '&';

		if (begins && ends && memcmp(query.ptr + at, parameter, len) == 0) {
			return true;
		}
	}
	return false;
}

struct bridge *bridge_new(struct worker *worker, const struct cfg_upstream *upstream,
			  const struct cfg_client_key *key, const struct net_upgrade *request,
			  struct quota_claim *claim)
{
	struct bridge *bridge = calloc(1, sizeof(*bridge));
	struct bc_buf query;

	if (bridge == NULL) {
		quota_release(claim, &worker->cfg->limits);
		server_place_give(worker->server);
		return NULL;
	}
	bridge->claim = *claim;
	bridge->magic = BRIDGE_MAGIC;
	bridge->worker = worker;
	bridge->cfg = cfg_ref(worker->cfg);
	bridge->upstream = upstream;
	/* A transcription or translation session has no responses: nothing to offer tools to. */
	if (worker->toolset != NULL && !asks_for(request->query, "intent=transcription")) {
		bridge->tools = toolset_ref(worker->toolset);
	}
	bridge->client_name = key == NULL ? NULL : key->name;
	bc_buf_init(&query, 65536);
	if (bridge_query(upstream, request->query, &query) == BC_OK) {
		bridge->query = bc_span_dup(bc_buf_span(&query));
	}
	bc_buf_release(&query);
	bridge->headers = bc_span_dup(request->forwarded_headers);
	worker_session_began(worker, bridge);
	if (bridge->query == NULL || bridge->headers == NULL) {
		return bridge_free(bridge);
	}
	return bridge;
}

struct bridge *bridge_free(struct bridge *bridge)
{
	if (bridge == NULL) {
		return NULL;
	}
	BC_CHECK(bridge, BRIDGE_MAGIC);
	if (bridge->attempt != NULL) {
		net_connect_cancel(bridge->attempt);
	}
	bridge->sess = sess_free(bridge->sess);
	bridge->recording = recording_end(bridge->recording);
	for (int i = 0; i < 2; i++) {
		bridge->links[i] = net_link_free(bridge->links[i]);
	}
	for (int i = 0; i < SESS_TIMER__COUNT; i++) {
		bridge->timers[i] = timer_free(bridge->timers[i]);
	}
	worker_session_ended(bridge->worker, bridge);
	quota_release(&bridge->claim, &bridge->cfg->limits);
	toolset_unref(bridge->tools);
	pattern_trail_free(bridge->trail);
	worker_cfg_unref(bridge->worker, bridge->cfg);
	free(bridge->query);
	free(bridge->headers);
	bridge->magic = 0;
	free(bridge);
	return NULL;
}

static void reach_provider(struct bridge *bridge)
{
	const struct cfg_upstream *upstream = bridge->upstream;
	const struct cfg_session *limits = &bridge->cfg->session;
	bool bearer = upstream->key_header == CFG_KEY_HEADER_BEARER;
	bool with_key = upstream->key.value != NULL && upstream->key_header != CFG_KEY_HEADER_NONE;
	char value[AUTHORIZATION_MAX];
	struct net_target target = {.url = upstream->url,
				    .query = bc_span_str(bridge->query),
				    .header_name = !with_key ? NULL
						   : bearer  ? "Authorization"
							     : "api-key",
				    .header_value = value,
				    .ca_file = upstream->ca_file,
				    .proxy = upstream->proxy,
				    .timeout = upstream->connect_timeout,
				    .headers = bc_span_str(bridge->headers)};
	struct net_link_conf conf = {.role = WS_CLIENT,
				     .message_max = limits->message_max,
				     .backlog_high = limits->backlog_high,
				     .backlog_low = limits->backlog_low,
				     .ping_interval = limits->ping_interval,
				     .ping_timeout = limits->ping_timeout,
				     .close_timeout = limits->close_timeout};

	value[0] = '\0';
	if (with_key && snprintf(value, sizeof(value), "%s%s", bearer ? "Bearer " : "",
				 upstream->key.value) >= (int)sizeof(value)) {
		sess_upstream_failed(bridge->sess, BC_E_INVALID, 0,
				     "the provider's key is too long");
		return;
	}
	bridge->attempt = net_connect_start(bridge->worker->connector, &target, &conf, &connect_ops,
					    &upstream_ops, bridge);
	explicit_bzero(value, sizeof(value));
	if (bridge->attempt == NULL) {
		sess_upstream_failed(bridge->sess, BC_E_NOMEM, 0, "out of memory");
	}
}

void bridge_established(struct bridge *bridge, struct net_link *client)
{
	char id[BC_ID_SIZE];
	char model[UPSTREAMS_MODEL_MAX];
	struct trait_set known;
	struct sess_conf conf = {.cfg = bridge->cfg,
				 .upstream = bridge->upstream,
				 .tools = bridge->tools,
				 .id = id,
				 .traits = &known,
				 .client = bridge->client_name};

	BC_CHECK(bridge, BRIDGE_MAGIC);
	bridge->links[SESS_CLIENT] = client;
	bc_id_new(id, 's');
	upstreams_model(bridge->query, model);
	upstreams_known(bridge->worker->server->upstreams, bridge->upstream->name, model,
			bridge->cfg->speculation.relearn_after, loop_wall(bridge->worker->loop),
			&known);
	if (bridge->cfg->session.record != NULL) {
		bridge->recording = recording_begin(bridge->worker->server->recorder, bridge->cfg,
						    id, loop_wall(bridge->worker->loop));
		conf.record = bridge->recording != NULL;
	}
	if (sess_new(&conf, &world_ops, bridge, &bridge->sess) != BC_OK) {
		/* Freed at once: no event of the link may reach a bridge without a session. */
		net_link_close(client, 1013, BC_SPAN_LIT("out of memory"));
		bridge->links[SESS_CLIENT] = net_link_free(client);
		world_ended(bridge);
		return;
	}
	reach_provider(bridge);
}

/* ---- the provider's query ---- */

static enum bc_err put_parameter(struct bc_buf *out, struct bc_span parameter)
{
	enum bc_err err = bc_buf_len(out) == 0 ? BC_OK : bc_buf_put_str(out, "&");

	return err == BC_OK ? bc_buf_put_span(out, parameter) : err;
}

static enum bc_err put_model(struct bc_buf *out, const char *model)
{
	static const char unreserved[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	enum bc_err err = put_parameter(out, BC_SPAN_LIT("model="));

	for (const char *at = model; *at != '\0' && err == BC_OK; at++) {
		if (strchr(unreserved, *at) != NULL) {
			err = bc_buf_put(out, at, 1);
		} else {
			err = bc_buf_printf(out, "%%%02X", (unsigned)(unsigned char)*at);
		}
	}
	return err;
}

enum bc_err bridge_query(const struct cfg_upstream *upstream, struct bc_span query,
			 struct bc_buf *out)
{
	enum bc_err err = BC_OK;

	while (query.len > 0 && err == BC_OK) {
		const char *end = memchr(query.ptr, '&', query.len);
		size_t len = end == NULL ? query.len : (size_t)(end - query.ptr);
		struct bc_span parameter = bc_span(query.ptr, len);

		if (len > 0 && !(upstream->model != NULL && net_query_names(parameter, "model"))) {
			err = put_parameter(out, parameter);
		}
		len += end == NULL ? 0 : 1;
		query = bc_span(query.ptr + len, query.len - len);
	}
	return err == BC_OK && upstream->model != NULL ? put_model(out, upstream->model) : err;
}
