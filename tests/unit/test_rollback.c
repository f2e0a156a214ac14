/*
 * J3 to J9 with the real journal, the real HTTP client and a real server: guesses that came to nothing are taken back, by
 * the same steps in a live turn, after a crash, and by the operator's hand.
 */
#include "daemon/base/metric.h"
#include "daemon/base/seal.h"
#include "daemon/loop/loop.h"
#include "daemon/tools/host.h"
#include "tests/unit/run_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool may;

static void setup(void)
{
	rig_setup();
	world.tool.effect = CFG_EFFECT_REVERSIBLE;
	world.tool.idempotency = CFG_IDEMPOTENCY_KEY;
	rig_serve_at("/order");
	rig_undo_at("/undo/{result.a[0]}");
}

static bool is_permitted(void *arg)
{
	ck_assert_ptr_eq(arg, &world);
	return may;
}

static struct tool_call *start(const char *arguments, bool speculative, bool (*may_start)(void *))
{
	struct tool_request request = rig_request_of(arguments);
	struct tool_call *call = NULL;

	request.speculative = speculative;
	request.may_start = may_start;
	ck_assert_int_eq(tool_run(world.host, &world.common, &request, &call), BC_OK);
	return call;
}

static struct tool_call *guess(const char *arguments)
{
	return start(arguments, true, NULL);
}

static struct tool_call *guess_done(const char *arguments)
{
	unsigned done = world.done;
	struct tool_call *call = guess(arguments);

	rig_wait_done(done + 1);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	return call;
}

static void expect_paths(const char *paths)
{
	(void)pthread_mutex_lock(&server.mutex);
	ck_assert_str_eq(server.paths, paths);
	(void)pthread_mutex_unlock(&server.mutex);
}

static bool none_left_open(void)
{
	return rig_no_call_left() && rig_query("SELECT count(*) FROM unsettled") == 0;
}

static void expect_settled(uint64_t intent, const char *how)
{
	char sql[128];

	(void)snprintf(sql, sizeof(sql), "settlements WHERE intent = %llu AND how",
		       (unsigned long long)intent);
	ck_assert_msg(rig_holds(sql, how), "intent %llu is not %s", (unsigned long long)intent,
		      how);
}

START_TEST(j3_an_unused_guess_is_undone)
{
	struct tool_call *call = guess_done("{\"n\":1}");
	char key[64];

	(void)snprintf(key, sizeof(key), "%s", server.key);
	tool_settle(call, JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths("/order /undo/1 ");
	ck_assert_str_eq(server.body, "{\"n\": 1}");
	ck_assert_str_ne(server.key, key); /* its own, or a server would answer for the call */
	expect_settled(1, "undone");
	expect_settled(2, "used");
	ck_assert(rig_holds("decisions WHERE intent = 1 AND what", "abandoned"));
	ck_assert_int_eq(rig_query("SELECT undoes FROM intents WHERE intent = 2"), 1);
	ck_assert_int_eq(bc_metric_get(BC_M_UNDOS_DONE), 1);
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_UNDOS_OPEN), 0);
}
END_TEST

START_TEST(j3_a_committed_guess_stands)
{
	struct tool_call *call = guess("{\"n\":1}");

	/* Before the ticket, or after the result. */
	if (_i == 0) {
		tool_commit(call);
	}
	rig_wait_done(1);
	tool_commit(call);
	tool_settle(call, JRN_UNUSED);
	rig_restart();
	tool_host_adopt(world.host, &world.cfg);
	rig_wait_until(none_left_open);
	expect_paths("/order ");
	ck_assert(rig_holds("decisions WHERE intent = 1 AND what", "committed"));
}
END_TEST

