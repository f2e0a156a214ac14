/*
 * Whether a guess is worth running: hit rates, tool times and budgets, learnt over all sessions of the daemon.
 *
 * A guess that is a hit saves the time its tool takes; one that is wasted costs what the operator says it costs, put as
 * time, so that no exchange rate is needed.  With hit probability p, usual time t and price c it is run if
 * p * t >= (1 - p) * c.
 *
 *   p  mean of a Beta posterior per tool and trigger.  The prior is optimistic, what was observed is forgotten by half in
 *      every half-life and never counts for more than EVIDENCE_MAX outcomes, so a changed world is learnt within one window.
 *      What the journal knows of a tool from before the start is part of the prior of all its triggers.
 *   t  running mean over all calls of the tool, guessed or not; unknown: nothing is refused for its sake.
 *
 * Likewise it is learnt of each tool whether more calls follow its result or an answer, because a pass that looks for them
 * is worth its price where they do in half of the cases.
 *
 * What is refused is still watched: had it been run, would it have been a hit?  So whatever was refused can recover.
 *
 * Decides only.  One thread at a time.
 */
#ifndef BACKCHANNEL_SPEC_ADMISSION_H
#define BACKCHANNEL_SPEC_ADMISSION_H

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/spec/spec.h"

struct cfg_speculation;

#define ADMISSION_TOOLS_MAX 256 /* learnt about; calls of further ones are admitted on the prior */
#define ADMISSION_KEYS_MAX \
	1024 /* with spending in this hour; further ones have no budget of their own */
#define ADMISSION_NAME_MAX 65 /* bytes of a tool's or key's name, with NUL */

enum admission_refusal {
	ADMISSION_GRANTED = 0,
#define REFUSAL(id, name, text) ADMISSION_REFUSED_##id,
#include "daemon/spec/refusal.def"
	ADMISSION_REFUSAL__COUNT /* must be last */
};

const char *admission_refusal_name(enum admission_refusal refusal);

/* What was spent for nothing; money in millionths of a US cent. */
struct admission_spend {
	uint64_t calls;
	bc_usec time;
	uint64_t tokens;
	uint64_t money;
};

/* What may be spent; 0: any amount.  cents: US cents. */
struct admission_limits {
	uint64_t calls;
	bc_usec time;
	uint64_t tokens;
	uint64_t cents;
};

/* Which limit of a session (key: of a key) is reached; passes: by tokens or money, else by calls or time.  Pure. */
enum admission_refusal admission_over(const struct admission_spend *spend,
				      const struct admission_limits *limits, bool key, bool passes);

/* What the operator says at run time; it holds until the next word or restart. */
enum admission_mode {
	ADMISSION_CONFIGURED, /* as the configuration says */
	ADMISSION_ON,         /* guesses run, whatever configuration and kill switch say */
	ADMISSION_OFF,
	ADMISSION_SHADOW
};

struct admission;

struct admission *admission_new(void); /* NULL when out of memory */
struct admission *admission_free(struct admission *admission);

/* name NULL: for all tools that have no word of their own.  BC_E_LIMIT: ADMISSION_TOOLS_MAX. */
enum bc_err admission_set(struct admission *admission, const char *name,
			  enum admission_mode mode) BC_MUST;

struct admission_ask {
	const struct cfg_speculation *conf;
	const struct cfg_tool *tool; /* NULL: a pass wants to start */
	enum spec_trigger
		trigger; /* FOLLOWUP: whether a call is likely to follow the tool's result */
	const char *key; /* name of the client's key; NULL: open access */
	bc_usec now;     /* monotonic */
};

/* A pass is refused with SHADOW when nothing may come of it but what is watched. */
enum admission_refusal admission_ask(struct admission *admission, const struct admission_ask *ask);

enum admission_what {
	ADMISSION_HIT,         /* a guess was used when it had finished; time: saved */
	ADMISSION_JOIN,        /* … while it ran */
	ADMISSION_WASTE,       /* … by nobody; time: it had run */
	ADMISSION_SHADOW_HIT,  /* a refused one would have been used */
	ADMISSION_SHADOW_MISS, /* … would not */
	ADMISSION_RAN,         /* a call has ended; time: it took */
	ADMISSION_PASS,        /* a pass has ended */
};

struct admission_event {
	enum admission_what what;
	const struct cfg_tool *tool; /* NULL: a pass */
	enum spec_trigger trigger;
	bc_usec time;
	uint64_t tokens; /* of a pass */
	uint64_t money;
};

/* from: conf, key and now of whoever tells. */
void admission_learn(struct admission *admission, const struct admission_ask *from,
		     const struct admission_event *event);

/* What the journal tells of a guess of an earlier life: whether it was used, how long ago it was made, the time it took (0: unknown). */
void admission_recall(struct admission *admission, const char *name, bool used, bc_usec age,
		      bc_usec half_life, bc_usec took);

/*
 * Mean of the posterior, in [0, 1]; usual time of the tool, 0: unknown; whether its kill switch has tripped for what that
 * trigger leads to.  For tests and reports.
 */
double admission_probability(struct admission *admission, const struct admission_ask *ask);
bc_usec admission_latency(const struct admission *admission, const char *name);
bool admission_is_killed(const struct admission *admission, const char *name,
			 enum spec_trigger trigger);

/* A line per tool and trigger for the operator, after one for the whole.  name NULL: all.  Errors of bc_buf_printf(). */
enum bc_err admission_show(struct admission *admission, const struct cfg_speculation *conf,
			   const char *name, bc_usec now, struct bc_buf *out) BC_MUST;

/* The same as numbers with labels.  Source: Prometheus exposition format 0.0.4. */
enum bc_err admission_metrics(struct admission *admission, const struct cfg_speculation *conf,
			      bc_usec now, struct bc_buf *out) BC_MUST;

#endif
