#include "tests/bench/payload.h"

#include "daemon/base/bug.h"
#include "proto/ws.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOISE 20 /* largest sample upwards, of 32767: 64 dB below full scale */

static const char *const heads[] = {
	[UP] = "{\"type\":\"input_audio_buffer.append\",",
	[DOWN] = "{\"type\":\"response.output_audio.delta\",\"event_id\":\"event_Bq4K7xYw2mPz\","
		 "\"response_id\":\"resp_Bq4K7uT9cVnE\",\"item_id\":\"item_Bq4K7hL3sRd0\","
		 "\"output_index\":0,\"content_index\":0,",
};

static const char *const names[] = {[UP] = "\"audio\":\"", [DOWN] = "\"delta\":\""};

/* The same bytes in each run; any generator does. */
static uint32_t draw(void)
{
	static uint32_t state = 2463534242u;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static void make_audio(uint8_t *audio, size_t len, enum direction direction)
{
	for (size_t i = 0; i + 1 < len; i += 2) {
		int sample = direction == UP ? (int)(draw() % (2 * NOISE + 1)) - NOISE
					     : (int)(draw() & 0xffff);

		audio[i] = (uint8_t)((unsigned)sample & 0xff);
		audio[i + 1] = (uint8_t)(((unsigned)sample >> 8) & 0xff);
	}
}

static char *make_text(enum direction direction, size_t len)
{
	size_t around = strlen(heads[direction]) + strlen(names[direction]) + strlen("\"}");
	size_t blanks = (len - around) % 4; /* base64 comes in fours */
	size_t encoded = len - around - blanks;
	size_t raw = encoded / 4 * 3 & ~(size_t)1; /* whole samples */
	uint8_t *audio = malloc(raw);
	char *text = malloc(len + 1);
	int at;

	BC_BUG_ON(len < PAYLOAD_MIN || audio == NULL || text == NULL);
	make_audio(audio, raw, direction);
	at = snprintf(text, len + 1, "%s%*s%s", heads[direction], (int)blanks, "",
		      names[direction]);
	BC_BUG_ON(at < 0);
	BC_BUG_ON(EVP_EncodeBlock((unsigned char *)text + at, audio, (int)raw) != (int)encoded);
	memcpy(text + (size_t)at + encoded, "\"}", 3);
	free(audio);
	return text;
}

void message_make(struct message *message, enum direction direction, size_t len)
{
	static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
	const uint8_t *mask = direction == UP ? key : NULL;
	uint8_t head[WS_HEAD_MAX];
	size_t head_len = ws_head_put(head, WS_TEXT, len, mask);

	message->text = make_text(direction, len);
	message->text_len = len;
	message->frame_len = head_len + len;
	message->frame = malloc(message->frame_len);
	BC_BUG_ON(message->frame == NULL);
	memcpy(message->frame, head, head_len);
	if (mask != NULL) {
		ws_mask(message->frame + head_len, (const uint8_t *)message->text, len, key);
	} else {
		memcpy(message->frame + head_len, message->text, len);
	}
}

void message_release(struct message *message)
{
	free(message->frame);
	free(message->text);
	*message = (struct message){0};
}
