/*
 * Whose tools the provider is offered.  It keeps one list per session and every update that carries tools replaces
 * all of it, so each such update of the client is rewritten to the union; the client is shown its own tools only.
 *
 * Updates are answered in the order they were sent, with one session.updated or one error each; the queue of
 * unanswered ones tells to whom an answer belongs.  An error may name neither the update nor a parameter of it: then the
 * tools that the next session.updated shows tell that the oldest update was not the one it answers.
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

/* Whether a list, which was made by us, offers the gateway's definition of a tool or the client's. */
static bool offers_ours(const json_t *list, const struct cfg_tool *tool)
{
	size_t index;
	json_t *entry;

	json_array_foreach(list, index, entry) {
		const char *name = json_string_value(json_object_get(entry, "name"));
		const char *text = json_string_value(json_object_get(entry, "description"));

		if (name != NULL && strcmp(name, tool->name) == 0) {
			return text != NULL && strcmp(text, tool->description) == 0 &&
			       json_equal(json_object_get(entry, "parameters"), tool->parameters);
		}
	}
	return false;
}

bool tools_is_gateway(const struct sess *sess, const json_t *params, const char *name,
		      const struct cfg_tool **ret)
{
	const struct cfg_tool *tool = cfg_tool_find(sess->cfg, bc_span_str(name));
	const json_t *list = json_object_get(params, "tools");

	if (tool == NULL || sess->agent->refused) {
		return false;
	}
	if (json_is_array(list) ? !offers_ours(list, tool)
				: sess->agent->yielded[tool - sess->cfg->tool]) {
		return false;
	}
	*ret = tool;
	return true;
}

const struct cfg_tool *tools_of_call(const struct sess *sess, const json_t *params,
				     struct bc_span item)
{
	const struct cfg_tool *tool;
	char name[SESS_ID_MAX];

	if (!field_is(item, "type", "function_call") || !field_id(item, "name", name)) {
		return NULL;
	}
	if (tools_is_gateway(sess, params, name, &tool)) {
		return tool;
	}
	return restart_is_unknown(sess, params, name) ? &restart_unknown : NULL;
}

