#include "daemon/spec/plan.h"

#include "daemon/config/config.h"
#include "daemon/tools/tool.h"
#include "proto/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_MAX (2 * AGENT_RESOLVED_MAX) /* bytes of one call's arguments as text */

static const char *const state_names[] = {
#define STATE(id, name) name,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/spec/plan_fsm.def"
};

static_assert(BC_ARRAY_LEN(state_names) == PLAN_STATE__COUNT, "a state has no name");

const char *plan_state_name(enum plan_state state)
{
	BC_BUG_ON(state >= PLAN_STATE__COUNT);
	return state_names[state];
}

static enum plan_state next_state(enum plan_state from, enum plan_event on)
{
	switch (BC_FSM_KEY(from, on)) {
#define STATE(id, name)
#define EVENT(id, name)
#define EDGE(from, on, to)                          \
	case BC_FSM_KEY(PLAN_##from, PLAN_EV_##on): \
		return PLAN_##to;
#include "daemon/spec/plan_fsm.def"
	default:
		return PLAN_STATE__COUNT;
	}
}

static void plan_move(struct plan_call *call, enum plan_event event)
{
	enum plan_state next = next_state(call->state, event);

	BC_BUG_ON(next == PLAN_STATE__COUNT);
	call->state = next;
	BC_BUG_ON((next == PLAN_NAMED || next == PLAN_DONE) != (call->arguments != NULL));
	BC_BUG_ON((next == PLAN_DONE) != (call->result != NULL));
}

void plan_init(struct plan *plan, const struct plan_ops *ops, void *arg)
{
	*plan = (struct plan){.ops = ops, .arg = arg};
	TAILQ_INIT(&plan->calls);
}

static void forget(struct plan *plan, struct plan_call *call)
{
	TAILQ_REMOVE(&plan->calls, call, link);
	plan->count--;
	json_decref(call->issued);
	json_decref(call->result);
	free(call->arguments);
	free(call->trouble);
	free(call);
}

void plan_clear(struct plan *plan)
{
	struct plan_call *call;

	while ((call = TAILQ_FIRST(&plan->calls)) != NULL) {
		forget(plan, call);
	}
}

static struct plan_call *find(const struct plan *plan, unsigned id)
{
	struct plan_call *call;

	TAILQ_FOREACH(call, &plan->calls, link) {
		if (call->id == id) {
			return call;
		}
	}
	return NULL;
}

static struct plan_call *find_equal(const struct plan *plan, const struct cfg_tool *tool,
				    const char *arguments)
{
	struct plan_call *call;

	TAILQ_FOREACH(call, &plan->calls, link) {
		if (call->state == PLAN_NAMED && call->tool == tool &&
		    strcmp(call->arguments, arguments) == 0) {
			return call;
		}
	}
	return NULL;
}

/* ---- withdrawing ---- */

/* From NAMED or WAITING by CHANGE or REMOVE, from DONE by REMOVE. */
static void drop(struct plan *plan, struct plan_call *call, enum plan_event event)
{
	if (call->state == PLAN_NAMED || call->state == PLAN_DONE) {
		plan->ops->dropped(plan->arg, call);
	}
	free(call->arguments);
	call->arguments = NULL;
	json_decref(call->result);
	call->result = NULL;
	plan_move(call, event);
}

/* N1: what has happened stays. */
static bool is_for_good(const struct plan_call *call)
{
	return call->state == PLAN_DONE && call->tool->effect != CFG_EFFECT_READ;
}

static bool needs(const struct plan_call *call, unsigned id)
{
	for (size_t i = 0; i < call->needs_n; i++) {
		if (call->needs[i] == id) {
			return true;
		}
	}
	return false;
}

/* N2; ids only name smaller ones, and the list is in their order, so one walk finds all. */
static void drop_dependents(struct plan *plan, const struct plan_call *gone)
{
	struct plan_call *call = TAILQ_NEXT(gone, link);

	for (; call != NULL; call = TAILQ_NEXT(call, link)) {
		if (call->state != PLAN_REMOVED && !is_for_good(call) && needs(call, gone->id)) {
			drop(plan, call, PLAN_EV_REMOVE);
			call->untold = true;
			drop_dependents(plan, call);
		}
	}
}

enum misstep plan_remove(struct plan *plan, unsigned id, bool tell)
{
	struct plan_call *call = find(plan, id);

