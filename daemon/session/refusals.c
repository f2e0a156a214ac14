/*
 * Requests for a response that the provider refuses, by name or without one: requests are answered in the order they were
 * sent, so an error that names none answers the oldest.
 *
 * Invariant L4: a request of the gateway that is refused for no visible reason is repeated a few times, never for ever.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#define FOLLOWUP_TRIES 3 /* refusals in a row after which the gateway gives its answer up */

void lane_followup_refused(struct sess *sess, bool collision)
{
	struct agent *agent = sess->agent;
	bool rival = collision && agent->current != NULL;

	agent->followup[0] = '\0';
	lane_move(sess, LANE_EV_REFUSED);
	agent->followup_refusals += rival ? 0 : 1;
	if (agent->followup_unwanted) {
		agent->followup_unwanted = false;
	} else if (agent->followup_refusals >= FOLLOWUP_TRIES) {
		bc_log(BC_LOG_WARNING, &sess->log,
		       "provider refuses to answer to tool results, giving this answer up");
		agent->followup_refusals = 0;
		resp_merge_close(sess, "failed", "upstream_refused",
				 "The provider did not answer to the results of tools.");
	} else {
		lane_owe(sess, agent->followup_params, false);
		/* Without a rival the reason may pass; it is not asked for in a hurry. */
		agent->answer_expected = agent->answer_expected || !collision;
	}
	json_decref(agent->followup_params);
	agent->followup_params = NULL;
	lane_pump(sess);
}

/* The client's request that an error names. */
static struct create *sent_as(const struct agent *agent, struct bc_span event_id)
{
	struct create *create;

	TAILQ_FOREACH(create, &agent->sent, link) {
		if (create->event_id != NULL && bc_span_is(event_id, create->event_id)) {
			return create;
		}
	}
	return NULL;
}

/* The client's request an error answers that names none; NULL: our own, which was sent before, or none. */
static struct create *sent_first(const struct agent *agent, bool collision)
{
	struct create *first =
		collision ? lane_oldest_sent(agent, false) : TAILQ_FIRST(&agent->sent);

	if (first != NULL && agent->followup[0] != '\0' && agent->followup_number < first->number) {
		return NULL;
	}
	return first;
}

/* A request that met a late answer, of which the client knows nothing, waits for its end; false: it met another one. */
static bool keep_again(struct sess *sess, struct create *create)
{
	struct agent *agent = sess->agent;

	if (agent->current == NULL || agent->current->origin != RESP_LATE) {
		return false;
	}
	TAILQ_REMOVE(&agent->sent, create, link);
	lane_keep(sess, create, true);
	return true;
}

bool lane_create_failed(struct sess *sess, struct bc_span client_id, struct bc_span error)
{
	struct agent *agent = sess->agent;
	bool collision = field_is(error, "code", "conversation_already_has_active_response");
	bool nameless =
		!json_raw_is_string(client_id) && (collision || error_is_about(error, "response"));
	struct create *failed = sent_as(agent, client_id);

	if (failed == NULL && late_failed(agent, client_id)) {
		return true;
	}
	if (failed == NULL && nameless) {
		failed = sent_first(agent, collision);
	}
	if (failed == NULL && agent->followup[0] != '\0' &&
	    (nameless || json_string_is(client_id, agent->followup))) {
		bc_metric_add(BC_M_CREATE_COLLISIONS, collision);
		/* The order may have lied: then it begins all the same. */
		agent->followups_late += nameless;
		lane_followup_refused(sess, collision);
		return true;
	}
	if (failed != NULL) {
		bc_metric_add(BC_M_CREATE_COLLISIONS, collision);
		if (collision && keep_again(sess, failed)) {
			return true;
		}
		lane_drop_create(agent, &agent->sent, failed);
		lane_pump(sess);
	}
	return false;
}
