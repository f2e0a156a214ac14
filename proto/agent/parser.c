/*
 * A byte is looked at once.  What might be a tag or an escape is held back until it is one or cannot become one;
 * no token has its first character a second time, so then only the byte that broke it is looked at again.
 *
 * Invariants:
 *   A1  hold[0 .. hold_len) is a proper prefix of a token.
 *   A2  action holds memory only in state CALL.
 *   A3  seen <= limits.generation_max.
 */
#include "proto/agent/parser.h"

#include "daemon/base/buf.h"
#include "proto/agent/agent_internal.h"

#include <assert.h>
#include <stdlib.h>

#define PARSER_MAGIC 0x61677061U
#define TOKEN_MAX    32 /* bytes of the longest token, and some */

enum parser_state {
#define STATE(id, name) PARSER_##id,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "proto/agent/parser_fsm.def"
	/* must be last */
	PARSER_STATE__COUNT
};

enum parser_event {
#define STATE(id, name)
#define EVENT(id, name) PARSER_EV_##id,
#define EDGE(from, on, to)
#include "proto/agent/parser_fsm.def"
	/* must be last */
	PARSER_EVENT__COUNT
};

struct agent_parser {
	unsigned magic;
	enum parser_state state;
	size_t seen; /* bytes of the generation */
	struct bc_buf action;
	char hold[TOKEN_MAX];
	size_t hold_len;
	bool nomem;
	bool telling; /* emit runs */

	/* given at the beginning */
	struct agent_limits limits;
	void (*emit)(void *arg, const struct agent_event *event);
	void *arg;
};

enum token_kind {
	TOKEN_MARK,   /* moves the machine */
	TOKEN_ESCAPE, /* stands for a character */
	TOKEN_GATEWAY /* only the gateway writes it */
};

/* No token is the beginning of another. */
static const struct token {
	const char *text;
	enum token_kind kind;
	enum parser_event event; /* of a mark */
	enum agent_kind told;    /* event for outside, AGENT_KIND__COUNT: none */
	const char *stands_for;  /* of an escape */
} tokens[] = {
	{"<think>", TOKEN_MARK, PARSER_EV_THINK_OPEN, AGENT_KIND__COUNT, NULL},
	{"</think>", TOKEN_MARK, PARSER_EV_THINK_CLOSE, AGENT_KIND__COUNT, NULL},
	{AGENT_MARK_INTERRUPTED, TOKEN_MARK, PARSER_EV_THINK_CUT, AGENT_INTERRUPTED, NULL},
	{"<tool_call>", TOKEN_MARK, PARSER_EV_CALL_OPEN, AGENT_KIND__COUNT, NULL},
	{"</tool_call>", TOKEN_MARK, PARSER_EV_CALL_CLOSE, AGENT_KIND__COUNT, NULL},
	{"<pause/>", TOKEN_MARK, PARSER_EV_PAUSE, AGENT_PAUSE, NULL},
	{"<answer>", TOKEN_MARK, PARSER_EV_ANSWER_OPEN, AGENT_ANSWER_BEGIN, NULL},
	{"</answer>", TOKEN_MARK, PARSER_EV_ANSWER_CLOSE, AGENT_ANSWER_END, NULL},
	{"&lt;", TOKEN_ESCAPE, PARSER_EVENT__COUNT, AGENT_KIND__COUNT, "<"},
	{"&amp;", TOKEN_ESCAPE, PARSER_EVENT__COUNT, AGENT_KIND__COUNT, "&"},
#define GATEWAY_TOKEN(text)                                                       \
	{                                                                         \
		text, TOKEN_GATEWAY, PARSER_EVENT__COUNT, AGENT_KIND__COUNT, NULL \
	}
	GATEWAY_TOKEN("<" AGENT_TAG_PARTIAL),
	GATEWAY_TOKEN("</" AGENT_TAG_PARTIAL),
	GATEWAY_TOKEN("<" AGENT_TAG_FINAL),
	GATEWAY_TOKEN("</" AGENT_TAG_FINAL),
	GATEWAY_TOKEN("<" AGENT_TAG_RESULT),
	GATEWAY_TOKEN("</" AGENT_TAG_RESULT),
	GATEWAY_TOKEN("<" AGENT_TAG_CANCELLED),
	GATEWAY_TOKEN("</" AGENT_TAG_CANCELLED),
	/* An ordinary word: only the whole tag is the gateway's. */
	GATEWAY_TOKEN("<" AGENT_TAG_ERROR ">"),
	GATEWAY_TOKEN("</" AGENT_TAG_ERROR ">"),
#undef GATEWAY_TOKEN
};

