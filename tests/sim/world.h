/*
 * The daemon's own objects in a simulated world: session, speculation, tools and journal are those of the daemon, all in one
 * thread; the clock, the disk, the network, the tool server, the provider and the caller are played, by chance from a
 * seed.  The same seed is the same story, down to the last byte.
 *
 *   clock.c     virtual time, and daemon/loop in its terms
 *   disk.c      the journal's writer without a thread, and a disk that is slow, fails and loses what was not synced
 *   store.c     the store in memory
 *   toolserver.c daemon/net/http in terms of a tool server that fails in every way, and its log of effects
 *   variant.c   what the daemon is configured to do
 *   script.c    what callers want, turn by turn; drawn before anything runs
 *   provider.c  the provider: hears the caller, calls tools, looks ahead in passes, rightly or wrongly
 *   caller.c    callers, and the sessions they talk to
 *   client.c    what a caller's client does with what it is told
 *   ears.c      the recogniser of the provider
 *   reasoner.c  the text model that looks for calls where the seed has one, and its endpoint
 *   process.c   the daemon's process: starts, crashes, recovers
 *   check.c     what must hold, read from the log of effects and the conversations
 *   plant.c     bugs that are put in to see the checker find them
 */
#ifndef BACKCHANNEL_TESTS_SIM_WORLD_H
#define BACKCHANNEL_TESTS_SIM_WORLD_H

#include "daemon/base/bug.h"
#include "daemon/base/clock.h"
#include "daemon/base/span.h"
#include "daemon/session/session.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct admission;
struct cfg;
struct patterns;
struct tool_host;
struct toolset;

#define SIM_CALLERS_MAX  2
#define SIM_TURNS_MAX    4
#define SIM_SEGMENTS_MAX 3
#define SIM_WISHES_MAX   4
#define SIM_CONVS_MAX    24 /* sessions of a seed, one after the other */
#define SIM_CALLS_MAX    64 /* of a conversation */
#define SIM_EFFECTS_MAX  512
#define SIM_NAMED_MAX    512
#define SIM_ID           40
#define SIM_KEY          40
#define SIM_MS           BC_USEC_PER_MS
#define SIM_SEC          BC_USEC_PER_SEC

enum sim_tool {
	SIM_LOOK, /* read, tag a */
	SIM_PEEK, /* read, tag b */
	SIM_SET,  /* reversible, tag a, repeatable by key */
	SIM_PUT,  /* reversible, tag a, not repeatable, tells its status */
	SIM_FLIP, /* reversible, tag b, by key; its undo needs its result */
	SIM_BOOK, /* hold, tag a, tells nothing */
	SIM_BUY,  /* hold, tag b, tells its status */
	SIM_ASK,  /* the client's own */
	SIM_TOOLS,
	SIM_GATEWAY_TOOLS = SIM_ASK
};

struct sim_kind {
	const char *name;
	bool effect;
	bool hold;
	bool by_key; /* a repeated key does nothing more */
	unsigned tag;
};

extern const struct sim_kind sim_kinds[SIM_TOOLS];
/* SIM_TOOLS: there is none of that name. */
enum sim_tool sim_tool_of(struct bc_span name);

/* ---- what the seed chose ---- */

/* What a variant of the world may have besides. */
enum sim_feature {
	SIM_EAGER,    /* turns end early */
	SIM_PREPARES, /* calls are prepared while the agent speaks */
	SIM_FOLLOWS, /* calls follow from results and from the turn before: patterns can be learnt */
	SIM_CLIENT_TOOLS
};

#define SIM_VARIANTS 48

struct sim_profile {
	unsigned variant; /* 0: the plain world */
	bool clean; /* no cutting fault, no failing tool: effects must equal those without speculation */
	unsigned crashes; /* of the process */
	bool power;       /* a crash is one of power: what was not synced is lost */
	bool disk_fails;  /* one sync fails */
	bool disk_slow;
	bool drops; /* clients and providers hang up */
	bool tools_fail;
	bool interrupts; /* the caller speaks when he likes */
	bool strays;     /* passes over the whole turn may err, too */
	bool sqlite;
	bool blunders; /* the model calls what there is not, and with arguments that do not fit */
	bool tagged;   /* a reasoner looks for calls, in place of passes; callers also type */
	enum {
		SIM_OFF,
		SIM_STRICT,
		SIM_CONFIRM,
		SIM_INJECT,
		SIM_MODES
	} mode;
};

