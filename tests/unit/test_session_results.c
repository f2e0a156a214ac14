/* How a result reaches the model when its call cannot simply take it: placeholders, lost calls, refused outputs, repeats. */
#include "daemon/config/config.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define OFF "[speculation]\nmode = \"off\"\n"
#define MS  BC_USEC_PER_MS
#define READ_TOOL(name, more)                                                               \
	"[[tool]]\nname = \"" name "\"\ndescription = \"x\"\neffect = \"read\"\n" more "\n" \
	"parameters = { type = \"object\" }\n"                                              \
	"request = { method = \"POST\", url = \"http://localhost:1/x\", body = \"{*}\" }\n"

/* As TALK_CONFIG, for a provider of which the operator says how it takes results. */
#define WITH_RESULTS(how)                                                                              \
	"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n" OFF                                       \
	"[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\nasync_results = \"" how "\"\n"          \
	"[[tool]]\nname = \"get_order\"\ndescription = \"x\"\neffect = \"read\"\n"                     \
	"parameters = { type = \"object\" }\n"                                                         \
	"request = { method = \"POST\", url = \"http://localhost:1/x\", body = \"{*}\" }\n"            \
	"[[tool]]\nname = \"book\"\ndescription = \"x\"\neffect = \"hold\"\n"                          \
	"parameters = { type = \"object\" }\n"                                                         \
	"request = { method = \"POST\", url = \"http://localhost:1/x\", body = \"{*}\" }\n" READ_TOOL( \
		"log_visit", "delivery = \"silent\"")

static struct rig rig;

static void setup(void)
{
	talk_begin(&rig, TALK_CONFIG OFF, "pcm");
}

static void setup_placeholder(void)
{
	talk_begin(&rig, WITH_RESULTS("placeholder"), "pcm");
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* ---- pieces ---- */

static void called(const char *response, const char *item, const char *tool, const char *arguments)
{
	talk_created(&rig, response, "null");
	talk_call(&rig, response, item, tool, arguments);
	talk_done(&rig, response, "completed");
}

/* The next thing the provider gets is an item with this text in it; its id stays in the buffer. */
static void expect_item(const char *type, const char *text, char id[64], char event_id[64])
{
	json_t *event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");
	const json_t *content = json_object_get(json_object_get(event, "item"), "content");
	const char *shown = strcmp(type, "message") == 0
				    ? rig_string(json_array_get(content, 0), "text")
				    : rig_string(event, "item.output");

	ck_assert_str_eq(rig_string(event, "item.type"), type);
	ck_assert_msg(strstr(shown, text) != NULL, "%s", shown);
	(void)snprintf(id, 64, "%s", rig_string(event, "item.id"));
	(void)snprintf(event_id, 64, "%s", rig_string(event, "event_id"));
	json_decref(event);
}

static void confirm(const char *id, const char *type)
{
	rig_up(&rig, "{'type':'conversation.item.added','item':{'id':'%s','type':'%s'}}", id, type);
}

static void expect_put_in(const char *type, const char *text)
{
	char id[64];
	char event_id[64];

	expect_item(type, text, id, event_id);
	confirm(id, type);
}

static void finish_as(unsigned number, enum tool_outcome outcome, const char *output)
{
	struct rig_run *run = &rig.runs[number];

	run->output = strdup(output);
	run->finished = true;
	run->result = (struct tool_result){
		.outcome = outcome, .output = bc_span_str(run->output), .finished = rig.now};
	run->done(run->arg, (struct tool_call *)run, &run->result);
}

/* An answer that the caller hears. */
static void answered(const char *response, const char *metadata)
{
	talk_created(&rig, response, metadata);
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'%s','item':{'id':'m_%s','type':'message','role':'assistant','status':'in_progress'}}",
	       response, response);
	talk_done(&rig, response, "completed");
}

/* ---- placeholders ---- */

START_TEST(a_provider_without_pending_calls_gets_a_placeholder_and_a_message)
{
	called("r1", "f1", "get_order", "{}");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 300 * MS);
	expect_put_in("function_call_output", "still running");
	rig_wait(&rig, 5000 * MS);
	rig_silent(&rig, SESS_UPSTREAM); /* nobody is asked to speak about a placeholder */
	rig_finish(&rig, 0, "{\"state\":\"sent\"}");
	expect_put_in("message", "\\\"state\\\":\\\"sent\\\"");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	rig_silent(&rig, SESS_UPSTREAM);
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
}
END_TEST

