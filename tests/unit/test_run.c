/*
 * Calls from intent to settlement, over the real journal, the real HTTP client and a small tool server.
 *
 * The server looks into the journal's file while it handles a request, so "recorded before" is what an outsider sees.
 */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/journal/journal.h"
#include "daemon/loop/loop.h"
#include "daemon/net/http.h"
#include "daemon/tools/call.h"
#include "daemon/tools/host.h"
#include "daemon/tools/tool.h"

#include <check.h>
#include <dirent.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MAX ((bc_usec)20 * BC_USEC_PER_SEC)

/* What the server saw; under the mutex. */
static struct {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool released; /* requests for /hold may be answered */
	unsigned requests;
	int64_t intents; /* rows in the journal when the last request came */
	char key[64];
	char agent[64];
	char type[64];
	char body[512];
} server = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct {
	char dir[64];
	char path[96];
	char url[128];
	struct MHD_Daemon *daemon;
	struct loop *loop;
	struct loop_timer *limit;
	struct loop_timer *tick;
	struct jrn *jrn;
	struct jrn_port *port;
	struct net_http *http;
	struct tool_host *host;
	struct cfg_tool tool;
	unsigned done;   /* results reported */
	unsigned wanted; /* stop at this many */
	bool inside_run; /* tool_run() is on the stack */
	int64_t results; /* rows in the journal when the last result was reported */
	enum tool_outcome outcome;
	int status;
	char output[4096];
} world;

/* One number from the journal's file, as another process would read it; -1: there is none. */
static int64_t query(const char *sql)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *stmt = NULL;
	int64_t value = -1;

	ck_assert_int_eq(sqlite3_open_v2(world.path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_busy_timeout(db, 10000), SQLITE_OK);
	ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s",
		      sqlite3_errmsg(db));
	if (sqlite3_step(stmt) == SQLITE_ROW) {
		value = sqlite3_column_int64(stmt, 0);
	}
	(void)sqlite3_finalize(stmt);
	(void)sqlite3_close(db);
	return value;
}

static bool holds(const char *sql, const char *text)
{
	char whole[512];

	(void)snprintf(whole, sizeof(whole), "SELECT count(*) FROM %s = '%s'", sql, text);
	return query(whole) == 1;
}

static void keep_header(struct MHD_Connection *connection, const char *name, char *out, size_t size)
{
	const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);

	(void)snprintf(out, size, "%s", value == NULL ? "" : value);
}

static void note_request(struct MHD_Connection *connection)
{
	int64_t intents = query("SELECT count(*) FROM intents");

	(void)pthread_mutex_lock(&server.mutex);
	server.requests++;
	server.intents = intents;
	keep_header(connection, "Idempotency-Key", server.key, sizeof(server.key));
	keep_header(connection, "User-Agent", server.agent, sizeof(server.agent));
	keep_header(connection, "Content-Type", server.type, sizeof(server.type));
	(void)pthread_cond_broadcast(&server.changed);
	(void)pthread_mutex_unlock(&server.mutex);
}

static void hold(void)
{
	(void)pthread_mutex_lock(&server.mutex);
	while (!server.released) {
		(void)pthread_cond_wait(&server.changed, &server.mutex);
	}
	(void)pthread_mutex_unlock(&server.mutex);
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *text)
{
	struct MHD_Response *response;
	enum MHD_Result queued;
	char *copy = strdup(text);

	response = MHD_create_response_from_buffer(strlen(copy), copy, MHD_RESPMEM_MUST_FREE);
	queued = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return queued;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **state)
{
	static int begun;
	unsigned status;

	(void)cls;
	(void)method;
	(void)version;
	if (*state == NULL) {
		*state = &begun;
		(void)pthread_mutex_lock(&server.mutex);
		server.body[0] = '\0';
		(void)pthread_mutex_unlock(&server.mutex);
		return MHD_YES;
	}
	if (*len > 0) {
		(void)pthread_mutex_lock(&server.mutex);
		(void)snprintf(server.body, sizeof(server.body), "%.*s", (int)*len, data);
		(void)pthread_mutex_unlock(&server.mutex);
		*len = 0;
		return MHD_YES;
	}
	note_request(connection);
	if (strcmp(url, "/drop") == 0) {
		return MHD_NO;
	}
	if (strcmp(url, "/hold") == 0) {
		hold();
	}
	if (strcmp(url, "/words") == 0) {
		return answer(connection, 200, "no json");
	}
	if (strcmp(url, "/bytes") == 0) {
		return answer(connection, 200, "\xff\xfe");
	}
	if (strcmp(url, "/echo") == 0) {
		return answer(connection, 200, server.body);
	}
	if (sscanf(url, "/status/%u", &status) == 1) {
		return answer(connection, status, status == 204 ? "" : "{\"why\":\"sold out\"}");
	}
	return answer(connection, 200, "{ \"a\" : [1, 2.50], \"t\": \"x \\\" y\" }\n");
}

