/* WebSocket connections: two links that talk to each other, or one link and a socket in the test's hand. */
#include "daemon/base/metric.h"
#include "daemon/loop/loop.h"
#include "daemon/net/link.h"
#include "daemon/net/link_internal.h"
#include "tests/unit/tap.h"
#include "tests/unit/tls_pair.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB        ((size_t)1024 * 1024)
#define FOREVER    (1000 * BC_USEC_PER_SEC)
#define BIG        (16 * MIB)
#define CHECK_TICK (BC_USEC_PER_MS / 2)

/* One end, and what it was told. */
struct end {
	struct net_link *link;
	int messages;
	size_t bytes;
	enum ws_opcode opcode;
	uint8_t *last; /* payload of the last message */
	size_t last_len;
	int drained;
	int closed;
	struct net_close why;
	char reason[WS_REASON_MAX + 1];
	int given_back;
	bool echo;
	bool pause_after; /* pause inside message() */
	bool free_after;  /* free inside message() */
	bool close_after; /* close inside message() */
	bool free_on_close;
};

static struct loop *loop;
static struct net_io *io;
static struct loop_timer *tick;
static bool (*wanted)(void);
static int fds[2];
static SSL *ssls[2];
static struct end a; /* server, on fds[0] */
static struct end b; /* client, on fds[1] */

static void on_message(void *arg, enum ws_opcode opcode, struct bc_span payload)
{
	struct end *end = arg;

	end->messages++;
	end->bytes += payload.len;
	end->opcode = opcode;
	free(end->last);
	end->last = malloc(payload.len + 1);
	memcpy(end->last, payload.ptr == NULL ? "" : payload.ptr, payload.len);
	end->last_len = payload.len;
	if (end->echo) {
		(void)net_link_send(end->link, opcode, payload);
	}
	if (end->pause_after) {
		net_link_pause(end->link);
	}
	if (end->close_after) {
		net_link_close(end->link, 4001, BC_SPAN_LIT("enough"));
	}
	if (end->free_after) {
		end->link = net_link_free(end->link);
	}
}

static void on_drained(void *arg)
{
	struct end *end = arg;

	end->drained++;
}

static void on_closed(void *arg, const struct net_close *why)
{
	struct end *end = arg;

	end->closed++;
	end->why = *why;
	memcpy(end->reason, why->reason.ptr == NULL ? "" : why->reason.ptr, why->reason.len);
	end->reason[why->reason.len] = '\0';
	if (end->free_on_close) {
		end->link = net_link_free(end->link);
	}
}

static const struct net_link_ops ops = {on_message, on_drained, on_closed};

static struct net_link_conf conf(enum ws_role role)
{
	return (struct net_link_conf){.role = role,
				      .message_max = BIG,
				      .backlog_high = 256 * 1024,
				      .backlog_low = 64 * 1024,
				      .ping_interval = FOREVER,
				      .ping_timeout = FOREVER,
				      .close_timeout = FOREVER};
}

static void on_tick(void *arg)
{
	(void)arg;
	if (wanted()) {
		loop_stop(loop);
		return;
	}
	loop_timer_start(tick, CHECK_TICK);
}

/* Turn the loop until condition holds; Check's time-out is the limit. */
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

static void setup_plain(void)
{
	a = (struct end){.given_back = 0};
	b = (struct end){.given_back = 0};
	ssls[0] = NULL;
	ssls[1] = NULL;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	ck_assert_int_eq(loop_new(&loop), BC_OK);
	io = net_io_new(loop);
	ck_assert_ptr_nonnull(io);
	tick = loop_timer_new(loop, on_tick, NULL);
}

static void setup_tls(void)
{
	setup_plain();
	tls_pair_make(fds, ssls);
}

static void teardown(void)
{
	a.link = net_link_free(a.link);
	b.link = net_link_free(b.link);
	io = net_io_free(io);
	tick = loop_timer_free(tick);
	loop = loop_free(loop);
	free(a.last);
	free(b.last);
}

