/*
 * What was heard before a turn began, because a word begins before it is known for one: the last audio of all that came,
 * in a ring, so that silence is written once and moved by nobody.
 */
#include "daemon/session/sess.h"

#include <stdlib.h>

/* Bytes of the ring from offset at on, as far as they lie in one piece. */
static struct bc_span piece(const struct preroll *preroll, size_t at, size_t len)
{
	size_t from = (preroll->from + at) % preroll->size;
	size_t whole = preroll->size - from;

	return bc_span(preroll->mem + from, len < whole ? len : whole);
}

/* Behind what it holds; there is room. */
static void put(struct preroll *preroll, struct bc_span audio)
{
	while (audio.len > 0) {
		struct bc_span room = piece(preroll, preroll->len, audio.len);

		memcpy(preroll->mem + (room.ptr - preroll->mem), audio.ptr, room.len);
		preroll->len += room.len;
		audio = bc_span(audio.ptr + room.len, audio.len - room.len);
	}
}

static void drop(struct preroll *preroll, size_t len)
{
	preroll->from = (preroll->from + len) % preroll->size;
	preroll->len -= len;
}

/* Room for so many bytes, what is kept in one piece; false: out of memory, and nothing has changed. */
static bool enlarge(struct preroll *preroll, size_t size)
{
	char *mem = malloc(size);
	size_t kept = 0;

	if (mem == NULL) {
		return false;
	}
	while (kept < preroll->len) {
		struct bc_span part = piece(preroll, kept, preroll->len - kept);

		memcpy(mem + kept, part.ptr, part.len);
		kept += part.len;
	}
	free(preroll->mem);
	*preroll = (struct preroll){.mem = mem, .size = size, .len = kept};
	return true;
}

void preroll_keep(struct preroll *preroll, struct bc_span audio, size_t keep, unsigned sample)
{
	size_t cut;

	if (audio.len == 0) {
		return;
	}
	if (preroll->size < keep + sample && !enlarge(preroll, keep + sample)) {
		if (preroll->size <= sample) {
			return;
		}
		keep = preroll->size - sample; /* the next word may lack its beginning */
	}
	cut = preroll->len + audio.len > keep ? preroll->len + audio.len - keep : 0;
	cut -= cut % sample;
	if (cut > preroll->len) {
		size_t skip = cut - preroll->len;

		audio = bc_span(audio.ptr + skip, audio.len - skip);
		cut = preroll->len;
	}
	drop(preroll, cut);
	put(preroll, audio);
}

size_t preroll_give(struct preroll *preroll, struct bc_buf *audio)
{
	size_t len = preroll->len;
	struct bc_buf joined;
	struct bc_span first;

	if (len == 0) {
		return 0;
	}
	bc_buf_init(&joined, audio->limit);
	first = piece(preroll, 0, len);
	if (bc_buf_put_span(&joined, first) != BC_OK ||
	    bc_buf_put_span(&joined, piece(preroll, first.len, len - first.len)) != BC_OK ||
	    bc_buf_put_span(&joined, bc_buf_span(audio)) != BC_OK) {
		bc_buf_release(&joined);
		preroll->len = 0;
		return 0;
	}
	bc_buf_release(audio);
	*audio = joined;
	preroll->len = 0;
	return len;
}

void preroll_forget(struct preroll *preroll)
{
	free(preroll->mem);
	*preroll = (struct preroll){0};
}
