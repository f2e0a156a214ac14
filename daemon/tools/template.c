#include "daemon/tools/template.h"

#include "daemon/config/config.h"
#include "daemon/tools/tool.h"
#include "proto/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TEXT_MAX   ((size_t)1 << 20) /* bytes of one filled part */
#define UNRESERVED "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
#define NAME_START "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define NAME_CHARS NAME_START "0123456789"

enum place {
	PLACE_PATH,        /* of a URL */
	PLACE_QUERY,       /* of a URL, or a form body */
	PLACE_HEADER,      /* value of a header */
	PLACE_JSON,        /* JSON, outside a string */
	PLACE_JSON_STRING, /* JSON, inside a string */
	PLACE_PLAIN,       /* text without structure */
	PLACE_CLOSED       /* a syntax we cannot escape for: no placeholders */
};

struct hole {
	size_t start;        /* offset of '{' */
	size_t end;          /* behind '}' */
	struct bc_span path; /* between them */
};

struct fill {
	struct bc_buf *out;
	const struct tool_values *values; /* NULL: probe the template with harmless values */
	struct bc_buf *message;
	json_t *key; /* the idempotency key as a value */
	enum place place;
	size_t segment;    /* where in out the segment of the path began */
	bool filled;       /* the segment or the string holds a placeholder */
	bool after_string; /* such a string has just ended: a ':' would make it a key */
	bool escaped;      /* inside a JSON string, behind a backslash */
};

static bool hole_find(const char *text, size_t from, struct hole *ret)
{
	const char *at = text + from;

	while ((at = strchr(at, '{')) != NULL) {
		size_t len = at[1] == '*' ? 1 : 0;

		if (len == 0 && at[1] != '\0' && strchr(NAME_START, at[1]) != NULL) {
			len = strspn(at + 1, NAME_CHARS ".[]");
		}
		if (len > 0 && at[1 + len] == '}') {
			ret->start = (size_t)(at - text);
			ret->path = bc_span(at + 1, len);
			ret->end = ret->start + len + 2;
			return true;
		}
		at++;
	}
	return false;
}

static enum bc_err refuse(const struct fill *fill, struct bc_span what, const char *why)
{
	if (bc_buf_printf(fill->message, "%.*s: %s", BC_SPAN_ARG(what), why) != BC_OK) {
		bc_buf_clear(fill->message);
	}
	return BC_E_INVALID;
}

/* The bytes of a name at the start of path. */
static size_t name_len(struct bc_span path)
{
	size_t len = 0;

	while (len < path.len && strchr(NAME_CHARS, path.ptr[len]) != NULL) {
		len++;
	}
	return len;
}

/* "[12]" at the start of path: its length, 0 if there is none. */
static size_t index_len(struct bc_span path, size_t *ret_index)
{
	size_t index = 0;
	size_t i;

	for (i = 1; i < path.len && path.ptr[i] >= '0' && path.ptr[i] <= '9' && i < 10; i++) {
		index = index * 10 + (size_t)(path.ptr[i] - '0');
	}
	if (i < 2 || i >= path.len || path.ptr[0] != '[' || path.ptr[i] != ']') {
		return 0;
	}
	*ret_index = index;
	return i + 1;
}

static struct bc_span skip(struct bc_span span, size_t len)
{
	return bc_span(span.ptr + len, span.len - len);
}

/*
 * Follow name(.name|[n])* from value.  *ret_formed tells whether the path is of that form, which template checks ask;
 * the result is NULL where there is nothing.
 */
static const json_t *follow(const json_t *value, struct bc_span path, bool *ret_formed)
{
	bool first = true;

	*ret_formed = false;
	while (path.len > 0) {
		size_t index = 0;
		size_t len = first ? 0 : index_len(path, &index);

		if (len > 0) {
			value = json_array_get(value, index);
		} else {
			if (!first && path.ptr[0] != '.') {
				return NULL;
			}
			path = skip(path, first ? 0 : 1);
			len = name_len(path);
			if (len == 0) {
				return NULL;
			}
			value = json_object_getn(value, path.ptr, len);
		}
		path = skip(path, len);
		first = false;
	}
	*ret_formed = true;
	return value;
}

static bool is_result(struct bc_span path)
{
	return bc_span_has_prefix(path, "result.") || bc_span_has_prefix(path, "result[");
}

/* A path into the arguments, without the optional "args.". */
static struct bc_span args_path(struct bc_span path)
{
	return bc_span_has_prefix(path, "args.") ? skip(path, strlen("args.")) : path;
}

