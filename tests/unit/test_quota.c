/* Limits per key and address. */
#include "daemon/quota.h"
#include "tests/unit/tap.h"

#include <check.h>

#define NOW  (1000 * BC_USEC_PER_SEC)
#define HOME BC_SPAN_LIT("127.0.0.1")

static struct quota *quota;

static void setup(void)
{
	quota = quota_new();
	ck_assert_ptr_nonnull(quota);
}

static void teardown(void)
{
	quota = quota_free(quota);
}

START_TEST(no_limit_is_no_limit)
{
	const struct cfg_limits limits = {0};
	struct quota_claim claims[50];

	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &claims[i]), QUOTA_OK);
		ck_assert(quota_charge(&claims[i], &limits, 1u << 30, NOW));
	}
	for (int i = 0; i < 50; i++) {
		quota_release(&claims[i], &limits);
	}
}
END_TEST

START_TEST(sessions_at_once_are_counted_per_key)
{
	const struct cfg_limits limits = {.key_sessions_max = 2};
	struct quota_claim one, two, three, other;

	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &one), QUOTA_OK);
	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &two), QUOTA_OK);
	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &three), QUOTA_SESSIONS);
	ck_assert_int_eq(quota_claim(quota, &limits, "b", HOME, NOW, &other), QUOTA_OK);
	quota_release(&one, &limits);
	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &three), QUOTA_OK);
	quota_release(&two, &limits);
	quota_release(&three, &limits);
	quota_release(&other, &limits);
}
END_TEST

START_TEST(an_address_counts_whatever_the_key)
{
	const struct cfg_limits limits = {.address_sessions_max = 1};
	struct quota_claim one, two;

	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &one), QUOTA_OK);
	ck_assert_int_eq(quota_claim(quota, &limits, "b", HOME, NOW, &two), QUOTA_SESSIONS);
	ck_assert_int_eq(quota_claim(quota, &limits, NULL, BC_SPAN_LIT("::1"), NOW, &two),
			 QUOTA_OK);
	quota_release(&one, &limits);
	quota_release(&two, &limits);
}
END_TEST

START_TEST(a_refused_session_holds_nothing)
{
	const struct cfg_limits limits = {.key_sessions_max = 1, .address_sessions_max = 2};
	struct quota_claim one, two;

	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &one), QUOTA_OK);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &two), QUOTA_SESSIONS);
	}
	ck_assert_int_eq(quota_claim(quota, &limits, "b", HOME, NOW, &two), QUOTA_OK);
	quota_release(&one, &limits);
	quota_release(&two, &limits);
}
END_TEST

START_TEST(new_sessions_have_a_rate)
{
	const struct cfg_limits limits = {.key_sessions_per_second = 10};
	struct quota_claim claim;
	int begun = 0;

	for (int i = 0; i < 100; i++) {
		if (quota_claim(quota, &limits, "a", HOME, NOW, &claim) == QUOTA_OK) {
			begun++;
			quota_release(&claim, &limits);
		}
	}
	ck_assert_int_eq(begun, 10); /* a second's worth at once */
	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &claim), QUOTA_RATE);
	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW + BC_USEC_PER_SEC / 10, &claim),
			 QUOTA_OK);
	quota_release(&claim, &limits);
}
END_TEST

START_TEST(messages_of_all_sessions_of_a_key_share_a_rate)
{
	const struct cfg_limits limits = {.key_messages_per_second = 100};
	struct quota_claim claims[2];
	int passed = 0;

	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &claims[0]), QUOTA_OK);
	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &claims[1]), QUOTA_OK);
	for (int i = 0; i < 1000; i++) {
		passed += quota_charge(&claims[i % 2], &limits, 10, NOW);
	}
	ck_assert_int_eq(passed, 100);
	ck_assert(quota_charge(&claims[0], &limits, 10, NOW + BC_USEC_PER_SEC));
	quota_release(&claims[0], &limits);
	quota_release(&claims[1], &limits);
}
END_TEST

START_TEST(bytes_have_a_rate_and_one_large_message_passes)
{
	const struct cfg_limits limits = {.address_bytes_per_second = 1000};
	struct quota_claim claim;

	ck_assert_int_eq(quota_claim(quota, &limits, NULL, HOME, NOW, &claim), QUOTA_OK);
	ck_assert(quota_charge(&claim, &limits, 5000, NOW)); /* else it could never be sent */
	ck_assert(!quota_charge(&claim, &limits, 1, NOW));
	ck_assert(!quota_charge(&claim, &limits, 1, NOW + 3 * BC_USEC_PER_SEC));
	ck_assert(quota_charge(&claim, &limits, 1, NOW + 5 * BC_USEC_PER_SEC));
	quota_release(&claim, &limits);
}
END_TEST

