/*
 * The opening handshake: answers of a server and of a proxy, and requests made of arbitrary values.
 *
 *   byte 0   bit 0: a subprotocol was offered; the others say where the answer is cut once
 *   then     the answer, and the values
 */
#include "proto/handshake.h"
#include "tests/fuzz/fuzz.h"

/* The key of RFC 6455 1.3, so that the corpus can hold the accept that belongs to it. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

typedef enum bc_err parse_fn(struct bc_span data, const struct ws_request *request,
			     struct ws_answer *ret);

static enum bc_err parse_connect(struct bc_span data, const struct ws_request *request,
				 struct ws_answer *ret)
{
	(void)request;
	return http_connect_answer_parse(data, ret);
}

static void inside(struct bc_span part, struct bc_span whole)
{
	BC_BUG_ON(part.len > 0 &&
		  (part.ptr < whole.ptr || part.ptr + part.len > whole.ptr + whole.len));
}

/* A verdict on a beginning stays when more comes. */
static void check_answer(parse_fn *parse, struct bc_span data, size_t cut,
			 const struct ws_request *request)
{
	struct ws_answer early = {0};
	struct ws_answer late = {0};
	enum bc_err early_err = parse(bc_span(data.ptr, cut), request, &early);
	enum bc_err late_err = parse(data, request, &late);

	BC_BUG_ON(early_err != BC_E_AGAIN && early_err != late_err);
	if (late_err == BC_OK) {
		BC_BUG_ON(late.head_len > data.len || late.head_len > WS_ANSWER_MAX);
		BC_BUG_ON(memcmp(data.ptr + late.head_len - 4, "\r\n\r\n", 4) != 0);
		BC_BUG_ON(late.status < 100 || late.status > 999);
		inside(late.reason, data);
		inside(late.subprotocol, data);
	}
	BC_BUG_ON(early_err == BC_OK &&
		  (early.status != late.status || early.head_len != late.head_len));
}

/* No value can end the head early or smuggle a line: one empty line, at the end. */
static void check_request(struct bc_span data)
{
	size_t part = data.len / 4;
	struct ws_request request = {
		.host = bc_span(data.ptr, part),
		.target = bc_span(data.ptr + part, part),
		.key = KEY,
		.headers = bc_span(data.ptr + 2 * part, part),
		.subprotocols = bc_span(data.ptr + 3 * part, part),
	};
	struct bc_span head;
	struct bc_buf out;
	enum bc_err err;

	bc_buf_init(&out, data.len + 1000);
	err = ws_request_put(&out, &request);
	head = bc_buf_span(&out);
	BC_BUG_ON(err != BC_OK && err != BC_E_INVALID);
	BC_BUG_ON(err != BC_OK && head.len != 0);
	if (err == BC_OK) {
		BC_BUG_ON(memchr(head.ptr, '\0', head.len) != NULL);
		BC_BUG_ON(memmem(head.ptr, head.len, "\r\n\r\n", 4) != head.ptr + head.len - 4);
	}
	bc_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ws_request request = {.key = KEY};
	struct bc_span answer;
	size_t cut;

	if (size < 1) {
		return 0;
	}
	answer = bc_span((const char *)data + 1, size - 1);
	cut = answer.len * (data[0] / 2) / 128;
	if ((data[0] & 1) != 0) {
		request.subprotocols = BC_SPAN_LIT("realtime, openai-insecure-api-key.x");
	}
	check_answer(ws_answer_parse, answer, cut, &request);
	check_answer(parse_connect, answer, cut, &request);
	check_request(answer);
	return 0;
}
