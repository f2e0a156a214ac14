#include "tests/world/wire_internal.h"

#include "daemon/base/id.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_CHUNK  ((size_t)64 << 10) /* bytes asked of the socket at once */
#define READ_ROUNDS 16                 /* reads before the loop's other watchers get their turn */

static void wire_free(struct wire *wire)
{
	ev_io_stop(wire->loop, &wire->reader);
	ev_io_stop(wire->loop, &wire->writer);
	ev_timer_stop(wire->loop, &wire->timer);
	SSL_free(wire->ssl);
	if (wire->fd >= 0) {
		close(wire->fd);
	}
	ws_decoder_fini(&wire->decoder);
	bc_buf_release(&wire->in);
	bc_buf_release(&wire->out);
	bc_buf_release(&wire->request);
	free(wire->subprotocols);
	wire->magic = 0;
	free(wire);
}

void wire_end(struct wire *wire, uint16_t code, const char *reason)
{
	if (wire->phase == WIRE_ENDED) {
		return;
	}
	/* closed() frees the wire, so it waits until nobody below us on the stack uses it. */
	wire->phase = WIRE_ENDED;
	wire->close_code = code;
	if (reason != wire->reason) {
		snprintf(wire->reason, sizeof(wire->reason), "%s", reason);
	}
	ev_io_stop(wire->loop, &wire->reader);
	ev_io_stop(wire->loop, &wire->writer);
	ev_timer_stop(wire->loop, &wire->timer);
	ev_timer_set(&wire->timer, 0., 0.);
	ev_timer_start(wire->loop, &wire->timer);
}

static void timer_fired(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct wire *wire = timer->data;

	(void)loop;
	(void)events;
	BC_CHECK(wire, WIRE_MAGIC);
	if (wire->phase != WIRE_ENDED) {
		wire_end(wire, WS_CLOSE_ABNORMAL, "no answer to the close frame");
		return;
	}
	close(wire->fd);
	wire->fd = -1;
	if (wire->handlers != NULL && wire->handlers->closed != NULL) {
		wire->handlers->closed(wire->arg, wire, wire->close_code,
				       bc_span_str(wire->reason));
	}
	wire_free(wire);
}

void wire_put(struct wire *wire, struct bc_span bytes)
{
	if (wire->phase == WIRE_ENDED) {
		return;
	}
	if (bc_buf_put_span(&wire->out, bytes) != BC_OK) {
		wire_end(wire, WS_CLOSE_ABNORMAL, "the queue is full");
		return;
	}
	ev_io_start(wire->loop, &wire->writer);
}

static void frame_put(struct wire *wire, enum ws_opcode opcode, struct bc_span payload)
{
	uint8_t head[WS_HEAD_MAX];
	uint8_t mask[4];
	bool masked = wire->role == WS_CLIENT;
	char *room;
	size_t len;

	if (masked) {
		bc_random(mask, sizeof(mask));
	}
	len = ws_head_put(head, opcode, payload.len, masked ? mask : NULL);
	wire_put(wire, bc_span((const char *)head, len));
	if (wire->phase == WIRE_ENDED || payload.len == 0) {
		return;
	}
	if (bc_buf_room(&wire->out, payload.len, &room) != BC_OK) {
		wire_end(wire, WS_CLOSE_ABNORMAL, "the queue is full");
		return;
	}
	memcpy(room, payload.ptr, payload.len);
	if (masked) {
		ws_mask((uint8_t *)room, (const uint8_t *)room, payload.len, mask);
	}
	bc_buf_grow(&wire->out, payload.len);
}

void wire_send(struct wire *wire, struct bc_span text)
{
	if (wire->phase == WIRE_OPEN) {
		frame_put(wire, WS_TEXT, text);
	}
}

static void close_put(struct wire *wire, uint16_t code, struct bc_span reason)
{
	uint8_t payload[WS_CONTROL_MAX];
	size_t len = code == WS_CLOSE_NO_STATUS ? 0 : ws_close_put(payload, code, reason);

	frame_put(wire, WS_CLOSE, bc_span((const char *)payload, len));
	if (wire->phase == WIRE_ENDED) {
		return;
	}
	wire->phase = WIRE_CLOSING;
	ev_timer_stop(wire->loop, &wire->timer);
	ev_timer_set(&wire->timer, WIRE_CLOSE_S, 0.);
	ev_timer_start(wire->loop, &wire->timer);
}

