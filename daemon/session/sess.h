/* What the files of this room share: the objects of a session and the functions between its parts. */
#ifndef BACKCHANNEL_SESSION_SESS_H
#define BACKCHANNEL_SESSION_SESS_H

#include "daemon/base/buf.h"
#include "daemon/base/id.h"
#include "daemon/config/config.h"
#include "daemon/session/session.h"
#include "daemon/spec/spec.h"
#include "proto/audio.h"
#include "proto/json.h"
#include "proto/openai/event.h"

#include <sys/queue.h>
#include <uthash.h>

#define SESS_MAGIC 0x73657373u

#define TOOL_NAME_TAKEN "A tool of this request has the name of a tool the gateway runs. Rename it."

#define SESS_ID_MAX \
	65 /* bytes of an item, response or call id we keep, with NUL; longer ones are not ours */
#define SESS_ITEMS_MAX     4096  /* conversation items remembered; the oldest are forgotten */
#define SESS_RESPONSES_MAX 32    /* responses in flight */
#define SESS_CREATES_MAX   16    /* client response requests unanswered or kept back */
#define SESS_UPDATES_MAX   64    /* session updates unanswered */
#define SESS_STEPS_MAX     32    /* responses whose calls are not all answered */
#define SESS_WORKS_MAX     256   /* tool executions remembered */
#define SESS_HELD_MAX      65536 /* bytes of events kept back with one withheld response */

enum sess_state {
#define STATE(id, name) SESS_##id,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/session/sess_fsm.def"
	/* must be last */
	SESS_STATE__COUNT
};

enum sess_event {
#define STATE(id, name)
#define EVENT(id, name) SESS_EV_##id,
#define EDGE(from, on, to)
#include "daemon/session/sess_fsm.def"
	/* must be last */
	SESS_EVENT__COUNT
};

enum lane_state {
#define STATE(id, name) LANE_##id,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/session/lane_fsm.def"
	/* must be last */
	LANE_STATE__COUNT
};

enum lane_event {
#define STATE(id, name)
#define EVENT(id, name) LANE_EV_##id,
#define EDGE(from, on, to)
#include "daemon/session/lane_fsm.def"
	/* must be last */
	LANE_EVENT__COUNT
};

/* Reasons for not reading from a side; several may hold. */
enum flow_block {
	FLOW_START_QUEUE_FULL =
		1 << 0,         /* client: the provider is not there yet and the queue is full */
	FLOW_PEER_SLOW = 1 << 1 /* the other side has enough unsent bytes */
};

/* ---- conversation items ---- */

struct item {
	TAILQ_ENTRY(item) link; /* in conversation order */
	UT_hash_handle hh;
	bool hidden;
	bool placed; /* has its place in the order: the provider has added it */
	bool done;   /* conversation.item.done was seen: may be referenced by a pass */
	char id[SESS_ID_MAX];
};

TAILQ_HEAD(item_list, item);

struct items {
	struct item_list order;
	struct item *by_id;
	unsigned count;
};

void items_init(struct items *items);
void items_fini(struct items *items);
struct item *items_find(const struct items *items, const char *id);
/* Find or make; NULL when out of memory or the id is too long. */
struct item *items_get(struct items *items, const char *id);
/* Put an item behind prev (NULL: at the front). */
void items_place(struct items *items, struct item *item, struct item *prev);
void items_remove(struct items *items, struct item *item);
/* The nearest visible item at or before this one; NULL: none. */
const struct item *items_visible_before(const struct item *item);
/* The last hidden item that directly follows this one, or the item itself. */
const struct item *items_hidden_after(const struct item *item);

/* ---- responses ---- */

enum resp_origin {
	RESP_VAD,        /* made by the provider's voice detection */
	RESP_CLIENT,     /* the client asked for it, default conversation */
	RESP_CLIENT_OOB, /* the client asked for it, out of band */
	RESP_FOLLOWUP,   /* the gateway asked for it, to speak results */
	RESP_PASS        /* the gateway asked for it, to look for calls */
};

enum resp_view {
	RESP_WITHHELD, /* the client has not been told yet; events are held */
	RESP_SHOWN,    /* the client has seen response.created */
	RESP_HIDDEN,   /* the client will never see it */
	RESP_MERGED    /* its events are shown as part of an earlier response */
};

struct step;

