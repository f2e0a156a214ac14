/* A session: from the upgrade to its end, its configuration, and who handles which event. */
#include "tests/provider/session.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIFETIME_S 3600

json_t *session_get(const struct session *session, const char *first, ...)
{
	json_t *at = json_object_get(session->config, first);
	const char *key;
	va_list keys;

	va_start(keys, first);
	while ((key = va_arg(keys, const char *)) != NULL) {
		at = json_object_get(at, key);
	}
	va_end(keys);
	return at;
}

static json_t *config_new(const struct session *session, const char *model)
{
	json_t *format = json_pack("{s:s,s:i}", "type", "audio/pcm", "rate", 24000);
	json_t *detection =
		json_pack("{s:s,s:f,s:i,s:i,s:n,s:b,s:b}", "type", "server_vad", "threshold", 0.5,
			  "prefix_padding_ms", 300, "silence_duration_ms", 500, "idle_timeout_ms",
			  "create_response", 1, "interrupt_response", 1);
	json_t *audio =
		json_pack("{s:{s:O,s:n,s:n,s:o},s:{s:o,s:s,s:f}}", "input", "format", format,
			  "noise_reduction", "transcription", "turn_detection", detection, "output",
			  "format", format, "voice", "marin", "speed", 1.0);

	return json_pack("{s:s,s:s,s:s,s:s,s:[s],s:s,s:[],s:s,s:s,s:s,s:n,s:n,s:I,s:n,s:o}", "type",
			 "realtime", "object", "realtime.session", "id", session->id, "model",
			 model, "output_modalities", "audio", "instructions",
			 "You are a helpful voice agent.", "tools", "tool_choice", "auto",
			 "max_output_tokens", "inf", "truncation", "auto", "tracing", "prompt",
			 "expires_at", (json_int_t)(time(NULL) + LIFETIME_S), "include", "audio",
			 audio);
}

/* The dialogue named "<id>[@<instance>[:<turn>]]", with or without "sim:" in front; it becomes the session's. */
static bool dialogue_take(struct session *session, struct bc_span name)
{
	const struct dialogue *dialogue;
	const char *at;

	if (bc_span_has_prefix(name, "sim:")) {
		name = bc_span(name.ptr + 4, name.len - 4);
	}
	at = name.len == 0 ? NULL : memchr(name.ptr, '@', name.len);
	dialogue =
		dialogue_find(&session->provider->dialogues,
			      bc_span(name.ptr, at == NULL ? name.len : (size_t)(at - name.ptr)));
	if (dialogue == NULL) {
		return false;
	}
	session->dialogue = dialogue;
	snprintf(session->name, sizeof(session->name), "%.*s", BC_SPAN_ARG(name));
	log_line(session, "session",
		 json_pack("{s:s,s:s}", "dialogue", dialogue->id, "name", session->name));
	return true;
}

/* By the model's name, else by header, else the first one, unless a script is there. */
static void dialogue_choose(struct session *session, const struct wire_request *request,
			    const char *model)
{
	const struct provider *provider = session->provider;
	struct bc_span header;

	if (dialogue_take(session, bc_span_str(model)) ||
	    (wire_request_header(request, "X-Simulated-Dialogue", &header) &&
	     dialogue_take(session, header))) {
		return;
	}
	if (provider->script == NULL && provider->dialogues.n > 0) {
		session->dialogue = provider->dialogues.items[0];
	}
}

/* Instructions may name the dialogue as "sim:<id>". */
static void dialogue_from_instructions(struct session *session)
{
	const char *text = json_string_value(session_get(session, "instructions", NULL));
	const char *mark = text == NULL ? NULL : strstr(text, "sim:");
	struct bc_span name = mark == NULL ? bc_span_str(NULL)
					   : bc_span(mark + 4, strcspn(mark + 4, " \t\r\n\"',;"));

	if (!bc_span_is(name, session->name)) {
		(void)dialogue_take(session, name);
	}
}

/* Put the members of update into config; objects under "audio" are merged, everything else replaced. */
static void config_merge(json_t *config, const json_t *update, unsigned depth)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)update, key, value) {
		json_t *old = json_object_get(config, key);
		bool open = depth > 0 ? depth < 3 : strcmp(key, "audio") == 0;

		if (open && json_is_object(value) && json_is_object(old) &&
		    strcmp(key, "format") != 0 && strcmp(key, "turn_detection") != 0 &&
		    strcmp(key, "transcription") != 0 && strcmp(key, "noise_reduction") != 0) {
			config_merge(old, value, depth + 1);
		} else {
			json_object_set_new(config, key, json_deep_copy(value));
		}
	}
}

