/*
 * sim FIRST COUNT [--plain] [--story]
 *                              play these seeds; --plain: in the plain world; --story: tell what happens
 * sim --regressions            play the seeds that have found a bug
 * sim --plants                 put a bug in, one after the other: each must be found
 * sim --minutes N              as many seeds as time allows
 *
 * A seed that fails is played again, and tells its whole story.
 */
#include "tests/sim/world.h"

#include "daemon/base/log.h"
#include "daemon/base/metric.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PLANT_SEEDS  40000 /* within which a planted bug must be found */
#define FAILURES_MAX 5
#define ENOUGH_SEEDS 1000 /* of them is wanted that everything has happened */
#define STORY_ENV    "SIM_STORY_OF"

static struct sim_stats total;
static uint64_t modes[SIM_MODES];
static uint64_t clean_pairs;
static uint64_t sqlite_seeds;
static uint64_t variants;

/* Seeds are played in the plain world. */
static bool plain;

static void add_stats(void)
{
	const struct sim_stats *s = &sim.stats;

	total.seeds++;
	total.crashes += s->crashes;
	total.effects += s->effects;
	total.undos += s->undos;
	total.guesses += s->guesses;
	total.taken += s->taken;
	total.faults += s->faults;
	total.syncs_failed += s->syncs_failed;
	total.drops += s->drops;
	total.passes += s->passes;
	total.parked += s->parked;
	total.warmed += s->warmed;
	total.asked += s->asked;
	total.blunders += s->blunders;
	total.tagged += sim.profile.tagged;
	total.typed += s->typed;
	total.misheard += s->misheard;
	total.cut_short += s->cut_short;
	total.withdrawn += s->withdrawn;
	total.changed += s->changed;
	total.tagged_guesses += sim.profile.tagged ? s->guesses : 0;
	total.tagged_taken += sim.profile.tagged ? s->taken : 0;
	for (unsigned i = 0; i < SIM_MODES; i++) {
		total.put_in[i] += s->put_in[i];
	}
	variants += sim.profile.variant != 0;
	modes[sim.profile.mode]++;
	sqlite_seeds += sim.profile.sqlite;
}

static void drop_convs(void)
{
	for (unsigned i = 0; i < sim.conv_count; i++) {
		sim.convs[i] = conv_free(sim.convs[i]);
	}
	sim.conv_count = 0;
}

/* Whether all held; else complaint has what did not. */
static bool play(uint64_t seed, int plant, FILE *story, char complaint[sizeof(sim.complaint)])
{
	struct sim_run run = {
		.seed = seed, .plain = plain, .speculative = true, .plant = plant, .story = story};
	char *with;
	char *without;
	bool well;

	process_play(&run);
	well = !sim.broken;
	(void)snprintf(complaint, sizeof(sim.complaint), "%s", sim.complaint);
	add_stats();
	if (!well || !sim.profile.clean || plant != PLANT_NONE) {
		drop_convs();
		return well;
	}
	with = check_standing();
	drop_convs();
	if (story != NULL) {
		(void)fprintf(story, "\n=== the same without speculation\n\n");
	}
	run.speculative = false;
	process_play(&run);
	without = check_standing();
	clean_pairs++;
	if (sim.broken) {
		(void)snprintf(complaint, sizeof(sim.complaint), "without speculation: %.400s",
			       sim.complaint);
		well = false;
	} else if (strcmp(with, without) != 0) {
		(void)snprintf(complaint, sizeof(sim.complaint),
			       "with speculation: %.200s  without: %.200s", with, without);
		well = false;
	}
	free(with);
	free(without);
	drop_convs();
	return well;
}

static uint64_t playing;

/* A bug check has failed: tell the story of it, in a process of its own. */
static void on_abort(int number)
{
	static char seed[24];

	(void)number;
	if (getenv(STORY_ENV) == NULL) {
		(void)snprintf(seed, sizeof(seed), "%" PRIu64, playing);
		(void)fprintf(stderr, "seed %s: a bug check failed\n", seed);
		(void)setenv(STORY_ENV, seed, 1);
		(void)execl("/proc/self/exe", "sim", seed, "1", "--story",
			    plain ? "--plain" : (char *)NULL, (char *)NULL);
	}
	(void)signal(SIGABRT, SIG_DFL);
}

static bool play_told(uint64_t seed, bool told)
{
	char complaint[sizeof(sim.complaint)];

	playing = seed;
	if (play(seed, PLANT_NONE, told ? stderr : NULL, complaint)) {
		return true;
	}
	if (!told) {
		struct sim_stats before = total;

		(void)play(seed, PLANT_NONE, stderr, complaint);
		total = before;
	}
	(void)fprintf(stderr, "\nseed %" PRIu64 ": %s\n", seed, complaint);
	return false;
}

