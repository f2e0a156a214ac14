/*
 * Attempts: a request goes out, its answer is judged, and where that can do no harm it goes out again.
 *
 * A1 Sent again is only what changes nothing by being repeated: a read, or a reversible effect whose server is said to
 *    see by key or by nature that it has done it already.  A hold never is, whatever its idempotency (J5).
 * A2 All attempts share one intent, one key and one deadline, that of the first.
 * A3 What was once in doubt stays so until a server confirms it: the refusal of a repetition does not say what became
 *    of the first request.
 */
#include "daemon/base/id.h"
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/loop/loop.h"
#include "daemon/net/http.h"
#include "daemon/tools/call.h"
#include "daemon/tools/template.h"
#include "daemon/tools/wire.h"

static void on_answer(void *arg, const struct net_http_answer *answer);

static enum bc_err send_wire(struct tool_host *host, const struct tool_outgoing *outgoing,
			     const struct tool_wire *wire, struct net_http_call **ret)
{
	const struct cfg_request *template = outgoing->template;
	struct net_http_request request = {
		.method = template->method,
		.url = bc_buf_span(&wire->url).ptr,
		.headers = wire->headers,
		.header_count = wire->header_count,
		.body = bc_buf_span(&wire->body),
		.has_body = template->body != NULL,
		.timeout = outgoing->timeout,
		.response_max = outgoing->tool->response_max,
		.once = template != &outgoing->tool->status && outgoing->ticket->effect != JRN_READ,
	};

	return net_http_start(host->http, &request, outgoing->fn, outgoing->arg, ret);
}

static enum jrn_effect effect_of(const struct cfg_tool *tool, const struct cfg_request *template)
{
	if (template == &tool->undo) {
		return JRN_UNDO;
	}
	switch (tool->effect) {
	case CFG_EFFECT_READ:
		return JRN_READ;
	case CFG_EFFECT_REVERSIBLE:
		return JRN_REVERSIBLE;
	case CFG_EFFECT_HOLD:
		return JRN_HOLD;
	}
	return JRN_HOLD;
}

enum bc_err tool_send_out(struct tool_host *host, const struct tool_outgoing *outgoing,
			  struct bc_buf *reterr_message, struct net_http_call **ret)
{
	const struct cfg_tool *tool = outgoing->tool;
	const struct tool_values values = {.args = outgoing->args,
					   .result = outgoing->result,
					   .idempotency_key = outgoing->key,
					   .own_key = outgoing->ticket->key};
	struct tool_wire wire;
	enum bc_err err;

	BC_BUG_ON(!jrn_ticket_permits(outgoing->ticket, effect_of(tool, outgoing->template)));
	err = tool_wire_init(&wire, outgoing->template, outgoing->template != &tool->status,
			     &values, reterr_message);
	if (err == BC_OK) {
		err = send_wire(host, outgoing, &wire, ret);
	}
	tool_wire_fini(&wire);
	return err;
}

enum bc_err tool_send(struct tool_call *call, const struct jrn_ticket *ticket,
		      const struct cfg_request *template, net_http_fn *fn,
		      struct bc_buf *reterr_message)
{
	const struct tool_outgoing outgoing = {.tool = call->tool,
					       .template = template,
					       .ticket = ticket,
					       .key = ticket->key,
					       .args = call->sent,
					       .timeout =
						       call->deadline - loop_now(call->host->loop),
					       .fn = fn,
					       .arg = call};

	return tool_send_out(call->host, &outgoing, reterr_message, &call->http);
}

enum bc_err tool_start(struct tool_call *call, const struct jrn_ticket *ticket,
		       struct bc_buf *reterr_message)
{
	bc_usec now = loop_now(call->host->loop);
	enum bc_err err;

	if (call->attempts == 0) {
		call->deadline = now + call->tool->timeout;
	}
	err = tool_send(call, ticket, &call->tool->request, on_answer, reterr_message);
	if (err == BC_OK) {
		call->result.started = call->attempts == 0 ? now : call->result.started;
		call->attempts++;
		tool_move(call, TOOL_EVENT_SEND);
	}
	return err;
}

static void read_answer(struct tool_call *call, const struct net_http_answer *answer)
{
	struct tool_verdict verdict = tool_judge(answer, tool_is_effect(call));
	struct bc_span detail = answer->end == NET_HTTP_DONE ? answer->body : bc_span("", 0);
	enum bc_err err = BC_OK;

	call->result.status = answer->status;
	if (verdict.type == NULL) {
		detail = bc_span("", 0);
		bc_buf_clear(&call->output);
		err = tool_result_put(&call->output, call->tool->result, answer->status,
				      answer->body);
	}
	if (err != BC_OK) {
		verdict = tool_judge_unreadable(tool_is_effect(call));
	}
	if (call->verdict.in_doubt) {
		verdict = tool_judge_repeated(&verdict);
	}
	if (verdict.type != NULL) {
		tool_put_error(call, &verdict, detail);
	} else {
		call->verdict = verdict;
		call->result.outcome = verdict.outcome;
		call->result.output = bc_buf_span(&call->output);
	}
}

