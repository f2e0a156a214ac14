/*
 * The provider: hears the caller by what is marked in the sound, commits turns, makes the calls that the caller meant and the
 * conversation does not hold, answers when there are none left, and looks ahead when asked to: rightly when it has heard all
 * there is (unless the seed says otherwise), by chance wrongly before.
 */
#include "tests/sim/world.h"

#include "proto/b64.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ASIDE_MAX 16
#define FRAME_MS  40
#define SILENT_FRAMES \
	12 /* that end a turn, unless the session asks for fewer; and that end it for the caller */
#define TEXT_MAX  4096
#define SOUND_MAX ((size_t)256 * 1024)

#define DETECTION                                                                                 \
	"'audio':{'input':{'format':{'type':'audio/pcmu'},'turn_detection':{'type':'server_vad'," \
	"'create_response':true,'interrupt_response':true,'silence_duration_ms':%u}}}"

struct response {
	struct sim_conv *conv;
	bool used;
	bool aside;
	bool cancelled;
	bool half; /* an item has begun and is not complete */
	char id[SIM_ID];
	char item[SIM_ID];
	char *metadata;
	struct sim_wish wishes[SIM_WISHES_MAX];
	unsigned count;
	unsigned next;
	bool says;  /* an answer in place of calls */
	bool final; /* … that leaves nothing to do */
	unsigned turn;
	bool whole; /* it has heard the whole turn */
	enum {
		SOUND,
		UNKNOWN_TOOL,
		UNFIT_ARGUMENTS
	} blunder; /* what is wrong with its call */
	struct sim_event *event;
};

struct sim_conv {
	struct sim_caller *caller;
	struct sess *sess;
	bool open;
	bool cut;           /* it did not end by itself */
	bc_usec up_clock;   /* when the newest message reaches the gateway */
	bc_usec down_clock; /* … the provider */
	struct response active;
	struct response aside[ASIDE_MAX];
	bool wants_auto; /* the turn's own response waits for another one's end */
	bool speaking;
	bool heard; /* something */
	unsigned silent;
	unsigned silence; /* frames that end a turn */
	unsigned marker;  /* newest segment heard, by its number in the call; only with speaking */
	struct sim_ears ears;
	unsigned turn;     /* the newest that was committed, from 1; 0: none */
	unsigned segment;  /* of it, the newest committed */
	unsigned answered; /* likewise */
	struct sim_call calls[SIM_CALLS_MAX];
	unsigned call_count;
	unsigned blunders; /* since a turn was said */
	unsigned order;
	unsigned next;
	char last[SIM_ID];
};

/* ---- the line ---- */

struct parcel {
	struct sim_conv *conv;
	size_t len;
	char text[];
};

static struct parcel *pack(struct sim_conv *conv, struct bc_span text)
{
	struct parcel *parcel = malloc(sizeof(*parcel) + text.len + 1);

	BC_BUG_ON(parcel == NULL);
	parcel->conv = conv;
	parcel->len = text.len;
	memcpy(parcel->text, text.ptr, text.len);
	parcel->text[text.len] = '\0';
	return parcel;
}

static void reach_gateway(void *arg)
{
	struct parcel *parcel = arg;

	if (parcel->conv->open) {
		caller_from_provider(parcel->conv, parcel->text);
	}
	free(parcel);
}

static void up(struct sim_conv *conv, const char *format, ...) BC_PRINTF(2, 3);

static void up(struct sim_conv *conv, const char *format, ...)
{
	static char text[TEXT_MAX];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	BC_BUG_ON(len < 0 || len >= TEXT_MAX);
	for (int i = 0; i < len; i++) {
		text[i] = text[i] == '\'' ? '"' : text[i];
	}
	conv->up_clock += conv->up_clock < sim.now ? sim.now - conv->up_clock : 0;
	conv->up_clock += sim_between(0, 4 * SIM_MS);
	TELL("provider: %.160s", text);
	sim_post(conv->up_clock - sim.now, reach_gateway, pack(conv, bc_span(text, (size_t)len)));
}

void conv_says(struct sim_conv *conv, const char *text)
{
	if (conv->open) {
		up(conv, "%s", text);
	}
}

