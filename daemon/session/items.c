/*
 * The conversation's items in order, and which of them the client may know.
 *
 * Invariant I1: an item stands in order exactly when it is placed; every item is in by_id.
 */
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

void items_init(struct items *items)
{
	TAILQ_INIT(&items->order);
	items->by_id = NULL;
	items->count = 0;
}

void items_remove(struct items *items, struct item *item)
{
	if (item->placed) {
		TAILQ_REMOVE(&items->order, item, link);
	}
	HASH_DEL(items->by_id, item);
	items->count--;
	if (item->inlined != NULL) {
		items->inlined -= strlen(item->inlined);
		free(item->inlined);
	}
	free(item);
}

void items_fini(struct items *items)
{
	struct item *item;
	struct item *next;

	HASH_ITER(hh, items->by_id, item, next) {
		items_remove(items, item);
	}
}

struct item *items_find(const struct items *items, const char *id)
{
	struct item *item;

	HASH_FIND_STR(items->by_id, id, item);
	return item;
}

/* A conversation longer than we remember loses its oldest items: their ids pass through unchanged then. */
static void forget_oldest(struct items *items)
{
	struct item *oldest = TAILQ_FIRST(&items->order);

	if (oldest == NULL) {
		oldest = items->by_id; /* uthash keeps insertion order */
	}
	if (oldest != NULL) {
		items_remove(items, oldest);
	}
}

struct item *items_get(struct items *items, const char *id)
{
	struct item *item = items_find(items, id);
	size_t len = strlen(id);

	if (item != NULL) {
		return item;
	}
	if (len >= SESS_ID_MAX) {
		return NULL;
	}
	if (items->count >= SESS_ITEMS_MAX) {
		forget_oldest(items);
	}
	item = calloc(1, sizeof(*item));
	if (item == NULL) {
		return NULL;
	}
	memcpy(item->id, id, len + 1);
	HASH_ADD_STR(items->by_id, id, item);
	items->count++;
	return item;
}

void items_place(struct items *items, struct item *item, struct item *prev)
{
	if (item->placed || item == prev) {
		return;
	}
	if (prev == NULL) {
		TAILQ_INSERT_HEAD(&items->order, item, link);
	} else if (prev->placed) {
		TAILQ_INSERT_AFTER(&items->order, prev, item, link);
	} else {
		TAILQ_INSERT_TAIL(&items->order, item, link);
	}
	item->placed = true;
}

/* One member of raw behind what is in out. */
static bool put_member(struct bc_buf *out, struct bc_span raw, const char *key)
{
	struct bc_span value = field_raw(raw, key);

	return json_raw_is_string(value) && bc_buf_printf(out, ",\"%s\":", key) == BC_OK &&
	       bc_buf_put_span(out, value) == BC_OK;
}

static bool put_call(struct bc_buf *out, struct bc_span raw)
{
	return bc_buf_put_str(out, "{\"type\":\"function_call\"") == BC_OK &&
	       put_member(out, raw, "call_id") && put_member(out, raw, "name") &&
	       put_member(out, raw, "arguments") && bc_buf_put_str(out, "}") == BC_OK;
}

static bool put_output(struct bc_buf *out, struct bc_span raw)
{
	return bc_buf_put_str(out, "{\"type\":\"function_call_output\"") == BC_OK &&
	       put_member(out, raw, "call_id") && put_member(out, raw, "output") &&
	       bc_buf_put_str(out, "}") == BC_OK;
}

static bool first_words(void *arg, size_t index, struct bc_span part)
{
	struct bc_span words = field_raw(part, "transcript");

	(void)index;
	*(struct bc_span *)arg = json_raw_is_string(words) ? words : field_raw(part, "text");
	return false;
}

/* What the agent has said, as text. */
static bool put_said(struct bc_buf *out, struct bc_span raw)
{
	struct bc_span words = bc_span(NULL, 0);

	(void)!json_each(field_raw(raw, "content"), first_words, &words); /* no array: no words */
	return json_raw_is_string(words) &&
	       bc_buf_put_str(out, "{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{"
				   "\"type\":\"output_text\",\"text\":") == BC_OK &&
	       bc_buf_put_span(out, words) == BC_OK && bc_buf_put_str(out, "}]}") == BC_OK;
}

void items_keep(struct items *items, struct item *item, struct bc_span raw)
{
	bool call = field_is(raw, "type", "function_call");
	bool output = field_is(raw, "type", "function_call_output");
	struct bc_buf text;
	bool made;

	item->call = call || output;
	if (item->inlined != NULL || items->inlined >= SESS_INLINED_MAX ||
	    (!item->call && !field_is(raw, "role", "assistant"))) {
		return;
	}
	bc_buf_init(&text, SESS_INLINED_MAX - items->inlined);
	made = call ? put_call(&text, raw) : output ? put_output(&text, raw) : put_said(&text, raw);
	if (made) {
		item->inlined = bc_span_dup(bc_buf_span(&text));
		items->inlined += item->inlined == NULL ? 0 : strlen(item->inlined);
	}
	bc_buf_release(&text);
}

const struct item *items_before(const struct item *item)
{
	return item->placed ? TAILQ_PREV(item, item_list, link) : NULL;
}

const struct item *items_hidden_after(const struct item *item)
{
	const struct item *next = item->placed ? TAILQ_NEXT(item, link) : NULL;

	while (next != NULL && next->hidden) {
		item = next;
		next = TAILQ_NEXT(next, link);
	}
	return item;
}
