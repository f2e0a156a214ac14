/*
 * One scripted call: speaks the turns of a dialogue over a Realtime session as a person with a microphone
 * would, listens to the answers for as long as they last, and writes down when everything happened.
 * Single-threaded, on the libev loop it is given.
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

struct call_conf {
	const struct dialogue *dialogue; /* must outlive the call, as the rest */
	const struct timing *timing;
	enum audio_format format; /* both ways */
	uint64_t seed;
	double scale;       /* speaks and waits this much faster than a person */
	double pause_rate;  /* share of turns with a pause in mid-speech */
	double resume_rate; /* share of turns that go on after the provider took them for ended */
	double patience;    /* seconds to wait for anything, before scaling */
	bool repairs;       /* speak the self-corrected wording where a turn has one */
	struct wire_connect_conf wire;
};

/* Connect and begin.  BC_E_SYSTEM, BC_E_NOMEM.  The loop is left with ev_break() when the call has ended. */
enum bc_err call_new(struct ev_loop *loop, const struct call_conf *conf, struct call **ret) BC_MUST;

/* After the loop has returned.  Accepts NULL, returns NULL. */
struct call *call_free(struct call *call);

/* The time line, all times in seconds of the monotonic clock; new reference or NULL. */
json_t *call_timeline(const struct call *call);

/* Whether every turn was answered and nothing was wrong. */
bool call_went_well(const struct call *call);

#endif
