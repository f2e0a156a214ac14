#include "proto/ws.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define MESSAGE_MAX 1000 /* bytes, of the decoders here */

struct frame {
	uint8_t first; /* 0 and a NULL payload: end of the list */
	const char *payload;
	size_t len;
};

#define F(first, literal)                               \
	{                                               \
		(first), (literal), sizeof(literal) - 1 \
	}

/*
 * What a decoder said, as text: T(..) text, B(..) binary, I(..) ping, O(..) pong, C<code>(..) close, E<code> error,
 * M bytes of an incomplete frame are left over.
 */
struct transcript {
	char text[4096];
	size_t len;
};

static void say(struct transcript *said, const char *what, struct bc_span payload)
{
	int n = snprintf(said->text + said->len, sizeof(said->text) - said->len, "%s(%.*s)", what,
			 BC_SPAN_ARG(payload));

	ck_assert_int_gt(n, 0);
	said->len += (size_t)n;
	ck_assert_uint_lt(said->len, sizeof(said->text));
}

static void say_event(struct transcript *said, const struct ws_event *event)
{
	char what[16] = "";

	switch (event->opcode) {
	case WS_TEXT:
		what[0] = 'T';
		break;
	case WS_BINARY:
		what[0] = 'B';
		break;
	case WS_PING:
		what[0] = 'I';
		break;
	case WS_PONG:
		what[0] = 'O';
		break;
	case WS_CLOSE:
		(void)snprintf(what, sizeof(what), "C%u", (unsigned)event->close_code);
		break;
	case WS_CONTINUATION:
	default:
		ck_abort_msg("an event with opcode %u", (unsigned)event->opcode);
	}
	say(said, what, event->payload);
}

static void say_code(struct transcript *said, const char *what, unsigned code)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%s%u", what, code);
	memcpy(said->text + said->len, text, strlen(text) + 1);
	said->len += strlen(text);
}

/* A connection whose bytes come in pieces; memory of exactly the pending size shows every overrun. */
struct peer {
	struct ws_decoder decoder;
	uint8_t *pending;
	size_t pending_len;
	bool failed;
	struct transcript said;
};

static void peer_init(struct peer *peer, enum ws_role role)
{
	*peer = (struct peer){0};
	ws_decoder_init(&peer->decoder, role, MESSAGE_MAX);
}

static void peer_drop(struct peer *peer, size_t len)
{
	size_t rest = peer->pending_len - len;
	uint8_t *pending = malloc(rest + 1);

	ck_assert_ptr_nonnull(pending);
	memcpy(pending, peer->pending + len, rest);
	free(peer->pending);
	peer->pending = pending;
	peer->pending_len = rest;
}

static void peer_decode(struct peer *peer)
{
	struct ws_event event;
	size_t used;
	size_t need;

	while (!peer->failed) {
		enum ws_step step = ws_decode(&peer->decoder, peer->pending, peer->pending_len,
					      &used, &need, &event);

		if (step == WS_STEP_MORE) {
			ck_assert_msg(need == 0 || need > peer->pending_len,
				      "more than needed is there");
			return;
		}
		if (step == WS_STEP_ERROR) {
			ck_assert_ptr_nonnull(peer->decoder.error);
			say_code(&peer->said, "E", peer->decoder.error_code);
			peer->failed = true;
			return;
		}
		if (step == WS_STEP_EVENT) {
			say_event(&peer->said, &event);
		}
		ck_assert_uint_gt(used, 0);
		ck_assert_uint_le(used, peer->pending_len);
		peer_drop(peer, used);
	}
}

static void peer_feed(struct peer *peer, const uint8_t *bytes, size_t len)
{
	uint8_t *pending = malloc(peer->pending_len + len + (peer->pending_len + len == 0));

	ck_assert_ptr_nonnull(pending);
	if (peer->pending_len > 0) {
		memcpy(pending, peer->pending, peer->pending_len);
	}
	if (len > 0) {
		memcpy(pending + peer->pending_len, bytes, len);
	}
	free(peer->pending);
	peer->pending = pending;
	peer->pending_len += len;
	peer_decode(peer);
}

