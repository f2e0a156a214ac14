/*
 * The ledger of a session: what happened to it and what it decided, numbered, in one order.
 *
 *                 +----------- struct sess -----------+
 *   bridge -----> | sess_message() ... notes an input |
 *                 |      ... decides ...              |
 *   bridge <----- | sess->world = the ledger's own,   | <- notes a decision, then hands it on to the true world
 *                 +-----------------------------------+
 *
 * Because every decision goes through the table of functions that is the session's only way out, none can be missed, and
 * what is noted is enough to repeat the call: the same inputs with the same answers of the world make the same decisions.
 *
 * The entries kept are few and short: an event's type and ids, never its content.  A recording, where one is asked for,
 * gets every input in full, as lines of JSON (script.c); tests/replay reads them.
 *
 * All functions: the session's thread.
 */
#ifndef BACKCHANNEL_SESSION_LEDGER_H
#define BACKCHANNEL_SESSION_LEDGER_H

#include "daemon/base/buf.h"
#include "daemon/session/session.h"
#include "proto/openai/event.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define LEDGER_DETAIL_MAX 256 /* bytes of an entry's detail; what is beyond is cut */
#define LEDGER_RUNS_MAX   4 /* kinds of frames that may come in between each other and are counted */
#define LEDGER_WAITS_MAX  32 /* reasons in wait.def, at most */

struct cfg_tool;
struct ledger;

/* Who made an entry. */
enum ledger_source {
	LEDGER_CLIENT,
	LEDGER_PROVIDER,
	LEDGER_TOOL,
	LEDGER_TIMER,
	LEDGER_GATEWAY,      /* decided here */
	LEDGER_CALLER,       /* the detector that listens to the caller */
	LEDGER_WORLD,        /* the daemon and other sessions */
	LEDGER_SOURCE__COUNT /* must be last */
};

struct ledger_entry {
	bc_usec at;      /* monotonic; of the last of count */
	uint64_t bytes;  /* of the payloads */
	uint32_t count;  /* frames of one kind in a row are one entry */
	uint32_t passed; /* of these, how many went on to the other side as they came */
	TAILQ_ENTRY(ledger_entry) link;
	bc_usec begun;     /* of the first of count */
	uint32_t number;   /* from 1, never reused */
	uint32_t turn;     /* of the last commit */
	uint32_t revision; /* grows with all that the caller adds */
	uint16_t len;      /* of detail */
	uint8_t source;
	const char *kind; /* static storage */
	char detail[];    /* no NUL */
};

TAILQ_HEAD(ledger_list, ledger_entry);

/* Frames of one kind that are being counted: all that is compared, so that the entries of others are not touched. */
struct ledger_frames {
	struct ledger_entry *entry; /* NULL: none */
	uint8_t source;
	uint8_t event; /* enum oai_event: says the kind as well; OAI_UNKNOWN: the entry says more */
};

static_assert(OAI_EVENT__COUNT <= UINT8_MAX, "an event fits in a byte");

/* A tool run between tool_run() and its settlement. */
struct ledger_run {
	TAILQ_ENTRY(ledger_run) link;
	uint32_t magic;
	struct ledger *ledger;
	const struct cfg_tool *tool;
	struct tool_call *call;
	uint64_t number;
	bc_usec begun;
	bool (*may_start)(void *arg); /* the session's, as done and arg; NULL: there is none */
	tool_done_fn *done;
	void *arg;
};

TAILQ_HEAD(ledger_runs, ledger_run);

struct ledger {
	uint32_t magic;
	bool recording;
	bool changed; /* something other than a counted frame since the waits were looked at */
	bool resumed; /* message came with an earlier input */
	/* What every message needs comes first. */
	const struct sess_world *world; /* the true one */
	void *world_arg;
	bc_usec at;                 /* of the last input */
	struct ledger_entry *input; /* of the message being handled; NULL: none, or forgotten */
	struct bc_span message;     /* being handled */
	struct ledger_frames runs[LEDGER_RUNS_MAX];
	struct sess *sess;
	struct ledger_list entries;
	uint32_t numbered;
	uint32_t count;
	uint64_t forgotten;
	size_t bytes;
	struct ledger_runs tools;
	uint64_t tool_count; /* runs ever started */
	bc_usec state_since;
	bc_usec lane_since;
	uint32_t waits;                        /* reasons that hold, by bit */
	uint32_t wait_since[LEDGER_WAITS_MAX]; /* of those; ms of the session's life */
	struct bc_buf line;                    /* of the recording */
};