void wire_close(struct wire *wire, uint16_t code, const char *reason)
{
	if (wire->phase == WIRE_OPEN) {
		close_put(wire, code, bc_span_str(reason));
		wire_pause(wire, false);
	} else if (wire->phase < WIRE_OPEN) {
		wire_abort(wire);
	}
}

void wire_abort(struct wire *wire)
{
	wire_end(wire, WS_CLOSE_ABNORMAL, "aborted here");
}

void wire_opened(struct wire *wire)
{
	wire->phase = WIRE_OPEN;
	if (wire->handlers != NULL && wire->handlers->opened != NULL) {
		wire->handlers->opened(wire->arg, wire);
	}
}

static void event_take(struct wire *wire, const struct ws_event *event)
{
	switch (event->opcode) {
	case WS_TEXT:
		if (wire->phase == WIRE_OPEN && wire->handlers != NULL &&
		    wire->handlers->message != NULL) {
			wire->handlers->message(wire->arg, wire, event->payload);
		}
		return;
	case WS_BINARY:
		wire_close(wire, WS_CLOSE_UNACCEPTABLE, "text only");
		return;
	case WS_PING:
		frame_put(wire, WS_PONG, event->payload);
		return;
	case WS_CLOSE:
		wire->peer_closed = true;
		wire->close_code = event->close_code;
		snprintf(wire->reason, sizeof(wire->reason), "%.*s", BC_SPAN_ARG(event->payload));
		if (wire->phase == WIRE_OPEN) {
			close_put(wire, event->close_code, bc_span_str(""));
		}
		ev_io_start(wire->loop, &wire->writer);
		return;
	case WS_PONG:
	case WS_CONTINUATION:
		return;
	}
}

/* Hand out the messages that have come. */
static void messages_take(struct wire *wire)
{
	while ((wire->phase == WIRE_OPEN || wire->phase == WIRE_CLOSING) && !wire->paused &&
	       !wire->peer_closed) {
		struct bc_span data = bc_buf_span(&wire->in);
		uint8_t *bytes = (uint8_t *)wire->in.mem + wire->in.head;
		struct ws_event event;
		size_t used = 0;
		size_t need = 0;
		enum ws_step step;

		if (data.len == 0) {
			return;
		}
		step = ws_decode(&wire->decoder, bytes, data.len, &used, &need, &event);
		if (step == WS_STEP_MORE) {
			return;
		}
		if (step == WS_STEP_ERROR) {
			wire_close(wire, wire->decoder.error_code, wire->decoder.error);
			wire->paused = true;
			return;
		}
		if (step == WS_STEP_EVENT) {
			event_take(wire, &event);
		}
		bc_buf_consume(&wire->in, used);
	}
}

/* Read once: what came is in the buffer; false when there is nothing more now. */
static bool read_once(struct wire *wire)
{
	char *room;
	ssize_t len;

	if (bc_buf_room(&wire->in, READ_CHUNK, &room) != BC_OK) {
		wire_end(wire, WS_CLOSE_ABNORMAL, "no room to read");
		return false;
	}
	ERR_clear_error();
	errno = 0;
	len = wire->ssl == NULL ? recv(wire->fd, room, READ_CHUNK, 0)
				: SSL_read(wire->ssl, room, (int)READ_CHUNK);
	if (len > 0) {
		bc_buf_grow(&wire->in, (size_t)len);
		return true;
	}
	if (wire->ssl != NULL) {
		int reason = SSL_get_error(wire->ssl, (int)len);

		if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) {
			return false;
		}
	} else if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
		return false;
	}
	if (!wire->peer_closed) {
		wire_end(wire, WS_CLOSE_ABNORMAL,
			 len == 0 ? "connection closed" : "connection lost");
	}
	return false;
}

static void input_take(struct wire *wire)
{
	if (wire->phase == WIRE_HEAD && !wire_head_take(wire)) {
		return;
	}
	messages_take(wire);
}

static void tls_advance(struct wire *wire)
{
	if (wire_tls_step(wire)) {
		wire->phase = WIRE_HEAD;
		if (wire->role == WS_CLIENT) {
			wire_put(wire, bc_buf_span(&wire->request));
		}
		/* What came behind the handshake may already be inside OpenSSL. */
		ev_feed_event(wire->loop, &wire->reader, EV_READ);
	}
}

static void connected(struct wire *wire)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(wire->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error != 0) {
		wire_end(wire, WS_CLOSE_ABNORMAL, strerror(error));
		return;
	}
	ev_io_stop(wire->loop, &wire->writer);
	wire->phase = wire->ssl == NULL ? WIRE_HEAD : WIRE_TLS;
	ev_io_start(wire->loop, &wire->reader);
	if (wire->phase == WIRE_TLS) {
		tls_advance(wire);
	} else {
		wire_put(wire, bc_buf_span(&wire->request));
	}
}

