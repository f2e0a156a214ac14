/*
 * A model without a dialogue: rules of the --script file.
 *
 * {"rules": [{"turn": 1, "say": "weather", "preface": "One moment.",
 *             "calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}],
 *             "text": "It is sunny.", "delay": 0.1}],
 *  "default": {"text": "Hello."}}
 *
 * The first rule counts whose turn (number of user items so far, from 1) and say (part of the last user
 * text, any case) both fit, where given.  Its calls are named if the session has such tools and they are not
 * there yet; text is said once their outputs are in.
 */
#include "tests/provider/session.h"
#include "tests/world/draw.h"

#include <stdlib.h>
#include <string.h>

/* The last user item of the context, and which one it is. */
struct position {
	size_t at;
	unsigned turn; /* from 1; 0: nobody has said anything */
	const char *text;
};

static struct position position_of(const struct context *context)
{
	struct position position = {.text = ""};

	for (size_t i = 0; i < context->n; i++) {
		if (context->items[i]->kind == ITEM_USER) {
			position.at = i;
			position.turn++;
			position.text = context->items[i]->text;
		}
	}
	return position;
}

static bool rule_fits(const json_t *rule, const struct position *position)
{
	const json_t *turn = json_object_get(rule, "turn");
	const char *say = json_string_value(json_object_get(rule, "say"));

	if (turn != NULL && json_integer_value(turn) != position->turn) {
		return false;
	}
	return say == NULL || (position->text != NULL && strcasestr(position->text, say) != NULL);
}

static const json_t *rule_find(const json_t *script, const struct position *position)
{
	json_t *rule;
	size_t i;

	json_array_foreach(json_object_get(script, "rules"), i, rule) {
		if (rule_fits(rule, position)) {
			return rule;
		}
	}
	return json_object_get(script, "default");
}

/* Whether the context holds the call behind the position; *ret_answered: and its output. */
static bool is_called(const struct context *context, const struct position *position,
		      const char *name, bool *ret_answered)
{
	for (size_t i = position->at; i < context->n; i++) {
		const struct item *call = context->items[i];

		if (call->kind != ITEM_CALL || strcmp(item_string(call, "name"), name) != 0) {
			continue;
		}
		for (size_t k = i; k < context->n; k++) {
			if (context->items[k]->kind == ITEM_OUTPUT &&
			    strcmp(item_string(context->items[k], "call_id"),
				   item_string(call, "call_id")) == 0) {
				*ret_answered = true;
			}
		}
		return true;
	}
	return false;
}

/* Name what is to be called; false while an output is missing. */
static bool rule_calls(const json_t *rule, const struct context *context,
		       const struct position *position, struct plan *plan)
{
	const char *preface = json_string_value(json_object_get(rule, "preface"));
	bool complete = true;
	json_t *call;
	size_t i;

	json_array_foreach(json_object_get(rule, "calls"), i, call) {
		const char *name = json_string_value(json_object_get(call, "name"));
		bool answered = false;

		if (name == NULL || !context_has_tool(context, name)) {
			continue;
		}
		if (is_called(context, position, name, &answered)) {
			complete = complete && answered;
			continue;
		}
		if (plan->n == 0 && preface != NULL && !context->aside) {
			plan_text_add(plan, preface);
		}
		plan_call_add(plan, name, json_object_get(call, "arguments"));
	}
	return complete;
}

void script_decide(struct session *session, const struct context *context, struct plan *plan)
{
	struct position position = position_of(context);
	const json_t *rule = rule_find(session->provider->script, &position);
	const char *text = json_string_value(json_object_get(rule, "text"));
	const json_t *delay = json_object_get(rule, "delay");
	struct draw_key key = {.seed = session->provider->options.seed,
			       .dialogue = "script",
			       .turn = position.turn,
			       .call = DRAW_NO_CALL,
			       .quantity = "call_pass"};
	bool complete = rule_calls(rule, context, &position, plan);
	const struct timing *timing = &session->provider->timing;

	plan->turn = (int)position.turn - 1;
	if (json_is_number(delay)) {
		plan->delay_s = json_number_value(delay);
	} else if (plan->n > 0 || context->aside) {
		plan->delay_s =
			path_beside(session->provider, draw_lognormal(&key, timing->call_pass));
	} else {
		key.quantity = "final_first_audio";
		plan->delay_s = path_beside(session->provider,
					    draw_lognormal(&key, timing->final_first_audio));
	}
	if (plan->n > 0) {
		return;
	}
	if (context->aside) {
		plan_text_add(plan, "NONE");
	} else if (!complete) {
		plan_text_add(plan, "I am still waiting for that.");
	} else {
		plan_text_add(plan, text == NULL ? "Hello." : text);
	}
}
