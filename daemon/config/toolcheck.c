/*
 * What one [[tool]] must be for the gateway to run it, and to take it back.  Names in templates are checked against the
 * declared parameters here, so that no call can fail on a misspelt placeholder in the middle of a conversation; how
 * values are escaped is the business of the registered judges.
 */
#include "daemon/config/load.h"
#include "daemon/config/template.h"
#include "daemon/config/url.h"

/* A tool under examination. */
struct exam {
	struct cfg_load *load;
	const struct cfg_instance *instance;
	struct cfg_tool *tool;
};

/* What the placeholders of one request may name. */
struct vocabulary {
	const char *option;
	bool has_result;
};

static cfg_schema_check_fn *schema_check;
static cfg_request_check_fn *request_check;

void cfg_schema_check_set(cfg_schema_check_fn *fn)
{
	schema_check = fn;
}

void cfg_request_check_set(cfg_request_check_fn *fn)
{
	request_check = fn;
}

#define FIND(exam, key, ...)                                                \
	cfg_finding(&(exam)->load->findings, (exam)->instance->source.file, \
		    cfg_given_at((exam)->instance, key), __VA_ARGS__)

/* Make a finding of a judge's message. */
static void judge(const struct exam *exam, const char *key, enum bc_err err, struct bc_buf *message)
{
	char text[168] = "";
	size_t len = bc_buf_len(message) < sizeof(text) ? bc_buf_len(message) : sizeof(text) - 1;

	if (err == BC_E_NOMEM) {
		exam->load->findings.nomem = true;
		return;
	}
	memcpy(text, bc_buf_span(message).ptr, len);
	FIND(exam, key, "\"%s\" cannot be used: %s; see backchannel.toml(5)", key,
	     cfg_quoted(text).text);
}

static bool is_declared(const struct exam *exam, struct bc_span name)
{
	const json_t *properties = json_object_get(exam->tool->parameters, "properties");

	return json_object_getn(properties, name.ptr, name.len) != NULL;
}

static void check_name(const struct exam *exam)
{
	const char *name = exam->tool->name;
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

	if (name[strspn(name, allowed)] != '\0') {
		FIND(exam, "name", "\"name\" is \"%s\"; expected only letters, digits, _ and -",
		     cfg_quoted(name).text);
	}
}

/* false: nothing that builds on the schema can be checked. */
static bool check_parameters(const struct exam *exam)
{
	const json_t *schema = exam->tool->parameters;
	const json_t *type = json_object_get(schema, "type");
	const json_t *properties = json_object_get(schema, "properties");
	struct bc_buf message;
	enum bc_err err;

	if (!json_is_string(type) || strcmp(json_string_value(type), "object") != 0 ||
	    (properties != NULL && !json_is_object(properties))) {
		FIND(exam, "parameters",
		     "\"parameters\" is no object schema; expected type \"object\" and a table of properties");
		return false;
	}
	if (schema_check == NULL) {
		return true;
	}
	bc_buf_init(&message, 4096);
	err = schema_check(schema, &message);
	if (err != BC_OK) {
		judge(exam, "parameters", err, &message);
	}
	bc_buf_release(&message);
	return err == BC_OK;
}

/* Whether a placeholder means something where it stands; otherwise there is a finding. */
static bool check_placeholder(const struct exam *exam, const struct vocabulary *vocabulary,
			      struct bc_span path, bool in_body)
{
	struct bc_span below = cfg_placeholder_under(path, "args");
	struct bc_span name = cfg_placeholder_name(below.len > 0 ? below : path);

