/*
 * One timer for every deadline that is no step's and no limit of the session's life.  Whoever begins to wait says until
 * when; at that time everybody is asked what is due and when to be asked again.  A wait that ends early disarms nothing:
 * the timer then finds nothing to do.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

void deadline_set(struct sess *sess, bc_usec when)
{
	struct agent *agent = sess->agent;
	bc_usec delay = when - sess_now(sess);

	if (when < 0 || sess->state != SESS_OPEN ||
	    (agent->deadline != 0 && agent->deadline <= when)) {
		return;
	}
	agent->deadline = when;
	sess->world->timer(sess->world_arg, SESS_TIMER_DEADLINE, delay < 0 ? 0 : delay);
}

/* ---- requests for a response ---- */

/* A request of the client that the provider does not answer: it gets an error, so that it may ask again (R5). */
static void tell_expired(struct sess *sess, const struct create *create)
{
	bc_metric_inc(BC_M_ANSWER_TIMEOUTS);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider has not answered the client's request for a response, waiting no longer");
	client_refuse(sess,
		      create->event_id == NULL ? BC_SPAN_LIT("") : bc_span_str(create->event_id),
		      "upstream_timeout", "The provider did not answer in time. Try again.");
}

static void create_expired(struct sess *sess, struct create *create)
{
	tell_expired(sess, create);
	late_add(sess->agent, create);
}

/* Whether a response stands in the way of which the client hears nothing; the end of a tool comes in the tool's time. */
static bool is_obstructed(const struct agent *agent)
{
	return agent->current != NULL && agent->current->view != RESP_SHOWN &&
	       agent->current->view != RESP_MERGED;
}

/* Requests kept back for the end of a response that does not come. */
static void kept_expire(struct sess *sess)
{
	struct agent *agent = sess->agent;
	bc_usec oldest = sess_now(sess) - sess->cfg->session.answer_timeout;
	struct create *create;

	while ((create = TAILQ_FIRST(&agent->kept)) != NULL && create->kept <= oldest &&
	       is_obstructed(agent)) {
		tell_expired(sess, create);
		lane_drop_create(agent, &agent->kept, create);
	}
	if (create != NULL) {
		deadline_set(sess, (create->kept <= oldest ? sess_now(sess) : create->kept) +
					   sess->cfg->session.answer_timeout);
	}
}

static void followup_expired(struct sess *sess)
{
	bc_metric_inc(BC_M_ANSWER_TIMEOUTS);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider has not answered the gateway's request for a response, waiting no longer");
	sess->agent->followups_late++;
	lane_followup_refused(sess, false);
}

static bc_usec requests_due(struct sess *sess)
{
	struct agent *agent = sess->agent;
	bc_usec now = sess_now(sess);
	bc_usec patience = sess->cfg->session.answer_timeout;
	struct create *oldest;

	if (sess->blocked[SESS_UPSTREAM] != 0) {
		/* Its answer may be there and unread, because the client is slow. */
		return now + patience;
	}
	kept_expire(sess);
	while ((oldest = TAILQ_FIRST(&agent->sent)) != NULL && now - oldest->sent >= patience) {
		create_expired(sess, oldest);
	}
	if (agent->followup[0] != '\0' && now - agent->followup_sent >= patience) {
		followup_expired(sess);
	} else {
		lane_pump(sess);
	}
	if (agent->followup[0] != '\0') {
		deadline_set(sess, agent->followup_sent + patience);
	}
	oldest = TAILQ_FIRST(&agent->sent);
	return oldest == NULL ? -1 : oldest->sent + patience;
}

void deadlines_fired(struct sess *sess)
{
	static bc_usec (*const due[])(struct sess * sess) = {results_due, filler_due, requests_due,
							     pass_due, prepare_due};

	sess->agent->deadline = 0;
	for (size_t i = 0; i < BC_ARRAY_LEN(due) && sess->state == SESS_OPEN; i++) {
		deadline_set(sess, due[i](sess));
	}
}
