/* What client and provider get to see when the gateway runs tools: rules R1 to R9, case by case. */
#include "daemon/config/config.h"
#include "tests/unit/session_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG(clash)                                                                                              \
	"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n" \
	"[tools]\non_name_clash = \"" clash "\"\n"                                                                 \
	"[[tool]]\nname = \"get_order\"\ndescription = \"Looks an order up.\"\neffect = \"read\"\n"                \
	"disclosure = \"first_party\"\nparameters = { type = \"object\", properties = { id = { type = "            \
	"\"string\" } }, required = [\"id\"], additionalProperties = false }\n"                                    \
	"request = { method = \"POST\", url = \"http://localhost:1/order\", body = \"{*}\" }\n"                    \
	"[[tool]]\nname = \"book\"\ndescription = \"Books a room.\"\neffect = \"hold\"\n"                          \
	"parameters = { type = \"object\", properties = { night = { type = \"string\" } } }\n"                     \
	"request = { method = \"POST\", url = \"http://localhost:1/book\", body = \"{*}\" }\n" TOOL(               \
		"log_visit", "read", "delivery = \"silent\"")                                                      \
		TOOL("alarm", "read", "delivery = \"interrupt\"")                                                  \
			TOOL("look", "read", "on_barge_in = \"cancel\"")                                           \
				TOOL("order", "hold", "on_barge_in = \"cancel\"")

#define TOOL(name, effect, more)                                                                  \
	"[[tool]]\nname = \"" name "\"\ndescription = \"x\"\neffect = \"" effect "\"\n" more "\n" \
	"parameters = { type = \"object\" }\n"                                                    \
	"request = { method = \"POST\", url = \"http://localhost:1/x\", body = \"{*}\" }\n"

static struct rig rig;

static void setup(void)
{
	rig_init(&rig, CONFIG("gateway"), true);
	/* The gateway's own update goes first and is answered out of the client's sight. */
	rig_expect(&rig, SESS_UPSTREAM, "session.update");
	rig_up(&rig, "{'type':'session.created','session':{'type':'realtime','tools':[]}}");
	rig_expect(&rig, SESS_CLIENT, "session.created");
	rig_up(&rig,
	       "{'type':'session.updated','session':{'type':'realtime','tools':[{'name':'get_order'}]}}");
	rig_silent(&rig, SESS_CLIENT);
}

/* A tool of the client's own: "mine". */
static void declare_mine(void)
{
	rig_client(
		&rig,
		"{'type':'session.update','session':{'type':'realtime','tools':[{'type':'function','name':'mine'}]}}");
	rig_expect(&rig, SESS_UPSTREAM, "session.update");
	rig_up(&rig, "{'type':'session.updated','session':{'type':'realtime','tools':[]}}");
	rig_expect(&rig, SESS_CLIENT, "session.updated");
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* ---- pieces of a conversation ---- */

static void user_turn(const char *id, const char *prev)
{
	rig_up(&rig,
	       "{'type':'input_audio_buffer.committed','item_id':'%s','previous_item_id':%s%s%s}",
	       id, prev == NULL ? "" : "'", prev == NULL ? "null" : prev, prev == NULL ? "" : "'");
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':%s%s%s,'item':{'id':'%s','type':'message','role':'user'}}",
	       prev == NULL ? "" : "'", prev == NULL ? "null" : prev, prev == NULL ? "" : "'", id);
	rig_up(&rig,
	       "{'type':'conversation.item.done','previous_item_id':%s%s%s,'item':{'id':'%s','type':'message','role':'user'}}",
	       prev == NULL ? "" : "'", prev == NULL ? "null" : prev, prev == NULL ? "" : "'", id);
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.committed");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.added");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.done");
}

static void created(const char *id, const char *metadata)
{
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'%s','object':'realtime.response','status':'in_progress','conversation_id':'conv','metadata':%s,'output':[]}}",
	       id, metadata);
}

