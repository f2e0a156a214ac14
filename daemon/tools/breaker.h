/*
 * Circuit breakers: a tool server that fails again and again is left alone for a while.  Its callers are told so at
 * once instead of after a time-out, and it gets room to recover.  One breaker per scheme, host and port; which there are
 * is up to the configuration alone, since no argument can choose a host.  Told the time, waits for nothing.
 */
#ifndef BACKCHANNEL_TOOLS_BREAKER_H
#define BACKCHANNEL_TOOLS_BREAKER_H

#include "daemon/base/clock.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct cfg_tools;

#define BREAKER_COOLDOWN_MAX (60 * BC_USEC_PER_SEC)

enum breaker_state {
#define STATE(id, help) BREAKER_##id,
#define EVENT(id, help)
#define EDGE(from, on, to)
#include "daemon/tools/breaker_fsm.def"
	BREAKER_STATE__COUNT /* must be last */
};

enum breaker_event {
#define STATE(id, help)
#define EVENT(id, help) BREAKER_EVENT_##id,
#define EDGE(from, on, to)
#include "daemon/tools/breaker_fsm.def"
	BREAKER_EVENT__COUNT /* must be last */
};

/* Of one server; exists from its first failure to its next success. */
struct breaker {
	LIST_ENTRY(breaker) link;
	char *origin; /* "https://host:port" as configured, without a default port */
	enum breaker_state state;
	uint64_t failures; /* in a row, while CLOSED */
	unsigned openings; /* in a row: each pause is twice as long as the one before */
	bc_usec until;     /* monotonic, while OPEN */
};

LIST_HEAD(breaker_list, breaker);

/* The state behind an edge; BREAKER_STATE__COUNT: there is no such edge.  Pure. */
enum breaker_state breaker_state_next(enum breaker_state from, enum breaker_event on);

/* Whether a call to that URL would be refused at that time.  Changes nothing. */
bool breaker_refuses(const struct breaker_list *list, const char *url, bc_usec at);

/*
 * A call wants to go out, which breaker_refuses() allows now.  true: it is the probe, whose end must be told by
 * breaker_report() or breaker_abandon(); of other calls breaker_report() is told what is known.
 */
bool breaker_enter(struct breaker_list *list, const char *url, bc_usec now);

/* How a request ended.  Of requests sent before the breaker opened, nothing is learnt.  Out of memory, a failure is not
 * counted. */
struct breaker_outcome {
	const char *url;
	bool probe;
	bool good; /* the server answered, and not with 5xx */
};
void breaker_report(struct breaker_list *list, const struct breaker_outcome *outcome,
		    const struct cfg_tools *limits, bc_usec now);

/* The probe to that URL was never sent, or nobody waited for its answer. */
void breaker_abandon(struct breaker_list *list, const char *url);

/* Forget all. */
void breaker_list_clear(struct breaker_list *list);

#endif
