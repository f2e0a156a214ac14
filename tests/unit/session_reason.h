/* What a session with a reasoner hears and says: the caller's words, the reasoner's steps, the provider's calls. */
#ifndef BACKCHANNEL_TESTS_SESSION_REASON_H
#define BACKCHANNEL_TESTS_SESSION_REASON_H

#include "tests/unit/session_verdict.h"

/* Keys of [reasoner] may follow; mode is that of [speculation], in quotes. */
#define REASON_CONFIG(mode)                                                          \
	TALK_CONFIG "[speculation]\nmode = " mode "\nreasoner = \"tagged\"\n"        \
		    "[reasoner]\nurl = \"http://localhost:1/v1/chat/completions\"\n" \
		    "model = \"m-1\"\ninterval = \"300ms\"\nbackoff = \"1s\"\n"

#define ORDER \
	"<tool_call>{\"id\":1,\"name\":\"get_order\",\"arguments\":{\"id\":\"7\"}}</tool_call>"
#define NIGHT \
	"<tool_call>{\"id\":2,\"name\":\"book\",\"arguments\":{\"night\":\"mon\"}}</tool_call>"

extern const char *item; /* what is being said */

/* As verdict_begin(), with the rig of session_verdict.h. */
void reason_begin(const char *toml);

/* The provider has understood this of what is being said; all of an item; the client has typed an item. */
void transcript(const char *delta);
void transcribed(const char *id, const char *words);
void typed(const char *id, const char *words);

/* The last message the reasoner was given. */
const char *told(void);
/* It has to answer to exactly this. */
void expect_told(const char *text);

/* A piece of the reasoner's generation; a whole step; its end without one. */
void reason_says(const char *text);
void reason_acts(const char *action);
void reason_fails(enum bc_err err, int status, bc_usec retry_after);

/* The caller has said part of it, and the reasoner knows; and a guess of get_order runs. */
void speak(void);
void guess(void);
/* The caller has stopped, and the provider has noticed. */
void commit(void);
/* A response of the provider that makes one call. */
void real_call(const char *call, const char *name, const char *arguments);

#endif
