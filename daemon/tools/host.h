/*
 * Where calls of one worker run: its journal port, its HTTP client, and how many calls of a tool are in flight.
 * For daemon/server.c; everybody else is handed a host and uses tool.h.
 */
#ifndef BACKCHANNEL_TOOLS_HOST_H
#define BACKCHANNEL_TOOLS_HOST_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/journal/journal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bc_seal_key;
struct cfg;
struct jrn_port;
struct loop;
struct net_http;
struct tool_host;

/* A host without calls; NULL when out of memory.  All three live longer than the host.  Loop thread only. */
struct tool_host *tool_host_new(struct loop *loop, struct net_http *http, struct jrn_port *port);

/*
 * End all calls and free the host.  Requests in flight are cut off; an effect among them is recorded as in doubt.  No
 * done is called any more and every struct tool_call is gone.  Afterwards the port must be freed without
 * another jrn_port_dispatch(): answers of the journal would find no call.  An effect that waits for its ticket stays
 * open in the journal, so a drain waits for tool_host_count() to be 0 first.  Accepts NULL, returns NULL.
 */
struct tool_host *tool_host_free(struct tool_host *host);

/* What others must hear of what happens when no session looks on; arg is handed to each. */
struct tool_hooks {
	/* it is known now what became of an effect that was in doubt: tool_host_resolved() on every host */
	void (*resolved)(void *arg, uint64_t intent);
	/* an effect was undone: what has this tag is as it was */
	void (*changed)(void *arg, const char *tag);
	void *arg;
};
void tool_host_hook(struct tool_host *host, const struct tool_hooks *hooks);

/* Seal secret arguments with this key (copied) from now on.  BC_E_NOMEM. */
enum bc_err tool_host_seal(struct tool_host *host, const struct bc_seal_key *key) BC_MUST;

/* Learn from the journal which effects are in doubt since earlier processes (J7).  Before the host's thread runs. */
void tool_host_learn(struct tool_host *host);

/*
 * Look after what a crash left open (J4), with the tools of cfg, which must live until tool_host_count() is 0.  One host
 * of the daemon, once.
 */
void tool_host_adopt(struct tool_host *host, const struct cfg *cfg);

/* Forget a doubt. */
void tool_host_resolved(struct tool_host *host, uint64_t intent);

/*
 * The operator's hand: take up again an effect that is in doubt or parked, with the tools of cfg, which lives as above;
 * or say what became of it (JRN_USED, JRN_UNDONE, JRN_NEVER_STARTED).  done is called once, later: BC_OK;
 * BC_E_NOTFOUND: it is neither in doubt nor parked; BC_E_JOURNAL, BC_E_NOMEM.
 */
typedef void tool_operator_fn(void *arg, enum bc_err err);
void tool_host_retry(struct tool_host *host, const struct cfg *cfg, uint64_t intent,
		     tool_operator_fn *done, void *arg);
void tool_host_resolve(struct tool_host *host, uint64_t intent, enum jrn_settlement how,
		       tool_operator_fn *done, void *arg);

/* Calls that are not settled yet, also cancelled ones that go on to their record, and what is being taken back. */
size_t tool_host_count(const struct tool_host *host);

/*
 * Whether nothing is under way that a drain should wait for.  What only waits for its time or its turn to be taken back is
 * taken up by the next process.
 */
bool tool_host_is_quiet(const struct tool_host *host);

#endif
