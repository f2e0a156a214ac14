#include "proto/openai/event.h"

#include "daemon/base/id.h"
#include "proto/json.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

static const struct {
	const char *type;
	uint8_t len;
	uint8_t sender;
} rows[] = {
	{"", 0, OAI_CLIENT},
#define CLIENT                      OAI_CLIENT
#define SERVER                      OAI_SERVER
#define OAI_EVENT(id, type, sender) {type, sizeof(type) - 1, sender},
#include "proto/openai/events.def"
#undef CLIENT
#undef SERVER
};

static_assert(BC_ARRAY_LEN(rows) == OAI_EVENT__COUNT, "an event has no row");

static bool row_is(enum oai_event event, struct bc_span type)
{
	return rows[event].len == type.len && memcmp(rows[event].type, type.ptr, type.len) == 0;
}

enum oai_event oai_event_find(struct bc_span type, enum oai_sender sender)
{
	enum oai_event audio = sender == OAI_CLIENT ? OAI_INPUT_AUDIO_BUFFER_APPEND
						    : OAI_RESPONSE_OUTPUT_AUDIO_DELTA;

	/* Nearly every message is audio. */
	if (row_is(audio, type)) {
		return audio;
	}
	for (unsigned i = 1; i < OAI_EVENT__COUNT; i++) {
		if (rows[i].sender == sender && row_is((enum oai_event)i, type)) {
			return (enum oai_event)i;
		}
	}
	return OAI_UNKNOWN;
}

struct oai_envelope oai_envelope(struct bc_span text, enum oai_sender sender)
{
	struct oai_envelope envelope = {.text = text, .event = OAI_UNKNOWN};

	if (env_type(text, &envelope.type) == BC_OK) {
		envelope.event = oai_event_find(envelope.type, sender);
	}
	return envelope;
}

const char *oai_event_type(enum oai_event event)
{
	BC_BUG_ON(event == OAI_UNKNOWN || event >= OAI_EVENT__COUNT);
	return rows[event].type;
}

enum bc_err oai_error_put(struct bc_buf *out, const struct oai_error *error)
{
	char id[BC_ID_SIZE];
	enum bc_err err;

	bc_id_new(id, 'e');
	err = bc_buf_printf(
		out,
		"{\"type\":\"error\",\"event_id\":\"event_%s\",\"error\":{\"type\":\"%s\",\"code\":",
		id, error->type);
	if (err == BC_OK) {
		err = error->code == NULL ? bc_buf_put_str(out, "null")
					  : bc_buf_printf(out, "\"%s\"", error->code);
	}
	if (err == BC_OK) {
		err = bc_buf_put_str(out, ",\"message\":");
	}
	if (err == BC_OK) {
		err = json_string_put(out, error->message);
	}
	if (err == BC_OK) {
		err = bc_buf_put_str(out, ",\"param\":null,\"event_id\":");
	}
	if (err == BC_OK) {
		err = error->client_id.len == 0 ? bc_buf_put_str(out, "null")
						: bc_buf_put_span(out, error->client_id);
	}
	return err == BC_OK ? bc_buf_put_str(out, "}}") : err;
}

enum bc_err oai_output_item_put(struct bc_buf *out, const char *event_id, const char *item_id,
				struct bc_span call_id, struct bc_span output)
{
	enum bc_err err = bc_buf_printf(
		out,
		"{\"type\":\"conversation.item.create\",\"event_id\":\"%s\",\"item\":{\"id\":\"%s\","
		"\"type\":\"function_call_output\",\"call_id\":%.*s,\"output\":",
		event_id, item_id, BC_SPAN_ARG(call_id));

	if (err == BC_OK) {
		err = json_string_put(out, output);
	}
	return err == BC_OK ? bc_buf_put_str(out, "}}") : err;
}

enum bc_err oai_call_item_put(struct bc_buf *out, const char *event_id, const char *item_id,
			      struct bc_span call_id, const char *name, struct bc_span arguments)
{
	enum bc_err err = bc_buf_printf(
		out,
		"{\"type\":\"conversation.item.create\",\"event_id\":\"%s\",\"item\":{\"id\":\"%s\","
		"\"type\":\"function_call\",\"status\":\"completed\",\"call_id\":%.*s,\"name\":\"%s\","
		"\"arguments\":",
		event_id, item_id, BC_SPAN_ARG(call_id), name);

	if (err == BC_OK) {
		err = json_string_put(out, arguments);
	}
	return err == BC_OK ? bc_buf_put_str(out, "}}") : err;
}

enum bc_err oai_delete_put(struct bc_buf *out, const char *event_id, const char *item_id)
{
	enum bc_err err = bc_buf_printf(
		out, "{\"type\":\"conversation.item.delete\",\"event_id\":\"%s\",\"item_id\":",
		event_id);

	if (err == BC_OK) {
		err = json_string_put(out, bc_span_str(item_id));
	}
	return err == BC_OK ? bc_buf_put_str(out, "}") : err;
}

enum bc_err oai_system_item_put(struct bc_buf *out, const char *event_id, const char *item_id,
				struct bc_span text)
{
	enum bc_err err = bc_buf_printf(
		out,
		"{\"type\":\"conversation.item.create\",\"event_id\":\"%s\",\"item\":{\"id\":\"%s\","
		"\"type\":\"message\",\"role\":\"system\",\"content\":[{\"type\":\"input_text\",\"text\":",
		event_id, item_id);

	if (err == BC_OK) {
		err = json_string_put(out, text);
	}
	return err == BC_OK ? bc_buf_put_str(out, "}]}}") : err;
}

enum bc_err oai_cancel_put(struct bc_buf *out, const char *event_id, const char *response_id)
{
	return bc_buf_printf(
		out, "{\"type\":\"response.cancel\",\"event_id\":\"%s\",\"response_id\":\"%s\"}",
		event_id, response_id);
}

enum bc_err oai_done_put(struct bc_buf *out, const char *response_id, const char *status,
			 const char *reason, struct bc_span message)
{
	char id[BC_ID_SIZE];
	enum bc_err err;

	bc_id_new(id, 'e');
	err = bc_buf_printf(
		out,
		"{\"type\":\"response.done\",\"event_id\":\"event_%s\",\"response\":{\"object\":"
		"\"realtime.response\",\"id\":\"%s\",\"status\":\"%s\",\"status_details\":{"
		"\"type\":\"%s\",",
		id, response_id, status, status);
	if (err == BC_OK && strcmp(status, "failed") == 0) {
		err = bc_buf_printf(
			out, "\"error\":{\"type\":\"server_error\",\"code\":\"%s\",\"message\":",
			reason);
		if (err == BC_OK) {
			err = json_string_put(out, message);
		}
		if (err == BC_OK) {
			err = bc_buf_put_str(out, "}}");
		}
	} else if (err == BC_OK) {
		err = bc_buf_printf(out, "\"reason\":\"%s\"}", reason);
	}
	if (err != BC_OK) {
		return err;
	}
	return bc_buf_put_str(
		out,
		",\"output\":[],\"conversation_id\":null,\"output_modalities\":[\"audio\"],"
		"\"max_output_tokens\":\"inf\",\"metadata\":null,\"usage\":{\"total_tokens\":0,"
		"\"input_tokens\":0,\"output_tokens\":0,\"input_token_details\":{\"cached_tokens\":0,"
		"\"text_tokens\":0,\"audio_tokens\":0},\"output_token_details\":{\"text_tokens\":0,"
		"\"audio_tokens\":0}}}}");
}
