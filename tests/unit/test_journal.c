/* The journal from its callers' side; tests named j<n>_ prove the rule of that number. */
#include "daemon/base/metric.h"
#include "tests/unit/journal_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rig rig;

static const bc_usec wall = 1760000000 * BC_USEC_PER_SEC;

static void setup(void)
{
	rig_init(&rig);
	ck_assert_msg(rig_open(&rig) == BC_OK, "%s", rig.message);
}

static void setup_closed(void)
{
	rig_init(&rig);
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* SQLite behind a gate: commits wait until it is open, and fail when told to. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool open;
	bool fails;
	bool waiting; /* a commit stands at the gate */
	unsigned calls_after_failure;
	bool failed;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct jrn_store_ops gate_ops;

static enum bc_err gate_store_open(const char *location, struct bc_buf *reterr_message,
				   struct jrn_store **ret)
{
	enum bc_err err = jrn_sqlite_ops.open(location, reterr_message, ret);

	if (err == BC_OK) {
		(*ret)->ops = &gate_ops;
	}
	return err;
}

static enum bc_err gate_begin(struct jrn_store *store)
{
	gate.calls_after_failure += gate.failed ? 1 : 0;
	return jrn_sqlite_ops.begin(store);
}

static enum bc_err gate_commit(struct jrn_store *store)
{
	bool fails;

	(void)pthread_mutex_lock(&gate.lock);
	gate.waiting = true;
	(void)pthread_cond_broadcast(&gate.changed);
	while (!gate.open) {
		(void)pthread_cond_wait(&gate.changed, &gate.lock);
	}
	gate.waiting = false;
	fails = gate.fails;
	gate.failed = gate.failed || fails;
	(void)pthread_mutex_unlock(&gate.lock);
	return fails ? BC_E_JOURNAL : jrn_sqlite_ops.commit(store);
}

static enum bc_err gate_prune(struct jrn_store *store, bc_usec before, unsigned limit,
			      unsigned *ret_removed)
{
	gate.calls_after_failure += gate.failed ? 1 : 0;
	return jrn_sqlite_ops.prune(store, before, limit, ret_removed);
}

static void gate_set(bool open, bool fails)
{
	(void)pthread_mutex_lock(&gate.lock);
	gate.open = open;
	gate.fails = fails;
	(void)pthread_cond_broadcast(&gate.changed);
	(void)pthread_mutex_unlock(&gate.lock);
}

static void gate_wait(void)
{
	(void)pthread_mutex_lock(&gate.lock);
	while (!gate.waiting) {
		(void)pthread_cond_wait(&gate.changed, &gate.lock);
	}
	(void)pthread_mutex_unlock(&gate.lock);
}

static void setup_gate(void)
{
	gate_ops = jrn_sqlite_ops;
	gate_ops.open = gate_store_open;
	gate_ops.begin = gate_begin;
	gate_ops.commit = gate_commit;
	gate_ops.prune = gate_prune;
	gate_set(true, false);
	rig_init(&rig);
	ck_assert_int_eq(rig_open_on(&rig, &gate_ops), BC_OK);
}

START_TEST(read_goes_from_intent_to_settlement)
{
	struct jrn_ticket ticket = rig_read(&rig, "find_order");

	ck_assert_int_eq(ticket.strength, JRN_MEMORY);
	ck_assert(jrn_ticket_permits(&ticket, JRN_READ));
	rig_result(&rig, &ticket, 200);
	jrn_settle(rig.port, &ticket, JRN_USED, wall);
	rig_close(&rig);
	ck_assert_int_eq(rig_number(rig.path,
				    "SELECT count(*) FROM intents WHERE tool = 'find_order'"
				    " AND effect = 'read' AND arguments = '{\"order\":7}'"),
			 1);
	ck_assert_int_eq(rig_number(rig.path, "SELECT status FROM results"), 200);
	ck_assert_int_eq(
		rig_number(rig.path, "SELECT count(*) FROM settlements WHERE how = 'used'"), 1);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM unsettled"), 0);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
}
END_TEST

START_TEST(effect_goes_from_intent_to_settlement)
{
	struct jrn_ticket ticket = rig_effect(&rig, "cancel_order", JRN_HOLD);

	rig_result(&rig, &ticket, 201);
	jrn_settle(rig.port, &ticket, JRN_USED, wall);
	rig_close(&rig);
	ck_assert_int_eq(
		rig_number(rig.path, "SELECT count(*) FROM settlements WHERE how = 'used'"), 1);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
}
END_TEST

START_TEST(numbers_go_on_after_a_restart)
{
	struct jrn_ticket first = rig_effect(&rig, "a", JRN_HOLD);
	struct jrn_ticket second;

	jrn_settle(rig.port, &first, JRN_NEVER_STARTED, wall);
	rig_close(&rig);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	second = rig_effect(&rig, "b", JRN_HOLD);
	ck_assert_uint_gt(second.intent, first.intent);
}
END_TEST

static void expect_intent_on_disk(void *arg, const struct jrn_ticket *ticket)
{
	char sql[128];

	(void)arg;
	ck_assert_ptr_nonnull(ticket);
	(void)snprintf(sql, sizeof(sql),
		       "SELECT count(*) FROM intents WHERE intent = %llu AND key = '%s'",
		       (unsigned long long)ticket->intent, ticket->key);
	ck_assert_int_eq(rig_number(rig.path, sql), 1);
}

START_TEST(j1_ticket_for_an_effect_comes_after_its_record)
{
	struct jrn_intent intent = rig_intent("cancel_order", JRN_REVERSIBLE);
	struct rig_answer answer = {.hook = expect_intent_on_disk};

	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answer), BC_OK);
	ck_assert(!answer.here);
	rig_wait(&rig, &answer);
	ck_assert_int_eq(answer.ticket.strength, JRN_DURABLE);
	ck_assert(jrn_ticket_permits(&answer.ticket, JRN_REVERSIBLE));
	ck_assert(!jrn_ticket_permits(&answer.ticket, JRN_HOLD));
	ck_assert(!jrn_ticket_permits(&answer.ticket, JRN_READ));
}
END_TEST

