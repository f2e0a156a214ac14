#include "daemon/journal/record.h"

#include "daemon/base/digest.h"

#include <assert.h>

static const char *const effect_names[] = {"read", "reversible", "hold", "undo"};
static const char *const settlement_names[] = {"used",     "unused", "never_started", "failed",
					       "in_doubt", "undone", "parked"};
static const char *const decision_names[] = {"", "committed", "abandoned"};

static_assert(BC_ARRAY_LEN(effect_names) == JRN_UNDO + 1, "an effect class has no name");
static_assert(BC_ARRAY_LEN(settlement_names) == JRN_SETTLEMENT__COUNT, "a settlement has no name");

const char *jrn_effect_name(enum jrn_effect effect)
{
	BC_BUG_ON((unsigned)effect >= BC_ARRAY_LEN(effect_names));
	return effect_names[effect];
}

const char *jrn_settlement_name(enum jrn_settlement settlement)
{
	BC_BUG_ON((unsigned)settlement >= BC_ARRAY_LEN(settlement_names));
	return settlement_names[settlement];
}

bool jrn_effect_of_name(struct bc_span name, enum jrn_effect *ret)
{
	for (unsigned i = 0; i < BC_ARRAY_LEN(effect_names); i++) {
		if (bc_span_is(name, effect_names[i])) {
			*ret = (enum jrn_effect)i;
			return true;
		}
	}
	return false;
}

bool jrn_settlement_of_name(struct bc_span name, enum jrn_settlement *ret)
{
	for (unsigned i = 0; i < BC_ARRAY_LEN(settlement_names); i++) {
		if (bc_span_is(name, settlement_names[i])) {
			*ret = (enum jrn_settlement)i;
			return true;
		}
	}
	return false;
}

const char *jrn_decision_name(enum jrn_decision decision)
{
	BC_BUG_ON((unsigned)decision >= BC_ARRAY_LEN(decision_names));
	return decision_names[decision];
}

bool jrn_decision_of_name(struct bc_span name, enum jrn_decision *ret)
{
	for (unsigned i = 1; i < BC_ARRAY_LEN(decision_names); i++) {
		if (bc_span_is(name, decision_names[i])) {
			*ret = (enum jrn_decision)i;
			return true;
		}
	}
	return false;
}

bool jrn_is_pending(enum jrn_settlement settlement)
{
	return settlement == JRN_IN_DOUBT || settlement == JRN_PARKED;
}

size_t jrn_record_bytes(const struct jrn_record *record)
{
	switch (record->kind) {
	case JRN_REC_INTENT:
		return record->intended.session.len + record->intended.tool.len +
		       record->intended.arguments.len + record->intended.tags.len +
		       record->intended.sealed.len;
	case JRN_REC_RESULT:
		return record->result.output.len + record->result.sealed.len;
	case JRN_REC_SETTLEMENT:
	case JRN_REC_RESOLUTION:
		return record->settled.note.len;
	case JRN_REC_DECISION:
		return 0;
	}
	bc_bug(__FILE__, __LINE__, "no such kind of record");
}

static bool key_is_sound(const char key[JRN_KEY_SIZE])
{
	for (size_t i = 0; i < JRN_KEY_SIZE - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		bool digit = (key[i] >= '0' && key[i] <= '9') || (key[i] >= 'a' && key[i] <= 'f');

		if (dash ? key[i] != '-' : !digit) {
			return false;
		}
	}
	return key[JRN_KEY_SIZE - 1] == '\0';
}

bool jrn_record_is_sound(const struct jrn_record *record)
{
	/* The store keeps numbers as signed 64-bit integers. */
	if (record->intent == 0 || record->intent > INT64_MAX || record->wall < 0 ||
	    jrn_record_bytes(record) > JRN_RECORD_BYTES_MAX) {
		return false;
	}
	switch (record->kind) {
	case JRN_REC_INTENT:
		return (unsigned)record->intended.effect <= JRN_UNDO &&
		       (record->intended.effect == JRN_UNDO) == (record->intended.undoes != 0) &&
		       record->intended.undoes <= INT64_MAX && record->intended.turn <= INT64_MAX &&
		       record->intended.session.len > 0 && record->intended.tool.len > 0 &&
		       key_is_sound(record->intended.key);
	case JRN_REC_RESULT:
		return record->result.status >= 0 && record->result.status <= 999;
	case JRN_REC_SETTLEMENT:
		return (unsigned)record->settled.how < JRN_SETTLEMENT__COUNT;
	case JRN_REC_RESOLUTION:
		return (unsigned)record->settled.how < JRN_SETTLEMENT__COUNT &&
		       !jrn_is_pending(record->settled.how);
	case JRN_REC_DECISION:
		return record->decided.what == JRN_COMMITTED ||
		       record->decided.what == JRN_ABANDONED;
	}
	return false;
}

