/*
 * The daemon from start to end: journal, workers, admin listener, signals.  Runs on the main thread.
 */
#ifndef BACKCHANNEL_SERVER_H
#define BACKCHANNEL_SERVER_H

#include "daemon/config/config.h"

/*
 * Serve until SIGTERM or SIGINT (drain), a second one (end at once).  SIGHUP reads path again for new sessions.  Returns the
 * exit status: 0 after an orderly end, 1 when starting failed (said on the log), 2 when the configuration or another
 * daemon stands in the way.  cfg is counted here.
 */
int server_run(struct cfg *cfg, const char *path);

#endif
