/* Where cases come from: a call that was given up, a crash, and the operator. */
#include "daemon/config/config.h"
#include "daemon/loop/loop.h"
#include "daemon/tools/rollback.h"
#include "daemon/tools/secret.h"
#include "proto/json.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX ((size_t)2 << 20) /* bytes */

void tool_rollback_begin(struct tool_call *call)
{
	struct tool_host *host = call->host;
	struct tool_case *c = tool_case_new(host);

	if (c == NULL) {
		return;
	}
	c->tool = call->tool;
	c->common = call->common;
	c->ticket = call->ticket;
	c->to_undo = true;
	c->has_digest = true;
	c->digest = call->digest;
	c->has_result = !call->verdict.in_doubt;
	c->args = json_incref(call->args);
	c->session = bc_span_dup(bc_span_str(call->session));
	c->turn = call->turn;
	if (c->session == NULL || tool_secret_args(&c->shown, call->tool, call->args) != BC_OK ||
	    tool_seal_args(&c->sealed, host->seal, call->tool, call->args) != BC_OK ||
	    tool_put_tags(&c->tags, call->tool) != BC_OK) {
		tool_case_end(c);
		return;
	}
	if (c->has_result && call->result.outcome == TOOL_OK &&
	    bc_buf_put_span(&c->output, call->result.output) == BC_OK) {
		tool_case_keep_result(c);
	}
	tool_case_begin(c);
}

/* The arguments as they were; a mark in place of a secret is none. */
static json_t *read_args(struct tool_case *c, const struct jrn_orphan *orphan)
{
	struct bc_buf text;
	json_t *args = NULL;

	if (orphan->intent.sealed.len == 0) {
		bool hidden = c->tool->secret_arguments.count > 0 &&
			      memmem(orphan->intent.arguments.ptr, orphan->intent.arguments.len,
				     TOOL_SECRET_MARK, sizeof(TOOL_SECRET_MARK) - 1) != NULL;

		return hidden ? NULL : json_parse(orphan->intent.arguments);
	}
	bc_buf_init(&text, TEXT_MAX);
	if (tool_seal_open(&text, c->host->seal, c->tool, orphan->intent.sealed) == BC_OK) {
		args = json_parse(bc_buf_span(&text));
	}
	bc_buf_release(&text);
	return args;
}

static enum bc_err read_output(struct tool_case *c, const struct jrn_orphan *orphan)
{
	if (orphan->output_sealed.len == 0) {
		return bc_buf_put_span(&c->output, orphan->output);
	}
	return tool_seal_open(&c->output, c->host->seal, c->tool, orphan->output_sealed);
}

static enum bc_err copy_texts(struct tool_case *c, const struct jrn_orphan *orphan)
{
	enum bc_err err = bc_buf_put_span(&c->shown, orphan->intent.arguments);

	c->session = bc_span_dup(orphan->intent.session);
	err = err == BC_OK ? bc_buf_put_span(&c->sealed, orphan->intent.sealed) : err;
	err = err == BC_OK ? bc_buf_put_span(&c->tags, orphan->intent.tags) : err;
	return c->session == NULL ? BC_E_NOMEM : err;
}

struct adoption {
	struct tool_host *host;
	const struct cfg *cfg;
	tool_operator_fn *done; /* of a retry */
	void *arg;
};

/* Nothing can be asked or undone: the tool is gone, or is another one now. */
static bool is_lost(struct tool_case *c)
{
	return c->tool == NULL || (c->to_undo && (c->tool->effect != CFG_EFFECT_REVERSIBLE ||
						  c->tool->undo.method == NULL));
}

static void end_lost(struct tool_case *c)
{
	if (c->has_result && c->to_undo) {
		tool_case_park(c, JRN_IN_DOUBT, "is parked: its tool is not configured any more");
	} else {
		tool_case_give_up(c);
	}
}

static const struct cfg_tool *tool_of_name(const struct cfg *cfg, struct bc_span name)
{
	for (size_t i = 0; i < cfg->tool_count; i++) {
		if (bc_span_is(name, cfg->tool[i].name)) {
			return &cfg->tool[i];
		}
	}
	return NULL;
}

static void on_orphan(void *arg, const struct jrn_orphan *orphan)
{
	const struct adoption *adoption = arg;
	struct tool_host *host = adoption->host;
	struct tool_case *c = tool_case_new(host);

	if (c == NULL) {
		return; /* stays open: K3 */
	}
	c->tool = tool_of_name(adoption->cfg, orphan->intent.tool);
	c->common = &adoption->cfg->tools;
	c->ticket = orphan->ticket;
	c->undo = orphan->undo;
	c->has_undo = orphan->has_undo;
	c->undo_sent = orphan->has_undo;
	c->to_undo = orphan->decision != JRN_COMMITTED;
	c->has_result = orphan->has_result;
	c->turn = orphan->intent.turn;
	if (copy_texts(c, orphan) != BC_OK) {
		tool_case_leave(c);
		return;
	}
	if (orphan->decision == JRN_UNDECIDED) {
		jrn_abandon(host->port, &c->ticket, loop_wall(host->loop));
	}
	if (is_lost(c)) {
		end_lost(c);
		return;
	}
	c->args = read_args(c, orphan);
	if (c->has_result && read_output(c, orphan) == BC_OK) {
		tool_case_keep_result(c);
	}
	tool_case_begin(c);
}

void tool_host_adopt(struct tool_host *host, const struct cfg *cfg)
{
	struct adoption adoption = {.host = host, .cfg = cfg};

	BC_CHECK(host, TOOL_HOST_MAGIC);
	jrn_adopt(host->port, on_orphan, &adoption);
}

/* ---- the operator's hand ---- */

static void on_retry_done(void *arg, enum bc_err err)
{
	struct adoption *adoption = arg;

	adoption->done(adoption->arg, err);
	free(adoption);
}

void tool_host_retry(struct tool_host *host, const struct cfg *cfg, uint64_t intent,
		     tool_operator_fn *done, void *arg)
{
	struct adoption *adoption = calloc(1, sizeof(*adoption));
	enum bc_err err = BC_E_NOMEM;

	BC_CHECK(host, TOOL_HOST_MAGIC);
	if (adoption != NULL) {
		*adoption = (struct adoption){.host = host, .cfg = cfg, .done = done, .arg = arg};
		err = jrn_reopen(host->port, intent, on_orphan, on_retry_done, adoption);
	}
	if (err != BC_OK) {
		free(adoption);
		done(arg, err);
	}
}

struct resolution {
	struct tool_host *host;
	uint64_t intent;
	tool_operator_fn *done;
	void *arg;
};

static void on_resolved(void *arg, enum bc_err err)
{
	struct resolution *resolution = arg;
	struct tool_host *host = resolution->host;

	if (err == BC_OK && host->hooks.resolved != NULL) {
		host->hooks.resolved(host->hooks.arg, resolution->intent);
	}
	resolution->done(resolution->arg, err);
	free(resolution);
}

void tool_host_resolve(struct tool_host *host, uint64_t intent, enum jrn_settlement how,
		       tool_operator_fn *done, void *arg)
{
	struct resolution *resolution = calloc(1, sizeof(*resolution));
	enum bc_err err = BC_E_NOMEM;

	BC_CHECK(host, TOOL_HOST_MAGIC);
	if (resolution != NULL) {
		*resolution = (struct resolution){
			.host = host, .intent = intent, .done = done, .arg = arg};
		err = jrn_resolve(host->port, intent, how, loop_wall(host->loop), on_resolved,
				  resolution);
	}
	if (err != BC_OK) {
		free(resolution);
		done(arg, err);
	}
}
