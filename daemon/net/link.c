#include "daemon/net/link.h"

#include "daemon/base/metric.h"
#include "daemon/net/link_internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <unistd.h>

#define TAIL_DIRECT \
	((size_t)16 * 1024) /* bytes: a frame longer than this is read where it will stay */

static void report(struct net_link *link, enum bc_err err, uint16_t code, struct bc_span reason)
{
	struct net_close why = {.err = err, .code = code, .reason = reason};

	if (link->ended) {
		return;
	}
	link->ended = true; /* L2 */
	link->ops->closed(link->arg, &why);
}

void net_link_break(struct net_link *link, enum bc_err err)
{
	if (link->broken) {
		return;
	}
	link->broken = true;
	link->failure = err;
	net_io_drop(link->io, link);
	loop_io_set(link->watch, 0);
	loop_timer_start(link->kick, 0);
}

/* Whether bytes of the peer are wanted now.  A link that is closing reads on to find the peer's answer. */
static bool is_reading(const struct net_link *link)
{
	if (link->freed) {
		return true;
	}
	return !link->ended && !link->close_received && (!link->paused || link->close_sent);
}

void net_link_watch(struct net_link *link)
{
	unsigned events = 0;

	if (link->broken) {
		return;
	}
	if (is_reading(link)) {
		events |= link->wire.read_wants_write ? LOOP_READ | LOOP_WRITE : LOOP_READ;
	}
	if (bc_buf_len(&link->backlog) > 0) {
		events |= link->wire.write_wants_read ? LOOP_READ : LOOP_WRITE;
	}
	loop_io_set(link->watch, events);
}

/* When the clock has something to do next. */
static void set_clock(struct net_link *link)
{
	bc_usec now = loop_now(link->io->loop);
	bc_usec due;

	if (link->freed || link->close_sent) {
		due = link->close_due;
	} else if (link->ended || link->conf.ping_interval <= 0) {
		loop_timer_stop(link->clock);
		return;
	} else if (link->pinged != 0) {
		due = link->pinged + link->conf.ping_timeout;
	} else {
		due = link->heard + link->conf.ping_interval;
	}
	loop_timer_start(link->clock, due > now ? due - now : 0);
}

/* Bytes came: the peer is there, and the next ping is due when it has been silent for ping_interval again. */
static void note_heard(struct net_link *link)
{
	link->heard = loop_now(link->io->loop);
	if (link->pinged != 0) {
		link->pinged = 0;
		set_clock(link);
	}
}

static void begin_close(struct net_link *link, uint16_t code, struct bc_span reason)
{
	if (link->close_sent) {
		return;
	}
	net_output_close(link, code, reason);
	link->close_due = loop_now(link->io->loop) + link->conf.close_timeout;
	set_clock(link);
}

/* Everything is sent and answered as far as it will be: end the stream and wait for the peer to do so. */
static void wind_down(struct net_link *link)
{
	if (link->broken || link->shut || bc_buf_len(&link->backlog) > 0 ||
	    link->io->owner == link) {
		return;
	}
	if (link->close_sent && !link->close_received) {
		return;
	}
	link->shut = true;
	wire_shutdown(&link->wire);
}

static void count_error(const struct net_link *link)
{
	bc_metric_inc(link->conf.role == WS_SERVER ? BC_M_CLIENT_PROTOCOL_ERRORS
						   : BC_M_UPSTREAM_PROTOCOL_ERRORS);
}

/* Tell the peer why, and the owner; what the peer still sends has no meaning. */
static void give_up(struct net_link *link, enum bc_err err, uint16_t code, struct bc_span reason)
{
	link->close_received = true;
	begin_close(link, code, reason);
	if (!link->freed) {
		report(link, err, WS_CLOSE_ABNORMAL, bc_span(NULL, 0));
	}
}

static void out_of_memory(struct net_link *link)
{
	bc_metric_inc(BC_M_OUT_OF_MEMORY);
	give_up(link, BC_E_NOMEM, WS_CLOSE_TRY_LATER, BC_SPAN_LIT("out of memory"));
}

static void on_error(struct net_link *link)
{
	uint16_t code = link->decoder.error_code;
	enum bc_err err = BC_E_PROTO;

	if (code == WS_CLOSE_TOO_BIG) {
		err = BC_E_LIMIT;
		bc_metric_inc(BC_M_LIMIT_CLOSES);
	} else if (code == WS_CLOSE_INTERNAL) {
		out_of_memory(link);
		return;
	} else {
		count_error(link);
	}
	give_up(link, err, code, bc_span_str(link->decoder.error));
}