/* What the caller wants done. */
struct sim_wish {
	enum sim_tool tool;
	unsigned
		n; /* its one argument: unique among all wishes of the seed; odd: nobody wanted it */
	unsigned step; /* those of step 1 follow from the results of step 0 */
};

struct sim_version {
	struct sim_wish wishes[SIM_WISHES_MAX];
	unsigned count;
};

/* A turn is said in segments; what was said up to the end of each has a meaning of its own. */
struct sim_turn {
	unsigned segments;
	unsigned voiced[SIM_SEGMENTS_MAX]; /* frames */
	unsigned silent[SIM_SEGMENTS_MAX]; /* frames behind it */
	struct sim_version meant[SIM_SEGMENTS_MAX];
	bool barge; /* it begins while the agent may still be busy with the one before */
	bc_usec pause;
	bool typed; /* not spoken */
	bool told;  /* the client tells its words while they are said */
};

struct sim_script {
	struct sim_turn turns[SIM_TURNS_MAX];
	unsigned count;
};

/* Which variant a seed is played in; what it has. */
unsigned variant_of(uint64_t seed);
bool variant_has(unsigned variant, enum sim_feature feature);
/* The configuration, owned by variant.c until variants_free(); sim.profile says who looks for calls. */
void variant_get(unsigned variant, unsigned mode, bool patient, struct cfg **ret_cfg,
		 struct toolset **ret_toolset);
void variants_free(void);

/* What a call's result says of calls that may follow: in its own turn, and in the next. */
#define SIM_NEXT(n) ((n) + 10)
#define SIM_THEN(n) ((n) + 12)

void script_write(struct sim_script *script, unsigned caller);
const struct sim_version *script_final(const struct sim_turn *turn);
/*
 * Segments are numbered through the call: the turn that a number belongs to and which of its segments; NULL: there is none,
 * and nothing is filled.
 */
const struct sim_turn *script_segment(const struct sim_script *script, unsigned marker,
				      unsigned *ret_turn, unsigned *ret_segment);
/* The number of the first segment of a turn. */
unsigned script_marker(const struct sim_script *script, unsigned turn);

/* Words: what stands for a segment, and for one that was not understood. */
#define SIM_WORD          "s%u, "
#define SIM_WORD_MISHEARD "s%u? "

/* ---- what happened ---- */

/* An execution at the tool server, or its undoing. */
struct sim_effect {
	enum sim_tool tool;
	unsigned n;
	char key[SIM_KEY];
	bc_usec sent;  /* the first request for it left the gateway */
	bc_usec heard; /* the gateway learnt how it went, or gave up; 0: it has not */
	bc_usec at;
	bool durable;    /* an intent with that key was on the disk */
	unsigned undone; /* order number of its undoing, 0: it stands */
	bc_usec undone_at;
	unsigned order;     /* of all effects and undoings */
	unsigned version;   /* of its tag, behind it */
	bc_usec undo_asked; /* when the first request to undo it came, 0: none did */
};

/* A call in a conversation, as the provider has it. */
struct sim_call {
	char item[SIM_ID];
	char call_id[SIM_ID + 8];
	enum sim_tool tool;
	unsigned n;
	bool complete;
	bool put_in; /* by the gateway */
	unsigned outputs;
	bc_usec at;
	bc_usec answered;
	bool ok; /* of its output */
	unsigned out_n;
	unsigned out_ref; /* number of the effect, from 1 */
	unsigned out_version;
	unsigned order; /* of the items of the conversation */
	unsigned out_order;
	bool deleted;
};

/* Somebody named a call. */
struct sim_named {
	enum sim_tool tool;
	unsigned n;
	unsigned turn;
	bool native; /* complete, in the conversation */
	bool whole;  /* a pass that had heard the whole turn */
	bc_usec at;
};

struct sim_conv;

