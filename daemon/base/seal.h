/* Keeping text secret on disk: AES-256-GCM under a key the operator keeps elsewhere. */
#ifndef BACKCHANNEL_BASE_SEAL_H
#define BACKCHANNEL_BASE_SEAL_H

#include "daemon/base/buf.h"
#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdint.h>

#define BC_SEAL_KEY_SIZE 32
#define BC_SEAL_OVERHEAD 28 /* bytes a sealed text is longer: nonce and tag */

struct bc_seal_key {
	uint8_t bytes[BC_SEAL_KEY_SIZE];
};

/* The key made of a secret of any form, which should hold 128 random bits or more.  Pure. */
struct bc_seal_key bc_seal_key_of(struct bc_span secret);

/*
 * Append text, encrypted; about is what it belongs to, which is not kept but must be the same for opening.  Two seals of
 * one text differ.  BC_E_SYSTEM: the library failed; errors of bc_buf_put().  Any thread.
 * Source: NIST SP 800-38D; a random nonce of 96 bits is good for 2^32 seals under one key.
 */
enum bc_err bc_seal(const struct bc_seal_key *key, struct bc_span about, struct bc_span text,
		    struct bc_buf *out) BC_MUST;

/*
 * Append what was sealed.  BC_E_INVALID: it was sealed with another key, belongs to something else or was changed;
 * nothing is appended then.  Errors as above.
 */
enum bc_err bc_seal_open(const struct bc_seal_key *key, struct bc_span about, struct bc_span sealed,
			 struct bc_buf *out) BC_MUST;

#endif
