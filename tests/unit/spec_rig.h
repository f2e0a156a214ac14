/* A turn's guesses without a session around them: passes that name calls, calls that run. */
#ifndef BACKCHANNEL_TESTS_SPEC_RIG_H
#define BACKCHANNEL_TESTS_SPEC_RIG_H

#include "daemon/config/config.h"
#include "daemon/spec/guess.h"
#include "daemon/spec/spec.h"

extern struct spec *spec;                         /* of the running test */
extern struct spec_named named[SPEC_GUESSES_MAX]; /* for what spec_verdict() finds */

/* The first turn begins. */
void spec_begin(const struct spec_conf *conf);
/* As the session does at its end: everything is withdrawn, and spec is NULL. */
void spec_end(void);
/* What was withdrawn has no call any more, and is forgotten. */
void sweep(void);

/* For spec_each_finished(): arg, an unsigned, counts them. */
void count_one(void *arg, const struct guess *guess);

/* A pass over everything up to here, which is given what has finished; one at a pause, which may be given nothing. */
uint64_t begin(bc_usec horizon);
uint64_t begin_at_pause(bc_usec horizon, bool given);

/* The pass names a call. */
void name(uint64_t number, const struct cfg_tool *tool, const char *arguments);

/* The guess that is stable now runs, for a result that stays fresh for 5 s. */
struct guess *run(void);

#endif