static void detection_complete(struct session *session)
{
	static const struct {
		const char *key;
		int value;
	} defaults[] = {{"prefix_padding_ms", 300}, {"silence_duration_ms", 500}};
	json_t *detection = session_get(session, "audio", "input", "turn_detection", NULL);
	const char *type = json_string_value(json_object_get(detection, "type"));

	if (!json_is_object(detection)) {
		return;
	}
	for (size_t i = 0; type != NULL && strcmp(type, "server_vad") == 0 && i < 2; i++) {
		if (json_object_get(detection, defaults[i].key) == NULL) {
			json_object_set_new(detection, defaults[i].key,
					    json_integer(defaults[i].value));
		}
	}
	if (json_object_get(detection, "create_response") == NULL) {
		json_object_set_new(detection, "create_response", json_true());
	}
	if (json_object_get(detection, "interrupt_response") == NULL) {
		json_object_set_new(detection, "interrupt_response", json_true());
	}
}

static bool update_is_possible(struct session *session, const json_t *update, struct fault *fault)
{
	const json_t *voice = json_object_get(
		json_object_get(json_object_get(update, "audio"), "output"), "voice");
	const json_t *model = json_object_get(update, "model");

	if (!validate_session(update, fault)) {
		return false;
	}
	if (voice != NULL && session->voice_used &&
	    !json_equal(voice, session_get(session, "audio", "output", "voice", NULL))) {
		return fault_set(fault, "cannot_update_voice", "",
				 "Cannot update a conversation's voice if assistant audio is "
				 "present.");
	}
	if (model != NULL && !json_equal(model, session_get(session, "model", NULL))) {
		return fault_set(fault, "invalid_value", "session.model",
				 "Cannot update the model of a session.");
	}
	return true;
}

static bool is_of_detection(const json_t *update)
{
	return json_object_get(json_object_get(json_object_get(update, "audio"), "input"),
			       "turn_detection") != NULL;
}

static void update_take(struct session *session, const json_t *event)
{
	const json_t *update = json_object_get(event, "session");
	enum audio_format before =
		audio_format_of(session_get(session, "audio", "input", "format", NULL));
	struct fault fault;

	if (!update_is_possible(session, update, &fault)) {
		emit_fault(session, event, &fault);
		return;
	}
	config_merge(session->config, update, 0);
	if (session->provider->options.reset_vad && is_of_detection(update)) {
		session->listening.speech = false;
		session->listening.voiced_ms = 0;
	}
	detection_complete(session);
	audio_detection_changed(session);
	dialogue_from_instructions(session);
	if (audio_format_of(session_get(session, "audio", "input", "format", NULL)) != before) {
		audio_release(session);
		audio_init(session);
	}
	session_idle_arm(session, 0.0);
	emit(session,
	     json_pack("{s:s,s:O}", "type", "session.updated", "session", session->config));
}

/* Take the update that was put off, if there is one. */
static void update_late_take(struct session *session)
{
	json_t *event = session->late_update;

	ev_timer_stop(session->provider->loop, &session->late_timer);
	session->late_update = NULL;
	if (event != NULL) {
		update_take(session, event);
		json_decref(event);
	}
}

static void late_fired(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct session *session = timer->data;

	(void)loop;
	(void)events;
	BC_CHECK(session, SESSION_MAGIC);
	update_late_take(session);
}

/* Updates are answered in their order. */
static void update_event(struct session *session, const json_t *event)
{
	const struct provider *provider = session->provider;

	update_late_take(session);
	if (provider->options.detection_lag > 0.0 &&
	    is_of_detection(json_object_get(event, "session"))) {
		session->late_update = json_incref((json_t *)(uintptr_t)event);
		ev_timer_set(&session->late_timer,
			     provider_seconds(provider, provider->options.detection_lag), 0.);
		ev_timer_start(provider->loop, &session->late_timer);
	} else {
		update_take(session, event);
	}
}

static const struct {
	const char *type;
	void (*handle)(struct session *session, const json_t *event);
} handlers[] = {
	{"session.update", update_event},
	{"input_audio_buffer.append", audio_append_event},
	{"input_audio_buffer.commit", audio_commit_event},
	{"input_audio_buffer.clear", audio_clear_event},
	{"conversation.item.create", item_create_event},
	{"conversation.item.delete", item_delete_event},
	{"conversation.item.truncate", item_truncate_event},
	{"conversation.item.retrieve", item_retrieve_event},
	{"response.create", response_create_event},
	{"response.cancel", response_cancel_event},
};

