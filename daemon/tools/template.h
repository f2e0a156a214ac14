/*
 * Filling request templates of the configuration with a call's values, each escaped for where it stands, so that no
 * value can change the shape of a request.  Pure.
 *
 * A placeholder is '{', a path, '}'; nothing else is, so the braces of a JSON body need no escaping:
 *
 *   path  = "*" | name *( "." name | "[" digits "]" )      name = [A-Za-z_][A-Za-z0-9_]*
 *
 *   {*}                 all arguments, as one JSON object
 *   {idempotency_key}   the key of the intent
 *   {args.x.y}          an argument; {x.y} is the same
 *   {result.x[0]}       a part of the call's result, in status and undo requests
 *
 * Text that looks like a placeholder and is none is written %7B in a URL and \u007b in a JSON string.
 *
 * Where it stands          what is put                                            an absent value or null
 *   URL path               percent-encoded; a segment never becomes "", ".", ".."  refused: nothing to ask for
 *   URL query, form body   percent-encoded                                        nothing
 *   header                 as it is; a control character is refused               nothing
 *   JSON, bare             the value as JSON                                      null
 *   JSON, inside a string  the escaped content of a JSON string                   nothing
 *   text/plain body        as it is                                               nothing
 *
 * A string stands for its content, every other value for its canonical JSON text.  The kind of a body is that of its
 * Content-Type header; without one it is JSON.
 */
#ifndef BACKCHANNEL_TOOLS_TEMPLATE_H
#define BACKCHANNEL_TOOLS_TEMPLATE_H

#include "daemon/base/buf.h"
#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <jansson.h>
#include <stdbool.h>

struct cfg_header;
struct cfg_request;

/* What placeholders stand for. */
struct tool_values {
	const json_t *args;   /* object */
	const json_t *result; /* NULL: there is none */
	bool result_open; /* it is not known yet: something harmless stands for each part of it */
	const char *idempotency_key; /* of the call; never NULL */
	const char
		*own_key; /* of the request's own intent, for its Idempotency-Key; NULL: the same */
};

/*
 * Append the filled URL.  BC_E_INVALID: a value cannot stand where the template puts it, reterr_message says why
 * ("order: must not be empty"); errors of bc_buf_put().  After an error out holds a part.
 */
enum bc_err tool_fill_url(struct bc_buf *out, const struct cfg_request *request,
			  const struct tool_values *values, struct bc_buf *reterr_message) BC_MUST;

/* Append "Name: value"; errors as above.  The value of a secret is put as it is: it is no template. */
enum bc_err tool_fill_header(struct bc_buf *out, const struct cfg_header *header,
			     const struct tool_values *values,
			     struct bc_buf *reterr_message) BC_MUST;

/* Append the body, of a request that has one; errors as above. */
enum bc_err tool_fill_body(struct bc_buf *out, const struct cfg_request *request,
			   const struct tool_values *values, struct bc_buf *reterr_message) BC_MUST;

/* The header of that name in the template, without regard to case; NULL: none. */
const struct cfg_header *tool_header_find(const struct cfg_request *request, const char *name);

/* The host of the template's URL, without port and user; into the URL. */
struct bc_span tool_url_host(const char *url);

#endif
