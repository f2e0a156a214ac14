#include "tests/unit/session_rig.h"

#include "daemon/config/config.h"

#include "proto/json.h"

#include <check.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 65536

/* ---- the world ---- */

static bc_usec world_now(void *world)
{
	return ((struct rig *)world)->now;
}

static bool world_send(void *world, enum sess_side side, enum ws_opcode opcode,
		       struct bc_span payload)
{
	struct rig *rig = world;

	ck_assert_int_eq(opcode, WS_TEXT);
	ck_assert_uint_lt(rig->count[side], RIG_MESSAGES_MAX);
	ck_assert_int_eq(rig->close_code[side], -1);
	rig->sent[side][rig->count[side]++] = bc_span_dup(payload);
	return rig->pressure[side];
}

static void world_read(void *world, enum sess_side side, bool on)
{
	((struct rig *)world)->reading[side] = on;
}

static bool world_charge(void *world, size_t bytes)
{
	struct rig *rig = world;

	rig->charged += bytes;
	return !rig->over_quota;
}

static void world_close(void *world, enum sess_side side, uint16_t code, struct bc_span reason)
{
	(void)reason;
	((struct rig *)world)->close_code[side] = code;
}

static void world_timer(void *world, enum sess_timer which, bc_usec delay)
{
	struct rig *rig = world;

	rig->timers[which] = delay < 0 ? -1 : rig->now + delay;
}

static enum bc_err world_tool_run(void *world, const struct tool_request *request,
				  struct tool_call **ret)
{
	struct rig *rig = world;
	struct rig_run *run;

	if (rig->full) {
		return BC_E_NOMEM;
	}
	run = &rig->runs[rig->run_count++];
	ck_assert_uint_le(rig->run_count, RIG_RUNS_MAX);
	*run = (struct rig_run){.tool = request->tool,
				.arguments = bc_span_dup(request->arguments),
				.turn = request->turn,
				.speculative = request->speculative,
				.withhold = request->withhold,
				.committed = !request->speculative,
				.may_start = request->may_start,
				.done = request->done,
				.arg = request->arg,
				.settled = -1};
	*ret = (struct tool_call *)run;
	return BC_OK;
}

static void world_tool_cancel(void *world, struct tool_call *call)
{
	struct rig_run *run = (struct rig_run *)call;

	(void)world;
	ck_assert_int_eq(run->settled, -1);
	run->cancelled = true;
	run->settled = JRN_UNUSED;
}

static void world_tool_commit(void *world, struct tool_call *call)
{
	struct rig_run *run = (struct rig_run *)call;

	(void)world;
	ck_assert_int_eq(run->settled, -1);
	run->committed = true;
}

static void world_tool_settle(void *world, struct tool_call *call, enum jrn_settlement how)
{
	struct rig_run *run = (struct rig_run *)call;

	(void)world;
	ck_assert_int_eq(run->settled, -1);
	ck_assert(run->finished);
	run->settled = (int)how;
}

static const struct tool_result *world_tool_result(void *world, const struct tool_call *call)
{
	const struct rig_run *run = (const struct rig_run *)call;

	(void)world;
	return run->finished ? &run->result : NULL;
}

static void world_changed(void *world, const char *tag)
{
	struct rig *rig = world;

	rig->changes++;
	(void)snprintf(rig->changed, sizeof(rig->changed), "%s", tag);
}

static void world_noticed(void *world, enum trait trait, int32_t value)
{
	struct rig *rig = world;

	rig->noticed[trait] = value;
}

static bool world_reason_start(void *world, struct bc_span body)
{
	struct rig *rig = world;

	ck_assert(!rig->reasoning);
	if (rig->mindless) {
		return false;
	}
	json_decref(rig->reasoned);
	rig->reasoned = json_loadb(body.ptr, body.len, 0, NULL);
	ck_assert_ptr_nonnull(rig->reasoned);
	rig->reasoning = true;
	rig->reasons++;
	return true;
}

static void world_reason_cancel(void *world)
{
	struct rig *rig = world;

	ck_assert(rig->reasoning);
	rig->reasoning = false;
}

static struct admission_ask asks(const struct rig *rig, const struct cfg_tool *tool,
				 enum spec_trigger trigger)
{
	return (struct admission_ask){.conf = &rig->cfg->speculation,
				      .tool = tool,
				      .trigger = trigger,
				      .key = "tester",
				      .now = rig->now};
}

static enum admission_refusal world_admit(void *world, const struct cfg_tool *tool,
					  enum spec_trigger trigger)
{
	struct rig *rig = world;
	struct admission_ask ask = asks(rig, tool, trigger);

	return rig->admission == NULL ? ADMISSION_GRANTED : admission_ask(rig->admission, &ask);
}

static void world_learn(void *world, const struct admission_event *event)
{
	struct rig *rig = world;
	struct admission_ask from = asks(rig, event->tool, event->trigger);

	if (rig->admission != NULL) {
		admission_learn(rig->admission, &from, event);
	}
}

