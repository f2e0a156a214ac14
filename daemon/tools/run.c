/*
 * The steps of a call, in the order of fsm.def.
 *
 * T1 Nothing leaves without a ticket that permits it: attempt.c holds the only caller of net_http_start(), which takes
 *    the ticket (J1).
 * T2 The result of an effect is durable before done is called (J2).  A doubtful effect has no result; its record is
 *    its settlement, JRN_IN_DOUBT (J7).
 * T3 No call is sent twice that must not be: attempt.c says which may be (J5).
 * T4 A ticket is settled exactly once, in finish().
 */
#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/loop/loop.h"
#include "daemon/tools/call.h"
#include "daemon/tools/rollback.h"
#include "daemon/tools/secret.h"
#include "daemon/tools/template.h"
#include "daemon/tools/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX  ((size_t)2 << 20)     /* bytes of a text for the journal */
#define HELD_STEP (20 * BC_USEC_PER_MS) /* how often a held call looks whether it may go on */

enum tool_state tool_state_next(enum tool_state from, enum tool_event on)
{
	switch (BC_FSM_KEY(from, on)) {
#define STATE(id, help)
#define EVENT(id, help)
#define EDGE(from, on, to)                                   \
	case BC_FSM_KEY(TOOL_STATE_##from, TOOL_EVENT_##on): \
		return TOOL_STATE_##to;
#include "daemon/tools/fsm.def"
	default:
		return TOOL_STATE__COUNT;
	}
}

/* The only writer of state. */
void tool_move(struct tool_call *call, enum tool_event on)
{
	enum tool_state next = tool_state_next(call->state, on);

	BC_BUG_ON(next == TOOL_STATE__COUNT);
	call->state = next;
}

enum jrn_effect tool_effect(const struct tool_call *call)
{
	switch (call->tool->effect) {
	case CFG_EFFECT_READ:
		return JRN_READ;
	case CFG_EFFECT_REVERSIBLE:
		return JRN_REVERSIBLE;
	case CFG_EFFECT_HOLD:
		return JRN_HOLD;
	}
	return JRN_HOLD;
}

bool tool_is_effect(const struct tool_call *call)
{
	return tool_effect(call) != JRN_READ;
}

/* What the record says in the end; how is what became of a result that there is. */
static enum jrn_settlement settlement_of(const struct tool_call *call, enum jrn_settlement how)
{
	if (call->result.started == 0) {
		return JRN_NEVER_STARTED;
	}
	if (call->verdict.in_doubt) {
		return JRN_IN_DOUBT;
	}
	if (call->verdict.type != NULL && !(tool_is_effect(call) && call->verdict.happened)) {
		return JRN_FAILED;
	}
	/* An effect that was asked for stands, also when nobody is left to hear of it; recovery judges likewise. */
	return tool_is_effect(call) && !call->speculative ? JRN_USED : how;
}

/* Record how it ended, and free the call. */
static void finish(struct tool_call *call, enum jrn_settlement how)
{
	struct tool_host *host = call->host;

	if (call->has_ticket) {
		jrn_settle(host->port, &call->ticket, how, loop_wall(host->loop));
	}
	tool_move(call, TOOL_EVENT_FREE);
	tool_call_free(call);
}

/* A guess that is undone when nobody wants it. */
static bool is_revocable(const struct tool_call *call)
{
	return call->has_ticket && !call->committed && tool_effect(call) == JRN_REVERSIBLE;
}

/* From now on nothing with its tags starts until it is settled. */
static void abandon(struct tool_call *call)
{
	if (is_revocable(call) && !call->abandoned) {
		call->abandoned = true;
		jrn_abandon(call->host->port, &call->ticket, loop_wall(call->host->loop));
	}
}

/* Nobody wants the result: what was executed, or may have been, is taken back. */
static void drop(struct tool_call *call)
{
	enum jrn_settlement how = settlement_of(call, JRN_UNUSED);

	if (!is_revocable(call) || (how != JRN_UNUSED && how != JRN_IN_DOUBT)) {
		finish(call, how);
		return;
	}
	abandon(call);
	tool_rollback_begin(call);
	tool_move(call, TOOL_EVENT_FREE);
	tool_call_free(call);
}

/*
 * What a server says, without secrets it repeats.  Before it becomes a part of a message: there it is cut, and escaped once
 * more, and whoever looks for a secret afterwards does not find it.
 */
static struct bc_span shown_detail(const struct tool_call *call, struct bc_span detail,
				   struct bc_buf *room)
{
	if (call->tool->secret_arguments.count == 0 || detail.len == 0) {
		return detail;
	}
	return tool_secret_output(room, call->tool, call->args, detail) == BC_OK ? bc_buf_span(room)
										 : bc_span("", 0);
}

void tool_put_error(struct tool_call *call, const struct tool_verdict *verdict,
		    struct bc_span detail)
{
	struct bc_buf room;
	static const char last[] =
		"{\"error\":{\"type\":\"lost\",\"status\":0,\"retryable\":false,"
		"\"message\":\"out of memory; outcome unknown, do not repeat\"}}";

