/*
 * The shapes of what is written: one record per fact, never changed afterwards (J6).
 *
 *   intent      what is about to be done, with its idempotency key; of an undo also what it undoes
 *   result      what came back                                  at most one per intent
 *   decision    whether a guess became real or was given up (J3)  at most one per intent
 *   settlement  what it was worth                               at most one per intent
 *   resolution  what became of one that was settled as in doubt or parked (J7)  at most one per intent
 */
#ifndef BACKCHANNEL_JOURNAL_RECORD_H
#define BACKCHANNEL_JOURNAL_RECORD_H

#include "daemon/base/buf.h"
#include "daemon/journal/journal.h"

enum jrn_record_kind {
	JRN_REC_INTENT,
	JRN_REC_RESULT,
	JRN_REC_SETTLEMENT,
	JRN_REC_DECISION,
	JRN_REC_RESOLUTION
};

#define JRN_RECORD_BYTES_MAX (16U * 1024 * 1024) /* text of one record; beyond it BC_E_LIMIT */
#define JRN_DIGEST_SIZE      8                   /* bytes of SHA-256 kept with each record */

/* Spans belong to whoever made the record. */
struct jrn_record {
	enum jrn_record_kind kind;
	uint64_t intent; /* > 0 */
	bc_usec wall;    /* microseconds since the epoch */
	union {
		struct {
			struct bc_span session;
			uint64_t turn;
			struct bc_span tool;
			struct bc_span arguments;
			struct bc_span tags;
			enum jrn_effect effect;
			bool speculative;
			char key[JRN_KEY_SIZE];
			uint64_t undoes;       /* of an undo: the intent it takes back; else 0 */
			struct bc_span sealed; /* encrypted arguments; empty: nothing to hide */
		} intended;
		struct {
			int status; /* HTTP status, 0: none */
			struct bc_span output;
			struct bc_span sealed; /* likewise */
		} result;
		struct {
			enum jrn_settlement how;
			/* who settled it when it was not the session, else empty */
			struct bc_span note;
		} settled; /* also of a resolution */
		struct {
			enum jrn_decision what; /* never JRN_UNDECIDED */
		} decided;
	};
};

struct jrn_digest {
	uint8_t bytes[JRN_DIGEST_SIZE];
};

/* Bytes of text in the record: what it counts against limits. */
size_t jrn_record_bytes(const struct jrn_record *record);

/*
 * Whether every field is in range: the pair assertion, made before a record is written (where a false is a bug)
 * and after it is read (where it is damage).
 */
bool jrn_record_is_sound(const struct jrn_record *record);

/*
 * The check value stored beside the record: it covers kind, number and every field, so that a row that was changed,
 * swapped or moved to another table is found.  scratch is overwritten.  BC_E_LIMIT, BC_E_NOMEM from scratch.
 */
enum bc_err jrn_record_digest(const struct jrn_record *record, struct bc_buf *scratch,
			      struct jrn_digest *ret) BC_MUST;

/* Names as they stand in the store.  Static storage. */
const char *jrn_effect_name(enum jrn_effect effect);

/* The other way round; false when there is no such name. */
bool jrn_effect_of_name(struct bc_span name, enum jrn_effect *ret);
bool jrn_settlement_of_name(struct bc_span name, enum jrn_settlement *ret);
const char *jrn_decision_name(enum jrn_decision decision);
bool jrn_decision_of_name(struct bc_span name, enum jrn_decision *ret);

/* Whether somebody still has to say what became of an intent with this settlement. */
bool jrn_is_pending(enum jrn_settlement settlement);

#endif
