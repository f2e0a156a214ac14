/* What is remembered of upstreams between sessions. */
#include "daemon/upstreams.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <string.h>

#define HOUR (3600 * BC_USEC_PER_SEC)

static struct upstreams *upstreams;

static void setup(void)
{
	upstreams = upstreams_new(NULL);
	ck_assert_ptr_nonnull(upstreams);
}

static void teardown(void)
{
	upstreams = upstreams_free(upstreams);
}

static int32_t known(const char *name, const char *model, bc_usec wall)
{
	struct trait_set set;

	upstreams_known(upstreams, name, model, HOUR, wall, &set);
	return set.value[TRAIT_INLINE_AUDIO];
}

START_TEST(each_model_has_its_own_and_age_makes_it_unknown)
{
	upstreams_notice(upstreams, "a", "m", TRAIT_INLINE_AUDIO, 0, 10 * HOUR);
	ck_assert_int_eq(known("a", "m", 10 * HOUR), 0);
	ck_assert_int_eq(known("a", "m", 11 * HOUR), 0);
	ck_assert_int_eq(known("a", "m", 11 * HOUR + 1), TRAIT_UNKNOWN);
	ck_assert_int_eq(known("a", "n", 10 * HOUR), TRAIT_UNKNOWN);
	ck_assert_int_eq(known("b", "m", 10 * HOUR), TRAIT_UNKNOWN);
	upstreams_notice(upstreams, "a", "m", TRAIT_INLINE_AUDIO, 1, 12 * HOUR);
	ck_assert_int_eq(known("a", "m", 12 * HOUR), 1);
	ck_assert_uint_eq(upstreams_forget(upstreams, "b"), 0);
	ck_assert_uint_eq(upstreams_forget(upstreams, "a"), 1);
	ck_assert_int_eq(known("a", "m", 12 * HOUR), TRAIT_UNKNOWN);
}
END_TEST

START_TEST(clients_that_invent_models_push_out_the_oldest_only)
{
	char model[16];

	for (int i = 0; i <= UPSTREAMS_MAX; i++) {
		(void)snprintf(model, sizeof(model), "m%d", i);
		upstreams_notice(upstreams, "a", model, TRAIT_INLINE_AUDIO, 1, HOUR + i);
	}
	ck_assert_int_eq(known("a", "m0", HOUR), TRAIT_UNKNOWN);
	ck_assert_int_eq(known("a", "m1", HOUR), 1);
	ck_assert_int_eq(known("a", model, HOUR), 1);
	ck_assert_uint_eq(upstreams_forget(upstreams, "a"), UPSTREAMS_MAX);
}
END_TEST

static int32_t parallel(void)
{
	struct trait_set set;

	upstreams_known(upstreams, "a", "m", HOUR, HOUR, &set);
	return set.value[TRAIT_PARALLEL_PASSES];
}

/* So many answers that took so long, and in between as many that stumbled. */
static void answers(enum trait which, unsigned count, int ms)
{
	for (unsigned i = 0; i < count; i++) {
		upstreams_notice(upstreams, "a", "m", which, ms, HOUR);
		if (i % 3 == 2) {
			upstreams_notice(upstreams, "a", "m", which, 100000, HOUR);
		}
	}
}

START_TEST(u4_passes_that_slow_answers_are_known_by_them)
{
	answers(TRAIT_ANSWER_ALONE, 23, 400);
	answers(TRAIT_ANSWER_BESIDE, 64, 500);
	ck_assert_int_eq(parallel(), TRAIT_UNKNOWN); /* too few alone */
	answers(TRAIT_ANSWER_ALONE, 2, 400);
	ck_assert_int_eq(parallel(), TRAIT_UNKNOWN); /* it is judged by those beside */
	answers(TRAIT_ANSWER_BESIDE, 1, 499);
	ck_assert_int_eq(parallel(), 0);
	/* Once it is known, what lies near the threshold changes nothing. */
	answers(TRAIT_ANSWER_BESIDE, 64, 460);
	ck_assert_int_eq(parallel(), 0);
	answers(TRAIT_ANSWER_BESIDE, 64, 449);
	ck_assert_int_eq(parallel(), 1);
	answers(TRAIT_ANSWER_BESIDE, 64, 499);
	ck_assert_int_eq(parallel(), 1);
	answers(TRAIT_ANSWER_BESIDE, 64, 500);
	ck_assert_int_eq(parallel(), 0);
	/* A slow provider is measured by itself. */
	answers(TRAIT_ANSWER_ALONE, 64, 2000);
	answers(TRAIT_ANSWER_BESIDE, 64, 2200);
	ck_assert_int_eq(parallel(), 1);
	ck_assert_uint_eq(upstreams_forget(upstreams, "a"), 1);
	ck_assert_int_eq(parallel(), TRAIT_UNKNOWN);
	answers(TRAIT_ANSWER_BESIDE, 64, 5000);
	ck_assert_int_eq(parallel(), TRAIT_UNKNOWN); /* what was measured is forgotten, too */
}
END_TEST

START_TEST(a_query_names_its_model)
{
	static const char *const pairs[][2] = {{"model=m-1", "m-1"},
					       {"intent=x&model=m-1&b=c", "m-1"},
					       {"mymodel=x", "-"},
					       {"model=", "-"},
					       {"", "-"},
					       {"model=a b", "a_b"}};
	char model[UPSTREAMS_MODEL_MAX];
	char query[256] = "model=";

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		upstreams_model(pairs[i][0], model);
		ck_assert_str_eq(model, pairs[i][1]);
	}
	memset(query + 6, 'x', sizeof(query) - 7);
	upstreams_model(query, model);
	ck_assert_uint_eq(strlen(model), UPSTREAMS_MODEL_MAX - 1);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("upstreams");
	TCase *c = tcase_create("upstreams");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, each_model_has_its_own_and_age_makes_it_unknown);
	tcase_add_test(c, clients_that_invent_models_push_out_the_oldest_only);
	tcase_add_test(c, u4_passes_that_slow_answers_are_known_by_them);
	tcase_add_test(c, a_query_names_its_model);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return tap_run(suite());
}
