/* Events of the provider, when gateway tools are configured: what is not listed here passes unchanged. */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

static void forward(struct sess *sess, struct bc_span text)
{
	(void)sess_to_client(sess, text); /* pressure shows with the next message */
}

/* What the caller said or typed with this item is complete: calls belong to this turn from now on. */
static void turn_ends(struct sess *sess, const char *item)
{
	bool stopped = take_turn_ends(sess);

	hear_committed(sess);
	words_turn_ends(sess, item);
	sess->agent->take.client_commits = false;
	take_advance(sess);
	works_forget(sess, sess->agent->committed_turn);
	eager_turn_over(sess);
	if (stopped) {
		step_advance(sess);
	}
}

/*
 * The nearest item at or before this one that the client knows when it gets an event; NULL: none.  What a response that is
 * being taken over has begun is kept back, and is shown later or never; kept: together with the event.
 */
static const struct item *known_before(const struct sess *sess, const struct item *item, bool kept)
{
	while (item != NULL && (item->hidden || (!kept && taken_is_leftover(sess, item->id)))) {
		item = items_before(item);
	}
	return item;
}

/* Show an event that names a previous item, as the client knows the order (R3), and without words it has not asked for. */
static void forward_ordered(struct sess *sess, struct bc_span text,
			    void (*send)(struct sess *sess, struct bc_span text))
{
	struct bc_span named = field_raw(text, "previous_item_id");
	const struct item *item = NULL;
	const struct item *visible;
	struct rewrite rewrite;
	struct bc_buf out;
	char id[SESS_ID_MAX];

	if (field_id(text, "previous_item_id", id)) {
		item = items_find(&sess->agent->items, id);
	}
	visible = known_before(sess, item, send == taken_hold_current);
	rewrite_begin(&rewrite, text);
	if (visible == NULL && item != NULL) {
		rewrite_replace(&rewrite, named, BC_SPAN_LIT("null"));
	} else if (visible != item) {
		rewrite_replace_string(&rewrite, named, visible->id);
	}
	transcripts_conceal(sess, &rewrite, field_raw(text, "item"));
	if (rewrite.count == 0) {
		send(sess, text);
		return;
	}
	send(sess, rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text);
	bc_buf_release(&out);
}

/* A function call of a gateway tool that the response in progress makes, whatever event names it first. */
static bool is_gateway_call(struct sess *sess, struct bc_span raw)
{
	return sess->agent->current != NULL && field_is(raw, "status", "in_progress") &&
	       tools_of_call(sess, sess->agent->current->params, raw) != NULL;
}

/* Put an item where an event says it stands: behind an item, in front of all, or, as far as we can tell, last. */
static void place_item(struct sess *sess, struct bc_span text, struct item *item)
{
	struct items *items = &sess->agent->items;
	struct item *prev = NULL;
	char id[SESS_ID_MAX];

	if (field_id(text, "previous_item_id", id)) {
		prev = items_find(items, id);
	}
	if (prev == NULL && !bc_span_is(field_raw(text, "previous_item_id"), "null")) {
		prev = TAILQ_LAST(&items->order, item_list);
	}
	items_place(items, item, prev);
}

static struct item *note_item(struct sess *sess, struct bc_span text, struct bc_span raw, bool done)
{
	struct agent *agent = sess->agent;
	struct item *item;
	char id[SESS_ID_MAX];

	if (!field_id(raw, "id", id) || (item = items_get(&agent->items, id)) == NULL) {
		return NULL;
	}
	if (bc_id_is_ours(bc_span_str(id)) || is_gateway_call(sess, raw)) {
		item->hidden = true;
	}
	if (!item->placed && field_is(raw, "role", "user")) {
		/* What was spoken has its place since the commit: this was typed, and is a turn as well. */
		turn_ends(sess, id);
		answer_turn_ended(sess, false);
		reasoner_typed(sess, raw);
	}
	place_item(sess, text, item);
	item->done = item->done || done;
	item->user = item->user || field_is(raw, "role", "user");
	if (done && sess->agent->spec != NULL) {
		items_keep(&sess->agent->items, item, raw);
	}
	if (done && bc_id_is_ours(bc_span_str(id))) {
		traits_call_item(sess, raw);
	}
	return item;
}

static void item_added(struct sess *sess, struct bc_span text)
{
	struct bc_span raw = field_raw(text, "item");
	struct item *item = note_item(sess, text, raw, false);
	struct agent *agent = sess->agent;

	if (item != NULL && item->hidden) {
		result_confirmed(sess, raw);
		return;
	}
	if (item != NULL && taken_is_leftover(sess, item->id)) {
		forward_ordered(sess, text, taken_hold_current);
		return;
	}
	if (agent->current != NULL && !agent->current->taken &&
	    field_is(raw, "role", "assistant") && field_is(raw, "status", "in_progress")) {
		resp_reveal(sess, agent->current);
	}
	forward_ordered(sess, text, forward);
}