bool tool_is_repeatable(const struct cfg_tool *tool)
{
	switch (tool->effect) {
	case CFG_EFFECT_READ:
		return true;
	case CFG_EFFECT_REVERSIBLE:
		return tool->idempotency != CFG_IDEMPOTENCY_NONE;
	case CFG_EFFECT_HOLD:
		break;
	}
	return false;
}

/* Whether the same request may well succeed in a moment. */
static bool is_passing(const struct net_http_answer *answer)
{
	switch (answer->end) {
	case NET_HTTP_UNREACHABLE:
	case NET_HTTP_LOST:
		return true;
	case NET_HTTP_TIMEOUT:
		return !answer->sent;
	case NET_HTTP_DONE:
		return answer->status == 502 || answer->status == 503 || answer->status == 504 ||
		       (answer->status == 429 && answer->retry_after > 0);
	case NET_HTTP_TOO_BIG:
		break;
	}
	return false;
}

/* Half of it at random, so that callers whom one outage hit do not come back all at once. */
bc_usec tool_back_off(const struct cfg_tools *common, unsigned failures)
{
	bc_usec whole = common->retry_backoff << (failures - 1);
	uint64_t random;

	bc_random(&random, sizeof(random));
	return whole / 2 + (bc_usec)(random % ((uint64_t)whole / 2 + 1));
}

static bool try_again(struct tool_call *call)
{
	struct bc_buf message;
	enum bc_err err;

	if (!tool_breaker_enter(call)) {
		return false;
	}
	bc_buf_init(&message, TOOL_MESSAGE_MAX);
	err = tool_start(call, &call->ticket, &message);
	bc_buf_release(&message);
	if (err != BC_OK) {
		tool_breaker_leave(call);
		return false;
	}
	bc_metric_inc(BC_M_TOOL_RETRIES);
	return true;
}

static void on_timer(void *arg)
{
	struct tool_call *call = arg;

	BC_CHECK(call, TOOL_CALL_MAGIC);
	if (call->state == TOOL_STATE_HELD) {
		tool_held_again(call);
	} else if (call->state == TOOL_STATE_ASKING) {
		tool_ask_again(call);
	} else if (!try_again(call)) {
		tool_attempts_end(call);
	}
}

bool tool_timer_start(struct tool_call *call, bc_usec delay)
{
	if (call->timer == NULL) {
		call->timer = loop_timer_new(call->host->loop, on_timer, call);
	}
	if (call->timer == NULL) {
		return false;
	}
	loop_timer_start(call->timer, delay);
	return true;
}

void tool_attempts_end(struct tool_call *call)
{
	if (!call->verdict.in_doubt || !tool_ask(call)) {
		tool_conclude(call);
	}
}

/* Whether there will be another attempt. */
static bool wait_for_next(struct tool_call *call, const struct net_http_answer *answer)
{
	bc_usec now = loop_now(call->host->loop);
	bc_usec pause;

	if (call->cancelled || call->attempts >= call->tool->attempts_max ||
	    !tool_is_repeatable(call->tool) || !is_passing(answer)) {
		return false;
	}
	pause = tool_back_off(call->common, call->attempts);
	pause = pause < answer->retry_after ? answer->retry_after : pause;
	if (pause >= call->deadline - now ||
	    breaker_refuses(&call->host->breakers, call->tool->request.url, now + pause) ||
	    !tool_timer_start(call, pause)) {
		return false;
	}
	tool_move(call, TOOL_EVENT_WAIT);
	return true;
}

/* A server that says no is well; one that says 5xx, or nothing, is not. */
static void tell_breaker(struct tool_call *call, const struct net_http_answer *answer)
{
	struct breaker_outcome outcome = {
		.url = call->tool->request.url,
		.probe = call->probe,
		.good = (answer->end == NET_HTTP_DONE || answer->end == NET_HTTP_TOO_BIG) &&
			answer->status < 500,
	};

	call->probe = false;
	breaker_report(&call->host->breakers, &outcome, call->common, loop_now(call->host->loop));
}

static void on_answer(void *arg, const struct net_http_answer *answer)
{
	struct tool_call *call = arg;

	BC_CHECK(call, TOOL_CALL_MAGIC);
	call->http = NULL;
	call->result.finished = loop_now(call->host->loop);
	tell_breaker(call, answer);
	read_answer(call, answer);
	if (!wait_for_next(call, answer)) {
		tool_attempts_end(call);
	}
}

void tool_cut_off(struct tool_call *call)
{
	if (call->http != NULL) {
		net_http_cancel(call->http);
		call->http = NULL;
	}
	if (call->timer != NULL) {
		loop_timer_stop(call->timer);
	}
}
