/* What the daemon is configured to do: the plain world, as the shipped configuration has it, and others, drawn by number. */
#include "tests/sim/world.h"

#include "daemon/config/config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX ((size_t)16 * 1024)

static const char *const modes[SIM_MODES] = {"off", "strict", "confirm", "inject"};

/* By number, mode, whether a call waits for an undo as long as that may take, and whether a reasoner looks for calls. */
static struct {
	struct cfg *cfg;
	struct toolset *toolset;
} loaded[SIM_VARIANTS][SIM_MODES][2][2];

/* ---- what is drawn ---- */

/* Below n, and always the same. */
static unsigned draw(unsigned variant, unsigned what, unsigned n)
{
	return (unsigned)(sim_hash(variant, what, 23) % n);
}

unsigned variant_of(uint64_t seed)
{
	uint64_t noise = sim_hash(seed, 29, 31);

	return noise % 3 == 0 ? 0 : 1 + (unsigned)(noise / 3 % (SIM_VARIANTS - 1));
}

bool variant_has(unsigned variant, enum sim_feature feature)
{
	return variant != 0 && draw(variant, 100 + (unsigned)feature, 3) == 0;
}

/* ---- its text ---- */

struct text {
	size_t len;
	char bytes[TEXT_MAX];
};

static void say(struct text *text, const char *format, ...) BC_PRINTF(2, 3);

static void say(struct text *text, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text->bytes + text->len, TEXT_MAX - text->len, format, args);
	va_end(args);
	BC_BUG_ON(len < 0 || (size_t)len >= TEXT_MAX - text->len);
	text->len += (size_t)len;
}

/* One of the values, or (with a chance of one half) what is the default. */
static void choose(struct text *text, unsigned variant, const char *key, const char *const values[],
		   unsigned count)
{
	/* Another number for each key, the same for all variants. */
	unsigned what =
		(unsigned)(sim_hash(strlen(key), (uint64_t)key[0], (uint64_t)key[strlen(key) / 2]) %
			   1000000);
	if (draw(variant, 1000 + what, 2) == 0) {
		say(text, "%s = %s\n", key, values[draw(variant, 2000000 + what, count)]);
	}
}

#define CHOOSE(text, variant, key, ...)                                \
	choose(text, variant, key, (const char *const[]){__VA_ARGS__}, \
	       (unsigned)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))

static void say_speculation(struct text *text, unsigned variant)
{
	if (variant == 0) {
		return;
	}
	say(text, "eager_turn = %s\nprepare = %s\npatterns = %s\nprefetch = %s\n",
	    variant_has(variant, SIM_EAGER) ? "true" : "false",
	    variant_has(variant, SIM_PREPARES) ? "true" : "false",
	    variant_has(variant, SIM_FOLLOWS) ? "true" : "false",
	    variant_has(variant, SIM_FOLLOWS) ? "true" : "false");
	if (draw(variant, 1, 5) == 0) {
		say(text, "reversible = false\n");
	}
	if (draw(variant, 2, 12) == 0) {
		say(text, "shadow = true\n");
	}
	CHOOSE(text, variant, "race", "true");
	CHOOSE(text, variant, "growth", "\"120ms\"", "\"300ms\"");
	CHOOSE(text, variant, "hold_quiet", "\"0s\"", "\"200ms\"", "\"1500ms\"");
	CHOOSE(text, variant, "stable_for", "\"0s\"", "\"80ms\"", "\"1s\"");
	CHOOSE(text, variant, "interval", "\"50ms\"", "\"200ms\"");
	CHOOSE(text, variant, "pause", "\"60ms\"", "\"100ms\"");
	CHOOSE(text, variant, "passes_max", "1", "3", "20");
	CHOOSE(text, variant, "calls_max", "1", "2", "16");
	CHOOSE(text, variant, "prepared_ttl", "1", "4");
	CHOOSE(text, variant, "kill_window", "2", "4", "8");
	CHOOSE(text, variant, "kill_share", "60", "90");
	CHOOSE(text, variant, "turn_waste_max", "1", "2");
	CHOOSE(text, variant, "session_waste_max", "1", "4");
	CHOOSE(text, variant, "learn_half_life", "\"1m\"");
}

static void say_reasoner(struct text *text, unsigned variant)
{
	say(text,
	    "[reasoner]\nurl = \"http://localhost:1/v1/chat/completions\"\nmodel = \"m\"\n"
	    "backoff = \"150ms\"\ninterval = \"%s\"\n",
	    draw(variant, 6, 2) == 0 ? "0s" : "200ms");
	if (draw(variant, 7, 4) == 0) {
		say(text, "steps_max = 6\n");
	}
}

/* What a tool may have besides. */
static void say_more(struct text *text, unsigned variant, enum sim_tool tool)
{
	static const char *const guessing[] = {"strict", "off", "confirm"};
	unsigned what = 40 + (unsigned)tool * 10;

	if (variant == 0) {
		return;
	}
	if (draw(variant, what, 5) == 0) {
		say(text, "speculation = \"%s\"\n", guessing[draw(variant, what + 1, 3)]);
	}
	if (draw(variant, what + 2, 12) == 0) {
		say(text, "shadow = true\n");
	}
	if (draw(variant, what + 3, 4) == 0) {
		say(text, "waste_price = \"%s\"\n",
		    draw(variant, what + 4, 2) == 0 ? "0s" : "400ms");
	}
	if (draw(variant, what + 5, 6) == 0) {
		say(text, "on_barge_in = \"cancel\"\n");
	}
	if (draw(variant, what + 6, 8) == 0) {
		say(text, "delivery = \"interrupt\"\n");
	}
	if (sim_kinds[tool].hold && variant_has(variant, SIM_PREPARES)) {
		say(text, "warmup = { method = \"GET\", url = \"http://t:1/w/%s\" }\n",
		    sim_kinds[tool].name);
	}
}

