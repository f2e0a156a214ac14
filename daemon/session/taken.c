/*
 * A response that is being cancelled because a verdict takes its place: what it still says is held, until its end tells
 * whether it was cut off or had come to its own end before.
 */
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

/* It is shown after all, from where it was held back. */
static void untake(struct sess *sess, struct resp *resp)
{
	resp->taken = false;
	if (resp->view == RESP_WITHHELD) {
		resp_reveal(sess, resp);
	} else if (resp->view == RESP_SHOWN) {
		resp_release_held(sess, resp);
	}
	bc_buf_clear(&resp->held);
}

void taken_hold(struct sess *sess, struct resp *resp, struct bc_span text)
{
	if (!resp_hold(resp, text)) {
		/* It has said more than is kept back: then it has the word, as far as the cancel lets it. */
		take_lost(sess);
		untake(sess, resp);
		resp->cut = true;
		resp_show(sess, resp, text);
	}
}

void taken_hold_current(struct sess *sess, struct bc_span text)
{
	taken_hold(sess, sess->agent->current, text);
}

bool taken_is_leftover(const struct sess *sess, const char *item)
{
	const struct resp *current = sess->agent->current;

	if (current == NULL || !current->taken) {
		return false;
	}
	for (unsigned i = 0; i < current->leftover_count; i++) {
		if (strcmp(current->leftovers[i], item) == 0) {
			return true;
		}
	}
	return false;
}

void taken_note(struct resp *resp, struct bc_span item)
{
	char id[SESS_ID_MAX];

	if ((!resp->taken && resp->view != RESP_HIDDEN) || !resp->default_conversation ||
	    !field_id(item, "id", id)) {
		return;
	}
	if (resp->leftovers == NULL) {
		resp->leftovers = calloc(SESS_LEFTOVERS_MAX, sizeof(*resp->leftovers));
	}
	if (resp->leftovers != NULL && resp->leftover_count < SESS_LEFTOVERS_MAX) {
		memcpy(resp->leftovers[resp->leftover_count++], id, sizeof(id));
	}
}

void taken_keep(struct resp *resp, struct bc_span item)
{
	char id[SESS_ID_MAX];

	if (!field_id(item, "id", id)) {
		return;
	}
	for (unsigned i = 0; i < resp->leftover_count; i++) {
		if (strcmp(resp->leftovers[i], id) == 0) {
			resp->leftover_count--;
			memmove(resp->leftovers[i], resp->leftovers[resp->leftover_count],
				SESS_ID_MAX);
			return;
		}
	}
}

void taken_delete(struct sess *sess, struct resp *resp)
{
	for (unsigned i = 0; i < resp->leftover_count; i++) {
		struct item *item = items_get(&sess->agent->items, resp->leftovers[i]);
		char event_id[BC_ID_SIZE];
		struct bc_buf text;

		if (item != NULL) {
			item->hidden = true;
		}
		bc_id_new(event_id, 'd');
		bc_buf_init(&text, 1024);
		if (oai_delete_put(&text, event_id, resp->leftovers[i]) == BC_OK) {
			(void)sess_to_upstream(
				sess,
				bc_buf_span(&text)); /* pressure shows with the next message */
		}
		bc_buf_release(&text);
	}
	resp->leftover_count = 0;
}

bool taken_ends(struct sess *sess, struct resp *resp, bool completed)
{
	bool called = resp->step != NULL && resp->step->has_client_calls;
	bool wins = (completed || called) && resp->visible_items > 0 && resp->view != RESP_HIDDEN;
	bool continued;

	take_resp_done(sess, resp, completed);
	if (wins) {
		untake(sess, resp);
		return false;
	}
	bc_buf_clear(&resp->held);
	taken_delete(sess, resp);
	resp->visible_items = 0;
	continued = resp->step != NULL || !sess->agent->take.unwanted;
	return resp->view != RESP_SHOWN || (continued && sess->agent->merge == NULL);
}

void taken_cut_ends(struct sess *sess, struct resp *resp, bool cancelled)
{
	if (cancelled && resp->cut && !sess->agent->take.unwanted) {
		lane_owe(sess, resp->params, false);
	}
}
