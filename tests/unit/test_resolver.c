/* Names and addresses, and giving up at every moment. */
#include "daemon/loop/loop.h"
#include "daemon/net/connect.h"
#include "daemon/net/resolver.h"
#include "tests/unit/tap.h"

#include <arpa/inet.h>
#include <check.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define GUARD (40 * BC_USEC_PER_SEC)
#define SWARM 300

static struct loop *loop;
static struct loop_timer *guard;
static struct net_resolver *resolver;

static sem_t asked;    /* posted when a question for a slow name has begun */
static sem_t released; /* one slow question may end */
static atomic_uint questions;

int getaddrinfo(const char *restrict node, const char *restrict service,
		const struct addrinfo *restrict hints, struct addrinfo **restrict res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

	atomic_fetch_add(&questions, 1);
	if (strncmp(node, "slow", 4) == 0) {
		sem_post(&asked);
		sem_wait(&released);
		return EAI_AGAIN;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(node, service, hints, res);
}

struct outcome {
	unsigned calls;
	struct net_addresses addresses;
};

static unsigned awaited;

static void on_guard(void *arg)
{
	(void)arg;
	ck_abort_msg("nothing happened for too long");
}

static void set_up(void)
{
	awaited = 0;
	atomic_store(&questions, 0);
	ck_assert_int_eq(sem_init(&asked, 0, 0), 0);
	ck_assert_int_eq(sem_init(&released, 0, 0), 0);
	ck_assert_int_eq(loop_new(&loop), BC_OK);
	guard = loop_timer_new(loop, on_guard, NULL);
	loop_timer_start(guard, GUARD);
	resolver = net_resolver_new();
	ck_assert_ptr_nonnull(resolver);
}

static void tear_down(void)
{
	resolver = net_resolver_free(resolver);
	guard = loop_timer_free(guard);
	loop = loop_free(loop);
}

static void on_found(void *arg, const struct net_addresses *addresses)
{
	struct outcome *outcome = arg;

	outcome->calls++;
	outcome->addresses = *addresses;
	if (--awaited == 0) {
		loop_stop(loop);
	}
}

static struct net_lookup *start(const char *host, struct outcome *outcome)
{
	struct net_lookup *lookup = NULL;

	*outcome = (struct outcome){.calls = 0};
	ck_assert_int_eq(net_lookup_start(resolver, loop, host, 443, on_found, outcome, &lookup),
			 BC_OK);
	ck_assert_uint_eq(outcome->calls, 0);
	awaited++;
	return lookup;
}

static struct outcome look_up(const char *host)
{
	struct outcome outcome;

	(void)start(host, &outcome);
	loop_run(loop);
	ck_assert_uint_eq(outcome.calls, 1);
	return outcome;
}

START_TEST(test_literal)
{
	struct outcome four = look_up("192.0.2.7");
	struct outcome six = look_up("2001:db8::7");
	const struct sockaddr_in *in = (const void *)&four.addresses.list[0].addr;
	const struct sockaddr_in6 *in6 = (const void *)&six.addresses.list[0].addr;
	struct in6_addr want;

	ck_assert_int_eq(four.addresses.err, BC_OK);
	ck_assert_uint_eq(four.addresses.count, 1);
	ck_assert_int_eq(in->sin_family, AF_INET);
	ck_assert_uint_eq(ntohs(in->sin_port), 443);
	ck_assert_uint_eq(ntohl(in->sin_addr.s_addr), 0xc0000207U);
	ck_assert_uint_eq(four.addresses.list[0].len, sizeof(*in));
	ck_assert_int_eq(six.addresses.err, BC_OK);
	ck_assert_int_eq(in6->sin6_family, AF_INET6);
	ck_assert_uint_eq(ntohs(in6->sin6_port), 443);
	ck_assert_int_eq(inet_pton(AF_INET6, "2001:db8::7", &want), 1);
	ck_assert_mem_eq(&in6->sin6_addr, &want, sizeof(want));
}
END_TEST

START_TEST(test_localhost)
{
	struct outcome outcome = look_up("localhost");

	ck_assert_int_eq(outcome.addresses.err, BC_OK);
	ck_assert_uint_ge(outcome.addresses.count, 1);
	for (size_t i = 0; i < outcome.addresses.count; i++) {
		const struct net_address *address = &outcome.addresses.list[i];

		if (address->addr.ss_family == AF_INET) {
			const struct sockaddr_in *in = (const void *)&address->addr;

			ck_assert_uint_eq(ntohs(in->sin_port), 443);
			ck_assert_uint_eq(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
		} else {
			const struct sockaddr_in6 *in6 = (const void *)&address->addr;

			ck_assert_int_eq(address->addr.ss_family, AF_INET6);
			ck_assert_uint_eq(ntohs(in6->sin6_port), 443);
		}
	}
}
END_TEST

START_TEST(test_unknown_name)
{
	struct outcome outcome = look_up("nonexistent.invalid");

	/* Without any name server the answer is "try again later" instead of "no such name". */
	ck_assert(outcome.addresses.err == BC_E_NOTFOUND || outcome.addresses.err == BC_E_UPSTREAM);
	ck_assert_uint_eq(outcome.addresses.count, 0);
	ck_assert(outcome.addresses.detail[0] != '\0');
}
END_TEST

START_TEST(test_not_a_name)
{
	struct net_lookup *lookup = NULL;
	char name[300];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(net_lookup_start(resolver, loop, "", 1, on_found, NULL, &lookup),
			 BC_E_INVALID);
	ck_assert_int_eq(net_lookup_start(resolver, loop, name, 1, on_found, NULL, &lookup),
			 BC_E_INVALID);
	ck_assert_ptr_null(lookup);
}
END_TEST

START_TEST(test_many_and_cancels)
{
	static struct outcome outcomes[SWARM];
	struct net_lookup *lookups[SWARM];
	unsigned kept = 0;

	for (size_t i = 0; i < SWARM; i++) {
		lookups[i] = start(i % 5 == 0 ? "127.0.0.1" : "localhost", &outcomes[i]);
	}
	for (size_t i = 0; i < SWARM; i++) {
		if (i % 3 == 0) {
			lookups[i] = net_lookup_cancel(lookups[i]);
		} else {
			kept++;
		}
	}
	awaited = kept;
	loop_run(loop);
	for (size_t i = 0; i < SWARM; i++) {
		ck_assert_uint_eq(outcomes[i].calls, i % 3 == 0 ? 0 : 1);
	}
}
END_TEST

START_TEST(test_cancel_everything_then_free)
{
	static struct outcome outcomes[SWARM];
	struct net_lookup *lookups[SWARM];

	for (size_t i = 0; i < SWARM; i++) {
		lookups[i] = start("localhost", &outcomes[i]);
	}
	for (size_t i = 0; i < SWARM; i++) {
		lookups[i] = net_lookup_cancel(lookups[i]);
	}
	resolver = net_resolver_free(resolver);
	for (size_t i = 0; i < SWARM; i++) {
		ck_assert_uint_eq(outcomes[i].calls, 0);
	}
}
END_TEST

struct pair {
	struct net_lookup *other;
	unsigned calls;
};

static void on_found_cancel_other(void *arg, const struct net_addresses *addresses)
{
	struct pair *pair = arg;

	ck_assert_int_eq(addresses->err, BC_OK);
	pair->calls++;
	pair->other = net_lookup_cancel(pair->other);
	loop_stop(loop);
}

static void stop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

START_TEST(test_cancel_inside_a_callback)
{
	struct pair pair = {.calls = 0};
	struct net_lookup *first;
	struct outcome outcome = look_up("localhost"); /* the loop works */

	ck_assert_int_eq(outcome.addresses.err, BC_OK);
	ck_assert_int_eq(net_lookup_start(resolver, loop, "127.0.0.1", 1, on_found_cancel_other,
					  &pair, &first),
			 BC_OK);
	/* Posted already when the first callback cancels it. */
	ck_assert_int_eq(net_lookup_start(resolver, loop, "127.0.0.2", 1, on_found_cancel_other,
					  &pair, &pair.other),
			 BC_OK);
	loop_run(loop);
	ck_assert_int_eq(loop_post(loop, stop, NULL), BC_OK); /* behind whatever is left */
	loop_run(loop);
	ck_assert_uint_eq(pair.calls, 1);
}
END_TEST

START_TEST(test_literal_overtakes)
{
	struct outcome slow;
	struct outcome quick;
	struct net_lookup *lookup = start("slow.invalid", &slow);

	sem_wait(&asked);
	awaited = 0;
	quick = look_up("192.0.2.1");
	ck_assert_int_eq(quick.addresses.err, BC_OK);
	ck_assert_uint_eq(slow.calls, 0);
	awaited = 1;
	sem_post(&released);
	loop_run(loop);
	ck_assert_uint_eq(slow.calls, 1);
	ck_assert_int_eq(slow.addresses.err, BC_E_UPSTREAM);
	(void)lookup;
}
END_TEST

START_TEST(test_same_name_is_asked_once)
{
	static struct outcome outcomes[SWARM];
	struct outcome other;

	for (size_t i = 0; i < SWARM; i++) {
		(void)start("slow.invalid", &outcomes[i]);
	}
	(void)start("127.0.0.1x.invalid", &other);
	sem_post(&released);
	sem_post(&released); /* the thread may have begun before the others stood in the queue */
	loop_run(loop);
	for (size_t i = 0; i < SWARM; i++) {
		ck_assert_uint_eq(outcomes[i].calls, 1);
		ck_assert_int_eq(outcomes[i].addresses.err, BC_E_UPSTREAM);
	}
	ck_assert_uint_eq(other.calls, 1);
	ck_assert_uint_le(atomic_load(&questions), 3);
}
END_TEST

START_TEST(test_cancel_while_asking)
{
	struct outcome outcome;
	struct net_lookup *lookup = start("slow.invalid", &outcome);

	sem_wait(&asked);
	lookup = net_lookup_cancel(lookup);
	ck_assert_ptr_null(lookup);
	sem_post(&released);
	awaited = 0;
	ck_assert_int_eq(look_up("localhost").addresses.err, BC_OK); /* the thread goes on */
	ck_assert_uint_eq(outcome.calls, 0);
}
END_TEST

START_TEST(test_free_while_asking)
{
	struct outcome outcome;
	struct net_lookup *lookup = start("slow.invalid", &outcome);

	sem_wait(&asked);
	lookup = net_lookup_cancel(lookup);
	resolver = net_resolver_free(resolver); /* does not wait for the name server */
	guard = loop_timer_free(guard);
	loop = loop_free(loop);
	sem_post(&released);
	ck_assert_uint_eq(outcome.calls, 0);
}
END_TEST

START_TEST(test_bounded)
{
	static struct outcome outcomes[NET_LOOKUPS_MAX + 1];
	static struct net_lookup *lookups[NET_LOOKUPS_MAX + 1];
	struct net_lookup *more = NULL;

	lookups[0] = start("slow.invalid", &outcomes[0]);
	sem_wait(&asked);
	for (size_t i = 1; i <= NET_LOOKUPS_MAX; i++) {
		lookups[i] = start("slow.invalid", &outcomes[i]);
	}
	ck_assert_int_eq(net_lookup_start(resolver, loop, "localhost", 1, on_found, NULL, &more),
			 BC_E_LIMIT);
	ck_assert_ptr_null(more);
	lookups[7] = net_lookup_cancel(lookups[7]);
	awaited--;
	lookups[7] = start("slow.invalid", &outcomes[7]);
	sem_post(&released);
	loop_run(loop);
	for (size_t i = 0; i <= NET_LOOKUPS_MAX; i++) {
		ck_assert_uint_eq(outcomes[i].calls, 1);
	}
	ck_assert_uint_eq(atomic_load(&questions), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("resolver");
	TCase *tests = tcase_create("resolver");

	tcase_set_timeout(tests, 50);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, test_literal);
	tcase_add_test(tests, test_localhost);
	tcase_add_test(tests, test_unknown_name);
	tcase_add_test(tests, test_not_a_name);
	tcase_add_test(tests, test_many_and_cancels);
	tcase_add_test(tests, test_cancel_everything_then_free);
	tcase_add_test(tests, test_cancel_inside_a_callback);
	tcase_add_test(tests, test_literal_overtakes);
	tcase_add_test(tests, test_same_name_is_asked_once);
	tcase_add_test(tests, test_cancel_while_asking);
	tcase_add_test(tests, test_free_while_asking);
	tcase_add_test(tests, test_bounded);
	suite_add_tcase(suite, tests);
	return tap_run(suite);
}
