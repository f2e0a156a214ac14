/* What the files of the admission share. */
#ifndef BACKCHANNEL_SPEC_ADMISSION_INTERNAL_H
#define BACKCHANNEL_SPEC_ADMISSION_INTERNAL_H

#include "daemon/spec/admission.h"

#define ADMISSION_WINDOW_MAX 64 /* outcomes a kill switch looks back on */

/* What was observed, newest first in weight: a guess would be, or would not be, a hit. */
struct admission_evidence {
	double hits;
	double misses;
	bc_usec at; /* monotonic: when it was weighed last */
};

/* One tool and trigger. */
struct admission_cell {
	struct admission_evidence seen;
	uint64_t hits;
	uint64_t joins;
	uint64_t wasted;
	uint64_t shadow_hits;
	uint64_t shadow_misses;
	bc_usec saved;
	bc_usec lost;
	uint64_t window;   /* the last outcomes, newest lowest; a bit is a waste */
	unsigned outcomes; /* in it */
	bool killed;
	bc_usec killed_at;
	uint64_t kills;
};

struct admission_tool {
	char name[ADMISSION_NAME_MAX];
	enum admission_mode mode;
	struct admission_evidence recalled;
	double latency; /* microseconds; 0: unknown */
	struct admission_cell cell[SPEC_TRIGGER__COUNT];
};

struct admission_key {
	char name[ADMISSION_NAME_MAX];
	struct admission_spend spend;
};

struct admission {
	uint32_t magic;
	enum admission_mode mode;
	struct admission_tool *tools[ADMISSION_TOOLS_MAX];
	unsigned tool_count;
	bc_usec hour; /* monotonic begin of the running hour of keys' budgets */
	struct admission_key keys[ADMISSION_KEYS_MAX];
	unsigned key_count;
	uint64_t passes;
	struct admission_spend spent; /* by passes: tokens and money */
};

#define ADMISSION_MAGIC 0x61646d69u

/* What is learnt about a tool; NULL: nothing. */
struct admission_tool *admission_tool_find(const struct admission *admission, const char *name);

/* Mean of the posterior of a cell. */
double admission_mean(struct admission_tool *tool, enum spec_trigger trigger, bc_usec half_life,
		      bc_usec now);

#endif
