#include "daemon/tools/verdict.h"

#include "proto/json.h"
#include "proto/ws.h"

#include <jansson.h>
#include <string.h>

#define UNKNOWN "; outcome unknown, do not repeat"

static const char *const outcome_names[TOOL_OUTCOME__COUNT] = {
	[TOOL_OK] = "ok",
	[TOOL_HTTP_ERROR] = "http_error",
	[TOOL_TIMEOUT] = "timeout",
	[TOOL_UNREACHABLE] = "unreachable",
	[TOOL_LOST] = "lost",
	[TOOL_BAD_RESULT] = "bad_result",
	[TOOL_BUSY] = "busy",
	[TOOL_OPEN] = "breaker",
	[TOOL_IN_DOUBT] = "in_doubt",
	[TOOL_UNDOING] = "undoing",
	[TOOL_NOT_RECORDED] = "not_recorded",
	[TOOL_CANCELLED] = "cancelled",
};

const char *tool_outcome_name(enum tool_outcome outcome)
{
	BC_BUG_ON(outcome >= TOOL_OUTCOME__COUNT);
	return outcome_names[outcome];
}

static struct tool_verdict error_of(enum tool_outcome outcome, bool retryable, const char *text)
{
	return (struct tool_verdict){.outcome = outcome,
				     .retryable = retryable,
				     .type = tool_outcome_name(outcome),
				     .text = text};
}

/* The same error of an effect: nobody knows what it did. */
static struct tool_verdict doubt_of(enum tool_outcome outcome, const char *text)
{
	struct tool_verdict verdict = error_of(outcome, false, text);

	verdict.in_doubt = true;
	return verdict;
}

static bool is_retryable(int status)
{
	return status == 408 || status == 425 || status == 429 || status == 500 || status == 502 ||
	       status == 503 || status == 504;
}

static struct tool_verdict judge_status(int status, bool is_effect)
{
	if (status >= 200 && status <= 299) {
		return (struct tool_verdict){.outcome = TOOL_OK, .happened = true};
	}
	if (is_effect && (status < 400 || status > 499)) {
		return doubt_of(TOOL_HTTP_ERROR, "the tool server answered with an error" UNKNOWN);
	}
	return error_of(TOOL_HTTP_ERROR, is_retryable(status),
			status >= 400 && status <= 499 ? "the tool server refused the call"
						       : "the tool server answered with an error");
}

static struct tool_verdict judge_too_big(int status, bool is_effect)
{
	struct tool_verdict verdict = judge_status(status, is_effect);

	if (verdict.happened) {
		verdict = error_of(
			TOOL_BAD_RESULT, false,
			is_effect
				? "the call was carried out, but its result is too long to be shown; do not repeat"
				: "the result is too long to be shown");
		verdict.type = "too_big";
		verdict.happened = true;
	}
	return verdict;
}

struct tool_verdict tool_judge(const struct net_http_answer *answer, bool is_effect)
{
	static const char unreachable[] = "the tool server could not be reached; nothing was done";

	switch (answer->end) {
	case NET_HTTP_DONE:
		return judge_status(answer->status, is_effect);
	case NET_HTTP_TOO_BIG:
		return judge_too_big(answer->status, is_effect);
	case NET_HTTP_UNREACHABLE:
		return error_of(TOOL_UNREACHABLE, true, unreachable);
	case NET_HTTP_TIMEOUT:
		if (!answer->sent) {
			return error_of(TOOL_UNREACHABLE, true, unreachable);
		}
		if (is_effect) {
			return doubt_of(TOOL_TIMEOUT,
					"the tool server did not answer in time" UNKNOWN);
		}
		return error_of(TOOL_TIMEOUT, true, "the tool server did not answer in time");
	case NET_HTTP_LOST:
		if (!answer->sent) {
			return error_of(TOOL_UNREACHABLE, true, unreachable);
		}
		if (is_effect) {
			return doubt_of(TOOL_LOST,
					"the connection to the tool server broke" UNKNOWN);
		}
		return error_of(TOOL_LOST, true, "the connection to the tool server broke");
	}
	return doubt_of(TOOL_LOST, "the call ended in an unknown way" UNKNOWN);
}

struct tool_verdict tool_judge_unsent(enum tool_outcome outcome)
{
	struct tool_verdict verdict;

	switch (outcome) {
	case TOOL_BUSY:
		return error_of(
			outcome, true,
			"too many calls of this tool are running, try again later; nothing was done");
	case TOOL_OPEN:
		verdict = error_of(
			outcome, true,
			"the tool server is out of order at the moment, try again later; nothing was done");
		verdict.type = "unavailable";
		return verdict;
	case TOOL_IN_DOUBT:
		return error_of(outcome, false, "an equal call was made before" UNKNOWN);
	case TOOL_UNDOING:
		return error_of(
			outcome, true,
			"an earlier change is being taken back, try again shortly; nothing was done");
	case TOOL_CANCELLED:
		return error_of(outcome, true,
				"the call was given up before it was made; nothing was done");
	case TOOL_NOT_RECORDED:
		return error_of(outcome, false,
				"the call could not be recorded, so it was not made");
	case TOOL_UNREACHABLE:
		verdict = error_of(outcome, false,
				   "no request can be made of these arguments; nothing was done");
		verdict.type = "invalid_arguments";
		return verdict;
	case TOOL_OK:
	case TOOL_HTTP_ERROR:
	case TOOL_TIMEOUT:
	case TOOL_LOST:
	case TOOL_BAD_RESULT:
	case TOOL_OUTCOME__COUNT:
		break;
	}
	bc_bug(__FILE__, __LINE__, "an outcome of a call that was sent");
}

