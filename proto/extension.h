/*
 * The gateway's own extension of the Realtime protocol: which events there are, and reading those of a client.
 * Manual: backchannel-protocol(7).
 */
#ifndef BACKCHANNEL_PROTO_EXTENSION_H
#define BACKCHANNEL_PROTO_EXTENSION_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define EXT_PREFIX  "backchannel."
#define EXT_VERSION 1 /* of the extension: grows when an event changes its meaning */

#define EXT_REVISION_MAX \
	9007199254740991u /* 2^53 - 1: whole numbers beyond are none in JavaScript */
#define EXT_WANTS_MAX 32  /* names in the list of a hello */

enum ext_type {
#define EXT_EVENT(id, type, sender) EXT_##id,
#include "proto/extension.def"
	/* must be last */
	EXT_TYPE__COUNT
};

/* What a client said.  Spans are views of the event. */
struct ext_event {
	enum ext_type type;
	struct bc_span event_id; /* raw JSON; empty: none */
	struct bc_span text;     /* partial, final: raw JSON string, its escapes not looked at */
	struct bc_span item_id;  /* raw JSON string; empty: none */
	uint64_t revision;       /* partial, final: 1 … EXT_REVISION_MAX */
	uint32_t
		wants; /* hello: one bit (1 << type) for each event of the gateway that is asked for */
};

/* Why an event was refused.  Static storage. */
struct ext_fault {
	const char *code;
	const char *message;
};

/* The type of a row.  Static storage. */
const char *ext_type_name(enum ext_type type);

/* Whether an event of that type, from whichever side, belongs to the extension, also one that has no row. */
static inline bool ext_is(struct bc_span type)
{
	return bc_span_has_prefix(type, EXT_PREFIX);
}

/*
 * Read an event of a client whose type begins with EXT_PREFIX.  Members nobody asks for are not looked at.
 * BC_E_NOTFOUND: no event a client may send; BC_E_INVALID: a member is missing or has no acceptable value;
 * BC_E_SYNTAX: not well-formed.  After an error *reterr_fault says why; ret->event_id and, but for BC_E_SYNTAX,
 * ret->type (EXT_TYPE__COUNT: none) are what was found of them, the rest of *ret is unspecified.  Pure.
 */
enum bc_err ext_event_read(struct bc_span event, struct ext_event *ret,
			   struct ext_fault *reterr_fault) BC_MUST;

#endif
