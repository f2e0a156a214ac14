/*
 * What guessing has taught all sessions of the daemon (spec/admission.h), under a lock: it is asked when a guess or a pass
 * is about to start and told when one has ended, a few times a turn, never on the way of a frame.
 */
#ifndef BACKCHANNEL_THRIFT_H
#define BACKCHANNEL_THRIFT_H

#include "daemon/base/buf.h"
#include "daemon/config/config.h"
#include "daemon/spec/admission.h"

struct thrift;

struct thrift *thrift_new(void);                   /* NULL when out of memory */
struct thrift *thrift_free(struct thrift *thrift); /* accepts NULL, returns NULL */

struct jrn_history_row;

/* Learn from a guess in the journal; wall: now, in microseconds since the epoch.  Before any worker runs. */
void thrift_recall(struct thrift *thrift, const struct cfg *cfg, const struct jrn_history_row *row,
		   bc_usec wall);

/* As admission_ask() and admission_learn().  Any thread. */
enum admission_refusal thrift_admit(struct thrift *thrift, const struct admission_ask *ask);
void thrift_learn(struct thrift *thrift, const struct admission_ask *from,
		  const struct admission_event *event);

/*
 * What an operator wants: "show", "off", "on" or "shadow", maybe with a tool of the configuration behind it.  The answer is
 * put into out.
 */
void thrift_command(struct thrift *thrift, const struct cfg *cfg, struct bc_span words, bc_usec now,
		    struct bc_buf *out);

/* As admission_metrics(). */
enum bc_err thrift_metrics(struct thrift *thrift, const struct cfg *cfg, bc_usec now,
			   struct bc_buf *out) BC_MUST;

#endif
