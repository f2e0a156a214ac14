/*
 * What the provider does and does not do, as far as documents leave it open: noticed in passing, told to the world so that
 * later sessions know it, and acted on.  A session begins with what is known of its upstream and model; what is not
 * known it tries.  Nothing is probed: each fallback costs the first caller a guess, never an answer.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

#define CANCEL_SLOW  150  /* milliseconds */
#define CACHE_WINDOW 5    /* passes */
#define CACHE_MIN    1024 /* tokens; shorter prompts are never cached */
#define SILENT_TURNS 4    /* calls no pass has named, in a row: passes name none */

bool trait_lacks(const struct sess *sess, enum trait trait)
{
	return sess->agent->traits.value[trait] == 0;
}

/* What follows from a trait that is missing. */
static void apply(struct sess *sess, enum trait trait)
{
	struct agent *agent = sess->agent;

	switch ((int)trait) {
	case TRAIT_REFERENCES:
		agent->passes.references_refused = true;
		break;
	case TRAIT_INLINE_AUDIO:
		agent->passes.audio_refused = true;
		break;
	case TRAIT_OUT_OF_BAND:
	case TRAIT_METADATA:
	case TRAIT_PASS_CALLS:
		agent->passes.off = true;
		break;
	case TRAIT_CLIENT_CALLS:
		agent->take.off = true;
		break;
	case TRAIT_SHORT_SILENCE:
		agent->eager.off = true;
		break;
	case TRAIT_TRANSCRIPTION:
		agent->transcripts.refused = true;
		break;
	default:
		break; /* looked up where it matters */
	}
}

static void apply_all(struct sess *sess)
{
	for (int i = 0; i < TRAIT__COUNT; i++) {
		if (trait_kind((enum trait)i) == TRAIT_IS_FLAG &&
		    trait_lacks(sess, (enum trait)i)) {
			apply(sess, (enum trait)i);
		}
	}
}

void traits_begin(struct sess *sess, const struct trait_set *known)
{
	struct trait_set *traits = &sess->agent->traits;
	const struct cfg_strings *assume = &sess->upstream->assume;
	enum trait trait;
	int32_t value;

	trait_set_clear(traits);
	if (known != NULL) {
		*traits = *known;
	}
	for (size_t i = 0; i < assume->count; i++) {
		if (trait_parse(bc_span_str(assume->items[i]), &trait, &value) == BC_OK) {
			traits->value[trait] = value;
			sess->agent->traits_assumed |= UINT32_C(1) << trait;
		}
	}
	apply_all(sess);
}

void trait_notice(struct sess *sess, enum trait trait, int32_t value)
{
	struct agent *agent = sess->agent;
	int32_t *known = &agent->traits.value[trait];

	if ((agent->traits_assumed & UINT32_C(1) << trait) != 0) {
		return; /* the operator knows better */
	}
	if (trait_kind(trait) == TRAIT_IS_MEDIAN) {
		value = value > TRAIT_VALUE_MAX ? TRAIT_VALUE_MAX : value; /* as it was measured */
	} else if (trait_kind(trait) == TRAIT_IS_MS) {
		value = value > TRAIT_VALUE_MAX ? TRAIT_VALUE_MAX : value;
		value = *known < 0 ? value : (*known * 7 + value) / 8;
	} else if (*known == value) {
		return;
	}
	*known = value;
	if (trait_kind(trait) == TRAIT_IS_FLAG) {
		bc_metric_add(BC_M_TRAITS_MISSING, value == 0);
		ledger_note(sess, LEDGER_GATEWAY, "notice", "%s=%s", trait_name(trait),
			    value != 0 ? "yes" : "no");
		if (value == 0) {
			apply(sess, trait);
		}
	}
	if (sess->world->noticed != NULL) {
		sess->world->noticed(sess->world_arg, trait, value);
	}
}

/* ---- passes ---- */

static int64_t tokens_of(struct bc_span object, const char *key)
{
	struct bc_span raw = field_raw(object, key);
	char text[24];

	if (raw.len == 0 || raw.len >= sizeof(text)) {
		return 0;
	}
	memcpy(text, raw.ptr, raw.len);
	text[raw.len] = '\0';
	return strtoll(text, NULL, 10);
}

