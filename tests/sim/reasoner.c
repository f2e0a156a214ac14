/*
 * The text model that looks for calls, and its endpoint.  It knows what it is told and what it has said itself, names what
 * the words mean so far, by chance wrongly, changes and withdraws what later words do not mean, thinks for longer than the
 * turn takes, and says what the action protocol does not allow.  The endpoint refuses, hangs, breaks off and talks nonsense.
 */
#include "tests/sim/world.h"

#include "daemon/config/config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define ISSUES_MAX 160 /* of a turn */
#define ACTION_MAX 16
#define TEXT_MAX   2048

/* A call, as it was said last. */
struct issue {
	unsigned id;
	enum sim_tool tool;
	unsigned n;
	unsigned needs; /* id of the call whose result its argument is; 0: it has its own */
	bool done;      /* its result was told */
	bool withdrawn;
	bool unsure;   /* the gateway refuses it, unless another turn has begun unheard */
	bool disowned; /* an unsure one was to take its place */
};

/* What becomes of the generation. */
enum fate {
	FATE_WELL,
	FATE_REFUSED, /* 429, and when to come again */
	FATE_AWAY,    /* 503 */
	FATE_HANGS,
	FATE_CUT,     /* the connection breaks in the middle */
	FATE_HALF,    /* it ends in the middle, as if that were all */
	FATE_ERROR,   /* the server says so in the stream */
	FATE_NONSENSE /* no stream of chunks */
};

struct generation {
	enum fate fate;
	char text[TEXT_MAX];
	size_t len;
	size_t at;   /* said so far */
	size_t acts; /* where its action is complete; 0: it does nothing that counts */
	bool acted;  /* … and has been said */
	struct issue issues[ACTION_MAX]; /* that it makes */
	unsigned count;
	unsigned withdraws; /* id; 0: none */
};

struct sim_mind {
	struct sim_caller *caller;
	struct sess *sess;
	bool running;
	struct sim_event *event;
	struct generation step;

	/* The newest message, to which more is added while nothing was said that counts. */
	char *told; /* NULL: none yet */
	size_t messages;

	/* What it was told of the turn, and has said. */
	unsigned rev;
	bool heard;
	bool final;
	bool scolded; /* what it said last was wrong */
	bool raves;   /* it names calls without end */
	unsigned turn;
	struct sim_wish wants[SIM_WISHES_MAX + 1];
	unsigned want_count;
	struct issue issues[ISSUES_MAX];
	unsigned issue_count;
	unsigned last_id;
};

/* ---- what it was told ---- */

static struct issue *issue_of(struct sim_mind *mind, unsigned id)
{
	for (unsigned i = 0; i < mind->issue_count; i++) {
		if (mind->issues[i].id == id) {
			return &mind->issues[i];
		}
	}
	return NULL;
}

/* Nothing is as it was understood. */
static void misunderstand(struct sim_mind *mind)
{
	unsigned base = mind->caller->number * 20000 + (mind->turn + 1) * 2000;

	if (sim_chance(2) == 0 && mind->want_count > 0) {
		mind->wants[sim_chance(mind->want_count)].n++;
	} else if (sim_chance(2) == 0 && mind->want_count > 0) {
		mind->want_count--;
	} else {
		mind->wants[mind->want_count++] =
			(struct sim_wish){.tool = sim_chance(2) == 0 ? SIM_LOOK : SIM_PEEK,
					  .n = base + 1 + 2 * sim_chance(4)};
	}
}

static void mean(struct sim_mind *mind, const struct sim_turn *turn, unsigned segment,
		 bool misheard)
{
	const struct sim_version *meant = &turn->meant[segment];
	/* Whether it names effects, too, which are not its to start. */
	bool effects = sim_hash(sim.seed, mind->turn, 61) % 2 == 0;
	bool whole = segment + 1 == turn->segments;

	mind->want_count = 0;
	for (unsigned i = 0; i < meant->count; i++) {
		const struct sim_wish *wish = &meant->wishes[i];

		if (!sim_kinds[wish->tool].effect ? wish->tool != SIM_ASK || sim_chance(8) == 0
						  : effects) {
			mind->wants[mind->want_count++] = *wish;
		}
	}
	if (misheard || (!whole && sim_chance(4) == 0) ||
	    (sim.profile.strays && sim_chance(6) == 0)) {
		misunderstand(mind);
	}
}

