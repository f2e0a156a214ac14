/*
 * The world between a session and its world: notes every decision, then hands it on.
 *
 * A message that goes on to the other side as it came is no entry of its own: the input's says so.
 */
#include "daemon/session/ledger.h"
#include "daemon/session/sess.h"

#include <assert.h>
#include <stdlib.h>

#define RUN_MAGIC 0x6c72756eu

/* A function more in the table must be handed on here, or sessions call nothing. */
static_assert(sizeof(struct sess_world) == 22 * sizeof(void (*)(void)),
	      "hand the new function of the world on, note it, and let tests/replay know");

static const char *side_name(enum sess_side side)
{
	return side == SESS_CLIENT ? "client" : "upstream";
}

static bc_usec tap_now(void *world)
{
	const struct ledger *ledger = world;

	return ledger->world->now(ledger->world_arg);
}

static bool is_handled_message(const struct ledger *ledger, struct bc_span payload)
{
	return payload.ptr == ledger->message.ptr && payload.len == ledger->message.len &&
	       payload.len > 0;
}

/* A message that is not the one being handled. */
static void note_sent(struct ledger *ledger, enum sess_side side, enum ws_opcode opcode,
		      struct bc_span payload)
{
	const char *kind = side == SESS_CLIENT ? "to_client" : "to_provider";

	if (opcode == WS_TEXT) {
		struct oai_envelope envelope =
			oai_envelope(payload, side == SESS_CLIENT ? OAI_SERVER : OAI_CLIENT);

		(void)ledger_put_event(ledger, LEDGER_GATEWAY, kind, &envelope); /* kept or not */
	} else {
		(void)ledger_put_bytes(ledger, LEDGER_GATEWAY, kind, payload.len);
	}
}

static bool tap_send(void *world, enum sess_side side, enum ws_opcode opcode,
		     struct bc_span payload)
{
	struct ledger *ledger = world;
	bool same = is_handled_message(ledger, payload);
	bool full = ledger->world->send(ledger->world_arg, side, opcode, payload);

	if (!same) {
		note_sent(ledger, side, opcode, payload);
	} else if (ledger->input != NULL) {
		ledger->input->passed++;
	}
	if (ledger->recording) {
		script_begin(ledger, "out", "send");
		script_string(ledger, "side", bc_span_str(side_name(side)));
		script_number(ledger, "full", full);
		if (same && !ledger->resumed) {
			script_number(ledger, "same", 1);
		} else {
			script_payload(ledger, opcode, payload);
		}
		script_end(ledger);
	}
	return full;
}

static void tap_read(void *world, enum sess_side side, bool on)
{
	struct ledger *ledger = world;

	ledger_note(ledger->sess, LEDGER_GATEWAY, "read", "side=%s on=%s", side_name(side),
		    on ? "yes" : "no");
	script_begin(ledger, "out", "read");
	script_string(ledger, "side", bc_span_str(side_name(side)));
	script_number(ledger, "on", on);
	script_end(ledger);
	ledger->world->read(ledger->world_arg, side, on);
}

static bool tap_charge(void *world, size_t bytes)
{
	struct ledger *ledger = world;
	bool granted = ledger->world->charge(ledger->world_arg, bytes);

	if (!granted) {
		ledger_note(ledger->sess, LEDGER_WORLD, "over_quota", "bytes=%zu", bytes);
		script_begin(ledger, "out", "over_quota");
		script_end(ledger);
	}
	return granted;
}

static void tap_close(void *world, enum sess_side side, uint16_t code, struct bc_span reason)
{
	struct ledger *ledger = world;

	ledger_note(ledger->sess, LEDGER_GATEWAY, "close", "side=%s code=%u", side_name(side),
		    code);
	script_begin(ledger, "out", "close");
	script_string(ledger, "side", bc_span_str(side_name(side)));
	script_number(ledger, "code", code);
	script_string(ledger, "reason", reason);
	script_end(ledger);
	ledger->world->close(ledger->world_arg, side, code, reason);
}

/* Timers are set anew all the time and say nothing that their firing does not: only a recording has them. */
static void tap_timer(void *world, enum sess_timer which, bc_usec delay)
{
	struct ledger *ledger = world;

	script_begin(ledger, "out", "timer");
	script_number(ledger, "timer", which);
	script_number(ledger, "delay", delay < 0 ? -1 : delay);
	script_end(ledger);
	ledger->world->timer(ledger->world_arg, which, delay);
}

/* ---- tools ---- */

static void run_done(void *arg, struct tool_call *call, const struct tool_result *result)
{
	struct ledger_run *run = arg;

	BC_CHECK(run, RUN_MAGIC);
	wait_tool(run->tool, result->finished - run->begun);
	ledger_result(run->ledger, run, result);
	run->done(run->arg, call, result);
}

