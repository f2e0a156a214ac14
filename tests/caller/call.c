#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/caller/call.h"

#include "proto/b64.h"
#include "proto/json.h"
#include "tests/caller/call_internal.h"
#include "tests/world/draw.h"

#define FRAME_SECONDS  (CARRIER_FRAME_MS / 1000.0)
#define FRAMES_AT_ONCE 50  /* of a clock that has fallen behind */
#define FRAME_IS_DUE   0.9 /* frames: the timer may be a little early */
#define MORE_WAIT      5.0 /* seconds an answer that is not the turn's reply may be followed by it */

double call_now(void)
{
	struct timespec at = {0};

	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void stage_set(struct call *call, enum stage stage)
{
	call->stage = stage;
	call->stage_began = call_now();
}

static void hang_up(struct call *call)
{
	if (call->stage < CALL_CLOSING) {
		stage_set(call, CALL_CLOSING);
		wire_close(call->wire, 1000, "");
	}
}

static void give_up(struct call *call, const char *why)
{
	watch_breach(call->watch, "gave up", why);
	hang_up(call);
}

void call_send(struct call *call, json_t *event)
{
	char *text = json_dumps(event, JSON_COMPACT);

	if (text != NULL) {
		wire_send(call->wire, bc_span_str(text));
	}
	free(text);
	json_decref(event);
}

static void send_frame(struct call *call, const struct carrier_mark *mark)
{
	static const char head[] = "{\"type\":\"input_audio_buffer.append\",\"audio\":\"";
	uint8_t frame[CARRIER_BYTES_MAX];
	char text[sizeof(head) + B64_ENCODED_LEN(CARRIER_BYTES_MAX) + 2];
	size_t len = sizeof(head) - 1;

	carrier_put(frame, call->conf.format, mark);
	memcpy(text, head, len);
	len += b64_encode(text + len, frame, carrier_frame_size(call->conf.format));
	memcpy(text + len, "\"}", 2);
	wire_send(call->wire, bc_span(text, len + 2));
}

/* ---- a turn ---- */

static bool is_repaired(const struct call *call, size_t turn)
{
	struct draw_key key = {.seed = call->conf.seed,
			       .dialogue = call->conf.dialogue->id,
			       .turn = (unsigned)turn,
			       .call = DRAW_NO_CALL,
			       .quantity = "repair"};

	return call->conf.dialogue->turns[turn].repair != NULL &&
	       draw_chance(&key, call->conf.repair_rate);
}

static void type(struct call *call)
{
	struct turn_record *record = &call->turns[call->turn];

	record->began = call_now();
	history_type(call, call->turn);
	record->ended = call_now();
	stage_set(call, CALL_LISTENING);
}

static void speak(struct call *call)
{
	const struct dialogue_turn *turn = &call->conf.dialogue->turns[call->turn];
	struct turn_record *record = &call->turns[call->turn];
	struct speech_pause pauses[2];
	struct speech_conf conf = {.timing = call->conf.timing,
				   .seed = call->conf.seed,
				   .dialogue = call->conf.dialogue->id,
				   .turn = (unsigned)call->turn,
				   .pauses = pauses};

	record->repair = is_repaired(call, call->turn);
	if (call->conf.turns == CALL_TURNS_TEXT) {
		type(call);
		return;
	}
	conf.repair = record->repair;
	conf.pauses_n =
		speech_pauses(&conf, turn, call->conf.pause_rate, call->conf.resume_rate, pauses);
	speech_release(&call->speech);
	call->spoken = 0;
	if (speech_make(&conf, turn, &call->speech) != BC_OK) {
		give_up(call, "a turn that cannot be spoken");
		return;
	}
	record->began = call_now();
	stage_set(call, CALL_SPEAKING);
}

/* Speak the next turn in which anything is said; where the caller only hears the other out, the call is over. */
static void speak_next(struct call *call)
{
	while (call->turn < call->end &&
	       dialogue_words(&call->conf.dialogue->turns[call->turn], false) == 0) {
		call->turn++;
	}
	if (call->turn < call->end) {
		speak(call);
	} else {
		hang_up(call);
	}
}

/* The last word is out: without a VAD the client ends the turn. */
static void spoken(struct call *call)
{
	stage_set(call, CALL_LISTENING);
	if (call->conf.turns == CALL_TURNS_MANUAL) {
		call_send(call, json_pack("{s:s}", "type", "input_audio_buffer.commit"));
		history_ask(call);
	}
}

/* An answer is over that is the turn's, or nothing better has come for a while. */
static bool is_answered(const struct call *call, const struct turn_record *turn)
{
	if (turn->answered <= 0 || turn->first_audio <= 0 || watch_is_answering(call->watch)) {
		return false;
	}
	return turn->replied || call_now() > turn->answered + MORE_WAIT / call->conf.scale;
}

/* The caller waits until the answer has been said, then draws breath, then goes on. */
static void listen(struct call *call)
{
	struct turn_record *turn = &call->turns[call->turn];
	double at = call_now();

	if (is_answered(call, turn)) {
		if (at < turn->played + call->conf.timing->reply_gap / call->conf.scale) {
			return;
		}
		call->turn++;
		speak_next(call);
	} else if (at > call->stage_began + call->conf.patience / call->conf.scale) {
		give_up(call, "no answer");
	}
}

static void tick(struct call *call)
{
	const struct speech_frame *frame = NULL;
	bool speaking = call->stage == CALL_SPEAKING;
	/* A frame is there when its last sample has been spoken. */
	double due =
		call->clock_began + (double)(call->frames + 1) * FRAME_SECONDS / call->conf.scale;

	call->frames++;
	if (speaking) {
		frame = &call->speech.frames[call->spoken++];
	}
	/* A microphone never rests; a client that ends turns itself sends it only while it speaks. */
	if (call->conf.turns == CALL_TURNS_VAD || speaking) {
		send_frame(call, frame != NULL && frame->voiced ? &frame->mark : NULL);
	}
	if (frame != NULL && frame->voiced) {
		call->turns[call->turn].ended = call_now();
		call->turns[call->turn].late = call->turns[call->turn].ended - due;
	}
	if (speaking && call->spoken == call->speech.n) {
		spoken(call);
	}
}

static void on_clock(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct call *call = timer->data;
	double at = call_now();
	double late = 0;

	BC_CHECK(call, CALL_MAGIC);
	(void)loop;
	(void)events;
	if (call->stage == CALL_CONNECTING &&
	    at > call->stage_began + call->conf.patience / call->conf.scale) {
		give_up(call, "no session");
	}
	if (call->stage != CALL_SPEAKING && call->stage != CALL_LISTENING) {
		return;
	}
	late = (at - call->clock_began) * call->conf.scale / FRAME_SECONDS - (double)call->frames;
	for (int i = 0; i < FRAMES_AT_ONCE && late > FRAME_IS_DUE; i++, late--) {
		tick(call);
	}
	if (call->stage == CALL_LISTENING) {
		listen(call);
	}
}

/* ---- events ---- */

static void on_ready(struct call *call)
{
	if (call->stage != CALL_CONNECTING) {
		return;
	}
	call->clock_began = call_now();
	ev_now_update(call->loop);
	ev_timer_again(call->loop, &call->clock);
	if (call->conf.opened != NULL) {
		call->conf.opened(call->conf.arg);
	}
	if (call->conf.alone > 0) {
		/* The answer before the turn belongs to the turn before it. */
		call->turn = call->first - 1;
		history_load(call);
		stage_set(call, CALL_LISTENING);
	} else {
		speak_next(call);
	}
}

static void on_response_done(struct call *call, struct turn_record *turn, const json_t *event)
{
	const char *status =
		json_string_value(json_object_get(json_object_get(event, "response"), "status"));

	if (status != NULL && strcmp(status, "completed") == 0) {
		turn->answered = call_now();
		call->stage_began = turn->answered;
	} else if (call->stage != CALL_SPEAKING) {
		watch_breach(call->watch, "response not completed", status);
	}
}

static void sort_out(struct call *call, const json_t *event, const char *type)
{
	struct turn_record *turn = &call->turns[call->turn];

	if (strcmp(type, "session.created") == 0) {
		history_session(call);
	} else if (strcmp(type, "session.updated") == 0) {
		on_ready(call);
	} else if (strcmp(type, "error") == 0 && call->stage == CALL_CONNECTING) {
		give_up(call, "the session was refused");
	} else {
		record_event(call, turn, event, type);
	}
	if (strcmp(type, "response.done") == 0) {
		on_response_done(call, turn, event);
	}
}

static void on_message(void *arg, struct wire *wire, struct bc_span text)
{
	struct call *call = arg;
	json_t *event = json_parse(text);
	const char *type = json_string_value(json_object_get(event, "type"));

	BC_CHECK(call, CALL_MAGIC);
	(void)wire;
	watch_event(call->watch, event);
	/* What comes while hanging up is still watched, but belongs to no turn. */
	if (type != NULL && call->turn < call->end) {
		sort_out(call, event, type);
	}
	json_decref(event);
}

static void on_closed(void *arg, struct wire *wire, uint16_t code, struct bc_span reason)
{
	struct call *call = arg;
	char *text = bc_span_dup(reason);

	BC_CHECK(call, CALL_MAGIC);
	call->close_code = code;
	if (call->stage != CALL_CLOSING) {
		(void)fprintf(stderr, "caller: closed with %u (HTTP %u): %s\n", code,
			      wire_status(wire), text == NULL ? "" : text);
		watch_breach(call->watch, "connection lost", text);
	}
	free(text);
	call->wire = NULL;
	watch_end(call->watch);
	stage_set(call, CALL_ENDED);
	ev_timer_stop(call->loop, &call->clock);
	call->conf.ended(call->conf.arg);
}

/* ---- life ---- */

static bool plan_turns(struct call *call)
{
	size_t n = call->conf.dialogue->turns_n;

	if (call->conf.alone == CALL_WHOLE) {
		call->end = n;
		return n > 0;
	}
	if (call->conf.alone < 0 || (size_t)call->conf.alone >= n) {
		return false;
	}
	call->first = (size_t)call->conf.alone;
	call->end = call->first + 1;
	call->turn = call->first;
	return true;
}

enum bc_err call_new(struct ev_loop *loop, const struct call_conf *conf, struct call **ret)
{
	static const struct wire_handlers handlers = {.message = on_message, .closed = on_closed};
	struct call *call = calloc(1, sizeof(*call));
	enum bc_err err = BC_E_NOMEM;

	if (call == NULL) {
		return BC_E_NOMEM;
	}
	*call = (struct call){
		.magic = CALL_MAGIC, .conf = *conf, .loop = loop, .started = call_now()};
	call->watch = watch_new();
	if (call->watch != NULL && record_init(call)) {
		if (conf->turns != CALL_TURNS_VAD) {
			watch_without_detector(call->watch);
		}
		err = plan_turns(call)
			      ? wire_connect(loop, &call->conf.wire, &handlers, call, &call->wire)
			      : BC_E_INVALID;
	}
	if (err != BC_OK) {
		(void)call_free(call);
		return err;
	}
	stage_set(call, CALL_CONNECTING);
	ev_timer_init(&call->clock, on_clock, 0., FRAME_SECONDS / conf->scale);
	call->clock.data = call;
	ev_timer_start(loop, &call->clock);
	*ret = call;
	return BC_OK;
}

struct call *call_free(struct call *call)
{
	if (call == NULL) {
		return NULL;
	}
	record_release(call);
	speech_release(&call->speech);
	(void)watch_free(call->watch);
	call->magic = 0;
	free(call);
	return NULL;
}
