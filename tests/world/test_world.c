#include "proto/audio.h"
#include "tests/unit/tap.h"
#include "tests/world/dialogue.h"
#include "tests/world/draw.h"
#include "tests/world/speech.h"

#include <check.h>
#include <math.h>
#include <string.h>

#define FRAMES 60

static const enum audio_format formats[] = {AUDIO_PCM16, AUDIO_PCMU, AUDIO_PCMA};

/* Marks with every field's extremes, by number. */
static struct carrier_mark mark_of(size_t i)
{
	return (struct carrier_mark){.turn = (unsigned)(i * 41 % (CARRIER_TURN_MAX + 1)),
				     .word = i == 7 ? CARRIER_WORD_MAX : (unsigned)(i * 34),
				     .last = i % 3 == 0,
				     .repair = i % 5 == 0};
}

/* FRAMES voiced frames, every fourth followed by a silent one; returns the bytes written. */
static size_t speech_write(uint8_t *out, enum audio_format format)
{
	size_t size = carrier_frame_size(format);
	size_t len = 0;

	for (size_t i = 0; i < FRAMES; i++) {
		struct carrier_mark mark = mark_of(i);

		carrier_put(out + len, format, &mark);
		len += size;
		if (i % 4 == 3) {
			carrier_put(out + len, format, NULL);
			len += size;
		}
	}
	return len;
}

/* Read everything in chunks of that many bytes; the i-th mark must be the (first + i)-th written. */
static size_t marks_check(enum audio_format format, const uint8_t *bytes, size_t len, size_t chunk,
			  size_t first)
{
	struct carrier_reader reader;
	struct carrier_mark mark;
	size_t n = 0;

	carrier_reader_init(&reader, format);
	for (size_t at = 0; at < len; at += chunk) {
		size_t end = at + chunk < len ? at + chunk : len;
		size_t from = at;
		size_t used;

		while (carrier_read(&reader, bytes + from, end - from, &used, &mark)) {
			struct carrier_mark expected = mark_of(first + n);

			from += used;
			ck_assert_uint_eq(mark.turn, expected.turn);
			ck_assert_uint_eq(mark.word, expected.word);
			ck_assert_int_eq(mark.last, expected.last);
			ck_assert_int_eq(mark.repair, expected.repair);
			n++;
		}
	}
	return n;
}

START_TEST(carrier_survives_chunking)
{
	static const size_t chunks[] = {1, 3, 7, 100, 160, 480, 961, 4096, 1u << 20};
	static uint8_t bytes[2 * FRAMES * CARRIER_BYTES_MAX];
	enum audio_format format = formats[_i];
	size_t len = speech_write(bytes, format);

	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		ck_assert_uint_eq(marks_check(format, bytes, len, chunks[i], 0), FRAMES);
	}
}
END_TEST

START_TEST(carrier_resynchronises)
{
	static uint8_t bytes[2 * FRAMES * CARRIER_BYTES_MAX];
	enum audio_format format = formats[_i];
	size_t len = speech_write(bytes, format);
	size_t frame = carrier_frame_size(format);

	/* Cut anywhere inside the first frame: that one is lost, none of the others. */
	for (size_t cut = audio_sample_size(format) * 5; cut < frame;
	     cut += audio_sample_size(format)) {
		ck_assert_uint_eq(marks_check(format, bytes + cut, len - cut, 333, 1), FRAMES - 1);
	}
}
END_TEST

START_TEST(carrier_hears_nothing_in_other_sound)
{
	static uint8_t bytes[48000];
	struct carrier_reader reader;
	struct carrier_mark mark;
	size_t used;
	uint32_t state = 12345;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		state = state * 1664525u + 1013904223u;
		bytes[i] = (uint8_t)(state >> 24);
	}
	carrier_reader_init(&reader, formats[_i]);
	ck_assert(!carrier_read(&reader, bytes, sizeof(bytes), &used, &mark));
	ck_assert_uint_eq(used, sizeof(bytes));
}
END_TEST

START_TEST(carrier_is_voice_to_an_energy_detector)
{
	struct audio_detector_conf conf = {.level_dbfs = 45, .onset_ms = 30, .pause_ms = 150};
	enum audio_format format = formats[_i];
	struct carrier_mark mark = {.turn = 1, .word = 2};
	size_t size = carrier_frame_size(format);
	uint8_t frame[CARRIER_BYTES_MAX];
	struct audio_detector detector;
	enum audio_event event = AUDIO_NONE;
	unsigned frames = 0;
	size_t used;

	audio_detector_init(&detector, format, &conf);
	carrier_put(frame, format, &mark);
	for (; event == AUDIO_NONE && frames < 10; frames++) {
		event = audio_detector_feed(&detector, frame, size, &used);
	}
	ck_assert_int_eq(event, AUDIO_ONSET);
	carrier_put(frame, format, NULL);
	event = audio_detector_feed(&detector, frame, size, &used);
	for (frames = 0; event == AUDIO_NONE && frames < 10; frames++) {
		event = audio_detector_feed(&detector, frame, size, &used);
	}
	ck_assert_int_eq(event, AUDIO_PAUSE);
}
END_TEST

