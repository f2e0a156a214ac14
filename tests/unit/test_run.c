/*
 * Calls from intent to settlement, over the real journal, the real HTTP client and a small tool server.
 *
 * The server looks into the journal's file while it handles a request, so "recorded before" is what an outsider sees.
 */
#include "daemon/base/metric.h"
#include "daemon/tools/call.h"
#include "daemon/tools/host.h"
#include "tests/unit/run_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(a_read_gives_its_result_compactly)
{
	int64_t calls = bc_metric_get(BC_M_TOOL_CALLS);

	rig_run_through(CFG_EFFECT_READ, "/ok", "used");
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert_int_eq(world.status, 200);
	ck_assert_str_eq(world.output, "{\"a\":[1,2.50],\"t\":\"x \\\" y\"}");
	ck_assert_str_eq(server.body, "{\"n\":1}");
	ck_assert_str_eq(server.type, "application/json");
	ck_assert_int_eq(strncmp(server.agent, "backchannel/", 12), 0);
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_CALLS) - calls, 1);
	ck_assert(rig_holds("intents WHERE tags", "127.0.0.1"));
	ck_assert(rig_holds("intents WHERE arguments", "{\"n\":1}"));
	ck_assert(rig_holds("results WHERE output", world.output));
	ck_assert(rig_holds("intents WHERE key", server.key));
}
END_TEST

START_TEST(j1_an_effect_is_on_disk_before_it_leaves)
{
	rig_run_through(CFG_EFFECT_HOLD, "/ok", "used");
	ck_assert_int_eq(server.intents, 1);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert(rig_holds("intents WHERE key", server.key));
}
END_TEST

START_TEST(j2_an_effects_result_is_on_disk_before_it_is_seen)
{
	rig_run_through(CFG_EFFECT_REVERSIBLE, "/ok", "used");
	ck_assert_int_eq(world.results, 1);
}
END_TEST

/* A call that has not asked the journal for anything yet. */
static struct tool_call *bare_call(void)
{
	struct tool_request request = rig_request_of("{}");
	struct tool_call *call = tool_call_new(world.host, &world.common, &request);

	ck_assert_ptr_nonnull(call);
	rig_serve_at("/ok");
	return call;
}

