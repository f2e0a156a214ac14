/*
 * Which parameters the service knows.  One that it does not know rejects the whole event, as the live
 * service does; this is the provider's own judgement and shares nothing with the gateway's.
 */
#include "tests/provider/session.h"

#include <string.h>

#define EVENT_ID_MAX   512
#define METADATA_MAX   16
#define METADATA_KEY   64
#define METADATA_VALUE 512
#define OUTPUT_MAX     4096

/* Whether a word stands in a list of words separated by blanks. */
static bool is_among(const char *word, const char *list)
{
	size_t len = strlen(word);
	const char *at = list;

	if (len == 0 || strchr(word, ' ') != NULL) {
		return false;
	}
	while ((at = strstr(at, word)) != NULL) {
		if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0')) {
			return true;
		}
		at += len;
	}
	return false;
}

/* The members an object may have: a list of words. */
static bool members_known(const json_t *object, const char *path, const char *known,
			  struct fault *fault)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value) {
		if (!is_among(key, known)) {
			fault_set(fault, "unknown_parameter", "", "Unknown parameter: '%s%s%.60s'.",
				  path, path[0] == '\0' ? "" : ".", key);
			snprintf(fault->param, sizeof(fault->param), "%s%s%.60s", path,
				 path[0] == '\0' ? "" : ".", key);
			return false;
		}
	}
	return true;
}

/* An absent or null object is fine; anything else must be one with known members. */
static bool object_known(const json_t *object, const char *path, const char *known,
			 struct fault *fault)
{
	if (object == NULL || json_is_null(object)) {
		return true;
	}
	if (!json_is_object(object)) {
		return fault_set(fault, "invalid_type", path,
				 "Invalid type for '%s': expected an object.", path);
	}
	return members_known(object, path, known, fault);
}

static bool string_among(const json_t *value, const char *path, const char *known,
			 struct fault *fault)
{
	const char *text = json_string_value(value);

	if (value == NULL || (text != NULL && is_among(text, known))) {
		return true;
	}
	return fault_set(fault, "invalid_value", path,
			 "Invalid value: '%.60s'. Supported values are: %s.",
			 text == NULL ? "" : text, known);
}

static bool tools_valid(const json_t *tools, const char *path, struct fault *fault)
{
	char at[96];
	json_t *tool;
	size_t i;

	if (tools == NULL) {
		return true;
	}
	if (!json_is_array(tools)) {
		return fault_set(fault, "invalid_type", path,
				 "Invalid type for '%s': expected an array.", path);
	}
	json_array_foreach(tools, i, tool) {
		const char *type = json_string_value(json_object_get(tool, "type"));

		snprintf(at, sizeof(at), "%s[%zu]", path, i);
		if (type == NULL) {
			return fault_set(fault, "missing_required_parameter", at,
					 "Missing required parameter: '%s.type'.", at);
		}
		if (strcmp(type, "mcp") == 0) {
			continue;
		}
		if (strcmp(type, "function") != 0) {
			return fault_set(fault, "invalid_value", at,
					 "Invalid value: '%.60s'. Supported values are: 'function' "
					 "and 'mcp'.",
					 type);
		}
		if (!members_known(tool, at, "type name description parameters", fault)) {
			return false;
		}
		if (!json_is_string(json_object_get(tool, "name"))) {
			return fault_set(fault, "missing_required_parameter", at,
					 "Missing required parameter: '%s.name'.", at);
		}
	}
	return true;
}

static bool modalities_valid(const json_t *modalities, const char *path, struct fault *fault)
{
	if (modalities == NULL) {
		return true;
	}
	if (json_array_size(modalities) != 1) {
		return fault_set(fault, "invalid_value", path,
				 "Invalid modalities: supported combinations are: ['text'] and "
				 "['audio'].");
	}
	return string_among(json_array_get(modalities, 0), path, "audio text", fault);
}

static bool format_valid(const json_t *format, const char *path, struct fault *fault)
{
	if (!object_known(format, path, "type rate", fault)) {
		return false;
	}
	return string_among(json_object_get(format, "type"), path,
			    "audio/pcm audio/pcmu audio/pcma", fault);
}

static bool max_tokens_valid(const json_t *value, const char *path, struct fault *fault)
{
	const char *text = json_string_value(value);
	json_int_t number = json_integer_value(value);

	if (value == NULL || json_is_null(value) || (text != NULL && strcmp(text, "inf") == 0) ||
	    (json_is_integer(value) && number >= 1 && number <= OUTPUT_MAX)) {
		return true;
	}
	return fault_set(fault, "invalid_value", path, "Invalid value for '%s'.", path);
}

static bool audio_valid(const json_t *audio, struct fault *fault)
{
	const json_t *in = json_object_get(audio, "input");
	const json_t *out = json_object_get(audio, "output");
	const json_t *detection = json_object_get(in, "turn_detection");

	return object_known(audio, "session.audio", "input output", fault) &&
	       object_known(in, "session.audio.input",
			    "format noise_reduction transcription turn_detection", fault) &&
	       object_known(out, "session.audio.output", "format voice speed", fault) &&
	       format_valid(json_object_get(in, "format"), "session.audio.input.format", fault) &&
	       format_valid(json_object_get(out, "format"), "session.audio.output.format", fault) &&
	       object_known(json_object_get(in, "transcription"),
			    "session.audio.input.transcription",
			    "model language languages keywords prompt delay", fault) &&
	       object_known(detection, "session.audio.input.turn_detection",
			    "type threshold prefix_padding_ms silence_duration_ms create_response "
			    "interrupt_response idle_timeout_ms eagerness",
			    fault) &&
	       string_among(json_object_get(detection, "type"),
			    "session.audio.input.turn_detection.type", "server_vad semantic_vad",
			    fault);
}

