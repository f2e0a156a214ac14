/* Which call follows from which: what is learnt, when it predicts, and what it forgets. */
#include "daemon/spec/pattern.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define ORDER "{\"order\":{\"id\":\"%s\",\"lines\":[{\"sku\":\"%s\"}]},\"n\":1}"

static struct patterns *patterns;
static struct pattern_trail *trail;
static struct pattern_guess out[PATTERN_GUESSES_MAX];
static bc_usec now;

static void setup(void)
{
	now = 1000;
	patterns = patterns_new();
	trail = pattern_trail_new();
	ck_assert(patterns != NULL && trail != NULL);
}

static void teardown(void)
{
	patterns = patterns_free(patterns);
	trail = pattern_trail_free(trail);
}

static struct pattern_call call(const char *tool, uint64_t turn, const char *arguments,
				const char *output)
{
	now += 100;
	return (struct pattern_call){.tool = tool,
				     .arguments = arguments,
				     .output = bc_span_str(output),
				     .turn = turn,
				     .started = now,
				     .finished = now + 50};
}

static void observe(const char *tool, uint64_t turn, const char *arguments, const char *output)
{
	struct pattern_call observed = call(tool, turn, arguments, output);

	pattern_observe(patterns, trail, &observed);
}

/* A call that changes (effect) or reads what has these tags. */
static void observe_tagged(const char *tool, uint64_t turn, const char *arguments,
			   const char *output, uint64_t tags, bool effect)
{
	struct pattern_call observed = call(tool, turn, arguments, output);

	observed.tags = tags;
	observed.effect = effect;
	pattern_observe(patterns, trail, &observed);
}

/* A customer is found, then the lines of the customer's order. */
static void pair(uint64_t turn, const char *id)
{
	char output[128];
	char arguments[64];

	(void)snprintf(output, sizeof(output), ORDER, id, "sku-9");
	(void)snprintf(arguments, sizeof(arguments), "{\"id\":\"%s\",\"deep\":false}", id);
	observe("find", turn, "{\"name\":\"Ann\"}", output);
	observe("lines", turn, arguments, "{}");
}

static unsigned predict(const char *tool, const char *arguments, const char *output)
{
	struct pattern_call seen = call(tool, 99, arguments, output);

	return pattern_predict(patterns, &seen, out);
}

static void expect(unsigned at, const char *tool, const char *arguments)
{
	ck_assert_str_eq(out[at].tool, tool);
	ck_assert_str_eq(out[at].arguments, arguments);
	pattern_guess_release(&out[at]);
}

START_TEST(a_pattern_predicts_when_it_was_seen_twice)
{
	pair(1, "o-1");
	ck_assert_uint_eq(predict("find", "{}", "{\"order\":{\"id\":\"o-7\"}}"), 0);
	pair(2, "o-2");
	ck_assert_uint_eq(predict("find", "{}", "{\"order\":{\"id\":\"o-7\"}}"), 1);
	expect(0, "lines", "{\"deep\":false,\"id\":\"o-7\"}");
	ck_assert_uint_eq(predict("find", "{}", "{\"order\":{}}"), 0); /* the place is empty */
	ck_assert_uint_eq(predict("find", "{}", "{\"order\":{\"id\":null}}"), 0);
	ck_assert_uint_eq(predict("find", "{}", "no JSON"), 0);
	ck_assert_uint_eq(predict("other", "{}", "{\"order\":{\"id\":\"o-7\"}}"), 0);
}
END_TEST

START_TEST(arguments_come_from_the_call_too_and_from_lists)
{
	observe("a", 1, "{\"city\":\"Bonn\"}", "[{\"x\":\"k1\"}]");
	observe("b", 1, "{\"town\":\"Bonn\",\"key\":\"k1\"}", "{}");
	observe("a", 2, "{\"city\":\"Kiel\"}", "[{\"x\":\"k2\"}]");
	observe("b", 2, "{\"town\":\"Kiel\",\"key\":\"k2\"}", "{}");
	ck_assert_uint_eq(predict("a", "{\"city\":\"Jena\"}", "[{\"x\":\"k3\"}]"), 1);
	expect(0, "b", "{\"key\":\"k3\",\"town\":\"Jena\"}");
}
END_TEST

START_TEST(what_comes_from_elsewhere_is_no_pattern)
{
	for (uint64_t turn = 1; turn < 5; turn++) {
		char arguments[32];

		(void)snprintf(arguments, sizeof(arguments), "{\"id\":\"y-%u\"}", (unsigned)turn);
		observe("a", turn, "{}", "{\"id\":\"x-1\"}");
		observe("b", turn, arguments, "{}");               /* from nowhere */
		observe("c", turn, "{\"on\":true,\"n\":1}", "{}"); /* always the same */
		observe("d", turn, "{}", "{}");                    /* nothing to take */
	}
	ck_assert_uint_eq(patterns_count(patterns), 0);
}
END_TEST

