/*
 * Host names to addresses, for net_connect: getaddrinfo() on the resolver's thread, so that no look-up ever blocks
 * a loop.  net_resolver_new() and net_resolver_free() are in connect.h.
 */
#ifndef BACKCHANNEL_NET_RESOLVER_H
#define BACKCHANNEL_NET_RESOLVER_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"

#include <netdb.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define NET_ADDRESSES_MAX 8    /* addresses of one answer that are kept */
#define NET_LOOKUPS_MAX   1024 /* look-ups that may wait for the thread */

struct loop;
struct net_resolver;
struct net_lookup;

struct net_address {
	struct sockaddr_storage addr;
	socklen_t len;
};

/*
 * What a look-up found.  err: BC_OK and count >= 1; BC_E_NOTFOUND: there is no such name; BC_E_UPSTREAM: the name
 * servers did not answer or failed; BC_E_NOMEM.
 */
struct net_addresses {
	enum bc_err err;
	const char *detail; /* static; why it failed */
	size_t count;
	/* in the order of preference of getaddrinfo() */
	struct net_address list[NET_ADDRESSES_MAX];
};

typedef void net_lookup_fn(void *arg, const struct net_addresses *addresses);

/*
 * Look host up (a name, or an IPv4 or IPv6 address without brackets, which never waits for the thread); port goes into
 * the addresses.  fn is called once on loop's thread, from the loop, unless net_lookup_cancel() comes first; the look-up is
 * gone then.  All look-ups for one name that wait at the same time cost one question.
 * BC_E_NOMEM; BC_E_INVALID: no host name; BC_E_LIMIT: NET_LOOKUPS_MAX look-ups wait already.  Any thread that runs loop.
 */
enum bc_err net_lookup_start(struct net_resolver *resolver, struct loop *loop, const char *host,
			     uint16_t port, net_lookup_fn *fn, void *arg,
			     struct net_lookup **ret) BC_MUST;

/* Forget a look-up; at once, whatever the thread is doing.  Accepts NULL, returns NULL.  Thread of its loop. */
struct net_lookup *net_lookup_cancel(struct net_lookup *lookup);

#endif