struct sim_caller {
	unsigned number;
	struct sim_script script;
	unsigned turn; /* that is spoken, or comes next */
	unsigned segment;
	unsigned frame;
	enum {
		SIM_WAITING, /* for a session, or for his time to speak */
		SIM_SPEAKING,
		SIM_LISTENING,
		SIM_GONE
	} state;
	bc_usec patience;
	struct sim_conv *conv;            /* NULL: not connected */
	bc_usec committed[SIM_TURNS_MAX]; /* when the provider took the turn as final; 0: never */
};

struct sim_stats {
	uint64_t seeds;
	uint64_t crashes;
	uint64_t effects;
	uint64_t undos;
	uint64_t guesses; /* runs that were speculative */
	uint64_t taken;   /* of these became real */
	uint64_t faults;  /* of tools */
	uint64_t syncs_failed;
	uint64_t drops;
	uint64_t passes;
	uint64_t parked;
	uint64_t warmed;   /* servers */
	uint64_t asked;    /* calls of the client's own tool */
	uint64_t blunders; /* calls that cannot be run */
	uint64_t tagged;   /* seeds with a reasoner */
	uint64_t tagged_guesses;
	uint64_t tagged_taken;
	uint64_t typed;             /* turns */
	uint64_t misheard;          /* words */
	uint64_t put_in[SIM_MODES]; /* calls that the reasoner has named, by the gateway */
	uint64_t cut_short;         /* generations that broke off */
	uint64_t withdrawn;         /* calls, by the reasoner itself */
	uint64_t changed;           /* likewise */
};

struct sim_event;

struct sim {
	uint64_t seed;
	uint64_t random;
	uint64_t noise;   /* bytes of it, so far */
	bool plain;       /* in the plain world, which is older */
	bool speculative; /* false: the run to compare with */
	struct sim_profile profile;
	FILE *story; /* NULL: it is not told */
	int plant;   /* enum plant */
	bc_usec now;
	uint64_t steps;
	uint64_t crash_step; /* 0: no crash to come */
	bool healing;        /* no more faults: the world is getting well */
	bool dead;           /* the process has crashed: nothing it still does reaches anybody */
	struct sim_caller callers[SIM_CALLERS_MAX];
	unsigned caller_count;
	struct sim_conv *convs[SIM_CONVS_MAX];
	unsigned conv_count;
	struct sim_effect effects[SIM_EFFECTS_MAX];
	unsigned effect_count;
	unsigned order;
	unsigned versions[2];
	struct sim_named named[SIM_NAMED_MAX];
	unsigned named_count;
	bool cut;         /* a cutting fault has happened */
	bc_usec cuts[16]; /* when */
	unsigned cut_count;
	bool broken;
	char complaint[512]; /* the first thing that was wrong */
	struct sim_stats stats;
};

extern struct sim sim;

/* What must not be is: the first of these is kept. */
void sim_fail(const char *format, ...) BC_PRINTF(1, 2);
void sim_tell(const char *format, ...) BC_PRINTF(1, 2);
#define TELL(...)                              \
	do {                                   \
		if (sim.story != NULL) {       \
			sim_tell(__VA_ARGS__); \
		}                              \
	} while (0)
void sim_cut(const char *what);

/* ---- chance ---- */

unsigned sim_chance(unsigned n); /* below n */
bc_usec sim_between(bc_usec low, bc_usec high);
uint64_t sim_hash(uint64_t a, uint64_t b, uint64_t c);

/* ---- clock.c ---- */

typedef void sim_fn(void *arg);
struct sim_event *sim_at(bc_usec delay, sim_fn *fn, void *arg);
/* The same for good; arg is of the heap, and fn frees it. */
void sim_post(bc_usec delay, sim_fn *fn, void *arg);
void sim_forget(struct sim_event *event);
/* One thing happens; false: nothing is left to happen. */
bool sim_step(void);
void clock_reset(void);

/* ---- disk.c, store.c ---- */

extern const struct jrn_store_ops disk_ops;   /* what the journal is opened on */
extern const struct jrn_store_ops memory_ops; /* the store below, in memory */
void disk_reset(void);
void disk_crash(void);
void disk_restart(void);
bool disk_knows(const char *key);
void memory_reset(void);
bool memory_knows(const char *key);
/* How the intent with that key was settled: -1 not at all, -2 there is none. */
int disk_settlement(const char *key);
int memory_settlement(const char *key);

/* ---- toolserver.c ---- */