static void hear_words(struct sim_mind *mind, unsigned rev, struct bc_span words, bool final)
{
	const struct sim_turn *spoken = NULL;
	unsigned turn = 0;
	unsigned segment = 0;
	bool misheard = false;

	if (rev <= mind->rev) {
		return; /* told again with what is new */
	}
	mind->rev = rev;
	for (size_t i = 0; i + 1 < words.len; i++) {
		if (words.ptr[i] == 's') {
			spoken = script_segment(&mind->caller->script,
						(unsigned)strtoul(words.ptr + i + 1, NULL, 10),
						&turn, &segment);
		}
		misheard = misheard || words.ptr[i] == '?';
	}
	if (spoken == NULL) {
		sim_fail("the reasoner is told words that nobody said: %.*s", BC_SPAN_ARG(words));
		return;
	}
	if (!mind->heard || mind->final || turn != mind->turn) {
		mind->issue_count = 0;
		mind->last_id = 0;
	}
	mind->heard = true;
	mind->final = final;
	mind->turn = turn;
	mean(mind, spoken, segment, misheard);
}

static void hear_result(struct sim_mind *mind, unsigned id, const char *text)
{
	const char *end = strstr(text, "</tool_result>");
	const char *n = strstr(text, "\"n\":");
	bool right = n == NULL || end == NULL || n > end; /* it failed */
	const struct issue *other = NULL;

	for (unsigned i = 0; i < mind->issue_count; i++) {
		struct issue *issue = &mind->issues[i];

		if (issue->id != id) {
			continue;
		}
		if (!issue->withdrawn && (right || strtoul(n + 4, NULL, 10) == issue->n)) {
			issue->done = true;
			return;
		}
		other = issue;
	}
	if (other != NULL) {
		sim_fail("the reasoner is told a result as that of %s %u, which it has %s",
			 sim_kinds[other->tool].name, other->n,
			 other->withdrawn ? "withdrawn" : "not");
	}
}

static void withdraw(struct sim_mind *mind, unsigned id)
{
	for (unsigned i = 0; i < mind->issue_count; i++) {
		if (mind->issues[i].id == id) {
			mind->issues[i].withdrawn = true;
			mind->issues[i].done = false;
		}
	}
}

static void hear_news(struct sim_mind *mind, const char *text)
{
	for (; (text = strchr(text, '<')) != NULL; text++) {
		unsigned number = 0;
		bool final = sscanf(text, "<final_query_update rev=\"%u\"", &number) == 1;

		if (final || sscanf(text, "<partial_query_update rev=\"%u\"", &number) == 1) {
			const char *words = strchr(text, '>') + 1;

			hear_words(mind, number, bc_span(words, strcspn(words, "<")), final);
		} else if (sscanf(text, "<tool_result id=\"%u\"", &number) == 1) {
			hear_result(mind, number, text);
		} else if (sscanf(text, "<tool_call_cancelled id=\"%u\"", &number) == 1) {
			withdraw(mind, number);
		} else if (strncmp(text, "<error>", 7) == 0) {
			mind->scolded = true;
		}
	}
}

/* ---- what it says ---- */

static void say(struct generation *step, const char *format, ...) BC_PRINTF(2, 3);

static void say(struct generation *step, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(step->text + step->len, TEXT_MAX - step->len, format, args);
	va_end(args);
	BC_BUG_ON(len < 0 || (size_t)len >= TEXT_MAX - step->len);
	step->len += (size_t)len;
}

static void say_call(struct generation *step, const struct issue *issue)
{
	BC_BUG_ON(step->count == ACTION_MAX);
	say(step, "%s{\"id\":%u,\"name\":\"%s\",\"arguments\":{\"n\":", step->count == 0 ? "" : ",",
	    issue->id, sim_kinds[issue->tool].name);
	if (issue->needs != 0) {
		say(step, "\"$%u.next\"}}", issue->needs);
	} else {
		say(step, "%u}}", issue->n);
	}
	step->issues[step->count] = *issue;
	/* A client's tool is not the gateway's to run. */
	step->issues[step->count++].unsure |= issue->tool == SIM_ASK;
}

