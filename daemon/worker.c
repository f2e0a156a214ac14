#include "daemon/worker.h"

#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/base/seal.h"
#include "daemon/bridge.h"
#include "daemon/journal/journal.h"
#include "daemon/loop/loop.h"
#include "daemon/net/http.h"
#include "daemon/spec/pattern.h"
#include "daemon/tools/host.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

void worker_session_began(struct worker *worker, struct bridge *bridge)
{
	TAILQ_INSERT_TAIL(&worker->bridges, bridge, link);
	atomic_fetch_add(&worker->sessions, 1);
}

void worker_session_ended(struct worker *worker, struct bridge *bridge)
{
	TAILQ_REMOVE(&worker->bridges, bridge, link);
	atomic_fetch_sub(&worker->sessions, 1);
	server_place_give(worker->server);
}

/* ---- life ---- */

static void dispatch(void *arg)
{
	struct worker *worker = arg;

	BC_CHECK(worker, WORKER_MAGIC);
	if (worker->port != NULL) {
		jrn_port_dispatch(worker->port);
	}
}

/* On the journal's thread. */
static void wake(void *arg)
{
	struct worker *worker = arg;

	/* Without memory the answers wait for the next wake-up. */
	(void)!loop_post(worker->loop, dispatch, worker);
}

/* ---- what happens to effects when no session looks on ---- */

struct known {
	struct worker *worker;
	uint64_t intent;
};

static void forget_doubt(void *arg)
{
	struct known *known = arg;

	if (known->worker->tools != NULL) {
		tool_host_resolved(known->worker->tools, known->intent);
	}
	free(known);
}

static void resolved(void *arg, uint64_t intent)
{
	struct server *server = arg;

	for (unsigned i = 0; i < server->worker_count; i++) {
		struct known *known = malloc(sizeof(*known));

		if (known != NULL) {
			*known = (struct known){.worker = &server->workers[i], .intent = intent};
			if (loop_post(known->worker->loop, forget_doubt, known) == BC_OK) {
				continue;
			}
		}
		free(known);
		/* Equal calls are then refused there until a restart: the safe side. */
		bc_log(BC_LOG_ERR, NULL, "out of memory, a worker keeps intent %llu in doubt",
		       (unsigned long long)intent);
	}
}

static void changed(void *arg, const char *tag)
{
	server_tag_changed(arg, tag);
}

static enum bc_err init_seal(struct worker *worker)
{
	const char *secret = worker->cfg->journal.secret_key.value;
	struct bc_seal_key key;
	enum bc_err err;

	if (secret == NULL) {
		return BC_OK;
	}
	key = bc_seal_key_of(bc_span_str(secret));
	err = tool_host_seal(worker->tools, &key);
	explicit_bzero(&key, sizeof(key));
	return err;
}

static enum bc_err init_tools(struct worker *worker)
{
	struct server *server = worker->server;

	if (server->journal == NULL) {
		return BC_OK;
	}
	worker->http = net_http_new(worker->loop, worker->cfg->tools.ca_file);
	if (worker->http == NULL) {
		return BC_E_NOMEM;
	}
	if (jrn_port_new(server->journal, wake, worker, &worker->port) != BC_OK) {
		return BC_E_NOMEM;
	}
	worker->tools = tool_host_new(worker->loop, worker->http, worker->port);
	worker->toolset = toolset_new(worker->cfg);
	worker->patterns = patterns_new();
	if (worker->tools == NULL || worker->toolset == NULL || worker->patterns == NULL) {
		return BC_E_NOMEM;
	}
	tool_host_hook(
		worker->tools,
		&(struct tool_hooks){.resolved = resolved, .changed = changed, .arg = server});
	tool_host_learn(worker->tools);
	return init_seal(worker);
}

void worker_adopt(struct worker *worker)
{
	if (worker->tools != NULL) {
		tool_host_adopt(worker->tools, worker->cfg);
	}
}

static enum bc_err init_listeners(struct worker *worker, struct bc_buf *reterr_message)
{
	const struct cfg *cfg = worker->cfg;
	const struct net_accept_limits limits = {
		.handshake_timeout = cfg->session.handshake_timeout,
		.handshakes_max = (unsigned)cfg->session.handshakes_max,
	};
	struct net_listener_conf *listeners = calloc(cfg->listen_count, sizeof(*listeners));
	enum bc_err err;

