/* What the files of this room share: the objects of a session; parts.h and guessing.h have the functions between its parts. */
#ifndef BACKCHANNEL_SESSION_SESS_H
#define BACKCHANNEL_SESSION_SESS_H

#include "daemon/base/buf.h"
#include "daemon/base/id.h"
#include "daemon/config/config.h"
#include "daemon/config/traits.h"
#include "daemon/session/ledger.h"
#include "daemon/session/session.h"
#include "daemon/spec/spec.h"
#include "proto/audio.h"
#include "proto/json.h"
#include "proto/openai/event.h"

#include <sys/queue.h>
#include <uthash.h>

#define SESS_MAGIC 0x73657373u

struct prepare;
struct reasoner;

#define TOOL_NAME_TAKEN "A tool of this request has the name of a tool the gateway runs. Rename it."

#define SESS_ID_MAX \
	65 /* bytes of an item, response or call id we keep, with NUL; longer ones are not ours */
#define SESS_ITEMS_MAX     4096   /* conversation items remembered; the oldest are forgotten */
#define SESS_INLINED_MAX   262144 /* bytes of them kept for passes that may not refer to them */
#define SESS_RESPONSES_MAX 32     /* responses in flight */
#define SESS_CREATES_MAX   16     /* client response requests unanswered or kept back */
#define SESS_UPDATES_MAX   64     /* session updates unanswered */
#define SESS_STEPS_MAX     32     /* responses whose calls are not all answered */
#define SESS_WORKS_MAX     256    /* tool executions remembered */
#define SESS_LEFTOVERS_MAX 32     /* items of a response that leaves the conversation */
#define SESS_HELD_MAX      65536  /* bytes of events kept back with one withheld response */

/* What is told late, or spoken beside the conversation, and words of the client; they need the limits above. */
#include "daemon/session/async.h"
#include "daemon/session/words.h"

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

enum take_state {
#define STATE(id, name) TAKE_##id,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/session/take_fsm.def"
	/* must be last */
	TAKE_STATE__COUNT
};

enum take_event {
#define STATE(id, name)
#define EVENT(id, name) TAKE_EV_##id,
#define EDGE(from, on, to)
#include "daemon/session/take_fsm.def"
	/* must be last */
	TAKE_EVENT__COUNT
};

/* Reasons for not reading from a side; several may hold. */
enum flow_block {
	FLOW_START_QUEUE_FULL =
		1 << 0,           /* client: the provider is not there yet and the queue is full */
	FLOW_PEER_SLOW = 1 << 1,  /* the other side has enough unsent bytes */
	FLOW_WINDOW_FULL = 1 << 2 /* provider: more is kept of an eager turn than may be */
};

/* ---- conversation items ---- */

struct item {
	TAILQ_ENTRY(item) link; /* in conversation order */
	UT_hash_handle hh;
	bool hidden;
	bool placed; /* has its place in the order: the provider has added it */
	bool done;   /* conversation.item.done was seen: may be referenced by a pass */
	bool call;   /* a call or an output */
	bool truncated;
	bool user;     /* the caller's words */
	char *inlined; /* what a pass is given where it may not refer to it; owned; NULL: nothing */
	char id[SESS_ID_MAX];
};

TAILQ_HEAD(item_list, item);

struct items {
	struct item_list order;
	struct item *by_id;
	unsigned count;
	size_t inlined; /* bytes kept of all of them */
};

void items_init(struct items *items);
void items_fini(struct items *items);
struct item *items_find(const struct items *items, const char *id);
/* Find or make; NULL when out of memory or the id is too long. */
struct item *items_get(struct items *items, const char *id);
/* Put an item behind prev (NULL: at the front). */
void items_place(struct items *items, struct item *item, struct item *prev);
void items_remove(struct items *items, struct item *item);
/* Keep what a pass is given in place of a reference to an item that is done, as the provider shows it. */
void items_keep(struct items *items, struct item *item, struct bc_span raw);
/* The item in front of this one; NULL: none. */
const struct item *items_before(const struct item *item);
/* The last hidden item that directly follows this one, or the item itself. */
const struct item *items_hidden_after(const struct item *item);

