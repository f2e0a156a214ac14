/* Words and ends of turns that an opted-in client gives, and what it is told of guesses. */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define ALL_NOTICES                                     \
	"'events':['backchannel.tool_call.speculated'," \
	"'backchannel.tool_call.committed','backchannel.tool_call.rolled_back']"

static struct rig rig;
static char last_metadata[128];

/* A text session: manual turns, no audio. */
static void begin(const char *toml)
{
	talk_begin(&rig, toml, "pcm");
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[],'output_modalities':['text'],'audio':{'input':{'format':{'type':'audio/pcm'},'turn_detection':null}}}}");
	talk_skip(&rig, SESS_CLIENT);
}

static void hello(void)
{
	json_t *welcome;

	rig_client(&rig, "{'type':'backchannel.hello'," ALL_NOTICES "}");
	welcome = rig_next(&rig, SESS_CLIENT, "backchannel.welcome");
	ck_assert_str_eq(rig_string(welcome, "session"), "test");
	ck_assert_uint_eq(json_array_size(json_object_get(welcome, "events")), 3);
	json_decref(welcome);
	rig_silent(&rig, SESS_UPSTREAM);
}

static void setup(void)
{
	begin(TALK_CONFIG);
	hello();
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* ---- pieces ---- */

static void partial(unsigned revision, const char *text)
{
	rig_client(&rig, "{'type':'backchannel.input_text.partial','revision':%u,'text':'%s'}",
		   revision, text);
}

static void final(unsigned revision, const char *text)
{
	rig_client(&rig, "{'type':'backchannel.input_text.final','revision':%u,'text':'%s'}",
		   revision, text);
}

static void say(const char *event)
{
	rig_client(&rig, "{'type':'backchannel.%s'}", event);
}

static void refused(const char *event_id, const char *code)
{
	json_t *error = rig_next(&rig, SESS_CLIENT, "error");

	ck_assert_str_eq(rig_string(error, "error.event_id"), event_id);
	ck_assert_str_eq(rig_string(error, "error.code"), code);
	json_decref(error);
	rig_silent(&rig, SESS_UPSTREAM);
}

/* The next thing the provider got is a pass over these words. */
static void expect_pass(const char *words)
{
	json_t *pass = rig_next(&rig, SESS_UPSTREAM, "response.create");
	json_t *response = json_object_get(pass, "response");
	json_t *input = json_object_get(response, "input");
	json_t *said = NULL;
	size_t index;
	char *text;

	json_array_foreach(input, index, said) {
		if (strcmp(rig_string(said, "role"), "user") == 0) {
			break;
		}
	}
	ck_assert_str_eq(rig_string(response, "metadata.bc"), "p");
	ck_assert_str_eq(rig_string(json_array_get(json_object_get(said, "content"), 0), "text"),
			 words);
	text = json_dumps(json_object_get(response, "metadata"), 0);
	(void)snprintf(last_metadata, sizeof(last_metadata), "%s", text);
	free(text);
	json_decref(pass);
}

static void pass_answers(const char *id, const char *name, const char *arguments)
{
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'%s','status':'in_progress','conversation_id':null,'metadata':%s,'output':[]}}",
	       id, last_metadata);
	if (name != NULL) {
		rig_up(&rig,
		       "{'type':'response.output_item.done','response_id':'%s','item':{'id':'p_%s','type':'function_call','status':'completed','name':'%s','call_id':'cp','arguments':'%s'}}",
		       id, id, name, arguments);
	}
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'%s','status':'completed','conversation_id':null,'metadata':%s,'output':[],'usage':{'total_tokens':1}}}",
	       id, last_metadata);
}

/* The client's own item, and the provider's word that it is there. */
static void type_item(const char *id, const char *text)
{
	rig_client(
		&rig,
		"{'type':'conversation.item.create','item':{'id':'%s','type':'message','role':'user','content':[{'type':'input_text','text':'%s'}]}}",
		id, text);
	rig_client(&rig, "{'type':'response.create'}");
	rig_expect(&rig, SESS_UPSTREAM, "conversation.item.create");
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
}

static void item_is_there(const char *id)
{
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':null,'item':{'id':'%s','type':'message','role':'user','content':[]}}",
	       id);
	rig_up(&rig,
	       "{'type':'conversation.item.done','previous_item_id':null,'item':{'id':'%s','type':'message','role':'user','content':[]}}",
	       id);
	rig_expect(&rig, SESS_CLIENT, "conversation.item.added");
	rig_expect(&rig, SESS_CLIENT, "conversation.item.done");
}

