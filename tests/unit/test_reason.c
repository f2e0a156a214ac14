/* What a reasoner is told and what its steps lead to, without a session around it. */
#include "daemon/spec/reason.h"

#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "proto/agent/prompt.h"
#include "proto/json.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define TURN_STEPS 12

static struct cfg_tool get_order = {.name = "get_order"};
static struct cfg_tool track = {.name = "track"};
static struct cfg_tool book = {.name = "book", .effect = CFG_EFFECT_HOLD};
static struct reason *reason;
static json_t *request; /* the last one, NULL: none was made, or it was looked at */
static bool running;    /* a generation */
static bool refuses;    /* the endpoint cannot be asked */
static unsigned cancels;
static unsigned requests;
static struct bc_buf happened; /* what became of calls */
static const char *ready;      /* output an equal call has already; NULL: none has */
static int64_t kept_mark;

/* ---- the session's part ---- */

static const struct cfg_tool *find_tool(void *arg, const char *name)
{
	(void)arg;
	return strcmp(name, "get_order") == 0 ? &get_order
	       : strcmp(name, "track") == 0   ? &track
	       : strcmp(name, "book") == 0    ? &book
					      : NULL;
}

static bool start(void *arg, struct bc_span body)
{
	(void)arg;
	ck_assert(!running);
	if (refuses) {
		return false;
	}
	json_decref(request);
	request = json_parse(body);
	ck_assert_msg(request != NULL, "no JSON: %.*s", BC_SPAN_ARG(body));
	running = true;
	requests++;
	return true;
}

static void cancel(void *arg)
{
	(void)arg;
	ck_assert(running);
	running = false;
	cancels++;
}

static void note(const char *what, const struct plan_call *call)
{
	ck_assert_int_eq(bc_buf_printf(&happened, "%s %u %s %s #%u;", what, call->id,
				       call->tool->name, call->arguments, call->occurrence),
			 BC_OK);
}

static struct bc_span named(void *arg, const struct plan_call *call)
{
	(void)arg;
	note(call->chained ? "chain" : "name", call);
	return ready == NULL ? bc_span(NULL, 0) : bc_span_str(ready);
}

static void dropped(void *arg, const struct plan_call *call)
{
	(void)arg;
	note("drop", call);
}

static void kept(void *arg, int64_t mark)
{
	(void)arg;
	kept_mark = mark;
}

static const struct reason_ops ops = {.tool = find_tool,
				      .start = start,
				      .cancel = cancel,
				      .named = named,
				      .dropped = dropped,
				      .kept = kept};

static void make(size_t history_max)
{
	struct reason_conf conf = {.model = "m-1",
				   .tokens_field = "max_tokens",
				   .tokens_max = 100,
				   .steps_max = TURN_STEPS,
				   .history_max = history_max};

	reason = reason_new(&conf, &ops, NULL);
	ck_assert_ptr_nonnull(reason);
	ck_assert_int_eq(reason_instruct(reason, BC_SPAN_LIT("Be \"quick\".")), BC_OK);
	reason_turn(reason);
}

static void setup(void)
{
	static const char order[] = "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":"
				    "\"string\"}},\"required\":[\"id\"]}";
	static const char shipment[] = "{\"type\":\"object\",\"properties\":{\"parcel\":{\"type\":"
				       "\"integer\"}},\"required\":[\"parcel\"]}";

	get_order.parameters = json_parse(bc_span_str(order));
	track.parameters = json_parse(bc_span_str(shipment));
	book.parameters = json_object();
	bc_buf_init(&happened, 65536);
	request = NULL;
	running = refuses = false;
	cancels = requests = 0;
	ready = NULL;
	kept_mark = -1;
	make(65536);
}

static void teardown(void)
{
	reason = reason_free(reason);
	ck_assert(!running);
	json_decref(request);
	json_decref(get_order.parameters);
	json_decref(track.parameters);
	json_decref(book.parameters);
	bc_buf_release(&happened);
}

/* ---- talk ---- */

static void hear(const char *words, bool final)
{
	static int64_t mark;

	reason_update(reason, bc_span_str(words), final, ++mark);
}

/* A piece of the generation, as a chunk. */
static bool say(const char *text)
{
	struct bc_buf chunk;
	bool usable;

	bc_buf_init(&chunk, 65536);
	ck_assert(running);
	ck_assert_int_eq(bc_buf_put_str(&chunk, "data: {\"choices\":[{\"delta\":{\"content\":"),
			 BC_OK);
	ck_assert_int_eq(json_string_put(&chunk, bc_span_str(text)), BC_OK);
	ck_assert_int_eq(bc_buf_put_str(&chunk, "}}]}\n\n"), BC_OK);
	usable = reason_bytes(reason, bc_buf_span(&chunk));
	bc_buf_release(&chunk);
	return usable;
}

static void end(void)
{
	ck_assert(running);
	ck_assert(reason_bytes(reason, BC_SPAN_LIT("data: [DONE]\n\n")));
	running = false;
	ck_assert(reason_ended(reason, true));
}