/* ---- ledger.c: entries ---- */

/* Put the ledger between a session and its world, which must be set.  BC_E_NOMEM. */
enum bc_err ledger_new(struct sess *sess, const struct sess_conf *conf) BC_MUST;
/* The session's world is its own again.  Does nothing for a session without a ledger. */
void ledger_free(struct sess *sess);

/* Add an entry; detail as printf, without anything a caller, a model or a tool has said. */
void ledger_note(struct sess *sess, enum ledger_source source, const char *kind, const char *format,
		 ...) BC_PRINTF(4, 5);
/* Add an entry about an event, or count it with others of its kind.  NULL: no entry is kept. */
struct ledger_entry *ledger_put_event(struct ledger *ledger, enum ledger_source source,
				      const char *kind, const struct oai_envelope *envelope);
/* Likewise of so many bytes that are no event. */
struct ledger_entry *ledger_put_bytes(struct ledger *ledger, enum ledger_source source,
				      const char *kind, size_t bytes);

/* ---- inputs.c: what happens to a session ---- */

void ledger_opened(struct sess *sess);
void ledger_failed(struct sess *sess, enum bc_err err, unsigned status, const char *detail);
void ledger_message(struct sess *sess, enum sess_side side, enum ws_opcode opcode,
		    const struct oai_envelope *envelope);
/* A message that was kept back is handled now: it counts as what is being handled. */
void ledger_resumed(struct sess *sess, struct bc_span payload);
void ledger_closed(struct sess *sess, enum sess_side side, enum bc_err err, uint16_t code,
		   struct bc_span reason);
void ledger_tag(struct sess *sess, const char *tag);
void ledger_drained(struct sess *sess, enum sess_side side);
void ledger_timer(struct sess *sess, enum sess_timer which);
void ledger_shut_down(struct sess *sess);
void ledger_reasoned(struct sess *sess, struct bc_span bytes);
void ledger_reason_ended(struct sess *sess, enum bc_err err, int status, bc_usec retry_after);
/* Of a tool, by way of the world: it may start now; its result is there. */
void ledger_asked(struct ledger *ledger, const struct ledger_run *run);
void ledger_result(struct ledger *ledger, const struct ledger_run *run,
		   const struct tool_result *result);

/* ---- tap.c: the world between the session and its world ---- */

extern const struct sess_world ledger_world;
void ledger_runs_free(struct ledger *ledger);

/* ---- script.c: the recording ---- */

/* Begin a line with what it is about and when; the other functions add members; the last ends it and hands it on. */
void script_begin(struct ledger *ledger, const char *key, const char *what);
/* What is known of the upstream, where anything is: "name=value" with commas between. */
void script_traits(struct ledger *ledger, const struct trait_set *traits);
void script_string(struct ledger *ledger, const char *key, struct bc_span value);
void script_number(struct ledger *ledger, const char *key, int64_t value);
void script_payload(struct ledger *ledger, enum ws_opcode opcode, struct bc_span payload);
void script_end(struct ledger *ledger);

/* ---- wait.c: how long what takes ---- */

/* Which reasons of wait.def hold, by bit. */
uint32_t wait_reasons(const struct sess *sess);
/* Append their names with commas between them, "-" for none. */
enum bc_err wait_put(uint32_t reasons, struct bc_buf *out) BC_MUST;
/* Count the reasons that hold from then on, and the time of those that do no more. */
void wait_note(struct ledger *ledger, uint32_t reasons, bc_usec at);
/* The session, or its lane, leaves a state now; with the session's that of its lane counts up to here. */
void wait_state(struct sess *sess);
void wait_lane(struct sess *sess);
/* A tool's result came after so long; it was put in for the model. */
void wait_tool(const struct cfg_tool *tool, bc_usec took);
void wait_delivered(const struct cfg_tool *tool, bool unspoken);

#endif
