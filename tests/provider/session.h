/*
 * One session of the simulated provider and the objects in it.  A session lives from the upgrade to the
 * end of its wire and owns everything below; all of it runs on one loop.
 */
#ifndef BACKCHANNEL_TESTS_PROVIDER_SESSION_H
#define BACKCHANNEL_TESTS_PROVIDER_SESSION_H

#include "proto/audio.h"
#include "tests/provider/provider.h"
#include "tests/world/carrier.h"

#include <sys/queue.h>

#define ID_SIZE     64 /* longest id we make or keep, with NUL */
#define ITEM_ID_MAX 32 /* characters of a client's item or call id */

struct session;

/* ---- heard.c: words heard ---- */

struct heard_turn {
	unsigned turn;
	bool repair;
	uint8_t words[(CARRIER_WORD_MAX + 1) / 8]; /* one bit per word heard to its end */
};

struct heard {
	struct heard_turn *turns;
	size_t n;
};

/* Note a mark; true when it ends a word not heard before. */
bool heard_mark(struct heard *heard, const struct carrier_mark *mark);

/* Add a leading part of a turn's words. */
void heard_prefix_add(struct heard *heard, unsigned turn, bool repair, unsigned words);

void heard_merge(struct heard *into, const struct heard *from);

/* How many leading words of that turn were heard. */
unsigned heard_prefix(const struct heard_turn *turn);

void heard_release(struct heard *heard);

/* Decode base64 audio of a format: words into heard, raw bytes into audio.  False: no base64. */
bool heard_decode(struct heard *heard, struct bc_buf *audio, enum audio_format format,
		  struct bc_span base64);

/* ---- item.c: the conversation ---- */

enum item_kind {
	ITEM_USER,
	ITEM_ASSISTANT,
	ITEM_SYSTEM,
	ITEM_CALL,
	ITEM_OUTPUT,
	ITEM_OTHER
};

struct item {
	TAILQ_ENTRY(item) link;
	enum item_kind kind;
	char id[ID_SIZE];
	json_t *json;        /* as it is shown on the wire, without audio bytes */
	struct heard heard;  /* of a user's audio */
	struct bc_buf audio; /* raw bytes of a user's audio */
	enum audio_format format;
	double audio_s; /* seconds of audio, either side */
	bool audio_out; /* an assistant's audio message */
	bool truncated;
	int turn;          /* of a call named before the caller's item was there; else -1 */
	ev_tstamp made;    /* of the loop's clock */
	uint64_t audio_id; /* hash of the audio, made when first asked for; 0: not yet */
	char *text;        /* all text and transcripts of a message, for reading; NULL: none */
	bool in_progress;
};

TAILQ_HEAD(item_list, item);

/* What was wrong with a client's event. */
struct fault {
	const char *code; /* NULL: null on the wire */
	char message[256];
	char param[128]; /* "": null on the wire */
};

