/* Request templates: what is put where, and what no value can do to a request. */
#include "daemon/config/config.h"
#include "daemon/tools/template.h"
#include "daemon/tools/tool.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define KEY "00000000-0000-4000-8000-000000000000"

struct fill_case {
	const char *text; /* template */
	const char *args;
	const char *expected; /* NULL: refused */
};

static json_t *load(const char *text)
{
	json_error_t error;
	json_t *value = json_loads(text, 0, &error);

	ck_assert_msg(value != NULL, "%s: %s", text, error.text);
	return value;
}

static void verify(enum bc_err err, struct bc_buf *out, struct bc_buf *message,
		   const struct fill_case *c)
{
	if (c->expected == NULL) {
		ck_assert_msg(err == BC_E_INVALID, "%s with %s gave %.*s", c->text, c->args,
			      BC_SPAN_ARG(bc_buf_span(out)));
		ck_assert(bc_buf_len(message) > 0);
	} else {
		ck_assert_msg(err == BC_OK, "%s with %s: %.*s", c->text, c->args,
			      BC_SPAN_ARG(bc_buf_span(message)));
		ck_assert_msg(bc_span_is(bc_buf_span(out), c->expected), "%s with %s gave %.*s",
			      c->text, c->args, BC_SPAN_ARG(bc_buf_span(out)));
	}
	bc_buf_release(out);
	bc_buf_release(message);
}

static const struct fill_case url_cases[] = {
	{"http://h/a/{id}", "{\"id\":\"x y\"}", "http://h/a/x%20y"},
	{"http://h/a/{id}", "{\"id\":42}", "http://h/a/42"},
	{"http://h/a/{id}/b", "{\"id\":\"../secret\"}", "http://h/a/..%2Fsecret/b"},
	{"http://h/a/{id}/b", "{\"id\":\"..\"}", NULL},
	{"http://h/a/{id}", "{\"id\":\".\"}", NULL},
	{"http://h/a/.{id}?x", "{\"id\":\".\"}", NULL},
	{"http://h/a/{id}", "{\"id\":\"\"}", NULL},
	{"http://h/a/{id}/delete", "{}", NULL},
	{"http://h/a/{id}", "{\"id\":null}", NULL},
	{"http://h/a/{id}", "{\"id\":\"%2f\"}", "http://h/a/%252f"},
	{"http://h/a/{id}", "{\"id\":\"a?b#c&d=e\"}", "http://h/a/a%3Fb%23c%26d%3De"},
	{"http://h/a/{id}", "{\"id\":\"\xc3\xa4\"}", "http://h/a/%C3%A4"},
	{"http://h/a/{id}", "{\"id\":\"\\r\\nHost: x\"}", "http://h/a/%0D%0AHost%3A%20x"},
	{"http://h/a?q={q}&n={n}", "{\"q\":\"a&n=9\",\"n\":1}", "http://h/a?q=a%26n%3D9&n=1"},
	{"http://h/a?q={q}", "{}", "http://h/a?q="},
	{"http://h/a?q={q}", "{\"q\":\"..\"}", "http://h/a?q=.."},
	{"http://h/a?q={q}", "{\"q\":[1,\"b\"]}", "http://h/a?q=%5B1%2C%22b%22%5D"},
	{"http://h/a?q={q}", "{\"q\":true}", "http://h/a?q=true"},
	{"http://h/a?q={q.r[1].s}", "{\"q\":{\"r\":[0,{\"s\":\"deep\"}]}}", "http://h/a?q=deep"},
	{"http://h/a?q={args.q}&k={idempotency_key}", "{\"q\":1}", "http://h/a?q=1&k=" KEY},
	{"http://h/a?q={q r}{}", "{\"q\":1}", "http://h/a?q={q r}{}"},
	{"http://{q}/a", "{\"q\":\"evil.example\"}", NULL},
	{"http://h{q}/a", "{\"q\":\"@evil.example\"}", NULL},
	{"http://h?q={q}", "{\"q\":\"@evil/\"}", "http://h?q=%40evil%2F"},
};

