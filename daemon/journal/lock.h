/* One process at a time holds a journal (J9). */
#ifndef BACKCHANNEL_JOURNAL_LOCK_H
#define BACKCHANNEL_JOURNAL_LOCK_H

#include "daemon/base/buf.h"

/*
 * Take the lock of the store at path, on the file "<path>.lock", which then says our pid; released by
 * jrn_lock_free() or by the end of the process, however it ends.
 * BC_E_EXISTS: somebody holds it, the message names path and pid.  BC_E_SYSTEM: the file cannot be made.
 */
enum bc_err jrn_lock_new(const char *path, struct bc_buf *reterr_message, int *ret_fd) BC_MUST;

/* Accepts -1, returns -1. */
int jrn_lock_free(int fd);

#endif
