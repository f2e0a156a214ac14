/*
 * One attempt to reach a provider.
 *
 *      RESOLVE --> CONNECT --+--> PROXY --+--> TLS --+--> HANDSHAKE --> OVER (connected)
 *                   |   ^    |            |  ^       |  ^
 *                   +---+    +------------+--+-------+--+      any stage --> OVER (failed, cancelled)
 *              next address    plain, no proxy: straight on
 *
 * N1 One deadline covers everything; while more than one address is left, each gets its share of what remains.
 * N2 The owner is called back last, when the attempt holds nothing any more: it may do anything then.
 * N3 The request holds the key: it is wiped when it has been sent or given up, and no detail is made of it.
 */
#include "daemon/net/connect.h"

#include "daemon/base/buf.h"
#include "daemon/loop/loop.h"
#include "daemon/net/opening.h"
#include "daemon/net/resolver.h"
#include "daemon/net/tls.h"
#include "daemon/net/wire.h"
#include "proto/handshake.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTOR_MAGIC 0x636e6374U
#define ATTEMPT_MAGIC   0x61747074U
/* Bytes of one read: a whole TLS record, so that nothing that came with the answer stays behind in the TLS layer. */
#define READ_SIZE  16384
#define ANSWER_MAX (WS_ANSWER_MAX + READ_SIZE) /* the longest head and the read that completed it */

enum connect_stage {
	STAGE_RESOLVE,
	STAGE_CONNECT,
	STAGE_PROXY,
	STAGE_TLS,
	STAGE_HANDSHAKE,
	STAGE_OVER /* must be last */
};

static const char *const stage_names[] = {"resolve", "connect", "proxy", "tls", "handshake"};

static_assert(BC_ARRAY_LEN(stage_names) == STAGE_OVER, "a stage has no name");

struct net_connector {
	unsigned magic;
	struct net_io *io;
	struct loop *loop;
	struct net_resolver *resolver;
	struct net_tls *tls;
	size_t open; /* attempts */
};

struct net_connect {
	unsigned magic;
	enum connect_stage stage;
	struct net_connector *connector;
	struct net_link_conf conf;
	const struct net_connect_ops *ops;
	const struct net_link_ops *link_ops;
	void *arg;

	struct net_opening opening; /* requests are consumed as they are sent */
	struct bc_buf answer;

	bc_usec deadline;
	struct loop_timer *clock; /* runs to the deadline */
	struct loop_timer *share; /* runs to the end of this address's time */
	struct net_lookup *lookup;
	struct net_addresses addresses;
	size_t next; /* address to try next */
	int fd;      /* -1: none */
	SSL *ssl;
	struct net_wire wire;
	struct loop_io *watch;

	enum bc_err early;  /* failed before it began, to be told from the loop */
	const char *detail; /* static: why the last address, or the beginning, failed */
};

struct net_connector *net_connector_new(struct net_io *io, struct net_resolver *resolver)
{
	struct net_connector *connector = calloc(1, sizeof(*connector));

	if (connector == NULL) {
		return NULL;
	}
	connector->magic = CONNECTOR_MAGIC;
	connector->io = io;
	connector->loop = net_io_loop(io);
	connector->resolver = resolver;
	connector->tls = net_tls_new();
	return connector->tls == NULL ? net_connector_free(connector) : connector;
}

struct net_connector *net_connector_free(struct net_connector *connector)
{
	if (connector == NULL) {
		return NULL;
	}
	BC_CHECK(connector, CONNECTOR_MAGIC);
	BC_BUG_ON(connector->open != 0);
	connector->tls = net_tls_free(connector->tls);
	connector->magic = 0;
	free(connector);
	return NULL;
}

static void close_socket(struct net_connect *attempt)
{
	attempt->watch = loop_io_free(attempt->watch);
	SSL_free(attempt->ssl);
	attempt->ssl = NULL;
	if (attempt->fd >= 0) {
		/* Nothing was promised on it. */
		(void)close(attempt->fd);
		attempt->fd = -1;
	}
}

/* Let go of everything but the memory; the attempt is over. */
static void end(struct net_connect *attempt)
{
	attempt->stage = STAGE_OVER;
	attempt->connector->open--;
	attempt->lookup = net_lookup_cancel(attempt->lookup);
	attempt->clock = loop_timer_free(attempt->clock);
	attempt->share = loop_timer_free(attempt->share);
	close_socket(attempt);
	net_opening_fini(&attempt->opening);
	bc_buf_release(&attempt->answer);
}

static void destroy(struct net_connect *attempt)
{
	attempt->magic = 0;
	free(attempt);
}

