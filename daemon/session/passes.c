/*
 * Passes: asking the provider, out of band and unseen by the client, which tools it would call for what the caller has
 * said so far; and running the guesses that follow.  A pass is given references to the conversation, the running turn's
 * audio or words, perhaps results of finished guesses, and a directive last; a changed front would lose the prompt cache.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PASS_REST  (30 * BC_USEC_PER_SEC) /* after a pass the upstream could not serve */
#define WORDS_LATE (BC_USEC_PER_SEC)      /* by how much a transcript may trail the voice */

/* ---- starting ---- */

/* Whether a pass over the running turn hears its audio: a typed turn has none. */
static bool hears_audio(const struct sess *sess)
{
	return sess->cfg->speculation.input == CFG_PASS_INPUT_AUDIO &&
	       !sess->agent->passes.audio_refused && sess->agent->hearing.spoken;
}

/* Whether it hears what the model will hear, and not what a recogniser makes of it. */
static bool hears_input(const struct sess *sess)
{
	const struct hearing *hearing = &sess->agent->hearing;

	return hears_audio(sess) || (!hearing->spoken && hearing->words.given);
}

/* An answer that a pass would slow is about to begin (U4). */
static bool is_barred(const struct sess *sess)
{
	return trait_lacks(sess, TRAIT_PARALLEL_PASSES) && answer_is_awaited(sess);
}

/* Whether the provider takes passes, now and with this turn. */
static bool are_taken(const struct sess *sess)
{
	const struct agent *agent = sess->agent;
	const struct passes *passes = &agent->passes;

	return agent->hearing.on && !agent->hearing.overflow && !passes->off &&
	       !passes->vendor_tools && !agent->refused && sess->state == SESS_OPEN &&
	       sess_now(sess) >= passes->rest_until && !is_barred(sess);
}

static bool may_start(struct sess *sess, enum spec_moment when)
{
	const struct agent *agent = sess->agent;
	const struct hearing *hearing = &agent->hearing;

	if (!hearing->turn_open || !are_taken(sess)) {
		return false;
	}
	if (when != SPEC_AT_PAUSE && trait_lacks(sess, TRAIT_PASS_CACHE)) {
		return false; /* each costs its full price: only those that can confirm */
	}
	if (hears_audio(sess) ? bc_buf_len(&hearing->audio) == 0
			      : bc_buf_len(&hearing->transcript) == 0) {
		return false;
	}
	return spec_pass_may_start(agent->spec, when);
}

/* Free places for all sessions that have made no pass yet: only read, for a place is written to while it is taken. */
static struct pass none[SPEC_PASSES_MAX];

void pass_init(struct passes *passes)
{
	passes->running = none;
}

unsigned pass_count(const struct agent *agent)
{
	unsigned count = 0;

	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		count += agent->passes.running[i].number != 0;
	}
	return count;
}

/* A place for one more, which there is; NULL when out of memory. */
static struct pass *free_pass(struct agent *agent)
{
	if (agent->passes.running == none) {
		struct pass *own = calloc(SPEC_PASSES_MAX, sizeof(*own));

		if (own == NULL) {
			return NULL;
		}
		agent->passes.running = own;
	}
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		if (agent->passes.running[i].number == 0) {
			return &agent->passes.running[i];
		}
	}
	BC_BUG_ON(true);
	return NULL;
}

static void count_pair(void *arg, const struct guess *guess)
{
	(void)guess;
	(*(unsigned *)arg)++;
}

void pass_drop_withdrawn(struct sess *sess)
{
	struct guess *guess;

	while ((guess = spec_next_withdrawn(sess->agent->spec)) != NULL) {
		work_drop_guess(sess, guess);
	}
}

