#include "tests/world/dialogue.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a reading stands, for one message that says what is wrong. */
struct reading {
	char *error;
	size_t size;
	size_t turn;
};

static bool fail(const struct reading *reading, const char *what)
{
	snprintf(reading->error, reading->size, "turn %zu: %s", reading->turn, what);
	return false;
}

static unsigned number(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value < 0 || value > DIALOGUE_WORDS_MAX ? 0 : (unsigned)value;
}

static const char *string(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value == NULL ? "" : value;
}

struct bc_span dialogue_word(const char *text, unsigned index)
{
	for (;;) {
		size_t len;

		text += strspn(text, " \t\n\r\f\v");
		len = strcspn(text, " \t\n\r\f\v");
		if (index == 0 || len == 0) {
			return bc_span(text, len);
		}
		text += len;
		index--;
	}
}

static unsigned words_of(const char *text)
{
	unsigned n = 0;

	while (dialogue_word(text, n).len > 0) {
		n++;
	}
	return n;
}

static bool indices_read(const json_t *array, unsigned *out, size_t *ret_n, size_t limit)
{
	size_t i;
	json_t *value;

	json_array_foreach(array, i, value) {
		json_int_t index = json_integer_value(value);

		if (!json_is_integer(value) || index < 0 || (size_t)index >= limit ||
		    i >= DIALOGUE_CALLS_MAX) {
			return false;
		}
		out[i] = (unsigned)index;
		*ret_n = i + 1;
	}
	return true;
}

static bool call_read(const struct reading *reading, json_t *json, size_t index, unsigned words,
		      struct dialogue_call *call)
{
	call->name = json_string_value(json_object_get(json, "name"));
	call->args = json_object_get(json, "args");
	call->result = json_object_get(json, "result");
	call->read_only = json_is_true(json_object_get(json, "read_only"));
	call->ready = number(json, "ready");
	call->ready_clause = number(json, "ready_clause");
	call->intent_word = number(json, "intent_word");
	call->arg_word = json_object_get(json, "arg_word");
	if (call->name == NULL || !json_is_object(call->args)) {
		return fail(reading, "a call needs a name and an object of args");
	}
	if (!json_is_integer(json_object_get(json, "ready")) ||
	    !json_is_integer(json_object_get(json, "ready_clause"))) {
		return fail(reading, "a call needs ready and ready_clause");
	}
	if (call->ready > words || call->ready_clause > words) {
		return fail(reading, "a call is ready only behind the turn's last word");
	}
	if (!indices_read(json_object_get(json, "depends_on"), call->depends_on, &call->depends_n,
			  index) ||
	    !indices_read(json_object_get(json, "order_after"), call->order_after, &call->order_n,
			  index)) {
		return fail(reading, "depends_on and order_after name earlier calls of the turn");
	}
	return true;
}

static bool repair_read(const struct reading *reading, const json_t *json,
			struct dialogue_turn *turn)
{
	struct dialogue_repair *repair = calloc(1, sizeof(*repair));

	turn->repair = repair;
	if (repair == NULL) {
		return fail(reading, "out of memory");
	}
	repair->user = string(json, "user");
	repair->words = words_of(repair->user);
	repair->call = number(json, "call");
	repair->arg = string(json, "arg");
	repair->wrong_args = json_object_get(json, "wrong_args");
	repair->wrong_ready = number(json, "wrong_ready");
	repair->ready = number(json, "ready");
	repair->ready_clause = number(json, "ready_clause");
	while (bc_span_eq(dialogue_word(turn->user, repair->from),
			  dialogue_word(repair->user, repair->from)) &&
	       repair->from < turn->words) {
		repair->from++;
	}
	if (repair->words < turn->words || repair->call >= turn->calls_n ||
	    !json_is_object(repair->wrong_args) || repair->ready > repair->words ||
	    repair->ready_clause > repair->words) {
		return fail(reading, "the repair does not fit the turn");
	}
	return true;
}

