/*
 * A line spoken while a tool keeps the caller waiting: a response outside of the conversation, so that neither the model
 * nor a pass ever sees it as something that was said.
 *
 * The client gets it as a response of its own; while a response of the client's own waits for its continuation, as the
 * first part of that one, for a client takes one response at a time.
 *
 * It is never heard together with anything else:
 *   the caller    it is asked for, and begun, in silence only; speech ends it.  The provider's own interruption does not
 *                 reach such a response, so it is cancelled by its id, and the client is told at once.
 *   the answer    is asked for when the filler has ended at the provider, so their audio cannot mix on the way; a client
 *                 plays in the order it was sent.  A filler nobody has heard yet is dropped instead of waited for, and one
 *                 that is in the way of a result that cannot wait is cancelled: its end, as any other, is shown.
 *   another one   a response that begins unasked for ends it.
 *
 * Invariant F1: one filler at a time, and one per step.
 */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_AGAIN (500 * BC_USEC_PER_MS) /* while something is in the way of a line that is due */
#define TOKENS_MAX 1024

static const char made_directive[] =
	"The functions that were called need a moment longer. Say one short sentence that asks the "
	"caller for patience, in the language of the conversation. Promise nothing and tell no result.";

/* ---- when ---- */

/* The caller, or what a client still plays; the gateway's own ear is quicker than the provider's. */
static bool is_quiet(const struct sess *sess)
{
	const struct agent *agent = sess->agent;

	return !agent->speech && !(agent->hearing.on && agent->hearing.detector.speech) &&
	       sess_now(sess) >= agent->audio.playing_until;
}

static bool may_ask(const struct sess *sess)
{
	const struct agent *agent = sess->agent;

	return agent->lane == LANE_IDLE && agent->take.state == TAKE_IDLE &&
	       agent->current == NULL && !lane_is_asked(sess) && is_quiet(sess);
}

/* The call that has kept the caller waiting longest, by its tool's measure; *ret_due is when its line is due. */
static const struct cfg_tool *waiting_tool(const struct sess *sess, const struct step *step,
					   bc_usec *ret_due)
{
	const struct agent *agent = sess->agent;
	const struct cfg_tool *tool = NULL;
	bc_usec since =
		step->ended > agent->audio.playing_until ? step->ended : agent->audio.playing_until;
	const struct call *call;

	if (!step->response_done || step->filled || !step->wants_answer ||
	    step->input != agent->input) {
		return NULL;
	}
	TAILQ_FOREACH(call, &step->calls, link) {
		bc_usec after = call->work == NULL ? 0 : call->work->tool->filler_after;

		if (after > 0 && call->work->output == NULL && !call->unspoken &&
		    (tool == NULL || since + after < *ret_due)) {
			tool = call->work->tool;
			*ret_due = since + after;
		}
	}
	return tool;
}

/* ---- what ---- */

/* Exactly one line needs no context, and none is paid for. */
static json_t *line_params(const char *line)
{
	struct bc_buf text;
	json_t *params = NULL;

	bc_buf_init(&text, strlen(line) + 256);
	if (bc_buf_printf(&text,
			  "Say exactly the following line, word for word, and nothing else: %s",
			  line) == BC_OK) {
		params = json_pack("{s:[], s:s%}", "input", "instructions", bc_buf_span(&text).ptr,
				   bc_buf_len(&text));
	}
	bc_buf_release(&text);
	return params;
}

/* The conversation and, last, what to say: a changed front would lose the provider's prompt cache. */
static json_t *made_params(const struct sess *sess)
{
	json_t *input = json_array();
	const struct item *item;

	TAILQ_FOREACH(item, &sess->agent->items.order, link) {
		if (item->done) {
			json_array_append_new(input, json_pack("{s:s, s:s}", "type",
							       "item_reference", "id", item->id));
		}
	}
	json_array_append_new(input, json_pack("{s:s, s:s, s:[{s:s, s:s}]}", "type", "message",
					       "role", "system", "content", "type", "input_text",
					       "text", made_directive));
	return json_pack("{s:o}", "input", input);
}

static char *request(const struct sess *sess, const struct cfg_tool *tool, const char *event_id)
{
	json_t *params = tool->filler == NULL ? made_params(sess) : line_params(tool->filler);
	json_t *own = json_pack("{s:s, s:s, s:i, s:{s:s}}", "conversation", "none", "tool_choice",
				"none", "max_output_tokens", TOKENS_MAX, "metadata", "bc", "w");
	json_t *event = NULL;
	char *text = NULL;

	if (params != NULL && own != NULL && json_object_update(params, own) == 0) {
		event = json_pack("{s:s, s:s, s:O}", "type", "response.create", "event_id",
				  event_id, "response", params);
		text = event == NULL ? NULL : json_dumps(event, JSON_COMPACT);
	}
	json_decref(event);
	json_decref(own);
	json_decref(params);
	return text;
}

