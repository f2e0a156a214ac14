/* Event types of the OpenAI Realtime protocol, and the texts of the events the gateway makes itself. */
#ifndef BACKCHANNEL_PROTO_OPENAI_EVENT_H
#define BACKCHANNEL_PROTO_OPENAI_EVENT_H

#include "daemon/base/buf.h"
#include "daemon/base/span.h"

#include <stdbool.h>

enum oai_event {
	OAI_UNKNOWN, /* no row in events.def: forwarded as it is */
#define OAI_EVENT(id, type, sender) OAI_##id,
#include "proto/openai/events.def"
	/* must be last */
	OAI_EVENT__COUNT
};

enum oai_sender {
	OAI_CLIENT,
	OAI_SERVER
};

/*
 * Which event a type names when it comes from that side; OAI_UNKNOWN for every other.  Pure; a few comparisons, because
 * it runs for every message.
 */
enum oai_event oai_event_find(struct bc_span type, enum oai_sender sender);

/* A message as far as everybody who gets it needs it: read once when it comes, and handed on. */
struct oai_envelope {
	struct bc_span text; /* the whole message */
	struct bc_span type; /* as it stands there; ptr NULL: it has none that can be read */
	enum oai_event event;
};

/* Read what a text message of that side is.  The spans point into text.  Pure. */
struct oai_envelope oai_envelope(struct bc_span text, enum oai_sender sender);

/* The type of a row.  Static storage; not for OAI_UNKNOWN. */
const char *oai_event_type(enum oai_event event);

/* What an error event says. */
struct oai_error {
	const char *type;       /* "invalid_request_error", "server_error", … */
	const char *code;       /* NULL: null */
	struct bc_span message; /* plain text; escaped here */
	/* event_id of the client's event it answers, as raw JSON; empty: null */
	struct bc_span client_id;
};

/*
 * Append an error event with a fresh event_id.  Errors of bc_buf_put().
 * Source: openai 7.57.0 RealtimeErrorEvent.
 */
enum bc_err oai_error_put(struct bc_buf *out, const struct oai_error *error) BC_MUST;

/* Append conversation.item.create with a function_call_output; call_id is raw JSON (a string with quotes). */
enum bc_err oai_output_item_put(struct bc_buf *out, const char *event_id, const char *item_id,
				struct bc_span call_id, struct bc_span output) BC_MUST;

/*
 * Append conversation.item.create with a completed function_call.  call_id is raw JSON (a string with quotes), name plain
 * text of [A-Za-z0-9_-], arguments the JSON text that becomes the string.  Errors of bc_buf_put().
 * Source: openai 7.57.0 RealtimeConversationItemFunctionCall.
 */
enum bc_err oai_call_item_put(struct bc_buf *out, const char *event_id, const char *item_id,
			      struct bc_span call_id, const char *name,
			      struct bc_span arguments) BC_MUST;

/* Append conversation.item.delete; item_id is plain text.  Errors of bc_buf_put(). */
enum bc_err oai_delete_put(struct bc_buf *out, const char *event_id, const char *item_id) BC_MUST;

/*
 * Append conversation.item.create with a system message of one text; text is plain and escaped here.  Errors of bc_buf_put().
 * Source: openai 7.57.0 RealtimeConversationItemSystemMessage.
 */
enum bc_err oai_system_item_put(struct bc_buf *out, const char *event_id, const char *item_id,
				struct bc_span text) BC_MUST;

/* Append response.cancel for one response; response_id is plain text of [A-Za-z0-9_-]. */
enum bc_err oai_cancel_put(struct bc_buf *out, const char *event_id,
			   const char *response_id) BC_MUST;

/*
 * Append a response.done in place of one that will never come: the response failed or was cancelled by us.
 * status "failed" or "cancelled"; reason fills status_details: a code for failed, a reason for cancelled.  usage is all zeros
 * because strict clients demand the object; output is empty.
 * Source: openai 7.57.0 RealtimeResponse, RealtimeResponseStatus.
 */
enum bc_err oai_done_put(struct bc_buf *out, const char *response_id, const char *status,
			 const char *reason, struct bc_span message) BC_MUST;

#endif
