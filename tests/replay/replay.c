#include "tests/replay/replay.h"

#include "daemon/base/id.h"
#include "daemon/session/session.h"
#include "proto/b64.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RUNS_MAX 4096
#define ID_LEN   (BC_ID_SIZE - 1)

struct run {
	bool (*may_start)(void *arg);
	tool_done_fn *done;
	void *arg;
	bool finished;
	struct tool_result result;
	char *output;
};

struct player {
	struct cfg *cfg;
	struct toolset *tools;
	struct sess *sess;
	json_t *lines; /* array of objects */
	size_t at;     /* next line */
	bc_usec now;
	struct bc_span said; /* being handled; as it is told now */
	json_t *ids;         /* recorded -> replayed */
	struct run *runs[RUNS_MAX];
	unsigned run_count;
	bool failed;
	bool cut; /* the recording ends before its session */
	struct replay_result result;
	struct bc_buf *message;
};

/* ---- reading ---- */

static const char *string(const json_t *line, const char *key)
{
	const char *value = json_string_value(json_object_get(line, key));

	return value == NULL ? "" : value;
}

static int64_t number(const json_t *line, const char *key)
{
	return json_integer_value(json_object_get(line, key));
}

static struct bc_span span(const json_t *line, const char *key)
{
	const json_t *value = json_object_get(line, key);

	return bc_span(json_is_string(value) ? json_string_value(value) : "",
		       json_string_length(value));
}

static void fail(struct player *player, const char *what, const json_t *line, struct bc_span got)
{
	char *text = line == NULL ? NULL : json_dumps(line, JSON_COMPACT);

	if (!player->failed) {
		/* A message that is too long is cut: the place is named all the same. */
		(void)!bc_buf_printf(player->message, "line %zu: %s", player->at + 1, what);
		(void)!bc_buf_printf(player->message, "\n  recorded: %.4000s",
				     text == NULL ? "-" : text);
		(void)!bc_buf_printf(player->message, "\n  replayed: %.*s",
				     (int)(got.len > 4000 ? 4000 : got.len), got.ptr);
	}
	player->failed = true;
	free(text);
}

static const json_t *current(const struct player *player)
{
	return json_array_get(player->lines, player->at);
}

/* ---- ids ---- */

static bool is_id(struct bc_span text, size_t at)
{
	if (text.len - at < ID_LEN || memcmp(text.ptr + at, "bc_", 3) != 0) {
		return false;
	}
	for (size_t i = at + 4; i < at + ID_LEN; i++) {
		char c = text.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '2' && c <= '7'))) {
			return false;
		}
	}
	return true;
}

static bool same_id(struct player *player, const char *recorded, const char *replayed)
{
	char key[BC_ID_SIZE];
	const json_t *known;

	memcpy(key, recorded, ID_LEN);
	key[ID_LEN] = '\0';
	known = json_object_get(player->ids, key);
	if (known == NULL) {
		return json_object_set_new(player->ids, key, json_stringn(replayed, ID_LEN)) == 0;
	}
	return memcmp(json_string_value(known), replayed, ID_LEN) == 0;
}

static bool same_text(struct player *player, struct bc_span recorded, struct bc_span replayed)
{
	size_t at = 0;

	if (recorded.len != replayed.len) {
		return false;
	}
	while (at < recorded.len) {
		if (is_id(recorded, at) && is_id(replayed, at)) {
			if (!same_id(player, recorded.ptr + at, replayed.ptr + at)) {
				return false;
			}
			at += ID_LEN;
		} else if (recorded.ptr[at] != replayed.ptr[at]) {
			return false;
		} else {
			at++;
		}
	}
	return true;
}

/* What somebody said then, with the ids of now; heap. */
static char *translate(const struct player *player, struct bc_span text)
{
	char *copy = bc_span_dup(text);

	for (size_t at = 0; copy != NULL && at < text.len; at++) {
		char key[BC_ID_SIZE];
		const json_t *known;

		if (!is_id(text, at)) {
			continue;
		}
		memcpy(key, text.ptr + at, ID_LEN);
		key[ID_LEN] = '\0';
		known = json_object_get(player->ids, key);
		if (known != NULL) {
			memcpy(copy + at, json_string_value(known), ID_LEN);
		}
	}
	return copy;
}

/* ---- the world: every decision must be the next line ---- */

