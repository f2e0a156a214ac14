/*
 * Executions of tools.  A work is made by a guess or by a real call; a real call that equals an earlier one of the same
 * turn, or of a turn before whose result the caller could not have heard of, gets that one's result, so no repetition by
 * the model makes a second effect.
 *
 * Invariants:
 *   W1  work->run is settled exactly once: used, or dropped with its guess, or at the end of the session.
 *   W2  A guess's work is forgotten when the guess is withdrawn; a real one not before its turn is over, and an effect
 *       not before an answer knew of it: named again until then, it is the same one.
 *   W3  What was read before an effect ended that changed it is used for no call made after that.
 *   W4  With tools.sequential no real call starts while another one runs; those that wait start in the order they were
 *       made.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

#define WORK_MAGIC 0x776f726bu

static void work_ready(void *arg, struct tool_call *run, const struct tool_result *result);

static struct work *work_new(struct sess *sess, const struct cfg_tool *tool,
			     struct bc_span arguments, uint64_t turn)
{
	struct agent *agent = sess->agent;
	struct work *work = agent->work_count < SESS_WORKS_MAX ? calloc(1, sizeof(*work)) : NULL;

	if (work == NULL) {
		return NULL;
	}
	work->magic = WORK_MAGIC;
	work->sess = sess;
	work->tool = tool;
	work->turn = turn;
	work->arguments = bc_span_dup(arguments);
	if (work->arguments == NULL) {
		free(work);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&agent->works, work, link);
	agent->work_count++;
	return work;
}

static void work_free(struct work *work)
{
	struct agent *agent = work->sess->agent;

	if (work->run != NULL) {
		work->sess->world->tool_cancel(work->sess->world_arg, work->run);
	}
	TAILQ_REMOVE(&agent->works, work, link);
	agent->work_count--;
	work->magic = 0;
	free(work->arguments);
	free(work->said);
	free(work->output);
	free(work);
}

void works_fini(struct sess *sess)
{
	while (!TAILQ_EMPTY(&sess->agent->works)) {
		work_free(TAILQ_FIRST(&sess->agent->works));
	}
}

/* An effect nobody has heard of yet; of very many only the newer ones are remembered. */
static bool may_be_named_again(const struct work *work, uint64_t turn)
{
	return work->happened && (work->told == 0 || turn < work->told) &&
	       work->sess->agent->work_count <= SESS_WORKS_MAX / 2;
}

void works_forget(struct sess *sess, uint64_t before_turn)
{
	struct work *work = TAILQ_FIRST(&sess->agent->works);
	const struct resp *current = sess->agent->current;

	if (current != NULL && current->turn < before_turn) {
		before_turn = current->turn; /* it may still repeat a call of its turn */
	}
	while (work != NULL) {
		struct work *next = TAILQ_NEXT(work, link);

		if (work->guess == NULL && work->turn < before_turn && work->output != NULL &&
		    work->run == NULL && !step_uses(sess, work) && !results_use(sess, work) &&
		    !may_be_named_again(work, before_turn)) {
			work_free(work);
		}
		work = next;
	}
}

/* The permission to start an effect of a verdict is there: the last look at what may speak against it (J5). */
static bool work_may_start(void *arg)
{
	struct work *work = arg;

	BC_CHECK(work, WORK_MAGIC);
	if (work->stopped || !take_may_start(work->sess, work->turn, work->heard)) {
		bc_metric_inc(BC_M_HOLDS_STOPPED);
		return false;
	}
	work->gated = false;
	step_work_starts(work->sess, work);
	return true;
}

/*
 * The permission to start an effect that is a guess is there.  What the operator has said since it was admitted counts, for
 * nothing has been sent; one that became real meanwhile is no guess any more.
 */
static bool guess_may_start(void *arg)
{
	struct work *work = arg;

	BC_CHECK(work, WORK_MAGIC);
	work->refused = work->guess != NULL && !spend_releases(work->sess, work->guess);
	return !work->refused;
}