static void open_a(const struct net_link_conf *settings)
{
	a.link =
		net_link_new(io, fds[0], ssls[0], settings, &ops, &a, NULL, NULL, bc_span(NULL, 0));
	ck_assert_ptr_nonnull(a.link);
}

static void open_both(void)
{
	struct net_link_conf server = conf(WS_SERVER);
	struct net_link_conf client = conf(WS_CLIENT);

	open_a(&server);
	b.link = net_link_new(io, fds[1], ssls[1], &client, &ops, &b, NULL, NULL, bc_span(NULL, 0));
	ck_assert_ptr_nonnull(b.link);
}

/* The test's own hand on fds[1], plain only. */
static void peer_send(const void *bytes, size_t len)
{
	const char *from = bytes;

	while (len > 0) {
		ssize_t put = send(fds[1], from, len, MSG_NOSIGNAL);

		if (put < 0) {
			ck_assert_int_eq(errno, EAGAIN);
			run_turns(2);
			continue;
		}
		from += put;
		len -= (size_t)put;
	}
}

static size_t make_frame(uint8_t *out, enum ws_opcode opcode, const void *payload, size_t len)
{
	static const uint8_t key[4] = {1, 2, 3, 4};
	size_t head = ws_head_put(out, opcode, len, key);

	ws_mask(out + head, payload, len, key);
	return head + len;
}

static void peer_frame(enum ws_opcode opcode, const void *payload, size_t len)
{
	uint8_t *frame = malloc(len + WS_HEAD_MAX);

	peer_send(frame, make_frame(frame, opcode, payload, len));
	free(frame);
}

static uint8_t inbox[8 * 1024 * 1024];
static size_t inbox_len;

/* Take what has come; returns false at the end of the stream. */
static bool peer_take(void)
{
	for (;;) {
		ssize_t got = recv(fds[1], inbox + inbox_len, sizeof(inbox) - inbox_len, 0);

		if (got <= 0) {
			return got < 0 && errno == EAGAIN;
		}
		inbox_len += (size_t)got;
	}
}

static size_t inbox_wanted;

static bool inbox_is_full(void)
{
	(void)peer_take();
	return inbox_len >= inbox_wanted;
}

static bool peer_sees_end(void)
{
	return !peer_take();
}

static bool b_has_message(void)
{
	return b.messages >= 1;
}

static bool a_has_message(void)
{
	return a.messages >= 1;
}

static bool a_is_closed(void)
{
	return a.closed > 0;
}

static bool both_are_closed(void)
{
	return a.closed > 0 && b.closed > 0;
}

START_TEST(messages_go_both_ways)
{
	open_both();
	b.echo = true;
	ck_assert(!net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("from the server")));
	run_until(a_has_message);
	ck_assert_int_eq(a.messages, 1);
	ck_assert_int_eq(b.messages, 1);
	ck_assert_int_eq(b.opcode, WS_TEXT);
	ck_assert_mem_eq(a.last, "from the server", 15);
	ck_assert_uint_eq(a.last_len, 15);
	ck_assert_uint_eq(net_link_backlog(a.link), 0);
}
END_TEST

#define MANY 20000

static bool b_has_many(void)
{
	return b.messages >= MANY;
}

START_TEST(many_messages_keep_their_order)
{
	int i;

	open_both();
	for (i = 0; i < MANY; i++) {
		char text[32];
		int len = snprintf(text, sizeof(text), "message %d", i);

		/* The pressure is ignored: all of it is below the hard limit. */
		(void)net_link_send(a.link, WS_BINARY, bc_span(text, (size_t)len));
	}
	run_until(b_has_many);
	ck_assert_mem_eq(b.last, "message 19999", 13);
	ck_assert_int_eq(b.opcode, WS_BINARY);
}
END_TEST

static void fill(uint8_t *bytes, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		bytes[i] = (uint8_t)(i * 31 + (i >> 12));
	}
}

