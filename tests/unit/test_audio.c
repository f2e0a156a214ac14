#include "proto/audio.h"

#include "daemon/base/bug.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>

/*
 * G.711 by its tables: decision values x(n) and, from them, the values y(n) a decoder puts out, on the scale of the
 * Recommendation (8159 and 4096 for the greatest), for the positive half.
 */

/* Table 2a: mu-law, ends of the segments and the intervals in them. */
static const int ulaw_ends[] = {0, 31, 95, 223, 479, 991, 2015, 4063, 8159};

/* Decision value below interval n of 0..127, counted from zero. */
static int ulaw_decision(int n)
{
	int segment = n / 16;
	int step = 2 << segment;

	/* The first segment begins with an interval of half the length. */
	return segment == 0 ? (n == 0 ? 0 : 2 * n - 1) : ulaw_ends[segment] + step * (n % 16);
}

/* Table 1a: A-law. */
static int alaw_decision(int n)
{
	int segment = n / 16;

	return segment < 2 ? 2 * n : (32 << (segment - 1)) + (2 << (segment - 1)) * (n % 16);
}

START_TEST(ulaw_table)
{
	for (int n = 0; n < 128; n++) {
		/* y(0) is 0; others are the middle of their interval. */
		int below = ulaw_decision(n);
		int above = n == 127 ? 8159 : ulaw_decision(n + 1);
		int value = n == 0 ? 0 : (below + above) / 2;

		ck_assert_int_eq(audio_ulaw_to_linear((uint8_t)(0xff - n)), 4 * value);
		ck_assert_int_eq(audio_ulaw_to_linear((uint8_t)(0x7f - n)), -4 * value);
	}
}
END_TEST

START_TEST(alaw_table)
{
	for (int n = 0; n < 128; n++) {
		int above = n == 127 ? 4096 : alaw_decision(n + 1);
		int value = (alaw_decision(n) + above) / 2;

		ck_assert_int_eq(audio_alaw_to_linear((uint8_t)((0x80 | n) ^ 0x55)), 8 * value);
		ck_assert_int_eq(audio_alaw_to_linear((uint8_t)(n ^ 0x55)), -8 * value);
	}
}
END_TEST

START_TEST(known_codes)
{
	ck_assert_uint_eq(audio_linear_to_ulaw(0), 0xff);
	ck_assert_uint_eq(audio_linear_to_ulaw(-1), 0x7f);
	ck_assert_uint_eq(audio_linear_to_ulaw(INT16_MAX), 0x80);
	ck_assert_uint_eq(audio_linear_to_ulaw(INT16_MIN), 0x00);
	ck_assert_int_eq(audio_ulaw_to_linear(0x80), 32124);
	ck_assert_int_eq(audio_ulaw_to_linear(0x00), -32124);
	ck_assert_uint_eq(audio_linear_to_alaw(0), 0xd5);
	ck_assert_uint_eq(audio_linear_to_alaw(-1), 0x55);
	ck_assert_uint_eq(audio_linear_to_alaw(INT16_MAX), 0xaa);
	ck_assert_uint_eq(audio_linear_to_alaw(INT16_MIN), 0x2a);
	ck_assert_int_eq(audio_alaw_to_linear(0xaa), 32256);
	ck_assert_int_eq(audio_alaw_to_linear(0x2a), -32256);
}
END_TEST

START_TEST(code_round_trips)
{
	for (unsigned code = 0; code < 256; code++) {
		/* The negative zero of mu-law has no linear value of its own. */
		unsigned want = code == 0x7f ? 0xff : code;

		ck_assert_uint_eq(audio_linear_to_ulaw(audio_ulaw_to_linear((uint8_t)code)), want);
		ck_assert_uint_eq(audio_linear_to_alaw(audio_alaw_to_linear((uint8_t)code)), code);
	}
}
END_TEST

/* Every sample gets the code whose interval, by the tables, it lies in. */
START_TEST(encoding)
{
	for (int sample = INT16_MIN; sample <= INT16_MAX; sample++) {
		/* The interval of -1 mirrors that of 0. */
		int magnitude = sample < 0 ? -1 - sample : sample;
		int ulaw = (uint8_t)~audio_linear_to_ulaw((int16_t)sample);
		int alaw = audio_linear_to_alaw((int16_t)sample) ^ 0x55;
		int n = ulaw & 0x7f;

		ck_assert_msg((ulaw & 0x80) == (sample < 0 ? 0x80 : 0), "sign of %d", sample);
		ck_assert_msg((alaw & 0x80) == (sample < 0 ? 0 : 0x80), "sign of %d", sample);
		ck_assert_msg(magnitude >= 4 * ulaw_decision(n), "mu-law of %d", sample);
		ck_assert_msg(n == 127 || magnitude < 4 * ulaw_decision(n + 1), "mu-law of %d",
			      sample);
		n = alaw & 0x7f;
		ck_assert_msg(magnitude >= 8 * alaw_decision(n), "A-law of %d", sample);
		ck_assert_msg(n == 127 || magnitude < 8 * alaw_decision(n + 1), "A-law of %d",
			      sample);
	}
}
END_TEST

