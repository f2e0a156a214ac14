/*
 * How long the answer to what the caller has said takes to begin, beside a pass and alone, because a provider may let the
 * one wait for the other (U4); and whether one is awaited.  Only what can be compared is measured: the first response to a
 * spoken turn that nothing was in the way of, and that begins with words.
 */
#include "daemon/session/sess.h"

void answer_forget(struct agent *agent)
{
	agent->answering = (struct answering){0};
}

static void measure(struct sess *sess)
{
	struct agent *agent = sess->agent;
	bool busy = agent->lane != LANE_IDLE || agent->current != NULL;

	/* Of a turn that was ended early the answer was kept back, and when it came is not known any more. */
	if (busy || agent->spec == NULL || agent->eager.flushing) {
		answer_forget(agent);
		return;
	}
	agent->answering =
		(struct answering){.since = sess_now(sess), .beside = pass_count(agent) > 0};
}

void answer_turn_ended(struct sess *sess, bool spoken)
{
	struct agent *agent = sess->agent;

	answer_forget(agent);
	agent->answering.spoken = spoken;
	if (spoken && agent->take.provider_answers) {
		measure(sess);
	}
}

void answer_asked(struct sess *sess)
{
	if (sess->agent->answering.spoken) {
		measure(sess);
	}
}

void answer_created(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	const struct resp *resp = agent->current;

	if (resp == NULL || !field_is(field_raw(text, "response"), "id", resp->id)) {
		return; /* not in the conversation */
	}
	if (agent->answering.created || (resp->origin != RESP_VAD && resp->origin != RESP_CLIENT)) {
		answer_forget(agent);
	}
	agent->answering.created = true;
}

void answer_item(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	bc_usec took = sess_now(sess) - agent->answering.since;

	if (agent->current == NULL || !field_is(text, "response_id", agent->current->id)) {
		return;
	}
	if (agent->answering.since != 0 && agent->answering.created &&
	    took <= TRAIT_VALUE_MAX * BC_USEC_PER_MS &&
	    field_is(field_raw(text, "item"), "type", "message")) {
		trait_notice(sess,
			     agent->answering.beside ? TRAIT_ANSWER_BESIDE : TRAIT_ANSWER_ALONE,
			     (int32_t)(took / BC_USEC_PER_MS));
	}
	answer_forget(agent);
	if (trait_lacks(sess, TRAIT_PARALLEL_PASSES)) {
		pass_advance(sess);
	}
}

bool answer_is_awaited(const struct sess *sess)
{
	const struct agent *agent = sess->agent;
	const struct resp *current = agent->current;

	if (current != NULL) {
		return current->visible_items + current->gateway_items == 0;
	}
	return agent->take.client_commits || (agent->answer_expected && agent->create_response) ||
	       agent->followup[0] != '\0' || lane_oldest_sent(agent, false) != NULL;
}
