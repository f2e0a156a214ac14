/*
 * The journal in one SQLite file; tables and their versions are in schema.c.
 *
 * Q1  BC_OK from commit means: on disk.  WAL with synchronous=FULL syncs the log at every commit; NORMAL, the usual
 *     companion of WAL, would sync at checkpoints only and lose the last commits with the power.
 * Q2  A failed sync is never overlooked.  SQLite's automatic checkpoint swallows its errors by design, so it is off
 *     and maintain does it, between groups, where its result is looked at and nobody waits for it.
 * Q3  After an error the handle is only closed, and without the checkpoint that closing usually makes: what the
 *     log holds is then judged by the next process, from the disk (J8).
 * Q4  One writer: the lock file is held before the database is touched.  Readers may come and go (WAL).
 * Q5  Files are 0600.  SQLite gives -wal and -shm the mode of the database, so that one is made first.
 *
 * Settings, besides those above:
 *   secure_delete       what retention removed must not be readable in free pages
 *   trusted_schema off, cell_size_check   the file may have been damaged or tampered with
 *   journal_size_limit  a log that a long reader made large shrinks again
 *   busy timeout        somebody's sqlite3 shell with a write transaction delays us, and does not break us at once
 */
#include "daemon/journal/lock.h"
#include "daemon/journal/sqlite_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_MS           2000
#define CHECKPOINT_PAGES  1000 /* pages of log between checkpoints; 4 MB with the usual page */
#define PRUNE_MAX         256  /* intents removed in one group */
#define SCRATCH_BYTES_MAX (JRN_RECORD_BYTES_MAX + 4096)

static const char *const statement_texts[SQLITE_STATEMENT__COUNT] = {
	[SQLITE_ST_BEGIN] = "BEGIN IMMEDIATE",
	[SQLITE_ST_COMMIT] = "COMMIT",
	[SQLITE_ST_PUT_INTENT] =
		"INSERT INTO intents (" JRN_INTENT_COLUMNS
		") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
	[SQLITE_ST_PUT_UNSETTLED] = "INSERT INTO unsettled (intent) VALUES (?1)",
	[SQLITE_ST_PUT_RESULT] =
		"INSERT INTO results (" JRN_RESULT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[SQLITE_ST_PUT_SETTLEMENT] =
		"INSERT INTO settlements (" JRN_SETTLEMENT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5)",
	[SQLITE_ST_PUT_DECISION] =
		"INSERT INTO decisions (" JRN_DECISION_COLUMNS ") VALUES (?1, ?2, ?3, ?4)",
	[SQLITE_ST_PUT_RESOLUTION] =
		"INSERT INTO resolutions (" JRN_RESOLUTION_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5)",
	[SQLITE_ST_DROP_UNSETTLED] = "DELETE FROM unsettled WHERE intent = ?1",
	[SQLITE_ST_FIND_OLD] =
		("SELECT intent, wall FROM settlements WHERE how NOT IN ('in_doubt', 'parked')"
		 " AND wall < ?1 AND intent < (SELECT max(intent) FROM intents)"
		 " UNION ALL SELECT intent, wall FROM resolutions WHERE wall < ?1"
		 " AND intent < (SELECT max(intent) FROM intents) ORDER BY wall LIMIT ?2"),
	[SQLITE_ST_DROP_INTENT] = "DELETE FROM intents WHERE intent = ?1",
	[SQLITE_ST_DROP_RESULT] = "DELETE FROM results WHERE intent = ?1",
	[SQLITE_ST_DROP_DECISION] = "DELETE FROM decisions WHERE intent = ?1",
	[SQLITE_ST_DROP_RESOLUTION] = "DELETE FROM resolutions WHERE intent = ?1",
	[SQLITE_ST_DROP_SETTLEMENT] = "DELETE FROM settlements WHERE intent = ?1",
};

static struct sqlite_store *self(struct jrn_store *store)
{
	return jrn_sqlite_self(store);
}

static enum bc_err fail(struct sqlite_store *s, const char *what)
{
	return jrn_sqlite_fail(s, what);
}

struct sqlite_store *jrn_sqlite_self(struct jrn_store *store)
{
	struct sqlite_store *s = (struct sqlite_store *)store;

	BC_CHECK(s, SQLITE_STORE_MAGIC);
	return s;
}

