/*
 * What reaches the model late or the caller beside the conversation: results whose call cannot take them any more,
 * outputs that hold their place, spoken fillers, the audio a client was sent, calls that cannot be run, and the one
 * timer of all these waits.  Part of sess.h; include that.
 */
#ifndef BACKCHANNEL_SESSION_ASYNC_H
#define BACKCHANNEL_SESSION_ASYNC_H

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/id.h"
#include "daemon/base/span.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define ASYNC_DELIVERIES_MAX 64 /* results the provider has not confirmed yet */
#define ASYNC_AUDIO_ITEMS    8  /* spoken items a client may still truncate */

struct agent;
struct call;
struct cfg_tool;
struct resp;
struct sess;
struct step;
struct work;

/* ---- results.c: how a result gets into the conversation ---- */

enum delivery_form {
	DELIVERY_OUTPUT,      /* the output of its call */
	DELIVERY_PLACEHOLDER, /* the output of its call, which says that the tool is still running */
	DELIVERY_MESSAGE      /* a system message: the call has its output, or is gone */
};

/* An item on its way that the provider has neither confirmed nor refused. */
struct delivery {
	TAILQ_ENTRY(delivery) link;
	enum delivery_form form;
	struct work *work; /* borrowed; not forgotten before the delivery is */
	char *call_id;     /* raw JSON string */
	json_t *params;  /* for the answer if it has to be asked for again; NULL: defaults; owned */
	unsigned number; /* of a result; 0: a placeholder */
	bool spoken;     /* an answer was asked for */
	char event_id[BC_ID_SIZE];
	char item_id[BC_ID_SIZE];
};

TAILQ_HEAD(delivery_list, delivery);

struct results {
	struct delivery_list deliveries;
	unsigned count;
	unsigned put;       /* number of the last result put in */
	unsigned confirmed; /* of the last one the provider has taken */
	bool placeholders;  /* what the provider said of itself: pending calls confuse it */
	bool model_is_known; /* it has named its model, which says more than the shape of its session */
};

void results_init(struct results *results);
void results_fini(struct results *results);

/* Learn from a session object whether the provider knows pending calls. */
void results_configure(struct sess *sess, struct bc_span session);

/* Put the result of a call in: as its output, or as a message where the call cannot take one. */
void result_put(struct sess *sess, const struct step *step, struct call *call);

/* Put placeholders in where it is time; returns when to look again, -1: no call waits for one. */
bc_usec results_due(struct sess *sess);

/* Whether a result could still come in time to be the output of its call. */
bool results_wait(const struct sess *sess);

/* An item of the gateway is in the conversation. */
void result_confirmed(struct sess *sess, struct bc_span item);

/* An error that answers an item of ours; true: it was, and is hidden.  A refused output goes in as a message. */
bool result_failed(struct sess *sess, struct bc_span client_id, struct bc_span error);

/* Whether a delivery refers to this work. */
bool results_use(const struct sess *sess, const struct work *work);

/* ---- filler.c: a spoken line while a tool keeps the caller waiting ---- */

struct filler {
	char event_id
		[BC_ID_SIZE]; /* of the request that is unanswered or whose response runs; "": none */
	struct resp *resp;    /* NULL: not begun, or nobody hears it any more */
	uint64_t number;      /* of the request among all that were sent */
	uint64_t late; /* of the one that was given up before it was answered; 0: none, or it is */
	bool unwanted; /* to be cancelled as soon as it begins */
	bool off;      /* the provider does not make them */
	bc_usec asked; /* monotonic */
};

/* Ask for a line if it is time; returns when to look again, -1: no step needs one. */
bc_usec filler_due(struct sess *sess);
/* Whether a response with this metadata answers our request. */
bool filler_is(const struct sess *sess, struct bc_span metadata, bool out_of_band);
void filler_created(struct sess *sess, struct resp *resp, struct bc_span text);
/* An item of it begins; false: it is not to be shown. */
bool filler_item(struct sess *sess, struct resp *resp, struct bc_span item);
/* It has ended; the response is freed. */
void filler_done(struct sess *sess, struct resp *resp, struct bc_span text);
/* An error that answers the request; true: it did, and is hidden. */
bool filler_failed(struct sess *sess, struct bc_span client_id, struct bc_span error);
/* Somebody else is to speak: end it, towards the client with this reason. */
void filler_stop(struct sess *sess, const char *reason);
/* The client cancels (named: raw id, empty: whatever is active); true: it meant the filler. */
bool filler_client_cancel(struct sess *sess, struct bc_span named);
/* Whether the answer has to wait for its end; one that nobody has heard yet is dropped, one in the way of a result that cannot wait is cancelled. */
bool filler_holds(struct sess *sess);
/* What an operator is told: "none", "asked", "speaking". */
const char *filler_state(const struct sess *sess);

/* ---- audio.c: what the client was sent to play ---- */

struct sent_item {
	uint64_t id; /* its hash: a wrong one of 2^64 costs a wrong number in a truncation */
	uint64_t bytes : 63; /* of audio */
	uint64_t
		aside : 1; /* of a response outside of the conversation: the provider has no such item */
};

struct sent_audio {
	struct sent_item
		*items; /* ring of ASYNC_AUDIO_ITEMS; owned; NULL: nothing was spoken yet */
	unsigned next;
	unsigned bytes_per_ms; /* of the session's output format; 0: not known */
	bc_usec playing_until; /* monotonic: when a client that plays at once has played it all */
};

void audio_configure(struct sess *sess, struct bc_span session);
/* An audio delta the client was sent. */
void audio_sent(struct sess *sess, struct bc_span text);
/* An item outside of the conversation that the client will hear. */
void audio_aside(struct sess *sess, const char *id);
/* The client stops playing. */
void audio_stopped(struct sess *sess);
/* A conversation.item.truncate of the client. */
void audio_client_truncate(struct sess *sess, struct bc_span text);

/* ---- restart.c: calls that cannot be run ---- */

struct restarts {
	uint64_t turn;
	unsigned count; /* in that turn */
	bool offered; /* the provider has taken the gateway's tools: it knows no others than those it was told */
	bool prompt; /* the session uses a stored prompt, which may bring tools of its own */
};

/* Stands for a tool that nobody has. */
extern const struct cfg_tool restart_unknown;

void restart_configure(struct sess *sess, struct bc_span session);
/* Whether a call of that name by a response with these parameters is nobody's to run. */
bool restart_is_unknown(const struct sess *sess, const json_t *params, const char *name);
/* The work of such a call: an error for the model. */
struct work *restart_work(struct sess *sess, const struct resp *resp, struct bc_span item);
/* A step is over whose calls could not all be run: whether the model may be asked again. */
bool restart_allowed(struct sess *sess, const struct step *step);

/* ---- deadlines.c: one timer for all these deadlines ---- */

/* Look again at this time at the latest; monotonic, -1: no need. */
void deadline_set(struct sess *sess, bc_usec when);
/* Do what is due now and arm the timer for the rest. */
void deadlines_fired(struct sess *sess);

#endif
