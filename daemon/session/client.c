/* Events of the client, when gateway tools are configured: what is not listed here passes unchanged. */
#include "daemon/session/sess.h"

static void forward(struct sess *sess, struct bc_span text)
{
	(void)sess_to_upstream(sess, text); /* pressure shows with the next message */
}

/* Something the caller or client adds that wants an answer of its own: nothing waits for older tools any more. */
static void note_input(struct sess *sess)
{
	sess->agent->input++;
}

/* Behind which item: hidden ones that directly follow the one the client names stay with it (R3). */
static void forward_item(struct sess *sess, struct bc_span text)
{
	struct bc_span named = field_raw(text, "previous_item_id");
	const struct item *item = NULL;
	const struct item *last;
	struct rewrite rewrite;
	struct bc_buf out;
	char id[SESS_ID_MAX];

	if (field_id(text, "previous_item_id", id)) {
		item = items_find(&sess->agent->items, id);
	}
	last = item == NULL ? NULL : items_hidden_after(item);
	if (last == item) {
		forward(sess, text);
		return;
	}
	rewrite_begin(&rewrite, text);
	rewrite_replace_string(&rewrite, named, last->id);
	forward(sess, rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text);
	bc_buf_release(&out);
}

static void item_create(struct sess *sess, struct bc_span text)
{
	struct bc_span item = field_raw(text, "item");

	forward_item(sess, text);
	if (field_is(item, "type", "function_call_output")) {
		step_client_output(sess, field_raw(item, "call_id"));
	} else if (field_is(item, "role", "user")) {
		note_input(sess);
		take_client_commits(sess);
		words_end(sess, item);
	}
}

void client_event(struct sess *sess, const struct oai_envelope *envelope)
{
	struct bc_span text = envelope->text;

	if (envelope->type.ptr == NULL) {
		sess_event_invalid(sess, SESS_CLIENT, "no type");
		forward(sess, text); /* the provider's error says it best */
		return;
	}
	if (ext_is(envelope->type)) {
		ext_client_event(sess, text);
		return;
	}
	/* Only what the gateway has to know has a case; the list of all events is events.def. */
	switch ((int)envelope->event) {
	case OAI_INPUT_AUDIO_BUFFER_APPEND:
		forward(sess, text);
		hear_audio(sess, text);
		break;
	case OAI_INPUT_AUDIO_BUFFER_COMMIT:
		take_client_commits(sess);
		note_input(sess);
		forward(sess, text);
		words_end(sess, bc_span(NULL, 0));
		hear_ends(sess);
		break;
	case OAI_SESSION_UPDATE:
		transcripts_client_update(sess, text);
		break;
	case OAI_CONVERSATION_ITEM_CREATE:
		item_create(sess, text);
		break;
	case OAI_CONVERSATION_ITEM_TRUNCATE:
		prepare_drop_all(sess->agent); /* less was heard than was said */
		audio_client_truncate(sess, text);
		break;
	case OAI_RESPONSE_CREATE:
		lane_client_create(sess, text);
		break;
	case OAI_RESPONSE_CANCEL:
		lane_client_cancel(sess, text);
		step_advance(sess);
		break;
	default:
		forward(sess, text);
		break;
	}
}
