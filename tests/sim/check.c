/*
 * What must hold when everything has come to its end, whatever happened on the way.  Read from the tool server's log of
 * effects, the provider's conversations, and of the journal only what it reports to its operator: an independent judge.
 */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

#define CALLER_SPAN 20000
#define TURN_SPAN   2000
#define LATE        (3 * SIM_SEC) /* what happened so long before a fault may lie on its other side */

static const char *name_of(const struct sim_effect *effect)
{
	return sim_kinds[effect->tool].name;
}

static unsigned number_of(const struct sim_effect *effect)
{
	return (unsigned)(effect - sim.effects) + 1;
}

/* The operator is told of it. */
static bool is_reported(const struct sim_effect *effect)
{
	int how = disk_settlement(effect->key);

	return how == JRN_PARKED || how == JRN_IN_DOUBT;
}

/* A fault came at that time or soon behind it. */
static bool is_near_cut(bc_usec at)
{
	for (unsigned i = 0; i < sim.cut_count; i++) {
		if (sim.cuts[i] + SIM_SEC >= at && sim.cuts[i] <= at + LATE) {
			return true;
		}
	}
	return false;
}

/* J1, J6: an effect was intended before, and there is one per intent. */
static void check_intents(const struct sim_effect *effect)
{
	if (!effect->durable) {
		sim_fail("effect %u (%s %u) came before its intent was durable", number_of(effect),
			 name_of(effect), effect->n);
	}
	for (const struct sim_effect *other = sim.effects; other < effect; other++) {
		if (strcmp(other->key, effect->key) == 0) {
			sim_fail("effects %u and %u (%s %u) are of one intent", number_of(other),
				 number_of(effect), name_of(effect), effect->n);
		}
	}
}

/* J5: a hold needs a word that heard the whole turn, and the turn's commit. */
static void check_hold(const struct sim_effect *effect)
{
	const struct sim_caller *caller = &sim.callers[effect->n / CALLER_SPAN];
	unsigned turn = effect->n % CALLER_SPAN / TURN_SPAN - 1;

	if (caller->committed[turn] == 0 || caller->committed[turn] > effect->at) {
		sim_fail("hold %s %u started before its turn was committed", name_of(effect),
			 effect->n);
	}
	for (unsigned i = 0; i < sim.named_count; i++) {
		const struct sim_named *named = &sim.named[i];

		if (named->tool == effect->tool && named->n == effect->n &&
		    named->at <= effect->at && (named->native || named->whole)) {
			return;
		}
	}
	sim_fail("hold %s %u started, and nobody who had heard the whole turn has named it",
		 name_of(effect), effect->n);
}

/* Neither answer was there when the other request left: nobody but their server knows which came first. */
static bool were_together(const struct sim_effect *a, const struct sim_effect *b)
{
	return (a->heard == 0 || a->heard >= b->sent) && (b->heard == 0 || b->heard >= a->sent);
}

/* J3: what follows with the same tag is taken back first, and nothing with it begins meanwhile. */
static void check_undo(const struct sim_effect *effect)
{
	unsigned tag = sim_kinds[effect->tool].tag;

	for (unsigned i = 0; i < sim.effect_count; i++) {
		const struct sim_effect *other = &sim.effects[i];

		if (other == effect || sim_kinds[other->tool].tag != tag ||
		    were_together(effect, other)) {
			continue;
		}
		if (other->order > effect->order && other->order < effect->undone &&
		    (other->undone == 0 || other->undone > effect->undone)) {
			sim_fail(
				"effect %u (%s %u) was undone, and the later %u (%s %u) was not before",
				number_of(effect), name_of(effect), effect->n, number_of(other),
				name_of(other), other->n);
		}
		if (other->at >= effect->undo_asked && other->order > effect->order &&
		    other->order < effect->undone) {
			sim_fail("effect %u (%s %u) began while %u was being undone",
				 number_of(other), name_of(other), other->n, number_of(effect));
		}
	}
}

/* One wish is fulfilled once at a time, but for what the operator is told of. */
static void check_single(const struct sim_effect *effect)
{
	for (const struct sim_effect *other = sim.effects; other < effect; other++) {
		if (other->tool == effect->tool && other->n == effect->n &&
		    (other->undone == 0 || other->undone > effect->order) && !is_reported(other) &&
		    !is_reported(effect)) {
			sim_fail("%s %u was done again (%u, %u) and stood already", name_of(effect),
				 effect->n, number_of(other), number_of(effect));
		}
	}
}

static bool is_called(const struct sim_effect *effect)
{
	for (unsigned i = 0; i < sim.conv_count; i++) {
		const struct sim_call *calls;
		unsigned count = conv_calls(sim.convs[i], &calls);

		for (unsigned k = 0; k < count; k++) {
			if (calls[k].tool == effect->tool && calls[k].n == effect->n &&
			    calls[k].complete && !calls[k].deleted) {
				return true;
			}
		}
	}
	return false;
}

/* A pass over the whole turn has named it, and the item may have been on its way when the line was cut. */
static bool was_about_to_be_called(const struct sim_effect *effect)
{
	for (unsigned i = 0; i < sim.named_count; i++) {
		const struct sim_named *named = &sim.named[i];

		if (named->tool == effect->tool && named->n == effect->n && named->whole) {
			return is_near_cut(named->at) || is_near_cut(effect->at);
		}
	}
	return false;
}

