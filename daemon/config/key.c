/*
 * Client keys.  A key is random enough (256 bits) that its plain SHA-256 tells nothing about it: no salt and no slow
 * hash is needed, and a lookup costs one hash and a comparison per key.
 */
#include "daemon/base/id.h"
#include "daemon/config/config.h"

#include <string.h>

#define KEY_PREFIX    "bck_"
#define KEY_BITS_SIZE 32 /* bytes of randomness */

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void cfg_client_key_new(char key[CFG_KEY_SIZE], struct bc_sha256 *ret_digest)
{
	uint8_t noise[KEY_BITS_SIZE + 1] = {
		0}; /* one more: the last digit reads two zero bits behind the end */
	size_t bits = (size_t)8 * KEY_BITS_SIZE;
	size_t len = strlen(KEY_PREFIX);

	bc_random(noise, KEY_BITS_SIZE);
	memcpy(key, KEY_PREFIX, len);
	for (size_t bit = 0; bit < bits; bit += 6) {
		unsigned pair = (unsigned)noise[bit / 8] << 8 | noise[bit / 8 + 1];

		key[len++] = base64url[pair >> (10 - bit % 8) & 63];
	}
	BC_BUG_ON(len != CFG_KEY_SIZE - 1);
	key[len] = '\0';
	explicit_bzero(noise, sizeof(noise));
	*ret_digest = bc_sha256(bc_span(key, len));
}

static unsigned digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a') + 10;
}

/* hex was checked when the snapshot was made. */
static struct bc_sha256 from_hex(const char *hex)
{
	struct bc_sha256 digest;

	for (size_t i = 0; i < BC_SHA256_SIZE; i++) {
		digest.bytes[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
	}
	return digest;
}

const struct cfg_client_key *cfg_client_key_find(const struct cfg *cfg, struct bc_span presented)
{
	struct bc_sha256 digest = bc_sha256(presented);
	const struct cfg_client_key *found = NULL;

	/* all of them, so that the time tells nothing about which one it was */
	for (size_t i = 0; i < cfg->client_key_count; i++) {
		struct bc_sha256 known = from_hex(cfg->client_key[i].sha256);

		if (bc_sha256_eq(&digest, &known)) {
			found = &cfg->client_key[i];
		}
	}
	return found;
}
