#include "tests/unit/session_talk.h"

#include "proto/audio.h"
#include "proto/b64.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_MS 20

static enum audio_format sound = AUDIO_PCM16; /* of the running test */

void talk_begin(struct rig *rig, const char *toml, const char *format)
{
	sound = strcmp(format, "pcmu") == 0   ? AUDIO_PCMU
		: strcmp(format, "pcma") == 0 ? AUDIO_PCMA
					      : AUDIO_PCM16;
	rig_init(rig, toml, true);
	rig_up(rig,
	       "{'type':'session.created','session':{'tools':[],'audio':{'input':{'format':{'type':'audio/%s'},'turn_detection':{'type':'server_vad'}}}}}",
	       format);
	rig_up(rig, "{'type':'session.updated','session':{'tools':[]}}");
	talk_skip(rig, SESS_CLIENT);
	talk_skip(rig, SESS_UPSTREAM);
}

void talk_skip(struct rig *rig, enum sess_side side)
{
	rig->seen[side] = rig->count[side];
}

void talk_commit(struct rig *rig, const char *item, const char *prev)
{
	char named[80];

	(void)snprintf(named, sizeof(named), prev == NULL ? "null" : "'%s'", prev);
	rig_up(rig, "{'type':'input_audio_buffer.committed','item_id':'%s','previous_item_id':%s}",
	       item, named);
	rig_up(rig,
	       "{'type':'conversation.item.added','previous_item_id':%s,'item':{'id':'%s','type':'message','role':'user'}}",
	       named, item);
	rig_up(rig,
	       "{'type':'conversation.item.done','previous_item_id':%s,'item':{'id':'%s','type':'message','role':'user'}}",
	       named, item);
}

void talk_created(struct rig *rig, const char *id, const char *metadata)
{
	rig_up(rig,
	       "{'type':'response.created','response':{'id':'%s','status':'in_progress','conversation_id':'conv','metadata':%s,'output':[]}}",
	       id, metadata);
}

void talk_call(struct rig *rig, const char *response, const char *item, const char *name,
	       const char *arguments)
{
	rig_up(rig,
	       "{'type':'response.output_item.added','response_id':'%s','item':{'id':'%s','type':'function_call','status':'in_progress','name':'%s','call_id':'c_%s'}}",
	       response, item, name, item);
	rig_up(rig,
	       "{'type':'conversation.item.added','item':{'id':'%s','type':'function_call','status':'in_progress','name':'%s'}}",
	       item, name);
	rig_up(rig,
	       "{'type':'response.output_item.done','response_id':'%s','item':{'id':'%s','type':'function_call','status':'completed','name':'%s','call_id':'c_%s','arguments':'%s'}}",
	       response, item, name, item, arguments);
}

void talk_done(struct rig *rig, const char *id, const char *status)
{
	rig_up(rig,
	       "{'type':'response.done','response':{'id':'%s','status':'%s','conversation_id':'conv','metadata':null,'output':[],'usage':{'total_tokens':10}}}",
	       id, status);
}

unsigned talk_outputs(struct rig *rig)
{
	unsigned count = 0;

	while (rig->seen[SESS_UPSTREAM] < rig->count[SESS_UPSTREAM]) {
		json_t *event =
			json_loads(rig->sent[SESS_UPSTREAM][rig->seen[SESS_UPSTREAM]], 0, NULL);

		if (strcmp(rig_string(event, "item.type"), "function_call_output") != 0) {
			json_decref(event);
			break;
		}
		rig->seen[SESS_UPSTREAM]++;
		count++;
		rig_up(rig,
		       "{'type':'conversation.item.added','item':{'id':'%s','type':'function_call_output'}}",
		       rig_string(event, "item.id"));
		json_decref(event);
	}
	return count;
}

/* A square wave of 400 Hz, in the format of the session. */
static size_t piece(uint8_t *bytes, bool voice)
{
	unsigned samples = audio_rate(sound) * PIECE_MS / 1000;
	unsigned half = audio_rate(sound) / 800;

	for (unsigned i = 0; i < samples; i++) {
		int16_t value = (int16_t)(!voice ? 0 : i / half % 2 == 0 ? 8000 : -8000);

		if (sound == AUDIO_PCM16) {
			bytes[2 * i] = (uint8_t)((uint16_t)value & 0xff);
			bytes[2 * i + 1] = (uint8_t)((uint16_t)value >> 8);
		} else {
			bytes[i] = sound == AUDIO_PCMU ? audio_linear_to_ulaw(value)
						       : audio_linear_to_alaw(value);
		}
	}
	return (size_t)samples * audio_sample_size(sound);
}

void talk_audio(struct rig *rig, unsigned ms, bool voice)
{
	uint8_t bytes[2 * 24 * PIECE_MS];
	char text[B64_ENCODED_LEN(sizeof(bytes)) + 1];

	text[b64_encode(text, bytes, piece(bytes, voice))] = '\0';
	for (unsigned at = 0; at < ms; at += PIECE_MS) {
		rig_client(rig, "{'type':'input_audio_buffer.append','audio':'%s'}", text);
		ck_assert_str_ne(rig->sent[SESS_UPSTREAM][rig->count[SESS_UPSTREAM] - 1], "");
	}
}
