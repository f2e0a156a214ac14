/*
 * The entries of a session's ledger.
 *
 * Invariants:
 *   G1  At most session.ledger_entries entries and session.ledger_bytes bytes; the oldest are forgotten and counted.
 *   G2  Frames of a stream (audio, deltas of text) cost no memory of their own: those of one kind are counted in one entry
 *       as long as nothing else happens.
 *   G3  An entry holds types, names and ids, never what was said, asked or answered.
 */
#include "daemon/session/ledger.h"

#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#define LEDGER_MAGIC 0x6c656467u
#define LINE_SLACK   4096 /* bytes of a recorded line beside its payload */
#define ESCAPED_MAX  6    /* bytes one byte can become in a JSON string */

static const char *const source_names[] = {
	[LEDGER_CLIENT] = "client", [LEDGER_PROVIDER] = "provider", [LEDGER_TOOL] = "tool",
	[LEDGER_TIMER] = "timer",   [LEDGER_GATEWAY] = "gateway",   [LEDGER_CALLER] = "caller",
	[LEDGER_WORLD] = "world",
};

static_assert(BC_ARRAY_LEN(source_names) == LEDGER_SOURCE__COUNT, "a source has no name");

/* ---- life ---- */

enum bc_err ledger_new(struct sess *sess, const struct sess_conf *conf)
{
	struct ledger *ledger = calloc(1, sizeof(*ledger));
	bc_usec now = sess_now(sess);

	if (ledger == NULL) {
		return BC_E_NOMEM;
	}
	ledger->magic = LEDGER_MAGIC;
	ledger->sess = sess;
	ledger->world = sess->world;
	ledger->world_arg = sess->world_arg;
	TAILQ_INIT(&ledger->entries);
	TAILQ_INIT(&ledger->tools);
	ledger->at = now;
	ledger->state_since = now;
	ledger->lane_since = now;
	bc_buf_init(&ledger->line, sess->cfg->session.message_max * ESCAPED_MAX + LINE_SLACK);
	sess->ledger = ledger;
	sess->world = &ledger_world;
	sess->world_arg = ledger;
	if (conf->record && ledger->world->record != NULL) {
		ledger->recording = true;
		script_begin(ledger, "in", "begin");
		script_string(ledger, "session", bc_span_str(conf->id));
		script_string(ledger, "client", bc_span_str(conf->client));
		script_string(ledger, "upstream", bc_span_str(conf->upstream->name));
		script_number(ledger, "tools", conf->tools != NULL);
		script_traits(ledger, conf->traits);
		script_end(ledger);
	}
	return BC_OK;
}

static void forget_oldest(struct ledger *ledger)
{
	struct ledger_entry *entry = TAILQ_FIRST(&ledger->entries);

	TAILQ_REMOVE(&ledger->entries, entry, link);
	ledger->count--;
	ledger->bytes -= sizeof(*entry) + entry->len;
	ledger->input = ledger->input == entry ? NULL : ledger->input;
	for (size_t i = 0; i < LEDGER_RUNS_MAX; i++) {
		if (ledger->runs[i].entry == entry) {
			ledger->runs[i].entry = NULL;
		}
	}
	free(entry);
}

void ledger_free(struct sess *sess)
{
	struct ledger *ledger = sess->ledger;

	if (ledger == NULL) {
		return;
	}
	BC_CHECK(ledger, LEDGER_MAGIC);
	wait_note(ledger, 0, ledger->at);
	wait_state(sess);
	while (!TAILQ_EMPTY(&ledger->entries)) {
		forget_oldest(ledger);
	}
	ledger_runs_free(ledger);
	bc_buf_release(&ledger->line);
	sess->world = ledger->world;
	sess->world_arg = ledger->world_arg;
	sess->ledger = NULL;
	ledger->magic = 0;
	free(ledger);
}

/* ---- adding ---- */

/* An entry at the end; NULL: none is kept, or out of memory.  Others may be forgotten for it. */
static struct ledger_entry *put(struct ledger *ledger, enum ledger_source source, const char *kind,
				struct bc_span detail)
{
	const struct cfg_session *limits = &ledger->sess->cfg->session;
	size_t len = detail.len > LEDGER_DETAIL_MAX ? LEDGER_DETAIL_MAX : detail.len;
	size_t size = sizeof(struct ledger_entry) + len;
	struct ledger_entry *entry = NULL;

