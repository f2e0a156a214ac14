/* net_connect against a server of the test's own: WebSocket, TLS, an HTTP proxy, and everything that goes wrong. */
#include "daemon/loop/loop.h"
#include "daemon/net/connect.h"
#include "tests/unit/certs.h"
#include "tests/unit/tap.h"
#include "tests/unit/upgrader.h"

#include <arpa/inet.h>
#include <check.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUARD    (40 * BC_USEC_PER_SEC)
#define PATIENT  (30 * BC_USEC_PER_SEC)
#define SHORT    (300 * BC_USEC_PER_MS)
#define POLL     (2 * BC_USEC_PER_MS)
#define CLOG_MAX 16 /* sockets that fill a queue of length 0 */

static struct certs certs;
static struct loop *loop;
static struct loop_timer *guard;
static struct loop_timer *poll_timer;
static struct net_io *io;
static struct net_resolver *resolver;
static struct net_connector *connector;

/* --- names --- */

/* "two.test" is 127.0.0.2, then 127.0.0.1; everything else is real. */
int getaddrinfo(const char *restrict node, const char *restrict service,
		const struct addrinfo *restrict hints, struct addrinfo **restrict res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	int code;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (strcmp(node, "two.test") != 0) {
		return real(node, service, hints, res);
	}
	code = real("127.0.0.2", service, hints, res);
	return code != 0 ? code : real("127.0.0.1", service, hints, &(*res)->ai_next);
}

/* What the owner of the attempt saw. */
static struct {
	unsigned connects;
	unsigned failures;
	struct net_link *link;
	char messages[128];
	unsigned message_count;
	unsigned messages_wanted; /* the loop stops when so many came */
	enum bc_err err;
	unsigned status;
	char stage[16];
	char detail[128];
	struct net_connect *attempt;
} client;

static void on_guard(void *arg)
{
	(void)arg;
	ck_abort_msg("nothing happened for too long");
}

static void on_poll(void *arg);

static void set_up(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	memset(&server, 0, sizeof(server));
	memset(&client, 0, sizeof(client));
	server.listener = -1;
	certs_make(&certs);
	ck_assert_int_eq(loop_new(&loop), BC_OK);
	guard = loop_timer_new(loop, on_guard, NULL);
	loop_timer_start(guard, GUARD);
	poll_timer = loop_timer_new(loop, on_poll, NULL);
	io = net_io_new(loop);
	resolver = net_resolver_new();
	connector = net_connector_new(io, resolver);
	ck_assert_ptr_nonnull(connector);
}

static void stop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static void tear_down(void)
{
	connector = net_connector_free(connector);
	resolver = net_resolver_free(resolver);
	io = net_io_free(io);
	poll_timer = loop_timer_free(poll_timer);
	guard = loop_timer_free(guard);
	loop = loop_free(loop);
	stop_server();
	certs_remove(&certs);
}

/* --- client --- */

static void on_message(void *arg, enum ws_opcode opcode, struct bc_span payload)
{
	size_t used = strlen(client.messages);

	(void)arg;
	ck_assert_int_eq(opcode, WS_TEXT);
	(void)snprintf(client.messages + used, sizeof(client.messages) - used, "%.*s;",
		       BC_SPAN_ARG(payload));
	client.message_count++;
	if (client.message_count == client.messages_wanted) {
		loop_stop(loop);
	}
}

static void on_drained(void *arg)
{
	(void)arg;
}

static void on_closed(void *arg, const struct net_close *why)
{
	(void)arg;
	(void)why;
	loop_stop(loop);
}

static const struct net_link_ops link_ops = {on_message, on_drained, on_closed};

static void on_connected(void *arg, struct net_link *link)
{
	ck_assert_ptr_eq(arg, &client);
	ck_assert_uint_eq(client.message_count, 0);
	client.connects++;
	client.link = link;
	if (client.messages_wanted == 0) {
		loop_stop(loop);
	}
}

