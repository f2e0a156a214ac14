#include "daemon/tools/doubt.h"

#include <string.h>

struct bc_sha256 tool_doubt_digest(struct bc_span session, const char *tool,
				   struct bc_span arguments)
{
	/* Digests of fixed length, so that no name and text can be taken for another pair. */
	struct bc_sha256 parts[3] = {bc_sha256(session), bc_sha256(bc_span_str(tool)),
				     bc_sha256(arguments)};
	char bytes[sizeof(parts)];

	memcpy(bytes, parts, sizeof(bytes));
	return bc_sha256(bc_span(bytes, sizeof(bytes)));
}

bool tool_doubts_has(const struct tool_doubts *doubts, const struct bc_sha256 *digest)
{
	size_t i;

	for (i = 0; i < doubts->count; i++) {
		if (doubts->intents[i] != 0 && bc_sha256_eq(&doubts->digests[i], digest)) {
			return true;
		}
	}
	return false;
}

void tool_doubts_add(struct tool_doubts *doubts, uint64_t intent, const struct bc_sha256 *digest)
{
	if (tool_doubts_has(doubts, digest)) {
		return;
	}
	doubts->intents[doubts->next] = intent;
	doubts->digests[doubts->next] = *digest;
	doubts->next = (doubts->next + 1) % TOOL_DOUBTS_MAX;
	doubts->count += doubts->count < TOOL_DOUBTS_MAX ? 1 : 0;
}

void tool_doubts_drop(struct tool_doubts *doubts, uint64_t intent)
{
	size_t i;

	for (i = 0; i < doubts->count; i++) {
		if (doubts->intents[i] == intent) {
			doubts->intents[i] = 0;
		}
	}
}
