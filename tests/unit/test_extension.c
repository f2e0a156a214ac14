/* Reading the extension's events: what is taken, and what is refused with which words. */
#include "proto/extension.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static struct ext_event event;
static struct ext_fault fault;

/* Apostrophes stand for quotes. */
static enum bc_err take(const char *text)
{
	static char quoted[4096];
	size_t len = strlen(text);

	ck_assert_uint_lt(len, sizeof(quoted));
	for (size_t i = 0; i < len; i++) {
		quoted[i] = text[i] == '\'' ? '"' : text[i];
	}
	return ext_event_read(bc_span(quoted, len), &event, &fault);
}

START_TEST(every_event_of_a_client_is_read)
{
	ck_assert_int_eq(take("{'type':'backchannel.hello','event_id':'a','version':1,"
			      "'events':['backchannel.tool_call.committed','backchannel.later']}"),
			 BC_OK);
	ck_assert_int_eq(event.type, EXT_HELLO);
	ck_assert_uint_eq(event.wants, 1u << EXT_TOOL_CALL_COMMITTED);
	ck_assert(bc_span_is(event.event_id, "\"a\""));
	ck_assert_int_eq(take("{'type':'backchannel.hello'}"), BC_OK);
	ck_assert_uint_eq(event.wants, 0);
	ck_assert_int_eq(
		take("{'type':'backchannel.input_text.partial','revision':9007199254740991,"
		     "'text':'Hi','item_id':'u1'}"),
		BC_OK);
	ck_assert_int_eq(event.type, EXT_INPUT_TEXT_PARTIAL);
	ck_assert_uint_eq(event.revision, EXT_REVISION_MAX);
	ck_assert(bc_span_is(event.text, "\"Hi\""));
	ck_assert(bc_span_is(event.item_id, "\"u1\""));
	ck_assert_int_eq(take("{'text':'','revision':1,'type':'backchannel.input_text.final'}"),
			 BC_OK);
	ck_assert_int_eq(event.type, EXT_INPUT_TEXT_FINAL);
	ck_assert_int_eq(take("{'type':'backchannel.turn.eager_end','more':[1]}"), BC_OK);
	ck_assert_int_eq(event.type, EXT_TURN_EAGER_END);
	ck_assert_int_eq(take("{'type':'backchannel.turn.resumed'}"), BC_OK);
	ck_assert_int_eq(event.type, EXT_TURN_RESUMED);
	ck_assert_int_eq(take("{'type':'backchannel.turn.end'}"), BC_OK);
	ck_assert_int_eq(event.type, EXT_TURN_END);
}
END_TEST

static const struct {
	const char *text;
	enum bc_err err;
	const char *code;
} wrong[] = {
	{"{'type':'backchannel.tool_call.committed'}", BC_E_NOTFOUND, "unknown_event"},
	{"{'type':'backchannel.'}", BC_E_NOTFOUND, "unknown_event"},
	{"{}", BC_E_NOTFOUND, "unknown_event"},
	{"", BC_E_SYNTAX, "invalid_event"},
	{"{'type':'backchannel.hello'", BC_E_SYNTAX, "invalid_event"},
	{"{'type':'backchannel.turn.end','type':'x'}", BC_E_SYNTAX, "invalid_event"},
	{"{'type':'backchannel.hello','version':2}", BC_E_INVALID, "invalid_value"},
	{"{'type':'backchannel.hello','version':'1'}", BC_E_INVALID, "invalid_value"},
	{"{'type':'backchannel.hello','events':{}}", BC_E_INVALID, "invalid_value"},
	{"{'type':'backchannel.hello','events':[1]}", BC_E_INVALID, "invalid_value"},
	{"{'type':'backchannel.turn.end','item_id':1}", BC_E_INVALID, "invalid_value"},
	{"{'type':'backchannel.input_text.partial','text':'Hi'}", BC_E_INVALID, "invalid_value"},
	{"{'type':'backchannel.input_text.partial','revision':0,'text':'Hi'}", BC_E_INVALID,
	 "invalid_value"},
	{"{'type':'backchannel.input_text.partial','revision':-1,'text':'Hi'}", BC_E_INVALID,
	 "invalid_value"},
	{"{'type':'backchannel.input_text.partial','revision':1.5,'text':'Hi'}", BC_E_INVALID,
	 "invalid_value"},
	{"{'type':'backchannel.input_text.partial','revision':9007199254740992,'text':'Hi'}",
	 BC_E_INVALID, "invalid_value"},
	{"{'type':'backchannel.input_text.partial','revision':99999999999999999,'text':'Hi'}",
	 BC_E_INVALID, "invalid_value"},
	{"{'type':'backchannel.input_text.partial','revision':'1','text':'Hi'}", BC_E_INVALID,
	 "invalid_value"},
	{"{'type':'backchannel.input_text.final','revision':1}", BC_E_INVALID, "invalid_value"},
	{"{'type':'backchannel.input_text.final','revision':1,'text':null}", BC_E_INVALID,
	 "invalid_value"},
};

START_TEST(what_is_wrong_is_said)
{
	ck_assert_msg(take(wrong[_i].text) == wrong[_i].err, "%s", wrong[_i].text);
	ck_assert_str_eq(fault.code, wrong[_i].code);
	ck_assert_uint_gt(strlen(fault.message), 10);
}
END_TEST

START_TEST(a_hello_asks_for_a_bounded_list)
{
	char text[1024] = "{'type':'backchannel.hello','events':['a'";

	for (int i = 1; i < EXT_WANTS_MAX; i++) {
		(void)strncat(text, ",'a'", sizeof(text) - strlen(text) - 1);
	}
	(void)strncat(text, "]}", sizeof(text) - strlen(text) - 1);
	ck_assert_int_eq(take(text), BC_OK);
	text[strlen(text) - 2] = '\0';
	(void)strncat(text, ",'a']}", sizeof(text) - strlen(text) - 1);
	ck_assert_int_eq(take(text), BC_E_INVALID);
}
END_TEST

START_TEST(types_are_named_and_told_by_their_beginning)
{
	for (int i = 0; i < EXT_TYPE__COUNT; i++) {
		ck_assert(ext_is(bc_span_str(ext_type_name((enum ext_type)i))));
	}
	ck_assert(!ext_is(BC_SPAN_LIT("backchannel")));
	ck_assert(!ext_is(BC_SPAN_LIT("session.update")));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("extension");
	TCase *c = tcase_create("extension");

	tcase_add_test(c, every_event_of_a_client_is_read);
	tcase_add_loop_test(c, what_is_wrong_is_said, 0, BC_ARRAY_LEN(wrong));
	tcase_add_test(c, a_hello_asks_for_a_bounded_list);
	tcase_add_test(c, types_are_named_and_told_by_their_beginning);
	suite_add_tcase(s, c);
	return tap_run(s);
}