static void item_done(struct sess *sess, struct bc_span text)
{
	struct item *item = note_item(sess, text, field_raw(text, "item"), true);

	if (item != NULL && !item->hidden && taken_is_leftover(sess, item->id)) {
		forward_ordered(sess, text, taken_hold_current);
	} else if (item == NULL || !item->hidden) {
		forward_ordered(sess, text, forward);
		if (field_is(field_raw(text, "item"), "role", "assistant")) {
			reasoner_said(sess, field_raw(text, "item"));
		}
	}
}

/* Whatever becomes of an item now, a pass may name what was said with it, or never will. */
static void item_is_done(struct sess *sess, struct bc_span object, const char *key)
{
	char id[SESS_ID_MAX];

	if (field_id(object, key, id)) {
		words_item_done(sess, id);
	}
}

static void item_truncated(struct sess *sess, struct bc_span text)
{
	char id[SESS_ID_MAX];
	struct item *item =
		field_id(text, "item_id", id) ? items_find(&sess->agent->items, id) : NULL;

	if (item != NULL) {
		item->truncated = true;
	}
	forward(sess, text);
}

static void item_deleted(struct sess *sess, struct bc_span text)
{
	char id[SESS_ID_MAX];
	struct item *item =
		field_id(text, "item_id", id) ? items_find(&sess->agent->items, id) : NULL;
	bool hidden = item != NULL && item->hidden;

	if (item != NULL) {
		items_remove(&sess->agent->items, item);
		step_item_deleted(sess, id);
	}
	if (!hidden) {
		forward(sess, text);
	}
}

/* ---- turns ---- */

static void committed(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	char id[SESS_ID_MAX];
	struct item *item;
	bool spoken;

	if (!field_id(text, "item_id", id)) {
		id[0] = '\0';
	}
	/* The item takes its place now, so that the answer's events find it. */
	if (id[0] != '\0' && (item = items_get(&agent->items, id)) != NULL) {
		place_item(sess, text, item);
		reasoner_committed(sess, id);
	}
	forward_ordered(sess, text, forward);
	lane_speech(sess, false);
	agent->input++;
	agent->answer_expected = true;
	hear_unheard(sess);
	agent->take.provider_answers = agent->create_response && !agent->take.client_commits;
	spoken = agent->hearing.turn_open && agent->hearing.spoken;
	turn_ends(sess, id);
	answer_turn_ended(sess, spoken);
	lane_pump(sess);
}

/* The commit follows at once; where it does not, the speech is over all the same and an owed answer need not wait. */
static void speech_stopped(struct sess *sess)
{
	ear_speech(sess, false);
	lane_speech(sess, false);
	sess->agent->answer_expected = true;
	lane_pump(sess);
}

static void configured(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	struct bc_span session = field_raw(text, "session");
	struct bc_span choice = field_raw(session, "tool_choice");
	struct bc_span modalities = field_raw(session, "output_modalities");
	struct bc_span detection =
		field_raw(field_raw(field_raw(session, "audio"), "input"), "turn_detection");

	agent->tool_choice_forced =
		json_string_is(choice, "required") || (choice.len > 0 && choice.ptr[0] == '{');
	if (detection.len > 0) {
		agent->interrupt_response =
			detection.ptr[0] == '{' &&
			!bc_span_is(field_raw(detection, "interrupt_response"), "false");
		agent->create_response =
			detection.ptr[0] == '{' &&
			!bc_span_is(field_raw(detection, "create_response"), "false");
		if (agent->speech && detection.ptr[0] != '{') {
			lane_speech(sess, false); /* nobody would tell us that it is over */
			lane_pump(sess);
		}
	}
	eager_configure(sess, detection);
	prepare_drop_all(agent);
	if (agent->spec != NULL) {
		spec_verdict_void(
			agent->spec); /* a pass may have been asked under other instructions */
	}
	if (modalities.len > 0) {
		agent->speaks = memmem(modalities.ptr, modalities.len, "\"audio\"", 7) != NULL;
	}
	hear_configure(sess, session);
	ear_configure(sess, detection);
	reasoner_configure(sess, session);
	results_configure(sess, session);
	audio_configure(sess, session);
	restart_configure(sess, session);
}

/* Transcripts that the gateway alone has asked for stay with it. */
static void transcript_event(struct sess *sess, enum oai_event event, struct bc_span text)
{
	if (transcripts_are_hidden(sess)) {
		bc_metric_inc(BC_M_TRANSCRIPTS_HIDDEN);
	} else {
		forward(sess, text);
	}
	if (event == OAI_CONVERSATION_ITEM_INPUT_AUDIO_TRANSCRIPTION_DELTA) {
		hear_transcript(sess, text);
	} else if (event == OAI_CONVERSATION_ITEM_INPUT_AUDIO_TRANSCRIPTION_COMPLETED ||
		   event == OAI_CONVERSATION_ITEM_INPUT_AUDIO_TRANSCRIPTION_FAILED) {
		traits_transcribed(sess);
		reasoner_transcribed(sess, text);
	}
}

