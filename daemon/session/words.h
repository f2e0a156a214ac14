/*
 * What a session has for clients that give words themselves or want to know of guesses, and for transcripts that the
 * gateway asks for: parts of struct sess, included by sess.h alone.
 */
#ifndef BACKCHANNEL_SESSION_WORDS_H
#define BACKCHANNEL_SESSION_WORDS_H

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"
#include "proto/extension.h"

#include <stdbool.h>
#include <stdint.h>

struct agent;
struct rewrite;
struct sess;
struct update;
struct work;

/* The running turn's words where they come from the client: they stand in hearing.transcript. */
struct words {
	bool given; /* the client gives them: the provider's transcript of this turn is not used */
	bool complete;      /* the client says that this is all, unless the caller goes on */
	bool unasked;       /* they have changed since a pass was last wanted */
	size_t settled;     /* leading bytes of the transcript that will not change any more */
	bc_usec changed_at; /* monotonic time of the last change */
	unsigned ahead;     /* turns the client has ended and the provider has not confirmed */
	uint64_t ending;    /* hash of the last confirmed one's item, which is not done; 0: none */
	struct bc_buf pending; /* words of the turn behind those */
	bool pending_final;
};

/* What a client has opted in to. */
struct extension {
	bool on;
	uint32_t wants;    /* one bit (1 << enum ext_type) for each event it is sent */
	uint64_t revision; /* of the last words that were taken */
	uint64_t guesses;  /* numbers given to guesses */
	bc_usec rate_due;  /* monotonic: when an even flow of events would have its next one */
};

/* Transcription of the caller's audio that the gateway asks for. */
struct transcripts {
	bool asked; /* by the gateway, and not refused: unless the client has its own, its events are hidden */
	bool refused; /* by the provider: not asked for again */
	char *own; /* the client's own value as the provider has accepted it, raw JSON; NULL: null */
};

/* ---- words.c: the caller's words as the client gives them ---- */

/* The running stretch of words is this text; final: it will not change any more.  BC_E_LIMIT: the turn is too long. */
enum bc_err words_take(struct sess *sess, struct bc_span text, bool final) BC_MUST;
/* The client says that the caller has finished, perhaps or (settled) for good; false: no turn runs. */
bool words_complete(struct sess *sess, bool settled);
/* The caller goes on. */
void words_resumed(struct sess *sess);
/* The client has ended a turn itself, with an item (raw) or, item empty, by a commit: words to come are of the next. */
void words_end(struct sess *sess, struct bc_span item);
/* The provider has confirmed the end of a turn with this item (id, "": none): the next one's words come when it is done. */
void words_turn_ends(struct sess *sess, const char *item);
/* The item is done: a pass may name it, and the next turn's words may come. */
void words_item_done(struct sess *sess, const char *item);
/* The provider goes on to its answer, whether or not it has said that the item is done. */
void words_answered(struct sess *sess);
/* The provider has refused the end of a turn: the words behind it may come. */
void words_turn_refused(struct sess *sess);
/* Whether words of the client wait for the turn they belong to. */
bool words_are_ahead(const struct agent *agent);
/* Let a typed turn's time pass, before something is decided; and see to be woken when it decides something. */
void words_clock(struct sess *sess);
void words_arm(struct sess *sess);
void words_timer(struct sess *sess);

/* ---- extension.c: what a client has opted in to ---- */

/* An event of the client whose type begins with EXT_PREFIX: never forwarded. */
void ext_client_event(struct sess *sess, struct bc_span text);

/* ---- notices.c: what an opted-in client is told of speculation ---- */

/* A guess has begun (EXT_TOOL_CALL_SPECULATED), was taken by a real call (…COMMITTED) or dropped (…ROLLED_BACK). */
void notice_guess(struct sess *sess, enum ext_type what, const struct work *work);

/* ---- transcripts.c: transcription asked for by the gateway ---- */

/* The session has begun, with what the provider does by itself. */
void transcripts_begin(struct sess *sess, struct bc_span session);
/* Ask the provider for transcripts if passes need them. */
void transcripts_want(struct sess *sess);
/* A client's session.update: its own wish counts, and where it has none ours stays. */
void transcripts_client_update(struct sess *sess, struct bc_span text);
/* The provider has accepted an update of the client: what it says of transcripts counts. */
void transcripts_accepted(struct sess *sess, struct update *update);
/* The provider has refused the gateway's. */
void transcripts_refused(struct sess *sess);
/* Whether the client must not see transcripts: it has not asked for them. */
bool transcripts_are_hidden(const struct sess *sess);
/* Show the client its own value in a session.updated. */
void transcripts_show(struct sess *sess, struct rewrite *rewrite, struct bc_span session);
/* Take the words out of a user's item, raw and inside what is rewritten, where transcripts are hidden. */
void transcripts_conceal(struct sess *sess, struct rewrite *rewrite, struct bc_span item);

#endif
