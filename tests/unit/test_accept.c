/* The clients' door, knocked at by raw sockets, plain and TLS. */
#include "daemon/base/metric.h"
#include "daemon/loop/loop.h"
#include "daemon/net/accept.h"
#include "daemon/net/accept_internal.h"
#include "tests/unit/certs.h"
#include "tests/unit/tap.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_TIME      (BC_USEC_PER_MS / 2)
#define LONG           (1000 * BC_USEC_PER_SEC)
#define SHORT          (150 * BC_USEC_PER_MS)
#define TEXT_MAX       20000
#define HANDSHAKES_MAX 8
#define NONCE          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define FIXED                                                                              \
	"Host: gateway\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" NONCE \
	"Sec-WebSocket-Version: 13\r\n"
#define GOOD   "Authorization: Bearer good\r\n"
#define DENIED "{\"error\":{\"code\":\"invalid_api_key\"}}"

enum {
	PLAIN,
	TLS,
	ADMIN,
	LISTENERS
};

/* What the owner of an acceptor saw. */
struct owner {
	char path[256];
	char query[256];
	char key[TEXT_MAX];
	char forwarded[512];
	char agent[64];
	char peer[64];
	bool beta;
	int upgrades;
	int established;
	int abandoned;
	int messages;
	size_t last_len;
	int closed;
	enum bc_err why;
	bool free_at_once;
	struct net_link *link;
};

struct client {
	int fd;
	SSL *ssl;
	char in[400000];
	size_t len;
	bool ended;
};

static struct loop *loop;
static struct net_io *io;
static struct net_acceptor *acceptor;
static struct loop_timer *tick;
static bool (*wanted)(void);
static struct owner owner;
static struct client client;
static struct certs certs;
static int reserved[LISTENERS];
static struct net_listener_conf listeners[LISTENERS];

static void copy(char *out, size_t size, struct bc_span span)
{
	ck_assert_uint_lt(span.len, size);
	memcpy(out, span.ptr == NULL ? "" : span.ptr, span.len);
	out[span.len] = '\0';
}

static void on_upgrade(void *arg, const struct net_upgrade *request, struct net_verdict *ret)
{
	struct owner *o = arg;

	o->upgrades++;
	copy(o->path, sizeof(o->path), request->path);
	copy(o->query, sizeof(o->query), request->query);
	copy(o->key, sizeof(o->key), request->key);
	copy(o->forwarded, sizeof(o->forwarded), request->forwarded_headers);
	copy(o->agent, sizeof(o->agent), request->user_agent);
	copy(o->peer, sizeof(o->peer), request->peer);
	o->beta = request->beta;
	if (bc_span_is(request->key, "bad") || request->key.len == 0) {
		ret->status = 401;
		ret->body = BC_SPAN_LIT(DENIED);
		return;
	}
	ret->status = 101;
	ret->arg = o;
	ret->conf = (struct net_link_conf){.role = WS_SERVER,
					   .message_max = 1 << 20,
					   .backlog_high = 256 * 1024,
					   .backlog_low = 64 * 1024,
					   .ping_interval = LONG,
					   .ping_timeout = LONG,
					   .close_timeout = LONG};
}

static void on_established(void *arg, void *verdict_arg, struct net_link *link)
{
	struct owner *o = arg;

	ck_assert_ptr_eq(arg, verdict_arg);
	o->established++;
	o->link = o->free_at_once ? net_link_free(link) : link;
}

static void on_abandoned(void *arg, void *verdict_arg)
{
	struct owner *o = arg;

	ck_assert_ptr_eq(arg, verdict_arg);
	o->abandoned++;
}

static unsigned on_http(void *arg, struct bc_span path, struct bc_buf *body, const char **ret_type)
{
	ck_assert_ptr_nonnull(arg);
	if (bc_span_is(path, "/healthz")) {
		*ret_type = "text/plain";
		ck_assert_int_eq(bc_buf_put_str(body, "fine\n"), BC_OK);
		return 200;
	}
	if (bc_span_is(path, "/metrics")) {
		int i;

		for (i = 0; i < 30000; i++) {
			ck_assert_int_eq(bc_buf_put_str(body, "number 1\n"), BC_OK);
		}
		return 200;
	}
	return 404;
}

