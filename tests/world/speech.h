/*
 * Spoken turns: how long each word takes and which frames the caller's microphone gives.
 * A word of n letters lasts a + b*n seconds times the speaker's factor; in a token with a digit, '_' or '@'
 * every digit or symbol is spoken as a word of three letters of its own.
 */
#ifndef BACKCHANNEL_TESTS_WORLD_SPEECH_H
#define BACKCHANNEL_TESTS_WORLD_SPEECH_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "tests/world/carrier.h"
#include "tests/world/dialogue.h"
#include "tests/world/draw.h"
#include "tests/world/timing.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Seconds one blank-separated word takes at speaker factor 1. */
double speech_word_seconds(const struct timing *timing, struct bc_span word);

/* Seconds a text takes at speaker factor 1, e.g. an agent's reply. */
double speech_text_seconds(const struct timing *timing, const char *text);

/* The factor of a dialogue's speaker: one draw for all its turns. */
double speech_speaker_factor(const struct timing *timing, uint64_t seed, const char *dialogue);

/* Silence put between two words of a turn. */
struct speech_pause {
	unsigned before_word; /* the pause stands in front of this word; at least 1 */
	double seconds;
};

struct speech_conf {
	const struct timing *timing;
	uint64_t seed;
	const char *dialogue; /* id */
	unsigned turn;
	bool repair;                       /* speak the repaired wording */
	double silence;                    /* that ends a turn, seconds; 0: the timing's */
	const struct speech_pause *pauses; /* ascending; NULL: none */
	size_t pauses_n;
};

/* One 20 ms frame to come. */
struct speech_frame {
	bool voiced;
	struct carrier_mark mark; /* when voiced */
};

/* A spoken turn: from the first frame of its first word to the last frame of its last word. */
struct speech {
	struct speech_frame *frames;
	size_t n;
};

/* BC_E_NOMEM; BC_E_LIMIT: too many words or turns for the carrier.  Every word gets at least one frame. */
enum bc_err speech_make(const struct speech_conf *conf, const struct dialogue_turn *turn,
			struct speech *ret) BC_MUST;

void speech_release(struct speech *speech);

/*
 * Pauses of a turn by chance: with probability pause_rate one of 150 to 900 ms, and with probability
 * resume_rate one that outlasts the provider's silence by 0 to 1,000 ms, so that speech resumes after the
 * commit; at the word after a comma where there is one, else at a drawn word.  Returns how many (0 to 2) were
 * written to out, ascending.
 */
size_t speech_pauses(const struct speech_conf *conf, const struct dialogue_turn *turn,
		     double pause_rate, double resume_rate, struct speech_pause out[2]);

#endif
