/* The daemon's process, as worker.c and server.c would fill it: it starts, crashes at any step, recovers, ends. */
#include "tests/sim/world.h"

#include "daemon/base/log.h"
#include "daemon/config/config.h"
#include "daemon/journal/journal.h"
#include "daemon/journal/store.h"
#include "daemon/spec/admission.h"
#include "daemon/spec/pattern.h"
#include "daemon/tools/host.h"

#include <stdlib.h>
#include <string.h>

#define SETTLES_WITHIN (60 * SIM_SEC) /* after the last caller has gone */
#define HEALS_WITHIN   (900 * SIM_SEC)
#define STEPS_MAX      200000

struct sim sim;

static struct {
	bool lives;
	struct jrn *jrn;
	struct jrn_port *port;
	struct tool_host *tools;
	struct cfg *cfg;
	struct toolset *toolset;
	struct admission *admission;
	struct patterns *patterns;
	struct sim_event *dispatch;
	struct sim_event *restart; /* NULL: it runs, or is not to be started by itself */
	uint64_t epoch;
} process;

struct tool_host *process_tools(void)
{
	return process.tools;
}

struct cfg *process_cfg(void)
{
	return process.cfg;
}

struct toolset *process_toolset(void)
{
	return process.toolset;
}

bool process_lives(void)
{
	return process.lives;
}

struct admission *process_admission(void)
{
	return process.admission;
}

struct patterns *process_patterns(void)
{
	return process.patterns;
}

void process_library_end(void)
{
	variants_free();
	disk_reset();
}

/* ---- start and end ---- */

static void dispatch(void *arg)
{
	(void)arg;
	process.dispatch = NULL;
	jrn_port_dispatch(process.port);
}

static void wake(void *arg)
{
	(void)arg;
	if (process.dispatch == NULL && !sim.dead) {
		process.dispatch = sim_at(sim_between(1, 2 * SIM_MS), dispatch, NULL);
	}
}

static void on_open(void *arg, uint64_t intent, struct bc_span session, struct bc_span tool,
		    enum jrn_effect effect, bool has_result)
{
	(void)arg;
	(void)effect;
	TELL("open since the crash: intent %llu of %.*s, %.*s%s", (unsigned long long)intent,
	     BC_SPAN_ARG(session), BC_SPAN_ARG(tool), has_result ? ", with its result" : "");
}

struct known {
	uint64_t epoch;
	uint64_t intent;
};

static void tell_known(void *arg)
{
	struct known *known = arg;

	if (known->epoch == process.epoch && process.tools != NULL) {
		tool_host_resolved(process.tools, known->intent);
	}
	free(known);
}

static void on_resolved(void *arg, uint64_t intent)
{
	struct known *known = malloc(sizeof(*known));

	(void)arg;
	BC_BUG_ON(known == NULL);
	*known = (struct known){.epoch = process.epoch, .intent = intent};
	sim_post(0, tell_known, known);
}

static void on_changed(void *arg, const char *tag)
{
	(void)arg;
	session_tag_changed(tag);
}

static void teach_call(struct pattern_trail *trail, enum sim_tool tool, unsigned n, unsigned turn)
{
	char arguments[32];
	char output[96];

	(void)snprintf(arguments, sizeof(arguments), "{\"n\":%u}", n);
	(void)snprintf(output, sizeof(output), "{\"n\":%u,\"v\":0,\"next\":%u,\"then\":%u}", n,
		       SIM_NEXT(n), SIM_THEN(n));
	pattern_observe(process.patterns, trail,
			&(struct pattern_call){.tool = sim_kinds[tool].name,
					       .arguments = arguments,
					       .output = bc_span_str(output),
					       .turn = turn,
					       .started = n * SIM_SEC,
					       .finished = n * SIM_SEC + SIM_MS});
}

/* Other callers have called before, and one call has followed from another. */
static void teach(void)
{
	struct pattern_trail *trail = pattern_trail_new();
	unsigned turn = 0;

	BC_BUG_ON(trail == NULL);
	for (unsigned i = 0; i < 3 * PATTERN_SEEN_MIN; i++) {
		enum sim_tool tool = i % 3 == 0 ? SIM_LOOK : i % 3 == 1 ? SIM_PEEK : SIM_SET;
		enum sim_tool next = sim_kinds[tool].tag == 0 ? SIM_LOOK : SIM_PEEK;
		unsigned n = 1000000 + i * 100;

		teach_call(trail, tool, n, ++turn);
		teach_call(trail, next, SIM_NEXT(n), turn);
		teach_call(trail, next, SIM_THEN(n), ++turn);
	}
	pattern_trail_free(trail);
}

static void start(void)
{
	/* Nobody looks inside: what they would do with them is done by clock.c and toolserver.c. */
	static char loop;
	static char http;
	struct jrn_conf conf = {
		.path = "", .retention = 86400 * SIM_SEC, .open_max = 1000, .session_bytes_max = 0};
	struct jrn_recovery found;
	struct bc_buf message;

	sim.dead = false;
	process.epoch++;
	bc_buf_init(&message, 4096);
	if (jrn_open_on(&disk_ops, &conf, on_open, NULL, &found, &message, &process.jrn) != BC_OK) {
		sim_fail("the journal does not open: %.*s", BC_SPAN_ARG(bc_buf_span(&message)));
		bc_buf_release(&message);
		return;
	}
	bc_buf_release(&message);
	BC_BUG_ON(jrn_port_new(process.jrn, wake, NULL, &process.port) != BC_OK);
	process.tools = tool_host_new((struct loop *)&loop, (struct net_http *)&http, process.port);
	BC_BUG_ON(process.tools == NULL);
	tool_host_hook(process.tools,
		       &(struct tool_hooks){.resolved = on_resolved, .changed = on_changed});
	tool_host_learn(process.tools);
	tool_host_adopt(process.tools, process.cfg);
	process.admission = admission_new();
	process.patterns = patterns_new();
	BC_BUG_ON(process.admission == NULL || process.patterns == NULL);
	if (variant_has(sim.profile.variant, SIM_FOLLOWS) && sim.seed / 4 % 2 == 0) {
		teach();
	}
	process.lives = true;
	TELL("the daemon has started");
}

