/* Where a ClientHello ends, however it is cut into records and however it arrives. */
#include "daemon/net/hello.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#define RECORD 5 /* bytes of its header */

/* What OpenSSL's client sends first. */
static size_t real_hello(char *out, size_t room)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	BIO *in = BIO_new(BIO_s_mem());
	BIO *sent = BIO_new(BIO_s_mem());
	int len;

	/* Newer libraries offer keys of a kilobyte, and cut into records of a byte such a hello is too long to look at. */
	ck_assert_int_eq(SSL_set1_groups_list(ssl, "X25519"), 1);
	SSL_set_bio(ssl, in, sent);
	SSL_set_connect_state(ssl);
	ck_assert_int_eq(SSL_do_handshake(ssl), -1);
	len = BIO_read(sent, out, (int)room);
	ck_assert_int_gt(len, 100);
	ck_assert_int_lt(len, (int)room);
	SSL_free(ssl);
	SSL_CTX_free(context);
	return (size_t)len;
}

/* The same message in records of at most size bytes of it; returns their length. */
static size_t cut(const char *hello, size_t len, size_t size, char *out)
{
	size_t at = RECORD;
	size_t put = 0;

	while (at < len) {
		size_t body = len - at < size ? len - at : size;

		memcpy(out + put, hello, 3);
		out[put + 3] = (char)(body >> 8);
		out[put + 4] = (char)(body & 0xff);
		memcpy(out + put + RECORD, hello + at, body);
		put += RECORD + body;
		at += body;
	}
	return put;
}

/* Its bytes on a heap of their own, so that a sanitizer sees a read behind them. */
static size_t wanted(const char *bytes, size_t len)
{
	char *copy = malloc(len + 1);
	size_t result;

	memcpy(copy, bytes, len);
	copy = realloc(copy, len + (len == 0));
	result = net_hello_wanted(bc_span(copy, len));
	free(copy);
	return result;
}

/* Every beginning of it is incomplete, and asks for what is needed to know more, never for more than there is. */
static void check_splits(const char *bytes, size_t len)
{
	size_t next = wanted(bytes, 0);
	size_t split;

	ck_assert_uint_eq(next, RECORD);
	for (split = 0; split < len; split++) {
		if (split == next) {
			next = wanted(bytes, split);
		}
		ck_assert_uint_eq(wanted(bytes, split), next);
		ck_assert_uint_gt(next, split);
		ck_assert_uint_le(next, len);
	}
	ck_assert_uint_eq(wanted(bytes, len), 0);
}

START_TEST(every_split_of_every_cut)
{
	static const size_t sizes[] = {1, 2, 3, 4, 5, 100, 16384};
	char hello[2000];
	char bytes[6 * sizeof(hello)];
	size_t len = real_hello(hello, sizeof(hello));
	size_t size = sizes[_i];
	size_t put = cut(hello, len, size, bytes);

	ck_assert_uint_le(put, NET_HELLO_MAX);
	check_splits(bytes, put);
	/* What stands behind it is of no interest. */
	memset(bytes + put, 'x', 100);
	ck_assert_uint_eq(wanted(bytes, put + 100), 0);
}
END_TEST

static const struct {
	const char *name;
	struct bc_span bytes;
	size_t wanted;
} beginnings[] = {
	{"nothing", {"", 0}, RECORD},
	{"a header without its end", {"\x16\x03\x01\x02", 4}, RECORD},
	{"a header", {"\x16\x03\x01\x02\x05", 5}, RECORD + 0x205},
	{"a request without TLS", {"GET / HTTP/1.1\r\n\r\n", 18}, 0},
	{"an alert", {"\x15\x03\x01\x00\x02", 5}, 0},
	{"a hello of SSL 2", {"\x80\x2e\x01\x03\x01", 5}, 0},
	{"another major version", {"\x16\x04\x01\x00\x10", 5}, 0},
	{"an empty record", {"\x16\x03\x01\x00\x00", 5}, 0},
	{"a record beyond what TLS allows", {"\x16\x03\x01\x40\x01", 5}, 0},
	{"the longest that is waited for", {"\x16\x03\x01\x1f\xfb", 5}, NET_HELLO_MAX},
	{"one byte more", {"\x16\x03\x01\x1f\xfc", 5}, 0},
	{"a message of another type", {"\x16\x03\x01\x00\x04\x02\xff\xff\xff", 9}, 0},
	{"a message that goes on", {"\x16\x03\x01\x00\x05\x01\x00\x00\x02x", 10}, 15},
	{"the same with an alert between",
	 {"\x16\x03\x01\x00\x05\x01\x00\x00\x02x\x15\x03\x01\x00\x02", 15},
	 0},
	{"two messages in one record",
	 {"\x16\x03\x01\x00\x09\x01\x00\x00\x00\x01\xff\xff\xff\xff", 14},
	 0},
};

START_TEST(beginning)
{
	ck_assert_msg(wanted(beginnings[_i].bytes.ptr, beginnings[_i].bytes.len) ==
			      beginnings[_i].wanted,
		      "%s", beginnings[_i].name);
}
END_TEST

/* A message that announces more than is waited for, in records that each fit. */
START_TEST(endless_hello_is_let_go)
{
	static const char record[RECORD + 100] = "\x16\x03\x01\x00\x64\x01\xff\xff\xff";
	char bytes[NET_HELLO_MAX + RECORD];
	size_t len = 0;

	while (len + sizeof(record) <= NET_HELLO_MAX) {
		memcpy(bytes + len, record, sizeof(record));
		len += sizeof(record);
		if (len + RECORD + 100 <= NET_HELLO_MAX) {
			ck_assert_uint_eq(wanted(bytes, len), len + RECORD);
		}
	}
	memcpy(bytes + len, record, RECORD);
	ck_assert_uint_eq(wanted(bytes, len + RECORD), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hello");
	TCase *tcase = tcase_create("hello");

	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, every_split_of_every_cut, 0, 7);
	tcase_add_loop_test(tcase, beginning, 0, (int)(sizeof(beginnings) / sizeof(beginnings[0])));
	tcase_add_test(tcase, endless_hello_is_let_go);
	return tap_run(suite);
}
