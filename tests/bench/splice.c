/*
 * The floor a WebSocket proxy is compared with: it carries bytes between two sockets and looks at none of them.
 *
 * usage: splice PORT UPSTREAM_PORT [none | client | both  CERTIFICATE KEY]
 *
 * One thread, one epoll, one buffer for all.  A leg that cannot send keeps what is left and the other one is not
 * read until it has gone.  Everything is on 127.0.0.1; the upstream's certificate is not checked.
 */
#include "daemon/base/bug.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE ((size_t)256 * 1024)
#define EVENTS_MAX  512
#define BACKLOG     4096

struct leg {
	struct leg *other;
	SSL *ssl;
	int fd;
	uint32_t events; /* of epoll, being waited for */
	bool ready;      /* connected, and through with TLS */
	bool dead;       /* freed when all events of the turn have been looked at */
	char *left;      /* what the kernel did not take; NULL: nothing */
	size_t left_len;
	struct leg *next_dead;
};

struct proxy {
	int epoll;
	int listener;
	struct sockaddr_in upstream;
	SSL_CTX *client_tls;
	SSL_CTX *upstream_tls;
	struct leg *dead;
	char buffer[BUFFER_SIZE];
};

static void watch(struct proxy *proxy, struct leg *leg, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = leg};

	if (events != leg->events) {
		BC_BUG_ON(epoll_ctl(proxy->epoll, EPOLL_CTL_MOD, leg->fd, &event) != 0);
		leg->events = events;
	}
}

static void bury(struct proxy *proxy, struct leg *leg)
{
	if (!leg->dead) {
		leg->dead = true;
		leg->next_dead = proxy->dead;
		proxy->dead = leg;
		(void)close(leg->fd);
	}
}

static void end(struct proxy *proxy, struct leg *leg)
{
	bury(proxy, leg);
	bury(proxy, leg->other);
}

static void free_dead(struct proxy *proxy)
{
	while (proxy->dead != NULL) {
		struct leg *leg = proxy->dead;

		proxy->dead = leg->next_dead;
		SSL_free(leg->ssl);
		free(leg->left);
		free(leg);
	}
}

/* Bytes moved; 0: try again when the socket is ready; -1: the connection is over. */
static ssize_t judge(struct leg *leg, ssize_t result)
{
	if (result > 0) {
		return result;
	}
	if (leg->ssl != NULL) {
		int error = SSL_get_error(leg->ssl, (int)result);

		if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
			return 0;
		}
		ERR_clear_error(); /* one queue for all connections */
		return -1;
	}
	return result < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static ssize_t leg_read(struct leg *leg, char *buffer, size_t len)
{
	return judge(leg, leg->ssl != NULL ? SSL_read(leg->ssl, buffer, (int)len)
					   : recv(leg->fd, buffer, len, 0));
}

static ssize_t leg_write(struct leg *leg, const char *buffer, size_t len)
{
	return judge(leg, leg->ssl != NULL ? SSL_write(leg->ssl, buffer, (int)len)
					   : send(leg->fd, buffer, len, MSG_NOSIGNAL));
}

/* Send all that the kernel takes; returns how much that was, or -1. */
static ssize_t leg_send(struct leg *leg, const char *bytes, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t put = leg_write(leg, bytes + done, len - done);

		if (put < 0) {
			return -1;
		}
		if (put == 0) {
			break;
		}
		done += (size_t)put;
	}
	return (ssize_t)done;
}

/* Watch for what each leg can do now. */
static void arrange(struct proxy *proxy, struct leg *leg)
{
	uint32_t events = 0;

	if (!leg->ready) {
		return; /* its handshake says what it waits for */
	}
	if (leg->other->ready && leg->other->left == NULL) {
		events |= EPOLLIN;
	}
	if (leg->left != NULL) {
		events |= EPOLLOUT;
	}
	watch(proxy, leg, events);
}

static bool keep(struct leg *leg, const char *bytes, size_t len)
{
	leg->left = malloc(len);
	if (leg->left == NULL) {
		return false;
	}
	memcpy(leg->left, bytes, len);
	leg->left_len = len;
	return true;
}

static void carry(struct proxy *proxy, struct leg *from)
{
	struct leg *to = from->other;

	do {
		ssize_t got = leg_read(from, proxy->buffer, BUFFER_SIZE);
		ssize_t put = got > 0 ? leg_send(to, proxy->buffer, (size_t)got) : 0;

		if (got < 0 || put < 0) {
			end(proxy, from);
			return;
		}
		if (put < got && !keep(to, proxy->buffer + put, (size_t)(got - put))) {
			end(proxy, from);
			return;
		}
		if (got == 0 || to->left != NULL) {
			break;
		}
	} while (from->ssl != NULL && SSL_has_pending(from->ssl) == 1);
	if (to->left != NULL) {
		arrange(proxy, from);
		arrange(proxy, to);
	}
}

static void drain(struct proxy *proxy, struct leg *leg)
{
	char *left = leg->left;
	size_t len = leg->left_len;
	ssize_t put = leg_send(leg, left, len);

	leg->left = NULL;
	if (put < 0 || ((size_t)put < len && !keep(leg, left + put, len - (size_t)put))) {
		end(proxy, leg);
	}
	free(left);
	if (leg->dead || leg->left != NULL) {
		return;
	}
	arrange(proxy, leg);
	arrange(proxy, leg->other);
	if (leg->other->ssl != NULL && SSL_has_pending(leg->other->ssl) == 1) {
		carry(proxy, leg->other); /* epoll does not know of it */
	}
}

