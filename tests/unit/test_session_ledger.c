/* The ledger of a session: what it holds, what it never holds, and that a recording of it can be played again. */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"
#include "tests/replay/replay.h"
#include "tests/unit/session_model.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS 150 /* conversations per mode */
#define STEPS 90  /* things that happen in each */

static struct rig rig;
static struct bc_buf dump;

static void setup(void)
{
	bc_buf_init(&dump, (size_t)64 << 20);
}

static void teardown(void)
{
	bc_buf_release(&dump);
}

/* The ledger as an operator sees it, NUL-terminated. */
static const char *ledger(void)
{
	bc_buf_clear(&dump);
	ck_assert_int_eq(sess_ledger(rig.sess, &dump), BC_OK);
	ck_assert_int_eq(bc_buf_put(&dump, "", 1), BC_OK);
	return bc_buf_span(&dump).ptr;
}

static unsigned lines_with(const char *text, const char *part)
{
	unsigned count = 0;

	while ((text = strstr(text, part)) != NULL) {
		count++;
		text++;
	}
	return count;
}

static void has(const char *part)
{
	const char *text = ledger();

	ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in\n%s", part, text);
}

static void lacks(const char *part)
{
	const char *text = ledger();

	ck_assert_msg(strstr(text, part) == NULL, "\"%s\" in\n%s", part, text);
}

static void audio(enum sess_side side)
{
	if (side == SESS_CLIENT) {
		rig_client(&rig, "{'type':'input_audio_buffer.append','audio':'AAAA'}");
	} else {
		rig_up(&rig,
		       "{'type':'response.output_audio.delta','response_id':'r1','item_id':'i1','delta':'AAAA'}");
	}
}

/* ---- entries ---- */

START_TEST(what_happens_and_what_is_decided_is_told_in_order)
{
	const char *text;
	const char *at;
	static const char *const order[] = {
		"from=client said conversation.item.create event=e7 is=message role=user",
		"from=provider said response.created response=r1 status=in_progress",
		"from=gateway lane active",
		"from=gateway view response=r1 is=withheld",
		"from=gateway run run=0 tool=get_order turn=",
		"from=tool result run=0 outcome=",
		"from=gateway to_provider conversation.item.create event=bc_o",
		"from=gateway settle run=0 tool=get_order",
		"from=gateway to_provider response.create event=bc_r",
		"from=gateway lane creating",
	};

	talk_begin(&rig, TALK_CONFIG, "pcm");
	rig_client(
		&rig,
		"{'type':'conversation.item.create','event_id':'e7','item':{'type':'message','role':'user','content':[]}}");
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "h1", "get_order", TALK_ORDER);
	rig_wait(&rig, 250 * BC_USEC_PER_MS);
	rig_finish(&rig, 0, "{\"state\":\"sent\"}");
	talk_done(&rig, "r1", "completed");
	text = ledger();
	ck_assert_ptr_nonnull(strstr(text, "session=test entries="));
	at = text;
	for (size_t i = 0; i < BC_ARRAY_LEN(order); i++) {
		const char *found = strstr(text, order[i]);

		ck_assert_msg(found != NULL, "no \"%s\" in\n%s", order[i], text);
		/* The request is sent and the lane moves in one step: which is first is of no interest. */
		ck_assert_msg(found > at || i + 2 >= BC_ARRAY_LEN(order), "\"%s\" too early in\n%s",
			      order[i], text);
		at = found;
	}
	has(" at=0.250000 turn=");
	rig_fini(&rig);
}
END_TEST

