/*
 * One client from its accepted socket to the takeover.
 *
 *    HELD ---- lost or late ---> gone
 *      |
 *   READING ---- 101 ----> TAKEN ------- link done -------+
 *      |                                                  v
 *      +-- answer --> ANSWERING --> DRAINING -- time --> KILLED --> gone
 *
 * A client without TLS begins in READING.  From there on libwebsockets may report that the connection has gone.
 */
#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/net/accept_internal.h"
#include "daemon/net/upgrade.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define DRAIN_TIMEOUT (2 * BC_USEC_PER_SEC) /* for a client to read our refusal */
#define BODY_MAX      ((size_t)1024 * 1024) /* bytes of an answer of ours */
#define JSON_TYPE     "application/json"

static void count_handshake(struct net_conn *conn)
{
	conn->counted = true;
	conn->began = loop_now(conn->acceptor->loop);
	TAILQ_INSERT_TAIL(&conn->acceptor->unfinished, conn, turn);
	if (conn->listener->upgrades) {
		bc_metric_inc(BC_M_HANDSHAKES_OPEN);
	}
}

/* The handshake is over, well or not: there is room for the next client. */
static void finish_handshake(struct net_conn *conn)
{
	struct net_acceptor *acceptor = conn->acceptor;
	size_t i;

	if (!conn->counted) {
		return;
	}
	conn->counted = false;
	TAILQ_REMOVE(&acceptor->unfinished, conn, turn);
	if (conn->listener->upgrades) {
		bc_metric_add(BC_M_HANDSHAKES_OPEN, -1);
	}
	net_acceptor_release(acceptor);
	for (i = 0; i < acceptor->listener_count; i++) {
		if (acceptor->listeners[i].full) {
			net_listener_wake(&acceptor->listeners[i]);
		}
	}
}

static struct net_conn *conn_free(struct net_conn *conn)
{
	finish_handshake(conn);
	conn->deadline = loop_timer_free(conn->deadline);
	bc_buf_release(&conn->head);
	LIST_REMOVE(conn, entry);
	conn->magic = 0;
	free(conn);
	return NULL;
}

static void kill_conn(struct net_conn *conn)
{
	conn->state = NET_CONN_KILLED;
	loop_timer_stop(conn->deadline);
	net_lws_kill(conn->acceptor, conn->wsi);
}

/* A socket that libwebsockets does not have yet. */
static void drop(struct net_conn *conn)
{
	int fd = conn->hold.fd;

	net_hold_end(&conn->hold);
	(void)close(fd);
	(void)conn_free(conn);
}

/* A held one is gone at once, any other soon. */
static void cut_handshake(struct net_conn *conn)
{
	if ((conn->state == NET_CONN_HELD || conn->state == NET_CONN_READING) &&
	    conn->listener->upgrades) {
		bc_metric_inc(BC_M_HANDSHAKE_TIMEOUTS);
	}
	if (conn->state == NET_CONN_HELD) {
		drop(conn);
	} else {
		kill_conn(conn);
	}
}

static void on_deadline(void *arg)
{
	struct net_conn *conn = arg;

	BC_CHECK(conn, NET_CONN_MAGIC);
	BC_BUG_ON(conn->state == NET_CONN_TAKEN);
	cut_handshake(conn);
}

void net_conn_hurry(struct net_acceptor *acceptor, bc_usec then)
{
	struct net_conn *next = TAILQ_FIRST(&acceptor->unfinished);

	while (next != NULL && next->began < then) {
		struct net_conn *conn = next;

		next = TAILQ_NEXT(conn, turn);
		if (conn->state != NET_CONN_KILLED) {
			cut_handshake(conn);
		}
	}
}

void net_conn_drop_held(struct net_acceptor *acceptor)
{
	struct net_conn *next = LIST_FIRST(&acceptor->conns);

	while (next != NULL) {
		struct net_conn *conn = next;

		next = LIST_NEXT(conn, entry);
		if (conn->state == NET_CONN_HELD) {
			drop(conn);
		}
	}
}

static void read_peer(struct net_conn *conn, int fd)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);

	if (getpeername(fd, (struct sockaddr *)&address, &len) == 0) {
		net_peer_put(&address, conn->peer, conn->network);
	} /* else it has gone already: libwebsockets will notice */
}

static void hand_over(struct net_conn *conn, int fd)
{
	conn->state = NET_CONN_READING;
	errno = 0;
	conn->wsi = net_lws_adopt(conn, fd);
	if (conn->wsi == NULL) {
		/* The library has closed fd, and reported nothing, or reported it before we knew the wsi. */
		bc_metric_add(BC_M_OUT_OF_MEMORY, errno == ENOMEM);
		(void)conn_free(conn);
	}
}

static void on_go(void *arg)
{
	struct net_conn *conn = arg;

	BC_CHECK(conn, NET_CONN_MAGIC);
	hand_over(conn, conn->hold.fd);
}

static void on_gone(void *arg)
{
	struct net_conn *conn = arg;

	BC_CHECK(conn, NET_CONN_MAGIC);
	drop(conn);
}

static const struct net_hold_ops hold_ops = {on_go, on_gone};

