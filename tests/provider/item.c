/* The conversation: its items and the client events that change it. */
#include "tests/provider/session.h"

#include "proto/b64.h"

#include <stdlib.h>
#include <string.h>

const char *item_string(const struct item *item, const char *key)
{
	const char *value = json_string_value(json_object_get(item->json, key));

	return value == NULL ? "" : value;
}

struct item *item_new(enum item_kind kind, const char *id, json_t *json)
{
	struct item *item = calloc(1, sizeof(*item));

	BC_BUG_ON(item == NULL || json == NULL);
	item->kind = kind;
	item->json = json;
	item->turn = -1;
	snprintf(item->id, sizeof(item->id), "%s", id);
	bc_buf_init(&item->audio, WIRE_MESSAGE_MAX);
	return item;
}

struct item *item_free(struct item *item)
{
	if (item != NULL) {
		heard_release(&item->heard);
		bc_buf_release(&item->audio);
		free(item->text);
		json_decref(item->json);
		free(item);
	}
	return NULL;
}

struct item *item_find(struct session *session, const char *id)
{
	struct item *item;

	TAILQ_FOREACH(item, &session->items, link) {
		if (strcmp(item->id, id) == 0) {
			return item;
		}
	}
	return NULL;
}

const struct item *item_call_find(const struct item *const *items, size_t n, const char *call_id)
{
	for (size_t i = 0; i < n; i++) {
		if (items[i]->kind == ITEM_CALL &&
		    strcmp(item_string(items[i], "call_id"), call_id) == 0) {
			return items[i];
		}
	}
	return NULL;
}

void item_text_add(struct item *item, const char *text)
{
	size_t old = item->text == NULL ? 0 : strlen(item->text);
	size_t len = strlen(text);
	char *grown = realloc(item->text, old + len + 1);

	BC_BUG_ON(grown == NULL);
	memcpy(grown + old, text, len + 1);
	item->text = grown;
}

/* ---- what a client sent ---- */

static bool id_is_valid(const char *id, const char *param, struct fault *fault)
{
	size_t len = strlen(id);

	if (len > ITEM_ID_MAX) {
		return fault_set(fault, "string_above_max_length", param,
				 "Invalid '%s': string too long. Expected a string with maximum "
				 "length %d, but got a string with length %zu instead.",
				 param, ITEM_ID_MAX, len);
	}
	if (len == 0 ||
	    strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != len) {
		return fault_set(fault, "invalid_value", param,
				 "Invalid '%s': string does not match pattern. Expected a string "
				 "that matches the pattern '^[a-zA-Z0-9_-]+$'.",
				 param);
	}
	return true;
}

/* A required string member, or NULL with the fault. */
static const char *text_member(const json_t *json, const char *key, const char *path,
			       struct fault *fault)
{
	const json_t *value = json_object_get(json, key);

	if (value == NULL) {
		fault_set(fault, "missing_required_parameter", "",
			  "Missing required parameter: '%s.%s'.", path, key);
	} else if (!json_is_string(value)) {
		fault_set(fault, "invalid_type", "", "Invalid type for '%s.%s': expected a string.",
			  path, key);
	} else {
		return json_string_value(value);
	}
	snprintf(fault->param, sizeof(fault->param), "%s.%s", path, key);
	return NULL;
}

static bool audio_part_take(struct session *session, struct item *item, json_t *part,
			    const char *path, struct fault *fault)
{
	const char *audio = text_member(part, "audio", path, fault);

	if (audio == NULL) {
		return false;
	}
	item->format = session->listening.reader.format;
	if (!heard_decode(&item->heard, &item->audio, item->format, bc_span_str(audio))) {
		return fault_set(fault, "invalid_value", path, "Invalid '%s.audio': not base64.",
				 path);
	}
	item->audio_s = (double)bc_buf_len(&item->audio) /
			(audio_rate(item->format) * audio_sample_size(item->format));
	json_object_del(part, "audio");
	if (json_object_get(part, "transcript") == NULL) {
		json_object_set_new(part, "transcript", json_null());
	}
	return true;
}

