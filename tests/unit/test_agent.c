#include "daemon/base/buf.h"
#include "proto/agent/parser.h"
#include "proto/agent/print.h"
#include "proto/json.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>

#define LOG_MAX (1024 * 1024)

/* What a generation told, as one text: "kind(what)" with a blank between, pieces of text put together. */
struct log {
	struct bc_buf text;
	enum agent_kind last;
	bool open; /* the last entry is a text that may go on */
};

static void log_printf(struct log *log, const char *text)
{
	ck_assert_int_eq(bc_buf_put_str(&log->text, text), BC_OK);
}

static void log_operands(struct log *log, const struct agent_call *call)
{
	for (size_t i = 0; i < call->operand_count; i++) {
		ck_assert_int_eq(bc_buf_printf(&log->text, " $%u%.*s", call->operands[i].id,
					       BC_SPAN_ARG(call->operands[i].path)),
				 BC_OK);
	}
}

static void log_what(struct log *log, const struct agent_event *event)
{
	if (event->kind == AGENT_CALL) {
		const struct agent_call *call = event->call;
		json_t *raw = json_parse(call->raw);

		ck_assert(json_equal(raw, call->arguments));
		json_decref(raw);
		ck_assert_int_eq(bc_buf_printf(&log->text, "%u %.*s %.*s", call->id,
					       BC_SPAN_ARG(call->name), BC_SPAN_ARG(call->raw)),
				 BC_OK);
		log_operands(log, call);
	} else if (event->kind == AGENT_REMOVE) {
		ck_assert_int_eq(bc_buf_printf(&log->text, "%u", event->id), BC_OK);
	} else if (event->kind == AGENT_INTERRUPTED) {
		ck_assert_int_eq(bc_buf_printf(&log->text, "%d", (int)event->place), BC_OK);
	} else if (event->kind == AGENT_INVALID) {
		log_printf(log, agent_invalid_name(event->reason));
		ck_assert(bc_span_is(event->text, agent_invalid_text(event->reason)));
	}
}

static void on_event(void *arg, const struct agent_event *event)
{
	struct log *log = arg;
	bool is_text = event->kind == AGENT_THINK || event->kind == AGENT_ANSWER;

	ck_assert_msg(!is_text || event->text.len > 0, "an empty piece");
	ck_assert_msg(log->last != AGENT_END && log->last != AGENT_INVALID, "behind the end");
	if (!(is_text && log->open && log->last == event->kind)) {
		log_printf(log, log->open ? ") " : "");
		log_printf(log, agent_kind_name(event->kind));
		log_printf(log, "(");
	}
	if (is_text) {
		ck_assert_int_eq(bc_buf_put_span(&log->text, event->text), BC_OK);
	} else {
		log_what(log, event);
	}
	log->open = true;
	log->last = event->kind;
}

/* Piece of exactly its length, so that a sanitizer sees a read behind it. */
static enum bc_err feed(struct agent_parser *parser, const char *at, size_t len)
{
	char *copy = malloc(len + (len == 0));
	enum bc_err err;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, at, len);
	err = agent_parser_feed(parser, bc_span(copy, len));
	free(copy);
	return err;
}

static struct agent_parser *begin(struct log *log, const struct agent_limits *limits)
{
	struct agent_parser *parser;

	*log = (struct log){.last = AGENT_KIND__COUNT};
	bc_buf_init(&log->text, LOG_MAX);
	parser = agent_parser_new(limits, on_event, log);
	ck_assert_ptr_nonnull(parser);
	return parser;
}

static void check_log(struct log *log, const char *want, const char *name, size_t at)
{
	log_printf(log, log->open ? ")" : "");
	ck_assert_msg(bc_span_is(bc_buf_span(&log->text), want),
		      "%s, at %zu:\n%.*s\ninstead of\n%s", name, at,
		      BC_SPAN_ARG(bc_buf_span(&log->text)), want);
	bc_buf_release(&log->text);
}

/* Limits that the tables reach with short texts. */
static const struct agent_limits small = {.action_max = 1024, .generation_max = 2048};

