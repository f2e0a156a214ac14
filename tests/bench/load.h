/* Sending messages through the sessions and measuring what becomes of them. */
#ifndef BACKCHANNEL_TESTS_BENCH_LOAD_H
#define BACKCHANNEL_TESTS_BENCH_LOAD_H

#include "tests/bench/bench.h"
#include "tests/bench/histogram.h"

#include <sys/types.h>

#define LOAD_PIDS_MAX 16

struct load_conf {
	size_t len;  /* bytes of a message */
	double rate; /* messages per second, both directions together; 0: one per direction and session is always on its way */
	double warm; /* seconds before measuring begins, at least */
	double seconds;    /* of measuring, at least */
	const pid_t *pids; /* processes of the proxy */
	size_t pid_count;
};

struct load_result {
	/* while measuring */
	uint64_t up; /* messages that came out */
	uint64_t down;
	double seconds;
	double proxy_cpu; /* seconds */
	double bench_cpu;
	struct histogram latency; /* from before the sending call to the arrival at the other end */
	struct histogram late;    /* how long after its time a message was sent; rate > 0 only */
	/* all of the run */
	uint64_t sent;
	uint64_t arrived;
	uint64_t
		skipped; /* not sent at their time, because the session had too many on their way */
};

/* Seconds of CPU that processes have used, all threads, to the nanosecond; fails the bench when one has gone. */
double load_cpu(struct bench *bench, const pid_t *pids, size_t count);

/* Send, measure, stop sending, and wait until every message has arrived. */
void load_run(struct bench *bench, const struct load_conf *conf, struct load_result *result);

#endif
