/*
 * The journal: what was intended, what came of it, how it was settled; on disk before an effect leaves
 * the process.  Rules J1 to J10; this header makes breaking J1 a compile error: whoever starts a tool needs a
 * struct jrn_ticket, and only the journal makes one.
 *
 * Life of an intent:
 *
 *      jrn_intend            jrn_result               jrn_settle
 *   ------------> INTENDED ------------> DONE -----------------> SETTLED (used, unused, undone, …)
 *                    |                                              ^
 *                    +------------- jrn_settle (never_started, in_doubt, …)
 *
 * A speculative effect is also decided, once: jrn_commit (its call became real) or jrn_abandon (nobody wants it).  From
 * its abandonment to its settlement an effect is being taken back: no later effect with one of its tags starts (J3), and
 * its undo, an intent of its own (JRN_UNDO), gets its ticket when it is its turn: later ones of the same session or with
 * one of its tags come first.  What a crash left open is handed out by jrn_adopt() and goes the same way.
 *
 * One writer thread owns the store and commits in groups; callers are workers, each with a port of its own,
 * and get their answers on their own thread by jrn_port_dispatch().
 */
#ifndef BACKCHANNEL_JOURNAL_JOURNAL_H
#define BACKCHANNEL_JOURNAL_JOURNAL_H

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct jrn;
struct jrn_port;
struct jrn_store_ops; /* journal/store.h: what a store must do; sqlite.c is one */

enum jrn_effect {
	JRN_READ,
	JRN_REVERSIBLE,
	JRN_HOLD,
	JRN_UNDO /* takes a reversible effect back */
};

/* How sure it is that the intent survives a crash. */
enum jrn_strength {
	JRN_MEMORY,
	JRN_DURABLE
};

enum jrn_settlement {
	JRN_USED, /* the result went into the conversation, or the effect stands although nobody heard of it */
	JRN_UNUSED,           /* a guess nobody asked for: dropped */
	JRN_NEVER_STARTED,    /* intended, but nothing left the process */
	JRN_FAILED,           /* ended in an error that says nothing happened */
	JRN_IN_DOUBT,         /* outcome unknown; open until status or operator resolves it */
	JRN_UNDONE,           /* executed, then undone */
	JRN_PARKED,           /* executed, to be undone, and that is for the operator now */
	JRN_SETTLEMENT__COUNT /* must be last */
};

/* What a guess came to. */
enum jrn_decision {
	JRN_UNDECIDED,
	JRN_COMMITTED, /* its call became real: it is never undone */
	JRN_ABANDONED  /* it is to be undone if it was executed */
};

const char *jrn_settlement_name(enum jrn_settlement settlement);

#define JRN_KEY_SIZE 37 /* idempotency key: random UUID text and NUL */

/*
 * Permission to start one call: only the journal makes one (J1).  Copyable, no memory behind it.  A call with
 * an effect needs JRN_DURABLE, a read JRN_MEMORY or better; tool_start() checks.
 */
struct jrn_ticket {
	uint64_t intent; /* number of the intent, unique in the journal, > 0 */
	enum jrn_effect effect;
	enum jrn_strength strength;
	char key[JRN_KEY_SIZE]; /* idempotency key, stable for the intent's life (J6) */
	uint64_t seal;          /* the journal's own check that it made this ticket */
};

/* What is intended.  Spans are copied. */
struct jrn_intent {
	struct bc_span session;   /* id of the session */
	uint64_t turn;            /* number of the turn, from 1; 0: before the first */
	struct bc_span tool;      /* name */
	struct bc_span arguments; /* canonical JSON; secret arguments already replaced */
	struct bc_span sealed;    /* all arguments, encrypted; empty: there is nothing to hide */
	struct bc_span tags;      /* comma-separated */
	enum jrn_effect effect;
	bool speculative; /* asked for by a pass, not by the provider's own response */
	bc_usec wall;     /* time, microseconds since the epoch */
};

typedef void jrn_ticket_fn(void *arg, enum bc_err err, const struct jrn_ticket *ticket);
typedef void jrn_done_fn(void *arg, enum bc_err err);

struct jrn_conf {
	const char *path; /* of the store */
	bc_usec retention; /* of settled records, > 0; counted from the newest time the journal was told */
	uint64_t open_max;        /* intents without settlement, > 0 */
	size_t session_bytes_max; /* text of a session's open intents with their results; 0: any */
	bc_usec (*now)(void);     /* monotonic, any thread; measures the disk; NULL: nobody does */
};

/* What recovery found at start: intents that a crash left open. */
struct jrn_recovery {
	uint64_t reads_open; /* reads without settlement: settled as unused */
	/*
	 * effects intended or done but not settled: listed one by one; settled where the recorded result leaves no
	 * doubt, else waiting for jrn_adopt() (recover.c has the table)
	 */
	uint64_t effects_open;
	uint64_t adoptable; /* of these: waiting */
};

typedef void jrn_open_fn(void *arg, uint64_t intent, struct bc_span session, struct bc_span tool,
			 enum jrn_effect effect, bool has_result);

