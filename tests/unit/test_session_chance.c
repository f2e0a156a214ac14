/* What must hold in whatever order client, provider, caller and tools do what they may. */
#include "daemon/base/metric.h"
#include "tests/unit/session_model.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS 300 /* conversations per configuration; SEEDS="from,to" says otherwise */
#define STEPS 80  /* things that happen in each */

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
	"request = { method = \"POST\", url = \"http://localhost:1/jot\", body = \"{*}\" }\n"                   \
	"[[tool]]\nname = \"move\"\ndescription = \"Moves an order.\"\neffect = \"reversible\"\n"               \
	"idempotency = \"key\"\ndisclosure = \"first_party\"\nparameters = { type = \"object\" }\n"             \
	"request = { method = \"POST\", url = \"http://localhost:1/move\", body = \"{*}\" }\n"                  \
	"undo = { method = \"POST\", url = \"http://localhost:1/back\" }\n"

#define REASONER     MORE "[reasoner]\nmodel = \"m-1\"\n"
#define TAGGED(mode) mode "\"\nreasoner = \"tagged"

#define PLACEHOLDER "async_results = \"placeholder\""

static const char *const configs[] = {
	CONFIG("off", "", "") MORE,
	CONFIG("strict", "", "") MORE,
	CONFIG("confirm", "", "") MORE,
	CONFIG("inject", "", "") MORE "[extension]\n",
	CONFIG(TAGGED("confirm"), "", "") REASONER,
	CONFIG(TAGGED("inject"), "", "") REASONER "[extension]\n",
	CONFIG("off", PLACEHOLDER, "filler_after = \"400ms\"") MORE,
	CONFIG("confirm", PLACEHOLDER, "filler_after = \"1s\"\nfiller = \"Wait.\"") MORE
	"[extension]\n"};

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

/* ---- what must have happened ---- */

/* What the daemon counts, and what the model does. */
static const struct {
	enum bc_metric metric;
	const char *what;
	bool with_reasoner; /* expected where a reasoner looks for calls, too */
} counted[] = {{BC_M_TAKEOVERS, "takeovers", true},
	       {BC_M_TAKEOVERS_DROPPED, "takeovers that came to nothing", true},
	       {BC_M_GUESS_HITS, "guesses used", true},
	       {BC_M_GUESS_JOINS, "guesses joined", false},
	       {BC_M_GUESS_WASTED, "guesses wasted", true},
	       {BC_M_HOLDS_STOPPED, "holds stopped in the last moment", false}};

static const char *const reaches[REACH__COUNT] = {
	[REACH_CANCEL_RACED] = "takeovers whose response showed an item first",
	[REACH_CANCEL_SPOKEN] = "takeovers begun when the caller spoke",
	[REACH_CANCEL_CANCELLED] = "takeovers begun when the client cancelled",
	[REACH_GATE_BROKEN] = "holds for which the caller was not silent",
	[REACH_HOLD_STARTED] = "holds started",
	[REACH_KEPT] = "reversible guesses kept",
	[REACH_UNDONE] = "reversible guesses undone",
};

/* So far, in this process. */
struct tally {
	unsigned reached[REACH__COUNT];
	int64_t counted[BC_ARRAY_LEN(counted)];
};

/* What never happened has broken no promise. */
static void check_reached(const struct tally *before, const struct tally *after, bool reasoner)
{
	for (unsigned i = 0; i < BC_ARRAY_LEN(counted); i++) {
		int64_t times = bc_metric_get(counted[i].metric) - before->counted[i];

		(void)fprintf(stderr, "%s: %" PRId64 "\n", counted[i].what, times);
		ck_assert_msg(times > 0 || (reasoner && !counted[i].with_reasoner), "no %s",
			      counted[i].what);
	}
	for (unsigned i = 0; i < REACH__COUNT && !reasoner; i++) {
		(void)fprintf(stderr, "%s: %u\n", reaches[i], after->reached[i]);
		ck_assert_msg(after->reached[i] > 0, "no %s", reaches[i]);
	}
}

/* ---- calls ---- */

/* One call in eight ends in the middle of everything, the others when all is said. */
static void play(uint64_t seed, const char *config, struct tally *tally)
{
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
	model_count_guesses(model);
	listens = hang_up(model, seed / 8);
	if (cut) {
		model_check(model, false, listens);
	}
	for (unsigned i = 0; i < REACH__COUNT; i++) {
		tally->reached[i] += model->reached[i];
	}
	model_fini(model);
	free(model);
}

START_TEST(promises_hold_in_any_order)
{
	const char *only = getenv("SEEDS");
	char *end = NULL;
	bool reasoner = strstr(configs[_i], "[reasoner]") != NULL;
	struct tally before = {.counted = {0}};
	struct tally after = {.counted = {0}};
	uint64_t first = only == NULL ? 1 : strtoull(only, &end, 10);
	uint64_t last = only == NULL ? CALLS : *end == ',' ? strtoull(end + 1, NULL, 10) : first;

	for (unsigned i = 0; i < BC_ARRAY_LEN(counted); i++) {
		before.counted[i] = bc_metric_get(counted[i].metric);
	}
	for (uint64_t seed = first; seed <= last; seed++) {
		/* The last line of a failed run says which. */
		(void)fprintf(stderr, "SEEDS=%" PRIu64 "\n", seed);
		play(seed, configs[_i], &after);
	}
	if (last - first + 1 >= CALLS && (strstr(configs[_i], "\"confirm\"") != NULL ||
					  strstr(configs[_i], "\"inject\"") != NULL || reasoner)) {
		check_reached(&before, &after, reasoner);
	}
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
