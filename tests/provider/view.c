/* Reading a context: which turn is being answered, what was heard of it, which of its calls stand there. */
#include "tests/provider/model.h"

#include <stdlib.h>
#include <string.h>

struct draw_key view_key(const struct view *view, int call, const char *quantity)
{
	return (struct draw_key){.seed = view->provider->options.seed,
				 .dialogue = view->dialogue->id,
				 .turn = view->turn < 0 ? 0 : (unsigned)view->turn,
				 .call = call,
				 .quantity = quantity};
}

bool view_chance(const struct view *view, int call, const char *quantity, double rate)
{
	struct draw_key key = view_key(view, call, quantity);

	return draw_chance(&key, rate);
}

const struct dialogue_turn *view_turn(const struct view *view)
{
	return &view->dialogue->turns[view->turn];
}

bool view_is_early(const struct view *view)
{
	return view->heard < view->words;
}

json_t *view_args(const struct view *view, size_t call)
{
	const struct dialogue_turn *turn = view_turn(view);

	return view->mistaken && turn->repair->call == call ? turn->repair->wrong_args
							    : turn->calls[call].args;
}

/* ---- words ---- */

static void turn_enter(struct view *view, int turn, size_t at)
{
	if (turn != view->turn) {
		view->turn = turn;
		view->from = at;
		view->heard = 0;
		view->repair = false;
	}
}

/* Spoken words: split turns are read as one, so what earlier items of the turn gave is kept in all. */
static void audio_read(struct view *view, struct heard *all, const struct heard *heard, size_t at)
{
	heard_merge(all, heard);
	for (size_t i = 0; i < heard->n; i++) {
		int turn = (int)heard->turns[i].turn;

		if (turn < view->turn || turn >= (int)view->dialogue->turns_n) {
			continue;
		}
		turn_enter(view, turn, at);
		view->repair = heard->turns[i].repair;
		for (size_t k = 0; k < all->n; k++) {
			if ((int)all->turns[k].turn == turn &&
			    all->turns[k].repair == view->repair) {
				view->heard = heard_prefix(&all->turns[k]);
			}
		}
	}
}

static bool text_is_of(struct view *view, int turn, const char *text, size_t at)
{
	const struct dialogue_turn *said = &view->dialogue->turns[turn];

	for (int repair = 0; repair <= (said->repair != NULL); repair++) {
		bool all = false;
		unsigned n = dialogue_match(dialogue_text(said, repair), bc_span_str(text), &all);

		if (n > 0 && all) {
			turn_enter(view, turn, at);
			view->repair = repair;
			view->heard = n > view->heard ? n : view->heard;
			return true;
		}
	}
	return false;
}

/* Typed or transcribed words: the next turn that begins like that, else the same, else a later one. */
static void text_read(struct view *view, const char *text, size_t at)
{
	int last = (int)view->dialogue->turns_n;

	if (view->turn + 1 < last && text_is_of(view, view->turn + 1, text, at)) {
		return;
	}
	if (view->turn >= 0 && text_is_of(view, view->turn, text, at)) {
		return;
	}
	for (int turn = view->turn + 2; turn < last; turn++) {
		if (text_is_of(view, turn, text, at)) {
			return;
		}
	}
}

void view_read(struct view *view)
{
	struct heard all = {0};

	view->turn = -1;
	for (size_t i = 0; i < view->context->n; i++) {
		const struct item *item = view->context->items[i];

		if (item->kind == ITEM_USER && item->heard.n > 0) {
			audio_read(view, &all, &item->heard, i);
		} else if (item->kind == ITEM_USER && item->text != NULL) {
			text_read(view, item->text, i);
		}
	}
	heard_release(&all);
	if (view->turn >= 0) {
		view->words = dialogue_words(view_turn(view), view->repair);
		view->mistaken =
			view->repair && !view_chance(view, DRAW_NO_CALL, "applies_repair",
						     view->provider->options.applies_repair);
	}
}

/* ---- calls ---- */

static bool is_call_of(const struct item *item, const char *name, const json_t *args)
{
	json_t *value;
	bool same;

	if (item->kind != ITEM_CALL || strcmp(item_string(item, "name"), name) != 0) {
		return false;
	}
	value = json_loads(item_string(item, "arguments"), JSON_DECODE_ANY, NULL);
	if (json_is_object(value)) {
		json_object_del(value, SIM_ARGUMENT);
	}
	same = value != NULL && model_same_value(value, args);
	json_decref(value);
	return same;
}

int view_call_find(const struct view *view, const char *name, const json_t *args, const bool *taken)
{
	for (size_t i = 0; i < view->context->n; i++) {
		const struct item *item = view->context->items[i];

		/* One that the model named while it listened stands in front of the caller's item. */
		if ((i >= view->from || item->turn == view->turn) && !taken[i] &&
		    is_call_of(item, name, args)) {
			return (int)i;
		}
	}
	return -1;
}

bool view_is_answered(const struct view *view, size_t call_at)
{
	const char *call_id = item_string(view->context->items[call_at], "call_id");

	for (size_t i = call_at; i < view->context->n; i++) {
		const struct item *item = view->context->items[i];

		if (item->kind == ITEM_OUTPUT &&
		    strcmp(item_string(item, "call_id"), call_id) == 0) {
			return true;
		}
	}
	return false;
}
