/*
 * The verdict: which guesses of the running turn count as called, and what speaks against that.
 *
 * What is real, by the provider's own word or by a verdict before, decides.  Whoever named a guess without knowing a call
 * that became real since may have meant it in that one's place, so such a guess is put in no more (G6).
 */
#include "daemon/spec/table.h"

#include <string.h>

/* ---- what is confirmed ---- */

/* Without what depends on anything that is not among them. */
static uint32_t without_baseless(const struct spec *spec, uint32_t mask)
{
	const struct guess *guess;
	uint32_t before;

	do {
		before = mask;
		TAILQ_FOREACH(guess, &spec->guesses, link) {
			if ((guess->premises & ~mask) != 0) {
				mask &= ~guess_bit(guess);
			}
		}
	} while (mask != before);
	return mask;
}

/* Of two guesses whose passes knew nothing of each other's: the one that is less like what the provider names next. */
static const struct guess *weaker(const struct guess *a, const struct guess *b)
{
	if (a->depth != b->depth) {
		return a->depth > b->depth ? a : b;
	}
	return a->pass < b->pass ? a : b;
}

/* Of guesses of which nobody has said both, one: the other may have been meant in its place. */
static uint32_t without_rivals(const struct spec *spec, uint32_t mask)
{
	const struct guess *a;
	const struct guess *b;

	TAILQ_FOREACH(a, &spec->guesses, link) {
		for (b = TAILQ_NEXT(a, link); b != NULL; b = TAILQ_NEXT(b, link)) {
			bool both = (mask & guess_bit(a)) != 0 && (mask & guess_bit(b)) != 0;

			if (both && (a->known & guess_bit(b)) == 0 &&
			    (b->known & guess_bit(a)) == 0) {
				mask &= ~guess_bit(weaker(a, b));
			}
		}
	}
	return mask;
}

/*
 * The guesses of the running turn that passes over the whole of it have named, with all they depend on.  A guess never
 * depends on itself: its premises had their results before the pass began that named it.
 */
uint32_t spec_confirmed(const struct spec *spec)
{
	const struct guess *guess;
	uint32_t mask = 0;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess->turn == spec->turn && guess->state != GUESS_WITHDRAWN &&
		    guess->pass != 0 && guess->horizon >= spec->last_voiced &&
		    guess->depth >= spec->decided && !guess->blind) {
			mask |= guess_bit(guess);
		}
	}
	return without_baseless(spec, without_rivals(spec, without_baseless(spec, mask)));
}

bool spec_is_final(const struct spec *spec, const struct guess *guess)
{
	return spec->committed && (spec_confirmed(spec) & guess_bit(guess)) != 0 &&
	       spec_mode_of(&spec->conf, guess->tool) != SPEC_STRICT;
}

/* ---- who has the word ---- */

/* Whether a guess of a verdict leaves the word to the provider's own response. */
static bool leaves_it(const struct spec *spec, const struct guess *guess)
{
	enum spec_mode mode = spec_mode_of(&spec->conf, guess->tool);

	/* Words of another recogniser are no authority for an effect, and a model that knows nothing else only guesses. */
	return mode <= SPEC_STRICT || guess->watched ||
	       (!guess->exact && (guess->tool->effect != CFG_EFFECT_READ ||
				  (spec->conf.words && mode != SPEC_INJECT)));
}

/* Whether nothing is put in beside it: its tool does not allow it, or it is a read that will not be in hand. */
static bool stands_alone(const struct spec *spec, const struct guess *guess)
{
	return spec_mode_of(&spec->conf, guess->tool) <= SPEC_STRICT || guess->watched ||
	       (spec->conf.words && leaves_it(spec, guess)) ||
	       (guess->refused && guess->tool->effect == CFG_EFFECT_READ);
}

/* A part of what was named cannot be put in, and no pass has had a say on the whole of it since. */
static bool is_void(const struct spec *spec)
{
	bool lost = spec->lost_horizon >= spec->last_voiced;

	return lost || spec->void_horizon >= spec->last_voiced ||
	       spec->beyond_horizon >= spec->last_voiced;
}

bool spec_expects_verdict(const struct spec *spec)
{
	const struct guess *guess;
	bool proposed = false;
	bool heard = false;

	if (spec->watch_only || is_void(spec)) {
		return false;
	}
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		bool counts = guess->turn == spec->turn && guess->state != GUESS_WITHDRAWN &&
			      !guess_is_unnamed(guess);

		if (counts && stands_alone(spec, guess)) {
			return false;
		}
		proposed = proposed || counts;
		heard = heard ||
			(counts && guess->pass != 0 && guess->horizon >= spec->last_voiced);
	}
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		heard = heard ||
			(spec->pass[i].number != 0 && spec->pass[i].horizon >= spec->last_voiced);
	}
	return proposed && heard;
}

