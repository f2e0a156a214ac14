#include "proto/ws.h"

#include "proto/utf8.h"

/*
 * A frame (RFC 6455 5.2):
 *
 *   byte 0   FIN RSV1 RSV2 RSV3 opcode(4)
 *   byte 1   MASK length(7)      126: 2 bytes of length follow, 127: 8 bytes
 *   then     4 bytes of masking key, if MASK
 *   then     payload
 *
 * Every check is made as soon as its bytes are there and always in the order of the bytes, so the verdict
 * does not depend on how the peer's bytes were cut into pieces.
 */
#define BIT_FIN       0x80
#define BITS_RESERVED 0x70
#define BITS_OPCODE   0x0f
#define BIT_CONTROL   0x08
#define BIT_MASK      0x80
#define BITS_LENGTH   0x7f

#define LENGTH_16 126 /* marker of a 16-bit length, and the least payload that may have one */
#define LENGTH_64 127 /* marker of a 64-bit length */

#define MASK_SIZE 4

struct frame {
	uint8_t first;   /* byte 0 */
	uint8_t second;  /* byte 1 */
	size_t head_len; /* bytes in front of the payload */
	uint64_t payload_len;
};

void ws_decoder_init(struct ws_decoder *decoder, enum ws_role role, size_t message_max)
{
	BC_BUG_ON(message_max == 0);
	*decoder =
		(struct ws_decoder){.role = role, .message_max = message_max, .utf8 = UTF8_START};
	bc_buf_init(&decoder->parts, message_max);
}

void ws_decoder_fini(struct ws_decoder *decoder)
{
	bc_buf_release(&decoder->parts);
}

static enum ws_step fail(struct ws_decoder *decoder, uint16_t code, const char *error)
{
	decoder->error_code = code;
	decoder->error = error;
	return WS_STEP_ERROR;
}

static enum ws_step protocol_error(struct ws_decoder *decoder, const char *error)
{
	return fail(decoder, WS_CLOSE_PROTOCOL, error);
}

/* These return WS_STEP_MORE for "nothing wrong so far". */

static enum ws_step check_first(struct ws_decoder *decoder, uint8_t first)
{
	uint8_t opcode = first & BITS_OPCODE;
	bool data = (opcode & BIT_CONTROL) == 0;

	if ((first & BITS_RESERVED) != 0) {
		return protocol_error(decoder, "reserved bit set, but no extension was negotiated");
	}
	if (opcode > WS_PONG || (data && opcode > WS_BINARY)) {
		return protocol_error(decoder, "reserved opcode");
	}
	if (!data && (first & BIT_FIN) == 0) {
		return protocol_error(decoder, "fragmented control frame");
	}
	if (decoder->closed && (data || opcode == WS_CLOSE)) {
		return protocol_error(decoder, "frame after close");
	}
	if (opcode == WS_CONTINUATION && decoder->opcode == 0) {
		return protocol_error(decoder, "continuation without a message");
	}
	if (data && opcode != WS_CONTINUATION && decoder->opcode != 0) {
		return protocol_error(decoder, "new message inside a fragmented one");
	}
	return WS_STEP_MORE;
}

static enum ws_step check_second(struct ws_decoder *decoder, const struct frame *frame)
{
	bool masked = (frame->second & BIT_MASK) != 0;

	if (masked != (decoder->role == WS_SERVER)) {
		return protocol_error(decoder, masked ? "masked frame from a server"
						      : "unmasked frame from a client");
	}
	if ((frame->first & BIT_CONTROL) != 0 && (frame->second & BITS_LENGTH) > WS_CONTROL_MAX) {
		return protocol_error(decoder, "control frame longer than 125 bytes");
	}
	return WS_STEP_MORE;
}

static enum ws_step check_length(struct ws_decoder *decoder, const struct frame *frame)
{
	uint8_t marker = frame->second & BITS_LENGTH;
	size_t open_len = bc_buf_len(&decoder->parts);