START_TEST(j3_undos_run_in_reverse_order)
{
	struct tool_call *calls[3];
	char arguments[16];

	rig_undo_at("/undo/{args.n}");
	for (unsigned i = 0; i < 3; i++) {
		(void)snprintf(arguments, sizeof(arguments), "{\"n\":%u}", i);
		calls[i] = guess_done(arguments);
	}
	/* The order of dropping is not the order of undoing. */
	tool_settle(calls[1], JRN_UNUSED);
	tool_settle(calls[0], JRN_UNUSED);
	tool_settle(calls[2], JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths("/order /order /order /undo/2 /undo/1 /undo/0 ");
	ck_assert_int_eq(rig_query("SELECT count(*) FROM settlements WHERE how = 'undone'"), 3);
}
END_TEST

static bool requests_came(void)
{
	return rig_requests_seen() >= 1;
}

START_TEST(j3_one_in_flight_is_awaited_then_undone)
{
	struct tool_call *call;

	rig_serve_at("/hold/order");
	call = guess("{\"n\":1}");
	rig_wait_until(requests_came);
	tool_cancel(call);
	ck_assert_uint_eq(tool_host_count(world.host), 1);
	rig_release_server();
	rig_wait_until(none_left_open);
	expect_paths("/hold/order /undo/1 ");
	ck_assert_uint_eq(world.done, 0);
	expect_settled(1, "undone");
	ck_assert_int_eq(rig_query("SELECT count(*) FROM results WHERE intent = 1"), 1); /* J2 */
}
END_TEST

START_TEST(j3_a_failed_undo_is_tried_again)
{
	rig_undo_at("/flaky");
	server.fail_first = 3; /* the call itself is one of them */
	server.fail_status = 503;
	tool_settle(guess_done("{\"n\":1}"), JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths("/order /flaky /flaky /flaky ");
	expect_settled(1, "undone");
	ck_assert_uint_eq(server.other_keys, 2); /* J6: the call's, and one for all attempts */
	ck_assert_int_eq(bc_metric_get(BC_M_UNDO_FAILURES), 2);
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents WHERE effect = 'undo'"), 1);
}
END_TEST

START_TEST(j3_an_undo_that_keeps_failing_is_parked)
{
	rig_undo_at("/status/409");
	tool_settle(guess_done("{\"n\":1}"), JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths("/order /status/409 /status/409 /status/409 /status/409 ");
	expect_settled(1, "parked");
	expect_settled(2, "failed");
	ck_assert_int_eq(bc_metric_get(BC_M_UNDOS_PARKED), 1);
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_PARKED), 1);
	/* Parked is not unfinished: the next caller is served. */
	ck_assert_int_eq(guess_done("{\"n\":2}") != NULL, 1);
}
END_TEST

START_TEST(j7_an_undo_of_unknown_outcome_is_not_repeated)
{
	world.tool.idempotency = CFG_IDEMPOTENCY_NONE;
	rig_undo_at("/drop");
	tool_settle(guess_done("{\"n\":1}"), JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths("/order /drop ");
	expect_settled(1, "parked");
	expect_settled(2, "in_doubt");
}
END_TEST

START_TEST(j3_what_is_gone_is_undone)
{
	world.tool.idempotency = CFG_IDEMPOTENCY_NATURAL;
	rig_undo_at("/status/503");
	tool_settle(guess_done("{\"n\":1}"), JRN_UNUSED);
	while (rig_requests_seen() < 2) {
		rig_wait_until(requests_came);
	}
	rig_undo_at("/status/404");
	rig_wait_until(none_left_open);
	expect_settled(1, "undone");
}
END_TEST

START_TEST(j3_a_call_with_its_tag_waits_for_the_undo)
{
	struct tool_call *call = guess_done("{\"n\":1}");

	rig_undo_at("/hold/undo");
	tool_settle(call, JRN_UNUSED);
	call = start("{\"n\":2}", false, NULL);
	while (rig_requests_seen() < 2) {
		rig_wait_until(requests_came);
	}
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents WHERE effect = 'reversible'"), 1);
	rig_release_server();
	rig_wait_done(2);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	tool_settle(call, JRN_USED);
	rig_wait_until(none_left_open);
	expect_paths("/order /hold/undo /order ");
}
END_TEST

START_TEST(j3_it_is_told_when_the_wait_is_over)
{
	struct tool_call *call = guess_done("{\"n\":1}");

	world.common.undo_wait = 0;
	rig_undo_at("/hold/undo");
	tool_settle(call, JRN_UNUSED);
	call = start("{\"n\":2}", false, NULL);
	rig_wait_done(2);
	ck_assert_int_eq(world.outcome, TOOL_UNDOING);
	ck_assert_str_eq(rig_error_type(), "undoing, retryable");
	tool_settle(call, JRN_USED);
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents WHERE effect = 'reversible'"), 1);
	/* Another tag is not concerned; a waiting one can be cancelled. */
	world.common.undo_wait = 20 * BC_USEC_PER_SEC;
	tool_cancel(start("{\"n\":3}", false, NULL));
	rig_release_server();
	rig_wait_until(none_left_open);
	expect_paths("/order /hold/undo ");
}
END_TEST

START_TEST(j3_a_followed_effect_is_parked)
{
	struct tool_call *wrong = guess_done("{\"n\":1}");
	struct tool_call *asked;

	asked = start("{\"n\":2}", false, NULL);
	rig_wait_done(2);
	tool_settle(asked, JRN_USED);
	tool_settle(wrong, JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths("/order /order ");
	expect_settled(1, "parked");
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents WHERE effect = 'undo'"), 0);
}
END_TEST

START_TEST(j5_the_gate_is_asked_with_the_ticket)
{
	struct tool_call *call;

	may = _i == 1;
	call = start("{\"n\":1}", true, is_permitted);
	rig_wait_done(1);
	ck_assert_int_eq(world.outcome, may ? TOOL_OK : TOOL_CANCELLED);
	tool_settle(call, JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths(may ? "/order /undo/1 " : "");
	expect_settled(1, may ? "undone" : "never_started");
}
END_TEST

/* ---- crashes: the same end by the same steps ---- */

START_TEST(j4_recovery_is_the_same_path)
{
	(void)guess_done("{\"n\":1}");
	rig_restart();
	ck_assert_uint_eq(world.opens, 1);
	expect_paths("/order ");
	tool_host_adopt(world.host, &world.cfg);
	rig_wait_until(none_left_open);
	expect_paths("/order /undo/1 ");
	expect_settled(1, "undone");
	expect_settled(2, "used");
	ck_assert(rig_holds("decisions WHERE intent = 1 AND what", "abandoned"));
}
END_TEST

START_TEST(j4_a_crash_during_the_undo_repeats_it_with_its_key)
{
	char key[64];

	rig_undo_at("/hold/undo");
	tool_settle(guess_done("{\"n\":1}"), JRN_UNUSED);
	while (rig_requests_seen() < 2) {
		rig_wait_until(requests_came);
	}
	(void)snprintf(key, sizeof(key), "%s", server.key);
	rig_restart();
	rig_release_server();
	tool_host_adopt(world.host, &world.cfg);
	rig_wait_until(none_left_open);
	expect_paths("/order /hold/undo /hold/undo ");
	ck_assert_str_eq(server.key, key);
	expect_settled(1, "undone");
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents"), 2);
}
END_TEST

START_TEST(j4_a_lost_reply_is_found_by_the_same_request)
{
	char key[64];

	rig_serve_at("/hold/order");
	(void)guess("{\"n\":1}");
	rig_wait_until(requests_came);
	(void)snprintf(key, sizeof(key), "%s", server.key);
	rig_restart();
	rig_release_server();
	tool_host_adopt(world.host, &world.cfg);
	rig_wait_until(none_left_open);
	expect_paths("/hold/order /hold/order /undo/1 ");
	ck_assert_uint_eq(server.other_keys, 2); /* one for both, one for the undo */
	expect_settled(1, "undone");
	ck_assert_int_eq(rig_query("SELECT count(*) FROM results WHERE intent = 1"), 1);
}
END_TEST

START_TEST(j4_a_lost_reply_is_found_by_status)
{
	world.tool.idempotency = CFG_IDEMPOTENCY_NONE;
	rig_serve_at("/hold/order");
	rig_ask_at("/tell/{idempotency_key}");
	server.tell = _i == 0 ? "{\"state\":\"not_done\"}"
			      : "{\"state\":\"done\",\"result\":{\"a\":[7]}}";
	(void)guess("{\"n\":1}");
	rig_wait_until(requests_came);
	rig_restart();
	rig_release_server();
	tool_host_adopt(world.host, &world.cfg);
	rig_wait_until(none_left_open);
	expect_paths(_i == 0 ? "/hold/order " : "/hold/order /undo/7 ");
	expect_settled(1, _i == 0 ? "failed" : "undone");
	ck_assert_uint_eq(world.resolved, 1);
}
END_TEST

static void crash_in_flight(void)
{
	world.tool.idempotency = CFG_IDEMPOTENCY_NONE;
	rig_serve_at("/hold/order");
	(void)guess("{\"n\":1}");
	rig_wait_until(requests_came);
	rig_restart();
	rig_release_server();
	rig_serve_at("/order");
}

static void on_answer(void *arg, enum bc_err err)
{
	enum bc_err *answer = arg;

	*answer = err;
	loop_stop(world.loop);
}

static enum bc_err resolve(uint64_t intent, enum jrn_settlement how)
{
	enum bc_err answer = BC_ERR__COUNT;

	tool_host_resolve(world.host, intent, how, on_answer, &answer);
	while (answer == BC_ERR__COUNT) {
		loop_run(world.loop);
	}
	return answer;
}

static enum bc_err retry(uint64_t intent)
{
	enum bc_err answer = BC_ERR__COUNT;

	tool_host_retry(world.host, &world.cfg, intent, on_answer, &answer);
	while (answer == BC_ERR__COUNT) {
		loop_run(world.loop);
	}
	return answer;
}

START_TEST(j7_what_nobody_can_tell_stays_in_doubt_until_resolved)
{
	struct tool_call *call;

	crash_in_flight();
	tool_host_adopt(world.host, &world.cfg);
	rig_wait_until(none_left_open);
	expect_settled(1, "in_doubt");
	/* The caller comes back as another session, and even after another restart. */
	rig_restart();
	world.session = "bc_s_again";
	call = start("{\"n\":1}", false, NULL);
	rig_wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_IN_DOUBT);
	tool_settle(call, JRN_USED);
	expect_paths("/hold/order ");
	call = start("{\"n\":2}", false, NULL);
	rig_wait_done(2);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	tool_settle(call, JRN_USED);

	ck_assert_int_eq(resolve(1, JRN_NEVER_STARTED), BC_OK);
	ck_assert_int_eq(resolve(1, JRN_NEVER_STARTED), BC_E_NOTFOUND);
	ck_assert_uint_eq(world.resolved, 1);
	call = start("{\"n\":1}", false, NULL);
	rig_wait_done(3);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	tool_settle(call, JRN_USED);
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_IN_DOUBT), 0);
}
END_TEST

START_TEST(j3_the_operator_takes_a_parked_undo_up_again)
{
	rig_undo_at("/status/409");
	tool_settle(guess_done("{\"n\":1}"), JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_settled(1, "parked");
	rig_restart();
	rig_undo_at("/undo/{result.a[0]}");
	ck_assert_int_eq(retry(77), BC_E_NOTFOUND);
	ck_assert_int_eq(retry(1), BC_OK);
	rig_wait_until(none_left_open);
	ck_assert(rig_holds("resolutions WHERE intent = 1 AND how", "undone"));
	ck_assert_int_eq(retry(1), BC_E_NOTFOUND);
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_PARKED), 0);
}
END_TEST