static void call_item(const char *resp, const char *item, const char *prev, const char *name,
		      const char *args)
{
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'%s','output_index':0,'item':{'id':'%s','type':'function_call','status':'in_progress','name':'%s','call_id':'c_%s','arguments':''}}",
	       resp, item, name, item);
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':'%s','item':{'id':'%s','type':'function_call','status':'in_progress','name':'%s','call_id':'c_%s'}}",
	       prev, item, name, item);
	rig_up(&rig,
	       "{'type':'response.function_call_arguments.done','response_id':'%s','item_id':'%s','call_id':'c_%s','arguments':'%s'}",
	       resp, item, item, args);
	rig_up(&rig,
	       "{'type':'response.output_item.done','response_id':'%s','output_index':0,'item':{'id':'%s','type':'function_call','status':'completed','name':'%s','call_id':'c_%s','arguments':'%s'}}",
	       resp, item, name, item, args);
	rig_up(&rig,
	       "{'type':'conversation.item.done','previous_item_id':'%s','item':{'id':'%s','type':'function_call','status':'completed','name':'%s','call_id':'c_%s'}}",
	       prev, item, name, item);
}

static void message_item(const char *resp, const char *item, const char *prev)
{
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'%s','output_index':0,'item':{'id':'%s','type':'message','role':'assistant'}}",
	       resp, item);
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':'%s','item':{'id':'%s','type':'message','role':'assistant'}}",
	       prev, item);
	rig_up(&rig,
	       "{'type':'response.output_audio.delta','response_id':'%s','item_id':'%s','delta':'AAAA'}",
	       resp, item);
	rig_up(&rig,
	       "{'type':'response.output_item.done','response_id':'%s','output_index':0,'item':{'id':'%s','type':'message','role':'assistant','status':'completed'}}",
	       resp, item);
	rig_up(&rig,
	       "{'type':'conversation.item.done','previous_item_id':'%s','item':{'id':'%s','type':'message','role':'assistant'}}",
	       prev, item);
}

#define USAGE(n)                                    \
	"{'total_tokens':" #n ",'input_tokens':" #n \
	",'output_tokens':0,'input_token_details':{'cached_tokens':" #n "}}"

static void done(const char *id, const char *status, const char *output)
{
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'%s','object':'realtime.response','status':'%s','status_details':null,'metadata':null,'output':[%s],'usage':" USAGE(
		       10) "}}",
	       id, status, output);
}

/* The output and the request for an answer that follow a gateway call; returns the id of the output item. */
static void output_and_create(const char *call_id, char *ret_metadata, size_t size)
{
	json_t *output = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");
	json_t *create;

	ck_assert_str_eq(rig_string(output, "item.type"), "function_call_output");
	ck_assert_str_eq(rig_string(output, "item.call_id"), call_id);
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':'f1','item':{'id':'%s','type':'function_call_output'}}",
	       rig_string(output, "item.id"));
	rig_up(&rig,
	       "{'type':'conversation.item.done','previous_item_id':'f1','item':{'id':'%s','type':'function_call_output'}}",
	       rig_string(output, "item.id"));
	json_decref(output);
	create = rig_next(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_str_eq(rig_string(create, "response.metadata.bc"), "f");
	if (ret_metadata != NULL) {
		char *text = json_dumps(
			json_object_get(json_object_get(create, "response"), "metadata"), 0);

		(void)snprintf(ret_metadata, size, "%s", text);
		free(text);
	}
	json_decref(create);
	rig_silent(&rig, SESS_UPSTREAM);
}

/* ---- cases ---- */

START_TEST(gateway_tools_are_offered_before_anything_else)
{
	struct rig early;
	json_t *update;

	rig_init(&early, CONFIG("gateway"), false);
	rig_client(&early, "{'type':'input_audio_buffer.append','audio':'AAAA'}");
	rig_silent(&early, SESS_UPSTREAM);
	sess_upstream_open(early.sess);
	update = rig_next(&early, SESS_UPSTREAM, "session.update");
	ck_assert_str_eq(rig_string(update, "session.type"), "realtime");
	ck_assert_uint_eq(
		json_array_size(json_object_get(json_object_get(update, "session"), "tools")), 6);
	json_decref(update);
	rig_expect(&early, SESS_UPSTREAM, "input_audio_buffer.append");
	rig_fini(&early);
}
END_TEST

