/*
 * The operator's hand in the journal of the running daemon, over the control socket:
 *
 *   journal list              what is open, in doubt or parked
 *   journal show SESSION      everything recorded for one session
 *   journal retry ID          take up again an effect that is in doubt or parked
 *   journal resolve ID WORD   say what became of it: done, undone, not_done
 */
#ifndef BACKCHANNEL_REPAIR_H
#define BACKCHANNEL_REPAIR_H

#include "daemon/admin/control.h"
#include "daemon/worker.h"

/* Answer a request whose line begins with "journal "; rest is what follows.  Main thread's loop. */
void repair_begin(struct server *server, struct loop *main, const struct cfg *cfg,
		  struct adm_request *request, struct bc_span rest);

#endif
