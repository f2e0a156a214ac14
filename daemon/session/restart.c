/*
 * Calls that cannot be run: of a tool nobody has, or with arguments that do not fit.  The model is told what is wrong in
 * the call's output and asked again, a few times in a turn; then the turn is given up, because a model that does not learn
 * from the message will not learn from its repetition.
 *
 * A name is unknown only if neither the gateway nor the client has ever said it: a client's tool is its own business, also
 * one that is on its way to the provider, was named in a single request, or comes with a prompt stored there.
 */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/session/sess.h"

#include <string.h>

const struct cfg_tool restart_unknown = {.name = "unknown",
					 .effect = CFG_EFFECT_READ,
					 .disclosure = CFG_DISCLOSURE_LOCAL,
					 .delivery = CFG_DELIVERY_WHEN_IDLE,
					 .on_barge_in = CFG_BARGE_IN_KEEP};

/* ---- whose a name is ---- */

static bool is_given(struct bc_span raw)
{
	return raw.len > 0 && !bc_span_is(raw, "null");
}

void restart_configure(struct sess *sess, struct bc_span session)
{
	struct bc_span prompt = field_raw(session, "prompt");

	if (prompt.len > 0) {
		sess->agent->restarts.prompt = is_given(prompt);
	}
}

struct search {
	const char *name;
	bool found;
};

static bool compare(void *arg, size_t index, struct bc_span value)
{
	struct search *search = arg;

	(void)index;
	search->found = search->found || field_is(value, "name", search->name);
	return !search->found;
}

/* Whether a raw list of tools has one of that name; one that cannot be read may have anything. */
static bool lists(const char *list, const char *name)
{
	struct search search = {.name = name};

	return list != NULL &&
	       (json_each(bc_span_str(list), compare, &search) != BC_OK || search.found);
}

static bool is_in_params(const json_t *params, const char *name)
{
	const json_t *entry;
	size_t index;

	if (json_object_get(params, "prompt") != NULL) {
		return true;
	}
	json_array_foreach(json_object_get(params, "tools"), index, entry) {
		const char *named = json_string_value(json_object_get(entry, "name"));

		if (named != NULL && strcmp(named, name) == 0) {
			return true;
		}
	}
	return false;
}

bool restart_is_unknown(const struct sess *sess, const json_t *params, const char *name)
{
	const struct agent *agent = sess->agent;
	const struct update *update;

	if (!agent->restarts.offered || agent->restarts.prompt || agent->refused ||
	    cfg_tool_find(sess->cfg, bc_span_str(name)) != NULL ||
	    lists(agent->client_tools, name) || is_in_params(params, name)) {
		return false;
	}
	TAILQ_FOREACH(update, &agent->updates, link) {
		if (lists(update->tools, name)) {
			return false;
		}
	}
	return true;
}

/* ---- telling the model ---- */

struct work *restart_work(struct sess *sess, const struct resp *resp, struct bc_span item)
{
	struct spec_call named = {.tool = &restart_unknown, .arguments = "{}", .turn = resp->turn};
	char name[SESS_ID_MAX] = "";
	struct bc_buf message;
	struct work *work = NULL;

	bc_metric_inc(BC_M_TOOL_UNKNOWN);
	bc_buf_init(&message, 256);
	(void)field_id(item, "name", name);
	if (bc_buf_printf(&message, "there is no function %s; use only those you were given",
			  name) == BC_OK) {
		work = work_error(sess, &named, "unknown_function", bc_buf_span(&message));
	}
	bc_buf_release(&message);
	return work;
}

/* ---- how often ---- */

static bool all_invalid(const struct step *step)
{
	const struct call *call;
	unsigned count = 0;

	TAILQ_FOREACH(call, &step->calls, link) {
		count++;
	}
	return step->invalid >= count;
}

bool restart_allowed(struct sess *sess, const struct step *step)
{
	struct restarts *restarts = &sess->agent->restarts;

	if (step->invalid == 0) {
		return true;
	}
	if (step->turn != restarts->turn) {
		restarts->turn = step->turn;
		restarts->count = 0;
	}
	if (restarts->count < sess->cfg->tools.restarts_max) {
		restarts->count++;
		bc_metric_inc(BC_M_RESTARTS);
		return true;
	}
	if (!all_invalid(step)) {
		return true; /* a result that is there is told all the same */
	}
	bc_metric_inc(BC_M_TURNS_GIVEN_UP);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "model made calls that cannot be run %u times in one turn, giving the turn up",
	       restarts->count + 1);
	resp_merge_close(sess, "failed", "invalid_tool_calls",
			 "The model kept calling functions in ways that cannot be run.");
	return false;
}