static bool is_wanted(const struct sim_mind *mind, const struct issue *issue)
{
	for (unsigned i = 0; i < mind->want_count; i++) {
		if (mind->wants[i].tool == issue->tool && mind->wants[i].n == issue->n) {
			return true;
		}
	}
	return false;
}

static const struct issue *standing(const struct sim_mind *mind, const struct sim_wish *wish)
{
	for (unsigned i = 0; i < mind->issue_count; i++) {
		const struct issue *issue = &mind->issues[i];

		if (!issue->withdrawn && !issue->disowned && issue->tool == wish->tool &&
		    issue->n == wish->n) {
			return issue;
		}
	}
	return NULL;
}

static bool is_pending(const struct sim_mind *mind)
{
	for (unsigned i = 0; i < mind->issue_count; i++) {
		const struct issue *issue = &mind->issues[i];

		if (!issue->withdrawn && !issue->done && !issue->unsure) {
			return true;
		}
	}
	return false;
}

/* The id of a call whose result has the argument of that wish, as the text of the action so far makes it; 0: none. */
static unsigned leading(const struct sim_mind *mind, const struct sim_wish *wish)
{
	for (unsigned i = 0; wish->step > 0 && i < mind->issue_count; i++) {
		const struct issue *issue = &mind->issues[i];

		if (!issue->withdrawn && !issue->unsure && SIM_NEXT(issue->n) == wish->n &&
		    !sim_kinds[issue->tool].effect) {
			return issue->id;
		}
	}
	for (unsigned i = 0; wish->step > 0 && i < mind->step.count; i++) {
		if (SIM_NEXT(mind->step.issues[i].n) == wish->n &&
		    !sim_kinds[mind->step.issues[i].tool].effect) {
			return mind->step.issues[i].id;
		}
	}
	return 0;
}

/* Whether it can be named now: what follows from results waits for them, but where it can be named by them. */
static bool is_ripe(const struct sim_mind *mind, const struct sim_wish *wish)
{
	return standing(mind, wish) == NULL && (wish->step == 0 || leading(mind, wish) != 0 ||
						!is_pending(mind) || sim_chance(3) == 0);
}

static bool say_new(struct sim_mind *mind)
{
	struct generation *step = &mind->step;

	for (unsigned i = 0; i < mind->want_count; i++) {
		const struct sim_wish *wish = &mind->wants[i];

		if (is_ripe(mind, wish)) {
			if (step->count == 0) {
				say(step, "<tool_call>[");
			}
			say_call(step, &(struct issue){.id = mind->last_id + 1 + step->count,
						       .tool = wish->tool,
						       .n = wish->n,
						       .needs = leading(mind, wish)});
		}
	}
	if (step->count > 0) {
		say(step, "]</tool_call>");
	}
	return step->count > 0;
}

/* What later words do not mean is changed or withdrawn. */
static bool say_otherwise(struct sim_mind *mind)
{
	struct generation *step = &mind->step;

	for (unsigned i = 0; i < mind->issue_count; i++) {
		const struct issue *issue = &mind->issues[i];

		if (issue->withdrawn || issue->unsure || is_wanted(mind, issue)) {
			continue;
		}
		for (unsigned k = 0; !issue->done && k < mind->want_count; k++) {
			const struct sim_wish *wish = &mind->wants[k];

			if (standing(mind, wish) == NULL && wish->step == 0 && sim_chance(2) == 0) {
				say(step, "<tool_call>");
				say_call(step, &(struct issue){.id = issue->id,
							       .tool = wish->tool,
							       .n = wish->n});
				say(step, "</tool_call>");
				return true;
			}
		}
		say(step, "<tool_call>REMOVE %u</tool_call>", issue->id);
		step->withdraws = issue->id;
		return true;
	}
	return false;
}

static void say_many(struct sim_mind *mind)
{
	unsigned base = mind->caller->number * 20000 + (mind->turn + 1) * 2000;

	say(&mind->step, "<tool_call>[");
	for (unsigned i = 0; i < ACTION_MAX; i++) {
		say_call(&mind->step, &(struct issue){.id = mind->last_id + 1 + i,
						      .tool = SIM_LOOK,
						      .n = base + 101 + 2 * (mind->last_id + i)});
	}
	say(&mind->step, "]</tool_call>");
	mind->step.acts = mind->step.len;
}

