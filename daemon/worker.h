/*
 * One worker: a thread with its loop, its sockets and everything the sessions on it share.  A session lives on one
 * worker for life, so nothing on the path of a frame is locked.
 */
#ifndef BACKCHANNEL_WORKER_H
#define BACKCHANNEL_WORKER_H

#include "daemon/base/buf.h"
#include "daemon/config/config.h"
#include "daemon/net/accept.h"
#include "daemon/net/connect.h"
#include "daemon/session/session.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct bridge;
struct inquiry;
struct jrn;
struct jrn_port;
struct loop;
struct net_http;
struct quota;
struct recorder;
struct patterns;
struct server;
struct thrift;
struct tool_host;
struct upstreams;

TAILQ_HEAD(bridge_list, bridge);

#define WORKER_MAGIC 0x776f726bu

struct worker {
	uint32_t magic;
	struct server *server;
	struct loop *loop;
	struct net_io *io;
	struct net_acceptor *acceptor;
	struct net_connector *connector;
	struct net_http *http;
	struct jrn_port *port;     /* NULL: no tools are configured */
	struct tool_host *tools;   /* likewise */
	struct patterns *patterns; /* of calls; likewise */
	struct cfg *cfg;           /* snapshot new sessions get; changed on this thread only */
	struct toolset *toolset;   /* of that snapshot; NULL: no tools */
	struct bridge_list bridges;
	_Atomic bool asked;        /* for a sign of life that has not come yet */
	bool seen;                 /* main thread's: it gave one since the manager was told */
	_Atomic unsigned sessions; /* read by other threads to find the least loaded worker */
	bool draining;
	_Atomic bool quiet;   /* draining, and no session and no tool call is left: stays so */
	struct cfg **retired; /* older snapshots that a running tool call may still read */
	size_t retired_count;
	bool stopped;
};

/* What all workers share; owned by server.c. */
struct server {
	struct worker *workers;
	unsigned worker_count;
	struct net_resolver *resolver;
	struct jrn *journal; /* NULL: no tools are configured */
	struct quota *quota;
	struct recorder *recorder;
	struct upstreams *upstreams; /* what was noticed of them */
	struct thrift *thrift;       /* what guessing has taught */
	_Atomic unsigned sessions;   /* over all workers, and places taken for those to come */
	struct inquiry *_Atomic
		unposted;      /* answers that found no memory on their way to the main thread */
	_Atomic bool stopping; /* no new sessions */
};

/*
 * Everything a worker needs, without its thread.  BC_E_SYSTEM, BC_E_INVALID, BC_E_NOMEM, BC_E_JOURNAL: message says
 * what and what to do; worker_fini() cleans up after success and failure.  Main thread, before any worker runs.
 */
enum bc_err worker_init(struct worker *worker, struct server *server, struct cfg *cfg,
			struct bc_buf *reterr_message) BC_MUST;

/* The thread must have ended, or never begun. */
void worker_fini(struct worker *worker);

/* Body of the worker's thread, arg being the worker: serves until worker_stop(). */
void *worker_run(void *arg);

/*
 * From any thread: ask the worker for a sign of life, and whether it gave the last one.  False: it has not come round its
 * loop since the question before.
 */
bool worker_is_alive(struct worker *worker);

/*
 * From any thread: take no new sessions; those that run go on, and so do tool calls that outlive theirs.  Sets quiet
 * when nothing is left; called again and again until then.
 */
void worker_drain(struct worker *worker);

/* From any thread: end every session now and leave worker_run(). */
void worker_stop(struct worker *worker);

/* From any thread: new sessions get this snapshot; takes over one reference. */
void worker_configure(struct worker *worker, struct cfg *cfg);

/* Look after what a crash left open in the journal; one worker, once, when all workers are there and none runs yet. */
void worker_adopt(struct worker *worker);

/* From a worker's thread: an effect has changed what has this tag; all sessions of all workers hear of it soon. */
void server_tag_changed(struct server *server, const char *tag);

/* A session lets go of its snapshot; a tool call that outlives the session may still read it.  Worker's thread. */
void worker_cfg_unref(struct worker *worker, struct cfg *cfg);

/* A session of the worker began, in a place that was taken for it, or ended, which gives the place back. */
void worker_session_began(struct worker *worker, struct bridge *bridge);
void worker_session_ended(struct worker *worker, struct bridge *bridge);

/* ---- reception.c ---- */

/* Judges handshakes and begins sessions; the owner is the worker. */
extern const struct net_accept_ops worker_accept_ops;

/* The acceptor of the worker with the fewest sessions, which takes the next one.  Any worker's thread. */
struct net_acceptor *worker_least_loaded(void *owner);

/* A place for a session, never more than sessions_max at once; false: there is none.  Any thread. */
bool server_place_take(struct server *server, uint64_t sessions_max);
/* No session came of it.  Any thread. */
void server_place_give(struct server *server);

#endif