START_TEST(no_content_no_argument_and_no_result_is_in_it)
{
	talk_begin(&rig, TALK_CONFIG "secret_arguments = [\"night\"]\n", "pcm");
	rig_client(
		&rig,
		"{'type':'conversation.item.create','item':{'type':'message','role':'user','content':[{'type':'input_text','text':'swordfish'}]}}");
	talk_created(&rig, "r1", "{'note':'swordfish'}");
	talk_call(&rig, "r1", "h1", "book", "{\\\"night\\\":\\\"swordfish\\\"}");
	rig_finish(&rig, 0, "{\"card\":\"swordfish\"}");
	talk_done(&rig, "r1", "completed");
	rig_up(&rig, "{'type':'error','error':{'code':'bad','message':'swordfish'}}");
	rig_up(&rig, "{'type':'swordfish swordfish'}");
	audio(SESS_CLIENT);
	has("tool=book");
	has("said error code=bad");
	lacks("sword");
	lacks("AAAA");
	rig_fini(&rig);
}
END_TEST

START_TEST(frames_in_a_row_are_one_entry)
{
	unsigned before;

	talk_begin(&rig, TALK_CONFIG, "pcm");
	before = rig.sess->ledger->count;
	for (int i = 0; i < 100; i++) {
		audio(SESS_CLIENT);
		audio(SESS_UPSTREAM);
		rig_wait(&rig, 20 * BC_USEC_PER_MS);
	}
	ck_assert_uint_eq(rig.sess->ledger->count, before + 2);
	has("said input_audio_buffer.append bytes=5100 count=100 until=1.980000 forwarded\n");
	has("said response.output_audio.delta bytes=8700 count=100 until=1.980000 forwarded\n");
	rig_up(&rig, "{'type':'rate_limits.updated'}");
	audio(SESS_CLIENT);
	ck_assert_uint_eq(rig.sess->ledger->count, before + 4);
	rig_fini(&rig);
}
END_TEST

START_TEST(frames_cost_no_memory)
{
	const struct ledger_entry *last;
	size_t bytes;

	talk_begin(&rig, TALK_CONFIG, "pcm");
	audio(SESS_CLIENT);
	last = TAILQ_LAST(&rig.sess->ledger->entries, ledger_list);
	bytes = rig.sess->ledger->bytes;
	for (int i = 0; i < 400; i++) {
		audio(SESS_CLIENT);
	}
	ck_assert_ptr_eq(TAILQ_LAST(&rig.sess->ledger->entries, ledger_list), last);
	ck_assert_uint_eq(rig.sess->ledger->bytes, bytes);
	rig_fini(&rig);
}
END_TEST

START_TEST(it_is_bounded_by_entries)
{
	int64_t forgotten;

	talk_begin(&rig, TALK_CONFIG "[session]\nledger_entries = 5\n", "pcm");
	forgotten = bc_metric_get(BC_M_LEDGER_FORGOTTEN);
	for (int i = 0; i < 100; i++) {
		rig_up(&rig, "{'type':'rate_limits.updated','event_id':'n%d'}", i);
	}
	ck_assert_uint_eq(rig.sess->ledger->count, 5);
	ck_assert_uint_eq(lines_with(ledger(), "\n"), 6);
	has("event=n99");
	has("event=n95");
	lacks("event=n94");
	ck_assert_int_eq(bc_metric_get(BC_M_LEDGER_FORGOTTEN),
			 forgotten + (int64_t)rig.sess->ledger->numbered - 5);
	rig_fini(&rig);
}
END_TEST

START_TEST(it_is_bounded_by_bytes)
{
	talk_begin(&rig, TALK_CONFIG "[session]\nledger_bytes = \"2KiB\"\nledger_entries = 65536\n",
		   "pcm");
	for (int i = 0; i < 300; i++) {
		rig_up(&rig, "{'type':'rate_limits.updated','event_id':'n%d'}", i);
		ck_assert_uint_le(rig.sess->ledger->bytes, 2048);
	}
	ck_assert_uint_gt(rig.sess->ledger->count, 5);
	has("event=n299");
	rig_fini(&rig);
}
END_TEST

START_TEST(it_may_be_off)
{
	talk_begin(&rig, TALK_CONFIG "[session]\nledger_entries = 0\n", "pcm");
	audio(SESS_CLIENT);
	rig_up(&rig, "{'type':'rate_limits.updated'}");
	audio(SESS_CLIENT);
	ck_assert_str_eq(strchr(ledger(), '\n'), "\n");
	rig_fini(&rig);
}
END_TEST

