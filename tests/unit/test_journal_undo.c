/* J3, J4, J7 as the journal keeps them: who may start while something is taken back, whose turn an undo is, and what a
 * crash between any two steps of a rollback leaves for the next process. */
#include "daemon/base/metric.h"
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

static const bc_usec wall = 1760000000 * BC_USEC_PER_SEC;

static void setup(void)
{
	rig_init(&rig);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
}

static void teardown(void)
{
	rig_fini(&rig);
}

static struct jrn_intent intent_of(const char *tool, const char *tags, bool speculative)
{
	struct jrn_intent intent = rig_intent(tool, JRN_REVERSIBLE);

	intent.tags = bc_span_str(tags);
	intent.speculative = speculative;
	return intent;
}

/* An effect with its ticket that has left. */
static struct jrn_ticket started(const char *tool, const char *tags, bool speculative)
{
	struct jrn_intent intent = intent_of(tool, tags, speculative);
	struct rig_answer answer = {.here = false};

	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answer), BC_OK);
	rig_wait(&rig, &answer);
	ck_assert_int_eq(answer.err, BC_OK);
	ck_assert(jrn_start(rig.port, &answer.ticket));
	return answer.ticket;
}

/* The same with a result. */
static struct jrn_ticket executed(const char *tool, const char *tags, bool speculative)
{
	struct jrn_ticket ticket = started(tool, tags, speculative);

	rig_result(&rig, &ticket, 200);
	return ticket;
}

static void ask_undo(const struct jrn_ticket *ticket, const char *tool, const char *tags,
		     struct rig_answer *answer)
{
	struct jrn_intent intent = intent_of(tool, tags, false);

	*answer = (struct rig_answer){.here = false};
	ck_assert_int_eq(jrn_undo(rig.port, ticket, &intent, NULL, rig_on_ticket, answer), BC_OK);
}

/* Something else goes to the disk and back, so whatever was on its way before has arrived. */
static void flush(void)
{
	struct jrn_intent intent = rig_intent("flush", JRN_HOLD);
	struct rig_answer answer = {.here = false};

	intent.session = BC_SPAN_LIT("another");
	intent.tags = BC_SPAN_LIT("nothing");
	ck_assert_int_eq(jrn_intend(rig.port, &intent, NULL, rig_on_ticket, &answer), BC_OK);
	rig_wait(&rig, &answer);
	jrn_settle(rig.port, &answer.ticket, JRN_NEVER_STARTED, wall);
}

static void end_undone(const struct jrn_ticket *ticket, const struct rig_answer *undo)
{
	ck_assert(undo->here && undo->has_ticket);
	ck_assert(jrn_ticket_permits(&undo->ticket, JRN_UNDO));
	ck_assert(!jrn_ticket_permits(&undo->ticket, JRN_REVERSIBLE));
	jrn_undo_end(rig.port, ticket, JRN_UNDONE, &undo->ticket, JRN_USED, wall);
}

static int64_t settled(const char *tool, const char *how)
{
	char sql[200];

	(void)snprintf(sql, sizeof(sql),
		       "SELECT count(*) FROM settlements JOIN intents USING (intent)"
		       " WHERE tool = '%s' AND effect <> 'undo' AND how = '%s'",
		       tool, how);
	return rig_number(rig.path, sql);
}

START_TEST(j3_commit_and_abandon_are_records)
{
	struct jrn_ticket kept = executed("kept", "a", true);
	struct jrn_ticket dropped = executed("dropped", "b", true);

	jrn_commit(rig.port, &kept, wall);
	jrn_abandon(rig.port, &dropped, wall);
	flush();
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM decisions JOIN intents"
					      " USING (intent) WHERE tool = 'kept'"
					      " AND what = 'committed'"),
			 1);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM decisions JOIN intents"
					      " USING (intent) WHERE tool = 'dropped'"
					      " AND what = 'abandoned'"),
			 1);
	jrn_settle(rig.port, &kept, JRN_USED, wall);
}
END_TEST

