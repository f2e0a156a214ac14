/* Passes: when one may start, and what its end says about the proposals. */
#include "daemon/spec/table.h"

#include <stdlib.h>
#include <string.h>

static struct spec_pass *pass_of(struct spec *spec, uint64_t number)
{
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		if (number != 0 && spec->pass[i].number == number) {
			return &spec->pass[i];
		}
	}
	return NULL;
}

static unsigned bit_of(const struct spec *spec, const struct spec_pass *pass)
{
	return 1u << (unsigned)(pass - spec->pass);
}

static const struct spec_pass *free_place(const struct spec *spec)
{
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		if (spec->pass[i].number == 0) {
			return &spec->pass[i];
		}
	}
	return NULL;
}

/* ---- begin ---- */

static bool is_silent(const struct spec *spec)
{
	return !spec->speech || spec->complete;
}

static bool may_start_in_speech(const struct spec *spec)
{
	bc_usec since =
		spec->clause_since > spec->speech_since ? spec->clause_since : spec->speech_since;

	if (spec->passes_in_turn >= spec->conf.passes_max) {
		return false;
	}
	if (spec->passes_in_turn + spec->confirms_in_turn > 0 &&
	    spec->position - spec->pass_last < spec->conf.interval) {
		return false;
	}
	return !spec->speech || spec->position - since <= spec->conf.speech_max;
}

/* What it is given ends with the turn, so a sound behind that would count as heard although nobody has. */
static bool may_start_at_followup(const struct spec *spec)
{
	return !spec->unheard && spec->last_voiced >= spec->turn_since &&
	       spec->last_voiced <= spec->end_voiced &&
	       spec->followups_in_turn < spec->conf.passes_max;
}

bool spec_pass_may_start(const struct spec *spec, enum spec_moment when)
{
	BC_CHECK(spec, SPEC_MAGIC);
	if (free_place(spec) == NULL || spec->turn == 0 ||
	    spec->committed != (when == SPEC_AT_FOLLOWUP)) {
		return false;
	}
	switch (when) {
	case SPEC_AT_PAUSE:
		return is_silent(spec) && spec->confirms_in_turn < spec->conf.passes_max;
	case SPEC_AT_RESULT:
		return is_silent(spec) && spec->passes_in_turn < spec->conf.passes_max;
	case SPEC_AT_FOLLOWUP:
		return may_start_at_followup(spec);
	case SPEC_IN_SPEECH:
		break;
	}
	return may_start_in_speech(spec);
}

void spec_input_complete(struct spec *spec, bool complete)
{
	BC_CHECK(spec, SPEC_MAGIC);
	spec->complete = complete;
	spec->end_voiced = spec->last_voiced;
}

bool spec_has_heard_all(const struct spec *spec)
{
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		if (spec->pass[i].number != 0 && spec->pass[i].turn == spec->turn &&
		    spec->last_voiced <= spec->pass[i].horizon && !spec->pass[i].void_premise) {
			return true;
		}
	}
	return spec->valid_horizon >= spec->last_voiced;
}

bool spec_is_heard(const struct spec *spec, uint32_t premises)
{
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		const struct spec_pass *pass = &spec->pass[i];

		if (pass->number != 0 && pass->turn == spec->turn && pass->premises == premises &&
		    pass->horizon >= spec->last_voiced && !pass->void_premise) {
			return true;
		}
	}
	return false;
}

bool spec_is_idle(const struct spec *spec)
{
	return TAILQ_EMPTY(&spec->guesses) && spec->pass_running == 0;
}

bool spec_pass_is_due(const struct spec *spec)
{
	bc_usec since = spec->speech_since;
	bc_usec apart;

	if (spec->conf.growth == 0 || !spec->speech || spec->turn == 0) {
		return false;
	}
	if (spec->passes_in_turn + spec->confirms_in_turn > 0 && spec->pass_last > since) {
		since = spec->pass_last;
	}
	/* The later in a turn, the more a look is worth and the fewer are left: they move apart. */
	apart = spec->conf.growth * spec->passes_in_turn * 3 / (2 * (bc_usec)spec->conf.passes_max);
	return spec->position - since >= spec->conf.growth + apart;
}

