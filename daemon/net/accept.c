/* Acceptors: their sockets, their context of libwebsockets, and handing clients from one to another. */
#include "daemon/net/accept.h"

#include "daemon/base/metric.h"
#include "daemon/net/accept_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <unistd.h>

#define TICK   \
	(100 * \
	 BC_USEC_PER_MS) /* libwebsockets' timers on an idle libev loop are this late at most */

/* From this age on a handshake has to make room for those who wait. */
#define HANDSHAKE_PATIENCE BC_USEC_PER_SEC

/* A socket on its way to another worker. */
struct handover {
	struct net_acceptor *acceptor; /* counted */
	size_t listener;
	int fd;
};

static void acceptor_unref(struct net_acceptor *acceptor)
{
	size_t i;

	if (atomic_fetch_sub(&acceptor->refs, 1) != 1) {
		return;
	}
	for (i = 0; i < acceptor->listener_count; i++) {
		free(acceptor->listeners[i].certificate);
		free(acceptor->listeners[i].key);
	}
	acceptor->magic = 0;
	free(acceptor);
}

static void take(struct net_acceptor *acceptor, size_t listener, int fd)
{
	if (acceptor->lws == NULL) {
		(void)close(fd);
		net_acceptor_release(acceptor);
		return;
	}
	net_conn_new(acceptor, &acceptor->listeners[listener], fd);
}

static void on_handover(void *arg)
{
	struct handover *handover = arg;

	BC_CHECK(handover->acceptor, NET_ACCEPTOR_MAGIC);
	take(handover->acceptor, handover->listener, handover->fd);
	acceptor_unref(handover->acceptor);
	free(handover);
}

/* False: out of memory, nothing was sent. */
static bool send_over(struct net_acceptor *to, size_t listener, int fd)
{
	struct handover *handover = malloc(sizeof(*handover));

	if (handover == NULL) {
		return false;
	}
	*handover = (struct handover){to, listener, fd};
	atomic_fetch_add(&to->refs, 1);
	if (loop_post(to->loop, on_handover, handover) != BC_OK) {
		acceptor_unref(to);
		free(handover);
		return false;
	}
	return true;
}

/* Count one more handshake, unless it is one too many. */
static bool claim(struct net_acceptor *acceptor)
{
	if (atomic_fetch_add(&acceptor->handshakes, 1) >= acceptor->limits.handshakes_max) {
		atomic_fetch_sub(&acceptor->handshakes, 1);
		return false;
	}
	return true;
}

struct net_acceptor *net_acceptor_claim(struct net_acceptor *here)
{
	struct net_acceptor *to = here->pick == NULL ? here : here->pick(here->owner);

	BC_CHECK(to, NET_ACCEPTOR_MAGIC);
	if (claim(to)) {
		return to;
	}
	return to != here && claim(here) ? here : NULL;
}

void net_acceptor_release(struct net_acceptor *acceptor)
{
	atomic_fetch_sub(&acceptor->handshakes, 1);
}

void net_acceptor_dispatch(struct net_listener *listener, struct net_acceptor *to, int fd)
{
	size_t index = (size_t)(listener - listener->acceptor->listeners);

	BC_CHECK(to, NET_ACCEPTOR_MAGIC);
	BC_BUG_ON(index >= to->listener_count);
	if (to == listener->acceptor) {
		take(to, index, fd);
	} else if (!send_over(to, index, fd)) {
		bc_metric_inc(BC_M_OUT_OF_MEMORY);
		net_acceptor_release(to);
		(void)close(fd);
	}
}

static void on_tick(void *arg)
{
	struct net_acceptor *acceptor = arg;
	size_t i;

	BC_CHECK(acceptor, NET_ACCEPTOR_MAGIC);
	net_lws_kick(acceptor);
	if (atomic_load(&acceptor->handshakes) >= acceptor->limits.handshakes_max) {
		net_conn_hurry(acceptor, loop_now(acceptor->loop) - HANDSHAKE_PATIENCE);
	}
	for (i = 0; i < acceptor->listener_count; i++) {
		net_listener_wake(&acceptor->listeners[i]);
	}
	loop_timer_start(acceptor->tick, TICK);
}

/* What is wrong with certificate and key; NULL: nothing.  Static storage. */
static const char *check_certificate(const struct net_listener_conf *conf)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	const char *wrong = NULL;

	if (context == NULL) {
		wrong = "out of memory";
	} else if (conf->key == NULL) {
		wrong = "certificate without a key";
	} else if (SSL_CTX_use_certificate_chain_file(context, conf->certificate) != 1) {
		wrong = "cannot load the certificate";
	} else if (SSL_CTX_use_PrivateKey_file(context, conf->key, SSL_FILETYPE_PEM) != 1) {
		wrong = "cannot load the key, or it does not belong to the certificate";
	}
	ERR_clear_error();
	SSL_CTX_free(context);
	return wrong;
}

static enum bc_err fail(struct bc_buf *reterr_message, const struct net_listener_conf *conf,
			const char *what, enum bc_err err)
{
	/* A message that does not fit is none; the error still is one. */
	(void)!bc_buf_printf(reterr_message, "listener %s port %u: %s", conf->address,
			     (unsigned)conf->port, what);
	return err;
}

