/* What the end of a request means for the call, and how it is told to the model.  Pure. */
#ifndef BACKCHANNEL_TOOLS_VERDICT_H
#define BACKCHANNEL_TOOLS_VERDICT_H

#include "daemon/base/buf.h"
#include "daemon/config/config.h"
#include "daemon/net/http.h"
#include "daemon/tools/tool.h"

#include <jansson.h>
#include <stdbool.h>

#define TOOL_MESSAGE_MAX 600 /* bytes of the message in an error output, before escaping */

struct tool_verdict {
	enum tool_outcome outcome;
	bool happened;    /* the server said that it did what was asked */
	bool in_doubt;    /* an effect of which nobody knows whether it happened (J7) */
	bool retryable;   /* the model may try the same call again */
	const char *type; /* of the error output; NULL: no error */
	const char *text; /* of the error output; static storage */
};

/*
 * Judge an answer.  For an effect, every end after the request may have arrived is in doubt, but these: 2xx says that
 * it happened, 4xx that it did not.  A 5xx may come from something between us and a server that did act, and
 * a 3xx is how some servers confirm.
 */
struct tool_verdict tool_judge(const struct net_http_answer *answer, bool is_effect);

/* The verdict on an outcome that no answer told: BUSY, OPEN, IN_DOUBT, NOT_RECORDED, or UNREACHABLE for a request that cannot be made. */
struct tool_verdict tool_judge_unsent(enum tool_outcome outcome);

/* A body that declared JSON and is none, or text that is no UTF-8. */
struct tool_verdict tool_judge_unreadable(bool is_effect);

/* The verdict on an attempt of an effect that did not succeed, when an earlier one is in doubt: so it stays (J7). */
struct tool_verdict tool_judge_repeated(const struct tool_verdict *verdict);

/* What the answer to a status request says. */
enum tool_status {
	TOOL_STATUS_UNKNOWN,
	TOOL_STATUS_DONE,
	TOOL_STATUS_NOT_DONE
};

/* Judge the answer to a status request, see tool.h.  *ret is its JSON, the caller's; NULL for UNKNOWN. */
enum tool_status tool_judge_status(const struct net_http_answer *answer, json_t **ret);

/* The verdict on an effect that was in doubt, and of which the server now says that it did not happen. */
struct tool_verdict tool_judge_not_done(const struct tool_verdict *doubt);

/* An effect with an answer that could not be made durable: nobody may see it (J2, J8). */
struct tool_verdict tool_judge_unrecorded(void);

/*
 * Append {"error":{"type","status","retryable","message"}}; detail, cut at TOOL_MESSAGE_MAX bytes, follows the
 * verdict's text in the message if it is UTF-8.  Errors of bc_buf_put().
 */
enum bc_err tool_error_put(struct bc_buf *out, const struct tool_verdict *verdict, int status,
			   struct bc_span detail) BC_MUST;

/*
 * Append a result for the model: JSON without its insignificant white space, numbers as the server wrote them; text as
 * it is; "null" for an answer that by its status (204, 205) has no body.  BC_E_INVALID: not JSON, or not UTF-8;
 * errors of bc_buf_put().
 */
enum bc_err tool_result_put(struct bc_buf *out, enum cfg_result kind, int status,
			    struct bc_span body) BC_MUST;

/*
 * Append the result a status request told, NULL: none: as canonical JSON, or of text the string's content.  Errors of
 * json_canonical().
 */
enum bc_err tool_status_put(struct bc_buf *out, enum cfg_result kind, const json_t *result) BC_MUST;

#endif
