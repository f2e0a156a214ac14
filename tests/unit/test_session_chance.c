/* What must hold in whatever order client, provider, caller and tools do what they may. */
#include "tests/unit/session_model.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS 300 /* conversations per configuration; SEEDS="from,to" says otherwise */
#define STEPS 90  /* things that happen in each */

/* A provider that reads when it likes: how long it may be silent is not for chance to find out. */
#define CONFIG(mode, upstream, tool)                                                                           \
	"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[session]\nanswer_timeout = \"10m\"\n"              \
	"[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n" upstream                                      \
	"\n[speculation]\nmode = \"" mode                                                                      \
	"\"\n[[tool]]\nname = \"get_order\"\ndescription = \"Looks an order up.\"\neffect = \"read\"\n" tool   \
	"\ndisclosure = \"first_party\"\ntags = [\"orders\"]\nparameters = { type = \"object\", properties = " \
	"{ id = { type = \"string\" } }, required = [\"id\"], additionalProperties = false }\n"                \
	"request = { method = \"POST\", url = \"http://localhost:1/order\", body = \"{*}\" }\n"                \
	"[[tool]]\nname = \"book\"\ndescription = \"Books a room.\"\neffect = \"hold\"\ntags = [\"orders\"]\n" \
	"parameters = { type = \"object\", properties = { night = { type = \"string\" } } }\n"                 \
	"request = { method = \"POST\", url = \"http://localhost:1/book\", body = \"{*}\" }\n"

#define MORE                                                                                                    \
	"[[tool]]\nname = \"warn\"\ndescription = \"Warns.\"\neffect = \"read\"\ndelivery = \"interrupt\"\n"    \
	"on_barge_in = \"cancel\"\nparameters = { type = \"object\" }\n"                                        \
	"request = { method = \"POST\", url = \"http://localhost:1/warn\", body = \"{*}\" }\n"                  \
	"[[tool]]\nname = \"jot\"\ndescription = \"Takes a note.\"\neffect = \"hold\"\ndelivery = \"silent\"\n" \
	"parameters = { type = \"object\" }\n"                                                                  \
	"request = { method = \"POST\", url = \"http://localhost:1/jot\", body = \"{*}\" }\n"

#define REASONER     MORE "[reasoner]\nmodel = \"m-1\"\n"
#define TAGGED(mode) mode "\"\nreasoner = \"tagged"

#define PLACEHOLDER "async_results = \"placeholder\""

static const char *const configs[] = {
	CONFIG("off", "", "") MORE,
	CONFIG("strict", "", "") MORE,
	CONFIG("confirm", "", "") MORE,
	CONFIG("confirm", "", "") MORE "[extension]\n",
	CONFIG(TAGGED("confirm"), "", "") REASONER,
	CONFIG(TAGGED("inject"), "", "") REASONER "[extension]\n",
	CONFIG("off", PLACEHOLDER, "filler_after = \"400ms\"") MORE,
	CONFIG("confirm", PLACEHOLDER, "filler_after = \"1s\"\nfiller = \"Wait.\"") MORE};

/* Who ends the call, and how; true: not the client. */
static bool hang_up(struct model *model, uint64_t seed)
{
	bool listens = seed % 4 < 2;

	switch (seed % 4) {
	case 0:
		sess_closed(model->rig.sess, SESS_UPSTREAM, BC_E_CLOSED, 1006, BC_SPAN_LIT(""));
		sess_closed(model->rig.sess, SESS_CLIENT, BC_OK, WS_CLOSE_NORMAL, BC_SPAN_LIT(""));
		break;
	case 1:
		sess_shut_down(model->rig.sess);
		sess_closed(model->rig.sess, SESS_CLIENT, BC_OK, WS_CLOSE_NORMAL, BC_SPAN_LIT(""));
		break;
	default:
		sess_closed(model->rig.sess, SESS_CLIENT, BC_OK, WS_CLOSE_NORMAL, BC_SPAN_LIT(""));
		break;
	}
	ck_assert(model->rig.ended);
	return listens;
}

/*
 * One call in eight ends in the middle of everything, the others when all is said.  Returns how many calls were made in the
 * provider's place.
 */
static unsigned play(uint64_t seed, const char *config)
{
	unsigned put_in;
	struct model *model = malloc(sizeof(*model));
	bool cut = seed % 8 == 7;
	bool listens;

	ck_assert_ptr_nonnull(model);
	model_init(model, seed, config);
	for (unsigned i = 0; i < STEPS; i++) {
		model_step(model);
	}
	if (!cut) {
		model_settle(model);
		model_check(model, true, true);
	}
	listens = hang_up(model, seed / 8);
	if (cut) {
		model_check(model, false, listens);
	}
	put_in = model->put_in;
	model_fini(model);
	free(model);
	return put_in;
}

START_TEST(promises_hold_in_any_order)
{
	const char *only = getenv("SEEDS");
	char *end = NULL;
	unsigned put_in = 0;
	uint64_t first = only == NULL ? 1 : strtoull(only, &end, 10);
	uint64_t last = only == NULL ? CALLS : *end == ',' ? strtoull(end + 1, NULL, 10) : first;

	for (uint64_t seed = first; seed <= last; seed++) {
		/* The last line of a failed run says which. */
		(void)fprintf(stderr, "SEEDS=%" PRIu64 "\n", seed);
		put_in += play(seed, configs[_i]);
	}
	/* What never happened has broken no promise. */
	ck_assert(only != NULL || strstr(configs[_i], "[reasoner]") == NULL || put_in > 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_chance");
	TCase *c = tcase_create("session_chance");

	tcase_add_loop_test(c, promises_hold_in_any_order, 0, BC_ARRAY_LEN(configs));
	tcase_set_timeout(c, 600); /* meson has a limit of its own */
	suite_add_tcase(suite, c);
	return tap_run(suite);
}
