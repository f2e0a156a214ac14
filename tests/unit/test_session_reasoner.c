/* A session with a reasoner: the caller's words go to it, its calls become guesses, the provider's calls join them. */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "tests/unit/session_reason.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static void setup(void)
{
	reason_begin(REASON_CONFIG("\"confirm\""));
}

static void teardown(void)
{
	rig_fini(&rig);
}

static bool provider_was_asked_for_a_pass(void)
{
	for (unsigned i = 0; i < rig.count[SESS_UPSTREAM]; i++) {
		if (strstr(rig.sent[SESS_UPSTREAM][i], "\"bc\":\"p\"") != NULL) {
			return true;
		}
	}
	return false;
}

/* ---- spoken turns ---- */

START_TEST(words_go_to_the_reasoner_and_no_pass_is_made)
{
	const json_t *messages;
	const char *system;

	talk_audio(&rig, 400, true);
	ck_assert_uint_eq(rig.reasons, 0); /* nothing was understood yet */
	transcript("Where");
	ck_assert_uint_eq(rig.reasons, 0); /* no clause, no pause */
	talk_audio(&rig, 300, false);
	expect_told("<partial_query_update rev=\"1\">Where</partial_query_update>");
	messages = json_object_get(rig.reasoned, "messages");
	system = rig_string(json_array_get(messages, 0), "content");
	ck_assert(strstr(system, "\"get_order\"") != NULL && strstr(system, "\"book\"") != NULL);
	ck_assert_str_eq(rig_string(rig.reasoned, "model"), "m-1");
	talk_audio(&rig, 600, true);
	talk_audio(&rig, 300, false);
	ck_assert_uint_eq(rig.reasons, 1); /* no new word */
	ck_assert(!provider_was_asked_for_a_pass());
}
END_TEST