static const char *string_at(const json_t *event, const char *key, const char *member)
{
	const json_t *at = json_object_get(event, key);

	at = member == NULL ? at : json_object_get(at, member);
	return json_is_string(at) ? json_string_value(at) : "";
}

/* ---- what the caller means ---- */

/* As script_segment() of what its caller says. */
static const struct sim_turn *segment_of(const struct sim_conv *conv, unsigned marker,
					 unsigned *ret_turn, unsigned *ret_segment)
{
	return script_segment(&conv->caller->script, marker, ret_turn, ret_segment);
}

/* A call of a context: the conversation's, or one that a pass was told of. */
static bool has_call(const struct sim_call *calls, unsigned count, const struct sim_wish *wish,
		     bool *ret_answered)
{
	for (unsigned i = 0; i < count; i++) {
		if (calls[i].complete && !calls[i].deleted && calls[i].tool == wish->tool &&
		    calls[i].n == wish->n) {
			*ret_answered = calls[i].outputs > 0;
			return true;
		}
	}
	return false;
}

/* What is to be called now; waits: something is under way. */
static unsigned missing(const struct sim_conv *conv, const struct sim_version *meant,
			const struct sim_call *told, unsigned told_count,
			struct sim_wish out[SIM_WISHES_MAX], bool *ret_waits)
{
	unsigned count = 0;

	*ret_waits = false;
	for (unsigned step = 0; step < 2 && count == 0 && !*ret_waits; step++) {
		for (unsigned i = 0; i < meant->count; i++) {
			const struct sim_wish *wish = &meant->wishes[i];
			bool answered;

			if (wish->step != step) {
				continue;
			}
			if (!has_call(conv->calls, conv->call_count, wish, &answered) &&
			    !has_call(told, told_count, wish, &answered)) {
				out[count++] = *wish;
			} else {
				*ret_waits = *ret_waits || !answered;
			}
		}
	}
	return count;
}

/* ---- responses ---- */

static void new_id(struct sim_conv *conv, char id[SIM_ID], const char *prefix)
{
	(void)snprintf(id, SIM_ID, "%s%u", prefix, ++conv->next);
}

static void item_event(struct sim_conv *conv, const char *id, const char *rest, bool done)
{
	char prev[SIM_ID + 2] = "null";

	if (conv->last[0] != '\0') {
		(void)snprintf(prev, sizeof(prev), "'%s'", conv->last);
	}
	up(conv, "{'type':'conversation.item.added','previous_item_id':%s,'item':{'id':'%s',%s}}",
	   prev, id, rest);
	if (done) {
		up(conv,
		   "{'type':'conversation.item.done','previous_item_id':%s,'item':{'id':'%s',%s}}",
		   prev, id, rest);
	}
	(void)snprintf(conv->last, sizeof(conv->last), "%s", id);
	conv->order++;
}

static void begin_auto(struct sim_conv *conv);

static void finish(struct response *response, const char *status)
{
	struct sim_conv *conv = response->conv;

	if (response->half) {
		/* What has begun is left as it is. */
		response->half = false;
		up(conv,
		   "{'type':'response.output_item.done','response_id':'%s','item':{'id':'%s','type':'%s','role':'assistant','status':'incomplete','name':'x','call_id':'%s_id','arguments':''}}",
		   response->id, response->item, response->says ? "message" : "function_call",
		   response->item);
		/* Of what it has begun and not completed, a provider may say no more. */
		if (!response->aside && sim_chance(2) == 0) {
			up(conv, "{'type':'conversation.item.done','item':{'id':'%s'}}",
			   response->item);
		}
	}
	up(conv,
	   "{'type':'response.done','response':{'id':'%s','status':'%s','conversation_id':%s,'metadata':%s,'output':[],'usage':{'total_tokens':10}}}",
	   response->id, status, response->aside ? "null" : "'conv'", response->metadata);
	if (response->event != NULL) {
		sim_forget(response->event);
	}
	free(response->metadata);
	*response = (struct response){.conv = conv};
	if (conv->wants_auto && !conv->active.used) {
		conv->wants_auto = false;
		begin_auto(conv);
	}
}

