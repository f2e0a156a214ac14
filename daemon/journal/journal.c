/*
 * The journal's face to the workers: every call takes the one lock for a moment, checks, queues and leaves.  What is
 * queued is written by writer.c; what the rules of the shared memory are, state.h says (S1 to S5).
 *
 *   intend    entry and request are made together or not at all; numbers are given in the order of the queue
 *   result    moves the entry only when its record is queued, so that a refused result can be tried again
 *   settle    takes the entry out of the table; its request has been there since intend
 */
#include "daemon/journal/journal.h"

#include "daemon/base/metric.h"
#include "daemon/journal/state.h"
#include "daemon/journal/ticket.h"

#include <signal.h>
#include <stdlib.h>

#define BUCKETS_MIN 16

static enum bc_err memory_new(struct jrn *jrn, const struct jrn_conf *conf)
{
	uint64_t buckets = BUCKETS_MIN;

	while (buckets < conf->open_max && buckets < JRN_BUCKETS_MAX) {
		buckets *= 2;
	}
	jrn->magic = JRN_MAGIC;
	jrn->retention = conf->retention;
	jrn->now = conf->now;
	jrn->open_max = conf->open_max;
	jrn->session_bytes_max = conf->session_bytes_max;
	jrn->bucket_mask = buckets - 1;
	jrn->buckets = calloc(buckets, sizeof(struct jrn_entry *));
	return jrn->buckets == NULL ? BC_E_NOMEM : BC_OK;
}

static void free_all(struct jrn_foundling *found)
{
	while (found != NULL) {
		struct jrn_foundling *next = found->next;

		free(found);
		found = next;
	}
}

/* Everything of jrn but the thread, the lock and the store. */
static void memory_free(struct jrn *jrn)
{
	for (uint64_t i = 0; jrn->buckets != NULL && i <= jrn->bucket_mask; i++) {
		while (jrn->buckets[i] != NULL) {
			struct jrn_entry *entry = jrn->buckets[i];

			/* Left open by its owner: recovery will judge it. */
			jrn->buckets[i] = entry->next;
			entry->next = NULL;
			jrn_entry_free(jrn, entry);
		}
	}
	BC_BUG_ON(jrn->open_count != 0);
	free_all(jrn->foundlings);
	free_all(jrn->doubts);
	jrn_marks_free(jrn);
	free(jrn->buckets);
	jrn->magic = 0;
	free(jrn);
}

/* No signal is the writer's business: they stay with the main thread. */
static enum bc_err thread_start(struct jrn *jrn)
{
	sigset_t all;
	sigset_t before;
	int rc;

	(void)sigfillset(&all);
	BC_BUG_ON(pthread_sigmask(SIG_SETMASK, &all, &before) != 0);
	rc = pthread_create(&jrn->thread, NULL, jrn_writer_main, jrn);
	BC_BUG_ON(pthread_sigmask(SIG_SETMASK, &before, NULL) != 0);
	return rc == 0 ? BC_OK : BC_E_SYSTEM;
}

static enum bc_err start(struct jrn *jrn, struct bc_buf *reterr_message)
{
	struct jrn_store_marks marks;
	enum bc_err err = jrn->store->ops->marks(jrn->store, &marks);

	if (err != BC_OK) {
		JRN_EXPLAIN(reterr_message, "cannot read the journal: %s",
			    jrn->store->ops->complaint(jrn->store));
		return err;
	}
	BC_BUG_ON(pthread_mutex_init(&jrn->lock, NULL) != 0 ||
		  pthread_cond_init(&jrn->work, NULL) != 0);
	jrn->intent_next = marks.intent_last + 1;
	err = thread_start(jrn);
	if (err != BC_OK) {
		JRN_EXPLAIN(reterr_message, "cannot start the journal's thread: too many threads");
		return err;
	}
	jrn_pending_add(jrn, JRN_IN_DOUBT, (int64_t)marks.in_doubt);
	jrn_pending_add(jrn, JRN_PARKED, (int64_t)marks.parked);
	return BC_OK;
}