static const char *const invalid_names[] = {
	"valid",
#define AGENT_ROW(id, name, text) name,
#include "proto/agent/invalid.def"
};

static const char *const invalid_texts[] = {
	"",
#define AGENT_ROW(id, name, text) text,
#include "proto/agent/invalid.def"
};

static const char *const kind_names[] = {
	"think",  "call",       "remove",      "pause",   "answer_begin",
	"answer", "answer_end", "interrupted", "invalid", "end",
};

static_assert(BC_ARRAY_LEN(invalid_names) == AGENT_INVALID__COUNT, "a reason has no name");
static_assert(BC_ARRAY_LEN(kind_names) == AGENT_KIND__COUNT, "an event has no name");

const char *agent_invalid_name(enum agent_invalid reason)
{
	BC_BUG_ON(reason >= AGENT_INVALID__COUNT);
	return invalid_names[reason];
}

const char *agent_invalid_text(enum agent_invalid reason)
{
	BC_BUG_ON(reason >= AGENT_INVALID__COUNT);
	return invalid_texts[reason];
}

const char *agent_kind_name(enum agent_kind kind)
{
	BC_BUG_ON(kind >= AGENT_KIND__COUNT);
	return kind_names[kind];
}

/* ---- the machine ---- */

/* PARSER_STATE__COUNT: there is no such edge. */
static enum parser_state parser_next(enum parser_state from, enum parser_event on)
{
	switch (BC_FSM_KEY(from, on)) {
#define STATE(id, name)
#define EVENT(id, name)
#define EDGE(from, on, to)                              \
	case BC_FSM_KEY(PARSER_##from, PARSER_EV_##on): \
		return PARSER_##to;
#include "proto/agent/parser_fsm.def"
	default:
		return PARSER_STATE__COUNT;
	}
}

static void parser_move(struct agent_parser *parser, enum parser_event event)
{
	enum parser_state next = parser_next(parser->state, event);

	BC_BUG_ON(next == PARSER_STATE__COUNT);
	if (parser->state == PARSER_CALL) {
		bc_buf_release(&parser->action);
	}
	parser->state = next;
}

static bool is_over(const struct agent_parser *parser)
{
	return parser->state == PARSER_ENDED || parser->state == PARSER_FAILED;
}

static bool is_inside(const struct agent_parser *parser)
{
	return parser->state == PARSER_THINK || parser->state == PARSER_CALL ||
	       parser->state == PARSER_ANSWER;
}

static void tell(struct agent_parser *parser, const struct agent_event *event)
{
	BC_BUG_ON(parser->telling);
	parser->telling = true;
	parser->emit(parser->arg, event);
	parser->telling = false;
}

static void tell_kind(struct agent_parser *parser, enum agent_kind kind)
{
	tell(parser, &(struct agent_event){.kind = kind});
}

/* For the events of an action, which come from elsewhere. */
static void tell_action(void *arg, const struct agent_event *event)
{
	struct agent_parser *parser = arg;

	BC_CHECK(parser, PARSER_MAGIC);
	tell(parser, event);
}

static void fail(struct agent_parser *parser, enum agent_invalid reason)
{
	parser_move(parser, PARSER_EV_FAIL);
	tell(parser, &(struct agent_event){.kind = AGENT_INVALID,
					   .reason = reason,
					   .text = bc_span_str(agent_invalid_text(reason))});
}

static enum bc_err verdict(const struct agent_parser *parser)
{
	if (parser->nomem) {
		return BC_E_NOMEM;
	}
	return parser->state == PARSER_FAILED ? BC_E_INVALID : BC_OK;
}

/* ---- text ---- */

static void gather(struct agent_parser *parser, struct bc_span text)
{
	enum bc_err err = bc_buf_put_span(&parser->action, text);

	if (err == BC_E_LIMIT) {
		fail(parser, AGENT_INVALID_LONG_ACTION);
	} else if (err != BC_OK) {
		parser->nomem = true;
		parser_move(parser, PARSER_EV_FAIL);
	}
}

/* Text inside an element. */
static void take_text(struct agent_parser *parser, struct bc_span text)
{
	bool thinks = parser->state == PARSER_THINK;

	if (parser->state == PARSER_CALL) {
		gather(parser, text);
	} else {
		tell(parser, &(struct agent_event){.kind = thinks ? AGENT_THINK : AGENT_ANSWER,
						   .text = text});
	}
}

/* ---- tokens ---- */

static bool is_action(enum parser_event event)
{
	return event == PARSER_EV_CALL_OPEN || event == PARSER_EV_PAUSE ||
	       event == PARSER_EV_ANSWER_OPEN;
}

/* Why a mark cannot stand outside of elements, in this state. */
static enum agent_invalid misplaced(enum parser_state state, enum parser_event event)
{
	if (state == PARSER_START && is_action(event)) {
		return AGENT_INVALID_NO_THINK;
	}
	if (state == PARSER_DONE && (is_action(event) || event == PARSER_EV_THINK_OPEN)) {
		return AGENT_INVALID_TWO_ACTIONS;
	}
	return AGENT_INVALID_MISPLACED_TAG;
}

static void close_call(struct agent_parser *parser)
{
	enum agent_invalid reason =
		agent_action_read(bc_buf_span(&parser->action), tell_action, parser);

	if (reason != AGENT_VALID) {
		fail(parser, reason);
	} else {
		parser_move(parser, PARSER_EV_CALL_CLOSE);
	}
}

static void take_mark(struct agent_parser *parser, const struct token *token)
{
	if (token->event == PARSER_EV_CALL_CLOSE) {
		close_call(parser);
		return;
	}
	parser_move(parser, token->event);
	if (token->told == AGENT_INTERRUPTED) {
		tell(parser,
		     &(struct agent_event){.kind = AGENT_INTERRUPTED, .place = AGENT_PLACE_THINK});
	} else if (token->told != AGENT_KIND__COUNT) {
		tell_kind(parser, token->told);
	}
}

/* A token that has no meaning where it stands. */
static void take_stranger(struct agent_parser *parser, const struct token *token)
{
	if (parser->state == PARSER_THINK || parser->state == PARSER_CALL) {
		take_text(parser, bc_span_str(token->text));
	} else if (parser->state == PARSER_ANSWER) {
		fail(parser, AGENT_INVALID_NESTED_TAG);
	} else if (token->kind == TOKEN_GATEWAY) {
		fail(parser, AGENT_INVALID_GATEWAY_TAG);
	} else {
		fail(parser, misplaced(parser->state, token->event));
	}
}

static void take_token(struct agent_parser *parser, const struct token *token)
{
	if (token->kind == TOKEN_ESCAPE) {
		take_text(parser, bc_span_str(token->stands_for));
	} else if (token->kind == TOKEN_MARK &&
		   parser_next(parser->state, token->event) != PARSER_STATE__COUNT) {
		take_mark(parser, token);
	} else {
		take_stranger(parser, token);
	}
}

/* The token that begins so; text of its full length is the token. */
static const struct token *find_token(struct bc_span text)
{
	for (size_t i = 0; i < BC_ARRAY_LEN(tokens); i++) {
		size_t len = strlen(tokens[i].text);

		if (text.len <= len && memcmp(tokens[i].text, text.ptr, text.len) == 0) {
			return &tokens[i];
		}
	}
	return NULL;
}

/* ---- bytes ---- */

/* Behind what is held: returns the bytes used up, 0 when c broke it and stands for itself. */
static size_t step_held(struct agent_parser *parser, char c)
{
	struct bc_span held = bc_span(parser->hold, parser->hold_len);
	const struct token *token;

	parser->hold[parser->hold_len] = c;
	token = find_token(bc_span(parser->hold, parser->hold_len + 1));
	if (token == NULL) {
		parser->hold_len = 0;
		if (is_inside(parser)) {
			take_text(parser, held);
		} else {
			fail(parser, AGENT_INVALID_UNKNOWN_TAG);
		}
		return 0;
	}
	parser->hold_len++;
	if (token->text[parser->hold_len] == '\0') {
		parser->hold_len = 0;
		take_token(parser, token);
	}
	return 1;
}

static void hold(struct agent_parser *parser, char c)
{
	parser->hold[0] = c;
	parser->hold_len = 1;
}

/* Inside an element: text up to what might be a token passes in one piece. */
static size_t step_inside(struct agent_parser *parser, struct bc_span text)
{
	size_t len = 0;

	while (len < text.len && text.ptr[len] != '<' && text.ptr[len] != '&') {
		len++;
	}
	if (len == 0) {
		hold(parser, text.ptr[0]);
		return 1;
	}
	take_text(parser, bc_span(text.ptr, len));
	return len;
}

static size_t step_outside(struct agent_parser *parser, char c)
{
	if (c == '<') {
		hold(parser, c);
	} else if (!agent_is_space(c)) {
		fail(parser, AGENT_INVALID_TEXT_OUTSIDE);
	}
	return 1;
}

static size_t step(struct agent_parser *parser, struct bc_span text)
{
	if (parser->hold_len > 0) {
		return step_held(parser, text.ptr[0]);
	}
	return is_inside(parser) ? step_inside(parser, text) : step_outside(parser, text.ptr[0]);
}

/* ---- from outside ---- */

struct agent_parser *agent_parser_new(const struct agent_limits *limits,
				      void (*emit)(void *arg, const struct agent_event *event),
				      void *arg)
{
	struct agent_parser *parser = calloc(1, sizeof(*parser));

	if (parser == NULL) {
		return NULL;
	}
	parser->magic = PARSER_MAGIC;
	parser->limits = (struct agent_limits){AGENT_ACTION_MAX, AGENT_GENERATION_MAX};
	if (limits != NULL) {
		BC_BUG_ON(limits->action_max == 0 || limits->generation_max == 0);
		parser->limits = *limits;
	}
	bc_buf_init(&parser->action, parser->limits.action_max);
	parser->emit = emit;
	parser->arg = arg;
	return parser;
}

struct agent_parser *agent_parser_free(struct agent_parser *parser)
{
	if (parser != NULL) {
		BC_CHECK(parser, PARSER_MAGIC);
		BC_BUG_ON(parser->telling);
		bc_buf_release(&parser->action);
		parser->magic = 0;
		free(parser);
	}
	return NULL;
}

enum bc_err agent_parser_feed(struct agent_parser *parser, struct bc_span text)
{
	size_t left;
	bool too_long;

