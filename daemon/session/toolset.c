/*
 * Whose tools the provider is offered.  It keeps one list per session and every update that carries tools replaces
 * all of it, so each such update of the client is rewritten to the union; the client is shown its own tools only.
 *
 * Updates are answered in the order they were sent, with one session.updated or one error each; the queue of
 * unanswered ones tells to whom an answer belongs.
 */
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

#define TOOLS_TEXT_MAX (4u << 20) /* bytes of the longest union of tool lists */

/* ---- the gateway's definitions ---- */

static bool definition_put(struct bc_buf *out, const struct cfg_tool *tool)
{
	json_t *definition =
		json_pack("{s:s, s:s, s:s, s:O}", "type", "function", "name", tool->name,
			  "description", tool->description, "parameters", tool->parameters);
	char *text = definition == NULL ? NULL : json_dumps(definition, JSON_COMPACT);
	bool ok = text != NULL && bc_buf_put_str(out, text) == BC_OK;

	free(text);
	json_decref(definition);
	return ok;
}

struct toolset *toolset_new(const struct cfg *cfg)
{
	struct toolset *tools;

	if (cfg->tool_count == 0) {
		return NULL;
	}
	tools = calloc(1, sizeof(*tools));
	if (tools == NULL) {
		return NULL;
	}
	tools->refs = 1;
	tools->cfg = cfg;
	tools->texts = calloc(cfg->tool_count, sizeof(*tools->texts));
	if (tools->texts == NULL) {
		free(tools);
		return NULL;
	}
	for (size_t i = 0; i < cfg->tool_count; i++) {
		bc_buf_init(&tools->texts[i], TOOLS_TEXT_MAX);
	}
	for (size_t i = 0; i < cfg->tool_count; i++) {
		if (!definition_put(&tools->texts[i], &cfg->tool[i])) {
			return toolset_unref(tools);
		}
	}
	return tools;
}

struct toolset *toolset_ref(struct toolset *tools)
{
	tools->refs++;
	return tools;
}

struct toolset *toolset_unref(struct toolset *tools)
{
	if (tools == NULL || --tools->refs > 0) {
		return NULL;
	}
	for (size_t i = 0; i < tools->cfg->tool_count; i++) {
		bc_buf_release(&tools->texts[i]);
	}
	free(tools->texts);
	free(tools);
	return NULL;
}

/* ---- per session ---- */

bool tools_is_gateway(const struct sess *sess, const char *name, const struct cfg_tool **ret)
{
	const struct cfg_tool *tool = cfg_tool_find(sess->cfg, bc_span_str(name));

	if (tool == NULL || sess->agent->yielded[tool - sess->cfg->tool]) {
		return false;
	}
	*ret = tool;
	return true;
}

static struct update *update_free(struct update *update)
{
	if (update != NULL) {
		free(update->event_id);
		free(update->tools);
		free(update);
	}
	return NULL;
}

void tools_fini(struct agent *agent)
{
	struct update *update;

	while ((update = TAILQ_FIRST(&agent->updates)) != NULL) {
		TAILQ_REMOVE(&agent->updates, update, link);
		update_free(update);
	}
	free(agent->client_tools);
	free(agent->yielded);
}

/* Note an update that goes upstream now.  Takes tools; false: too many are unanswered, or out of memory. */
static bool update_note(struct agent *agent, bool gateway, struct bc_span event_id, char *tools)
{
	struct update *update =
		agent->update_count < SESS_UPDATES_MAX ? calloc(1, sizeof(*update)) : NULL;

	if (update == NULL) {
		free(tools);
		return false;
	}
	update->gateway = gateway;
	update->event_id = event_id.len == 0 ? NULL : field_dup(event_id);
	update->tools = tools;
	TAILQ_INSERT_TAIL(&agent->updates, update, link);
	agent->update_count++;
	return true;
}

static void update_drop(struct agent *agent, struct update *update)
{
	TAILQ_REMOVE(&agent->updates, update, link);
	agent->update_count--;
	update_free(update);
}

