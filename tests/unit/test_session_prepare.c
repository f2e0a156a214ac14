/* Prepared calls: what a pass behind the answer names is ready, and nothing of it happens before somebody asks for it. */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/session/sess.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define CONFIG TALK_CONFIG "[speculation]\nmode = \"strict\"\nprepare = true\n"

static struct rig rig;
static char event_id[64];
static char metadata[160];
static bool marked = true; /* passes are answered */

static int64_t metric_used, metric_dropped;

static void begin(const char *toml)
{
	talk_begin(&rig, toml, "pcm");
	metric_used = bc_metric_get(BC_M_PREPARED_USED);
	metric_dropped = bc_metric_get(BC_M_PREPARED_DROPPED);
}

static void expect_counts(int64_t used, int64_t dropped)
{
	ck_assert_int_eq(bc_metric_get(BC_M_PREPARED_USED) - metric_used, used);
	ck_assert_int_eq(bc_metric_get(BC_M_PREPARED_DROPPED) - metric_dropped, dropped);
}

/* The pass over the turn finds nothing, but comes back with its mark. */
static void answer_pass(void)
{
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		json_t *event =
			json_loads(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]++], 0, NULL);
		char *marks =
			json_dumps(json_object_get(json_object_get(event, "response"), "metadata"),
				   JSON_ENCODE_ANY);

		if (strcmp(rig_string(event, "response.metadata.bc"), "p") == 0) {
			rig_up(&rig,
			       "{'type':'response.created','response':{'id':'p0','status':'in_progress','conversation_id':null,'metadata':%s,'output':[]}}",
			       marks);
			rig_up(&rig,
			       "{'type':'response.done','response':{'id':'p0','status':'completed','conversation_id':null,'metadata':%s,'output':[]}}",
			       marks);
		}
		free(marks);
		json_decref(event);
	}
}

/* The caller says something, the agent answers with words. */
static void answer(const char *item, const char *response)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 300, false);
	if (marked) {
		answer_pass();
	}
	talk_commit(&rig, item, NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, response, "null");
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'%s','item':{'id':'m_%s','type':'message','role':'assistant'}}",
	       response, response);
	rig_up(&rig,
	       "{'type':'conversation.item.done','item':{'id':'m_%s','type':'message','role':'assistant'}}",
	       response);
	talk_done(&rig, response, "completed");
}

/* The next request that assumes an agreement; false: there is none. */
static bool take_pass(void)
{
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		const char *text = rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]++];
		json_t *event = json_loads(text, 0, NULL);
		bool is = strstr(text, "simply agrees") != NULL;
		char *marks =
			json_dumps(json_object_get(json_object_get(event, "response"), "metadata"),
				   JSON_ENCODE_ANY);

		if (is) {
			(void)snprintf(event_id, sizeof(event_id), "%s",
				       rig_string(event, "event_id"));
			(void)snprintf(metadata, sizeof(metadata), "%s", marks);
		}
		free(marks);
		json_decref(event);
		if (is) {
			return true;
		}
	}
	return false;
}

static void provider_created(const char *id)
{
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'%s','status':'in_progress','conversation_id':null,'metadata':%s,'output':[]}}",
	       id, metadata);
}

static void provider_names(const char *id, const char *name, const char *arguments)
{
	rig_up(&rig,
	       "{'type':'response.output_item.done','response_id':'%s','item':{'id':'i_%s','type':'function_call','status':'completed','name':'%s','call_id':'cp','arguments':'%s'}}",
	       id, name, name, arguments);
}

static void provider_done(const char *id)
{
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'%s','status':'completed','conversation_id':null,'metadata':%s,'output':[]}}",
	       id, metadata);
}

/* The agent has read a booking back. */
static void read_back(void)
{
	answer("u1", "r1");
	ck_assert(take_pass());
	provider_created("pp1");
	provider_names("pp1", "book", TALK_NIGHT);
	provider_done("pp1");
}

/* The provider calls book itself in the turn behind. */
static void call_book(const char *night)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 300, false);
	talk_commit(&rig, "u2", "u1");
	talk_created(&rig, "r2", "null");
	talk_call(&rig, "r2", "f2", "book", night);
	talk_done(&rig, "r2", "completed");
}

START_TEST(a_write_is_prepared_and_nothing_of_it_leaves)
{
	begin(CONFIG);
	talk_skip(&rig, SESS_CLIENT);
	read_back();
	ck_assert_uint_eq(rig.run_count, 0);
	ck_assert_uint_eq(rig.warmed, 1);
	call_book(TALK_NIGHT);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(!rig.runs[0].speculative);
	expect_counts(1, 0);
	rig_finish(&rig, 0, "{}");
	rig_fini(&rig);
}
END_TEST

