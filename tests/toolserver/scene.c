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

struct scene_name scene_name(const char *text)
{
	const char *at = strchrnul(text, '@');
	const char *colon = strchrnul(at, ':');

	return (struct scene_name){.dialogue = bc_span(text, (size_t)(at - text)),
				   .scene = bc_span(text, (size_t)(colon - text)),
				   .turn = *colon == ':' ? (unsigned)strtoul(colon + 1, NULL, 10)
							 : 0};
}

/* Add a step; false when out of memory. */
static bool step_add(struct scene *scene, unsigned turn, unsigned number, bool done)
{
	const struct dialogue_call *call = &scene->dialogue->turns[turn].calls[number];
	char *args = scene_args(scene_tool(scene->dialogue, call->name), call->args);

	scene->steps[scene->steps_n] = (struct step){.call = call,
						     .turn = turn,
						     .number = number,
						     .args = args,
						     .started = done,
						     .committed = done};
	scene->steps_n += args != NULL;
	return args != NULL;
}

struct scene *scene_new(const struct dialogue *dialogue, const struct scene_name *name)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	size_t n = 0;

	if (scene == NULL) {
		return NULL;
	}
	for (size_t t = 0; t < dialogue->turns_n; t++) {
		n += dialogue->turns[t].calls_n;
	}
	scene->dialogue = dialogue;
	scene->first_turn = name->turn;
	scene->last_call = SIZE_MAX;
	scene->name = bc_span_dup(name->scene);
	scene->steps = calloc(n + 1, sizeof(*scene->steps));
	if (scene->name == NULL || scene->steps == NULL) {
		return scene_free(scene);
	}
	for (unsigned t = 0; t < dialogue->turns_n; t++) {
		for (unsigned c = 0; c < dialogue->turns[t].calls_n; c++) {
			bool done = t < name->turn && !dialogue->turns[t].calls[c].read_only;

			if (!step_add(scene, t, c, done)) {
				return scene_free(scene);
			}
		}
	}
	return scene;
}

struct scene *scene_free(struct scene *scene)
{
	if (scene != NULL) {
		for (size_t i = 0; i < scene->steps_n; i++) {
			free(scene->steps[i].args);
		}
		free(scene->steps);
		free(scene->name);
		free(scene);
	}
	return NULL;
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
