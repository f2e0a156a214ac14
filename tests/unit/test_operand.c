#include "daemon/base/buf.h"
#include "proto/agent/operand.h"
#include "proto/json.h"
#include "tests/unit/tap.h"

#include <assert.h>
#include <check.h>
#include <stdlib.h>

#define TEN     "0123456789"
#define FIFTY   TEN TEN TEN TEN TEN
#define LONGEST "$1." FIFTY FIFTY FIFTY FIFTY FIFTY "abc" /* AGENT_OPERAND_LEN */

static_assert(sizeof(LONGEST) - 1 == AGENT_OPERAND_LEN, "the longest operand");

static const struct {
	const char *text;
	enum bc_err err;
	unsigned id;
	const char *path;
} operands[] = {
	{"$1", BC_OK, 1, ""},
	{"$999", BC_OK, 999, ""},
	{"$1.rows[0].id", BC_OK, 1, ".rows[0].id"},
	{"$12[0][999999]", BC_OK, 12, "[0][999999]"},
	{"$2.order-id._x.0", BC_OK, 2, ".order-id._x.0"},
	{LONGEST, BC_OK, 1, NULL},
	{LONGEST "d", BC_E_SYNTAX, 0, NULL},
	{"", BC_E_NOTFOUND, 0, NULL},
	{"plain", BC_E_NOTFOUND, 0, NULL},
	{"$", BC_E_NOTFOUND, 0, NULL},
	{"$$", BC_E_NOTFOUND, 0, NULL},
	{"$$1", BC_E_NOTFOUND, 0, NULL},
	{"$x", BC_E_NOTFOUND, 0, NULL},
	{"a $ b$", BC_E_NOTFOUND, 0, NULL},
	{"a $$5", BC_E_NOTFOUND, 0, NULL},
	{"$$$x", BC_E_NOTFOUND, 0, NULL},
	{"$$$1", BC_E_SYNTAX, 0, NULL},
	{"a $5", BC_E_SYNTAX, 0, NULL},
	{"a$1", BC_E_SYNTAX, 0, NULL},
	{"$0", BC_E_SYNTAX, 0, NULL},
	{"$01", BC_E_SYNTAX, 0, NULL},
	{"$1000", BC_E_SYNTAX, 0, NULL},
	{"$99999999999999999999", BC_E_SYNTAX, 0, NULL},
	{"$1 ", BC_E_SYNTAX, 0, NULL},
	{"$1x", BC_E_SYNTAX, 0, NULL},
	{"$1.", BC_E_SYNTAX, 0, NULL},
	{"$1..a", BC_E_SYNTAX, 0, NULL},
	{"$1.a.", BC_E_SYNTAX, 0, NULL},
	{"$1[]", BC_E_SYNTAX, 0, NULL},
	{"$1[", BC_E_SYNTAX, 0, NULL},
	{"$1[1", BC_E_SYNTAX, 0, NULL},
	{"$1[01]", BC_E_SYNTAX, 0, NULL},
	{"$1[-1]", BC_E_SYNTAX, 0, NULL},
	{"$1[1000000]", BC_E_SYNTAX, 0, NULL},
	{"$1[x]", BC_E_SYNTAX, 0, NULL},
	{"$1[0]a", BC_E_SYNTAX, 0, NULL},
	{"$1.a b", BC_E_SYNTAX, 0, NULL},
	{"$1.\xc3\xa4", BC_E_SYNTAX, 0, NULL},
	{"$1$2", BC_E_SYNTAX, 0, NULL},
};

START_TEST(parse)
{
	size_t len = strlen(operands[_i].text);
	char *text = malloc(len + (len == 0));
	struct agent_operand operand = {.id = 77};
	enum bc_err err;

	/* Exactly its size, so that a sanitizer sees a read behind it. */
	ck_assert_ptr_nonnull(text);
	memcpy(text, operands[_i].text, len);
	err = agent_operand_parse(bc_span(text, len), &operand);
	ck_assert_msg(err == operands[_i].err, "%s: %s", operands[_i].text, bc_err_text(err));
	ck_assert_uint_eq(operand.id, err == BC_OK ? operands[_i].id : 77);
	if (operands[_i].path != NULL) {
		ck_assert(bc_span_is(operand.path, operands[_i].path));
	}
	free(text);
}
END_TEST

static json_t *json(const char *text)
{
	json_t *value = json_parse(bc_span_str(text));

	ck_assert_msg(value != NULL, "%s", text);
	return value;
}

/* Call 1 has a result, 2 has null, 3 is withdrawn, 4 runs; no other was issued. */
static const char result_1[] = "{\"rows\":[{\"id\":\"o7\",\"n\":2.5},{\"id\":\"$3\"}],\"e\":{},"
			       "\"none\":null,\"a-b\":true,\"0\":\"zero\"}";

static enum agent_result find(void *arg, unsigned id, const json_t **ret_value)
{
	json_t **results = arg;