struct tool_verdict tool_judge_unreadable(bool is_effect)
{
	struct tool_verdict verdict = error_of(
		TOOL_BAD_RESULT, false,
		is_effect ? "the call was carried out, but its result cannot be read; do not repeat"
			  : "the result cannot be read");

	verdict.happened = true;
	return verdict;
}

struct tool_verdict tool_judge_repeated(const struct tool_verdict *verdict)
{
	if (verdict->in_doubt || verdict->happened) {
		return *verdict;
	}
	return doubt_of(verdict->outcome,
			"an earlier attempt of the call may have been carried out" UNKNOWN);
}

enum tool_status tool_judge_status(const struct net_http_answer *answer, json_t **ret)
{
	enum tool_status status = TOOL_STATUS_UNKNOWN;
	const char *state;
	json_t *tree;

	*ret = NULL;
	if (answer->end != NET_HTTP_DONE || answer->status != 200) {
		return status;
	}
	tree = json_parse(answer->body);
	state = json_string_value(json_object_get(tree, "state"));
	if (state != NULL && strcmp(state, "done") == 0) {
		status = TOOL_STATUS_DONE;
	} else if (state != NULL && strcmp(state, "not_done") == 0) {
		status = TOOL_STATUS_NOT_DONE;
	}
	if (status == TOOL_STATUS_UNKNOWN) {
		json_decref(tree);
	} else {
		*ret = tree;
	}
	return status;
}

struct tool_verdict tool_judge_not_done(const struct tool_verdict *doubt)
{
	return error_of(doubt->outcome, true,
			"the call failed, and the tool server says that nothing was done");
}

struct tool_verdict tool_judge_unrecorded(void)
{
	struct tool_verdict verdict =
		doubt_of(TOOL_LOST, "the result could not be recorded" UNKNOWN);

	verdict.type = tool_outcome_name(TOOL_NOT_RECORDED);
	return verdict;
}

/* The longest start of text within max bytes that ends between characters. */
static struct bc_span cut(struct bc_span text, size_t max)
{
	if (text.len > max) {
		text.len = max;
		while (text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xC0U) == 0x80U) {
			text.len--;
		}
	}
	return text;
}

static enum bc_err put_message(struct bc_buf *out, const char *text, struct bc_span detail)
{
	struct bc_buf message;
	enum bc_err err;

	bc_buf_init(&message, (size_t)TOOL_MESSAGE_MAX * 2);
	err = bc_buf_put_str(&message, text);
	if (err == BC_OK && detail.len > 0 && ws_utf8_is_valid(detail)) {
		detail = cut(detail, TOOL_MESSAGE_MAX);
		err = bc_buf_put_str(&message, ": ");
		if (err == BC_OK) {
			err = bc_buf_put_span(&message, detail);
		}
	}
	if (err == BC_OK) {
		err = json_string_put(out, bc_buf_span(&message));
	}
	bc_buf_release(&message);
	return err;
}

enum bc_err tool_error_put(struct bc_buf *out, const struct tool_verdict *verdict, int status,
			   struct bc_span detail)
{
	enum bc_err err = bc_buf_printf(
		out, "{\"error\":{\"type\":\"%s\",\"status\":%d,\"retryable\":%s,\"message\":",
		verdict->type, status, verdict->retryable ? "true" : "false");

	if (err == BC_OK) {
		err = put_message(out, verdict->text, detail);
	}
	return err == BC_OK ? bc_buf_put_str(out, "}}") : err;
}

/* Copy JSON that is known to be well-formed without the white space outside its strings. */
static void compact(struct bc_buf *out, char *room, struct bc_span json)
{
	bool in_string = false;
	bool escaped = false;
	size_t len = 0;
	size_t i;

	for (i = 0; i < json.len; i++) {
		char byte = json.ptr[i];

		if (in_string || strchr(" \t\r\n", byte) == NULL) {
			room[len++] = byte;
		}
		if (byte == '"' && !escaped) {
			in_string = !in_string;
		}
		escaped = in_string && byte == '\\' && !escaped;
	}
	bc_buf_grow(out, len);
}

static enum bc_err put_json(struct bc_buf *out, struct bc_span body)
{
	/* Only looked at: a number beyond 64 bits is none of our business. */
	json_t *value = json_loadb(
		body.len == 0 ? "" : body.ptr, body.len,
		JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
	enum bc_err err;
	char *room;

	if (value == NULL) {
		return BC_E_INVALID;
	}
	json_decref(value);
	err = bc_buf_room(out, body.len, &room);
	if (err == BC_OK) {
		compact(out, room, body);
	}
	return err;
}

enum bc_err tool_result_put(struct bc_buf *out, enum cfg_result kind, int status,
			    struct bc_span body)
{
	if (body.len == 0 && (status == 204 || status == 205)) {
		return bc_buf_put_str(out, "null");
	}
	if (kind == CFG_RESULT_JSON) {
		return put_json(out, body);
	}
	return ws_utf8_is_valid(body) ? bc_buf_put_span(out, body) : BC_E_INVALID;
}

enum bc_err tool_status_put(struct bc_buf *out, enum cfg_result kind, const json_t *result)
{
	if (kind == CFG_RESULT_TEXT && json_is_string(result)) {
		return bc_buf_put(out, json_string_value(result), json_string_length(result));
	}
	return result == NULL ? bc_buf_put_str(out, "null") : json_canonical(out, result);
}
