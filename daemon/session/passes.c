/*
 * Passes: asking the provider, out of band and unseen by the client, which tools it would call for what the caller has
 * said so far; and running the guesses that follow from the answers.
 *
 * A pass is given references to the conversation, the running turn's audio (or its transcript where audio is refused) and
 * the results of finished guesses, and last a directive; instructions and tools are inherited, because a changed front
 * loses the provider's prompt cache.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"
#include "proto/b64.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PASS_REST (30 * BC_USEC_PER_SEC) /* after a pass the upstream could not serve */

static const char directive[] =
	"The caller may still be speaking. If what was said so far already determines calls of the "
	"available functions, name them now with their final arguments. Name no call whose arguments "
	"are not all known, and none that the conversation already contains. Otherwise answer only: none";

/* ---- what a pass is given ---- */

static enum bc_err put_reference(struct bc_buf *out, const struct item *item)
{
	enum bc_err err = bc_buf_put_str(out, "{\"type\":\"item_reference\",\"id\":");

	if (err == BC_OK) {
		err = json_string_put(out, bc_span_str(item->id));
	}
	return err == BC_OK ? bc_buf_put_str(out, "},") : err;
}

static enum bc_err put_references(struct sess *sess, struct bc_buf *out)
{
	const struct item *item;
	enum bc_err err = BC_OK;

	TAILQ_FOREACH(item, &sess->agent->items.order, link) {
		if (item->done && err == BC_OK) {
			err = put_reference(out, item);
		}
	}
	return err;
}

static enum bc_err put_audio(struct sess *sess, struct bc_buf *out)
{
	/* Up to the pass's horizon: what came in the same message behind it is not heard yet. */
	struct bc_span audio =
		bc_span(bc_buf_span(&sess->agent->hearing.audio).ptr, sess->agent->hearing.heard);
	size_t len = B64_ENCODED_LEN(audio.len);
	char *room;
	enum bc_err err =
		bc_buf_put_str(out, "{\"type\":\"message\",\"role\":\"user\",\"content\":[{"
				    "\"type\":\"input_audio\",\"audio\":\"");

	if (err == BC_OK) {
		err = bc_buf_room(out, len, &room);
	}
	if (err != BC_OK) {
		return err;
	}
	bc_buf_grow(out, b64_encode(room, (const uint8_t *)audio.ptr, audio.len));
	return bc_buf_put_str(out, "\"}]},");
}

static enum bc_err put_words(struct sess *sess, struct bc_buf *out)
{
	enum bc_err err =
		bc_buf_put_str(out, "{\"type\":\"message\",\"role\":\"user\",\"content\":[{"
				    "\"type\":\"input_text\",\"text\":");

	if (err == BC_OK) {
		err = json_string_put(out, bc_buf_span(&sess->agent->hearing.transcript));
	}
	return err == BC_OK ? bc_buf_put_str(out, "}]},") : err;
}

struct pairs {
	struct sess *sess;
	struct bc_buf *out;
	enum bc_err err;
	unsigned count;
};

/* A finished guess is context for calls that depend on it. */
static void put_pair(void *arg, const struct guess *guess)
{
	struct pairs *pairs = arg;
	const struct tool_result *result =
		pairs->sess->world->tool_result(pairs->sess->world_arg, guess->call);
	struct bc_buf *out = pairs->out;

	if (pairs->err != BC_OK || result == NULL) {
		return;
	}
	pairs->count++;
	pairs->err =
		bc_buf_printf(out,
			      "{\"type\":\"function_call\",\"call_id\":\"bc_g%u\",\"name\":\"%s\","
			      "\"arguments\":",
			      pairs->count, guess->tool->name);
	if (pairs->err == BC_OK) {
		pairs->err = json_string_put(out, bc_span_str(guess->arguments));
	}
	if (pairs->err == BC_OK) {
		pairs->err = bc_buf_printf(
			out,
			"},{\"type\":\"function_call_output\",\"call_id\":\"bc_g%u\",\"output\":",
			pairs->count);
	}
	if (pairs->err == BC_OK) {
		pairs->err = json_string_put(out, result->output);
	}
	if (pairs->err == BC_OK) {
		pairs->err = bc_buf_put_str(out, "},");
	}
}

