#include "tests/unit/session_verdict.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct rig rig;
char marks[VERDICT_MARKS_MAX][128];
unsigned mark_count;

void verdict_begin(const char *toml)
{
	talk_begin(&rig, toml, "pcm");
	mark_count = 0;
}

/* Look through what reached the provider: passes are remembered. */
void find_passes(void)
{
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		json_t *event =
			json_loads(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]++], 0, NULL);

		if (strcmp(rig_string(event, "response.metadata.bc"), "p") == 0) {
			char *text = json_dumps(
				json_object_get(json_object_get(event, "response"), "metadata"), 0);

			ck_assert_uint_lt(mark_count, VERDICT_MARKS_MAX);
			(void)snprintf(marks[mark_count], sizeof(marks[0]), "%s", text);
			mark_count++;
			free(text);
		}
		json_decref(event);
	}
}

/* The provider answers the newest pass: up to two calls, and its end. */
void answer_pass(const char *id, const char *tool, const char *arguments, const char *second)
{
	ck_assert_uint_gt(mark_count, 0);
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'%s','status':'in_progress','conversation_id':null,'metadata':%s,'output':[]}}",
	       id, marks[mark_count - 1]);
	if (tool != NULL) {
		rig_up(&rig,
		       "{'type':'response.output_item.done','response_id':'%s','item':{'id':'i_%s','type':'function_call','status':'completed','name':'%s','call_id':'cp','arguments':'%s'}}",
		       id, id, tool, arguments);
	}
	if (second != NULL) {
		rig_up(&rig,
		       "{'type':'response.output_item.done','response_id':'%s','item':{'id':'j_%s','type':'function_call','status':'completed','name':'%s','call_id':'cq','arguments':'{}'}}",
		       id, id, second);
	}
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'%s','status':'completed','conversation_id':null,'metadata':%s,'output':[],'usage':{'total_tokens':1}}}",
	       id, marks[mark_count - 1]);
}

/* The caller has spoken, and a pass over all of it names this; silence goes on until 520 ms. */
void turn_naming(const char *tool, const char *arguments)
{
	turn_naming_both(tool, arguments, NULL);
}

void turn_naming_both(const char *tool, const char *arguments, const char *second)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	answer_pass("p1", tool, arguments, second);
	talk_audio(&rig, 320, false);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_skip(&rig, SESS_CLIENT);
}

void expect_cancel(const char *response)
{
	json_t *event = rig_next(&rig, SESS_UPSTREAM, "response.cancel");

	ck_assert_str_eq(rig_string(event, "response_id"), response);
	json_decref(event);
}

/* The next event to the provider puts a call in; the provider confirms it.  Its call_id, until the next call. */
const char *expect_call(const char *name)
{
	static char call_id[64];
	json_t *event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");

	ck_assert_str_eq(rig_string(event, "item.type"), "function_call");
	ck_assert_str_eq(rig_string(event, "item.name"), name);
	(void)snprintf(call_id, sizeof(call_id), "%s", rig_string(event, "item.call_id"));
	rig_up(&rig, "{'type':'conversation.item.added','item':{'id':'%s','type':'function_call'}}",
	       rig_string(event, "item.id"));
	json_decref(event);
	return call_id;
}

void expect_output(const char *call_id, const char *output)
{
	json_t *event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");

	ck_assert_str_eq(rig_string(event, "item.type"), "function_call_output");
	ck_assert_str_eq(rig_string(event, "item.call_id"), call_id);
	ck_assert_str_eq(rig_string(event, "item.output"), output);
	rig_up(&rig,
	       "{'type':'conversation.item.added','item':{'id':'%s','type':'function_call_output'}}",
	       rig_string(event, "item.id"));
	json_decref(event);
}

void expect_followup(void)
{
	json_t *event = rig_next(&rig, SESS_UPSTREAM, "response.create");

	ck_assert_str_eq(rig_string(event, "response.metadata.bc"), "f");
	json_decref(event);
}

void answer_begins(void)
{
	talk_created(&rig, "r2", "{'bc':'f'}");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r2','item':{'id':'m1','type':'message','role':'assistant'}}");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
}

/* A read is in hand, the turn is committed, and the client has seen that. */
void read_in_hand(void)
{
	turn_naming("get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "{\"at\":1}");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM); /* passes that were in its way are cancelled */
}

void cancelled(const char *id)
{
	talk_done(&rig, id, "cancelled");
}

/* A booking is named by a pass over the whole turn, and r1 was cancelled for it, 520 ms after the last word. */
void booking_at_the_gate(void)
{
	turn_naming("book", TALK_NIGHT);
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	ck_assert_uint_eq(rig.run_count, 0); /* never while a response is alive */
	cancelled("r1");
	ck_assert_uint_eq(rig.run_count, 0);
}
