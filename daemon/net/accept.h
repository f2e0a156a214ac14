/*
 * Clients' side: our own listening sockets (SO_REUSEPORT, one per worker), a queue before TLS (see hold.h), libwebsockets
 * for TLS and as the owner of the socket, our own reading of the request (see head.h for why), then the takeover of
 * socket and TLS state as a net_link.
 */
#ifndef BACKCHANNEL_NET_ACCEPT_H
#define BACKCHANNEL_NET_ACCEPT_H

#include "daemon/base/err.h"
#include "daemon/base/span.h"
#include "daemon/net/link.h"

#include <stdint.h>

struct cfg;
struct net_acceptor; /* one per worker */

/* What a client asked for in its handshake.  Spans are valid during the callback. */
struct net_upgrade {
	struct bc_span path;    /* duplicate slashes collapsed */
	struct bc_span query;   /* as it came, without key, api-key and access_token */
	struct bc_span key;     /* the client's, from wherever it stood; empty: none */
	struct bc_span peer;    /* address, for the log */
	struct bc_span network; /* what of the address counts as one client, see peer.h */
	struct bc_span user_agent;
	bool beta; /* asked for the beta dialect (header or subprotocol) */
	/* OpenAI-Organization, -Project and -Safety-Identifier as lines with CRLF, to go upstream */
	struct bc_span forwarded_headers;
};

/* How an upgrade is answered. */
struct net_verdict {
	unsigned status;     /* 101: accept; else the HTTP status */
	struct bc_span body; /* JSON, for any other status; static or valid until the next call */
	struct net_link_conf conf; /* for 101 */
	void *arg;                 /* for 101: handed to established */
};

/*
 * upgrade       judge a handshake
 * established   the link of an accepted client; set its ops' arg by returning it.  Called exactly once for each 101
 *               unless the connection broke first: then abandoned(arg) is called
 * http          a GET or HEAD on a listener without upgrades: return the status, fill body (at most 1 MiB) and *ret_type,
 *               which must be static (/healthz, /readyz, /metrics); path has no query.  NULL: everything is 404
 *
 * What is malformed, or no upgrade where upgrades are served, is refused (400, 405, 426, 431) without asking.
 */
struct net_accept_ops {
	void (*upgrade)(void *owner, const struct net_upgrade *request, struct net_verdict *ret);
	const struct net_link_ops *link_ops;
	void (*established)(void *owner, void *arg, struct net_link *link);
	void (*abandoned)(void *owner, void *arg);
	unsigned (*http)(void *owner, struct bc_span path, struct bc_buf *body,
			 const char **ret_type);
};

/* One socket to listen on; certificate and key NULL for plain text. */
struct net_listener_conf {
	const char *address;
	uint16_t port;
	const char *certificate;
	const char *key;
	bool upgrades; /* false: HTTP only (admin) */
};

/* How much of an acceptor clients may hold who are not through yet. */
struct net_accept_limits {
	bc_usec handshake_timeout; /* covers TLS and the request together */
	unsigned handshakes_max;   /* at once, at least 1; then clients wait in the kernel */
};

/*
 * An acceptor on this worker's loop with its own sockets for all listeners, at most 8.  pick chooses the worker for an
 * accepted socket (fewest sessions): it returns the acceptor to use, which may live on another thread and must have
 * the same listeners; the socket is handed over before any byte is read.  NULL: always this one.  No acceptor that
 * pick may return may be freed before all are stopped.  While handshakes_max handshakes are going on nobody is accepted,
 * and those that have taken longer than a second are cut to make room, so that silent clients hold up nobody for long.
 * A worker that is full is passed over for the one that accepts.
 * BC_E_SYSTEM, BC_E_INVALID (certificate): message says what and where.
 */
enum bc_err net_acceptor_new(struct net_io *io, const struct net_listener_conf *listeners,
			     size_t count, const struct net_accept_limits *limits,
			     const struct net_accept_ops *ops, void *owner,
			     struct net_acceptor *(*pick)(void *owner),
			     struct bc_buf *reterr_message, struct net_acceptor **ret) BC_MUST;

/* How long handshakes that begin from now on may take.  On the acceptor's thread. */
void net_acceptor_allow(struct net_acceptor *acceptor, bc_usec handshake_timeout);

/* Stop accepting: the sockets are closed, running handshakes and links go on.  May be called twice. */
void net_acceptor_stop(struct net_acceptor *acceptor);

/* Handshakes are cut; a link that is still open is told that its connection broke.  Before net_io_free(). */
struct net_acceptor *net_acceptor_free(struct net_acceptor *acceptor);

#endif
