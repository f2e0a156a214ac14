/*
 * Judging guesses.
 *
 * The kill switch of a tool and trigger looks at their last kill_window outcomes: kill_share percent of them wasted trip it,
 * and then these guesses are only watched.  It goes back when at most kill_recover percent of another window would have been
 * wasted (the gap between the two keeps it from flapping), or after kill_rest, because what nobody proposes shows nothing.
 * What a pattern foretells of a tool and what a pass names of it differ in worth, so neither switches the other off.
 */
#include "daemon/spec/admission_internal.h"

#include "daemon/config/config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PRIOR_FOLLOWUP 1.0 /* of one kind as of the other: nothing is known of a tool at first */
#define PRIOR_HITS     4.0 /* four of five guesses: what simulated passes reach in mid-speech */
#define PRIOR_MISSES   1.0
#define EVIDENCE_MAX   64.0 /* outcomes: more do not make it surer */
#define RECALLED_MAX   16.0 /* … of those of an earlier life, which did not know of triggers */
#define FOLLOWUP_MIN   0.5
#define LATENCY_WEIGHT 0.125
#define MONEY_CENT     1000000
#define HOUR           (3600 * BC_USEC_PER_SEC)

static const char *const refusal_names[] = {
	[ADMISSION_GRANTED] = "granted",
#define REFUSAL(id, name, text) [ADMISSION_REFUSED_##id] = (name),
#include "daemon/spec/refusal.def"
};

static_assert(BC_ARRAY_LEN(refusal_names) == ADMISSION_REFUSAL__COUNT, "a refusal has no name");

const char *admission_refusal_name(enum admission_refusal refusal)
{
	BC_BUG_ON(refusal >= ADMISSION_REFUSAL__COUNT);
	return refusal_names[refusal];
}

/* ---- life ---- */

struct admission *admission_new(void)
{
	struct admission *admission = calloc(1, sizeof(*admission));

	if (admission != NULL) {
		admission->magic = ADMISSION_MAGIC;
	}
	return admission;
}

struct admission *admission_free(struct admission *admission)
{
	if (admission == NULL) {
		return NULL;
	}
	BC_CHECK(admission, ADMISSION_MAGIC);
	for (unsigned i = 0; i < admission->tool_count; i++) {
		free(admission->tools[i]);
	}
	admission->magic = 0;
	free(admission);
	return NULL;
}

struct admission_tool *admission_tool_find(const struct admission *admission, const char *name)
{
	for (unsigned i = 0; i < admission->tool_count; i++) {
		if (strcmp(admission->tools[i]->name, name) == 0) {
			return admission->tools[i];
		}
	}
	return NULL;
}

/* NULL: no room, or a name that is too long. */
static struct admission_tool *tool_get(struct admission *admission, const char *name)
{
	struct admission_tool *tool = admission_tool_find(admission, name);
	size_t len = strlen(name);

	if (tool != NULL || len >= ADMISSION_NAME_MAX ||
	    admission->tool_count >= ADMISSION_TOOLS_MAX) {
		return tool;
	}
	tool = calloc(1, sizeof(*tool));
	if (tool != NULL) {
		memcpy(tool->name, name, len + 1);
		admission->tools[admission->tool_count++] = tool;
	}
	return tool;
}

enum bc_err admission_set(struct admission *admission, const char *name, enum admission_mode mode)
{
	struct admission_tool *tool;

	BC_CHECK(admission, ADMISSION_MAGIC);
	if (name == NULL) {
		admission->mode = mode;
		return BC_OK;
	}
	tool = tool_get(admission, name);
	if (tool == NULL) {
		return BC_E_LIMIT;
	}
	tool->mode = mode;
	return BC_OK;
}

/* ---- evidence ---- */

/* Half of it is forgotten in every half-life; in between along the chord, which needs no mathematics library. */
static double kept(bc_usec age, bc_usec half_life)
{
	double share = 1;

	if (age <= 0) {
		return 1;
	}
	for (unsigned i = 0; age >= half_life && i < 32; i++) {
		share /= 2;
		age -= half_life;
	}
	return age >= half_life ? 0 : share * (1 - (double)age / (double)half_life / 2);
}

