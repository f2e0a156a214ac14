/* Callers: they speak their turns in frames of sound, listen for the answer, hang up; and the sessions they talk to. */
#include "tests/sim/world.h"

#include "daemon/config/config.h"
#include "daemon/loop/loop.h"
#include "daemon/spec/admission.h"
#include "daemon/spec/pattern.h"
#include "daemon/tools/host.h"
#include "proto/b64.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define FRAME       (40 * SIM_MS)
#define FRAME_BYTES 320
#define LEAD        3
#define TAIL        30 /* silent frames behind a turn */
#define MARKERS     16

struct seat_timer {
	struct seat *seat;
	enum sess_timer which;
	struct loop_timer *timer;
};

/* One session and what it sees of the world. */
struct seat {
	LIST_ENTRY(seat) link;
	struct sim_caller *caller;
	struct sim_conv *conv;
	struct sess *sess;
	struct sim_client *client;   /* NULL: it only listens */
	struct sim_mind *mind;       /* NULL: there is no reasoner */
	unsigned revision;           /* of the words the client has told */
	struct pattern_trail *trail; /* NULL: no call has ended well */
	bool ended;
	struct seat_timer timers[SESS_TIMER__COUNT];
	struct sim_event *closing[2];
	struct sim_event *drop;
	struct sim_event *freeing;
};

static LIST_HEAD(, seat) seats = LIST_HEAD_INITIALIZER(seats);
static struct sim_event *ticks[SIM_CALLERS_MAX];
static unsigned ids;

static void tick(void *arg);

static void tick_in(struct sim_caller *caller, bc_usec delay)
{
	if (ticks[caller->number] != NULL) {
		sim_forget(ticks[caller->number]);
	}
	ticks[caller->number] = sim_at(delay, tick, caller);
}

/* ---- what a session can do ---- */

static bc_usec world_now(void *world)
{
	(void)world;
	return sim.now;
}

static bool world_send(void *world, enum sess_side side, enum ws_opcode opcode,
		       struct bc_span payload)
{
	struct seat *seat = world;

	(void)opcode;
	if (side == SESS_UPSTREAM && seat->conv != NULL && !sim.dead) {
		if (seat->mind != NULL) {
			mind_judge(seat->mind, payload);
		}
		conv_send(seat->conv, payload);
	}
	if (side == SESS_CLIENT && seat->client != NULL && !sim.dead) {
		client_hear(seat->client, payload);
	}
	return false;
}

static void world_read(void *world, enum sess_side side, bool on)
{
	(void)world;
	(void)side;
	(void)on;
}

static bool world_charge(void *world, size_t bytes)
{
	(void)world;
	(void)bytes;
	return true;
}

static void client_closed(void *arg)
{
	struct seat *seat = arg;

	seat->closing[SESS_CLIENT] = NULL;
	if (!seat->ended) {
		sess_closed(seat->sess, SESS_CLIENT, BC_OK, WS_CLOSE_NORMAL, BC_SPAN_LIT(""));
	}
}

static void upstream_closed(void *arg)
{
	struct seat *seat = arg;

	seat->closing[SESS_UPSTREAM] = NULL;
	conv_close(seat->conv);
	if (!seat->ended) {
		sess_closed(seat->sess, SESS_UPSTREAM, BC_E_CLOSED, 1006, BC_SPAN_LIT(""));
	}
}

static void close_soon(struct seat *seat, enum sess_side side)
{
	if (seat->closing[side] == NULL && !sim.dead) {
		seat->closing[side] = sim_at(
			2 * SIM_MS, side == SESS_CLIENT ? client_closed : upstream_closed, seat);
	}
}

static void world_close(void *world, enum sess_side side, uint16_t code, struct bc_span reason)
{
	(void)code;
	(void)reason;
	close_soon(world, side);
}

static void fire(void *arg)
{
	struct seat_timer *timer = arg;

	if (!timer->seat->ended) {
		sess_timer_fired(timer->seat->sess, timer->which);
	}
}

