/*
 * What accept.c (workers' acceptors), conn.c (one client up to its takeover), listener.c (sockets) and lws.c (the
 * library) know of each other.  Nobody else includes this.
 */
#ifndef BACKCHANNEL_NET_ACCEPT_INTERNAL_H
#define BACKCHANNEL_NET_ACCEPT_INTERNAL_H

#include "daemon/base/buf.h"
#include "daemon/loop/loop.h"
#include "daemon/net/accept.h"
#include "daemon/net/hold.h"
#include "daemon/net/link_internal.h"
#include "daemon/net/peer.h"
#include "daemon/net/ration.h"

#include <openssl/types.h>
#include <stdatomic.h>
#include <sys/queue.h>

#define NET_ACCEPTOR_MAGIC 0x4e455441u
#define NET_CONN_MAGIC     0x4e455443u
#define NET_LISTENERS_MAX  8
#define NET_VHOST_NAME     16 /* bytes */

struct lws;
struct lws_context;
struct lws_vhost;

struct net_listener {
	struct net_acceptor *acceptor;
	int fd;                /* -1: closed */
	struct loop_io *watch; /* NULL: closed */
	bool full;             /* nobody is accepted before a handshake ends */
	bool failing; /* accept() has failed, and clients have waited since; the log knows */
	struct lws_vhost *vhost;
	char vhost_name[NET_VHOST_NAME]; /* libwebsockets keeps the pointer */
	char *certificate;               /* likewise; NULL: plain */
	char *key;
	bool upgrades;
};

struct net_acceptor {
	unsigned magic;
	_Atomic unsigned
		refs; /* ours, and one for each socket on its way to us from another thread */
	struct net_io *io;
	struct loop *loop;
	const struct net_accept_ops *ops;
	void *owner;
	struct net_acceptor *(*pick)(void *owner);
	struct net_accept_limits limits;
	_Atomic unsigned handshakes; /* unfinished here, or on their way to here */
	struct lws_context *lws;     /* NULL: freed; sockets that still arrive are closed */
	SSL_CTX *unused;             /* for clients, which we are not: see lws.c */
	struct loop_timer *tick;     /* libwebsockets' own timers need a kick */
	struct net_holds holds;
	struct net_ration ration;
	struct net_listener listeners[NET_LISTENERS_MAX];
	size_t listener_count;
	LIST_HEAD(net_conns, net_conn) conns;
	TAILQ_HEAD(net_handshakes, net_conn) unfinished; /* the oldest first */
};

enum net_conn_state {
	NET_CONN_HELD,    /* TLS has to wait for the hello and for its turn; there is no wsi yet */
	NET_CONN_READING, /* the head of the request */
	NET_CONN_ANSWERING, /* an answer is being sent, then the stream ends */
	NET_CONN_DRAINING,  /* until the peer ends the stream */
	NET_CONN_TAKEN,     /* a link has socket and TLS state */
	NET_CONN_KILLED     /* libwebsockets has been told to close */
};

/* One accepted socket, until libwebsockets has closed it or we have before libwebsockets had it. */
struct net_conn {
	unsigned magic;
	enum net_conn_state state;
	struct net_acceptor *acceptor;
	const struct net_listener *listener;
	LIST_ENTRY(net_conn) entry;
	TAILQ_ENTRY(net_conn) turn; /* in unfinished, while counted */
	bool counted;               /* among the acceptor's handshakes */
	bc_usec began;              /* monotonic */
	struct net_hold hold;       /* HELD; idle otherwise */
	struct lws *wsi;
	struct net_link *link; /* TAKEN, until it is given back */
	struct loop_timer *deadline;
	struct bc_buf head;
	size_t seen; /* bytes of head that hold no end of it */
	char peer[NET_PEER_SIZE];
	char network[NET_PEER_SIZE];
};

/* listener.c.  BC_E_SYSTEM: *ret_what names the call that failed, errno is set. */
enum bc_err net_listener_open(struct net_listener *listener, const struct net_listener_conf *conf,
			      const char **ret_what) BC_MUST;
void net_listener_close(struct net_listener *listener);

/* Accept again, after a failure or because there may be room. */
void net_listener_wake(struct net_listener *listener);

/* conn.c.  fd, which the acceptor's handshakes count, is adopted or closed. */
void net_conn_new(struct net_acceptor *acceptor, const struct net_listener *listener, int fd);

/* Cut every handshake that began before then. */
void net_conn_hurry(struct net_acceptor *acceptor, bc_usec then);

/* Close every socket that libwebsockets does not have yet. */
void net_conn_drop_held(struct net_acceptor *acceptor);

/* What libwebsockets reports; a negative result makes it close the connection. */
int net_conn_received(struct net_conn *conn, struct bc_span bytes);
int net_conn_writable(struct net_conn *conn);
void net_conn_gone(struct net_conn *conn);

/* accept.c.  Count a handshake with the acceptor that is to have the next socket; NULL: it would be one too many. */
struct net_acceptor *net_acceptor_claim(struct net_acceptor *here);

/* One handshake less; on the thread of whoever claimed it, or the acceptor's own. */
void net_acceptor_release(struct net_acceptor *acceptor);

/* Hand an accepted socket to the acceptor that was claimed. */
void net_acceptor_dispatch(struct net_listener *listener, struct net_acceptor *to, int fd);

/* lws.c: the only file that calls libwebsockets.  BC_E_SYSTEM. */
enum bc_err net_lws_new(struct net_acceptor *acceptor) BC_MUST;
enum bc_err net_lws_listener(struct net_acceptor *acceptor, struct net_listener *listener) BC_MUST;
void net_lws_free(struct net_acceptor *acceptor);
void net_lws_kick(struct net_acceptor *acceptor);

/* The wsi for fd, or NULL: fd is closed then. */
struct lws *net_lws_adopt(struct net_conn *conn, int fd);

/* Send bytes, behind NET_LWS_PRE bytes of room; net_conn_writable() follows.  Negative: close. */
#define NET_LWS_PRE 64
int net_lws_write(struct lws *wsi, void *bytes, size_t len);

/* Whether something of it is still unsent; then net_conn_writable() follows again. */
bool net_lws_is_sending(struct lws *wsi);

/* libwebsockets no longer reads; what it keeps is the ownership of the socket. */
void net_lws_take(struct lws *wsi, int *ret_fd, SSL **ret_ssl);

/* Socket and TLS state, still libwebsockets'. */
void net_lws_peek(struct lws *wsi, int *ret_fd, SSL **ret_ssl);

/* Close soon, from the loop. */
void net_lws_kill(struct net_acceptor *acceptor, struct lws *wsi);

#endif
