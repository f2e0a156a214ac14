#include "tests/bench/histogram.h"

#include <string.h>

#define FINE 7 /* bits of a value that tell its bucket, below the leading one */

static unsigned bucket_of(uint64_t ns)
{
	unsigned shift;
	unsigned bucket;

	if (ns < (1u << FINE)) {
		return (unsigned)ns;
	}
	shift = 63u - (unsigned)__builtin_clzll(ns) - FINE;
	bucket = ((shift + 1) << FINE) + (unsigned)((ns >> shift) - (1u << FINE));
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t edge_of(unsigned bucket)
{
	unsigned shift = bucket >> FINE;

	if (shift == 0) {
		return bucket;
	}
	return (uint64_t)((bucket & ((1u << FINE) - 1)) + (1u << FINE)) << (shift - 1);
}

void histogram_clear(struct histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
	histogram->count++;
	histogram->buckets[bucket_of(ns)]++;
	if (ns > histogram->max) {
		histogram->max = ns;
	}
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
	double wanted = share * (double)histogram->count;
	uint64_t seen = 0;

	if (histogram->count == 0) {
		return 0;
	}
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (histogram->buckets[i] > 0 && (double)seen >= wanted) {
			return edge_of(i);
		}
	}
	return histogram->max;
}