/* ---- responses ---- */

enum resp_origin {
	RESP_VAD,        /* made by the provider's voice detection */
	RESP_CLIENT,     /* the client asked for it, default conversation */
	RESP_CLIENT_OOB, /* the client asked for it, out of band */
	RESP_LATE,       /* the client asked for it and has got an error meanwhile */
	RESP_FOLLOWUP,   /* the gateway asked for it, to speak results */
	RESP_FILLER,     /* the gateway asked for it, to say that a tool takes a moment */
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
	bool unwanted;  /* the client has cancelled it: nobody speaks about its calls */
	bool overtaken; /* the caller spoke before it was created */
	bool unheard;   /* made of a turn that went on: never shown, and its calls are not run */
	bool taken; /* it is being cancelled because a verdict takes its place: what it still says is held */
	bool cut;            /* it was taken, but had said too much to be held, and was shown */
	bc_usec cancel_sent; /* monotonic; 0: not */
	unsigned context;    /* number of the last result it knows, see struct results */
	unsigned leftover_count;
	uint64_t turn; /* of the last commit before it began */
	unsigned visible_items;
	unsigned gateway_items; /* function calls of the gateway's tools, complete or not */
	struct bc_buf
		held; /* events, each followed by a NUL: WITHHELD: its begin; merged with what follows: its end */
	struct step *step; /* its gateway calls; NULL: none */
	json_t *params; /* the "response" object of the client's request it goes back to; owned; NULL: none */
	char id[SESS_ID_MAX];
	char shown_id[SESS_ID_MAX]; /* MERGED: the id the client knows */
	const struct cfg_tool
		*behind; /* a follow-up: whose result it goes on from; NULL: unknown */
	char (*leftovers)
		[SESS_ID_MAX]; /* taken or hidden: items it began; owned, SESS_LEFTOVERS_MAX; NULL: none */
};

TAILQ_HEAD(resp_list, resp);

/* A response.create of the client that has no answer yet, or is kept back. */
struct create {
	TAILQ_ENTRY(create) link;
	char *text;       /* the whole event as it will go (or went) upstream */
	char *event_id;   /* raw JSON value; NULL: none */
	json_t *params;   /* its "response" object; owned; NULL: it has none */
	bool out_of_band; /* conversation "none" */
	uint64_t number;  /* of the request, once it was sent */
	bc_usec sent;     /* monotonic; 0: it is kept back */
	bc_usec kept;     /* monotonic: since when, if it is or was */
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
	char *said;            /* of a verdict: as the pass wrote them; NULL: canonical */
	struct guess *guess;   /* not yet real; NULL: a real call */
	struct tool_call *run; /* NULL: settled, or ended without a run */
	char *output;          /* what the model gets; NULL: still running */
	uint64_t turn;
	char response[SESS_ID_MAX]; /* that named it first; "" for a guess */
	bool waiting; /* a real call, until those before it have ended: tools.sequential */
	bool stale; /* not for calls to come: an effect has changed what it has read, or it was given up */
	bool withheld; /* it runs, or ran, without withheld_arguments */
	bool gated;    /* a hold of a verdict: starts only while nothing speaks against it */
	bool stopped;  /* gated: something has, so it will not start when its permission comes */
	bool refused; /* a guess, when its permission came: the operator had spoken, so it was not sent */
	bc_usec heard;   /* gated: hearing.last_input when it was put in */
	uint64_t number; /* of the guess it began as, as the client knows it; 0: none */
	bool invalid;    /* it could not be run: the output says why */
	bool happened;   /* an effect that was carried out */
	unsigned put;    /* number of the result as it was put in last; 0: not yet */
	uint64_t told;   /* 1 + the turn in which an answer knew the result; 0: none yet */
};

TAILQ_HEAD(work_list, work);