bool spec_has_named(const struct spec *spec)
{
	return spec_confirmed(spec) != 0;
}

/* ---- what is real ---- */

void spec_decided(struct spec *spec, unsigned steps)
{
	BC_CHECK(spec, SPEC_MAGIC);
	spec->decided += steps;
}

void spec_verdict_void(struct spec *spec)
{
	BC_CHECK(spec, SPEC_MAGIC);
	spec->void_horizon = spec->position;
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		spec->pass[i].beyond = true;
	}
}

void spec_called_other(struct spec *spec, uint64_t turn)
{
	struct guess *guess;

	BC_CHECK(spec, SPEC_MAGIC);
	if (turn != spec->turn) {
		return;
	}
	spec->beyond_horizon = spec->position;
	spec->beyond_after = spec->pass_count;
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		guess->blind = true; /* until a later pass names it again */
	}
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		spec->pass[i].beyond = true;
		spec->pass[i].blind = true;
	}
}

void verdict_made_real(struct spec *spec, const struct guess *real)
{
	struct guess *guess;

	TAILQ_FOREACH(guess, &spec->guesses, link) {
		if (guess != real && guess->turn == real->turn &&
		    (guess->known & guess_bit(real)) == 0) {
			guess->blind = true;
		}
	}
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		struct spec_pass *pass = &spec->pass[i];

		if (pass->turn == real->turn && (pass->premises & guess_bit(real)) == 0 &&
		    (real->named & 1u << i) == 0) {
			pass->blind = true;
		}
	}
}

/* ---- the verdict ---- */

/* How many levels of premises stand below each guess, by slot. */
static void levels(const struct spec *spec, unsigned level[SPEC_GUESSES_MAX])
{
	const struct guess *guess;
	const struct guess *premise;
	bool changed = true;

	memset(level, 0, SPEC_GUESSES_MAX * sizeof(level[0]));
	while (changed) {
		changed = false;
		TAILQ_FOREACH(guess, &spec->guesses, link) {
			TAILQ_FOREACH(premise, &spec->guesses, link) {
				if ((guess->premises & guess_bit(premise)) != 0 &&
				    level[guess->slot] <= level[premise->slot]) {
					level[guess->slot] = level[premise->slot] + 1;
					changed = true;
				}
			}
		}
	}
}

static bool counts(const struct spec *spec, const struct guess *guess, uint32_t mask)
{
	if ((mask & guess_bit(guess)) != 0 || spec->conf.words) {
		return (mask & guess_bit(guess)) != 0; /* a reasoner names all or nothing */
	}
	/* One of a tool used with SPEC_STRICT counts too, to keep the others out. */
	return guess->depth >= spec->decided && !guess->blind &&
	       spec_mode_of(&spec->conf, guess->tool) != SPEC_CONFIRM &&
	       guess->turn == spec->turn && guess->state == GUESS_DONE &&
	       !guess_is_unnamed(guess) && guess->tool->effect == CFG_EFFECT_READ;
}

static bool goes_before(const struct spec_named *a, const struct spec_named *b)
{
	if (a->level != b->level) {
		return a->level < b->level;
	}
	return a->guess->pass != b->guess->pass ? a->guess->pass < b->guess->pass
						: a->guess->place < b->guess->place;
}

unsigned spec_verdict(struct spec *spec, struct spec_named out[SPEC_GUESSES_MAX])
{
	unsigned level[SPEC_GUESSES_MAX];
	struct guess *guess;
	unsigned count = 0;
	uint32_t mask;

	/* Asked with every piece of audio; mostly there is nothing to judge. */
	if (TAILQ_EMPTY(&spec->guesses) || !spec->committed || spec->watch_only || is_void(spec)) {
		return 0;
	}
	mask = spec_confirmed(spec);
	levels(spec, level);
	TAILQ_FOREACH(guess, &spec->guesses, link) {
		struct spec_named named = {.guess = guess, .level = level[guess->slot]};
		unsigned at = count;

		if (!counts(spec, guess, mask)) {
			continue;
		}
		if (leaves_it(spec, guess)) {
			return 0;
		}
		while (at > 0 && goes_before(&named, &out[at - 1])) {
			out[at] = out[at - 1];
			at--;
		}
		out[at] = named;
		count++;
	}
	return count;
}
