#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/toolserver/server.h"

#include "daemon/base/buf.h"
#include "proto/json.h"

#define BODY_MAX     ((size_t)1 << 20) /* bytes of a request body */
#define NAME_SIZE    128               /* of a tool or dialogue, with NUL */
#define HOLDS_MAX    32
#define USEC_PER_SEC 1000000

struct server {
	struct backend *backend;
	struct MHD_Daemon *http;
	unsigned port;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a hold was set or released, or the server stops */
	char holds[HOLDS_MAX][NAME_SIZE];
	size_t holds_n;
	unsigned releases; /* of all tools so far: what hangs is let go by one */
	bool stopping;
};

/* One request while its body comes in. */
struct exchange {
	struct bc_buf body;
	bool too_long;
};

struct reply {
	unsigned status;
	char *text; /* heap; NULL: the connection is cut */
};

static int64_t clock_usec(clockid_t clock)
{
	struct timespec now = {0};

	(void)clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * USEC_PER_SEC + now.tv_nsec / 1000;
}

static struct reply reply_text(unsigned status, const char *text)
{
	return (struct reply){status, strdup(text)};
}

/* Takes over the reference to value. */
static struct reply reply_json(json_t *value)
{
	struct reply reply = {MHD_HTTP_OK, json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY)};

	json_decref(value);
	return reply;
}

static size_t hold_find(const struct server *server, const char *tool)
{
	size_t i = 0;

	while (i < server->holds_n && strcmp(server->holds[i], tool) != 0) {
		i++;
	}
	return i;
}

enum bc_err server_hold(struct server *server, const char *tool)
{
	enum bc_err err = BC_OK;

	pthread_mutex_lock(&server->lock);
	if (hold_find(server, tool) == server->holds_n) {
		if (server->holds_n == HOLDS_MAX || strlen(tool) >= NAME_SIZE) {
			err = BC_E_LIMIT;
		} else {
			memcpy(server->holds[server->holds_n++], tool, strlen(tool) + 1);
		}
	}
	pthread_mutex_unlock(&server->lock);
	return err;
}

