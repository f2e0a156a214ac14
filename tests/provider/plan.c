/* What a response will say, and small questions a model asks of its context. */
#include "tests/provider/session.h"

#include <stdlib.h>
#include <string.h>

void plan_call_add(struct plan *plan, const char *name, const json_t *arguments)
{
	struct planned *planned = &plan->outputs[plan->n];

	if (plan->n == PLAN_MAX) {
		return;
	}
	*planned = (struct planned){.is_call = true, .name = strdup(name)};
	planned->arguments = json_dumps(arguments, JSON_COMPACT);
	BC_BUG_ON(planned->name == NULL || planned->arguments == NULL);
	plan->n++;
}

void plan_text_add(struct plan *plan, const char *text)
{
	if (plan->n < PLAN_MAX) {
		plan->outputs[plan->n] = (struct planned){.text = strdup(text)};
		BC_BUG_ON(plan->outputs[plan->n].text == NULL);
		plan->n++;
	}
}

void plan_release(struct plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		free(plan->outputs[i].name);
		free(plan->outputs[i].arguments);
		free(plan->outputs[i].text);
	}
	*plan = (struct plan){0};
}

bool context_has_tool(const struct context *context, const char *name)
{
	const char *choice = json_string_value(context->tool_choice);
	const char *forced = json_string_value(json_object_get(context->tool_choice, "name"));
	json_t *tool;
	size_t i;

	if ((choice != NULL && strcmp(choice, "none") == 0) ||
	    (forced != NULL && strcmp(forced, name) != 0)) {
		return false;
	}
	json_array_foreach((json_t *)(uintptr_t)context->tools, i, tool) {
		const char *known = json_string_value(json_object_get(tool, "name"));

		if (known != NULL && strcmp(known, name) == 0) {
			return true;
		}
	}
	return false;
}

static bool same_object(const json_t *a, const json_t *b)
{
	const char *key;
	json_t *value;

	if (json_object_size(a) != json_object_size(b)) {
		return false;
	}
	json_object_foreach((json_t *)(uintptr_t)a, key, value) {
		const json_t *other = json_object_get(b, key);

		if (other == NULL || !model_same_value(value, other)) {
			return false;
		}
	}
	return true;
}

bool model_same_value(const json_t *a, const json_t *b)
{
	if (json_is_number(a) && json_is_number(b)) {
		double x = json_number_value(a);
		double y = json_number_value(b);

		return !(x < y) && !(x > y);
	}
	if (json_is_object(a) && json_is_object(b)) {
		return same_object(a, b);
	}
	if (json_is_array(a) && json_is_array(b)) {
		if (json_array_size(a) != json_array_size(b)) {
			return false;
		}
		for (size_t i = 0; i < json_array_size(a); i++) {
			if (!model_same_value(json_array_get(a, i), json_array_get(b, i))) {
				return false;
			}
		}
		return true;
	}
	return json_equal(a, b);
}