/* A whole step, of which the think is of no interest. */
static void act(const char *action)
{
	char text[2048];
	unsigned before = requests;

	(void)snprintf(text, sizeof(text), "<think>so</think>%s", action);
	ck_assert(say(text));
	if (running && requests == before) { /* else it was a misstep, and the next one has begun */
		end();
	}
}

#define CALL(id, name, arguments) \
	"{\"id\":" id ",\"name\":\"" name "\",\"arguments\":" arguments "}"
#define ORDER(id) "<tool_call>" CALL(id, "get_order", "{\"id\":\"7\"}") "</tool_call>"
#define BOOK(id)  "<tool_call>" CALL(id, "book", "{}") "</tool_call>"

/* What became of calls since the last time. */
static void expect(const char *what)
{
	ck_assert_msg(bc_span_is(bc_buf_span(&happened), what), "got %.*s, expected %s",
		      BC_SPAN_ARG(bc_buf_span(&happened)), what);
	bc_buf_clear(&happened);
}

/* The last message of the request that was made; it must be of that role. */
static const char *last(const char *role)
{
	json_t *messages = json_object_get(request, "messages");
	json_t *message = json_array_get(messages, json_array_size(messages) - 1);

	ck_assert_msg(request != NULL, "nothing was asked");
	ck_assert_str_eq(json_string_value(json_object_get(message, "role")), role);
	return json_string_value(json_object_get(message, "content"));
}

static const char *message(size_t from_end, const char *role)
{
	json_t *messages = json_object_get(request, "messages");
	json_t *found = json_array_get(messages, json_array_size(messages) - 1 - from_end);

	ck_assert_str_eq(json_string_value(json_object_get(found, "role")), role);
	return json_string_value(json_object_get(found, "content"));
}

static void asked(const char *news)
{
	ck_assert(running);
	ck_assert_str_eq(last("user"), news);
}

/* … and more before that, which it has not answered. */
static void asked_last(const char *news)
{
	size_t len = strlen(last("user"));

	ck_assert(running);
	ck_assert_uint_ge(len, strlen(news));
	ck_assert_str_eq(last("user") + len - strlen(news), news);
}

/* The model was told that its last step was wrong, and asked again. */
static void blamed(enum misstep misstep, enum bc_metric metric, int64_t before)
{
	ck_assert(running);
	ck_assert_msg(strstr(last("user"), "<error>") != NULL, "%s: got %s", misstep_name(misstep),
		      last("user"));
	ck_assert_int_eq(bc_metric_get(metric), before + 1);
}

static struct reason_report report(void)
{
	struct reason_report now;

	reason_report(reason, &now);
	return now;
}

/* ---- the course of a turn ---- */

START_TEST(words_become_a_request)
{
	hear("where is my <order>", false);
	ck_assert_str_eq(json_string_value(json_object_get(request, "model")), "m-1");
	ck_assert(json_is_true(json_object_get(request, "stream")));
	ck_assert_int_eq(json_integer_value(json_object_get(request, "max_tokens")), 100);
	ck_assert_str_eq(message(1, "system"), "Be \"quick\".");
	asked("<partial_query_update rev=\"1\">where is my &lt;order></partial_query_update>");
}
END_TEST

START_TEST(a_call_is_named_before_its_stream_ends)
{
	hear("order 7", false);
	ck_assert(say("<think>so</think>" ORDER("1")));
	expect("name 1 get_order {\"id\":\"7\"} #0;");
	end();
	ck_assert(!running); /* the step is over: what happens next begins the next one */
	ck_assert_int_ge(kept_mark, 1);
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("{\"state\":\"<open>\"}"));
	asked("<tool_result id=\"1\">{\"state\":\"&lt;open>\"}</tool_result>");
	ck_assert_str_eq(message(1, "assistant"), "<think>so</think>" ORDER("1"));
	hear("order 7 please", true);
	act("<answer>It is open.</answer>");
	ck_assert(!running);
	ck_assert(report().over);
	expect("");
}
END_TEST

START_TEST(dependent_calls_start_without_another_step)
{
	hear("where is 7", true);
	act("<tool_call>[" CALL("1", "get_order", "{\"id\":\"7\"}") "," CALL(
		"2", "track", "{\"parcel\":\"$1.parcels[0]\"}") "]</tool_call>");
	expect("name 1 get_order {\"id\":\"7\"} #0;");
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("{\"parcels\":[12]}"));
	expect("chain 2 track {\"parcel\":12} #0;");
	act("<pause/>");
	reason_result(reason, &track, "{\"parcel\":12}", BC_SPAN_LIT("in Leeds"));
	asked("<tool_result id=\"2\">in Leeds</tool_result>");
}
END_TEST

