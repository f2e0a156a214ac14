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

const struct item *items_visible_before(const struct item *item)
{
	while (item != NULL && item->hidden) {
		item = item->placed ? TAILQ_PREV(item, item_list, link) : NULL;
	}
	return item;
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
