/*
 * Beside a response of the provider that goes on from a tool's result, a pass is asked for the same: which calls come next.
 * Each of the two takes its own time, and whoever names the calls first has them made: by its own word, or by a takeover as
 * at the end of the turn.  Where the response turns out to be the answer, the pass was for nothing; so one is made only
 * behind tools whose results used to be followed by more calls.
 *
 * The pass is given what the response is given, so none begins while an item on its way is known to one of them alone.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

/* The call whose result is the newest that a response knows; NULL: it knows of none, or it could not be run. */
static const struct work *newest_known(const struct agent *agent, const struct resp *resp)
{
	const struct work *newest = NULL;
	const struct work *work;

	TAILQ_FOREACH(work, &agent->works, link) {
		if (work->put != 0 && work->put <= resp->context &&
		    (newest == NULL || work->put > newest->put)) {
			newest = work;
		}
	}
	return newest == NULL || newest->invalid ? NULL : newest;
}

/* Whether every item since the caller's last words may be referred to, and every result is in the conversation. */
static bool is_told_all(const struct agent *agent)
{
	const struct item *item;

	TAILQ_FOREACH_REVERSE(item, &agent->items.order, item_list, link)
	{
		if (!item->done) {
			return false;
		}
		if (item->user) {
			break;
		}
	}
	return agent->unacked == 0;
}

/* Whether a verdict could take the place of the response, and none does already. */
static bool may_be_beaten(const struct sess *sess, const struct resp *resp)
{
	/* What a client has asked for may have tools of its own. */
	return resp->params == NULL && take_may_replace(sess, resp) &&
	       !spec_has_named(sess->agent->spec);
}

void race_begin(struct sess *sess, struct resp *resp)
{
	struct agent *agent = sess->agent;
	const struct work *work;

	if (resp->origin != RESP_FOLLOWUP || agent->spec == NULL) {
		return;
	}
	work = newest_known(agent, resp);
	if (work == NULL) {
		return;
	}
	resp->behind = work->tool;
	if (sess->cfg->speculation.race && agent->mode > SPEC_STRICT && agent->reasoner == NULL &&
	    work->turn == agent->committed_turn && may_be_beaten(sess, resp) &&
	    is_told_all(agent)) {
		pass_followup(sess, work->tool);
	}
}

void race_ended(struct sess *sess, const struct resp *resp, struct bc_span response)
{
	bool completed = field_is(response, "status", "completed");
	bool cut = resp->taken && field_is(response, "status", "cancelled");

	if (resp->behind == NULL || (!completed && !cut)) {
		return; /* nothing is known of what it would have done */
	}
	bc_metric_add(BC_M_FOLLOWUPS_CUT, cut && resp->gateway_items == 0);
	spend_followed(sess, resp->behind, cut || resp->gateway_items > 0);
}