	switch (id) {
	case 1:
	case 2:
		*ret_value = results[id - 1];
		return AGENT_RESULT_READY;
	case 3:
		return AGENT_RESULT_REMOVED;
	case 4:
		return AGENT_RESULT_PENDING;
	default:
		return AGENT_RESULT_ABSENT;
	}
}

static const struct {
	const char *arguments;
	enum bc_err err;
	const char *resolved;     /* BC_OK */
	unsigned id;              /* of what is unresolved, */
	enum agent_result result; /* and why */
} resolutions[] = {
	{"{}", BC_OK, "{}", 0, 0},
	{"{\"a\":1,\"b\":[true,null,\"x\",1.5],\"c\":{}}", BC_OK,
	 "{\"a\":1,\"b\":[true,null,\"x\",1.5],\"c\":{}}", 0, 0},
	{"{\"a\":\"$1.rows[0].id\"}", BC_OK, "{\"a\":\"o7\"}", 0, 0},
	{"{\"a\":[\"$1.rows[0].n\",{\"b\":\"$1.e\"}]}", BC_OK, "{\"a\":[2.5,{\"b\":{}}]}", 0, 0},
	{"{\"a\":\"$1.a-b\",\"b\":\"$1.0\"}", BC_OK, "{\"a\":true,\"b\":\"zero\"}", 0, 0},
	{"{\"a\":\"$1\"}", BC_OK, NULL, 0, 0}, /* all of result_1 */
	{"{\"a\":\"$1.none\",\"b\":\"$2\"}", BC_OK, "{\"a\":null,\"b\":null}", 0, 0},
	/* What comes from a result is no operand. */
	{"{\"a\":\"$1.rows[1].id\"}", BC_OK, "{\"a\":\"$3\"}", 0, 0},
	{"{\"$3\":\"$$1 costs $$$$5 $ $x\"}", BC_OK, "{\"$3\":\"$1 costs $$5 $ $x\"}", 0, 0},
	{"{\"a\":\"\\u20ac $$\"}", BC_OK, "{\"a\":\"\\u20ac $\"}", 0, 0},
	{"{\"a\":\"$3\"}", BC_E_NOTFOUND, NULL, 3, AGENT_RESULT_REMOVED},
	{"{\"a\":\"$4.x\"}", BC_E_AGAIN, NULL, 4, AGENT_RESULT_PENDING},
	{"{\"a\":\"$5\"}", BC_E_NOTFOUND, NULL, 5, AGENT_RESULT_ABSENT},
	{"{\"a\":[{\"b\":\"$1\"},\"$4\",\"$3\"]}", BC_E_AGAIN, NULL, 4, AGENT_RESULT_PENDING},
	{"{\"a\":\"$1.rows[2]\"}", BC_E_NOTFOUND, NULL, 1, AGENT_RESULT_READY},
	{"{\"a\":\"$1.rows.id\"}", BC_E_NOTFOUND, NULL, 1, AGENT_RESULT_READY},
	{"{\"a\":\"$1[0]\"}", BC_E_NOTFOUND, NULL, 1, AGENT_RESULT_READY},
	{"{\"a\":\"$1.nope\"}", BC_E_NOTFOUND, NULL, 1, AGENT_RESULT_READY},
	{"{\"a\":\"$1.none.x\"}", BC_E_NOTFOUND, NULL, 1, AGENT_RESULT_READY},
	{"{\"a\":\"$1.rows[0].id.x\"}", BC_E_NOTFOUND, NULL, 1, AGENT_RESULT_READY},
	{"{\"a\":\"$2.x\"}", BC_E_NOTFOUND, NULL, 2, AGENT_RESULT_READY},
	{"{\"a\":\"id $1\"}", BC_E_SYNTAX, NULL, 0, 0},
};

START_TEST(resolve)
{
	json_t *known[] = {json(result_1), json("null")};
	struct agent_results results = {find, (void *)known};
	struct agent_unresolved unresolved = {0};
	json_t *arguments = json(resolutions[_i].arguments);
	json_t *before = json_deep_copy(arguments);
	json_t *resolved = NULL;
	enum bc_err err = agent_resolve(arguments, &results, &resolved, &unresolved);

	ck_assert_msg(err == resolutions[_i].err, "%s: %s", resolutions[_i].arguments,
		      bc_err_text(err));
	ck_assert_msg(json_equal(arguments, before), "the arguments were changed");
	if (err == BC_OK) {
		json_t *want = resolutions[_i].resolved == NULL ? json_pack("{s:O}", "a", known[0])
								: json(resolutions[_i].resolved);

		ck_assert_msg(json_equal(resolved, want), "%s", resolutions[_i].arguments);
		json_decref(want);
	} else {
		ck_assert_ptr_null(resolved);
		ck_assert_uint_eq(unresolved.operand.id, resolutions[_i].id);
		ck_assert_int_eq(unresolved.result, resolutions[_i].result);
	}
	json_decref(resolved);
	json_decref(before);
	json_decref(arguments);
	json_decref(known[0]);
	json_decref(known[1]);
}
END_TEST