	call->verdict = *verdict;
	call->result.outcome = verdict->outcome;
	bc_buf_clear(&call->output);
	bc_buf_init(&room, TEXT_MAX);
	if (tool_error_put(&call->output, verdict, call->result.status,
			   shown_detail(call, detail, &room)) == BC_OK) {
		call->result.output = bc_buf_span(&call->output);
	} else {
		call->result.output = BC_SPAN_LIT(last);
	}
	bc_buf_release(&room);
}

/* The call ends before anything was sent. */
static void refuse(struct tool_call *call, enum tool_outcome outcome, struct bc_span detail)
{
	struct tool_verdict verdict = tool_judge_unsent(outcome);

	tool_slot_give(call);
	tool_breaker_leave(call);
	call->result.finished = loop_now(call->host->loop);
	tool_put_error(call, &verdict, detail);
	tool_move(call, TOOL_EVENT_REFUSE);
	tool_due_add(call);
}

/* From now on equal calls are answered with that. */
static void note_doubt(struct tool_call *call)
{
	struct bc_log_ctx ctx;

	(void)snprintf(ctx.session, sizeof(ctx.session), "%s", call->session);
	bc_log(BC_LOG_WARNING, &ctx,
	       "tool %s: whether intent %llu was carried out is not known, not making an equal call",
	       call->tool->name, (unsigned long long)call->ticket.intent);
	tool_doubts_add(&call->host->doubts, call->ticket.intent, &call->digest);
}

void tool_report(struct tool_call *call)
{
	/* A guess nobody wants is asked for on: until that is over its tags hold back an equal call anyway. */
	if (call->verdict.in_doubt && !(call->cancelled && is_revocable(call))) {
		note_doubt(call);
	}
	if (call->cancelled) {
		drop(call);
		return;
	}
	tool_move(call, TOOL_EVENT_REPORT);
	bc_metric_inc(BC_M_TOOL_RESULTS);
	if (call->result.outcome != TOOL_OK) {
		bc_metric_inc(BC_M_TOOL_ERRORS);
	}
	call->done(call->arg, call, &call->result);
}

/* The ticket is there. */
static void start(struct tool_call *call)
{
	struct bc_buf message;
	enum bc_err err;

	bc_buf_init(&message, TOOL_MESSAGE_MAX);
	err = tool_start(call, &call->ticket, &message);
	if (err != BC_OK) {
		refuse(call, TOOL_UNREACHABLE, bc_buf_span(&message));
	}
	bc_buf_release(&message);
}

/* In NEW, HELD or INTENDING. */
static void wait_for_undo(struct tool_call *call)
{
	bc_usec waited = loop_now(call->host->loop) - call->created;

	if (waited >= call->common->undo_wait || !tool_timer_start(call, HELD_STEP)) {
		bc_metric_inc(BC_M_TOOL_UNDOING_REFUSED);
		refuse(call, TOOL_UNDOING, bc_span("", 0));
	} else if (call->state != TOOL_STATE_HELD) {
		tool_move(call, TOOL_EVENT_HOLD);
	}
}

static void on_ticket(void *arg, enum bc_err err, const struct jrn_ticket *ticket)
{
	struct tool_call *call = arg;

	BC_CHECK(call, TOOL_CALL_MAGIC);
	if (err == BC_OK) {
		call->ticket = *ticket;
		call->has_ticket = true;
	}
	/* J5: all that may speak against it is looked at now, in the step that could send it. */
	if (call->cancelled) {
		finish(call, JRN_NEVER_STARTED);
	} else if (err != BC_OK) {
		refuse(call, TOOL_NOT_RECORDED, bc_span("", 0));
	} else if (!jrn_start(call->host->port, ticket)) {
		/* Something with one of its tags was given up meanwhile. */
		jrn_settle(call->host->port, ticket, JRN_NEVER_STARTED,
			   loop_wall(call->host->loop));
		call->has_ticket = false;
		wait_for_undo(call);
	} else if (call->may_start != NULL && !call->may_start(call->arg)) {
		refuse(call, TOOL_CANCELLED, bc_span("", 0));
	} else {
		if (call->committed && call->speculative) {
			/* If it cannot be, neither can the result. */
			(void)jrn_commit(call->host->port, ticket, loop_wall(call->host->loop));
		}
		start(call);
	}
}

enum bc_err tool_put_tags(struct bc_buf *out, const struct cfg_tool *tool)
{
	enum bc_err err = BC_OK;
	size_t i;

