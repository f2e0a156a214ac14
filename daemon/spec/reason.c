#include "daemon/base/metric.h"
#include "daemon/spec/reason_internal.h"
#include "proto/agent/print.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NEWS_MAX   (1024 * 1024) /* bytes of what happens between two steps */
#define SYSTEM_MAX (1024 * 1024) /* bytes of what comes first */
#define SAID_MAX   8192          /* bytes of one answer that are remembered */

static const char *const state_names[] = {
#define STATE(id, name) name,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/spec/reason_fsm.def"
};

static_assert(BC_ARRAY_LEN(state_names) == REASON_STATE__COUNT, "a state has no name");

static const struct {
	const char *name;
	const char *text;
} missteps[] = {
	{"none", ""},
#define MISSTEP(id, name, text) {name, text},
#include "daemon/spec/misstep.def"
};

static_assert(BC_ARRAY_LEN(missteps) == MISSTEP__COUNT, "a misstep has no row");

static const enum bc_metric metrics[] = {
	[MISSTEP_EARLY_ANSWER] = BC_M_REASONER_EARLY_ANSWER,
	[MISSTEP_TWO_ACTIONS] = BC_M_REASONER_TWO_ACTIONS,
	[MISSTEP_MALFORMED] = BC_M_REASONER_MALFORMED,
	[MISSTEP_UNKNOWN_TOOL] = BC_M_REASONER_UNKNOWN_TOOL,
	[MISSTEP_BAD_ARGUMENTS] = BC_M_REASONER_BAD_ARGUMENTS,
	[MISSTEP_BAD_OPERAND] = BC_M_REASONER_BAD_OPERAND,
	[MISSTEP_IDLE_PAUSE] = BC_M_REASONER_IDLE_PAUSE,
	[MISSTEP_LATE_EDIT] = BC_M_REASONER_LATE_EDIT,
	[MISSTEP_UNKNOWN_CALL] = BC_M_REASONER_UNKNOWN_CALL,
	[MISSTEP_PLAN_FULL] = BC_M_REASONER_PLAN_FULL,
};

static_assert(BC_ARRAY_LEN(metrics) == MISSTEP__COUNT, "a misstep is not counted");

const char *reason_state_name(enum reason_state state)
{
	BC_BUG_ON(state >= REASON_STATE__COUNT);
	return state_names[state];
}

const char *misstep_name(enum misstep misstep)
{
	BC_BUG_ON(misstep >= MISSTEP__COUNT);
	return missteps[misstep].name;
}

static enum reason_state next_state(enum reason_state from, enum reason_event on)
{
	switch (BC_FSM_KEY(from, on)) {
#define STATE(id, name)
#define EVENT(id, name)
#define EDGE(from, on, to)                              \
	case BC_FSM_KEY(REASON_##from, REASON_EV_##on): \
		return REASON_##to;
#include "daemon/spec/reason_fsm.def"
	default:
		return REASON_STATE__COUNT;
	}
}

static void reason_move(struct reason *reason, enum reason_event event)
{
	enum reason_state next = next_state(reason->state, event);

	BC_BUG_ON(next == REASON_STATE__COUNT);
	reason->state = next;
	BC_BUG_ON((next == REASON_GENERATING) != (reason->step.stream != NULL));
}

/* ---- telling ---- */

/* false: it does not fit, and is not known to the model, which guesses on less. */
static bool tell(struct reason *reason, struct bc_span text)
{
	if (bc_buf_len(&reason->news) > 0 && bc_buf_put(&reason->news, "\n", 1) != BC_OK) {
		return false;
	}
	return bc_buf_put_span(&reason->news, text) == BC_OK;
}

/* Between two steps: what has happened goes into the history. */
static void flush(struct reason *reason)
{
	struct bc_span news = bc_buf_span(&reason->news);

	if (news.len > 0 && history_add(&reason->history, HISTORY_GATEWAY, news) == BC_OK) {
		reason->wanted = true;
		reason->heard_all = reason->heard_all || reason->final_news;
	}
	reason->final_news = false;
	bc_buf_clear(&reason->news);
}

static void tell_error(struct reason *reason, enum misstep misstep, struct bc_span trouble)
{
	struct bc_buf text;
	struct bc_buf event;
	const char *said = missteps[misstep].text;

	bc_buf_init(&text, 2 * PLAN_TROUBLE_MAX);
	bc_buf_init(&event, NEWS_MAX);
	bc_metric_inc(metrics[misstep]);
	reason->restarts++;
	if (bc_buf_printf(&text, "%s%s%.*s", said, said[0] != '\0' && trouble.len > 0 ? " " : "",
			  BC_SPAN_ARG(trouble)) == BC_OK &&
	    agent_put_error(&event, bc_buf_span(&text)) == BC_OK) {
		tell(reason, bc_buf_span(&event));
	}
	bc_buf_release(&text);
	bc_buf_release(&event);
}

/* Calls that are no more, and that the model did not withdraw itself. */
static void tell_cancelled(struct reason *reason)
{
	const struct plan_call *call;
	struct bc_buf event;

	bc_buf_init(&event, NEWS_MAX);
	while ((call = plan_next_untold(&reason->plan)) != NULL) {
		bc_buf_clear(&event);
		if (agent_put_cancelled(&event, call->id) == BC_OK) {
			tell(reason, bc_buf_span(&event));
		}
		if (call->misstep != MISSTEP_NONE) {
			tell_error(reason, call->misstep, bc_span_str(call->trouble));
		}
	}
	bc_buf_release(&event);
}

/* ---- the plan's wishes ---- */

static struct bc_span named(void *arg, const struct plan_call *call)
{
	struct reason *reason = arg;

