/*
 * Clients of a TLS listener, until it is their turn.  One signature of the server costs as much as some hundred frames
 * (RSA 2048: 0.3 ms), and libwebsockets takes every handshake whose bytes are there a step further in the same turn of
 * the loop.  So a socket stays ours until its ClientHello is whole, and a few are handed over in each turn: a crowd of
 * clients delays frames of open sessions by those few at most.
 *
 * Only the first flight is held, and only up to NET_HELLO_MAX bytes, so that a crowd of clients who have not said enough
 * costs no turns.  What a turn may cost, of this flight and of those that follow, is bounded by ration.h.
 */
#ifndef BACKCHANNEL_NET_HOLD_H
#define BACKCHANNEL_NET_HOLD_H

#include "daemon/base/err.h"
#include "daemon/loop/loop.h"
#include "daemon/net/ration.h"

#include <stdbool.h>
#include <sys/queue.h>

#define NET_HOLD_MAGIC 0x4e455448u
#define NET_HOLD_TURN  NET_RATION_TURN /* clients let go in one turn of the loop */

/* Those of one worker whose hello has come, in the order in which it did.  Fields are for hold.c and tests. */
struct net_holds {
	unsigned magic;
	struct loop *loop;
	struct net_ration *ration; /* told of the turns that left somebody */
	struct loop_timer *turn;   /* active while somebody waits */
	TAILQ_HEAD(net_hold_queue, net_hold) ready;
};

/* What becomes of a socket; either may free the hold, which is idle then. */
struct net_hold_ops {
	void (*go)(void *arg);   /* its turn has come: fd is as it was */
	void (*gone)(void *arg); /* the client has left */
};

/* One socket, which remains its owner's. */
struct net_hold {
	struct net_holds *holds; /* NULL: idle */
	const struct net_hold_ops *ops;
	void *arg;
	int fd;
	size_t wanted;         /* bytes the kernel wakes us for; 0: any */
	struct loop_io *watch; /* NULL: its hello has come */
	TAILQ_ENTRY(net_hold) place;
};

/* A queue on this loop.  BC_E_NOMEM. */
enum bc_err net_holds_init(struct net_holds *holds, struct loop *loop,
			   struct net_ration *ration) BC_MUST;

/* Nobody may be held any more.  Accepts one that is zero. */
void net_holds_release(struct net_holds *holds);

/* Watch fd, non-blocking, until ops are told.  BC_E_NOMEM: the hold is idle. */
enum bc_err net_hold_begin(struct net_hold *hold, struct net_holds *holds, int fd,
			   const struct net_hold_ops *ops, void *arg) BC_MUST;

/* Leave fd alone.  Accepts an idle one. */
void net_hold_end(struct net_hold *hold);

#endif
