/*
 * The loop itself: turns, time, work from other threads, work for the end of the turn.
 *
 * A turn is one ev_run(EVRUN_ONCE): wait, read the clock, call what is ready.  The deferred work runs between
 * two turns, where no callback of anybody (libwebsockets and curl included) is on the stack.
 */
#include "daemon/loop/internal.h"
#include "daemon/loop/reserve.h"

#include <stdlib.h>
#include <time.h>

#define DEFERRED_CAP_MIN 16 /* entries of the first allocation */

bc_usec loop_clock(void)
{
	struct timespec now;

	BC_BUG_ON(clock_gettime(CLOCK_MONOTONIC, &now) != 0);
	return now.tv_sec * BC_USEC_PER_SEC + now.tv_nsec / 1000;
}

bc_usec loop_now(const struct loop *loop)
{
	return loop->now;
}

unsigned loop_turn(const struct loop *loop)
{
	return loop->turn;
}

bc_usec loop_wall(const struct loop *loop)
{
	return (bc_usec)(ev_now(loop->ev) * 1e6);
}

struct ev_loop *loop_ev(struct loop *loop)
{
	return loop->ev;
}

void loop_refresh(struct loop *loop)
{
	if (!loop->running) {
		ev_now_update(loop->ev);
		loop->now = loop_clock();
	}
}

static void check_cb(struct ev_loop *ev, ev_check *watcher, int events)
{
	struct loop *loop = watcher->data;

	(void)ev;
	(void)events;
	BC_CHECK(loop, LOOP_MAGIC);
	loop->now = loop_clock();
	loop->turn++;
}

static void run_posted(struct loop *loop)
{
	struct loop_calls calls = STAILQ_HEAD_INITIALIZER(calls);
	struct loop_call *call;

	BC_BUG_ON(pthread_mutex_lock(&loop->lock) != 0);
	STAILQ_CONCAT(&calls, &loop->posted);
	BC_BUG_ON(pthread_mutex_unlock(&loop->lock) != 0);
	while ((call = STAILQ_FIRST(&calls)) != NULL) {
		STAILQ_REMOVE_HEAD(&calls, link);
		call->fn(call->arg);
		free(call);
	}
}

static void wake_cb(struct ev_loop *ev, ev_async *watcher, int events)
{
	struct loop *loop = watcher->data;

	(void)ev;
	(void)events;
	BC_CHECK(loop, LOOP_MAGIC);
	run_posted(loop);
}

/* Deferred work may defer more: it runs in the same sweep. */
static void run_deferred(struct loop *loop)
{
	size_t i;

	for (i = 0; i < loop->deferred_count; i++) {
		struct loop_deferred item = loop->deferred[i];

		item.fn(item.arg);
	}
	loop->deferred_count = 0;
}

enum bc_err loop_new(struct loop **ret)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL) {
		return BC_E_NOMEM;
	}
	reserve_begin();
	loop->magic = LOOP_MAGIC;
	STAILQ_INIT(&loop->posted);
	if (pthread_mutex_init(&loop->lock, NULL) != 0) {
		free(loop);
		return BC_E_SYSTEM;
	}
	loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	if (loop->ev == NULL) {
		(void)pthread_mutex_destroy(&loop->lock);
		free(loop);
		return BC_E_SYSTEM;
	}
	ev_check_init(&loop->check, check_cb);
	ev_set_priority(&loop->check, EV_MAXPRI);
	loop->check.data = loop;
	ev_check_start(loop->ev, &loop->check);
	ev_async_init(&loop->wake, wake_cb);
	loop->wake.data = loop;
	ev_async_start(loop->ev, &loop->wake);
	loop->now = loop_clock();
	*ret = loop;
	return BC_OK;
}

static bool has_posted(struct loop *loop)
{
	bool has;

	BC_BUG_ON(pthread_mutex_lock(&loop->lock) != 0);
	has = !STAILQ_EMPTY(&loop->posted);
	BC_BUG_ON(pthread_mutex_unlock(&loop->lock) != 0);
	return has;
}

/* What was posted or deferred before may post or defer more. */
static void run_leftovers(struct loop *loop)
{
	do {
		run_posted(loop);
		run_deferred(loop);
	} while (has_posted(loop));
}

struct loop *loop_free(struct loop *loop)
{
	if (loop == NULL) {
		return NULL;
	}
	BC_CHECK(loop, LOOP_MAGIC);
	BC_BUG_ON(loop->running);
	run_leftovers(loop);
	BC_BUG_ON(loop->active != 0);
	ev_async_stop(loop->ev, &loop->wake);
	ev_check_stop(loop->ev, &loop->check);
	ev_loop_destroy(loop->ev);
	(void)pthread_mutex_destroy(&loop->lock);
	(void)reserve_resize(loop->deferred, 0);
	loop->magic = 0;
	free(loop);
	return NULL;
}

void loop_run(struct loop *loop)
{
	BC_CHECK(loop, LOOP_MAGIC);
	BC_BUG_ON(loop->running);
	loop_refresh(loop);
	loop->running = true;
	run_deferred(loop);
	while (!loop->stopping) {
		(void)ev_run(loop->ev, EVRUN_ONCE);
		run_deferred(loop);
	}
	loop->stopping = false;
	loop->running = false;
}

void loop_stop(struct loop *loop)
{
	BC_CHECK(loop, LOOP_MAGIC);
	loop->stopping = true;
}

enum bc_err loop_post(struct loop *loop, loop_post_fn *fn, void *arg)
{
	struct loop_call *call = malloc(sizeof(*call));

	if (call == NULL) {
		return BC_E_NOMEM;
	}
	call->fn = fn;
	call->arg = arg;
	BC_BUG_ON(pthread_mutex_lock(&loop->lock) != 0);
	STAILQ_INSERT_TAIL(&loop->posted, call, link);
	/* Before the call can run: it may be the one after which the loop is freed. */
	ev_async_send(loop->ev, &loop->wake);
	BC_BUG_ON(pthread_mutex_unlock(&loop->lock) != 0);
	return BC_OK;
}

void loop_defer(struct loop *loop, loop_post_fn *fn, void *arg)
{
	BC_CHECK(loop, LOOP_MAGIC);
	if (loop->deferred_count == loop->deferred_cap) {
		size_t cap = loop->deferred_cap == 0 ? DEFERRED_CAP_MIN : loop->deferred_cap * 2;
		struct loop_deferred *grown = reserve_resize(loop->deferred, cap * sizeof(*grown));

		BC_BUG_ON(grown == NULL);
		loop->deferred = grown;
		loop->deferred_cap = cap;
	}
	loop->deferred[loop->deferred_count] = (struct loop_deferred){fn, arg};
	loop->deferred_count++;
}
