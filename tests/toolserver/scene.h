/* A dialogue on stage: the calls a good model makes, in order, and how far they have got. */
#ifndef BACKCHANNEL_TESTS_TOOLSERVER_SCENE_H
#define BACKCHANNEL_TESTS_TOOLSERVER_SCENE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "tests/world/dialogue.h"

/* One call a good model makes. */
struct step {
	const struct dialogue_call *call;
	unsigned turn;
	unsigned number; /* of the call within its turn */
	char *args;      /* canonical, schema defaults filled in */
	bool started;    /* writes: its effect is listed */
	bool committed;  /* writes: its answer was given */
};

struct scene {
	const struct dialogue *dialogue;
	char *name; /* <id>[@<instance>] */
	struct step *steps;
	size_t steps_n;
	unsigned first_turn; /* the play begins there */
	size_t last_call;    /* number of its latest call; SIZE_MAX: none yet */
};

/* How a scene is asked for: <id>[@<instance>[:<turn>]]; all parts are views of the text. */
struct scene_name {
	struct bc_span dialogue;
	struct bc_span scene; /* without the turn */
	unsigned turn;        /* writes of earlier turns count as done: the play begins here */
};

struct scene_name scene_name(const char *text);

/*
 * A scene that begins at that turn.  The dialogue must outlive it.  NULL when out of memory.
 */
struct scene *scene_new(const struct dialogue *dialogue, const struct scene_name *name);

/* Accepts NULL, returns NULL. */
struct scene *scene_free(struct scene *scene);

/* The tool of that name, or NULL. */
const struct dialogue_tool *scene_tool(const struct dialogue *dialogue, const char *name);

/* Canonical text of arguments with the defaults of the tool's schema (tool may be NULL); heap, or NULL when out of memory. */
char *scene_args(const struct dialogue_tool *tool, const json_t *args);

/* Whether the writes that a step's turn puts before it are committed. */
bool scene_order_holds(const struct scene *scene, size_t step);

#endif