/* Steps of calls that stand before what follows from these results. */
static unsigned depth_behind(const struct spec *spec, uint32_t premises)
{
	const struct guess *guess;
	unsigned depth = 0;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if ((premises & guess_bit(guess)) != 0 && depth <= guess->depth) {
			depth = guess->depth + 1;
		}
	}
	return depth;
}

/*
 * Silence behind the last word is nothing that a later pass has heard more of.  In a turn that the detector has not heard
 * there is no last word to count from.
 */
static bc_usec horizon_of(const struct spec *spec, const struct spec_input *input)
{
	bool heard = spec->last_voiced >= spec->turn_since;

	return heard && spec->last_voiced < input->horizon ? spec->last_voiced : input->horizon;
}

static enum spec_trigger trigger_of(const struct spec_input *input)
{
	if (input->when == SPEC_AT_PAUSE) {
		return SPEC_TRIGGER_PAUSE;
	}
	return input->premises != 0 || input->when == SPEC_AT_FOLLOWUP ? SPEC_TRIGGER_RESULT
								       : SPEC_TRIGGER_CLAUSE;
}

static void count_begun(struct spec *spec, enum spec_moment when)
{
	switch (when) {
	case SPEC_AT_PAUSE:
		spec->confirms_in_turn++;
		break;
	case SPEC_AT_FOLLOWUP:
		spec->followups_in_turn++;
		break;
	case SPEC_AT_RESULT:
	case SPEC_IN_SPEECH:
		spec->passes_in_turn++;
		break;
	}
}

uint64_t spec_pass_begin(struct spec *spec, const struct spec_input *input)
{
	bool followup = input->when == SPEC_AT_FOLLOWUP;
	struct spec_pass *pass;

	BC_BUG_ON(!spec_pass_may_start(spec, input->when));
	pass = &spec->pass[free_place(spec) - spec->pass];
	spec->pass_running++;
	*pass = (struct spec_pass){.number = ++spec->pass_count,
				   .turn = spec->turn,
				   .began = spec->position,
				   .horizon = horizon_of(spec, input),
				   .premises = input->premises,
				   .given = input->premises | ~spec->slots,
				   .depth = followup ? spec->decided
						     : depth_behind(spec, input->premises),
				   .trigger = trigger_of(input),
				   .exact = input->exact,
				   .followup = followup};
	spec->pass_last = spec->position;
	count_begun(spec, input->when);
	return pass->number;
}

bool spec_pass_is_running(const struct spec *spec, uint64_t number)
{
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		if (number != 0 && spec->pass[i].number == number) {
			return true;
		}
	}
	return false;
}

bool spec_pass_is_complete(const struct spec *spec, uint64_t number)
{
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		if (number != 0 && spec->pass[i].number == number) {
			return spec->last_voiced <= spec->pass[i].horizon;
		}
	}
	return false;
}

/* ---- what it names ---- */

/* How many equal calls the pass has named before. */
static unsigned named_before(const struct spec *spec, const struct spec_pass *pass,
			     const struct spec_call *call)
{
	unsigned count = 0;
	const struct guess *guess;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if ((guess->named & bit_of(spec, pass)) != 0 && guess->tool == call->tool &&
		    guess->turn == pass->turn && strcmp(guess->arguments, call->arguments) == 0) {
			count++;
		}
	}
	return count;
}