/* One function call, as the provider made it. */
struct call {
	TAILQ_ENTRY(call) link;
	struct work *work; /* borrowed from the session's list; NULL: the client's own tool */
	char *call_id;     /* raw JSON string */
	bool unspoken;     /* nobody is to be asked to speak about its result */
	bool answered;     /* its result went into the conversation */
	bool unsent;       /* made by the gateway, and its item is not in the conversation yet */
	bool placeheld;    /* its output says that the tool is still running */
	bool lost;         /* it is in the conversation no more: its result goes in as a message */
	char item[SESS_ID_MAX]; /* the function_call item; "": not known */
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
	uint64_t turn;        /* it belongs to */
	bc_usec ended;        /* monotonic: when the response had ended */
	unsigned invalid; /* calls that could not be run */
	bool filled;      /* the caller was told that it takes a moment */
};

TAILQ_HEAD(step_list, step);

/* ---- session updates ---- */

enum update_about {
	UPDATE_TOOLS,
	UPDATE_WORDS,    /* transcripts */
	UPDATE_DETECTION /* of turns */
};

struct update {
	TAILQ_ENTRY(update) link;
	bool gateway;
	enum update_about about; /* of the gateway's */
	char *event_id;          /* raw JSON value; NULL: none */
	char *tools; /* client: its own list, raw JSON array; NULL: the update does not touch it */
	bool *yielded;       /* with tools: becomes the agent's when the provider has accepted it */
	char *transcription; /* client: its own value, raw JSON; NULL: the update does not touch it */
	bool silence;        /* client: it says after which silence a turn ends */
};

TAILQ_HEAD(update_list, update);

/* ---- what the caller says ---- */

/* The last audio before a turn; a ring. */
struct preroll {
	char *mem;   /* owned; NULL: nothing was kept yet */
	size_t size; /* bytes of it */
	size_t from; /* offset of the oldest byte */
	size_t len;  /* bytes kept */
};

struct hearing {
	/* What every piece of audio needs comes first. */
	bool on;        /* the detector runs and audio is kept */
	bool turn_open; /* something was said or typed since the last commit */
	bool spoken;    /* the running turn has a voice: its time is that of its samples */
	bool overflow;  /* the turn is longer than what may be kept, or not all of it was heard */
	uint8_t pauses; /* heard, and the provider has not said since that speech has ended; see ear.c */
	uint8_t unheard; /* spoken turns in a row of which nothing was heard */
	enum audio_format format;
	struct audio_detector detector;
	/* Of the running turn, as it came, decoded from base64; without a voice in it at most what came last. */
	struct bc_buf audio;
	struct preroll
		preroll;    /* what stands before that; empty while the running turn has a voice */
	size_t heard;       /* bytes of audio the detector has taken */
	bc_usec last_audio; /* monotonic: when the last of it came */
	uint64_t voiced;    /* detector.last_voiced, as far as last_input knows of it */
	size_t onset_at;    /* offset into audio where the running speech began */
	bc_usec shift;      /* what typed turns have added to the time of the samples */
	bc_usec last_input; /* stream time of what was said or typed last */
	struct bc_buf
		transcript; /* of the running turn, as far as the provider or the client has sent it */
	uint64_t turn;      /* number of the running turn */
	bc_usec opened;     /* stream time at which the running turn was opened */
	bc_usec opened_at; /* monotonic time of that */
	struct words words;
};

/* One pass that has no end yet. */
struct pass {
	uint64_t number;            /* 0: the place is free */
	uint64_t turn;              /* it is about */
	char response[SESS_ID_MAX]; /* "" until the provider has created it */
	char event_id[BC_ID_SIZE];
	uint64_t request; /* its number among all that were sent */
	bc_usec started;  /* monotonic */
	bool with_audio;
	bool with_references; /* to calls, outputs or truncated items */
	bool followup; /* it is given nothing but the conversation, which has the whole turn */
};

/* Which results of guesses a pass is given. */
enum pass_given {
	GIVEN_NONE,   /* it hears the words alone, so it can confirm what was guessed */
	GIVEN_FIRSTS, /* those of guesses without premises: it can confirm what follows from them */
	GIVEN_ALL     /* it looks as far ahead as it can */
};

