/*
 * A model that acts while the caller speaks: at each word it looks at the conversation and the words it has
 * heard since, and names the calls they determine in a response that nobody asked for.
 */
#include "tests/provider/session.h"

#include <stdlib.h>
#include <string.h>

void proactive_context(struct session *session, struct context *context)
{
	const struct heard *heard = &session->listening.heard;
	struct item *item;

	if (heard->n == 0) {
		return;
	}
	item = item_new(ITEM_USER, "", json_object());
	heard_merge(&item->heard, heard);
	TAILQ_INSERT_TAIL(&context->inlined, item, link);
	context_add(context, item);
}

void proactive_word(struct session *session)
{
	struct context context = {.unasked = true};
	struct plan plan = {0};

	if (session->provider->options.behaviour != BEHAVIOUR_PROACTIVE ||
	    session->dialogue == NULL || response_active(session) != NULL) {
		return;
	}
	TAILQ_INIT(&context.inlined);
	context_fill(session, &context);
	proactive_context(session, &context);
	context.tools = session_get(session, "tools", NULL);
	context.tool_choice = session_get(session, "tool_choice", NULL);
	context.instructions = json_string_value(session_get(session, "instructions", NULL));
	model_decide(session, &context, &plan);
	if (plan.n > 0) {
		response_create_unasked(session, &context, &plan);
	}
	plan_release(&plan);
	context_release(&context);
}
