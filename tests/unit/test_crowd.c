/* More clients than an acceptor lets in at once, or takes through TLS at once. */
#include "daemon/base/metric.h"
#include "daemon/net/accept.h"
#include "daemon/net/accept_internal.h"
#include "daemon/net/hello.h"
#include "tests/unit/certs.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKES_MAX 8
#define TLS_CROWD      50
#define REQUEST                                                                 \
	" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
	"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"

enum {
	PLAIN,
	TLS,
	LISTENERS
};

static struct loop *loop;
static struct net_io *io;
static struct net_acceptor *acceptor;
static struct net_listener_conf listeners[LISTENERS];
static int reserved[LISTENERS];
static struct certs certs;
static struct net_link *session; /* the one client that is let in */
static unsigned frames;          /* of it */
static unsigned asked;           /* requests of all others */

static void on_upgrade(void *arg, const struct net_upgrade *request, struct net_verdict *ret)
{
	(void)arg;
	if (!bc_span_is(request->path, "/session")) {
		asked++;
		ret->status = 401;
		return;
	}
	ret->status = 101;
	ret->conf = (struct net_link_conf){.role = WS_SERVER,
					   .message_max = 1000,
					   .backlog_high = 1000,
					   .ping_interval = 1000 * BC_USEC_PER_SEC,
					   .ping_timeout = 1000 * BC_USEC_PER_SEC,
					   .close_timeout = 1000 * BC_USEC_PER_SEC};
}

static void on_established(void *arg, void *verdict_arg, struct net_link *link)
{
	(void)arg;
	(void)verdict_arg;
	session = link;
}

static void on_message(void *arg, enum ws_opcode opcode, struct bc_span payload)
{
	(void)arg;
	(void)opcode;
	(void)payload;
	frames++;
}

static const struct net_link_ops link_ops = {.message = on_message};
static const struct net_accept_ops ops = {
	.upgrade = on_upgrade, .link_ops = &link_ops, .established = on_established};