static struct update *update_free(struct update *update)
{
	if (update != NULL) {
		free(update->event_id);
		free(update->tools);
		free(update->yielded);
		free(update->transcription);
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

/* Note an update that goes upstream now; NULL: too many are unanswered, or out of memory. */
static struct update *update_note(struct agent *agent, bool gateway, struct bc_span event_id)
{
	struct update *update =
		agent->update_count < SESS_UPDATES_MAX ? calloc(1, sizeof(*update)) : NULL;

	if (update == NULL) {
		return NULL;
	}
	update->gateway = gateway;
	update->event_id = event_id.len == 0 ? NULL : field_dup(event_id);
	TAILQ_INSERT_TAIL(&agent->updates, update, link);
	agent->update_count++;
	return update;
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
	bool *yielded; /* per tool, after this list; owned */
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
	if (tool != NULL && !merge->sess->agent->refused) {
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

/* Fill merge with the union; BC_E_EXISTS: names clash and that is refused.  merge_fini() afterwards in any case. */
static enum bc_err merge_lists(struct merge *merge, struct bc_span client_list)
{
	const struct cfg *cfg = merge->sess->cfg;

	bc_buf_init(&merge->out, TOOLS_TEXT_MAX + client_list.len);
	merge->yielded = calloc(cfg->tool_count, sizeof(*merge->yielded));
	if (merge->yielded == NULL || bc_buf_put_str(&merge->out, "[") != BC_OK) {
		return BC_E_NOMEM;
	}
	if (json_each(client_list, merge_client_tool, merge) != BC_OK) {
		return BC_E_INVALID;
	}
	if (merge->clash && cfg->tools.on_name_clash == CFG_NAME_CLASH_REFUSE) {
		return BC_E_EXISTS;
	}
	if (!merge->sess->agent->refused) {
		merge_gateway_tools(merge);
	}
	return !merge->failed && bc_buf_put_str(&merge->out, "]") == BC_OK ? BC_OK : BC_E_INVALID;
}

static void merge_fini(struct merge *merge)
{
	bc_buf_release(&merge->out);
	free(merge->yielded);
}

enum bc_err tools_union(struct sess *sess, struct bc_span client_list, char **ret)
{
	struct merge merge = {.sess = sess};
	enum bc_err err = merge_lists(&merge, client_list);

	if (err == BC_OK) {
		*ret = bc_span_dup(bc_buf_span(&merge.out));
		err = *ret == NULL ? BC_E_NOMEM : BC_OK;
	}
	merge_fini(&merge);
	return err;
}

bool tools_send_update(struct sess *sess, const char *members, enum update_about about)
{
	char quoted[BC_ID_SIZE + 2];
	struct update *update = NULL;
	char id[BC_ID_SIZE];
	struct bc_buf text;

	bc_buf_init(&text, strlen(members) + 1024);
	bc_id_new(id, 'u');
	(void)snprintf(quoted, sizeof(quoted), "\"%s\"", id);
	if (bc_buf_printf(&text,
			  "{\"type\":\"session.update\",\"event_id\":\"%s\",\"session\":{\"type\":"
			  "\"realtime\",",
			  id) == BC_OK &&
	    bc_buf_put_str(&text, members) == BC_OK && bc_buf_put_str(&text, "}}") == BC_OK) {
		update = update_note(sess->agent, true, bc_span_str(quoted));
	}
	if (update != NULL) {
		update->about = about;
		(void)sess_to_upstream(
			sess, bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
	return update != NULL;
}

void tools_offer(struct sess *sess)
{
	char *list;
	struct bc_buf members;

	if (tools_union(sess, BC_SPAN_LIT("[]"), &list) != BC_OK) {
		sess_end(sess, BC_E_NOMEM, "out_of_memory", "The gateway is out of memory.");
		return;
	}
	bc_buf_init(&members, TOOLS_TEXT_MAX + 64);
	if (bc_buf_put_str(&members, "\"tools\":") == BC_OK &&
	    bc_buf_put_str(&members, list) == BC_OK && bc_buf_put(&members, "", 1) == BC_OK) {
		(void)tools_send_update(sess, bc_buf_span(&members).ptr, UPDATE_TOOLS);
	}
	bc_buf_release(&members);
	free(list);
}

void client_refuse(struct sess *sess, struct bc_span event_id, const char *code,
		   const char *message)
{
	struct oai_error error = {.type = "invalid_request_error",
				  .code = code,
				  .message = bc_span_str(message),
				  .client_id = event_id};
	struct bc_buf text;

	bc_buf_init(&text, event_id.len + 4096);
	if (oai_error_put(&text, &error) == BC_OK) {
		(void)sess_to_client(sess,
				     bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
}

/* Note and send an update of the client; NULL: too many are unanswered, and the client was told. */
static struct update *forward_update(struct sess *sess, struct bc_span text,
				     struct bc_span transcription)
{
	struct bc_span input = field_raw(field_raw(field_raw(text, "session"), "audio"), "input");
	struct bc_span event_id = field_raw(text, "event_id");
	struct update *update = update_note(sess->agent, false, event_id);

	if (update == NULL) {
		client_refuse(sess, event_id, "gateway_limit",
			      "Too many session updates are unanswered.");
		return NULL;
	}
	update->transcription = transcription.len == 0 ? NULL : field_dup(transcription);
	update->silence =
		field_raw(field_raw(input, "turn_detection"), "silence_duration_ms").len > 0;
	(void)sess_to_upstream(sess, text); /* pressure shows with the next message */
	return update;
}

static void forward_union(struct sess *sess, struct bc_span text, struct merge *merge,
			  struct bc_span transcription)
{
	struct bc_span list = field_raw(field_raw(text, "session"), "tools");
	char *own = field_dup(list);
	struct update *update = NULL;
	struct rewrite rewrite;
	struct bc_buf out;

	rewrite_begin(&rewrite, text);
	rewrite_replace(&rewrite, list, bc_buf_span(&merge->out));
	if (!rewrite_end(&rewrite, &out) || own == NULL) {
		sess_end(sess, BC_E_NOMEM, "out_of_memory", "The gateway is out of memory.");
	} else {
		update = forward_update(sess, bc_buf_span(&out), transcription);
	}
	if (update != NULL) {
		update->tools = own;
		update->yielded = merge->yielded;
		merge->yielded = NULL;
	} else {
		free(own);
	}
	bc_buf_release(&out);
}

void tools_client_update(struct sess *sess, struct bc_span text, struct bc_span transcription)
{
	struct bc_span event_id = field_raw(text, "event_id");
	struct bc_span list = field_raw(field_raw(text, "session"), "tools");
	struct merge merge = {.sess = sess};
	enum bc_err err;

	if (list.len == 0 || list.ptr[0] != '[') {
		(void)forward_update(sess, text, transcription); /* a refusal was told */
		return;
	}
	err = merge_lists(&merge, list);
	if (err == BC_OK) {
		forward_union(sess, text, &merge, transcription);
	} else if (err == BC_E_EXISTS) {
		client_refuse(sess, event_id, "tool_name_taken", TOOL_NAME_TAKEN);
	} else {
		client_refuse(sess, event_id, "invalid_value",
			      "The tools of this update could not be read.");
	}
	merge_fini(&merge);
}

static bool is_vendor_tool(void *arg, size_t index, struct bc_span value)
{
	bool *found = arg;

	(void)index;
	*found = *found || !field_is(value, "type", "function");
	return true;
}

/* The provider has accepted an update of the client that carries tools. */
static void accept_tools(struct agent *agent, struct update *update)
{
	bool vendor = false;

	free(agent->client_tools);
	agent->client_tools = update->tools;
	update->tools = NULL;
	free(agent->yielded);
	agent->yielded = update->yielded;
	update->yielded = NULL;
	/* What cannot be read may be anything. */
	if (json_each(bc_span_str(agent->client_tools), is_vendor_tool, &vendor) != BC_OK) {
		vendor = true;
	}
	agent->passes.vendor_tools = vendor;
}

static void show_updated(struct sess *sess, struct bc_span text)
{
	struct bc_span session = field_raw(text, "session");
	const char *own = sess->agent->client_tools;
	struct rewrite rewrite;
	struct bc_buf out;

	rewrite_begin(&rewrite, text);
	if (field_raw(session, "tools").len > 0) {
		rewrite_set(&rewrite, session, "tools",
			    own == NULL ? BC_SPAN_LIT("[]") : bc_span_str(own));
	}
	transcripts_show(sess, &rewrite, session);
	eager_show(sess, &rewrite, session);
	if (rewrite.count == 0) {
		(void)sess_to_client(sess, text); /* pressure shows with the next message */
		return;
	}
	(void)sess_to_client(sess, rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text);
	bc_buf_release(&out);
}

/* ---- which update was accepted ---- */

/* The provider has not taken this update; it is forgotten. */
static void refused(struct sess *sess, struct update *update)
{
	if (update->about == UPDATE_WORDS) {
		transcripts_refused(sess);
	} else if (update->about == UPDATE_DETECTION) {
		eager_refused(sess);
	} else if (update->gateway) {
		bc_log(BC_LOG_ERR, &sess->log,
		       "provider refused the gateway's tools: check the parameters of the [[tool]]s; this call "
		       "goes on without them");
		sess->agent->refused = true;
	}
	update_drop(sess->agent, update);
}

/* Names the provider shows if an update was accepted; false: they cannot be told. */
static bool expect_names(const struct sess *sess, const struct update *update, json_t *names)
{
	const struct agent *agent = sess->agent;
	bool own = update->tools != NULL;
	const char *list = own ? update->tools : agent->client_tools;
	const bool *yielded = own ? update->yielded : agent->yielded;
	json_t *client = list == NULL ? json_array() : json_parse(bc_span_str(list));
	size_t index;
	json_t *entry;

	json_array_foreach(client, index, entry) {
		const char *name = json_string_value(json_object_get(entry, "name"));
		const struct cfg_tool *tool =
			name == NULL ? NULL : cfg_tool_find(sess->cfg, bc_span_str(name));

		if (name == NULL) {
			json_decref(client);
			return false; /* a tool of the vendor's: it has other names */
		}
		if (tool == NULL || yielded[tool - sess->cfg->tool]) {
			json_object_set_new(names, name, json_true());
		}
	}
	json_decref(client);
	for (size_t i = 0; i < sess->cfg->tool_count && !agent->refused; i++) {
		if (!yielded[i]) {
			json_object_set_new(names, sess->cfg->tool[i].name, json_true());
		}
	}
	return true;
}

/* Whether the tools of the accepted session are those it has after this update. */
static bool shows(const struct sess *sess, const json_t *shown, const struct update *update)
{
	json_t *names = json_object();
	bool same = names != NULL && expect_names(sess, update, names) &&
		    json_object_size(names) == json_array_size(shown);
	size_t index;
	json_t *entry;

	json_array_foreach(shown, index, entry) {
		const char *name = json_string_value(json_object_get(entry, "name"));

		same = same && name != NULL && json_object_get(names, name) != NULL;
	}
	json_decref(names);
	return same;
}

/*
 * The update a session.updated answers: the oldest, unless what is shown fits it not and a later one does.  Those before
 * that have failed without a word that could be attributed to them, and are dropped.
 */
static struct update *answered_one(struct sess *sess, struct bc_span session)
{
	struct update_list *updates = &sess->agent->updates;
	struct update *oldest = TAILQ_FIRST(updates);
	struct update *update = oldest;
	struct bc_span tools = field_raw(session, "tools");
	json_t *shown;

	if (oldest == NULL || TAILQ_NEXT(oldest, link) == NULL || tools.len == 0) {
		return oldest;
	}
	shown = json_parse(tools);
	while (update != NULL && !shows(sess, shown, update)) {
		update = TAILQ_NEXT(update, link);
	}
	json_decref(shown);
	if (update == NULL) {
		return oldest;
	}
	while (TAILQ_FIRST(updates) != update) {
		refused(sess, TAILQ_FIRST(updates));
	}
	return update;
}

void tools_session_updated(struct sess *sess, struct bc_span text)
{
	struct agent *agent = sess->agent;
	struct update *update = answered_one(sess, field_raw(text, "session"));
	bool gateway = update != NULL && update->gateway;

	agent->restarts.offered =
		agent->restarts.offered || (gateway && update->about == UPDATE_TOOLS);

	if (update != NULL && update->tools != NULL) {
		accept_tools(agent, update);
	}
	if (update != NULL) {
		bool detection = update->about == UPDATE_DETECTION;

		transcripts_accepted(sess, update);
		update_drop(agent, update);
		if (detection) {
			eager_answered(sess);
		}
	}
	if (!gateway) {
		show_updated(sess, text);
	}
}

bool tools_update_failed(struct sess *sess, struct bc_span client_id, struct bc_span error)
{
	/* Without an id it answers the oldest: updates are answered in their order. */
	bool nameless = error_is_about(error, "session");
	struct update *update;
	bool gateway;

	TAILQ_FOREACH(update, &sess->agent->updates, link) {
		if (nameless ||
		    (update->event_id != NULL && bc_span_is(client_id, update->event_id))) {
			break;
		}
	}
	if (update == NULL) {
		return false;
	}
	gateway = update->gateway;
	refused(sess, update);
	return gateway;
}