static bool part_take(struct session *session, struct item *item, json_t *part, const char *path,
		      struct fault *fault)
{
	const char *type = text_member(part, "type", path, fault);
	bool from_user = item->kind == ITEM_USER;
	const char *text;

	if (type == NULL) {
		return false;
	}
	if (from_user && strcmp(type, "input_audio") == 0) {
		return audio_part_take(session, item, part, path, fault);
	}
	if (from_user && strcmp(type, "input_image") == 0) {
		return true;
	}
	if (strcmp(type, item->kind == ITEM_ASSISTANT ? "output_text" : "input_text") != 0) {
		return fault_set(fault, "invalid_value", path,
				 "Invalid value: '%.60s'. Supported "
				 "values are: %s.",
				 type,
				 item->kind == ITEM_ASSISTANT ? "'output_text'"
				 : from_user ? "'input_text', 'input_audio', and 'input_image'"
					     : "'input_text'");
	}
	text = text_member(part, "text", path, fault);
	if (text != NULL) {
		item_text_add(item, text);
	}
	return text != NULL;
}

static bool message_take(struct session *session, struct item *item, const char *path,
			 struct fault *fault)
{
	json_t *content = json_object_get(item->json, "content");
	const char *role = text_member(item->json, "role", path, fault);
	char part_path[96];
	json_t *part;
	size_t i;

	if (role == NULL) {
		return false;
	}
	if (strcmp(role, "user") == 0) {
		item->kind = ITEM_USER;
	} else if (strcmp(role, "assistant") == 0) {
		item->kind = ITEM_ASSISTANT;
	} else if (strcmp(role, "system") == 0) {
		item->kind = ITEM_SYSTEM;
	} else {
		return fault_set(fault, "invalid_value", path,
				 "Invalid value: '%.60s'. Supported values are: 'user', "
				 "'assistant', and 'system'.",
				 role);
	}
	if (!json_is_array(content)) {
		return fault_set(fault, "missing_required_parameter", path,
				 "Missing required parameter: '%s.content'.", path);
	}
	json_array_foreach(content, i, part) {
		snprintf(part_path, sizeof(part_path), "%s.content[%zu]", path, i);
		if (!part_take(session, item, part, part_path, fault)) {
			return false;
		}
	}
	return true;
}

static bool call_take(struct item *item, const char *path, struct fault *fault)
{
	char param[80];
	const char *call_id = item_string(item, "call_id");

	snprintf(param, sizeof(param), "%s.call_id", path);
	if (item->kind == ITEM_CALL && call_id[0] == '\0') {
		char made[ID_SIZE];

		id_make(made, "call_");
		json_object_set_new(item->json, "call_id", json_string(made));
	} else if (text_member(item->json, "call_id", path, fault) == NULL ||
		   !id_is_valid(call_id, param, fault)) {
		return false;
	}
	if (item->kind == ITEM_OUTPUT) {
		return text_member(item->json, "output", path, fault) != NULL;
	}
	return text_member(item->json, "name", path, fault) != NULL &&
	       text_member(item->json, "arguments", path, fault) != NULL;
}

struct item *item_make(struct session *session, const json_t *json, const char *path,
		       struct fault *fault)
{
	const char *type = text_member(json, "type", path, fault);
	const char *id = json_string_value(json_object_get(json, "id"));
	char made[ID_SIZE];
	char param[80];
	struct item *item;
	bool valid;

	snprintf(param, sizeof(param), "%s.id", path);
	if (type == NULL || (id != NULL && !id_is_valid(id, param, fault))) {
		return NULL;
	}
	id_make(made, "item_");
	item = item_new(ITEM_OTHER, id == NULL ? made : id, json_deep_copy(json));
	if (strcmp(type, "message") == 0) {
		valid = message_take(session, item, path, fault);
	} else if (strcmp(type, "function_call") == 0) {
		item->kind = ITEM_CALL;
		valid = call_take(item, path, fault);
	} else if (strcmp(type, "function_call_output") == 0) {
		item->kind = ITEM_OUTPUT;
		valid = call_take(item, path, fault);
	} else {
		valid = strcmp(type, "mcp_approval_response") == 0 ||
			fault_set(fault, "invalid_value", path, "Invalid value: '%.60s'.", type);
	}
	if (!valid) {
		return item_free(item);
	}
	json_object_set_new(item->json, "id", json_string(item->id));
	json_object_set_new(item->json, "object", json_string("realtime.item"));
	if (json_object_get(item->json, "status") == NULL) {
		json_object_set_new(item->json, "status", json_string("completed"));
	}
	return item;
}

