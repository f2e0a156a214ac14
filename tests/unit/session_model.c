#include "tests/unit/session_model.h"

#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- chance ---- */

unsigned model_chance(struct model *model, unsigned n)
{
	model->random ^= model->random << 13;
	model->random ^= model->random >> 7;
	model->random ^= model->random << 17;
	return (unsigned)((model->random >> 11) % n);
}

static void new_id(struct model *model, char id[MODEL_ID_MAX], const char *prefix)
{
	(void)snprintf(id, MODEL_ID_MAX, "%s%u", prefix, ++model->next);
}

/* ---- the provider ---- */

static void quoted(char *out, size_t size, const char *id)
{
	if (id[0] == '\0') {
		(void)snprintf(out, size, "null");
	} else {
		(void)snprintf(out, size, "'%s'", id);
	}
}

/* An item joins the conversation, in one or two events. */
static void add_item(struct model *model, const char *id, const char *rest, bool done)
{
	char prev[MODEL_ID_MAX + 2];

	quoted(prev, sizeof(prev), model->last);
	rig_up(&model->rig,
	       "{'type':'conversation.item.added','previous_item_id':%s,'item':{'id':'%s',%s}}",
	       prev, id, rest);
	if (done) {
		rig_up(&model->rig,
		       "{'type':'conversation.item.done','previous_item_id':%s,'item':{'id':'%s',%s}}",
		       prev, id, rest);
	}
	(void)snprintf(model->last, sizeof(model->last), "%s", id);
}

/* The client must be shown this item. */
static void said(struct model *model, const char *id)
{
	ck_assert_uint_lt(model->said_count, MODEL_SAID_MAX);
	(void)snprintf(model->said[model->said_count++], MODEL_ID_MAX, "%s", id);
}

static void begin(struct model *model, struct model_response *response, const char *metadata,
		  bool out_of_band)
{
	new_id(model, response->id, "r");
	response->metadata = strdup(metadata);
	response->out_of_band = out_of_band;
	response->items = 0;
	rig_up(&model->rig,
	       "{'type':'response.created','response':{'id':'%s','status':'in_progress','conversation_id':%s,'metadata':%s,'output':[]}}",
	       response->id, out_of_band ? "null" : "'conv'", response->metadata);
	if (model_chance(model, 2) == 0) {
		rig_up(&model->rig, "{'type':'rate_limits.updated','rate_limits':[]}");
	}
}

void model_end(struct model *model, struct model_response *response, const char *status)
{
	char *metadata = response->metadata;

	response->metadata = NULL;
	rig_up(&model->rig,
	       "{'type':'response.done','response':{'id':'%s','status':'%s','conversation_id':%s,'metadata':%s,'output':[],'usage':{'total_tokens':1}}}",
	       response->id, status, response->out_of_band ? "null" : "'conv'", metadata);
	free(metadata);
}

void model_speak(struct model *model, struct model_response *response)
{
	char id[MODEL_ID_MAX];

	new_id(model, id, "m");
	rig_up(&model->rig,
	       "{'type':'response.output_item.added','response_id':'%s','item':{'id':'%s','type':'message','role':'assistant','status':'in_progress'}}",
	       response->id, id);
	if (!response->out_of_band) {
		add_item(model, id, "'type':'message','role':'assistant','status':'in_progress'",
			 false);
	}
	rig_up(&model->rig,
	       "{'type':'response.output_audio.delta','response_id':'%s','item_id':'%s','delta':'AAAA'}",
	       response->id, id);
	rig_up(&model->rig,
	       "{'type':'response.output_item.done','response_id':'%s','item':{'id':'%s','type':'message','role':'assistant','status':'completed'}}",
	       response->id, id);
}