static const json_t *look_up(const struct fill *fill, struct bc_span path)
{
	const struct tool_values *values = fill->values;
	bool formed;

	if (bc_span_is(path, "*")) {
		return values->args;
	}
	if (bc_span_is(path, "idempotency_key")) {
		return fill->key;
	}
	if (bc_span_has_prefix(path, "result.")) {
		return follow(values->result, skip(path, strlen("result.")), &formed);
	}
	if (is_result(path)) {
		size_t index = 0;
		struct bc_span rest = skip(path, strlen("result"));
		size_t len = index_len(rest, &index);
		const json_t *element = len == 0 ? NULL : json_array_get(values->result, index);

		rest = skip(rest, len);
		if (rest.len > 0 && rest.ptr[0] == '.') {
			return follow(element, skip(rest, 1), &formed);
		}
		return rest.len == 0 ? element : NULL;
	}
	return follow(values->args, args_path(path), &formed);
}

/* The text a value stands for outside JSON. */
static enum bc_err put_text(struct bc_buf *out, const json_t *value)
{
	if (value == NULL || json_is_null(value)) {
		return BC_OK;
	}
	if (json_string_value(value) != NULL) {
		return bc_buf_put(out, json_string_value(value), json_string_length(value));
	}
	return json_canonical(out, value);
}

static enum bc_err put_percent(struct bc_buf *out, struct bc_span text)
{
	enum bc_err err = BC_OK;
	size_t i;

	for (i = 0; err == BC_OK && i < text.len; i++) {
		if (text.ptr[i] != '\0' && strchr(UNRESERVED, text.ptr[i]) != NULL) {
			err = bc_buf_put(out, text.ptr + i, 1);
		} else {
			err = bc_buf_printf(out, "%%%02X", (unsigned)(unsigned char)text.ptr[i]);
		}
	}
	return err;
}

static bool has_control(struct bc_span text)
{
	size_t i;

	for (i = 0; i < text.len; i++) {
		if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f) {
			return true;
		}
	}
	return false;
}

/* The content of a JSON string, without its quotes. */
static enum bc_err put_json_content(struct bc_buf *out, struct bc_span text)
{
	struct bc_buf quoted;
	enum bc_err err;

	bc_buf_init(&quoted, TEXT_MAX);
	err = json_string_put(&quoted, text);
	if (err == BC_OK) {
		struct bc_span span = bc_buf_span(&quoted);

		err = bc_buf_put(out, span.ptr + 1, span.len - 2);
	}
	bc_buf_release(&quoted);
	return err;
}

static enum bc_err put_escaped(const struct fill *fill, struct bc_span path, struct bc_span text)
{
	switch (fill->place) {
	case PLACE_PATH:
	case PLACE_QUERY:
		return put_percent(fill->out, text);
	case PLACE_HEADER:
		if (has_control(text)) {
			return refuse(fill, path, "must not hold control characters");
		}
		return bc_buf_put_span(fill->out, text);
	case PLACE_JSON:
	case PLACE_PLAIN:
		return bc_buf_put_span(fill->out, text);
	case PLACE_JSON_STRING:
		return put_json_content(fill->out, text);
	case PLACE_CLOSED:
		return refuse(fill, path, "a body of this Content-Type cannot hold arguments");
	}
	return BC_E_INVALID;
}

static enum bc_err put_hole(struct fill *fill, struct bc_span path)
{
	bool probes = fill->values == NULL || (fill->values->result_open && is_result(path));
	const json_t *value = probes ? NULL : look_up(fill, path);
	struct bc_buf text;
	enum bc_err err = BC_OK;

	fill->filled = true;
	bc_buf_init(&text, TEXT_MAX);
	if (fill->place == PLACE_JSON) {
		err = value == NULL ? bc_buf_put_str(&text, "null") : json_canonical(&text, value);
	} else if (probes) {
		err = bc_buf_put_str(&text, "x");
	} else {
		err = put_text(&text, value);
	}
	if (err == BC_OK) {
		err = put_escaped(fill, path, bc_buf_span(&text));
	}
	bc_buf_release(&text);
	return err;
}

/* A segment of the path with a value in it must name something below the template's own path. */
static enum bc_err end_segment(struct fill *fill)
{
	struct bc_span path = skip(bc_buf_span(fill->out), fill->segment);
	bool climbs = path.len == 0 || bc_span_is(path, ".") || bc_span_is(path, "..");

	if (fill->filled && climbs) {
		return refuse(fill, BC_SPAN_LIT("arguments"),
			      "one is part of a path and must not be empty, \".\" or \"..\"");
	}
	fill->filled = false;
	return BC_OK;
}

static enum bc_err pass_json(struct fill *fill, char byte)
{
	if (fill->place == PLACE_JSON_STRING) {
		if (byte == '"' && !fill->escaped) {
			fill->place = PLACE_JSON;
			fill->after_string = fill->filled;
		}
		fill->escaped = byte == '\\' && !fill->escaped;
		return BC_OK;
	}
	if (byte == ':' && fill->after_string) {
		return refuse(fill, BC_SPAN_LIT("body"), "a key cannot hold a placeholder");
	}
	if (strchr(" \t\r\n", byte) == NULL) {
		fill->after_string = false;
	}
	if (byte == '"') {
		fill->place = PLACE_JSON_STRING;
		fill->filled = false;
	}
	return BC_OK;
}

