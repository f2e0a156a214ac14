/*
 * Reaching a provider: look-up on the resolver thread, connect, HTTP proxy, TLS, RFC 6455 handshake, each without
 * blocking, all within one deadline.
 */
#ifndef BACKCHANNEL_NET_CONNECT_H
#define BACKCHANNEL_NET_CONNECT_H

#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"
#include "daemon/net/link.h"

struct net_connector; /* one per worker: TLS contexts, sessions for resumption, resolver */
struct net_connect;   /* one attempt */
struct net_resolver;  /* one thread for the process */

struct net_resolver *net_resolver_new(void); /* NULL: no thread or memory */

/* No attempt of any connector may be open any more.  Never waits for a name server.  Accepts NULL, returns NULL. */
struct net_resolver *net_resolver_free(struct net_resolver *resolver);

/* NULL when out of memory.  Free before io and resolver, when no attempt is open; links made by it live on. */
struct net_connector *net_connector_new(struct net_io *io, struct net_resolver *resolver);
struct net_connector *net_connector_free(struct net_connector *connector);

struct net_target {
	const char *url; /* ws:// or wss://, with path */
	/* appended to the URL's own query; "" for none; already percent-encoded */
	struct bc_span query;
	const char *header_name; /* of the key: "Authorization" or "api-key"; NULL: none */
	const char *header_value;
	const char *ca_file; /* NULL: the system's */
	const char *proxy;   /* http://host:port, asked to CONNECT; NULL: none */
	bc_usec timeout;
	struct bc_span headers; /* further request headers, each line ending in CRLF */
};

/*
 * Why an attempt failed.  Statuses 408, 425, 429 and from 500 on are BC_E_UPSTREAM, every other but 101 BC_E_REFUSED, redirects
 * among them; from a proxy likewise, with stage "proxy".  BC_E_INVALID also for a URL, header or CA file that cannot be used.
 */
struct net_connect_failure {
	/*
	 * BC_E_UPSTREAM: cannot be reached now; BC_E_REFUSED: the provider answered with a status that
	 * will not change by itself (400, 401, 403, 404); BC_E_TIMEOUT; BC_E_PROTO; BC_E_INVALID:
	 * certificate
	 */
	enum bc_err err;
	unsigned status;    /* HTTP status, 0: none came */
	const char *stage;  /* "resolve", "connect", "proxy", "tls", "handshake" */
	const char *detail; /* for the log; no secret in it; valid during the callback */
};

/*
 * Start.  Exactly one of connected and failed is called, from the loop, unless net_connect_cancel() comes first; the attempt
 * is gone when it returns.  connected gets a link of role WS_CLIENT (messages wait until the callback has returned).
 * target and conf are copied, ops and link_ops must live on.  NULL when out of memory: nothing is called.
 */
struct net_connect_ops {
	void (*connected)(void *arg, struct net_link *link);
	void (*failed)(void *arg, const struct net_connect_failure *failure);
};
struct net_connect *net_connect_start(struct net_connector *connector,
				      const struct net_target *target,
				      const struct net_link_conf *conf,
				      const struct net_connect_ops *ops,
				      const struct net_link_ops *link_ops, void *arg);

/* Give up, at any time; no callback comes any more. */
void net_connect_cancel(struct net_connect *attempt);

#endif
