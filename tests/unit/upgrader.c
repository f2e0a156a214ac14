#include "tests/unit/upgrader.h"

#include "proto/handshake.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct upgrader server = {.listener = -1};

struct peer {
	int fd;
	SSL *ssl;
};

static ssize_t peer_read(const struct peer *peer, char *buf, size_t len)
{
	return peer->ssl == NULL ? recv(peer->fd, buf, len, 0) : SSL_read(peer->ssl, buf, (int)len);
}

static void peer_write(const struct peer *peer, const char *bytes, size_t len)
{
	if (peer->ssl == NULL) {
		(void)!send(peer->fd, bytes, len, MSG_NOSIGNAL);
	} else {
		(void)SSL_write(peer->ssl, bytes, (int)len);
	}
}

static void peer_say(const struct peer *peer, const char *text)
{
	peer_write(peer, text, strlen(text));
}

/* Read up to the empty line; false when the peer closed before. */
static bool peer_read_head(const struct peer *peer, char head[HEAD_MAX])
{
	size_t len = 0;

	for (;;) {
		ssize_t got = peer_read(peer, head + len, HEAD_MAX - 1 - len);

		if (got <= 0) {
			return false;
		}
		len += (size_t)got;
		head[len] = '\0';
		if (strstr(head, "\r\n\r\n") != NULL) {
			return true;
		}
	}
}

static void wait_for_end(const struct peer *peer)
{
	char rest[512];

	atomic_fetch_add(&server.reached, 1);
	while (peer_read(peer, rest, sizeof(rest)) > 0) {
	}
	atomic_fetch_add(&server.closed, 1);
}

static void upgrade(const struct peer *peer, const char *frames, bool piecewise, bool bad)
{
	const char *field = strstr(server.asked, "Sec-WebSocket-Key: ");
	char accept_value[WS_ACCEPT_SIZE];
	char text[512];
	int len;

	ck_assert_ptr_nonnull(field);
	field += strlen("Sec-WebSocket-Key: ");
	ws_accept_make(bc_span(field, strcspn(field, "\r")), accept_value);
	if (bad) {
		accept_value[0] = accept_value[0] == 'A' ? 'B' : 'A';
	}
	len = snprintf(text, sizeof(text),
		       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		       "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n%s",
		       accept_value, frames);
	for (int i = 0; piecewise && i < len; i++) {
		peer_write(peer, text + i, 1);
	}
	if (!piecewise) {
		peer_write(peer, text, (size_t)len);
	}
	wait_for_end(peer);
}

static void flood(const struct peer *peer)
{
	char line[1024];

	memset(line, 'x', sizeof(line));
	memcpy(line, "X-Filler: ", 10);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	peer_say(peer, "HTTP/1.1 101 Switching Protocols\r\n");
	for (int i = 0; i < 64; i++) {
		peer_write(peer, line, sizeof(line));
	}
	wait_for_end(peer);
}

static void say_status(const struct peer *peer)
{
	char text[256];

	(void)snprintf(
		text, sizeof(text),
		"HTTP/1.1 %u Because\r\nContent-Length: 21\r\n\r\n{\"secret\":\"in body\"}\n",
		server.status);
	peer_say(peer, text);
	wait_for_end(peer);
}

static void serve_upgrade(const struct peer *peer)
{
	if (!peer_read_head(peer, server.asked)) {
		atomic_fetch_add(&server.closed, 1);
		return;
	}
	switch (server.manner) {
	case UPGRADE:
		upgrade(peer, "", false, false);
		return;
	case UPGRADE_AND_SPEAK:
		upgrade(peer, "\x81\x05hello\x81\x05world", false, false);
		return;
	case UPGRADE_PIECEWISE:
		upgrade(peer, "\x81\x05hello", true, false);
		return;
	case STATUS:
		say_status(peer);
		return;
	case SILENT:
		wait_for_end(peer);
		return;
	case GARBAGE:
		peer_say(peer, "SSH-2.0-OpenSSH_9.2p1\r\n\r\n");
		wait_for_end(peer);
		return;
	case BAD_ACCEPT:
		upgrade(peer, "", false, true);
		return;
	case ENDLESS:
		flood(peer);
		return;
	case HANG_UP:
		return;
	}
}

/* Whether the tunnel stands. */
static bool serve_tunnel(const struct peer *peer)
{
	char text[64];

	if (server.tunnel == NO_PROXY) {
		return true;
	}
	if (!peer_read_head(peer, server.asked_tunnel)) {
		atomic_fetch_add(&server.closed, 1);
		return false;
	}
	switch (server.tunnel) {
	case NO_PROXY:
	case TUNNEL:
		peer_say(peer, "HTTP/1.0 200 Connection established\r\n\r\n");
		return true;
	case TUNNEL_STATUS:
		(void)snprintf(text, sizeof(text), "HTTP/1.1 %u No\r\n\r\n", server.status);
		peer_say(peer, text);
		wait_for_end(peer);
		return false;
	case TUNNEL_SILENT:
		wait_for_end(peer);
		return false;
	case TUNNEL_CHATTY:
		peer_say(peer, "HTTP/1.1 200 OK\r\n\r\nwelcome");
		wait_for_end(peer);
		return false;
	case TUNNEL_HANG_UP:
		return false;
	}
	return false;
}

static bool serve_tls(struct peer *peer)
{
	const char *name;

	if (server.tls == NULL) {
		return true;
	}
	if (server.mute_in_tls) {
		wait_for_end(peer);
		return false;
	}
	peer->ssl = SSL_new(server.tls);
	SSL_set_fd(peer->ssl, peer->fd);
	if (SSL_accept(peer->ssl) != 1) {
		atomic_fetch_add(&server.closed, 1);
		return false;
	}
	if (SSL_session_reused(peer->ssl) == 1) {
		atomic_fetch_add(&server.resumed, 1);
	}
	name = SSL_get_servername(peer->ssl, TLSEXT_NAMETYPE_host_name);
	(void)snprintf(server.sni, sizeof(server.sni), "%s", name == NULL ? "" : name);
	return true;
}

static void *run_server(void *arg)
{
	(void)arg;
	for (;;) {
		struct peer peer = {.fd = accept(server.listener, NULL, NULL)};

		if (peer.fd < 0) {
			return NULL;
		}
		if (serve_tunnel(&peer) && serve_tls(&peer)) {
			serve_upgrade(&peer);
		}
		SSL_free(peer.ssl);
		close(peer.fd);
	}
}

int bind_to(const char *address, unsigned port, unsigned *ret_port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(inet_pton(AF_INET, address, &addr.sin_addr), 1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*ret_port = ntohs(addr.sin_port);
	return fd;
}

SSL_CTX *make_server_tls(const char *cert, const char *key)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(ctx, cert), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM), 1);
	ck_assert_int_eq(SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"t", 1), 1);
	return ctx;
}

void start_server(void)
{
	server.listener = bind_to("127.0.0.1", 0, &server.port);
	ck_assert_int_eq(listen(server.listener, 16), 0);
	ck_assert_int_eq(pthread_create(&server.thread, NULL, run_server, NULL), 0);
}

void stop_server(void)
{
	if (server.listener >= 0) {
		shutdown(server.listener, SHUT_RDWR);
		pthread_join(server.thread, NULL);
		close(server.listener);
		server.listener = -1;
	}
	SSL_CTX_free(server.tls);
	server.tls = NULL;
}
