/* The life of a guess: which event leads where, and that nothing else does. */
#include "daemon/spec/guess.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <signal.h>

START_TEST(every_pair_of_state_and_event_is_an_edge_or_a_bug)
{
	static const struct {
		enum guess_state from;
		enum guess_event on;
		enum guess_state to;
	} edges[] = {{GUESS_PROPOSED, GUESS_EV_DISPATCH, GUESS_RUNNING},
		     {GUESS_PROPOSED, GUESS_EV_WITHDRAW, GUESS_WITHDRAWN},
		     {GUESS_RUNNING, GUESS_EV_FINISH, GUESS_DONE},
		     {GUESS_RUNNING, GUESS_EV_TAKE, GUESS_TAKEN},
		     {GUESS_RUNNING, GUESS_EV_WITHDRAW, GUESS_WITHDRAWN},
		     {GUESS_DONE, GUESS_EV_TAKE, GUESS_TAKEN},
		     {GUESS_DONE, GUESS_EV_WITHDRAW, GUESS_WITHDRAWN},
		     {GUESS_WITHDRAWN, GUESS_EV_WITHDRAW, GUESS_WITHDRAWN}};
	unsigned found = 0;

	for (unsigned from = 0; from < GUESS_STATE__COUNT; from++) {
		for (unsigned on = 0; on < GUESS_EVENT__COUNT; on++) {
			enum guess_state to = GUESS_STATE__COUNT;

			for (size_t i = 0; i < BC_ARRAY_LEN(edges); i++) {
				to = edges[i].from == from && edges[i].on == on ? edges[i].to : to;
			}
			found += to != GUESS_STATE__COUNT;
			ck_assert_msg(guess_next((enum guess_state)from, (enum guess_event)on) ==
					      to,
				      "%s on %s", guess_state_name((enum guess_state)from),
				      guess_event_name((enum guess_event)on));
		}
	}
	ck_assert_uint_eq(found, BC_ARRAY_LEN(edges));
}
END_TEST

START_TEST(a_pair_without_an_edge_aborts)
{
	struct guess guess = {.magic = GUESS_MAGIC, .state = GUESS_PROPOSED};

	guess_move(&guess, GUESS_EV_TAKE);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("guess");
	TCase *c = tcase_create("guess");

	tcase_add_test(c, every_pair_of_state_and_event_is_an_edge_or_a_bug);
	tcase_add_test_raise_signal(c, a_pair_without_an_edge_aborts, SIGABRT);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
