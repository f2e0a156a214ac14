/* Arguments of a call: from what the model wrote to the canonical text that identifies the call. */
#include "daemon/base/metric.h"
#include "daemon/config/config.h"
#include "daemon/tools/schema.h"
#include "daemon/tools/tool.h"
#include "proto/json.h"

#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_MAX ((size_t)1 << 20) /* bytes of canonical text; far above what a model writes */

static enum bc_err canonical_text(const json_t *value, char **ret)
{
	struct bc_buf buf;
	char *text = NULL;
	enum bc_err err;

	bc_buf_init(&buf, ARGUMENTS_MAX);
	err = json_canonical(&buf, value);
	if (err == BC_OK) {
		text = bc_span_dup(bc_buf_span(&buf));
		err = text == NULL ? BC_E_NOMEM : BC_OK;
	}
	bc_buf_release(&buf);
	if (err == BC_OK) {
		*ret = text;
	}
	return err;
}

static enum bc_err check_tree(const struct cfg_tool *tool, json_t *value, char **ret,
			      char message[SCHEMA_MESSAGE_SIZE])
{
	static const char too_big[] = "arguments: too long or nested too deep";
	char *text;
	enum bc_err err;

	/* Before the schema: its functions may rely on the bounded depth. */
	err = canonical_text(value, &text);
	if (err == BC_OK) {
		free(text);
		err = tool_schema_apply(tool->parameters, value, message);
	}
	if (err == BC_OK) {
		err = canonical_text(value, ret);
	}
	if (err == BC_E_LIMIT) {
		memcpy(message, too_big, sizeof(too_big));
		return BC_E_INVALID;
	}
	return err;
}

/* A model that has nothing to say sends no text at all instead of an empty object. */
static json_t *parse(struct bc_span arguments)
{
	return json_parse(arguments.len == 0 ? BC_SPAN_LIT("{}") : arguments);
}

enum bc_err tool_args_check(const struct cfg_tool *tool, struct bc_span arguments, char **ret,
			    struct bc_buf *reterr_message)
{
	char message[SCHEMA_MESSAGE_SIZE] = "arguments: not a JSON object";
	json_t *value = parse(arguments);
	enum bc_err err = BC_E_SYNTAX;

	if (value != NULL) {
		err = check_tree(tool, value, ret, message);
		json_decref(value);
	}
	if (err == BC_E_INVALID || err == BC_E_SYNTAX) {
		bc_metric_inc(BC_M_TOOL_ARGS_REFUSED);
		if (bc_buf_put_str(reterr_message, message) != BC_OK) {
			bc_buf_clear(reterr_message);
		}
	}
	return err;
}
