/* What the journal remembers of calls that are over. */
#include "daemon/journal/history.h"
#include "tests/unit/journal_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static struct rig rig;
static const bc_usec wall = 1760000000 * BC_USEC_PER_SEC;
static char seen[1024]; /* the tools told of, in order, with what is told */

static void setup(void)
{
	rig_init(&rig);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	seen[0] = '\0';
}

static void teardown(void)
{
	rig_fini(&rig);
}

static void note(void *arg, const struct jrn_history_row *row)
{
	size_t len = strlen(seen);

	*(unsigned *)arg += 1;
	(void)snprintf(seen + len, sizeof(seen) - len, "%.*s:%s:%s:%s:%d ", BC_SPAN_ARG(row->tool),
		       row->speculative ? "guess" : "real", row->used ? "used" : "unused",
		       row->output.len > 0 ? "output" : "-", row->status);
}

static void call(const char *tool, bool speculative, enum jrn_settlement how)
{
	struct jrn_intent intent = rig_intent(tool, JRN_READ);
	struct jrn_ticket ticket;

	intent.speculative = speculative;
	ck_assert_int_eq(jrn_intend(rig.port, &intent, &ticket, NULL, NULL), BC_OK);
	if (how == JRN_USED) {
		ck_assert_int_eq(jrn_result(rig.port, &ticket, 200, BC_SPAN_LIT("{}"),
					    intent.wall + 1000, NULL, NULL),
				 BC_OK);
	}
	jrn_settle(rig.port, &ticket, how, wall);
}

/* A later effect is durable, so everything before it is. */
static void flush(void)
{
	(void)rig_effect(&rig, "barrier", JRN_HOLD);
}

START_TEST(what_is_settled_is_told_oldest_first)
{
	unsigned count = 0;

	call("first", true, JRN_USED);
	call("second", true, JRN_UNUSED);
	call("failed", true, JRN_FAILED);
	call("third", false, JRN_USED);
	flush();
	ck_assert(jrn_history(rig.path, 10, note, &count));
	ck_assert_str_eq(seen, "first:guess:used:output:200 second:guess:unused:-:0 "
			       "third:real:used:output:200 ");
	seen[0] = '\0';
	ck_assert(jrn_history(rig.path, 2, note, &count)); /* the newest */
	ck_assert_str_eq(seen, "second:guess:unused:-:0 third:real:used:output:200 ");
	ck_assert_uint_eq(count, 5);
}
END_TEST

START_TEST(what_cannot_be_read_is_said)
{
	unsigned count = 0;

	ck_assert(!jrn_history("/nonexistent/journal.db", 10, note, &count));
	ck_assert(!jrn_history("/dev/null", 10, note, &count));
	ck_assert_uint_eq(count, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal_history");
	TCase *tcase = tcase_create("journal_history");
	int status;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_is_settled_is_told_oldest_first);
	tcase_add_test(tcase, what_cannot_be_read_is_said);
	suite_add_tcase(suite, tcase);
	rig_base_make();
	status = tap_run(suite);
	rig_base_remove();
	return status;
}
