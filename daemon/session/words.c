/*
 * The caller's words where the client gives them: typed, or heard by a recogniser of its own.  They take the place of
 * the provider's transcript of the running turn, open a turn where no voice does, and tell when it is worth a look: at
 * the end of a clause, when typing rests, and at once when the client says that this is all.
 *
 * Words are settled stretch by stretch: a partial replaces the running stretch, a final settles it.  They are a guide
 * for guessing and never reach the provider's conversation; what does is the client's own item, or committed audio.
 */
#include "daemon/session/sess.h"

#include <stdlib.h>

/* ---- taking ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\t';
}

/* The running stretch as it stands in the transcript. */
static struct bc_span stretch(const struct hearing *hearing)
{
	struct bc_span all = bc_buf_span(&hearing->transcript);

	return bc_span(all.ptr + hearing->words.settled, all.len - hearing->words.settled);
}

/* Put text behind what is settled; a blank keeps stretches apart. */
static enum bc_err replace(struct hearing *hearing, struct bc_span text)
{
	struct bc_span settled =
		bc_span(bc_buf_span(&hearing->transcript).ptr, hearing->words.settled);
	bool apart = settled.len > 0 && text.len > 0 && !is_blank(settled.ptr[settled.len - 1]) &&
		     !is_blank(text.ptr[0]);
	char *room;

	bc_buf_cut(&hearing->transcript, settled.len);
	if (bc_buf_room(&hearing->transcript, text.len + 1, &room) != BC_OK) {
		return BC_E_LIMIT;
	}
	*room = ' ';
	memcpy(room + (apart ? 1 : 0), text.ptr, text.len);
	bc_buf_grow(&hearing->transcript, text.len + (apart ? 1 : 0));
	return BC_OK;
}

/* Whether the running stretch is that text already. */
static bool is_running(const struct hearing *hearing, struct bc_span text)
{
	struct bc_span running = stretch(hearing);

	if (running.len == text.len + 1 && is_blank(running.ptr[0])) {
		running = bc_span(running.ptr + 1, text.len);
	}
	return bc_span_eq(running, text);
}

static void complete(struct sess *sess, bool settled)
{
	struct hearing *hearing = &sess->agent->hearing;

	if (settled) {
		hearing->words.settled = bc_buf_len(&hearing->transcript);
	}
	hearing->words.complete = true;
	hearing->words.unasked = false;
	words_clock(sess);
	spec_input_complete(sess->agent->spec, true);
	/* What a pass has heard to the end needs no second one. */
	if (spec_has_heard_all(sess->agent->spec)) {
		pass_advance(sess);
	} else {
		pass_pause(sess);
	}
}

/* Words of a turn that will be heard of when the one before it is over: the last stretch is kept. */
static enum bc_err keep(struct words *words, struct bc_span text, bool final)
{
	bc_buf_clear(&words->pending);
	words->pending_final = final;
	return bc_buf_put_span(&words->pending, text);
}

static void changed(struct sess *sess)
{
	struct words *words = &sess->agent->hearing.words;

	hear_changed(sess);
	words->changed_at = sess_now(sess);
	words->unasked = true;
	words_resumed(sess);
	words_clock(sess);
}

enum bc_err words_take(struct sess *sess, struct bc_span text, bool final)
{
	struct hearing *hearing = &sess->agent->hearing;
	struct words *words = &hearing->words;

	if (!hearing->on) {
		return BC_OK; /* nobody guesses */
	}
	if (words->ahead > 0 || words->ending != 0) {
		return keep(words, text, final);
	}
	hear_open(sess);
	if (!words->given) {
		words->given = true;
		words->settled = 0;
		bc_buf_clear(&hearing->transcript);
	}
	if (!is_running(hearing, text)) {
		if (replace(hearing, text) != BC_OK) {
			return BC_E_LIMIT;
		}
		changed(sess);
	}
	if (final) {
		complete(sess, true);
	} else if (words->unasked && hear_ends_clause(text)) {
		words->unasked = false;
		hear_clause_ended(sess);
	} else {
		pass_advance(sess);
	}
	return BC_OK;
}

bool words_complete(struct sess *sess, bool settled)
{
	const struct hearing *hearing = &sess->agent->hearing;

	if (!hearing->on || !hearing->turn_open || hearing->words.ahead > 0 ||
	    hearing->words.ending != 0) {
		return false;
	}
	complete(sess, settled);
	return true;
}

void words_resumed(struct sess *sess)
{
	struct hearing *hearing = &sess->agent->hearing;

	if (hearing->on && hearing->words.complete) {
		hearing->words.complete = false;
		spec_input_complete(sess->agent->spec, false);
	}
}