/* tool NULL: all. */
static void server_release(struct server *server, const char *tool)
{
	size_t i = 0;

	pthread_mutex_lock(&server->lock);
	if (tool == NULL) {
		server->holds_n = 0;
		server->releases++;
	} else if ((i = hold_find(server, tool)) < server->holds_n) {
		server->holds_n--;
		memmove(server->holds[i], server->holds[server->holds_n], NAME_SIZE);
	}
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

/* Sleep until the monotonic time, then until the tool is not held.  Lock held. */
static void wait_for_answer(struct server *server, int64_t until, const char *tool)
{
	struct timespec at = {.tv_sec = (time_t)(until / USEC_PER_SEC),
			      .tv_nsec = (long)(until % USEC_PER_SEC) * 1000};

	while (!server->stopping &&
	       pthread_cond_timedwait(&server->changed, &server->lock, &at) != ETIMEDOUT) {
	}
	while (!server->stopping && hold_find(server, tool) < server->holds_n) {
		pthread_cond_wait(&server->changed, &server->lock);
	}
}

/* Run a tool, which takes its time. */
static struct reply run_tool(struct server *server, const struct backend_request *request)
{
	struct backend_answer answer = {0};
	enum bc_err err = BC_OK;

	pthread_mutex_lock(&server->lock);
	err = backend_call(server->backend, request, &answer);
	if (err == BC_OK) {
		wait_for_answer(server, request->now + (int64_t)(answer.seconds * USEC_PER_SEC),
				request->tool);
		backend_answered(server->backend, answer.call, clock_usec(CLOCK_MONOTONIC));
	}
	if (err == BC_OK && answer.fault == BACKEND_FAULT_HANG) {
		unsigned releases = server->releases;

		while (!server->stopping && server->releases == releases) {
			pthread_cond_wait(&server->changed, &server->lock);
		}
	}
	pthread_mutex_unlock(&server->lock);
	if (err == BC_OK &&
	    (answer.fault == BACKEND_FAULT_LOSE || answer.fault == BACKEND_FAULT_HANG)) {
		free(answer.body);
		return (struct reply){0};
	}
	if (err != BC_OK) {
		return reply_text(MHD_HTTP_INTERNAL_SERVER_ERROR, "{\"error\":\"out of memory\"}");
	}
	return (struct reply){answer.status, answer.body};
}

/* Split /d/<dialogue>/tools/<name> or /tools/<name>; false if the path is neither. */
static bool tool_path(const char *path, char dialogue[NAME_SIZE], char tool[NAME_SIZE])
{
	const char *name = NULL;
	size_t len = 0;

	dialogue[0] = '\0';
	if (strncmp(path, "/d/", 3) == 0) {
		path += 3;
		len = strcspn(path, "/");
		if (len == 0 || len >= NAME_SIZE) {
			return false;
		}
		memcpy(dialogue, path, len);
		dialogue[len] = '\0';
		path += len;
	}
	if (strncmp(path, "/tools/", 7) != 0) {
		return false;
	}
	name = path + 7;
	len = strlen(name);
	if (len == 0 || len >= NAME_SIZE || strchr(name, '/') != NULL) {
		return false;
	}
	memcpy(tool, name, len + 1);
	return true;
}

/* Who is asked for: the argument "_sim", which goes no further, else a header, else the path. */
static void dialogue_take(struct MHD_Connection *connection, json_t *args, char dialogue[NAME_SIZE])
{
	const char *name = json_string_value(json_object_get(args, "_sim"));

	if (name == NULL) {
		name = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Dialogue");
	}
	if (name != NULL) {
		(void)snprintf(dialogue, NAME_SIZE, "%s", name);
	}
	if (json_is_object(args)) {
		(void)json_object_del(args, "_sim");
	}
}

static struct reply post_tool(struct server *server, struct MHD_Connection *connection,
			      const char *path, json_t *args)
{
	char dialogue[NAME_SIZE];
	char tool[NAME_SIZE];
	struct backend_request request = {
		.tool = tool,
		.key = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Idempotency-Key"),
		.session = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Session"),
		.args = args,
		.now = clock_usec(CLOCK_MONOTONIC),
		.wall = clock_usec(CLOCK_REALTIME)};

	if (!tool_path(path, dialogue, tool)) {
		return reply_text(MHD_HTTP_NOT_FOUND, "{\"error\":\"not found\"}");
	}
	dialogue_take(connection, args, dialogue);
	request.dialogue = dialogue[0] == '\0' ? NULL : dialogue;
	return run_tool(server, &request);
}

static struct reply post_control(struct server *server, const char *what, const json_t *body)
{
	const char *tool = json_string_value(json_object_get(body, "tool"));

	if (strcmp(what, "release") == 0) {
		server_release(server, tool);
		return reply_text(MHD_HTTP_OK, "{}");
	}
	if (strcmp(what, "hold") == 0 && tool != NULL && server_hold(server, tool) == BC_OK) {
		return reply_text(MHD_HTTP_OK, "{}");
	}
	return reply_text(MHD_HTTP_BAD_REQUEST, "{\"error\":\"no such control\"}");
}

static struct reply do_get(struct server *server, const char *path)
{
	struct reply reply = {0};

	pthread_mutex_lock(&server->lock);
	if (strcmp(path, "/control/effects") == 0) {
		reply = reply_json(backend_effects(server->backend));
	} else if (strcmp(path, "/control/calls") == 0) {
		reply = reply_json(backend_calls(server->backend));
	} else if (strncmp(path, "/status/", 8) == 0) {
		reply = reply_json(backend_status(server->backend, path + 8));
	} else {
		reply = reply_text(MHD_HTTP_NOT_FOUND, "{\"error\":\"not found\"}");
	}
	pthread_mutex_unlock(&server->lock);
	return reply;
}

static struct reply do_post(struct server *server, struct MHD_Connection *connection,
			    const char *path, const struct exchange *exchange)
{
	json_t *body = json_parse(bc_buf_span(&exchange->body));
	struct reply reply = {0};

	if (exchange->too_long) {
		reply = reply_text(MHD_HTTP_CONTENT_TOO_LARGE, "{\"error\":\"too long\"}");
	} else if (strncmp(path, "/control/", 9) == 0) {
		reply = post_control(server, path + 9, body);
	} else if (strncmp(path, "/status/", 8) == 0) {
		reply = do_get(server, path);
	} else if (body == NULL) {
		reply = reply_text(MHD_HTTP_BAD_REQUEST, "{\"error\":\"the body is not JSON\"}");
	} else {
		reply = post_tool(server, connection, path, body);
	}
	/* The log of calls shares these values; their counts belong to its lock. */
	pthread_mutex_lock(&server->lock);
	json_decref(body);
	pthread_mutex_unlock(&server->lock);
	return reply;
}

static enum MHD_Result send_reply(struct MHD_Connection *connection, struct reply reply)
{
	struct MHD_Response *response = NULL;
	enum MHD_Result result = MHD_NO;

	if (reply.text == NULL) {
		return MHD_NO;
	}
	response = MHD_create_response_from_buffer(strlen(reply.text), reply.text,
						   MHD_RESPMEM_MUST_FREE);
	if (response == NULL) {
		free(reply.text);
		return MHD_NO;
	}
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	result = MHD_queue_response(connection, reply.status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
				  const char *method, const char *version, const char *data,
				  size_t *data_len, void **state)
{
	struct server *server = arg;
	struct exchange *exchange = *state;

	(void)version;
	if (exchange == NULL) {
		exchange = calloc(1, sizeof(*exchange));
		if (exchange == NULL) {
			return MHD_NO;
		}
		bc_buf_init(&exchange->body, BODY_MAX);
		*state = exchange;
		return MHD_YES;
	}
	if (*data_len > 0) {
		if (bc_buf_put(&exchange->body, data, *data_len) != BC_OK) {
			exchange->too_long = true;
		}
		*data_len = 0;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) == 0) {
		return send_reply(connection, do_get(server, path));
	}
	if (strcmp(method, MHD_HTTP_METHOD_POST) == 0) {
		return send_reply(connection, do_post(server, connection, path, exchange));
	}
	return send_reply(connection,
			  reply_text(MHD_HTTP_METHOD_NOT_ALLOWED, "{\"error\":\"GET or POST\"}"));
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode why)
{
	struct exchange *exchange = *state;

	(void)arg;
	(void)connection;
	(void)why;
	if (exchange != NULL) {
		bc_buf_release(&exchange->body);
		free(exchange);
		*state = NULL;
	}
}

/* Tools take their time by the monotonic clock. */
static bool sync_init(struct server *server)
{
	pthread_condattr_t attr;

	if (pthread_mutex_init(&server->lock, NULL) != 0 || pthread_condattr_init(&attr) != 0) {
		return false;
	}
	return pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 &&
	       pthread_cond_init(&server->changed, &attr) == 0 &&
	       pthread_condattr_destroy(&attr) == 0;
}

struct server *server_new(struct backend *backend, unsigned port)
{
	struct server *server = calloc(1, sizeof(*server));
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const union MHD_DaemonInfo *info = NULL;

	if (server == NULL || !sync_init(server)) {
		free(server);
		(void)fprintf(stderr, "toolserver: out of memory\n");
		return NULL;
	}
	server->backend = backend;
	server->http = MHD_start_daemon(
		MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG,
		(uint16_t)port, NULL, NULL, on_request, server, MHD_OPTION_SOCK_ADDR, &address,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
	info = server->http == NULL ? NULL
				    : MHD_get_daemon_info(server->http, MHD_DAEMON_INFO_BIND_PORT);
	if (info == NULL) {
		(void)fprintf(stderr, "toolserver: cannot listen on port %u: %s\n", port,
			      strerror(errno));
		return server_free(server);
	}
	server->port = info->port;
	return server;
}

unsigned server_port(const struct server *server)
{
	return server->port;
}

struct server *server_free(struct server *server)
{
	if (server == NULL) {
		return NULL;
	}
	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	if (server->http != NULL) {
		MHD_stop_daemon(server->http);
	}
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server);
	return NULL;
}