START_TEST(draws_belong_to_names)
{
	struct draw_key key = {
		.seed = 1, .dialogue = "d", .turn = 2, .call = 3, .quantity = "call_pass"};
	struct draw_key other = key;
	double first = draw_uniform(&key);

	other.quantity = "final_first_audio";
	ck_assert_double_ne(draw_uniform(&other), first);
	other = key;
	other.seed = 2;
	ck_assert_double_ne(draw_uniform(&other), first);
	other = key;
	other.call = DRAW_NO_CALL;
	ck_assert_double_ne(draw_uniform(&other), first);
	/* Asked again after others: the same. */
	ck_assert_double_eq(draw_uniform(&key), first);
}
END_TEST

START_TEST(draws_have_their_distribution)
{
	struct timing_lognormal dist = {.median = 0.55, .sigma = 0.45};
	struct draw_key key = {.seed = 7, .dialogue = "d", .quantity = "x"};
	double logs = 0.0;
	double squares = 0.0;
	unsigned hits = 0;
	unsigned n = 20000;

	for (key.turn = 0; key.turn < n; key.turn++) {
		double x = log(draw_lognormal(&key, dist) / dist.median) / dist.sigma;

		logs += x;
		squares += x * x;
		hits += draw_chance(&key, 0.1);
	}
	ck_assert_double_lt(fabs(logs / n), 0.03);
	ck_assert_double_lt(fabs(squares / n - 1.0), 0.05);
	ck_assert_double_lt(fabs((double)hits / n - 0.1), 0.01);
	ck_assert_double_eq(draw_lognormal(&key, (struct timing_lognormal){0.0, 1.0}), 0.0);
}
END_TEST

static const char dialogue_line[] =
	"{\"id\":\"d1\",\"tools\":[{\"name\":\"find\",\"description\":\"\",\"parameters\":{},"
	"\"read_only\":true,\"inverse\":null}],\"turns\":[{\"user\":\"Find a flight to Rome, please\","
	"\"reply\":\"Here.\",\"calls\":[{\"name\":\"find\",\"args\":{\"city\":\"Rome\"},\"result\":1,"
	"\"ready\":5,\"ready_clause\":5,\"intent_word\":1,\"depends_on\":[],\"order_after\":[],"
	"\"read_only\":true},{\"name\":\"find\",\"args\":{},\"result\":null,\"ready\":1,"
	"\"ready_clause\":6,\"depends_on\":[0],\"order_after\":[]}],"
	"\"repair\":{\"user\":\"Find a flight to Milan, no, Rome, please\",\"n\":8,\"call\":0,"
	"\"arg\":\"city\",\"wrong_value\":\"Milan\",\"wrong_args\":{\"city\":\"Milan\"},"
	"\"wrong_ready\":5,\"ready\":7,\"ready_clause\":7,\"term\":\"no,\"}}]}";

static struct dialogue *dialogue_of(const char *line)
{
	struct dialogue *dialogue = NULL;
	char error[128] = "";

	ck_assert_msg(dialogue_parse(bc_span_str(line), &dialogue, error, sizeof(error)) == BC_OK,
		      "%s", error);
	return dialogue;
}

START_TEST(dialogue_is_read)
{
	struct dialogue *dialogue = dialogue_of(dialogue_line);
	const struct dialogue_turn *turn = &dialogue->turns[0];

	ck_assert_str_eq(dialogue->id, "d1");
	ck_assert_uint_eq(dialogue->turns_n, 1);
	ck_assert_uint_eq(dialogue->tools_n, 1);
	ck_assert_ptr_null(dialogue->tools[0].inverse);
	ck_assert_uint_eq(turn->words, 6);
	ck_assert_uint_eq(turn->calls_n, 2);
	ck_assert_uint_eq(turn->calls[1].depends_n, 1);
	ck_assert_uint_eq(turn->repair->from, 4);
	ck_assert_uint_eq(dialogue_words(turn, true), 8);
	ck_assert_uint_eq(dialogue_ready(turn, 0, false, true), 5);
	ck_assert_uint_eq(dialogue_ready(turn, 0, true, true), 7);
	/* Known before the repair: unchanged; behind it: moved by the words put in. */
	ck_assert_uint_eq(dialogue_ready(turn, 1, true, false), 1);
	ck_assert_uint_eq(dialogue_ready(turn, 1, true, true), 8);
	dialogue_free(dialogue);
}
END_TEST

