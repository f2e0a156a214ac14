/*
 * Passes that were given up before the provider had created them.  Their requests will still be answered, and so keep
 * their places in the order in which an error without an event_id is told from others (R7).
 */
#include "daemon/session/sess.h"

#include <string.h>

void pass_forsake(struct agent *agent, uint64_t request)
{
	uint64_t *requests = agent->passes.forsaken;
	size_t i = 0;

	/* Where there are too many, the newest takes the last one's place. */
	while (i < BC_ARRAY_LEN(agent->passes.forsaken) - 1 && requests[i] != 0) {
		i++;
	}
	requests[i] = request;
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

bool pass_forsaken_failed(struct sess *sess, const struct pass *pass, struct bc_span client_id,
			  struct bc_span error)
{
	if (bc_span_has_prefix(client_id, "\"bc_p")) {
		return pass == NULL && answered(sess->agent, UINT64_MAX);
	}
	return error_is_about(error, "response") &&
	       answered(sess->agent, pass == NULL ? lane_oldest_asked(sess) : pass->request);
}
