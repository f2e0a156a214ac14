/*
 * What handshakes of TLS clients may cost in one turn of the loop.  A signature or a key exchange of the server takes as
 * long as some hundred frames, and every flight of a client can ask for one: the first hello, the second one after a
 * retry (RFC 8446 4.1.4), the client's key of TLS 1.2.  So the SSL of a client reads from its socket through a gate that
 * opens for a few clients in each turn, in the order in which they came to it; the others are told that nothing has come,
 * and ask again in the next turn, because their sockets stay readable.
 *
 * The gate stands open as soon as our Finished was sent: what the client says from there on costs no more than a frame.
 */
#ifndef BACKCHANNEL_NET_RATION_H
#define BACKCHANNEL_NET_RATION_H

#include "daemon/base/err.h"
#include "daemon/loop/loop.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>

#define NET_RATION_TURN 4 /* clients who may read in one turn, each once or several times */
#define NET_RATION_READS \
	64 /* reads of one of them in one turn; two for a record, and few flights have six records */

/* Of one worker.  Fields are for ration.c and tests. */
struct net_ration {
	const struct loop *loop;
	unsigned turn;   /* of the loop, that the following is about */
	unsigned left;   /* clients who may still read */
	bool put_off;    /* somebody was sent away */
	uint64_t asked;  /* tickets given to those who were sent away */
	uint64_t called; /* tickets whose turn has come */
	uint64_t gone;   /* tickets that were used, or whose client has left */
};

void net_ration_init(struct net_ration *ration, const struct loop *loop);

/*
 * Put a gate in front of every server's SSL of this context; ration outlives them, or net_ration_open() is called on
 * those that it does not.  BC_E_NOMEM.
 */
enum bc_err net_ration_guard(struct net_ration *ration, SSL_CTX *context) BC_MUST;

/* Take the gate away, for good.  Accepts NULL, and an SSL that has none. */
void net_ration_open(SSL *ssl);

/* Handshakes were left for the next turn: count the turn, once. */
void net_ration_put_off(struct net_ration *ration);

#endif