enum bc_err jrn_open_on(const struct jrn_store_ops *ops, const struct jrn_conf *conf,
			jrn_open_fn *each_open, void *arg, struct jrn_recovery *ret_recovery,
			struct bc_buf *reterr_message, struct jrn **ret)
{
	struct jrn *jrn = calloc(1, sizeof(*jrn));
	enum bc_err err;

	BC_BUG_ON(conf->open_max == 0 || conf->retention <= 0 || each_open == NULL);
	if (jrn == NULL || memory_new(jrn, conf) != BC_OK) {
		JRN_EXPLAIN(reterr_message, "cannot open journal %s: out of memory", conf->path);
		free(jrn);
		return BC_E_NOMEM;
	}
	err = ops->open(conf->path, reterr_message, &jrn->store);
	if (err == BC_OK) {
		err = jrn_recover(jrn, each_open, arg, ret_recovery, reterr_message);
	}
	if (err == BC_OK) {
		err = start(jrn, reterr_message);
	}
	if (err != BC_OK) {
		jrn->store = ops->close(jrn->store);
		memory_free(jrn);
		return err;
	}
	*ret = jrn;
	return BC_OK;
}

enum bc_err jrn_open(const struct jrn_conf *conf, jrn_open_fn *each_open, void *arg,
		     struct jrn_recovery *ret_recovery, struct bc_buf *reterr_message,
		     struct jrn **ret)
{
	return jrn_open_on(&jrn_sqlite_ops, conf, each_open, arg, ret_recovery, reterr_message,
			   ret);
}

void jrn_configure(struct jrn *jrn, bc_usec retention, uint64_t open_max)
{
	BC_BUG_ON(open_max == 0 || retention <= 0);
	(void)pthread_mutex_lock(&jrn->lock);
	jrn->retention = retention;
	jrn->open_max = open_max;
	(void)pthread_mutex_unlock(&jrn->lock);
}

struct jrn *jrn_close(struct jrn *jrn)
{
	if (jrn == NULL) {
		return NULL;
	}
	BC_CHECK(jrn, JRN_MAGIC);
	(void)pthread_mutex_lock(&jrn->lock);
	BC_BUG_ON(jrn->ports != 0 || jrn->stopping);
	jrn->stopping = true;
	(void)pthread_cond_signal(&jrn->work);
	(void)pthread_mutex_unlock(&jrn->lock);
	BC_BUG_ON(pthread_join(jrn->thread, NULL) != 0);
	BC_BUG_ON(jrn->queue.head != NULL || jrn->queue_bytes != 0);
	jrn_pending_add(jrn, JRN_IN_DOUBT, -(int64_t)jrn->pending[JRN_IN_DOUBT]);
	jrn_pending_add(jrn, JRN_PARKED, -(int64_t)jrn->pending[JRN_PARKED]);
	bc_metric_add(BC_M_JOURNAL_UNDOS_OPEN, -(int64_t)jrn->blocking_count);
	jrn->store = jrn->store->ops->close(jrn->store);
	(void)pthread_cond_destroy(&jrn->work);
	(void)pthread_mutex_destroy(&jrn->lock);
	memory_free(jrn);
	return NULL;
}

enum bc_err jrn_port_new(struct jrn *jrn, void (*wake)(void *arg), void *arg, struct jrn_port **ret)
{
	struct jrn_port *port = calloc(1, sizeof(*port));

	BC_CHECK(jrn, JRN_MAGIC);
	BC_BUG_ON(wake == NULL);
	if (port == NULL) {
		return BC_E_NOMEM;
	}
	port->magic = JRN_PORT_MAGIC;
	port->jrn = jrn;
	port->wake = wake;
	port->arg = arg;
	(void)pthread_mutex_lock(&jrn->lock);
	jrn->ports++;
	(void)pthread_mutex_unlock(&jrn->lock);
	*ret = port;
	return BC_OK;
}