/* One walk over a client's list: what clashes, and the text without what the gateway replaces. */
struct merge {
	struct sess *sess;
	struct bc_buf out;
	bool *yielded; /* per tool, after this list */
	bool clash;
	bool failed;
};

static bool merge_client_tool(void *arg, size_t index, struct bc_span value)
{
	struct merge *merge = arg;
	const struct cfg *cfg = merge->sess->cfg;
	const struct cfg_tool *tool = NULL;
	char name[SESS_ID_MAX];

	(void)index;
	if (field_id(value, "name", name)) {
		tool = cfg_tool_find(cfg, bc_span_str(name));
	}
	if (tool != NULL) {
		merge->clash = true;
		if (cfg->tools.on_name_clash == CFG_NAME_CLASH_GATEWAY) {
			return true;
		}
		merge->yielded[tool - cfg->tool] = true;
	}
	if ((bc_buf_len(&merge->out) > 1 && bc_buf_put_str(&merge->out, ",") != BC_OK) ||
	    bc_buf_put_span(&merge->out, value) != BC_OK) {
		merge->failed = true;
	}
	return !merge->failed;
}

static void merge_gateway_tools(struct merge *merge)
{
	const struct toolset *tools = merge->sess->tools;

	for (size_t i = 0; i < tools->cfg->tool_count && !merge->failed; i++) {
		if (merge->yielded[i]) {
			continue;
		}
		if ((bc_buf_len(&merge->out) > 1 && bc_buf_put_str(&merge->out, ",") != BC_OK) ||
		    bc_buf_put_span(&merge->out, bc_buf_span(&tools->texts[i])) != BC_OK) {
			merge->failed = true;
		}
	}
}

/* Fill merge->out with the union; merge->yielded is owned by the caller. */
static bool merge_lists(struct merge *merge, struct bc_span client_list)
{
	bc_buf_init(&merge->out, TOOLS_TEXT_MAX);
	if (bc_buf_put_str(&merge->out, "[") != BC_OK ||
	    json_each(client_list, merge_client_tool, merge) != BC_OK) {
		merge->failed = true;
	}
	merge_gateway_tools(merge);
	return !merge->failed && bc_buf_put_str(&merge->out, "]") == BC_OK;
}

char *tools_union(struct sess *sess, struct bc_span client_list)
{
	struct merge merge = {.sess = sess};
	char *text = NULL;

	merge.yielded = calloc(sess->cfg->tool_count, sizeof(*merge.yielded));
	if (merge.yielded == NULL) {
		return NULL;
	}
	if (merge_lists(&merge, client_list)) {
		text = bc_span_dup(bc_buf_span(&merge.out));
	}
	bc_buf_release(&merge.out);
	free(merge.yielded);
	return text;
}

