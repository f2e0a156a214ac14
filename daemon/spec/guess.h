/* The part of a guess only daemon/spec itself touches. */
#ifndef BACKCHANNEL_SPEC_GUESS_H
#define BACKCHANNEL_SPEC_GUESS_H

#include "daemon/spec/spec.h"

#define GUESS_MAGIC 0x67756573u

/* The only writer of guess->state: follows the edge, aborts when there is none. */
void guess_move(struct guess *guess, enum guess_event event);

/* The invariants of the state the guess is in. */
void guess_check(const struct guess *guess);

struct guess *guess_free(struct guess *guess);

#endif