static void note_named(const struct response *response, const struct sim_wish *wish)
{
	BC_BUG_ON(sim.named_count == SIM_NAMED_MAX);
	sim.named[sim.named_count++] =
		(struct sim_named){.tool = wish->tool,
				   .n = wish->n,
				   .turn = response->turn,
				   .native = !response->aside && response->whole,
				   .whole = response->whole,
				   .at = sim.now};
}

static const char *name_of(const struct response *response, const struct sim_wish *wish)
{
	return response->blunder == UNKNOWN_TOOL ? "gone" : sim_kinds[wish->tool].name;
}

static void call_begins(struct response *response, const struct sim_wish *wish)
{
	struct sim_conv *conv = response->conv;
	const char *name = name_of(response, wish);

	new_id(conv, response->item, "f");
	up(conv,
	   "{'type':'response.output_item.added','response_id':'%s','item':{'id':'%s','type':'function_call','status':'in_progress','name':'%s','call_id':'%s_id'}}",
	   response->id, response->item, name, response->item);
	if (!response->aside) {
		struct sim_call *call = &conv->calls[conv->call_count++];

		BC_BUG_ON(conv->call_count == SIM_CALLS_MAX);
		*call = (struct sim_call){.tool = wish->tool, .n = wish->n, .at = sim.now};
		(void)snprintf(call->item, sizeof(call->item), "%s", response->item);
		(void)snprintf(call->call_id, sizeof(call->call_id), "%s_id", response->item);
		item_event(conv, response->item,
			   "'type':'function_call','status':'in_progress','name':'x'", false);
		call->order = conv->order;
	}
}

static void call_ends(struct response *response, const struct sim_wish *wish)
{
	struct sim_conv *conv = response->conv;
	char n[32];

	(void)snprintf(n, sizeof(n), response->blunder == UNFIT_ARGUMENTS ? "\\'%u\\'" : "%u",
		       wish->n);
	up(conv,
	   "{'type':'response.function_call_arguments.done','response_id':'%s','item_id':'%s','call_id':'%s_id','arguments':'{\\'n\\':%s}'}",
	   response->id, response->item, response->item, n);
	up(conv,
	   "{'type':'response.output_item.done','response_id':'%s','item':{'id':'%s','type':'function_call','status':'completed','name':'%s','call_id':'%s_id','arguments':'{\\'n\\':%s}'}}",
	   response->id, response->item, name_of(response, wish), response->item, n);
	for (unsigned i = 0; !response->aside && i < conv->call_count; i++) {
		if (strcmp(conv->calls[i].item, response->item) == 0) {
			conv->calls[i].complete = true;
		}
	}
	note_named(response, wish);
}

static void speak(struct response *response, bool begins)
{
	struct sim_conv *conv = response->conv;

	if (begins) {
		new_id(conv, response->item, "m");
		up(conv,
		   "{'type':'response.output_item.added','response_id':'%s','item':{'id':'%s','type':'message','role':'assistant','status':'in_progress'}}",
		   response->id, response->item);
		if (!response->aside) {
			item_event(conv, response->item,
				   "'type':'message','role':'assistant','status':'in_progress'",
				   false);
		}
		return;
	}
	if (!response->aside) {
		up(conv,
		   "{'type':'response.output_audio.delta','response_id':'%s','item_id':'%s','delta':'AAAA'}",
		   response->id, response->item);
	}
	up(conv,
	   "{'type':'response.output_item.done','response_id':'%s','item':{'id':'%s','type':'message','role':'assistant','status':'completed'}}",
	   response->id, response->item);
	if (response->final && response->turn == conv->turn) {
		conv->answered = conv->turn;
	}
}

static void go_on(void *arg)
{
	struct response *response = arg;

	response->event = NULL;
	if (!response->conv->open) {
		return;
	}
	if (response->says && response->next == 0) {
		speak(response, !response->half);
		response->next = response->half;
		response->half = !response->half;
	} else if (!response->says && response->next < response->count) {
		const struct sim_wish *wish = &response->wishes[response->next];

		if (response->half) {
			call_ends(response, wish);
			response->next++;
		} else {
			call_begins(response, wish);
		}
		response->half = !response->half;
	} else {
		finish(response, "completed");
		return;
	}
	response->event = sim_at(sim_between(5 * SIM_MS, 120 * SIM_MS), go_on, response);
}