	if (tool->tags.count == 0) {
		return bc_buf_put_span(out, tool_url_host(tool->request.url));
	}
	for (i = 0; err == BC_OK && i < tool->tags.count; i++) {
		err = bc_buf_printf(out, "%s%s", i == 0 ? "" : ",", tool->tags.items[i]);
	}
	return err;
}

static enum bc_err ask_ticket(struct tool_call *call, const struct jrn_text *arguments,
			      struct bc_span tags)
{
	struct jrn_intent intent = {
		.session = bc_span_str(call->session),
		.turn = call->turn,
		.tool = bc_span_str(call->tool->name),
		.arguments = arguments->shown,
		.sealed = arguments->sealed,
		.tags = tags,
		.effect = tool_effect(call),
		.speculative = call->speculative,
		.wall = loop_wall(call->host->loop),
	};
	enum bc_err err;

	if (tool_is_effect(call)) {
		err = jrn_intend(call->host->port, &intent, &call->ticket, on_ticket, call);
		if (err == BC_OK) {
			tool_move(call, TOOL_EVENT_INTEND);
		}
		return err;
	}
	err = jrn_intend(call->host->port, &intent, &call->ticket, NULL, NULL);
	call->has_ticket = err == BC_OK;
	return err;
}

static enum bc_err intend(struct tool_call *call)
{
	struct bc_buf arguments;
	struct bc_buf sealed;
	struct bc_buf tags;
	enum bc_err err;

	bc_buf_init(&arguments, TEXT_MAX);
	bc_buf_init(&sealed, TEXT_MAX);
	bc_buf_init(&tags, TEXT_MAX);
	err = tool_secret_args(&arguments, call->tool, call->sent);
	if (err == BC_OK) {
		err = tool_seal_args(&sealed, call->host->seal, call->tool, call->sent);
	}
	if (err == BC_OK) {
		err = tool_put_tags(&tags, call->tool);
	}
	if (err == BC_OK) {
		const struct jrn_text text = {bc_buf_span(&arguments), bc_buf_span(&sealed)};

		err = ask_ticket(call, &text, bc_buf_span(&tags));
	}
	bc_buf_release(&arguments);
	bc_buf_release(&sealed);
	bc_buf_release(&tags);
	return err;
}

/* An equal call of this session, or of an earlier process, is in doubt. */
static bool is_doubted(const struct tool_call *call)
{
	const struct tool_doubts *doubts = &call->host->doubts;
	struct bc_sha256 earlier;
	struct bc_buf shown;
	bool yes = tool_doubts_has(doubts, &call->digest);

	bc_buf_init(&shown, TEXT_MAX);
	if (!yes && doubts->count > 0 &&
	    tool_secret_args(&shown, call->tool, call->args) == BC_OK) {
		earlier = tool_doubt_digest(bc_span("", 0), call->tool->name, bc_buf_span(&shown));
		yes = tool_doubts_has(doubts, &earlier);
	}
	bc_buf_release(&shown);
	return yes;
}

/* Whatever can stand against a call, and the record of its intent.  BC_E_NOMEM, or an error that ret_outcome names. */
static enum bc_err admit(struct tool_call *call, enum tool_outcome *ret_outcome)
{
	enum bc_err err;

