/*
 * What the client sees of the provider's responses.
 *
 *   origin           shown
 *   the client's     at once; if it ends with gateway calls only its end is kept back and the follow-up is merged into it
 *   the provider's   withheld until its first visible item; never if it ends with gateway calls only
 *   follow-up        as the provider's, or merged into the client's response it continues; a pass never, nor what comes late
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

/* A provider without any metadata: the order of requests tells, as it must for the client's. */
static bool is_unmarked_followup(const struct sess *sess, struct bc_span metadata)
{
	return sess->agent->followup[0] != '\0' &&
	       (metadata.len == 0 || trait_lacks(sess, TRAIT_METADATA));
}

static enum resp_origin origin_of(struct sess *sess, struct bc_span response,
				  struct create **ret_create)
{
	const struct agent *agent = sess->agent;
	struct bc_span metadata = field_raw(response, "metadata");
	struct bc_span ours = field_raw(metadata, "bc");
	bool out_of_band = bc_span_is(field_raw(response, "conversation_id"), "null");

	*ret_create = NULL;
	/* A client may use our key, too; then nothing of ours is waited for. */
	if (json_string_is(ours, "p") && agent->spec != NULL) {
		return RESP_PASS;
	}
	if (json_string_is(ours, "f") &&
	    (agent->followup[0] != '\0' || agent->followups_late > 0)) {
		return RESP_FOLLOWUP;
	}
	if (filler_is(sess, metadata, out_of_band)) {
		return RESP_FILLER;
	}
	if (late_created(sess->agent, metadata, out_of_band)) {
		return RESP_LATE;
	}
	if (out_of_band && pass_is_unmarked(sess, metadata)) {
		return RESP_PASS;
	}
	*ret_create = lane_take_sent(sess, metadata, out_of_band);
	if (out_of_band) {
		return RESP_CLIENT_OOB;
	}
	if (*ret_create == NULL && is_unmarked_followup(sess, metadata)) {
		return RESP_FOLLOWUP;
	}
	return *ret_create == NULL ? RESP_VAD : RESP_CLIENT;
}

bool resp_hold(struct resp *resp, struct bc_span text)
{
	/* The mark of the end first, so that an event is held whole or not at all. */
	return bc_buf_len(&resp->held) + text.len < SESS_HELD_MAX &&
	       bc_buf_put_span(&resp->held, text) == BC_OK &&
	       bc_buf_put(&resp->held, "", 1) == BC_OK;
}

/* Keep response.created back; of a follow-up without the gateway's mark, as the client may see it. */
void resp_withhold(struct sess *sess, struct resp *resp, struct bc_span text)
{
	struct bc_span metadata = field_raw(field_raw(text, "response"), "metadata");
	struct bc_span visible = text;
	struct rewrite rewrite;
	struct bc_buf stripped;
	struct bc_buf out;

	bc_buf_init(&out, 1);
	if ((resp->origin == RESP_FOLLOWUP || resp->origin == RESP_FILLER) && metadata.len > 0) {
		metadata_strip(metadata, &stripped);
		rewrite_begin(&rewrite, text);
		rewrite_replace(&rewrite, metadata, bc_buf_span(&stripped));
		visible = rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text;
		bc_buf_release(&stripped);
	}
	resp_view_set(sess, resp, RESP_WITHHELD);
	if (!resp_hold(resp, visible)) {
		/* Too long to be kept: then the client learns of it now (P1). */
		bc_buf_clear(&resp->held);
		resp_view_set(sess, resp, RESP_SHOWN);
		(void)sess_to_client(sess, visible); /* pressure shows with the next message */
	}
	bc_buf_release(&out);
}

/* The client's own response goes on with this one. */
static void continue_merged(struct sess *sess, struct resp *resp)
{
	resp_view_set(sess, resp, RESP_MERGED);
	memcpy(resp->shown_id, sess->agent->merge->id, sizeof(resp->shown_id));
	bc_metric_inc(BC_M_RESPONSES_MERGED);
}

