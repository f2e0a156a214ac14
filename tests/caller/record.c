/* What is written down of a call's turns, and the time line made of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/caller/call_internal.h"

#define TEXT_MAX ((size_t)1 << 20)

bool record_init(struct call *call)
{
	call->turns = calloc(call->conf.dialogue->turns_n + 1, sizeof(*call->turns));
	for (size_t i = 0; call->turns != NULL && i < call->conf.dialogue->turns_n; i++) {
		bc_buf_init(&call->turns[i].heard, TEXT_MAX);
		bc_buf_init(&call->turns[i].answer, TEXT_MAX);
		for (size_t k = 0; k < ANSWERS_MAX; k++) {
			bc_buf_init(&call->turns[i].answers[k].text, TEXT_MAX);
		}
	}
	return call->turns != NULL;
}

void record_release(struct call *call)
{
	for (size_t i = 0; call->turns != NULL && i < call->conf.dialogue->turns_n; i++) {
		bc_buf_release(&call->turns[i].heard);
		bc_buf_release(&call->turns[i].answer);
		for (size_t k = 0; k < ANSWERS_MAX; k++) {
			bc_buf_release(&call->turns[i].answers[k].text);
		}
	}
	free(call->turns);
	call->turns = NULL;
}

static const char *string_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? "" : text;
}

/* ---- noting ---- */

static struct answer *answer_find(struct turn_record *turn, const char *id)
{
	for (size_t i = 0; i < turn->answers_n; i++) {
		if (strcmp(turn->answers[i].id, id) == 0) {
			return &turn->answers[i];
		}
	}
	return NULL;
}

/* Append a text that is worth writing down; what does not fit is dropped. */
static void note(struct bc_buf *buf, const char *text)
{
	if (bc_buf_put_str(buf, text) != BC_OK) {
		bc_buf_clear(buf);
	}
}

/* A later commit of the same turn takes back whatever was being answered. */
static void on_committed(struct turn_record *turn)
{
	turn->committed = call_now();
	turn->first_commit = turn->commits == 0 ? turn->committed : turn->first_commit;
	turn->commits++;
	turn->created = 0;
	turn->first_audio = 0;
	turn->answered = 0;
	turn->replied = false;
	bc_buf_clear(&turn->answer);
}

static void on_created(struct turn_record *turn, const json_t *event)
{
	const char *id = string_of(json_object_get(event, "response"), "id");
	struct answer *answer = &turn->answers[turn->answers_n];

	turn->created = turn->created > 0 ? turn->created : call_now();
	if (turn->answers_n < ANSWERS_MAX && id[0] != '\0' && strlen(id) < ID_SIZE) {
		memcpy(answer->id, id, strlen(id) + 1);
		answer->created = call_now();
		turn->answers_n++;
	}
}

static void on_output(struct turn_record *turn, const json_t *event)
{
	struct answer *answer = answer_find(turn, string_of(event, "response_id"));
	double at = call_now();

	if (turn->first_audio <= 0) {
		turn->first_audio = at;
	}
	if (answer != NULL && answer->first <= 0) {
		answer->first = at;
	}
	turn->played = fmax(turn->played, at);
}

static void on_audio(const struct call *call, struct turn_record *turn, const json_t *event)
{
	double rate = (double)audio_rate(call->conf.format) * audio_sample_size(call->conf.format);

	on_output(turn, event);
	turn->played +=
		(double)(strlen(string_of(event, "delta")) / 4 * 3) / rate / call->conf.scale;
}

static void on_said(const struct call *call, struct turn_record *turn, const json_t *event,
		    const char *member)
{
	const char *text = string_of(event, member);
	const char *reply = call->conf.dialogue->turns[turn - call->turns].reply;
	struct answer *answer = answer_find(turn, string_of(event, "response_id"));

	note(&turn->answer, text);
	if (answer != NULL) {
		note(&answer->text, text);
	}
	turn->replied = turn->replied || strcmp(text, reply[0] == '\0' ? "Done." : reply) == 0;
}

