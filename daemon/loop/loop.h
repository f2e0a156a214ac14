/*
 * One event loop per thread: sockets, timers, wake-ups from other threads, and work for the end of the
 * turn.  The only user of libev.
 *
 * Contract of all callbacks: they run on the loop's own thread, from loop_run(), never from inside a call of
 * this interface; they may call anything here, also free the watcher that called them.
 */
#ifndef BACKCHANNEL_LOOP_LOOP_H
#define BACKCHANNEL_LOOP_LOOP_H

#include "daemon/base/bug.h"
#include "daemon/base/clock.h"
#include "daemon/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct ev_loop;

/* A loop with the epoll back-end; BC_E_SYSTEM or BC_E_NOMEM.  Free with loop_free() on the same thread. */
enum bc_err loop_new(struct loop **ret) BC_MUST;

/* No watcher may be active any more.  Accepts NULL, returns NULL. */
struct loop *loop_free(struct loop *loop);

/* Run until loop_stop(). */
void loop_run(struct loop *loop);

/* Make loop_run() return after this turn.  Loop thread only; from elsewhere use loop_post(). */
void loop_stop(struct loop *loop);

/* Monotonic time of this turn: read once per turn, so all callbacks of a turn see the same. */
bc_usec loop_now(const struct loop *loop);

/* Which turn this is, counted from 1; it wraps.  0 before the first. */
unsigned loop_turn(const struct loop *loop);

/* Wall-clock time of this turn, microseconds since the epoch; for records and log lines only. */
bc_usec loop_wall(const struct loop *loop);

/* Monotonic time right now, for measuring our own work within a turn.  Any thread. */
bc_usec loop_clock(void);

/* For the two libraries that bring their own watchers (libwebsockets, curl): the loop underneath. */
struct ev_loop *loop_ev(struct loop *loop);

/* What a socket watcher waits for, and what it reports. */
enum loop_io_events {
	LOOP_READ = 1,
	LOOP_WRITE = 2
};

/*
 * Whether there is no memory for another session: what the loops may need themselves cannot be put by, or the system has
 * nothing beside that.  Those that are there go on; see reserve.h.  Two system calls.  Any thread.
 */
bool loop_memory_is_short(void);

struct loop_io;
typedef void loop_io_fn(void *arg, unsigned events);

/* A watcher, inactive.  NULL when out of memory. */
struct loop_io *loop_io_new(struct loop *loop, int fd, loop_io_fn *fn, void *arg);
struct loop_io *loop_io_free(struct loop_io *io);

/* Wait for these events (0: for none).  Costs a system call only when the set really changes. */
void loop_io_set(struct loop_io *io, unsigned events);

struct loop_timer;
typedef void loop_timer_fn(void *arg);

struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn *fn, void *arg);
struct loop_timer *loop_timer_free(struct loop_timer *timer);

/* Fire once, delay microseconds from now (0: in the next turn).  Restarts a running timer. */
void loop_timer_start(struct loop_timer *timer, bc_usec delay);
void loop_timer_stop(struct loop_timer *timer);
bool loop_timer_is_active(const struct loop_timer *timer);

/*
 * Run fn(arg) on the loop's thread, soon, in the order of the calls.  Any thread.  BC_E_NOMEM: nothing will run.
 * A loop that is freed runs what is still queued first; fn may be what lets the loop be freed, for the loop is not
 * touched by this call any more once fn runs.
 */
typedef void loop_post_fn(void *arg);
enum bc_err loop_post(struct loop *loop, loop_post_fn *fn, void *arg) BC_MUST;

/*
 * Run fn(arg) at the end of this turn, when no callback is on the stack: the way to free an object from inside
 * a callback of its own.  Loop thread only.  Aborts when out of memory, because the caller has no other way out.
 */
void loop_defer(struct loop *loop, loop_post_fn *fn, void *arg);

#endif