static void on_close_frame(struct net_link *link, const struct ws_event *event)
{
	link->close_received = true;
	begin_close(link, event->close_code, event->payload);
	if (!link->freed) {
		report(link, BC_OK, event->close_code, event->payload);
	}
}

static void on_event(struct net_link *link, const struct ws_event *event)
{
	switch (event->opcode) {
	case WS_TEXT:
	case WS_BINARY:
		if (!link->close_sent && !link->freed && !link->ended) {
			link->last_message = loop_now(link->io->loop);
			link->ops->message(link->arg, event->opcode, event->payload);
		}
		return;
	case WS_PING:
		net_output_pong(link, event->payload);
		return;
	case WS_CLOSE:
		on_close_frame(link, event);
		return;
	case WS_PONG: /* that bytes came has been noted */
	case WS_CONTINUATION:
		return;
	}
}

static bool is_held(const struct net_link *link)
{
	return link->paused && !link->close_sent && !link->freed;
}

/* Deliver the frames in data; returns how many bytes they took. */
static size_t deliver(struct net_link *link, uint8_t *data, size_t len)
{
	size_t done = 0;

	link->stalled = false;
	link->need = 0;
	while (done < len && !link->close_received) {
		struct ws_event event;
		enum ws_step step;
		size_t used = 0;

		if (is_held(link)) {
			link->stalled = true;
			return done;
		}
		step = ws_decode(&link->decoder, data + done, len - done, &used, &link->need,
				 &event);
		if (step == WS_STEP_MORE) {
			return done;
		}
		if (step == WS_STEP_ERROR) {
			on_error(link);
			break;
		}
		done += used;
		if (step == WS_STEP_EVENT) {
			on_event(link, &event);
		}
	}
	return len;
}

/* Keep what was read but not consumed, with room for all of a long frame at once. */
static enum bc_err keep(struct net_link *link, const uint8_t *data, size_t len)
{
	char *room;
	size_t whole = link->need > len ? link->need : len;
	enum bc_err err;

	if (len == 0) {
		bc_buf_release(&link->tail);
		return BC_OK;
	}
	bc_buf_clear(&link->tail);
	err = bc_buf_room(&link->tail, whole > TAIL_DIRECT ? whole : len, &room);
	if (err != BC_OK) {
		return err;
	}
	memcpy(room, data, len);
	bc_buf_grow(&link->tail, len);
	return BC_OK;
}

/* Deliver what tail holds. */
static void deliver_tail(struct net_link *link)
{
	size_t len = bc_buf_len(&link->tail);
	size_t done;

	if (len == 0) {
		return;
	}
	done = deliver(link, (uint8_t *)link->tail.mem + link->tail.head, len);
	bc_buf_consume(&link->tail, done);
	if (bc_buf_len(&link->tail) == 0) {
		bc_buf_release(&link->tail);
	}
}

/* A long frame: read what it still lacks to where it will be decoded. */
static enum bc_err read_direct(struct net_link *link)
{
	size_t want = link->need - bc_buf_len(&link->tail);
	size_t got;
	char *room;
	enum bc_err err = bc_buf_room(&link->tail, want, &room);

	if (err == BC_OK) {
		err = wire_read(&link->wire, room, want, &got);
	}
	if (err != BC_OK) {
		return err;
	}
	bc_buf_grow(&link->tail, got);
	note_heard(link);
	if (got == want) {
		deliver_tail(link);
	}
	return BC_OK;
}

/* Everything else: read into the worker's buffer, behind the start of a frame we have already. */
static enum bc_err read_scratch(struct net_link *link)
{
	struct net_io *io = link->io;
	size_t before = bc_buf_len(&link->tail);
	size_t got;
	size_t done;
	enum bc_err err = wire_read(&link->wire, io->rx + before, NET_RX_SIZE - before, &got);

	if (err != BC_OK) {
		return err;
	}
	memcpy(io->rx, bc_buf_span(&link->tail).ptr, before);
	note_heard(link);
	done = deliver(link, io->rx, before + got);
	return keep(link, io->rx + done, before + got - done);
}