static void on_message(void *arg, enum ws_opcode opcode, struct bc_span payload)
{
	struct owner *o = arg;

	o->messages++;
	o->last_len = payload.len;
	(void)net_link_send(o->link, opcode, payload);
}

static void on_drained(void *arg)
{
	(void)arg;
}

static void on_closed(void *arg, const struct net_close *why)
{
	struct owner *o = arg;

	o->closed++;
	o->why = why->err;
	o->link = net_link_free(o->link);
}

static const struct net_link_ops link_ops = {on_message, on_drained, on_closed};
static const struct net_accept_ops accept_ops = {on_upgrade, &link_ops, on_established,
						 on_abandoned, on_http};

static void client_read(void)
{
	while (!client.ended && client.fd >= 0 && client.len < sizeof(client.in) - 1) {
		size_t room = sizeof(client.in) - 1 - client.len;
		ssize_t got;

		if (client.ssl == NULL) {
			got = recv(client.fd, client.in + client.len, room, 0);
			if (got < 0 && errno == EAGAIN) {
				return;
			}
		} else {
			got = SSL_read(client.ssl, client.in + client.len, (int)room);
			if (got <= 0 &&
			    SSL_get_error(client.ssl, (int)got) == SSL_ERROR_WANT_READ) {
				return;
			}
		}
		if (got <= 0) {
			client.ended = true;
			return;
		}
		client.len += (size_t)got;
		client.in[client.len] = '\0';
	}
}

static void on_tick(void *arg)
{
	(void)arg;
	if (wanted()) {
		loop_stop(loop);
		return;
	}
	loop_timer_start(tick, TICK_TIME);
}

static void run_until(bool (*condition)(void))
{
	wanted = condition;
	loop_timer_start(tick, 0);
	loop_run(loop);
}

static int turns_left;

static bool turns_over(void)
{
	turns_left--;
	return turns_left <= 0;
}

static void run_turns(int count)
{
	turns_left = count;
	run_until(turns_over);
}

static bool head_came(void)
{
	client_read();
	return client.ended || strstr(client.in, "\r\n\r\n") != NULL;
}

static bool stream_ended(void)
{
	client_read();
	return client.ended;
}

static bool conns_are_gone(void)
{
	client_read();
	return LIST_EMPTY(&acceptor->conns);
}

static bool link_closed(void)
{
	client_read();
	return owner.closed > 0;
}