/* Start an effect with a ticket in a process of its own; what it says before it dies. */
static void start_elsewhere(const struct jrn_ticket *ticket, char *said, size_t size)
{
	struct bc_buf message;
	struct tool_call *call;
	int status;
	int pipes[2];
	ssize_t len;
	pid_t pid;

	world.tool.effect = CFG_EFFECT_HOLD;
	call = bare_call();
	ck_assert_int_eq(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		(void)dup2(pipes[1], STDERR_FILENO);
		bc_buf_init(&message, 256);
		_exit((int)tool_start(call, ticket, &message));
	}
	(void)close(pipes[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	len = read(pipes[0], said, size - 1);
	(void)close(pipes[0]);
	said[len > 0 ? len : 0] = '\0';
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGABRT);
	ck_assert_uint_eq(rig_requests_seen(), 0);
}

START_TEST(j1_a_ticket_for_a_read_starts_no_effect)
{
	struct jrn_intent intent = {.session = BC_SPAN_LIT("s"),
				    .tool = BC_SPAN_LIT("order"),
				    .arguments = BC_SPAN_LIT("{}"),
				    .tags = BC_SPAN_LIT(""),
				    .effect = JRN_READ};
	struct jrn_ticket ticket;
	char said[512];

	ck_assert_int_eq(jrn_intend(world.port, &intent, &ticket, NULL, NULL), BC_OK);
	start_elsewhere(&ticket, said, sizeof(said));
	ck_assert_msg(strstr(said, "jrn_ticket_permits") != NULL, "%s", said);
	jrn_settle(world.port, &ticket, JRN_NEVER_STARTED, 1);
}
END_TEST

START_TEST(j1_a_ticket_nobody_issued_starts_nothing)
{
	struct jrn_ticket ticket = {
		.intent = 1, .effect = JRN_HOLD, .strength = JRN_DURABLE, .key = "k", .seal = 1};
	char said[512];

	start_elsewhere(&ticket, said, sizeof(said));
	ck_assert_msg(strstr(said, "jrn_ticket_permits") != NULL, "%s", said);
}
END_TEST

static const struct {
	enum cfg_effect effect;
	const char *path;
	enum tool_outcome outcome;
	const char *type; /* and whether the model may try again */
	const char *settlement;
	int64_t results; /* recorded */
} error_cases[] = {
	{CFG_EFFECT_READ, "/status/404", TOOL_HTTP_ERROR, "http_error", "failed", 1},
	{CFG_EFFECT_READ, "/status/429", TOOL_HTTP_ERROR, "http_error, retryable", "failed", 1},
	{CFG_EFFECT_READ, "/status/503", TOOL_HTTP_ERROR, "http_error, retryable", "failed", 1},
	{CFG_EFFECT_READ, "/status/302", TOOL_HTTP_ERROR, "http_error", "failed", 1},
	{CFG_EFFECT_HOLD, "/status/409", TOOL_HTTP_ERROR, "http_error", "failed", 1},
	{CFG_EFFECT_HOLD, "/status/503", TOOL_HTTP_ERROR, "http_error", "in_doubt", 0},
	{CFG_EFFECT_HOLD, "/status/303", TOOL_HTTP_ERROR, "http_error", "in_doubt", 0},
	{CFG_EFFECT_READ, "/drop", TOOL_LOST, "lost, retryable", "failed", 1},
	{CFG_EFFECT_HOLD, "/drop", TOOL_LOST, "lost", "in_doubt", 0},
	{CFG_EFFECT_READ, "/words", TOOL_BAD_RESULT, "bad_result", "failed", 1},
	{CFG_EFFECT_HOLD, "/words", TOOL_BAD_RESULT, "bad_result", "used", 1},
};

START_TEST(errors_say_what_happened)
{
	rig_run_through(error_cases[_i].effect, error_cases[_i].path, error_cases[_i].settlement);
	ck_assert_int_eq(world.outcome, error_cases[_i].outcome);
	ck_assert_str_eq(rig_error_type(), error_cases[_i].type);
	ck_assert_int_eq(rig_query("SELECT count(*) FROM results"), error_cases[_i].results);
	ck_assert_int_eq(server.requests, 1);
	ck_assert_int_eq(strstr(world.output, "do not repeat") != NULL,
			 strcmp(error_cases[_i].settlement, "in_doubt") == 0 ||
				 strcmp(error_cases[_i].settlement, "used") == 0);
	ck_assert_int_eq(strstr(world.output, "sold out") != NULL,
			 strncmp(error_cases[_i].path, "/status/", 8) == 0);
}
END_TEST

START_TEST(a_deadline_on_a_read_is_a_failure)
{
	world.tool.timeout = 50 * BC_USEC_PER_MS;
	rig_run_through(CFG_EFFECT_READ, "/hold", "failed");
	ck_assert_int_eq(world.outcome, TOOL_TIMEOUT);
	ck_assert_str_eq(rig_error_type(), "timeout, retryable");
}
END_TEST

START_TEST(j7_a_deadline_on_an_effect_is_in_doubt)
{
	world.tool.timeout = 500 * BC_USEC_PER_MS;
	rig_run_through(CFG_EFFECT_HOLD, "/hold", "in_doubt");
	ck_assert_int_eq(world.outcome, TOOL_TIMEOUT);
	ck_assert_str_eq(rig_error_type(), "timeout");
	ck_assert_ptr_nonnull(strstr(world.output, "outcome unknown, do not repeat"));
}
END_TEST

START_TEST(a_server_that_is_not_there_did_nothing)
{
	struct tool_call *call;

	world.tool.effect = CFG_EFFECT_HOLD;
	(void)snprintf(world.url, sizeof(world.url), "http://127.0.0.1:1/");
	call = rig_run("{}");
	rig_wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_UNREACHABLE);
	ck_assert_str_eq(rig_error_type(), "unreachable, retryable");
	tool_settle(call, JRN_USED);
	rig_close_journal();
	ck_assert(rig_holds("settlements WHERE how", "failed"));
}
END_TEST

START_TEST(a_long_result_is_not_shown)
{
	world.tool.response_max = 16;
	rig_run_through(_i == 0 ? CFG_EFFECT_READ : CFG_EFFECT_HOLD, "/ok",
			_i == 0 ? "failed" : "used");
	ck_assert_int_eq(world.outcome, TOOL_BAD_RESULT);
	ck_assert_str_eq(rig_error_type(), "too_big");
}
END_TEST

START_TEST(text_is_passed_on_as_it_is)
{
	world.tool.result = CFG_RESULT_TEXT;
	rig_run_through(CFG_EFFECT_READ, "/words", "used");
	ck_assert_str_eq(world.output, "no json");
}
END_TEST