static void on_limit(void *arg)
{
	(void)arg;
	ck_abort_msg("nothing happened for too long");
}

static void dispatch(void *arg)
{
	(void)arg;
	if (world.port != NULL) {
		jrn_port_dispatch(world.port);
	}
}

static void wake(void *arg)
{
	(void)arg;
	ck_assert_int_eq(loop_post(world.loop, dispatch, NULL), BC_OK);
}

static void on_open(void *arg, uint64_t intent, struct bc_span session, struct bc_span tool,
		    enum jrn_effect effect, bool has_result)
{
	(void)arg;
	(void)session;
	(void)tool;
	(void)effect;
	(void)has_result;
	ck_abort_msg("intent %llu is open in a new journal", (unsigned long long)intent);
}

static void open_journal(uint64_t open_max)
{
	struct jrn_conf conf = {
		.path = world.path, .retention = 3600 * BC_USEC_PER_SEC, .open_max = open_max};
	struct jrn_recovery recovery;
	struct bc_buf message;

	bc_buf_init(&message, 1024);
	ck_assert_msg(jrn_open(&conf, on_open, NULL, &recovery, &message, &world.jrn) == BC_OK,
		      "%.*s", BC_SPAN_ARG(bc_buf_span(&message)));
	ck_assert_int_eq(jrn_port_new(world.jrn, wake, NULL, &world.port), BC_OK);
	bc_buf_release(&message);
}

/* Everything that was recorded is in the file afterwards. */
static void close_journal(void)
{
	world.host = tool_host_free(world.host);
	world.port = jrn_port_free(world.port);
	world.jrn = jrn_close(world.jrn);
}

static void setup(void)
{
	struct sockaddr_in local = {.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	(void)snprintf(world.dir, sizeof(world.dir), "/tmp/bc-run-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(world.dir));
	(void)snprintf(world.path, sizeof(world.path), "%s/journal.db", world.dir);
	ck_assert_int_eq(loop_new(&world.loop), BC_OK);
	world.limit = loop_timer_new(world.loop, on_limit, NULL);
	open_journal(1000);
	world.daemon = MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL, NULL,
		on_request, NULL, MHD_OPTION_SOCK_ADDR, &local, MHD_OPTION_END);
	ck_assert_ptr_nonnull(world.daemon);
	world.http = net_http_new(world.loop, NULL);
	world.host = tool_host_new(world.loop, world.http, world.port);
	world.tool =
		(struct cfg_tool){.name = "order",
				  .request = {.method = "POST", .url = world.url, .body = "{*}"},
				  .timeout = 30 * BC_USEC_PER_SEC,
				  .effect = CFG_EFFECT_READ,
				  .result = CFG_RESULT_JSON,
				  .response_max = 65536,
				  .concurrency_max = 64};
}

static void remove_files(void)
{
	DIR *dir = opendir(world.dir);
	const struct dirent *entry;
	char path[512];

	while ((entry = readdir(dir)) != NULL) {
		(void)snprintf(path, sizeof(path), "%s/%s", world.dir, entry->d_name);
		(void)unlink(path);
	}
	(void)closedir(dir);
	(void)rmdir(world.dir);
}

static void release_server(void)
{
	(void)pthread_mutex_lock(&server.mutex);
	server.released = true;
	(void)pthread_cond_broadcast(&server.changed);
	(void)pthread_mutex_unlock(&server.mutex);
}

static void teardown(void)
{
	release_server();
	close_journal();
	world.http = net_http_free(world.http);
	world.limit = loop_timer_free(world.limit);
	world.tick = loop_timer_free(world.tick);
	world.loop = loop_free(world.loop);
	MHD_stop_daemon(world.daemon);
	remove_files();
}

static void serve_at(const char *path)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(world.daemon, MHD_DAEMON_INFO_BIND_PORT);

	(void)snprintf(world.url, sizeof(world.url), "http://127.0.0.1:%u%s", (unsigned)info->port,
		       path);
}

