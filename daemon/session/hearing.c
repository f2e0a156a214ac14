/*
 * What the caller says, as far as guessing needs it: a pause detector over the audio that passes by, the running turn's
 * audio itself, and its transcript as the provider sends it.  Positions are stream time, counted in samples; typed text
 * has none, so that the time of a turn without a voice is the time that passes, and shifts that of the samples after it.
 */
#include "daemon/session/sess.h"
#include "proto/b64.h"

#include <stdlib.h>

#define PREROLL_MS     300 /* audio kept in front of a turn's first word */
#define TOLD_MS        500 /* … and more where the provider tells of it, whose word takes its way */
#define TRANSCRIPT_MAX 65536 /* bytes of one turn's transcript */
#define ASIDE_MAX      8192  /* bytes of a piece that is heard before it is kept: 170 ms of PCM16 */

static bc_usec stream_time(const struct hearing *hearing, uint64_t samples)
{
	return (bc_usec)(samples * (uint64_t)BC_USEC_PER_SEC / audio_rate(hearing->format));
}

static enum audio_format format_of(struct bc_span session, enum audio_format otherwise)
{
	struct bc_span type = field_raw(
		field_raw(field_raw(field_raw(session, "audio"), "input"), "format"), "type");

	if (json_string_is(type, "audio/pcmu")) {
		return AUDIO_PCMU;
	}
	if (json_string_is(type, "audio/pcma")) {
		return AUDIO_PCMA;
	}
	return json_string_is(type, "audio/pcm") ? AUDIO_PCM16 : otherwise;
}

static void forget_audio(struct hearing *hearing)
{
	bc_buf_clear(&hearing->audio);
	preroll_forget(&hearing->preroll);
	hearing->onset_at = 0;
	hearing->heard = 0;
}

static void detector_start(struct sess *sess, enum audio_format format)
{
	const struct cfg_speculation *conf = &sess->cfg->speculation;
	struct hearing *hearing = &sess->agent->hearing;
	struct audio_detector_conf detector = {.level_dbfs = (unsigned)conf->level_dbfs,
					       .onset_ms = (unsigned)(conf->onset / BC_USEC_PER_MS),
					       .pause_ms = (unsigned)(conf->pause / BC_USEC_PER_MS),
					       .rise_db = (unsigned)conf->level_rise};
	bool told = hearing->detector.told;

	hearing->format = format;
	audio_detector_init(&hearing->detector, format, &detector);
	audio_detector_told(&hearing->detector, told);
}

void hear_configure(struct sess *sess, struct bc_span session)
{
	struct hearing *hearing = &sess->agent->hearing;
	enum audio_format format = format_of(session, hearing->on ? hearing->format : AUDIO_PCM16);

	if (sess->agent->spec == NULL) {
		return;
	}
	if (!hearing->on) {
		hearing->on = true;
		bc_buf_init(&hearing->audio, sess->cfg->speculation.audio_max);
		bc_buf_init(&hearing->transcript, TRANSCRIPT_MAX);
		bc_buf_init(&hearing->words.pending, TRANSCRIPT_MAX);
		detector_start(sess, format);
	} else if (format != hearing->format) {
		bc_usec position = hear_position(sess);

		hear_cleared(sess); /* its audio is that of another format */
		detector_start(sess, format);
		hearing->shift = position;
		hearing->voiced = 0;
	}
}

void hear_fini(struct agent *agent)
{
	if (agent->hearing.on) {
		bc_buf_release(&agent->hearing.audio);
		preroll_forget(&agent->hearing.preroll);
		bc_buf_release(&agent->hearing.transcript);
		bc_buf_release(&agent->hearing.words.pending);
	}
}

static size_t preroll_bytes(const struct hearing *hearing)
{
	unsigned ms = PREROLL_MS + (hearing->detector.told ? TOLD_MS : 0);

	return (size_t)audio_rate(hearing->format) * ms / 1000 * audio_sample_size(hearing->format);
}

/* Drop audio of a turn that is over, or too long. */
static void trim(struct hearing *hearing, size_t keep)
{
	size_t len = bc_buf_len(&hearing->audio);

	keep -= keep % audio_sample_size(hearing->format);
	if (len > keep) {
		size_t cut = len - keep;

		cut -= cut % audio_sample_size(hearing->format);
		bc_buf_consume(&hearing->audio, cut);
		hearing->onset_at -= hearing->onset_at < cut ? hearing->onset_at : cut;
		hearing->heard -= hearing->heard < cut ? hearing->heard : cut;
	}
}