static void begin(struct response *response, const char *metadata, bc_usec thinks)
{
	struct sim_conv *conv = response->conv;

	response->used = true;
	response->metadata = strdup(metadata);
	new_id(conv, response->id, "r");
	up(conv,
	   "{'type':'response.created','response':{'id':'%s','status':'in_progress','conversation_id':%s,'metadata':%s,'output':[]}}",
	   response->id, response->aside ? "null" : "'conv'", response->metadata);
	response->event = sim_at(thinks, go_on, response);
}

/* It calls what cannot be run, and nobody has asked for. */
static void blunder(struct response *response)
{
	struct sim_conv *conv = response->conv;

	response->blunder = sim_chance(2) == 0 ? UNKNOWN_TOOL : UNFIT_ARGUMENTS;
	response->wishes[0] =
		(struct sim_wish){.tool = SIM_LOOK,
				  .n = conv->caller->number * 20000 + conv->turn * 2000 + 1901 +
				       2 * ++conv->blunders};
	response->count = 1;
	sim.stats.blunders++;
}

/* The model sees the conversation: what does it call for the turn?  Returns whether it waits for results. */
static bool see(struct response *response)
{
	const struct sim_conv *conv = response->conv;
	const struct sim_turn *turn;
	bool waits = false;

	response->turn = conv->turn;
	response->whole = true;
	if (conv->turn > 0) {
		turn = &conv->caller->script.turns[conv->turn - 1];
		response->count = missing(conv, &turn->meant[conv->segment], NULL, 0,
					  response->wishes, &waits);
		response->whole = conv->segment + 1 == turn->segments;
	}
	return waits;
}

static void begin_native(struct sim_conv *conv, const char *metadata)
{
	struct response *response = &conv->active;
	bool waits;

	*response = (struct response){.conv = conv};
	waits = see(response);
	if (sim.profile.blunders && conv->turn > 0 && conv->blunders < 2 && sim_chance(4) == 0) {
		blunder(response);
	}
	response->says = response->count == 0;
	response->final = response->says && !waits;
	begin(response, metadata, sim_between(150 * SIM_MS, 700 * SIM_MS));
}

static void begin_auto(struct sim_conv *conv)
{
	begin_native(conv, "null");
}

/* ---- passes ---- */

struct context {
	bool given; /* words of the caller that are not in the conversation */
	bool heard;
	unsigned marker;
	struct sim_call told[SIM_CALLS_MAX];
	unsigned told_count;
};

static void hear_sound(struct context *context, const char *text)
{
	static uint8_t sound[SOUND_MAX + 3];
	size_t len = strlen(text);
	size_t count = 0;

	if (len == 0 || len / 4 * 3 > SOUND_MAX ||
	    b64_decode(sound, bc_span(text, len), &count) != BC_OK) {
		return;
	}
	for (size_t i = 0; i < count; i++) {
		if ((sound[i] & 0x70) == 0) {
			context->heard = true;
			context->marker = sound[i] & 15;
		}
	}
}

static void read_told(struct context *context, const json_t *item)
{
	const char *id = string_at(item, "call_id", NULL);
	json_t *arguments;

	if (strcmp(string_at(item, "type", NULL), "function_call_output") == 0) {
		for (unsigned i = 0; i < context->told_count; i++) {
			context->told[i].outputs += strcmp(context->told[i].call_id, id) == 0;
		}
		return;
	}
	arguments = json_loads(string_at(item, "arguments", NULL), 0, NULL);
	context->told[context->told_count] = (struct sim_call){
		.tool = sim_tool_of(bc_span_str(string_at(item, "name", NULL))),
		.n = (unsigned)json_integer_value(json_object_get(arguments, "n")),
		.complete = true};
	(void)snprintf(context->told[context->told_count].call_id, SIM_ID, "%s", id);
	context->told_count++;
	json_decref(arguments);
}

static void read_context(struct context *context, const json_t *input)
{
	const json_t *item;
	size_t i;

	json_array_foreach(input, i, item) {
		const char *type = string_at(item, "type", NULL);
		const json_t *content = json_array_get(json_object_get(item, "content"), 0);

		context->given =
			context->given || strcmp(string_at(item, "role", NULL), "user") == 0;
		if (strncmp(type, "function_call", 13) == 0) {
			read_told(context, item);
		} else if (strcmp(string_at(content, "type", NULL), "input_audio") == 0) {
			hear_sound(context, string_at(content, "audio", NULL));
		}
	}
}

