/* Schemas of tool parameters: which are accepted, what they let through, what the model is told. */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/tools/schema.h"
#include "daemon/tools/tool.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct args_case {
	/* of the member "v", or a whole object schema when it begins with '#' */
	const char *schema;
	const char *arguments;
	const char *expected; /* canonical text, or the message when it does not begin with '{' */
};

static json_t *load(const char *text)
{
	json_error_t error;
	json_t *value = json_loads(text, 0, &error);

	ck_assert_msg(value != NULL, "%s: %s", text, error.text);
	return value;
}

static json_t *case_schema(const char *schema)
{
	char text[2048];

	if (schema[0] == '#') {
		return load(schema + 1);
	}
	(void)snprintf(text, sizeof(text), "{\"type\":\"object\",\"properties\":{\"v\":%s}}",
		       schema);
	return load(text);
}

static void check_case(const struct args_case *c)
{
	struct cfg_tool tool = {.parameters = case_schema(c->schema)};
	struct bc_buf message;
	char *text = NULL;
	enum bc_err err;

	bc_buf_init(&message, 1024);
	err = tool_schema_check(tool.parameters, &message);
	ck_assert_msg(err == BC_OK, "%s: %.*s", c->schema, BC_SPAN_ARG(bc_buf_span(&message)));
	err = tool_args_check(&tool, bc_span_str(c->arguments), &text, &message);
	if (c->expected[0] == '{') {
		ck_assert_msg(err == BC_OK, "%s with %s: %.*s", c->schema, c->arguments,
			      BC_SPAN_ARG(bc_buf_span(&message)));
		ck_assert_str_eq(text, c->expected);
	} else {
		ck_assert_msg(err == BC_E_INVALID, "%s accepted %s", c->schema, c->arguments);
		ck_assert_msg(bc_span_is(bc_buf_span(&message), c->expected),
			      "%s with %s says %.*s", c->schema, c->arguments,
			      BC_SPAN_ARG(bc_buf_span(&message)));
	}
	free(text);
	bc_buf_release(&message);
	json_decref(tool.parameters);
}