START_TEST(text_that_is_not_utf8_is_refused)
{
	world.tool.result = CFG_RESULT_TEXT;
	rig_run_through(CFG_EFFECT_READ, "/bytes", "failed");
	ck_assert_int_eq(world.outcome, TOOL_BAD_RESULT);
}
END_TEST

START_TEST(an_answer_without_content_is_null)
{
	rig_run_through(CFG_EFFECT_HOLD, "/status/204", "used");
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert_str_eq(world.output, "null");
}
END_TEST

START_TEST(too_many_calls_are_refused_and_slots_come_back)
{
	struct tool_call *first;
	struct tool_call *second;
	struct tool_call *third;
	int64_t busy = bc_metric_get(BC_M_TOOL_BUSY);

	world.tool.concurrency_max = 1;
	rig_serve_at("/hold");
	first = rig_run("{}");
	second = rig_run("{}");
	rig_wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_BUSY);
	ck_assert_str_eq(rig_error_type(), "busy, retryable");
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_BUSY) - busy, 1);
	ck_assert_ptr_null(tool_result(first));
	tool_settle(second, JRN_UNUSED);
	rig_release_server();
	rig_wait_done(2);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	third = rig_run("{}");
	rig_wait_done(3);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	tool_settle(first, JRN_USED);
	tool_settle(third, JRN_USED);
	rig_close_journal();
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents"), 2);
	ck_assert_int_eq(rig_query("SELECT count(*) FROM settlements WHERE how = 'used'"), 2);
}
END_TEST

START_TEST(what_cannot_be_recorded_is_not_sent)
{
	struct tool_call *first;
	struct tool_call *second;

	rig_close_journal();
	rig_open_journal(1);
	world.host = tool_host_new(world.loop, world.http, world.port);
	world.tool.effect = CFG_EFFECT_HOLD;
	rig_serve_at("/hold");
	first = rig_run("{}");
	second = rig_run("{}");
	rig_wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_NOT_RECORDED);
	ck_assert_str_eq(rig_error_type(), "not_recorded");
	tool_settle(second, JRN_USED);
	rig_release_server();
	rig_wait_done(2);
	tool_settle(first, JRN_USED);
	ck_assert_uint_eq(rig_requests_seen(), 1);
}
END_TEST

START_TEST(arguments_that_make_no_request_are_not_sent)
{
	struct cfg_header header = {.name = "X-Note", .value = "{note}"};
	struct tool_call *call;

	world.tool.effect = _i == 0 ? CFG_EFFECT_READ : CFG_EFFECT_HOLD;
	world.tool.request.headers = &header;
	world.tool.request.header_count = 1;
	rig_serve_at("/ok");
	call = rig_run("{\"note\":\"a\\r\\nX-Evil: 1\"}");
	rig_wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_UNREACHABLE);
	ck_assert_str_eq(rig_error_type(), "invalid_arguments");
	ck_assert_ptr_nonnull(strstr(world.output, "note: must not hold control characters"));
	tool_settle(call, JRN_USED);
	rig_close_journal();
	ck_assert(rig_holds("settlements WHERE how", "never_started"));
	ck_assert_uint_eq(rig_requests_seen(), 0);
}
END_TEST

START_TEST(cancelling_an_effect_that_has_not_left_keeps_it_here)
{
	world.tool.effect = CFG_EFFECT_HOLD;
	rig_serve_at("/ok");
	tool_cancel(rig_run("{}"));
	ck_assert_uint_eq(tool_host_count(world.host), 1);
	rig_wait_until(rig_no_call_left);
	rig_close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert_uint_eq(rig_requests_seen(), 0);
	ck_assert(rig_holds("settlements WHERE how", "never_started"));
}
END_TEST

START_TEST(cancelling_a_read_cuts_it_off)
{
	struct tool_call *call;

	rig_serve_at("/hold");
	call = rig_run("{}");
	rig_wait_until(rig_one_request_seen);
	tool_cancel(call);
	ck_assert_uint_eq(tool_host_count(world.host), 0);
	rig_close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert(rig_holds("settlements WHERE how", "unused"));
	ck_assert_int_eq(bc_metric_get(BC_M_TOOLS_IN_FLIGHT), 0);
}
END_TEST

