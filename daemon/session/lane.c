/*
 * One response at a time in the default conversation, although three rivals want them.
 *
 * Invariants (rules R5, R6, R9):
 *   L1  A client's response.create ends in one response.created or one error: it is forwarded, or kept back and forwarded
 *       later, or refused here.
 *   L2  The gateway asks for an answer only when the lane is idle, nobody speaks and the provider is not about to
 *       begin one by itself.
 *   L3  The gateway asks, and sends a request it has kept back, only when no other request is unanswered.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The provider begins its own answer within a round trip of the commit; after this long it will not. */
#define OWED_WAIT      (2 * BC_USEC_PER_SEC)
#define METADATA_PAIRS 16 /* more are refused by the provider */

static const char *const lane_state_names[] = {
#define STATE(id, name) name,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/session/lane_fsm.def"
};

static_assert(BC_ARRAY_LEN(lane_state_names) == LANE_STATE__COUNT, "a state has no name");

static enum lane_state lane_next(enum lane_state from, enum lane_event on)
{
	switch (BC_FSM_KEY(from, on)) {
#define STATE(id, name)
#define EVENT(id, name)
#define EDGE(from, on, to)                          \
	case BC_FSM_KEY(LANE_##from, LANE_EV_##on): \
		return LANE_##to;
#include "daemon/session/lane_fsm.def"
	default:
		return LANE_STATE__COUNT;
	}
}

const char *lane_state_name(enum lane_state state)
{
	BC_BUG_ON(state >= LANE_STATE__COUNT);
	return lane_state_names[state];
}

void lane_move(struct sess *sess, enum lane_event event)
{
	struct agent *agent = sess->agent;
	enum lane_state next = lane_next(agent->lane, event);

	BC_BUG_ON(next == LANE_STATE__COUNT);
	if (bc_log_wants(BC_LOG_DEBUG) && next != agent->lane) {
		bc_log(BC_LOG_DEBUG, &sess->log, "lane %s -> %s", lane_state_names[agent->lane],
		       lane_state_names[next]);
	}
	if (next != agent->lane) {
		wait_lane(sess);
		ledger_note(sess, LEDGER_GATEWAY, "lane", "%s", lane_state_names[next]);
	}
	agent->lane = next;
}

/* ---- the client's requests ---- */

struct create *create_free(struct create *create)
{
	if (create != NULL) {
		free(create->text);
		free(create->event_id);
		json_decref(create->params);
		free(create);
	}
	return NULL;
}

static struct create *create_new(struct sess *sess, struct bc_span text, bool out_of_band)
{
	struct agent *agent = sess->agent;
	struct bc_span event_id = field_raw(text, "event_id");
	struct create *create =
		agent->create_count < SESS_CREATES_MAX ? calloc(1, sizeof(*create)) : NULL;
	json_t *event;

	if (create == NULL) {
		return NULL;
	}
	create->text = bc_span_dup(text);
	create->event_id = event_id.len == 0 ? NULL : field_dup(event_id);
	create->out_of_band = out_of_band;
	event = json_parse(text);
	create->params = json_incref(json_object_get(event, "response"));
	json_decref(event);
	if (create->text == NULL || (event_id.len > 0 && create->event_id == NULL)) {
		return create_free(create);
	}
	agent->create_count++;
	return create;
}

void lane_drop_create(struct agent *agent, struct create_list *list, struct create *create)
{
	TAILQ_REMOVE(list, create, link);
	agent->create_count--;
	create_free(create);
}

void lane_fini(struct agent *agent)
{
	while (!TAILQ_EMPTY(&agent->kept)) {
		lane_drop_create(agent, &agent->kept, TAILQ_FIRST(&agent->kept));
	}
	while (!TAILQ_EMPTY(&agent->sent)) {
		lane_drop_create(agent, &agent->sent, TAILQ_FIRST(&agent->sent));
	}
	late_fini(agent);
	json_decref(agent->owed_params);
	json_decref(agent->followup_params);
}

struct create *lane_oldest_sent(const struct agent *agent, bool out_of_band)
{
	struct create *create;