struct resp {
	TAILQ_ENTRY(resp) link;
	enum resp_origin origin;
	enum resp_view view;
	bool default_conversation;
	bool unwanted; /* the client has cancelled it: nobody speaks about its calls */
	uint64_t turn; /* of the last commit before it began */
	unsigned visible_items;
	unsigned gateway_items; /* function calls of the gateway's tools, complete or not */
	struct bc_buf
		held; /* events, each followed by a NUL: WITHHELD: its begin; merged with what follows: its end */
	struct step *step; /* its gateway calls; NULL: none */
	json_t *params; /* the "response" object of the client's request it goes back to; owned; NULL: none */
	char id[SESS_ID_MAX];
	char shown_id[SESS_ID_MAX]; /* MERGED: the id the client knows */
};

TAILQ_HEAD(resp_list, resp);

/* A response.create of the client that has no answer yet, or is kept back. */
struct create {
	TAILQ_ENTRY(create) link;
	char *text;       /* the whole event as it will go (or went) upstream */
	char *event_id;   /* raw JSON value; NULL: none */
	json_t *params;   /* its "response" object; owned; NULL: it has none */
	bool out_of_band; /* conversation "none" */
};

TAILQ_HEAD(create_list, create);

/* ---- gateway calls ---- */

/*
 * One execution of a tool: a guess, or a call the provider really made.  Several equal calls of one turn share it, so
 * no repetition by the model makes a second effect.
 */
struct work {
	TAILQ_ENTRY(work) link;
	uint32_t magic;
	struct sess *sess;
	const struct cfg_tool *tool;
	char *arguments;       /* canonical JSON */
	struct guess *guess;   /* not yet real; NULL: a real call */
	struct tool_call *run; /* NULL: settled, or ended without a run */
	char *output;          /* what the model gets; NULL: still running */
	uint64_t turn;
	char response[SESS_ID_MAX]; /* that named it first; "" for a guess */
	bool stale;                 /* a read, and an effect has changed what it has read */
};

TAILQ_HEAD(work_list, work);

/* One function call, as the provider made it. */
struct call {
	TAILQ_ENTRY(call) link;
	struct work *work; /* borrowed from the session's list; NULL: the client's own tool */
	char *call_id;     /* raw JSON string */
	bool unspoken;     /* nobody is to be asked to speak about its result */
	bool answered;     /* its output went into the conversation */
};

TAILQ_HEAD(call_list, call);

/* The calls of one response: they are answered together. */
struct step {
	TAILQ_ENTRY(step) link;
	struct call_list calls;
	bool has_client_calls;
	bool response_done; /* outputs may be injected */
	bool wants_answer;  /* ask for a response when all outputs are in */
	bc_usec client_since; /* monotonic: since when only the client's part is missing; 0: it is not */
	json_t *params;       /* for the follow-up; NULL: defaults; owned */
	uint64_t input;       /* agent->input when the response made its first call */
};

TAILQ_HEAD(step_list, step);

/* ---- session updates ---- */

struct update {
	TAILQ_ENTRY(update) link;
	bool gateway;
	char *event_id; /* raw JSON value; NULL: none */
	char *tools; /* client: its own list, raw JSON array; NULL: the update does not touch it */
	bool *yielded; /* with tools: becomes the agent's when the provider has accepted it */
};

TAILQ_HEAD(update_list, update);

/* ---- what the caller says ---- */

struct hearing {
	bool on; /* the detector runs and audio is kept */
	enum audio_format format;
	struct audio_detector detector;
	struct bc_buf audio;      /* of the running turn, as it came, decoded from base64 */
	bool overflow;            /* the turn is longer than what may be kept */
	size_t heard;             /* bytes of audio the detector has taken */
	size_t onset_at;          /* offset into audio where the running speech began */
	struct bc_buf transcript; /* of the running turn, as far as the provider has sent it */
	uint64_t turn;            /* number of the running turn */
	bool turn_open;           /* something was said since the last commit */
};

struct pass {
	uint64_t number;            /* of the running or last one */
	uint64_t turn;              /* it is about */
	char response[SESS_ID_MAX]; /* "" until the provider has created it */
	char event_id[BC_ID_SIZE];
	bool wanted;    /* a trigger came while none could start */
	bool cancelled; /* its proposals are void; cancel it as soon as its id is known */
	bool with_audio;
	bool off;          /* the upstream does not take passes */
	bool vendor_tools; /* the session has tools the provider runs itself: a pass would run them */
	bool audio_refused;
	bc_usec rest_until; /* monotonic: the upstream was overloaded, none starts before */
};