static void pass_run_guesses(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct guess *guess;

	/* What is taken back comes first: an effect in its place waits for that, and is not caught half way. */
	pass_drop_withdrawn(sess);
	while ((guess = spec_next_unasked(agent->spec)) != NULL) {
		spec_answered(agent->spec, guess, spend_releases(sess, guess));
	}
	while ((guess = spec_next_stable(agent->spec)) != NULL) {
		if (!spend_admits(sess, guess)) {
			spec_refuse(agent->spec, guess);
		} else if (!work_guess(sess, guess)) {
			spec_lose(agent->spec, guess);
		}
	}
	pass_drop_withdrawn(sess);
}

/* What was read too long ago is asked for again, so that the pass names it anew and it is there in time. */
static void expire(struct sess *sess)
{
	spec_expire(sess->agent->spec, sess_now(sess));
	pass_run_guesses(sess);
}

static void start(struct sess *sess, enum spec_moment when, enum pass_given given)
{
	struct agent *agent = sess->agent;
	struct pass *pass = free_pass(agent);
	struct bc_buf text;
	unsigned pairs = 0;
	bool followup = when == SPEC_AT_FOLLOWUP;
	/* In the conversation the turn is as the caller made it. */
	struct spec_input input = {.horizon = hear_position(sess),
				   .exact = followup || hears_input(sess),
				   .when = when};

	if (pass == NULL) {
		return; /* the next trigger tries again */
	}
	if (given != GIVEN_NONE) {
		input.premises =
			spec_each_finished(agent->spec, given == GIVEN_FIRSTS, count_pair, &pairs);
	}
	*pass = (struct pass){.number = spec_pass_begin(agent->spec, &input),
			      .turn = agent->hearing.turn,
			      .with_audio = !followup && hears_audio(sess),
			      .followup = followup,
			      .started = sess_now(sess)};
	deadline_set(sess, pass->started + sess->cfg->speculation.pass_timeout);
	bc_id_new(pass->event_id, 'p');
	pass->request = ++agent->requests;
	bc_buf_init(&text, sess->cfg->session.message_max);
	if (pass_put(sess, pass, given, &text) == BC_OK) {
		bc_metric_inc(BC_M_PASSES);
		bc_metric_add(BC_M_FOLLOWUP_PASSES, followup);
		agent->answering.beside = true;
		(void)sess_to_upstream(
			sess, bc_buf_span(&text)); /* pressure shows with the next message */
	} else {
		spec_pass_end(agent->spec, pass->number, false);
		pass->number = 0;
	}
	bc_buf_release(&text);
}

void pass_followup(struct sess *sess, const struct cfg_tool *behind)
{
	struct agent *agent = sess->agent;

	/* While nothing is guessed, nobody has told what was heard since. */
	spec_heard(agent->spec, hear_position(sess), agent->hearing.last_input);
	if (are_taken(sess) && !agent->passes.followups_off &&
	    spec_pass_may_start(agent->spec, SPEC_AT_FOLLOWUP) &&
	    spend_admits_followup(sess, behind)) {
		start(sess, SPEC_AT_FOLLOWUP, GIVEN_NONE);
	}
}

/*
 * What follows from results in hand, unless a pass that has heard as much is about to tell.  false: there is no place for it,
 * until another one has ended.
 */
static bool start_given(struct sess *sess, enum spec_moment when, enum pass_given given)
{
	unsigned finished = 0;
	uint32_t results =
		spec_each_finished(sess->agent->spec, given == GIVEN_FIRSTS, count_pair, &finished);

	if (finished == 0 || sess->state != SESS_OPEN ||
	    spec_is_heard(sess->agent->spec, results)) {
		return true;
	}
	if (!may_start(sess, when)) {
		return false;
	}
	start(sess, when, given);
	return true;
}

/* Two kinds of knowledge at a pause: what the caller's words alone name, and what follows from results in hand. */
static void start_at_pause(struct sess *sess)
{
	if (sess->agent->mode == SPEC_STRICT) {
		start(sess, SPEC_AT_PAUSE, GIVEN_ALL);
		return;
	}
	/* One that began a moment before, behind the last word, hears as much as one that begins now. */
	if (!spec_is_heard(sess->agent->spec, 0)) {
		start(sess, SPEC_AT_PAUSE, GIVEN_NONE);
	}
	sess->agent->passes.wanted_given = !start_given(sess, SPEC_AT_PAUSE, GIVEN_FIRSTS);
}

