/* The caller's audio: the input buffer, the voice activity detection, the commit. */
#include "tests/provider/session.h"

#include "proto/b64.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WINDOW_MS     10
#define ONSET_MS      30    /* voice of that length begins speech */
#define LEVEL         368.0 /* RMS a window needs per unit of threshold: -45 dBFS at 0.5 */
#define COMMIT_MIN_MS 100

enum audio_format audio_format_of(const json_t *format)
{
	const char *type = json_string_value(json_object_get(format, "type"));

	if (type != NULL && strcmp(type, "audio/pcmu") == 0) {
		return AUDIO_PCMU;
	}
	return type != NULL && strcmp(type, "audio/pcma") == 0 ? AUDIO_PCMA : AUDIO_PCM16;
}

void audio_release(struct session *session)
{
	heard_release(&session->listening.heard);
	bc_buf_release(&session->listening.buffer);
}

static size_t ms_bytes(const struct listening *listening, unsigned ms)
{
	enum audio_format format = listening->reader.format;

	return (size_t)audio_rate(format) / 100 * ms / 10 * audio_sample_size(format);
}

uint64_t audio_ms(const struct session *session)
{
	return session->listening.received / ms_bytes(&session->listening, 1);
}

/* A VAD setting; NULL when turn detection is off. */
static json_t *detection(const struct session *session)
{
	json_t *value = session_get(session, "audio", "input", "turn_detection", NULL);

	return json_is_object(value) ? value : NULL;
}

static unsigned number_or(const json_t *value, unsigned otherwise)
{
	return json_is_integer(value) ? (unsigned)json_integer_value(value) : otherwise;
}

void audio_detection_changed(struct session *session)
{
	struct listening *listening = &session->listening;
	json_t *settings = detection(session);
	json_t *threshold = json_object_get(settings, "threshold");

	listening->detecting = settings != NULL;
	listening->silence_ms = number_or(json_object_get(settings, "silence_duration_ms"), 500);
	listening->padding_ms = number_or(json_object_get(settings, "prefix_padding_ms"), 300);
	listening->level = LEVEL * (json_is_number(threshold) ? json_number_value(threshold) : 0.5);
}

void audio_init(struct session *session)
{
	struct listening *listening = &session->listening;

	*listening = (struct listening){0};
	bc_buf_init(&listening->buffer, WIRE_MESSAGE_MAX);
	carrier_reader_init(
		&listening->reader,
		audio_format_of(session_get(session, "audio", "input", "format", NULL)));
	audio_detection_changed(session);
}

/* When a turn was committed, on the clock that the tool server and the caller have, too. */
static void commit_log(struct session *session, const struct heard *heard)
{
	struct timespec at = {0};
	json_t *turns = json_array();

	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	for (size_t i = 0; i < heard->n; i++) {
		json_array_append_new(turns, json_integer((json_int_t)heard->turns[i].turn));
	}
	log_line(session, "commit",
		 json_pack("{s:f,s:o}", "at", (double)at.tv_sec + (double)at.tv_nsec / 1e9, "turns",
			   turns));
}

void audio_commit(struct session *session)
{
	struct listening *listening = &session->listening;
	struct item *last = TAILQ_LAST(&session->items, item_list);
	struct item *item;

	if (listening->item_id[0] == '\0') {
		id_make(listening->item_id, "item_");
	}
	item = item_new(ITEM_USER, listening->item_id,
			json_pack("{s:s,s:s,s:s,s:s,s:s,s:[{s:s,s:n}]}", "id", listening->item_id,
				  "object", "realtime.item", "type", "message", "status",
				  "completed", "role", "user", "content", "type", "input_audio",
				  "transcript"));
	item->format = listening->reader.format;
	commit_log(session, &listening->heard);
	item->heard = listening->heard;
	item->audio = listening->buffer;
	item->audio_s = (double)bc_buf_len(&item->audio) / (double)ms_bytes(listening, 1000);
	listening->heard = (struct heard){0};
	bc_buf_init(&listening->buffer, WIRE_MESSAGE_MAX);
	listening->window_fill = 0;
	listening->speech = false;
	listening->voiced_ms = 0;
	listening->item_id[0] = '\0';
	emit(session,
	     json_pack("{s:s,s:s?,s:s}", "type", "input_audio_buffer.committed", "previous_item_id",
		       last == NULL ? NULL : last->id, "item_id", item->id));
	item_add(session, item, NULL);
	item_done(session, item);
	transcript_commit(session, item);
}

