/*
 * Passes that come to nothing: those the provider refuses, or does not mark, and those given up before it had created
 * them.  Requests of the latter will still be answered, and so keep
 * their places in the order in which an error without an event_id is told from others (R7).
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <string.h>

void pass_forsake(struct agent *agent, uint64_t request)
{
	uint64_t *requests = agent->passes.forsaken;
	size_t at = BC_ARRAY_LEN(agent->passes.forsaken) - 1;

	/* Oldest first, in whatever order they are given up; where there are too many, the newest is forgotten. */
	while (at > 0 && (requests[at - 1] == 0 || requests[at - 1] > request)) {
		requests[at] = requests[at - 1];
		at--;
	}
	requests[at] = request;
}

/* The oldest one's answer is there; false: there is none that was sent before that request. */
static bool answered(struct agent *agent, uint64_t before)
{
	uint64_t *requests = agent->passes.forsaken;
	size_t last = BC_ARRAY_LEN(agent->passes.forsaken) - 1;

	if (requests[0] == 0 || requests[0] >= before) {
		return false;
	}
	memmove(requests, requests + 1, last * sizeof(*requests));
	requests[last] = 0;
	return true;
}

void pass_forsaken_created(struct agent *agent)
{
	(void)answered(agent, UINT64_MAX); /* an older answer may have been missed */
}

static bool forsaken_failed(struct sess *sess, const struct pass *pass, struct bc_span client_id,
			    struct bc_span error)
{
	if (bc_span_has_prefix(client_id, "\"bc_p")) {
		return pass == NULL && answered(sess->agent, UINT64_MAX);
	}
	return error_is_about(error, "response") &&
	       answered(sess->agent, pass == NULL ? lane_oldest_asked(sess) : pass->request);
}

/* ---- refused ---- */

/* The pass an error answers; where it does not say so, the oldest request that has no answer. */
static struct pass *pass_refused(struct sess *sess, struct bc_span client_id, struct bc_span error)
{
	struct agent *agent = sess->agent;
	/* Where the error does not say what it answers, it is the oldest request. */
	uint64_t oldest = error_is_about(error, "response") ? lane_oldest_asked(sess) : 0;
	struct pass *refused = NULL;

	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		struct pass *pass = &agent->passes.running[i];

		if (pass->number != 0 && json_string_is(client_id, pass->event_id)) {
			return pass;
		}
		if (pass->number != 0 && pass->response[0] == '\0' && pass->request < oldest) {
			oldest = pass->request;
			refused = pass;
		}
	}
	return refused;
}

bool pass_failed(struct sess *sess, struct bc_span client_id, struct bc_span error)
{
	struct pass *pass = sess->agent->spec == NULL ? NULL : pass_refused(sess, client_id, error);

	if (prepare_failed(sess, client_id)) {
		return true;
	}
	if (forsaken_failed(sess, pass, client_id, error)) {
		return true;
	}
	if (pass == NULL) {
		return false;
	}
	bc_metric_inc(BC_M_PASSES_FAILED);
	traits_pass_refused(sess, pass, error);
	spec_pass_end(sess->agent->spec, pass->number, false);
	pass->number = 0;
	pass_advance(sess);
	return true;
}

/* ---- without a mark ---- */

/* The oldest running pass that was not created; NULL: there is none. */
static struct pass *oldest_asked(struct agent *agent)
{
	struct pass *oldest = NULL;

	for (unsigned i = 0; i < SPEC_PASSES_MAX; i++) {
		struct pass *pass = &agent->passes.running[i];

		if (pass->number != 0 && pass->response[0] == '\0' &&
		    (oldest == NULL || pass->request < oldest->request)) {
			oldest = pass;
		}
	}
	return oldest;
}

uint64_t pass_oldest_asked(struct agent *agent)
{
	const struct pass *pass = oldest_asked(agent);
	uint64_t forsaken = agent->passes.forsaken[0];
	uint64_t oldest = pass == NULL ? UINT64_MAX : pass->request;

	return forsaken != 0 && forsaken < oldest ? forsaken : oldest;
}

bool pass_is_unmarked(const struct sess *sess, struct bc_span metadata)
{
	struct agent *agent = sess->agent;
	const struct create *create = lane_oldest_sent(agent, true);
	uint64_t first = pass_oldest_asked(agent);

	if (agent->spec == NULL || !metadata_is_empty(metadata)) {
		return false;
	}
	return first != UINT64_MAX && (create == NULL || first < create->number);
}

void pass_unmarked_created(struct sess *sess)
{
	struct agent *agent = sess->agent;
	struct pass *pass = oldest_asked(agent);

	trait_notice(sess, TRAIT_METADATA, 0);
	agent->passes.off = true;
	if (answered(agent, pass == NULL ? UINT64_MAX : pass->request) || pass == NULL) {
		return;
	}
	spec_pass_end(agent->spec, pass->number, false);
	pass->number = 0;
}
