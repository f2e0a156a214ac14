/*
 * What the journal asks of a store; sqlite.c is one, a database server shared by a cluster can be another.
 *
 * A store is used by one thread at a time: the opener until the writer thread starts, the writer thread, then
 * the closer.  After any BC_E_JOURNAL the store is dead (J8): only close and complaint may follow, nothing is
 * retried on it, because the kernel may have dropped what it could not write and report success the next time.
 */
#ifndef BACKCHANNEL_JOURNAL_STORE_H
#define BACKCHANNEL_JOURNAL_STORE_H

#include "daemon/base/buf.h"
#include "daemon/journal/record.h"

/* Add to an error message for the operator; a message that is cut short is better than none. */
#define JRN_EXPLAIN(buf, ...)                                     \
	do {                                                      \
		if (bc_buf_printf((buf), __VA_ARGS__) != BC_OK) { \
			break;                                    \
		}                                                 \
	} while (0)

struct jrn_store_ops;

/* First member of every store. */
struct jrn_store {
	const struct jrn_store_ops *ops;
};

/* An intent and what else there is of it.  Spans are valid during the call. */
struct jrn_unsettled {
	const struct jrn_record *intent;
	bool has_result;
	const struct jrn_record *result; /* NULL: there is none */
	int status;                      /* of the result, 0: none */
	bc_usec wall;                    /* of the newest of the two */
	enum jrn_decision decision;
	bool settled;
	bool resolved;
	enum jrn_settlement how; /* of the settlement, if there is one */
};

typedef enum bc_err jrn_unsettled_fn(void *arg, const struct jrn_unsettled *unsettled);
typedef enum bc_err jrn_standing_fn(void *arg, struct bc_span tags, uint64_t intent);

/* Which intents a scan tells of. */
enum jrn_scope {
	JRN_UNSETTLED,   /* all without settlement, oldest first */
	JRN_PENDING,     /* settled as in doubt and not resolved, newest first, at most number */
	JRN_ONE,         /* the one with this number */
	JRN_UNDO_PENDING /* the newest undo of this number that is in doubt and not resolved */
};

/* What the journal needs to know before it can go on from where the last process stopped. */
struct jrn_store_marks {
	uint64_t intent_last; /* highest number ever given, 0: none */
	uint64_t in_doubt;    /* intents settled as in doubt, not resolved */
	uint64_t parked;      /* likewise */
	uint64_t open_first;  /* lowest number without settlement, in doubt or parked; 0: none */
};

struct jrn_store_ops {
	const char *name;

	/*
	 * Open or create, and hold it exclusively until close.  BC_E_EXISTS: another process holds it;
	 * BC_E_JOURNAL, BC_E_SYSTEM, BC_E_NOMEM.  The message says what to do.
	 */
	enum bc_err (*open)(const char *location, struct bc_buf *reterr_message,
			    struct jrn_store **ret);

	/* A group of records: all of it becomes durable in commit, or nothing of it may be relied upon. */
	enum bc_err (*begin)(struct jrn_store *store);
	enum bc_err (*write)(struct jrn_store *store, const struct jrn_record *record);
	enum bc_err (*commit)(struct jrn_store *store); /* BC_OK: on disk, survives loss of power */

	/* The intents of scope; fn must not use the store; its error ends the scan. */
	enum bc_err (*scan)(struct jrn_store *store, enum jrn_scope scope, uint64_t number,
			    jrn_unsettled_fn *fn, void *arg);
	/* The newest effect above number that stands, per text of tags. */
	enum bc_err (*scan_standing)(struct jrn_store *store, uint64_t above, jrn_standing_fn *fn,
				     void *arg);
	enum bc_err (*marks)(struct jrn_store *store, struct jrn_store_marks *ret);

	/*
	 * Remove at most limit intents whose settlement is older than before, with all their records, as a group
	 * of its own.  Never one in doubt or parked that is not resolved, never the newest intent, so that numbers are not given twice.
	 */
	enum bc_err (*prune)(struct jrn_store *store, bc_usec before, unsigned limit,
			     unsigned *ret_removed);

	/* Housekeeping between groups, when nobody waits. */
	enum bc_err (*maintain)(struct jrn_store *store);

	/* What went wrong last, for people.  Valid until the next call. */
	const char *(*complaint)(const struct jrn_store *store);

	/* Release; accepts NULL, returns NULL. */
	struct jrn_store *(*close)(struct jrn_store *store);
};

/* SQLite in one file. */
extern const struct jrn_store_ops jrn_sqlite_ops;

/* jrn_open() on a store of the caller's choice, under the same contract. */
enum bc_err jrn_open_on(const struct jrn_store_ops *ops, const struct jrn_conf *conf,
			jrn_open_fn *each_open, void *arg, struct jrn_recovery *ret_recovery,
			struct bc_buf *reterr_message, struct jrn **ret);

#endif