START_TEST(j1_ticket_waits_as_long_as_the_disk_does)
{
	struct jrn_intent intent = rig_intent("cancel_order", JRN_HOLD);
	struct rig_answer answer = {.here = false};

	gate_set(false, false);
	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answer), BC_OK);
	gate_wait();
	jrn_port_dispatch(rig.port);
	ck_assert(!answer.here);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM intents"), 0);
	gate_set(true, false);
	rig_wait(&rig, &answer);
	ck_assert_int_eq(answer.err, BC_OK);
}
END_TEST

START_TEST(j1_forged_tickets_permit_nothing)
{
	struct jrn_ticket real = rig_effect(&rig, "cancel_order", JRN_HOLD);
	struct jrn_ticket forged = {.intent = 1, .effect = JRN_HOLD, .strength = JRN_DURABLE};

	ck_assert(jrn_ticket_permits(&real, JRN_HOLD));
	ck_assert(!jrn_ticket_permits(&forged, JRN_HOLD));
	memset(&forged, 0, sizeof(forged));
	ck_assert(!jrn_ticket_permits(&forged, JRN_READ));
	ck_assert(!jrn_ticket_permits(NULL, JRN_READ));
	forged = real;
	forged.intent++;
	ck_assert(!jrn_ticket_permits(&forged, JRN_HOLD));
	forged = real;
	forged.effect = JRN_REVERSIBLE;
	ck_assert(!jrn_ticket_permits(&forged, JRN_REVERSIBLE));
	forged = real;
	forged.key[0] = forged.key[0] == '0' ? '1' : '0';
	ck_assert(!jrn_ticket_permits(&forged, JRN_HOLD));
	forged = rig_read(&rig, "find_order");
	forged.strength = JRN_DURABLE;
	ck_assert(!jrn_ticket_permits(&forged, JRN_READ));
	forged.effect = JRN_HOLD;
	ck_assert(!jrn_ticket_permits(&forged, JRN_HOLD));
}
END_TEST