static void weigh(struct admission_evidence *evidence, bc_usec half_life, bc_usec now)
{
	/* What was recalled was weighed by its age, and counts from the first look on. */
	double share = evidence->at == 0 ? 1 : kept(now - evidence->at, half_life);

	evidence->hits *= share;
	evidence->misses *= share;
	evidence->at = now;
}

static void observe(struct admission_evidence *evidence, bool hit, double weight, double most)
{
	double sum;

	evidence->hits += hit ? weight : 0;
	evidence->misses += hit ? 0 : weight;
	sum = evidence->hits + evidence->misses;
	if (sum > most) {
		evidence->hits *= most / sum;
		evidence->misses *= most / sum;
	}
}

double admission_mean(struct admission_tool *tool, enum spec_trigger trigger, bc_usec half_life,
		      bc_usec now)
{
	struct admission_evidence *seen = &tool->cell[trigger].seen;
	double hits;
	double misses;

	weigh(seen, half_life, now);
	if (trigger == SPEC_TRIGGER_FOLLOWUP) {
		return (PRIOR_FOLLOWUP + seen->hits) /
		       (2 * PRIOR_FOLLOWUP + seen->hits + seen->misses);
	}
	weigh(&tool->recalled, half_life, now);
	hits = PRIOR_HITS + tool->recalled.hits + seen->hits;
	misses = PRIOR_MISSES + tool->recalled.misses + seen->misses;
	return hits / (hits + misses);
}

double admission_probability(struct admission *admission, const struct admission_ask *ask)
{
	struct admission_tool *tool = admission_tool_find(admission, ask->tool->name);

	if (tool == NULL) {
		return PRIOR_HITS / (PRIOR_HITS + PRIOR_MISSES);
	}
	return admission_mean(tool, ask->trigger, ask->conf->learn_half_life, ask->now);
}

bc_usec admission_latency(const struct admission *admission, const char *name)
{
	const struct admission_tool *tool = admission_tool_find(admission, name);

	return tool == NULL ? 0 : (bc_usec)tool->latency;
}

static void note_latency(struct admission_tool *tool, bc_usec took)
{
	if (took <= 0) {
		return;
	}
	tool->latency +=
		tool->latency == 0 ? (double)took : LATENCY_WEIGHT * ((double)took - tool->latency);
}

/* ---- the kill switch ---- */

bool admission_is_killed(const struct admission *admission, const char *name,
			 enum spec_trigger trigger)
{
	const struct admission_tool *tool = admission_tool_find(admission, name);

	return tool != NULL && tool->cell[trigger].killed;
}

static void switch_set(struct admission_cell *cell, bool killed, bc_usec now)
{
	cell->killed = killed;
	cell->killed_at = now;
	cell->kills += killed;
	cell->window = 0;
	cell->outcomes = 0;
}

static void note_outcome(struct admission_cell *cell, const struct cfg_speculation *conf,
			 bool wasted, bc_usec now)
{
	unsigned size = (unsigned)conf->kill_window;
	uint64_t mask = size >= ADMISSION_WINDOW_MAX ? UINT64_MAX : (UINT64_C(1) << size) - 1;
	unsigned share;

	if (size == 0) {
		return;
	}
	cell->window = (cell->window << 1 | wasted) & mask;
	cell->outcomes += cell->outcomes < size;
	share = (unsigned)__builtin_popcountll(cell->window) * 100;
	if (cell->outcomes < size) {
		return;
	}
	if (!cell->killed && share >= conf->kill_share * size) {
		switch_set(cell, true, now);
	} else if (cell->killed && share <= conf->kill_recover * size) {
		switch_set(cell, false, now);
	}
}

static bool stays_killed(struct admission_cell *cell, const struct cfg_speculation *conf,
			 bc_usec now)
{
	if (cell->killed && (conf->kill_window == 0 || now - cell->killed_at >= conf->kill_rest)) {
		switch_set(cell, false, now);
	}
	return cell->killed;
}

/* ---- budgets ---- */

