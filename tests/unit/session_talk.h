/* Pieces of a conversation with a session in its rig: what a provider says, as one line each. */
#ifndef BACKCHANNEL_TESTS_SESSION_TALK_H
#define BACKCHANNEL_TESTS_SESSION_TALK_H

#include "tests/unit/session_rig.h"

/* A read "get_order" and a hold "book", both with the tag "orders"; further sections may follow. */
#define TALK_CONFIG                                                                                                \
	"[[listen]]\nport = 8080\n[auth]\nmode = \"open\"\n[[upstream]]\nurl = \"ws://localhost:1/v1/realtime\"\n" \
	"[[tool]]\nname = \"get_order\"\ndescription = \"Looks an order up.\"\neffect = \"read\"\n"                \
	"disclosure = \"first_party\"\ntags = [\"orders\"]\nfresh_for = \"5s\"\nparameters = { type = "            \
	"\"object\", properties = { id = { type = \"string\" } }, required = [\"id\"] }\n"                         \
	"request = { method = \"POST\", url = \"http://localhost:1/order\", body = \"{*}\" }\n"                    \
	"[[tool]]\nname = \"book\"\ndescription = \"Books a room.\"\neffect = \"hold\"\ntags = [\"orders\"]\n"     \
	"parameters = { type = \"object\", properties = { night = { type = \"string\" } } }\n"                     \
	"request = { method = \"POST\", url = \"http://localhost:1/book\", body = \"{*}\" }\n"

#define TALK_ORDER "{\\\"id\\\":\\\"7\\\"}"
#define TALK_NIGHT "{\\\"night\\\":\\\"mon\\\"}"

/* An open session whose provider has taken the gateway's tools, with this input format ("pcm", "pcmu", "pcma"). */
void talk_begin(struct rig *rig, const char *toml, const char *format);

/* Everything that reached a side so far is of no interest. */
void talk_skip(struct rig *rig, enum sess_side side);

/* The caller's turn is complete; prev may be NULL. */
void talk_commit(struct rig *rig, const char *item, const char *prev);

void talk_created(struct rig *rig, const char *id, const char *metadata);
/* A complete call, with all its events; its call_id is "c_" and the item's id. */
void talk_call(struct rig *rig, const char *response, const char *item, const char *name,
	       const char *arguments);
void talk_done(struct rig *rig, const char *id, const char *status);

/* The provider acknowledges every output the gateway has put in and not yet looked at; returns how many. */
unsigned talk_outputs(struct rig *rig);

/* The client sends audio: milliseconds of voice or silence, in pieces of 20 ms. */
void talk_audio(struct rig *rig, unsigned ms, bool voice);

#endif