/* ---- what cannot be taken back is not sent to find out ---- */

/* A guess whose answer is lost; from now on all goes to /order. */
static struct tool_call *guess_lost(void)
{
	unsigned done = world.done;
	struct tool_call *call;

	world.tool.attempts_max = 1;
	rig_serve_at("/drop");
	call = guess("{\"n\":1}");
	rig_wait_done(done + 1);
	ck_assert_int_eq(world.outcome, TOOL_LOST);
	rig_serve_at("/order");
	return call;
}

static void follow(void)
{
	unsigned done = world.done;
	struct tool_call *call = start("{\"n\":2}", false, NULL);

	rig_wait_done(done + 1);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	tool_settle(call, JRN_USED);
}

START_TEST(j4_what_was_followed_is_not_sent_again)
{
	struct tool_call *call = guess_lost();

	follow();
	tool_settle(call, JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths("/drop /order ");
	expect_settled(1, "in_doubt");
	/* Nor by the operator's hand. */
	ck_assert_int_eq(retry(1), BC_OK);
	rig_wait_until(rig_no_call_left);
	expect_paths("/drop /order ");
}
END_TEST

/* An abandoned guess, or a call that stands: the server would carry out now what belongs before the other. */
START_TEST(j4_what_was_followed_is_not_sent_again_after_a_crash)
{
	rig_serve_at("/hold/order");
	(void)start("{\"n\":1}", _i == 0, NULL);
	rig_wait_until(requests_came);
	rig_serve_at("/order");
	follow();
	rig_restart();
	rig_release_server();
	tool_host_adopt(world.host, &world.cfg);
	rig_wait_until(none_left_open);
	expect_paths("/hold/order /order ");
	expect_settled(1, "in_doubt");
}
END_TEST

/* To ask does no harm, and what is found is as with a result that was never lost. */
START_TEST(j4_what_was_followed_is_asked_for)
{
	static const struct {
		const char *tell;
		const char *settled;
	} cases[] = {{"{\"state\":\"done\",\"result\":{}}", "parked"},
		     {"{\"state\":\"not_done\"}", "failed"},
		     {"{\"state\":\"unknown\"}", "in_doubt"}};
	struct tool_call *call = guess_lost();

	rig_ask_at("/tell/{idempotency_key}");
	server.tell = cases[_i].tell;
	follow();
	tool_settle(call, JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths("/drop /order ");
	expect_settled(1, cases[_i].settled);
	ck_assert_uint_eq(server.questions, _i == 2 ? world.common.undo_attempts_max : 1);
}
END_TEST

START_TEST(j4_it_is_sent_again_when_its_turn_has_come)
{
	struct tool_call *call = guess_lost();
	struct tool_call *later = NULL;

	later = guess_done("{\"n\":2}");
	tool_settle(call, JRN_UNUSED);
	if (_i == 0) {
		/* The newer one is taken back first. */
		rig_undo_at("/undo/{args.n}");
		tool_settle(later, JRN_UNUSED);
	} else {
		tool_commit(later);
		tool_settle(later, JRN_USED);
	}
	rig_wait_until(none_left_open);
	expect_paths(_i == 0 ? "/drop /order /undo/2 /order /undo/1 " : "/drop /order ");
	expect_settled(1, _i == 0 ? "undone" : "in_doubt");
}
END_TEST

START_TEST(j4_what_no_undo_can_be_made_of_is_not_sent_again)
{
	struct tool_call *call = guess_lost();

	/* The result is not known yet, and may be anything. */
	rig_undo_at(_i == 0 ? "/undo/{args.gone}" : "/undo/{result.a[0]}");
	tool_settle(call, JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths(_i == 0 ? "/drop " : "/drop /order /undo/1 ");
	expect_settled(1, _i == 0 ? "in_doubt" : "undone");
}
END_TEST

START_TEST(j3_an_undo_that_is_too_long_is_parked)
{
	static char arguments[20000];
	static char body[1024] = "[1";
	struct tool_call *call;

	(void)snprintf(arguments, sizeof(arguments), "{\"n\":1,\"x\":\"%0*d\"}", 17000, 0);
	for (size_t at = 2; at < 700; at += 9) {
		(void)snprintf(body + at, sizeof(body) - at, ",{args.x}]");
	}
	world.tool.undo.body = body;
	call = guess_done(arguments);
	tool_settle(call, JRN_UNUSED);
	rig_wait_until(none_left_open);
	expect_paths("/order ");
	expect_settled(1, "parked");
}
END_TEST

/* ---- secrets ---- */

static bool file_holds(const char *text)
{
	static const char *const suffixes[] = {"", "-wal"};
	bool found = false;

	for (unsigned i = 0; i < BC_ARRAY_LEN(suffixes); i++) {
		char path[128];
		char *bytes = NULL;
		size_t len = 0;
		FILE *file;
		FILE *copy = open_memstream(&bytes, &len);

		(void)snprintf(path, sizeof(path), "%s%s", world.path, suffixes[i]);
		file = fopen(path, "rb");
		for (int c = file == NULL ? EOF : fgetc(file); c != EOF; c = fgetc(file)) {
			(void)fputc(c, copy);
		}
		(void)fclose(copy);
		found = found || memmem(bytes, len, text, strlen(text)) != NULL;
		free(bytes);
		if (file != NULL) {
			(void)fclose(file);
		}
	}
	return found;
}

/* J9: in no byte of the journal, and still there for an undo after a crash, for who has the key. */
START_TEST(j9_secret_arguments_are_sealed)
{
	static const char *const names[] = {"pin"};
	const struct bc_seal_key key =
		bc_seal_key_of(BC_SPAN_LIT("a key of 32 characters or more.."));
	const struct bc_seal_key other = bc_seal_key_of(BC_SPAN_LIT("another"));
	bool has_key = _i != 1;

	world.tool.secret_arguments = (struct cfg_strings){.items = names, .count = 1};
	rig_serve_at("/echo"); /* confirms what it was told */
	rig_undo_at("/undo");
	world.tool.undo.body = "{\"pin\": {args.pin}, \"was\": {result.pin}}";
	if (has_key) {
		ck_assert_int_eq(tool_host_seal(world.host, &key), BC_OK);
	}
	(void)guess_done("{\"n\":1,\"pin\":\"hush4711\"}");
	ck_assert(!file_holds("hush4711"));
	ck_assert(file_holds("[secret]"));
	rig_restart();
	if (has_key) {
		ck_assert_int_eq(tool_host_seal(world.host, _i == 0 ? &key : &other), BC_OK);
	}
	tool_host_adopt(world.host, &world.cfg);
	rig_wait_until(none_left_open);
	expect_settled(1, _i == 0 ? "undone" : "parked");
	expect_paths(_i == 0 ? "/echo /undo " : "/echo ");
	if (_i == 0) {
		ck_assert_str_eq(server.body, "{\"pin\": \"hush4711\", \"was\": \"hush4711\"}");
	}
	rig_close_journal();
	ck_assert(!file_holds("hush4711"));
}
END_TEST

START_TEST(sealed_text_is_bound_to_key_and_use)
{
	const struct bc_seal_key key = bc_seal_key_of(BC_SPAN_LIT("one"));
	const struct bc_seal_key other = bc_seal_key_of(BC_SPAN_LIT("two"));
	struct bc_buf sealed;
	struct bc_buf open;
	char bytes[64];

	bc_buf_init(&sealed, 1000);
	bc_buf_init(&open, 1000);
	ck_assert_int_eq(bc_seal(&key, BC_SPAN_LIT("a"), BC_SPAN_LIT("text"), &sealed), BC_OK);
	ck_assert_uint_eq(bc_buf_len(&sealed), 4 + BC_SEAL_OVERHEAD);
	ck_assert_int_eq(bc_seal_open(&other, BC_SPAN_LIT("a"), bc_buf_span(&sealed), &open),
			 BC_E_INVALID);
	ck_assert_int_eq(bc_seal_open(&key, BC_SPAN_LIT("b"), bc_buf_span(&sealed), &open),
			 BC_E_INVALID);
	for (size_t i = 0; i < bc_buf_len(&sealed); i++) {
		memcpy(bytes, bc_buf_span(&sealed).ptr, bc_buf_len(&sealed));
		bytes[i] ^= 1;
		ck_assert_int_eq(bc_seal_open(&key, BC_SPAN_LIT("a"),
					      bc_span(bytes, bc_buf_len(&sealed)), &open),
				 BC_E_INVALID);
		ck_assert_int_eq(bc_seal_open(&key, BC_SPAN_LIT("a"), bc_span(bytes, i), &open),
				 BC_E_INVALID);
	}
	ck_assert_uint_eq(bc_buf_len(&open), 0);
	ck_assert_int_eq(bc_seal_open(&key, BC_SPAN_LIT("a"), bc_buf_span(&sealed), &open), BC_OK);
	ck_assert(bc_span_is(bc_buf_span(&open), "text"));
	bc_buf_release(&sealed);
	bc_buf_release(&open);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rollback");
	TCase *tc = tcase_create("rollback");

	tcase_add_checked_fixture(tc, setup, rig_teardown);
	tcase_set_timeout(tc, 55);
	tcase_add_test(tc, j3_an_unused_guess_is_undone);
	tcase_add_loop_test(tc, j3_a_committed_guess_stands, 0, 2);
	tcase_add_test(tc, j3_undos_run_in_reverse_order);
	tcase_add_test(tc, j3_one_in_flight_is_awaited_then_undone);
	tcase_add_test(tc, j3_a_failed_undo_is_tried_again);
	tcase_add_test(tc, j3_an_undo_that_keeps_failing_is_parked);
	tcase_add_test(tc, j7_an_undo_of_unknown_outcome_is_not_repeated);
	tcase_add_test(tc, j3_what_is_gone_is_undone);
	tcase_add_test(tc, j3_a_call_with_its_tag_waits_for_the_undo);
	tcase_add_test(tc, j3_it_is_told_when_the_wait_is_over);
	tcase_add_test(tc, j3_a_followed_effect_is_parked);
	tcase_add_loop_test(tc, j5_the_gate_is_asked_with_the_ticket, 0, 2);
	tcase_add_test(tc, j4_recovery_is_the_same_path);
	tcase_add_test(tc, j4_a_crash_during_the_undo_repeats_it_with_its_key);
	tcase_add_test(tc, j4_a_lost_reply_is_found_by_the_same_request);
	tcase_add_loop_test(tc, j4_a_lost_reply_is_found_by_status, 0, 2);
	tcase_add_test(tc, j7_what_nobody_can_tell_stays_in_doubt_until_resolved);
	tcase_add_test(tc, j3_the_operator_takes_a_parked_undo_up_again);
	tcase_add_test(tc, j4_what_was_followed_is_not_sent_again);
	tcase_add_loop_test(tc, j4_what_was_followed_is_not_sent_again_after_a_crash, 0, 2);
	tcase_add_loop_test(tc, j4_what_was_followed_is_asked_for, 0, 3);
	tcase_add_loop_test(tc, j4_it_is_sent_again_when_its_turn_has_come, 0, 2);
	tcase_add_loop_test(tc, j4_what_no_undo_can_be_made_of_is_not_sent_again, 0, 2);
	tcase_add_test(tc, j3_an_undo_that_is_too_long_is_parked);
	tcase_add_loop_test(tc, j9_secret_arguments_are_sealed, 0, 3);
	tcase_add_test(tc, sealed_text_is_bound_to_key_and_use);
	suite_add_tcase(suite, tc);
	return tap_run(suite);
}
