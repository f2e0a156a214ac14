/*
 * Budgets of the objects each call has: memory per session is a published number, and a field more here is paid ten
 * thousand times.  Who needs more raises the budget in the same change and says why.
 */
#include "daemon/bridge.h"
#include "daemon/net/link_internal.h"
#include "daemon/session/sess.h"

#include <assert.h>

/* Every session. */
static_assert(sizeof(struct bridge) <= 288, "struct bridge is over its budget");
static_assert(sizeof(struct sess) <= 224, "struct sess is over its budget");
static_assert(sizeof(struct net_link) <= 400, "struct net_link is over its budget; there are two");
/* What happened in it, and what was decided. */
static_assert(sizeof(struct ledger) <= 384, "struct ledger is over its budget");
static_assert(sizeof(struct ledger_entry) <= 72,
	      "struct ledger_entry is over its budget; there are up to session.ledger_entries");

/* Sessions with gateway tools. */
/* With the audio a client may truncate, late results, fillers, restarts, what guessing has cost, what is known of the
 * provider, whose line was given up, which item's end words wait for, how long a speech may be lost, since when an
 * answer is awaited, the noise of the line, and what is still to be asked about a silence. */
static_assert(sizeof(struct agent) <= 1392, "struct agent is over its budget");
static_assert(sizeof(struct item) <= 160,
	      "struct item is over its budget; there are up to SESS_ITEMS_MAX");
static_assert(sizeof(struct resp) <= 272, "struct resp is over its budget");
static_assert(sizeof(struct work) <= 208, "struct work is over its budget");
static_assert(sizeof(struct guess) <= 168, "struct guess is over its budget");
