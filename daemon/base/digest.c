#include "daemon/base/digest.h"

#include "daemon/base/bug.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

struct bc_sha256 bc_sha256(struct bc_span data)
{
	struct bc_sha256 digest;
	unsigned len = 0;

	BC_BUG_ON(EVP_Digest(data.ptr, data.len, digest.bytes, &len, EVP_sha256(), NULL) != 1);
	BC_BUG_ON(len != BC_SHA256_SIZE);
	return digest;
}

bool bc_sha256_eq(const struct bc_sha256 *a, const struct bc_sha256 *b)
{
	return CRYPTO_memcmp(a->bytes, b->bytes, BC_SHA256_SIZE) == 0;
}
