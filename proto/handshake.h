/*
 * The HTTP/1.1 part of a WebSocket connection, seen from the client: our request, the server's answer;
 * and the two computations both sides share.  Pure.
 */
#ifndef BACKCHANNEL_PROTO_HANDSHAKE_H
#define BACKCHANNEL_PROTO_HANDSHAKE_H

#include "daemon/base/buf.h"

#include <stddef.h>

#define WS_KEY_SIZE    25 /* base64 of 16 bytes and NUL */
#define WS_ACCEPT_SIZE 29 /* base64 of a SHA-1 and NUL */

#define WS_ANSWER_MAX 16384 /* bytes of the longest answer head we read */

/* A fresh Sec-WebSocket-Key. */
void ws_key_new(char key[WS_KEY_SIZE]);

/* The Sec-WebSocket-Accept that belongs to a key (not necessarily of our length).  Source: RFC 6455 4.2.2. */
void ws_accept_make(struct bc_span key, char accept[WS_ACCEPT_SIZE]);

struct ws_request {
	struct bc_span host;         /* value of Host, with port when it is not the scheme's */
	struct bc_span target;       /* path and query, begins with '/' */
	const char *key;             /* from ws_key_new() */
	struct bc_span headers;      /* further lines, each ending in CRLF; may be empty */
	struct bc_span subprotocols; /* value of Sec-WebSocket-Protocol; empty: none */
};

/*
 * Append the request, all or nothing.  BC_E_INVALID if a value holds a control character, host or target a
 * blank, or headers is anything but whole field lines; errors of bc_buf_put().
 */
enum bc_err ws_request_put(struct bc_buf *out, const struct ws_request *request) BC_MUST;

struct ws_answer {
	unsigned status;       /* HTTP status */
	size_t head_len;       /* bytes up to and including the empty line; frames may follow */
	struct bc_span reason; /* reason phrase; into data */
	size_t content_len;    /* Content-Length, or SIZE_MAX when absent */
	struct bc_span subprotocol;
};

/*
 * Read the answer to a request made with key.  BC_E_AGAIN: incomplete, call again with more;
 * BC_E_LIMIT: head longer than WS_ANSWER_MAX; BC_E_PROTO: not HTTP/1.1, or a 101 whose Upgrade, Connection,
 * Sec-WebSocket-Accept are wrong, that names an extension, or a subprotocol that was not offered.
 * Interim answers (1xx but 101) are passed over; head_len counts them.
 * BC_OK also for every other status: look at ret->status.
 * Source: RFC 6455 4.1, RFC 9112.
 */
enum bc_err ws_answer_parse(struct bc_span data, const struct ws_request *request,
			    struct ws_answer *ret) BC_MUST;

/*
 * Read the answer of an HTTP proxy to CONNECT: only status and head_len are filled.  Errors as above, but
 * HTTP/1.0 is accepted too, which small proxies still speak.
 * Source: RFC 9110 9.3.6.
 */
enum bc_err http_connect_answer_parse(struct bc_span data, struct ws_answer *ret) BC_MUST;

#endif