void net_conn_new(struct net_acceptor *acceptor, const struct net_listener *listener, int fd)
{
	struct net_conn *conn = calloc(1, sizeof(*conn));

	if (conn != NULL) {
		conn->deadline = loop_timer_new(acceptor->loop, on_deadline, conn);
	}
	if (conn == NULL || conn->deadline == NULL) {
		free(conn);
		(void)close(fd);
		net_acceptor_release(acceptor);
		bc_metric_inc(BC_M_OUT_OF_MEMORY);
		return;
	}
	conn->magic = NET_CONN_MAGIC;
	conn->acceptor = acceptor;
	conn->listener = listener;
	bc_buf_init(&conn->head, (size_t)4 * NET_HEAD_MAX);
	LIST_INSERT_HEAD(&acceptor->conns, conn, entry);
	count_handshake(conn);
	read_peer(conn, fd);
	loop_timer_start(conn->deadline, acceptor->limits.handshake_timeout);
	if (listener->certificate == NULL) {
		hand_over(conn, fd);
	} else if (net_hold_begin(&conn->hold, &acceptor->holds, fd, &hold_ops, conn) != BC_OK) {
		(void)close(fd);
		(void)conn_free(conn);
		bc_metric_inc(BC_M_OUT_OF_MEMORY);
	}
}

void net_conn_gone(struct net_conn *conn)
{
	if (conn->wsi == NULL) {
		return; /* still inside net_lws_adopt(), whose caller frees */
	}
	conn->wsi = NULL;
	if (conn->link != NULL) {
		net_link_cut(conn->link);
	}
	(void)conn_free(conn);
}

static const char *status_text(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 426:
		return "Upgrade Required";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		return "Service Unavailable";
	default:
		return status < 500 ? "Refused" : "Error";
	}
}

/* Headers a status demands.  Source: RFC 9110 15.5.6, 15.5.22; RFC 6455 4.4. */
static const char *status_headers(unsigned status)
{
	switch (status) {
	case 401:
		return "WWW-Authenticate: Bearer\r\n";
	case 405:
		return "Allow: GET\r\n";
	case 426:
		return "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
	default:
		return "";
	}
}

struct answer {
	unsigned status;
	const char *type;
	struct bc_span body;
	bool headless; /* the answer to HEAD: no body */
};

/* Send an answer and let the connection end; the result is libwebsockets'. */
static int send_answer(struct net_conn *conn, const struct answer *answer)
{
	static const char room[NET_LWS_PRE];
	struct bc_buf out;
	int result = -1;

	bc_buf_init(&out, BODY_MAX + NET_HEAD_MAX);
	if (bc_buf_put(&out, room, sizeof(room)) == BC_OK &&
	    bc_buf_printf(&out,
			  "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
			  "Cache-Control: no-store\r\n%sConnection: close\r\n\r\n",
			  answer->status, status_text(answer->status), answer->type,
			  answer->body.len, status_headers(answer->status)) == BC_OK &&
	    bc_buf_put_span(&out, answer->headless ? bc_span(NULL, 0) : answer->body) == BC_OK) {
		conn->state = NET_CONN_ANSWERING;
		loop_timer_start(conn->deadline, DRAIN_TIMEOUT);
		result = net_lws_write(conn->wsi, out.mem + NET_LWS_PRE,
				       bc_buf_len(&out) - NET_LWS_PRE);
	}
	bc_buf_release(&out);
	return result;
}

static struct bc_span form_body(unsigned status)
{
	switch (status) {
	case 405:
		return BC_SPAN_LIT(
			"{\"error\":{\"type\":\"invalid_request_error\","
			"\"code\":\"method_not_allowed\",\"message\":\"Only GET is served.\"}}");
	case 426:
		return BC_SPAN_LIT("{\"error\":{\"type\":\"invalid_request_error\","
				   "\"code\":\"websocket_required\","
				   "\"message\":\"Connect with a WebSocket, version 13.\"}}");
	case 431:
		return BC_SPAN_LIT("{\"error\":{\"type\":\"invalid_request_error\","
				   "\"code\":\"headers_too_large\","
				   "\"message\":\"The request's headers are too large.\"}}");
	default:
		return BC_SPAN_LIT("{\"error\":{\"type\":\"invalid_request_error\","
				   "\"code\":\"bad_request\","
				   "\"message\":\"The request could not be understood.\"}}");
	}
}

/* An answer that needs nobody's judgement. */
static int refuse(struct net_conn *conn, unsigned status)
{
	struct answer answer = {.status = status, .type = JSON_TYPE, .body = form_body(status)};

	if (conn->listener->upgrades) {
		bc_metric_inc(BC_M_HANDSHAKES_REFUSED);
	}
	return send_answer(conn, &answer);
}

static void give_back(void *arg)
{
	struct net_conn *conn = arg;

	BC_CHECK(conn, NET_CONN_MAGIC);
	conn->link = NULL;
	kill_conn(conn);
}

