/* The errors functions return; the rows are in err.def. */
#ifndef BACKCHANNEL_BASE_ERR_H
#define BACKCHANNEL_BASE_ERR_H

enum bc_err {
	BC_OK = 0,
#define BC_ERR(id, close_code, class, text) BC_E_##id,
#include "daemon/base/err.def"
	/* must be last */
	BC_ERR__COUNT
};

/* The row's text, "ok" for BC_OK.  Static storage, any thread. */
const char *bc_err_text(enum bc_err err);

/* The row's id in lower case, for metrics and log fields.  Static storage, any thread. */
const char *bc_err_name(enum bc_err err);

/* The WebSocket close code a session ends with because of err; 0: it never ends one.  Any thread. */
unsigned bc_err_close_code(enum bc_err err);

#endif
