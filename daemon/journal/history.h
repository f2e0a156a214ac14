/* What the journal remembers of calls that are over, for those who learn from them. */
#ifndef BACKCHANNEL_JOURNAL_HISTORY_H
#define BACKCHANNEL_JOURNAL_HISTORY_H

#include "daemon/base/clock.h"
#include "daemon/base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* One call; spans are valid during the callback. */
struct jrn_history_row {
	struct bc_span session;
	uint64_t turn;
	struct bc_span tool;
	struct bc_span arguments; /* canonical JSON */
	struct bc_span output;    /* what the model got; empty: nothing */
	bool hidden;              /* something secret was replaced in arguments or output */
	bool speculative;
	bool used;    /* its result was, or the effect stands */
	int status;   /* HTTP status of the result; 0: none */
	bc_usec wall; /* when it was intended, since the epoch */
	bc_usec took; /* from the intent to the result; 0: unknown */
};

typedef void jrn_history_fn(void *arg, const struct jrn_history_row *row);

/*
 * The newest settled calls in the file at path, at most count of them, those of a session together, its oldest first;
 * undos are no calls.  Reads beside the
 * journal that holds the file, by a connection of its own.  false: it cannot be read, or not to the end.  Blocking: only
 * while the daemon starts.
 */
bool jrn_history(const char *path, unsigned count, jrn_history_fn *fn, void *arg);

#endif
