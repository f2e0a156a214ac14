/*
 * A session's recording: one JSON object per line, for tests/replay.
 *
 *   {"in":"message","t":1000020,"side":"client","text":"{…}"}     an input, with everything a replay must feed
 *   {"out":"send","t":1000020,"side":"upstream","same":1}         a decision that followed from it, in order
 *
 * t is monotonic, in microseconds.  Members are written in the order of the calls; none is written twice.
 */
#include "daemon/session/ledger.h"
#include "proto/b64.h"
#include "proto/json.h"

#include <inttypes.h>

/* What cannot be written whole must not be there in part: the recording is over. */
static void lose(struct ledger *ledger)
{
	ledger->recording = false;
	bc_buf_release(&ledger->line);
	ledger->world->record(ledger->world_arg, bc_span(NULL, 0));
}

static void judge(struct ledger *ledger, enum bc_err err)
{
	if (err != BC_OK) {
		lose(ledger);
	}
}

void script_begin(struct ledger *ledger, const char *key, const char *what)
{
	if (!ledger->recording) {
		return;
	}
	bc_buf_clear(&ledger->line);
	judge(ledger, bc_buf_printf(&ledger->line, "{\"%s\":\"%s\",\"t\":%" PRId64, key, what,
				    (int64_t)ledger->world->now(ledger->world_arg)));
}

void script_string(struct ledger *ledger, const char *key, struct bc_span value)
{
	enum bc_err err;

	if (!ledger->recording || value.ptr == NULL) {
		return;
	}
	err = bc_buf_printf(&ledger->line, ",\"%s\":", key);
	judge(ledger, err == BC_OK ? json_string_put(&ledger->line, value) : err);
}

void script_number(struct ledger *ledger, const char *key, int64_t value)
{
	if (ledger->recording) {
		judge(ledger, bc_buf_printf(&ledger->line, ",\"%s\":%" PRId64, key, value));
	}
}

static enum bc_err put_binary(struct bc_buf *out, struct bc_span payload)
{
	char *room;
	enum bc_err err = bc_buf_put_str(out, ",\"base64\":\"");

	if (err == BC_OK) {
		err = bc_buf_room(out, B64_ENCODED_LEN(payload.len), &room);
	}
	if (err != BC_OK) {
		return err;
	}
	bc_buf_grow(out, b64_encode(room, (const uint8_t *)payload.ptr, payload.len));
	return bc_buf_put_str(out, "\"");
}

void script_payload(struct ledger *ledger, enum ws_opcode opcode, struct bc_span payload)
{
	if (!ledger->recording) {
		return;
	}
	if (opcode == WS_TEXT) {
		script_string(ledger, "text",
			      bc_span(payload.ptr == NULL ? "" : payload.ptr, payload.len));
	} else {
		judge(ledger, put_binary(&ledger->line, payload));
	}
}

void script_end(struct ledger *ledger)
{
	if (!ledger->recording) {
		return;
	}
	judge(ledger, bc_buf_put_str(&ledger->line, "}\n"));
	if (ledger->recording) {
		ledger->world->record(ledger->world_arg, bc_buf_span(&ledger->line));
	}
}

void script_traits(struct ledger *ledger, const struct trait_set *traits)
{
	enum bc_err err = BC_OK;
	struct bc_buf text;

	bc_buf_init(&text, 4096);
	for (int i = 0; traits != NULL && ledger->recording && i < TRAIT__COUNT; i++) {
		if (traits->value[i] < 0 || err != BC_OK) {
			continue;
		}
		err = bc_buf_len(&text) == 0 ? BC_OK : bc_buf_put_str(&text, ",");
		if (err == BC_OK) {
			err = trait_put(&text, (enum trait)i, traits->value[i]);
		}
	}
	if (bc_buf_len(&text) > 0) {
		script_string(ledger, "traits", bc_buf_span(&text));
	}
	bc_buf_release(&text);
}
