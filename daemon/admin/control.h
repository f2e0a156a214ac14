/*
 * The control socket: a UNIX socket on which an operator on this machine asks the running daemon.  One line in, text out,
 * closed.  Whoever may open the socket may ask: it is 0600.
 */
#ifndef BACKCHANNEL_ADMIN_CONTROL_H
#define BACKCHANNEL_ADMIN_CONTROL_H

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

struct adm_control;
struct adm_request;
struct loop;

#define ADM_LINE_MAX     1024               /* bytes of a request */
#define ADM_ANSWER_MAX   ((size_t)16 << 20) /* bytes of an answer; what is beyond is cut */
#define ADM_REQUESTS_MAX 16                 /* connections at once; more wait in the kernel */

/*
 * A request has come; line is without its newline and lives until adm_answer(), which must be called exactly once, at once
 * or later.  Called from the loop.
 */
typedef void adm_request_fn(void *owner, struct adm_request *request, struct bc_span line);

/*
 * Listen at path, which is taken over from a daemon that is gone.  BC_E_EXISTS: one that runs answers there;
 * BC_E_SYSTEM, BC_E_INVALID (path too long), BC_E_NOMEM: message says what.  Loop thread, as all of this.
 */
enum bc_err adm_control_new(struct loop *loop, const char *path, adm_request_fn *fn, void *owner,
			    struct bc_buf *reterr_message, struct adm_control **ret) BC_MUST;

/*
 * Close all connections and remove the socket.  Requests not yet answered are still owed their adm_answer(), which then
 * only frees them.
 */
struct adm_control *adm_control_free(struct adm_control *control);

/* Send the answer; text is copied. */
void adm_answer(struct adm_request *request, struct bc_span text);

#endif