START_TEST(longest_message_passes)
{
	uint8_t *big = malloc(BIG);

	open_both();
	fill(big, BIG);
	b.echo = true;
	(void)net_link_send(a.link, WS_BINARY, bc_span((char *)big, BIG));
	run_until(a_has_message);
	ck_assert_uint_eq(a.last_len, BIG);
	ck_assert(memcmp(a.last, big, BIG) == 0);
	/* An idle link holds nothing. */
	ck_assert_uint_eq(a.link->tail.cap, 0);
	ck_assert_uint_eq(a.link->backlog.cap, 0);
	free(big);
}
END_TEST

START_TEST(each_size_around_the_buffers_passes)
{
	static const size_t sizes[] = {
		0,      1,      125,    126,    65535,  65536, NET_TX_SIZE - 14,
		131058, 131068, 131072, 131073, 262144, 400003};
	uint8_t *bytes = malloc(400003);
	size_t i;

	fill(bytes, 400003);
	open_both();
	for (i = 0; i < BC_ARRAY_LEN(sizes); i++) {
		b.messages = 0;
		(void)net_link_send(a.link, WS_BINARY, BC_SPAN_LIT("x"));
		(void)net_link_send(a.link, WS_BINARY, bc_span((char *)bytes, sizes[i]));
		while (b.messages < 2) {
			run_turns(1);
		}
		ck_assert_uint_eq(b.last_len, sizes[i]);
		ck_assert(memcmp(b.last, bytes, sizes[i]) == 0);
		a.messages = 0;
		(void)net_link_send(b.link, WS_BINARY, bc_span((char *)bytes, sizes[i]));
		run_until(a_has_message);
		ck_assert_uint_eq(a.last_len, sizes[i]);
		ck_assert(memcmp(a.last, bytes, sizes[i]) == 0);
	}
	free(bytes);
}
END_TEST

START_TEST(one_byte_at_a_time)
{
	struct net_link_conf settings = conf(WS_SERVER);
	uint8_t frame[256];
	size_t len = make_frame(frame, WS_TEXT, "slow but complete", 17);
	size_t i;

	open_a(&settings);
	for (i = 0; i < len; i++) {
		ck_assert_int_eq(a.messages, 0);
		peer_send(frame + i, 1);
		run_turns(3);
	}
	ck_assert_int_eq(a.messages, 1);
	ck_assert_mem_eq(a.last, "slow but complete", 17);
	ck_assert_uint_eq(a.link->tail.cap, 0);
}
END_TEST

START_TEST(rest_of_the_handshake_is_delivered_from_the_loop)
{
	struct net_link_conf settings = conf(WS_SERVER);
	uint8_t frame[64];
	size_t len = make_frame(frame, WS_TEXT, "early", 5);

	a.link = net_link_new(io, fds[0], NULL, &settings, &ops, &a, NULL, NULL,
			      bc_span((char *)frame, len));
	ck_assert_int_eq(a.messages, 0);
	run_until(a_has_message);
	ck_assert_mem_eq(a.last, "early", 5);
}
END_TEST

static bool b_has_two(void)
{
	return b.messages >= 2;
}

/* With TLS, both ends of the two frames are in one record: no readiness follows for the second. */
START_TEST(frame_behind_a_long_one_is_not_forgotten)
{
	static char bytes[100000];

	open_both();
	(void)net_link_send(a.link, WS_BINARY, bc_span(bytes, sizeof(bytes)));
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("behind"));
	run_until(b_has_two);
	ck_assert_mem_eq(b.last, "behind", 6);
}
END_TEST

/* What a sends until it reports pressure. */
static int send_until_pressure(void)
{
	static char chunk[1000];
	int sent = 0;

	do {
		sent++;
	} while (!net_link_send(a.link, WS_BINARY, bc_span(chunk, sizeof(chunk))));
	return sent;
}

static int messages_sent;

static bool b_has_all(void)
{
	return b.messages == messages_sent && a.drained > 0;
}