static void ask(struct sess *sess, struct step *step, const struct cfg_tool *tool)
{
	struct filler *filler = &sess->agent->filler;
	char id[BC_ID_SIZE];
	char *text;

	step->filled = true;
	bc_id_new(id, 'w');
	text = request(sess, tool, id);
	if (text == NULL) {
		return; /* a line the caller can do without */
	}
	memcpy(filler->event_id, id, sizeof(id));
	filler->unwanted = false;
	filler->asked = sess_now(sess);
	filler->number = ++sess->agent->requests;
	bc_metric_inc(BC_M_FILLERS);
	(void)sess_to_upstream(sess, bc_span_str(text)); /* pressure shows with the next message */
	free(text);
}

static bool runs(const struct filler *filler)
{
	return filler->event_id[0] != '\0';
}

static void forget(struct filler *filler)
{
	filler->event_id[0] = '\0';
	filler->resp = NULL;
	filler->unwanted = false;
}

/* A line that takes too long to be made is in the way of the answer. */
static bc_usec watch(struct sess *sess)
{
	struct filler *filler = &sess->agent->filler;
	bc_usec end = filler->asked + sess->cfg->tools.filler_timeout;

	if (sess_now(sess) < end) {
		return end;
	}
	filler->late = filler->resp == NULL ? filler->number : 0;
	filler_stop(sess, "client_cancelled");
	forget(filler); /* and what begins late is cancelled then */
	lane_pump(sess);
	return -1;
}

bc_usec filler_due(struct sess *sess)
{
	struct agent *agent = sess->agent;
	bc_usec now = sess_now(sess);
	bc_usec soonest = -1;
	struct step *step;

	if (runs(&agent->filler)) {
		return watch(sess);
	}
	if (agent->filler.off || agent->filler.late != 0) {
		return -1; /* the provider makes none, or too slowly to be asked for another */
	}
	TAILQ_FOREACH(step, &agent->steps, link) {
		bc_usec due;
		const struct cfg_tool *tool = waiting_tool(sess, step, &due);

		if (tool == NULL) {
			continue;
		}
		if (now >= due && may_ask(sess)) {
			ask(sess, step, tool);
			return runs(&agent->filler) ? watch(sess) : -1;
		}
		due = now >= due ? now + LOOK_AGAIN : due;
		soonest = soonest < 0 || due < soonest ? due : soonest;
	}
	return soonest;
}

/* ---- its response ---- */

/* The number of our oldest request the provider has said nothing to; 0: there is none. */
static uint64_t asked_first(const struct filler *filler)
{
	if (filler->late != 0) {
		return filler->late;
	}
	return runs(filler) && filler->resp == NULL ? filler->number : 0;
}

/* Where the provider shows no metadata: requests are answered in their order. */
static bool is_next_aside(const struct sess *sess)
{
	struct agent *agent = sess->agent;
	const struct create *create = lane_oldest_sent(agent, true);
	uint64_t own = asked_first(&agent->filler);

	return own != 0 && (create == NULL || own < create->number) &&
	       own < pass_oldest_asked(agent);
}

bool filler_is(const struct sess *sess, struct bc_span metadata, bool out_of_band)
{
	if (!out_of_band) {
		return false;
	}
	if (metadata_is_empty(metadata)) {
		return sess->agent->traits.value[TRAIT_METADATA] != 1 && is_next_aside(sess);
	}
	/* One that was given up is still ours; a client's use of our key meets no request of ours. */
	return field_is(metadata, "bc", "w") && sess->agent->filler.asked != 0;
}

/* How the client will get it; nothing is shown before its first item. */
static void present(struct sess *sess, struct resp *resp, struct bc_span text)
{
	const struct resp *base = sess->agent->merge;

	if (base == NULL) {
		resp_withhold(sess, resp, text);
		return;
	}
	resp_view_set(sess, resp, RESP_MERGED);
	memcpy(resp->shown_id, base->id, sizeof(resp->shown_id));
}

void filler_created(struct sess *sess, struct resp *resp, struct bc_span text)
{
	struct filler *filler = &sess->agent->filler;

	if (filler->late != 0 || !runs(filler) || filler->resp != NULL || filler->unwanted ||
	    !may_ask(sess)) {
		filler->late = 0;
		resp_view_set(sess, resp, RESP_HIDDEN);
		(void)lane_send_cancel(sess, resp->id);
		if (filler->resp == NULL) {
			forget(filler);
		}
		return;
	}
	filler->resp = resp;
	present(sess, resp, text);
}

