/* The life of responses: created, at most one in the conversation and two aside, cancelled, done. */
#include "tests/provider/session.h"

#include <stdlib.h>
#include <string.h>

struct response *response_active(struct session *session)
{
	struct response *response;

	TAILQ_FOREACH(response, &session->responses, link) {
		if (!response->aside) {
			return response;
		}
	}
	return NULL;
}

/* ---- context ---- */

void context_add(struct context *context, const struct item *item)
{
	const struct item **items =
		realloc(context->items, (context->n + 1) * sizeof(const struct item *));

	BC_BUG_ON(items == NULL);
	context->items = items;
	context->items[context->n++] = item;
}

void context_release(struct context *context)
{
	struct item *item;

	while ((item = TAILQ_FIRST(&context->inlined)) != NULL) {
		TAILQ_REMOVE(&context->inlined, item, link);
		item_free(item);
	}
	free(context->items);
}

void context_fill(struct session *session, struct context *context)
{
	struct item *item;

	TAILQ_FOREACH(item, &session->items, link) {
		if (!item->in_progress) {
			context_add(context, item);
		}
	}
}

/* Kinds of references that some services do not take. */
static bool is_refused(const struct session *session, const struct item *item)
{
	return session->provider->options.refuse_references &&
	       (item->kind == ITEM_CALL || item->kind == ITEM_OUTPUT || item->in_progress ||
		item->truncated);
}

static bool reference_add(struct session *session, struct context *context, const json_t *element,
			  const char *path, struct fault *fault)
{
	const char *id = json_string_value(json_object_get(element, "id"));
	const struct item *item = id == NULL ? NULL : item_find(session, id);
	char param[96];

	if (item == NULL || is_refused(session, item)) {
		snprintf(param, sizeof(param), "%s.id", path);
		return fault_set(fault, "invalid_value", param,
				 "Error referencing item: the item with id '%.64s' does not exist.",
				 id == NULL ? "" : id);
	}
	context_add(context, item);
	return true;
}

static bool inline_add(struct session *session, struct context *context, const json_t *element,
		       const char *path, struct fault *fault)
{
	struct item *item = item_make(session, element, path, fault);

	if (item == NULL) {
		return false;
	}
	TAILQ_INSERT_TAIL(&context->inlined, item, link);
	if (item->audio_s > 0.0 && session->provider->options.reject_inline_audio) {
		return fault_set(fault, "invalid_value", path,
				 "Invalid value: 'input_audio'. Supported values are: 'input_text' "
				 "and 'input_image'.");
	}
	if (item->kind == ITEM_OUTPUT &&
	    item_call_find(context->items, context->n, item_string(item, "call_id")) == NULL) {
		return fault_set(fault, "invalid_tool_call_id", path,
				 "Tool call ID '%s' not found in conversation.",
				 item_string(item, "call_id"));
	}
	context_add(context, item);
	return true;
}

static bool context_make(struct session *session, const json_t *request, struct context *context,
			 struct fault *fault)
{
	const json_t *input = json_object_get(request, "input");
	const json_t *tools = json_object_get(request, "tools");
	const json_t *choice = json_object_get(request, "tool_choice");
	const json_t *instructions = json_object_get(request, "instructions");
	char path[64];
	json_t *element;
	size_t i;

	context->tools = tools != NULL ? tools : session_get(session, "tools", NULL);
	context->tool_choice = choice != NULL ? choice : session_get(session, "tool_choice", NULL);
	context->instructions = json_string_value(
		instructions != NULL ? instructions : session_get(session, "instructions", NULL));
	if (input == NULL) {
		context_fill(session, context);
		if (!context->aside &&
		    session->provider->options.behaviour == BEHAVIOUR_PROACTIVE) {
			proactive_context(session, context);
		}
		return true;
	}
	json_array_foreach(input, i, element) {
		const char *type = json_string_value(json_object_get(element, "type"));
		bool reference = type != NULL && strcmp(type, "item_reference") == 0;

		snprintf(path, sizeof(path), "response.input[%zu]", i);
		if (!(reference ? reference_add : inline_add)(session, context, element, path,
							      fault)) {
			return false;
		}
	}
	return true;
}

/* ---- the object ---- */

static json_t *usage_of(const struct response *response, const char *status)
{
	bool hidden = response->session->provider->options.cancel_null_usage &&
		      strcmp(status, "cancelled") == 0;

	return hidden ? NULL : usage_json(response);
}

