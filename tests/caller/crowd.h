/*
 * Many calls at once, told on standard input and reported on standard output, one JSON object a line.
 *
 *   in   {"id": 7, "url": "ws://localhost:PORT/v1/realtime?model=ID", "dialogue": "ID", "alone": 3}
 *        alone absent or null: the whole dialogue.
 *   out  {"id": 7, "event": "opened"}   the session stands, the gateway has made up its mind how to serve it
 *        {"id": 7, "event": "ended", "well": true, "call": {...}}   the time line; "call" null: it never began
 *
 * With the end of its input the crowd waits for the calls under way.
 */
#ifndef BACKCHANNEL_TESTS_CALLER_CROWD_H
#define BACKCHANNEL_TESTS_CALLER_CROWD_H

#include "tests/caller/call.h"

#define CROWD_MAX 512 /* calls at once; a further one ends without having begun */

/* conf: what all calls have in common; its wire's host, port and target are set per call.  0, or 1 when standard input or
 * output broke. */
int crowd_run(struct ev_loop *loop, const struct call_conf *conf, const struct dialogue_set *set);

#endif
