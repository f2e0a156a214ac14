/* backchannel-journal's answers: what it finds, what it shows, and that it can read at any time. */
#include "daemon/journal/inspect.h"
#include "tests/unit/journal_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rig rig;
static char text[4096];

static const bc_usec wall = 1760000000 * BC_USEC_PER_SEC;

/* One read used, one hold used, one hold open. */
static void fill(void)
{
	struct jrn_ticket read = rig_read(&rig, "find_order");
	struct jrn_ticket hold = rig_effect(&rig, "cancel_order", JRN_HOLD);

	rig_result(&rig, &read, 200);
	rig_result(&rig, &hold, 200);
	jrn_settle(rig.port, &read, JRN_USED, wall);
	jrn_settle(rig.port, &hold, JRN_USED, wall);
	(void)rig_effect(&rig, "pay_order", JRN_HOLD);
}

static void setup(void)
{
	rig_init(&rig);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	fill();
}

static void teardown(void)
{
	rig_fini(&rig);
}

static void execute(const char *sql)
{
	sqlite3 *db = NULL;

	ck_assert_int_eq(sqlite3_open(rig.path, &db), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s",
		      sqlite3_errmsg(db));
	(void)sqlite3_close(db);
}

static int list(bool open_only)
{
	FILE *out = fmemopen(text, sizeof(text), "w");
	int status;

	ck_assert_ptr_nonnull(out);
	status = (int)jrn_inspect_list(rig.path, open_only, (struct jrn_inspect_output){out, out});
	(void)fclose(out);
	return status;
}

static int show(const char *session)
{
	FILE *out = fmemopen(text, sizeof(text), "w");
	int status;

	ck_assert_ptr_nonnull(out);
	status = (int)jrn_inspect_show(rig.path, bc_span_str(session),
				       (struct jrn_inspect_output){out, out});
	(void)fclose(out);
	return status;
}

static void expect_text(const char *wanted)
{
	ck_assert_msg(strstr(text, wanted) != NULL, "no \"%s\" in:\n%s", wanted, text);
}

START_TEST(verify_beside_the_running_journal)
{
	ck_assert_int_eq(rig_verify(rig.path, text, sizeof(text)), 0);
	expect_text("intents 3, results 2,");
	expect_text("open 1");
	expect_text("\njournal clean\n");
	/* The journal goes on undisturbed. */
	(void)rig_effect(&rig, "cancel_order", JRN_HOLD);
}
END_TEST

START_TEST(verify_after_a_kill)
{
	pid_t child;
	int status;

	rig_close(&rig);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		if (rig_open(&rig) == BC_OK) {
			(void)rig_settle_orphans(&rig);
			fill();
			(void)kill(getpid(), SIGKILL);
		}
		_exit(1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(rig_verify(rig.path, text, sizeof(text)), 0);
	expect_text("intents 6,");
}
END_TEST

START_TEST(unreadable_is_two)
{
	ck_assert_int_eq(rig_verify("/tmp/bc-no-such-journal.db", text, sizeof(text)), 2);
	expect_text("cannot read journal /tmp/bc-no-such-journal.db");
	rig_close(&rig);
	execute("PRAGMA application_id = 7");
	ck_assert_int_eq(rig_verify(rig.path, text, sizeof(text)), 2);
	expect_text("another program");
}
END_TEST

/* What is done to the file, and what verify must say. */
static const struct {
	const char *sql;
	const char *finding;
} damages[] = {
	{"UPDATE intents SET arguments = '{}' WHERE intent = 2", "intent 2: the record is damaged"},
	{"UPDATE intents SET wall = wall + 1 WHERE intent = 1", "intent 1: the record is damaged"},
	{"UPDATE intents SET effect = 'read' WHERE intent = 2", "intent 2: the record is damaged"},
	{"UPDATE intents SET speculative = 1 WHERE intent = 2", "intent 2: the record is damaged"},
	{"UPDATE intents SET key = 'x' WHERE intent = 2", "intent 2: the record is damaged"},
	{"UPDATE results SET output = 'no' WHERE intent = 2", "result 2: the record is damaged"},
	{"UPDATE results SET status = 500 WHERE intent = 2", "result 2: the record is damaged"},
	{"UPDATE settlements SET how = 'unused' WHERE intent = 1",
	 "settlement 1: the record is damaged"},
	{"UPDATE settlements SET how = 'gone' WHERE intent = 1",
	 "settlement 1: the record is damaged"},
	{"DELETE FROM intents WHERE intent = 2", "intent 2 has a result and no intent"},
	{"DELETE FROM intents WHERE intent = 2", "intent 2 is settled and has no intent"},
	{"DELETE FROM unsettled", "intent 3 is open and not listed as such"},
	{"DELETE FROM intents WHERE intent = 3", "intent 3 is listed as open and has no intent"},
	{"INSERT INTO unsettled VALUES (1)", "intent 1 is listed as open and is settled"},
	{"UPDATE intents SET key = (SELECT key FROM intents WHERE intent = 1)",
	 "intent 1 shares its idempotency key with another"},
	/* A second row of one key cannot be inserted, so the table is replaced by one that lets it. */
	{"CREATE TABLE t AS SELECT * FROM settlements; DROP TABLE settlements; ALTER TABLE t RENAME TO settlements;"
	 "INSERT INTO settlements SELECT * FROM settlements WHERE intent = 1",
	 "intent 1 is settled twice"},
};

START_TEST(verify_finds_damage)
{
	rig_close(&rig);
	execute(damages[_i].sql);
	ck_assert_int_eq(rig_verify(rig.path, text, sizeof(text)), 1);
	expect_text(damages[_i].finding);
	ck_assert_ptr_null(strstr(text, "journal clean"));
}
END_TEST

START_TEST(verify_finds_a_broken_page)
{
	FILE *file;

	rig_close(&rig);
	file = fopen(rig.path, "r+");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fseek(file, 4096 + 200, SEEK_SET), 0);
	for (unsigned i = 0; i < 3800; i++) {
		ck_assert_int_ne(fputc(0x5a, file), EOF);
	}
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_ne(rig_verify(rig.path, text, sizeof(text)), 0);
	ck_assert_ptr_null(strstr(text, "journal clean"));
}
END_TEST

