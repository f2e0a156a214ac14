/*
 * The reasoner of a session: tells it what the caller says and what its calls have brought, and puts the calls it names
 * among the guesses.  They are used as any guess is, when the provider makes the same call.
 *
 * When it knows the whole turn and has decided (reason_verdict()), reads that are in hand may also take the place of the
 * provider's own response, as a pass's would (takeover.c).  How much its word counts depends on what it was told: words that the
 * caller has typed are the caller's own, and are as good as a pass over audio (confirm); what a recogniser has understood is
 * not what the speaking model hears, so that reads called for it are put in only where the operator takes the risk (inject);
 * what may not be all of it counts for nothing.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"
#include "daemon/spec/reason.h"
#include "proto/agent/prompt.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REASONER_MAGIC   0x72736e72u
#define REST_MAX         (60 * BC_USEC_PER_SEC)
#define WORDS_MAX        65536        /* bytes of one turn's words */
#define INSTRUCTIONS_MAX 16384        /* bytes of the session's own that are passed on */
#define SYSTEM_MAX       (512 * 1024) /* bytes of the prompt with all tools */

static_assert(PLAN_CALLS_MAX <= SPEC_GUESSES_MAX, "a plan is more than can be put in");

/* What the final words of a turn are. */
enum words_of {
	WORDS_UNSURE,     /* none yet, or perhaps not all of them */
	WORDS_RECOGNISED, /* what a recogniser has understood of all that was said */
	WORDS_TYPED       /* the caller's own */
};

struct reasoner {
	uint32_t magic;
	struct sess *sess;
	struct reason *reason;
	uint64_t turn;      /* the plan is of; 0: none yet */
	struct bc_buf told; /* words of the turn that it knows */
	bool wanted;        /* there may be words it does not know */
	bool running;       /* a generation */
	char item
		[SESS_ID_MAX]; /* of the committed turn, whose whole transcript is awaited; "": none */
	bc_usec horizon;       /* stream time of the end of what that item holds */
	enum words_of words; /* of the turn */
	bool confirmed;      /* its calls are the verdict */
	char *instructions;  /* of the session, for the speaking model; NULL: none */
	bc_usec updated;     /* monotonic: when it was told of words last */
	bc_usec rest;        /* how long the last failure made it rest; 0: it has not failed */
	bc_usec rest_until;  /* monotonic */
};

/* ---- what the reasoner wants ---- */

static const struct cfg_tool *find_tool(void *arg, const char *name)
{
	struct reasoner *reasoner = arg;
	const struct cfg_tool *tool;

	BC_CHECK(reasoner, REASONER_MAGIC);
	return tools_is_gateway(reasoner->sess, NULL, name, &tool) ? tool : NULL;
}

static void failed(struct reasoner *reasoner, enum bc_err err, int status, bc_usec retry_after)
{
	struct sess *sess = reasoner->sess;
	const char *trouble = reason_trouble(reasoner->reason);

	reasoner->rest = reasoner->rest == 0 ? sess->cfg->reasoner.backoff : 2 * reasoner->rest;
	reasoner->rest = reasoner->rest > REST_MAX ? REST_MAX : reasoner->rest;
	reasoner->rest_until =
		sess_now(sess) + (retry_after > reasoner->rest ? retry_after : reasoner->rest);
	bc_metric_inc(BC_M_REASONER_FAILURES);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "reasoner failed (%s, HTTP status %d)%s%s, going on without for %.1f s",
	       bc_err_name(err), status, trouble[0] == '\0' ? "" : ": ", trouble,
	       (double)(reasoner->rest_until - sess_now(sess)) / (double)BC_USEC_PER_SEC);
}

static bool start(void *arg, struct bc_span body)
{
	struct reasoner *reasoner = arg;
	struct sess *sess = reasoner->sess;

	BC_CHECK(reasoner, REASONER_MAGIC);
	if (sess->state != SESS_OPEN || sess_now(sess) < reasoner->rest_until) {
		return false;
	}
	reasoner->running = sess->world->reason_start(sess->world_arg, body);
	if (!reasoner->running) {
		failed(reasoner, BC_E_NOMEM, 0, 0);
	}
	return reasoner->running;
}

