/*
 * What the client sees of the provider's responses.
 *
 *   origin           shown
 *   the client's     at once; if it ends with gateway calls only its end is kept back and the follow-up is merged into it
 *   the provider's   withheld until its first visible item; never if it ends with gateway calls only
 *   follow-up        as the provider's, or merged into the client's response it continues
 *   pass             never
 *
 * Invariants (rules R2 to R4):
 *   P1  For every response.created the client has seen it sees exactly one response.done.
 *   P2  A hidden item is named to the client by no event.
 *   P3  special_responses counts the responses whose view is not RESP_SHOWN.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

struct resp *resp_find(const struct sess *sess, const char *id)
{
	struct resp *resp;

	TAILQ_FOREACH(resp, &sess->responses, link) {
		if (strcmp(resp->id, id) == 0) {
			return resp;
		}
	}
	return NULL;
}

static void view_set(struct sess *sess, struct resp *resp, enum resp_view view)
{
	if (resp->view != RESP_SHOWN) {
		sess->special_responses--;
	}
	resp->view = view;
	if (view != RESP_SHOWN) {
		sess->special_responses++;
	}
}

struct resp *resp_remove(struct sess *sess, struct resp *resp)
{
	struct agent *agent = sess->agent;

	view_set(sess, resp, RESP_SHOWN);
	if (agent != NULL) {
		BC_BUG_ON(agent->current == resp);
		agent->merge = agent->merge == resp ? NULL : agent->merge;
		agent->rate_limits_with =
			agent->rate_limits_with == resp ? NULL : agent->rate_limits_with;
	}
	TAILQ_REMOVE(&sess->responses, resp, link);
	sess->response_count--;
	bc_buf_release(&resp->held);
	json_decref(resp->params);
	free(resp);
	return NULL;
}

void resp_fini(struct sess *sess)
{
	while (!TAILQ_EMPTY(&sess->responses)) {
		resp_remove(sess, TAILQ_FIRST(&sess->responses));
	}
}

static struct resp *resp_new(struct sess *sess, const char *id)
{
	struct resp *resp;

	if (sess->response_count >= SESS_RESPONSES_MAX) {
		return NULL;
	}
	resp = calloc(1, sizeof(*resp));
	if (resp == NULL) {
		return NULL;
	}
	memcpy(resp->id, id, strlen(id) + 1);
	bc_buf_init(&resp->held, SESS_HELD_MAX);
	resp->view = RESP_SHOWN;
	TAILQ_INSERT_TAIL(&sess->responses, resp, link);
	sess->response_count++;
	return resp;
}

/* ---- without gateway tools ---- */

void upstream_event_note(struct sess *sess, struct bc_span text)
{
	struct bc_span type;
	enum oai_event event;
	char id[SESS_ID_MAX];
	struct resp *resp;

	if (env_type(text, &type) != BC_OK) {
		return;
	}
	event = oai_event_find(type, OAI_SERVER);
	if ((event != OAI_RESPONSE_CREATED && event != OAI_RESPONSE_DONE) ||
	    !field_id(field_raw(text, "response"), "id", id)) {
		return;
	}
	resp = resp_find(sess, id);
	if (event == OAI_RESPONSE_CREATED && resp == NULL) {
		(void)resp_new(
			sess,
			id); /* too many at once: that one is not ended if the provider vanishes */
	} else if (event == OAI_RESPONSE_DONE && resp != NULL) {
		resp_remove(sess, resp);
	}
}

void resp_fail_open(struct sess *sess, const char *code, const char *message)
{
	struct resp *resp;

	TAILQ_FOREACH(resp, &sess->responses, link) {
		struct bc_buf text;

		if (resp->view != RESP_SHOWN) {
			continue;
		}
		bc_buf_init(&text, 8192);
		if (oai_done_put(&text, resp->id, "failed", code, bc_span_str(message)) == BC_OK) {
			(void)sess_to_client(
				sess,
				bc_buf_span(&text)); /* the session ends: no pressure to heed */
		}
		bc_buf_release(&text);
	}
}

/* ---- begin ---- */