static void world_timer(void *world, enum sess_timer which, bc_usec delay)
{
	struct seat *seat = world;
	struct seat_timer *timer = &seat->timers[which];

	if (timer->timer == NULL) {
		timer->seat = seat;
		timer->which = which;
		timer->timer = loop_timer_new(NULL, fire, timer);
	}
	if (delay < 0) {
		loop_timer_stop(timer->timer);
	} else {
		loop_timer_start(timer->timer, delay);
	}
}

/* For the story: which call is which. */
static struct {
	const struct tool_call *call;
	char name[48];
} runs[64];
static unsigned run_count;

static const char *name_of(const struct tool_call *call)
{
	for (unsigned i = run_count; i > 0 && i + BC_ARRAY_LEN(runs) > run_count; i--) {
		if (runs[(i - 1) % BC_ARRAY_LEN(runs)].call == call) {
			return runs[(i - 1) % BC_ARRAY_LEN(runs)].name;
		}
	}
	return "a call";
}

static enum bc_err world_tool_run(void *world, const struct tool_request *request,
				  struct tool_call **ret)
{
	enum bc_err err;

	(void)world;
	sim.stats.guesses += request->speculative;
	if (sim.profile.tagged && request->speculative &&
	    request->tool->effect != CFG_EFFECT_READ) {
		sim_fail("%s %.*s is run on a guess, and only a reasoner can have named it",
			 request->tool->name, BC_SPAN_ARG(request->arguments));
	}
	TELL("run %s %.*s%s", request->tool->name, BC_SPAN_ARG(request->arguments),
	     request->speculative ? ", a guess" : "");
	err = tool_run(process_tools(), &process_cfg()->tools, request, ret);
	if (err == BC_OK) {
		unsigned at = run_count++ % BC_ARRAY_LEN(runs);

		runs[at].call = *ret;
		(void)snprintf(runs[at].name, sizeof(runs[at].name), "%s %.*s", request->tool->name,
			       BC_SPAN_ARG(request->arguments));
	}
	return err;
}

static void world_tool_cancel(void *world, struct tool_call *call)
{
	(void)world;
	TELL("drop %s", name_of(call));
	tool_cancel(call);
}

static void world_tool_settle(void *world, struct tool_call *call, enum jrn_settlement how)
{
	(void)world;
	TELL("settle %s: %s", name_of(call), jrn_settlement_name(how));
	tool_settle(call, how);
}

static void world_tool_commit(void *world, struct tool_call *call)
{
	(void)world;
	TELL("take %s", name_of(call));
	sim.stats.taken++;
	tool_commit(call);
}

static const struct tool_result *world_tool_result(void *world, const struct tool_call *call)
{
	(void)world;
	return tool_result(call);
}

static void world_changed(void *world, const char *tag)
{
	(void)world;
	session_tag_changed(tag);
}

static bool world_reason_start(void *world, struct bc_span body)
{
	struct seat *seat = world;

	return seat->mind != NULL && !sim.dead && mind_start(seat->mind, body);
}

static void world_reason_cancel(void *world)
{
	struct seat *seat = world;

	if (seat->mind != NULL) {
		mind_cancel(seat->mind);
	}
}

static struct admission_ask asks(const struct cfg_tool *tool, enum spec_trigger trigger)
{
	return (struct admission_ask){.conf = &process_cfg()->speculation,
				      .tool = tool,
				      .trigger = trigger,
				      .key = "tester",
				      .now = sim.now};
}

static enum admission_refusal world_admit(void *world, const struct cfg_tool *tool,
					  enum spec_trigger trigger)
{
	struct admission_ask ask = asks(tool, trigger);

	(void)world;
	return sim.profile.variant == 0 ? ADMISSION_GRANTED
					: admission_ask(process_admission(), &ask);
}

