#include "proto/agent/operand.h"

#include "proto/agent/agent_internal.h"
#include "proto/json.h"

#include <stdlib.h>

#define INDEX_MAX    999999
#define VALUE_WEIGHT 16 /* of each value, against AGENT_RESOLVED_MAX */

/* One step of a path. */
struct path_step {
	struct bc_span name; /* ptr NULL: an index */
	unsigned index;
};

/* How many bytes the step at the front of path has; 0: there is no step. */
static size_t read_step(struct bc_span path, struct path_step *ret)
{
	struct bc_span rest = bc_span(path.ptr + 1, path.len - 1);
	size_t len = 0;

	if (path.ptr[0] == '.') {
		while (len < rest.len && agent_is_word(rest.ptr[len])) {
			len++;
		}
		*ret = (struct path_step){.name = bc_span(rest.ptr, len)};
		return len == 0 ? 0 : len + 1;
	}
	*ret = (struct path_step){0};
	len = path.ptr[0] == '[' ? agent_number(rest, INDEX_MAX, &ret->index) : 0;
	return len > 0 && len < rest.len && rest.ptr[len] == ']' ? len + 2 : 0;
}

static bool is_path(struct bc_span path)
{
	struct path_step step;

	while (path.len > 0) {
		size_t used = read_step(path, &step);

		if (used == 0) {
			return false;
		}
		path = bc_span(path.ptr + used, path.len - used);
	}
	return true;
}

/* Whether what might be an operand stands nowhere in text. */
static bool is_literal(struct bc_span text)
{
	size_t i = 0;

	while (i < text.len) {
		char next = i + 1 < text.len ? text.ptr[i + 1] : '\0';

		if (text.ptr[i] == '$' && agent_is_digit(next)) {
			return false;
		}
		i += text.ptr[i] == '$' && next == '$' ? 2 : 1;
	}
	return true;
}

enum bc_err agent_operand_parse(struct bc_span text, struct agent_operand *ret)
{
	struct agent_operand operand;
	size_t used;

	if (text.len < 2 || text.ptr[0] != '$' || !agent_is_digit(text.ptr[1])) {
		return is_literal(text) ? BC_E_NOTFOUND : BC_E_SYNTAX;
	}
	if (text.len > AGENT_OPERAND_LEN) {
		return BC_E_SYNTAX;
	}
	text = bc_span(text.ptr + 1, text.len - 1);
	used = agent_number(text, AGENT_ID_MAX, &operand.id);
	if (used == 0 || operand.id == 0) {
		return BC_E_SYNTAX;
	}
	operand.path = bc_span(text.ptr + used, text.len - used);
	if (!is_path(operand.path)) {
		return BC_E_SYNTAX;
	}
	*ret = operand;
	return BC_OK;
}

const json_t *agent_operand_follow(const json_t *result, struct bc_span path)
{
	struct path_step step;

	while (path.len > 0 && result != NULL) {
		size_t used = read_step(path, &step);

		if (used == 0) {
			return NULL;
		}
		result = step.name.ptr == NULL
				 ? json_array_get(result, step.index)
				 : json_object_getn(result, step.name.ptr, step.name.len);
		path = bc_span(path.ptr + used, path.len - used);
	}
	return result;
}

static struct bc_span string_of(const json_t *value)
{
	return bc_span(json_string_value(value), json_string_length(value));
}

/* ---- collecting ---- */

static enum bc_err collect(const json_t *value, unsigned depth, struct agent_operand *operands,
			   size_t *n)
{
	json_t *plain = (json_t *)(uintptr_t)value;
	struct agent_operand operand;
	enum bc_err err = BC_OK;
	const char *key;
	json_t *inner;
	size_t i;

	if (depth > JSON_DEPTH_MAX) {
		return BC_E_LIMIT;
	}
	if (json_is_string(value)) {
		err = agent_operand_parse(string_of(value), &operand);
		if (err != BC_OK) {
			return err == BC_E_NOTFOUND ? BC_OK : err;
		}
		if (*n == AGENT_OPERANDS_MAX) {
			return BC_E_LIMIT;
		}
		operands[*n] = operand;
		(*n)++;
	}
	/* jansson keeps members in the order of the text. */
	json_object_foreach(plain, key, inner) {
		err = err != BC_OK ? err : collect(inner, depth + 1, operands, n);
	}
	json_array_foreach(plain, i, inner) {
		err = err != BC_OK ? err : collect(inner, depth + 1, operands, n);
	}
	return err;
}

enum bc_err agent_operands(const json_t *arguments, struct agent_operand *ret, size_t *ret_n)
{
	size_t n = 0;
	enum bc_err err = collect(arguments, 1, ret, &n);

	if (err == BC_OK) {
		*ret_n = n;
	}
	return err;
}

size_t agent_operand_ids(const struct agent_operand *operands, size_t n, unsigned *ret_ids)
{
	size_t count = 0;

	BC_BUG_ON(n > AGENT_OPERANDS_MAX);
	for (size_t i = 0; i < n; i++) {
		unsigned id = operands[i].id;
		size_t at = 0;

		while (at < count && ret_ids[at] < id) {
			at++;
		}
		if (at < count && ret_ids[at] == id) {
			continue;
		}
		memmove(ret_ids + at + 1, ret_ids + at, (count - at) * sizeof(*ret_ids));
		ret_ids[at] = id;
		count++;
	}
	return count;
}

/* ---- resolving ---- */

struct resolving {
	const struct agent_results *results;
	struct agent_unresolved *reterr;
	size_t budget; /* left of AGENT_RESOLVED_MAX */
};