START_TEST(pressure_is_reported_and_drained_follows)
{
	open_both();
	net_link_pause(b.link);
	messages_sent = send_until_pressure();
	ck_assert_uint_gt(net_link_backlog(a.link), a.link->conf.backlog_high);
	ck_assert_uint_le(net_link_backlog(a.link), a.link->conf.backlog_high + NET_TX_SIZE + 2000);
	run_turns(10);
	ck_assert_int_eq(a.drained, 0);
	net_link_resume(b.link);
	run_until(b_has_all);
	ck_assert_int_eq(a.drained, 1);
	ck_assert_uint_eq(net_link_backlog(a.link), 0);
	ck_assert_uint_eq(a.link->backlog.cap, 0);
}
END_TEST

START_TEST(backlog_has_a_hard_limit)
{
	struct net_link_conf settings = conf(WS_SERVER);
	static char chunk[100000];
	int64_t before = bc_metric_get(BC_M_LIMIT_CLOSES);
	int i;

	settings.message_max = 200000;
	open_a(&settings);
	for (i = 0; i < 100; i++) {
		(void)net_link_send(a.link, WS_BINARY, bc_span(chunk, sizeof(chunk)));
	}
	ck_assert_uint_le(net_link_backlog(a.link), settings.backlog_high + settings.message_max +
							    NET_BACKLOG_SLACK + WS_CONTROL_MAX);
	ck_assert_int_eq(a.closed, 0);
	run_until(a_is_closed);
	ck_assert_int_eq(a.why.err, BC_E_LIMIT);
	ck_assert_int_eq(bc_metric_get(BC_M_LIMIT_CLOSES), before + 1);
}
END_TEST

START_TEST(paused_link_delivers_nothing_it_has_read)
{
	struct net_link_conf settings = conf(WS_SERVER);
	uint8_t frames[256];
	size_t len = 0;
	int i;

	open_a(&settings);
	a.pause_after = true;
	for (i = 0; i < 3; i++) {
		len += make_frame(frames + len, WS_TEXT, "one of three", 12);
	}
	peer_send(frames, len);
	run_turns(10);
	ck_assert_int_eq(a.messages, 1);
	net_link_resume(a.link);
	ck_assert_int_eq(a.messages, 1);
	run_turns(10);
	ck_assert_int_eq(a.messages, 2);
	a.pause_after = false;
	peer_frame(WS_TEXT, "fourth", 6);
	run_turns(10);
	ck_assert_int_eq(a.messages, 2);
	net_link_resume(a.link);
	run_turns(10);
	ck_assert_int_eq(a.messages, 4);
	ck_assert_mem_eq(a.last, "fourth", 6);
}
END_TEST

START_TEST(pausing_after_each_message_loses_none)
{
	int i;

	open_both();
	a.pause_after = true;
	for (i = 0; i < 50; i++) {
		(void)net_link_send(b.link, WS_TEXT, BC_SPAN_LIT("one of fifty"));
	}
	for (i = 1; i <= 50; i++) {
		run_turns(4);
		ck_assert_int_eq(a.messages, i);
		net_link_resume(a.link);
	}
}
END_TEST

START_TEST(ping_is_answered_with_its_payload)
{
	struct net_link_conf settings = conf(WS_SERVER);

	open_a(&settings);
	inbox_len = 0;
	inbox_wanted = 6;
	peer_frame(WS_PING, "echo", 4);
	run_until(inbox_is_full);
	ck_assert_mem_eq(inbox,
			 "\x8a\x04"
			 "echo",
			 6);
	ck_assert_uint_eq(inbox_len, 6);
}
END_TEST