enum bc_err jrn_sqlite_fail(struct sqlite_store *s, const char *what)
{
	(void)snprintf(s->complaint, sizeof(s->complaint), "%s: %s", what, sqlite3_errmsg(s->db));
	s->failed = true;
	return BC_E_JOURNAL;
}

static enum bc_err run(struct sqlite_store *s, enum sqlite_statement which, const char *what)
{
	sqlite3_stmt *stmt = s->statements[which];
	int rc = sqlite3_step(stmt);

	/* The text of the error is taken before the reset, which may replace it. */
	if (rc != SQLITE_DONE) {
		enum bc_err err = fail(s, what);

		(void)sqlite3_reset(stmt);
		return err;
	}
	return sqlite3_reset(stmt) == SQLITE_OK ? BC_OK : fail(s, what);
}

static enum bc_err run_on(struct sqlite_store *s, enum sqlite_statement which, uint64_t intent,
			  const char *what)
{
	if (sqlite3_bind_int64(s->statements[which], 1, (int64_t)intent) != SQLITE_OK) {
		return fail(s, what);
	}
	return run(s, which, what);
}

static enum bc_err sqlite_begin(struct jrn_store *store)
{
	struct sqlite_store *s = self(store);

	BC_BUG_ON(s->failed);
	BC_BUG_ON(sqlite3_get_autocommit(s->db) == 0);
	return run(s, SQLITE_ST_BEGIN, "begin");
}

static enum bc_err sqlite_commit(struct jrn_store *store)
{
	struct sqlite_store *s = self(store);

	BC_BUG_ON(s->failed);
	BC_BUG_ON(sqlite3_get_autocommit(s->db) != 0);
	return run(s, SQLITE_ST_COMMIT, "commit");
}

static int bind_text(sqlite3_stmt *stmt, int at, struct bc_span text)
{
	/* The length is bounded by JRN_RECORD_BYTES_MAX; the bytes outlive the step. */
	return sqlite3_bind_text(stmt, at, text.len == 0 ? "" : text.ptr, (int)text.len,
				 SQLITE_STATIC);
}

static int bind_bytes(sqlite3_stmt *stmt, int at, struct bc_span bytes)
{
	return sqlite3_bind_blob(stmt, at, bytes.len == 0 ? "" : bytes.ptr, (int)bytes.len,
				 SQLITE_STATIC);
}

static int bind_intent(sqlite3_stmt *stmt, const struct jrn_record *r)
{
	int bad = bind_text(stmt, 4, r->intended.session);

	bad |= sqlite3_bind_int64(stmt, 5, (int64_t)r->intended.turn);
	bad |= bind_text(stmt, 6, r->intended.tool);
	bad |= bind_text(stmt, 7, r->intended.arguments);
	bad |= bind_text(stmt, 8, r->intended.tags);
	bad |= bind_text(stmt, 9, bc_span_str(jrn_effect_name(r->intended.effect)));
	bad |= sqlite3_bind_int(stmt, 10, r->intended.speculative ? 1 : 0);
	bad |= bind_text(stmt, 11, bc_span(r->intended.key, JRN_KEY_SIZE - 1));
	bad |= sqlite3_bind_int64(stmt, 12, (int64_t)r->intended.undoes);
	bad |= bind_bytes(stmt, 13, r->intended.sealed);
	return bad;
}

static int bind_fields(sqlite3_stmt *stmt, const struct jrn_record *r)
{
	switch (r->kind) {
	case JRN_REC_INTENT:
		return bind_intent(stmt, r);
	case JRN_REC_RESULT:
		return sqlite3_bind_int(stmt, 4, r->result.status) |
		       bind_text(stmt, 5, r->result.output) | bind_bytes(stmt, 6, r->result.sealed);
	case JRN_REC_DECISION:
		return bind_text(stmt, 4, bc_span_str(jrn_decision_name(r->decided.what)));
	case JRN_REC_SETTLEMENT:
	case JRN_REC_RESOLUTION:
		return bind_text(stmt, 4, bc_span_str(jrn_settlement_name(r->settled.how))) |
		       bind_text(stmt, 5, r->settled.note);
	}
	return SQLITE_MISUSE;
}

