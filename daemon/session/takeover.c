/*
 * Taking over: a pass over the whole turn has named calls, or a reasoner that was told all its words has, so they are put
 * into the conversation with their results, and the provider's own response, which would name the same a model pass later,
 * is cancelled.
 *
 * Invariants:
 *   V1  A response is taken over only while it has shown no item, and only when every read that is put in has its result.
 *   V2  A hold starts only when no response of the provider is alive, no voice follows what the verdict has heard, the
 *       caller has been silent for hold_quiet, and since the commit nobody spoke, cancelled or cleared (J5); asked again in
 *       the step that receives the permission to start.
 *   V3  A response that came to its own end before the cancel reached it wins, and so does one that named a call, or was heard,
 *       before it was cut off: what a pass named in its place is not put in later, beside it.
 *   V4  Whoever loses an answer by a takeover that comes to nothing gets another one.
 *   V5  A takeover for which there is no room is declined, and the provider's own response decides: a bound costs the gain,
 *       never the session.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <assert.h>

static const char *const take_state_names[] = {
#define STATE(id, name) name,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/session/take_fsm.def"
};

static_assert(BC_ARRAY_LEN(take_state_names) == TAKE_STATE__COUNT, "a state has no name");

static enum take_state take_next(enum take_state from, enum take_event on)
{
	switch (BC_FSM_KEY(from, on)) {
#define STATE(id, name)
#define EVENT(id, name)
#define EDGE(from, on, to)                          \
	case BC_FSM_KEY(TAKE_##from, TAKE_EV_##on): \
		return TAKE_##to;
#include "daemon/session/take_fsm.def"
	default:
		return TAKE_STATE__COUNT;
	}
}

const char *take_state_name(enum take_state state)
{
	BC_BUG_ON(state >= TAKE_STATE__COUNT);
	return take_state_names[state];
}

static void take_move(struct sess *sess, enum take_event event)
{
	struct takeover *take = &sess->agent->take;
	enum take_state next = take_next(take->state, event);

	BC_BUG_ON(next == TAKE_STATE__COUNT);
	if (bc_log_wants(BC_LOG_DEBUG)) {
		bc_log(BC_LOG_DEBUG, &sess->log, "takeover %s -> %s", take_state_names[take->state],
		       take_state_names[next]);
	}
	ledger_note(sess, LEDGER_GATEWAY, "takeover", "%s", take_state_names[next]);
	take->state = next;
}

static void forget_params(struct takeover *take)
{
	json_decref(take->params);
	take->params = NULL;
}

void take_fini(struct agent *agent)
{
	forget_params(&agent->take);
}

/* ---- what can be put in ---- */

/* The first so many guesses of a verdict. */
struct share {
	struct spec_named named[SPEC_GUESSES_MAX];
	unsigned count;
	bool effects; /* the last level starts effects */
};

/* An effect that was done stays so; a read is worth something while it is fresh, as it is for a call of the provider. */
static bool is_in_hand(const struct sess *sess, const struct guess *guess)
{
	return guess->state == GUESS_DONE &&
	       (guess->tool->effect != CFG_EFFECT_READ ||
		sess_now(sess) - guess->dispatched <= guess->tool->fresh_for);
}

/* Whether an effect is started by putting it in, and not already done on a guess. */
static bool starts(const struct guess *guess)
{
	return guess->tool->effect != CFG_EFFECT_READ && guess->state == GUESS_PROPOSED;
}

/*
 * Whether a read was named behind an effect that changes what it reads: its result is older than that.  Of an effect that was
 * run on a guess the read knows itself.
 */
static bool is_overtaken(const struct spec_named *before, unsigned count, const struct guess *guess)
{
	for (unsigned i = 0; i < count && guess->tool->effect == CFG_EFFECT_READ; i++) {
		const struct cfg_tool *effect = before[i].guess->tool;

		for (size_t k = 0; (starts(before[i].guess) || guess->overtaken) &&
				   effect->effect != CFG_EFFECT_READ && k < effect->tags.count;
		     k++) {
			if (spec_has_tag(guess->tool, effect->tags.items[k])) {
				return true;
			}
		}
	}
	return false;
}

/*
 * Level by level: a level whose reads are not all in hand ends it, and so does, inclusively, one that starts an
 * effect, because what follows may depend on it.
 */
