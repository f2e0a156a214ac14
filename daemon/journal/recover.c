/*
 * After a crash: what the last process left without settlement gets one where the records leave no doubt, and all else
 * is handed out by jrn_adopt(), to be asked for, undone or parked as after a turn that was given up (J4).
 *
 *   intent            decided      result            what becomes of it
 *   read                           with or without   unused: nobody is left to use it, and nothing was changed
 *   effect            it stands    status 200..299   used: the outcome is known, and it is what was wanted
 *   effect            it stands    status 400..499   failed: the server refused, so nothing happened
 *   effect            it stands    another           in doubt: it does not tell whether something happened (J7)
 *   effect            it stands    none              orphan: the ticket was out, it may have been sent (J7, J8)
 *   guess, reversible              status 200..299   orphan, to be undone
 *   guess, reversible              status 400..499   failed
 *   guess, reversible              another           in doubt
 *   guess, reversible              none              orphan, to be found out and undone
 *   undo                           status 200..299   used, and what it undoes is undone
 *   undo                           other, or none    goes with what it undoes
 *
 * It stands: it was no guess, or was committed, or is a hold, which starts only for a committed turn (J5).  The note
 * "recovered" tells such settlements from those a session made; their time is that of the intent's last record, because
 * the journal reads no clock.
 *
 * First every effect is reported, then all settlements are written as one group.  A crash before its commit means
 * that the next start finds and reports the same again; a report may thus repeat, and is never lost.
 */
#include "daemon/base/metric.h"
#include "daemon/journal/state.h"
#include "daemon/journal/ticket.h"

#include <stdlib.h>

#define VERDICTS_MIN 64
#define DOUBTS_MAX   1024 /* as many as a worker keeps */

struct verdict {
	uint64_t intent;
	bc_usec wall;
	enum jrn_settlement how;
};

struct recovery {
	struct jrn *jrn;
	jrn_open_fn *each_open;
	void *arg;
	struct jrn_recovery counts;
	struct jrn_foundling *last; /* of jrn->foundlings */
	struct verdict *verdicts;
	size_t count;
	size_t cap;
};

static bool stands(const struct jrn_unsettled *row)
{
	return row->intent->intended.effect == JRN_HOLD || !row->intent->intended.speculative ||
	       row->decision == JRN_COMMITTED;
}

/* How an intent is settled that nobody needs to look after; false: somebody does. */
static bool judge(const struct jrn_unsettled *row, enum jrn_settlement *ret)
{
	bool good = row->has_result && row->status >= 200 && row->status <= 299;

	if (row->intent->intended.effect == JRN_READ) {
		*ret = JRN_UNUSED;
	} else if (!row->has_result || (good && !stands(row))) {
		return false;
	} else if (good) {
		*ret = JRN_USED;
	} else {
		*ret = row->status >= 400 && row->status <= 499 ? JRN_FAILED : JRN_IN_DOUBT;
	}
	return true;
}

static enum bc_err add_verdict(struct recovery *recovery, const struct jrn_unsettled *row,
			       uint64_t intent, enum jrn_settlement how)
{
	size_t cap = recovery->cap == 0 ? VERDICTS_MIN : recovery->cap * 2;

	if (recovery->count == recovery->cap) {
		/* Bounded by open_max of the process that crashed, and its undos. */
		struct verdict *verdicts = reallocarray(recovery->verdicts, cap, sizeof(*verdicts));

		if (verdicts == NULL) {
			return BC_E_NOMEM;
		}
		recovery->verdicts = verdicts;
		recovery->cap = cap;
	}
	recovery->verdicts[recovery->count++] =
		(struct verdict){.intent = intent, .wall = row->wall, .how = how};
	return BC_OK;
}

static void *copy(char **at, struct bc_span *span)
{
	if (span->len > 0) {
		memcpy(*at, span->ptr, span->len);
	}
	span->ptr = *at;
	*at += span->len;
	return *at;
}

