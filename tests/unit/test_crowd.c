/* More clients than an acceptor lets in at once. */
#include "daemon/net/accept.h"
#include "daemon/net/accept_internal.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKES_MAX 8

static struct loop *loop;
static struct net_io *io;
static struct net_acceptor *acceptor;
static const struct net_accept_ops ops; /* nobody gets as far as a request */
static uint16_t port;
static int reserved;

/* A port nobody else gets, because a socket that never listens holds it. */
static uint16_t reserve(void)
{
	static const int one = 1;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	reserved = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(setsockopt(reserved, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
	ck_assert_int_eq(bind(reserved, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(getsockname(reserved, (struct sockaddr *)&address, &len), 0);
	return ntohs(address.sin_port);
}

static void setup(void)
{
	const struct net_accept_limits limits = {.handshake_timeout = 1000 * BC_USEC_PER_SEC,
						 .handshakes_max = HANDSHAKES_MAX};
	struct net_listener_conf listener = {.address = "127.0.0.1", .upgrades = true};
	struct bc_buf message;

	port = reserve();
	listener.port = port;
	ck_assert_int_eq(loop_new(&loop), BC_OK);
	io = net_io_new(loop);
	bc_buf_init(&message, 1000);
	ck_assert_int_eq(
		net_acceptor_new(io, &listener, 1, &limits, &ops, NULL, NULL, &message, &acceptor),
		BC_OK);
	bc_buf_release(&message);
}

static void teardown(void)
{
	acceptor = net_acceptor_free(acceptor);
	io = net_io_free(io);
	loop = loop_free(loop);
	(void)close(reserved);
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

static void run_turn(void)
{
	ck_assert_int_eq(loop_post(loop, stop_loop, loop), BC_OK);
	loop_run(loop);
}

static void run_until(bool (*condition)(void))
{
	while (!condition()) {
		run_turn();
	}
}

static int crowd[5 * HANDSHAKES_MAX];

/* Clients that say nothing; the kernel completes their connections without us. */
static void connect_crowd(size_t count)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				      .sin_port = htons(port)};
	size_t i;

	for (i = 0; i < count; i++) {
		crowd[i] = socket(AF_INET, SOCK_STREAM, 0);
		ck_assert_int_ge(crowd[i], 0);
		ck_assert_int_eq(connect(crowd[i], (struct sockaddr *)&address, sizeof(address)),
				 0);
	}
}

static unsigned unfinished(void)
{
	struct net_conn *conn;
	unsigned count = 0;

	TAILQ_FOREACH(conn, &acceptor->unfinished, turn) {
		count++;
	}
	ck_assert_uint_eq(count, acceptor->handshakes);
	return count;
}

/* Room is left for nobody, and the listener rests. */
static bool is_full(void)
{
	ck_assert_uint_le(unfinished(), HANDSHAKES_MAX);
	return acceptor->listeners[0].full;
}

static bool is_empty(void)
{
	return unfinished() == 0;
}

static bool everybody_else_came(void)
{
	ck_assert_uint_le(unfinished(), HANDSHAKES_MAX);
	return unfinished() == 2;
}

START_TEST(handshakes_are_bounded)
{
	size_t i;

	connect_crowd(2 * HANDSHAKES_MAX + 2);
	run_until(is_full);
	/* Whoever leaves makes room for the next. */
	for (i = 0; i < (size_t)2 * HANDSHAKES_MAX; i++) {
		(void)close(crowd[i]);
	}
	run_until(everybody_else_came);
	(void)close(crowd[i]);
	(void)close(crowd[i + 1]);
	run_until(is_empty);
}
END_TEST

START_TEST(crowd_is_taken_a_few_in_each_turn)
{
	const unsigned count = BC_ARRAY_LEN(crowd);
	unsigned turns = 0;
	size_t i;

	acceptor->limits.handshakes_max = count;
	connect_crowd(count);
	while (unfinished() < count) {
		unsigned before = unfinished();

		run_turn();
		ck_assert_uint_le(unfinished() - before, 16);
		turns++;
	}
	ck_assert_uint_ge(turns, count / 16);
	for (i = 0; i < count; i++) {
		(void)close(crowd[i]);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("crowd");
	TCase *tcase = tcase_create("crowd");

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, handshakes_are_bounded);
	tcase_add_test(tcase, crowd_is_taken_a_few_in_each_turn);
	return tap_run(suite);
}
