/* What guesses may cost, as a session sees it: what is refused does not run, and what becomes of it is learnt all the same. */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/session/sess.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define STRICT TALK_CONFIG "[speculation]\nmode = \"strict\"\n"

static struct rig rig;
static unsigned passes;
static char last_id[16];
static char last_metadata[128];

static void begin(const char *toml)
{
	passes = 0;
	talk_begin(&rig, toml, "pcm");
	rig.admission = admission_new();
	ck_assert_ptr_nonnull(rig.admission);
}

static void end(void)
{
	rig_fini(&rig);
	rig.admission = admission_free(rig.admission);
}

/* The next pass was asked for; false: none was. */
static bool take_pass(void)
{
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		json_t *event =
			json_loads(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]++], 0, NULL);
		bool is = strcmp(rig_string(event, "response.metadata.bc"), "p") == 0;
		json_t *metadata = json_object_get(json_object_get(event, "response"), "metadata");
		char *text = is ? json_dumps(metadata, 0) : NULL;

		if (is) {
			(void)snprintf(last_metadata, sizeof(last_metadata), "%s", text);
			(void)snprintf(last_id, sizeof(last_id), "p%u", ++passes);
			rig_up(&rig,
			       "{'type':'response.created','response':{'id':'%s','status':'in_progress','conversation_id':null,'metadata':%s,'output':[]}}",
			       last_id, last_metadata);
		}
		free(text);
		json_decref(event);
		if (is) {
			return true;
		}
	}
	return false;
}

static void pass_ends(const char *name, const char *arguments, const char *usage)
{
	if (name != NULL) {
		rig_up(&rig,
		       "{'type':'response.output_item.done','response_id':'%s','item':{'id':'i_%s','type':'function_call','status':'completed','name':'%s','call_id':'cp','arguments':'%s'}}",
		       last_id, last_id, name, arguments);
	}
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'%s','status':'completed','conversation_id':null,'metadata':%s,'output':[],'usage':%s}}",
	       last_id, last_metadata, usage);
}

static bool speak(void)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	return take_pass();
}

/* A pass names get_order with this id, and the proposal becomes stable. */
static void propose(const char *id)
{
	char arguments[64];

	(void)snprintf(arguments, sizeof(arguments), "{\\\"id\\\":\\\"%s\\\"}", id);
	ck_assert(speak());
	pass_ends("get_order", arguments, "null");
	talk_audio(&rig, 400, false);
}

/* The turn ends with this call of the provider, or without one. */
static void answer(const char *item, const char *arguments)
{
	talk_commit(&rig, item, NULL);
	talk_created(&rig, item, "null");
	if (arguments != NULL) {
		char call[32];

		(void)snprintf(call, sizeof(call), "f%s", item);
		talk_call(&rig, item, call, "get_order", arguments);
	}
	talk_done(&rig, item, "completed");
	talk_skip(&rig, SESS_UPSTREAM);
}

static const struct admission_ask *as_asked(void)
{
	static struct admission_ask ask;

	ask = (struct admission_ask){.conf = &rig.cfg->speculation,
				     .tool = &rig.cfg->tool[0],
				     .trigger = SPEC_TRIGGER_PAUSE,
				     .key = "tester",
				     .now = rig.now};
	return &ask;
}

START_TEST(shadow_runs_nothing_and_learns_what_would_have_hit)
{
	begin(STRICT "shadow = true\n");
	propose("7");
	ck_assert_uint_eq(rig.run_count, 0);
	answer("u1", TALK_ORDER);
	ck_assert_uint_eq(rig.run_count, 1); /* the real call itself */
	ck_assert(!rig.runs[0].speculative);
	ck_assert_double_eq_tol(admission_probability(rig.admission, as_asked()), 5.0 / 6, 1e-9);
	rig_finish(&rig, 0, "{}");
	talk_skip(&rig, SESS_UPSTREAM);
	propose("8");
	answer("u2", NULL);
	propose("9");
	answer("u3", NULL);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert_double_eq_tol(admission_probability(rig.admission, as_asked()), 5.0 / 8, 1e-9);
	end();
}
END_TEST