static void event_take(struct session *session, const json_t *event)
{
	const char *type = json_string_value(json_object_get(event, "type"));
	struct fault fault;

	if (!validate_event(event, &fault)) {
		emit_fault(session, event, &fault);
		return;
	}
	for (size_t i = 0; i < BC_ARRAY_LEN(handlers); i++) {
		if (strcmp(type, handlers[i].type) == 0) {
			handlers[i].handle(session, event);
			return;
		}
	}
	fault_set(&fault, "invalid_value", "type", "Invalid value: '%.100s'.", type);
	emit_fault(session, event, &fault);
}

void session_message(struct session *session, struct bc_span text)
{
	unsigned drop_after = session->provider->options.drop_after;
	json_t *event;

	if (session->provider->options.silent || session->dropped) {
		return;
	}
	if (!audio_append_quick(session, text)) {
		event = json_loadb(text.ptr, text.len, 0, NULL);
		if (json_is_object(event)) {
			log_event(session, "in", event);
			event_take(session, event);
		} else {
			struct fault fault;

			fault_set(&fault, "invalid_event", "",
				  "The server could not parse the event: it is not a JSON object.");
			emit_fault(session, NULL, &fault);
		}
		json_decref(event);
	}
	if (++session->events_in == drop_after) {
		session->dropped = true;
		path_abort(session);
	}
}

static void message(void *arg, struct wire *wire, struct bc_span text)
{
	struct session *session = arg;

	(void)wire;
	BC_CHECK(session, SESSION_MAGIC);
	path_in(session, text);
}

static void opened(void *arg, struct wire *wire)
{
	struct session *session = arg;
	struct fault fault;

	(void)wire;
	BC_CHECK(session, SESSION_MAGIC);
	if (session->beta) {
		fault_set(
			&fault, "beta_api_shape_disabled", "",
			"The Realtime Beta API is no longer supported. Please use /v1/realtime for "
			"the GA API.");
		emit_fault(session, NULL, &fault);
		path_close(session, 4000, "invalid_request_error.beta_api_shape_disabled");
		return;
	}
	emit(session,
	     json_pack("{s:s,s:O}", "type", "session.created", "session", session->config));
	emit(session, json_pack("{s:s,s:{s:s,s:s}}", "type", "conversation.created", "conversation",
				"id", session->conversation_id, "object", "realtime.conversation"));
}

static void closed(void *arg, struct wire *wire, uint16_t code, struct bc_span reason)
{
	struct session *session = arg;
	struct item *item;

	(void)wire;
	BC_CHECK(session, SESSION_MAGIC);
	session->wire = NULL;
	path_end(session);
	responses_free(session);
	log_conversation(session);
	log_line(session, "closed",
		 json_pack("{s:i,s:s%}", "code", (int)code, "reason", reason.ptr, reason.len));
	while ((item = TAILQ_FIRST(&session->items)) != NULL) {
		TAILQ_REMOVE(&session->items, item, link);
		item_free(item);
	}
	transcript_release(session);
	audio_release(session);
	usage_release(session);
	ev_timer_stop(session->provider->loop, &session->idle);
	ev_timer_stop(session->provider->loop, &session->late_timer);
	json_decref(session->late_update);
	json_decref(session->config);
	TAILQ_REMOVE(&session->provider->live, session, link);
	session->magic = 0;
	free(session);
}

void sessions_end(struct provider *provider)
{
	struct session *session;

	TAILQ_FOREACH(session, &provider->live, link) {
		session->dropped = true;
		wire_abort(session->wire);
	}
	while (!TAILQ_EMPTY(&provider->live)) {
		ev_run(provider->loop, EVRUN_ONCE);
	}
}

static void idle_fired(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct session *session = timer->data;
	uint64_t at;

	(void)loop;
	(void)events;
	BC_CHECK(session, SESSION_MAGIC);
	if (session->listening.speech || response_active(session) != NULL) {
		return;
	}
	at = audio_ms(session);
	if (session->listening.item_id[0] == '\0') {
		id_make(session->listening.item_id, "item_");
	}
	emit(session, json_pack("{s:s,s:I,s:I,s:s}", "type", "input_audio_buffer.timeout_triggered",
				"audio_start_ms", (json_int_t)at, "audio_end_ms", (json_int_t)at,
				"item_id", session->listening.item_id));
	audio_commit(session);
	if (!session->provider->options.idle_needs_create ||
	    !json_is_false(session_get(session, "audio", "input", "turn_detection",
				       "create_response", NULL))) {
		response_create_by_vad(session);
	}
}