START_TEST(j3_the_newest_of_a_session_is_undone_first)
{
	struct jrn_ticket first = executed("first", "a", true);
	struct jrn_ticket second = executed("second", "b", true);
	struct rig_answer undo_first;
	struct rig_answer undo_second;

	jrn_abandon(rig.port, &first, wall);
	jrn_abandon(rig.port, &second, wall);
	ask_undo(&first, "first", "a", &undo_first);
	ask_undo(&second, "second", "b", &undo_second);
	rig_wait(&rig, &undo_second);
	flush();
	ck_assert(!undo_first.here);
	end_undone(&second, &undo_second);
	rig_wait(&rig, &undo_first);
	end_undone(&first, &undo_first);
	flush();
	ck_assert_int_eq(settled("first", "undone"), 1);
	ck_assert_int_eq(settled("second", "undone"), 1);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM intents WHERE effect = 'undo'"
					      " AND undoes IN (1, 2)"),
			 2);
}
END_TEST

START_TEST(j3_an_undo_waits_for_one_in_flight)
{
	struct jrn_ticket first = executed("first", "a", true);
	struct jrn_ticket second = started("second", "b", true);
	struct rig_answer undo;

	jrn_abandon(rig.port, &first, wall);
	jrn_abandon(rig.port, &second, wall);
	ask_undo(&first, "first", "a", &undo);
	flush();
	ck_assert(!undo.here);
	jrn_settle(rig.port, &second, JRN_FAILED, wall);
	rig_wait(&rig, &undo);
	end_undone(&first, &undo);
}
END_TEST

START_TEST(j3_what_was_followed_is_never_undone)
{
	struct jrn_ticket guess = executed("guess", "a,b", true);
	struct jrn_ticket other = executed("other", "b,c", false);
	struct rig_answer undo;

	jrn_settle(rig.port, &other, JRN_USED, wall);
	jrn_abandon(rig.port, &guess, wall);
	ask_undo(&guess, "guess", "a,b", &undo);
	rig_wait(&rig, &undo);
	ck_assert_int_eq(undo.err, BC_E_EXISTS);
	jrn_settle(rig.port, &guess, JRN_PARKED, wall);
	flush();
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM intents WHERE effect = 'undo'"),
			 0);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
}
END_TEST

START_TEST(j3_a_follower_that_did_nothing_is_none)
{
	struct jrn_ticket guess = executed("guess", "a", true);
	struct jrn_ticket other = executed("other", "a", false);
	struct rig_answer undo;

	jrn_settle(rig.port, &other, JRN_FAILED, wall);
	jrn_abandon(rig.port, &guess, wall);
	ask_undo(&guess, "guess", "a", &undo);
	rig_wait(&rig, &undo);
	end_undone(&guess, &undo);
}
END_TEST

START_TEST(j3_an_undo_waits_for_the_decision_of_a_follower)
{
	bool commit = _i == 1;
	struct jrn_ticket guess = executed("guess", "a", true);
	struct jrn_ticket later = executed("later", "a", true);
	struct rig_answer undo;
	struct rig_answer undo_later;

	jrn_abandon(rig.port, &guess, wall);
	ask_undo(&guess, "guess", "a", &undo);
	flush();
	ck_assert(!undo.here);
	if (commit) {
		jrn_commit(rig.port, &later, wall);
		rig_wait(&rig, &undo);
		ck_assert_int_eq(undo.err, BC_E_EXISTS);
		return;
	}
	jrn_abandon(rig.port, &later, wall);
	ask_undo(&later, "later", "a", &undo_later);
	rig_wait(&rig, &undo_later);
	ck_assert(!undo.here);
	end_undone(&later, &undo_later);
	rig_wait(&rig, &undo);
	end_undone(&guess, &undo);
}
END_TEST