/* Socket and TLS state become a link's; what came behind the head is its first input. */
static int take_over(struct net_conn *conn, const struct net_head *head,
		     const struct net_verdict *verdict)
{
	struct net_acceptor *acceptor = conn->acceptor;
	struct bc_span bytes = bc_buf_span(&conn->head);
	struct net_wire wire;
	struct bc_buf out;
	SSL *ssl;
	size_t sent;
	int fd;

	net_lws_take(conn->wsi, &fd, &ssl);
	wire_init(&wire, fd, ssl);
	bc_buf_init(&out, NET_HEAD_MAX);
	/* Less than any socket takes at once: one that does not is of no use to us. */
	if (net_upgrade_accept(head, &out) == BC_OK &&
	    wire_write(&wire, bc_buf_span(&out).ptr, bc_buf_len(&out), &sent) == BC_OK) {
		conn->link = net_link_new(acceptor->io, fd, ssl, &verdict->conf,
					  acceptor->ops->link_ops, verdict->arg, give_back, conn,
					  bc_span(bytes.ptr + head->len, bytes.len - head->len));
	}
	bc_buf_release(&out);
	if (conn->link == NULL) {
		acceptor->ops->abandoned(acceptor->owner, verdict->arg);
		return -1;
	}
	conn->state = NET_CONN_TAKEN;
	finish_handshake(conn);
	loop_timer_stop(conn->deadline);
	bc_buf_release(&conn->head);
	acceptor->ops->established(acceptor->owner, verdict->arg, conn->link);
	return 0;
}

static int judge(struct net_conn *conn, const struct net_head *head)
{
	struct net_acceptor *acceptor = conn->acceptor;
	struct net_verdict verdict = {.status = 503};
	struct net_upgrade upgrade;
	struct bc_buf text;
	unsigned status = net_upgrade_check(head);
	int result;

	if (status != 101) {
		return refuse(conn, status);
	}
	bc_buf_init(&text, NET_UPGRADE_TEXT_MAX);
	if (net_upgrade_read(head, &text, &upgrade) != BC_OK) {
		return -1;
	}
	upgrade.peer = bc_span_str(conn->peer);
	upgrade.network = bc_span_str(conn->network);
	acceptor->ops->upgrade(acceptor->owner, &upgrade, &verdict);
	if (verdict.status == 101) {
		result = take_over(conn, head, &verdict);
	} else {
		struct answer answer = {
			.status = verdict.status, .type = JSON_TYPE, .body = verdict.body};

		bc_metric_inc(BC_M_HANDSHAKES_REFUSED);
		result = send_answer(conn, &answer);
	}
	/* It holds the client's key. */
	explicit_bzero(text.mem, text.cap);
	bc_buf_release(&text);
	return result;
}

/* GET and HEAD on a listener without upgrades. */
static int serve(struct net_conn *conn, const struct net_head *head)
{
	struct net_acceptor *acceptor = conn->acceptor;
	struct answer answer = {.status = 404, .type = "text/plain"};
	struct bc_span path = head->target;
	const char *mark = memchr(path.ptr, '?', path.len);
	struct bc_buf body;
	int result;

	if (mark != NULL) {
		path.len = (size_t)(mark - path.ptr);
	}
	answer.headless = bc_span_is(head->method, "HEAD");
	if (!answer.headless && !bc_span_is(head->method, "GET")) {
		return refuse(conn, 405);
	}
	bc_buf_init(&body, BODY_MAX);
	if (acceptor->ops->http != NULL) {
		answer.status = acceptor->ops->http(acceptor->owner, path, &body, &answer.type);
	}
	answer.body = bc_buf_span(&body);
	result = send_answer(conn, &answer);
	bc_buf_release(&body);
	return result;
}

static int on_head(struct net_conn *conn)
{
	struct net_head head;
	enum bc_err err = net_head_parse(bc_buf_span(&conn->head), &head);

	if (err != BC_OK) {
		return refuse(conn, err == BC_E_LIMIT ? 431 : 400);
	}
	if (!conn->listener->upgrades) {
		return serve(conn, &head);
	}
	if (!net_upgrade_is_wanted(&head)) {
		return refuse(conn, 426);
	}
	return judge(conn, &head);
}

int net_conn_received(struct net_conn *conn, struct bc_span bytes)
{
	if (conn->state != NET_CONN_READING) {
		return 0; /* of no interest any more */
	}
	if (bc_buf_put_span(&conn->head, bytes) != BC_OK) {
		return -1;
	}
	if (net_head_is_complete(bc_buf_span(&conn->head), conn->seen)) {
		return on_head(conn);
	}
	conn->seen = bc_buf_len(&conn->head);
	if (conn->seen >= NET_HEAD_MAX) {
		return refuse(conn, 431);
	}
	return 0;
}

int net_conn_writable(struct net_conn *conn)
{
	struct net_wire wire;
	SSL *ssl;
	int fd;

	if (conn->state != NET_CONN_ANSWERING || net_lws_is_sending(conn->wsi)) {
		return 0;
	}
	/* End the stream, but read on: closing with unread bytes would reset it before the answer is read. */
	conn->state = NET_CONN_DRAINING;
	net_lws_peek(conn->wsi, &fd, &ssl);
	wire_init(&wire, fd, ssl);
	wire_shutdown(&wire);
	return 0;
}