	ledger->numbered++;
	ledger->changed = true;
	while (ledger->count > 0 && (ledger->count >= limits->ledger_entries ||
				     ledger->bytes + size > limits->ledger_bytes)) {
		forget_oldest(ledger);
		ledger->forgotten++;
		bc_metric_inc(BC_M_LEDGER_FORGOTTEN);
	}
	if (limits->ledger_entries > 0) {
		entry = malloc(size);
	}
	if (entry == NULL) {
		return NULL;
	}
	*entry = (struct ledger_entry){.number = ledger->numbered,
				       .at = ledger->at,
				       .count = 1,
				       .len = (uint16_t)len,
				       .source = (uint8_t)source,
				       .kind = kind};
	entry->begun = entry->at;
	if (ledger->sess->agent != NULL) {
		entry->turn = (uint32_t)ledger->sess->agent->committed_turn;
		entry->revision = (uint32_t)ledger->sess->agent->input;
	}
	for (size_t i = 0; i < len; i++) {
		/* Ids are others' to choose; none may look like a further line. */
		entry->detail[i] = (unsigned char)detail.ptr[i] < ' ' ? '?' : detail.ptr[i];
	}
	TAILQ_INSERT_TAIL(&ledger->entries, entry, link);
	ledger->count++;
	ledger->bytes += size;
	return entry;
}

/* Nothing before this may be counted with what follows it. */
static void end_runs(struct ledger *ledger)
{
	memset(ledger->runs, 0, sizeof(ledger->runs));
}

void ledger_note(struct sess *sess, enum ledger_source source, const char *kind, const char *format,
		 ...)
{
	char detail[LEDGER_DETAIL_MAX + 1];
	va_list args;
	int len;

	if (sess->ledger == NULL) {
		return;
	}
	va_start(args, format);
	len = vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	BC_BUG_ON(len < 0);
	end_runs(sess->ledger);
	(void)put(sess->ledger, source, kind, bc_span_str(detail)); /* kept or not */
}

/* ---- what an event is ---- */

struct detail {
	char text[LEDGER_DETAIL_MAX];
	size_t len;
};

/* Nothing in it but what ids and types are made of: it may be shown. */
static bool is_word(struct bc_span text)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/";

	for (size_t i = 0; i < text.len; i++) {
		if (memchr(allowed, text.ptr[i], sizeof(allowed) - 1) == NULL) {
			return false;
		}
	}
	return text.len > 0 && text.len < SESS_ID_MAX;
}

/* " name=value" of a raw string that is a word; else nothing. */
static void put_word(struct detail *detail, const char *name, struct bc_span raw)
{
	size_t room = sizeof(detail->text) - detail->len;
	struct bc_span word;
	int len;

	if (!json_raw_is_string(raw)) {
		return;
	}
	word = bc_span(raw.ptr + 1, raw.len - 2);
	if (!is_word(word)) {
		return;
	}
	len = snprintf(detail->text + detail->len, room, " %s=%.*s", name, BC_SPAN_ARG(word));
	if (len > 0 && (size_t)len < room) {
		detail->len += (size_t)len;
	}
}

#define MEMBERS_MAX 8

/* Members of an object that say which thing an event is about. */
static void put_members(struct detail *detail, struct bc_span object, const char *const *keys,
			const char *const *names, size_t count)
{
	struct bc_span found[MEMBERS_MAX];

	BC_BUG_ON(count > MEMBERS_MAX);
	if (object.len == 0 || object.ptr[0] != '{' ||
	    json_members(object, keys, count, found) != BC_OK) {
		return;
	}
	for (size_t i = 0; i < count; i++) {
		if (found[i].ptr != NULL) {
			put_word(detail, names[i], found[i]);
		}
	}
}

static void put_ids(struct detail *detail, struct bc_span text)
{
	static const char *const keys[] = {"event_id", "response_id", "item_id", "call_id",
					   "response", "item",        "error"};
	static const char *const names[] = {"event", "response", "item", "call"};
	static const char *const response_keys[] = {"id", "status", "conversation"};
	static const char *const response_names[] = {"response", "status", "conversation"};
	static const char *const item_keys[] = {"id", "type", "role", "name", "call_id", "status"};
	static const char *const item_names[] = {"item", "is", "role", "tool", "call", "status"};
	static const char *const error_keys[] = {"code", "event_id"};
	static const char *const error_names[] = {"code", "answers"};
	struct bc_span found[BC_ARRAY_LEN(keys)];

	if (json_members(text, keys, BC_ARRAY_LEN(keys), found) != BC_OK) {
		return;
	}
	for (size_t i = 0; i < BC_ARRAY_LEN(names); i++) {
		if (found[i].ptr != NULL) {
			put_word(detail, names[i], found[i]);
		}
	}
	put_members(detail, found[4], response_keys, response_names, BC_ARRAY_LEN(response_keys));
	put_members(detail, found[5], item_keys, item_names, BC_ARRAY_LEN(item_keys));
	put_members(detail, found[6], error_keys, error_names, BC_ARRAY_LEN(error_keys));
}

static bool ends_with(struct bc_span text, const char *ending)
{
	size_t len = strlen(ending);

	return text.len >= len && memcmp(text.ptr + text.len - len, ending, len) == 0;
}

/* Of a stream: comes many times a second, and each is as good as the other. */
static bool is_frame(struct bc_span type)
{
	return ends_with(type, ".delta") || bc_span_is(type, "input_audio_buffer.append");
}