START_TEST(j3_cancelling_an_effect_that_has_left_awaits_its_record)
{
	struct tool_call *call;

	world.tool.effect = CFG_EFFECT_HOLD;
	rig_serve_at("/hold");
	call = rig_run("{}");
	rig_wait_until(rig_one_request_seen);
	tool_cancel(call);
	ck_assert_uint_eq(tool_host_count(world.host), 1);
	rig_release_server();
	rig_wait_until(rig_no_call_left);
	rig_close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert_int_eq(rig_query("SELECT status FROM results"), 200);
	ck_assert(rig_holds("settlements WHERE how", "used"));
}
END_TEST

START_TEST(cancelling_before_and_after_the_report)
{
	struct tool_call *call;

	rig_serve_at("/ok");
	call = rig_run("{}");
	rig_wait_done(1);
	tool_cancel(call);
	world.tool.concurrency_max = 0;
	call = rig_run("{}");
	tool_cancel(call);
	ck_assert_uint_eq(tool_host_count(world.host), 0);
	rig_close_journal();
	ck_assert_uint_eq(world.done, 1);
	ck_assert(rig_holds("settlements WHERE how", "unused"));
}
END_TEST

/* Whether any file of the journal holds these bytes. */
static bool on_disk(const char *text)
{
	DIR *dir = opendir(world.dir);
	const struct dirent *entry;
	bool found = false;
	static char bytes[1 << 20];

	while ((entry = readdir(dir)) != NULL) {
		char path[512];
		FILE *file;

		(void)snprintf(path, sizeof(path), "%s/%s", world.dir, entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
		if (file != NULL) {
			size_t len = fread(bytes, 1, sizeof(bytes), file);

			found = found || memmem(bytes, len, text, strlen(text)) != NULL;
			(void)fclose(file);
		}
	}
	(void)closedir(dir);
	return found;
}

START_TEST(j9_a_secret_reaches_the_server_and_never_the_disk)
{
	static const char *const secrets[] = {"card", "pin"};
	struct tool_call *call;

	world.tool.effect = CFG_EFFECT_HOLD;
	world.tool.secret_arguments = (struct cfg_strings){.items = secrets, .count = 2};
	rig_serve_at("/echo");
	call = rig_run("{\"card\":\"p~q|\\\"|q~p\",\"name\":\"plain-name\",\"pin\":736251}");
	rig_wait_done(1);
	ck_assert_ptr_nonnull(strstr(server.body, "p~q|\\\"|q~p"));
	ck_assert_ptr_nonnull(strstr(world.output, "p~q|\\\"|q~p"));
	tool_settle(call, JRN_USED);
	ck_assert(on_disk("plain-name"));
	ck_assert(!on_disk("p~q|"));
	ck_assert(!on_disk("736251"));
	rig_close_journal();
	ck_assert(on_disk("plain-name"));
	ck_assert(!on_disk("p~q|"));
	ck_assert(!on_disk("736251"));
	ck_assert(
		rig_holds("intents WHERE arguments",
			  "{\"card\":\"[secret]\",\"name\":\"plain-name\",\"pin\":\"[secret]\"}"));
}
END_TEST

/* A refusal is quoted, in JSON within JSON, and only its beginning: no form and no part of the secret may be left. */
START_TEST(j9_a_secret_is_hidden_in_the_quoted_words_of_a_server_that_refuses)
{
	static const char *const secrets[] = {"pin"};
	char arguments[1024];
	struct tool_call *call;

	world.tool.secret_arguments = (struct cfg_strings){.items = secrets, .count = 1};
	rig_serve_at("/echo/400");
	/* {"name":"aaa…","pin":"p~q|\"|q~p"}: the quotation ends in or near the secret. */
	(void)snprintf(arguments, sizeof(arguments), "{\"name\":\"%0*d\",\"pin\":\"p~q|\\\"|q~p\"}",
		       _i == 0 ? 4 : TOOL_MESSAGE_MAX - 16 - _i, 0);
	call = rig_run(arguments);
	rig_wait_done(1);
	ck_assert_int_eq(world.status, 400);
	ck_assert_ptr_nonnull(strstr(server.body, "p~q|"));
	ck_assert_ptr_null(strstr(world.output, "p~q"));
	tool_settle(call, JRN_USED);
	rig_close_journal();
	ck_assert(!on_disk("p~q"));
	ck_assert(on_disk("refused"));
}
END_TEST

START_TEST(what_is_withheld_from_a_guess_is_neither_sent_nor_recorded)
{
	static const char *const names[] = {"customer", "reason"};
	static const char *const secrets[] = {"customer"};
	struct tool_request request =
		rig_request_of("{\"customer\":\"Lovelace\",\"id\":7,\"phone\":\"555-0199\"}");
	struct tool_call *call;
	bool guess = _i == 0;

	world.tool.withheld_arguments = (struct cfg_strings){.items = names, .count = 2};
	world.tool.secret_arguments = (struct cfg_strings){.items = secrets, .count = 1};
	rig_serve_at("/flaky"); /* what is sent again is the same */
	world.tool.attempts_max = 2;
	server.fail_first = 1;
	request.speculative = guess;
	request.withhold = guess;
	ck_assert_int_eq(tool_run(world.host, &world.common, &request, &call), BC_OK);
	rig_wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert_uint_eq(server.requests, 2);
	ck_assert_str_eq(server.body,
			 guess ? "{\"id\":7,\"phone\":\"555-0199\"}"
			       : "{\"customer\":\"Lovelace\",\"id\":7,\"phone\":\"555-0199\"}");
	tool_commit(call);
	tool_settle(call, JRN_USED);
	rig_close_journal();
	ck_assert(rig_holds("intents WHERE arguments",
			    guess ? "{\"id\":7,\"phone\":\"555-0199\"}"
				  : "{\"customer\":\"[secret]\",\"id\":7,\"phone\":\"555-0199\"}"));
	ck_assert(!on_disk("Lovelace"));
}
END_TEST

/* The server knows it anyway, and says it: what is secret stays so. */
START_TEST(j9_a_secret_that_was_withheld_is_not_recorded_from_the_result)
{
	static const char *const names[] = {"t"};
	struct tool_request request = rig_request_of("{\"t\":\"x \\\" y\"}");
	struct tool_call *call;

	world.tool.withheld_arguments = (struct cfg_strings){.items = names, .count = 1};
	world.tool.secret_arguments = world.tool.withheld_arguments;
	rig_serve_at("/ok");
	request.speculative = true;
	request.withhold = true;
	ck_assert_int_eq(tool_run(world.host, &world.common, &request, &call), BC_OK);
	rig_wait_done(1);
	ck_assert_str_eq(server.body, "{}");
	ck_assert_str_eq(world.output, "{\"a\":[1,2.50],\"t\":\"x \\\" y\"}");
	tool_settle(call, JRN_USED);
	rig_close_journal();
	ck_assert(rig_holds("results WHERE output", "{\"a\":[1,2.50],\"t\":\"[secret]\"}"));
}
END_TEST

START_TEST(a_host_that_goes_away_leaves_a_true_record)
{
	struct cfg_tool reader = world.tool;
	struct tool_request request = rig_request_of("{}");
	struct tool_call *call;

	world.tool.effect = CFG_EFFECT_HOLD;
	world.tool.concurrency_max = 1;
	reader.name = "look";
	rig_serve_at("/hold");
	(void)rig_run("{}");
	rig_wait_until(rig_one_request_seen);
	(void)rig_run("{}");
	request.tool = &reader;
	ck_assert_int_eq(tool_run(world.host, &world.common, &request, &call), BC_OK);
	ck_assert_uint_eq(tool_host_count(world.host), 3);
	rig_close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert(rig_holds("settlements WHERE how", "in_doubt"));
	ck_assert(rig_holds("settlements WHERE how", "unused"));
	ck_assert_int_eq(rig_query("SELECT count(*) FROM intents"), 2);
	ck_assert_int_eq(bc_metric_get(BC_M_TOOLS_IN_FLIGHT), 0);
}
END_TEST

/* No file of this process can grow or be written to: a full disk.  Returns what to put back. */
static struct rlimit fill_disk(void)
{
	struct rlimit before;
	struct rlimit none;

	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	(void)signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	return before;
}

START_TEST(j8_a_result_that_cannot_be_recorded_is_not_seen)
{
	struct rlimit before;
	struct tool_call *call;

	world.tool.effect = CFG_EFFECT_HOLD;
	rig_serve_at("/hold");
	call = rig_run("{}");
	rig_wait_until(rig_one_request_seen);
	before = fill_disk();
	rig_release_server();
	rig_wait_done(1);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	ck_assert_int_eq(world.outcome, TOOL_LOST);
	ck_assert_str_eq(rig_error_type(), "not_recorded");
	ck_assert_ptr_nonnull(strstr(world.output, "outcome unknown, do not repeat"));
	ck_assert_ptr_null(strstr(world.output, "2.50"));
	tool_settle(call, JRN_USED);
	/* The journal has failed for good: no more effects, but reads. */
	call = rig_run("{\"n\":2}");
	rig_wait_done(2);
	ck_assert_int_eq(world.outcome, TOOL_NOT_RECORDED);
	ck_assert_uint_eq(rig_requests_seen(), 1);
	tool_settle(call, JRN_USED);
	world.tool.effect = CFG_EFFECT_READ;
	call = rig_run("{}");
	rig_wait_done(3);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	tool_settle(call, JRN_USED);
}
END_TEST

START_TEST(tags_are_recorded_as_declared)
{
	static const char *const tags[] = {"orders", "stock"};

	world.tool.tags = (struct cfg_strings){.items = tags, .count = 2};
	rig_run_through(CFG_EFFECT_READ, "/ok", "used");
	ck_assert(rig_holds("intents WHERE tags", "orders,stock"));
}
END_TEST

START_TEST(every_state_has_a_way_out)
{
	unsigned edges = 0;
	unsigned from;
	unsigned on;

	for (from = 0; from < TOOL_STATE__COUNT; from++) {
		for (on = 0; on < TOOL_EVENT__COUNT; on++) {
			edges += tool_state_next((enum tool_state)from, (enum tool_event)on) !=
				 TOOL_STATE__COUNT;
		}
		ck_assert_int_eq(tool_state_next((enum tool_state)from, TOOL_EVENT_FREE),
				 from == TOOL_STATE_END ? TOOL_STATE__COUNT : TOOL_STATE_END);
		ck_assert_int_eq(tool_state_next(TOOL_STATE_END, TOOL_EVENT_SEND),
				 TOOL_STATE__COUNT);
	}
	ck_assert_uint_eq(edges, 30);
}
END_TEST

static TCase *add_cases(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, rig_setup, rig_teardown);
	tcase_set_timeout(tcase, 40);
	tcase_add_test(tcase, a_read_gives_its_result_compactly);
	tcase_add_test(tcase, j1_an_effect_is_on_disk_before_it_leaves);
	tcase_add_test(tcase, j2_an_effects_result_is_on_disk_before_it_is_seen);
	tcase_add_test(tcase, j1_a_ticket_for_a_read_starts_no_effect);
	tcase_add_test(tcase, j1_a_ticket_nobody_issued_starts_nothing);
	tcase_add_loop_test(tcase, errors_say_what_happened, 0, BC_ARRAY_LEN(error_cases));
	tcase_add_test(tcase, a_deadline_on_a_read_is_a_failure);
	tcase_add_test(tcase, j7_a_deadline_on_an_effect_is_in_doubt);
	tcase_add_test(tcase, a_server_that_is_not_there_did_nothing);
	tcase_add_loop_test(tcase, a_long_result_is_not_shown, 0, 2);
	tcase_add_test(tcase, text_is_passed_on_as_it_is);
	tcase_add_test(tcase, text_that_is_not_utf8_is_refused);
	tcase_add_test(tcase, an_answer_without_content_is_null);
	tcase_add_test(tcase, too_many_calls_are_refused_and_slots_come_back);
	tcase_add_test(tcase, what_cannot_be_recorded_is_not_sent);
	tcase_add_loop_test(tcase, arguments_that_make_no_request_are_not_sent, 0, 2);
	tcase_add_test(tcase, cancelling_an_effect_that_has_not_left_keeps_it_here);
	tcase_add_test(tcase, cancelling_a_read_cuts_it_off);
	tcase_add_test(tcase, j3_cancelling_an_effect_that_has_left_awaits_its_record);
	tcase_add_test(tcase, cancelling_before_and_after_the_report);
	tcase_add_test(tcase, j9_a_secret_reaches_the_server_and_never_the_disk);
	tcase_add_loop_test(
		tcase, j9_a_secret_is_hidden_in_the_quoted_words_of_a_server_that_refuses, 0, 16);
	tcase_add_loop_test(tcase, what_is_withheld_from_a_guess_is_neither_sent_nor_recorded, 0,
			    2);
	tcase_add_test(tcase, j9_a_secret_that_was_withheld_is_not_recorded_from_the_result);
	tcase_add_test(tcase, a_host_that_goes_away_leaves_a_true_record);
	tcase_add_test(tcase, j8_a_result_that_cannot_be_recorded_is_not_seen);
	tcase_add_test(tcase, tags_are_recorded_as_declared);
	tcase_add_test(tcase, every_state_has_a_way_out);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("run");

	suite_add_tcase(suite, add_cases(tcase_create("run")));
	return tap_run(suite);
}