/* The line of this decision; NULL: it was another one then. */
static const json_t *expect(struct player *player, const char *what, struct bc_span got)
{
	const json_t *line = current(player);

	if (player->failed || (player->cut && json_object_get(line, "end") != NULL)) {
		return NULL;
	}
	if (strcmp(string(line, "out"), what) != 0) {
		fail(player, what, line, got);
		return NULL;
	}
	if (number(line, "t") != player->now) {
		fail(player, "at another time", line, got);
		return NULL;
	}
	player->at++;
	player->result.decisions++;
	return line;
}

static void demand(struct player *player, bool holds, const char *what, const json_t *line,
		   struct bc_span got)
{
	if (line != NULL && !holds) {
		player->at--;
		fail(player, what, line, got);
	}
}

static bc_usec world_now(void *world)
{
	return ((struct player *)world)->now;
}

static const char *side_name(enum sess_side side)
{
	return side == SESS_CLIENT ? "client" : "upstream";
}

static bool world_send(void *world, enum sess_side side, enum ws_opcode opcode,
		       struct bc_span payload)
{
	struct player *player = world;
	const json_t *line = expect(player, "send", payload);

	(void)opcode;
	if (line == NULL) {
		return false;
	}
	demand(player, strcmp(string(line, "side"), side_name(side)) == 0, "another side", line,
	       payload);
	if (number(line, "same") != 0) {
		demand(player, bc_span_eq(player->said, payload), "forwarded then", line, payload);
	} else if (json_object_get(line, "text") != NULL) {
		demand(player, same_text(player, span(line, "text"), payload), "another event",
		       line, payload);
	}
	return number(line, "full") != 0;
}

static void world_read(void *world, enum sess_side side, bool on)
{
	struct player *player = world;
	const json_t *line = expect(player, "read", bc_span_str(side_name(side)));

	demand(player,
	       strcmp(string(line, "side"), side_name(side)) == 0 && number(line, "on") == on,
	       "read otherwise", line, bc_span_str(side_name(side)));
}

static bool world_charge(void *world, size_t bytes)
{
	struct player *player = world;

	(void)bytes;
	if (strcmp(string(current(player), "out"), "over_quota") != 0) {
		return true;
	}
	player->at++;
	return false;
}

static void world_close(void *world, enum sess_side side, uint16_t code, struct bc_span reason)
{
	struct player *player = world;
	const json_t *line = expect(player, "close", bc_span_str(side_name(side)));

	demand(player,
	       strcmp(string(line, "side"), side_name(side)) == 0 && number(line, "code") == code &&
		       bc_span_eq(span(line, "reason"), reason),
	       "closed otherwise", line, reason);
}

static void world_timer(void *world, enum sess_timer which, bc_usec delay)
{
	struct player *player = world;
	const json_t *line = expect(player, "timer", BC_SPAN_LIT("timer"));

	demand(player,
	       number(line, "timer") == (int64_t)which &&
		       number(line, "delay") == (delay < 0 ? -1 : delay),
	       "another timer", line, BC_SPAN_LIT("timer"));
}

static struct run *run_new(struct player *player, const struct tool_request *request)
{
	struct run *run = player->run_count < RUNS_MAX ? calloc(1, sizeof(*run)) : NULL;

	if (run != NULL) {
		run->may_start = request->may_start;
		run->done = request->done;
		run->arg = request->arg;
		player->runs[player->run_count++] = run;
	}
	return run;
}

static enum bc_err world_tool_run(void *world, const struct tool_request *request,
				  struct tool_call **ret)
{
	struct player *player = world;
	const json_t *line;
	struct run *run;

	if (strcmp(string(current(player), "out"), "run_failed") == 0) {
		player->at++;
		return BC_E_NOMEM;
	}
	line = expect(player, "run", request->arguments);
	demand(player,
	       bc_span_is(span(line, "tool"), request->tool->name) &&
		       bc_span_eq(span(line, "arguments"), request->arguments) &&
		       number(line, "turn") == (int64_t)request->turn &&
		       number(line, "guess") == request->speculative &&
		       (number(line, "withheld") == 1) == request->withhold &&
		       number(line, "run") == player->run_count,
	       "another run", line, request->arguments);
	run = run_new(player, request);
	if (run == NULL) {
		return BC_E_NOMEM;
	}
	*ret = (struct tool_call *)run;
	return BC_OK;
}