START_TEST(formats)
{
	static const uint8_t pcm[2] = {0x34, 0xf2};
	static const uint8_t code = 0x12;

	ck_assert_uint_eq(audio_rate(AUDIO_PCM16), 24000);
	ck_assert_uint_eq(audio_rate(AUDIO_PCMU), 8000);
	ck_assert_uint_eq(audio_rate(AUDIO_PCMA), 8000);
	ck_assert_uint_eq(audio_sample_size(AUDIO_PCM16), 2);
	ck_assert_uint_eq(audio_sample_size(AUDIO_PCMU), 1);
	ck_assert_uint_eq(audio_sample_size(AUDIO_PCMA), 1);
	ck_assert_int_eq(audio_sample(AUDIO_PCM16, pcm), 0xf234 - 0x10000);
	ck_assert_int_eq(audio_sample(AUDIO_PCMU, &code), audio_ulaw_to_linear(code));
	ck_assert_int_eq(audio_sample(AUDIO_PCMA, &code), audio_alaw_to_linear(code));
}
END_TEST

static const struct audio_detector_conf conf = {.level_dbfs = 45, .onset_ms = 30, .pause_ms = 150};

/* A recording made of pieces: ms of a square wave of some level, 0 for silence. */
struct recording {
	enum audio_format format;
	uint8_t *bytes;
	size_t len;
	unsigned samples;
};

static void record(struct recording *recording, unsigned ms, int level)
{
	unsigned n = audio_rate(recording->format) / 1000 * ms;
	unsigned size = audio_sample_size(recording->format);
	uint8_t *bytes = realloc(recording->bytes, recording->len + (size_t)n * size);

	ck_assert_ptr_nonnull(bytes);
	recording->bytes = bytes;
	for (unsigned i = 0; i < n; i++) {
		int16_t sample = (int16_t)(i / 4 % 2 == 0 ? level : -level);

		if (recording->format == AUDIO_PCM16) {
			bytes[recording->len] = (uint8_t)sample;
			bytes[recording->len + 1] = (uint8_t)((unsigned)sample >> 8);
		} else if (recording->format == AUDIO_PCMU) {
			bytes[recording->len] = audio_linear_to_ulaw(sample);
		} else {
			bytes[recording->len] = audio_linear_to_alaw(sample);
		}
		recording->len += size;
	}
	recording->samples += n;
}

struct heard {
	enum audio_event event;
	unsigned ms;        /* when */
	unsigned voiced_ms; /* last_voiced by then */
};

#define HEARD_MAX 16

/* Feed in messages of chunk bytes; returns how many events were heard. */
static size_t hear(const struct recording *recording, const struct audio_detector_conf *with,
		   size_t chunk, struct heard heard[HEARD_MAX])
{
	unsigned per_ms = audio_rate(recording->format) / 1000;
	struct audio_detector detector;
	size_t n = 0;

	audio_detector_init(&detector, recording->format, with);
	for (size_t at = 0; at < recording->len; at += chunk) {
		size_t len = recording->len - at < chunk ? recording->len - at : chunk;
		size_t done = 0;

		for (;;) {
			size_t used;
			enum audio_event event = audio_detector_feed(
				&detector, recording->bytes + at + done, len - done, &used);

			done += used;
			if (event == AUDIO_NONE) {
				ck_assert_uint_eq(done, len);
				break;
			}
			ck_assert_uint_lt(n, HEARD_MAX);
			heard[n] = (struct heard){event, (unsigned)(detector.samples / per_ms),
						  (unsigned)(detector.last_voiced / per_ms)};
			n++;
		}
	}
	ck_assert_uint_eq(detector.samples, recording->samples);
	ck_assert(!detector.has_odd);
	return n;
}

static const struct {
	const char *name;
	struct {
		unsigned ms;
		int level;
	} pieces[8];
	struct heard heard[8]; /* ends with AUDIO_NONE */
} scenes[] = {
	{"silence", {{500, 0}}, {{AUDIO_NONE, 0, 0}}},
	{"speech that goes on", {{500, 8000}}, {{AUDIO_ONSET, 30, 30}}},
	{"speech and a pause",
	 {{100, 0}, {400, 8000}, {300, 0}},
	 {{AUDIO_ONSET, 130, 130}, {AUDIO_PAUSE, 650, 500}}},
	{"click", {{100, 0}, {20, 20000}, {300, 0}}, {{AUDIO_NONE, 0, 0}}},
	{"clicks do not add up",
	 {{20, 20000}, {10, 0}, {20, 20000}, {10, 0}, {20, 20000}},
	 {{AUDIO_NONE, 0, 0}}},
	{"breath", {{100, 8000}, {140, 0}, {100, 8000}}, {{AUDIO_ONSET, 30, 30}}},
	{"pause just long enough",
	 {{100, 8000}, {150, 0}},
	 {{AUDIO_ONSET, 30, 30}, {AUDIO_PAUSE, 250, 100}}},
	{"voice in a pause starts it anew",
	 {{100, 8000}, {140, 0}, {10, 8000}, {140, 0}, {10, 0}},
	 {{AUDIO_ONSET, 30, 30}, {AUDIO_PAUSE, 400, 250}}},
	{"two sentences",
	 {{100, 8000}, {200, 0}, {100, 8000}, {200, 0}},
	 {{AUDIO_ONSET, 30, 30},
	  {AUDIO_PAUSE, 250, 100},
	  {AUDIO_ONSET, 330, 330},
	  {AUDIO_PAUSE, 550, 400}}},
	/* 45 dB below full scale are 184. */
	{"below the level", {{500, 160}}, {{AUDIO_NONE, 0, 0}}},
	{"above the level", {{500, 210}}, {{AUDIO_ONSET, 30, 30}}},
	{"murmur is silence",
	 {{100, 8000}, {200, 160}},
	 {{AUDIO_ONSET, 30, 30}, {AUDIO_PAUSE, 250, 100}}},
};

