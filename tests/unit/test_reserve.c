/*
 * Loops when there is no memory: each request for it fails in turn, and all of them from there on, while watchers are
 * started and called.
 */
#include "daemon/loop/loop.h"
#include "daemon/loop/reserve.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS    400 /* of sockets: more than two doublings of what a loop begins with */
#define TIMERS   3000
#define DEFERRED 200

struct watch {
	struct loop_io *io;
	int fds[2];
};

static struct loop *loop;
static struct watch watches[PAIRS];
static struct loop_timer *timers[TIMERS];
static unsigned called;

/* ---- memory that runs out ---- */

static unsigned asked;     /* requests since the last look */
static unsigned fail_from; /* so many are granted; 0: all are */
static unsigned failed;

/* The linker puts these in the place of the true ones. */
void *__wrap_malloc(size_t size);
void *__real_malloc(size_t size);
void *__wrap_realloc(void *ptr, size_t size);
void *__real_realloc(void *ptr, size_t size);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);

static bool fails(void)
{
	bool yes = ++asked >= fail_from && fail_from > 0;

	failed += yes;
	return yes;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *ptr, size_t size)
{
	return fails() ? NULL : __real_realloc(ptr, size);
}

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED : __real_mmap64(addr, len, prot, flags, fd, offset);
}

/* ---- work for a loop ---- */

/* The order in which a loop hands out what is ready is its own. */
static void count(void)
{
	called++;
	if (called == PAIRS + TIMERS + DEFERRED) {
		loop_stop(loop);
	}
}

static void on_io(void *arg, unsigned events)
{
	struct watch *watch = arg;

	(void)events;
	loop_io_set(watch->io, 0);
	count();
}

static void on_timer(void *arg)
{
	(void)arg;
	count();
}

static void on_last(void *arg)
{
	count();
	for (unsigned i = 0; i < DEFERRED; i++) {
		loop_defer(loop, on_timer, arg);
	}
}

static void setup(void)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned i = 0; i < PAIRS; i++) {
		ck_assert_int_eq(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, watches[i].fds), 0);
		ck_assert_int_eq(write(watches[i].fds[1], "x", 1), 1);
	}
}

static void teardown(void)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		(void)close(watches[i].fds[0]);
		(void)close(watches[i].fds[1]);
	}
}

static void begin(void)
{
	bool made = true;

	called = 0;
	ck_assert_int_eq(loop_new(&loop), BC_OK);
	for (unsigned i = 0; i < PAIRS; i++) {
		watches[i].io = loop_io_new(loop, watches[i].fds[0], on_io, &watches[i]);
		made = made && watches[i].io != NULL;
	}
	for (unsigned i = 0; i < TIMERS; i++) {
		timers[i] = loop_timer_new(loop, i == TIMERS - 1 ? on_last : on_timer, NULL);
		made = made && timers[i] != NULL;
	}
	ck_assert(made);
}

/* Everything is started, and each of it called once, while memory fails.  Whether it was short then. */
static bool work(unsigned from)
{
	bool was_short;

	asked = 0;
	failed = 0;
	fail_from = from;
	for (unsigned i = 0; i < PAIRS; i++) {
		loop_io_set(watches[i].io, LOOP_READ);
	}
	for (unsigned i = 0; i < TIMERS; i++) {
		loop_timer_start(timers[i], i == TIMERS - 1 ? 1000 : 0);
	}
	loop_run(loop);
	was_short = loop_memory_is_short();
	fail_from = 0;
	ck_assert_uint_eq(called, PAIRS + TIMERS + DEFERRED);
	return was_short;
}

static void end(void)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		watches[i].io = loop_io_free(watches[i].io);
	}
	for (unsigned i = 0; i < TIMERS; i++) {
		timers[i] = loop_timer_free(timers[i]);
	}
	loop = loop_free(loop);
}

/* ---- tests ---- */