START_TEST(ping_flood_costs_a_bounded_backlog)
{
	struct net_link_conf settings = conf(WS_SERVER);
	uint8_t ping[140];
	uint8_t payload[WS_CONTROL_MAX] = {0};
	int i;

	open_a(&settings);
	/* We never read, so no pong leaves once the kernel's buffer is full. */
	for (i = 0; i < 40000; i++) {
		memcpy(payload, &i, sizeof(i));
		peer_send(ping, make_frame(ping, WS_PING, payload, sizeof(payload)));
	}
	run_turns(20);
	ck_assert_uint_gt(net_link_backlog(a.link), 0);
	ck_assert_uint_lt(net_link_backlog(a.link), (size_t)2 * NET_TX_SIZE);
	/* The latest ping is the one that is answered in the end. */
	inbox_len = 0;
	do {
		(void)peer_take();
		run_turns(2);
	} while (net_link_backlog(a.link) > 0);
	(void)peer_take();
	i--;
	ck_assert_mem_eq(inbox + inbox_len - WS_CONTROL_MAX, &i, sizeof(i));
}
END_TEST

START_TEST(silence_is_answered_by_a_ping_then_a_close)
{
	struct net_link_conf settings = conf(WS_SERVER);
	bc_usec started = loop_clock();

	settings.ping_interval = 30 * BC_USEC_PER_MS;
	settings.ping_timeout = 40 * BC_USEC_PER_MS;
	open_a(&settings);
	run_until(a_is_closed);
	ck_assert_int_eq(a.why.err, BC_E_TIMEOUT);
	ck_assert_int_eq(a.why.code, WS_CLOSE_ABNORMAL);
	ck_assert_int_ge(loop_clock() - started, settings.ping_interval + settings.ping_timeout);
	inbox_len = 0;
	(void)peer_take();
	ck_assert_mem_eq(inbox,
			 "\x89\x00\x88\x13\x03\xf3"
			 "ping not answered",
			 23);
	ck_assert_uint_eq(inbox_len, 23);
}
END_TEST

static int pings_seen;

static bool three_pings_were_answered(void)
{
	inbox_len = 0;
	(void)peer_take();
	if (inbox_len == 2) {
		ck_assert_mem_eq(inbox, "\x89\x00", 2);
		pings_seen++;
		peer_frame(WS_PONG, "", 0);
	}
	return pings_seen == 3;
}

START_TEST(answered_pings_keep_the_link)
{
	struct net_link_conf settings = conf(WS_SERVER);
	bc_usec started = loop_clock();

	settings.ping_interval = 10 * BC_USEC_PER_MS;
	settings.ping_timeout = 20 * BC_USEC_PER_SEC;
	open_a(&settings);
	pings_seen = 0;
	run_until(three_pings_were_answered);
	/* The next one is due after the interval, however long an answer might have taken. */
	ck_assert_int_lt(loop_clock() - started, settings.ping_timeout);
	ck_assert_int_eq(a.closed, 0);
}
END_TEST

START_TEST(paused_link_does_not_blame_the_peer)
{
	struct net_link_conf settings = conf(WS_SERVER);
	bc_usec until = loop_clock() + 100 * BC_USEC_PER_MS;

	settings.ping_interval = 10 * BC_USEC_PER_MS;
	settings.ping_timeout = 10 * BC_USEC_PER_MS;
	open_a(&settings);
	net_link_pause(a.link);
	while (loop_clock() < until) {
		run_turns(1);
	}
	ck_assert_int_eq(a.closed, 0);
}
END_TEST

START_TEST(close_handshake_begun_by_us)
{
	open_both();
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("last words"));
	net_link_close(a.link, 4003, BC_SPAN_LIT("refused"));
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("dropped"));
	run_until(both_are_closed);
	ck_assert_int_eq(b.messages, 1);
	ck_assert_int_eq(b.why.err, BC_OK);
	ck_assert_int_eq(b.why.code, 4003);
	ck_assert_str_eq(b.reason, "refused");
	ck_assert_int_eq(a.why.err, BC_OK);
	ck_assert_int_eq(a.why.code, 4003);
	ck_assert_int_eq(a.closed, 1);
	ck_assert_int_eq(b.closed, 1);
}
END_TEST

START_TEST(close_inside_message)
{
	open_both();
	b.close_after = true;
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("one"));
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("two"));
	run_until(both_are_closed);
	ck_assert_int_eq(b.messages, 1);
	ck_assert_int_eq(a.why.code, 4001);
	ck_assert_str_eq(a.reason, "enough");
}
END_TEST

