/*
 * J10: a process is killed between any two steps of its work with the journal, and the next one must find exactly
 * what was open, report it, settle it, and leave a clean file.
 */
#include "tests/unit/journal_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS 13 /* of work() */

static struct rig rig;
static int tickets_fd; /* the child tells here which tickets it got */

static const bc_usec wall = 1760000000 * BC_USEC_PER_SEC;

static void setup(void)
{
	rig_init(&rig);
}

static void teardown(void)
{
	rig_fini(&rig);
}

static void die(void)
{
	(void)kill(getpid(), SIGKILL);
}

static struct jrn_ticket effect_told(const char *tool, enum jrn_effect effect)
{
	struct jrn_ticket ticket = rig_effect(&rig, tool, effect);

	ck_assert_int_eq(write(tickets_fd, &ticket, sizeof(ticket)), sizeof(ticket));
	return ticket;
}

static struct jrn_ticket guess(const char *tool)
{
	struct jrn_intent intent = rig_intent(tool, JRN_REVERSIBLE);
	struct rig_answer answer = {.here = false};

	intent.speculative = true;
	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answer), BC_OK);
	rig_wait(&rig, &answer);
	ck_assert_int_eq(write(tickets_fd, &answer.ticket, sizeof(answer.ticket)),
			 sizeof(answer.ticket));
	return answer.ticket;
}

static void step_one(unsigned step, struct jrn_ticket tickets[STEPS])
{
	switch (step) {
	case 0:
		ck_assert_int_eq(rig_open(&rig), BC_OK);
		return;
	case 1:
		tickets[1] = rig_read(&rig, "find_order");
		return;
	case 2:
		tickets[2] = effect_told("asked_reversible", JRN_REVERSIBLE);
		return;
	case 3:
		rig_result(&rig, &tickets[2], 200);
		return;
	case 4:
		jrn_settle(rig.port, &tickets[2], JRN_USED, wall);
		return;
	case 5:
		tickets[5] = effect_told("hold_sent", JRN_HOLD);
		return;
	case 6:
		tickets[6] = guess("guess_done");
		return;
	case 7:
		rig_result(&rig, &tickets[6], 200);
		return;
	case 8:
		rig_result(&rig, &tickets[1], 200);
		return;
	case 9:
		tickets[9] = effect_told("hold_timeout", JRN_HOLD);
		return;
	case 10:
		rig_result(&rig, &tickets[9], 504);
		return;
	case 11:
		tickets[11] = effect_told("hold_done", JRN_HOLD);
		return;
	case 12:
		rig_result(&rig, &tickets[11], 200);
		return;
	default:
		abort();
	}
}

/* The first steps of a session's work, then death. */
static void work(unsigned steps)
{
	struct jrn_ticket tickets[STEPS];

	for (unsigned i = 0; i < steps; i++) {
		step_one(i, tickets);
	}
	die();
}

static void each_kills(void *arg, uint64_t intent, struct bc_span session, struct bc_span tool,
		       enum jrn_effect effect, bool has_result)
{
	unsigned *left = arg;

	(void)intent;
	(void)session;
	(void)tool;
	(void)effect;
	(void)has_result;
	if (--*left == 0) {
		die();
	}
}

/* Recovery that is itself killed at its count-th report; beyond the last: right after it. */
static void recover_and_die(unsigned count)
{
	struct jrn_recovery recovery;
	struct bc_buf message;
	struct jrn *jrn;

	bc_buf_init(&message, 1000);
	ck_assert_int_eq(jrn_open(&rig.conf, each_kills, &count, &recovery, &message, &jrn), BC_OK);
	die();
}

static void run_killed(void (*body)(unsigned), unsigned argument)
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		body(argument);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		      "the child did not get that far");
}