static void say_tool(struct text *text, unsigned variant, enum sim_tool tool)
{
	static const char *const own[SIM_TOOLS] = {
		[SIM_LOOK] = "effect = \"read\"\n",
		[SIM_PEEK] = "effect = \"read\"\n",
		[SIM_SET] =
			"effect = \"reversible\"\nidempotency = \"key\"\n"
			"undo = { method = \"POST\", url = \"http://t:1/u/set\", body = '{\"n\":{args.n}}' }\n",
		[SIM_PUT] =
			"effect = \"reversible\"\n"
			"undo = { method = \"POST\", url = \"http://t:1/u/put\", body = '{\"n\":{args.n}}' }\n"
			"status = { method = \"GET\", url = \"http://t:1/s/put/{idempotency_key}\" }\n",
		[SIM_FLIP] =
			"effect = \"reversible\"\nidempotency = \"key\"\n"
			"undo = { method = \"POST\", url = \"http://t:1/u/flip\", body = '{\"ref\":{result.ref}}' }\n",
		[SIM_BOOK] = "effect = \"hold\"\n",
		[SIM_BUY] =
			"effect = \"hold\"\nidempotency = \"key\"\n"
			"status = { method = \"GET\", url = \"http://t:1/s/buy/{idempotency_key}\" }\n"};
	const struct sim_kind *kind = &sim_kinds[tool];

	say(text,
	    "[[tool]]\nname = \"%s\"\ndescription = \"Does.\"\ndisclosure = \"first_party\"\ntags = [\"%c\"]\n"
	    "parameters = { type = \"object\", properties = { n = { type = \"integer\" } }, required = [\"n\"] }\n"
	    "timeout = \"2s\"\nrequest = { method = \"POST\", url = \"http://t:1/c/%s\", body = \"{*}\" }\n%s",
	    kind->name, 'a' + (int)kind->tag, kind->name, own[tool]);
	say_more(text, variant, tool);
}

static void write_text(struct text *text, unsigned variant, unsigned mode, bool patient)
{
	static const char *const results[] = {"native", "placeholder"};

	text->len = 0;
	say(text, "[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n"
		  "[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n");
	if (variant != 0 && draw(variant, 3, 4) == 0) {
		say(text, "async_results = \"%s\"\n", results[draw(variant, 4, 2)]);
	}
	say(text,
	    "[tools]\nbreaker_failures = %u\nbreaker_cooldown = \"400ms\"\nundo_wait = \"%s\"\n",
	    variant != 0 && draw(variant, 9, 3) == 0 ? 1 + draw(variant, 10, 2) : 0,
	    patient ? "20s" : "2s");
	if (variant != 0 && draw(variant, 5, 4) == 0) {
		say(text, "sequential = true\n");
	}
	say(text, "[speculation]\nmode = \"%s\"\n", modes[mode]);
	say_speculation(text, variant);
	if (sim.profile.tagged) {
		say(text, "reasoner = \"tagged\"\n");
		say_reasoner(text, variant);
	}
	for (unsigned tool = 0; tool < SIM_GATEWAY_TOOLS; tool++) {
		say_tool(text, variant, (enum sim_tool)tool);
	}
}

/* ---- loading ---- */

static struct cfg *load(unsigned variant, unsigned mode, bool patient)
{
	static struct text text;
	char path[] = "/tmp/bc-sim-XXXXXX";
	int fd = mkstemp(path);
	struct bc_buf findings;
	struct cfg *cfg = NULL;

	write_text(&text, variant, mode, patient);
	BC_BUG_ON(fd < 0 || write(fd, text.bytes, text.len) != (ssize_t)text.len);
	(void)close(fd);
	bc_buf_init(&findings, 65536);
	if (cfg_load(path, &findings, &cfg) != BC_OK) {
		(void)fprintf(stderr, "variant %u: %.*s", variant,
			      BC_SPAN_ARG(bc_buf_span(&findings)));
		abort();
	}
	bc_buf_release(&findings);
	(void)unlink(path);
	return cfg;
}

void variant_get(unsigned variant, unsigned mode, bool patient, struct cfg **ret_cfg,
		 struct toolset **ret_toolset)
{
	bool tagged = sim.profile.tagged;

	if (loaded[variant][mode][patient][tagged].cfg == NULL) {
		struct cfg *cfg = load(variant, mode, patient);

		loaded[variant][mode][patient][tagged].cfg = cfg;
		loaded[variant][mode][patient][tagged].toolset = toolset_new(cfg);
		BC_BUG_ON(loaded[variant][mode][patient][tagged].toolset == NULL);
	}
	*ret_cfg = loaded[variant][mode][patient][tagged].cfg;
	*ret_toolset = loaded[variant][mode][patient][tagged].toolset;
}

static void forget(unsigned variant, unsigned mode)
{
	for (unsigned i = 0; i < 4; i++) {
		bool patient = i / 2 != 0;
		bool tagged = i % 2 != 0;

		loaded[variant][mode][patient][tagged].toolset =
			toolset_unref(loaded[variant][mode][patient][tagged].toolset);
		loaded[variant][mode][patient][tagged].cfg =
			cfg_unref(loaded[variant][mode][patient][tagged].cfg);
	}
}

void variants_free(void)
{
	for (unsigned i = 0; i < SIM_VARIANTS * SIM_MODES; i++) {
		forget(i / SIM_MODES, i % SIM_MODES);
	}
}
