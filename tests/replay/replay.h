/*
 * Plays a recording (daemon/recorder.h) through a session of its own, with the recorded times and the recorded answers of
 * the world, and compares every decision: the same events to both sides, the same tool runs, in the same order.
 *
 * Ids that a session draws at random are others each time: where a recorded event has one, the replayed one may have
 * another, but always the same for the same, and what the provider then says of it is told with the new one.
 */
#ifndef BACKCHANNEL_TESTS_REPLAY_H
#define BACKCHANNEL_TESTS_REPLAY_H

#include "daemon/base/buf.h"
#include "daemon/config/config.h"

#include <stdbool.h>

struct replay_result {
	unsigned inputs;
	unsigned decisions;
	bool complete; /* the recording has its session's end */
};

/*
 * text: the recording, whole lines; check_config: that it was made with this configuration.  False: it cannot be read,
 * or a decision differs; message says where and what.
 */
bool replay(struct cfg *cfg, struct bc_span text, bool check_config, struct replay_result *ret,
	    struct bc_buf *message);

#endif
