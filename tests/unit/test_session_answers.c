/* How long answers take to begin beside a pass and alone, and what is not begun where passes slow them (U4). */
#include "daemon/config/traits.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define MS BC_USEC_PER_MS
/* With an upstream whose passes slow its answers. */
#define SLOWED                                                                                                     \
	"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n" \
	"assume = [\"parallel_passes=no\"]\n"                                                                      \
	"[[tool]]\nname = \"get_order\"\ndescription = \"x\"\neffect = \"read\"\n"                                 \
	"parameters = { type = \"object\" }\n"                                                                     \
	"request = { method = \"POST\", url = \"http://localhost:1/x\", body = \"{*}\" }\n"

static struct rig rig;

static void begin(const char *config, const char *detection)
{
	talk_begin(&rig, config, "pcm");
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[],'output_modalities':['audio'],'audio':{'input':{'turn_detection':%s}}}}",
	       detection);
	talk_skip(&rig, SESS_CLIENT);
	talk_skip(&rig, SESS_UPSTREAM);
}

static void setup(void)
{
	begin(TALK_CONFIG, "{'type':'server_vad'}");
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* Passes asked for since the last look. */
static unsigned passes(void)
{
	unsigned count = 0;

	while (rig.seen[SESS_UPSTREAM] < rig.count[SESS_UPSTREAM]) {
		json_t *event =
			json_loads(rig.sent[SESS_UPSTREAM][rig.seen[SESS_UPSTREAM]++], 0, NULL);

		count += strcmp(rig_string(event, "response.metadata.bc"), "p") == 0;
		json_decref(event);
	}
	return count;
}

/* The pass of that number begins and ends, and names nothing. */
static void pass_ends(unsigned number)
{
	rig_up(&rig,
	       "{'type':'response.created','response':{'id':'p%u','conversation_id':null,'metadata':{'bc':'p','bc_t':'1','bc_v':'%u'},'output':[]}}",
	       number, number);
	rig_up(&rig,
	       "{'type':'response.done','response':{'id':'p%u','status':'completed','conversation_id':null,'output':[],'usage':{'total_tokens':1}}}",
	       number);
}

/* The caller speaks and pauses, so that a pass begins. */
static void speaks(void)
{
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	ck_assert_uint_eq(passes(), 1);
}

static void ends(void)
{
	rig_up(&rig, "{'type':'input_audio_buffer.speech_stopped','item_id':'u1'}");
	talk_commit(&rig, "u1", NULL);
}

static void item(const char *response, const char *type)
{
	rig_up(&rig,
	       "{'type':'response.output_item.added','response_id':'%s','item':{'id':'m_%s','type':'%s','name':'x','call_id':'c','role':'assistant','status':'in_progress'}}",
	       response, response, type);
}

static void expect_samples(int alone, int beside)
{
	ck_assert_int_eq(rig.noticed[TRAIT_ANSWER_ALONE], alone);
	ck_assert_int_eq(rig.noticed[TRAIT_ANSWER_BESIDE], beside);
}

START_TEST(the_first_item_of_an_answer_is_timed)
{
	bool beside = _i == 1;

	speaks();
	if (!beside) {
		pass_ends(1);
	}
	ends();
	rig_wait(&rig, 100 * MS);
	talk_created(&rig, "r1", "null");
	rig_wait(&rig, 300 * MS);
	if (beside) {
		pass_ends(1); /* it was under way for most of the time */
	}
	item("r1", "message");
	expect_samples(beside ? TRAIT_UNKNOWN : 400, beside ? 400 : TRAIT_UNKNOWN);
	rig_wait(&rig, 300 * MS);
	item("r1", "message");
	talk_done(&rig, "r1", "completed");
	expect_samples(beside ? TRAIT_UNKNOWN : 400, beside ? 400 : TRAIT_UNKNOWN);
}
END_TEST

START_TEST(an_answer_the_client_asks_for_is_timed_from_there)
{
	rig_fini(&rig);
	begin(TALK_CONFIG, "null");
	talk_audio(&rig, 300, true);
	rig_client(&rig, "{'type':'input_audio_buffer.commit'}");
	ck_assert_uint_eq(passes(), 1);
	pass_ends(1);
	talk_commit(&rig, "u1", NULL);
	rig_wait(&rig, 500 * MS); /* the client takes its time */
	rig_client(&rig, "{'type':'response.create'}");
	rig_wait(&rig, 250 * MS);
	talk_created(&rig, "r1", "null");
	item("r1", "message");
	expect_samples(250, TRAIT_UNKNOWN);
}
END_TEST

START_TEST(what_cannot_be_compared_is_not_timed)
{
	if (_i == 0) {
		rig_up(&rig,
		       "{'type':'conversation.item.added','item':{'id':'u1','type':'message','role':'user','content':[{'type':'input_text','text':'Hello.'}]}}");
		rig_client(&rig, "{'type':'response.create'}");
	} else {
		speaks();
		pass_ends(1);
		ends();
	}
	rig_wait(&rig, 300 * MS);
	switch (_i) {
	case 0: /* typed words */
		talk_created(&rig, "r1", "null");
		item("r1", "message");
		break;
	case 1: /* a call */
		talk_created(&rig, "r1", "null");
		item("r1", "function_call");
		item("r1", "message");
		break;
	case 2: /* an answer that nobody waits for any more */
		talk_created(&rig, "r1", "null");
		rig_up(&rig, "{'type':'input_audio_buffer.speech_started','item_id':'u2'}");
		item("r1", "message");
		break;
	case 3: /* the second one, because the first had no item */
		talk_created(&rig, "r1", "null");
		talk_done(&rig, "r1", "completed");
		rig_client(&rig, "{'type':'response.create'}");
		talk_created(&rig, "r2", "null");
		item("r2", "message");
		break;
	default: /* beside the conversation */
		rig_up(&rig,
		       "{'type':'response.created','response':{'id':'o1','conversation_id':null,'metadata':null,'output':[]}}");
		item("o1", "message");
		break;
	}
	expect_samples(TRAIT_UNKNOWN, TRAIT_UNKNOWN);
}
END_TEST

START_TEST(no_pass_is_begun_while_an_answer_it_would_slow_is_awaited)
{
	bool slowed = _i == 1;

	rig_fini(&rig);
	begin(slowed ? SLOWED : TALK_CONFIG, "null");
	talk_audio(&rig, 300, true);
	rig_client(&rig, "{'type':'input_audio_buffer.commit'}");
	ck_assert_uint_eq(passes(), slowed ? 0 : 1);
	talk_commit(&rig, "u1", NULL);
	rig_client(&rig, "{'type':'response.create'}");
	ck_assert_uint_eq(passes(), 0);
	talk_created(&rig, "r1", "null");
	/* The caller speaks again before it is heard. */
	talk_audio(&rig, 300, true);
	talk_audio(&rig, 200, false);
	ck_assert_uint_eq(passes(), slowed ? 0 : 1);
	item("r1", "message");
	talk_audio(&rig, 20, false);
	ck_assert_uint_eq(passes(), slowed ? 1 : 0);
}
END_TEST

START_TEST(a_pause_in_a_turn_is_looked_at_all_the_same)
{
	rig_fini(&rig);
	begin(SLOWED, "{'type':'server_vad'}");
	speaks();
	ends(); /* it runs on behind the turn's end */
	talk_created(&rig, "r1", "null");
	item("r1", "message");
	talk_done(&rig, "r1", "completed");
	pass_ends(1);
	speaks();
	/* Where the provider begins no answers, none is awaited. */
	pass_ends(2);
	rig_up(&rig,
	       "{'type':'session.updated','session':{'tools':[],'audio':{'input':{'turn_detection':{'type':'server_vad','create_response':false}}}}}");
	ends();
	speaks();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("session_answers");
	TCase *c = tcase_create("session_answers");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, the_first_item_of_an_answer_is_timed, 0, 2);
	tcase_add_test(c, an_answer_the_client_asks_for_is_timed_from_there);
	tcase_add_loop_test(c, what_cannot_be_compared_is_not_timed, 0, 5);
	tcase_add_loop_test(c, no_pass_is_begun_while_an_answer_it_would_slow_is_awaited, 0, 2);
	tcase_add_test(c, a_pause_in_a_turn_is_looked_at_all_the_same);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