/* Changing what was resolved changes neither the results nor the arguments. */
START_TEST(resolved_is_a_copy)
{
	json_t *known[] = {json(result_1), json("null")};
	struct agent_results results = {find, (void *)known};
	struct agent_unresolved unresolved;
	json_t *arguments = json("{\"a\":\"$1\",\"b\":{}}");
	json_t *resolved;

	ck_assert_int_eq(agent_resolve(arguments, &results, &resolved, &unresolved), BC_OK);
	ck_assert_int_eq(json_object_clear(json_object_get(resolved, "a")), 0);
	ck_assert_int_eq(json_object_set_new(json_object_get(resolved, "b"), "x", json_true()), 0);
	ck_assert_uint_eq(json_object_size(known[0]), 5);
	ck_assert_uint_eq(json_object_size(json_object_get(arguments, "b")), 0);
	json_decref(resolved);
	json_decref(arguments);
	json_decref(known[0]);
	json_decref(known[1]);
}
END_TEST

/* One operand names much; many of them would be more than may be. */
START_TEST(resolved_is_bounded)
{
	enum {
		LEN = AGENT_RESOLVED_MAX / 8
	};
	char *text = malloc(LEN);
	json_t *known[] = {NULL, NULL};
	struct agent_results results = {find, (void *)known};
	struct agent_unresolved unresolved;

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', LEN);
	known[0] = json_stringn(text, LEN);
	for (size_t n = 6; n <= 9; n++) {
		json_t *arguments = json_array();
		json_t *resolved = NULL;
		enum bc_err err;

		for (size_t i = 0; i < n; i++) {
			ck_assert_int_eq(json_array_append_new(arguments, json_string("$1")), 0);
		}
		err = agent_resolve(arguments, &results, &resolved, &unresolved);
		ck_assert_int_eq(err, n < 8 ? BC_OK : BC_E_LIMIT);
		json_decref(resolved);
		json_decref(arguments);
	}
	json_decref(known[0]);
	free(text);
}
END_TEST

static json_t *nested(unsigned depth)
{
	json_t *value = json_string("$1");

	for (unsigned i = 1; i < depth; i++) {
		value = json_pack("[o]", value);
	}
	ck_assert_ptr_nonnull(value);
	return value;
}

START_TEST(depth)
{
	for (unsigned deep = 0; deep <= 1; deep++) {
		json_t *known[] = {json("1"), NULL};
		struct agent_results results = {find, (void *)known};
		struct agent_operand found[AGENT_OPERANDS_MAX];
		struct agent_unresolved unresolved;
		json_t *arguments = nested(JSON_DEPTH_MAX + deep);
		enum bc_err want = deep == 0 ? BC_OK : BC_E_LIMIT;
		json_t *resolved = NULL;
		size_t n = 0;

		ck_assert_int_eq(agent_operands(arguments, found, &n), want);
		ck_assert_uint_eq(n, deep == 0);
		ck_assert_int_eq(agent_resolve(arguments, &results, &resolved, &unresolved), want);
		json_decref(resolved);
		json_decref(arguments);
		json_decref(known[0]);
	}
}
END_TEST

START_TEST(dependencies)
{
	json_t *arguments = json(
		"{\"a\":[\"$7\",\"$1.x\",\"$$5\"],\"b\":{\"c\":\"$7.y\"},\"d\":\"$3\",\"$9\":1}");
	struct agent_operand found[AGENT_OPERANDS_MAX];
	unsigned ids[AGENT_OPERANDS_MAX];
	size_t n;

	ck_assert_int_eq(agent_operands(arguments, found, &n), BC_OK);
	ck_assert_uint_eq(n, 4);
	ck_assert_uint_eq(found[0].id, 7);
	ck_assert_uint_eq(found[1].id, 1);
	ck_assert_uint_eq(found[2].id, 7);
	ck_assert(bc_span_is(found[2].path, ".y"));
	ck_assert_uint_eq(found[3].id, 3);
	ck_assert_uint_eq(agent_operand_ids(found, n, ids), 3);
	ck_assert_uint_eq(ids[0], 1);
	ck_assert_uint_eq(ids[1], 3);
	ck_assert_uint_eq(ids[2], 7);
	ck_assert_uint_eq(agent_operand_ids(found, 0, ids), 0);
	json_decref(arguments);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("operand");
	TCase *cases = tcase_create("operand");

	tcase_set_timeout(cases, 60);
	tcase_add_loop_test(cases, parse, 0, (int)BC_ARRAY_LEN(operands));
	tcase_add_loop_test(cases, resolve, 0, (int)BC_ARRAY_LEN(resolutions));
	tcase_add_test(cases, resolved_is_a_copy);
	tcase_add_test(cases, resolved_is_bounded);
	tcase_add_test(cases, depth);
	tcase_add_test(cases, dependencies);
	suite_add_tcase(suite, cases);
	return tap_run(suite);
}