/* The name tells whose it is: ids of the gateway's begin with "h", nobody but it may see them. */
void model_call(struct model *model, struct model_response *response, enum model_kind kind)
{
	static const struct {
		const char *name;
		const char *arguments;
		bool gateway;
	} kinds[MODEL_KIND__COUNT] = {
		[MODEL_ORDER] = {"get_order", "{\\'id\\':\\'1\\'}", true},
		[MODEL_OTHER_ORDER] = {"get_order", "{\\'id\\':\\'2\\'}", true},
		[MODEL_BAD_ORDER] = {"get_order", "{\\'id\\':7}", true},
		[MODEL_WARN] = {"warn", "{}", true},
		[MODEL_JOT] = {"jot", "{}", true},
		[MODEL_BOOK] = {"book", "{\\'night\\':\\'mon\\'}", true},
		[MODEL_MOVE] = {"move", "{}", true},
		[MODEL_MINE] = {"mine", "{}", false}};
	bool complete = model_chance(model, 8) != 0;
	char call_id[MODEL_CALL_ID_MAX];
	char id[MODEL_ID_MAX];

	if (model->call_count == MODEL_CALLS_MAX) {
		return;
	}
	new_id(model, id, kinds[kind].gateway ? "h" : "c");
	(void)snprintf(call_id, sizeof(call_id), "%s_id", id);
	rig_up(&model->rig,
	       "{'type':'response.output_item.added','response_id':'%s','item':{'id':'%s','type':'function_call','status':'in_progress','name':'%s','call_id':'%s'}}",
	       response->id, id, kinds[kind].name, call_id);
	if (!response->out_of_band) {
		struct model_call *made = &model->calls[model->call_count++];

		(void)snprintf(made->id, sizeof(made->id), "%s", call_id);
		made->gateway = kinds[kind].gateway;
		made->complete = complete;
		add_item(model, id, "'type':'function_call','status':'in_progress'", false);
	}
	rig_up(&model->rig,
	       "{'type':'response.function_call_arguments.done','response_id':'%s','item_id':'%s','call_id':'%s','arguments':'%s'}",
	       response->id, id, call_id, kinds[kind].arguments);
	rig_up(&model->rig,
	       "{'type':'response.output_item.done','response_id':'%s','item':{'id':'%s','type':'function_call','status':'%s','name':'%s','call_id':'%s','arguments':'%s'}}",
	       response->id, id, complete ? "completed" : "incomplete", kinds[kind].name, call_id,
	       kinds[kind].arguments);
}

/* A client's own response out of band is offered the client's tools only. */
static void call_any(struct model *model, struct model_response *response)
{
	bool own = response->out_of_band && strstr(response->metadata, "\"n\"") != NULL;

	model_call(model, response, own ? MODEL_MINE : model_chance(model, MODEL_KIND__COUNT));
}

static void go_on(struct model *model, struct model_response *response)
{
	static const char *const ends[] = {"completed", "completed", "completed",
					   "cancelled", "failed",    "incomplete"};
	unsigned what = model_chance(model, 6);

	if (response->items < 4 && what < 2) {
		response->items++;
		call_any(model, response);
	} else if (response->items < 4 && what == 2) {
		response->items++;
		model_speak(model, response);
	} else if (response->items > 0 || what == 3) {
		model_end(model, response, ends[model_chance(model, BC_ARRAY_LEN(ends))]);
	}
}

static void refuse(struct model *model, const char *code, const char *param, const char *event_id)
{
	char id[MODEL_ID_MAX + 2];

	/*
	 * Providers are known to leave the id out.  Words make passes begin at any moment, also beside a request of the
	 * lane; then nobody could say which of the two a nameless error answers.
	 */
	quoted(id, sizeof(id), !model->opted_in && model_chance(model, 2) == 0 ? "" : event_id);
	rig_up(&model->rig,
	       "{'type':'error','error':{'type':'invalid_request_error','code':'%s','message':'no','param':%s,'event_id':%s}}",
	       code, param, id);
}

static void asked(struct model *model, const json_t *event)
{
	const json_t *params = json_object_get(event, "response");
	char *metadata =
		json_dumps(json_object_get(params, "metadata"), JSON_ENCODE_ANY | JSON_COMPACT);
	bool out_of_band = strcmp(rig_string(event, "response.conversation"), "none") == 0;
	struct model_response *response = &model->active;

	for (unsigned i = 0; out_of_band && i < MODEL_PASSES_MAX; i++) {
		response = &model->aside[i];
		if (response->metadata == NULL) {
			break;
		}
	}
	if (model_chance(model, 12) == 0) {
		refuse(model, "invalid_value", "'response.x'", rig_string(event, "event_id"));
	} else if (response->metadata != NULL) {
		refuse(model, "conversation_already_has_active_response", "null",
		       rig_string(event, "event_id"));
	} else {
		begin(model, response, metadata == NULL ? "null" : metadata, out_of_band);
	}
	free(metadata);
}