START_TEST(an_event_interrupts_and_the_thought_is_closed)
{
	hear("order", false);
	ck_assert(say("<think>An order, but wh"));
	hear("order 7", false);
	ck_assert_uint_eq(cancels, 1);
	ck_assert_uint_eq(requests, 2);
	asked("<partial_query_update rev=\"2\">order 7</partial_query_update>");
	ck_assert_str_eq(message(1, "assistant"), "<think>An order, but wh</think_interrupted>");
	ck_assert(say("<think>Seven.</think><tool_call>{\"id\":1,\"na"));
	hear("order 7 5", false); /* half a call has not happened */
	ck_assert_str_eq(message(1, "assistant"), "<think>Seven.</think>");
	expect("");
	ck_assert(say("<think>x</think>" ORDER("1")));
	hear("order 7 5 or so", false); /* a whole one has, though its stream had not ended */
	expect("name 1 get_order {\"id\":\"7\"} #0;");
	ck_assert_str_eq(message(1, "assistant"), "<think>x</think>" ORDER("1"));
	hear("order 7 5 or so.", false); /* nothing was said: no message of the model */
	asked("<partial_query_update rev=\"4\">order 7 5 or so</partial_query_update>\n"
	      "<partial_query_update rev=\"5\">order 7 5 or so.</partial_query_update>");
}
END_TEST

START_TEST(a_result_interrupts)
{
	hear("order 7", false);
	act(ORDER("1"));
	hear("order 7 and", false);
	ck_assert(say("<think>And wh"));
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("null"));
	ck_assert_str_eq(message(1, "assistant"), "<think>And wh</think_interrupted>");
	asked("<tool_result id=\"1\">null</tool_result>");
}
END_TEST

START_TEST(an_answer_that_is_cut_off_has_not_been_given)
{
	json_t *messages;

	hear("order 7", true);
	ck_assert(say("<think>Two.</think><answer>It is in Le"));
	reason_turn(reason); /* the caller goes on */
	ck_assert(!running);
	hear("wait", false);
	messages = json_object_get(request, "messages");
	for (size_t i = 1; i < json_array_size(messages); i++) {
		ck_assert_ptr_null(strstr(
			json_string_value(json_object_get(json_array_get(messages, i), "content")),
			"<answer>"));
	}
}
END_TEST

START_TEST(an_answer_is_over_with_its_last_word)
{
	hear("order 7", true);
	act("<tool_call>[" CALL("1", "get_order", "{\"id\":\"7\"}") "," CALL(
		"2", "track", "{\"parcel\":4}") "]</tool_call>");
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("1"));
	ck_assert(say("<think>So.</think><answer>It is in"));
	reason_result(reason, &track, "{\"parcel\":4}", BC_SPAN_LIT("in York"));
	asked("<tool_result id=\"2\">in York</tool_result>"); /* it cuts the answer off */
	ck_assert_str_eq(message(1, "assistant"), "<think>So.</think>");
	ck_assert(say("<think>So.</think><answer>It is in"));
	ck_assert(!report().over);
	ck_assert(say(" York.</answer>"));
	end();
	ck_assert(report().over);
	ck_assert(!running);
}
END_TEST

START_TEST(a_call_issued_again_replaces_the_first)
{
	hear("order 7", false);
	act("<tool_call>[" CALL("1", "get_order", "{\"id\":\"7\"}") "," CALL(
		"2", "track", "{\"parcel\":\"$1.parcel\"}") "]</tool_call>");
	hear("order 7 no 8", false);
	act(ORDER("1")); /* as it was: nothing changes */
	expect("name 1 get_order {\"id\":\"7\"} #0;");
	hear("order 7 no 8 please", false);
	act("<tool_call>" CALL("1", "get_order", "{\"id\":\"8\"}") "</tool_call>");
	expect("drop 1 get_order {\"id\":\"7\"} #0;name 1 get_order {\"id\":\"8\"} #0;");
	asked("<tool_call_cancelled id=\"2\"/>"); /* it needed the first */
	act("<tool_call>REMOVE 1</tool_call>");
	expect("drop 1 get_order {\"id\":\"8\"} #0;");
	ck_assert(!running);
	hear("order 7 no 8 please yes", false);
	act(ORDER("1")); /* its id is free again */
	expect("name 1 get_order {\"id\":\"7\"} #0;");
}
END_TEST

START_TEST(dependents_issued_again_in_the_same_step_are_not_cancelled)
{
	hear("order 7", false);
	act("<tool_call>[" CALL("1", "get_order", "{\"id\":\"7\"}") "," CALL(
		"2", "track", "{\"parcel\":\"$1.parcel\"}") "]</tool_call>");
	hear("order 8", false);
	act("<tool_call>[" CALL("1", "get_order", "{\"id\":\"8\"}") "," CALL(
		"2", "track", "{\"parcel\":\"$1.parcel\"}") "]</tool_call>");
	ck_assert(!running);
	bc_buf_clear(&happened);
	reason_result(reason, &get_order, "{\"id\":\"8\"}", BC_SPAN_LIT("{\"parcel\":3}"));
	expect("chain 2 track {\"parcel\":3} #0;");
}
END_TEST

START_TEST(equal_calls_are_counted)
{
	hear("twice", false);
	act("<tool_call>[" CALL("1", "get_order", "{\"id\":\"7\"}") "," CALL(
		"2", "get_order", "{\"id\":\"7\"}") "]</tool_call>");
	expect("name 1 get_order {\"id\":\"7\"} #0;name 2 get_order {\"id\":\"7\"} #1;");
}
END_TEST