START_TEST(unknown_events_keep_their_bytes)
{
	static const char text[] = "{ \"type\" : \"x.y\",\t\"n\": 1.50, \"n2\":[ ] }";

	sess_message(rig.sess, SESS_UPSTREAM, WS_TEXT, bc_span_str(text));
	ck_assert_str_eq(rig.sent[SESS_CLIENT][rig.count[SESS_CLIENT] - 1], text);
	sess_message(rig.sess, SESS_CLIENT, WS_TEXT, bc_span_str(text));
	ck_assert_str_eq(rig.sent[SESS_UPSTREAM][rig.count[SESS_UPSTREAM] - 1], text);
}
END_TEST

START_TEST(client_tools_are_united_and_shown_alone)
{
	json_t *event;

	rig_client(
		&rig,
		"{'type':'session.update','event_id':'e1','session':{'type':'realtime','tools':[{'type':'function','name':'mine'}]}}");
	event = rig_next(&rig, SESS_UPSTREAM, "session.update");
	ck_assert_uint_eq(
		json_array_size(json_object_get(json_object_get(event, "session"), "tools")), 7);
	ck_assert_str_eq(rig_string(event, "event_id"), "e1");
	json_decref(event);
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[{'name':'mine'},{'name':'get_order'},{'name':'book'}]}}");
	event = rig_next(&rig, SESS_CLIENT, "session.updated");
	ck_assert_uint_eq(
		json_array_size(json_object_get(json_object_get(event, "session"), "tools")), 1);
	json_decref(event);
}
END_TEST

START_TEST(a_clash_can_be_refused)
{
	struct rig strict;
	json_t *event;

	rig_init(&strict, CONFIG("refuse"), true);
	rig_expect(&strict, SESS_UPSTREAM, "session.update");
	rig_client(
		&strict,
		"{'type':'session.update','event_id':'e7','session':{'type':'realtime','tools':[{'name':'book'}]}}");
	rig_silent(&strict, SESS_UPSTREAM);
	event = rig_next(&strict, SESS_CLIENT, "error");
	ck_assert_str_eq(rig_string(event, "error.event_id"), "e7");
	json_decref(event);
	rig_fini(&strict);
}
END_TEST

START_TEST(a_call_is_run_unseen_and_answered)
{
	json_t *event;

	user_turn("u1", NULL);
	created("r1", "null");
	rig_up(&rig, "{'type':'rate_limits.updated','rate_limits':[]}");
	call_item("r1", "f1", "u1", "get_order", "{\\\"id\\\":\\\"7\\\"}");
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert_str_eq(rig.runs[0].arguments, "{\"id\":\"7\"}");
	rig_finish(&rig, 0, "{\"state\":\"sent\"}");
	rig_silent(&rig, SESS_UPSTREAM); /* T2: not in the middle of the response */
	done("r1", "completed", "{'id':'f1','type':'function_call'}");
	rig_silent(&rig, SESS_CLIENT); /* R4: ended with gateway calls only */
	output_and_create("c_f1", NULL, 0);
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
	created("r2", "{'bc':'f'}");
	rig_silent(&rig, SESS_CLIENT);
	message_item("r2", "m1", "bc_o1");
	event = rig_next(&rig, SESS_CLIENT, "response.created");
	ck_assert_str_eq(rig_string(event, "response.id"), "r2");
	ck_assert(json_is_null(json_object_get(json_object_get(event, "response"), "metadata")));
	json_decref(event);
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	event = rig_next(&rig, SESS_CLIENT, "conversation.item.added");
	json_decref(event);
	rig_expect(&rig, SESS_CLIENT, "response.output_audio.delta");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.done");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.done");
	done("r2", "completed", "{'id':'m1'}");
	event = rig_next(&rig, SESS_CLIENT, "response.done");
	ck_assert_int_eq(json_integer_value(json_object_get(
				 json_object_get(json_object_get(event, "response"), "usage"),
				 "total_tokens")),
			 20);
	json_decref(event);
	rig_silent(&rig, SESS_CLIENT);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(r3_previous_item_ids_skip_hidden_items)
{
	json_t *event;

	user_turn("u1", NULL);
	created("r1", "null");
	call_item("r1", "f1", "u1", "get_order", "{\\\"id\\\":\\\"7\\\"}");
	done("r1", "completed", "{'id':'f1'}");
	rig_finish(&rig, 0, "{}");
	output_and_create("c_f1", NULL, 0);
	rig_up(&rig,
	       "{'type':'input_audio_buffer.committed','item_id':'u2','previous_item_id':'f1'}");
	event = rig_next(&rig, SESS_CLIENT, "input_audio_buffer.committed");
	ck_assert_str_eq(rig_string(event, "previous_item_id"), "u1");
	json_decref(event);
	rig_client(
		&rig,
		"{'type':'conversation.item.create','previous_item_id':'u1','item':{'type':'message','role':'system'}}");
	event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");
	ck_assert_str_ne(rig_string(event, "previous_item_id"),
			 "u1"); /* behind the call and its output */
	json_decref(event);
}
END_TEST