/* Nothing stands that nobody called, and the journal knows the end of everything. */
static void check_end(const struct sim_effect *effect)
{
	int how = disk_settlement(effect->key);

	if (effect->durable && how < 0) {
		sim_fail("the journal does not know how effect %u (%s %u) ended", number_of(effect),
			 name_of(effect), effect->n);
	}
	sim.stats.parked += is_reported(effect);
	/* Another caller's change can stand in the way of an undo; with one caller and nothing that fails nothing can. */
	if (is_reported(effect) && sim.profile.clean && sim.caller_count == 1) {
		sim_fail("effect %u (%s %u) was left to the operator, and nothing had failed",
			 number_of(effect), name_of(effect), effect->n);
	}
	if (effect->undone != 0) {
		if (how != JRN_UNDONE && !is_reported(effect)) {
			sim_fail("effect %u (%s %u) was undone, the journal has settlement %d",
				 number_of(effect), name_of(effect), effect->n, how);
		}
		return;
	}
	if (how == JRN_UNDONE || how == JRN_NEVER_STARTED || how == JRN_FAILED) {
		sim_fail("effect %u (%s %u) stands, the journal has settlement %d",
			 number_of(effect), name_of(effect), effect->n, how);
	}
	if (!is_reported(effect) && !is_called(effect) && !was_about_to_be_called(effect)) {
		sim_fail("effect %u (%s %u) stands, and nobody called it", number_of(effect),
			 name_of(effect), effect->n);
	}
}

static void check_told(const struct sim_call *call)
{
	const struct sim_effect *effect;

	if (!call->ok) {
		return;
	}
	if (call->out_n != call->n) {
		sim_fail("%s was told the result of another call", call->call_id);
	}
	if (!sim_kinds[call->tool].effect) {
		return;
	}
	if (call->out_ref == 0 || call->out_ref > sim.effect_count) {
		sim_fail("%s was told of an effect there is not", call->call_id);
		return;
	}
	effect = &sim.effects[call->out_ref - 1];
	if (effect->tool != call->tool || effect->n != call->n) {
		sim_fail("%s was told of another effect", call->call_id);
	}
	if (effect->undone != 0 && !is_near_cut(call->answered)) {
		sim_fail("%s was told that %s %u is done, and it was undone", call->call_id,
			 name_of(effect), effect->n);
	}
}

/* A read sees the writes whose results stand before it. */
static void check_fresh(const struct sim_call *calls, unsigned count, const struct sim_call *read)
{
	for (unsigned i = 0; i < count; i++) {
		const struct sim_call *write = &calls[i];

		if (write->ok && sim_kinds[write->tool].effect && write->out_ref > 0 &&
		    write->out_ref <= sim.effect_count &&
		    sim_kinds[write->tool].tag == sim_kinds[read->tool].tag &&
		    write->out_order < read->order &&
		    sim.effects[write->out_ref - 1].version > read->out_version) {
			sim_fail("%s (%s %u) was read before the write %s, which it must follow",
				 read->call_id, sim_kinds[read->tool].name, read->n,
				 write->call_id);
		}
	}
}

static void check_conv(const struct sim_conv *conv)
{
	const struct sim_call *calls;
	unsigned count = conv_calls(conv, &calls);

	for (unsigned i = 0; i < count; i++) {
		const struct sim_call *call = &calls[i];

		if (call->complete && !call->deleted && call->outputs == 0 && !conv_was_cut(conv)) {
			sim_fail("%s (%s %u) has no output", call->call_id,
				 sim_kinds[call->tool].name, call->n);
		}
		check_told(call);
		if (call->ok && !sim_kinds[call->tool].effect) {
			check_fresh(calls, count, call);
		}
	}
}

void check_run(void)
{
	for (unsigned i = 0; i < sim.effect_count; i++) {
		const struct sim_effect *effect = &sim.effects[i];

		check_intents(effect);
		if (sim_kinds[effect->tool].hold) {
			check_hold(effect);
		}
		if (effect->undone != 0) {
			check_undo(effect);
		}
		check_single(effect);
		check_end(effect);
	}
	for (unsigned i = 0; i < sim.conv_count; i++) {
		check_conv(sim.convs[i]);
	}
}

/* ---- comparing two runs ---- */

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

char *check_standing(void)
{
	enum {
		LINE = 24
	};
	static char lines[SIM_EFFECTS_MAX][LINE];
	unsigned count = 0;
	size_t len = 0;
	char *text;

	for (unsigned i = 0; i < sim.effect_count; i++) {
		/* What the operator is told of nobody takes for done. */
		if (sim.effects[i].undone == 0 && !is_reported(&sim.effects[i])) {
			(void)snprintf(lines[count++], LINE, "%s-%u", name_of(&sim.effects[i]),
				       sim.effects[i].n);
		}
	}
	qsort(lines, count, LINE, by_text);
	text = calloc(count + 1, LINE);
	BC_BUG_ON(text == NULL);
	for (unsigned i = 0; i < count; i++) {
		memcpy(text + len, lines[i], strlen(lines[i]));
		len += strlen(lines[i]);
		text[len++] = ' ';
	}
	return text;
}