/* Whether enough of what passes read is found in the cache, looked at a few passes at a time. */
static void watch_cache(struct sess *sess, struct bc_span usage)
{
	struct passes *passes = &sess->agent->passes;
	int64_t read = tokens_of(usage, "input_tokens");

	if (read < CACHE_MIN || passes->cache_passes++ == 0) {
		return; /* nothing could have been cached for the first one */
	}
	passes->cache_read += read;
	passes->cache_cached += tokens_of(field_raw(usage, "input_token_details"), "cached_tokens");
	if (passes->cache_passes > CACHE_WINDOW) {
		trait_notice(sess, TRAIT_PASS_CACHE,
			     passes->cache_cached * 2 >= passes->cache_read);
		passes->cache_passes = 1;
		passes->cache_read = 0;
		passes->cache_cached = 0;
	}
}

void traits_pass_done(struct sess *sess, const struct pass *pass, struct bc_span response)
{
	struct passes *passes = &sess->agent->passes;

	if (!field_is(response, "status", "completed")) {
		return;
	}
	trait_notice(sess, TRAIT_OUT_OF_BAND, 1);
	trait_notice(sess, TRAIT_METADATA, 1);
	if (pass->with_audio) {
		trait_notice(sess, TRAIT_INLINE_AUDIO, 1);
	}
	if (pass->with_references) {
		trait_notice(sess, TRAIT_REFERENCES, 1);
	}
	if (!pass->followup && spec_pass_is_complete(sess->agent->spec, pass->number)) {
		passes->heard_turn = pass->turn;
	}
	watch_cache(sess, field_raw(response, "usage"));
}

void traits_pass_named(struct sess *sess, const struct pass *pass)
{
	sess->agent->passes.named_turn = pass->turn;
	trait_notice(sess, TRAIT_PASS_CALLS, 1);
	trait_notice(sess, TRAIT_PASS_SILENT, 0);
}

void traits_call(struct sess *sess, uint64_t turn)
{
	struct agent *agent = sess->agent;
	int32_t silent = agent->traits.value[TRAIT_PASS_SILENT];

	if (turn == 0 || agent->passes.heard_turn != turn || agent->passes.named_turn == turn ||
	    agent->traits.value[TRAIT_PASS_CALLS] >= 0) {
		return;
	}
	agent->passes.heard_turn = 0; /* a turn counts once */
	silent = silent < 0 ? 1 : silent + 1;
	trait_notice(sess, TRAIT_PASS_SILENT, silent);
	if (silent >= SILENT_TURNS) {
		bc_log(BC_LOG_WARNING, &sess->log,
		       "provider's passes have named none of %d calls, making no more of them",
		       SILENT_TURNS);
		trait_notice(sess, TRAIT_PASS_CALLS, 0);
	}
}

/* Which trait a provider lacks that refuses a pass with this error. */
static enum trait trait_refused(const struct sess *sess, const struct pass *pass,
				struct bc_span error)
{
	struct bc_span param = field_raw(error, "param");
	bool in_input = bc_span_has_prefix(param, "\"response.input[");
	bool names_id = param.len > 4 && memcmp(param.ptr + param.len - 4, ".id\"", 4) == 0;

	if (json_string_is(param, "response.conversation") ||
	    (json_string_is(param, "response.input") &&
	     field_is(error, "code", "unknown_parameter"))) {
		return TRAIT_OUT_OF_BAND;
	}
	if (in_input && names_id && pass->with_references &&
	    !sess->agent->passes.references_refused) {
		return TRAIT_REFERENCES;
	}
	return pass->with_audio ? TRAIT_INLINE_AUDIO : TRAIT_OUT_OF_BAND;
}

