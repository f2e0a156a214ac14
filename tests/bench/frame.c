/*
 * Reading frames.  Of a message of the bench only the length is looked at, so that the generator costs little; the first
 * one of each end and run is compared byte by byte.
 */
#include "tests/bench/bench.h"

#include <endian.h>
#include <string.h>

#define MASKED  0x80
#define LENGTH  0x7f
#define OPCODE  0x0f
#define FINAL   0x80
#define LEN_16  126
#define LEN_64  127
#define CONTROL 0x8

/* How long the header is; 0: it cannot be told yet. */
static uint8_t head_size(const struct reader *reader)
{
	uint8_t size = 2;

	if (reader->head_len < 2) {
		return 0;
	}
	if ((reader->head[1] & LENGTH) == LEN_16) {
		size += 2;
	} else if ((reader->head[1] & LENGTH) == LEN_64) {
		size += 8;
	}
	return (uint8_t)((reader->head[1] & MASKED) != 0 ? size + 4 : size);
}

static uint64_t payload_size(const struct reader *reader)
{
	uint16_t len16;
	uint64_t len64;

	switch (reader->head[1] & LENGTH) {
	case LEN_16:
		memcpy(&len16, reader->head + 2, sizeof(len16));
		return be16toh(len16);
	case LEN_64:
		memcpy(&len64, reader->head + 2, sizeof(len64));
		return be64toh(len64);
	default:
		return reader->head[1] & LENGTH;
	}
}

static void compare(struct bench *bench, const struct end *end, struct bc_span text)
{
	const struct message *message = &bench->messages[end->is_client ? DOWN : UP];

	if (text.len != message->text_len || memcmp(text.ptr, message->text, text.len) != 0) {
		bench_fail(bench, "a message was changed on its way %s",
			   end->is_client ? "down" : "up");
	}
}

static void arrived(struct bench *bench, struct end *end)
{
	struct end *from = end->twin;
	uint64_t sent;

	if (from == NULL || from->arrived == from->sent) {
		bench_fail(bench, "a message came that was not sent");
		return;
	}
	sent = from->when[from->arrived % BENCH_FLIGHT_MAX];
	from->arrived++;
	bench->arrived(bench->arrived_arg, end, bench_now() - sent);
}

static void frame_done(struct bench *bench, struct end *end)
{
	struct reader *reader = &end->reader;
	unsigned opcode = reader->head[0] & OPCODE;
	bool ours = bench->expected != 0 && reader->len == bench->expected;
	uint8_t head_len = reader->head_len;
	struct bc_buf kept = end->in;
	char *text = kept.mem == NULL ? NULL : kept.mem + kept.head;

	bc_buf_init(&end->in, kept.limit);
	reader->head_len = 0;
	reader->in_payload = false;
	if (text != NULL && (reader->head[1] & MASKED) != 0) {
		ws_mask((uint8_t *)text, (const uint8_t *)text, bc_buf_len(&kept),
			reader->head + head_len - 4);
	}
	if ((reader->head[0] & FINAL) == 0 || opcode == WS_CLOSE) {
		bench_fail(bench, "the proxy sent a %s: %.*s",
			   opcode == WS_CLOSE ? "close frame" : "fragment",
			   BC_SPAN_ARG(bc_buf_span(&kept)));
	} else if (opcode < CONTROL && ours) {
		if (end->check) {
			compare(bench, end, bc_buf_span(&kept));
			end->check = false;
		}
		arrived(bench, end);
	} else if (opcode < CONTROL) {
		bench->control++;
		session_text(bench, end, bc_buf_span(&kept));
	}
	bc_buf_release(&kept);
}

/* The header is whole: what will become of the payload. */
static void frame_begin(struct bench *bench, struct end *end)
{
	struct reader *reader = &end->reader;

	reader->in_payload = true;
	reader->len = payload_size(reader);
	reader->left = reader->len;
	reader->keep = reader->len != bench->expected || end->check;
	if (reader->keep && reader->len > 0) {
		bc_buf_init(&end->in, reader->len);
	}
}

void end_feed(struct bench *bench, struct end *end, const uint8_t *bytes, size_t len)
{
	struct reader *reader = &end->reader;

	while (!bench_failed(bench)) {
		size_t part;

		if (reader->in_payload && reader->left == 0) {
			frame_done(bench, end);
			continue;
		}
		if (len == 0) {
			return;
		}
		if (!reader->in_payload) {
			reader->head[reader->head_len++] = *bytes++;
			len--;
			if (reader->head_len == head_size(reader)) {
				frame_begin(bench, end);
			}
			continue;
		}
		part = len < reader->left ? len : (size_t)reader->left;
		if (reader->keep && bc_buf_put(&end->in, bytes, part) != BC_OK) {
			bench_fail(bench, "out of memory");
		}
		bytes += part;
		len -= part;
		reader->left -= part;
	}
}