static void world_observe(void *world, const struct pattern_call *call)
{
	struct rig *rig = world;

	if (rig->patterns != NULL) {
		pattern_observe(rig->patterns, rig->trail, call);
	}
}

static unsigned world_predict(void *world, const struct pattern_call *call, uint64_t turn,
			      struct pattern_guess out[PATTERN_GUESSES_MAX])
{
	struct rig *rig = world;

	if (rig->patterns == NULL) {
		return 0;
	}
	return call == NULL ? pattern_predict_turn(rig->patterns, rig->trail, turn, out)
			    : pattern_predict(rig->patterns, call, out);
}

static void world_warm(void *world, const struct cfg_tool *tool)
{
	(void)tool;
	((struct rig *)world)->warmed++;
}

static void world_ended(void *world)
{
	struct rig *rig = world;

	ck_assert(!rig->ended);
	rig->ended = true;
}

static struct bc_buf *recording;

void rig_record(struct bc_buf *out)
{
	recording = out;
}

static void world_record(void *world, struct bc_span line)
{
	(void)world;
	ck_assert_ptr_nonnull(line.ptr);
	ck_assert_int_eq(bc_buf_put_span(recording, line), BC_OK);
}

static const struct sess_world world_ops = {.now = world_now,
					    .send = world_send,
					    .read = world_read,
					    .charge = world_charge,
					    .close = world_close,
					    .timer = world_timer,
					    .tool_run = world_tool_run,
					    .tool_cancel = world_tool_cancel,
					    .tool_commit = world_tool_commit,
					    .tool_settle = world_tool_settle,
					    .tool_result = world_tool_result,
					    .changed = world_changed,
					    .reason_start = world_reason_start,
					    .reason_cancel = world_reason_cancel,
					    .admit = world_admit,
					    .learn = world_learn,
					    .observe = world_observe,
					    .predict = world_predict,
					    .warm = world_warm,
					    .noticed = world_noticed,
					    .ended = world_ended,
					    .record = world_record};

/* ---- life ---- */

static struct cfg *load(const char *toml)
{
	char path[] = "/tmp/session_rig_XXXXXX";
	int fd = mkstemp(path);
	struct bc_buf findings;
	struct cfg *cfg = NULL;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, toml, strlen(toml)), (ssize_t)strlen(toml));
	close(fd);
	bc_buf_init(&findings, 65536);
	if (cfg_load(path, &findings, &cfg) != BC_OK) {
		ck_abort_msg("%.*s", BC_SPAN_ARG(bc_buf_span(&findings)));
	}
	bc_buf_release(&findings);
	unlink(path);
	return cfg;
}

void rig_init(struct rig *rig, const char *toml, bool open)
{
	struct sess_conf conf = {.id = "test", .client = "tester"};

	*rig = (struct rig){
		.now = 1000 * BC_USEC_PER_SEC, .close_code = {-1, -1}, .reading = {true, true}};
	for (int i = 0; i < SESS_TIMER__COUNT; i++) {
		rig->timers[i] = -1;
	}
	for (int i = 0; i < TRAIT__COUNT; i++) {
		rig->noticed[i] = TRAIT_UNKNOWN;
	}
	rig->cfg = load(toml);
	rig->tools = toolset_new(rig->cfg);
	conf.cfg = rig->cfg;
	conf.upstream = cfg_upstream_find(rig->cfg, NULL);
	conf.tools = rig->tools;
	conf.record = recording != NULL;
	ck_assert_int_eq(sess_new(&conf, &world_ops, rig, &rig->sess), BC_OK);
	if (open) {
		sess_upstream_open(rig->sess);
	}
}

void rig_fini(struct rig *rig)
{
	rig->sess = sess_free(rig->sess);
	ck_assert(!rig->reasoning);
	json_decref(rig->reasoned);
	for (int side = 0; side < 2; side++) {
		for (unsigned i = 0; i < rig->count[side]; i++) {
			free(rig->sent[side][i]);
		}
	}
	for (unsigned i = 0; i < rig->run_count; i++) {
		/* Every run is settled exactly once, whatever happened. */
		ck_assert_int_ne(rig->runs[i].settled, -1);
		free(rig->runs[i].arguments);
		free(rig->runs[i].output);
	}
	rig->tools = toolset_unref(rig->tools);
	rig->cfg = cfg_unref(rig->cfg);
}

/* ---- saying ---- */