static void expect_result_on_disk(void *arg, const struct jrn_ticket *ticket)
{
	(void)arg;
	(void)ticket;
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM results WHERE output = 'done'"),
			 1);
}

START_TEST(j2_result_of_an_effect_is_durable_before_it_is_used)
{
	struct jrn_ticket ticket = rig_effect(&rig, "cancel_order", JRN_HOLD);
	struct rig_answer answer = {.hook = expect_result_on_disk};

	ck_assert_int_eq(
		jrn_result(rig.port, &ticket, 200, BC_SPAN_LIT("done"), wall, rig_on_done, &answer),
		BC_OK);
	rig_wait(&rig, &answer);
	ck_assert_int_eq(answer.err, BC_OK);
}
END_TEST

START_TEST(j2_result_of_a_read_is_queued_and_does_not_wait)
{
	struct jrn_ticket ticket;
	struct jrn_ticket other;

	/* The disk stands still: reads go on, and are recorded once it moves. */
	gate_set(false, false);
	other = rig_read(&rig, "other");
	gate_wait();
	ticket = rig_read(&rig, "find_order");
	rig_result(&rig, &ticket, 200);
	jrn_settle(rig.port, &ticket, JRN_USED, wall);
	jrn_settle(rig.port, &other, JRN_UNUSED, wall);
	gate_set(true, false);
	rig_close(&rig);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM results"), 1);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM settlements"), 2);
}
END_TEST

START_TEST(j6_each_intent_has_a_key_of_its_own)
{
	struct jrn_ticket first = rig_read(&rig, "find_order");
	struct jrn_ticket second = rig_read(&rig, "find_order");
	char sql[128];

	ck_assert_uint_eq(strlen(first.key), JRN_KEY_SIZE - 1);
	ck_assert_str_ne(first.key, second.key);
	ck_assert_int_eq(first.key[14], '4');
	ck_assert_ptr_nonnull(strchr("89ab", first.key[19]));
	ck_assert_int_eq(first.key[8], '-');
	rig_close(&rig);
	(void)snprintf(sql, sizeof(sql),
		       "SELECT count(*) FROM intents WHERE intent = %llu AND key = '%s'",
		       (unsigned long long)first.intent, first.key);
	ck_assert_int_eq(rig_number(rig.path, sql), 1);
	/* Stable across a restart: recovery keeps the intent and its key. */
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_int_eq(rig_number(rig.path, sql), 1);
}
END_TEST

START_TEST(j8_failed_commit_is_sticky)
{
	struct jrn_intent intent = rig_intent("cancel_order", JRN_HOLD);
	struct rig_answer first = {.here = false};
	struct rig_answer second = {.here = false};
	struct rig_answer third = {.here = false};

	gate_set(false, false);
	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &first), BC_OK);
	gate_wait();
	/* Waits behind the group that is going to fail. */
	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &second), BC_OK);
	ck_assert(!jrn_has_failed(rig.jrn));
	gate_set(true, true);
	rig_wait(&rig, &first);
	rig_wait(&rig, &second);
	ck_assert_int_eq(first.err, BC_E_JOURNAL);
	ck_assert_int_eq(second.err, BC_E_JOURNAL);
	ck_assert(jrn_has_failed(rig.jrn));
	/* The disk would work again; the journal does not try. */
	gate_set(true, false);
	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &third), BC_E_JOURNAL);
	ck_assert(!third.here);
	rig_close(&rig);
	ck_assert_uint_eq(gate.calls_after_failure, 0);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM intents"), 0);
}
END_TEST