static void begin_followup(struct sess *sess, struct resp *resp, struct bc_span text)
{
	struct agent *agent = sess->agent;

	/* Also of a provider that confirms nothing: it takes events in their order. */
	resp->context = agent->followup_context;
	resp->params = agent->followup_params;
	agent->followup_params = NULL;
	agent->followup_refusals = 0;
	if (agent->followup_overtaken || agent->followup_unwanted) {
		/* Speech began, or the client cancelled, before the provider made it: so we end it (R6). */

		resp_view_set(sess, resp, RESP_HIDDEN);
		resp->overtaken = agent->followup_overtaken;
		resp->unwanted = agent->followup_unwanted;
		lane_cancel(sess, resp);
		if (!resp->unwanted) {
			lane_owe(sess, resp->params, false);
		}
	} else if (agent->merge != NULL) {
		continue_merged(sess, resp);
	} else {
		resp_withhold(sess, resp, text);
	}
	agent->followups_late -= agent->followup[0] == '\0' && agent->followups_late > 0;
	agent->followup[0] = '\0';
	agent->followup_overtaken = false;
	agent->followup_unwanted = false;
}

/* The end of the client's response that was kept back. */
static struct bc_span kept_end(const struct resp *base)
{
	struct bc_span held = bc_buf_span(&base->held);

	return bc_span(held.ptr, held.len == 0 ? 0 : held.len - 1);
}

/* What it has cost is shown with the end that takes the place of its own. */
static void merge_usage(struct agent *agent, const struct resp *base)
{
	usage_owe(agent, field_raw(field_raw(kept_end(base), "response"), "usage"));
}

void resp_merge_release(struct sess *sess)
{
	struct resp *base = sess->agent->merge;

	if (base == NULL) {
		return;
	}
	filler_stop(sess, "turn_detected");
	if (kept_end(base).len == 0) {
		resp_merge_close(sess, "cancelled", "client_cancelled", "");
		return;
	}
	done_show(sess, base, kept_end(base));
	resp_remove(sess, base);
}

static void begin_by_origin(struct sess *sess, struct resp *resp, struct create *create,
			    struct bc_span text)
{
	switch (resp->origin) {
	case RESP_PASS:
		resp_view_set(sess, resp, RESP_HIDDEN);
		pass_created(sess, resp, field_raw(text, "response"));
		break;
	case RESP_FOLLOWUP:
		begin_followup(sess, resp, text);
		break;
	case RESP_VAD:
		if (eager_is_over(sess)) {
			resp_view_set(sess, resp, RESP_HIDDEN);
			eager_hides(sess, resp);
			if (sess->agent->speech) {
				lane_cancel(sess, resp); /* begun since, so the provider will not */
			}
		} else if (sess->agent->merge != NULL) {
			continue_merged(sess, resp);
		} else {
			resp_withhold(sess, resp, text);
		}
		break;
	case RESP_CLIENT:
		resp_merge_release(sess);
		resp->params = json_incref(create->params);
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		break;
	case RESP_LATE:
		late_begin(sess, resp);
		break;
	case RESP_CLIENT_OOB:
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		break;
	case RESP_FILLER:
		filler_created(sess, resp, text);
		break;
	}
}

void resp_created(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	struct bc_span response = field_raw(text, "response");
	bool out_of_band = bc_span_is(field_raw(response, "conversation_id"), "null");
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
	resp->default_conversation = resp->origin != RESP_PASS && resp->origin != RESP_CLIENT_OOB &&
				     resp->origin != RESP_FILLER &&
				     !(resp->origin == RESP_LATE && out_of_band);
	if (resp->default_conversation) {
		filler_stop(sess, "turn_detected"); /* whoever asked for it: one voice at a time */
		lane_move(sess, LANE_EV_CREATED);
		agent->current = resp;
		agent->answer_expected = false;
		/* What the provider had confirmed by now is in the context of this response. */
		if (agent->unacked == 0 && resp->origin != RESP_LATE) {
			lane_owe_nothing(agent);
		}
	}
	begin_by_origin(sess, resp, create, text);
	create_free(create);
	if (resp->default_conversation) {
		words_answered(sess);
	}
	agent->hide_rate_limits = resp->view == RESP_HIDDEN || resp->view == RESP_MERGED;
	agent->rate_limits_with = resp->view == RESP_WITHHELD ? resp : NULL;
	take_advance(sess);
	race_begin(sess, resp);
}