START_TEST(a_result_that_is_there_already_is_told_at_once)
{
	ready = "{\"parcel\":5}";
	hear("7", false);
	act("<tool_call>[" CALL("1", "get_order", "{\"id\":\"7\"}") "," CALL(
		"2", "track", "{\"parcel\":\"$1.parcel\"}") "]</tool_call>");
	expect("name 1 get_order {\"id\":\"7\"} #0;name 2 track {\"parcel\":5} #0;");
	asked("<tool_result id=\"1\">{\"parcel\":5}</tool_result>\n"
	      "<tool_result id=\"2\">{\"parcel\":5}</tool_result>");
	ck_assert(strstr(message(1, "assistant"), "<tool_call>") != NULL);
}
END_TEST

START_TEST(a_guess_lost_to_others_is_told)
{
	hear("7", false);
	act("<tool_call>[" CALL("1", "get_order", "{\"id\":\"7\"}") "," CALL(
		"2", "track", "{\"parcel\":\"$1.parcel\"}") "]</tool_call>");
	reason_lost(reason, &get_order, "{\"id\":\"7\"}");
	asked("<tool_call_cancelled id=\"1\"/>\n<tool_call_cancelled id=\"2\"/>");
	expect("name 1 get_order {\"id\":\"7\"} #0;");
	reason_lost(reason, &get_order, "{\"id\":\"9\"}"); /* none of ours */
	ck_assert_uint_eq(cancels, 0);
}
END_TEST

START_TEST(turns_have_ids_of_their_own_and_end_with_what_was_said)
{
	hear("order 7", true);
	act(ORDER("1"));
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("1"));
	act("<answer>My own words.</answer>");
	reason_said(reason, BC_SPAN_LIT("One moment."));
	reason_said(reason, BC_SPAN_LIT("It is <there>."));
	reason_turn(reason);
	ck_assert(!running);
	expect("name 1 get_order {\"id\":\"7\"} #0;");
	hear("and 8", false);
	ck_assert_str_eq(message(1, "assistant"),
			 "<think></think><answer>One moment. It is &lt;there>.</answer>");
	act(ORDER("1"));
	expect("name 1 get_order {\"id\":\"7\"} #0;");
	hear("and 8 please", false);
	ck_assert(say("<think>in the midst"));
	reason_turn(reason); /* nothing of the old turn goes on */
	ck_assert(!running);
}
END_TEST

/* ---- missteps ---- */

static void first_call(void)
{
	hear("order 7", false);
	act(ORDER("1"));
}

static void first_result(void)
{
	first_call();
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("{\"parcel\":1}"));
	act("<pause/>");
	hear("order 7 and more", false);
}

/* The provider has made the call itself. */
static void booked(void)
{
	hear("book it", false);
	act(BOOK("1"));
	reason_result(reason, &book, "{}", BC_SPAN_LIT("{\"booked\":true}"));
}

static void partial(void)
{
	hear("order", false);
}

static void final(void)
{
	hear("order", true);
}

static void removed(void)
{
	first_call();
	hear("order 7 no", false);
	act("<tool_call>REMOVE 1</tool_call>");
	hear("order 7 no well", false);
}

static const struct {
	void (*before)(void);
	const char *action;
	enum misstep misstep;
	enum bc_metric metric;
	const char *told; /* part of the message */
} wrong[] = {
	{partial, "<answer>It is here.</answer>", MISSTEP_EARLY_ANSWER, BC_M_REASONER_EARLY_ANSWER,
	 "final query update"},
	{partial, ORDER("1") "<pause/>", MISSTEP_TWO_ACTIONS, BC_M_REASONER_TWO_ACTIONS,
	 "one action"},
	{partial, "<answer>", MISSTEP_EARLY_ANSWER, BC_M_REASONER_EARLY_ANSWER, "pause"},
	{partial, "<dance/>", MISSTEP_MALFORMED, BC_M_REASONER_MALFORMED, "no such tag"},
	{partial, "", MISSTEP_MALFORMED, BC_M_REASONER_MALFORMED, "exactly one action"},
	{partial, "<tool_call>" CALL("1", "fly", "{}") "</tool_call>", MISSTEP_UNKNOWN_TOOL,
	 BC_M_REASONER_UNKNOWN_TOOL, "fly"},
	{partial, "<tool_call>" CALL("1", "get_order", "{\"id\":7}") "</tool_call>",
	 MISSTEP_BAD_ARGUMENTS, BC_M_REASONER_BAD_ARGUMENTS, "id"},
	{partial, "<tool_call>" CALL("2", "track", "{\"parcel\":\"$1.x\"}") "</tool_call>",
	 MISSTEP_BAD_OPERAND, BC_M_REASONER_BAD_OPERAND, "$1.x"},
	{removed, "<tool_call>" CALL("2", "track", "{\"parcel\":\"$1.x\"}") "</tool_call>",
	 MISSTEP_BAD_OPERAND, BC_M_REASONER_BAD_OPERAND, "$1.x"},
	{first_result, "<tool_call>" CALL("2", "track", "{\"parcel\":\"$1.x\"}") "</tool_call>",
	 MISSTEP_BAD_OPERAND, BC_M_REASONER_BAD_OPERAND, "$1.x"},
	{final, "<pause/>", MISSTEP_IDLE_PAUSE, BC_M_REASONER_IDLE_PAUSE, "nothing will follow"},
	{first_result, "<tool_call>" CALL("1", "get_order", "{\"id\":\"8\"}") "</tool_call>",
	 MISSTEP_LATE_EDIT, BC_M_REASONER_LATE_EDIT, "already run"},
	{booked, "<tool_call>REMOVE 1</tool_call>", MISSTEP_LATE_EDIT, BC_M_REASONER_LATE_EDIT,
	 "already run"},
	{partial, "<tool_call>REMOVE 4</tool_call>", MISSTEP_UNKNOWN_CALL,
	 BC_M_REASONER_UNKNOWN_CALL, "no call of that id"},
	{removed, "<tool_call>REMOVE 1</tool_call>", MISSTEP_UNKNOWN_CALL,
	 BC_M_REASONER_UNKNOWN_CALL, "no call of that id"},
};