void traits_pass_refused(struct sess *sess, const struct pass *pass, struct bc_span error)
{
	enum trait trait;

	if (pass->followup) {
		/* It may have named an item that was just removed: what the provider takes is for other passes to find out. */
		sess->agent->passes.followups_off = true;
		bc_log(BC_LOG_WARNING, &sess->log,
		       "provider refused a pass behind a result (%.*s), making none of these in this session",
		       BC_SPAN_ARG(field_raw(error, "code")));
		return;
	}
	trait = trait_refused(sess, pass, error);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider refused a pass over %s (%.*s), from now on it is taken for one with %s=no",
	       pass->with_audio ? "audio" : "text", BC_SPAN_ARG(field_raw(error, "code")),
	       trait_name(trait));
	trait_notice(sess, trait, 0);
	apply(sess, trait); /* also where the operator knows better: it was refused */
	if (trait == TRAIT_INLINE_AUDIO) {
		transcripts_want(sess);
	}
}

/* ---- the conversation ---- */

/* A call under another id would wait for its output for ever: its result goes in as a message. */
static void take_out(struct sess *sess, const char *item)
{
	char event_id[BC_ID_SIZE];
	struct bc_buf text;

	bc_id_new(event_id, 'd');
	bc_buf_init(&text, 1024);
	if (oai_delete_put(&text, event_id, item) == BC_OK) {
		(void)sess_to_upstream(
			sess, bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
}

void traits_call_item(struct sess *sess, struct bc_span item)
{
	struct bc_span call_id = field_raw(item, "call_id");
	char id[SESS_ID_MAX];

	if (!field_is(item, "type", "function_call") || !json_raw_is_string(call_id)) {
		return;
	}
	if (bc_span_has_prefix(call_id, "\"bc_")) {
		trait_notice(sess, TRAIT_CLIENT_CALLS, 1);
	} else if (field_id(item, "id", id)) {
		trait_notice(sess, TRAIT_CLIENT_CALLS, 0);
		take_out(sess, id);
	}
}

/* Whether a response should have been spoken. */
static bool should_speak(const struct sess *sess, const struct resp *resp)
{
	return sess->agent->speaks && resp->default_conversation &&
	       json_object_get(resp->params, "output_modalities") == NULL;
}

void traits_part(struct sess *sess, struct bc_span text)
{
	struct bc_span part = field_raw(text, "part");
	char id[SESS_ID_MAX];
	const struct resp *resp = field_id(text, "response_id", id) ? resp_find(sess, id) : NULL;

	if (resp != NULL && should_speak(sess, resp) &&
	    (field_is(part, "type", "text") || field_is(part, "type", "output_text"))) {
		trait_notice(sess, TRAIT_AUDIO_AFTER_TEXT, 0);
	}
}

void traits_response_done(struct sess *sess, const struct resp *resp, struct bc_span response)
{
	bc_usec took = sess_now(sess) - resp->cancel_sent;

	if (!field_is(response, "status", "cancelled")) {
		return;
	}
	trait_notice(sess, TRAIT_CANCELLED_USAGE,
		     !bc_span_is(field_raw(response, "usage"), "null"));
	if (resp->overtaken) {
		trait_notice(
			sess, TRAIT_LATE_CANCEL,
			field_is(field_raw(response, "status_details"), "reason", "turn_detected"));
	}
	if (resp->cancel_sent != 0) {
		bc_metric_add(BC_M_CANCELS_SLOW, took > CANCEL_SLOW * BC_USEC_PER_MS);
		trait_notice(sess, TRAIT_CANCEL_TIME,
			     (int32_t)(took / BC_USEC_PER_MS > TRAIT_VALUE_MAX
					       ? TRAIT_VALUE_MAX
					       : took / BC_USEC_PER_MS));
	}
}

void traits_transcribed(struct sess *sess)
{
	const struct hearing *hearing = &sess->agent->hearing;
	bc_usec quiet = hear_quiet(sess);

	if (hearing->on && !hearing->turn_open && !hearing->detector.speech &&
	    quiet <= TRAIT_VALUE_MAX * BC_USEC_PER_MS) {
		trait_notice(sess, TRAIT_TRANSCRIPT_LAG, (int32_t)(quiet / BC_USEC_PER_MS));
	}
}
