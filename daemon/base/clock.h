/* Units of time.  Only daemon/loop reads a clock; everybody else is told the time. */
#ifndef BACKCHANNEL_BASE_CLOCK_H
#define BACKCHANNEL_BASE_CLOCK_H

#include <stdint.h>

/* Microseconds; monotonic unless a name says wall.  Signed, so that differences are plain. */
typedef int64_t bc_usec;

#define BC_USEC_PER_MS  ((bc_usec)1000)
#define BC_USEC_PER_SEC ((bc_usec)1000000)

#endif
