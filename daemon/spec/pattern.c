/*
 * Learning and using patterns.
 *
 * Each real call B is held against the calls before it: a known pattern that would have named exactly B has hit; where none
 * has, one is made from the first places at which B's arguments are found, and one that names B for each element of the list
 * these are in.  A call A whose window closes (its turn, or the next one) was a miss of every pattern that would have named
 * something and was not confirmed.
 */
#include "daemon/spec/pattern.h"

#include "daemon/base/bug.h"
#include "daemon/spec/derive.h"
#include "proto/json.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define PATTERNS_MAGIC 0x70617473u
#define EVIDENCE_MAX   32.0

struct pattern {
	char *first; /* tool of A */
	char *then;  /* tool of B */
	bool next_turn;
	struct derivation how;
	unsigned seen; /* calls of A that it has hit */
	double hits;
	double misses;
	uint64_t born; /* in the count of calls */
	uint64_t used;
};

/* That a pattern has named B behind a call of A. */
struct confirmation {
	uint64_t born;     /* of the pattern */
	uint32_t elements; /* a bit for each of its calls that has come */
};

static_assert(DERIVE_LIST_MAX <= 32, "an element has no bit");

struct patterns {
	uint32_t magic;
	struct pattern *table[PATTERNS_MAX];
	unsigned count;
	uint64_t calls; /* ever observed */
};

/* One call that may be an A. */
struct step {
	char *tool;
	json_t *arguments;
	json_t *result;
	uint64_t turn;
	uint64_t number; /* in the count of calls */
	bc_usec finished;
	uint64_t changes; /* tags of what it has changed; 0: of nothing */
	bool judged;      /* by patterns of the same turn */
	struct confirmation confirmed[PATTERN_GUESSES_MAX * 2];
	unsigned confirmed_count;
};

struct pattern_trail {
	struct step steps[PATTERN_TRAIL_MAX];
	unsigned count;
};

/* ---- life ---- */

static struct pattern *pattern_free(struct pattern *pattern)
{
	if (pattern == NULL) {
		return NULL;
	}
	derivation_release(&pattern->how);
	free(pattern->first);
	free(pattern->then);
	free(pattern);
	return NULL;
}

struct patterns *patterns_new(void)
{
	struct patterns *patterns = calloc(1, sizeof(*patterns));

	if (patterns != NULL) {
		patterns->magic = PATTERNS_MAGIC;
	}
	return patterns;
}

struct patterns *patterns_free(struct patterns *patterns)
{
	if (patterns == NULL) {
		return NULL;
	}
	BC_CHECK(patterns, PATTERNS_MAGIC);
	for (unsigned i = 0; i < patterns->count; i++) {
		pattern_free(patterns->table[i]);
	}
	patterns->magic = 0;
	free(patterns);
	return NULL;
}

unsigned patterns_count(const struct patterns *patterns)
{
	return patterns->count;
}

static void step_release(struct step *step)
{
	free(step->tool);
	json_decref(step->arguments);
	json_decref(step->result);
	*step = (struct step){.tool = NULL};
}

struct pattern_trail *pattern_trail_new(void)
{
	return calloc(1, sizeof(struct pattern_trail));
}

struct pattern_trail *pattern_trail_free(struct pattern_trail *trail)
{
	if (trail == NULL) {
		return NULL;
	}
	for (unsigned i = 0; i < trail->count; i++) {
		step_release(&trail->steps[i]);
	}
	free(trail);
	return NULL;
}

void pattern_guess_release(struct pattern_guess *guess)
{
	free(guess->tool);
	free(guess->arguments);
	*guess = (struct pattern_guess){.tool = NULL};
}

/* ---- one pattern ---- */

/* A pattern in which B's arguments follow from A; NULL: they do not. */
static struct pattern *pattern_new(const struct step *step, const char *then, json_t *arguments,
				   bool each)
{
	struct pattern *pattern = calloc(1, sizeof(*pattern));

	if (pattern == NULL) {
		return NULL;
	}
	pattern->first = strdup(step->tool);
	pattern->then = strdup(then);
	if (pattern->first == NULL || pattern->then == NULL ||
	    !derive(&pattern->how, each, step->arguments, step->result, arguments)) {
		return pattern_free(pattern);
	}
	return pattern;
}

