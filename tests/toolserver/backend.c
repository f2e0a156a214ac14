#include <stdlib.h>
#include <string.h>

#include "tests/toolserver/backend.h"

#include "tests/toolserver/scene.h"
#include "tests/world/draw.h"

#define NO_STEP      SIZE_MAX
#define NO_CALL      SIZE_MAX
#define USEC_PER_SEC 1e6

/* What became of a request. */
enum verdict {
	RECORDED,
	STALE,
	UNDO,
	REPEAT,
	DUPLICATE,
	NOT_FOUND,
	KEY_REUSED,
	PROMISED,
	FAILED
};

static const char *const verdict_names[] = {"recorded",   "stale",     "undo",
					    "repeat",     "duplicate", "not found",
					    "key reused", "promised",  "failed"};

struct call {
	struct scene *scene; /* NULL: unknown dialogue */
	json_t *record;      /* as backend_calls() shows it */
	json_t *effect;      /* as backend_effects() shows it; NULL: none */
	char *key;
	char *args; /* canonical */
	char *tool;
	char *body;
	unsigned status;
	double seconds;
	size_t step;     /* index into the scene's steps, or NO_STEP */
	size_t previous; /* number of the scene's call before, or NO_CALL */
	enum verdict verdict;
};

struct backend {
	struct backend_conf conf;
	struct scene **scenes; /* made when first asked for */
	size_t scenes_n;
	struct call *calls;
	size_t calls_n;
	size_t calls_cap;
	json_t *live;     /* array: effects done and not undone */
	json_t *log;      /* array: all effects and undos */
	json_t *promised; /* object: keys that were said not to have been used */
};

struct backend *backend_new(const struct backend_conf *conf)
{
	struct backend *backend = calloc(1, sizeof(*backend));

	if (backend == NULL) {
		return NULL;
	}
	backend->conf = *conf;
	backend->live = json_array();
	backend->log = json_array();
	backend->promised = json_object();
	if (backend->live == NULL || backend->log == NULL || backend->promised == NULL) {
		return backend_free(backend);
	}
	return backend;
}

static void call_release(struct call *call)
{
	json_decref(call->record);
	json_decref(call->effect);
	free(call->key);
	free(call->args);
	free(call->tool);
	free(call->body);
}

struct backend *backend_free(struct backend *backend)
{
	if (backend == NULL) {
		return NULL;
	}
	for (size_t i = 0; i < backend->calls_n; i++) {
		call_release(&backend->calls[i]);
	}
	for (size_t i = 0; i < backend->scenes_n; i++) {
		(void)scene_free(backend->scenes[i]);
	}
	free(backend->calls);
	free(backend->scenes);
	json_decref(backend->live);
	json_decref(backend->log);
	json_decref(backend->promised);
	free(backend);
	return NULL;
}

/* The dialogue a request without one means: the first that has the tool. */
static const struct dialogue *dialogue_with(const struct dialogue_set *set, const char *tool)
{
	for (size_t i = 0; i < set->n; i++) {
		if (scene_tool(set->items[i], tool) != NULL) {
			return set->items[i];
		}
	}
	return NULL;
}

static struct scene *scene_add(struct backend *backend, const struct dialogue *dialogue,
			       const struct scene_name *name)
{
	struct scene **scenes =
		realloc(backend->scenes, (backend->scenes_n + 1) * sizeof(struct scene *));
	struct scene *scene = scenes == NULL ? NULL : scene_new(dialogue, name);

	backend->scenes = scenes == NULL ? backend->scenes : scenes;
	if (scene != NULL) {
		backend->scenes[backend->scenes_n++] = scene;
	}
	return scene;
}

/* NULL: no such dialogue. */
static struct scene *scene_find(struct backend *backend, const struct backend_request *request)
{
	const struct dialogue *dialogue;
	struct scene_name name;

