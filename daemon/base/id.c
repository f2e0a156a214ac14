#include "daemon/base/id.h"

#include "daemon/base/bug.h"

#include <errno.h>
#include <sys/random.h>

static const char id_alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

void bc_random(void *bytes, size_t len)
{
	char *at = bytes;

	while (len > 0) {
		ssize_t got = getrandom(at, len, 0);

		BC_BUG_ON(got < 0 && errno != EINTR);
		if (got > 0) {
			at += got;
			len -= (size_t)got;
		}
	}
}

void bc_id_new(char id[BC_ID_SIZE], char kind)
{
	uint8_t noise[BC_ID_SIZE - 5];

	bc_random(noise, sizeof(noise));
	memcpy(id, "bc_", 3);
	id[3] = kind;
	for (size_t i = 0; i < sizeof(noise); i++) {
		id[4 + i] = id_alphabet[noise[i] & 31];
	}
	id[BC_ID_SIZE - 1] = '\0';
}

int bc_id_is_ours(struct bc_span id)
{
	return bc_span_has_prefix(id, "bc_");
}

void bc_hex(const void *bytes, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[at[i] >> 4];
		out[2 * i + 1] = digits[at[i] & 15];
	}
	out[2 * len] = '\0';
}