static void readable(struct ev_loop *loop, ev_io *io, int events)
{
	struct wire *wire = io->data;

	(void)loop;
	(void)events;
	BC_CHECK(wire, WIRE_MAGIC);
	if (wire->phase == WIRE_TLS) {
		tls_advance(wire);
		return;
	}
	input_take(wire);
	for (int i = 0; i < READ_ROUNDS; i++) {
		if (wire->phase == WIRE_ENDED || wire->paused || !read_once(wire)) {
			return;
		}
		input_take(wire);
	}
	if (wire->phase != WIRE_ENDED) {
		ev_feed_event(wire->loop, &wire->reader, EV_READ);
	}
}

/* Write once; false when the socket takes nothing now. */
static bool write_once(struct wire *wire)
{
	struct bc_span data = bc_buf_span(&wire->out);
	size_t chunk = data.len > ((size_t)1 << 20) ? (size_t)1 << 20 : data.len;
	ssize_t len;

	ERR_clear_error();
	errno = 0;
	len = wire->ssl == NULL ? send(wire->fd, data.ptr, chunk, MSG_NOSIGNAL)
				: SSL_write(wire->ssl, data.ptr, (int)chunk);
	if (len > 0) {
		bc_buf_consume(&wire->out, (size_t)len);
		return true;
	}
	if (wire->ssl != NULL) {
		int reason = SSL_get_error(wire->ssl, (int)len);

		if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) {
			return false;
		}
	} else if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
		return false;
	}
	wire_end(wire, WS_CLOSE_ABNORMAL, "connection lost");
	return false;
}

static void writable(struct ev_loop *loop, ev_io *io, int events)
{
	struct wire *wire = io->data;

	(void)loop;
	(void)events;
	BC_CHECK(wire, WIRE_MAGIC);
	if (wire->phase == WIRE_CONNECTING) {
		connected(wire);
		return;
	}
	if (wire->phase == WIRE_TLS) {
		tls_advance(wire);
		return;
	}
	while (bc_buf_len(&wire->out) > 0) {
		if (!write_once(wire)) {
			return;
		}
	}
	bc_buf_release(&wire->out);
	ev_io_stop(wire->loop, &wire->writer);
	if (wire->peer_closed || wire->phase == WIRE_REFUSED) {
		shutdown(wire->fd, SHUT_WR);
		wire_end(wire, wire->peer_closed ? wire->close_code : WS_CLOSE_ABNORMAL,
			 wire->reason);
	}
}

struct wire *wire_new(struct ev_loop *loop, int fd, enum ws_role role)
{
	struct wire *wire = calloc(1, sizeof(*wire));

	if (wire == NULL) {
		return NULL;
	}
	wire->magic = WIRE_MAGIC;
	wire->loop = loop;
	wire->fd = fd;
	wire->role = role;
	ws_decoder_init(&wire->decoder, role, WIRE_MESSAGE_MAX);
	bc_buf_init(&wire->in, WIRE_MESSAGE_MAX + WIRE_HEAD_MAX + 2 * READ_CHUNK);
	bc_buf_init(&wire->out, WIRE_QUEUE_MAX);
	bc_buf_init(&wire->request, WIRE_HEAD_MAX);
	ev_io_init(&wire->reader, readable, fd, EV_READ);
	ev_io_init(&wire->writer, writable, fd, EV_WRITE);
	ev_timer_init(&wire->timer, timer_fired, 0., 0.);
	wire->reader.data = wire;
	wire->writer.data = wire;
	wire->timer.data = wire;
	return wire;
}

void wire_watch(struct wire *wire)
{
	if (wire->phase == WIRE_CONNECTING) {
		ev_io_start(wire->loop, &wire->writer);
	} else {
		ev_io_start(wire->loop, &wire->reader);
	}
}

unsigned wire_status(const struct wire *wire)
{
	return wire->status;
}

size_t wire_backlog(const struct wire *wire)
{
	return bc_buf_len(&wire->out);
}

void wire_pause(struct wire *wire, bool paused)
{
	if (wire->paused == paused || wire->phase == WIRE_ENDED) {
		return;
	}
	wire->paused = paused;
	if (paused) {
		ev_io_stop(wire->loop, &wire->reader);
		return;
	}
	ev_io_start(wire->loop, &wire->reader);
	ev_feed_event(wire->loop, &wire->reader, EV_READ);
}