static void take_share(struct sess *sess, struct share *share)
{
	unsigned count = spec_verdict(sess->agent->spec, share->named);
	unsigned begin = 0;

	share->count = 0;
	share->effects = false;
	while (begin < count && !share->effects) {
		unsigned end = begin;
		bool ready = true;
		bool effects = false;

		for (; end < count && share->named[end].level == share->named[begin].level; end++) {
			const struct guess *guess = share->named[end].guess;

			effects = effects || starts(guess);
			ready = ready && (is_in_hand(sess, guess) || starts(guess)) &&
				!is_overtaken(share->named, end, guess);
		}
		if (!ready) {
			return;
		}
		share->effects = effects;
		share->count = end;
		begin = end;
	}
}

/* The turn is over, and what was heard of it still holds. */
static bool is_settled(const struct sess *sess)
{
	const struct agent *agent = sess->agent;

	return sess->state == SESS_OPEN && agent->spec != NULL && !agent->take.off &&
	       !agent->refused && agent->committed_turn == agent->hearing.turn &&
	       !agent->hearing.turn_open && !agent->speech && !agent->hearing.detector.speech &&
	       agent->disturbances == agent->take.undisturbed && !agent->eager.flushing;
}

/* Each level is a step, and each effect that starts a work. */
static bool has_room(const struct sess *sess, const struct share *share)
{
	const struct agent *agent = sess->agent;
	unsigned steps = share->count == 0 ? 0 : share->named[share->count - 1].level + 1;
	unsigned works = 0;

	for (unsigned i = 0; i < share->count; i++) {
		works += starts(share->named[i].guess);
	}
	return agent->step_count + steps <= SESS_STEPS_MAX &&
	       agent->work_count + works <= SESS_WORKS_MAX;
}

/*
 * Whether all of it may be made real.  Else the provider decides: where there is no room for it, and where the operator has
 * spoken since the calls were named.
 */
static bool is_released(struct sess *sess, const struct share *share)
{
	if (!has_room(sess, share)) {
		bc_metric_inc(BC_M_TAKEOVERS_DECLINED);
		ledger_note(sess, LEDGER_GATEWAY, "decline", "because=limit");
		spec_verdict_void(sess->agent->spec);
		return false;
	}
	for (unsigned i = 0; i < share->count; i++) {
		if (!spend_releases(sess, share->named[i].guess)) {
			spec_answered(sess->agent->spec, share->named[i].guess, false);
			return false;
		}
	}
	return true;
}

/* ---- the gate of holds ---- */

/* A response of the provider is alive, or one was asked for that the provider has not begun yet. */
static bool is_rivalled(const struct agent *agent)
{
	return agent->current != NULL || agent->followup[0] != '\0' ||
	       lane_oldest_sent(agent, false) != NULL;
}

static bool gate_is_open(struct sess *sess)
{
	return is_settled(sess) && !is_rivalled(sess->agent) &&
	       hear_quiet(sess) >= ear_hold_quiet(sess);
}

bool take_may_start(struct sess *sess, uint64_t turn, bc_usec heard)
{
	return gate_is_open(sess) && sess->agent->committed_turn == turn &&
	       sess->agent->hearing.last_input == heard;
}

/* ---- putting in ---- */

static void put_level(struct sess *sess, const struct share *share, unsigned begin, unsigned end)
{
	struct work *works[SPEC_GUESSES_MAX];
	bool made = true;

	for (unsigned i = begin; i < end && made; i++) {
		works[i - begin] = work_of_verdict(sess, share->named[i].guess);
		made = works[i - begin] != NULL;
	}
	if (!made ||
	    !step_inject(sess, sess->agent->take.params, works, end - begin, end == share->count)) {
		sess_end(sess, BC_E_NOMEM, "out_of_memory", "The gateway is out of memory.");
	}
}

static void put_in(struct sess *sess, const struct share *share)
{
	unsigned begin = 0;
	unsigned steps = 0;

	bc_metric_inc(BC_M_TAKEOVERS);
	bc_metric_add(BC_M_REASONER_VERDICTS, sess->agent->reasoner != NULL);
	ledger_note(sess, LEDGER_GATEWAY, "put_in", "calls=%u by=%s", share->count,
		    sess->agent->reasoner != NULL ? "reasoner" : "pass");
	while (begin < share->count && sess->state == SESS_OPEN) {
		unsigned end = begin;

		while (end < share->count && share->named[end].level == share->named[begin].level) {
			end++;
		}
		put_level(sess, share, begin, end);
		step_advance(sess); /* its outputs stand in front of what follows from them */
		begin = end;
		steps++;
	}
	spec_decided(sess->agent->spec, steps);
	take_move(sess, TAKE_EV_PUT);
	forget_params(&sess->agent->take);
	if (sess->state == SESS_OPEN) {
		take_wait_ends(sess);
		step_advance(sess);
	}
}

