/*
 * A link's way out.  Frames are written into the worker's tx buffer; what the kernel does not take of it, and
 * everything that follows until that has gone, waits in the link's backlog.
 */
#include "daemon/base/metric.h"
#include "daemon/net/link_internal.h"

#include <stdlib.h>

#define TX_CHUNK_MIN 4 /* bytes; the mask's period, so that chunks keep its phase */

static void flush_later(void *arg)
{
	struct net_io *io = arg;

	BC_CHECK(io, NET_IO_MAGIC);
	io->flush_queued = false;
	if (io->dying) {
		io->magic = 0;
		free(io);
		return;
	}
	net_io_flush(io);
}

/* Make tx this link's. */
static void take_tx(struct net_link *link)
{
	struct net_io *io = link->io;

	if (io->owner != link) {
		net_io_flush(io);
		io->owner = link;
	}
	if (io->turns == 0 && !io->flush_queued) {
		io->flush_queued = true;
		loop_defer(io->loop, flush_later, io);
	}
}

static void copy(uint8_t *dst, struct bc_span src, const uint8_t *key)
{
	if (key == NULL) {
		memcpy(dst, src.ptr, src.len);
	} else {
		ws_mask(dst, (const uint8_t *)src.ptr, src.len, key);
	}
}

static void put_backlog(struct net_link *link, struct bc_span bytes, const uint8_t *key)
{
	char *room;
	enum bc_err err;

	if (bytes.len == 0) {
		return;
	}
	err = bc_buf_room(&link->backlog, bytes.len, &room);
	if (err != BC_OK) {
		net_link_break(link, err);
		return;
	}
	copy((uint8_t *)room, bytes, key);
	bc_buf_grow(&link->backlog, bytes.len);
	net_link_watch(link);
}

/* Behind what is already on its way, as much of it through tx as the kernel takes. */
static void put(struct net_link *link, struct bc_span bytes, const uint8_t *key)
{
	struct net_io *io = link->io;

	while (bytes.len > 0 && !link->broken) {
		size_t room;
		size_t len;

		if (bc_buf_len(&link->backlog) > 0) {
			put_backlog(link, bytes, key);
			return;
		}
		take_tx(link);
		room = (NET_TX_SIZE - io->tx_len) / TX_CHUNK_MIN * TX_CHUNK_MIN;
		len = bytes.len < room ? bytes.len : room;
		if (len > 0) {
			copy(io->tx + io->tx_len, bc_span(bytes.ptr, len), key);
			io->tx_len += len;
			bytes = bc_span(bytes.ptr + len, bytes.len - len);
		}
		if (bytes.len > 0) {
			net_io_flush(io);
		}
	}
}

void net_output_frame(struct net_link *link, enum ws_opcode opcode, struct bc_span payload)
{
	uint8_t head[WS_HEAD_MAX];
	uint8_t key[4];
	const uint8_t *mask = NULL;
	size_t head_len;

	if (link->conf.role == WS_CLIENT) {
		net_io_mask_key(link->io, key);
		mask = key;
	}
	head_len = ws_head_put(head, opcode, payload.len, mask);
	put(link, bc_span((const char *)head, head_len), NULL);
	put(link, payload, mask);
}

void net_output_close(struct net_link *link, uint16_t code, struct bc_span reason)
{
	uint8_t payload[WS_CONTROL_MAX];
	size_t len = 0;

	if (link->close_sent || link->broken) {
		return;
	}
	if (code != WS_CLOSE_NO_STATUS) {
		len = ws_close_put(payload, code, reason);
	}
	net_output_frame(link, WS_CLOSE, bc_span((const char *)payload, len));
	link->close_sent = true;
}

static void emit_pong(struct net_link *link, struct bc_span payload)
{
	net_output_frame(link, WS_PONG, payload);
	if (bc_buf_len(&link->backlog) > 0) {
		link->pong_mark = bc_buf_len(&link->backlog);
	} else {
		link->pong_in_tx = true;
	}
}

void net_output_pong(struct net_link *link, struct bc_span payload)
{
	if (link->close_sent || link->broken) {
		return;
	}
	if (link->pong_mark == 0) {
		emit_pong(link, payload);
		return;
	}
	/* RFC 6455 5.5.3: of several pings only the latest must be answered, so a flood of them costs one buffer. */
	if (link->pong == NULL) {
		link->pong = malloc(WS_CONTROL_MAX);
		if (link->pong == NULL) {
			return; /* one answer less */
		}
	} else {
		bc_metric_inc(BC_M_PONGS_SKIPPED);
	}
	memcpy(link->pong, payload.ptr, payload.len);
	link->pong_len = payload.len;
}

static void pass_pong(struct net_link *link, size_t sent)
{
	uint8_t *payload = link->pong;

	link->pong_mark -= link->pong_mark < sent ? link->pong_mark : sent;
	if (link->pong_mark > 0 || payload == NULL) {
		return;
	}
	link->pong = NULL;
	if (!link->close_sent) {
		emit_pong(link, bc_span((const char *)payload, link->pong_len));
	}
	free(payload);
}

void net_output_resume(struct net_link *link)
{
	struct bc_span bytes = bc_buf_span(&link->backlog);
	size_t sent;
	enum bc_err err;

	if (link->broken || bytes.len == 0) {
		return;
	}
	err = wire_write(&link->wire, bytes.ptr, bytes.len, &sent);
	bc_buf_consume(&link->backlog, sent);
	if (err != BC_OK && err != BC_E_AGAIN) {
		net_link_break(link, err);
		return;
	}
	if (bc_buf_len(&link->backlog) == 0) {
		bc_buf_release(&link->backlog);
	}
	pass_pong(link, sent);
	if (link->pressured && !link->ended &&
	    bc_buf_len(&link->backlog) <= link->conf.backlog_low) {
		link->pressured = false;
		link->ops->drained(link->arg);
	}
}

/* The owner did not heed the pressure, or the peer takes nothing. */
static void overflow(struct net_link *link)
{
	bc_metric_inc(BC_M_LIMIT_CLOSES);
	net_output_close(link, WS_CLOSE_TRY_LATER, BC_SPAN_LIT("too slow"));
	link->failure = BC_E_LIMIT;
	loop_timer_start(link->kick, 0);
}

bool net_link_send(struct net_link *link, enum ws_opcode opcode, struct bc_span payload)
{
	size_t max;

	BC_CHECK(link, NET_LINK_MAGIC);
	BC_BUG_ON(link->freed || (opcode != WS_TEXT && opcode != WS_BINARY));
	if (link->close_sent || link->broken || link->ended) {
		return link->pressured;
	}
	max = link->conf.backlog_high + link->conf.message_max + NET_BACKLOG_SLACK;
	if (payload.len > max || net_link_backlog(link) > max - payload.len) {
		net_io_flush(link->io);
	}
	if (payload.len > max || net_link_backlog(link) > max - payload.len) {
		overflow(link);
		return true;
	}
	link->last_message = loop_now(link->io->loop);
	net_output_frame(link, opcode, payload);
	if (net_link_backlog(link) > link->conf.backlog_high) {
		net_io_flush(link->io);
		link->pressured =
			bc_buf_len(&link->backlog) > link->conf.backlog_high || link->pressured;
	}
	return link->pressured;
}

size_t net_link_backlog(const struct net_link *link)
{
	BC_CHECK(link, NET_LINK_MAGIC);
	return bc_buf_len(&link->backlog) + (link->io->owner == link ? link->io->tx_len : 0);
}