START_TEST(nobody_forges_a_line)
{
	talk_begin(&rig, TALK_CONFIG, "pcm");
	rig_up(&rig, "{'type':'x\\nforged','event_id':'a\\nb'}");
	rig_up(&rig, "{'type':'x\nforged','event_id':'a b'}");
	lacks("\nforged");
	lacks("event=a");
	rig_fini(&rig);
}
END_TEST

START_TEST(a_plain_proxy_has_one_too)
{
	rig_init(&rig,
		 "[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n"
		 "[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n",
		 true);
	audio(SESS_CLIENT);
	audio(SESS_CLIENT);
	rig_up(&rig, "{'type':'rate_limits.updated'}");
	has("from=provider opened");
	has("count=2");
	has("said rate_limits.updated");
	rig_fini(&rig);
}
END_TEST

/* ---- waits ---- */

static bool waits_for(const char *reason)
{
	struct bc_buf text;
	bool found;

	bc_buf_init(&text, 65536);
	ck_assert_int_eq(sess_describe(rig.sess, true, &text), BC_OK);
	ck_assert_int_eq(bc_buf_put(&text, "", 1), BC_OK);
	found = strstr(strstr(bc_buf_span(&text).ptr, "waits_for="), reason) != NULL;
	bc_buf_release(&text);
	return found;
}

START_TEST(every_wait_has_a_name_and_a_time)
{
	int64_t count = bc_metric_get(BC_M_WAIT_TOOL);
	int64_t ms = bc_metric_get(BC_M_WAIT_TOOL_MS);
	int64_t reads = bc_metric_get(BC_M_TOOL_READS);
	int64_t reads_ms = bc_metric_get(BC_M_TOOL_READS_MS);
	int64_t active = bc_metric_get(BC_M_LANE_ACTIVE_MS);
	int64_t delivered = bc_metric_get(BC_M_DELIVERED_WHEN_IDLE);

	talk_begin(&rig, TALK_CONFIG, "pcm");
	ck_assert(waits_for("waits_for=- "));
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "h1", "get_order", TALK_ORDER);
	ck_assert(waits_for("tool_runs"));
	ck_assert(waits_for("response_withheld"));
	rig_wait(&rig, 300 * BC_USEC_PER_MS);
	talk_done(&rig, "r1", "completed");
	ck_assert_int_eq(bc_metric_get(BC_M_LANE_ACTIVE_MS), active + 300);
	rig_wait(&rig, 200 * BC_USEC_PER_MS);
	rig_finish(&rig, 0, "{}");
	ck_assert(waits_for("output_unconfirmed"));
	ck_assert(waits_for("create_unanswered"));
	ck_assert(!waits_for("tool_runs"));
	rig_up(&rig, "{'type':'rate_limits.updated'}");
	ck_assert_int_eq(bc_metric_get(BC_M_WAIT_TOOL), count + 1);
	ck_assert_int_eq(bc_metric_get(BC_M_WAIT_TOOL_MS), ms + 500);
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_READS), reads + 1);
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_READS_MS), reads_ms + 500);
	ck_assert_int_eq(bc_metric_get(BC_M_DELIVERED_WHEN_IDLE), delivered + 1);
	rig_fini(&rig);
}
END_TEST

START_TEST(waits_of_results_have_names)
{
	talk_begin(&rig,
		   TALK_CONFIG "filler_after = \"1s\"\nfiller = \"One moment.\"\n"
			       "[[upstream]]\nname = \"b\"\nurl = \"ws://localhost:1/\"\n",
		   "pcm");
	rig.sess->agent->results.placeholders = true;
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "h1", "book", TALK_NIGHT);
	ck_assert(!waits_for("placeholder_near"));
	talk_done(&rig, "r1", "completed");
	ck_assert(waits_for("placeholder_near"));
	rig_wait(&rig, BC_USEC_PER_SEC);
	ck_assert(!waits_for("placeholder_near"));
	ck_assert(waits_for("filler_runs"));
	ck_assert(!waits_for("followup_unbegun"));
	rig_finish(&rig, 0, "{}");
	ck_assert(waits_for("followup_unbegun"));
	rig_fini(&rig);
}
END_TEST

