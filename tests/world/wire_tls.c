/* TLS of a wire, and the two ways a wire begins: accepted or connected. */
#include "tests/world/wire_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENER_MAGIC 0x6c697374u

struct wire_listener {
	uint32_t magic;
	struct ev_loop *loop;
	ev_io io;
	int fd;
	struct wire_listen_conf conf;
};

static struct wire_tls *tls_new(const SSL_METHOD *method)
{
	struct wire_tls *tls = calloc(1, sizeof(*tls));

	if (tls == NULL) {
		return NULL;
	}
	tls->ctx = SSL_CTX_new(method);
	if (tls->ctx == NULL) {
		free(tls);
		return NULL;
	}
	SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
					   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					   SSL_MODE_RELEASE_BUFFERS);
	return tls;
}

static struct wire_tls *tls_unusable(struct wire_tls *tls, const char *file)
{
	fprintf(stderr, "%s: %s\n", file, ERR_error_string(ERR_get_error(), NULL));
	return wire_tls_free(tls);
}

struct wire_tls *wire_tls_server(const char *cert_file, const char *key_file)
{
	struct wire_tls *tls = tls_new(TLS_server_method());

	if (tls == NULL) {
		return NULL;
	}
	if (SSL_CTX_use_certificate_chain_file(tls->ctx, cert_file) != 1) {
		return tls_unusable(tls, cert_file);
	}
	if (SSL_CTX_use_PrivateKey_file(tls->ctx, key_file, SSL_FILETYPE_PEM) != 1) {
		return tls_unusable(tls, key_file);
	}
	return tls;
}

struct wire_tls *wire_tls_client(const char *ca_file)
{
	struct wire_tls *tls = tls_new(TLS_client_method());

	if (tls == NULL) {
		return NULL;
	}
	if (SSL_CTX_load_verify_locations(tls->ctx, ca_file, NULL) != 1) {
		return tls_unusable(tls, ca_file);
	}
	SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
	return tls;
}

struct wire_tls *wire_tls_free(struct wire_tls *tls)
{
	if (tls != NULL) {
		SSL_CTX_free(tls->ctx);
		free(tls);
	}
	return NULL;
}

bool wire_tls_begin(struct wire *wire, struct wire_tls *tls, const char *host)
{
	if (tls == NULL) {
		return true;
	}
	wire->ssl = SSL_new(tls->ctx);
	if (wire->ssl == NULL || SSL_set_fd(wire->ssl, wire->fd) != 1) {
		return false;
	}
	if (wire->role == WS_SERVER) {
		SSL_set_accept_state(wire->ssl);
		return true;
	}
	SSL_set_connect_state(wire->ssl);
	/* The macro SSL_set_tlsext_host_name() casts the const away. */
	return SSL_ctrl(wire->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
			(void *)(uintptr_t)host) == 1 &&
	       SSL_set1_host(wire->ssl, host) == 1;
}

bool wire_tls_step(struct wire *wire)
{
	int result;
	int reason;

	ERR_clear_error();
	result = SSL_do_handshake(wire->ssl);
	if (result == 1) {
		ev_io_stop(wire->loop, &wire->writer);
		return true;
	}
	reason = SSL_get_error(wire->ssl, result);
	if (reason == SSL_ERROR_WANT_WRITE) {
		ev_io_start(wire->loop, &wire->writer);
	} else if (reason == SSL_ERROR_WANT_READ) {
		ev_io_stop(wire->loop, &wire->writer);
	} else {
		wire_end(wire, WS_CLOSE_ABNORMAL, "TLS handshake failed");
	}
	return false;
}

