/*
 * Taking effects back (J3), as far as it is the journal's: who may start while something is being taken back, and which
 * undo's turn it is.  Everything is decided under the journal's one lock, so that no effect can slip in between.
 *
 *   blocking    an effect from its abandonment to its settlement, and every orphan until it is settled
 *   mark        per tag, the newest effect that stands: executed, or perhaps executed, and not undone
 *
 * The undo of effect N, with the tags T, ...
 *   never runs  while an effect above N with a tag of T stands or is on its way for good
 *   waits       while an effect above N, of the same session or with a tag of T, is being taken back itself, or while
 *               one with a tag of T is a guess of which nobody knows yet whether it will stay
 *   runs        else
 * Numbers are given in the order of the intents, so that the newest is undone first, and no two wait for each other.
 */
#include "daemon/base/metric.h"
#include "daemon/journal/state.h"
#include "daemon/journal/ticket.h"

#include <stdlib.h>

/* Cut the next name from a comma-separated list. */
static struct bc_span next_tag(struct bc_span *tags)
{
	const char *end = memchr(tags->ptr, ',', tags->len);
	size_t len = end == NULL ? tags->len : (size_t)(end - tags->ptr);
	struct bc_span tag = bc_span(tags->ptr, len);

	len += end == NULL ? 0 : 1;
	*tags = bc_span(tags->ptr + len, tags->len - len);
	return tag;
}

static bool has_tag(struct bc_span tags, struct bc_span tag)
{
	while (tags.len > 0) {
		if (bc_span_eq(next_tag(&tags), tag)) {
			return true;
		}
	}
	return false;
}

static bool overlap(struct bc_span a, struct bc_span b)
{
	while (a.len > 0) {
		if (has_tag(b, next_tag(&a))) {
			return true;
		}
	}
	return false;
}

bool jrn_is_blocked(const struct jrn *jrn, struct bc_span tags)
{
	for (uint64_t i = 0; jrn->blocking_count > 0 && i <= jrn->bucket_mask; i++) {
		for (const struct jrn_entry *e = jrn->buckets[i]; e != NULL; e = e->next) {
			if (e->blocking && overlap(e->tags, tags)) {
				return true;
			}
		}
	}
	return false;
}

static struct jrn_mark *mark_of(const struct jrn *jrn, struct bc_span tag)
{
	for (size_t i = 0; i < jrn->mark_count; i++) {
		if (bc_span_is(tag, jrn->marks[i].tag)) {
			return &jrn->marks[i];
		}
	}
	return NULL;
}

/* Bounded by the configured tags; made with the intent, so that a settlement needs no memory (S2). */
enum bc_err jrn_marks_know(struct jrn *jrn, struct bc_span tags)
{
	while (tags.len > 0) {
		struct bc_span tag = next_tag(&tags);
		struct jrn_mark *marks;
		char *copy;

		if (mark_of(jrn, tag) != NULL) {
			continue;
		}
		marks = reallocarray(jrn->marks, jrn->mark_count + 1, sizeof(*marks));
		jrn->marks = marks == NULL ? jrn->marks : marks;
		copy = marks == NULL ? NULL : bc_span_dup(tag);
		if (copy == NULL) {
			return BC_E_NOMEM;
		}
		jrn->marks[jrn->mark_count++] = (struct jrn_mark){.tag = copy};
	}
	return BC_OK;
}

void jrn_marks_set(struct jrn *jrn, struct bc_span tags, uint64_t intent)
{
	while (tags.len > 0) {
		struct jrn_mark *mark = mark_of(jrn, next_tag(&tags));

		BC_BUG_ON(mark == NULL);
		mark->intent = mark->intent < intent ? intent : mark->intent;
	}
}

void jrn_marks_free(struct jrn *jrn)
{
	for (size_t i = 0; i < jrn->mark_count; i++) {
		free(jrn->marks[i].tag);
	}
	free(jrn->marks);
	jrn->marks = NULL;
	jrn->mark_count = 0;
}

void jrn_entry_block(struct jrn *jrn, struct jrn_entry *entry)
{
	BC_BUG_ON(entry->blocking);
	entry->undecided = false;
	entry->blocking = true;
	jrn->blocking_count++;
	bc_metric_inc(BC_M_JOURNAL_UNDOS_OPEN);
}