static void cancel(void *arg)
{
	struct reasoner *reasoner = arg;

	BC_CHECK(reasoner, REASONER_MAGIC);
	if (reasoner->running) {
		reasoner->running = false;
		reasoner->sess->world->reason_cancel(reasoner->sess->world_arg);
	}
}

static struct spec_call as_guess(const struct reasoner *reasoner, const struct plan_call *call)
{
	return (struct spec_call){.tool = call->tool,
				  .arguments = call->arguments,
				  .occurrence = call->occurrence,
				  .turn = reasoner->turn};
}

static struct bc_span named(void *arg, const struct plan_call *call)
{
	struct reasoner *reasoner = arg;
	struct sess *sess = reasoner->sess;
	struct spec_call guess = as_guess(reasoner, call);
	const struct work *work;

	BC_CHECK(reasoner, REASONER_MAGIC);
	work = work_real(sess, call->tool, call->arguments, reasoner->turn);
	if (work != NULL) {
		return bc_span_str(work->output);
	}
	if (spec_reason_names(sess->agent->spec, &guess, call->mark) != BC_OK) {
		bc_log(BC_LOG_DEBUG, &sess->log, "proposal dropped: too many in this turn");
	}
	return bc_span(NULL, 0);
}

static void dropped(void *arg, const struct plan_call *call)
{
	struct reasoner *reasoner = arg;
	struct spec_call guess = as_guess(reasoner, call);

	BC_CHECK(reasoner, REASONER_MAGIC);
	spec_reason_withdraws(reasoner->sess->agent->spec, &guess);
}

static void kept(void *arg, int64_t mark)
{
	struct reasoner *reasoner = arg;

	BC_CHECK(reasoner, REASONER_MAGIC);
	spec_reason_keeps(reasoner->sess->agent->spec, reasoner->turn, mark);
}

static const struct reason_ops reason_ops = {.tool = find_tool,
					     .start = start,
					     .cancel = cancel,
					     .named = named,
					     .dropped = dropped,
					     .kept = kept};

/* ---- life ---- */

enum bc_err reasoner_new(struct sess *sess)
{
	const struct cfg_reasoner *conf = &sess->cfg->reasoner;
	struct reason_conf reason = {.model = conf->model,
				     .tokens_field =
					     conf->tokens_field == CFG_TOKENS_FIELD_MAX_TOKENS
						     ? "max_tokens"
						     : "max_completion_tokens",
				     .tokens_max = (unsigned)conf->tokens_max,
				     .steps_max = (unsigned)conf->steps_max,
				     .history_max = conf->history_max};
	struct reasoner *reasoner = calloc(1, sizeof(*reasoner));

	if (reasoner == NULL) {
		return BC_E_NOMEM;
	}
	reasoner->magic = REASONER_MAGIC;
	reasoner->sess = sess;
	bc_buf_init(&reasoner->told, WORDS_MAX);
	reasoner->reason = reason_new(&reason, &reason_ops, reasoner);
	sess->agent->reasoner = reasoner;
	return reasoner->reason == NULL ? BC_E_NOMEM : BC_OK; /* the session's end frees it */
}

void reasoner_fini(struct agent *agent)
{
	struct reasoner *reasoner = agent->reasoner;

	if (reasoner == NULL) {
		return;
	}
	BC_CHECK(reasoner, REASONER_MAGIC);
	reasoner->reason = reason_free(reasoner->reason);
	bc_buf_release(&reasoner->told);
	free(reasoner->instructions);
	reasoner->magic = 0;
	free(reasoner);
	agent->reasoner = NULL;
}

void reasoner_configure(struct sess *sess, struct bc_span session)
{
	struct reasoner *reasoner = sess->agent->reasoner;
	struct bc_span raw = field_raw(session, "instructions");
	char *text;

	if (reasoner == NULL || raw.len > INSTRUCTIONS_MAX) {
		return;
	}
	text = field_text(raw);
	if (text != NULL) {
		free(reasoner->instructions);
		reasoner->instructions = text;
	}
}

