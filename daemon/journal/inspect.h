/*
 * Reading a journal from outside: for operators, beside the running daemon or after it has died.  Read-only, no
 * lock is taken, and every answer is of one moment.
 */
#ifndef BACKCHANNEL_JOURNAL_INSPECT_H
#define BACKCHANNEL_JOURNAL_INSPECT_H

#include "daemon/base/span.h"

#include <stdbool.h>
#include <stdio.h>

/* Also the exit status of backchannel-journal(1). */
enum jrn_inspection {
	JRN_INSPECT_CLEAN = 0,
	JRN_INSPECT_FINDINGS =
		1, /* verify: something is wrong; list and show: a record is damaged */
	JRN_INSPECT_UNREADABLE = 2 /* no answer; the reason went to problems */
};

/* Whom to tell.  Text of records is escaped: it cannot move a terminal's cursor. */
struct jrn_inspect_output {
	FILE *answers;
	FILE *problems;
};

/* One line per intent, oldest first; open_only: those without settlement, and those in doubt. */
enum jrn_inspection jrn_inspect_list(const char *path, bool open_only,
				     struct jrn_inspect_output output);

/* Everything recorded for one session, in order. */
enum jrn_inspection jrn_inspect_show(const char *path, struct bc_span session,
				     struct jrn_inspect_output output);

/*
 * The whole file: SQLite's own check, the check value of every record, and that the records fit together: each
 * result and settlement has its intent, none has two, and the list of unsettled intents is right.
 * Prints one line of counts, then "journal clean" or one line per finding.
 */
enum jrn_inspection jrn_inspect_verify(const char *path, struct jrn_inspect_output output);

#endif
