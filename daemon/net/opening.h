/* What has to be said until a provider speaks WebSocket: the requests, made before anybody is asked. */
#ifndef BACKCHANNEL_NET_OPENING_H
#define BACKCHANNEL_NET_OPENING_H

#include "daemon/base/buf.h"
#include "daemon/net/endpoint.h"
#include "proto/handshake.h"

#include <stdbool.h>

struct net_target;

struct net_opening {
	struct net_endpoint target; /* the provider; rest is not kept */
	struct net_endpoint first;  /* whom to connect to: the proxy or the provider */
	bool via_proxy;
	char *ca_file; /* NULL: the system's */
	char key[WS_KEY_SIZE];
	struct bc_buf request; /* the upgrade; holds the provider's key */
	struct bc_buf tunnel;  /* CONNECT for the proxy */
};

/*
 * Make everything that target asks for; nothing of it is referred to afterwards.  opening is to be given to
 * net_opening_fini() in every case.  BC_E_INVALID: a URL or header cannot be used; BC_E_LIMIT: too long; BC_E_NOMEM.
 */
enum bc_err net_opening_init(struct net_opening *opening, const struct net_target *target) BC_MUST;
void net_opening_fini(struct net_opening *opening);

/* Release a buffer that holds a secret. */
void net_opening_wipe(struct bc_buf *buf);

#endif
