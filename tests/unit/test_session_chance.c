/* What must hold in whatever order client, provider, caller and tools do what they may. */
#include "tests/unit/session_model.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CALLS 500 /* conversations per configuration */
#define STEPS 90  /* things that happen in each */

#define CONFIG(mode)                                                                                               \
	"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n" \
	"[speculation]\nmode = \"" mode "\"\n"                                                                     \
	"[[tool]]\nname = \"get_order\"\ndescription = \"Looks an order up.\"\neffect = \"read\"\n"                \
	"disclosure = \"first_party\"\ntags = [\"orders\"]\nparameters = { type = \"object\", properties = "       \
	"{ id = { type = \"string\" } }, required = [\"id\"], additionalProperties = false }\n"                    \
	"request = { method = \"POST\", url = \"http://localhost:1/order\", body = \"{*}\" }\n"                    \
	"[[tool]]\nname = \"book\"\ndescription = \"Books a room.\"\neffect = \"hold\"\ntags = [\"orders\"]\n"     \
	"parameters = { type = \"object\", properties = { night = { type = \"string\" } } }\n"                     \
	"request = { method = \"POST\", url = \"http://localhost:1/book\", body = \"{*}\" }\n"

static const char *const configs[] = {CONFIG("off"), CONFIG("strict")};

static void play(uint64_t seed, const char *config)
{
	struct model *model = malloc(sizeof(*model));

	ck_assert_ptr_nonnull(model);
	model_init(model, seed, config);
	for (unsigned i = 0; i < STEPS; i++) {
		model_step(model);
	}
	model_settle(model);
	model_check(model);
	sess_closed(model->rig.sess, SESS_CLIENT, BC_OK, WS_CLOSE_NORMAL, BC_SPAN_LIT(""));
	ck_assert(model->rig.ended);
	model_fini(model);
	free(model);
}

START_TEST(promises_hold_in_any_order)
{
	const char *only = getenv("SEED");
	uint64_t first = only == NULL ? 1 : strtoull(only, NULL, 10);

	for (uint64_t seed = first; seed < first + (only == NULL ? CALLS : 1); seed++) {
		/* The last line of a failed run says which. */
		(void)fprintf(stderr, "SEED=%" PRIu64 "\n", seed);
		play(seed, configs[_i]);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_chance");
	TCase *c = tcase_create("session_chance");

	tcase_add_loop_test(c, promises_hold_in_any_order, 0, BC_ARRAY_LEN(configs));
	tcase_set_timeout(c, 60);
	suite_add_tcase(suite, c);
	return tap_run(suite);
}
