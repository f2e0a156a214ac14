#include "tests/unit/certs.h"
#include "tests/unit/tap.h"
#include "tests/world/wire.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIG ((size_t)3 << 20) /* bytes of a message that does not fit into any socket buffer */

/* One connection, both ends of it in this process. */
struct pair {
	struct ev_loop *loop;
	struct wire_listener *listener;
	struct wire *client;
	struct wire *server;
	struct wire_tls *server_tls;
	struct wire_tls *client_tls;
	unsigned refuse;
	unsigned opened;
	unsigned ended;
	unsigned messages;
	size_t bytes;
	uint16_t client_code;
	uint16_t server_code;
	char reason[128];
	unsigned status;
};

static void opened(void *arg, struct wire *wire)
{
	struct pair *pair = arg;

	(void)wire;
	pair->opened++;
}

/* The server answers with what it got. */
static void server_message(void *arg, struct wire *wire, struct bc_span text)
{
	(void)arg;
	wire_send(wire, text);
}

static void client_message(void *arg, struct wire *wire, struct bc_span text)
{
	struct pair *pair = arg;

	(void)wire;
	pair->messages++;
	pair->bytes += text.len;
}

static void server_closed(void *arg, struct wire *wire, uint16_t code, struct bc_span reason)
{
	struct pair *pair = arg;

	(void)wire;
	(void)reason;
	pair->server = NULL;
	pair->server_code = code;
	pair->ended++;
}

static void client_closed(void *arg, struct wire *wire, uint16_t code, struct bc_span reason)
{
	struct pair *pair = arg;

	pair->status = wire_status(wire);
	pair->client = NULL;
	pair->client_code = code;
	snprintf(pair->reason, sizeof(pair->reason), "%.*s", BC_SPAN_ARG(reason));
	pair->ended++;
}

static const struct wire_handlers server_handlers = {opened, server_message, server_closed};
static const struct wire_handlers client_handlers = {opened, client_message, client_closed};

static struct wire_verdict accept_pair(void *arg, struct wire *wire,
				       const struct wire_request *request)
{
	struct pair *pair = arg;
	struct bc_span value;
	char model[32];

	pair->server = wire;
	ck_assert(wire_request_query(request, "model", model, sizeof(model)));
	ck_assert_str_eq(model, "a b&c");
	ck_assert(!wire_request_query(request, "mode", model, sizeof(model)));
	ck_assert(wire_request_header(request, "x-test", &value));
	ck_assert(bc_span_is(value, "yes"));
	if (pair->refuse != 0) {
		return (struct wire_verdict){.status = pair->refuse, .body = "{\"no\":1}"};
	}
	return (struct wire_verdict){.status = 101,
				     .subprotocol = "realtime",
				     .handlers = &server_handlers,
				     .arg = pair};
}

static void pair_begin(struct pair *pair, const struct certs *certs)
{
	struct wire_listen_conf listen = {.accept = accept_pair, .arg = pair};
	struct wire_connect_conf connect = {.target = "/v1/realtime?x=1&model=a%20b%26c",
					    .headers = "X-Test: yes\r\n",
					    .subprotocols = "realtime, other"};

	pair->loop = ev_loop_new(0);
	if (certs != NULL) {
		pair->server_tls = wire_tls_server(certs->leaf, certs->key);
		pair->client_tls = wire_tls_client(certs->ca);
		ck_assert_ptr_nonnull(pair->server_tls);
		ck_assert_ptr_nonnull(pair->client_tls);
	}
	listen.tls = pair->server_tls;
	connect.tls = pair->client_tls;
	ck_assert_int_eq(wire_listen(pair->loop, &listen, &pair->listener), BC_OK);
	connect.port = wire_listener_port(pair->listener);
	ck_assert_int_eq(wire_connect(pair->loop, &connect, &client_handlers, pair, &pair->client),
			 BC_OK);
}

static void pair_end(struct pair *pair)
{
	wire_listener_free(pair->listener);
	/* Returns when the last wire has gone: none may outlive its peer. */
	ev_run(pair->loop, 0);
	wire_tls_free(pair->server_tls);
	wire_tls_free(pair->client_tls);
	ev_loop_destroy(pair->loop);
}

