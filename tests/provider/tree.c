/* The event tree of a response: its outputs piece by piece, whole or cut off. */
#include "tests/provider/session.h"

#include "proto/b64.h"

#include "tests/world/speech.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_CHARS   16   /* of a text or arguments delta: four tokens */
#define TEXT_TOKENS_S 100  /* tokens per second of text */
#define AUDIO_DELTA_S 0.2  /* audio of one delta */
#define AUDIO_WAIT_S  0.04 /* between two of them: five times faster than it plays */
#define TONE_HZ       440.0
#define TONE_LEVEL    3000.0

/* Tokens per second of what is spoken. */
static double tokens_s(const struct response *response)
{
	return response->session->provider->timing.prices.assistant_audio_rate;
}

static const struct planned *planned_of(const struct response *response)
{
	return &response->plan.outputs[response->index];
}

/* Event with the ids every event of an output carries; content_index for parts of messages. */
static json_t *output_event(const struct response *response, const char *type)
{
	json_t *event =
		json_pack("{s:s,s:s,s:s,s:i}", "type", type, "response_id", response->id, "item_id",
			  response->item->id, "output_index", (int)response->index);

	if (planned_of(response)->is_call) {
		json_object_set_new(event, "call_id", json_string(response->call_id));
	} else {
		json_object_set_new(event, "content_index", json_integer(0));
	}
	return event;
}

static json_t *item_event(const struct response *response, const char *type)
{
	return json_pack("{s:s,s:s,s:i,s:o}", "type", type, "response_id", response->id,
			 "output_index", (int)response->index, "item",
			 json_deep_copy(response->item->json));
}

static bool is_hidden(const struct response *response)
{
	return response->aside || response->orphan;
}

static json_t *part_json(const struct response *response, const char *words)
{
	if (response->text_only) {
		return json_pack("{s:s,s:s}", "type", "text", "text", words);
	}
	return json_pack("{s:s,s:s}", "type", "audio", "transcript", words);
}

static void output_open(struct response *response)
{
	struct session *session = response->session;
	const struct planned *planned = planned_of(response);
	char id[ID_SIZE];
	json_t *json;
	json_t *event;

	id_make(id, "item_");
	id_make(response->call_id, "call_");
	json = json_pack("{s:s,s:s,s:s,s:s}", "id", id, "object", "realtime.item", "type",
			 planned->is_call ? "function_call" : "message", "status", "in_progress");
	if (planned->is_call) {
		json_object_set_new(json, "name", json_string(planned->name));
		json_object_set_new(json, "call_id", json_string(response->call_id));
		json_object_set_new(json, "arguments", json_string(""));
	} else {
		json_object_set_new(json, "role", json_string("assistant"));
		json_object_set_new(json, "content", json_array());
	}
	response->item = item_new(planned->is_call ? ITEM_CALL : ITEM_ASSISTANT, id, json);
	response->item->in_progress = true;
	response->item->made = ev_now(session->provider->loop);
	response->item->turn = response->unasked ? response->plan.turn : -1;
	response->first = response->first > 0.0 ? response->first : response->item->made;
	response->opened = true;
	response->orphan = false;
	response->said = 0;
	response->audio_s = 0.0;
	response->total_s =
		planned->is_call || response->text_only
			? 0.0
			: speech_text_seconds(&session->provider->timing, planned->text);
	emit(session, item_event(response, "response.output_item.added"));
	if (!response->aside) {
		item_add(session, response->item, NULL);
	}
	if (!planned->is_call) {
		event = output_event(response, "response.content_part.added");
		json_object_set_new(event, "part", part_json(response, ""));
		emit(session, event);
	}
}

/* Length of the next chunk of at most max bytes, cut at a character. */
static size_t chunk_len(const char *text, size_t max)
{
	size_t len = strlen(text);

	if (len <= max) {
		return len;
	}
	for (len = max; len > 1 && ((unsigned char)text[len] & 0xc0) == 0x80; len--) {
	}
	return len;
}

/* Say up to max bytes of text as a delta of that type; false when nothing was left. */
static bool text_say(struct response *response, const char *type, const char *text, size_t max)
{
	size_t len = chunk_len(text + response->said, max);
	json_t *event;

	if (len == 0) {
		return false;
	}
	event = output_event(response, type);
	json_object_set_new(event, "delta", json_stringn(text + response->said, len));
	emit_delta(response->session, event);
	response->said += len;
	return true;
}

/* A tone without any word in it: n samples of a format, as base64 on the heap. */
static char *tone_make(enum audio_format format, size_t n)
{
	size_t size = audio_sample_size(format);
	uint8_t *bytes = malloc(n * size + 1);
	char *text = malloc(B64_ENCODED_LEN(n * size) + 1);

	BC_BUG_ON(bytes == NULL || text == NULL);
	for (size_t i = 0; i < n; i++) {
		double phase = 2.0 * M_PI * TONE_HZ * (double)i / audio_rate(format);
		int16_t value = (int16_t)(TONE_LEVEL * sin(phase));

		if (format == AUDIO_PCM16) {
			bytes[2 * i] = (uint8_t)((uint16_t)value & 0xff);
			bytes[2 * i + 1] = (uint8_t)((uint16_t)value >> 8);
		} else if (format == AUDIO_PCMU) {
			bytes[i] = audio_linear_to_ulaw(value);
		} else {
			bytes[i] = audio_linear_to_alaw(value);
		}
	}
	text[b64_encode(text, bytes, n * size)] = '\0';
	free(bytes);
	return text;
}

