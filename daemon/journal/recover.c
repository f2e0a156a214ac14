/*
 * After a crash: what the last process left without settlement gets one, so that every intent of the past is closed
 * and only what really needs a person stays marked.
 *
 *   intent            result             settled as   why
 *   read              with or without    unused       nobody is left to use it, and nothing was changed
 *   effect            none               in_doubt     the ticket was out: it may have been sent (J7, J8)
 *   effect            status 200..299    used         the outcome is known and it is what was wanted: a hold starts
 *                                                     only for a committed turn (J5), and any effect that is not
 *                                                     speculative was asked for by the provider itself
 *   speculative
 *   reversible        status 200..299    in_doubt     done on a guess; whether the turn was committed is not known,
 *                                                     so whether it stays or is undone is for a person to say (J3)
 *   effect            other, or none     in_doubt     an error or a deadline was recorded: a timeout, a 5xx and a
 *                                                     built-in tool do not tell whether something happened (J7)
 *
 * The note "recovered" tells such settlements from those a session made; their time is that of the intent's last
 * record, because the journal reads no clock.
 *
 * First every effect is reported, then all settlements are written as one group.  A crash before its commit means
 * that the next start finds and reports the same again; a report may thus repeat, and is never lost.
 */
#include "daemon/base/metric.h"
#include "daemon/journal/state.h"

#include <stdlib.h>

#define VERDICTS_MIN 64

struct verdict {
	uint64_t intent;
	bc_usec wall;
	enum jrn_settlement how;
};

struct recovery {
	jrn_open_fn *each_open;
	void *arg;
	struct jrn_recovery counts;
	struct verdict *verdicts;
	size_t count;
	size_t cap;
};

static enum jrn_settlement judge(const struct jrn_unsettled *unsettled)
{
	const struct jrn_record *intent = unsettled->intent;

	if (intent->intended.effect == JRN_READ) {
		return JRN_UNUSED;
	}
	if (!unsettled->has_result || unsettled->status < 200 || unsettled->status > 299) {
		return JRN_IN_DOUBT;
	}
	if (intent->intended.effect == JRN_REVERSIBLE && intent->intended.speculative) {
		return JRN_IN_DOUBT;
	}
	return JRN_USED;
}

static enum bc_err room(struct recovery *recovery)
{
	size_t cap = recovery->cap == 0 ? VERDICTS_MIN : recovery->cap * 2;
	struct verdict *verdicts;

	if (recovery->count < recovery->cap) {
		return BC_OK;
	}
	/* Bounded by open_max of the process that crashed. */
	verdicts = reallocarray(recovery->verdicts, cap, sizeof(*verdicts));
	if (verdicts == NULL) {
		return BC_E_NOMEM;
	}
	recovery->verdicts = verdicts;
	recovery->cap = cap;
	return BC_OK;
}

static enum bc_err note(void *arg, const struct jrn_unsettled *unsettled)
{
	const struct jrn_record *intent = unsettled->intent;
	struct recovery *recovery = arg;
	enum bc_err err = room(recovery);

	if (err != BC_OK) {
		return err;
	}
	recovery->verdicts[recovery->count++] = (struct verdict){
		.intent = intent->intent,
		.wall = unsettled->wall,
		.how = judge(unsettled),
	};
	if (intent->intended.effect == JRN_READ) {
		recovery->counts.reads_open++;
		return BC_OK;
	}
	recovery->counts.effects_open++;
	recovery->each_open(recovery->arg, intent->intent, intent->intended.session,
			    intent->intended.tool, intent->intended.effect, unsettled->has_result);
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

enum bc_err jrn_recover(struct jrn_store *store, jrn_open_fn *each_open, void *arg,
			struct jrn_recovery *ret_recovery, struct bc_buf *reterr_message)
{
	struct recovery recovery = {.each_open = each_open, .arg = arg};
	enum bc_err err = store->ops->scan_unsettled(store, note, &recovery);

	if (err == BC_OK) {
		err = settle_all(store, &recovery);
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