/* The message boundaries must not matter, wherever they are; odd sizes cut samples in two. */
START_TEST(scene)
{
	static const size_t chunks[] = {1, 2, 3, 7, 160, 479, 480, 481, 960, 1000, 4801, SIZE_MAX};

	for (int format = AUDIO_PCM16; format <= AUDIO_PCMA; format++) {
		struct recording recording = {.format = (enum audio_format)format};
		size_t want = 0;

		for (size_t i = 0; scenes[_i].pieces[i].ms > 0; i++) {
			record(&recording, scenes[_i].pieces[i].ms, scenes[_i].pieces[i].level);
		}
		while (scenes[_i].heard[want].event != AUDIO_NONE) {
			want++;
		}
		for (size_t i = 0; i < BC_ARRAY_LEN(chunks); i++) {
			struct heard heard[HEARD_MAX];
			size_t chunk = chunks[i] == SIZE_MAX ? recording.len : chunks[i];
			size_t n = hear(&recording, &conf, chunk, heard);

			ck_assert_msg(n == want, "%s, format %d, chunk %zu: %zu events",
				      scenes[_i].name, format, chunk, n);
			for (size_t j = 0; j < n; j++) {
				const struct heard *wanted = &scenes[_i].heard[j];

				ck_assert_msg(
					heard[j].event == wanted->event &&
						heard[j].ms == wanted->ms &&
						heard[j].voiced_ms == wanted->voiced_ms,
					"%s, format %d, chunk %zu: event %zu is %d at %u, voiced to %u",
					scenes[_i].name, format, chunk, j, (int)heard[j].event,
					heard[j].ms, heard[j].voiced_ms);
			}
		}
		free(recording.bytes);
	}
}
END_TEST

/* The level is measured over the whole window: loud enough for a tenth of it is loud enough at 35 dB, not at 25. */
START_TEST(level_is_mean)
{
	struct audio_detector_conf low = {.level_dbfs = 35, .onset_ms = 10, .pause_ms = 100};
	struct audio_detector_conf high = {.level_dbfs = 25, .onset_ms = 10, .pause_ms = 100};
	struct recording recording = {.format = AUDIO_PCM16};
	struct heard heard[HEARD_MAX];

	/* -20 dB for 1 ms, silence for 9: -30 dB on the whole. */
	record(&recording, 1, 3277);
	record(&recording, 9, 0);
	ck_assert_uint_eq(hear(&recording, &low, recording.len, heard), 1);
	ck_assert_uint_eq(hear(&recording, &high, recording.len, heard), 0);
	free(recording.bytes);
}
END_TEST

START_TEST(nothing_fed)
{
	struct audio_detector detector;
	size_t used = 77;

	audio_detector_init(&detector, AUDIO_PCM16, &conf);
	ck_assert_int_eq(audio_detector_feed(&detector, NULL, 0, &used), AUDIO_NONE);
	ck_assert_uint_eq(used, 0);
}
END_TEST

/* An event ends the call at the window that made it, so that the caller knows the place to the sample. */
START_TEST(stops_at_the_event)
{
	struct recording recording = {.format = AUDIO_PCM16};
	struct audio_detector detector;
	size_t used;

	record(&recording, 100, 8000);
	audio_detector_init(&detector, AUDIO_PCM16, &conf);
	ck_assert_int_eq(audio_detector_feed(&detector, recording.bytes, recording.len, &used),
			 AUDIO_ONSET);
	ck_assert_uint_eq(used, 720 * 2);
	ck_assert_uint_eq(detector.samples, 720);
	free(recording.bytes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("audio");
	TCase *cases = tcase_create("audio");

	tcase_set_timeout(cases, 60);
	tcase_add_test(cases, ulaw_table);
	tcase_add_test(cases, alaw_table);
	tcase_add_test(cases, known_codes);
	tcase_add_test(cases, code_round_trips);
	tcase_add_test(cases, encoding);
	tcase_add_test(cases, formats);
	tcase_add_loop_test(cases, scene, 0, (int)BC_ARRAY_LEN(scenes));
	tcase_add_test(cases, level_is_mean);
	tcase_add_test(cases, nothing_fed);
	tcase_add_test(cases, stops_at_the_event);
	suite_add_tcase(suite, cases);
	return tap_run(suite);
}
