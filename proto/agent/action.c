/* The inside of a tool_call.  An array is read twice: judged as a whole, then told, so that no half of it is. */
#include "proto/agent/agent_internal.h"
#include "proto/json.h"

#define REMOVE_WORD "REMOVE"

struct reading {
	void (*emit)(void *arg, const struct agent_event *event);
	void *arg;
	bool tell; /* the second time */
	enum agent_invalid reason;
	unsigned ids[AGENT_CALLS_MAX]; /* of the first n calls */
	size_t n;
};

size_t agent_number(struct bc_span text, unsigned max, unsigned *ret)
{
	unsigned value = 0;
	size_t i = 0;

	while (i < text.len && agent_is_digit(text.ptr[i])) {
		unsigned digit = (unsigned)(text.ptr[i] - '0');

		if (value > (max - digit) / 10) {
			return 0;
		}
		value = value * 10 + digit;
		i++;
	}
	if (i == 0 || (i > 1 && text.ptr[0] == '0')) {
		return 0;
	}
	*ret = value;
	return i;
}

static struct bc_span trim(struct bc_span text)
{
	while (text.len > 0 && agent_is_space(text.ptr[0])) {
		text = bc_span(text.ptr + 1, text.len - 1);
	}
	while (text.len > 0 && agent_is_space(text.ptr[text.len - 1])) {
		text.len--;
	}
	return text;
}

/* What a scanner's error says about the call it was met in. */
static enum agent_invalid invalid_of(enum bc_err err)
{
	if (err == BC_OK) {
		return AGENT_VALID;
	}
	return err == BC_E_LIMIT ? AGENT_INVALID_TOO_DEEP : AGENT_INVALID_BAD_JSON;
}

static enum agent_invalid judge_id(const json_t *value, unsigned *ret)
{
	json_int_t id = json_integer_value(value);

	/* 0 also when it is no integer. */
	if (id < 1 || id > AGENT_ID_MAX) {
		return AGENT_INVALID_BAD_ID;
	}
	*ret = (unsigned)id;
	return AGENT_VALID;
}

static enum agent_invalid judge_name(const json_t *value, struct bc_span *ret)
{
	struct bc_span name = bc_span(json_string_value(value), json_string_length(value));

	if (name.len == 0 || name.len > AGENT_NAME_MAX) {
		return AGENT_INVALID_BAD_NAME;
	}
	for (size_t i = 0; i < name.len; i++) {
		if (!agent_is_word(name.ptr[i])) {
			return AGENT_INVALID_BAD_NAME;
		}
	}
	*ret = name;
	return AGENT_VALID;
}

/* operands has room for AGENT_OPERANDS_MAX, and becomes part of call. */
static enum agent_invalid judge_arguments(const json_t *value, struct agent_operand *operands,
					  struct agent_call *call)
{
	enum bc_err err;

	if (!json_is_object(value)) {
		return AGENT_INVALID_BAD_ARGUMENTS;
	}
	err = agent_operands(value, operands, &call->operand_count);
	if (err != BC_OK) {
		return err == BC_E_LIMIT ? AGENT_INVALID_MANY_OPERANDS : AGENT_INVALID_BAD_OPERAND;
	}
	for (size_t i = 0; i < call->operand_count; i++) {
		if (operands[i].id >= call->id) {
			return AGENT_INVALID_LATER_OPERAND;
		}
	}
	call->arguments = value;
	call->operands = operands;
	return AGENT_VALID;
}

static enum agent_invalid note_id(struct reading *reading, unsigned id)
{
	for (size_t i = 0; i < reading->n; i++) {
		if (reading->ids[i] == id) {
			return AGENT_INVALID_ID_TWICE;
		}
	}
	if (reading->n == AGENT_CALLS_MAX) {
		return AGENT_INVALID_MANY_CALLS;
	}
	reading->ids[reading->n] = id;
	reading->n++;
	return AGENT_VALID;
}