/*
 * Open (create, lock, verify, recover) the store and start the writer thread.  each_open is called for every
 * effect that a crash left open, before jrn_open() returns; should we crash in between, the next opening
 * calls it again.  *ret_recovery counts what was found.  BC_E_EXISTS: another process holds the journal
 * (message names it); BC_E_JOURNAL, BC_E_SYSTEM, BC_E_NOMEM: message says what to do.  Blocking; main thread.
 */
enum bc_err jrn_open(const struct jrn_conf *conf, jrn_open_fn *each_open, void *arg,
		     struct jrn_recovery *ret_recovery, struct bc_buf *reterr_message,
		     struct jrn **ret) BC_MUST;

/* Another retention, to be heeded when old records are looked for next, and another open_max.  Any thread. */
void jrn_configure(struct jrn *jrn, bc_usec retention, uint64_t open_max);

/*
 * Write what is queued, stop the thread, unlock.  All ports must be freed.  Intents still open stay open in
 * the store, for the next opening to judge.  Accepts NULL, returns NULL.
 */
struct jrn *jrn_close(struct jrn *jrn);

/*
 * A worker's connection to the journal.  wake(arg) is called on the writer thread when answers wait; it must
 * only wake the worker, which then calls jrn_port_dispatch(); it is called under the journal's lock and must not call
 * the journal.
 */
enum bc_err jrn_port_new(struct jrn *jrn, void (*wake)(void *arg), void *arg,
			 struct jrn_port **ret) BC_MUST;
/*
 * Outstanding callbacks never run.  What was queued is still written; an effect whose ticket nobody got settles as
 * never_started.  Not from inside a callback.  Accepts NULL, returns NULL.
 */
struct jrn_port *jrn_port_free(struct jrn_port *port);
void jrn_port_dispatch(struct jrn_port *port); /* runs the callbacks of finished requests */

/*
 * Record an intent.
 *
 * For a read the ticket (JRN_MEMORY) is in *ret_ticket at return, the record is queued, and fn is not called (pass
 * NULL): reads never wait for the disk.  For an effect the ticket comes through fn(arg, BC_OK, ticket) once the
 * record is durable; fn(arg, err, NULL) when it is not: BC_E_JOURNAL.
 *
 * Returns BC_OK; BC_E_AGAIN: an effect with one of its tags is being taken back (J3), so that this one may not start
 * now; BC_E_LIMIT: open_max or session_bytes_max reached, a record above 16 MiB, or 64 MiB waiting to be written;
 * BC_E_JOURNAL: an earlier sync failed and the journal hands out no more tickets for effects (J8); BC_E_NOMEM.
 * After an error nothing was promised and fn is not called.
 * While the journal has failed, reads still get a ticket; they are counted and not recorded.
 * Port's thread only.  fn is never called from inside this call.
 */
enum bc_err jrn_intend(struct jrn_port *port, const struct jrn_intent *intent,
		       struct jrn_ticket *ret_ticket, jrn_ticket_fn *fn, void *arg) BC_MUST;

/*
 * Record a result before anyone sees it (J2).  For a read the record is queued and fn must be NULL; for an effect
 * fn(arg, err) follows when it is durable.  status: HTTP status, 0: none; output: what the model will get, copied.
 * An intent has one result; a second one, or one after the settlement, aborts.  For an undo fn may be NULL: its settlement
 * says the same.
 *
 * Returns BC_OK; BC_E_LIMIT: too large, or too much is waiting; BC_E_JOURNAL: the journal has failed and this is the
 * result of an effect (that of a read is counted and not recorded); BC_E_NOMEM.  After an error fn is not called, and
 * the intent can still be settled.
 */
enum bc_err jrn_result(struct jrn_port *port, const struct jrn_ticket *ticket, int status,
		       struct bc_span output, bc_usec wall, jrn_done_fn *fn, void *arg) BC_MUST;

/* The same, with the encrypted form of an output that hides something. */
struct jrn_text {
	struct bc_span shown;
	struct bc_span sealed; /* empty: nothing is hidden */
};
enum bc_err jrn_result_sealed(struct jrn_port *port, const struct jrn_ticket *ticket, int status,
			      const struct jrn_text *text, bc_usec wall, jrn_done_fn *fn,
			      void *arg) BC_MUST;

/* Record how the intent ended.  Queued; nobody waits.  A ticket settles once; a second time aborts. */
void jrn_settle(struct jrn_port *port, const struct jrn_ticket *ticket, enum jrn_settlement how,
		bc_usec wall);

/*
 * The effect is about to leave.  False: one with one of its tags is being taken back (J3), so it must not, and settles
 * as never_started.  Once per ticket of a reversible or hold effect; port's thread only.
 */
bool jrn_start(struct jrn_port *port, const struct jrn_ticket *ticket) BC_MUST;

/*
 * The call of a speculative effect became real; or nobody wants it any more.  Queued; nobody waits.  At most one of the
 * two, before the settlement.  False: the journal has failed, and the next process will take the effect for a guess.
 */