bool validate_session(const json_t *update, struct fault *fault)
{
	if (!json_is_object(update)) {
		return fault_set(fault, "missing_required_parameter", "session",
				 "Missing required parameter: 'session'.");
	}
	if (json_object_get(update, "type") == NULL) {
		return fault_set(fault, "missing_required_parameter", "session.type",
				 "Missing required parameter: 'session.type'.");
	}
	/* No reasoning model is simulated: parallel_tool_calls and reasoning are unknown to it. */
	return members_known(update, "session",
			     "type model output_modalities instructions audio tools tool_choice "
			     "max_output_tokens truncation tracing include prompt",
			     fault) &&
	       string_among(json_object_get(update, "type"), "session.type",
			    "realtime transcription", fault) &&
	       modalities_valid(json_object_get(update, "output_modalities"),
				"session.output_modalities", fault) &&
	       tools_valid(json_object_get(update, "tools"), "session.tools", fault) &&
	       max_tokens_valid(json_object_get(update, "max_output_tokens"),
				"session.max_output_tokens", fault) &&
	       audio_valid(json_object_get(update, "audio"), fault);
}

static bool metadata_valid(const json_t *metadata, struct fault *fault)
{
	const char *key;
	json_t *value;

	if (metadata == NULL || json_is_null(metadata)) {
		return true;
	}
	if (!json_is_object(metadata)) {
		return fault_set(fault, "invalid_type", "response.metadata",
				 "Invalid type for 'response.metadata': expected an object.");
	}
	if (json_object_size(metadata) > METADATA_MAX) {
		return fault_set(fault, "object_above_max_properties", "response.metadata",
				 "Invalid 'response.metadata': too many properties. Expected an "
				 "object with at most %d properties, but got an object with %zu "
				 "properties instead.",
				 METADATA_MAX, json_object_size(metadata));
	}
	json_object_foreach((json_t *)(uintptr_t)metadata, key, value) {
		if (strlen(key) > METADATA_KEY) {
			return fault_set(fault, "string_above_max_length", "response.metadata",
					 "Invalid 'response.metadata': a key is longer than %d.",
					 METADATA_KEY);
		}
		if (!json_is_string(value) || json_string_length(value) > METADATA_VALUE) {
			return fault_set(fault, "string_above_max_length", "response.metadata",
					 "Invalid 'response.metadata.%.60s': expected a string of "
					 "at most %d characters.",
					 key, METADATA_VALUE);
		}
	}
	return true;
}

bool validate_response(const json_t *response, struct fault *fault)
{
	const json_t *audio = json_object_get(response, "audio");
	const json_t *input = json_object_get(response, "input");

	if (input != NULL && !json_is_array(input)) {
		return fault_set(fault, "invalid_type", "response.input",
				 "Invalid type for 'response.input': expected an array.");
	}
	return object_known(response, "response",
			    "audio conversation input instructions max_output_tokens metadata "
			    "output_modalities tools tool_choice prompt",
			    fault) &&
	       object_known(audio, "response.audio", "output", fault) &&
	       format_valid(json_object_get(json_object_get(audio, "output"), "format"),
			    "response.audio.output.format", fault) &&
	       string_among(json_object_get(response, "conversation"), "response.conversation",
			    "auto none", fault) &&
	       modalities_valid(json_object_get(response, "output_modalities"),
				"response.output_modalities", fault) &&
	       tools_valid(json_object_get(response, "tools"), "response.tools", fault) &&
	       max_tokens_valid(json_object_get(response, "max_output_tokens"),
				"response.max_output_tokens", fault) &&
	       metadata_valid(json_object_get(response, "metadata"), fault);
}

bool validate_event(const json_t *event, struct fault *fault)
{
	static const struct {
		const char *type;
		const char *members;
	} known[] = {
		{"session.update", "session"},
		{"input_audio_buffer.append", "audio"},
		{"input_audio_buffer.commit", ""},
		{"input_audio_buffer.clear", ""},
		{"conversation.item.create", "item previous_item_id"},
		{"conversation.item.delete", "item_id"},
		{"conversation.item.truncate", "item_id content_index audio_end_ms"},
		{"conversation.item.retrieve", "item_id"},
		{"response.create", "response"},
		{"response.cancel", "response_id"},
	};
	const json_t *id = json_object_get(event, "event_id");
	const char *type = json_string_value(json_object_get(event, "type"));
	char members[128];

	if (type == NULL) {
		return fault_set(fault, "missing_required_parameter", "type",
				 "Missing required parameter: 'type'.");
	}
	if (id != NULL && (!json_is_string(id) || json_string_length(id) > EVENT_ID_MAX)) {
		return fault_set(fault, "invalid_value", "event_id",
				 "Invalid 'event_id': expected a string of at most %d characters.",
				 EVENT_ID_MAX);
	}
	for (size_t i = 0; i < BC_ARRAY_LEN(known); i++) {
		if (strcmp(type, known[i].type) == 0) {
			snprintf(members, sizeof(members), "type event_id %s", known[i].members);
			return members_known(event, "", members, fault);
		}
	}
	return fault_set(fault, "invalid_value", "type",
			 "Invalid value: '%.60s'. Supported values are: 'session.update', "
			 "'input_audio_buffer.append', 'input_audio_buffer.commit', "
			 "'input_audio_buffer.clear', and others.",
			 type);
}