START_TEST(a_result_in_time_is_the_output)
{
	called("r1", "f1", "get_order", "{}");
	rig_wait(&rig, 200 * MS);
	rig_finish(&rig, 0, "{\"state\":\"sent\"}");
	expect_put_in("function_call_output", "sent");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	rig_wait(&rig, 5000 * MS);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(no_placeholder_stands_in_the_middle_of_a_response)
{
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", "{}");
	rig_wait(&rig, 5000 * MS);
	rig_silent(&rig, SESS_UPSTREAM);
	talk_done(&rig, "r1", "completed");
	rig_wait(&rig, 300 * MS);
	expect_put_in("function_call_output", "still running");
}
END_TEST

START_TEST(a_placeheld_silent_result_is_not_spoken)
{
	called("r1", "f1", "log_visit", "{}");
	rig_wait(&rig, 300 * MS);
	expect_put_in("function_call_output", "still running");
	rig_finish(&rig, 0, "{\"seen\":1}");
	expect_put_in("message", "seen");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_refused_placeholder_changes_nothing)
{
	char id[64];
	char event_id[64];

	called("r1", "f1", "get_order", "{}");
	rig_wait(&rig, 300 * MS);
	expect_item("function_call_output", "still running", id, event_id);
	rig_up(&rig, "{'type':'error','error':{'code':'invalid_tool_call_id','event_id':'%s'}}",
	       event_id);
	rig_finish(&rig, 0, "{\"state\":\"sent\"}");
	expect_put_in("message", "sent");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

/* What a provider says of itself, and whether it gets placeholders then. */
START_TEST(auto_goes_by_model_and_dialect)
{
	static const struct {
		const char *session;
		bool placeholder;
	} rows[] = {
		{"'model':'gpt-realtime-2','type':'realtime','tools':[]", false},
		{"'model':'gpt-4o-realtime-preview-2024-12-17','type':'realtime','tools':[]", true},
		{"'model':'grok-voice-latest','tools':[]", true},
		{"'model':'anything','type':'realtime','tools':[]", false},
		{"'model':'anything','input_audio_format':'pcm16','tools':[]", true},
		{"'model':'gpt-realtime','input_audio_format':'pcm16','tools':[]", false},
	};

	rig_up(&rig, "{'type':'session.updated','session':{%s}}", rows[_i].session);
	called("r1", "f1", "get_order", TALK_ORDER);
	rig_wait(&rig, 5000 * MS);
	if (rows[_i].placeholder) {
		expect_put_in("function_call_output", "still running");
	}
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(the_operator_knows_better)
{
	struct rig sure;

	talk_begin(&sure, WITH_RESULTS("native"), "pcm");
	rig_up(&sure,
	       "{'type':'session.updated','session':{'model':'gpt-4o-realtime','tools':[]}}");
	talk_created(&sure, "r1", "null");
	talk_call(&sure, "r1", "f1", "get_order", "{}");
	talk_done(&sure, "r1", "completed");
	rig_wait(&sure, 5000 * MS);
	rig_silent(&sure, SESS_UPSTREAM);
	rig_fini(&sure);
}
END_TEST

/* ---- calls that are gone ---- */

START_TEST(a_result_of_a_deleted_call_is_a_message)
{
	called("r1", "f1", "get_order", TALK_ORDER);
	rig_up(&rig, "{'type':'conversation.item.deleted','item_id':'f1'}");
	rig_finish(&rig, 0, "{\"state\":\"sent\"}");
	expect_put_in("message", "sent");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

/* The provider forgets a call by itself: with the id of our event, or only with the call's in its words. */
START_TEST(a_refused_output_becomes_a_message_and_is_spoken_once)
{
	bool named = _i == 0;
	char id[64];
	char event_id[64];

	called("r1", "f1", "get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{\"state\":\"sent\"}");
	expect_item("function_call_output", "sent", id, event_id);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	talk_skip(&rig, SESS_CLIENT);
	rig_up(&rig,
	       "{'type':'error','error':{'code':'invalid_tool_call_id','message':'Tool call ID `c_f1` not found in conversation.','event_id':%s%s%s}}",
	       named ? "'" : "", named ? event_id : "null", named ? "'" : "");
	expect_put_in("message", "sent");
	/* The answer that was asked for behind the refused output knows nothing: it is never heard. */
	talk_created(&rig, "r2", "{'bc':'f'}");
	rig_expect(&rig, SESS_UPSTREAM, "response.cancel");
	talk_done(&rig, "r2", "cancelled");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	rig_silent(&rig, SESS_CLIENT);
	answered("r3", "{'bc':'f'}");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_expect(&rig, SESS_CLIENT, "response.created");
}
END_TEST

START_TEST(a_refused_message_is_given_up)
{
	char id[64];
	char event_id[64];

	called("r1", "f1", "get_order", TALK_ORDER);
	rig_up(&rig, "{'type':'conversation.item.deleted','item_id':'f1'}");
	rig_finish(&rig, 0, "{\"state\":\"sent\"}");
	expect_item("message", "sent", id, event_id);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	rig_up(&rig, "{'type':'error','error':{'code':'invalid_value','event_id':'%s'}}", event_id);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(a_refused_output_of_the_client_is_its_own)
{
	called("r1", "f1", "get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{}");
	talk_skip(&rig, SESS_CLIENT);
	rig_up(&rig,
	       "{'type':'error','error':{'code':'invalid_tool_call_id','message':'Tool call ID `mine` not found.','event_id':null}}");
	rig_expect(&rig, SESS_CLIENT, "error");
}
END_TEST

/* ---- the same work named again ---- */

START_TEST(a_write_named_again_while_it_runs_joins)
{
	called("r1", "f1", "book", TALK_NIGHT);
	talk_commit(&rig, "u2", NULL);
	called("r2", "f2", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "{\"booked\":1}");
	ck_assert_uint_eq(talk_outputs(&rig), 2);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(a_write_nobody_has_told_of_joins)
{
	called("r1", "f1", "book", TALK_NIGHT);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_finish(&rig, 0, "{\"booked\":1}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	talk_commit(&rig, "u2", NULL);
	called("r2", "f2", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	/* Told now; the answer itself does not book a second time either. */
	talk_created(&rig, "r3", "{'bc':'f'}");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r3','item':{'id':'m3','type':'message','role':'assistant','status':'in_progress'}}");
	talk_call(&rig, "r3", "f3", "book", TALK_NIGHT);
	talk_done(&rig, "r3", "completed");
	ck_assert_uint_eq(rig.run_count, 1);
	/* Who asks after that means another one. */
	talk_commit(&rig, "u3", "u2");
	called("r4", "f4", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

START_TEST(a_write_that_did_not_happen_is_run_again)
{
	called("r1", "f1", "book", TALK_NIGHT);
	finish_as(0, TOOL_UNREACHABLE, "{\"error\":{}}");
	talk_commit(&rig, "u2", NULL);
	called("r2", "f2", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

START_TEST(a_read_named_again_joins_only_while_it_runs)
{
	called("r1", "f1", "get_order", TALK_ORDER);
	talk_commit(&rig, "u2", NULL);
	called("r2", "f2", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 2);
	talk_commit(&rig, "u3", "u2");
	called("r3", "f3", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

/* ---- deadlines ---- */

START_TEST(j7_an_effect_past_its_deadline_is_told_as_unknown)
{
	called("r1", "f1", "book", TALK_NIGHT);
	finish_as(0, TOOL_TIMEOUT, "{\"error\":{\"message\":\"outcome unknown, do not repeat\"}}");
	expect_put_in("function_call_output", "outcome unknown, do not repeat");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	/* Named again it goes to the tools, which answer it from the intent that is in doubt. */
	talk_commit(&rig, "u2", NULL);
	called("r2", "f2", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 2);
	finish_as(1, TOOL_IN_DOUBT,
		  "{\"error\":{\"type\":\"in_doubt\",\"message\":\"do not repeat\"}}");
	talk_created(&rig, "r3", "{'bc':'f'}");
	talk_done(&rig, "r3", "cancelled");
	expect_put_in("function_call_output", "in_doubt");
}
END_TEST

START_TEST(a_read_past_its_deadline_says_so)
{
	called("r1", "f1", "get_order", TALK_ORDER);
	finish_as(0, TOOL_TIMEOUT, "{\"error\":{\"type\":\"timeout\"}}");
	expect_put_in("function_call_output", "timeout");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	talk_commit(&rig, "u2", NULL);
	called("r2", "f2", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 2); /* a read may be tried again */
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_results");
	TCase *plain = tcase_create("native");
	TCase *held = tcase_create("placeholder");

	tcase_add_checked_fixture(plain, setup, teardown);
	tcase_add_loop_test(plain, auto_goes_by_model_and_dialect, 0, 6);
	tcase_add_test(plain, the_operator_knows_better);
	tcase_add_test(plain, a_result_of_a_deleted_call_is_a_message);
	tcase_add_loop_test(plain, a_refused_output_becomes_a_message_and_is_spoken_once, 0, 2);
	tcase_add_test(plain, a_refused_message_is_given_up);
	tcase_add_test(plain, a_refused_output_of_the_client_is_its_own);
	tcase_add_test(plain, a_write_named_again_while_it_runs_joins);
	tcase_add_test(plain, a_write_nobody_has_told_of_joins);
	tcase_add_test(plain, a_write_that_did_not_happen_is_run_again);
	tcase_add_test(plain, a_read_named_again_joins_only_while_it_runs);
	tcase_add_test(plain, j7_an_effect_past_its_deadline_is_told_as_unknown);
	tcase_add_test(plain, a_read_past_its_deadline_says_so);
	suite_add_tcase(suite, plain);
	tcase_add_checked_fixture(held, setup_placeholder, teardown);
	tcase_add_test(held, a_provider_without_pending_calls_gets_a_placeholder_and_a_message);
	tcase_add_test(held, a_result_in_time_is_the_output);
	tcase_add_test(held, no_placeholder_stands_in_the_middle_of_a_response);
	tcase_add_test(held, a_placeheld_silent_result_is_not_spoken);
	tcase_add_test(held, a_refused_placeholder_changes_nothing);
	suite_add_tcase(suite, held);
	return tap_run(suite);
}
