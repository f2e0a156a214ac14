#include "tests/unit/session_reason.h"

#include <check.h>
#include <string.h>

const char *item;

void reason_begin(const char *toml)
{
	item = "u1";
	verdict_begin(toml);
}

void transcript(const char *delta)
{
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.delta','item_id':'%s','delta':'%s'}",
	       item, delta);
}

void transcribed(const char *id, const char *words)
{
	rig_up(&rig,
	       "{'type':'conversation.item.input_audio_transcription.completed','item_id':'%s','transcript':'%s'}",
	       id, words);
}

void typed(const char *id, const char *words)
{
	rig_up(&rig,
	       "{'type':'conversation.item.added','previous_item_id':null,'item':{'id':'%s','type':'message','role':'user','content':[{'type':'input_text','text':'%s'}]}}",
	       id, words);
}

const char *told(void)
{
	json_t *messages = json_object_get(rig.reasoned, "messages");
	json_t *last = json_array_get(messages, json_array_size(messages) - 1);

	ck_assert_msg(rig.reasoned != NULL, "it was told nothing");
	ck_assert_str_eq(rig_string(last, "role"), "user");
	return rig_string(last, "content");
}

void expect_told(const char *text)
{
	ck_assert_msg(rig.reasoning, "it was not asked");
	ck_assert_str_eq(told(), text);
}

void reason_says(const char *text)
{
	rig_reason_says(&rig, text);
}

void reason_acts(const char *action)
{
	unsigned before = rig.reasons;

	reason_says("<think>so</think>");
	reason_says(action);
	if (rig.reasons == before) { /* else it was a misstep, and the next one has begun */
		rig_reason_ends(&rig);
	}
}

void reason_fails(enum bc_err err, int status, bc_usec retry_after)
{
	ck_assert(rig.reasoning);
	rig.reasoning = false;
	sess_reason_ended(rig.sess, err, status, retry_after);
}

void speak(void)
{
	talk_audio(&rig, 300, true);
	transcript("Where is order 7,");
	expect_told("<partial_query_update rev=\"1\">Where is order 7,</partial_query_update>");
}

void guess(void)
{
	speak();
	reason_acts(ORDER);
	talk_audio(&rig, 400, true);
	ck_assert_uint_eq(rig.run_count, 1);
	ck_assert(rig.runs[0].speculative);
}

void commit(void)
{
	talk_audio(&rig, 300, false);
	talk_commit(&rig, "u1", NULL);
}

void real_call(const char *call, const char *name, const char *arguments)
{
	char id[32];

	(void)snprintf(id, sizeof(id), "r_%s", call);
	talk_created(&rig, id, "null");
	talk_call(&rig, id, call, name, arguments);
	talk_done(&rig, id, "completed");
}
