/* What the two files of the SQLite store share: sqlite.c writes, scan.c reads. */
#ifndef BACKCHANNEL_JOURNAL_SQLITE_INTERNAL_H
#define BACKCHANNEL_JOURNAL_SQLITE_INTERNAL_H

#include "daemon/journal/schema.h"
#include "daemon/journal/store.h"

#define SQLITE_STORE_MAGIC 0x53514c53u
#define COMPLAINT_SIZE     200

enum sqlite_statement {
	SQLITE_ST_BEGIN,
	SQLITE_ST_COMMIT,
	SQLITE_ST_PUT_INTENT,
	SQLITE_ST_PUT_UNSETTLED,
	SQLITE_ST_PUT_RESULT,
	SQLITE_ST_PUT_SETTLEMENT,
	SQLITE_ST_PUT_DECISION,
	SQLITE_ST_PUT_RESOLUTION,
	SQLITE_ST_DROP_UNSETTLED,
	SQLITE_ST_FIND_OLD,
	SQLITE_ST_DROP_INTENT,
	SQLITE_ST_DROP_RESULT,
	SQLITE_ST_DROP_SETTLEMENT,
	SQLITE_ST_DROP_DECISION,
	SQLITE_ST_DROP_RESOLUTION,
	SQLITE_STATEMENT__COUNT /* must be last */
};

struct sqlite_store {
	struct jrn_store store; /* first member */
	unsigned magic;
	int lock_fd;
	bool failed; /* Q3 */
	sqlite3 *db;
	sqlite3_stmt *statements[SQLITE_STATEMENT__COUNT];
	int log_pages;     /* in the log after the last commit */
	int checkpoint_at; /* log_pages from which the next checkpoint is due */
	struct bc_buf scratch;
	char complaint[COMPLAINT_SIZE];
};

struct sqlite_store *jrn_sqlite_self(struct jrn_store *store);

/* The only way out of a failed operation: the store is dead from here on. */
enum bc_err jrn_sqlite_fail(struct sqlite_store *s, const char *what) BC_MUST;

/* As in struct jrn_store_ops. */
enum bc_err jrn_sqlite_scan(struct jrn_store *store, enum jrn_scope scope, uint64_t number,
			    jrn_unsettled_fn *fn, void *arg) BC_MUST;
enum bc_err jrn_sqlite_scan_standing(struct jrn_store *store, uint64_t above, jrn_standing_fn *fn,
				     void *arg) BC_MUST;
enum bc_err jrn_sqlite_marks(struct jrn_store *store, struct jrn_store_marks *ret) BC_MUST;

#endif
