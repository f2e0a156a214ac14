/* Lines with noise, and soft voices: what the gateway hears, and whose word counts where it does not (U19). */
#include "proto/b64.h"
#include "tests/unit/session_verdict.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define MS      BC_USEC_PER_MS
#define SAMPLES 480 /* of a piece of 20 ms */

static void setup(void)
{
	verdict_begin(VERDICT_CONFIG);
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* Noise of that amplitude, with or without a voice in it, as it comes. */
static void sounds(unsigned ms, int noise, int voice)
{
	static uint32_t state = 1;
	uint8_t bytes[2 * SAMPLES];
	char text[B64_ENCODED_LEN(sizeof(bytes)) + 1];

	for (unsigned at = 0; at < ms; at += 20) {
		for (int i = 0; i < SAMPLES; i++) {
			int value;

			state = state * 1103515245u + 12345u;
			value = (int)(state >> 16) % (2 * noise + 1) - noise +
				(i / 30 % 2 == 0 ? voice : -voice);
			bytes[2 * i] = (uint8_t)((uint16_t)value & 0xff);
			bytes[2 * i + 1] = (uint8_t)((uint16_t)value >> 8);
		}
		text[b64_encode(text, bytes, sizeof(bytes))] = '\0';
		rig_client(&rig, "{'type':'input_audio_buffer.append','audio':'%s'}", text);
		rig_wait(&rig, 20 * MS);
	}
}

static void started(void)
{
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u'}");
}

static void stopped(void)
{
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u'}");
}

/* A turn as the provider hears it, with its silence of half a second. */
static void turn(int noise, int voice)
{
	static unsigned turns;
	char item[16];

	sounds(100, noise, voice);
	started();
	sounds(300, noise, voice);
	sounds(500, noise, 0);
	stopped();
	(void)snprintf(item, sizeof(item), "u%u", ++turns);
	talk_commit(&rig, item, NULL);
	find_passes();
	mark_count = 0;
}

/* Whether the operator is shown this of the session. */
static bool shows(const char *text)
{
	struct bc_buf out;
	bool found;

	bc_buf_init(&out, 8192);
	ck_assert_int_eq(sess_describe(rig.sess, true, &out), BC_OK);
	ck_assert_int_eq(bc_buf_put(&out, "", 1), BC_OK);
	found = strstr(bc_buf_span(&out).ptr, text) != NULL;
	bc_buf_release(&out);
	return found;
}

START_TEST(a_line_that_is_silent_between_words_is_left_alone)
{
	int noise = _i == 0 ? 0 : 170; /* -50 dBFS */

	for (unsigned i = 0; i < 4; i++) {
		turn(noise, 8000);
	}
	/* The provider's word may be late, and the caller speak again. */
	sounds(300, noise, 8000);
	started();
	sounds(600, noise, 0);
	sounds(900, noise, 8000);
	stopped();
	ck_assert(shows("hears_by=itself level=-45dBFS"));
	/* Also where all comes at once. */
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 600, false);
	talk_audio(&rig, 1500, true);
	stopped();
	ck_assert(shows("hears_by=itself level=-45dBFS"));
}
END_TEST

START_TEST(the_level_rises_above_noise)
{
	static const struct {
		int noise;
		const char *shown;
	} lines[] = {
		{358, "hears_by=itself level=-34dBFS"}, /* -44 dBFS */
		{568, "hears_by=itself level=-30dBFS"}, /* -40 */
		{900, "hears_by=itself level=-26dBFS"}, /* -36 */
	};
	int noise = lines[_i].noise;

	sounds(100, noise, 8000);
	started();
	sounds(300, noise, 8000);
	sounds(1000, noise, 0);
	find_passes();
	mark_count = 0;
	stopped(); /* the gateway would wait for ever */
	find_passes();
	ck_assert_uint_eq(mark_count, 1);
	ck_assert_msg(shows(lines[_i].shown), "%d", _i);
	talk_commit(&rig, "u1", NULL);
	sounds(600, noise, 0);
	mark_count = 0;
	find_passes();
	ck_assert_uint_eq(mark_count, 0); /* noise is no voice any more */
	sounds(400, noise, 8000);
	started();
	find_passes();
	mark_count = 0;
	sounds(160, noise, 0);
	find_passes();
	ck_assert_uint_eq(mark_count, 1); /* a pause, before the provider speaks of it */
	sounds(1000, 0, 0);
	stopped(); /* and the noise has gone */
	ck_assert(shows("hears_by=itself level=-45dBFS"));
}
END_TEST