START_TEST(close_reaches_a_paused_link_that_closes)
{
	open_both();
	net_link_pause(a.link);
	(void)net_link_send(b.link, WS_TEXT, BC_SPAN_LIT("unread"));
	run_turns(5);
	net_link_close(a.link, WS_CLOSE_GOING_AWAY, bc_span(NULL, 0));
	run_until(both_are_closed);
	ck_assert_int_eq(a.messages, 0);
	ck_assert_int_eq(a.why.err, BC_OK);
}
END_TEST

START_TEST(close_frame_is_answered_with_its_code)
{
	struct net_link_conf settings = conf(WS_SERVER);

	open_a(&settings);
	inbox_len = 0;
	inbox_wanted = 4;
	peer_frame(WS_CLOSE, "\x03\xe9", 2);
	run_until(inbox_is_full);
	ck_assert_mem_eq(inbox, "\x88\x02\x03\xe9", 4);
	ck_assert_int_eq(a.closed, 1);
	ck_assert_int_eq(a.why.code, 1001);
	/* When the owner lets go, the stream ends. */
	a.link = net_link_free(a.link);
	run_until(peer_sees_end);
}
END_TEST

START_TEST(close_without_a_code_is_answered_without)
{
	struct net_link_conf settings = conf(WS_SERVER);

	open_a(&settings);
	inbox_len = 0;
	inbox_wanted = 2;
	peer_frame(WS_CLOSE, "", 0);
	run_until(inbox_is_full);
	ck_assert_mem_eq(inbox, "\x88\x00", 2);
	ck_assert_int_eq(a.why.code, WS_CLOSE_NO_STATUS);
}
END_TEST

START_TEST(close_that_is_not_answered_times_out)
{
	struct net_link_conf settings = conf(WS_SERVER);

	settings.close_timeout = 20 * BC_USEC_PER_MS;
	open_a(&settings);
	net_link_close(a.link, WS_CLOSE_NORMAL, bc_span(NULL, 0));
	run_until(a_is_closed);
	ck_assert_int_eq(a.why.err, BC_E_TIMEOUT);
}
END_TEST

START_TEST(vanished_peer_is_reported)
{
	struct net_link_conf settings = conf(WS_SERVER);

	open_a(&settings);
	peer_frame(WS_TEXT, "bye", 3);
	ck_assert_int_eq(shutdown(fds[1], SHUT_WR), 0);
	run_until(a_is_closed);
	ck_assert_int_eq(a.messages, 1);
	ck_assert_int_eq(a.why.err, BC_E_CLOSED);
	ck_assert_int_eq(a.why.code, WS_CLOSE_ABNORMAL);
	ck_assert_int_eq(a.closed, 1);
}
END_TEST

START_TEST(writing_to_a_vanished_peer_is_reported_from_the_loop)
{
	struct net_link_conf settings = conf(WS_SERVER);

	open_a(&settings);
	net_link_pause(a.link);
	(void)close(fds[1]);
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("anybody?"));
	ck_assert_int_eq(a.closed, 0);
	run_until(a_is_closed);
	ck_assert_int_eq(a.why.err, BC_E_CLOSED);
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("nobody"));
	net_link_close(a.link, WS_CLOSE_NORMAL, bc_span(NULL, 0));
}
END_TEST

START_TEST(unmasked_frame_of_a_client_is_an_error)
{
	struct net_link_conf settings = conf(WS_SERVER);
	int64_t before = bc_metric_get(BC_M_CLIENT_PROTOCOL_ERRORS);

	open_a(&settings);
	inbox_len = 0;
	inbox_wanted = 4;
	peer_send("\x81\x01x", 3);
	run_until(inbox_is_full);
	ck_assert_mem_eq(inbox + 2, "\x03\xea", 2);
	ck_assert_int_eq(a.why.err, BC_E_PROTO);
	ck_assert_int_eq(bc_metric_get(BC_M_CLIENT_PROTOCOL_ERRORS), before + 1);
	a.link = net_link_free(a.link);
	run_until(peer_sees_end);
}
END_TEST

