/* What all workers share: places for sessions, and questions on their way. */
#include "daemon/inquiry.h"
#include "daemon/loop/loop.h"
#include "daemon/worker.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>

#define THREADS 8
#define ROUNDS  2000
#define PLACES  5

/* ---- places ---- */

static struct server server;
static _Atomic unsigned held;
static _Atomic bool crowded;

static void *come_and_go(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		if (!server_place_take(&server, PLACES)) {
			continue;
		}
		if (atomic_fetch_add(&held, 1) >= PLACES) {
			atomic_store(&crowded, true);
		}
		atomic_fetch_sub(&held, 1);
		server_place_give(&server);
	}
	return NULL;
}

START_TEST(no_more_places_are_taken_than_there_are)
{
	pthread_t threads[THREADS];

	server = (struct server){.sessions = 0};
	for (int i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	}
	ck_assert(!atomic_load(&crowded));
	ck_assert_uint_eq(atomic_load(&server.sessions), 0);
	for (int i = 0; i < PLACES; i++) {
		ck_assert(server_place_take(&server, PLACES));
	}
	ck_assert(!server_place_take(&server, PLACES));
	server_place_give(&server);
	ck_assert(server_place_take(&server, PLACES));
}
END_TEST

/* ---- questions ---- */

/* Both loops are names only: what is posted runs at once, or finds no memory. */
static char main_loop;
static char worker_loop;
static unsigned failures;
static unsigned answers;
static char answer[256];

/* The linker puts these in the place of the true ones. */
enum bc_err __wrap_loop_post(struct loop *loop, loop_post_fn *fn, void *arg);
void __wrap_adm_answer(struct adm_request *request, struct bc_span text);

enum bc_err __wrap_loop_post(struct loop *loop, loop_post_fn *fn, void *arg)
{
	if (loop == (struct loop *)&main_loop && failures > 0) {
		failures--;
		return BC_E_NOMEM;
	}
	fn(arg);
	return BC_OK;
}

void __wrap_adm_answer(struct adm_request *request, struct bc_span text)
{
	(void)request;
	answers++;
	(void)snprintf(answer, sizeof(answer), "%.*s", BC_SPAN_ARG(text));
}

static void ask(unsigned without_memory)
{
	static struct worker workers[2];
	static struct cfg cfg;

	failures = without_memory;
	answers = 0;
	server = (struct server){.workers = workers, .worker_count = 2};
	for (int i = 0; i < 2; i++) {
		workers[i] = (struct worker){.loop = (struct loop *)&worker_loop};
		TAILQ_INIT(&workers[i].bridges);
	}
	inquiry_begin(&server, (struct loop *)&main_loop, &cfg, NULL, BC_SPAN_LIT("sessions"));
}

START_TEST(a_question_is_answered_once)
{
	ask(0);
	ck_assert_uint_eq(answers, 1);
	inquiry_collect(&server);
	ck_assert_uint_eq(answers, 1);
	ck_assert_str_eq(answer, "no sessions\n");
}
END_TEST

START_TEST(an_answer_without_memory_for_its_way_is_fetched)
{
	ask(1);
	ck_assert_uint_eq(answers, 0);
	inquiry_collect(&server);
	ck_assert_uint_eq(answers, 1);
	ask(2);
	inquiry_collect(&server);
	ck_assert_uint_eq(answers, 0);
	inquiry_collect(&server);
	ck_assert_uint_eq(answers, 1);
	ck_assert_str_eq(answer, "no sessions\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("server");
	TCase *c = tcase_create("server");

	tcase_add_test(c, no_more_places_are_taken_than_there_are);
	tcase_add_test(c, a_question_is_answered_once);
	tcase_add_test(c, an_answer_without_memory_for_its_way_is_fetched);
	suite_add_tcase(suite, c);
	return tap_run(suite);
}