static const struct args_case args_cases[] = {
	/* type */
	{"{\"type\":\"string\"}", "{\"v\":\"x\"}", "{\"v\":\"x\"}"},
	{"{\"type\":\"string\"}", "{\"v\":1}", "v: must be a string"},
	{"{\"type\":\"integer\"}", "{\"v\":3.0}", "{\"v\":3}"},
	{"{\"type\":\"integer\"}", "{\"v\":3.5}", "v: must be an integer"},
	{"{\"type\":\"integer\"}", "{\"v\":\"3\"}", "v: must be an integer"},
	{"{\"type\":\"number\"}", "{\"v\":3}", "{\"v\":3}"},
	{"{\"type\":[\"string\",\"null\"]}", "{\"v\":null}", "{\"v\":null}"},
	{"{\"type\":[\"string\",\"null\"]}", "{\"v\":true}", "v: must be a string or null"},
	{"{\"type\":\"boolean\"}", "{\"v\":0}", "v: must be a boolean"},
	{"{\"type\":\"object\"}", "{\"v\":[]}", "v: must be an object"},
	{"true", "{\"v\":[]}", "{\"v\":[]}"},
	{"false", "{\"v\":1}", "v: not allowed here"},
	/* members */
	{"#{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":[\"city\"]}",
	 "{}", "city: missing"},
	{"#{\"type\":\"object\",\"properties\":{\"a\":true},\"additionalProperties\":false}",
	 "{\"b\":1}", "b: no such argument"},
	{"#{\"type\":\"object\",\"properties\":{\"a\":true},\"additionalProperties\":{\"type\":\"integer\"}}",
	 "{\"b\":\"x\"}", "b: must be an integer"},
	{"#{\"type\":\"object\",\"properties\":{\"a\":true}}", "{\"b\":1}", "{\"b\":1}"},
	{"#{\"type\":\"object\",\"minProperties\":1}", "{}",
	 "arguments: must have at least 1 members"},
	{"#{\"type\":\"object\",\"maxProperties\":1}", "{\"a\":1,\"b\":2}",
	 "arguments: must have at most 1 members"},
	{"{\"type\":\"object\",\"properties\":{\"w\":{\"type\":\"array\",\"items\":{\"required\":[\"x\"]}}}}",
	 "{\"v\":{\"w\":[{\"x\":1},{}]}}", "v.w[1].x: missing"},
	/* choices */
	{"{\"enum\":[\"a\",1,{\"k\":1}]}", "{\"v\":{\"k\":1.0}}", "{\"v\":{\"k\":1}}"},
	{"{\"enum\":[\"a\",\"b\"]}", "{\"v\":\"c\"}", "v: must be one of [\"a\",\"b\"]"},
	{"{\"const\":2}", "{\"v\":2.0}", "{\"v\":2}"},
	{"{\"const\":2}", "{\"v\":3}", "v: must be 2"},
	{"{\"const\":false}", "{\"v\":0}", "v: must be false"},
	/* numbers */
	{"{\"minimum\":1}", "{\"v\":0}", "v: must be at least 1"},
	{"{\"minimum\":1}", "{\"v\":1}", "{\"v\":1}"},
	{"{\"maximum\":1.5}", "{\"v\":2}", "v: must be at most 1.5"},
	{"{\"exclusiveMinimum\":1}", "{\"v\":1}", "v: must be greater than 1"},
	{"{\"exclusiveMaximum\":1}", "{\"v\":1}", "v: must be less than 1"},
	{"{\"multipleOf\":5}", "{\"v\":12}", "v: must be a multiple of 5"},
	{"{\"multipleOf\":0.1}", "{\"v\":0.3}", "{\"v\":0.3}"},
	{"{\"multipleOf\":0.1}", "{\"v\":0.35}", "v: must be a multiple of 0.1"},
	{"{\"maximum\":9007199254740993}", "{\"v\":9007199254740994}",
	 "v: must be at most 9007199254740993"},
	{"{\"minimum\":5}", "{\"v\":\"text\"}", "{\"v\":\"text\"}"},
	/* strings: lengths count characters */
	{"{\"maxLength\":2}", "{\"v\":\"\xc3\xa4\xc3\xb6\"}", "{\"v\":\"\xc3\xa4\xc3\xb6\"}"},
	{"{\"maxLength\":2}", "{\"v\":\"abc\"}", "v: must have at most 2 characters"},
	{"{\"minLength\":3}", "{\"v\":\"\xf0\x9f\x98\x80\"}", "v: must have at least 3 characters"},
	{"{\"pattern\":\"^\\\\d{4}-\"}", "{\"v\":\"2025-01-01\"}", "{\"v\":\"2025-01-01\"}"},
	{"{\"pattern\":\"^\\\\d{4}-\"}", "{\"v\":\"01.01.2025\"}", "v: does not match ^\\d{4}-"},
	{"{\"pattern\":\"b$\"}", "{\"v\":\"ab\\n\"}", "v: does not match b$"},
	{"{\"pattern\":\"^.$\"}", "{\"v\":\"\xc3\xa4\"}", "{\"v\":\"\xc3\xa4\"}"},
	{"{\"format\":\"date\"}", "{\"v\":\"no date\"}", "{\"v\":\"no date\"}"},
	/* arrays */
	{"{\"items\":{\"type\":\"integer\"}}", "{\"v\":[1,\"x\"]}", "v[1]: must be an integer"},
	{"{\"prefixItems\":[{\"type\":\"integer\"}],\"items\":false}", "{\"v\":[1]}",
	 "{\"v\":[1]}"},
	{"{\"prefixItems\":[{\"type\":\"integer\"}],\"items\":false}", "{\"v\":[1,2]}",
	 "v[1]: not allowed here"},
	{"{\"minItems\":1}", "{\"v\":[]}", "v: must have at least 1 elements"},
	{"{\"maxItems\":1}", "{\"v\":[1,2]}", "v: must have at most 1 elements"},
	{"{\"uniqueItems\":true}", "{\"v\":[1,2,1.0]}", "v: must not hold the same value twice"},
	{"{\"uniqueItems\":true}", "{\"v\":[1,\"1\"]}", "{\"v\":[1,\"1\"]}"},
	/* composition */
	{"{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}", "{\"v\":1}", "{\"v\":1}"},
	{"{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}", "{\"v\":null}",
	 "v: fits none of the 2 forms it may have"},
	{"{\"oneOf\":[{\"type\":\"number\"},{\"type\":\"integer\"}]}", "{\"v\":1}",
	 "v: fits 2 forms where only one may fit"},
	{"{\"oneOf\":[{\"type\":\"number\"},{\"type\":\"integer\"}]}", "{\"v\":1.5}",
	 "{\"v\":1.5}"},
	{"{\"allOf\":[{\"minimum\":1},{\"maximum\":3}]}", "{\"v\":4}", "v: must be at most 3"},
	{"{\"not\":{\"const\":4}}", "{\"v\":4}", "v: has a form it must not have"},
	{"{\"not\":{\"const\":4}}", "{\"v\":5}", "{\"v\":5}"},
	/* references */
	{"#{\"type\":\"object\",\"properties\":{\"v\":{\"$ref\":\"#/$defs/n\"}},\"$defs\":{\"n\":{\"type\":\"integer\"}}}",
	 "{\"v\":\"x\"}", "v: must be an integer"},
	{"#{\"type\":\"object\",\"properties\":{\"v\":{\"$ref\":\"#/definitions/n\",\"minimum\":2}},"
	 "\"definitions\":{\"n\":{\"type\":\"integer\"}}}",
	 "{\"v\":1}", "v: must be at least 2"},
	{"#{\"type\":\"object\",\"properties\":{\"v\":{\"$ref\":\"#\"}},\"additionalProperties\":false}",
	 "{\"v\":{\"v\":{\"w\":1}}}", "v.v.w: no such argument"},
	/* defaults */
	{"{\"type\":\"integer\",\"default\":2}", "{}", "{\"v\":2}"},
	{"{\"type\":\"integer\",\"default\":2}", "", "{\"v\":2}"},
	{"{\"type\":\"integer\",\"default\":2}", "{\"v\":3}", "{\"v\":3}"},
	{"{\"type\":\"object\",\"default\":{},\"properties\":{\"w\":{\"default\":[1]}}}", "{}",
	 "{\"v\":{\"w\":[1]}}"},
	{"{\"items\":{\"properties\":{\"q\":{\"default\":1}}}}", "{\"v\":[{},{\"q\":2}]}",
	 "{\"v\":[{\"q\":1},{\"q\":2}]}"},
	{"#{\"type\":\"object\",\"properties\":{\"v\":{\"$ref\":\"#/$defs/n\"}},\"$defs\":{\"n\":{\"default\":7}}}",
	 "{}", "{\"v\":7}"},
	{"#{\"type\":\"object\",\"properties\":{\"v\":{\"default\":1}},\"required\":[\"v\"]}", "{}",
	 "{\"v\":1}"},
	{"{\"anyOf\":[{\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"b\":{\"default\":1}}},"
	 "{\"type\":\"object\",\"properties\":{\"c\":{\"default\":2}}}]}",
	 "{\"v\":{}}", "{\"v\":{\"c\":2}}"},
	{"{\"default\":\"x\",\"type\":\"integer\"}", "{}", "v: must be an integer"},
};

START_TEST(arguments_fit_or_the_model_is_told)
{
	check_case(&args_cases[_i]);
}
END_TEST

START_TEST(same_arguments_have_the_same_text)
{
	static const char schema[] = "{\"type\":\"object\",\"properties\":{\"b\":{\"default\":1}}}";
	struct cfg_tool tool = {.parameters = load(schema)};
	struct bc_buf message;
	char *a;
	char *b;

	bc_buf_init(&message, 256);
	ck_assert_int_eq(tool_args_check(&tool, BC_SPAN_LIT("{\"b\":1.0, \"a\": \"\\u0041\"}"), &a,
					 &message),
			 BC_OK);
	ck_assert_int_eq(tool_args_check(&tool, BC_SPAN_LIT("{\"a\":\"A\"}"), &b, &message), BC_OK);
	ck_assert_str_eq(a, b);
	free(a);
	free(b);
	json_decref(tool.parameters);
}
END_TEST

START_TEST(text_that_is_no_object_is_refused)
{
	static const struct {
		const char *text;
		enum bc_err err;
	} cases[] = {
		{"{", BC_E_SYNTAX},        {"{\"a\":1,\"a\":2}", BC_E_SYNTAX},
		{"nonsense", BC_E_SYNTAX}, {"{\"a\":\xff}", BC_E_SYNTAX},
		{"[]", BC_E_INVALID},      {"\"x\"", BC_E_INVALID},
	};
	struct cfg_tool tool = {.parameters = load("{\"type\":\"object\"}")};
	int64_t refused = bc_metric_get(BC_M_TOOL_ARGS_REFUSED);
	size_t i;

	for (i = 0; i < BC_ARRAY_LEN(cases); i++) {
		struct bc_buf message;
		char *text = NULL;

		bc_buf_init(&message, 256);
		ck_assert_int_eq(
			tool_args_check(&tool, bc_span_str(cases[i].text), &text, &message),
			cases[i].err);
		ck_assert_ptr_null(text);
		ck_assert(bc_buf_len(&message) > 0);
		bc_buf_release(&message);
	}
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_ARGS_REFUSED) - refused, BC_ARRAY_LEN(cases));
	json_decref(tool.parameters);
}
END_TEST

