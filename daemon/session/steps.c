/*
 * Steps: the calls one response made, answered together.
 *
 * Invariants:
 *   T1  Every complete call of a gateway tool gets exactly one output, as long as it is in the conversation.
 *   T2  Outputs are put in after the response that made the calls has ended, never in the middle of it.
 *   T3  An answer is asked for once per step, when every output is in and the client has answered its own calls.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

#define CLIENT_ASKS_WAIT \
	(300 * BC_USEC_PER_MS) /* for the client's response.create behind its output */

static struct step *step_new(struct agent *agent, json_t *params)
{
	struct step *step = agent->step_count < SESS_STEPS_MAX ? calloc(1, sizeof(*step)) : NULL;

	if (step == NULL) {
		return NULL;
	}
	TAILQ_INIT(&step->calls);
	step->input = agent->input;
	step->params = json_incref(params);
	TAILQ_INSERT_TAIL(&agent->steps, step, link);
	agent->step_count++;
	return step;
}

static struct step *step_of(struct sess *sess, struct resp *resp)
{
	if (resp->step == NULL) {
		resp->step = step_new(sess->agent, resp->params);
		if (resp->step != NULL) {
			resp->step->turn = resp->turn;
		}
	}
	return resp->step;
}

static void step_free(struct agent *agent, struct step *step)
{
	struct call *call;

	while ((call = TAILQ_FIRST(&step->calls)) != NULL) {
		TAILQ_REMOVE(&step->calls, call, link);
		free(call->call_id);
		free(call);
	}
	TAILQ_REMOVE(&agent->steps, step, link);
	agent->step_count--;
	json_decref(step->params);
	free(step);
}

void step_fini(struct sess *sess)
{
	while (!TAILQ_EMPTY(&sess->agent->steps)) {
		step_free(sess->agent, TAILQ_FIRST(&sess->agent->steps));
	}
}

bool step_uses(const struct sess *sess, const struct work *work)
{
	const struct step *step;
	const struct call *call;

	TAILQ_FOREACH(step, &sess->agent->steps, link) {
		TAILQ_FOREACH(call, &step->calls, link) {
			if (call->work == work) {
				return true;
			}
		}
	}
	return false;
}

bool step_is_open(const struct sess *sess)
{
	const struct step *step;

	TAILQ_FOREACH(step, &sess->agent->steps, link) {
		if (step->input == sess->agent->input) {
			return true;
		}
	}
	return false;
}

void step_call(struct sess *sess, struct resp *resp, const struct cfg_tool *tool,
	       struct bc_span item)
{
	struct bc_span call_id = field_raw(item, "call_id");
	char *arguments = field_text(field_raw(item, "arguments"));
	struct step *step = step_of(sess, resp);
	struct call *call = calloc(1, sizeof(*call));

	if (call != NULL && step != NULL && json_raw_is_string(call_id)) {
		call->call_id = field_dup(call_id);
		call->work = tool == &restart_unknown
				     ? restart_work(sess, resp, item)
				     : work_for_call(sess, resp, tool,
						     arguments == NULL ? BC_SPAN_LIT("")
								       : bc_span_str(arguments));
	}
	free(arguments);
	if (call == NULL || call->call_id == NULL || call->work == NULL) {
		if (call != NULL) {
			free(call->call_id);
		}
		free(call);
		bc_metric_inc(BC_M_LIMIT_CLOSES);
		/* A call that cannot be answered would leave the model waiting for ever (T1). */
		sess_end(sess, BC_E_LIMIT, "gateway_limit",
			 "The gateway cannot take more tool calls in this session.");
		return;
	}
	(void)field_id(item, "id", call->item);
	call->unspoken = tool->delivery == CFG_DELIVERY_SILENT;
	step->invalid += call->work->invalid;
	TAILQ_INSERT_TAIL(&step->calls, call, link);
}

void step_client_call(struct sess *sess, struct resp *resp, struct bc_span item)
{
	struct step *step = step_of(sess, resp);
	struct call *call = step == NULL ? NULL : calloc(1, sizeof(*call));

	if (call == NULL) {
		return;
	}
	call->call_id = field_dup(field_raw(item, "call_id"));
	if (call->call_id == NULL) {
		free(call);
		return;
	}
	TAILQ_INSERT_TAIL(&step->calls, call, link);
	step->has_client_calls = true;
	if (sess->agent->spec != NULL) {
		spec_called_other(sess->agent->spec, resp->turn);
	}
}

/* ---- calls of a verdict ---- */