static void on_failed(void *arg, const struct net_connect_failure *failure)
{
	ck_assert_ptr_eq(arg, &client);
	client.failures++;
	client.err = failure->err;
	client.status = failure->status;
	(void)snprintf(client.stage, sizeof(client.stage), "%s", failure->stage);
	(void)snprintf(client.detail, sizeof(client.detail), "%s", failure->detail);
	ck_assert_ptr_null(strstr(failure->detail, "sk-test"));
	ck_assert_ptr_null(strstr(failure->detail, "secret"));
	loop_stop(loop);
}

static const struct net_connect_ops ops = {on_connected, on_failed};

static const struct net_link_conf conf = {.role = WS_CLIENT,
					  .message_max = 65536,
					  .backlog_high = 65536,
					  .backlog_low = 1024,
					  .ping_interval = 60 * BC_USEC_PER_SEC,
					  .ping_timeout = 60 * BC_USEC_PER_SEC,
					  .close_timeout = BC_USEC_PER_SEC};

static struct net_target target_of(const char *scheme, const char *host)
{
	static char url[128];

	(void)snprintf(url, sizeof(url), "%s://%s:%u/v1/realtime?model=m", scheme, host,
		       server.port);
	return (struct net_target){.url = url,
				   .header_name = "Authorization",
				   .header_value = "Bearer sk-test",
				   .ca_file = certs.ca,
				   .timeout = PATIENT};
}

static void begin(const struct net_target *target)
{
	unsigned wanted = client.messages_wanted;

	memset(&client, 0, sizeof(client));
	client.messages_wanted = wanted;
	client.attempt = net_connect_start(connector, target, &conf, &ops, &link_ops, &client);
	ck_assert_ptr_nonnull(client.attempt);
	ck_assert_uint_eq(client.connects + client.failures, 0);
}

static void perform(const struct net_target *target)
{
	begin(target);
	loop_run(loop);
	ck_assert_uint_eq(client.connects + client.failures, 1);
}

static void expect_success(const struct net_target *target)
{
	perform(target);
	ck_assert_msg(client.connects == 1, "failed: %s: %s", client.stage, client.detail);
	client.link = net_link_free(client.link);
}

static void expect_failure(const struct net_target *target, enum bc_err err, const char *stage)
{
	perform(target);
	ck_assert_uint_eq(client.failures, 1);
	ck_assert_str_eq(client.stage, stage);
	ck_assert_msg(client.err == err, "%s instead of %s: %s", bc_err_name(client.err),
		      bc_err_name(err), client.detail);
	ck_assert(client.detail[0] != '\0');
}

static void use_tls(const char *cert)
{
	server.tls = make_server_tls(cert, certs.key);
	start_server();
}