/* ---- the prompt ---- */

/* The tools that are the gateway's to run, one after the other. */
static enum bc_err put_tools(struct sess *sess, struct bc_buf *out)
{
	const char *comma = "";
	enum bc_err err = bc_buf_put_str(out, "[");

	for (size_t i = 0; i < sess->cfg->tool_count && err == BC_OK; i++) {
		const struct cfg_tool *tool;

		if (!tools_is_gateway(sess, NULL, sess->cfg->tool[i].name, &tool)) {
			continue;
		}
		err = bc_buf_put_str(out, comma);
		if (err == BC_OK) {
			err = bc_buf_put_span(out, bc_buf_span(&sess->tools->texts[i]));
		}
		comma = ",\n";
	}
	return err == BC_OK ? bc_buf_put_str(out, "]\n") : err;
}

static void instruct(struct reasoner *reasoner)
{
	struct bc_buf text;
	enum bc_err err;

	bc_buf_init(&text, SYSTEM_MAX);
	err = bc_buf_put_str(&text, agent_prompt);
	if (err == BC_OK) {
		err = put_tools(reasoner->sess, &text);
	}
	if (err == BC_OK && reasoner->instructions != NULL) {
		err = bc_buf_printf(&text, "\nWHAT THE VOICE AGENT WAS TOLD\n%s\n",
				    reasoner->instructions);
	}
	if (err == BC_OK) {
		err = reason_instruct(reasoner->reason, bc_buf_span(&text));
	}
	if (err != BC_OK) {
		bc_log(BC_LOG_WARNING, &reasoner->sess->log,
		       "the reasoner's prompt could not be made (%s), ignoring", bc_err_name(err));
	}
	bc_buf_release(&text);
}

/* ---- the caller's words ---- */

void reasoner_turn_begin(struct sess *sess)
{
	struct reasoner *reasoner = sess->agent->reasoner;

	if (reasoner == NULL) {
		return;
	}
	reason_turn(reasoner->reason);
	instruct(reasoner);
	reasoner->turn = sess->agent->hearing.turn;
	reasoner->wanted = false;
	reasoner->item[0] = '\0';
	reasoner->words = WORDS_UNSURE;
	reasoner->updated = 0;
	bc_buf_clear(&reasoner->told);
}

static void update(struct reasoner *reasoner, struct bc_span words, bool final, bc_usec horizon)
{
	reasoner->wanted = false;
	reasoner->updated = sess_now(reasoner->sess);
	bc_buf_clear(&reasoner->told);
	if (words.len > 0 && bc_buf_put_span(&reasoner->told, words) == BC_OK) {
		reason_update(reasoner->reason, words, final, horizon);
	}
}

void reasoner_trigger(struct sess *sess)
{
	sess->agent->reasoner->wanted = true;
}

bc_usec reasoner_wait(const struct sess *sess)
{
	const struct reasoner *reasoner = sess->agent->reasoner;
	bc_usec due = reasoner->updated + sess->cfg->reasoner.interval - sess_now(sess);

	if (!reasoner->wanted) {
		return -1;
	}
	/* What the client says is all there is for now waits for nothing. */
	return due < 0 || sess->agent->hearing.words.complete ? 0 : due;
}

void reasoner_advance(struct sess *sess)
{
	struct reasoner *reasoner = sess->agent->reasoner;
	const struct hearing *hearing = &sess->agent->hearing;
	struct bc_span words = bc_buf_span(&hearing->transcript);

	if (reasoner_wait(sess) != 0) {
		return;
	}
	reasoner->wanted = false;
	if (hearing->on && hearing->turn_open && reasoner->turn == hearing->turn &&
	    !sess->agent->refused && words.len > 0 &&
	    !bc_span_eq(words, bc_buf_span(&reasoner->told))) {
		update(reasoner, words, false, hear_position(sess));
	}
}