/* An answer nobody will hear.  Under lock. */
static void drop_answer(struct jrn *jrn, struct jrn_request *request)
{
	if (request->errand == JRN_ERRAND_WRITE && request->record.kind == JRN_REC_INTENT &&
	    request->err == BC_OK && !request->known) {
		struct jrn_entry *entry = jrn_entry_find(jrn, request->record.intent);

		/* Nobody has its ticket, so nobody else can have settled it, and nothing can have started. */
		BC_BUG_ON(entry == NULL);
		jrn_entry_settle(jrn, entry, JRN_NEVER_STARTED, request->record.wall);
	}
	jrn_request_free(request);
}

struct jrn_port *jrn_port_free(struct jrn_port *port)
{
	struct jrn_request *request;
	struct jrn *jrn;
	bool last;

	if (port == NULL) {
		return NULL;
	}
	BC_CHECK(port, JRN_PORT_MAGIC);
	BC_BUG_ON(port->dispatching || port->dead);
	jrn = port->jrn;
	(void)pthread_mutex_lock(&jrn->lock);
	BC_BUG_ON(jrn->ports == 0);
	jrn->ports--;
	port->dead = true;
	jrn_undos_forget(jrn, port);
	for (request = jrn_queue_pop(&port->answers); request != NULL;
	     request = jrn_queue_pop(&port->answers)) {
		drop_answer(jrn, request);
	}
	last = port->pending == 0;
	(void)pthread_mutex_unlock(&jrn->lock);
	/* Not last: the writer frees it with the answer to its last request. */
	if (last) {
		port->magic = 0;
		free(port);
	}
	return NULL;
}

static void deliver(const struct jrn_request *request)
{
	if (request->found != NULL && request->err == BC_OK) {
		request->each(request->arg, &request->found->orphan);
	}
	if (request->ticket_fn == NULL) {
		request->done_fn(request->arg, request->err);
	} else if (request->err != BC_OK) {
		request->ticket_fn(request->arg, request->err, NULL);
	} else {
		/* S4: committed, or err would say so. */
		struct jrn_ticket ticket =
			jrn_ticket_make(request->record.intent, request->record.intended.effect,
					JRN_DURABLE, request->record.intended.key);

		request->ticket_fn(request->arg, BC_OK, &ticket);
	}
}

void jrn_port_dispatch(struct jrn_port *port)
{
	struct jrn_request *request;
	struct jrn_queue answers;

	BC_CHECK(port, JRN_PORT_MAGIC);
	BC_BUG_ON(port->dispatching);
	(void)pthread_mutex_lock(&port->jrn->lock);
	answers = jrn_queue_take(&port->answers);
	(void)pthread_mutex_unlock(&port->jrn->lock);
	port->dispatching = true;
	for (request = jrn_queue_pop(&answers); request != NULL;
	     request = jrn_queue_pop(&answers)) {
		deliver(request);
		jrn_request_free(request);
	}
	port->dispatching = false;
}

/* Append a copy of *span to the bytes at *at, and let *span see the copy. */
static void copy_span(char **at, struct bc_span *span)
{
	if (span->len > 0) {
		memcpy(*at, span->ptr, span->len);
	}
	span->ptr = *at;
	*at += span->len;
}

struct jrn_request *jrn_request_new(const struct jrn_record *record)
{
	size_t bytes = jrn_record_bytes(record);
	struct jrn_request *request = calloc(1, sizeof(*request) + bytes);
	char *at;

	if (request == NULL) {
		return NULL;
	}
	at = (char *)(request + 1);
	request->record = *record;
	request->bytes = bytes;
	if (record->kind == JRN_REC_INTENT) {
		copy_span(&at, &request->record.intended.session);
		copy_span(&at, &request->record.intended.tool);
		copy_span(&at, &request->record.intended.arguments);
		copy_span(&at, &request->record.intended.tags);
		copy_span(&at, &request->record.intended.sealed);
	} else if (record->kind == JRN_REC_RESULT) {
		copy_span(&at, &request->record.result.output);
		copy_span(&at, &request->record.result.sealed);
	} else {
		copy_span(&at, &request->record.settled.note);
	}
	return request;
}