	if (tool_is_effect(call) && is_doubted(call)) {
		bc_metric_inc(BC_M_TOOL_DOUBT_REFUSED);
		*ret_outcome = TOOL_IN_DOUBT;
		return BC_E_LIMIT;
	}
	*ret_outcome = TOOL_BUSY;
	err = tool_slot_take(call);
	if (err != BC_OK) {
		bc_metric_add(BC_M_TOOL_BUSY, err == BC_E_LIMIT ? 1 : 0);
		return err;
	}
	*ret_outcome = TOOL_OPEN;
	if (!tool_breaker_enter(call)) {
		bc_metric_inc(BC_M_BREAKER_REFUSED);
		return BC_E_LIMIT;
	}
	*ret_outcome = TOOL_NOT_RECORDED;
	return intend(call);
}

void tool_held_again(struct tool_call *call)
{
	enum bc_err err = intend(call);

	if (err == BC_E_AGAIN) {
		wait_for_undo(call);
	} else if (err != BC_OK) {
		refuse(call, TOOL_NOT_RECORDED, bc_span("", 0));
	}
}

enum bc_err tool_run(struct tool_host *host, const struct cfg_tools *common,
		     const struct tool_request *request, struct tool_call **ret)
{
	struct tool_call *call;
	enum tool_outcome refused;
	enum bc_err err;

	BC_CHECK(host, TOOL_HOST_MAGIC);
	call = tool_call_new(host, common, request);
	if (call == NULL) {
		return BC_E_NOMEM;
	}
	err = admit(call, &refused);
	if (err == BC_E_NOMEM) {
		finish(call, JRN_NEVER_STARTED);
		return err;
	}
	bc_metric_inc(BC_M_TOOL_CALLS);
	if (err == BC_E_AGAIN) {
		wait_for_undo(call);
	} else if (err != BC_OK) {
		refuse(call, refused, bc_span("", 0));
	} else if (call->has_ticket) {
		start(call);
	}
	*ret = call;
	return BC_OK;
}

static void on_recorded(void *arg, enum bc_err err)
{
	struct tool_call *call = arg;

	BC_CHECK(call, TOOL_CALL_MAGIC);
	if (err != BC_OK) {
		struct tool_verdict verdict = tool_judge_unrecorded();

		tool_put_error(call, &verdict, bc_span("", 0));
	}
	tool_report(call);
}

enum bc_err tool_record(const struct tool_record *record, jrn_done_fn *fn, void *arg)
{
	struct tool_host *host = record->host;
	struct bc_buf shown;
	struct bc_buf sealed;
	enum bc_err err;

	bc_buf_init(&shown, TEXT_MAX);
	bc_buf_init(&sealed, TEXT_MAX);
	err = tool_secret_output(&shown, record->tool, record->args, record->output);
	/* Sealed only where something is hidden: an undo may need just that. */
	if (err == BC_OK && !bc_span_eq(bc_buf_span(&shown), record->output)) {
		err = tool_seal_text(&sealed, host->seal, record->tool, record->output);
	}
	if (err == BC_OK) {
		const struct jrn_text text = {bc_buf_span(&shown), bc_buf_span(&sealed)};

		err = jrn_result_sealed(host->port, record->ticket, record->status, &text,
					loop_wall(host->loop), fn, arg);
	}
	bc_buf_release(&shown);
	bc_buf_release(&sealed);
	return err;
}

/* Hand the result to the journal.  An effect's callback follows only after BC_OK. */
static enum bc_err record(struct tool_call *call)
{
	struct tool_host *host = call->host;
	const struct tool_record text = {.host = host,
					 .tool = call->tool,
					 .args = call->args,
					 .ticket = &call->ticket,
					 .status = call->result.status,
					 .output = call->result.output};

