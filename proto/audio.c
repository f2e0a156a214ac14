#include "proto/audio.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "daemon/base/bug.h"

#define FULL_SCALE 32768.0
#define FLOOR_UNIT \
	256 /* in which energies of the noise are kept: a window at full scale fits 32 bits */
#define FLOOR_RUN   (500 / AUDIO_WINDOW_MS)
#define ABOVE_NOISE 10 /* times the energy of noise: 10 dB */

#define ULAW_BIAS    33 /* added to the 14-bit magnitude, so that segments begin at powers of two */
#define ULAW_MAX     0x1fff /* largest biased magnitude */
#define ALAW_TOGGLED 0x55   /* even bits are sent inverted */

unsigned audio_rate(enum audio_format format)
{
	return format == AUDIO_PCM16 ? 24000 : 8000;
}

unsigned audio_sample_size(enum audio_format format)
{
	return format == AUDIO_PCM16 ? 2 : 1;
}

int16_t audio_sample(enum audio_format format, const uint8_t *at)
{
	switch (format) {
	case AUDIO_PCMU:
		return audio_ulaw_to_linear(*at);
	case AUDIO_PCMA:
		return audio_alaw_to_linear(*at);
	case AUDIO_PCM16:
	default:
		return (int16_t)((unsigned)at[1] << 8 | at[0]);
	}
}

/*
 * Both laws: sign, 3 bits of segment, 4 bits of position in the segment.  The linear value is the middle
 * of the interval that the code stands for.
 */

int16_t audio_ulaw_to_linear(uint8_t code)
{
	unsigned sent = (uint8_t)~code;
	unsigned segment = sent >> 4 & 7;
	unsigned position = sent & 15;
	int magnitude = (int)((2 * position + ULAW_BIAS) << segment) - ULAW_BIAS;

	/* 14-bit scale to 16 bits. */
	return (int16_t)((sent & 0x80) != 0 ? -4 * magnitude : 4 * magnitude);
}

int16_t audio_alaw_to_linear(uint8_t code)
{
	unsigned sent = code ^ ALAW_TOGGLED;
	unsigned segment = sent >> 4 & 7;
	unsigned position = sent & 15;
	int magnitude = (int)(2 * position + 1);

	/* The first two segments have the same step. */
	if (segment > 0) {
		magnitude = (int)((2 * position + 33) << (segment - 1));
	}
	/* 13-bit scale (of half steps) to 16 bits. */
	return (int16_t)((sent & 0x80) != 0 ? 8 * magnitude : -8 * magnitude);
}

/* Distance from zero, with the interval of -1 mirroring that of 0, so that INT16_MIN has one too. */
static unsigned magnitude_of(int16_t sample)
{
	return (unsigned)(sample < 0 ? ~sample : sample);
}

uint8_t audio_linear_to_ulaw(int16_t sample)
{
	unsigned magnitude = (magnitude_of(sample) >> 2) + ULAW_BIAS;
	unsigned segment = 0;
	unsigned code;

	if (magnitude > ULAW_MAX) {
		magnitude = ULAW_MAX;
	}
	while (magnitude >> (segment + 6) != 0) {
		segment++;
	}
	code = segment << 4 | (magnitude >> (segment + 1) & 15);
	return (uint8_t) ~(code | (sample < 0 ? 0x80U : 0));
}

uint8_t audio_linear_to_alaw(int16_t sample)
{
	unsigned magnitude = magnitude_of(sample) >> 4;
	unsigned segment = 0;
	unsigned position = magnitude;

	if (magnitude > 15) {
		segment = 1;
		while (magnitude >> (segment + 4) != 0) {
			segment++;
		}
		position = magnitude >> (segment - 1) & 15;
	}
	return (uint8_t)((segment << 4 | position | (sample < 0 ? 0 : 0x80U)) ^ ALAW_TOGGLED);
}

static unsigned window_size(enum audio_format format)
{
	return audio_rate(format) / 1000 * AUDIO_WINDOW_MS;
}

/* Of a window of that level. */
static uint64_t energy_at(enum audio_format format, unsigned level_dbfs)
{
	double energy = FULL_SCALE * FULL_SCALE * window_size(format);

	/* Times 10 to the power of -level/10; a few times per session, so a loop is fast enough. */
	for (unsigned i = 0; i < level_dbfs; i++) {
		energy *= 0.79432823472428150;
	}
	return (uint64_t)energy;
}