static bool run_may_start(void *arg)
{
	struct ledger_run *run = arg;
	struct ledger *ledger;
	bool granted;

	BC_CHECK(run, RUN_MAGIC);
	ledger = run->ledger;
	ledger_asked(ledger, run);
	granted = run->may_start(run->arg);
	ledger_note(ledger->sess, LEDGER_GATEWAY, "start", "run=%llu granted=%s",
		    (unsigned long long)run->number, granted ? "yes" : "no");
	script_begin(ledger, "out", "start");
	script_number(ledger, "granted", granted);
	script_end(ledger);
	return granted;
}

static void run_free(struct ledger_run *run)
{
	TAILQ_REMOVE(&run->ledger->tools, run, link);
	run->magic = 0;
	free(run);
}

void ledger_runs_free(struct ledger *ledger)
{
	while (!TAILQ_EMPTY(&ledger->tools)) {
		run_free(TAILQ_FIRST(&ledger->tools));
	}
}

static struct ledger_run *run_find(const struct ledger *ledger, const struct tool_call *call)
{
	struct ledger_run *run;

	TAILQ_FOREACH(run, &ledger->tools, link) {
		if (run->call == call) {
			return run;
		}
	}
	BC_BUG_ON(true);
	return NULL;
}

static void note_run(struct ledger *ledger, const struct ledger_run *run,
		     const struct tool_request *request)
{
	ledger_note(ledger->sess, LEDGER_GATEWAY, "run", "run=%llu tool=%s turn=%llu guess=%s%s",
		    (unsigned long long)run->number, run->tool->name,
		    (unsigned long long)request->turn, request->speculative ? "yes" : "no",
		    request->withhold ? " withheld=yes" : "");
	script_begin(ledger, "out", "run");
	script_number(ledger, "run", (int64_t)run->number);
	script_string(ledger, "tool", bc_span_str(run->tool->name));
	script_string(ledger, "arguments", request->arguments);
	script_number(ledger, "turn", (int64_t)request->turn);
	script_number(ledger, "guess", request->speculative);
	if (request->withhold) {
		script_number(ledger, "withheld", 1);
	}
	script_end(ledger);
}

static enum bc_err tap_tool_run(void *world, const struct tool_request *request,
				struct tool_call **ret)
{
	struct ledger *ledger = world;
	struct tool_request tapped = *request;
	struct ledger_run *run = calloc(1, sizeof(*run));
	enum bc_err err = run == NULL ? BC_E_NOMEM : BC_OK;

	if (err == BC_OK) {
		*run = (struct ledger_run){.magic = RUN_MAGIC,
					   .ledger = ledger,
					   .tool = request->tool,
					   .number = ledger->tool_count,
					   .begun = ledger->at,
					   .may_start = request->may_start,
					   .done = request->done,
					   .arg = request->arg};
		tapped.may_start = request->may_start == NULL ? NULL : run_may_start;
		tapped.done = run_done;
		tapped.arg = run;
		err = ledger->world->tool_run(ledger->world_arg, &tapped, &run->call);
	}
	if (err != BC_OK) {
		free(run);
		ledger_note(ledger->sess, LEDGER_WORLD, "run_failed", "tool=%s error=%s",
			    request->tool->name, bc_err_name(err));
		script_begin(ledger, "out", "run_failed");
		script_end(ledger);
		return err;
	}
	ledger->tool_count++;
	TAILQ_INSERT_TAIL(&ledger->tools, run, link);
	note_run(ledger, run, request);
	*ret = run->call;
	return BC_OK;
}

static void tap_tool_cancel(void *world, struct tool_call *call)
{
	struct ledger *ledger = world;
	struct ledger_run *run = run_find(ledger, call);

	ledger_note(ledger->sess, LEDGER_GATEWAY, "cancel_run", "run=%llu tool=%s",
		    (unsigned long long)run->number, run->tool->name);
	script_begin(ledger, "out", "cancel_run");
	script_number(ledger, "run", (int64_t)run->number);
	script_end(ledger);
	run_free(run);
	ledger->world->tool_cancel(ledger->world_arg, call);
}

static void tap_tool_commit(void *world, struct tool_call *call)
{
	struct ledger *ledger = world;
	const struct ledger_run *run = run_find(ledger, call);

	ledger_note(ledger->sess, LEDGER_GATEWAY, "commit_run", "run=%llu tool=%s",
		    (unsigned long long)run->number, run->tool->name);
	script_begin(ledger, "out", "commit_run");
	script_number(ledger, "run", (int64_t)run->number);
	script_end(ledger);
	ledger->world->tool_commit(ledger->world_arg, call);
}

static void tap_tool_settle(void *world, struct tool_call *call, enum jrn_settlement how)
{
	struct ledger *ledger = world;
	struct ledger_run *run = run_find(ledger, call);

	ledger_note(ledger->sess, LEDGER_GATEWAY, "settle", "run=%llu tool=%s how=%d",
		    (unsigned long long)run->number, run->tool->name, (int)how);
	script_begin(ledger, "out", "settle");
	script_number(ledger, "run", (int64_t)run->number);
	script_number(ledger, "how", how);
	script_end(ledger);
	run_free(run);
	ledger->world->tool_settle(ledger->world_arg, call, how);
}