static void send_item(struct sess *sess, struct call *call)
{
	char event_id[BC_ID_SIZE];
	char item_id[BC_ID_SIZE];
	/* As the pass wrote it: that is what the model itself would have said. */
	const char *arguments = call->work->said == NULL ? call->work->arguments : call->work->said;
	struct bc_buf text;

	call->unsent = false;
	bc_id_new(event_id, 'f');
	bc_id_new(item_id, 'i');
	memcpy(call->item, item_id, sizeof(item_id));
	bc_buf_init(&text, strlen(arguments) * 6 + 4096);
	if (oai_call_item_put(&text, event_id, item_id, bc_span_str(call->call_id),
			      call->work->tool->name, bc_span_str(arguments)) != BC_OK) {
		bc_buf_release(&text);
		sess_end(sess, BC_E_NOMEM, "out_of_memory", "The gateway is out of memory.");
		return;
	}
	(void)sess_to_upstream(sess, bc_buf_span(&text)); /* pressure shows with the next message */
	bc_buf_release(&text);
}

static bool inject_call(struct step *step, struct work *work)
{
	struct call *call = calloc(1, sizeof(*call));
	char quoted[BC_ID_SIZE + 2];
	char id[BC_ID_SIZE];

	bc_id_new(id, 'c');
	(void)snprintf(quoted, sizeof(quoted), "\"%s\"", id);
	if (call == NULL || (call->call_id = field_dup(bc_span_str(quoted))) == NULL) {
		free(call);
		return false;
	}
	call->work = work;
	call->unsent = true;
	call->unspoken = work->tool->delivery == CFG_DELIVERY_SILENT;
	TAILQ_INSERT_TAIL(&step->calls, call, link);
	return true;
}

/* Its outputs may go in from now on; what the caller is told meanwhile has its times. */
static void ends(struct sess *sess, struct step *step, bool wants_answer)
{
	step->response_done = true;
	step->wants_answer = wants_answer;
	step->ended = sess_now(sess);
}

static void watch(struct sess *sess)
{
	if (sess->state == SESS_OPEN) {
		deadline_set(sess, results_due(sess));
		deadline_set(sess, filler_due(sess));
	}
}

bool step_inject(struct sess *sess, json_t *params, struct work *const works[], unsigned count,
		 bool wants_answer)
{
	struct step *step = step_new(sess->agent, params);
	struct call *call;
	bool made = step != NULL;

	for (unsigned i = 0; i < count && made; i++) {
		made = inject_call(step, works[i]);
	}
	if (!made) {
		return false;
	}
	step->turn = sess->agent->committed_turn;
	ends(sess, step, wants_answer);
	TAILQ_FOREACH(call, &step->calls, link) {
		if (!call->work->gated && sess->state == SESS_OPEN) {
			send_item(sess, call);
		}
	}
	for (unsigned i = 0; i < count && made; i++) {
		made = !works[i]->gated || work_release(works[i]);
	}
	watch(sess);
	return made;
}

static struct call *unsent_call_of(struct sess *sess, const struct work *work,
				   struct step **ret_step)
{
	struct step *step;
	struct call *call;

	TAILQ_FOREACH(step, &sess->agent->steps, link) {
		TAILQ_FOREACH(call, &step->calls, link) {
			if (call->work == work && call->unsent) {
				*ret_step = step;
				return call;
			}
		}
	}
	return NULL;
}

void step_work_starts(struct sess *sess, const struct work *work)
{
	struct step *step;
	struct call *call = unsent_call_of(sess, work, &step);

	if (call != NULL) {
		step->ended = sess_now(sess); /* nobody has waited for it before */
		send_item(sess, call);
		watch(sess);
	}
}

static void drop_unsent(struct sess *sess, struct step *step, struct call *call)
{
	TAILQ_REMOVE(&step->calls, call, link);
	free(call->call_id);
	free(call);
	if (TAILQ_EMPTY(&step->calls) && step->wants_answer && step->input == sess->agent->input &&
	    !sess->agent->take.unwanted) {
		/* Nothing is left to be spoken about, but a response was cancelled for it (V4). */
		lane_owe(sess, step->params, false);
	}
}

void step_work_dropped(struct sess *sess, const struct work *work)
{
	struct step *step;
	struct call *call = unsent_call_of(sess, work, &step);

	if (call != NULL) {
		drop_unsent(sess, step, call);
		step_advance(sess);
	}
}

/* Calls of holds that will not start any more (J5) never were: what stands beside them is not kept back for them. */
static void drop_stopped(struct sess *sess, struct step *step)
{
	struct call *call;
	struct call *next;

	for (call = TAILQ_FIRST(&step->calls); call != NULL; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call->unsent && call->work->stopped) {
			drop_unsent(sess, step, call);
		}
	}
}

/* ---- outputs ---- */

/* Put in every output that is there; true: none of ours is missing. */
static bool put_in_ready(struct sess *sess, struct step *step)
{
	bool all = true;
	struct call *call;

	TAILQ_FOREACH(call, &step->calls, link) {
		if (call->unsent) {
			return false; /* the calls of one step stand together, in front of their outputs */
		}
	}
	TAILQ_FOREACH(call, &step->calls, link) {
		if (call->work == NULL) {
			continue;
		}
		if (!call->answered && call->work->output != NULL && sess->state == SESS_OPEN) {
			result_put(sess, step, call);
		}
		all = all && call->answered;
	}
	return all;
}

