/* What the files of the wire share. */
#ifndef BACKCHANNEL_TESTS_WORLD_WIRE_INTERNAL_H
#define BACKCHANNEL_TESTS_WORLD_WIRE_INTERNAL_H

#include "proto/handshake.h"
#include "proto/ws.h"
#include "tests/world/wire.h"

#include <openssl/ssl.h>

#define WIRE_MAGIC     0x77697265u
#define WIRE_HEAD_MAX  ((size_t)64 << 10) /* bytes of the longest HTTP head read */
#define WIRE_CLOSE_S   2.0                /* seconds a close frame waits for its answer */
#define WIRE_QUEUE_MAX ((size_t)1 << 30)  /* bytes queued for a peer that does not read */

struct wire_tls {
	SSL_CTX *ctx;
};

enum wire_phase {
	WIRE_CONNECTING, /* TCP connect under way */
	WIRE_TLS,        /* TLS handshake under way */
	WIRE_HEAD,       /* waiting for the peer's HTTP head */
	WIRE_OPEN,
	WIRE_CLOSING, /* our close frame is queued or sent */
	WIRE_REFUSED, /* an HTTP refusal is queued, the end follows it */
	WIRE_ENDED    /* only closed() is left to be called */
};

struct wire {
	uint32_t magic;
	struct ev_loop *loop;
	ev_io reader;
	ev_io writer;
	ev_timer
		timer; /* close deadline; with 0 s the way to closed() from outside any other callback */
	int fd;
	SSL *ssl;
	enum wire_phase phase;
	enum ws_role role;
	bool paused;
	bool peer_closed; /* the peer's close frame has come */
	struct ws_decoder decoder;
	struct bc_buf in;
	struct bc_buf out;
	const struct wire_handlers *handlers;
	void *arg;
	unsigned status;
	uint16_t close_code;
	char reason[WS_REASON_MAX + 1];
	/* server, until the upgrade */
	struct wire_verdict (*accept)(void *arg, struct wire *wire,
				      const struct wire_request *request);
	void *accept_arg;
	/* client, until the upgrade */
	char key[WS_KEY_SIZE];
	char *subprotocols;
	struct bc_buf request;
};

/* A new wire on a connected or connecting non-blocking socket, which it owns; NULL when out of memory. */
struct wire *wire_new(struct ev_loop *loop, int fd, enum ws_role role);

/* Begin TLS if there is a context; false when OpenSSL has no object for it. */
bool wire_tls_begin(struct wire *wire, struct wire_tls *tls, const char *host);

/* End the wire: the first call's code and reason count. */
void wire_end(struct wire *wire, uint16_t code, const char *reason);

/* The upgrade is done. */
void wire_opened(struct wire *wire);

/* Queue bytes as they are. */
void wire_put(struct wire *wire, struct bc_span bytes);

/* Look for a whole HTTP head in what has come, and act on it; true when it was taken. */
bool wire_head_take(struct wire *wire);

/* Move the TLS handshake on; true when it is done. */
bool wire_tls_step(struct wire *wire);

/* Watch for what the wire waits for. */
void wire_watch(struct wire *wire);

#endif
