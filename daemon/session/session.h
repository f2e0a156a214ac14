/*
 * One call: a client's connection and its provider's, and everything between.  Forwards what it does not understand
 * byte for byte and in order; with gateway tools configured it also offers them to the provider, hides them from the
 * client, runs them, and guesses on what the caller has said so far.
 *
 * A session does no I/O of its own.  It is told what happened through the functions below and acts through struct
 * sess_world, so tests drive the very same object with a scripted world and virtual time.  All functions of one session
 * are called on one thread and never from inside a function of its world.
 */
#ifndef BACKCHANNEL_SESSION_SESSION_H
#define BACKCHANNEL_SESSION_SESSION_H

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/log.h"
#include "daemon/base/span.h"
#include "daemon/config/traits.h"
#include "daemon/spec/admission.h"
#include "daemon/spec/pattern.h"
#include "daemon/tools/tool.h"
#include "proto/ws.h"

#include <stdbool.h>
#include <stdint.h>

struct cfg;
struct cfg_upstream;
struct sess;
struct toolset;

enum sess_side {
	SESS_CLIENT,
	SESS_UPSTREAM
};

enum sess_timer {
	SESS_TIMER_LIFE,     /* idle and lifetime limits */
	SESS_TIMER_STEP,     /* a step waits for the client's part */
	SESS_TIMER_OWED,     /* an answer is owed and the provider has not begun one by itself */
	SESS_TIMER_CONFIRM,  /* a request of the client waits for a verdict that is near */
	SESS_TIMER_GATE,     /* a hold waits for the caller's silence */
	SESS_TIMER_WORDS,    /* typed words have been quiet for long enough */
	SESS_TIMER_EAGER,    /* a turn that ended early waits for the client's own silence */
	SESS_TIMER_DEADLINE, /* the nearest of all other deadlines */
	SESS_TIMER__COUNT    /* must be last */
};

/* What a session can do to the world.  Each function gets the world pointer handed to sess_new(). */
struct sess_world {
	bc_usec (*now)(void *world);
	/* Queue one message; true: that side has enough, stop what produces it until sess_drained(). */
	bool (*send)(void *world, enum sess_side side, enum ws_opcode opcode,
		     struct bc_span payload);
	/* Stop or go on reading from a side. */
	void (*read)(void *world, enum sess_side side, bool on);
	/* The client sent this much; false: more than it may. */
	bool (*charge)(void *world, size_t bytes);
	/* Close a side with this code, behind what was sent. */
	void (*close)(void *world, enum sess_side side, uint16_t code, struct bc_span reason);
	/* (Re)start a timer; a negative delay stops it. */
	void (*timer)(void *world, enum sess_timer which, bc_usec delay);
	/* As tool_run(), tool_cancel(), tool_settle(), tool_commit(), tool_result(). */
	enum bc_err (*tool_run)(void *world, const struct tool_request *request,
				struct tool_call **ret);
	void (*tool_cancel)(void *world, struct tool_call *call);
	void (*tool_settle)(void *world, struct tool_call *call, enum jrn_settlement how);
	void (*tool_commit)(void *world, struct tool_call *call);
	const struct tool_result *(*tool_result)(void *world, const struct tool_call *call);
	/* An effect has changed what has this tag: every session of the daemon must hear of it, later (sess_tag_changed()). */
	void (*changed)(void *world, const char *tag);
	/*
	 * Begin a generation of the reasoner: body is posted as the configuration says, what comes back is told by
	 * sess_reason_bytes() and sess_reason_ended(), later, not inside this call.  One at a time.  false: not begun.
	 */
	bool (*reason_start)(void *world, struct bc_span body);
	/* End it: nothing more is told of it. */
	void (*reason_cancel)(void *world);
	/*
	 * Whether a guess of this tool may be run, or (tool NULL) a pass be made, by what all sessions have learnt; a pass that
	 * is refused with SHADOW may be made, to be watched only.  May be absent: it may.
	 */
	enum admission_refusal (*admit)(void *world, const struct cfg_tool *tool,
					enum spec_trigger trigger);
	/* What came of a guess, a call or a pass.  May be absent. */
	void (*learn)(void *world, const struct admission_event *event);
	/* A real call has ended well.  May be absent. */
	void (*observe)(void *world, const struct pattern_call *call);
	/* As pattern_predict(), or (call NULL) pattern_predict_turn(), by what all sessions have shown.  May be absent. */
	unsigned (*predict)(void *world, const struct pattern_call *call, uint64_t turn,
			    struct pattern_guess out[PATTERN_GUESSES_MAX]);
	/* A behaviour of the provider was noticed that later sessions should know.  May be absent. */
	void (*noticed)(void *world, enum trait trait, int32_t value);
	/* A call of this tool may be made soon.  May be absent. */
	void (*warm)(void *world, const struct cfg_tool *tool);
	/* The session is over: free it with sess_free(), later, not inside this call. */
	void (*ended)(void *world);
	/*
	 * A line for the session's recording, with its end; NULL in the span: the next one could not be made, no more
	 * come.  Only called where sess_conf.record is set; the function may be absent elsewhere.
	 */
	void (*record)(void *world, struct bc_span line);
};

