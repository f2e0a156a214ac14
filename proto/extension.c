#include "proto/extension.h"

#include "proto/json.h"

#include <assert.h>

enum sender {
	CLIENT,
	GATEWAY
};

static const struct {
	const char *type;
	enum sender sender;
} rows[] = {
#define EXT_EVENT(id, type, sender) {type, sender},
#include "proto/extension.def"
};

static_assert(BC_ARRAY_LEN(rows) == EXT_TYPE__COUNT && EXT_TYPE__COUNT <= 32,
	      "an event has no row, or no bit");

const char *ext_type_name(enum ext_type type)
{
	BC_BUG_ON(type >= EXT_TYPE__COUNT);
	return rows[type].type;
}

/* EXT_TYPE__COUNT: no such event of that side. */
static enum ext_type find(struct bc_span raw, enum sender sender)
{
	for (unsigned i = 0; i < EXT_TYPE__COUNT; i++) {
		if (rows[i].sender == sender && json_string_is(raw, rows[i].type)) {
			return (enum ext_type)i;
		}
	}
	return EXT_TYPE__COUNT;
}

static enum bc_err fault(struct ext_fault *reterr_fault, enum bc_err err, const char *code,
			 const char *message)
{
	*reterr_fault = (struct ext_fault){.code = code, .message = message};
	return err;
}

/* A whole number in plain digits, 1 to EXT_REVISION_MAX; 0: something else. */
static uint64_t whole_number(struct bc_span raw)
{
	uint64_t number = 0;

	if (raw.len == 0 || raw.len > 16) {
		return 0;
	}
	for (size_t i = 0; i < raw.len; i++) {
		if (raw.ptr[i] < '0' || raw.ptr[i] > '9') {
			return 0;
		}
		number = number * 10 + (uint64_t)(raw.ptr[i] - '0');
	}
	return number > EXT_REVISION_MAX ? 0 : number;
}

struct wants {
	uint32_t bits;
	bool wrong;
};

/* A name nobody knows is one of a later version: not an error, it is only not among those that will come. */
static bool want(void *arg, size_t index, struct bc_span value)
{
	struct wants *wants = arg;
	enum ext_type type = find(value, GATEWAY);

	wants->wrong = index >= EXT_WANTS_MAX || !json_raw_is_string(value);
	if (!wants->wrong && type != EXT_TYPE__COUNT) {
		wants->bits |= 1u << type;
	}
	return !wants->wrong;
}

static enum bc_err read_hello(struct bc_span version, struct bc_span events, struct ext_event *ret,
			      struct ext_fault *reterr_fault)
{
	struct wants wants = {0};

	if (version.len > 0 && whole_number(version) != EXT_VERSION) {
		return fault(reterr_fault, BC_E_INVALID, "invalid_value",
			     "This gateway speaks version 1 of the backchannel extension.");
	}
	if (events.len > 0 && (json_each(events, want, &wants) != BC_OK || wants.wrong)) {
		return fault(reterr_fault, BC_E_INVALID, "invalid_value",
			     "'events' must be an array of at most 32 event types.");
	}
	ret->wants = wants.bits;
	return BC_OK;
}

static enum bc_err read_words(struct bc_span revision, struct ext_event *ret,
			      struct ext_fault *reterr_fault)
{
	ret->revision = whole_number(revision);
	if (ret->revision == 0) {
		return fault(
			reterr_fault, BC_E_INVALID, "invalid_value",
			"'revision' must be a whole number from 1 to 9007199254740991, in plain digits.");
	}
	if (!json_raw_is_string(ret->text)) {
		return fault(reterr_fault, BC_E_INVALID, "invalid_value",
			     "'text' must be a string.");
	}
	return BC_OK;
}

enum bc_err ext_event_read(struct bc_span event, struct ext_event *ret,
			   struct ext_fault *reterr_fault)
{
	static const char *const keys[] = {"type",    "event_id", "revision", "text",
					   "item_id", "version",  "events"};
	struct bc_span at[BC_ARRAY_LEN(keys)] = {0};

	*ret = (struct ext_event){0};
	if (json_members(event, keys, BC_ARRAY_LEN(keys), at) != BC_OK) {
		return fault(reterr_fault, BC_E_SYNTAX, "invalid_event",
			     "The event is not a well-formed JSON object.");
	}
	ret->event_id = at[1];
	ret->text = at[3];
	ret->item_id = at[4];
	ret->type = find(at[0], CLIENT);
	if (ret->type == EXT_TYPE__COUNT) {
		return fault(reterr_fault, BC_E_NOTFOUND, "unknown_event",
			     "The backchannel extension has no client event of this type.");
	}
	if (ret->item_id.len > 0 && !json_raw_is_string(ret->item_id)) {
		return fault(reterr_fault, BC_E_INVALID, "invalid_value",
			     "'item_id' must be a string.");
	}
	if (ret->type == EXT_HELLO) {
		return read_hello(at[5], at[6], ret, reterr_fault);
	}
	if (ret->type == EXT_INPUT_TEXT_PARTIAL || ret->type == EXT_INPUT_TEXT_FINAL) {
		return read_words(at[2], ret, reterr_fault);
	}
	return BC_OK;
}