static unsigned requests_seen(void)
{
	unsigned count;

	(void)pthread_mutex_lock(&server.mutex);
	count = server.requests;
	(void)pthread_mutex_unlock(&server.mutex);
	return count;
}

static void on_done(void *arg, struct tool_call *call, const struct tool_result *result)
{
	ck_assert_ptr_eq(arg, &world);
	ck_assert(!world.inside_run);
	ck_assert_ptr_eq(tool_result(call), result);
	world.outcome = result->outcome;
	world.status = result->status;
	world.results = query("SELECT count(*) FROM results");
	(void)snprintf(world.output, sizeof(world.output), "%.*s", BC_SPAN_ARG(result->output));
	world.done++;
	if (world.done >= world.wanted) {
		loop_stop(world.loop);
	}
}

static struct tool_request request_of(const char *arguments)
{
	return (struct tool_request){.tool = &world.tool,
				     .arguments = bc_span_str(arguments),
				     .session = BC_SPAN_LIT("bc_s_test"),
				     .turn = 1,
				     .done = on_done,
				     .arg = &world};
}

static struct tool_call *run(const char *arguments)
{
	struct tool_request request = request_of(arguments);
	struct tool_call *call = NULL;

	world.inside_run = true;
	ck_assert_int_eq(tool_run(world.host, &request, &call), BC_OK);
	world.inside_run = false;
	ck_assert_int_le(tool_started(call), loop_now(world.loop));
	return call;
}

static void wait_done(unsigned wanted)
{
	world.wanted = wanted;
	loop_timer_start(world.limit, WAIT_MAX);
	while (world.done < wanted) {
		loop_run(world.loop);
	}
	loop_timer_stop(world.limit);
}

typedef bool condition_fn(void);
static condition_fn *awaited;

static void on_tick(void *arg)
{
	(void)arg;
	if (awaited()) {
		loop_stop(world.loop);
	} else {
		loop_timer_start(world.tick, BC_USEC_PER_MS);
	}
}

/* Run the loop until the condition holds. */
static void wait_until(condition_fn *condition)
{
	awaited = condition;
	if (world.tick == NULL) {
		world.tick = loop_timer_new(world.loop, on_tick, NULL);
	}
	world.wanted = UINT32_MAX;
	loop_timer_start(world.limit, WAIT_MAX);
	loop_timer_start(world.tick, 0);
	loop_run(world.loop);
	ck_assert(condition());
	loop_timer_stop(world.tick);
	loop_timer_stop(world.limit);
}

static bool no_call_left(void)
{
	return tool_host_count(world.host) == 0;
}

static bool one_request_seen(void)
{
	return requests_seen() == 1;
}

/* Run one call to its settlement, and look at what was recorded. */
static void run_through(enum cfg_effect effect, const char *path, const char *settlement)
{
	struct tool_call *call;

	world.tool.effect = effect;
	serve_at(path);
	call = run("{\"n\":1}");
	wait_done(1);
	tool_settle(call, JRN_USED);
	ck_assert_uint_eq(tool_host_count(world.host), 0);
	close_journal();
	ck_assert_msg(holds("settlements WHERE how", settlement), "%s is not settled as %s", path,
		      settlement);
	ck_assert_int_eq(bc_metric_get(BC_M_TOOLS_IN_FLIGHT), 0);
}

static const char *error_type(void)
{
	static char type[64];
	json_t *tree = json_loads(world.output, 0, NULL);
	json_t *error = json_object_get(tree, "error");

	ck_assert_msg(error != NULL, "%s", world.output);
	ck_assert_uint_eq(json_object_size(tree), 1);
	ck_assert_uint_eq(json_object_size(error), 4);
	ck_assert(json_is_boolean(json_object_get(error, "retryable")));
	ck_assert_int_eq(json_integer_value(json_object_get(error, "status")), world.status);
	ck_assert_ptr_nonnull(json_string_value(json_object_get(error, "message")));
	(void)snprintf(type, sizeof(type), "%s%s",
		       json_string_value(json_object_get(error, "type")),
		       json_is_true(json_object_get(error, "retryable")) ? ", retryable" : "");
	json_decref(tree);
	return type;
}