static void world_learn(void *world, const struct admission_event *event)
{
	struct admission_ask from = asks(event->tool, event->trigger);

	(void)world;
	admission_learn(process_admission(), &from, event);
}

static void world_observe(void *world, const struct pattern_call *call)
{
	struct seat *seat = world;

	if (seat->trail == NULL) {
		seat->trail = pattern_trail_new();
		BC_BUG_ON(seat->trail == NULL);
	}
	pattern_observe(process_patterns(), seat->trail, call);
}

static unsigned world_predict(void *world, const struct pattern_call *call, uint64_t turn,
			      struct pattern_guess out[PATTERN_GUESSES_MAX])
{
	struct seat *seat = world;

	if (sim.profile.variant == 0 || (call == NULL && seat->trail == NULL)) {
		return 0;
	}
	return call != NULL ? pattern_predict(process_patterns(), call, out)
			    : pattern_predict_turn(process_patterns(), seat->trail, turn, out);
}

static void world_warm(void *world, const struct cfg_tool *tool)
{
	(void)world;
	tool_warm(process_tools(), tool);
}

static void seat_free(struct seat *seat)
{
	LIST_REMOVE(seat, link);
	seat->sess = sess_free(seat->sess);
	seat->client = client_free(seat->client);
	seat->mind = mind_free(seat->mind);
	seat->trail = pattern_trail_free(seat->trail);
	for (unsigned i = 0; i < SESS_TIMER__COUNT; i++) {
		(void)loop_timer_free(seat->timers[i].timer);
	}
	for (unsigned i = 0; i < 2; i++) {
		if (seat->closing[i] != NULL) {
			sim_forget(seat->closing[i]);
		}
	}
	if (seat->drop != NULL) {
		sim_forget(seat->drop);
	}
	if (seat->freeing != NULL) {
		sim_forget(seat->freeing);
	}
	if (seat->conv != NULL) {
		conv_close(seat->conv);
		seat->caller->conv = NULL;
	}
	free(seat);
}

static void free_later(void *arg)
{
	struct seat *seat = arg;
	struct sim_caller *caller = seat->caller;

	seat->freeing = NULL;
	seat_free(seat);
	if (caller->state != SIM_GONE) {
		/* A turn that was begun is not said again. */
		caller->turn += caller->state != SIM_WAITING;
		caller->state = SIM_WAITING;
		tick_in(caller, sim_between(200 * SIM_MS, 2 * SIM_SEC));
	}
}

static void world_ended(void *world)
{
	struct seat *seat = world;

	seat->ended = true;
	TELL("the session of caller %u has ended", seat->caller->number);
	seat->freeing = sim_at(0, free_later, seat);
}

static const struct sess_world world_ops = {.now = world_now,
					    .send = world_send,
					    .read = world_read,
					    .charge = world_charge,
					    .close = world_close,
					    .timer = world_timer,
					    .tool_run = world_tool_run,
					    .tool_cancel = world_tool_cancel,
					    .tool_settle = world_tool_settle,
					    .tool_commit = world_tool_commit,
					    .tool_result = world_tool_result,
					    .changed = world_changed,
					    .reason_start = world_reason_start,
					    .reason_cancel = world_reason_cancel,
					    .admit = world_admit,
					    .learn = world_learn,
					    .observe = world_observe,
					    .predict = world_predict,
					    .warm = world_warm,
					    .ended = world_ended};

/* ---- connections ---- */

static void hang_up(void *arg)
{
	struct seat *seat = arg;

	seat->drop = NULL;
	sim.stats.drops++;
	conv_set_cut(seat->conv);
	sim_cut(sim_chance(2) == 0 ? "the client hangs up" : "the line is cut");
	close_soon(seat, sim_chance(2) == 0 ? SESS_CLIENT : SESS_UPSTREAM);
}

