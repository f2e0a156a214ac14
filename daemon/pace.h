/*
 * How long answers take to begin beside a pass and alone, and what follows from it (U4).  Medians of the last samples: a
 * provider that stumbles once says nothing.  Pure; the caller keeps threads apart.
 */
#ifndef BACKCHANNEL_PACE_H
#define BACKCHANNEL_PACE_H

#include "daemon/config/traits.h"

#include <stdint.h>

#define PACE_SAMPLES 64 /* of either kind that count; older ones are forgotten */
#define PACE_LEAST   32 /* of both before anything is said */

struct pace_samples {
	uint16_t ms[PACE_SAMPLES];
	uint8_t count;
	uint8_t next; /* place of the next one */
};

/* Zeroed when nothing was measured. */
struct pace {
	struct pace_samples alone;
	struct pace_samples beside;
};

/* Note a sample of TRAIT_ANSWER_ALONE or TRAIT_ANSWER_BESIDE in milliseconds; returns the median of that kind by now. */
int32_t pace_note(struct pace *pace, enum trait which, int32_t ms);

/*
 * Whether passes may run beside answers (1) or slow them (0), as a value of TRAIT_PARALLEL_PASSES; TRAIT_UNKNOWN: too
 * little was measured.  was: what was thought so far, which a difference near the threshold does not change.
 */
int32_t pace_judge(const struct pace *pace, int32_t was);

#endif
