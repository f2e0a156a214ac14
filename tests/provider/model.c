/*
 * The simulated model.  It knows the dialogue's script, but acts only on the words its context holds: a
 * call is named when the words heard reach its point of readiness, the results it depends on are in the
 * context, and the writes it must follow are done.  Whatever it does by chance is drawn by name.
 */
#include "tests/provider/session.h"
#include "tests/world/draw.h"

#include <stdlib.h>
#include <string.h>

/* What the model makes of its context. */
struct view {
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
	bool rival; /* the default response decides otherwise in this turn */
};

static struct draw_key key_of(const struct view *view, int call, const char *quantity)
{
	return (struct draw_key){.seed = view->provider->options.seed,
				 .dialogue = view->dialogue->id,
				 .turn = view->turn < 0 ? 0 : (unsigned)view->turn,
				 .call = call,
				 .quantity = quantity};
}

static bool chance(const struct view *view, int call, const char *quantity, double rate)
{
	struct draw_key key = key_of(view, call, quantity);

	return draw_chance(&key, rate);
}

static const struct dialogue_turn *turn_of(const struct view *view)
{
	return &view->dialogue->turns[view->turn];
}

/* ---- reading ---- */

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

static void context_read(struct view *view)
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
		view->words = dialogue_words(turn_of(view), view->repair);
	}
}

static bool is_call_of(const struct item *item, const char *name, const json_t *args)
{
	json_t *value;
	bool same;

	if (item->kind != ITEM_CALL || strcmp(item_string(item, "name"), name) != 0) {
		return false;
	}
	value = json_loads(item_string(item, "arguments"), JSON_DECODE_ANY, NULL);
	same = value != NULL && model_same_value(value, args);
	json_decref(value);
	return same;
}

static bool is_answered(const struct view *view, const char *call_id)
{
	for (size_t i = view->from; i < view->context->n; i++) {
		const struct item *item = view->context->items[i];

		if (item->kind == ITEM_OUTPUT &&
		    strcmp(item_string(item, "call_id"), call_id) == 0) {
			return true;
		}
	}
	return false;
}

/* The call of the turn with that name and those arguments that is not taken yet, or -1. */
static int call_in_context(const struct view *view, const char *name, const json_t *args,
			   const bool *taken)
{
	for (size_t i = view->from; i < view->context->n; i++) {
		if (!taken[i] && is_call_of(view->context->items[i], name, args)) {
			return (int)i;
		}
	}
	return -1;
}

/* ---- wrong guesses ---- */

/* A value that differs from the right one but fits the argument. */
static json_t *other_value(const struct view *view, const char *tool, const char *arg,
			   const json_t *value)
{
	if (json_is_boolean(value)) {
		return json_boolean(!json_is_true(value));
	}
	if (json_is_integer(value)) {
		return json_integer(json_integer_value(value) + 1);
	}
	if (json_is_real(value)) {
		return json_real(json_real_value(value) + 1.0);
	}
	for (size_t i = 0; i < view->dialogue->tools_n; i++) {
		json_t *property = json_object_get(
			json_object_get(view->dialogue->tools[i].parameters, "properties"), arg);
		json_t *choice;
		size_t k;

		if (strcmp(view->dialogue->tools[i].name, tool) != 0) {
			continue;
		}
		json_array_foreach(json_object_get(property, "enum"), k, choice) {
			if (!json_equal(choice, value)) {
				return json_incref(choice);
			}
		}
	}
	return json_is_string(value) ? json_string("something else") : json_deep_copy(value);
}

/* The call with one argument wrong: the drawn one, or the value the caller takes back. */
static json_t *wrong_args(const struct view *view, size_t call)
{
	const struct dialogue_turn *turn = turn_of(view);
	const struct dialogue_call *gold = &turn->calls[call];
	struct draw_key key = key_of(view, (int)call, "wrong_argument");
	json_t *args = json_copy(gold->args);
	size_t n = json_object_size(args);
	size_t pick = (size_t)(draw_uniform(&key) * (double)n);
	const char *arg;
	json_t *value;

	if (turn->repair != NULL && turn->repair->call == call) {
		json_decref(args);
		return json_incref(turn->repair->wrong_args);
	}
	json_object_foreach(gold->args, arg, value) {
		if (pick-- == 0) {
			json_object_set_new(args, arg, other_value(view, gold->name, arg, value));
			break;
		}
	}
	return args;
}

