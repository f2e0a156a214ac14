/*
 * The streamed answer of an OpenAI-compatible /v1/chat/completions: its bytes, as they come, become the text of one
 * generation and the news of its end.  What a model thinks in members of its own, calls of its native tools and usage
 * are passed over; of several choices only the first counts.
 *
 * Pure: no clock, no descriptor, no thread; one reader belongs to one thread.
 * Source: OpenAI API reference, "Chat completion chunk object"; the error object is what its servers send inside a
 * stream that has begun.
 */
#ifndef BACKCHANNEL_PROTO_CHAT_STREAM_H
#define BACKCHANNEL_PROTO_CHAT_STREAM_H

#include "daemon/base/buf.h"

#include <stdbool.h>

#define CHAT_EVENT_MAX \
	(256 * 1024) /* bytes of one chunk; a longer one ends the stream with BC_E_LIMIT */

struct chat_stream;

/*
 * A reader of one answer.  text is called from inside chat_stream_feed() with each piece of the generation, never empty,
 * valid until it returns; it may not call functions of this reader.  Owned by the caller, chat_stream_free(); NULL when out
 * of memory.
 */
struct chat_stream *chat_stream_new(void (*text)(void *arg, struct bc_span text), void *arg);

/* NULL is accepted; returns NULL. */
struct chat_stream *chat_stream_free(struct chat_stream *stream);

/*
 * The next piece, also empty.  All errors are sticky, and the rest is ignored: BC_E_SYNTAX: a chunk cannot be understood;
 * BC_E_UPSTREAM: the server has reported an error, chat_stream_error() has its words; BC_E_LIMIT; BC_E_NOMEM.
 */
enum bc_err chat_stream_feed(struct chat_stream *stream, struct bc_span bytes) BC_MUST;

/* Whether the generation has come to its end: by a finish_reason or by [DONE]. */
bool chat_stream_is_finished(const struct chat_stream *stream);

/* The server's message behind BC_E_UPSTREAM, cut to what fits, "" when it gave none.  Lives as long as the reader. */
const char *chat_stream_error(const struct chat_stream *stream);

#endif