static enum resp_origin origin_of(struct sess *sess, struct bc_span response,
				  struct create **ret_create)
{
	struct bc_span ours = field_raw(field_raw(response, "metadata"), "bc");
	bool out_of_band = bc_span_is(field_raw(response, "conversation_id"), "null");

	*ret_create = NULL;
	if (json_string_is(ours, "p")) {
		return RESP_PASS;
	}
	if (json_string_is(ours, "f")) {
		return RESP_FOLLOWUP;
	}
	*ret_create = lane_take_sent(sess, out_of_band);
	if (*ret_create == NULL) {
		return RESP_VAD;
	}
	return out_of_band ? RESP_CLIENT_OOB : RESP_CLIENT;
}

static void hold(struct resp *resp, struct bc_span text)
{
	if (bc_buf_put_span(&resp->held, text) != BC_OK ||
	    bc_buf_put(&resp->held, "", 1) != BC_OK) {
		/* Events beyond the bound belong to a response nobody has seen: they are lost with no harm but order. */
		bc_buf_clear(&resp->held);
	}
}

/* response.created of a follow-up, without the gateway's mark, as the client may see it. */
static void hold_created(struct resp *resp, struct bc_span text)
{
	struct bc_span metadata = field_raw(field_raw(text, "response"), "metadata");
	struct rewrite rewrite;
	struct bc_buf stripped;
	struct bc_buf out;

	if (resp->origin != RESP_FOLLOWUP) {
		hold(resp, text);
		return;
	}
	metadata_strip(metadata, &stripped);
	rewrite_begin(&rewrite, text);
	rewrite_replace(&rewrite, metadata, bc_buf_span(&stripped));
	hold(resp, rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text);
	bc_buf_release(&out);
	bc_buf_release(&stripped);
}

static void begin_followup(struct sess *sess, struct resp *resp, struct bc_span text)
{
	struct agent *agent = sess->agent;

	if (agent->followup_overtaken) {
		/* Speech began before the provider made it: it will not be interrupted, so we end it (R6). */
		struct bc_buf cancel;
		char id[BC_ID_SIZE];

		view_set(sess, resp, RESP_HIDDEN);
		bc_id_new(id, 'x');
		bc_buf_init(&cancel, 512);
		if (oai_cancel_put(&cancel, id, resp->id) == BC_OK) {
			lane_move(sess, LANE_EV_CANCEL);
			(void)sess_to_upstream(sess,
					       bc_buf_span(&cancel)); /* pressure shows later */
		}
		bc_buf_release(&cancel);
		lane_owe(sess, NULL);
	} else if (agent->merge != NULL) {
		view_set(sess, resp, RESP_MERGED);
		memcpy(resp->shown_id, agent->merge->id, sizeof(resp->shown_id));
		bc_metric_inc(BC_M_RESPONSES_MERGED);
	} else {
		view_set(sess, resp, RESP_WITHHELD);
		hold_created(resp, text);
	}
	agent->followup[0] = '\0';
	agent->followup_overtaken = false;
}

static void begin_by_origin(struct sess *sess, struct resp *resp, struct create *create,
			    struct bc_span text)
{
	json_t *event;

	switch (resp->origin) {
	case RESP_PASS:
		view_set(sess, resp, RESP_HIDDEN);
		pass_created(sess, resp);
		break;
	case RESP_FOLLOWUP:
		begin_followup(sess, resp, text);
		break;
	case RESP_VAD:
		view_set(sess, resp, RESP_WITHHELD);
		hold_created(resp, text);
		break;
	case RESP_CLIENT:
		event = json_parse(bc_span_str(create->text));
		resp->params = json_incref(json_object_get(event, "response"));
		json_decref(event);
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		break;
	case RESP_CLIENT_OOB:
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		break;
	}
}

