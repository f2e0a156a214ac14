/* What the simulated model makes of a context, shared by the files that decide. */
#ifndef BACKCHANNEL_TESTS_PROVIDER_MODEL_H
#define BACKCHANNEL_TESTS_PROVIDER_MODEL_H

#include "tests/provider/session.h"
#include "tests/world/draw.h"

#define SIM_ARGUMENT "_sim" /* of --tag-calls */

struct view {
	const struct session *session;
	const struct provider *provider;
	const struct dialogue *dialogue;
	const struct context *context;
	int turn;    /* index; -1: nobody has said anything */
	size_t from; /* first item of the turn in the context */
	bool repair;
	unsigned heard; /* leading words heard */
	unsigned words; /* words of the whole turn */
	bool called[DIALOGUE_CALLS_MAX];
	bool answered[DIALOGUE_CALLS_MAX];
	bool rival;    /* the default response decides otherwise in this turn */
	bool mistaken; /* the caller's correction is not believed */
};

/* ---- view.c ---- */

/* Find the turn that is being answered and what was heard of it. */
void view_read(struct view *view);

const struct dialogue_turn *view_turn(const struct view *view);

/* Whether the turn's words lie before its last one. */
bool view_is_early(const struct view *view);

struct draw_key view_key(const struct view *view, int call, const char *quantity);
bool view_chance(const struct view *view, int call, const char *quantity, double rate);

/* The arguments the model takes for right: those of the dialogue, or the ones the caller took back. */
json_t *view_args(const struct view *view, size_t call);

/* The first item that is a call of the turn with that name and those arguments and not yet taken, or -1. */
int view_call_find(const struct view *view, const char *name, const json_t *args,
		   const bool *taken);

/* Whether the output of the call at that place is in the context. */
bool view_is_answered(const struct view *view, size_t call_at);

/* ---- model.c ---- */

/* Name a call, tagged if that is wanted. */
void model_call_add(const struct view *view, struct plan *plan, const char *name,
		    const json_t *args);

/* Arguments with a mistake in them: a drawn one, or the value the caller takes back; new reference. */
json_t *model_wrong_args(const struct view *view, size_t call);

/* Note which calls of the turn the context holds; the rival's wrong ones count. */
void model_calls_find(struct view *view);

/* Whether that call may still be named: not called, unblocked, its tool there. */
bool model_is_open(const struct view *view, size_t call);

/* ---- prepare.c ---- */

/* What the caller's mere agreement would determine; view has its calls found. */
void prepare_decide(const struct view *view, struct plan *plan);

#endif