/* What came last belongs to no turn: of it and what came before, keep the beginning of a word that is just being said. */
static void settle(struct hearing *hearing)
{
	preroll_keep(&hearing->preroll, bc_buf_span(&hearing->audio), preroll_bytes(hearing),
		     audio_sample_size(hearing->format));
	bc_buf_clear(&hearing->audio);
	hearing->onset_at = 0;
	hearing->heard = 0;
}

bc_usec hear_position(const struct sess *sess)
{
	const struct hearing *hearing = &sess->agent->hearing;
	bc_usec position = stream_time(hearing, hearing->detector.samples) + hearing->shift;
	bc_usec typed = hearing->opened + (sess_now(sess) - hearing->opened_at);

	if (hearing->turn_open && !hearing->spoken && typed > position) {
		position = typed;
	}
	return position > hearing->last_input ? position : hearing->last_input;
}

void hear_changed(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	/* Whatever began before this, at the same time of a coarse clock, has not heard it: time goes on by a little. */
	hearing->last_input = hear_position(sess) + 1;
	hearing->opened++;
}

/* From here on the samples count the time again. */
static void count_samples(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	hearing->shift = hear_position(sess) - stream_time(hearing, hearing->detector.samples);
}

void hear_open(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	if (hearing->turn_open) {
		return;
	}
	hearing->opened = hear_position(sess);
	spec_heard(sess->agent->spec, hearing->opened, hearing->last_input);
	hearing->opened_at = sess_now(sess);
	hearing->turn_open = true;
	hearing->spoken = false;
	hearing->turn++;
	hearing->words.given = false;
	hearing->words.complete = false;
	hearing->words.unasked = false;
	hearing->words.settled = 0;
	bc_buf_clear(&hearing->transcript);
	spec_turn_begin(sess->agent->spec, hearing->turn);
	reasoner_turn_begin(sess);
	predict_turn(sess);
	prepare_turn(sess);
}

/* The running turn has a voice. */
static void speak(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	hear_open(sess);
	if (!hearing->spoken) {
		size_t before = preroll_give(&hearing->preroll, &hearing->audio);

		hearing->heard += before;
		hearing->onset_at += before;
		count_samples(sess);
		hearing->spoken = true;
	}
	words_resumed(sess);
}

/* Room for len bytes more behind the audio that is kept; NULL: not even for what stands before a turn. */
static char *make_room(struct hearing *hearing, size_t len)
{
	char *room;

	if (!hearing->turn_open || !hearing->spoken) {
		settle(hearing);
	} else if (hearing->overflow) {
		trim(hearing, preroll_bytes(hearing));
	}
	if (bc_buf_room(&hearing->audio, len, &room) == BC_OK) {
		return room;
	}
	/* A turn this long is not guessed on; what may belong to the next one is kept. */
	hearing->overflow = true;
	trim(hearing, preroll_bytes(hearing));
	return bc_buf_room(&hearing->audio, len, &room) == BC_OK ? room : NULL;
}

static double seconds(bc_usec time)
{
	return (double)time / (double)BC_USEC_PER_SEC;
}

static void note(struct sess *sess, enum audio_event event)
{
	struct hearing *hearing = &sess->agent->hearing;

	if (hearing->detector.last_voiced != hearing->voiced) {
		bc_usec voiced =
			stream_time(hearing, hearing->detector.last_voiced) + hearing->shift;

		hearing->voiced = hearing->detector.last_voiced;
		hearing->last_input = voiced > hearing->last_input ? voiced : hearing->last_input;
	}
	if (event != AUDIO_NONE) {
		hear_event(sess, event);
	}
}

void hear_event(struct sess *sess, enum audio_event event)
{
	struct hearing *hearing = &sess->agent->hearing;
	bc_usec position = hear_position(sess);

	spec_heard(sess->agent->spec, position, hearing->last_input);
	switch (event) {
	case AUDIO_ONSET:
		ledger_note(sess, LEDGER_CALLER, "speaks", "stream=%.3f", seconds(position));
		hearing->onset_at = hearing->heard;
		speak(sess);
		spec_speech(sess->agent->spec, position, true);
		break;
	case AUDIO_PAUSE:
		ledger_note(sess, LEDGER_CALLER, "pauses", "stream=%.3f", seconds(position));
		ear_paused(hearing);
		spec_speech(sess->agent->spec, position, false);
		pass_pause(sess);
		break;
	case AUDIO_NONE:
		break;
	}
}

