#include "daemon/spec/spec.h"

#include "daemon/spec/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert(SPEC_GUESSES_MAX <= 32, "a mask of guesses has 32 bits");

enum cfg_guessing spec_more_careful(enum cfg_guessing a, enum cfg_guessing b)
{
	if (a == CFG_GUESSING_INHERIT || (b != CFG_GUESSING_INHERIT && b < a)) {
		return b;
	}
	return a;
}

enum spec_mode spec_mode_of(const struct spec_conf *conf, const struct cfg_tool *tool)
{
	enum spec_mode mode = conf->mode;

	switch (spec_more_careful(tool->speculation, conf->session)) {
	case CFG_GUESSING_INHERIT:
		break;
	case CFG_GUESSING_OFF:
		mode = SPEC_OFF;
		break;
	case CFG_GUESSING_STRICT:
		mode = SPEC_STRICT;
		break;
	case CFG_GUESSING_CONFIRM:
		mode = SPEC_CONFIRM;
		break;
	case CFG_GUESSING_INJECT:
		mode = SPEC_INJECT;
		break;
	}
	return mode;
}

struct spec *spec_new(const struct spec_conf *conf)
{
	struct spec *spec = calloc(1, sizeof(*spec));

	if (spec == NULL) {
		return NULL;
	}
	spec->magic = SPEC_MAGIC;
	spec->conf = *conf;
	spec->valid_horizon = -1;
	spec->void_horizon = -1;
	spec->beyond_horizon = -1;
	spec->lost_horizon = -1;
	TAILQ_INIT(&spec->guesses);
	return spec;
}

static void unlink_guess(struct spec *spec, struct guess *guess)
{
	struct guess *other;

	TAILQ_REMOVE(&spec->guesses, guess, link);
	TAILQ_FOREACH(other, &spec->guesses, link) {
		other->known &= ~guess_bit(guess);
	}
	spec->slots &= ~guess_bit(guess);
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
	spec->turn_since = spec->position;
	spec->newest.number = 0;
	spec->committed = false;
	spec->complete = false;
	spec->decided = 0;
	spec->passes_in_turn = 0;
	spec->confirms_in_turn = 0;
	spec->followups_in_turn = 0;
	spec->unheard = false;
	spec->void_horizon = -1;
	spec->valid_horizon = -1;
	spec->beyond_horizon = -1;
	spec->lost_horizon = -1;
}

void spec_turn_commit(struct spec *spec)
{
	BC_CHECK(spec, SPEC_MAGIC);
	spec->end_voiced = spec->complete ? spec->end_voiced : spec->last_voiced;
	spec->committed = true;
}

void spec_turn_unheard(struct spec *spec)
{
	BC_CHECK(spec, SPEC_MAGIC);
	spec->unheard = true;
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

void spec_clause_ended(struct spec *spec)
{
	spec->clause_since = spec->position;
}

/* ---- the table ---- */

struct guess *table_find(struct spec *spec, const struct spec_call *call)
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

static unsigned free_slot(const struct spec *spec)
{
	unsigned slot = 0;

	while ((spec->slots & UINT32_C(1) << slot) != 0) {
		slot++;
	}
	return slot;
}

/* What a bit stood for is gone, and it stands for something new that nobody knows of. */
static void forget_slot(struct spec *spec, uint32_t bit)
{
	struct guess *guess;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		guess->rests_on &= ~bit;
	}
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		spec->pass[i].given &= ~bit;
	}
	spec->newest.given &= ~bit;
	spec->newest.known &= ~bit;
}

enum bc_err table_add(struct spec *spec, const struct spec_call *call, struct guess **ret)
{
	struct guess *guess;

	if (spec->guess_count >= SPEC_GUESSES_MAX) {
		return BC_E_LIMIT;
	}
	guess = calloc(1, sizeof(*guess));
	if (guess == NULL) {
		return BC_E_NOMEM;
	}
	*guess = (struct guess){.magic = GUESS_MAGIC,
				.tool = call->tool,
				.arguments = strdup(call->arguments),
				.occurrence = call->occurrence,
				.turn = call->turn,
				.slot = free_slot(spec),
				.horizon = -1};
	if (guess->arguments == NULL) {
		guess_free(guess);
		return BC_E_NOMEM;
	}
	TAILQ_INSERT_TAIL(&spec->guesses, guess, link);
	forget_slot(spec, guess_bit(guess));
	spec->slots |= guess_bit(guess);
	spec->guess_count++;
	*ret = guess;
	return BC_OK;
}

enum bc_err table_add_read(struct spec *spec, const struct spec_call *call, struct guess **ret)
{
	*ret = NULL;
	if (call->tool->effect != CFG_EFFECT_READ ||
	    call->tool->disclosure == CFG_DISCLOSURE_THIRD_PARTY ||
	    spec_mode_of(&spec->conf, call->tool) == SPEC_OFF || table_find(spec, call) != NULL) {
		return BC_OK;
	}
	return table_add(spec, call, ret);
}

/* ---- running ---- */

