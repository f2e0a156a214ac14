/*
 * What must never happen, one test for each, by its number in the list of the method: n1 to n9.  n7, an engine that is
 * complete but never switched on, is looked for where the shipped configuration runs: tests/demo.  Each is the plainest case;
 * the cases at the edges are in the tests of the parts.
 */
#include "tests/unit/session_verdict.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define TUESDAY "{\\\"night\\\":\\\"tue\\\"}"
#define OTHER   "{\\\"id\\\":\\\"8\\\"}"
#define PLAIN                                                                           \
	"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[[upstream]]\nurl = \"ws://" \
	"localhost:1/v1/realtime\"\n"

static void setup(void)
{
	verdict_begin(VERDICT_CONFIG);
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* How many messages to a side, from the first on, hold all of this. */
static unsigned sent_with(enum sess_side side, const char *first, const char *second)
{
	unsigned count = 0;

	for (unsigned i = 0; i < rig.count[side]; i++) {
		count += strstr(rig.sent[side][i], first) != NULL &&
			 strstr(rig.sent[side][i], second) != NULL;
	}
	return count;
}

/* The caller goes on, and a pass over all of it names this instead. */
static void correction(const char *tool, const char *arguments)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	answer_pass("p2", tool, arguments, NULL);
	talk_audio(&rig, 320, false);
}

/* The provider's own response, which is cancelled for the verdict. */
static void taken_over(void)
{
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "response.cancel", "r1"), 1);
	cancelled("r1");
}

START_TEST(n1_no_hold_before_the_commit_and_no_second_effect)
{
	turn_naming("book", TALK_NIGHT);
	rig_wait(&rig, 3 * BC_USEC_PER_SEC);
	ck_assert_uint_eq(rig.run_count, 0); /* however sure a pass is */
	correction("book", TUESDAY);         /* "no, wait" */
	ck_assert_uint_eq(rig.run_count, 0);
	taken_over();
	ck_assert_uint_eq(rig.run_count, 0);
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert_str_eq(rig.runs[0].arguments, "{\"night\":\"tue\"}");
	ck_assert(rig_start(&rig, 0));
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	rig_finish(&rig, 0, "{}");
	/* The answer repeats it, and so does the one to an impatient "hello?". */
	talk_commit(&rig, "u2", "u1");
	talk_created(&rig, "r2", "null");
	talk_call(&rig, "r2", "f2", "book", TUESDAY);
	talk_done(&rig, "r2", "completed");
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(n2_no_answer_uses_what_was_withdrawn_or_is_stale)
{
	turn_naming("get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{\"of\":\"seven\"}");
	if (_i == 0) {
		correction("get_order", OTHER);
	} else if (_i == 2) {
		/* The client takes its time, and asks when the result is older than the operator allows. */
		talk_commit(&rig, "u1", NULL);
		rig_wait(&rig, 6 * BC_USEC_PER_SEC);
		talk_created(&rig, "r1", "null");
		ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "response.cancel", "r1"), 0);
		talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
		talk_done(&rig, "r1", "completed");
		ck_assert_uint_eq(rig.run_count, 2);
		return;
	} else {
		sess_tag_changed(rig.sess, "orders"); /* a write it must follow */
		correction("get_order", TALK_ORDER);
	}
	ck_assert_uint_eq(rig.run_count, 2);
	rig_finish(&rig, 1, "{\"of\":\"now\"}");
	taken_over();
	ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "conversation.item.create", "now"), 1);
	ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "conversation.item.create", "seven"), 0);
}
END_TEST

START_TEST(n3_no_answer_is_made_while_a_running_effect_is_invisible)
{
	booking_at_the_gate();
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "\"function_call\"", "book"), 0);
	ck_assert(rig_start(&rig, 0));
	/* In the conversation when it starts: whoever answers next knows that it runs. */
	ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "\"function_call\"", "book"), 1);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	ck_assert(!rig.runs[0].cancelled);
	rig_finish(&rig, 0, "{\"booked\":1}");
	ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "function_call_output", "booked"), 1);
}
END_TEST

START_TEST(n4_every_call_has_one_output)
{
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_call(&rig, "r1", "f2", "book",
		  "{"); /* it cannot be run, and is answered all the same */
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	talk_done(&rig, "r1", "cancelled");
	rig_finish(&rig, 0, "{}");
	talk_commit(&rig, "u2", "u1");
	rig_wait(&rig, 60 * BC_USEC_PER_SEC);
	ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "function_call_output", "c_f1"), 1);
	ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "function_call_output", "c_f2"), 1);
}
END_TEST

/* Calls and outputs that the conversation has besides the caller's words: kind, tool, arguments, output. */
static void conversation(char *out, size_t size)
{
	size_t len = 0;

	for (unsigned i = 0; i < rig.count[SESS_UPSTREAM]; i++) {
		json_t *event = json_loads(rig.sent[SESS_UPSTREAM][i], 0, NULL);

		if (strcmp(rig_string(event, "type"), "conversation.item.create") == 0) {
			len += (size_t)snprintf(out + len, size - len, "%s %s %s %s\n",
						rig_string(event, "item.type"),
						rig_string(event, "item.name"),
						rig_string(event, "item.arguments"),
						rig_string(event, "item.output"));
			ck_assert_uint_lt(len, size);
		}
		json_decref(event);
	}
}

START_TEST(n5_the_conversation_is_that_of_a_run_without_guesses)
{
	static const char call[] = "function_call get_order {\"id\":\"7\"} \n";
	char guessed[1024] = "";
	char plain[1024];

	turn_naming("get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{\"at\":1}");
	taken_over();
	conversation(guessed, sizeof(guessed));
	teardown();
	verdict_begin(TALK_CONFIG "[speculation]\nmode = \"off\"\n");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	(void)snprintf(plain, sizeof(plain), "%s", call); /* the provider itself puts it in */
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_done(&rig, "r1", "completed");
	rig_finish(&rig, 0, "{\"at\":1}");
	conversation(plain + strlen(plain), sizeof(plain) - strlen(plain));
	ck_assert_str_eq(guessed, plain);
}
END_TEST

