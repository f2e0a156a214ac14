/* The reasoner of a chance conversation, and the recogniser that gives it words: anything the protocol allows, and more. */
#include "daemon/base/err.h"
#include "tests/unit/session_model.h"

#include <string.h>

#define ORDER(id, number) \
	"{\"id\":" id ",\"name\":\"get_order\",\"arguments\":{\"id\":\"" number "\"}}"

static const char *const actions[] = {
	"<tool_call>" ORDER("1", "7") "</tool_call>",
	"<tool_call>[" ORDER("1", "8") "," ORDER("2", "7") "]</tool_call>",
	"<tool_call>" ORDER("3", "9") "</tool_call>",
	"<tool_call>[" ORDER("2",
			     "7") ",{\"id\":4,\"name\":\"warn\",\"arguments\":{}}]</tool_call>",
	"<tool_call>{\"id\":5,\"name\":\"book\",\"arguments\":{\"night\":\"mon\"}}</tool_call>",
	"<tool_call>{\"id\":6,\"name\":\"mine\",\"arguments\":{}}</tool_call>",
	"<tool_call>REMOVE 1</tool_call>",
	"<tool_call>REMOVE 2</tool_call>",
	"<pause/>",
	"<pause/>",
	"<answer>So it is.</answer>",
	"<answer>So it is.</answer>",
	"<answer>So"};

static void act(struct rig *rig, const char *action)
{
	unsigned before = rig->reasons;

	rig_reason_says(rig, "<think>so</think>");
	if (rig->reasoning && rig->reasons == before) {
		rig_reason_says(rig, action);
	}
	if (rig->reasoning && rig->reasons == before) {
		rig_reason_ends(rig);
	}
}

static void transcribe(struct model *model, unsigned number)
{
	rig_up(&model->rig,
	       "{'type':'conversation.item.input_audio_transcription.completed','item_id':'%s','transcript':'Order %u.'}",
	       model->said_count == 0 ? "u" : model->said[model->said_count - 1], number);
}

static void be_silent(struct model *model)
{
	static char text[1281]; /* 20 ms */

	memset(text, 'A', sizeof(text) - 1);
	for (unsigned i = 0; i < 12; i++) {
		model->sounds_sent++;
		rig_client(&model->rig, "{'type':'input_audio_buffer.append','audio':'%s'}", text);
	}
}

/* The caller types and waits, and it knows all before the provider has said anything: by chance alone that is rare. */
static void hurry(struct model *model, unsigned which)
{
	if (model->speaking) {
		return;
	}
	be_silent(model);
	model_type(model);
	if (which % 2 == 0) {
		model_ask(model);
	}
	while (model_read(model)) {
	}
	if (model->rig.reasoning) {
		act(&model->rig, actions[which / 2 % 4]);
	}
	model_guesses_end(model);
	if (model->rig.reasoning) {
		act(&model->rig, "<answer>So it is.</answer>");
	}
}

void model_think(struct model *model, unsigned random)
{
	unsigned which = random / 8;

	switch (random % 8) {
	case 0:
		rig_up(&model->rig,
		       "{'type':'conversation.item.input_audio_transcription.delta','item_id':'next','delta':' order %u,'}",
		       which % 10);
		break;
	case 1:
		transcribe(model, which % 10);
		break;
	case 2:
	case 3:
		hurry(model, which);
		break;
	case 4:
		if (model->rig.reasoning && which % 4 == 0) {
			model->rig.reasoning = false;
			sess_reason_ended(model->rig.sess, BC_E_TIMEOUT, 0, 0);
		}
		break;
	default:
		if (model->rig.reasoning) {
			act(&model->rig, actions[which % BC_ARRAY_LEN(actions)]);
		}
		break;
	}
}
