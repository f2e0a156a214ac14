/* A pass beside a response that goes on from a tool's result: whoever names the next calls first has them made. */
#include "daemon/session/sess.h"
#include "tests/unit/session_verdict.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define RACE_CONFIG VERDICT_CONFIG "race = true\n"

static void setup(void)
{
	verdict_begin(RACE_CONFIG);
}

static void teardown(void)
{
	rig_fini(&rig);
	rig.admission = admission_free(rig.admission);
}

/* ---- what happens ---- */

static void item_done(const char *id)
{
	rig_up(&rig, "{'type':'conversation.item.done','item':{'id':'%s'}}", id);
}

/* The provider says of everything the gateway has put in that it is in the conversation. */
static void items_done(void)
{
	for (unsigned i = 0; i < rig.count[SESS_UPSTREAM]; i++) {
		json_t *event = json_loads(rig.sent[SESS_UPSTREAM][i], 0, NULL);

		if (strcmp(rig_string(event, "type"), "conversation.item.create") == 0) {
			item_done(rig_string(event, "item.id"));
		}
		json_decref(event);
	}
}

/* The provider's own response to the turn calls this, and the tool returns. */
static void step(const char *response, const char *item, const char *tool, const char *arguments)
{
	unsigned run = rig.run_count;
	char call_id[16];

	(void)snprintf(call_id, sizeof(call_id), "c_%s", item);
	talk_call(&rig, response, item, tool, arguments);
	item_done(item);
	talk_done(&rig, response, "completed");
	ck_assert_uint_eq(rig.run_count, run + 1);
	rig_finish(&rig, run, "{\"ok\":1}");
	expect_output(call_id, "{\"ok\":1}");
	items_done();
	expect_followup();
}

/* A turn in which no pass names anything, and the provider looks an order up; the answer to that is asked for. */
static void first_step(void)
{
	turn_naming(NULL, NULL);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	step("r1", "f1", "get_order", TALK_ORDER);
}

/* The caller speaks again behind this item; no pass names anything, and the provider looks an order up. */
static void second_turn(const char *prev, const char *response, const char *item)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	answer_pass("p2", NULL, NULL, NULL);
	talk_audio(&rig, 320, false);
	talk_commit(&rig, "u2", prev);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, response, "null");
	step(response, item, "get_order", TALK_ORDER);
}

/* A pass was asked for that is given these items and no word besides. */
static void expect_pass(const char *const ids[], size_t count)
{
	unsigned before = mark_count;
	const json_t *input;
	json_t *event;

	ck_assert_uint_lt(rig.seen[SESS_UPSTREAM], rig.count[SESS_UPSTREAM]);
	event = json_loads(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]], 0, NULL);
	input = json_object_get(json_object_get(event, "response"), "input");
	ck_assert_uint_eq(json_array_size(input), count + 1);
	for (size_t i = 0; i < count; i++) {
		const json_t *item = json_array_get(input, i);

		ck_assert_str_eq(rig_string(item, "type"), "item_reference");
		if (ids[i] != NULL) {
			ck_assert_str_eq(rig_string(item, "id"), ids[i]);
		}
	}
	ck_assert_str_eq(rig_string(json_array_get(input, count), "role"), "system");
	json_decref(event);
	find_passes();
	ck_assert_uint_eq(mark_count, before + 1);
}

static void expect_race(void)
{
	static const char *const ids[] = {"u1", "f1", NULL};

	expect_pass(ids, BC_ARRAY_LEN(ids));
}

static void expect_no_race(void)
{
	rig_silent(&rig, SESS_UPSTREAM);
	rig_wait(&rig, BC_USEC_PER_SEC);
	rig_silent(&rig, SESS_UPSTREAM);
}

/* ---- who wins ---- */

