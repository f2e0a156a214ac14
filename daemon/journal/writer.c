/*
 * The writer thread: the only one that touches the store while the journal is open.
 *
 * It takes all that is queued, of all ports, as one group: while one group waits for the disk, the next gathers,
 * so that the slower the disk, the larger the groups.  Answers are handed back after the commit; housekeeping comes
 * after the answers, and old records are removed only while nothing is queued.
 */
#include "daemon/base/metric.h"
#include "daemon/journal/state.h"
#include "daemon/journal/ticket.h"

#include <stdlib.h>

#define PRUNE_BATCH \
	64 /* intents per removal: a request that arrives meanwhile waits for one small commit */

/* How often old records are looked for: a part of retention, within these. */
#define PRUNE_PART         64
#define PRUNE_INTERVAL_MIN BC_USEC_PER_SEC
#define PRUNE_INTERVAL_MAX (3600 * BC_USEC_PER_SEC)

void jrn_queue_add(struct jrn *jrn, struct jrn_request *request)
{
	BC_BUG_ON(atomic_load(&jrn->failed));
	jrn_queue_push(&jrn->queue, request);
	jrn->queue_bytes += request->bytes;
	if (request->port != NULL) {
		request->port->pending++;
	}
	(void)pthread_cond_signal(&jrn->work);
}

void jrn_request_free(struct jrn_request *request)
{
	BC_BUG_ON(request != NULL && request->owner != NULL);
	free(request == NULL ? NULL : request->found);
	free(request);
}

/* Under lock, so that who holds it sees one answer; not called under it. */
static enum bc_err fail(struct jrn *jrn)
{
	(void)pthread_mutex_lock(&jrn->lock);
	atomic_store(&jrn->failed, true);
	jrn_undos_review(jrn);
	(void)pthread_mutex_unlock(&jrn->lock);
	bc_metric_inc(BC_M_JOURNAL_ERRORS);
	return BC_E_JOURNAL;
}

static enum bc_err commit_group(struct jrn *jrn)
{
	bc_usec begun = jrn->now == NULL ? 0 : jrn->now();
	enum bc_err err = jrn->store->ops->commit(jrn->store);

	bc_metric_add(BC_M_JOURNAL_SYNC_USEC, jrn->now == NULL ? 0 : jrn->now() - begun);
	return err;
}

/* What the store says of the intent an operator named. */
struct search {
	struct jrn_request *request;
	bool found; /* it is pending, request->pending says how */
};

static enum bc_err on_row(void *arg, const struct jrn_unsettled *row)
{
	struct search *search = arg;
	struct jrn_request *request = search->request;

	if (!row->settled || row->resolved || !jrn_is_pending(row->how) ||
	    row->intent->intended.effect == JRN_UNDO) {
		return BC_OK;
	}
	if (request->errand == JRN_ERRAND_REOPEN) {
		request->found = jrn_foundling_new(row);
		if (request->found == NULL) {
			return BC_E_NOMEM;
		}
		request->found->pending = row->how;
	}
	request->pending = row->how;
	search->found = true;
	return BC_OK;
}

/* Its undo is in doubt: it goes with what it undoes. */
static enum bc_err on_undo(void *arg, const struct jrn_unsettled *row)
{
	struct search *search = arg;
	struct jrn_foundling *found = search->request->found;

	search->request->undone = row->intent->intent;
	if (found != NULL) {
		found->orphan.has_undo = true;
		found->orphan.undo = jrn_ticket_make(row->intent->intent, JRN_UNDO, JRN_DURABLE,
						     row->intent->intended.key);
	}
	return BC_OK;
}

static enum bc_err write_resolution(struct jrn *jrn, const struct jrn_request *request)
{
	const struct jrn_store_ops *ops = jrn->store->ops;
	struct jrn_record undo = request->record;
	enum bc_err err = ops->write(jrn->store, &request->record);

	if (err != BC_OK || request->undone == 0) {
		return err;
	}
	undo.intent = request->undone;
	undo.settled.how = request->record.settled.how == JRN_UNDONE ? JRN_USED : JRN_NEVER_STARTED;
	return ops->write(jrn->store, &undo);
}

