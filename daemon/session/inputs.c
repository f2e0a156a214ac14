/*
 * What happens to a session, as its ledger notes it.  Every function is called before the session acts on the input, with
 * the time of the input before it still in ledger->at: whatever the session waits for now it has waited for since then.
 */
#include "daemon/session/ledger.h"
#include "daemon/session/sess.h"

static const char *side_name(enum sess_side side)
{
	return side == SESS_CLIENT ? "client" : "upstream";
}

static enum ledger_source side_source(enum sess_side side)
{
	return side == SESS_CLIENT ? LEDGER_CLIENT : LEDGER_PROVIDER;
}

static struct ledger *begin(struct sess *sess)
{
	struct ledger *ledger = sess->ledger;

	if (ledger->changed) {
		wait_note(ledger, wait_reasons(sess), ledger->at);
		ledger->changed = false;
	}
	ledger->at = sess_now(sess);
	ledger->input = NULL;
	ledger->message = bc_span(NULL, 0);
	ledger->resumed = false;
	return ledger;
}

void ledger_message(struct sess *sess, enum sess_side side, enum ws_opcode opcode,
		    const struct oai_envelope *envelope)
{
	struct ledger *ledger = begin(sess);

	ledger->message = envelope->text;
	ledger->input =
		opcode == WS_TEXT
			? ledger_put_event(ledger, side_source(side), "said", envelope)
			: ledger_put_bytes(ledger, side_source(side), "said", envelope->text.len);
	if (ledger->recording) {
		script_begin(ledger, "in", "message");
		script_string(ledger, "side", bc_span_str(side_name(side)));
		script_payload(ledger, opcode, envelope->text);
		script_end(ledger);
	}
}

void ledger_resumed(struct sess *sess, struct bc_span payload)
{
	sess->ledger->message = payload;
	sess->ledger->resumed = true;
}

void ledger_opened(struct sess *sess)
{
	struct ledger *ledger = begin(sess);

	ledger_note(sess, LEDGER_PROVIDER, "opened", "-");
	script_begin(ledger, "in", "open");
	script_end(ledger);
}

void ledger_failed(struct sess *sess, enum bc_err err, unsigned status, const char *detail)
{
	struct ledger *ledger = begin(sess);

	ledger_note(sess, LEDGER_PROVIDER, "failed", "error=%s status=%u", bc_err_name(err),
		    status);
	script_begin(ledger, "in", "failed");
	script_string(ledger, "error", bc_span_str(bc_err_name(err)));
	script_number(ledger, "status", status);
	script_string(ledger, "detail", bc_span_str(detail));
	script_end(ledger);
}

void ledger_closed(struct sess *sess, enum sess_side side, enum bc_err err, uint16_t code,
		   struct bc_span reason)
{
	struct ledger *ledger = begin(sess);

	ledger_note(sess, side_source(side), "closed", "error=%s code=%u", bc_err_name(err), code);
	script_begin(ledger, "in", "closed");
	script_string(ledger, "side", bc_span_str(side_name(side)));
	script_string(ledger, "error", bc_span_str(bc_err_name(err)));
	script_number(ledger, "code", code);
	script_string(ledger, "reason", reason);
	script_end(ledger);
}

void ledger_tag(struct sess *sess, const char *tag)
{
	struct ledger *ledger = begin(sess);

	ledger_note(sess, LEDGER_WORLD, "changed", "tag=%s", tag);
	script_begin(ledger, "in", "tag");
	script_string(ledger, "tag", bc_span_str(tag));
	script_end(ledger);
}

void ledger_drained(struct sess *sess, enum sess_side side)
{
	struct ledger *ledger = begin(sess);

	ledger_note(sess, side_source(side), "drained", "-");
	script_begin(ledger, "in", "drained");
	script_string(ledger, "side", bc_span_str(side_name(side)));
	script_end(ledger);
}

void ledger_timer(struct sess *sess, enum sess_timer which)
{
	struct ledger *ledger = begin(sess);

	ledger_note(sess, LEDGER_TIMER, "fired", "timer=%d", (int)which);
	script_begin(ledger, "in", "timer");
	script_number(ledger, "timer", which);
	script_end(ledger);
}

void ledger_shut_down(struct sess *sess)
{
	struct ledger *ledger = begin(sess);

	ledger_note(sess, LEDGER_WORLD, "shut_down", "-");
	script_begin(ledger, "in", "shut_down");
	script_end(ledger);
}

void ledger_reasoned(struct sess *sess, struct bc_span bytes)
{
	struct ledger *ledger = begin(sess);

	/* Kept or not. */
	(void)ledger_put_bytes(ledger, LEDGER_PROVIDER, "reasoned", bytes.len); /* kept or not */
	script_begin(ledger, "in", "reasoned");
	script_payload(ledger, WS_BINARY, bytes);
	script_end(ledger);
}

void ledger_reason_ended(struct sess *sess, enum bc_err err, int status, bc_usec retry_after)
{
	struct ledger *ledger = begin(sess);

	ledger_note(sess, LEDGER_PROVIDER, "reason_ended", "error=%s status=%d", bc_err_name(err),
		    status);
	script_begin(ledger, "in", "reason_ended");
	script_string(ledger, "error", bc_span_str(bc_err_name(err)));
	script_number(ledger, "status", status);
	script_number(ledger, "retry_after", retry_after);
	script_end(ledger);
}

void ledger_asked(struct ledger *ledger, const struct ledger_run *run)
{
	begin(ledger->sess);
	ledger_note(ledger->sess, LEDGER_TOOL, "may_start", "run=%llu",
		    (unsigned long long)run->number);
	script_begin(ledger, "in", "may_start");
	script_number(ledger, "run", (int64_t)run->number);
	script_end(ledger);
}

void ledger_result(struct ledger *ledger, const struct ledger_run *run,
		   const struct tool_result *result)
{
	begin(ledger->sess);
	ledger_note(ledger->sess, LEDGER_TOOL, "result", "run=%llu outcome=%s status=%d bytes=%zu",
		    (unsigned long long)run->number, tool_outcome_name(result->outcome),
		    result->status, result->output.len);
	script_begin(ledger, "in", "result");
	script_number(ledger, "run", (int64_t)run->number);
	script_string(ledger, "outcome", bc_span_str(tool_outcome_name(result->outcome)));
	script_number(ledger, "status", result->status);
	script_number(ledger, "started", result->started);
	script_number(ledger, "finished", result->finished);
	script_string(
		ledger, "output",
		bc_span(result->output.ptr == NULL ? "" : result->output.ptr, result->output.len));
	script_end(ledger);
}