static void read_turn(struct net_link *link)
{
	enum bc_err err;

	if (link->stalled) {
		deliver_tail(link);
	}
	while (is_reading(link) && !link->broken && !link->stalled) {
		if (link->close_received) {
			/* Winding down: only the end of the stream is of interest. */
			size_t got;

			err = wire_read(&link->wire, link->io->rx, NET_RX_SIZE, &got);
		} else if (link->need > TAIL_DIRECT) {
			err = read_direct(link);
		} else {
			err = read_scratch(link);
		}
		if (err == BC_E_AGAIN) {
			return;
		}
		if (err == BC_E_NOMEM) {
			out_of_memory(link);
			return;
		}
		if (err != BC_OK) {
			net_link_break(link, err);
			return;
		}
		if (!wire_has_pending(&link->wire)) {
			return;
		}
	}
}

static void leave(struct net_link *link)
{
	net_io_leave(link->io);
	if (link->freed) {
		wind_down(link);
	}
	net_link_watch(link);
}

static void on_io(void *arg, unsigned events)
{
	struct net_link *link = arg;

	BC_CHECK(link, NET_LINK_MAGIC);
	net_io_enter(link->io);
	if ((events & LOOP_WRITE) != 0 || link->wire.write_wants_read) {
		net_output_resume(link);
	}
	if ((events & LOOP_READ) != 0 || link->wire.read_wants_write) {
		read_turn(link);
	}
	leave(link);
}

/* What could not be done where it was noticed. */
static void on_kick(void *arg)
{
	struct net_link *link = arg;

	BC_CHECK(link, NET_LINK_MAGIC);
	if (link->freed && link->broken) {
		net_link_destroy(link);
		return;
	}
	net_io_enter(link->io);
	if (link->failure != BC_OK && !link->freed) {
		report(link, link->failure, WS_CLOSE_ABNORMAL, bc_span(NULL, 0));
	} else if (!link->ended && !link->broken && !is_held(link)) {
		deliver_tail(link);
		read_turn(link);
	}
	leave(link);
}

static void check_silence(struct net_link *link)
{
	bc_usec now = loop_now(link->io->loop);

	if (link->paused) {
		link->heard = now; /* we do not listen, so silence proves nothing */
		link->pinged = 0;
		return;
	}
	if (link->pinged == 0) {
		if (now - link->heard >= link->conf.ping_interval) {
			net_output_frame(link, WS_PING, bc_span(NULL, 0));
			link->pinged = now;
		}
		return;
	}
	/* If we were late ourselves, the answer may be waiting in the kernel. */
	read_turn(link);
	if (link->pinged != 0 && now - link->pinged >= link->conf.ping_timeout && !link->broken &&
	    !link->ended) {
		bc_metric_inc(BC_M_PING_TIMEOUTS);
		give_up(link, BC_E_TIMEOUT, WS_CLOSE_INTERNAL, BC_SPAN_LIT("ping not answered"));
	}
}

static void on_clock(void *arg)
{
	struct net_link *link = arg;

	BC_CHECK(link, NET_LINK_MAGIC);
	if (link->freed) {
		if (!link->shut) {
			bc_metric_inc(BC_M_CLOSE_TIMEOUTS);
		}
		net_link_destroy(link);
		return;
	}
	net_io_enter(link->io);
	if (link->broken || link->ended) {
		leave(link);
		return;
	}
	if (link->close_sent) {
		bc_metric_inc(BC_M_CLOSE_TIMEOUTS);
		net_link_break(link, BC_E_TIMEOUT);
	} else {
		check_silence(link);
		set_clock(link);
	}
	leave(link);
}

static bool make_parts(struct net_link *link, int fd, struct bc_span rest)
{
	struct loop *loop = link->io->loop;

	link->watch = loop_io_new(loop, fd, on_io, link);
	link->clock = loop_timer_new(loop, on_clock, link);
	link->kick = loop_timer_new(loop, on_kick, link);
	return link->watch != NULL && link->clock != NULL && link->kick != NULL &&
	       bc_buf_put_span(&link->tail, rest) == BC_OK;
}

static void free_parts(struct net_link *link)
{
	link->watch = loop_io_free(link->watch);
	link->clock = loop_timer_free(link->clock);
	link->kick = loop_timer_free(link->kick);
	ws_decoder_fini(&link->decoder);
	bc_buf_release(&link->tail);
	bc_buf_release(&link->backlog);
	free(link->pong);
	link->magic = 0;
	free(link);
}