void resp_release_held(struct sess *sess, struct resp *resp)
{
	struct bc_span held = bc_buf_span(&resp->held);

	while (held.len > 0) {
		size_t len = strnlen(held.ptr, held.len);

		(void)sess_to_client(
			sess, bc_span(held.ptr, len)); /* pressure shows with the next message */
		held = bc_span(held.ptr + len + 1, held.len - len - 1);
	}
	bc_buf_clear(&resp->held);
}

void resp_reveal(struct sess *sess, struct resp *resp)
{
	if (resp->view != RESP_WITHHELD) {
		return;
	}
	resp_view_set(sess, resp, RESP_SHOWN);
	if (sess->agent->rate_limits_with == resp) {
		sess->agent->rate_limits_with = NULL;
	}
	resp_release_held(sess, resp);
}

void resp_hide(struct sess *sess, struct resp *resp)
{
	BC_BUG_ON(resp->view != RESP_WITHHELD);
	resp_view_set(sess, resp, RESP_HIDDEN);
	bc_buf_release(&resp->held);
	if (sess->agent->rate_limits_with == resp) {
		sess->agent->rate_limits_with = NULL;
		sess->agent->hide_rate_limits = true;
	}
}

/* ---- in between ---- */

/* Show an event of this response, under the id the client knows. */
void resp_show(struct sess *sess, struct resp *resp, struct bc_span text)
{
	struct rewrite rewrite;
	struct bc_buf out;

	if (resp->taken) {
		taken_hold(sess, resp, text);
		return;
	}
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

bool resp_event(struct sess *sess, struct bc_span text)
{
	struct resp *resp = resp_of(sess, text);

	if (resp == NULL) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		return true;
	}
	if (is_hidden_item(sess, text, "item_id")) {
		return false;
	}
	resp_show(sess, resp, text);
	return resp->view != RESP_HIDDEN;
}

/* A function call of a tool of ours, in the conversation we answer for. */
static const struct cfg_tool *gateway_call(const struct sess *sess, const struct resp *resp,
					   struct bc_span item)
{
	return resp->default_conversation ? tools_of_call(sess, resp->params, item) : NULL;
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
	} else if (resp->origin == RESP_PASS) {
		return; /* its items are in no conversation */
	} else if (resp->origin == RESP_FILLER && !filler_item(sess, resp, item)) {
		hide_item(sess, item);
	} else if (gateway_call(sess, resp, item) != NULL) {
		taken_note(resp, item);
		hide_item(sess, item);
		resp->gateway_items++;
	} else if (resp->view == RESP_HIDDEN) {
		taken_note(resp, item);
		hide_item(sess, item);
	} else {
		taken_note(resp, item);
		resp->visible_items++;
		if (field_is(item, "type", "message")) {
			works_tell(sess, resp);
		}
		resp_show(sess, resp, text);
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
			pass_item(sess, resp, item);
		}
		return;
	}
	if (resp->origin == RESP_FILLER && is_hidden_item(sess, item, "id")) {
		return;
	}
	tool = gateway_call(sess, resp, item);
	if (resp->unheard) {
		return; /* nobody has asked for it (E3) */
	}
	if (tool != NULL && is_hidden_item(sess, item, "id")) {
		/* Arguments of a call that was cut off also end: only a complete one is meant. */
		if (complete) {
			taken_keep(resp, item);
			traits_call(sess, resp->turn);
			step_call(sess, resp, tool, item);
		}
		return;
	}
	resp_show(sess, resp, text);
	resp->visible_items += resp->visible_items == 0; /* its begin was not announced */
	if (complete && resp->default_conversation && resp->view != RESP_HIDDEN &&
	    field_is(item, "type", "function_call")) {
		step_client_call(sess, resp, item);
	}
}

/* ---- end ---- */

static void end_merged(struct sess *sess, struct resp *resp, struct bc_span text)
{
	struct resp *base = sess->agent->merge;

	merge_usage(sess->agent, base);
	done_show(sess, resp, text);
	resp_remove(sess, base);
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
		return completed && resp->origin == RESP_CLIENT && sess->agent->merge == NULL;
	case RESP_HIDDEN:
		return true;
	}
	return false;
}