static int64_t run_number(const struct player *player, const struct tool_call *call)
{
	for (unsigned i = 0; i < player->run_count; i++) {
		if (player->runs[i] == (const struct run *)call) {
			return i;
		}
	}
	return -1;
}

static void world_tool_cancel(void *world, struct tool_call *call)
{
	struct player *player = world;
	const json_t *line = expect(player, "cancel_run", BC_SPAN_LIT(""));

	demand(player, number(line, "run") == run_number(player, call), "another run", line,
	       BC_SPAN_LIT(""));
}

static void world_tool_commit(void *world, struct tool_call *call)
{
	struct player *player = world;
	const json_t *line = expect(player, "commit_run", BC_SPAN_LIT(""));

	demand(player, number(line, "run") == run_number(player, call), "another run", line,
	       BC_SPAN_LIT(""));
}

static void world_tool_settle(void *world, struct tool_call *call, enum jrn_settlement how)
{
	struct player *player = world;
	const json_t *line = expect(player, "settle", BC_SPAN_LIT(""));

	demand(player,
	       number(line, "run") == run_number(player, call) && number(line, "how") == (int)how,
	       "settled otherwise", line, BC_SPAN_LIT(""));
}

static const struct tool_result *world_tool_result(void *world, const struct tool_call *call)
{
	const struct run *run = (const struct run *)call;

	(void)world;
	return run->finished ? &run->result : NULL;
}

static void world_changed(void *world, const char *tag)
{
	struct player *player = world;
	const json_t *line = expect(player, "change", bc_span_str(tag));

	demand(player, bc_span_is(span(line, "tag"), tag), "another tag", line, bc_span_str(tag));
}

static bool world_reason_start(void *world, struct bc_span body)
{
	struct player *player = world;
	const json_t *line = expect(player, "reason", body);

	demand(player, same_text(player, span(line, "text"), body), "another question", line, body);
	return number(line, "started") != 0;
}

static void world_reason_cancel(void *world)
{
	(void)expect(world, "cancel_reason", BC_SPAN_LIT("cancel_reason"));
}

static enum admission_refusal world_admit(void *world, const struct cfg_tool *tool,
					  enum spec_trigger trigger)
{
	struct player *player = world;
	const json_t *line = current(player);
	int64_t because = number(line, "because");

	(void)tool;
	(void)trigger;
	if (strcmp(string(line, "out"), "refused") != 0 || because <= ADMISSION_GRANTED ||
	    because >= ADMISSION_REFUSAL__COUNT) {
		return ADMISSION_GRANTED;
	}
	player->at++;
	return (enum admission_refusal)because;
}

static unsigned world_predict(void *world, const struct pattern_call *call, uint64_t turn,
			      struct pattern_guess out[PATTERN_GUESSES_MAX])
{
	struct player *player = world;
	unsigned count = 0;

	(void)call;
	(void)turn;
	while (count < PATTERN_GUESSES_MAX &&
	       strcmp(string(current(player), "out"), "predicted") == 0) {
		const json_t *line = current(player);

		out[count++] =
			(struct pattern_guess){.tool = strdup(string(line, "tool")),
					       .arguments = strdup(string(line, "arguments"))};
		player->at++;
		if (number(line, "more") == 0) {
			break;
		}
	}
	return count;
}

static void world_ended(void *world)
{
	(void)expect(world, "ended", BC_SPAN_LIT("ended"));
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
					    .predict = world_predict,
					    .ended = world_ended};

/* ---- inputs ---- */

static enum bc_err error_named(const char *name)
{
	for (unsigned i = 0; i < BC_ERR__COUNT; i++) {
		if (strcmp(bc_err_name((enum bc_err)i), name) == 0) {
			return (enum bc_err)i;
		}
	}
	return BC_E_INVALID;
}

/* What the session knew of its upstream: "name=value" with commas between. */
static void read_traits(const char *text, struct trait_set *traits)
{
	trait_set_clear(traits);
	while (*text != '\0') {
		size_t len = strcspn(text, ",");
		enum trait trait;
		int32_t value;

		if (trait_parse(bc_span(text, len), &trait, &value) == BC_OK) {
			traits->value[trait] = value;
		}
		text += len + (text[len] == ',');
	}
}