/* Little-endian: the file may be read on another machine. */
static enum bc_err put_number(struct bc_buf *buf, uint64_t number)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)(number >> (8 * i));
	}
	return bc_buf_put(buf, bytes, sizeof(bytes));
}

/* Length first, so that no two different records have one serial form. */
static enum bc_err put_text(struct bc_buf *buf, struct bc_span text)
{
	enum bc_err err = put_number(buf, text.len);

	return err == BC_OK ? bc_buf_put_span(buf, text) : err;
}

static enum bc_err put_intent(struct bc_buf *buf, const struct jrn_record *record)
{
	const struct bc_span texts[] = {
		record->intended.session,
		record->intended.tool,
		record->intended.arguments,
		record->intended.tags,
		bc_span(record->intended.key, JRN_KEY_SIZE - 1),
	};
	const uint64_t numbers[] = {record->intended.turn, (uint64_t)record->intended.effect,
				    record->intended.speculative ? 1 : 0};
	enum bc_err err = BC_OK;

	for (unsigned i = 0; i < BC_ARRAY_LEN(numbers) && err == BC_OK; i++) {
		err = put_number(buf, numbers[i]);
	}
	for (unsigned i = 0; i < BC_ARRAY_LEN(texts) && err == BC_OK; i++) {
		err = put_text(buf, texts[i]);
	}
	/* Records of the first format had neither, and keep their check value. */
	if (err == BC_OK && record->intended.undoes != 0) {
		err = put_number(buf, record->intended.undoes);
	}
	if (err == BC_OK && record->intended.sealed.len > 0) {
		err = put_text(buf, record->intended.sealed);
	}
	return err;
}

static enum bc_err put_one(struct bc_buf *buf, uint64_t number, struct bc_span text)
{
	enum bc_err err = put_number(buf, number);

	return err == BC_OK ? put_text(buf, text) : err;
}

static enum bc_err put_result(struct bc_buf *buf, const struct jrn_record *record)
{
	enum bc_err err = put_one(buf, (uint64_t)record->result.status, record->result.output);

	if (err == BC_OK && record->result.sealed.len > 0) {
		err = put_text(buf, record->result.sealed);
	}
	return err;
}

static enum bc_err put_fields(struct bc_buf *buf, const struct jrn_record *record)
{
	switch (record->kind) {
	case JRN_REC_INTENT:
		return put_intent(buf, record);
	case JRN_REC_RESULT:
		return put_result(buf, record);
	case JRN_REC_SETTLEMENT:
	case JRN_REC_RESOLUTION:
		return put_one(buf, (uint64_t)record->settled.how, record->settled.note);
	case JRN_REC_DECISION:
		return put_number(buf, (uint64_t)record->decided.what);
	}
	return BC_E_INVALID;
}

enum bc_err jrn_record_digest(const struct jrn_record *record, struct bc_buf *scratch,
			      struct jrn_digest *ret)
{
	const uint64_t head[] = {(uint64_t)record->kind, record->intent, (uint64_t)record->wall};
	struct bc_sha256 sum;
	enum bc_err err = BC_OK;

	static_assert(JRN_DIGEST_SIZE <= BC_SHA256_SIZE, "the digest is a part of SHA-256");
	bc_buf_clear(scratch);
	for (unsigned i = 0; i < BC_ARRAY_LEN(head) && err == BC_OK; i++) {
		err = put_number(scratch, head[i]);
	}
	if (err == BC_OK) {
		err = put_fields(scratch, record);
	}
	if (err != BC_OK) {
		return err;
	}
	sum = bc_sha256(bc_buf_span(scratch));
	memcpy(ret->bytes, sum.bytes, sizeof(ret->bytes));
	return BC_OK;
}
