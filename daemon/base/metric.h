/*
 * Counters and gauges.  Each thread adds to an array of its own, so the data plane shares no cache
 * line; a reader sums the arrays.
 */
#ifndef BACKCHANNEL_BASE_METRIC_H
#define BACKCHANNEL_BASE_METRIC_H

#include "daemon/base/buf.h"

#include <stdint.h>

enum bc_metric {
#define METRIC(id, name, kind, help) BC_M_##id,
#include "daemon/base/metric.def"
	/* must be last */
	BC_METRIC__COUNT
};

/* Add n (negative for a gauge that falls).  Any thread; the first call of a thread allocates its array. */
void bc_metric_add(enum bc_metric metric, int64_t n);

static inline void bc_metric_inc(enum bc_metric metric)
{
	bc_metric_add(metric, 1);
}

/* Sum over all threads, also ended ones.  Any thread. */
int64_t bc_metric_get(enum bc_metric metric);

/*
 * All metrics in the Prometheus text format, appended to out.  Errors as bc_buf_put().  Any thread.
 * Source: Prometheus exposition format 0.0.4.
 */
enum bc_err bc_metric_print(struct bc_buf *out) BC_MUST;

#endif
