/* SHA-256 and constant-time comparison, for client keys and record checks. */
#ifndef BACKCHANNEL_BASE_DIGEST_H
#define BACKCHANNEL_BASE_DIGEST_H

#include "daemon/base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define BC_SHA256_SIZE 32 /* bytes */

struct bc_sha256 {
	uint8_t bytes[BC_SHA256_SIZE];
};

/* Source: FIPS 180-4, by OpenSSL.  Any thread. */
struct bc_sha256 bc_sha256(struct bc_span data);

/* Equality whose duration does not depend on where the difference is. */
bool bc_sha256_eq(const struct bc_sha256 *a, const struct bc_sha256 *b);

#endif
