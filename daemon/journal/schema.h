/* The tables of the SQLite store: what writer (sqlite.c) and reader (inspect.c) must agree on. */
#ifndef BACKCHANNEL_JOURNAL_SCHEMA_H
#define BACKCHANNEL_JOURNAL_SCHEMA_H

#include "daemon/journal/record.h"

#include <sqlite3.h>

#define JRN_SCHEMA_VERSION     2
#define JRN_SCHEMA_APPLICATION 0x42434a52 /* "BCJR", in the file's header: file(1) and we know it */

/* Columns of each kind of record, in the order jrn_row_read() expects them. */
#define JRN_INTENT_COLUMNS \
	"intent, wall, digest, session, turn, tool, arguments, tags, effect, speculative, key, undoes, sealed"
#define JRN_RESULT_COLUMNS       "intent, wall, digest, status, output, sealed"
#define JRN_SETTLEMENT_COLUMNS   "intent, wall, digest, how, note"
#define JRN_DECISION_COLUMNS     "intent, wall, digest, what"
#define JRN_RESOLUTION_COLUMNS   JRN_SETTLEMENT_COLUMNS
#define JRN_INTENT_COLUMN__COUNT 13
#define JRN_RESULT_COLUMN__COUNT 6

/*
 * Whose file this is.  BC_OK with *ret_version 0 for an empty file; BC_E_JOURNAL with a message for a file of another
 * program, of a newer version, or one that cannot be read.
 */
enum bc_err jrn_schema_version(sqlite3 *db, const char *path, struct bc_buf *reterr_message,
			       int *ret_version) BC_MUST;

/* Bring the tables from version up to JRN_SCHEMA_VERSION, all or nothing.  BC_E_JOURNAL with a message. */
enum bc_err jrn_schema_migrate(sqlite3 *db, const char *path, int version,
			       struct bc_buf *reterr_message) BC_MUST;

/* The value of a statement with one integer result.  BC_E_JOURNAL. */
enum bc_err jrn_schema_number(sqlite3 *db, const char *sql, int64_t *ret) BC_MUST;

/*
 * The record in the current row of a statement that selects the columns of kind, from column first on.  Spans are valid
 * until the statement moves on.  BC_E_INVALID: the row is damaged (a field out of range, or its digest does not fit).
 */
enum bc_err jrn_row_read(sqlite3_stmt *stmt, int first, enum jrn_record_kind kind,
			 struct bc_buf *scratch, struct jrn_record *ret) BC_MUST;

#endif
