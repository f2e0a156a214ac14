/*
 * Running a gateway tool: check the arguments, record the intent, send the request, record the result, hand it
 * out.  One worker, one struct tool_host; no call ever blocks and no callback runs inside a call of this
 * interface.
 *
 *   tool_args_check -> tool_run -> [journal: intent] -> HTTP -> [journal: result] -> done -> tool_settle
 */
#ifndef BACKCHANNEL_TOOLS_TOOL_H
#define BACKCHANNEL_TOOLS_TOOL_H

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"
#include "daemon/journal/journal.h"

#include <jansson.h>
#include <stdbool.h>

struct cfg_request;
struct cfg_tool;
struct cfg_tools;
struct tool_host;
struct tool_call;

/*
 * Arguments as the model wrote them, checked against the tool's schema.  *ret is the canonical JSON text with
 * schema defaults filled in (heap, caller frees): two calls are the same exactly when tool and this text are.
 * BC_E_SYNTAX: not JSON; BC_E_INVALID: does not fit the schema; reterr_message then says for the model what is wrong
 * and where ("city: missing").  Pure.
 * Source: JSON Schema 2020-12, the part listed in backchannel.toml(5).
 */
enum bc_err tool_args_check(const struct cfg_tool *tool, struct bc_span arguments, char **ret,
			    struct bc_buf *reterr_message) BC_MUST;

/* Whether a schema uses only what tool_args_check() understands.  BC_E_INVALID: reterr_message says which keyword
 * and where; BC_E_NOMEM.  Pure. */
enum bc_err tool_schema_check(const json_t *schema, struct bc_buf *reterr_message) BC_MUST;

/*
 * Whether a request template can be filled: placeholders name declared arguments (parameters is the tool's schema),
 * none stands in scheme or host of the URL or in a key of a JSON body, {*} only in a body, {result...} only if
 * has_result, a JSON body is JSON, and no header is declared that frames the request.  Here and above for
 * cfg_request_check_set() and cfg_schema_check_set(), so that an operator learns of it at start and not a caller.
 * BC_E_INVALID: reterr_message says what is wrong; BC_E_NOMEM.  Pure.  The syntax is in template.h.
 */
enum bc_err tool_request_check(const struct cfg_request *request, const json_t *parameters,
			       bool has_result, struct bc_buf *reterr_message) BC_MUST;

enum tool_outcome {
	TOOL_OK,
	TOOL_HTTP_ERROR,  /* a status outside 200..299; for an effect all but 4xx in doubt */
	TOOL_TIMEOUT,     /* the deadline passed; for an effect the outcome is in doubt */
	TOOL_UNREACHABLE, /* no connection, or no request could be made: nothing happened */
	TOOL_LOST, /* the connection broke after the request was sent; for an effect in doubt */
	TOOL_BAD_RESULT, /* too long, or not JSON where JSON was declared */
	TOOL_BUSY,       /* a concurrency limit: nothing was sent */
	TOOL_OPEN,       /* the server keeps failing and is left alone: nothing was sent */
	TOOL_IN_DOUBT,   /* an equal effect is in doubt: nothing was sent */
	TOOL_UNDOING, /* an earlier change with one of its tags is being taken back: nothing was sent */
	TOOL_NOT_RECORDED,  /* the journal refused the intent: nothing was sent */
	TOOL_CANCELLED,     /* may_start() said no: nothing was sent */
	TOOL_OUTCOME__COUNT /* must be last */
};

const char *tool_outcome_name(enum tool_outcome outcome);

struct tool_result {
	enum tool_outcome outcome;
	int status; /* HTTP status, 0: none */
	/*
	 * text for the model: the result, or {"error":{"type","status","retryable","message"}}; valid
	 * until tool_settle()
	 */
	struct bc_span output;
	bc_usec started; /* monotonic: when the request was first handed to the network; 0: never */
	bc_usec finished; /* monotonic */
};

/* Called once per tool_run(), after the result is recorded as J2 demands. */
typedef void tool_done_fn(void *arg, struct tool_call *call, const struct tool_result *result);

