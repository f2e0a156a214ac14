#include "tests/reasoner/mind.h"

#include "proto/agent/parser.h"

#include <stdlib.h>
#include <string.h>

/* What is known of one call of the turn. */
struct known {
	json_t *issued; /* arguments it was issued with last, operands in them; owned; NULL: not issued */
	bool done;
};

struct mind {
	const struct dialogue *dialogue;
	const struct dialogue_turn *turn; /* NULL: the words fit none */
	bool repair;
	char *words; /* the last update's, owned */
	unsigned heard;
	bool final;
	struct known calls[DIALOGUE_CALLS_MAX];
	json_t *done; /* ids as keys: results are there */
	size_t begin; /* index of the first message of the turn */
};

static const char *content(const json_t *message)
{
	const char *text = json_string_value(json_object_get(message, "content"));

	return text == NULL ? "" : text;
}

static bool is_model(const json_t *message)
{
	const char *role = json_string_value(json_object_get(message, "role"));

	return role != NULL && strcmp(role, "assistant") == 0;
}

static char *unescape(const char *from, size_t len)
{
	char *text = malloc(len + 1);
	size_t n = 0;

	BC_BUG_ON(text == NULL);
	for (size_t i = 0; i < len; i++) {
		if (strncmp(from + i, "&lt;", 4) == 0) {
			text[n++] = '<';
			i += 3;
		} else {
			text[n++] = from[i];
			i += strncmp(from + i, "&amp;", 5) == 0 ? 4 : 0;
		}
	}
	text[n] = '\0';
	return text;
}

/* ---- what was told ---- */

static void take_update(struct mind *mind, const char *at, bool final)
{
	const char *open = strchr(at, '>');
	const char *close = open == NULL ? NULL : strchr(open, '<');

	if (close != NULL) {
		free(mind->words);
		mind->words = unescape(open + 1, (size_t)(close - open - 1));
		mind->final = final;
	}
}

/* The id of a call is its number in the turn, from 1. */
static void id_key(unsigned id, char out[16])
{
	(void)snprintf(out, 16, "%u", id);
}

static void take_news(struct mind *mind, const char *text)
{
	for (; (text = strchr(text, '<')) != NULL; text++) {
		unsigned id = 0;
		char key[16];

		if (strncmp(text, "<partial_query_update ", 22) == 0) {
			take_update(mind, text, false);
		} else if (strncmp(text, "<final_query_update ", 20) == 0) {
			take_update(mind, text, true);
		} else if (sscanf(text, "<tool_result id=\"%u\"", &id) == 1) {
			id_key(id, key);
			json_object_set_new(mind->done, key, json_true());
		}
	}
}

static void take_action(void *arg, const struct agent_event *event)
{
	struct mind *mind = arg;
	unsigned id = event->kind == AGENT_CALL     ? event->call->id
		      : event->kind == AGENT_REMOVE ? event->id
						    : 0;
	char key[16];

	if (id == 0 || id > DIALOGUE_CALLS_MAX) {
		return;
	}
	json_decref(mind->calls[id - 1].issued);
	mind->calls[id - 1].issued =
		event->kind == AGENT_CALL ? json_deep_copy(event->call->arguments) : NULL;
	if (event->kind == AGENT_REMOVE) {
		id_key(id, key);
		(void)json_object_del(mind->done, key); /* it may not have run */
	}
}

static void take_step(struct mind *mind, const char *text)
{
	struct agent_parser *parser = agent_parser_new(NULL, take_action, mind);

	BC_BUG_ON(parser == NULL);
	/* Several steps may stand in one message; only the whole ones count. */
	for (const char *at = strstr(text, "<think>"); at != NULL; at = strstr(text, "<think>")) {
		const char *next = strstr(at + 1, "<think>");
		size_t len = next == NULL ? strlen(at) : (size_t)(next - at);

		agent_parser_free(parser);
		parser = agent_parser_new(NULL, take_action, mind);
		BC_BUG_ON(parser == NULL);
		(void)!agent_parser_feed(parser, bc_span(at, len)); /* its events tell all */
		text = at + len;
	}
	agent_parser_free(parser);
}

