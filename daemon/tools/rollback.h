/*
 * Taking effects back: of a turn that went another way, after a crash, and by the operator's hand, on one path (J4).
 * Only this room, and its tests, include this.
 *
 *   outcome unknown ---> found out ---> executed ---> its turn has come ---> undone
 *          |                 |              |                   |
 *       in doubt         not executed     stands             parked
 *
 * K1  The journal says whose turn it is, and that nothing else with one of its tags starts meanwhile (journal/undo.c).
 * K2  A request is repeated only where that can do no harm: a status request always, a call or an undo only of a tool
 *     that is idempotent by key or by nature.  An undo of another tool whose outcome is not known is parked.
 * K3  A case ends with a settlement, or with none: then the next process finds it in the journal.
 */
#ifndef BACKCHANNEL_TOOLS_ROLLBACK_H
#define BACKCHANNEL_TOOLS_ROLLBACK_H

#include "daemon/tools/call.h"

#define TOOL_CASE_MAGIC        0x63617365U
#define TOOL_CASE_REQUESTS_MAX 16 /* of all cases of a host, in flight */

enum tool_case_state {
#define STATE(id, help) TOOL_CASE_##id,
#define EVENT(id, help)
#define EDGE(from, on, to)
#include "daemon/tools/rollback_fsm.def"
	TOOL_CASE_STATE__COUNT /* must be last */
};

enum tool_case_event {
#define STATE(id, help)
#define EVENT(id, help) TOOL_CASE_EV_##id,
#define EDGE(from, on, to)
#include "daemon/tools/rollback_fsm.def"
	TOOL_CASE_EVENT__COUNT /* must be last */
};

struct tool_case {
	unsigned magic;
	enum tool_case_state state;
	struct tool_host *host;
	LIST_ENTRY(tool_case) link;
	const struct cfg_tool *tool;
	const struct cfg_tools *common;
	struct jrn_ticket ticket;
	struct jrn_ticket undo; /* valid with has_undo */
	bool has_undo;
	bool to_undo;    /* else it stands, and only its outcome is not known */
	bool has_result; /* executed, as the journal has it */
	bool has_digest; /* of the call, for doubts: it was made by this process */
	struct bc_sha256 digest;
	bool undo_sent; /* an undo may have reached the server */
	json_t *args;   /* NULL: they cannot be read back */
	json_t *result; /* NULL: there is none that an undo could use */
	struct bc_buf output;
	/* what the journal has of it */
	char *session;
	uint64_t turn;
	struct bc_buf shown;
	struct bc_buf sealed;
	struct bc_buf tags;
	unsigned attempts;
	struct net_http_call *http;
	struct loop_timer *timer;
};

/* The state behind an edge; TOOL_CASE_STATE__COUNT: there is no such edge.  Pure. */
enum tool_case_state tool_case_next(enum tool_case_state from, enum tool_case_event on);

/* In the host's list; NULL when out of memory. */
struct tool_case *tool_case_new(struct tool_host *host);

/* Free it; records nothing. */
void tool_case_end(struct tool_case *c);

/* Everything known is filled in: find out, undo, settle. */
void tool_case_begin(struct tool_case *c);

/* c->output is the result: keep it for the undo. */
void tool_case_keep_result(struct tool_case *c);

/* Ends: for the operator (undone: what is known of an undo that was asked for), in doubt, and left to the next process. */
void tool_case_park(struct tool_case *c, enum jrn_settlement undone, const char *why);
void tool_case_give_up(struct tool_case *c);
void tool_case_leave(struct tool_case *c);

/* Go on where an abandoned call ends; the call keeps its memory.  Without memory the next process does. */
void tool_rollback_begin(struct tool_call *call);

/* The host goes away: what is not settled stays open in the journal. */
void tool_cases_free(struct tool_host *host);

#endif