/* End of the input: note what is left, and that nothing is held without need. */
static void peer_end(struct peer *peer)
{
	if (!peer->failed && peer->pending_len > 0) {
		say_code(&peer->said, "M", (unsigned)peer->pending_len);
	}
	if (!peer->failed && peer->decoder.opcode == 0) {
		ck_assert_msg(peer->decoder.parts.mem == NULL, "memory held without a message");
	}
	ws_decoder_fini(&peer->decoder);
	ws_decoder_fini(&peer->decoder);
	free(peer->pending);
}

/* The verdict must be the same for the input at once, in any two pieces, and byte by byte. */
static void expect(const char *name, enum ws_role role, const uint8_t *bytes, size_t len,
		   const char *said)
{
	struct peer peer;

	for (size_t split = 0; split <= len; split++) {
		peer_init(&peer, role);
		peer_feed(&peer, bytes, split);
		peer_feed(&peer, bytes + split, len - split);
		peer_end(&peer);
		ck_assert_msg(bc_span_is(bc_span_str(peer.said.text), said),
			      "%s, role %d, cut at %zu: got %s, want %s", name, (int)role, split,
			      peer.said.text, said);
	}
	peer_init(&peer, role);
	for (size_t i = 0; i < len; i++) {
		peer_feed(&peer, bytes + i, 1);
	}
	peer_end(&peer);
	ck_assert_msg(bc_span_is(bc_span_str(peer.said.text), said),
		      "%s, role %d, byte by byte: got %s, want %s", name, (int)role, peer.said.text,
		      said);
}

/* A frame as the peer of role sends it; the lengths here stay below 64 KiB. */
static size_t put_frame(uint8_t *out, enum ws_role role, const struct frame *frame)
{
	static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
	uint8_t mask_bit = role == WS_SERVER ? 0x80 : 0;
	size_t len = 2;

	out[0] = frame->first;
	if (frame->len < 126) {
		out[1] = (uint8_t)(mask_bit | frame->len);
	} else {
		out[1] = mask_bit | 126;
		out[2] = (uint8_t)(frame->len >> 8);
		out[3] = (uint8_t)frame->len;
		len = 4;
	}
	if (role == WS_SERVER) {
		memcpy(out + len, key, 4);
		len += 4;
	}
	for (size_t i = 0; i < frame->len; i++) {
		out[len + i] = (uint8_t)frame->payload[i] ^ (role == WS_SERVER ? key[i % 4] : 0);
	}
	return len + frame->len;
}

#define X10  "xxxxxxxxxx"
#define X50  X10 X10 X10 X10 X10
#define X125 X50 X50 X10 X10 "xxxxx"
#define X126 X125 "x"
#define X500 X125 X125 X125 X125

