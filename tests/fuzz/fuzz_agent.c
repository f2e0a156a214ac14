/*
 * The action protocol on an arbitrary generation:
 *
 *   - a byte at a time, in pieces and as a whole it tells the same, also under limits that it reaches, and also
 *     when it is interrupted
 *   - what is told keeps the order that parser.h promises
 *   - a call that is told can be resolved
 *   - any bytes, escaped, are text within every element, and nothing else
 *   - a naive reader, which has the whole at once and searches it for tags, finds the same in generations without calls
 */
#include "daemon/base/buf.h"
#include "proto/agent/parser.h"
#include "proto/agent/print.h"
#include "proto/json.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define LOG_MAX (64 * 1024 * 1024)

/* What a generation told; text without marks of where it was divided. */
struct log {
	struct bc_buf text;
	enum agent_kind last;
	bool acted;
	bool interrupted;
};

static void put(struct log *log, struct bc_span text)
{
	BC_BUG_ON(bc_buf_put_span(&log->text, text) != BC_OK);
}

/* Every call has finished, with itself as its result. */
static enum agent_result find(void *arg, unsigned id, const json_t **ret_value)
{
	const struct agent_call *call = arg;

	BC_BUG_ON(id == 0 || id >= call->id);
	*ret_value = call->arguments;
	return AGENT_RESULT_READY;
}

static void check_call(struct log *log, const struct agent_call *call)
{
	struct agent_results results = {find, (void *)(uintptr_t)call};
	unsigned ids[AGENT_OPERANDS_MAX];
	struct agent_unresolved unresolved;
	json_t *raw = json_parse(call->raw);
	json_t *resolved = NULL;
	enum bc_err err;
	size_t n;

	BC_BUG_ON(raw == NULL || !json_equal(raw, call->arguments));
	json_decref(raw);
	BC_BUG_ON(call->id == 0 || call->id > AGENT_ID_MAX);
	BC_BUG_ON(call->name.len == 0 || call->name.len > AGENT_NAME_MAX);
	n = agent_operand_ids(call->operands, call->operand_count, ids);
	BC_BUG_ON(n > call->operand_count || (n > 0 && ids[n - 1] >= call->id));
	err = agent_resolve(call->arguments, &results, &resolved, &unresolved);
	BC_BUG_ON(err != BC_OK && err != BC_E_NOTFOUND && err != BC_E_LIMIT);
	BC_BUG_ON(err == BC_E_NOTFOUND && call->operand_count == 0);
	BC_BUG_ON((err == BC_OK) != json_is_object(resolved));
	json_decref(resolved);
	BC_BUG_ON(bc_buf_printf(&log->text, "%u %zu ", call->id, n) != BC_OK);
	put(log, call->name);
	put(log, call->raw);
}

static void check_order(struct log *log, const struct agent_event *event)
{
	bool in_answer = log->last == AGENT_ANSWER_BEGIN || log->last == AGENT_ANSWER;

	BC_BUG_ON(log->last == AGENT_END || log->last == AGENT_INVALID);
	switch (event->kind) {
	case AGENT_THINK:
		BC_BUG_ON(log->acted || log->interrupted);
		break;
	case AGENT_CALL:
		BC_BUG_ON(log->acted && log->last != AGENT_CALL);
		log->acted = true;
		break;
	case AGENT_REMOVE:
	case AGENT_PAUSE:
	case AGENT_ANSWER_BEGIN:
		BC_BUG_ON(log->acted || log->interrupted);
		log->acted = true;
		break;
	case AGENT_ANSWER:
	case AGENT_ANSWER_END:
		BC_BUG_ON(!in_answer);
		break;
	case AGENT_INTERRUPTED:
		BC_BUG_ON(log->acted && !in_answer);
		log->interrupted = true;
		break;
	case AGENT_END:
		BC_BUG_ON((!log->acted && !log->interrupted) || in_answer);
		break;
	case AGENT_INVALID:
		BC_BUG_ON(event->reason == AGENT_VALID);
		break;
	case AGENT_KIND__COUNT:
	default:
		BC_BUG_ON(true);
	}
}

static void on_event(void *arg, const struct agent_event *event)
{
	struct log *log = arg;
	bool is_text = event->kind == AGENT_THINK || event->kind == AGENT_ANSWER;

	check_order(log, event);
	if (!is_text || event->kind != log->last) {
		BC_BUG_ON(bc_buf_printf(&log->text, "\n%d %d %u %d ", (int)event->kind,
					(int)event->place, event->id, (int)event->reason) != BC_OK);
	}
	if (is_text) {
		BC_BUG_ON(event->text.len == 0);
		put(log, event->text);
	} else if (event->kind == AGENT_CALL) {
		check_call(log, event->call);
	}
	log->last = event->kind;
}