START_TEST(depth_and_work_are_bounded)
{
	static const char schema[] =
		"{\"type\":\"object\",\"properties\":{\"v\":{\"$ref\":\"#/$defs/t\"}},"
		"\"$defs\":{\"t\":{\"anyOf\":[{\"$ref\":\"#/$defs/u\"},{\"$ref\":\"#/$defs/u\"},{\"$ref\":\"#/$defs/u\"}]},"
		"\"u\":{\"items\":{\"$ref\":\"#/$defs/t\"},\"const\":1}}}";
	struct cfg_tool tool = {.parameters = load(schema)};
	struct bc_buf message;
	char deep[512];
	char *text = NULL;
	size_t i;

	bc_buf_init(&message, 512);
	ck_assert_int_eq(tool_schema_check(tool.parameters, &message), BC_OK);
	(void)snprintf(deep, sizeof(deep), "{\"v\":%.*s%.*s}", 15, "[[[[[[[[[[[[[[[", 15,
		       "]]]]]]]]]]]]]]]");
	ck_assert_int_eq(tool_args_check(&tool, bc_span_str(deep), &text, &message), BC_E_INVALID);
	bc_buf_clear(&message);
	memset(deep, '[', 100);
	memset(deep + 100, ']', 100);
	memmove(deep + 5, deep, 200);
	memcpy(deep, "{\"v\":", 5);
	deep[205] = '}';
	deep[206] = '\0';
	ck_assert_int_eq(tool_args_check(&tool, bc_span_str(deep), &text, &message), BC_E_INVALID);
	for (i = 0; i < 2; i++) {
		/* Long names of the model's own making neither overflow nor split a character. */
		char message_text[SCHEMA_MESSAGE_SIZE];
		json_t *value = json_object();
		json_t *closed = load("{\"type\":\"object\",\"additionalProperties\":false}");
		char name[1001];
		size_t at;

		for (at = 0; at + 2 <= 1000; at += 2) {
			memcpy(name + at, "\xc3\xa4", 2);
		}
		name[1000] = '\0';
		ck_assert_int_eq(json_object_set_new(value, name + (i == 0 ? 0 : 2), json_null()),
				 0);
		ck_assert_int_eq(tool_schema_apply(closed, value, message_text), BC_E_INVALID);
		ck_assert_ptr_nonnull(strstr(message_text, "\xc3\xa4: no such argument"));
		json_decref(value);
		json_decref(closed);
	}
	bc_buf_release(&message);
	json_decref(tool.parameters);
}
END_TEST