/* A silence is over, or another one has begun. */
static void forget_wanted(struct passes *passes)
{
	passes->wanted_given = false;
	passes->wanted_behind = false;
	passes->words_late = false;
}

/* What a pause or a result wants beside the pass of the words, when there is a place for it again. */
static void start_wanted(struct sess *sess)
{
	struct passes *passes = &sess->agent->passes;

	if (passes->wanted_given && may_start(sess, SPEC_AT_PAUSE)) {
		passes->wanted_given = false;
		if (spend_admits_pass(sess)) {
			expire(sess);
			passes->wanted_given = !start_given(sess, SPEC_AT_PAUSE, GIVEN_FIRSTS);
		}
	}
	if (passes->wanted_behind && may_start(sess, SPEC_AT_RESULT)) {
		passes->wanted_behind = false;
		passes->wanted = false;
		if (spend_admits_pass(sess)) {
			expire(sess);
			passes->wanted_behind = !start_given(sess, SPEC_AT_RESULT, GIVEN_ALL);
		}
	}
}

void pass_trigger(struct sess *sess)
{
	if (sess->agent->spec == NULL) {
		return;
	}
	if (sess->agent->reasoner != NULL) {
		reasoner_trigger(sess);
	} else {
		sess->agent->passes.wanted = true;
	}
	pass_advance(sess);
}

void pass_result(struct sess *sess)
{
	struct agent *agent = sess->agent;
	const struct hearing *hearing = &agent->hearing;
	bool silent = (hearing->spoken && !hearing->detector.speech) || hearing->words.complete;

	if (agent->spec == NULL || agent->reasoner != NULL || !hearing->turn_open || !silent) {
		pass_trigger(sess);
		return;
	}
	/*
	 * The turn may end at any moment: what follows is asked at once, not an interval behind the passes of the pause;
	 * where it cannot be, and the caller speaks on, as any result.
	 */
	agent->passes.wanted_behind = true;
	agent->passes.wanted = true;
	pass_advance(sess);
}

void pass_clause_ended(struct sess *sess)
{
	struct agent *agent = sess->agent;

	/*
	 * The words come late: a pass has heard them spoken.  Not so the second clause of a silence, or one long after the
	 * last voice: then somebody speaks whom the ear does not hear.
	 */
	if (agent->spec != NULL && agent->reasoner == NULL && hears_audio(sess) &&
	    !agent->hearing.detector.told && !agent->passes.words_late &&
	    hear_quiet(sess) <= WORDS_LATE && spec_has_heard_all(agent->spec)) {
		agent->passes.words_late = true;
		pass_advance(sess);
	} else {
		pass_trigger(sess);
	}
}

/* A pass that will not be waited for: its proposals are void, and its place is free. */
static void give_up(struct sess *sess, struct pass *pass)
{
	if (pass->response[0] != '\0') {
		(void)lane_send_cancel(sess, pass->response);
	} else {
		pass_forsake(sess->agent, pass->request);
	}
	/* One that the provider has not named yet is cancelled when it is (pass_created()). */
	spec_pass_end(sess->agent->spec, pass->number, false);
	pass->number = 0;
}

void pass_pause(struct sess *sess)
{
	struct agent *agent = sess->agent;

	if (agent->spec == NULL) {
		return;
	}
	if (agent->reasoner != NULL) {
		pass_trigger(sess);
		return;
	}
	/* What starts now may hear the whole turn; passes that have not are in its way. */
	for (unsigned i = 0;
	     i < SPEC_PASSES_MAX && !is_barred(sess) && !may_start(sess, SPEC_AT_PAUSE); i++) {
		struct pass *pass = &agent->passes.running[i];

		if (pass->number != 0 && !spec_pass_is_complete(agent->spec, pass->number)) {
			give_up(sess, pass);
		}
	}
	forget_wanted(&agent->passes);
	agent->passes.wanted_at_pause = true;
	pass_advance(sess);
}

