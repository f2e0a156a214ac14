/*
 * What guessing costs: asks before a guess is run or a pass is made, and tells what came of it.  Budgets of turn and
 * session are kept here, those of the client's key and all that is learnt by the world, for all sessions together.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <assert.h>

static const enum bc_metric refusal_metrics[] = {
	[ADMISSION_REFUSED_OFF] = BC_M_REFUSED_OFF,
	[ADMISSION_REFUSED_SHADOW] = BC_M_REFUSED_SHADOW,
	[ADMISSION_REFUSED_KILLED] = BC_M_REFUSED_KILLED,
	[ADMISSION_REFUSED_LOSS] = BC_M_REFUSED_LOSS,
	[ADMISSION_REFUSED_UNLIKELY] = BC_M_REFUSED_UNLIKELY,
	[ADMISSION_REFUSED_TURN_CALLS] = BC_M_REFUSED_TURN_CALLS,
	[ADMISSION_REFUSED_SESSION_CALLS] = BC_M_REFUSED_SESSION_CALLS,
	[ADMISSION_REFUSED_SESSION_TIME] = BC_M_REFUSED_SESSION_TIME,
	[ADMISSION_REFUSED_SESSION_TOKENS] = BC_M_REFUSED_SESSION_TOKENS,
	[ADMISSION_REFUSED_SESSION_COST] = BC_M_REFUSED_SESSION_COST,
	[ADMISSION_REFUSED_KEY_CALLS] = BC_M_REFUSED_KEY_CALLS,
	[ADMISSION_REFUSED_KEY_TIME] = BC_M_REFUSED_KEY_TIME,
	[ADMISSION_REFUSED_KEY_TOKENS] = BC_M_REFUSED_KEY_TOKENS,
	[ADMISSION_REFUSED_KEY_COST] = BC_M_REFUSED_KEY_COST,
};

static_assert(BC_ARRAY_LEN(refusal_metrics) == ADMISSION_REFUSAL__COUNT,
	      "a refusal is not counted");

/* ---- asking ---- */

static enum admission_refusal session_over(const struct sess *sess, bool passes)
{
	const struct cfg_speculation *conf = &sess->cfg->speculation;
	const struct admission_limits limits = {.calls = conf->session_waste_max,
						.time = conf->session_waste_time,
						.tokens = conf->session_tokens_max,
						.cents = conf->session_cost_max};

	return admission_over(&sess->agent->spending.session, &limits, false, passes);
}

static bool turn_over(const struct sess *sess, uint64_t turn)
{
	const struct spending *spending = &sess->agent->spending;
	uint64_t most = sess->cfg->speculation.turn_waste_max;

	return most > 0 && spending->turn == turn && spending->turn_wasted >= most;
}

/* tool NULL: a pass. */
static enum admission_refusal ask_world(struct sess *sess, const struct cfg_tool *tool,
					enum spec_trigger trigger)
{
	return sess->world->admit == NULL ? ADMISSION_GRANTED
					  : sess->world->admit(sess->world_arg, tool, trigger);
}

static void note_refusal(struct sess *sess, const char *what, enum admission_refusal refusal)
{
	bc_metric_inc(refusal_metrics[refusal]);
	ledger_note(sess, LEDGER_GATEWAY, "refuse", "what=%s because=%s", what,
		    admission_refusal_name(refusal));
}

bool spend_admits(struct sess *sess, const struct guess *guess)
{
	enum admission_refusal refusal = session_over(sess, false);

	if (refusal == ADMISSION_GRANTED && turn_over(sess, guess->turn)) {
		refusal = ADMISSION_REFUSED_TURN_CALLS;
	}
	if (refusal == ADMISSION_GRANTED) {
		refusal = ask_world(sess, guess->tool, guess->trigger);
	}
	if (refusal != ADMISSION_GRANTED) {
		note_refusal(sess, guess->tool->name, refusal);
	}
	return refusal == ADMISSION_GRANTED;
}

bool spend_releases(struct sess *sess, const struct guess *guess)
{
	enum admission_refusal refusal = ask_world(sess, guess->tool, guess->trigger);

	/* The rest is about what a wrong guess costs, and what a verdict names is no guess any more. */
	if (refusal != ADMISSION_REFUSED_OFF && refusal != ADMISSION_REFUSED_SHADOW) {
		return true;
	}
	note_refusal(sess, guess->tool->name, refusal);
	return false;
}

static enum admission_refusal ask_pass(struct sess *sess)
{
	enum admission_refusal refusal = session_over(sess, true);

	if (refusal == ADMISSION_GRANTED) {
		refusal = ask_world(sess, NULL, SPEC_TRIGGER_PAUSE);
	}
	spec_watch_only(sess->agent->spec, refusal == ADMISSION_REFUSED_SHADOW);
	return refusal;
}

bool spend_admits_pass(struct sess *sess)
{
	enum admission_refusal refusal = ask_pass(sess);

	if (refusal == ADMISSION_GRANTED || refusal == ADMISSION_REFUSED_SHADOW) {
		return true;
	}
	note_refusal(sess, "pass", refusal);
	return false;
}