/* The part of a session that exists only with gateway tools. */
struct agent {
	struct items items;
	struct update_list updates;
	unsigned update_count;
	char *client_tools; /* the client's own tool list as the provider has accepted it; NULL: [] */
	bool *yielded;      /* per tool: the client's definition counts */
	bool refused;       /* the provider does not take our tools: it gets the client's alone */
	struct create_list kept;
	struct create_list sent; /* forwarded, unanswered */
	unsigned create_count;
	struct step_list steps;
	unsigned step_count;
	struct work_list works;
	unsigned work_count;
	enum lane_state lane;
	struct resp *current;       /* the response that occupies the lane; NULL: none */
	char followup[BC_ID_SIZE];  /* event id of our unanswered response.create; "": none */
	json_t *followup_params;    /* what it was made of; owned; NULL: defaults */
	bool followup_overtaken;    /* speech began after it was sent */
	bool followup_unwanted;     /* the client has cancelled it after it was sent */
	unsigned followup_refusals; /* in a row */
	struct resp *merge;    /* shown response that the next follow-up continues; NULL: none */
	bool owed;             /* outputs are in that nobody has spoken about */
	bool owed_at_once;     /* … and another answer is to be cut off for it */
	unsigned unacked;      /* outputs put in that the provider has not confirmed */
	json_t *owed_params;   /* for the follow-up; owned */
	json_t *usage;         /* of responses the client never saw; owned; NULL: none */
	bool hide_rate_limits; /* the next rate_limits.updated belongs to a hidden response */
	struct resp *rate_limits_with; /* … or is held with this withheld one */
	bool speech;                   /* between the provider's speech_started and commit */
	bool answer_expected;          /* committed: the provider may begin an answer by itself */
	bool interrupt_response;
	bool tool_choice_forced; /* session's tool_choice would make a follow-up call again */
	uint64_t committed_turn; /* of the last commit: what calls belong to */
	uint64_t input;          /* grows with everything the caller adds that wants an answer */
	struct hearing hearing;
	struct pass pass;
	struct spec *spec; /* NULL: speculation is off */
};

struct sess {
	uint32_t magic;
	enum sess_state state;
	struct bc_log_ctx log;
	const struct sess_world *world;
	void *world_arg;
	struct cfg *cfg;
	const struct cfg_upstream *upstream;
	struct toolset *tools; /* NULL: plain proxy */
	struct agent *agent;   /* NULL: plain proxy */
	struct resp_list responses;
	unsigned response_count;
	unsigned special_responses; /* of these, how many are not simply shown */
	unsigned blocked[2];        /* enum flow_block, per side that is not read */
	struct bc_buf start_queue;  /* client messages for the provider: opcode, length, payload */
	bc_usec started;
	bc_usec last_message;
	uint64_t messages[2];
	uint64_t bytes[2];
};

struct toolset {
	unsigned refs;
	const struct cfg *cfg;
	struct bc_buf *texts; /* one definition per tool, in the order of cfg->tool */
};

/* ---- sess.c: life ---- */

void sess_move(struct sess *sess, enum sess_event event);
const char *sess_state_name(enum sess_state state);
bool sess_to_client(struct sess *sess, struct bc_span text);
bool sess_to_upstream(struct sess *sess, struct bc_span text);
/* Tell the client what happened, end open responses, close both sides. */
void sess_end(struct sess *sess, enum bc_err err, const char *code, const char *message);
bc_usec sess_now(const struct sess *sess);
/* Log and count an event that could not be understood; it is forwarded as it is by the caller. */
void sess_event_invalid(struct sess *sess, enum sess_side side, const char *what);

/* ---- client.c, upstream.c: events of the two sides, with gateway tools ---- */

void client_event(struct sess *sess, struct bc_span text);
void upstream_event(struct sess *sess, struct bc_span text);
/* Without gateway tools: forwarded already, only responses are noted. */
void upstream_event_note(struct sess *sess, struct bc_span text);

/* ---- fields.c: small reads from raw events ---- */

/* Copy a string member as plain text; false: absent, no string, or too long. */
bool field_id(struct bc_span object, const char *key, char out[SESS_ID_MAX]);
/* A raw member; empty span when absent or the object is malformed. */
struct bc_span field_raw(struct bc_span object, const char *key);
bool field_is(struct bc_span object, const char *key, const char *string);
/* Whether an error without the id of its cause names a parameter of such a request, "session" or "response". */
bool error_is_about(struct bc_span error, const char *request);
/* Heap copy of a raw span; NULL when out of memory. */
char *field_dup(struct bc_span raw);

/* ---- rewrite.c: change an event by splicing ---- */

#define REWRITE_EDITS_MAX 8

struct rewrite {
	struct bc_span original;
	struct json_edit edits[REWRITE_EDITS_MAX];
	struct bc_buf inserts[REWRITE_EDITS_MAX];
	unsigned count;
	bool failed;
};