static void fail_with_status(struct net_connect *attempt, enum bc_err err, unsigned status,
			     const char *detail)
{
	const struct net_connect_failure failure = {.err = err,
						    .status = status,
						    .stage = stage_names[attempt->stage],
						    .detail = detail};

	end(attempt);
	attempt->ops->failed(attempt->arg, &failure);
	destroy(attempt);
}

static void fail(struct net_connect *attempt, enum bc_err err, const char *detail)
{
	fail_with_status(attempt, err, 0, detail);
}

/* An answer that is not the one we need: who can change that? */
static void fail_by_status(struct net_connect *attempt, unsigned status)
{
	bool passing = status == 408 || status == 425 || status == 429 || status >= 500;

	fail_with_status(attempt, passing ? BC_E_UPSTREAM : BC_E_REFUSED, status,
			 passing ? "answered that it cannot serve us now" : "refused the request");
}

static void fail_by_parse(struct net_connect *attempt, enum bc_err err)
{
	fail(attempt, BC_E_PROTO,
	     err == BC_E_LIMIT ? "the head of the answer is too long" : "the answer is not valid");
}

static const char *describe(int error)
{
	const char *text = strerrordesc_np(error);

	return text == NULL ? "unknown error" : text;
}

/* Everything is said: the connection becomes a link. */
static void succeed(struct net_connect *attempt, size_t head_len)
{
	struct bc_span rest;
	struct net_link *link;

	bc_buf_consume(&attempt->answer, head_len);
	rest = bc_buf_span(&attempt->answer);
	attempt->watch = loop_io_free(attempt->watch);
	link = net_link_new(attempt->connector->io, attempt->fd, attempt->ssl, &attempt->conf,
			    attempt->link_ops, attempt->arg, NULL, NULL, rest);
	if (link == NULL) {
		fail(attempt, BC_E_NOMEM, "out of memory");
		return;
	}
	attempt->fd = -1;
	attempt->ssl = NULL;
	end(attempt);
	attempt->ops->connected(attempt->arg, link);
	destroy(attempt);
}

/*
 * Read once into answer.  BC_E_AGAIN: nothing there, and the watcher waits for more; otherwise as wire_read().
 */
static enum bc_err read_some(struct net_connect *attempt)
{
	size_t got;
	char *room;
	enum bc_err err;

	err = bc_buf_room(&attempt->answer, READ_SIZE, &room);
	if (err != BC_OK) {
		return err;
	}
	err = wire_read(&attempt->wire, room, READ_SIZE, &got);
	if (err == BC_OK) {
		bc_buf_grow(&attempt->answer, got);
	} else if (err == BC_E_AGAIN) {
		loop_io_set(attempt->watch,
			    attempt->wire.read_wants_write ? LOOP_WRITE : LOOP_READ);
	}
	return err;
}

/* Send what is left of a request.  BC_E_AGAIN as read_some(). */
static enum bc_err write_some(struct net_connect *attempt, struct bc_buf *request)
{
	struct bc_span left = bc_buf_span(request);
	size_t put;
	enum bc_err err;

	if (left.len == 0) {
		return BC_OK;
	}
	err = wire_write(&attempt->wire, left.ptr, left.len, &put);
	bc_buf_consume(request, put);
	if (err == BC_E_AGAIN) {
		loop_io_set(attempt->watch,
			    attempt->wire.write_wants_read ? LOOP_READ : LOOP_WRITE);
	} else if (err == BC_OK) {
		net_opening_wipe(request); /* N3 */
	}
	return err;
}

static void fail_by_io(struct net_connect *attempt, enum bc_err err)
{
	if (err == BC_E_CLOSED) {
		fail(attempt, BC_E_UPSTREAM, "the connection was closed before the answer");
	} else {
		fail(attempt, err, "out of memory");
	}
}

static void judge_upgrade(struct net_connect *attempt, const struct ws_answer *answer)
{
	if (answer->status == 101) {
		succeed(attempt, answer->head_len);
	} else {
		fail_by_status(attempt, answer->status);
	}
}

static void judge_tunnel(struct net_connect *attempt, const struct ws_answer *answer);

/* Whether the answer of this stage is complete: BC_OK; BC_E_AGAIN: not yet. */
static enum bc_err parse_answer(const struct net_connect *attempt, struct ws_answer *ret)
{
	const struct ws_request asked = {.key = attempt->opening.key};
	struct bc_span data = bc_buf_span(&attempt->answer);

	return attempt->stage == STAGE_PROXY ? http_connect_answer_parse(data, ret)
					     : ws_answer_parse(data, &asked, ret);
}