static double mean(const struct pattern *pattern)
{
	return (1 + pattern->hits) / (2 + pattern->hits + pattern->misses);
}

static void note(struct pattern *pattern, double hits, double misses)
{
	double sum;

	pattern->hits += hits;
	pattern->misses = pattern->misses + misses > 0 ? pattern->misses + misses : 0;
	sum = pattern->hits + pattern->misses;
	if (sum > EVIDENCE_MAX) {
		pattern->hits *= EVIDENCE_MAX / sum;
		pattern->misses *= EVIDENCE_MAX / sum;
	}
}

/* ---- the table ---- */

static void keep(struct patterns *patterns, struct pattern *pattern)
{
	unsigned at = patterns->count;

	if (at == PATTERNS_MAX) {
		at = 0;
		for (unsigned i = 1; i < PATTERNS_MAX; i++) {
			at = patterns->table[i]->used < patterns->table[at]->used ? i : at;
		}
		pattern_free(patterns->table[at]);
	} else {
		patterns->count++;
	}
	patterns->table[at] = pattern;
}

static bool is_about(const struct pattern *pattern, const char *first, bool next_turn)
{
	return pattern->next_turn == next_turn && strcmp(pattern->first, first) == 0;
}

/* ---- learning ---- */

static struct confirmation *confirmation_of(struct step *step, const struct pattern *pattern)
{
	for (unsigned i = 0; i < step->confirmed_count; i++) {
		if (step->confirmed[i].born == pattern->born) {
			return &step->confirmed[i];
		}
	}
	return NULL;
}

/*
 * B is one of the calls that a pattern names behind A.  Each is worth its share: those of a list that have not come yet
 * count as misses until they do, so that the mean says how likely an element's call is.
 */
static void confirm(struct pattern *pattern, struct step *step, unsigned at)
{
	double share = 1.0 / (double)derivation_length(&pattern->how, step->result);
	struct confirmation *confirmation = confirmation_of(step, pattern);

	if (confirmation == NULL) {
		if (step->confirmed_count == BC_ARRAY_LEN(step->confirmed)) {
			return;
		}
		confirmation = &step->confirmed[step->confirmed_count++];
		*confirmation = (struct confirmation){.born = pattern->born};
		pattern->seen++;
		note(pattern, 0, 1);
	}
	if ((confirmation->elements >> at & 1) == 0) {
		confirmation->elements |= UINT32_C(1) << at;
		note(pattern, share, -share);
	}
}

/* Which of the calls that a pattern names behind A is B; -1: none. */
static int named_as(const struct pattern *pattern, const struct step *step, const char *then,
		    const json_t *arguments)
{
	unsigned calls = derivation_calls(&pattern->how, step->result);
	bool equal = false;
	unsigned at = 0;

	if (strcmp(pattern->then, then) != 0) {
		return -1;
	}
	while (at < calls && !equal) {
		json_t *named =
			derivation_apply(&pattern->how, step->arguments, step->result, at++);

		equal = named != NULL && json_equal(named, arguments) != 0;
		json_decref(named);
	}
	return equal ? (int)at - 1 : -1;
}

/* B came behind A: patterns that take one place, or (each) every element of a list. */
static void hold_against(struct patterns *patterns, struct step *step,
			 const struct pattern_call *then, json_t *arguments, bool each)
{
	bool next_turn = step->turn != then->turn;
	struct pattern *pattern;
	bool hit = false;
	int at;

	for (unsigned i = 0; i < patterns->count; i++) {
		pattern = patterns->table[i];
		if (!is_about(pattern, step->tool, next_turn) || pattern->how.each != each) {
			continue;
		}
		at = named_as(pattern, step, then->tool, arguments);
		if (at >= 0) {
			hit = true;
			confirm(pattern, step, (unsigned)at);
			pattern->used = patterns->calls;
		}
	}
	pattern = hit ? NULL : pattern_new(step, then->tool, arguments, each);
	at = pattern == NULL ? -1 : named_as(pattern, step, then->tool, arguments);
	if (at < 0) {
		/* An element of a long list that is not told apart would be learnt anew each time. */
		pattern_free(pattern);
		return;
	}
	pattern->next_turn = next_turn;
	pattern->born = ++patterns->calls;
	pattern->used = pattern->born;
	keep(patterns, pattern);
	confirm(pattern, step, (unsigned)at);
}

