/* What parser.c, action.c and print.c share. */
#ifndef BACKCHANNEL_PROTO_AGENT_INTERNAL_H
#define BACKCHANNEL_PROTO_AGENT_INTERNAL_H

#include "proto/agent/parser.h"

/* Names of the elements that only the gateway writes. */
#define AGENT_TAG_PARTIAL   "partial_query_update"
#define AGENT_TAG_FINAL     "final_query_update"
#define AGENT_TAG_RESULT    "tool_result"
#define AGENT_TAG_CANCELLED "tool_call_cancelled"
#define AGENT_TAG_ERROR     "error"

#define AGENT_MARK_INTERRUPTED "</think_interrupted>"

static inline bool agent_is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static inline bool agent_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A character of a tool's name or of a member's name in a path. */
static inline bool agent_is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || agent_is_digit(c) || c == '_' ||
	       c == '-';
}

/* Digits without leading zeros at the front of text, value at most max; how many, 0: there is no such number. */
size_t agent_number(struct bc_span text, unsigned max, unsigned *ret);

/*
 * Read the inside of a tool_call, escapes undone.  AGENT_VALID: its CALL or REMOVE events have been told, else none has.
 * parser.h has the grammar.
 */
enum agent_invalid agent_action_read(struct bc_span body,
				     void (*emit)(void *arg, const struct agent_event *event),
				     void *arg) BC_MUST;

#endif