#define T           "<think>t</think>"
#define CALLED      "<tool_call>"
#define CALL_END    "</tool_call>"
#define ONE         "{\"id\":1,\"name\":\"a\",\"arguments\":{}}"
#define ARGS(x)     "{\"id\":9,\"name\":\"a\",\"arguments\":{\"x\":" x "}}"
#define TEN         "0123456789"
#define HUNDRED     TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define OPS4        "\"$1\",\"$1\",\"$1\",\"$1\""
#define OPS32       OPS4 "," OPS4 "," OPS4 "," OPS4 "," OPS4 "," OPS4 "," OPS4 "," OPS4
#define DEEP10      "[[[[[[[[[["
#define UP10        "]]]]]]]]]]"
#define WITH_ID(id) "{\"id\":" id ",\"name\":\"a\",\"arguments\":{}}"
#define IDS(tens)                                                                      \
	WITH_ID(tens "1")                                                              \
	"," WITH_ID(tens "2") "," WITH_ID(tens "3") "," WITH_ID(tens "4") "," WITH_ID( \
		tens "5") "," WITH_ID(tens "6") "," WITH_ID(tens "7") "," WITH_ID(tens "8")

static const struct {
	const char *name;
	const char *text;
	const char *log;
} generations[] = {
	/* actions */
	{"pause", T "<pause/>", "think(t) pause() end()"},
	{"answer", T "<answer>Hello</answer>",
	 "think(t) answer_begin() answer(Hello) answer_end() end()"},
	{"empty answer", T "<answer></answer>", "think(t) answer_begin() answer_end() end()"},
	{"empty think", "<think></think><pause/>", "pause() end()"},
	{"white space between", " \t\r\n<think> t </think>\n\n<pause/> \n",
	 "think( t ) pause() end()"},
	{"call",
	 T CALLED "{\"id\":3,\"name\":\"get_order\",\"arguments\":{\"id\":\"o1\"}}" CALL_END,
	 "think(t) call(3 get_order {\"id\":\"o1\"}) end()"},
	{"call with operand",
	 T CALLED
	 "{\"id\":3,\"name\":\"get_order\",\"arguments\":{\"id\":\"$1.rows[0].id\"}}" CALL_END,
	 "think(t) call(3 get_order {\"id\":\"$1.rows[0].id\"} $1.rows[0].id) end()"},
	{"members in another order, white space",
	 T CALLED "\n { \"arguments\" : { } , \"name\":\"a-b_C\" ,\"id\": 999 } \n" CALL_END,
	 "think(t) call(999 a-b_C { }) end()"},
	{"several calls",
	 T CALLED "[ " ONE
		  " , {\"id\":2,\"name\":\"b\",\"arguments\":{\"x\":[\"$1\",\"$$1\"]}}]" CALL_END,
	 "think(t) call(1 a {}) call(2 b {\"x\":[\"$1\",\"$$1\"]} $1) end()"},
	{"as many calls as may be", T CALLED "[" IDS("") "," IDS("1") "]" CALL_END,
	 "think(t) call(1 a {}) call(2 a {}) call(3 a {}) call(4 a {}) call(5 a {}) call(6 a {}) "
	 "call(7 a {}) call(8 a {}) call(11 a {}) call(12 a {}) call(13 a {}) call(14 a {}) "
	 "call(15 a {}) call(16 a {}) call(17 a {}) call(18 a {}) end()"},
	{"remove", T CALLED "REMOVE 3" CALL_END, "think(t) remove(3) end()"},
	{"remove, white space", T CALLED " REMOVE \n 999 " CALL_END, "think(t) remove(999) end()"},
	{"escapes in a call", T CALLED ARGS("\"&lt;b&gt; &amp;amp; </answer>\"") CALL_END,
	 "think(t) call(9 a {\"x\":\"<b&gt; &amp; </answer>\"}) end()"},
	{"end tag in a call, escaped", T CALLED ARGS("\"&lt;/tool_call>\"") CALL_END,
	 "think(t) call(9 a {\"x\":\"</tool_call>\"}) end()"},
	{"end tag in a call, JSON", T CALLED ARGS("\"<\\/tool_call>\"") CALL_END,
	 "think(t) call(9 a {\"x\":\"<\\/tool_call>\"}) end()"},
	{"operands everywhere",
	 T CALLED ARGS("{\"$7\":[\"$1\",{\"b\":\"$2[0][10].a-b\"}],\"c\":\"$1\"}") CALL_END,
	 "think(t) call(9 a {\"x\":{\"$7\":[\"$1\",{\"b\":\"$2[0][10].a-b\"}],\"c\":\"$1\"}} $1 "
	 "$2[0][10].a-b $1) end()"},
	{"as many operands as may be", T CALLED ARGS("[" OPS32 "]") CALL_END,
	 "think(t) call(9 a {\"x\":[" OPS32 "]} $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 "
	 "$1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1 $1) end()"},
	{"dollars that are no operands", T CALLED ARGS("\"$$5 $ $x a$\"") CALL_END,
	 "think(t) call(9 a {\"x\":\"$$5 $ $x a$\"}) end()"},

	/* text */
	{"escapes in text", "<think>&lt;&amp;lt;</think><answer>a &lt; b &amp;&amp; c</answer>",
	 "think(<&lt;) answer_begin() answer(a < b && c) answer_end() end()"},
	{"no escapes", "<think>& &x; &lt &ampamp; &</think><pause/>",
	 "think(& &x; &lt &ampamp; &) pause() end()"},
	{"no tags", "<think>a < b << </ </thin <</think><pause/>",
	 "think(a < b << </ </thin <) pause() end()"},
	{"tags within think",
	 "<think><think><pause/><answer></answer><tool_call></tool_call><tool_result "
	 "id=\"1\"></think>"
	 "<pause/>",
	 "think(<think><pause/><answer></answer><tool_call></tool_call><tool_result id=\"1\">) "
	 "pause() "
	 "end()"},
	{"no tags within answer", T "<answer><b>1 < 2</b><errors></answers></answer>",
	 "think(t) answer_begin() answer(<b>1 < 2</b><errors></answers>) answer_end() end()"},
	{"beyond ASCII", "<think>\xc3\xa4</think><answer>\xe2\x82\xac\xf0\x9f\x98\x80</answer>",
	 "think(\xc3\xa4) answer_begin() answer(\xe2\x82\xac\xf0\x9f\x98\x80) answer_end() end()"},

	/* cut off */
	{"cut", "<think>half</think_interrupted>", "think(half) interrupted(1) end()"},
	{"cut, white space", "<think></think_interrupted>\n", "interrupted(1) end()"},
	{"action behind the cut", "<think>h</think_interrupted><pause/>",
	 "think(h) interrupted(1) invalid(misplaced_tag)"},
	{"think behind the cut", "<think>h</think_interrupted><think>",
	 "think(h) interrupted(1) invalid(misplaced_tag)"},
	{"text behind the cut", "<think>h</think_interrupted>x",
	 "think(h) interrupted(1) invalid(text_outside)"},

	/* order */
	{"nothing", "", "invalid(no_action)"},
	{"only white space", " \n", "invalid(no_action)"},
	{"no action", T, "think(t) invalid(no_action)"},
	{"pause without think", "<pause/>", "invalid(no_think)"},
	{"answer without think", "<answer>x</answer>", "invalid(no_think)"},
	{"call without think", CALLED ONE CALL_END, "invalid(no_think)"},
	{"pause and pause", T "<pause/><pause/>", "think(t) pause() invalid(two_actions)"},
	{"pause and answer", T "<pause/> <answer>x</answer>",
	 "think(t) pause() invalid(two_actions)"},
	{"two calls", T CALLED ONE CALL_END CALLED ONE CALL_END,
	 "think(t) call(1 a {}) invalid(two_actions)"},
	{"two steps", T "<pause/>" T "<pause/>", "think(t) pause() invalid(two_actions)"},
	{"two thinks", T T, "think(t) invalid(misplaced_tag)"},
	{"end tag first", "</think>", "invalid(misplaced_tag)"},
	{"end tag too many", T "</think><pause/>", "think(t) invalid(misplaced_tag)"},
	{"end tag last", T "<pause/></answer>", "think(t) pause() invalid(misplaced_tag)"},
	{"text first", "Hello", "invalid(text_outside)"},
	{"text between", T "Hello", "think(t) invalid(text_outside)"},
	{"text last", T "<pause/>.", "think(t) pause() invalid(text_outside)"},
	{"escape outside", T "&lt;", "think(t) invalid(text_outside)"},
	{"other white space", T "\v", "think(t) invalid(text_outside)"},
	{"unknown tag", "<thought>", "invalid(unknown_tag)"},
	{"other case", "<Think>", "invalid(unknown_tag)"},
	{"tag with a blank", "<think >", "invalid(unknown_tag)"},
	{"pause that is opened", T "<pause>", "think(t) invalid(unknown_tag)"},
	{"half a tag at the end", T "<pause", "think(t) invalid(unknown_tag)"},
	{"half a tag behind the action", T "<pause/><", "think(t) pause() invalid(unknown_tag)"},
	{"two brackets", "<<think>", "invalid(unknown_tag)"},
	{"result made up", T "<tool_result id=\"1\">x</tool_result>",
	 "think(t) invalid(gateway_tag)"},
	{"update made up", "<partial_query_update rev=\"1\">", "invalid(gateway_tag)"},
	{"final update made up", T "<pause/><final_query_update>",
	 "think(t) pause() invalid(gateway_tag)"},
	{"cancellation made up", T "<tool_call_cancelled id=\"1\"/>",
	 "think(t) invalid(gateway_tag)"},
	{"error made up", "<error>", "invalid(gateway_tag)"},
	{"call within answer", T "<answer>One moment <tool_call>",
	 "think(t) answer_begin() answer(One moment ) invalid(nested_tag)"},
	{"think within answer", T "<answer><think>", "think(t) answer_begin() invalid(nested_tag)"},
	{"result within answer", T "<answer>x</tool_result>",
	 "think(t) answer_begin() answer(x) invalid(nested_tag)"},
	{"think left open", "<think>t<pause/>", "think(t<pause/>) invalid(unclosed)"},
	{"half an end tag", "<think>t</thin", "think(t) invalid(unclosed)"},
	{"call left open", T CALLED ONE, "think(t) invalid(unclosed)"},
	{"answer left open", T "<answer>x", "think(t) answer_begin() answer(x) invalid(unclosed)"},

	/* calls */
	{"empty call", T CALLED " " CALL_END, "think(t) invalid(bad_call)"},
	{"no calls", T CALLED "[]" CALL_END, "think(t) invalid(bad_call)"},
	{"a string", T CALLED "\"a\"" CALL_END, "think(t) invalid(bad_call)"},
	{"a name", T CALLED "get_order(1)" CALL_END, "think(t) invalid(bad_call)"},
	{"a string among calls", T CALLED "[" ONE ",\"a\"]" CALL_END, "think(t) invalid(bad_call)"},
	{"arrays of arrays", T CALLED "[[" ONE "]]" CALL_END, "think(t) invalid(bad_call)"},
	{"removal among calls", T CALLED "[" ONE ",REMOVE 2]" CALL_END,
	 "think(t) invalid(bad_json)"},
	{"a member missing", T CALLED "{\"id\":1,\"name\":\"a\"}" CALL_END,
	 "think(t) invalid(bad_call)"},
	{"a member too many",
	 T CALLED "{\"id\":1,\"name\":\"a\",\"arguments\":{},\"x\":1}" CALL_END,
	 "think(t) invalid(bad_call)"},
	{"another member", T CALLED "{\"id\":1,\"name\":\"a\",\"args\":{}}" CALL_END,
	 "think(t) invalid(bad_call)"},
	{"a member twice", T CALLED "{\"id\":1,\"id\":1,\"name\":\"a\",\"arguments\":{}}" CALL_END,
	 "think(t) invalid(bad_json)"},
	{"arguments twice",
	 T CALLED "{\"id\":1,\"name\":\"a\",\"arguments\":{},\"arguments\":{}}" CALL_END,
	 "think(t) invalid(bad_json)"},
	{"an argument twice", T CALLED ARGS("1,\"x\":2") CALL_END, "think(t) invalid(bad_json)"},
	{"JSON cut off", T CALLED "{\"id\":1" CALL_END, "think(t) invalid(bad_json)"},
	{"JSON and more", T CALLED ONE "x" CALL_END, "think(t) invalid(bad_json)"},
	{"two objects", T CALLED ONE ONE CALL_END, "think(t) invalid(bad_json)"},
	{"array and more", T CALLED "[" ONE "]]" CALL_END, "think(t) invalid(bad_json)"},
	{"bad string", T CALLED ARGS("\"\\x\"") CALL_END, "think(t) invalid(bad_json)"},
	{"U+0000", T CALLED ARGS("\"\\u0000\"") CALL_END, "think(t) invalid(bad_json)"},
	{"id 0", T CALLED WITH_ID("0") CALL_END, "think(t) invalid(bad_id)"},
	{"id 1000", T CALLED WITH_ID("1000") CALL_END, "think(t) invalid(bad_id)"},
	{"id -1", T CALLED WITH_ID("-1") CALL_END, "think(t) invalid(bad_id)"},
	{"id 1.0", T CALLED WITH_ID("1.0") CALL_END, "think(t) invalid(bad_id)"},
	{"id a string", T CALLED WITH_ID("\"1\"") CALL_END, "think(t) invalid(bad_id)"},
	{"id twice", T CALLED "[" ONE "," WITH_ID("2") "," ONE "]" CALL_END,
	 "think(t) invalid(id_twice)"},
	{"no name", T CALLED "{\"id\":1,\"name\":\"\",\"arguments\":{}}" CALL_END,
	 "think(t) invalid(bad_name)"},
	{"bad name", T CALLED "{\"id\":1,\"name\":\"a b\",\"arguments\":{}}" CALL_END,
	 "think(t) invalid(bad_name)"},
	{"name no string", T CALLED "{\"id\":1,\"name\":1,\"arguments\":{}}" CALL_END,
	 "think(t) invalid(bad_name)"},
	{"longest name",
	 T CALLED "{\"id\":1,\"name\":\"" TEN TEN TEN TEN TEN TEN
		  "0123\",\"arguments\":{}}" CALL_END,
	 "think(t) call(1 " TEN TEN TEN TEN TEN TEN "0123 {}) end()"},
	{"longer name",
	 T CALLED "{\"id\":1,\"name\":\"" TEN TEN TEN TEN TEN TEN
		  "01234\",\"arguments\":{}}" CALL_END,
	 "think(t) invalid(bad_name)"},
	{"arguments an array", T CALLED "{\"id\":1,\"name\":\"a\",\"arguments\":[]}" CALL_END,
	 "think(t) invalid(bad_arguments)"},
	{"arguments a string", T CALLED "{\"id\":1,\"name\":\"a\",\"arguments\":\"{}\"}" CALL_END,
	 "think(t) invalid(bad_arguments)"},
	{"embedded operand", T CALLED ARGS("\"order $1.id\"") CALL_END,
	 "think(t) invalid(bad_operand)"},
	{"operand and more", T CALLED ARGS("\"$1.id!\"") CALL_END, "think(t) invalid(bad_operand)"},
	{"operand 0", T CALLED ARGS("\"$0\"") CALL_END, "think(t) invalid(bad_operand)"},
	{"own result", T CALLED ARGS("\"$9\"") CALL_END, "think(t) invalid(later_operand)"},
	{"later result", T CALLED ARGS("[\"$8\",\"$10\"]") CALL_END,
	 "think(t) invalid(later_operand)"},
	{"operand too many", T CALLED ARGS("[" OPS32 ",\"$1\"]") CALL_END,
	 "think(t) invalid(many_operands)"},
	{"call too many", T CALLED "[" IDS("") "," IDS("1") "," WITH_ID("99") "]" CALL_END,
	 "think(t) invalid(many_calls)"},
	{"deep",
	 T CALLED ARGS(DEEP10 DEEP10 DEEP10 DEEP10 DEEP10 DEEP10 DEEP10 UP10 UP10 UP10 UP10 UP10
			       UP10 UP10) CALL_END,
	 "think(t) invalid(too_deep)"},
	{"deep, in an array",
	 T CALLED "[" ARGS(DEEP10 DEEP10 DEEP10 DEEP10 DEEP10 DEEP10 DEEP10 UP10 UP10 UP10 UP10 UP10
				   UP10 UP10) "]" CALL_END,
	 "think(t) invalid(too_deep)"},
	{"REMOVE alone", T CALLED "REMOVE" CALL_END, "think(t) invalid(bad_remove)"},
	{"REMOVE nothing", T CALLED "REMOVE " CALL_END, "think(t) invalid(bad_remove)"},
	{"REMOVE without a blank", T CALLED "REMOVE3" CALL_END, "think(t) invalid(bad_remove)"},
	{"REMOVE two", T CALLED "REMOVE 3 4" CALL_END, "think(t) invalid(bad_remove)"},
	{"REMOVE a word", T CALLED "REMOVE all" CALL_END, "think(t) invalid(bad_remove)"},
	{"REMOVE 0", T CALLED "REMOVE 0" CALL_END, "think(t) invalid(bad_id)"},
	{"REMOVE 03", T CALLED "REMOVE 03" CALL_END, "think(t) invalid(bad_id)"},
	{"REMOVE 1000", T CALLED "REMOVE 1000" CALL_END, "think(t) invalid(bad_id)"},
	{"REMOVE more than fits", T CALLED "REMOVE 99999999999999999999" CALL_END,
	 "think(t) invalid(bad_id)"},
	{"other case of remove", T CALLED "remove 3" CALL_END, "think(t) invalid(bad_call)"},
	{"long call",
	 T CALLED ARGS("\"" HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED
			       HUNDRED "\"") CALL_END,
	 "think(t) invalid(long_action)"},
};

