#include "tests/world/speech.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CODE_LETTERS 3    /* letters of a spoken digit or symbol */
#define PAUSE_MIN    0.15 /* seconds */
#define PAUSE_MAX    0.9
#define RESUME_MAX   1.0

static bool is_code(struct bc_span word)
{
	for (size_t i = 0; i < word.len; i++) {
		char c = word.ptr[i];

		if (isdigit((unsigned char)c) || c == '_' || c == '@') {
			return true;
		}
	}
	return false;
}

static bool is_letter(char c)
{
	/* Bytes of a multi-byte character: the first counts, the others do not. */
	return isalpha((unsigned char)c) || ((unsigned char)c & 0xc0) == 0xc0;
}

/* A code: runs of letters are words, every other sign but a closing stop is a word of its own. */
static double code_seconds(const struct timing *timing, struct bc_span word)
{
	double seconds = 0.0;
	unsigned run = 0;

	while (word.len > 0 && strchr(".,?!;:", word.ptr[word.len - 1]) != NULL) {
		word.len--;
	}
	for (size_t i = 0; i < word.len; i++) {
		if (is_letter(word.ptr[i])) {
			run++;
			continue;
		}
		if (run > 0) {
			seconds += timing->word_a + timing->word_b * run;
			run = 0;
		}
		seconds += timing->word_a + timing->word_b * CODE_LETTERS;
	}
	if (run > 0) {
		seconds += timing->word_a + timing->word_b * run;
	}
	return seconds;
}

double speech_word_seconds(const struct timing *timing, struct bc_span word)
{
	unsigned letters = 0;

	if (is_code(word)) {
		return code_seconds(timing, word);
	}
	for (size_t i = 0; i < word.len; i++) {
		letters += is_letter(word.ptr[i]);
	}
	return timing->word_a + timing->word_b * letters;
}

double speech_text_seconds(const struct timing *timing, const char *text)
{
	double seconds = 0.0;
	struct bc_span word;

	for (unsigned i = 0; (word = dialogue_word(text, i)).len > 0; i++) {
		seconds += speech_word_seconds(timing, word);
	}
	return seconds;
}

double speech_speaker_factor(const struct timing *timing, uint64_t seed, const char *dialogue)
{
	struct draw_key key = {.seed = seed,
			       .dialogue = dialogue,
			       .turn = 0,
			       .call = DRAW_NO_CALL,
			       .quantity = "speaker"};

	return draw_lognormal(
		&key, (struct timing_lognormal){.median = 1.0, .sigma = timing->speaker_sigma});
}

/* A list of frames being made. */
struct making {
	struct speech speech;
	size_t cap;
	bool failed;
};

static void frame_add(struct making *making, struct speech_frame frame)
{
	if (making->speech.n == making->cap) {
		size_t cap = making->cap == 0 ? 256 : 2 * making->cap;
		struct speech_frame *frames = realloc(making->speech.frames, cap * sizeof(*frames));

		if (frames == NULL) {
			making->failed = true;
			return;
		}
		making->speech.frames = frames;
		making->cap = cap;
	}
	making->speech.frames[making->speech.n++] = frame;
}

static size_t frames_until(double seconds)
{
	return (size_t)lround(seconds * 1000.0 / CARRIER_FRAME_MS);
}

static double pause_before(const struct speech_conf *conf, unsigned word)
{
	for (size_t i = 0; i < conf->pauses_n; i++) {
		if (conf->pauses[i].before_word == word) {
			return conf->pauses[i].seconds;
		}
	}
	return 0.0;
}

enum bc_err speech_make(const struct speech_conf *conf, const struct dialogue_turn *turn,
			struct speech *ret)
{
	struct making making = {0};
	const char *text = dialogue_text(turn, conf->repair);
	double factor = speech_speaker_factor(conf->timing, conf->seed, conf->dialogue);
	double at =
		0.0; /* exact end of what was spoken; frames follow it without adding up errors */
	struct bc_span word;

	if (conf->turn > CARRIER_TURN_MAX ||
	    dialogue_words(turn, conf->repair) > CARRIER_WORD_MAX) {
		return BC_E_LIMIT;
	}
	for (unsigned i = 0; (word = dialogue_word(text, i)).len > 0 && !making.failed; i++) {
		size_t end;

		at += pause_before(conf, i);
		while (making.speech.n < frames_until(at) && !making.failed) {
			frame_add(&making, (struct speech_frame){.voiced = false});
		}
		at += factor * speech_word_seconds(conf->timing, word);
		end = frames_until(at);
		do {
			struct carrier_mark mark = {
				.turn = conf->turn, .word = i, .repair = conf->repair};

			/* A word is heard with its last frame, never before. */
			mark.last = making.speech.n + 1 >= end;
			frame_add(&making, (struct speech_frame){.voiced = true, .mark = mark});
		} while (making.speech.n < end && !making.failed);
	}
	if (making.failed) {
		speech_release(&making.speech);
		return BC_E_NOMEM;
	}
	*ret = making.speech;
	return BC_OK;
}

void speech_release(struct speech *speech)
{
	free(speech->frames);
	*speech = (struct speech){0};
}

/* The word in front of which a pause stands: the one after a comma, else a drawn one. */
static unsigned pause_place(const struct draw_key *key, const char *text, unsigned words)
{
	for (unsigned i = 0; i + 1 < words; i++) {
		struct bc_span word = dialogue_word(text, i);

		if (word.ptr[word.len - 1] == ',') {
			return i + 1;
		}
	}
	return 1 + (unsigned)(draw_uniform(key) * (words - 1));
}

/* Put a second pause into place; of two at one place the new one stays. */
static size_t pause_insert(struct speech_pause out[2], size_t n, struct speech_pause pause)
{
	if (n == 1 && out[0].before_word < pause.before_word) {
		out[1] = pause;
		return 2;
	}
	if (n == 1 && out[0].before_word > pause.before_word) {
		out[1] = out[0];
		out[0] = pause;
		return 2;
	}
	out[0] = pause;
	return 1;
}

size_t speech_pauses(const struct speech_conf *conf, const struct dialogue_turn *turn,
		     double pause_rate, double resume_rate, struct speech_pause out[2])
{
	struct draw_key key = {.seed = conf->seed,
			       .dialogue = conf->dialogue,
			       .turn = conf->turn,
			       .call = DRAW_NO_CALL,
			       .quantity = "pause"};
	const char *text = dialogue_text(turn, conf->repair);
	unsigned words = dialogue_words(turn, conf->repair);
	size_t n = 0;

	if (words < 2) {
		return 0;
	}
	if (draw_chance(&key, pause_rate)) {
		key.quantity = "pause_place";
		out[n].before_word = pause_place(&key, text, words);
		key.quantity = "pause_length";
		out[n].seconds = PAUSE_MIN + (PAUSE_MAX - PAUSE_MIN) * draw_uniform(&key);
		n++;
	}
	key.quantity = "resume";
	if (draw_chance(&key, resume_rate)) {
		struct speech_pause resume;

		key.quantity = "resume_place";
		resume.before_word = 1 + (unsigned)(draw_uniform(&key) * (words - 1));
		key.quantity = "resume_length";
		resume.seconds = (conf->silence > 0.0 ? conf->silence : conf->timing->vad_silence) +
				 RESUME_MAX * draw_uniform(&key);
		n = pause_insert(out, n, resume);
	}
	return n;
}
