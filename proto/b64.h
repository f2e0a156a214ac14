/* Base64 of RFC 4648 section 4, as the Realtime protocol carries audio. */
#ifndef BACKCHANNEL_PROTO_B64_H
#define BACKCHANNEL_PROTO_B64_H

#include "daemon/base/buf.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes that the encoding of len bytes takes, without NUL. */
#define B64_ENCODED_LEN(len) (((len) + 2) / 3 * 4)

/* Encode; out has B64_ENCODED_LEN(len) bytes; returns that length. */
size_t b64_encode(char *out, const uint8_t *bytes, size_t len);

/*
 * Decode into out, which has at least text.len / 4 * 3 + 3 bytes.  Missing padding is accepted.
 * BC_E_SYNTAX on any other character or a rest of one digit.
 */
enum bc_err b64_decode(uint8_t *out, struct bc_span text, size_t *ret_len) BC_MUST;

#endif
