#include "proto/handshake.h"

#include "proto/b64.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>

/* Key and accept of RFC 6455 1.3. */
#define KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

START_TEST(accept_of_the_rfc)
{
	char accept[WS_ACCEPT_SIZE];

	ws_accept_make(BC_SPAN_LIT(KEY), accept);
	ck_assert_str_eq(accept, ACCEPT);
}
END_TEST

START_TEST(keys)
{
	char one[WS_KEY_SIZE];
	char other[WS_KEY_SIZE];
	uint8_t bytes[32];
	size_t len;

	ws_key_new(one);
	ws_key_new(other);
	ck_assert_str_ne(one, other);
	ck_assert_int_eq(b64_decode(bytes, bc_span_str(one), &len), BC_OK);
	ck_assert_uint_eq(len, 16);
}
END_TEST

static struct bc_span lit(const char *text)
{
	return bc_span_str(text);
}

static const struct {
	const char *name;
	const char *host;
	const char *target;
	const char *headers;
	const char *subprotocols;
	enum bc_err err;
} requests[] = {
	{"plain", "api.example", "/v1/realtime?model=x", NULL, NULL, BC_OK},
	{"port", "api.example:8443", "/", "", "", BC_OK},
	{"headers", "h", "/", "Authorization: Bearer x\r\nX-A: b\r\n", NULL, BC_OK},
	{"empty header value", "h", "/", "X-A:\r\n", NULL, BC_OK},
	{"subprotocols", "h", "/", NULL, "realtime, openai-insecure-api-key.ek_1", BC_OK},
	{"no host", "", "/", NULL, NULL, BC_E_INVALID},
	{"no target", "h", "", NULL, NULL, BC_E_INVALID},
	{"target without slash", "h", "x", NULL, NULL, BC_E_INVALID},
	{"blank in target", "h", "/a b", NULL, NULL, BC_E_INVALID},
	{"line end in target", "h", "/a\r\nX: y", NULL, NULL, BC_E_INVALID},
	{"line end in host", "h\r\nX: y", "/", NULL, NULL, BC_E_INVALID},
	{"blank in host", "h x", "/", NULL, NULL, BC_E_INVALID},
	{"line end in subprotocols", "h", "/", NULL, "a\r\nX: y", BC_E_INVALID},
	{"control character in subprotocols", "h", "/", NULL, "a\x7f", BC_E_INVALID},
	{"headers without end", "h", "/", "X-A: b", NULL, BC_E_INVALID},
	{"headers that end the head", "h", "/", "X-A: b\r\n\r\n", NULL, BC_E_INVALID},
	{"bare line feed in headers", "h", "/", "X-A: b\nX-B: c\r\n", NULL, BC_E_INVALID},
	{"bare carriage return in headers", "h", "/", "X-A: b\rX-B: c\r\n", NULL, BC_E_INVALID},
	{"header without colon", "h", "/", "X-A b\r\n", NULL, BC_E_INVALID},
	{"header without name", "h", "/", ": b\r\n", NULL, BC_E_INVALID},
	{"folded header", "h", "/", "X-A: b\r\n c\r\n", NULL, BC_E_INVALID},
};

START_TEST(put_request)
{
	struct ws_request request = {
		.host = lit(requests[_i].host),
		.target = lit(requests[_i].target),
		.key = KEY,
		.headers = lit(requests[_i].headers),
		.subprotocols = lit(requests[_i].subprotocols),
	};
	struct bc_buf want;
	struct bc_buf out;
	enum bc_err err;

	bc_buf_init(&out, 2000);
	bc_buf_init(&want, 2000);
	err = ws_request_put(&out, &request);
	ck_assert_msg(err == requests[_i].err, "%s: %s", requests[_i].name, bc_err_text(err));
	if (err == BC_OK) {
		bool offers = request.subprotocols.len > 0;

		ck_assert_int_eq(
			bc_buf_printf(&want,
				      "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
				      "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\n"
				      "Sec-WebSocket-Version: 13\r\n%s%s%s%s\r\n",
				      requests[_i].target, requests[_i].host,
				      offers ? "Sec-WebSocket-Protocol: " : "",
				      offers ? requests[_i].subprotocols : "", offers ? "\r\n" : "",
				      request.headers.len > 0 ? requests[_i].headers : ""),
			BC_OK);
	}
	ck_assert_msg(bc_span_eq(bc_buf_span(&out), bc_buf_span(&want)), "%s: %.*s",
		      requests[_i].name, BC_SPAN_ARG(bc_buf_span(&out)));
	bc_buf_release(&out);
	bc_buf_release(&want);
	bc_buf_init(&out, 20);
	ck_assert_int_ne(ws_request_put(&out, &request), BC_OK);
	ck_assert_uint_eq(bc_buf_len(&out), 0);
	bc_buf_release(&out);
}
END_TEST

