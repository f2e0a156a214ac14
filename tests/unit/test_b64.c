#include "proto/b64.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	const char *bytes;
	size_t len;
	const char *text;
} pairs[] = {
	/* RFC 4648 section 10. */
	{"empty", "", 0, ""},
	{"f", "f", 1, "Zg=="},
	{"fo", "fo", 2, "Zm8="},
	{"foo", "foo", 3, "Zm9v"},
	{"foob", "foob", 4, "Zm9vYg=="},
	{"fooba", "fooba", 5, "Zm9vYmE="},
	{"foobar", "foobar", 6, "Zm9vYmFy"},
	{"last digits", "\xfb\xff\xbf", 3, "+/+/"},
	{"zeros", "\0\0\0", 3, "AAAA"},
	{"ones", "\xff\xff\xff", 3, "////"},
};

START_TEST(both_ways)
{
	char text[16];
	uint8_t bytes[16];
	size_t len = b64_encode(text, (const uint8_t *)pairs[_i].bytes, pairs[_i].len);

	ck_assert_uint_eq(len, B64_ENCODED_LEN(pairs[_i].len));
	ck_assert_msg(bc_span_is(bc_span(text, len), pairs[_i].text), "%s", pairs[_i].name);
	ck_assert_int_eq(b64_decode(bytes, bc_span(text, len), &len), BC_OK);
	ck_assert_uint_eq(len, pairs[_i].len);
	ck_assert_mem_eq(bytes, pairs[_i].bytes, len);
}
END_TEST

static const struct {
	const char *name;
	const char *text;
	enum bc_err err;
	size_t len;
} decodes[] = {
	{"no padding, one byte", "Zg", BC_OK, 1},
	{"no padding, two bytes", "Zm8", BC_OK, 2},
	{"half the padding", "Zg=", BC_OK, 1},
	{"one digit", "Z", BC_E_SYNTAX, 0},
	{"one digit and padding", "Z===", BC_E_SYNTAX, 0},
	{"one digit left", "Zm9vZ", BC_E_SYNTAX, 0},
	{"too much padding", "Zm8==", BC_E_SYNTAX, 0},
	{"padding behind a whole group", "Zm9v=", BC_E_SYNTAX, 0},
	{"padding alone", "==", BC_E_SYNTAX, 0},
	{"three", "Zg===", BC_E_SYNTAX, 0},
	{"padding inside", "Zg==Zm9v", BC_E_SYNTAX, 0},
	{"blank", "Zm 9", BC_E_SYNTAX, 0},
	{"line end", "Zm9v\n", BC_E_SYNTAX, 0},
	{"URL alphabet", "-_-_", BC_E_SYNTAX, 0},
	{"beyond ASCII", "Zm9\xff", BC_E_SYNTAX, 0},
	{"bad character in the last group", "Zm9vZ!", BC_E_SYNTAX, 0},
};

START_TEST(decode)
{
	uint8_t bytes[32];
	size_t len = 77;
	enum bc_err err = b64_decode(bytes, bc_span_str(decodes[_i].text), &len);

	ck_assert_msg(err == decodes[_i].err, "%s: %s", decodes[_i].name, bc_err_text(err));
	ck_assert_msg(len == (err == BC_OK ? decodes[_i].len : 77), "%s: %zu", decodes[_i].name,
		      len);
}
END_TEST

START_TEST(every_byte)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (unsigned c = 0; c < 256; c++) {
		char text[4] = {'A', 'A', 'A', (char)c};
		const char *digit = memchr(digits, (int)c, 64);
		uint8_t bytes[6];
		size_t len;
		enum bc_err err = b64_decode(bytes, bc_span(text, 4), &len);

		ck_assert_msg((err == BC_OK) == (digit != NULL || c == '='), "byte %u", c);
		if (digit != NULL) {
			ck_assert_uint_eq(bytes[2], (size_t)(digit - digits));
		}
	}
}
END_TEST

/* Nothing is written beyond the sizes the header names. */
START_TEST(round_trips)
{
	for (size_t len = 0; len < 300; len++) {
		size_t text_len = B64_ENCODED_LEN(len);
		uint8_t *bytes = malloc(len + 1);
		char *text = malloc(text_len + 1);
		uint8_t *back = malloc(text_len / 4 * 3 + 3);
		size_t back_len;

		ck_assert(bytes != NULL && text != NULL && back != NULL);
		for (size_t i = 0; i < len; i++) {
			bytes[i] = (uint8_t)(i * 31 + len);
		}
		text[text_len] = '!';
		ck_assert_uint_eq(b64_encode(text, bytes, len), text_len);
		ck_assert_int_eq(text[text_len], '!');
		ck_assert_int_eq(b64_decode(back, bc_span(text, text_len), &back_len), BC_OK);
		ck_assert_uint_eq(back_len, len);
		ck_assert(len == 0 || memcmp(back, bytes, len) == 0);
		free(bytes);
		free(text);
		free(back);
	}
}
END_TEST

static bool is_digit(unsigned c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	return c != 0 && strchr(digits, (int)c) != NULL;
}

/* Blocks are decoded many digits at a time: a bad one must be found wherever it stands in them. */
START_TEST(bad_digit_anywhere)
{
	uint8_t out[128];
	size_t len;

	for (size_t at = 0; at < 126; at++) {
		for (unsigned c = 0; c < 256; c++) {
			char text[128];

			memset(text, 'A', sizeof(text));
			text[at] = (char)c;
			ck_assert_int_eq(b64_decode(out, bc_span(text, sizeof(text)), &len),
					 is_digit(c) ? BC_OK : BC_E_SYNTAX);
		}
	}
}
END_TEST

/* Every digit at every place of a block, against a decoder that does one group at a time. */
START_TEST(every_digit_everywhere)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t whole[128];
	uint8_t part[8];
	size_t len;

	for (size_t shift = 0; shift < 64; shift++) {
		char text[128];

		for (size_t i = 0; i < sizeof(text); i++) {
			text[i] = digits[(i + shift) % 64];
		}
		ck_assert_int_eq(b64_decode(whole, bc_span(text, sizeof(text)), &len), BC_OK);
		ck_assert_uint_eq(len, 96);
		for (size_t i = 0; i < sizeof(text); i += 4) {
			ck_assert_int_eq(b64_decode(part, bc_span(text + i, 4), &len), BC_OK);
			ck_assert_mem_eq(part, whole + i / 4 * 3, 3);
		}
	}
}
END_TEST

START_TEST(null_span)
{
	uint8_t bytes[3];
	size_t len = 77;

	ck_assert_int_eq(b64_decode(bytes, bc_span(NULL, 0), &len), BC_OK);
	ck_assert_uint_eq(len, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("b64");
	TCase *cases = tcase_create("b64");

	tcase_set_timeout(cases, 60);
	tcase_add_loop_test(cases, both_ways, 0, (int)BC_ARRAY_LEN(pairs));
	tcase_add_loop_test(cases, decode, 0, (int)BC_ARRAY_LEN(decodes));
	tcase_add_test(cases, every_byte);
	tcase_add_test(cases, round_trips);
	tcase_add_test(cases, bad_digit_anywhere);
	tcase_add_test(cases, every_digit_everywhere);
	tcase_add_test(cases, null_span);
	suite_add_tcase(suite, cases);
	return tap_run(suite);
}