static json_t *response_json(const struct response *response, const char *status, json_t *details)
{
	const struct session *session = response->session;
	static const char *const formats[] = {"audio/pcm", "audio/pcmu", "audio/pcma"};
	json_t *format = json_pack("{s:s}", "type", formats[response->format]);
	bool done = strcmp(status, "in_progress") != 0;

	if (response->format == AUDIO_PCM16) {
		json_object_set_new(format, "rate", json_integer(24000));
	}
	return json_pack("{s:s,s:s,s:s,s:o?,s:O,s:s?,s:[s],s:O?,s:{s:{s:o,s:O}},s:o?,s:O?}",
			 "object", "realtime.response", "id", response->id, "status", status,
			 "status_details", details, "output", response->output, "conversation_id",
			 response->aside ? NULL : session->conversation_id, "output_modalities",
			 response->text_only ? "text" : "audio", "max_output_tokens",
			 response->max_output_tokens, "audio", "output", "format", format, "voice",
			 session_get(session, "audio", "output", "voice", NULL), "usage",
			 done ? usage_of(response, status) : NULL, "metadata", response->metadata);
}

/* A failure lives inside response.done: no error event goes with it. */
static void response_fail(struct response *response)
{
	response_finish(response, "failed",
			json_pack("{s:s,s:{s:s,s:s,s:s}}", "type", "failed", "error", "type",
				  "invalid_request_error", "code", "inference_rate_limit_exceeded",
				  "message", "Rate limit reached. Please try again later."));
}

/* End a cancelled response; some services then truncate what an interruption has cut off. */
static void cancel_finish(struct response *response)
{
	struct session *session = response->session;
	struct item *item = response->item;
	bool truncates = session->provider->options.truncate_on_interrupt && item != NULL &&
			 item->audio_out && !response->aside && !response->orphan &&
			 strcmp(response->cancel_reason, "turn_detected") == 0;

	tree_cut(response);
	response_finish(
		response, "cancelled",
		json_pack("{s:s,s:s}", "type", "cancelled", "reason", response->cancel_reason));
	if (truncates) {
		item_truncate(session, item, (json_int_t)(item->audio_s * 1000.0));
	}
}

static void timer_fired(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct response *response = timer->data;

	(void)loop;
	(void)events;
	BC_CHECK(response, RESPONSE_MAGIC);
	if (response->phase == RESPONSE_CANCELLING) {
		cancel_finish(response);
		return;
	}
	if (response->fails) {
		response_fail(response);
		return;
	}
	tree_step(response);
}

/* Whether the answer is text because an assistant's text stands in the conversation. */
static bool text_follows(struct session *session)
{
	const struct item *item;

	TAILQ_FOREACH(item, &session->items, link) {
		if (item->kind == ITEM_ASSISTANT && !item->audio_out && !item->in_progress) {
			return session->provider->options.text_after_text;
		}
	}
	return false;
}

static struct response *response_new(struct session *session, const json_t *request, bool aside)
{
	struct response *response = calloc(1, sizeof(*response));
	const json_t *modalities = json_object_get(request, "output_modalities");
	json_t *metadata = json_object_get(request, "metadata");
	json_t *limit = json_object_get(request, "max_output_tokens");
	const json_t *format = json_object_get(
		json_object_get(json_object_get(request, "audio"), "output"), "format");
	bool asked = modalities != NULL; /* for them by name */
	const char *modality;

	BC_BUG_ON(response == NULL);
	if (modalities == NULL) {
		modalities = session_get(session, "output_modalities", NULL);
	}
	if (format == NULL) {
		format = session_get(session, "audio", "output", "format", NULL);
	}
	modality = json_string_value(json_array_get(modalities, 0));
	response->magic = RESPONSE_MAGIC;
	response->session = session;
	response->aside = aside;
	response->text_only = (modality != NULL && strcmp(modality, "text") == 0) ||
			      (!aside && !asked && text_follows(session));
	response->format = audio_format_of(format);
	if (json_is_object(metadata) && !session->provider->options.no_metadata) {
		response->metadata = json_deep_copy(metadata);
	}
	response->max_output_tokens = json_incref(
		limit != NULL ? limit : session_get(session, "max_output_tokens", NULL));
	response->output = json_array();
	id_make(response->id, "resp_");
	ev_timer_init(&response->timer, timer_fired, 0., 0.);
	response->timer.data = response;
	return response;
}

static void response_free(struct response *response)
{
	ev_timer_stop(response->session->provider->loop, &response->timer);
	if (response->item != NULL && (response->aside || response->orphan)) {
		item_free(response->item);
	}
	plan_release(&response->plan);
	json_decref(response->metadata);
	json_decref(response->max_output_tokens);
	json_decref(response->output);
	response->magic = 0;
	free(response);
}

