/* How guesses are used by tool and session: whose word counts, and what a careful one keeps others from. */
#include "tests/unit/spec_rig.h"
#include "tests/unit/tap.h"

#include <check.h>

#define MS BC_USEC_PER_MS

static const struct cfg_tool read_tool = {
	.name = "read", .effect = CFG_EFFECT_READ, .disclosure = CFG_DISCLOSURE_FIRST_PARTY};

/* The caller has spoken for half a second. */
static void begin_turn(enum spec_mode mode)
{
	struct spec_conf conf = {.mode = mode,
				 .interval = 400 * MS,
				 .stable_for = 300 * MS,
				 .speech_max = 10000 * MS,
				 .passes_max = 3,
				 .calls_max = 2};

	spec_begin(&conf);
	spec_heard(spec, 500 * MS, 500 * MS);
}

static unsigned verdict(void)
{
	return spec_verdict(spec, named);
}

static struct cfg_tool own_mode(enum cfg_guessing guessing)
{
	return (struct cfg_tool){.name = "own",
				 .effect = CFG_EFFECT_READ,
				 .disclosure = CFG_DISCLOSURE_LOCAL,
				 .speculation = guessing};
}

static enum spec_mode mode_of(enum spec_mode mode, enum cfg_guessing session,
			      enum cfg_guessing tool)
{
	struct spec_conf other = {.mode = mode, .session = session};
	struct cfg_tool own = own_mode(tool);

	return spec_mode_of(&other, &own);
}

START_TEST(the_most_careful_word_counts)
{
	ck_assert_int_eq(mode_of(SPEC_CONFIRM, CFG_GUESSING_INHERIT, CFG_GUESSING_INHERIT),
			 SPEC_CONFIRM);
	/* A single one may say more than the default ... */
	ck_assert_int_eq(mode_of(SPEC_OFF, CFG_GUESSING_CONFIRM, CFG_GUESSING_INHERIT),
			 SPEC_CONFIRM);
	ck_assert_int_eq(mode_of(SPEC_STRICT, CFG_GUESSING_INHERIT, CFG_GUESSING_INJECT),
			 SPEC_INJECT);
	/* ... but not more than another one. */
	ck_assert_int_eq(mode_of(SPEC_CONFIRM, CFG_GUESSING_STRICT, CFG_GUESSING_INJECT),
			 SPEC_STRICT);
	ck_assert_int_eq(mode_of(SPEC_CONFIRM, CFG_GUESSING_INJECT, CFG_GUESSING_OFF), SPEC_OFF);
	ck_assert_int_eq(mode_of(SPEC_CONFIRM, CFG_GUESSING_OFF, CFG_GUESSING_INJECT), SPEC_OFF);
}
END_TEST

START_TEST(a_strict_tool_leaves_the_whole_verdict_to_the_provider)
{
	struct cfg_tool own = own_mode(_i == 0 ? CFG_GUESSING_STRICT : CFG_GUESSING_CONFIRM);
	uint64_t number;

	begin_turn(SPEC_CONFIRM);
	number = begin_at_pause(500 * MS, false);
	name(number, &own, "{}");
	name(number, &read_tool, "{}");
	ck_assert(_i == 0 ? !spec_expects_verdict(spec) : spec_expects_verdict(spec));
	spec_pass_end(spec, number, true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), _i == 0 ? 0 : 2);
	/* It is guessed all the same. */
	ck_assert_ptr_eq(spec_next_stable(spec)->tool, &own);
	spec_end();
}
END_TEST

START_TEST(a_tool_that_is_off_is_never_guessed)
{
	struct cfg_tool own = own_mode(CFG_GUESSING_OFF);
	uint64_t number;

	begin_turn(SPEC_CONFIRM);
	number = begin_at_pause(500 * MS, false);
	name(number, &own, "{}");
	name(number, &read_tool, "{}");
	spec_pass_end(spec, number, true);
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), 0);
	ck_assert_ptr_eq(spec_next_stable(spec)->tool, &read_tool);
	spec_realise(spec, spec_next_stable(spec));
	ck_assert_ptr_null(spec_next_stable(spec));
	spec_end();
}
END_TEST

START_TEST(a_strict_read_in_hand_keeps_others_from_being_injected)
{
	struct cfg_tool own = own_mode(_i == 0 ? CFG_GUESSING_STRICT : CFG_GUESSING_INJECT);
	uint64_t number;

	begin_turn(SPEC_INJECT);
	number = begin_at_pause(500 * MS, false);
	name(number, &own, "{}");
	name(number, &read_tool, "{}");
	spec_pass_end(spec, number, true);
	spec_heard(spec, 2000 * MS, 600 * MS); /* more words, of which no pass knows */
	for (int i = 0; i < 2; i++) {
		spec_finished(spec, run());
	}
	spec_turn_commit(spec);
	ck_assert_uint_eq(verdict(), _i == 0 ? 0 : 2);
	spec_end();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("spec_modes");
	TCase *c = tcase_create("spec_modes");

	tcase_add_test(c, the_most_careful_word_counts);
	tcase_add_loop_test(c, a_strict_tool_leaves_the_whole_verdict_to_the_provider, 0, 2);
	tcase_add_test(c, a_tool_that_is_off_is_never_guessed);
	tcase_add_loop_test(c, a_strict_read_in_hand_keeps_others_from_being_injected, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