static void take_messages(struct mind *mind, const json_t *messages)
{
	size_t n = json_array_size(messages);

	for (size_t i = 0; i < n; i++) {
		const json_t *message = json_array_get(messages, i);

		if (is_model(message) && strstr(content(message), "<answer>") != NULL) {
			mind->begin = i + 1;
		}
	}
	for (size_t i = mind->begin; i < n; i++) {
		const json_t *message = json_array_get(messages, i);

		if (is_model(message)) {
			take_step(mind, content(message));
		} else {
			take_news(mind, content(message));
		}
	}
}

/* ---- which turn it is ---- */

static void find_turn(struct mind *mind)
{
	struct bc_span words = bc_span_str(mind->words);

	for (size_t i = 0; i < mind->dialogue->turns_n; i++) {
		const struct dialogue_turn *turn = &mind->dialogue->turns[i];

		for (int repair = 0; repair <= (turn->repair != NULL); repair++) {
			bool all = false;
			unsigned heard =
				dialogue_match(dialogue_text(turn, repair != 0), words, &all);

			if (all && heard > mind->heard) {
				mind->turn = turn;
				mind->repair = repair != 0;
				mind->heard = heard;
			}
		}
	}
}

/* ---- what to do ---- */

/* Where a value stands in a result, as an operand's path; false: nowhere. */
static bool find_path(const json_t *value, const json_t *in, struct bc_buf *path)
{
	size_t len = bc_buf_len(path);
	const char *key;
	json_t *inner;
	size_t i;

	if (json_equal(value, (json_t *)(uintptr_t)in)) {
		return true;
	}
	json_object_foreach((json_t *)(uintptr_t)in, key, inner) {
		if (bc_buf_printf(path, ".%s", key) == BC_OK && find_path(value, inner, path)) {
			return true;
		}
		path->tail = path->head + len;
	}
	json_array_foreach((json_t *)(uintptr_t)in, i, inner) {
		if (bc_buf_printf(path, "[%zu]", i) == BC_OK && find_path(value, inner, path)) {
			return true;
		}
		path->tail = path->head + len;
	}
	return false;
}

/* Put an operand in place of an argument that comes from the result of an earlier call. */
static void refer(const struct mind *mind, const struct dialogue_call *call, const char *key,
		  json_t *arguments)
{
	for (size_t i = 0; i < call->depends_n; i++) {
		unsigned earlier = call->depends_on[i];
		struct bc_buf path;

		bc_buf_init(&path, 200);
		if (find_path(json_object_get(call->args, key), mind->turn->calls[earlier].result,
			      &path)) {
			json_object_set_new(arguments, key,
					    json_sprintf("$%u%.*s", earlier + 1,
							 BC_SPAN_ARG(bc_buf_span(&path))));
		}
		bc_buf_release(&path);
	}
}

/* A string that might be taken for an operand. */
static json_t *literal(const char *text)
{
	return text[0] == '$' ? json_sprintf("$%s", text) : json_string(text);
}

static json_t *arguments_of(const struct mind *mind, size_t number, bool wrong)
{
	const struct dialogue_call *call = &mind->turn->calls[number];
	json_t *arguments = json_deep_copy(wrong ? mind->turn->repair->wrong_args : call->args);
	const char *key;
	json_t *value;
	void *next;

	json_object_foreach_safe(arguments, next, key, value)
	{
		if (json_is_string(value)) {
			json_object_set_new(arguments, key, literal(json_string_value(value)));
		}
		if (!wrong) {
			refer(mind, call, key, arguments);
		}
	}
	return arguments;
}

static bool is_done(const struct mind *mind, unsigned id)
{
	char key[16];

	id_key(id, key);
	return json_object_get(mind->done, key) != NULL;
}

