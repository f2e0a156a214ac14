/*
 * HTTP requests to tool servers and to a reasoner: libcurl's multi interface on the worker's loop.  The only user of curl.
 */
#ifndef BACKCHANNEL_NET_HTTP_H
#define BACKCHANNEL_NET_HTTP_H

#include "daemon/base/bug.h"
#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdbool.h>

struct loop;
struct net_http;      /* one per worker: connection pool */
struct net_http_call; /* one request */

/*
 * A pool on loop.  ca_file: PEM file of the accepted CAs, NULL: the system's; copied.  NULL when out of memory.
 * The process must ignore SIGPIPE.
 */
struct net_http *net_http_new(struct loop *loop, const char *ca_file);

/* Whom requests that begin from now on trust: ca_file as above.  BC_E_NOMEM: the same as before. */
enum bc_err net_http_trust(struct net_http *http, const char *ca_file) BC_MUST;
struct net_http *net_http_free(struct net_http *http); /* no call may be open */

struct net_http_request {
	const char *method;
	const char *url;            /* http or https only */
	const char *const *headers; /* "Name: value", n of them */
	size_t header_count;
	struct bc_span body; /* copied; empty with has_body false: none */
	bool has_body;
	bc_usec timeout;
	size_t response_max; /* bytes of body, also of one that is handed out in pieces */
	bool once; /* an effect: never sent a second time, not even by the library on a dead pooled connection */
	const char *
		ca_file; /* PEM file of the accepted CAs for this request; copied; NULL: the pool's */
	/*
	 * The body of a 2xx answer as it comes, in pieces; arg as for the end; valid during the call.  NULL: it is gathered, and handed out at the
	 * end.  The bodies of other answers are gathered in any case.
	 */
	void (*bytes)(void *arg, struct bc_span bytes);
};

enum net_http_end {
	NET_HTTP_DONE,        /* an answer came: see status */
	NET_HTTP_TIMEOUT,     /* at whatever point; sent tells whether the server may have begun */
	NET_HTTP_UNREACHABLE, /* no byte of the request can have been processed */
	NET_HTTP_LOST,        /* the connection broke after (part of) the request was sent */
	NET_HTTP_TOO_BIG      /* the body exceeded response_max */
};

struct net_http_answer {
	enum net_http_end end;
	int status;          /* 0: no status line came */
	struct bc_span body; /* valid during the callback; empty if it was handed out in pieces */
	struct bc_span type; /* Content-Type */
	bool sent;           /* whether any byte of the request may have reached the server */
	bc_usec retry_after; /* what the server asked for by Retry-After, at most a day; 0: nothing */
	const char *detail; /* for the log; static */
};

typedef void net_http_fn(void *arg, const struct net_http_answer *answer);

/*
 * Start; fn is called once, from the loop, unless cancelled, behind the last piece; the call is gone when fn returns.  Redirects are answers like
 * any other, HTTP/1.1 only, no proxy.  BC_E_NOMEM; BC_E_INVALID: the URL is not http or https, or the URL, the method or a
 * header holds a character it must not hold.
 */
enum bc_err net_http_start(struct net_http *http, const struct net_http_request *request,
			   net_http_fn *fn, void *arg, struct net_http_call **ret) BC_MUST;

/* Stop; no callback follows.  Allowed at any time, also inside a callback of any call.  What was sent stays sent. */
void net_http_cancel(struct net_http_call *call);

#endif
