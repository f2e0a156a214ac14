/*
 * Turns of a chance conversation in which passes come back in time: the caller pauses for long enough, so that what the
 * passes name is in hand, or waits for its permission, when the provider begins its own response.  By chance alone that is rare.
 */
#include "proto/b64.h"
#include "tests/unit/session_model.h"

#include <check.h>
#include <string.h>

#define CHUNK_BYTES 4800 /* 100 ms of pcm16 */
#define TURNS_MAX   3    /* in one conversation: the rig's room for messages and runs is bounded */

void model_sound(struct model *model, bool loud)
{
	static uint8_t bytes[CHUNK_BYTES];
	static char text[B64_ENCODED_LEN(CHUNK_BYTES) + 1];

	for (size_t i = 0; i < sizeof(bytes); i += 2) {
		bytes[i + 1] = loud ? (i / 2 % 20 < 10 ? 0x20 : 0xe0) : 0;
	}
	text[b64_encode(text, bytes, sizeof(bytes))] = '\0';
	model->sounds_sent++;
	rig_client(&model->rig, "{'type':'input_audio_buffer.append','audio':'%s'}", text);
}

static void sounds(struct model *model, unsigned loud, unsigned silent)
{
	for (unsigned i = 0; i < loud + silent; i++) {
		model_sound(model, i < loud);
	}
}

static void read_all(struct model *model)
{
	while (model_read(model)) {
	}
}

/* ---- guesses ---- */

/* The provider has read every pass and answers those that still run. */
static void answer_passes(struct model *model, enum model_kind kind, bool both)
{
	read_all(model);
	for (unsigned i = 0; i < MODEL_PASSES_MAX; i++) {
		struct model_response *pass = &model->aside[i];

		if (pass->metadata == NULL || strstr(pass->metadata, "\"p\"") == NULL) {
			continue;
		}
		model_call(model, pass, kind);
		if (both) {
			model_call(model, pass, MODEL_ORDER);
		}
		model_end(model, pass, "completed");
	}
}

void model_guesses_end(struct model *model)
{
	for (unsigned i = 0; i < model->rig.run_count; i++) {
		const struct rig_run *run = &model->rig.runs[i];

		if (run->speculative && !run->finished && !run->cancelled) {
			rig_finish(&model->rig, i, "{}");
		}
	}
}

void model_count_guesses(struct model *model)
{
	for (unsigned i = 0; i < model->rig.run_count; i++) {
		const struct rig_run *run = &model->rig.runs[i];

		if (run->speculative && run->finished &&
		    run->tool->effect == CFG_EFFECT_REVERSIBLE) {
			model->reached[REACH_KEPT] += run->settled == JRN_USED;
			model->reached[REACH_UNDONE] += run->settled == JRN_UNUSED;
		}
	}
}

/* ---- when the provider answers ---- */

/* Whether a cancel is on its way to the response that the provider makes. */
static bool is_cancelled(const struct model *model)
{
	const struct rig *rig = &model->rig;

	for (unsigned i = rig->seen[SESS_UPSTREAM]; i < rig->count[SESS_UPSTREAM]; i++) {
		if (model->active.metadata != NULL &&
		    strstr(rig->sent[SESS_UPSTREAM][i], "\"response.cancel\"") != NULL &&
		    strstr(rig->sent[SESS_UPSTREAM][i], model->active.id) != NULL) {
			return true;
		}
	}
	return false;
}

/* Something happens before the provider reads what the gateway makes of the verdict. */
static void race(struct model *model, enum model_kind kind)
{
	bool cancelled = is_cancelled(model);

	switch (model_chance(model, 8)) {
	case 0:
		model->reached[REACH_CANCEL_SPOKEN] += cancelled;
		model_caller(model);
		break;
	case 1:
		model->reached[REACH_CANCEL_CANCELLED] += cancelled;
		rig_client(&model->rig, "{'type':'response.cancel','event_id':'x'}");
		break;
	case 2:
		if (model->active.metadata != NULL) {
			model->reached[REACH_CANCEL_RACED] += cancelled;
			model_speak(model, &model->active);
		}
		break;
	case 3:
		if (model->active.metadata != NULL) {
			model_call(model, &model->active, kind);
		}
		break;
	default:
		break;
	}
}

/* A hold waits for silence, and then for its permission. */
static void wait_for_silence(struct model *model)
{
	bool waits = model->rig.timers[SESS_TIMER_GATE] >= 0;

	switch (model_chance(model, 4)) {
	case 0:
		model->reached[REACH_GATE_BROKEN] += waits;
		model_sound(model, true);
		break;
	case 1:
		rig_wait(&model->rig, BC_USEC_PER_SEC);
		(void)model_tool_ends(model);
		break;
	case 2:
		rig_wait(&model->rig, BC_USEC_PER_SEC);
		break;
	default:
		break;
	}
}

void model_turn(struct model *model)
{
	static const enum model_kind kinds[] = {MODEL_ORDER, MODEL_BOOK, MODEL_MOVE,
						MODEL_OTHER_ORDER};
	enum model_kind kind = kinds[model_chance(model, BC_ARRAY_LEN(kinds))];
	bool both = model_chance(model, 4) == 0;

	if (model->turns == TURNS_MAX) {
		return;
	}
	model->turns++;
	if (!model->speaking) {
		model_caller(model);
	}
	sounds(model, 2, 2);
	answer_passes(model, kind, both);
	if (model_chance(model, 4) == 0) {
		/* It was not all. */
		model_guesses_end(model);
		sounds(model, 4, 2);
		kind = kinds[model_chance(model, BC_ARRAY_LEN(kinds))];
		answer_passes(model, kind, both);
	}
	sounds(model, 0, 4); /* what was named is stable */
	answer_passes(model, kind, both);
	if (model_chance(model, 4) != 0) {
		model_guesses_end(model);
	}
	if (model->speaking) {
		model_caller(model);
	}
	race(model, kind);
	if (model_chance(model, 4) != 0) {
		read_all(model);
		wait_for_silence(model);
	}
}