START_TEST(shadow_leaves_the_providers_response_alone)
{
	begin(TALK_CONFIG "[speculation]\nmode = \"confirm\"\nshadow = true\n");
	ck_assert(speak());
	pass_ends("book", TALK_NIGHT, "null");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_audio(&rig, 1000, false);
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		json_t *event =
			json_loads(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]++], 0, NULL);

		ck_assert_str_ne(rig_string(event, "type"), "response.cancel");
		json_decref(event);
	}
	ck_assert_uint_eq(rig.run_count, 0);
	end();
}
END_TEST

#define CONFIRM TALK_CONFIG "[speculation]\nmode = \"confirm\"\n"
#define CANCEL_TOOL(more)                                                                                   \
	"[[tool]]\nname = \"cancel\"\ndescription = \"Cancels.\"\n" more                                    \
	"disclosure = \"local\"\ntags = "                                                                   \
	"[\"rooms\"]\nparameters = { type = \"object\", properties = { night = { type = \"string\" } } }\n" \
	"request = { method = \"POST\", url = \"http://localhost:1/cancel\", body = \"{*}\" }\n"            \
	"undo = { method = \"POST\", url = \"http://localhost:1/back\", body = \"{*}\" }\n"
#define REVERSIBLE "effect = \"reversible\"\nidempotency = \"key\"\n"
#define WATCHED    REVERSIBLE "shadow = true\n"

/* How often this was asked of the provider since the last look. */
static unsigned asked_for(const char *type)
{
	unsigned count = 0;

	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		json_t *event =
			json_loads(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]++], 0, NULL);

		count += strcmp(rig_string(event, "type"), type) == 0;
		json_decref(event);
	}
	return count;
}

static void operator_says(const char *tool, enum admission_mode mode)
{
	ck_assert_int_eq(admission_set(rig.admission, tool, mode), BC_OK);
}

START_TEST(shadow_of_one_tool_keeps_its_effects_from_being_made_real)
{
	const char *tool = _i == 2 ? "cancel" : "book";

	begin(_i == 2 ? CONFIRM CANCEL_TOOL(WATCHED) : CONFIRM);
	if (_i < 2) {
		operator_says("book", _i == 0 ? ADMISSION_SHADOW : ADMISSION_OFF);
	}
	ck_assert(speak());
	pass_ends(tool, TALK_NIGHT, "null");
	talk_audio(&rig, 320, false);
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	talk_audio(&rig, 1000, false);
	ck_assert_uint_eq(asked_for("response.cancel"), 0);
	ck_assert_uint_eq(rig.run_count, 0);
	/* The provider's own call is made, and it is known that the guess would have been right. */
	talk_call(&rig, "r1", "f1", tool, TALK_NIGHT);
	talk_done(&rig, "r1", "completed");
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(!rig.runs[0].speculative);
	ck_assert(rig.runs[0].may_start == NULL);
	if (_i != 1) {
		struct admission_ask ask = *as_asked();

		ask.tool = &rig.cfg->tool[_i == 2 ? 2 : 1];
		ck_assert_double_eq_tol(admission_probability(rig.admission, &ask), 5.0 / 6, 1e-9);
	}
	end();
}
END_TEST

/* What the operator says, at any moment from here on. */
static const enum admission_mode words[] = {ADMISSION_SHADOW, ADMISSION_OFF};

/* Reads that patterns foretold have been wasted: what a pass names is judged by itself, and by the operator's word. */
START_TEST(a_read_refused_as_a_prediction_is_judged_anew_when_a_pass_names_it)
{
	struct admission_event event = {.what = ADMISSION_WASTE, .trigger = SPEC_TRIGGER_PATTERN};
	struct spec_call call = {.arguments = "{\"id\":\"7\"}", .turn = 1};
	struct admission_ask ask;
	bool proposed;

	begin(STRICT);
	ask = *as_asked();
	call.tool = ask.tool;
	event.tool = ask.tool;
	for (unsigned i = 0; i < 32; i++) {
		admission_learn(rig.admission, &ask, &event);
	}
	talk_audio(&rig, 300, true);
	ck_assert_int_eq(spec_predict(rig.sess->agent->spec, &call, NULL, false, &proposed), BC_OK);
	ck_assert(proposed);
	talk_audio(&rig, 20, true);
	ck_assert_uint_eq(rig.run_count, 0);
	if (_i > 0) {
		operator_says("get_order", words[_i - 1]);
	}
	talk_audio(&rig, 200, false);
	ck_assert(take_pass());
	pass_ends("get_order", TALK_ORDER, "null");
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, _i == 0 ? 1 : 0);
	end();
}
END_TEST

