/* What the daemon learns from its journal when it starts, and from which calls in there it learns nothing. */
#include "daemon/recall.h"
#include "daemon/spec/pattern.h"
#include "daemon/thrift.h"
#include "tests/unit/journal_rig.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <unistd.h>

#define PAIRS 3 /* a pattern predicts when it was seen twice */

static const bc_usec wall = 1760000000 * BC_USEC_PER_SEC;
static struct rig rig;
static struct cfg_tool tools[2];
static struct cfg cfg;
static struct worker workers[3];
static struct server server;

static void setup(void)
{
	rig_init(&rig);
	ck_assert_int_eq(rig_open(&rig), BC_OK);
	tools[0] = (struct cfg_tool){.name = "find"};
	tools[1] = (struct cfg_tool){.name = "lines"};
	cfg = (struct cfg){.tool = tools, .tool_count = 2, .journal = {.path = rig.path}};
	cfg.speculation.learn_half_life = 3600 * BC_USEC_PER_SEC;
	server = (struct server){
		.workers = workers, .worker_count = BC_ARRAY_LEN(workers), .thrift = thrift_new()};
	/* The last one found no memory for its patterns. */
	workers[0].patterns = patterns_new();
	workers[1].patterns = patterns_new();
	workers[2].patterns = NULL;
}

static void teardown(void)
{
	workers[0].patterns = patterns_free(workers[0].patterns);
	workers[1].patterns = patterns_free(workers[1].patterns);
	server.thrift = thrift_free(server.thrift);
	rig_fini(&rig);
}

/* How the second call of each pair differs from one that is learnt from. */
struct kind {
	const char *tool;
	const char *session;
	const char *sealed;
	bool guess;
	bool withheld;
	int status;
	enum jrn_settlement how;
	unsigned learnt;
};

static void call(const struct kind *kind, const char *arguments, const char *output, bc_usec at)
{
	struct jrn_intent intent = rig_intent(kind->tool, JRN_READ);
	struct jrn_ticket ticket;

	intent.session = bc_span_str(kind->session);
	intent.arguments = bc_span_str(arguments);
	intent.sealed = bc_span_str(kind->sealed);
	intent.speculative = kind->guess;
	intent.wall = at;
	ck_assert_int_eq(jrn_intend(rig.port, &intent, &ticket, NULL, NULL), BC_OK);
	ck_assert_int_eq(jrn_result(rig.port, &ticket, kind->status, bc_span_str(output), at + 10,
				    NULL, NULL),
			 BC_OK);
	jrn_settle(rig.port, &ticket, kind->how, at + 20);
}

/* A customer is found, then the lines of the customer's order, of another order each time. */
static void pairs(const struct kind *second)
{
	static const struct kind first = {
		.tool = "find", .session = "s", .sealed = "", .status = 200, .how = JRN_USED};
	bc_usec at = wall - 1000000;

	for (unsigned i = 0; i < PAIRS; i++) {
		char text[32];

		(void)snprintf(text, sizeof(text), "{\"id\":\"o-%u\"}", i);
		call(&first, "{\"name\":\"Ann\"}", text, at);
		call(second, text, "{}", at + 100);
		at += 1000;
	}
	/* What follows an effect that is durable is on the disk, too. */
	(void)rig_effect(&rig, "barrier", JRN_HOLD);
}

static unsigned predicted(struct patterns *patterns)
{
	const struct pattern_call found = {.tool = "find",
					   .arguments = "{}",
					   .output = BC_SPAN_LIT("{\"id\":\"o-7\"}"),
					   .turn = 9,
					   .started = 1,
					   .finished = 2};
	struct pattern_guess out[PATTERN_GUESSES_MAX];
	unsigned count = pattern_predict(patterns, &found, out);

	for (unsigned i = 0; i < count; i++) {
		ck_assert_str_eq(out[i].tool, "lines");
		pattern_guess_release(&out[i]);
	}
	return count;
}

