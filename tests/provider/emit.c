/* Events out, and the log of both directions. */
#include "daemon/base/id.h"
#include "tests/provider/session.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LOGGED_MAX 256 /* characters of audio or of a delta that are logged as they are */

void id_make(char id[ID_SIZE], const char *prefix)
{
	static const char alphabet[] =
		"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	uint8_t random[21];
	size_t len = strlen(prefix);

	bc_random(random, sizeof(random));
	memcpy(id, prefix, len);
	for (size_t i = 0; i < sizeof(random); i++) {
		id[len + i] = alphabet[random[i] % 62];
	}
	id[len + sizeof(random)] = '\0';
}

bool log_wants(const struct provider *provider, const char *kind)
{
	const char *at = provider->options.log_kinds;
	size_t len = strlen(kind);

	if (provider->log == NULL || at == NULL) {
		return provider->log != NULL;
	}
	for (; *at != '\0'; at += strcspn(at, ","), at += *at == ',') {
		if (strcspn(at, ",") == len && memcmp(at, kind, len) == 0) {
			return true;
		}
	}
	return false;
}

static void line_write(struct provider *provider, unsigned session, const char *kind, json_t *line)
{
	if (log_wants(provider, kind)) {
		double now = ev_time() - provider->started;
		json_t *head =
			json_pack("{s:f,s:i,s:s}", "t", now, "session", (int)session, "kind", kind);

		json_object_update(head, line);
		json_dumpf(head, provider->log, JSON_COMPACT);
		fputc('\n', provider->log);
		fflush(provider->log);
		json_decref(head);
	}
	json_decref(line);
}

void log_line(struct session *session, const char *kind, json_t *line)
{
	line_write(session->provider, session->number, kind, line);
}

void log_parameters(struct provider *provider)
{
	const struct options *options = &provider->options;

	line_write(provider, 0, "parameters",
		   json_pack("{s:s,s:s,s:I,s:f,s:s,s:s,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f}",
			     "sha256", provider->timing.sha256, "profile", options->profile, "seed",
			     (json_int_t)options->seed, "scale", options->scale, "behaviour",
			     behaviour_name(options->behaviour), "rule",
			     options->clause ? "clause" : "word", "rtt_s", options->rtt,
			     "asr_lag_s", options->asr_lag, "eagerness", options->eagerness,
			     "early_wrong", options->early_wrong, "premature", options->premature,
			     "pass_disagrees", options->disagree, "rival", options->rival,
			     "applies_repair", options->applies_repair, "cancel_delay_s",
			     options->cancel_delay, "aside_cost_s", options->aside_cost));
}

/* Base64 of audio would bury everything else: its length stands for it. */
static void audio_shorten(json_t *value)
{
	static const char *const keys[] = {"audio", "delta"};
	json_t *element;
	const char *key;
	char note[48];
	size_t i;

	json_array_foreach(value, i, element) {
		audio_shorten(element);
	}
	json_object_foreach(value, key, element) {
		audio_shorten(element);
	}
	for (i = 0; i < BC_ARRAY_LEN(keys); i++) {
		element = json_object_get(value, keys[i]);
		if (json_is_string(element) && json_string_length(element) > LOGGED_MAX) {
			snprintf(note, sizeof(note), "<%zu>", json_string_length(element));
			json_object_set_new(value, keys[i], json_string(note));
		}
	}
}

void log_event(struct session *session, const char *direction, const json_t *event)
{
	json_t *copy;

	if (!log_wants(session->provider, direction)) {
		return;
	}
	copy = json_deep_copy(event);
	audio_shorten(copy);
	log_line(session, direction, json_pack("{s:o}", "event", copy));
}

/* What a message says; of the caller's audio, the words that were heard in it. */
static json_t *item_words(const struct session *session, const struct item *item)
{
	char *heard = NULL;
	json_t *words;

	if (item->heard.n > 0) {
		heard = transcript_of(session, &item->heard);
	}
	words = json_pack("s+", item->text == NULL ? "" : item->text, heard == NULL ? "" : heard);
	free(heard);
	return words;
}

/* Arguments with sorted members, so that runs can be compared; as they are when they are no JSON. */
static json_t *canonical(const char *arguments)
{
	json_t *value = json_loads(arguments, JSON_DECODE_ANY, NULL);
	char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	json_t *json = json_string(text == NULL ? arguments : text);

	free(text);
	json_decref(value);
	return json;
}

