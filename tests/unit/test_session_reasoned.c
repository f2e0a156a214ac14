/* What a reasoner has come to takes the place of the provider's own response, or does not. */
#include "daemon/base/metric.h"
#include "tests/unit/session_reason.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define INJECT "\"inject\""
#define STRICT "\"strict\""

static int64_t verdicts_before;

static void start(const char *toml)
{
	verdicts_before = bc_metric_get(BC_M_REASONER_VERDICTS);
	reason_begin(toml);
}

static void setup(void)
{
	start(REASON_CONFIG(INJECT));
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* The session begins anew with another mode. */
static void restart(const char *toml)
{
	rig_fini(&rig);
	start(toml);
}

static int64_t verdicts(void)
{
	return bc_metric_get(BC_M_REASONER_VERDICTS) - verdicts_before;
}

/* A read is in hand, the turn has been committed, and the reasoner has had its last words. */
static void read_in_hand_at_the_end(void)
{
	guess();
	rig_finish(&rig, 0, "{\"at\":1}");
	reason_acts("<pause/>");
	commit();
	transcribed("u1", "Where is order 7, please?");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_skip(&rig, SESS_CLIENT);
}

/* r1 makes room for what was read. */
static void expect_put_in(void)
{
	expect_cancel("r1");
	cancelled("r1");
	expect_output(expect_call("get_order"), "{\"at\":1}");
	expect_followup();
	ck_assert_int_eq(verdicts(), 1);
}

/* Nothing was put in, and the response goes on. */
static void expect_left_alone(void)
{
	rig_silent(&rig, SESS_UPSTREAM);
	ck_assert_int_eq(verdicts(), 0);
}

/* The response begins, the reasoner answers, and nothing is put in. */
static void answer_without_putting_in(void)
{
	talk_created(&rig, "r1", "null");
	reason_acts("<answer>There.</answer>");
	expect_left_alone();
}

static const char *described(void)
{
	static char line[16384];
	struct bc_buf text;

	bc_buf_init(&text, sizeof(line) - 1);
	ck_assert_int_eq(sess_describe(rig.sess, true, &text), BC_OK);
	memcpy(line, bc_buf_span(&text).ptr, bc_buf_len(&text));
	line[bc_buf_len(&text)] = '\0';
	bc_buf_release(&text);
	return line;
}

/* ---- put in ---- */

START_TEST(reads_in_hand_are_put_in_when_it_answers)
{
	read_in_hand_at_the_end();
	talk_created(&rig, "r1", "null");
	expect_left_alone(); /* it has not decided */
	reason_says("<think>That is all.</think><answer>");
	expect_put_in();
	rig_silent(&rig, SESS_CLIENT);
	ck_assert(rig.runs[0].committed);
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
	answer_begins();
	ck_assert_uint_eq(rig.run_count, 1); /* no native call, and no second read */
}
END_TEST

START_TEST(it_may_decide_before_the_response_has_begun)
{
	read_in_hand_at_the_end();
	reason_acts("<answer>It is there.</answer>");
	rig_silent(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	expect_put_in();
}
END_TEST

START_TEST(a_read_that_still_runs_is_not_waited_for)
{
	guess();
	commit();
	transcribed("u1", "Where is order 7?");
	talk_skip(&rig, SESS_UPSTREAM);
	reason_acts("<pause/>");
	talk_created(&rig, "r1", "null");
	expect_left_alone();
	rig_finish(&rig, 0, "{\"at\":1}");
	expect_put_in();
}
END_TEST

START_TEST(chained_reads_go_in_one_after_the_other)
{
	speak();
	reason_acts(
		"<tool_call>[{\"id\":1,\"name\":\"get_order\",\"arguments\":{\"id\":\"7\"}},"
		"{\"id\":2,\"name\":\"get_order\",\"arguments\":{\"id\":\"$1.next\"}}]</tool_call>");
	talk_audio(&rig, 400, true);
	rig_finish(&rig, 0, "{\"next\":\"8\"}");
	rig_finish(&rig, 1, "{}");
	commit();
	transcribed("u1", "Where is order 7, and the next?");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	reason_acts("<answer>There.</answer>");
	expect_cancel("r1");
	cancelled("r1");
	expect_output(expect_call("get_order"), "{\"next\":\"8\"}");
	expect_output(expect_call("get_order"), "{}");
	expect_followup();
}
END_TEST

START_TEST(typed_words_are_the_callers_own)
{
	restart(_i == 0 ? REASON_CONFIG("\"confirm\"") : REASON_CONFIG(INJECT));
	typed("u1", "Where is order 7?");
	reason_acts(ORDER);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	rig_silent(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 0, "{\"at\":1}");
	expect_put_in(); /* an id greater than all before the last words: it has decided */
}
END_TEST

START_TEST(a_clients_recogniser_may_say_that_it_is_done)
{
	rig_client(&rig, "{'type':'backchannel.hello','version':1}");
	talk_audio(&rig, 300, true);
	rig_client(&rig, "{'type':'backchannel.input_text.%s','revision':1,'text':'Order 7.'}",
		   _i == 0 ? "final" : "partial");
	reason_acts(ORDER);
	commit();
	rig_finish(&rig, 0, "{\"at\":1}");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	reason_acts("<answer>There.</answer>");
	if (_i == 0) {
		expect_put_in();
	} else {
		expect_left_alone(); /* there may be words it has not heard */
	}
}
END_TEST

/* ---- left to the provider ---- */

START_TEST(what_a_recogniser_heard_is_put_in_for_who_takes_the_risk_only)
{
	restart(_i == 0 ? REASON_CONFIG("\"confirm\"") : REASON_CONFIG(STRICT));
	read_in_hand_at_the_end();
	answer_without_putting_in();
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_done(&rig, "r1", "completed");
	expect_output("c_f1", "{\"at\":1}"); /* joined, as ever */
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(strict_joins_typed_words_too)
{
	restart(REASON_CONFIG(STRICT));
	typed("u1", "Where is order 7?");
	reason_acts(ORDER);
	rig_finish(&rig, 0, "{\"at\":1}");
	talk_skip(&rig, SESS_UPSTREAM);
	answer_without_putting_in();
}
END_TEST

START_TEST(a_turn_that_needs_an_effect_is_left_to_the_provider)
{
	read_in_hand_at_the_end();
	talk_created(&rig, "r1", "null");
	reason_acts(NIGHT);
	expect_left_alone();
	ck_assert_uint_eq(rig.run_count, 1);
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	talk_call(&rig, "r1", "f2", "book", TALK_NIGHT);
	talk_done(&rig, "r1", "completed");
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(!rig.runs[1].speculative);
}
END_TEST

START_TEST(nothing_of_what_it_has_withdrawn_is_put_in)
{
	read_in_hand_at_the_end();
	talk_created(&rig, "r1", "null");
	reason_acts("<tool_call>REMOVE 1</tool_call>");
	ck_assert(rig.runs[0].cancelled || rig.runs[0].settled >= 0);
	expect_told("<tool_call_cancelled id=\"1\"/>");
	expect_left_alone();
	reason_acts(
		"<tool_call>{\"id\":2,\"name\":\"get_order\",\"arguments\":{\"id\":\"8\"}}</tool_call>");
	ck_assert_uint_eq(rig.run_count, 2);
	expect_left_alone();
	rig_finish(&rig, 1, "{\"at\":1}");
	expect_put_in(); /* of order 8, alone */
	ck_assert(!rig.runs[0].committed);
}
END_TEST

START_TEST(a_provider_that_shows_something_first_wins)
{
	read_in_hand_at_the_end();
	talk_created(&rig, "r1", "null");
	if (_i == 0) {
		rig_up(&rig,
		       "{'type':'response.output_item.added','response_id':'r1','item':{'id':'m1','type':'message','role':'assistant'}}");
	} else {
		talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	}
	reason_acts("<answer>There.</answer>");
	expect_left_alone();
	if (_i == 1) {
		/* Nor does the answer to its own call make room for anything. */
		talk_done(&rig, "r1", "completed");
		expect_output("c_f1", "{\"at\":1}");
		expect_followup();
		talk_created(&rig, "r2", "{'bc':'f'}");
		expect_left_alone();
	}
}
END_TEST

START_TEST(a_call_that_slips_in_is_the_real_one)
{
	read_in_hand_at_the_end();
	talk_created(&rig, "r1", "null");
	reason_acts("<answer>There.</answer>");
	expect_cancel("r1");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	cancelled("r1");
	expect_output("c_f1", "{\"at\":1}");
	expect_followup();
	ck_assert_int_eq(verdicts(), 0);
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(whatever_happens_behind_the_cancel_drops_it)
{
	read_in_hand_at_the_end();
	talk_created(&rig, "r1", "null");
	reason_says("<think>so</think><answer>There");
	expect_cancel("r1");
	if (_i == 0) {
		talk_audio(&rig, 300, true); /* the caller goes on */
	} else if (_i == 1) {
		rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	} else if (_i == 2) {
		sess_tag_changed(rig.sess, "orders"); /* what was read is not so any more */
	} else {
		rig_client(&rig, "{'type':'response.cancel'}");
	}
	talk_skip(&rig, SESS_UPSTREAM);
	cancelled("r1");
	for (; rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]; rig.seen[SESS_UPSTREAM]++) {
		/* Where the answer is still wanted it is asked for again, and that is all. */
		ck_assert_ptr_null(strstr(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]],
					  "conversation.item.create"));
	}
	ck_assert_int_eq(verdicts(), 0);
}
END_TEST

START_TEST(an_effect_it_thinks_of_behind_the_cancel_drops_it)
{
	guess();
	commit();
	transcribed("u1", "Where is order 7? And book it.");
	reason_acts("<pause/>");
	talk_created(&rig, "r1", "null");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 0, "{\"at\":1}");
	expect_cancel("r1");
	reason_acts(NIGHT);
	cancelled("r1");
	expect_followup(); /* the answer that was cut off for nothing */
	expect_left_alone();
}
END_TEST