void resp_created(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	struct bc_span response = field_raw(text, "response");
	struct create *create;
	char id[SESS_ID_MAX];
	struct resp *resp;

	if (!field_id(response, "id", id) || resp_find(sess, id) != NULL ||
	    (resp = resp_new(sess, id)) == NULL) {
		sess_event_invalid(sess, SESS_UPSTREAM, "response.created");
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		return;
	}
	resp->origin = origin_of(sess, response, &create);
	resp->default_conversation = resp->origin != RESP_PASS && resp->origin != RESP_CLIENT_OOB;
	if (resp->default_conversation) {
		lane_move(sess, LANE_EV_CREATED);
		agent->current = resp;
		agent->answer_expected = false;
		/* What the provider had confirmed by now is in the context of this response. */
		agent->owed = agent->owed && agent->unacked > 0;
	}
	begin_by_origin(sess, resp, create, text);
	create_free(create);
	agent->hide_rate_limits = resp->view == RESP_HIDDEN || resp->view == RESP_MERGED;
	agent->rate_limits_with = resp->view == RESP_WITHHELD ? resp : NULL;
}

void resp_rate_limits(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;

	if (agent->rate_limits_with != NULL) {
		hold(agent->rate_limits_with, text);
	} else if (!agent->hide_rate_limits) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
	}
	agent->hide_rate_limits = false;
	agent->rate_limits_with = NULL;
}

void resp_reveal(struct sess *sess, struct resp *resp)
{
	struct bc_span held;

	if (resp->view != RESP_WITHHELD) {
		return;
	}
	view_set(sess, resp, RESP_SHOWN);
	if (sess->agent->rate_limits_with == resp) {
		sess->agent->rate_limits_with = NULL;
	}
	held = bc_buf_span(&resp->held);
	while (held.len > 0) {
		size_t len = strnlen(held.ptr, held.len);

		(void)sess_to_client(
			sess, bc_span(held.ptr, len)); /* pressure shows with the next message */
		held = bc_span(held.ptr + len + 1, held.len - len - 1);
	}
	bc_buf_release(&resp->held);
}

void resp_hide(struct sess *sess, struct resp *resp)
{
	BC_BUG_ON(resp->view != RESP_WITHHELD);
	view_set(sess, resp, RESP_HIDDEN);
	bc_buf_release(&resp->held);
	sess->agent->rate_limits_with = NULL;
}

/* ---- in between ---- */

/* Show an event of this response, under the id the client knows. */
static void show(struct sess *sess, struct resp *resp, struct bc_span text)
{
	struct rewrite rewrite;
	struct bc_buf out;

	switch (resp->view) {
	case RESP_HIDDEN:
		return;
	case RESP_WITHHELD:
		resp_reveal(sess, resp);
		break;
	case RESP_SHOWN:
		break;
	case RESP_MERGED:
		rewrite_begin(&rewrite, text);
		rewrite_replace_string(&rewrite, field_raw(text, "response_id"), resp->shown_id);
		(void)sess_to_client(sess, rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text);
		bc_buf_release(&out);
		return;
	}
	(void)sess_to_client(sess, text); /* pressure shows with the next message */
}

static struct resp *resp_of(const struct sess *sess, struct bc_span text)
{
	char id[SESS_ID_MAX];

	return field_id(text, "response_id", id) ? resp_find(sess, id) : NULL;
}

static bool is_hidden_item(const struct sess *sess, struct bc_span object, const char *key)
{
	char id[SESS_ID_MAX];
	const struct item *item =
		field_id(object, key, id) ? items_find(&sess->agent->items, id) : NULL;

	return item != NULL && item->hidden;
}

void resp_event(struct sess *sess, struct bc_span text)
{
	struct resp *resp = resp_of(sess, text);

	if (resp == NULL) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
	} else if (!is_hidden_item(sess, text, "item_id")) {
		show(sess, resp, text);
	}
}

/* A function call of a tool of ours, in the conversation we answer for. */
static const struct cfg_tool *gateway_call(const struct sess *sess, const struct resp *resp,
					   struct bc_span item)
{
	const struct cfg_tool *tool;
	char name[SESS_ID_MAX];

	if (!resp->default_conversation || !field_is(item, "type", "function_call") ||
	    !field_id(item, "name", name) || !tools_is_gateway(sess, name, &tool)) {
		return NULL;
	}
	return tool;
}

static void hide_item(struct sess *sess, struct bc_span raw)
{
	char id[SESS_ID_MAX];
	struct item *item = field_id(raw, "id", id) ? items_get(&sess->agent->items, id) : NULL;

	if (item != NULL) {
		item->hidden = true;
	}
}