static const char *const bad_dialogues[] = {
	"{}",
	"{\"id\":\"x\"}",
	"{\"id\":\"x\",\"turns\":[{\"user\":\"a\",\"calls\":[{\"name\":\"f\",\"args\":{}}]}]}",
	"{\"id\":\"x\",\"turns\":[{\"user\":\"a\",\"calls\":[{\"name\":\"f\",\"args\":{},\"ready\":2,"
	"\"ready_clause\":1}]}]}",
	"{\"id\":\"x\",\"turns\":[{\"user\":\"a\",\"calls\":[{\"name\":\"f\",\"args\":{},\"ready\":1,"
	"\"ready_clause\":1,\"depends_on\":[0]}]}]}",
};

START_TEST(bad_dialogue_is_refused)
{
	struct dialogue *dialogue = NULL;
	char error[128] = "";

	ck_assert_int_eq(
		dialogue_parse(bc_span_str(bad_dialogues[_i]), &dialogue, error, sizeof(error)),
		BC_E_INVALID);
	ck_assert_str_ne(error, "");
	ck_assert_int_eq(dialogue_parse(bc_span_str("{"), &dialogue, error, sizeof(error)),
			 BC_E_SYNTAX);
}
END_TEST

START_TEST(words_match)
{
	bool all = false;

	ck_assert_uint_eq(dialogue_match("Find a flight", bc_span_str("find A"), &all), 2);
	ck_assert(all);
	ck_assert_uint_eq(dialogue_match("Yes, please.", bc_span_str("yes please"), &all), 2);
	ck_assert(all);
	ck_assert_uint_eq(dialogue_match("Yes, please.", bc_span_str("yes thanks"), &all), 1);
	ck_assert(!all);
	ck_assert_uint_eq(dialogue_word("  a  bc ", 1).len, 2);
	ck_assert_uint_eq(dialogue_word("  a  bc ", 2).len, 0);
}
END_TEST

static struct timing timing_of(void)
{
	struct timing timing;
	char error[256] = "";

	ck_assert_msg(timing_load(TIMING_JSON, "gpt-realtime", &timing, error, sizeof(error)) ==
			      BC_OK,
		      "%s", error);
	return timing;
}

START_TEST(timing_is_read)
{
	struct timing timing = timing_of();
	char error[256] = "";

	ck_assert_double_eq(timing.call_pass.median, 0.55);
	ck_assert_double_eq(timing.rtt_provider, 0.04);
	ck_assert_double_eq(timing.eagerness, 0.108);
	ck_assert_double_eq(timing.prices.audio_in, 32.0);
	ck_assert_double_eq(timing.prices.assistant_audio_rate, 20.0);
	ck_assert_uint_eq(strspn(timing.sha256, "0123456789abcdef"), 64);
	ck_assert_int_eq(timing_load(TIMING_JSON, "nobody", &timing, error, sizeof(error)),
			 BC_E_NOTFOUND);
	ck_assert_int_eq(timing_load("/nowhere", "x", &timing, error, sizeof(error)), BC_E_SYSTEM);
}
END_TEST

START_TEST(words_take_their_time)
{
	struct timing timing = timing_of();
	double word4 = timing.word_a + 4 * timing.word_b;
	double digit = timing.word_a + 3 * timing.word_b;

	ck_assert_double_eq_tol(speech_word_seconds(&timing, bc_span_str("Rome,")), word4, 1e-9);
	ck_assert_double_eq_tol(speech_word_seconds(&timing, bc_span_str("85041")), 5 * digit,
				1e-9);
	/* "a" and "b" are words of their own, so is the dot inside, not the one at the end. */
	ck_assert_double_eq_tol(speech_word_seconds(&timing, bc_span_str("a@b.")),
				2 * (timing.word_a + timing.word_b) + digit, 1e-9);
	ck_assert_double_eq_tol(speech_text_seconds(&timing, "Rome Rome"), 2 * word4, 1e-9);
}
END_TEST