	BC_CHECK(reason, REASON_MAGIC);
	bc_metric_inc(call->chained ? BC_M_REASONER_CHAINED : BC_M_REASONER_CALLS);
	return reason->ops->named(reason->arg, call);
}

static void dropped(void *arg, const struct plan_call *call)
{
	struct reason *reason = arg;

	BC_CHECK(reason, REASON_MAGIC);
	reason->ops->dropped(reason->arg, call);
}

static void finished(void *arg, const struct plan_call *call, struct bc_span output)
{
	struct reason *reason = arg;
	struct bc_buf event;

	BC_CHECK(reason, REASON_MAGIC);
	bc_buf_init(&event, NEWS_MAX);
	if (agent_put_result(&event, call->id, output) == BC_OK) {
		tell(reason, bc_buf_span(&event));
	}
	bc_buf_release(&event);
}

static const struct plan_ops plan_ops = {.named = named, .dropped = dropped, .finished = finished};

/* ---- generations ---- */

static void start(struct reason *reason)
{
	struct history_request request = {.model = reason->conf.model,
					  .tokens_field = reason->conf.tokens_field,
					  .tokens_max = reason->conf.tokens_max,
					  .system = reason->system};
	struct bc_buf body;

	/* Every byte of the history may need six as JSON. */
	bc_buf_init(&body, 6 * (reason->conf.history_max + 2 * SYSTEM_MAX));
	if (generation_init(reason)) {
		if (history_request(&reason->history, &request, &body) == BC_OK &&
		    reason->ops->start(reason->arg, bc_buf_span(&body))) {
			reason->wanted = false;
			reason->steps++;
			bc_metric_inc(BC_M_REASONER_STEPS);
			reason_move(reason, REASON_EV_BEGIN);
		} else {
			generation_release(&reason->step);
		}
	}
	bc_buf_release(&body);
}

/* Whether what is left of the turn's steps is kept for the time when the caller's words are complete. */
static bool is_sparing(const struct reason *reason)
{
	unsigned most = reason->conf.steps_max;

	return !reason->final && most > 1 && reason->steps >= most - (most + 2) / 3;
}

/* Go on if the model is to be told anything. */
static void go(struct reason *reason)
{
	tell_cancelled(reason);
	if (reason->state == REASON_GENERATING) {
		return;
	}
	flush(reason);
	if (reason->state != REASON_IDLE || !reason->wanted || reason->answered || reason->over ||
	    is_sparing(reason)) {
		return;
	}
	if (reason->steps >= reason->conf.steps_max || reason->restarts > REASON_RESTARTS_MAX) {
		bc_metric_inc(BC_M_REASONER_SPENT);
		reason_move(reason, REASON_EV_SPEND);
		return;
	}
	start(reason);
}

/* E1: something has happened. */
static void halt(struct reason *reason)
{
	if (reason->state != REASON_GENERATING) {
		return;
	}
	reason->ops->cancel(reason->arg);
	agent_parser_interrupt(reason->step.parser);
	generation_remember(reason);
	bc_metric_inc(BC_M_REASONER_INTERRUPTS);
	generation_release(&reason->step);
	reason_move(reason, REASON_EV_HALT);
	plan_advance(&reason->plan);
}

/* The generation came to its end, well or with a misstep. */
static void complete(struct reason *reason)
{
	struct generation *step = &reason->step;
	enum misstep misstep = step->misstep;

	/* Without memory the model begins anew. */
	(void)!history_add(&reason->history, HISTORY_MODEL, bc_buf_span(&step->text));
	plan_advance(&reason->plan);
	reason->answered = step->answer && misstep == MISSTEP_NONE;
	if (misstep != MISSTEP_NONE) {
		tell_error(reason, misstep, bc_buf_span(&step->trouble));
	} else {
		reason->ops->kept(reason->arg, reason->mark);
	}
	generation_release(step);
	reason_move(reason, REASON_EV_END);
	go(reason);
}

static bool fail(struct reason *reason)
{
	struct generation *step = &reason->step;

	(void)snprintf(reason->trouble, sizeof(reason->trouble), "%s",
		       chat_stream_error(step->stream));
	if (step->acted) {
		generation_remember(reason);
	}
	reason->wanted = !step->acted; /* what it was given it has not answered */
	generation_release(step);
	reason_move(reason, REASON_EV_FAIL);
	plan_advance(&reason->plan);
	return false;
}

bool reason_bytes(struct reason *reason, struct bc_span bytes)
{
	struct generation *step = &reason->step;
	enum bc_err err;

	BC_CHECK(reason, REASON_MAGIC);
	BC_BUG_ON(reason->state != REASON_GENERATING);
	err = chat_stream_feed(step->stream, bytes);
	err = err == BC_OK ? step->err : err;
	reason->committed = reason->committed || step->decides;
	if (err != BC_OK) {
		reason->ops->cancel(reason->arg);
		return fail(reason);
	}
	if (step->misstep != MISSTEP_NONE) {
		reason->ops->cancel(reason->arg);
		complete(reason);
	} else if (step->acted) {
		plan_advance(&reason->plan); /* no call waits for the end of its stream */
	}
	return true;
}

bool reason_ended(struct reason *reason, bool whole)
{
	struct generation *step = &reason->step;

	BC_CHECK(reason, REASON_MAGIC);
	BC_BUG_ON(reason->state != REASON_GENERATING);
	if (!whole || !chat_stream_is_finished(step->stream) ||
	    agent_parser_end(step->parser) == BC_E_NOMEM) {
		return fail(reason);
	}
	complete(reason);
	return true;
}

const char *reason_trouble(const struct reason *reason)
{
	return reason->trouble;
}

/* ---- events ---- */

void reason_update(struct reason *reason, struct bc_span words, bool final, int64_t mark)
{
	struct bc_buf text;
	enum bc_err err;

	BC_CHECK(reason, REASON_MAGIC);
	if (reason->final) {
		return;
	}
	bc_buf_init(&text, NEWS_MAX);
	reason->rev++;
	err = final ? agent_put_final(&text, reason->rev, words)
		    : agent_put_partial(&text, reason->rev, words);
	halt(reason);
	reason->final = final;
	reason->mark = mark;
	if (err == BC_OK && tell(reason, bc_buf_span(&text))) {
		reason->final_news = final;
	}
	bc_buf_release(&text);
	go(reason);
}

void reason_result(struct reason *reason, const struct cfg_tool *tool, const char *arguments,
		   struct bc_span output)
{
	BC_CHECK(reason, REASON_MAGIC);
	if (plan_has(&reason->plan, tool, arguments)) {
		halt(reason);
		plan_result(&reason->plan, tool, arguments, output);
		go(reason);
	}
}

void reason_lost(struct reason *reason, const struct cfg_tool *tool, const char *arguments)
{
	BC_CHECK(reason, REASON_MAGIC);
	if (plan_has(&reason->plan, tool, arguments)) {
		halt(reason);
		plan_lost(&reason->plan, tool, arguments);
		go(reason);
	}
}

unsigned reason_verdict(const struct reason *reason,
			const struct plan_call *ret_calls[PLAN_CALLS_MAX])
{
	return reason->committed ? plan_outcome(&reason->plan, ret_calls) : 0;
}

void reason_said(struct reason *reason, struct bc_span words)
{
	BC_CHECK(reason, REASON_MAGIC);
	if (bc_buf_len(&reason->said) > 0 && bc_buf_put(&reason->said, " ", 1) != BC_OK) {
		return;
	}
	/* What does not fit is not remembered. */
	(void)!bc_buf_put_span(&reason->said, words);
}

/* The last turn ends, in what the model knows, with what the caller was really told. */
static void remember_said(struct reason *reason)
{
	if (bc_buf_len(&reason->said) == 0) {
		return;
	}
	if (reason->answered) {
		history_drop_last(&reason->history, HISTORY_MODEL);
	}
	/* What does not fit is not remembered. */
	(void)!history_add_answer(&reason->history, bc_buf_span(&reason->said));
	bc_buf_clear(&reason->said);
}

void reason_over(struct reason *reason)
{
	BC_CHECK(reason, REASON_MAGIC);
	if (reason->state == REASON_GENERATING) {
		reason->ops->cancel(reason->arg);
		generation_release(&reason->step);
		reason_move(reason, REASON_EV_HALT);
	}
	plan_clear(&reason->plan);
	reason->over = true;
	reason->committed = false;
}

void reason_turn(struct reason *reason)
{
	reason_over(reason);
	reason_move(reason, REASON_EV_TURN);
	flush(reason);
	remember_said(reason);
	reason->wanted = false;
	reason->final = false;
	reason->heard_all = false;
	reason->last_id = 0;
	reason->answered = false;
	reason->over = false;
	reason->steps = 0;
	reason->restarts = 0;
}

/* ---- life ---- */

struct reason *reason_new(const struct reason_conf *conf, const struct reason_ops *ops, void *arg)
{
	struct reason *reason = calloc(1, sizeof(*reason));