void audio_detector_init(struct audio_detector *detector, enum audio_format format,
			 const struct audio_detector_conf *conf)
{
	*detector = (struct audio_detector){.conf = *conf,
					    .format = format,
					    .energy_silent = energy_at(format, conf->level_dbfs),
					    .floor_now = UINT32_MAX};
}

/* ---- noise ---- */

static void note_floor(struct audio_detector *detector)
{
	uint32_t energy = (uint32_t)(detector->window_energy / FLOOR_UNIT);

	detector->floor_now = energy < detector->floor_now ? energy : detector->floor_now;
	if (++detector->floor_windows == FLOOR_RUN) {
		detector->floor_before = detector->floor_now;
		detector->floor_now = UINT32_MAX;
		detector->floor_windows = 0;
	}
}

static uint64_t noise(const struct audio_detector *detector)
{
	uint32_t least = detector->floor_now < detector->floor_before ? detector->floor_now
								      : detector->floor_before;

	return (uint64_t)least * FLOOR_UNIT;
}

bool audio_detector_is_noisy(const struct audio_detector *detector)
{
	return noise(detector) > detector->energy_silent;
}

bool audio_detector_raise(struct audio_detector *detector)
{
	const struct audio_detector_conf *conf = &detector->conf;
	unsigned rise = conf->rise_db < conf->level_dbfs ? conf->rise_db : conf->level_dbfs;
	uint64_t wanted = noise(detector) * ABOVE_NOISE;

	if (wanted > energy_at(detector->format, conf->level_dbfs - rise)) {
		return false;
	}
	if (wanted > detector->energy_silent) {
		detector->energy_silent = wanted;
	}
	return true;
}

void audio_detector_lower(struct audio_detector *detector)
{
	uint64_t least = energy_at(detector->format, detector->conf.level_dbfs);
	uint64_t wanted = noise(detector) * ABOVE_NOISE;

	wanted = wanted < least ? least : wanted;
	if (wanted < detector->energy_silent) {
		detector->energy_silent = wanted;
	}
}

unsigned audio_detector_level(const struct audio_detector *detector)
{
	unsigned level = detector->conf.level_dbfs;

	while (level > 0 && energy_at(detector->format, level) < detector->energy_silent) {
		level--;
	}
	return level;
}

/* ---- windows ---- */

#if defined(__x86_64__)
/* Sum of squares of PCM16 samples, 16 at a time; returns how many were taken. */
__attribute__((target("avx2"))) static unsigned energy_avx2(const uint8_t *bytes, unsigned n,
							    uint64_t *ret)
{
	__m256i zero = _mm256_setzero_si256();
	__m256i sum = zero;
	uint64_t quarters[4];
	unsigned i;

	for (i = 0; n - i >= 16; i += 16) {
		__m256i samples =
			_mm256_loadu_si256((const __m256i *)(const void *)(bytes + (size_t)i * 2));
		__m256i squares = _mm256_madd_epi16(samples, samples);

		sum = _mm256_add_epi64(sum, _mm256_add_epi64(_mm256_unpacklo_epi32(squares, zero),
							     _mm256_unpackhi_epi32(squares, zero)));
	}
	_mm256_storeu_si256((__m256i *)(void *)quarters, sum);
	*ret = quarters[0] + quarters[1] + quarters[2] + quarters[3];
	return i;
}

/* The processor was looked at before main(), so asking is one load in any thread. */
static unsigned energy_wide(const uint8_t *bytes, unsigned n, uint64_t *ret)
{
	*ret = 0;
	return __builtin_cpu_supports("avx2") ? energy_avx2(bytes, n, ret) : 0;
}
#else
static unsigned energy_wide(const uint8_t *bytes, unsigned n, uint64_t *ret)
{
	(void)bytes;
	(void)n;
	*ret = 0;
	return 0;
}
#endif

