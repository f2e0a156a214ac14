/* What an operator is told of a session: what it is doing and the named reasons for its waits. */
#include "daemon/session/sess.h"

#include <inttypes.h>

const char *sess_id(const struct sess *sess)
{
	BC_CHECK(sess, SESS_MAGIC);
	return sess->log.session;
}

static enum bc_err put_block(struct bc_buf *out, const char *side, unsigned blocked)
{
	return bc_buf_printf(out, " %s_not_read_because=%s%s%s%s", side, blocked == 0 ? "-" : "",
			     (blocked & FLOW_START_QUEUE_FULL) != 0 ? "provider_not_there_yet,"
								    : "",
			     (blocked & FLOW_PEER_SLOW) != 0 ? "peer_slow," : "",
			     (blocked & FLOW_WINDOW_FULL) != 0 ? "eager_window_full," : "");
}

static unsigned count_calls(const struct agent *agent, bool waiting_for_client)
{
	unsigned count = 0;
	const struct step *step;
	const struct call *call;

	TAILQ_FOREACH(step, &agent->steps, link) {
		TAILQ_FOREACH(call, &step->calls, link) {
			count += !call->answered && (call->work == NULL) == waiting_for_client;
		}
	}
	return count;
}

static unsigned count_guesses(const struct agent *agent)
{
	unsigned count = 0;
	const struct work *work;

	TAILQ_FOREACH(work, &agent->works, link) {
		count += work->guess != NULL;
	}
	return count;
}

static unsigned count_placeheld(const struct agent *agent)
{
	unsigned count = 0;
	const struct step *step;
	const struct call *call;

	TAILQ_FOREACH(step, &agent->steps, link) {
		TAILQ_FOREACH(call, &step->calls, link) {
			count += call->placeheld && !call->answered;
		}
	}
	return count;
}

/* What is waited for beside the calls themselves. */
static enum bc_err put_waits(struct bc_buf *out, const struct sess *sess)
{
	const struct agent *agent = sess->agent;
	const struct create *create;
	unsigned sent = 0;

	TAILQ_FOREACH(create, &agent->sent, link) {
		sent++;
	}
	return bc_buf_printf(out,
			     " creates_unanswered=%u followup_unanswered=%s results_unconfirmed=%u"
			     " results_follow_placeholder=%u filler=%s restarts=%u",
			     sent, agent->followup[0] == '\0' ? "no" : "yes", agent->unacked,
			     count_placeheld(agent), filler_state(sess), agent->restarts.count);
}

static enum bc_err put_agent(struct bc_buf *out, const struct agent *agent)
{
	const struct create *create;
	unsigned kept = 0;

	TAILQ_FOREACH(create, &agent->kept, link) {
		kept++;
	}
	return bc_buf_printf(
		out,
		" lane=%s response=%s answer_owed=%s caller_speaks=%s creates_kept=%u"
		" calls_running=%u client_outputs_awaited=%u guesses=%u passes_running=%u takeover=%s"
		" turn=%" PRIu64 " items=%u extension=%s transcripts=%s words_wait_for_turns=%u",
		lane_state_name(agent->lane), agent->current == NULL ? "-" : agent->current->id,
		agent->owed ? "yes" : "no", agent->speech ? "yes" : "no", kept,
		count_calls(agent, false), count_calls(agent, true), count_guesses(agent),
		pass_count(agent), take_state_name(agent->take.state), agent->committed_turn,
		agent->items.count, agent->extension.on ? "on" : "off",
		agent->transcripts.asked     ? "asked"
		: agent->transcripts.refused ? "refused"
					     : "-",
		agent->hearing.words.ahead);
}

enum bc_err sess_describe(const struct sess *sess, bool whole, struct bc_buf *out)
{
	bc_usec now = sess_now(sess);
	enum bc_err err =
		bc_buf_printf(out,
			      "session=%s state=%s age=%.1f silent=%.1f messages_up=%" PRIu64
			      " messages_down=%" PRIu64,
			      sess->log.session, sess_state_name(sess->state),
			      (double)(now - sess->started) / (double)BC_USEC_PER_SEC,
			      (double)(now - sess->last_message) / (double)BC_USEC_PER_SEC,
			      sess->messages[SESS_CLIENT], sess->messages[SESS_UPSTREAM]);

	if (err != BC_OK || !whole) {
		return err;
	}
	err = bc_buf_printf(out,
			    " bytes_up=%" PRIu64 " bytes_down=%" PRIu64
			    " responses_open=%u start_queue=%zu",
			    sess->bytes[SESS_CLIENT], sess->bytes[SESS_UPSTREAM],
			    sess->response_count, bc_buf_len(&sess->start_queue));
	if (err == BC_OK) {
		err = bc_buf_put_str(out, " waits_for=");
	}
	if (err == BC_OK) {
		err = wait_put(wait_reasons(sess), out);
	}
	if (err == BC_OK) {
		err = put_block(out, "client", sess->blocked[SESS_CLIENT]);
	}
	if (err == BC_OK) {
		err = put_block(out, "provider", sess->blocked[SESS_UPSTREAM]);
	}
	if (err == BC_OK && sess->agent != NULL) {
		err = put_agent(out, sess->agent);
	}
	if (err == BC_OK && sess->agent != NULL) {
		err = put_waits(out, sess);
	}
	if (err == BC_OK && sess->agent != NULL) {
		err = ear_describe(sess, out);
	}
	return err == BC_OK && sess->agent != NULL ? reasoner_describe(sess, out) : err;
}