/* ---- deciding ---- */

static void calls_find(struct view *view)
{
	const struct dialogue_turn *turn = turn_of(view);
	bool *taken = calloc(view->context->n + 1, sizeof(*taken));

	BC_BUG_ON(taken == NULL);
	for (size_t i = 0; i < turn->calls_n; i++) {
		int at = call_in_context(view, turn->calls[i].name, turn->calls[i].args, taken);

		if (at < 0 && view->rival) {
			json_t *args = wrong_args(view, i);

			at = call_in_context(view, turn->calls[i].name, args, taken);
			json_decref(args);
		}
		if (at >= 0) {
			taken[at] = true;
			view->called[i] = true;
			view->answered[i] =
				is_answered(view, item_string(view->context->items[at], "call_id"));
		}
	}
	free(taken);
}

/* The results a call needs and the writes it must follow are in the context. */
static bool is_unblocked(const struct view *view, size_t call)
{
	const struct dialogue_call *gold = &turn_of(view)->calls[call];

	for (size_t i = 0; i < gold->depends_n; i++) {
		if (!view->answered[gold->depends_on[i]]) {
			return false;
		}
	}
	for (size_t i = 0; i < gold->order_n; i++) {
		if (!view->answered[gold->order_after[i]]) {
			return false;
		}
	}
	return true;
}

static bool is_open(const struct view *view, size_t call)
{
	return !view->called[call] && is_unblocked(view, call) &&
	       context_has_tool(view->context, turn_of(view)->calls[call].name);
}

static double rate(double option, double otherwise)
{
	return option < 0.0 ? otherwise : option;
}

/* The arguments a ready call is named with: right ones, but for the errors models make. */
static json_t *args_named(const struct view *view, size_t call)
{
	const struct options *options = &view->provider->options;
	const struct timing *timing = &view->provider->timing;
	bool early = view->heard < view->words;
	bool wrong = !view->context->aside && view->rival;

	if (early) {
		wrong = wrong || chance(view, (int)call, "early_call_wrong",
					rate(options->early_wrong, timing->early_call_wrong));
	} else if (view->context->aside) {
		wrong = chance(view, (int)call, "pass_disagrees",
			       rate(options->disagree, timing->pass_disagrees));
	}
	return wrong ? wrong_args(view, call) : json_incref(turn_of(view)->calls[call].args);
}

/* Name a call unless the context holds it already. */
static bool call_name(const struct view *view, size_t call, json_t *args, struct plan *plan)
{
	bool *none = calloc(view->context->n + 1, sizeof(*none));
	const char *name = turn_of(view)->calls[call].name;
	bool early = view->heard < view->words;
	bool known;

	BC_BUG_ON(none == NULL);
	/* Only a guess can stand there already: a right call would count as called. */
	known = (early || view->context->aside) &&
		!model_same_value(args, turn_of(view)->calls[call].args) &&
		call_in_context(view, name, args, none) >= 0;
	if (!known) {
		plan_call_add(plan, name, args);
	}
	free(none);
	json_decref(args);
	return !known;
}

/* A pass before the point of readiness: the value taken back later, or a premature guess. */
static void guess(const struct view *view, struct plan *plan)
{
	const struct dialogue_turn *turn = turn_of(view);
	const struct dialogue_repair *repair = view->repair ? turn->repair : NULL;
	bool premature = chance(
		view, DRAW_NO_CALL, "premature_guess",
		rate(view->provider->options.premature, view->provider->timing.premature_guess));

	for (size_t i = 0; i < turn->calls_n; i++) {
		bool taken_back = repair != NULL && repair->call == i && repair->wrong_ready > 0 &&
				  view->heard >= repair->wrong_ready;

		if (!is_open(view, i)) {
			continue;
		}
		if (taken_back ||
		    (premature && view->heard > 0 && view->heard >= turn->calls[i].intent_word)) {
			call_name(view, i, wrong_args(view, i), plan);
			return;
		}
	}
}