/* A port nobody else gets, because a socket that never listens holds it. */
static uint16_t reserve(int *ret_fd)
{
	static const int one = 1;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	*ret_fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(setsockopt(*ret_fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
	ck_assert_int_eq(bind(*ret_fd, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(getsockname(*ret_fd, (struct sockaddr *)&address, &len), 0);
	return ntohs(address.sin_port);
}

static void setup(void)
{
	const struct net_accept_limits limits = {.handshake_timeout = 1000 * BC_USEC_PER_SEC,
						 .handshakes_max = HANDSHAKES_MAX};
	struct bc_buf message;
	int i;

	certs_make(&certs);
	session = NULL;
	frames = 0;
	asked = 0;
	for (i = 0; i < LISTENERS; i++) {
		listeners[i] = (struct net_listener_conf){
			.address = "127.0.0.1", .port = reserve(&reserved[i]), .upgrades = true};
	}
	listeners[TLS].certificate = certs.leaf;
	listeners[TLS].key = certs.key;
	ck_assert_int_eq(loop_new(&loop), BC_OK);
	io = net_io_new(loop);
	bc_buf_init(&message, 1000);
	ck_assert_int_eq(net_acceptor_new(io, listeners, LISTENERS, &limits, &ops, NULL, NULL,
					  &message, &acceptor),
			 BC_OK);
	bc_buf_release(&message);
}

static void teardown(void)
{
	session = net_link_free(session);
	acceptor = net_acceptor_free(acceptor);
	io = net_io_free(io);
	loop = loop_free(loop);
	(void)close(reserved[PLAIN]);
	(void)close(reserved[TLS]);
	certs_remove(&certs);
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

/* The kernel completes the connection without us. */
static int dial(int which)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				      .sin_port = htons(listeners[which].port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Clients that say nothing. */
static void connect_crowd(size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		crowd[i] = dial(PLAIN);
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

/* ---- TLS ---- */

struct client {
	int fd;
	SSL *ssl;
	BIO *out; /* what it is going to send */
};

static void send_all(int fd, const char *bytes, size_t len)
{
	ck_assert_int_eq(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* What a client does that not every client does. */
struct habit {
	const char *name;
	void (*prepare)(SSL *ssl);
	void (*serve)(SSL_CTX *context); /* likewise the server's */
	/* flights of the client, up to the one that costs a signature or a key exchange */
	unsigned flights;
	size_t begins; /* bytes said before the rest of the first flight; 0: all are said at once */
};

/* A client whose hello is ready, but not sent. */
static struct client make_client_with(const struct habit *habit)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	struct client made = {dial(TLS), SSL_new(context), BIO_new(BIO_s_mem())};

	SSL_CTX_free(context);
	ck_assert_int_eq(fcntl(made.fd, F_SETFL, O_NONBLOCK), 0);
	SSL_set_bio(made.ssl, BIO_new_socket(made.fd, BIO_NOCLOSE), made.out);
	SSL_set_connect_state(made.ssl);
	if (habit != NULL && habit->prepare != NULL) {
		habit->prepare(made.ssl);
	}
	ck_assert_int_eq(SSL_do_handshake(made.ssl), -1);
	return made;
}

static struct client make_client(void)
{
	return make_client_with(NULL);
}

/* Send at most max bytes of what it has to say; how many that were. */
static size_t say(struct client *client, size_t max)
{
	char bytes[15000];
	int len = BIO_read(client->out, bytes, (int)(max < sizeof(bytes) ? max : sizeof(bytes)));

	if (len <= 0) {
		return 0;
	}
	send_all(client->fd, bytes, (size_t)len);
	return (size_t)len;
}

static void end_client(struct client *client)
{
	SSL_free(client->ssl);
	(void)close(client->fd);
}

static unsigned count_held(void)
{
	struct net_conn *conn;
	unsigned count = 0;

	LIST_FOREACH(conn, &acceptor->conns, entry)
	{
		count += conn->state == NET_CONN_HELD;
	}
	return count;
}

static bool one_is_held(void)
{
	return count_held() == 1;
}

static bool none_is_held(void)
{
	return count_held() == 0;
}

static bool session_is_open(void)
{
	return session != NULL;
}

/* Clients that were accepted and are through with waiting. */
static unsigned count_let_go(void)
{
	return unfinished() - count_held();
}

static void finish_handshakes(struct client *clients, size_t count)
{
	size_t left = count;
	size_t i;

	while (left > 0) {
		run_turn();
		for (left = count, i = 0; i < count; i++) {
			left -= SSL_do_handshake(clients[i].ssl) == 1;
			(void)say(&clients[i], SIZE_MAX);
		}
	}
}

/* The kernel may take a while even from itself to itself. */
static void await_readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	ck_assert_int_eq(poll(&poller, 1, -1), 1);
}

static void ask(struct client *client)
{
	static const char request[] = "GET /crowd" REQUEST;

	ck_assert_int_eq(SSL_write(client->ssl, request, sizeof(request) - 1),
			 (int)sizeof(request) - 1);
}

START_TEST(handshakes_are_taken_a_few_in_each_turn)
{
	static const int one = 1;
	static const char frame[] = {'\x81', '\x80', 0, 0, 0, 0};
	static const char request[] = "GET /session" REQUEST;
	struct client clients[TLS_CROWD];
	int fd = dial(PLAIN);
	size_t i;

	acceptor->limits.handshakes_max = TLS_CROWD + 1; /* never full: nobody has to make room */
	ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	send_all(fd, request, sizeof(request) - 1);
	run_until(session_is_open);
	for (i = 0; i < TLS_CROWD; i++) {
		clients[i] = make_client();
		ck_assert_uint_gt(say(&clients[i], SIZE_MAX), 0);
	}
	while (count_let_go() < TLS_CROWD) {
		unsigned before = count_let_go();
		unsigned came = frames;

		send_all(fd, frame, sizeof(frame));
		await_readable(session->wire.fd);
		run_turn();
		ck_assert_uint_le(count_let_go() - before, NET_HOLD_TURN);
		ck_assert_uint_eq(frames, came + 1);
	}
	ck_assert_uint_ge(frames, TLS_CROWD / NET_HOLD_TURN);
	ck_assert_int_gt(bc_metric_get(BC_M_HANDSHAKES_PUT_OFF), 0);
	finish_handshakes(clients, TLS_CROWD);
	for (i = 0; i < TLS_CROWD; i++) {
		ask(&clients[i]);
		(void)say(&clients[i], SIZE_MAX);
	}
	while (asked < TLS_CROWD) {
		run_turn();
	}
	for (i = 0; i < TLS_CROWD; i++) {
		end_client(&clients[i]);
	}
	run_until(is_empty);
	(void)close(fd);
}
END_TEST

/* ---- flights behind the first, and hellos that are not waited for ---- */

/* Its first key is of a group the server does not take: it is asked for a second hello. */
static void take_other_groups(SSL_CTX *context)
{
	ck_assert_int_eq(SSL_CTX_set1_groups_list(context, "P-384"), 1);
}

/* A hello of more than NET_HELLO_MAX bytes. */
static void offer_a_lot(SSL *ssl)
{
	static unsigned char names[12000];
	size_t at = 0;

	while (at + 200 <= sizeof(names)) {
		names[at] = 199;
		memset(names + at + 1, 'x', 199);
		at += 200;
	}
	ck_assert_int_eq(SSL_set_alpn_protos(ssl, names, (unsigned)at), 0);
	ck_assert_uint_gt(at, NET_HELLO_MAX);
}

/* The server's key is used for the second flight only. */
static void exchange_by_rsa(SSL *ssl)
{
	ck_assert_int_eq(SSL_set_max_proto_version(ssl, TLS1_2_VERSION), 1);
	ck_assert_int_eq(SSL_set_cipher_list(ssl, "kRSA"), 1);
}

static void have_rsa(SSL_CTX *context)
{
	EVP_PKEY *key = EVP_RSA_gen(2048);
	X509 *cert = X509_new();

	ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notBefore(cert), 0));
	ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
	ck_assert_int_eq(X509_set_pubkey(cert, key), 1);
	ck_assert_int_gt(X509_sign(cert, key, EVP_sha256()), 0);
	ck_assert_int_eq(SSL_CTX_set_cipher_list(context, "DEFAULT"), 1);
	ck_assert_int_eq(SSL_CTX_use_certificate(context, cert), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey(context, key), 1);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static void speak_tls_1_2(SSL *ssl)
{
	ck_assert_int_eq(SSL_set_max_proto_version(ssl, TLS1_2_VERSION), 1);
}

static const struct habit habits[] = {
	{"the first flight", NULL, NULL, 1, 0},
	{"a second hello", NULL, take_other_groups, 2, 0},
	{"a long hello", offer_a_lot, NULL, 1, 100},
	{"TLS 1.2, the client's key", speak_tls_1_2, NULL, 2, 0},
	{"TLS 1.2, RSA", exchange_by_rsa, have_rsa, 2, 0},
};

/* Handshakes in which the server has done what is dear: its Finished is made. */
static unsigned count_dear(void)
{
	struct net_conn *conn;
	unsigned count = 0;
	char none[1];

	LIST_FOREACH(conn, &acceptor->conns, entry)
	{
		SSL *ssl;
		int fd;

		if (conn->state == NET_CONN_READING) {
			net_lws_peek(conn->wsi, &fd, &ssl);
			count += ssl != NULL && SSL_get_finished(ssl, none, 0) > 0;
		}
	}
	return count;
}

/* The listener's context, by one client that comes and goes. */
static SSL_CTX *find_context(void)
{
	struct client client = make_client();
	SSL_CTX *context;
	SSL *ssl;
	int fd;

	(void)say(&client, SIZE_MAX);
	run_until(one_is_held);
	run_until(none_is_held);
	net_lws_peek(LIST_FIRST(&acceptor->conns)->wsi, &fd, &ssl);
	context = SSL_get_SSL_CTX(ssl);
	end_client(&client);
	run_until(is_empty);
	return context;
}

/* Advance until the client has its second flight ready. */
static void await_second_flight(struct client *client)
{
	while (BIO_ctrl_pending(client->out) == 0) {
		run_turn();
		ck_assert_int_eq(SSL_do_handshake(client->ssl), -1);
	}
}

/* Everybody says their next flight, as soon as the server has answered the one before. */
static void say_flight(struct client *clients, unsigned flight)
{
	for (size_t i = 0; i < TLS_CROWD && flight > 1; i++) {
		await_second_flight(&clients[i]);
	}
	for (size_t i = 0; i < TLS_CROWD; i++) {
		ck_assert_uint_gt(say(&clients[i], SIZE_MAX), 0);
	}
}

START_TEST(dear_flights_are_taken_a_few_in_each_turn)
{
	const struct habit *habit = &habits[_i];
	struct client clients[TLS_CROWD];
	unsigned turns = 0;
	size_t i;

	acceptor->limits.handshakes_max = TLS_CROWD + 1; /* never full: nobody has to make room */
	if (habit->serve != NULL) {
		habit->serve(find_context());
	}
	for (i = 0; i < TLS_CROWD; i++) {
		clients[i] = make_client_with(habit);
	}
	if (habit->begins > 0) {
		for (i = 0; i < TLS_CROWD; i++) {
			ck_assert_uint_eq(say(&clients[i], habit->begins), habit->begins);
		}
		while (count_let_go() < TLS_CROWD) {
			run_turn();
		}
	}
	for (unsigned flight = 1; flight <= habit->flights; flight++) {
		ck_assert_msg(count_dear() == 0, "%s", habit->name);
		say_flight(clients, flight);
	}
	while (count_dear() < TLS_CROWD) {
		unsigned before = count_dear();

		run_turn();
		turns++;
		ck_assert_msg(count_dear() - before <= NET_RATION_TURN, "%s: %u in one turn",
			      habit->name, count_dear() - before);
	}
	ck_assert_uint_ge(turns, TLS_CROWD / NET_RATION_TURN);
	ck_assert_int_gt(bc_metric_get(BC_M_HANDSHAKES_PUT_OFF), 0);
	finish_handshakes(clients, TLS_CROWD);
	for (i = 0; i < TLS_CROWD; i++) {
		end_client(&clients[i]);
	}
	run_until(is_empty);
	ck_assert_uint_eq(acceptor->ration.asked, acceptor->ration.gone);
}
END_TEST

/* A long hello in records of four bytes: it takes as many turns as its reads ask for. */
START_TEST(flights_of_many_records_take_many_turns)
{
	struct client client = make_client_with(&habits[2]);
	static char hello[15000];
	int len = BIO_read(client.out, hello, sizeof(hello));
	unsigned turns = 0;
	int at;

	for (at = 5; at < len; at += 4) {
		int body = len - at < 4 ? len - at : 4;
		char record[9] = {hello[0], hello[1], hello[2], 0, (char)body};

		memcpy(record + 5, hello + at, (size_t)body);
		while (send(client.fd, record, (size_t)body + 5, MSG_NOSIGNAL) < 0) {
			run_turn(); /* the kernel takes no more before we have read */
		}
	}
	while (SSL_do_handshake(client.ssl) != 1) {
		run_turn();
		turns++;
	}
	(void)say(&client, SIZE_MAX);
	ck_assert_uint_ge(turns, NET_HELLO_MAX / 4 * 2 / NET_RATION_READS);
	end_client(&client);
	run_until(is_empty);
}
END_TEST

/* Clients whose second flight never ends take no turn from one who came after them. */
START_TEST(endless_flights_hold_up_nobody)
{
	/* A handshake message of 2,000 bytes, in records of one. */
	static const char first[] = "\x16\x03\x03\x00\x04\x10\x00\x07\xd0";
	static const char next[] = "\x16\x03\x03\x00\x01x";
	const struct habit *habit = &habits[3];
	struct client clients[TLS_CROWD];
	struct client good;
	unsigned turns = 0;
	size_t i;

	acceptor->limits.handshakes_max = TLS_CROWD + 2;
	good = make_client_with(habit);
	(void)say(&good, SIZE_MAX);
	await_second_flight(&good);
	for (i = 0; i < TLS_CROWD; i++) {
		clients[i] = make_client_with(habit);
	}
	say_flight(clients, 1);
	for (i = 0; i < TLS_CROWD; i++) {
		await_second_flight(&clients[i]);
		send_all(clients[i].fd, first, sizeof(first) - 1);
	}
	(void)say(&good, SIZE_MAX);
	while (SSL_do_handshake(good.ssl) != 1) {
		for (i = 0; i < TLS_CROWD; i++) {
			send_all(clients[i].fd, next, sizeof(next) - 1);
		}
		run_turn();
		turns++;
		ck_assert_uint_le(turns, TLS_CROWD);
	}
	end_client(&good);
	for (i = 0; i < TLS_CROWD; i++) {
		end_client(&clients[i]);
	}
	run_until(is_empty);
	ck_assert_uint_eq(acceptor->ration.asked, acceptor->ration.gone);
}
END_TEST

/* The only one's socket is not readable, so nobody wakes the loop for what it has sent so far. */
static void check_sleep(void)
{
	struct net_conn *conn = LIST_FIRST(&acceptor->conns);
	struct pollfd poller = {.fd = conn->hold.fd, .events = POLLIN};

	ck_assert_int_eq(conn->state, NET_CONN_HELD);
	ck_assert_int_eq(poll(&poller, 1, 0), 0);
}

START_TEST(dribbled_hello_wakes_nobody)
{
	struct client client = make_client();
	size_t left = BIO_ctrl_pending(client.out);

	run_until(one_is_held);
	for (; left > 1; left--) {
		ck_assert_uint_eq(say(&client, 1), 1);
		run_turn();
		run_turn();
		check_sleep();
	}
	ck_assert_uint_eq(say(&client, 1), 1);
	run_until(none_is_held);
	/* What follows is shorter than the hello, and comes piecewise as well. */
	while (SSL_do_handshake(client.ssl) != 1) {
		run_turn();
	}
	ask(&client);
	while (say(&client, 1) == 1) {
		run_turn();
	}
	while (asked == 0) {
		run_turn();
	}
	end_client(&client);
	run_until(is_empty);
}
END_TEST

static void leave(struct client *client)
{
	(void)client;
}

static void end_stream(struct client *client)
{
	ck_assert_int_eq(shutdown(client->fd, SHUT_WR), 0);
}

static void reset(struct client *client)
{
	static const struct linger at_once = {.l_onoff = 1};

	ck_assert_int_eq(setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)),
			 0);
}

static void talk_plainly(struct client *client)
{
	send_all(client->fd, "GET / HTTP/1.1\r\n\r\n", 18);
}

static const struct {
	size_t said; /* bytes of the hello */
	void (*end)(struct client *client);
	bool stays; /* its own end is open */
} ends[] = {
	{0, leave, false},       {3, leave, false},        {50, leave, false},
	{0, end_stream, true},   {3, end_stream, true},    {50, end_stream, true},
	{3, reset, false},       {50, reset, false},       {SIZE_MAX, end_stream, true},
	{0, talk_plainly, true}, {SIZE_MAX, leave, false}, {SIZE_MAX, reset, false},
};

START_TEST(broken_hello_ends)
{
	struct client client = make_client();

	run_until(one_is_held);
	(void)say(&client, ends[_i].said);
	if (ends[_i].said < SIZE_MAX) {
		run_turn();
		run_turn();
	}
	ends[_i].end(&client);
	if (!ends[_i].stays) {
		end_client(&client);
	}
	run_until(is_empty);
	ck_assert(LIST_EMPTY(&acceptor->conns));
	if (ends[_i].stays) {
		end_client(&client);
	}
}
END_TEST

START_TEST(silence_times_out)
{
	struct client client;

	acceptor->limits.handshake_timeout = BC_USEC_PER_MS;
	client = make_client();
	(void)say(&client, _i == 0 ? 0 : 50);
	run_until(one_is_held);
	run_until(is_empty);
	ck_assert_int_eq(bc_metric_get(BC_M_HANDSHAKE_TIMEOUTS), 1);
	end_client(&client);
}
END_TEST

/* Some wait for their hello, some for their turn, when room has to be made (0) or everything ends (1). */
START_TEST(held_clients_are_dropped)
{
	struct client clients[HANDSHAKES_MAX];
	size_t i;

	acceptor->limits.handshakes_max = HANDSHAKES_MAX + 1; /* so that only we make room */
	for (i = 0; i < HANDSHAKES_MAX; i++) {
		clients[i] = make_client();
	}
	while (count_held() < HANDSHAKES_MAX) {
		run_turn();
	}
	for (i = 0; i < HANDSHAKES_MAX; i++) {
		if (i % 4 != 0) {
			(void)say(&clients[i], SIZE_MAX);
		}
	}
	while (TAILQ_EMPTY(&acceptor->holds.ready)) {
		run_turn();
	}
	ck_assert_uint_eq(count_held(), HANDSHAKES_MAX);
	if (_i == 0) {
		net_conn_hurry(acceptor, loop_clock() + BC_USEC_PER_SEC);
		ck_assert_uint_eq(unfinished(), 0);
		ck_assert_int_eq(bc_metric_get(BC_M_HANDSHAKE_TIMEOUTS), HANDSHAKES_MAX);
	} else {
		acceptor = net_acceptor_free(acceptor);
	}
	for (i = 0; i < HANDSHAKES_MAX; i++) {
		end_client(&clients[i]);
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
	tcase_add_test(tcase, handshakes_are_taken_a_few_in_each_turn);
	tcase_add_loop_test(tcase, dear_flights_are_taken_a_few_in_each_turn, 0,
			    BC_ARRAY_LEN(habits));
	tcase_add_test(tcase, flights_of_many_records_take_many_turns);
	tcase_add_test(tcase, endless_flights_hold_up_nobody);
	tcase_add_test(tcase, dribbled_hello_wakes_nobody);
	tcase_add_loop_test(tcase, broken_hello_ends, 0, BC_ARRAY_LEN(ends));
	tcase_add_loop_test(tcase, silence_times_out, 0, 2);
	tcase_add_loop_test(tcase, held_clients_are_dropped, 0, 2);
	return tap_run(suite);
}
