/* The simulated provider: what was asked for on the command line, and what all sessions share. */
#ifndef BACKCHANNEL_TESTS_PROVIDER_PROVIDER_H
#define BACKCHANNEL_TESTS_PROVIDER_PROVIDER_H

#include "tests/provider/options.h"
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
struct parcel;
TAILQ_HEAD(session_list, session);

/* What is on its way between clients and us: one line for all sessions, as the way takes always the same time. */
struct path {
	TAILQ_HEAD(, parcel) parcels;
	ev_timer timer;
	double seconds; /* one way, of the loop's clock; 0: no delay */
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
	struct path path;
	char *tones[3]; /* base64 of a whole audio delta, by format; NULL: not made yet */
	ev_tstamp started;
	unsigned sessions; /* accepted so far */
	struct session_list live;
};

/* Kinds of log lines; whether the operator wants them. */
bool log_wants(const struct provider *provider, const char *kind);

/* The log's first line: every parameter as it counts. */
void log_parameters(struct provider *provider);

/* ---- path.c ---- */

void path_init(struct provider *provider);

/* Seconds a pass takes beside the way to us and back, which published times contain. */
double path_beside(const struct provider *provider, double seconds);

/* Seconds of the loop's clock that seconds of the world take. */
static inline double provider_seconds(const struct provider *provider, double seconds)
{
	return seconds / provider->options.scale;
}

#endif