void pass_advance(struct sess *sess)
{
	struct agent *agent = sess->agent;

	if (agent->spec == NULL || sess->state != SESS_OPEN) {
		return;
	}
	words_clock(sess);
	if (agent->reasoner != NULL) {
		reasoner_advance(sess);
	}
	pass_run_guesses(sess);
	if (agent->hearing.detector.speech) {
		forget_wanted(&agent->passes);
	}
	if (agent->passes.wanted_at_pause && may_start(sess, SPEC_AT_PAUSE)) {
		agent->passes.wanted_at_pause = false;
		agent->passes.wanted = false;
		if (spend_admits_pass(sess)) {
			expire(sess);
			start_at_pause(sess);
		}
	} else {
		start_wanted(sess);
	}
	if (agent->passes.wanted && !agent->passes.wanted_behind &&
	    may_start(sess, SPEC_IN_SPEECH)) {
		agent->passes.wanted = false;
		if (spend_admits_pass(sess)) {
			expire(sess);
			start(sess, SPEC_IN_SPEECH, GIVEN_ALL);
		}
	}
	words_arm(sess);
	take_advance(sess);
}

/* ---- answers ---- */

/* The pass that a response with our mark answers; NULL: it was given up. */
static struct pass *pass_marked(struct agent *agent, struct bc_span response)
{
	char number[24];

	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		struct pass *pass = &agent->passes.running[i];

		(void)snprintf(number, sizeof(number), "%" PRIu64, pass->number);
		if (pass->number != 0 && pass->response[0] == '\0' &&
		    field_is(field_raw(response, "metadata"), "bc_v", number)) {
			return pass;
		}
	}
	return NULL;
}

void pass_created(struct sess *sess, struct resp *resp, struct bc_span response)
{
	struct pass *pass = pass_marked(sess->agent, response);

	if (prepare_created(sess, resp, response)) {
		return;
	}
	if (pass == NULL) {
		if (pass_is_unmarked(sess, field_raw(response, "metadata"))) {
			pass_unmarked_created(sess);
		} else {
			pass_forsaken_created(sess->agent);
		}
		(void)lane_send_cancel(sess, resp->id);
		return;
	}
	sess->agent->passes.marked = true;
	memcpy(pass->response, resp->id, sizeof(pass->response));
}

/* The running pass a response answers, or NULL. */
static struct pass *pass_of(struct agent *agent, const struct resp *resp)
{
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		struct pass *pass = &agent->passes.running[i];

		if (pass->number != 0 && strcmp(resp->id, pass->response) == 0) {
			return pass;
		}
	}
	return NULL;
}

/* A call with these arguments; it is one of ours and fits its tool's schema. */
static void name(struct sess *sess, const struct pass *pass, const struct cfg_tool *tool,
		 const char *canonical, struct bc_span said)
{
	bool real = work_is_real(sess, tool, canonical, pass->turn);

	if ((real && pass->followup) || work_is_untold(sess, tool, canonical, pass->turn)) {
		/* A second one may be meant, or one that nobody has heard of: the provider's own call would tell. */
		spec_pass_names_other(sess->agent->spec, pass->number);
		return;
	}
	if (real) {
		return; /* the provider has made it meanwhile: nothing new */
	}
	if (spec_pass_names(sess->agent->spec, pass->number, tool, canonical, said) != BC_OK) {
		bc_log(BC_LOG_DEBUG, &sess->log, "proposal dropped: too many in this turn");
	}
}

