#include "daemon/journal/history.h"

#include <sqlite3.h>
#include <stddef.h>

#define BUSY_MS 2000

static struct bc_span text_at(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	return bc_span(text == NULL ? "" : text, (size_t)sqlite3_column_bytes(stmt, column));
}

static void report(sqlite3_stmt *stmt, jrn_history_fn *fn, void *arg)
{
	int64_t wall = sqlite3_column_int64(stmt, 7);
	int64_t done = sqlite3_column_int64(stmt, 8);
	int64_t turn = sqlite3_column_int64(stmt, 1);
	struct jrn_history_row row = {.session = text_at(stmt, 0),
				      .turn = turn < 0 ? 0 : (uint64_t)turn,
				      .tool = text_at(stmt, 2),
				      .arguments = text_at(stmt, 3),
				      .output = text_at(stmt, 4),
				      .speculative = sqlite3_column_int(stmt, 5) != 0,
				      .used = sqlite3_column_int(stmt, 6) != 0,
				      .wall = wall,
				      .took = done > wall ? done - wall : 0,
				      .status = sqlite3_column_int(stmt, 9),
				      .hidden = sqlite3_column_int(stmt, 10) != 0};

	fn(arg, &row);
}

static bool read_all(sqlite3 *db, unsigned count, jrn_history_fn *fn, void *arg)
{
	static const char sql[] =
		"SELECT * FROM (SELECT i.session, i.turn, i.tool, i.arguments, r.output, i.speculative,"
		" s.how = 'used', i.wall, r.wall, coalesce(r.status, 0),"
		" length(i.sealed) + coalesce(length(r.sealed), 0) > 0, i.intent AS number"
		" FROM intents i JOIN settlements s ON s.intent = i.intent"
		" LEFT JOIN results r ON r.intent = i.intent"
		" WHERE i.undoes = 0 AND s.how IN ('used', 'unused', 'undone')"
		" ORDER BY i.intent DESC LIMIT ?1) ORDER BY 1, number";
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	if (rc == SQLITE_OK) {
		rc = sqlite3_bind_int64(stmt, 1, (int64_t)count);
	}
	for (rc = rc == SQLITE_OK ? sqlite3_step(stmt) : rc; rc == SQLITE_ROW;
	     rc = sqlite3_step(stmt)) {
		report(stmt, fn, arg);
	}
	/* Its result repeats that of the step. */
	(void)sqlite3_finalize(stmt);
	return rc == SQLITE_DONE;
}

bool jrn_history(const char *path, unsigned count, jrn_history_fn *fn, void *arg)
{
	sqlite3 *db = NULL;
	bool read = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) ==
			    SQLITE_OK &&
		    sqlite3_busy_timeout(db, BUSY_MS) == SQLITE_OK &&
		    sqlite3_exec(db, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON",
				 NULL, NULL, NULL) == SQLITE_OK &&
		    read_all(db, count, fn, arg);

	/* Closing a reader writes nothing. */
	(void)sqlite3_close(db);
	return read;
}