	if (request->dialogue == NULL) {
		dialogue = dialogue_with(backend->conf.dialogues, request->tool);
		name = scene_name(dialogue == NULL ? "" : dialogue->id);
	} else {
		name = scene_name(request->dialogue);
		dialogue = dialogue_find(backend->conf.dialogues, name.dialogue);
	}
	for (size_t i = 0; i < backend->scenes_n; i++) {
		if (bc_span_is(name.scene, backend->scenes[i]->name)) {
			return backend->scenes[i];
		}
	}
	return dialogue == NULL ? NULL : scene_add(backend, dialogue, &name);
}

static bool step_is(const struct step *step, const struct call *call)
{
	return strcmp(step->call->name, call->tool) == 0 && strcmp(step->args, call->args) == 0;
}

/*
 * The same read may stand twice with different results: the latest one whose writes are all done counts, and of the
 * turns in front of the play's beginning only what stands nowhere behind it.
 */
static void judge_read(const struct scene *scene, struct call *call)
{
	bool writes_done = true;
	size_t first = NO_STEP;
	size_t before = NO_STEP;

	for (size_t i = 0; i < scene->steps_n; i++) {
		const struct step *step = &scene->steps[i];

		if (step_is(step, call) && step->turn < scene->first_turn) {
			before = i;
		} else if (step_is(step, call)) {
			first = first == NO_STEP ? i : first;
			call->step = writes_done ? i : call->step;
		}
		writes_done = writes_done && (step->call->read_only || step->committed);
	}
	call->step = call->step == NO_STEP ? first : call->step;
	call->step = call->step == NO_STEP ? before : call->step;
	if (call->step == NO_STEP) {
		call->verdict = NOT_FOUND;
	} else {
		call->verdict = scene_order_holds(scene, call->step) ? RECORDED : STALE;
	}
}

/* What "$args.x" or "$result.x" stands for, given the arguments and the recorded result; borrowed, or NULL. */
static json_t *reference(const json_t *text, const json_t *args, const json_t *result)
{
	const char *string = json_string_value(text);

	if (string != NULL && strncmp(string, "$args.", 6) == 0) {
		return json_object_get(args, string + 6);
	}
	if (string != NULL && strncmp(string, "$result.", 8) == 0) {
		return json_object_get(result, string + 8);
	}
	return NULL;
}

/* Index of an effect in the list of live ones; the list's size when it is not there. */
static size_t live_index(const struct backend *backend, const json_t *effect)
{
	size_t i = 0;

	while (i < json_array_size(backend->live) && json_array_get(backend->live, i) != effect) {
		i++;
	}
	return i;
}

static bool is_live(const struct backend *backend, const struct call *call)
{
	return call->effect != NULL &&
	       live_index(backend, call->effect) < json_array_size(backend->live);
}

/* The scene's newest live effect of a tool before that call (its number; NO_CALL: of all), or NULL. */
static struct call *effect_before(const struct backend *backend, const struct scene *scene,
				  const char *tool, size_t before)
{
	size_t i = before == NO_CALL ? scene->last_call : backend->calls[before].previous;

	for (; i != NO_CALL; i = backend->calls[i].previous) {
		if (strcmp(backend->calls[i].tool, tool) == 0 &&
		    is_live(backend, &backend->calls[i])) {
			return &backend->calls[i];
		}
	}
	return NULL;
}

static bool is_self_previous(const struct dialogue_tool *tool)
{
	const char *kind =
		tool == NULL ? NULL : json_string_value(json_object_get(tool->inverse, "kind"));

	return kind != NULL && strcmp(kind, "self_previous") == 0;
}

/* Whether the call is the same tool with the values from before its newest effect, which is the earlier call. */
static bool restores(const struct backend *backend, const struct call *call, size_t earlier)
{
	const struct call *before;

	if (strcmp(backend->calls[earlier].tool, call->tool) != 0 ||
	    effect_before(backend, call->scene, call->tool, NO_CALL) != &backend->calls[earlier]) {
		return false;
	}
	before = effect_before(backend, call->scene, call->tool, earlier);
	return strcmp(call->args, "null") == 0 ||
	       (before != NULL && strcmp(before->args, call->args) == 0);
}

