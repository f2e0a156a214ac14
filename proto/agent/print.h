/*
 * The action protocol, to the model: what the gateway tells it, between its generations.
 *
 *   <partial_query_update rev="7">I want to change</partial_query_update>    the caller's words so far
 *   <final_query_update rev="8">I want to change my order</final_query_update>
 *   <tool_result id="3">{"status":"open"}</tool_result>
 *   <tool_call_cancelled id="3"/>           the call was withdrawn, with what it depends on or by the gateway
 *   <error>…</error>                        the last generation was invalid, and why
 *   </think_interrupted>                    closes a think that was cut off
 *
 * Whatever stands inside an element has "&" written as "&amp;" and "<" as "&lt;", and nothing else changed: so no word of
 * a caller and no result of a tool can begin a tag, and parser.h undoes it.  Text is UTF-8 and is not checked.
 *
 * Every function appends to out all or nothing; BC_E_LIMIT and BC_E_NOMEM as bc_buf_put().  No line ends are
 * added.  Pure.
 */
#ifndef BACKCHANNEL_PROTO_AGENT_PRINT_H
#define BACKCHANNEL_PROTO_AGENT_PRINT_H

#include "daemon/base/buf.h"
#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdint.h>

/* text, escaped, without any element. */
enum bc_err agent_put_escaped(struct bc_buf *out, struct bc_span text) BC_MUST;

/* All that the caller said in this turn up to now.  rev only grows within a session; who calls sees to that. */
enum bc_err agent_put_partial(struct bc_buf *out, uint64_t rev, struct bc_span text) BC_MUST;

/* All that the caller said in this turn, which is over. */
enum bc_err agent_put_final(struct bc_buf *out, uint64_t rev, struct bc_span text) BC_MUST;

/* The output of call id, 1 .. AGENT_ID_MAX: JSON text or plain text, an error of the tool as well. */
enum bc_err agent_put_result(struct bc_buf *out, unsigned id, struct bc_span text) BC_MUST;

/* Call id, 1 .. AGENT_ID_MAX, no longer counts; there will be no result. */
enum bc_err agent_put_cancelled(struct bc_buf *out, unsigned id) BC_MUST;

/* Why the last generation was invalid: agent_invalid_text(), or the words of who knows more. */
enum bc_err agent_put_error(struct bc_buf *out, struct bc_span text) BC_MUST;

/* The marker behind a think that was cut off. */
enum bc_err agent_put_interrupted(struct bc_buf *out) BC_MUST;

#endif