START_TEST(too_long_message_is_refused_on_its_header)
{
	struct net_link_conf settings = conf(WS_SERVER);
	uint8_t head[WS_HEAD_MAX];

	settings.message_max = 1000;
	open_a(&settings);
	peer_send(head, ws_head_put(head, WS_TEXT, 1001, (const uint8_t *)"abcd"));
	run_until(a_is_closed);
	ck_assert_int_eq(a.why.err, BC_E_LIMIT);
}
END_TEST

START_TEST(free_inside_message)
{
	open_both();
	b.free_after = true;
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("one"));
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("two"));
	run_until(a_is_closed);
	ck_assert_int_eq(b.messages, 1);
	ck_assert_int_eq(b.closed, 0);
	ck_assert_int_eq(a.why.err, BC_E_CLOSED);
}
END_TEST

START_TEST(free_inside_closed)
{
	open_both();
	a.free_on_close = true;
	b.free_on_close = true;
	net_link_close(a.link, WS_CLOSE_NORMAL, bc_span(NULL, 0));
	run_until(both_are_closed);
	run_turns(5);
	ck_assert_ptr_null(a.link);
	ck_assert_ptr_null(b.link);
	ck_assert(LIST_EMPTY(&io->links));
}
END_TEST

static bool links_are_gone(void)
{
	return LIST_EMPTY(&io->links);
}

START_TEST(unsent_output_of_a_freed_link_still_arrives)
{
	open_both();
	net_link_pause(b.link);
	messages_sent = send_until_pressure();
	net_link_close(a.link, WS_CLOSE_NORMAL, BC_SPAN_LIT("done"));
	a.link = net_link_free(a.link);
	b.free_on_close = true;
	net_link_resume(b.link);
	run_until(links_are_gone);
	ck_assert_int_eq(b.messages, messages_sent);
	ck_assert_int_eq(b.closed, 1);
	ck_assert_int_eq(b.why.err, BC_OK);
	ck_assert_str_eq(b.reason, "done");
}
END_TEST

START_TEST(freed_link_is_cut_when_the_peer_takes_nothing)
{
	struct net_link_conf settings = conf(WS_SERVER);

	settings.close_timeout = 20 * BC_USEC_PER_MS;
	open_a(&settings);
	(void)send_until_pressure();
	a.link = net_link_free(a.link);
	ck_assert(!links_are_gone());
	run_until(links_are_gone);
	inbox_len = 0;
	ck_assert(!peer_take());
}
END_TEST

static void on_give_back(void *arg)
{
	struct end *end = arg;

	end->given_back++;
}

static bool a_is_given_back(void)
{
	return a.given_back > 0;
}

START_TEST(borrowed_socket_is_given_back_once)
{
	struct net_link_conf settings = conf(WS_SERVER);

	a.link = net_link_new(io, fds[0], NULL, &settings, &ops, &a, on_give_back, &a,
			      bc_span(NULL, 0));
	peer_frame(WS_CLOSE, "\x03\xe8", 2);
	run_until(a_is_closed);
	ck_assert_int_eq(a.given_back, 0);
	a.link = net_link_free(a.link);
	ck_assert_int_eq(a.given_back, 0);
	(void)close(fds[1]);
	run_until(a_is_given_back);
	run_turns(5);
	ck_assert_int_eq(a.given_back, 1);
	/* Still ours to close. */
	ck_assert_int_eq(close(fds[0]), 0);
}
END_TEST

START_TEST(cut_link_reports_and_gives_nothing_back)
{
	struct net_link_conf settings = conf(WS_SERVER);

	a.link = net_link_new(io, fds[0], NULL, &settings, &ops, &a, on_give_back, &a,
			      bc_span(NULL, 0));
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("too late"));
	net_link_cut(a.link);
	(void)close(fds[0]);
	run_until(a_is_closed);
	ck_assert_int_eq(a.why.err, BC_E_CLOSED);
	a.link = net_link_free(a.link);
	run_until(links_are_gone);
	ck_assert_int_eq(a.given_back, 0);
}
END_TEST

