#include "daemon/tools/rollback.h"

#include "daemon/base/id.h"
#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/loop/loop.h"
#include "daemon/tools/template.h"
#include "daemon/tools/wire.h"
#include "proto/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX    ((size_t)2 << 20) /* bytes */
#define PAUSE_MAX   (60 * BC_USEC_PER_SEC)
#define CROWD_PAUSE (50 * BC_USEC_PER_MS) /* when too many requests are out */
#define ASKS_MAX    3                     /* then the request is sent again, where it may be */

enum tool_case_state tool_case_next(enum tool_case_state from, enum tool_case_event on)
{
	switch (BC_FSM_KEY(from, on)) {
#define STATE(id, help)
#define EVENT(id, help)
#define EDGE(from, on, to)                                    \
	case BC_FSM_KEY(TOOL_CASE_##from, TOOL_CASE_EV_##on): \
		return TOOL_CASE_##to;
#include "daemon/tools/rollback_fsm.def"
	default:
		return TOOL_CASE_STATE__COUNT;
	}
}

/* The only writer of state. */
static void case_move(struct tool_case *c, enum tool_case_event on)
{
	enum tool_case_state next = tool_case_next(c->state, on);

	BC_BUG_ON(next == TOOL_CASE_STATE__COUNT);
	c->state = next;
}

/* ---- memory ---- */

struct tool_case *tool_case_new(struct tool_host *host)
{
	struct tool_case *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		return NULL;
	}
	c->magic = TOOL_CASE_MAGIC;
	c->host = host;
	bc_buf_init(&c->output, TEXT_MAX);
	bc_buf_init(&c->shown, TEXT_MAX);
	bc_buf_init(&c->sealed, TEXT_MAX);
	bc_buf_init(&c->tags, TEXT_MAX);
	LIST_INSERT_HEAD(&host->cases, c, link);
	host->case_count++;
	return c;
}

void tool_case_end(struct tool_case *c)
{
	case_move(c, TOOL_CASE_EV_FREE);
	if (c->http != NULL) {
		net_http_cancel(c->http);
		c->host->case_requests--;
	}
	c->timer = loop_timer_free(c->timer);
	LIST_REMOVE(c, link);
	c->host->case_count--;
	json_decref(c->args);
	json_decref(c->result);
	bc_buf_release(&c->output);
	bc_buf_release(&c->shown);
	bc_buf_release(&c->sealed);
	bc_buf_release(&c->tags);
	free(c->session);
	c->magic = 0;
	free(c);
}

bool tool_host_is_quiet(const struct tool_host *host)
{
	const struct tool_case *c;

	LIST_FOREACH(c, &host->cases, link)
	{
		if (c->state == TOOL_CASE_FINDING || c->state == TOOL_CASE_RECORDING ||
		    c->state == TOOL_CASE_UNDOING) {
			return false;
		}
	}
	return host->call_count == 0;
}

void tool_cases_free(struct tool_host *host)
{
	while (!LIST_EMPTY(&host->cases)) {
		tool_case_end(LIST_FIRST(&host->cases));
	}
}

static void say(const struct tool_case *c, enum bc_log_level level, const char *what)
{
	struct bc_log_ctx ctx;

	(void)snprintf(ctx.session, sizeof(ctx.session), "%s", c->session);
	bc_log(level, &ctx, "tool %.*s: intent %llu %s",
	       c->tool == NULL ? 0 : (int)strlen(c->tool->name),
	       c->tool == NULL ? "" : c->tool->name, (unsigned long long)c->ticket.intent, what);
}

/* ---- ends ---- */

static void tell_resolved(const struct tool_case *c)
{
	if (c->host->hooks.resolved != NULL) {
		c->host->hooks.resolved(c->host->hooks.arg, c->ticket.intent);
	}
}

static void tell_changed(const struct tool_case *c)
{
	size_t i;

	for (i = 0; c->host->hooks.changed != NULL && i < c->tool->tags.count; i++) {
		c->host->hooks.changed(c->host->hooks.arg, c->tool->tags.items[i]);
	}
}

/* Settled without an undo. */
static void settle(struct tool_case *c, enum jrn_settlement how)
{
	if (how != JRN_IN_DOUBT) {
		tell_resolved(c);
	}
	jrn_settle(c->host->port, &c->ticket, how, loop_wall(c->host->loop));
	tool_case_end(c);
}

/* Executed, and for the operator now; undone: what is known of its undo, if one was asked for. */
void tool_case_park(struct tool_case *c, enum jrn_settlement undone, const char *why)
{
	say(c, BC_LOG_ERR, why);
	bc_metric_inc(BC_M_UNDOS_PARKED);
	if (c->has_undo) {
		tell_resolved(c);
		jrn_undo_end(c->host->port, &c->ticket, JRN_PARKED, &c->undo, undone,
			     loop_wall(c->host->loop));
		tool_case_end(c);
	} else {
		settle(c, JRN_PARKED);
	}
}

