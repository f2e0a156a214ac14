/*
 * The model of the simulated reasoner: what it does next, from the messages of one request and nothing else.  It knows the
 * dialogue, but acts on a call only when the words it has been told determine it.
 */
#ifndef BACKCHANNEL_TESTS_REASONER_MIND_H
#define BACKCHANNEL_TESTS_REASONER_MIND_H

#include "daemon/base/buf.h"
#include "tests/world/dialogue.h"

#include <jansson.h>

/*
 * Append the next step, think and action, to out.  messages is the request's array.  A caller whose words fit no turn of
 * the dialogue is waited for, or answered when they are final.
 */
enum bc_err mind_step(const struct dialogue *dialogue, const json_t *messages,
		      struct bc_buf *out) BC_MUST;

#endif
