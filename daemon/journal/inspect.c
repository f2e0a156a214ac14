/*
 * One connection, one transaction, no trust: whatever the file says is checked as it is read (schema.c), and printed
 * with everything escaped that a terminal could take for a command.  A row that does not fit its check value is a
 * finding; a statement that fails makes the whole answer worthless, which is another thing and another exit status.
 */
#include "daemon/journal/inspect.h"

#include "daemon/base/buf.h"
#include "daemon/journal/schema.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define MESSAGE_BYTES_MAX 2000
#define SCRATCH_BYTES_MAX (JRN_RECORD_BYTES_MAX + 4096)
#define BUSY_MS           2000
#define TIME_SIZE         sizeof("2026-01-01T00:00:00.000Z")

struct reader {
	const char *path;
	struct jrn_inspect_output output;
	sqlite3 *db;
	struct bc_buf scratch;
	uint64_t findings;
	bool broken; /* a statement failed: no answer can be trusted */
};

static void reader_close(struct reader *reader)
{
	/* Every statement was finalized; closing a reader writes nothing. */
	(void)sqlite3_close(reader->db);
	bc_buf_release(&reader->scratch);
}

static void complain(struct reader *reader)
{
	(void)fprintf(reader->output.problems, "cannot read journal %s: %s\n", reader->path,
		      reader->db == NULL ? "out of memory" : sqlite3_errmsg(reader->db));
	reader->broken = true;
}

static bool is_ours(struct reader *reader)
{
	struct bc_buf message;
	int version = 0;
	bool ours;

	bc_buf_init(&message, MESSAGE_BYTES_MAX);
	ours = jrn_schema_version(reader->db, reader->path, &message, &version) == BC_OK;
	if (!ours) {
		struct bc_span text = bc_buf_span(&message);

		(void)fprintf(reader->output.problems, "%.*s\n", BC_SPAN_ARG(text));
	} else if (version == 0) {
		(void)fprintf(reader->output.problems, "%s holds no journal yet\n", reader->path);
		ours = false;
	} else if (version < JRN_SCHEMA_VERSION) {
		(void)fprintf(reader->output.problems,
			      "journal %s has the older format %d: the daemon brings it up to "
			      "date when it starts\n",
			      reader->path, version);
		ours = false;
	}
	bc_buf_release(&message);
	return ours;
}

/* One transaction from here to the close: what is read is of one moment, whatever the daemon writes meanwhile. */
static bool reader_open(struct reader *reader, const char *path, struct jrn_inspect_output output)
{
	*reader = (struct reader){.path = path, .output = output};
	bc_buf_init(&reader->scratch, SCRATCH_BYTES_MAX);
	if (sqlite3_open_v2(path, &reader->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) !=
		    SQLITE_OK ||
	    sqlite3_busy_timeout(reader->db, BUSY_MS) != SQLITE_OK ||
	    sqlite3_exec(reader->db,
			 "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; BEGIN", NULL,
			 NULL, NULL) != SQLITE_OK) {
		complain(reader);
	} else if (is_ours(reader)) {
		return true;
	}
	reader_close(reader);
	return false;
}

static sqlite3_stmt *prepare(struct reader *reader, const char *sql)
{
	sqlite3_stmt *stmt = NULL;

	if (sqlite3_prepare_v2(reader->db, sql, -1, &stmt, NULL) != SQLITE_OK) {
		complain(reader);
	}
	return stmt;
}

/* Whether there is a next row; an error is complained about and ends the rows. */
static bool next_row(struct reader *reader, sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);

	if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
		complain(reader);
	}
	return rc == SQLITE_ROW;
}

static enum jrn_inspection verdict(const struct reader *reader)
{
	if (reader->broken) {
		return JRN_INSPECT_UNREADABLE;
	}
	return reader->findings > 0 ? JRN_INSPECT_FINDINGS : JRN_INSPECT_CLEAN;
}