void rewrite_begin(struct rewrite *rewrite, struct bc_span original);
/* Replace a span that lies inside the original. */
void rewrite_replace(struct rewrite *rewrite, struct bc_span at, struct bc_span text);
void rewrite_replace_string(struct rewrite *rewrite, struct bc_span at, const char *string);
/* Set a member of an object that lies inside the original. */
void rewrite_set(struct rewrite *rewrite, struct bc_span object, const char *key,
		 struct bc_span raw);
/* Make the text in out (initialised here; the caller releases it); false: failed, forward the original. */
bool rewrite_end(struct rewrite *rewrite, struct bc_buf *out);

/* ---- toolset.c: whose tools the provider is offered ---- */

/*
 * Whether a call of that name is the gateway's to run.  params: of the response that makes it, whose own list of tools
 * counts before the session's; NULL: it has none.
 */
bool tools_is_gateway(const struct sess *sess, const json_t *params, const char *name,
		      const struct cfg_tool **ret);
/* The gateway's own first update. */
void tools_offer(struct sess *sess);
/* A client's session.update: forwarded, rewritten where it carries tools. */
void tools_client_update(struct sess *sess, struct bc_span text);
/* Union of a client's raw list and the gateway's, heap.  BC_E_EXISTS: names clash and that is refused; BC_E_INVALID. */
enum bc_err tools_union(struct sess *sess, struct bc_span client_list, char **ret) BC_MUST;
/* A session.updated of the provider: shown with the client's own tools, or hidden when it answers the gateway's. */
void tools_session_updated(struct sess *sess, struct bc_span text);
/* An error that answers an update; true: it was the gateway's own. */
bool tools_update_failed(struct sess *sess, struct bc_span client_id, struct bc_span error);
void tools_fini(struct agent *agent);
/* Answer a request of the client with an error; event_id: raw JSON, empty: none. */
void client_refuse(struct sess *sess, struct bc_span event_id, const char *code,
		   const char *message);

/* ---- resp.c: the responses in flight ---- */

struct resp *resp_find(const struct sess *sess, const char *id);
/* A response that is shown for now; NULL: too many, or out of memory. */
struct resp *resp_new(struct sess *sess, const char *id);
struct resp *resp_remove(struct sess *sess, struct resp *resp);
/* The one place where a response's view changes: it keeps special_responses right. */
void resp_view_set(struct sess *sess, struct resp *resp, enum resp_view view);
/* Tell the client that every open response has failed. */
void resp_fail_open(struct sess *sess, const char *code, const char *message);
void resp_fini(struct sess *sess);

/* ---- responses.c: what the client sees of the provider's responses ---- */

void resp_created(struct sess *sess, struct bc_span text);
void resp_item_added(struct sess *sess, struct bc_span text);
void resp_item_done(struct sess *sess, struct bc_span text);
void resp_done(struct sess *sess, struct bc_span text);
/* Any other response event: shown, held, hidden or renamed. */
void resp_event(struct sess *sess, struct bc_span text);
void resp_rate_limits(struct sess *sess, struct bc_span text);
/* Show a withheld response from its beginning. */
void resp_reveal(struct sess *sess, struct resp *resp);
/* A withheld response will never be shown. */
void resp_hide(struct sess *sess, struct resp *resp);
/* End the response whose answer is still to come, towards the client; status "cancelled" or "failed". */
void resp_merge_close(struct sess *sess, const char *status, const char *reason,
		      const char *message);

/* ---- usage.c ---- */

/* Add the numbers of b to a, member by member. */
void usage_owe(struct agent *agent, struct bc_span usage);
/* Send a response.done: output without hidden items, usage with what is owed, metadata and id as the client knows them. */
void done_show(struct sess *sess, const struct resp *resp, struct bc_span text);
/* metadata without the gateway's keys, as raw JSON in out (initialised here; the caller releases it). */
void metadata_strip(struct bc_span metadata, struct bc_buf *out);

/* ---- lane.c: one response at a time ---- */

