#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/caller/call.h"

#include "daemon/base/buf.h"
#include "proto/b64.h"
#include "proto/json.h"
#include "tests/caller/watch.h"
#include "tests/world/speech.h"

#define CALL_MAGIC     0x63616c6cU
#define FRAME_SECONDS  (CARRIER_FRAME_MS / 1000.0)
#define FRAMES_AT_ONCE 50 /* of a clock that has fallen behind */
#define TEXT_MAX       ((size_t)1 << 20)

enum stage {
	CALL_CONNECTING, /* until session.updated */
	CALL_SPEAKING,
	CALL_LISTENING, /* until the answer has been played and the caller has drawn breath */
	CALL_CLOSING,
	CALL_ENDED
};

/* What happened in one turn; times are monotonic seconds, 0: not yet. */
struct turn_record {
	double began;       /* first frame of the turn sent */
	double ended;       /* last voiced frame sent */
	double committed;   /* the provider took the turn as ended (its last commit) */
	double created;     /* first response.created after that */
	double first_audio; /* of the answer */
	double answered;    /* response.done of the answer */
	double played;      /* end of the answer's play-out */
	unsigned commits;
	struct bc_buf heard;  /* transcript of the caller, as the provider has it */
	struct bc_buf answer; /* transcript of the answer */
};

struct call {
	uint32_t magic;
	struct call_conf conf;
	struct ev_loop *loop;
	struct wire *wire;
	struct watch *watch;
	ev_timer clock; /* one frame per tick */
	enum stage stage;
	double clock_began; /* when frame 0 was due */
	uint64_t frames;    /* sent so far */
	double stage_began;
	double started;
	struct speech speech; /* of the turn being spoken */
	size_t spoken;        /* frames of it already sent */
	size_t turn;
	struct turn_record *turns;
	uint16_t close_code;
};