/* An embedded NUL is a control character like others. */
START_TEST(request_with_nul)
{
	struct ws_request request = {.host = bc_span("a\0b", 3), .target = lit("/"), .key = KEY};
	struct bc_buf out;

	bc_buf_init(&out, 2000);
	ck_assert_int_eq(ws_request_put(&out, &request), BC_E_INVALID);
	bc_buf_release(&out);
}
END_TEST

#define LINE    "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECT "Connection: Upgrade\r\n"
#define GOOD    "Sec-WebSocket-Accept: " ACCEPT "\r\n"

static const struct {
	const char *name;
	const char *offered;
	const char *head; /* whole, with the empty line */
	enum bc_err err;
	unsigned status;
	const char *subprotocol;
	size_t content_len;
} answers[] = {
	{"plain", "", LINE UPGRADE CONNECT GOOD "\r\n", BC_OK, 101, "", SIZE_MAX},
	{"no reason", "", "HTTP/1.1 101 \r\n" UPGRADE CONNECT GOOD "\r\n", BC_OK, 101, "",
	 SIZE_MAX},
	{"no blank behind the status", "", "HTTP/1.1 101\r\n" UPGRADE CONNECT GOOD "\r\n", BC_OK,
	 101, "", SIZE_MAX},
	{"letter case", "",
	 LINE "UPGRADE: WebSocket\r\nconnection: UPGRADE\r\nsec-websocket-accept:" ACCEPT
	      "\r\n\r\n",
	 BC_OK, 101, "", SIZE_MAX},
	{"lists", "", LINE UPGRADE "Connection: keep-alive , Upgrade\r\n" GOOD "\r\n", BC_OK, 101,
	 "", SIZE_MAX},
	{"two connection lines", "", LINE UPGRADE "Connection: keep-alive\r\n" CONNECT GOOD "\r\n",
	 BC_OK, 101, "", SIZE_MAX},
	{"blanks around the value", "",
	 LINE UPGRADE CONNECT "Sec-WebSocket-Accept: \t " ACCEPT " \t\r\n\r\n", BC_OK, 101, "",
	 SIZE_MAX},
	{"subprotocol", "realtime",
	 LINE UPGRADE CONNECT GOOD "Sec-WebSocket-Protocol: realtime\r\n\r\n", BC_OK, 101,
	 "realtime", SIZE_MAX},
	{"second subprotocol", "a, realtime",
	 LINE UPGRADE CONNECT GOOD "Sec-WebSocket-Protocol: realtime\r\n\r\n", BC_OK, 101,
	 "realtime", SIZE_MAX},
	{"no subprotocol although offered", "realtime", LINE UPGRADE CONNECT GOOD "\r\n", BC_OK,
	 101, "", SIZE_MAX},
	{"subprotocol, none offered", "",
	 LINE UPGRADE CONNECT GOOD "Sec-WebSocket-Protocol: realtime\r\n\r\n", BC_E_PROTO, 0, "",
	 0},
	{"another subprotocol", "a", LINE UPGRADE CONNECT GOOD "Sec-WebSocket-Protocol: A\r\n\r\n",
	 BC_E_PROTO, 0, "", 0},
	{"two subprotocols", "a",
	 LINE UPGRADE CONNECT GOOD "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\n\r\n",
	 BC_E_PROTO, 0, "", 0},
	{"extension", "",
	 LINE UPGRADE CONNECT GOOD "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
	 BC_E_PROTO, 0, "", 0},
	{"no upgrade", "", LINE CONNECT GOOD "\r\n", BC_E_PROTO, 0, "", 0},
	{"another upgrade", "", LINE "Upgrade: h2c\r\n" CONNECT GOOD "\r\n", BC_E_PROTO, 0, "", 0},
	{"no connection", "", LINE UPGRADE GOOD "\r\n", BC_E_PROTO, 0, "", 0},
	{"another connection", "", LINE UPGRADE "Connection: close\r\n" GOOD "\r\n", BC_E_PROTO, 0,
	 "", 0},
	{"no accept", "", LINE UPGRADE CONNECT "\r\n", BC_E_PROTO, 0, "", 0},
	{"wrong accept", "",
	 LINE UPGRADE CONNECT "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
	 BC_E_PROTO, 0, "", 0},
	{"accept twice", "", LINE UPGRADE CONNECT GOOD GOOD "\r\n", BC_E_PROTO, 0, "", 0},
	{"refused", "", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\n", BC_OK, 401, "",
	 12},
	{"no length", "", "HTTP/1.1 500 x\r\n\r\n", BC_OK, 500, "", SIZE_MAX},
	{"same length twice", "",
	 "HTTP/1.1 429 x\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n", BC_OK, 429, "", 7},
	{"chunked", "", "HTTP/1.1 400 x\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
	 BC_OK, 400, "", SIZE_MAX},
	{"two lengths", "", "HTTP/1.1 429 x\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n",
	 BC_E_PROTO, 0, "", 0},
	{"negative length", "", "HTTP/1.1 429 x\r\nContent-Length: -7\r\n\r\n", BC_E_PROTO, 0, "",
	 0},
	{"empty length", "", "HTTP/1.1 429 x\r\nContent-Length: \r\n\r\n", BC_E_PROTO, 0, "", 0},
	{"huge length", "", "HTTP/1.1 429 x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
	 BC_E_PROTO, 0, "", 0},
	{"early hints", "",
	 "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" LINE UPGRADE CONNECT GOOD "\r\n", BC_OK,
	 101, "", SIZE_MAX},
	{"continue and refusal", "", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n",
	 BC_OK, 403, "", SIZE_MAX},
	{"HTTP/1.0", "", "HTTP/1.0 101 x\r\n" UPGRADE CONNECT GOOD "\r\n", BC_E_PROTO, 0, "", 0},
	{"HTTP/2", "", "HTTP/2 101 x\r\n\r\n", BC_E_PROTO, 0, "", 0},
	{"TLS alert", "", "\x15\x03\x01\r\n\r\n", BC_E_PROTO, 0, "", 0},
	{"short status", "", "HTTP/1.1 20 x\r\n\r\n", BC_E_PROTO, 0, "", 0},
	{"long status", "", "HTTP/1.1 2000 x\r\n\r\n", BC_E_PROTO, 0, "", 0},
	{"status zero", "", "HTTP/1.1 000 x\r\n\r\n", BC_E_PROTO, 0, "", 0},
	{"blank in front of the colon", "", LINE "Upgrade : websocket\r\n" CONNECT GOOD "\r\n",
	 BC_E_PROTO, 0, "", 0},
	{"folded line", "", LINE UPGRADE CONNECT GOOD "X: a\r\n b\r\n\r\n", BC_E_PROTO, 0, "", 0},
	{"bare line feed", "", LINE UPGRADE CONNECT GOOD "X: a\nY: b\r\n\r\n", BC_E_PROTO, 0, "",
	 0},
	{"bare carriage return", "", LINE UPGRADE CONNECT GOOD "X: a\rY: b\r\n\r\n", BC_E_PROTO, 0,
	 "", 0},
	{"control character in the reason", "", "HTTP/1.1 401 \x01\r\n\r\n", BC_E_PROTO, 0, "", 0},
	{"line without a name", "", LINE UPGRADE CONNECT GOOD ": x\r\n\r\n", BC_E_PROTO, 0, "", 0},
};