/* What the operator asks for.  Only an error of the store is one here; the request keeps its own. */
static enum bc_err run_errand(struct jrn *jrn, struct jrn_request *request)
{
	const struct jrn_store_ops *ops = jrn->store->ops;
	struct search search = {.request = request};
	uint64_t intent = request->record.intent;
	enum bc_err err = ops->scan(jrn->store, JRN_ONE, intent, on_row, &search);

	if (err == BC_OK && search.found) {
		err = ops->scan(jrn->store, JRN_UNDO_PENDING, intent, on_undo, &search);
	}
	if (err == BC_E_NOMEM) {
		request->err = err;
		return BC_OK;
	}
	if (err == BC_OK && !search.found) {
		request->err = BC_E_NOTFOUND;
	} else if (err == BC_OK && request->errand == JRN_ERRAND_RESOLVE) {
		err = write_resolution(jrn, request);
	}
	return err;
}

static enum bc_err write_group(struct jrn *jrn, struct jrn_request *group)
{
	const struct jrn_store_ops *ops = jrn->store->ops;
	int64_t count = 0;
	enum bc_err err;

	/* Queued before the failure was seen: nothing more goes to that handle (J8). */
	if (atomic_load(&jrn->failed)) {
		return BC_E_JOURNAL;
	}
	err = ops->begin(jrn->store);
	for (struct jrn_request *r = group; r != NULL && err == BC_OK; r = r->next) {
		err = r->errand == JRN_ERRAND_WRITE ? ops->write(jrn->store, &r->record)
						    : run_errand(jrn, r);
		count++;
		jrn->wall_newest =
			r->record.wall > jrn->wall_newest ? r->record.wall : jrn->wall_newest;
	}
	if (err == BC_OK) {
		err = commit_group(jrn);
	}
	if (err != BC_OK) {
		return fail(jrn);
	}
	bc_metric_add(BC_M_JOURNAL_RECORDS, count);
	bc_metric_inc(BC_M_JOURNAL_COMMITS);
	return BC_OK;
}

/* Give the request back to its port; a dead one takes nothing, and goes with its last request. */
void jrn_request_answer(struct jrn_request *request)
{
	struct jrn_port *port = request->port;
	bool idle;

	if (port == NULL) {
		jrn_request_free(request);
		return;
	}
	BC_CHECK(port, JRN_PORT_MAGIC);
	BC_BUG_ON(port->pending == 0);
	port->pending--;
	if (!port->dead) {
		idle = port->answers.head == NULL;
		jrn_queue_push(&port->answers, request);
		if (idle) {
			port->wake(port->arg);
		}
		return;
	}
	jrn_request_free(request);
	if (port->pending == 0) {
		port->magic = 0;
		free(port);
	}
}

static void finish_intent(struct jrn *jrn, struct jrn_request *request)
{
	struct jrn_entry *entry;

	/* A read had its ticket at once and may be settled already. */
	if (request->record.intended.effect == JRN_READ) {
		jrn_request_answer(request);
		return;
	}
	entry = jrn_entry_find(jrn, request->record.intent);
	BC_BUG_ON(entry == NULL || entry->state != JRN_ENTRY_WAITING);
	if (request->err != BC_OK) {
		jrn_entry_unlink(jrn, entry);
		jrn_entry_free(jrn, entry);
	} else {
		jrn_entry_move(entry, JRN_ENTRY_INTENDED);
		if (request->port->dead) {
			/* The ticket reaches nobody, so nothing can have started. */
			jrn_entry_settle(jrn, entry, JRN_NEVER_STARTED, request->record.wall);
		}
	}
	jrn_request_answer(request);
}

/* What the operator asked for is done, or was not possible. */
static void finish_errand(struct jrn *jrn, struct jrn_request *request, enum bc_err err)
{
	jrn->errand = false;
	request->err = err == BC_OK ? request->err : err;
	if (request->err == BC_OK && request->errand == JRN_ERRAND_RESOLVE) {
		jrn_pending_add(jrn, request->pending, -1);
		if (request->undone != 0) {
			jrn_pending_add(jrn, JRN_IN_DOUBT, -1);
		}
	} else if (request->err == BC_OK) {
		request->err =
			request->port->dead ? BC_E_CLOSED : jrn_entry_adopt(jrn, request->found);
	}
	jrn_request_answer(request);
}