struct jrn_record jrn_record_of(const struct jrn_intent *intent)
{
	struct jrn_record record = {
		.kind = JRN_REC_INTENT,
		.wall = intent->wall,
		.intended = {.session = intent->session,
			     .turn = intent->turn,
			     .tool = intent->tool,
			     .arguments = intent->arguments,
			     .sealed = intent->sealed,
			     .tags = intent->tags,
			     .effect = intent->effect,
			     .speculative = intent->speculative},
	};

	jrn_key_new(record.intended.key);
	return record;
}

/* Whether a record of that many bytes may be queued.  Under lock. */
bool jrn_has_room(const struct jrn *jrn, size_t bytes)
{
	return bytes <= JRN_RECORD_BYTES_MAX && jrn->queue_bytes <= JRN_QUEUE_BYTES_MAX - bytes;
}

/* Under lock.  *ret NULL: a read that goes unrecorded. */
static enum bc_err enter(struct jrn *jrn, struct jrn_record *record, struct jrn_request **ret)
{
	bool failed = atomic_load(&jrn->failed);
	bool read = record->intended.effect == JRN_READ;
	struct jrn_request *request = NULL;

	if (failed && !read) {
		return BC_E_JOURNAL;
	}
	if (!read && jrn_is_blocked(jrn, record->intended.tags)) {
		return BC_E_AGAIN;
	}
	if (jrn->open_count >= jrn->open_max || !jrn_has_room(jrn, jrn_record_bytes(record)) ||
	    !jrn_session_has_room(jrn, record->intended.session, jrn_record_bytes(record))) {
		return BC_E_LIMIT;
	}
	if (!read && jrn_marks_know(jrn, record->intended.tags) != BC_OK) {
		return BC_E_NOMEM;
	}
	record->intent = jrn->intent_next;
	BC_BUG_ON(!jrn_record_is_sound(record));
	if (!failed) {
		request = jrn_request_new(record);
		if (request == NULL) {
			return BC_E_NOMEM;
		}
	}
	if (jrn_entry_new(jrn, record) == NULL) {
		jrn_request_free(request);
		return BC_E_NOMEM;
	}
	jrn->intent_next++;
	*ret = request;
	return BC_OK;
}

enum bc_err jrn_intend(struct jrn_port *port, const struct jrn_intent *intent,
		       struct jrn_ticket *ret_ticket, jrn_ticket_fn *fn, void *arg)
{
	bool read = intent->effect == JRN_READ;
	struct jrn_record record = jrn_record_of(intent);
	struct jrn_request *request = NULL;
	enum bc_err err;

	BC_CHECK(port, JRN_PORT_MAGIC);
	BC_BUG_ON(port->dead || (fn == NULL) != read || (read && ret_ticket == NULL) ||
		  intent->effect == JRN_UNDO);
	(void)pthread_mutex_lock(&port->jrn->lock);
	err = enter(port->jrn, &record, &request);
	if (err == BC_OK && request != NULL) {
		request->port = read ? NULL : port;
		request->ticket_fn = fn;
		request->arg = arg;
		jrn_queue_add(port->jrn, request);
	} else if (err == BC_OK) {
		bc_metric_inc(BC_M_JOURNAL_ERRORS);
	}
	(void)pthread_mutex_unlock(&port->jrn->lock);
	if (err == BC_OK && read) {
		*ret_ticket =
			jrn_ticket_make(record.intent, JRN_READ, JRN_MEMORY, record.intended.key);
	}
	return err;
}

/* The entry behind a ticket, which must be ours and open.  Under lock. */
struct jrn_entry *jrn_entry_of(const struct jrn *jrn, const struct jrn_ticket *ticket)
{
	struct jrn_entry *entry;