/* Who is asked when an effect may be sent; NULL: nobody, a read, or a call of the provider's own. */
static bool (*gate_of(const struct work *work, bool speculative))(void *)
{
	if (work->gated) {
		return work_may_start;
	}
	return speculative && work->tool->effect != CFG_EFFECT_READ ? guess_may_start : NULL;
}

static bool start(struct work *work, bool speculative)
{
	struct sess *sess = work->sess;
	struct tool_request request = {.tool = work->tool,
				       .arguments = bc_span_str(work->arguments),
				       .session = bc_span_str(sess->log.session),
				       .turn = work->turn,
				       .speculative = speculative,
				       .withhold = work->withheld,
				       .may_start = gate_of(work, speculative),
				       .done = work_ready,
				       .arg = work};
	if (!speculative && work->tool->effect != CFG_EFFECT_READ && sess->agent->spec != NULL) {
		spec_withdraw_effects(sess->agent->spec, work->tool);
		/* Nothing is guessed in their place: this effect would follow it. */
		pass_drop_withdrawn(sess);
	}
	return sess->world->tool_run(sess->world_arg, &request, &work->run) == BC_OK;
}

static struct work *work_of_guess(struct sess *sess, const struct guess *guess)
{
	struct work *work;

	TAILQ_FOREACH(work, &sess->agent->works, link) {
		if (work->guess == guess) {
			return work;
		}
	}
	BC_BUG_ON(true);
	return NULL;
}

/* ---- guesses ---- */

bool work_guess(struct sess *sess, struct guess *guess)
{
	struct work *work = work_new(sess, guess->tool, bc_span_str(guess->arguments), guess->turn);

	if (work == NULL) {
		return false;
	}
	work->withheld = guess->tool->withheld_arguments.count > 0 &&
			 !spec_is_final(sess->agent->spec, guess);
	if (!start(work, true)) {
		work_free(work);
		return false;
	}
	work->guess = guess;
	spec_dispatched(sess->agent->spec, guess, work->run, sess_now(sess));
	bc_metric_inc(BC_M_GUESSES);
	work->number = ++sess->agent->extension.guesses;
	notice_guess(sess, EXT_TOOL_CALL_SPECULATED, work);
	return true;
}

/* How long a guess has run, until now or its end. */
static bc_usec ran_for(struct sess *sess, const struct work *work, const struct guess *guess)
{
	const struct tool_result *result =
		work->output == NULL ? NULL : sess->world->tool_result(sess->world_arg, work->run);

	return (result == NULL ? sess_now(sess) : result->finished) - guess->dispatched;
}

static void count_wasted(struct sess *sess, const struct guess *guess, bc_usec time)
{
	bc_metric_inc(BC_M_GUESS_WASTED);
	bc_metric_add(BC_M_GUESS_WASTED_MS, time / BC_USEC_PER_MS);
	spend_wasted(sess, guess, time);
}

void work_drop_guess(struct sess *sess, struct guess *guess)
{
	struct work *work;

	if (guess->call != NULL) {
		work = work_of_guess(sess, guess);
		if (!work->refused) {
			count_wasted(sess, guess, ran_for(sess, work, guess));
		}
		notice_guess(sess, EXT_TOOL_CALL_ROLLED_BACK, work);
		work_free(work);
	} else if (guess->refused) {
		spend_watched(sess, guess);
	}
	spend_ended(sess, guess, guess->realised);
	reasoner_lost(sess, guess);
	spec_drop(sess->agent->spec, guess);
}

/* What was in hand is not any more when the journal cannot record that it became real. */
static void commit(struct sess *sess, struct work *work)
{
	const struct tool_result *result;
	char *output;

	sess->world->tool_commit(sess->world_arg, work->run);
	result = sess->world->tool_result(sess->world_arg, work->run);
	if (!work->happened || result == NULL || result->outcome == TOOL_OK ||
	    result->outcome == TOOL_BAD_RESULT) {
		return;
	}
	output = bc_span_dup(result->output);
	if (output != NULL) {
		free(work->output);
		work->output = output;
		work->happened = false;
	}
}