	if (bc_span_is(path, "*")) {
		if (!in_body) {
			FIND(exam, vocabulary->option,
			     "\"%s\" has {*} outside of its body; expected {name}",
			     vocabulary->option);
		}
		return in_body;
	}
	if (bc_span_is(path, "idempotency_key")) {
		return true;
	}
	if (cfg_placeholder_under(path, "result").len > 0) {
		if (!vocabulary->has_result) {
			FIND(exam, vocabulary->option,
			     "\"%s\" names {%.*s}; expected {result.x} in undo only",
			     vocabulary->option, BC_SPAN_ARG(path));
		}
		return vocabulary->has_result;
	}
	if (is_declared(exam, name)) {
		return true;
	}
	FIND(exam, vocabulary->option, "\"%s\" names {%.*s}; expected a property of \"parameters\"",
	     vocabulary->option, (int)(path.len < 64 ? path.len : 64), path.ptr);
	return false;
}

static bool check_text(const struct exam *exam, const struct vocabulary *vocabulary,
		       const char *text, bool in_body)
{
	struct bc_span path;
	bool good = true;

	while (good && text != NULL && cfg_placeholder_next(&text, &path)) {
		good = check_placeholder(exam, vocabulary, path, in_body);
	}
	return good;
}

static void check_request(const struct exam *exam, const struct vocabulary *vocabulary,
			  const struct cfg_request *request)
{
	struct bc_buf message;
	enum bc_err err;
	bool good;

	if (request->method == NULL) {
		return;
	}
	good = check_text(exam, vocabulary, request->url, false);
	for (size_t i = 0; i < request->header_count; i++) {
		good = check_text(exam, vocabulary, request->headers[i].value, false) && good;
	}
	good = check_text(exam, vocabulary, request->body, true) && good;
	if (!good || request_check == NULL) {
		return;
	}
	bc_buf_init(&message, 4096);
	err = request_check(request, exam->tool->parameters, vocabulary->has_result, &message);
	if (err != BC_OK) {
		judge(exam, vocabulary->option, err, &message);
	}
	bc_buf_release(&message);
}

static bool text_needs_result(const char *text)
{
	struct bc_span path;

	while (text != NULL && cfg_placeholder_next(&text, &path)) {
		if (cfg_placeholder_under(path, "result").len > 0) {
			return true;
		}
	}
	return false;
}

static bool needs_result(const struct cfg_request *request)
{
	bool needs = text_needs_result(request->url) || text_needs_result(request->body);

	for (size_t i = 0; i < request->header_count; i++) {
		needs = needs || text_needs_result(request->headers[i].value);
	}
	return needs;
}

static void check_effect(const struct exam *exam)
{
	const struct cfg_tool *tool = exam->tool;
	bool undo_given = cfg_given(exam->instance, "undo") != NULL;

	if (tool->effect == CFG_EFFECT_REVERSIBLE && !undo_given) {
		FIND(exam, "effect",
		     "\"effect\" is \"reversible\" without \"undo\"; expected the request that undoes "
		     "a call");
	}
	if (tool->effect == CFG_EFFECT_READ && undo_given) {
		FIND(exam, "undo",
		     "\"undo\" of a tool whose effect is \"read\"; expected none, or another effect");
	}
	/* J4: after a crash such a call could be neither asked for nor repeated, hence not undone */
	if (tool->effect == CFG_EFFECT_REVERSIBLE && undo_given && needs_result(&tool->undo) &&
	    cfg_given(exam->instance, "status") == NULL &&
	    tool->idempotency == CFG_IDEMPOTENCY_NONE) {
		FIND(exam, "undo",
		     "\"undo\" needs {result}, which a crash can lose; expected \"status\", or "
		     "\"idempotency\" of \"key\" or \"natural\"");
	}
}

/* It is sent without a call: nothing can be filled in, and nothing may change by it. */
static void check_warmup(const struct exam *exam)
{
	const struct cfg_request *warmup = &exam->tool->warmup;
	struct bc_span path;
	const char *url = warmup->url;
	bool filled;

	if (warmup->method == NULL) {
		return;
	}
	filled = cfg_placeholder_next(&url, &path) || warmup->body != NULL;
	for (size_t i = 0; i < warmup->header_count; i++) {
		const char *value = warmup->headers[i].value;

		filled = filled || (warmup->headers[i].reference == NULL &&
				    cfg_placeholder_next(&value, &path));
	}
	if (filled || strcmp(warmup->method, "GET") != 0) {
		FIND(exam, "warmup",
		     "\"warmup\" is more than a plain request; expected method \"GET\", without body and placeholders");
	}
}

