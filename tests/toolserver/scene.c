#include <stdlib.h>
#include <string.h>

#include "tests/toolserver/scene.h"

#include "daemon/base/buf.h"
#include "proto/json.h"

#define TEXT_MAX ((size_t)1 << 20)

const struct dialogue_tool *scene_tool(const struct dialogue *dialogue, const char *name)
{
	for (size_t i = 0; i < dialogue->tools_n; i++) {
		if (strcmp(dialogue->tools[i].name, name) == 0) {
			return &dialogue->tools[i];
		}
	}
	return NULL;
}

char *scene_args(const struct dialogue_tool *tool, const json_t *args)
{
	json_t *full = json_deep_copy(args);
	json_t *properties = tool == NULL ? NULL : json_object_get(tool->parameters, "properties");
	struct bc_buf text;
	const char *name = NULL;
	json_t *schema = NULL;
	char *ret = NULL;

	bc_buf_init(&text, TEXT_MAX);
	json_object_foreach(properties, name, schema) {
		json_t *value = json_object_get(schema, "default");

		if (value != NULL && json_is_object(full) && json_object_get(full, name) == NULL) {
			(void)json_object_set(full, name, value);
		}
	}
	if (full != NULL && json_canonical(&text, full) == BC_OK) {
		ret = bc_span_dup(bc_buf_span(&text));
	}
	bc_buf_release(&text);
	json_decref(full);
	return ret;
}

bool scene_init(struct scene *scene, const struct dialogue *dialogue)
{
	size_t n = 0;

	for (size_t t = 0; t < dialogue->turns_n; t++) {
		n += dialogue->turns[t].calls_n;
	}
	*scene =
		(struct scene){.dialogue = dialogue, .steps = calloc(n + 1, sizeof(*scene->steps))};
	if (scene->steps == NULL) {
		return false;
	}
	for (size_t t = 0; t < dialogue->turns_n; t++) {
		for (size_t c = 0; c < dialogue->turns[t].calls_n; c++) {
			const struct dialogue_call *call = &dialogue->turns[t].calls[c];
			char *args = scene_args(scene_tool(dialogue, call->name), call->args);

			if (args == NULL) {
				return false;
			}
			scene->steps[scene->steps_n++] = (struct step){.call = call,
								       .turn = (unsigned)t,
								       .number = (unsigned)c,
								       .args = args};
		}
	}
	return true;
}

void scene_release(struct scene *scene)
{
	for (size_t i = 0; i < scene->steps_n; i++) {
		free(scene->steps[i].args);
	}
	free(scene->steps);
}

bool scene_order_holds(const struct scene *scene, size_t step)
{
	const struct step *own = &scene->steps[step];
	size_t first = step - own->number;

	for (size_t i = 0; i < own->call->order_n; i++) {
		if (!scene->steps[first + own->call->order_after[i]].committed) {
			return false;
		}
	}
	return true;
}