/* Send the request of this stage and read until its answer is complete; called again on every readiness. */
static void converse(struct net_connect *attempt)
{
	bool tunnel = attempt->stage == STAGE_PROXY;
	enum bc_err parsed = BC_E_AGAIN;
	struct ws_answer answer;
	enum bc_err err;

	err = write_some(attempt, tunnel ? &attempt->opening.tunnel : &attempt->opening.request);
	while (err == BC_OK && parsed == BC_E_AGAIN) {
		err = read_some(attempt);
		if (err == BC_OK) {
			parsed = parse_answer(attempt, &answer);
		}
	}
	if (err == BC_E_AGAIN) {
		return;
	}
	if (err != BC_OK) {
		fail_by_io(attempt, err);
	} else if (parsed != BC_OK) {
		fail_by_parse(attempt, parsed);
	} else if (tunnel) {
		judge_tunnel(attempt, &answer);
	} else {
		judge_upgrade(attempt, &answer);
	}
}

static void enter_handshake(struct net_connect *attempt)
{
	attempt->stage = STAGE_HANDSHAKE;
	wire_init(&attempt->wire, attempt->fd, attempt->ssl);
	converse(attempt);
}

static void run_tls(struct net_connect *attempt)
{
	const char *detail = NULL;
	unsigned events = 0;
	enum bc_err err;
	int code;

	ERR_clear_error();
	errno = 0;
	code = SSL_connect(attempt->ssl);
	if (code == 1) {
		enter_handshake(attempt);
		return;
	}
	err = net_tls_error(attempt->ssl, code, &events, &detail);
	if (err == BC_E_AGAIN) {
		loop_io_set(attempt->watch, events);
	} else {
		fail(attempt, err, detail);
	}
}

/* There is a way for bytes to the provider itself. */
static void enter_tls(struct net_connect *attempt)
{
	const struct net_tls_peer peer = {.host = attempt->opening.target.host,
					  .port = attempt->opening.target.port,
					  .ca_file = attempt->opening.ca_file};
	const char *detail = NULL;
	enum bc_err err;

	if (!attempt->opening.target.tls) {
		enter_handshake(attempt);
		return;
	}
	attempt->stage = STAGE_TLS;
	err = net_tls_client(attempt->connector->tls, &peer, attempt->fd, &detail, &attempt->ssl);
	if (err != BC_OK) {
		fail(attempt, err, detail);
		return;
	}
	run_tls(attempt);
}

static void judge_tunnel(struct net_connect *attempt, const struct ws_answer *answer)
{
	if (answer->status < 200 || answer->status > 299) {
		fail_by_status(attempt, answer->status);
		return;
	}
	if (answer->head_len != bc_buf_len(&attempt->answer)) {
		/* The provider speaks second, so these bytes are the proxy's own. */
		fail(attempt, BC_E_PROTO, "the proxy sent more than an answer");
		return;
	}
	bc_buf_clear(&attempt->answer);
	enter_tls(attempt);
}

static void on_ready(void *arg, unsigned events);

/* Begin to connect to one address; the watcher tells the outcome.  BC_E_SYSTEM: not even begun, see detail. */
static enum bc_err begin_address(struct net_connect *attempt, const struct net_address *address)
{
	const struct sockaddr *addr = (const void *)&address->addr;
	int on = 1;

	attempt->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (attempt->fd < 0) {
		attempt->detail = describe(errno);
		return BC_E_SYSTEM;
	}
	/* Small messages must not wait for each other; without it they only come later. */
	(void)setsockopt(attempt->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(attempt->fd, addr, address->len) != 0 && errno != EINPROGRESS &&
	    errno != EINTR) {
		attempt->detail = describe(errno);
		close_socket(attempt);
		return BC_E_SYSTEM;
	}
	attempt->watch = loop_io_new(attempt->connector->loop, attempt->fd, on_ready, attempt);
	if (attempt->watch == NULL) {
		attempt->detail = "out of memory";
		close_socket(attempt);
		return BC_E_SYSTEM;
	}
	loop_io_set(attempt->watch, LOOP_WRITE);
	return BC_OK;
}

static void try_next(struct net_connect *attempt)
{
	close_socket(attempt);
	loop_timer_stop(attempt->share);
	while (attempt->next < attempt->addresses.count) {
		size_t left = attempt->addresses.count - attempt->next;
		bc_usec time = attempt->deadline - loop_now(attempt->connector->loop);

		if (begin_address(attempt, &attempt->addresses.list[attempt->next++]) != BC_OK) {
			continue;
		}
		if (left > 1) {
			loop_timer_start(attempt->share,
					 time > 0 ? time / (bc_usec)left : 0); /* N1 */
		}
		return;
	}
	fail(attempt, BC_E_UPSTREAM, attempt->detail);
}

