/*
 * What was said between the gateway and a reasoner: messages of two roles in turns, as /v1/chat/completions wants them.
 * Bounded: the oldest go first.
 */
#ifndef BACKCHANNEL_SPEC_HISTORY_H
#define BACKCHANNEL_SPEC_HISTORY_H

#include "daemon/base/buf.h"

#include <sys/queue.h>

enum history_role {
	HISTORY_GATEWAY, /* "user": what has happened */
	HISTORY_MODEL    /* "assistant": its steps */
};

struct message {
	TAILQ_ENTRY(message) link;
	enum history_role role;
	struct bc_buf text;
};

TAILQ_HEAD(message_list, message);

struct history {
	struct message_list messages;
	size_t bytes;
	size_t bytes_max;
};

/* bytes_max > 0 bounds what is kept, with some overhead for each message. */
void history_init(struct history *history, size_t bytes_max);
void history_release(struct history *history);

/*
 * Add a text behind the last message, as a message of its own only if that one is of the other role.  The oldest messages
 * are forgotten to make room; the first one left is the gateway's.  BC_E_LIMIT: longer than all that may be kept;
 * BC_E_NOMEM; nothing is added then.
 */
enum bc_err history_add(struct history *history, enum history_role role,
			struct bc_span text) BC_MUST;

/* Forget the last message if it is of that role. */
void history_drop_last(struct history *history, enum history_role role);

/* Add what the model is to take for its answer: the words the caller was really told.  Errors of history_add(). */
enum bc_err history_add_answer(struct history *history, struct bc_span words) BC_MUST;

struct history_request {
	const char *model;
	const char *tokens_field; /* how the server calls the bound on a generation */
	unsigned tokens_max;
	const char *system; /* comes before all messages */
};

/* Append a request to /v1/chat/completions, streamed, over all messages.  Errors of bc_buf_put(). */
enum bc_err history_request(const struct history *history, const struct history_request *request,
			    struct bc_buf *out) BC_MUST;

#endif