/* A guess becomes a real call: its work and what it has saved are accounted for. */
static struct work *adopt(struct sess *sess, struct guess *guess)
{
	struct work *work = work_of_guess(sess, guess);
	bc_usec ahead = ran_for(sess, work, guess);

	work->guess = NULL;
	bc_metric_inc(work->output != NULL ? BC_M_GUESS_HITS : BC_M_GUESS_JOINS);
	ledger_note(sess, LEDGER_GATEWAY, "take", "tool=%s finished=%s", work->tool->name,
		    work->output != NULL ? "yes" : "no");
	spend_used(sess, guess, work->output != NULL, ahead);
	spend_ended(sess, guess, true);
	bc_metric_add(BC_M_GUESS_SAVED_MS, ahead / BC_USEC_PER_MS);
	notice_guess(sess, EXT_TOOL_CALL_COMMITTED, work);
	commit(sess, work);
	work->said = guess->said;
	guess->said = NULL;
	spec_drop(sess->agent->spec, guess);
	if (work->output != NULL) {
		predict_observe(sess, work);
	} else {
		changes_begin(sess, work->tool); /* as for one that starts now */
	}
	return work;
}

/* Named first by no response: those that repeat it, however often, mean the same one. */
static const char of_verdict[] = "bc_verdict";

struct work *work_of_verdict(struct sess *sess, struct guess *guess)
{
	struct work *work;

	if (guess->state != GUESS_PROPOSED) {
		spec_take_guess(sess->agent->spec, guess);
		work = adopt(sess, guess);
		memcpy(work->response, of_verdict, sizeof(of_verdict));
		return work;
	}
	work = work_new(sess, guess->tool, bc_span_str(guess->arguments), guess->turn);
	if (work != NULL) {
		memcpy(work->response, of_verdict, sizeof(of_verdict));
		work->gated = true;
		prepare_match(sess, work->tool, work->arguments);
		work->heard = sess->agent->hearing.last_input;
		work->said = guess->said;
		guess->said = NULL;
		spec_realise(sess->agent->spec, guess);
	}
	return work;
}

/* ---- real calls ---- */

static struct work *join_guess(struct sess *sess, struct spec_call *named)
{
	struct guess *guess;

	if (sess->agent->spec == NULL) {
		return NULL;
	}
	named->fresh_since = sess_now(sess) - named->tool->fresh_for;
	guess = spec_take(sess->agent->spec, named);
	return guess == NULL ? NULL : adopt(sess, guess);
}

struct work *work_error(struct sess *sess, const struct spec_call *named, const char *type,
			struct bc_span message)
{
	struct work *work = work_new(sess, named->tool, bc_span_str(named->arguments), named->turn);
	json_t *output = json_pack("{s:{s:s, s:i, s:b, s:s%}}", "error", "type", type, "status", 0,
				   "retryable", 1, "message", message.ptr, message.len);

	if (work != NULL && output != NULL) {
		work->output = json_dumps(output, JSON_COMPACT);
		work->invalid = true;
	}
	json_decref(output);
	if (work != NULL && work->output == NULL) {
		work_free(work);
		return NULL;
	}
	return work;
}

/* ---- one after the other ---- */

static bool call_runs(const struct sess *sess)
{
	const struct work *work;

	TAILQ_FOREACH(work, &sess->agent->works, link) {
		if (work->guess == NULL && work->run != NULL && work->output == NULL) {
			return true;
		}
	}
	return false;
}