static const struct tool_result *tap_tool_result(void *world, const struct tool_call *call)
{
	const struct ledger *ledger = world;

	return ledger->world->tool_result(ledger->world_arg, call);
}

/* ---- the rest ---- */

static void tap_changed(void *world, const char *tag)
{
	struct ledger *ledger = world;

	ledger_note(ledger->sess, LEDGER_GATEWAY, "change", "tag=%s", tag);
	script_begin(ledger, "out", "change");
	script_string(ledger, "tag", bc_span_str(tag));
	script_end(ledger);
	ledger->world->changed(ledger->world_arg, tag);
}

static bool tap_reason_start(void *world, struct bc_span body)
{
	struct ledger *ledger = world;
	bool started = ledger->world->reason_start(ledger->world_arg, body);

	ledger_note(ledger->sess, LEDGER_GATEWAY, "reason", "bytes=%zu started=%s", body.len,
		    started ? "yes" : "no");
	script_begin(ledger, "out", "reason");
	script_number(ledger, "started", started);
	script_payload(ledger, WS_TEXT, body);
	script_end(ledger);
	return started;
}

static void tap_reason_cancel(void *world)
{
	struct ledger *ledger = world;

	ledger_note(ledger->sess, LEDGER_GATEWAY, "cancel_reason", "-");
	script_begin(ledger, "out", "cancel_reason");
	script_end(ledger);
	ledger->world->reason_cancel(ledger->world_arg);
}

static enum admission_refusal tap_admit(void *world, const struct cfg_tool *tool,
					enum spec_trigger trigger)
{
	struct ledger *ledger = world;
	enum admission_refusal refusal =
		ledger->world->admit == NULL
			? ADMISSION_GRANTED
			: ledger->world->admit(ledger->world_arg, tool, trigger);

	/* The session notes what it makes of it. */
	if (refusal != ADMISSION_GRANTED) {
		script_begin(ledger, "out", "refused");
		script_number(ledger, "because", (int64_t)refusal);
		script_end(ledger);
	}
	return refusal;
}

/* Nothing of the session depends on it: it is not noted. */
static void tap_learn(void *world, const struct admission_event *event)
{
	struct ledger *ledger = world;

	if (ledger->world->learn != NULL) {
		ledger->world->learn(ledger->world_arg, event);
	}
}

static void tap_observe(void *world, const struct pattern_call *call)
{
	struct ledger *ledger = world;

	if (ledger->world->observe != NULL) {
		ledger->world->observe(ledger->world_arg, call);
	}
}

/* What others have taught is no input of this session: a recording has it, a line each. */
static unsigned tap_predict(void *world, const struct pattern_call *call, uint64_t turn,
			    struct pattern_guess out[PATTERN_GUESSES_MAX])
{
	struct ledger *ledger = world;
	unsigned count = ledger->world->predict == NULL
				 ? 0
				 : ledger->world->predict(ledger->world_arg, call, turn, out);

	for (unsigned i = 0; i < count; i++) {
		script_begin(ledger, "out", "predicted");
		script_string(ledger, "tool", bc_span_str(out[i].tool));
		script_string(ledger, "arguments", bc_span_str(out[i].arguments));
		script_number(ledger, "more", (int64_t)(count - i - 1));
		script_end(ledger);
	}
	return count;
}

/* What follows from it has its own entries. */
static void tap_noticed(void *world, enum trait trait, int32_t value)
{
	struct ledger *ledger = world;

	if (ledger->world->noticed != NULL) {
		ledger->world->noticed(ledger->world_arg, trait, value);
	}
}

static void tap_warm(void *world, const struct cfg_tool *tool)
{
	struct ledger *ledger = world;

	if (ledger->world->warm != NULL) {
		ledger->world->warm(ledger->world_arg, tool);
	}
}

static void tap_ended(void *world)
{
	struct ledger *ledger = world;

	ledger_note(ledger->sess, LEDGER_GATEWAY, "ended", "-");
	script_begin(ledger, "out", "ended");
	script_end(ledger);
	ledger->world->ended(ledger->world_arg);
}

/* record is the ledger's alone. */
const struct sess_world ledger_world = {.now = tap_now,
					.send = tap_send,
					.read = tap_read,
					.charge = tap_charge,
					.close = tap_close,
					.timer = tap_timer,
					.tool_run = tap_tool_run,
					.tool_cancel = tap_tool_cancel,
					.tool_commit = tap_tool_commit,
					.tool_settle = tap_tool_settle,
					.tool_result = tap_tool_result,
					.changed = tap_changed,
					.reason_start = tap_reason_start,
					.reason_cancel = tap_reason_cancel,
					.admit = tap_admit,
					.learn = tap_learn,
					.observe = tap_observe,
					.predict = tap_predict,
					.noticed = tap_noticed,
					.warm = tap_warm,
					.ended = tap_ended};
