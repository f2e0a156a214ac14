#include "daemon/journal/schema.h"

#include "daemon/journal/store.h"

#include <inttypes.h>
#include <stdio.h>

/*
 * One script per step, from version i to i + 1.  A released script is never changed; a change of tables is a further
 * script.  Everything in words, so that an operator can read it with sqlite3(1).
 *
 * Records are only ever inserted, and removed by retention; no row is updated.  The tables:
 *
 *   intents, results, settlements   one row per record.  digest: the first bytes of SHA-256 over the record.
 *   decisions, resolutions          likewise, since version 2.
 *   unsettled                       numbers of intents without settlement: recovery reads a handful of rows, not
 *                                   a month of them.  Derived; "verify" proves that it agrees.
 *
 * Version 2 adds rollback: what a guess came to, which intent is the undo of which, sealed secrets, and what became of
 * intents that were settled as in doubt or parked.
 */
static const char *const steps[JRN_SCHEMA_VERSION] = {
	"CREATE TABLE intents ("
	" intent INTEGER PRIMARY KEY, wall INTEGER NOT NULL, digest BLOB NOT NULL, session TEXT NOT NULL,"
	" turn INTEGER NOT NULL, tool TEXT NOT NULL, arguments TEXT NOT NULL, tags TEXT NOT NULL,"
	" effect TEXT NOT NULL, speculative INTEGER NOT NULL, key TEXT NOT NULL) STRICT;"
	"CREATE TABLE results ("
	" intent INTEGER PRIMARY KEY, wall INTEGER NOT NULL, digest BLOB NOT NULL,"
	" status INTEGER NOT NULL, output TEXT NOT NULL) STRICT;"
	"CREATE TABLE settlements ("
	" intent INTEGER PRIMARY KEY, wall INTEGER NOT NULL, digest BLOB NOT NULL,"
	" how TEXT NOT NULL, note TEXT NOT NULL) STRICT;"
	"CREATE TABLE unsettled (intent INTEGER PRIMARY KEY) STRICT;"
	"CREATE INDEX settlements_by_age ON settlements (wall) WHERE how <> 'in_doubt';"
	"CREATE INDEX settlements_in_doubt ON settlements (intent) WHERE how = 'in_doubt';",
	"ALTER TABLE intents ADD COLUMN undoes INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE intents ADD COLUMN sealed BLOB NOT NULL DEFAULT x'';"
	"ALTER TABLE results ADD COLUMN sealed BLOB NOT NULL DEFAULT x'';"
	"CREATE TABLE decisions ("
	" intent INTEGER PRIMARY KEY, wall INTEGER NOT NULL, digest BLOB NOT NULL,"
	" what TEXT NOT NULL) STRICT;"
	"CREATE TABLE resolutions ("
	" intent INTEGER PRIMARY KEY, wall INTEGER NOT NULL, digest BLOB NOT NULL,"
	" how TEXT NOT NULL, note TEXT NOT NULL) STRICT;"
	"CREATE INDEX intents_undoing ON intents (undoes) WHERE undoes <> 0;"
	"CREATE INDEX resolutions_by_age ON resolutions (wall);"
	"DROP INDEX settlements_by_age;"
	"DROP INDEX settlements_in_doubt;"
	"CREATE INDEX settlements_by_age ON settlements (wall)"
	" WHERE how NOT IN ('in_doubt', 'parked');"
	"CREATE INDEX settlements_pending ON settlements (intent)"
	" WHERE how IN ('in_doubt', 'parked');",
};

enum bc_err jrn_schema_number(sqlite3 *db, const char *sql, int64_t *ret)
{
	sqlite3_stmt *stmt = NULL;
	bool got = false;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW) {
		*ret = sqlite3_column_int64(stmt, 0);
		got = true;
	}
	/* Its result repeats that of the step. */
	(void)sqlite3_finalize(stmt);
	return got ? BC_OK : BC_E_JOURNAL;
}

static enum bc_err foreign(const char *path, struct bc_buf *reterr_message)
{
	JRN_EXPLAIN(reterr_message,
		    "%s is the database of another program: configure another path for the journal",
		    path);
	return BC_E_JOURNAL;
}

enum bc_err jrn_schema_version(sqlite3 *db, const char *path, struct bc_buf *reterr_message,
			       int *ret_version)
{
	int64_t application = 0;
	int64_t version = 0;
	int64_t tables = 0;

	if (jrn_schema_number(db, "PRAGMA application_id", &application) != BC_OK ||
	    jrn_schema_number(db, "PRAGMA user_version", &version) != BC_OK ||
	    jrn_schema_number(db, "SELECT count(*) FROM sqlite_schema", &tables) != BC_OK) {
		JRN_EXPLAIN(reterr_message,
			    "cannot read journal %s: %s; move it away to start with an empty one",
			    path, sqlite3_errmsg(db));
		return BC_E_JOURNAL;
	}
	if (application == 0 && version == 0 && tables == 0) {
		*ret_version = 0;
		return BC_OK;
	}
	if (application != JRN_SCHEMA_APPLICATION || version < 1) {
		return foreign(path, reterr_message);
	}
	if (version > JRN_SCHEMA_VERSION) {
		JRN_EXPLAIN(reterr_message,
			    "journal %s has format %" PRId64
			    ", this program knows up to %d: run the newer "
			    "program that wrote it, or move the file away",
			    path, version, JRN_SCHEMA_VERSION);
		return BC_E_JOURNAL;
	}
	*ret_version = (int)version;
	return BC_OK;
}