START_TEST(calls_that_ran_beside_each_other_do_not_follow)
{
	for (uint64_t turn = 1; turn < 4; turn++) {
		struct pattern_call a = call("a", turn, "{}", "{\"id\":\"x-1\"}");
		struct pattern_call b = call("b", turn, "{\"id\":\"x-1\"}", "{}");

		b.started = a.finished - 1;
		pattern_observe(patterns, trail, &a);
		pattern_observe(patterns, trail, &b);
	}
	ck_assert_uint_eq(predict("a", "{}", "{\"id\":\"x-2\"}"), 0);
}
END_TEST

START_TEST(misses_silence_a_pattern)
{
	char id[16];

	pair(1, "o-1");
	pair(2, "o-2");
	for (uint64_t turn = 3; turn < 8; turn++) {
		char output[128];

		(void)snprintf(id, sizeof(id), "o-%u", (unsigned)turn);
		(void)snprintf(output, sizeof(output), ORDER, id, "s");
		observe("find", turn, "{\"name\":\"Ann\"}", output); /* and nothing behind it */
	}
	/* (1 + 2) / (2 + 2 + 4): four windows have closed, the fifth is open. */
	ck_assert_uint_eq(predict("find", "{}", "{\"order\":{\"id\":\"o-7\"}}"), 0);
	for (uint64_t turn = 8; turn < 13; turn++) {
		(void)snprintf(id, sizeof(id), "o-%u", (unsigned)turn);
		pair(turn, id);
	}
	ck_assert_uint_eq(predict("find", "{}", "{\"order\":{\"id\":\"o-7\"}}"), 1);
	pattern_guess_release(&out[0]);
}
END_TEST

START_TEST(the_next_turn_is_a_pattern_of_its_own)
{
	observe("find", 1, "{}", "{\"id\":\"o-1\"}");
	observe("track", 2, "{\"id\":\"o-1\"}", "{}");
	observe("find", 5, "{}", "{\"id\":\"o-2\"}");
	observe("track", 6, "{\"id\":\"o-2\"}", "{}");
	observe("find", 9, "{}", "{\"id\":\"o-3\"}");
	ck_assert_uint_eq(predict("find", "{}", "{\"id\":\"o-3\"}"), 0); /* not in the same turn */
	ck_assert_uint_eq(pattern_predict_turn(patterns, trail, 9, out), 0);
	ck_assert_uint_eq(pattern_predict_turn(patterns, trail, 11, out), 0);
	ck_assert_uint_eq(pattern_predict_turn(patterns, trail, 10, out), 1);
	expect(0, "track", "{\"id\":\"o-3\"}");
}
END_TEST

/* What was read at A's end would be old when B is called: nobody has use for it. */
START_TEST(what_an_effect_has_changed_since_was_not_foretold)
{
	for (uint64_t turn = 1; turn < 9; turn += 2) {
		observe_tagged("add", turn, "{}", "{\"id\":\"o-1\"}", 1, true);
		observe_tagged("add", turn, "{}", "{\"id\":\"o-1\"}", _i == 0 ? 1 : 2, true);
		observe_tagged("show", turn, "{\"id\":\"o-1\"}", "{}", 1, false);
		observe_tagged("add", turn + 1, "{}", "{}", _i == 0 ? 1 : 2, true);
		observe_tagged("show", turn + 1, "{\"id\":\"o-1\"}", "{}", 1, false);
	}
	/* Behind the last effect that it reads from, and in the next turn where nothing has changed it there. */
	ck_assert_uint_eq(predict("add", "{}", "{\"id\":\"o-7\"}"), 1);
	expect(0, "show", "{\"id\":\"o-7\"}");
	observe_tagged("add", 9, "{}", "{\"id\":\"o-9\"}", 1, true);
	ck_assert_uint_eq(pattern_predict_turn(patterns, trail, 10, out), _i == 0 ? 0 : 1);
	if (_i != 0) {
		expect(0, "show", "{\"id\":\"o-9\"}");
	}
}
END_TEST

START_TEST(only_reads_are_learnt_to_follow)
{
	for (uint64_t turn = 1; turn < 4; turn++) {
		observe_tagged("find", turn, "{}", "{\"id\":\"o-1\"}", 1, false);
		observe_tagged("book", turn, "{\"id\":\"o-1\"}", "{}", 1, true);
	}
	ck_assert_uint_eq(patterns_count(patterns), 0);
}
END_TEST