	if (call == NULL || call->state == PLAN_REMOVED) {
		return MISSTEP_UNKNOWN_CALL;
	}
	if (is_for_good(call)) {
		return MISSTEP_LATE_EDIT;
	}
	call->untold = tell || call->state == PLAN_DONE;
	drop(plan, call, PLAN_EV_REMOVE);
	drop_dependents(plan, call);
	return MISSTEP_NONE;
}

void plan_lost(struct plan *plan, const struct cfg_tool *tool, const char *arguments)
{
	struct plan_call *call = find_equal(plan, tool, arguments);

	if (call != NULL) {
		free(call->arguments);
		call->arguments = NULL;
		plan_move(call, PLAN_EV_REMOVE);
		call->untold = true;
		drop_dependents(plan, call);
	}
}

const struct plan_call *plan_next_untold(struct plan *plan)
{
	struct plan_call *call;

	TAILQ_FOREACH(call, &plan->calls, link) {
		if (call->untold) {
			call->untold = false;
			return call;
		}
	}
	return NULL;
}

/* ---- operands ---- */

static enum agent_result find_result(void *arg, unsigned id, const json_t **ret_value)
{
	const struct plan_call *call = find(arg, id);

	if (call == NULL) {
		return AGENT_RESULT_ABSENT;
	}
	switch (call->state) {
	case PLAN_WAITING:
	case PLAN_NAMED:
		return AGENT_RESULT_PENDING;
	case PLAN_DONE:
		*ret_value = call->result;
		return AGENT_RESULT_READY;
	case PLAN_REMOVED:
	case PLAN_STATE__COUNT:
		break;
	}
	return AGENT_RESULT_REMOVED;
}

static void explain(struct bc_buf *trouble, const struct agent_unresolved *unresolved)
{
	const struct agent_operand *operand = &unresolved->operand;

	/* What does not fit is not said. */
	(void)!bc_buf_printf(trouble, "$%u%.*s", operand->id, BC_SPAN_ARG(operand->path));
}

/* The text of arguments whose operands are resolved, canonical, checked; BC_E_AGAIN: a result is still to come. */
static enum misstep make_arguments(struct plan *plan, const struct cfg_tool *tool,
				   const json_t *issued, char **ret, struct bc_buf *trouble)
{
	struct agent_results results = {.find = find_result, .arg = plan};
	struct agent_unresolved unresolved;
	json_t *resolved;
	struct bc_buf text;
	enum misstep misstep = MISSTEP_PLAN_FULL;
	enum bc_err err = agent_resolve(issued, &results, &resolved, &unresolved);

	*ret = NULL;
	if (err == BC_E_AGAIN) {
		return MISSTEP_NONE;
	}
	if (err != BC_OK) {
		if (err == BC_E_NOTFOUND) {
			explain(trouble, &unresolved);
		}
		return err == BC_E_NOMEM ? MISSTEP_PLAN_FULL : MISSTEP_BAD_OPERAND;
	}
	bc_buf_init(&text, ARGUMENTS_MAX);
	if (json_canonical(&text, resolved) == BC_OK) {
		err = tool_args_check(tool, bc_buf_span(&text), ret, trouble);
		misstep = err == BC_OK        ? MISSTEP_NONE
			  : err == BC_E_NOMEM ? MISSTEP_PLAN_FULL
					      : MISSTEP_BAD_ARGUMENTS;
	}
	bc_buf_release(&text);
	json_decref(resolved);
	return misstep;
}

/* Whether every call that is needed was issued and stands. */
static enum misstep check_needs(struct plan *plan, const struct agent_call *issued,
				struct bc_buf *trouble)
{
	for (size_t i = 0; i < issued->operand_count; i++) {
		const struct agent_operand *operand = &issued->operands[i];
		const json_t *value = NULL;
		enum agent_result result = find_result(plan, operand->id, &value);

		if (result == AGENT_RESULT_ABSENT || result == AGENT_RESULT_REMOVED ||
		    (result == AGENT_RESULT_READY &&
		     agent_operand_follow(value, operand->path) == NULL)) {
			explain(trouble, &(struct agent_unresolved){*operand, result});
			return MISSTEP_BAD_OPERAND;
		}
	}
	return MISSTEP_NONE;
}

/* ---- naming ---- */

static unsigned count_equal(const struct plan *plan, const struct plan_call *call,
			    const char *arguments)
{
	unsigned count = 0;
	const struct plan_call *other;

	TAILQ_FOREACH(other, &plan->calls, link) {
		count += other != call && other->arguments != NULL && other->tool == call->tool &&
			 strcmp(other->arguments, arguments) == 0;
	}
	return count;
}

static void finish(struct plan *plan, struct plan_call *call, struct bc_span output)
{
	json_t *result = json_parse(output);

	if (result == NULL) {
		result = json_stringn(output.ptr, output.len); /* a tool whose results are text */
	}
	call->result = result == NULL ? json_null() : result;
	plan_move(call, PLAN_EV_FINISH);
	plan->ops->finished(plan->arg, call, output);
}

static void name(struct plan *plan, struct plan_call *call, char *arguments)
{
	struct bc_span output;

	call->occurrence = count_equal(plan, call, arguments);
	call->arguments = arguments;
	plan_move(call, PLAN_EV_NAME);
	output = plan->ops->named(plan->arg, call);
	if (output.ptr != NULL) {
		finish(plan, call, output);
	}
}

/* The results a call waited for have come, and it cannot be made of them. */
static void fail(struct plan *plan, struct plan_call *call, enum misstep misstep,
		 struct bc_span trouble)
{
	drop(plan, call, PLAN_EV_REMOVE);
	call->untold = true;
	call->misstep = misstep;
	call->trouble = bc_span_dup(trouble);
	drop_dependents(plan, call);
}

static void try_name(struct plan *plan, struct plan_call *call)
{
	struct bc_buf trouble;
	enum misstep misstep;
	char *arguments;

	bc_buf_init(&trouble, PLAN_TROUBLE_MAX);
	misstep = make_arguments(plan, call->tool, call->issued, &arguments, &trouble);
	if (misstep != MISSTEP_NONE) {
		fail(plan, call, misstep, bc_buf_span(&trouble));
	} else if (arguments != NULL) {
		name(plan, call, arguments);
	}
	bc_buf_release(&trouble);
}

void plan_advance(struct plan *plan)
{
	struct plan_call *call;

	/* In the order of ids: what a call needs stands in front of it. */
	TAILQ_FOREACH(call, &plan->calls, link) {
		if (call->state == PLAN_WAITING) {
			try_name(plan, call);
		}
		call->chained = true; /* whatever is named later was not named by this step */
	}
}

bool plan_has(const struct plan *plan, const struct cfg_tool *tool, const char *arguments)
{
	return find_equal(plan, tool, arguments) != NULL;
}

void plan_result(struct plan *plan, const struct cfg_tool *tool, const char *arguments,
		 struct bc_span output)
{
	struct plan_call *call = find_equal(plan, tool, arguments);

