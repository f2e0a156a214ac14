/* Where a URL of the configuration leads: the few parts of it that a connection needs.  Pure. */
#ifndef BACKCHANNEL_NET_ENDPOINT_H
#define BACKCHANNEL_NET_ENDPOINT_H

#include "daemon/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define NET_HOST_SIZE 256 /* the longest host name and NUL */

struct net_endpoint {
	bool tls;                 /* wss */
	bool has_brackets;        /* host is an IPv6 address */
	uint16_t port;            /* the scheme's when the URL names none */
	bool has_own_port;        /* port is not the scheme's */
	char host[NET_HOST_SIZE]; /* without brackets */
	struct bc_span rest;      /* path and query, into the URL; may be empty */
};

/*
 * Split scheme://host[:port][path][?query] with scheme ws, wss or http.  BC_E_INVALID: another scheme, a user name, a
 * fragment, no host, or a port out of range.
 * Source: RFC 3986 3.
 */
enum bc_err net_endpoint_parse(const char *url, struct net_endpoint *ret) BC_MUST;

/* Append host:port, with brackets where they belong; the port only if always, or not the scheme's.  Errors of bc_buf_put(). */
enum bc_err net_endpoint_put(struct bc_buf *out, const struct net_endpoint *endpoint,
			     bool always) BC_MUST;

/* Append what a request asks for: the URL's path and query, and more behind the query.  Errors of bc_buf_put(). */
enum bc_err net_endpoint_put_target(struct bc_buf *out, const struct net_endpoint *endpoint,
				    struct bc_span more) BC_MUST;

#endif