START_TEST(a_read_gives_its_result_compactly)
{
	int64_t calls = bc_metric_get(BC_M_TOOL_CALLS);

	run_through(CFG_EFFECT_READ, "/ok", "used");
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert_int_eq(world.status, 200);
	ck_assert_str_eq(world.output, "{\"a\":[1,2.50],\"t\":\"x \\\" y\"}");
	ck_assert_str_eq(server.body, "{\"n\":1}");
	ck_assert_str_eq(server.type, "application/json");
	ck_assert_int_eq(strncmp(server.agent, "backchannel/", 12), 0);
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_CALLS) - calls, 1);
	ck_assert(holds("intents WHERE tags", "127.0.0.1"));
	ck_assert(holds("intents WHERE arguments", "{\"n\":1}"));
	ck_assert(holds("results WHERE output", world.output));
	ck_assert(holds("intents WHERE key", server.key));
}
END_TEST

START_TEST(j1_an_effect_is_on_disk_before_it_leaves)
{
	run_through(CFG_EFFECT_HOLD, "/ok", "used");
	ck_assert_int_eq(server.intents, 1);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	ck_assert(holds("intents WHERE key", server.key));
}
END_TEST

START_TEST(j2_an_effects_result_is_on_disk_before_it_is_seen)
{
	run_through(CFG_EFFECT_REVERSIBLE, "/ok", "used");
	ck_assert_int_eq(world.results, 1);
}
END_TEST

/* A call that has not asked the journal for anything yet. */
static struct tool_call *bare_call(void)
{
	struct tool_request request = request_of("{}");
	struct tool_call *call = tool_call_new(world.host, &request);

	ck_assert_ptr_nonnull(call);
	serve_at("/ok");
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
	ck_assert_uint_eq(requests_seen(), 0);
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
	run_through(error_cases[_i].effect, error_cases[_i].path, error_cases[_i].settlement);
	ck_assert_int_eq(world.outcome, error_cases[_i].outcome);
	ck_assert_str_eq(error_type(), error_cases[_i].type);
	ck_assert_int_eq(query("SELECT count(*) FROM results"), error_cases[_i].results);
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
	run_through(CFG_EFFECT_READ, "/hold", "failed");
	ck_assert_int_eq(world.outcome, TOOL_TIMEOUT);
	ck_assert_str_eq(error_type(), "timeout, retryable");
}
END_TEST

START_TEST(j7_a_deadline_on_an_effect_is_in_doubt)
{
	world.tool.timeout = 500 * BC_USEC_PER_MS;
	run_through(CFG_EFFECT_HOLD, "/hold", "in_doubt");
	ck_assert_int_eq(world.outcome, TOOL_TIMEOUT);
	ck_assert_str_eq(error_type(), "timeout");
	ck_assert_ptr_nonnull(strstr(world.output, "outcome unknown, do not repeat"));
}
END_TEST

START_TEST(a_server_that_is_not_there_did_nothing)
{
	struct tool_call *call;

	world.tool.effect = CFG_EFFECT_HOLD;
	(void)snprintf(world.url, sizeof(world.url), "http://127.0.0.1:1/");
	call = run("{}");
	wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_UNREACHABLE);
	ck_assert_str_eq(error_type(), "unreachable, retryable");
	tool_settle(call, JRN_USED);
	close_journal();
	ck_assert(holds("settlements WHERE how", "failed"));
}
END_TEST

START_TEST(a_long_result_is_not_shown)
{
	world.tool.response_max = 16;
	run_through(_i == 0 ? CFG_EFFECT_READ : CFG_EFFECT_HOLD, "/ok",
		    _i == 0 ? "failed" : "used");
	ck_assert_int_eq(world.outcome, TOOL_BAD_RESULT);
	ck_assert_str_eq(error_type(), "too_big");
}
END_TEST

START_TEST(text_is_passed_on_as_it_is)
{
	world.tool.result = CFG_RESULT_TEXT;
	run_through(CFG_EFFECT_READ, "/words", "used");
	ck_assert_str_eq(world.output, "no json");
}
END_TEST

