/* A request for a shorter silence that falls into what the caller says, to a provider that forgets it over that (U6). */
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define EAGER TALK_CONFIG "[speculation]\neager_turn = true\n"
#define OWN   "{'type':'server_vad','silence_duration_ms':500}"
#define SHORT "{'type':'server_vad','silence_duration_ms':200}"

static struct rig rig;

static void says(const char *type, const char *detection)
{
	rig_up(&rig,
	       "{'type':'%s','session':{'tools':[],'audio':{'input':{'format':{'type':'audio/pcm'},'turn_detection':%s}}}}",
	       type, detection);
}

static void setup(void)
{
	rig_init(&rig, EAGER, true);
	says("session.created", OWN);
	says("session.updated", OWN); /* the gateway's tools */
	talk_audio(&rig, 300, true);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u1'}");
	says("session.updated", SHORT);
	talk_skip(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* Audio as it comes, one piece after the other. */
static void streams(unsigned ms, bool voice)
{
	for (unsigned at = 0; at < ms; at += 20) {
		talk_audio(&rig, 20, voice);
		rig_wait(&rig, 20 * BC_USEC_PER_MS);
	}
}

/* Whether the provider was sent something with this in it, since the test has last looked. */
static bool has_asked(const char *what)
{
	for (unsigned i = rig.seen[SESS_UPSTREAM]; i < rig.count[SESS_UPSTREAM]; i++) {
		if (strstr(rig.sent[SESS_UPSTREAM][i], what) != NULL) {
			return true;
		}
	}
	return false;
}

START_TEST(speech_that_is_lost_over_the_request_is_the_last_one)
{
	streams(400, true);
	streams(2620, false);
	ck_assert_int_eq(rig.noticed[TRAIT_SHORT_SILENCE], TRAIT_UNKNOWN);
	ck_assert(!has_asked("session.update"));
	streams(60, false); /* a pause, the client's own silence, and two seconds */
	ck_assert_int_eq(rig.noticed[TRAIT_SHORT_SILENCE], 0);
	ck_assert(has_asked("silence_duration_ms\":500"));
	says("session.updated", OWN);
	rig_silent(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
	/* What it will make of the words it has lost nobody can tell. */
	streams(300, true);
	streams(300, false);
	ck_assert(!has_asked("response.create"));
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u1'}");
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_started");
	rig_expect(&rig, SESS_CLIENT, "input_audio_buffer.speech_stopped"); /* at once */
	talk_commit(&rig, "u1", NULL);
	streams(300, true);
	streams(300, false);
	ck_assert(has_asked("response.create"));
	ck_assert(!has_asked("session.update"));
}
END_TEST

START_TEST(speech_that_begins_twice_is_lost_once)
{
	streams(400, true);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
	ck_assert_int_eq(rig.noticed[TRAIT_SHORT_SILENCE], 0);
	ck_assert(!has_asked("session.update")); /* it would be lost again */
	streams(200, false);
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u2'}");
	talk_commit(&rig, "u2", NULL);
	rig_wait(&rig, 300 * BC_USEC_PER_MS); /* the shorter silence is still in force */
	ck_assert(has_asked("silence_duration_ms\":500"));
}
END_TEST

START_TEST(speech_that_ends_was_not_lost)
{
	switch (_i) {
	case 0: /* late, but it ends */
		streams(2400, false);
		rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
		talk_commit(&rig, "u1", NULL);
		break;
	case 1: /* the caller goes on */
		streams(2400, false);
		streams(400, true);
		streams(2400, false);
		break;
	case 2: /* nothing comes of the client that could be silence */
		streams(1000, false);
		rig_wait(&rig, 20 * BC_USEC_PER_SEC);
		break;
	case 3: /* all of the silence at once: the provider's word is on its way */
		talk_audio(&rig, 5000, false);
		break;
	default: /* another speech, into which nothing has fallen */
		rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
		talk_commit(&rig, "u1", NULL);
		rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
		streams(400, true);
		streams(4000, false);
		break;
	}
	ck_assert_int_eq(rig.noticed[TRAIT_SHORT_SILENCE], TRAIT_UNKNOWN);
	ck_assert(!has_asked("session.update"));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("session_lost_speech");
	TCase *c = tcase_create("session_lost_speech");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, speech_that_is_lost_over_the_request_is_the_last_one);
	tcase_add_test(c, speech_that_begins_twice_is_lost_once);
	tcase_add_loop_test(c, speech_that_ends_was_not_lost, 0, 5);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
