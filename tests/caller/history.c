/* What a caller does other than speak: describe the session, bring an earlier conversation, type. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/caller/call_internal.h"

static const char *format_name(enum audio_format format)
{
	switch (format) {
	case AUDIO_PCMU:
		return "audio/pcmu";
	case AUDIO_PCMA:
		return "audio/pcma";
	case AUDIO_PCM16:
	default:
		return "audio/pcm";
	}
}

static json_t *format_json(enum audio_format format)
{
	return format == AUDIO_PCM16
		       ? json_pack("{s:s, s:i}", "type", format_name(format), "rate", 24000)
		       : json_pack("{s:s}", "type", format_name(format));
}

static json_t *detection_json(const struct call *call)
{
	double silence =
		call->conf.silence < 0 ? call->conf.timing->vad_silence : call->conf.silence;

	if (call->conf.turns != CALL_TURNS_VAD) {
		return json_null();
	}
	return json_pack("{s:s, s:i}", "type", "server_vad", "silence_duration_ms",
			 (int)lround(silence * 1000));
}

void history_session(struct call *call)
{
	json_t *input = json_pack("{s:o, s:{s:s}, s:o}", "format", format_json(call->conf.format),
				  "transcription", "model", "gpt-live-transcribe", "turn_detection",
				  detection_json(call));
	json_t *output =
		json_pack("{s:o, s:s}", "format", format_json(call->conf.format), "voice", "marin");
	json_t *session = json_pack("{s:s, s:s, s:{s:o, s:o}}", "type", "realtime", "instructions",
				    "You answer calls for a shop.", "audio", "input", input,
				    "output", output);

	if (call->conf.turns == CALL_TURNS_TEXT) {
		(void)json_object_set_new(session, "output_modalities", json_pack("[s]", "text"));
	}
	call_send(call, json_pack("{s:s, s:o}", "type", "session.update", "session", session));
}

static void send_item(struct call *call, json_t *item)
{
	watch_expect(call->watch, json_string_value(json_object_get(item, "id")));
	call_send(call, json_pack("{s:s, s:o}", "type", "conversation.item.create", "item", item));
}

static void send_message(struct call *call, size_t turn, const char *role, const char *text)
{
	bool user = strcmp(role, "user") == 0;

	send_item(call,
		  json_pack("{s:o, s:s, s:s, s:[{s:s, s:s}]}", "id",
			    json_sprintf("own_%s_%zu", role, turn), "type", "message", "role", role,
			    "content", "type", user ? "input_text" : "output_text", "text", text));
}

static void send_call(struct call *call, size_t turn, size_t number)
{
	const struct dialogue_call *made = &call->conf.dialogue->turns[turn].calls[number];
	char *arguments = json_dumps(made->args, JSON_COMPACT);

	send_item(call,
		  json_pack("{s:o, s:s, s:o, s:s, s:s}", "id",
			    json_sprintf("own_call_%zu_%zu", turn, number), "type", "function_call",
			    "call_id", json_sprintf("own_%zu_%zu", turn, number), "name",
			    made->name, "arguments", arguments == NULL ? "{}" : arguments));
	free(arguments);
}

static void send_output(struct call *call, size_t turn, size_t number)
{
	const struct dialogue_call *made = &call->conf.dialogue->turns[turn].calls[number];
	char *output = json_dumps(made->result, JSON_COMPACT | JSON_ENCODE_ANY);

	send_item(call, json_pack("{s:o, s:s, s:o, s:s}", "id",
				  json_sprintf("own_output_%zu_%zu", turn, number), "type",
				  "function_call_output", "call_id",
				  json_sprintf("own_%zu_%zu", turn, number), "output",
				  output == NULL ? "null" : output));
	free(output);
}

void history_ask(struct call *call)
{
	call_send(call, json_pack("{s:s}", "type", "response.create"));
}

void history_load(struct call *call)
{
	const struct dialogue *dialogue = call->conf.dialogue;
	size_t last = (size_t)call->conf.alone;

	for (size_t t = 0; t < last; t++) {
		const struct dialogue_turn *turn = &dialogue->turns[t];

		send_message(call, t, "user", turn->user);
		for (size_t i = 0; i < turn->calls_n; i++) {
			send_call(call, t, i);
			send_output(call, t, i);
		}
		if (t + 1 < last) {
			send_message(call, t, "assistant",
				     turn->reply[0] == '\0' ? "Done." : turn->reply);
		}
	}
	history_ask(call);
}

void history_type(struct call *call, size_t turn)
{
	const struct dialogue_turn *script = &call->conf.dialogue->turns[turn];

	send_message(call, turn, "user", dialogue_text(script, call->turns[turn].repair));
	history_ask(call);
}