static enum bc_err put_row(struct sqlite_store *s, enum sqlite_statement which,
			   const struct jrn_record *r)
{
	sqlite3_stmt *stmt = s->statements[which];
	struct jrn_digest digest;
	enum bc_err err;
	int bad;

	if (jrn_record_digest(r, &s->scratch, &digest) != BC_OK) {
		return fail(s, "check of a record");
	}
	bad = sqlite3_bind_int64(stmt, 1, (int64_t)r->intent);
	bad |= sqlite3_bind_int64(stmt, 2, r->wall);
	bad |= sqlite3_bind_blob(stmt, 3, digest.bytes, sizeof(digest.bytes), SQLITE_STATIC);
	bad |= bind_fields(stmt, r);
	err = bad == 0 ? run(s, which, "insert") : fail(s, "bind");
	/* Nothing may point into the caller's memory when we return. */
	(void)sqlite3_clear_bindings(stmt);
	return err;
}

static enum bc_err sqlite_write(struct jrn_store *store, const struct jrn_record *record)
{
	struct sqlite_store *s = self(store);
	enum bc_err err;

	BC_BUG_ON(s->failed);
	BC_BUG_ON(!jrn_record_is_sound(record));
	switch (record->kind) {
	case JRN_REC_INTENT:
		err = put_row(s, SQLITE_ST_PUT_INTENT, record);
		return err == BC_OK ? run_on(s, SQLITE_ST_PUT_UNSETTLED, record->intent, "insert")
				    : err;
	case JRN_REC_RESULT:
		return put_row(s, SQLITE_ST_PUT_RESULT, record);
	case JRN_REC_DECISION:
		return put_row(s, SQLITE_ST_PUT_DECISION, record);
	case JRN_REC_RESOLUTION:
		return put_row(s, SQLITE_ST_PUT_RESOLUTION, record);
	case JRN_REC_SETTLEMENT:
		err = put_row(s, SQLITE_ST_PUT_SETTLEMENT, record);
		return err == BC_OK ? run_on(s, SQLITE_ST_DROP_UNSETTLED, record->intent, "delete")
				    : err;
	}
	return BC_E_INVALID;
}

static enum bc_err find_old(struct sqlite_store *s, bc_usec before, unsigned limit,
			    uint64_t *ret_found, unsigned *ret_count)
{
	sqlite3_stmt *stmt = s->statements[SQLITE_ST_FIND_OLD];
	unsigned count = 0;
	int rc = sqlite3_bind_int64(stmt, 1, before) | sqlite3_bind_int(stmt, 2, (int)limit);

	for (rc = rc == SQLITE_OK ? sqlite3_step(stmt) : rc; rc == SQLITE_ROW;
	     rc = sqlite3_step(stmt)) {
		BC_BUG_ON(count == limit);
		ret_found[count++] = (uint64_t)sqlite3_column_int64(stmt, 0);
	}
	if (rc != SQLITE_DONE) {
		enum bc_err err = fail(s, "search for old records");

		(void)sqlite3_reset(stmt);
		return err;
	}
	*ret_count = count;
	return sqlite3_reset(stmt) == SQLITE_OK ? BC_OK : fail(s, "search for old records");
}

static enum bc_err drop_all(struct sqlite_store *s, uint64_t intent)
{
	static const enum sqlite_statement drops[] = {
		SQLITE_ST_DROP_RESULT, SQLITE_ST_DROP_DECISION, SQLITE_ST_DROP_RESOLUTION,
		SQLITE_ST_DROP_SETTLEMENT, SQLITE_ST_DROP_INTENT};
	enum bc_err err = BC_OK;

	for (unsigned i = 0; i < BC_ARRAY_LEN(drops) && err == BC_OK; i++) {
		err = run_on(s, drops[i], intent, "removal of old records");
	}
	return err;
}

static enum bc_err sqlite_prune(struct jrn_store *store, bc_usec before, unsigned limit,
				unsigned *ret_removed)
{
	struct sqlite_store *s = self(store);
	uint64_t old[PRUNE_MAX];
	unsigned count = 0;
	enum bc_err err;

	BC_BUG_ON(s->failed || limit == 0);
	limit = limit > PRUNE_MAX ? PRUNE_MAX : limit;
	err = find_old(s, before, limit, old, &count);
	if (err == BC_OK && count > 0) {
		err = sqlite_begin(store);
		for (unsigned i = 0; i < count && err == BC_OK; i++) {
			err = drop_all(s, old[i]);
		}
		if (err == BC_OK) {
			err = sqlite_commit(store);
		}
	}
	if (err == BC_OK) {
		*ret_removed = count;
	}
	return err;
}

