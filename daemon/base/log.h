/*
 * Log lines: one line per fact, "<priority>key=value ... message" on stderr, which journald and every
 * log collector understand.  Payload, audio, keys, URLs and headers never go into a line.
 *
 * Who logs: the function that decides what to do about an error, once.  base, proto, journal and spec
 * do not log above DEBUG.
 */
#ifndef BACKCHANNEL_BASE_LOG_H
#define BACKCHANNEL_BASE_LOG_H

#include "daemon/base/bug.h"

/* syslog(3) priorities. */
enum bc_log_level {
	BC_LOG_ERR = 3,     /* someone must act */
	BC_LOG_WARNING = 4, /* text ends in what we do about it: ", ignoring", ", retrying" */
	BC_LOG_NOTICE = 5,  /* life of the daemon */
	BC_LOG_INFO = 6,    /* one line per session begin and end */
	BC_LOG_DEBUG = 7
};

/* What a line is about; put into objects and handed to bc_log(). */
struct bc_log_ctx {
	char session[28]; /* id of the session, or "" for the daemon itself */
};

/* Lines above this level are not written.  Default BC_LOG_INFO.  Main thread, before workers start. */
void bc_log_level_set(enum bc_log_level level);

/* Whether a line of this level would be written: guards expensive arguments. */
int bc_log_wants(enum bc_log_level level);

/*
 * Write one line; a message beyond 1,000 bytes is cut.  ctx may be NULL (the daemon itself).
 * Control characters in the message are replaced, so that no peer can forge a line.  Any thread.
 */
void bc_log(enum bc_log_level level, const struct bc_log_ctx *ctx, const char *format, ...)
	BC_PRINTF(3, 4);

#endif