static void notice(const char *type, json_int_t call, bool finished)
{
	json_t *event = rig_next(&rig, SESS_CLIENT, type);

	ck_assert_int_eq(json_integer_value(json_object_get(event, "call")), call);
	ck_assert_str_eq(rig_string(event, "tool"), "get_order");
	ck_assert_str_eq(rig_string(event, "effect"), "read");
	ck_assert_str_eq(rig_string(event, "arguments.id"), "7");
	ck_assert_int_eq(json_is_true(json_object_get(event, "finished")), finished);
	json_decref(event);
}

/* A guess of get_order runs on typed words, and the client knows. */
static void guess(void)
{
	partial(1, "Order 7,");
	expect_pass("Order 7,");
	pass_answers("p1", "get_order", TALK_ORDER);
	rig_wait(&rig, 300 * BC_USEC_PER_MS);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig.runs[0].speculative);
	notice("backchannel.tool_call.speculated", 1, false);
}

/* ---- opting in ---- */

START_TEST(without_opting_in_nothing_is_taken_and_nothing_forwarded)
{
	int64_t before = bc_metric_get(BC_M_EXT_REFUSED);

	rig_fini(&rig);
	begin(TALK_CONFIG);
	rig_client(
		&rig,
		"{'type':'backchannel.input_text.partial','event_id':'e1','revision':1,'text':'Order 7.'}");
	refused("e1", "backchannel_not_opted_in");
	rig_client(&rig, "{'type':'backchannel.turn.eager_end','event_id':'e2'}");
	refused("e2", "backchannel_not_opted_in");
	rig_client(&rig, "{'type':'backchannel.anything','event_id':'e3'}");
	refused("e3", "backchannel_not_opted_in");
	rig_client(&rig, "{'type':'backchannel.hello','event_id':'e4','version':7}");
	refused("e4", "invalid_value");
	ck_assert_int_eq(bc_metric_get(BC_M_EXT_REFUSED) - before, 4);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(where_it_is_switched_off_hello_is_refused)
{
	rig_fini(&rig);
	begin(TALK_CONFIG "[extension]\nenabled = false\n");
	rig_client(&rig, "{'type':'backchannel.hello','event_id':'e1'}");
	refused("e1", "backchannel_disabled");
}
END_TEST

START_TEST(without_gateway_tools_everything_is_forwarded)
{
	static const char plain[] =
		"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n";

	rig_fini(&rig);
	rig_init(&rig, plain, true);
	rig_client(&rig, "{'type':'backchannel.hello'}");
	rig_expect(&rig, SESS_UPSTREAM, "backchannel.hello");
}
END_TEST

START_TEST(who_asks_for_no_notices_gets_none)
{
	rig_client(&rig, "{'type':'backchannel.hello'}");
	rig_expect(&rig, SESS_CLIENT, "backchannel.welcome");
	partial(1, "Order 7,");
	expect_pass("Order 7,");
	pass_answers("p1", "get_order", TALK_ORDER);
	rig_wait(&rig, 300 * BC_USEC_PER_MS);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

/* ---- words ---- */

START_TEST(a_typed_guess_is_joined_by_the_real_call)
{
	bool finished = _i == 0;

	guess();
	if (finished) {
		rig_finish(&rig, 0, "{}");
		/* A result is worth a look, as always. */
		rig_wait(&rig, 400 * BC_USEC_PER_MS);
		expect_pass("Order 7,");
		pass_answers("p2", NULL, NULL);
	}
	type_item("u1", "Order 7, please");
	item_is_there("u1");
	talk_created(&rig, "r1", "null");
	talk_skip(&rig, SESS_CLIENT);
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	notice("backchannel.tool_call.committed", 1, finished);
	rig_silent(&rig, SESS_CLIENT); /* and of the call itself nothing */
	talk_done(&rig, "r1", "completed");
	if (!finished) {
		ck_assert_uint_eq(talk_outputs(&rig), 0);
		rig_finish(&rig, 0, "{}");
	}
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
}
END_TEST

START_TEST(a_typed_guess_nobody_makes_is_rolled_back)
{
	guess();
	type_item("u1", "Order 7, never mind");
	item_is_there("u1");
	talk_created(&rig, "r1", "null");
	talk_skip(&rig, SESS_CLIENT);
	talk_done(&rig, "r1", "completed");
	rig_expect(&rig, SESS_CLIENT, "response.done");
	notice("backchannel.tool_call.rolled_back", 1, false);
	ck_assert(rig.runs[0].cancelled);
}
END_TEST

START_TEST(words_are_looked_at_when_typing_rests)
{
	partial(1, "Order");
	rig_wait(&rig, 100 * BC_USEC_PER_MS);
	partial(2, "Order 7");
	rig_wait(&rig, 100 * BC_USEC_PER_MS);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 50 * BC_USEC_PER_MS);
	expect_pass("Order 7");
	rig_wait(&rig, BC_USEC_PER_SEC);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(passes_over_typed_words_keep_their_distance)
{
	partial(1, "Well,");
	expect_pass("Well,");
	pass_answers("p1", NULL, NULL);
	rig_wait(&rig, 100 * BC_USEC_PER_MS);
	partial(2, "Well, order 7,");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 299 * BC_USEC_PER_MS);
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, 2 * BC_USEC_PER_MS);
	expect_pass("Well, order 7,");
}
END_TEST