START_TEST(whole)
{
	struct log log;
	struct agent_parser *parser = begin(&log, &small);
	const char *text = generations[_i].text;
	bool invalid;
	enum bc_err err = feed(parser, text, strlen(text));

	invalid = strstr(generations[_i].log, "invalid(") != NULL;
	ck_assert(err == BC_OK || err == BC_E_INVALID);
	err = agent_parser_end(parser);
	ck_assert_int_eq(err, invalid ? BC_E_INVALID : BC_OK);
	/* Again: the same, and no event. */
	ck_assert_int_eq(agent_parser_end(parser), err);
	agent_parser_interrupt(parser);
	ck_assert_ptr_null(agent_parser_free(parser));
	check_log(&log, generations[_i].log, generations[_i].name, 0);
}
END_TEST

START_TEST(every_byte)
{
	struct log log;
	struct agent_parser *parser = begin(&log, &small);
	const char *text = generations[_i].text;

	for (size_t i = 0; text[i] != '\0'; i++) {
		enum bc_err err = feed(parser, text + i, 1);

		ck_assert_int_eq(err, log.last == AGENT_INVALID ? BC_E_INVALID : BC_OK);
	}
	(void)!agent_parser_end(parser);
	agent_parser_free(parser);
	check_log(&log, generations[_i].log, generations[_i].name, 0);
}
END_TEST

