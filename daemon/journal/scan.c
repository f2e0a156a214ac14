/* Reading back from the SQLite store what the journal needs to go on. */
#include "daemon/journal/sqlite_internal.h"

#include <stdio.h>

#define RESULT_AT     JRN_INTENT_COLUMN__COUNT
#define DECISION_AT   (RESULT_AT + JRN_RESULT_COLUMN__COUNT)
#define SETTLEMENT_AT (DECISION_AT + 1)
#define RESOLUTION_AT (SETTLEMENT_AT + 1)

#define SELECT                                                                               \
	"SELECT i.intent, i.wall, i.digest, i.session, i.turn, i.tool, i.arguments, i.tags," \
	" i.effect, i.speculative, i.key, i.undoes, i.sealed,"                               \
	" r.intent, r.wall, r.digest, r.status, r.output, r.sealed, d.what, s.how, z.how"    \
	" FROM intents i LEFT JOIN results r ON r.intent = i.intent"                         \
	" LEFT JOIN decisions d ON d.intent = i.intent"                                      \
	" LEFT JOIN settlements s ON s.intent = i.intent"                                    \
	" LEFT JOIN resolutions z ON z.intent = i.intent "

/* By enum jrn_scope; ?1 is the number. */
static const char *const scopes[] = {
	[JRN_UNSETTLED] = SELECT "WHERE i.intent IN (SELECT intent FROM unsettled) AND ?1 = 0"
				 " ORDER BY i.intent",
	[JRN_PENDING] = SELECT "WHERE i.intent IN (SELECT intent FROM settlements WHERE how"
			       " IN ('in_doubt', 'parked')) AND s.how = 'in_doubt'"
			       " AND z.intent IS NULL ORDER BY i.intent DESC LIMIT ?1",
	[JRN_ONE] = SELECT "WHERE i.intent = ?1",
	[JRN_UNDO_PENDING] = SELECT "WHERE i.undoes = ?1 AND i.undoes <> 0 AND s.how = 'in_doubt'"
				    " AND z.intent IS NULL ORDER BY i.intent DESC LIMIT 1",
};

static struct bc_span text_at(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	return bc_span_str(text == NULL ? "" : text);
}

static enum bc_err damaged(struct sqlite_store *s, sqlite3_stmt *stmt)
{
	(void)snprintf(s->complaint, sizeof(s->complaint),
		       "the record of intent %lld is damaged, see backchannel-journal(1), verify",
		       (long long)sqlite3_column_int64(stmt, 0));
	s->failed = true;
	return BC_E_JOURNAL;
}

static bool read_rest(sqlite3_stmt *stmt, struct jrn_unsettled *row)
{
	row->settled = sqlite3_column_type(stmt, SETTLEMENT_AT) != SQLITE_NULL;
	row->resolved = sqlite3_column_type(stmt, RESOLUTION_AT) != SQLITE_NULL;
	if (sqlite3_column_type(stmt, DECISION_AT) != SQLITE_NULL &&
	    !jrn_decision_of_name(text_at(stmt, DECISION_AT), &row->decision)) {
		return false;
	}
	return !row->settled || jrn_settlement_of_name(text_at(stmt, SETTLEMENT_AT), &row->how);
}

static enum bc_err report_row(struct sqlite_store *s, sqlite3_stmt *stmt, jrn_unsettled_fn *fn,
			      void *arg)
{
	struct jrn_record intent;
	struct jrn_record result;
	struct jrn_unsettled row = {.intent = &intent};
	enum bc_err err = jrn_row_read(stmt, 0, JRN_REC_INTENT, &s->scratch, &intent);

	row.has_result = sqlite3_column_type(stmt, RESULT_AT) != SQLITE_NULL;
	if (err == BC_OK && row.has_result) {
		err = jrn_row_read(stmt, RESULT_AT, JRN_REC_RESULT, &s->scratch, &result);
	}
	if (err == BC_E_NOMEM) {
		return err;
	}
	if (err != BC_OK || !read_rest(stmt, &row)) {
		return damaged(s, stmt);
	}
	row.wall = intent.wall;
	if (row.has_result) {
		row.result = &result;
		row.status = result.result.status;
		row.wall = result.wall;
	}
	return fn(arg, &row);
}