/* Nothing is put in after all: where it is still wanted, the answer that was cancelled is asked for again (V4). */
static void drop(struct sess *sess)
{
	struct agent *agent = sess->agent;

	take_move(sess, TAKE_EV_DROP);
	bc_metric_inc(BC_M_TAKEOVERS_DROPPED);
	if (!agent->take.unwanted && !is_rivalled(agent) && TAILQ_EMPTY(&agent->kept)) {
		lane_owe(sess, agent->take.params, false);
	}
	forget_params(&agent->take);
	take_wait_ends(sess);
	lane_pump(sess);
}

void take_lost_to(struct sess *sess, const struct resp *resp, bool completed)
{
	const struct agent *agent = sess->agent;

	/* The next turn may have begun: what is decided there is no business of this one. */
	if (agent->spec == NULL || !resp->default_conversation ||
	    resp->turn != agent->hearing.turn) {
		return;
	}
	/* A call that is complete is real, whoever runs it and however the response went on. */
	if (resp->step != NULL || (completed && resp->gateway_items > 0)) {
		spec_decided(agent->spec, 1);
	} else if (resp->visible_items > 0) {
		spec_verdict_void(agent->spec); /* the caller has heard what it made of the turn */
	}
}

/* ---- advancing ---- */

/* The provider's response that would have to be cancelled; NULL: there is none that may be. */
static struct resp *rival(const struct sess *sess)
{
	struct resp *current = sess->agent->current;

	if (current == NULL || sess->agent->lane != LANE_ACTIVE || current->visible_items > 0 ||
	    current->gateway_items > 0 || current->view == RESP_MERGED ||
	    current->view == RESP_HIDDEN || current->unwanted ||
	    current->turn != sess->agent->committed_turn) {
		return NULL;
	}
	return current;
}

bool take_may_replace(const struct sess *sess, const struct resp *resp)
{
	return sess->agent->take.state == TAKE_IDLE && is_settled(sess) && rival(sess) == resp;
}

/* The client's request was kept back, and no response is in the way or about to begin by itself. */
static bool nothing_is_in_the_way(const struct sess *sess)
{
	const struct agent *agent = sess->agent;

	return !is_rivalled(agent) && agent->lane == LANE_IDLE && !TAILQ_EMPTY(&agent->kept) &&
	       !step_is_open(sess) && !(agent->answer_expected && agent->take.provider_answers);
}

static void begin(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct resp *resp = rival(sess);
	struct share share;

	take_share(sess, &share);
	if (share.count == 0 || (resp == NULL && !nothing_is_in_the_way(sess)) ||
	    !is_released(sess, &share)) {
		return;
	}
	agent->take.turn = agent->committed_turn;
	agent->take.unwanted = false;
	if (resp == NULL) {
		take_move(sess, TAKE_EV_READY);
		return;
	}
	take_move(sess, TAKE_EV_CANCEL);
	resp->taken = true;
	forget_params(&agent->take);
	agent->take.params = json_incref(resp->params);
	lane_cancel(sess, resp);
}

static void pass_gate(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct share share;

	take_share(sess, &share);
	if (share.count == 0 || !is_settled(sess) || agent->take.turn != agent->committed_turn) {
		drop(sess);
		return;
	}
	if (is_rivalled(agent)) {
		drop(sess); /* a response that nobody expected: it decides */
		return;
	}
	if (share.effects && !gate_is_open(sess)) {
		sess->world->timer(sess->world_arg, SESS_TIMER_GATE,
				   ear_hold_quiet(sess) - hear_quiet(sess));
		return;
	}
	if (!is_released(sess, &share)) {
		drop(sess);
		return;
	}
	put_in(sess, &share);
}

void take_advance(struct sess *sess)
{
	struct agent *agent = sess->agent;

	if (agent->spec == NULL || sess->state != SESS_OPEN) {
		return;
	}
	reasoner_judge(sess);
	if (agent->take.state == TAKE_IDLE && is_settled(sess)) {
		begin(sess);
	}
	if (agent->take.state == TAKE_GATE) {
		pass_gate(sess);
	} else if (agent->take.waits && !take_waits(sess)) {
		take_wait_ends(sess);
		lane_pump(sess);
	}
}