/* In pieces of so many bytes, each of them a copy, so that a sanitizer sees a read behind it. */
static void feed(struct agent_parser *parser, struct bc_span text, size_t piece)
{
	bool invalid = false;

	for (size_t at = 0; at < text.len; at += piece) {
		size_t len = text.len - at < piece ? text.len - at : piece;
		char *copy = malloc(len);
		enum bc_err err;

		BC_BUG_ON(copy == NULL);
		memcpy(copy, text.ptr + at, len);
		err = agent_parser_feed(parser, bc_span(copy, len));
		free(copy);
		BC_BUG_ON(invalid && err != BC_E_INVALID);
		invalid = err != BC_OK;
	}
}

static void run(struct log *log, const struct agent_limits *limits, struct bc_span text,
		size_t piece, bool interrupt)
{
	struct agent_parser *parser = agent_parser_new(limits, on_event, log);

	BC_BUG_ON(parser == NULL);
	*log = (struct log){.last = AGENT_KIND__COUNT};
	bc_buf_init(&log->text, LOG_MAX);
	feed(parser, text, piece);
	if (interrupt) {
		agent_parser_interrupt(parser);
	}
	BC_BUG_ON((agent_parser_end(parser) == BC_OK) != (log->last == AGENT_END));
	BC_BUG_ON(log->last != AGENT_END && log->last != AGENT_INVALID);
	agent_parser_free(parser);
}

static void check_pieces(const struct agent_limits *limits, struct bc_span text, bool interrupt)
{
	static const size_t pieces[] = {1, 2, 3, 7};
	struct log whole;

	run(&whole, limits, text, text.len + 1, interrupt);
	for (size_t i = 0; i < BC_ARRAY_LEN(pieces); i++) {
		struct log log;

		run(&log, limits, text, pieces[i], interrupt);
		BC_BUG_ON(!bc_span_eq(bc_buf_span(&log.text), bc_buf_span(&whole.text)));
		bc_buf_release(&log.text);
	}
	bc_buf_release(&whole.text);
}

/* Only the text of one kind, as a model that copies what it was told would say it. */
struct said {
	struct bc_buf think;
	struct bc_buf answer;
	struct bc_buf call;
	bool paused;
	bool interrupted;
	bool answered;
	enum agent_kind last;
};

static void said_init(struct said *said)
{
	*said = (struct said){.last = AGENT_KIND__COUNT};
	bc_buf_init(&said->think, LOG_MAX);
	bc_buf_init(&said->answer, LOG_MAX);
	bc_buf_init(&said->call, LOG_MAX);
}

static void said_release(struct said *said)
{
	bc_buf_release(&said->think);
	bc_buf_release(&said->answer);
	bc_buf_release(&said->call);
}

static void on_said(void *arg, const struct agent_event *event)
{
	struct said *said = arg;

	if (event->kind == AGENT_THINK) {
		BC_BUG_ON(bc_buf_put_span(&said->think, event->text) != BC_OK);
	} else if (event->kind == AGENT_ANSWER) {
		BC_BUG_ON(bc_buf_put_span(&said->answer, event->text) != BC_OK);
	} else if (event->kind == AGENT_CALL) {
		const json_t *value = json_object_get(event->call->arguments, "x");

		BC_BUG_ON(bc_buf_put(&said->call, json_string_value(value),
				     json_string_length(value)) != BC_OK);
	}
	said->paused = said->paused || event->kind == AGENT_PAUSE;
	said->interrupted = said->interrupted || event->kind == AGENT_INTERRUPTED;
	said->answered = said->answered || event->kind == AGENT_ANSWER_END;
	said->last = event->kind;
}

static void say(struct said *said, struct bc_span text)
{
	static const struct agent_limits limits = {LOG_MAX, LOG_MAX};
	struct agent_parser *parser = agent_parser_new(&limits, on_said, said);

	BC_BUG_ON(parser == NULL);
	(void)!agent_parser_feed(parser, text);
	(void)!agent_parser_end(parser);
	agent_parser_free(parser);
}

static void put_str(struct bc_buf *out, const char *string)
{
	BC_BUG_ON(bc_buf_put_str(out, string) != BC_OK);
}

