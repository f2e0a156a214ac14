/*
 * Limits per client key and per client address: sessions at once, new sessions per second, messages and bytes per
 * second.  One table for the process.
 *
 * Beginning and ending a session takes a lock; a message takes none: a rate is one atomic number (the generic cell rate
 * algorithm), and a session draws from it in portions, so that most messages touch only memory of their own.
 */
#ifndef BACKCHANNEL_QUOTA_H
#define BACKCHANNEL_QUOTA_H

#include "daemon/base/clock.h"
#include "daemon/base/span.h"
#include "daemon/config/config.h"

#include <stdbool.h>
#include <stdint.h>

struct quota;       /* all subjects */
struct quota_share; /* one subject: a key or an address */

/* What one session holds of its subjects; embedded in the bridge.  All zero: no limits. */
struct quota_claim {
	struct quota *quota;
	struct quota_share *shares[2]; /* of key and address; NULL: none */
	int64_t messages[2];           /* drawn and not yet used up */
	int64_t bytes[2];
};

enum quota_verdict {
	QUOTA_OK,
	QUOTA_SESSIONS, /* too many at once */
	QUOTA_RATE      /* too many new ones */
};

struct quota *quota_new(void);                 /* NULL when out of memory */
struct quota *quota_free(struct quota *quota); /* no claim may be open */

/*
 * A session wants to begin.  key is NULL for open access.  After QUOTA_OK the claim is filled and must be released; after
 * anything else nothing is held.  Out of memory counts as QUOTA_SESSIONS.  Any thread.
 */
enum quota_verdict quota_claim(struct quota *quota, const struct cfg_limits *limits,
			       const char *key, struct bc_span address, bc_usec now,
			       struct quota_claim *ret);

/*
 * A client came without a valid key: that counts as a new session of its address, whatever became of it.  False: the
 * address has opened too many already, and shall not even learn that the key is wrong.  Any thread.
 */
bool quota_key_refused(struct quota *quota, const struct cfg_limits *limits, struct bc_span address,
		       bc_usec now);

/* The session has ended; limits as given to quota_charge().  A claim of all zero is accepted. */
void quota_release(struct quota_claim *claim, const struct cfg_limits *limits);

/* The client sent a message of this many bytes; false: a rate is exceeded.  The session's own thread. */
bool quota_charge(struct quota_claim *claim, const struct cfg_limits *limits, size_t bytes,
		  bc_usec now);

#endif