/* ---- the list ---- */

static void item_say(struct session *session, const char *type, struct item *item)
{
	struct item *previous = TAILQ_PREV(item, item_list, link);

	emit(session,
	     json_pack("{s:s,s:s?,s:o}", "type", type, "previous_item_id",
		       previous == NULL ? NULL : previous->id, "item", json_deep_copy(item->json)));
}

void item_add(struct session *session, struct item *item, struct item *previous)
{
	item->made = ev_now(session->provider->loop);
	if (previous == NULL) {
		TAILQ_INSERT_TAIL(&session->items, item, link);
	} else {
		TAILQ_INSERT_AFTER(&session->items, previous, item, link);
	}
	item_say(session, "conversation.item.added", item);
}

void item_done(struct session *session, struct item *item)
{
	item_say(session, "conversation.item.done", item);
}

/* An output must answer a call of the conversation that has none yet. */
static bool output_fits(struct session *session, const struct item *output, struct fault *fault)
{
	const struct provider *provider = session->provider;
	double age = provider_seconds(provider, provider->options.call_age);
	const char *call_id = item_string(output, "call_id");
	const struct item *item;
	bool called = false;

	TAILQ_FOREACH(item, &session->items, link) {
		if (strcmp(item_string(item, "call_id"), call_id) != 0) {
			continue;
		}
		if (item->kind == ITEM_OUTPUT) {
			return fault_set(fault, "invalid_tool_call_id", "item.call_id",
					 "Tool call ID '%s' already has an output.", call_id);
		}
		if (item->kind == ITEM_CALL) {
			called = age <= 0.0 || ev_now(provider->loop) - item->made <= age;
		}
	}
	return called || fault_set(fault, "invalid_tool_call_id", "item.call_id",
				   "Tool call ID '%s' not found in conversation.", call_id);
}

static bool item_fits(struct session *session, const struct item *item, const char *previous,
		      struct fault *fault)
{
	if (item_find(session, item->id) != NULL) {
		return fault_set(fault, "item_create_duplicate_item_id", "item.id",
				 "Error adding item: an item with id '%s' already exists.",
				 item->id);
	}
	if (previous != NULL && strcmp(previous, "root") != 0 &&
	    item_find(session, previous) == NULL) {
		return fault_set(fault, "item_create_invalid_previous_item_id", "previous_item_id",
				 "Error adding item: the previous item with id '%.64s' does not "
				 "exist.",
				 previous);
	}
	return item->kind != ITEM_OUTPUT || output_fits(session, item, fault);
}

/* What some services do not take, or change. */
static bool item_is_taken(struct session *session, struct item *item, struct fault *fault)
{
	const struct options *options = &session->provider->options;
	const struct response *active = response_active(session);
	char id[ID_SIZE];

	if (item->kind == ITEM_CALL && options->no_function_items) {
		return fault_set(fault, "invalid_value", "item.type",
				 "Invalid value: 'function_call'. Supported values are: 'message' "
				 "and 'function_call_output'.");
	}
	if (item->kind == ITEM_OUTPUT && active != NULL && options->no_output_while_active) {
		return fault_set(fault, "conversation_already_has_active_response", "",
				 "Conversation already has an active response in progress: %s.",
				 active->id);
	}
	if (item->kind == ITEM_CALL && options->rename_call_ids) {
		id_make(id, "call_");
		json_object_set_new(item->json, "call_id", json_string(id));
	}
	return true;
}