/* Fill a fault; always false, so that checks can return it. */
bool fault_set(struct fault *fault, const char *code, const char *param, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Check and build an item a client sent (json is copied).  path names it in faults ("item",
 * "response.input[2]").  NULL with *fault filled.
 */
struct item *item_make(struct session *session, const json_t *json, const char *path,
		       struct fault *fault);

/* A new item of ours; takes json. */
struct item *item_new(enum item_kind kind, const char *id, json_t *json);

struct item *item_free(struct item *item);

struct item *item_find(struct session *session, const char *id);

/* The call item of that call id among n items, or NULL. */
const struct item *item_call_find(const struct item *const *items, size_t n, const char *call_id);

/* Put an item behind previous (NULL: at the end) and say added. */
void item_add(struct session *session, struct item *item, struct item *previous);

/* Say done. */
void item_done(struct session *session, struct item *item);

/* Append text to what can be read of the item. */
void item_text_add(struct item *item, const char *text);

/* A member of the item's JSON as a string; "" if absent. */
const char *item_string(const struct item *item, const char *key);

/* Cut an assistant's audio message behind so many milliseconds, and say so. */
void item_truncate(struct session *session, struct item *item, json_int_t end_ms);

/* Client events. */
void item_create_event(struct session *session, const json_t *event);
void item_delete_event(struct session *session, const json_t *event);
void item_truncate_event(struct session *session, const json_t *event);
void item_retrieve_event(struct session *session, const json_t *event);

/* ---- model.c, script.c: decisions ---- */

/* What a response is going to say: a few calls, or a message. */
struct planned {
	bool is_call;
	char *name;      /* calls */
	char *arguments; /* calls: JSON text */
	char *text;      /* messages */
};

#define PLAN_MAX 20

struct plan {
	struct planned outputs[PLAN_MAX];
	size_t n;
	double delay_s; /* world seconds to the first output */
	int turn;       /* of the dialogue that was answered; -1: none */
};

void plan_call_add(struct plan *plan, const char *name, const json_t *arguments);
void plan_text_add(struct plan *plan, const char *text);
void plan_release(struct plan *plan);

/* What a decision is made from. */
struct context {
	const struct item **items;
	size_t n;
	struct item_list inlined; /* items that came inside the request, owned */
	const json_t *tools;      /* array */
	const json_t *tool_choice;
	const char *instructions;
	bool aside;   /* an out-of-band pass */
	bool unasked; /* the model's own look at what it hears */
};

/* Whether the tools of the context hold that function, and a call of it is allowed. */
bool context_has_tool(const struct context *context, const char *name);

/* Decide by the session's dialogue, or by the script. */
void model_decide(struct session *session, const struct context *context, struct plan *plan);
void script_decide(struct session *session, const struct context *context, struct plan *plan);

/* Whether an out-of-band pass is asked what the caller's mere agreement would determine. */
bool context_is_prepare(const struct context *context);

/* ---- proactive.c ---- */

/* A word was heard: name what it determines, where the model does so by itself. */
void proactive_word(struct session *session);

/* The words heard since the last commit as an item, inlined into the context; none: nothing is added. */
void proactive_context(struct session *session, struct context *context);

/* Equality of JSON values, numbers by value. */
bool model_same_value(const json_t *a, const json_t *b);

/* ---- response.c, tree.c ---- */

enum response_phase {
	RESPONSE_QUEUED,
	RESPONSE_THINKING,
	RESPONSE_SPEAKING,
	RESPONSE_CANCELLING
};

struct response {
	TAILQ_ENTRY(response) link;
	uint32_t magic;
	struct session *session;
	char id[ID_SIZE];
	enum response_phase phase;
	bool aside;     /* out of band */
	bool text_only; /* output modality */
	bool fails;     /* ends failed in place of speaking */
	bool by_vad;    /* nobody sent a response.create for it */
	bool unasked;   /* nor had the turn ended */
	json_t *metadata;
	json_t *max_output_tokens;
	enum audio_format format;
	struct plan plan;
	ev_timer timer;
	json_t *output; /* final items */
	const char *cancel_reason;
	ev_tstamp created; /* of the loop's clock, as the two below; 0: not yet */
	ev_tstamp first;   /* its first output */
	/* the output being made */
	size_t index;
	struct item *item; /* in the conversation, or held here when aside or orphaned */
	bool orphan;       /* the client deleted the item while it was being made */
	char call_id[ID_SIZE];
	size_t said;    /* bytes of text or arguments sent */
	double audio_s; /* seconds of audio sent */
	double total_s; /* seconds of the whole message */
	bool opened;
	/* accounts */
	unsigned in_text;
	unsigned in_audio;
	unsigned cached_text;
	unsigned cached_audio;
	unsigned out_text;
	unsigned out_audio;
};

TAILQ_HEAD(response_list, response);

#define RESPONSE_MAGIC 0x72657370u

/* Client events. */
void response_create_event(struct session *session, const json_t *event);
void response_cancel_event(struct session *session, const json_t *event);

/* A response the VAD asks for. */
void response_create_by_vad(struct session *session);

/* One that the model begins in the middle of speech: calls of that plan (taken over). */
void response_create_unasked(struct session *session, const struct context *context,
			     struct plan *plan);

/* Add an item to a context; it is not owned by it. */
void context_add(struct context *context, const struct item *item);

/* Add what the default conversation holds and is finished. */
void context_fill(struct session *session, struct context *context);

void context_release(struct context *context);

/* The caller began to speak: end the default response if there is one. */
void response_interrupt(struct session *session);

/* The default conversation's response, or NULL. */
struct response *response_active(struct session *session);

/* End of the session. */
void responses_free(struct session *session);

/* The next piece of what the response says; sets the timer or finishes it. */
void tree_step(struct response *response);

/* Say the done events of an output that was cut off. */
void tree_cut(struct response *response);

/* The response is over: say response.done and free it. */
void response_finish(struct response *response, const char *status, json_t *details);

/* ---- usage.c ---- */

#define USAGE_PREFIXES 8 /* contexts a session remembers for cached tokens */

struct usage_unit {
	uint64_t hash;
	unsigned text;
	unsigned audio;
};

struct usage_prefix {
	struct usage_unit *units;
	size_t n;
};

/* Count the tokens of a context, and those cached by an earlier one. */
void usage_count(struct session *session, const struct context *context, struct response *response);
json_t *usage_json(const struct response *response);
unsigned usage_tokens(const char *text);
/* Tokens and money of a response for the log. */
json_t *usage_account(const struct response *response);
void usage_release(struct session *session);

/* ---- audio_in.c, transcript.c ---- */

struct transcript_word;
TAILQ_HEAD(transcript_queue, transcript_word);

struct listening {
	struct bc_buf buffer; /* raw audio not yet committed */
	struct carrier_reader reader;
	struct heard heard;    /* words in the buffer */
	unsigned words_said;   /* words of the buffer given to the transcript */
	uint64_t received;     /* bytes since the session's start */
	size_t window_fill;    /* bytes of the open 10 ms window, the last ones in the buffer */
	unsigned voiced_ms;    /* length of the voiced run */
	unsigned silent_ms;    /* length of the silent run */
	bool speech;           /* between speech_started and speech_stopped */
	char item_id[ID_SIZE]; /* of the user item to come; "" when none was announced */
	/* turn_detection, kept apart because every window asks for it */
	bool detecting;
	unsigned silence_ms;
	unsigned padding_ms;
	double level; /* RMS a window needs */
};

void audio_append_event(struct session *session, const json_t *event);
/* The same for a message of the usual shape that is in no log; false: it is something else. */
bool audio_append_quick(struct session *session, struct bc_span text);
/* The session's turn_detection was set. */
void audio_detection_changed(struct session *session);
void audio_commit_event(struct session *session, const json_t *event);
void audio_clear_event(struct session *session, const json_t *event);
void audio_init(struct session *session);
void audio_release(struct session *session);
/* Milliseconds of audio since the session's start. */
uint64_t audio_ms(const struct session *session);
/* Make a user item of what is in the buffer. */
void audio_commit(struct session *session);
enum audio_format audio_format_of(const json_t *format);

/* A word was heard to its end inside the buffer. */
void transcript_word(struct session *session, const struct carrier_mark *mark);
/* The item was committed: say what is left of its transcript. */
void transcript_commit(struct session *session, struct item *item);
void transcript_init(struct session *session);
void transcript_release(struct session *session);

/* The transcript of what was heard, from the dialogue; caller frees. */
char *transcript_of(const struct session *session, const struct heard *heard);

/* ---- validate.c ---- */

bool validate_session(const json_t *update, struct fault *fault);
bool validate_response(const json_t *response, struct fault *fault);
bool validate_event(const json_t *event, struct fault *fault);

/* ---- emit.c ---- */

/* Make an id: prefix and 21 letters and digits. */
void id_make(char id[ID_SIZE], const char *prefix);

/* Send an event made by json_pack() (taken over); event_id is added. */
void emit(struct session *session, json_t *event);

/* The same for a delta, with the padding that hides its length. */
void emit_delta(struct session *session, json_t *event);

/* The audio delta of a response, whose base64 needs no escaping. */
void emit_audio(const struct response *response, const char *base64);

/* An error that answers the client's event (NULL: none). */
void emit_fault(struct session *session, const json_t *event, const struct fault *fault);

/* One line of the log, if its kind is wanted; takes line. */
void log_line(struct session *session, const char *kind, json_t *line);

/* Log an event that came or went, audio as its length. */
void log_event(struct session *session, const char *direction, const json_t *event);

/* Log the final conversation. */
void log_conversation(struct session *session);

/* ---- path.c ---- */

/* One message on its way to us, or to the client. */
void path_in(struct session *session, struct bc_span text);
void path_out(struct session *session, struct bc_span text);

/* Close or cut the connection behind what is on its way to the client. */
void path_close(struct session *session, uint16_t code, const char *reason);
void path_abort(struct session *session);

/* The client is gone: what it had sent is still taken. */
void path_end(struct session *session);

/* ---- session.c ---- */

#define SESSION_MAGIC     0x73657373u
#define SESSION_NAME_SIZE 192

struct session {
	TAILQ_ENTRY(session) link;
	uint32_t magic;
	struct provider *provider;
	struct wire *wire;
	unsigned number;
	char id[ID_SIZE];
	char conversation_id[ID_SIZE];
	json_t *config;                  /* the session object as shown */
	const struct dialogue *dialogue; /* NULL: the script decides */
	char name
		[SESSION_NAME_SIZE]; /* how it was asked for: <id>[@<instance>[:<turn>]]; "": not by name */
	struct item_list items;
	struct response_list responses;
	bool response_wanted; /* by the VAD, behind a response that is being cancelled */
	bool voice_used;
	struct listening listening;
	struct transcript_queue transcripts;
	ev_timer transcript_timer;
	struct usage_prefix prefixes[USAGE_PREFIXES];
	size_t prefix_at;
	unsigned events_in;
	unsigned responses_made;
	bool beta; /* the client asked for the switched-off protocol */
	bool dropped;
	ev_timer idle;       /* idle_timeout_ms */
	json_t *late_update; /* a session.update that was put off; NULL: none */
	ev_timer late_timer; /* of that */
};

/* Answers an upgrade request: makes the session. */
struct wire_verdict session_accept(void *arg, struct wire *wire,
				   const struct wire_request *request);

/* Cut all sessions and wait for their ends. */
void sessions_end(struct provider *provider);

/* A message of the client has arrived. */
void session_message(struct session *session, struct bc_span text);

/* A member of the session's config by path, e.g. "audio", "input", NULL-terminated; NULL if absent. */
json_t *session_get(const struct session *session, const char *first, ...)
	__attribute__((sentinel));

/* (Re)start or stop the idle timeout. */
void session_idle_arm(struct session *session, double after_s);

#endif
