#include "tests/unit/run_rig.h"

#include "daemon/base/metric.h"
#include "daemon/loop/loop.h"
#include "daemon/net/http.h"
#include "daemon/tools/host.h"

#include <check.h>
#include <dirent.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MAX ((bc_usec)20 * BC_USEC_PER_SEC)

struct rig_server server = {.mutex = PTHREAD_MUTEX_INITIALIZER,
			    .changed = PTHREAD_COND_INITIALIZER,
			    .retry_after = "1"};
struct rig_world world;

/* One number from the journal's file, as another process would read it; -1: there is none. */
int64_t rig_query(const char *sql)
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

bool rig_holds(const char *sql, const char *text)
{
	char whole[512];

	(void)snprintf(whole, sizeof(whole), "SELECT count(*) FROM %s = '%s'", sql, text);
	return rig_query(whole) == 1;
}

static void keep_header(struct MHD_Connection *connection, const char *name, char *out, size_t size)
{
	const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);

	(void)snprintf(out, size, "%s", value == NULL ? "" : value);
}

static void note_request(struct MHD_Connection *connection, const char *url)
{
	size_t len;

	int64_t intents = rig_query("SELECT count(*) FROM intents");
	char before[sizeof(server.key)];

	(void)pthread_mutex_lock(&server.mutex);
	server.requests++;
	len = strlen(server.paths);
	(void)snprintf(server.paths + len, sizeof(server.paths) - len, "%s ", url);
	server.intents = intents;
	(void)snprintf(before, sizeof(before), "%s", server.key);
	keep_header(connection, "Idempotency-Key", server.key, sizeof(server.key));
	server.other_keys += strcmp(before, server.key) != 0;
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

/* Whether this request is one of those that fail. */
static bool fails(unsigned *ret_status)
{
	bool yes;

	(void)pthread_mutex_lock(&server.mutex);
	yes = server.requests <= server.fail_first;
	*ret_status = server.fail_status;
	(void)pthread_mutex_unlock(&server.mutex);
	return yes;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *text)
{
	struct MHD_Response *response;
	enum MHD_Result queued;
	char *copy = strdup(text);

	response = MHD_create_response_from_buffer(strlen(copy), copy, MHD_RESPMEM_MUST_FREE);
	if (status == 429) {
		ck_assert_int_eq(MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER,
							 server.retry_after),
				 MHD_YES);
	}
	queued = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return queued;
}

/* A question for what became of a call. */
static enum MHD_Result tell(struct MHD_Connection *connection, const char *url)
{
	char key[64];
	bool early;

