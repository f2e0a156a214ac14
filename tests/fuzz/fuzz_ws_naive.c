/*
 * The WebSocket decoder against a second one, which is slow and plain: it takes a byte at a time, in the words of
 * RFC 6455 section 5, and shares nothing with proto/.  On any input both say the same messages in the same order,
 * refuse it with the same close code, and have the same number of bytes of an incomplete frame left over.
 *
 * Where the RFC leaves a choice both do what proto/ws.h promises: a length is judged as soon as it has come, text
 * when its frame is complete.
 *
 * Input as for fuzz_ws.c:
 *   byte 0   bit 0: role; the others choose the sizes of the pieces
 *   byte 1   limit of a message, in units of 16 bytes
 *   then     what the peer sent
 */
#include "proto/ws.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#define LOG_MAX ((size_t)64 << 20) /* bytes: empty messages are logged in more than they take */

/* What a decoder said. */
struct verdict {
	struct bc_buf log;   /* every event: opcode, close code, length, payload */
	uint16_t error_code; /* 0: none */
	size_t left;         /* bytes of a frame that is not complete */
};

static void put(struct verdict *verdict, const void *bytes, size_t len)
{
	BC_BUG_ON(len > 0 && bc_buf_put(&verdict->log, bytes, len) != BC_OK);
}

static void say(struct verdict *verdict, unsigned opcode, unsigned code, struct bc_span payload)
{
	put(verdict, &opcode, sizeof(opcode));
	put(verdict, &code, sizeof(code));
	put(verdict, &payload.len, sizeof(payload.len));
	put(verdict, payload.ptr, payload.len);
}

/* ---- UTF-8, by way of the characters' numbers (RFC 3629 section 3) ---- */

/* Bytes of the character at the front of text; 0: it is none. */
static size_t character(const uint8_t *text, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t size = 1;
	uint32_t number = text[0];

	if (text[0] < 0x80) {
		return 1;
	}
	if ((text[0] & 0xe0) == 0xc0) {
		size = 2;
		number = text[0] & 0x1f;
	} else if ((text[0] & 0xf0) == 0xe0) {
		size = 3;
		number = text[0] & 0x0f;
	} else if ((text[0] & 0xf8) == 0xf0) {
		size = 4;
		number = text[0] & 0x07;
	}
	if (size == 1 || size > len) {
		return 0;
	}
	for (size_t i = 1; i < size; i++) {
		if ((text[i] & 0xc0) != 0x80) {
			return 0;
		}
		number = number << 6 | (text[i] & 0x3f);
	}
	if (number < least[size] || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff)) {
		return 0;
	}
	return size;
}

/* Whether some bytes behind text, which is shorter than a character, make it one: all that could matter are tried. */
static bool may_become_character(const uint8_t *text, size_t len)
{
	static const uint8_t seconds[] = {0x80, 0x90, 0xa0};

	for (size_t i = 0; len > 0 && len < 4 && i < sizeof(seconds); i++) {
		uint8_t whole[7];

		memcpy(whole, text, len);
		whole[len] = seconds[i];
		memset(whole + len + 1, 0x80, 2);
		if (character(whole, len + 3) > len) {
			return true;
		}
	}
	return false;
}

static bool is_text(const uint8_t *text, size_t len, bool whole)
{
	while (len > 0) {
		size_t size = character(text, len);

		if (size == 0) {
			return !whole && may_become_character(text, len);
		}
		text += size;
		len -= size;
	}
	return true;
}

/* ---- the plain decoder ---- */

enum place {
	FIRST_BYTE,
	SECOND_BYTE,
	LENGTH,
	KEY,
	PAYLOAD
};

struct naive {
	enum ws_role role;
	uint64_t message_max;
	struct verdict *verdict;

	enum place place;
	size_t seen; /* bytes of the frame so far */
	bool fin;
	unsigned opcode;
	bool masked;
	unsigned length_bytes; /* still to come */
	unsigned length_form;  /* bits of the length: 7, 16 or 64 */
	uint64_t length;
	uint8_t key[4];
	unsigned key_bytes; /* seen */
	uint64_t payload_bytes;
	uint8_t *payload;

	unsigned message_opcode; /* 0: no message is open */
	uint8_t *message;
	size_t message_len;
	bool closed;
};

static void refuse(struct naive *naive, uint16_t code)
{
	naive->verdict->error_code = code;
}