	if (call != NULL) {
		finish(plan, call, output);
		plan_advance(plan);
	}
}

unsigned plan_outcome(const struct plan *plan, const struct plan_call *ret_calls[PLAN_CALLS_MAX])
{
	const struct plan_call *call;
	unsigned count = 0;

	TAILQ_FOREACH(call, &plan->calls, link) {
		if (call->state == PLAN_REMOVED) {
			continue;
		}
		if (call->state != PLAN_DONE || call->tool->effect != CFG_EFFECT_READ ||
		    call->disowned) {
			return 0;
		}
		ret_calls[count++] = call;
	}
	return count;
}

bool plan_is_pending(const struct plan *plan)
{
	const struct plan_call *call;

	TAILQ_FOREACH(call, &plan->calls, link) {
		if (call->state == PLAN_WAITING || call->state == PLAN_NAMED) {
			return true;
		}
	}
	return false;
}

/* ---- issuing ---- */

static struct plan_call *insert(struct plan *plan, unsigned id)
{
	struct plan_call *call = plan->count < PLAN_CALLS_MAX ? calloc(1, sizeof(*call)) : NULL;
	struct plan_call *next;

	if (call == NULL) {
		return NULL;
	}
	call->id = id;
	plan->count++;
	TAILQ_FOREACH(next, &plan->calls, link) {
		if (next->id > id) {
			TAILQ_INSERT_BEFORE(next, call, link);
			return call;
		}
	}
	TAILQ_INSERT_TAIL(&plan->calls, call, link);
	return call;
}

static void fill(struct plan_call *call, const struct agent_call *issued, json_t *arguments,
		 const struct cfg_tool *tool, int64_t mark)
{
	json_decref(call->issued);
	free(call->trouble);
	call->issued = arguments;
	call->needs_n = agent_operand_ids(issued->operands, issued->operand_count, call->needs);
	call->tool = tool;
	call->mark = mark;
	call->chained = false;
	call->untold = false;
	call->disowned = false;
	call->misstep = MISSTEP_NONE;
	call->trouble = NULL;
}

static bool is_same(const struct plan_call *call, const struct agent_call *issued,
		    const struct cfg_tool *tool)
{
	return call != NULL && call->state != PLAN_REMOVED && call->tool == tool &&
	       json_equal(call->issued, (json_t *)(uintptr_t)issued->arguments);
}

/* Whether the call could be made, as far as that can be known now. */
static enum misstep check(struct plan *plan, const struct agent_call *issued,
			  const struct cfg_tool *tool, struct bc_buf *trouble)
{
	enum misstep misstep = check_needs(plan, issued, trouble);
	char *arguments;

	if (misstep == MISSTEP_NONE) {
		misstep = make_arguments(plan, tool, issued->arguments, &arguments, trouble);
		free(arguments);
	}
	return misstep;
}

enum misstep plan_issue(struct plan *plan, const struct agent_call *issued,
			const struct cfg_tool *tool, int64_t mark, struct bc_buf *reterr_trouble)
{
	struct plan_call *call = find(plan, issued->id);
	enum misstep misstep;
	json_t *arguments;

	if (is_same(call, issued, tool)) {
		call->disowned = false;
		return MISSTEP_NONE;
	}
	if (call != NULL) {
		call->disowned = true; /* whatever becomes of this, the call is not what it means */
	}
	if (tool == NULL) {
		return MISSTEP_UNKNOWN_TOOL;
	}
	if (call != NULL && call->state == PLAN_DONE) {
		return MISSTEP_LATE_EDIT;
	}
	misstep = check(plan, issued, tool, reterr_trouble);
	if (misstep != MISSTEP_NONE) {
		return misstep;
	}
	arguments = json_deep_copy(issued->arguments);
	if (arguments != NULL && call == NULL) {
		call = insert(plan, issued->id);
	} else if (arguments != NULL) {
		drop(plan, call, PLAN_EV_CHANGE);
		drop_dependents(plan, call);
	}
	if (arguments == NULL || call == NULL) {
		json_decref(arguments);
		return MISSTEP_PLAN_FULL;
	}
	fill(call, issued, arguments, tool, mark);
	return MISSTEP_NONE;
}