START_TEST(a_url_keeps_its_shape)
{
	const struct fill_case *c = &url_cases[_i];
	struct cfg_request request = {.method = "GET", .url = c->text};
	json_t *args = load(c->args);
	struct tool_values values = {.args = args, .idempotency_key = KEY};
	struct bc_buf message;
	struct bc_buf out;

	bc_buf_init(&out, 4096);
	bc_buf_init(&message, 512);
	verify(tool_fill_url(&out, &request, &values, &message), &out, &message, c);
	json_decref(args);
}
END_TEST

static const struct fill_case body_cases[] = {
	{"{*}", "{\"b\":1,\"a\":\"x\"}", "{\"a\":\"x\",\"b\":1}"},
	{"{\"n\":{n},\"s\":{s}}", "{\"n\":1.5,\"s\":\"a\\\"b\"}", "{\"n\":1.5,\"s\":\"a\\\"b\"}"},
	{"{\"n\":{n}}", "{}", "{\"n\":null}"},
	{"{\"n\":{n}}", "{\"n\":{\"k\":[1]}}", "{\"n\":{\"k\":[1]}}"},
	{"{\"n\":{n}}", "{\"n\":\"1,\\\"admin\\\":true\"}", "{\"n\":\"1,\\\"admin\\\":true\"}"},
	{"{\"t\":\"to {s}!\"}", "{\"s\":\"a\\\",\\\"admin\\\":\\\"1\"}",
	 "{\"t\":\"to a\\\",\\\"admin\\\":\\\"1!\"}"},
	{"{\"t\":\"{s}\"}", "{\"s\":\"\\\\\"}", "{\"t\":\"\\\\\"}"},
	{"{\"t\":\"{s}\"}", "{\"s\":\"\\r\\n\"}", "{\"t\":\"\\r\\n\"}"},
	{"{\"t\":\"{s}\"}", "{\"s\":7}", "{\"t\":\"7\"}"},
	{"{\"t\":\"{s}\"}", "{}", "{\"t\":\"\"}"},
	{"{\"t\":\"{s}\"}", "{\"s\":{\"k\":\"v\"}}", "{\"t\":\"{\\\"k\\\":\\\"v\\\"}\"}"},
	{"{\"t\":\"\\\"{s}\",\"u\":{s}}", "{\"s\":\"x\"}", "{\"t\":\"\\\"x\",\"u\":\"x\"}"},
	{"{\"t\":\"\xc3\xa4{s}\"}", "{\"s\":\"\xe2\x82\xac\"}", "{\"t\":\"\xc3\xa4\xe2\x82\xac\"}"},
	{"{\"key\":{idempotency_key}}", "{}", "{\"key\":\"" KEY "\"}"},
	{"{\"a\":{},\"b\":{\"c\":{}}}", "{}", "{\"a\":{},\"b\":{\"c\":{}}}"},
	{"{\"{s}\":1,\"admin\":false}", "{\"s\":\"admin\"}", NULL},
	{"{\"{s}\" :1}", "{\"s\":\"x\"}", NULL},
};

static enum bc_err fill_body(const struct cfg_request *request, const char *args,
			     struct bc_buf *out, struct bc_buf *message)
{
	json_t *tree = load(args);
	struct tool_values values = {.args = tree, .idempotency_key = KEY};
	enum bc_err err;

	bc_buf_init(out, 4096);
	bc_buf_init(message, 512);
	err = tool_fill_body(out, request, &values, message);
	json_decref(tree);
	return err;
}

START_TEST(a_json_body_keeps_its_shape)
{
	const struct fill_case *c = &body_cases[_i];
	struct cfg_request request = {.method = "POST", .url = "http://h/", .body = c->text};
	struct bc_buf message;
	struct bc_buf out;
	enum bc_err err = fill_body(&request, c->args, &out, &message);

	verify(err, &out, &message, c);
}
END_TEST

