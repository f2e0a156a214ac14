/*
 * The prepare pass: while the agent's last words are being played, a pass may ask which call the caller would
 * determine by simply agreeing.  The model then looks at what it has read back, not at words to come; what the script
 * says of the next turn only tells it which of its offers that was.
 */
#include "tests/provider/model.h"

#include <ctype.h>
#include <string.h>

#define MARKER "simply agrees" /* in the system message that ends the input */

bool context_is_prepare(const struct context *context)
{
	const struct item *last = context->n == 0 ? NULL : context->items[context->n - 1];

	return context->aside && last != NULL && last->kind == ITEM_SYSTEM && last->text != NULL &&
	       strcasestr(last->text, MARKER) != NULL;
}

/* Whether a turn opens with the agreement that is assumed. */
static bool agrees(const struct dialogue_turn *turn)
{
	static const char *const words[] = {
		"yes",     "yeah",  "yep",    "yup",   "sure",       "ok",        "okay",
		"correct", "right", "that's", "thats", "great",      "perfect",   "sounds",
		"exactly", "fine",  "good",   "go",    "absolutely", "certainly", "alright"};
	struct bc_span first = dialogue_word(turn->user, 0);

	while (first.len > 0 && ispunct((unsigned char)first.ptr[first.len - 1])) {
		first.len--;
	}
	for (size_t i = 0; i < BC_ARRAY_LEN(words); i++) {
		if (first.len == strlen(words[i]) &&
		    strncasecmp(first.ptr, words[i], first.len) == 0) {
			return true;
		}
	}
	return false;
}

/* Whether nothing of a call's arguments has to be said or found in the next turn. */
static bool is_grounded(const struct dialogue_call *call)
{
	const char *arg;
	json_t *words;

	json_object_foreach(call->arg_word, arg, words) {
		if (json_integer_value(words) > 0) {
			return false;
		}
	}
	return call->depends_n == 0 && call->order_n == 0;
}

static bool is_due(const struct view *next, const struct dialogue_call *call)
{
	if (!is_grounded(call) || !context_has_tool(next->context, call->name)) {
		return false;
	}
	return next->provider->options.prepare == PREPARE_HISTORY || call->ready == 0 ||
	       agrees(view_turn(next));
}

/* The agent has answered the turn, so that there is something to agree to. */
static bool is_answered(const struct view *view)
{
	const struct dialogue_turn *turn = view_turn(view);

	for (size_t i = 0; i < turn->calls_n; i++) {
		if (!view->answered[i]) {
			return false;
		}
	}
	for (size_t i = view->from + 1; i < view->context->n; i++) {
		if (view->context->items[i]->kind == ITEM_ASSISTANT) {
			return !view_is_early(view);
		}
	}
	return false;
}

/* Name a call, wrong as often as any that is named early. */
static void call_add(const struct view *next, struct plan *plan, int call, const char *name,
		     json_t *args)
{
	bool wrong = call >= 0 && view_chance(next, call, "early_call_wrong",
					      next->provider->options.early_wrong);
	json_t *named = wrong ? model_wrong_args(next, (size_t)call) : json_incref(args);

	model_call_add(next, plan, name, named);
	json_decref(named);
}

static void next_decide(const struct view *next, struct plan *plan)
{
	const struct dialogue_turn *turn = view_turn(next);
	const json_t *offer = json_object_get(turn->json, "confirming");
	const char *name = json_string_value(json_object_get(offer, "name"));
	json_t *args = json_object_get(offer, "args");
	bool offered = name != NULL && json_is_object(args);
	int offered_call = DRAW_NO_CALL;

	for (size_t i = 0; i < turn->calls_n; i++) {
		const struct dialogue_call *call = &turn->calls[i];

		if (offered && strcmp(name, call->name) == 0) {
			offered_call = (int)i;
		} else if (is_due(next, call)) {
			call_add(next, plan, (int)i, call->name, call->args);
		}
	}
	/* As it was read back, whatever the caller is going to make of it. */
	if (offered && context_has_tool(next->context, name)) {
		call_add(next, plan, offered_call, name, args);
	}
}

void prepare_decide(const struct view *view, struct plan *plan)
{
	const struct options *options = &view->provider->options;
	struct view next = *view;
	struct draw_key key;

	next.turn++;
	key = view_key(&next, DRAW_NO_CALL, "prepare_pass");
	plan->delay_s =
		path_beside(view->provider, draw_lognormal(&key, view->provider->timing.call_pass));
	if (options->prepare != PREPARE_NONE && options->behaviour != BEHAVIOUR_TURN_BASED &&
	    !options->no_aside_calls && next.turn < (int)view->dialogue->turns_n &&
	    is_answered(view)) {
		next_decide(&next, plan);
	}
	if (plan->n == 0) {
		plan_text_add(plan, "NONE");
	}
}