void toolserver_reset(void);
void toolserver_end(void);

/* ---- client.c ---- */

struct sim_client;
struct sim_client *client_new(struct sim_conv *conv);
struct sim_client *client_free(struct sim_client *client);
/* From the gateway. */
void client_hear(struct sim_client *client, struct bc_span payload);
/* The caller has typed a turn: a response is to be asked for after that time. */
void client_ask(struct sim_client *client, bc_usec delay);

/* ---- reasoner.c ---- */

struct sim_mind;
struct sim_mind *mind_new(struct sim_caller *caller, struct sess *sess);
struct sim_mind *mind_free(struct sim_mind *mind);
/* As reason_start() and reason_cancel() of struct sess_world. */
bool mind_start(struct sim_mind *mind, struct bc_span body);
void mind_cancel(struct sim_mind *mind);
/* The gateway says that to the provider: what it puts in must be what the reasoner stands by. */
void mind_judge(struct sim_mind *mind, struct bc_span payload);

/* ---- ears.c ---- */

/* What the provider makes words of, where it was asked to. */
struct sim_ears {
	bool open;         /* it was asked */
	bc_usec clock;     /* when the newest words are there */
	unsigned first;    /* segment of what is being said */
	char item[SIM_ID]; /* … and its item; "": nothing is being said, or it was not asked */
};

/* A segment of the item is being said; the item ends with that one. */
void ears_hear(struct sim_conv *conv, struct sim_ears *ears, unsigned marker);
void ears_complete(struct sim_conv *conv, struct sim_ears *ears, unsigned marker);

/* ---- provider.c ---- */

struct sim_conv *conv_new(struct sim_caller *caller, struct sess *sess);
struct sim_conv *conv_free(struct sim_conv *conv);
/* From the gateway, on its way. */
void conv_send(struct sim_conv *conv, struct bc_span payload);
void conv_close(struct sim_conv *conv);
/* To the gateway, on its way; ' stands for ".  Nothing where the line is closed. */
void conv_says(struct sim_conv *conv, const char *text);
bool conv_answered(const struct sim_conv *conv, unsigned turn);
bool conv_is_open(const struct sim_conv *conv);
unsigned conv_calls(const struct sim_conv *conv, const struct sim_call **ret);
struct sim_caller *conv_caller(const struct sim_conv *conv);
bool conv_was_cut(const struct sim_conv *conv);
void conv_set_cut(struct sim_conv *conv);

/* ---- caller.c ---- */

void callers_begin(void);
bool callers_done(void);
void callers_crash(void);
/* Deliver to the session. */
void caller_from_provider(struct sim_conv *conv, const char *text);
void caller_from_client(struct sim_conv *conv, const char *text);
void session_tag_changed(const char *tag);
void session_over(struct sim_conv *conv);
void sessions_free(void);

/* ---- process.c ---- */

struct tool_host *process_tools(void);
struct cfg *process_cfg(void);
struct toolset *process_toolset(void);
struct admission *process_admission(void);
struct patterns *process_patterns(void);
bool process_lives(void);
struct sim_run {
	uint64_t seed;
	bool plain; /* in the plain world, whatever the seed says */
	bool speculative;
	int plant;
	FILE *story;
};

void process_play(const struct sim_run *run);
void process_library_end(void);

/* ---- check.c ---- */

void check_run(void);
/* What stands at the end: texts "tool n", sorted, in one heap string. */
char *check_standing(void);

/* ---- plant.c ---- */

enum plant {
	PLANT_NONE,
	PLANT_EARLY_EFFECT,   /* an effect before its ticket is durable */
	PLANT_UNDO_ORDER,     /* of two undos the later one takes effect first */
	PLANT_LOST_JOIN,      /* a real call does not find its guess */
	PLANT_DOUBLE_RELEASE, /* a hold leaves twice */
	PLANT_STALE_READ,     /* nobody hears what an effect has changed */
	PLANT_WRONG_EQUALITY, /* a real call gets the result of a guess with other arguments */
	PLANT_DEAF_REMOVE,    /* what the reasoner withdraws is kept */
	PLANT_TRUSTED_EARS,   /* what a recogniser has heard counts as the caller's own words */
	PLANT__COUNT
};

#endif