static void cancelled(struct model *model, const json_t *event)
{
	const char *id = rig_string(event, "response_id");

	if (model->active.metadata != NULL && (*id == '\0' || strcmp(id, model->active.id) == 0)) {
		model_end(model, &model->active, "cancelled");
		return;
	}
	for (unsigned i = 0; *id != '\0' && i < MODEL_PASSES_MAX; i++) {
		if (model->aside[i].metadata != NULL && strcmp(id, model->aside[i].id) == 0) {
			model_end(model, &model->aside[i], "cancelled");
			return;
		}
	}
	rig_up(&model->rig,
	       "{'type':'error','error':{'code':'response_cancel_not_active','message':'Cancellation failed: no active response found','param':null,'event_id':'%s'}}",
	       rig_string(event, "event_id"));
}

static void output(struct model *model, const json_t *event)
{
	const char *call_id = rig_string(event, "item.call_id");

	for (unsigned i = 0; i < model->call_count; i++) {
		struct model_call *made = &model->calls[i];

		if (strcmp(made->id, call_id) == 0) {
			ck_assert_msg(made->complete, "%s was never complete", call_id);
			ck_assert_msg(++made->outputs == 1, "%s has two outputs", call_id);
			return;
		}
	}
	ck_abort_msg("an output for %s, which nobody called", call_id);
}

/* A call the gateway makes in the provider's place. */
static void call_put_in(struct model *model, const json_t *event, const char *id)
{
	struct model_call *made = &model->calls[model->call_count++];

	ck_assert_uint_lt(model->call_count, MODEL_CALLS_MAX);
	ck_assert(!model->minded || /* a reasoner starts reads only */
		  strcmp(rig_string(event, "item.name"), "book") != 0);
	(void)snprintf(made->id, sizeof(made->id), "%s", rig_string(event, "item.call_id"));
	made->gateway = true;
	made->complete = true;
	add_item(model, id, "'type':'function_call','status':'completed'", true);
}

static void item_asked(struct model *model, const json_t *event)
{
	char id[MODEL_ID_MAX];

	if (rig_string(event, "item.id")[0] != '\0') {
		(void)snprintf(id, sizeof(id), "%s", rig_string(event, "item.id"));
	} else {
		new_id(model, id, "i");
		model->items_read++;
		said(model, id);
	}
	if (strcmp(rig_string(event, "item.type"), "function_call_output") == 0) {
		output(model, event);
		add_item(model, id, "'type':'function_call_output'", true);
	} else if (strcmp(rig_string(event, "item.type"), "function_call") == 0) {
		call_put_in(model, event, id);
	} else if (strcmp(rig_string(event, "item.role"), "system") == 0) {
		add_item(model, id, "'type':'message','role':'system'", true);
	} else {
		add_item(
			model, id,
			"'type':'message','role':'user','content':[{'type':'input_text','text':'Order 7.'}]",
			true);
	}
}

/* The provider reads the next message, if there is one. */
bool model_read(struct model *model)
{
	static const char sound[] = "{\"type\":\"input_audio_buffer.append\"";
	struct rig *rig = &model->rig;
	const char *type;
	const char *text;
	json_t *event;

	if (rig->seen[SESS_UPSTREAM] >= rig->count[SESS_UPSTREAM]) {
		return false;
	}
	text = rig->sent[SESS_UPSTREAM][rig->seen[SESS_UPSTREAM]++];
	if (strncmp(text, sound, sizeof(sound) - 1) == 0) {
		model->sounds_read++; /* most of all bytes: to parse them would take most of the time */
		return true;
	}
	event = json_loads(text, 0, NULL);
	ck_assert_ptr_nonnull(event);
	type = rig_string(event, "type");
	ck_assert_msg(strncmp(type, "backchannel.", 12) != 0, "%s reached the provider", type);
	if (strcmp(type, "session.update") == 0) {
		rig_up(rig, "{'type':'session.updated','session':{'tools':[]}}");
	} else if (strcmp(type, "response.create") == 0) {
		asked(model, event);
	} else if (strcmp(type, "response.cancel") == 0) {
		cancelled(model, event);
	} else if (strcmp(type, "conversation.item.create") == 0) {
		item_asked(model, event);
	}
	json_decref(event);
	return true;
}

