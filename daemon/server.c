#include "daemon/server.h"

#include "daemon/admin/control.h"
#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/inquiry.h"
#include "daemon/journal/journal.h"
#include "daemon/loop/loop.h"
#include "daemon/notify.h"
#include "daemon/quota.h"
#include "daemon/recall.h"
#include "daemon/recorder.h"
#include "daemon/thrift.h"
#include "daemon/upstreams.h"
#include "daemon/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define SERVER_TICK (100 * BC_USEC_PER_MS) /* watchdog, and how often a drain looks for its end */

#define EXIT_CONFIG 2

/* The main thread's part. */
struct service {
	struct server server;
	const char *path; /* of the configuration file */
	struct cfg *cfg;
	struct loop *loop;
	struct net_io *io;
	struct net_acceptor *admin;  /* NULL: switched off */
	struct adm_control *control; /* NULL: could not be made */
	struct loop_io *signals;
	int signal_fd;
	struct loop_timer *tick;
	pthread_t *threads;
	unsigned thread_count;
	bool draining;
	bc_usec drain_until;
};

/* ---- admin listener ---- */

static void admin_upgrade(void *owner, const struct net_upgrade *request, struct net_verdict *ret)
{
	(void)owner;
	(void)request;
	ret->status = 404;
	ret->body = BC_SPAN_LIT("{\"error\":{\"message\":\"This is the admin listener.\"}}");
}

static void admin_established(void *owner, void *arg, struct net_link *link)
{
	(void)owner;
	(void)arg;
	(void)link;
	BC_BUG_ON(true); /* no upgrade is ever accepted here */
}

static void admin_abandoned(void *owner, void *arg)
{
	(void)owner;
	(void)arg;
}

static unsigned ready(const struct service *service, struct bc_buf *body)
{
	const char *state = "ready\n";
	unsigned status = 200;

	if (atomic_load(&service->server.stopping)) {
		state = "draining\n";
		status = 503;
	} else if (service->server.journal != NULL && jrn_has_failed(service->server.journal)) {
		state = "journal failed: tools with an effect are refused until a restart\n";
		status = 503;
	}
	return bc_buf_put_str(body, state) == BC_OK ? status : 500;
}

static unsigned admin_http(void *owner, struct bc_span path, struct bc_buf *body,
			   const char **ret_type)
{
	const struct service *service = owner;

	*ret_type = "text/plain; charset=utf-8";
	if (bc_span_is(path, "/healthz")) {
		return bc_buf_put_str(body, "ok\n") == BC_OK ? 200 : 500;
	}
	if (bc_span_is(path, "/readyz")) {
		return ready(service, body);
	}
	if (bc_span_is(path, "/metrics")) {
		*ret_type = "text/plain; version=0.0.4; charset=utf-8";
		return bc_metric_print(body) == BC_OK &&
				       thrift_metrics(service->server.thrift, service->cfg,
						      loop_now(service->loop), body) == BC_OK
			       ? 200
			       : 500;
	}
	return bc_buf_put_str(body, "not found: /healthz, /readyz, /metrics\n") == BC_OK ? 404
											 : 500;
}

static struct net_acceptor *admin_pick(void *owner)
{
	struct service *service = owner;

	return service->admin;
}

static const struct net_accept_ops admin_ops = {.upgrade = admin_upgrade,
						.established = admin_established,
						.abandoned = admin_abandoned,
						.http = admin_http};

static enum bc_err open_admin(struct service *service, struct bc_buf *message)
{
	const struct cfg_admin *admin = &service->cfg->admin;
	struct net_listener_conf listener = {.address = admin->address, .port = admin->port};
	const struct net_accept_limits limits = {
		.handshake_timeout = service->cfg->session.handshake_timeout,
		.handshakes_max = (unsigned)service->cfg->session.handshakes_max,
	};

	if (!admin->enabled) {
		return BC_OK;
	}
	return net_acceptor_new(service->io, &listener, 1, &limits, &admin_ops, service, admin_pick,
				message, &service->admin);
}

/* ---- orders ---- */

static enum bc_log_level log_level(const struct cfg *cfg)
{
	static const enum bc_log_level levels[] = {[CFG_LOG_LEVEL_ERR] = BC_LOG_ERR,
						   [CFG_LOG_LEVEL_WARNING] = BC_LOG_WARNING,
						   [CFG_LOG_LEVEL_NOTICE] = BC_LOG_NOTICE,
						   [CFG_LOG_LEVEL_INFO] = BC_LOG_INFO,
						   [CFG_LOG_LEVEL_DEBUG] = BC_LOG_DEBUG};

