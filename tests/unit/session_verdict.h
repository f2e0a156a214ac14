/* A turn whose calls a pass has named, up to the moment in which they take the place of the provider's own response. */
#ifndef BACKCHANNEL_TESTS_SESSION_VERDICT_H
#define BACKCHANNEL_TESTS_SESSION_VERDICT_H

#include "tests/unit/session_talk.h"

#define VERDICT_CONFIG    TALK_CONFIG "[speculation]\nmode = \"confirm\"\n"
#define VERDICT_MARKS_MAX 16

extern struct rig rig;                     /* of the running test */
extern char marks[VERDICT_MARKS_MAX][128]; /* metadata of the passes asked for, newest last */
extern unsigned mark_count;

/* As talk_begin(), with the rig above. */
void verdict_begin(const char *toml);

/* Look through what reached the provider: passes are remembered. */
void find_passes(void);

/* The provider answers the newest pass: up to two calls (NULL: none), and its end. */
void answer_pass(const char *id, const char *tool, const char *arguments, const char *second);

/* The caller has spoken, and a pass over all of it names this; silence goes on until 520 ms. */
void turn_naming(const char *tool, const char *arguments);
/* The same with a second call behind it, which has no arguments. */
void turn_naming_both(const char *tool, const char *arguments, const char *second);

/* A read is in hand, the turn u1 is committed, and the client has seen that. */
void read_in_hand(void);

/* A booking is named by a pass over the whole turn, and r1 was cancelled for it, 520 ms after the last word. */
void booking_at_the_gate(void);

/* A response ends cancelled. */
void cancelled(const char *id);

/* What reaches the provider next: the end of a response, a call put in, its output, the request for an answer. */
void expect_cancel(const char *response);
const char *expect_call(const char *name); /* its call_id, until the next call */
void expect_output(const char *call_id, const char *output);
void expect_followup(void);

/* What was asked for, r2, begins with a message, which is what the client sees next. */
void answer_begins(void);

#endif
