/*
 * Server-sent events, as a byte stream in pieces of any size becomes events.  Only what an event carries is told: its
 * data.  Names, ids, retry times and comments are read and passed over.
 *
 * Pure: no clock, no descriptor, no thread; one reader belongs to one thread.
 * Source: HTML Living Standard, 9.2 "Server-sent events", text/event-stream.
 */
#ifndef BACKCHANNEL_PROTO_CHAT_SSE_H
#define BACKCHANNEL_PROTO_CHAT_SSE_H

#include "daemon/base/buf.h"

#include <stdbool.h>

struct sse {
	struct bc_buf line; /* of which the end has not come */
	struct bc_buf data; /* of the event in progress; every line of it is followed by LF */
	bool behind_cr;     /* a LF that comes next belongs to the line that has ended */
	bool begun;         /* the first line has been read: no byte order mark may follow */
	enum bc_err err;    /* sticky */
	void (*emit)(void *arg, struct bc_span data);
	void *arg;
};

/*
 * A reader of one stream; event_max > 0 bounds the bytes of a line, and those of an event's data.  emit is called from
 * inside sse_feed() for each event that has data; the span is valid until it returns, and it may not call functions of
 * this reader.  Allocates nothing.
 */
void sse_init(struct sse *sse, size_t event_max, void (*emit)(void *arg, struct bc_span data),
	      void *arg);

/* Free what it holds.  An event that was not complete has not happened. */
void sse_release(struct sse *sse);

/* The next piece, also empty.  BC_E_LIMIT, BC_E_NOMEM: the rest of the stream is ignored, and the result stays. */
enum bc_err sse_feed(struct sse *sse, struct bc_span bytes) BC_MUST;

#endif
