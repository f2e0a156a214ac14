/*
 * Requests to tool servers.
 *
 * H1 Nothing of ours that may call back runs below a function of curl: curl's callbacks only copy bytes and move
 *    watchers; the owners' callbacks run from deliver(), after curl has returned.
 * H2 A request marked once goes out at most once.  curl itself sends again on a reused connection that closed without an
 *    answer, so: without a body it gets a fresh connection, where curl never does that; with one, the body cannot
 *    be rewound; and whatever curl thinks, its second attempt to begin the request is refused in on_begin().
 * H3 Unless nothing can have left this machine, sent is true: a needless doubt costs a question, a wrong
 *    certainty costs a second effect.
 */
#include "daemon/net/http.h"

#include "daemon/base/buf.h"
#include "daemon/loop/loop.h"
#include "daemon/net/request.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#define HTTP_MAGIC      0x68747470U
#define CALL_MAGIC      0x63616c6cU
#define SOCKET_MAGIC    0x736f636bU
#define CONNECTIONS_MAX 64L   /* idle ones kept per worker */
#define CONNECT_MS_MAX  5000L /* a tool server that cannot be reached in this time is down */
#define RETRY_AFTER_MAX 86400 /* seconds; nobody waits longer */

/* One socket of curl that is being watched. */
struct http_socket {
	unsigned magic;
	LIST_ENTRY(http_socket) link;
	struct net_http *http;
	struct loop_io *io;
	curl_socket_t fd;
};

struct net_http {
	unsigned magic;
	struct loop *loop;
	CURLM *multi;
	struct loop_timer *timer;
	char *ca_file;
	LIST_HEAD(, http_socket) sockets;
	size_t open;                       /* calls */
	TAILQ_HEAD(, net_http_call) fresh; /* calls with bytes their owners have not got */
	bool delivering;                   /* deliver() is on the stack */
	bool doomed;                       /* freed inside deliver(), which does it at its end */
};

struct net_http_call {
	unsigned magic;
	TAILQ_ENTRY(net_http_call) link; /* while is_fresh */
	struct net_http *http;
	CURL *easy;
	struct curl_slist *headers;
	net_http_fn *fn;
	void *arg;
	char *body;
	size_t body_len;
	size_t body_read;                               /* bytes handed to curl */
	void (*bytes)(void *arg, struct bc_span bytes); /* NULL: the body is gathered */
	struct bc_buf answer;
	size_t received; /* bytes of body, also those that were handed out */
	size_t response_max;
	bool is_fresh;
	unsigned attempts; /* how often curl began to send the request */
	bool once;
	bool too_big;
	bool done; /* fn has been called or is being called */
};

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static bool global_ready;

static void init_global(void)
{
	global_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static struct http_socket *free_socket(struct http_socket *sock)
{
	if (sock != NULL) {
		LIST_REMOVE(sock, link);
		sock->io = loop_io_free(sock->io);
		sock->magic = 0;
		free(sock);
	}
	return NULL;
}

static void destroy(struct net_http *http)
{
	struct http_socket *sock;

	curl_multi_cleanup(http->multi);
	while ((sock = LIST_FIRST(&http->sockets)) != NULL) {
		sock = free_socket(sock);
	}
	http->timer = loop_timer_free(http->timer);
	free(http->ca_file);
	http->magic = 0;
	free(http);
}

static void forget_fresh(struct net_http_call *call)
{
	if (call->is_fresh) {
		TAILQ_REMOVE(&call->http->fresh, call, link);
		call->is_fresh = false;
	}
}

static void free_call(struct net_http_call *call)
{
	forget_fresh(call);
	curl_easy_cleanup(call->easy); /* accepts NULL */
	curl_slist_free_all(call->headers);
	bc_buf_release(&call->answer);
	free(call->body);
	call->magic = 0;
	free(call);
}

/* What a broken transfer means for its owner (H3). */
static enum net_http_end end_of(const struct net_http_call *call, CURLcode code, bool sent)
{
	if (code == CURLE_OK) {
		return NET_HTTP_DONE;
	}
	if (call->too_big || code == CURLE_FILESIZE_EXCEEDED) {
		return NET_HTTP_TOO_BIG;
	}
	if (code == CURLE_OPERATION_TIMEDOUT) {
		return NET_HTTP_TIMEOUT;
	}
	return sent ? NET_HTTP_LOST : NET_HTTP_UNREACHABLE;
}

static bc_usec retry_after(const struct net_http_call *call)
{
	curl_off_t seconds = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_RETRY_AFTER, &seconds);
	seconds = seconds > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : seconds;
	return seconds < 0 ? 0 : (bc_usec)seconds * BC_USEC_PER_SEC;
}