START_TEST(j8_reads_go_on_unrecorded_and_counted)
{
	struct jrn_ticket effect = rig_effect(&rig, "cancel_order", JRN_HOLD);
	struct rig_answer answer = {.here = false};
	struct jrn_ticket read;
	int64_t before;

	gate_set(true, true);
	ck_assert_int_eq(
		jrn_result(rig.port, &effect, 200, BC_SPAN_LIT("x"), wall, rig_on_done, &answer),
		BC_OK);
	rig_wait(&rig, &answer);
	ck_assert_int_eq(answer.err, BC_E_JOURNAL);
	before = bc_metric_get(BC_M_JOURNAL_ERRORS);
	read = rig_read(&rig, "find_order");
	ck_assert(jrn_ticket_permits(&read, JRN_READ));
	rig_result(&rig, &read, 200);
	jrn_settle(rig.port, &read, JRN_USED, wall);
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_ERRORS) - before, 3);
	jrn_settle(rig.port, &effect, JRN_IN_DOUBT, wall);
	rig_close(&rig);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM intents WHERE effect = 'read'"),
			 0);
	/* The effect is found as what it is: possibly done. */
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_uint_eq(rig.recovery.effects_open, 1);
	ck_assert_uint_eq(rig.opens[0].intent, effect.intent);
	ck_assert(!rig.opens[0].has_result);
}
END_TEST

START_TEST(j8_result_after_the_failure_is_refused)
{
	struct jrn_ticket first = rig_effect(&rig, "cancel_order", JRN_HOLD);
	struct jrn_ticket second = rig_effect(&rig, "cancel_order", JRN_HOLD);
	struct rig_answer answer = {.here = false};

	gate_set(true, true);
	ck_assert_int_eq(
		jrn_result(rig.port, &first, 200, BC_SPAN_LIT("x"), wall, rig_on_done, &answer),
		BC_OK);
	rig_wait(&rig, &answer);
	ck_assert_int_eq(answer.err, BC_E_JOURNAL);
	ck_assert_int_eq(
		jrn_result(rig.port, &second, 200, BC_SPAN_LIT("x"), wall, rig_on_done, &answer),
		BC_E_JOURNAL);
}
END_TEST

START_TEST(j9_open_intents_are_bounded)
{
	struct jrn_intent intent = rig_intent("find_order", JRN_READ);
	struct jrn_ticket tickets[64];
	struct jrn_ticket more;
	struct jrn_ticket effect;

	for (unsigned i = 0; i < 64; i++) {
		tickets[i] = rig_read(&rig, "find_order");
	}
	ck_assert_int_eq(jrn_intend(rig.port, &intent, &more, NULL, NULL), BC_E_LIMIT);
	/* Room comes back when the settlement is written. */
	jrn_settle(rig.port, &tickets[0], JRN_UNUSED, wall);
	rig_result(&rig, &tickets[1], 200);
	while (jrn_intend(rig.port, &intent, &more, NULL, NULL) == BC_E_LIMIT) {
		(void)sched_yield();
	}
	jrn_settle(rig.port, &tickets[1], JRN_USED, wall);
	jrn_settle(rig.port, &tickets[2], JRN_USED, wall);
	intent.effect = JRN_HOLD;
	rig_close(&rig);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_uint_eq(rig.recovery.reads_open, 62);
	effect = rig_effect(&rig, "cancel_order", JRN_HOLD);
	ck_assert_uint_gt(effect.intent, more.intent);
}
END_TEST

START_TEST(j9_bytes_are_bounded)
{
	size_t len = 17U * 1024 * 1024;
	char *large = calloc(1, len);
	struct jrn_intent intent = rig_intent("find_order", JRN_READ);
	struct jrn_ticket ticket = rig_read(&rig, "find_order");
	struct jrn_ticket other;
	unsigned taken = 0;

	ck_assert_ptr_nonnull(large);
	memset(large, 'x', len);
	intent.arguments = bc_span(large, len);
	ck_assert_int_eq(jrn_intend(rig.port, &intent, &other, NULL, NULL), BC_E_LIMIT);
	ck_assert_int_eq(jrn_result(rig.port, &ticket, 200, bc_span(large, len), wall, NULL, NULL),
			 BC_E_LIMIT);
	/* Behind a disk that stands still the queue fills, and ends. */
	gate_set(false, false);
	intent.arguments = bc_span(large, (size_t)15 * 1024 * 1024);
	while (jrn_intend(rig.port, &intent, &other, NULL, NULL) == BC_OK) {
		taken++;
		ck_assert_uint_lt(taken, 32);
	}
	ck_assert_uint_eq(taken, 4);
	gate_set(true, false);
	rig_close(&rig);
	free(large);
}
END_TEST

