/*
 * What a client may expect of the events it gets: a ledger of items and responses that notes every breach.
 * It knows the protocol, not the gateway, except for one thing: nothing the gateway added to the conversation
 * may be seen.  The caller declares no tools, so any function call it sees belongs to the gateway.
 * Source: ordering and ids of the OpenAI Realtime protocol, GA.
 */
#ifndef BACKCHANNEL_TESTS_CALLER_WATCH_H
#define BACKCHANNEL_TESTS_CALLER_WATCH_H

#include <jansson.h>
#include <stdbool.h>

struct watch;

/* NULL when out of memory. */
struct watch *watch_new(void);

/* Accepts NULL, returns NULL. */
struct watch *watch_free(struct watch *watch);

/* Look at one event of the server; event is borrowed. */
void watch_event(struct watch *watch, json_t *event);

/* The caller itself is about to make an item of that id: it may be a tool call.  id NULL: nothing. */
void watch_expect(struct watch *watch, const char *id);

/* Nobody detects speech: the transcript of a turn may be the first that names its item. */
void watch_without_detector(struct watch *watch);

/* The session has ended: what is still open never came to its end. */
void watch_end(struct watch *watch);

/* Note a breach found elsewhere. */
void watch_breach(struct watch *watch, const char *what, const char *about);

/* Whether a response is open. */
bool watch_is_answering(const struct watch *watch);

/* Breaches in words, number of events by type, function calls that were visible; borrowed. */
json_t *watch_breaches(const struct watch *watch);
json_t *watch_counts(const struct watch *watch);
json_t *watch_function_calls(const struct watch *watch);

#endif