START_TEST(last_message_is_remembered)
{
	bc_usec opened;

	open_both();
	opened = net_link_last_message(b.link);
	run_turns(5);
	ck_assert_int_eq(net_link_last_message(b.link), opened);
	(void)net_link_send(a.link, WS_TEXT, BC_SPAN_LIT("x"));
	run_until(b_has_message);
	ck_assert_int_gt(net_link_last_message(b.link), opened);
	ck_assert_int_ge(net_link_last_message(a.link), opened);
}
END_TEST

/* What holds with and without TLS. */
static void add_common(TCase *tcase)
{
	tcase_add_test(tcase, messages_go_both_ways);
	tcase_add_test(tcase, many_messages_keep_their_order);
	tcase_add_test(tcase, longest_message_passes);
	tcase_add_test(tcase, each_size_around_the_buffers_passes);
	tcase_add_test(tcase, frame_behind_a_long_one_is_not_forgotten);
	tcase_add_test(tcase, pressure_is_reported_and_drained_follows);
	tcase_add_test(tcase, pausing_after_each_message_loses_none);
	tcase_add_test(tcase, close_handshake_begun_by_us);
	tcase_add_test(tcase, close_inside_message);
	tcase_add_test(tcase, close_reaches_a_paused_link_that_closes);
	tcase_add_test(tcase, free_inside_message);
	tcase_add_test(tcase, free_inside_closed);
	tcase_add_test(tcase, unsent_output_of_a_freed_link_still_arrives);
	tcase_add_test(tcase, last_message_is_remembered);
}

static void add_raw(TCase *tcase)
{
	tcase_add_test(tcase, one_byte_at_a_time);
	tcase_add_test(tcase, rest_of_the_handshake_is_delivered_from_the_loop);
	tcase_add_test(tcase, backlog_has_a_hard_limit);
	tcase_add_test(tcase, paused_link_delivers_nothing_it_has_read);
	tcase_add_test(tcase, ping_is_answered_with_its_payload);
	tcase_add_test(tcase, ping_flood_costs_a_bounded_backlog);
	tcase_add_test(tcase, silence_is_answered_by_a_ping_then_a_close);
	tcase_add_test(tcase, answered_pings_keep_the_link);
	tcase_add_test(tcase, paused_link_does_not_blame_the_peer);
	tcase_add_test(tcase, close_frame_is_answered_with_its_code);
	tcase_add_test(tcase, close_without_a_code_is_answered_without);
	tcase_add_test(tcase, close_that_is_not_answered_times_out);
	tcase_add_test(tcase, vanished_peer_is_reported);
	tcase_add_test(tcase, writing_to_a_vanished_peer_is_reported_from_the_loop);
	tcase_add_test(tcase, unmasked_frame_of_a_client_is_an_error);
	tcase_add_test(tcase, too_long_message_is_refused_on_its_header);
	tcase_add_test(tcase, freed_link_is_cut_when_the_peer_takes_nothing);
	tcase_add_test(tcase, borrowed_socket_is_given_back_once);
	tcase_add_test(tcase, cut_link_reports_and_gives_nothing_back);
}

int main(void)
{
	Suite *suite = suite_create("link");
	TCase *plain = tcase_create("plain");
	TCase *tls = tcase_create("tls");

	tcase_set_timeout(plain, 60);
	tcase_set_timeout(tls, 60);
	tcase_add_checked_fixture(plain, setup_plain, teardown);
	tcase_add_checked_fixture(tls, setup_tls, teardown);
	add_common(plain);
	add_common(tls);
	add_raw(plain);
	suite_add_tcase(suite, plain);
	suite_add_tcase(suite, tls);
	return tap_run(suite);
}