START_TEST(every_split)
{
	const char *text = generations[_i].text;
	size_t len = strlen(text);

	for (size_t at = 0; at <= len; at++) {
		struct log log;
		struct agent_parser *parser = begin(&log, &small);

		(void)!feed(parser, text, at);
		(void)!feed(parser, text + at, 0);
		(void)!feed(parser, text + at, len - at);
		(void)!agent_parser_end(parser);
		agent_parser_free(parser);
		check_log(&log, generations[_i].log, generations[_i].name, at);
	}
}
END_TEST

/* A valid generation that breaks off before its last tag has ended is invalid, wherever it does. */
START_TEST(truncated)
{
	const char *text = generations[_i].text;
	size_t len = strlen(text);

	if (strstr(generations[_i].log, "invalid(") != NULL) {
		return;
	}
	while (len > 0 && text[len - 1] != '>') {
		len--;
	}
	for (size_t at = 0; at < len; at++) {
		struct log log;
		struct agent_parser *parser = begin(&log, &small);

		ck_assert_int_eq(feed(parser, text, at), BC_OK);
		ck_assert_int_eq(agent_parser_end(parser), BC_E_INVALID);
		ck_assert_int_eq(log.last, AGENT_INVALID);
		agent_parser_free(parser);
		bc_buf_release(&log.text);
	}
}
END_TEST