/* A port nobody else gets, because a socket that never listens holds it. */
static uint16_t reserve(int *ret_fd)
{
	static const int one = 1;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	*ret_fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(setsockopt(*ret_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	ck_assert_int_eq(setsockopt(*ret_fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
	ck_assert_int_eq(bind(*ret_fd, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(getsockname(*ret_fd, (struct sockaddr *)&address, &len), 0);
	return ntohs(address.sin_port);
}

static struct net_acceptor *make_acceptor(struct net_io *to, struct owner *o, bc_usec timeout,
					  struct net_acceptor *(*pick)(void *))
{
	const struct net_accept_limits limits = {.handshake_timeout = timeout,
						 .handshakes_max = HANDSHAKES_MAX};
	struct net_acceptor *made = NULL;
	struct bc_buf message;
	enum bc_err err;

	bc_buf_init(&message, 1000);
	err = net_acceptor_new(to, listeners, LISTENERS, &limits, &accept_ops, o, pick, &message,
			       &made);
	ck_assert_msg(err == BC_OK, "%.*s", BC_SPAN_ARG(bc_buf_span(&message)));
	bc_buf_release(&message);
	return made;
}

static void setup_with(bc_usec timeout)
{
	int i;

	owner = (struct owner){.link = NULL};
	client.fd = -1;
	client.ssl = NULL;
	client.len = 0;
	client.in[0] = '\0';
	client.ended = false;
	certs_make(&certs);
	for (i = 0; i < LISTENERS; i++) {
		listeners[i] = (struct net_listener_conf){.address = "127.0.0.1",
							  .port = reserve(&reserved[i]),
							  .upgrades = i != ADMIN};
	}
	listeners[TLS].certificate = certs.leaf;
	listeners[TLS].key = certs.key;
	ck_assert_int_eq(loop_new(&loop), BC_OK);
	io = net_io_new(loop);
	tick = loop_timer_new(loop, on_tick, NULL);
	acceptor = make_acceptor(io, &owner, timeout, NULL);
}

static void setup(void)
{
	setup_with(LONG);
}

static void setup_hasty(void)
{
	setup_with(SHORT);
}

static void client_close(void)
{
	SSL_free(client.ssl);
	client.ssl = NULL;
	if (client.fd >= 0) {
		(void)close(client.fd);
	}
	client.fd = -1;
	client.len = 0;
	client.in[0] = '\0';
	client.ended = false;
}

static void teardown(void)
{
	int i;

	owner.link = net_link_free(owner.link);
	acceptor = net_acceptor_free(acceptor);
	io = net_io_free(io);
	tick = loop_timer_free(tick);
	loop = loop_free(loop);
	client_close();
	for (i = 0; i < LISTENERS; i++) {
		(void)close(reserved[i]);
	}
	certs_remove(&certs);
}

static int dial(int which)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(listeners[which].port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		(void)close(fd);
		return -1;
	}
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static bool tls_is_up(void)
{
	int result = SSL_do_handshake(client.ssl);

	ck_assert(result == 1 || SSL_get_error(client.ssl, result) == SSL_ERROR_WANT_READ);
	return result == 1;
}

static void client_open(int which)
{
	static const unsigned char alpn[] = "\x02h2\x08http/1.1";
	SSL_CTX *context;

	client_close();
	client.fd = dial(which);
	ck_assert_int_ge(client.fd, 0);
	if (which != TLS) {
		return;
	}
	context = SSL_CTX_new(TLS_client_method());
	ck_assert_int_eq(SSL_CTX_load_verify_locations(context, certs.ca, NULL), 1);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	client.ssl = SSL_new(context);
	SSL_CTX_free(context);
	ck_assert_int_eq(SSL_set_alpn_protos(client.ssl, alpn, sizeof(alpn) - 1), 0);
	ck_assert_int_eq(SSL_set_fd(client.ssl, client.fd), 1);
	SSL_set_connect_state(client.ssl);
	run_until(tls_is_up);
}

static struct bc_span to_send;

static bool all_is_sent(void)
{
	while (to_send.len > 0) {
		ssize_t put = client.ssl == NULL
				      ? send(client.fd, to_send.ptr, to_send.len, MSG_NOSIGNAL)
				      : SSL_write(client.ssl, to_send.ptr, (int)to_send.len);

		client_read();
		if (put <= 0) {
			return client.ended;
		}
		to_send = bc_span(to_send.ptr + put, to_send.len - (size_t)put);
	}
	return true;
}

static void client_send(struct bc_span bytes)
{
	to_send = bytes;
	run_until(all_is_sent);
}

/* Ask, and wait for the head of the answer. */
static void ask(int which, const char *target, const char *headers)
{
	static char text[2 * TEXT_MAX];
	int len =
		snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" FIXED "%s\r\n", target, headers);

	ck_assert_int_lt(len, sizeof(text));
	client_open(which);
	client_send(bc_span(text, (size_t)len));
	run_until(head_came);
}

static void expect_status(const char *status)
{
	char line[64];

	(void)snprintf(line, sizeof(line), "HTTP/1.1 %s", status);
	ck_assert_msg(strncmp(client.in, line, strlen(line)) == 0, "%s instead of %s", client.in,
		      line);
}

static bool echo_came(void)
{
	client_read();
	return strstr(client.in, "\r\n\r\n\x81\x05hello") != NULL;
}

static void upgrade_and_echo(int which)
{
	static const char frame[] = "\x81\x85\0\0\0\0hello";

	ask(which, "/v1/realtime?model=m", GOOD "User-Agent: tester\r\n");
	expect_status("101 ");
	ck_assert_ptr_nonnull(
		strstr(client.in, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
	ck_assert_ptr_null(strcasestr(client.in, "extensions"));
	ck_assert_ptr_null(strcasestr(client.in, "sec-websocket-protocol"));
	ck_assert_int_eq(owner.established, 1);
	ck_assert_str_eq(owner.path, "/v1/realtime");
	ck_assert_str_eq(owner.query, "model=m");
	ck_assert_str_eq(owner.agent, "tester");
	ck_assert_str_eq(owner.peer, "127.0.0.1");
	client_send(bc_span(frame, sizeof(frame) - 1));
	run_until(echo_came);
}

START_TEST(upgrade_then_messages)
{
	upgrade_and_echo(_i);
}
END_TEST

START_TEST(close_ends_the_connection)
{
	static const char close_frame[] = "\x88\x82\0\0\0\0\x03\xe8";

	upgrade_and_echo(_i);
	client_send(bc_span(close_frame, sizeof(close_frame) - 1));
	run_until(stream_ended);
	ck_assert_int_eq(owner.closed, 1);
	ck_assert_int_eq(owner.why, BC_OK);
	client_close();
	run_until(conns_are_gone);
}
END_TEST

START_TEST(vanished_client_is_reported)
{
	upgrade_and_echo(_i);
	client_close();
	run_until(link_closed);
	ck_assert_int_eq(owner.why, BC_E_CLOSED);
	run_until(conns_are_gone);
}
END_TEST

START_TEST(link_may_be_freed_when_it_is_established)
{
	owner.free_at_once = true;
	ask(_i, "/v1/realtime", GOOD);
	run_until(stream_ended);
	expect_status("101 ");
	ck_assert_int_eq(owner.established, 1);
	client_close();
	run_until(conns_are_gone);
	ck_assert_int_eq(owner.closed, 0);
}
END_TEST

static size_t expected_messages;

static bool messages_came(void)
{
	client_read();
	return (size_t)owner.messages == expected_messages;
}

START_TEST(frames_sent_with_the_handshake_are_not_lost)
{
	static char text[300000];
	static const char request[] = "GET /v1/realtime HTTP/1.1\r\n" FIXED GOOD "\r\n";
	size_t len = sizeof(request) - 1;
	size_t head;
	int i;

	memcpy(text, request, len);
	for (i = 0; i < 50; i++) {
		static const size_t size = 5000;

		head = ws_head_put((uint8_t *)text + len, WS_BINARY, size,
				   (const uint8_t *)"\0\0\0\0");
		memset(text + len + head, 'x', size);
		len += head + size;
	}
	client_open(_i);
	client_send(bc_span(text, len));
	expected_messages = 50;
	run_until(messages_came);
	ck_assert_uint_eq(owner.last_len, 5000);
	expect_status("101 ");
}
END_TEST

static const struct {
	const char *target;
	const char *headers;
	const char *key;
	const char *query;
} places[] = {
	{"/r", "Authorization: Bearer abc\r\n", "abc", ""},
	{"/r", "aUTHORIZATION: bearer   abc \r\n", "abc", ""},
	{"/r?model=x", "api-key: k1\r\n", "k1", "model=x"},
	{"/r", "X-Goog-Api-Key: k2\r\n", "k2", ""},
	{"/r?api-key=k3&api-version=1", "", "k3", "api-version=1"},
	{"/r?a=b&key=k%2B4&c", "", "k+4", "a=b&c"},
	{"/r?access_token=k5", "", "k5", ""},
	{"/r?k%65y=k6&model=y", "", "k6", "model=y"},
	{"/r",
	 "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.k7, openai-agents-sdk.1\r\n",
	 "k7", ""},
	{"/r",
	 "Sec-WebSocket-Protocol: openai-insecure-api-key.k8\r\nSec-WebSocket-Protocol: realtime\r\n",
	 "k8", ""},
	{"/r?key=other&model=z", "Authorization: Bearer first\r\n", "first", "model=z"},
	{"/r?monkey=1&keys=2&key", "api-key: k9\r\n", "k9", "monkey=1&keys=2"},
};

START_TEST(key_is_found_wherever_it_stands)
{
	ask(PLAIN, places[_i].target, places[_i].headers);
	expect_status("101 ");
	ck_assert_str_eq(owner.key, places[_i].key);
	ck_assert_str_eq(owner.query, places[_i].query);
}
END_TEST

static const struct {
	const char *offered;
	bool answered;
} offers[] = {
	{"realtime", true},
	{"realtime, openai-insecure-api-key.X, openai-agents-sdk.Y", true},
	{"openai-insecure-api-key.X,openai-organization.o,realtime", true},
	{"openai-insecure-api-key.X", false},
	{"graphql-ws", false},
	{"realtime.v2", false},
};

START_TEST(only_realtime_is_answered)
{
	char headers[256];

	(void)snprintf(headers, sizeof(headers), GOOD "Sec-WebSocket-Protocol: %s\r\n",
		       offers[_i].offered);
	ask(PLAIN, "/v1/realtime", headers);
	expect_status("101 ");
	ck_assert_int_eq(strstr(client.in, "Sec-WebSocket-Protocol: realtime\r\n") != NULL,
			 offers[_i].answered);
	ck_assert_ptr_null(strstr(client.in, "insecure"));
}
END_TEST

START_TEST(long_key_in_a_subprotocol)
{
	static char headers[TEXT_MAX];
	static char jwt[12001];

	memset(jwt, 'j', sizeof(jwt) - 1);
	(void)snprintf(headers, sizeof(headers),
		       "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.%s\r\n", jwt);
	ask(_i, "/v1/realtime", headers);
	expect_status("101 ");
	ck_assert_str_eq(owner.key, jwt);
}
END_TEST

START_TEST(details_of_the_handshake)
{
	ask(PLAIN, "//ws///google.ai.Bidi?key=k&x=a//b",
	    "OpenAI-Beta: realtime=v1\r\nopenai-safety-identifier: user-7\r\n"
	    "OpenAI-Organization: org-1\r\n"
	    "Sec-WebSocket-Protocol: realtime, openai-organization.no, openai-project.p-1\r\n");
	expect_status("101 ");
	ck_assert_str_eq(owner.path, "/ws/google.ai.Bidi");
	ck_assert_str_eq(owner.query, "x=a//b");
	ck_assert(owner.beta);
	ck_assert_str_eq(owner.forwarded, "OpenAI-Organization: org-1\r\nOpenAI-Project: p-1\r\n"
					  "OpenAI-Safety-Identifier: user-7\r\n");
}
END_TEST

START_TEST(refusal_has_status_and_body)
{
	int64_t before = bc_metric_get(BC_M_HANDSHAKES_REFUSED);

	ask(_i, "/v1/realtime", "api-key: bad\r\n");
	run_until(stream_ended);
	expect_status("401 Unauthorized\r\n");
	ck_assert_ptr_nonnull(strstr(client.in, "Content-Type: application/json\r\n"));
	ck_assert_ptr_nonnull(strstr(client.in, "Connection: close\r\n"));
	ck_assert_ptr_nonnull(strstr(client.in, "\r\n\r\n" DENIED));
	ck_assert_int_eq(owner.established + owner.abandoned, 0);
	ck_assert_int_eq(bc_metric_get(BC_M_HANDSHAKES_REFUSED), before + 1);
	client_close();
	run_until(conns_are_gone);
}
END_TEST

static const struct {
	int listener;
	const char *request;
	const char *status;
	const char *tail; /* the answer ends in this */
} requests[] = {
	{ADMIN, "GET /healthz?verbose HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK", "\r\n\r\nfine\n"},
	{ADMIN, "HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK", "Connection: close\r\n\r\n"},
	{ADMIN, "GET /healthz HTTP/1.0\r\n\r\n", "200 OK", "\r\n\r\nfine\n"},
	{ADMIN, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "404 Not Found", "\r\n\r\n"},
	{ADMIN, "POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "405 ", "}}"},
	{ADMIN, "GET /r HTTP/1.1\r\n" FIXED GOOD "\r\n", "404 ", "\r\n\r\n"},
	{PLAIN, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "426 ", "}}"},
	{PLAIN, "POST /r HTTP/1.1\r\n" FIXED GOOD "\r\n", "405 ", "}}"},
	{PLAIN, "GET /r HTTP/1.0\r\n" FIXED GOOD "\r\n", "400 ", "}}"},
	{PLAIN, "GET r HTTP/1.1\r\n" FIXED GOOD "\r\n", "400 ", "}}"},
	{PLAIN, "GET /r HTTP/2.0\r\n" FIXED GOOD "\r\n", "400 ", "}}"},
	{PLAIN, "GET /r HTTP/1.1\r\n" FIXED "Folded: a\r\n b\r\n\r\n", "400 ", "}}"},
	{PLAIN, "GET /r HTTP/1.1\r\n" FIXED "Name : a\r\n\r\n", "400 ", "}}"},
	{PLAIN, "GET /r HTTP/1.1\r\n" FIXED "Name: a\001\r\n\r\n", "400 ", "}}"},
	{PLAIN, "GET /r HTTP/1.1\r\n" FIXED "Content-Length: 5\r\n\r\nhello", "400 ", "}}"},
	{PLAIN,
	 "GET /r HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
	 "400 ", "}}"},
	{PLAIN,
	 "GET /r HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	 "Sec-WebSocket-Version: 8\r\n" NONCE "\r\n",
	 "426 ", "}}"},
	{PLAIN,
	 "GET /r HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	 "Sec-WebSocket-Version: 13\r\n" NONCE "\r\n",
	 "400 ", "}}"},
	{TLS, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "426 ", "}}"},
};

START_TEST(request_gets_its_answer)
{
	size_t tail = strlen(requests[_i].tail);

	client_open(requests[_i].listener);
	client_send(bc_span_str(requests[_i].request));
	run_until(stream_ended);
	expect_status(requests[_i].status);
	ck_assert_uint_ge(client.len, tail);
	ck_assert_str_eq(client.in + client.len - tail, requests[_i].tail);
	ck_assert_int_eq(owner.upgrades, 0);
}
END_TEST

START_TEST(long_answer_arrives_whole)
{
	client_open(ADMIN);
	client_send(BC_SPAN_LIT("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"));
	run_until(stream_ended);
	ck_assert_ptr_nonnull(strstr(client.in, "Content-Length: 270000\r\n"));
	ck_assert_uint_eq((size_t)(client.in + client.len - strstr(client.in, "\r\n\r\n")), 270004);
}
END_TEST

START_TEST(endless_head_is_refused)
{
	static char text[3 * 16384];

	memset(text, 'a', sizeof(text));
	memcpy(text, "GET /r HTTP/1.1\r\nX: ", 20);
	client_open(_i);
	client_send(bc_span(text, sizeof(text)));
	run_until(stream_ended);
	expect_status("431 ");
	client_close();
	run_until(conns_are_gone);
}
END_TEST

START_TEST(head_may_come_in_pieces)
{
	static const char request[] = "GET /v1/realtime HTTP/1.1\r\n" FIXED GOOD "\r\n";
	size_t i;

	client_open(PLAIN);
	for (i = 0; i < sizeof(request) - 1; i++) {
		ck_assert_int_eq(owner.upgrades, 0);
		client_send(bc_span(request + i, 1));
		run_turns(2);
	}
	run_until(head_came);
	expect_status("101 ");
}
END_TEST

/* An unfinished handshake is dropped in time: nothing, half a request, half a TLS handshake. */
START_TEST(half_a_handshake_times_out)
{
	static const struct {
		int listener;
		const char *bytes;
	} halves[] = {{PLAIN, ""}, {PLAIN, "GET /r HT"}, {TLS, ""}, {TLS, "\x16\x03\x01"}};
	bc_usec started = loop_clock();

	client.fd = dial(halves[_i].listener);
	client_send(bc_span_str(halves[_i].bytes));
	run_until(stream_ended);
	ck_assert_int_ge(loop_clock() - started, SHORT);
	run_until(conns_are_gone);
	ck_assert_uint_eq(client.len, 0);
}
END_TEST

START_TEST(a_handshake_has_the_time_that_was_allowed_when_it_began)
{
	net_acceptor_allow(acceptor, SHORT);
	client.fd = dial(PLAIN);
	run_until(stream_ended);
	run_until(conns_are_gone);
}
END_TEST

START_TEST(tls_without_a_request_times_out)
{
	client_open(TLS);
	run_until(stream_ended);
	run_until(conns_are_gone);
}
END_TEST

START_TEST(established_link_outlives_the_handshake_timeout)
{
	bc_usec until;

	upgrade_and_echo(_i);
	until = loop_clock() + 4 * SHORT;
	while (loop_clock() < until) {
		run_turns(5);
	}
	ck_assert_int_eq(owner.closed, 0);
	ck_assert(!stream_ended());
}
END_TEST

START_TEST(stopping_keeps_links)
{
	static const char frame[] = "\x81\x85\0\0\0\0hello";

	upgrade_and_echo(PLAIN);
	net_acceptor_stop(acceptor);
	ck_assert_int_eq(dial(PLAIN), -1);
	client.len = 0;
	memcpy(client.in, "\r\n\r\n", 5);
	client.len = 4;
	client_send(bc_span(frame, sizeof(frame) - 1));
	run_until(echo_came);
}
END_TEST

START_TEST(freeing_the_acceptor_breaks_links)
{
	upgrade_and_echo(_i);
	acceptor = net_acceptor_free(acceptor);
	run_until(link_closed);
	ck_assert_int_eq(owner.why, BC_E_CLOSED);
	run_until(stream_ended);
}
END_TEST

static void expect_failure(const struct net_listener_conf *conf, enum bc_err expected,
			   const char *text)
{
	const struct net_accept_limits limits = {.handshake_timeout = LONG, .handshakes_max = 1};
	struct net_acceptor *made = NULL;
	struct bc_buf message;

	bc_buf_init(&message, 1000);
	ck_assert_int_eq(
		net_acceptor_new(io, conf, 1, &limits, &accept_ops, &owner, NULL, &message, &made),
		expected);
	ck_assert_ptr_null(made);
	ck_assert_int_eq(bc_buf_put(&message, "", 1), BC_OK);
	ck_assert_msg(strstr(bc_buf_span(&message).ptr, text) != NULL, "%s",
		      bc_buf_span(&message).ptr);
	bc_buf_release(&message);
}

START_TEST(bad_listener_is_explained)
{
	struct net_listener_conf conf = listeners[TLS];
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	conf.certificate = "/nonexistent.pem";
	expect_failure(&conf, BC_E_INVALID, "certificate");
	conf.certificate = certs.leaf;
	conf.key = certs.ca;
	expect_failure(&conf, BC_E_INVALID, "key");
	conf = listeners[PLAIN];
	conf.address = "localhost";
	expect_failure(&conf, BC_E_SYSTEM, "address");
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	conf.address = "127.0.0.1";
	conf.port = ntohs(address.sin_port);
	expect_failure(&conf, BC_E_SYSTEM, "bind");
	(void)close(fd);
}
END_TEST

/* A second worker on a thread of its own; the first hands every client over to it. */
static struct {
	struct loop *loop;
	struct net_io *io;
	struct net_acceptor *acceptor;
	struct owner owner;
	_Atomic bool ready;
	pthread_t id;
} second;

static void *second_main(void *arg)
{
	(void)arg;
	second.io = net_io_new(second.loop);
	second.acceptor = make_acceptor(second.io, &second.owner, LONG, NULL);
	/* Clients must come through the first one. */
	net_acceptor_stop(second.acceptor);
	second.ready = true;
	loop_run(second.loop);
	second.owner.link = net_link_free(second.owner.link);
	second.acceptor = net_acceptor_free(second.acceptor);
	second.io = net_io_free(second.io);
	second.loop = loop_free(second.loop);
	return NULL;
}

static struct net_acceptor *pick_second(void *arg)
{
	(void)arg;
	return second.acceptor;
}

static bool second_is_ready(void)
{
	return second.ready;
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

START_TEST(client_is_handed_to_another_worker)
{
	static const char frame[] = "\x81\x85\0\0\0\0hello";

	acceptor = net_acceptor_free(acceptor);
	acceptor = make_acceptor(io, &owner, LONG, pick_second);
	ck_assert_int_eq(loop_new(&second.loop), BC_OK);
	ck_assert_int_eq(pthread_create(&second.id, NULL, second_main, NULL), 0);
	run_until(second_is_ready);
	ask(_i, "/v1/realtime", GOOD);
	expect_status("101 ");
	client_send(bc_span(frame, sizeof(frame) - 1));
	run_until(echo_came);
	net_acceptor_stop(acceptor);
	ck_assert_int_eq(loop_post(second.loop, stop_loop, second.loop), BC_OK);
	ck_assert_int_eq(pthread_join(second.id, NULL), 0);
	ck_assert_int_eq(second.owner.established, 1);
	ck_assert_int_eq(owner.upgrades, 0);
	ck_assert(LIST_EMPTY(&acceptor->conns));
}
END_TEST

#define ARRAY_CASE(tcase, test, array) tcase_add_loop_test(tcase, test, 0, (int)BC_ARRAY_LEN(array))

int main(void)
{
	Suite *suite = suite_create("accept");
	TCase *tcase = tcase_create("accept");
	TCase *hasty = tcase_create("hasty");

	tcase_set_timeout(tcase, 60);
	tcase_set_timeout(hasty, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_checked_fixture(hasty, setup_hasty, teardown);
	tcase_add_loop_test(tcase, upgrade_then_messages, PLAIN, ADMIN);
	tcase_add_loop_test(tcase, close_ends_the_connection, PLAIN, ADMIN);
	tcase_add_loop_test(tcase, vanished_client_is_reported, PLAIN, ADMIN);
	tcase_add_loop_test(tcase, link_may_be_freed_when_it_is_established, PLAIN, ADMIN);
	tcase_add_loop_test(tcase, frames_sent_with_the_handshake_are_not_lost, PLAIN, ADMIN);
	ARRAY_CASE(tcase, key_is_found_wherever_it_stands, places);
	ARRAY_CASE(tcase, only_realtime_is_answered, offers);
	tcase_add_loop_test(tcase, long_key_in_a_subprotocol, PLAIN, ADMIN);
	tcase_add_test(tcase, details_of_the_handshake);
	tcase_add_loop_test(tcase, refusal_has_status_and_body, PLAIN, ADMIN);
	ARRAY_CASE(tcase, request_gets_its_answer, requests);
	tcase_add_test(tcase, long_answer_arrives_whole);
	tcase_add_loop_test(tcase, endless_head_is_refused, PLAIN, ADMIN);
	tcase_add_test(tcase, head_may_come_in_pieces);
	tcase_add_test(tcase, stopping_keeps_links);
	tcase_add_test(tcase, a_handshake_has_the_time_that_was_allowed_when_it_began);
	tcase_add_loop_test(tcase, freeing_the_acceptor_breaks_links, PLAIN, ADMIN);
	tcase_add_test(tcase, bad_listener_is_explained);
	tcase_add_loop_test(tcase, client_is_handed_to_another_worker, PLAIN, ADMIN);
	tcase_add_loop_test(hasty, half_a_handshake_times_out, 0, 4);
	tcase_add_test(hasty, tls_without_a_request_times_out);
	tcase_add_loop_test(hasty, established_link_outlives_the_handshake_timeout, PLAIN, ADMIN);
	suite_add_tcase(suite, tcase);
	suite_add_tcase(suite, hasty);
	return tap_run(suite);
}
