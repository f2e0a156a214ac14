/*
 * Prepared calls: while the agent speaks, a pass is asked which call the caller would determine by simply agreeing.
 *
 * An effect it names is prepared: its arguments are checked, and its server is warmed up.  It is no proposal: it is in no
 * plan and matches nothing, nothing of it is sent or recorded, until a pass over the caller's words or the provider itself
 * names the call; 17 of 100 read-backs are refused.  A read it names is run when the caller begins to speak.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PREPARED_MAX 4
#define MARK         "prepare" /* in the place of a pass's number */

struct prepared {
	const struct cfg_tool *tool;
	char *arguments; /* canonical JSON */
	uint64_t turn;   /* behind which it was prepared */
};

struct prepare {
	char event_id[BC_ID_SIZE]; /* of the request that runs; "": none */
	char response[SESS_ID_MAX];
	uint64_t turn;   /* it is about what was said behind this turn */
	bc_usec started; /* monotonic */
	bool off;        /* the provider refuses it */
	struct prepared calls[PREPARED_MAX];
	unsigned count;
};

/* ---- the table ---- */

static void forget(struct prepare *prepare, unsigned at)
{
	free(prepare->calls[at].arguments);
	prepare->count--;
	memmove(&prepare->calls[at], &prepare->calls[at + 1],
		(prepare->count - at) * sizeof(prepare->calls[0]));
}

static void drop(struct prepare *prepare, unsigned at)
{
	bc_metric_add(BC_M_PREPARED_DROPPED, prepare->calls[at].tool->effect != CFG_EFFECT_READ);
	forget(prepare, at);
}

void prepare_drop_all(struct agent *agent)
{
	while (agent->prepare != NULL && agent->prepare->count > 0) {
		drop(agent->prepare, agent->prepare->count - 1);
	}
}

void prepare_fini(struct agent *agent)
{
	prepare_drop_all(agent);
	free(agent->prepare);
	agent->prepare = NULL;
}

static bool is_prepared(const struct prepare *prepare, const struct cfg_tool *tool,
			const char *arguments)
{
	for (unsigned i = 0; i < prepare->count; i++) {
		if (prepare->calls[i].tool == tool &&
		    strcmp(prepare->calls[i].arguments, arguments) == 0) {
			return true;
		}
	}
	return false;
}

/* Takes over arguments. */
static void add(struct sess *sess, const struct cfg_tool *tool, char *arguments)
{
	struct prepare *prepare = sess->agent->prepare;

	if (is_prepared(prepare, tool, arguments)) {
		free(arguments);
		return;
	}
	if (prepare->count == PREPARED_MAX) {
		drop(prepare, 0);
	}
	prepare->calls[prepare->count++] =
		(struct prepared){.tool = tool, .arguments = arguments, .turn = prepare->turn};
	if (tool->effect != CFG_EFFECT_READ) {
		bc_metric_inc(BC_M_PREPARED);
		ledger_note(sess, LEDGER_GATEWAY, "prepare", "tool=%s", tool->name);
		if (sess->world->warm != NULL) {
			sess->world->warm(sess->world_arg, tool);
		}
	}
}

void prepare_match(struct sess *sess, const struct cfg_tool *tool, const char *arguments)
{
	struct prepare *prepare = sess->agent->prepare;

	for (unsigned i = prepare == NULL ? 0 : prepare->count; i > 0; i--) {
		struct prepared *call = &prepare->calls[i - 1];

		if (call->tool != tool) {
			continue;
		}
		if (strcmp(call->arguments, arguments) == 0) {
			bc_metric_add(BC_M_PREPARED_USED, tool->effect != CFG_EFFECT_READ);
			forget(prepare, i - 1);
		} else {
			drop(prepare, i - 1);
		}
	}
}

/* ---- asking ---- */

void prepare_begin(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct prepare *prepare = agent->prepare;
	struct bc_buf text;

	/* By its mark alone its answer can be told from one to the client. */
	if (prepare == NULL || prepare->off || prepare->event_id[0] != '\0' ||
	    !agent->passes.marked || agent->passes.off || agent->passes.vendor_tools ||
	    agent->refused || sess->state != SESS_OPEN || agent->hearing.turn_open ||
	    agent->current != NULL || sess_now(sess) < agent->passes.rest_until ||
	    !spend_admits_pass(sess)) {
		return;
	}
	bc_id_new(prepare->event_id, 'p');
	prepare->turn = agent->committed_turn;
	prepare->started = sess_now(sess);
	deadline_set(sess, prepare->started + sess->cfg->speculation.pass_timeout);
	agent->requests++;
	bc_buf_init(&text, sess->cfg->session.message_max);
	if (pass_put_prepare(sess, prepare->event_id, prepare->turn, &text) == BC_OK) {
		bc_metric_inc(BC_M_PREPARE_PASSES);
		(void)sess_to_upstream(
			sess, bc_buf_span(&text)); /* pressure shows with the next message */
	} else {
		prepare->event_id[0] = '\0';
	}
	bc_buf_release(&text);
}