static int note_log_pages(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct sqlite_store *s = arg;

	(void)db;
	(void)name;
	BC_CHECK(s, SQLITE_STORE_MAGIC);
	/* Fewer than before: the log began anew. */
	if (pages < s->log_pages) {
		s->checkpoint_at = CHECKPOINT_PAGES;
	}
	s->log_pages = pages;
	return SQLITE_OK;
}

static enum bc_err sqlite_maintain(struct jrn_store *store)
{
	struct sqlite_store *s = self(store);
	int rc;

	BC_BUG_ON(s->failed);
	if (s->log_pages < s->checkpoint_at) {
		return BC_OK;
	}
	rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	/* Busy: a reader needs the log as it is; the next try is one interval later. */
	if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY) {
		return fail(s, "checkpoint");
	}
	s->checkpoint_at = s->log_pages + CHECKPOINT_PAGES;
	return BC_OK;
}

static const char *sqlite_complaint(const struct jrn_store *store)
{
	const struct sqlite_store *s = (const struct sqlite_store *)store;

	BC_CHECK(s, SQLITE_STORE_MAGIC);
	return s->complaint;
}

static struct jrn_store *sqlite_close_store(struct jrn_store *store)
{
	struct sqlite_store *s;

	if (store == NULL) {
		return NULL;
	}
	s = self(store);
	for (unsigned i = 0; i < SQLITE_STATEMENT__COUNT; i++) {
		/* Repeats the result of the last step. */
		(void)sqlite3_finalize(s->statements[i]);
	}
	if (s->db != NULL && s->failed) {
		(void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	}
	BC_BUG_ON(sqlite3_close(s->db) != SQLITE_OK);
	s->lock_fd = jrn_lock_free(s->lock_fd);
	bc_buf_release(&s->scratch);
	s->magic = 0;
	free(s);
	return NULL;
}

/* Q5: the file exists with its mode before SQLite opens it; files of an earlier life are narrowed. */
static enum bc_err make_private(const char *path, struct bc_buf *reterr_message)
{
	static const char *const suffixes[] = {"-wal", "-shm"};
	char name[PATH_MAX];
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int rc;

	if (fd < 0) {
		JRN_EXPLAIN(reterr_message,
			    "cannot open journal %s: %s; its directory must exist and be ours",
			    path, strerror(errno));
		return BC_E_SYSTEM;
	}
	rc = fchmod(fd, 0600);
	for (unsigned i = 0; i < BC_ARRAY_LEN(suffixes) && rc == 0; i++) {
		int len = snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);

		BC_BUG_ON(len < 0 || len >= (int)sizeof(name)); /* the lock's name was as long */
		rc = chmod(name, 0600) != 0 && errno != ENOENT ? -1 : 0;
	}
	if (rc != 0) {
		JRN_EXPLAIN(reterr_message, "cannot make journal %s private: %s; it must be ours",
			    path, strerror(errno));
	}
	(void)close(fd); /* nothing was written through it */
	return rc == 0 ? BC_OK : BC_E_SYSTEM;
}

/* A new file is durable only when its name is: SQLite syncs the directory for its logs, not for the database. */
static enum bc_err sync_directory(const char *path, struct bc_buf *reterr_message)
{
	char copy[PATH_MAX];
	const char *directory;
	int rc = -1;
	int fd;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	directory = dirname(copy);
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		rc = fsync(fd);
		(void)close(fd); /* read-only */
	}
	if (rc != 0) {
		JRN_EXPLAIN(reterr_message, "cannot sync directory %s: %s", directory,
			    strerror(errno));
		return BC_E_SYSTEM;
	}
	return BC_OK;
}

/* Q1 rests on it, and a file system without shared memory silently gets another mode. */
static bool log_mode_set(sqlite3 *db)
{
	sqlite3_stmt *stmt = NULL;
	bool named =
		sqlite3_prepare_v2(db, "PRAGMA journal_mode = WAL", -1, &stmt, NULL) == SQLITE_OK &&
		sqlite3_step(stmt) == SQLITE_ROW &&
		bc_span_is(bc_span_str((const char *)sqlite3_column_text(stmt, 0)), "wal");
	/* The change is committed behind the row that tells it. */
	bool done = named && sqlite3_step(stmt) == SQLITE_DONE;

	return sqlite3_finalize(stmt) == SQLITE_OK && done;
}