static void error_event(struct sess *sess, struct bc_span text)
{
	struct bc_span error = field_raw(text, "error");
	struct bc_span client_id = field_raw(error, "event_id");
	bool ours = json_raw_is_string(client_id) && bc_span_has_prefix(client_id, "\"bc_");

	/* Each function looks for the request the error answers; true: it was ours. */
	if (result_failed(sess, client_id, error) || tools_update_failed(sess, client_id, error) ||
	    filler_failed(sess, client_id, error) || pass_failed(sess, client_id, error) ||
	    lane_create_failed(sess, client_id, error)) {
		return;
	}
	if (!ours) {
		/* Perhaps it answers what was to end a turn: words wait no longer. */
		words_turn_refused(sess);
		take_client_refused(sess, error);
		forward(sess, text);
		return;
	}
	if (take_failed(sess, client_id)) {
		return;
	}
	bc_log(BC_LOG_INFO, &sess->log,
	       "provider refused an event of the gateway (code %.*s), ignoring",
	       BC_SPAN_ARG(field_raw(error, "code")));
}

/* ---- one event ---- */

/* Where every response is simply shown, its audio needs no look-up. */
static void content_event(struct sess *sess, enum oai_event event, struct bc_span text)
{
	bool shown = true;

	if (sess->special_responses == 0) {
		forward(sess, text);
	} else {
		shown = resp_event(sess, text);
	}
	if (shown && event == OAI_RESPONSE_OUTPUT_AUDIO_DELTA) {
		audio_sent(sess, text);
	}
}

static void response_event(struct sess *sess, enum oai_event event, struct bc_span text)
{
	switch ((int)event) {
	case OAI_RESPONSE_CREATED:
		resp_created(sess, text);
		answer_created(sess, text);
		break;
	case OAI_RESPONSE_OUTPUT_ITEM_ADDED:
		resp_item_added(sess, text);
		answer_item(sess, text);
		break;
	case OAI_RESPONSE_OUTPUT_ITEM_DONE:
		resp_item_done(sess, text);
		break;
	case OAI_RESPONSE_DONE:
		resp_done(sess, text);
		break;
	case OAI_RESPONSE_CONTENT_PART_ADDED:
		traits_part(sess, text);
		resp_event(sess, text);
		break;
	case OAI_RESPONSE_FUNCTION_CALL_ARGUMENTS_DELTA:
	case OAI_RESPONSE_FUNCTION_CALL_ARGUMENTS_DONE:
		(void)resp_event(sess, text);
		break;
	default:
		content_event(sess, event, text);
		break;
	}
}

static void other_event(struct sess *sess, enum oai_event event, struct bc_span text)
{
	switch ((int)event) {
	case OAI_ERROR:
		error_event(sess, text);
		break;
	case OAI_SESSION_CREATED:
		configured(sess, text);
		forward(sess, text);
		transcripts_begin(sess, field_raw(text, "session"));
		break;
	case OAI_SESSION_UPDATED:
		configured(sess, text);
		tools_session_updated(sess, text);
		break;
	case OAI_CONVERSATION_ITEM_ADDED:
		item_added(sess, text);
		break;
	case OAI_CONVERSATION_ITEM_CREATED:
		item_added(sess, text);
		item_is_done(sess, field_raw(text, "item"), "id"); /* no more is said of it */
		break;
	case OAI_CONVERSATION_ITEM_DONE:
		item_done(sess, text);
		item_is_done(sess, field_raw(text, "item"), "id");
		break;
	case OAI_CONVERSATION_ITEM_TRUNCATED:
		item_truncated(sess, text);
		break;
	case OAI_CONVERSATION_ITEM_DELETED:
		item_deleted(sess, text);
		item_is_done(sess, text, "item_id");
		break;
	case OAI_CONVERSATION_ITEM_RETRIEVED:
		forward_ordered(sess, text, forward);
		break;
	case OAI_INPUT_AUDIO_BUFFER_SPEECH_STARTED:
		forward(sess, text);
		lane_speech(sess, true);
		ear_speech(sess, true);
		break;
	case OAI_INPUT_AUDIO_BUFFER_SPEECH_STOPPED:
		forward(sess, text);
		speech_stopped(sess);
		break;
	case OAI_INPUT_AUDIO_BUFFER_COMMITTED:
		committed(sess, text);
		break;
	case OAI_INPUT_AUDIO_BUFFER_CLEARED:
		forward(sess, text);
		take_disturb(sess);
		hear_cleared(sess);
		lane_speech(sess, false);
		step_advance(sess);
		break;
	case OAI_RATE_LIMITS_UPDATED:
		resp_rate_limits(sess, text);
		break;
	default:
		forward(sess, text);
		break;
	}
}

void upstream_event(struct sess *sess, const struct oai_envelope *envelope)
{
	struct bc_span text = envelope->text;
	enum oai_event event = envelope->event;

	if (envelope->type.ptr == NULL) {
		sess_event_invalid(sess, SESS_UPSTREAM, "no type");
		forward(sess, text);
		return;
	}
	if (eager_keeps(sess, event, text)) {
		return;
	}
	if (bc_span_has_prefix(envelope->type, "response.")) {
		response_event(sess, event, text);
	} else if (bc_span_has_prefix(envelope->type,
				      "conversation.item.input_audio_transcription.")) {
		transcript_event(sess, event, text);
	} else {
		other_event(sess, event, text);
	}
}