/* What the words determine of a call so far; owned by the caller, NULL: nothing yet. */
static json_t *wanted(const struct mind *mind, size_t number)
{
	const struct dialogue_turn *turn = mind->turn;
	const struct dialogue_call *call = &turn->calls[number];
	const struct dialogue_repair *repair = mind->repair ? turn->repair : NULL;

	for (size_t i = 0; i < call->order_n; i++) {
		if (!mind->calls[call->order_after[i]].done) {
			return NULL;
		}
	}
	if (mind->heard >= dialogue_ready(turn, number, mind->repair, true)) {
		return arguments_of(mind, number, false);
	}
	if (repair != NULL && repair->call == number && repair->wrong_ready > 0 &&
	    mind->heard >= repair->wrong_ready) {
		return arguments_of(mind, number, true);
	}
	return NULL;
}

static json_t *issue(struct mind *mind, size_t number)
{
	struct known *known = &mind->calls[number];
	json_t *arguments = wanted(mind, number);

	if (arguments == NULL || (known->issued != NULL && json_equal(known->issued, arguments))) {
		json_decref(arguments);
		return NULL;
	}
	return json_pack("{s:i,s:s,s:o}", "id", (int)number + 1, "name",
			 mind->turn->calls[number].name, "arguments", arguments);
}

/* A call that has run and is not what the caller wants: its number; DIALOGUE_CALLS_MAX: none is. */
static size_t find_wrong(const struct mind *mind)
{
	for (size_t i = 0; mind->turn != NULL && i < mind->turn->calls_n; i++) {
		json_t *arguments = mind->calls[i].done ? wanted(mind, i) : NULL;
		bool wrong = arguments != NULL && !json_equal(mind->calls[i].issued, arguments);

		json_decref(arguments);
		if (wrong) {
			return i;
		}
	}
	return DIALOGUE_CALLS_MAX;
}

static bool is_pending(const struct mind *mind)
{
	for (size_t i = 0; i < DIALOGUE_CALLS_MAX; i++) {
		if (mind->calls[i].issued != NULL && !mind->calls[i].done) {
			return true;
		}
	}
	return false;
}

static enum bc_err put_calls(const json_t *calls, struct bc_buf *out)
{
	char *text = json_dumps(calls, JSON_COMPACT);
	enum bc_err err = BC_E_NOMEM;

	if (text != NULL) {
		err = bc_buf_printf(out,
				    "<think>Known from %zu calls on.</think><tool_call>%s"
				    "</tool_call>",
				    json_array_size(calls), text);
	}
	free(text);
	return err;
}

static enum bc_err decide(struct mind *mind, struct bc_buf *out)
{
	json_t *calls = json_array();
	size_t wrong;
	enum bc_err err;

	for (unsigned i = 0; i < DIALOGUE_CALLS_MAX; i++) {
		mind->calls[i].done = mind->calls[i].issued != NULL && is_done(mind, i + 1);
	}
	wrong = find_wrong(mind);
	for (size_t i = 0; mind->turn != NULL && i < mind->turn->calls_n; i++) {
		json_t *call = wrong < DIALOGUE_CALLS_MAX ? NULL : issue(mind, i);

		if (call != NULL) {
			json_array_append_new(calls, call);
		}
	}
	if (wrong < DIALOGUE_CALLS_MAX) {
		/* Its result is there, so it is withdrawn before the right one is called. */
		err = bc_buf_printf(out,
				    "<think>Not that.</think><tool_call>REMOVE %zu</tool_call>",
				    wrong + 1);
	} else if (json_array_size(calls) > 0) {
		err = put_calls(calls, out);
	} else if (mind->final && !is_pending(mind)) {
		err = bc_buf_printf(out, "<think>All is known.</think><answer>%s</answer>",
				    mind->turn == NULL ? "Nothing." : mind->turn->reply);
	} else {
		err = bc_buf_put_str(out, "<think>Not yet.</think><pause/>");
	}
	json_decref(calls);
	return err;
}

enum bc_err mind_step(const struct dialogue *dialogue, const json_t *messages, struct bc_buf *out)
{
	struct mind mind = {.dialogue = dialogue, .done = json_object()};
	enum bc_err err;

	take_messages(&mind, messages);
	if (mind.words != NULL) {
		find_turn(&mind);
	}
	err = decide(&mind, out);
	for (size_t i = 0; i < DIALOGUE_CALLS_MAX; i++) {
		json_decref(mind.calls[i].issued);
	}
	json_decref(mind.done);
	free(mind.words);
	return err;
}