static const struct {
	const char *type;
	struct fill_case fill;
} kind_cases[] = {
	{"application/x-www-form-urlencoded",
	 {"a={a}&b=1", "{\"a\":\"x&b=2\"}", "a=x%26b%3D2&b=1"}},
	{"text/plain", {"say {a}", "{\"a\":\"\\\"hi\\\"\\n\"}", "say \"hi\"\n"}},
	{"application/vnd.x+json; charset=utf-8",
	 {"{\"a\":{a}}", "{\"a\":\"q\"}", "{\"a\":\"q\"}"}},
	{"application/xml", {"<a>{a}</a>", "{\"a\":\"</a>\"}", NULL}},
	{"application/xml", {"<a/>", "{}", "<a/>"}},
};

START_TEST(the_content_type_decides_how_a_body_is_escaped)
{
	struct cfg_header header = {.name = "content-type", .value = kind_cases[_i].type};
	struct cfg_request request = {.method = "POST",
				      .url = "http://h/",
				      .headers = &header,
				      .header_count = 1,
				      .body = kind_cases[_i].fill.text};
	struct bc_buf message;
	struct bc_buf out;
	enum bc_err err = fill_body(&request, kind_cases[_i].fill.args, &out, &message);

	verify(err, &out, &message, &kind_cases[_i].fill);
}
END_TEST

static const struct fill_case header_cases[] = {
	{"Bearer {t}", "{\"t\":\"abc\"}", "X: Bearer abc"},
	{"{t}", "{\"t\":\"a\\r\\nEvil: 1\"}", NULL},
	{"{t}", "{\"t\":\"a\\nb\"}", NULL},
	{"{t}", "{\"t\":\"a\\tb\"}", NULL},
	{"{t}", "{\"t\":\"\\u007f\"}", NULL},
	{"{t}", "{}", "X: "},
	{"{t}", "{\"t\":[1]}", "X: [1]"},
	{"{idempotency_key}", "{}", "X: " KEY},
};

START_TEST(a_header_stays_one_line)
{
	const struct fill_case *c = &header_cases[_i];
	struct cfg_header header = {.name = "X", .value = c->text};
	json_t *args = load(c->args);
	struct tool_values values = {.args = args, .idempotency_key = KEY};
	struct bc_buf message;
	struct bc_buf out;

	bc_buf_init(&out, 4096);
	bc_buf_init(&message, 512);
	verify(tool_fill_header(&out, &header, &values, &message), &out, &message, c);
	json_decref(args);
}
END_TEST

START_TEST(an_undo_takes_parts_of_the_result)
{
	static const struct fill_case c = {
		"{\"a\":{args.id},\"r\":{result.items[1].id},\"s\":\"{result.none.x}\",\"t\":{result[0]}}",
		"{\"id\":1}", "{\"a\":1,\"r\":\"b\",\"s\":\"\",\"t\":null}"};
	struct cfg_request request = {.method = "POST", .url = "http://h/", .body = c.text};
	json_t *args = load(c.args);
	json_t *result = load("{\"items\":[{\"id\":\"a\"},{\"id\":\"b\"}]}");
	struct tool_values values = {.args = args, .result = result, .idempotency_key = KEY};
	struct bc_buf message;
	struct bc_buf out;

	bc_buf_init(&out, 4096);
	bc_buf_init(&message, 512);
	verify(tool_fill_body(&out, &request, &values, &message), &out, &message, &c);
	json_decref(args);
	json_decref(result);
}
END_TEST

