/* A store in memory: what is durable, and the group that is being written. */
#include "tests/sim/world.h"

#include "daemon/journal/store.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_MAX  4096
#define GROUP_MAX 4096

struct row {
	bool here;
	struct jrn_record intent;
	bool has_result;
	struct jrn_record result;
	enum jrn_decision decision;
	bool settled;
	enum jrn_settlement how;
	bool resolved;
};

static struct row rows[ROWS_MAX]; /* by number of the intent */
static uint64_t last;
static struct jrn_record group[GROUP_MAX];
static unsigned group_count;
static struct jrn_store memory;

static struct bc_span keep(struct bc_span span)
{
	return span.len == 0 ? BC_SPAN_LIT("") : bc_span(bc_span_dup(span), span.len);
}

static void drop(struct bc_span span)
{
	/* Only keep() makes these, and the empty one is static. */
	union {
		const char *text;
		void *memory;
	} of = {.text = span.ptr};

	if (span.len > 0) {
		free(of.memory);
	}
}

static struct jrn_record copy(const struct jrn_record *record)
{
	struct jrn_record made = *record;

	if (record->kind == JRN_REC_INTENT) {
		made.intended.session = keep(record->intended.session);
		made.intended.tool = keep(record->intended.tool);
		made.intended.arguments = keep(record->intended.arguments);
		made.intended.tags = keep(record->intended.tags);
		made.intended.sealed = keep(record->intended.sealed);
	} else if (record->kind == JRN_REC_RESULT) {
		made.result.output = keep(record->result.output);
		made.result.sealed = keep(record->result.sealed);
	}
	return made;
}

static void release(struct jrn_record *record)
{
	if (record->kind == JRN_REC_INTENT) {
		drop(record->intended.session);
		drop(record->intended.tool);
		drop(record->intended.arguments);
		drop(record->intended.tags);
		drop(record->intended.sealed);
	} else if (record->kind == JRN_REC_RESULT) {
		drop(record->result.output);
		drop(record->result.sealed);
	}
}

void memory_reset(void)
{
	for (uint64_t i = 0; i <= last; i++) {
		if (rows[i].here) {
			release(&rows[i].intent);
		}
		if (rows[i].has_result) {
			release(&rows[i].result);
		}
	}
	memset(rows, 0, sizeof(rows[0]) * (last + 1));
	last = 0;
	for (unsigned i = 0; i < group_count; i++) {
		release(&group[i]);
	}
	group_count = 0;
}

static struct row *row_of_key(const char *key)
{
	for (uint64_t i = 1; i <= last; i++) {
		if (rows[i].here && strcmp(rows[i].intent.intended.key, key) == 0) {
			return &rows[i];
		}
	}
	return NULL;
}

bool memory_knows(const char *key)
{
	return row_of_key(key) != NULL;
}

int memory_settlement(const char *key)
{
	const struct row *row = row_of_key(key);

	return row == NULL ? -2 : row->settled ? (int)row->how : -1;
}

/* ---- the interface ---- */

static enum bc_err memory_open(const char *location, struct bc_buf *reterr_message,
			       struct jrn_store **ret)
{
	(void)location;
	(void)reterr_message;
	memory.ops = &memory_ops;
	*ret = &memory;
	return BC_OK;
}

static enum bc_err memory_begin(struct jrn_store *store)
{
	(void)store;
	for (unsigned i = 0; i < group_count; i++) {
		release(&group[i]);
	}
	group_count = 0;
	return BC_OK;
}

static enum bc_err memory_write(struct jrn_store *store, const struct jrn_record *record)
{
	(void)store;
	BC_BUG_ON(group_count == GROUP_MAX || record->intent >= ROWS_MAX);
	group[group_count++] = copy(record);
	return BC_OK;
}

static void apply(const struct jrn_record *record)
{
	struct row *row = &rows[record->intent];

	switch (record->kind) {
	case JRN_REC_INTENT:
		BC_BUG_ON(row->here);
		row->here = true;
		row->intent = *record;
		last = record->intent > last ? record->intent : last;
		return;
	case JRN_REC_RESULT:
		BC_BUG_ON(!row->here || row->has_result);
		row->has_result = true;
		row->result = *record;
		return;
	case JRN_REC_DECISION:
		BC_BUG_ON(!row->here || row->decision != JRN_UNDECIDED);
		row->decision = record->decided.what;
		return;
	case JRN_REC_SETTLEMENT:
		BC_BUG_ON(!row->here || row->settled);
		row->settled = true;
		row->how = record->settled.how;
		return;
	case JRN_REC_RESOLUTION:
		BC_BUG_ON(!row->settled || row->resolved);
		row->resolved = true;
		row->how = record->settled.how;
		return;
	}
}

