/* Who a client is, as far as its address tells. */
#ifndef BACKCHANNEL_NET_PEER_H
#define BACKCHANNEL_NET_PEER_H

#include <netinet/in.h>
#include <sys/socket.h>

#define NET_PEER_SIZE (INET6_ADDRSTRLEN + 4) /* an address, or a network with its length, and NUL */

/*
 * The address as text, and the network that counts as one client: an IPv4 address, also one that stands in an IPv6 address,
 * is one of its own; of any other IPv6 address only the first 64 bits count, for whoever has one address has them all.
 * Both are empty for an address of another family.  Pure.
 * Source: RFC 4291 2.5.4 and 2.5.5.2.
 */
void net_peer_put(const struct sockaddr_storage *address, char peer[NET_PEER_SIZE],
		  char network[NET_PEER_SIZE]);

#endif