START_TEST(shadow_that_comes_while_a_hold_waits_is_obeyed)
{
	begin(CONFIRM);
	ck_assert(speak());
	pass_ends("book", TALK_NIGHT, "null");
	talk_audio(&rig, 320, false);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	ck_assert_uint_eq(asked_for("response.cancel"), 1);
	talk_done(&rig, "r1", "cancelled");
	operator_says("book", ADMISSION_SHADOW);
	talk_audio(&rig, 1000, false);
	ck_assert_uint_eq(rig.run_count, 0);
	ck_assert_uint_eq(asked_for("response.create"), 1); /* the answer that was cancelled */
	end();
}
END_TEST

/*
 * A hold of a verdict is behind the commit point when its ticket is asked for: it is no guess any more.  While the ticket
 * is on its way, only what J5 names speaks against it; when it is there, nothing does.
 */
START_TEST(shadow_does_not_stop_a_hold_that_was_released)
{
	bool ticket = _i >= 2;

	begin(CONFIRM);
	ck_assert(speak());
	pass_ends("book", TALK_NIGHT, "null");
	talk_audio(&rig, 320, false);
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_done(&rig, "r1", "cancelled");
	talk_audio(&rig, 1000, false);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(!rig.runs[0].speculative);
	talk_skip(&rig, SESS_UPSTREAM);
	if (!ticket) {
		operator_says("book", words[_i % 2]);
		operator_says(NULL, words[_i % 2]);
	}
	ck_assert(rig_start(&rig, 0));
	if (ticket) {
		operator_says("book", words[_i % 2]);
		operator_says(NULL, words[_i % 2]);
	}
	talk_audio(&rig, 100, false);
	ck_assert(!rig.runs[0].cancelled);
	rig_finish(&rig, 0, "{\"ok\":true}");
	ck_assert_uint_eq(asked_for("response.create"), 1); /* to speak about it */
	ck_assert_int_eq(rig.runs[0].settled, JRN_USED);
	end();
}
END_TEST

/* An effect that is a guess: named by a pass, not committed by anybody. */
static void guess_effect(void)
{
	begin(CONFIRM CANCEL_TOOL(REVERSIBLE));
	ck_assert(speak());
	pass_ends("cancel", TALK_NIGHT, "null");
}

static void provider_names_it(void)
{
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "f1", "cancel", TALK_NIGHT);
}

START_TEST(shadow_before_a_guess_keeps_it_from_running)
{
	guess_effect();
	operator_says("cancel", words[_i]);
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, 0);
	end();
}
END_TEST

START_TEST(shadow_stops_a_guess_that_waits_for_its_ticket)
{
	guess_effect();
	talk_audio(&rig, 400, false);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig.runs[0].speculative);
	operator_says("cancel", words[_i]);
	ck_assert(!rig_start(&rig, 0));
	ck_assert_int_eq(rig.runs[0].settled, JRN_UNUSED);
	ck_assert_int_eq(bc_metric_get(BC_M_GUESS_WASTED), 0); /* it never ran */
	/* The provider's own call is none of it. */
	provider_names_it();
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(!rig.runs[1].speculative);
	ck_assert(rig.runs[1].may_start == NULL);
	end();
}
END_TEST

START_TEST(shadow_does_not_stop_a_guess_that_has_become_real)
{
	guess_effect();
	talk_audio(&rig, 400, false);
	provider_names_it();
	ck_assert_uint_eq(rig.run_count, 1);
	operator_says("cancel", words[_i]);
	ck_assert(rig_start(&rig, 0));
	ck_assert(rig.runs[0].committed);
	end();
}
END_TEST

/* Stopped, and called by the provider before that was told: the call is made all the same. */
START_TEST(a_call_that_joins_a_stopped_guess_is_made)
{
	struct rig_run *run = &rig.runs[0];

	guess_effect();
	talk_audio(&rig, 400, false);
	operator_says("cancel", words[_i]);
	ck_assert(run->may_start != NULL && !run->may_start(run->arg));
	provider_names_it();
	ck_assert_uint_eq(rig.run_count, 1);
	rig_fail(&rig, 0, TOOL_CANCELLED);
	ck_assert_uint_eq(rig.run_count, 2);
	ck_assert(!rig.runs[1].speculative);
	ck_assert_str_eq(rig.runs[1].arguments, run->arguments);
	talk_done(&rig, "r1", "completed");
	talk_skip(&rig, SESS_UPSTREAM);
	rig_finish(&rig, 1, "{\"ok\":true}");
	ck_assert_uint_eq(asked_for("response.create"), 1);
	end();
}
END_TEST