static void speech_start(struct session *session)
{
	struct listening *listening = &session->listening;
	uint64_t held = bc_buf_len(&listening->buffer) / ms_bytes(listening, 1);
	json_t *interrupt = json_object_get(detection(session), "interrupt_response");

	listening->speech = true;
	listening->silent_ms = 0;
	if (listening->item_id[0] == '\0') {
		id_make(listening->item_id, "item_");
	}
	session_idle_arm(session, 0.0);
	emit(session, json_pack("{s:s,s:I,s:s}", "type", "input_audio_buffer.speech_started",
				"audio_start_ms", (json_int_t)(audio_ms(session) - held), "item_id",
				listening->item_id));
	if (!json_is_false(interrupt)) {
		response_interrupt(session);
	}
}

static void speech_stop(struct session *session)
{
	json_t *create = json_object_get(detection(session), "create_response");

	emit(session,
	     json_pack("{s:s,s:I,s:s}", "type", "input_audio_buffer.speech_stopped", "audio_end_ms",
		       (json_int_t)audio_ms(session), "item_id", session->listening.item_id));
	audio_commit(session);
	if (!json_is_false(create)) {
		response_create_by_vad(session);
	}
}

/* Whether the last window of the buffer holds voice. */
static bool window_is_voiced(const struct session *session, size_t window)
{
	const struct listening *listening = &session->listening;
	struct bc_span all = bc_buf_span(&listening->buffer);
	const uint8_t *at = (const uint8_t *)all.ptr + all.len - window;
	size_t size = audio_sample_size(listening->reader.format);
	double energy = 0.0;

	for (size_t i = 0; i < window; i += size) {
		double sample = audio_sample(listening->reader.format, at + i);

		energy += sample * sample;
	}
	return sqrt(energy * (double)size / (double)window) > listening->level;
}

static void window_judge(struct session *session, size_t window)
{
	struct listening *listening = &session->listening;
	size_t keep;

	if (window_is_voiced(session, window)) {
		listening->voiced_ms += WINDOW_MS;
		listening->silent_ms = 0;
	} else {
		listening->voiced_ms = 0;
		listening->silent_ms += WINDOW_MS;
	}
	if (!listening->detecting) {
		return;
	}
	if (!listening->speech && listening->voiced_ms >= ONSET_MS) {
		speech_start(session);
	} else if (listening->speech && listening->silent_ms >= listening->silence_ms) {
		speech_stop(session);
	} else if (!listening->speech && listening->voiced_ms == 0) {
		/* Before speech only the padding that will stand in front of it is kept. */
		keep = ms_bytes(listening, listening->padding_ms);
		if (bc_buf_len(&listening->buffer) > keep) {
			bc_buf_consume(&listening->buffer, bc_buf_len(&listening->buffer) - keep);
		}
	}
}

/* Take bytes that do not go beyond the open window. */
static bool piece_take(struct session *session, const uint8_t *bytes, size_t len)
{
	struct listening *listening = &session->listening;
	struct carrier_mark mark;
	size_t at = 0;
	size_t used;

	if (bc_buf_put(&listening->buffer, bytes, len) != BC_OK) {
		return false;
	}
	listening->received += len;
	listening->window_fill += len;
	while (carrier_read(&listening->reader, bytes + at, len - at, &used, &mark)) {
		at += used;
		if (heard_mark(&listening->heard, &mark)) {
			transcript_word(session, &mark);
			proactive_word(session);
		}
	}
	return true;
}