START_TEST(a_misstep_is_answered_with_an_error_and_a_new_step)
{
	int64_t before;

	wrong[_i].before();
	before = bc_metric_get(wrong[_i].metric);
	act(wrong[_i].action);
	blamed(wrong[_i].misstep, wrong[_i].metric, before);
	ck_assert_msg(strstr(last("user"), wrong[_i].told) != NULL, "got %s", last("user"));
	ck_assert_uint_eq(report().restarts, 1);
}
END_TEST

START_TEST(what_a_step_did_before_its_misstep_stands)
{
	partial();
	act(ORDER("1") "<pause/>");
	expect("name 1 get_order {\"id\":\"7\"} #0;");
	act("<tool_call>[" CALL("2", "track", "{\"parcel\":2}") "," CALL("3", "fly",
									 "{}") "]"
									       "</tool_call>");
	expect("name 2 track {\"parcel\":2} #0;");
	ck_assert(strstr(last("user"), "Call 3, fly") != NULL);
}
END_TEST

START_TEST(an_early_answer_is_cut_off)
{
	partial();
	ck_assert(say("<think>so</think><answer>It"));
	ck_assert_uint_eq(cancels, 1);
	ck_assert_uint_eq(requests, 2);
}
END_TEST

START_TEST(an_operand_that_finds_nothing_cancels_its_call)
{
	int64_t before = bc_metric_get(BC_M_REASONER_BAD_OPERAND);

	partial();
	act("<tool_call>[" CALL("1", "get_order", "{\"id\":\"7\"}") "," CALL(
		"2", "track",
		"{\"parcel\":\"$1.parcel\"}") "," CALL("3", "track",
						       "{\"parcel\":\"$2.x\"}") "]"
										"</tool_call>");
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("{}"));
	ck_assert_int_eq(bc_metric_get(BC_M_REASONER_BAD_OPERAND), before + 1);
	ck_assert(running);
	ck_assert(strstr(last("user"), "<tool_call_cancelled id=\"2\"/>") != NULL);
	ck_assert(strstr(last("user"), "<tool_call_cancelled id=\"3\"/>") != NULL);
	ck_assert(strstr(last("user"), "$1.parcel") != NULL);
	before = bc_metric_get(BC_M_REASONER_BAD_ARGUMENTS);
	act("<tool_call>" CALL("4", "track", "{\"parcel\":\"$1\"}") "</tool_call>");
	ck_assert_int_eq(bc_metric_get(BC_M_REASONER_BAD_ARGUMENTS), before + 1); /* an object */
}
END_TEST

START_TEST(three_restarts_and_no_more)
{
	int64_t before = bc_metric_get(BC_M_REASONER_SPENT);

	partial();
	for (unsigned i = 0; i <= REASON_RESTARTS_MAX; i++) {
		ck_assert_uint_eq(requests, i + 1);
		act("<answer>x</answer>");
	}
	ck_assert(!running);
	ck_assert_uint_eq(requests, REASON_RESTARTS_MAX + 1);
	ck_assert_int_eq(report().phase, REASON_SPENT);
	ck_assert_int_eq(bc_metric_get(BC_M_REASONER_SPENT), before + 1);
	hear("more", false);
	hear("more words", true);
	ck_assert(!running);
	reason_turn(reason);
	hear("a new turn", false);
	ck_assert(running);
}
END_TEST

