/* The responses in flight of a session: found by id, counted, ended when the provider vanishes. */
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

struct resp *resp_find(const struct sess *sess, const char *id)
{
	struct resp *resp;

	TAILQ_FOREACH(resp, &sess->responses, link) {
		if (strcmp(resp->id, id) == 0) {
			return resp;
		}
	}
	return NULL;
}

void resp_view_set(struct sess *sess, struct resp *resp, enum resp_view view)
{
	static const char *const names[] = {[RESP_WITHHELD] = "withheld",
					    [RESP_SHOWN] = "shown",
					    [RESP_HIDDEN] = "hidden",
					    [RESP_MERGED] = "merged"};

	if (resp->view != RESP_SHOWN) {
		sess->special_responses--;
	}
	ledger_note(sess, LEDGER_GATEWAY, "view", "response=%s is=%s", resp->id, names[view]);
	resp->view = view;
	if (view != RESP_SHOWN) {
		sess->special_responses++;
	}
}

struct resp *resp_remove(struct sess *sess, struct resp *resp)
{
	struct agent *agent = sess->agent;

	sess->special_responses -= resp->view != RESP_SHOWN;
	if (agent != NULL) {
		BC_BUG_ON(agent->current == resp);
		agent->merge = agent->merge == resp ? NULL : agent->merge;
		agent->rate_limits_with =
			agent->rate_limits_with == resp ? NULL : agent->rate_limits_with;
	}
	TAILQ_REMOVE(&sess->responses, resp, link);
	sess->response_count--;
	bc_buf_release(&resp->held);
	json_decref(resp->params);
	free(resp->leftovers);
	free(resp);
	return NULL;
}

void resp_fini(struct sess *sess)
{
	while (!TAILQ_EMPTY(&sess->responses)) {
		resp_remove(sess, TAILQ_FIRST(&sess->responses));
	}
}

/* The oldest one beside the conversation that was cancelled, is seen by nobody, and has not ended; NULL: there is none. */
static struct resp *forsaken(const struct sess *sess)
{
	struct resp *resp;

	TAILQ_FOREACH(resp, &sess->responses, link) {
		if (resp->view == RESP_HIDDEN && !resp->default_conversation &&
		    resp->cancel_sent != 0) {
			return resp;
		}
	}
	return NULL;
}

struct resp *resp_new(struct sess *sess, const char *id)
{
	struct resp *resp;

	if (sess->response_count >= SESS_RESPONSES_MAX) {
		resp = forsaken(sess);
		if (resp == NULL) {
			return NULL;
		}
		/* A provider that never ends its cancelled passes must not keep us from hiding the next one. */
		resp_remove(sess, resp);
	}
	resp = calloc(1, sizeof(*resp));
	if (resp == NULL) {
		return NULL;
	}
	memcpy(resp->id, id, strlen(id) + 1);
	bc_buf_init(&resp->held, SESS_HELD_MAX);
	resp->view = RESP_SHOWN;
	resp->turn = sess->agent == NULL ? 0 : sess->agent->committed_turn;
	resp->context = sess->agent == NULL ? 0 : sess->agent->results.confirmed;
	TAILQ_INSERT_TAIL(&sess->responses, resp, link);
	sess->response_count++;
	return resp;
}

/* ---- without gateway tools ---- */

void upstream_event_note(struct sess *sess, const struct oai_envelope *envelope)
{
	enum oai_event event = envelope->event;
	char id[SESS_ID_MAX];
	struct resp *resp;

	if ((event != OAI_RESPONSE_CREATED && event != OAI_RESPONSE_DONE) ||
	    !field_id(field_raw(envelope->text, "response"), "id", id)) {
		return;
	}
	resp = resp_find(sess, id);
	if (event == OAI_RESPONSE_CREATED && resp == NULL) {
		(void)resp_new(
			sess,
			id); /* too many at once: that one is not ended if the provider vanishes */
	} else if (event == OAI_RESPONSE_DONE && resp != NULL) {
		resp_remove(sess, resp);
	}
}

void resp_fail_open(struct sess *sess, const char *code, const char *message)
{
	struct resp *resp;

	TAILQ_FOREACH(resp, &sess->responses, link) {
		struct bc_buf text;

		if (resp->view != RESP_SHOWN) {
			continue;
		}
		bc_buf_init(&text, 8192);
		if (oai_done_put(&text, resp->id, "failed", code, bc_span_str(message)) == BC_OK) {
			(void)sess_to_client(
				sess,
				bc_buf_span(&text)); /* the session ends: no pressure to heed */
		}
		bc_buf_release(&text);
	}
}