bool jrn_commit(struct jrn_port *port, const struct jrn_ticket *ticket, bc_usec wall);
void jrn_abandon(struct jrn_port *port, const struct jrn_ticket *ticket, bc_usec wall);

/*
 * Ask for the ticket of the undo of an abandoned effect, which is known to have been executed.  intent: what is recorded
 * about the undo (effect is taken to be JRN_UNDO); known: the ticket of an undo that was recorded before, sent again
 * under the same key, NULL: there is none.
 *
 * fn(arg, BC_OK, ticket) when it is its turn and the record durable; fn(arg, BC_E_EXISTS, NULL): another effect with one
 * of its tags has followed, so it must never run; fn(arg, BC_E_JOURNAL, NULL).  While a later effect with one of its tags
 * is neither committed nor abandoned, the undo waits.
 * Returns BC_OK; BC_E_JOURNAL, BC_E_NOMEM, BC_E_LIMIT: fn is not called.  Port's thread only.
 */
enum bc_err jrn_undo(struct jrn_port *port, const struct jrn_ticket *undone,
		     const struct jrn_intent *intent, const struct jrn_ticket *known,
		     jrn_ticket_fn *fn, void *arg) BC_MUST;

/*
 * Whether an effect that is being taken back, or looked after as an orphan, could be undone now; asked before a request
 * is sent again to find out what became of it, for then it may be carried out only now.  It stays so until the effect is
 * settled, but that LATER becomes one of the others: nothing with one of its tags starts meanwhile.  Port's thread only.
 */
enum jrn_turn {
	JRN_TURN_HERE,
	JRN_TURN_LATER, /* a later effect is undecided, or is being taken back: that comes first */
	JRN_TURN_NEVER  /* another effect with one of its tags has followed, and stands */
};
enum jrn_turn jrn_turn(struct jrn_port *port, const struct jrn_ticket *effect) BC_MUST;

/*
 * Settle an effect and its undo as one group.  undone: JRN_UNDONE when the undo (JRN_USED) was carried out, else
 * JRN_PARKED, with the undo JRN_FAILED or JRN_IN_DOUBT.
 */
void jrn_undo_end(struct jrn_port *port, const struct jrn_ticket *effect,
		  enum jrn_settlement undone, const struct jrn_ticket *undo,
		  enum jrn_settlement how, bc_usec wall);

/* An effect nobody looks after: left open by a crash, or taken up again by the operator.  Valid during the call. */
struct jrn_orphan {
	struct jrn_ticket ticket;
	struct jrn_intent intent;
	enum jrn_decision decision; /* JRN_COMMITTED also for one that was no guess */
	bool has_result;
	int status;
	struct bc_span output;
	struct bc_span output_sealed;
	bool has_undo; /* its undo was recorded before, and may have been sent */
	struct jrn_ticket undo;
};

typedef void jrn_orphan_fn(void *arg, const struct jrn_orphan *orphan);

/*
 * Hand over what a crash left open, oldest first, at most once in a journal's life; the port's owner settles each.
 * Until then no effect with one of their tags starts.
 */
void jrn_adopt(struct jrn_port *port, jrn_orphan_fn *fn, void *arg);

/*
 * The effects whose outcome was not known when the journal was opened: the newest of those in doubt (1,024), and all orphans
 * without a result.  Before jrn_adopt().
 */
typedef void jrn_doubt_fn(void *arg, uint64_t intent, struct bc_span tool,
			  struct bc_span arguments);
void jrn_each_doubt(struct jrn_port *port, jrn_doubt_fn *fn, void *arg);

/*
 * The operator's hand.  Take up again an effect that was settled as in doubt or parked: each(arg, orphan) hands it over
 * as jrn_adopt() does, right before done(arg, BC_OK).  Or say what became of it: how is JRN_USED, JRN_UNDONE or
 * JRN_NEVER_STARTED.  done(arg, err): BC_E_NOTFOUND: no such intent, or it is not in doubt or parked any more;
 * BC_E_JOURNAL.  BC_E_NOMEM, BC_E_JOURNAL, BC_E_LIMIT (another one is under way): nothing is called.  Port's thread only.
 */
enum bc_err jrn_reopen(struct jrn_port *port, uint64_t intent, jrn_orphan_fn *each,
		       jrn_done_fn *done, void *arg) BC_MUST;
enum bc_err jrn_resolve(struct jrn_port *port, uint64_t intent, enum jrn_settlement how,
			bc_usec wall, jrn_done_fn *done, void *arg) BC_MUST;

/* Whether this ticket was made by a journal of this process and permits a call of that effect. */
bool jrn_ticket_permits(const struct jrn_ticket *ticket, enum jrn_effect effect);

/* Whether a sync has failed (J8): no more tickets for effects until a restart.  Any thread. */
bool jrn_has_failed(const struct jrn *jrn);

/* The same of the journal behind a port. */
bool jrn_port_has_failed(const struct jrn_port *port);

#endif