START_TEST(waits_of_guesses_have_names)
{
	talk_begin(&rig, TALK_CONFIG "[speculation]\nmode = \"strict\"\n", "pcm");
	rig_client(&rig, "{'type':'backchannel.hello'}");
	rig_client(&rig, "{'type':'conversation.item.create','item':{'id':'u1','type':'message',"
			 "'role':'user','content':[{'type':'input_text','text':'a'}]}}");
	ck_assert(!waits_for("words_ahead"));
	rig_client(&rig, "{'type':'backchannel.input_text.partial','revision':1,'text':'b'}");
	ck_assert(waits_for("words_ahead"));
	rig_up(&rig, "{'type':'conversation.item.added','previous_item_id':null,'item':{'id':'u1',"
		     "'type':'message','role':'user','content':[]}}");
	ck_assert(waits_for("words_ahead"));
	rig_up(&rig, "{'type':'conversation.item.done','previous_item_id':null,'item':{'id':'u1',"
		     "'type':'message','role':'user','content':[]}}");
	ck_assert(!waits_for("words_ahead"));
	ck_assert(!waits_for("eager_window"));
	rig.sess->agent->eager.armed = true;
	rig.sess->agent->eager.silence = BC_USEC_PER_SEC;
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u2'}");
	ck_assert(waits_for("eager_window"));
	rig_wait(&rig, BC_USEC_PER_SEC);
	ck_assert(!waits_for("eager_window"));
	rig_fini(&rig);
}
END_TEST

/* ---- replay ---- */

static const char head[] = "{\"recording\":1}\n";

static void record(struct bc_buf *text)
{
	bc_buf_init(text, (size_t)64 << 20);
	ck_assert_int_eq(bc_buf_put_str(text, head), BC_OK);
	rig_record(text);
}

static void recorded(struct bc_buf *text)
{
	rig_record(NULL);
	ck_assert_int_eq(bc_buf_put_str(text, "{\"end\":\"session\"}\n"), BC_OK);
}

static void plays_the_same(struct cfg *cfg, const struct bc_buf *text)
{
	struct replay_result result = {0};
	struct bc_buf message;

	bc_buf_init(&message, 65536);
	if (!replay(cfg, bc_buf_span(text), false, &result, &message)) {
		ck_abort_msg("%.*s", BC_SPAN_ARG(bc_buf_span(&message)));
	}
	bc_buf_release(&message);
	ck_assert(result.complete);
	ck_assert_uint_gt(result.inputs, STEPS / 4);
	ck_assert_uint_gt(result.decisions, result.inputs / 2);
}

static void play(uint64_t seed, const char *toml)
{
	struct model *model = malloc(sizeof(*model));
	struct bc_buf text;
	struct cfg *cfg;

	ck_assert_ptr_nonnull(model);
	record(&text);
	model_init(model, seed, toml);
	cfg = cfg_ref(model->rig.cfg);
	for (unsigned i = 0; i < STEPS; i++) {
		model_step(model);
	}
	if (seed % 2 == 0) {
		model_settle(model);
	}
	sess_closed(model->rig.sess, SESS_CLIENT, BC_OK, WS_CLOSE_NORMAL, BC_SPAN_LIT(""));
	model_fini(model);
	free(model);
	recorded(&text);
	plays_the_same(cfg, &text);
	cfg_unref(cfg);
	bc_buf_release(&text);
}

static const char *const modes[] = {TALK_CONFIG "[speculation]\nmode = \"off\"\n", TALK_CONFIG};

