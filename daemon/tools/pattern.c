#include "daemon/tools/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#define STEPS_MAX 100000U /* of one search: about a millisecond */
#define DEPTH_MAX 1000U   /* backtracking points kept at a time */

/* Negative ones among PCRE2's error numbers are not about the expression; positive ones are. */
static enum bc_err compile(const char *pattern, pcre2_code **ret, int *ret_number)
{
	uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX |
			   PCRE2_MATCH_UNSET_BACKREF | PCRE2_NEVER_BACKSLASH_C;
	pcre2_code *code;
	PCRE2_SIZE at;

	code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, ret_number, &at,
			     NULL);
	if (code == NULL) {
		return *ret_number == PCRE2_ERROR_HEAP_FAILED ? BC_E_NOMEM : BC_E_INVALID;
	}
	*ret = code;
	return BC_OK;
}

enum bc_err tool_pattern_check(const char *pattern, char *message, size_t size)
{
	pcre2_code *code = NULL;
	int number = 0;
	enum bc_err err;

	err = compile(pattern, &code, &number);
	if (err == BC_E_INVALID &&
	    pcre2_get_error_message(number, (PCRE2_UCHAR *)message, size) < 0) {
		(void)snprintf(message, size, "not a regular expression");
	}
	pcre2_code_free(code);
	return err;
}

static enum bc_err search(const pcre2_code *code, struct bc_span text, pcre2_match_context *context)
{
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	int found;

	if (data == NULL) {
		return BC_E_NOMEM;
	}
	(void)pcre2_set_match_limit(context, STEPS_MAX);
	(void)pcre2_set_depth_limit(context, DEPTH_MAX);
	found = pcre2_match(code, (PCRE2_SPTR)text.ptr, text.len, 0, 0, data, context);
	pcre2_match_data_free(data);
	if (found >= 0) {
		return BC_OK;
	}
	if (found == PCRE2_ERROR_NOMATCH) {
		return BC_E_NOTFOUND;
	}
	return found == PCRE2_ERROR_NOMEMORY ? BC_E_NOMEM : BC_E_LIMIT;
}

enum bc_err tool_pattern_match(const char *pattern, struct bc_span text)
{
	pcre2_match_context *context;
	pcre2_code *code = NULL;
	int number;
	enum bc_err err;

	err = compile(pattern, &code, &number);
	if (err != BC_OK) {
		return err;
	}
	context = pcre2_match_context_create(NULL);
	err = context == NULL ? BC_E_NOMEM : search(code, text, context);
	pcre2_match_context_free(context);
	pcre2_code_free(code);
	return err;
}