START_TEST(a_pass_that_is_quicker_has_its_call_made)
{
	first_step();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_race();
	talk_skip(&rig, SESS_CLIENT);
	answer_pass("p2", "book", TALK_NIGHT, NULL);
	expect_cancel("r2");
	ck_assert_uint_eq(rig.run_count, 1); /* never while a response is alive */
	cancelled("r2");
	rig_wait(&rig, 700 * BC_USEC_PER_MS);
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(rig_start(&rig, 1));
	rig_finish(&rig, 1, "{\"booked\":1}");
	expect_output(expect_call("book"), "{\"booked\":1}");
	items_done();
	expect_followup();
	rig_silent(&rig, SESS_CLIENT);
	talk_created(&rig, "r3", "{'bc':'f'}");
	find_passes(); /* the answer is raced, too */
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r3','item':{'id':'m1','type':'message','role':'assistant'}}");
	rig_expect(&rig, SESS_CLIENT, "response.created");
	rig_expect(&rig, SESS_CLIENT, "response.output_item.added");
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

START_TEST(a_read_it_names_runs_and_is_joined_or_put_in)
{
	first_step();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_race();
	answer_pass("p2", "get_order", "{\\\"id\\\":\\\"8\\\"}", NULL);
	ck_assert_uint_eq(rig.run_count, 2);
	rig_silent(&rig, SESS_UPSTREAM);
	if (_i == 0) {
		rig_finish(&rig, 1, "{\"at\":2}");
		expect_cancel("r2");
		cancelled("r2");
		expect_output(expect_call("get_order"), "{\"at\":2}");
	} else {
		talk_call(&rig, "r2", "f2", "get_order", "{\\\"id\\\":\\\"8\\\"}");
		rig_finish(&rig, 1, "{\"at\":2}");
		rig_silent(&rig, SESS_UPSTREAM);
		talk_done(&rig, "r2", "completed");
		expect_output("c_f2", "{\"at\":2}");
	}
	expect_followup();
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

START_TEST(a_response_that_is_quicker_has_its_call_made_once)
{
	first_step();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_race();
	talk_call(&rig, "r2", "f2", "book", TALK_NIGHT);
	item_done("f2");
	talk_done(&rig, "r2", "completed");
	answer_pass("p2", "book", TALK_NIGHT, NULL);
	ck_assert_uint_eq(rig.run_count, 2);
	rig_finish(&rig, 1, "{\"booked\":1}");
	expect_output("c_f2", "{\"booked\":1}");
	items_done();
	expect_followup();
	talk_created(&rig, "r3", "{'bc':'f'}");
	find_passes();
	answer_pass("p3", NULL, NULL, NULL);
	rig_wait(&rig, BC_USEC_PER_SEC);
	ck_assert_uint_eq(rig.run_count, 2);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

/* What was lost to the provider's own word in one step is not lost in the next. */
START_TEST(a_later_pass_has_its_say_behind_calls_nobody_guessed)
{
	first_step();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_race();
	step("r2", "f2", "get_order", "{\\\"id\\\":\\\"8\\\"}");
	answer_pass("p2", "get_order", "{\\\"id\\\":\\\"8\\\"}", NULL);
	talk_created(&rig, "r3", "{'bc':'f'}");
	find_passes();
	ck_assert_uint_eq(mark_count, 3);
	answer_pass("p3", "book", TALK_NIGHT, NULL);
	expect_cancel("r3");
}
END_TEST

/* It may mean a second one, or repeat what it was shown: the provider's own response tells. */
START_TEST(a_call_that_the_turn_has_already_is_left_to_the_provider)
{
	first_step();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_race();
	answer_pass("p2", "get_order", TALK_ORDER, _i == 0 ? NULL : "book");
	rig_wait(&rig, BC_USEC_PER_SEC);
	ck_assert_uint_eq(rig.run_count, 1);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

/* A pass before the commit meant it for the step that the provider has decided otherwise. */
START_TEST(what_was_named_before_is_not_put_in_for_what_a_later_pass_names)
{
	turn_naming("book", TALK_NIGHT);
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	item_done("f1");
	cancelled("r1");
	rig_finish(&rig, 0, "{}");
	expect_output("c_f1", "{}");
	items_done();
	expect_followup();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_race();
	answer_pass("p2", _i == 0 ? NULL : "get_order", "{\\\"id\\\":\\\"8\\\"}", NULL);
	rig_wait(&rig, BC_USEC_PER_SEC);
	ck_assert_uint_eq(rig.run_count, 1 + (unsigned)_i);
	rig_silent(&rig, SESS_UPSTREAM);
}
END_TEST

/* ---- what nobody has heard releases nothing (J5) ---- */

/* A sound behind the turn, too short for speech: no pass has heard it, so none begins. */
START_TEST(j5_a_sound_behind_the_turn_stops_it)
{
	turn_naming(_i == 0 ? NULL : "book", _i == 0 ? NULL : TALK_NIGHT);
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	item_done("f1");
	talk_done(&rig, "r1", _i == 0 ? "completed" : "cancelled");
	talk_audio(&rig, 20, true);
	talk_audio(&rig, 100, false);
	talk_skip(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 0, "{}");
	expect_output("c_f1", "{}");
	items_done();
	expect_followup();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_no_race();
}
END_TEST

START_TEST(j5_there_is_none_in_a_turn_that_only_the_provider_has_heard)
{
	talk_audio(&rig, 500, false);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u1'}");
	talk_audio(&rig, 500, false);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	step("r1", "f1", "get_order", TALK_ORDER);
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_no_race();
}
END_TEST

/* ---- what was called in an earlier turn ---- */

/* Nobody has heard what became of it: named again it is the same one, whoever names it. */
START_TEST(n1_an_effect_nobody_has_heard_of_is_not_put_in_again)
{
	turn_naming(NULL, NULL);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "book", TALK_NIGHT);
	item_done("f1");
	talk_done(&rig, "r1", "completed");
	ck_assert_uint_eq(rig.run_count, 1);
	second_turn("f1", "r2", "f2");
	talk_created(&rig, "r3", "{'bc':'f'}");
	find_passes();
	ck_assert_uint_eq(mark_count, 3);
	answer_pass("p3", "book", TALK_NIGHT, NULL);
	rig_wait(&rig, BC_USEC_PER_SEC);
	rig_silent(&rig, SESS_UPSTREAM);
	talk_call(&rig, "r3", "f3", "book", TALK_NIGHT);
	talk_done(&rig, "r3", "completed");
	ck_assert_uint_eq(rig.run_count, 2);
}
END_TEST

/* ---- when there is none ---- */

START_TEST(there_is_none_unless_it_is_wanted)
{
	static const char strict[] = TALK_CONFIG "[speculation]\nmode = \"strict\"\nrace = true\n";

	rig_fini(&rig);
	verdict_begin(_i == 0 ? VERDICT_CONFIG : strict);
	first_step();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_no_race();
}
END_TEST

START_TEST(there_is_none_before_it_would_know_as_much_as_the_response)
{
	turn_naming(NULL, NULL);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "get_order", TALK_ORDER);
	if (_i == 0) {
		item_done("f1");
	}
	talk_done(&rig, "r1", "completed");
	rig_finish(&rig, 0, "{}");
	expect_output("c_f1", "{}");
	if (_i == 1) {
		items_done();
	}
	expect_followup();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_no_race();
}
END_TEST

START_TEST(there_is_none_beside_what_a_client_has_asked_for)
{
	turn_naming(NULL, NULL);
	rig_client(&rig, "{'type':'response.create'}");
	talk_commit(&rig, "u1", NULL);
	rig_expect(&rig, SESS_UPSTREAM, "response.create");
	talk_created(&rig, "r1", "null");
	step("r1", "f1", "get_order", TALK_ORDER);
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_no_race();
}
END_TEST

START_TEST(there_is_none_where_answers_follow)
{
	rig.admission = admission_new();
	first_step();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_race();
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'r2','item':{'id':'m1','type':'message','role':'assistant'}}");
	item_done("m1");
	talk_done(&rig, "r2", "completed");
	second_turn("m1", "r3", "f3");
	talk_created(&rig, "r4", "{'bc':'f'}");
	expect_no_race();
}
END_TEST

/* An answer that was broken off, and of whose item the provider says no more, is older than the caller's words. */
START_TEST(what_came_before_the_turn_keeps_it_from_nothing)
{
	turn_naming(NULL, NULL);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	rig_up(&rig,
	       "{'type':'conversation.item.added','item':{'id':'m1','type':'message','role':'assistant','status':'in_progress'}}");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	cancelled("r1");
	second_turn("m1", "r2", "f2");
	talk_created(&rig, "r3", "{'bc':'f'}");
	find_passes();
	ck_assert_uint_eq(mark_count, 3);
}
END_TEST

/* Passes that name nothing although calls follow are given up after so many turns, and this is one. */
START_TEST(passes_that_name_nothing_in_one_turn_say_nothing_of_the_provider)
{
	first_step();
	for (unsigned i = 2; i < 6; i++) {
		char names[4][40];

		(void)snprintf(names[0], sizeof(names[0]), "r%u", i);
		(void)snprintf(names[1], sizeof(names[1]), "f%u", i);
		(void)snprintf(names[2], sizeof(names[2]), "p%u", i);
		(void)snprintf(names[3], sizeof(names[3]), "{\\\"id\\\":\\\"%u\\\"}", 20 + i);
		talk_created(&rig, names[0], "{'bc':'f'}");
		find_passes();
		ck_assert_uint_eq(mark_count, i);
		answer_pass(names[2], NULL, NULL, NULL);
		step(names[0], names[1], "get_order", names[3]);
	}
	ck_assert_int_ne(rig.noticed[TRAIT_PASS_CALLS], 0);
}
END_TEST

/* ---- what ends it ---- */

START_TEST(a_caller_who_speaks_ends_it)
{
	first_step();
	talk_created(&rig, "r2", "{'bc':'f'}");
	expect_race();
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	answer_pass("p2", "book", TALK_NIGHT, NULL);
	cancelled("r2");
	rig_wait(&rig, BC_USEC_PER_SEC);
	ck_assert_uint_eq(rig.run_count, 1);
}
END_TEST

START_TEST(a_provider_that_refuses_one_is_asked_for_passes_of_turns_all_the_same)
{
	json_t *event;

	first_step();
	talk_created(&rig, "r2", "{'bc':'f'}");
	event = rig_next(&rig, SESS_UPSTREAM, "response.create");
	rig_up(&rig,
	       "{'type':'error','error':{'type':'invalid_request_error','code':'x','message':'no','param':null,'event_id':'%s'}}",
	       rig_string(event, "event_id"));
	json_decref(event);
	step("r2", "f2", "get_order", "{\\\"id\\\":\\\"8\\\"}");
	talk_created(&rig, "r3", "{'bc':'f'}");
	expect_no_race();
	talk_done(&rig, "r3", "completed");
	mark_count = 0;
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	find_passes();
	ck_assert_uint_eq(mark_count, 1);
}
END_TEST

static Suite *suite(void)
{
	const TTest *const cases[] = {
		a_pass_that_is_quicker_has_its_call_made,
		a_response_that_is_quicker_has_its_call_made_once,
		a_later_pass_has_its_say_behind_calls_nobody_guessed,
		there_is_none_beside_what_a_client_has_asked_for,
		there_is_none_where_answers_follow,
		a_caller_who_speaks_ends_it,
		j5_there_is_none_in_a_turn_that_only_the_provider_has_heard,
		n1_an_effect_nobody_has_heard_of_is_not_put_in_again,
		what_came_before_the_turn_keeps_it_from_nothing,
		passes_that_name_nothing_in_one_turn_say_nothing_of_the_provider,
		a_provider_that_refuses_one_is_asked_for_passes_of_turns_all_the_same,
	};
	Suite *s = suite_create("session_race");
	TCase *c = tcase_create("session_race");

	tcase_add_checked_fixture(c, setup, teardown);
	for (size_t i = 0; i < BC_ARRAY_LEN(cases); i++) {
		tcase_add_test(c, cases[i]);
	}
	tcase_add_loop_test(c, a_read_it_names_runs_and_is_joined_or_put_in, 0, 2);
	tcase_add_loop_test(c, a_call_that_the_turn_has_already_is_left_to_the_provider, 0, 2);
	tcase_add_loop_test(c, what_was_named_before_is_not_put_in_for_what_a_later_pass_names, 0,
			    2);
	tcase_add_loop_test(c, j5_a_sound_behind_the_turn_stops_it, 0, 2);
	tcase_add_loop_test(c, there_is_none_unless_it_is_wanted, 0, 2);
	tcase_add_loop_test(c, there_is_none_before_it_would_know_as_much_as_the_response, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