static void begin(struct player *player, const json_t *line)
{
	struct trait_set traits;
	struct sess_conf conf = {.cfg = player->cfg, .id = string(line, "session")};

	if (number(line, "tools") != 0) {
		player->tools = toolset_new(player->cfg);
	}
	conf.tools = player->tools;
	conf.upstream = cfg_upstream_find(player->cfg, string(line, "upstream"));
	if (json_object_get(line, "client") != NULL) {
		conf.client = string(line, "client");
	}
	if (json_object_get(line, "traits") != NULL) {
		read_traits(string(line, "traits"), &traits);
		conf.traits = &traits;
	}
	if (conf.upstream == NULL || sess_new(&conf, &world_ops, player, &player->sess) != BC_OK) {
		fail(player, "no session can be made", line, BC_SPAN_LIT(""));
	}
}

static void message(struct player *player, const json_t *line, enum sess_side side)
{
	struct bc_span text = span(line, "text");
	struct bc_span base64 = span(line, "base64");
	char *copy;
	size_t len;

	if (json_object_get(line, "base64") == NULL) {
		copy = translate(player, text);
		player->said = bc_span(copy, text.len);
		sess_message(player->sess, side, WS_TEXT, player->said);
	} else {
		copy = malloc(base64.len + 1);
		if (copy == NULL || b64_decode((uint8_t *)copy, base64, &len) != BC_OK) {
			fail(player, "no base64", line, BC_SPAN_LIT(""));
		} else {
			player->said = bc_span(copy, len);
			sess_message(player->sess, side, WS_BINARY, player->said);
		}
	}
	player->said = bc_span(NULL, 0);
	free(copy);
}

static void reasoned(struct player *player, const json_t *line)
{
	struct bc_span base64 = span(line, "base64");
	char *bytes = malloc(base64.len + 1);
	size_t len;

	if (bytes == NULL || b64_decode((uint8_t *)bytes, base64, &len) != BC_OK) {
		fail(player, "no base64", line, BC_SPAN_LIT(""));
	} else {
		sess_reason_bytes(player->sess, bc_span(bytes, len));
	}
	free(bytes);
}

static struct run *run_of(const struct player *player, const json_t *line)
{
	uint64_t index = (uint64_t)number(line, "run");

	return index < player->run_count ? player->runs[index] : NULL;
}

static void may_start(struct player *player, const json_t *line)
{
	struct run *run = run_of(player, line);
	bool granted = run != NULL && run->may_start != NULL && run->may_start(run->arg);
	const json_t *decided = expect(player, "start", BC_SPAN_LIT("start"));

	demand(player, number(decided, "granted") == granted, "granted otherwise", decided,
	       BC_SPAN_LIT("start"));
}

static void result(struct player *player, const json_t *line)
{
	struct run *run = run_of(player, line);
	struct bc_span output = span(line, "output");

	if (run == NULL || run->finished) {
		fail(player, "no such run", line, BC_SPAN_LIT(""));
		return;
	}
	run->output = bc_span_dup(output);
	run->finished = true;
	run->result = (struct tool_result){.status = (int)number(line, "status"),
					   .output = bc_span(run->output, output.len),
					   .started = number(line, "started"),
					   .finished = number(line, "finished")};
	for (unsigned i = 0; i < TOOL_OUTCOME__COUNT; i++) {
		if (bc_span_is(span(line, "outcome"), tool_outcome_name((enum tool_outcome)i))) {
			run->result.outcome = (enum tool_outcome)i;
		}
	}
	run->done(run->arg, (struct tool_call *)run, &run->result);
}

/* What tools and the reasoner answer; false: it is something else. */
static bool feed_answer(struct player *player, const json_t *line, const char *what)
{
	if (strcmp(what, "may_start") == 0) {
		may_start(player, line);
	} else if (strcmp(what, "result") == 0) {
		result(player, line);
	} else if (strcmp(what, "reasoned") == 0) {
		reasoned(player, line);
	} else if (strcmp(what, "reason_ended") == 0) {
		sess_reason_ended(player->sess, error_named(string(line, "error")),
				  (int)number(line, "status"), number(line, "retry_after"));
	} else {
		return false;
	}
	return true;
}

