/*
 * daemon/net/http in terms of a tool server that is slow, fails, loses answers and hangs; and the log of what it did.  What
 * goes wrong with a request is a matter of the tool, its argument and the attempt, not of the moment, so that a run without
 * speculation meets the same faults.
 */
#include "tests/sim/world.h"

#include "daemon/net/http.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define KEYS_MAX 1024

const struct sim_kind sim_kinds[SIM_TOOLS] = {
	[SIM_LOOK] = {"look", false, false, false, 0},
	[SIM_PEEK] = {"peek", false, false, false, 1},
	[SIM_SET] = {"set", true, false, true, 0},
	[SIM_PUT] = {"put", true, false, false, 0},
	[SIM_FLIP] = {"flip", true, false, true, 1},
	[SIM_BOOK] = {"book", true, true, false, 0},
	[SIM_BUY] = {"buy", true, true, true, 1},
	[SIM_ASK] = {"ask", false, false, false, 2},
};

enum sim_tool sim_tool_of(struct bc_span name)
{
	unsigned tool = 0;

	while (tool < SIM_TOOLS && !bc_span_is(name, sim_kinds[tool].name)) {
		tool++;
	}
	return (enum sim_tool)tool;
}

enum fate {
	FATE_WELL,
	FATE_UNREACHED,
	FATE_REFUSED,   /* 400 */
	FATE_LATER,     /* 429 */
	FATE_AWAY,      /* 503, nothing was done */
	FATE_BROKEN,    /* 500, although it was done */
	FATE_CUT_EARLY, /* the connection breaks, nothing was done */
	FATE_CUT_LATE,  /* it was done */
	FATE_STUCK_EARLY,
	FATE_STUCK_LATE
};

static const char *const fates[] = {"",        "is not reached",   "refuses", "says later",
				    "is away", "breaks behind it", "is lost", "is lost behind it",
				    "hangs",   "hangs behind it"};

/* What the server remembers of a key. */
struct memory {
	char key[SIM_KEY];
	unsigned attempts;
	bc_usec sent; /* the first of them */
	bool done;
	bool refused; /* it was said that this will never be done */
	int status;
	char body[128];
};

/* A request; its owner's handle, and the server's. */
struct net_http_call {
	LIST_ENTRY(net_http_call) link;
	net_http_fn *fn; /* NULL: nobody waits any more */
	void *arg;
	unsigned events; /* to come */
	struct sim_event *limit;
	char key[SIM_KEY];
	enum {
		ASKS_CALL,
		ASKS_UNDO,
		ASKS_STATUS,
		ASKS_NOTHING /* a connection is opened */
	} asks;
	enum sim_tool tool;
	unsigned n;
	unsigned ref;
	enum fate fate;
	struct sim_effect *effect; /* that it had; NULL: none */
	int status;
	char body[128];
};

static LIST_HEAD(, net_http_call) calls = LIST_HEAD_INITIALIZER(calls);
static struct memory keys[KEYS_MAX];
static unsigned key_count;

void toolserver_reset(void)
{
	key_count = 0;
}

void toolserver_end(void)
{
	while (!LIST_EMPTY(&calls)) {
		struct net_http_call *call = LIST_FIRST(&calls);

		LIST_REMOVE(call, link);
		free(call);
	}
}

static struct memory *memory_of(const char *key)
{
	for (unsigned i = 0; i < key_count; i++) {
		if (strcmp(keys[i].key, key) == 0) {
			return &keys[i];
		}
	}
	BC_BUG_ON(key_count == KEYS_MAX);
	keys[key_count] = (struct memory){.attempts = 0};
	(void)snprintf(keys[key_count].key, SIM_KEY, "%s", key);
	return &keys[key_count++];
}

/* ---- doing ---- */

static void answer_with(struct net_http_call *call, int status, const char *format, ...)
	BC_PRINTF(3, 4);

static void answer_with(struct net_http_call *call, int status, const char *format, ...)
{
	va_list args;

	call->status = status;
	va_start(args, format);
	(void)vsnprintf(call->body, sizeof(call->body), format, args);
	va_end(args);
}

static void do_effect(struct net_http_call *call, const char *key)
{
	unsigned tag = sim_kinds[call->tool].tag;
	struct sim_effect *effect = &sim.effects[sim.effect_count++];

	BC_BUG_ON(sim.effect_count == SIM_EFFECTS_MAX);
	*effect = (struct sim_effect){.tool = call->tool,
				      .n = call->n,
				      .sent = memory_of(key)->sent,
				      .at = sim.now,
				      .durable = disk_knows(key),
				      .order = ++sim.order,
				      .version = ++sim.versions[tag]};
	call->effect = effect;
	(void)snprintf(effect->key, sizeof(effect->key), "%s", key);
	sim.stats.effects++;
	TELL("EFFECT %u: %s %u, key %.8s", sim.effect_count, sim_kinds[call->tool].name, call->n,
	     key);
	answer_with(call, 200, "{\"n\":%u,\"ref\":%u,\"v\":%u,\"next\":%u,\"then\":%u}", call->n,
		    sim.effect_count, effect->version, SIM_NEXT(call->n), SIM_THEN(call->n));
}