/* Let the detector take what was kept since the last time. */
static void listen(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	while (hearing->heard < bc_buf_len(&hearing->audio)) {
		struct bc_span audio = bc_buf_span(&hearing->audio);
		size_t used;
		enum audio_event event = audio_detector_feed(
			&hearing->detector, (const uint8_t *)audio.ptr + hearing->heard,
			audio.len - hearing->heard, &used);

		hearing->heard += used;
		note(sess, event);
	}
}

/* Between turns, while nobody speaks and nothing is guessed: then a piece of silence changes nothing for anybody. */
static bool is_idle(const struct agent *agent)
{
	return !agent->hearing.turn_open && !agent->hearing.detector.speech &&
	       agent->take.state == TAKE_IDLE && !agent->take.waits && agent->reasoner == NULL &&
	       spec_is_idle(agent->spec);
}

/* What was heard may make something stable, or worth a look. */
static void advance(struct sess *sess)
{
	struct agent *agent = sess->agent;

	spec_heard(agent->spec, hear_position(sess), agent->hearing.last_input);
	/* A reasoner looks when there are words, and no pass is made beside it. */
	agent->passes.wanted =
		agent->passes.wanted || (agent->reasoner == NULL && spec_pass_is_due(agent->spec));
	pass_advance(sess);
}

/* A raw JSON string; some clients escape what need not be: slashes, plus signs. */
static enum bc_err decode(uint8_t *room, struct bc_span raw, size_t *ret_len)
{
	enum bc_err err = b64_decode(room, bc_span(raw.ptr + 1, raw.len - 2), ret_len);
	char *plain;

	if (err == BC_OK || memchr(raw.ptr, '\\', raw.len) == NULL) {
		return err;
	}
	plain = field_text(raw);
	if (plain == NULL) {
		return BC_E_NOMEM;
	}
	err = b64_decode(room, bc_span_str(plain), ret_len);
	free(plain);
	return err;
}

/* Whether a piece of this many bytes is likely to be more silence, which goes where the last of it is kept, and is short. */
static bool is_aside(const struct hearing *hearing, size_t len)
{
	return (!hearing->turn_open || !hearing->spoken) && !hearing->detector.speech &&
	       len <= ASIDE_MAX && len <= hearing->audio.limit;
}

/*
 * Listen to a piece before it is kept.  Most callers are silent at a time, and memory that a session keeps has left every
 * cache when it is written to again: so silence is written there once.  False: no audio.
 */
static bool hear_aside(struct sess *sess, struct bc_span raw)
{
	struct hearing *hearing = &sess->agent->hearing;
	/* Cleared, it would be written twice. */
	__attribute__((uninitialized)) uint8_t audio[ASIDE_MAX];
	enum audio_event event;
	size_t used;
	size_t len;

	settle(hearing);
	if (decode(audio, raw, &len) != BC_OK) {
		return false;
	}
	hearing->last_audio = sess_now(sess);
	event = audio_detector_feed(&hearing->detector, audio, len, &used);
	if (event == AUDIO_NONE) {
		note(sess, event);
		preroll_keep(&hearing->preroll, bc_span((const char *)audio, len),
			     preroll_bytes(hearing), audio_sample_size(hearing->format));
		return true;
	}
	if (bc_buf_put(&hearing->audio, audio, len) == BC_OK) {
		hearing->heard = used;
	} else {
		hearing->overflow = true; /* the turn lacks a piece: it is not guessed on */
	}
	note(sess, event);
	listen(sess);
	return true;
}

/* Keep a piece and listen to it; false: no audio, or it is not kept. */
static bool hear_kept(struct sess *sess, struct bc_span raw, size_t size)
{
	struct hearing *hearing = &sess->agent->hearing;
	char *room = make_room(hearing, size);
	size_t len;

	/* Decoded where it will stay. */
	if (room == NULL || decode((uint8_t *)room, raw, &len) != BC_OK) {
		return false;
	}
	bc_buf_grow(&hearing->audio, len);
	hearing->last_audio = sess_now(sess);
	listen(sess);
	return true;
}

void hear_audio(struct sess *sess, struct bc_span text)
{
	struct hearing *hearing = &sess->agent->hearing;
	struct bc_span raw;
	size_t size;

	if (!hearing->on) {
		return;
	}
	raw = field_raw(text, "audio");
	if (!json_raw_is_string(raw)) {
		return;
	}
	size = raw.len / 4 * 3 + 3;
	if (is_aside(hearing, size) ? !hear_aside(sess, raw) : !hear_kept(sess, raw, size)) {
		hear_changed(sess); /* it may be a voice, and nobody has heard it (J5) */
	}
	if (sess->agent->eager.watched) {
		eager_listen(sess);
	}
	if (!is_idle(sess->agent)) {
		advance(sess);
	}
}