	if (reason == NULL) {
		return NULL;
	}
	reason->magic = REASON_MAGIC;
	reason->conf = *conf;
	reason->ops = ops;
	reason->arg = arg;
	history_init(&reason->history, conf->history_max);
	plan_init(&reason->plan, &plan_ops, reason);
	bc_buf_init(&reason->said, SAID_MAX);
	bc_buf_init(&reason->news, NEWS_MAX);
	return reason;
}

struct reason *reason_free(struct reason *reason)
{
	if (reason == NULL) {
		return NULL;
	}
	BC_CHECK(reason, REASON_MAGIC);
	if (reason->state == REASON_GENERATING) {
		reason->ops->cancel(reason->arg);
		generation_release(&reason->step);
	}
	plan_clear(&reason->plan);
	history_release(&reason->history);
	bc_buf_release(&reason->said);
	bc_buf_release(&reason->news);
	free(reason->system);
	reason->magic = 0;
	free(reason);
	return NULL;
}

enum bc_err reason_instruct(struct reason *reason, struct bc_span system)
{
	char *copy = system.len > SYSTEM_MAX ? NULL : bc_span_dup(system);

	BC_CHECK(reason, REASON_MAGIC);
	if (copy == NULL) {
		return BC_E_NOMEM;
	}
	free(reason->system);
	reason->system = copy;
	return BC_OK;
}

void reason_report(const struct reason *reason, struct reason_report *ret)
{
	*ret = (struct reason_report){.phase = reason->state,
				      .final = reason->final,
				      .over = reason->answered || reason->over,
				      .steps = reason->steps,
				      .restarts = reason->restarts,
				      .calls = reason->plan.count};
}