/* It has been sent: it is used if the provider names it, and taken back if not. */
START_TEST(shadow_leaves_a_guess_alone_that_was_sent)
{
	guess_effect();
	talk_audio(&rig, 400, false);
	ck_assert(rig_start(&rig, 0));
	operator_says("cancel", words[_i % 2]);
	talk_audio(&rig, 100, false);
	ck_assert(!rig.runs[0].cancelled);
	rig_finish(&rig, 0, "{\"ok\":true}");
	if (_i < 2) {
		provider_names_it();
		ck_assert(rig.runs[0].committed);
	} else {
		talk_commit(&rig, "u1", NULL);
		talk_created(&rig, "r1", "null");
		talk_done(&rig, "r1", "completed");
		ck_assert_int_eq(rig.runs[0].settled, JRN_UNUSED);
	}
	ck_assert_uint_eq(rig.run_count, 1);
	end();
}
END_TEST

START_TEST(shadow_leaves_other_tools_their_takeovers)
{
	begin(CONFIRM);
	operator_says("book", ADMISSION_SHADOW);
	ck_assert(speak());
	pass_ends("get_order", TALK_ORDER, "null");
	talk_audio(&rig, 320, false);
	rig_finish(&rig, 0, "{}");
	talk_commit(&rig, "u1", NULL);
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	ck_assert_uint_eq(asked_for("response.cancel"), 1);
	end();
}
END_TEST

START_TEST(hits_and_waste_are_told_with_their_times)
{
	struct bc_buf text;

	begin(STRICT);
	propose("7");
	ck_assert_uint_eq(rig.run_count, 1);
	rig_wait(&rig, 300 * BC_USEC_PER_MS);
	rig_finish(&rig, 0, "{}");
	answer("u1", TALK_ORDER);
	propose("8");
	rig_wait(&rig, 100 * BC_USEC_PER_MS);
	answer("u2", NULL);
	bc_buf_init(&text, 65536);
	ck_assert_int_eq(admission_show(rig.admission, &rig.cfg->speculation, NULL, rig.now, &text),
			 BC_OK);
	ck_assert_int_eq(bc_buf_put(&text, "", 1), BC_OK);
	ck_assert_ptr_nonnull(strstr(bc_buf_span(&text).ptr, " hits=1 joins=0 wasted=1 "));
	ck_assert_ptr_nonnull(strstr(bc_buf_span(&text).ptr, " saved_seconds=0.300 "));
	bc_buf_release(&text);
	end();
}
END_TEST

START_TEST(a_turn_and_a_session_may_waste_so_many_calls)
{
	begin(_i == 0 ? STRICT "turn_waste_max = 1\n" : STRICT "session_waste_max = 1\n");
	propose("7");
	ck_assert_uint_eq(rig.run_count, 1);
	propose("8"); /* which takes the first one back */
	ck_assert(rig.runs[0].cancelled);
	ck_assert_uint_eq(rig.run_count, 1);
	answer("u1", NULL);
	propose("9");
	ck_assert_uint_eq(rig.run_count, _i == 0 ? 2 : 1); /* a new turn, the same session */
	answer("u2", NULL);
	end();
}
END_TEST

START_TEST(passes_stop_when_their_money_is_spent)
{
	begin(_i == 0 ? STRICT "session_cost_max = 1\n" : STRICT "session_tokens_max = 500\n");
	ck_assert(speak());
	/* 200 tokens of audio at 3,200 cents a million, 90 of text at 400, 100 cached at 40, 110 out at 2,400. */
	pass_ends(
		NULL, NULL,
		"{'total_tokens':500,'input_tokens':390,'output_tokens':110,'input_token_details':{'text_tokens':190,'audio_tokens':200,'cached_tokens':100,'cached_tokens_details':{'text_tokens':100,'audio_tokens':0}}}");
	ck_assert_uint_eq(rig.sess->agent->spending.session.money,
			  200 * 3200 + 90 * 400 + 100 * 40 + 110 * 2400);
	ck_assert_uint_eq(rig.sess->agent->spending.session.tokens, 500);
	if (_i == 0) {
		ck_assert(speak()); /* 0.944 cents: one more */
		pass_ends(NULL, NULL, "{'input_tokens':140,'output_tokens':0}");
	}
	ck_assert(!speak());
	talk_audio(&rig, 3000, true);
	talk_audio(&rig, 300, false);
	ck_assert(!take_pass());
	end();
}
END_TEST