void model_caller(struct model *model)
{
	char prev[MODEL_ID_MAX + 2];
	char id[MODEL_ID_MAX];

	if (!model->speaking) {
		model->speaking = true;
		rig_up(&model->rig, "{'type':'input_audio_buffer.speech_started','item_id':'x'}");
		if (model->active.metadata != NULL && model_chance(model, 4) != 0) {
			model_end(model, &model->active, "cancelled");
		}
		return;
	}
	model->speaking = false;
	rig_up(&model->rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'x'}");
	if (model_chance(model, 8) == 0) {
		return; /* it was only a noise */
	}
	new_id(model, id, "u");
	quoted(prev, sizeof(prev), model->last);
	rig_up(&model->rig,
	       "{'type':'input_audio_buffer.committed','item_id':'%s','previous_item_id':%s}", id,
	       prev);
	said(model, id);
	add_item(model, id, "'type':'message','role':'user'", true);
	if (model->active.metadata == NULL && model_chance(model, 4) != 0) {
		begin(model, &model->active, "null", false);
	}
}

/* ---- the client ---- */

static void client_answers(struct model *model)
{
	for (; model->answered < model->call_count; model->answered++) {
		const struct model_call *made = &model->calls[model->answered];

		if (!made->gateway && made->complete) {
			rig_client(
				&model->rig,
				"{'type':'conversation.item.create','item':{'type':'function_call_output','call_id':'%s','output':'1'}}",
				made->id);
			model->answered++;
			model->items_sent++;
			return;
		}
	}
}

/* An opted-in client, whose words are not always new. */
static void client_gives_words(struct model *model)
{
	static const char *const texts[] = {"", "Order", "Order 7,", "Order 7, please."};
	static const char *const ends[] = {"eager_end", "resumed", "end"};
	unsigned what = model_chance(model, 5);

	if (what < 3) {
		model->revision += model_chance(model, 4) == 0 ? 0 : 1;
		rig_client(
			&model->rig,
			"{'type':'backchannel.input_text.%s','revision':%u,'text':'%s','item_id':'%s'}",
			what == 0 ? "final" : "partial", model->revision,
			texts[model_chance(model, BC_ARRAY_LEN(texts))],
			model_chance(model, 8) == 0 ? model->last : "x");
	} else {
		rig_client(&model->rig, "{'type':'backchannel.turn.%s'}",
			   ends[model_chance(model, BC_ARRAY_LEN(ends))]);
	}
}

void model_ask(struct model *model)
{
	model->creates++;
	rig_client(&model->rig,
		   "{'type':'response.create','event_id':'e%u','response':{'metadata':{'n':'%u'}}}",
		   model->creates, model->creates);
}

void model_type(struct model *model)
{
	model->items_sent++;
	rig_client(&model->rig,
		   "{'type':'conversation.item.create','item':{'type':'message','role':'user'}}");
}

static void client_says(struct model *model)
{
	if (model->opted_in && model_chance(model, 2) == 0) {
		client_gives_words(model);
		return;
	}
	switch (model_chance(model, 8)) {
	case 0:
	case 1:
		model_ask(model);
		break;
	case 2:
		rig_client(&model->rig, "{'type':'response.cancel','event_id':'x'}");
		break;
	case 3:
		model_type(model);
		break;
	case 4:
		model->creates++;
		rig_client(
			&model->rig,
			"{'type':'response.create','event_id':'e%u','response':{'conversation':'none','metadata':{'n':'%u'}}}",
			model->creates, model->creates);
		break;
	case 5:
		rig_client(
			&model->rig,
			"{'type':'session.update','session':{'type':'realtime','tools':[{'type':'function','name':'mine'}]}}");
		break;
	case 6:
		/* Behind an item there is, or one there is not. */
		model->items_sent++;
		rig_client(
			&model->rig,
			"{'type':'conversation.item.create','previous_item_id':'u%u','item':{'type':'message','role':'system'}}",
			model_chance(model, model->next + 1));
		break;
	default:
		client_answers(model);
		break;
	}
}

/* ---- tools ---- */