/* Whether the call is what the inverse makes of an earlier one. */
static bool is_inverse_of(const struct call *call, const struct call *earlier,
			  const json_t *inverse)
{
	const char *name = json_string_value(json_object_get(inverse, "name"));
	json_t *result = NULL;
	json_t *args = NULL;
	json_t *wanted = NULL;
	const char *key = NULL;
	json_t *value = NULL;
	char *text = NULL;
	bool same = false;

	if (name == NULL || strcmp(name, call->tool) != 0) {
		return false;
	}
	args = json_object_get(earlier->effect, "args");
	result = json_loads(earlier->body, JSON_DECODE_ANY, NULL);
	wanted = json_object();
	json_object_foreach(json_object_get(inverse, "args"), key, value) {
		(void)json_object_set(wanted, key, reference(value, args, result));
	}
	text = scene_args(scene_tool(call->scene->dialogue, name), wanted);
	same = text != NULL && strcmp(text, call->args) == 0;
	free(text);
	json_decref(result);
	json_decref(wanted);
	return same;
}

/* The newest live effect that this call takes back, or NULL. */
static struct call *undone_by(struct backend *backend, const struct call *call)
{
	for (size_t i = call->scene->last_call; i != NO_CALL; i = backend->calls[i].previous) {
		struct call *earlier = &backend->calls[i];
		const struct dialogue_tool *tool = scene_tool(call->scene->dialogue, earlier->tool);

		if (tool == NULL || tool->inverse == NULL || !is_live(backend, earlier)) {
			continue;
		}
		if (is_self_previous(tool) ? call->step == NO_STEP && restores(backend, call, i)
					   : is_inverse_of(call, earlier, tool->inverse)) {
			return earlier;
		}
	}
	return NULL;
}

/* An earlier call with the same idempotency key, or NULL. */
static struct call *same_key(struct backend *backend, const struct call *call)
{
	size_t i = call->key == NULL ? NO_CALL : call->scene->last_call;

	for (; i != NO_CALL; i = backend->calls[i].previous) {
		struct call *earlier = &backend->calls[i];

		if (earlier->key != NULL && strcmp(earlier->key, call->key) == 0 &&
		    earlier->verdict != REPEAT && earlier->verdict != FAILED &&
		    earlier->verdict != PROMISED) {
			return earlier;
		}
	}
	return NULL;
}

static void judge_write(struct backend *backend, struct call *call)
{
	struct scene *scene = call->scene;
	struct call *taken_back = NULL;
	size_t last = NO_STEP;

	for (size_t i = 0; i < scene->steps_n && call->step == NO_STEP; i++) {
		if (step_is(&scene->steps[i], call)) {
			last = i;
			call->step = scene->steps[i].started ? NO_STEP : i;
		}
	}
	taken_back = undone_by(backend, call);
	if (taken_back != NULL) {
		size_t index = live_index(backend, taken_back->effect);

		(void)json_array_remove(backend->live, index);
		(void)json_object_set_new(taken_back->effect, "undone", json_true());
	}
	if (call->step != NO_STEP) {
		call->verdict = scene_order_holds(scene, call->step) ? RECORDED : STALE;
	} else if (taken_back != NULL) {
		call->verdict = UNDO;
		if (taken_back->step != NO_STEP) {
			scene->steps[taken_back->step].started = false;
			scene->steps[taken_back->step].committed = false;
		}
	} else if (last != NO_STEP) {
		call->verdict = DUPLICATE;
		call->step = last;
	} else {
		call->verdict = NOT_FOUND;
	}
	if (call->verdict == RECORDED) {
		scene->steps[call->step].started = true;
	}
}

/* Decide what a call is; fills verdict and step. */
static void judge(struct backend *backend, struct call *call)
{
	const struct dialogue_tool *tool =
		call->scene == NULL ? NULL : scene_tool(call->scene->dialogue, call->tool);
	const struct call *earlier = NULL;

	call->step = NO_STEP;
	call->verdict = NOT_FOUND;
	if (tool == NULL) {
		return;
	}
	if (tool->read_only) {
		judge_read(call->scene, call);
		return;
	}
	if (call->key != NULL && json_object_get(backend->promised, call->key) != NULL) {
		call->verdict = PROMISED;
		return;
	}
	earlier = same_key(backend, call);
	if (earlier == NULL) {
		judge_write(backend, call);
		return;
	}
	if (strcmp(earlier->tool, call->tool) != 0 || strcmp(earlier->args, call->args) != 0) {
		call->verdict = KEY_REUSED;
		return;
	}
	call->verdict = REPEAT;
	call->step = earlier->step;
}

