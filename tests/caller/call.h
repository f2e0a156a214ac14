/*
 * One scripted call: speaks the turns of a dialogue over a Realtime session as a person with a microphone
 * would, listens to the answers for as long as they last, and writes down when everything happened.
 * Single-threaded, on the libev loop it is given; many calls may share one.
 */
#ifndef BACKCHANNEL_TESTS_CALLER_CALL_H
#define BACKCHANNEL_TESTS_CALLER_CALL_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "proto/audio.h"
#include "tests/world/dialogue.h"
#include "tests/world/timing.h"
#include "tests/world/wire.h"

struct call;

/* Who ends a turn. */
enum call_turns {
	CALL_TURNS_VAD,    /* the provider, after its silence */
	CALL_TURNS_MANUAL, /* the client, with the last word: commit and response.create */
	CALL_TURNS_TEXT    /* typed: the whole turn as one item, then response.create */
};

#define CALL_WHOLE (-1)

struct call_conf {
	const struct dialogue *dialogue; /* must outlive the call, as the rest */
	const struct timing *timing;
	enum audio_format format; /* both ways */
	enum call_turns turns;
	/*
	 * CALL_WHOLE: the whole dialogue.  Else this turn alone: the earlier ones are put into the conversation as
	 * text, the answer to the one before it is asked for and listened to, then the turn is spoken.
	 */
	int alone;
	uint64_t seed;
	double scale;       /* speaks and waits this much faster than a person */
	double silence;     /* seconds that end a turn, of CALL_TURNS_VAD; negative: timing's */
	double pause_rate;  /* share of turns with a pause in mid-speech */
	double resume_rate; /* share of turns that go on after the provider took them for ended */
	double repair_rate; /* share of the turns that have one spoken in their self-corrected wording */
	double patience; /* seconds to wait for anything, before scaling */
	struct wire_connect_conf wire;
	void (*opened)(void *arg); /* the session stands; NULL: nobody asks */
	void (*ended)(void *arg);  /* last callback; the call may be freed behind it, not inside */
	void *arg;
};

/* Connect and begin.  BC_E_SYSTEM, BC_E_NOMEM. */
enum bc_err call_new(struct ev_loop *loop, const struct call_conf *conf, struct call **ret) BC_MUST;

/* After ended().  Accepts NULL, returns NULL. */
struct call *call_free(struct call *call);

/* The time line of the turns played, all times in seconds of the monotonic clock; new reference or NULL. */
json_t *call_timeline(const struct call *call);

/* Whether every turn was answered and nothing was wrong. */
bool call_went_well(const struct call *call);

#endif