/* What is open according to the file, by SQL of our own: the oracle for what recovery reports. */
static unsigned oracle(struct rig_open opens[RIG_OPENS_MAX])
{
	static const char sql[] =
		"SELECT i.intent, i.effect = 'hold', r.intent IS NOT NULL FROM intents i"
		" LEFT JOIN settlements s USING (intent)"
		" LEFT JOIN results r ON r.intent = i.intent"
		" WHERE s.intent IS NULL AND effect <> 'read' ORDER BY 1";
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	unsigned count = 0;

	ck_assert_int_eq(sqlite3_open_v2(rig.path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		ck_assert_uint_lt(count, RIG_OPENS_MAX);
		opens[count++] = (struct rig_open){
			.intent = (uint64_t)sqlite3_column_int64(stmt, 0),
			.effect = sqlite3_column_int(stmt, 1) != 0 ? JRN_HOLD : JRN_REVERSIBLE,
			.has_result = sqlite3_column_int(stmt, 2) != 0,
		};
	}
	(void)sqlite3_finalize(stmt);
	(void)sqlite3_close(db);
	return count;
}

static void expect_reported(const struct rig_open opens[RIG_OPENS_MAX], unsigned count)
{
	ck_assert_uint_eq(rig.recovery.effects_open, count);
	ck_assert_uint_eq(rig.open_count, count);
	for (unsigned i = 0; i < count; i++) {
		ck_assert_uint_eq(rig.opens[i].intent, opens[i].intent);
		ck_assert_uint_eq(rig.opens[i].effect, opens[i].effect);
		ck_assert(rig.opens[i].has_result == opens[i].has_result);
	}
}

static unsigned expect_tickets_recorded(int fd)
{
	struct jrn_ticket ticket;
	unsigned count = 0;
	char sql[128];

	while (read(fd, &ticket, sizeof(ticket)) == (ssize_t)sizeof(ticket)) {
		(void)snprintf(sql, sizeof(sql),
			       "SELECT count(*) FROM intents WHERE intent = %llu AND key = '%s'",
			       (unsigned long long)ticket.intent, ticket.key);
		ck_assert_int_eq(rig_number(rig.path, sql), 1);
		count++;
	}
	return count;
}

START_TEST(j10_killed_after_each_step)
{
	unsigned steps = (unsigned)_i;
	struct rig_open opens[RIG_OPENS_MAX];
	unsigned count;
	unsigned told;
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	tickets_fd = fds[1];
	run_killed(work, steps);
	(void)close(fds[1]);
	count = oracle(opens);
	told = expect_tickets_recorded(fds[0]);
	(void)close(fds[0]);
	/* One of the tickets may have been settled before the end. */
	ck_assert(count == told || (steps > 4 && count + 1 == told));

	ck_assert_int_eq(rig_open(&rig), BC_OK);
	expect_reported(opens, count);
	ck_assert_uint_eq(rig_settle_orphans(&rig), rig.recovery.adoptable);
	rig_close(&rig);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM unsettled"), 0);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
	/* Nothing is reported twice, and nothing settles twice. */
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_uint_eq(rig.open_count, 0);
	ck_assert_uint_eq(rig.recovery.reads_open, 0);
}
END_TEST

static int64_t settled_as(const char *tool, const char *how)
{
	char sql[256];

	(void)snprintf(
		sql, sizeof(sql),
		"SELECT count(*) FROM settlements JOIN intents USING (intent) WHERE tool = '%s'"
		" AND how = '%s' AND note = 'recovered'",
		tool, how);
	return rig_number(rig.path, sql);
}

START_TEST(j7_what_is_not_known_is_in_doubt)
{
	tickets_fd = open("/dev/null", O_WRONLY);
	run_killed(work, STEPS);
	(void)close(tickets_fd);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_uint_eq(rig.recovery.reads_open, 1);
	ck_assert_uint_eq(rig_settle_orphans(&rig), 2); /* hold_sent, guess_done */
	rig_close(&rig);
	ck_assert_int_eq(settled_as("find_order", "unused"), 1);
	ck_assert_int_eq(settled_as("hold_timeout", "in_doubt"), 1);
	ck_assert_int_eq(settled_as("hold_done", "used"), 1);
}
END_TEST

START_TEST(j4_recovery_killed_at_each_report_starts_over)
{
	struct rig_open opens[RIG_OPENS_MAX];
	unsigned count;

	tickets_fd = open("/dev/null", O_WRONLY);
	run_killed(work, STEPS);
	(void)close(tickets_fd);
	count = oracle(opens);
	ck_assert_uint_ge(count, 4);
	for (unsigned i = 1; i <= count; i++) {
		run_killed(recover_and_die, i);
		ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
	}
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	expect_reported(opens, count);
	rig_close(&rig);
	/* Killed right after a whole recovery: that one counts, and what nobody looked after is found again. */
	run_killed(recover_and_die, RIG_OPENS_MAX);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_uint_eq(rig.open_count, 2);
	ck_assert_uint_eq(rig_settle_orphans(&rig), 2);
	rig_close(&rig);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_uint_eq(rig.open_count, 0);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal_crash");
	TCase *tc = tcase_create("crash");
	int status;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 55);
	tcase_add_loop_test(tc, j10_killed_after_each_step, 1, STEPS + 1);
	tcase_add_test(tc, j7_what_is_not_known_is_in_doubt);
	tcase_add_test(tc, j4_recovery_killed_at_each_report_starts_over);
	suite_add_tcase(suite, tc);
	rig_base_make();
	status = tap_run(suite);
	rig_base_remove();
	return status;
}