static void feed(struct player *player, const json_t *line)
{
	const char *what = string(line, "in");
	enum sess_side side =
		strcmp(string(line, "side"), "client") == 0 ? SESS_CLIENT : SESS_UPSTREAM;

	if (strcmp(what, "begin") == 0) {
		begin(player, line);
	} else if (player->sess == NULL) {
		fail(player, "nothing has begun", line, BC_SPAN_LIT(""));
	} else if (strcmp(what, "message") == 0) {
		message(player, line, side);
	} else if (strcmp(what, "open") == 0) {
		sess_upstream_open(player->sess);
	} else if (strcmp(what, "failed") == 0) {
		sess_upstream_failed(player->sess, error_named(string(line, "error")),
				     (unsigned)number(line, "status"), string(line, "detail"));
	} else if (strcmp(what, "closed") == 0) {
		sess_closed(player->sess, side, error_named(string(line, "error")),
			    (uint16_t)number(line, "code"), span(line, "reason"));
	} else if (strcmp(what, "drained") == 0) {
		sess_drained(player->sess, side);
	} else if (strcmp(what, "timer") == 0) {
		sess_timer_fired(player->sess, (enum sess_timer)number(line, "timer"));
	} else if (strcmp(what, "tag") == 0) {
		sess_tag_changed(player->sess, string(line, "tag"));
	} else if (strcmp(what, "shut_down") == 0) {
		sess_shut_down(player->sess);
	} else if (!feed_answer(player, line, what)) {
		fail(player, "an input nobody knows", line, BC_SPAN_LIT(""));
	}
}

/* ---- a recording ---- */

static bool load(struct player *player, struct bc_span text)
{
	while (text.len > 0) {
		const char *end = memchr(text.ptr, '\n', text.len);
		size_t len = end == NULL ? text.len : (size_t)(end - text.ptr);
		json_t *line = json_loadb(text.ptr, len, JSON_ALLOW_NUL, NULL);

		if (line == NULL || json_array_append_new(player->lines, line) != 0) {
			player->at = json_array_size(player->lines);
			fail(player, "no JSON", NULL, bc_span(text.ptr, len));
			return false;
		}
		len += end == NULL ? 0 : 1;
		text = bc_span(text.ptr + len, text.len - len);
	}
	return true;
}

static bool is_config(const struct player *player, const json_t *head)
{
	char hex[2 * BC_SHA256_SIZE + 1] = "";
	struct bc_sha256 digest;
	struct bc_buf text;

	bc_buf_init(&text, (size_t)16 << 20);
	if (cfg_print(player->cfg, &text) == BC_OK) {
		digest = bc_sha256(bc_buf_span(&text));
		bc_hex(digest.bytes, sizeof(digest.bytes), hex);
	}
	bc_buf_release(&text);
	return strcmp(string(head, "config"), hex) == 0;
}

static void play(struct player *player)
{
	const json_t *line;

	while (!player->failed && (line = current(player)) != NULL) {
		if (json_object_get(line, "in") == NULL) {
			break;
		}
		player->now = number(line, "t");
		player->at++;
		player->result.inputs++;
		feed(player, line);
	}
	/* What still runs is cancelled with the session. */
	player->sess = sess_free(player->sess);
	line = current(player);
	if (!player->failed && !player->cut && json_object_get(line, "end") == NULL) {
		fail(player, "not decided any more", line, BC_SPAN_LIT("-"));
	}
}

static void player_fini(struct player *player)
{
	toolset_unref(player->tools);
	for (unsigned i = 0; i < player->run_count; i++) {
		free(player->runs[i]->output);
		free(player->runs[i]);
	}
	json_decref(player->lines);
	json_decref(player->ids);
	free(player);
}

bool replay(struct cfg *cfg, struct bc_span text, bool check_config, struct replay_result *ret,
	    struct bc_buf *message)
{
	struct player *player = calloc(1, sizeof(*player));
	const json_t *last;
	bool held;

	if (player == NULL) {
		return false;
	}
	player->cfg = cfg;
	player->message = message;
	player->lines = json_array();
	player->ids = json_object();
	if (load(player, text)) {
		last = json_array_get(player->lines, json_array_size(player->lines) - 1);
		player->result.complete = strcmp(string(last, "end"), "session") == 0;
		player->cut = !player->result.complete;
		if (number(current(player), "recording") != 1) {
			fail(player, "no recording of this version", current(player),
			     BC_SPAN_LIT(""));
		} else if (check_config && !is_config(player, current(player))) {
			fail(player, "made with another configuration", current(player),
			     BC_SPAN_LIT(""));
		}
		player->at++;
		play(player);
	}
	*ret = player->result;
	held = !player->failed;
	player_fini(player);
	return held;
}