START_TEST(a_turn_has_so_many_steps)
{
	char action[128];
	char words[16];

	for (unsigned i = 0; i < TURN_STEPS + 3; i++) {
		(void)snprintf(words, sizeof(words), "word %u", i);
		hear(words, false);
	}
	ck_assert_uint_eq(requests, TURN_STEPS * 2 / 3);
	ck_assert(!running);
	hear("all", true); /* what is left was kept for this */
	asked_last("<final_query_update rev=\"16\">all</final_query_update>");
	for (unsigned i = 0; running; i++) {
		ck_assert_uint_lt(i, TURN_STEPS);
		(void)snprintf(words, sizeof(words), "{\"id\":\"%u\"}", i);
		ready = "1";
		(void)snprintf(action, sizeof(action),
			       "<tool_call>{\"id\":%u,\"name\":\"get_order\",\"arguments\":%s}"
			       "</tool_call>",
			       i + 1, words);
		act(action);
	}
	ck_assert_uint_eq(requests, TURN_STEPS);
	ck_assert_int_eq(report().phase, REASON_SPENT);
}
END_TEST

START_TEST(the_plan_is_bounded)
{
	int64_t before = bc_metric_get(BC_M_REASONER_PLAN_FULL);
	unsigned id = 1;

	while (id <= PLAN_CALLS_MAX + 1) {
		struct bc_buf action;

		bc_buf_init(&action, 2000);
		ck_assert_int_eq(bc_buf_put_str(&action, "<tool_call>["), BC_OK);
		for (unsigned i = 0; i < 8 && id <= PLAN_CALLS_MAX + 1; i++, id++) {
			ck_assert_int_eq(
				bc_buf_printf(&action,
					      "%s{\"id\":%u,\"name\":\"track\",\"arguments\":"
					      "{\"parcel\":%u}}",
					      i == 0 ? "" : ",", id, id),
				BC_OK);
		}
		ck_assert_int_eq(bc_buf_put(&action, "]</tool_call>", 14), BC_OK);
		hear(id <= PLAN_CALLS_MAX ? "again" : "at last", false);
		act(bc_buf_span(&action).ptr);
		bc_buf_release(&action);
	}
	ck_assert_uint_eq(report().calls, PLAN_CALLS_MAX);
	blamed(MISSTEP_PLAN_FULL, BC_M_REASONER_PLAN_FULL, before);
}
END_TEST

/* ---- what counts as called ---- */

/* The ids of the calls that count as made, one digit each. */
static void decided(const char *ids)
{
	const struct plan_call *calls[PLAN_CALLS_MAX];
	unsigned count = reason_verdict(reason, calls);

	ck_assert_uint_eq(count, strlen(ids));
	for (unsigned i = 0; i < count; i++) {
		ck_assert_uint_eq(calls[i]->id, (unsigned)(ids[i] - '0'));
	}
}

/* A read that was called early is in hand, and the last words have come. */
static void read_at_the_end(void)
{
	hear("order 7", false);
	act(ORDER("1"));
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("{\"parcel\":1}"));
	act("<pause/>");
	decided("");
	hear("order 7, please", true);
	decided("");
}

START_TEST(an_answer_is_the_commit_point_from_its_first_word)
{
	read_at_the_end();
	ck_assert(say("<think>That is all.</think><answer"));
	decided("");
	ck_assert(say(">It"));
	decided("1");
	hear("more", true); /* there are no words behind the last */
	end();
	decided("1");
	reason_turn(reason);
	decided("");
}
END_TEST

START_TEST(a_pause_and_a_new_id_are_commit_points_when_the_results_are_there)
{
	read_at_the_end();
	act("<tool_call>" CALL("1", "get_order", "{\"id\":\"7\"}") "</tool_call>");
	decided(""); /* an id of before says nothing */
	hear("so", true);
	ck_assert(!running);
	reason_turn(reason);
	read_at_the_end();
	act("<tool_call>" CALL("2", "track", "{\"parcel\":\"$1.parcel\"}") "</tool_call>");
	decided(""); /* one still runs */
	reason_result(reason, &track, "{\"parcel\":1}", BC_SPAN_LIT("{}"));
	decided("12"); /* whatever it may think of next */
	reason_turn(reason);
	hear("order 7", false);
	act(ORDER("1"));
	hear("order 7, please", true);
	act("<pause/>");
	decided("");
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("{}"));
	decided("1");
}
END_TEST

START_TEST(a_plan_with_an_effect_decides_nothing)
{
	read_at_the_end();
	act("<tool_call>" CALL("2", "book", "{}") "</tool_call>");
	decided("");
	reason_result(reason, &book, "{}", BC_SPAN_LIT("{}")); /* the provider has called it */
	act("<answer>Booked.</answer>");
	decided("");
}
END_TEST

START_TEST(a_read_withdrawn_behind_its_result_is_dropped_with_what_needs_it)
{
	read_at_the_end();
	bc_buf_clear(&happened);
	act("<tool_call>[" CALL("2", "track", "{\"parcel\":\"$1.parcel\"}") "," CALL(
		"3", "get_order", "{\"id\":\"8\"}") "]</tool_call>");
	reason_result(reason, &track, "{\"parcel\":1}", BC_SPAN_LIT("{}"));
	reason_result(reason, &get_order, "{\"id\":\"8\"}", BC_SPAN_LIT("{}"));
	decided("123");
	expect("name 2 track {\"parcel\":1} #0;name 3 get_order {\"id\":\"8\"} #0;");
	act("<tool_call>REMOVE 1</tool_call>");
	expect("drop 1 get_order {\"id\":\"7\"} #0;drop 2 track {\"parcel\":1} #0;");
	decided("3");
	/* It may go on: nothing else would wake it. */
	asked("<tool_call_cancelled id=\"1\"/>\n<tool_call_cancelled id=\"2\"/>");
	act("<answer>Order 8.</answer>");
	decided("3");
}
END_TEST