void resp_item_added(struct sess *sess, struct bc_span text)
{
	struct resp *resp = resp_of(sess, text);
	struct bc_span item = field_raw(text, "item");

	if (resp == NULL) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
	} else if (gateway_call(sess, resp, item) != NULL) {
		hide_item(sess, item);
		resp->gateway_items++;
	} else if (resp->view == RESP_HIDDEN) {
		hide_item(sess, item);
	} else {
		resp->visible_items++;
		show(sess, resp, text);
	}
}

void resp_item_done(struct sess *sess, struct bc_span text)
{
	struct resp *resp = resp_of(sess, text);
	struct bc_span item = field_raw(text, "item");
	bool complete = field_is(item, "status", "completed");
	const struct cfg_tool *tool;

	if (resp == NULL) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		return;
	}
	if (resp->origin == RESP_PASS) {
		if (complete) {
			pass_item(sess, item);
		}
		return;
	}
	tool = gateway_call(sess, resp, item);
	if (tool != NULL && is_hidden_item(sess, item, "id")) {
		/* Arguments of a call that was cut off also end: only a complete one is meant. */
		if (complete) {
			step_call(sess, resp, tool, item);
		}
		return;
	}
	show(sess, resp, text);
	if (complete && resp->default_conversation && resp->view != RESP_HIDDEN &&
	    field_is(item, "type", "function_call")) {
		step_client_call(sess, resp, item);
	}
}

/* ---- end ---- */

static void end_merged(struct sess *sess, struct resp *resp, struct bc_span text)
{
	struct resp *base = sess->agent->merge;

	done_show(sess, resp, text);
	if (base != NULL) {
		resp_remove(sess, base);
	}
}

/* The end of a response that named nothing but gateway calls: its answer will come in another one. */
static bool end_unseen(struct sess *sess, struct resp *resp, bool completed)
{
	if (resp->visible_items > 0 || resp->step == NULL) {
		return false;
	}
	switch (resp->view) {
	case RESP_WITHHELD:
		bc_metric_inc(BC_M_RESPONSES_WITHHELD);
		return true;
	case RESP_MERGED:
		return completed;
	case RESP_SHOWN:
		if (completed && resp->origin == RESP_CLIENT && sess->agent->merge == NULL) {
			sess->agent->merge = resp;
			return true;
		}
		return false;
	case RESP_HIDDEN:
		return true;
	}
	return false;
}

void resp_done(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	struct bc_span response = field_raw(text, "response");
	bool cancelled = field_is(response, "status", "cancelled");
	bool completed = field_is(response, "status", "completed");
	char id[SESS_ID_MAX];
	struct resp *resp = field_id(response, "id", id) ? resp_find(sess, id) : NULL;

	if (resp == NULL) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		return;
	}
	if (resp->origin == RESP_PASS) {
		pass_done(sess, response);
		resp_remove(sess, resp);
		return;
	}
	if (resp->view == RESP_HIDDEN || end_unseen(sess, resp, completed)) {
		usage_owe(agent, field_raw(response, "usage"));
	} else if (resp->view == RESP_MERGED) {
		end_merged(sess, resp, text);
	} else {
		resp_reveal(sess, resp);
		done_show(sess, resp, text);
	}
	if (agent->current == resp) {
		agent->current = NULL;
		lane_move(sess, LANE_EV_DONE);
	}
	if (resp->default_conversation && completed && resp->step == NULL &&
	    resp->gateway_items == 0) {
		/* The turn was answered without a call: what was guessed for it is a miss. */
		pass_withdraw(sess);
	}
	step_response_done(sess, resp, !cancelled);
	if (agent->merge != resp) {
		resp_remove(sess, resp);
	}
	lane_pump(sess);
}

void resp_merge_close(struct sess *sess, const char *reason)
{
	struct resp *base = sess->agent->merge;
	struct bc_buf text;

	if (base == NULL || sess->agent->current != NULL) {
		return;
	}
	bc_buf_init(&text, 8192);
	if (oai_done_put(&text, base->id, "cancelled", reason, BC_SPAN_LIT("")) == BC_OK) {
		(void)sess_to_client(sess,
				     bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
	resp_remove(sess, base);
}
