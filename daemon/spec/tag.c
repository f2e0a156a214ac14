/* What calls read and change, by the tags of their tools, and what is too old to be used. */
#include "daemon/spec/table.h"

#include <string.h>

bool spec_has_tag(const struct cfg_tool *tool, const char *tag)
{
	for (size_t i = 0; i < tool->tags.count; i++) {
		if (strcmp(tool->tags.items[i], tag) == 0) {
			return true;
		}
	}
	return false;
}

uint64_t spec_tag_bits(const struct cfg_tool *tool)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < tool->tags.count; i++) {
		uint32_t hash = 2166136261u; /* FNV-1a */

		for (const char *tag = tool->tags.items[i]; *tag != '\0'; tag++) {
			hash = (hash ^ (unsigned char)*tag) * 16777619u;
		}
		bits |= UINT64_C(1) << hash % 64;
	}
	return bits;
}

static bool share_tag(const struct cfg_tool *a, const struct cfg_tool *b)
{
	for (size_t i = 0; i < a->tags.count; i++) {
		if (spec_has_tag(b, a->tags.items[i])) {
			return true;
		}
	}
	return false;
}

struct guess *tag_next_effect(const struct spec *spec, const struct guess *behind,
			      const struct cfg_tool *tool)
{
	struct guess *guess =
		behind == NULL ? TAILQ_FIRST(&spec->guesses) : TAILQ_NEXT(behind, link);

	while (guess != NULL &&
	       ((guess->state != GUESS_RUNNING && guess->state != GUESS_DONE) ||
		guess->tool->effect == CFG_EFFECT_READ || !share_tag(guess->tool, tool))) {
		guess = TAILQ_NEXT(guess, link);
	}
	return guess;
}

void spec_lose(struct spec *spec, struct guess *guess)
{
	if (guess->state == GUESS_WITHDRAWN) {
		return;
	}
	if (guess->turn == spec->turn && guess->pass != 0 && guess->horizon >= spec->lost_horizon) {
		spec->lost_horizon = guess->horizon;
		spec->lost_after = spec->pass_count;
	}
	spec_withdraw(spec, guess);
}

void spec_expire(struct spec *spec, bc_usec now)
{
	struct guess *guess;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->state == GUESS_DONE && guess->tool->effect == CFG_EFFECT_READ &&
		    now - guess->dispatched > guess->tool->fresh_for) {
			spec_lose(spec, guess);
		}
	}
}

/* The guesses a set of them rests on, directly or not. */
static uint32_t foundations(const struct spec *spec, uint32_t mask)
{
	const struct guess *guess;
	uint32_t before;

	do {
		before = mask;
		TAILQ_FOREACH(guess, &spec->guesses, link) {
			mask |= (mask & guess_bit(guess)) != 0 ? guess->premises : 0;
		}
	} while (mask != before);
	return mask;
}

/*
 * What the effects that were run on a guess and change that tag rest on.  It was read before them; to withdraw it would take
 * them back, and behind an effect of another session that followed them they could not be undone any more (J3).  Where an
 * effect that changes something else rests on it, nothing of the kind has happened to what was read.
 */
static uint32_t foundations_of_effects(const struct spec *spec, const char *tag)
{
	const struct guess *guess;
	uint32_t mask = 0;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->tool->effect != CFG_EFFECT_READ && spec_has_tag(guess->tool, tag) &&
		    (guess->state == GUESS_RUNNING || guess->state == GUESS_DONE)) {
			mask |= guess->premises;
		}
	}
	return foundations(spec, mask);
}

void spec_withdraw_tag(struct spec *spec, const char *tag)
{
	struct guess *guess;
	uint32_t spared;

	BC_CHECK(spec, SPEC_MAGIC);
	spared = foundations_of_effects(spec, tag);
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		/* What only waits to be run will see the change; an effect that ran is not made wrong by another. */
		if (guess->state == GUESS_PROPOSED || guess->tool->effect != CFG_EFFECT_READ ||
		    !spec_has_tag(guess->tool, tag)) {
			continue;
		}
		if ((spared & guess_bit(guess)) != 0) {
			guess->overtaken = true;
		} else {
			spec_lose(spec, guess);
		}
	}
}

void tag_effect_taken(struct spec *spec, const struct guess *effect)
{
	uint32_t before = foundations(spec, effect->premises);
	struct guess *guess;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		/* A later pass may have named the effect without what was spared for it. */
		if (((before & guess_bit(guess)) != 0 || guess->overtaken) &&
		    guess->tool->effect == CFG_EFFECT_READ &&
		    share_tag(guess->tool, effect->tool)) {
			spec_lose(spec, guess);
		}
	}
}

void spec_withdraw_effects(struct spec *spec, const struct cfg_tool *tool)
{
	struct guess *guess = NULL;

	BC_CHECK(spec, SPEC_MAGIC);
	while ((guess = tag_next_effect(spec, guess, tool)) != NULL) {
		spec_lose(spec, guess);
	}
}