/* K3. */
void tool_case_leave(struct tool_case *c)
{
	say(c, BC_LOG_ERR,
	    "stays open, the journal failed or memory ran out; a restart takes it up");
	tool_case_end(c);
}

void tool_case_give_up(struct tool_case *c)
{
	say(c, BC_LOG_WARNING,
	    "is in doubt: whether it was carried out is not known; see backchannelctl journal");
	if (c->has_digest) {
		tool_doubts_add(&c->host->doubts, c->ticket.intent, &c->digest);
	}
	settle(c, JRN_IN_DOUBT);
}

/* ---- waiting ---- */

static void find(struct tool_case *c);
static void send_undo(struct tool_case *c);

static void on_timer(void *arg)
{
	struct tool_case *c = arg;

	BC_CHECK(c, TOOL_CASE_MAGIC);
	if (c->state == TOOL_CASE_DELAYED) {
		find(c);
	} else {
		send_undo(c);
	}
}

static void rest_for(struct tool_case *c, bc_usec pause)
{
	if (c->timer == NULL) {
		c->timer = loop_timer_new(c->host->loop, on_timer, c);
	}
	if (c->timer == NULL) {
		tool_case_leave(c);
		return;
	}
	case_move(c, TOOL_CASE_EV_REST);
	loop_timer_start(c->timer, pause);
}

static bc_usec back_off(const struct tool_case *c)
{
	unsigned doublings = c->attempts > 16 ? 16 : c->attempts - 1;
	bc_usec whole = c->common->undo_backoff << doublings;
	uint64_t random;

	whole = whole > PAUSE_MAX ? PAUSE_MAX : whole;
	bc_random(&random, sizeof(random));
	return whole / 2 + (bc_usec)(random % ((uint64_t)whole / 2 + 1));
}

/* ---- requests ---- */

/* BC_E_AGAIN: too many are out. */
static enum bc_err send(struct tool_case *c, const struct cfg_request *template,
			const struct jrn_ticket *ticket, net_http_fn *fn)
{
	const struct tool_outgoing outgoing = {.tool = c->tool,
					       .template = template,
					       .ticket = ticket,
					       .key = c->ticket.key,
					       .args = c->args,
					       .result = c->result,
					       .timeout = c->tool->timeout,
					       .fn = fn,
					       .arg = c};
	struct bc_buf message;
	enum bc_err err;

	if (c->host->case_requests >= TOOL_CASE_REQUESTS_MAX) {
		return BC_E_AGAIN;
	}
	bc_buf_init(&message, TOOL_MESSAGE_MAX);
	err = tool_send_out(c->host, &outgoing, &message, &c->http);
	bc_buf_release(&message);
	if (err == BC_OK) {
		c->host->case_requests++;
		c->attempts++;
	}
	/* What is too long to be sent will not be shorter the next time. */
	return err == BC_E_LIMIT ? BC_E_INVALID : err;
}

static void answered(struct tool_case *c)
{
	c->http = NULL;
	c->host->case_requests--;
}

/* ---- the undo ---- */

static void undone(struct tool_case *c, int status)
{
	struct jrn_text text = {.shown = bc_span("", 0)};

	/* Its settlement follows in the same group; without room the record is the poorer for it. */
	(void)!jrn_result_sealed(c->host->port, &c->undo, status, &text, loop_wall(c->host->loop),
				 NULL, NULL);
	say(c, BC_LOG_INFO, "was undone");
	bc_metric_inc(BC_M_UNDOS_DONE);
	tell_resolved(c);
	tell_changed(c);
	jrn_undo_end(c->host->port, &c->ticket, JRN_UNDONE, &c->undo, JRN_USED,
		     loop_wall(c->host->loop));
	tool_case_end(c);
}

/* What is gone cannot be taken away again; only after an undo that may have arrived does that prove anything. */
static bool is_gone(const struct tool_case *c, const struct net_http_answer *answer)
{
	return c->undo_sent && c->tool->idempotency == CFG_IDEMPOTENCY_NATURAL &&
	       answer->end == NET_HTTP_DONE && (answer->status == 404 || answer->status == 410);
}

