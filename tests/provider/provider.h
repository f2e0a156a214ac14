/* The simulated provider: what was asked for on the command line, and what all sessions share. */
#ifndef BACKCHANNEL_TESTS_PROVIDER_PROVIDER_H
#define BACKCHANNEL_TESTS_PROVIDER_PROVIDER_H

#include "tests/world/dialogue.h"
#include "tests/world/timing.h"
#include "tests/world/wire.h"

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

struct session;
TAILQ_HEAD(session_list, session);

struct options {
	unsigned port;
	const char *cert;
	const char *key_file;
	const char *dialogues;
	const char *script;
	const char *timing;
	const char *profile;
	const char *log;
	const char *key; /* expected API key; NULL: any */
	uint64_t seed;
	double scale; /* the world runs that many times faster than real time */
	bool clause;  /* readiness rule: clause (default) or word */
	/* faults */
	unsigned refuse;     /* HTTP status every upgrade is refused with; 0: none */
	unsigned drop_after; /* cut the connection behind that many client events; 0: never */
	const char *drop_at; /* cut it behind the first server event of that type */
	bool reject_inline_audio;
	bool anonymous_errors; /* collision errors do not name the client's event */
	bool silent;           /* say session.created and nothing more */
	bool reset_vad;        /* an update of turn_detection forgets the speech under way */
	unsigned fail;         /* the session's N-th response fails; 0: none */
	double cancel_delay;   /* seconds, of the world */
	double rival;          /* rate of turns in which the default response decides otherwise */
	double early_wrong;    /* the rates below: negative means timing.json's */
	double premature;
	double disagree;
};

struct provider {
	struct ev_loop *loop;
	struct options options;
	struct timing timing;
	struct dialogue_set dialogues;
	json_t *script; /* NULL: none */
	struct wire_tls *tls;
	struct wire_listener *listener;
	FILE *log; /* NULL: none */
	ev_tstamp started;
	unsigned sessions; /* accepted so far */
	struct session_list live;
};

/* Seconds of the loop's clock that seconds of the world take. */
static inline double provider_seconds(const struct provider *provider, double seconds)
{
	return seconds / provider->options.scale;
}

#endif