/* One byte of the template's own text: copy it, and see where we are. */
static enum bc_err put_literal(struct fill *fill, char byte)
{
	enum bc_err err = BC_OK;

	if (fill->place == PLACE_JSON || fill->place == PLACE_JSON_STRING) {
		err = pass_json(fill, byte);
	} else if (fill->place == PLACE_PATH && strchr("/?#", byte) != NULL) {
		err = end_segment(fill);
	}
	if (err == BC_OK) {
		err = bc_buf_put(fill->out, &byte, 1);
	}
	if (fill->place == PLACE_PATH && strchr("/?#", byte) != NULL) {
		fill->segment = bc_buf_len(fill->out);
		fill->place = byte == '/' ? PLACE_PATH : PLACE_QUERY;
	}
	return err;
}

static enum bc_err fill_text(struct fill *fill, const char *text)
{
	struct hole hole = {0};
	enum bc_err err = BC_OK;
	size_t at = 0;
	bool more;

	fill->segment = bc_buf_len(fill->out);
	if (fill->values != NULL) {
		fill->key = json_string(fill->values->idempotency_key);
		if (fill->key == NULL) {
			return BC_E_NOMEM;
		}
	}
	do {
		size_t end;

		more = hole_find(text, at, &hole);
		end = more ? hole.start : strlen(text);
		for (; err == BC_OK && at < end; at++) {
			err = put_literal(fill, text[at]);
		}
		if (err == BC_OK && more) {
			err = put_hole(fill, hole.path);
			at = hole.end;
		}
	} while (err == BC_OK && more);
	if (err == BC_OK && fill->place == PLACE_PATH) {
		err = end_segment(fill);
	}
	json_decref(fill->key);
	fill->key = NULL;
	return err;
}

/* Offset behind the host part of a URL. */
static size_t authority_end(const char *url, size_t *ret_start)
{
	const char *colon = strstr(url, "://");
	size_t start = colon == NULL ? 0 : (size_t)(colon - url) + strlen("://");

	*ret_start = start;
	return start + strcspn(url + start, "/?#");
}

struct bc_span tool_url_host(const char *url)
{
	size_t start;
	size_t end = authority_end(url, &start);
	size_t i;

	for (i = start; i < end; i++) {
		if (url[i] == '@') {
			start = i + 1;
		}
	}
	/* The last colon begins the port, but inside the brackets of an IPv6 address. */
	for (i = end; i > start && url[i - 1] != ']'; i--) {
		if (url[i - 1] == ':') {
			end = i - 1;
			break;
		}
	}
	return bc_span(url + start, end - start);
}

static enum bc_err fill_url(struct fill *fill, const char *url)
{
	struct hole hole;
	size_t start;

	/* An argument must not choose whom we talk to. */
	if (hole_find(url, 0, &hole) && hole.start < authority_end(url, &start)) {
		return refuse(fill, BC_SPAN_LIT("url"), "the host cannot hold a placeholder");
	}
	fill->place = PLACE_PATH;
	return fill_text(fill, url);
}

enum bc_err tool_fill_url(struct bc_buf *out, const struct cfg_request *request,
			  const struct tool_values *values, struct bc_buf *reterr_message)
{
	struct fill fill = {.out = out, .values = values, .message = reterr_message};

	return fill_url(&fill, request->url);
}

enum bc_err tool_fill_header(struct bc_buf *out, const struct cfg_header *header,
			     const struct tool_values *values, struct bc_buf *reterr_message)
{
	struct fill fill = {
		.out = out, .values = values, .message = reterr_message, .place = PLACE_HEADER};
	enum bc_err err = bc_buf_printf(out, "%s: ", header->name);

	if (err == BC_OK && header->reference != NULL) {
		return has_control(bc_span_str(header->value))
			       ? refuse(&fill, bc_span_str(header->name),
					"must not hold control characters")
			       : bc_buf_put_str(out, header->value);
	}
	return err == BC_OK ? fill_text(&fill, header->value) : err;
}

const struct cfg_header *tool_header_find(const struct cfg_request *request, const char *name)
{
	size_t i;

	for (i = 0; i < request->header_count; i++) {
		if (strcasecmp(request->headers[i].name, name) == 0) {
			return &request->headers[i];
		}
	}
	return NULL;
}

static enum place body_place(const struct cfg_request *request)
{
	const struct cfg_header *type = tool_header_find(request, "Content-Type");