	TAILQ_FOREACH(create, &agent->sent, link) {
		if (create->out_of_band == out_of_band) {
			return create;
		}
	}
	return NULL;
}

/* Equal, where none and an empty one are the same. */
static bool same_metadata(const json_t *a, const json_t *b)
{
	return json_object_size(a) == 0 ? json_object_size(b) == 0 : json_equal(a, b) != 0;
}

struct create *lane_take_sent(struct sess *sess, struct bc_span metadata, bool out_of_band)
{
	json_t *shown = metadata.len == 0 ? NULL : json_parse(metadata);
	struct create *create;

	TAILQ_FOREACH(create, &sess->agent->sent, link) {
		if (create->out_of_band == out_of_band &&
		    same_metadata(json_object_get(create->params, "metadata"), shown)) {
			break;
		}
	}
	if (create == NULL && (metadata.len == 0 || json_object_size(shown) > 0)) {
		/* A provider that shows none, or other than it was given: the order tells. */
		create = lane_oldest_sent(sess->agent, out_of_band);
	}
	json_decref(shown);
	if (create != NULL) {
		TAILQ_REMOVE(&sess->agent->sent, create, link);
		sess->agent->create_count--;
		late_taken(sess->agent, create);
	}
	return create;
}

bool lane_is_asked(const struct sess *sess)
{
	return sess->agent->followup[0] != '\0' || !TAILQ_EMPTY(&sess->agent->sent);
}

uint64_t lane_oldest_asked(const struct sess *sess)
{
	const struct agent *agent = sess->agent;
	const struct create *sent = TAILQ_FIRST(&agent->sent);
	const struct filler *filler = &agent->filler;
	uint64_t oldest = agent->followup[0] == '\0' ? UINT64_MAX : agent->followup_number;

	if (sent != NULL && sent->number < oldest) {
		oldest = sent->number;
	}
	/* Of the gateway's own beside the conversation only these: passes compare themselves. */
	if (filler->late != 0 && filler->late < oldest) {
		oldest = filler->late;
	}
	return filler->event_id[0] != '\0' && filler->resp == NULL && filler->number < oldest
		       ? filler->number
		       : oldest;
}

static void send_create(struct sess *sess, struct create *create)
{
	create->number = ++sess->agent->requests;
	TAILQ_INSERT_TAIL(&sess->agent->sent, create, link);
	create->sent = sess_now(sess);
	if (!create->out_of_band) {
		answer_asked(sess);
	}
	deadline_set(sess, create->sent + sess->cfg->session.answer_timeout);
	(void)sess_to_upstream(
		sess, bc_span_str(create->text)); /* pressure shows with the next message */
}

/*
 * The tools of a client's request.  In the default conversation the gateway's are added to a list it carries.
 * Out of band a call of ours could not be answered, so the client's own list is named where it would be inherited.
 * *ret is the changed text, heap; NULL: it goes as it is.  Errors as tools_union().
 */
static enum bc_err with_tools(struct sess *sess, struct bc_span text, bool out_of_band, char **ret)
{
	struct bc_span response = field_raw(text, "response");
	struct bc_span list = field_raw(response, "tools");
	const char *own = sess->agent->client_tools;
	enum bc_err err = BC_OK;
	struct rewrite rewrite;
	struct bc_buf out;
	char *all = NULL;