/* A model that looks ahead may name what follows from results before they are there. */
static void hasten(struct response *response, const struct sim_version *meant,
		   const struct context *context)
{
	const struct sim_conv *conv = response->conv;
	bool answered;

	for (unsigned i = 0; i < meant->count && response->count < SIM_WISHES_MAX; i++) {
		const struct sim_wish *wish = &meant->wishes[i];

		if (wish->step == 1 && !has_call(conv->calls, conv->call_count, wish, &answered) &&
		    !has_call(context->told, context->told_count, wish, &answered)) {
			response->wishes[response->count++] = *wish;
		}
	}
}

/* A model that looks ahead may be wrong. */
static void err(struct response *response)
{
	unsigned kind = sim_chance(4);

	if (kind == 0 && response->count > 0) {
		response->count--;
	} else if (kind == 1 && response->count < SIM_WISHES_MAX) {
		unsigned base =
			(response->turn + 1) * 2000 + response->conv->caller->number * 20000;

		response->wishes[response->count++] =
			(struct sim_wish){.tool = (enum sim_tool)sim_chance(SIM_GATEWAY_TOOLS),
					  .n = base + 1 + 2 * sim_chance(4)};
	} else if (response->count > 0) {
		response->wishes[sim_chance(response->count)].n += 1;
	}
}

/* What the caller would want if he simply agreed: what he will want, half of the time. */
static void foresee(struct response *response)
{
	const struct sim_conv *conv = response->conv;
	const struct sim_script *script = &conv->caller->script;
	bool waits;

	if (conv->turn < script->count && sim_chance(2) == 0) {
		response->count = missing(conv, script_final(&script->turns[conv->turn]), NULL, 0,
					  response->wishes, &waits);
	}
	if (sim_chance(4) == 0) {
		response->turn = conv->turn - (conv->turn > 0);
		err(response);
		response->turn = 0;
	}
}

static void begin_pass(struct sim_conv *conv, const json_t *asked, const char *metadata)
{
	struct context context = {.heard = false};
	struct response *response = NULL;
	const struct sim_turn *turn;
	unsigned segment;
	bool waits;

	for (unsigned i = 0; i < ASIDE_MAX && response == NULL; i++) {
		response = conv->aside[i].used ? NULL : &conv->aside[i];
	}
	BC_BUG_ON(response == NULL);
	*response = (struct response){.conv = conv, .aside = true};
	sim.stats.passes++;
	if (strcmp(string_at(asked, "metadata", "bc_v"), "prepare") == 0) {
		foresee(response);
		response->says = response->count == 0;
		begin(response, metadata, sim_between(60 * SIM_MS, 450 * SIM_MS));
		return;
	}
	read_context(&context, json_object_get(asked, "input"));
	if (!context.given) {
		see(response);
		if (sim.profile.strays && sim_chance(4) == 0) {
			response->turn--;
			err(response);
			response->turn++;
		}
		response->says = response->count == 0;
		begin(response, metadata, sim_between(60 * SIM_MS, 450 * SIM_MS));
		return;
	}
	turn = context.heard ? segment_of(conv, context.marker, &response->turn, &segment) : NULL;
	if (turn != NULL) {
		response->count = missing(conv, &turn->meant[segment], context.told,
					  context.told_count, response->wishes, &waits);
		response->whole = segment + 1 == turn->segments;
		response->turn++;
		if (sim.profile.variant != 0 && !response->whole && response->count > 0 &&
		    response->wishes[0].step == 0 && sim_chance(3) == 0) {
			hasten(response, &turn->meant[segment], &context);
		}
	}
	if ((!response->whole || sim.profile.strays) && sim_chance(4) == 0) {
		response->turn -= response->turn > 0;
		err(response);
		response->turn += turn != NULL;
	}
	response->says = response->count == 0;
	begin(response, metadata, sim_between(60 * SIM_MS, 450 * SIM_MS));
}

/* ---- what the gateway asks ---- */

static void refuse(struct sim_conv *conv, const char *code, const json_t *event)
{
	up(conv,
	   "{'type':'error','error':{'type':'invalid_request_error','code':'%s','message':'no','param':null,'event_id':'%s'}}",
	   code, string_at(event, "event_id", NULL));
}