void hear_ends(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	if (!hearing->on) {
		return;
	}
	/* What was sent up to here belongs to this turn; voice that follows begins the next one. */
	audio_detector_rest(&hearing->detector);
	spec_speech(sess->agent->spec, hear_position(sess), false);
	if (!hearing->turn_open || hearing->words.given) {
		return;
	}
	spec_input_complete(sess->agent->spec, true);
	if (!spec_has_heard_all(sess->agent->spec)) {
		pass_pause(sess);
	}
}

bool hear_ends_clause(struct bc_span text)
{
	while (text.len > 0 && text.ptr[text.len - 1] == ' ') {
		text.len--;
	}
	return text.len > 0 && memchr(",.?!;:", text.ptr[text.len - 1], 6) != NULL;
}

void hear_clause_ended(struct sess *sess)
{
	spec_clause_ended(sess->agent->spec);
	pass_clause_ended(sess);
}

void hear_transcript(struct sess *sess, struct bc_span text)
{
	struct hearing *hearing = &sess->agent->hearing;
	struct bc_span raw = field_raw(text, "delta");
	const struct item *item;
	char id[SESS_ID_MAX];
	char *delta;
	size_t len;

	if (!hearing->on || !json_raw_is_string(raw)) {
		return;
	}
	item = field_id(text, "item_id", id) ? items_find(&sess->agent->items, id) : NULL;
	if (item != NULL && item->placed) {
		return; /* late words of a turn that was committed */
	}
	delta = malloc(raw.len);
	if (delta != NULL && json_string_get(raw, delta, raw.len, &len) == BC_OK &&
	    hearing->turn_open && !hearing->words.given &&
	    bc_buf_put(&hearing->transcript, delta, len) == BC_OK &&
	    hear_ends_clause(bc_span(delta, len))) {
		hear_clause_ended(sess);
	}
	free(delta);
}

void hear_unheard(struct sess *sess)
{
	const struct hearing *hearing = &sess->agent->hearing;

	if (hearing->on && hearing->turn_open && !hearing->spoken) {
		spec_verdict_void(sess->agent->spec);
		spec_turn_unheard(sess->agent->spec);
	}
}

void hear_committed(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct hearing *hearing = &agent->hearing;
	bool speaks = hearing->on && hearing->detector.speech;

	if (!hearing->on) {
		agent->committed_turn++;
		return;
	}
	if (!hearing->turn_open) {
		/* The provider heard something the detector did not: a turn without guesses. */
		hear_open(sess);
		spec_turn_unheard(agent->spec);
	}
	if (hearing->overflow) {
		spec_turn_unheard(agent->spec);
	}
	agent->committed_turn = hearing->turn;
	pass_turn_committed(sess);
	count_samples(sess);
	hearing->turn_open = false;
	hearing->overflow = false;
	hearing->onset_at = hearing->onset_at > bc_buf_len(&hearing->audio) ? 0 : hearing->onset_at;
	if (speaks) {
		/* The next turn has begun before the provider said that this one is over. */
		trim(hearing,
		     bc_buf_len(&hearing->audio) - hearing->onset_at + preroll_bytes(hearing));
		speak(sess);
	} else {
		settle(hearing);
		bc_buf_release(&hearing->audio);
	}
}

void hear_cleared(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	if (!hearing->on) {
		return;
	}
	count_samples(sess);
	if (hearing->detector.told) {
		(void)audio_detector_tell(&hearing->detector,
					  false); /* who tells has forgotten it */
	}
	hearing->turn_open = false;
	hearing->overflow = false;
	forget_audio(hearing);
	bc_buf_clear(&hearing->transcript);
	pass_withdraw(sess, hearing->turn);
}

void hear_forgotten(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	if (hearing->on && hearing->turn_open) {
		hearing->overflow = true;
		spec_verdict_void(sess->agent->spec);
	}
}

bc_usec hear_quiet(const struct sess *sess)
{
	const struct hearing *hearing = &sess->agent->hearing;
	uint64_t silent = hearing->detector.samples - hearing->detector.last_voiced;
	bc_usec streamed =
		(bc_usec)(silent * (uint64_t)BC_USEC_PER_SEC / audio_rate(hearing->format));

	if (!hearing->on || hearing->detector.last_voiced == 0) {
		return INT64_MAX; /* nothing was spoken: typed words end where they end */
	}
	return streamed + sess_now(sess) - hearing->last_audio;
}
