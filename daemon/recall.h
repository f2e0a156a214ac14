/* What the daemon learns at its start from the calls in its journal. */
#ifndef BACKCHANNEL_RECALL_H
#define BACKCHANNEL_RECALL_H

#include "daemon/worker.h"

/* The journal is open, the workers are there and do not run yet; wall: microseconds since the epoch.  Main thread. */
void recall(struct server *server, const struct cfg *cfg, bc_usec wall);

#endif
