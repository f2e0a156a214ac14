/*
 * The table of open intents, and the queues of requests.
 *
 *   WAITING ----> INTENDED ----> DONE ----> SETTLED      reads start at INTENDED: they never wait
 *                     |                        ^
 *                     +------------------------+         nothing came back, or nothing was sent
 *
 * An entry leaves the table when it is settled, so a second settlement or a late result finds none and aborts; it is
 * counted until the settlement is written, so open_max also bounds what waits in the queue.
 */
#include "daemon/journal/state.h"

#include "daemon/base/metric.h"

#include <stdlib.h>

void jrn_queue_push(struct jrn_queue *queue, struct jrn_request *request)
{
	BC_BUG_ON((queue->head == NULL) != (queue->tail == NULL));
	BC_BUG_ON(request->next != NULL);
	if (queue->tail == NULL) {
		queue->head = request;
	} else {
		queue->tail->next = request;
	}
	queue->tail = request;
}

struct jrn_request *jrn_queue_pop(struct jrn_queue *queue)
{
	struct jrn_request *request = queue->head;

	if (request == NULL) {
		return NULL;
	}
	queue->head = request->next;
	if (queue->head == NULL) {
		queue->tail = NULL;
	}
	request->next = NULL;
	return request;
}

struct jrn_queue jrn_queue_take(struct jrn_queue *queue)
{
	struct jrn_queue all = *queue;

	*queue = (struct jrn_queue){NULL, NULL};
	return all;
}

static struct jrn_entry **bucket(const struct jrn *jrn, uint64_t intent)
{
	/* Numbers are given in turn, so their low bits spread as evenly as any hash. */
	return &jrn->buckets[intent & jrn->bucket_mask];
}

static char *keep(char *at, struct bc_span text, struct bc_span *ret)
{
	if (text.len > 0) {
		memcpy(at, text.ptr, text.len);
	}
	*ret = bc_span(at, text.len);
	return at + text.len;
}

struct jrn_entry *jrn_entry_new(struct jrn *jrn, const struct jrn_record *record)
{
	bool read = record->intended.effect == JRN_READ;
	struct bc_span tags = read ? bc_span("", 0) : record->intended.tags;
	size_t text = record->intended.session.len + tags.len;
	struct jrn_entry *entry = calloc(1, sizeof(*entry) + text);
	struct jrn_entry **at = bucket(jrn, record->intent);

	BC_BUG_ON(record->intent == 0);
	if (entry == NULL) {
		return NULL;
	}
	entry->intent = record->intent;
	entry->effect = record->intended.effect;
	entry->state = read ? JRN_ENTRY_INTENDED : JRN_ENTRY_WAITING;
	entry->undecided = record->intended.speculative && entry->effect == JRN_REVERSIBLE;
	(void)keep(keep((char *)(entry + 1), record->intended.session, &entry->session), tags,
		   &entry->tags);
	jrn_entry_grow(jrn, entry, jrn_record_bytes(record));
	entry->settle.owner = entry;
	entry->decide.owner = entry;
	entry->next = *at;
	*at = entry;
	jrn->open_count++;
	return entry;
}

void jrn_entry_grow(struct jrn *jrn, struct jrn_entry *entry, size_t bytes)
{
	entry->bytes += bytes;
	jrn->open_bytes += bytes;
}

bool jrn_session_has_room(const struct jrn *jrn, struct bc_span session, size_t bytes)
{
	size_t used = bytes;

	/* As long as all sessions together have less, nobody needs to look. */
	if (jrn->session_bytes_max == 0 || jrn->open_bytes + bytes <= jrn->session_bytes_max) {
		return true;
	}
	for (uint64_t i = 0; i <= jrn->bucket_mask; i++) {
		for (const struct jrn_entry *e = jrn->buckets[i]; e != NULL; e = e->next) {
			used += bc_span_eq(e->session, session) ? e->bytes : 0;
		}
	}
	return used <= jrn->session_bytes_max;
}

