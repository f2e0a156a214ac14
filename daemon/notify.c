#include "daemon/notify.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>

/* A manager that cannot be told notices by itself: the results are of no use. */
void notify_ready(void)
{
	(void)sd_notify(0, "READY=1");
}

void notify_reloading(bc_usec monotonic)
{
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)monotonic);
}

void notify_stopping(void)
{
	(void)sd_notify(0, "STOPPING=1");
}

void notify_watchdog(void)
{
	(void)sd_notify(0, "WATCHDOG=1");
}
#else
void notify_ready(void)
{
}

void notify_reloading(bc_usec monotonic)
{
	(void)monotonic;
}

void notify_stopping(void)
{
}

void notify_watchdog(void)
{
}
#endif