static enum bc_err add_listener(struct net_acceptor *acceptor, const struct net_listener_conf *conf,
				struct bc_buf *reterr_message)
{
	struct net_listener *listener = &acceptor->listeners[acceptor->listener_count];
	const char *wrong = NULL;
	enum bc_err err;

	*listener =
		(struct net_listener){.acceptor = acceptor, .fd = -1, .upgrades = conf->upgrades};
	(void)snprintf(listener->vhost_name, sizeof(listener->vhost_name), "listener%u",
		       (unsigned)acceptor->listener_count);
	acceptor->listener_count++;
	if (conf->certificate != NULL) {
		wrong = check_certificate(conf);
		if (wrong != NULL) {
			return fail(reterr_message, conf, wrong, BC_E_INVALID);
		}
		listener->certificate = strdup(conf->certificate);
		listener->key = strdup(conf->key);
		if (listener->certificate == NULL || listener->key == NULL) {
			return fail(reterr_message, conf, bc_err_text(BC_E_NOMEM), BC_E_SYSTEM);
		}
	}
	if (net_lws_listener(acceptor, listener) != BC_OK) {
		return fail(reterr_message, conf, "libwebsockets refused it", BC_E_SYSTEM);
	}
	err = net_listener_open(listener, conf, &wrong);
	if (err != BC_OK) {
		char text[128];

		(void)snprintf(text, sizeof(text), "%s: %s", wrong == NULL ? "watch" : wrong,
			       strerrordesc_np(errno));
		return fail(reterr_message, conf, text, BC_E_SYSTEM);
	}
	return BC_OK;
}

static enum bc_err start(struct net_acceptor *acceptor, const struct net_listener_conf *listeners,
			 size_t count, struct bc_buf *reterr_message)
{
	size_t i;

	if (acceptor->tick == NULL ||
	    net_holds_init(&acceptor->holds, acceptor->loop, &acceptor->ration) != BC_OK ||
	    net_lws_new(acceptor) != BC_OK) {
		(void)!bc_buf_put_str(
			reterr_message,
			"libwebsockets cannot start (is its libev plugin installed?)");
		return BC_E_SYSTEM;
	}
	for (i = 0; i < count; i++) {
		enum bc_err err = add_listener(acceptor, &listeners[i], reterr_message);

		if (err != BC_OK) {
			return err;
		}
	}
	loop_timer_start(acceptor->tick, TICK);
	return BC_OK;
}

enum bc_err net_acceptor_new(struct net_io *io, const struct net_listener_conf *listeners,
			     size_t count, const struct net_accept_limits *limits,
			     const struct net_accept_ops *ops, void *owner,
			     struct net_acceptor *(*pick)(void *owner),
			     struct bc_buf *reterr_message, struct net_acceptor **ret)
{
	struct net_acceptor *acceptor;
	enum bc_err err;

	BC_BUG_ON(count > NET_LISTENERS_MAX || limits->handshakes_max == 0);
	acceptor = calloc(1, sizeof(*acceptor));
	if (acceptor == NULL) {
		return BC_E_SYSTEM;
	}
	acceptor->magic = NET_ACCEPTOR_MAGIC;
	atomic_init(&acceptor->refs, 1);
	acceptor->io = io;
	acceptor->loop = io->loop;
	acceptor->ops = ops;
	acceptor->owner = owner;
	acceptor->pick = pick;
	acceptor->limits = *limits;
	TAILQ_INIT(&acceptor->unfinished);
	LIST_INIT(&acceptor->conns);
	net_ration_init(&acceptor->ration, io->loop);
	acceptor->tick = loop_timer_new(io->loop, on_tick, acceptor);
	err = start(acceptor, listeners, count, reterr_message);
	if (err != BC_OK) {
		(void)net_acceptor_free(acceptor);
		return err;
	}
	*ret = acceptor;
	return BC_OK;
}

void net_acceptor_allow(struct net_acceptor *acceptor, bc_usec handshake_timeout)
{
	BC_CHECK(acceptor, NET_ACCEPTOR_MAGIC);
	acceptor->limits.handshake_timeout = handshake_timeout;
}

void net_acceptor_stop(struct net_acceptor *acceptor)
{
	size_t i;

	BC_CHECK(acceptor, NET_ACCEPTOR_MAGIC);
	for (i = 0; i < acceptor->listener_count; i++) {
		net_listener_close(&acceptor->listeners[i]);
	}
}

struct net_acceptor *net_acceptor_free(struct net_acceptor *acceptor)
{
	if (acceptor == NULL) {
		return NULL;
	}
	net_acceptor_stop(acceptor);
	acceptor->tick = loop_timer_free(acceptor->tick);
	net_conn_drop_held(acceptor);
	net_holds_release(&acceptor->holds);
	net_lws_free(acceptor);
	BC_BUG_ON(!LIST_EMPTY(&acceptor->conns));
	acceptor_unref(acceptor);
	return NULL;
}
