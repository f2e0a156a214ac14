/*
 * RFC 6455 frames, both roles, without sockets: bytes in, messages out; payload in, bytes out.
 *
 * The decoder works in place on the caller's bytes: a frame that is complete in them is unmasked where
 * it stands and its payload handed out as a view.  Only the payload of a fragmented message is copied
 * (into the decoder).  No extension is ever negotiated, so a reserved bit is an error.
 */
#ifndef BACKCHANNEL_PROTO_WS_H
#define BACKCHANNEL_PROTO_WS_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ws_opcode {
	WS_CONTINUATION = 0x0,
	WS_TEXT = 0x1,
	WS_BINARY = 0x2,
	WS_CLOSE = 0x8,
	WS_PING = 0x9,
	WS_PONG = 0xa
};

/* Which end of the connection we are: servers receive masked frames, clients send them. */
enum ws_role {
	WS_SERVER,
	WS_CLIENT
};

/* Close codes we send or relay.  Source: RFC 6455 7.4.1 and the IANA registry. */
enum ws_close_code {
	WS_CLOSE_NORMAL = 1000,
	WS_CLOSE_GOING_AWAY = 1001,
	WS_CLOSE_PROTOCOL = 1002,
	WS_CLOSE_UNACCEPTABLE = 1003,
	WS_CLOSE_NO_STATUS = 1005, /* never on the wire: a close frame without a code */
	WS_CLOSE_ABNORMAL = 1006,  /* never on the wire: no close frame came */
	WS_CLOSE_BAD_DATA = 1007,
	WS_CLOSE_POLICY = 1008,
	WS_CLOSE_TOO_BIG = 1009,
	WS_CLOSE_INTERNAL = 1011,
	WS_CLOSE_TRY_LATER = 1013
};

#define WS_HEAD_MAX    14  /* bytes of the longest frame header */
#define WS_CONTROL_MAX 125 /* payload bytes of the longest control frame */
#define WS_REASON_MAX  123 /* bytes of the longest close reason */

struct ws_decoder {
	enum ws_role role;
	size_t message_max;  /* payload bytes of the longest message accepted */
	struct bc_buf parts; /* payload of a fragmented message so far */
	uint8_t opcode;      /* of the fragmented message; 0: none is open */
	uint32_t utf8;       /* state of the UTF-8 check across fragments */
	bool closed;         /* a close frame was handed out: no data frame may follow */
	uint16_t error_code; /* close code to send after WS_STEP_ERROR */
	const char *error;   /* what was wrong; static storage */
};

/* One thing the peer said. */
struct ws_event {
	/* TEXT or BINARY: a whole message; PING, PONG, CLOSE: one control frame */
	enum ws_opcode opcode;
	/*
	 * unmasked; points into the caller's bytes or the decoder; valid until the next ws_decode().
	 * CLOSE: the reason only
	 */
	struct bc_span payload;
	uint16_t close_code; /* CLOSE only; WS_CLOSE_NO_STATUS when the frame had none */
};

enum ws_step {
	WS_STEP_EVENT, /* one event; *ret_used bytes were consumed, call again with the rest */
	WS_STEP_SKIP, /* *ret_used bytes consumed without an event (a non-final fragment), call again */
	WS_STEP_MORE, /* the frame is incomplete: nothing consumed; *ret_need bytes in all are needed (0: header incomplete) */
	WS_STEP_ERROR /* peer broke the protocol: see error and error_code; the decoder must not be used further */
};

/* message_max > 0, bytes.  Allocates nothing until a fragmented message comes. */
void ws_decoder_init(struct ws_decoder *decoder, enum ws_role role, size_t message_max);

/* Free what the decoder holds; may be called twice. */
void ws_decoder_fini(struct ws_decoder *decoder);

/*
 * Take the next frame from the len bytes at data (unmasked in place).  The limit is checked on the header,
 * before the payload has come: a too long frame or message is an error with 1009 at once.
 * Text messages are checked to be UTF-8 (1007), also across fragments; a close frame's code must be one
 * that may stand on the wire and its reason UTF-8.
 * Source: RFC 6455 5.2-5.5, 7.4, 8.1.  Pure; out of memory is WS_STEP_ERROR with 1011.
 */
enum ws_step ws_decode(struct ws_decoder *decoder, uint8_t *data, size_t len, size_t *ret_used,
		       size_t *ret_need, struct ws_event *ret);

/*
 * Write the header of one final frame of payload_len bytes; mask_key is NULL for a server, four random
 * bytes for a client.  Returns the header's length, at most WS_HEAD_MAX.
 */
size_t ws_head_put(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t payload_len,
		   const uint8_t *mask_key);

/*
 * dst[i] = src[i] ^ key[i mod 4]; dst may equal src, must not overlap otherwise.  Uses SSE2, and AVX2 where
 * the processor has it.
 */
void ws_mask(uint8_t *dst, const uint8_t *src, size_t len, const uint8_t key[4]);

/*
 * Payload of a close frame: code and the first WS_REASON_MAX bytes of reason, cut at a character.
 * A code that may not stand on the wire (1005, 1006, 1015, outside the ranges) is replaced by 1011.
 * Returns its length, 2 to WS_CONTROL_MAX.
 */
size_t ws_close_put(uint8_t out[WS_CONTROL_MAX], uint16_t code, struct bc_span reason);

/* Whether a code may stand in a close frame.  Source: RFC 6455 7.4.2 and the IANA registry. */
bool ws_close_code_is_valid(uint16_t code);

/* Whether bytes are well-formed UTF-8.  Source: RFC 3629. */
bool ws_utf8_is_valid(struct bc_span text);

#endif
