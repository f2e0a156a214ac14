/*
 * The action protocol, from the model: the text of one generation, as it streams, becomes events.
 *
 * This is the reference of the grammar (ABNF of RFC 5234; strings are case-sensitive, as RFC 7405 writes %s):
 *
 *   generation = *WS think *WS action *WS
 *              / *WS "<think>" text "</think_interrupted>" *WS      ; cut off, no action
 *   think      = "<think>" text "</think>"
 *   action     = call / pause / answer                              ; exactly one thing
 *   call       = "<tool_call>" *WS ( object / objects / remove ) *WS "</tool_call>"
 *   pause      = "<pause/>"
 *   answer     = "<answer>" text "</answer>"
 *
 *   objects    = "[" object *( "," object ) "]"                     ; JSON white space is free in and around them
 *   object     = { "id": id, "name": name, "arguments": {...} }     ; these three members in any order, no other
 *   remove     = "REMOVE" 1*WS id
 *   id         = a whole number from 1 to AGENT_ID_MAX, without leading zeros
 *   name       = 1*64( ALPHA / DIGIT / "_" / "-" )
 *   WS         = SP / HTAB / CR / LF
 *
 * Tags are written exactly so: no white space, no attributes, no other case.
 *
 * What stands inside an element is escaped text, in both directions: "&lt;" is "<" and "&amp;" is "&"; every other "&"
 * stands for itself, and so does a "<" that begins no tag of the protocol.  In a tool_call that is undone before the
 * JSON is read.  Which tags count:
 *
 *   inside think        </think> and </think_interrupted>; every other tag is text
 *   inside tool_call    </tool_call>, also where it stands in a JSON string (write &lt; there); all else is text
 *   inside answer       </answer>; every other tag of the protocol, the gateway's too, makes the generation invalid,
 *                       or it would be spoken
 *   elsewhere           all
 *
 * Meaning of a call.  A new id is a new call; an id issued before replaces that call's name and arguments; REMOVE
 * withdraws it.  Several objects are one action: calls that may run side by side.  Strings anywhere within arguments,
 * but not keys, may be operands, results of calls with a smaller id: operand.h.  Whether an id or a tool exists, and
 * whether an action is allowed now, is not decided here.
 *
 * Pure: no clock, no descriptor, no thread; one parser belongs to one thread.
 * Source: the asynchronous action format of arXiv 2605.13360; tags and JSON form are defined here.
 */
#ifndef BACKCHANNEL_PROTO_AGENT_PARSER_H
#define BACKCHANNEL_PROTO_AGENT_PARSER_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"
#include "proto/agent/operand.h"

#include <jansson.h>
#include <stddef.h>

#define AGENT_NAME_MAX  64 /* bytes of a tool's name */
#define AGENT_CALLS_MAX 16 /* calls in one action */

/* Default limits; a generation that goes beyond one is invalid. */
#define AGENT_ACTION_MAX     (16 * 1024)  /* bytes inside one tool_call */
#define AGENT_GENERATION_MAX (256 * 1024) /* bytes of a generation */

/* What is wrong with a generation; the rows are in invalid.def. */
enum agent_invalid {
	AGENT_VALID = 0,
#define AGENT_ROW(id, name, text) AGENT_INVALID_##id,
#include "proto/agent/invalid.def"
	/* must be last */
	AGENT_INVALID__COUNT
};

/* The row's name, "valid" for AGENT_VALID.  Static storage, any thread. */
const char *agent_invalid_name(enum agent_invalid reason);

/* The row's text, made for agent_put_error(); "" for AGENT_VALID.  Static storage, any thread. */
const char *agent_invalid_text(enum agent_invalid reason);

/* One call of a tool, as the model issues it; all of it valid until the callback returns. */
struct agent_call {
	unsigned id;             /* 1 .. AGENT_ID_MAX; maybe one issued before */
	struct bc_span name;     /* of the tool; not known to exist */
	struct bc_span raw;      /* JSON text of the arguments, operands and "$$" in it */
	const json_t *arguments; /* the same as a tree, for agent_resolve(); deep copy to keep it */
	const struct agent_operand
		*operands;    /* in the order of the text; paths point into arguments */
	size_t operand_count; /* at most AGENT_OPERANDS_MAX */
};

