/* What the bench sends: one audio event of each direction, as it would come from an SDK and from a provider. */
#ifndef BACKCHANNEL_TESTS_BENCH_PAYLOAD_H
#define BACKCHANNEL_TESTS_BENCH_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

#define PAYLOAD_MIN ((size_t)320) /* bytes */

enum direction {
	UP,
	DOWN
};

/* A WebSocket frame ready to be sent, and the text in it. */
struct message {
	uint8_t *frame;
	size_t frame_len;
	char *text;
	size_t text_len;
};

/*
 * A message of exactly len >= PAYLOAD_MIN bytes of text.  Upwards it is masked, and its audio is the noise of an open
 * line, far below any voice, so that no turn of a conversation begins.  The caller releases it.
 */
void message_make(struct message *message, enum direction direction, size_t len);

void message_release(struct message *message);

#endif