static void call_up(struct sim_caller *caller)
{
	struct seat *seat = calloc(1, sizeof(*seat));
	char id[28];
	struct sess_conf conf = {.cfg = process_cfg(),
				 .upstream = cfg_upstream_find(process_cfg(), NULL),
				 .tools = process_toolset(),
				 .id = id,
				 .client = "tester"};

	BC_BUG_ON(seat == NULL);
	(void)snprintf(id, sizeof(id), "bc_s_sim%u", ++ids);
	seat->caller = caller;
	LIST_INSERT_HEAD(&seats, seat, link);
	BC_BUG_ON(sess_new(&conf, &world_ops, seat, &seat->sess) != BC_OK);
	TELL("caller %u is connected as %s", caller->number, id);
	seat->conv = conv_new(caller, seat->sess);
	caller->conv = seat->conv;
	if (sim.profile.tagged) {
		seat->mind = mind_new(caller, seat->sess);
	}
	if (sim.profile.tagged || variant_has(sim.profile.variant, SIM_CLIENT_TOOLS)) {
		seat->client = client_new(seat->conv);
	}
	sess_upstream_open(seat->sess);
	if (sim.profile.drops && sim_chance(2) == 0) {
		seat->drop = sim_at(sim_between(300 * SIM_MS, 9 * SIM_SEC), hang_up, seat);
	}
}

static struct seat *seat_of(const struct sim_caller *caller)
{
	struct seat *seat;

	LIST_FOREACH(seat, &seats, link)
	{
		if (seat->caller == caller && !seat->ended) {
			return seat;
		}
	}
	return NULL;
}

void caller_from_provider(struct sim_conv *conv, const char *text)
{
	struct seat *seat;

	LIST_FOREACH(seat, &seats, link)
	{
		if (seat->conv == conv && !seat->ended) {
			sess_message(seat->sess, SESS_UPSTREAM, WS_TEXT, bc_span_str(text));
			return;
		}
	}
}

void caller_from_client(struct sim_conv *conv, const char *text)
{
	struct seat *seat;

	LIST_FOREACH(seat, &seats, link)
	{
		if (seat->conv == conv && !seat->ended && seat->closing[SESS_CLIENT] == NULL) {
			TELL("client: %.200s", text);
			sess_message(seat->sess, SESS_CLIENT, WS_TEXT, bc_span_str(text));
			return;
		}
	}
}

struct change {
	struct tool_host *host;
	char tag[32];
};

static void tell_change(void *arg)
{
	struct change *change = arg;
	struct seat *seat;
	struct seat *next;

	for (seat = LIST_FIRST(&seats); seat != NULL && change->host == process_tools();
	     seat = next) {
		next = LIST_NEXT(seat, link);
		if (!seat->ended) {
			sess_tag_changed(seat->sess, change->tag);
		}
	}
	free(change);
}

void session_tag_changed(const char *tag)
{
	struct change *change = malloc(sizeof(*change));

	BC_BUG_ON(change == NULL);
	change->host = process_tools();
	(void)snprintf(change->tag, sizeof(change->tag), "%s", tag);
	sim_post(0, tell_change, change);
}

void sessions_free(void)
{
	while (!LIST_EMPTY(&seats)) {
		struct seat *seat = LIST_FIRST(&seats);

		if (seat->conv != NULL) {
			conv_set_cut(seat->conv);
		}
		seat_free(seat);
	}
}

void callers_crash(void)
{
	sessions_free();
	for (unsigned i = 0; i < sim.caller_count; i++) {
		struct sim_caller *caller = &sim.callers[i];

		if (caller->state != SIM_GONE) {
			caller->turn += caller->state != SIM_WAITING;
			caller->state = SIM_WAITING;
			tick_in(caller, sim_between(200 * SIM_MS, 3 * SIM_SEC));
		}
	}
}

/* ---- speaking ---- */