START_TEST(old_revisions_are_counted_and_ignored)
{
	int64_t before = bc_metric_get(BC_M_EXT_STALE);

	partial(5, "Order 7");
	partial(5, "Order 8.");
	partial(4, "Order 9.");
	final(3, "Order 10.");
	ck_assert_int_eq(bc_metric_get(BC_M_EXT_STALE) - before, 3);
	rig_silent(&rig, SESS_CLIENT);
	rig_wait(&rig, 150 * BC_USEC_PER_MS);
	expect_pass("Order 7");
}
END_TEST

START_TEST(stretches_are_settled_one_by_one)
{
	partial(1, "Order se");
	final(2, "Order 7");
	expect_pass("Order 7");
	pass_answers("p1", NULL, NULL);
	partial(3, "is");
	final(4, "is late");
	expect_pass("Order 7 is late");
}
END_TEST

START_TEST(an_eager_end_is_looked_at_at_once_and_believed)
{
	static const char *const events[] = {"turn.eager_end", "turn.end"};

	partial(1, "Well,");
	expect_pass("Well,");
	pass_answers("p1", NULL, NULL);
	partial(2, "Well, order 7");
	rig_silent(&rig, SESS_UPSTREAM);
	say(events[_i]);
	expect_pass("Well, order 7");
	pass_answers("p2", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1); /* without waiting for it to become stable */
}
END_TEST

