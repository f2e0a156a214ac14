/*
 * Operands: strings within a call's arguments that stand for the result of an earlier call.  Pure.
 *
 *   operand = "$" id *( "." name / "[" index "]" )          ; the whole string
 *   name    = 1*( ALPHA / DIGIT / "_" / "-" )               ; a member of an object
 *   index   = "0" / %x31-39 *5DIGIT                         ; an element of an array, from 0
 *   literal = *( "$$" / "$" not followed by DIGIT or "$" / any other character )      ; every other string
 *
 * An operand is replaced by the JSON value that the path finds in the result, of whatever type; "$1" is the whole result.
 * In a literal "$$" stands for one "$".  A string that is neither ("total $1.sum", "$1.rows[x]", "$0", "$05") is an error:
 * nothing is put into the midst of a string, and a price is written "$$5".  Keys are never operands and are left
 * as they are.
 *
 * The parser refuses an operand whose id is not smaller than its call's own, so plans are free of cycles.
 */
#ifndef BACKCHANNEL_PROTO_AGENT_OPERAND_H
#define BACKCHANNEL_PROTO_AGENT_OPERAND_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <jansson.h>
#include <stddef.h>

#define AGENT_ID_MAX       999           /* ids of calls are 1 .. this */
#define AGENT_OPERANDS_MAX 32            /* in the arguments of one call */
#define AGENT_OPERAND_LEN  256           /* bytes of one operand; longer is BC_E_SYNTAX */
#define AGENT_RESOLVED_MAX (1024 * 1024) /* see agent_resolve() */

struct agent_operand {
	unsigned id; /* 1 .. AGENT_ID_MAX */
	struct bc_span
		path; /* as written behind the id, maybe empty; into the string it was read from */
};

/*
 * A string of the arguments as an operand.  BC_E_NOTFOUND: it is a literal; BC_E_SYNTAX: it is neither.
 * *ret->path points into text.
 */
enum bc_err agent_operand_parse(struct bc_span text, struct agent_operand *ret) BC_MUST;

/* The value that an operand's path finds in a result, borrowed from it; NULL: there is none.  A null is found. */
const json_t *agent_operand_follow(const json_t *result, struct bc_span path);

/*
 * All operands of arguments, in the order of the text, the same one as often as it occurs; ret has room for
 * AGENT_OPERANDS_MAX.  Paths point into arguments.  BC_E_SYNTAX: a string is neither operand nor literal;
 * BC_E_LIMIT: too many, or nested deeper than JSON_DEPTH_MAX.  ret is unspecified after an error.
 */
enum bc_err agent_operands(const json_t *arguments, struct agent_operand *ret,
			   size_t *ret_n) BC_MUST;

/*
 * What a call depends on: the ids of n <= AGENT_OPERANDS_MAX operands, rising, each once.  ret_ids has room for n.
 * Returns how many.
 */
size_t agent_operand_ids(const struct agent_operand *operands, size_t n, unsigned *ret_ids);

/* Whether a result can be used; the order is no rank. */
enum agent_result {
	AGENT_RESULT_ABSENT,  /* no call of that id was ever issued */
	AGENT_RESULT_REMOVED, /* it was withdrawn */
	AGENT_RESULT_PENDING, /* it has not finished */
	AGENT_RESULT_READY    /* *ret_value is its result */
};

/* Where agent_resolve() gets results from. */
struct agent_results {
	/* *ret_value only for READY, borrowed, unchanged until agent_resolve() returns. */
	enum agent_result (*find)(void *arg, unsigned id, const json_t **ret_value);
	void *arg;
};

/* The operand that could not be resolved, the first in the order of the text. */
struct agent_unresolved {
	struct agent_operand operand; /* path into arguments */
	enum agent_result result;     /* READY: there is nothing at that path in its result */
};

/*
 * The arguments to call the tool with: a copy of them with each operand replaced by a copy of its value and "$$" by
 * "$".  To be called for every call, also one without operands.  The caller owns *ret.
 *
 *   BC_E_AGAIN     a result is pending; reterr says which
 *   BC_E_NOTFOUND  an id is absent or removed, or there is nothing at the path; reterr says which
 *   BC_E_SYNTAX    a string is neither operand nor literal (the parser lets none through)
 *   BC_E_LIMIT     arguments nested deeper than JSON_DEPTH_MAX, or values that need more than AGENT_RESOLVED_MAX:
 *                  bytes of strings and keys, and 16 for each value
 *   BC_E_NOMEM
 *
 * reterr is filled for the first two only.
 */
enum bc_err agent_resolve(const json_t *arguments, const struct agent_results *results,
			  json_t **ret, struct agent_unresolved *reterr) BC_MUST;

#endif