void lane_move(struct sess *sess, enum lane_event event);
const char *lane_state_name(enum lane_state state);
/* Ask the provider to end a response; false: no memory for the event. */
bool lane_send_cancel(struct sess *sess, const char *response);
/* End the response that occupies the lane. */
void lane_cancel(struct sess *sess, const struct resp *resp);
/* A response.create of the client: forwarded, kept back or refused. */
void lane_client_create(struct sess *sess, struct bc_span text);
/* A response.cancel of the client. */
void lane_client_cancel(struct sess *sess, struct bc_span text);
/* Do what can be done now: send a kept request, or ask for the answer that is owed. */
void lane_pump(struct sess *sess);
/* An error that answers a response.create; true: it was the gateway's own and is hidden. */
bool lane_create_failed(struct sess *sess, struct bc_span client_id, struct bc_span error);
/* The client's request that a new response with this metadata answers: removed from the unanswered ones; NULL: none. */
struct create *lane_take_sent(struct sess *sess, struct bc_span metadata, bool out_of_band);
struct create *create_free(struct create *create);
/* An answer is owed; params, borrowed: what it inherits; NULL: nothing new. */
void lane_owe(struct sess *sess, json_t *params, bool at_once);
/* Nobody has to be answered any more. */
void lane_owe_nothing(struct agent *agent);
/* Whether any request for a response, of the client or our own follow-up, has no answer yet. */
bool lane_is_asked(const struct sess *sess);
void lane_speech(struct sess *sess, bool started);
void lane_fini(struct agent *agent);

/* ---- works.c: executions of tools ---- */

/* The work a real call stands for: an equal call of the turn, a guess, or a new run.  NULL when out of memory. */
struct work *work_for_call(struct sess *sess, const struct resp *resp, const struct cfg_tool *tool,
			   struct bc_span arguments);
/* Whether the provider itself has made this call in that turn: a pass that names it again tells nothing new. */
bool work_is_real(const struct sess *sess, const struct cfg_tool *tool, const char *arguments,
		  uint64_t turn);
/* Run a stable guess.  false: it could not be started. */
bool work_guess(struct sess *sess, struct guess *guess);
/* A guess nobody will use: abort it and forget the work. */
void work_drop_guess(struct sess *sess, struct guess *guess);
/* The caller has interrupted a read that nobody else waits for: abort it; its output says so. */
void work_give_up(struct sess *sess, struct work *work);
/* The output went into the conversation: settle the run. */
void work_used(struct sess *sess, struct work *work);
/* Forget works of turns before this one that no call refers to any more. */
void works_forget(struct sess *sess, uint64_t before_turn);
void works_fini(struct sess *sess);

/* ---- steps.c: calls of gateway tools ---- */

/* A complete function call of a gateway tool in the default conversation. */
void step_call(struct sess *sess, struct resp *resp, const struct cfg_tool *tool,
	       struct bc_span item);
/* A complete function call of a client's tool in the default conversation. */
void step_client_call(struct sess *sess, struct resp *resp, struct bc_span item);
/* The response of a step has ended; params: what the follow-up inherits, borrowed. */
void step_response_done(struct sess *sess, struct resp *resp, bool wants_answer);
/* A work has its output: put in what can be put in. */
void step_advance(struct sess *sess);
/* The client has answered one of its own calls. */
void step_client_output(struct sess *sess, struct bc_span call_id);
/* A step that is not answered yet and that no later input has overtaken: a request for a response waits for it. */
bool step_is_open(const struct sess *sess);
/* The caller speaks: give up reads, and keep silent about other calls, whose tools say so. */
void step_barge_in(struct sess *sess);
/* Whatever is outstanding is put in when it comes, but nobody asks for an answer to it. */
void step_abandon_all(struct sess *sess);
/* Whether a call refers to this work. */
bool step_uses(const struct sess *sess, const struct work *work);
void step_fini(struct sess *sess);

/* ---- hearing.c: the caller's words, for guessing ---- */

void hear_configure(struct sess *sess, struct bc_span session);
void hear_audio(struct sess *sess, struct bc_span text);
void hear_transcript(struct sess *sess, struct bc_span text);
void hear_committed(struct sess *sess);
void hear_cleared(struct sess *sess);
void hear_fini(struct agent *agent);

/* ---- passes.c: asking what would be called, running guesses ---- */

void pass_trigger(struct sess *sess);
void pass_created(struct sess *sess, struct resp *resp, struct bc_span response);
void pass_item(struct sess *sess, const struct resp *resp, struct bc_span item);
void pass_done(struct sess *sess, const struct resp *resp, struct bc_span response);
/* An error that answers a pass; true: it was, and is hidden. */
bool pass_failed(struct sess *sess, struct bc_span client_id, struct bc_span error);
/* Start what has become stable, cancel what was withdrawn. */
void pass_advance(struct sess *sess);
void pass_turn_committed(struct sess *sess);
/* Nothing of the turns up to this one will be called any more. */
void pass_withdraw(struct sess *sess, uint64_t turn);
void pass_fini(struct sess *sess);

#endif