START_TEST(each_request_may_be_the_one_that_fails)
{
	unsigned most = 1;

	for (unsigned n = 1; n <= most; n++) {
		bool was_short;

		begin();
		ck_assert(!loop_memory_is_short());
		was_short = work(n);
		ck_assert_int_eq(was_short, failed > 0);
		most = asked > most ? asked : most;
		/* There is some again: as much is put by, while some of what was is in use. */
		ck_assert(!loop_memory_is_short());
		end();
	}
	ck_assert_uint_gt(most, 10);
}
END_TEST

START_TEST(what_was_used_is_put_by_again)
{
	/* More often than any reserve would do without. */
	for (unsigned i = 0; i < 50; i++) {
		begin();
		ck_assert(work(1));
		ck_assert(!loop_memory_is_short());
		end();
	}
}
END_TEST

static bool holds(const unsigned char *block, size_t size, unsigned byte)
{
	size_t k = 0;

	while (k < size && block[k] == byte) {
		k++;
	}
	return k == size;
}

START_TEST(blocks_keep_what_they_hold)
{
	unsigned char *blocks[8] = {NULL};
	size_t sizes[8] = {0};
	uint32_t random = 1;

	for (unsigned i = 0; i < 4000; i++) {
		unsigned at = i % 8;
		size_t size;

		random = random * 1664525u + 1013904223u;
		size = (random >> 8) % 3000;
		ck_assert(holds(blocks[at], sizes[at], at));
		asked = 0;
		fail_from = random >> 31; /* half of them */
		blocks[at] = reserve_resize(blocks[at], size);
		fail_from = 0;
		ck_assert_int_eq(blocks[at] == NULL, size == 0);
		ck_assert_uint_eq((uintptr_t)blocks[at] % 16, 0);
		ck_assert(holds(blocks[at], size < sizes[at] ? size : sizes[at], at));
		if (size > 0) {
			memset(blocks[at], (int)at, size);
		}
		sizes[at] = size;
		(void)loop_memory_is_short();
	}
	for (unsigned at = 0; at < 8; at++) {
		ck_assert_ptr_null(reserve_resize(blocks[at], 0));
	}
}
END_TEST

/* How many blocks there are when the system has none; all are given back. */
static unsigned use_up(void)
{
	void *blocks[100];
	unsigned count = 0;

	while (count < BC_ARRAY_LEN(blocks) &&
	       (blocks[count] = reserve_resize(NULL, RESERVE_MIN / 10)) != NULL) {
		count++;
	}
	for (unsigned i = 0; i < count; i++) {
		(void)reserve_resize(blocks[i], 0);
	}
	return count;
}

START_TEST(nothing_is_lost_when_all_is_used_up)
{
	static const size_t most = (size_t)64 * 1024 * 1024;
	unsigned char *block = reserve_resize(NULL, 1000);
	const void *grown;
	unsigned counts[2];

	memset(block, 7, 1000);
	asked = 0;
	fail_from = 1;
	grown = reserve_resize(block, most);
	counts[0] = use_up();
	counts[1] = use_up();
	fail_from = 0;
	ck_assert_ptr_null(grown);
	ck_assert(holds(block, 1000, 7));
	ck_assert_uint_ge(counts[0], 9);
	ck_assert_uint_lt(counts[0], 100);
	ck_assert_uint_eq(counts[1], counts[0]);
	(void)reserve_resize(block, 0);
}
END_TEST

/* The loops have what they need, and a session would find nothing. */
START_TEST(a_session_needs_memory_of_its_own)
{
	bool was_short;

	begin();
	ck_assert(!loop_memory_is_short());
	asked = 0;
	fail_from = 1;
	was_short = loop_memory_is_short();
	fail_from = 0;
	ck_assert(was_short);
	ck_assert(!loop_memory_is_short());
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("reserve");
	TCase *tc = tcase_create("reserve");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, each_request_may_be_the_one_that_fails);
	tcase_add_test(tc, what_was_used_is_put_by_again);
	tcase_add_test(tc, blocks_keep_what_they_hold);
	tcase_add_test(tc, nothing_is_lost_when_all_is_used_up);
	tcase_add_test(tc, a_session_needs_memory_of_its_own);
	suite_add_tcase(suite, tc);
	return tap_run(suite);
}