/* Of this hour; NULL: none is kept. */
static struct admission_key *key_get(struct admission *admission, const char *name, bool make,
				     bc_usec now)
{
	struct admission_key *key;
	size_t len;

	if (now - admission->hour >= HOUR) {
		admission->hour = now;
		admission->key_count = 0;
	}
	len = name == NULL ? ADMISSION_NAME_MAX : strlen(name);
	if (len >= ADMISSION_NAME_MAX) {
		return NULL;
	}
	for (unsigned i = 0; i < admission->key_count; i++) {
		if (strcmp(admission->keys[i].name, name) == 0) {
			return &admission->keys[i];
		}
	}
	if (!make || admission->key_count >= ADMISSION_KEYS_MAX) {
		return NULL;
	}
	key = &admission->keys[admission->key_count++];
	*key = (struct admission_key){.name = ""};
	memcpy(key->name, name, len + 1);
	return key;
}

static bool is_reached(uint64_t spent, uint64_t most)
{
	return most > 0 && spent >= most;
}

enum admission_refusal admission_over(const struct admission_spend *spend,
				      const struct admission_limits *limits, bool key, bool passes)
{
	if (passes && is_reached(spend->tokens, limits->tokens)) {
		return key ? ADMISSION_REFUSED_KEY_TOKENS : ADMISSION_REFUSED_SESSION_TOKENS;
	}
	if (passes && is_reached(spend->money / MONEY_CENT, limits->cents)) {
		return key ? ADMISSION_REFUSED_KEY_COST : ADMISSION_REFUSED_SESSION_COST;
	}
	if (!passes && is_reached(spend->calls, limits->calls)) {
		return key ? ADMISSION_REFUSED_KEY_CALLS : ADMISSION_REFUSED_SESSION_CALLS;
	}
	if (!passes && is_reached((uint64_t)spend->time, (uint64_t)limits->time)) {
		return key ? ADMISSION_REFUSED_KEY_TIME : ADMISSION_REFUSED_SESSION_TIME;
	}
	return ADMISSION_GRANTED;
}

static enum admission_refusal key_over(struct admission *admission, const struct admission_ask *ask)
{
	const struct cfg_speculation *conf = ask->conf;
	const struct admission_limits limits = {.calls = conf->key_waste_max,
						.time = conf->key_waste_time,
						.tokens = conf->key_tokens_max,
						.cents = conf->key_cost_max};
	const struct admission_key *key = key_get(admission, ask->key, false, ask->now);

	return key == NULL ? ADMISSION_GRANTED
			   : admission_over(&key->spend, &limits, true, ask->tool == NULL);
}

/* ---- asking ---- */

/* What operator and configuration say of a tool (NULL: of all); CONFIGURED: nothing against it. */
static enum admission_mode mode_of(const struct admission *admission,
				   const struct admission_ask *ask,
				   const struct admission_tool *tool)
{
	if (tool != NULL && tool->mode != ADMISSION_CONFIGURED) {
		return tool->mode;
	}
	if (admission->mode != ADMISSION_CONFIGURED) {
		return admission->mode;
	}
	if (ask->tool != NULL && ask->tool->speculation == CFG_GUESSING_OFF) {
		return ADMISSION_OFF;
	}
	if (ask->conf->shadow || (ask->tool != NULL && ask->tool->shadow)) {
		return ADMISSION_SHADOW;
	}
	return ADMISSION_CONFIGURED;
}

/* Whether a pass beside the response to a tool's result would find nothing more often than a call. */
static bool is_unlikely(struct admission_tool *tool, const struct admission_ask *ask)
{
	return tool != NULL && admission_mean(tool, ask->trigger, ask->conf->learn_half_life,
					      ask->now) < FOLLOWUP_MIN;
}

static bool is_loss(struct admission_tool *tool, const struct admission_ask *ask)
{
	double p;

	if (tool == NULL || tool->latency == 0) {
		return false;
	}
	p = admission_mean(tool, ask->trigger, ask->conf->learn_half_life, ask->now);
	return p * tool->latency < (1 - p) * (double)ask->tool->waste_price;
}

