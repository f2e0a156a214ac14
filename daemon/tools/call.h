/* One call and its host, from the inside.  Only this room, and its tests, include this. */
#ifndef BACKCHANNEL_TOOLS_CALL_H
#define BACKCHANNEL_TOOLS_CALL_H

#include "daemon/base/seal.h"
#include "daemon/net/http.h"
#include "daemon/tools/breaker.h"
#include "daemon/tools/doubt.h"
#include "daemon/tools/host.h"
#include "daemon/tools/tool.h"
#include "daemon/tools/verdict.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/queue.h>

struct loop;
struct loop_timer;
struct tool_case;

#define TOOL_HOST_MAGIC 0x746f6f6cU
#define TOOL_CALL_MAGIC 0x746f6361U

enum tool_state {
#define STATE(id, help) TOOL_STATE_##id,
#define EVENT(id, help)
#define EDGE(from, on, to)
#include "daemon/tools/fsm.def"
	TOOL_STATE__COUNT /* must be last */
};

enum tool_event {
#define STATE(id, help)
#define EVENT(id, help) TOOL_EVENT_##id,
#define EDGE(from, on, to)
#include "daemon/tools/fsm.def"
	TOOL_EVENT__COUNT /* must be last */
};

/* Calls of one tool in flight; exists while there are any. */
struct tool_slot {
	LIST_ENTRY(tool_slot) link;
	char *name;
	uint64_t used;
};

TAILQ_HEAD(tool_calls, tool_call);

/* Requests of tool_warm() that are in flight are forgotten. */
void tool_warmups_free(struct tool_host *host);

struct tool_host {
	unsigned magic;
	struct loop *loop;
	struct net_http *http;
	struct jrn_port *port;
	struct loop_timer *timer; /* reports the calls in due */
	struct tool_calls calls;  /* all that are not freed */
	struct tool_calls due;    /* those in state FAILED */
	size_t call_count;
	size_t due_count;
	LIST_HEAD(, tool_slot) slots;
	struct breaker_list breakers;
	struct tool_doubts doubts;
	LIST_HEAD(, tool_case) cases; /* what is being taken back, or found out */
	size_t case_count;
	size_t case_requests;             /* of cases, in flight */
	LIST_HEAD(, tool_warmup) warmups; /* in flight */
	size_t warmup_count;
	struct tool_hooks hooks;
	struct bc_seal_key *seal; /* NULL: none is configured */
};

struct tool_call {
	unsigned magic;
	enum tool_state state;
	struct tool_host *host;
	TAILQ_ENTRY(tool_call) link;     /* in host->calls */
	TAILQ_ENTRY(tool_call) due_link; /* in host->due, in state FAILED */
	const struct cfg_tool *tool;
	const struct cfg_tools *common;
	json_t *args; /* all of them */
	json_t *sent; /* those that leave the process, and are recorded; often the same object */
	struct bc_sha256 digest; /* of tool and arguments, for doubts */
	char *session;
	uint64_t turn;
	bool speculative;
	bool committed;  /* it stands: no guess, or one that became real */
	bool abandoned;  /* the journal was told so */
	bool cancelled;  /* done is not called any more */
	bool has_ticket; /* ticket is filled */
	bool probe;      /* the server's breaker waits to hear how this call ends */
	bool (*may_start)(void *arg);
	tool_done_fn *done;
	void *arg;
	bc_usec created;            /* monotonic, of tool_run() */
	struct tool_slot *slot;     /* NULL: not in flight */
	struct jrn_ticket ticket;   /* a copy */
	struct net_http_call *http; /* in SENT, and in ASKING but between two questions */
	unsigned attempts;          /* requests sent */
	bc_usec deadline;           /* monotonic, of all attempts together; then of all questions */
	unsigned asked;             /* status requests sent */
	struct loop_timer *timer;   /* NULL until first needed; runs in HELD, WAITING and ASKING */
	struct tool_verdict verdict; /* from FAILED or the first answer on */
	/* likewise; output points into output, or to a literal when memory ran out */
	struct tool_result result;
	struct bc_buf output;
};

/* host.c: memory and accounts. */

/* A call in state NEW, in its host's list, with copies of what the request points to; NULL when out of memory. */
struct tool_call *tool_call_new(struct tool_host *host, const struct cfg_tools *common,
				const struct tool_request *request);

/* Take the call out of its host and free it; cuts off nothing and records nothing. */
void tool_call_free(struct tool_call *call);

enum bc_err
tool_slot_take(struct tool_call *call) BC_MUST; /* BC_E_LIMIT: all are used; BC_E_NOMEM */
void tool_slot_give(struct tool_call *call);    /* does nothing for a call without one */

