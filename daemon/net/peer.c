#include "daemon/net/peer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define NETWORK_BYTES 8 /* of 16 */

static void put_v6(const struct in6_addr *address, char peer[NET_PEER_SIZE],
		   char network[NET_PEER_SIZE])
{
	struct in6_addr prefix = *address;
	char text[INET6_ADDRSTRLEN] = "";

	(void)inet_ntop(AF_INET6, address, peer, NET_PEER_SIZE);
	if (IN6_IS_ADDR_V4MAPPED(address)) {
		(void)inet_ntop(AF_INET, &address->s6_addr[12], network, NET_PEER_SIZE);
		return;
	}
	memset(&prefix.s6_addr[NETWORK_BYTES], 0, sizeof(prefix.s6_addr) - NETWORK_BYTES);
	(void)inet_ntop(AF_INET6, &prefix, text, sizeof(text));
	(void)snprintf(network, NET_PEER_SIZE, "%s/64", text);
}

void net_peer_put(const struct sockaddr_storage *address, char peer[NET_PEER_SIZE],
		  char network[NET_PEER_SIZE])
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

	peer[0] = '\0';
	network[0] = '\0';
	if (address->ss_family == AF_INET) {
		(void)inet_ntop(AF_INET, &v4->sin_addr, peer, NET_PEER_SIZE);
		memcpy(network, peer, NET_PEER_SIZE);
	} else if (address->ss_family == AF_INET6) {
		put_v6(&v6->sin6_addr, peer, network);
	}
}