/* Name all calls of the step; the index of the first, or -1. */
static int calls_name(const struct view *view, struct plan *plan)
{
	const struct dialogue_turn *turn = turn_of(view);
	bool clause = view->provider->options.clause;
	int first = -1;

	for (size_t i = 0; i < turn->calls_n; i++) {
		if (is_open(view, i) &&
		    view->heard >= dialogue_ready(turn, i, view->repair, clause) &&
		    call_name(view, i, args_named(view, i), plan) && first < 0) {
			first = (int)i;
		}
	}
	if (plan->n == 0 && view->heard < view->words && view->context->aside) {
		guess(view, plan);
	}
	return first;
}

/* A rival that asks back in place of a write. */
static bool asks_back(const struct view *view)
{
	const struct dialogue_turn *turn = turn_of(view);

	if (!view->rival || view->context->aside ||
	    !chance(view, DRAW_NO_CALL, "rival_asks", 0.5)) {
		return false;
	}
	for (size_t i = 0; i < turn->calls_n; i++) {
		if (is_open(view, i) && !turn->calls[i].read_only) {
			return true;
		}
	}
	return false;
}

static const char *words_for(const struct view *view)
{
	const struct dialogue_turn *turn = turn_of(view);

	for (size_t i = 0; i < turn->calls_n; i++) {
		if (view->called[i] && !view->answered[i]) {
			return "I am still waiting for that.";
		}
	}
	if (view->heard < view->words) {
		return "Go on.";
	}
	return turn->reply[0] == '\0' ? "Done." : turn->reply;
}

/* tool_choice may force a call although none is due. */
static bool call_force(const struct view *view, struct plan *plan)
{
	const json_t *choice = view->context->tool_choice;
	const char *name = json_string_value(json_object_get(choice, "name"));
	json_t *none = json_object();
	bool required =
		json_is_string(choice) && strcmp(json_string_value(choice), "required") == 0;

	if (required) {
		name = json_string_value(
			json_object_get(json_array_get(view->context->tools, 0), "name"));
	}
	if (name != NULL && context_has_tool(view->context, name)) {
		plan_call_add(plan, name, none);
	}
	json_decref(none);
	return plan->n > 0;
}

static void decide_turn(struct view *view, struct plan *plan)
{
	bool aside = view->context->aside;
	const struct timing *timing = &view->provider->timing;
	struct draw_key key;
	int first;

	view->rival = chance(view, DRAW_NO_CALL, "rival", view->provider->options.rival);
	calls_find(view);
	if (!asks_back(view)) {
		first = calls_name(view, plan);
		if (plan->n > 0 || call_force(view, plan)) {
			key = aside ? key_of(view, (int)view->heard, "side_pass")
				    : key_of(view, first, "call_pass");
			plan->delay_s = draw_lognormal(&key, timing->call_pass);
			return;
		}
	}
	key = aside ? key_of(view, (int)view->heard, "side_pass")
		    : key_of(view, DRAW_NO_CALL, "final_first_audio");
	plan->delay_s = draw_lognormal(&key, aside ? timing->call_pass : timing->final_first_audio);
	if (aside) {
		plan_text_add(plan, "NONE");
	} else {
		plan_text_add(plan, asks_back(view) ? "Could you say that once more, please?"
						    : words_for(view));
	}
}

static void decision_log(struct session *session, const struct view *view, const struct plan *plan)
{
	json_t *says = json_array();

	for (size_t i = 0; i < plan->n; i++) {
		json_array_append_new(says, json_string(plan->outputs[i].is_call
								? plan->outputs[i].name
								: plan->outputs[i].text));
	}
	log_line(session, "decision",
		 json_pack("{s:i,s:b,s:i,s:i,s:b,s:b,s:f,s:o}", "turn", view->turn, "repair",
			   view->repair, "heard", (int)view->heard, "words", (int)view->words,
			   "aside", view->context->aside, "rival", view->rival, "delay_s",
			   plan->delay_s, "says", says));
}

void model_decide(struct session *session, const struct context *context, struct plan *plan)
{
	struct view view = {
		.provider = session->provider, .dialogue = session->dialogue, .context = context};

	context_read(&view);
	if (view.turn < 0) {
		struct draw_key key = key_of(&view, DRAW_NO_CALL, "greeting");

		plan->delay_s = draw_lognormal(&key, session->provider->timing.final_first_audio);
		plan_text_add(plan, context->aside ? "NONE" : "Hello, how can I help you?");
	} else {
		decide_turn(&view, plan);
	}
	decision_log(session, &view, plan);
}