/* Move connecting and TLS on. */
static void shake(struct proxy *proxy, struct leg *leg)
{
	if (leg->ssl != NULL) {
		int done = SSL_do_handshake(leg->ssl);
		int error = done == 1 ? SSL_ERROR_NONE : SSL_get_error(leg->ssl, done);

		if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
			watch(proxy, leg, error == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT);
			return;
		}
		if (error != SSL_ERROR_NONE) {
			ERR_clear_error();
			end(proxy, leg);
			return;
		}
	}
	leg->ready = true;
	arrange(proxy, leg);
	arrange(proxy, leg->other);
	if (leg->ssl != NULL && SSL_has_pending(leg->ssl) == 1 && leg->other->ready) {
		carry(proxy, leg);
	}
}

static struct leg *leg_new(struct proxy *proxy, int fd, SSL_CTX *tls, uint32_t events)
{
	static const int one = 1;
	struct leg *leg = calloc(1, sizeof(*leg));
	struct epoll_event event = {.events = events, .data.ptr = leg};

	BC_BUG_ON(leg == NULL || fd < 0);
	leg->fd = fd;
	leg->events = events;
	BC_BUG_ON(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0);
	if (tls != NULL) {
		leg->ssl = SSL_new(tls);
		BC_BUG_ON(leg->ssl == NULL || SSL_set_fd(leg->ssl, fd) != 1);
	}
	BC_BUG_ON(epoll_ctl(proxy->epoll, EPOLL_CTL_ADD, fd, &event) != 0);
	return leg;
}

static void accept_one(struct proxy *proxy)
{
	int fd = accept4(proxy->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int upstream;
	struct leg *client;

	if (fd < 0) {
		return;
	}
	upstream = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	BC_BUG_ON(upstream < 0);
	if (connect(upstream, (const struct sockaddr *)&proxy->upstream, sizeof(proxy->upstream)) !=
		    0 &&
	    errno != EINPROGRESS) {
		(void)close(upstream);
		(void)close(fd);
		return;
	}
	client = leg_new(proxy, fd, proxy->client_tls, proxy->client_tls == NULL ? 0 : EPOLLIN);
	client->other = leg_new(proxy, upstream, proxy->upstream_tls, EPOLLOUT);
	client->other->other = client;
	client->ready = client->ssl == NULL;
	if (client->ssl != NULL) {
		SSL_set_accept_state(client->ssl);
	}
	if (client->other->ssl != NULL) {
		SSL_set_connect_state(client->other->ssl);
	}
}

static void act(struct proxy *proxy, struct leg *leg, uint32_t events)
{
	if (leg->dead) {
		return;
	}
	if (!leg->ready) {
		shake(proxy, leg);
		return;
	}
	if (leg->left != NULL && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
		drain(proxy, leg);
	}
	if (leg->dead || !leg->other->ready || leg->other->left != NULL) {
		if (!leg->dead && (events & (EPOLLERR | EPOLLHUP)) != 0) {
			end(proxy, leg);
		}
		return;
	}
	if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
		carry(proxy, leg);
	}
}

static int listen_at(uint16_t port)
{
	static const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(fd, BACKLOG) != 0) {
		perror("splice: listen");
		exit(1);
	}
	return fd;
}

static SSL_CTX *make_tls(const SSL_METHOD *method, const char *certificate, const char *key)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	BC_BUG_ON(ctx == NULL);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	if (certificate != NULL && (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1 ||
				    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)) {
		(void)fprintf(stderr, "splice: cannot use %s and %s\n", certificate, key);
		exit(1);
	}
	return ctx;
}

static uint16_t port_of(const char *text)
{
	char *rest;
	long port = strtol(text, &rest, 10);

	if (*rest != '\0' || port < 1 || port > UINT16_MAX) {
		(void)fprintf(stderr, "splice: %s is not a port\n", text);
		exit(2);
	}
	return (uint16_t)port;
}

static void run(struct proxy *proxy)
{
	struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};
	struct epoll_event events[EVENTS_MAX];

	BC_BUG_ON(epoll_ctl(proxy->epoll, EPOLL_CTL_ADD, proxy->listener, &listening) != 0);
	for (;;) {
		int count = epoll_wait(proxy->epoll, events, EVENTS_MAX, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == NULL) {
				accept_one(proxy);
			} else {
				act(proxy, events[i].data.ptr, events[i].events);
			}
		}
		free_dead(proxy);
	}
}

int main(int argc, char **argv)
{
	static struct proxy proxy;
	const char *legs = argc > 3 ? argv[3] : "none";
	bool client_tls = strcmp(legs, "none") != 0;

	if (argc != 3 && argc != 6) {
		(void)fputs("usage: splice PORT UPSTREAM_PORT [none|client|both CERTIFICATE KEY]\n",
			    stderr);
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	proxy.upstream = (struct sockaddr_in){.sin_family = AF_INET,
					      .sin_port = htons(port_of(argv[2])),
					      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (client_tls) {
		proxy.client_tls = make_tls(TLS_server_method(), argv[4], argv[5]);
	}
	if (strcmp(legs, "both") == 0) {
		proxy.upstream_tls = make_tls(TLS_client_method(), NULL, NULL);
	}
	proxy.epoll = epoll_create1(EPOLL_CLOEXEC);
	BC_BUG_ON(proxy.epoll < 0);
	proxy.listener = listen_at(port_of(argv[1]));
	run(&proxy);
}