void responses_free(struct session *session)
{
	struct response *response;

	while ((response = TAILQ_FIRST(&session->responses)) != NULL) {
		TAILQ_REMOVE(&session->responses, response, link);
		response_free(response);
	}
}

static void timer_set(struct response *response, double seconds)
{
	struct provider *provider = response->session->provider;

	/* From now, not from when the loop woke up for a long message. */
	ev_now_update(provider->loop);
	ev_timer_stop(provider->loop, &response->timer);
	ev_timer_set(&response->timer, provider_seconds(provider, seconds), 0.);
	ev_timer_start(provider->loop, &response->timer);
}

static void rate_limits_say(struct session *session)
{
	emit(session, json_pack("{s:s,s:[{s:s,s:i,s:i,s:f},{s:s,s:i,s:i,s:f}]}", "type",
				"rate_limits.updated", "rate_limits", "name", "requests", "limit",
				10000, "remaining", 9999, "reset_seconds", 0.006, "name", "tokens",
				"limit", 2000000, "remaining", 1995000, "reset_seconds", 0.15));
}

static unsigned asides_running(struct session *session)
{
	struct response *response;
	unsigned n = 0;

	TAILQ_FOREACH(response, &session->responses, link) {
		n += response->aside && response->phase != RESPONSE_QUEUED;
	}
	return n;
}

/* World seconds to the first output of a response that begins now. */
static double first_delay(const struct response *response)
{
	struct session *session = response->session;
	unsigned beside = response->aside ? 0 : asides_running(session);

	return response->plan.delay_s + beside * session->provider->options.aside_cost;
}

static void response_start(struct response *response)
{
	struct session *session = response->session;

	response->phase = RESPONSE_THINKING;
	response->created = ev_now(session->provider->loop);
	emit(session, json_pack("{s:s,s:o}", "type", "response.created", "response",
				response_json(response, "in_progress", NULL)));
	rate_limits_say(session);
	timer_set(response, first_delay(response));
	if (session->provider->options.cancel_late_create && !response->aside &&
	    !response->unasked && session->listening.speech) {
		response_interrupt(session);
	}
}

static void queued_start(struct session *session)
{
	struct response *response;
	struct response *next;

	for (response = TAILQ_FIRST(&session->responses); response != NULL; response = next) {
		next = TAILQ_NEXT(response, link);
		if (response->phase == RESPONSE_QUEUED &&
		    asides_running(session) < session->provider->options.asides) {
			response_start(response);
		}
	}
}

/* Seconds since the start of the log, or null when it has not happened. */
static json_t *moment(const struct provider *provider, ev_tstamp at)
{
	return at > 0.0 ? json_real(at - provider->started) : json_null();
}

static void account_log(const struct response *response, const char *status)
{
	struct session *session = response->session;
	const struct provider *provider = session->provider;
	json_t *line;

	if (!log_wants(provider, "response")) {
		return;
	}
	line = json_pack("{s:s,s:i,s:b,s:b,s:b,s:s,s:O?,s:o,s:o,s:o}", "id", response->id, "turn",
			 response->plan.turn, "aside", response->aside, "vad", response->by_vad,
			 "unasked", response->unasked, "status", status, "metadata",
			 response->metadata, "created", moment(provider, response->created),
			 "first", moment(provider, response->first), "done",
			 moment(provider, ev_now(provider->loop)));
	json_object_update_new(line, usage_account(response));
	log_line(session, "response", line);
}

void response_finish(struct response *response, const char *status, json_t *details)
{
	struct session *session = response->session;
	bool aside = response->aside;
	double playback = response->text_only ? 0.001 : response->audio_s + 0.001;

	TAILQ_REMOVE(&session->responses, response, link);
	emit(session, json_pack("{s:s,s:o}", "type", "response.done", "response",
				response_json(response, status, details)));
	account_log(response, status);
	response_free(response);
	queued_start(session);
	if (aside) {
		return;
	}
	session_idle_arm(session, playback);
	if (session->response_wanted) {
		response_create_by_vad(session);
	}
}

static void response_set_off(struct response *response)
{
	struct session *session = response->session;
	bool full = asides_running(session) >= session->provider->options.asides;

	response->fails = ++session->responses_made == session->provider->options.fail;
	TAILQ_INSERT_TAIL(&session->responses, response, link);
	if (response->aside && full) {
		response->phase = RESPONSE_QUEUED;
	} else {
		response_start(response);
	}
}

