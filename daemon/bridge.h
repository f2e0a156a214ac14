/*
 * A session and its two connections: hands what the connections say to the session, and what the session wants to the
 * connections.  The only file that knows both sides.
 */
#ifndef BACKCHANNEL_BRIDGE_H
#define BACKCHANNEL_BRIDGE_H

#include "daemon/quota.h"
#include "daemon/reasoning.h"
#include "daemon/worker.h"

#include <sys/queue.h>

struct loop_timer;

/* One timer of a session. */
struct bridge_timer {
	struct bridge *bridge;
	enum sess_timer which;
	struct loop_timer *timer;
};

struct bridge {
	TAILQ_ENTRY(bridge) link;
	uint32_t magic;
	struct worker *worker;
	struct cfg *cfg;
	struct toolset *tools;       /* of cfg; NULL: plain proxy */
	struct pattern_trail *trail; /* the session's last calls; NULL: none yet */
	const struct cfg_upstream *upstream;
	const char *client_name; /* of the key, in cfg; NULL: open access */
	struct quota_claim claim;
	char *query;                 /* for the provider's URL */
	char *headers;               /* further lines for the provider */
	struct sess *sess;           /* NULL until the client's handshake is complete */
	struct recording *recording; /* NULL: the session is not recorded */
	struct net_link *links[2];
	struct net_connect *attempt; /* NULL: none is running */
	struct reasoning reasoning;
	struct bridge_timer *timers[SESS_TIMER__COUNT]; /* owned; NULL: not needed yet */
	bool ended;
};

extern const struct net_link_ops bridge_client_ops;

/* What a client asked for; takes over claim and a place (server_place_take()).  NULL when out of memory. */
struct bridge *bridge_new(struct worker *worker, const struct cfg_upstream *upstream,
			  const struct cfg_client_key *key, const struct net_upgrade *request,
			  struct quota_claim *claim);

/* The client's connection is there: begin the session and reach the provider. */
void bridge_established(struct bridge *bridge, struct net_link *client);

/* Cut or let go whatever is left.  Accepts NULL, returns NULL.  Not from inside a callback of its links. */
struct bridge *bridge_free(struct bridge *bridge);

/* The query a provider gets: the client's, with the model replaced where the configuration names one; appended. */
enum bc_err bridge_query(const struct cfg_upstream *upstream, struct bc_span query,
			 struct bc_buf *out) BC_MUST;

#endif