/* Its end is not shown now: that of the client's own is kept until something else continues it, or nothing does. */
static void end_later(struct sess *sess, struct resp *resp, struct bc_span text)
{
	struct agent *agent = sess->agent;

	if (resp->view != RESP_SHOWN) {
		usage_owe(agent, field_raw(field_raw(text, "response"), "usage"));
		return;
	}
	agent->merge = resp;
	(void)resp_hold(resp, text); /* too long: another end is made for it */
}

/* Whether an end is not shown now, or not at all. */
static bool ends_unseen(struct sess *sess, struct resp *resp, struct bc_span response)
{
	bool completed = field_is(response, "status", "completed");
	bool limited = field_is(response, "status", "incomplete"); /* it has said all it may */

	if (resp->taken) {
		return taken_ends(sess, resp, completed || limited);
	}
	if (resp->view == RESP_HIDDEN) {
		/* Neither the client nor a later turn is to know what nobody has heard. */
		taken_delete(sess, resp);
	}
	return resp->view == RESP_HIDDEN || end_unseen(sess, resp, completed);
}

/* The end of what the gateway has asked for beside the conversation; true: it was that. */
static bool aside_done(struct sess *sess, struct resp *resp, struct bc_span text)
{
	if (resp->origin == RESP_PASS) {
		pass_done(sess, resp, field_raw(text, "response"));
		resp_remove(sess, resp);
		return true;
	}
	if (resp->origin == RESP_FILLER) {
		filler_done(sess, resp, text);
		return true;
	}
	return false;
}

/* Whether it spoke in the conversation, or not at all, and named none of the gateway's tools. */
static bool has_called_nothing(const struct resp *resp)
{
	return resp->default_conversation && resp->view != RESP_HIDDEN && resp->step == NULL &&
	       resp->gateway_items == 0;
}

/* The response goes; an answer is what calls can be prepared behind. */
static void leave(struct sess *sess, struct resp *resp, bool waits, bool answered)
{
	if (!waits) {
		resp_remove(sess, resp);
	}
	take_advance(sess);
	lane_pump(sess);
	if (answered) {
		prepare_begin(sess);
	}
}

void resp_done(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	struct bc_span response = field_raw(text, "response");
	bool cancelled = field_is(response, "status", "cancelled");
	bool completed = field_is(response, "status", "completed");
	char id[SESS_ID_MAX];
	struct resp *resp = field_id(response, "id", id) ? resp_find(sess, id) : NULL;
	bool called_nothing;
	bool answered;
	bool waits; /* for what continues it: then its end is that one's to tell */

	if (resp == NULL) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		return;
	}
	if (aside_done(sess, resp, text)) {
		return;
	}
	traits_response_done(sess, resp, response);
	race_ended(sess, resp, response);
	taken_cut_ends(sess, resp, cancelled);
	cancelled = cancelled && !resp->taken; /* that was us, and its calls count */
	if (ends_unseen(sess, resp, response)) {
		end_later(sess, resp, text);
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
	called_nothing = completed && has_called_nothing(resp);
	if (called_nothing && agent->take.state == TAKE_IDLE) {
		/* The turn was answered without a call: what was guessed for it is a miss. */
		pass_withdraw(sess, resp->turn);
	}
	take_lost_to(sess, resp, completed);
	waits = agent->merge == resp;
	answered = called_nothing && resp->visible_items > 0;
	step_response_done(sess, resp, !cancelled && !resp->unwanted);
	leave(sess, resp, waits, answered);
}

void resp_merge_close(struct sess *sess, const char *status, const char *reason,
		      const char *message)
{
	struct agent *agent = sess->agent;
	struct resp *base = agent->merge;
	struct bc_buf text;

	if (base == NULL || (agent->current != NULL && agent->current->view == RESP_MERGED)) {
		return; /* what continues it will end it */
	}
	filler_stop(sess, reason);
	merge_usage(agent, base);
	bc_buf_init(&text, 8192);
	if (oai_done_put(&text, base->id, status, reason, bc_span_str(message)) == BC_OK) {
		(void)sess_to_client(sess,
				     bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
	resp_remove(sess, base);
}