START_TEST(a_tool_that_is_off_is_neither_guessed_nor_put_in)
{
	begin(TALK_CONFIG "speculation = \"off\"\n[speculation]\nmode = \"confirm\"\n");
	ck_assert(speak());
	pass_ends("book", TALK_NIGHT, "null");
	talk_commit(&rig, "u1", NULL);
	talk_created(&rig, "r1", "null");
	talk_audio(&rig, 1000, false);
	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		json_t *event =
			json_loads(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]++], 0, NULL);

		ck_assert_str_ne(rig_string(event, "type"), "response.cancel");
		json_decref(event);
	}
	end();
}
END_TEST

START_TEST(an_upstream_that_tells_less_is_charged_by_what_it_tells)
{
	static const struct {
		const char *usage;
		uint64_t price;
	} cases[] = {
		{"{}", 0},
		{"{\"input_tokens\":10,\"output_tokens\":1}", 10 * 400 + 2400},
		/* What was cached is text first. */
		{"{\"input_tokens\":30,\"input_token_details\":{\"audio_tokens\":20,\"cached_tokens\":15}}",
		 15 * 3200 + 15 * 40},
		{"{\"input_tokens\":-5,\"output_tokens\":\"x\"}", 0},
		/* Numbers that contradict each other never make a negative price. */
		{"{\"input_tokens\":1,\"input_token_details\":{\"audio_tokens\":9,\"cached_tokens\":50,\"cached_tokens_details\":{\"audio_tokens\":60}}}",
		 50 * 40},
	};
	json_t *usage = json_loads(cases[_i].usage, 0, NULL);

	begin(STRICT);
	ck_assert_uint_eq(spend_price(&rig.cfg->speculation, usage), cases[_i].price);
	json_decref(usage);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_admission");
	TCase *tcase = tcase_create("session_admission");

	tcase_add_test(tcase, shadow_runs_nothing_and_learns_what_would_have_hit);
	tcase_add_test(tcase, shadow_leaves_the_providers_response_alone);
	tcase_add_loop_test(tcase, shadow_of_one_tool_keeps_its_effects_from_being_made_real, 0, 3);
	tcase_add_test(tcase, shadow_that_comes_while_a_hold_waits_is_obeyed);
	tcase_add_loop_test(tcase, shadow_does_not_stop_a_hold_that_was_released, 0, 4);
	tcase_add_loop_test(tcase, shadow_before_a_guess_keeps_it_from_running, 0, 2);
	tcase_add_loop_test(tcase, shadow_stops_a_guess_that_waits_for_its_ticket, 0, 2);
	tcase_add_loop_test(tcase, shadow_does_not_stop_a_guess_that_has_become_real, 0, 2);
	tcase_add_loop_test(tcase, a_call_that_joins_a_stopped_guess_is_made, 0, 2);
	tcase_add_loop_test(tcase, shadow_leaves_a_guess_alone_that_was_sent, 0, 4);
	tcase_add_test(tcase, shadow_leaves_other_tools_their_takeovers);
	tcase_add_test(tcase, hits_and_waste_are_told_with_their_times);
	tcase_add_loop_test(tcase, a_turn_and_a_session_may_waste_so_many_calls, 0, 2);
	tcase_add_loop_test(tcase, passes_stop_when_their_money_is_spent, 0, 2);
	tcase_add_test(tcase, a_tool_that_is_off_is_neither_guessed_nor_put_in);
	tcase_add_loop_test(tcase, an_upstream_that_tells_less_is_charged_by_what_it_tells, 0, 5);
	tcase_add_loop_test(
		tcase, a_read_refused_as_a_prediction_is_judged_anew_when_a_pass_names_it, 0, 3);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
