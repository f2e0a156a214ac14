/*
 * The honest word carrier: a frame of "speech" says in its own samples which word of which turn is being
 * spoken, so that a simulated model hears a word only when the audio that carries it has arrived.
 *
 * A voiced frame is 20 ms at about a quarter of full scale.  It holds 52 bits, first bit first, each bit a
 * run of equal samples whose sign is the bit: 16 sync, 8 turn, 11 word, 1 end of word, 1 repair, 15 check.
 * Companding keeps signs, so PCM16 at 24 kHz (9 samples a bit) and G.711 at 8 kHz (3) carry the same.
 * The few samples left over alternate in sign, which no run of equal samples can be mistaken for.
 */
#ifndef BACKCHANNEL_TESTS_WORLD_CARRIER_H
#define BACKCHANNEL_TESTS_WORLD_CARRIER_H

#include "proto/audio.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CARRIER_FRAME_MS    20
#define CARRIER_TURN_MAX    255
#define CARRIER_WORD_MAX    2047
#define CARRIER_SAMPLES_MAX 480 /* samples of the longest frame */
#define CARRIER_BYTES_MAX   (2 * CARRIER_SAMPLES_MAX)

/* What one voiced frame says. */
struct carrier_mark {
	unsigned turn; /* index of the user turn in the dialogue, from 0 */
	unsigned word; /* index of the word in the turn, from 0 */
	bool last;     /* last frame of the word: with it the word has been heard */
	bool repair;   /* the turn is spoken in its self-corrected wording */
};

/* Bytes of one frame of a format: 960 for PCM16, 160 for G.711. */
size_t carrier_frame_size(enum audio_format format);

/*
 * Write one frame of a format into out (carrier_frame_size() bytes): voiced with the mark, or silent when
 * mark is NULL (all samples zero).
 */
void carrier_put(uint8_t *out, enum audio_format format, const struct carrier_mark *mark);

/* Reads marks from a stream of samples cut anywhere. */
struct carrier_reader {
	enum audio_format format;
	int8_t signs[CARRIER_SAMPLES_MAX]; /* ring of the last samples: -1, 0 (too quiet), 1 */
	size_t at;                         /* where the next sample goes */
	size_t held;      /* samples since the start or the last mark, up to the ring's size */
	uint64_t samples; /* samples seen */
	uint8_t odd;      /* first byte of a sample cut by the end of the bytes */
	bool has_odd;
};

void carrier_reader_init(struct carrier_reader *reader, enum audio_format format);

/*
 * Feed bytes up to the next mark or the end: true with *ret filled when a frame was recognised.
 * *ret_used bytes were taken; call again with the rest until it returns false.
 */
bool carrier_read(struct carrier_reader *reader, const uint8_t *bytes, size_t len, size_t *ret_used,
		  struct carrier_mark *ret);

#endif