static enum bc_err parse(const char *bytes, size_t len, const char *offered, struct ws_answer *ret)
{
	struct ws_request request = {.key = KEY, .subprotocols = lit(offered)};
	char *copy = malloc(len + (len == 0));
	enum bc_err err;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, len);
	err = ws_answer_parse(bc_span(copy, len), &request, ret);
	if (err == BC_OK && ret->subprotocol.len > 0) {
		size_t at = (size_t)(ret->subprotocol.ptr - copy);

		ret->subprotocol.ptr = bytes + at;
	}
	free(copy);
	return err;
}

START_TEST(answer)
{
	static const char behind[] = "\x81\x01x";
	size_t head_len = strlen(answers[_i].head);
	char *bytes = malloc(head_len + sizeof(behind));
	struct ws_answer got = {0};
	enum bc_err err;

	ck_assert_ptr_nonnull(bytes);
	memcpy(bytes, answers[_i].head, head_len);
	memcpy(bytes + head_len, behind, sizeof(behind));
	/* Any beginning is incomplete, or already as wrong as the whole. */
	for (size_t len = 0; len < head_len; len++) {
		err = parse(bytes, len, answers[_i].offered, &got);
		ck_assert_msg(err == BC_E_AGAIN ||
				      (err == BC_E_PROTO && answers[_i].err == BC_E_PROTO),
			      "%s: cut at %zu: %s", answers[_i].name, len, bc_err_text(err));
	}
	for (size_t extra = 0; extra < sizeof(behind); extra++) {
		err = parse(bytes, head_len + extra, answers[_i].offered, &got);
		ck_assert_msg(err == answers[_i].err, "%s: %s", answers[_i].name, bc_err_text(err));
		if (err == BC_OK) {
			ck_assert_uint_eq(got.status, answers[_i].status);
			ck_assert_uint_eq(got.head_len, head_len);
			ck_assert_uint_eq(got.content_len, answers[_i].content_len);
			ck_assert(bc_span_is(got.subprotocol, answers[_i].subprotocol));
		}
	}
	free(bytes);
}
END_TEST