	if (frame->payload_len > INT64_MAX) {
		return protocol_error(decoder, "length with the highest bit set");
	}
	if ((marker == LENGTH_16 && frame->payload_len < LENGTH_16) ||
	    (marker == LENGTH_64 && frame->payload_len <= UINT16_MAX)) {
		return protocol_error(decoder, "length in more bytes than needed");
	}
	if ((frame->first & BIT_CONTROL) == 0 &&
	    frame->payload_len > decoder->message_max - open_len) {
		return fail(decoder, WS_CLOSE_TOO_BIG, "message too long");
	}
	return WS_STEP_MORE;
}

static uint64_t big_endian(const uint8_t *bytes, size_t len)
{
	uint64_t value = 0;

	for (size_t i = 0; i < len; i++) {
		value = value << 8 | bytes[i];
	}
	return value;
}

/* Fill frame from the header; WS_STEP_EVENT: it is complete and good, WS_STEP_MORE, WS_STEP_ERROR. */
static enum ws_step read_head(struct ws_decoder *decoder, const uint8_t *data, size_t len,
			      struct frame *frame)
{
	size_t length_size = 0;

	if (len < 1) {
		return WS_STEP_MORE;
	}
	frame->first = data[0];
	if (check_first(decoder, frame->first) == WS_STEP_ERROR) {
		return WS_STEP_ERROR;
	}
	if (len < 2) {
		return WS_STEP_MORE;
	}
	frame->second = data[1];
	if (check_second(decoder, frame) == WS_STEP_ERROR) {
		return WS_STEP_ERROR;
	}
	frame->payload_len = frame->second & BITS_LENGTH;
	if (frame->payload_len >= LENGTH_16) {
		length_size = frame->payload_len == LENGTH_16 ? 2 : 8;
	}
	if (len < 2 + length_size) {
		return WS_STEP_MORE;
	}
	if (length_size > 0) {
		frame->payload_len = big_endian(data + 2, length_size);
	}
	if (check_length(decoder, frame) == WS_STEP_ERROR) {
		return WS_STEP_ERROR;
	}
	frame->head_len = 2 + length_size + ((frame->second & BIT_MASK) != 0 ? MASK_SIZE : 0);
	return len < frame->head_len ? WS_STEP_MORE : WS_STEP_EVENT;
}

static enum ws_step take_control(struct ws_decoder *decoder, enum ws_opcode opcode,
				 struct bc_span payload, struct ws_event *ret)
{
	struct ws_event event = {.opcode = opcode, .payload = payload};

	if (opcode != WS_CLOSE) {
		*ret = event;
		return WS_STEP_EVENT;
	}
	if (payload.len == 1) {
		return protocol_error(decoder, "close frame with half a code");
	}
	event.close_code = WS_CLOSE_NO_STATUS;
	if (payload.len >= 2) {
		event.close_code = (uint16_t)big_endian((const uint8_t *)payload.ptr, 2);
		event.payload = bc_span(payload.ptr + 2, payload.len - 2);
		if (!ws_close_code_is_valid(event.close_code)) {
			return protocol_error(decoder, "close code that may not be sent");
		}
		if (!ws_utf8_is_valid(event.payload)) {
			return fail(decoder, WS_CLOSE_BAD_DATA, "close reason is not UTF-8");
		}
	}
	decoder->closed = true;
	*ret = event;
	return WS_STEP_EVENT;
}

/* A frame of a message that has, or will have, more than one. */
static enum ws_step take_fragment(struct ws_decoder *decoder, enum ws_opcode opcode, bool final,
				  struct bc_span payload, struct ws_event *ret)
{
	if (opcode != WS_CONTINUATION) {
		decoder->opcode = (uint8_t)opcode;
		decoder->utf8 = UTF8_START;
	}
	if (decoder->opcode == WS_TEXT) {
		decoder->utf8 = utf8_feed(decoder->utf8, (const uint8_t *)payload.ptr, payload.len);
		if (decoder->utf8 == UTF8_BAD || (final && decoder->utf8 != UTF8_START)) {
			return fail(decoder, WS_CLOSE_BAD_DATA, "text is not UTF-8");
		}
	}
	if (bc_buf_put_span(&decoder->parts, payload) != BC_OK) {
		return fail(decoder, WS_CLOSE_INTERNAL, "no memory for a fragmented message");
	}
	if (!final) {
		return WS_STEP_SKIP;
	}
	*ret = (struct ws_event){.opcode = (enum ws_opcode)decoder->opcode,
				 .payload = bc_buf_span(&decoder->parts)};
	decoder->opcode = 0;
	return WS_STEP_EVENT;
}

