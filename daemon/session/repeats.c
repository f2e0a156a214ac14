/* Calls that equal an earlier one: which execution they mean.  Nothing is started or ended here. */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <string.h>

bool work_is_real(const struct sess *sess, const struct cfg_tool *tool, const char *arguments,
		  uint64_t turn)
{
	return work_real(sess, tool, arguments, turn) != NULL;
}

const struct work *work_real(const struct sess *sess, const struct cfg_tool *tool,
			     const char *arguments, uint64_t turn)
{
	const struct work *work;

	TAILQ_FOREACH(work, &sess->agent->works, link) {
		if (work->guess == NULL && work->tool == tool && work->turn == turn &&
		    strcmp(work->arguments, arguments) == 0) {
			return work;
		}
	}
	return NULL;
}

/*
 * A call of an earlier turn that the model names again although nobody has heard of its outcome: the caller was quicker,
 * not of another mind.  A second effect is meant only by who speaks after the first was told.
 */
static bool is_untold(const struct work *work, uint64_t turn)
{
	if (work->turn >= turn) {
		return false;
	}
	if (work->output == NULL) {
		return !work->gated ||
		       work->stopped; /* what may still be stopped is nothing to join */
	}
	return work->happened && (work->told == 0 || turn < work->told);
}

bool work_is_untold(const struct sess *sess, const struct cfg_tool *tool, const char *arguments,
		    uint64_t turn)
{
	const struct work *work;

	TAILQ_FOREACH(work, &sess->agent->works, link) {
		if (work->guess == NULL && !work->stale && !work->invalid && work->tool == tool &&
		    tool->effect != CFG_EFFECT_READ && strcmp(work->arguments, arguments) == 0 &&
		    is_untold(work, turn)) {
			return true;
		}
	}
	return false;
}

/* A hold of a verdict that was stopped, and that the provider has not called as well: then it is made all the same. */
static bool never_starts(const struct sess *sess, const struct work *work)
{
	return work->stopped && !step_uses(sess, work);
}

struct work *work_repeated(struct sess *sess, const struct resp *resp,
			   const struct spec_call *named, unsigned *ret_occurrence)
{
	struct work *untold = NULL;
	struct work *work;

	*ret_occurrence = 0;
	TAILQ_FOREACH(work, &sess->agent->works, link) {
		if (work->guess != NULL || work->stale || work->invalid ||
		    work->tool != named->tool || strcmp(work->arguments, named->arguments) != 0 ||
		    never_starts(sess, work)) {
			continue;
		}
		if (work->turn != named->turn) {
			untold = is_untold(work, named->turn) ? work : untold;
			continue;
		}
		if (strcmp(work->response, resp->id) != 0) {
			return work;
		}
		(*ret_occurrence)++;
	}
	bc_metric_add(BC_M_CALLS_JOINED, untold != NULL);
	return untold;
}