static bool thrift_knows(const char *tool)
{
	char line[64];
	struct bc_buf out;
	bool knows;

	(void)snprintf(line, sizeof(line), "tool=%s ", tool);
	bc_buf_init(&out, 10000);
	thrift_command(server.thrift, &cfg, BC_SPAN_LIT("show"), wall, &out);
	knows = memmem(bc_buf_span(&out).ptr, bc_buf_len(&out), line, strlen(line)) != NULL;
	bc_buf_release(&out);
	return knows;
}

static const struct kind kinds[] = {
	{"lines", "s", "", false, false, 200, JRN_USED, 1},
	{"lines", "s", "", true, false, 200, JRN_USED, 1},
	/* The guess was sent without the argument, the real call was not. */
	{"lines", "s", "", true, true, 200, JRN_USED, 0},
	{"lines", "s", "", false, true, 200, JRN_USED, 1},
	{"lines", "s", "sealed", false, false, 200, JRN_USED, 0},
	{"lines", "s", "", false, false, 404, JRN_USED, 0},
	{"lines", "s", "", true, false, 200, JRN_UNUSED, 0},
	{"gone", "s", "", true, false, 200, JRN_USED, 0},
	{"lines", "t", "", false, false, 200, JRN_USED, 0},
};

START_TEST(it_learns_from_calls_that_say_what_was_called)
{
	static const char *const withheld[] = {"id"};
	const struct kind *kind = &kinds[_i];

	if (kind->withheld) {
		tools[1].withheld_arguments = (struct cfg_strings){.items = withheld, .count = 1};
	}
	pairs(kind);
	recall(&server, &cfg, wall);
	ck_assert_uint_eq(predicted(workers[0].patterns), kind->learnt);
	ck_assert_uint_eq(predicted(workers[1].patterns), kind->learnt);
	/* How often guesses are used is learnt from each of them, whatever was sent. */
	ck_assert_int_eq(thrift_knows("lines"), kind->guess && kind->tool == tools[1].name);
	ck_assert(!thrift_knows("find"));
	ck_assert(!thrift_knows("gone"));
}
END_TEST

/* Run recall() with the log in a file; the text is valid until the next call. */
static const char *told(void)
{
	static char text[1000];
	FILE *file = tmpfile();
	int before = dup(STDERR_FILENO);
	size_t len;

	ck_assert(file != NULL && before >= 0);
	ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
	recall(&server, &cfg, wall);
	ck_assert_int_ge(dup2(before, STDERR_FILENO), 0);
	(void)close(before);
	rewind(file);
	len = fread(text, 1, sizeof(text) - 1, file);
	text[len] = '\0';
	(void)fclose(file);
	return text;
}

START_TEST(it_says_what_it_learnt_from)
{
	pairs(&kinds[1]);
	ck_assert_str_eq(told(), "<6>learnt from 3 guesses in the journal\n");
}
END_TEST

START_TEST(of_real_calls_nothing_is_said)
{
	pairs(&kinds[0]);
	ck_assert_str_eq(told(), "");
}
END_TEST

START_TEST(a_journal_that_cannot_be_read_is_said_and_the_daemon_starts)
{
	FILE *file;

	pairs(&kinds[1]);
	rig_close(&rig);
	if (_i == 0) {
		cfg.journal.path = "/nonexistent/journal.db";
	} else {
		/* The head of the file, where all begins. */
		file = fopen(rig.path, "r+b");
		ck_assert_ptr_nonnull(file);
		ck_assert_uint_eq(fwrite("no journal at all", 1, 17, file), 17);
		(void)fclose(file);
	}
	ck_assert_str_eq(told(),
			 "<4>what the journal knows of calls cannot be read, learning anew\n");
	ck_assert_uint_eq(predicted(workers[0].patterns), 0);
	ck_assert(!thrift_knows("lines"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("recall");
	TCase *tc = tcase_create("recall");
	int status;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, it_learns_from_calls_that_say_what_was_called, 0,
			    (int)BC_ARRAY_LEN(kinds));
	tcase_add_test(tc, it_says_what_it_learnt_from);
	tcase_add_test(tc, of_real_calls_nothing_is_said);
	tcase_add_loop_test(tc, a_journal_that_cannot_be_read_is_said_and_the_daemon_starts, 0, 2);
	suite_add_tcase(suite, tc);
	rig_base_make();
	status = tap_run(suite);
	rig_base_remove();
	return status;
}
