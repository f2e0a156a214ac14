/*
 * The journal on a disk that fails: the first, second, third … operation in turn, until a run meets no fault.
 *
 * Each run is a process of its own that works, tells every ticket for an effect through a pipe as soon as it has it, and
 * ends without closing, or by closing in order.  Then its files are opened again, once as the kernel has them and
 * once as loss of power would have left them.  Both times must hold:
 *
 *   F1  every ticket that was handed out is in the journal, with its key (J1)
 *   F2  the journal can be opened, recovered and verified clean
 *   F3  once something failed, no ticket for an effect is handed out (J8), and reads go on
 *   F4  no failed write or sync is overlooked
 */
#include "tests/fault/faulty_vfs.h"
#include "tests/unit/journal_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* How a run ended. */
#define RUN_NO_FAULT  0
#define RUN_FAULT     10 /* the fault happened, and F3 held */
#define LARGE_BYTES   ((size_t)400 * 1024)
#define LARGE_RESULTS 14 /* more than a checkpoint's interval of pages */
#define TICKETS_MAX   32

struct scenario {
	unsigned kinds;
	unsigned nth;
	bool large; /* enough bytes for a checkpoint */
	bool close; /* end in order, so that leaks are seen and closing meets faults too */
	bool again; /* behind a process that has crashed and left work open */
};

static struct rig rig;
static char shadow[160];
static int tickets_fd;

static const bc_usec wall = 1760000000 * BC_USEC_PER_SEC;

static void setup(void)
{
	rig_init(&rig);
	(void)snprintf(shadow, sizeof(shadow), "%s/shadow", rig.dir);
	ck_assert_int_eq(mkdir(shadow, 0700), 0);
}

static void teardown(void)
{
	rig_fini(&rig);
}

/* In the child, where a failed expectation must not look like an end of the run. */
static void must(bool condition, const char *what)
{
	if (!condition) {
		(void)fprintf(stderr, "# violated: %s\n", what);
		abort();
	}
}

/* An effect from intent to settlement, as far as the journal permits.  F3. */
static void try_effect(bc_usec when)
{
	struct jrn_intent intent = rig_intent("cancel_order", JRN_HOLD);
	struct rig_answer ticket = {.here = false};
	struct rig_answer done = {.here = false};
	bool failed_before = jrn_has_failed(rig.jrn);
	enum bc_err err;

	intent.wall = when;
	err = jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &ticket);
	must(err == BC_OK || (err == BC_E_JOURNAL && jrn_has_failed(rig.jrn)),
	     "refusal has its reason");
	must(err != BC_OK || !failed_before, "no intent is taken after the failure");
	if (err != BC_OK) {
		return;
	}
	rig_wait(&rig, &ticket);
	must(ticket.has_ticket == (ticket.err == BC_OK), "a ticket or an error");
	if (!ticket.has_ticket) {
		must(ticket.err == BC_E_JOURNAL && jrn_has_failed(rig.jrn),
		     "the failure is sticky");
		return;
	}
	must(write(tickets_fd, &ticket.ticket, sizeof(ticket.ticket)) ==
		     (ssize_t)sizeof(ticket.ticket),
	     "pipe");
	err = jrn_result(rig.port, &ticket.ticket, 200, BC_SPAN_LIT("ok"), when, rig_on_done,
			 &done);
	if (err == BC_OK) {
		rig_wait(&rig, &done);
		err = done.err;
	}
	must(err == BC_OK || (err == BC_E_JOURNAL && jrn_has_failed(rig.jrn)),
	     "result is recorded or refused");
	jrn_settle(rig.port, &ticket.ticket, err == BC_OK ? JRN_USED : JRN_IN_DOUBT, when);
}

/* A guess that is executed, abandoned and undone, as far as the journal permits.  F3. */
static void try_rollback(void)
{
	struct jrn_intent intent = rig_intent("book", JRN_REVERSIBLE);
	struct rig_answer ticket = {.here = false};
	struct rig_answer done = {.here = false};
	struct rig_answer undo = {.here = false};

	intent.speculative = true;
	if (jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &ticket) != BC_OK) {
		return;
	}
	rig_wait(&rig, &ticket);
	if (!ticket.has_ticket) {
		return;
	}
	must(jrn_start(rig.port, &ticket.ticket), "nothing is being taken back");
	if (jrn_result(rig.port, &ticket.ticket, 200, BC_SPAN_LIT("ok"), wall, rig_on_done,
		       &done) == BC_OK) {
		rig_wait(&rig, &done);
	}
	jrn_abandon(rig.port, &ticket.ticket, wall);
	if (jrn_undo(rig.port, &ticket.ticket, &intent, NULL, rig_on_ticket, &undo) == BC_OK) {
		rig_wait(&rig, &undo);
	}
	if (!undo.has_ticket) {
		must(jrn_has_failed(rig.jrn), "an undo waits for nothing else");
		return; /* left open: the next process takes it back */
	}
	jrn_undo_end(rig.port, &ticket.ticket, JRN_UNDONE, &undo.ticket, JRN_USED, wall);
}

