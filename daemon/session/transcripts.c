/*
 * Transcripts of the caller that the gateway asks for.  Passes that read words need them while the caller speaks, and a
 * client need not have asked.  They come by an update of their own, so that a provider without such a model refuses this
 * and not the tools; a client that has not asked sees neither the events nor the setting, and its own wish comes first.
 *
 * Source: OpenAI's documentation of realtime transcription: models that stream deltas before the commit.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

#define MODEL_AUTO "gpt-live-transcribe" /* streams while the caller speaks, with server VAD too */

static bool is_wish(const char *raw)
{
	return raw != NULL && strcmp(raw, "null") != 0;
}

/* The model to ask for; NULL: no transcripts are needed. */
static const char *model_of(const struct sess *sess)
{
	const char *option = sess->upstream->transcription;

	if (strcmp(option, "off") == 0 || sess->agent->spec == NULL) {
		return NULL;
	}
	if (strcmp(option, "auto") != 0) {
		return option;
	}
	return sess->agent->reasoner != NULL ||
			       sess->cfg->speculation.input == CFG_PASS_INPUT_TEXT ||
			       sess->agent->passes.audio_refused
		       ? MODEL_AUTO
		       : NULL;
}

/* Whether the client has transcripts of its own, or has asked and the provider has not answered yet. */
static bool client_asks(const struct agent *agent)
{
	const struct update *update;

	TAILQ_FOREACH(update, &agent->updates, link) {
		if (is_wish(update->transcription)) {
			return true;
		}
	}
	return is_wish(agent->transcripts.own);
}

/* {"model":"…"} appended to out; false: no memory. */
static bool put_wish(struct bc_buf *out, const char *model)
{
	return bc_buf_put_str(out, "{\"model\":") == BC_OK &&
	       json_string_put(out, bc_span_str(model)) == BC_OK &&
	       bc_buf_put_str(out, "}") == BC_OK;
}

void transcripts_want(struct sess *sess)
{
	struct transcripts *transcripts = &sess->agent->transcripts;
	const char *model = model_of(sess);
	struct bc_buf members;

	if (model == NULL || transcripts->asked || transcripts->refused || sess->agent->refused ||
	    client_asks(sess->agent)) {
		return;
	}
	bc_buf_init(&members, 1024);
	if (bc_buf_put_str(&members, "\"audio\":{\"input\":{\"transcription\":") == BC_OK &&
	    put_wish(&members, model) && bc_buf_put(&members, "}}", 3) == BC_OK) {
		transcripts->asked =
			tools_send_update(sess, bc_buf_span(&members).ptr, UPDATE_WORDS);
	}
	bc_buf_release(&members);
}

void transcripts_begin(struct sess *sess, struct bc_span session)
{
	struct bc_span raw =
		field_raw(field_raw(field_raw(session, "audio"), "input"), "transcription");

	if (raw.len > 0 && sess->agent->transcripts.own == NULL) {
		sess->agent->transcripts.own = field_dup(raw);
	}
	transcripts_want(sess);
}

void transcripts_client_update(struct sess *sess, struct bc_span text)
{
	struct bc_span raw =
		field_raw(field_raw(field_raw(field_raw(text, "session"), "audio"), "input"),
			  "transcription");
	struct rewrite rewrite;
	struct bc_buf wish;
	struct bc_buf out;

	if (!sess->agent->transcripts.asked || !bc_span_is(raw, "null")) {
		tools_client_update(sess, text, raw);
		return;
	}
	/* It wants none, and passes do. */
	bc_buf_init(&wish, 1024);
	rewrite_begin(&rewrite, text);
	if (put_wish(&wish, model_of(sess))) {
		rewrite_replace(&rewrite, raw, bc_buf_span(&wish));
	}
	tools_client_update(sess, rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text, raw);
	bc_buf_release(&out);
	bc_buf_release(&wish);
}

void transcripts_accepted(struct sess *sess, struct update *update)
{
	if (update->transcription == NULL) {
		return;
	}
	free(sess->agent->transcripts.own);
	sess->agent->transcripts.own = update->transcription;
	update->transcription = NULL;
	transcripts_want(sess);
}

void transcripts_refused(struct sess *sess)
{
	bc_metric_inc(BC_M_TRANSCRIPTS_REFUSED);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider refused the transcription %s: guessing without transcripts; "
	       "see upstream.transcription",
	       model_of(sess) == NULL ? "-" : model_of(sess));
	sess->agent->transcripts.asked = false;
	sess->agent->transcripts.refused = true;
	trait_notice(sess, TRAIT_TRANSCRIPTION, 0);
}

bool transcripts_are_hidden(const struct sess *sess)
{
	const struct transcripts *transcripts = &sess->agent->transcripts;

	return transcripts->asked && !is_wish(transcripts->own);
}

void transcripts_show(struct sess *sess, struct rewrite *rewrite, struct bc_span session)
{
	struct bc_span input = field_raw(field_raw(session, "audio"), "input");

	if (input.len > 0 && transcripts_are_hidden(sess)) {
		rewrite_set(rewrite, input, "transcription", BC_SPAN_LIT("null"));
	}
}

static bool conceal_part(void *arg, size_t index, struct bc_span value)
{
	struct rewrite *rewrite = arg;
	struct bc_span words = field_raw(value, "transcript");

	(void)index;
	if (json_raw_is_string(words)) {
		rewrite_replace(rewrite, words, BC_SPAN_LIT("null"));
	}
	return true;
}

void transcripts_conceal(struct sess *sess, struct rewrite *rewrite, struct bc_span item)
{
	if (transcripts_are_hidden(sess) && field_is(item, "role", "user") &&
	    json_each(field_raw(item, "content"), conceal_part, rewrite) != BC_OK) {
		/* A content that is no array holds no words of ours. */
		return;
	}
}