static void on_create(struct sim_conv *conv, const json_t *event)
{
	const json_t *asked = json_object_get(event, "response");
	char *metadata = json_dumps(json_object_get(asked, "metadata"), JSON_ENCODE_ANY);
	const char *text = metadata == NULL ? "null" : metadata;

	if (strcmp(string_at(asked, "conversation", NULL), "none") == 0) {
		begin_pass(conv, asked, text);
	} else if (conv->active.used) {
		refuse(conv, "conversation_already_has_active_response", event);
	} else {
		begin_native(conv, text);
	}
	free(metadata);
}

static void on_cancel(struct sim_conv *conv, const json_t *event)
{
	const char *id = string_at(event, "response_id", NULL);

	if (conv->active.used && (*id == '\0' || strcmp(conv->active.id, id) == 0)) {
		finish(&conv->active, "cancelled");
		return;
	}
	for (unsigned i = 0; *id != '\0' && i < ASIDE_MAX; i++) {
		if (conv->aside[i].used && strcmp(conv->aside[i].id, id) == 0) {
			finish(&conv->aside[i], "cancelled");
			return;
		}
	}
	refuse(conv, "response_cancel_not_active", event);
}

static void on_output(struct sim_conv *conv, const json_t *item)
{
	const char *id = string_at(item, "call_id", NULL);
	json_t *output = json_loads(string_at(item, "output", NULL), 0, NULL);
	struct sim_call *call = NULL;

	for (unsigned i = 0; i < conv->call_count; i++) {
		call = strcmp(conv->calls[i].call_id, id) == 0 ? &conv->calls[i] : call;
	}
	if (call == NULL || !call->complete || call->deleted) {
		sim_fail("an output for %s, which is no complete call of the conversation", id);
	} else if (++call->outputs > 1) {
		sim_fail("%s has two outputs", id);
	} else {
		call->ok = json_object_get(output, "n") != NULL;
		call->out_n = (unsigned)json_integer_value(json_object_get(output, "n"));
		call->out_ref = (unsigned)json_integer_value(json_object_get(output, "ref"));
		call->out_version = (unsigned)json_integer_value(json_object_get(output, "v"));
		call->answered = sim.now;
		call->out_order = conv->order + 1;
	}
	json_decref(output);
}

/* A turn is over. */
static void take_turn(struct sim_conv *conv)
{
	unsigned turn = 0;
	unsigned segment = 0;

	if (segment_of(conv, conv->marker, &turn, &segment) != NULL) {
		conv->turn = turn + 1;
		conv->blunders = 0;
		conv->segment = segment;
		conv->answered = conv->answered > turn ? turn : conv->answered;
	}
	TELL("=== turn %u is committed", conv->turn);
}

/* The caller has said all, and has been silent for as long as he takes for the end of a turn; or he has typed it. */
static void note_end(struct sim_conv *conv)
{
	unsigned turn;
	unsigned segment;
	const struct sim_turn *spoken = segment_of(conv, conv->marker, &turn, &segment);

	if (spoken != NULL && segment + 1 == spoken->segments &&
	    conv->caller->committed[turn] == 0) {
		conv->caller->committed[turn] = sim.now;
	}
}

static void on_typed(struct sim_conv *conv, const json_t *item)
{
	const char *words =
		string_at(json_array_get(json_object_get(item, "content"), 0), "text", NULL);
	const char *last = strrchr(words, 's');
	char rest[256];
	char id[SIM_ID];

	if (last == NULL) {
		return;
	}
	conv->marker = (unsigned)strtoul(last + 1, NULL, 10);
	conv->heard = true;
	sim.stats.typed++;
	(void)snprintf(id, sizeof(id), "%s", string_at(item, "id", NULL));
	if (id[0] == '\0') {
		new_id(conv, id, "t");
	}
	take_turn(conv);
	note_end(conv);
	(void)snprintf(
		rest, sizeof(rest),
		"'type':'message','role':'user','content':[{'type':'input_text','text':'%s'}]",
		words);
	item_event(conv, id, rest, true);
}

