/* The daemon's process, as worker.c and server.c would fill it: it starts, crashes at any step, recovers, ends. */
#include "tests/sim/world.h"

#include "daemon/base/log.h"
#include "daemon/config/config.h"
#include "daemon/journal/journal.h"
#include "daemon/journal/store.h"
#include "daemon/tools/host.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETTLES_WITHIN (60 * SIM_SEC) /* after the last caller has gone */
#define HEALS_WITHIN   (900 * SIM_SEC)
#define STEPS_MAX      200000

#define TOOL(name, effect, tag, path, more)                                                               \
	"[[tool]]\nname = \"" name "\"\ndescription = \"Does.\"\neffect = \"" effect                      \
	"\"\ndisclosure = \"first_party\"\ntags = [\"" tag                                                \
	"\"]\nparameters = { type = \"object\", properties = { n = { type = \"integer\" } }, "            \
	"required = [\"n\"] }\ntimeout = \"2s\"\nrequest = { method = \"POST\", url = \"http://t:1/" path \
	"\", body = \"{*}\" }\n" more
#define UNDO(name) \
	"undo = { method = \"POST\", url = \"http://t:1/u/" name "\", body = '{\"n\":{args.n}}' }\n"
#define STATUS(name) \
	"status = { method = \"GET\", url = \"http://t:1/s/" name "/{idempotency_key}\" }\n"

static const char config[] =
	"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n"
	"[tools]\nbreaker_failures = 0\nundo_wait = \"%s\"\n[speculation]\nmode = \"%s\"\n" TOOL(
		"look", "read", "a", "c/look",
		"") TOOL("peek", "read", "b", "c/peek",
			 "") TOOL("set", "reversible", "a", "c/set",
				  "idempotency = \"key\"\n" UNDO("set")) TOOL("put", "reversible",
									      "a", "c/put",
									      UNDO("put")
										      STATUS("put"))
		TOOL("flip", "reversible", "b", "c/flip",
		     "idempotency = \"key\"\nundo = { method = \"POST\", url = \"http://t:1/u/flip\", body = "
		     "'{\"ref\":{result.ref}}' }\n") TOOL("book", "hold", "a", "c/book", "")
			TOOL("buy", "hold", "b", "c/buy", "idempotency = \"key\"\n" STATUS("buy"));

struct sim sim;

static struct {
	bool lives;
	struct jrn *jrn;
	struct jrn_port *port;
	struct tool_host *tools;
	struct cfg *cfg;
	struct toolset *toolset;
	struct sim_event *dispatch;
	uint64_t epoch;
} process;

/* By mode, and whether a call waits for an undo as long as that may take. */
static struct cfg *cfgs[SIM_MODES][2];
static struct toolset *toolsets[SIM_MODES][2];

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

/* ---- configuration ---- */

static struct cfg *load(const char *mode, bool patient)
{
	static char text[8192];
	char path[] = "/tmp/bc-sim-XXXXXX";
	int fd = mkstemp(path);
	int len = snprintf(text, sizeof(text), config, patient ? "20s" : "2s", mode);
	struct bc_buf findings;
	struct cfg *cfg = NULL;

	BC_BUG_ON(fd < 0 || write(fd, text, (size_t)len) != len);
	(void)close(fd);
	bc_buf_init(&findings, 65536);
	if (cfg_load(path, &findings, &cfg) != BC_OK) {
		(void)fprintf(stderr, "%.*s", BC_SPAN_ARG(bc_buf_span(&findings)));
		abort();
	}
	bc_buf_release(&findings);
	(void)unlink(path);
	return cfg;
}

static void configure(void)
{
	static const char *const names[] = {"off", "strict", "confirm", "inject"};
	bool patient = sim.profile.clean;
	unsigned mode = sim.speculative ? (unsigned)sim.profile.mode : SIM_OFF;

	if (cfgs[mode][patient] == NULL) {
		cfgs[mode][patient] = load(names[mode], patient);
		toolsets[mode][patient] = toolset_new(cfgs[mode][patient]);
		BC_BUG_ON(toolsets[mode][patient] == NULL);
	}
	process.cfg = cfgs[mode][patient];
	process.toolset = toolsets[mode][patient];
}

void process_library_end(void)
{
	for (unsigned i = 0; i < SIM_MODES; i++) {
		for (unsigned k = 0; k < 2; k++) {
			toolsets[i][k] = toolset_unref(toolsets[i][k]);
			cfgs[i][k] = cfg_unref(cfgs[i][k]);
		}
	}
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
}

static void restart(void *arg)
{
	(void)arg;
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
	(void)sim_at(sim_between(50 * SIM_MS, 2 * SIM_SEC), restart, NULL);
}

/* ---- a seed ---- */

static void choose(void)
{
	struct sim_profile *p = &sim.profile;
	unsigned kind = (unsigned)(sim.seed % 8);

	*p = (struct sim_profile){.mode = SIM_STRICT + sim_chance(3)};
	p->sqlite = sim.seed % 100 == 37;
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

void process_play(uint64_t seed, bool speculative, int plant, FILE *story)
{
	sim = (struct sim){.seed = seed,
			   .random = sim_hash(seed, 1, 2) | 1,
			   .speculative = speculative,
			   .plant = plant,
			   .story = story};
	clock_reset();
	choose();
	disk_reset();
	toolserver_reset();
	configure();
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
}