/* Nothing more can follow from A in this turn, or in the next. */
static void judge(struct patterns *patterns, struct step *step, bool next_turn)
{
	for (unsigned i = 0; i < patterns->count; i++) {
		struct pattern *pattern = patterns->table[i];
		json_t *predicted;

		if (!is_about(pattern, step->tool, next_turn) || pattern->born > step->number ||
		    confirmation_of(step, pattern) != NULL) {
			continue;
		}
		predicted = derivation_apply(&pattern->how, step->arguments, step->result, 0);
		if (predicted != NULL) {
			note(pattern, 0, 1);
		}
		json_decref(predicted);
	}
}

static void forget_first(struct pattern_trail *trail)
{
	step_release(&trail->steps[0]);
	trail->count--;
	memmove(&trail->steps[0], &trail->steps[1], trail->count * sizeof(trail->steps[0]));
}

/* A call of this turn is made: windows of earlier ones close. */
static void close_windows(struct patterns *patterns, struct pattern_trail *trail, uint64_t turn)
{
	for (unsigned i = 0; i < trail->count; i++) {
		struct step *step = &trail->steps[i];

		if (step->turn < turn && !step->judged) {
			judge(patterns, step, false);
			step->judged = true;
		}
	}
	while (trail->count > 0 && trail->steps[0].turn + 1 < turn) {
		judge(patterns, &trail->steps[0], true);
		forget_first(trail);
	}
}

static void append(struct patterns *patterns, struct pattern_trail *trail,
		   const struct pattern_call *call, json_t *arguments)
{
	json_t *result = call->output.len > PATTERN_OUTPUT_MAX ? NULL : json_parse(call->output);
	struct step step = {.tool = strdup(call->tool),
			    .arguments = json_incref(arguments),
			    .result = result == NULL ? json_null() : result,
			    .turn = call->turn,
			    .number = ++patterns->calls,
			    .finished = call->finished,
			    .changes = call->effect ? call->tags : 0};

	if (step.tool == NULL) {
		step_release(&step);
		return;
	}
	if (trail->count == PATTERN_TRAIL_MAX) {
		forget_first(trail);
	}
	trail->steps[trail->count++] = step;
}

/* Whether an effect of its turn, behind that step, has changed what a call reads. */
static bool is_overtaken(const struct pattern_trail *trail, unsigned step,
			 const struct pattern_call *then)
{
	for (unsigned i = step + 1; i < trail->count; i++) {
		if (trail->steps[i].turn == then->turn &&
		    (trail->steps[i].changes & then->tags) != 0) {
			return true;
		}
	}
	return false;
}

void pattern_observe(struct patterns *patterns, struct pattern_trail *trail,
		     const struct pattern_call *call)
{
	json_t *arguments = json_parse(bc_span_str(call->arguments));

	BC_CHECK(patterns, PATTERNS_MAGIC);
	if (!json_is_object(arguments)) {
		json_decref(arguments);
		return;
	}
	close_windows(patterns, trail, call->turn);
	for (unsigned i = 0; i < trail->count && !call->effect; i++) {
		struct step *step = &trail->steps[i];

		/* What ran beside it cannot have led to it. */
		if (step->finished <= call->started && !is_overtaken(trail, i, call)) {
			hold_against(patterns, step, call, arguments, false);
			hold_against(patterns, step, call, arguments, true);
		}
	}
	append(patterns, trail, call, arguments);
	json_decref(arguments);
}

