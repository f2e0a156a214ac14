#include "proto/ws.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/*
 * Every block is a multiple of four bytes long, so the key never has to be turned, and unaligned loads
 * cost nothing where it matters; hence no leading bytes are handled apart.
 */

#define WIDE_MIN 256 /* bytes from which the wider registers win over asking whether they exist */

#if defined(__x86_64__)

__attribute__((target("avx2"))) static size_t mask_avx2(uint8_t *dst, const uint8_t *src,
							size_t len, uint32_t key)
{
	__m256i keys = _mm256_set1_epi32((int)key);
	size_t i;

	for (i = 0; len - i >= 64; i += 64) {
		__m256i a = _mm256_loadu_si256((const void *)(src + i));
		__m256i b = _mm256_loadu_si256((const void *)(src + i + 32));

		_mm256_storeu_si256((void *)(dst + i), _mm256_xor_si256(a, keys));
		_mm256_storeu_si256((void *)(dst + i + 32), _mm256_xor_si256(b, keys));
	}
	return i;
}

/* SSE2 belongs to every x86-64 processor. */
static size_t mask_blocks(uint8_t *dst, const uint8_t *src, size_t len, uint32_t key)
{
	__m128i keys = _mm_set1_epi32((int)key);
	size_t i = 0;

	/* The processor was looked at before main(), so asking is one load in any thread. */
	if (len >= WIDE_MIN && __builtin_cpu_supports("avx2")) {
		i = mask_avx2(dst, src, len, key);
	}
	for (; len - i >= 16; i += 16) {
		__m128i a = _mm_loadu_si128((const void *)(src + i));

		_mm_storeu_si128((void *)(dst + i), _mm_xor_si128(a, keys));
	}
	return i;
}

#else

static size_t mask_blocks(uint8_t *dst, const uint8_t *src, size_t len, uint32_t key)
{
	uint64_t keys = (uint64_t)key << 32 | key;
	size_t i;

	for (i = 0; len - i >= 8; i += 8) {
		uint64_t word;

		memcpy(&word, src + i, sizeof(word));
		word ^= keys;
		memcpy(dst + i, &word, sizeof(word));
	}
	return i;
}

#endif

void ws_mask(uint8_t *dst, const uint8_t *src, size_t len, const uint8_t key[4])
{
	uint32_t word;
	size_t i;

	memcpy(&word, key, sizeof(word));
	for (i = mask_blocks(dst, src, len, word); i < len; i++) {
		dst[i] = src[i] ^ key[i % 4];
	}
}