/* The recorded result, with what was there before where that is asked for; heap. */
static char *result_text(const struct backend *backend, const struct call *call)
{
	json_t *result = json_deep_copy(call->scene->steps[call->step].call->result);
	const struct call *before = NULL;
	char *text = NULL;

	if (backend->conf.previous && json_is_object(result) &&
	    is_self_previous(scene_tool(call->scene->dialogue, call->tool))) {
		before = effect_before(backend, call->scene, call->tool, NO_CALL);
		(void)json_object_set_new(
			result, "_previous",
			before == NULL ? json_null()
				       : json_incref(json_object_get(before->effect, "args")));
	}
	text = json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(result);
	return text;
}

/* Text of the answer, heap; NULL when out of memory. */
static char *answer_text(struct backend *backend, const struct call *call)
{
	switch (call->verdict) {
	case RECORDED:
	case DUPLICATE:
		return result_text(backend, call);
	case STALE:
		return strdup("{\"stale\":true}");
	case UNDO:
		return strdup("{\"undone\":true}");
	case REPEAT:
		return strdup(same_key(backend, call)->body);
	case KEY_REUSED:
		return strdup("{\"error\":\"this idempotency key belongs to another call\"}");
	case PROMISED:
		return strdup("{\"error\":\"this idempotency key was said to be unused\"}");
	case FAILED:
		return strdup("{\"error\":\"not now\"}");
	case NOT_FOUND:
	default:
		return strdup("{\"error\":\"not found\"}");
	}
}

static unsigned answer_status(struct backend *backend, const struct call *call)
{
	switch (call->verdict) {
	case RECORDED:
	case DUPLICATE:
	case STALE:
	case UNDO:
		return 200;
	case REPEAT:
		return same_key(backend, call)->status;
	case KEY_REUSED:
		return 422;
	case PROMISED:
		return 409;
	case FAILED:
		return 503;
	case NOT_FOUND:
	default:
		return 404;
	}
}

/* A stable number for a call that stands in no dialogue, so that it too takes the same time in every run. */
static int stray_number(const struct call *call)
{
	uint32_t hash = 2166136261U;

	for (const char *at = call->tool; *at != '\0'; at++) {
		hash = (hash ^ (uint8_t)*at) * 16777619U;
	}
	for (const char *at = call->args; *at != '\0'; at++) {
		hash = (hash ^ (uint8_t)*at) * 16777619U;
	}
	return (int)(hash & 0x7fffffffU);
}

/* The name of a draw for a call: by its place, not by the order of requests. */
static struct draw_key key_of(const struct backend *backend, const struct call *call, size_t place,
			      const char *quantity)
{
	const struct step *step =
		call->scene == NULL || place == NO_STEP ? NULL : &call->scene->steps[place];

	return (struct draw_key){.seed = backend->conf.seed,
				 .dialogue = call->scene == NULL ? "" : call->scene->dialogue->id,
				 .turn = step == NULL ? UINT16_MAX : step->turn,
				 .call = step == NULL ? stray_number(call) : (int)step->number,
				 .quantity = quantity};
}

static double call_seconds(const struct backend *backend, const struct call *call)
{
	const struct backend_conf *conf = &backend->conf;
	struct draw_key key = key_of(backend, call, call->step, "tool_time");
	double seconds = 0;

	switch (conf->profile) {
	case BACKEND_FAST:
		seconds = draw_lognormal(&key, conf->timing->tool_fast);
		break;
	case BACKEND_SLOW:
		seconds = draw_lognormal(&key, conf->timing->tool_slow);
		break;
	case BACKEND_UNIFORM:
		seconds = 0.5 + 0.5 * draw_uniform(&key);
		break;
	case BACKEND_CONSTANT:
		seconds = conf->constant;
		break;
	case BACKEND_TYPICAL:
	default:
		seconds = draw_lognormal(&key, conf->timing->tool_typical);
		break;
	}
	return (seconds + conf->timing->rtt_tool) / conf->scale;
}

