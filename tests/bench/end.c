/* One connection: TCP, TLS, HTTP, sending. */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 16384 /* bytes */

static void watch(struct bench *bench, struct end *end, bool out)
{
	struct epoll_event event = {.events = out ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = end};

	if (out != end->wants_out) {
		BC_BUG_ON(epoll_ctl(bench->epoll, EPOLL_CTL_MOD, end->fd, &event) != 0);
		end->wants_out = out;
	}
}

/* Bytes moved; 0: wait for the socket; -1: over, and that is a failure of the run. */
static ssize_t judge(struct bench *bench, struct end *end, ssize_t result, const char *what)
{
	if (result > 0) {
		return result;
	}
	if (end->ssl != NULL) {
		int error = SSL_get_error(end->ssl, (int)result);

		if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
			return 0;
		}
		bench_fail(bench, "%s: %s failed: TLS error %d, %s",
			   end->is_client ? "client" : "provider", what, error,
			   ERR_reason_error_string(ERR_peek_error()));
		return -1;
	}
	if (result < 0 && (errno == EAGAIN || errno == EINTR)) {
		return 0;
	}
	bench_fail(bench, "%s: %s failed: %s", end->is_client ? "client" : "provider", what,
		   result == 0 ? "the proxy has closed" : strerror(errno));
	return -1;
}

static ssize_t end_read(struct bench *bench, struct end *end)
{
	ssize_t got = end->ssl != NULL ? SSL_read(end->ssl, bench->rx, (int)BENCH_RX_SIZE)
				       : recv(end->fd, bench->rx, BENCH_RX_SIZE, 0);

	return judge(bench, end, got, "reading");
}

static ssize_t end_write(struct bench *bench, struct end *end, const void *bytes, size_t len)
{
	ssize_t put = end->ssl != NULL ? SSL_write(end->ssl, bytes, (int)len)
				       : send(end->fd, bytes, len, MSG_NOSIGNAL);

	return judge(bench, end, put, "writing");
}

/* ---- messages ---- */

static void push(struct bench *bench, struct end *end)
{
	const struct message *message = &bench->messages[end->is_client ? UP : DOWN];

	while (end->queued > 0) {
		ssize_t put = end_write(bench, end, message->frame + end->offset,
					message->frame_len - end->offset);

		if (put <= 0) {
			break;
		}
		end->offset += (size_t)put;
		if (end->offset == message->frame_len) {
			end->offset = 0;
			end->queued--;
		}
	}
	watch(bench, end, end->queued > 0);
}

bool end_send(struct bench *bench, struct end *end)
{
	if (end->sent - end->arrived >= BENCH_FLIGHT_MAX) {
		return false;
	}
	end->when[end->sent % BENCH_FLIGHT_MAX] = bench_now();
	end->sent++;
	end->queued++;
	if (end->queued == 1) {
		push(bench, end);
	}
	return true;
}

static void say_bytes(struct bench *bench, struct end *end, struct bc_span bytes)
{
	if (end->queued > 0 || end_write(bench, end, bytes.ptr, bytes.len) != (ssize_t)bytes.len) {
		bench_fail(bench, "a short text could not be sent at once");
	}
}

void end_say(struct bench *bench, struct end *end, const char *text)
{
	uint8_t head[WS_HEAD_MAX];
	struct bc_buf frame;

	BC_BUG_ON(end->is_client); /* only the provider has something to say */
	bc_buf_init(&frame, HEAD_MAX);
	BC_BUG_ON(bc_buf_put(&frame, head, ws_head_put(head, WS_TEXT, strlen(text), NULL)) !=
			  BC_OK ||
		  bc_buf_put_str(&frame, text) != BC_OK);
	say_bytes(bench, end, bc_buf_span(&frame));
	bc_buf_release(&frame);
}

/* ---- HTTP ---- */

static void ask(struct bench *bench, struct end *end)
{
	struct bc_buf request;
	struct ws_request fields = {.host = BC_SPAN_LIT("localhost"),
				    .target = BC_SPAN_LIT("/v1/realtime?model=bench"),
				    .key = end->key};

	ws_key_new(end->key);
	bc_buf_init(&request, HEAD_MAX);
	BC_BUG_ON(ws_request_put(&request, &fields) != BC_OK);
	say_bytes(bench, end, bc_buf_span(&request));
	bc_buf_release(&request);
}

/* Bytes of a complete head, 0: it is not yet. */
static size_t head_len(const struct end *end)
{
	struct bc_span in = bc_buf_span(&end->in);
	const char *at = memmem(in.ptr, in.len, "\r\n\r\n", 4);

	return at == NULL ? 0 : (size_t)(at - in.ptr) + 4;
}

static void answer(struct bench *bench, struct end *end, struct bc_span head)
{
	static const char name[] = "\r\nSec-WebSocket-Key:";
	char accept[WS_ACCEPT_SIZE];
	struct bc_buf text;

	for (size_t i = 0; i + sizeof(name) < head.len; i++) {
		size_t at = i + sizeof(name) - 1;
		size_t len = 0;

		if (strncasecmp(head.ptr + i, name, sizeof(name) - 1) != 0) {
			continue;
		}
		at += head.ptr[at] == ' ';
		while (head.ptr[at + len] != '\r') {
			len++;
		}
		ws_accept_make(bc_span(head.ptr + at, len), accept);
		bc_buf_init(&text, HEAD_MAX);
		BC_BUG_ON(bc_buf_printf(&text,
					"HTTP/1.1 101 Switching Protocols\r\n"
					"Upgrade: websocket\r\nConnection: Upgrade\r\n"
					"Sec-WebSocket-Accept: %s\r\n\r\n",
					accept) != BC_OK);
		say_bytes(bench, end, bc_buf_span(&text));
		bc_buf_release(&text);
		return;
	}
	bench_fail(bench, "the proxy asks without a Sec-WebSocket-Key");
}