/* What is asked before anything is sent for an effect in doubt. */
START_TEST(j4_whose_turn_it_is_can_be_asked)
{
	struct jrn_ticket guess = started("guess", "a", true);
	struct jrn_ticket beside = executed("beside", "b", false);
	struct jrn_ticket early = started("early", "a", true);
	struct jrn_ticket late = started("late", "a", true);

	jrn_settle(rig.port, &beside, JRN_USED, wall);
	jrn_abandon(rig.port, &guess, wall);
	ck_assert_int_eq(jrn_turn(rig.port, &guess), JRN_TURN_LATER);
	jrn_settle(rig.port, &early, JRN_FAILED, wall);
	ck_assert_int_eq(jrn_turn(rig.port, &guess), JRN_TURN_LATER);
	jrn_abandon(rig.port, &late, wall);
	ck_assert_int_eq(jrn_turn(rig.port, &guess), JRN_TURN_LATER);
	ck_assert_int_eq(jrn_turn(rig.port, &late), JRN_TURN_HERE);
	jrn_settle(rig.port, &late, _i == 0 ? JRN_FAILED : JRN_IN_DOUBT, wall);
	ck_assert_int_eq(jrn_turn(rig.port, &guess), _i == 0 ? JRN_TURN_HERE : JRN_TURN_NEVER);
}
END_TEST

START_TEST(j3_nothing_with_its_tag_starts_meanwhile)
{
	struct jrn_intent same = intent_of("same", "x,a", false);
	struct jrn_ticket guess = executed("guess", "a", true);
	struct rig_answer early = {.here = false};
	struct rig_answer late = {.here = false};
	struct rig_answer undo;

	/* Intended before, and not started: it must not, and does not count as a follower. */
	ck_assert_int_eq(jrn_intend(rig.port, &same, NULL, rig_on_ticket, &early), BC_OK);
	rig_wait(&rig, &early);
	jrn_abandon(rig.port, &guess, wall);
	ck_assert(!jrn_start(rig.port, &early.ticket));
	jrn_settle(rig.port, &early.ticket, JRN_NEVER_STARTED, wall);
	ck_assert_int_eq(jrn_intend(rig.port, &same, NULL, rig_on_ticket, &late), BC_E_AGAIN);
	flush(); /* another tag goes on */
	ask_undo(&guess, "guess", "a", &undo);
	rig_wait(&rig, &undo);
	ck_assert_int_eq(jrn_intend(rig.port, &same, NULL, rig_on_ticket, &late), BC_E_AGAIN);
	end_undone(&guess, &undo);
	ck_assert_int_eq(jrn_intend(rig.port, &same, NULL, rig_on_ticket, &late), BC_OK);
	rig_wait(&rig, &late);
	ck_assert(jrn_start(rig.port, &late.ticket));
	flush();
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM intents WHERE tool = 'same'"),
			 2);
}
END_TEST

START_TEST(j9_the_bytes_of_a_session_are_bounded)
{
	static char large[60000];
	struct jrn_intent intent = rig_intent("find", JRN_READ);
	struct jrn_ticket first;
	struct jrn_ticket second;

	rig_close(&rig);
	rig.conf.session_bytes_max = 100000;
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	memset(large, 'x', sizeof(large));
	intent.arguments = bc_span(large, sizeof(large));
	ck_assert_int_eq(jrn_intend(rig.port, &intent, &first, NULL, NULL), BC_OK);
	ck_assert_int_eq(jrn_intend(rig.port, &intent, &second, NULL, NULL), BC_E_LIMIT);
	/* Another session is not concerned. */
	intent.session = BC_SPAN_LIT("another");
	ck_assert_int_eq(jrn_intend(rig.port, &intent, &second, NULL, NULL), BC_OK);
	intent = rig_intent("find", JRN_READ);
	intent.arguments = bc_span(large, sizeof(large));
	jrn_settle(rig.port, &first, JRN_UNUSED, wall);
	flush();
	ck_assert_int_eq(jrn_intend(rig.port, &intent, &first, NULL, NULL), BC_OK);
	/* A result is never refused for it (J2), and counts. */
	ck_assert_int_eq(
		jrn_result(rig.port, &first, 200, bc_span(large, sizeof(large)), wall, NULL, NULL),
		BC_OK);
	intent.arguments = BC_SPAN_LIT("{}");
	ck_assert_int_eq(jrn_intend(rig.port, &intent, &first, NULL, NULL), BC_E_LIMIT);
}
END_TEST