START_TEST(a_call_withdrawn_at_the_end_does_not_leave_it_waiting)
{
	hear("order 7", false);
	act(ORDER("1"));
	hear("order 7, no", true);
	act("<tool_call>REMOVE 1</tool_call>");
	asked("<tool_call_cancelled id=\"1\"/>");
	act("<answer>Nothing, then.</answer>");
	ck_assert(!running);
	decided("");
}
END_TEST

START_TEST(a_call_it_has_tried_to_change_is_not_what_it_means)
{
	static const char *const changes[] = {
		"<tool_call>" CALL("1", "get_order", "{\"id\":\"8\"}") "</tool_call>",
		"<tool_call>" CALL("1", "get_order", "{\"id\":8}") "</tool_call>",
		"<tool_call>" CALL("1", "fly", "{}") "</tool_call>"};

	read_at_the_end();
	act(changes[_i]);
	act("<answer>Order 8.</answer>");
	decided("");
	reason_turn(reason);
	read_at_the_end();
	act(changes[_i]);
	act("<tool_call>[" CALL("1", "get_order", "{\"id\":\"7\"}") "," CALL(
		"2", "track", "{\"parcel\":\"$1.parcel\"}") "]</tool_call>");
	reason_result(reason, &track, "{\"parcel\":1}", BC_SPAN_LIT("{}"));
	decided("12"); /* it has thought better of it */
	reason_turn(reason);
	read_at_the_end();
	act(changes[_i]);
	act("<tool_call>REMOVE 1</tool_call>");
	act("<tool_call>" CALL("2", "get_order", "{\"id\":\"8\"}") "</tool_call>");
	reason_result(reason, &get_order, "{\"id\":\"8\"}", BC_SPAN_LIT("{}"));
	decided("2");
	reason_turn(reason);
	hear("order 7", false);
	act(ORDER("1"));
	hear("order 7, no", true);
	act(changes[1 + _i % 2]); /* its result is still to come */
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("{}"));
	act("<answer>So be it.</answer>");
	decided("");
}
END_TEST

START_TEST(a_misstep_is_no_commit_point)
{
	hear("order 7", true);
	act("<pause/>");
	decided("");
	act("<tool_call>[" CALL("1", "fly", "{}") "," CALL("2", "get_order",
							   "{\"id\":\"7\"}") "]"
									     "</tool_"
									     "call>");
	reason_result(reason, &get_order, "{\"id\":\"7\"}", BC_SPAN_LIT("{}"));
	decided("");
	act("<answer>x</answer>");
	decided("2");
	reason_over(reason);
	decided("");
}
END_TEST

/* ---- the endpoint ---- */

START_TEST(a_failure_is_tried_again_with_the_next_event)
{
	hear("order", false);
	running = false;
	ck_assert(!reason_ended(reason, false));
	ck_assert(!running);
	refuses = true;
	hear("order 7", false);
	ck_assert(!running);
	refuses = false;
	hear("order 7 please", true);
	asked("<partial_query_update rev=\"1\">order</partial_query_update>\n"
	      "<partial_query_update rev=\"2\">order 7</partial_query_update>\n"
	      "<final_query_update rev=\"3\">order 7 please</final_query_update>");
}
END_TEST

START_TEST(an_error_inside_the_stream_ends_it)
{
	hear("order", false);
	ck_assert(!reason_bytes(reason,
				BC_SPAN_LIT("data: {\"error\":{\"message\":\"too busy\"}}\n\n")));
	ck_assert(!running);
	ck_assert_uint_eq(cancels, 1);
	ck_assert_str_eq(reason_trouble(reason), "too busy");
	hear("order 7", false);
	ck_assert(running);
}
END_TEST

START_TEST(an_answer_without_its_end_is_a_failure_and_its_call_stands)
{
	hear("order", false);
	ck_assert(say("<think>so</think>" ORDER("1")));
	running = false;
	ck_assert(!reason_ended(reason, true)); /* whole, but no finish_reason came */
	expect("name 1 get_order {\"id\":\"7\"} #0;");
	hear("order 7", false);
	ck_assert_str_eq(message(1, "assistant"), "<think>so</think>" ORDER("1"));
}
END_TEST

START_TEST(old_messages_are_forgotten)
{
	char words[200];
	size_t bytes = 0;
	size_t i;
	json_t *one;

	reason = reason_free(reason);
	make(2000);
	memset(words, 'w', sizeof(words) - 1);
	words[sizeof(words) - 1] = '\0';
	for (unsigned turn = 0; turn < 20; turn++) {
		hear(words, true);
		act("<answer>x</answer>");
		reason_turn(reason);
	}
	hear("last", false);
	json_array_foreach(json_object_get(request, "messages"), i, one) {
		bytes += i == 0 ? 0 : json_string_length(json_object_get(one, "content"));
	}
	ck_assert_uint_le(bytes, 2000);
	ck_assert_uint_gt(bytes, 1000);
	one = json_array_get(json_object_get(request, "messages"), 1);
	ck_assert_str_eq(json_string_value(json_object_get(one, "role")), "user");
	asked("<partial_query_update rev=\"21\">last</partial_query_update>");
}
END_TEST