struct jrn_entry *jrn_entry_find(const struct jrn *jrn, uint64_t intent)
{
	struct jrn_entry *entry = *bucket(jrn, intent);

	while (entry != NULL && entry->intent != intent) {
		entry = entry->next;
	}
	return entry;
}

void jrn_entry_move(struct jrn_entry *entry, enum jrn_entry_state to)
{
	switch (BC_FSM_KEY(entry->state, to)) {
	case BC_FSM_KEY(JRN_ENTRY_WAITING, JRN_ENTRY_INTENDED):
	case BC_FSM_KEY(JRN_ENTRY_INTENDED, JRN_ENTRY_DONE):
	case BC_FSM_KEY(JRN_ENTRY_INTENDED, JRN_ENTRY_SETTLED):
	case BC_FSM_KEY(JRN_ENTRY_DONE, JRN_ENTRY_SETTLED):
		entry->state = to;
		return;
	default:
		bc_bug(__FILE__, __LINE__, "an intent has one result, then one settlement");
	}
}

void jrn_entry_unlink(struct jrn *jrn, struct jrn_entry *entry)
{
	struct jrn_entry **at = bucket(jrn, entry->intent);

	while (*at != entry) {
		BC_BUG_ON(*at == NULL);
		at = &(*at)->next;
	}
	*at = entry->next;
	entry->next = NULL;
}

void jrn_entry_free(struct jrn *jrn, struct jrn_entry *entry)
{
	BC_BUG_ON(jrn->open_count == 0 || entry->next != NULL);
	if (entry->deciding) {
		entry->doomed = true;
		return;
	}
	jrn->open_count--;
	jrn->open_bytes -= entry->bytes;
	free(entry);
}

void jrn_pending_add(struct jrn *jrn, enum jrn_settlement how, int64_t count)
{
	BC_BUG_ON(!jrn_is_pending(how));
	jrn->pending[how] += (uint64_t)count;
	bc_metric_add(how == JRN_PARKED ? BC_M_JOURNAL_PARKED : BC_M_JOURNAL_IN_DOUBT, count);
}

/* How the accounts change with a settlement. */
static void account(struct jrn *jrn, struct jrn_entry *entry, enum jrn_settlement how)
{
	bool stands = how == JRN_USED || how == JRN_UNUSED || jrn_is_pending(how);

	if (entry->blocking) {
		entry->blocking = false;
		jrn->blocking_count--;
		bc_metric_add(BC_M_JOURNAL_UNDOS_OPEN, -1);
	}
	if (stands && entry->started && entry->effect != JRN_READ && entry->effect != JRN_UNDO) {
		jrn_marks_set(jrn, entry->tags, entry->intent);
	}
	if (entry->reopened) {
		jrn_pending_add(jrn, entry->pending, -1);
	}
	if (jrn_is_pending(how)) {
		jrn_pending_add(jrn, how, 1);
	}
}

void jrn_entry_settle(struct jrn *jrn, struct jrn_entry *entry, enum jrn_settlement how,
		      bc_usec wall)
{
	BC_BUG_ON((unsigned)how >= JRN_SETTLEMENT__COUNT);
	jrn_entry_move(entry, JRN_ENTRY_SETTLED);
	jrn_entry_unlink(jrn, entry);
	if (entry->reopened && jrn_is_pending(how)) {
		how = entry->pending; /* nothing new is known */
	}
	account(jrn, entry, how);
	if (atomic_load(&jrn->failed)) {
		bc_metric_inc(BC_M_JOURNAL_ERRORS);
		jrn_entry_free(jrn, entry);
		return;
	}
	if (entry->reopened && jrn_is_pending(how)) {
		jrn_entry_free(jrn, entry);
		return;
	}
	entry->settle.record = (struct jrn_record){
		.kind = entry->reopened ? JRN_REC_RESOLUTION : JRN_REC_SETTLEMENT,
		.intent = entry->intent,
		.wall = wall,
		.settled = {.how = how},
	};
	jrn_queue_add(jrn, &entry->settle);
}
