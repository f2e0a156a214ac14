/* Our own listening sockets: each worker has one per address, and the kernel spreads the clients over them. */
#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/net/accept_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTEN_BACKLOG 1024
#define ACCEPTS_MAX \
	16 /* per turn, so that a storm of clients does not hold up those who are here */

static bool make_address(const struct net_listener_conf *conf, struct sockaddr_storage *ret,
			 socklen_t *ret_len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	*ret = (struct sockaddr_storage){.ss_family = AF_INET};
	if (inet_pton(AF_INET, conf->address, &v4->sin_addr) == 1) {
		v4->sin_port = htons(conf->port);
		*ret_len = sizeof(*v4);
		return true;
	}
	*ret = (struct sockaddr_storage){.ss_family = AF_INET6};
	if (inet_pton(AF_INET6, conf->address, &v6->sin6_addr) == 1) {
		v6->sin6_port = htons(conf->port);
		*ret_len = sizeof(*v6);
		return true;
	}
	return false;
}

/* The name of the call that failed, or NULL. */
static const char *bind_and_listen(int fd, const struct net_listener_conf *conf)
{
	static const int one = 1;
	struct sockaddr_storage address;
	socklen_t len;

	if (!make_address(conf, &address, &len)) {
		errno = EINVAL;
		return "address";
	}
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0) {
		return "setsockopt";
	}
	if (bind(fd, (const struct sockaddr *)&address, len) != 0) {
		return "bind";
	}
	return listen(fd, LISTEN_BACKLOG) != 0 ? "listen" : NULL;
}

/* Out of descriptors or memory: the next tick looks again, instead of the loop at once. */
static void rest_from_failure(struct net_listener *listener, int error)
{
	bc_metric_inc(BC_M_ACCEPTS_FAILED);
	if (!listener->failing) {
		bc_log(BC_LOG_WARNING, NULL, "accept: %s; clients wait until it succeeds again",
		       strerrordesc_np(error));
	}
	listener->failing = true;
	loop_io_set(listener->watch, 0);
}

/* The client waits in the kernel's queue, which costs us nothing. */
static void rest_while_full(struct net_listener *listener)
{
	bc_metric_inc(BC_M_ACCEPTS_WAITED);
	listener->full = true;
	loop_io_set(listener->watch, 0);
}

/* One client, or false: none waits, or we cannot take one now. */
static bool accept_one(struct net_listener *listener)
{
	struct net_acceptor *to = net_acceptor_claim(listener->acceptor);
	int fd;

	if (to == NULL) {
		rest_while_full(listener);
		return false;
	}
	fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		net_acceptor_dispatch(listener, to, fd);
		return true;
	}
	net_acceptor_release(to);
	if (errno == ECONNABORTED || errno == EINTR) {
		return true;
	}
	if (errno == EAGAIN) {
		/* Nobody waits any more.  One descriptor that comes free lets one client in, and ends no shortage. */
		listener->failing = false;
	} else {
		rest_from_failure(listener, errno);
	}
	return false;
}

static void on_ready(void *arg, unsigned events)
{
	struct net_listener *listener = arg;
	int i;

	(void)events;
	BC_CHECK(listener->acceptor, NET_ACCEPTOR_MAGIC);
	for (i = 0; i < ACCEPTS_MAX && accept_one(listener); i++) {
		continue;
	}
}

enum bc_err net_listener_open(struct net_listener *listener, const struct net_listener_conf *conf,
			      const char **ret_what)
{
	int family = strchr(conf->address, ':') != NULL ? AF_INET6 : AF_INET;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		*ret_what = "socket";
		return BC_E_SYSTEM;
	}
	*ret_what = bind_and_listen(fd, conf);
	if (*ret_what != NULL) {
		int error = errno;

		(void)close(fd);
		errno = error;
		return BC_E_SYSTEM;
	}
	listener->fd = fd;
	listener->watch = loop_io_new(listener->acceptor->loop, fd, on_ready, listener);
	if (listener->watch == NULL) {
		return BC_E_NOMEM;
	}
	loop_io_set(listener->watch, LOOP_READ);
	return BC_OK;
}

void net_listener_wake(struct net_listener *listener)
{
	if (listener->watch != NULL) {
		listener->full = false;
		loop_io_set(listener->watch, LOOP_READ);
	}
}

void net_listener_close(struct net_listener *listener)
{
	if (listener->fd < 0) {
		return;
	}
	/* Whoever the kernel has accepted for us already would otherwise be reset. */
	while (listener->watch != NULL && accept_one(listener)) {
		continue;
	}
	listener->watch = loop_io_free(listener->watch);
	(void)close(listener->fd);
	listener->fd = -1;
}
