/*
 * A WebSocket connection after its handshake, either role, plain or TLS: reads frames, hands out messages,
 * writes messages, answers pings, pings itself, closes.  The path of every byte of audio, so it does one read and
 * one write per readiness and copies only what has to wait.
 *
 * Output is collected in a buffer of the worker and sent when the turn of the link ends or another link is written
 * to; only what the kernel did not take is copied to the link (its backlog).
 */
#ifndef BACKCHANNEL_NET_LINK_H
#define BACKCHANNEL_NET_LINK_H

#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"
#include "proto/ws.h"

#include <stdbool.h>
#include <stddef.h>

struct loop;
struct net_link;
struct net_io; /* scratch buffers shared by the links of one worker */

struct net_io *net_io_new(struct loop *loop); /* NULL when out of memory */
struct net_io *net_io_free(struct net_io *io);

/* The loop it was made for. */
struct loop *net_io_loop(const struct net_io *io);

struct net_link_conf {
	enum ws_role role;
	size_t message_max;  /* bytes */
	size_t backlog_high; /* bytes: above this net_link_send() reports pressure */
	size_t backlog_low; /* bytes: on_drained is called when the backlog falls to this after pressure */
	bc_usec ping_interval;
	bc_usec ping_timeout;
	bc_usec close_timeout;
};

/* Why a link ended. */
struct net_close {
	enum bc_err err; /* BC_OK: a close handshake was made; else what broke it */
	/* the peer's close code, WS_CLOSE_NO_STATUS, or WS_CLOSE_ABNORMAL: none came */
	uint16_t code;
	struct bc_span reason; /* the peer's reason; valid during the callback */
};

/*
 * Callbacks, on the worker's thread.  Each may call anything on any link, also free this one; the link notices.
 * message    one complete data message; payload valid during the call and writable by nobody
 * drained    the backlog fell to backlog_low after net_link_send() had reported pressure
 * closed     the peer closed or the connection broke; called once, and not after net_link_free(); the link can no
 *            longer be written to and waits for net_link_free().  If the peer sent a close frame, its answer has been
 *            queued with the same code, unless the owner calls net_link_close() inside message.
 */
struct net_link_ops {
	void (*message)(void *arg, enum ws_opcode opcode, struct bc_span payload);
	void (*drained)(void *arg);
	void (*closed)(void *arg, const struct net_close *why);
};

/*
 * Take over fd (non-blocking) and ssl (NULL for plain; handshake complete).  The link owns both, unless give_back is
 * set: then fd and ssl belong to somebody else (libwebsockets), and give_back(arg) is called once, after our watchers
 * are gone, when the link has no more use for them.  rest: bytes that had been read behind the handshake already; copied.
 * Messages are delivered only from the loop, never inside this call.  NULL when out of memory: nothing was taken over.
 */
struct net_link *net_link_new(struct net_io *io, int fd, void *ssl,
			      const struct net_link_conf *conf, const struct net_link_ops *ops,
			      void *arg, void (*give_back)(void *arg), void *give_back_arg,
			      struct bc_span rest);

/*
 * Stop using the link.  What is still unsent, including a close frame, goes on being sent in the background for at most
 * close_timeout, then the connection is cut.  No callback comes any more.  Accepts NULL, returns NULL.
 */
struct net_link *net_link_free(struct net_link *link);

/*
 * Queue one message; its bytes are copied or sent before this returns.  Returns true when the backlog is above backlog_high: the caller stops whatever produces
 * until drained.  On a link that is closing the message is dropped.  opcode: WS_TEXT or WS_BINARY.  A caller who goes on in
 * spite of the pressure loses the link (1013, BC_E_LIMIT) when backlog_high, one longest message and 64 KiB are exceeded.
 */
bool net_link_send(struct net_link *link, enum ws_opcode opcode, struct bc_span payload);

/*
 * Queue a close frame behind what was sent; further sends are dropped, messages that still come are not delivered, and
 * a paused link reads again to find the peer's answer.  closed follows when that came, or close_timeout passed.
 */
void net_link_close(struct net_link *link, uint16_t code, struct bc_span reason);

/* Stop and go on reading; the kernel's window then slows the peer.  A paused link delivers no message, also none of
 * those already read; pings and a broken connection are noticed only after resuming. */
void net_link_pause(struct net_link *link);
void net_link_resume(struct net_link *link);

/* Unsent bytes. */
size_t net_link_backlog(const struct net_link *link);

/* Time of the last data message in either direction, monotonic. */
bc_usec net_link_last_message(const struct net_link *link);

#endif
