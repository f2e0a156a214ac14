#include "daemon/spec/spec.h"

#include "daemon/config/config.h"
#include "daemon/spec/guess.h"

#include <stdlib.h>
#include <string.h>

#define SPEC_MAGIC 0x73706563u

TAILQ_HEAD(guess_list, guess);

struct spec {
	uint32_t magic;
	struct spec_conf conf;
	/* of the running turn and, until they are missed, of the last one */
	struct guess_list guesses;
	unsigned guess_count;
	unsigned running; /* guesses in state RUNNING */
	uint64_t turn;
	bool committed; /* the running turn */

	/* Passes; positions are stream time (G4). */
	uint64_t pass;       /* number of the running or last pass, 0: none yet */
	uint64_t pass_valid; /* number of the last valid one */
	uint64_t pass_turn;  /* turn the running or last pass is about */
	bool pass_running;
	bc_usec pass_horizon; /* of the running or last pass */
	unsigned passes_in_turn;
	bc_usec pass_last; /* position at which the last pass of the turn began */

	/* What was heard. */
	bc_usec position;
	bc_usec last_voiced;
	bc_usec speech_since; /* begin of the unbroken speech */
	bool speech;
};

struct spec *spec_new(const struct spec_conf *conf)
{
	struct spec *spec = calloc(1, sizeof(*spec));

	if (spec == NULL) {
		return NULL;
	}
	spec->magic = SPEC_MAGIC;
	spec->conf = *conf;
	TAILQ_INIT(&spec->guesses);
	return spec;
}

static void unlink_guess(struct spec *spec, struct guess *guess)
{
	TAILQ_REMOVE(&spec->guesses, guess, link);
	spec->guess_count--;
}

struct spec *spec_free(struct spec *spec)
{
	struct guess *guess;

	if (spec == NULL) {
		return NULL;
	}
	BC_CHECK(spec, SPEC_MAGIC);
	while ((guess = TAILQ_FIRST(&spec->guesses)) != NULL) {
		BC_BUG_ON(guess->call != NULL);
		unlink_guess(spec, guess);
		guess_free(guess);
	}
	spec->magic = 0;
	free(spec);
	return NULL;
}

void spec_turn_begin(struct spec *spec, uint64_t turn)
{
	BC_CHECK(spec, SPEC_MAGIC);
	BC_BUG_ON(turn <= spec->turn);
	spec->turn = turn;
	spec->committed = false;
	spec->passes_in_turn = 0;
}

void spec_turn_commit(struct spec *spec)
{
	BC_CHECK(spec, SPEC_MAGIC);
	spec->committed = true;
}

void spec_heard(struct spec *spec, bc_usec position, bc_usec last_voiced)
{
	spec->position = position;
	spec->last_voiced = last_voiced;
}

void spec_speech(struct spec *spec, bc_usec position, bool speech)
{
	spec->speech = speech;
	if (speech) {
		spec->speech_since = position;
	}
}

bool spec_pass_may_start(const struct spec *spec)
{
	BC_CHECK(spec, SPEC_MAGIC);
	if (spec->pass_running || spec->committed || spec->turn == 0 ||
	    spec->passes_in_turn >= spec->conf.passes_max) {
		return false;
	}
	if (spec->passes_in_turn > 0 && spec->position - spec->pass_last < spec->conf.interval) {
		return false;
	}
	return !spec->speech || spec->position - spec->speech_since <= spec->conf.speech_max;
}

uint64_t spec_pass_begin(struct spec *spec, bc_usec horizon)
{
	BC_BUG_ON(!spec_pass_may_start(spec));
	spec->pass_running = true;
	spec->pass_turn = spec->turn;
	spec->pass_horizon = horizon;
	spec->pass_last = spec->position;
	spec->passes_in_turn++;
	return ++spec->pass;
}

bool spec_pass_is_complete(const struct spec *spec)
{
	return spec->last_voiced <= spec->pass_horizon;
}

bool spec_pass_is_running(const struct spec *spec)
{
	return spec->pass_running;
}

static struct guess *find(struct spec *spec, const struct spec_call *call)
{
	struct guess *guess;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->tool == call->tool && guess->turn == call->turn &&
		    guess->occurrence == call->occurrence && guess->state != GUESS_WITHDRAWN &&
		    strcmp(guess->arguments, call->arguments) == 0) {
			return guess;
		}
	}
	return NULL;
}

/* How many equal calls the running pass has named before. */
static unsigned named_before(struct spec *spec, const struct cfg_tool *tool, const char *arguments)
{
	unsigned count = 0;
	struct guess *guess;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->named && guess->tool == tool && guess->turn == spec->pass_turn &&
		    strcmp(guess->arguments, arguments) == 0) {
			count++;
		}
	}
	return count;
}

static bool may_be_guessed(const struct cfg_tool *tool)
{
	return tool->effect == CFG_EFFECT_READ && tool->disclosure != CFG_DISCLOSURE_THIRD_PARTY;
}