enum bc_err spec_pass_names(struct spec *spec, uint64_t number, const struct cfg_tool *tool,
			    const char *arguments, struct bc_span said)
{
	struct spec_pass *pass = pass_of(spec, number);
	struct spec_call named = {.tool = tool, .arguments = arguments};
	struct guess *guess;
	enum bc_err err;

	BC_CHECK(spec, SPEC_MAGIC);
	BC_BUG_ON(pass == NULL);
	if (spec_mode_of(&spec->conf, tool) == SPEC_OFF) {
		pass->beyond = true;
		return BC_OK;
	}
	named.turn = pass->turn;
	named.occurrence = named_before(spec, pass, &named);
	guess = table_find(spec, &named);
	while (guess != NULL && guess->overtaken && (pass->premises & guess_bit(guess)) != 0) {
		/* It knows of the effect behind that read, so it means another one. */
		named.occurrence++;
		guess = table_find(spec, &named);
	}
	if (guess == NULL) {
		err = table_add(spec, &named, &guess);
		if (err != BC_OK) {
			pass->beyond = true;
			return err;
		}
		guess->trigger = pass->trigger;
	}
	free(guess->said);
	guess->said = said.len == 0 ? NULL : bc_span_dup(said);
	guess->named |= bit_of(spec, pass);
	guess->order[pass - spec->pass] = pass->named++;
	return BC_OK;
}

void spec_pass_names_other(struct spec *spec, uint64_t number)
{
	struct spec_pass *pass = pass_of(spec, number);

	BC_BUG_ON(pass == NULL);
	pass->beyond = true;
}

/* ---- end ---- */

/* What the pass knew when it named this guess; passes that heard the same add to each other. */
static void note_known(struct guess *guess, const struct spec_pass *pass, uint32_t known)
{
	bool again = guess->pass != 0 && pass->horizon == guess->horizon;

	guess->known = again ? guess->known | known : known;
	guess->blind = pass->blind && (!again || guess->blind);
}

/* The pass was valid and has named this guess. */
static void note_named(const struct spec *spec, struct guess *guess, const struct spec_pass *pass,
		       unsigned place)
{
	if (guess->depth < spec->decided) {
		guess->depth = pass->depth; /* the step it was meant for has gone by without it */
	}
	if (guess->pass != 0 && pass->horizon == guess->horizon &&
	    (guess->premises & ~pass->premises) == 0) {
		/* As much was known from the same words, and from fewer premises. */
		guess->place = pass->number > guess->pass ? place : guess->place;
		guess->pass = pass->number > guess->pass ? pass->number : guess->pass;
		return;
	}
	if (guess->pass == 0 && guess->predicted && guess->refused) {
		/* What is thought of a pattern is no judgement on what a pass has heard. */
		guess->forgone = true;
		guess->foretold = (uint8_t)guess->trigger;
		guess->refused = false;
		guess->trigger = pass->trigger;
	}
	guess->named_in_row += guess->pass == 0 || pass->horizon > guess->horizon;
	guess->pass = pass->number;
	guess->place = place;
	guess->horizon = pass->horizon;
	guess->exact = pass->exact;
	if ((pass->premises & guess_bit(guess)) == 0) {
		guess->premises = pass->premises;
		guess->rests_on = pass->premises;
		guess->depth = pass->depth;
	} /* else it had its result before what else the pass was given, and rests on nothing of that */
}

/* Whether it says something about a guess that this valid pass has not named it. */
static bool contradicts(const struct spec_pass *pass, const struct guess *guess)
{
	if ((pass->premises & guess_bit(guess)) != 0) {
		return false; /* it was given the result: nothing was left to be named */
	}
	if (guess->named != 0 && guess->pass == 0) {
		return false; /* another pass that still runs may prove it */
	}
	if (guess->predicted && guess->pass == 0 &&
	    (guess->trigger == SPEC_TRIGGER_PREFETCH || pass->number <= guess->since)) {
		return false; /* it is expected of words to come, or became known behind its back */
	}
	/* What follows from a result it did not know, of a call that may be real by now, is beyond it. */
	return guess->pass < pass->number && (guess->rests_on & ~pass->given) == 0;
}

/* The guesses it was given, and those it has named. */
static uint32_t known_to(const struct spec *spec, const struct spec_pass *pass)
{
	const struct guess *guess;
	uint32_t mask = pass->premises;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		mask |= (guess->named & bit_of(spec, pass)) != 0 ? guess_bit(guess) : 0;
	}
	return mask;
}