START_TEST(j9_second_daemon_is_refused_and_told_who_holds_it)
{
	struct rig second = rig;
	char pid[32];

	second.jrn = NULL;
	second.port = NULL;
	ck_assert_int_eq(rig_open(&second), BC_E_EXISTS);
	(void)snprintf(pid, sizeof(pid), " %ld:", (long)getpid());
	ck_assert_msg(strstr(second.message, pid) != NULL, "%s", second.message);
	ck_assert_msg(strstr(second.message, rig.path) != NULL, "%s", second.message);
	/* The holder is undisturbed, and the lock goes with it. */
	(void)rig_effect(&rig, "cancel_order", JRN_HOLD);
	rig_close(&rig);
	ck_assert_int_eq(rig_open(&second), BC_OK);
	rig_close(&second);
}
END_TEST

START_TEST(j9_lock_goes_with_a_killed_process)
{
	int ready[2];
	pid_t child;
	char byte;
	int status;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		if (rig_open(&rig) != BC_OK || write(ready[1], "x", 1) != 1) {
			_exit(1);
		}
		(void)pause();
		_exit(1);
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert_int_eq(rig_open(&rig), BC_E_EXISTS);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(rig_open(&rig), BC_OK);
}
END_TEST

static unsigned mode_of(const char *suffix)
{
	char name[128];
	struct stat status;

	(void)snprintf(name, sizeof(name), "%s%s", rig.path, suffix);
	ck_assert_msg(stat(name, &status) == 0, "%s is missing", name);
	return status.st_mode & 07777;
}

START_TEST(j9_files_are_private)
{
	mode_t before = umask(0);

	ck_assert_int_eq(rig_open(&rig), BC_OK);
	(void)rig_effect(&rig, "cancel_order", JRN_HOLD);
	ck_assert_uint_eq(mode_of(""), 0600);
	ck_assert_uint_eq(mode_of("-wal"), 0600);
	ck_assert_uint_eq(mode_of("-shm"), 0600);
	ck_assert_uint_eq(mode_of(".lock"), 0600);
	rig_close(&rig);
	/* Files somebody opened up are narrowed again. */
	ck_assert_int_eq(chmod(rig.path, 0644), 0);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_uint_eq(rig_settle_orphans(&rig), 1);
	(void)rig_effect(&rig, "cancel_order", JRN_HOLD);
	ck_assert_uint_eq(mode_of(""), 0600);
	ck_assert_uint_eq(mode_of("-wal"), 0600);
	(void)umask(before);
}
END_TEST

START_TEST(j9_old_records_go_but_never_those_in_doubt)
{
	struct jrn_intent late = rig_intent("late", JRN_HOLD);
	struct rig_answer answer = {.here = false};
	struct jrn_ticket ticket;

	for (unsigned i = 0; i < 200; i++) {
		ticket = rig_read(&rig, "old");
		rig_result(&rig, &ticket, 200);
		jrn_settle(rig.port, &ticket, JRN_USED, wall);
		if (i % 20 == 19) {
			/* Lets the settlements be written before open_max is reached. */
			ticket = rig_effect(&rig, "pace", JRN_HOLD);
			jrn_settle(rig.port, &ticket, JRN_USED, wall);
		}
	}
	ticket = rig_effect(&rig, "doubtful", JRN_HOLD);
	jrn_settle(rig.port, &ticket, JRN_IN_DOUBT, wall);
	(void)rig_effect(&rig, "open", JRN_HOLD);
	late.wall = wall + 2 * rig.conf.retention;
	ck_assert_int_eq(jrn_intend(rig.port, &late, NULL, rig_on_ticket, &answer), BC_OK);
	rig_wait(&rig, &answer);
	while (rig_number(rig.path, "SELECT count(*) FROM intents WHERE tool = 'old'") > 0) {
		(void)sched_yield();
	}
	rig_close(&rig);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM intents"), 3);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM results"), 0);
	ck_assert_int_eq(
		rig_number(rig.path, "SELECT count(*) FROM settlements WHERE how = 'in_doubt'"), 1);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
}
END_TEST