/* A whole delta is a whole number of the tone's waves: always the same, and made once. */
static void tone_say(const struct response *response, double seconds)
{
	char **whole = &response->session->provider->tones[response->format];
	size_t n = (size_t)(seconds * audio_rate(response->format) + 0.5);
	char *rest;

	if (seconds < AUDIO_DELTA_S) {
		rest = tone_make(response->format, n);
		emit_audio(response, rest);
		free(rest);
		return;
	}
	if (*whole == NULL) {
		*whole = tone_make(response->format, n);
	}
	emit_audio(response, *whole);
}

/* The words up to the share of the audio that has been sent, then that audio. */
static bool audio_say(struct response *response)
{
	const char *text = planned_of(response)->text;
	double left = response->total_s - response->audio_s;
	double seconds = left < AUDIO_DELTA_S ? left : AUDIO_DELTA_S;
	size_t share;

	if (seconds <= 0.001) {
		return false;
	}
	share = (size_t)((double)strlen(text) * (response->audio_s + seconds) / response->total_s);
	/* Whole words, as the service sends them. */
	share += strcspn(text + share, " ");
	if (share > response->said) {
		text_say(response, "response.output_audio_transcript.delta", text,
			 share - response->said);
	}
	tone_say(response, seconds);
	response->audio_s += seconds;
	response->item->audio_s = response->audio_s;
	response->item->audio_out = true;
	response->session->voice_used = true;
	return true;
}

/* Say the next piece; seconds until the one behind it, negative when the output is complete. */
static double piece_say(struct response *response)
{
	const struct planned *planned = planned_of(response);
	double arguments_s = response->session->provider->timing.args_tokens_per_s;

	if (planned->is_call) {
		return text_say(response, "response.function_call_arguments.delta",
				planned->arguments, CHUNK_CHARS)
			       ? CHUNK_CHARS / 4.0 / arguments_s
			       : -1.0;
	}
	if (response->text_only) {
		return text_say(response, "response.output_text.delta", planned->text, CHUNK_CHARS)
			       ? CHUNK_CHARS / 4.0 / TEXT_TOKENS_S
			       : -1.0;
	}
	return audio_say(response) ? AUDIO_WAIT_S : -1.0;
}

static void message_close(struct response *response, const char *words)
{
	struct session *session = response->session;
	bool text = response->text_only;
	json_t *part = text ? json_pack("{s:s,s:s}", "type", "output_text", "text", words)
			    : json_pack("{s:s,s:s}", "type", "output_audio", "transcript", words);
	json_t *event;

	if (text) {
		event = output_event(response, "response.output_text.done");
		json_object_set_new(event, "text", json_string(words));
		emit(session, event);
	} else {
		emit(session, output_event(response, "response.output_audio.done"));
		event = output_event(response, "response.output_audio_transcript.done");
		json_object_set_new(event, "transcript", json_string(words));
		emit(session, event);
	}
	event = output_event(response, "response.content_part.done");
	json_object_set_new(event, "part", part_json(response, words));
	emit(session, event);
	json_array_append_new(json_object_get(response->item->json, "content"), part);
	item_text_add(response->item, words);
}

static void call_close(struct response *response, const char *arguments)
{
	json_t *event = output_event(response, "response.function_call_arguments.done");

	json_object_set_new(event, "name", json_string(planned_of(response)->name));
	json_object_set_new(event, "arguments", json_string(arguments));
	emit(response->session, event);
	json_object_set_new(response->item->json, "arguments", json_string(arguments));
}

static void output_close(struct response *response, const char *status)
{
	struct session *session = response->session;
	const struct planned *planned = planned_of(response);
	const char *all = planned->is_call ? planned->arguments : planned->text;
	char *said = strndup(all, response->said);

	BC_BUG_ON(said == NULL);
	response->out_text += usage_tokens(said);
	response->out_audio += (unsigned)(response->audio_s * tokens_s(response));
	if (planned->is_call) {
		call_close(response, said);
	} else {
		message_close(response, said);
	}
	free(said);
	response->item->in_progress = false;
	json_object_set_new(response->item->json, "status", json_string(status));
	emit(session, item_event(response, "response.output_item.done"));
	json_array_append_new(response->output, json_deep_copy(response->item->json));
	if (is_hidden(response)) {
		item_free(response->item);
	} else {
		item_done(session, response->item);
	}
	response->item = NULL;
	response->opened = false;
	response->orphan = false;
	response->index++;
}

void tree_cut(struct response *response)
{
	if (response->opened) {
		output_close(response, "incomplete");
	}
}

/* Whether what was said so far exceeds the response's limit. */
static bool is_over_limit(const struct response *response)
{
	double said = response->out_text + response->out_audio + (double)response->said / 4.0 +
		      response->audio_s * tokens_s(response);

	return json_is_integer(response->max_output_tokens) &&
	       said > (double)json_integer_value(response->max_output_tokens);
}

void tree_step(struct response *response)
{
	struct provider *provider = response->session->provider;

	response->phase = RESPONSE_SPEAKING;
	while (response->index < response->plan.n) {
		double wait;

		if (!response->opened) {
			output_open(response);
		}
		wait = piece_say(response);
		if (is_over_limit(response)) {
			tree_cut(response);
			response_finish(response, "incomplete",
					json_pack("{s:s,s:s}", "type", "incomplete", "reason",
						  "max_output_tokens"));
			return;
		}
		if (wait >= 0.0) {
			ev_timer_set(&response->timer, provider_seconds(provider, wait), 0.);
			ev_timer_start(provider->loop, &response->timer);
			return;
		}
		output_close(response, "completed");
	}
	response_finish(response, "completed", NULL);
}
