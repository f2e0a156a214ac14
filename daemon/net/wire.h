/* Bytes in and out of a connected socket, plain or TLS, without blocking. */
#ifndef BACKCHANNEL_NET_WIRE_H
#define BACKCHANNEL_NET_WIRE_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

struct net_wire {
	int fd;
	SSL *ssl;              /* NULL: plain */
	bool read_wants_write; /* TLS has to send before it can go on reading */
	bool write_wants_read; /* TLS has to receive before it can go on writing */
};

/* fd non-blocking; ssl with its handshake complete.  Owns neither. */
void wire_init(struct net_wire *wire, int fd, SSL *ssl);

/*
 * One read of at most len > 0 bytes.  BC_OK: *ret > 0 bytes came.  BC_E_AGAIN: none yet.
 * BC_E_CLOSED: the peer has ended the stream, or the connection is broken; the wire is of no more use.
 */
enum bc_err wire_read(struct net_wire *wire, void *buf, size_t len, size_t *ret) BC_MUST;

/*
 * Write what the kernel takes.  *ret is how much that was, in every case.  BC_OK: all of it.  BC_E_AGAIN: call
 * again with what is left, the same bytes first.  BC_E_CLOSED: broken.
 */
enum bc_err wire_write(struct net_wire *wire, const void *buf, size_t len, size_t *ret) BC_MUST;

/* Whether a further read would give bytes that the kernel no longer announces. */
bool wire_has_pending(const struct net_wire *wire);

/* Tell the peer that nothing follows; reading goes on. */
void wire_shutdown(struct net_wire *wire);

#endif