START_TEST(text_that_is_not_utf8_is_refused)
{
	world.tool.result = CFG_RESULT_TEXT;
	run_through(CFG_EFFECT_READ, "/bytes", "failed");
	ck_assert_int_eq(world.outcome, TOOL_BAD_RESULT);
}
END_TEST

START_TEST(an_answer_without_content_is_null)
{
	run_through(CFG_EFFECT_HOLD, "/status/204", "used");
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
	serve_at("/hold");
	first = run("{}");
	second = run("{}");
	wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_BUSY);
	ck_assert_str_eq(error_type(), "busy, retryable");
	ck_assert_int_eq(bc_metric_get(BC_M_TOOL_BUSY) - busy, 1);
	ck_assert_ptr_null(tool_result(first));
	tool_settle(second, JRN_UNUSED);
	release_server();
	wait_done(2);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	third = run("{}");
	wait_done(3);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	tool_settle(first, JRN_USED);
	tool_settle(third, JRN_USED);
	close_journal();
	ck_assert_int_eq(query("SELECT count(*) FROM intents"), 2);
	ck_assert_int_eq(query("SELECT count(*) FROM settlements WHERE how = 'used'"), 2);
}
END_TEST

START_TEST(what_cannot_be_recorded_is_not_sent)
{
	struct tool_call *first;
	struct tool_call *second;

	close_journal();
	open_journal(1);
	world.host = tool_host_new(world.loop, world.http, world.port);
	world.tool.effect = CFG_EFFECT_HOLD;
	serve_at("/hold");
	first = run("{}");
	second = run("{}");
	wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_NOT_RECORDED);
	ck_assert_str_eq(error_type(), "not_recorded");
	tool_settle(second, JRN_USED);
	release_server();
	wait_done(2);
	tool_settle(first, JRN_USED);
	ck_assert_uint_eq(requests_seen(), 1);
}
END_TEST

START_TEST(arguments_that_make_no_request_are_not_sent)
{
	struct cfg_header header = {.name = "X-Note", .value = "{note}"};
	struct tool_call *call;

	world.tool.effect = _i == 0 ? CFG_EFFECT_READ : CFG_EFFECT_HOLD;
	world.tool.request.headers = &header;
	world.tool.request.header_count = 1;
	serve_at("/ok");
	call = run("{\"note\":\"a\\r\\nX-Evil: 1\"}");
	wait_done(1);
	ck_assert_int_eq(world.outcome, TOOL_UNREACHABLE);
	ck_assert_str_eq(error_type(), "invalid_arguments");
	ck_assert_ptr_nonnull(strstr(world.output, "note: must not hold control characters"));
	tool_settle(call, JRN_USED);
	close_journal();
	ck_assert(holds("settlements WHERE how", "never_started"));
	ck_assert_uint_eq(requests_seen(), 0);
}
END_TEST

START_TEST(cancelling_an_effect_that_has_not_left_keeps_it_here)
{
	world.tool.effect = CFG_EFFECT_HOLD;
	serve_at("/ok");
	tool_cancel(run("{}"));
	ck_assert_uint_eq(tool_host_count(world.host), 1);
	wait_until(no_call_left);
	close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert_uint_eq(requests_seen(), 0);
	ck_assert(holds("settlements WHERE how", "never_started"));
}
END_TEST

START_TEST(cancelling_a_read_cuts_it_off)
{
	struct tool_call *call;

	serve_at("/hold");
	call = run("{}");
	wait_until(one_request_seen);
	tool_cancel(call);
	ck_assert_uint_eq(tool_host_count(world.host), 0);
	close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert(holds("settlements WHERE how", "unused"));
	ck_assert_int_eq(bc_metric_get(BC_M_TOOLS_IN_FLIGHT), 0);
}
END_TEST

START_TEST(j3_cancelling_an_effect_that_has_left_awaits_its_record)
{
	struct tool_call *call;

	world.tool.effect = CFG_EFFECT_HOLD;
	serve_at("/hold");
	call = run("{}");
	wait_until(one_request_seen);
	tool_cancel(call);
	ck_assert_uint_eq(tool_host_count(world.host), 1);
	release_server();
	wait_until(no_call_left);
	close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert_int_eq(query("SELECT status FROM results"), 200);
	ck_assert(holds("settlements WHERE how", "unused"));
}
END_TEST

