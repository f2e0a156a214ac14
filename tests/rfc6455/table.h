/* The table of cases (cases.txt): what a peer sends as bytes, what must come of it as a protocol. */
#ifndef BACKCHANNEL_TESTS_RFC6455_TABLE_H
#define BACKCHANNEL_TESTS_RFC6455_TABLE_H

#include "daemon/base/buf.h"
#include "proto/ws.h"

struct table_case {
	char *name;
	char *sent; /* text of the table */
	char *comes;
};

/* One case for one role. */
struct table_input {
	struct bc_buf bytes; /* what the peer sends */
	size_t chop;         /* bytes of a piece; 0: not said */
	size_t message_max;  /* bytes */
	struct bc_buf
		comes; /* what must come of it, as written by table_say() and table_say_end() */
};

/* All cases of the file, *ret_n of them; a file that cannot be read ends the program.  Never freed. */
struct table_case *table_load(const char *path, size_t *ret_n);

/* Carry a case out for a receiver of that role; a case that cannot be read ends the program. */
void table_build(const struct table_case *row, enum ws_role receiver, struct table_input *ret);

void table_input_fini(struct table_input *input);

/* One event of a protocol. */
void table_say(struct bc_buf *protocol, const struct ws_event *event);

/* How it ended: word and number. */
void table_say_end(struct bc_buf *protocol, const char *word, unsigned number);

#endif