static const struct {
	const char *name;
	struct frame frames[8];
	const char *said;
} conversations[] = {
	{"text", {F(0x81, "Hello")}, "T(Hello)"},
	{"empty text", {F(0x81, "")}, "T()"},
	{"empty binary", {F(0x82, "")}, "B()"},
	{"two messages", {F(0x81, "a"), F(0x82, "b")}, "T(a)B(b)"},
	{"ping and pong", {F(0x89, "p"), F(0x8a, ""), F(0x89, "")}, "I(p)O()I()"},
	{"longest control frame", {F(0x89, X125)}, "I(" X125 ")"},
	{"control frame too long", {F(0x89, X126)}, "E1002"},
	{"16 bit length", {F(0x81, X126)}, "T(" X126 ")"},
	{"longest message", {F(0x81, X500 X500)}, "T(" X500 X500 ")"},
	{"message too long", {F(0x81, X500 X500 "x")}, "E1009"},
	{"longest in fragments", {F(0x01, X500), F(0x80, X500)}, "T(" X500 X500 ")"},
	{"fragments too long", {F(0x01, X500), F(0x00, X500), F(0x80, "x")}, "E1009"},
	{"fragments", {F(0x01, "Hel"), F(0x00, "l"), F(0x80, "o")}, "T(Hello)"},
	{"empty fragments", {F(0x01, ""), F(0x00, ""), F(0x80, "")}, "T()"},
	{"empty last fragment", {F(0x02, "ab"), F(0x80, "")}, "B(ab)"},
	{"ping between fragments",
	 {F(0x01, "a"), F(0x89, "p"), F(0x00, "b"), F(0x8a, "q"), F(0x80, "c"), F(0x81, "d")},
	 "I(p)O(q)T(abc)T(d)"},
	{"close between fragments", {F(0x01, "a"), F(0x88, "\x03\xe8")}, "C1000()"},
	{"fragmented twice",
	 {F(0x01, "a"), F(0x80, "b"), F(0x02, "c"), F(0x80, "d")},
	 "T(ab)B(cd)"},
	{"continuation without start", {F(0x80, "a")}, "E1002"},
	{"open continuation without start", {F(0x00, "a")}, "E1002"},
	{"continuation after end", {F(0x01, "a"), F(0x80, "b"), F(0x80, "c")}, "T(ab)E1002"},
	{"text inside fragments", {F(0x01, "a"), F(0x81, "b")}, "E1002"},
	{"binary inside fragments", {F(0x01, "a"), F(0x02, "b")}, "E1002"},
	{"fragmented ping", {F(0x09, "a")}, "E1002"},
	{"fragmented pong", {F(0x0a, "a")}, "E1002"},
	{"fragmented close", {F(0x08, "")}, "E1002"},
	{"RSV1", {F(0xc1, "a")}, "E1002"},
	{"RSV2", {F(0xa1, "a")}, "E1002"},
	{"RSV3", {F(0x91, "a")}, "E1002"},
	{"RSV1 in continuation", {F(0x01, "a"), F(0xc0, "a")}, "E1002"},
	{"RSV1 in ping", {F(0xc9, "")}, "E1002"},
	{"opcode 3", {F(0x83, "")}, "E1002"},
	{"opcode 7", {F(0x87, "")}, "E1002"},
	{"opcode 11", {F(0x8b, "")}, "E1002"},
	{"opcode 15", {F(0x8f, "")}, "E1002"},
	{"close without code", {F(0x88, "")}, "C1005()"},
	{"close with half a code", {F(0x88, "\x03")}, "E1002"},
	{"close with reason",
	 {F(0x88, "\x03\xe9"
		  "bye")},
	 "C1001(bye)"},
	{"close with long reason",
	 {F(0x88, "\x0f\xa0" X50 X50 X10 X10 "xxx")},
	 "C4000(" X50 X50 X10 X10 "xxx)"},
	{"close 999", {F(0x88, "\x03\xe7")}, "E1002"},
	{"close 1004", {F(0x88, "\x03\xec")}, "E1002"},
	{"close 1005", {F(0x88, "\x03\xed")}, "E1002"},
	{"close 1006", {F(0x88, "\x03\xee")}, "E1002"},
	{"close 1015", {F(0x88, "\x03\xf7")}, "E1002"},
	{"close 0", {F(0x88, "\0\0")}, "E1002"},
	{"close 5000", {F(0x88, "\x13\x88")}, "E1002"},
	{"close with bad reason",
	 {F(0x88, "\x03\xe8"
		  "\xff")},
	 "E1007"},
	{"close with cut reason",
	 {F(0x88, "\x03\xe8"
		  "\xc3")},
	 "E1007"},
	{"data after close", {F(0x88, ""), F(0x81, "a")}, "C1005()E1002"},
	{"close after close", {F(0x88, ""), F(0x88, "")}, "C1005()E1002"},
	{"continuation after close", {F(0x01, "a"), F(0x88, ""), F(0x80, "a")}, "C1005()E1002"},
	{"ping after close", {F(0x88, ""), F(0x89, "a")}, "C1005()I(a)"},
	{"UTF-8",
	 {F(0x81, "\xce\xba\xe1\xbd\xb9\xf0\x9f\x98\x80")},
	 "T(\xce\xba\xe1\xbd\xb9\xf0\x9f\x98\x80)"},
	{"bad UTF-8", {F(0x81, "a\xff")}, "E1007"},
	{"cut UTF-8", {F(0x81, "a\xf0\x9f\x98")}, "E1007"},
	{"binary need not be UTF-8", {F(0x82, "\xff\xc3")}, "B(\xff\xc3)"},
	{"character across fragments",
	 {F(0x01, "\xf0"), F(0x00, "\x9f"), F(0x00, ""), F(0x00, "\x98"), F(0x80, "\x80")},
	 "T(\xf0\x9f\x98\x80)"},
	{"character across fragments and ping",
	 {F(0x01, "\xf0\x9f"), F(0x89, "\xff"), F(0x80, "\x98\x80")},
	 "I(\xff)T(\xf0\x9f\x98\x80)"},
	{"bad UTF-8 in first fragment", {F(0x01, "\xff"), F(0x89, "")}, "E1007"},
	{"bad UTF-8 across fragments", {F(0x01, "\xf0\x9f"), F(0x00, "a")}, "E1007"},
	{"cut UTF-8 at the end of fragments", {F(0x01, "a"), F(0x80, "\xf0\x9f\x98")}, "E1007"},
	{"UTF-8 state is not carried over",
	 {F(0x02, "\xf0"), F(0x80, ""), F(0x01, "a"), F(0x80, "b")},
	 "B(\xf0)T(ab)"},
};

