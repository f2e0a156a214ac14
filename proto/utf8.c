#include "proto/utf8.h"

#include "proto/ws.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#define WIDE_MIN 256 /* bytes from which the wider registers win over asking whether they exist */

/*
 * A state inside a character: how many bytes it still lacks, and the range the next one must be in.
 * The range is narrower than 80..BF only for the first byte behind E0, ED, F0 and F4, which is what
 * keeps overlong forms, surrogates and values beyond U+10FFFF out.
 */
#define STATE(lack, low, high) \
	((uint32_t)(lack) | ((uint32_t)(low) << 8) | ((uint32_t)(high) << 16))

static uint32_t lead(uint8_t byte)
{
	if (byte < 0x80) {
		return UTF8_START;
	}
	if (byte < 0xc2 || byte > 0xf4) {
		return UTF8_BAD;
	}
	if (byte < 0xe0) {
		return STATE(1, 0x80, 0xbf);
	}
	switch (byte) {
	case 0xe0:
		return STATE(2, 0xa0, 0xbf);
	case 0xed:
		return STATE(2, 0x80, 0x9f);
	case 0xf0:
		return STATE(3, 0x90, 0xbf);
	case 0xf4:
		return STATE(3, 0x80, 0x8f);
	default:
		return byte < 0xf0 ? STATE(2, 0x80, 0xbf) : STATE(3, 0x80, 0xbf);
	}
}

static uint32_t step(uint32_t state, uint8_t byte)
{
	uint32_t lack = state & 0xff;

	if (state == UTF8_START) {
		return lead(byte);
	}
	if (byte < ((state >> 8) & 0xff) || byte > (state >> 16)) {
		return UTF8_BAD;
	}
	return lack == 1 ? UTF8_START : STATE(lack - 1, 0x80, 0xbf);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static size_t ascii_avx2(const uint8_t *bytes, size_t len)
{
	size_t i;

	for (i = 0; len - i >= 128; i += 128) {
		__m256i a = _mm256_loadu_si256((const void *)(bytes + i));
		__m256i b = _mm256_loadu_si256((const void *)(bytes + i + 32));
		__m256i c = _mm256_loadu_si256((const void *)(bytes + i + 64));
		__m256i d = _mm256_loadu_si256((const void *)(bytes + i + 96));
		__m256i all = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));

		if (_mm256_movemask_epi8(all) != 0) {
			break;
		}
	}
	return i;
}

/* The processor was looked at before main(), so asking is one load in any thread. */
static size_t ascii_wide(const uint8_t *bytes, size_t len)
{
	return len >= WIDE_MIN && __builtin_cpu_supports("avx2") ? ascii_avx2(bytes, len) : 0;
}
#else
static size_t ascii_wide(const uint8_t *bytes, size_t len)
{
	(void)bytes;
	(void)len;
	return 0;
}
#endif

/* Bytes at the front that are certainly ASCII: whole blocks only.  Events are nearly all ASCII. */
static size_t ascii_blocks(const uint8_t *bytes, size_t len)
{
	size_t i = ascii_wide(bytes, len);

#if defined(__SSE2__)
	for (; len - i >= 64; i += 64) {
		__m128i a = _mm_loadu_si128((const void *)(bytes + i));
		__m128i b = _mm_loadu_si128((const void *)(bytes + i + 16));
		__m128i c = _mm_loadu_si128((const void *)(bytes + i + 32));
		__m128i d = _mm_loadu_si128((const void *)(bytes + i + 48));
		__m128i all = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));

		if (_mm_movemask_epi8(all) != 0) {
			break;
		}
	}
#endif
	for (; len - i >= 8; i += 8) {
		uint64_t word;

		memcpy(&word, bytes + i, sizeof(word));
		if ((word & 0x8080808080808080U) != 0) {
			break;
		}
	}
	return i;
}

uint32_t utf8_feed(uint32_t state, const uint8_t *bytes, size_t len)
{
	size_t i = 0;

	while (i < len && state != UTF8_BAD) {
		if (state == UTF8_START && bytes[i] < 0x80) {
			i += ascii_blocks(bytes + i, len - i);
			if (i == len) {
				break;
			}
		}
		state = step(state, bytes[i]);
		i++;
	}
	return state;
}

size_t utf8_prefix(const uint8_t *bytes, size_t len)
{
	uint32_t state = UTF8_START;
	size_t end = 0;

	for (size_t i = 0; i < len; i++) {
		state = step(state, bytes[i]);
		if (state == UTF8_BAD) {
			break;
		}
		if (state == UTF8_START) {
			end = i + 1;
		}
	}
	return end;
}

bool ws_utf8_is_valid(struct bc_span text)
{
	return utf8_feed(UTF8_START, (const uint8_t *)text.ptr, text.len) == UTF8_START;
}