bool model_tool_ends(struct model *model)
{
	for (unsigned i = 0; i < model->rig.run_count; i++) {
		struct rig_run *run = &model->rig.runs[i];

		if (run->finished || run->cancelled) {
			continue;
		}
		if (run->may_start != NULL) {
			bool started = rig_start(&model->rig, i);

			model->reached[REACH_HOLD_STARTED] += started && !run->speculative;
			run->may_start = NULL; /* asked once */
		} else {
			rig_finish(&model->rig, i, "{}");
		}
		return true;
	}
	return false;
}

/* ---- all together ---- */

void model_init(struct model *model, uint64_t seed, const char *toml)
{
	memset(model, 0, sizeof(*model));
	model->random = seed * 0x9e3779b97f4a7c15u + 1;
	rig_init(&model->rig, toml, true);
	rig_up(&model->rig,
	       "{'type':'session.created','session':{'tools':[],'audio':{'input':{'format':{'type':'audio/pcm'},'turn_detection':{'type':'server_vad'}}}}}");
	model->opted_in = strstr(toml, "[extension]") != NULL;
	model->minded = strstr(toml, "[reasoner]") != NULL;
	model->passes = !model->minded && strstr(toml, "mode = \"off\"") == NULL;
	if (model->opted_in) {
		rig_client(
			&model->rig,
			"{'type':'backchannel.hello','events':['backchannel.tool_call.speculated',"
			"'backchannel.tool_call.committed','backchannel.tool_call.rolled_back']}");
	}
	rig_client(
		&model->rig,
		"{'type':'session.update','session':{'tools':[{'type':'function','name':'mine'}]}}");
}

void model_step(struct model *model)
{
	static const bc_usec waits[] = {10 * BC_USEC_PER_MS, 400 * BC_USEC_PER_MS,
					3 * BC_USEC_PER_SEC};

	if (model->minded && model_chance(model, 4) == 0) {
		model_think(model, model_chance(model, 4096));
		return;
	}
	if (model->passes && model_chance(model, 24) == 0) {
		model_turn(model);
		return;
	}
	switch (model_chance(model, 16)) {
	case 0:
		model_caller(model);
		break;
	case 1:
	case 2:
		client_says(model);
		break;
	case 3:
	case 4:
	case 5:
		model_sound(model, model_chance(model, 2) == 0);
		break;
	case 6:
		(void)model_tool_ends(model);
		break;
	case 7:
		rig_wait(&model->rig, waits[model_chance(model, BC_ARRAY_LEN(waits))]);
		break;
	case 8:
		for (unsigned i = 0; i < MODEL_PASSES_MAX; i++) {
			if (model->aside[i].metadata != NULL) {
				go_on(model, &model->aside[i]);
			}
		}
		break;
	case 9:
	case 10:
	case 11:
		if (model->active.metadata != NULL) {
			go_on(model, &model->active);
		}
		break;
	default:
		(void)model_read(model);
		break;
	}
	model_check_requests(model);
}

static void end_all(struct model *model)
{
	if (model->active.metadata != NULL) {
		model_end(model, &model->active, "completed");
	}
	for (unsigned i = 0; i < MODEL_PASSES_MAX; i++) {
		if (model->aside[i].metadata != NULL) {
			model_end(model, &model->aside[i], "completed");
		}
	}
}

void model_settle(struct model *model)
{
	bool busy = true;

	if (model->speaking) {
		model_caller(model);
	}
	for (unsigned round = 0; busy; round++) {
		ck_assert_uint_lt(round, 100);
		busy = false;
		while (model_read(model) || model_tool_ends(model)) {
			busy = true;
		}
		busy = busy || model->active.metadata != NULL ||
		       model->answered < model->call_count;
		end_all(model);
		client_answers(model);
		rig_wait(&model->rig, 40 * BC_USEC_PER_SEC);
		/* A hold that was named waited for silence: now it asks whether it may start, and sends nothing before. */
		busy = model_tool_ends(model) || busy;
		/* An answer that is owed only waits for whether the provider gives one by itself. */
		busy = busy || model->rig.seen[SESS_UPSTREAM] < model->rig.count[SESS_UPSTREAM] ||
		       model->rig.timers[SESS_TIMER_OWED] >= 0;
	}
}

void model_fini(struct model *model)
{
	rig_fini(&model->rig);
	free(model->active.metadata);
	for (unsigned i = 0; i < MODEL_PASSES_MAX; i++) {
		free(model->aside[i].metadata);
	}
}