/* Reads go on whatever happens. */
static void try_read(const char *output, size_t len)
{
	struct jrn_ticket ticket = rig_read(&rig, "find_order");

	must(jrn_ticket_permits(&ticket, JRN_READ), "reads go on");
	must(jrn_result(rig.port, &ticket, 200, bc_span(output, len), wall, NULL, NULL) == BC_OK,
	     "read");
	jrn_settle(rig.port, &ticket, JRN_USED, wall);
}

static void work(bool large)
{
	char *bytes = malloc(LARGE_BYTES);

	must(bytes != NULL, "memory");
	memset(bytes, 'x', LARGE_BYTES);
	try_read("small", 5);
	try_effect(wall);
	try_rollback();
	try_effect(wall);
	for (unsigned i = 0; large && i < LARGE_RESULTS; i++) {
		try_read(bytes, LARGE_BYTES);
	}
	try_effect(wall);
	/* So late that all of the above is old: the writer removes it. */
	try_effect(wall + 2 * rig.conf.retention);
	try_effect(wall + 2 * rig.conf.retention);
	free(bytes);
}

/*
 * A write or sync that failed is never overlooked, be it that of a checkpoint, which SQLite's own checkpoints would
 * swallow.  (It may rightly do without a truncation, or try again to open, to read or to lock.)
 */
static void expect_noticed(const struct scenario *scenario, bool fired_while_opening)
{
	if ((scenario->kinds & ~(unsigned)(FAULT_WRITE | FAULT_SYNC)) != 0 ||
	    !faulty_vfs_has_fired()) {
		return;
	}
	must(!fired_while_opening, "opening notices the fault");
	/* The writer may be on its way from the fault to its notice. */
	for (unsigned i = 0; i < 30000 && !jrn_has_failed(rig.jrn); i++) {
		(void)usleep(1000);
	}
	must(jrn_has_failed(rig.jrn), "the fault is noticed");
}

static void run(const struct scenario *scenario)
{
	bool fired_while_opening;
	enum bc_err err;

	faulty_vfs_install(shadow);
	faulty_vfs_arm(scenario->kinds, scenario->nth);
	err = rig_open(&rig);
	must(err == BC_OK || faulty_vfs_has_fired(), "opens without a fault");
	fired_while_opening = faulty_vfs_has_fired();
	if (err == BC_OK) {
		work(scenario->large);
		expect_noticed(scenario, fired_while_opening);
		if (scenario->close) {
			rig_close(&rig);
		}
	}
	/* exit() for the leak checker; a crash does not say goodbye. */
	if (scenario->close) {
		(void)close(rig.wake_fd);
		exit(faulty_vfs_has_fired() ? RUN_FAULT : RUN_NO_FAULT);
	}
	_exit(faulty_vfs_has_fired() ? RUN_FAULT : RUN_NO_FAULT);
}

/* Old records may have been removed by the run itself; the newest are always there. */
static void expect_recorded(const char *path, const struct jrn_ticket *tickets, unsigned count,
			    bool pruned)
{
	char sql[128];

	for (unsigned i = 0; i < count; i++) {
		int64_t found;

		(void)snprintf(sql, sizeof(sql),
			       "SELECT count(*) FROM intents WHERE intent = %llu AND key = '%s'",
			       (unsigned long long)tickets[i].intent, tickets[i].key);
		found = rig_number(path, sql);
		ck_assert_msg(found == 1 || (pruned && i < 3), "ticket %llu is not in the journal",
			      (unsigned long long)tickets[i].intent);
	}
}

/* F1 and F2 for one state of the files. */
static void expect_sound(char *path, const struct jrn_ticket *tickets, unsigned count)
{
	struct rig after = rig;

	/* Without its file nothing can have been promised. */
	if (access(path, F_OK) != 0) {
		ck_assert_uint_eq(count, 0);
		return;
	}
	after.conf.path = path;
	ck_assert_msg(rig_open(&after) == BC_OK, "%s", after.message);
	expect_recorded(path, tickets, count, count > 3);
	rig_close(&after);
	ck_assert_int_eq(rig_verify(path, NULL, 0), 0);
}

