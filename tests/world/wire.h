/*
 * WebSocket endpoints for the test programs, both roles, on the caller's libev loop: accept or connect,
 * TLS, the HTTP upgrade, whole text messages in and out.  Single-threaded; only 127.0.0.1 is ever used.
 *
 * A wire ends by itself: closed() is called exactly once, as the last callback, and the wire is freed
 * when it returns.  All other functions may be called from inside a callback.
 */
#ifndef BACKCHANNEL_TESTS_WORLD_WIRE_H
#define BACKCHANNEL_TESTS_WORLD_WIRE_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire;
struct wire_listener;
struct wire_tls;

#define WIRE_MESSAGE_MAX ((size_t)32 << 20) /* payload bytes of the longest message accepted */

/* What happens on a wire; every member may be NULL. */
struct wire_handlers {
	/* The upgrade is done: messages may be sent from now on. */
	void (*opened)(void *arg, struct wire *wire);
	/* One whole text message; text is valid during the call only. */
	void (*message)(void *arg, struct wire *wire, struct bc_span text);
	/* The end: the peer's close code (1005: none, 1006: lost, also when it never opened) and reason. */
	void (*closed)(void *arg, struct wire *wire, uint16_t code, struct bc_span reason);
};

/* An upgrade request as it came; views are valid during accept() only. */
struct wire_request {
	struct bc_span target;  /* path and query */
	struct bc_span headers; /* all header lines, each ending in CRLF */
};

/* Value of the first header of that name (any case), blanks trimmed; false if there is none. */
bool wire_request_header(const struct wire_request *request, const char *name, struct bc_span *ret);

/* Value of a query key, percent-decoded into out as a string; false if absent or longer than size. */
bool wire_request_query(const struct wire_request *request, const char *key, char *out,
			size_t size);

/* What a server says to an upgrade request. */
struct wire_verdict {
	unsigned status;  /* 101 goes on; any other status is answered with body and closed */
	const char *body; /* JSON text of a refusal; NULL: "{}" */
	const char *subprotocol;              /* echoed with 101; NULL: none */
	const struct wire_handlers *handlers; /* of the wire from here on; with 101 */
	void *arg;
};

struct wire_listen_conf {
	unsigned port;        /* 0: any free one */
	struct wire_tls *tls; /* NULL: plain */
	struct wire_verdict (*accept)(void *arg, struct wire *wire,
				      const struct wire_request *request);
	void *arg;
};

/*
 * Listen on 127.0.0.1.  BC_E_SYSTEM when the address cannot be had (errno says why).
 * conf is copied; its tls must outlive the listener and its wires.
 */
enum bc_err wire_listen(struct ev_loop *loop, const struct wire_listen_conf *conf,
			struct wire_listener **ret) BC_MUST;

/* The port really listened on. */
unsigned wire_listener_port(const struct wire_listener *listener);

/* Stop listening; wires already accepted stay.  Always NULL. */
struct wire_listener *wire_listener_free(struct wire_listener *listener);

struct wire_connect_conf {
	unsigned port;
	struct wire_tls *tls;     /* NULL: plain */
	const char *host;         /* for Host, SNI and the certificate's name; NULL: "localhost" */
	const char *target;       /* path and query */
	const char *headers;      /* further header lines, each ending in CRLF; NULL: none */
	const char *subprotocols; /* value of Sec-WebSocket-Protocol; NULL: none */
};

/*
 * Connect to 127.0.0.1:port.  A refusal or a bad handshake comes as closed() with 1006 and a reason.
 * BC_E_SYSTEM when not even a socket could be made (no callback then).
 */
enum bc_err wire_connect(struct ev_loop *loop, const struct wire_connect_conf *conf,
			 const struct wire_handlers *handlers, void *arg,
			 struct wire **ret) BC_MUST;

/* HTTP status of the answer to a client's upgrade request; 0 before it came. */
unsigned wire_status(const struct wire *wire);

/* Queue one text message; dropped silently once the wire is closing. */
void wire_send(struct wire *wire, struct bc_span text);

/* Bytes queued that the socket has not taken yet. */
size_t wire_backlog(const struct wire *wire);

/* Stop (true) or go on reading: a peer that does not listen. */
void wire_pause(struct wire *wire, bool paused);

/* Send a close frame after what is queued and wait up to 2 s for the peer's; then closed(). */
void wire_close(struct wire *wire, uint16_t code, const char *reason);

/* Cut the connection without a close frame; closed() is called with 1006 from the loop, not from here. */
void wire_abort(struct wire *wire);

/* TLS of a server from PEM files; NULL (and a line on stderr) if they are unusable. */
struct wire_tls *wire_tls_server(const char *cert_file, const char *key_file);

/* TLS of a client that trusts the PEM file ca_file only; NULL (and a line on stderr) if unusable. */
struct wire_tls *wire_tls_client(const char *ca_file);

/* Always NULL; NULL is accepted. */
struct wire_tls *wire_tls_free(struct wire_tls *tls);

#endif
