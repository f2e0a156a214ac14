/*
 * What the files of this room share: the journal's memory.  Nobody else includes this.
 *
 * S1  lock guards everything below it in struct jrn, all entries, all ports and all requests that are queued or
 *     answered.  A request taken by the writer belongs to the writer until finish puts it back.
 * S2  Every intent without a written settlement has one entry, made by jrn_intend() and counted against open_max.
 *     It brings the room for its settlement along: settling allocates nothing and cannot fail.
 * S3  Records reach the store in the order in which they were queued.
 * S4  A ticket for an effect is made from a request whose group has been committed, and from nothing else (J1).
 * S5  failed goes from false to true, once, before the group that failed is answered (J8).
 */
#ifndef BACKCHANNEL_JOURNAL_STATE_H
#define BACKCHANNEL_JOURNAL_STATE_H

#include "daemon/journal/journal.h"
#include "daemon/journal/record.h"
#include "daemon/journal/store.h"

#include <pthread.h>
#include <stdatomic.h>

#define JRN_MAGIC      0x4a524e4cu
#define JRN_PORT_MAGIC 0x4a504f52u

#define JRN_QUEUE_BYTES_MAX (64U * 1024 * 1024) /* text waiting to be written */
#define JRN_BUCKETS_MAX     65536               /* of the table of open intents */

/* Where an open intent stands; only jrn_entry_move() changes it. */
enum jrn_entry_state {
	JRN_ENTRY_WAITING,  /* effect whose record is not durable yet: nobody has a ticket */
	JRN_ENTRY_INTENDED, /* ticket handed out, or on its way to the caller */
	JRN_ENTRY_DONE,     /* has a result */
	JRN_ENTRY_SETTLED   /* out of the table; its settlement is queued */
};

struct jrn_entry;

/* One record on its way to the store. */
struct jrn_request {
	struct jrn_request *next;
	struct jrn_port *port;   /* who gets the answer, NULL: nobody */
	struct jrn_entry *owner; /* of a settlement: the entry it lives in */
	struct jrn_record record;
	jrn_ticket_fn *ticket_fn; /* at most one of the two */
	jrn_done_fn *done_fn;
	void *arg;
	enum bc_err err; /* the answer */
	size_t bytes;    /* counted in queue_bytes */
};

struct jrn_queue {
	struct jrn_request *head;
	struct jrn_request *tail;
};

struct jrn_entry {
	struct jrn_entry *next; /* in its bucket */
	uint64_t intent;
	enum jrn_effect effect;
	enum jrn_entry_state state;
	struct jrn_request settle;
};

struct jrn_port {
	unsigned magic;
	struct jrn *jrn;
	void (*wake)(void *arg);
	void *arg;
	struct jrn_queue answers;
	uint64_t pending; /* requests with the writer; the last one frees a dead port */
	bool dead;        /* jrn_port_free() was called */
	bool dispatching;
};

struct jrn {
	unsigned magic;

	/* Configuration, and what never changes after the opening. */
	bc_usec retention;
	uint64_t open_max;
	uint64_t bucket_mask;
	pthread_t thread;

	/* Writer thread only. */
	struct jrn_store *store;
	bc_usec wall_newest; /* the time, as the records tell it; the journal reads no clock */
	bc_usec prune_next;  /* wall time from which the next removal of old records is due */

	atomic_bool failed; /* S5; set by the writer under lock, read by all without */

	pthread_mutex_t lock;
	pthread_cond_t work; /* queue is not empty, or stopping */
	struct jrn_queue queue;
	size_t queue_bytes; /* queued, or with the writer */
	bool stopping;
	struct jrn_entry **buckets;
	uint64_t open_count; /* entries */
	uint64_t intent_next;
	uint64_t in_doubt; /* our share of the gauge */
	uint64_t ports;    /* not freed */
};

/* queue.  Under lock, or the queue is the caller's own. */
void jrn_queue_push(struct jrn_queue *queue, struct jrn_request *request);
struct jrn_request *jrn_queue_pop(struct jrn_queue *queue); /* NULL: empty */
struct jrn_queue jrn_queue_take(struct jrn_queue *queue);   /* all of it */

/* open intents (entry.c).  Under lock. */
struct jrn_entry *jrn_entry_new(struct jrn *jrn, uint64_t intent,
				enum jrn_effect effect); /* NULL: no memory */
struct jrn_entry *jrn_entry_find(const struct jrn *jrn,
				 uint64_t intent); /* NULL: settled or never made */
void jrn_entry_move(struct jrn_entry *entry, enum jrn_entry_state to);
void jrn_entry_unlink(struct jrn *jrn,
		      struct jrn_entry *entry); /* out of the table; still counted */
void jrn_entry_free(struct jrn *jrn,
		    struct jrn_entry *entry); /* unlinked before; no longer counted */

/* Settle an entry: move, unlink, queue its settlement, or drop it when the journal has failed.  Under lock. */
void jrn_entry_settle(struct jrn *jrn, struct jrn_entry *entry, enum jrn_settlement how,
		      bc_usec wall);

/* writer.c */
void *jrn_writer_main(void *arg);
void jrn_queue_add(struct jrn *jrn,
		   struct jrn_request *request); /* and wake the writer; under lock */
void jrn_request_free(
	struct jrn_request *request); /* not for settlements: those live in their entry */

/*
 * Settle what a crash left open, before the writer starts (recover.c).  Errors as jrn_open(); after one the store is
 * as it was, and the next opening does the same again.
 */
enum bc_err jrn_recover(struct jrn_store *store, jrn_open_fn *each_open, void *arg,
			struct jrn_recovery *ret_recovery, struct bc_buf *reterr_message) BC_MUST;

#endif