static bool turn_read(const struct reading *reading, json_t *json, struct dialogue_turn *turn)
{
	json_t *calls = json_object_get(json, "calls");
	json_t *repair = json_object_get(json, "repair");

	turn->json = json;
	turn->user = string(json, "user");
	turn->reply = string(json, "reply");
	turn->words = words_of(turn->user);
	if (turn->words > DIALOGUE_WORDS_MAX) {
		return fail(reading, "user has more than 2047 words");
	}
	if (json_array_size(calls) > DIALOGUE_CALLS_MAX) {
		return fail(reading, "more than 16 calls");
	}
	turn->calls = calloc(json_array_size(calls) + 1, sizeof(*turn->calls));
	if (turn->calls == NULL) {
		return fail(reading, "out of memory");
	}
	for (size_t i = 0; i < json_array_size(calls); i++) {
		turn->calls_n = i + 1;
		if (!call_read(reading, json_array_get(calls, i), i, turn->words,
			       &turn->calls[i])) {
			return false;
		}
	}
	return !json_is_object(repair) || repair_read(reading, repair, turn);
}

static bool tools_read(const struct reading *reading, struct dialogue *dialogue)
{
	json_t *tools = json_object_get(dialogue->json, "tools");

	dialogue->tools = calloc(json_array_size(tools) + 1, sizeof(*dialogue->tools));
	if (dialogue->tools == NULL) {
		return fail(reading, "out of memory");
	}
	for (size_t i = 0; i < json_array_size(tools); i++) {
		json_t *json = json_array_get(tools, i);
		json_t *inverse = json_object_get(json, "inverse");
		struct dialogue_tool *tool = &dialogue->tools[i];

		tool->name = json_string_value(json_object_get(json, "name"));
		tool->description = string(json, "description");
		tool->parameters = json_object_get(json, "parameters");
		tool->read_only = json_is_true(json_object_get(json, "read_only"));
		tool->inverse = json_is_object(inverse) ? inverse : NULL;
		if (tool->name == NULL || !json_is_object(tool->parameters)) {
			return fail(reading, "a tool needs a name and parameters");
		}
		dialogue->tools_n = i + 1;
	}
	return true;
}

static bool dialogue_read(struct reading *reading, struct dialogue *dialogue)
{
	json_t *turns = json_object_get(dialogue->json, "turns");

	dialogue->id = json_string_value(json_object_get(dialogue->json, "id"));
	if (dialogue->id == NULL || !json_is_array(turns)) {
		return fail(reading, "a dialogue needs an id and turns");
	}
	dialogue->turns = calloc(json_array_size(turns) + 1, sizeof(*dialogue->turns));
	if (dialogue->turns == NULL) {
		return fail(reading, "out of memory");
	}
	for (size_t i = 0; i < json_array_size(turns); i++) {
		reading->turn = i;
		dialogue->turns_n = i + 1;
		if (!turn_read(reading, json_array_get(turns, i), &dialogue->turns[i])) {
			return false;
		}
	}
	return tools_read(reading, dialogue);
}

enum bc_err dialogue_parse(struct bc_span line, struct dialogue **ret, char *error, size_t size)
{
	struct reading reading = {.error = error, .size = size};
	struct dialogue *dialogue = calloc(1, sizeof(*dialogue));

	if (dialogue == NULL) {
		snprintf(error, size, "out of memory");
		return BC_E_NOMEM;
	}
	dialogue->json = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(dialogue->json)) {
		snprintf(error, size, "not a JSON object");
		dialogue_free(dialogue);
		return BC_E_SYNTAX;
	}
	if (!dialogue_read(&reading, dialogue)) {
		dialogue_free(dialogue);
		return BC_E_INVALID;
	}
	*ret = dialogue;
	return BC_OK;
}