/*
 * A generation gives, in this order:
 *
 *   THINK*                                          pieces of the reasoning
 *   one of  CALL+ | REMOVE | PAUSE | ANSWER_BEGIN ANSWER* ANSWER_END
 *   one of  END | INVALID
 *
 * INVALID may come at any time and is the last event.  INTERRUPTED comes instead of the action or in the midst of
 * an answer, and END follows it.  Every event is told with the byte that completes it, so an action may be followed by
 * INVALID (TWO_ACTIONS, for one): the action stands, what is behind it does not.  The calls of one action
 * are told only when all of them are well-formed.
 *
 * Pieces of text are never empty and have no meaning as pieces: where they are divided depends on how the generation
 * arrived, all else does not.  They are divided between characters if the input is.
 */
enum agent_kind {
	AGENT_THINK,        /* text */
	AGENT_CALL,         /* call */
	AGENT_REMOVE,       /* id */
	AGENT_PAUSE,        /* - */
	AGENT_ANSWER_BEGIN, /* - */
	AGENT_ANSWER,       /* text */
	AGENT_ANSWER_END,   /* - */
	AGENT_INTERRUPTED,  /* place */
	AGENT_INVALID,      /* reason; text says it in words */
	AGENT_END,          /* - */
	/* must be last */
	AGENT_KIND__COUNT
};

/* The kind in lower case, for logs and tests.  Static storage, any thread. */
const char *agent_kind_name(enum agent_kind kind);

/* What an interruption cut off, which tells how the model's transcript is to be closed. */
enum agent_place {
	AGENT_PLACE_OUTSIDE, /* between elements: nothing to close */
	AGENT_PLACE_THINK,   /* agent_put_interrupted() closes it */
	AGENT_PLACE_CALL,    /* half a tool_call, which has not happened */
	AGENT_PLACE_ANSWER   /* an answer that has partly been told */
};

struct agent_event {
	enum agent_kind kind;
	struct bc_span text; /* valid until the callback returns; of INVALID: static */
	const struct agent_call *call;
	unsigned id;
	enum agent_place place;
	enum agent_invalid reason;
};

struct agent_limits {
	size_t action_max;     /* > 0, bytes inside one tool_call, escapes undone */
	size_t generation_max; /* > 0, bytes of a generation as they arrive */
};

struct agent_parser;

/*
 * A parser for one generation.  limits NULL: AGENT_ACTION_MAX and AGENT_GENERATION_MAX.  emit gets the events, with
 * arg, from inside the calls below; it may not call any of them.  It holds at most action_max bytes and what jansson
 * makes of them.  Owned by the caller, agent_parser_free(); NULL when out of memory.
 */
struct agent_parser *agent_parser_new(const struct agent_limits *limits,
				      void (*emit)(void *arg, const struct agent_event *event),
				      void *arg) BC_MUST;

/* Tells nothing.  NULL is accepted; returns NULL. */
struct agent_parser *agent_parser_free(struct agent_parser *parser);

/*
 * The next piece of the generation, of any length, also empty; not after agent_parser_end() or agent_parser_interrupt().
 * BC_E_INVALID: the generation is invalid, by this piece or an earlier one; INVALID has been told, once, and the rest is
 * ignored.  BC_E_NOMEM: likewise, without an event.
 */
enum bc_err agent_parser_feed(struct agent_parser *parser, struct bc_span text) BC_MUST;

/* The generation is over: END is told, or INVALID if it is not complete.  Errors as above; again: no event, same result. */
enum bc_err agent_parser_end(struct agent_parser *parser) BC_MUST;

/*
 * The generation is halted here, because something happened that the model must know first.  Tells INTERRUPTED and
 * END, or only END if the action was complete; nothing if INVALID or END has been told.  An element that is not
 * complete, and a tag that is not, have not happened; the answer's pieces have.
 */
void agent_parser_interrupt(struct agent_parser *parser);

#endif