static void on_undone(void *arg, const struct net_http_answer *answer)
{
	struct tool_verdict verdict = tool_judge(answer, true);
	struct tool_case *c = arg;

	BC_CHECK(c, TOOL_CASE_MAGIC);
	answered(c);
	if (verdict.happened || is_gone(c, answer)) {
		undone(c, answer->status);
		return;
	}
	bc_metric_inc(BC_M_UNDO_FAILURES);
	c->undo_sent = c->undo_sent || verdict.in_doubt;
	if (c->undo_sent && c->tool->idempotency == CFG_IDEMPOTENCY_NONE) {
		tool_case_park(
			c, JRN_IN_DOUBT,
			"is parked: whether its undo was carried out is not known, and may not be repeated");
	} else if (c->attempts >= c->common->undo_attempts_max) {
		tool_case_park(c, c->undo_sent ? JRN_IN_DOUBT : JRN_FAILED,
			       "is parked: its undo failed too often; see backchannelctl journal");
	} else {
		rest_for(c, back_off(c));
	}
}

/* In WAITING or PAUSED. */
static void send_undo(struct tool_case *c)
{
	enum bc_err err = send(c, &c->tool->undo, &c->undo, on_undone);

	if (err == BC_OK) {
		case_move(c, TOOL_CASE_EV_SEND);
	} else if (err == BC_E_INVALID) {
		tool_case_park(
			c, c->undo_sent ? JRN_IN_DOUBT : JRN_NEVER_STARTED,
			"is parked: no undo request can be made of its arguments and result");
	} else {
		rest_for(c, CROWD_PAUSE);
	}
}

static void on_turn(void *arg, enum bc_err err, const struct jrn_ticket *ticket)
{
	struct tool_case *c = arg;

	BC_CHECK(c, TOOL_CASE_MAGIC);
	if (err == BC_E_EXISTS) {
		tool_case_park(
			c, JRN_IN_DOUBT,
			"is parked: another change to the same thing has followed, so it is not undone");
	} else if (err != BC_OK) {
		tool_case_leave(c);
	} else {
		c->undo = *ticket;
		c->has_undo = true;
		c->attempts = 0;
		send_undo(c);
	}
}

static void take_turn(struct tool_case *c)
{
	struct jrn_intent intent = {.session = bc_span_str(c->session),
				    .turn = c->turn,
				    .tool = bc_span_str(c->tool->name),
				    .arguments = bc_buf_span(&c->shown),
				    .sealed = bc_buf_span(&c->sealed),
				    .tags = bc_buf_span(&c->tags),
				    .effect = JRN_UNDO,
				    .wall = loop_wall(c->host->loop)};

	if (c->undo_sent && c->tool->idempotency == CFG_IDEMPOTENCY_NONE) {
		tool_case_park(
			c, JRN_IN_DOUBT,
			"is parked: whether its undo was carried out is not known, and may not be repeated");
		return;
	}
	if (c->args == NULL) {
		tool_case_park(
			c, JRN_NEVER_STARTED,
			"is parked: its secret arguments were not kept, see journal.secret_key");
		return;
	}
	case_move(c, TOOL_CASE_EV_ASK);
	if (jrn_undo(c->host->port, &c->ticket, &intent, c->has_undo ? &c->undo : NULL, on_turn,
		     c) != BC_OK) {
		tool_case_leave(c);
	}
}

/* ---- finding out ---- */

/* What was found, for an undo that needs it. */
void tool_case_keep_result(struct tool_case *c)
{
	struct bc_span output = bc_buf_span(&c->output);

	c->result =
		json_loadb(output.len == 0 ? "" : output.ptr, output.len, JSON_DECODE_ANY, NULL);
	if (c->result == NULL && output.len > 0) {
		c->result = json_stringn(output.ptr, output.len);
	}
}

static void executed(struct tool_case *c)
{
	if (c->to_undo) {
		take_turn(c);
	} else {
		settle(c, JRN_USED);
	}
}

static void on_recorded(void *arg, enum bc_err err)
{
	struct tool_case *c = arg;

	BC_CHECK(c, TOOL_CASE_MAGIC);
	if (err != BC_OK) {
		tool_case_leave(c);
	} else {
		executed(c);
	}
}

/* It was executed; c->output is its result (J2). */
static void found(struct tool_case *c, int status)
{
	const struct tool_record record = {.host = c->host,
					   .tool = c->tool,
					   .args = c->args,
					   .ticket = &c->ticket,
					   .status = status,
					   .output = bc_buf_span(&c->output)};

	tool_case_keep_result(c);
	case_move(c, TOOL_CASE_EV_RECORD);
	if (tool_record(&record, on_recorded, c) != BC_OK) {
		tool_case_leave(c);
	}
}

static void not_found(struct tool_case *c)
{
	if (c->attempts >= c->common->undo_attempts_max) {
		tool_case_give_up(c);
	} else {
		rest_for(c, back_off(c));
	}
}