START_TEST(a_refused_read_back_leaves_no_trace)
{
	begin(CONFIG);
	read_back();
	if (_i == 0) {
		call_book("{\\\"night\\\":\\\"tue\\\"}"); /* "no, the later one" */
		ck_assert_str_eq(rig.runs[0].arguments, "{\"night\":\"tue\"}");
		rig_finish(&rig, 0, "{}");
	} else {
		answer("u2", "r2");
		answer("u3", "r3");
		answer("u4", "r4"); /* prepared_ttl */
		ck_assert_uint_eq(rig.run_count, 0);
	}
	expect_counts(0, 1);
	rig_fini(&rig);
}
END_TEST

START_TEST(a_read_runs_when_the_caller_begins_to_speak)
{
	begin(CONFIG);
	answer("u1", "r1");
	ck_assert(take_pass());
	provider_created("pp1");
	provider_names("pp1", "get_order", TALK_ORDER);
	if (_i == 0) {
		provider_done("pp1");
		ck_assert_uint_eq(rig.run_count, 0);
		talk_audio(&rig, 300, true);
	} else {
		talk_audio(&rig, 300, true); /* the caller is quicker */
		provider_done("pp1");
	}
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig.runs[0].speculative);
	rig_fini(&rig);
}
END_TEST

START_TEST(what_was_prepared_falls_with_what_it_stands_on)
{
	begin(CONFIG);
	read_back();
	if (_i == 0) {
		rig_client(
			&rig,
			"{'type':'conversation.item.truncate','item_id':'m_r1','content_index':0,'audio_end_ms':100}");
	} else {
		rig_up(&rig, "{'type':'session.updated','session':{'tools':[]}}");
	}
	expect_counts(0, 1);
	rig_fini(&rig);
}
END_TEST

START_TEST(a_provider_that_refuses_is_not_asked_again)
{
	begin(CONFIG);
	answer("u1", "r1");
	ck_assert(take_pass());
	talk_skip(&rig, SESS_CLIENT);
	rig_up(&rig, "{'type':'error','error':{'code':'invalid_value','event_id':'%s'}}", event_id);
	rig_silent(&rig, SESS_CLIENT);
	answer("u2", "r2");
	ck_assert(!take_pass());
	rig_fini(&rig);
}
END_TEST

START_TEST(a_pass_behind_the_answer_that_never_ends_makes_room_for_the_next)
{
	bool created = _i == 1;
	json_t *event;

	begin(CONFIG);
	answer("u1", "r1");
	ck_assert(take_pass());
	if (created) {
		provider_created("q1");
	}
	answer("u2", "r2");
	ck_assert(!take_pass()); /* it may still come */
	rig_wait(&rig, 10 * BC_USEC_PER_SEC);
	if (!created) {
		provider_created("q1"); /* too late */
	}
	event = rig_next(&rig, SESS_UPSTREAM, "response.cancel");
	ck_assert_str_eq(rig_string(event, "response_id"), "q1");
	json_decref(event);
	provider_names("q1", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.warmed, 0);
	answer("u3", "r3");
	ck_assert(take_pass());
	provider_created("q3");
	provider_names("q3", "book", TALK_NIGHT);
	ck_assert_uint_eq(rig.warmed, 1);
	rig_fini(&rig);
}
END_TEST

START_TEST(nothing_is_asked_before_marks_are_known_to_come_back)
{
	begin(CONFIG);
	marked = false;
	answer("u1", "r1");
	ck_assert(!take_pass());
	marked = true;
	answer("u2", "r2");
	ck_assert(take_pass());
	rig_fini(&rig);
}
END_TEST

START_TEST(it_is_off_unless_asked_for_and_bad_calls_are_ignored)
{
	begin(TALK_CONFIG "[speculation]\nmode = \"strict\"\n");
	answer("u1", "r1");
	ck_assert(!take_pass());
	rig_fini(&rig);
	begin(CONFIG);
	answer("u1", "r1");
	ck_assert(take_pass());
	provider_created("pp1");
	provider_names("pp1", "nobody", "{}");
	provider_names("pp1", "get_order", "{\\\"id\\\":7}");
	provider_names("pp1", "book", "{");
	provider_done("pp1");
	talk_audio(&rig, 300, true);
	ck_assert_uint_eq(rig.run_count, 0);
	ck_assert_uint_eq(rig.warmed, 0);
	rig_fini(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_prepare");
	TCase *tcase = tcase_create("session_prepare");

	tcase_add_test(tcase, a_write_is_prepared_and_nothing_of_it_leaves);
	tcase_add_loop_test(tcase, a_refused_read_back_leaves_no_trace, 0, 2);
	tcase_add_loop_test(tcase, a_read_runs_when_the_caller_begins_to_speak, 0, 2);
	tcase_add_loop_test(tcase, what_was_prepared_falls_with_what_it_stands_on, 0, 2);
	tcase_add_loop_test(tcase, a_pass_behind_the_answer_that_never_ends_makes_room_for_the_next,
			    0, 2);
	tcase_add_test(tcase, a_provider_that_refuses_is_not_asked_again);
	tcase_add_test(tcase, nothing_is_asked_before_marks_are_known_to_come_back);
	tcase_add_test(tcase, it_is_off_unless_asked_for_and_bad_calls_are_ignored);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