/* The newest that stands and is meant. */
static struct sim_effect *undone_by(const struct net_http_call *call)
{
	for (unsigned i = sim.effect_count; i > 0; i--) {
		struct sim_effect *effect = &sim.effects[i - 1];

		if (effect->tool == call->tool && effect->undone == 0 &&
		    (call->tool == SIM_FLIP ? call->ref == i : call->n == effect->n)) {
			return effect;
		}
	}
	return NULL;
}

static struct sim_effect *kept_back; /* planted: it will be undone behind the next one */

static void mark_undone(struct sim_effect *effect)
{
	effect->undone = ++sim.order;
	effect->undone_at = sim.now;
	sim.versions[sim_kinds[effect->tool].tag]++;
	sim.stats.undos++;
	TELL("UNDONE %td: %s %u", effect - sim.effects + 1, sim_kinds[effect->tool].name,
	     effect->n);
}

static void late_undo(void *arg)
{
	if (kept_back == arg) {
		kept_back = NULL;
		mark_undone(arg);
	}
}

static void do_undo(struct net_http_call *call)
{
	struct sim_effect *effect = undone_by(call);

	if (effect == NULL) {
		sim_fail("an undo of %s %u/%u finds nothing to undo", sim_kinds[call->tool].name,
			 call->n, call->ref);
		answer_with(call, 404, "{}");
		return;
	}
	answer_with(call, 200, "{}");
	if (sim.plant == PLANT_UNDO_ORDER && kept_back == NULL) {
		kept_back = effect;
		(void)sim_at(2 * SIM_SEC, late_undo, effect);
		return;
	}
	mark_undone(effect);
	if (kept_back != NULL && kept_back != effect) {
		struct sim_effect *late = kept_back;

		kept_back = NULL;
		mark_undone(late);
	}
}

/* The newest standing effect of the tag, as a read sees it. */
static void do_read(struct net_http_call *call)
{
	answer_with(call, 200, "{\"n\":%u,\"v\":%u,\"next\":%u,\"then\":%u}", call->n,
		    sim.versions[sim_kinds[call->tool].tag], SIM_NEXT(call->n), SIM_THEN(call->n));
}

static void perform(struct net_http_call *call)
{
	bool by_key = sim_kinds[call->tool].by_key;
	struct memory *memory = memory_of(call->key);

	if (memory->refused) {
		answer_with(call, 409, "{}");
		return;
	}
	if (memory->done && by_key) {
		TELL("%.8s again", call->key);
		call->status = memory->status;
		memcpy(call->body, memory->body, sizeof(call->body));
		return;
	}
	if (call->asks == ASKS_UNDO) {
		do_undo(call);
	} else if (sim_kinds[call->tool].effect) {
		do_effect(call, call->key);
		if (sim.plant == PLANT_DOUBLE_RELEASE && sim_kinds[call->tool].hold) {
			do_effect(call, call->key);
		}
	} else {
		do_read(call);
	}
	memory->done = true;
	memory->status = call->status;
	memcpy(memory->body, call->body, sizeof(memory->body));
}

static void tell_status(struct net_http_call *call)
{
	struct memory *memory = memory_of(call->key);

	if (memory->done) {
		answer_with(call, 200, "{\"state\":\"done\",\"result\":%s}", memory->body);
	} else {
		memory->refused = true;
		answer_with(call, 200, "{\"state\":\"not_done\"}");
	}
}

/* ---- the way there and back ---- */

static void release(struct net_http_call *call)
{
	if (--call->events == 0) {
		LIST_REMOVE(call, link);
		free(call);
	}
}

static void hand_out(struct net_http_call *call, enum net_http_end end)
{
	struct net_http_answer answer = {.end = end,
					 .sent = call->fate != FATE_UNREACHED,
					 .detail = "simulated",
					 .type = BC_SPAN_LIT("application/json")};
	net_http_fn *fn = call->fn;

	if (fn == NULL) {
		return;
	}
	call->fn = NULL;
	if (call->effect != NULL) {
		call->effect->heard = sim.now;
	}
	if (call->limit != NULL) {
		sim_forget(call->limit);
		call->limit = NULL;
		call->events--;
	}
	if (end == NET_HTTP_DONE) {
		answer.status = call->status;
		answer.body = bc_span_str(call->body);
		answer.retry_after = call->status == 429 ? SIM_SEC / 2 : 0;
	}
	fn(call->arg, &answer);
}

static void on_limit(void *arg)
{
	struct net_http_call *call = arg;

	call->limit = NULL;
	hand_out(call, NET_HTTP_TIMEOUT);
	release(call);
}

static void come_back(void *arg)
{
	struct net_http_call *call = arg;

	hand_out(call, call->fate == FATE_UNREACHED   ? NET_HTTP_UNREACHABLE
		       : call->fate >= FATE_CUT_EARLY ? NET_HTTP_LOST
						      : NET_HTTP_DONE);
	release(call);
}

