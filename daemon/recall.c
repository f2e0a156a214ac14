/* Hit rates and usual times go to what all sessions share, patterns to each worker. */
#include "daemon/recall.h"

#include "daemon/base/log.h"
#include "daemon/journal/history.h"
#include "daemon/spec/pattern.h"
#include "daemon/thrift.h"

#include <stdlib.h>
#include <string.h>

#define RECALLED_MAX 4096 /* calls looked at, the newest */

struct recall {
	struct server *server;
	const struct cfg *cfg;
	bc_usec wall;
	unsigned count;
	struct bc_buf session;         /* id of the session the rows are of */
	struct pattern_trail **trails; /* its calls, one for each worker; NULL: out of memory */
};

static void forget_trails(struct recall *recall)
{
	for (unsigned i = 0; recall->trails != NULL && i < recall->server->worker_count; i++) {
		recall->trails[i] = pattern_trail_free(recall->trails[i]);
	}
}

/* Rows of one session stand together. */
static void begin_session(struct recall *recall, struct bc_span session)
{
	if (bc_span_eq(bc_buf_span(&recall->session), session)) {
		return;
	}
	forget_trails(recall);
	bc_buf_clear(&recall->session);
	/* Without memory two sessions are taken for one: a pattern more that proves wrong. */
	(void)!bc_buf_put_span(&recall->session, session);
}

static void observe(struct recall *recall, const struct cfg_tool *tool,
		    const struct jrn_history_row *row)
{
	char *arguments = bc_span_dup(row->arguments);
	struct pattern_call call = {.tool = tool->name,
				    .arguments = arguments,
				    .output = row->output,
				    .turn = row->turn,
				    .started = row->wall,
				    .finished = row->wall + row->took,
				    .tags = spec_tag_bits(tool),
				    .effect = tool->effect != CFG_EFFECT_READ};

	for (unsigned i = 0; arguments != NULL && i < recall->server->worker_count; i++) {
		struct worker *worker = &recall->server->workers[i];

		if (recall->trails[i] == NULL) {
			recall->trails[i] = pattern_trail_new();
		}
		if (recall->trails[i] != NULL && worker->patterns != NULL) {
			pattern_observe(worker->patterns, recall->trails[i], &call);
		}
	}
	free(arguments);
}

static void take_row(void *arg, const struct jrn_history_row *row)
{
	struct recall *recall = arg;
	const struct cfg_tool *tool = cfg_tool_find(recall->cfg, row->tool);

	if (tool == NULL) {
		return; /* it is not configured any more */
	}
	if (row->speculative) {
		thrift_recall(recall->server->thrift, recall->cfg, row, recall->wall);
		recall->count++;
	}
	/* Where arguments are withheld, the record of a guess lacks what the real call had. */
	if (row->speculative && tool->withheld_arguments.count > 0) {
		return;
	}
	if (row->used && !row->hidden && row->status / 100 == 2 && recall->trails != NULL) {
		begin_session(recall, row->session);
		observe(recall, tool, row);
	}
}

void recall(struct server *server, const struct cfg *cfg, bc_usec wall)
{
	struct recall recall = {.server = server, .cfg = cfg, .wall = wall};

	recall.trails = calloc(server->worker_count, sizeof(struct pattern_trail *));
	bc_buf_init(&recall.session, 256);
	if (!jrn_history(cfg->journal.path, RECALLED_MAX, take_row, &recall)) {
		bc_log(BC_LOG_WARNING, NULL,
		       "what the journal knows of calls cannot be read, learning anew");
	} else if (recall.count > 0) {
		bc_log(BC_LOG_INFO, NULL, "learnt from %u guesses in the journal", recall.count);
	}
	forget_trails(&recall);
	free(recall.trails);
	bc_buf_release(&recall.session);
}