bc_usec prepare_due(struct sess *sess)
{
	struct prepare *prepare = sess->agent->prepare;
	bc_usec patience = sess->cfg->speculation.pass_timeout;

	if (prepare == NULL || prepare->event_id[0] == '\0') {
		return -1;
	}
	if (sess->blocked[SESS_UPSTREAM] != 0) {
		return sess_now(sess) + patience; /* its end may be there and unread */
	}
	if (sess_now(sess) < prepare->started + patience) {
		return prepare->started + patience;
	}
	bc_metric_inc(BC_M_PASS_TIMEOUTS);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider has not ended a pass behind its answer in time, giving it up");
	if (prepare->response[0] != '\0') {
		(void)lane_send_cancel(sess, prepare->response);
	} /* else it is cancelled when it is created after all */
	prepare->event_id[0] = '\0';
	prepare->response[0] = '\0';
	return -1;
}

/* Whether a response is what was asked for behind that turn. */
static bool is_about(struct bc_span metadata, uint64_t turn)
{
	char number[24];

	(void)snprintf(number, sizeof(number), "%" PRIu64, turn);
	return field_is(metadata, "bc_t", number);
}

bool prepare_created(struct sess *sess, const struct resp *resp, struct bc_span response)
{
	struct prepare *prepare = sess->agent->prepare;

	if (!field_is(field_raw(response, "metadata"), "bc_v", MARK)) {
		return false;
	}
	if (prepare == NULL || prepare->event_id[0] == '\0' || prepare->response[0] != '\0' ||
	    !is_about(field_raw(response, "metadata"), prepare->turn)) {
		(void)lane_send_cancel(sess, resp->id);
	} else {
		memcpy(prepare->response, resp->id, sizeof(prepare->response));
	}
	return true;
}

static bool is_answer(const struct agent *agent, const struct resp *resp)
{
	return agent->prepare != NULL && agent->prepare->response[0] != '\0' &&
	       strcmp(agent->prepare->response, resp->id) == 0;
}

/* A read, when there is a turn it can be a guess of. */
static void guess(struct sess *sess, const struct prepared *call)
{
	const struct spec_call named = {.tool = call->tool,
					.arguments = call->arguments,
					.turn = sess->agent->hearing.turn};
	bool proposed;

	if (!work_is_real(sess, call->tool, call->arguments, named.turn) &&
	    spec_predict(sess->agent->spec, &named, NULL, true, &proposed) == BC_OK && proposed) {
		bc_metric_inc(BC_M_PREFETCHED);
	}
}

bool prepare_item(struct sess *sess, const struct resp *resp, struct bc_span item)
{
	const struct cfg_tool *tool;
	char *said;
	char *canonical;

	if (!is_answer(sess->agent, resp)) {
		return false;
	}
	tool = field_is(item, "status", "completed") ? guessing_call(sess, item, &said, &canonical)
						     : NULL;
	if (tool != NULL) {
		free(said);
		add(sess, tool, canonical);
	}
	return true;
}

bool prepare_done(struct sess *sess, const struct resp *resp)
{
	struct prepare *prepare = sess->agent->prepare;

	if (!is_answer(sess->agent, resp)) {
		return false;
	}
	prepare->event_id[0] = '\0';
	prepare->response[0] = '\0';
	if (sess->agent->hearing.turn_open) {
		prepare_turn(sess); /* the caller was quicker */
		pass_advance(sess);
	}
	return true;
}

bool prepare_failed(struct sess *sess, struct bc_span client_id)
{
	struct prepare *prepare = sess->agent->prepare;

	if (prepare == NULL || prepare->event_id[0] == '\0' ||
	    !json_string_is(client_id, prepare->event_id)) {
		return false;
	}
	prepare->event_id[0] = '\0';
	prepare->response[0] = '\0';
	prepare->off = true;
	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider refused a pass behind its answer, preparing no calls in this session");
	return true;
}

/* ---- turns ---- */

void prepare_turn(struct sess *sess)
{
	struct prepare *prepare = sess->agent->prepare;
	uint64_t turn = sess->agent->hearing.turn;

	for (unsigned i = prepare == NULL ? 0 : prepare->count; i > 0; i--) {
		struct prepared *call = &prepare->calls[i - 1];

		if (call->tool->effect == CFG_EFFECT_READ) {
			guess(sess, call);
			forget(prepare, i - 1);
		} else if (turn > call->turn + sess->cfg->speculation.prepared_ttl) {
			drop(prepare, i - 1);
		}
	}
}

enum bc_err prepare_new(struct agent *agent)
{
	agent->prepare = calloc(1, sizeof(*agent->prepare));
	return agent->prepare == NULL ? BC_E_NOMEM : BC_OK;
}