void take_resp_done(struct sess *sess, struct resp *resp, bool completed)
{
	struct agent *agent = sess->agent;

	resp->taken = false;
	if (agent->take.state != TAKE_CANCELLING) {
		return;
	}
	if (resp->step != NULL || (completed && resp->visible_items > 0)) {
		/* It has decided itself; an answer to its calls follows as to any. */
		take_move(sess, TAKE_EV_DROP);
		forget_params(&agent->take);
		return;
	}
	take_move(sess, TAKE_EV_DONE);
}

void take_lost(struct sess *sess)
{
	if (sess->agent->take.state == TAKE_CANCELLING) {
		take_move(sess, TAKE_EV_DROP);
		forget_params(&sess->agent->take);
		bc_metric_inc(BC_M_TAKEOVERS_DROPPED);
	}
}

/* ---- a request of the client that waits for the verdict ---- */

/* Whether a pass that has heard everything has run for long enough to be back soon: one that starts now takes as long as
 * the response that would have to wait for it. */
static bool pass_is_near(const struct sess *sess)
{
	const struct agent *agent = sess->agent;

	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		const struct pass *pass = &agent->passes.running[i];

		if (pass->number != 0 && spec_pass_is_complete(agent->spec, pass->number) &&
		    sess_now(sess) - pass->started >= sess->cfg->speculation.confirm_wait) {
			return true;
		}
	}
	return false;
}

bool take_waits(struct sess *sess)
{
	const struct agent *agent = sess->agent;

	if (agent->spec == NULL || agent->take.off || sess->cfg->speculation.confirm_wait == 0) {
		return false;
	}
	if (agent->take.state != TAKE_IDLE) {
		return true;
	}
	return (agent->take.client_commits || is_settled(sess)) &&
	       spec_expects_verdict(agent->spec) &&
	       (spec_has_named(agent->spec) || pass_is_near(sess));
}

void take_wait_ends(struct sess *sess)
{
	sess->agent->take.waits = false;
	sess->world->timer(sess->world_arg, SESS_TIMER_CONFIRM, -1);
}

/* ---- what speaks against it ---- */

/*
 * Holds that wait for the journal's permission will not start any more: their steps do not wait for it, or what is in hand
 * would be kept from the model for as long as the disk takes.  true: there were any.
 */
static bool stop_holds(struct agent *agent)
{
	struct work *work;
	bool any = false;

	TAILQ_FOREACH(work, &agent->works, link) {
		any = any || (work->gated && !work->stopped);
		work->stopped = work->stopped || work->gated;
	}
	return any;
}

void take_disturb(struct sess *sess)
{
	sess->agent->disturbances++;
	(void)stop_holds(sess->agent); /* whoever tells of it lets steps go on */
	if (sess->agent->take.state == TAKE_GATE) {
		take_advance(sess);
	}
}

void take_unwanted(struct sess *sess)
{
	sess->agent->take.unwanted = true;
	take_disturb(sess);
	if (sess->agent->take.waits) {
		take_wait_ends(sess);
		lane_pump(sess);
	}
}

void take_client_commits(struct sess *sess)
{
	struct takeover *take = &sess->agent->take;

	take->client_commits = true;
	take->before_commit = sess->agent->disturbances;
}

void take_client_refused(struct sess *sess, struct bc_span error)
{
	struct bc_span code = field_raw(error, "code");

	if (bc_span_has_prefix(code, "\"input_audio_buffer_commit") ||
	    bc_span_has_prefix(code, "\"item_create")) {
		sess->agent->take.client_commits = false;
	}
}

bool take_turn_ends(struct sess *sess)
{
	struct agent *agent = sess->agent;

	/* What the client has said since it ended the turn itself speaks against it, too. */
	agent->take.undisturbed =
		agent->take.client_commits ? agent->take.before_commit : agent->disturbances;
	return stop_holds(agent);
}

bool take_failed(struct sess *sess, struct bc_span client_id)
{
	if (!bc_span_has_prefix(client_id, "\"bc_f")) {
		return false;
	}
	sess->agent->take.off = true;
	trait_notice(sess, TRAIT_CLIENT_CALLS, 0);
	bc_metric_inc(BC_M_TAKEOVERS_REFUSED);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider takes no calls it has not made itself, using guesses only for its own calls from now on");
	return true;
}
