/*
 * What link.c (the connection), output.c (its way out) and io.c (what links of a worker share) know of each other.
 * Nobody else includes this.
 */
#ifndef BACKCHANNEL_NET_LINK_INTERNAL_H
#define BACKCHANNEL_NET_LINK_INTERNAL_H

#include "daemon/base/buf.h"
#include "daemon/loop/loop.h"
#include "daemon/net/link.h"
#include "daemon/net/wire.h"

#include <sys/queue.h>

#define NET_IO_MAGIC   0x4e455449u
#define NET_LINK_MAGIC 0x4e45544cu
#define NET_RX_SIZE    (128 * 1024) /* bytes of one read */
#define NET_TX_SIZE    (128 * 1024) /* bytes of one write */
#define NET_BACKLOG_SLACK \
	((size_t)64 *     \
	 1024) /* bytes of backlog beyond what pressure allows, before the link is closed */
#define NET_RANDOM_SIZE 4096 /* bytes of randomness fetched at once, 4 per masked frame */

/* What the links of one worker share. */
struct net_io {
	unsigned magic;
	struct loop *loop;
	LIST_HEAD(net_links, net_link) links;
	struct net_link *owner; /* whose output tx holds; NULL exactly when tx_len is 0 */
	size_t tx_len;          /* bytes */
	unsigned turns;         /* links whose callback is running: its end flushes */
	bool flush_queued;      /* flush_later() is deferred */
	bool dying;             /* freed while flush_later() was deferred */
	size_t random_used;     /* bytes */
	uint8_t random[NET_RANDOM_SIZE];
	uint8_t rx[NET_RX_SIZE];
	uint8_t tx[NET_TX_SIZE];
};

/*
 * L1  fd and ssl are touched only while broken is false
 * L2  closed() is called at most once: ended is set before
 * L3  after freed, no callback; the link destroys itself from one of its timers, never under a caller
 * L4  backlog is non-empty only if tx does not hold this link's output: bytes leave in order
 */
struct net_link {
	/* What every message needs comes first. */
	unsigned magic;
	bool paused : 1;         /* the owner does not want to read */
	bool stalled : 1;        /* tail begins with something deliverable */
	bool pressured : 1;      /* drained() is owed */
	bool pong_in_tx : 1;     /* tx holds a pong of ours */
	bool close_sent : 1;     /* a close frame is queued: nothing may follow it */
	bool close_received : 1; /* nothing the peer sends is read any more */
	bool ended : 1;          /* closed() has been called, or must not be */
	bool broken : 1;         /* fd is of no use */
	bool shut : 1;           /* our side of the stream is ended */
	bool freed : 1;          /* the owner has gone; what is unsent is being sent */
	struct net_io *io;
	struct net_wire wire;
	struct loop_io *watch;
	const struct net_link_ops *ops;
	void *arg;
	bc_usec heard;        /* when bytes came last, monotonic */
	bc_usec pinged;       /* when the unanswered ping was sent; 0: none */
	bc_usec last_message; /* data in either direction */
	size_t need;          /* bytes the frame at the front of tail needs in all; 0: not known */
	struct bc_buf tail;   /* bytes read, not yet a complete frame or not yet delivered */
	struct net_link_conf conf;
	struct bc_buf backlog; /* bytes the kernel did not take */
	struct ws_decoder decoder;

	LIST_ENTRY(net_link) entry;
	struct loop_timer *clock;     /* pings and deadlines */
	struct loop_timer *kick;      /* something to do in the next turn */
	void (*give_back)(void *arg); /* NULL: fd and ssl are ours */
	void *give_back_arg;
	size_t pong_mark;    /* backlog bytes up to the end of an unsent pong; 0: none waits */
	uint8_t *pong;       /* payload of the latest ping that came meanwhile; NULL: none */
	size_t pong_len;     /* bytes */
	bc_usec close_due;   /* when a close that was begun is given up */
	enum bc_err failure; /* why the link is broken, for closed() */
};

/* Send what tx holds. */
void net_io_flush(struct net_io *io);

/* Begin and end the turn of a link: what is written between leaves at its end at the latest. */
void net_io_enter(struct net_io *io);
void net_io_leave(struct net_io *io);

/* Four random bytes. */
void net_io_mask_key(struct net_io *io, uint8_t key[4]);

/* Forget output of link that tx still holds. */
void net_io_drop(struct net_io *io, const struct net_link *link);

/* Queue one frame, whatever the state of the link; control frames are small. */
void net_output_frame(struct net_link *link, enum ws_opcode opcode, struct bc_span payload);

/* Queue a close frame and remember that nothing may follow. */
void net_output_close(struct net_link *link, uint16_t code, struct bc_span reason);

/* Queue the answer to a ping, unless one is waiting already: then this one takes its place later. */
void net_output_pong(struct net_link *link, struct bc_span payload);

/* Send from the backlog until it is empty or the kernel takes no more. */
void net_output_resume(struct net_link *link);

/* The connection is of no more use: stop watching, report from the loop. */
void net_link_break(struct net_link *link, enum bc_err err);

/* Watch for what the link's state asks for. */
void net_link_watch(struct net_link *link);

/* libwebsockets has closed fd and ssl under the link: give_back is not called. */
void net_link_cut(struct net_link *link);

/* Free the link and whatever it owns.  Not from inside one of its callbacks, but for its timers. */
void net_link_destroy(struct net_link *link);

#endif