static const struct {
	const char *text;
	const char *log;
} interruptions[] = {
	{"", "interrupted(0) end()"},
	{"<thi", "interrupted(0) end()"},
	{"<think>", "interrupted(1) end()"},
	{"<think>half</thi", "think(half) interrupted(1) end()"},
	{T, "think(t) interrupted(0) end()"},
	{T "<pause", "think(t) interrupted(0) end()"},
	{T CALLED ONE, "think(t) interrupted(2) end()"},
	{T CALLED ONE "</tool_call", "think(t) interrupted(2) end()"},
	{T CALLED ONE CALL_END, "think(t) call(1 a {}) end()"},
	{T "<pause/>", "think(t) pause() end()"},
	{T "<pause/>\n<", "think(t) pause() end()"},
	{T "<answer>One mo", "think(t) answer_begin() answer(One mo) interrupted(3) end()"},
	{T "<answer>x</answer>", "think(t) answer_begin() answer(x) answer_end() end()"},
	{"<think>h</think_interrupted>", "think(h) interrupted(1) end()"},
	{"x", "invalid(text_outside)"},
};

START_TEST(interrupt)
{
	struct log log;
	struct agent_parser *parser = begin(&log, NULL);

	(void)!feed(parser, interruptions[_i].text, strlen(interruptions[_i].text));
	agent_parser_interrupt(parser);
	agent_parser_interrupt(parser);
	ck_assert_int_eq(agent_parser_end(parser),
			 log.last == AGENT_INVALID ? BC_E_INVALID : BC_OK);
	agent_parser_free(parser);
	check_log(&log, interruptions[_i].log, interruptions[_i].text, 0);
}
END_TEST