/* ---- whose turn it is ---- */

static enum jrn_turn turn_behind(const struct jrn_entry *entry, const struct jrn_entry *other)
{
	bool shares = overlap(entry->tags, other->tags);

	if (other->intent <= entry->intent || other->effect == JRN_READ ||
	    other->effect == JRN_UNDO) {
		return JRN_TURN_HERE;
	}
	if (other->blocking) {
		return shares || bc_span_eq(entry->session, other->session) ? JRN_TURN_LATER
									    : JRN_TURN_HERE;
	}
	/* One that has not started yet will not: entry blocks it. */
	if (!shares || !other->started) {
		return JRN_TURN_HERE;
	}
	return other->undecided ? JRN_TURN_LATER : JRN_TURN_NEVER;
}

static enum jrn_turn turn_of(const struct jrn *jrn, const struct jrn_entry *entry)
{
	struct bc_span tags = entry->tags;
	enum jrn_turn turn = JRN_TURN_HERE;

	while (tags.len > 0) {
		const struct jrn_mark *mark = mark_of(jrn, next_tag(&tags));

		if (mark != NULL && mark->intent > entry->intent) {
			return JRN_TURN_NEVER;
		}
	}
	for (uint64_t i = 0; turn != JRN_TURN_NEVER && i <= jrn->bucket_mask; i++) {
		for (const struct jrn_entry *e = jrn->buckets[i]; e != NULL; e = e->next) {
			enum jrn_turn behind = turn_behind(entry, e);

			turn = behind > turn ? behind : turn;
		}
	}
	return turn;
}

static void end_waiting(struct jrn *jrn, struct jrn_request *request, enum bc_err err)
{
	struct jrn_entry *undo = jrn_entry_find(jrn, request->record.intent);

	BC_BUG_ON(undo == NULL);
	if (!request->known) {
		jrn_entry_unlink(jrn, undo);
		jrn_entry_free(jrn, undo);
	}
	request->err = err;
	jrn_request_answer(request);
}

static void grant(struct jrn *jrn, struct jrn_request *request)
{
	struct jrn_entry *undo = jrn_entry_find(jrn, request->record.intent);

	BC_BUG_ON(undo == NULL);
	undo->started = true;
	if (request->known) {
		request->err = BC_OK;
		jrn_request_answer(request);
		return;
	}
	request->port->pending--; /* counted anew */
	jrn_queue_add(jrn, request);
}

void jrn_undos_review(struct jrn *jrn)
{
	struct jrn_queue all = jrn_queue_take(&jrn->waiting);
	struct jrn_request *request;

	for (request = jrn_queue_pop(&all); request != NULL; request = jrn_queue_pop(&all)) {
		const struct jrn_entry *entry = jrn_entry_find(jrn, request->undone);

		BC_BUG_ON(entry == NULL);
		if (atomic_load(&jrn->failed)) {
			end_waiting(jrn, request, BC_E_JOURNAL);
			continue;
		}
		switch (turn_of(jrn, entry)) {
		case JRN_TURN_HERE:
			grant(jrn, request);
			break;
		case JRN_TURN_LATER:
			jrn_queue_push(&jrn->waiting, request);
			break;
		case JRN_TURN_NEVER:
			end_waiting(jrn, request, BC_E_EXISTS);
			break;
		}
	}
}

void jrn_undos_forget(struct jrn *jrn, const struct jrn_port *port)
{
	struct jrn_queue all = jrn_queue_take(&jrn->waiting);
	struct jrn_request *request;

	for (request = jrn_queue_pop(&all); request != NULL; request = jrn_queue_pop(&all)) {
		if (request->port != port) {
			jrn_queue_push(&jrn->waiting, request);
		} else {
			/* The port is dead: the answer goes nowhere and the request with it. */
			struct jrn_entry *undo = jrn_entry_find(jrn, request->record.intent);

			BC_BUG_ON(undo == NULL);
			if (!request->known) {
				jrn_entry_unlink(jrn, undo);
				jrn_entry_free(jrn, undo);
			}
			request->port->pending--;
			jrn_request_free(request);
		}
	}
}

/* ---- for workers ---- */

