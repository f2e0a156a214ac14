/*
 * The journal's writer without a thread, and the disk under it.  The writer runs on a stack of its own, and gives way where
 * the real one waits: for work, and for the disk.  So everything else can happen while a group is being written, also a
 * crash, which a coin decides whether the group survived.
 */
#include "tests/sim/world.h"

#include "daemon/journal/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_SIZE ((size_t)512 * 1024)

/* ---- the writer ---- */

static struct {
	enum {
		WRITER_NONE,
		WRITER_IDLE,    /* waits for work */
		WRITER_WRITING, /* waits for the disk */
		WRITER_RUNS,
		WRITER_ENDED
	} state;
	void *(*main)(void *arg);
	void *arg;
	ucontext_t context;
	ucontext_t world;
	void *stack;
	struct sim_event *due; /* it will go on */
	bool closing;
} writer;

static void enter(void)
{
	(void)writer.main(writer.arg);
	writer.state = WRITER_ENDED;
	(void)swapcontext(&writer.context, &writer.world);
}

static void give_way(int state)
{
	writer.state = state == WRITER_IDLE ? WRITER_IDLE : WRITER_WRITING;
	BC_BUG_ON(swapcontext(&writer.context, &writer.world) != 0);
}

static void go_on(void *arg)
{
	(void)arg;
	writer.due = NULL;
	writer.state = WRITER_RUNS;
	BC_BUG_ON(swapcontext(&writer.world, &writer.context) != 0);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_join(pthread_t thread, void **ret);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_signal(pthread_cond_t *cond);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	(void)attr;
	BC_BUG_ON(writer.state != WRITER_NONE);
	*thread = pthread_self();
	if (writer.stack == NULL) {
		writer.stack = malloc(STACK_SIZE);
	}
	BC_BUG_ON(writer.stack == NULL || getcontext(&writer.context) != 0);
	writer.context.uc_stack.ss_sp = writer.stack;
	writer.context.uc_stack.ss_size = STACK_SIZE;
	writer.context.uc_link = NULL;
	makecontext(&writer.context, enter, 0);
	writer.main = fn;
	writer.arg = arg;
	writer.closing = false;
	writer.state = WRITER_IDLE;
	writer.due = sim_at(0, go_on, NULL);
	return 0;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	(void)cond;
	BC_BUG_ON(writer.state != WRITER_RUNS || pthread_mutex_unlock(mutex) != 0);
	give_way(WRITER_IDLE);
	return pthread_mutex_lock(mutex);
}

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
	(void)cond;
	if (writer.state == WRITER_IDLE && writer.due == NULL) {
		writer.due = sim_at(sim_between(1, 200), go_on, NULL);
	}
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **ret)
{
	(void)thread;
	(void)ret;
	writer.closing = true;
	while (writer.state != WRITER_ENDED) {
		if (writer.due != NULL) {
			sim_forget(writer.due);
		}
		go_on(NULL);
	}
	writer.state = WRITER_NONE;
	return 0;
}

/* ---- the disk ---- */

static struct {
	struct jrn_store base;
	struct jrn_store *inner;
	unsigned commits;  /* since the process began */
	unsigned fails_at; /* number of the commit that fails; 0: none does */
	bool owes;         /* a commit was told and not made */
	bool failed;
} disk;

static const struct jrn_store_ops *inner_ops(void)
{
	return sim.profile.sqlite ? &jrn_sqlite_ops : &memory_ops;
}

static char *sqlite_path(void)
{
	static char path[64];

	(void)snprintf(path, sizeof(path), "/tmp/bc-sim-%ld.db", (long)getpid());
	return path;
}

static void remove_files(void)
{
	static const char *const tails[] = {"", "-wal", "-shm", "-journal", ".lock"};
	char path[96];

	for (unsigned i = 0; i < BC_ARRAY_LEN(tails); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", sqlite_path(), tails[i]);
		(void)unlink(path);
	}
}

void disk_reset(void)
{
	memory_reset();
	remove_files();
	disk.fails_at = 0;
}

static enum bc_err disk_open(const char *location, struct bc_buf *reterr_message,
			     struct jrn_store **ret)
{
	enum bc_err err;

	(void)location;
	err = inner_ops()->open(sqlite_path(), reterr_message, &disk.inner);
	if (err == BC_OK) {
		disk.base.ops = &disk_ops;
		disk.commits = 0;
		disk.failed = false;
		disk.fails_at = sim.profile.disk_fails && !sim.healing && sim_chance(2) == 0
					? 2 + sim_chance(30)
					: 0;
		*ret = &disk.base;
	}
	return err;
}

static enum bc_err disk_begin(struct jrn_store *store)
{
	(void)store;
	if (sim.dead) {
		return BC_E_JOURNAL;
	}
	if (disk.owes) {
		disk.owes = false;
		(void)!disk.inner->ops->commit(disk.inner);
	}
	return disk.inner->ops->begin(disk.inner);
}

static enum bc_err disk_write(struct jrn_store *store, const struct jrn_record *record)
{
	(void)store;
	return sim.dead ? BC_E_JOURNAL : disk.inner->ops->write(disk.inner, record);
}