/* ---- crashes ---- */

struct met {
	unsigned count;
	struct jrn_orphan last;
	char output[64];
};

static void on_orphan(void *arg, const struct jrn_orphan *orphan)
{
	struct met *met = arg;

	met->count++;
	met->last = *orphan;
	(void)snprintf(met->output, sizeof(met->output), "%.*s", BC_SPAN_ARG(orphan->output));
}

#define UNDO_STEPS 6

static void roll_back(unsigned steps)
{
	struct rig_answer undo = {.here = false};
	struct jrn_ticket guess = {0};

	for (unsigned step = 0; step < steps; step++) {
		switch (step) {
		case 0:
			guess = started("guess", "a", true);
			break;
		case 1:
			rig_result(&rig, &guess, 200);
			break;
		case 2:
			jrn_abandon(rig.port, &guess, wall);
			break;
		case 3:
			ask_undo(&guess, "guess", "a", &undo);
			break;
		case 4:
			rig_wait(&rig, &undo);
			break;
		default:
			end_undone(&guess, &undo);
			break;
		}
	}
	/* As far as it was written, it is there. */
	(void)kill(getpid(), SIGKILL);
}

static void run_killed(unsigned steps)
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		ck_assert_int_eq(rig_open(&rig), BC_OK);
		roll_back(steps);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* J10: killed after each step, the next process is handed exactly what is left to do. */
START_TEST(j10_a_rollback_killed_after_each_step_is_taken_up)
{
	unsigned steps = (unsigned)_i;
	struct jrn_intent blocked = intent_of("blocked", "a", false);
	struct rig_answer answer = {.here = false};
	struct met met = {.count = 0};

	rig_close(&rig);
	run_killed(steps);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	if (rig_number(rig.path, "SELECT count(*) FROM unsettled") == 0) {
		/* The last step reached the disk, or the first did not. */
		ck_assert(steps == UNDO_STEPS);
		return;
	}
	ck_assert_uint_eq(rig.recovery.adoptable, 1);
	/* Before anybody looks after it, nothing with its tag starts. */
	ck_assert_int_eq(jrn_intend(rig.port, &blocked, NULL, rig_on_ticket, &answer), BC_E_AGAIN);
	jrn_adopt(rig.port, on_orphan, &met);
	ck_assert_uint_eq(met.count, 1);
	ck_assert_int_eq(met.last.has_result, steps >= 2);
	ck_assert_str_eq(met.output, steps >= 2 ? "{\"ok\":true}" : "");
	ck_assert(met.last.decision != JRN_COMMITTED);
	ck_assert(jrn_ticket_permits(&met.last.ticket, JRN_REVERSIBLE));
	if (steps >= 5) {
		char sql[128];

		ck_assert(met.last.has_undo);
		(void)snprintf(sql, sizeof(sql),
			       "SELECT count(*) FROM intents WHERE effect = 'undo' AND key = '%s'",
			       met.last.undo.key);
		ck_assert_int_eq(rig_number(rig.path, sql), 1); /* J6 */
	}
}
END_TEST

START_TEST(j4_a_recorded_undo_keeps_its_key)
{
	struct jrn_intent intent = intent_of("guess", "a", false);
	struct rig_answer undo = {.here = false};
	struct met met = {.count = 0};

	rig_close(&rig);
	run_killed(5);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	jrn_adopt(rig.port, on_orphan, &met);
	ck_assert(met.last.has_undo);
	ck_assert_int_eq(
		jrn_undo(rig.port, &met.last.ticket, &intent, &met.last.undo, rig_on_ticket, &undo),
		BC_OK);
	rig_wait(&rig, &undo);
	ck_assert_str_eq(undo.ticket.key, met.last.undo.key);
	ck_assert_uint_eq(undo.ticket.intent, met.last.undo.intent);
	end_undone(&met.last.ticket, &undo);
	rig_close(&rig);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM unsettled"), 0);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM intents WHERE effect = 'undo'"),
			 1);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
}
END_TEST