/* Whether a guess may be run before, or without, a real call (G3). */
static bool may_run(const struct spec *spec, const struct guess *guess)
{
	const struct cfg_tool *tool = guess->tool;
	enum spec_mode mode = spec_mode_of(&spec->conf, tool);

	if (mode == SPEC_OFF) {
		return false;
	}
	switch (tool->effect) {
	case CFG_EFFECT_READ:
		return tool->disclosure != CFG_DISCLOSURE_THIRD_PARTY || spec_is_final(spec, guess);
	case CFG_EFFECT_REVERSIBLE:
		return spec->conf.reversible && mode != SPEC_STRICT && guess->exact &&
		       tool->disclosure != CFG_DISCLOSURE_THIRD_PARTY &&
		       tag_next_effect(spec, NULL, tool) == NULL;
	case CFG_EFFECT_HOLD:
		return false;
	}
	return false;
}

/* Whether the turn has ended and nothing was said since: what a proposal would wait for does not come any more. */
static bool is_over(const struct spec *spec)
{
	return (spec->committed || spec->complete) && spec->last_voiced <= spec->end_voiced;
}

static bool is_stable(const struct spec *spec, const struct guess *guess)
{
	if (guess->named_in_row >= 2 || guess->predicted) {
		return true;
	}
	if ((spec->committed || spec->complete) && (spec_confirmed(spec) & guess_bit(guess)) != 0) {
		return true;
	}
	if (guess->tool->effect == CFG_EFFECT_READ && is_over(spec)) {
		return true;
	}
	if (spec->committed && guess->reasoned && spec->last_voiced <= guess->horizon) {
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
		    !guess->refused && (guess->pass != 0 || guess->reasoned || guess->predicted) &&
		    is_stable(spec, guess) && may_run(spec, guess)) {
			return guess;
		}
	}
	return NULL;
}

bc_usec spec_wait(const struct spec *spec, bool pass_wanted)
{
	const struct guess *guess;
	bc_usec next = -1;

	BC_CHECK(spec, SPEC_MAGIC);
	if (pass_wanted && !spec->committed && spec->passes_in_turn < spec->conf.passes_max) {
		next = spec->pass_last + spec->conf.interval - spec->position;
	}
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		bc_usec left = guess->horizon + spec->conf.stable_for - spec->position;

		if (guess->state == GUESS_PROPOSED && guess->turn == spec->turn &&
		    (guess->pass != 0 || guess->reasoned) && left > 0 &&
		    (next <= 0 || left < next)) {
			next = left;
		}
	}
	return next > 0 ? next : -1;
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

/* ---- taking ---- */

static void forget_premise(struct spec *spec, uint32_t bit)
{
	struct guess *guess;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		guess->premises &= ~bit;
	}
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		spec->pass[i].premises &= ~bit;
	}
}

void spec_take_guess(struct spec *spec, struct guess *guess)
{
	BC_CHECK(spec, SPEC_MAGIC);
	if (guess->state == GUESS_RUNNING) {
		spec->running--;
	}
	guess_move(guess, GUESS_EV_TAKE);
	/* It is real now, and in the conversation: what follows from it stands on firm ground. */
	verdict_made_real(spec, guess);
	forget_premise(spec, guess_bit(guess));
	unlink_guess(spec, guess);
	if (guess->tool->effect != CFG_EFFECT_READ) {
		tag_effect_taken(spec, guess);
	}
}

void spec_realise(struct spec *spec, struct guess *guess)
{
	BC_BUG_ON(guess->state != GUESS_PROPOSED);
	/* What follows from it is not wrong because it is real. */
	verdict_made_real(spec, guess);
	forget_premise(spec, guess_bit(guess));
	guess->realised = true;
	spec_withdraw(spec, guess);
}

struct guess *spec_take(struct spec *spec, const struct spec_call *call)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	guess = table_find(spec, call);
	if (guess == NULL) {
		spec_called_other(spec, call->turn);
		return NULL;
	}
	if (guess->state == GUESS_PROPOSED) {
		spec_realise(spec, guess); /* the real call is run */
		return NULL;
	}
	if (guess->tool->effect == CFG_EFFECT_READ && guess->dispatched < call->fresh_since) {
		verdict_made_real(spec, guess);
		spec_withdraw(spec, guess);
		return NULL;
	}
	spec_take_guess(spec, guess);
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

/* ---- withdrawing ---- */

void spec_withdraw(struct spec *spec, struct guess *guess)
{
	struct guess *other;

	if (guess->state == GUESS_WITHDRAWN) {
		return;
	}
	if (guess->state == GUESS_RUNNING) {
		spec->running--;
	}
	guess_move(guess, GUESS_EV_WITHDRAW);
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		spec->pass[i].void_premise = spec->pass[i].void_premise ||
					     (spec->pass[i].premises & guess_bit(guess)) != 0;
	}
	TAILQ_FOREACH(other, &spec->guesses, link) {
		if ((other->premises & guess_bit(guess)) != 0) {
			spec_withdraw(spec, other);
		}
	}
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

/* ---- looking ---- */

uint32_t spec_each_finished(struct spec *spec, bool firsts,
			    void (*each)(void *arg, const struct guess *guess), void *arg)
{
	struct guess *guess;
	uint32_t mask = 0;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->turn == spec->turn && guess->state == GUESS_DONE &&
		    !guess_is_unnamed(guess) && (!firsts || guess->premises == 0)) {
			mask |= guess_bit(guess);
			each(arg, guess);
		}
	}
	return mask;
}