/* A printed element holds two brackets for each of its tags, all of them outside of the text. */
static void check_printed(struct bc_span text)
{
	struct bc_buf out;
	size_t brackets = 0;

	bc_buf_init(&out, LOG_MAX);
	BC_BUG_ON(agent_put_result(&out, 1, text) != BC_OK);
	BC_BUG_ON(agent_put_partial(&out, 1, text) != BC_OK);
	BC_BUG_ON(agent_put_final(&out, 2, text) != BC_OK);
	BC_BUG_ON(agent_put_error(&out, text) != BC_OK);
	for (size_t i = 0; i < bc_buf_len(&out); i++) {
		brackets += bc_buf_span(&out).ptr[i] == '<';
	}
	BC_BUG_ON(brackets != 8);
	bc_buf_release(&out);
}

static void check_escaped(struct bc_span text)
{
	struct said said;
	struct bc_buf out;

	bc_buf_init(&out, LOG_MAX);
	said_init(&said);
	put_str(&out, "<think>");
	BC_BUG_ON(agent_put_escaped(&out, text) != BC_OK);
	put_str(&out, "</think><answer>");
	BC_BUG_ON(agent_put_escaped(&out, text) != BC_OK);
	put_str(&out, "</answer>");
	say(&said, bc_buf_span(&out));
	BC_BUG_ON(said.last != AGENT_END);
	BC_BUG_ON(!bc_span_eq(bc_buf_span(&said.think), text));
	BC_BUG_ON(!bc_span_eq(bc_buf_span(&said.answer), text));
	bc_buf_release(&out);
	said_release(&said);
}

/* Also as an argument, if it is a string that JSON can carry and no operand. */
static void check_argument(struct bc_span text)
{
	json_t *value = json_stringn(text.len == 0 ? "" : text.ptr, text.len);
	struct said said;
	struct agent_operand operand;
	struct bc_buf json;
	struct bc_buf out;

	if (value == NULL || (text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL) ||
	    agent_operand_parse(text, &operand) != BC_E_NOTFOUND) {
		json_decref(value);
		return;
	}
	json_decref(value);
	bc_buf_init(&json, LOG_MAX);
	bc_buf_init(&out, LOG_MAX);
	said_init(&said);
	put_str(&json, "{\"id\":1,\"name\":\"a\",\"arguments\":{\"x\":");
	BC_BUG_ON(json_string_put(&json, text) != BC_OK);
	put_str(&json, "}}");
	put_str(&out, "<think></think><tool_call>");
	BC_BUG_ON(agent_put_escaped(&out, bc_buf_span(&json)) != BC_OK);
	put_str(&out, "</tool_call>");
	say(&said, bc_buf_span(&out));
	BC_BUG_ON(said.last != AGENT_END);
	BC_BUG_ON(!bc_span_eq(bc_buf_span(&said.call), text));
	bc_buf_release(&json);
	bc_buf_release(&out);
	said_release(&said);
}

/* ---- the naive reader ---- */

enum naive_kind {
	NAIVE_OTHER,
	NAIVE_CUT,
	NAIVE_PAUSE,
	NAIVE_ANSWER
};

struct naive {
	enum naive_kind kind;
	struct bc_buf think;
	struct bc_buf answer;
};

/* Pass over string if it comes next. */
static bool skip(struct bc_span *text, const char *string)
{
	bool found = bc_span_has_prefix(*text, string);
	size_t len = found ? strlen(string) : 0;

	*text = bc_span(text->ptr + len, text->len - len);
	return found;
}

static void skip_space(struct bc_span *text)
{
	while (skip(text, " ") || skip(text, "\t") || skip(text, "\r") || skip(text, "\n")) {
	}
}

/* Offset of string in text; beyond the text if it is not there. */
static size_t offset_of(struct bc_span text, const char *string)
{
	const char *at = text.len == 0 ? NULL : memmem(text.ptr, text.len, string, strlen(string));

	return at == NULL ? SIZE_MAX : (size_t)(at - text.ptr);
}

static void unescape(struct bc_buf *out, struct bc_span text)
{
	while (text.len > 0) {
		if (skip(&text, "&lt;")) {
			put_str(out, "<");
		} else if (skip(&text, "&amp;")) {
			put_str(out, "&");
		} else {
			BC_BUG_ON(bc_buf_put(out, text.ptr, 1) != BC_OK);
			text = bc_span(text.ptr + 1, text.len - 1);
		}
	}
}