static enum bc_err put_pass(struct sess *sess, struct bc_buf *out)
{
	struct agent *agent = sess->agent;
	struct pairs pairs = {.sess = sess, .out = out};
	enum bc_err err = bc_buf_printf(
		out,
		"{\"type\":\"response.create\",\"event_id\":\"%s\",\"response\":{\"conversation\":"
		"\"none\",\"output_modalities\":[\"text\"],\"tool_choice\":\"auto\",\"max_output_tokens\":"
		"%" PRIu64 ",\"metadata\":{\"bc\":\"p\",\"bc_t\":\"%" PRIu64
		"\",\"bc_v\":\"%" PRIu64 "\"},\"input\":[",
		agent->pass.event_id, sess->cfg->speculation.tokens_max, agent->pass.turn,
		agent->pass.number);

	if (err == BC_OK) {
		err = put_references(sess, out);
	}
	if (err == BC_OK) {
		err = agent->pass.with_audio ? put_audio(sess, out) : put_words(sess, out);
	}
	if (err == BC_OK) {
		spec_each_finished(agent->spec, put_pair, &pairs);
		err = pairs.err;
	}
	if (err == BC_OK) {
		err = bc_buf_printf(
			out,
			"{\"type\":\"message\",\"role\":\"system\",\"content\":[{\"type\":"
			"\"input_text\",\"text\":\"%s\"}]}]}}",
			directive);
	}
	return err;
}

/* ---- starting ---- */

static bool may_start(struct sess *sess)
{
	const struct agent *agent = sess->agent;
	const struct hearing *hearing = &agent->hearing;
	bool audio =
		sess->cfg->speculation.input == CFG_PASS_INPUT_AUDIO && !agent->pass.audio_refused;

	if (!hearing->on || !hearing->turn_open || hearing->overflow || agent->pass.off ||
	    agent->pass.vendor_tools || agent->refused || sess->state != SESS_OPEN ||
	    sess_now(sess) < agent->pass.rest_until) {
		return false;
	}
	if (audio ? bc_buf_len(&hearing->audio) == 0 : bc_buf_len(&hearing->transcript) == 0) {
		return false;
	}
	return spec_pass_may_start(agent->spec);
}

static void start(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct pass *pass = &agent->pass;
	struct bc_buf text;
	bc_usec horizon = (bc_usec)(agent->hearing.detector.samples * (uint64_t)BC_USEC_PER_SEC /
				    audio_rate(agent->hearing.format));

	pass->number = spec_pass_begin(agent->spec, horizon);
	pass->turn = agent->hearing.turn;
	pass->wanted = false;
	pass->cancelled = false;
	pass->with_audio =
		sess->cfg->speculation.input == CFG_PASS_INPUT_AUDIO && !pass->audio_refused;
	pass->response[0] = '\0';
	bc_id_new(pass->event_id, 'p');
	bc_buf_init(&text, sess->cfg->session.message_max);
	if (put_pass(sess, &text) == BC_OK) {
		bc_metric_inc(BC_M_PASSES);
		(void)sess_to_upstream(
			sess, bc_buf_span(&text)); /* pressure shows with the next message */
	} else {
		spec_pass_end(agent->spec, false);
	}
	bc_buf_release(&text);
}

void pass_trigger(struct sess *sess)
{
	if (sess->agent->spec == NULL) {
		return;
	}
	sess->agent->pass.wanted = true;
	pass_advance(sess);
}

void pass_advance(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct guess *guess;

	if (agent->spec == NULL || sess->state != SESS_OPEN) {
		return;
	}
	while ((guess = spec_next_stable(agent->spec)) != NULL) {
		if (!work_guess(sess, guess)) {
			spec_withdraw(agent->spec, guess);
		}
	}
	while ((guess = spec_next_withdrawn(agent->spec)) != NULL) {
		work_drop_guess(sess, guess);
	}
	if (agent->pass.wanted && may_start(sess)) {
		start(sess);
	}
}

/* ---- answers ---- */

static void cancel(struct sess *sess)
{
	struct pass *pass = &sess->agent->pass;

	if (!pass->cancelled && pass->response[0] != '\0') {
		(void)lane_send_cancel(sess, pass->response);
	}
	pass->cancelled = true; /* without a response: as soon as the provider has named it */
}