void tools_offer(struct sess *sess)
{
	char *list = tools_union(sess, BC_SPAN_LIT("[]"));
	char id[BC_ID_SIZE];
	struct bc_buf text;
	struct bc_buf quoted;

	if (list == NULL) {
		sess_end(sess, BC_E_NOMEM, "out_of_memory", "The gateway is out of memory.");
		return;
	}
	bc_buf_init(&text, TOOLS_TEXT_MAX + 1024);
	bc_buf_init(&quoted, 64);
	bc_id_new(id, 'u');
	if (bc_buf_printf(&quoted, "\"%s\"", id) == BC_OK &&
	    bc_buf_printf(
		    &text,
		    "{\"type\":\"session.update\",\"event_id\":\"%s\",\"session\":{\"type\":\"realtime\","
		    "\"tools\":%s}}",
		    id, list) == BC_OK &&
	    update_note(sess->agent, true, bc_buf_span(&quoted), NULL)) {
		(void)sess_to_upstream(
			sess, bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&quoted);
	bc_buf_release(&text);
	free(list);
}

static void refuse(struct sess *sess, struct bc_span event_id, const char *code,
		   const char *message)
{
	struct oai_error error = {.type = "invalid_request_error",
				  .code = code,
				  .message = bc_span_str(message),
				  .client_id = event_id};
	struct bc_buf text;

	bc_buf_init(&text, 4096);
	if (oai_error_put(&text, &error) == BC_OK) {
		(void)sess_to_client(sess,
				     bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
}

static void forward_union(struct sess *sess, struct bc_span text, struct bc_span list,
			  struct merge *merge)
{
	struct rewrite rewrite;
	struct bc_buf out;

	rewrite_begin(&rewrite, text);
	rewrite_replace(&rewrite, list, bc_buf_span(&merge->out));
	if (rewrite_end(&rewrite, &out) &&
	    update_note(sess->agent, false, field_raw(text, "event_id"), field_dup(list))) {
		memcpy(sess->agent->yielded, merge->yielded,
		       sess->cfg->tool_count * sizeof(*merge->yielded));
		(void)sess_to_upstream(
			sess, bc_buf_span(&out)); /* pressure shows with the next message */
	} else {
		refuse(sess, field_raw(text, "event_id"), "gateway_limit",
		       "Too many session updates are unanswered.");
	}
	bc_buf_release(&out);
}

void tools_client_update(struct sess *sess, struct bc_span text)
{
	struct bc_span event_id = field_raw(text, "event_id");
	struct bc_span list = field_raw(field_raw(text, "session"), "tools");
	struct merge merge = {.sess = sess};

	if (list.len == 0 || list.ptr[0] != '[') {
		if (!update_note(sess->agent, false, event_id, NULL)) {
			refuse(sess, event_id, "gateway_limit",
			       "Too many session updates are unanswered.");
			return;
		}
		(void)sess_to_upstream(sess, text); /* pressure shows with the next message */
		return;
	}
	merge.yielded = calloc(sess->cfg->tool_count, sizeof(*merge.yielded));
	if (merge.yielded == NULL || !merge_lists(&merge, list)) {
		refuse(sess, event_id, "invalid_value",
		       "The tools of this update could not be read.");
	} else if (merge.clash && sess->cfg->tools.on_name_clash == CFG_NAME_CLASH_REFUSE) {
		refuse(sess, event_id, "tool_name_taken",
		       "A tool of this update has the name of a tool the gateway runs. Rename it.");
	} else {
		forward_union(sess, text, list, &merge);
	}
	bc_buf_release(&merge.out);
	free(merge.yielded);
}

static void show_updated(struct sess *sess, struct bc_span text)
{
	struct bc_span session = field_raw(text, "session");
	const char *own = sess->agent->client_tools;
	struct rewrite rewrite;
	struct bc_buf out;

	if (field_raw(session, "tools").len == 0) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		return;
	}
	rewrite_begin(&rewrite, text);
	rewrite_set(&rewrite, session, "tools", own == NULL ? BC_SPAN_LIT("[]") : bc_span_str(own));
	(void)sess_to_client(sess, rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text);
	bc_buf_release(&out);
}

void tools_session_updated(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	struct update *update = TAILQ_FIRST(&agent->updates);
	bool gateway = update != NULL && update->gateway;

	if (update != NULL && update->tools != NULL) {
		free(agent->client_tools);
		agent->client_tools = update->tools;
		update->tools = NULL;
	}
	if (update != NULL) {
		update_drop(agent, update);
	}
	if (!gateway) {
		show_updated(sess, text);
	}
}

/* Whether an error without the client's event id looks like the answer to an update. */
static bool names_session(struct bc_span error)
{
	struct bc_span param = field_raw(error, "param");

	return json_raw_is_string(param) && bc_span_has_prefix(param, "\"session");
}

bool tools_update_failed(struct sess *sess, struct bc_span client_id, struct bc_span error)
{
	struct update *update;
	bool gateway;

	TAILQ_FOREACH(update, &sess->agent->updates, link) {
		bool mine = update->event_id != NULL && bc_span_is(client_id, update->event_id);
		bool first_nameless = !json_raw_is_string(client_id) && update->event_id == NULL &&
				      names_session(error);

		if (!mine && !first_nameless) {
			continue;
		}
		gateway = update->gateway;
		if (gateway) {
			bc_log(BC_LOG_ERR, &sess->log,
			       "provider refused the gateway's tools: check the parameters of the [[tool]]s; this call "
			       "goes on without them");
		}
		update_drop(sess->agent, update);
		return gateway;
	}
	return false;
}
