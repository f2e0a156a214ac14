/*
 * Recordings of sessions: lines of JSON that go to a file each, by way of a thread of its own, so that no disk ever
 * delays a frame.  What the disk is too slow for is not waited for: that recording ends, with a line that says so.
 *
 *   {"recording":1,"session":"bc_s…","config":"…","wall":…}    first; config is the SHA-256 of the effective configuration
 *   …                                                          the session's lines, see session/script.c
 *   {"end":"session"}                                          last; or why it is cut: "queue_full", "size", "memory"
 *
 * A file without its last line was cut off by a failure of the disk or the end of the process.
 */
#ifndef BACKCHANNEL_RECORDER_H
#define BACKCHANNEL_RECORDER_H

#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stddef.h>

struct cfg;
struct recorder;
struct recording;

#define RECORDER_QUEUE_MAX ((size_t)16 << 20) /* bytes not yet written, of all recordings */

/* For all sessions of the daemon; its thread starts with the first recording.  NULL when out of memory. */
struct recorder *recorder_new(size_t queue_max);

/* Writes what is queued and ends.  No recording may be in use any more.  Accepts NULL, returns NULL. */
struct recorder *recorder_free(struct recorder *recorder);

/*
 * A recording in cfg's session.record, which must be set, under the session's id; wall in microseconds since the epoch.
 * NULL: none can be made now, which is counted.  Any thread; the recording then belongs to that thread.
 */
struct recording *recording_begin(struct recorder *recorder, struct cfg *cfg, const char *session,
				  bc_usec wall);

/* Add a line, which has its end; the span NULL: there are no more, for want of memory.  Never blocks on the disk. */
void recording_line(struct recording *recording, struct bc_span line);

/* The session is over.  Accepts NULL, returns NULL. */
struct recording *recording_end(struct recording *recording);

#endif
