/*
 * What an operator may ask over the control socket, answered worker by worker on the workers' own threads.
 *
 *   sessions       a line per session
 *   session ID     one session: what it does and why it waits
 *   session ID ledger   what happened in it and what was decided
 *   memory         what sessions and buffers hold, and what bounds them
 *   upstreams      what is known of each upstream and model
 *   upstreams forget NAME   learn it again
 *   journal ...    repair.h
 */
#ifndef BACKCHANNEL_INQUIRY_H
#define BACKCHANNEL_INQUIRY_H

#include "daemon/admin/control.h"
#include "daemon/worker.h"

/* Answer a request; main thread's loop.  An unknown one is answered with what there is. */
void inquiry_begin(struct server *server, struct loop *main, const struct cfg *cfg,
		   struct adm_request *request, struct bc_span line);

/*
 * Go on with questions whose answers found no memory to reach the main thread; main thread, now and then, and once more when
 * the workers have ended.
 */
void inquiry_collect(struct server *server);

#endif