/* What goes wrong with a call, which has not been judged yet; every further attempt is drawn anew. */
static enum backend_fault fault_of(const struct backend *backend, const struct call *call)
{
	const struct backend_faults *rates = &backend->conf.faults;
	const double limits[] = {rates->fail, rates->error, rates->lose, rates->hang};
	unsigned attempt = 0;
	size_t place = NO_STEP;
	struct draw_key key;
	char quantity[32];
	double drawn;

	if (call->scene == NULL) {
		return BACKEND_FAULT_NONE;
	}
	for (size_t i = call->scene->last_call; i != NO_CALL; i = backend->calls[i].previous) {
		attempt += strcmp(backend->calls[i].tool, call->tool) == 0 &&
			   strcmp(backend->calls[i].args, call->args) == 0;
	}
	for (size_t i = 0; i < call->scene->steps_n && place == NO_STEP; i++) {
		place = step_is(&call->scene->steps[i], call) ? i : NO_STEP;
	}
	(void)snprintf(quantity, sizeof(quantity), "tool_fault %u", attempt);
	key = key_of(backend, call, place, quantity);
	drawn = draw_uniform(&key);
	for (size_t i = 0; i < BC_ARRAY_LEN(limits); i++) {
		if (drawn < limits[i]) {
			return (enum backend_fault)(BACKEND_FAULT_FAIL + i);
		}
		drawn -= limits[i];
	}
	return BACKEND_FAULT_NONE;
}

static json_t *optional_string(const char *string)
{
	return string == NULL ? json_null() : json_string(string);
}

/* List the effect of a call that changed something, or the undo of one. */
static void list_effect(struct backend *backend, struct call *call,
			const struct backend_request *request)
{
	json_t *effect = json_pack(
		"{s:I, s:s, s:s, s:s, s:s, s:O, s:o, s:o}", "time", (json_int_t)request->wall,
		"kind", call->verdict == UNDO ? "undo" : "effect", "dialogue",
		call->scene->dialogue->id, "instance", call->scene->name, "tool", call->tool,
		"args", request->args, "key", optional_string(request->key), "session",
		optional_string(request->session));

	if (effect == NULL) {
		return;
	}
	if (call->verdict != RECORDED) {
		(void)json_object_set_new(effect, verdict_names[call->verdict], json_true());
	}
	(void)json_array_append(backend->log, effect);
	if (backend->conf.effects != NULL) {
		(void)json_dumpf(effect, backend->conf.effects, JSON_COMPACT);
		(void)fputc('\n', backend->conf.effects);
		(void)fflush(backend->conf.effects);
	}
	if (call->verdict == UNDO) {
		json_decref(effect);
		return;
	}
	(void)json_array_append(backend->live, effect);
	call->effect = effect;
}

static bool is_write(const struct call *call)
{
	const struct dialogue_tool *tool =
		call->scene == NULL ? NULL : scene_tool(call->scene->dialogue, call->tool);

	return tool != NULL && !tool->read_only;
}

static json_t *record_new(const struct call *call, const struct backend_request *request)
{
	const struct step *step = call->scene == NULL || call->step == NO_STEP
					  ? NULL
					  : &call->scene->steps[call->step];

	return json_pack("{s:o, s:s, s:O, s:o, s:o, s:s, s:i, s:o, s:o, s:f, s:n}", "dialogue",
			 optional_string(call->scene == NULL ? NULL : call->scene->dialogue->id),
			 "tool", call->tool, "args", request->args, "key",
			 optional_string(request->key), "session",
			 optional_string(request->session), "verdict", verdict_names[call->verdict],
			 "status", (int)call->status, "turn",
			 step == NULL ? json_null() : json_integer(step->turn), "call",
			 step == NULL ? json_null() : json_integer(step->number), "arrived",
			 (double)request->now / USEC_PER_SEC, "answered");
}

