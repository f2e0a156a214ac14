/* Keeping secret arguments out of the journal (J9).  Pure. */
#ifndef BACKCHANNEL_TOOLS_SECRET_H
#define BACKCHANNEL_TOOLS_SECRET_H

#include "daemon/base/buf.h"
#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <jansson.h>

struct bc_seal_key;
struct cfg_tool;

#define TOOL_SECRET_MARK "[secret]"

/*
 * Append the canonical text of args with TOOL_SECRET_MARK in place of every argument the tool declares secret.  Errors
 * of json_canonical().
 */
enum bc_err tool_secret_args(struct bc_buf *out, const struct cfg_tool *tool,
			     const json_t *args) BC_MUST;

/*
 * Append output with TOOL_SECRET_MARK wherever it repeats a secret of at least TOOL_SECRET_LEN_MIN bytes, as text or
 * as JSON string content: servers like to confirm what they were told.  Shorter ones stand in any text by chance.
 * Errors of bc_buf_put().
 */
#define TOOL_SECRET_LEN_MIN 4

enum bc_err tool_secret_output(struct bc_buf *out, const struct cfg_tool *tool, const json_t *args,
			       struct bc_span output) BC_MUST;

/*
 * Append args of a tool with secret arguments, sealed; nothing for a tool without, or without a key (NULL): then the
 * arguments cannot be read back, and after a crash the call can be neither repeated nor undone.  Errors of bc_seal().
 */
enum bc_err tool_seal_args(struct bc_buf *out, const struct bc_seal_key *key,
			   const struct cfg_tool *tool, const json_t *args) BC_MUST;

/* Append text of a tool, sealed; nothing without a key.  Errors as above. */
enum bc_err tool_seal_text(struct bc_buf *out, const struct bc_seal_key *key,
			   const struct cfg_tool *tool, struct bc_span text) BC_MUST;

/* Append what was sealed.  BC_E_INVALID also without a key. */
enum bc_err tool_seal_open(struct bc_buf *out, const struct bc_seal_key *key,
			   const struct cfg_tool *tool, struct bc_span sealed) BC_MUST;

#endif