/* What the daemon itself has counted of what the plain world does not do. */
struct feature {
	const char *name;
	enum bc_metric from;
	enum bc_metric to;
	bool rare; /* a thousand seeds may do without */
};

static const struct feature features[] = {
	{"guesses refused", BC_M_REFUSED_OFF, BC_M_REFUSED_KEY_COST, false},
	{"predicted", BC_M_PREDICTED, BC_M_PREDICTED, false},
	{"prefetched", BC_M_PREFETCHED, BC_M_PREFETCHED, false},
	{"passes behind results", BC_M_FOLLOWUP_PASSES, BC_M_FOLLOWUP_PASSES, false},
	{"responses they cut off", BC_M_FOLLOWUPS_CUT, BC_M_FOLLOWUPS_CUT, false},
	{"prepared", BC_M_PREPARED, BC_M_PREPARED, false},
	{"of these used", BC_M_PREPARED_USED, BC_M_PREPARED_USED, false},
	{"retries", BC_M_TOOL_RETRIES, BC_M_TOOL_RETRIES, false},
	{"breakers opened", BC_M_BREAKER_OPENED, BC_M_BREAKER_OPENED, false},
	{"calls they refused", BC_M_BREAKER_REFUSED, BC_M_BREAKER_REFUSED, false},
	{"status requests", BC_M_TOOL_STATUS_ASKED, BC_M_TOOL_STATUS_ASKED, false},
	{"eager turns", BC_M_EAGER_TURNS, BC_M_EAGER_TURNS, false},
	{"of these taken back", BC_M_EAGER_RESUMED, BC_M_EAGER_RESUMED, false}};

static const struct feature reasoner_features[] = {
	{"generations", BC_M_REASONER_STEPS, BC_M_REASONER_STEPS, false},
	{"interrupted", BC_M_REASONER_INTERRUPTS, BC_M_REASONER_INTERRUPTS, false},
	{"failed", BC_M_REASONER_FAILURES, BC_M_REASONER_FAILURES, false},
	{"calls named", BC_M_REASONER_CALLS, BC_M_REASONER_CALLS, false},
	{"chained", BC_M_REASONER_CHAINED, BC_M_REASONER_CHAINED, false},
	{"turns spent", BC_M_REASONER_SPENT, BC_M_REASONER_SPENT, false},
	{"verdicts", BC_M_REASONER_VERDICTS, BC_M_REASONER_VERDICTS, false},
	{"early answers", BC_M_REASONER_EARLY_ANSWER, BC_M_REASONER_EARLY_ANSWER, false},
	{"two actions", BC_M_REASONER_TWO_ACTIONS, BC_M_REASONER_TWO_ACTIONS, false},
	{"malformed", BC_M_REASONER_MALFORMED, BC_M_REASONER_MALFORMED, false},
	{"unknown tools", BC_M_REASONER_UNKNOWN_TOOL, BC_M_REASONER_UNKNOWN_TOOL, false},
	{"bad arguments", BC_M_REASONER_BAD_ARGUMENTS, BC_M_REASONER_BAD_ARGUMENTS, false},
	{"bad operands", BC_M_REASONER_BAD_OPERAND, BC_M_REASONER_BAD_OPERAND, false},
	{"idle pauses", BC_M_REASONER_IDLE_PAUSE, BC_M_REASONER_IDLE_PAUSE, false},
	{"late edits", BC_M_REASONER_LATE_EDIT, BC_M_REASONER_LATE_EDIT, false},
	{"unknown calls", BC_M_REASONER_UNKNOWN_CALL, BC_M_REASONER_UNKNOWN_CALL, false},
	{"full plans", BC_M_REASONER_PLAN_FULL, BC_M_REASONER_PLAN_FULL, true},
	{"refused transcripts", BC_M_TRANSCRIPTS_REFUSED, BC_M_TRANSCRIPTS_REFUSED, false}};

static int64_t count_of(const struct feature *feature)
{
	int64_t count = 0;

	for (unsigned i = feature->from; i <= (unsigned)feature->to; i++) {
		count += bc_metric_get((enum bc_metric)i);
	}
	return count;
}