struct jrn_foundling *jrn_foundling_new(const struct jrn_unsettled *row)
{
	const struct jrn_record *intent = row->intent;
	size_t bytes = jrn_record_bytes(intent) +
		       (row->result == NULL ? 0 : jrn_record_bytes(row->result));
	struct jrn_foundling *found = calloc(1, sizeof(*found) + bytes);
	struct jrn_orphan *orphan;
	char *at;

	if (found == NULL) {
		return NULL;
	}
	at = (char *)(found + 1);
	orphan = &found->orphan;
	orphan->ticket = jrn_ticket_make(intent->intent, intent->intended.effect, JRN_DURABLE,
					 intent->intended.key);
	orphan->intent = (struct jrn_intent){.session = intent->intended.session,
					     .turn = intent->intended.turn,
					     .tool = intent->intended.tool,
					     .arguments = intent->intended.arguments,
					     .sealed = intent->intended.sealed,
					     .tags = intent->intended.tags,
					     .effect = intent->intended.effect,
					     .speculative = intent->intended.speculative,
					     .wall = row->wall};
	orphan->decision = stands(row) ? JRN_COMMITTED : row->decision;
	orphan->has_result = row->has_result;
	orphan->status = row->status;
	if (row->result != NULL) {
		orphan->output = row->result->result.output;
		orphan->output_sealed = row->result->result.sealed;
	}
	(void)copy(&at, &orphan->intent.session);
	(void)copy(&at, &orphan->intent.tool);
	(void)copy(&at, &orphan->intent.arguments);
	(void)copy(&at, &orphan->intent.sealed);
	(void)copy(&at, &orphan->intent.tags);
	(void)copy(&at, &orphan->output);
	(void)copy(&at, &orphan->output_sealed);
	return found;
}

/* An undo comes after what it undoes, and goes with it. */
static enum bc_err note_undo(struct recovery *recovery, const struct jrn_unsettled *row)
{
	bool good = row->has_result && row->status >= 200 && row->status <= 299;
	struct jrn_foundling **at = &recovery->jrn->foundlings;
	struct jrn_foundling *found;
	enum bc_err err;

	while (*at != NULL && (*at)->orphan.ticket.intent != row->intent->intended.undoes) {
		at = &(*at)->next;
	}
	found = *at;
	if (found == NULL) {
		/* The operator had taken it up again. */
		return add_verdict(recovery, row, row->intent->intent,
				   good ? JRN_USED : JRN_IN_DOUBT);
	}
	if (!good) {
		found->orphan.has_undo = true;
		found->orphan.undo = jrn_ticket_make(row->intent->intent, JRN_UNDO, JRN_DURABLE,
						     row->intent->intended.key);
		return BC_OK;
	}
	err = add_verdict(recovery, row, row->intent->intent, JRN_USED);
	if (err == BC_OK) {
		err = add_verdict(recovery, row, found->orphan.ticket.intent, JRN_UNDONE);
	}
	if (err == BC_OK) {
		*at = found->next;
		recovery->counts.adoptable--;
		if (recovery->last == found) {
			recovery->last = recovery->jrn->foundlings;
			while (recovery->last != NULL && recovery->last->next != NULL) {
				recovery->last = recovery->last->next;
			}
		}
		free(found);
	}
	return err;
}

static enum bc_err note_orphan(struct recovery *recovery, const struct jrn_unsettled *row)
{
	struct jrn_foundling *found = jrn_foundling_new(row);

	if (found == NULL) {
		return BC_E_NOMEM;
	}
	if (recovery->last == NULL) {
		recovery->jrn->foundlings = found;
	} else {
		recovery->last->next = found;
	}
	recovery->last = found;
	recovery->counts.adoptable++;
	return BC_OK;
}

static enum bc_err note(void *arg, const struct jrn_unsettled *row)
{
	const struct jrn_record *intent = row->intent;
	struct recovery *recovery = arg;
	enum jrn_settlement how;
	enum bc_err err;