/* Window by window, so that a commit cuts the buffer where the silence was long enough; false: it is full. */
static bool bytes_take(struct session *session, const uint8_t *bytes, size_t len)
{
	size_t window = ms_bytes(&session->listening, WINDOW_MS);
	size_t at = 0;

	while (at < len) {
		size_t room = window - session->listening.window_fill;
		size_t piece = len - at < room ? len - at : room;

		if (!piece_take(session, bytes + at, piece)) {
			return false;
		}
		at += piece;
		if (session->listening.window_fill == window) {
			session->listening.window_fill = 0;
			window_judge(session, window);
		}
	}
	return true;
}

static void audio_take(struct session *session, const json_t *event, struct bc_span base64)
{
	uint8_t *bytes = malloc(base64.len / 4 * 3 + 3);
	struct fault fault;
	size_t len;

	BC_BUG_ON(bytes == NULL);
	if (b64_decode(bytes, base64, &len) != BC_OK) {
		fault_set(&fault, "invalid_value", "audio",
			  "Invalid 'audio'. Expected base64-encoded audio bytes.");
		emit_fault(session, event, &fault);
	} else if (!bytes_take(session, bytes, len)) {
		fault_set(&fault, "input_audio_buffer_full", "", "The input audio buffer is full.");
		emit_fault(session, event, &fault);
	}
	free(bytes);
}

void audio_append_event(struct session *session, const json_t *event)
{
	const json_t *audio = json_object_get(event, "audio");
	struct fault fault;

	if (!json_is_string(audio)) {
		fault_set(&fault, "missing_required_parameter", "audio",
			  "Missing required parameter: 'audio'.");
		emit_fault(session, event, &fault);
		return;
	}
	audio_take(session, event, bc_span(json_string_value(audio), json_string_length(audio)));
}

/* Most of what clients send; a JSON parser would take longer over it than everything else. */
bool audio_append_quick(struct session *session, struct bc_span text)
{
	static const char *const heads[] = {
		"{\"type\":\"input_audio_buffer.append\",\"audio\":\"",
		"{\"type\": \"input_audio_buffer.append\", \"audio\": \""};
	size_t head = 0;

	for (size_t i = 0; i < BC_ARRAY_LEN(heads) && head == 0; i++) {
		head = bc_span_has_prefix(text, heads[i]) ? strlen(heads[i]) : 0;
	}
	if (head == 0 || text.len < head + 2 || memcmp(text.ptr + text.len - 2, "\"}", 2) != 0 ||
	    log_wants(session->provider, "in")) {
		return false;
	}
	text = bc_span(text.ptr + head, text.len - head - 2);
	if (text.len > 0 &&
	    (memchr(text.ptr, '\\', text.len) != NULL || memchr(text.ptr, '"', text.len) != NULL)) {
		return false;
	}
	audio_take(session, NULL, text);
	return true;
}

void audio_commit_event(struct session *session, const json_t *event)
{
	struct listening *listening = &session->listening;
	double held = (double)bc_buf_len(&listening->buffer) / (double)ms_bytes(listening, 1);
	struct fault fault;

	if (held < COMMIT_MIN_MS) {
		fault_set(&fault, "input_audio_buffer_commit_empty", "",
			  "Error committing input audio buffer: buffer too small. Expected at "
			  "least %dms of audio, but buffer only has %.2fms of audio.",
			  COMMIT_MIN_MS, held);
		emit_fault(session, event, &fault);
		return;
	}
	if (listening->detecting && session->provider->options.no_manual_commit) {
		fault_set(&fault, "invalid_value", "",
			  "Cannot commit the input audio buffer while turn detection is on.");
		emit_fault(session, event, &fault);
		return;
	}
	if (listening->speech) {
		/* A client's commit in the middle of speech makes an item of its own. */
		listening->item_id[0] = '\0';
	}
	audio_commit(session);
}

void audio_clear_event(struct session *session, const json_t *event)
{
	struct listening *listening = &session->listening;

	(void)event;
	heard_release(&listening->heard);
	bc_buf_clear(&listening->buffer);
	listening->window_fill = 0;
	listening->speech = false;
	listening->voiced_ms = 0;
	listening->item_id[0] = '\0';
	listening->words_said = 0;
	emit(session, json_pack("{s:s}", "type", "input_audio_buffer.cleared"));
}