START_TEST(who_goes_on_is_not_believed_to_have_ended)
{
	partial(1, "Order 7");
	say("turn.eager_end");
	expect_pass("Order 7");
	if (_i == 0) {
		say("turn.resumed");
	} else {
		partial(2, "Order 70");
	}
	pass_answers("p1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 0);
}
END_TEST

START_TEST(an_end_that_a_pass_has_heard_asks_for_no_second_one)
{
	partial(1, "Order 7.");
	expect_pass("Order 7.");
	say("turn.eager_end");
	pass_answers("p1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	say("turn.end");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(an_end_without_a_turn_is_stale)
{
	int64_t before = bc_metric_get(BC_M_EXT_STALE);

	say("turn.eager_end");
	say("turn.end");
	say("turn.resumed");
	ck_assert_int_eq(bc_metric_get(BC_M_EXT_STALE) - before, 2);
	rig_silent(&rig, SESS_CLIENT);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(words_behind_an_item_are_of_the_next_turn)
{
	guess();
	type_item("u1", "Order 7, please");
	partial(2, "And order 8.");
	rig_silent(&rig, SESS_UPSTREAM);
	ck_assert(!rig.runs[0].cancelled);
	item_is_there("u1");
	expect_pass("And order 8.");
	/* The first turn's call still finds its guess. */
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

/* What ends the wait for an item that was added: the provider says it is done, answers it, or deletes it. */
static const char *const endings[] = {
	"{'type':'conversation.item.done','previous_item_id':null,'item':{'id':'u1','type':'message','role':'user','content':[]}}",
	"{'type':'response.created','response':{'id':'r1','status':'in_progress','conversation_id':'c','metadata':null,'output':[]}}",
	"{'type':'conversation.item.deleted','item_id':'u1'}",
};

START_TEST(words_behind_an_item_wait_until_a_pass_may_name_it)
{
	type_item("u1", "Order 7, please");
	partial(1, "And order 8.");
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':null,'item':{'id':'u1','type':'message','role':'user','content':[]}}");
	rig_silent(&rig, SESS_UPSTREAM);
	partial(2, "And order 9.");
	rig_up(&rig,
	       "{'type':'conversation.item.done','previous_item_id':null,'item':{'id':'u0','type':'message','role':'assistant','content':[]}}");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_up(&rig, "%s", endings[_i]);
	expect_pass("And order 9.");
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(words_behind_an_item_the_beta_names_once_wait_no_longer)
{
	type_item("u1", "Order 7, please");
	partial(1, "And order 8.");
	rig_up(&rig,
	       "{'type':'conversation.item.created','previous_item_id':null,'item':{'id':'u1','type':'message','role':'user','content':[]}}");
	expect_pass("And order 8.");
}
END_TEST

START_TEST(words_behind_two_items_wait_for_both)
{
	type_item("u1", "Order 7, please");
	rig_client(
		&rig,
		"{'type':'conversation.item.create','item':{'id':'u2','type':'message','role':'user','content':[{'type':'input_text','text':'Now.'}]}}");
	talk_skip(&rig, SESS_UPSTREAM);
	partial(1, "And order 8.");
	item_is_there("u1");
	rig_silent(&rig, SESS_UPSTREAM);
	item_is_there("u2");
	expect_pass("And order 8.");
}
END_TEST

START_TEST(words_behind_an_item_that_is_refused_come_at_last)
{
	type_item("u1", "Hello");
	partial(1, "Order 7.");
	rig_up(&rig,
	       "{'type':'error','error':{'code':'item_create_invalid_item_id','event_id':null}}");
	rig_expect(&rig, SESS_CLIENT, "error");
	expect_pass("Order 7.");
}
END_TEST

START_TEST(an_item_that_says_something_else_ends_what_was_complete)
{
	json_t *cancel;

	partial(1, "Order 7.");
	expect_pass("Order 7.");
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'p1','status':'in_progress','conversation_id':null,'metadata':%s,'output':[]}}",
	       last_metadata);
	type_item("u1", _i == 0 ? "Order 8." : "Order 7.");
	item_is_there("u1");
	if (_i == 0) {
		cancel = rig_next(&rig, SESS_UPSTREAM, "response.cancel");
		ck_assert_str_eq(rig_string(cancel, "response_id"), "p1");
		json_decref(cancel);
	}
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

START_TEST(late_words_of_a_placed_item_are_stale)
{
	int64_t before = bc_metric_get(BC_M_EXT_STALE);

	type_item("u1", "Hello");
	item_is_there("u1");
	rig_client(
		&rig,
		"{'type':'backchannel.input_text.final','revision':1,'text':'Hello.','item_id':'u1'}");
	rig_client(
		&rig,
		"{'type':'backchannel.input_text.partial','revision':2,'text':'Bye','item_id':'u2'}");
	ck_assert_int_eq(bc_metric_get(BC_M_EXT_STALE) - before, 1);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

/* The provider has got audio; what else it gets is looked at. */
static void skip_audio(void)
{
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM] &&
	       strstr(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]], "audio_buffer.append") !=
		       NULL) {
		rig.seen[SESS_UPSTREAM]++;
	}
}

START_TEST(a_spoken_turn_takes_the_clients_words_too)
{
	rig_fini(&rig);
	begin(TALK_CONFIG "[speculation]\ninput = \"text\"\n");
	hello();
	talk_audio(&rig, 300, true);
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.delta','item_id':'u1','delta':'Otter seven'}");
	partial(1, "Order 7,");
	skip_audio();
	expect_pass("Order 7,");
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.delta','item_id':'u1','delta':' is late.'}");
	pass_answers("p1", NULL, NULL);
	talk_audio(&rig, 500, true);
	skip_audio();
	rig_silent(&rig, SESS_UPSTREAM); /* the provider's words count for nothing */
}
END_TEST

START_TEST(the_voice_takes_over_a_typed_turn)
{
	json_t *pass;

	partial(1, "Order 7,");
	expect_pass("Order 7,");
	pass_answers("p1", NULL, NULL);
	talk_audio(&rig, 500, true);
	talk_audio(&rig, 200, false);
	skip_audio();
	pass = rig_next(&rig, SESS_UPSTREAM, "response.create");
	ck_assert_ptr_nonnull(
		strstr(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM] - 1], "\"input_audio\""));
	ck_assert_str_eq(rig_string(pass, "response.metadata.bc_t"), "1");
	json_decref(pass);
}
END_TEST

/* ---- bounds ---- */

