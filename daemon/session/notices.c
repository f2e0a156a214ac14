/* What a client that has asked for it is told of guessed calls: that one runs, and what became of it. */
#include "daemon/base/id.h"
#include "daemon/session/sess.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Arguments as raw JSON without the secret ones; NULL: out of memory. */
static char *shown_arguments(const struct work *work)
{
	json_t *arguments = json_parse(bc_span_str(work->arguments));
	char *text = NULL;

	for (size_t i = 0; i < work->tool->secret_arguments.count; i++) {
		(void)json_object_del(arguments,
				      work->tool->secret_arguments.items[i]); /* may be absent */
	}
	if (arguments != NULL) {
		text = json_dumps(arguments, JSON_COMPACT);
	}
	json_decref(arguments);
	return text;
}

static const char *effect_name(const struct cfg_tool *tool)
{
	return tool->effect == CFG_EFFECT_READ         ? "read"
	       : tool->effect == CFG_EFFECT_REVERSIBLE ? "reversible"
						       : "hold";
}

void notice_guess(struct sess *sess, enum ext_type what, const struct work *work)
{
	struct bc_buf text;
	char id[BC_ID_SIZE];
	char *arguments;

	if ((sess->agent->extension.wants & (1u << what)) == 0 || sess->state != SESS_OPEN) {
		return;
	}
	arguments = shown_arguments(work);
	bc_id_new(id, 'x');
	bc_buf_init(&text, sess->cfg->session.message_max);
	if (arguments != NULL &&
	    bc_buf_printf(&text,
			  "{\"type\":\"%s\",\"event_id\":\"event_%s\",\"call\":%" PRIu64
			  ",\"turn\":%" PRIu64 ",\"tool\":\"%s\",\"effect\":\"%s\",\"finished\":%s,"
			  "\"arguments\":%s}",
			  ext_type_name(what), id, work->number, work->turn, work->tool->name,
			  effect_name(work->tool), work->output != NULL ? "true" : "false",
			  arguments) == BC_OK) {
		(void)sess_to_client(sess,
				     bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
	free(arguments);
}