	if (type == NULL || strcasestr(type->value, "json") != NULL) {
		return PLACE_JSON;
	}
	if (strcasestr(type->value, "application/x-www-form-urlencoded") != NULL) {
		return PLACE_QUERY;
	}
	return strcasestr(type->value, "text/plain") != NULL ? PLACE_PLAIN : PLACE_CLOSED;
}

enum bc_err tool_fill_body(struct bc_buf *out, const struct cfg_request *request,
			   const struct tool_values *values, struct bc_buf *reterr_message)
{
	struct fill fill = {.out = out,
			    .values = values,
			    .message = reterr_message,
			    .place = body_place(request)};

	return fill_text(&fill, request->body);
}

/* Whether the schema names its members where we can see them; composed schemas are taken on trust. */
static bool is_declared(const json_t *parameters, struct bc_span path)
{
	static const char *const composed[] = {"$ref", "allOf", "anyOf", "oneOf"};
	size_t i;

	for (i = 0; i < BC_ARRAY_LEN(composed); i++) {
		if (json_object_get(parameters, composed[i]) != NULL) {
			return true;
		}
	}
	return json_object_getn(json_object_get(parameters, "properties"), path.ptr,
				name_len(path)) != NULL;
}

static enum bc_err check_holes(const struct fill *fill, const char *text, const json_t *parameters,
			       bool has_result, bool is_body)
{
	struct hole hole = {0};

	while (hole_find(text, hole.end, &hole)) {
		struct bc_span path = hole.path;
		bool formed = true;

		if (bc_span_is(path, "*") && !is_body) {
			return refuse(fill, path, "all arguments can only stand in a body");
		}
		if (bc_span_is(path, "*") || bc_span_is(path, "idempotency_key")) {
			continue;
		}
		if (is_result(path) && !has_result) {
			return refuse(fill, path, "there is no result yet");
		}
		(void)follow(NULL, args_path(path), &formed);
		if (!formed) {
			return refuse(fill, path, "must be like name.name[0]");
		}
		if (!is_result(path) && !is_declared(parameters, args_path(path))) {
			return refuse(fill, path, "no such argument in parameters");
		}
	}
	return BC_OK;
}

static enum bc_err check_header(const struct fill *fill, const struct cfg_header *header)
{
	static const char *const framing[] = {
		"Content-Length", "Transfer-Encoding", "Connection", "TE",
		"Trailer",        "Upgrade",           "Expect"};
	static const char token[] = NAME_CHARS "!#$%&'*+-.^`|~";
	size_t len = strlen(header->name);
	size_t i;

	if (len == 0 || strspn(header->name, token) != len ||
	    has_control(bc_span_str(header->value))) {
		return refuse(fill, bc_span_str(header->name), "not a header");
	}
	for (i = 0; i < BC_ARRAY_LEN(framing); i++) {
		if (strcasecmp(framing[i], header->name) == 0) {
			return refuse(fill, bc_span_str(header->name),
				      "this header is set by us alone");
		}
	}
	return BC_OK;
}

/* The body with harmless values in it must be what its kind demands. */
static enum bc_err probe_body(struct fill *fill, const struct cfg_request *request)
{
	json_t *value;
	enum bc_err err;

	bc_buf_clear(fill->out);
	fill->place = body_place(request);
	err = fill_text(fill, request->body);
	if (err != BC_OK || body_place(request) != PLACE_JSON) {
		return err;
	}
	value = json_parse(bc_buf_span(fill->out));
	if (value == NULL) {
		return refuse(fill, BC_SPAN_LIT("body"),
			      "not JSON with values in place of the placeholders");
	}
	json_decref(value);
	return BC_OK;
}

static enum bc_err check_request(struct fill *fill, const struct cfg_request *request,
				 const json_t *parameters, bool has_result)
{
	enum bc_err err = check_holes(fill, request->url, parameters, has_result, false);
	size_t i;

	if (err == BC_OK) {
		err = fill_url(fill, request->url);
	}
	for (i = 0; err == BC_OK && i < request->header_count; i++) {
		err = check_header(fill, &request->headers[i]);
		if (err == BC_OK && request->headers[i].reference == NULL) {
			err = check_holes(fill, request->headers[i].value, parameters, has_result,
					  false);
		}
	}
	if (err == BC_OK && request->body != NULL) {
		err = check_holes(fill, request->body, parameters, has_result, true);
		if (err == BC_OK) {
			err = probe_body(fill, request);
		}
	}
	return err;
}

enum bc_err tool_request_check(const struct cfg_request *request, const json_t *parameters,
			       bool has_result, struct bc_buf *reterr_message)
{
	struct bc_buf out;
	struct fill fill = {.out = &out, .message = reterr_message};
	enum bc_err err;

	bc_buf_init(&out, TEXT_MAX);
	err = check_request(&fill, request, parameters, has_result);
	bc_buf_release(&out);
	return err;
}