enum bc_err spec_pass_names(struct spec *spec, const struct cfg_tool *tool, const char *arguments)
{
	struct spec_call named = {.tool = tool, .arguments = arguments, .turn = spec->pass_turn};
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	BC_BUG_ON(!spec->pass_running);
	if (!may_be_guessed(tool)) {
		return BC_OK;
	}
	named.occurrence = named_before(spec, tool, arguments);
	guess = find(spec, &named);
	if (guess != NULL) {
		guess->named = true;
		return BC_OK;
	}
	if (spec->guess_count >= SPEC_GUESSES_MAX) {
		return BC_E_LIMIT;
	}
	guess = calloc(1, sizeof(*guess));
	if (guess == NULL) {
		return BC_E_NOMEM;
	}
	*guess = (struct guess){.magic = GUESS_MAGIC,
				.tool = tool,
				.arguments = strdup(arguments),
				.occurrence = named.occurrence,
				.turn = spec->pass_turn,
				.named = true};
	if (guess->arguments == NULL) {
		guess_free(guess);
		return BC_E_NOMEM;
	}
	TAILQ_INSERT_TAIL(&spec->guesses, guess, link);
	spec->guess_count++;
	return BC_OK;
}

void spec_withdraw(struct spec *spec, struct guess *guess)
{
	if (guess->state == GUESS_RUNNING) {
		spec->running--;
	}
	guess_move(guess, GUESS_EV_WITHDRAW);
}

/* The running pass was valid and has named this guess. */
static void confirm(struct spec *spec, struct guess *guess)
{
	guess->named_in_row =
		guess->pass != 0 && guess->pass == spec->pass_valid ? guess->named_in_row + 1 : 1;
	guess->pass = spec->pass;
	guess->horizon = spec->pass_horizon;
}

void spec_pass_end(struct spec *spec, bool valid)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	BC_BUG_ON(!spec->pass_running);
	spec->pass_running = false;
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		bool waiting = guess->state == GUESS_PROPOSED || guess->state == GUESS_RUNNING;
		bool named = guess->named;

		guess->named = false;
		if (guess->turn != spec->pass_turn || !waiting) {
			continue;
		}
		if (valid && named) {
			confirm(spec, guess);
		} else if (valid || guess->pass == 0) {
			/* A valid pass did not name it again, or only one that proves nothing ever did. */
			spec_withdraw(spec, guess);
		}
	}
	spec->pass_valid = valid ? spec->pass : spec->pass_valid;
}

static bool is_stable(const struct spec *spec, const struct guess *guess)
{
	if (guess->named_in_row >= 2) {
		return true;
	}
	if (spec->committed && spec->last_voiced <= guess->horizon) {
		return true;
	}
	/* A later pass that did not name it would have withdrawn it. */
	return spec->position - guess->horizon >= spec->conf.stable_for;
}

struct guess *spec_next_stable(struct spec *spec)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	if (spec->running >= spec->conf.calls_max) {
		return NULL;
	}
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->state == GUESS_PROPOSED && guess->turn == spec->turn &&
		    guess->pass != 0 && is_stable(spec, guess)) {
			return guess;
		}
	}
	return NULL;
}

void spec_dispatched(struct spec *spec, struct guess *guess, struct tool_call *call, bc_usec now)
{
	guess->call = call;
	guess->dispatched = now;
	guess_move(guess, GUESS_EV_DISPATCH);
	spec->running++;
}

void spec_finished(struct spec *spec, struct guess *guess)
{
	guess_move(guess, GUESS_EV_FINISH);
	spec->running--;
}

struct guess *spec_next_withdrawn(struct spec *spec)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->state == GUESS_WITHDRAWN) {
			return guess;
		}
	}
	return NULL;
}

struct guess *spec_take(struct spec *spec, const struct spec_call *call)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	guess = find(spec, call);
	if (guess == NULL) {
		return NULL;
	}
	if (guess->state == GUESS_PROPOSED || guess->dispatched < call->fresh_since) {
		spec_withdraw(spec, guess);
		return NULL;
	}
	if (guess->state == GUESS_RUNNING) {
		spec->running--;
	}
	guess_move(guess, GUESS_EV_TAKE);
	unlink_guess(spec, guess);
	return guess;
}

void spec_drop(struct spec *spec, struct guess *guess)
{
	BC_BUG_ON(guess->state != GUESS_TAKEN && guess->state != GUESS_WITHDRAWN);
	if (guess->state == GUESS_WITHDRAWN) {
		unlink_guess(spec, guess);
	}
	guess_free(guess);
}

void spec_withdraw_all(struct spec *spec, uint64_t turn)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->turn <= turn) {
			spec_withdraw(spec, guess);
		}
	}
}

bool spec_has_tag(const struct cfg_tool *tool, const char *tag)
{
	for (size_t i = 0; i < tool->tags.count; i++) {
		if (strcmp(tool->tags.items[i], tag) == 0) {
			return true;
		}
	}
	return false;
}

void spec_withdraw_tag(struct spec *spec, const char *tag)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (spec_has_tag(guess->tool, tag)) {
			spec_withdraw(spec, guess);
		}
	}
}

void spec_each_finished(struct spec *spec, void (*each)(void *arg, const struct guess *guess),
			void *arg)
{
	struct guess *guess;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->turn == spec->turn && guess->state == GUESS_DONE) {
			each(arg, guess);
		}
	}
}