	return levels[cfg->daemon.log_level];
}

static void log_findings(const struct bc_buf *findings)
{
	struct bc_span rest = bc_buf_span(findings);

	while (rest.len > 0) {
		const char *end = memchr(rest.ptr, '\n', rest.len);
		size_t len = end == NULL ? rest.len : (size_t)(end - rest.ptr);

		bc_log(BC_LOG_ERR, NULL, "%.*s", (int)len, rest.ptr);
		len += end == NULL ? 0 : 1;
		rest = bc_span(rest.ptr + len, rest.len - len);
	}
}

/* An operator who changed what only a restart takes up would wait for it in vain. */
static void log_restart_needed(const struct cfg *running, const struct cfg *loaded)
{
	struct bc_buf names;

	bc_buf_init(&names, 4096);
	if (cfg_restart_needed(running, loaded, &names) == BC_OK && bc_buf_len(&names) > 0) {
		bc_log(BC_LOG_WARNING, NULL, "changed, but only a restart takes it up: %.*s",
		       BC_SPAN_ARG(bc_buf_span(&names)));
	}
	bc_buf_release(&names);
}

/* What was set up at the start and follows a reload; workers see to their own. */
static void configure(struct service *service)
{
	const struct cfg *cfg = service->cfg;

	bc_log_level_set(log_level(cfg));
	if (service->server.journal != NULL) {
		jrn_configure(service->server.journal, cfg->journal.retention,
			      cfg->journal.open_max);
	}
	if (service->admin != NULL) {
		net_acceptor_allow(service->admin, cfg->session.handshake_timeout);
	}
}

static void reload(struct service *service)
{
	struct bc_buf findings;
	struct cfg *cfg;

	notify_reloading(loop_clock());
	bc_buf_init(&findings, 65536);
	if (cfg_load(service->path, &findings, &cfg) != BC_OK) {
		log_findings(&findings);
		bc_log(BC_LOG_ERR, NULL,
		       "the new configuration is not usable, keeping the old one");
	} else if (cfg->tool_count > 0 && service->server.journal == NULL) {
		bc_log(BC_LOG_ERR, NULL,
		       "the first [[tool]] needs a restart (the journal opens at start), keeping the old configuration");
		cfg_unref(cfg);
	} else {
		log_restart_needed(service->cfg, cfg);
		for (unsigned i = 0; i < service->server.worker_count; i++) {
			worker_configure(&service->server.workers[i], cfg_ref(cfg));
		}
		cfg_unref(service->cfg);
		service->cfg = cfg;
		configure(service);
		bc_log(BC_LOG_NOTICE, NULL, "configuration read again; new sessions use it");
	}
	bc_buf_release(&findings);
	notify_ready();
}

static void stop_workers(struct service *service)
{
	for (unsigned i = 0; i < service->thread_count; i++) {
		worker_stop(&service->server.workers[i]);
	}
	if (service->loop != NULL) {
		loop_stop(service->loop);
	}
}

static void drain_workers(struct service *service)
{
	for (unsigned i = 0; i < service->server.worker_count; i++) {
		worker_drain(&service->server.workers[i]);
	}
}

static void begin_drain(struct service *service)
{
	if (service->draining) {
		bc_log(BC_LOG_NOTICE, NULL, "second signal, ending %u sessions at once",
		       atomic_load(&service->server.sessions));
		stop_workers(service);
		return;
	}
	service->draining = true;
	service->drain_until = loop_now(service->loop) + service->cfg->daemon.drain_timeout;
	atomic_store(&service->server.stopping, true);
	notify_stopping();
	bc_log(BC_LOG_NOTICE, NULL, "draining %u sessions for at most %lld s",
	       atomic_load(&service->server.sessions),
	       (long long)(service->cfg->daemon.drain_timeout / BC_USEC_PER_SEC));
	drain_workers(service);
}

static bool is_quiet(const struct service *service)
{
	for (unsigned i = 0; i < service->server.worker_count; i++) {
		if (!atomic_load(&service->server.workers[i].quiet)) {
			return false;
		}
	}
	return true;
}

/*
 * Whether every worker gave a sign of life since the last time all had.  A worker that hangs keeps its callers in silence:
 * then systemd is to restart us, and the journal knows the rest.  Busy workers need not all be in time for the same tick.
 */