START_TEST(j3_a_follower_is_known_after_a_crash)
{
	struct jrn_intent intent = intent_of("guess", "a", false);
	struct jrn_ticket guess = executed("guess", "a", true);
	struct jrn_ticket other = executed("other", "a", false);
	struct rig_answer undo = {.here = false};
	struct met met = {.count = 0};

	(void)guess;
	jrn_settle(rig.port, &other, JRN_USED, wall);
	rig_close(&rig);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	jrn_adopt(rig.port, on_orphan, &met);
	ck_assert_uint_eq(met.count, 1);
	ck_assert_int_eq(jrn_undo(rig.port, &met.last.ticket, &intent, NULL, rig_on_ticket, &undo),
			 BC_OK);
	rig_wait(&rig, &undo);
	ck_assert_int_eq(undo.err, BC_E_EXISTS);
	jrn_settle(rig.port, &met.last.ticket, JRN_PARKED, wall);
}
END_TEST

START_TEST(j4_a_committed_effect_is_left_alone)
{
	struct jrn_ticket kept = executed("kept", "a", true);

	jrn_commit(rig.port, &kept, wall);
	rig_close(&rig);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_uint_eq(rig.recovery.adoptable, 0);
	ck_assert_int_eq(settled("kept", "used"), 1);
}
END_TEST

/* ---- the operator ---- */

static enum bc_err resolve(uint64_t intent, enum jrn_settlement how)
{
	struct rig_answer answer = {.here = false};

	ck_assert_int_eq(jrn_resolve(rig.port, intent, how, wall, rig_on_done, &answer), BC_OK);
	rig_wait(&rig, &answer);
	return answer.err;
}

START_TEST(j7_the_operator_resolves_once)
{
	struct jrn_ticket hold = rig_effect(&rig, "hold", JRN_HOLD);
	struct jrn_ticket used = rig_effect(&rig, "used", JRN_HOLD);
	struct rig_answer first = {.here = false};
	struct rig_answer second = {.here = false};
	enum bc_err err;

	ck_assert_int_eq(resolve(hold.intent, JRN_USED), BC_E_NOTFOUND); /* still open */
	jrn_settle(rig.port, &hold, JRN_IN_DOUBT, wall);
	jrn_settle(rig.port, &used, JRN_USED, wall);
	ck_assert_int_eq(resolve(99, JRN_USED), BC_E_NOTFOUND);
	ck_assert_int_eq(resolve(used.intent, JRN_UNDONE), BC_E_NOTFOUND);
	/* One order at a time: two could end the same effect twice. */
	ck_assert_int_eq(
		jrn_resolve(rig.port, hold.intent, JRN_NEVER_STARTED, wall, rig_on_done, &first),
		BC_OK);
	err = jrn_resolve(rig.port, hold.intent, JRN_USED, wall, rig_on_done, &second);
	rig_wait(&rig, &first);
	ck_assert_int_eq(first.err, BC_OK);
	if (err == BC_OK) {
		/* The first was done already. */
		rig_wait(&rig, &second);
		err = second.err == BC_E_NOTFOUND ? BC_E_LIMIT : second.err;
	}
	ck_assert_int_eq(err, BC_E_LIMIT);
	ck_assert_int_eq(resolve(hold.intent, JRN_USED), BC_E_NOTFOUND);
	rig_close(&rig);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM resolutions WHERE how ="
					      " 'never_started' AND note = 'operator'"),
			 1);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
}
END_TEST

/* done() of a reopening, told apart from each() by the same argument. */
struct reopened {
	struct met met;
	struct rig_answer answer;
};

static void on_reopened(void *arg, const struct jrn_orphan *orphan)
{
	struct reopened *reopened = arg;

	ck_assert(!reopened->answer.here);
	on_orphan(&reopened->met, orphan);
}

static void on_reopen_done(void *arg, enum bc_err err)
{
	struct reopened *reopened = arg;

	rig_on_done(&reopened->answer, err);
}