	*ret = NULL;
	rewrite_begin(&rewrite, text);
	if (out_of_band && list.len == 0) {
		rewrite_set(&rewrite, response, "tools",
			    own == NULL ? BC_SPAN_LIT("[]") : bc_span_str(own));
	} else if (!out_of_band && list.len > 0 && list.ptr[0] == '[') {
		err = tools_union(sess, list, &all);
		if (err != BC_OK) {
			return err;
		}
		rewrite_replace(&rewrite, list, bc_span_str(all));
		free(all);
	} else {
		return BC_OK;
	}
	if (rewrite_end(&rewrite, &out)) {
		*ret = bc_span_dup(bc_buf_span(&out));
	}
	bc_buf_release(&out);
	return *ret == NULL ? BC_E_NOMEM : BC_OK;
}

void lane_keep(struct sess *sess, struct create *create, bool first)
{
	create->sent = 0;
	create->kept = sess_now(sess);
	deadline_set(sess, create->kept + sess->cfg->session.answer_timeout);
	if (first) {
		TAILQ_INSERT_HEAD(&sess->agent->kept, create, link);
	} else {
		TAILQ_INSERT_TAIL(&sess->agent->kept, create, link);
	}
}

/* The client believes the session idle, and it is not: its request waits. */
static bool must_wait(const struct sess *sess)
{
	const struct agent *agent = sess->agent;

	if (agent->eager.open || eager_is_split(sess) ||
	    (agent->current != NULL && agent->current->view != RESP_SHOWN)) {
		return true;
	}
	return agent->followup[0] != '\0' || step_is_open(sess) || !TAILQ_EMPTY(&agent->kept);
}

void lane_client_create(struct sess *sess, struct bc_span text)
{
	bool out_of_band = field_is(field_raw(text, "response"), "conversation", "none");
	struct bc_span event_id = field_raw(text, "event_id");
	struct create *create = NULL;
	char *changed;
	enum bc_err err = with_tools(sess, text, out_of_band, &changed);

	if (err == BC_E_EXISTS) {
		client_refuse(sess, event_id, "tool_name_taken", TOOL_NAME_TAKEN);
		return;
	}
	if (err == BC_OK) {
		create = create_new(sess, changed == NULL ? text : bc_span_str(changed),
				    out_of_band);
	}
	free(changed);
	if (create == NULL) {
		client_refuse(sess, event_id, "gateway_limit",
			      "Too many response requests are unanswered.");
	} else if (!out_of_band && take_waits(sess)) {
		sess->agent->take.waits = true;
		sess->world->timer(sess->world_arg, SESS_TIMER_CONFIRM,
				   sess->cfg->speculation.confirm_wait);
		lane_keep(sess, create, false);
		take_advance(sess);
	} else if (!out_of_band && must_wait(sess)) {
		lane_keep(sess, create, false);
		lane_pump(sess);
	} else {
		send_create(sess, create);
	}
}

/* ---- cancels of the gateway ---- */

bool lane_send_cancel(struct sess *sess, const char *response)
{
	struct resp *resp = resp_find(sess, response);
	struct bc_buf text;
	char id[BC_ID_SIZE];
	bool sent;

	bc_id_new(id, 'x');
	bc_buf_init(&text, 512);
	sent = oai_cancel_put(&text, id, response) == BC_OK;
	if (sent) {
		(void)sess_to_upstream(
			sess, bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
	if (resp != NULL && sent) {
		resp->cancel_sent = sess_now(sess);
	}
	return sent;
}

void lane_cancel(struct sess *sess, struct resp *resp)
{
	if (lane_send_cancel(sess, resp->id)) {
		answer_forget(sess->agent);
		lane_move(sess, LANE_EV_CANCEL);
	}
}

/* ---- the client's cancel ---- */

#define NOT_ACTIVE "Cancellation failed: no active response found"

/* End what the client does not know of: it is told that nothing was active. */
static void cancel_unseen(struct sess *sess, struct resp *current, struct bc_span event_id)
{
	lane_cancel(sess, current);
	resp_hide(sess, current);
	current->unwanted = true;
	client_refuse(sess, event_id, "response_cancel_not_active", NOT_ACTIVE);
}

/* Nothing is active at the provider: the answer the client does not want is still to come, or there is none. */
static void cancel_coming(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	bool coming = agent->followup[0] != '\0';

	filler_stop(sess, "client_cancelled");
	step_abandon_all(sess);
	agent->followup_unwanted = coming;
	if (agent->merge != NULL) {
		resp_merge_close(sess, "cancelled", "client_cancelled", "");
	} else if (coming || agent->eager.open) {
		/* In an eager turn the client cannot mean what it has not been told of. */
		client_refuse(sess, field_raw(text, "event_id"), "response_cancel_not_active",
			      NOT_ACTIVE);
	} else {
		(void)sess_to_upstream(sess, text); /* pressure shows with the next message */
	}
}

static void cancel_merged(struct sess *sess, struct bc_span text, struct bc_span named)
{
	struct rewrite rewrite;
	struct bc_buf out;

	rewrite_begin(&rewrite, text);
	rewrite_replace_string(&rewrite, named, sess->agent->current->id);
	(void)sess_to_upstream(sess, rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text);
	bc_buf_release(&out);
}

/* A response of the default conversation is active. */
static void cancel_current(struct sess *sess, struct bc_span text, struct bc_span named)
{
	struct resp *current = sess->agent->current;
	bool unnamed = !json_raw_is_string(named);

	if (current->view == RESP_WITHHELD && unnamed) {
		cancel_unseen(sess, current, field_raw(text, "event_id"));
	} else if (current->view == RESP_HIDDEN && unnamed) {
		/* It is being cancelled already; the client must not hear of it. */
		client_refuse(sess, field_raw(text, "event_id"), "response_cancel_not_active",
			      NOT_ACTIVE);
	} else if (current->view == RESP_MERGED && json_string_is(named, current->shown_id)) {
		cancel_merged(sess, text, named);
	} else {
		(void)sess_to_upstream(sess, text); /* pressure shows with the next message */
	}
}

void lane_client_cancel(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	struct bc_span named = field_raw(text, "response_id");
	bool unnamed = !json_raw_is_string(named);

	take_unwanted(sess);
	if (agent->current != NULL) {
		cancel_current(sess, text, named);
	} else if (filler_client_cancel(sess, named)) {
		return;
	} else if (unnamed || (agent->merge != NULL && json_string_is(named, agent->merge->id))) {
		cancel_coming(sess, text);
	} else {
		(void)sess_to_upstream(sess, text); /* pressure shows with the next message */
	}
}

/* ---- the gateway's own request ---- */

/* What the follow-up of a client's response inherits: everything but what would replace its context. */
static json_t *inherited(const struct agent *agent)
{
	json_t *params = agent->owed_params == NULL ? json_object() : json_copy(agent->owed_params);
	json_t *metadata;

	if (params == NULL) {
		return NULL;
	}
	json_object_del(params, "input");
	json_object_del(params, "conversation");
	metadata = json_object_get(params, "metadata");
	/* Where the client has used every pair there is, ours must be known all the same. */
	metadata = json_is_object(metadata) && json_object_size(metadata) < METADATA_PAIRS
			   ? json_copy(metadata)
			   : json_object();
	json_object_set_new(metadata, "bc", json_string("f"));
	json_object_set_new(params, "metadata", metadata);
	if (agent->speaks && agent->traits.value[TRAIT_AUDIO_AFTER_TEXT] == 0 &&
	    json_object_get(params, "output_modalities") == NULL) {
		json_object_set_new(params, "output_modalities", json_pack("[s]", "audio"));
	}
	if (agent->tool_choice_forced || json_object_get(params, "tool_choice") != NULL) {
		/* "required" would make it call again, for ever. */
		json_object_set_new(params, "tool_choice", json_string("auto"));
	}
	return params;
}

static void send_followup(struct sess *sess)
{
	struct agent *agent = sess->agent;
	char id[BC_ID_SIZE];
	json_t *event;
	char *text;

	bc_id_new(id, 'r');
	event = json_pack("{s:s, s:s, s:o}", "type", "response.create", "event_id", id, "response",
			  inherited(agent));
	text = event == NULL ? NULL : json_dumps(event, JSON_COMPACT);
	json_decref(event);
	if (text == NULL) {
		sess_end(sess, BC_E_NOMEM, "out_of_memory", "The gateway is out of memory.");
		return;
	}
	memcpy(agent->followup, id, sizeof(id));
	agent->followup_number = ++agent->requests;
	agent->followup_sent = sess_now(sess);
	agent->followup_context = agent->results.put;
	deadline_set(sess, agent->followup_sent + sess->cfg->session.answer_timeout);
	agent->followup_overtaken = false;
	agent->followup_unwanted = false;
	json_decref(agent->followup_params);
	agent->followup_params = json_incref(agent->owed_params);
	lane_owe_nothing(agent);
	lane_move(sess, LANE_EV_SEND);
	(void)sess_to_upstream(sess, bc_span_str(text)); /* pressure shows with the next message */
	free(text);
}

void lane_owe(struct sess *sess, json_t *params, bool at_once)
{
	struct agent *agent = sess->agent;

	agent->owed = true;
	agent->owed_at_once = agent->owed_at_once || at_once;
	if (params != NULL) {
		json_incref(params); /* it may be the one that is let go */
		json_decref(agent->owed_params);
		agent->owed_params = params;
	}
}

void lane_owe_nothing(struct agent *agent)
{
	agent->owed = false;
	agent->owed_at_once = false;
	json_decref(agent->owed_params);
	agent->owed_params = NULL;
}

/* A result that cannot wait: what is being said is cut off, and its end brings us back here. */
static void cut_off(struct sess *sess)
{
	struct agent *agent = sess->agent;

	if (agent->lane != LANE_ACTIVE || agent->current == NULL || agent->speech ||
	    agent->answer_expected) {
		return;
	}
	lane_cancel(sess, agent->current);
}

/* Nothing is active or asked for in the default conversation, and no tool is waited for, unless a result cannot wait. */
static bool is_free(const struct sess *sess)
{
	const struct agent *agent = sess->agent;

	if (agent->take.state != TAKE_IDLE || (!TAILQ_EMPTY(&agent->kept) && agent->take.waits)) {
		return false; /* what a verdict names goes first */
	}
	if (agent->eager.open || agent->eager.flushing || eager_is_split(sess)) {
		return false; /* what the provider has begun is not known yet, or what the caller says */
	}
	return agent->lane == LANE_IDLE && agent->current == NULL && agent->followup[0] == '\0' &&
	       lane_oldest_sent(agent, false) == NULL &&
	       (agent->owed_at_once || !step_is_open(sess));
}

void lane_pump(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct create *kept = TAILQ_FIRST(&agent->kept);

	if (sess->state == SESS_OPEN && agent->owed_at_once) {
		cut_off(sess);
	}
	if (sess->state != SESS_OPEN || !is_free(sess)) {
		return;
	}
	if (kept == NULL && !agent->owed) {
		if (TAILQ_EMPTY(&agent->steps)) {
			resp_merge_release(sess); /* its results are not spoken about */
		}
	} else if (filler_holds(sess)) {
		return; /* its end brings us back here */
	} else if (kept != NULL) {
		TAILQ_REMOVE(&agent->kept, kept, link);
		lane_owe_nothing(agent);
		send_create(sess, kept);
	} else if (agent->speech || agent->answer_expected) {
		sess->world->timer(sess->world_arg, SESS_TIMER_OWED, OWED_WAIT);
	} else {
		send_followup(sess);
	}
}

void lane_speech(struct sess *sess, bool started)
{
	struct agent *agent = sess->agent;

	agent->speech = started;
	if (!started) {
		eager_speech_over(sess);
		return;
	}
	agent->answer_expected = false;
	answer_forget(agent);
	if (agent->interrupt_response) {
		take_unwanted(sess);
	} else {
		take_disturb(sess);
	}
	filler_stop(sess, "turn_detected");
	audio_stopped(sess);
	step_barge_in(sess);
	if (!agent->interrupt_response || sess->state != SESS_OPEN) {
		return;
	}
	agent->followup_overtaken = agent->followup[0] != '\0';
	resp_merge_close(sess, "cancelled", "turn_detected", "");
}
