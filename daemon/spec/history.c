#include "daemon/spec/history.h"

#include "proto/agent/print.h"
#include "proto/json.h"

#include <stdlib.h>

#define OVERHEAD 64 /* bytes a message counts beside its text */

void history_init(struct history *history, size_t bytes_max)
{
	*history = (struct history){.bytes_max = bytes_max};
	TAILQ_INIT(&history->messages);
}

static void forget(struct history *history, struct message *message)
{
	TAILQ_REMOVE(&history->messages, message, link);
	history->bytes -= bc_buf_len(&message->text) + OVERHEAD;
	bc_buf_release(&message->text);
	free(message);
}

void history_release(struct history *history)
{
	while (!TAILQ_EMPTY(&history->messages)) {
		forget(history, TAILQ_FIRST(&history->messages));
	}
}

/* Forget old messages until the bound is kept; never the last one. */
static void trim(struct history *history)
{
	struct message *first = TAILQ_FIRST(&history->messages);

	while (TAILQ_NEXT(first, link) != NULL &&
	       (history->bytes > history->bytes_max || first->role == HISTORY_MODEL)) {
		struct message *next = TAILQ_NEXT(first, link);

		forget(history, first);
		first = next;
	}
}

static struct message *append(struct history *history, enum history_role role)
{
	struct message *message = calloc(1, sizeof(*message));

	if (message != NULL) {
		message->role = role;
		bc_buf_init(&message->text, history->bytes_max);
		TAILQ_INSERT_TAIL(&history->messages, message, link);
		history->bytes += OVERHEAD;
	}
	return message;
}

enum bc_err history_add(struct history *history, enum history_role role, struct bc_span text)
{
	struct message *last = TAILQ_LAST(&history->messages, message_list);
	size_t before;
	enum bc_err err;

	if (text.len == 0) {
		return BC_OK;
	}
	if (last == NULL || last->role != role ||
	    bc_buf_len(&last->text) + text.len + 1 > history->bytes_max) {
		last = append(history, role);
	}
	if (last == NULL) {
		return BC_E_NOMEM;
	}
	before = bc_buf_len(&last->text);
	err = before == 0 ? BC_OK : bc_buf_put(&last->text, "\n", 1);
	if (err == BC_OK) {
		err = bc_buf_put_span(&last->text, text);
	}
	history->bytes += bc_buf_len(&last->text) - before;
	if (bc_buf_len(&last->text) == 0) {
		forget(history, last);
		return err;
	}
	trim(history);
	return err;
}

void history_drop_last(struct history *history, enum history_role role)
{
	struct message *last = TAILQ_LAST(&history->messages, message_list);

	if (last != NULL && last->role == role) {
		forget(history, last);
	}
}

enum bc_err history_add_answer(struct history *history, struct bc_span words)
{
	struct bc_buf text;
	enum bc_err err;

	bc_buf_init(&text, history->bytes_max);
	err = bc_buf_put_str(&text, "<think></think><answer>");
	if (err == BC_OK) {
		err = agent_put_escaped(&text, words);
	}
	if (err == BC_OK) {
		err = bc_buf_put_str(&text, "</answer>");
	}
	if (err == BC_OK) {
		err = history_add(history, HISTORY_MODEL, bc_buf_span(&text));
	}
	bc_buf_release(&text);
	return err;
}

static enum bc_err put_message(const struct message *message, struct bc_buf *out)
{
	enum bc_err err = bc_buf_printf(out, ",{\"role\":\"%s\",\"content\":",
					message->role == HISTORY_GATEWAY ? "user" : "assistant");

	if (err == BC_OK) {
		err = json_string_put(out, bc_buf_span(&message->text));
	}
	return err == BC_OK ? bc_buf_put_str(out, "}") : err;
}

static enum bc_err put_messages(const struct history *history, struct bc_buf *out)
{
	const struct message *message;
	enum bc_err err = BC_OK;

	TAILQ_FOREACH(message, &history->messages, link) {
		err = err == BC_OK ? put_message(message, out) : err;
	}
	return err;
}

enum bc_err history_request(const struct history *history, const struct history_request *request,
			    struct bc_buf *out)
{
	enum bc_err err = bc_buf_put_str(out, "{\"model\":");

	if (err == BC_OK) {
		err = json_string_put(out, bc_span_str(request->model));
	}
	if (err == BC_OK) {
		err = bc_buf_printf(out,
				    ",\"stream\":true,\"%s\":%u,\"messages\":[{\"role\":"
				    "\"system\",\"content\":",
				    request->tokens_field, request->tokens_max);
	}
	if (err == BC_OK) {
		err = json_string_put(out, bc_span_str(request->system));
	}
	if (err == BC_OK) {
		err = bc_buf_put_str(out, "}");
	}
	if (err == BC_OK) {
		err = put_messages(history, out);
	}
	return err == BC_OK ? bc_buf_put_str(out, "]}") : err;
}
