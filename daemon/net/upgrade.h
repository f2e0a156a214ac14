/* What a client's handshake asks for, from wherever SDKs put it.  Pure. */
#ifndef BACKCHANNEL_NET_UPGRADE_H
#define BACKCHANNEL_NET_UPGRADE_H

#include "daemon/base/buf.h"
#include "daemon/net/accept.h"
#include "daemon/net/head.h"
#include "proto/handshake.h"

/* Whether a request wants a WebSocket at all. */
bool net_upgrade_is_wanted(const struct net_head *head);

/* HTTP status a handshake deserves for its form alone: 101, 400, 405 or 426.  Source: RFC 6455 4.2.1. */
unsigned net_upgrade_check(const struct net_head *head);

/*
 * What the handshake asks for.  Spans point into head and into text, which must be initialized, empty and outlive
 * them; its limit must be at least NET_UPGRADE_TEXT_MAX.  peer stays empty.  BC_E_NOMEM.
 */
#define NET_UPGRADE_TEXT_MAX ((size_t)3 * NET_HEAD_MAX)
enum bc_err net_upgrade_read(const struct net_head *head, struct bc_buf *text,
			     struct net_upgrade *ret) BC_MUST;

/* Whether a parameter of a query, NAME or NAME=VALUE, has this name, in whatever way it is percent-encoded. */
bool net_query_names(struct bc_span parameter, const char *name);

/* Append the answer that accepts; errors of bc_buf_put(). */
enum bc_err net_upgrade_accept(const struct net_head *head, struct bc_buf *out) BC_MUST;

#endif