static void print_features(void)
{
	(void)printf("%" PRIu64 " in variants: ", variants);
	for (unsigned i = 0; i < BC_ARRAY_LEN(features); i++) {
		(void)printf("%" PRId64 " %s, ", count_of(&features[i]), features[i].name);
	}
	(void)printf("%" PRIu64 " servers warmed up, %" PRIu64
		     " calls of the client's tool, %" PRIu64 " that cannot be run\n",
		     total.warmed, total.asked, total.blunders);
	(void)printf("%" PRIu64 " with a reasoner: %" PRIu64 " turns typed, %" PRIu64
		     " words misheard, %" PRIu64 " guesses, %" PRIu64 " became real, %" PRIu64
		     " put in with confirm, %" PRIu64 " with inject, %" PRIu64
		     " withdrawn, %" PRIu64 " changed, %" PRIu64 " generations broken off",
		     total.tagged, total.typed, total.misheard, total.tagged_guesses,
		     total.tagged_taken, total.put_in[SIM_CONFIRM], total.put_in[SIM_INJECT],
		     total.withdrawn, total.changed, total.cut_short);
	for (unsigned i = 0; i < BC_ARRAY_LEN(reasoner_features); i++) {
		(void)printf(", %" PRId64 " %s", count_of(&reasoner_features[i]),
			     reasoner_features[i].name);
	}
	(void)printf("\n");
}

static unsigned report_absent(const char *name)
{
	(void)printf("never in all these seeds: %s\n", name);
	return 1;
}

/* What a thousand seeds have not done is not simulated, whatever they say of it. */
static unsigned absent(void)
{
	const struct {
		const char *name;
		uint64_t count;
	} counts[] = {{"crashes", total.crashes},
		      {"failed syncs", total.syncs_failed},
		      {"lines cut", total.drops},
		      {"faults of tools", total.faults},
		      {"undone effects", total.undos},
		      {"effects left to the operator", total.parked},
		      {"servers warmed up", total.warmed},
		      {"calls of the client's tool", total.asked},
		      {"calls that cannot be run", total.blunders},
		      {"typed turns", total.typed},
		      {"words misheard", total.misheard},
		      {"guesses of a reasoner", total.tagged_guesses},
		      {"… that became real", total.tagged_taken},
		      {"… put in with confirm", total.put_in[SIM_CONFIRM]},
		      {"… put in with inject", total.put_in[SIM_INJECT]},
		      {"… withdrawn", total.withdrawn},
		      {"… changed", total.changed},
		      {"generations broken off", total.cut_short}};
	unsigned count = 0;

	if (plain || total.seeds < ENOUGH_SEEDS) {
		return 0;
	}
	for (unsigned i = 0; i < BC_ARRAY_LEN(counts); i++) {
		count += counts[i].count == 0 ? report_absent(counts[i].name) : 0;
	}
	for (unsigned i = 0; i < BC_ARRAY_LEN(features); i++) {
		count += count_of(&features[i]) == 0 ? report_absent(features[i].name) : 0;
	}
	for (unsigned i = 0; i < BC_ARRAY_LEN(reasoner_features); i++) {
		const struct feature *feature = &reasoner_features[i];
		bool excused = feature->rare && total.seeds < 20 * ENOUGH_SEEDS;

		count += count_of(feature) == 0 && !excused ? report_absent(feature->name) : 0;
	}
	return count;
}

static void print_total(void)
{
	(void)printf(
		"%" PRIu64 " seeds (strict %" PRIu64 ", confirm %" PRIu64 ", inject %" PRIu64
		"; %" PRIu64 " on SQLite; %" PRIu64 " compared with a run without speculation)\n"
		"%" PRIu64 " crashes, %" PRIu64 " failed syncs, %" PRIu64 " lines cut, %" PRIu64
		" faults of tools\n"
		"%" PRIu64 " passes, %" PRIu64 " guesses, %" PRIu64 " became real, %" PRIu64
		" effects, %" PRIu64 " undone, %" PRIu64 " left to the operator\n",
		total.seeds, modes[SIM_STRICT], modes[SIM_CONFIRM], modes[SIM_INJECT], sqlite_seeds,
		clean_pairs, total.crashes, total.syncs_failed, total.drops, total.faults,
		total.passes, total.guesses, total.taken, total.effects, total.undos, total.parked);
	print_features();
	(void)fflush(stdout);
}

static int run_seeds(uint64_t first, uint64_t count, time_t until, bool told)
{
	unsigned failures = 0;

	for (uint64_t seed = first; seed < first + count && failures < FAILURES_MAX; seed++) {
		failures += !play_told(seed, told);
		if (until != 0 && time(NULL) >= until) {
			break;
		}
	}
	print_total();
	return failures == 0 && absent() == 0 ? 0 : 1;
}