static void on_share(void *arg)
{
	struct net_connect *attempt = arg;

	BC_CHECK(attempt, ATTEMPT_MAGIC);
	attempt->detail = describe(ETIMEDOUT);
	try_next(attempt);
}

static void run_connect(struct net_connect *attempt)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
		error = errno;
	}
	if (error != 0) {
		attempt->detail = describe(error);
		try_next(attempt);
		return;
	}
	loop_timer_stop(attempt->share);
	if (!attempt->opening.via_proxy) {
		enter_tls(attempt);
		return;
	}
	attempt->stage = STAGE_PROXY;
	wire_init(&attempt->wire, attempt->fd, NULL);
	converse(attempt);
}

static void on_ready(void *arg, unsigned events)
{
	struct net_connect *attempt = arg;

	(void)events; /* every stage finds out by trying */
	BC_CHECK(attempt, ATTEMPT_MAGIC);
	switch (attempt->stage) {
	case STAGE_CONNECT:
		run_connect(attempt);
		return;
	case STAGE_TLS:
		run_tls(attempt);
		return;
	case STAGE_PROXY:
	case STAGE_HANDSHAKE:
		converse(attempt);
		return;
	case STAGE_RESOLVE:
	case STAGE_OVER:
		break;
	}
	BC_BUG_ON(true); /* there is no socket in these stages */
}

static void on_clock(void *arg)
{
	struct net_connect *attempt = arg;

	BC_CHECK(attempt, ATTEMPT_MAGIC);
	if (attempt->early != BC_OK) {
		fail(attempt, attempt->early, attempt->detail);
	} else {
		fail(attempt, BC_E_TIMEOUT, "the time allowed for the whole attempt has passed");
	}
}

static void on_addresses(void *arg, const struct net_addresses *addresses)
{
	struct net_connect *attempt = arg;

	BC_CHECK(attempt, ATTEMPT_MAGIC);
	attempt->lookup = NULL;
	if (addresses->err != BC_OK) {
		/* Also for a name that does not exist: records come and go, and the owner retries in its own time. */
		fail(attempt, BC_E_UPSTREAM, addresses->detail);
		return;
	}
	attempt->addresses = *addresses;
	attempt->stage = STAGE_CONNECT;
	try_next(attempt);
}

/* Do whatever can go wrong without asking anybody, and start the look-up. */
static enum bc_err prepare(struct net_connect *attempt, const struct net_target *target)
{
	struct net_connector *connector = attempt->connector;
	const struct net_endpoint *first = &attempt->opening.first;
	enum bc_err err;

	err = net_opening_init(&attempt->opening, target);
	if (err != BC_OK) {
		attempt->detail = "a URL or a header of the request cannot be used";
		return err;
	}
	err = net_lookup_start(connector->resolver, connector->loop, first->host, first->port,
			       on_addresses, attempt, &attempt->lookup);
	if (err != BC_OK) {
		attempt->detail = "no look-up could be started";
	}
	return err == BC_E_LIMIT ? BC_E_UPSTREAM : err;
}

struct net_connect *net_connect_start(struct net_connector *connector,
				      const struct net_target *target,
				      const struct net_link_conf *conf,
				      const struct net_connect_ops *ops,
				      const struct net_link_ops *link_ops, void *arg)
{
	struct net_connect *attempt;

	BC_CHECK(connector, CONNECTOR_MAGIC);
	attempt = calloc(1, sizeof(*attempt));
	if (attempt == NULL) {
		return NULL;
	}
	attempt->magic = ATTEMPT_MAGIC;
	attempt->connector = connector;
	attempt->conf = *conf;
	attempt->conf.role = WS_CLIENT;
	attempt->ops = ops;
	attempt->link_ops = link_ops;
	attempt->arg = arg;
	attempt->fd = -1;
	bc_buf_init(&attempt->answer, ANSWER_MAX);
	connector->open++;
	attempt->clock = loop_timer_new(connector->loop, on_clock, attempt);
	attempt->share = loop_timer_new(connector->loop, on_share, attempt);
	if (attempt->clock == NULL || attempt->share == NULL) {
		end(attempt);
		destroy(attempt);
		return NULL;
	}
	attempt->deadline = loop_now(connector->loop) + target->timeout;
	attempt->early = prepare(attempt, target);
	loop_timer_start(attempt->clock, attempt->early == BC_OK ? target->timeout : 0);
	return attempt;
}

void net_connect_cancel(struct net_connect *attempt)
{
	BC_CHECK(attempt, ATTEMPT_MAGIC);
	if (attempt->stage == STAGE_OVER) {
		return;
	}
	end(attempt);
	destroy(attempt);
}
