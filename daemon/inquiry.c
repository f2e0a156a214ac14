#include "daemon/inquiry.h"

#include "daemon/bridge.h"
#include "daemon/loop/loop.h"
#include "daemon/repair.h"
#include "daemon/thrift.h"
#include "daemon/upstreams.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum question {
	SESSIONS,
	ONE_SESSION,
	LEDGER,
	MEMORY
};

/* A request on its way through the workers; it is on one thread at a time. */
struct inquiry {
	struct server *server;
	struct loop *main;
	struct adm_request *request;
	enum question question;
	char id[32];              /* of the session asked for */
	unsigned next;            /* worker to ask */
	struct inquiry *unposted; /* the one behind this in the server's list */
	struct bc_buf text;
	unsigned sessions;
	size_t backlog; /* unsent bytes of all sessions */
	size_t backlog_high;
	size_t message_max;
};

static void put(struct inquiry *inquiry, const char *text)
{
	/* What is beyond the bound is cut: the operator has megabytes to read already. */
	(void)!bc_buf_put_str(&inquiry->text, text);
}

static void describe(struct inquiry *inquiry, const struct bridge *bridge, unsigned worker)
{
	size_t up = bridge->links[SESS_UPSTREAM] == NULL
			    ? 0
			    : net_link_backlog(bridge->links[SESS_UPSTREAM]);
	size_t down = bridge->links[SESS_CLIENT] == NULL
			      ? 0
			      : net_link_backlog(bridge->links[SESS_CLIENT]);

	inquiry->sessions++;
	inquiry->backlog += up + down;
	if (bridge->sess == NULL || inquiry->question == MEMORY ||
	    (inquiry->question != SESSIONS && strcmp(sess_id(bridge->sess), inquiry->id) != 0)) {
		return;
	}
	if (inquiry->question == LEDGER) {
		(void)!sess_ledger(bridge->sess, &inquiry->text); /* cut, see put() */
		return;
	}
	if (sess_describe(bridge->sess, inquiry->question == ONE_SESSION, &inquiry->text) !=
		    BC_OK ||
	    bc_buf_printf(&inquiry->text,
			  " worker=%u client=%s upstream=%s unsent_up=%zu unsent_down=%zu\n",
			  worker, bridge->client_name == NULL ? "-" : bridge->client_name,
			  bridge->upstream->name, up, down) != BC_OK) {
		return; /* cut, see put() */
	}
}

static void ask_next(void *arg);

static void ask_worker(void *arg)
{
	struct inquiry *inquiry = arg;
	const struct worker *worker = &inquiry->server->workers[inquiry->next];
	const struct bridge *bridge;

	TAILQ_FOREACH(bridge, &worker->bridges, link) {
		if (!bridge->ended) {
			describe(inquiry, bridge, inquiry->next);
		}
	}
	inquiry->next++;
	if (loop_post(inquiry->main, ask_next, inquiry) != BC_OK) {
		/* No memory for the way back: the main thread comes by, see inquiry_collect(). */
		inquiry->unposted = atomic_load(&inquiry->server->unposted);
		while (!atomic_compare_exchange_weak(&inquiry->server->unposted, &inquiry->unposted,
						     inquiry)) {
		}
	}
}

static void print_memory(struct inquiry *inquiry)
{
	(void)!bc_buf_printf(
		&inquiry->text,
		"sessions=%u unsent_bytes=%zu\n"
		"bound per session: unsent %zu bytes each way before reading stops (session.backlog_high), "
		"and one message of at most %zu bytes each way (session.message_max)\n",
		inquiry->sessions, inquiry->backlog, inquiry->backlog_high, inquiry->message_max);
}

static void finish(struct inquiry *inquiry)
{
	if (inquiry->question == MEMORY) {
		print_memory(inquiry);
	} else if (bc_buf_len(&inquiry->text) == 0) {
		put(inquiry, inquiry->question == SESSIONS ? "no sessions\n" : "no such session\n");
	}
	adm_answer(inquiry->request, bc_buf_span(&inquiry->text));
	bc_buf_release(&inquiry->text);
	free(inquiry);
}

static void ask_next(void *arg)
{
	struct inquiry *inquiry = arg;

	/* When the daemon ends, this may run after the workers' loops have gone, and all sessions with them. */
	if (inquiry->next < inquiry->server->worker_count &&
	    inquiry->server->workers[inquiry->next].loop != NULL &&
	    loop_post(inquiry->server->workers[inquiry->next].loop, ask_worker, inquiry) == BC_OK) {
		return;
	}
	finish(inquiry);
}