START_TEST(a_pattern_cannot_hold_up_the_loop)
{
	static const struct args_case evil = {
		"{\"pattern\":\"^(a+)+$\"}",
		"{\"v\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\"}",
		"v: could not be compared with ^(a+)+$"};

	check_case(&evil);
}
END_TEST

static const struct {
	const char *schema;
	const char *message;
} schema_cases[] = {
	{"{\"type\":\"string\"}", "/: must be a schema of type \"object\""},
	{"[]", "/: must be a schema of type \"object\""},
	{"{\"type\":\"object\",\"propertes\":{}}", "/propertes: keyword not supported"},
	{"{\"type\":\"object\",\"properties\":{\"a\":{\"if\":true}}}",
	 "/properties/a/if: keyword not supported"},
	{"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"int\"}}}",
	 "/properties/a/type: must be object, array, string, number, integer, boolean or null, or an array of these"},
	{"{\"type\":\"object\",\"properties\":[]}", "/properties: must be a table of schemas"},
	{"{\"type\":\"object\",\"properties\":{\"a\":1}}", "/properties/a: must be a schema"},
	{"{\"type\":\"object\",\"required\":\"a\"}", "/required: must be an array of names"},
	{"{\"type\":\"object\",\"required\":[1]}", "/required: must be an array of names"},
	{"{\"type\":\"object\",\"enum\":[]}", "/enum: must be an array of values"},
	{"{\"type\":\"object\",\"anyOf\":[]}", "/anyOf: must be an array of schemas"},
	{"{\"type\":\"object\",\"anyOf\":[{},{\"x\":1}]}", "/anyOf/1/x: keyword not supported"},
	{"{\"type\":\"object\",\"minimum\":\"1\"}", "/minimum: must be a number"},
	{"{\"type\":\"object\",\"multipleOf\":0}", "/multipleOf: must be greater than 0"},
	{"{\"type\":\"object\",\"minLength\":-1}", "/minLength: must be a whole number, 0 or more"},
	{"{\"type\":\"object\",\"minItems\":1.5}", "/minItems: must be a whole number, 0 or more"},
	{"{\"type\":\"object\",\"uniqueItems\":1}", "/uniqueItems: must be true or false"},
	{"{\"type\":\"object\",\"pattern\":\"(\"}", "/pattern: missing closing parenthesis"},
	{"{\"type\":\"object\",\"pattern\":1}", "/pattern: must be a regular expression"},
	{"{\"type\":\"object\",\"$ref\":\"#/$defs/x\"}",
	 "/$ref: no schema \"#/$defs/x\" here; only \"#\" and \"#/$defs/<name>\" can be referred to"},
	{"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#/$defs/a\"}},\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},"
	 "\"b\":{\"$ref\":\"#/$defs/a\"}}}",
	 "/properties/a/$ref: refers to itself"},
	{"{\"type\":\"object\",\"items\":1}", "/items: must be a schema"},
	{"{\"type\":\"object\",\"not\":{\"dependentRequired\":{}}}",
	 "/not/dependentRequired: keyword not supported"},
};

