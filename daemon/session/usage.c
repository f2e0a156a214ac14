/* The end of a response as the client may see it: items, tokens, metadata and id; and what it says of limits. */
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

/* Add the numbers of more to sum, member by member; what is no number is left alone. */
static void add_members(json_t *sum, json_t *more, unsigned depth)
{
	const char *key;
	json_t *value;

	if (depth > 4) {
		return;
	}
	json_object_foreach(more, key, value) {
		json_t *mine = json_object_get(sum, key);

		if (mine == NULL) {
			json_object_set(sum, key, value);
		} else if (json_is_integer(mine) && json_is_integer(value)) {
			json_integer_set(mine,
					 json_integer_value(mine) + json_integer_value(value));
		} else if (json_is_object(mine) && json_is_object(value)) {
			add_members(mine, value, depth + 1);
		}
	}
}

void usage_owe(struct agent *agent, struct bc_span usage)
{
	json_t *more = usage.len == 0 ? NULL : json_parse(usage);

	if (!json_is_object(more)) {
		json_decref(more);
		return;
	}
	if (agent->usage == NULL) {
		agent->usage = more;
		return;
	}
	add_members(agent->usage, more, 0);
	json_decref(more);
}

bool metadata_is_empty(struct bc_span metadata)
{
	return metadata.len == 0 || bc_span_is(metadata, "null") || bc_span_is(metadata, "{}");
}

void metadata_strip(struct bc_span metadata, struct bc_buf *out)
{
	json_t *object = metadata.len == 0 ? NULL : json_parse(metadata);
	char *text = NULL;

	bc_buf_init(out, metadata.len * 6 + 16); /* every character escaped */
	if (json_is_object(object)) {
		json_object_del(object, "bc");
		json_object_del(object, "bc_t");
		json_object_del(object, "bc_v");
		text = json_object_size(object) == 0 ? NULL : json_dumps(object, JSON_COMPACT);
	}
	if (bc_buf_put_str(out, text == NULL ? "null" : text) != BC_OK) {
		bc_buf_clear(out);
	}
	free(text);
	json_decref(object);
}

struct visible {
	const struct sess *sess;
	struct bc_buf out;
	unsigned hidden;
	bool failed;
};

static bool keep_visible(void *arg, size_t index, struct bc_span value)
{
	struct visible *visible = arg;
	const struct item *item = NULL;
	char id[SESS_ID_MAX];

	(void)index;
	if (field_id(value, "id", id)) {
		item = items_find(&visible->sess->agent->items, id);
	}
	if (item != NULL && item->hidden) {
		visible->hidden++;
		return true;
	}
	if ((bc_buf_len(&visible->out) > 1 && bc_buf_put_str(&visible->out, ",") != BC_OK) ||
	    bc_buf_put_span(&visible->out, value) != BC_OK) {
		visible->failed = true;
	}
	return !visible->failed;
}

static void rewrite_output(struct sess *sess, struct rewrite *rewrite, struct bc_span output)
{
	struct visible visible = {.sess = sess};

	bc_buf_init(&visible.out, output.len + 16);
	if (output.len == 0 || output.ptr[0] != '[' || bc_buf_put_str(&visible.out, "[") != BC_OK ||
	    json_each(output, keep_visible, &visible) != BC_OK || visible.failed ||
	    bc_buf_put_str(&visible.out, "]") != BC_OK) {
		bc_buf_release(&visible.out);
		return;
	}
	if (visible.hidden > 0) {
		rewrite_replace(rewrite, output, bc_buf_span(&visible.out));
	}
	bc_buf_release(&visible.out);
}

static void rewrite_usage(struct agent *agent, struct rewrite *rewrite, struct bc_span usage)
{
	char *text;

	if (agent->usage == NULL || usage.len == 0 || usage.ptr[0] != '{') {
		return;
	}
	usage_owe(agent, usage);
	text = json_dumps(agent->usage, JSON_COMPACT);
	if (text != NULL) {
		rewrite_replace(rewrite, usage, bc_span_str(text));
	}
	free(text);
	json_decref(agent->usage);
	agent->usage = NULL;
}

void done_show(struct sess *sess, const struct resp *resp, struct bc_span text)
{
	struct bc_span response = field_raw(text, "response");
	struct bc_span metadata = field_raw(response, "metadata");
	struct rewrite rewrite;
	struct bc_buf stripped;
	struct bc_buf out;

	rewrite_begin(&rewrite, text);
	rewrite_output(sess, &rewrite, field_raw(response, "output"));
	rewrite_usage(sess->agent, &rewrite, field_raw(response, "usage"));
	if ((resp->origin == RESP_FOLLOWUP || resp->origin == RESP_FILLER) && metadata.len > 0) {
		metadata_strip(metadata, &stripped);
		rewrite_replace(&rewrite, metadata, bc_buf_span(&stripped));
		bc_buf_release(&stripped);
	}
	if (resp->view == RESP_MERGED) {
		rewrite_replace_string(&rewrite, field_raw(response, "id"), resp->shown_id);
	}
	if (rewrite.count == 0) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		return;
	}
	(void)sess_to_client(sess, rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text);
	bc_buf_release(&out);
}

void resp_rate_limits(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;

	if (agent->rate_limits_with != NULL) {
		(void)resp_hold(agent->rate_limits_with,
				text); /* an event the client can do without */
	} else if (!agent->hide_rate_limits) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
	}
	agent->hide_rate_limits = false;
	agent->rate_limits_with = NULL;
}