START_TEST(answer_limit)
{
	size_t size = WS_ANSWER_MAX + 100;
	char *bytes = malloc(size);
	struct ws_answer got;

	ck_assert_ptr_nonnull(bytes);
	memset(bytes, 'x', size);
	memcpy(bytes, "HTTP/1.1 401 x\r\nX: ", 19);
	ck_assert_int_eq(parse(bytes, WS_ANSWER_MAX - 1, "", &got), BC_E_AGAIN);
	ck_assert_int_eq(parse(bytes, WS_ANSWER_MAX, "", &got), BC_E_LIMIT);
	memcpy(bytes + WS_ANSWER_MAX - 4, "\r\n\r\n", 4);
	ck_assert_int_eq(parse(bytes, size, "", &got), BC_OK);
	ck_assert_uint_eq(got.head_len, WS_ANSWER_MAX);
	memcpy(bytes + WS_ANSWER_MAX - 4, "x\r\n\r\n", 5);
	ck_assert_int_eq(parse(bytes, size, "", &got), BC_E_LIMIT);
	free(bytes);
}
END_TEST

START_TEST(reason)
{
	struct ws_request request = {.key = KEY};
	struct ws_answer got;

	ck_assert_int_eq(ws_answer_parse(BC_SPAN_LIT("HTTP/1.1 429 Too Many Requests\r\n\r\n"),
					 &request, &got),
			 BC_OK);
	ck_assert(bc_span_is(got.reason, "Too Many Requests"));
}
END_TEST

static const struct {
	const char *name;
	const char *text;
	enum bc_err err;
	unsigned status;
	size_t head_len;
} proxies[] = {
	{"established", "HTTP/1.1 200 Connection established\r\n\r\n\x16\x03", BC_OK, 200, 39},
	{"old proxy", "HTTP/1.0 200 OK\r\nProxy-agent: x\r\n\r\n", BC_OK, 200, 35},
	{"refused", "HTTP/1.1 407 Auth\r\nContent-Length: 5\r\n\r\nhello", BC_OK, 407, 40},
	{"incomplete", "HTTP/1.0 200 OK\r\n", BC_E_AGAIN, 0, 0},
	{"nothing", "", BC_E_AGAIN, 0, 0},
	{"no HTTP", "SSH-2.0", BC_E_PROTO, 0, 0},
	{"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", BC_E_PROTO, 0, 0},
};

START_TEST(connect_answer)
{
	struct ws_answer got = {0};
	enum bc_err err = http_connect_answer_parse(lit(proxies[_i].text), &got);

	ck_assert_msg(err == proxies[_i].err, "%s: %s", proxies[_i].name, bc_err_text(err));
	ck_assert_msg(got.status == proxies[_i].status && got.head_len == proxies[_i].head_len,
		      "%s: %u, %zu", proxies[_i].name, got.status, got.head_len);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("handshake");
	TCase *cases = tcase_create("handshake");

	tcase_set_timeout(cases, 60);
	tcase_add_test(cases, accept_of_the_rfc);
	tcase_add_test(cases, keys);
	tcase_add_loop_test(cases, put_request, 0, (int)BC_ARRAY_LEN(requests));
	tcase_add_test(cases, request_with_nul);
	tcase_add_loop_test(cases, answer, 0, (int)BC_ARRAY_LEN(answers));
	tcase_add_test(cases, answer_limit);
	tcase_add_test(cases, reason);
	tcase_add_loop_test(cases, connect_answer, 0, (int)BC_ARRAY_LEN(proxies));
	suite_add_tcase(suite, cases);
	return tap_run(suite);
}