START_TEST(n6_without_tools_every_byte_passes)
{
	static const char text[] =
		"{ \"type\" :\"response.create\",\n\"event_id\":\"e\\u0031\",\"x\":1.0e0 }";

	teardown();
	rig_init(&rig, PLAIN, true);
	sess_message(rig.sess, SESS_CLIENT, WS_TEXT, bc_span(text, sizeof(text) - 1));
	ck_assert_uint_eq(rig.count[SESS_UPSTREAM], 1);
	ck_assert_str_eq(rig.sent[SESS_UPSTREAM][0], text);
	sess_message(rig.sess, SESS_UPSTREAM, WS_TEXT, bc_span(text, sizeof(text) - 1));
	ck_assert_uint_eq(rig.count[SESS_CLIENT], 1);
	ck_assert_str_eq(rig.sent[SESS_CLIENT][0], text);
}
END_TEST

START_TEST(n8_every_request_ends_in_one_created_or_one_error)
{
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	/* It comes while a response runs that the client does not know of, and waits for the tool. */
	rig_client(
		&rig,
		"{'type':'response.create','event_id':'mine','response':{'metadata':{'n':'1'}}}");
	talk_done(&rig, "r1", "completed");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 0, "{}");
	ck_assert_uint_eq(talk_outputs(&rig), 1);
	ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "response.create", "mine"), 1);
	if (_i == 0) {
		talk_created(&rig, "r2", "{'n':'1'}");
		talk_done(&rig, "r2", "completed");
		ck_assert_uint_eq(sent_with(SESS_CLIENT, "response.created", "\"n\""), 1);
	} else {
		rig_wait(&rig, 60 * BC_USEC_PER_SEC); /* the provider is silent */
		ck_assert_uint_eq(sent_with(SESS_CLIENT, "\"error\"", "mine"), 1);
	}
	ck_assert_uint_eq(sent_with(SESS_CLIENT, "response.created", "\"n\"") +
				  sent_with(SESS_CLIENT, "\"error\"", "mine"),
			  1);
}
END_TEST

/* 200 ms of a loud voice, its every slash escaped, as some clients write it. */
static const char *escaped_voice(void)
{
	static char text[80 * (10 * 13 + 10 * 8) + 1];
	size_t len = 0;

	for (unsigned i = 0; i < 80 * 20; i++) {
		const char *three_samples = i / 10 % 2 == 0 ? "\\/z\\/\\/P\\/8\\/" : "AMAAwADA";

		memcpy(text + len, three_samples, strlen(three_samples));
		len += strlen(three_samples);
	}
	return text;
}

START_TEST(n9_no_hold_by_a_verdict_that_missed_the_last_voice)
{
	static const char head[] = "{\"type\":\"input_audio_buffer.append\",\"audio\":\"";
	static const char tail[] = "\"}";
	static char much[100001];

	rig_fini(&rig);
	verdict_begin(VERDICT_CONFIG "audio_max = \"64KiB\"\n");
	turn_naming("book", TALK_NIGHT);
	switch (_i) {
	case 0:
		talk_audio(&rig, 100, true); /* "… no" */
		break;
	case 1:
		rig_client(&rig, "{'type':'input_audio_buffer.append','audio':'%s'}",
			   escaped_voice());
		break;
	case 2: /* more at once than is kept, whatever it is */
		memset(much, 'A', sizeof(much) - 1);
		memcpy(much, head, sizeof(head) - 1);
		memcpy(much + sizeof(much) - sizeof(tail), tail, sizeof(tail));
		sess_message(rig.sess, SESS_CLIENT, WS_TEXT, bc_span_str(much));
		break;
	default:
		rig_client(&rig, "{'type':'input_audio_buffer.append','audio':'-_-_'}");
	}
	talk_audio(&rig, 100, false);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_audio(&rig, 2000, false);
	ck_assert_uint_eq(sent_with(SESS_UPSTREAM, "response.cancel", "r1"), 0);
	ck_assert_uint_eq(rig.run_count, 0);
}
END_TEST

START_TEST(n9_what_is_written_with_escapes_is_heard_all_the_same)
{
	turn_naming("book", TALK_NIGHT);
	for (unsigned i = 0; i < 20; i++) { /* silence */
		rig_client(&rig, "{'type':'input_audio_buffer.append','audio':'\\u0041A\\u0041A'}");
	}
	taken_over();
	talk_audio(&rig, 220, false);
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_never");
	TCase *tcase = tcase_create("session_never");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, n1_no_hold_before_the_commit_and_no_second_effect);
	tcase_add_loop_test(tcase, n2_no_answer_uses_what_was_withdrawn_or_is_stale, 0, 3);
	tcase_add_test(tcase, n3_no_answer_is_made_while_a_running_effect_is_invisible);
	tcase_add_test(tcase, n4_every_call_has_one_output);
	tcase_add_test(tcase, n5_the_conversation_is_that_of_a_run_without_guesses);
	tcase_add_test(tcase, n6_without_tools_every_byte_passes);
	tcase_add_loop_test(tcase, n8_every_request_ends_in_one_created_or_one_error, 0, 2);
	tcase_add_loop_test(tcase, n9_no_hold_by_a_verdict_that_missed_the_last_voice, 0, 4);
	tcase_add_test(tcase, n9_what_is_written_with_escapes_is_heard_all_the_same);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