	return tool_record(&text, tool_is_effect(call) ? on_recorded : NULL, call);
}

void tool_conclude(struct tool_call *call)
{
	enum bc_err err;

	tool_slot_give(call);
	if (call->verdict.in_doubt) {
		tool_report(call);
		return;
	}
	err = record(call);
	if (!tool_is_effect(call)) {
		/* Reads go on unrecorded; the journal counts them (J8). */
		tool_report(call);
	} else if (err == BC_OK) {
		tool_move(call, TOOL_EVENT_RECORD);
	} else {
		on_recorded(call, err);
	}
}

void tool_cancel(struct tool_call *call)
{
	BC_CHECK(call, TOOL_CALL_MAGIC);
	BC_BUG_ON(call->cancelled);
	abandon(call);
	switch (call->state) {
	case TOOL_STATE_FAILED:
		tool_due_remove(call);
		finish(call, JRN_NEVER_STARTED);
		return;
	case TOOL_STATE_HELD:
		tool_cut_off(call);
		finish(call, JRN_NEVER_STARTED);
		return;
	case TOOL_STATE_SENT:
		if (tool_is_effect(call)) {
			break;
		}
		tool_cut_off(call);
		finish(call, JRN_UNUSED);
		return;
	case TOOL_STATE_WAITING:
		/* Nobody wants it to be tried again, but what was sent may have had an effect. */
		tool_cut_off(call);
		call->cancelled = true;
		tool_attempts_end(call);
		return;
	case TOOL_STATE_INTENDING:
	case TOOL_STATE_ASKING:
	case TOOL_STATE_RECORDING:
		break;
	case TOOL_STATE_REPORTED:
		tool_settle(call, JRN_UNUSED);
		return;
	case TOOL_STATE_NEW:
	case TOOL_STATE_END:
	case TOOL_STATE__COUNT:
		bc_bug(__FILE__, __LINE__, "a call in a state nobody can see");
	}
	call->cancelled = true;
}

void tool_settle(struct tool_call *call, enum jrn_settlement how)
{
	BC_CHECK(call, TOOL_CALL_MAGIC);
	BC_BUG_ON(call->state != TOOL_STATE_REPORTED);
	BC_BUG_ON(how != JRN_USED && how != JRN_UNUSED);
	if (how == JRN_UNUSED) {
		drop(call);
	} else {
		finish(call, settlement_of(call, how));
	}
}

void tool_commit(struct tool_call *call)
{
	BC_CHECK(call, TOOL_CALL_MAGIC);
	BC_BUG_ON(call->cancelled);
	if (call->committed) {
		return;
	}
	call->committed = true;
	/* Without a ticket yet: recorded with its start.  FAILED: it never starts. */
	if (!tool_is_effect(call) || !call->has_ticket || call->state == TOOL_STATE_FAILED ||
	    jrn_commit(call->host->port, &call->ticket, loop_wall(call->host->loop))) {
		return;
	}
	/* The next process will take it for a guess and take it back, so nobody may be told that it was done (J8). */
	if (call->state == TOOL_STATE_REPORTED) {
		struct tool_verdict verdict = tool_judge_unrecorded();

		tool_put_error(call, &verdict, bc_span("", 0));
	}
}

void tool_abandon(struct tool_call *call)
{
	enum jrn_settlement how = settlement_of(call, JRN_UNUSED);

	if (call->state == TOOL_STATE_FAILED) {
		tool_due_remove(call);
	}
	tool_cut_off(call);
	if (is_revocable(call) && call->result.started != 0 &&
	    (how == JRN_UNUSED || how == JRN_IN_DOUBT)) {
		/* Left open: the next process takes it back. */
		abandon(call);
		tool_move(call, TOOL_EVENT_FREE);
		tool_call_free(call);
		return;
	}
	if (call->state == TOOL_STATE_SENT) {
		how = tool_is_effect(call) ? JRN_IN_DOUBT : JRN_UNUSED;
	}
	finish(call, how);
}

const struct tool_result *tool_result(const struct tool_call *call)
{
	return call->state == TOOL_STATE_REPORTED ? &call->result : NULL;
}

bc_usec tool_started(const struct tool_call *call)
{
	return call->created;
}