START_TEST(test_plain)
{
	struct net_target target;

	start_server();
	target = target_of("ws", "127.0.0.1");
	target.query = BC_SPAN_LIT("user=7");
	target.headers = BC_SPAN_LIT("OpenAI-Project: p\r\n");
	expect_success(&target);
	ck_assert_ptr_nonnull(strstr(server.asked, "GET /v1/realtime?model=m&user=7 HTTP/1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(server.asked, "\r\nAuthorization: Bearer sk-test\r\n"));
	ck_assert_ptr_nonnull(strstr(server.asked, "\r\nOpenAI-Project: p\r\n"));
}
END_TEST

START_TEST(test_first_messages_are_not_lost)
{
	struct net_target target;

	server.manner = UPGRADE_AND_SPEAK;
	if (_i == 1) {
		server.tls = make_server_tls(certs.leaf, certs.key);
	}
	start_server();
	target = target_of(_i == 1 ? "wss" : "ws", "127.0.0.1");
	client.messages_wanted = 2;
	expect_success(&target);
	ck_assert_str_eq(client.messages, "hello;world;");
}
END_TEST

START_TEST(test_answer_in_pieces)
{
	struct net_target target;

	server.manner = UPGRADE_PIECEWISE;
	if (_i == 1) {
		server.tls = make_server_tls(certs.leaf, certs.key);
	}
	start_server();
	target = target_of(_i == 1 ? "wss" : "ws", "127.0.0.1");
	client.messages_wanted = 1;
	expect_success(&target);
	ck_assert_str_eq(client.messages, "hello;");
}
END_TEST

START_TEST(test_tls)
{
	struct net_target target;

	use_tls(certs.leaf);
	target = target_of("wss", "localhost");
	expect_success(&target);
	ck_assert_str_eq(server.sni, "localhost");
	target = target_of("wss", "127.0.0.1");
	expect_success(&target);
	ck_assert_str_eq(server.sni, ""); /* addresses are not names */
}
END_TEST

START_TEST(test_resumption)
{
	struct net_target target;

	server.tls = make_server_tls(certs.leaf, certs.key);
	if (_i == 1) {
		SSL_CTX_set_max_proto_version(server.tls, TLS1_2_VERSION);
	}
	start_server();
	target = target_of("wss", "localhost");
	expect_success(&target);
	ck_assert_uint_eq(atomic_load(&server.resumed), 0);
	expect_success(&target);
	ck_assert_uint_eq(atomic_load(&server.resumed), 1);
	expect_success(&target);
	ck_assert_uint_eq(atomic_load(&server.resumed), 2);
	/* A connection that was cut spoils nothing. */
	server.manner = STATUS;
	server.status = 503;
	expect_failure(&target, BC_E_UPSTREAM, "handshake");
	expect_failure(&target, BC_E_UPSTREAM, "handshake");
	ck_assert_uint_eq(atomic_load(&server.resumed), 4);
	server.manner = UPGRADE;
	expect_success(&target);
	ck_assert_uint_eq(atomic_load(&server.resumed), 5);
	/* Another name is another peer. */
	target = target_of("wss", "127.0.0.1");
	expect_success(&target);
	ck_assert_uint_eq(atomic_load(&server.resumed), 5);
}
END_TEST

START_TEST(test_old_tls_is_refused)
{
	struct net_target target;

	server.tls = make_server_tls(certs.leaf, certs.key);
	SSL_CTX_set_security_level(server.tls, 0);
	SSL_CTX_set_min_proto_version(server.tls, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(server.tls, TLS1_1_VERSION);
	start_server();
	target = target_of("wss", "localhost");
	expect_failure(&target, BC_E_PROTO, "tls");
}
END_TEST

START_TEST(test_bad_certificates)
{
	const char *const leaves[] = {certs.other, certs.other, certs.expired, certs.leaf,
				      certs.leaf};
	const char *const cas[] = {certs.ca, certs.ca, certs.ca, certs.stranger,
				   "/nonexistent/ca.pem"};
	struct net_target target;

	use_tls(leaves[_i]);
	target = target_of("wss", _i == 0 ? "127.0.0.1" : "localhost");
	target.ca_file = cas[_i];
	expect_failure(&target, BC_E_INVALID, "tls");
}
END_TEST

START_TEST(test_system_store_does_not_know_us)
{
	struct net_target target;

	use_tls(certs.leaf);
	target = target_of("wss", "localhost");
	target.ca_file = NULL;
	expect_failure(&target, BC_E_INVALID, "tls");
}
END_TEST

START_TEST(test_plain_server_for_tls)
{
	struct net_target target;

	server.manner = GARBAGE;
	start_server();
	target = target_of("wss", "localhost");
	target.timeout = SHORT;
	/* The server waits for the end of a head in what is a ClientHello. */
	expect_failure(&target, BC_E_TIMEOUT, "tls");
}
END_TEST

START_TEST(test_status)
{
	static const struct {
		unsigned status;
		enum bc_err err;
	} rows[] = {
		{400, BC_E_REFUSED},  {401, BC_E_REFUSED},  {403, BC_E_REFUSED},
		{404, BC_E_REFUSED},  {302, BC_E_REFUSED},  {200, BC_E_REFUSED},
		{429, BC_E_UPSTREAM}, {500, BC_E_UPSTREAM}, {503, BC_E_UPSTREAM},
	};
	struct net_target target;

	server.manner = STATUS;
	start_server();
	target = target_of("ws", "127.0.0.1");
	for (size_t i = 0; i < BC_ARRAY_LEN(rows); i++) {
		server.status = rows[i].status;
		expect_failure(&target, rows[i].err, "handshake");
		ck_assert_uint_eq(client.status, rows[i].status);
	}
}
END_TEST

START_TEST(test_bad_answers)
{
	static const enum manner manners[] = {GARBAGE, BAD_ACCEPT, ENDLESS, HANG_UP};
	static const enum bc_err errs[] = {BC_E_PROTO, BC_E_PROTO, BC_E_PROTO, BC_E_UPSTREAM};
	struct net_target target;

	server.manner = manners[_i];
	start_server();
	target = target_of("ws", "127.0.0.1");
	expect_failure(&target, errs[_i], "handshake");
	ck_assert_uint_eq(client.status, 0);
}
END_TEST

START_TEST(test_refused_port)
{
	struct net_target target;
	int fd = bind_to("127.0.0.1", 0, &server.port); /* never listens */

	target = target_of("ws", "127.0.0.1");
	expect_failure(&target, BC_E_UPSTREAM, "connect");
	close(fd);
}
END_TEST

START_TEST(test_unresolvable)
{
	struct net_target target;

	server.port = 443;
	target = target_of("wss", "nonexistent.invalid");
	expect_failure(&target, BC_E_UPSTREAM, "resolve");
}
END_TEST

START_TEST(test_unusable)
{
	static const char *const urls[] = {"",           "https://127.0.0.1/",  "ws://",
					   "ws://:80/",  "ws://u:p@127.0.0.1/", "ws://a/#f",
					   "ws://a:0/",  "ws://a:65536/",       "ws://a:8x/",
					   "ws://[::1/", "ws://[::1]x/",        "ws://a/b c"};
	struct net_target target;

	server.port = 1;
	target = target_of("ws", "127.0.0.1");
	for (size_t i = 0; i < BC_ARRAY_LEN(urls); i++) {
		target.url = urls[i];
		expect_failure(&target, BC_E_INVALID, "resolve");
	}
	target = target_of("ws", "127.0.0.1");
	target.header_value = "x\r\nEvil: 1";
	expect_failure(&target, BC_E_INVALID, "resolve");
}
END_TEST

/* A port of address whose queue is full, so that nobody is let in and nobody is turned away. */
static void clog_port(const char *address, unsigned port, int fds[CLOG_MAX])
{
	struct sockaddr_in addr = {.sin_family = AF_INET};

	fds[0] = bind_to(address, port, &server.port);
	ck_assert_int_eq(listen(fds[0], 0), 0);
	addr.sin_port = htons((uint16_t)server.port);
	ck_assert_int_eq(inet_pton(AF_INET, address, &addr.sin_addr), 1);
	for (int i = 1; i < CLOG_MAX; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(fds[i], (struct sockaddr *)&addr, sizeof(addr));
	}
}

static void unclog_port(const int fds[CLOG_MAX])
{
	for (int i = 0; i < CLOG_MAX; i++) {
		close(fds[i]);
	}
}

START_TEST(test_silence)
{
	static const char *const stages[] = {"connect", "proxy", "tls", "handshake", "handshake"};
	struct net_target target;
	bc_usec began = loop_clock();
	int fds[CLOG_MAX];
	char proxy[64];

	server.manner = SILENT;
	server.tunnel = _i == 1 ? TUNNEL_SILENT : NO_PROXY;
	server.mute_in_tls = _i == 2;
	if (_i == 2 || _i == 4) {
		server.tls = make_server_tls(certs.leaf, certs.key);
	}
	if (_i == 0) {
		clog_port("127.0.0.1", 0, fds);
	} else {
		start_server();
	}
	target = target_of(_i == 2 || _i == 4 ? "wss" : "ws", "127.0.0.1");
	(void)snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", server.port);
	target.proxy = _i == 1 ? proxy : NULL;
	target.timeout = SHORT;
	expect_failure(&target, BC_E_TIMEOUT, stages[_i]);
	ck_assert(loop_clock() - began >= SHORT - 20 * BC_USEC_PER_MS);
	if (_i == 0) {
		unclog_port(fds);
	}
}
END_TEST

START_TEST(test_second_address)
{
	struct net_target target;
	int fds[CLOG_MAX];
	bc_usec began;

	start_server();
	if (_i == 1) {
		unsigned port = server.port;

		clog_port("127.0.0.2", port, fds);
		ck_assert_uint_eq(server.port, port);
	}
	target = target_of("ws", "two.test");
	/* The first address may use half of it. */
	target.timeout = _i == 1 ? 2 * BC_USEC_PER_SEC : PATIENT;
	began = loop_clock();
	expect_success(&target);
	if (_i == 1) {
		ck_assert(loop_clock() - began >= 900 * BC_USEC_PER_MS);
		unclog_port(fds);
	}
}
END_TEST

static const char *proxy_url(void)
{
	static char url[64];

	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", server.port);
	return url;
}

START_TEST(test_proxy)
{
	struct net_target target;

	server.tunnel = TUNNEL;
	server.manner = UPGRADE_AND_SPEAK;
	server.tls = _i == 1 ? make_server_tls(certs.leaf, certs.key) : NULL;
	start_server();
	/* The provider's name is the proxy's to look up. */
	target = target_of(_i == 1 ? "wss" : "ws", "localhost");
	target.url = _i == 1 ? "wss://localhost/p" : "ws://provider.invalid/p";
	target.proxy = proxy_url();
	client.messages_wanted = 2;
	expect_success(&target);
	ck_assert_ptr_nonnull(
		strstr(server.asked_tunnel, _i == 1 ? "CONNECT localhost:443 HTTP/1.1\r\n"
						    : "CONNECT provider.invalid:80 "
						      "HTTP/1.1\r\n"));
	ck_assert_ptr_null(strstr(server.asked_tunnel, "sk-test"));
	ck_assert_ptr_nonnull(strstr(server.asked, "GET /p HTTP/1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(server.asked, "\r\nAuthorization: Bearer sk-test\r\n"));
	ck_assert_str_eq(client.messages, "hello;world;");
}
END_TEST

START_TEST(test_proxy_refuses)
{
	static const unsigned statuses[] = {407, 403, 502};
	static const enum bc_err errs[] = {BC_E_REFUSED, BC_E_REFUSED, BC_E_UPSTREAM};
	struct net_target target;

	server.tunnel = TUNNEL_STATUS;
	start_server();
	target = target_of("wss", "localhost");
	target.proxy = proxy_url();
	for (size_t i = 0; i < BC_ARRAY_LEN(statuses); i++) {
		server.status = statuses[i];
		expect_failure(&target, errs[i], "proxy");
		ck_assert_uint_eq(client.status, statuses[i]);
	}
}
END_TEST

START_TEST(test_proxy_misbehaves)
{
	static const enum tunnel tunnels[] = {TUNNEL_CHATTY, TUNNEL_HANG_UP};
	static const enum bc_err errs[] = {BC_E_PROTO, BC_E_UPSTREAM};
	struct net_target target;

	server.tunnel = tunnels[_i];
	start_server();
	target = target_of("wss", "localhost");
	target.proxy = proxy_url();
	expect_failure(&target, errs[_i], "proxy");
}
END_TEST

static unsigned reached_wanted;

/* Cancel as soon as the server has seen the request of this stage. */
static void on_poll(void *arg)
{
	(void)arg;
	if (atomic_load(&server.reached) < reached_wanted) {
		loop_timer_start(poll_timer, POLL);
		return;
	}
	net_connect_cancel(client.attempt);
	ck_assert_int_eq(loop_post(loop, stop, NULL), BC_OK);
}

/* 0: before anything, 1: while connecting, 2: proxy, 3: TLS, 4: handshake */
START_TEST(test_cancel)
{
	struct net_target target;
	int fds[CLOG_MAX];

	server.manner = SILENT;
	server.tunnel = _i == 2 ? TUNNEL_SILENT : NO_PROXY;
	server.mute_in_tls = _i == 3;
	server.tls = _i == 3 ? make_server_tls(certs.leaf, certs.key) : NULL;
	if (_i == 1) {
		clog_port("127.0.0.1", 0, fds);
	} else {
		start_server();
	}
	target = target_of(_i == 3 ? "wss" : "ws", _i == 0 ? "localhost" : "127.0.0.1");
	target.proxy = _i == 2 ? proxy_url() : NULL;
	begin(&target);
	reached_wanted = _i >= 2 ? 1 : 0;
	if (_i == 0) {
		net_connect_cancel(client.attempt);
		ck_assert_int_eq(loop_post(loop, stop, NULL), BC_OK);
	} else {
		loop_timer_start(poll_timer, 20 * BC_USEC_PER_MS);
	}
	loop_run(loop);
	ck_assert_uint_eq(client.connects + client.failures, 0);
	if (_i == 1) {
		unclog_port(fds);
	}
	while (_i >= 2 && atomic_load(&server.closed) == 0) {
		usleep(1000); /* the server sees the end; the suite's time-out is the limit */
	}
}
END_TEST

static void on_failed_cancel(void *arg, const struct net_connect_failure *failure)
{
	net_connect_cancel(client.attempt);
	on_failed(arg, failure);
}

static void on_connected_cancel(void *arg, struct net_link *link)
{
	net_connect_cancel(client.attempt);
	on_connected(arg, link);
}

START_TEST(test_cancel_in_own_callback)
{
	static const struct net_connect_ops cancelling = {on_connected_cancel, on_failed_cancel};
	struct net_target target;

	server.manner = _i == 1 ? STATUS : UPGRADE;
	server.status = 500;
	start_server();
	target = target_of("ws", "127.0.0.1");
	client.attempt =
		net_connect_start(connector, &target, &conf, &cancelling, &link_ops, &client);
	loop_run(loop);
	ck_assert_uint_eq(client.connects, _i == 1 ? 0 : 1);
	ck_assert_uint_eq(client.failures, _i == 1 ? 1 : 0);
	client.link = net_link_free(client.link);
}
END_TEST

static void add_ways(TCase *tests)
{
	tcase_add_test(tests, test_plain);
	tcase_add_loop_test(tests, test_first_messages_are_not_lost, 0, 2);
	tcase_add_loop_test(tests, test_answer_in_pieces, 0, 2);
	tcase_add_test(tests, test_tls);
	tcase_add_loop_test(tests, test_resumption, 0, 2);
	tcase_add_loop_test(tests, test_second_address, 0, 2);
	tcase_add_loop_test(tests, test_proxy, 0, 2);
}

static void add_faults(TCase *tests)
{
	tcase_add_test(tests, test_old_tls_is_refused);
	tcase_add_loop_test(tests, test_bad_certificates, 0, 5);
	tcase_add_test(tests, test_system_store_does_not_know_us);
	tcase_add_test(tests, test_plain_server_for_tls);
	tcase_add_test(tests, test_status);
	tcase_add_loop_test(tests, test_bad_answers, 0, 4);
	tcase_add_test(tests, test_refused_port);
	tcase_add_test(tests, test_unresolvable);
	tcase_add_test(tests, test_unusable);
	tcase_add_loop_test(tests, test_silence, 0, 5);
	tcase_add_test(tests, test_proxy_refuses);
	tcase_add_loop_test(tests, test_proxy_misbehaves, 0, 2);
}

static Suite *make_suite(void)
{
	Suite *suite = suite_create("connect");
	TCase *ways = tcase_create("ways");
	TCase *faults = tcase_create("faults");
	TCase *cancels = tcase_create("cancels");
	TCase *all[] = {ways, faults, cancels};

	for (size_t i = 0; i < BC_ARRAY_LEN(all); i++) {
		tcase_set_timeout(all[i], 55);
		tcase_add_checked_fixture(all[i], set_up, tear_down);
		suite_add_tcase(suite, all[i]);
	}
	add_ways(ways);
	add_faults(faults);
	tcase_add_loop_test(cancels, test_cancel, 0, 5);
	tcase_add_loop_test(cancels, test_cancel_in_own_callback, 0, 2);
	return suite;
}

int main(void)
{
	return tap_run(make_suite());
}