START_TEST(words_that_are_not_all_there_decide_nothing)
{
	guess();
	rig_finish(&rig, 0, "{\"at\":1}");
	reason_acts("<pause/>");
	commit();
	talk_skip(&rig, SESS_UPSTREAM);
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.failed','item_id':'u1','error':{'message':'no'}}");
	answer_without_putting_in();
}
END_TEST

START_TEST(a_picture_beside_typed_words_is_not_known_to_it)
{
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':null,'item':{'id':'u1','type':'message','role':'user','content':[{'type':'input_text','text':'Where is this?'},{'type':'input_image','image_url':'x'}]}}");
	reason_acts(ORDER);
	rig_finish(&rig, 0, "{\"at\":1}");
	talk_skip(&rig, SESS_UPSTREAM);
	answer_without_putting_in();
}
END_TEST

START_TEST(what_was_read_too_long_ago_is_read_again)
{
	read_in_hand_at_the_end();
	rig_wait(&rig, 6 * BC_USEC_PER_SEC);
	answer_without_putting_in();
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

START_TEST(a_tool_that_is_strict_keeps_the_verdict_out)
{
	static const char config[] = REASON_CONFIG(
		INJECT) "[[tool]]\nname = \"get_place\"\ndescription = \"Looks a place up.\"\n"
			"effect = \"read\"\ndisclosure = \"local\"\nspeculation = \"strict\"\n"
			"parameters = { type = \"object\" }\nrequest = { method = \"POST\", "
			"url = \"http://localhost:1/place\", body = \"{*}\" }\n";

	restart(config);
	typed("u1", "Where is order 7, and the place?");
	reason_acts("<tool_call>[{\"id\":1,\"name\":\"get_order\",\"arguments\":{\"id\":\"7\"}},"
		    "{\"id\":2,\"name\":\"get_place\",\"arguments\":{}}]</tool_call>");
	rig_finish(&rig, 0, "{\"at\":1}");
	rig_finish(&rig, 1, "{}");
	talk_skip(&rig, SESS_UPSTREAM);
	answer_without_putting_in();
}
END_TEST

START_TEST(no_pass_is_made_beside_it_however_long_the_caller_speaks)
{
	restart(TALK_CONFIG "[speculation]\nmode = \"inject\"\nreasoner = \"tagged\"\n"
			    "growth = \"500ms\"\n[reasoner]\nmodel = \"m-1\"\n");
	talk_audio(&rig, 3000, true);
	find_passes();
	ck_assert_uint_eq(mark_count, 0);
}
END_TEST

/* ---- what operators see ---- */

START_TEST(every_wait_has_its_name)
{
	ck_assert_ptr_null(strstr(described(), "reasoner_runs"));
	speak();
	ck_assert_ptr_nonnull(strstr(described(), "reasoner_runs"));
	reason_fails(BC_E_UPSTREAM, 503, 0);
	ck_assert_ptr_null(strstr(described(), "reasoner_runs"));
	ck_assert_ptr_nonnull(strstr(described(), "reasoner_rests"));
	rig_wait(&rig, 2 * BC_USEC_PER_SEC);
	transcript(" the green one,");
	ck_assert_ptr_null(strstr(described(), "reasoner_rests"));
	reason_acts(ORDER);
	talk_audio(&rig, 400, true);
	rig_finish(&rig, 0, "{\"at\":1}");
	reason_acts("<pause/>");
	commit();
	transcribed("u1", "Where is order 7?");
	talk_created(&rig, "r1", "null");
	ck_assert_ptr_null(strstr(described(), "takeover_cancels"));
	reason_acts("<answer>There.</answer>");
	ck_assert_ptr_nonnull(strstr(described(), "takeover_cancels"));
	cancelled("r1");
	ck_assert_ptr_null(strstr(described(), "takeover_cancels"));
}
END_TEST

START_TEST(the_ledger_tells_whose_verdict_it_was)
{
	struct bc_buf text;

	read_in_hand_at_the_end();
	talk_created(&rig, "r1", "null");
	reason_acts("<answer>There.</answer>");
	cancelled("r1");
	bc_buf_init(&text, 1024 * 1024);
	ck_assert_int_eq(sess_ledger(rig.sess, &text), BC_OK);
	ck_assert_int_eq(bc_buf_put(&text, "", 1), BC_OK);
	ck_assert_ptr_nonnull(strstr(bc_buf_span(&text).ptr, "put_in"));
	ck_assert_ptr_nonnull(strstr(bc_buf_span(&text).ptr, "calls=1 by=reasoner"));
	bc_buf_release(&text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_reasoned");
	TCase *in = tcase_create("in");
	TCase *out = tcase_create("out");

	tcase_add_checked_fixture(in, setup, teardown);
	tcase_add_test(in, reads_in_hand_are_put_in_when_it_answers);
	tcase_add_test(in, it_may_decide_before_the_response_has_begun);
	tcase_add_test(in, a_read_that_still_runs_is_not_waited_for);
	tcase_add_test(in, chained_reads_go_in_one_after_the_other);
	tcase_add_loop_test(in, typed_words_are_the_callers_own, 0, 2);
	tcase_add_loop_test(in, a_clients_recogniser_may_say_that_it_is_done, 0, 2);
	tcase_add_test(in, every_wait_has_its_name);
	tcase_add_test(in, the_ledger_tells_whose_verdict_it_was);
	tcase_add_checked_fixture(out, setup, teardown);
	tcase_add_loop_test(out, what_a_recogniser_heard_is_put_in_for_who_takes_the_risk_only, 0,
			    2);
	tcase_add_test(out, strict_joins_typed_words_too);
	tcase_add_test(out, a_turn_that_needs_an_effect_is_left_to_the_provider);
	tcase_add_test(out, nothing_of_what_it_has_withdrawn_is_put_in);
	tcase_add_loop_test(out, a_provider_that_shows_something_first_wins, 0, 2);
	tcase_add_test(out, a_call_that_slips_in_is_the_real_one);
	tcase_add_loop_test(out, whatever_happens_behind_the_cancel_drops_it, 0, 4);
	tcase_add_test(out, an_effect_it_thinks_of_behind_the_cancel_drops_it);
	tcase_add_test(out, words_that_are_not_all_there_decide_nothing);
	tcase_add_test(out, a_picture_beside_typed_words_is_not_known_to_it);
	tcase_add_test(out, what_was_read_too_long_ago_is_read_again);
	tcase_add_test(out, a_tool_that_is_strict_keeps_the_verdict_out);
	tcase_add_test(out, no_pass_is_made_beside_it_however_long_the_caller_speaks);
	suite_add_tcase(suite, in);
	suite_add_tcase(suite, out);
	return tap_run(suite);
}
