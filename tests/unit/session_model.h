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
	unsigned put_in;   /* calls the gateway has made in the provider's place */
	bool minded; /* there is a reasoner, because the configuration has a section [reasoner] */
	bool speaking;
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
