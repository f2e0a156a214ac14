/* Telling systemd how the daemon is; without systemd (or its library) these do nothing.  Main thread. */
#ifndef BACKCHANNEL_NOTIFY_H
#define BACKCHANNEL_NOTIFY_H

#include "daemon/base/clock.h"

/* Source: sd_notify(3). */
void notify_ready(void);
void notify_reloading(bc_usec monotonic);
void notify_stopping(void);

/* Called every turn of the main loop's tick; systemd restarts a daemon that stops calling. */
void notify_watchdog(void);

#endif