	if (listeners == NULL) {
		return BC_E_NOMEM;
	}
	for (size_t i = 0; i < cfg->listen_count; i++) {
		listeners[i] = (struct net_listener_conf){.address = cfg->listen[i].address,
							  .port = cfg->listen[i].port,
							  .certificate = cfg->listen[i].certificate,
							  .key = cfg->listen[i].key,
							  .upgrades = true};
	}
	err = net_acceptor_new(worker->io, listeners, cfg->listen_count, &limits,
			       &worker_accept_ops, worker, worker_least_loaded, reterr_message,
			       &worker->acceptor);
	free(listeners);
	return err;
}

enum bc_err worker_init(struct worker *worker, struct server *server, struct cfg *cfg,
			struct bc_buf *reterr_message)
{
	enum bc_err err;

	*worker = (struct worker){.magic = WORKER_MAGIC, .server = server, .cfg = cfg_ref(cfg)};
	TAILQ_INIT(&worker->bridges);
	err = loop_new(&worker->loop);
	if (err != BC_OK) {
		return err;
	}
	worker->io = net_io_new(worker->loop);
	if (worker->io == NULL) {
		return BC_E_NOMEM;
	}
	worker->connector = net_connector_new(worker->io, server->resolver);
	if (worker->connector == NULL) {
		return BC_E_NOMEM;
	}
	err = init_tools(worker);
	return err == BC_OK ? init_listeners(worker, reterr_message) : err;
}

/* Snapshots nobody reads any more: sessions count their own, so only tool calls that outlived theirs matter. */
static void drop_retired(struct worker *worker)
{
	if (worker->tools != NULL && tool_host_count(worker->tools) > 0) {
		return;
	}
	for (size_t i = 0; i < worker->retired_count; i++) {
		cfg_unref(worker->retired[i]);
	}
	free(worker->retired);
	worker->retired = NULL;
	worker->retired_count = 0;
}

/* Takes over one reference; BC_E_NOMEM: it does not. */
static enum bc_err retire(struct worker *worker, struct cfg *cfg)
{
	struct cfg **retired =
		realloc(worker->retired, (worker->retired_count + 1) * sizeof(struct cfg *));

	if (retired == NULL) {
		return BC_E_NOMEM;
	}
	worker->retired = retired;
	worker->retired[worker->retired_count++] = cfg;
	return BC_OK;
}

static bool is_kept(const struct worker *worker, const struct cfg *cfg)
{
	for (size_t i = 0; i < worker->retired_count; i++) {
		if (worker->retired[i] == cfg) {
			return true;
		}
	}
	return cfg == worker->cfg;
}

void worker_cfg_unref(struct worker *worker, struct cfg *cfg)
{
	bool is_read = worker->tools != NULL && tool_host_count(worker->tools) > 0;

	if (!is_read || is_kept(worker, cfg)) {
		cfg_unref(cfg);
	} else if (retire(worker, cfg) != BC_OK) {
		bc_log(BC_LOG_ERR, NULL, "out of memory, an old configuration is never freed");
	}
}

void worker_fini(struct worker *worker)
{
	struct bridge *bridge;

	while ((bridge = TAILQ_FIRST(&worker->bridges)) != NULL) {
		bridge_free(bridge);
	}
	worker->acceptor = net_acceptor_free(worker->acceptor);
	worker->connector = net_connector_free(worker->connector);
	worker->tools = tool_host_free(worker->tools);
	worker->port = jrn_port_free(worker->port);
	worker->http = net_http_free(worker->http);
	worker->toolset = toolset_unref(worker->toolset);
	worker->patterns = patterns_free(worker->patterns);
	worker->io = net_io_free(worker->io);
	drop_retired(worker);
	worker->cfg = cfg_unref(worker->cfg);
	worker->loop = loop_free(worker->loop);
}

void *worker_run(void *arg)
{
	struct worker *worker = arg;
	char name[16]; /* the kernel's bound, with NUL */

	BC_CHECK(worker, WORKER_MAGIC);
	(void)snprintf(name, sizeof(name), "worker/%u",
		       (unsigned)(worker - worker->server->workers));
	(void)pthread_setname_np(pthread_self(), name); /* only for those who look at threads */
	loop_run(worker->loop);
	return NULL;
}

/* ---- orders from the main thread ---- */

static void answer_alive(void *arg)
{
	struct worker *worker = arg;

	BC_CHECK(worker, WORKER_MAGIC);
	atomic_store(&worker->asked, false);
}

bool worker_is_alive(struct worker *worker)
{
	if (atomic_exchange(&worker->asked, true)) {
		return false;
	}
	/* Without memory there is no question, so no answer is missed. */
	if (loop_post(worker->loop, answer_alive, worker) != BC_OK) {
		atomic_store(&worker->asked, false);
	}
	return true;
}