/* Whether these are frames of the same kind, which one event always is: each side has its own. */
static bool is_same(const struct ledger_frames *frames, const struct ledger_frames *other,
		    const char *kind, struct bc_span type)
{
	const struct ledger_entry *entry = frames->entry;

	return frames->event == other->event && frames->source == other->source &&
	       (frames->event != OAI_UNKNOWN ||
		(entry->kind == kind && bc_span_eq(bc_span(entry->detail, entry->len), type)));
}

static struct ledger_entry *count_frame(struct ledger *ledger, struct ledger_frames frames,
					const char *kind, struct bc_span type, size_t bytes)
{
	size_t at = 0;

	for (; at < LEDGER_RUNS_MAX && ledger->runs[at].entry != NULL; at++) {
		struct ledger_entry *entry = ledger->runs[at].entry;

		if (is_same(&ledger->runs[at], &frames, kind, type)) {
			entry->count++;
			entry->bytes += bytes;
			entry->at = ledger->at;
			return entry;
		}
	}
	if (at == LEDGER_RUNS_MAX) {
		end_runs(ledger);
		at = 0;
	}
	frames.entry = put(ledger, (enum ledger_source)frames.source, kind, type);
	if (frames.entry != NULL) {
		frames.entry->bytes = bytes;
		ledger->runs[at] = frames;
	}
	return frames.entry;
}

struct ledger_entry *ledger_put_bytes(struct ledger *ledger, enum ledger_source source,
				      const char *kind, size_t bytes)
{
	return count_frame(ledger,
			   (struct ledger_frames){.source = (uint8_t)source, .event = OAI_UNKNOWN},
			   kind, BC_SPAN_LIT("binary"), bytes);
}

/* An entry of its own, with the ids of what the event is about. */
static struct ledger_entry *put_described(struct ledger *ledger, enum ledger_source source,
					  const char *kind, struct bc_span type,
					  struct bc_span text)
{
	struct detail detail = {.len = type.len};
	struct ledger_entry *entry;

	memcpy(detail.text, type.ptr, type.len);
	put_ids(&detail, text);
	end_runs(ledger);
	entry = put(ledger, source, kind, bc_span(detail.text, detail.len));
	if (entry != NULL) {
		entry->bytes = text.len;
	}
	return entry;
}

struct ledger_entry *ledger_put_event(struct ledger *ledger, enum ledger_source source,
				      const char *kind, const struct oai_envelope *envelope)
{
	struct ledger_frames frames = {.source = (uint8_t)source,
				       .event = (uint8_t)envelope->event};
	struct bc_span type = envelope->type;

	/* The types of the protocol are words: only those of others have to be looked at. */
	if (envelope->event == OAI_UNKNOWN && !is_word(type)) {
		type = BC_SPAN_LIT("?");
	}
	return is_frame(type) ? count_frame(ledger, frames, kind, type, envelope->text.len)
			      : put_described(ledger, source, kind, type, envelope->text);
}

/* ---- looking ---- */

static enum bc_err put_entry(const struct ledger_entry *entry, bc_usec since, struct bc_buf *out)
{
	enum bc_err err = bc_buf_printf(
		out, "%" PRIu32 " at=%.6f turn=%" PRIu32 " revision=%" PRIu32 " from=%s %s %.*s",
		entry->number, (double)(entry->begun - since) / (double)BC_USEC_PER_SEC,
		entry->turn, entry->revision, source_names[entry->source], entry->kind,
		(int)entry->len, entry->detail);

	if (err == BC_OK && entry->bytes > 0) {
		err = bc_buf_printf(out, " bytes=%" PRIu64, entry->bytes);
	}
	if (err == BC_OK && entry->count > 1) {
		err = bc_buf_printf(out, " count=%u until=%.6f", entry->count,
				    (double)(entry->at - since) / (double)BC_USEC_PER_SEC);
	}
	if (err == BC_OK && entry->passed > 0) {
		err = entry->passed == entry->count
			      ? bc_buf_put_str(out, " forwarded")
			      : bc_buf_printf(out, " forwarded=%u", entry->passed);
	}
	return err == BC_OK ? bc_buf_put_str(out, "\n") : err;
}

enum bc_err sess_ledger(const struct sess *sess, struct bc_buf *out)
{
	const struct ledger *ledger;
	const struct ledger_entry *entry;
	enum bc_err err;

	BC_CHECK(sess, SESS_MAGIC);
	ledger = sess->ledger;
	err = bc_buf_printf(out, "session=%s entries=%u forgotten=%" PRIu64 " bytes=%zu\n",
			    sess->log.session, ledger->count, ledger->forgotten, ledger->bytes);
	TAILQ_FOREACH(entry, &ledger->entries, link) {
		if (err == BC_OK) {
			err = put_entry(entry, sess->started, out);
		}
	}
	return err;
}