static bool all_alive(struct service *service)
{
	bool alive = true;

	for (unsigned i = 0; i < service->thread_count; i++) {
		struct worker *worker = &service->server.workers[i];

		worker->seen = worker_is_alive(worker) || worker->seen;
		alive = alive && worker->seen;
	}
	for (unsigned i = 0; alive && i < service->thread_count; i++) {
		service->server.workers[i].seen = false;
	}
	return alive;
}

static void on_tick(void *arg)
{
	struct service *service = arg;

	if (all_alive(service)) {
		notify_watchdog();
	}
	inquiry_collect(&service->server);
	upstreams_save(service->server.upstreams);
	if (service->draining) {
		if (is_quiet(service) || loop_now(service->loop) >= service->drain_until) {
			stop_workers(service);
			return;
		}
		drain_workers(service);
	}
	loop_timer_start(service->tick, SERVER_TICK);
}

static void on_signal(void *arg, unsigned events)
{
	struct service *service = arg;
	struct signalfd_siginfo info;

	(void)events;
	while (read(service->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			reload(service);
		} else {
			begin_drain(service);
		}
	}
}

/* ---- start and end ---- */

static void report_open(void *arg, uint64_t intent, struct bc_span session, struct bc_span tool,
			enum jrn_effect effect, bool has_result)
{
	(void)arg;
	bc_log(BC_LOG_WARNING, NULL,
	       "journal: intent %llu of session %.*s was open: %s tool %.*s, %s; look at it with backchannel-journal",
	       (unsigned long long)intent, BC_SPAN_ARG(session),
	       effect == JRN_REVERSIBLE ? "reversible" : "hold", BC_SPAN_ARG(tool),
	       has_result ? "its result was recorded" : "its outcome is in doubt");
}

static enum bc_err open_journal(struct service *service, struct bc_buf *message)
{
	const struct cfg_journal *journal = &service->cfg->journal;
	struct jrn_conf conf = {.path = journal->path,
				.retention = journal->retention,
				.open_max = journal->open_max,
				.session_bytes_max = journal->session_bytes_max,
				.now = loop_clock};
	struct jrn_recovery found;
	enum bc_err err;

	if (service->cfg->tool_count == 0) {
		return BC_OK; /* a plain proxy keeps no journal */
	}
	err = jrn_open(&conf, report_open, NULL, &found, message, &service->server.journal);
	if (err == BC_OK) {
		bc_log(BC_LOG_NOTICE, NULL,
		       "journal %s: %llu reads and %llu effects were open, %llu are looked after",
		       journal->path, (unsigned long long)found.reads_open,
		       (unsigned long long)found.effects_open, (unsigned long long)found.adoptable);
	}
	return err;
}

static enum bc_err watch_signals(struct service *service)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
		return BC_E_SYSTEM;
	}
	service->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (service->signal_fd < 0) {
		return BC_E_SYSTEM;
	}
	service->signals = loop_io_new(service->loop, service->signal_fd, on_signal, service);
	service->tick = loop_timer_new(service->loop, on_tick, service);
	if (service->signals == NULL || service->tick == NULL) {
		return BC_E_NOMEM;
	}
	loop_io_set(service->signals, LOOP_READ);
	loop_timer_start(service->tick, SERVER_TICK);
	return BC_OK;
}

static unsigned cores(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	return count < 1 ? 1 : (unsigned)count;
}

static enum bc_err init_workers(struct service *service, struct bc_buf *message)
{
	struct server *server = &service->server;
	unsigned count = service->cfg->daemon.workers == 0 ? cores()
							   : (unsigned)service->cfg->daemon.workers;

	server->resolver = net_resolver_new();
	server->workers = calloc(count, sizeof(*server->workers));
	service->threads = calloc(count, sizeof(*service->threads));
	server->quota = quota_new();
	server->recorder = recorder_new(RECORDER_QUEUE_MAX);
	server->thrift = thrift_new();
	server->upstreams =
		upstreams_new(service->cfg->tool_count == 0 ? NULL : service->cfg->journal.path);
	if (server->resolver == NULL || server->quota == NULL || server->recorder == NULL ||
	    server->thrift == NULL || server->upstreams == NULL || server->workers == NULL ||
	    service->threads == NULL) {
		return BC_E_NOMEM;
	}
	for (unsigned i = 0; i < count; i++) {
		enum bc_err err = worker_init(&server->workers[i], server, service->cfg, message);

		server->worker_count = i + 1;
		if (err != BC_OK) {
			return err;
		}
	}
	worker_adopt(&server->workers[0]);
	if (server->journal != NULL) {
		recall(server, service->cfg, loop_wall(service->loop));
	}
	return BC_OK;
}