void pass_item(struct sess *sess, const struct resp *resp, struct bc_span item)
{
	struct agent *agent = sess->agent;
	struct pass *pass = pass_of(agent, resp);
	const struct cfg_tool *tool;
	char *said;
	char *canonical;

	if (prepare_item(sess, resp, item) || pass == NULL ||
	    !field_is(item, "type", "function_call")) {
		return;
	}
	traits_pass_named(sess, pass);
	tool = guessing_call(sess, item, &said, &canonical);
	if (tool == NULL) {
		/* The client's tool, or a call that cannot be made: the provider's own response has the word. */
		spec_pass_names_other(agent->spec, pass->number);
		return;
	}
	name(sess, pass, tool, canonical, bc_span_str(said));
	free(said);
	free(canonical);
}

void pass_done(struct sess *sess, const struct resp *resp, struct bc_span response)
{
	struct agent *agent = sess->agent;
	struct pass *pass = pass_of(agent, resp);

	spend_pass(sess, field_raw(response, "usage"));
	if (prepare_done(sess, resp) || pass == NULL) {
		return;
	}
	traits_pass_done(sess, pass, response);
	if (field_is(response, "status", "failed")) {
		bc_metric_inc(BC_M_PASSES_FAILED);
		agent->passes.rest_until = sess_now(sess) + PASS_REST;
	}
	spec_pass_end(agent->spec, pass->number, field_is(response, "status", "completed"));
	pass->number = 0;
	/* Words were taken for heard by a pass that has come to nothing. */
	agent->passes.wanted = agent->passes.wanted ||
			       (agent->passes.words_late && !spec_has_heard_all(agent->spec));
	pass_advance(sess);
}

/* ---- ends ---- */

bc_usec pass_due(struct sess *sess)
{
	struct agent *agent = sess->agent;
	bc_usec patience = sess->cfg->speculation.pass_timeout;
	bc_usec now = sess_now(sess);

	if (sess->blocked[SESS_UPSTREAM] != 0) {
		return now + patience; /* its end may be there and unread */
	}
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		struct pass *pass = &agent->passes.running[i];

		if (pass->number == 0) {
			continue;
		}
		if (now < pass->started + patience) {
			deadline_set(sess, pass->started + patience);
			continue;
		}
		bc_metric_inc(BC_M_PASS_TIMEOUTS);
		bc_log(BC_LOG_WARNING, &sess->log,
		       "provider has not ended a pass in time, giving it up");
		give_up(sess, pass);
	}
	pass_advance(sess);
	return -1;
}

void pass_turn_committed(struct sess *sess)
{
	struct agent *agent = sess->agent;

	spec_heard(agent->spec, hear_position(sess), agent->hearing.last_input);
	spec_turn_commit(agent->spec);
	agent->passes.wanted = false;
	agent->passes.wanted_at_pause = false;
	forget_wanted(&agent->passes);
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		struct pass *pass = &agent->passes.running[i];

		/* One that missed the last words still finds reads before the provider's own response does; one that
		 * was given other words than those that count does not. */
		if (pass->number != 0 && !pass->with_audio &&
		    !spec_pass_is_complete(agent->spec, pass->number)) {
			give_up(sess, pass);
		}
	}
	if (agent->hearing.turn > 1) {
		spec_withdraw_all(agent->spec, agent->hearing.turn - 1);
	}
	pass_advance(sess);
}

void pass_withdraw(struct sess *sess, uint64_t turn)
{
	struct agent *agent = sess->agent;

	if (agent->spec == NULL) {
		return;
	}
	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		struct pass *pass = &agent->passes.running[i];

		if (pass->number != 0 && pass->turn <= turn) {
			give_up(sess, pass);
		}
	}
	reasoner_over(sess, turn);
	forget_wanted(&agent->passes);
	spec_withdraw_all(agent->spec, turn);
	pass_advance(sess);
}

void pass_fini(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct guess *guess;

	if (agent->spec == NULL) {
		return;
	}
	spec_withdraw_all(agent->spec, UINT64_MAX);
	while ((guess = spec_next_withdrawn(agent->spec)) != NULL) {
		work_drop_guess(sess, guess);
	}
	agent->spec = spec_free(agent->spec);
	if (agent->passes.running != none) {
		free(agent->passes.running);
	}
}