static void end(void)
{
	process.lives = false;
	process.tools = tool_host_free(process.tools);
	process.port = jrn_port_free(process.port);
	if (process.dispatch != NULL) {
		sim_forget(process.dispatch);
		process.dispatch = NULL;
	}
	process.jrn = jrn_close(process.jrn);
	process.admission = admission_free(process.admission);
	process.patterns = patterns_free(process.patterns);
}

static void restart(void *arg)
{
	(void)arg;
	process.restart = NULL;
	start();
	if (sim.profile.crashes > sim.stats.crashes) {
		sim.crash_step = sim.steps + 1 + sim_chance(400);
	}
}

static void crash(void)
{
	sim_cut("the daemon is killed");
	sim.stats.crashes++;
	sim.crash_step = 0;
	disk_crash();
	sim.dead = true;
	/* What it still does while it is taken apart reaches nobody. */
	callers_crash();
	end();
	process.restart = sim_at(sim_between(50 * SIM_MS, 2 * SIM_SEC), restart, NULL);
}

/* ---- a seed ---- */

static void choose(bool plain)
{
	struct sim_profile *p = &sim.profile;
	unsigned kind = (unsigned)(sim.seed % 8);

	*p = (struct sim_profile){.mode = SIM_STRICT + sim_chance(3)};
	p->variant = plain ? 0 : variant_of(sim.seed);
	p->sqlite = sim.seed % 100 == 37;
	p->blunders = !plain && sim_hash(sim.seed, 73, 79) % 6 == 0;
	p->tagged = !plain && sim_hash(sim.seed, 37, 41) % 4 == 0;
	sim.caller_count = 1 + (sim_chance(3) == 0);
	p->clean = kind < 2;
	p->disk_slow = sim_chance(3) == 0;
	if (p->clean) {
		return;
	}
	p->interrupts = sim_chance(2) == 0;
	p->strays = sim_chance(4) == 0;
	p->tools_fail = kind == 2 || sim_chance(3) == 0;
	p->drops = kind == 3 || sim_chance(4) == 0;
	p->crashes = kind >= 5 ? 1 + sim_chance(3) : 0;
	p->disk_fails = kind == 4 || sim_chance(6) == 0;
	if (p->crashes > 0) {
		sim.crash_step = 1 + sim_chance(sim.caller_count == 1 ? 700 : 1300);
	}
}

static void run_until(bool (*done)(void), bc_usec limit)
{
	while (!done() && sim.now < limit && sim.steps < STEPS_MAX && !sim.broken) {
		if (!sim_step()) {
			return;
		}
		if (sim.crash_step != 0 && sim.steps >= sim.crash_step && process.lives) {
			crash();
		}
	}
}

static bool is_settled(void)
{
	return process.lives && callers_done() && tool_host_count(process.tools) == 0;
}

static bool callers_gone(void)
{
	return process.lives && callers_done();
}

/* The last process, in a world that has got well: everything is brought to its end. */
static void heal(void)
{
	sim.crash_step = 0;
	sim.healing = true;
	if (process.lives) {
		sessions_free();
		end();
	}
	if (process.restart != NULL) {
		sim_forget(process.restart);
		process.restart = NULL;
	}
	start();
	run_until(is_settled, sim.now + HEALS_WITHIN);
	if (sim.broken) {
		return;
	}
	if (!is_settled()) {
		sim_fail("%zu calls are never settled", tool_host_count(process.tools));
	}
	/* What is still queued is written. */
	end();
}

void process_play(const struct sim_run *run)
{
	sim = (struct sim){.seed = run->seed,
			   .random = sim_hash(run->seed, 1, 2) | 1,
			   .plain = run->plain,
			   .speculative = run->speculative,
			   .plant = run->plant,
			   .story = run->story};
	clock_reset();
	choose(run->plain);
	disk_reset();
	toolserver_reset();
	variant_get(sim.profile.variant, sim.speculative ? (unsigned)sim.profile.mode : SIM_OFF,
		    sim.profile.clean, &process.cfg, &process.toolset);
	if (!run->plain) {
		sim.noise = 0; /* a configuration is read once, and that has asked for some */
	}
	TELL("variant %u%s", sim.profile.variant, sim.profile.tagged ? ", with a reasoner" : "");
	start();
	callers_begin();
	run_until(callers_gone, sim.now + 600 * SIM_SEC);
	if (!sim.broken && !callers_gone()) {
		sim_fail("a caller is never done");
	}
	run_until(is_settled, sim.now + SETTLES_WITHIN);
	if (!sim.broken) {
		heal();
	}
	if (!sim.broken) {
		check_run();
	}
	sessions_free();
	if (process.lives) {
		end();
	}
	toolserver_end();
	clock_reset();
	process.restart = NULL; /* its event is gone */
}