static void run_until(struct pair *pair, const unsigned *count, unsigned n)
{
	while (*count < n) {
		ev_run(pair->loop, EVRUN_ONCE);
	}
}

/* Open, echo small and big messages, close from either end. */
static void talk(const struct certs *certs, bool server_closes)
{
	struct pair pair = {0};
	char *big = malloc(BIG);

	memset(big, 'x', BIG);
	pair_begin(&pair, certs);
	run_until(&pair, &pair.opened, 2);
	wire_send(pair.client, bc_span_str("{}"));
	wire_send(pair.client, bc_span(big, BIG));
	wire_send(pair.client, bc_span_str(""));
	run_until(&pair, &pair.messages, 3);
	ck_assert_uint_eq(pair.bytes, BIG + 2);
	wire_close(server_closes ? pair.server : pair.client, 4001, "enough");
	run_until(&pair, &pair.ended, 2);
	ck_assert_uint_eq(pair.server_code, 4001);
	ck_assert_uint_eq(pair.client_code, 4001);
	ck_assert_uint_eq(pair.status, 101);
	if (server_closes) {
		ck_assert_str_eq(pair.reason, "enough");
	}
	pair_end(&pair);
	free(big);
}

START_TEST(plain_talk)
{
	talk(NULL, _i != 0);
}
END_TEST

START_TEST(tls_talk)
{
	struct certs certs;

	certs_make(&certs);
	talk(&certs, _i != 0);
	certs_remove(&certs);
}
END_TEST

START_TEST(untrusted_certificate)
{
	struct pair pair = {0};
	struct certs certs;

	certs_make(&certs);
	snprintf(certs.ca, sizeof(certs.ca), "%s", certs.stranger);
	pair_begin(&pair, &certs);
	run_until(&pair, &pair.ended, 1);
	ck_assert_uint_eq(pair.client_code, 1006);
	ck_assert_uint_eq(pair.status, 0);
	pair_end(&pair);
	certs_remove(&certs);
}
END_TEST

START_TEST(refusal)
{
	struct pair pair = {.refuse = 503};

	pair_begin(&pair, NULL);
	run_until(&pair, &pair.ended, 1);
	ck_assert_uint_eq(pair.client_code, 1006);
	ck_assert_uint_eq(pair.status, 503);
	pair_end(&pair);
}
END_TEST

START_TEST(abort_is_1006)
{
	struct pair pair = {0};

	pair_begin(&pair, NULL);
	run_until(&pair, &pair.opened, 2);
	wire_abort(pair.server);
	ck_assert_ptr_nonnull(pair.server);
	run_until(&pair, &pair.ended, 2);
	ck_assert_uint_eq(pair.client_code, 1006);
	pair_end(&pair);
}
END_TEST

START_TEST(paused_reader_holds_the_sender)
{
	struct pair pair = {0};
	char *big = malloc(BIG);

	memset(big, 'x', BIG);
	pair_begin(&pair, NULL);
	run_until(&pair, &pair.opened, 2);
	wire_pause(pair.client, true);
	for (int i = 0; i < 5; i++) {
		wire_send(pair.server, bc_span(big, BIG));
	}
	for (int i = 0; i < 100; i++) {
		ev_run(pair.loop, EVRUN_NOWAIT);
	}
	ck_assert_uint_eq(pair.messages, 0);
	ck_assert_uint_gt(wire_backlog(pair.server), BIG);
	wire_pause(pair.client, false);
	run_until(&pair, &pair.messages, 5);
	ck_assert_uint_eq(wire_backlog(pair.server), 0);
	wire_close(pair.client, 1000, "");
	run_until(&pair, &pair.ended, 2);
	pair_end(&pair);
	free(big);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire");
	TCase *cases = tcase_create("wire");

	tcase_set_timeout(cases, 60);
	tcase_add_loop_test(cases, plain_talk, 0, 2);
	tcase_add_loop_test(cases, tls_talk, 0, 2);
	tcase_add_test(cases, untrusted_certificate);
	tcase_add_test(cases, refusal);
	tcase_add_test(cases, abort_is_1006);
	tcase_add_test(cases, paused_reader_holds_the_sender);
	suite_add_tcase(suite, cases);
	return tap_run(suite);
}
