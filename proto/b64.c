#include "proto/b64.h"

#include <stdint.h>

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

enum bc_err b64_decode(uint8_t *out, struct bc_span text, size_t *ret_len)
{
	size_t len = without_padding(text);
	size_t rest = len % 4;
	uint8_t *at = out;
	size_t i;

	if (rest == 1) {
		return BC_E_SYNTAX;
	}
	for (i = 0; len - i >= 4; i += 4) {
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