/* The words of the turn, which has been heard up to reasoner->horizon, are complete. */
static void words_final(struct sess *sess, struct bc_span words, enum words_of of)
{
	struct reasoner *reasoner = sess->agent->reasoner;

	reasoner->item[0] = '\0';
	if (!sess->agent->refused) {
		reasoner->words = of;
		update(reasoner, words, true, reasoner->horizon);
		pass_advance(sess);
	}
}

void reasoner_committed(struct sess *sess, const char *item)
{
	struct reasoner *reasoner = sess->agent->reasoner;
	const struct hearing *hearing = &sess->agent->hearing;

	if (reasoner == NULL) {
		return;
	}
	reasoner->horizon = hear_position(sess);
	if (hearing->on && hearing->turn_open && hearing->words.given) {
		words_final(sess, bc_buf_span(&hearing->transcript),
			    hearing->words.complete ? WORDS_RECOGNISED : WORDS_UNSURE);
	} else {
		memcpy(reasoner->item, item, strlen(item) + 1);
	}
}

void reasoner_transcribed(struct sess *sess, struct bc_span text)
{
	struct reasoner *reasoner = sess->agent->reasoner;
	enum words_of of = WORDS_RECOGNISED;
	char *words;

	if (reasoner == NULL || reasoner->item[0] == '\0' ||
	    !field_is(text, "item_id", reasoner->item)) {
		return;
	}
	words = field_text(field_raw(text, "transcript"));
	if (words == NULL) { /* the recogniser failed: what it had said before is all there is */
		words = bc_span_dup(bc_buf_span(&sess->agent->hearing.transcript));
		of = WORDS_UNSURE;
	}
	words_final(sess, bc_span_str(words), of);
	free(words);
}

void reasoner_typed(struct sess *sess, struct bc_span item)
{
	struct reasoner *reasoner = sess->agent->reasoner;
	struct bc_buf words;
	bool typed;

	/* Otherwise the caller speaks already, and a new turn has begun. */
	if (reasoner == NULL || reasoner->turn == 0 ||
	    reasoner->turn != sess->agent->committed_turn) {
		return;
	}
	bc_buf_init(&words, WORDS_MAX);
	reasoner->horizon = hear_position(sess);
	if (field_words(item, &words, &typed) == BC_OK) {
		words_final(sess, bc_buf_span(&words), typed ? WORDS_TYPED : WORDS_UNSURE);
	}
	bc_buf_release(&words);
}

void reasoner_said(struct sess *sess, struct bc_span item)
{
	struct reasoner *reasoner = sess->agent->reasoner;
	struct bc_buf words;
	bool typed;

	if (reasoner == NULL) {
		return;
	}
	bc_buf_init(&words, WORDS_MAX);
	if (field_words(item, &words, &typed) == BC_OK && bc_buf_len(&words) > 0) {
		reason_said(reasoner->reason, bc_buf_span(&words));
	}
	bc_buf_release(&words);
}

/* ---- results ---- */

void reasoner_result(struct sess *sess, const struct work *work)
{
	struct reasoner *reasoner = sess->agent->reasoner;

	if (reasoner != NULL && work->turn == reasoner->turn) {
		reason_result(reasoner->reason, work->tool, work->arguments,
			      bc_span_str(work->output));
		pass_advance(sess);
	}
}

/* Whose results the arguments of a call are made of, by their places in front of it. */
static uint32_t needs_of(const struct plan_call *const calls[], unsigned at)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < at; i++) {
		for (size_t k = 0; k < calls[at]->needs_n; k++) {
			mask |= calls[at]->needs[k] == calls[i]->id ? UINT32_C(1) << i : 0;
		}
	}
	return mask;
}