static void accept_ready(struct ev_loop *loop, ev_io *io, int events)
{
	struct wire_listener *listener = io->data;
	int one = 1;

	(void)events;
	BC_CHECK(listener, LISTENER_MAGIC);
	for (;;) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct wire *wire;

		if (fd < 0) {
			return;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		wire = wire_new(loop, fd, WS_SERVER);
		if (wire == NULL) {
			close(fd);
			continue;
		}
		wire->accept = listener->conf.accept;
		wire->accept_arg = listener->conf.arg;
		wire->phase = listener->conf.tls == NULL ? WIRE_HEAD : WIRE_TLS;
		if (!wire_tls_begin(wire, listener->conf.tls, NULL)) {
			wire_end(wire, WS_CLOSE_ABNORMAL, "no TLS");
			continue;
		}
		wire_watch(wire);
	}
}

static struct sockaddr_in loopback(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

enum bc_err wire_listen(struct ev_loop *loop, const struct wire_listen_conf *conf,
			struct wire_listener **ret)
{
	struct wire_listener *listener = calloc(1, sizeof(*listener));
	struct sockaddr_in address = loopback(conf->port);
	int one = 1;

	if (listener == NULL) {
		return BC_E_NOMEM;
	}
	listener->magic = LISTENER_MAGIC;
	listener->loop = loop;
	listener->conf = *conf;
	listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener->fd < 0) {
		free(listener);
		return BC_E_SYSTEM;
	}
	setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(listener->fd, SOMAXCONN) != 0) {
		close(listener->fd);
		free(listener);
		return BC_E_SYSTEM;
	}
	ev_io_init(&listener->io, accept_ready, listener->fd, EV_READ);
	listener->io.data = listener;
	ev_io_start(loop, &listener->io);
	*ret = listener;
	return BC_OK;
}

unsigned wire_listener_port(const struct wire_listener *listener)
{
	struct sockaddr_in address = {0};
	socklen_t len = sizeof(address);

	getsockname(listener->fd, (struct sockaddr *)&address, &len);
	return ntohs(address.sin_port);
}

struct wire_listener *wire_listener_free(struct wire_listener *listener)
{
	if (listener != NULL) {
		ev_io_stop(listener->loop, &listener->io);
		close(listener->fd);
		listener->magic = 0;
		free(listener);
	}
	return NULL;
}

/* Put the upgrade request aside until the connection stands. */
static bool request_make(struct wire *wire, const struct wire_connect_conf *conf, const char *host)
{
	char authority[300];
	struct ws_request request = {.target = bc_span_str(conf->target),
				     .key = wire->key,
				     .headers = bc_span_str(conf->headers)};

	snprintf(authority, sizeof(authority), "%s:%u", host, conf->port);
	request.host = bc_span_str(authority);
	ws_key_new(wire->key);
	if (conf->subprotocols != NULL) {
		wire->subprotocols = strdup(conf->subprotocols);
		request.subprotocols = bc_span_str(wire->subprotocols);
	}
	return ws_request_put(&wire->request, &request) == BC_OK;
}

enum bc_err wire_connect(struct ev_loop *loop, const struct wire_connect_conf *conf,
			 const struct wire_handlers *handlers, void *arg, struct wire **ret)
{
	const char *host = conf->host == NULL ? "localhost" : conf->host;
	struct sockaddr_in address = loopback(conf->port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct wire *wire = fd < 0 ? NULL : wire_new(loop, fd, WS_CLIENT);
	int one = 1;

	if (wire == NULL) {
		if (fd >= 0) {
			close(fd);
		}
		return BC_E_SYSTEM;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	wire->handlers = handlers;
	wire->arg = arg;
	wire->phase = WIRE_CONNECTING;
	*ret = wire;
	if (!request_make(wire, conf, host) || !wire_tls_begin(wire, conf->tls, host)) {
		wire_end(wire, WS_CLOSE_ABNORMAL, "the request could not be made");
	} else if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 &&
		   errno != EINPROGRESS) {
		wire_end(wire, WS_CLOSE_ABNORMAL, strerror(errno));
	} else {
		wire_watch(wire);
	}
	return BC_OK;
}