static void clean_up(const char *dir)
{
	static const char *const names[] = {"journal.db", "journal.db-wal", "journal.db-shm",
					    "journal.db-journal", "journal.db.lock"};
	char name[256];

	for (unsigned i = 0; i < BC_ARRAY_LEN(names); i++) {
		(void)snprintf(name, sizeof(name), "%s/%s", dir, names[i]);
		(void)unlink(name);
	}
}

/* A process in which nothing fails, and which leaves without a word. */
static void leave_work(void)
{
	struct scenario scenario = {.kinds = 0};
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		tickets_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
		run(&scenario);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == RUN_NO_FAULT);
}

/* One run with one fault; false: the fault was beyond the end of the run. */
static bool survives(const struct scenario *scenario)
{
	struct jrn_ticket tickets[TICKETS_MAX];
	char after_power_loss[200];
	unsigned count = 0;
	pid_t child;
	int status;
	int fds[2];

	clean_up(rig.dir);
	clean_up(shadow);
	if (scenario->again) {
		leave_work();
	}
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		tickets_fd = fds[1];
		run(scenario);
	}
	(void)close(fds[1]);
	while (count < TICKETS_MAX &&
	       read(fds[0], &tickets[count], sizeof(tickets[0])) == sizeof(tickets[0])) {
		count++;
	}
	(void)close(fds[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == RUN_FAULT ||
					    WEXITSTATUS(status) == RUN_NO_FAULT),
		      "operation %u: the process ended with %x", scenario->nth, (unsigned)status);
	(void)snprintf(after_power_loss, sizeof(after_power_loss), "%s/journal.db", shadow);
	expect_sound(rig.path, tickets, count);
	expect_sound(after_power_loss, tickets, count);
	if (WEXITSTATUS(status) == RUN_NO_FAULT) {
		ck_assert_uint_eq(count, 5);
	}
	return WEXITSTATUS(status) == RUN_FAULT;
}

/* stride 1: every operation; else a part of them. */
static void each_fault(struct scenario scenario, unsigned stride, unsigned faults_min)
{
	unsigned faults = 0;

	for (scenario.nth = 1; survives(&scenario); scenario.nth += stride) {
		faults++;
		ck_assert_uint_lt(faults, 5000);
	}
	ck_assert_msg(faults >= faults_min, "only %u operations were made to fail", faults);
}

START_TEST(j8_each_operation_fails_once_then_crash)
{
	each_fault((struct scenario){.kinds = FAULT_ALL}, 1, 40);
}
END_TEST

START_TEST(j8_each_operation_fails_once_then_close)
{
	each_fault((struct scenario){.kinds = FAULT_ALL, .close = true}, 1, 40);
}
END_TEST

START_TEST(j8_each_sync_fails_once_around_a_checkpoint)
{
	each_fault((struct scenario){.kinds = FAULT_SYNC, .large = true, .close = true}, 1, 8);
}
END_TEST

START_TEST(j8_writes_fail_around_a_checkpoint)
{
	each_fault((struct scenario){.kinds = FAULT_WRITE, .large = true}, 199, 8);
}
END_TEST

START_TEST(j8_each_read_fails_once_in_recovery_and_behind)
{
	each_fault((struct scenario){.kinds = FAULT_READ, .again = true}, 1, 10);
}
END_TEST

START_TEST(j8_each_lock_fails_once_in_recovery_and_behind)
{
	each_fault((struct scenario){.kinds = FAULT_LOCK, .again = true, .close = true}, 1, 10);
}
END_TEST

START_TEST(j8_each_change_fails_once_in_recovery_and_behind)
{
	each_fault((struct scenario){.kinds = FAULT_ALL, .again = true}, 3, 10);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal_faults");
	TCase *tc = tcase_create("faults");
	int status;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 170);
	tcase_add_test(tc, j8_each_operation_fails_once_then_crash);
	tcase_add_test(tc, j8_each_operation_fails_once_then_close);
	tcase_add_test(tc, j8_each_sync_fails_once_around_a_checkpoint);
	tcase_add_test(tc, j8_writes_fail_around_a_checkpoint);
	tcase_add_test(tc, j8_each_read_fails_once_in_recovery_and_behind);
	tcase_add_test(tc, j8_each_lock_fails_once_in_recovery_and_behind);
	tcase_add_test(tc, j8_each_change_fails_once_in_recovery_and_behind);
	suite_add_tcase(suite, tc);
	rig_base_make();
	status = tap_run(suite);
	rig_base_remove();
	return status;
}