START_TEST(schemas_we_cannot_check_are_refused)
{
	json_t *schema = load(schema_cases[_i].schema);
	struct bc_buf message;

	bc_buf_init(&message, 512);
	ck_assert_int_eq(tool_schema_check(schema, &message), BC_E_INVALID);
	ck_assert_msg(bc_span_is(bc_buf_span(&message), schema_cases[_i].message), "%.*s",
		      BC_SPAN_ARG(bc_buf_span(&message)));
	bc_buf_release(&message);
	json_decref(schema);
}
END_TEST

START_TEST(annotations_are_passed_over)
{
	json_t *schema = load(
		"{\"type\":\"object\",\"title\":\"t\",\"description\":\"d\",\"examples\":[],\"$schema\":\"s\","
		"\"$comment\":\"c\",\"deprecated\":true,\"properties\":{\"a\":{\"format\":\"date\","
		"\"readOnly\":true,\"writeOnly\":false,\"default\":{\"if\":1}}}}");
	struct bc_buf message;

	bc_buf_init(&message, 512);
	ck_assert_int_eq(tool_schema_check(schema, &message), BC_OK);
	json_decref(schema);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("schema");
	TCase *tcase = tcase_create("schema");

	tcase_add_loop_test(tcase, arguments_fit_or_the_model_is_told, 0, BC_ARRAY_LEN(args_cases));
	tcase_add_loop_test(tcase, schemas_we_cannot_check_are_refused, 0,
			    BC_ARRAY_LEN(schema_cases));
	tcase_add_test(tcase, same_arguments_have_the_same_text);
	tcase_add_test(tcase, text_that_is_no_object_is_refused);
	tcase_add_test(tcase, depth_and_work_are_bounded);
	tcase_add_test(tcase, a_pattern_cannot_hold_up_the_loop);
	tcase_add_test(tcase, annotations_are_passed_over);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