static const struct {
	const char *url;
	const char *header; /* "Name: value" or NULL */
	const char *body;
	bool has_result;
	const char *message; /* NULL: fine */
} check_cases[] = {
	{"http://h/{a}?b={b}", "X: {a}", "{\"a\":{a},\"k\":\"{idempotency_key}\"}", false, NULL},
	{"http://h/", NULL, "{*}", false, NULL},
	{"http://h/{c}", NULL, NULL, false, "c: no such argument in parameters"},
	{"http://h/{args.c}", NULL, NULL, false, "args.c: no such argument in parameters"},
	{"http://h/{a.b[0].c}", NULL, NULL, false, NULL},
	{"http://h/{a..b}", NULL, NULL, false, "a..b: must be like name.name[0]"},
	{"http://h/{a[x]}", NULL, NULL, false, "a[x]: must be like name.name[0]"},
	{"http://h/{result.x}", NULL, NULL, false, "result.x: there is no result yet"},
	{"http://h/{result.x}", NULL, NULL, true, NULL},
	{"http://h/?all={*}", NULL, NULL, false, "*: all arguments can only stand in a body"},
	{"http://{a}/", NULL, NULL, false, "url: the host cannot hold a placeholder"},
	{"http://h/", "X: {*}", NULL, false, "*: all arguments can only stand in a body"},
	{"http://h/", "Content-Length: 3", NULL, false,
	 "Content-Length: this header is set by us alone"},
	{"http://h/", "Bad Name: 3", NULL, false, "Bad Name: not a header"},
	{"http://h/", "X: a\nb", NULL, false, "X: not a header"},
	{"http://h/", NULL, "{\"a\":{a}", false,
	 "body: not JSON with values in place of the placeholders"},
	{"http://h/", NULL, "hello {a}", false,
	 "body: not JSON with values in place of the placeholders"},
	{"http://h/", NULL, "{\"{a}\":1}", false, "body: a key cannot hold a placeholder"},
	{"http://h/", "Content-Type: text/plain", "hello {a}", false, NULL},
	{"http://h/", "Content-Type: text/xml", "<a>{a}</a>", false,
	 "a: a body of this Content-Type cannot hold arguments"},
};

START_TEST(templates_that_cannot_be_filled_are_refused)
{
	json_t *parameters = load("{\"type\":\"object\",\"properties\":{\"a\":true,\"b\":true}}");
	char name[64] = "";
	struct cfg_header header = {.name = name};
	struct cfg_request request = {.method = "POST",
				      .url = check_cases[_i].url,
				      .headers = &header,
				      .header_count = 0,
				      .body = check_cases[_i].body};
	struct bc_buf message;

	if (check_cases[_i].header != NULL) {
		const char *colon = strstr(check_cases[_i].header, ": ");

		(void)snprintf(name, sizeof(name), "%.*s", (int)(colon - check_cases[_i].header),
			       check_cases[_i].header);
		header.value = colon + 2;
		request.header_count = 1;
	}
	bc_buf_init(&message, 512);
	ck_assert_int_eq(
		tool_request_check(&request, parameters, check_cases[_i].has_result, &message),
		check_cases[_i].message == NULL ? BC_OK : BC_E_INVALID);
	ck_assert_msg(bc_span_is(bc_buf_span(&message),
				 check_cases[_i].message == NULL ? "" : check_cases[_i].message),
		      "%s: %.*s", check_cases[_i].url, BC_SPAN_ARG(bc_buf_span(&message)));
	bc_buf_release(&message);
	json_decref(parameters);
}
END_TEST

START_TEST(the_host_of_a_url)
{
	ck_assert(bc_span_is(tool_url_host("https://user:pw@h.example:8443/a/b@c?d"), "h.example"));
	ck_assert(bc_span_is(tool_url_host("http://[::1]:80/"), "[::1]"));
	ck_assert(bc_span_is(tool_url_host("http://[::1]"), "[::1]"));
	ck_assert(bc_span_is(tool_url_host("http://h?x=:1"), "h"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("template");
	TCase *tcase = tcase_create("template");

	tcase_add_loop_test(tcase, a_url_keeps_its_shape, 0, BC_ARRAY_LEN(url_cases));
	tcase_add_loop_test(tcase, a_json_body_keeps_its_shape, 0, BC_ARRAY_LEN(body_cases));
	tcase_add_loop_test(tcase, the_content_type_decides_how_a_body_is_escaped, 0,
			    BC_ARRAY_LEN(kind_cases));
	tcase_add_loop_test(tcase, a_header_stays_one_line, 0, BC_ARRAY_LEN(header_cases));
	tcase_add_loop_test(tcase, templates_that_cannot_be_filled_are_refused, 0,
			    BC_ARRAY_LEN(check_cases));
	tcase_add_test(tcase, an_undo_takes_parts_of_the_result);
	tcase_add_test(tcase, the_host_of_a_url);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