static bool calls_room(struct backend *backend)
{
	size_t cap = backend->calls_cap == 0 ? 64 : 2 * backend->calls_cap;
	struct call *calls = NULL;

	if (backend->calls_n < backend->calls_cap) {
		return true;
	}
	calls = realloc(backend->calls, cap * sizeof(*calls));
	if (calls == NULL) {
		return false;
	}
	backend->calls = calls;
	backend->calls_cap = cap;
	return true;
}

/* Whether the call did something, so that it must be listed. */
static bool has_effect(const struct call *call)
{
	return is_write(call) && call->verdict != REPEAT && call->verdict != KEY_REUSED &&
	       call->verdict != PROMISED && call->verdict != FAILED;
}

/* Decide and record a call whose texts are there; false when out of memory. */
static bool call_run(struct backend *backend, const struct backend_request *request,
		     struct call *call, struct backend_answer *answer)
{
	answer->fault = fault_of(backend, call);
	if (answer->fault == BACKEND_FAULT_FAIL) {
		call->verdict = FAILED;
	} else {
		judge(backend, call);
	}
	call->body = answer_text(backend, call);
	call->status = answer_status(backend, call);
	call->seconds = call_seconds(backend, call);
	call->record = record_new(call, request);
	if (call->body == NULL || call->record == NULL) {
		return false;
	}
	answer->status = call->status;
	answer->seconds = call->seconds;
	answer->call = backend->calls_n;
	if (answer->fault == BACKEND_FAULT_ERROR) {
		answer->status = 500;
		answer->body = strdup("{\"error\":\"something broke\"}");
	} else {
		answer->body = strdup(call->body);
	}
	return answer->body != NULL;
}

enum bc_err backend_call(struct backend *backend, const struct backend_request *request,
			 struct backend_answer *ret)
{
	struct call call = {.scene = scene_find(backend, request), .step = NO_STEP};
	struct backend_answer answer = {0};

	call.previous = call.scene == NULL ? NO_CALL : call.scene->last_call;
	call.tool = strdup(request->tool);
	call.key = request->key == NULL ? NULL : strdup(request->key);
	call.args = scene_args(call.scene == NULL ? NULL
						  : scene_tool(call.scene->dialogue, request->tool),
			       request->args);
	if (!calls_room(backend) || call.tool == NULL || call.args == NULL ||
	    (request->key != NULL && call.key == NULL) ||
	    !call_run(backend, request, &call, &answer)) {
		call_release(&call);
		return BC_E_NOMEM;
	}
	if (has_effect(&call)) {
		list_effect(backend, &call, request);
	}
	if (call.scene != NULL) {
		call.scene->last_call = backend->calls_n;
	}
	backend->calls[backend->calls_n++] = call;
	*ret = answer;
	return BC_OK;
}

json_t *backend_status(struct backend *backend, const char *key)
{
	for (size_t i = backend->calls_n; i-- > 0;) {
		const struct call *call = &backend->calls[i];

		if (call->key != NULL && strcmp(call->key, key) == 0 && call->effect != NULL) {
			return json_pack("{s:s, s:o}", "state", "done", "result",
					 json_loads(call->body, JSON_DECODE_ANY, NULL));
		}
	}
	(void)json_object_set_new(backend->promised, key, json_true());
	return json_pack("{s:s}", "state", "not_done");
}

void backend_answered(struct backend *backend, size_t number, int64_t now)
{
	struct call *call = &backend->calls[number];

	(void)json_object_set_new(call->record, "answered", json_real((double)now / USEC_PER_SEC));
	if (call->verdict == RECORDED && call->scene->steps[call->step].started) {
		call->scene->steps[call->step].committed = true;
	}
}

json_t *backend_effects(const struct backend *backend)
{
	return json_pack("{s:O, s:O}", "effects", backend->live, "log", backend->log);
}

json_t *backend_calls(const struct backend *backend)
{
	json_t *calls = json_array();

	for (size_t i = 0; calls != NULL && i < backend->calls_n; i++) {
		(void)json_array_append(calls, backend->calls[i].record);
	}
	return calls;
}