/* Whether the server's breaker lets a request out now; or nothing will be learnt from the call any more. */
bool tool_breaker_enter(struct tool_call *call);
void tool_breaker_leave(struct tool_call *call); /* does nothing for a call that is no probe */

/* Report a call in state FAILED in the next turn of the loop; or do not any more. */
void tool_due_add(struct tool_call *call);
void tool_due_remove(struct tool_call *call);

/* run.c: the steps of a call. */

/* The state behind an edge; TOOL_STATE__COUNT: there is no such edge.  Pure. */
enum tool_state tool_state_next(enum tool_state from, enum tool_event on);

/* Take an edge, which there must be. */
void tool_move(struct tool_call *call, enum tool_event on);

enum jrn_effect tool_effect(const struct tool_call *call);
bool tool_is_effect(const struct tool_call *call); /* and no read */

/* Make an error the result.  Out of memory, the model gets a poorer text, but it gets one. */
void tool_put_error(struct tool_call *call, const struct tool_verdict *verdict,
		    struct bc_span detail);

/* An effect in HELD: look whether it may go on now. */
void tool_held_again(struct tool_call *call);

/* A result for the journal, secrets hidden and sealed; errors as jrn_result(). */
struct tool_record {
	struct tool_host *host;
	const struct cfg_tool *tool;
	const json_t *args;
	const struct jrn_ticket *ticket;
	int status;
	struct bc_span output;
};
enum bc_err tool_record(const struct tool_record *record, jrn_done_fn *fn, void *arg) BC_MUST;

/* Nothing more will be learnt: record what is known, and report it. */
void tool_conclude(struct tool_call *call);

/* The result may be seen: done, or for a cancelled call settlement and end. */
void tool_report(struct tool_call *call);

/* The host goes away: cut off, record what can be recorded, free. */
void tool_abandon(struct tool_call *call);

/* attempt.c: from the ticket to the last answer. */

/*
 * Send the request.  The ticket is the permission (J1): one that the journal did not make, or too weak a one for the
 * tool's effect, aborts.  BC_E_INVALID: no request can be made of the arguments, message says why; BC_E_NOMEM,
 * BC_E_LIMIT.  After an error nothing was sent.
 */
enum bc_err tool_start(struct tool_call *call, const struct jrn_ticket *ticket,
		       struct bc_buf *reterr_message) BC_MUST;

/* There will be no further attempt: ask the server what became of an effect in doubt, else conclude. */
void tool_attempts_end(struct tool_call *call);

/* One request of a tool, whoever makes it. */
struct tool_outgoing {
	const struct cfg_tool *tool;
	const struct cfg_request *template; /* of the tool */
	const struct jrn_ticket *ticket;    /* permits it: of the call, or for undo of the undo */
	const char *key; /* what {idempotency_key} stands for: that of the call */
	const json_t *args;
	const json_t *result; /* NULL: there is none */
	bc_usec timeout;
	net_http_fn *fn;
	void *arg;
};

/* Fill a template and send it.  Ticket and errors as for tool_start(). */
enum bc_err tool_send_out(struct tool_host *host, const struct tool_outgoing *outgoing,
			  struct bc_buf *reterr_message, struct net_http_call **ret) BC_MUST;

/* Rule A1 of attempt.c: whether the tool's request may be sent again when it may have arrived before. */
bool tool_is_repeatable(const struct cfg_tool *tool);

/* The tool's tags, comma-separated; without any, the host it talks to. */
enum bc_err tool_put_tags(struct bc_buf *out, const struct cfg_tool *tool) BC_MUST;

/*
 * Fill a template of the tool and send it, with call->deadline; fn gets the call.  Ticket and errors as for
 * tool_start().
 */
enum bc_err tool_send(struct tool_call *call, const struct jrn_ticket *ticket,
		      const struct cfg_request *template, net_http_fn *fn,
		      struct bc_buf *reterr_message) BC_MUST;

/* A pause after so many failures: the configured one, doubled by each but the first, half of it at random. */
bc_usec tool_back_off(const struct cfg_tools *common, unsigned failures);

/* Go on after a delay, with what the state says; false: out of memory. */
bool tool_timer_start(struct tool_call *call, bc_usec delay);

/* Wait for no answer and no time any more. */
void tool_cut_off(struct tool_call *call);

/* ask.c: what became of an effect. */

/* Ask for an effect in doubt; false: that cannot be. */
bool tool_ask(struct tool_call *call);

/* The pause between two questions is over. */
void tool_ask_again(struct tool_call *call);

#endif