static void on_request(void *owner, struct adm_request *request, struct bc_span line)
{
	struct service *service = owner;

	inquiry_begin(&service->server, service->loop, service->cfg, request, line);
}

/* Nothing depends on it but an operator's curiosity. */
static void open_control(struct service *service)
{
	struct bc_buf message;

	bc_buf_init(&message, 1024);
	if (adm_control_new(service->loop, service->cfg->control.socket, on_request, service,
			    &message, &service->control) != BC_OK) {
		bc_log(BC_LOG_WARNING, NULL, "%.*s, going on without it",
		       BC_SPAN_ARG(bc_buf_span(&message)));
	}
	bc_buf_release(&message);
}

static enum bc_err init(struct service *service, struct bc_buf *message)
{
	enum bc_err err = loop_new(&service->loop);

	if (err != BC_OK) {
		return err;
	}
	service->io = net_io_new(service->loop);
	if (service->io == NULL) {
		return BC_E_NOMEM;
	}
	/* Signals first: threads inherit the mask. */
	err = watch_signals(service);
	if (err == BC_OK) {
		err = open_journal(service, message);
	}
	if (err == BC_OK) {
		err = init_workers(service, message);
	}
	return err == BC_OK ? open_admin(service, message) : err;
}

static enum bc_err start_threads(struct service *service)
{
	for (unsigned i = 0; i < service->server.worker_count; i++) {
		if (pthread_create(&service->threads[i], NULL, worker_run,
				   &service->server.workers[i]) != 0) {
			return BC_E_SYSTEM;
		}
		service->thread_count++;
	}
	return BC_OK;
}

static void fini(struct service *service)
{
	struct server *server = &service->server;

	for (unsigned i = 0; i < service->thread_count; i++) {
		(void)pthread_join(service->threads[i],
				   NULL); /* fails only for a thread that is not ours */
	}
	for (unsigned i = 0; i < server->worker_count; i++) {
		worker_fini(&server->workers[i]);
	}
	server->resolver = net_resolver_free(server->resolver);
	server->quota = quota_free(server->quota);
	server->recorder = recorder_free(server->recorder);
	server->thrift = thrift_free(server->thrift);
	server->upstreams = upstreams_free(server->upstreams);
	server->journal = jrn_close(server->journal);
	inquiry_collect(server);
	service->control = adm_control_free(service->control);
	service->admin = net_acceptor_free(service->admin);
	service->signals = loop_io_free(service->signals);
	service->tick = loop_timer_free(service->tick);
	if (service->signal_fd >= 0) {
		close(service->signal_fd);
	}
	service->io = net_io_free(service->io);
	service->loop = loop_free(service->loop);
	free(server->workers);
	free(service->threads);
	service->cfg = cfg_unref(service->cfg);
}

/* Two sockets a session, and the soft limit is often 1,024. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
			bc_log(BC_LOG_WARNING, NULL,
			       "the limit of open files could not be raised (%s), ignoring",
			       strerrorname_np(errno));
		}
	}
}

int server_run(struct cfg *cfg, const char *path)
{
	struct service service = {.path = path, .cfg = cfg_ref(cfg), .signal_fd = -1};
	struct bc_buf message;
	enum bc_err err;
	int status = 0;

	bc_log_level_set(log_level(cfg));
	raise_file_limit();
	bc_buf_init(&message, 8192);
	err = init(&service, &message);
	if (err == BC_OK) {
		err = start_threads(&service);
	}
	if (err != BC_OK) {
		bc_log(BC_LOG_ERR, NULL, "cannot start: %.*s (%s)",
		       BC_SPAN_ARG(bc_buf_span(&message)), bc_err_text(err));
		status = err == BC_E_EXISTS || err == BC_E_INVALID ? EXIT_CONFIG : 1;
		stop_workers(&service);
	} else {
		open_control(&service);
		bc_log(BC_LOG_NOTICE, NULL, "ready: %u workers, %zu listeners, %zu tools",
		       service.server.worker_count, cfg->listen_count, cfg->tool_count);
		notify_ready();
		loop_run(service.loop);
	}
	fini(&service);
	bc_buf_release(&message);
	bc_log(BC_LOG_NOTICE, NULL, "ended");
	return status;
}