static void on_done(struct turn_record *turn, const json_t *event)
{
	const json_t *response = json_object_get(event, "response");
	struct answer *answer = answer_find(turn, string_of(response, "id"));

	if (answer != NULL) {
		answer->done = call_now();
		(void)snprintf(answer->status, sizeof(answer->status), "%s",
			       string_of(response, "status"));
	}
}

void record_event(struct call *call, struct turn_record *turn, const json_t *event,
		  const char *type)
{
	if (strcmp(type, "input_audio_buffer.committed") == 0) {
		on_committed(turn);
	} else if (strcmp(type, "conversation.item.input_audio_transcription.delta") == 0) {
		note(&turn->heard, string_of(event, "delta"));
	} else if (strcmp(type, "response.created") == 0) {
		on_created(turn, event);
	} else if (strcmp(type, "response.output_audio.delta") == 0) {
		on_audio(call, turn, event);
	} else if (strcmp(type, "response.output_text.delta") == 0) {
		on_output(turn, event);
	} else if (strcmp(type, "response.output_audio_transcript.done") == 0) {
		on_said(call, turn, event, "transcript");
	} else if (strcmp(type, "response.output_text.done") == 0) {
		on_said(call, turn, event, "text");
	} else if (strcmp(type, "response.done") == 0) {
		on_done(turn, event);
	}
}

/* ---- the time line ---- */

static json_t *time_json(double at)
{
	return at > 0 ? json_real(at) : json_null();
}

static json_t *text_json(const struct bc_buf *buf)
{
	struct bc_span text = bc_buf_span(buf);

	return json_stringn(text.ptr, text.len);
}

static json_t *answers_json(const struct turn_record *turn)
{
	json_t *answers = json_array();

	for (size_t i = 0; i < turn->answers_n; i++) {
		const struct answer *answer = &turn->answers[i];

		(void)json_array_append_new(
			answers,
			json_pack("{s:s, s:o, s:o, s:o, s:s, s:o}", "id", answer->id, "created",
				  time_json(answer->created), "first", time_json(answer->first),
				  "done", time_json(answer->done), "status", answer->status, "text",
				  text_json(&answer->text)));
	}
	return answers;
}

static json_t *turn_json(const struct call *call, size_t index)
{
	const struct turn_record *turn = &call->turns[index];
	const struct dialogue_turn *script = &call->conf.dialogue->turns[index];
	json_t *latency = turn->first_audio > 0 && turn->ended > 0
				  ? json_real(turn->first_audio - turn->ended)
				  : json_null();

	return json_pack(
		"{s:i, s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:f, s:o}",
		"turn", (int)index, "user", dialogue_text(script, turn->repair), "reply",
		script->reply, "calls", (int)script->calls_n, "began", time_json(turn->began),
		"ended", time_json(turn->ended), "first_commit", time_json(turn->first_commit),
		"committed", time_json(turn->committed), "commits", (int)turn->commits, "created",
		time_json(turn->created), "first_audio", time_json(turn->first_audio), "answered",
		time_json(turn->answered), "played", time_json(turn->played), "heard",
		text_json(&turn->heard), "answer", text_json(&turn->answer), "latency", latency,
		"repair", (int)turn->repair, "late", turn->late, "answers", answers_json(turn));
}

json_t *call_timeline(const struct call *call)
{
	static const char *const formats[] = {[AUDIO_PCM16] = "audio/pcm",
					      [AUDIO_PCMU] = "audio/pcmu",
					      [AUDIO_PCMA] = "audio/pcma"};
	json_t *turns = json_array();

	for (size_t i = call->first; i < call->end; i++) {
		(void)json_array_append_new(turns, turn_json(call, i));
	}
	return json_pack("{s:s, s:s, s:f, s:f, s:i, s:o, s:O, s:O, s:O}", "dialogue",
			 call->conf.dialogue->id, "format", formats[call->conf.format], "scale",
			 call->conf.scale, "started", call->started, "close_code",
			 (int)call->close_code, "turns", turns, "events", watch_counts(call->watch),
			 "function_calls", watch_function_calls(call->watch), "breaches",
			 watch_breaches(call->watch));
}

bool call_went_well(const struct call *call)
{
	return call->stage == CALL_ENDED && call->turn == call->end &&
	       json_array_size(watch_breaches(call->watch)) == 0;
}