static bc_usec latency(void)
{
	if (sim.profile.disk_slow && sim_chance(12) == 0) {
		return sim_between(50 * SIM_MS, 900 * SIM_MS);
	}
	return sim_between(200, 8 * SIM_MS);
}

static enum bc_err disk_commit(struct jrn_store *store)
{
	(void)store;
	if (writer.state == WRITER_RUNS && !writer.closing) {
		writer.due = sim_at(latency(), go_on, NULL);
		give_way(WRITER_WRITING);
	}
	if (sim.dead) {
		return BC_E_JOURNAL;
	}
	disk.commits++;
	if (disk.fails_at != 0 && disk.commits == disk.fails_at) {
		sim_cut("a sync fails");
		sim.stats.syncs_failed++;
		disk.failed = true;
		if (sim_chance(2) == 0) {
			TELL("what it held is on the disk all the same");
			(void)!disk.inner->ops->commit(disk.inner);
		}
		return BC_E_JOURNAL;
	}
	if (sim.plant == PLANT_EARLY_EFFECT && disk.commits % 4 == 0) {
		disk.owes = true;
		return BC_OK;
	}
	return disk.inner->ops->commit(disk.inner);
}

static enum bc_err disk_scan(struct jrn_store *store, enum jrn_scope scope, uint64_t number,
			     jrn_unsettled_fn *fn, void *arg)
{
	(void)store;
	return sim.dead ? BC_E_JOURNAL : disk.inner->ops->scan(disk.inner, scope, number, fn, arg);
}

static enum bc_err disk_scan_standing(struct jrn_store *store, uint64_t above, jrn_standing_fn *fn,
				      void *arg)
{
	(void)store;
	return disk.inner->ops->scan_standing(disk.inner, above, fn, arg);
}

static enum bc_err disk_marks(struct jrn_store *store, struct jrn_store_marks *ret)
{
	(void)store;
	return disk.inner->ops->marks(disk.inner, ret);
}

static enum bc_err disk_prune(struct jrn_store *store, bc_usec before, unsigned limit,
			      unsigned *ret_removed)
{
	(void)store;
	return sim.dead ? BC_E_JOURNAL
			: disk.inner->ops->prune(disk.inner, before, limit, ret_removed);
}

static enum bc_err disk_maintain(struct jrn_store *store)
{
	(void)store;
	return sim.dead ? BC_E_JOURNAL : disk.inner->ops->maintain(disk.inner);
}

static const char *disk_complaint(const struct jrn_store *store)
{
	(void)store;
	return disk.inner->ops->complaint(disk.inner);
}

static struct jrn_store *disk_close(struct jrn_store *store)
{
	if (store != NULL) {
		if (disk.owes && !sim.dead) {
			(void)!disk.inner->ops->commit(disk.inner);
		}
		disk.owes = false;
		disk.inner = disk.inner->ops->close(disk.inner);
	}
	return NULL;
}

const struct jrn_store_ops disk_ops = {.name = "simulated",
				       .open = disk_open,
				       .begin = disk_begin,
				       .write = disk_write,
				       .commit = disk_commit,
				       .scan = disk_scan,
				       .scan_standing = disk_scan_standing,
				       .marks = disk_marks,
				       .prune = disk_prune,
				       .maintain = disk_maintain,
				       .complaint = disk_complaint,
				       .close = disk_close};

void disk_crash(void)
{
	if (writer.state == WRITER_WRITING && !disk.failed && sim_chance(2) == 0) {
		TELL("the group that was being written is on the disk");
		(void)!disk.inner->ops->commit(disk.inner);
	}
}

/* ---- looking at it ---- */

/* One number from the file, as another process would read it; fallback: there is none. */
static int ask_sqlite(const char *sql, const char *key, int fallback, char *text, size_t size)
{
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	int number = fallback;

	if (sqlite3_open_v2(sqlite_path(), &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
	    sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW) {
		number = sqlite3_column_int(stmt, 0);
		if (text != NULL && sqlite3_column_text(stmt, 1) != NULL) {
			(void)snprintf(text, size, "%s",
				       (const char *)sqlite3_column_text(stmt, 1));
		}
	}
	(void)sqlite3_finalize(stmt);
	(void)sqlite3_close(db);
	return number;
}

bool disk_knows(const char *key)
{
	return sim.profile.sqlite
		       ? ask_sqlite("SELECT 1 FROM intents WHERE key = ?1", key, 0, NULL, 0) == 1
		       : memory_knows(key);
}

int disk_settlement(const char *key)
{
	char how[32] = "";

	if (!sim.profile.sqlite) {
		return memory_settlement(key);
	}
	if (ask_sqlite("SELECT 1, coalesce(z.how, s.how) FROM intents i LEFT JOIN settlements s ON"
		       " s.intent = i.intent LEFT JOIN resolutions z ON z.intent = i.intent WHERE"
		       " i.key = ?1",
		       key, 0, how, sizeof(how)) == 0) {
		return -2;
	}
	for (int i = 0; i < JRN_SETTLEMENT__COUNT; i++) {
		if (strcmp(how, jrn_settlement_name((enum jrn_settlement)i)) == 0) {
			return i;
		}
	}
	return -1;
}