void session_idle_arm(struct session *session, double after_s)
{
	const json_t *timeout =
		session_get(session, "audio", "input", "turn_detection", "idle_timeout_ms", NULL);
	double wait = after_s + json_number_value(timeout) / 1000.0;

	ev_timer_stop(session->provider->loop, &session->idle);
	if (json_is_number(timeout) && after_s > 0.0) {
		ev_timer_set(&session->idle, provider_seconds(session->provider, wait), 0.);
		ev_timer_start(session->provider->loop, &session->idle);
	}
}

static struct session *session_new(struct provider *provider, struct wire *wire,
				   const struct wire_request *request)
{
	struct session *session = calloc(1, sizeof(*session));
	char model[256] = "gpt-realtime";
	struct bc_span header;

	BC_BUG_ON(session == NULL);
	wire_request_query(request, "model", model, sizeof(model));
	session->magic = SESSION_MAGIC;
	session->provider = provider;
	session->wire = wire;
	session->number = ++provider->sessions;
	session->beta = wire_request_header(request, "OpenAI-Beta", &header) ||
			(wire_request_header(request, "Sec-WebSocket-Protocol", &header) &&
			 memmem(header.ptr, header.len, "openai-beta", 11) != NULL);
	id_make(session->id, "sess_");
	id_make(session->conversation_id, "conv_");
	session->config = config_new(session, model);
	BC_BUG_ON(session->config == NULL);
	dialogue_choose(session, request, model);
	TAILQ_INIT(&session->items);
	TAILQ_INIT(&session->responses);
	transcript_init(session);
	audio_init(session);
	TAILQ_INSERT_TAIL(&provider->live, session, link);
	ev_timer_init(&session->idle, idle_fired, 0., 0.);
	session->idle.data = session;
	ev_timer_init(&session->late_timer, late_fired, 0., 0.);
	session->late_timer.data = session;
	return session;
}

/* Speech sessions only: .../realtime with whatever query. */
static bool path_is_known(struct bc_span target)
{
	const char *mark = target.len == 0 ? NULL : memchr(target.ptr, '?', target.len);
	size_t len = mark == NULL ? target.len : (size_t)(mark - target.ptr);

	return len >= 9 && memcmp(target.ptr + len - 9, "/realtime", 9) == 0;
}

/* The key a client showed, from wherever clients put it. */
static bool key_is_right(const struct provider *provider, const struct wire_request *request)
{
	const char *key = provider->options.key;
	struct bc_span value;
	char query[512];
	char protocol[512];

	if (key == NULL) {
		return true;
	}
	if (wire_request_header(request, "Authorization", &value) &&
	    bc_span_has_prefix(value, "Bearer ")) {
		return bc_span_is(bc_span(value.ptr + 7, value.len - 7), key);
	}
	if (wire_request_header(request, "api-key", &value)) {
		return bc_span_is(value, key);
	}
	if (wire_request_query(request, "api-key", query, sizeof(query))) {
		return strcmp(query, key) == 0;
	}
	snprintf(protocol, sizeof(protocol), "openai-insecure-api-key.%s", key);
	return wire_request_header(request, "Sec-WebSocket-Protocol", &value) &&
	       memmem(value.ptr, value.len, protocol, strlen(protocol)) != NULL;
}

struct wire_verdict session_accept(void *arg, struct wire *wire, const struct wire_request *request)
{
	static const struct wire_handlers wire_handlers = {opened, message, closed};
	struct provider *provider = arg;
	struct wire_verdict verdict = {.status = 101, .handlers = &wire_handlers};
	struct bc_span value;

	if (provider->options.refuse != 0) {
		verdict.status = provider->options.refuse;
		verdict.body = "{\"error\":{\"type\":\"server_error\",\"code\":null,"
			       "\"message\":\"The simulated provider refuses.\"}}";
		return verdict;
	}
	if (!path_is_known(request->target)) {
		verdict.status = 404;
		return verdict;
	}
	if (!key_is_right(provider, request)) {
		verdict.status = 401;
		verdict.body = "{\"error\":{\"type\":\"invalid_request_error\","
			       "\"code\":\"invalid_api_key\",\"message\":\"Incorrect API key "
			       "provided.\",\"param\":null}}";
		return verdict;
	}
	if (wire_request_header(request, "Sec-WebSocket-Protocol", &value) &&
	    memmem(value.ptr, value.len, "realtime", 8) != NULL) {
		verdict.subprotocol = "realtime";
	}
	verdict.arg = session_new(provider, wire, request);
	return verdict;
}