#ifdef __SSE2__
/* The same, eight at a time, or sixteen where the processor can. */
static unsigned energy_blocks(const uint8_t *bytes, unsigned n, uint64_t *ret)
{
	__m128i zero = _mm_setzero_si128();
	__m128i sum = zero;
	uint64_t halves[2];
	uint64_t wide;
	unsigned i;

	for (i = energy_wide(bytes, n, &wide); n - i >= 8; i += 8) {
		__m128i samples =
			_mm_loadu_si128((const __m128i *)(const void *)(bytes + (size_t)i * 2));
		/* Two squares at full scale are 2^31: as unsigned numbers they still fit. */
		__m128i squares = _mm_madd_epi16(samples, samples);

		sum = _mm_add_epi64(sum, _mm_add_epi64(_mm_unpacklo_epi32(squares, zero),
						       _mm_unpackhi_epi32(squares, zero)));
	}
	_mm_storeu_si128((__m128i *)(void *)halves, sum);
	*ret = wide + halves[0] + halves[1];
	return i;
}
#else
static unsigned energy_blocks(const uint8_t *bytes, unsigned n, uint64_t *ret)
{
	(void)bytes;
	(void)n;
	*ret = 0;
	return 0;
}
#endif

/* Sum of squares of n samples; a window of 240 at full scale stays far below 64 bits. */
static uint64_t energy_of(enum audio_format format, const uint8_t *bytes, unsigned n)
{
	unsigned size = audio_sample_size(format);
	uint64_t sum = 0;
	unsigned first = format == AUDIO_PCM16 ? energy_blocks(bytes, n, &sum) : 0;

	for (unsigned i = first; i < n; i++) {
		int sample = audio_sample(format, bytes + (size_t)i * size);

		sum += (uint64_t)((int64_t)sample * sample);
	}
	return sum;
}

static void add(struct audio_detector *detector, const uint8_t *bytes, unsigned n)
{
	detector->window_energy += energy_of(detector->format, bytes, n);
	detector->window_samples += n;
	detector->samples += n;
}

/*
 * Judge the window that is full.  Runs are counted in whole windows, so an event always falls on the
 * end of a window, whatever the sizes of the messages were.
 */
static enum audio_event close_window(struct audio_detector *detector)
{
	bool voiced = detector->told ? detector->told_voice
				     : detector->window_energy > detector->energy_silent;

	note_floor(detector);
	detector->window_energy = 0;
	detector->window_samples = 0;
	if (voiced != detector->run_voiced) {
		detector->run_voiced = voiced;
		detector->run_ms = 0;
	}
	detector->run_ms += AUDIO_WINDOW_MS;
	if (voiced) {
		detector->last_voiced = detector->samples;
	}
	if (voiced && !detector->speech && detector->run_ms >= detector->conf.onset_ms) {
		detector->speech = true;
		return AUDIO_ONSET;
	}
	if (!voiced && detector->speech && detector->run_ms >= detector->conf.pause_ms) {
		detector->speech = false;
		return AUDIO_PAUSE;
	}
	return AUDIO_NONE;
}

/* Take what belongs to the open window; returns the bytes taken, at least one. */
static size_t fill_window(struct audio_detector *detector, const uint8_t *bytes, size_t len)
{
	unsigned size = audio_sample_size(detector->format);
	unsigned wanted = window_size(detector->format) - detector->window_samples;
	size_t there = len / size;

	if (detector->has_odd) {
		uint8_t sample[2] = {detector->odd, bytes[0]};

		detector->has_odd = false;
		add(detector, sample, 1);
		return 1;
	}
	if (there == 0) {
		detector->odd = bytes[0];
		detector->has_odd = true;
		return 1;
	}
	if (wanted > there) {
		wanted = (unsigned)there;
	}
	add(detector, bytes, wanted);
	return (size_t)wanted * size;
}

void audio_detector_rest(struct audio_detector *detector)
{
	detector->speech = false;
	detector->run_voiced = false;
	detector->run_ms = 0;
}

void audio_detector_told(struct audio_detector *detector, bool on)
{
	detector->told = on;
	detector->told_voice = false;
	audio_detector_rest(detector);
}

enum audio_event audio_detector_tell(struct audio_detector *detector, bool voice)
{
	bool new = voice != detector->speech;

	detector->told_voice = voice;
	detector->speech = voice;
	detector->run_voiced = voice;
	if (!new) {
		return AUDIO_NONE;
	}
	return voice ? AUDIO_ONSET : AUDIO_PAUSE;
}

enum audio_event audio_detector_feed(struct audio_detector *detector, const uint8_t *bytes,
				     size_t len, size_t *ret_used)
{
	unsigned size = window_size(detector->format);
	enum audio_event event = AUDIO_NONE;
	size_t used = 0;

	while (used < len && event == AUDIO_NONE) {
		used += fill_window(detector, bytes + used, len - used);
		if (detector->window_samples == size) {
			event = close_window(detector);
		}
	}
	*ret_used = used;
	return event;
}