START_TEST(tables_are_bounded_and_what_is_used_stays)
{
	char tool[32];
	char output[64];
	char arguments[64];

	pair(1, "o-1");
	pair(2, "o-2");
	for (unsigned i = 0; i < 2 * PATTERNS_MAX; i++) {
		(void)snprintf(tool, sizeof(tool), "t%u", i);
		(void)snprintf(output, sizeof(output), "{\"id\":\"id-%u\"}", i);
		(void)snprintf(arguments, sizeof(arguments), "{\"key\":\"id-%u\"}", i);
		observe(tool, 3 + i, "{}", output);
		observe("then", 3 + i, arguments, "{}");
		ck_assert_uint_eq(predict("find", "{}", "{\"order\":{\"id\":\"o-7\"}}"), 1);
		pattern_guess_release(&out[0]);
	}
	ck_assert_uint_eq(patterns_count(patterns), PATTERNS_MAX);
}
END_TEST

/* A customer's orders are found, then so many of them are looked at. */
static void orders(uint64_t turn, unsigned listed, unsigned looked_at)
{
	char output[256] = "{\"orders\":[";
	char arguments[64];

	for (unsigned i = 0; i < listed; i++) {
		size_t end = strlen(output);

		(void)snprintf(output + end, sizeof(output) - end, "%s\"W%u-%u\"",
			       i == 0 ? "" : ",", (unsigned)turn, i);
	}
	(void)snprintf(output + strlen(output), sizeof(output) - strlen(output), "]}");
	observe("find", turn, "{}", output);
	for (unsigned i = 0; i < looked_at; i++) {
		(void)snprintf(arguments, sizeof(arguments), "{\"id\":\"W%u-%u\"}", (unsigned)turn,
			       i);
		observe("look", turn, arguments, "{}");
	}
}

START_TEST(every_element_of_a_list_is_predicted)
{
	orders(1, 2, 2);
	orders(2, 3, 3);
	ck_assert_uint_eq(predict("find", "{}", "{\"orders\":[\"k1\",\"k2\",\"k3\",\"k4\"]}"), 4);
	expect(0, "look", "{\"id\":\"k1\"}");
	expect(1, "look", "{\"id\":\"k2\"}");
	for (unsigned i = 2; i < 4; i++) {
		pattern_guess_release(&out[i]);
	}
	ck_assert_uint_eq(predict("find", "{}", "{\"orders\":[]}"), 0);
	ck_assert_uint_eq(predict("find", "{}", "{\"orders\":\"k1\"}"), 0);
	ck_assert_uint_eq(predict("find", "{}",
				  "{\"orders\":[\"a1\",\"a2\",\"a3\",\"a4\",\"a5\",\"a6\",\"a7\","
				  "\"a8\",\"a9\"]}"),
			  PATTERN_GUESSES_MAX);
	for (unsigned i = 0; i < PATTERN_GUESSES_MAX; i++) {
		pattern_guess_release(&out[i]);
	}
}
END_TEST

START_TEST(one_element_of_many_is_its_own_pattern)
{
	for (uint64_t turn = 1; turn < 5; turn++) {
		orders(turn, 4, 1); /* only ever the newest */
	}
	ck_assert_uint_eq(predict("find", "{}", "{\"orders\":[\"k1\",\"k2\",\"k3\",\"k4\"]}"), 1);
	expect(0, "look", "{\"id\":\"k1\"}");
}
END_TEST

START_TEST(elements_count_by_their_share)
{
	/* Half of each list: an element's call is as likely as not. */
	for (uint64_t turn = 1; turn < 9; turn++) {
		orders(turn, 4, 2);
	}
	ck_assert_uint_eq(predict("find", "{}", "{\"orders\":[\"k1\",\"k2\",\"k3\",\"k4\"]}"), 4);
	for (unsigned i = 0; i < 4; i++) {
		pattern_guess_release(&out[i]);
	}
	/* And less than half. */
	for (uint64_t turn = 9; turn < 40; turn++) {
		orders(turn, 6, 2);
	}
	ck_assert_uint_eq(predict("find", "{}", "{\"orders\":[\"k1\",\"k2\",\"k3\",\"k4\"]}"), 2);
	expect(0, "look", "{\"id\":\"k1\"}");
	expect(1, "look", "{\"id\":\"k2\"}");
}
END_TEST

