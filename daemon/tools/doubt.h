/*
 * Effects of which nobody knows whether they happened: an equal call is not made but answered with that (J7).  What is
 * kept is a digest, so secret arguments do not stay in memory.
 */
#ifndef BACKCHANNEL_TOOLS_DOUBT_H
#define BACKCHANNEL_TOOLS_DOUBT_H

#include "daemon/base/digest.h"
#include "daemon/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOOL_DOUBTS_MAX 1024 /* the oldest is forgotten first */

/* All zero: none. */
struct tool_doubts {
	struct bc_sha256 digests[TOOL_DOUBTS_MAX];
	uint64_t intents[TOOL_DOUBTS_MAX]; /* 0: resolved */
	size_t count;
	size_t next; /* place for the next one */
};

/*
 * What makes two calls equal: the session, the tool's name, and the arguments in canonical form.  Another caller who asks
 * for the same means another effect; but after a crash the same caller comes back as another session, so doubts of
 * earlier processes are kept, and looked for, with an empty session and the arguments as the journal shows them.  Pure.
 */
struct bc_sha256 tool_doubt_digest(struct bc_span session, const char *tool,
				   struct bc_span arguments);

bool tool_doubts_has(const struct tool_doubts *doubts, const struct bc_sha256 *digest);

/* One that is there already is not added again. */
void tool_doubts_add(struct tool_doubts *doubts, uint64_t intent, const struct bc_sha256 *digest);

/* What became of that intent is known. */
void tool_doubts_drop(struct tool_doubts *doubts, uint64_t intent);

#endif