enum admission_refusal admission_ask(struct admission *admission, const struct admission_ask *ask)
{
	struct admission_tool *tool;
	enum admission_mode mode;

	BC_CHECK(admission, ADMISSION_MAGIC);
	tool = ask->tool == NULL ? NULL : admission_tool_find(admission, ask->tool->name);
	if (ask->trigger == SPEC_TRIGGER_FOLLOWUP) {
		/* The tool has been called already: only whether the pass may be made remains to be asked. */
		return is_unlikely(tool, ask) ? ADMISSION_REFUSED_UNLIKELY : ADMISSION_GRANTED;
	}
	mode = mode_of(admission, ask, tool);
	if (mode == ADMISSION_OFF) {
		return ADMISSION_REFUSED_OFF;
	}
	if (mode == ADMISSION_SHADOW) {
		return ADMISSION_REFUSED_SHADOW;
	}
	if (mode != ADMISSION_ON && tool != NULL &&
	    stays_killed(&tool->cell[ask->trigger], ask->conf, ask->now)) {
		return ADMISSION_REFUSED_KILLED;
	}
	return is_loss(tool, ask) ? ADMISSION_REFUSED_LOSS : key_over(admission, ask);
}

/* ---- learning ---- */

static void spend(struct admission *admission, const struct admission_ask *from,
		  const struct admission_event *event)
{
	struct admission_key *key = key_get(admission, from->key, true, from->now);

	if (event->what == ADMISSION_PASS) {
		admission->passes++;
		admission->spent.tokens += event->tokens;
		admission->spent.money += event->money;
	}
	if (key != NULL) {
		key->spend.calls += event->what == ADMISSION_WASTE;
		key->spend.time += event->what == ADMISSION_WASTE ? event->time : 0;
		key->spend.tokens += event->tokens;
		key->spend.money += event->money;
	}
}

static void count(struct admission_cell *cell, const struct admission_event *event)
{
	switch (event->what) {
	case ADMISSION_HIT:
		cell->hits++;
		cell->saved += event->time;
		break;
	case ADMISSION_JOIN:
		cell->joins++;
		cell->saved += event->time;
		break;
	case ADMISSION_WASTE:
		cell->wasted++;
		cell->lost += event->time;
		break;
	case ADMISSION_SHADOW_HIT:
		cell->shadow_hits++;
		break;
	case ADMISSION_SHADOW_MISS:
		cell->shadow_misses++;
		break;
	case ADMISSION_RAN:
	case ADMISSION_PASS:
		break;
	}
}

void admission_learn(struct admission *admission, const struct admission_ask *from,
		     const struct admission_event *event)
{
	struct admission_tool *tool;
	struct admission_cell *cell;
	bool missed;

	BC_CHECK(admission, ADMISSION_MAGIC);
	if (event->what == ADMISSION_WASTE || event->what == ADMISSION_PASS) {
		spend(admission, from, event);
	}
	tool = event->tool == NULL ? NULL : tool_get(admission, event->tool->name);
	if (tool == NULL) {
		return;
	}
	if (event->what == ADMISSION_RAN) {
		note_latency(tool, event->time);
		return;
	}
	missed = event->what == ADMISSION_WASTE || event->what == ADMISSION_SHADOW_MISS;
	cell = &tool->cell[event->trigger];
	count(cell, event);
	weigh(&cell->seen, from->conf->learn_half_life, from->now);
	observe(&cell->seen, !missed, 1, EVIDENCE_MAX);
	if (event->trigger != SPEC_TRIGGER_FOLLOWUP) { /* that no call followed is nobody's waste */
		note_outcome(cell, from->conf, missed, from->now);
	}
}

void admission_recall(struct admission *admission, const char *name, bool used, bc_usec age,
		      bc_usec half_life, bc_usec took)
{
	struct admission_tool *tool;

	BC_CHECK(admission, ADMISSION_MAGIC);
	tool = tool_get(admission, name);
	if (tool != NULL) {
		note_latency(tool, took);
		observe(&tool->recalled, used, kept(age, half_life), RECALLED_MAX);
	}
}