static struct reopened reopen(uint64_t intent)
{
	struct reopened reopened = {.met = {.count = 0}};

	ck_assert_int_eq(jrn_reopen(rig.port, intent, on_reopened, on_reopen_done, &reopened),
			 BC_OK);
	rig_wait(&rig, &reopened.answer);
	return reopened;
}

START_TEST(j3_a_parked_undo_is_taken_up_again)
{
	struct jrn_intent intent = intent_of("guess", "a", false);
	struct jrn_intent blocked = intent_of("blocked", "a", false);
	struct jrn_ticket guess = executed("guess", "a", true);
	struct reopened reopened;
	struct rig_answer undo;

	jrn_abandon(rig.port, &guess, wall);
	ask_undo(&guess, "guess", "a", &undo);
	rig_wait(&rig, &undo);
	jrn_undo_end(rig.port, &guess, JRN_PARKED, &undo.ticket, JRN_IN_DOUBT, wall);
	flush();
	ck_assert_int_eq(settled("guess", "parked"), 1);

	reopened = reopen(guess.intent);
	ck_assert_int_eq(reopened.answer.err, BC_OK);
	ck_assert_uint_eq(reopened.met.count, 1);
	ck_assert(reopened.met.last.has_undo);
	ck_assert_str_eq(reopened.met.last.undo.key, undo.ticket.key);
	ck_assert_int_eq(jrn_intend(rig.port, &blocked, NULL, rig_on_ticket, &undo), BC_E_AGAIN);
	/* Once at a time. */
	ck_assert_int_eq(reopen(guess.intent).answer.err, BC_E_NOTFOUND);

	undo = (struct rig_answer){.here = false};
	ck_assert_int_eq(jrn_undo(rig.port, &reopened.met.last.ticket, &intent,
				  &reopened.met.last.undo, rig_on_ticket, &undo),
			 BC_OK);
	rig_wait(&rig, &undo);
	end_undone(&reopened.met.last.ticket, &undo);
	rig_close(&rig);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM resolutions WHERE"
					      " (intent = 1 AND how = 'undone') OR how = 'used'"),
			 2);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_uint_eq(rig.recovery.effects_open, 0);
}
END_TEST

START_TEST(j7_an_undo_in_doubt_is_resolved_with_its_effect)
{
	struct jrn_ticket guess = executed("guess", "a", true);
	struct rig_answer undo;

	jrn_abandon(rig.port, &guess, wall);
	ask_undo(&guess, "guess", "a", &undo);
	rig_wait(&rig, &undo);
	jrn_undo_end(rig.port, &guess, JRN_PARKED, &undo.ticket, JRN_IN_DOUBT, wall);
	flush();
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_IN_DOUBT), 1);
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_PARKED), 1);
	ck_assert_int_eq(resolve(undo.ticket.intent, JRN_USED), BC_E_NOTFOUND);
	ck_assert_int_eq(resolve(guess.intent, JRN_UNDONE), BC_OK);
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_IN_DOUBT), 0);
	ck_assert_int_eq(bc_metric_get(BC_M_JOURNAL_PARKED), 0);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM resolutions WHERE"
					      " (intent = 1 AND how = 'undone')"
					      " OR (intent = 2 AND how = 'used')"),
			 2);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
}
END_TEST

START_TEST(j3_parked_again_says_nothing_new)
{
	struct jrn_ticket guess = executed("guess", "a", true);
	struct reopened reopened;

	jrn_abandon(rig.port, &guess, wall);
	jrn_settle(rig.port, &guess, JRN_PARKED, wall);
	for (unsigned i = 0; i < 3; i++) {
		reopened = reopen(guess.intent);
		ck_assert_int_eq(reopened.answer.err, BC_OK);
		jrn_settle(rig.port, &reopened.met.last.ticket, JRN_PARKED, wall);
	}
	rig_close(&rig);
	ck_assert_int_eq(rig_number(rig.path, "SELECT count(*) FROM resolutions"), 0);
	ck_assert_int_eq(settled("guess", "parked"), 1);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
}
END_TEST