static enum bc_err memory_commit(struct jrn_store *store)
{
	(void)store;
	for (unsigned i = 0; i < group_count; i++) {
		apply(&group[i]);
	}
	group_count = 0;
	return BC_OK;
}

static bool is_in(const struct row *row, enum jrn_scope scope, uint64_t number)
{
	bool doubt = row->settled && row->how == JRN_IN_DOUBT && !row->resolved;

	switch (scope) {
	case JRN_UNSETTLED:
		return !row->settled;
	case JRN_PENDING:
		return doubt;
	case JRN_ONE:
		return row->intent.intent == number;
	case JRN_UNDO_PENDING:
		return doubt && row->intent.intended.undoes == number;
	}
	return false;
}

static enum bc_err memory_scan(struct jrn_store *store, enum jrn_scope scope, uint64_t number,
			       jrn_unsettled_fn *fn, void *arg)
{
	bool newest_first = scope == JRN_PENDING || scope == JRN_UNDO_PENDING;
	uint64_t limit = scope == JRN_PENDING ? number : scope == JRN_UNDO_PENDING ? 1 : last;
	uint64_t found = 0;
	enum bc_err err = BC_OK;

	(void)store;
	for (uint64_t i = 1; i <= last && err == BC_OK && found < limit; i++) {
		const struct row *row = &rows[newest_first ? last + 1 - i : i];
		struct jrn_unsettled told = {.intent = &row->intent,
					     .has_result = row->has_result,
					     .result = row->has_result ? &row->result : NULL,
					     .decision = row->decision,
					     .settled = row->settled,
					     .resolved = row->resolved,
					     .how = row->how};

		if (!row->here || !is_in(row, scope, number)) {
			continue;
		}
		told.status = row->has_result ? row->result.result.status : 0;
		told.wall = row->has_result ? row->result.wall : row->intent.wall;
		found++;
		err = fn(arg, &told);
	}
	return err;
}

static bool stands(const struct row *row)
{
	return row->settled && (row->how == JRN_USED || row->how == JRN_UNUSED ||
				row->how == JRN_IN_DOUBT || row->how == JRN_PARKED);
}

static enum bc_err memory_scan_standing(struct jrn_store *store, uint64_t above,
					jrn_standing_fn *fn, void *arg)
{
	enum bc_err err = BC_OK;

	(void)store;
	for (uint64_t i = above + 1; i <= last && err == BC_OK; i++) {
		const struct row *row = &rows[i];

		if (row->here && stands(row) &&
		    (row->intent.intended.effect == JRN_REVERSIBLE ||
		     row->intent.intended.effect == JRN_HOLD)) {
			err = fn(arg, row->intent.intended.tags, i);
		}
	}
	return err;
}

static enum bc_err memory_marks(struct jrn_store *store, struct jrn_store_marks *ret)
{
	(void)store;
	*ret = (struct jrn_store_marks){.intent_last = last};
	for (uint64_t i = 1; i <= last; i++) {
		const struct row *row = &rows[i];
		bool pending = row->settled && !row->resolved &&
			       (row->how == JRN_IN_DOUBT || row->how == JRN_PARKED);

		if (!row->here) {
			continue;
		}
		ret->in_doubt += pending && row->how == JRN_IN_DOUBT;
		ret->parked += pending && row->how == JRN_PARKED;
		if ((pending || !row->settled) && ret->open_first == 0) {
			ret->open_first = i;
		}
	}
	return BC_OK;
}

static enum bc_err memory_prune(struct jrn_store *store, bc_usec before, unsigned limit,
				unsigned *ret_removed)
{
	(void)store;
	(void)before;
	(void)limit;
	*ret_removed = 0;
	return BC_OK;
}

static enum bc_err memory_maintain(struct jrn_store *store)
{
	(void)store;
	return BC_OK;
}

static const char *memory_complaint(const struct jrn_store *store)
{
	(void)store;
	return "a fault of the simulated disk";
}

static struct jrn_store *memory_close(struct jrn_store *store)
{
	if (store != NULL) {
		(void)memory_begin(store);
	}
	return NULL;
}

const struct jrn_store_ops memory_ops = {.name = "memory",
					 .open = memory_open,
					 .begin = memory_begin,
					 .write = memory_write,
					 .commit = memory_commit,
					 .scan = memory_scan,
					 .scan_standing = memory_scan_standing,
					 .marks = memory_marks,
					 .prune = memory_prune,
					 .maintain = memory_maintain,
					 .complaint = memory_complaint,
					 .close = memory_close};
