/*
 * A provider for test_connect: a thread that takes one connection after the other and treats it well or badly, also
 * as an HTTP proxy and with TLS.  One per process.
 */
#ifndef BACKCHANNEL_TESTS_UPGRADER_H
#define BACKCHANNEL_TESTS_UPGRADER_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define HEAD_MAX 8192

/* What the server does with an upgrade request. */
enum manner {
	UPGRADE,
	UPGRADE_AND_SPEAK, /* frames in the same segment as the 101 */
	UPGRADE_PIECEWISE, /* the 101 byte by byte */
	STATUS,
	SILENT,
	GARBAGE,
	BAD_ACCEPT,
	ENDLESS,
	HANG_UP
};

/* What it does before, as a proxy. */
enum tunnel {
	NO_PROXY,
	TUNNEL,
	TUNNEL_STATUS,
	TUNNEL_SILENT,
	TUNNEL_CHATTY,
	TUNNEL_HANG_UP
};

struct upgrader {
	enum manner manner;
	enum tunnel tunnel;
	unsigned status;
	SSL_CTX *tls;     /* NULL: plain */
	bool mute_in_tls; /* never answers the ClientHello */
	int listener;
	unsigned port;
	pthread_t thread;
	atomic_uint reached; /* requests seen by a silent server */
	atomic_uint closed;  /* connections whose end it saw */
	atomic_uint resumed; /* TLS sessions that were resumed */
	char asked[HEAD_MAX];
	char asked_tunnel[HEAD_MAX];
	char sni[64];
};

extern struct upgrader server;

/* A socket bound to address; port 0: any. */
int bind_to(const char *address, unsigned port, unsigned *ret_port);

/* For server.tls, with a certificate and its key. */
SSL_CTX *make_server_tls(const char *cert, const char *key);

/* Begin to serve, after server has been filled. */
void start_server(void);

/* End the thread; it must be between two connections.  Also when it was not started. */
void stop_server(void);

#endif