void inquiry_collect(struct server *server)
{
	struct inquiry *inquiry = atomic_exchange(&server->unposted, NULL);

	while (inquiry != NULL) {
		struct inquiry *next = inquiry->unposted;

		ask_next(inquiry);
		inquiry = next;
	}
}

static bool parse(struct bc_span line, struct inquiry *inquiry)
{
	static const char session[] = "session ";
	static const char ledger[] = " ledger";
	struct bc_span id;

	if (bc_span_is(line, "sessions")) {
		inquiry->question = SESSIONS;
		return true;
	}
	if (bc_span_is(line, "memory")) {
		inquiry->question = MEMORY;
		return true;
	}
	if (!bc_span_has_prefix(line, session)) {
		return false;
	}
	inquiry->question = ONE_SESSION;
	id = bc_span(line.ptr + sizeof(session) - 1, line.len - (sizeof(session) - 1));
	if (id.len > sizeof(ledger) - 1 &&
	    memcmp(id.ptr + id.len - (sizeof(ledger) - 1), ledger, sizeof(ledger) - 1) == 0) {
		id.len -= sizeof(ledger) - 1;
		inquiry->question = LEDGER;
	}
	if (id.len == 0 || id.len >= sizeof(inquiry->id)) {
		return false;
	}
	memcpy(inquiry->id, id.ptr, id.len);
	return true;
}

/* What is learnt is under a lock of its own: the answer is there at once. */
static void command(struct server *server, struct loop *main, const struct cfg *cfg,
		    struct adm_request *request, struct bc_span words)
{
	struct bc_buf text;

	bc_buf_init(&text, ADM_ANSWER_MAX);
	thrift_command(server->thrift, cfg, words, loop_now(main), &text);
	adm_answer(request, bc_buf_span(&text));
	bc_buf_release(&text);
}

/* upstreams, upstreams forget NAME; false: it is neither. */
static bool answer_upstreams(struct server *server, const struct loop *main, const struct cfg *cfg,
			     struct adm_request *request, struct bc_span line)
{
	static const char forget[] = "upstreams forget ";
	struct bc_buf text;
	char *name;

	bc_buf_init(&text, ADM_ANSWER_MAX);
	if (bc_span_is(line, "upstreams")) {
		(void)!upstreams_show(server->upstreams, cfg, loop_wall(main),
				      &text); /* cut, see put() */
	} else if (bc_span_has_prefix(line, forget)) {
		name = bc_span_dup(
			bc_span(line.ptr + sizeof(forget) - 1, line.len - (sizeof(forget) - 1)));
		if (name != NULL) {
			(void)!bc_buf_printf(&text, "forgotten: %u\n",
					     upstreams_forget(server->upstreams, name));
		}
		free(name);
	} else {
		return false;
	}
	adm_answer(request, bc_buf_span(&text));
	bc_buf_release(&text);
	return true;
}

void inquiry_begin(struct server *server, struct loop *main, const struct cfg *cfg,
		   struct adm_request *request, struct bc_span line)
{
	static const char journal[] = "journal ";
	static const char speculation[] = "speculation ";
	struct inquiry *inquiry;

	if (bc_span_has_prefix(line, journal)) {
		repair_begin(
			server, main, cfg, request,
			bc_span(line.ptr + sizeof(journal) - 1, line.len - (sizeof(journal) - 1)));
		return;
	}
	if (bc_span_has_prefix(line, speculation)) {
		command(server, main, cfg, request,
			bc_span(line.ptr + sizeof(speculation) - 1,
				line.len - (sizeof(speculation) - 1)));
		return;
	}
	if (answer_upstreams(server, main, cfg, request, line)) {
		return;
	}
	inquiry = calloc(1, sizeof(*inquiry));
	if (inquiry == NULL) {
		adm_answer(request, BC_SPAN_LIT("error: out of memory\n"));
		return;
	}
	*inquiry = (struct inquiry){.server = server,
				    .main = main,
				    .request = request,
				    .backlog_high = cfg->session.backlog_high,
				    .message_max = cfg->session.message_max};
	bc_buf_init(&inquiry->text, ADM_ANSWER_MAX);
	if (!parse(line, inquiry)) {
		adm_answer(
			request,
			BC_SPAN_LIT(
				"error: unknown request; there are: sessions, session ID, session ID ledger, memory, upstreams, upstreams forget NAME, journal list|show|retry|resolve, speculation show|on|off|shadow\n"));
		free(inquiry);
		return;
	}
	ask_next(inquiry);
}