/* Whether a response that carries our mark is that of the running pass, and not of one that was given up. */
static bool is_running_pass(const struct agent *agent, struct bc_span response)
{
	char number[24];

	(void)snprintf(number, sizeof(number), "%" PRIu64, agent->pass.number);
	return spec_pass_is_running(agent->spec) && agent->pass.response[0] == '\0' &&
	       field_is(field_raw(response, "metadata"), "bc_v", number);
}

void pass_created(struct sess *sess, struct resp *resp, struct bc_span response)
{
	struct pass *pass = &sess->agent->pass;

	if (!is_running_pass(sess->agent, response)) {
		(void)lane_send_cancel(sess, resp->id);
		return;
	}
	memcpy(pass->response, resp->id, sizeof(pass->response));
	if (pass->cancelled) {
		(void)lane_send_cancel(sess, resp->id);
	}
}

static bool answers_pass(const struct agent *agent, const struct resp *resp)
{
	return spec_pass_is_running(agent->spec) && strcmp(resp->id, agent->pass.response) == 0;
}

void pass_item(struct sess *sess, const struct resp *resp, struct bc_span item)
{
	struct agent *agent = sess->agent;
	struct bc_span raw = field_raw(item, "arguments");
	const struct cfg_tool *tool;
	char name[SESS_ID_MAX];
	struct bc_buf message;
	char *arguments;
	char *canonical;
	size_t len;

	if (agent->pass.cancelled || !answers_pass(agent, resp) ||
	    !field_is(item, "type", "function_call") || !field_id(item, "name", name) ||
	    !tools_is_gateway(sess, NULL, name, &tool) || !json_raw_is_string(raw)) {
		return;
	}
	arguments = malloc(raw.len);
	bc_buf_init(&message, 4096);
	if (arguments != NULL && json_string_get(raw, arguments, raw.len, &len) == BC_OK &&
	    tool_args_check(tool, bc_span(arguments, len), &canonical, &message) == BC_OK) {
		if (!work_is_real(sess, tool, canonical, agent->pass.turn) &&
		    spec_pass_names(agent->spec, tool, canonical) != BC_OK) {
			bc_log(BC_LOG_DEBUG, &sess->log, "proposal dropped: too many in this turn");
		}
		free(canonical);
	}
	bc_buf_release(&message);
	free(arguments);
}

void pass_done(struct sess *sess, const struct resp *resp, struct bc_span response)
{
	struct agent *agent = sess->agent;
	bool completed = field_is(response, "status", "completed");

	if (!answers_pass(agent, resp)) {
		return;
	}
	if (field_is(response, "status", "failed")) {
		bc_metric_inc(BC_M_PASSES_FAILED);
		agent->pass.rest_until = sess_now(sess) + PASS_REST;
	}
	spec_pass_end(agent->spec, completed && !agent->pass.cancelled);
	pass_advance(sess);
}

bool pass_failed(struct sess *sess, struct bc_span client_id, struct bc_span error)
{
	struct pass *pass = &sess->agent->pass;
	/* Where the error does not say what it answers, nothing else may have been asked for. */
	bool nameless = error_is_about(error, "response") && pass->response[0] == '\0' &&
			!lane_is_asked(sess);

	if (sess->agent->spec == NULL || !spec_pass_is_running(sess->agent->spec) ||
	    !(nameless || json_string_is(client_id, pass->event_id))) {
		return false;
	}
	bc_metric_inc(BC_M_PASSES_FAILED);
	bc_log(BC_LOG_WARNING, &sess->log, "provider refused a pass over %s (%.*s), %s",
	       pass->with_audio ? "audio" : "text", BC_SPAN_ARG(field_raw(error, "code")),
	       pass->with_audio ? "using the transcript from now on"
				: "guessing no more in this session");
	if (pass->with_audio) {
		pass->audio_refused = true;
	} else {
		pass->off = true;
	}
	spec_pass_end(sess->agent->spec, false);
	pass_advance(sess);
	return true;
}

/* ---- ends ---- */

void pass_turn_committed(struct sess *sess)
{
	struct agent *agent = sess->agent;

	spec_turn_commit(agent->spec);
	agent->pass.wanted = false;
	if (spec_pass_is_running(agent->spec) && !spec_pass_is_complete(agent->spec)) {
		/* It has not heard the end: the provider's own pass, which starts now, will know better. */
		cancel(sess);
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
	if (spec_pass_is_running(agent->spec) && agent->pass.turn <= turn) {
		cancel(sess);
	}
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
}