	BC_BUG_ON(!jrn_ticket_is_ours(ticket));
	entry = jrn_entry_find(jrn, ticket->intent);
	/* A ticket settles once, and has no result after that. */
	BC_BUG_ON(entry == NULL);
	BC_BUG_ON(entry->effect != ticket->effect);
	return entry;
}

/* Under lock. */
static enum bc_err add_result(struct jrn_port *port, struct jrn_entry *entry,
			      const struct jrn_record *record, jrn_done_fn *fn, void *arg)
{
	struct jrn *jrn = port->jrn;
	struct jrn_request *request;

	if (atomic_load(&jrn->failed)) {
		bc_metric_inc(BC_M_JOURNAL_ERRORS);
		/* A result that was lost with the failure may come again, from whoever asks what became of the call. */
		if (entry->state != JRN_ENTRY_DONE) {
			jrn_entry_move(entry, JRN_ENTRY_DONE);
		}
		return entry->effect == JRN_READ ? BC_OK : BC_E_JOURNAL;
	}
	if (!jrn_has_room(jrn, jrn_record_bytes(record))) {
		return BC_E_LIMIT;
	}
	request = jrn_request_new(record);
	if (request == NULL) {
		return BC_E_NOMEM;
	}
	jrn_entry_move(entry, JRN_ENTRY_DONE);
	jrn_entry_grow(jrn, entry, jrn_record_bytes(record));
	request->port = fn == NULL ? NULL : port;
	request->done_fn = fn;
	request->arg = arg;
	jrn_queue_add(jrn, request);
	return BC_OK;
}

enum bc_err jrn_result_sealed(struct jrn_port *port, const struct jrn_ticket *ticket, int status,
			      const struct jrn_text *text, bc_usec wall, jrn_done_fn *fn, void *arg)
{
	struct jrn_record record = {
		.kind = JRN_REC_RESULT,
		.intent = ticket->intent,
		.wall = wall,
		.result = {.status = status, .output = text->shown, .sealed = text->sealed},
	};
	enum bc_err err;

	BC_CHECK(port, JRN_PORT_MAGIC);
	BC_BUG_ON(port->dead ||
		  (ticket->effect != JRN_UNDO && (fn == NULL) != (ticket->effect == JRN_READ)));
	BC_BUG_ON(status < 0 || status > 999 || wall < 0);
	(void)pthread_mutex_lock(&port->jrn->lock);
	err = add_result(port, jrn_entry_of(port->jrn, ticket), &record, fn, arg);
	(void)pthread_mutex_unlock(&port->jrn->lock);
	return err;
}

enum bc_err jrn_result(struct jrn_port *port, const struct jrn_ticket *ticket, int status,
		       struct bc_span output, bc_usec wall, jrn_done_fn *fn, void *arg)
{
	const struct jrn_text text = {.shown = output};

	return jrn_result_sealed(port, ticket, status, &text, wall, fn, arg);
}

void jrn_settle(struct jrn_port *port, const struct jrn_ticket *ticket, enum jrn_settlement how,
		bc_usec wall)
{
	BC_CHECK(port, JRN_PORT_MAGIC);
	BC_BUG_ON(port->dead || wall < 0);
	(void)pthread_mutex_lock(&port->jrn->lock);
	jrn_entry_settle(port->jrn, jrn_entry_of(port->jrn, ticket), how, wall);
	jrn_undos_review(port->jrn);
	(void)pthread_mutex_unlock(&port->jrn->lock);
}

bool jrn_has_failed(const struct jrn *jrn)
{
	BC_CHECK(jrn, JRN_MAGIC);
	return atomic_load(&jrn->failed);
}

bool jrn_port_has_failed(const struct jrn_port *port)
{
	BC_CHECK(port, JRN_PORT_MAGIC);
	return jrn_has_failed(port->jrn);
}
