/*
 * What the tools of the dialogues do: recorded results for the calls a good model makes, an effect log for
 * whatever changes something, and how long each call takes.  Knows nothing of HTTP; not thread-safe.
 *
 * The rules, for a call (tool, arguments) of one dialogue:
 *
 *   recorded call, all writes it must follow are committed   its recorded result
 *   recorded call, one of these writes is missing            {"stale":true}
 *   undoes an earlier effect by that tool's inverse          {"undone":true}, the effect leaves the list
 *   anything else                                            404 {"error":"not found"}
 *
 * An inverse self_previous is the same tool with the arguments of the effect before, or with null; it takes the newest
 * effect of the tool back.
 *
 * An effect is listed when its request arrives, whatever the answer, so that a wrong write can never hide; for
 * the calls that follow it is committed only when its answer has been given.
 */
#ifndef BACKCHANNEL_TESTS_TOOLSERVER_BACKEND_H
#define BACKCHANNEL_TESTS_TOOLSERVER_BACKEND_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "tests/world/dialogue.h"
#include "tests/world/timing.h"

struct backend;

enum backend_profile {
	BACKEND_FAST,
	BACKEND_TYPICAL,
	BACKEND_SLOW,
	BACKEND_UNIFORM, /* 0.5 to 1 s */
	BACKEND_CONSTANT
};

/* Rates of faults, together at most 1; drawn by (seed, dialogue, turn, call, attempt). */
struct backend_faults {
	double fail;  /* 503, nothing was done */
	double error; /* 500, although it was done */
	double lose;  /* done, but the connection is cut in place of the answer */
	double hang;  /* done, but the answer does not come */
};

enum backend_fault {
	BACKEND_FAULT_NONE,
	BACKEND_FAULT_FAIL,
	BACKEND_FAULT_ERROR,
	BACKEND_FAULT_LOSE,
	BACKEND_FAULT_HANG
};

struct backend_conf {
	const struct dialogue_set *dialogues; /* must outlive the backend */
	const struct timing *timing;          /* likewise */
	enum backend_profile profile;
	double constant; /* seconds, of BACKEND_CONSTANT */
	uint64_t seed;
	double scale;  /* times are divided by this; > 0 */
	FILE *effects; /* one JSON line per effect is written there; NULL: nowhere */
	struct backend_faults faults;
	bool previous; /* results of self_previous tools say what was there before, as "_previous" */
};

/* NULL when out of memory. */
struct backend *backend_new(const struct backend_conf *conf);

/* Accepts NULL, returns NULL. */
struct backend *backend_free(struct backend *backend);

/* A request as it came; strings are only read during the call. */
struct backend_request {
	const char *
		dialogue; /* <id>[@<instance>[:<turn>]]; NULL: the first dialogue that has the tool */
	const char *tool;
	const char *key;     /* Idempotency-Key, or NULL */
	const char *session; /* X-Session, or NULL */
	json_t *args;        /* borrowed */
	int64_t now;         /* monotonic microseconds */
	int64_t wall;        /* microseconds since the epoch */
};

struct backend_answer {
	unsigned status; /* HTTP */
	char *body;      /* JSON text, heap, owned by the caller */
	double seconds;  /* to wait before answering */
	size_t call;     /* number of the call, for backend_answered() */
	enum backend_fault
		fault; /* what to do in place of answering: LOSE or HANG; else none of these */
};

/* Take a call.  BC_E_NOMEM: nothing was recorded. */
enum bc_err backend_call(struct backend *backend, const struct backend_request *request,
			 struct backend_answer *ret) BC_MUST;

/* The answer of a call is being sent: its effect counts for later calls from now on. */
void backend_answered(struct backend *backend, size_t call, int64_t now);

/*
 * What became of the call with that idempotency key: {"state":"done","result":...}, or {"state":"not_done"}, which is a
 * promise: a request with the key that comes later is refused.  New reference or NULL.
 */
json_t *backend_status(struct backend *backend, const char *key);

/* {"effects": what was done and not undone, "log": every effect and undo}; new reference or NULL. */
json_t *backend_effects(const struct backend *backend);

/* Every request in the order of arrival with its times in seconds (monotonic); new reference or NULL. */
json_t *backend_calls(const struct backend *backend);

#endif
