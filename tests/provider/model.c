/*
 * The simulated model.  It knows the dialogue's script, but acts only on the words its context holds: a
 * call is named when the words heard reach its point of readiness, the results it depends on are in the
 * context, and the writes it must follow are done.  Whatever it does by chance is drawn by name.
 */
#include "tests/provider/model.h"

#include <stdlib.h>
#include <string.h>

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
json_t *model_wrong_args(const struct view *view, size_t call)
{
	const struct dialogue_turn *turn = view_turn(view);
	const struct dialogue_call *gold = &turn->calls[call];
	struct draw_key key = view_key(view, (int)call, "wrong_argument");
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

void model_calls_find(struct view *view)
{
	const struct dialogue_turn *turn = view_turn(view);
	bool *taken = calloc(view->context->n + 1, sizeof(*taken));

	BC_BUG_ON(taken == NULL);
	for (size_t i = 0; i < turn->calls_n; i++) {
		int at = view_call_find(view, turn->calls[i].name, view_args(view, i), taken);

		if (at < 0 && view->rival) {
			json_t *args = model_wrong_args(view, i);

			at = view_call_find(view, turn->calls[i].name, args, taken);
			json_decref(args);
		}
		if (at >= 0) {
			taken[at] = true;
			view->called[i] = true;
			view->answered[i] = view_is_answered(view, (size_t)at);
		}
	}
	free(taken);
}

/* The results a call needs and the writes it must follow are in the context. */
static bool is_unblocked(const struct view *view, size_t call)
{
	const struct dialogue_call *gold = &view_turn(view)->calls[call];

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

bool model_is_open(const struct view *view, size_t call)
{
	return !view->called[call] && is_unblocked(view, call) &&
	       context_has_tool(view->context, view_turn(view)->calls[call].name);
}

/* Whether the model is one to act before the last word, for that call. */
static bool is_eager(const struct view *view, size_t call)
{
	return view_chance(view, (int)call, "eagerness", view->provider->options.eagerness);
}

/* The arguments a ready call is named with: right ones, but for the errors models make. */
static json_t *args_named(const struct view *view, size_t call)
{
	const struct options *options = &view->provider->options;
	bool wrong = !view->context->aside && view->rival;

	if (view_is_early(view)) {
		wrong = wrong ||
			view_chance(view, (int)call, "early_call_wrong", options->early_wrong);
	} else if (view->context->aside) {
		wrong = view_chance(view, (int)call, "pass_disagrees", options->disagree);
	}
	return wrong ? model_wrong_args(view, call) : json_incref(view_args(view, call));
}

void model_call_add(const struct view *view, struct plan *plan, const char *name,
		    const json_t *args)
{
	json_t *tagged;

	if (!view->provider->options.tag_calls) {
		plan_call_add(plan, name, args);
		return;
	}
	tagged = json_copy((json_t *)(uintptr_t)args);
	json_object_set_new(tagged, SIM_ARGUMENT,
			    json_string(view->session->name[0] == '\0' ? view->dialogue->id
								       : view->session->name));
	plan_call_add(plan, name, tagged);
	json_decref(tagged);
}

/* Name a call unless the context holds it already. */
static bool call_name(const struct view *view, size_t call, json_t *args, struct plan *plan)
{
	bool *none = calloc(view->context->n + 1, sizeof(*none));
	const char *name = view_turn(view)->calls[call].name;
	bool known;

	BC_BUG_ON(none == NULL);
	/* Only a guess can stand there already: a right call would count as called. */
	known = (view_is_early(view) || view->context->aside) &&
		!model_same_value(args, view_args(view, call)) &&
		view_call_find(view, name, args, none) >= 0;
	if (!known) {
		model_call_add(view, plan, name, args);
	}
	free(none);
	json_decref(args);
	return !known;
}

/* A pass before the point of readiness: the value taken back later, or a premature guess. */
static void guess(const struct view *view, struct plan *plan)
{
	const struct dialogue_turn *turn = view_turn(view);
	const struct dialogue_repair *repair = view->repair ? turn->repair : NULL;
	bool premature = view_chance(view, DRAW_NO_CALL, "premature_guess",
				     view->provider->options.premature);

	for (size_t i = 0; i < turn->calls_n; i++) {
		bool taken_back = repair != NULL && repair->call == i && repair->wrong_ready > 0 &&
				  view->heard >= repair->wrong_ready;

		if (!model_is_open(view, i) || !is_eager(view, i)) {
			continue;
		}
		if (taken_back ||
		    (premature && view->heard > 0 && view->heard >= turn->calls[i].intent_word)) {
			call_name(view, i, model_wrong_args(view, i), plan);
			return;
		}
	}
}

/* Whether the conversation, and not only a pass, has the words: then the caller's turn has ended. */
static bool is_committed(const struct view *view)
{
	struct session *session = (struct session *)(uintptr_t)view->session;
	struct context context = {0};
	struct view told = {.session = view->session,
			    .provider = view->provider,
			    .dialogue = view->dialogue,
			    .context = &context};

	TAILQ_INIT(&context.inlined);
	context_fill(session, &context);
	view_read(&told);
	context_release(&context);
	return told.turn > view->turn || (told.turn == view->turn && told.heard >= view->heard);
}

/* Whether the model looks for calls at all. */
static bool looks_for_calls(const struct view *view)
{
	const struct options *options = &view->provider->options;

	if (!view->context->aside) {
		return true;
	}
	return !options->no_aside_calls &&
	       (options->behaviour != BEHAVIOUR_TURN_BASED || is_committed(view));
}

/* Name all calls of the step; the index of the first, or -1. */
static int calls_name(const struct view *view, struct plan *plan)
{
	const struct dialogue_turn *turn = view_turn(view);
	bool clause = view->provider->options.clause;
	bool early = view_is_early(view);
	int first = -1;

	for (size_t i = 0; i < turn->calls_n; i++) {
		if (model_is_open(view, i) &&
		    (early ? is_eager(view, i) : !view->context->unasked) &&
		    view->heard >= dialogue_ready(turn, i, view->repair, clause) &&
		    call_name(view, i, args_named(view, i), plan) && first < 0) {
			first = (int)i;
		}
	}
	if (plan->n == 0 && early && (view->context->aside || view->context->unasked)) {
		guess(view, plan);
	}
	return first;
}

/* A rival that asks back in place of a write. */
static bool asks_back(const struct view *view)
{
	const struct dialogue_turn *turn = view_turn(view);

	if (!view->rival || view->context->aside ||
	    !view_chance(view, DRAW_NO_CALL, "rival_asks", 0.5)) {
		return false;
	}
	for (size_t i = 0; i < turn->calls_n; i++) {
		if (model_is_open(view, i) && !turn->calls[i].read_only) {
			return true;
		}
	}
	return false;
}

/* NULL: nothing. */
static const char *words_for(const struct view *view)
{
	const struct dialogue_turn *turn = view_turn(view);

	if (view->context->aside) {
		return "NONE";
	}
	if (asks_back(view)) {
		return "Could you say that once more, please?";
	}
	if (view_is_early(view) && view->provider->options.behaviour == BEHAVIOUR_PROACTIVE) {
		return NULL;
	}
	for (size_t i = 0; i < turn->calls_n; i++) {
		if (view->called[i] && !view->answered[i]) {
			return "I am still waiting for that.";
		}
	}
	if (view_is_early(view)) {
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
		model_call_add(view, plan, name, none);
	}
	json_decref(none);
	return plan->n > 0;
}

/* Seconds to the first output: passes take what a call takes, drawn by how much they had heard. */
static double seconds_drawn(const struct view *view, const struct plan *plan, int first)
{
	const struct timing *timing = &view->provider->timing;
	struct draw_key key = view_key(view, DRAW_NO_CALL, "final_first_audio");

	if (view->context->aside) {
		key = view_key(view, (int)view->heard, "side_pass");
		return draw_lognormal(&key, timing->call_pass);
	}
	if (plan->n > 0) {
		key = view_key(view, first, "call_pass");
		return draw_lognormal(&key, timing->call_pass);
	}
	return draw_lognormal(&key, timing->final_first_audio);
}

static void turn_decide(struct view *view, struct plan *plan)
{
	const char *words;
	int first = -1;

	view->rival = view_chance(view, DRAW_NO_CALL, "rival", view->provider->options.rival);
	model_calls_find(view);
	if (context_is_prepare(view->context)) {
		prepare_decide(view, plan);
		return;
	}
	if (looks_for_calls(view) && !asks_back(view)) {
		first = calls_name(view, plan);
		if (plan->n == 0 && !view->context->unasked) {
			call_force(view, plan);
		}
	}
	plan->delay_s = path_beside(view->provider, seconds_drawn(view, plan, first));
	words = plan->n > 0 || view->context->unasked ? NULL : words_for(view);
	if (words != NULL) {
		plan_text_add(plan, words);
	}
}

static void decision_log(struct session *session, const struct view *view, const struct plan *plan)
{
	json_t *says;

	if (!log_wants(session->provider, "decision")) {
		return;
	}
	says = json_array();
	for (size_t i = 0; i < plan->n; i++) {
		json_array_append_new(says, json_string(plan->outputs[i].is_call
								? plan->outputs[i].name
								: plan->outputs[i].text));
	}
	log_line(session, "decision",
		 json_pack("{s:i,s:b,s:i,s:i,s:b,s:b,s:b,s:f,s:o}", "turn", view->turn, "repair",
			   view->repair, "heard", (int)view->heard, "words", (int)view->words,
			   "aside", view->context->aside, "prepare",
			   context_is_prepare(view->context), "rival", view->rival, "delay_s",
			   plan->delay_s, "says", says));
}

/* Nobody has said anything yet. */
static void greeting_decide(const struct view *view, struct plan *plan)
{
	struct draw_key key = view_key(view, DRAW_NO_CALL, "greeting");
	double seconds = draw_lognormal(&key, view->provider->timing.final_first_audio);

	plan->delay_s = path_beside(view->provider, seconds);
	plan_text_add(plan, view->context->aside ? "NONE" : "Hello, how can I help you?");
}

void model_decide(struct session *session, const struct context *context, struct plan *plan)
{
	struct view view = {.session = session,
			    .provider = session->provider,
			    .dialogue = session->dialogue,
			    .context = context};

	view_read(&view);
	if (view.turn >= 0) {
		turn_decide(&view, plan);
	} else if (!context->unasked) {
		greeting_decide(&view, plan);
	}
	plan->turn = view.turn;
	if (plan->n > 0 || !context->unasked) {
		decision_log(session, &view, plan);
	}
}