void reasoner_judge(struct sess *sess)
{
	struct reasoner *reasoner = sess->agent->reasoner;
	const struct plan_call *calls[PLAN_CALLS_MAX];
	struct spec_reasoned named[PLAN_CALLS_MAX];
	unsigned count = 0;

	if (reasoner == NULL) {
		return;
	}
	if (reasoner->words != WORDS_UNSURE && reasoner->turn == sess->agent->committed_turn) {
		count = reason_verdict(reasoner->reason, calls);
	}
	for (unsigned i = 0; i < count; i++) {
		named[i] = (struct spec_reasoned){.call = as_guess(reasoner, calls[i]),
						  .needs = needs_of(calls, i)};
		named[i].call.fresh_since = sess_now(sess) - calls[i]->tool->fresh_for;
	}
	if (!spec_reason_confirms(sess->agent->spec, named, count, reasoner->horizon,
				  reasoner->words == WORDS_TYPED)) {
		spec_reason_doubts(sess->agent->spec);
	}
}

void reasoner_over(struct sess *sess, uint64_t turn)
{
	struct reasoner *reasoner = sess->agent->reasoner;

	if (reasoner != NULL && reasoner->turn <= turn) {
		reason_over(reasoner->reason);
	}
}

void reasoner_lost(struct sess *sess, const struct guess *guess)
{
	struct reasoner *reasoner = sess->agent->reasoner;

	if (reasoner != NULL && guess->turn == reasoner->turn &&
	    work_real(sess, guess->tool, guess->arguments, guess->turn) == NULL) {
		reason_lost(reasoner->reason, guess->tool, guess->arguments);
	}
}

/* ---- what the endpoint says ---- */

void sess_reason_bytes(struct sess *sess, struct bc_span bytes)
{
	struct reasoner *reasoner;

	BC_CHECK(sess, SESS_MAGIC);
	reasoner = sess->agent->reasoner;
	BC_BUG_ON(!reasoner->running);
	if (sess->state != SESS_OPEN) {
		return;
	}
	ledger_reasoned(sess, bytes);
	if (!reason_bytes(reasoner->reason, bytes)) {
		failed(reasoner, BC_E_PROTO, 200, 0);
	}
	pass_advance(sess);
}

void sess_reason_ended(struct sess *sess, enum bc_err err, int status, bc_usec retry_after)
{
	struct reasoner *reasoner;

	BC_CHECK(sess, SESS_MAGIC);
	reasoner = sess->agent->reasoner;
	BC_BUG_ON(!reasoner->running);
	ledger_reason_ended(sess, err, status, retry_after);
	reasoner->running = false;
	if (sess->state != SESS_OPEN) {
		return;
	}
	if (reason_ended(reasoner->reason, err == BC_OK)) {
		reasoner->rest = 0;
	} else {
		failed(reasoner, err == BC_OK ? BC_E_PROTO : err, status, retry_after);
	}
	pass_advance(sess);
}

/* ---- what operators see ---- */

bool reasoner_runs(const struct sess *sess)
{
	return sess->agent->reasoner != NULL && sess->agent->reasoner->running;
}

bool reasoner_rests(const struct sess *sess)
{
	/* By the ledger's clock: a reason that ends unseen must not depend on who asks. */
	return sess->agent->reasoner != NULL &&
	       sess->ledger->at < sess->agent->reasoner->rest_until;
}

/* What it waits for. */
static const char *wait_name(const struct sess *sess, const struct reason_report *report)
{
	const struct reasoner *reasoner = sess->agent->reasoner;

	if (report->phase == REASON_IDLE && sess_now(sess) < reasoner->rest_until) {
		return "endpoint_failed";
	}
	if (report->phase != REASON_IDLE) {
		return reason_state_name(report->phase);
	}
	if (report->over || reasoner->turn == 0) {
		return "next_turn";
	}
	return report->final ? "results" : "words";
}

enum bc_err reasoner_describe(const struct sess *sess, struct bc_buf *out)
{
	struct reason_report report;

	if (sess->agent->reasoner == NULL) {
		return BC_OK;
	}
	reason_report(sess->agent->reasoner->reason, &report);
	return bc_buf_printf(out,
			     " reasoner_waits_for=%s reasoner_steps=%u reasoner_restarts=%u"
			     " reasoner_calls=%u",
			     wait_name(sess, &report), report.steps, report.restarts, report.calls);
}