START_TEST(a_call_named_early_is_joined_by_the_providers)
{
	int64_t hits = bc_metric_get(BC_M_GUESS_HITS);

	guess();
	rig_finish(&rig, 0, "{\"state\":\"open\"}");
	expect_told("<tool_result id=\"1\">{\"state\":\"open\"}</tool_result>");
	reason_acts("<pause/>");
	commit();
	transcribed("u1", "Where is order 7, please?");
	expect_told("<final_query_update rev=\"2\">Where is order 7, please?</final_query_update>");
	real_call("f1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert_int_eq(bc_metric_get(BC_M_GUESS_HITS), hits + 1);
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
	reason_acts("<answer>It is open.</answer>");
	ck_assert(!rig.reasoning);
}
END_TEST

START_TEST(a_guess_waits_until_the_call_is_stable)
{
	speak();
	reason_acts(ORDER);
	ck_assert_uint_eq(rig.run_count, 0);
	talk_audio(&rig, 200, true);
	ck_assert_uint_eq(rig.run_count, 0);
	rig_wait(&rig, 400 * BC_USEC_PER_MS);
	transcript(" no, 8,");
	expect_told("<partial_query_update rev=\"2\">Where is order 7, no, 8,"
		    "</partial_query_update>");
	reason_acts("<tool_call>{\"id\":1,\"name\":\"get_order\",\"arguments\":{\"id\":\"8\"}}"
		    "</tool_call>");
	talk_audio(&rig, 400, true);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert_str_eq(rig.runs[0].arguments, "{\"id\":\"8\"}");
}
END_TEST

START_TEST(two_looks_that_agree_make_it_stable)
{
	speak();
	reason_acts(ORDER);
	talk_audio(&rig, 20, true);
	rig_wait(&rig, 400 * BC_USEC_PER_MS);
	transcript(" the green one,");
	ck_assert_uint_eq(rig.run_count, 0);
	reason_acts("<pause/>");
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(a_call_withdrawn_while_it_runs_is_given_up)
{
	guess();
	rig_wait(&rig, 400 * BC_USEC_PER_MS);
	transcript(" no, forget it.");
	reason_acts("<tool_call>REMOVE 1</tool_call>");
	ck_assert(rig.runs[0].cancelled);
	ck_assert(!rig.reasoning);
}
END_TEST

START_TEST(a_provider_that_asks_for_something_else_runs_that)
{
	guess();
	rig_finish(&rig, 0, "1");
	commit();
	real_call("f1", "get_order", "{\\\"id\\\":\\\"9\\\"}");
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(!rig.runs[1].speculative);
	rig_finish(&rig, 1, "2");
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

START_TEST(an_effect_is_never_started_by_the_reasoner)
{
	speak();
	reason_acts(NIGHT);
	commit();
	transcribed("u1", "Book it.");
	reason_acts("<pause/>"); /* it is pending: the provider may make the call */
	ck_assert_uint_eq(rig.run_count, 0);
	real_call("f1", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(!rig.runs[0].speculative);
	rig_finish(&rig, 0, "{\"booked\":true}");
	expect_told("<tool_result id=\"2\">{\"booked\":true}</tool_result>");
}
END_TEST

START_TEST(a_chained_call_starts_when_its_operand_is_there)
{
	speak();
	reason_acts(
		"<tool_call>[{\"id\":1,\"name\":\"get_order\",\"arguments\":{\"id\":\"7\"}},"
		"{\"id\":2,\"name\":\"get_order\",\"arguments\":{\"id\":\"$1.next\"}}]</tool_call>");
	talk_audio(&rig, 400, true);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "{\"next\":\"8\"}");
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert_str_eq(rig.runs[1].arguments, "{\"id\":\"8\"}");
	ck_assert(rig.runs[1].speculative);
	rig_finish(&rig, 1, "3");
	expect_told("<tool_result id=\"1\">{\"next\":\"8\"}</tool_result>\n"
		    "<tool_result id=\"2\">3</tool_result>");
}
END_TEST

START_TEST(what_an_effect_changed_is_told_as_cancelled)
{
	talk_audio(&rig, 300, true);
	transcript("Order 7,");
	reason_acts(ORDER);
	talk_audio(&rig, 400, true);
	ck_assert_uint_eq(rig.run_count, 1);
	sess_tag_changed(rig.sess, "orders");
	ck_assert(rig.runs[0].cancelled);
	expect_told("<tool_call_cancelled id=\"1\"/>");
}
END_TEST

START_TEST(a_result_of_the_providers_own_call_is_told)
{
	guess();
	commit();
	real_call("f1", "get_order", TALK_ORDER); /* joins what runs */
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "5");
	expect_told("<tool_result id=\"1\">5</tool_result>");
}
END_TEST

START_TEST(a_call_the_provider_has_made_is_not_made_again)
{
	talk_audio(&rig, 300, true);
	transcript("Order 7");
	commit();
	real_call("f1", "get_order", TALK_ORDER);
	rig_finish(&rig, 0, "5");
	transcribed("u1", "Order 7.");
	reason_acts(ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	expect_told("<tool_result id=\"1\">5</tool_result>");
}
END_TEST

START_TEST(a_recogniser_that_fails_leaves_what_was_understood)
{
	speak();
	reason_acts("<pause/>");
	commit();
	ck_assert(!rig.reasoning);
	transcribed("u9", "Of another turn.");
	ck_assert(!rig.reasoning);
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.failed','item_id':'u1','error':{'message':'no'}}");
	expect_told("<final_query_update rev=\"2\">Where is order 7,</final_query_update>");
}
END_TEST

START_TEST(updates_keep_their_distance)
{
	speak();
	transcript(" or 8,");
	ck_assert_uint_eq(rig.reasons, 1);
	rig_wait(&rig, 290 * BC_USEC_PER_MS);
	talk_audio(&rig, 20, true);
	ck_assert_uint_eq(rig.reasons, 1);
	rig_wait(&rig, 10 * BC_USEC_PER_MS);
	talk_audio(&rig, 20, true);
	ck_assert_uint_eq(rig.reasons, 2);
	expect_told(
		"<partial_query_update rev=\"1\">Where is order 7,</partial_query_update>\n"
		"<partial_query_update rev=\"2\">Where is order 7, or 8,</partial_query_update>");
}
END_TEST

START_TEST(the_next_turn_knows_what_was_said)
{
	const json_t *messages;

	guess();
	commit();
	talk_created(&rig, "r1", "null");
	rig_up(&rig,
	       "{'type':'conversation.item.done','item':{'id':'m1','type':'message','role':'assistant','status':'completed','content':[{'type':'output_audio','transcript':'It is open.'}]}}");
	talk_done(&rig, "r1", "completed");
	talk_audio(&rig, 300, true);
	item = "u2";
	transcript("Thanks.");
	expect_told("<partial_query_update rev=\"2\">Thanks.</partial_query_update>");
	messages = json_object_get(rig.reasoned, "messages");
	ck_assert_str_eq(
		rig_string(json_array_get(messages, json_array_size(messages) - 2), "content"),
		"<think>so</think>" ORDER "\n<think></think><answer>It is open.</answer>");
}
END_TEST

START_TEST(a_cleared_turn_is_forgotten)
{
	guess();
	rig_up(&rig, "{'type':'input_audio_buffer.cleared'}");
	ck_assert(rig.runs[0].cancelled);
	talk_audio(&rig, 400, false);
	talk_audio(&rig, 300, true);
	transcript("Again,");
	ck_assert(strstr(told(), "Again,") != NULL);
}
END_TEST

/* ---- typed turns ---- */

START_TEST(typed_text_is_final_at_once)
{
	typed("u1", "Where is order 7?");
	expect_told("<final_query_update rev=\"1\">Where is order 7?</final_query_update>");
	reason_acts(ORDER);
	ck_assert_uint_eq(rig.run_count, 1); /* nothing more can change it */
	ck_assert(rig.runs[0].speculative);
	real_call("f1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "5");
	expect_told("<tool_result id=\"1\">5</tool_result>");
	typed("u2", "And 8?");
	ck_assert(strstr(told(), "<final_query_update rev=\"2\">And 8?</final_query_update>") !=
		  NULL);
}
END_TEST

START_TEST(words_of_a_client_are_told_and_time_alone_makes_them_stable)
{
	rig_client(&rig, "{'type':'backchannel.hello','version':1}");
	rig_client(&rig,
		   "{'type':'backchannel.input_text.partial','revision':1,'text':'Order 7,'}");
	expect_told("<partial_query_update rev=\"1\">Order 7,</partial_query_update>");
	reason_acts(ORDER);
	ck_assert_uint_eq(rig.run_count, 0);
	rig_wait(&rig, 310 * BC_USEC_PER_MS);
	ck_assert_uint_eq(rig.run_count, 1);
	typed("u1", "Order 7, please");
	expect_told("<final_query_update rev=\"2\">Order 7, please</final_query_update>");
	real_call("f1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "5");
}
END_TEST

START_TEST(words_of_a_client_beside_a_voice_are_final_at_the_commit)
{
	rig_client(&rig, "{'type':'backchannel.hello','version':1}");
	talk_audio(&rig, 300, true);
	rig_client(&rig,
		   "{'type':'backchannel.input_text.partial','revision':1,'text':'Order 7.'}");
	expect_told("<partial_query_update rev=\"1\">Order 7.</partial_query_update>");
	reason_acts("<pause/>");
	commit();
	expect_told("<final_query_update rev=\"2\">Order 7.</final_query_update>");
}
END_TEST

/* ---- missteps and failures ---- */

START_TEST(a_misstep_goes_back_to_the_reasoner_alone)
{
	int64_t before = bc_metric_get(BC_M_REASONER_UNKNOWN_TOOL);

	speak();
	talk_skip(&rig, SESS_CLIENT);
	reason_acts("<tool_call>{\"id\":1,\"name\":\"fly\",\"arguments\":{}}</tool_call>");
	ck_assert_int_eq(bc_metric_get(BC_M_REASONER_UNKNOWN_TOOL), before + 1);
	ck_assert(rig.reasoning && strstr(told(), "<error>") != NULL);
	reason_acts(ORDER);
	talk_audio(&rig, 400, true);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_silent(&rig, SESS_CLIENT);
}
END_TEST

START_TEST(a_failing_endpoint_is_left_alone_for_a_while)
{
	int64_t before = bc_metric_get(BC_M_REASONER_FAILURES);
	static const bc_usec rests[] = {1000, 2000, 4000};
	unsigned reasons;

	speak();
	reason_fails(BC_E_UPSTREAM, 503, 0);
	for (size_t i = 0; i < BC_ARRAY_LEN(rests); i++) {
		reasons = rig.reasons;
		rig_wait(&rig, (rests[i] - 100) * BC_USEC_PER_MS);
		transcript(" or,");
		ck_assert_uint_eq(rig.reasons, reasons);
		rig_wait(&rig, 400 * BC_USEC_PER_MS);
		transcript(" so,");
		ck_assert_uint_eq(rig.reasons, reasons + 1);
		reason_fails(BC_E_TIMEOUT, 0, 0);
	}
	ck_assert_int_eq(bc_metric_get(BC_M_REASONER_FAILURES), before + 4);
	commit();
	real_call("f1", "get_order", TALK_ORDER); /* the session goes on without it */
	ck_assert_uint_eq(rig.run_count, 1);
	rig_finish(&rig, 0, "5");
	ck_assert_uint_eq(talk_outputs(&rig), 0);
}
END_TEST

START_TEST(an_endpoint_may_ask_for_a_longer_rest)
{
	speak();
	reason_fails(BC_E_REFUSED, 429, 10 * BC_USEC_PER_SEC);
	rig_wait(&rig, 9 * BC_USEC_PER_SEC);
	transcript(" or,");
	ck_assert_uint_eq(rig.reasons, 1);
	rig_wait(&rig, 2 * BC_USEC_PER_SEC);
	transcript(" so,");
	ck_assert_uint_eq(rig.reasons, 2);
}
END_TEST

START_TEST(nonsense_is_a_failure)
{
	int64_t before = bc_metric_get(BC_M_REASONER_FAILURES);

	speak();
	sess_reason_bytes(rig.sess, BC_SPAN_LIT("data: <html>\n\n"));
	ck_assert(!rig.reasoning);
	ck_assert_int_eq(bc_metric_get(BC_M_REASONER_FAILURES), before + 1);
}
END_TEST

START_TEST(without_memory_for_a_request_it_rests)
{
	rig.mindless = true;
	talk_audio(&rig, 300, true);
	transcript("Where,");
	rig.mindless = false;
	rig_wait(&rig, 500 * BC_USEC_PER_MS);
	transcript(" is,");
	ck_assert_uint_eq(rig.reasons, 0);
	rig_wait(&rig, 600 * BC_USEC_PER_MS);
	transcript(" it?");
	ck_assert_uint_eq(rig.reasons, 1);
}
END_TEST

START_TEST(operators_see_what_it_waits_for)
{
	static const char *const waits[] = {"next_turn",  "generating",      "words",
					    "generating", "endpoint_failed", "next_turn"};

	for (size_t i = 0; i < BC_ARRAY_LEN(waits); i++) {
		char wanted[64];
		struct bc_buf text;

		if (i == 1) {
			speak();
		} else if (i == 2) {
			reason_acts("<pause/>");
		} else if (i == 3) {
			commit();
			transcribed("u1", "Order 7.");
		} else if (i == 4) {
			reason_fails(BC_E_UPSTREAM, 500, 0);
		} else if (i == 5) {
			rig_wait(&rig, 2 * BC_USEC_PER_SEC);
			typed("u2", "And?");
			reason_acts("<answer>x</answer>");
		}
		bc_buf_init(&text, 65536);
		ck_assert_int_eq(sess_describe(rig.sess, true, &text), BC_OK);
		ck_assert_int_eq(bc_buf_put(&text, "", 1), BC_OK);
		(void)snprintf(wanted, sizeof(wanted), " reasoner_waits_for=%s ", waits[i]);
		ck_assert_msg(strstr(bc_buf_span(&text).ptr, wanted) != NULL, "%s not in %s",
			      wanted, bc_buf_span(&text).ptr);
		bc_buf_release(&text);
	}
}
END_TEST

START_TEST(a_session_may_end_in_the_midst_of_a_generation)
{
	speak();
	reason_says("<think>wh");
	sess_shut_down(rig.sess);
	reason_says("at"); /* what is still on its way */
	ck_assert(rig.reasoning);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_reasoner");
	TCase *spoken = tcase_create("spoken");
	TCase *other = tcase_create("other");

	tcase_add_checked_fixture(spoken, setup, teardown);
	tcase_add_test(spoken, words_go_to_the_reasoner_and_no_pass_is_made);
	tcase_add_test(spoken, a_call_named_early_is_joined_by_the_providers);
	tcase_add_test(spoken, a_guess_waits_until_the_call_is_stable);
	tcase_add_test(spoken, two_looks_that_agree_make_it_stable);
	tcase_add_test(spoken, a_call_withdrawn_while_it_runs_is_given_up);
	tcase_add_test(spoken, a_provider_that_asks_for_something_else_runs_that);
	tcase_add_test(spoken, an_effect_is_never_started_by_the_reasoner);
	tcase_add_test(spoken, a_chained_call_starts_when_its_operand_is_there);
	tcase_add_test(spoken, what_an_effect_changed_is_told_as_cancelled);
	tcase_add_test(spoken, a_result_of_the_providers_own_call_is_told);
	tcase_add_test(spoken, a_call_the_provider_has_made_is_not_made_again);
	tcase_add_test(spoken, a_recogniser_that_fails_leaves_what_was_understood);
	tcase_add_test(spoken, updates_keep_their_distance);
	tcase_add_test(spoken, the_next_turn_knows_what_was_said);
	tcase_add_test(spoken, a_cleared_turn_is_forgotten);
	tcase_add_checked_fixture(other, setup, teardown);
	tcase_add_test(other, typed_text_is_final_at_once);
	tcase_add_test(other, words_of_a_client_are_told_and_time_alone_makes_them_stable);
	tcase_add_test(other, words_of_a_client_beside_a_voice_are_final_at_the_commit);
	tcase_add_test(other, a_misstep_goes_back_to_the_reasoner_alone);
	tcase_add_test(other, a_failing_endpoint_is_left_alone_for_a_while);
	tcase_add_test(other, an_endpoint_may_ask_for_a_longer_rest);
	tcase_add_test(other, nonsense_is_a_failure);
	tcase_add_test(other, without_memory_for_a_request_it_rests);
	tcase_add_test(other, operators_see_what_it_waits_for);
	tcase_add_test(other, a_session_may_end_in_the_midst_of_a_generation);
	suite_add_tcase(suite, spoken);
	suite_add_tcase(suite, other);
	return tap_run(suite);
}
