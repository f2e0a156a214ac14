/* The HTTP upgrade of a wire, both roles. */
#include "tests/world/wire_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The next line of text without its CRLF; false at the end. */
static bool line_next(struct bc_span *text, struct bc_span *ret)
{
	const char *end = memmem(text->ptr, text->len, "\r\n", 2);

	if (end == NULL) {
		return false;
	}
	*ret = bc_span(text->ptr, (size_t)(end - text->ptr));
	text->len -= ret->len + 2;
	text->ptr = end + 2;
	return true;
}

static struct bc_span trimmed(struct bc_span span)
{
	while (span.len > 0 && (span.ptr[0] == ' ' || span.ptr[0] == '\t')) {
		span.ptr++;
		span.len--;
	}
	while (span.len > 0 && (span.ptr[span.len - 1] == ' ' || span.ptr[span.len - 1] == '\t')) {
		span.len--;
	}
	return span;
}

bool wire_request_header(const struct wire_request *request, const char *name, struct bc_span *ret)
{
	struct bc_span rest = request->headers;
	size_t len = strlen(name);
	struct bc_span line;

	while (line_next(&rest, &line)) {
		if (line.len > len && line.ptr[len] == ':' &&
		    strncasecmp(line.ptr, name, len) == 0) {
			*ret = trimmed(bc_span(line.ptr + len + 1, line.len - len - 1));
			return true;
		}
	}
	return false;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool percent_decode(struct bc_span in, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < in.len; i++) {
		char c = in.ptr[i];

		if (c == '%' && i + 2 < in.len && hex_digit(in.ptr[i + 1]) >= 0 &&
		    hex_digit(in.ptr[i + 2]) >= 0) {
			c = (char)(hex_digit(in.ptr[i + 1]) * 16 + hex_digit(in.ptr[i + 2]));
			i += 2;
		}
		if (n + 1 >= size) {
			return false;
		}
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

bool wire_request_query(const struct wire_request *request, const char *key, char *out, size_t size)
{
	const char *mark = memchr(request->target.ptr, '?', request->target.len);
	const char *end = request->target.ptr + request->target.len;
	size_t len = strlen(key);

	while (mark != NULL) {
		const char *from = mark + 1;
		const char *to = memchr(from, '&', (size_t)(end - from));
		size_t pair = (size_t)((to == NULL ? end : to) - from);

		if (pair > len && from[len] == '=' && memcmp(from, key, len) == 0) {
			return percent_decode(bc_span(from + len + 1, pair - len - 1), out, size);
		}
		mark = to;
	}
	return false;
}

static void refuse(struct wire *wire, unsigned status, const char *body)
{
	char head[256];
	int len = snprintf(head, sizeof(head),
			   "HTTP/1.1 %u Refused\r\nContent-Type: application/json\r\n"
			   "Content-Length: %zu\r\nConnection: close\r\n\r\n",
			   status, strlen(body));

	wire->phase = WIRE_REFUSED;
	wire_put(wire, bc_span(head, (size_t)len));
	wire_put(wire, bc_span_str(body));
}

static void upgrade(struct wire *wire, const struct wire_request *request, struct bc_span key)
{
	struct wire_verdict verdict = wire->accept(wire->accept_arg, wire, request);
	char accept[WS_ACCEPT_SIZE];
	char head[512];
	int len;

	if (verdict.status != 101) {
		refuse(wire, verdict.status, verdict.body == NULL ? "{}" : verdict.body);
		return;
	}
	ws_accept_make(key, accept);
	len = snprintf(head, sizeof(head),
		       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		       "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
		       accept, verdict.subprotocol == NULL ? "" : "Sec-WebSocket-Protocol: ",
		       verdict.subprotocol == NULL ? "" : verdict.subprotocol,
		       verdict.subprotocol == NULL ? "" : "\r\n");
	wire_put(wire, bc_span(head, (size_t)len));
	wire->status = 101;
	wire->handlers = verdict.handlers;
	wire->arg = verdict.arg;
	wire_opened(wire);
}

/* A client's request, head included. */
static void request_take(struct wire *wire, struct bc_span head)
{
	struct wire_request request = {0};
	struct bc_span upgrade_value;
	struct bc_span line;
	struct bc_span key;
	const char *blank;

	if (!line_next(&head, &line) || !bc_span_has_prefix(line, "GET ")) {
		refuse(wire, 400, "{\"error\":\"not a GET\"}");
		return;
	}
	line = bc_span(line.ptr + 4, line.len - 4);
	blank = memchr(line.ptr, ' ', line.len);
	request.target = bc_span(line.ptr, blank == NULL ? line.len : (size_t)(blank - line.ptr));
	request.headers = head;
	if (!wire_request_header(&request, "Upgrade", &upgrade_value) ||
	    !wire_request_header(&request, "Sec-WebSocket-Key", &key) ||
	    strncasecmp(upgrade_value.ptr, "websocket", 9) != 0) {
		refuse(wire, 426, "{\"error\":\"a WebSocket upgrade is needed\"}");
		return;
	}
	upgrade(wire, &request, key);
}

static bool request_head_take(struct wire *wire)
{
	struct bc_span data = bc_buf_span(&wire->in);
	const char *end = memmem(data.ptr, data.len, "\r\n\r\n", 4);
	char *copy;
	size_t len;

	if (end == NULL) {
		if (data.len > WIRE_HEAD_MAX) {
			refuse(wire, 431, "{}");
		}
		return false;
	}
	/* The handlers of the upgrade may move the buffer. */
	len = (size_t)(end - data.ptr) + 4;
	copy = bc_span_dup(bc_span(data.ptr, len - 2));
	bc_buf_consume(&wire->in, len);
	if (copy == NULL) {
		wire_end(wire, WS_CLOSE_ABNORMAL, "out of memory");
		return false;
	}
	request_take(wire, bc_span(copy, len - 2));
	free(copy);
	return wire->phase == WIRE_OPEN;
}

static bool answer_head_take(struct wire *wire)
{
	struct ws_request request = {.key = wire->key,
				     .subprotocols = bc_span_str(wire->subprotocols)};
	struct ws_answer answer;
	enum bc_err err = ws_answer_parse(bc_buf_span(&wire->in), &request, &answer);

	if (err == BC_E_AGAIN) {
		return false;
	}
	if (err != BC_OK) {
		wire_end(wire, WS_CLOSE_ABNORMAL, "bad answer to the upgrade");
		return false;
	}
	wire->status = answer.status;
	if (answer.status != 101) {
		wire_end(wire, WS_CLOSE_ABNORMAL, "upgrade refused");
		return false;
	}
	bc_buf_consume(&wire->in, answer.head_len);
	wire_opened(wire);
	return true;
}

bool wire_head_take(struct wire *wire)
{
	return wire->role == WS_SERVER ? request_head_take(wire) : answer_head_take(wire);
}