START_TEST(what_is_kept_and_how_much_may_be_open_can_be_changed)
{
	struct jrn_intent intent = rig_intent("cancel_order", JRN_HOLD);
	struct jrn_intent late = intent;
	struct rig_answer answer = {.here = false};
	struct jrn_ticket ticket = rig_effect(&rig, "old", JRN_HOLD);

	jrn_settle(rig.port, &ticket, JRN_USED, wall);
	jrn_configure(rig.jrn, BC_USEC_PER_SEC, 1);
	/* Long before the records would have been old. */
	late.wall = wall + rig.conf.retention / 16;
	while (jrn_intend(rig.port, &late, NULL, rig_on_ticket, &answer) == BC_E_LIMIT) {
		(void)sched_yield(); /* the settlement is being written */
	}
	rig_wait(&rig, &answer);
	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answer), BC_E_LIMIT);
	while (rig_number(rig.path, "SELECT count(*) FROM intents WHERE tool = 'old'") > 0) {
		(void)sched_yield();
	}
	jrn_configure(rig.jrn, rig.conf.retention, 2);
	(void)rig_effect(&rig, "another", JRN_HOLD);
}
END_TEST

START_TEST(one_commit_serves_all_who_wait)
{
	struct jrn_intent intent = rig_intent("cancel_order", JRN_HOLD);
	struct rig_answer answers[40] = {{.here = false}};
	int64_t records = bc_metric_get(BC_M_JOURNAL_RECORDS);
	int64_t commits = bc_metric_get(BC_M_JOURNAL_COMMITS);

	gate_set(false, false);
	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answers[0]), BC_OK);
	gate_wait();
	for (unsigned i = 1; i < BC_ARRAY_LEN(answers); i++) {
		ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answers[i]),
				 BC_OK);
	}
	gate_set(true, false);
	for (unsigned i = 0; i < BC_ARRAY_LEN(answers); i++) {
		rig_wait(&rig, &answers[i]);
		ck_assert_int_eq(answers[i].err, BC_OK);
		/* In the order in which they were asked for. */
		ck_assert(i == 0 || answers[i].ticket.intent == answers[i - 1].ticket.intent + 1);
	}
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_RECORDS) - records, 40);
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_COMMITS) - commits, 2);
}
END_TEST

#define CALLS_PER_THREAD 200

static void *worker(void *arg)
{
	struct rig *own = arg;

	for (unsigned i = 0; i < CALLS_PER_THREAD; i++) {
		struct jrn_ticket read = rig_read(own, "find_order");
		struct jrn_ticket effect = rig_effect(own, "cancel_order", JRN_HOLD);

		rig_result(own, &read, 200);
		rig_result(own, &effect, 200);
		jrn_settle(own->port, &read, JRN_USED, wall);
		jrn_settle(own->port, &effect, JRN_USED, wall);
	}
	return NULL;
}

static void wake_other(void *arg)
{
	const struct rig *other = arg;
	uint64_t one = 1;

	ck_assert_int_eq(write(other->wake_fd, &one, sizeof(one)), sizeof(one));
}

START_TEST(two_workers_share_the_journal)
{
	struct rig other;
	pthread_t thread;

	rig_init(&other);
	ck_assert_int_eq(jrn_port_new(rig.jrn, wake_other, &other, &other.port), BC_OK);
	ck_assert_int_eq(pthread_create(&thread, NULL, worker, &other), 0);
	(void)worker(&rig);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	rig_fini(&other);
	rig_close(&rig);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM settlements"),
			 4 * CALLS_PER_THREAD);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
}
END_TEST