struct passes {
	struct pass *running; /* SPEC_PASSES_MAX places; owned from the first pass on */
	uint64_t forsaken
		[8]; /* requests, oldest first, for passes given up before they were created; 0: none */
	bool wanted;          /* a trigger came while none could start */
	bool wanted_at_pause; /* … which was a pause */
	bool wanted_given;    /* the second one of a pause has no place yet */
	bool wanted_behind;   /* nor has one behind a result that came at a pause */
	bool words_late;   /* of this silence, a clause was taken for one that passes have heard */
	bool off;          /* the upstream does not take passes */
	bool vendor_tools; /* the session has tools the provider runs itself: a pass would run them */
	bool audio_refused;
	bool followups_off; /* it does not take those of follow-ups */
	bool marked;        /* the provider gives back the marks by which its answers are known */
	bool references_refused;
	uint64_t heard_turn;   /* the last one a pass has heard to its end; 0: it was counted */
	uint64_t named_turn;   /* the last one a pass has named a call for */
	unsigned cache_passes; /* that could have used the cache, and what they read */
	int64_t cache_read;
	int64_t cache_cached;
	bc_usec rest_until; /* monotonic: the upstream was overloaded, none starts before */
};

/* Ending turns before the client's silence has passed (eager.c). */
struct eager {
	bool armed;    /* the provider uses the shorter one */
	bool off;      /* it does not take it */
	bool later;    /* it is asked when the caller has finished; off: for the client's own */
	bool watched;  /* the caller spoke when it was asked: it may have forgotten that speech */
	bool open;     /* a window is open: events are kept */
	bool flushing; /* they are being handled */
	bool hiding;   /* … and the response among them is never shown */
	bool hid;      /* one was */
	bool full;     /* so much was made of the pause that it is never shown */
	bool split; /* the turn went on: some of it is in the conversation, and the rest is not */
	char *own;  /* the client's turn_detection, raw; NULL: it is not one to shorten */
	bc_usec silence; /* of it */
	bc_usec silent_since; /* monotonic, while watched: of the caller, by the gateway's own ear; 0: it speaks */
	unsigned asked;      /* requests for one of them that have no answer yet */
	unsigned again;      /* times the window's end was put off */
	char *answer;        /* id of what is made of the pause, raw JSON; owned; NULL: none yet */
	struct bc_buf queue; /* events kept, each followed by a NUL */
};

/* Putting in what a verdict names, in place of the provider's own response (takeover.c). */
struct takeover {
	enum take_state state;
	bool waits;          /* a kept request of the client waits for the verdict */
	bool client_commits; /* the client has ended the turn itself, and the provider has not said so yet */
	bool off;            /* the provider refuses calls it has not made itself */
	bool provider_answers; /* the provider has ended the last turn, and begins an answer by itself */
	bool unwanted; /* since the takeover began, the caller or the client has broken the answer off */
	json_t *params;         /* of the response that was cancelled for it; owned; NULL: none */
	uint64_t turn;          /* it is about */
	uint64_t undisturbed;   /* agent->disturbances at the last commit */
	uint64_t before_commit; /* … when the client committed */
};

/* The answer to the caller's last turn, while it has not begun (answers.c). */
struct answering {
	bc_usec since; /* monotonic: when it was asked for; 0: it is not measured */
	bool spoken;   /* the turn was, and the client is to ask for its answer */
	bool beside;   /* a pass is, or was, under way since then */
	bool created;
};

/* What guessing has cost so far. */
struct spending {
	struct admission_spend session;
	uint64_t turn; /* turn_wasted is about */
	uint64_t turn_wasted;
};