static void check_answer(struct bench *bench, const struct end *end, struct bc_span head)
{
	struct ws_request request = {.key = end->key};
	struct ws_answer got;

	if (ws_answer_parse(head, &request, &got) != BC_OK || got.status != 101) {
		bench_fail(bench, "the proxy refused: %.*s", (int)(head.len < 60 ? head.len : 60),
			   head.ptr);
	}
}

static void take_head(struct bench *bench, struct end *end, const uint8_t *bytes, size_t len)
{
	struct bc_buf all;
	size_t head;

	if (bc_buf_put(&end->in, bytes, len) != BC_OK) {
		bench_fail(bench, "the proxy's HTTP head is too long");
		return;
	}
	head = head_len(end);
	if (head == 0) {
		return;
	}
	if (end->is_client) {
		check_answer(bench, end, bc_span(bc_buf_span(&end->in).ptr, head));
	} else {
		answer(bench, end, bc_span(bc_buf_span(&end->in).ptr, head));
	}
	all = end->in;
	bc_buf_init(&end->in, HEAD_MAX);
	end->phase = PHASE_OPEN;
	session_opened(bench, end);
	bc_buf_consume(&all, head);
	end_feed(bench, end, (const uint8_t *)bc_buf_span(&all).ptr, bc_buf_len(&all));
	bc_buf_release(&all);
}

/* ---- life ---- */

static void readable(struct bench *bench, struct end *end)
{
	do {
		ssize_t got = end_read(bench, end);

		if (got <= 0) {
			return;
		}
		if (end->phase == PHASE_HEAD) {
			take_head(bench, end, bench->rx, (size_t)got);
		} else {
			end_feed(bench, end, bench->rx, (size_t)got);
		}
	} while (end->ssl != NULL && SSL_has_pending(end->ssl) == 1 && !bench_failed(bench));
}

static void secured(struct bench *bench, struct end *end)
{
	end->phase = PHASE_HEAD;
	if (end->is_client) {
		ask(bench, end);
	}
}

static void shake(struct bench *bench, struct end *end)
{
	int done = SSL_do_handshake(end->ssl);

	if (done == 1) {
		watch(bench, end, false);
		secured(bench, end);
		if (SSL_has_pending(end->ssl) == 1) {
			readable(bench, end); /* came together with the handshake's end */
		}
	} else if (judge(bench, end, done, "the TLS handshake") == 0) {
		watch(bench, end, SSL_want_write(end->ssl) == 1);
	}
}

/* The TCP connection is there. */
static void reached(struct bench *bench, struct end *end)
{
	static const int one = 1;
	/* Ends with a reset, so that no port is blocked for the next run. */
	static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
	SSL_CTX *tls = end->is_client ? bench->client_tls : bench->server_tls;

	BC_BUG_ON(setsockopt(end->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0);
	BC_BUG_ON(setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) != 0);
	if (tls == NULL) {
		secured(bench, end);
		return;
	}
	end->phase = PHASE_TLS;
	end->ssl = SSL_new(tls);
	BC_BUG_ON(end->ssl == NULL || SSL_set_fd(end->ssl, end->fd) != 1);
	if (end->is_client) {
		SSL_set_connect_state(end->ssl);
	} else {
		SSL_set_accept_state(end->ssl);
	}
	shake(bench, end);
}

static void begin(struct bench *bench, struct end *end, int fd)
{
	struct epoll_event event = {.events = end->is_client ? EPOLLIN | EPOLLOUT : EPOLLIN,
				    .data.ptr = end};

	end->fd = fd;
	end->wants_out = end->is_client;
	bc_buf_init(&end->in, HEAD_MAX);
	BC_BUG_ON(epoll_ctl(bench->epoll, EPOLL_CTL_ADD, fd, &event) != 0);
}

void end_connect(struct bench *bench, struct end *end)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(bench->proxy_port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	if (fd < 0 || (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 &&
		       errno != EINPROGRESS)) {
		bench_fail(bench, "connecting failed: %s", strerror(errno));
		return;
	}
	end->is_client = true;
	begin(bench, end, fd);
}

void end_accept(struct bench *bench, struct end *end, int fd)
{
	begin(bench, end, fd);
	reached(bench, end);
}

static void connected(struct bench *bench, struct end *end)
{
	int error = 0;
	socklen_t len = sizeof(error);

	BC_BUG_ON(getsockopt(end->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0);
	if (error != 0) {
		bench_fail(bench, "connecting failed: %s", strerror(error));
		return;
	}
	watch(bench, end, false);
	reached(bench, end);
}

void end_act(struct bench *bench, struct end *end, uint32_t events)
{
	if (end->phase == PHASE_CONNECTING) {
		connected(bench, end);
		return;
	}
	if (end->phase == PHASE_TLS) {
		shake(bench, end);
		return;
	}
	if ((events & EPOLLOUT) != 0) {
		push(bench, end);
	}
	if ((events & ~(uint32_t)EPOLLOUT) != 0) {
		readable(bench, end);
	}
}