static enum bc_err pay(struct resolving *resolving, size_t bytes)
{
	if (bytes > resolving->budget || resolving->budget - bytes < VALUE_WEIGHT) {
		return BC_E_LIMIT;
	}
	resolving->budget -= bytes + VALUE_WEIGHT;
	return BC_OK;
}

/* Pay for a value of a result and all below it, which bounds what is copied; its depth as well. */
static enum bc_err pay_tree(struct resolving *resolving, const json_t *value, unsigned depth)
{
	json_t *plain = (json_t *)(uintptr_t)value;
	enum bc_err err = pay(resolving, json_string_length(value));
	const char *key;
	json_t *inner;
	size_t i;

	if (depth > JSON_DEPTH_MAX) {
		return BC_E_LIMIT;
	}
	json_object_foreach(plain, key, inner) {
		err = err != BC_OK ? err : pay(resolving, strlen(key));
		err = err != BC_OK ? err : pay_tree(resolving, inner, depth + 1);
	}
	json_array_foreach(plain, i, inner) {
		err = err != BC_OK ? err : pay_tree(resolving, inner, depth + 1);
	}
	return err;
}

static enum bc_err resolve_operand(struct resolving *resolving, const struct agent_operand *operand,
				   json_t **ret)
{
	const json_t *value = NULL;
	enum agent_result result =
		resolving->results->find(resolving->results->arg, operand->id, &value);
	enum bc_err err;

	value = result == AGENT_RESULT_READY ? agent_operand_follow(value, operand->path) : NULL;
	if (value == NULL) {
		*resolving->reterr = (struct agent_unresolved){*operand, result};
		return result == AGENT_RESULT_PENDING ? BC_E_AGAIN : BC_E_NOTFOUND;
	}
	err = pay_tree(resolving, value, 1);
	if (err == BC_OK) {
		*ret = json_deep_copy(value);
	}
	return err;
}

/* A literal, each "$$" in it made one "$". */
static enum bc_err resolve_literal(struct resolving *resolving, struct bc_span text, json_t **ret)
{
	enum bc_err err = pay(resolving, text.len);
	size_t len = 0;
	char *plain;

	if (err != BC_OK) {
		return err;
	}
	plain = malloc(text.len + 1);
	if (plain == NULL) {
		return BC_E_NOMEM;
	}
	for (size_t i = 0; i < text.len; i++) {
		plain[len] = text.ptr[i];
		len++;
		if (text.ptr[i] == '$' && i + 1 < text.len && text.ptr[i + 1] == '$') {
			i++;
		}
	}
	*ret = json_stringn_nocheck(plain, len);
	free(plain);
	return BC_OK;
}

static enum bc_err resolve_string(struct resolving *resolving, struct bc_span text, json_t **ret)
{
	struct agent_operand operand;
	enum bc_err err = agent_operand_parse(text, &operand);

	if (err == BC_E_NOTFOUND) {
		return resolve_literal(resolving, text, ret);
	}
	return err == BC_OK ? resolve_operand(resolving, &operand, ret) : err;
}

static enum bc_err resolve(struct resolving *resolving, const json_t *value, unsigned depth,
			   json_t **ret) BC_MUST;

static enum bc_err resolve_members(struct resolving *resolving, const json_t *object,
				   unsigned depth, json_t *out)
{
	const char *key;
	json_t *inner;

	json_object_foreach((json_t *)(uintptr_t)object, key, inner) {
		enum bc_err err = pay(resolving, strlen(key));
		json_t *copy = NULL;

		if (err == BC_OK) {
			err = resolve(resolving, inner, depth + 1, &copy);
		}
		if (err == BC_OK && json_object_set_new_nocheck(out, key, copy) != 0) {
			err = BC_E_NOMEM;
		}
		if (err != BC_OK) {
			return err;
		}
	}
	return BC_OK;
}

static enum bc_err resolve_elements(struct resolving *resolving, const json_t *array,
				    unsigned depth, json_t *out)
{
	json_t *inner;
	size_t i;

	json_array_foreach(array, i, inner) {
		json_t *copy = NULL;
		enum bc_err err = resolve(resolving, inner, depth + 1, &copy);

		if (err == BC_OK && json_array_append_new(out, copy) != 0) {
			err = BC_E_NOMEM;
		}
		if (err != BC_OK) {
			return err;
		}
	}
	return BC_OK;
}

/* *ret is filled also when memory ran out in jansson, with NULL, which its setters refuse. */
static enum bc_err resolve(struct resolving *resolving, const json_t *value, unsigned depth,
			   json_t **ret)
{
	enum bc_err err;
	json_t *out;

	if (depth > JSON_DEPTH_MAX) {
		return BC_E_LIMIT;
	}
	if (json_is_string(value)) {
		return resolve_string(resolving, string_of(value), ret);
	}
	err = pay(resolving, 0);
	if (err != BC_OK) {
		return err;
	}
	if (json_is_object(value)) {
		out = json_object();
		err = resolve_members(resolving, value, depth, out);
	} else if (json_is_array(value)) {
		out = json_array();
		err = resolve_elements(resolving, value, depth, out);
	} else {
		out = json_copy((json_t *)(uintptr_t)value);
	}
	if (err != BC_OK) {
		json_decref(out);
		return err;
	}
	*ret = out;
	return BC_OK;
}

enum bc_err agent_resolve(const json_t *arguments, const struct agent_results *results,
			  json_t **ret, struct agent_unresolved *reterr)
{
	struct resolving resolving = {results, reterr, AGENT_RESOLVED_MAX};
	json_t *resolved = NULL;
	enum bc_err err = resolve(&resolving, arguments, 1, &resolved);

	if (err != BC_OK) {
		return err;
	}
	if (resolved == NULL) {
		return BC_E_NOMEM;
	}
	*ret = resolved;
	return BC_OK;
}