/* ---- the prompt ---- */

static void on_event(void *arg, const struct agent_event *event)
{
	unsigned *kinds = arg;

	*kinds |= 1U << event->kind;
}

START_TEST(every_example_of_the_prompt_is_well_formed)
{
	const char *at = agent_prompt;
	unsigned kinds = 0;
	unsigned count = 0;

	while ((at = strstr(at, "```\n")) != NULL) {
		const char *stop = strstr(at + 4, "```\n");
		struct agent_parser *parser = agent_parser_new(NULL, on_event, &kinds);

		ck_assert_ptr_nonnull(stop);
		ck_assert_int_eq(
			agent_parser_feed(parser, bc_span(at + 4, (size_t)(stop - at - 4))), BC_OK);
		ck_assert_int_eq(agent_parser_end(parser), BC_OK);
		parser = agent_parser_free(parser);
		at = stop + 4;
		count++;
	}
	ck_assert_uint_eq(count, 5);
	for (enum agent_kind kind = AGENT_THINK; kind <= AGENT_ANSWER_END; kind++) {
		ck_assert_msg((kinds & 1U << kind) != 0, "no example of %s", agent_kind_name(kind));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reason");
	TCase *turn = tcase_create("turn");
	TCase *steps = tcase_create("missteps");
	TCase *outcome = tcase_create("outcome");
	TCase *endpoint = tcase_create("endpoint");

	tcase_add_checked_fixture(turn, setup, teardown);
	tcase_add_test(turn, words_become_a_request);
	tcase_add_test(turn, a_call_is_named_before_its_stream_ends);
	tcase_add_test(turn, dependent_calls_start_without_another_step);
	tcase_add_test(turn, an_event_interrupts_and_the_thought_is_closed);
	tcase_add_test(turn, a_result_interrupts);
	tcase_add_test(turn, an_answer_that_is_cut_off_has_not_been_given);
	tcase_add_test(turn, an_answer_is_over_with_its_last_word);
	tcase_add_test(turn, a_call_issued_again_replaces_the_first);
	tcase_add_test(turn, dependents_issued_again_in_the_same_step_are_not_cancelled);
	tcase_add_test(turn, equal_calls_are_counted);
	tcase_add_test(turn, a_result_that_is_there_already_is_told_at_once);
	tcase_add_test(turn, a_guess_lost_to_others_is_told);
	tcase_add_test(turn, turns_have_ids_of_their_own_and_end_with_what_was_said);
	tcase_add_checked_fixture(steps, setup, teardown);
	tcase_add_loop_test(steps, a_misstep_is_answered_with_an_error_and_a_new_step, 0,
			    (int)BC_ARRAY_LEN(wrong));
	tcase_add_test(steps, what_a_step_did_before_its_misstep_stands);
	tcase_add_test(steps, an_early_answer_is_cut_off);
	tcase_add_test(steps, an_operand_that_finds_nothing_cancels_its_call);
	tcase_add_test(steps, three_restarts_and_no_more);
	tcase_add_test(steps, a_turn_has_so_many_steps);
	tcase_add_test(steps, the_plan_is_bounded);
	tcase_add_checked_fixture(outcome, setup, teardown);
	tcase_add_test(outcome, an_answer_is_the_commit_point_from_its_first_word);
	tcase_add_test(outcome, a_pause_and_a_new_id_are_commit_points_when_the_results_are_there);
	tcase_add_test(outcome, a_plan_with_an_effect_decides_nothing);
	tcase_add_test(outcome, a_read_withdrawn_behind_its_result_is_dropped_with_what_needs_it);
	tcase_add_test(outcome, a_call_withdrawn_at_the_end_does_not_leave_it_waiting);
	tcase_add_loop_test(outcome, a_call_it_has_tried_to_change_is_not_what_it_means, 0, 3);
	tcase_add_test(outcome, a_misstep_is_no_commit_point);
	tcase_add_checked_fixture(endpoint, setup, teardown);
	tcase_add_test(endpoint, a_failure_is_tried_again_with_the_next_event);
	tcase_add_test(endpoint, an_error_inside_the_stream_ends_it);
	tcase_add_test(endpoint, an_answer_without_its_end_is_a_failure_and_its_call_stands);
	tcase_add_test(endpoint, old_messages_are_forgotten);
	tcase_add_test(endpoint, every_example_of_the_prompt_is_well_formed);
	suite_add_tcase(suite, turn);
	suite_add_tcase(suite, steps);
	suite_add_tcase(suite, outcome);
	suite_add_tcase(suite, endpoint);
	return tap_run(suite);
}
