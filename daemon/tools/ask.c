/*
 * Asking what became of an effect: the tool's status request, after all attempts left it in doubt (J7).
 *
 * The question changes nothing, so it may be repeated; it carries no Idempotency-Key, or a server could take it for the
 * effect itself.  It is not counted by the server's breaker and asked although that is open: a caller waits, and it is
 * asked three times at most.
 */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/loop/loop.h"
#include "daemon/net/http.h"
#include "daemon/tools/call.h"

#define ASKS_MAX 3

static void on_status(void *arg, const struct net_http_answer *answer);

static bool ask(struct tool_call *call)
{
	struct bc_buf message;
	enum bc_err err;

	bc_buf_init(&message, TOOL_MESSAGE_MAX);
	err = tool_send(call, &call->ticket, &call->tool->status, on_status, &message);
	bc_buf_release(&message);
	if (err != BC_OK) {
		return false;
	}
	call->asked++;
	bc_metric_inc(BC_M_TOOL_STATUS_ASKED);
	return true;
}

bool tool_ask(struct tool_call *call)
{
	if (call->tool->status.method == NULL) {
		return false;
	}
	call->deadline = loop_now(call->host->loop) + call->tool->timeout;
	if (!ask(call)) {
		return false;
	}
	tool_move(call, TOOL_EVENT_ASK);
	return true;
}

void tool_ask_again(struct tool_call *call)
{
	if (!ask(call)) {
		tool_conclude(call);
	}
}

static bool wait_to_ask(struct tool_call *call)
{
	bc_usec pause;

	if (call->asked >= ASKS_MAX) {
		return false;
	}
	pause = tool_back_off(call->common, call->asked);
	return pause < call->deadline - loop_now(call->host->loop) && tool_timer_start(call, pause);
}

/* It has happened: what it brought is the result. */
static void take_result(struct tool_call *call, const json_t *result)
{
	struct tool_verdict verdict = {.outcome = TOOL_OK, .happened = true};

	bc_buf_clear(&call->output);
	call->result.status = 200;
	if (tool_status_put(&call->output, call->tool->result, result) != BC_OK) {
		verdict = tool_judge_unreadable(true);
		tool_put_error(call, &verdict, bc_span("", 0));
		return;
	}
	call->verdict = verdict;
	call->result.outcome = TOOL_OK;
	call->result.output = bc_buf_span(&call->output);
}

static void on_status(void *arg, const struct net_http_answer *answer)
{
	struct tool_call *call = arg;
	struct tool_verdict verdict;
	json_t *tree;

	BC_CHECK(call, TOOL_CALL_MAGIC);
	call->http = NULL;
	call->result.finished = loop_now(call->host->loop);
	switch (tool_judge_status(answer, &tree)) {
	case TOOL_STATUS_DONE:
		take_result(call, json_object_get(tree, "result"));
		break;
	case TOOL_STATUS_NOT_DONE:
		verdict = tool_judge_not_done(&call->verdict);
		tool_put_error(call, &verdict, bc_span("", 0));
		break;
	case TOOL_STATUS_UNKNOWN:
		if (wait_to_ask(call)) {
			json_decref(tree);
			return;
		}
		break;
	}
	json_decref(tree);
	tool_conclude(call);
}