START_TEST(speech_is_framed)
{
	struct timing timing = timing_of();
	struct dialogue *dialogue = dialogue_of(dialogue_line);
	struct speech_pause pause = {.before_word = 4, .seconds = 0.3};
	struct speech_conf conf = {.timing = &timing,
				   .seed = 3,
				   .dialogue = "d1",
				   .turn = 9,
				   .pauses = &pause,
				   .pauses_n = 1};
	const struct dialogue_turn *turn = &dialogue->turns[0];
	double factor = speech_speaker_factor(&timing, 3, "d1");
	double seconds = 0.3 + factor * speech_text_seconds(&timing, turn->user);
	unsigned ends = 0;
	unsigned silent = 0;
	struct speech speech;

	ck_assert_int_eq(speech_make(&conf, turn, &speech), BC_OK);
	ck_assert_double_eq_tol((double)speech.n * 0.02, seconds, 0.021);
	for (size_t i = 0; i < speech.n; i++) {
		const struct speech_frame *frame = &speech.frames[i];

		if (!frame->voiced) {
			ck_assert_uint_eq(ends, 4);
			silent++;
			continue;
		}
		ck_assert_uint_eq(frame->mark.turn, 9);
		ck_assert_uint_eq(frame->mark.word, ends);
		ends += frame->mark.last;
	}
	ck_assert_uint_eq(ends, 6);
	ck_assert_uint_ge(silent, 14);
	ck_assert_uint_le(silent, 16);
	ck_assert(speech.frames[speech.n - 1].mark.last);
	speech_release(&speech);
	conf.turn = CARRIER_TURN_MAX + 1;
	ck_assert_int_eq(speech_make(&conf, turn, &speech), BC_E_LIMIT);
	dialogue_free(dialogue);
}
END_TEST

START_TEST(pauses_are_drawn)
{
	struct timing timing = timing_of();
	struct dialogue *dialogue = dialogue_of(dialogue_line);
	struct speech_conf conf = {.timing = &timing, .dialogue = "d1"};
	struct speech_pause pauses[2];
	unsigned found = 0;

	ck_assert_uint_eq(speech_pauses(&conf, &dialogue->turns[0], 0.0, 0.0, pauses), 0);
	for (conf.seed = 0; conf.seed < 50; conf.seed++) {
		size_t n = speech_pauses(&conf, &dialogue->turns[0], 1.0, 1.0, pauses);

		ck_assert_uint_ge(n, 1);
		for (size_t i = 0; i < n; i++) {
			ck_assert_uint_ge(pauses[i].before_word, 1);
			ck_assert_uint_lt(pauses[i].before_word, 6);
			ck_assert_double_ge(pauses[i].seconds, 0.15);
			ck_assert_double_le(pauses[i].seconds, 1.5);
		}
		ck_assert(n == 1 || pauses[0].before_word < pauses[1].before_word);
		found += n == 2;
	}
	ck_assert_uint_gt(found, 0);
	dialogue_free(dialogue);
}
END_TEST

/* Speech resumes behind the silence that ends a turn, however long that is. */
START_TEST(resumes_behind_the_silence)
{
	struct timing timing = timing_of();
	struct dialogue *dialogue = dialogue_of(dialogue_line);
	struct speech_conf conf = {.timing = &timing, .dialogue = "d1", .seed = 3};
	struct speech_pause usual[2];
	struct speech_pause longer[2];

	ck_assert_uint_eq(speech_pauses(&conf, &dialogue->turns[0], 0.0, 1.0, usual), 1);
	conf.silence = timing.vad_silence + 0.3;
	ck_assert_uint_eq(speech_pauses(&conf, &dialogue->turns[0], 0.0, 1.0, longer), 1);
	ck_assert_double_ge(usual[0].seconds, timing.vad_silence);
	ck_assert_double_eq_tol(longer[0].seconds, usual[0].seconds + 0.3, 1e-9);
	ck_assert_uint_eq(longer[0].before_word, usual[0].before_word);
	dialogue_free(dialogue);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("world");
	TCase *cases = tcase_create("world");

	tcase_set_timeout(cases, 60);
	tcase_add_loop_test(cases, carrier_survives_chunking, 0, 3);
	tcase_add_loop_test(cases, carrier_resynchronises, 0, 3);
	tcase_add_loop_test(cases, carrier_hears_nothing_in_other_sound, 0, 3);
	tcase_add_loop_test(cases, carrier_is_voice_to_an_energy_detector, 0, 3);
	tcase_add_test(cases, draws_belong_to_names);
	tcase_add_test(cases, draws_have_their_distribution);
	tcase_add_test(cases, dialogue_is_read);
	tcase_add_loop_test(cases, bad_dialogue_is_refused, 0, (int)BC_ARRAY_LEN(bad_dialogues));
	tcase_add_test(cases, words_match);
	tcase_add_test(cases, timing_is_read);
	tcase_add_test(cases, words_take_their_time);
	tcase_add_test(cases, speech_is_framed);
	tcase_add_test(cases, pauses_are_drawn);
	tcase_add_test(cases, resumes_behind_the_silence);
	suite_add_tcase(suite, cases);
	return tap_run(suite);
}