/* A line on which the provider's word alone counts. */
static void noisy(void)
{
	sounds(100, 1800, 8000);
	started();
	sounds(300, 1800, 8000);
	sounds(1000, 1800, 0);
	stopped();
	ck_assert(shows("hears_by=provider"));
	talk_commit(&rig, "u1", NULL);
	find_passes();
	mark_count = 0;
}

START_TEST(on_a_line_too_noisy_the_providers_word_counts)
{
	noisy();
	sounds(1000, 1800, 0);
	find_passes();
	ck_assert_uint_eq(mark_count, 0);
	sounds(100, 1800, 8000);
	started();
	sounds(300, 1800, 8000);
	sounds(500, 1800, 0);
	mark_count = 0;
	find_passes();
	mark_count = 0;
	stopped();
	find_passes();
	ck_assert_uint_eq(mark_count, 1);
	/* A hold waits longer, for nobody hears whether the caller goes on. */
	answer_pass("p2", "book", TALK_NIGHT, NULL);
	talk_commit(&rig, "u2", "u1");
	talk_skip(&rig, SESS_UPSTREAM);
	talk_created(&rig, "r1", "null");
	expect_cancel("r1");
	cancelled("r1");
	sounds(860, 1800, 0);
	ck_assert_uint_eq(rig.run_count, 0);
	sounds(40, 1800, 0);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig_start(&rig, 0));
	rig_finish(&rig, 0, "{}");
}
END_TEST

START_TEST(the_gateway_hears_by_itself_where_the_provider_does_not)
{
	noisy();
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[],'audio':{'input':{'turn_detection':%s}}}}",
	       _i == 0 ? "null" : "{'type':'semantic_vad'}");
	ck_assert(shows(_i == 0 ? "hears_by=itself" : "hears_by=provider"));
	/* Audio that was taken back has no voice. */
	started();
	sounds(100, 1800, 8000);
	rig_up(&rig, "{'type':'input_audio_buffer.cleared'}");
	find_passes();
	mark_count = 0;
	sounds(1000, 0, 0);
	find_passes();
	ck_assert_uint_eq(mark_count, 0);
}
END_TEST

START_TEST(a_voice_that_is_not_heard_is_believed)
{
	turn(0, 100); /* -50 dBFS */
	turn(0, 100);
	turn(0, 8000);
	turn(0, 100);
	turn(0, 100);
	ck_assert(shows("hears_by=itself"));
	turn(0, 100);
	ck_assert(shows("hears_by=provider"));
	started();
	sounds(300, 0, 100);
	stopped();
	find_passes();
	ck_assert_uint_eq(mark_count, 1);
}
END_TEST

START_TEST(a_level_that_is_kept_gives_way_at_once)
{
	rig_fini(&rig);
	verdict_begin(VERDICT_CONFIG "level_rise = 0\n");
	turn(170, 8000);
	ck_assert(shows("hears_by=itself level=-45dBFS"));
	sounds(700, 358, 8000);
	started();
	sounds(700, 358, 0);
	stopped(); /* the pause of the turn before is forgiven */
	talk_commit(&rig, "v1", NULL);
	sounds(700, 358, 8000);
	started();
	sounds(700, 358, 0);
	stopped();
	ck_assert(shows("hears_by=provider"));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("session_ear");
	TCase *c = tcase_create("session_ear");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, a_line_that_is_silent_between_words_is_left_alone, 0, 2);
	tcase_add_loop_test(c, the_level_rises_above_noise, 0, 3);
	tcase_add_test(c, on_a_line_too_noisy_the_providers_word_counts);
	tcase_add_loop_test(c, the_gateway_hears_by_itself_where_the_provider_does_not, 0, 2);
	tcase_add_test(c, a_voice_that_is_not_heard_is_believed);
	tcase_add_test(c, a_level_that_is_kept_gives_way_at_once);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