START_TEST(bad_words_are_refused_and_change_nothing)
{
	static char text[16384 + 2];

	memset(text, 'a', sizeof(text) - 1);
	partial(1, text);
	refused("", "text_too_long");
	partial(1, "Order \\u0000");
	refused("", "invalid_value");
	rig_client(&rig, "{'type':'backchannel.input_text.partial','event_id':'e1','text':'Hi'}");
	refused("e1", "invalid_value");
	rig_client(&rig, "{'type':'backchannel.nothing','event_id':{'a':1}}");
	refused("", "unknown_event");
	text[16384] = '\0';
	partial(1, text); /* the number was not used up */
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(the_words_of_a_turn_are_bounded)
{
	static char text[16384];

	memset(text, 'a', sizeof(text) - 1);
	for (unsigned i = 1; i <= 4; i++) {
		final(i, text);
	}
	talk_skip(&rig, SESS_UPSTREAM);
	final(5, text);
	refused("", "text_too_long");
}
END_TEST

START_TEST(the_rate_of_events_is_bounded)
{
	int64_t before = bc_metric_get(BC_M_EXT_REFUSED);

	rig_fini(&rig);
	begin(TALK_CONFIG "[extension]\nevents_per_second = 10\n");
	hello();
	for (unsigned i = 0; i < 9; i++) {
		say("turn.resumed");
	}
	rig_silent(&rig, SESS_CLIENT);
	rig_client(&rig, "{'type':'backchannel.turn.resumed','event_id':'e1'}");
	refused("e1", "rate_limit_exceeded");
	ck_assert_int_eq(bc_metric_get(BC_M_EXT_REFUSED) - before, 1);
	rig_wait(&rig, 100 * BC_USEC_PER_MS);
	say("turn.resumed");
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(secret_arguments_are_not_shown)
{
	json_t *event;

	rig_fini(&rig);
	begin(TALK_CONFIG
	      "[[tool]]\nname = \"check_pin\"\ndescription = \"Checks.\"\neffect = \"read\"\n"
	      "disclosure = \"local\"\nsecret_arguments = [\"pin\"]\nparameters = { type = \"object\", "
	      "properties = { pin = { type = \"string\" }, id = { type = \"string\" } } }\n"
	      "request = { method = \"POST\", url = \"http://localhost:1/pin\", body = \"{*}\" }\n");
	hello();
	partial(1, "My pin is 4321.");
	expect_pass("My pin is 4321.");
	pass_answers("p1", "check_pin", "{\\\"pin\\\":\\\"4321\\\",\\\"id\\\":\\\"7\\\"}");
	rig_wait(&rig, 300 * BC_USEC_PER_MS);
	event = rig_next(&rig, SESS_CLIENT, "backchannel.tool_call.speculated");
	ck_assert_str_eq(rig_string(event, "arguments.id"), "7");
	ck_assert_uint_eq(json_object_size(json_object_get(event, "arguments")), 1);
	json_decref(event);
}
END_TEST

static Suite *suite(void)
{
	const TTest *const cases[] = {
		without_opting_in_nothing_is_taken_and_nothing_forwarded,
		where_it_is_switched_off_hello_is_refused,
		without_gateway_tools_everything_is_forwarded,
		who_asks_for_no_notices_gets_none,
		a_typed_guess_nobody_makes_is_rolled_back,
		words_are_looked_at_when_typing_rests,
		passes_over_typed_words_keep_their_distance,
		old_revisions_are_counted_and_ignored,
		stretches_are_settled_one_by_one,
		an_end_that_a_pass_has_heard_asks_for_no_second_one,
		an_end_without_a_turn_is_stale,
		words_behind_an_item_are_of_the_next_turn,
		words_behind_an_item_the_beta_names_once_wait_no_longer,
		words_behind_two_items_wait_for_both,
		words_behind_an_item_that_is_refused_come_at_last,
		late_words_of_a_placed_item_are_stale,
		a_spoken_turn_takes_the_clients_words_too,
		the_voice_takes_over_a_typed_turn,
		bad_words_are_refused_and_change_nothing,
		the_words_of_a_turn_are_bounded,
		the_rate_of_events_is_bounded,
		secret_arguments_are_not_shown,
	};
	Suite *s = suite_create("session_words");
	TCase *c = tcase_create("session_words");

	tcase_add_checked_fixture(c, setup, teardown);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, words_behind_an_item_wait_until_a_pass_may_name_it, 0,
			    BC_ARRAY_LEN(endings));
	tcase_add_loop_test(c, a_typed_guess_is_joined_by_the_real_call, 0, 2);
	tcase_add_loop_test(c, an_eager_end_is_looked_at_at_once_and_believed, 0, 2);
	tcase_add_loop_test(c, who_goes_on_is_not_believed_to_have_ended, 0, 2);
	tcase_add_loop_test(c, an_item_that_says_something_else_ends_what_was_complete, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