/*
 * Whether a pass that began later, heard as much and knew as much has ended before this one, and has not named what this one
 * names: then it counts as if it had ended behind it.  Two that began at one pause are rivals, whichever ends last (G6).
 */
static bool is_outdated(const struct spec *spec, const struct spec_pass *pass,
			const struct guess *guess)
{
	const struct spec_said *newest = &spec->newest;

	return newest->number > pass->number && newest->began > pass->began &&
	       (pass->given & ~newest->given) == 0 && (newest->known & guess_bit(guess)) == 0;
}

/* Whether the end of the pass says anything about a guess. */
static bool is_judged(const struct spec_pass *pass, const struct guess *guess)
{
	return guess->turn == pass->turn && guess->state != GUESS_WITHDRAWN;
}

/* A valid pass proves what it has named, which may rest on less from now on. */
static void prove(struct spec *spec, const struct spec_pass *pass)
{
	uint32_t known = known_to(spec, pass);
	struct guess *guess;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if ((guess->named & bit_of(spec, pass)) != 0 && is_judged(pass, guess) &&
		    !is_outdated(spec, pass, guess)) {
			note_known(guess, pass, known);
			note_named(spec, guess, pass, guess->order[pass - spec->pass]);
		}
	}
}

/*
 * What it has named is proved first: a guess that it was given nothing for stays, when what an earlier pass was given for it
 * turns out wrong.
 */
static void judge(struct spec *spec, const struct spec_pass *pass, bool valid)
{
	unsigned bit = bit_of(spec, pass);
	struct guess *guess;

	if (valid) {
		prove(spec, pass);
	}
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		bool proved = valid && (guess->named & bit) != 0 && !is_outdated(spec, pass, guess);

		guess->named &= ~bit;
		if (!is_judged(pass, guess) || proved) {
			continue;
		}
		if ((valid && contradicts(pass, guess)) ||
		    (guess->pass == 0 && guess->named == 0 && !guess->predicted)) {
			/* Not named again, or only by passes that prove nothing. */
			spec_withdraw(spec, guess);
		}
	}
}

/* It has had its say on all it has heard. */
static void note_valid(struct spec *spec, const struct spec_pass *pass, uint32_t known)
{
	if (pass->horizon > spec->valid_horizon || pass->number > spec->newest.number) {
		spec->newest = (struct spec_said){.number = pass->number,
						  .began = pass->began,
						  .given = pass->given,
						  .known = known};
	}
	spec->valid_horizon = pass->horizon;
	if (pass->number > spec->lost_after && pass->horizon >= spec->lost_horizon) {
		spec->lost_horizon = -1;
	}
	if (pass->followup) {
		spec->followup_ended = pass->number;
		if (pass->number > spec->beyond_after) {
			spec->beyond_horizon = -1;
		}
	}
}

/* It has named what cannot be put in. */
static void note_beyond(struct spec *spec, const struct spec_pass *pass)
{
	if (pass->number < spec->followup_ended) {
		return; /* a later one, which knows more, has had its say */
	}
	if (pass->horizon > spec->beyond_horizon) {
		spec->beyond_horizon = pass->horizon;
	}
	if (pass->number > spec->beyond_after) {
		spec->beyond_after = pass->number;
	}
}

void spec_pass_end(struct spec *spec, uint64_t number, bool valid)
{
	struct spec_pass *pass = pass_of(spec, number);
	uint32_t known;

	BC_CHECK(spec, SPEC_MAGIC);
	BC_BUG_ON(pass == NULL);
	valid = valid && !pass->void_premise && pass->turn == spec->turn &&
		pass->horizon >= spec->valid_horizon;
	known = known_to(spec, pass);
	judge(spec, pass, valid);
	if (valid) {
		note_valid(spec, pass, known);
	}
	if (valid && pass->beyond) {
		note_beyond(spec, pass);
	}
	pass->number = 0;
	spec->pass_running--;
	pass->premises = 0;
}
