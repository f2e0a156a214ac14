/*
 * One response at a time in the default conversation, although three rivals want them.
 *
 * Invariants (rules R5, R6, R9):
 *   L1  A client's response.create ends in one response.created or one error: it is forwarded, or kept back and forwarded
 *       later, or refused here.
 *   L2  The gateway asks for an answer only when the lane is idle, nobody speaks and the provider is not about to
 *       begin one by itself.
 *   L3  At most one response.create of the gateway is unanswered.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The provider begins its own answer within a round trip of the commit; after this long it will not. */
#define OWED_WAIT (2 * BC_USEC_PER_SEC)

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

void lane_move(struct sess *sess, enum lane_event event)
{
	struct agent *agent = sess->agent;
	enum lane_state next = lane_next(agent->lane, event);

	BC_BUG_ON(next == LANE_STATE__COUNT);
	if (bc_log_wants(BC_LOG_DEBUG) && next != agent->lane) {
		bc_log(BC_LOG_DEBUG, &sess->log, "lane %s -> %s", lane_state_names[agent->lane],
		       lane_state_names[next]);
	}
	agent->lane = next;
}

/* ---- the client's requests ---- */

struct create *create_free(struct create *create)
{
	if (create != NULL) {
		free(create->text);
		free(create->event_id);
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

	if (create == NULL) {
		return NULL;
	}
	create->text = bc_span_dup(text);
	create->event_id = event_id.len == 0 ? NULL : field_dup(event_id);
	create->out_of_band = out_of_band;
	if (create->text == NULL || (event_id.len > 0 && create->event_id == NULL)) {
		return create_free(create);
	}
	agent->create_count++;
	return create;
}

static void create_drop(struct agent *agent, struct create_list *list, struct create *create)
{
	TAILQ_REMOVE(list, create, link);
	agent->create_count--;
	create_free(create);
}

void lane_fini(struct agent *agent)
{
	while (!TAILQ_EMPTY(&agent->kept)) {
		create_drop(agent, &agent->kept, TAILQ_FIRST(&agent->kept));
	}
	while (!TAILQ_EMPTY(&agent->sent)) {
		create_drop(agent, &agent->sent, TAILQ_FIRST(&agent->sent));
	}
	json_decref(agent->owed_params);
}

struct create *lane_take_sent(struct sess *sess, bool out_of_band)
{
	struct create *create;

