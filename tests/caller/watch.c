#include <stdlib.h>
#include <string.h>

#include "tests/caller/watch.h"

#define BREACHES_MAX 100 /* further ones are not listed */
#define WAITING_MAX  256 /* values of an event that wait to be searched for ids */

struct watch {
	json_t *items;     /* set of ids: in the conversation or announced */
	json_t *own;       /* set of ids: the caller has made them itself */
	json_t *responses; /* id -> whether it is open */
	json_t *breaches;
	json_t *counts;
	json_t *function_calls;
	bool no_detector; /* transcripts may announce items */
	bool greeted;     /* session.created was the first event */
};

struct watch *watch_free(struct watch *watch)
{
	if (watch == NULL) {
		return NULL;
	}
	json_decref(watch->items);
	json_decref(watch->own);
	json_decref(watch->responses);
	json_decref(watch->breaches);
	json_decref(watch->counts);
	json_decref(watch->function_calls);
	free(watch);
	return NULL;
}

struct watch *watch_new(void)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (watch == NULL) {
		return NULL;
	}
	watch->items = json_object();
	watch->own = json_object();
	watch->responses = json_object();
	watch->breaches = json_array();
	watch->counts = json_object();
	watch->function_calls = json_array();
	return watch;
}

void watch_breach(struct watch *watch, const char *what, const char *about)
{
	if (json_array_size(watch->breaches) < BREACHES_MAX) {
		(void)json_array_append_new(
			watch->breaches, json_sprintf("%s: %s", what, about == NULL ? "?" : about));
	}
}

static const char *text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static bool is_id_key(const char *key)
{
	size_t len = strlen(key);

	return strcmp(key, "id") == 0 || (len > 3 && strcmp(key + len - 3, "_id") == 0);
}

/* A member of an event that may give the gateway away. */
static void look_at_member(struct watch *watch, const char *key, const json_t *value)
{
	const char *string = json_string_value(value);

	if (is_id_key(key) && string != NULL && strncmp(string, "bc_", 3) == 0) {
		watch_breach(watch, "hidden id shown", string);
	}
	if (strcmp(key, "metadata") == 0 && json_object_get(value, "bc") != NULL) {
		watch_breach(watch, "hidden metadata shown", "bc");
	}
}

/* No id and no metadata key of the gateway's own anywhere in the event. */
static void look_for_ours(struct watch *watch, json_t *event)
{
	json_t *stack[WAITING_MAX] = {event};
	size_t waiting = 1;

	while (waiting > 0) {
		json_t *value = stack[--waiting];
		const char *key = NULL;
		json_t *member = NULL;
		size_t i = 0;

		json_object_foreach(value, key, member) {
			look_at_member(watch, key, member);
			if (!json_is_string(member) && waiting < WAITING_MAX) {
				stack[waiting++] = member;
			}
		}
		json_array_foreach(value, i, member) {
			if (waiting < WAITING_MAX) {
				stack[waiting++] = member;
			}
		}
	}
}

static void item_seen(struct watch *watch, const char *id)
{
	if (id == NULL) {
		watch_breach(watch, "item without id", NULL);
	} else {
		(void)json_object_set_new(watch->items, id, json_true());
	}
}

static void want_item(struct watch *watch, const char *id, const char *where)
{
	if (id == NULL || json_object_get(watch->items, id) == NULL) {
		watch_breach(watch, where, id);
	}
}

static void look_at_kind(struct watch *watch, const json_t *item)
{
	const char *type = text(item, "type");
	const char *id = text(item, "id");

	if (type != NULL && strncmp(type, "function_call", 13) == 0 &&
	    (id == NULL || json_object_get(watch->own, id) == NULL)) {
		watch_breach(watch, "tool call shown", text(item, "name"));
	}
}

static void on_item(struct watch *watch, json_t *event)
{
	const json_t *item = json_object_get(event, "item");
	const json_t *previous = json_object_get(event, "previous_item_id");

	look_at_kind(watch, item);
	if (json_is_string(previous)) {
		want_item(watch, json_string_value(previous), "unknown previous_item_id");
	}
	item_seen(watch, text(item, "id"));
}

static void on_response_created(struct watch *watch, json_t *event)
{
	const char *id = text(json_object_get(event, "response"), "id");

	if (id == NULL || json_object_get(watch->responses, id) != NULL) {
		watch_breach(watch, "response created twice or without id", id);
		return;
	}
	(void)json_object_set_new(watch->responses, id, json_true());
}

