/* Durations in buckets that are 1/128 of their value wide: 1 ns to 18 s, quantiles to 0.8 %. */
#ifndef BACKCHANNEL_TESTS_BENCH_HISTOGRAM_H
#define BACKCHANNEL_TESTS_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 3584 /* 128 up to 127 ns, then 128 for each of 27 powers of two */

struct histogram {
	uint64_t count;
	uint64_t max; /* ns */
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *histogram);

/* Longer ones than 2^34 ns count as the longest. */
void histogram_add(struct histogram *histogram, uint64_t ns);

/* The lower edge, in ns, of the bucket that holds the given share (0 to 1) of all; 0 of none. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