START_TEST(cancelling_before_and_after_the_report)
{
	struct tool_call *call;

	serve_at("/ok");
	call = run("{}");
	wait_done(1);
	tool_cancel(call);
	world.tool.concurrency_max = 0;
	call = run("{}");
	tool_cancel(call);
	ck_assert_uint_eq(tool_host_count(world.host), 0);
	close_journal();
	ck_assert_uint_eq(world.done, 1);
	ck_assert(holds("settlements WHERE how", "unused"));
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
	serve_at("/echo");
	call = run("{\"card\":\"4111\\\"1111\",\"name\":\"plain-name\",\"pin\":736251}");
	wait_done(1);
	ck_assert_ptr_nonnull(strstr(server.body, "4111\\\"1111"));
	ck_assert_ptr_nonnull(strstr(world.output, "4111\\\"1111"));
	tool_settle(call, JRN_USED);
	ck_assert(on_disk("plain-name"));
	ck_assert(!on_disk("4111"));
	ck_assert(!on_disk("736251"));
	close_journal();
	ck_assert(on_disk("plain-name"));
	ck_assert(!on_disk("4111"));
	ck_assert(!on_disk("736251"));
	ck_assert(holds("intents WHERE arguments",
			"{\"card\":\"[secret]\",\"name\":\"plain-name\",\"pin\":\"[secret]\"}"));
}
END_TEST

START_TEST(a_host_that_goes_away_leaves_a_true_record)
{
	struct cfg_tool reader = world.tool;
	struct tool_request request = request_of("{}");
	struct tool_call *call;

	world.tool.effect = CFG_EFFECT_HOLD;
	world.tool.concurrency_max = 1;
	reader.name = "look";
	serve_at("/hold");
	(void)run("{}");
	wait_until(one_request_seen);
	(void)run("{}");
	request.tool = &reader;
	ck_assert_int_eq(tool_run(world.host, &request, &call), BC_OK);
	ck_assert_uint_eq(tool_host_count(world.host), 3);
	close_journal();
	ck_assert_uint_eq(world.done, 0);
	ck_assert(holds("settlements WHERE how", "in_doubt"));
	ck_assert(holds("settlements WHERE how", "unused"));
	ck_assert_int_eq(query("SELECT count(*) FROM intents"), 2);
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
	serve_at("/hold");
	call = run("{}");
	wait_until(one_request_seen);
	before = fill_disk();
	release_server();
	wait_done(1);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	ck_assert_int_eq(world.outcome, TOOL_LOST);
	ck_assert_str_eq(error_type(), "not_recorded");
	ck_assert_ptr_nonnull(strstr(world.output, "outcome unknown, do not repeat"));
	ck_assert_ptr_null(strstr(world.output, "2.50"));
	tool_settle(call, JRN_USED);
	/* The journal has failed for good: no more effects, but reads. */
	call = run("{}");
	wait_done(2);
	ck_assert_int_eq(world.outcome, TOOL_NOT_RECORDED);
	ck_assert_uint_eq(requests_seen(), 1);
	tool_settle(call, JRN_USED);
	world.tool.effect = CFG_EFFECT_READ;
	call = run("{}");
	wait_done(3);
	ck_assert_int_eq(world.outcome, TOOL_OK);
	tool_settle(call, JRN_USED);
}
END_TEST

START_TEST(tags_are_recorded_as_declared)
{
	static const char *const tags[] = {"orders", "stock"};

	world.tool.tags = (struct cfg_strings){.items = tags, .count = 2};
	run_through(CFG_EFFECT_READ, "/ok", "used");
	ck_assert(holds("intents WHERE tags", "orders,stock"));
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
	ck_assert_uint_eq(edges, 15);
}
END_TEST

static TCase *add_cases(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
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
	tcase_add_test(tcase, a_host_that_goes_away_leaves_a_true_record);
	tcase_add_test(tcase, j8_a_result_that_cannot_be_recorded_is_not_seen);
	tcase_add_test(tcase, tags_are_recorded_as_declared);
	tcase_add_test(tcase, every_state_has_a_way_out);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("run");
	SRunner *sr;
	int failed;

	suite_add_tcase(suite, add_cases(tcase_create("run")));
	sr = srunner_create(suite);
	srunner_set_tap(sr, "-");
	srunner_run_all(sr, CK_SILENT);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