static void check_arguments(const struct exam *exam, const char *option,
			    const struct cfg_strings *names)
{
	for (size_t i = 0; i < names->count; i++) {
		if (!is_declared(exam, bc_span_str(names->items[i]))) {
			FIND(exam, option,
			     "\"%s\" names \"%s\"; expected a property of \"parameters\"", option,
			     cfg_quoted(names->items[i]).text);
		}
	}
}

/* What would fill a placeholder may be missing: a URL or a header with a gap in it asks for something else. */
static void check_not_placed(const struct exam *exam, const char *text)
{
	const struct cfg_strings *names = &exam->tool->withheld_arguments;
	struct bc_span path;

	while (text != NULL && cfg_placeholder_next(&text, &path)) {
		struct bc_span below = cfg_placeholder_under(path, "args");
		struct bc_span name = cfg_placeholder_name(below.len > 0 ? below : path);

		for (size_t i = 0; i < names->count; i++) {
			if (bc_span_is(name, names->items[i])) {
				FIND(exam, "withheld_arguments",
				     "\"withheld_arguments\" names \"%s\", which \"request\" has a "
				     "place for; expected it in the body's {*} alone",
				     cfg_quoted(names->items[i]).text);
			}
		}
	}
}

/* J6: the arguments of an effect never change, so there is no part of them that could be sent first. */
static void check_withheld_arguments(const struct exam *exam)
{
	const struct cfg_tool *tool = exam->tool;

	check_arguments(exam, "withheld_arguments", &tool->withheld_arguments);
	if (tool->withheld_arguments.count > 0 && tool->effect != CFG_EFFECT_READ) {
		FIND(exam, "withheld_arguments",
		     "\"withheld_arguments\" of a tool whose effect is not \"read\"; expected none, for "
		     "an effect is never sent in part");
	}
	check_not_placed(exam, tool->request.url);
	for (size_t i = 0; i < tool->request.header_count; i++) {
		if (tool->request.headers[i].reference == NULL) {
			check_not_placed(exam, tool->request.headers[i].value);
		}
	}
	check_not_placed(exam, tool->request.body);
}

/* Without tags of its own a tool conflicts with all others of its host. */
static void default_tags(const struct exam *exam)
{
	struct cfg_tool *tool = exam->tool;
	const char **items;
	struct cfg_url url;

	if (cfg_given(exam->instance, "tags") != NULL || tool->request.url == NULL ||
	    cfg_url_split(tool->request.url, &url) != NULL) {
		return;
	}
	items = cfg_memory(&exam->instance->source, sizeof(*items));
	if (items == NULL) {
		return;
	}
	items[0] = cfg_text_copy(&exam->instance->source, url.host);
	tool->tags = (struct cfg_strings){.items = items, .count = 1};
}

void cfg_check_tool(struct cfg_load *load, const struct cfg_instance *instance,
		    struct cfg_tool *tool)
{
	const struct exam exam = {.load = load, .instance = instance, .tool = tool};
	const struct vocabulary request = {.option = "request"};
	const struct vocabulary status = {.option = "status"};
	const struct vocabulary undo = {.option = "undo", .has_result = true};

	if (tool->name != NULL) {
		check_name(&exam);
	}
	check_effect(&exam);
	default_tags(&exam);
	/* what is wrong with the schema itself was said when it was read */
	if (tool->parameters == NULL || !check_parameters(&exam)) {
		return;
	}
	check_request(&exam, &request, &tool->request);
	check_request(&exam, &status, &tool->status);
	check_warmup(&exam);
	check_request(&exam, &undo, &tool->undo);
	check_arguments(&exam, "secret_arguments", &tool->secret_arguments);
	check_withheld_arguments(&exam);
}