struct net_link *net_link_new(struct net_io *io, int fd, void *ssl,
			      const struct net_link_conf *conf, const struct net_link_ops *ops,
			      void *arg, void (*give_back)(void *arg), void *give_back_arg,
			      struct bc_span rest)
{
	static const int one = 1;
	struct net_link *link;

	BC_CHECK(io, NET_IO_MAGIC);
	link = calloc(1, sizeof(*link));
	if (link == NULL) {
		return NULL;
	}
	link->magic = NET_LINK_MAGIC;
	link->io = io;
	link->conf = *conf;
	link->ops = ops;
	link->arg = arg;
	link->give_back = give_back;
	link->give_back_arg = give_back_arg;
	link->heard = loop_now(io->loop);
	link->last_message = link->heard;
	ws_decoder_init(&link->decoder, conf->role, conf->message_max);
	bc_buf_init(&link->tail, conf->message_max + WS_HEAD_MAX + NET_RX_SIZE + rest.len);
	bc_buf_init(&link->backlog,
		    conf->backlog_high + conf->message_max + NET_BACKLOG_SLACK + 2 * NET_TX_SIZE);
	if (!make_parts(link, fd, rest)) {
		free_parts(link);
		return NULL;
	}
	wire_init(&link->wire, fd, ssl);
	/* Not a TCP socket in tests; then there is nothing to delay. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	LIST_INSERT_HEAD(&io->links, link, entry);
	set_clock(link);
	net_link_watch(link);
	if (rest.len > 0 || wire_has_pending(&link->wire)) {
		loop_timer_start(link->kick, 0);
	}
	return link;
}

void net_link_destroy(struct net_link *link)
{
	void (*give_back)(void *arg) = link->give_back;
	void *give_back_arg = link->give_back_arg;

	net_io_drop(link->io, link);
	LIST_REMOVE(link, entry);
	if (give_back == NULL && link->wire.fd >= 0) {
		loop_io_set(link->watch, 0);
		SSL_free(link->wire.ssl);
		(void)close(link->wire.fd);
	}
	free_parts(link);
	if (give_back != NULL) {
		give_back(give_back_arg);
	}
}

void net_link_cut(struct net_link *link)
{
	BC_CHECK(link, NET_LINK_MAGIC);
	net_link_break(link, BC_E_CLOSED);
	link->wire.ssl = NULL;
	link->wire.fd = -1;
	link->give_back = NULL;
}

struct net_link *net_link_free(struct net_link *link)
{
	if (link == NULL) {
		return NULL;
	}
	BC_CHECK(link, NET_LINK_MAGIC);
	BC_BUG_ON(link->freed);
	net_io_drop(link->io, link->broken ? link : NULL);
	link->freed = true; /* L3 */
	link->ended = true;
	link->close_due = loop_now(link->io->loop) + link->conf.close_timeout;
	if (link->broken) {
		loop_timer_start(link->kick, 0);
		return NULL;
	}
	if (link->io->owner == link) {
		net_io_flush(link->io);
	}
	wind_down(link);
	if (!link->broken) {
		set_clock(link);
	}
	net_link_watch(link);
	return NULL;
}

void net_link_close(struct net_link *link, uint16_t code, struct bc_span reason)
{
	BC_CHECK(link, NET_LINK_MAGIC);
	BC_BUG_ON(link->freed);
	if (link->broken || link->ended) {
		return;
	}
	begin_close(link, code, reason);
	if (link->stalled) {
		loop_timer_start(link->kick, 0);
	}
	net_link_watch(link);
}

void net_link_pause(struct net_link *link)
{
	BC_CHECK(link, NET_LINK_MAGIC);
	link->paused = true;
	net_link_watch(link);
}

void net_link_resume(struct net_link *link)
{
	BC_CHECK(link, NET_LINK_MAGIC);
	if (!link->paused) {
		return;
	}
	link->paused = false;
	link->heard = loop_now(link->io->loop);
	link->pinged = 0;
	if (link->stalled || wire_has_pending(&link->wire)) {
		loop_timer_start(link->kick, 0);
	}
	net_link_watch(link);
}

bc_usec net_link_last_message(const struct net_link *link)
{
	BC_CHECK(link, NET_LINK_MAGIC);
	return link->last_message;
}
