/* Socket watchers and timers on top of libev's. */
#include "daemon/loop/internal.h"

#include <stdlib.h>

#define IO_MAGIC    0x4c4f494fu
#define TIMER_MAGIC 0x4c4f544du

struct loop_io {
	unsigned magic;
	unsigned events; /* enum loop_io_events being waited for */
	loop_io_fn *fn;
	void *arg;
	ev_io watcher;
	struct loop *loop;
};

struct loop_timer {
	unsigned magic;
	struct loop *loop;
	ev_timer watcher;
	bc_usec due; /* monotonic */
	bool active; /* started, and its callback has not been called yet */
	loop_timer_fn *fn;
	void *arg;
};

static void io_cb(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct loop_io *io = watcher->data;
	unsigned events = 0;

	(void)ev;
	BC_CHECK(io, IO_MAGIC);
	if (revents & EV_READ) {
		events |= LOOP_READ;
	}
	if (revents & EV_WRITE) {
		events |= LOOP_WRITE;
	}
	if (revents & EV_ERROR) {
		/* libev has stopped the watcher: the descriptor is not one epoll can watch. */
		loop_io_set(io, 0);
		events = LOOP_READ | LOOP_WRITE;
	}
	io->fn(io->arg, events);
}

struct loop_io *loop_io_new(struct loop *loop, int fd, loop_io_fn *fn, void *arg)
{
	struct loop_io *io;

	BC_CHECK(loop, LOOP_MAGIC);
	BC_BUG_ON(fd < 0);
	io = calloc(1, sizeof(*io));
	if (io == NULL) {
		return NULL;
	}
	io->magic = IO_MAGIC;
	io->loop = loop;
	io->fn = fn;
	io->arg = arg;
	ev_io_init(&io->watcher, io_cb, fd, EV_READ);
	io->watcher.data = io;
	return io;
}

struct loop_io *loop_io_free(struct loop_io *io)
{
	if (io == NULL) {
		return NULL;
	}
	loop_io_set(io, 0);
	io->magic = 0;
	free(io);
	return NULL;
}

void loop_io_set(struct loop_io *io, unsigned events)
{
	int wanted = 0;

	BC_CHECK(io, IO_MAGIC);
	if (events == io->events) {
		return;
	}
	if (io->events != 0) {
		ev_io_stop(io->loop->ev, &io->watcher);
		io->loop->active--;
	}
	io->events = events;
	if (events == 0) {
		return;
	}
	if (events & LOOP_READ) {
		wanted |= EV_READ;
	}
	if (events & LOOP_WRITE) {
		wanted |= EV_WRITE;
	}
	ev_io_set(&io->watcher, io->watcher.fd, wanted);
	ev_io_start(io->loop->ev, &io->watcher);
	io->loop->active++;
}

static void arm(struct loop_timer *timer, bc_usec delay)
{
	ev_timer_set(&timer->watcher, (double)delay / 1e6, 0.);
	ev_timer_start(timer->loop->ev, &timer->watcher);
	timer->active = true;
	timer->loop->active++;
}

static void timer_cb(struct ev_loop *ev, ev_timer *watcher, int events)
{
	struct loop_timer *timer = watcher->data;

	(void)ev;
	(void)events;
	BC_CHECK(timer, TIMER_MAGIC);
	timer->active = false;
	timer->loop->active--;
	if (timer->loop->now < timer->due) {
		/* libev's clock was read a little before ours; whoever compares with loop_now() must not
		   find that its time has not come. */
		arm(timer, timer->due - timer->loop->now);
		return;
	}
	timer->fn(timer->arg);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn *fn, void *arg)
{
	struct loop_timer *timer;

	BC_CHECK(loop, LOOP_MAGIC);
	timer = calloc(1, sizeof(*timer));
	if (timer == NULL) {
		return NULL;
	}
	timer->magic = TIMER_MAGIC;
	timer->loop = loop;
	timer->fn = fn;
	timer->arg = arg;
	ev_timer_init(&timer->watcher, timer_cb, 0., 0.);
	timer->watcher.data = timer;
	return timer;
}

struct loop_timer *loop_timer_free(struct loop_timer *timer)
{
	if (timer == NULL) {
		return NULL;
	}
	loop_timer_stop(timer);
	timer->magic = 0;
	free(timer);
	return NULL;
}

void loop_timer_start(struct loop_timer *timer, bc_usec delay)
{
	BC_CHECK(timer, TIMER_MAGIC);
	BC_BUG_ON(delay < 0);
	loop_timer_stop(timer);
	loop_refresh(timer->loop);
	timer->due = timer->loop->now + delay;
	arm(timer, delay);
}

void loop_timer_stop(struct loop_timer *timer)
{
	BC_CHECK(timer, TIMER_MAGIC);
	if (timer->active) {
		ev_timer_stop(timer->loop->ev, &timer->watcher);
		timer->active = false;
		timer->loop->active--;
	}
}

bool loop_timer_is_active(const struct loop_timer *timer)
{
	return timer->active;
}