static void on_item(struct sim_conv *conv, const json_t *item)
{
	const char *type = string_at(item, "type", NULL);
	const char *id = string_at(item, "id", NULL);
	json_t *arguments;
	struct sim_call *call;

	if (strcmp(type, "function_call_output") == 0) {
		on_output(conv, item);
		item_event(conv, id, "'type':'function_call_output'", true);
		return;
	}
	if (strcmp(type, "function_call") == 0) {
		call = &conv->calls[conv->call_count++];
		BC_BUG_ON(conv->call_count == SIM_CALLS_MAX);
		arguments = json_loads(string_at(item, "arguments", NULL), 0, NULL);
		*call = (struct sim_call){
			.tool = sim_tool_of(bc_span_str(string_at(item, "name", NULL))),
			.n = (unsigned)json_integer_value(json_object_get(arguments, "n")),
			.complete = true,
			.put_in = true,
			.at = sim.now};
		(void)snprintf(call->item, sizeof(call->item), "%s", id);
		(void)snprintf(call->call_id, sizeof(call->call_id), "%s",
			       string_at(item, "call_id", NULL));
		json_decref(arguments);
		item_event(conv, id, "'type':'function_call','status':'completed','name':'x'",
			   true);
		call->order = conv->order;
		return;
	}
	if (strcmp(string_at(item, "role", NULL), "user") == 0) {
		on_typed(conv, item);
		return;
	}
	item_event(conv, id, "'type':'message','role':'system'", true);
}

static void on_delete(struct sim_conv *conv, const char *id)
{
	for (unsigned i = 0; i < conv->call_count; i++) {
		conv->calls[i].deleted =
			conv->calls[i].deleted || strcmp(conv->calls[i].item, id) == 0;
	}
	up(conv, "{'type':'conversation.item.deleted','item_id':'%s'}", id);
}

/* ---- hearing ---- */

static void end_turn(struct sim_conv *conv)
{
	char prev[SIM_ID + 2] = "null";
	char id[SIM_ID];

	conv->speaking = false;
	take_turn(conv);
	if (conv->ears.item[0] != '\0') {
		memcpy(id, conv->ears.item, SIM_ID);
	} else {
		new_id(conv, id, "u");
	}
	if (conv->last[0] != '\0') {
		(void)snprintf(prev, sizeof(prev), "'%s'", conv->last);
	}
	up(conv, "{'type':'input_audio_buffer.speech_stopped','item_id':'%s'}", id);
	up(conv, "{'type':'input_audio_buffer.committed','item_id':'%s','previous_item_id':%s}", id,
	   prev);
	item_event(conv, id, "'type':'message','role':'user'", true);
	if (conv->ears.item[0] != '\0') {
		ears_complete(conv, &conv->ears, conv->marker);
		conv->ears.item[0] = '\0';
	}
	if (conv->active.used) {
		conv->wants_auto = true;
	} else {
		begin_auto(conv);
	}
}

static void begin_item(struct sim_conv *conv)
{
	conv->ears.first = conv->marker;
	if (conv->ears.open) {
		new_id(conv, conv->ears.item, "u");
	}
}

static void hear(struct sim_conv *conv, const char *text)
{
	static const char key[] = "\"audio\":\"";
	const char *at = strstr(text, key);
	uint8_t byte[8] = {0xff};
	size_t count = 0;

	if (at == NULL || b64_decode(byte, bc_span(at + strlen(key), 4), &count) != BC_OK) {
		return;
	}
	if ((byte[0] & 0x70) == 0) {
		bool goes_on = conv->speaking && conv->marker == (byte[0] & 15);

		conv->marker = byte[0] & 15;
		conv->silent = 0;
		if (!conv->speaking) {
			conv->speaking = true;
			begin_item(conv);
			up(conv, "{'type':'input_audio_buffer.speech_started','item_id':'%s'}",
			   conv->ears.item[0] == '\0' ? "x" : conv->ears.item);
			if (conv->active.used) {
				finish(&conv->active, "cancelled");
			}
		}
		conv->heard = true;
		if (!goes_on && conv->ears.item[0] != '\0') {
			ears_hear(conv, &conv->ears, conv->marker);
		}
		return;
	}
	conv->silent++;
	if (conv->silent == SILENT_FRAMES && conv->heard) {
		note_end(conv);
	}
	if (conv->speaking && conv->silent == conv->silence) {
		end_turn(conv);
	}
}

