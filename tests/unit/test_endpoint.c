/* What is made of the URLs of a configuration. */
#include "daemon/net/endpoint.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

struct row {
	const char *url;
	const char *more;
	bool tls;
	unsigned port;
	const char *host;
	const char *field;  /* for Host */
	const char *tunnel; /* for CONNECT */
	const char *target;
};

static const struct row rows[] = {
	{"wss://api.example/v1", "", true, 443, "api.example", "api.example", "api.example:443",
	 "/v1"},
	{"ws://api.example", "", false, 80, "api.example", "api.example", "api.example:80", "/"},
	{"ws://h:443/", "", false, 443, "h", "h:443", "h:443", "/"},
	{"wss://h:443/", "", true, 443, "h", "h", "h:443", "/"},
	{"wss://h?model=x", "a=b", true, 443, "h", "h", "h:443", "/?model=x&a=b"},
	{"wss://h/p", "a=b", true, 443, "h", "h", "h:443", "/p?a=b"},
	{"wss://h/p?", "a=b", true, 443, "h", "h", "h:443", "/p?a=b"},
	{"http://127.0.0.1:3128", "", false, 3128, "127.0.0.1", "127.0.0.1:3128", "127.0.0.1:3128",
	 "/"},
	{"wss://[2001:db8::1]/p", "", true, 443, "2001:db8::1", "[2001:db8::1]",
	 "[2001:db8::1]:443", "/p"},
	{"ws://[::1]:65535", "", false, 65535, "::1", "[::1]:65535", "[::1]:65535", "/"},
	{"ws://h/a@b:c", "", false, 80, "h", "h", "h:80", "/a@b:c"},
};

static void check_text(enum bc_err err, struct bc_buf *buf, const char *want)
{
	struct bc_span got = bc_buf_span(buf);

	ck_assert_int_eq(err, BC_OK);
	ck_assert_msg(bc_span_is(got, want), "%.*s instead of %s", BC_SPAN_ARG(got), want);
	bc_buf_clear(buf);
}

START_TEST(test_parts)
{
	const struct row *row = &rows[_i];
	struct net_endpoint endpoint;
	struct bc_buf buf;

	bc_buf_init(&buf, 1024);
	ck_assert_int_eq(net_endpoint_parse(row->url, &endpoint), BC_OK);
	ck_assert_int_eq(endpoint.tls, row->tls);
	ck_assert_uint_eq(endpoint.port, row->port);
	ck_assert_str_eq(endpoint.host, row->host);
	check_text(net_endpoint_put(&buf, &endpoint, false), &buf, row->field);
	check_text(net_endpoint_put(&buf, &endpoint, true), &buf, row->tunnel);
	check_text(net_endpoint_put_target(&buf, &endpoint, bc_span_str(row->more)), &buf,
		   row->target);
	bc_buf_release(&buf);
}
END_TEST

START_TEST(test_refused)
{
	static const char *const urls[] = {
		"",           "h",          "https://h/",    "WSS://h/",       "ws://",
		"ws:///p",    "ws://:80/",  "ws://u:p@h/",   "ws://u@h/",      "ws://h/#f",
		"ws://h:/",   "ws://h:0/",  "ws://h:65536/", "ws://h:100000/", "ws://h:8x/",
		"ws://h:-1/", "ws://[::1/", "ws://[]/",      "ws://[::1]x/"};
	struct net_endpoint endpoint = {.port = 7};
	char url[NET_HOST_SIZE + 16];

	for (size_t i = 0; i < BC_ARRAY_LEN(urls); i++) {
		ck_assert_msg(net_endpoint_parse(urls[i], &endpoint) == BC_E_INVALID, "%s",
			      urls[i]);
	}
	memset(url, 'a', sizeof(url) - 1);
	url[sizeof(url) - 1] = '\0';
	memcpy(url, "ws://", 5);
	ck_assert_int_eq(net_endpoint_parse(url, &endpoint), BC_E_INVALID);
	url[5 + NET_HOST_SIZE - 1] = '\0'; /* the longest that fits */
	ck_assert_uint_eq(endpoint.port, 7);
	ck_assert_int_eq(net_endpoint_parse(url, &endpoint), BC_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("endpoint");
	TCase *tests = tcase_create("endpoint");

	tcase_add_loop_test(tests, test_parts, 0, (int)BC_ARRAY_LEN(rows));
	tcase_add_test(tests, test_refused);
	suite_add_tcase(suite, tests);
	return tap_run(suite);
}
