/* The query of a client's handshake, as the provider gets it. */
#include "daemon/bridge.h"
#include "tests/unit/tap.h"

#include <check.h>

static const struct {
	const char *query;
	const char *expected; /* with the model that the configuration names */
} queries[] = {
	{"", "model=ours"},
	{"model=theirs", "model=ours"},
	{"a=1&model=theirs&b=%20", "a=1&b=%20&model=ours"},
	{"model", "model=ours"},
	{"model=", "model=ours"},
	/* In other words, which a provider understands likewise. */
	{"%6dodel=theirs", "model=ours"},
	{"a=1&mod%65%6C=theirs", "a=1&model=ours"},
	/* Others. */
	{"models=1&odel=2&Model=3", "models=1&odel=2&Model=3&model=ours"},
	{"mode=1&%=2&mod%6=3", "mode=1&%=2&mod%6=3&model=ours"},
};

static void expect(const char *model, const char *query, const char *expected)
{
	struct cfg_upstream upstream = {.model = model};
	struct bc_buf out;

	bc_buf_init(&out, 1024);
	ck_assert_int_eq(bridge_query(&upstream, bc_span_str(query), &out), BC_OK);
	ck_assert_msg(bc_span_is(bc_buf_span(&out), expected), "%.*s, not %s",
		      BC_SPAN_ARG(bc_buf_span(&out)), expected);
	bc_buf_release(&out);
}

START_TEST(a_client_asks_for_no_other_model_than_the_configured_one)
{
	expect("ours", queries[_i].query, queries[_i].expected);
}
END_TEST

START_TEST(without_one_its_word_counts)
{
	expect(NULL, "a=1&&%6dodel=theirs", "a=1&%6dodel=theirs");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("query");
	TCase *tcase = tcase_create("query");

	tcase_add_loop_test(tcase, a_client_asks_for_no_other_model_than_the_configured_one, 0,
			    (int)BC_ARRAY_LEN(queries));
	tcase_add_test(tcase, without_one_its_word_counts);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