static bool is_control(const struct naive *naive)
{
	return naive->opcode >= 8;
}

/* 7.4.1, 7.4.2 and the registry of the IANA */
static bool may_be_sent(unsigned code)
{
	switch (code) {
	case 1004:
	case 1005:
	case 1006:
		return false;
	default:
		return (code >= 1000 && code <= 1014) || (code >= 3000 && code <= 4999);
	}
}

static void end_of_close(struct naive *naive)
{
	const uint8_t *payload = naive->payload;
	unsigned code = WS_CLOSE_NO_STATUS;
	size_t reason_len = 0;

	if (naive->length == 1) {
		refuse(naive, 1002);
		return;
	}
	if (naive->length >= 2) {
		code = (unsigned)payload[0] * 256 + payload[1];
		if (!may_be_sent(code)) {
			refuse(naive, 1002);
			return;
		}
		reason_len = (size_t)naive->length - 2;
		if (!is_text(payload + 2, reason_len, true)) {
			refuse(naive, 1007);
			return;
		}
	}
	naive->closed = true;
	say(naive->verdict, naive->opcode, code, bc_span((const char *)payload + 2, reason_len));
}

static void end_of_data(struct naive *naive)
{
	size_t len = (size_t)naive->length;

	if (naive->opcode != 0) {
		naive->message_opcode = naive->opcode;
		naive->message_len = 0;
	}
	naive->message = realloc(naive->message, naive->message_len + len + 1);
	BC_BUG_ON(naive->message == NULL);
	memcpy(naive->message + naive->message_len, naive->payload, len);
	naive->message_len += len;
	if (naive->message_opcode == 1 &&
	    !is_text(naive->message, naive->message_len, naive->fin)) {
		refuse(naive, 1007);
		return;
	}
	if (naive->fin) {
		say(naive->verdict, naive->message_opcode, 0,
		    bc_span((const char *)naive->message, naive->message_len));
		naive->message_opcode = 0;
		naive->message_len = 0;
	}
}

static void end_of_frame(struct naive *naive)
{
	naive->place = FIRST_BYTE;
	if (naive->opcode == 8) {
		end_of_close(naive);
	} else if (is_control(naive)) {
		say(naive->verdict, naive->opcode, 0,
		    bc_span((const char *)naive->payload, (size_t)naive->length));
	} else {
		end_of_data(naive);
	}
}

static void end_of_head(struct naive *naive)
{
	naive->place = PAYLOAD;
	naive->payload_bytes = 0;
	free(naive->payload);
	naive->payload = malloc((size_t)naive->length + 3);
	BC_BUG_ON(naive->payload == NULL);
	if (naive->length == 0) {
		end_of_frame(naive);
	}
}

static void end_of_length(struct naive *naive)
{
	uint64_t before = naive->opcode == 0 ? naive->message_len : 0;

	if (naive->length >> 63 != 0 || (naive->length_form == 16 && naive->length <= 125) ||
	    (naive->length_form == 64 && naive->length <= 65535)) {
		refuse(naive, 1002);
	} else if (!is_control(naive) && before + naive->length > naive->message_max) {
		refuse(naive, 1009);
	} else if (naive->masked) {
		naive->place = KEY;
		naive->key_bytes = 0;
	} else {
		end_of_head(naive);
	}
}

static void first_byte(struct naive *naive, uint8_t byte)
{
	naive->fin = byte >> 7;
	naive->opcode = byte & 15;
	naive->place = SECOND_BYTE;
	if ((byte >> 4 & 7) != 0) {
		refuse(naive, 1002);
	}
	switch (naive->opcode) {
	case 0:
		if (naive->message_opcode == 0 || naive->closed) {
			refuse(naive, 1002);
		}
		break;
	case 1:
	case 2:
		if (naive->message_opcode != 0 || naive->closed) {
			refuse(naive, 1002);
		}
		break;
	case 8:
		if (!naive->fin || naive->closed) {
			refuse(naive, 1002);
		}
		break;
	case 9:
	case 10:
		if (!naive->fin) {
			refuse(naive, 1002);
		}
		break;
	default:
		refuse(naive, 1002);
	}
}