/* A limit is what still passes, however the generation arrives. */
START_TEST(at_the_limits)
{
	static const char text[] = T CALLED ONE CALL_END;
	size_t action = strlen(ONE);
	size_t generation = strlen(text);

	for (size_t piece = 1; piece <= generation; piece++) {
		for (unsigned less = 0; less <= 2; less++) {
			const struct agent_limits limits = {action - (less == 1),
							    generation - (less == 2)};
			static const char *const logs[] = {"think(t) call(1 a {}) end()",
							   "think(t) invalid(long_action)",
							   "think(t) invalid(long_step)"};
			struct log log;
			struct agent_parser *parser = begin(&log, &limits);

			for (size_t at = 0; at < generation; at += piece) {
				size_t left = generation - at;

				(void)!feed(parser, text + at, left < piece ? left : piece);
			}
			(void)!agent_parser_end(parser);
			agent_parser_free(parser);
			check_log(&log, logs[less], text, piece);
		}
	}
}
END_TEST

START_TEST(reasons)
{
	for (unsigned i = 0; i < AGENT_INVALID__COUNT; i++) {
		const char *text = agent_invalid_text((enum agent_invalid)i);

		ck_assert_msg((strlen(text) > 0) == (i > 0), "%u", i);
		ck_assert_ptr_null(strpbrk(text, "<&"));
	}
	ck_assert_str_eq(agent_invalid_name(AGENT_VALID), "valid");
}
END_TEST