START_TEST(many_sessions_of_a_key_may_all_begin_to_talk)
{
	const struct cfg_limits limits = {.key_messages_per_second = 1000};
	struct quota_claim claims[50];

	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &claims[i]), QUOTA_OK);
		ck_assert(quota_charge(&claims[i], &limits, 10, NOW));
	}
	for (int i = 0; i < 50; i++) {
		quota_release(&claims[i], &limits);
	}
}
END_TEST

START_TEST(what_a_session_did_not_use_is_its_keys_again)
{
	const struct cfg_limits limits = {.key_messages_per_second = 1000,
					  .address_bytes_per_second = 10000};
	struct quota_claim claim;
	int passed = 0;

	for (int i = 0; i < 2000; i++) {
		ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &claim), QUOTA_OK);
		passed += quota_charge(&claim, &limits, 1, NOW);
		quota_release(&claim, &limits);
	}
	ck_assert_int_eq(passed, 1000);
}
END_TEST

START_TEST(a_message_a_second_may_come_a_little_early)
{
	const struct cfg_limits limits = {.key_messages_per_second = 1};
	struct quota_claim claim;

	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &claim), QUOTA_OK);
	ck_assert(quota_charge(&claim, &limits, 1, NOW));
	ck_assert(!quota_charge(&claim, &limits, 1, NOW + BC_USEC_PER_SEC / 2));
	for (int i = 1; i < 10; i++) {
		bc_usec jitter = i % 2 == 0 ? 0 : 50 * BC_USEC_PER_MS;

		ck_assert(quota_charge(&claim, &limits, 1, NOW + i * BC_USEC_PER_SEC - jitter));
	}
	quota_release(&claim, &limits);
}
END_TEST

START_TEST(a_refused_address_costs_the_key_no_rate)
{
	const struct cfg_limits limits = {.key_sessions_per_second = 2, .address_sessions_max = 1};
	struct quota_claim one, two;

	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &one), QUOTA_OK);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &two), QUOTA_SESSIONS);
	}
	ck_assert_int_eq(quota_claim(quota, &limits, "a", BC_SPAN_LIT("::1"), NOW, &two), QUOTA_OK);
	quota_release(&one, &limits);
	quota_release(&two, &limits);
}
END_TEST

START_TEST(wrong_keys_count_as_sessions_of_their_address)
{
	const struct cfg_limits limits = {.address_sessions_per_second = 3};
	const struct cfg_limits none = {0};
	struct quota_claim claim;

	for (int i = 0; i < 3; i++) {
		ck_assert(quota_key_refused(quota, &limits, HOME, NOW));
	}
	ck_assert(!quota_key_refused(quota, &limits, HOME, NOW));
	ck_assert_int_eq(quota_claim(quota, &limits, "a", HOME, NOW, &claim), QUOTA_RATE);
	ck_assert(quota_key_refused(quota, &limits, BC_SPAN_LIT("127.0.0.2"), NOW));
	ck_assert(quota_key_refused(quota, &limits, HOME, NOW + BC_USEC_PER_SEC / 2));
	for (int i = 0; i < 100; i++) {
		ck_assert(quota_key_refused(quota, &none, HOME, NOW));
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("quota");
	TCase *c = tcase_create("quota");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, no_limit_is_no_limit);
	tcase_add_test(c, sessions_at_once_are_counted_per_key);
	tcase_add_test(c, an_address_counts_whatever_the_key);
	tcase_add_test(c, a_refused_session_holds_nothing);
	tcase_add_test(c, new_sessions_have_a_rate);
	tcase_add_test(c, messages_of_all_sessions_of_a_key_share_a_rate);
	tcase_add_test(c, bytes_have_a_rate_and_one_large_message_passes);
	tcase_add_test(c, many_sessions_of_a_key_may_all_begin_to_talk);
	tcase_add_test(c, what_a_session_did_not_use_is_its_keys_again);
	tcase_add_test(c, a_message_a_second_may_come_a_little_early);
	tcase_add_test(c, a_refused_address_costs_the_key_no_rate);
	tcase_add_test(c, wrong_keys_count_as_sessions_of_their_address);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