void item_create_event(struct session *session, const json_t *event)
{
	const char *previous = json_string_value(json_object_get(event, "previous_item_id"));
	struct fault fault;
	struct item *item = item_make(session, json_object_get(event, "item"), "item", &fault);

	if (item == NULL) {
		emit_fault(session, event, &fault);
		return;
	}
	if (!item_fits(session, item, previous, &fault) || !item_is_taken(session, item, &fault)) {
		emit_fault(session, event, &fault);
		item_free(item);
		return;
	}
	if (previous != NULL && strcmp(previous, "root") == 0) {
		item->made = ev_now(session->provider->loop);
		TAILQ_INSERT_HEAD(&session->items, item, link);
		item_say(session, "conversation.item.added", item);
	} else {
		item_add(session, item, previous == NULL ? NULL : item_find(session, previous));
	}
	item_done(session, item);
}

/* The item an event names; NULL with the error sent. */
static struct item *item_named(struct session *session, const json_t *event, const char *verb,
			       const char *code)
{
	const char *id = json_string_value(json_object_get(event, "item_id"));
	struct item *item = id == NULL ? NULL : item_find(session, id);
	struct fault fault;

	if (id == NULL) {
		fault_set(&fault, "missing_required_parameter", "item_id",
			  "Missing required parameter: 'item_id'.");
	} else if (item == NULL) {
		fault_set(&fault, code, "item_id",
			  "Error %s item: the item with id '%.64s' does not exist.", verb, id);
	}
	if (item == NULL) {
		emit_fault(session, event, &fault);
	}
	return item;
}

void item_delete_event(struct session *session, const json_t *event)
{
	struct item *item = item_named(session, event, "deleting", "item_delete_invalid_item_id");
	struct response *response;

	if (item == NULL) {
		return;
	}
	TAILQ_REMOVE(&session->items, item, link);
	emit(session,
	     json_pack("{s:s,s:s}", "type", "conversation.item.deleted", "item_id", item->id));
	TAILQ_FOREACH(response, &session->responses, link) {
		if (response->item == item) {
			/* Still being spoken: the response keeps it to its end. */
			response->orphan = true;
			return;
		}
	}
	item_free(item);
}

void item_truncate(struct session *session, struct item *item, json_int_t end_ms)
{
	json_t *part = json_array_get(json_object_get(item->json, "content"), 0);

	item->audio_s = (double)end_ms / 1000.0;
	item->truncated = true;
	free(item->text);
	item->text = NULL;
	json_object_del(part, "transcript");
	emit(session, json_pack("{s:s,s:s,s:i,s:I}", "type", "conversation.item.truncated",
				"item_id", item->id, "content_index", 0, "audio_end_ms", end_ms));
}

void item_truncate_event(struct session *session, const json_t *event)
{
	struct item *item =
		item_named(session, event, "truncating", "item_truncate_invalid_item_id");
	json_int_t end = json_integer_value(json_object_get(event, "audio_end_ms"));
	struct fault fault;

	if (item == NULL) {
		return;
	}
	if (!item->audio_out || item->audio_s <= 0.0) {
		fault_set(&fault, "unsupported_content_type", "item_id",
			  "Only model output audio messages can be truncated");
		emit_fault(session, event, &fault);
		return;
	}
	if ((double)end > item->audio_s * 1000.0 + 0.5) {
		fault_set(&fault, "invalid_value", "audio_end_ms",
			  "Audio content of %.0fms is already shorter than %lldms",
			  item->audio_s * 1000.0, (long long)end);
		emit_fault(session, event, &fault);
		return;
	}
	item_truncate(session, item, end);
}

void item_retrieve_event(struct session *session, const json_t *event)
{
	struct item *item =
		item_named(session, event, "retrieving", "item_retrieve_invalid_item_id");
	struct bc_span audio;
	json_t *json;
	char *text;

	if (item == NULL) {
		return;
	}
	json = json_deep_copy(item->json);
	audio = bc_buf_span(&item->audio);
	text = malloc(B64_ENCODED_LEN(audio.len) + 1);
	if (audio.len > 0 && text != NULL) {
		size_t len = b64_encode(text, (const uint8_t *)audio.ptr, audio.len);

		json_object_set_new(json_array_get(json_object_get(json, "content"), 0), "audio",
				    json_stringn(text, len));
	}
	free(text);
	emit(session, json_pack("{s:s,s:o}", "type", "conversation.item.retrieved", "item", json));
}
