/* What the files of this room share. */
#ifndef BACKCHANNEL_LOOP_INTERNAL_H
#define BACKCHANNEL_LOOP_INTERNAL_H

#include "daemon/loop/loop.h"

#include <ev.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/queue.h>

#define LOOP_MAGIC 0x4c4f4f50u

/* Work another thread sent. */
struct loop_call {
	STAILQ_ENTRY(loop_call) link;
	loop_post_fn *fn;
	void *arg;
};

STAILQ_HEAD(loop_calls, loop_call);

/* Work for the end of this turn. */
struct loop_deferred {
	loop_post_fn *fn;
	void *arg;
};

struct loop {
	unsigned magic;
	struct ev_loop *ev;
	ev_check check; /* first of every turn: reads the clock */
	ev_async wake;  /* another thread has put something into posted */
	bc_usec now;
	unsigned turn; /* counts them; it wraps */
	size_t active; /* our watchers and timers that are started */
	bool running;
	bool stopping;
	struct loop_deferred *deferred;
	size_t deferred_count;
	size_t deferred_cap;
	pthread_mutex_t lock; /* of posted, and held until wake has been sent */
	struct loop_calls posted;
};

/* Read the clock outside of a turn, so that a delay given there starts at the real now. */
void loop_refresh(struct loop *loop);

#endif