/* ---- predicting ---- */

static bool is_known(const struct pattern_guess *out, unsigned count, const char *tool,
		     const char *arguments)
{
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(out[i].tool, tool) == 0 && strcmp(out[i].arguments, arguments) == 0) {
			return true;
		}
	}
	return false;
}

/* The surest pattern below a bound that may predict; NULL: there is none. */
static struct pattern *surest(const struct patterns *patterns, const char *first, bool next_turn,
			      const struct pattern *before)
{
	struct pattern *best = NULL;

	for (unsigned i = 0; i < patterns->count; i++) {
		struct pattern *pattern = patterns->table[i];
		double p = mean(pattern);

		if (!is_about(pattern, first, next_turn) || pattern->seen < PATTERN_SEEN_MIN ||
		    p < 0.5) {
			continue;
		}
		if (before != NULL &&
		    (p > mean(before) || (p >= mean(before) && pattern->born <= before->born))) {
			continue; /* it had its turn */
		}
		if (best == NULL || p > mean(best) ||
		    (p >= mean(best) && pattern->born < best->born)) {
			best = pattern;
		}
	}
	return best;
}

static bool put_guess(const struct pattern *pattern, const struct step *step, unsigned at,
		      struct pattern_guess *out, unsigned count)
{
	json_t *object = derivation_apply(&pattern->how, step->arguments, step->result, at);
	char *text = object == NULL ? NULL : json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
	struct pattern_guess guess = {.tool = text == NULL ? NULL : strdup(pattern->then),
				      .arguments = text};

	json_decref(object);
	if (guess.tool == NULL || is_known(out, count, guess.tool, text)) {
		pattern_guess_release(&guess);
		return false;
	}
	out[count] = guess;
	return true;
}

/* Adds what a pattern names to what is there; returns how many there are then. */
static unsigned put_guesses(const struct pattern *pattern, const struct step *step,
			    struct pattern_guess *out, unsigned count)
{
	unsigned calls = derivation_calls(&pattern->how, step->result);

	for (unsigned at = 0; at < calls && count < PATTERN_GUESSES_MAX; at++) {
		count += put_guess(pattern, step, at, out, count);
	}
	return count;
}

/* Adds what follows from a call of this tool to what is there; returns how many there are then. */
static unsigned predict(struct patterns *patterns, const struct step *step, bool next_turn,
			struct pattern_guess *out, unsigned count)
{
	struct pattern *pattern = surest(patterns, step->tool, next_turn, NULL);

	while (pattern != NULL && count < PATTERN_GUESSES_MAX) {
		count = put_guesses(pattern, step, out, count);
		pattern->used = patterns->calls;
		pattern = surest(patterns, step->tool, next_turn, pattern);
	}
	return count;
}

unsigned pattern_predict(struct patterns *patterns, const struct pattern_call *call,
			 struct pattern_guess out[PATTERN_GUESSES_MAX])
{
	struct step step = {.tool = (char *)(uintptr_t)call->tool};
	unsigned count;

	BC_CHECK(patterns, PATTERNS_MAGIC);
	if (call->output.len > PATTERN_OUTPUT_MAX ||
	    surest(patterns, call->tool, false, NULL) == NULL) {
		return 0;
	}
	step.arguments = json_parse(bc_span_str(call->arguments));
	step.result = json_parse(call->output);
	count = predict(patterns, &step, false, out, 0);
	json_decref(step.arguments);
	json_decref(step.result);
	return count;
}

unsigned pattern_predict_turn(struct patterns *patterns, const struct pattern_trail *trail,
			      uint64_t turn, struct pattern_guess out[PATTERN_GUESSES_MAX])
{
	unsigned count = 0;

	BC_CHECK(patterns, PATTERNS_MAGIC);
	for (unsigned i = 0; i < trail->count; i++) {
		if (trail->steps[i].turn + 1 == turn) {
			count = predict(patterns, &trail->steps[i], true, out, count);
		}
	}
	return count;
}