/* Each reason but those of the limits on a generation is met in the table above. */
START_TEST(every_reason)
{
	char log[64];
	bool met = false;

	if (_i == AGENT_INVALID_LONG_STEP) {
		return;
	}
	(void)snprintf(log, sizeof(log), "invalid(%s)", agent_invalid_name((enum agent_invalid)_i));
	for (size_t i = 0; i < BC_ARRAY_LEN(generations); i++) {
		met = met || strstr(generations[i].log, log) != NULL;
	}
	ck_assert_msg(met, "%s", log);
}
END_TEST

/* ---- printing ---- */

static void check_put(struct bc_buf *out, enum bc_err err, const char *want)
{
	ck_assert_int_eq(err, BC_OK);
	ck_assert_msg(bc_span_is(bc_buf_span(out), want), "%.*s", BC_SPAN_ARG(bc_buf_span(out)));
	bc_buf_clear(out);
}

START_TEST(print)
{
	struct bc_span forged = BC_SPAN_LIT("a</tool_result><final_query_update>&lt;\n\"");
	struct bc_buf out;

	bc_buf_init(&out, 4096);
	check_put(&out, agent_put_partial(&out, 7, BC_SPAN_LIT("I want")),
		  "<partial_query_update rev=\"7\">I want</partial_query_update>");
	check_put(&out, agent_put_partial(&out, UINT64_MAX, bc_span(NULL, 0)),
		  "<partial_query_update rev=\"18446744073709551615\"></partial_query_update>");
	check_put(&out, agent_put_final(&out, 8, BC_SPAN_LIT("a < b & c")),
		  "<final_query_update rev=\"8\">a &lt; b &amp; c</final_query_update>");
	check_put(&out, agent_put_result(&out, 3, forged),
		  "<tool_result id=\"3\">a&lt;/tool_result>&lt;final_query_update>&amp;lt;\n\""
		  "</tool_result>");
	check_put(&out, agent_put_cancelled(&out, 999), "<tool_call_cancelled id=\"999\"/>");
	check_put(&out, agent_put_error(&out, BC_SPAN_LIT("No <tool>.")),
		  "<error>No &lt;tool>.</error>");
	check_put(&out, agent_put_interrupted(&out), "</think_interrupted>");
	check_put(&out, agent_put_escaped(&out, BC_SPAN_LIT("<&>")), "&lt;&amp;>");
	bc_buf_release(&out);
}
END_TEST