bool jrn_start(struct jrn_port *port, const struct jrn_ticket *ticket)
{
	struct jrn *jrn = port->jrn;
	struct jrn_entry *entry;
	bool may;

	BC_CHECK(port, JRN_PORT_MAGIC);
	(void)pthread_mutex_lock(&jrn->lock);
	entry = jrn_entry_of(jrn, ticket);
	BC_BUG_ON(entry->started || entry->effect == JRN_READ || entry->effect == JRN_UNDO);
	may = !jrn_is_blocked(jrn, entry->tags);
	entry->started = may;
	(void)pthread_mutex_unlock(&jrn->lock);
	return may;
}

static bool decide(struct jrn *jrn, struct jrn_entry *entry, enum jrn_decision what, bc_usec wall)
{
	if (entry->reopened) {
		return true; /* decided when it was settled */
	}
	if (atomic_load(&jrn->failed)) {
		bc_metric_inc(BC_M_JOURNAL_ERRORS);
		return false;
	}
	BC_BUG_ON(entry->deciding);
	entry->deciding = true;
	entry->decide.record = (struct jrn_record){
		.kind = JRN_REC_DECISION,
		.intent = entry->intent,
		.wall = wall,
		.decided = {.what = what},
	};
	jrn_queue_add(jrn, &entry->decide);
	return true;
}

bool jrn_commit(struct jrn_port *port, const struct jrn_ticket *ticket, bc_usec wall)
{
	struct jrn *jrn = port->jrn;
	struct jrn_entry *entry;
	bool recorded;

	BC_CHECK(port, JRN_PORT_MAGIC);
	(void)pthread_mutex_lock(&jrn->lock);
	entry = jrn_entry_of(jrn, ticket);
	BC_BUG_ON(entry->blocking);
	entry->undecided = false;
	recorded = decide(jrn, entry, JRN_COMMITTED, wall);
	jrn_undos_review(jrn);
	(void)pthread_mutex_unlock(&jrn->lock);
	return recorded;
}

void jrn_abandon(struct jrn_port *port, const struct jrn_ticket *ticket, bc_usec wall)
{
	struct jrn *jrn = port->jrn;
	struct jrn_entry *entry;

	BC_CHECK(port, JRN_PORT_MAGIC);
	(void)pthread_mutex_lock(&jrn->lock);
	entry = jrn_entry_of(jrn, ticket);
	BC_BUG_ON(entry->effect != JRN_REVERSIBLE);
	if (!entry->blocking) {
		jrn_entry_block(jrn, entry);
	}
	(void)decide(jrn, entry, JRN_ABANDONED, wall);
	jrn_undos_review(jrn);
	(void)pthread_mutex_unlock(&jrn->lock);
}

/* Under lock. */
static enum bc_err enter_undo(struct jrn_port *port, struct jrn_record *record,
			      const struct jrn_ticket *known, struct jrn_request **ret)
{
	struct jrn *jrn = port->jrn;
	struct jrn_request *request;

	if (atomic_load(&jrn->failed)) {
		return BC_E_JOURNAL;
	}
	record->intent = known == NULL ? jrn->intent_next : known->intent;
	BC_BUG_ON(!jrn_record_is_sound(record));
	if (!jrn_has_room(jrn, jrn_record_bytes(record))) {
		return BC_E_LIMIT;
	}
	request = jrn_request_new(record);
	if (request == NULL) {
		return BC_E_NOMEM;
	}
	/* Not against open_max: there are never more undos than effects, and an effect must not stay for want of room. */
	if (jrn_entry_find(jrn, record->intent) == NULL && jrn_entry_new(jrn, record) == NULL) {
		jrn_request_free(request);
		return BC_E_NOMEM;
	}
	jrn->intent_next += known == NULL ? 1 : 0;
	*ret = request;
	return BC_OK;
}