static const char *frame_text(unsigned marker)
{
	static char texts[MARKERS + 1][64 + B64_ENCODED_LEN(FRAME_BYTES)];
	static const char head[] = "{\"type\":\"input_audio_buffer.append\",\"audio\":\"";
	uint8_t bytes[FRAME_BYTES];
	char *text = texts[marker];
	size_t len;

	if (text[0] == '\0') {
		for (unsigned i = 0; i < FRAME_BYTES; i++) {
			bytes[i] = (uint8_t)(marker == MARKERS
						     ? 0xff
						     : (i / 10 % 2 == 0 ? 0x80 : 0) + marker);
		}
		memcpy(text, head, sizeof(head) - 1);
		len = sizeof(head) - 1;
		len += b64_encode(text + len, bytes, FRAME_BYTES);
		memcpy(text + len, "\"}", 3);
	}
	return text;
}

static void utter(struct sim_caller *caller, unsigned marker)
{
	struct seat *seat = seat_of(caller);

	if (seat != NULL) {
		sess_message(seat->sess, SESS_CLIENT, WS_TEXT, bc_span_str(frame_text(marker)));
	}
}

/* The words of the turn up to a segment, in quotes of an event's member. */
static void put_words(const struct sim_caller *caller, unsigned segment, char *out, size_t size)
{
	const struct sim_turn *turn = &caller->script.turns[caller->turn];
	unsigned marker = script_marker(&caller->script, caller->turn);
	size_t len = 0;

	for (unsigned i = 0; i <= segment; i++) {
		/* A recogniser of the client's may be as wrong as the provider's. */
		bool misheard = !turn->typed && sim_chance(8) == 0;

		len += (size_t)(misheard ? snprintf(out + len, size - len, SIM_WORD_MISHEARD,
						    marker + i)
					 : snprintf(out + len, size - len, SIM_WORD, marker + i));
	}
}

static void tell_words(struct sim_caller *caller, unsigned segment)
{
	const struct sim_turn *turn = &caller->script.turns[caller->turn];
	struct seat *seat = seat_of(caller);
	char words[128];
	char text[256];

	if (seat == NULL || !turn->told) {
		return;
	}
	put_words(caller, segment, words, sizeof(words));
	(void)snprintf(text, sizeof(text),
		       "{\"type\":\"backchannel.input_text.%s\",\"revision\":%u,\"text\":\"%s\"}",
		       segment + 1 == turn->segments && sim_chance(2) == 0 ? "final" : "partial",
		       ++seat->revision, words);
	caller_from_client(seat->conv, text);
}

/* The end of a turn that is typed. */
static void send_words(struct sim_caller *caller)
{
	const struct sim_turn *turn = &caller->script.turns[caller->turn];
	struct seat *seat = seat_of(caller);
	char words[128];
	char text[512];

	if (seat == NULL) {
		return;
	}
	put_words(caller, turn->segments - 1, words, sizeof(words));
	(void)snprintf(
		text, sizeof(text),
		"{\"type\":\"conversation.item.create\",\"item\":{\"type\":\"message\",\"role\":\"user\","
		"\"content\":[{\"type\":\"input_text\",\"text\":\"%s\"}]}}",
		words);
	caller_from_client(seat->conv, text);
	if (seat_of(caller) == seat) {
		client_ask(seat->client, sim_between(0, 900 * SIM_MS));
	}
}

/* Nothing is heard: the keys are struck in the time in which he would have spoken. */
static bool type(struct sim_caller *caller)
{
	const struct sim_turn *turn = &caller->script.turns[caller->turn];
	unsigned frame = caller->frame++;

	for (unsigned i = 0; i < turn->segments; i++) {
		if (frame == turn->voiced[i]) {
			tell_words(caller, i);
		}
		if (frame < turn->voiced[i] + turn->silent[i]) {
			return true;
		}
		frame -= turn->voiced[i] + turn->silent[i];
	}
	send_words(caller);
	return false;
}