START_TEST(conversation)
{
	uint8_t bytes[4096];

	for (int role = WS_SERVER; role <= WS_CLIENT; role++) {
		const struct frame *frame = conversations[_i].frames;
		size_t len = 0;

		for (; frame->payload != NULL; frame++) {
			len += put_frame(bytes + len, (enum ws_role)role, frame);
		}
		expect(conversations[_i].name, (enum ws_role)role, bytes, len,
		       conversations[_i].said);
	}
}
END_TEST

#define R(literal) (literal), sizeof(literal) - 1

static const struct {
	const char *name;
	enum ws_role role;
	const char *bytes;
	size_t len;
	const char *said;
} raws[] = {
	{"nothing", WS_SERVER, R(""), ""},
	{"example of RFC 6455 5.7", WS_SERVER, R("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
	 "T(Hello)"},
	{"unmasked from a client", WS_SERVER,
	 R("\x81\x01"
	   "a"),
	 "E1002"},
	{"unmasked ping from a client", WS_SERVER, R("\x89\x00"), "E1002"},
	{"masked from a server", WS_CLIENT,
	 R("\x81\x81"
	   "1234"
	   "a"),
	 "E1002"},
	{"16 bits for 125", WS_CLIENT, R("\x81\x7e\x00\x7d"), "E1002"},
	{"16 bits for 0, masked", WS_SERVER, R("\x81\xfe\x00\x00"), "E1002"},
	{"64 bits for 65535", WS_CLIENT, R("\x81\x7f\0\0\0\0\0\0\xff\xff"), "E1002"},
	{"64 bits for 65536", WS_CLIENT, R("\x81\x7f\0\0\0\0\0\1\0\0"), "E1009"},
	{"64 bits, highest bit", WS_CLIENT, R("\x81\x7f\x80\0\0\0\0\0\0\0"), "E1002"},
	{"64 bits, all but the highest", WS_CLIENT, R("\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
	 "E1009"},
	{"ping with a 16 bit length", WS_CLIENT, R("\x89\x7e"), "E1002"},
	{"limit is checked before the mask comes", WS_SERVER, R("\x81\xfe\x03\xe9"), "E1009"},
	{"limit counts fragments on the header", WS_CLIENT,
	 R("\x01\x01"
	   "a"
	   "\x00\x7e\x03\xe8"),
	 "E1009"},
	{"ping fits beside a full message", WS_CLIENT,
	 R("\x01\x01"
	   "a"
	   "\x89\x01"
	   "b"),
	 "I(b)"},
	{"half a header", WS_CLIENT, R("\x81"), "M1"},
	{"header without payload", WS_CLIENT,
	 R("\x81\x02"
	   "a"),
	 "M3"},
	{"header without mask", WS_SERVER,
	 R("\x81\x81"
	   "123"),
	 "M5"},
	{"reserved bit alone", WS_CLIENT, R("\xc1"), "E1002"},
};

START_TEST(raw)
{
	expect(raws[_i].name, raws[_i].role, (const uint8_t *)raws[_i].bytes, raws[_i].len,
	       raws[_i].said);
}
END_TEST

/* need tells the length of the whole frame as soon as its header is there. */
START_TEST(need)
{
	struct ws_decoder decoder;
	struct ws_event event;
	uint8_t bytes[] = {0x81, 126, 0x01, 0x00, 'a', 'b'};
	size_t used = 77;
	size_t wanted = 77;

	ws_decoder_init(&decoder, WS_CLIENT, 256);
	ck_assert_int_eq(ws_decode(&decoder, bytes, 3, &used, &wanted, &event), WS_STEP_MORE);
	ck_assert_uint_eq(wanted, 0);
	ck_assert_int_eq(ws_decode(&decoder, bytes, 6, &used, &wanted, &event), WS_STEP_MORE);
	ck_assert_uint_eq(wanted, 260);
	ck_assert_uint_eq(used, 77);
	ws_decoder_fini(&decoder);
}
END_TEST

/* A message in one frame is handed out where it stands. */
START_TEST(in_place)
{
	struct ws_decoder decoder;
	struct ws_event event;
	uint8_t bytes[] = {0x82, 0x83, 1, 2, 3, 4, 'a' ^ 1, 'b' ^ 2, 'c' ^ 3};
	size_t used;
	size_t wanted;

	ws_decoder_init(&decoder, WS_SERVER, 256);
	ck_assert_int_eq(ws_decode(&decoder, bytes, sizeof(bytes), &used, &wanted, &event),
			 WS_STEP_EVENT);
	ck_assert_ptr_eq(event.payload.ptr, bytes + 6);
	ck_assert(bc_span_is(event.payload, "abc"));
	ck_assert_uint_eq(used, sizeof(bytes));
	ck_assert_ptr_null(decoder.parts.mem);
	ws_decoder_fini(&decoder);
}
END_TEST

static void naive_mask(uint8_t *dst, const uint8_t *src, size_t len, const uint8_t key[4])
{
	for (size_t i = 0; i < len; i++) {
		dst[i] = src[i] ^ key[i % 4];
	}
}

static void check_mask(size_t len, size_t src_at, size_t dst_at)
{
	static const uint8_t key[4] = {0x12, 0x9a, 0xf0, 0x55};
	uint8_t src[2100];
	uint8_t dst[2100];
	uint8_t want[2100];

	for (size_t i = 0; i < sizeof(src); i++) {
		src[i] = (uint8_t)(i * 7 + len);
	}
	memset(dst, 0xee, sizeof(dst));
	memset(want, 0xee, sizeof(want));
	naive_mask(want + dst_at, src + src_at, len, key);
	ws_mask(dst + dst_at, src + src_at, len, key);
	ck_assert_msg(memcmp(dst, want, sizeof(dst)) == 0, "len %zu from %zu to %zu", len, src_at,
		      dst_at);
	memcpy(want, src, sizeof(src));
	naive_mask(want + src_at, src + src_at, len, key);
	ws_mask(src + src_at, src + src_at, len, key);
	ck_assert_msg(memcmp(src, want, sizeof(src)) == 0, "len %zu at %zu", len, src_at);
}

START_TEST(mask)
{
	for (size_t len = 0; len <= 200; len++) {
		for (size_t at = 0; at < 33; at++) {
			check_mask(len, at, (at * 5) % 33);
		}
	}
	for (size_t len = 250; len <= 2000; len += 1 + len % 61) {
		for (size_t at = 0; at < 33; at++) {
			check_mask(len, at, (at * 7) % 33);
		}
	}
}
END_TEST

/* Headers we write are read back by the other end, at every border of the length's form. */
START_TEST(head)
{
	static const struct {
		size_t len;
		size_t head;
	} sizes[] = {{0, 2}, {1, 2}, {125, 2}, {126, 4}, {65535, 4}, {65536, 10}, {70000, 10}};
	static const uint8_t key[4] = {9, 8, 7, 6};
	uint8_t *bytes = malloc(WS_HEAD_MAX + 70000);

	ck_assert_ptr_nonnull(bytes);
	for (int role = WS_SERVER; role <= WS_CLIENT; role++) {
		bool masked = role == WS_CLIENT;
		struct ws_decoder decoder;
		struct ws_event event;
		size_t head_len;
		size_t used;
		size_t wanted;

		memset(bytes, 'x', WS_HEAD_MAX + 70000);
		head_len = ws_head_put(bytes, WS_BINARY, sizes[_i].len, masked ? key : NULL);
		ck_assert_uint_eq(head_len, sizes[_i].head + (masked ? 4 : 0));
		ws_decoder_init(&decoder, masked ? WS_SERVER : WS_CLIENT, 70000);
		ck_assert_int_eq(ws_decode(&decoder, bytes, head_len + sizes[_i].len, &used,
					   &wanted, &event),
				 WS_STEP_EVENT);
		ck_assert_uint_eq(used, head_len + sizes[_i].len);
		ck_assert_uint_eq(event.payload.len, sizes[_i].len);
		ck_assert_int_eq(event.opcode, WS_BINARY);
		ws_decoder_fini(&decoder);
	}
	free(bytes);
}
END_TEST

START_TEST(head_of_huge_frame)
{
	uint8_t out[WS_HEAD_MAX];
	uint8_t want[] = {0x81, 127, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08};

	ck_assert_uint_eq(ws_head_put(out, WS_TEXT, 0x0102030405060708U, NULL), sizeof(want));
	ck_assert_mem_eq(out, want, sizeof(want));
}
END_TEST

#define E10 "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
#define E60 E10 E10 E10 E10 E10 E10 /* 60 characters of two bytes */

static const struct {
	const char *name;
	uint16_t code;
	const char *reason;
	uint16_t sent;
	size_t reason_len;
} closes[] = {
	{"plain", 1000, "bye", 1000, 3},
	{"no reason", 4003, "", 4003, 0},
	{"no status", 1005, "", 1011, 0},
	{"abnormal", 1006, "x", 1011, 1},
	{"TLS", 1015, "x", 1011, 1},
	{"out of range", 999, "x", 1011, 1},
	{"longest", 1001, X50 X50 X10 X10 "123", 1001, 123},
	{"cut", 1001, X50 X50 X10 X10 "1234", 1001, 123},
	{"cut at a character", 1001, E60 "1234", 1001, 123},
	{"cut in front of a character", 1001, E60 "12\xc3\xa9", 1001, 122},
	{"cut in front of a long one", 1001, E60 "\xf0\x9f\x98\x80", 1001, 120},
	{"bad bytes end the reason", 1001,
	 "ab\xff"
	 "cd",
	 1001, 2},
};

START_TEST(close_payload)
{
	uint8_t out[WS_CONTROL_MAX];
	size_t len = ws_close_put(out, closes[_i].code, bc_span_str(closes[_i].reason));

	ck_assert_msg(len == 2 + closes[_i].reason_len, "%s: %zu bytes", closes[_i].name, len);
	ck_assert_msg(((unsigned)out[0] << 8 | out[1]) == closes[_i].sent, "%s: code",
		      closes[_i].name);
	ck_assert_mem_eq(out + 2, closes[_i].reason, closes[_i].reason_len);
}
END_TEST

START_TEST(close_without_reason)
{
	uint8_t out[WS_CONTROL_MAX];

	ck_assert_uint_eq(ws_close_put(out, 1000, bc_span(NULL, 0)), 2);
}
END_TEST

START_TEST(close_codes)
{
	for (unsigned code = 0; code <= UINT16_MAX; code++) {
		bool want = code >= 1000 && code < 5000 && !(code >= 1015 && code < 3000) &&
			    code != 1004 && code != 1005 && code != 1006;

		ck_assert_msg(ws_close_code_is_valid((uint16_t)code) == want, "code %u", code);
	}
}
END_TEST

static const struct {
	const char *name;
	const char *text;
	bool valid;
} texts[] = {
	{"empty", "", true},
	{"ASCII", "plain", true},
	{"least of two", "\xc2\x80", true},
	{"greatest of two", "\xdf\xbf", true},
	{"least of three", "\xe0\xa0\x80", true},
	{"below the surrogates", "\xed\x9f\xbf", true},
	{"above the surrogates", "\xee\x80\x80", true},
	{"U+FFFF", "\xef\xbf\xbf", true},
	{"least of four", "\xf0\x90\x80\x80", true},
	{"U+10FFFF", "\xf4\x8f\xbf\xbf", true},
	{"U+110000", "\xf4\x90\x80\x80", false},
	{"F5", "\xf5\x80\x80\x80", false},
	{"first surrogate", "\xed\xa0\x80", false},
	{"last surrogate", "\xed\xbf\xbf", false},
	{"overlong of two", "\xc0\x80", false},
	{"overlong of two, greatest", "\xc1\xbf", false},
	{"overlong of three", "\xe0\x9f\xbf", false},
	{"overlong of four", "\xf0\x8f\xbf\xbf", false},
	{"continuation alone", "\x80", false},
	{"cut of two", "\xc3", false},
	{"cut of three", "\xe2\x82", false},
	{"second byte missing",
	 "\xe2"
	 "a\x82",
	 false},
	{"third byte missing",
	 "\xe2\x82"
	 "a",
	 false},
	{"FE", "\xfe", false},
	{"FF", "\xff", false},
};

/* At every place of a longer text, so that the fast path is crossed everywhere. */
START_TEST(utf8)
{
	size_t len = strlen(texts[_i].text);

	for (size_t before = 0; before < 150; before++) {
		for (size_t behind = 0; behind < 150; behind += 1 + behind / 8) {
			char *text = malloc(before + len + behind + 1);

			ck_assert_ptr_nonnull(text);
			memset(text, 'a', before + len + behind + 1);
			memcpy(text + before, texts[_i].text, len);
			ck_assert_msg(ws_utf8_is_valid(bc_span(text, before + len + behind)) ==
					      texts[_i].valid,
				      "%s behind %zu bytes", texts[_i].name, before);
			free(text);
		}
	}
}
END_TEST

START_TEST(utf8_of_nothing)
{
	ck_assert(ws_utf8_is_valid(bc_span(NULL, 0)));
}
END_TEST

/* All two-byte and, around the borders, three-byte beginnings against the table of RFC 3629 section 4. */
START_TEST(utf8_pairs)
{
	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b++) {
			char text[4] = {(char)a, (char)b, (char)0x80, (char)0x80};
			bool tail = b >= 0x80 && b <= 0xbf;
			bool two = (a < 0x80 && b < 0x80) || (a >= 0xc2 && a <= 0xdf && tail);
			bool three = a >= 0xe0 && a <= 0xef && tail && !(a == 0xe0 && b < 0xa0) &&
				     !(a == 0xed && b > 0x9f);
			bool four = a >= 0xf0 && a <= 0xf4 && tail && !(a == 0xf0 && b < 0x90) &&
				    !(a == 0xf4 && b > 0x8f);
			/* An ASCII byte and the beginning of a character of two. */
			bool mixed = a < 0x80 && b >= 0xc2 && b <= 0xdf;

			ck_assert_msg(ws_utf8_is_valid(bc_span(text, 2)) == two, "%02x %02x", a, b);
			ck_assert_msg(ws_utf8_is_valid(bc_span(text, 3)) == (three || mixed),
				      "%02x %02x 80", a, b);
			ck_assert_msg(ws_utf8_is_valid(bc_span(text, 4)) ==
					      (four || (a < 0x80 && b >= 0xe1 && b <= 0xef)),
				      "%02x %02x 80 80", a, b);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ws");
	TCase *cases = tcase_create("ws");

	tcase_set_timeout(cases, 60);
	tcase_add_loop_test(cases, conversation, 0, (int)BC_ARRAY_LEN(conversations));
	tcase_add_loop_test(cases, raw, 0, (int)BC_ARRAY_LEN(raws));
	tcase_add_test(cases, need);
	tcase_add_test(cases, in_place);
	tcase_add_test(cases, mask);
	tcase_add_loop_test(cases, head, 0, 7);
	tcase_add_test(cases, head_of_huge_frame);
	tcase_add_loop_test(cases, close_payload, 0, (int)BC_ARRAY_LEN(closes));
	tcase_add_test(cases, close_without_reason);
	tcase_add_test(cases, close_codes);
	tcase_add_loop_test(cases, utf8, 0, (int)BC_ARRAY_LEN(texts));
	tcase_add_test(cases, utf8_of_nothing);
	tcase_add_test(cases, utf8_pairs);
	suite_add_tcase(suite, cases);
	return tap_run(suite);
}