static int status_of(const struct net_http_call *call)
{
	long status = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

/* The transfer is over: tell the owner and forget it. */
static void finish(struct net_http_call *call, CURLcode code)
{
	struct net_http *http = call->http;
	struct net_http_answer answer = {.detail = curl_easy_strerror(code)};
	long request_size = 0;
	char *type = NULL;

	(void)curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &request_size);
	(void)curl_easy_getinfo(call->easy, CURLINFO_CONTENT_TYPE, &type);
	(void)curl_multi_remove_handle(http->multi, call->easy);
	answer.sent = code == CURLE_OK || request_size > 0 || call->attempts > 1;
	answer.end = end_of(call, code, answer.sent);
	answer.status = status_of(call);
	answer.retry_after = retry_after(call);
	answer.type = bc_span_str(type);
	answer.body = bc_buf_span(&call->answer);
	call->done = true;
	http->open--;
	forget_fresh(call);
	call->fn(call->arg, &answer);
	free_call(call);
}

/* Hand out what has come of bodies that are wanted in pieces (H1). */
static void deliver_pieces(struct net_http *http)
{
	struct net_http_call *call;

	while (!http->doomed && (call = TAILQ_FIRST(&http->fresh)) != NULL) {
		struct bc_buf piece = call->answer;

		BC_CHECK(call, CALL_MAGIC);
		forget_fresh(call);
		bc_buf_init(&call->answer, call->response_max);
		call->bytes(call->arg, bc_buf_span(&piece)); /* the call may be gone behind this */
		bc_buf_release(&piece);
	}
}

/* Hand out everything curl has finished (H1). */
static void deliver(struct net_http *http)
{
	struct net_http_call *call;
	CURLMsg *message;
	int left;

	http->delivering = true;
	deliver_pieces(http);
	while (!http->doomed && (message = curl_multi_info_read(http->multi, &left)) != NULL) {
		CURLcode code = message->data.result;

		BC_BUG_ON(message->msg != CURLMSG_DONE);
		call = NULL;
		(void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
		BC_CHECK(call, CALL_MAGIC);
		finish(call, code);
	}
	http->delivering = false;
	if (http->doomed) {
		destroy(http);
	}
}

static void act(struct net_http *http, curl_socket_t fd, int events)
{
	int running;

	/* What fails here ends the calls it concerns, and deliver() hears of those. */
	(void)curl_multi_socket_action(http->multi, fd, events, &running);
	deliver(http);
}

static void on_ready(void *arg, unsigned events)
{
	struct http_socket *sock = arg;
	int mask = 0;

	BC_CHECK(sock, SOCKET_MAGIC);
	if ((events & LOOP_READ) != 0) {
		mask |= CURL_CSELECT_IN;
	}
	if ((events & LOOP_WRITE) != 0) {
		mask |= CURL_CSELECT_OUT;
	}
	act(sock->http, sock->fd, mask);
}

static void on_timer(void *arg)
{
	struct net_http *http = arg;

	BC_CHECK(http, HTTP_MAGIC);
	act(http, CURL_SOCKET_TIMEOUT, 0);
}

static struct http_socket *new_socket(struct net_http *http, curl_socket_t fd)
{
	struct http_socket *sock = calloc(1, sizeof(*sock));

	if (sock == NULL) {
		return NULL;
	}
	sock->io = loop_io_new(http->loop, fd, on_ready, sock);
	if (sock->io == NULL) {
		free(sock);
		return NULL;
	}
	sock->magic = SOCKET_MAGIC;
	sock->http = http;
	sock->fd = fd;
	LIST_INSERT_HEAD(&http->sockets, sock, link);
	(void)curl_multi_assign(http->multi, fd, sock);
	return sock;
}

/* curl wants a socket watched, or no more. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct net_http *http = arg;
	struct http_socket *sock = socket_arg;

	(void)easy;
	BC_CHECK(http, HTTP_MAGIC);
	if (what == CURL_POLL_REMOVE) {
		sock = free_socket(sock);
		(void)curl_multi_assign(http->multi, fd, NULL);
		return 0;
	}
	if (sock == NULL) {
		sock = new_socket(http, fd);
	}
	if (sock == NULL) {
		/* An error here would end every call of the pool; this one ends by its time-out. */
		return 0;
	}
	loop_io_set(sock->io, ((what & CURL_POLL_IN) != 0 ? (unsigned)LOOP_READ : 0U) |
				      ((what & CURL_POLL_OUT) != 0 ? (unsigned)LOOP_WRITE : 0U));
	return 0;
}