void log_conversation(struct session *session)
{
	json_t *list;
	struct item *item;

	if (!log_wants(session->provider, "conversation")) {
		return;
	}
	list = json_array();
	TAILQ_FOREACH(item, &session->items, link) {
		json_t *row = json_pack("{s:s,s:s,s:s}", "kind", item_string(item, "type"), "id",
					item->id, "status", item_string(item, "status"));

		if (item->kind == ITEM_CALL || item->kind == ITEM_OUTPUT) {
			json_object_set_new(row, "call_id",
					    json_string(item_string(item, "call_id")));
		}
		if (item->kind == ITEM_CALL) {
			json_object_set_new(row, "name", json_string(item_string(item, "name")));
			json_object_set_new(row, "arguments",
					    canonical(item_string(item, "arguments")));
			if (item->turn >= 0) {
				json_object_set_new(row, "turn", json_integer(item->turn));
			}
		} else if (item->kind == ITEM_OUTPUT) {
			json_object_set_new(row, "output",
					    json_string(item_string(item, "output")));
		} else {
			json_object_set_new(row, "role", json_string(item_string(item, "role")));
			json_object_set_new(row, "text", item_words(session, item));
		}
		json_array_append_new(list, row);
	}
	log_line(session, "conversation", json_pack("{s:o}", "items", list));
}

void emit(struct session *session, json_t *event)
{
	const char *type = json_string_value(json_object_get(event, "type"));
	const char *drop_at = session->provider->options.drop_at;
	char id[ID_SIZE];
	char *text;

	if (session->dropped || session->wire == NULL) {
		json_decref(event);
		return;
	}
	id_make(id, "event_");
	json_object_set_new(event, "event_id", json_string(id));
	log_event(session, "out", event);
	text = json_dumps(event, JSON_COMPACT);
	if (text != NULL) {
		path_out(session, bc_span_str(text));
	}
	if (drop_at != NULL && type != NULL && strcmp(type, drop_at) == 0) {
		session->dropped = true;
		path_abort(session);
	}
	free(text);
	json_decref(event);
}

void emit_audio(const struct response *response, const char *base64)
{
	struct session *session = response->session;
	json_t *event;
	char id[ID_SIZE];
	char *text = NULL;

	if (log_wants(session->provider, "out") || session->provider->options.drop_at != NULL) {
		event = json_pack("{s:s,s:s,s:s,s:i,s:i,s:s}", "type",
				  "response.output_audio.delta", "response_id", response->id,
				  "item_id", response->item->id, "output_index",
				  (int)response->index, "content_index", 0, "delta", base64);
		emit_delta(session, event);
		return;
	}
	if (session->dropped || session->wire == NULL) {
		return;
	}
	id_make(id, "event_");
	if (asprintf(&text,
		     "{\"type\":\"response.output_audio.delta\",\"event_id\":\"%s\","
		     "\"response_id\":\"%s\",\"item_id\":\"%s\",\"output_index\":%zu,"
		     "\"content_index\":0,\"delta\":\"%s\",\"obfuscation\":\"vR7nQ2\"}",
		     id, response->id, response->item->id, response->index, base64) < 0) {
		return;
	}
	path_out(session, bc_span_str(text));
	free(text);
}

void emit_delta(struct session *session, json_t *event)
{
	static const char padding[] = "vR7nQ2kXw9LtB4c";
	uint8_t random;

	bc_random(&random, sizeof(random));
	json_object_set_new(event, "obfuscation",
			    json_string(padding + random % (sizeof(padding) - 1)));
	emit(session, event);
}

bool fault_set(struct fault *fault, const char *code, const char *param, const char *format, ...)
{
	va_list args;

	fault->code = code;
	snprintf(fault->param, sizeof(fault->param), "%s", param);
	va_start(args, format);
	vsnprintf(fault->message, sizeof(fault->message), format, args);
	va_end(args);
	return false;
}

void emit_fault(struct session *session, const json_t *event, const struct fault *fault)
{
	json_t *id = json_object_get(event, "event_id");

	emit(session,
	     json_pack("{s:s,s:{s:s,s:s?,s:s,s:s?,s:O?}}", "type", "error", "error", "type",
		       "invalid_request_error", "code", fault->code, "message", fault->message,
		       "param", fault->param[0] == '\0' ? NULL : fault->param, "event_id",
		       json_is_string(id) ? id : NULL));
}
