/*
 * Requests of the client that were refused because the provider took too long, and that it may answer all the same.  The
 * client has its one answer to each (R5), so a response that is known to be a second one is never shown: it is cancelled as
 * it begins and leaves the conversation, and whatever the client asks for meanwhile is answered when it has ended.
 *
 * Only metadata of the client's own tell such a response from one the provider began by itself.  Without them it is shown
 * like that one: nothing about it says to which request it belongs, and it may be the answer the caller waits for.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <string.h>

#define LATE_MAX \
	8 /* the oldest is forgotten, and what answers it is taken for the provider's own */

static bool same_metadata(const struct create *create, const json_t *shown)
{
	const json_t *own = json_object_get(create->params, "metadata");

	return json_object_size(own) > 0 && json_equal(own, shown) != 0;
}

static struct create *with_metadata(const struct create_list *list, const json_t *shown,
				    bool out_of_band)
{
	struct create *create;

	TAILQ_FOREACH(create, list, link) {
		if (create->out_of_band == out_of_band && same_metadata(create, shown)) {
			return create;
		}
	}
	return NULL;
}

static void forget(struct agent *agent, struct create *create)
{
	TAILQ_REMOVE(&agent->late, create, link);
	agent->late_count--;
	create_free(create);
}

void late_add(struct agent *agent, struct create *create)
{
	if (agent->late_count >= LATE_MAX) {
		forget(agent, TAILQ_FIRST(&agent->late));
	}
	TAILQ_REMOVE(&agent->sent, create, link);
	agent->create_count--;
	TAILQ_INSERT_TAIL(&agent->late, create, link);
	agent->late_count++;
}

void late_fini(struct agent *agent)
{
	while (!TAILQ_EMPTY(&agent->late)) {
		forget(agent, TAILQ_FIRST(&agent->late));
	}
}

bool late_created(struct agent *agent, struct bc_span metadata, bool out_of_band)
{
	json_t *shown =
		metadata.len == 0 || TAILQ_EMPTY(&agent->late) ? NULL : json_parse(metadata);
	struct create *late = with_metadata(&agent->late, shown, out_of_band);
	/* Asked for again with the same: one answer is as good as the other, and the client waits for one. */
	bool waits = with_metadata(&agent->sent, shown, out_of_band) != NULL;

	json_decref(shown);
	if (late == NULL || waits) {
		return false;
	}
	forget(agent, late);
	return true;
}

void late_begin(struct sess *sess, struct resp *resp)
{
	bc_metric_inc(BC_M_ANSWERS_LATE);
	bc_log(BC_LOG_INFO, &sess->log,
	       "provider answers a request that was refused for its silence, cancelling");
	resp_view_set(sess, resp, RESP_HIDDEN);
	resp->unwanted = true;
	if (resp->default_conversation) {
		resp->unheard = true;
		lane_cancel(sess, resp);
	} else {
		(void)lane_send_cancel(sess, resp->id); /* out of memory: it ends by itself */
	}
}

void late_taken(struct agent *agent, struct create *answered)
{
	const json_t *own = json_object_get(answered->params, "metadata");
	struct create *late;

	/* The older request of two that look the same may have been meant; then the provider's word on this one is to come. */
	TAILQ_FOREACH(late, &agent->late, link) {
		const json_t *other = json_object_get(late->params, "metadata");

		if (late->out_of_band == answered->out_of_band &&
		    (json_object_size(own) == 0 ? json_object_size(other) == 0
						: json_equal(own, other) != 0)) {
			char *event_id = late->event_id;

			late->event_id = answered->event_id;
			answered->event_id = event_id;
			return;
		}
	}
}

bool late_failed(struct agent *agent, struct bc_span client_id)
{
	struct create *late;

	TAILQ_FOREACH(late, &agent->late, link) {
		if (late->event_id != NULL && bc_span_is(client_id, late->event_id)) {
			forget(agent, late);
			return true;
		}
	}
	return false;
}
