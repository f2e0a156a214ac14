#include "daemon/pace.h"

#include "daemon/base/bug.h"

#include <stdlib.h>
#include <string.h>

/* Answers are slowed where they come later by this, and by a quarter; no more where they do by less than these. */
#define SLOWER_MS 100
#define EVEN_MS   50

static int by_value(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

static int32_t median(const struct pace_samples *samples)
{
	uint16_t sorted[PACE_SAMPLES];

	BC_BUG_ON(samples->count == 0);
	memcpy(sorted, samples->ms, samples->count * sizeof(sorted[0]));
	qsort(sorted, samples->count, sizeof(sorted[0]), by_value);
	return sorted[samples->count / 2];
}

int32_t pace_note(struct pace *pace, enum trait which, int32_t ms)
{
	struct pace_samples *samples = which == TRAIT_ANSWER_ALONE ? &pace->alone : &pace->beside;

	samples->ms[samples->next] = (uint16_t)(ms < 0 ? 0 : ms > UINT16_MAX ? UINT16_MAX : ms);
	samples->next = (uint8_t)((samples->next + 1) % PACE_SAMPLES);
	samples->count = (uint8_t)(samples->count + (samples->count < PACE_SAMPLES));
	return median(samples);
}

int32_t pace_judge(const struct pace *pace, int32_t was)
{
	int32_t alone;
	int32_t later;

	if (pace->alone.count < PACE_LEAST || pace->beside.count < PACE_LEAST) {
		return TRAIT_UNKNOWN;
	}
	alone = median(&pace->alone);
	later = median(&pace->beside) - alone;
	if (later >= SLOWER_MS && later * 4 >= alone) {
		return 0;
	}
	if (later < EVEN_MS || later * 8 < alone) {
		return 1;
	}
	return was == 0 ? 0 : 1;
}