START_TEST(port_may_go_while_requests_are_written)
{
	struct jrn_intent intent = rig_intent("cancel_order", JRN_HOLD);
	struct rig_answer answers[2] = {{.here = false}};

	gate_set(false, false);
	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answers[0]), BC_OK);
	gate_wait();
	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answers[1]), BC_OK);
	rig.port = jrn_port_free(rig.port);
	gate_set(true, false);
	rig_close(&rig);
	ck_assert(!answers[0].here && !answers[1].here);
	/* Their tickets reached nobody, and the journal knows it. */
	ck_assert_int_eq(rig_number(rig.path,
				    "SELECT count(*) FROM settlements WHERE how = 'never_started'"),
			 2);
}
END_TEST

START_TEST(port_may_go_before_its_answers_are_heard)
{
	struct jrn_intent intent = rig_intent("cancel_order", JRN_HOLD);
	struct rig_answer answer = {.here = false};

	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answer), BC_OK);
	while (rig_number(rig.path, "SELECT count(*) FROM intents") == 0) {
		(void)sched_yield();
	}
	rig_close(&rig);
	ck_assert(!answer.here);
	ck_assert_int_eq(rig_number(rig.path,
				    "SELECT count(*) FROM settlements WHERE how = 'never_started'"),
			 1);
}
END_TEST

static void execute(const char *sql)
{
	sqlite3 *db = NULL;

	ck_assert_int_eq(sqlite3_open(rig.path, &db), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s",
		      sqlite3_errmsg(db));
	(void)sqlite3_close(db);
}

START_TEST(database_of_another_program_is_refused)
{
	execute("CREATE TABLE addresses (name TEXT)");
	ck_assert_int_eq(rig_open(&rig), BC_E_JOURNAL);
	ck_assert_ptr_nonnull(strstr(rig.message, "another program"));
	execute("PRAGMA application_id = 7");
	ck_assert_int_eq(rig_open(&rig), BC_E_JOURNAL);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM sqlite_schema"), 1);
}
END_TEST

START_TEST(journal_of_a_newer_version_is_refused)
{
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	rig_close(&rig);
	execute("PRAGMA user_version = 3");
	ck_assert_int_eq(rig_open(&rig), BC_E_JOURNAL);
	ck_assert_ptr_nonnull(strstr(rig.message, "format 3"));
}
END_TEST

START_TEST(missing_directory_is_an_error_with_a_name)
{
	rig.conf.path = "/tmp/bc-journal-nowhere/journal.db";
	ck_assert_int_eq(rig_open(&rig), BC_E_SYSTEM);
	ck_assert_ptr_nonnull(strstr(rig.message, "bc-journal-nowhere"));
	rig.conf.path = rig.path;
}
END_TEST

START_TEST(damaged_open_record_stops_the_start)
{
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	(void)rig_effect(&rig, "cancel_order", JRN_HOLD);
	rig_close(&rig);
	execute("UPDATE intents SET arguments = '{\"order\":8}'");
	ck_assert_int_eq(rig_open(&rig), BC_E_JOURNAL);
	ck_assert_ptr_nonnull(strstr(rig.message, "damaged"));
}
END_TEST

START_TEST(settling_twice_aborts)
{
	struct jrn_ticket ticket = rig_read(&rig, "find_order");

	jrn_settle(rig.port, &ticket, JRN_USED, wall);
	jrn_settle(rig.port, &ticket, JRN_USED, wall);
}
END_TEST

START_TEST(result_after_the_settlement_aborts)
{
	struct jrn_ticket ticket = rig_read(&rig, "find_order");

	jrn_settle(rig.port, &ticket, JRN_USED, wall);
	(void)!jrn_result(rig.port, &ticket, 200, BC_SPAN_LIT("x"), wall, NULL, NULL);
}
END_TEST

