/* Which words of which turns some audio carries. */
#include "proto/b64.h"
#include "tests/provider/session.h"

#include <stdlib.h>
#include <string.h>

static struct heard_turn *turn_of(struct heard *heard, unsigned turn, bool repair)
{
	struct heard_turn *turns;

	for (size_t i = 0; i < heard->n; i++) {
		if (heard->turns[i].turn == turn && heard->turns[i].repair == repair) {
			return &heard->turns[i];
		}
	}
	turns = realloc(heard->turns, (heard->n + 1) * sizeof(*turns));
	BC_BUG_ON(turns == NULL);
	heard->turns = turns;
	turns[heard->n] = (struct heard_turn){.turn = turn, .repair = repair};
	return &turns[heard->n++];
}

static bool word_is_heard(const struct heard_turn *turn, unsigned word)
{
	return turn->words[word / 8] >> (word % 8) & 1;
}

static void word_set(struct heard_turn *turn, unsigned word)
{
	turn->words[word / 8] = (uint8_t)(turn->words[word / 8] | 1u << (word % 8));
}

bool heard_mark(struct heard *heard, const struct carrier_mark *mark)
{
	struct heard_turn *turn = turn_of(heard, mark->turn, mark->repair);

	if (!mark->last || word_is_heard(turn, mark->word)) {
		return false;
	}
	word_set(turn, mark->word);
	return true;
}

void heard_prefix_add(struct heard *heard, unsigned turn, bool repair, unsigned words)
{
	struct heard_turn *at = turn_of(heard, turn, repair);

	for (unsigned i = 0; i < words && i <= CARRIER_WORD_MAX; i++) {
		word_set(at, i);
	}
}

void heard_merge(struct heard *into, const struct heard *from)
{
	for (size_t i = 0; i < from->n; i++) {
		struct heard_turn *turn = turn_of(into, from->turns[i].turn, from->turns[i].repair);

		for (size_t k = 0; k < sizeof(turn->words); k++) {
			turn->words[k] = (uint8_t)(turn->words[k] | from->turns[i].words[k]);
		}
	}
}

unsigned heard_prefix(const struct heard_turn *turn)
{
	unsigned n = 0;

	while (n <= CARRIER_WORD_MAX && word_is_heard(turn, n)) {
		n++;
	}
	return n;
}

void heard_release(struct heard *heard)
{
	free(heard->turns);
	*heard = (struct heard){0};
}

bool heard_decode(struct heard *heard, struct bc_buf *audio, enum audio_format format,
		  struct bc_span base64)
{
	struct carrier_reader reader;
	struct carrier_mark mark;
	size_t used;
	size_t len;
	size_t at = 0;
	char *room;

	if (bc_buf_room(audio, base64.len / 4 * 3 + 3, &room) != BC_OK ||
	    b64_decode((uint8_t *)room, base64, &len) != BC_OK) {
		return false;
	}
	bc_buf_grow(audio, len);
	carrier_reader_init(&reader, format);
	while (carrier_read(&reader, (const uint8_t *)room + at, len - at, &used, &mark)) {
		at += used;
		heard_mark(heard, &mark);
	}
	return true;
}