static void finish(struct jrn *jrn, struct jrn_request *request, enum bc_err err)
{
	BC_BUG_ON(jrn->queue_bytes < request->bytes);
	jrn->queue_bytes -= request->bytes;
	if (err != BC_OK) {
		bc_metric_inc(BC_M_JOURNAL_ERRORS);
	}
	if (request->errand != JRN_ERRAND_WRITE) {
		finish_errand(jrn, request, err);
		return;
	}
	request->err = err;
	switch (request->record.kind) {
	case JRN_REC_INTENT:
		finish_intent(jrn, request);
		return;
	case JRN_REC_RESULT:
		jrn_request_answer(request);
		return;
	case JRN_REC_DECISION:
		request->owner->deciding = false;
		if (request->owner->doomed) {
			jrn_entry_free(jrn, request->owner);
		}
		return;
	case JRN_REC_SETTLEMENT:
	case JRN_REC_RESOLUTION:
		jrn_entry_free(jrn, request->owner);
		return;
	}
}

static bc_usec retention_of(struct jrn *jrn)
{
	bc_usec retention;

	(void)pthread_mutex_lock(&jrn->lock);
	retention = jrn->retention;
	(void)pthread_mutex_unlock(&jrn->lock);
	return retention;
}

static bool is_idle(struct jrn *jrn)
{
	bool idle;

	(void)pthread_mutex_lock(&jrn->lock);
	idle = jrn->queue.head == NULL && !jrn->stopping;
	(void)pthread_mutex_unlock(&jrn->lock);
	return idle;
}

static bc_usec prune_interval(bc_usec retention)
{
	bc_usec interval = retention / PRUNE_PART;

	if (interval < PRUNE_INTERVAL_MIN) {
		return PRUNE_INTERVAL_MIN;
	}
	return interval > PRUNE_INTERVAL_MAX ? PRUNE_INTERVAL_MAX : interval;
}

/* Bounded by the number of old records; ends at the first request. */
static enum bc_err prune(struct jrn *jrn)
{
	bc_usec retention = retention_of(jrn);

	if (jrn->wall_newest < jrn->prune_next) {
		return BC_OK;
	}
	while (is_idle(jrn)) {
		unsigned removed = 0;
		enum bc_err err = jrn->store->ops->prune(jrn->store, jrn->wall_newest - retention,
							 PRUNE_BATCH, &removed);

		if (err != BC_OK) {
			return err;
		}
		if (removed < PRUNE_BATCH) {
			jrn->prune_next = jrn->wall_newest + prune_interval(retention);
			return BC_OK;
		}
	}
	return BC_OK;
}

static void housekeep(struct jrn *jrn)
{
	enum bc_err err;

	if (atomic_load(&jrn->failed)) {
		return;
	}
	err = prune(jrn);
	if (err == BC_OK) {
		err = jrn->store->ops->maintain(jrn->store);
	}
	if (err != BC_OK) {
		(void)fail(jrn);
	}
}

/* Called and returns under lock, which is open while the disk works. */
static void serve(struct jrn *jrn)
{
	struct jrn_queue group = jrn_queue_take(&jrn->queue);
	struct jrn_request *request;
	enum bc_err err;

	(void)pthread_mutex_unlock(&jrn->lock);
	err = write_group(jrn, group.head);
	(void)pthread_mutex_lock(&jrn->lock);
	for (request = jrn_queue_pop(&group); request != NULL; request = jrn_queue_pop(&group)) {
		finish(jrn, request, err);
	}
	(void)pthread_mutex_unlock(&jrn->lock);
	housekeep(jrn);
	(void)pthread_mutex_lock(&jrn->lock);
}

void *jrn_writer_main(void *arg)
{
	struct jrn *jrn = arg;

	BC_CHECK(jrn, JRN_MAGIC);
	(void)pthread_mutex_lock(&jrn->lock);
	while (jrn->queue.head != NULL || !jrn->stopping) {
		if (jrn->queue.head == NULL) {
			(void)pthread_cond_wait(&jrn->work, &jrn->lock);
		} else {
			serve(jrn);
		}
	}
	(void)pthread_mutex_unlock(&jrn->lock);
	return NULL;
}
