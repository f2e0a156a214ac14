/*
 * The WebSocket decoder on arbitrary bytes.
 *
 *   byte 0   bit 0: role; the others choose the sizes of the pieces
 *   byte 1   limit of a message, in units of 16 bytes
 *   then     what the peer sent
 */
#include "proto/ws.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

/* What a decoder said: a hash of all events, and how it ended. */
struct verdict {
	uint64_t hash;
	size_t used;
	uint16_t error_code;
};

static void mix(struct verdict *verdict, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++) {
		verdict->hash = (verdict->hash ^ at[i]) * 0x100000001b3U;
	}
}

/* A message handed out must come back the same from the other role's decoder, sent by us. */
static void echo(enum ws_role role, const struct ws_event *event)
{
	static const uint8_t key[4] = {0xa5, 0x5a, 0x01, 0xff};
	const uint8_t *mask = role == WS_CLIENT ? key : NULL;
	uint8_t *frame = malloc(WS_HEAD_MAX + WS_CONTROL_MAX + event->payload.len);
	struct ws_decoder decoder;
	struct ws_event got;
	size_t head_len;
	size_t len = event->payload.len;
	size_t used;
	size_t need;

	BC_BUG_ON(frame == NULL);
	if (event->opcode == WS_CLOSE) {
		uint8_t payload[WS_CONTROL_MAX];

		len = ws_close_put(payload, event->close_code, event->payload);
		head_len = ws_head_put(frame, WS_CLOSE, len, mask);
		memcpy(frame + head_len, payload, len);
	} else {
		head_len = ws_head_put(frame, event->opcode, len, mask);
		memcpy(frame + head_len, event->payload.len == 0 ? "" : event->payload.ptr, len);
	}
	if (mask != NULL) {
		ws_mask(frame + head_len, frame + head_len, len, key);
	}
	ws_decoder_init(&decoder, role == WS_CLIENT ? WS_SERVER : WS_CLIENT, len + 1);
	BC_BUG_ON(ws_decode(&decoder, frame, head_len + len, &used, &need, &got) != WS_STEP_EVENT);
	BC_BUG_ON(used != head_len + len || got.opcode != event->opcode);
	BC_BUG_ON(!bc_span_eq(got.payload, event->payload));
	BC_BUG_ON(event->close_code != got.close_code && event->close_code != WS_CLOSE_NO_STATUS);
	ws_decoder_fini(&decoder);
	free(frame);
}

/* Decode what there is of a piece of exactly len bytes; returns the bytes used, *ret_failed. */
static size_t decode(struct ws_decoder *decoder, uint8_t *piece, size_t len,
		     struct verdict *verdict, bool *ret_failed)
{
	size_t done = 0;

	for (;;) {
		struct ws_event event;
		size_t used;
		size_t need;
		enum ws_step step =
			ws_decode(decoder, piece + done, len - done, &used, &need, &event);

		if (step == WS_STEP_MORE) {
			BC_BUG_ON(need != 0 && need <= len - done);
			BC_BUG_ON(decoder->opcode == 0 && decoder->parts.mem != NULL);
			return done;
		}
		if (step == WS_STEP_ERROR) {
			BC_BUG_ON(decoder->error == NULL ||
				  !ws_close_code_is_valid(decoder->error_code));
			verdict->error_code = decoder->error_code;
			*ret_failed = true;
			return done;
		}
		BC_BUG_ON(used < 2 || used > len - done);
		done += used;
		if (step == WS_STEP_EVENT) {
			mix(verdict, &event.opcode, sizeof(event.opcode));
			mix(verdict, &event.close_code, sizeof(event.close_code));
			mix(verdict, event.payload.ptr, event.payload.len);
			echo(decoder->role, &event);
		}
	}
}

/* The whole input in pieces of 1 to piece_max bytes; 0: at once. */
static struct verdict run(const uint8_t *data, size_t size, enum ws_role role, size_t message_max,
			  size_t piece_max)
{
	struct verdict verdict = {.hash = 0xcbf29ce484222325U};
	struct ws_decoder decoder;
	size_t there = 0;
	bool failed = false;

	ws_decoder_init(&decoder, role, message_max);
	while (there < size && !failed) {
		size_t step = piece_max == 0 ? size : 1 + (there * 7 + piece_max) % piece_max;
		uint8_t *piece;

		there = size - there < step ? size : there + step;
		piece = malloc(there - verdict.used + 1);
		BC_BUG_ON(piece == NULL);
		memcpy(piece, data + verdict.used, there - verdict.used);
		verdict.used += decode(&decoder, piece, there - verdict.used, &verdict, &failed);
		free(piece);
	}
	ws_decoder_fini(&decoder);
	return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum ws_role role;
	size_t message_max;
	struct verdict whole;
	struct verdict pieces;

	if (size < 2) {
		return 0;
	}
	role = (data[0] & 1) != 0 ? WS_CLIENT : WS_SERVER;
	message_max = ((size_t)data[1] + 1) * 16;
	whole = run(data + 2, size - 2, role, message_max, 0);
	pieces = run(data + 2, size - 2, role, message_max, 1 + data[0] / 2);
	BC_BUG_ON(whole.hash != pieces.hash || whole.used != pieces.used);
	BC_BUG_ON(whole.error_code != pieces.error_code);
	return 0;
}