/* curl wants to be called in ms milliseconds; -1: not at all. */
static int on_timeout(CURLM *multi, long ms, void *arg)
{
	struct net_http *http = arg;

	(void)multi;
	BC_CHECK(http, HTTP_MAGIC);
	if (ms < 0) {
		loop_timer_stop(http->timer);
	} else {
		loop_timer_start(http->timer, (bc_usec)ms * BC_USEC_PER_MS);
	}
	return 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct net_http_call *call = arg;
	size_t len = size * count; /* size is 1 */

	BC_CHECK(call, CALL_MAGIC);
	call->too_big = len > call->response_max - call->received;
	if (call->too_big || bc_buf_put(&call->answer, bytes, len) != BC_OK) {
		return CURL_WRITEFUNC_ERROR;
	}
	call->received += len;
	if (call->bytes != NULL && !call->is_fresh && len > 0 && status_of(call) / 100 == 2) {
		call->is_fresh = true;
		TAILQ_INSERT_TAIL(&call->http->fresh, call, link);
	}
	return len;
}

static size_t on_upload(char *bytes, size_t size, size_t count, void *arg)
{
	struct net_http_call *call = arg;
	size_t len = size * count;

	BC_CHECK(call, CALL_MAGIC);
	if (len > call->body_len - call->body_read) {
		len = call->body_len - call->body_read;
	}
	if (len > 0) {
		memcpy(bytes, call->body + call->body_read, len);
		call->body_read += len;
	}
	return len;
}

/* H2: the body of an effect is never sent again. */
static int on_rewind(void *arg, curl_off_t offset, int origin)
{
	(void)arg;
	(void)offset;
	(void)origin;
	return CURL_SEEKFUNC_FAIL;
}

/* H2: a connection is there, the request is about to be sent. */
static int on_begin(void *arg, char *peer_ip, char *own_ip, int peer_port, int own_port)
{
	struct net_http_call *call = arg;

	(void)peer_ip;
	(void)own_ip;
	(void)peer_port;
	(void)own_port;
	BC_CHECK(call, CALL_MAGIC);
	call->attempts++;
	return call->once && call->attempts > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static bool set_multi(struct net_http *http)
{
	CURLM *multi = http->multi;

	return curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
	       curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, http) == CURLM_OK &&
	       curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timeout) == CURLM_OK &&
	       curl_multi_setopt(multi, CURLMOPT_TIMERDATA, http) == CURLM_OK &&
	       curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING) == CURLM_OK &&
	       curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX) == CURLM_OK;
}

enum bc_err net_http_trust(struct net_http *http, const char *ca_file)
{
	char *copy = ca_file == NULL ? NULL : strdup(ca_file);

	BC_CHECK(http, HTTP_MAGIC);
	if (ca_file != NULL && copy == NULL) {
		return BC_E_NOMEM;
	}
	free(http->ca_file);
	http->ca_file = copy;
	return BC_OK;
}

struct net_http *net_http_new(struct loop *loop, const char *ca_file)
{
	struct net_http *http;

	pthread_once(&global_once, init_global);
	http = global_ready ? calloc(1, sizeof(*http)) : NULL;
	if (http == NULL) {
		return NULL;
	}
	http->magic = HTTP_MAGIC;
	http->loop = loop;
	LIST_INIT(&http->sockets);
	TAILQ_INIT(&http->fresh);
	http->multi = curl_multi_init();
	http->timer = loop_timer_new(loop, on_timer, http);
	if (http->multi == NULL || http->timer == NULL || net_http_trust(http, ca_file) != BC_OK ||
	    !set_multi(http)) {
		destroy(http);
		return NULL;
	}
	return http;
}

struct net_http *net_http_free(struct net_http *http)
{
	if (http == NULL) {
		return NULL;
	}
	BC_CHECK(http, HTTP_MAGIC);
	BC_BUG_ON(http->open != 0);
	if (http->delivering) {
		http->doomed = true;
	} else {
		destroy(http);
	}
	return NULL;
}

static bool add_header(struct net_http_call *call, const char *line)
{
	struct curl_slist *list = curl_slist_append(call->headers, line);

	if (list == NULL) {
		return false;
	}
	call->headers = list;
	return true;
}

/* The request's headers, and off with what curl would add of its own. */
static bool set_headers(struct net_http_call *call, const struct net_http_request *request)
{
	bool has_type = false;

	for (size_t i = 0; i < request->header_count; i++) {
		if (!add_header(call, request->headers[i])) {
			return false;
		}
		has_type = has_type || strncasecmp(request->headers[i], "Content-Type:", 13) == 0;
	}
	return add_header(call, "Expect:") && (has_type || add_header(call, "Content-Type:")) &&
	       curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK;
}

