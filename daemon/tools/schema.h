/*
 * The part of JSON Schema that tool parameters may use, applied to trees.  Not a general validator: what is not
 * listed in vocabulary.c is refused when the configuration is read.
 */
#ifndef BACKCHANNEL_TOOLS_SCHEMA_H
#define BACKCHANNEL_TOOLS_SCHEMA_H

#include "daemon/base/buf.h"
#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <jansson.h>
#include <stdbool.h>

#define SCHEMA_MESSAGE_SIZE 400 /* bytes of the longest message, with its NUL */
#define SCHEMA_STEPS_MAX \
	100000 /* subschemas applied in one check: ends any explosion of anyOf and $ref */

/*
 * Check value against schema, which tool_schema_check() has accepted, and put the schema's defaults where members
 * are missing; a default is checked like any other value.  Of anyOf and oneOf the branch that fits gives defaults.
 * BC_E_INVALID: does not fit, message holds "<path>: <what is wrong>", cut at a character; value may then have
 * been changed.  BC_E_NOMEM.  Pure.
 * Source: JSON Schema 2020-12.
 */
enum bc_err tool_schema_apply(const json_t *schema, json_t *value,
			      char message[SCHEMA_MESSAGE_SIZE]) BC_MUST;

/*
 * The subschema a "$ref" names: "#", "#/$defs/x" or "#/definitions/x" of root; NULL: anything else, or no such
 * definition.
 */
const json_t *tool_schema_resolve(const json_t *root, const char *ref);

#endif
