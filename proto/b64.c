#include "proto/b64.h"

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

static const char digits[64] = {'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M',
				'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z',
				'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm',
				'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z',
				'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '+', '/'};

/* Value of a digit plus one, so that every byte that is no digit is 0 without being listed. */
static const uint8_t values[256] = {
	['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,
	['H'] = 8,  ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14,
	['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21,
	['V'] = 22, ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28,
	['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35,
	['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42,
	['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49,
	['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
	['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63,
	['/'] = 64,
};

size_t b64_encode(char *out, const uint8_t *bytes, size_t len)
{
	char *at = out;
	size_t i;

	for (i = 0; len - i >= 3; i += 3) {
		uint32_t group =
			(uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];

		*at++ = digits[group >> 18];
		*at++ = digits[group >> 12 & 63];
		*at++ = digits[group >> 6 & 63];
		*at++ = digits[group & 63];
	}
	if (i < len) {
		bool two = len - i == 2;
		uint32_t group = (uint32_t)bytes[i] << 16 | (two ? (uint32_t)bytes[i + 1] << 8 : 0);

		*at++ = digits[group >> 18];
		*at++ = digits[group >> 12 & 63];
		*at++ = two ? digits[group >> 6 & 63] : '=';
		*at++ = '=';
	}
	return (size_t)(at - out);
}

/* Digits in front of the padding; the padding may be shorter than it ought to be, but not longer. */
static size_t without_padding(struct bc_span text)
{
	size_t len = text.len;
	size_t padding = 0;

	while (len > 0 && text.ptr[len - 1] == '=' && padding < 2) {
		len--;
		padding++;
	}
	return padding > (4 - len % 4) % 4 ? text.len : len;
}

/* One group of n digits, 2 to 4, which gives n - 1 bytes; false if one is no digit. */
static bool decode_group(uint8_t *out, const char *text, size_t n)
{
	uint32_t group = 0;

	for (size_t i = 0; i < 4; i++) {
		uint32_t value = i < n ? values[(uint8_t)text[i]] : 1;

		if (value == 0) {
			return false;
		}
		group = group << 6 | (value - 1);
	}
	for (size_t i = 0; i + 1 < n; i++) {
		out[i] = (uint8_t)(group >> (16 - 8 * i));
	}
	return true;
}

#ifdef __SSE2__
/* 16 bytes that are 0xff where text lies between first and last. */
static __m128i between(__m128i text, char first, char last)
{
	return _mm_and_si128(_mm_cmpgt_epi8(text, _mm_set1_epi8((char)(first - 1))),
			     _mm_cmplt_epi8(text, _mm_set1_epi8((char)(last + 1))));
}

/*
 * Decode 16 digits to 12 bytes; writes 13.  false: one of them is no digit.
 *
 * Each range of digits has one distance from its values.  Then, within each group of four: two neighbours make
 * 12 bits, two of those make 24.
 */
static bool decode_16(uint8_t *out, const char *digits_16)
{
	__m128i text = _mm_loadu_si128((const __m128i *)(const void *)digits_16);
	__m128i upper = between(text, 'A', 'Z');
	__m128i lower = between(text, 'a', 'z');
	__m128i number = between(text, '0', '9');
	__m128i plus = _mm_cmpeq_epi8(text, _mm_set1_epi8('+'));
	__m128i slash = _mm_cmpeq_epi8(text, _mm_set1_epi8('/'));
	__m128i letter = _mm_or_si128(upper, lower);
	__m128i sign = _mm_or_si128(plus, slash);
	__m128i distance = _mm_or_si128(
		_mm_or_si128(_mm_and_si128(upper, _mm_set1_epi8(0 - 'A')),
			     _mm_and_si128(lower, _mm_set1_epi8(26 - 'a'))),
		_mm_or_si128(_mm_and_si128(number, _mm_set1_epi8(52 - '0')),
			     _mm_or_si128(_mm_and_si128(plus, _mm_set1_epi8(62 - '+')),
					  _mm_and_si128(slash, _mm_set1_epi8(63 - '/')))));
	__m128i value = _mm_add_epi8(text, distance);
	__m128i pairs = _mm_or_si128(_mm_slli_epi16(_mm_and_si128(value, _mm_set1_epi16(0xff)), 6),
				     _mm_srli_epi16(value, 8));
	__m128i groups = _mm_madd_epi16(pairs, _mm_set1_epi32(1 << 16 | 1 << 12));
	uint32_t lanes[4];

	if (_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(letter, number), sign)) != 0xffff) {
		return false;
	}
	_mm_storeu_si128((__m128i *)(void *)lanes, groups);
	for (int i = 0; i < 4; i++) {
		/* The high byte first; the fourth is overwritten by the next group. */
		uint32_t bytes = __builtin_bswap32(lanes[i] << 8);

		memcpy(out + 3 * (size_t)i, &bytes, sizeof(bytes));
	}
	return true;
}

#if defined(__x86_64__)
/* The same 16 bytes in both halves of a register. */
__attribute__((target("avx2"))) static __m256i table(const char bytes[16])
{
	return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)bytes));
}

/*
 * Decode 32 digits at a time to 24 bytes, each time writing 32; stops in front of what is no digit.  Both halves of a
 * byte are looked up: each upper half stands for a class of digits, each lower half forbids some of the classes.
 * Source: Mula, Lemire: Faster Base64 Encoding and Decoding Using AVX2 Instructions, 2018.
 */
__attribute__((target("avx2"))) static size_t decode_avx2(uint8_t *out, const char *text,
							  size_t len)
{
	static const char classes[16] = {16, 16, 1, 2, 4, 8, 4, 8, 16, 16, 16, 16, 16, 16, 16, 16};
	static const char forbidden[16] = {21, 17, 17, 17, 17, 17, 17, 17,
					   17, 17, 19, 26, 27, 27, 27, 26};
	/* From a digit to its value, by its upper half; a slash has the one below that of plus. */
	static const char distances[16] = {0,       63 - '/', 62 - '+', 52 - '0',
					   0 - 'A', 0 - 'A',  26 - 'a', 26 - 'a'};
	static const char order[16] = {2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1};
	const __m256i half = _mm256_set1_epi8(0x0f);
	const __m256i together = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7);
	size_t done;

	for (done = 0; len - done >= 44; done += 32) {
		__m256i digits_32 =
			_mm256_loadu_si256((const __m256i *)(const void *)(text + done));
		__m256i upper = _mm256_and_si256(_mm256_srli_epi32(digits_32, 4), half);
		__m256i lower = _mm256_and_si256(digits_32, half);
		__m256i slash = _mm256_cmpeq_epi8(digits_32, _mm256_set1_epi8('/'));
		__m256i value;

		if (!_mm256_testz_si256(_mm256_shuffle_epi8(table(classes), upper),
					_mm256_shuffle_epi8(table(forbidden), lower))) {
			break;
		}
		value = _mm256_add_epi8(
			digits_32,
			_mm256_shuffle_epi8(table(distances), _mm256_add_epi8(upper, slash)));
		/* Two neighbours make 12 bits, two of those make 24. */
		value = _mm256_maddubs_epi16(value, _mm256_set1_epi16(1 << 8 | 1 << 6));
		value = _mm256_madd_epi16(value, _mm256_set1_epi32(1 << 16 | 1 << 12));
		value = _mm256_shuffle_epi8(value, table(order));
		_mm256_storeu_si256((__m256i *)(void *)(out + done / 4 * 3),
				    _mm256_permutevar8x32_epi32(value, together));
	}
	return done;
}

/* The processor was looked at before main(), so asking is one load in any thread. */
static size_t decode_wide(uint8_t *out, const char *text, size_t len)
{
	return __builtin_cpu_supports("avx2") ? decode_avx2(out, text, len) : 0;
}
#else
static size_t decode_wide(uint8_t *out, const char *text, size_t len)
{
	(void)out;
	(void)text;
	(void)len;
	return 0;
}
#endif

/* As many digits as whole blocks take, but never the last ones, whose stores would not fit; returns how many. */
static size_t decode_blocks(uint8_t *out, const char *text, size_t len)
{
	size_t done = decode_wide(out, text, len);

	while (len - done >= 20 && decode_16(out + done / 4 * 3, text + done)) {
		done += 16;
	}
	return done;
}
#else
static size_t decode_blocks(uint8_t *out, const char *text, size_t len)
{
	(void)out;
	(void)text;
	(void)len;
	return 0;
}
#endif

enum bc_err b64_decode(uint8_t *out, struct bc_span text, size_t *ret_len)
{
	size_t len = without_padding(text);
	size_t rest = len % 4;
	uint8_t *at = out;
	size_t i;

	if (rest == 1) {
		return BC_E_SYNTAX;
	}
	/* What stops a block is found again, digit by digit. */
	i = decode_blocks(at, text.ptr, len);
	at += i / 4 * 3;
	for (; len - i >= 4; i += 4) {
		if (!decode_group(at, text.ptr + i, 4)) {
			return BC_E_SYNTAX;
		}
		at += 3;
	}
	if (rest > 0) {
		if (!decode_group(at, text.ptr + i, rest)) {
			return BC_E_SYNTAX;
		}
		at += rest - 1;
	}
	*ret_len = (size_t)(at - out);
	return BC_OK;
}
