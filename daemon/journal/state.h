/*
 * What the files of this room share: the journal's memory.  Nobody else includes this.
 *
 * S1  lock guards everything below it in struct jrn, all entries, all ports and all requests that are queued or
 *     answered.  A request taken by the writer belongs to the writer until finish puts it back.
 * S2  Every intent without a written settlement has one entry, made by jrn_intend() and counted against open_max.
 *     It brings the room for its settlement along: settling allocates nothing and cannot fail.
 * S3  Records reach the store in the order in which they were queued.
 * S4  A ticket for an effect is made from a request whose group has been committed, and from nothing else (J1).
 *     (An undo that was recorded by an earlier process keeps its number and key: its record was found in the store.)
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

/* What a request asks of the writer. */
enum jrn_errand {
	JRN_ERRAND_WRITE,
	JRN_ERRAND_REOPEN, /* find the intent, and hand it out again */
	JRN_ERRAND_RESOLVE /* write the resolution if the intent is pending */
};

/* An orphan with its text. */
struct jrn_foundling {
	struct jrn_foundling *next;
	struct jrn_orphan orphan;
	enum jrn_settlement pending; /* reopened: how it was settled */
};

/* One record on its way to the store. */
struct jrn_request {
	struct jrn_request *next;
	struct jrn_port *port;   /* who gets the answer, NULL: nobody */
	struct jrn_entry *owner; /* of a settlement: the entry it lives in */
	struct jrn_record record;
	jrn_ticket_fn *ticket_fn; /* at most one of the two */
	jrn_done_fn *done_fn;
	void *arg;
	enum jrn_errand errand;
	uint64_t
		undone; /* of an undo: the intent it takes back; of an errand: the undo that goes with it */
	bool known;          /* the undo is in the store already */
	jrn_orphan_fn *each; /* of a reopening */
	struct jrn_foundling *found;
	enum jrn_settlement pending; /* of an errand: how the intent is settled */
	enum bc_err err;             /* the answer */
	size_t bytes;                /* counted in queue_bytes */
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
	bool started;   /* it may have left the process */
	bool undecided; /* a guess, neither committed nor abandoned */
	bool blocking;  /* being taken back: nothing with one of its tags starts */
	bool deciding;  /* decide is queued: it must stay where it is */
	bool doomed;    /* freed meanwhile; goes with decide */
	bool reopened;  /* was settled before, as pending */
	enum jrn_settlement pending;
	size_t bytes;           /* text of intent and result */
	struct bc_span session; /* behind the entry */
	struct bc_span tags;    /* likewise; of an effect */
	struct jrn_request settle;
	struct jrn_request decide;
};

/* The newest effect with this tag that stands. */
struct jrn_mark {
	char *tag;
	uint64_t intent; /* 0: none */
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
	bc_usec (*now)(void);
	size_t session_bytes_max;
	uint64_t bucket_mask;
	pthread_t thread;

	/* Writer thread only. */
	struct jrn_store *store;
	bc_usec wall_newest; /* the time, as the records tell it; the journal reads no clock */
	bc_usec prune_next;  /* wall time from which the next removal of old records is due */

	atomic_bool failed; /* S5; set by the writer under lock, read by all without */

	pthread_mutex_t lock;
	pthread_cond_t work; /* queue is not empty, or stopping */
	bc_usec retention;   /* as jrn_conf has it, or jrn_configure() */
	uint64_t open_max;   /* likewise */
	struct jrn_queue queue;
	size_t queue_bytes; /* queued, or with the writer */
	bool stopping;
	struct jrn_entry **buckets;
	uint64_t open_count; /* entries */
	size_t open_bytes;   /* their text */
	uint64_t blocking_count;
	bool errand;              /* one is with the writer: two could end the same intent twice */
	struct jrn_queue waiting; /* undos whose turn has not come */
	struct jrn_mark *marks;
	size_t mark_count;
	struct jrn_foundling *doubts;     /* in doubt when the journal was opened, any order */
	struct jrn_foundling *foundlings; /* until jrn_adopt(), oldest first */
	uint64_t intent_next;
	uint64_t pending[JRN_SETTLEMENT__COUNT]; /* our share of the gauges */
	uint64_t ports;                          /* not freed */
};

