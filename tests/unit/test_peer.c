/* What of a client's address counts as one client. */
#include "daemon/net/peer.h"
#include "tests/unit/tap.h"

#include <arpa/inet.h>
#include <check.h>
#include <string.h>

static const struct {
	int family;
	const char *address;
	const char *network;
} cases[] = {
	{AF_INET, "192.0.2.7", "192.0.2.7"},
	{AF_INET6, "::1", "::/64"},
	{AF_INET6, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
	{AF_INET6, "2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"},
	{AF_INET6, "2001:db8:1:3::1", "2001:db8:1:3::/64"},
	{AF_INET6, "::ffff:192.0.2.7", "192.0.2.7"},
	{AF_INET6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::/64"},
};

START_TEST(an_address_has_its_network)
{
	struct sockaddr_storage address = {.ss_family = (sa_family_t)cases[_i].family};
	void *where = cases[_i].family == AF_INET
			      ? (void *)&((struct sockaddr_in *)&address)->sin_addr
			      : (void *)&((struct sockaddr_in6 *)&address)->sin6_addr;
	char peer[NET_PEER_SIZE];
	char network[NET_PEER_SIZE];

	ck_assert_int_eq(inet_pton(cases[_i].family, cases[_i].address, where), 1);
	net_peer_put(&address, peer, network);
	ck_assert_str_eq(peer, cases[_i].address);
	ck_assert_str_eq(network, cases[_i].network);
}
END_TEST

START_TEST(another_family_has_none)
{
	const struct sockaddr_storage address = {.ss_family = AF_UNIX};
	char peer[NET_PEER_SIZE];
	char network[NET_PEER_SIZE];

	net_peer_put(&address, peer, network);
	ck_assert_str_eq(peer, "");
	ck_assert_str_eq(network, "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("peer");
	TCase *c = tcase_create("peer");

	tcase_add_loop_test(c, an_address_has_its_network, 0,
			    (int)(sizeof(cases) / sizeof(cases[0])));
	tcase_add_test(c, another_family_has_none);
	suite_add_tcase(suite, c);
	return tap_run(suite);
}
