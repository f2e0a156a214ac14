/*
 * A provider, a client and tools that do whatever the protocol allows, by chance, around a session in its rig; and what
 * must hold whatever they did.
 */
#ifndef BACKCHANNEL_TESTS_SESSION_MODEL_H
#define BACKCHANNEL_TESTS_SESSION_MODEL_H

#include "tests/unit/session_rig.h"

#define MODEL_CALLS_MAX   128
#define MODEL_SAID_MAX    256
#define MODEL_PASSES_MAX  32
#define MODEL_ID_MAX      32
#define MODEL_CALL_ID_MAX (MODEL_ID_MAX + 8)

/* What the provider calls. */
enum model_kind {
	MODEL_ORDER,
	MODEL_OTHER_ORDER,
	MODEL_BAD_ORDER,
	MODEL_WARN,
	MODEL_JOT,
	MODEL_BOOK,
	MODEL_MOVE,
	MODEL_MINE,
	/* must be last */
	MODEL_KIND__COUNT
};

/* What a run must have come to: what never happens breaks no promise. */
enum model_reach {
	REACH_CANCEL_RACED,     /* the response that is taken over showed an item first */
	REACH_CANCEL_SPOKEN,    /* … the caller spoke first */
	REACH_CANCEL_CANCELLED, /* … the client cancelled first */
	REACH_GATE_BROKEN,      /* a hold waited for silence, and the caller spoke */
	REACH_HOLD_STARTED,     /* it was silent for long enough */
	REACH_KEPT,             /* a reversible guess became a call */
	REACH_UNDONE,           /* … was taken back after its end */
	/* must be last */
	REACH__COUNT
};

/* A function call the provider made in the default conversation. */
struct model_call {
	char id[MODEL_CALL_ID_MAX];
	bool gateway;
	bool complete;
	unsigned outputs;
};

/* A response in progress. */
struct model_response {
	char id[MODEL_ID_MAX];
	char *metadata; /* JSON; NULL: no response */
	bool out_of_band;
	unsigned items;
};

struct model {
	struct rig rig;
	uint64_t random;
	struct model_response active;
	struct model_response aside[MODEL_PASSES_MAX]; /* out of band */
	struct model_call calls[MODEL_CALLS_MAX];
	unsigned call_count;
	unsigned
		answered; /* client calls the client has answered: those before this index were looked at */
	unsigned next;        /* for ids */
	unsigned creates;     /* requests the client made */
	unsigned items_sent;  /* items the client made */
	unsigned items_read;  /* … and the provider has read */
	unsigned sounds_sent; /* pieces of audio, likewise */
	unsigned sounds_read;
	char said[MODEL_SAID_MAX][MODEL_ID_MAX]; /* items of the caller and the client */
	unsigned said_count;
	bool opted_in; /* the client gives its words, because the configuration has a section [extension] */
	unsigned revision; /* of the last of them */
	bool minded; /* there is a reasoner, because the configuration has a section [reasoner] */
	bool passes; /* the provider is asked out of band, because the configuration has it so */
	bool speaking;
	unsigned turns; /* model_turn() */
	unsigned reached[REACH__COUNT];
	char last[MODEL_ID_MAX]; /* item at the end of the conversation */
};

void model_init(struct model *model, uint64_t seed, const char *toml);
/* One thing happens. */
void model_step(struct model *model);
/* The client asks for a response, or types. */
void model_ask(struct model *model);
void model_type(struct model *model);
/* The provider reads the next message; false: there is none. */
bool model_read(struct model *model);
/* A tool run gets its permission, or its end; false: there is none. */
bool model_tool_ends(struct model *model);
unsigned model_chance(struct model *model, unsigned n);
/* The caller begins to speak, or the provider ends the turn. */
void model_caller(struct model *model);
/* In a response: an item that is shown, a call, its end. */
void model_speak(struct model *model, struct model_response *response);
void model_call(struct model *model, struct model_response *response, enum model_kind kind);
void model_end(struct model *model, struct model_response *response, const char *status);
/* session_turn.c: a whole turn whose passes come back in time; 100 ms of voice or silence; guesses that run end; what
 * became of guesses. */
void model_turn(struct model *model);
void model_sound(struct model *model, bool loud);
void model_guesses_end(struct model *model);
void model_count_guesses(struct model *model);
/* session_mind.c: something the reasoner, or the recogniser it reads, does by this random number. */
void model_think(struct model *model, unsigned random);
/* Everything that was begun comes to its end. */
void model_settle(struct model *model);
void model_fini(struct model *model);

/*
 * session_promises.c: fails the test when a promise was broken.  settled: everything has come to its end; listens: the
 * client was there to see it.
 */
void model_check(struct model *model, bool settled, bool listens);
/* While a request of the gateway is on its way no other one is. */
void model_check_requests(const struct model *model);

#endif