/*
 * Each failed until its bug was mended.  A seed is a story only as long as the simulation draws the same: who changes that
 * looks for new ones, by undoing the mending and playing until one fails.
 */
static int run_regressions(void)
{
	static const struct {
		uint64_t seed;
		bool plain; /* it is older than the variants */
		const char *bug;
	} found[] = {
		{1704, true,
		 "a real effect ran behind a wrong guess, which could not be undone any more"},
		{2793, true,
		 "two guessed effects of one tag stood, and the first could not be undone"},
		{3329, true,
		 "an effect that met an undo with its ticket in hand was refused, not held"},
		{29472, true,
		 "in the place of a wrong guess another one ran, right in front of the real effect"},
		{33796, true,
		 "a guess taken behind a failed sync was told as done, and undone later"},
		{109596, true,
		 "behind a failed sync a refused call was repeated by its rollback, and done"},
		{5014631, false,
		 "a guessed effect kept what it rests on, which a real one had changed, and it was used"},
		{6031738, false,
		 "a read was used behind a guessed effect that a later pass had named without it"},
		{5088624, false,
		 "a verdict had a read behind the guessed effect that it was older than"},
	};
	int status = 0;

	for (unsigned i = 0; i < BC_ARRAY_LEN(found); i++) {
		plain = found[i].plain;
		if (!play_told(found[i].seed, false)) {
			(void)printf("again: %s\n", found[i].bug);
			status = 1;
		}
	}
	print_total();
	return status;
}

static int run_plants(void)
{
	static const struct {
		const char *name;
		const char *finding; /* what the checker is to say of it */
		uint64_t near; /* rare: the search begins near the seed that found it before */
	} plants[PLANT__COUNT] = {
		[PLANT_EARLY_EFFECT] = {"effect before ticket", "before its intent was durable"},
		[PLANT_UNDO_ORDER] = {"undo order", "was undone, and the later"},
		[PLANT_LOST_JOIN] = {"lost join", "was done again"},
		[PLANT_DOUBLE_RELEASE] = {"double release", "are of one intent"},
		[PLANT_STALE_READ] = {"stale read", "which it must follow", 7400},
		[PLANT_WRONG_EQUALITY] = {"wrong equality", "was told the result of another call"},
		[PLANT_DEAF_REMOVE] = {"deaf to a withdrawal", "has withdrawn"},
		[PLANT_TRUSTED_EARS] = {"trusted ears", "only a recogniser had heard it"}};
	int status = 0;

	for (int plant = PLANT_NONE + 1; plant < PLANT__COUNT; plant++) {
		char complaint[sizeof(sim.complaint)] = "";
		uint64_t seed = plants[plant].near + 1;
		uint64_t last = plants[plant].near + PLANT_SEEDS;

		while (seed <= last && (play(seed, plant, NULL, complaint) ||
					strstr(complaint, plants[plant].finding) == NULL)) {
			seed++;
		}
		if (seed > last) {
			(void)printf("%s: NOT FOUND\n", plants[plant].name);
			status = 1;
		} else {
			(void)printf("%s: found by seed %" PRIu64 ": %s\n", plants[plant].name,
				     seed, complaint);
		}
	}
	return status;
}

static int usage(void)
{
	(void)fprintf(
		stderr,
		"usage: sim FIRST COUNT [--plain] [--story] | --regressions | --plants | --minutes N\n");
	return 2;
}

static int run_range(int argc, char **argv)
{
	bool told = false;

	for (int i = 3; i < argc; i++) {
		if (strcmp(argv[i], "--plain") == 0) {
			plain = true;
		} else if (strcmp(argv[i], "--story") == 0) {
			told = true;
		} else {
			return usage();
		}
	}
	return run_seeds(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10), 0, told);
}

int main(int argc, char **argv)
{
	int status;

	/* What the daemon says of its world is no news here. */
	bc_log_level_set((enum bc_log_level)(BC_LOG_ERR - 1));
	(void)signal(SIGABRT, on_abort);
	if (argc == 2 && strcmp(argv[1], "--regressions") == 0) {
		status = run_regressions();
	} else if (argc == 2 && strcmp(argv[1], "--plants") == 0) {
		status = run_plants();
	} else if (argc == 3 && strcmp(argv[1], "--minutes") == 0) {
		time_t now = time(NULL);

		status = run_seeds((uint64_t)now << 20, UINT32_MAX,
				   now + 60 * (time_t)strtol(argv[2], NULL, 10), false);
	} else if (argc >= 3) {
		status = run_range(argc, argv);
	} else {
		status = usage();
	}
	process_library_end();
	return status;
}