	if (strncmp(url, "/tell-held", 10) == 0) {
		hold();
	}
	keep_header(connection, "Idempotency-Key", key, sizeof(key));
	(void)pthread_mutex_lock(&server.mutex);
	server.questions++;
	early = server.questions <= server.tell_after;
	(void)snprintf(server.question, sizeof(server.question), "%s %s", url, key);
	(void)pthread_cond_broadcast(&server.changed);
	(void)pthread_mutex_unlock(&server.mutex);
	if (early) {
		return answer(connection, 404, "{\"state\":\"done\"}");
	}
	return server.tell == NULL ? MHD_NO : answer(connection, 200, server.tell);
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
	if (strncmp(url, "/tell", 5) == 0) {
		return tell(connection, url);
	}
	note_request(connection, url);
	if (strncmp(url, "/hold", 5) == 0) {
		hold();
	}
	if (strstr(url, "drop") != NULL) {
		return MHD_NO;
	}
	if (strstr(url, "flaky") != NULL && fails(&status)) {
		return status == 0 ? MHD_NO : answer(connection, status, "{\"why\":\"tired\"}");
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
	if (sscanf(url, "/echo/%u", &status) == 1) {
		return answer(connection, status, server.body);
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
	(void)intent;
	world.opens++;
}

void rig_open_journal(uint64_t open_max)
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
void rig_close_journal(void)
{
	world.host = tool_host_free(world.host);
	world.port = jrn_port_free(world.port);
	world.jrn = jrn_close(world.jrn);
}

static void put_url(char *out, size_t size, const char *path)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(world.daemon, MHD_DAEMON_INFO_BIND_PORT);

	(void)snprintf(out, size, "http://127.0.0.1:%u%s", (unsigned)info->port, path);
}

static void on_resolved(void *arg, uint64_t intent)
{
	(void)arg;
	world.resolved = intent;
	tool_host_resolved(world.host, intent);
}

static void make_host(void)
{
	world.host = tool_host_new(world.loop, world.http, world.port);
	ck_assert_ptr_nonnull(world.host);
	tool_host_hook(world.host, &(struct tool_hooks){.resolved = on_resolved});
	tool_host_learn(world.host);
}

void rig_restart(void)
{
	rig_close_journal();
	rig_open_journal(1000);
	make_host();
}

void rig_undo_at(const char *path)
{
	put_url(world.undo_url, sizeof(world.undo_url), path);
	world.tool.undo = (struct cfg_request){
		.method = "POST", .url = world.undo_url, .body = "{\"n\": {args.n}}"};
}

void rig_setup(void)
{
	struct sockaddr_in local = {.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	(void)snprintf(world.dir, sizeof(world.dir), "/tmp/bc-run-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(world.dir));
	(void)snprintf(world.path, sizeof(world.path), "%s/journal.db", world.dir);
	ck_assert_int_eq(loop_new(&world.loop), BC_OK);
	world.limit = loop_timer_new(world.loop, on_limit, NULL);
	rig_open_journal(1000);
	world.daemon = MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL, NULL,
		on_request, NULL, MHD_OPTION_SOCK_ADDR, &local, MHD_OPTION_END);
	ck_assert_ptr_nonnull(world.daemon);
	world.http = net_http_new(world.loop, NULL);
	make_host();
	ck_assert_uint_eq(world.opens, 0);
	world.tool =
		(struct cfg_tool){.name = "order",
				  .request = {.method = "POST", .url = world.url, .body = "{*}"},
				  .timeout = 30 * BC_USEC_PER_SEC,
				  .effect = CFG_EFFECT_READ,
				  .result = CFG_RESULT_JSON,
				  .response_max = 65536,
				  .concurrency_max = 64,
				  .attempts_max = 1};
	world.session = "bc_s_test";
	world.common = (struct cfg_tools){.retry_backoff = 20 * BC_USEC_PER_MS,
					  .undo_wait = 20 * BC_USEC_PER_SEC,
					  .undo_attempts_max = 4,
					  .undo_backoff = 10 * BC_USEC_PER_MS};
	world.cfg = (struct cfg){.tools = world.common, .tool = &world.tool, .tool_count = 1};
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

void rig_release_server(void)
{
	(void)pthread_mutex_lock(&server.mutex);
	server.released = true;
	(void)pthread_cond_broadcast(&server.changed);
	(void)pthread_mutex_unlock(&server.mutex);
}

void rig_teardown(void)
{
	rig_release_server();
	rig_close_journal();
	world.http = net_http_free(world.http);
	world.limit = loop_timer_free(world.limit);
	world.tick = loop_timer_free(world.tick);
	world.loop = loop_free(world.loop);
	MHD_stop_daemon(world.daemon);
	remove_files();
}

void rig_serve_at(const char *path)
{
	put_url(world.url, sizeof(world.url), path);
}

void rig_ask_at(const char *path)
{
	put_url(world.status_url, sizeof(world.status_url), path);
	world.tool.status = (struct cfg_request){.method = "GET", .url = world.status_url};
}

unsigned rig_requests_seen(void)
{
	unsigned count;

	(void)pthread_mutex_lock(&server.mutex);
	count = server.requests;
	(void)pthread_mutex_unlock(&server.mutex);
	return count;
}

static void rig_on_done(void *arg, struct tool_call *call, const struct tool_result *result)
{
	ck_assert_ptr_eq(arg, &world);
	ck_assert(!world.inside_run);
	ck_assert_ptr_eq(tool_result(call), result);
	world.outcome = result->outcome;
	world.status = result->status;
	world.results = rig_query("SELECT count(*) FROM results");
	(void)snprintf(world.output, sizeof(world.output), "%.*s", BC_SPAN_ARG(result->output));
	world.done++;
	if (world.done >= world.wanted) {
		loop_stop(world.loop);
	}
}

struct tool_request rig_request_of(const char *arguments)
{
	return (struct tool_request){.tool = &world.tool,
				     .arguments = bc_span_str(arguments),
				     .session = bc_span_str(world.session),
				     .turn = 1,
				     .done = rig_on_done,
				     .arg = &world};
}

struct tool_call *rig_run(const char *arguments)
{
	struct tool_request request = rig_request_of(arguments);
	struct tool_call *call = NULL;

	world.inside_run = true;
	ck_assert_int_eq(tool_run(world.host, &world.common, &request, &call), BC_OK);
	world.inside_run = false;
	ck_assert_int_le(tool_started(call), loop_now(world.loop));
	return call;
}

void rig_wait_done(unsigned wanted)
{
	world.wanted = wanted;
	loop_timer_start(world.limit, WAIT_MAX);
	while (world.done < wanted) {
		loop_run(world.loop);
	}
	loop_timer_stop(world.limit);
}

static rig_condition_fn *awaited;

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
void rig_wait_until(rig_condition_fn *condition)
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

bool rig_no_call_left(void)
{
	return tool_host_count(world.host) == 0;
}

bool rig_one_request_seen(void)
{
	return rig_requests_seen() == 1;
}

/* Run one call to its settlement, and look at what was recorded. */
void rig_run_through(enum cfg_effect effect, const char *path, const char *settlement)
{
	struct tool_call *call;

	world.tool.effect = effect;
	rig_serve_at(path);
	call = rig_run("{\"n\":1}");
	rig_wait_done(1);
	tool_settle(call, JRN_USED);
	ck_assert_uint_eq(tool_host_count(world.host), 0);
	rig_close_journal();
	ck_assert_msg(rig_holds("settlements WHERE how", settlement), "%s is not settled as %s",
		      path, settlement);
	ck_assert_int_eq(bc_metric_get(BC_M_TOOLS_IN_FLIGHT), 0);
}

const char *rig_error_type(void)
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