static void second_byte(struct naive *naive, uint8_t byte)
{
	unsigned length = byte & 127;

	naive->masked = byte >> 7;
	/* "a server MUST close on a frame that is not masked, a client on one that is" (5.1) */
	if (naive->masked != (naive->role == WS_SERVER) || (is_control(naive) && length > 125)) {
		refuse(naive, 1002);
		return;
	}
	naive->length = length;
	naive->length_form = 7;
	if (length < 126) {
		end_of_length(naive);
		return;
	}
	naive->place = LENGTH;
	naive->length = 0;
	naive->length_form = length == 126 ? 16 : 64;
	naive->length_bytes = naive->length_form / 8;
}

static void take_byte(struct naive *naive, uint8_t byte)
{
	naive->seen = naive->place == FIRST_BYTE ? 1 : naive->seen + 1;
	switch (naive->place) {
	case FIRST_BYTE:
		first_byte(naive, byte);
		return;
	case SECOND_BYTE:
		second_byte(naive, byte);
		return;
	case LENGTH:
		naive->length = naive->length * 256 + byte;
		naive->length_bytes--;
		if (naive->length_bytes == 0) {
			end_of_length(naive);
		}
		return;
	case KEY:
		naive->key[naive->key_bytes] = byte;
		naive->key_bytes++;
		if (naive->key_bytes == 4) {
			end_of_head(naive);
		}
		return;
	case PAYLOAD:
		if (naive->masked) {
			byte = (uint8_t)(byte ^ naive->key[naive->payload_bytes % 4]);
		}
		naive->payload[naive->payload_bytes] = byte;
		naive->payload_bytes++;
		if (naive->payload_bytes == naive->length) {
			end_of_frame(naive);
		}
		return;
	}
}

static void run_naive(struct naive *naive, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size && naive->verdict->error_code == 0; i++) {
		take_byte(naive, data[i]);
	}
	naive->verdict->left = naive->place == FIRST_BYTE ? 0 : naive->seen;
	free(naive->payload);
	free(naive->message);
}

/* ---- the real one ---- */

/* Decode a copy of exactly these bytes, so that a sanitizer sees what is read behind them; returns the bytes used. */
static size_t decode_piece(struct ws_decoder *decoder, const uint8_t *bytes, size_t len,
			   struct verdict *verdict)
{
	uint8_t *piece = malloc(len + (len == 0));
	size_t done = 0;
	enum ws_step step;

	BC_BUG_ON(piece == NULL);
	memcpy(piece, bytes, len);
	do {
		struct ws_event event;
		size_t used = 0;
		size_t need;

		step = ws_decode(decoder, piece + done, len - done, &used, &need, &event);
		done += used;
		if (step == WS_STEP_EVENT) {
			say(verdict, event.opcode, event.close_code, event.payload);
		} else if (step == WS_STEP_ERROR) {
			verdict->error_code = decoder->error_code;
		}
	} while (step == WS_STEP_EVENT || step == WS_STEP_SKIP);
	free(piece);
	return done;
}

static void run_real(struct ws_decoder *decoder, const uint8_t *data, size_t size, size_t piece_max,
		     struct verdict *verdict)
{
	size_t there = 0;
	size_t done = 0;

	while (there < size && verdict->error_code == 0) {
		size_t step = 1 + (there * 11 + 3) % piece_max;

		there = size - there < step ? size : there + step;
		done += decode_piece(decoder, data + done, there - done, verdict);
	}
	verdict->left = size - done;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verdict plain = {0};
	struct verdict real = {0};
	struct ws_decoder decoder;
	struct naive naive;

	if (size < 2) {
		return 0;
	}
	bc_buf_init(&plain.log, LOG_MAX);
	bc_buf_init(&real.log, LOG_MAX);
	naive = (struct naive){.role = (data[0] & 1) != 0 ? WS_CLIENT : WS_SERVER,
			       .message_max = ((uint64_t)data[1] + 1) * 16,
			       .verdict = &plain};
	ws_decoder_init(&decoder, naive.role, (size_t)naive.message_max);
	run_real(&decoder, data + 2, size - 2, (data[0] & 2) != 0 ? size : 1 + data[0] / 4U, &real);
	ws_decoder_fini(&decoder);
	run_naive(&naive, data + 2, size - 2);
	BC_BUG_ON(plain.error_code != real.error_code);
	BC_BUG_ON(plain.error_code == 0 && plain.left != real.left);
	BC_BUG_ON(!bc_span_eq(bc_buf_span(&plain.log), bc_buf_span(&real.log)));
	bc_buf_release(&plain.log);
	bc_buf_release(&real.log);
	return 0;
}
