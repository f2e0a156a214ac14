#include "tests/unit/journal_rig.h"

#include "daemon/journal/inspect.h"

#include <check.h>
#include <ftw.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WAIT_MS 30000

static const bc_usec wall = 1760000000 * BC_USEC_PER_SEC;

static char base_dir[] = "/tmp/bc-journal-XXXXXX";

void rig_base_make(void)
{
	if (mkdtemp(base_dir) == NULL) {
		abort();
	}
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	return remove(path);
}

void rig_base_remove(void)
{
	if (nftw(base_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0) {
		abort();
	}
}

void rig_init(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	(void)snprintf(rig->dir, sizeof(rig->dir), "%s/XXXXXX", base_dir);
	ck_assert_ptr_nonnull(mkdtemp(rig->dir));
	(void)snprintf(rig->path, sizeof(rig->path), "%s/journal.db", rig->dir);
	rig->conf = (struct jrn_conf){
		.path = rig->path,
		.retention = 3600 * BC_USEC_PER_SEC,
		.open_max = 64,
	};
	rig->wake_fd = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_ge(rig->wake_fd, 0);
}

static void wake(void *arg)
{
	const struct rig *rig = arg;
	uint64_t one = 1;

	if (write(rig->wake_fd, &one, sizeof(one)) != (ssize_t)sizeof(one)) {
		abort();
	}
}

static void each_open(void *arg, uint64_t intent, struct bc_span session, struct bc_span tool,
		      enum jrn_effect effect, bool has_result)
{
	struct rig *rig = arg;

	ck_assert(bc_span_is(session, "bc_sabcdefghijklmnopqrst"));
	ck_assert_uint_gt(tool.len, 0);
	ck_assert_uint_lt(rig->open_count, RIG_OPENS_MAX);
	rig->opens[rig->open_count++] =
		(struct rig_open){.intent = intent, .effect = effect, .has_result = has_result};
}

enum bc_err rig_open_on(struct rig *rig, const struct jrn_store_ops *ops)
{
	struct bc_buf message;
	enum bc_err err;

	rig->open_count = 0;
	rig->message[0] = '\0';
	bc_buf_init(&message, sizeof(rig->message) - 1);
	err = jrn_open_on(ops, &rig->conf, each_open, rig, &rig->recovery, &message, &rig->jrn);
	if (err != BC_OK) {
		struct bc_span text = bc_buf_span(&message);

		ck_assert_uint_gt(text.len, 0);
		memcpy(rig->message, text.ptr, text.len);
		rig->message[text.len] = '\0';
	} else {
		ck_assert_uint_eq(bc_buf_len(&message), 0);
		ck_assert_int_eq(jrn_port_new(rig->jrn, wake, rig, &rig->port), BC_OK);
	}
	bc_buf_release(&message);
	return err;
}

enum bc_err rig_open(struct rig *rig)
{
	return rig_open_on(rig, &jrn_sqlite_ops);
}

void rig_close(struct rig *rig)
{
	rig->port = jrn_port_free(rig->port);
	rig->jrn = jrn_close(rig->jrn);
}

void rig_fini(struct rig *rig)
{
	rig_close(rig);
	(void)close(rig->wake_fd);
}

struct jrn_intent rig_intent(const char *tool, enum jrn_effect effect)
{
	return (struct jrn_intent){
		.session = BC_SPAN_LIT("bc_sabcdefghijklmnopqrst"),
		.turn = 1,
		.tool = bc_span_str(tool),
		.arguments = BC_SPAN_LIT("{\"order\":7}"),
		.tags = BC_SPAN_LIT("orders"),
		.effect = effect,
		.wall = wall,
	};
}

void rig_on_ticket(void *arg, enum bc_err err, const struct jrn_ticket *ticket)
{
	struct rig_answer *answer = arg;

	ck_assert(!answer->here);
	ck_assert((err == BC_OK) == (ticket != NULL));
	answer->here = true;
	answer->err = err;
	answer->has_ticket = ticket != NULL;
	if (ticket != NULL) {
		answer->ticket = *ticket;
	}
	if (answer->hook != NULL) {
		answer->hook(answer->hook_arg, ticket);
	}
}

void rig_on_done(void *arg, enum bc_err err)
{
	struct rig_answer *answer = arg;

	ck_assert(!answer->here);
	answer->here = true;
	answer->err = err;
	if (answer->hook != NULL) {
		answer->hook(answer->hook_arg, NULL);
	}
}

void rig_wait(struct rig *rig, const struct rig_answer *answer)
{
	while (!answer->here) {
		struct pollfd poller = {.fd = rig->wake_fd, .events = POLLIN};
		uint64_t times;

		ck_assert_int_eq(poll(&poller, 1, WAIT_MS), 1);
		ck_assert_int_eq(read(rig->wake_fd, &times, sizeof(times)), sizeof(times));
		jrn_port_dispatch(rig->port);
	}
}

struct jrn_ticket rig_read(struct rig *rig, const char *tool)
{
	struct jrn_intent intent = rig_intent(tool, JRN_READ);
	struct jrn_ticket ticket;

	ck_assert_int_eq(jrn_intend(rig->port, &intent, &ticket, NULL, NULL), BC_OK);
	return ticket;
}

struct jrn_ticket rig_effect(struct rig *rig, const char *tool, enum jrn_effect effect)
{
	struct jrn_intent intent = rig_intent(tool, effect);
	struct rig_answer answer = {.here = false};

	ck_assert_int_eq(jrn_intend(rig->port, &intent, NULL, rig_on_ticket, &answer), BC_OK);
	rig_wait(rig, &answer);
	ck_assert_int_eq(answer.err, BC_OK);
	return answer.ticket;
}

void rig_result(struct rig *rig, const struct jrn_ticket *ticket, int status)
{
	struct rig_answer answer = {.here = false};
	bool read = ticket->effect == JRN_READ;

	ck_assert_int_eq(jrn_result(rig->port, ticket, status, BC_SPAN_LIT("{\"ok\":true}"), wall,
				    read ? NULL : rig_on_done, read ? NULL : &answer),
			 BC_OK);
	if (!read) {
		rig_wait(rig, &answer);
		ck_assert_int_eq(answer.err, BC_OK);
	}
}

struct settling {
	struct rig *rig;
	unsigned count;
};

static void settle_orphan(void *arg, const struct jrn_orphan *orphan)
{
	struct settling *settling = arg;

	settling->count++;
	jrn_settle(settling->rig->port, &orphan->ticket, JRN_IN_DOUBT, wall);
}

unsigned rig_settle_orphans(struct rig *rig)
{
	struct settling settling = {.rig = rig};

	jrn_adopt(rig->port, settle_orphan, &settling);
	return settling.count;
}

int64_t rig_number(const char *path, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	int64_t number;

	ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_busy_timeout(db, WAIT_MS), SQLITE_OK);
	ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK, "%s",
		      sqlite3_errmsg(db));
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	number = sqlite3_column_int64(stmt, 0);
	(void)sqlite3_finalize(stmt);
	(void)sqlite3_close(db);
	return number;
}

int rig_verify(const char *path, char *text, size_t size)
{
	char *memory = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&memory, &len);
	int status;

	ck_assert_ptr_nonnull(out);
	status = (int)jrn_inspect_verify(path, (struct jrn_inspect_output){out, out});
	(void)fclose(out);
	if (text != NULL) {
		(void)snprintf(text, size, "%s", memory);
	}
	free(memory);
	return status;
}