static void on_update(struct sim_conv *conv, const json_t *event)
{
	const json_t *session = json_object_get(event, "session");
	const json_t *input = json_object_get(json_object_get(session, "audio"), "input");
	const json_t *silence =
		json_object_get(json_object_get(input, "turn_detection"), "silence_duration_ms");

	if (json_is_object(json_object_get(input, "transcription"))) {
		if (sim_chance(20) == 0) {
			refuse(conv, "invalid_value", event);
			return;
		}
		conv->ears.open = true;
	}
	if (json_is_integer(silence)) {
		conv->silence = (unsigned)json_integer_value(silence) / FRAME_MS;
	}
	up(conv, "{'type':'session.updated','session':{'tools':[]," DETECTION "}}",
	   conv->silence * FRAME_MS);
}

static void reach_provider(void *arg)
{
	struct parcel *parcel = arg;
	struct sim_conv *conv = parcel->conv;
	const char *type;
	json_t *event;

	if (!conv->open) {
		free(parcel);
		return;
	}
	if (strstr(parcel->text, "input_audio_buffer.append") != NULL) {
		hear(conv, parcel->text);
		free(parcel);
		return;
	}
	TELL("gateway: %.200s", parcel->text);
	event = json_loadb(parcel->text, parcel->len, 0, NULL);
	free(parcel);
	type = string_at(event, "type", NULL);
	if (strcmp(type, "session.update") == 0) {
		on_update(conv, event);
	} else if (strcmp(type, "response.create") == 0) {
		on_create(conv, event);
	} else if (strcmp(type, "response.cancel") == 0) {
		on_cancel(conv, event);
	} else if (strcmp(type, "conversation.item.create") == 0) {
		on_item(conv, json_object_get(event, "item"));
	} else if (strcmp(type, "conversation.item.delete") == 0) {
		on_delete(conv, string_at(event, "item_id", NULL));
	}
	json_decref(event);
}

void conv_send(struct sim_conv *conv, struct bc_span payload)
{
	conv->down_clock += conv->down_clock < sim.now ? sim.now - conv->down_clock : 0;
	conv->down_clock += sim_between(0, 4 * SIM_MS);
	sim_post(conv->down_clock - sim.now, reach_provider, pack(conv, payload));
}

/* ---- life ---- */

struct sim_conv *conv_new(struct sim_caller *caller, struct sess *sess)
{
	struct sim_conv *conv = calloc(1, sizeof(*conv));

	BC_BUG_ON(conv == NULL || sim.conv_count == SIM_CONVS_MAX);
	conv->caller = caller;
	conv->sess = sess;
	conv->open = true;
	conv->active.conv = conv;
	for (unsigned i = 0; i < ASIDE_MAX; i++) {
		conv->aside[i].conv = conv;
	}
	conv->silence = SILENT_FRAMES;
	sim.convs[sim.conv_count++] = conv;
	up(conv, "{'type':'session.created','session':{'tools':[]," DETECTION "}}",
	   conv->silence * FRAME_MS);
	return conv;
}

static void stop(struct response *response)
{
	if (response->event != NULL) {
		sim_forget(response->event);
	}
	free(response->metadata);
	*response = (struct response){.conv = response->conv};
}

void conv_close(struct sim_conv *conv)
{
	conv->open = false;
	stop(&conv->active);
	for (unsigned i = 0; i < ASIDE_MAX; i++) {
		stop(&conv->aside[i]);
	}
}

struct sim_conv *conv_free(struct sim_conv *conv)
{
	free(conv);
	return NULL;
}

bool conv_answered(const struct sim_conv *conv, unsigned turn)
{
	return conv->answered > turn;
}

bool conv_is_open(const struct sim_conv *conv)
{
	return conv->open;
}

unsigned conv_calls(const struct sim_conv *conv, const struct sim_call **ret)
{
	*ret = conv->calls;
	return conv->call_count;
}

struct sim_caller *conv_caller(const struct sim_conv *conv)
{
	return conv->caller;
}

bool conv_was_cut(const struct sim_conv *conv)
{
	return conv->cut;
}

void conv_set_cut(struct sim_conv *conv)
{
	conv->cut = true;
}