	if (intent->intended.effect == JRN_UNDO) {
		return note_undo(recovery, row);
	}
	err = judge(row, &how) ? add_verdict(recovery, row, intent->intent, how)
			       : note_orphan(recovery, row);
	if (err != BC_OK) {
		return err;
	}
	if (intent->intended.effect == JRN_READ) {
		recovery->counts.reads_open++;
		return BC_OK;
	}
	recovery->counts.effects_open++;
	recovery->each_open(recovery->arg, intent->intent, intent->intended.session,
			    intent->intended.tool, intent->intended.effect, row->has_result);
	return BC_OK;
}

static enum bc_err settle_all(struct jrn_store *store, const struct recovery *recovery)
{
	enum bc_err err = BC_OK;

	if (recovery->count == 0) {
		return BC_OK;
	}
	err = store->ops->begin(store);
	for (size_t i = 0; i < recovery->count && err == BC_OK; i++) {
		const struct verdict *verdict = &recovery->verdicts[i];
		struct jrn_record record = {
			.kind = JRN_REC_SETTLEMENT,
			.intent = verdict->intent,
			.wall = verdict->wall,
			.settled = {.how = verdict->how, .note = BC_SPAN_LIT("recovered")},
		};

		err = store->ops->write(store, &record);
	}
	if (err != BC_OK) {
		return err;
	}
	err = store->ops->commit(store);
	if (err == BC_OK) {
		bc_metric_add(BC_M_JOURNAL_RECORDS, (int64_t)recovery->count);
		bc_metric_inc(BC_M_JOURNAL_COMMITS);
	}
	return err;
}

static enum bc_err on_standing(void *arg, struct bc_span tags, uint64_t intent)
{
	struct jrn *jrn = arg;
	enum bc_err err = jrn_marks_know(jrn, tags);

	if (err == BC_OK) {
		jrn_marks_set(jrn, tags, intent);
	}
	return err;
}

/* What must be known to tell whether another effect has followed (J3): only above the lowest that may be undone. */
static enum bc_err learn_marks(struct jrn *jrn)
{
	const struct jrn_store_ops *ops = jrn->store->ops;
	struct jrn_store_marks marks;
	enum bc_err err = ops->marks(jrn->store, &marks);

	if (err == BC_OK && marks.open_first != 0) {
		err = ops->scan_standing(jrn->store, marks.open_first, on_standing, jrn);
	}
	return err;
}

static enum bc_err on_doubt(void *arg, const struct jrn_unsettled *row)
{
	struct jrn *jrn = arg;
	struct jrn_foundling *found;

	if (row->intent->intended.effect == JRN_UNDO) {
		return BC_OK;
	}
	found = jrn_foundling_new(row);
	if (found == NULL) {
		return BC_E_NOMEM;
	}
	found->next = jrn->doubts;
	jrn->doubts = found;
	return BC_OK;
}

static enum bc_err adopt_all(struct jrn *jrn)
{
	enum bc_err err = BC_OK;

	for (struct jrn_foundling *at = jrn->foundlings; at != NULL && err == BC_OK;
	     at = at->next) {
		err = jrn_entry_adopt(jrn, at);
	}
	return err;
}

enum bc_err jrn_recover(struct jrn *jrn, jrn_open_fn *each_open, void *arg,
			struct jrn_recovery *ret_recovery, struct bc_buf *reterr_message)
{
	struct recovery recovery = {.jrn = jrn, .each_open = each_open, .arg = arg};
	struct jrn_store *store = jrn->store;
	enum bc_err err = store->ops->scan(store, JRN_UNSETTLED, 0, note, &recovery);

	if (err == BC_OK) {
		err = settle_all(store, &recovery);
	}
	if (err == BC_OK) {
		err = learn_marks(jrn);
	}
	if (err == BC_OK) {
		err = store->ops->scan(store, JRN_PENDING, DOUBTS_MAX, on_doubt, jrn);
	}
	if (err == BC_OK) {
		err = adopt_all(jrn);
	}
	free(recovery.verdicts);
	if (err == BC_E_NOMEM) {
		JRN_EXPLAIN(reterr_message, "cannot recover the journal: out of memory");
	} else if (err != BC_OK) {
		JRN_EXPLAIN(reterr_message, "cannot recover the journal: %s",
			    store->ops->complaint(store));
	} else {
		*ret_recovery = recovery.counts;
	}
	return err;
}