START_TEST(a_recording_decides_the_same_again)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		/* The last line of a failed run says which. */
		(void)fprintf(stderr, "SEED=%" PRIu64 "\n", seed);
		play(seed, modes[_i]);
	}
}
END_TEST

START_TEST(another_decision_is_found)
{
	struct replay_result result;
	struct bc_buf text;
	struct bc_buf message;
	char *at;

	record(&text);
	talk_begin(&rig, TALK_CONFIG, "pcm");
	talk_created(&rig, "r1", "null");
	talk_call(&rig, "r1", "h1", "get_order", TALK_ORDER);
	rig_finish(&rig, 0, "{}");
	talk_done(&rig, "r1", "completed");
	sess_closed(rig.sess, SESS_CLIENT, BC_OK, WS_CLOSE_NORMAL, BC_SPAN_LIT(""));
	rig.sess = sess_free(rig.sess);
	recorded(&text);
	at = strstr(text.mem, "\"guess\":0");
	ck_assert_ptr_nonnull(at);
	at[8] = '1';
	bc_buf_init(&message, 65536);
	ck_assert(!replay(rig.cfg, bc_buf_span(&text), false, &result, &message));
	ck_assert_ptr_nonnull(strstr(bc_buf_span(&message).ptr, "another run"));
	bc_buf_release(&message);
	bc_buf_release(&text);
	rig_fini(&rig);
}
END_TEST

START_TEST(what_came_before_the_provider_is_played_again)
{
	struct replay_result result;
	struct bc_buf text;
	struct bc_buf message;

	record(&text);
	rig_init(&rig, TALK_CONFIG, false);
	audio(SESS_CLIENT);
	rig_client(&rig, "{'type':'response.create','response':{'metadata':{'a':'\\u00e9\\n'}}}");
	sess_message(rig.sess, SESS_CLIENT, WS_TEXT, BC_SPAN_LIT("no JSON \xc3\xa9"));
	sess_upstream_open(rig.sess);
	rig.pressure[SESS_UPSTREAM] = true;
	audio(SESS_CLIENT);
	sess_drained(rig.sess, SESS_UPSTREAM);
	sess_tag_changed(rig.sess, "orders");
	rig.over_quota = true;
	audio(SESS_CLIENT);
	rig.sess = sess_free(rig.sess);
	recorded(&text);
	bc_buf_init(&message, 65536);
	if (!replay(rig.cfg, bc_buf_span(&text), false, &result, &message)) {
		ck_abort_msg("%.*s", BC_SPAN_ARG(bc_buf_span(&message)));
	}
	ck_assert_uint_eq(result.inputs, 9);
	bc_buf_release(&message);
	bc_buf_release(&text);
	rig_fini(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_ledger");
	TCase *c = tcase_create("session_ledger");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, what_happens_and_what_is_decided_is_told_in_order);
	tcase_add_test(c, no_content_no_argument_and_no_result_is_in_it);
	tcase_add_test(c, frames_in_a_row_are_one_entry);
	tcase_add_test(c, frames_cost_no_memory);
	tcase_add_test(c, it_is_bounded_by_entries);
	tcase_add_test(c, it_is_bounded_by_bytes);
	tcase_add_test(c, it_may_be_off);
	tcase_add_test(c, nobody_forges_a_line);
	tcase_add_test(c, a_plain_proxy_has_one_too);
	tcase_add_test(c, every_wait_has_a_name_and_a_time);
	tcase_add_test(c, waits_of_results_have_names);
	tcase_add_test(c, waits_of_guesses_have_names);
	tcase_add_loop_test(c, a_recording_decides_the_same_again, 0, BC_ARRAY_LEN(modes));
	tcase_add_test(c, another_decision_is_found);
	tcase_add_test(c, what_came_before_the_provider_is_played_again);
	tcase_set_timeout(c, 60);
	suite_add_tcase(suite, c);
	return tap_run(suite);
}