	BC_CHECK(parser, PARSER_MAGIC);
	BC_BUG_ON(parser->telling || parser->state == PARSER_ENDED);
	left = parser->limits.generation_max - parser->seen;
	too_long = text.len > left;
	text.len = too_long ? left : text.len;
	parser->seen += text.len;
	while (text.len > 0 && !is_over(parser)) {
		size_t used = step(parser, text);

		text = bc_span(text.ptr + used, text.len - used);
	}
	if (too_long && !is_over(parser)) {
		fail(parser, AGENT_INVALID_LONG_STEP);
	}
	return verdict(parser);
}

enum bc_err agent_parser_end(struct agent_parser *parser)
{
	BC_CHECK(parser, PARSER_MAGIC);
	BC_BUG_ON(parser->telling);
	if (is_over(parser)) {
		return verdict(parser);
	}
	if (is_inside(parser)) {
		fail(parser, AGENT_INVALID_UNCLOSED);
	} else if (parser->hold_len > 0) {
		fail(parser, AGENT_INVALID_UNKNOWN_TAG);
	} else if (parser_next(parser->state, PARSER_EV_END) == PARSER_STATE__COUNT) {
		fail(parser, AGENT_INVALID_NO_ACTION);
	} else {
		parser_move(parser, PARSER_EV_END);
		tell_kind(parser, AGENT_END);
	}
	return verdict(parser);
}

static enum agent_place place_of(enum parser_state state)
{
	if (state == PARSER_THINK) {
		return AGENT_PLACE_THINK;
	}
	if (state == PARSER_CALL) {
		return AGENT_PLACE_CALL;
	}
	return state == PARSER_ANSWER ? AGENT_PLACE_ANSWER : AGENT_PLACE_OUTSIDE;
}

void agent_parser_interrupt(struct agent_parser *parser)
{
	enum parser_state from;

	BC_CHECK(parser, PARSER_MAGIC);
	BC_BUG_ON(parser->telling);
	if (is_over(parser)) {
		return;
	}
	from = parser->state;
	parser->hold_len = 0;
	parser_move(parser, PARSER_EV_INTERRUPT);
	if (parser_next(from, PARSER_EV_END) == PARSER_STATE__COUNT) {
		tell(parser,
		     &(struct agent_event){.kind = AGENT_INTERRUPTED, .place = place_of(from)});
	}
	tell_kind(parser, AGENT_END);
}