/* What it may not say.  false: this one it cannot say now. */
static bool say_wrong(struct sim_mind *mind)
{
	struct generation *step = &mind->step;
	unsigned id = mind->last_id + 1;
	struct issue *last = issue_of(mind, mind->last_id);

	switch (sim_chance(12)) {
	case 0:
		say(step, "<pause/><pause/>");
		break;
	case 1:
		say(step, "<tool_call>{\"id\":%u,\"name\":</tool_call>", id);
		break;
	case 2:
		say(step, "I will look.");
		break;
	case 3:
		say(step, "<tool_call>{\"id\":%u,\"name\":\"gone\",\"arguments\":{}}</tool_call>",
		    id);
		break;
	case 4:
		say(step,
		    "<tool_call>{\"id\":%u,\"name\":\"look\",\"arguments\":{\"n\":\"x\"}}</tool_call>",
		    id);
		break;
	case 5:
		if (last == NULL) {
			return false;
		}
		say(step,
		    "<tool_call>{\"id\":%u,\"name\":\"look\",\"arguments\":{\"n\":\"$%u.gone\"}}</tool_call>",
		    id, last->id);
		break;
	case 6:
		say(step, "<pause/>");
		break;
	case 7:
		say(step, "<answer>It is so.</answer>");
		break;
	case 8:
		if (last == NULL || !last->done) {
			return false;
		}
		say(step, "<tool_call>");
		say_call(step, &(struct issue){.id = last->id,
					       .tool = SIM_LOOK,
					       .n = last->n + 1,
					       .unsure = true});
		say(step, "</tool_call>");
		step->acts = step->len;
		break;
	case 9:
		say(step, "<tool_call>REMOVE %u</tool_call>", id + 20);
		break;
	case 10:
		say(step, "<think>No, ");
		break;
	default:
		mind->raves = sim_chance(2) == 0;
		return false;
	}
	return true;
}

static void decide(struct sim_mind *mind)
{
	struct generation *step = &mind->step;

	say(step, "<think>Rev %u.</think>", mind->rev);
	if (sim_chance(10) == 0 && say_wrong(mind)) {
		return;
	}
	mind->raves = mind->raves && !mind->scolded && mind->last_id < 5 * ACTION_MAX;
	if (mind->raves) {
		say_many(mind);
		return;
	}
	/* Scolded, it may go on as if nothing were wrong. */
	if (!mind->heard || (mind->scolded && sim_chance(6) == 0)) {
		say(step, mind->final ? "<answer>So be it.</answer>" : "<pause/>");
	} else if (!say_otherwise(mind) && !say_new(mind)) {
		if (mind->final && (!is_pending(mind) || sim_chance(5) == 0)) {
			say(step, "<answer>That is what there is.</answer>");
		} else {
			say(step, "<pause/>");
		}
	}
	mind->scolded = false;
	step->acts = step->len;
	if (sim_chance(30) == 0) {
		say(step, "<pause/>"); /* behind an action that counts */
	}
}

/* ---- what was said counts ---- */

static void disown(struct sim_mind *mind, unsigned id)
{
	for (unsigned i = 0; i < mind->issue_count; i++) {
		mind->issues[i].disowned |= mind->issues[i].id == id;
	}
}

static void act(struct sim_mind *mind)
{
	struct generation *step = &mind->step;
	struct issue *issue;

	step->acted = true;
	if (step->withdraws != 0) {
		withdraw(mind, step->withdraws);
		sim.stats.withdrawn++;
	}
	for (unsigned i = 0; i < step->count; i++) {
		issue = step->issues[i].unsure ? NULL : issue_of(mind, step->issues[i].id);
		disown(mind, step->issues[i].id);
		sim.stats.changed += issue != NULL;
		if (issue == NULL) {
			BC_BUG_ON(mind->issue_count == ISSUES_MAX);
			issue = &mind->issues[mind->issue_count++];
		}
		*issue = step->issues[i];
		mind->last_id = issue->id > mind->last_id ? issue->id : mind->last_id;
	}
}

/* ---- the endpoint ---- */

static void go_on(void *arg);

static void go_on_in(struct sim_mind *mind, bc_usec low, bc_usec high)
{
	mind->event = sim_at(sim_between(low, high), go_on, mind);
}

static void end(struct sim_mind *mind, enum bc_err err, int status, bc_usec retry_after)
{
	mind->running = false;
	TELL("the reasoner's stream ends: %s %d", bc_err_name(err), status);
	sess_reason_ended(mind->sess, err, status, retry_after);
}