static void say(struct rig *rig, enum sess_side side, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

static void say(struct rig *rig, enum sess_side side, const char *format, va_list args)
{
	char *text = malloc(TEXT_MAX);
	int len;

	ck_assert_ptr_nonnull(text);
	len = vsnprintf(text, TEXT_MAX, format, args);
	ck_assert_int_lt(len, TEXT_MAX);
	for (int i = 0; i < len; i++) {
		text[i] = text[i] == '\'' ? '"' : text[i];
	}
	sess_message(rig->sess, side, WS_TEXT, bc_span(text, (size_t)len));
	free(text);
}

void rig_up(struct rig *rig, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(rig, SESS_UPSTREAM, format, args);
	va_end(args);
}

void rig_client(struct rig *rig, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(rig, SESS_CLIENT, format, args);
	va_end(args);
}

/* ---- looking ---- */

json_t *rig_next(struct rig *rig, enum sess_side side, const char *type)
{
	const char *whom = side == SESS_CLIENT ? "client" : "provider";
	json_t *event;

	if (rig->seen[side] >= rig->count[side]) {
		ck_abort_msg("nothing more reached the %s, expected %s", whom, type);
	}
	event = json_loads(rig->sent[side][rig->seen[side]], 0, NULL);
	if (event == NULL || strcmp(rig_string(event, "type"), type) != 0) {
		ck_abort_msg("the %s got %s, expected %s", whom, rig->sent[side][rig->seen[side]],
			     type);
	}
	rig->seen[side]++;
	return event;
}

void rig_expect(struct rig *rig, enum sess_side side, const char *type)
{
	json_decref(rig_next(rig, side, type));
}

void rig_silent(struct rig *rig, enum sess_side side)
{
	if (rig->seen[side] < rig->count[side]) {
		ck_abort_msg("the %s got %s, expected nothing",
			     side == SESS_CLIENT ? "client" : "provider",
			     rig->sent[side][rig->seen[side]]);
	}
}

const char *rig_string(const json_t *event, const char *path)
{
	char key[64];
	const char *dot;

	while ((dot = strchr(path, '.')) != NULL) {
		(void)snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
		event = json_object_get(event, key);
		path = dot + 1;
	}
	event = json_object_get(event, path);
	return json_is_string(event) ? json_string_value(event) : "";
}

bool rig_start(struct rig *rig, unsigned index)
{
	struct rig_run *run = &rig->runs[index];

	ck_assert_uint_lt(index, rig->run_count);
	if (run->may_start == NULL || run->may_start(run->arg)) {
		return true;
	}
	run->finished = true;
	run->result = (struct tool_result){.outcome = TOOL_CANCELLED, .output = BC_SPAN_LIT("{}")};
	run->done(run->arg, (struct tool_call *)run, &run->result);
	return false;
}

void rig_finish(struct rig *rig, unsigned number, const char *output)
{
	struct rig_run *run = &rig->runs[number];

	ck_assert_uint_lt(number, rig->run_count);
	ck_assert(!run->finished && !run->cancelled);
	run->output = strdup(output);
	run->finished = true;
	run->result = (struct tool_result){.outcome = TOOL_OK,
					   .status = 200,
					   .output = bc_span_str(run->output),
					   .started = rig->now,
					   .finished = rig->now};
	run->done(run->arg, (struct tool_call *)run, &run->result);
}

static void end_badly(struct rig *rig, unsigned number, enum tool_outcome outcome, int status)
{
	struct rig_run *run = &rig->runs[number];

	ck_assert_uint_lt(number, rig->run_count);
	ck_assert(!run->finished && !run->cancelled);
	run->finished = true;
	run->result = (struct tool_result){.outcome = outcome,
					   .status = status,
					   .output = BC_SPAN_LIT("{\"error\":{}}"),
					   .finished = rig->now};
	run->done(run->arg, (struct tool_call *)run, &run->result);
}

void rig_reason_says(struct rig *rig, const char *text)
{
	struct bc_buf chunk;

	bc_buf_init(&chunk, 65536);
	ck_assert(rig->reasoning);
	ck_assert_int_eq(bc_buf_put_str(&chunk, "data: {\"choices\":[{\"delta\":{\"content\":"),
			 BC_OK);
	ck_assert_int_eq(json_string_put(&chunk, bc_span_str(text)), BC_OK);
	ck_assert_int_eq(bc_buf_put_str(&chunk, "}}]}\n\n"), BC_OK);
	sess_reason_bytes(rig->sess, bc_buf_span(&chunk));
	bc_buf_release(&chunk);
}

void rig_reason_ends(struct rig *rig)
{
	ck_assert(rig->reasoning);
	sess_reason_bytes(rig->sess, BC_SPAN_LIT("data: [DONE]\n\n"));
	rig->reasoning = false;
	sess_reason_ended(rig->sess, BC_OK, 200, 0);
}

void rig_fail(struct rig *rig, unsigned number, enum tool_outcome outcome)
{
	end_badly(rig, number, outcome, 0);
}

void rig_refuse(struct rig *rig, unsigned number, int status)
{
	end_badly(rig, number, TOOL_HTTP_ERROR, status);
}

void rig_wait(struct rig *rig, bc_usec delay)
{
	rig->now += delay;
	for (int i = 0; i < SESS_TIMER__COUNT; i++) {
		if (rig->timers[i] >= 0 && rig->timers[i] <= rig->now && !rig->ended) {
			rig->timers[i] = -1;
			sess_timer_fired(rig->sess, (enum sess_timer)i);
		}
	}
}