static bool client_owes_output(const struct step *step)
{
	const struct call *call;

	TAILQ_FOREACH(call, &step->calls, link) {
		if (call->work == NULL && !call->answered) {
			return true;
		}
	}
	return false;
}

/* All outputs of ours are in, now the client's part; true: the step is over, else *soonest is when to look again. */
static bool client_is_done(struct sess *sess, struct step *step, bc_usec *soonest)
{
	bool owes = client_owes_output(step);
	bc_usec waited;
	bc_usec wait;

	if (!step->has_client_calls || (!owes && !TAILQ_EMPTY(&sess->agent->kept))) {
		return true;
	}
	if (step->client_since == 0) {
		step->client_since = sess_now(sess);
	}
	wait = owes ? sess->cfg->tools.client_output_timeout : CLIENT_ASKS_WAIT;
	waited = sess_now(sess) - step->client_since;
	if (waited >= wait) {
		return true;
	}
	if (*soonest < 0 || wait - waited < *soonest) {
		*soonest = wait - waited;
	}
	return false;
}

static bool has_gateway_calls(const struct step *step)
{
	const struct call *call;

	TAILQ_FOREACH(call, &step->calls, link) {
		if (call->work != NULL) {
			return true;
		}
	}
	return false;
}

/* Whether anything in the step is to be spoken about. */
static bool is_spoken(const struct step *step)
{
	const struct call *call;

	TAILQ_FOREACH(call, &step->calls, link) {
		if (!call->unspoken) {
			return true;
		}
	}
	return false;
}

static bool cannot_wait(const struct step *step)
{
	const struct call *call;

	TAILQ_FOREACH(call, &step->calls, link) {
		if (call->work != NULL && !call->unspoken &&
		    call->work->tool->delivery == CFG_DELIVERY_INTERRUPT) {
			return true;
		}
	}
	return false;
}

void step_barge_in(struct sess *sess)
{
	struct step *step;
	struct call *call;

	TAILQ_FOREACH(step, &sess->agent->steps, link) {
		TAILQ_FOREACH(call, &step->calls, link) {
			if (call->work == NULL || call->answered ||
			    call->work->tool->on_barge_in == CFG_BARGE_IN_KEEP) {
				continue;
			}
			call->unspoken = true;
			if (call->work->tool->effect == CFG_EFFECT_READ &&
			    call->work->output == NULL) {
				work_give_up(sess, call->work);
			}
		}
	}
	step_advance(sess);
}

void step_advance(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct step *step = TAILQ_FIRST(&agent->steps);
	bc_usec soonest = -1;

	while (step != NULL && sess->state == SESS_OPEN) {
		struct step *next = TAILQ_NEXT(step, link);

		drop_stopped(sess, step);
		if (step->response_done && put_in_ready(sess, step) &&
		    client_is_done(sess, step, &soonest)) {
			if (step->wants_answer && is_spoken(step) && restart_allowed(sess, step)) {
				lane_owe(sess, step->params, cannot_wait(step));
			}
			step_free(agent, step);
		}
		step = next;
	}
	if (sess->state == SESS_OPEN) {
		sess->world->timer(sess->world_arg, SESS_TIMER_STEP, soonest);
		lane_pump(sess);
	}
}

void step_response_done(struct sess *sess, struct resp *resp, bool wants_answer)
{
	struct step *step = resp->step;

	if (step == NULL) {
		return;
	}
	resp->step = NULL;
	if (!has_gateway_calls(step)) {
		/* Only the client's own calls: its business alone. */
		step_free(sess->agent, step);
		return;
	}
	ends(sess, step, wants_answer);
	step_advance(sess);
	watch(sess);
}

void step_item_deleted(struct sess *sess, const char *id)
{
	struct step *step;
	struct call *call;

	TAILQ_FOREACH(step, &sess->agent->steps, link) {
		TAILQ_FOREACH(call, &step->calls, link) {
			call->lost = call->lost || strcmp(call->item, id) == 0;
		}
	}
}

void step_client_output(struct sess *sess, struct bc_span call_id)
{
	struct step *step;
	struct call *call;

	TAILQ_FOREACH(step, &sess->agent->steps, link) {
		TAILQ_FOREACH(call, &step->calls, link) {
			if (call->work == NULL && bc_span_is(call_id, call->call_id)) {
				call->answered = true;
				step->client_since = 0;
			}
		}
	}
	step_advance(sess);
}

void step_abandon_all(struct sess *sess)
{
	struct step *step;

	TAILQ_FOREACH(step, &sess->agent->steps, link) {
		step->wants_answer = false;
	}
	lane_owe_nothing(sess->agent);
}