/* Start the oldest call that waits, if nothing runs any more. */
static void start_next(struct sess *sess)
{
	struct work *work;

	if (sess->state != SESS_OPEN || call_runs(sess)) {
		return;
	}
	TAILQ_FOREACH(work, &sess->agent->works, link) {
		if (!work->waiting) {
			continue;
		}
		work->waiting = false;
		work->stale = false; /* it has read nothing yet */
		changes_begin(sess, work->tool);
		pass_advance(sess);
		if (!start(work, false)) {
			bc_metric_inc(BC_M_LIMIT_CLOSES);
			sess_end(sess, BC_E_LIMIT, "gateway_limit",
				 "The gateway cannot take more tool calls in this session.");
		}
		return;
	}
}

static bool start_or_wait(struct work *work)
{
	struct sess *sess = work->sess;

	if (sess->cfg->tools.sequential && call_runs(sess)) {
		work->waiting = true;
		return true;
	}
	changes_begin(sess, work->tool);
	pass_advance(sess);
	return start(work, false);
}

bool work_release(struct work *work)
{
	if (work->sess->cfg->tools.sequential && call_runs(work->sess)) {
		work->waiting =
			true; /* the last look at what speaks against it comes with its ticket */
		return true;
	}
	changes_begin(work->sess, work->tool);
	return start(work, false);
}

void works_tell(struct sess *sess, const struct resp *resp)
{
	struct work *work;

	if (!resp->default_conversation) {
		return;
	}
	TAILQ_FOREACH(work, &sess->agent->works, link) {
		if (work->told == 0 && work->put != 0 && work->put <= resp->context) {
			work->told = resp->turn + 1;
		}
	}
}

struct work *work_for_call(struct sess *sess, const struct resp *resp, const struct cfg_tool *tool,
			   struct bc_span arguments)
{
	struct bc_buf message;
	struct spec_call named = {.tool = tool, .turn = resp->turn};
	struct work *work = NULL;
	char *canonical = NULL;

	bc_buf_init(&message, 4096);
	if (tool_args_check(tool, arguments, &canonical, &message) != BC_OK) {
		named.arguments = "";
		bc_metric_inc(BC_M_TOOL_ARGS_REFUSED);
		if (sess->agent->spec != NULL) {
			spec_called_other(sess->agent->spec, named.turn);
		}
		work = work_error(sess, &named, "invalid_arguments", bc_buf_span(&message));
		bc_buf_release(&message);
		return work;
	}
	bc_buf_release(&message);
	named.arguments = canonical;
	work = work_repeated(sess, resp, &named, &named.occurrence);
	if (work == NULL) {
		work = join_guess(sess, &named);
	}
	prepare_match(sess, tool, canonical);
	if (work == NULL) {
		work = work_new(sess, tool, bc_span_str(canonical), named.turn);
		if (work != NULL && !start_or_wait(work)) {
			work_free(work);
			work = NULL;
		}
	}
	if (work != NULL && work->response[0] == '\0') {
		memcpy(work->response, resp->id, sizeof(work->response));
	}
	free(canonical);
	return work;
}

void work_give_up(struct sess *sess, struct work *work)
{
	static const char output[] =
		"{\"error\":{\"type\":\"cancelled\",\"status\":0,\"retryable\":true,"
		"\"message\":\"The caller interrupted; the request was given up.\"}}";

	BC_BUG_ON(work->output != NULL || work->guess != NULL);
	work->output = bc_span_dup(bc_span_str(output));
	if (work->output == NULL) {
		return; /* then it goes on, and its result comes */
	}
	work->waiting = false;
	work->stale = true;
	if (work->run != NULL) {
		sess->world->tool_cancel(sess->world_arg, work->run);
		work->run = NULL;
	}
	start_next(sess);
}

void work_used(struct sess *sess, struct work *work)
{
	if (work->run != NULL) {
		sess->world->tool_settle(sess->world_arg, work->run, JRN_USED);
		work->run = NULL;
	}
}