static void send_raw(struct sim_mind *mind, const char *bytes)
{
	sess_reason_bytes(mind->sess, bc_span_str(bytes));
}

/* The next piece of the text. */
static void send_piece(struct sim_mind *mind, size_t len)
{
	char chunk[2 * TEXT_MAX + 64] = "data: {\"choices\":[{\"delta\":{\"content\":\"";
	struct generation *step = &mind->step;
	size_t at = strlen(chunk);

	for (size_t i = step->at; i < step->at + len; i++) {
		if (step->text[i] == '"') {
			chunk[at++] = '\\';
		}
		chunk[at++] = step->text[i];
	}
	chunk[at] = '\0';
	TELL("reasoner: %.*s", (int)len, step->text + step->at);
	step->at += len;
	if (step->acts != 0 && step->at >= step->acts && !step->acted) {
		act(mind);
	}
	(void)snprintf(chunk + at, sizeof(chunk) - at, "\"}}]}\n\n");
	send_raw(mind, chunk);
}

/* What comes in place of a piece, half-way through the text or (early) in front of it; false: nothing does. */
static bool fail(struct sim_mind *mind)
{
	enum fate fate = mind->step.fate;
	bool early = fate == FATE_REFUSED || fate == FATE_AWAY || fate == FATE_HANGS;

	if (fate == FATE_WELL || (!early && mind->step.at < mind->step.len / 2)) {
		return false;
	}
	sim.stats.cut_short += !early;
	switch (fate) {
	case FATE_REFUSED:
		end(mind, BC_E_REFUSED, 429, SIM_SEC / 2);
		break;
	case FATE_AWAY:
		end(mind, BC_E_UPSTREAM, 503, 0);
		break;
	case FATE_HANGS:
		end(mind, BC_E_TIMEOUT, 0, 0);
		break;
	case FATE_CUT:
		end(mind, BC_E_UPSTREAM, 200, 0);
		break;
	case FATE_HALF:
		end(mind, BC_OK, 200, 0);
		break;
	case FATE_ERROR:
		send_raw(mind, "data: {\"error\":{\"message\":\"overloaded\"}}\n\n");
		break;
	case FATE_NONSENSE:
		send_raw(mind, "data: {\"choices\":[{]\n\n");
		break;
	case FATE_WELL:
		break;
	}
	return true;
}

static void go_on(void *arg)
{
	struct sim_mind *mind = arg;
	struct generation *step = &mind->step;
	size_t left = step->len - step->at;

	mind->event = NULL;
	if (fail(mind)) {
		return;
	}
	if (left == 0) {
		send_raw(mind, "data: [DONE]\n\n");
		/* Unless that was the moment for another one. */
		if (mind->running && mind->event == NULL) {
			end(mind, BC_OK, 200, 0);
		}
		return;
	}
	send_piece(mind, 1 + sim_chance((unsigned)(left > 80 ? left : left * 2)) % left);
	if (mind->running && mind->event == NULL) {
		go_on_in(mind, SIM_MS, 40 * SIM_MS);
	}
}

/* Hear what is new in the newest message of a request; false: it is not the gateway's. */
static bool read_request(struct sim_mind *mind, struct bc_span body)
{
	json_t *request = json_loadb(body.ptr, body.len, 0, NULL);
	const json_t *messages = json_object_get(request, "messages");
	size_t count = json_array_size(messages);
	const json_t *last = json_array_get(messages, count - 1);
	const char *role = json_string_value(json_object_get(last, "role"));
	const char *text = json_string_value(json_object_get(last, "content"));
	bool well = role != NULL && text != NULL && strcmp(role, "user") == 0;
	size_t known = mind->told == NULL || count != mind->messages ? 0 : strlen(mind->told);

	if (well) {
		known = known > 0 && strncmp(text, mind->told, known) == 0 ? known : 0;
		TELL("to the reasoner: %.300s", text + known);
		hear_news(mind, text + known);
		free(mind->told);
		mind->told = strdup(text);
		mind->messages = count;
	}
	json_decref(request);
	return well;
}