static void on_response_done(struct watch *watch, json_t *event)
{
	const json_t *response = json_object_get(event, "response");
	const json_t *output = json_object_get(response, "output");
	const char *id = text(response, "id");

	if (id == NULL || !json_is_true(json_object_get(watch->responses, id))) {
		watch_breach(watch, "response.done of a response that is not open", id);
		return;
	}
	(void)json_object_set_new(watch->responses, id, json_false());
	for (size_t i = 0; i < json_array_size(output); i++) {
		const json_t *item = json_array_get(output, i);

		look_at_kind(watch, item);
		want_item(watch, text(item, "id"), "response.done names an unknown item");
	}
}

/* Any event within a response: the response is open, its item known. */
static void on_response_part(struct watch *watch, json_t *event, const char *type)
{
	const char *response = text(event, "response_id");

	if (response == NULL || !json_is_true(json_object_get(watch->responses, response))) {
		watch_breach(watch, "event of a response that is not open", type);
	}
	if (strcmp(type, "response.output_item.added") == 0) {
		look_at_kind(watch, json_object_get(event, "item"));
		item_seen(watch, text(json_object_get(event, "item"), "id"));
	} else if (json_object_get(event, "item_id") != NULL) {
		want_item(watch, text(event, "item_id"), "event about an unknown item");
	}
	if (strncmp(type, "response.function_call_arguments.", 33) == 0) {
		watch_breach(watch, "tool call shown", type);
		if (strcmp(type, "response.function_call_arguments.done") == 0) {
			(void)json_array_append(watch->function_calls, event);
		}
	}
}

static void on_session(struct watch *watch, json_t *event)
{
	const json_t *tools = json_object_get(json_object_get(event, "session"), "tools");

	if (json_array_size(tools) > 0) {
		watch_breach(watch, "a tool nobody declared",
			     text(json_array_get(tools, 0), "name"));
	}
}

static void sort_out(struct watch *watch, json_t *event, const char *type)
{
	if (strcmp(type, "error") == 0) {
		watch_breach(watch, "error event",
			     text(json_object_get(event, "error"), "message"));
	} else if (strncmp(type, "session.", 8) == 0) {
		on_session(watch, event);
	} else if (strcmp(type, "input_audio_buffer.speech_started") == 0) {
		item_seen(watch, text(event, "item_id"));
	} else if (strcmp(type, "input_audio_buffer.committed") == 0) {
		const json_t *previous = json_object_get(event, "previous_item_id");

		if (json_is_string(previous)) {
			want_item(watch, json_string_value(previous), "unknown previous_item_id");
		}
		item_seen(watch, text(event, "item_id"));
	} else if (strcmp(type, "conversation.item.added") == 0 ||
		   strcmp(type, "conversation.item.done") == 0) {
		on_item(watch, event);
	} else if (watch->no_detector &&
		   strcmp(type, "conversation.item.input_audio_transcription.delta") == 0) {
		item_seen(watch, text(event, "item_id"));
	} else if (strncmp(type, "conversation.item.", 18) == 0) {
		want_item(watch, text(event, "item_id"), "event about an unknown item");
	} else if (strcmp(type, "response.created") == 0) {
		on_response_created(watch, event);
	} else if (strcmp(type, "response.done") == 0) {
		on_response_done(watch, event);
	} else if (strncmp(type, "response.", 9) == 0) {
		on_response_part(watch, event, type);
	}
}

void watch_event(struct watch *watch, json_t *event)
{
	const char *type = text(event, "type");

	if (type == NULL) {
		watch_breach(watch, "event without type", NULL);
		return;
	}
	if (!watch->greeted && strcmp(type, "session.created") != 0) {
		watch_breach(watch, "first event is not session.created", type);
	}
	watch->greeted = true;
	(void)json_object_set_new(
		watch->counts, type,
		json_integer(1 + json_integer_value(json_object_get(watch->counts, type))));
	look_for_ours(watch, event);
	sort_out(watch, event, type);
}

bool watch_is_answering(const struct watch *watch)
{
	const char *id = NULL;
	json_t *open = NULL;

	json_object_foreach(watch->responses, id, open) {
		if (json_is_true(open)) {
			return true;
		}
	}
	return false;
}

void watch_expect(struct watch *watch, const char *id)
{
	if (id != NULL) {
		(void)json_object_set_new(watch->own, id, json_true());
	}
}

void watch_without_detector(struct watch *watch)
{
	watch->no_detector = true;
}

void watch_end(struct watch *watch)
{
	const char *id = NULL;
	json_t *open = NULL;

	json_object_foreach(watch->responses, id, open) {
		if (json_is_true(open)) {
			watch_breach(watch, "response without response.done", id);
		}
	}
}

json_t *watch_breaches(const struct watch *watch)
{
	return watch->breaches;
}

json_t *watch_counts(const struct watch *watch)
{
	return watch->counts;
}

json_t *watch_function_calls(const struct watch *watch)
{
	return watch->function_calls;
}