static void on_status(void *arg, const struct net_http_answer *answer)
{
	struct tool_case *c = arg;
	json_t *tree;

	BC_CHECK(c, TOOL_CASE_MAGIC);
	answered(c);
	switch (tool_judge_status(answer, &tree)) {
	case TOOL_STATUS_DONE:
		bc_buf_clear(&c->output);
		if (tool_status_put(&c->output, c->tool->result, json_object_get(tree, "result")) !=
		    BC_OK) {
			bc_buf_clear(&c->output); /* executed all the same */
		}
		found(c, 200);
		break;
	case TOOL_STATUS_NOT_DONE:
		say(c, BC_LOG_INFO, "was not carried out, says its server");
		settle(c, JRN_FAILED);
		break;
	case TOOL_STATUS_UNKNOWN:
		not_found(c);
		break;
	}
	json_decref(tree);
}

static void on_repeated(void *arg, const struct net_http_answer *answer)
{
	struct tool_verdict verdict = tool_judge(answer, true);
	struct tool_case *c = arg;

	BC_CHECK(c, TOOL_CASE_MAGIC);
	answered(c);
	if (!verdict.happened) {
		/* A refusal of the repetition does not say what became of the first request. */
		not_found(c);
		return;
	}
	bc_buf_clear(&c->output);
	if (answer->end != NET_HTTP_DONE ||
	    tool_result_put(&c->output, c->tool->result, answer->status, answer->body) != BC_OK) {
		bc_buf_clear(&c->output);
	}
	found(c, answer->status);
}

/* Whether an undo can be made of the arguments, whatever the result will be. */
static bool has_undo_request(const struct tool_case *c)
{
	const struct tool_values values = {.args = c->args,
					   .result_open = true,
					   .idempotency_key = c->ticket.key,
					   .own_key = c->ticket.key};
	struct bc_buf message;
	struct tool_wire wire;
	enum bc_err err;

	bc_buf_init(&message, TOOL_MESSAGE_MAX);
	err = tool_wire_init(&wire, &c->tool->undo, true, &values, &message);
	tool_wire_fini(&wire);
	bc_buf_release(&message);
	return err != BC_E_INVALID && err != BC_E_LIMIT;
}

/*
 * Whether the request may be sent again, to find out (J4).  The server may never have seen the first one and carries it
 * out only now, so that is done only where it is wanted, or can be taken back at once (J3):
 *
 *                                             to be taken back         it stands
 *   no undo can be made of its arguments      never                    may be sent
 *   another one with its tag has followed     never: would be parked   never: would change what the other one left
 *   a later one is undecided, or is being     later                    later
 *     taken back itself
 *   else                                      may be sent              may be sent
 *
 * Never: its status is asked, where there is one; else it stays in doubt (J7).  Only the request of a tool that sees by
 * key or by nature what it has done already is sent again at all (K2).
 */
static enum jrn_turn repetition(const struct tool_case *c)
{
	const struct cfg_tool *tool = c->tool;

	if (tool->effect != CFG_EFFECT_REVERSIBLE || !tool_is_repeatable(tool) || c->args == NULL ||
	    (c->to_undo && !has_undo_request(c))) {
		return JRN_TURN_NEVER;
	}
	return jrn_turn(c->host->port, &c->ticket);
}

/* In NEW or DELAYED: ask, or repeat, or wait, or give up. */
static void find(struct tool_case *c)
{
	const struct cfg_tool *tool = c->tool;
	bool may_ask = tool->status.method != NULL && c->args != NULL;
	enum bc_err err = BC_E_INVALID;
	enum jrn_turn turn;

	if (jrn_port_has_failed(c->host->port)) {
		/* Nothing more could be recorded of what a repetition does (J8). */
		tool_case_leave(c);
		return;
	}
	turn = repetition(c);
	if (may_ask && (c->attempts < ASKS_MAX || turn == JRN_TURN_NEVER)) {
		err = send(c, &tool->status, &c->ticket, on_status);
		bc_metric_add(BC_M_TOOL_STATUS_ASKED, err == BC_OK ? 1 : 0);
	} else if (turn == JRN_TURN_HERE) {
		err = send(c, &tool->request, &c->ticket, on_repeated);
	} else if (turn == JRN_TURN_LATER) {
		err = BC_E_AGAIN;
	}
	if (err == BC_OK) {
		case_move(c, TOOL_CASE_EV_FIND);
	} else if (err == BC_E_INVALID) {
		tool_case_give_up(c);
	} else {
		rest_for(c, CROWD_PAUSE);
	}
}

void tool_case_begin(struct tool_case *c)
{
	if (c->has_result) {
		executed(c);
	} else {
		find(c);
	}
}