bool mind_start(struct sim_mind *mind, struct bc_span body)
{
	BC_BUG_ON(mind->running);
	if (sim_chance(80) == 0) {
		TELL("the reasoner cannot be asked");
		return false;
	}
	if (!read_request(mind, body)) {
		sim_fail("the reasoner is told nothing new");
		return false;
	}
	mind->step = (struct generation){.fate = FATE_WELL};
	decide(mind);
	if (sim_chance(12) == 0) {
		mind->step.fate = (enum fate)(1 + sim_chance(FATE_NONSENSE));
	}
	mind->running = true;
	if (mind->step.fate == FATE_HANGS) {
		go_on_in(mind, SIM_SEC, 4 * SIM_SEC);
	} else {
		/* At times it is slower than the turn. */
		go_on_in(mind, 10 * SIM_MS, sim_chance(6) == 0 ? 3 * SIM_SEC : 150 * SIM_MS);
	}
	return true;
}

void mind_cancel(struct sim_mind *mind)
{
	mind->running = false;
	if (mind->event != NULL) {
		sim_forget(mind->event);
		mind->event = NULL;
	}
}

/* ---- the judge ---- */

/* What the operator allows for a tool: its own word comes first. */
static unsigned mode_of(enum sim_tool tool)
{
	const struct cfg *cfg = process_cfg();

	for (size_t i = 0; i < cfg->tool_count; i++) {
		if (strcmp(cfg->tool[i].name, sim_kinds[tool].name) != 0) {
			continue;
		}
		switch (cfg->tool[i].speculation) {
		case CFG_GUESSING_INHERIT:
			return sim.profile.mode;
		case CFG_GUESSING_OFF:
			return SIM_OFF;
		case CFG_GUESSING_STRICT:
			return SIM_STRICT;
		case CFG_GUESSING_CONFIRM:
			return SIM_CONFIRM;
		case CFG_GUESSING_INJECT:
			return SIM_INJECT;
		}
	}
	return SIM_OFF;
}

static void judge_call(const struct sim_mind *mind, const json_t *item)
{
	const char *name = json_string_value(json_object_get(item, "name"));
	json_t *arguments =
		json_loads(json_string_value(json_object_get(item, "arguments")), 0, NULL);
	const struct sim_wish wish = {
		.tool = sim_tool_of(bc_span_str(name)),
		.n = (unsigned)json_integer_value(json_object_get(arguments, "n"))};
	unsigned mode;

	json_decref(arguments);
	if (wish.tool >= SIM_GATEWAY_TOOLS || sim_kinds[wish.tool].effect) {
		sim_fail("%s %u was put in on the word of a reasoner", name, wish.n);
		return;
	}
	mode = mode_of(wish.tool);
	sim.stats.put_in[mode]++;
	if (mode < SIM_CONFIRM) {
		sim_fail("%s %u was put in, in strict mode", name, wish.n);
	} else if (mode == SIM_CONFIRM && !mind->caller->script.turns[mind->turn].typed) {
		sim_fail("%s %u was put in, and only a recogniser had heard it", name, wish.n);
	} else if (!mind->final) {
		sim_fail("%s %u was put in, and the reasoner does not know the whole turn", name,
			 wish.n);
	} else if (standing(mind, &wish) == NULL) {
		sim_fail("%s %u was put in, and the reasoner has withdrawn it", name, wish.n);
	}
}

void mind_judge(struct sim_mind *mind, struct bc_span payload)
{
	static const char type[] = "\"conversation.item.create\"";
	json_t *event;
	const json_t *item;
	const char *kind;

	if (memmem(payload.ptr, payload.len, type, sizeof(type) - 1) == NULL) {
		return;
	}
	event = json_loadb(payload.ptr, payload.len, 0, NULL);
	item = json_object_get(event, "item");
	kind = json_string_value(json_object_get(item, "type"));
	if (kind != NULL && strcmp(kind, "function_call") == 0) {
		judge_call(mind, item);
	}
	json_decref(event);
}

/* ---- life ---- */

struct sim_mind *mind_new(struct sim_caller *caller, struct sess *sess)
{
	struct sim_mind *mind = calloc(1, sizeof(*mind));

	BC_BUG_ON(mind == NULL);
	mind->caller = caller;
	mind->sess = sess;
	return mind;
}

struct sim_mind *mind_free(struct sim_mind *mind)
{
	if (mind != NULL) {
		mind_cancel(mind);
		free(mind->told);
		free(mind);
	}
	return NULL;
}