struct sess_conf {
	struct cfg *cfg;                     /* counted by the session */
	const struct cfg_upstream *upstream; /* of cfg */
	struct toolset *tools;               /* counted by the session; NULL: plain proxy */
	const char *id;                      /* at most 27 characters */
	const char *client;                  /* name of the client's key, for the log */
	const struct trait_set *traits; /* known of upstream and model; copied; NULL: nothing */
	bool record;                    /* everything that happens is handed to world->record() */
};

/* BC_E_NOMEM.  The session waits for its provider: client messages queue. */
enum bc_err sess_new(const struct sess_conf *conf, const struct sess_world *world, void *world_arg,
		     struct sess **ret) BC_MUST;

/* Cancel what runs, free everything.  Accepts NULL, returns NULL. */
struct sess *sess_free(struct sess *sess);

/* The provider is there: the gateway's own update goes first, then what the client has sent meanwhile. */
void sess_upstream_open(struct sess *sess);

/* The provider could not be reached: the client is told and closed.  detail goes into the log and the error message. */
void sess_upstream_failed(struct sess *sess, enum bc_err err, unsigned status, const char *detail);

/* A message came from a side; payload valid during the call. */
void sess_message(struct sess *sess, enum sess_side side, enum ws_opcode opcode,
		  struct bc_span payload);

/* A side has gone; code and reason as in struct net_close. */
void sess_closed(struct sess *sess, enum sess_side side, enum bc_err err, uint16_t code,
		 struct bc_span reason);

/* An effect of whatever session has changed what has this tag: what was read before is not used for calls to come. */
void sess_tag_changed(struct sess *sess, const char *tag);

/* A side that had enough takes more again. */
void sess_drained(struct sess *sess, enum sess_side side);

void sess_timer_fired(struct sess *sess, enum sess_timer which);

/* A piece of what the reasoner's endpoint answers with a 2xx status. */
void sess_reason_bytes(struct sess *sess, struct bc_span bytes);

/*
 * That is over.  BC_OK: with a 2xx status and to its last byte; else status is 0 when none came.  retry_after: what the
 * endpoint asked for, 0: nothing.
 */
void sess_reason_ended(struct sess *sess, enum bc_err err, int status, bc_usec retry_after);

/* The session's id.  Lives as long as the session. */
const char *sess_id(const struct sess *sess);

/*
 * Append one line without its end: what the session does; with whole also every reason it waits for, by name.
 * Errors of bc_buf_put().
 */
enum bc_err sess_describe(const struct sess *sess, bool whole, struct bc_buf *out) BC_MUST;

/*
 * Append what has happened and what was decided, as far as it is kept, a line each, the oldest first.  No content, no
 * arguments, no results.  Errors of bc_buf_put().
 */
enum bc_err sess_ledger(const struct sess *sess, struct bc_buf *out) BC_MUST;

/* The daemon is going: close the call now, in good order. */
void sess_shut_down(struct sess *sess);

/* The gateway's tools as the provider gets them; built once per configuration snapshot and worker. */
struct toolset *toolset_new(const struct cfg *cfg); /* NULL: no tools, or out of memory */
struct toolset *toolset_ref(struct toolset *tools);
struct toolset *toolset_unref(struct toolset *tools); /* accepts NULL, returns NULL */

#endif
