/* The event loop: watchers, timers, work from other threads, work for the end of the turn. */
#include "daemon/loop/loop.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define POSTS_PER_THREAD 1000
#define THREADS          4

struct world {
	struct loop *loop;
	struct loop_io *io;
	struct loop_timer *timer;
	int fds[2];
	int calls;
	unsigned events;
	bc_usec started;
	bc_usec fired;
	char order[16];
	size_t order_len;
};

static struct world w;

static void setup(void)
{
	w = (struct world){.fds = {-1, -1}};
	ck_assert_int_eq(loop_new(&w.loop), BC_OK);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, w.fds), 0);
}

static void teardown(void)
{
	w.io = loop_io_free(w.io);
	w.timer = loop_timer_free(w.timer);
	w.loop = loop_free(w.loop);
	(void)close(w.fds[0]);
	(void)close(w.fds[1]);
}

static void note(char what)
{
	w.order[w.order_len] = what;
	w.order_len++;
}

static void on_io_stop(void *arg, unsigned events)
{
	ck_assert_ptr_eq(arg, &w);
	w.calls++;
	w.events = events;
	loop_stop(w.loop);
}

START_TEST(readable_socket_is_reported)
{
	w.io = loop_io_new(w.loop, w.fds[0], on_io_stop, &w);
	loop_io_set(w.io, LOOP_READ);
	ck_assert_int_eq(write(w.fds[1], "x", 1), 1);
	loop_run(w.loop);
	ck_assert_int_eq(w.calls, 1);
	ck_assert_uint_eq(w.events, LOOP_READ);
}
END_TEST

START_TEST(changed_set_is_honoured)
{
	w.io = loop_io_new(w.loop, w.fds[0], on_io_stop, &w);
	loop_io_set(w.io, LOOP_READ);
	loop_io_set(w.io, LOOP_READ | LOOP_WRITE);
	loop_run(w.loop);
	ck_assert_uint_eq(w.events, LOOP_WRITE);
	ck_assert_int_eq(write(w.fds[1], "x", 1), 1);
	loop_run(w.loop);
	ck_assert_uint_eq(w.events, LOOP_READ | LOOP_WRITE);
}
END_TEST

static void on_timer_stop(void *arg)
{
	ck_assert_ptr_eq(arg, &w);
	w.calls++;
	w.fired = loop_now(w.loop);
	loop_stop(w.loop);
}

START_TEST(stopped_watcher_is_silent)
{
	w.io = loop_io_new(w.loop, w.fds[0], on_io_stop, &w);
	w.timer = loop_timer_new(w.loop, on_timer_stop, &w);
	loop_io_set(w.io, LOOP_READ);
	ck_assert_int_eq(write(w.fds[1], "x", 1), 1);
	loop_io_set(w.io, 0);
	loop_timer_start(w.timer, 20 * BC_USEC_PER_MS);
	loop_run(w.loop);
	ck_assert_int_eq(w.calls, 1);
	ck_assert_uint_eq(w.events, 0);
}
END_TEST

START_TEST(timer_is_never_early)
{
	int i;

	w.timer = loop_timer_new(w.loop, on_timer_stop, &w);
	for (i = 0; i < 20; i++) {
		bc_usec delay = i * 777;

		/* A delay given outside of a turn counts from then on, not from the last turn. */
		(void)usleep(2000);
		w.started = loop_clock();
		loop_timer_start(w.timer, delay);
		ck_assert(loop_timer_is_active(w.timer));
		loop_run(w.loop);
		ck_assert(!loop_timer_is_active(w.timer));
		ck_assert_int_ge(w.fired - w.started, delay);
	}
	ck_assert_int_eq(w.calls, 20);
}
END_TEST

static void on_timer_again(void *arg)
{
	(void)arg;
	w.calls++;
	if (w.calls == 3) {
		loop_stop(w.loop);
		return;
	}
	loop_timer_start(w.timer, 0);
}

START_TEST(timer_restarts_inside_its_callback)
{
	w.timer = loop_timer_new(w.loop, on_timer_again, &w);
	loop_timer_start(w.timer, 60 * BC_USEC_PER_SEC);
	loop_timer_start(w.timer, 0);
	loop_run(w.loop);
	ck_assert_int_eq(w.calls, 3);
}
END_TEST

static void on_io_free(void *arg, unsigned events)
{
	(void)arg;
	(void)events;
	w.calls++;
	w.io = loop_io_free(w.io);
	w.timer = loop_timer_free(w.timer);
	loop_stop(w.loop);
}

static void on_timer_never(void *arg)
{
	(void)arg;
	ck_abort_msg("a stopped timer fired");
}

START_TEST(watchers_may_be_freed_by_a_callback)
{
	w.io = loop_io_new(w.loop, w.fds[0], on_io_free, &w);
	w.timer = loop_timer_new(w.loop, on_timer_never, &w);
	loop_io_set(w.io, LOOP_WRITE);
	loop_timer_start(w.timer, 60 * BC_USEC_PER_SEC);
	loop_run(w.loop);
	ck_assert_int_eq(w.calls, 1);
}
END_TEST

static void deferred_second(void *arg)
{
	(void)arg;
	note('c');
	loop_stop(w.loop);
}