START_TEST(r4_a_clients_response_is_merged)
{
	char metadata[256];
	json_t *event;

	rig_client(
		&rig,
		"{'type':'response.create','event_id':'e2','response':{'instructions':'say goodbye','metadata':{'mine':'1'}}}");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	created("r1", "{'mine':'1'}");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	call_item("r1", "f1", "u0", "get_order", "{\\\"id\\\":\\\"7\\\"}");
	done("r1", "completed", "{'id':'f1'}");
	rig_silent(&rig, SESS_CLIENT);
	rig_finish(&rig, 0, "{}");
	event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");
	json_decref(event);
	event = rig_next(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_str_eq(rig_string(event, "response.instructions"), "say goodbye");
	ck_assert_str_eq(rig_string(event, "response.metadata.mine"), "1");
	json_decref(event);
	(void)metadata;
	created("r2", "{'mine':'1','bc':'f'}");
	rig_silent(&rig, SESS_CLIENT);
	message_item("r2", "m1", "f1");
	event = rig_next(&rig, SESS_CLIENT, "response.output_item.added");
	ck_assert_str_eq(rig_string(event, "response_id"), "r1");
	json_decref(event);
	rig_expect(&rig, SESS_CLIENT, "conversation.item.added");
	event = rig_next(&rig, SESS_CLIENT, "response.output_audio.delta");
	ck_assert_str_eq(rig_string(event, "response_id"), "r1");
	json_decref(event);
	rig_expect(&rig, SESS_CLIENT, "response.output_item.done");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.done");
	done("r2", "completed", "{'id':'m1'}");
	event = rig_next(&rig, SESS_CLIENT, "response.done");
	ck_assert_str_eq(rig_string(event, "response.id"), "r1");
	json_decref(event);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(r2_without_metadata_the_order_tells_whose_response_it_is)
{
	static const char created_bare[] =
		"{'type':'response.created','response':{'id':'%s','status':'in_progress','output':[]}}";
	static const struct {
		const char *params, *call, *followup, *item, *item_object, *args;
	} turns[] = {
		{"{}", "r1", "r2", "f1", "{'id':'f1'}", "{\\\"id\\\":\\\"7\\\"}"},
		{"{'metadata':{'mine':'1'}}", "r3", "r4", "f2", "{'id':'f2'}",
		 "{\\\"id\\\":\\\"8\\\"}"},
	};

	for (unsigned i = 0; i < BC_ARRAY_LEN(turns); i++) {
		json_t *event;

		rig_client(&rig, "{'type':'response.create','response':%s}", turns[i].params);
		rig_expect(&rig, SESS_UPSTREAM, "response.create");
		rig_up(&rig, created_bare, turns[i].call);
		rig_expect(&rig, SESS_CLIENT, "response.created");
		call_item(turns[i].call, turns[i].item, "u0", "get_order", turns[i].args);
		done(turns[i].call, "completed", turns[i].item_object);
		rig_finish(&rig, i, "{}");
		rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
		rig_expect(&rig, SESS_UPSTREAM, "response.create");
		rig_up(&rig, created_bare, turns[i].followup);
		rig_silent(&rig, SESS_CLIENT);
		done(turns[i].followup, "completed", "");
		event = rig_next(&rig, SESS_CLIENT, "response.done");
		ck_assert_str_eq(rig_string(event, "response.id"), turns[i].call);
		json_decref(event);
		rig_silent(&rig, SESS_CLIENT);
	}
}
END_TEST

START_TEST(r4_a_cancel_in_tool_time_ends_the_merged_response)
{
	json_t *event;

	rig_client(&rig, "{'type':'response.create'}");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	created("r1", "null");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	call_item("r1", "f1", "u0", "get_order", "{\\\"id\\\":\\\"7\\\"}");
	done("r1", "completed", "{'id':'f1'}");
	rig_client(&rig, "{'type':'response.cancel'}");
	event = rig_next(&rig, SESS_CLIENT, "response.done");
	ck_assert_str_eq(rig_string(event, "response.status"), "cancelled");
	ck_assert_str_eq(rig_string(event, "response.id"), "r1");
	json_decref(event);
	rig_finish(&rig, 0, "{}");
	rig_expect(&rig, SESS_UPSTREAM,
		   "conversation.item.create"); /* T1: the call still gets its output */
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(r5_a_create_in_tool_time_becomes_the_followup)
{
	json_t *event;

	user_turn("u1", NULL);
	created("r1", "null");
	call_item("r1", "f1", "u1", "get_order", "{\\\"id\\\":\\\"7\\\"}");
	rig_client(&rig,
		   "{'type':'response.create','event_id':'e9','response':{'metadata':{'a':'b'}}}");
	rig_silent(&rig, SESS_UPSTREAM);
	done("r1", "completed", "{'id':'f1'}");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 0, "{}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	event = rig_next(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_str_eq(rig_string(event, "event_id"), "e9");
	json_decref(event);
	rig_silent(&rig, SESS_UPSTREAM);
	created("r2", "{'a':'b'}");
	event = rig_next(&rig, SESS_CLIENT, "response.created");
	ck_assert_str_eq(rig_string(event, "response.metadata.a"), "b");
	json_decref(event);
	done("r2", "completed", "");
	rig_expect(&rig, SESS_CLIENT, "response.done");
}
END_TEST

START_TEST(r5_a_collision_with_our_own_followup_is_retried)
{
	json_t *create;
	char id[64];

	user_turn("u1", NULL);
	created("r1", "null");
	call_item("r1", "f1", "u1", "get_order", "{\\\"id\\\":\\\"7\\\"}");
	done("r1", "completed", "{'id':'f1'}");
	rig_finish(&rig, 0, "{}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	create = rig_next(&rig, SESS_UPSTREAM, "response.create");
	(void)snprintf(id, sizeof(id), "%s", rig_string(create, "event_id"));
	json_decref(create);
	created("r9", "null"); /* the provider's own was faster, and did not have the output yet */
	rig_up(&rig,
	       "{'type':'error','error':{'type':'invalid_request_error','code':'conversation_already_has_active_response','message':'x','event_id':'%s'}}",
	       id);
	rig_silent(&rig, SESS_CLIENT);
	rig_silent(&rig, SESS_UPSTREAM);
	done("r9", "completed", "");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.done");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(r6_speech_overtakes_the_followup)
{
	json_t *event;

	user_turn("u1", NULL);
	created("r1", "null");
	call_item("r1", "f1", "u1", "get_order", "{\\\"id\\\":\\\"7\\\"}");
	done("r1", "completed", "{'id':'f1'}");
	rig_finish(&rig, 0, "{}");
	output_and_create("c_f1", NULL, 0);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_started");
	created("r2", "{'bc':'f'}");
	event = rig_next(&rig, SESS_UPSTREAM, "response.cancel");
	ck_assert_str_eq(rig_string(event, "response_id"), "r2");
	json_decref(event);
	done("r2", "cancelled", "");
	rig_silent(&rig, SESS_CLIENT);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(results_that_come_while_the_caller_speaks_wait_for_the_providers_answer)
{
	user_turn("u1", NULL);
	created("r1", "null");
	call_item("r1", "f1", "u1", "get_order", "{\\\"id\\\":\\\"7\\\"}");
	done("r1", "completed", "{'id':'f1'}");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_started");
	rig_finish(&rig, 0, "{}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	rig_silent(&rig, SESS_UPSTREAM); /* no answer is asked for while somebody speaks */
	user_turn("u2", "f1");
	rig_wait(&rig, 3 * BC_USEC_PER_SEC); /* the provider begins none by itself */
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(client_and_gateway_tool_in_one_response)
{
	json_t *event;

	declare_mine();
	user_turn("u1", NULL);
	created("r1", "null");
	call_item("r1", "f1", "u1", "get_order", "{\\\"id\\\":\\\"7\\\"}");
	call_item("r1", "f2", "f1", "mine", "{}");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	event = rig_next(&rig, SESS_CLIENT, "conversation.item.added");
	ck_assert_str_eq(rig_string(event, "previous_item_id"), "u1");
	json_decref(event);
	rig_expect(&rig, SESS_CLIENT, "response.function_call_arguments.done");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.done");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.done");
	done("r1", "completed", "{'id':'f1'},{'id':'f2'}");
	event = rig_next(&rig, SESS_CLIENT, "response.done");
	ck_assert_uint_eq(
		json_array_size(json_object_get(json_object_get(event, "response"), "output")), 1);
	json_decref(event);
	rig_client(
		&rig,
		"{'type':'conversation.item.create','item':{'type':'function_call_output','call_id':'c_f2','output':'1'}}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	rig_client(&rig, "{'type':'response.create','event_id':'e3'}");
	rig_silent(&rig, SESS_UPSTREAM); /* kept until ours is in */
	rig_finish(&rig, 0, "{}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	event = rig_next(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_str_eq(rig_string(event, "event_id"), "e3");
	json_decref(event);
	rig_silent(&rig, SESS_UPSTREAM);
	created("r2", "null");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	done("r2", "completed", "");
}
END_TEST

START_TEST(without_a_create_of_the_client_the_gateway_asks)
{
	declare_mine();
	user_turn("u1", NULL);
	created("r1", "null");
	call_item("r1", "f1", "u1", "get_order", "{\\\"id\\\":\\\"7\\\"}");
	call_item("r1", "f2", "f1", "mine", "{}");
	done("r1", "completed", "{'id':'f1'},{'id':'f2'}");
	rig_finish(&rig, 0, "{}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	rig_client(
		&rig,
		"{'type':'conversation.item.create','item':{'type':'function_call_output','call_id':'c_f2','output':'1'}}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 301 * BC_USEC_PER_MS);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(bad_arguments_are_answered_without_a_run)
{
	json_t *event;

	user_turn("u1", NULL);
	created("r1", "null");
	call_item("r1", "f1", "u1", "get_order", "{\\\"number\\\":7}");
	ck_assert_uint_eq(rig.run_count, 0);
	done("r1", "completed", "{'id':'f1'}");
	event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");
	ck_assert_ptr_nonnull(strstr(rig_string(event, "item.output"), "invalid_arguments"));
	json_decref(event);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(an_incomplete_call_never_runs)
{
	user_turn("u1", NULL);
	created("r1", "null");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'f1','type':'function_call','status':'in_progress','name':'book','call_id':'c1'}}");
	rig_up(&rig,
	       "{'type':'response.output_item.done','response_id':'r1','item':{'id':'f1','type':'function_call','status':'incomplete','name':'book','call_id':'c1','arguments':'{}'}}");
	done("r1", "cancelled", "{'id':'f1'}");
	ck_assert_uint_eq(rig.run_count, 0);
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.done");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_repeated_call_of_the_same_turn_makes_no_second_effect)
{
	user_turn("u1", NULL);
	created("r1", "null");
	call_item("r1", "f1", "u1", "book", "{\\\"night\\\":\\\"mon\\\"}");
	done("r1", "completed", "{'id':'f1'}");
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "{\"ok\":true}");
	output_and_create("c_f1", NULL, 0);
	created("r2", "{'bc':'f'}");
	call_item("r2", "f2", "f1", "book", "{\\\"night\\\":\\\"mon\\\"}");
	done("r2", "completed", "{'id':'f2'}");
	ck_assert_uint_eq(rig.run_count, 1);
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

/* A tool of ours is called in the first turn and the response ends; its run is number 0. */
static void called(const char *name)
{
	user_turn("u1", NULL);
	created("r1", "null");
	call_item("r1", "f1", "u1", name, "{}");
	done("r1", "completed", "{'id':'f1'}");
	rig_silent(&rig, SESS_UPSTREAM);
}

static void caller_speaks(void)
{
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_started");
}

static void expect_output(const char *part)
{
	json_t *event = rig_next(&rig, SESS_UPSTREAM, "conversation.item.create");

	ck_assert_ptr_nonnull(strstr(rig_string(event, "item.output"), part));
	json_decref(event);
}

START_TEST(a_silent_result_is_known_but_not_spoken)
{
	called("log_visit");
	rig_finish(&rig, 0, "{\"noted\":true}");
	expect_output("noted");
	rig_wait(&rig, 5 * BC_USEC_PER_SEC);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_result_that_interrupts_cuts_the_running_answer_off)
{
	json_t *event;

	called("alarm");
	user_turn("u2", "u1");
	created("r2", "null");
	message_item("r2", "m2", "u2");
	rig_finish(&rig, 0, "{\"fire\":true}");
	expect_output("fire");
	event = rig_next(&rig, SESS_UPSTREAM, "response.cancel");
	ck_assert_str_eq(rig_string(event, "response_id"), "r2");
	json_decref(event);
	rig_silent(&rig, SESS_UPSTREAM);
	done("r2", "cancelled", "{'id':'m2'}");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(a_result_when_idle_waits_for_the_running_answer)
{
	called("book");
	user_turn("u2", "u1");
	created("r2", "null");
	message_item("r2", "m2", "u2");
	rig_finish(&rig, 0, "{}");
	expect_output("{}");
	rig_silent(&rig, SESS_UPSTREAM);
	done("r2", "completed", "{'id':'m2'}");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(barge_in_gives_a_read_up_where_its_tool_says_so)
{
	called("look");
	caller_speaks();
	ck_assert(rig.runs[0].cancelled);
	expect_output("cancelled"); /* T1: the call still gets its output */
	user_turn("u2", "u1");
	rig_wait(&rig, 5 * BC_USEC_PER_SEC);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(barge_in_never_cancels_an_effect)
{
	called("order");
	caller_speaks();
	ck_assert(!rig.runs[0].cancelled);
	rig_silent(&rig, SESS_UPSTREAM);
	user_turn("u2", "u1");
	rig_finish(&rig, 0, "{\"ordered\":true}");
	expect_output("ordered");
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
	rig_wait(&rig, 5 * BC_USEC_PER_SEC);
	rig_silent(&rig, SESS_UPSTREAM); /* known to the model, not spoken */
}
END_TEST

START_TEST(barge_in_keeps_what_is_not_told_otherwise)
{
	called("book");
	caller_speaks();
	ck_assert(!rig.runs[0].cancelled);
	rig_finish(&rig, 0, "{}");
	expect_output("{}");
	user_turn("u2", "u1");
	rig_wait(&rig, 5 * BC_USEC_PER_SEC);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}
END_TEST

START_TEST(a_lost_provider_ends_open_responses_first)
{
	json_t *event;

	rig_client(&rig, "{'type':'response.create'}");
	created("r1", "null");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	sess_closed(rig.sess, SESS_UPSTREAM, BC_E_CLOSED, WS_CLOSE_ABNORMAL, BC_SPAN_LIT(""));
	event = rig_next(&rig, SESS_CLIENT, "response.done");
	ck_assert_str_eq(rig_string(event, "response.status"), "failed");
	json_decref(event);
	event = rig_next(&rig, SESS_CLIENT, "error");
	ck_assert_str_eq(rig_string(event, "error.code"), "upstream_lost");
	json_decref(event);
	ck_assert_int_eq(rig.close_code[SESS_CLIENT], 1013);
	ck_assert(rig.ended);
}
END_TEST

START_TEST(too_many_messages_end_the_session)
{
	json_t *event;

	rig.over_quota = true;
	rig_client(&rig, "{'type':'x'}");
	event = rig_next(&rig, SESS_CLIENT, "error");
	ck_assert_str_eq(rig_string(event, "error.code"), "rate_limit_exceeded");
	json_decref(event);
	ck_assert_int_eq(rig.close_code[SESS_CLIENT], 1008);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(a_lifetime_shorter_than_the_idle_limit_counts)
{
	struct rig brief;

	rig_init(&brief,
		 "[session]\nlifetime_max = \"2s\"\nidle_timeout = \"1h\"\n" CONFIG("gateway"),
		 true);
	rig_expect(&brief, SESS_UPSTREAM, "session.update");
	rig_wait(&brief, BC_USEC_PER_SEC);
	ck_assert(!brief.ended);
	rig_wait(&brief, BC_USEC_PER_SEC);
	ck_assert(brief.ended);
	rig_expect(&brief, SESS_CLIENT, "error");
	ck_assert_int_eq(brief.close_code[SESS_CLIENT], 1001);
	rig_fini(&brief);
}
END_TEST

START_TEST(pressure_stops_the_source)
{
	rig.pressure[SESS_CLIENT] = true;
	rig_up(&rig, "{'type':'x'}");
	ck_assert(!rig.reading[SESS_UPSTREAM]);
	ck_assert(rig.reading[SESS_CLIENT]);
	rig.pressure[SESS_CLIENT] = false;
	sess_drained(rig.sess, SESS_CLIENT);
	ck_assert(rig.reading[SESS_UPSTREAM]);
}
END_TEST

START_TEST(a_refused_provider_is_told_to_the_client)
{
	struct rig early;
	json_t *event;

	rig_init(&early, CONFIG("gateway"), false);
	sess_upstream_failed(early.sess, BC_E_REFUSED, 401, "handshake: HTTP 401");
	event = rig_next(&early, SESS_CLIENT, "error");
	ck_assert_str_eq(rig_string(event, "error.code"), "upstream_refused");
	json_decref(event);
	ck_assert_int_eq(early.close_code[SESS_CLIENT], 4003);
	ck_assert(early.ended);
	rig_fini(&early);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("session");
	TCase *c = tcase_create("session");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, gateway_tools_are_offered_before_anything_else);
	tcase_add_test(c, unknown_events_keep_their_bytes);
	tcase_add_test(c, client_tools_are_united_and_shown_alone);
	tcase_add_test(c, a_clash_can_be_refused);
	tcase_add_test(c, a_call_is_run_unseen_and_answered);
	tcase_add_test(c, r3_previous_item_ids_skip_hidden_items);
	tcase_add_test(c, r2_without_metadata_the_order_tells_whose_response_it_is);
	tcase_add_test(c, r4_a_clients_response_is_merged);
	tcase_add_test(c, r4_a_cancel_in_tool_time_ends_the_merged_response);
	tcase_add_test(c, r5_a_create_in_tool_time_becomes_the_followup);
	tcase_add_test(c, r5_a_collision_with_our_own_followup_is_retried);
	tcase_add_test(c, r6_speech_overtakes_the_followup);
	tcase_add_test(c, results_that_come_while_the_caller_speaks_wait_for_the_providers_answer);
	tcase_add_test(c, client_and_gateway_tool_in_one_response);
	tcase_add_test(c, without_a_create_of_the_client_the_gateway_asks);
	tcase_add_test(c, bad_arguments_are_answered_without_a_run);
	tcase_add_test(c, an_incomplete_call_never_runs);
	tcase_add_test(c, a_repeated_call_of_the_same_turn_makes_no_second_effect);
	tcase_add_test(c, a_silent_result_is_known_but_not_spoken);
	tcase_add_test(c, a_result_that_interrupts_cuts_the_running_answer_off);
	tcase_add_test(c, a_result_when_idle_waits_for_the_running_answer);
	tcase_add_test(c, barge_in_gives_a_read_up_where_its_tool_says_so);
	tcase_add_test(c, barge_in_never_cancels_an_effect);
	tcase_add_test(c, barge_in_keeps_what_is_not_told_otherwise);
	tcase_add_test(c, a_lost_provider_ends_open_responses_first);
	tcase_add_test(c, too_many_messages_end_the_session);
	tcase_add_test(c, a_lifetime_shorter_than_the_idle_limit_counts);
	tcase_add_test(c, pressure_stops_the_source);
	tcase_add_test(c, a_refused_provider_is_told_to_the_client);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