/* Decide what the response says and set it off; request NULL: by the VAD. */
static bool response_make(struct session *session, const json_t *request, bool by_vad, bool aside,
			  struct fault *fault)
{
	struct context context = {.aside = aside};
	struct response *response;
	bool made;

	TAILQ_INIT(&context.inlined);
	made = context_make(session, request, &context, fault);
	if (made) {
		/* Decided now, from what is there now; only the saying of it takes time. */
		response = response_new(session, request, aside);
		response->by_vad = by_vad;
		usage_count(session, &context, response);
		if (json_object_get(request, "input") != NULL &&
		    session->provider->options.no_aside_cache) {
			response->cached_text = 0;
			response->cached_audio = 0;
		}
		if (session->dialogue != NULL) {
			model_decide(session, &context, &response->plan);
		} else {
			script_decide(session, &context, &response->plan);
		}
		response_set_off(response);
	}
	context_release(&context);
	return made;
}

void response_create_unasked(struct session *session, const struct context *context,
			     struct plan *plan)
{
	struct response *response = response_new(session, NULL, false);

	response->unasked = true;
	response->by_vad = true;
	usage_count(session, context, response);
	response->plan = *plan;
	*plan = (struct plan){0};
	response_set_off(response);
}

/* What some services do not take at all. */
static bool request_is_taken(const struct options *options, const json_t *request, bool aside,
			     struct fault *fault)
{
	if (options->no_input && json_object_get(request, "input") != NULL) {
		return fault_set(fault, "unknown_parameter", "response.input",
				 "Unknown parameter: 'response.input'.");
	}
	if (options->no_out_of_band && aside) {
		return fault_set(fault, "invalid_value", "response.conversation",
				 "Invalid value: 'none'. Supported values are: 'auto'.");
	}
	return true;
}

void response_create_event(struct session *session, const json_t *event)
{
	const json_t *request = json_object_get(event, "response");
	const char *conversation = json_string_value(json_object_get(request, "conversation"));
	bool aside = conversation != NULL && strcmp(conversation, "none") == 0;
	const struct response *active = response_active(session);
	bool anonymous = session->provider->options.anonymous_errors;
	struct fault fault;

	if (!validate_response(request, &fault) ||
	    !request_is_taken(&session->provider->options, request, aside, &fault)) {
		emit_fault(session, event, &fault);
		return;
	}
	if (!aside && active != NULL) {
		fault_set(&fault, "conversation_already_has_active_response", "",
			  "Conversation already has an active response in progress: %s. Wait until "
			  "the response is finished before creating a new one.",
			  active->id);
		emit_fault(session, anonymous ? NULL : event, &fault);
		return;
	}
	if (!response_make(session, request, false, aside, &fault)) {
		emit_fault(session, event, &fault);
	}
}

void response_create_by_vad(struct session *session)
{
	const struct options *options = &session->provider->options;
	const struct response *active = response_active(session);
	struct fault fault;

	session->response_wanted = active != NULL && (active->phase == RESPONSE_CANCELLING ||
						      options->queue_auto_create ||
						      options->behaviour == BEHAVIOUR_PROACTIVE);
	if (active == NULL) {
		/* Without a request nothing can be wrong with it. */
		BC_BUG_ON(!response_make(session, NULL, true, false, &fault));
	}
}

static void response_cancel(struct response *response, const char *reason)
{
	response->phase = RESPONSE_CANCELLING;
	response->cancel_reason = reason;
	if (response->session->provider->options.cancel_delay > 0.0) {
		timer_set(response, response->session->provider->options.cancel_delay);
		return;
	}
	timer_fired(response->session->provider->loop, &response->timer, 0);
}

void response_cancel_event(struct session *session, const json_t *event)
{
	const char *id = json_string_value(json_object_get(event, "response_id"));
	struct response *response = response_active(session);
	struct fault fault;

	if (id != NULL) {
		TAILQ_FOREACH(response, &session->responses, link) {
			if (strcmp(response->id, id) == 0) {
				break;
			}
		}
	}
	if (response == NULL || response->phase == RESPONSE_CANCELLING) {
		fault_set(&fault, "response_cancel_not_active", "",
			  "Cancellation failed: no active response found");
		emit_fault(session, event, &fault);
		return;
	}
	response_cancel(response, "client_cancelled");
}

void response_interrupt(struct session *session)
{
	struct response *response = response_active(session);

	if (response != NULL && response->phase != RESPONSE_CANCELLING) {
		response_cancel(response, "turn_detected");
	}
}