static enum agent_invalid judge_call(const json_t *object, struct agent_operand *operands,
				     struct agent_call *call)
{
	const json_t *id = json_object_get(object, "id");
	const json_t *name = json_object_get(object, "name");
	const json_t *arguments = json_object_get(object, "arguments");
	enum agent_invalid reason;

	if (id == NULL || name == NULL || arguments == NULL || json_object_size(object) != 3) {
		return AGENT_INVALID_BAD_CALL;
	}
	reason = judge_id(id, &call->id);
	if (reason == AGENT_VALID) {
		reason = judge_name(name, &call->name);
	}
	if (reason == AGENT_VALID) {
		reason = judge_arguments(arguments, operands, call);
	}
	return reason;
}

/* One call: judged the first time, told the second. */
static enum agent_invalid read_call(struct reading *reading, struct bc_span raw)
{
	struct agent_operand operands[AGENT_OPERANDS_MAX];
	struct agent_call call = {0};
	enum agent_invalid reason;
	json_t *object;

	if (raw.ptr[0] != '{') {
		return AGENT_INVALID_BAD_CALL;
	}
	/* The scanner goes first: it bounds the depth that jansson follows. */
	reason = invalid_of(json_members(raw, (const char *const[]){"arguments"}, 1, &call.raw));
	if (reason != AGENT_VALID) {
		return reason;
	}
	object = json_parse(raw);
	if (object == NULL) {
		return AGENT_INVALID_BAD_JSON;
	}
	reason = judge_call(object, operands, &call);
	if (reason == AGENT_VALID && !reading->tell) {
		reason = note_id(reading, call.id);
	} else if (reason == AGENT_VALID) {
		reading->emit(reading->arg,
			      &(struct agent_event){.kind = AGENT_CALL, .call = &call});
	}
	json_decref(object);
	return reason;
}

static bool read_element(void *arg, size_t index, struct bc_span value)
{
	struct reading *reading = arg;

	(void)index;
	reading->reason = read_call(reading, value);
	return reading->reason == AGENT_VALID;
}

/* All calls of an action, once. */
static enum agent_invalid read_calls(struct reading *reading, struct bc_span body)
{
	enum bc_err err;

	if (body.ptr[0] == '{') {
		return read_call(reading, body);
	}
	err = json_each(body, read_element, reading);
	return reading->reason != AGENT_VALID ? reading->reason : invalid_of(err);
}

static enum agent_invalid read_remove(struct reading *reading, struct bc_span body)
{
	size_t word = strlen(REMOVE_WORD);
	struct bc_span rest = bc_span(body.ptr + word, body.len - word);
	struct bc_span digits = trim(rest);
	unsigned id;

	/* A white space must be between them. */
	if (digits.len == 0 || digits.len == rest.len) {
		return AGENT_INVALID_BAD_REMOVE;
	}
	for (size_t i = 0; i < digits.len; i++) {
		if (!agent_is_digit(digits.ptr[i])) {
			return AGENT_INVALID_BAD_REMOVE;
		}
	}
	if (agent_number(digits, AGENT_ID_MAX, &id) == 0 || id == 0) {
		return AGENT_INVALID_BAD_ID;
	}
	reading->emit(reading->arg, &(struct agent_event){.kind = AGENT_REMOVE, .id = id});
	return AGENT_VALID;
}

enum agent_invalid agent_action_read(struct bc_span body,
				     void (*emit)(void *arg, const struct agent_event *event),
				     void *arg)
{
	struct reading reading = {.emit = emit, .arg = arg};
	enum agent_invalid reason;

	body = trim(body);
	if (bc_span_has_prefix(body, REMOVE_WORD)) {
		return read_remove(&reading, body);
	}
	if (body.len == 0 || (body.ptr[0] != '{' && body.ptr[0] != '[')) {
		return AGENT_INVALID_BAD_CALL;
	}
	reason = read_calls(&reading, body);
	if (reason == AGENT_VALID && reading.n == 0) {
		reason = AGENT_INVALID_BAD_CALL;
	}
	if (reason == AGENT_VALID) {
		reading.tell = true;
		reason = read_calls(&reading, body);
	}
	return reason;
}