enum bc_err jrn_undo(struct jrn_port *port, const struct jrn_ticket *undone,
		     const struct jrn_intent *intent, const struct jrn_ticket *known,
		     jrn_ticket_fn *fn, void *arg)
{
	struct jrn_record record = jrn_record_of(intent);
	struct jrn_request *request;
	struct jrn *jrn = port->jrn;
	enum bc_err err;

	BC_CHECK(port, JRN_PORT_MAGIC);
	BC_BUG_ON(port->dead || fn == NULL || (known != NULL && !jrn_ticket_is_ours(known)));
	record.intended.effect = JRN_UNDO;
	record.intended.undoes = undone->intent;
	if (known != NULL) {
		memcpy(record.intended.key, known->key, sizeof(record.intended.key));
	}
	(void)pthread_mutex_lock(&jrn->lock);
	BC_BUG_ON(!jrn_entry_of(jrn, undone)->blocking);
	err = enter_undo(port, &record, known, &request);
	if (err == BC_OK) {
		request->port = port;
		request->ticket_fn = fn;
		request->arg = arg;
		request->undone = undone->intent;
		request->known = known != NULL;
		port->pending++;
		jrn_queue_push(&jrn->waiting, request);
		jrn_undos_review(jrn);
	}
	(void)pthread_mutex_unlock(&jrn->lock);
	return err;
}

enum jrn_turn jrn_turn(struct jrn_port *port, const struct jrn_ticket *effect)
{
	struct jrn *jrn = port->jrn;
	const struct jrn_entry *entry;
	enum jrn_turn turn;

	BC_CHECK(port, JRN_PORT_MAGIC);
	(void)pthread_mutex_lock(&jrn->lock);
	entry = jrn_entry_of(jrn, effect);
	BC_BUG_ON(!entry->blocking);
	turn = turn_of(jrn, entry);
	(void)pthread_mutex_unlock(&jrn->lock);
	return turn;
}

void jrn_undo_end(struct jrn_port *port, const struct jrn_ticket *effect,
		  enum jrn_settlement undone, const struct jrn_ticket *undo,
		  enum jrn_settlement how, bc_usec wall)
{
	struct jrn *jrn = port->jrn;

	BC_CHECK(port, JRN_PORT_MAGIC);
	(void)pthread_mutex_lock(&jrn->lock);
	/* Queued under one lock, so written as one group. */
	jrn_entry_settle(jrn, jrn_entry_of(jrn, undo), how, wall);
	jrn_entry_settle(jrn, jrn_entry_of(jrn, effect), undone, wall);
	jrn_undos_review(jrn);
	(void)pthread_mutex_unlock(&jrn->lock);
}

/* ---- orphans ---- */

static struct jrn_record shape_of(const struct jrn_orphan *orphan)
{
	struct jrn_record record = {
		.kind = JRN_REC_INTENT,
		.intent = orphan->ticket.intent,
		.intended = {.session = orphan->intent.session,
			     .tags = orphan->intent.tags,
			     .effect = orphan->ticket.effect},
	};

	return record;
}

/* The undo of an orphan; one that was settled as in doubt is reopened with it. */
static enum bc_err adopt_undo(struct jrn *jrn, const struct jrn_foundling *found)
{
	struct jrn_record record = shape_of(&found->orphan);
	struct jrn_entry *undo;

	record.intent = found->orphan.undo.intent;
	record.intended.effect = JRN_UNDO;
	undo = jrn_entry_new(jrn, &record);
	if (undo == NULL) {
		return BC_E_NOMEM;
	}
	jrn_entry_move(undo, JRN_ENTRY_INTENDED);
	undo->reopened = jrn_is_pending(found->pending);
	undo->pending = JRN_IN_DOUBT;
	return BC_OK;
}

enum bc_err jrn_entry_adopt(struct jrn *jrn, const struct jrn_foundling *found)
{
	const struct jrn_record record = shape_of(&found->orphan);
	struct jrn_entry *entry;

	if (jrn_entry_find(jrn, record.intent) != NULL) {
		return BC_E_NOTFOUND; /* taken up already */
	}
	if (jrn_marks_know(jrn, record.intended.tags) != BC_OK) {
		return BC_E_NOMEM;
	}
	entry = jrn_entry_new(jrn, &record);
	if (entry == NULL) {
		return BC_E_NOMEM;
	}
	jrn_entry_move(entry, JRN_ENTRY_INTENDED);
	if (found->orphan.has_result) {
		jrn_entry_move(entry, JRN_ENTRY_DONE);
	}
	entry->started = true;
	entry->reopened = jrn_is_pending(found->pending);
	entry->pending = found->pending;
	jrn_entry_block(jrn, entry);
	if (found->orphan.has_undo && adopt_undo(jrn, found) != BC_OK) {
		entry->blocking = false;
		jrn->blocking_count--;
		bc_metric_add(BC_M_JOURNAL_UNDOS_OPEN, -1);
		jrn_entry_unlink(jrn, entry);
		jrn_entry_free(jrn, entry);
		return BC_E_NOMEM;
	}
	return BC_OK;
}