START_TEST(second_result_aborts)
{
	struct jrn_ticket ticket = rig_read(&rig, "find_order");

	rig_result(&rig, &ticket, 200);
	rig_result(&rig, &ticket, 200);
}
END_TEST

START_TEST(result_of_a_forged_ticket_aborts)
{
	struct jrn_ticket ticket = rig_read(&rig, "find_order");

	ticket.seal ^= 1;
	rig_result(&rig, &ticket, 200);
}
END_TEST

START_TEST(closing_under_a_port_aborts)
{
	rig.jrn = jrn_close(rig.jrn);
}
END_TEST

static void add_open(Suite *suite)
{
	TCase *tc = tcase_create("open");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 55);
	tcase_add_test(tc, read_goes_from_intent_to_settlement);
	tcase_add_test(tc, effect_goes_from_intent_to_settlement);
	tcase_add_test(tc, numbers_go_on_after_a_restart);
	tcase_add_test(tc, j1_ticket_for_an_effect_comes_after_its_record);
	tcase_add_test(tc, j1_forged_tickets_permit_nothing);
	tcase_add_test(tc, j2_result_of_an_effect_is_durable_before_it_is_used);
	tcase_add_test(tc, j6_each_intent_has_a_key_of_its_own);
	tcase_add_test(tc, j9_open_intents_are_bounded);
	tcase_add_test(tc, j9_second_daemon_is_refused_and_told_who_holds_it);
	tcase_add_test(tc, j9_old_records_go_but_never_those_in_doubt);
	tcase_add_test(tc, two_workers_share_the_journal);
	tcase_add_test(tc, port_may_go_before_its_answers_are_heard);
	tcase_add_test_raise_signal(tc, settling_twice_aborts, SIGABRT);
	tcase_add_test_raise_signal(tc, result_after_the_settlement_aborts, SIGABRT);
	tcase_add_test_raise_signal(tc, second_result_aborts, SIGABRT);
	tcase_add_test_raise_signal(tc, result_of_a_forged_ticket_aborts, SIGABRT);
	tcase_add_test_raise_signal(tc, closing_under_a_port_aborts, SIGABRT);
	suite_add_tcase(suite, tc);
}

static void add_gate(Suite *suite)
{
	TCase *tc = tcase_create("gate");

	tcase_add_checked_fixture(tc, setup_gate, teardown);
	tcase_set_timeout(tc, 55);
	tcase_add_test(tc, j1_ticket_waits_as_long_as_the_disk_does);
	tcase_add_test(tc, j2_result_of_a_read_is_queued_and_does_not_wait);
	tcase_add_test(tc, j8_failed_commit_is_sticky);
	tcase_add_test(tc, j8_reads_go_on_unrecorded_and_counted);
	tcase_add_test(tc, j8_result_after_the_failure_is_refused);
	tcase_add_test(tc, j9_bytes_are_bounded);
	tcase_add_test(tc, what_is_kept_and_how_much_may_be_open_can_be_changed);
	tcase_add_test(tc, one_commit_serves_all_who_wait);
	tcase_add_test(tc, port_may_go_while_requests_are_written);
	suite_add_tcase(suite, tc);
}

static void add_closed(Suite *suite)
{
	TCase *tc = tcase_create("closed");

	tcase_add_checked_fixture(tc, setup_closed, teardown);
	tcase_add_test(tc, j9_lock_goes_with_a_killed_process);
	tcase_add_test(tc, j9_files_are_private);
	tcase_add_test(tc, database_of_another_program_is_refused);
	tcase_add_test(tc, journal_of_a_newer_version_is_refused);
	tcase_add_test(tc, missing_directory_is_an_error_with_a_name);
	tcase_add_test(tc, damaged_open_record_stops_the_start);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("journal");
	int status;

	add_open(suite);
	add_gate(suite);
	add_closed(suite);
	rig_base_make();
	status = tap_run(suite);
	rig_base_remove();
	return status;
}