bool filler_item(struct sess *sess, struct resp *resp, struct bc_span item)
{
	char id[SESS_ID_MAX];

	/* It was told to call nothing; should it all the same, nobody is to see that. */
	if (resp->view == RESP_HIDDEN || !field_is(item, "type", "message")) {
		return false;
	}
	if (resp->visible_items == 0 && (!is_quiet(sess) || sess->agent->current != NULL)) {
		filler_stop(sess, "turn_detected");
		return false;
	}
	if (field_id(item, "id", id)) {
		audio_aside(sess, id);
	}
	return true;
}

void filler_done(struct sess *sess, struct resp *resp, struct bc_span text)
{
	struct filler *filler = &sess->agent->filler;
	struct bc_span response = field_raw(text, "response");
	bool failed = field_is(response, "status", "failed");

	if (resp->view == RESP_SHOWN) {
		done_show(sess, resp, text);
	} else {
		usage_owe(sess->agent, field_raw(response, "usage"));
	}
	if (failed) {
		bc_metric_inc(BC_M_FILLERS_FAILED);
	}
	if (filler->resp == resp) {
		forget(filler);
	}
	resp_remove(sess, resp);
	lane_pump(sess);
}

static bool answers_filler(const struct sess *sess, struct bc_span client_id, struct bc_span error)
{
	uint64_t own = asked_first(&sess->agent->filler);

	return bc_span_has_prefix(client_id, "\"bc_w") ||
	       (error_is_about(error, "response") && own < pass_oldest_asked(sess->agent) &&
		own == lane_oldest_asked(sess));
}

bool filler_failed(struct sess *sess, struct bc_span client_id, struct bc_span error)
{
	struct filler *filler = &sess->agent->filler;

	if (asked_first(filler) == 0 || !answers_filler(sess, client_id, error)) {
		return false;
	}
	filler->late = 0;
	bc_metric_inc(BC_M_FILLERS_FAILED);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider refused a line outside of the conversation (%.*s), asking for no more",
	       BC_SPAN_ARG(field_raw(error, "code")));
	filler->off = true;
	forget(filler);
	lane_pump(sess);
	return true;
}

/* ---- its early end ---- */

/* The client is told now; what the provider still sends is hidden. */
static void close_shown(struct sess *sess, const struct resp *resp, const char *reason)
{
	struct bc_buf text;

	bc_buf_init(&text, 8192);
	if (oai_done_put(&text, resp->id, "cancelled", reason, BC_SPAN_LIT("")) == BC_OK) {
		(void)sess_to_client(sess,
				     bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
}

void filler_stop(struct sess *sess, const char *reason)
{
	struct filler *filler = &sess->agent->filler;
	struct resp *resp = filler->resp;

	if (!runs(filler)) {
		return;
	}
	if (resp == NULL) {
		filler->unwanted = true;
		return;
	}
	forget(filler);
	if (resp->cancel_sent == 0) {
		bc_metric_inc(BC_M_FILLERS_CUT);
		(void)lane_send_cancel(sess, resp->id);
	}
	if (resp->view == RESP_WITHHELD) {
		resp_hide(sess, resp);
		return;
	}
	if (resp->view == RESP_SHOWN) {
		close_shown(sess, resp, reason);
	}
	resp_view_set(sess, resp, RESP_HIDDEN);
}

bool filler_client_cancel(struct sess *sess, struct bc_span named)
{
	const struct resp *resp = sess->agent->filler.resp;

	if (resp == NULL || resp->view != RESP_SHOWN ||
	    (json_raw_is_string(named) && !json_string_is(named, resp->id))) {
		return false;
	}
	filler_stop(sess, "client_cancelled");
	if (!json_raw_is_string(named)) {
		/* Whatever is active is to be silent: then the answer it stands in for is, too. */
		step_abandon_all(sess);
	}
	return true;
}

bool filler_holds(struct sess *sess)
{
	const struct filler *filler = &sess->agent->filler;

	if (!runs(filler)) {
		return false;
	}
	if (filler->resp == NULL || filler->resp->visible_items == 0) {
		filler_stop(sess, "client_cancelled");
		return false;
	}
	if (sess->agent->owed_at_once && filler->resp->cancel_sent == 0) {
		filler->resp->cancel_sent = sess_now(sess);
		bc_metric_inc(BC_M_FILLERS_CUT);
		(void)lane_send_cancel(sess, filler->resp->id); /* else it ends by itself */
	}
	return true;
}

const char *filler_state(const struct sess *sess)
{
	const struct filler *filler = &sess->agent->filler;

	if (!runs(filler)) {
		return "none";
	}
	return filler->resp == NULL ? "asked" : "speaking";
}