void jrn_adopt(struct jrn_port *port, jrn_orphan_fn *fn, void *arg)
{
	struct jrn_foundling *found;
	struct jrn *jrn = port->jrn;

	BC_CHECK(port, JRN_PORT_MAGIC);
	(void)pthread_mutex_lock(&jrn->lock);
	found = jrn->foundlings;
	jrn->foundlings = NULL;
	(void)pthread_mutex_unlock(&jrn->lock);
	while (found != NULL) {
		struct jrn_foundling *next = found->next;

		fn(arg, &found->orphan);
		free(found);
		found = next;
	}
}

void jrn_each_doubt(struct jrn_port *port, jrn_doubt_fn *fn, void *arg)
{
	const struct jrn *jrn = port->jrn;

	BC_CHECK(port, JRN_PORT_MAGIC);
	/* Neither list changes between the opening and jrn_adopt(). */
	for (const struct jrn_foundling *at = jrn->doubts; at != NULL; at = at->next) {
		fn(arg, at->orphan.ticket.intent, at->orphan.intent.tool,
		   at->orphan.intent.arguments);
	}
	for (const struct jrn_foundling *at = jrn->foundlings; at != NULL; at = at->next) {
		if (!at->orphan.has_result) {
			fn(arg, at->orphan.ticket.intent, at->orphan.intent.tool,
			   at->orphan.intent.arguments);
		}
	}
}

/* ---- the operator's hand ---- */

static enum bc_err queue_errand(struct jrn_port *port, const struct jrn_record *record,
				enum jrn_errand errand, jrn_orphan_fn *each, jrn_done_fn *done,
				void *arg)
{
	struct jrn_request *request;
	struct jrn *jrn = port->jrn;
	enum bc_err err = BC_OK;

	BC_CHECK(port, JRN_PORT_MAGIC);
	BC_BUG_ON(port->dead || done == NULL);
	request = jrn_request_new(record);
	if (request == NULL) {
		return BC_E_NOMEM;
	}
	request->port = port;
	request->errand = errand;
	request->each = each;
	request->done_fn = done;
	request->arg = arg;
	(void)pthread_mutex_lock(&jrn->lock);
	/* Open: somebody looks after it. */
	if (atomic_load(&jrn->failed)) {
		err = BC_E_JOURNAL;
	} else if (jrn->errand) {
		err = BC_E_LIMIT;
	} else if (jrn_entry_find(jrn, record->intent) != NULL) {
		request->err = BC_E_NOTFOUND;
		port->pending++;
		jrn_request_answer(request);
	} else {
		jrn->errand = true;
		jrn_queue_add(jrn, request);
	}
	(void)pthread_mutex_unlock(&jrn->lock);
	if (err != BC_OK) {
		jrn_request_free(request);
	}
	return err;
}

enum bc_err jrn_reopen(struct jrn_port *port, uint64_t intent, jrn_orphan_fn *each,
		       jrn_done_fn *done, void *arg)
{
	const struct jrn_record record = {.kind = JRN_REC_RESOLUTION, .intent = intent};

	BC_BUG_ON(each == NULL);
	return queue_errand(port, &record, JRN_ERRAND_REOPEN, each, done, arg);
}

enum bc_err jrn_resolve(struct jrn_port *port, uint64_t intent, enum jrn_settlement how,
			bc_usec wall, jrn_done_fn *done, void *arg)
{
	const struct jrn_record record = {
		.kind = JRN_REC_RESOLUTION,
		.intent = intent,
		.wall = wall,
		.settled = {.how = how, .note = BC_SPAN_LIT("operator")},
	};

	BC_BUG_ON(how != JRN_USED && how != JRN_UNDONE && how != JRN_NEVER_STARTED);
	return queue_errand(port, &record, JRN_ERRAND_RESOLVE, NULL, done, arg);
}
