/*
 * Memory for what has no way to say that there is none: libev, which ends the process when it gets no larger array for
 * its descriptors, its timers or what is due, and work for the end of a turn.  Nobody outside of this room includes this.
 *
 * While the system has memory, more is put by than all these arrays would take if each were doubled.  When it has none,
 * they grow into that, and new sessions are refused until as much could be put by again (loop_memory_is_short()).  Those
 * that are there start no more than a few watchers each, so it suffices for them; were it used up nevertheless, the
 * process ends as it would have without.  What is put by takes address space only, until it is used: where the kernel
 * promises more than it has (MemoryMax of systemd, vm.overcommit_memory 0), it ends the process without asking anybody.
 */
#ifndef BACKCHANNEL_LOOP_RESERVE_H
#define BACKCHANNEL_LOOP_RESERVE_H

#include <stddef.h>

#define RESERVE_MIN ((size_t)256 * 1024) /* bytes; never less is put by */

/* Let libev take its memory from here.  Before the first loop is made; again changes nothing.  Any thread. */
void reserve_begin(void);

/*
 * As realloc(), but from what was put by if there is no other; size 0 frees and returns NULL.  NULL: that is used up,
 * and ptr is as it was.  ptr: NULL, or from here.  Any thread.
 */
void *reserve_resize(void *ptr, size_t size);

#endif