struct tool_request {
	/* lives as long as the configuration snapshot of the session */
	const struct cfg_tool *tool;
	struct bc_span arguments; /* canonical, from tool_args_check(); copied */
	struct bc_span session;   /* id, copied */
	uint64_t turn;
	bool speculative;
	/* send it without the tool's withheld_arguments: nobody who knows the whole turn has named the call yet */
	bool withhold;
	/*
	 * of an effect, with arg: asked in the step that receives the durable ticket, before anything is sent; false:
	 * nothing is, and done follows with TOOL_CANCELLED (J5).  NULL: yes.  Must not call this interface.
	 */
	bool (*may_start)(void *arg);
	tool_done_fn *done;
	void *arg;
};

/*
 * Start a call.  common lives as long as request->tool.  *ret lives until tool_settle().  An error that is known at
 * once (busy, journal) also comes through done, in a later turn of the loop.  BC_E_NOMEM is the only error: nothing was
 * started then.
 *
 * A request that failed is sent again, attempts_max times within the one deadline, only if that can do no harm (J5): of
 * a read, or of a reversible effect that is idempotent; a hold goes out once.  Failed is: not reached, connection lost,
 * 502, 503, 504, and 429 that says when.  All attempts are one intent with one key (J6).  Whether a 2xx follows or
 * not, an effect that was once in doubt is never reported as one that did not happen.
 *
 * A server that keeps failing is left alone for a while: then the call is answered at once, and no intent is recorded.
 * Likewise an effect of which an equal one, of the same session with same tool and same arguments, is in doubt (J7).
 *
 * An effect that all attempts left in doubt is asked for, if its tool declares a status request: up to three times
 * within another timeout.  An answer with status 200 and the body {"state":"done","result":…} makes that result (none:
 * null) the result of the call; {"state":"not_done"} says that the call was not carried out and never will be; all else
 * tells nothing, and the doubt stays.
 *
 * While an earlier effect with one of its tags is being taken back, an effect does not start (J3).  It waits for that, at
 * most undo_wait and before anything is recorded: the corrected call usually comes right behind the wrong one, and to
 * refuse it at once would make every correction fail.  Then it is answered with TOOL_UNDOING.
 */
enum bc_err tool_run(struct tool_host *host, const struct cfg_tools *common,
		     const struct tool_request *request, struct tool_call **ret) BC_MUST;

/*
 * The call became real: it was no guess, or the model has named it and its turn is committed.  Recorded; from then on
 * rollback and recovery leave it alone.  A call that is not speculative is committed from the start; once more changes
 * nothing.  Not after tool_cancel() or tool_settle().
 *
 * Where the journal has failed since an effect was executed it cannot be recorded: the next process will take the effect back,
 * so its result becomes the error "not_recorded" (J8).
 */
void tool_commit(struct tool_call *call);

/*
 * Nobody wants the result any more.  A read is aborted; an effect that has not left is not sent; one that has left
 * goes on to its record, and is then undone if it is reversible, speculative and not committed (J3).  done is not called
 * any more; the call settles itself and is freed.
 */
void tool_cancel(struct tool_call *call);

/*
 * The result was used, or not: record it and free the call.  Only after done; how is JRN_USED or JRN_UNUSED, failed
 * and doubtful outcomes are recorded as what they are.  A reversible speculative effect that is not committed is
 * abandoned by JRN_UNUSED, and undone if it was executed or may have been: those of one session in reverse order, also
 * when the session is gone (rollback.h).  By JRN_USED it stands.
 */
void tool_settle(struct tool_call *call, enum jrn_settlement how);

/* The result once done has been called, else NULL.  Valid until tool_settle(). */
const struct tool_result *tool_result(const struct tool_call *call);

/*
 * A call of this tool may come soon: its warmup request, if it declares one, is sent so that a connection is open then.
 * Never to a third party.  Nobody is told how it ends.
 */
void tool_warm(struct tool_host *host, const struct cfg_tool *tool);

/* When the call was started, monotonic. */
bc_usec tool_started(const struct tool_call *call);

#endif