/* Take text up to at, which lies in it, into out. */
static void naive_take(struct bc_span *text, size_t at, struct bc_buf *out)
{
	unescape(out, bc_span(text->ptr, at));
	*text = bc_span(text->ptr + at, text->len - at);
}

static bool has_tag(struct bc_span text)
{
	static const char *const tags[] = {
		"<think>",
		"</think>",
		"</think_interrupted>",
		"<tool_call>",
		"</tool_call>",
		"<pause/>",
		"<answer>",
		"<partial_query_update",
		"</partial_query_update",
		"<final_query_update",
		"</final_query_update",
		"<tool_result",
		"</tool_result",
		"<tool_call_cancelled",
		"</tool_call_cancelled",
		"<error>",
		"</error>",
	};

	for (size_t i = 0; i < BC_ARRAY_LEN(tags); i++) {
		if (offset_of(text, tags[i]) != SIZE_MAX) {
			return true;
		}
	}
	return false;
}

/* What stands behind the think. */
static enum naive_kind naive_action(struct naive *naive, struct bc_span *text)
{
	size_t at;

	if (skip(text, "<pause/>")) {
		return NAIVE_PAUSE;
	}
	if (!skip(text, "<answer>")) {
		return NAIVE_OTHER;
	}
	at = offset_of(*text, "</answer>");
	if (at == SIZE_MAX || has_tag(bc_span(text->ptr, at))) {
		return NAIVE_OTHER;
	}
	naive_take(text, at, &naive->answer);
	(void)skip(text, "</answer>");
	return NAIVE_ANSWER;
}

static enum naive_kind naive_read(struct naive *naive, struct bc_span text)
{
	enum naive_kind kind;
	size_t close;
	size_t cut;

	skip_space(&text);
	if (!skip(&text, "<think>")) {
		return NAIVE_OTHER;
	}
	close = offset_of(text, "</think>");
	cut = offset_of(text, "</think_interrupted>");
	if (close == cut) {
		return NAIVE_OTHER;
	}
	naive_take(&text, close < cut ? close : cut, &naive->think);
	if (skip(&text, "</think>")) {
		skip_space(&text);
		kind = naive_action(naive, &text);
	} else {
		(void)skip(&text, "</think_interrupted>");
		kind = NAIVE_CUT;
	}
	skip_space(&text);
	return text.len == 0 ? kind : NAIVE_OTHER;
}

static enum naive_kind kind_said(const struct said *said)
{
	if (said->last != AGENT_END) {
		return NAIVE_OTHER;
	}
	if (said->paused) {
		return NAIVE_PAUSE;
	}
	if (said->interrupted) {
		return NAIVE_CUT;
	}
	return said->answered ? NAIVE_ANSWER : NAIVE_OTHER;
}

static void check_naive(struct bc_span text)
{
	struct said said;
	struct naive naive;

	said_init(&said);
	bc_buf_init(&naive.think, LOG_MAX);
	bc_buf_init(&naive.answer, LOG_MAX);
	naive.kind = naive_read(&naive, text);
	say(&said, text);
	BC_BUG_ON(kind_said(&said) != naive.kind);
	if (naive.kind != NAIVE_OTHER) {
		BC_BUG_ON(!bc_span_eq(bc_buf_span(&said.think), bc_buf_span(&naive.think)));
		BC_BUG_ON(!bc_span_eq(bc_buf_span(&said.answer), bc_buf_span(&naive.answer)));
	}
	said_release(&said);
	bc_buf_release(&naive.think);
	bc_buf_release(&naive.answer);
}

/* ---- all of it ---- */

/* The text as what stands inside a call, which is seldom found by chance. */
static void check_body(struct bc_span text)
{
	struct bc_buf out;

	bc_buf_init(&out, LOG_MAX);
	put_str(&out, "<think></think><tool_call>");
	BC_BUG_ON(bc_buf_put_span(&out, text) != BC_OK);
	put_str(&out, "</tool_call>");
	check_pieces(NULL, bc_buf_span(&out), false);
	bc_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct agent_limits tight = {32, 96};
	struct bc_span text = bc_span((const char *)data, size);

	check_pieces(NULL, text, false);
	check_pieces(NULL, text, true);
	check_pieces(&tight, text, false);
	check_body(text);
	check_printed(text);
	check_escaped(text);
	check_argument(text);
	check_naive(text);
	return 0;
}