START_TEST(list_names_every_call)
{
	ck_assert_int_eq(list(false), 0);
	expect_text("2025-10-09T08:53:20.000Z");
	expect_text("find_order");
	expect_text("used");
	expect_text("pay_order");
	ck_assert_int_eq(list(true), 0);
	expect_text("pay_order");
	expect_text("intended");
	ck_assert_ptr_null(strstr(text, "find_order"));
}
END_TEST

START_TEST(list_open_names_what_is_in_doubt)
{
	rig_close(&rig);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_uint_eq(rig_settle_orphans(&rig), 1);
	rig_close(&rig);
	ck_assert_int_eq(list(true), 0);
	expect_text("in_doubt");
	expect_text("pay_order");
}
END_TEST

START_TEST(show_tells_all_of_a_session)
{
	ck_assert_int_eq(show("bc_sabcdefghijklmnopqrst"), 0);
	expect_text("intent 2 cancel_order\n");
	expect_text("{\"order\":7}");
	expect_text("status 200");
	expect_text("{\"ok\":true}");
	expect_text(", used\n");
	ck_assert_int_eq(show("another"), 0);
	expect_text("no tool call of that session");
}
END_TEST

START_TEST(show_escapes_what_would_move_the_cursor)
{
	struct jrn_ticket read = rig_read(&rig, "find_order");

	ck_assert_int_eq(
		jrn_result(rig.port, &read, 200, BC_SPAN_LIT("a\x1b[2J\nb"), wall, NULL, NULL),
		BC_OK);
	rig_close(&rig);
	ck_assert_int_eq(show("bc_sabcdefghijklmnopqrst"), 0);
	expect_text("a\\x1b[2J\\x0ab");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal_inspect");
	TCase *tc = tcase_create("inspect");
	int status;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 55);
	tcase_add_test(tc, verify_beside_the_running_journal);
	tcase_add_test(tc, verify_after_a_kill);
	tcase_add_test(tc, unreadable_is_two);
	tcase_add_loop_test(tc, verify_finds_damage, 0, (int)BC_ARRAY_LEN(damages));
	tcase_add_test(tc, verify_finds_a_broken_page);
	tcase_add_test(tc, list_names_every_call);
	tcase_add_test(tc, list_open_names_what_is_in_doubt);
	tcase_add_test(tc, show_tells_all_of_a_session);
	tcase_add_test(tc, show_escapes_what_would_move_the_cursor);
	suite_add_tcase(suite, tc);
	rig_base_make();
	status = tap_run(suite);
	rig_base_remove();
	return status;
}