/* ---- the end of a turn ---- */

/* Whether an item's text, as far as it is text, is what the words were. */
static bool is_said(const struct hearing *hearing, struct bc_span item)
{
	struct bc_span words = bc_buf_span(&hearing->transcript);
	struct bc_span content = field_raw(item, "content");
	struct bc_span raw;
	char *text;
	size_t len;
	bool same;

	if (content.len < 2 || content.ptr[0] != '[') {
		return false;
	}
	/* A message a client types has one part. */
	raw = field_raw(bc_span(content.ptr + 1, content.len - 2), "text");
	if (!json_raw_is_string(raw) || (text = malloc(raw.len)) == NULL) {
		return false;
	}
	same = json_string_get(raw, text, raw.len, &len) == BC_OK &&
	       bc_span_eq(bc_span(text, len), words);
	free(text);
	return same;
}

void words_end(struct sess *sess, struct bc_span item)
{
	struct hearing *hearing = &sess->agent->hearing;

	if (!sess->agent->extension.on || !hearing->on) {
		return;
	}
	if (hearing->turn_open && hearing->words.given && item.len > 0 && !is_said(hearing, item)) {
		hear_changed(sess); /* no pass has heard what it says */
		words_clock(sess);
	}
	hearing->words.ahead++;
}

/* Words that were kept come, unless another turn is to end before them. */
static void take_pending(struct sess *sess)
{
	struct words *words = &sess->agent->hearing.words;
	struct bc_span text = bc_buf_span(&words->pending);

	words->ending = 0;
	if (words->ahead > 0 || text.len == 0) {
		return;
	}
	if (words_take(sess, text, words->pending_final) != BC_OK) {
		bc_log(BC_LOG_WARNING, &sess->log, "out of memory, words of a turn are lost");
	}
	bc_buf_clear(&words->pending);
}

void words_turn_ends(struct sess *sess, const char *item)
{
	struct words *words = &sess->agent->hearing.words;

	if (words->ahead == 0) {
		return;
	}
	words->ahead--;
	/* A pass that began now could not name what was just said. */
	words->ending = id_hash(item);
	if (item[0] == '\0') {
		take_pending(sess);
	}
}

void words_item_done(struct sess *sess, const char *item)
{
	const struct words *words = &sess->agent->hearing.words;

	if (words->ending == id_hash(item)) {
		take_pending(sess);
	}
}

void words_answered(struct sess *sess)
{
	if (sess->agent->hearing.words.ending != 0) {
		take_pending(sess);
	}
}

void words_turn_refused(struct sess *sess)
{
	struct words *words = &sess->agent->hearing.words;

	if (words->ahead > 0) {
		words->ahead--;
		if (words->ending == 0) {
			take_pending(sess);
		}
	}
}

bool words_are_ahead(const struct agent *agent)
{
	const struct words *words = &agent->hearing.words;

	return bc_buf_len(&words->pending) > 0;
}

/* ---- the time of a typed turn ---- */

static bool is_typed(const struct agent *agent)
{
	return agent->spec != NULL && agent->hearing.on && agent->hearing.turn_open &&
	       !agent->hearing.spoken;
}

void words_clock(struct sess *sess)
{
	struct agent *agent = sess->agent;

	/* Between two frames of a voice its last sample is the time; what is given with it counts from there. */
	if (agent->spec != NULL && agent->hearing.on && agent->hearing.turn_open) {
		spec_heard(agent->spec, hear_position(sess), agent->hearing.last_input);
	}
}

void words_arm(struct sess *sess)
{
	const struct agent *agent = sess->agent;
	const struct words *words = &agent->hearing.words;
	bc_usec delay;

	if (!is_typed(agent)) {
		return;
	}
	delay = spec_wait(agent->spec, agent->passes.wanted);
	if (words->unasked) {
		bc_usec quiet = words->changed_at + sess->cfg->speculation.pause - sess_now(sess);

		quiet = quiet > 0 ? quiet : 0;
		delay = delay < 0 || quiet < delay ? quiet : delay;
	}
	if (agent->reasoner != NULL) {
		bc_usec due = reasoner_wait(sess);

		delay = delay < 0 || (due >= 0 && due < delay) ? due : delay;
	}
	sess->world->timer(sess->world_arg, SESS_TIMER_WORDS, delay);
}

void words_timer(struct sess *sess)
{
	struct words *words = &sess->agent->hearing.words;

	if (!is_typed(sess->agent)) {
		return;
	}
	if (words->unasked && sess_now(sess) - words->changed_at >= sess->cfg->speculation.pause) {
		words->unasked = false;
		pass_trigger(sess);
	} else {
		pass_advance(sess);
	}
}