static long to_ms(bc_usec timeout)
{
	bc_usec ms = (timeout + BC_USEC_PER_MS - 1) / BC_USEC_PER_MS;

	/* curl takes 0 for "no time-out". */
	return ms < 1 ? 1 : ms > INT32_MAX ? INT32_MAX : (long)ms;
}

/* Besides a file curl would go on trusting the directory of authorities that is built into it. */
static bool set_trust(CURL *easy, const char *ca_file)
{
	return ca_file == NULL || (curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file) == CURLE_OK &&
				   curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK);
}

static bool set_limits(struct net_http_call *call, const struct net_http_request *request)
{
	const char *ca_file = request->ca_file != NULL ? request->ca_file : call->http->ca_file;
	long ms = to_ms(request->timeout);
	CURL *easy = call->easy;

	return curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, ms) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
				ms < CONNECT_MS_MAX ? ms : CONNECT_MS_MAX) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE,
				(curl_off_t)request->response_max) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) ==
		       CURLE_OK &&
	       /* Else curl takes one from the environment. */
	       curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
	       /* Else a call that ends while its name is looked up makes the loop wait for the look-up. */
	       curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
	       set_trust(easy, ca_file);
}

static bool set_callbacks(struct net_http_call *call)
{
	CURL *easy = call->easy;

	return curl_easy_setopt(easy, CURLOPT_PRIVATE, call) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_WRITEDATA, call) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_begin) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PREREQDATA, call) == CURLE_OK;
}

/* H2: how an effect gets its body out. */
static bool set_effect(struct net_http_call *call)
{
	CURL *easy = call->easy;

	if (call->body_len == 0) {
		return curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK;
	}
	return curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_upload) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_READDATA, call) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_rewind) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_SEEKDATA, call) == CURLE_OK;
}

static bool set_method(struct net_http_call *call, const struct net_http_request *request)
{
	CURL *easy = call->easy;

	if (strcmp(request->method, "HEAD") == 0) {
		return curl_easy_setopt(easy, CURLOPT_NOBODY, 1L) == CURLE_OK;
	}
	if (!request->has_body && !net_request_wants_length(request->method)) {
		return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK;
	}
	return curl_easy_setopt(easy, CURLOPT_POST, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len) ==
		       CURLE_OK &&
	       (call->once && call->body_len > 0
			? true
			: curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body) == CURLE_OK) &&
	       curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK;
}

static bool set_call(struct net_http_call *call, const struct net_http_request *request)
{
	call->easy = curl_easy_init();
	call->body = bc_span_dup(request->has_body ? request->body : BC_SPAN_LIT(""));
	if (call->easy == NULL || call->body == NULL) {
		return false;
	}
	call->body_len = request->has_body ? request->body.len : 0;
	return set_callbacks(call) && set_limits(call, request) && set_headers(call, request) &&
	       curl_easy_setopt(call->easy, CURLOPT_URL, request->url) == CURLE_OK &&
	       set_method(call, request) && (!call->once || set_effect(call));
}

enum bc_err net_http_start(struct net_http *http, const struct net_http_request *request,
			   net_http_fn *fn, void *arg, struct net_http_call **ret)
{
	struct net_http_call *call;
	enum bc_err err;

	BC_CHECK(http, HTTP_MAGIC);
	err = net_request_check(request);
	if (err != BC_OK) {
		return err;
	}
	call = calloc(1, sizeof(*call));
	if (call == NULL) {
		return BC_E_NOMEM;
	}
	call->magic = CALL_MAGIC;
	call->http = http;
	call->fn = fn;
	call->arg = arg;
	call->once = request->once;
	call->bytes = request->bytes;
	call->response_max = request->response_max == 0 ? 1 : request->response_max;
	bc_buf_init(&call->answer, call->response_max);
	if (!set_call(call, request) ||
	    curl_multi_add_handle(http->multi, call->easy) != CURLM_OK) {
		free_call(call);
		return BC_E_NOMEM;
	}
	http->open++;
	*ret = call;
	return BC_OK;
}

void net_http_cancel(struct net_http_call *call)
{
	BC_CHECK(call, CALL_MAGIC);
	if (call->done) {
		return;
	}
	(void)curl_multi_remove_handle(call->http->multi, call->easy);
	call->http->open--;
	free_call(call);
}
