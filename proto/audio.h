/*
 * Caller audio as the Realtime protocol carries it, and the gateway's own pause detector.  Pure: counts
 * samples, never wall time.
 */
#ifndef BACKCHANNEL_PROTO_AUDIO_H
#define BACKCHANNEL_PROTO_AUDIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum audio_format {
	AUDIO_PCM16, /* audio/pcm: signed 16 bit little endian, mono, 24,000 samples/s */
	AUDIO_PCMU,  /* audio/pcmu: G.711 mu-law, 8,000 samples/s */
	AUDIO_PCMA   /* audio/pcma: G.711 A-law, 8,000 samples/s */
};

/* Samples per second and bytes per sample of a format. */
unsigned audio_rate(enum audio_format format);
unsigned audio_sample_size(enum audio_format format);

/* One sample (at a byte position that is a multiple of the sample size) as a linear 16-bit value. */
int16_t audio_sample(enum audio_format format, const uint8_t *at);

/* Source: ITU-T G.711. */
int16_t audio_ulaw_to_linear(uint8_t code);
int16_t audio_alaw_to_linear(uint8_t code);
uint8_t audio_linear_to_ulaw(int16_t sample);
uint8_t audio_linear_to_alaw(int16_t sample);

#define AUDIO_WINDOW_MS 10 /* length of the windows whose energy is judged */

struct audio_detector_conf {
	/* a window is voiced when its RMS is above this many dB below full scale, e.g. 45 */
	unsigned level_dbfs;
	unsigned onset_ms; /* voice of this length in a row makes speech, e.g. 30 */
	unsigned pause_ms; /* silence of this length in a row makes a pause, e.g. 150 */
	unsigned
		rise_db; /* by how much noise may raise the level at most, e.g. 20; 0: not at all */
};

enum audio_event {
	AUDIO_NONE,
	AUDIO_ONSET,
	AUDIO_PAUSE
};

/* State of one caller's pause detector; all positions are samples since audio_detector_init(). */
struct audio_detector {
	struct audio_detector_conf conf;
	enum audio_format format;
	uint64_t samples;        /* samples seen */
	uint64_t last_voiced;    /* position behind the last voiced window; 0: none yet */
	uint64_t energy_silent;  /* sum of squares up to which a window is silent */
	uint64_t window_energy;  /* sum of squares of the open window */
	unsigned window_samples; /* samples in the open window */
	unsigned run_ms;         /* length of the current run of equal windows */
	bool run_voiced;         /* kind of the current run */
	bool speech;             /* between an onset and its pause */
	uint8_t odd;             /* first byte of a sample cut by a message boundary */
	bool has_odd;
	bool told;             /* somebody else says what is voice, and makes the events */
	bool told_voice;       /* … and it is */
	uint8_t floor_windows; /* windows in the running half second */
	uint32_t floor_now;    /* energy of the quietest of them, in 256ths */
	uint32_t floor_before; /* of the half second before; 0: there was none */
};

void audio_detector_init(struct audio_detector *detector, enum audio_format format,
			 const struct audio_detector_conf *conf);

/* Speech up to here is over, whatever the detector heard: voice that follows is an onset of its own. */
void audio_detector_rest(struct audio_detector *detector);

/*
 * Whether nothing in the last half second, or a little more, was silent: where there must have been silence, the line is
 * louder than the level.
 */
bool audio_detector_is_noisy(const struct audio_detector *detector);

/* Raise the level to 10 dB above the quietest of that time.  False: it would be too much, and nothing has changed. */
bool audio_detector_raise(struct audio_detector *detector);

/* Lower a level that was raised, where that time was quieter than when it was. */
void audio_detector_lower(struct audio_detector *detector);

/* dB below full scale up to which a window is silent now. */
unsigned audio_detector_level(const struct audio_detector *detector);

/* From now on voice is what audio_detector_tell() says, or (off) what is loud, again; speech that runs is over. */
void audio_detector_told(struct audio_detector *detector, bool on);

/* There is voice from here on, or none.  Returns the event that this makes. */
enum audio_event audio_detector_tell(struct audio_detector *detector, bool voice);

/*
 * Feed bytes up to the first event or the end: returns the event, *ret_used bytes were taken; call again with the
 * rest until AUDIO_NONE.  A sample cut by the end of the bytes is kept and completed by the next call.
 */
enum audio_event audio_detector_feed(struct audio_detector *detector, const uint8_t *bytes,
				     size_t len, size_t *ret_used);

#endif