static enum bc_err configure(struct sqlite_store *s, const char *path,
			     struct bc_buf *reterr_message)
{
	static const char settings[] =
		"PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
		"PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
		"PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY";
	int64_t synchronous = 0;
	int rc = sqlite3_busy_timeout(s->db, BUSY_MS);

	rc = rc == SQLITE_OK ? sqlite3_exec(s->db, settings, NULL, NULL, NULL) : rc;
	if (rc != SQLITE_OK || !log_mode_set(s->db) ||
	    jrn_schema_number(s->db, "PRAGMA synchronous", &synchronous) != BC_OK) {
		JRN_EXPLAIN(reterr_message, "cannot set up journal %s: %s", path,
			    sqlite3_errmsg(s->db));
		return BC_E_JOURNAL;
	}
	BC_BUG_ON(synchronous != 2); /* Q1: FULL */
	/* Also ends the automatic checkpoint (Q2). */
	(void)sqlite3_wal_hook(s->db, note_log_pages, s);
	return BC_OK;
}

static enum bc_err prepare(struct sqlite_store *s, const char *path, struct bc_buf *reterr_message)
{
	for (unsigned i = 0; i < SQLITE_STATEMENT__COUNT; i++) {
		int rc = sqlite3_prepare_v3(s->db, statement_texts[i], -1,
					    SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL);

		if (rc != SQLITE_OK) {
			JRN_EXPLAIN(reterr_message, "cannot use journal %s: %s", path,
				    sqlite3_errmsg(s->db));
			return BC_E_JOURNAL;
		}
	}
	return BC_OK;
}

/* The steps after the lock, in order; version is looked at before anything in the file is changed. */
static enum bc_err open_database(struct sqlite_store *s, const char *path,
				 struct bc_buf *reterr_message)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
		    SQLITE_OPEN_EXRESCODE;
	int version = 0;
	enum bc_err err = make_private(path, reterr_message);

	if (err != BC_OK) {
		return err;
	}
	if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK) {
		JRN_EXPLAIN(reterr_message, "cannot open journal %s: %s", path,
			    s->db == NULL ? "out of memory" : sqlite3_errmsg(s->db));
		return s->db == NULL ? BC_E_NOMEM : BC_E_JOURNAL;
	}
	err = jrn_schema_version(s->db, path, reterr_message, &version);
	err = err == BC_OK ? configure(s, path, reterr_message) : err;
	err = err == BC_OK ? jrn_schema_migrate(s->db, path, version, reterr_message) : err;
	err = err == BC_OK ? prepare(s, path, reterr_message) : err;
	return err == BC_OK ? sync_directory(path, reterr_message) : err;
}

static enum bc_err sqlite_open_store(const char *location, struct bc_buf *reterr_message,
				     struct jrn_store **ret)
{
	struct sqlite_store *s = calloc(1, sizeof(*s));
	enum bc_err err;

	if (s == NULL) {
		JRN_EXPLAIN(reterr_message, "cannot open journal %s: out of memory", location);
		return BC_E_NOMEM;
	}
	s->store.ops = &jrn_sqlite_ops;
	s->magic = SQLITE_STORE_MAGIC;
	s->lock_fd = -1;
	s->checkpoint_at = CHECKPOINT_PAGES;
	bc_buf_init(&s->scratch, SCRATCH_BYTES_MAX);
	err = jrn_lock_new(location, reterr_message, &s->lock_fd);
	if (err == BC_OK) {
		err = open_database(s, location, reterr_message);
	}
	if (err != BC_OK) {
		s->failed = true;
		(void)sqlite_close_store(&s->store);
		return err;
	}
	*ret = &s->store;
	return BC_OK;
}

const struct jrn_store_ops jrn_sqlite_ops = {
	.name = "sqlite",
	.open = sqlite_open_store,
	.begin = sqlite_begin,
	.write = sqlite_write,
	.commit = sqlite_commit,
	.scan = jrn_sqlite_scan,
	.scan_standing = jrn_sqlite_scan_standing,
	.marks = jrn_sqlite_marks,
	.prune = sqlite_prune,
	.maintain = sqlite_maintain,
	.complaint = sqlite_complaint,
	.close = sqlite_close_store,
};