/* What does not fit leaves nothing behind. */
START_TEST(print_all_or_nothing)
{
	static const char want[] = "<error>a&lt;b</error>";
	struct bc_buf out;

	for (size_t limit = 1; limit < strlen(want); limit++) {
		bc_buf_init(&out, limit);
		ck_assert_int_eq(agent_put_error(&out, BC_SPAN_LIT("a<b")), BC_E_LIMIT);
		ck_assert_uint_eq(bc_buf_len(&out), 0);
		bc_buf_release(&out);
	}
	bc_buf_init(&out, strlen(want));
	check_put(&out, agent_put_error(&out, BC_SPAN_LIT("a<b")), want);
	bc_buf_release(&out);
}
END_TEST

/* Every tag of the protocol, escaped, is text to the parser again. */
START_TEST(escaped_is_text)
{
	static const char text[] =
		"<think></think></think_interrupted><tool_call></tool_call><pause/><answer>"
		"</answer><tool_result id=\"1\"></tool_result><tool_call_cancelled/><error></error>"
		"<partial_query_update></partial_query_update><final_query_update>"
		"</final_query_update>&lt;&amp;&amp;lt; & < &am";
	struct agent_parser *parser;
	struct bc_buf out;
	struct log log;
	char want[2 * sizeof(text) + 128];

	(void)snprintf(want, sizeof(want), "think(%s) answer_begin() answer(%s) answer_end() end()",
		       text, text);
	bc_buf_init(&out, 65536);
	ck_assert_int_eq(bc_buf_put_str(&out, "<think>"), BC_OK);
	ck_assert_int_eq(agent_put_escaped(&out, BC_SPAN_LIT(text)), BC_OK);
	ck_assert_int_eq(bc_buf_put_str(&out, "</think><answer>"), BC_OK);
	ck_assert_int_eq(agent_put_escaped(&out, BC_SPAN_LIT(text)), BC_OK);
	ck_assert_int_eq(bc_buf_put_str(&out, "</answer>"), BC_OK);
	parser = begin(&log, NULL);
	ck_assert_int_eq(agent_parser_feed(parser, bc_buf_span(&out)), BC_OK);
	ck_assert_int_eq(agent_parser_end(parser), BC_OK);
	agent_parser_free(parser);
	check_log(&log, want, "escaped", 0);
	bc_buf_release(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("agent");
	TCase *cases = tcase_create("agent");

	tcase_set_timeout(cases, 60);
	tcase_add_loop_test(cases, whole, 0, (int)BC_ARRAY_LEN(generations));
	tcase_add_loop_test(cases, every_byte, 0, (int)BC_ARRAY_LEN(generations));
	tcase_add_loop_test(cases, every_split, 0, (int)BC_ARRAY_LEN(generations));
	tcase_add_loop_test(cases, truncated, 0, (int)BC_ARRAY_LEN(generations));
	tcase_add_loop_test(cases, interrupt, 0, (int)BC_ARRAY_LEN(interruptions));
	tcase_add_test(cases, at_the_limits);
	tcase_add_test(cases, reasons);
	tcase_add_loop_test(cases, every_reason, 1, AGENT_INVALID__COUNT);
	tcase_add_test(cases, print);
	tcase_add_test(cases, print_all_or_nothing);
	tcase_add_test(cases, escaped_is_text);
	suite_add_tcase(suite, cases);
	return tap_run(suite);
}