enum bc_err jrn_sqlite_scan(struct jrn_store *store, enum jrn_scope scope, uint64_t number,
			    jrn_unsettled_fn *fn, void *arg)
{
	struct sqlite_store *s = jrn_sqlite_self(store);
	sqlite3_stmt *stmt = NULL;
	enum bc_err err = BC_OK;
	int rc;

	BC_BUG_ON(s->failed || number > INT64_MAX);
	rc = sqlite3_prepare_v2(s->db, scopes[scope], -1, &stmt, NULL);
	if (rc == SQLITE_OK) {
		rc = sqlite3_bind_int64(stmt, 1, (int64_t)number);
	}
	for (rc = rc == SQLITE_OK ? sqlite3_step(stmt) : rc; rc == SQLITE_ROW;
	     rc = sqlite3_step(stmt)) {
		err = report_row(s, stmt, fn, arg);
		if (err != BC_OK) {
			break;
		}
	}
	if (err == BC_OK && rc != SQLITE_DONE) {
		err = jrn_sqlite_fail(s, "scan");
	}
	/* Its result repeats that of the step. */
	(void)sqlite3_finalize(stmt);
	return err;
}

enum bc_err jrn_sqlite_scan_standing(struct jrn_store *store, uint64_t above, jrn_standing_fn *fn,
				     void *arg)
{
	static const char text[] =
		"SELECT i.tags, max(i.intent) FROM intents i"
		" JOIN settlements s ON s.intent = i.intent"
		" LEFT JOIN resolutions z ON z.intent = i.intent"
		" WHERE i.intent > ?1 AND i.effect IN ('reversible', 'hold')"
		" AND coalesce(z.how, s.how) IN ('used', 'unused', 'in_doubt', 'parked')"
		" GROUP BY i.tags";
	struct sqlite_store *s = jrn_sqlite_self(store);
	sqlite3_stmt *stmt = NULL;
	enum bc_err err = BC_OK;
	int rc;

	BC_BUG_ON(s->failed);
	rc = sqlite3_prepare_v2(s->db, text, -1, &stmt, NULL);
	if (rc == SQLITE_OK) {
		rc = sqlite3_bind_int64(stmt, 1, (int64_t)above);
	}
	for (rc = rc == SQLITE_OK ? sqlite3_step(stmt) : rc; rc == SQLITE_ROW && err == BC_OK;
	     rc = sqlite3_step(stmt)) {
		err = fn(arg, text_at(stmt, 0), (uint64_t)sqlite3_column_int64(stmt, 1));
	}
	if (err == BC_OK && rc != SQLITE_DONE) {
		err = jrn_sqlite_fail(s, "scan");
	}
	/* Its result repeats that of the step. */
	(void)sqlite3_finalize(stmt);
	return err;
}

enum bc_err jrn_sqlite_marks(struct jrn_store *store, struct jrn_store_marks *ret)
{
	static const char pending[] =
		"SELECT count(*) FROM settlements s LEFT JOIN resolutions z ON z.intent = s.intent"
		" WHERE s.how IN ('in_doubt', 'parked') AND z.intent IS NULL AND s.how = 'in_doubt'";
	static const char parked[] =
		"SELECT count(*) FROM settlements s LEFT JOIN resolutions z ON z.intent = s.intent"
		" WHERE s.how IN ('in_doubt', 'parked') AND z.intent IS NULL AND s.how = 'parked'";
	static const char first[] =
		"SELECT coalesce(min(intent), 0) FROM (SELECT intent FROM unsettled UNION ALL"
		" SELECT s.intent FROM settlements s LEFT JOIN resolutions z ON z.intent = s.intent"
		" WHERE s.how IN ('in_doubt', 'parked') AND z.intent IS NULL)";
	static const char last_text[] = "SELECT coalesce(max(intent), 0) FROM intents";
	struct sqlite_store *s = jrn_sqlite_self(store);
	int64_t numbers[4] = {0};
	const char *const texts[] = {last_text, pending, parked, first};

	BC_BUG_ON(s->failed);
	for (unsigned i = 0; i < BC_ARRAY_LEN(texts); i++) {
		if (jrn_schema_number(s->db, texts[i], &numbers[i]) != BC_OK) {
			return jrn_sqlite_fail(s, "read");
		}
	}
	if (numbers[0] < 0) {
		return jrn_sqlite_fail(s, "negative number of an intent");
	}
	*ret = (struct jrn_store_marks){.intent_last = (uint64_t)numbers[0],
					.in_doubt = (uint64_t)numbers[1],
					.parked = (uint64_t)numbers[2],
					.open_first = (uint64_t)numbers[3]};
	return BC_OK;
}