/* The next frame of the turn; false: it is over. */
static bool speak(struct sim_caller *caller)
{
	const struct sim_turn *turn = &caller->script.turns[caller->turn];
	unsigned frame = caller->frame++;
	unsigned marker = script_marker(&caller->script, caller->turn);

	if (frame < LEAD) {
		utter(caller, MARKERS);
		return true;
	}
	frame -= LEAD;
	for (unsigned i = 0; i < turn->segments; i++) {
		if (frame < turn->voiced[i]) {
			utter(caller, marker + i);
			return true;
		}
		frame -= turn->voiced[i];
		if (frame == 0) {
			tell_words(caller, i);
		}
		if (frame < turn->silent[i]) {
			utter(caller, MARKERS);
			return true;
		}
		frame -= turn->silent[i];
	}
	utter(caller, MARKERS);
	return frame < TAIL;
}

static void begin_turn(struct sim_caller *caller)
{
	if (caller->turn >= caller->script.count) {
		caller->state = SIM_GONE;
		if (caller->conv != NULL) {
			close_soon(seat_of(caller), SESS_CLIENT);
		}
		return;
	}
	TELL("caller %u begins turn %u", caller->number, caller->turn + 1);
	caller->state = SIM_SPEAKING;
	caller->frame = 0;
	tick_in(caller, FRAME);
}

static void listen(struct sim_caller *caller)
{
	const struct sim_turn *turn = &caller->script.turns[caller->turn];
	bool barges = sim.profile.interrupts && turn->barge;
	bool answered = caller->conv != NULL && conv_answered(caller->conv, caller->turn);

	if (answered || sim.now >= caller->patience ||
	    (barges && sim.now >= caller->patience - 20 * SIM_SEC + turn->pause)) {
		if (!answered && !barges) {
			TELL("caller %u has waited long enough", caller->number);
		}
		caller->turn++;
		caller->state = SIM_WAITING;
		if (!answered && caller->conv != NULL && caller->turn == caller->script.count) {
			conv_set_cut(caller->conv); /* he does not wait for what is under way */
		}
		tick_in(caller,
			caller->turn < caller->script.count ? turn->pause / 4 : 3 * SIM_SEC);
		return;
	}
	if (sim.profile.interrupts && sim_chance(150) == 0 && seat_of(caller) != NULL) {
		sess_message(seat_of(caller)->sess, SESS_CLIENT, WS_TEXT,
			     BC_SPAN_LIT("{\"type\":\"response.cancel\",\"event_id\":\"x\"}"));
	}
	tick_in(caller, 50 * SIM_MS);
}

static void tick(void *arg)
{
	struct sim_caller *caller = arg;

	ticks[caller->number] = NULL;
	switch (caller->state) {
	case SIM_WAITING:
		if (caller->turn < caller->script.count && seat_of(caller) == NULL) {
			if (process_lives()) {
				call_up(caller);
			}
			tick_in(caller, 300 * SIM_MS);
			return;
		}
		begin_turn(caller);
		return;
	case SIM_SPEAKING:
		if (caller->script.turns[caller->turn].typed ? type(caller) : speak(caller)) {
			tick_in(caller, FRAME);
			return;
		}
		caller->state = SIM_LISTENING;
		caller->patience = sim.now + 20 * SIM_SEC;
		tick_in(caller, 50 * SIM_MS);
		return;
	case SIM_LISTENING:
		listen(caller);
		return;
	case SIM_GONE:
		return;
	}
}

void callers_begin(void)
{
	ids = 0;
	for (unsigned i = 0; i < SIM_CALLERS_MAX; i++) {
		ticks[i] = NULL;
	}
	for (unsigned i = 0; i < sim.caller_count; i++) {
		sim.callers[i] = (struct sim_caller){.number = i};
		script_write(&sim.callers[i].script, i);
		tick_in(&sim.callers[i], (bc_usec)i * 1300 * SIM_MS);
	}
}

bool callers_done(void)
{
	for (unsigned i = 0; i < sim.caller_count; i++) {
		if (sim.callers[i].state != SIM_GONE) {
			return false;
		}
	}
	return LIST_EMPTY(&seats);
}