/* queue.  Under lock, or the queue is the caller's own. */
void jrn_queue_push(struct jrn_queue *queue, struct jrn_request *request);
struct jrn_request *jrn_queue_pop(struct jrn_queue *queue); /* NULL: empty */
struct jrn_queue jrn_queue_take(struct jrn_queue *queue);   /* all of it */

/* open intents (entry.c).  Under lock. */
struct jrn_entry *jrn_entry_new(struct jrn *jrn,
				const struct jrn_record *record); /* NULL: no memory */
struct jrn_entry *jrn_entry_find(const struct jrn *jrn,
				 uint64_t intent); /* NULL: settled or never made */
void jrn_entry_move(struct jrn_entry *entry, enum jrn_entry_state to);
void jrn_entry_grow(struct jrn *jrn, struct jrn_entry *entry, size_t bytes); /* more text */
void jrn_entry_unlink(struct jrn *jrn,
		      struct jrn_entry *entry); /* out of the table; still counted */
void jrn_entry_free(struct jrn *jrn,
		    struct jrn_entry *entry); /* unlinked before; no longer counted */

/* Settle an entry: move, unlink, queue its settlement, or drop it when the journal has failed.  Under lock. */
void jrn_entry_settle(struct jrn *jrn, struct jrn_entry *entry, enum jrn_settlement how,
		      bc_usec wall);

/* Whether a session may have so much more text in open intents.  Under lock. */
bool jrn_session_has_room(const struct jrn *jrn, struct bc_span session, size_t bytes);

/* Count an intent that is pending; or is not any more.  Under lock. */
void jrn_pending_add(struct jrn *jrn, enum jrn_settlement how, int64_t count);

/* undo.c.  Under lock. */
bool jrn_is_blocked(const struct jrn *jrn, struct bc_span tags);
enum bc_err jrn_marks_know(struct jrn *jrn, struct bc_span tags) BC_MUST; /* BC_E_NOMEM */
void jrn_marks_set(struct jrn *jrn, struct bc_span tags, uint64_t intent);
void jrn_marks_free(struct jrn *jrn);
void jrn_entry_block(struct jrn *jrn, struct jrn_entry *entry);
void jrn_undos_review(struct jrn *jrn); /* after whatever may have made it an undo's turn */
void jrn_undos_forget(struct jrn *jrn, const struct jrn_port *port);

/* An entry for what an earlier process left open.  Under lock, or before the writer runs. */
enum bc_err jrn_entry_adopt(struct jrn *jrn, const struct jrn_foundling *found) BC_MUST;

/* journal.c: the record of an intent, under a new key and without a number yet; its spans are those of the intent. */
struct jrn_record jrn_record_of(const struct jrn_intent *intent);

/* A request with a copy of the record and its text behind it; NULL when out of memory. */
struct jrn_request *jrn_request_new(const struct jrn_record *record);
struct jrn_entry *jrn_entry_of(const struct jrn *jrn, const struct jrn_ticket *ticket);
bool jrn_has_room(const struct jrn *jrn, size_t bytes);

/* writer.c */
void jrn_request_answer(struct jrn_request *request); /* under lock */
void *jrn_writer_main(void *arg);
void jrn_queue_add(struct jrn *jrn,
		   struct jrn_request *request); /* and wake the writer; under lock */
void jrn_request_free(
	struct jrn_request *request); /* not for settlements: those live in their entry */

/*
 * Settle what a crash left open, before the writer starts (recover.c).  Errors as jrn_open(); after one the store is
 * as it was, and the next opening does the same again.
 */
enum bc_err jrn_recover(struct jrn *jrn, jrn_open_fn *each_open, void *arg,
			struct jrn_recovery *ret_recovery, struct bc_buf *reterr_message) BC_MUST;

/* A copy of what the store says of an intent; NULL when out of memory. */
struct jrn_foundling *jrn_foundling_new(const struct jrn_unsettled *row);

#endif