static enum ws_step take_frame(struct ws_decoder *decoder, const struct frame *frame,
			       struct bc_span payload, struct ws_event *ret)
{
	enum ws_opcode opcode = (enum ws_opcode)(frame->first & BITS_OPCODE);
	bool final = (frame->first & BIT_FIN) != 0;

	if ((frame->first & BIT_CONTROL) != 0) {
		return take_control(decoder, opcode, payload, ret);
	}
	if (opcode == WS_CONTINUATION || !final) {
		return take_fragment(decoder, opcode, final, payload, ret);
	}
	if (opcode == WS_TEXT && !ws_utf8_is_valid(payload)) {
		return fail(decoder, WS_CLOSE_BAD_DATA, "text is not UTF-8");
	}
	*ret = (struct ws_event){.opcode = opcode, .payload = payload};
	return WS_STEP_EVENT;
}

enum ws_step ws_decode(struct ws_decoder *decoder, uint8_t *data, size_t len, size_t *ret_used,
		       size_t *ret_need, struct ws_event *ret)
{
	struct frame frame = {0};
	enum ws_step step;
	uint8_t *payload;
	size_t payload_len;

	/* The message handed out last time is over, so its memory is not wanted any more. */
	if (decoder->opcode == 0 && decoder->parts.mem != NULL) {
		bc_buf_release(&decoder->parts);
	}
	step = read_head(decoder, data, len, &frame);
	if (step != WS_STEP_EVENT) {
		*ret_need = 0;
		return step;
	}
	/* Fits: at most message_max, or WS_CONTROL_MAX. */
	payload_len = (size_t)frame.payload_len;
	if (len - frame.head_len < payload_len) {
		*ret_need = frame.head_len + payload_len;
		return WS_STEP_MORE;
	}
	payload = data + frame.head_len;
	if (decoder->role == WS_SERVER) {
		ws_mask(payload, payload, payload_len, payload - MASK_SIZE);
	}
	step = take_frame(decoder, &frame, bc_span((const char *)payload, payload_len), ret);
	if (step != WS_STEP_ERROR) {
		*ret_used = frame.head_len + payload_len;
	}
	return step;
}

size_t ws_head_put(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t payload_len,
		   const uint8_t *mask_key)
{
	uint8_t mask_bit = mask_key != NULL ? BIT_MASK : 0;
	size_t length_size = 0;
	size_t len = 2;

	out[0] = (uint8_t)(BIT_FIN | opcode);
	out[1] = (uint8_t)(mask_bit | payload_len);
	if (payload_len > UINT16_MAX) {
		out[1] = mask_bit | LENGTH_64;
		length_size = 8;
	} else if (payload_len >= LENGTH_16) {
		out[1] = mask_bit | LENGTH_16;
		length_size = 2;
	}
	for (size_t i = 0; i < length_size; i++) {
		out[len] = (uint8_t)(payload_len >> (8 * (length_size - 1 - i)));
		len++;
	}
	if (mask_key != NULL) {
		memcpy(out + len, mask_key, MASK_SIZE);
		len += MASK_SIZE;
	}
	return len;
}

size_t ws_close_put(uint8_t out[WS_CONTROL_MAX], uint16_t code, struct bc_span reason)
{
	size_t max = reason.len < WS_REASON_MAX ? reason.len : WS_REASON_MAX;
	size_t len = utf8_prefix((const uint8_t *)reason.ptr, max);

	if (!ws_close_code_is_valid(code)) {
		code = WS_CLOSE_INTERNAL;
	}
	out[0] = (uint8_t)(code >> 8);
	out[1] = (uint8_t)code;
	if (len > 0) {
		memcpy(out + 2, reason.ptr, len);
	}
	return 2 + len;
}

bool ws_close_code_is_valid(uint16_t code)
{
	/* 1004 is reserved; 1005, 1006 and 1015 are said about a connection, never on it. */
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}
