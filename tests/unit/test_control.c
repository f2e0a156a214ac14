/* The control socket where the daemon lacks something: descriptors, or a predecessor that answers. */
#include "daemon/admin/control.h"
#include "daemon/base/metric.h"
#include "daemon/loop/loop.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SPELL (500 * BC_USEC_PER_MS) /* in which a loop that spins would try thousands of times */

static char dir[] = "/tmp/test_control_XXXXXX";
static struct sockaddr_un address;
static struct loop *loop;
static struct loop_timer *timer;
static struct adm_control *control;
static int asked;

static void on_request(void *owner, struct adm_request *request, struct bc_span line)
{
	(void)owner;
	ck_assert(bc_span_is(line, "sessions"));
	asked++;
	adm_answer(request, BC_SPAN_LIT("none\n"));
	loop_stop(loop);
}

static void on_timer(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

static enum bc_err begin(void)
{
	struct bc_buf message;
	enum bc_err err;

	bc_buf_init(&message, 1024);
	err = adm_control_new(loop, address.sun_path, on_request, NULL, &message, &control);
	bc_buf_release(&message);
	return err;
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		ck_assert_int_eq(errno, EAGAIN);
		(void)close(fd);
		return -1;
	}
	return fd;
}

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	address.sun_family = AF_UNIX;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", dir);
	ck_assert_int_eq(loop_new(&loop), BC_OK);
	timer = loop_timer_new(loop, on_timer, NULL);
	ck_assert_ptr_nonnull(timer);
}

static void teardown(void)
{
	control = adm_control_free(control);
	timer = loop_timer_free(timer);
	loop = loop_free(loop);
	(void)unlink(address.sun_path);
	ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(without_descriptors_it_waits_and_does_not_spin)
{
	struct rlimit before;
	struct rlimit none;
	int64_t failed = bc_metric_get(BC_M_ACCEPTS_FAILED);
	bc_usec started = loop_clock();
	int client;

	ck_assert_int_eq(begin(), BC_OK);
	client = dial();
	ck_assert_int_eq(send(client, "sessions\n", 9, 0), 9);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	loop_timer_start(timer, SPELL);
	loop_run(loop);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	failed = bc_metric_get(BC_M_ACCEPTS_FAILED) - failed;
	ck_assert_int_ge(failed, 1);
	ck_assert_int_le(failed, (loop_clock() - started) / (100 * BC_USEC_PER_MS) + 1);
	ck_assert_int_eq(asked, 0);
	loop_run(loop);
	ck_assert_int_eq(asked, 1);
	(void)close(client);
}
END_TEST

START_TEST(a_predecessor_that_does_not_accept_is_not_waited_for)
{
	int fds[8];
	int count = 0;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	do {
		ck_assert_int_lt(count, 8);
		fds[count] = dial();
	} while (fds[count++] >= 0);
	ck_assert_int_eq(begin(), BC_E_EXISTS);
	while (--count > 0) {
		(void)close(fds[count - 1]);
	}
	(void)close(listener);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control");
	TCase *tcase = tcase_create("control");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, without_descriptors_it_waits_and_does_not_spin);
	tcase_add_test(tcase, a_predecessor_that_does_not_accept_is_not_waited_for);
	suite_add_tcase(suite, tcase);
	return tap_run(suite);
}
