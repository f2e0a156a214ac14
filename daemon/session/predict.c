/*
 * Patterns in a session: tells the world of every real call that has ended well, and runs what usually follows from a result
 * (of a guess, too) or, when the caller begins to speak, from the calls of the turn before.
 *
 * What follows from the turn before is not run while the agent still speaks: a result is used only while it is fresh
 * (fresh_for), and between the first word of a turn and the call there is time enough.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <stdlib.h>

static struct pattern_call as_call(const struct work *work, const struct tool_result *result)
{
	return (struct pattern_call){.tool = work->tool->name,
				     .arguments = work->arguments,
				     .output = bc_span_str(work->output),
				     .turn = work->turn,
				     .started = result->started,
				     .finished = result->finished,
				     .tags = spec_tag_bits(work->tool),
				     .effect = work->tool->effect != CFG_EFFECT_READ};
}

/* A predicted call becomes a proposal, if it is one of ours and fits its tool's schema. */
static void propose(struct sess *sess, const struct pattern_guess *predicted, uint64_t turn,
		    const struct guess *premise, bool next_turn)
{
	struct spec_call call = {.turn = turn};
	struct bc_buf message;
	char *canonical = NULL;
	bool proposed = false;

	bc_buf_init(&message, 4096);
	if (tools_is_gateway(sess, NULL, predicted->tool, &call.tool) &&
	    tool_args_check(call.tool, bc_span_str(predicted->arguments), &canonical, &message) ==
		    BC_OK &&
	    !work_is_real(sess, call.tool, canonical, turn)) {
		call.arguments = canonical;
		if (spec_predict(sess->agent->spec, &call, premise, next_turn, &proposed) !=
		    BC_OK) {
			bc_log(BC_LOG_DEBUG, &sess->log, "prediction dropped: too many guesses");
		}
	}
	if (proposed) {
		bc_metric_inc(next_turn ? BC_M_PREFETCHED : BC_M_PREDICTED);
		ledger_note(sess, LEDGER_GATEWAY, "predict", "tool=%s turn=%llu", call.tool->name,
			    (unsigned long long)turn);
	}
	free(canonical);
	bc_buf_release(&message);
}

/* call NULL: what follows from the turn before. */
static void predict(struct sess *sess, const struct pattern_call *call, uint64_t turn,
		    const struct guess *premise)
{
	struct pattern_guess predicted[PATTERN_GUESSES_MAX];
	unsigned count;

	if (sess->agent->spec == NULL || sess->agent->refused || sess->world->predict == NULL ||
	    sess->agent->passes.vendor_tools) {
		return;
	}
	count = sess->world->predict(sess->world_arg, call, turn, predicted);
	for (unsigned i = 0; i < count; i++) {
		propose(sess, &predicted[i], turn, premise, call == NULL);
		pattern_guess_release(&predicted[i]);
	}
}

void predict_observe(struct sess *sess, const struct work *work)
{
	const struct tool_result *result =
		work->run == NULL ? NULL : sess->world->tool_result(sess->world_arg, work->run);
	struct pattern_call call;

	if (result == NULL || result->outcome != TOOL_OK || sess->world->observe == NULL ||
	    work->tool->secret_arguments.count > 0) {
		return;
	}
	call = as_call(work, result);
	sess->world->observe(sess->world_arg, &call);
}

void predict_from(struct sess *sess, const struct work *work)
{
	const struct tool_result *result =
		work->run == NULL ? NULL : sess->world->tool_result(sess->world_arg, work->run);
	struct pattern_call call;

	if (result != NULL && result->outcome == TOOL_OK && sess->cfg->speculation.patterns) {
		call = as_call(work, result);
		predict(sess, &call, work->turn, work->guess);
	}
}

void predict_turn(struct sess *sess)
{
	if (sess->cfg->speculation.prefetch) {
		predict(sess, NULL, sess->agent->hearing.turn, NULL);
	}
}