static double now(void)
{
	struct timespec at = {0};

	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void stage_set(struct call *call, enum stage stage)
{
	call->stage = stage;
	call->stage_began = now();
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

static const char *format_name(enum audio_format format)
{
	switch (format) {
	case AUDIO_PCMU:
		return "audio/pcmu";
	case AUDIO_PCMA:
		return "audio/pcma";
	case AUDIO_PCM16:
	default:
		return "audio/pcm";
	}
}

static json_t *format_json(enum audio_format format)
{
	return format == AUDIO_PCM16
		       ? json_pack("{s:s, s:i}", "type", format_name(format), "rate", 24000)
		       : json_pack("{s:s}", "type", format_name(format));
}

static void send_json(struct call *call, json_t *event)
{
	char *text = json_dumps(event, JSON_COMPACT);

	if (text != NULL) {
		wire_send(call->wire, bc_span_str(text));
	}
	free(text);
	json_decref(event);
}

static void send_session(struct call *call)
{
	json_t *input =
		json_pack("{s:o, s:{s:s}, s:{s:s, s:i}}", "format", format_json(call->conf.format),
			  "transcription", "model", "gpt-live-transcribe", "turn_detection", "type",
			  "server_vad", "silence_duration_ms",
			  (int)lround(call->conf.timing->vad_silence * 1000));
	json_t *output =
		json_pack("{s:o, s:s}", "format", format_json(call->conf.format), "voice", "marin");

	send_json(call, json_pack("{s:s, s:{s:s, s:s, s:{s:o, s:o}}}", "type", "session.update",
				  "session", "type", "realtime", "instructions",
				  "You answer calls for a shop.", "audio", "input", input, "output",
				  output));
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

static void speak(struct call *call)
{
	const struct dialogue_turn *turn = &call->conf.dialogue->turns[call->turn];
	struct speech_pause pauses[2];
	struct speech_conf conf = {.timing = call->conf.timing,
				   .seed = call->conf.seed,
				   .dialogue = call->conf.dialogue->id,
				   .turn = (unsigned)call->turn,
				   .repair = call->conf.repairs && turn->repair != NULL,
				   .pauses = pauses};

	conf.pauses_n =
		speech_pauses(&conf, turn, call->conf.pause_rate, call->conf.resume_rate, pauses);
	speech_release(&call->speech);
	call->spoken = 0;
	if (speech_make(&conf, turn, &call->speech) != BC_OK) {
		give_up(call, "a turn that cannot be spoken");
		return;
	}
	call->turns[call->turn].began = now();
	stage_set(call, CALL_SPEAKING);
}

/* The caller waits until the answer has been said, then draws breath, then goes on. */
static void listen(struct call *call)
{
	struct turn_record *turn = &call->turns[call->turn];
	double at = now();

	if (turn->answered > 0 && turn->first_audio > 0 && !watch_is_answering(call->watch)) {
		if (at < turn->played + call->conf.timing->reply_gap / call->conf.scale) {
			return;
		}
		call->turn++;
		if (call->turn < call->conf.dialogue->turns_n) {
			speak(call);
		} else {
			hang_up(call);
		}
	} else if (at > call->stage_began + call->conf.patience / call->conf.scale) {
		give_up(call, "no answer");
	}
}

static void tick(struct call *call)
{
	const struct speech_frame *frame = NULL;

	if (call->stage == CALL_SPEAKING) {
		frame = &call->speech.frames[call->spoken++];
	}
	send_frame(call, frame != NULL && frame->voiced ? &frame->mark : NULL);
	call->frames++;
	if (frame != NULL && frame->voiced) {
		call->turns[call->turn].ended = now();
	}
	if (call->stage == CALL_SPEAKING && call->spoken == call->speech.n) {
		stage_set(call, CALL_LISTENING);
	}
}

static void on_clock(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct call *call = timer->data;
	double at = now();
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
	for (int i = 0; i < FRAMES_AT_ONCE && late > 0; i++, late--) {
		tick(call);
	}
	if (call->stage == CALL_LISTENING) {
		listen(call);
	}
}

static void on_ready(struct call *call)
{
	if (call->stage == CALL_CONNECTING) {
		call->clock_began = now();
		speak(call);
	}
}

static void on_audio(struct call *call, struct turn_record *turn, const json_t *event)
{
	const char *audio = json_string_value(json_object_get(event, "delta"));
	double rate = (double)audio_rate(call->conf.format) * audio_sample_size(call->conf.format);
	double at = now();

	if (turn->first_audio <= 0) {
		turn->first_audio = at;
	}
	turn->played = fmax(turn->played, at);
	turn->played +=
		(double)(audio == NULL ? 0 : strlen(audio) / 4 * 3) / rate / call->conf.scale;
}

/* Append a delta that is worth writing down; what does not fit is dropped. */
static void note(struct bc_buf *buf, const json_t *event, const char *member)
{
	const char *text = json_string_value(json_object_get(event, member));

	if (text != NULL && bc_buf_put_str(buf, text) != BC_OK) {
		bc_buf_clear(buf);
	}
}

/* A later commit of the same turn takes back whatever was being answered. */
static void on_committed(struct turn_record *turn)
{
	turn->committed = now();
	turn->commits++;
	turn->created = 0;
	turn->first_audio = 0;
	turn->answered = 0;
	bc_buf_clear(&turn->answer);
}

static void on_response_done(struct call *call, struct turn_record *turn, const json_t *event)
{
	const char *status =
		json_string_value(json_object_get(json_object_get(event, "response"), "status"));

	if (status != NULL && strcmp(status, "completed") == 0) {
		turn->answered = now();
		call->stage_began = turn->answered;
	} else if (call->stage != CALL_SPEAKING) {
		watch_breach(call->watch, "response not completed", status);
	}
}

static void sort_out(struct call *call, const json_t *event, const char *type)
{
	struct turn_record *turn = &call->turns[call->turn];

	if (strcmp(type, "session.created") == 0) {
		send_session(call);
	} else if (strcmp(type, "session.updated") == 0) {
		on_ready(call);
	} else if (strcmp(type, "error") == 0 && call->stage == CALL_CONNECTING) {
		give_up(call, "the session was refused");
	} else if (strcmp(type, "input_audio_buffer.committed") == 0) {
		on_committed(turn);
	} else if (strcmp(type, "conversation.item.input_audio_transcription.delta") == 0) {
		note(&turn->heard, event, "delta");
	} else if (strcmp(type, "response.created") == 0) {
		turn->created = turn->created > 0 ? turn->created : now();
	} else if (strcmp(type, "response.output_audio.delta") == 0) {
		on_audio(call, turn, event);
	} else if (strcmp(type, "response.output_audio_transcript.done") == 0) {
		note(&turn->answer, event, "transcript");
	} else if (strcmp(type, "response.done") == 0) {
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
	if (type != NULL && call->turn < call->conf.dialogue->turns_n) {
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
	ev_break(call->loop, EVBREAK_ALL);
}

enum bc_err call_new(struct ev_loop *loop, const struct call_conf *conf, struct call **ret)
{
	static const struct wire_handlers handlers = {.message = on_message, .closed = on_closed};
	struct call *call = calloc(1, sizeof(*call));
	enum bc_err err = BC_E_NOMEM;

	if (call == NULL) {
		return BC_E_NOMEM;
	}
	*call = (struct call){.magic = CALL_MAGIC, .conf = *conf, .loop = loop, .started = now()};
	call->watch = watch_new();
	call->turns = calloc(conf->dialogue->turns_n + 1, sizeof(*call->turns));
	if (call->watch != NULL && call->turns != NULL) {
		for (size_t i = 0; i < conf->dialogue->turns_n; i++) {
			bc_buf_init(&call->turns[i].heard, TEXT_MAX);
			bc_buf_init(&call->turns[i].answer, TEXT_MAX);
		}
		err = wire_connect(loop, &conf->wire, &handlers, call, &call->wire);
	}
	if (err != BC_OK) {
		(void)call_free(call);
		return err;
	}
	stage_set(call, CALL_CONNECTING);
	ev_timer_init(&call->clock, on_clock, 0, FRAME_SECONDS / conf->scale);
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
	for (size_t i = 0; call->turns != NULL && i < call->conf.dialogue->turns_n; i++) {
		bc_buf_release(&call->turns[i].heard);
		bc_buf_release(&call->turns[i].answer);
	}
	speech_release(&call->speech);
	(void)watch_free(call->watch);
	free(call->turns);
	call->magic = 0;
	free(call);
	return NULL;
}

static json_t *time_json(double at)
{
	return at > 0 ? json_real(at) : json_null();
}

static json_t *text_json(const struct bc_buf *buf)
{
	struct bc_span text = bc_buf_span(buf);

	return json_stringn(text.ptr, text.len);
}

static json_t *turn_json(const struct call *call, size_t index)
{
	const struct turn_record *turn = &call->turns[index];
	const struct dialogue_turn *script = &call->conf.dialogue->turns[index];
	bool repair = call->conf.repairs && script->repair != NULL;
	json_t *latency = turn->first_audio > 0 && turn->ended > 0
				  ? json_real(turn->first_audio - turn->ended)
				  : json_null();

	return json_pack(
		"{s:i, s:s, s:s, s:i, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"turn", (int)index, "user", dialogue_text(script, repair), "reply", script->reply,
		"calls", (int)script->calls_n, "began", time_json(turn->began), "ended",
		time_json(turn->ended), "committed", time_json(turn->committed), "commits",
		(int)turn->commits, "created", time_json(turn->created), "first_audio",
		time_json(turn->first_audio), "answered", time_json(turn->answered), "played",
		time_json(turn->played), "heard", text_json(&turn->heard), "answer",
		text_json(&turn->answer), "latency", latency);
}

json_t *call_timeline(const struct call *call)
{
	json_t *turns = json_array();

	for (size_t i = 0; i < call->conf.dialogue->turns_n; i++) {
		(void)json_array_append_new(turns, turn_json(call, i));
	}
	return json_pack("{s:s, s:s, s:f, s:f, s:i, s:o, s:O, s:O, s:O}", "dialogue",
			 call->conf.dialogue->id, "format", format_name(call->conf.format), "scale",
			 call->conf.scale, "started", call->started, "close_code",
			 (int)call->close_code, "turns", turns, "events", watch_counts(call->watch),
			 "function_calls", watch_function_calls(call->watch), "breaches",
			 watch_breaches(call->watch));
}

bool call_went_well(const struct call *call)
{
	return call->stage == CALL_ENDED && call->turn == call->conf.dialogue->turns_n &&
	       json_array_size(watch_breaches(call->watch)) == 0;
}