static void drain(void *arg)
{
	struct worker *worker = arg;

	BC_CHECK(worker, WORKER_MAGIC);
	if (!worker->draining) {
		worker->draining = true;
		net_acceptor_stop(worker->acceptor);
	}
	if (TAILQ_EMPTY(&worker->bridges) &&
	    (worker->tools == NULL || tool_host_is_quiet(worker->tools))) {
		atomic_store(&worker->quiet, true);
	}
}

void worker_drain(struct worker *worker)
{
	/* Without memory the drain's deadline ends the sessions all the same. */
	(void)!loop_post(worker->loop, drain, worker);
}

static void end_sessions(struct worker *worker)
{
	struct bridge *bridge = TAILQ_FIRST(&worker->bridges);

	while (bridge != NULL) {
		struct bridge *next = TAILQ_NEXT(bridge, link);

		if (bridge->sess != NULL && !bridge->ended) {
			sess_shut_down(bridge->sess);
		}
		bridge = next;
	}
}

static void stop(void *arg)
{
	struct worker *worker = arg;

	BC_CHECK(worker, WORKER_MAGIC);
	drain(worker);
	if (!worker->stopped) {
		worker->stopped = true;
		end_sessions(worker);
		/* Once more round, so that deferred work and last frames get out. */
		if (loop_post(worker->loop, stop, worker) == BC_OK) {
			return;
		}
	}
	loop_stop(worker->loop);
}

void worker_stop(struct worker *worker)
{
	if (loop_post(worker->loop, stop, worker) != BC_OK) {
		/* No memory even for that: the end must not wait. */
		bc_log(BC_LOG_ERR, NULL, "out of memory while stopping, ending at once");
		abort();
	}
}

struct order {
	struct worker *worker;
	struct cfg *cfg;
};

static void configure(void *arg)
{
	struct order *order = arg;
	struct worker *worker = order->worker;

	BC_CHECK(worker, WORKER_MAGIC);
	drop_retired(worker);
	if (retire(worker, worker->cfg) != BC_OK) {
		bc_log(BC_LOG_ERR, NULL, "out of memory, keeping the old configuration");
		cfg_unref(order->cfg);
		free(order);
		return;
	}
	worker->cfg = order->cfg;
	net_acceptor_allow(worker->acceptor, worker->cfg->session.handshake_timeout);
	if (worker->http != NULL &&
	    net_http_trust(worker->http, worker->cfg->tools.ca_file) != BC_OK) {
		bc_log(BC_LOG_ERR, NULL, "out of memory, keeping the old tools.ca_file");
	}
	toolset_unref(worker->toolset);
	worker->toolset = worker->tools == NULL ? NULL : toolset_new(worker->cfg);
	free(order);
}

void worker_configure(struct worker *worker, struct cfg *cfg)
{
	struct order *order = malloc(sizeof(*order));

	if (order != NULL) {
		*order = (struct order){.worker = worker, .cfg = cfg};
		if (loop_post(worker->loop, configure, order) == BC_OK) {
			return;
		}
	}
	bc_log(BC_LOG_ERR, NULL, "out of memory, a worker keeps the old configuration");
	free(order);
	cfg_unref(cfg);
}

/* ---- what effects change ---- */

struct change {
	struct worker *worker;
	char tag[];
};

static void tell_sessions(void *arg)
{
	struct change *change = arg;
	struct bridge *bridge = TAILQ_FIRST(&change->worker->bridges);

	while (bridge != NULL) {
		struct bridge *next = TAILQ_NEXT(bridge, link);

		if (bridge->sess != NULL && !bridge->ended) {
			sess_tag_changed(bridge->sess, change->tag);
		}
		bridge = next;
	}
	free(change);
}

void server_tag_changed(struct server *server, const char *tag)
{
	size_t size = strlen(tag) + 1;

	for (unsigned i = 0; i < server->worker_count; i++) {
		struct change *change = malloc(sizeof(*change) + size);

		if (change != NULL) {
			change->worker = &server->workers[i];
			memcpy(change->tag, tag, size);
			if (loop_post(change->worker->loop, tell_sessions, change) == BC_OK) {
				continue;
			}
		}
		free(change);
		/* Their guesses then age by fresh_for alone. */
		bc_log(BC_LOG_ERR, NULL,
		       "out of memory, a worker does not hear what an effect has changed");
	}
}