static void arrive(void *arg)
{
	static const int statuses[] = {[FATE_REFUSED] = 400,
				       [FATE_LATER] = 429,
				       [FATE_AWAY] = 503,
				       [FATE_BROKEN] = 500,
				       [FATE_STUCK_LATE] = 0};
	struct net_http_call *call = arg;
	bool done = call->fate == FATE_WELL || call->fate == FATE_BROKEN ||
		    call->fate == FATE_CUT_LATE || call->fate == FATE_STUCK_LATE;

	if (call->asks == ASKS_UNDO && undone_by(call) != NULL &&
	    undone_by(call)->undo_asked == 0) {
		undone_by(call)->undo_asked = sim.now;
	}
	if (done && call->asks == ASKS_STATUS) {
		tell_status(call);
	} else if (done && call->asks == ASKS_NOTHING) {
		sim.stats.warmed++;
		answer_with(call, 200, "{}");
	} else if (done) {
		perform(call);
	}
	if (statuses[call->fate] != 0) {
		answer_with(call, statuses[call->fate], "{}");
	}
	if (call->fate == FATE_STUCK_EARLY || call->fate == FATE_STUCK_LATE) {
		release(call);
		return;
	}
	(void)sim_at(sim_between(5 * SIM_MS, sim_chance(4) == 0 ? 1500 * SIM_MS : 300 * SIM_MS),
		     come_back, call);
}

static enum fate draw(const struct net_http_call *call, unsigned attempt)
{
	uint64_t noise = sim_hash(sim.seed, call->n * 8 + (unsigned)call->asks,
				  (uint64_t)call->tool * 64 + attempt);

	if (!sim.profile.tools_fail || sim.healing || noise % 100 >= 25) {
		return FATE_WELL;
	}
	sim.stats.faults++;
	/* A refusal of an undo is for the operator; of a question it says nothing. */
	return (enum fate)(1 + noise / 100 % FATE_STUCK_LATE);
}

/* ---- daemon/net/http ---- */

static void read_head(struct net_http_call *call, const struct net_http_request *request)
{
	const char *path = strchr(request->url + strlen("http://"), '/') + 1;
	static const char header[] = "Idempotency-Key: ";

	for (size_t i = 0; i < request->header_count; i++) {
		if (strncmp(request->headers[i], header, strlen(header)) == 0) {
			(void)snprintf(call->key, sizeof(call->key), "%s",
				       request->headers[i] + strlen(header));
		}
	}
	call->asks = *path == 'u'   ? ASKS_UNDO
		     : *path == 's' ? ASKS_STATUS
		     : *path == 'w' ? ASKS_NOTHING
				    : ASKS_CALL;
	path += 2;
	call->tool = sim_tool_of(bc_span(path, strcspn(path, "/")));
	BC_BUG_ON(call->tool >= SIM_GATEWAY_TOOLS);
	if (call->asks == ASKS_STATUS) {
		(void)snprintf(call->key, sizeof(call->key), "%s", strchr(path, '/') + 1);
	}
}

enum bc_err net_http_start(struct net_http *http, const struct net_http_request *request,
			   net_http_fn *fn, void *arg, struct net_http_call **ret)
{
	struct net_http_call *call = calloc(1, sizeof(*call));
	json_t *body;

	(void)http;
	BC_BUG_ON(call == NULL);
	*call = (struct net_http_call){.fn = fn, .arg = arg, .events = 1};
	LIST_INSERT_HEAD(&calls, call, link);
	read_head(call, request);
	body = json_loadb(request->body.ptr, request->has_body ? request->body.len : 0, 0, NULL);
	call->n = (unsigned)json_integer_value(json_object_get(body, "n"));
	call->ref = (unsigned)json_integer_value(json_object_get(body, "ref"));
	json_decref(body);
	call->limit = sim_at(request->timeout, on_limit, call);
	*ret = call;
	if (sim.dead) {
		return BC_OK; /* it reaches nobody */
	}
	if (memory_of(call->key)->sent == 0) {
		memory_of(call->key)->sent = sim.now;
	}
	call->fate = draw(call, memory_of(call->key)->attempts);
	/* Counted apart: what is asked about a call does not change what becomes of it. */
	memory_of(call->key)->attempts += call->asks != ASKS_STATUS;
	TELL("-> %s %s %u/%u, key %.8s%s%s",
	     call->asks == ASKS_UNDO      ? "undo"
	     : call->asks == ASKS_STATUS  ? "status"
	     : call->asks == ASKS_NOTHING ? "warm"
					  : "call",
	     sim_kinds[call->tool].name, call->n, call->ref, call->key,
	     call->fate == FATE_WELL ? "" : ": the server ", fates[call->fate]);
	call->events++;
	(void)sim_at(sim_between(SIM_MS, 40 * SIM_MS),
		     call->fate == FATE_UNREACHED ? come_back : arrive, call);
	return BC_OK;
}

void net_http_cancel(struct net_http_call *call)
{
	BC_BUG_ON(call->fn == NULL);
	call->fn = NULL;
	if (call->limit != NULL) {
		sim_forget(call->limit);
		call->limit = NULL;
		release(call);
	}
}
