/* The action protocol, as the model is told about it. */
#ifndef BACKCHANNEL_PROTO_AGENT_PROMPT_H
#define BACKCHANNEL_PROTO_AGENT_PROMPT_H

/*
 * The beginning of a system prompt; the definitions of the tools, as a JSON array, are to follow it.  What stands in it
 * between ``` lines are whole generations that the parser takes.  Static storage, any thread.
 */
extern const char agent_prompt[];

#endif