bool spend_admits_followup(struct sess *sess, const struct cfg_tool *behind)
{
	enum admission_refusal refusal = ask_world(sess, behind, SPEC_TRIGGER_FOLLOWUP);

	/* What follows is learnt without it: one that is only watched would teach nothing. */
	if (refusal == ADMISSION_GRANTED) {
		refusal = ask_pass(sess);
	}
	if (refusal != ADMISSION_GRANTED) {
		note_refusal(sess, "pass", refusal);
	}
	return refusal == ADMISSION_GRANTED;
}

/* ---- telling ---- */

static void tell(struct sess *sess, const struct admission_event *event)
{
	if (sess->world->learn != NULL) {
		sess->world->learn(sess->world_arg, event);
	}
}

void spend_used(struct sess *sess, const struct guess *guess, bool finished, bc_usec saved)
{
	tell(sess, &(struct admission_event){.what = finished ? ADMISSION_HIT : ADMISSION_JOIN,
					     .tool = guess->tool,
					     .trigger = guess->trigger,
					     .time = saved});
}

void spend_wasted(struct sess *sess, const struct guess *guess, bc_usec time)
{
	struct spending *spending = &sess->agent->spending;

	if (guess->turn > spending->turn) {
		spending->turn = guess->turn;
		spending->turn_wasted = 0;
	}
	spending->turn_wasted += guess->turn == spending->turn;
	spending->session.calls++;
	spending->session.time += time;
	tell(sess, &(struct admission_event){.what = ADMISSION_WASTE,
					     .tool = guess->tool,
					     .trigger = guess->trigger,
					     .time = time});
}

static void tell_watched(struct sess *sess, const struct guess *guess, enum spec_trigger trigger,
			 bool used)
{
	tell(sess,
	     &(struct admission_event){.what = used ? ADMISSION_SHADOW_HIT : ADMISSION_SHADOW_MISS,
				       .tool = guess->tool,
				       .trigger = trigger});
}

void spend_watched(struct sess *sess, const struct guess *guess)
{
	bc_metric_inc(guess->realised ? BC_M_SHADOW_HITS : BC_M_SHADOW_MISSES);
	tell_watched(sess, guess, guess->trigger, guess->realised);
}

void spend_ended(struct sess *sess, const struct guess *guess, bool used)
{
	if (guess->forgone) {
		tell_watched(sess, guess, (enum spec_trigger)guess->foretold, used);
	}
}

void spend_followed(struct sess *sess, const struct cfg_tool *behind, bool called)
{
	tell(sess, &(struct admission_event){.what = called ? ADMISSION_SHADOW_HIT
							    : ADMISSION_SHADOW_MISS,
					     .tool = behind,
					     .trigger = SPEC_TRIGGER_FOLLOWUP});
}

void spend_ran(struct sess *sess, const struct cfg_tool *tool, const struct tool_result *result)
{
	if (result->started != 0 && result->finished > result->started) {
		tell(sess, &(struct admission_event){.what = ADMISSION_RAN,
						     .tool = tool,
						     .time = result->finished - result->started});
	}
}

/* ---- the price of a pass ---- */

static uint64_t tokens(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n < 0 ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint64_t)n;
}

static uint64_t less(uint64_t all, uint64_t part)
{
	return part > all ? 0 : all - part;
}

uint64_t spend_price(const struct cfg_speculation *prices, const json_t *usage)
{
	const json_t *in = json_object_get(usage, "input_token_details");
	const json_t *cached = json_object_get(in, "cached_tokens_details");
	uint64_t all = tokens(usage, "input_tokens");
	uint64_t audio = tokens(in, "audio_tokens");
	uint64_t from_cache = tokens(in, "cached_tokens");
	uint64_t audio_from_cache = tokens(cached, "audio_tokens");
	uint64_t text = less(all, audio);

	/* An upstream that does not say what was cached: the text first, which is what stands in front. */
	if (cached == NULL) {
		audio_from_cache = less(from_cache, text);
	}
	return less(audio, audio_from_cache) * prices->price_audio_in +
	       less(text, less(from_cache, audio_from_cache)) * prices->price_text_in +
	       from_cache * prices->price_cached_in +
	       tokens(usage, "output_tokens") * prices->price_text_out;
}

void spend_pass(struct sess *sess, struct bc_span usage)
{
	struct admission_spend *session = &sess->agent->spending.session;
	json_t *object = usage.len == 0 ? NULL : json_parse(usage);
	struct admission_event event = {.what = ADMISSION_PASS};

	if (json_is_object(object)) {
		event.tokens = tokens(object, "input_tokens") + tokens(object, "output_tokens");
		event.money = spend_price(&sess->cfg->speculation, object);
		session->tokens += event.tokens;
		session->money += event.money;
		bc_metric_add(BC_M_PASS_TOKENS, (int64_t)event.tokens);
		bc_metric_add(BC_M_PASS_TOKENS_CACHED,
			      (int64_t)tokens(json_object_get(object, "input_token_details"),
					      "cached_tokens"));
		bc_metric_add(BC_M_PASS_MICROCENTS, (int64_t)event.money);
		tell(sess, &event);
	}
	json_decref(object);
}