	TAILQ_FOREACH(create, &sess->agent->sent, link) {
		if (create->out_of_band == out_of_band) {
			TAILQ_REMOVE(&sess->agent->sent, create, link);
			sess->agent->create_count--;
			return create;
		}
	}
	return NULL;
}

static void send_create(struct sess *sess, struct create *create)
{
	TAILQ_INSERT_TAIL(&sess->agent->sent, create, link);
	(void)sess_to_upstream(
		sess, bc_span_str(create->text)); /* pressure shows with the next message */
}

static void refuse_create(struct sess *sess, struct bc_span event_id, const char *code,
			  const char *message)
{
	struct oai_error error = {.type = "invalid_request_error",
				  .code = code,
				  .message = bc_span_str(message),
				  .client_id = event_id};
	struct bc_buf text;

	bc_buf_init(&text, 8192);
	if (oai_error_put(&text, &error) == BC_OK) {
		(void)sess_to_client(sess,
				     bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
}

/*
 * The tools of a client's request.  In the default conversation the gateway's are added to a list it carries.
 * Out of band a call of ours could not be answered, so the client's own list is named where it would be inherited.
 */
static bool with_tools(struct sess *sess, struct bc_span text, bool out_of_band, struct bc_buf *out)
{
	struct bc_span response = field_raw(text, "response");
	struct bc_span list = field_raw(response, "tools");
	const char *own = sess->agent->client_tools;
	struct rewrite rewrite;
	char *all = NULL;

	rewrite_begin(&rewrite, text);
	if (out_of_band && list.len == 0) {
		rewrite_set(&rewrite, response, "tools",
			    own == NULL ? BC_SPAN_LIT("[]") : bc_span_str(own));
	} else if (!out_of_band && list.len > 0 && list.ptr[0] == '[') {
		all = tools_union(sess, list);
		rewrite_replace(&rewrite, list, all == NULL ? list : bc_span_str(all));
		free(all);
	} else {
		return false;
	}
	if (rewrite_end(&rewrite, out)) {
		return true;
	}
	bc_buf_release(out);
	return false;
}

/* The client believes the session idle, and it is not: its request waits. */
static bool must_wait(const struct sess *sess)
{
	const struct agent *agent = sess->agent;

	if (agent->current != NULL && agent->current->view != RESP_SHOWN) {
		return true;
	}
	return agent->followup[0] != '\0' || step_is_open(sess) || !TAILQ_EMPTY(&agent->kept);
}

void lane_client_create(struct sess *sess, struct bc_span text)
{
	bool out_of_band = field_is(field_raw(text, "response"), "conversation", "none");
	struct create *create;
	struct bc_buf out;

	if (with_tools(sess, text, out_of_band, &out)) {
		create = create_new(sess, bc_buf_span(&out), out_of_band);
		bc_buf_release(&out);
	} else {
		create = create_new(sess, text, out_of_band);
	}
	if (create == NULL) {
		refuse_create(sess, field_raw(text, "event_id"), "gateway_limit",
			      "Too many response requests are unanswered.");
		return;
	}
	if (!out_of_band && must_wait(sess)) {
		TAILQ_INSERT_TAIL(&sess->agent->kept, create, link);
		lane_pump(sess);
		return;
	}
	send_create(sess, create);
}

/* End what the client does not know of: it is told that nothing was active. */
static void cancel_unseen(struct sess *sess, struct resp *current, struct bc_span event_id)
{
	struct bc_buf cancel;
	char id[BC_ID_SIZE];

	bc_id_new(id, 'x');
	bc_buf_init(&cancel, 512);
	if (oai_cancel_put(&cancel, id, current->id) == BC_OK) {
		lane_move(sess, LANE_EV_CANCEL);
		(void)sess_to_upstream(
			sess, bc_buf_span(&cancel)); /* pressure shows with the next message */
	}
	bc_buf_release(&cancel);
	resp_hide(sess, current);
	refuse_create(sess, event_id, "response_cancel_not_active",
		      "Cancellation failed: no active response found");
}

void lane_client_cancel(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	struct resp *current = agent->current;
	struct bc_span named = field_raw(text, "response_id");
	struct rewrite rewrite;
	struct bc_buf out;

	if (current != NULL && current->view == RESP_WITHHELD && named.len == 0) {
		cancel_unseen(sess, current, field_raw(text, "event_id"));
		return;
	}
	if (current != NULL && current->view == RESP_MERGED && named.len > 0 &&
	    json_string_is(named, current->shown_id)) {
		rewrite_begin(&rewrite, text);
		rewrite_replace_string(&rewrite, named, current->id);
		(void)sess_to_upstream(sess,
				       rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text);
		bc_buf_release(&out);
		return;
	}
	if (current == NULL && agent->merge != NULL) {
		step_abandon_all(sess);
		resp_merge_close(sess, "client_cancelled");
		return;
	}
	if (current == NULL) {
		/* The answer it does not want may only be owed so far. */
		step_abandon_all(sess);
	}
	(void)sess_to_upstream(sess, text); /* pressure shows with the next message */
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
	metadata = json_is_object(metadata) ? json_copy(metadata) : json_object();
	json_object_set_new(metadata, "bc", json_string("f"));
	json_object_set_new(params, "metadata", metadata);
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
	event = json_pack("{s:s, s:s, s:o*}", "type", "response.create", "event_id", id, "response",
			  inherited(agent));
	text = event == NULL ? NULL : json_dumps(event, JSON_COMPACT);
	json_decref(event);
	if (text == NULL) {
		sess_end(sess, BC_E_NOMEM, "out_of_memory", "The gateway is out of memory.");
		return;
	}
	memcpy(agent->followup, id, sizeof(id));
	agent->followup_overtaken = false;
	agent->owed = false;
	json_decref(agent->owed_params);
	agent->owed_params = NULL;
	lane_move(sess, LANE_EV_SEND);
	(void)sess_to_upstream(sess, bc_span_str(text)); /* pressure shows with the next message */
	free(text);
}

void lane_owe(struct sess *sess, json_t *params)
{
	struct agent *agent = sess->agent;

	agent->owed = true;
	if (params != NULL) {
		json_decref(agent->owed_params);
		agent->owed_params = json_incref(params);
	}
}

void lane_pump(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct create *kept = TAILQ_FIRST(&agent->kept);

	if (sess->state != SESS_OPEN || agent->lane != LANE_IDLE || agent->current != NULL ||
	    step_is_open(sess)) {
		return;
	}
	if (kept != NULL) {
		TAILQ_REMOVE(&agent->kept, kept, link);
		agent->owed = false;
		send_create(sess, kept);
		return;
	}
	if (!agent->owed) {
		return;
	}
	if (agent->speech || agent->answer_expected) {
		sess->world->timer(sess->world_arg, SESS_TIMER_OWED, OWED_WAIT);
		return;
	}
	send_followup(sess);
}

bool lane_create_failed(struct sess *sess, struct bc_span client_id, struct bc_span error)
{
	struct agent *agent = sess->agent;
	bool collision = field_is(error, "code", "conversation_already_has_active_response");
	bool nameless = !json_raw_is_string(client_id);
	struct create *create;

	if (agent->followup[0] != '\0' && (json_string_is(client_id, agent->followup) ||
					   (nameless && collision && TAILQ_EMPTY(&agent->sent)))) {
		agent->followup[0] = '\0';
		lane_move(sess, LANE_EV_REFUSED);
		bc_metric_inc(BC_M_CREATE_COLLISIONS);
		/* Another response runs: when it ends the answer is asked for again, unless that one gave it. */
		agent->owed = true;
		lane_pump(sess);
		return true;
	}
	TAILQ_FOREACH(create, &agent->sent, link) {
		bool mine = create->event_id != NULL && bc_span_is(client_id, create->event_id);

		if (mine || (nameless && collision)) {
			bc_metric_inc(BC_M_CREATE_COLLISIONS);
			create_drop(agent, &agent->sent, create);
			return false;
		}
	}
	return false;
}

void lane_speech(struct sess *sess, bool started)
{
	struct agent *agent = sess->agent;

	agent->speech = started;
	if (!started) {
		return;
	}
	agent->answer_expected = false;
	if (agent->followup[0] != '\0') {
		agent->followup_overtaken = true;
	}
	if (agent->interrupt_response) {
		resp_merge_close(sess, "turn_detected");
	}
}
