/* The life of a guess: its table of edges made into code, and the one writer of its state. */
#include "daemon/spec/guess.h"

#include <assert.h>
#include <stdlib.h>

static const char *const state_names[] = {
#define STATE(id, name) name,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/spec/guess_fsm.def"
};

static const char *const event_names[] = {
#define STATE(id, name)
#define EVENT(id, name) name,
#define EDGE(from, on, to)
#include "daemon/spec/guess_fsm.def"
};

static_assert(BC_ARRAY_LEN(state_names) == GUESS_STATE__COUNT, "a state has no name");
static_assert(BC_ARRAY_LEN(event_names) == GUESS_EVENT__COUNT, "an event has no name");

static const char *const trigger_names[] = {
#define TRIGGER(id, name) name,
#include "daemon/spec/trigger.def"
};

static_assert(BC_ARRAY_LEN(trigger_names) == SPEC_TRIGGER__COUNT, "a trigger has no name");

const char *spec_trigger_name(enum spec_trigger trigger)
{
	BC_BUG_ON(trigger >= SPEC_TRIGGER__COUNT);
	return trigger_names[trigger];
}

const char *guess_state_name(enum guess_state state)
{
	BC_BUG_ON(state >= GUESS_STATE__COUNT);
	return state_names[state];
}

const char *guess_event_name(enum guess_event event)
{
	BC_BUG_ON(event >= GUESS_EVENT__COUNT);
	return event_names[event];
}

enum guess_state guess_next(enum guess_state from, enum guess_event on)
{
	switch (BC_FSM_KEY(from, on)) {
#define STATE(id, name)
#define EVENT(id, name)
#define EDGE(from, on, to)                            \
	case BC_FSM_KEY(GUESS_##from, GUESS_EV_##on): \
		return GUESS_##to;
#include "daemon/spec/guess_fsm.def"
	default:
		return GUESS_STATE__COUNT;
	}
}

void guess_check(const struct guess *guess)
{
	BC_CHECK(guess, GUESS_MAGIC);
	switch (guess->state) {
	case GUESS_PROPOSED:
		BC_BUG_ON(guess->call != NULL);
		break;
	case GUESS_RUNNING:
	case GUESS_DONE:
	case GUESS_TAKEN:
		BC_BUG_ON(guess->call == NULL);
		break;
	case GUESS_WITHDRAWN:
		break;
	case GUESS_STATE__COUNT:
		BC_BUG_ON(true);
	}
}

void guess_move(struct guess *guess, enum guess_event event)
{
	enum guess_state next;

	BC_CHECK(guess, GUESS_MAGIC);
	next = guess_next(guess->state, event);
	BC_BUG_ON(next == GUESS_STATE__COUNT);
	guess->state = next;
	guess_check(guess);
}

struct guess *guess_free(struct guess *guess)
{
	if (guess == NULL) {
		return NULL;
	}
	BC_CHECK(guess, GUESS_MAGIC);
	guess->magic = 0;
	free(guess->arguments);
	free(guess->said);
	free(guess);
	return NULL;
}