/* Something spoke against a hold of a verdict in the last moment: nothing was sent, and the call never was. */
static void work_stopped(struct work *work)
{
	struct sess *sess = work->sess;

	sess->world->tool_settle(sess->world_arg, work->run, JRN_USED);
	work->run = NULL;
	free(work->output);
	work->output = NULL;
	work->gated = false;
	work->stopped = false;
	if (sess->state != SESS_OPEN) {
		return; /* nobody waits for it, and nothing is made in its place */
	}
	step_work_dropped(sess, work);
	if (step_uses(sess, work)) {
		/* The provider has called it meanwhile, and that call stands. */
		if (!start(work, false)) {
			sess_end(sess, BC_E_LIMIT, "gateway_limit",
				 "The gateway cannot take more tool calls in this session.");
		}
		return;
	}
	work_free(work);
	start_next(sess);
}

/* What stood in the way was of that moment; nothing was sent. */
static bool was_unsent(enum tool_outcome outcome)
{
	return outcome == TOOL_BUSY || outcome == TOOL_OPEN || outcome == TOOL_UNDOING ||
	       outcome == TOOL_UNREACHABLE;
}

/*
 * A server that refuses a request without withheld_arguments may want them, against what its operator has said: that must
 * cost time and no answer.
 */
static bool was_incomplete(const struct work *work, const struct tool_result *result)
{
	return work->withheld && result->outcome == TOOL_HTTP_ERROR &&
	       (result->status == 400 || result->status == 422);
}

/* What was run as a guess came to nothing, and the call has become real meanwhile: it is sent, and whole. */
static void run_as_real(struct work *work)
{
	struct sess *sess = work->sess;

	sess->world->tool_settle(sess->world_arg, work->run, JRN_UNUSED);
	work->run = NULL;
	work->withheld = false;
	work->refused = false;
	if (!start(work, false)) {
		sess_end(sess, BC_E_LIMIT, "gateway_limit",
			 "The gateway cannot take more tool calls in this session.");
	}
}

static void guess_ready(struct work *work, const struct tool_result *result)
{
	struct sess *sess = work->sess;

	if (work->refused || was_unsent(result->outcome) || was_incomplete(work, result)) {
		/* The real call, a moment later, may do better. */
		spec_lose(sess->agent->spec, work->guess);
	}
	if (work->guess->state == GUESS_WITHDRAWN) {
		pass_advance(sess); /* which forgets the work */
		return;
	}
	spec_finished(sess->agent->spec, work->guess);
	predict_from(sess, work);
	reasoner_result(sess, work);
	pass_result(sess);
}

static void work_ready(void *arg, struct tool_call *run, const struct tool_result *result)
{
	struct work *work = arg;
	struct sess *sess;

	BC_CHECK(work, WORK_MAGIC);
	BC_BUG_ON(work->run != run || work->output != NULL);
	sess = work->sess;
	spend_ran(sess, work->tool, result);
	bc_metric_add(BC_M_GUESS_INCOMPLETE, was_incomplete(work, result));
	if ((work->refused || was_incomplete(work, result)) && work->guess == NULL &&
	    sess->state == SESS_OPEN) {
		run_as_real(work);
		return;
	}
	work->output = bc_span_dup(result->output);
	if (work->output == NULL) {
		sess_end(sess, BC_E_NOMEM, "out_of_memory", "The gateway is out of memory.");
		return;
	}
	if (work->gated &&
	    (result->outcome == TOOL_CANCELLED || (work->stopped && !step_uses(sess, work)))) {
		work_stopped(work);
		return;
	}
	work->happened = work->tool->effect != CFG_EFFECT_READ &&
			 (result->outcome == TOOL_OK || result->outcome == TOOL_BAD_RESULT);
	changes_tell(sess, work->tool);
	if (sess->state != SESS_OPEN) {
		return;
	}
	/* A hold that was refused before it could start: the model is told all the same. */
	step_work_starts(sess, work);
	changes_begin(sess, work->tool);
	if (work->guess != NULL) {
		guess_ready(work, result);
		return;
	}
	predict_observe(sess, work);
	predict_from(sess, work);
	pass_advance(sess);
	start_next(sess);
	step_advance(sess);
	reasoner_result(sess, work);
}