static int step_run(sqlite3 *db, int step)
{
	char sql[96];
	int len =
		snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d;",
			 JRN_SCHEMA_APPLICATION, step + 1);
	int rc;

	BC_BUG_ON(len < 0 || len >= (int)sizeof(sql));
	rc = sqlite3_exec(db, steps[step], NULL, NULL, NULL);
	return rc == SQLITE_OK ? sqlite3_exec(db, sql, NULL, NULL, NULL) : rc;
}

enum bc_err jrn_schema_migrate(sqlite3 *db, const char *path, int version,
			       struct bc_buf *reterr_message)
{
	int rc;

	BC_BUG_ON(version < 0 || version > JRN_SCHEMA_VERSION);
	if (version == JRN_SCHEMA_VERSION) {
		return BC_OK;
	}
	rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	for (int step = version; step < JRN_SCHEMA_VERSION && rc == SQLITE_OK; step++) {
		rc = step_run(db, step);
	}
	if (rc == SQLITE_OK) {
		rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	}
	if (rc != SQLITE_OK) {
		JRN_EXPLAIN(reterr_message, "cannot prepare journal %s: %s", path,
			    sqlite3_errmsg(db));
		return BC_E_JOURNAL;
	}
	return BC_OK;
}

static struct bc_span column_span(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_blob(stmt, column);
	int len = sqlite3_column_bytes(stmt, column);

	return bc_span(text == NULL ? "" : text, (size_t)len);
}

static bool read_intent(sqlite3_stmt *stmt, int first, struct jrn_record *record)
{
	struct bc_span key = column_span(stmt, first + 10);
	int64_t turn = sqlite3_column_int64(stmt, first + 4);
	int64_t undoes = sqlite3_column_int64(stmt, first + 11);

	if (key.len != JRN_KEY_SIZE - 1 || turn < 0 || undoes < 0) {
		return false;
	}
	record->intended.session = column_span(stmt, first + 3);
	record->intended.turn = (uint64_t)turn;
	record->intended.tool = column_span(stmt, first + 5);
	record->intended.arguments = column_span(stmt, first + 6);
	record->intended.tags = column_span(stmt, first + 7);
	record->intended.speculative = sqlite3_column_int(stmt, first + 9) != 0;
	memcpy(record->intended.key, key.ptr, key.len);
	record->intended.key[key.len] = '\0';
	record->intended.undoes = (uint64_t)undoes;
	record->intended.sealed = column_span(stmt, first + 12);
	return jrn_effect_of_name(column_span(stmt, first + 8), &record->intended.effect);
}

static bool read_fields(sqlite3_stmt *stmt, int first, struct jrn_record *record)
{
	switch (record->kind) {
	case JRN_REC_INTENT:
		return read_intent(stmt, first, record);
	case JRN_REC_RESULT:
		record->result.status = sqlite3_column_int(stmt, first + 3);
		record->result.output = column_span(stmt, first + 4);
		record->result.sealed = column_span(stmt, first + 5);
		return true;
	case JRN_REC_SETTLEMENT:
	case JRN_REC_RESOLUTION:
		record->settled.note = column_span(stmt, first + 4);
		return jrn_settlement_of_name(column_span(stmt, first + 3), &record->settled.how);
	case JRN_REC_DECISION:
		return jrn_decision_of_name(column_span(stmt, first + 3), &record->decided.what);
	}
	return false;
}

enum bc_err jrn_row_read(sqlite3_stmt *stmt, int first, enum jrn_record_kind kind,
			 struct bc_buf *scratch, struct jrn_record *ret)
{
	struct jrn_record record = {.kind = kind};
	struct bc_span stored = column_span(stmt, first + 2);
	struct jrn_digest digest;
	enum bc_err err;

	record.intent = (uint64_t)sqlite3_column_int64(stmt, first);
	record.wall = sqlite3_column_int64(stmt, first + 1);
	if (!read_fields(stmt, first, &record) || !jrn_record_is_sound(&record)) {
		return BC_E_INVALID;
	}
	err = jrn_record_digest(&record, scratch, &digest);
	if (err != BC_OK) {
		return err;
	}
	if (!bc_span_eq(stored, bc_span((const char *)digest.bytes, sizeof(digest.bytes)))) {
		return BC_E_INVALID;
	}
	*ret = record;
	return BC_OK;
}