/* The part of a session that exists only with gateway tools. */
struct agent {
	/* What every message needs comes first. */
	struct spec *spec;         /* NULL: speculation is off */
	struct reasoner *reasoner; /* looks for calls in place of passes; NULL: there is none */
	struct takeover take;
	struct hearing hearing;
	struct eager eager;
	struct sent_audio audio;
	struct items items;
	struct update_list updates;
	unsigned update_count;
	char *client_tools; /* the client's own tool list as the provider has accepted it; NULL: [] */
	bool *yielded;      /* per tool: the client's definition counts */
	bool refused;       /* the provider does not take our tools: it gets the client's alone */
	struct create_list kept;
	struct create_list sent; /* forwarded, unanswered */
	struct create_list late; /* refused because they were unanswered for too long */
	unsigned late_count;
	unsigned create_count;
	struct step_list steps;
	unsigned step_count;
	struct work_list works;
	unsigned work_count;
	enum lane_state lane;
	struct resp *current; /* the response that occupies the lane; NULL: none */
	uint64_t
		requests; /* for responses, that were sent: the provider answers them in this order */
	uint64_t followup_number; /* of our unanswered one among them */
	unsigned
		followup_context; /* results.put when it was asked for: all of that is known to it */
	bc_usec followup_sent;    /* monotonic: when it was asked for */
	char followup[BC_ID_SIZE];  /* event id of our unanswered response.create; "": none */
	json_t *followup_params;    /* what it was made of; owned; NULL: defaults */
	bool followup_overtaken;    /* speech began after it was sent */
	bool followup_unwanted;     /* the client has cancelled it after it was sent */
	unsigned followup_refusals; /* in a row */
	unsigned followups_late;    /* given up; the provider may begin them all the same */
	struct resp *merge; /* shown response that the next follow-up continues; NULL: none */
	bool owed;          /* outputs are in that nobody has spoken about */
	bool owed_at_once;  /* … and another answer is to be cut off for it */
	unsigned unacked;   /* results put in that the provider has not confirmed */
	struct results results;
	struct filler filler;
	struct restarts restarts;
	bc_usec deadline;      /* monotonic: when SESS_TIMER_DEADLINE fires; 0: it does not run */
	json_t *owed_params;   /* for the follow-up; owned */
	json_t *usage;         /* of responses the client never saw; owned; NULL: none */
	bool hide_rate_limits; /* the next rate_limits.updated belongs to a hidden response */
	struct resp *rate_limits_with; /* … or is held with this withheld one */
	bool speech;                   /* between the provider's speech_started and commit */
	bool answer_expected;          /* committed: the provider may begin an answer by itself */
	bool interrupt_response;
	bool create_response;    /* the provider answers the turns it ends */
	bool tool_choice_forced; /* session's tool_choice would make a follow-up call again */
	uint64_t committed_turn; /* of the last commit: what calls belong to */
	uint64_t input;          /* grows with everything the caller adds that wants an answer */
	struct extension extension;
	struct transcripts transcripts;
	struct passes passes;
	struct answering answering;
	struct spending spending;
	uint64_t
		disturbances; /* grows when the caller speaks, and when the client cancels or clears */
	struct trait_set traits;
	uint32_t traits_assumed; /* bits of those the operator has set */
	bool speaks;             /* the session's answers are audio */
	enum spec_mode mode;     /* the most that is done with a guess of any tool */
	struct prepare *prepare; /* calls that only wait for a yes; NULL: none are prepared */
};

struct sess {
	uint32_t magic;
	enum sess_state state;
	/* What every message needs comes first. */
	const struct sess_world *world;
	void *world_arg;
	struct ledger *ledger;      /* stands between the session and its world */
	struct agent *agent;        /* NULL: plain proxy */
	unsigned special_responses; /* of response_count, how many are not simply shown */
	unsigned response_count;
	bc_usec last_message;
	uint64_t messages[2];
	uint64_t bytes[2];
	unsigned blocked[2]; /* enum flow_block, per side that is not read */
	struct cfg *cfg;
	const struct cfg_upstream *upstream;
	struct toolset *tools; /* NULL: plain proxy */
	struct resp_list responses;
	struct bc_buf start_queue; /* client messages for the provider: opcode, length, payload */
	bc_usec started;
	struct bc_log_ctx log;
};

struct toolset {
	unsigned refs;
	const struct cfg *cfg;
	struct bc_buf *texts; /* one definition per tool, in the order of cfg->tool */
};

#include "daemon/session/guessing.h"
#include "daemon/session/parts.h"

#endif
