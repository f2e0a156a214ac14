/* One step of a reasoner: its text becomes actions, and what is wrong with them is found. */
#include "daemon/spec/reason_internal.h"
#include "proto/agent/print.h"

#include <stdlib.h>
#include <string.h>

#define THINK_CLOSE "</think>"

static void blame(struct generation *step, enum misstep misstep)
{
	if (step->misstep == MISSTEP_NONE) {
		step->misstep = misstep;
	}
}

/* The action tells what the model makes of the whole turn. */
static void decide(struct reason *reason)
{
	struct generation *step = &reason->step;

	step->decides = step->decides || (reason->heard_all && step->misstep == MISSTEP_NONE);
}

static void note_id(struct reason *reason, unsigned id)
{
	if (!reason->final && id > reason->last_id) {
		reason->last_id = id;
	} else if (id > reason->last_id) {
		decide(reason);
	}
}

static void issue(struct reason *reason, const struct agent_call *call)
{
	const struct cfg_tool *tool = NULL;
	char name[AGENT_NAME_MAX + 1];
	struct bc_buf trouble;
	enum misstep misstep;

	memcpy(name, call->name.ptr, call->name.len);
	name[call->name.len] = '\0';
	tool = reason->ops->tool(reason->arg, name);
	bc_buf_init(&trouble, PLAN_TROUBLE_MAX);
	misstep = plan_issue(&reason->plan, call, tool, reason->mark, &trouble);
	if (misstep != MISSTEP_NONE && reason->step.misstep == MISSTEP_NONE) {
		/* What does not fit is not said. */
		(void)!bc_buf_printf(&reason->step.trouble, "Call %u, %s: %.*s", call->id, name,
				     BC_SPAN_ARG(bc_buf_span(&trouble)));
		blame(&reason->step, misstep);
	}
	if (misstep == MISSTEP_NONE) {
		note_id(reason, call->id);
	}
	bc_buf_release(&trouble);
}

static void invalid(struct generation *step, const struct agent_event *event)
{
	if (step->misstep == MISSTEP_NONE) {
		/* What does not fit is not said. */
		(void)!bc_buf_put_span(&step->trouble, event->text);
		blame(step, event->reason == AGENT_INVALID_TWO_ACTIONS ? MISSTEP_TWO_ACTIONS
								       : MISSTEP_MALFORMED);
	}
}

static void on_action(void *arg, const struct agent_event *event)
{
	struct reason *reason = arg;
	struct generation *step;

	BC_CHECK(reason, REASON_MAGIC);
	step = &reason->step;
	switch (event->kind) {
	case AGENT_CALL:
		issue(reason, event->call);
		step->acted = true;
		break;
	case AGENT_REMOVE:
		/* Nothing else may follow it, and the model may have more to do. */
		blame(step, plan_remove(&reason->plan, event->id, reason->final));
		step->acted = true;
		break;
	case AGENT_PAUSE:
		if (reason->final && !plan_is_pending(&reason->plan)) {
			blame(step, MISSTEP_IDLE_PAUSE);
		}
		decide(reason);
		step->acted = true;
		break;
	case AGENT_ANSWER_BEGIN:
		if (!reason->final) {
			blame(step, MISSTEP_EARLY_ANSWER);
		}
		decide(reason); /* whatever it says: no call follows it */
		break;
	case AGENT_ANSWER_END:
		step->acted = true;
		step->answer = true;
		break;
	case AGENT_INTERRUPTED:
		step->thinking = event->place == AGENT_PLACE_THINK;
		break;
	case AGENT_INVALID:
		invalid(step, event);
		break;
	case AGENT_THINK:
	case AGENT_ANSWER:
	case AGENT_END:
	case AGENT_KIND__COUNT:
		break;
	}
}

static void on_text(void *arg, struct bc_span text)
{
	struct reason *reason = arg;
	struct generation *step;

	BC_CHECK(reason, REASON_MAGIC);
	step = &reason->step;
	if (step->misstep != MISSTEP_NONE || step->err != BC_OK) {
		return;
	}
	step->err = bc_buf_put_span(&step->text, text);
	if (step->err == BC_OK && agent_parser_feed(step->parser, text) == BC_E_NOMEM) {
		step->err = BC_E_NOMEM;
	}
}

void generation_release(struct generation *step)
{
	step->stream = chat_stream_free(step->stream);
	step->parser = agent_parser_free(step->parser);
	bc_buf_release(&step->text);
	bc_buf_release(&step->trouble);
}

bool generation_init(struct reason *reason)
{
	struct generation *step = &reason->step;

	*step = (struct generation){.err = BC_OK};
	/* The parser tells first when a generation is too long. */
	bc_buf_init(&step->text, AGENT_GENERATION_MAX + CHAT_EVENT_MAX);
	bc_buf_init(&step->trouble, 2 * PLAN_TROUBLE_MAX);
	step->stream = chat_stream_new(on_text, reason);
	step->parser = agent_parser_new(NULL, on_action, reason);
	if (step->stream == NULL || step->parser == NULL) {
		generation_release(step);
		return false;
	}
	return true;
}

/* What stands behind the closing of the think that is first: an action that did not happen is not remembered. */
static size_t think_len(struct bc_span text)
{
	const char *close =
		text.len == 0 ? NULL
			      : memmem(text.ptr, text.len, THINK_CLOSE, sizeof(THINK_CLOSE) - 1);

	return close == NULL ? 0 : (size_t)(close - text.ptr) + sizeof(THINK_CLOSE) - 1;
}

void generation_remember(struct reason *reason)
{
	struct generation *step = &reason->step;
	struct bc_span text = bc_buf_span(&step->text);

	if (step->thinking) {
		if (agent_put_interrupted(&step->text) != BC_OK) {
			return;
		}
		text = bc_buf_span(&step->text);
	} else if (!step->acted) {
		text.len = think_len(text);
	}
	/* Without memory the model begins anew. */
	(void)!history_add(&reason->history, HISTORY_MODEL, text);
}