static void deferred_first(void *arg)
{
	(void)arg;
	note('b');
	loop_defer(w.loop, deferred_second, NULL);
}

static void on_io_defer(void *arg, unsigned events)
{
	(void)arg;
	(void)events;
	loop_defer(w.loop, deferred_first, NULL);
	note('a');
	loop_io_set(w.io, 0);
}

START_TEST(deferred_work_runs_after_the_callback)
{
	w.io = loop_io_new(w.loop, w.fds[0], on_io_defer, &w);
	loop_io_set(w.io, LOOP_WRITE);
	loop_run(w.loop);
	ck_assert_mem_eq(w.order, "abc", 3);
}
END_TEST

static void deferred_count(void *arg)
{
	(void)arg;
	w.calls++;
}

static void deferred_many(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < 500; i++) {
		loop_defer(w.loop, deferred_count, NULL);
	}
	loop_stop(w.loop);
}

START_TEST(deferred_work_survives_a_stop)
{
	loop_defer(w.loop, deferred_many, NULL);
	loop_run(w.loop);
	ck_assert_int_eq(w.calls, 500);
}
END_TEST

static long posted[THREADS];
static int posted_total;

static void on_post(void *arg)
{
	long number = (long)(intptr_t)arg;
	long thread = number / POSTS_PER_THREAD;

	/* In the order of each thread's calls. */
	ck_assert_int_eq(number % POSTS_PER_THREAD, posted[thread]);
	posted[thread]++;
	posted_total++;
	if (posted_total == THREADS * POSTS_PER_THREAD) {
		loop_stop(w.loop);
	}
}

static void *post_many(void *arg)
{
	long first = (long)(intptr_t)arg * POSTS_PER_THREAD;
	long i;

	for (i = 0; i < POSTS_PER_THREAD; i++) {
		ck_assert_int_eq(loop_post(w.loop, on_post, (void *)(intptr_t)(first + i)), BC_OK);
	}
	return NULL;
}

START_TEST(posts_of_many_threads_arrive_in_order)
{
	pthread_t threads[THREADS];
	intptr_t i;

	for (i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
	}
	loop_run(w.loop);
	for (i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		ck_assert_int_eq(posted[i], POSTS_PER_THREAD);
	}
}
END_TEST

static void note_free(void *arg)
{
	note('f');
	free(arg);
}

static void post_more(void *arg)
{
	note('p');
	ck_assert_int_eq(loop_post(w.loop, note_free, arg), BC_OK);
}

START_TEST(freeing_runs_what_is_queued)
{
	ck_assert_int_eq(loop_post(w.loop, post_more, malloc(1)), BC_OK);
	loop_defer(w.loop, note_free, malloc(1));
	w.loop = loop_free(w.loop);
	ck_assert_mem_eq(w.order, "pff", 3);
}
END_TEST

static void stop_it(void *arg)
{
	loop_stop(arg);
}

static void *post_stop(void *arg)
{
	ck_assert_int_eq(loop_post(arg, stop_it, arg), BC_OK);
	return NULL;
}

START_TEST(post_may_be_what_ends_the_loop)
{
	int i;

	for (i = 0; i < POSTS_PER_THREAD; i++) {
		struct loop *loop;
		pthread_t thread;

		ck_assert_int_eq(loop_new(&loop), BC_OK);
		ck_assert_int_eq(pthread_create(&thread, NULL, post_stop, loop), 0);
		loop_run(loop);
		(void)loop_free(loop); /* the thread may still be inside of loop_post() */
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
	}
}
END_TEST

START_TEST(wall_clock_is_the_systems)
{
	w.timer = loop_timer_new(w.loop, on_timer_stop, &w);
	loop_timer_start(w.timer, 0);
	loop_run(w.loop);
	ck_assert_int_le(llabs(loop_wall(w.loop) / BC_USEC_PER_SEC - time(NULL)), 5);
}
END_TEST

START_TEST(freeing_with_an_active_timer_is_a_bug)
{
	w.timer = loop_timer_new(w.loop, on_timer_never, &w);
	loop_timer_start(w.timer, BC_USEC_PER_SEC);
	(void)loop_free(w.loop);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loop");
	TCase *tcase = tcase_create("loop");

	tcase_set_timeout(tcase, 30);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, readable_socket_is_reported);
	tcase_add_test(tcase, changed_set_is_honoured);
	tcase_add_test(tcase, stopped_watcher_is_silent);
	tcase_add_test(tcase, timer_is_never_early);
	tcase_add_test(tcase, timer_restarts_inside_its_callback);
	tcase_add_test(tcase, watchers_may_be_freed_by_a_callback);
	tcase_add_test(tcase, deferred_work_runs_after_the_callback);
	tcase_add_test(tcase, deferred_work_survives_a_stop);
	tcase_add_test(tcase, posts_of_many_threads_arrive_in_order);
	tcase_add_test(tcase, freeing_runs_what_is_queued);
	tcase_add_test(tcase, post_may_be_what_ends_the_loop);
	tcase_add_test(tcase, wall_clock_is_the_systems);
	tcase_add_test_raise_signal(tcase, freeing_with_an_active_timer_is_a_bug, SIGABRT);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
