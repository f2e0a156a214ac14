/* What a pass is given, as one event for the provider. */
#include "daemon/session/sess.h"
#include "proto/b64.h"

#include <inttypes.h>

static const char directive[] =
	"The caller may still be speaking. If what was said so far already determines calls of the "
	"available functions, name them now with their final arguments. Name no call whose arguments "
	"are not all known, and none that the conversation already contains. Otherwise answer only: none";

static const char next[] =
	"The caller has finished speaking. If calls of the available functions are to be made before "
	"answering, name those to be made next, now, with their final arguments. Name none that the "
	"conversation already contains. Otherwise answer only: none";

static const char agreed[] =
	"The caller has not answered yet. Assume that the caller now simply agrees: name that call, or "
	"NONE. Name no call whose arguments are not all known, and none that the conversation already "
	"contains.";

/* ---- what a pass is given ---- */

static enum bc_err put_reference(struct bc_buf *out, const struct item *item)
{
	enum bc_err err = bc_buf_put_str(out, "{\"type\":\"item_reference\",\"id\":");

	if (err == BC_OK) {
		err = json_string_put(out, bc_span_str(item->id));
	}
	return err == BC_OK ? bc_buf_put_str(out, "},") : err;
}

/* The item itself, where there may be no reference to it; nothing, where it was not kept. */
static enum bc_err put_inlined(struct bc_buf *out, const struct item *item)
{
	enum bc_err err = item->inlined == NULL ? BC_OK : bc_buf_put_str(out, item->inlined);

	return err == BC_OK && item->inlined != NULL ? bc_buf_put_str(out, ",") : err;
}

static enum bc_err put_references(struct sess *sess, struct pass *pass, struct bc_buf *out)
{
	const struct item *item;
	enum bc_err err = BC_OK;

	TAILQ_FOREACH(item, &sess->agent->items.order, link) {
		bool special = item->call || item->truncated;

		if (!item->done || err != BC_OK) {
			continue;
		}
		if (special && sess->agent->passes.references_refused) {
			err = put_inlined(out, item);
		} else {
			err = put_reference(out, item);
			pass->with_references = pass->with_references || special;
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
	uint32_t count;
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
	pairs->err = bc_buf_printf(out,
				   "{\"type\":\"function_call\",\"call_id\":\"bc_g%" PRIu32
				   "\",\"name\":\"%s\","
				   "\"arguments\":",
				   pairs->count, guess->tool->name);
	if (pairs->err == BC_OK) {
		pairs->err = json_string_put(out, bc_span_str(guess->arguments));
	}
	if (pairs->err == BC_OK) {
		pairs->err = bc_buf_printf(
			out,
			"},{\"type\":\"function_call_output\",\"call_id\":\"bc_g%" PRIu32
			"\",\"output\":",
			pairs->count);
	}
	if (pairs->err == BC_OK) {
		pairs->err = json_string_put(out, result->output);
	}
	if (pairs->err == BC_OK) {
		pairs->err = bc_buf_put_str(out, "},");
	}
}

/* number: which pass it is, in the metadata that come back with the answer. */
static enum bc_err put_head(struct sess *sess, const char *event_id, uint64_t turn,
			    const char *number, struct bc_buf *out)
{
	return bc_buf_printf(
		out,
		"{\"type\":\"response.create\",\"event_id\":\"%s\",\"response\":{\"conversation\":"
		"\"none\",\"output_modalities\":[\"text\"],\"tool_choice\":\"auto\",\"max_output_tokens\":"
		"%" PRIu64 ",\"metadata\":{\"bc\":\"p\",\"bc_t\":\"%" PRIu64
		"\",\"bc_v\":\"%s\"},\"input\":[",
		event_id, sess->cfg->speculation.tokens_max, turn, number);
}

static enum bc_err put_directive(const char *text, struct bc_buf *out)
{
	return bc_buf_printf(out,
			     "{\"type\":\"message\",\"role\":\"system\",\"content\":[{\"type\":"
			     "\"input_text\",\"text\":\"%s\"}]}]}}",
			     text);
}

enum bc_err pass_put(struct sess *sess, struct pass *pass, enum pass_given given,
		     struct bc_buf *out)
{
	struct pairs pairs = {.sess = sess, .out = out};
	char number[24];
	enum bc_err err;

	(void)snprintf(number, sizeof(number), "%" PRIu64, pass->number);
	err = put_head(sess, pass->event_id, pass->turn, number, out);
	if (err == BC_OK) {
		err = put_references(sess, pass, out);
	}
	if (err == BC_OK && pass->followup) {
		return put_directive(next, out);
	}
	if (err == BC_OK) {
		err = pass->with_audio ? put_audio(sess, out) : put_words(sess, out);
	}
	if (err == BC_OK && given != GIVEN_NONE) {
		(void)spec_each_finished(sess->agent->spec, given == GIVEN_FIRSTS, put_pair,
					 &pairs);
		err = pairs.err;
	}
	return err == BC_OK ? put_directive(directive, out) : err;
}

enum bc_err pass_put_prepare(struct sess *sess, const char *event_id, uint64_t turn,
			     struct bc_buf *out)
{
	enum bc_err err = put_head(sess, event_id, turn, "prepare", out);
	struct pass aside = {.number = 0}; /* what it refers to is of no interest */

	if (err == BC_OK) {
		err = put_references(sess, &aside, out);
	}
	return err == BC_OK ? put_directive(agreed, out) : err;
}