struct dialogue *dialogue_free(struct dialogue *dialogue)
{
	if (dialogue == NULL) {
		return NULL;
	}
	for (size_t i = 0; i < dialogue->turns_n; i++) {
		free(dialogue->turns[i].calls);
		free(dialogue->turns[i].repair);
	}
	free(dialogue->turns);
	free(dialogue->tools);
	json_decref(dialogue->json);
	free(dialogue);
	return NULL;
}

static enum bc_err set_add(struct dialogue_set *set, struct bc_span line, char *error, size_t size)
{
	struct dialogue *dialogue = NULL;
	struct dialogue **items = realloc(set->items, (set->n + 1) * sizeof(struct dialogue *));
	enum bc_err err;

	if (items == NULL) {
		return BC_E_NOMEM;
	}
	set->items = items;
	err = dialogue_parse(line, &dialogue, error, size);
	if (err == BC_OK) {
		set->items[set->n++] = dialogue;
	}
	return err;
}

enum bc_err dialogue_set_load(struct dialogue_set *set, const char *path, char *error, size_t size)
{
	FILE *file = fopen(path, "re");
	enum bc_err err = BC_OK;
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;

	if (file == NULL) {
		snprintf(error, size, "%s: %s", path, strerror(errno));
		return BC_E_SYSTEM;
	}
	for (unsigned n = 1; err == BC_OK && (len = getline(&line, &cap, file)) >= 0; n++) {
		char what[128] = "out of memory";

		if (line[strspn(line, " \t\r\n")] == '\0') {
			continue;
		}
		err = set_add(set, bc_span(line, (size_t)len), what, sizeof(what));
		if (err != BC_OK) {
			snprintf(error, size, "%s:%u: %s", path, n, what);
		}
	}
	free(line);
	fclose(file);
	return err;
}

void dialogue_set_release(struct dialogue_set *set)
{
	for (size_t i = 0; i < set->n; i++) {
		dialogue_free(set->items[i]);
	}
	free(set->items);
	*set = (struct dialogue_set){0};
}

const struct dialogue *dialogue_find(const struct dialogue_set *set, struct bc_span id)
{
	for (size_t i = 0; i < set->n; i++) {
		if (bc_span_is(id, set->items[i]->id)) {
			return set->items[i];
		}
	}
	return NULL;
}

const char *dialogue_text(const struct dialogue_turn *turn, bool repair)
{
	return repair && turn->repair != NULL ? turn->repair->user : turn->user;
}

unsigned dialogue_words(const struct dialogue_turn *turn, bool repair)
{
	return repair && turn->repair != NULL ? turn->repair->words : turn->words;
}

unsigned dialogue_ready(const struct dialogue_turn *turn, size_t call, bool repair, bool clause)
{
	unsigned ready = clause ? turn->calls[call].ready_clause : turn->calls[call].ready;

	if (!repair || turn->repair == NULL) {
		return ready;
	}
	if (turn->repair->call == call) {
		return clause ? turn->repair->ready_clause : turn->repair->ready;
	}
	/* The words put in by the repair come before whatever is known behind it. */
	return ready <= turn->repair->from ? ready : ready + (turn->repair->words - turn->words);
}

static struct bc_span bare(struct bc_span word)
{
	while (word.len > 0 && ispunct((unsigned char)word.ptr[0])) {
		word.ptr++;
		word.len--;
	}
	while (word.len > 0 && ispunct((unsigned char)word.ptr[word.len - 1])) {
		word.len--;
	}
	return word;
}

static bool same_word(struct bc_span a, struct bc_span b)
{
	a = bare(a);
	b = bare(b);
	return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

unsigned dialogue_match(const char *text, struct bc_span heard, bool *ret_all)
{
	char *copy = bc_span_dup(heard);
	unsigned n = 0;

	*ret_all = false;
	if (copy == NULL) {
		return 0;
	}
	while (dialogue_word(text, n).len > 0 && dialogue_word(copy, n).len > 0 &&
	       same_word(dialogue_word(text, n), dialogue_word(copy, n))) {
		n++;
	}
	*ret_all = dialogue_word(copy, n).len == 0;
	free(copy);
	return n;
}