static void put_text(FILE *out, struct bc_span text)
{
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c < ' ' || c == 0x7f) {
			(void)fprintf(out, "\\x%02x", c);
		} else {
			(void)fputc(c, out);
		}
	}
}

/* Source: RFC 3339, UTC. */
static void format_time(bc_usec wall, char text[TIME_SIZE])
{
	time_t seconds = (time_t)(wall / BC_USEC_PER_SEC);
	int ms = (int)(wall % BC_USEC_PER_SEC / BC_USEC_PER_MS);
	struct tm tm;
	size_t len;

	if (gmtime_r(&seconds, &tm) == NULL || tm.tm_year > 9999 - 1900) {
		(void)snprintf(text, TIME_SIZE, "beyond year 9999");
		return;
	}
	len = strftime(text, TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	BC_BUG_ON(len == 0);
	(void)snprintf(text + len, TIME_SIZE - len, ".%03dZ", ms);
}

static void damaged(struct reader *reader, FILE *out, const char *table, int64_t intent)
{
	reader->findings++;
	(void)fprintf(out, "%s %" PRId64 ": the record is damaged\n", table, intent);
}

/* Columns behind those of the intent: how it ended, whether it has a result, and whether it was abandoned. */
static const char *state_name(sqlite3_stmt *stmt)
{
	const char *how = (const char *)sqlite3_column_text(stmt, JRN_INTENT_COLUMN__COUNT);

	if (how != NULL) {
		return how;
	}
	if (sqlite3_column_type(stmt, JRN_INTENT_COLUMN__COUNT + 2) != SQLITE_NULL) {
		return "abandoned";
	}
	return sqlite3_column_type(stmt, JRN_INTENT_COLUMN__COUNT + 1) == SQLITE_NULL ? "intended"
										      : "done";
}

static void list_row(struct reader *reader, sqlite3_stmt *stmt)
{
	FILE *out = reader->output.answers;
	struct jrn_record record;
	char when[TIME_SIZE];

	if (jrn_row_read(stmt, 0, JRN_REC_INTENT, &reader->scratch, &record) != BC_OK) {
		damaged(reader, out, "intent", sqlite3_column_int64(stmt, 0));
		return;
	}
	format_time(record.wall, when);
	(void)fprintf(out, "%-8" PRIu64 " %s  ", record.intent, when);
	put_text(out, record.intended.session);
	(void)fprintf(out, "  %-4" PRIu64 " %-10s %-6s %-13s ", record.intended.turn,
		      jrn_effect_name(record.intended.effect),
		      record.intended.speculative ? "guess" : "asked", state_name(stmt));
	put_text(out, record.intended.tool);
	(void)fputc('\n', out);
}

#define LIST_SELECT                                                                                    \
	"SELECT i.intent, i.wall, i.digest, i.session, i.turn, i.tool, i.arguments, i.tags, i.effect," \
	" i.speculative, i.key, i.undoes, i.sealed, coalesce(z.how, s.how), r.intent, d.intent"        \
	" FROM intents i LEFT JOIN settlements s ON s.intent = i.intent"                               \
	" LEFT JOIN results r ON r.intent = i.intent"                                                  \
	" LEFT JOIN resolutions z ON z.intent = i.intent"                                              \
	" LEFT JOIN decisions d ON d.intent = i.intent AND d.what = 'abandoned' "

enum jrn_inspection jrn_inspect_list(const char *path, bool open_only,
				     struct jrn_inspect_output output)
{
	static const char all[] = LIST_SELECT "ORDER BY i.intent";
	static const char open[] =
		LIST_SELECT "WHERE s.how IS NULL OR (s.how IN ('in_doubt', 'parked')"
			    " AND z.how IS NULL) ORDER BY i.intent";
	struct reader reader;
	sqlite3_stmt *stmt;

	if (!reader_open(&reader, path, output)) {
		return JRN_INSPECT_UNREADABLE;
	}
	(void)fprintf(output.answers, "%-8s %-24s  %-24s  %-4s %-10s %-6s %-13s %s\n", "INTENT",
		      "TIME", "SESSION", "TURN", "EFFECT", "WHO", "STATE", "TOOL");
	stmt = prepare(&reader, open_only ? open : all);
	while (stmt != NULL && next_row(&reader, stmt)) {
		list_row(&reader, stmt);
	}
	/* Its result repeats that of the step. */
	(void)sqlite3_finalize(stmt);
	reader_close(&reader);
	return verdict(&reader);
}

static void put_line(FILE *out, const char *name, struct bc_span text)
{
	(void)fprintf(out, "  %-11s ", name);
	put_text(out, text);
	(void)fputc('\n', out);
}

static void show_intent(FILE *out, const struct jrn_record *record)
{
	char when[TIME_SIZE];

	format_time(record->wall, when);
	(void)fprintf(out, "intent %" PRIu64 " ", record->intent);
	put_text(out, record->intended.tool);
	(void)fprintf(out, "\n  %-11s %s\n  %-11s %" PRIu64 "\n  %-11s %s, %s\n", "time", when,
		      "turn", record->intended.turn, "effect",
		      jrn_effect_name(record->intended.effect),
		      record->intended.speculative ? "a guess" : "asked for");
	put_line(out, "arguments", record->intended.arguments);
	put_line(out, "tags", record->intended.tags);
	put_line(out, "key", bc_span_str(record->intended.key));
	if (record->intended.undoes != 0) {
		(void)fprintf(out, "  %-11s %" PRIu64 "\n", "undoes", record->intended.undoes);
	}
}

static void show_result(FILE *out, const struct jrn_record *record)
{
	char when[TIME_SIZE];

	format_time(record->wall, when);
	(void)fprintf(out, "  %-11s %s, status %d\n", "result", when, record->result.status);
	put_line(out, "output", record->result.output);
}

static void show_settlement(FILE *out, const struct jrn_record *record)
{
	char when[TIME_SIZE];

	format_time(record->wall, when);
	(void)fprintf(out, "  %-11s %s, %s",
		      record->kind == JRN_REC_RESOLUTION ? "resolved" : "settled", when,
		      jrn_settlement_name(record->settled.how));
	if (record->settled.note.len > 0) {
		(void)fputs(", ", out);
		put_text(out, record->settled.note);
	}
	(void)fputc('\n', out);
}

static void show_decision(FILE *out, const struct jrn_record *record)
{
	char when[TIME_SIZE];

	format_time(record->wall, when);
	(void)fprintf(out, "  %-11s %s, %s\n", "decided", when,
		      jrn_decision_name(record->decided.what));
}

static void show_record(FILE *out, const struct jrn_record *record)
{
	switch (record->kind) {
	case JRN_REC_INTENT:
		show_intent(out, record);
		return;
	case JRN_REC_RESULT:
		show_result(out, record);
		return;
	case JRN_REC_DECISION:
		show_decision(out, record);
		return;
	case JRN_REC_SETTLEMENT:
	case JRN_REC_RESOLUTION:
		show_settlement(out, record);
		return;
	}
}

static const struct {
	enum jrn_record_kind kind;
	const char *name; /* of one row */
	const char *all;
	const char *one;
} tables[] = {
	{JRN_REC_INTENT, "intent", "SELECT " JRN_INTENT_COLUMNS " FROM intents",
	 "SELECT " JRN_INTENT_COLUMNS " FROM intents WHERE intent = ?1"},
	{JRN_REC_RESULT, "result", "SELECT " JRN_RESULT_COLUMNS " FROM results",
	 "SELECT " JRN_RESULT_COLUMNS " FROM results WHERE intent = ?1"},
	{JRN_REC_DECISION, "decision", "SELECT " JRN_DECISION_COLUMNS " FROM decisions",
	 "SELECT " JRN_DECISION_COLUMNS " FROM decisions WHERE intent = ?1"},
	{JRN_REC_SETTLEMENT, "settlement", "SELECT " JRN_SETTLEMENT_COLUMNS " FROM settlements",
	 "SELECT " JRN_SETTLEMENT_COLUMNS " FROM settlements WHERE intent = ?1"},
	{JRN_REC_RESOLUTION, "resolution", "SELECT " JRN_RESOLUTION_COLUMNS " FROM resolutions",
	 "SELECT " JRN_RESOLUTION_COLUMNS " FROM resolutions WHERE intent = ?1"},
};

/* The records of an intent, as far as they exist. */
static void show_all_of(struct reader *reader, int64_t intent)
{
	FILE *out = reader->output.answers;

	for (unsigned i = 0; i < BC_ARRAY_LEN(tables) && !reader->broken; i++) {
		sqlite3_stmt *stmt = prepare(reader, tables[i].one);
		struct jrn_record record;

		/* A failed binding leaves NULL, which matches no row. */
		(void)sqlite3_bind_int64(stmt, 1, intent);
		if (stmt != NULL && next_row(reader, stmt)) {
			if (jrn_row_read(stmt, 0, tables[i].kind, &reader->scratch, &record) ==
			    BC_OK) {
				show_record(out, &record);
			} else {
				damaged(reader, out, tables[i].name, intent);
			}
		}
		/* Its result repeats that of the step. */
		(void)sqlite3_finalize(stmt);
	}
}

enum jrn_inspection jrn_inspect_show(const char *path, struct bc_span session,
				     struct jrn_inspect_output output)
{
	struct reader reader;
	sqlite3_stmt *stmt;
	bool any = false;

	if (session.len > JRN_RECORD_BYTES_MAX || !reader_open(&reader, path, output)) {
		return JRN_INSPECT_UNREADABLE;
	}
	stmt = prepare(&reader, "SELECT intent FROM intents WHERE session = ?1 ORDER BY intent");
	/* A failed binding leaves NULL, which matches no row. */
	(void)sqlite3_bind_text(stmt, 1, session.ptr, (int)session.len, SQLITE_STATIC);
	while (stmt != NULL && !reader.broken && next_row(&reader, stmt)) {
		any = true;
		show_all_of(&reader, sqlite3_column_int64(stmt, 0));
	}
	/* Its result repeats that of the step. */
	(void)sqlite3_finalize(stmt);
	if (!any && !reader.broken) {
		(void)fputs("no tool call of that session\n", output.answers);
	}
	reader_close(&reader);
	return verdict(&reader);
}

static void check_file(struct reader *reader)
{
	sqlite3_stmt *stmt = prepare(reader, "PRAGMA integrity_check(100)");

	while (stmt != NULL && next_row(reader, stmt)) {
		struct bc_span text = bc_span_str((const char *)sqlite3_column_text(stmt, 0));

		if (!bc_span_is(text, "ok")) {
			reader->findings++;
			(void)fputs("file: ", reader->output.answers);
			put_text(reader->output.answers, text);
			(void)fputc('\n', reader->output.answers);
		}
	}
	/* Its result repeats that of the step. */
	(void)sqlite3_finalize(stmt);
}

static void check_records(struct reader *reader)
{
	for (unsigned i = 0; i < BC_ARRAY_LEN(tables) && !reader->broken; i++) {
		sqlite3_stmt *stmt = prepare(reader, tables[i].all);
		struct jrn_record record;

		while (stmt != NULL && next_row(reader, stmt)) {
			if (jrn_row_read(stmt, 0, tables[i].kind, &reader->scratch, &record) !=
			    BC_OK) {
				damaged(reader, reader->output.answers, tables[i].name,
					sqlite3_column_int64(stmt, 0));
			}
		}
		/* Its result repeats that of the step. */
		(void)sqlite3_finalize(stmt);
	}
}

/*
 * Each row a rule finds is an intent that breaks it.  The unary plus keeps the key's index out: in a damaged file two
 * rows of one key are possible.
 */
static const struct {
	const char *sql;
	const char *finding;
} relations[] = {
	{"SELECT intent FROM results EXCEPT SELECT intent FROM intents",
	 "has a result and no intent"},
	{"SELECT intent FROM settlements EXCEPT SELECT intent FROM intents",
	 "is settled and has no intent"},
	{"SELECT intent FROM decisions EXCEPT SELECT intent FROM intents",
	 "is decided and has no intent"},
	{"SELECT intent FROM resolutions EXCEPT SELECT intent FROM settlements"
	 " WHERE how IN ('in_doubt', 'parked')",
	 "is resolved and was neither in doubt nor parked"},
	{"SELECT s.intent FROM settlements s JOIN decisions d ON d.intent = s.intent"
	 " WHERE d.what = 'committed' AND s.how IN ('undone', 'parked')",
	 "is committed and was to be undone"},
	{"SELECT intent FROM intents GROUP BY +intent HAVING count(*) > 1", "is recorded twice"},
	{"SELECT intent FROM results GROUP BY +intent HAVING count(*) > 1", "has two results"},
	{"SELECT intent FROM settlements GROUP BY +intent HAVING count(*) > 1", "is settled twice"},
	{"SELECT intent FROM intents EXCEPT SELECT intent FROM settlements EXCEPT SELECT intent FROM unsettled",
	 "is open and not listed as such"},
	{"SELECT intent FROM unsettled EXCEPT SELECT intent FROM intents",
	 "is listed as open and has no intent"},
	{"SELECT intent FROM unsettled INTERSECT SELECT intent FROM settlements",
	 "is listed as open and is settled"},
	{"SELECT min(intent) FROM intents GROUP BY key HAVING count(*) > 1",
	 "shares its idempotency key with another"},
};

static void check_relations(struct reader *reader)
{
	for (unsigned i = 0; i < BC_ARRAY_LEN(relations) && !reader->broken; i++) {
		sqlite3_stmt *stmt = prepare(reader, relations[i].sql);

		while (stmt != NULL && next_row(reader, stmt)) {
			reader->findings++;
			(void)fprintf(reader->output.answers, "intent %lld %s\n",
				      (long long)sqlite3_column_int64(stmt, 0),
				      relations[i].finding);
		}
		/* Its result repeats that of the step. */
		(void)sqlite3_finalize(stmt);
	}
}

static int64_t count(struct reader *reader, const char *sql)
{
	int64_t number = 0;

	if (jrn_schema_number(reader->db, sql, &number) != BC_OK) {
		complain(reader);
	}
	return number;
}

static void print_counts(struct reader *reader)
{
	FILE *out = reader->output.answers;
	sqlite3_stmt *stmt;

	(void)fprintf(out,
		      "intents %" PRId64 ", results %" PRId64 ", settlements %" PRId64
		      ", open %" PRId64,
		      count(reader, "SELECT count(*) FROM intents"),
		      count(reader, "SELECT count(*) FROM results"),
		      count(reader, "SELECT count(*) FROM settlements"),
		      count(reader, "SELECT count(*) FROM unsettled"));
	stmt = prepare(reader, "SELECT how, count(*) FROM settlements GROUP BY how ORDER BY how");
	while (stmt != NULL && next_row(reader, stmt)) {
		(void)fputs(", ", out);
		put_text(out, bc_span_str((const char *)sqlite3_column_text(stmt, 0)));
		(void)fprintf(out, " %lld", (long long)sqlite3_column_int64(stmt, 1));
	}
	(void)fputc('\n', out);
	/* Its result repeats that of the step. */
	(void)sqlite3_finalize(stmt);
}

enum jrn_inspection jrn_inspect_verify(const char *path, struct jrn_inspect_output output)
{
	struct reader reader;

	if (!reader_open(&reader, path, output)) {
		return JRN_INSPECT_UNREADABLE;
	}
	print_counts(&reader);
	check_file(&reader);
	check_records(&reader);
	check_relations(&reader);
	if (verdict(&reader) == JRN_INSPECT_CLEAN) {
		(void)fputs("journal clean\n", output.answers);
	}
	reader_close(&reader);
	return verdict(&reader);
}
