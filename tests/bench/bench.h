/*
 * Both ends of every session of the bench: the client's connection to the proxy, and the provider's connection that
 * the proxy opens in turn, in one thread around one epoll.  A message can so be timed, and the next one sent, the
 * moment it comes out at the other end.
 */
#ifndef BACKCHANNEL_TESTS_BENCH_BENCH_H
#define BACKCHANNEL_TESTS_BENCH_BENCH_H

#include "daemon/base/buf.h"
#include "proto/handshake.h"
#include "proto/ws.h"
#include "tests/bench/payload.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_RX_SIZE     ((size_t)256 * 1024)
#define BENCH_FLIGHT_MAX  16 /* messages of one direction of a session that are on their way */
#define BENCH_FAILURE_MAX 200

enum phase {
	PHASE_CONNECTING,
	PHASE_TLS,
	PHASE_HEAD, /* waiting for the peer's HTTP head */
	PHASE_OPEN
};

/* The frame that is being read. */
struct reader {
	uint8_t head[WS_HEAD_MAX];
	uint8_t head_len;
	bool in_payload;
	bool keep; /* the payload is wanted, not only its length */
	uint64_t len;
	uint64_t left;
};

struct end {
	struct end *twin; /* other end of the session; NULL until it is known */
	SSL *ssl;
	int fd;
	bool is_client;
	bool wants_out;
	bool check; /* compare the next message with what was sent */
	enum phase phase;
	struct reader reader;
	struct bc_buf in;                /* HTTP head, or kept payload */
	size_t offset;                   /* bytes of the message being sent that have gone */
	unsigned queued;                 /* messages to be sent, the one being sent included */
	unsigned sent;                   /* messages sent, modulo 2^32 */
	unsigned arrived;                /* of those */
	uint64_t when[BENCH_FLIGHT_MAX]; /* ns; when a message was sent, by its number */
	char key[WS_KEY_SIZE];
};

struct bench {
	int epoll;
	int listener;
	uint16_t port; /* of the provider's side */
	uint16_t proxy_port;
	SSL_CTX *client_tls; /* NULL: plain */
	SSL_CTX *server_tls;
	struct end *clients;
	struct end *servers;
	size_t wanted; /* sessions */
	size_t begun;
	size_t accepted;
	size_t ready;
	struct message messages[2]; /* by direction; empty between runs */
	size_t expected;            /* bytes of a message; others are not counted; 0 between runs */
	/* A whole message has come out at its end; its ns on the way. */
	void (*arrived)(void *arg, struct end *end, uint64_t ns);
	void *arrived_arg;
	uint64_t control; /* messages that were none of ours */
	char failure[BENCH_FAILURE_MAX];
	uint8_t rx[BENCH_RX_SIZE];
};

/* Nanoseconds of the monotonic clock. */
uint64_t bench_now(void);

/* Note the first failure; everything stops as soon as it is seen. */
void bench_fail(struct bench *bench, const char *format, ...) BC_PRINTF(2, 3);

static inline bool bench_failed(const struct bench *bench)
{
	return bench->failure[0] != '\0';
}

/* Listen as the provider on a port of 127.0.0.1 that the kernel chooses; ends the process if that fails. */
void bench_open(struct bench *bench, size_t sessions);

/* Open all sessions through the proxy and wait until nothing moves any more. */
void bench_connect(struct bench *bench, uint16_t proxy_port);

/* Wait up to timeout ms for events and deal with them; returns how many there were. */
int bench_turn(struct bench *bench, int timeout);

/* Begin a connection, or take one over that was accepted. */
void end_connect(struct bench *bench, struct end *end);
void end_accept(struct bench *bench, struct end *end, int fd);

/* Something happened on the end's socket. */
void end_act(struct bench *bench, struct end *end, uint32_t events);

/* Send the message of the end's direction; false: too many are on their way. */
bool end_send(struct bench *bench, struct end *end);

/* Send a short text at once; only while no message is being sent. */
void end_say(struct bench *bench, struct end *end, const char *text);

/* Bytes of an open connection. */
void end_feed(struct bench *bench, struct end *end, const uint8_t *bytes, size_t len);

/* A connection is open: as the provider, say so.  A text that is no message of the bench: act on it. */
void session_opened(struct bench *bench, struct end *end);
void session_text(struct bench *bench, struct end *end, struct bc_span text);

#endif