/* ---- old files ---- */

/* The file as the first format had it; its records are the same. */
static void make_old(void)
{
	static const char sql[] =
		"DROP INDEX intents_undoing; DROP INDEX resolutions_by_age;"
		"DROP INDEX settlements_by_age; DROP INDEX settlements_pending;"
		"DROP TABLE decisions; DROP TABLE resolutions;"
		"ALTER TABLE intents DROP COLUMN undoes; ALTER TABLE intents DROP COLUMN sealed;"
		"ALTER TABLE results DROP COLUMN sealed;"
		"CREATE INDEX settlements_by_age ON settlements (wall) WHERE how <> 'in_doubt';"
		"CREATE INDEX settlements_in_doubt ON settlements (intent) WHERE how = 'in_doubt';"
		"PRAGMA user_version = 1;";
	sqlite3 *db = NULL;

	ck_assert_int_eq(sqlite3_open(rig.path, &db), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s",
		      sqlite3_errmsg(db));
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

START_TEST(a_file_of_the_first_format_is_taken_over)
{
	struct jrn_ticket doubtful = rig_effect(&rig, "doubtful", JRN_HOLD);
	struct jrn_ticket guess = executed("guess", "a", true);
	struct met met = {.count = 0};

	jrn_settle(rig.port, &doubtful, JRN_IN_DOUBT, wall);
	(void)guess;
	rig_close(&rig);
	make_old();
	ck_assert_int_ne(rig_verify(rig.path, NULL, 0), 0); /* a reader changes nothing */
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
	jrn_adopt(rig.port, on_orphan, &met);
	ck_assert_uint_eq(met.count, 1);
	ck_assert_uint_eq(met.last.ticket.intent, guess.intent);
	jrn_settle(rig.port, &met.last.ticket, JRN_IN_DOUBT, wall);
	ck_assert_int_eq(resolve(doubtful.intent, JRN_USED), BC_OK);
	rig_close(&rig);
	ck_assert_int_eq(rig_verify(rig.path, NULL, 0), 0);
	ck_assert_int_eq(rig_number(rig.path, "PRAGMA user_version"), 2);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal_undo");
	TCase *tc = tcase_create("undo");
	int status;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 55);
	tcase_add_test(tc, j3_commit_and_abandon_are_records);
	tcase_add_test(tc, j3_the_newest_of_a_session_is_undone_first);
	tcase_add_test(tc, j3_an_undo_waits_for_one_in_flight);
	tcase_add_test(tc, j3_what_was_followed_is_never_undone);
	tcase_add_test(tc, j3_a_follower_that_did_nothing_is_none);
	tcase_add_loop_test(tc, j3_an_undo_waits_for_the_decision_of_a_follower, 0, 2);
	tcase_add_loop_test(tc, j4_whose_turn_it_is_can_be_asked, 0, 2);
	tcase_add_test(tc, j3_nothing_with_its_tag_starts_meanwhile);
	tcase_add_test(tc, j9_the_bytes_of_a_session_are_bounded);
	tcase_add_loop_test(tc, j10_a_rollback_killed_after_each_step_is_taken_up, 1,
			    UNDO_STEPS + 1);
	tcase_add_test(tc, j4_a_recorded_undo_keeps_its_key);
	tcase_add_test(tc, j3_a_follower_is_known_after_a_crash);
	tcase_add_test(tc, j4_a_committed_effect_is_left_alone);
	tcase_add_test(tc, j7_the_operator_resolves_once);
	tcase_add_test(tc, j3_a_parked_undo_is_taken_up_again);
	tcase_add_test(tc, j7_an_undo_in_doubt_is_resolved_with_its_effect);
	tcase_add_test(tc, j3_parked_again_says_nothing_new);
	tcase_add_test(tc, a_file_of_the_first_format_is_taken_over);
	suite_add_tcase(suite, tc);
	rig_base_make();
	status = tap_run(suite);
	rig_base_remove();
	return status;
}