START_TEST(an_element_far_down_a_list_is_learnt_once)
{
	char output[512] = "[\"k0\"";

	for (unsigned i = 1; i < 40; i++) {
		size_t end = strlen(output);

		(void)snprintf(output + end, sizeof(output) - end, ",\"k%u\"", i);
	}
	(void)snprintf(output + strlen(output), sizeof(output) - strlen(output), "]");
	for (uint64_t turn = 1; turn < 9; turn++) {
		observe("list", turn, "{}", output);
		observe("look", turn, "{\"id\":\"k39\"}", "{}");
	}
	/* By its own place in the list, of this turn and of the one before, and by the look before. */
	ck_assert_uint_eq(patterns_count(patterns), 3);
}
END_TEST

START_TEST(arguments_of_one_call_come_from_one_element)
{
	for (uint64_t turn = 1; turn < 3; turn++) {
		observe("list", turn, "{}",
			"{\"at\":[{\"shop\":\"s1\",\"sku\":\"u1\"},{\"shop\":\"s2\",\"sku\":\"u2\"}]}");
		observe("stock", turn, "{\"shop\":\"s1\",\"sku\":\"u1\"}", "{}");
		observe("stock", turn, "{\"shop\":\"s2\",\"sku\":\"u2\"}", "{}");
		observe("cross", turn, "{\"shop\":\"s1\",\"sku\":\"u2\"}", "{}");
	}
	ck_assert_uint_eq(
		predict("list", "{}",
			"{\"at\":[{\"shop\":\"t1\",\"sku\":\"v1\"},{\"shop\":\"t2\",\"sku\":\"v2\"},"
			"{\"shop\":\"t3\"}]}"),
		3);
	expect(0, "stock", "{\"shop\":\"t1\",\"sku\":\"v1\"}");
	expect(1, "stock", "{\"shop\":\"t2\",\"sku\":\"v2\"}");
	expect(2, "cross", "{\"shop\":\"t1\",\"sku\":\"v2\"}"); /* no element has both */
}
END_TEST

START_TEST(a_result_may_be_the_value_itself)
{
	for (uint64_t turn = 1; turn < 3; turn++) {
		observe("whose", turn, "{}", "\"ann_1\"");
		observe("details", turn, "{\"user\":\"ann_1\"}", "{}");
	}
	ck_assert_uint_eq(predict("whose", "{}", "\"bob_2\""), 1);
	expect(0, "details", "{\"user\":\"bob_2\"}");
	ck_assert_uint_eq(predict("whose", "{}", "{}"), 0);
}
END_TEST

START_TEST(what_is_too_large_or_broken_is_left_alone)
{
	char *large = malloc(PATTERN_OUTPUT_MAX + 32);

	ck_assert_ptr_nonnull(large);
	memset(large, 'x', PATTERN_OUTPUT_MAX + 31);
	large[PATTERN_OUTPUT_MAX + 31] = '\0';
	observe("a", 1, "{\"id\":\"k-1\"}", large);
	observe("b", 1, "{\"id\":\"k-1\"}", "{}"); /* from the arguments, at least */
	observe("c", 1, "[]", "{}");
	observe("d", 1, "{", "{}");
	observe("e", 1,
		"{\"a\":\"k-1\",\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1}",
		"{}");
	ck_assert_uint_gt(patterns_count(patterns), 0);
	ck_assert_uint_eq(predict("a", "{\"id\":\"k-1\"}", large), 0);
	free(large);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pattern");
	TCase *tcase = tcase_create("pattern");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_pattern_predicts_when_it_was_seen_twice);
	tcase_add_test(tcase, arguments_come_from_the_call_too_and_from_lists);
	tcase_add_test(tcase, what_comes_from_elsewhere_is_no_pattern);
	tcase_add_test(tcase, calls_that_ran_beside_each_other_do_not_follow);
	tcase_add_test(tcase, misses_silence_a_pattern);
	tcase_add_test(tcase, the_next_turn_is_a_pattern_of_its_own);
	tcase_add_loop_test(tcase, what_an_effect_has_changed_since_was_not_foretold, 0, 2);
	tcase_add_test(tcase, only_reads_are_learnt_to_follow);
	tcase_add_test(tcase, tables_are_bounded_and_what_is_used_stays);
	tcase_add_test(tcase, every_element_of_a_list_is_predicted);
	tcase_add_test(tcase, one_element_of_many_is_its_own_pattern);
	tcase_add_test(tcase, elements_count_by_their_share);
	tcase_add_test(tcase, an_element_far_down_a_list_is_learnt_once);
	tcase_add_test(tcase, arguments_of_one_call_come_from_one_element);
	tcase_add_test(tcase, a_result_may_be_the_value_itself);
	tcase_add_test(tcase, what_is_too_large_or_broken_is_left_alone);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
