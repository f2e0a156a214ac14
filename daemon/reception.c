/* Who may come in, and to which worker: clients from their handshake to their session. */
#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/bridge.h"
#include "daemon/loop/loop.h"
#include "daemon/worker.h"

#include <string.h>

/* ---- judging a handshake ---- */

#define ANSWER(code, message)                                             \
	"{\"error\":{\"type\":\"invalid_request_error\",\"code\":\"" code \
	"\",\"message\":\"" message "\",\"param\":null}}"

static void refuse(struct net_verdict *ret, unsigned status, const char *body)
{
	ret->status = status;
	ret->body = bc_span_str(body);
}

static bool is_realtime_path(struct bc_span path)
{
	static const char ending[] = "/realtime";
	size_t len = sizeof(ending) - 1;

	return path.len >= len && memcmp(path.ptr + path.len - len, ending, len) == 0;
}

bool server_place_take(struct server *server, uint64_t sessions_max)
{
	unsigned taken = atomic_load(&server->sessions);

	do {
		if (taken >= sessions_max) {
			return false;
		}
	} while (!atomic_compare_exchange_weak(&server->sessions, &taken, taken + 1));
	return true;
}

void server_place_give(struct server *server)
{
	BC_BUG_ON(atomic_fetch_sub(&server->sessions, 1) == 0);
}

static bool has_room(const struct worker *worker)
{
	return atomic_load(&worker->server->sessions) < worker->cfg->daemon.sessions_max;
}

static void refuse_full(struct net_verdict *ret)
{
	refuse(ret, 503,
	       ANSWER("gateway_full", "The gateway takes no more sessions now. Try again later."));
}

static void refuse_memory(struct net_verdict *ret)
{
	bc_metric_inc(BC_M_OUT_OF_MEMORY);
	refuse(ret, 503, ANSWER("out_of_memory", "The gateway is out of memory. Try again later."));
}

static void refuse_rate(struct net_verdict *ret)
{
	bc_metric_inc(BC_M_QUOTA_REFUSED);
	refuse(ret, 429,
	       ANSWER("rate_limit_exceeded",
		      "This key or address opens sessions too fast. Try again later."));
}

static bool may_begin(struct worker *worker, const struct cfg_client_key *key,
		      const struct net_upgrade *request, struct net_verdict *ret,
		      struct quota_claim *ret_claim)
{
	switch (quota_claim(worker->server->quota, &worker->cfg->limits,
			    key == NULL ? NULL : key->name, request->network,
			    loop_now(worker->loop), ret_claim)) {
	case QUOTA_OK:
		break;
	case QUOTA_SESSIONS:
		bc_metric_inc(BC_M_QUOTA_REFUSED);
		refuse(ret, 429,
		       ANSWER("too_many_sessions",
			      "This key or address has too many sessions open. Close one first."));
		return false;
	case QUOTA_RATE:
		refuse_rate(ret);
		return false;
	}
	/* There was room when the handshake was read; other workers judge others meanwhile. */
	if (!server_place_take(worker->server, worker->cfg->daemon.sessions_max)) {
		quota_release(ret_claim, &worker->cfg->limits);
		refuse_full(ret);
		return false;
	}
	return true;
}

/* Keys are not guessed faster than sessions may be opened. */
static void refuse_key(struct worker *worker, const struct net_upgrade *request,
		       struct net_verdict *ret)
{
	bc_metric_inc(BC_M_KEYS_REFUSED);
	if (!quota_key_refused(worker->server->quota, &worker->cfg->limits, request->network,
			       loop_now(worker->loop))) {
		refuse_rate(ret);
		return;
	}
	bc_log(BC_LOG_INFO, NULL, "client %.*s presented no valid key, refusing",
	       BC_SPAN_ARG(request->peer));
	refuse(ret, 401, ANSWER("invalid_api_key", "The client key is missing or wrong."));
}

static void judge(void *owner, const struct net_upgrade *request, struct net_verdict *ret)
{
	struct worker *worker = owner;
	const struct cfg_session *limits = &worker->cfg->session;
	const struct cfg_client_key *key = NULL;
	const struct cfg_upstream *upstream;
	struct quota_claim claim;

	BC_CHECK(worker, WORKER_MAGIC);
	if (worker->draining || !has_room(worker)) {
		refuse_full(ret);
		return;
	}
	if (loop_memory_is_short()) {
		refuse_memory(ret);
		return;
	}
	if (!is_realtime_path(request->path)) {
		refuse(ret, 404,
		       ANSWER("not_found", "There is no such path here. Use /v1/realtime."));
		return;
	}
	if (worker->cfg->auth.mode == CFG_AUTH_KEYS) {
		key = cfg_client_key_find(worker->cfg, request->key);
		if (key == NULL) {
			refuse_key(worker, request, ret);
			return;
		}
	}
	if (request->beta) {
		refuse(ret, 400,
		       ANSWER("beta_api_shape_disabled",
			      "The Realtime Beta API is no longer supported. Use the GA shape without the OpenAI-Beta header."));
		return;
	}
	if (!may_begin(worker, key, request, ret, &claim)) {
		return;
	}
	upstream = cfg_upstream_find(worker->cfg, key == NULL ? NULL : key->upstream);
	ret->arg = bridge_new(worker, upstream, key, request, &claim);
	if (ret->arg == NULL) {
		refuse_memory(ret);
		return;
	}
	ret->status = 101;
	ret->conf = (struct net_link_conf){.role = WS_SERVER,
					   .message_max = limits->message_max,
					   .backlog_high = limits->backlog_high,
					   .backlog_low = limits->backlog_low,
					   .ping_interval = limits->ping_interval,
					   .ping_timeout = limits->ping_timeout,
					   .close_timeout = limits->close_timeout};
}

static void established(void *owner, void *arg, struct net_link *link)
{
	(void)owner;
	bridge_established(arg, link);
}

static void abandoned(void *owner, void *arg)
{
	(void)owner;
	bridge_free(arg);
}

static unsigned no_http(void *owner, struct bc_span path, struct bc_buf *body,
			const char **ret_type)
{
	static const char text[] =
		ANSWER("not_found", "This listener takes WebSocket connections only.");

	(void)owner;
	(void)path;
	*ret_type = "application/json";
	return bc_buf_put_str(body, text) == BC_OK ? 404 : 500;
}

const struct net_accept_ops worker_accept_ops = {.upgrade = judge,
						 .link_ops = &bridge_client_ops,
						 .established = established,
						 .abandoned = abandoned,
						 .http = no_http};

struct net_acceptor *worker_least_loaded(void *owner)
{
	struct worker *worker = owner;
	struct server *server = worker->server;
	struct worker *best = worker;

	for (unsigned i = 0; i < server->worker_count; i++) {
		struct worker *other = &server->workers[i];

		if (atomic_load_explicit(&other->sessions, memory_order_relaxed) <
		    atomic_load_explicit(&best->sessions, memory_order_relaxed)) {
			best = other;
		}
	}
	return best->acceptor;
}
