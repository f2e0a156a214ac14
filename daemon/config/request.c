/*
 * A request template as it stands in the file.  Its form is checked here: method, URL, header names, lengths, and that
 * no secret is written in the clear where one is to be expected.  What its placeholders mean is checked where the
 * tool's parameters are known.
 */
#include "daemon/config/request.h"

#include "daemon/config/secret.h"
#include "daemon/config/template.h"
#include "daemon/config/url.h"

#include <strings.h>

#define URL_LEN_MAX    ((size_t)4096) /* bytes */
#define HEADERS_MAX    ((size_t)32)
#define HEADER_LEN_MAX ((size_t)8192)  /* bytes of one value */
#define BODY_LEN_MAX   ((size_t)65536) /* bytes */

static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
static const char *const members[] = {"method", "url", "headers", "body"};

static const char *member_next(const void *arg, size_t i)
{
	(void)arg;
	return i < BC_ARRAY_LEN(members) ? members[i] : NULL;
}

/* Whether a header's value is a secret by its very name. */
static bool carries_secret(const char *name)
{
	static const char *const names[] = {"Authorization", "Proxy-Authorization", "Cookie",
					    "X-Api-Key", "Api-Key"};

	for (size_t i = 0; i < BC_ARRAY_LEN(names); i++) {
		if (strcasecmp(name, names[i]) == 0) {
			return true;
		}
	}
	return false;
}

/* Source: RFC 9110 section 5.6.2, token. */
static bool is_token(const char *name)
{
	static const char token[] =
		"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	size_t len = strlen(name);

	return len > 0 && len <= 64 && strspn(name, token) == len;
}

/* Headers that would make the receiver see another message than the one that was built. */
static bool frames_message(const char *name)
{
	return strcasecmp(name, "Content-Length") == 0 ||
	       strcasecmp(name, "Transfer-Encoding") == 0 || strcasecmp(name, "Connection") == 0;
}

/* The value of a header that is given as a reference; NULL after a finding. */
static bool read_secret_value(const struct cfg_source *source, const struct toml_node *node,
			      const char *text, struct cfg_header *header)
{
	struct cfg_secret secret;
	struct bc_span placeholder;
	const char *at;

	if (!cfg_secret_read(source, node->key, node->at, text, &secret)) {
		return false;
	}
	at = secret.value;
	if (cfg_placeholder_next(&at, &placeholder)) {
		cfg_finding(
			source->findings, source->file, node->at,
			"the secret of header \"%s\" looks like a template; expected none of {name}",
			node->key);
		return false;
	}
	header->value = secret.value;
	header->reference = secret.reference;
	return true;
}

static bool read_header(const struct cfg_source *source, const struct toml_node *node,
			struct cfg_header *header)
{
	const char *text;

	if (!is_token(node->key) || frames_message(node->key)) {
		cfg_finding(
			source->findings, source->file, node->key_at,
			"\"%s\" is no header to set; expected a token that does not frame the message",
			cfg_quoted(node->key).text);
		return false;
	}
	text = cfg_text_read(source, node->key, node);
	if (text == NULL) {
		return false;
	}
	if (strlen(text) > HEADER_LEN_MAX || strchr(text, '\n') != NULL) {
		cfg_finding(
			source->findings, source->file, node->at,
			"header \"%s\" is too long or has several lines; expected one of at most %zu bytes",
			node->key, HEADER_LEN_MAX);
		return false;
	}
	header->name = cfg_text_copy(source, bc_span_str(node->key));
	if (cfg_secret_is_reference(text)) {
		return read_secret_value(source, node, text, header);
	}
	if (carries_secret(node->key)) {
		cfg_finding(
			source->findings, source->file, node->at,
			"header \"%s\" holds a secret in the clear; expected %s for the whole value",
			node->key, cfg_type_text(CFG_TYPE_SECRET));
		return false;
	}
	header->value = cfg_text_copy(source, bc_span_str(text));
	return header->value != NULL && header->name != NULL;
}

static bool read_headers(const struct cfg_source *source, const struct toml_node *node,
			 struct cfg_request *request)
{
	struct cfg_header *headers;

	if (node->kind != TOML_TABLE || node->count > HEADERS_MAX) {
		cfg_finding(source->findings, source->file, node->at,
			    "\"headers\" is %s; expected a table of at most %zu strings",
			    node->kind != TOML_TABLE ? cfg_kind_text(node->kind) : "too long",
			    HEADERS_MAX);
		return false;
	}
	headers = cfg_memory(source, (node->count + 1) * sizeof(*headers));
	if (headers == NULL) {
		return false;
	}
	for (size_t i = 0; i < node->count; i++) {
		if (!read_header(source, &node->children[i], &headers[i])) {
			return false;
		}
	}
	request->headers = headers;
	request->header_count = node->count;
	return true;
}

static bool read_method(const struct cfg_source *source, const struct toml_node *node,
			struct cfg_request *request)
{
	const char *text = cfg_text_read(source, "method", node);

	if (text == NULL) {
		return false;
	}
	for (size_t i = 0; i < BC_ARRAY_LEN(methods); i++) {
		if (strcmp(text, methods[i]) == 0) {
			request->method = methods[i];
			return true;
		}
	}
	cfg_finding(
		source->findings, source->file, node->at,
		"\"method\" is \"%s\"; expected \"GET\", \"POST\", \"PUT\", \"PATCH\" or \"DELETE\"",
		cfg_quoted(text).text);
	return false;
}

static bool read_url(const struct cfg_source *source, const struct toml_node *node,
		     struct cfg_request *request)
{
	const char *text = cfg_text_read(source, "url", node);
	struct cfg_url url;
	const char *wrong;

	if (text == NULL) {
		return false;
	}
	wrong = strlen(text) > URL_LEN_MAX ? "it is too long" : cfg_url_split(text, &url);
	if (wrong == NULL && !bc_span_has_prefix(url.scheme, "http")) {
		wrong = "tools are reached over HTTP";
	}
	if (wrong != NULL) {
		cfg_finding(
			source->findings, source->file, node->at,
			"\"url\" is no usable URL: %s; expected http:// or https://, host and path",
			wrong);
		return false;
	}
	request->url = cfg_text_copy(source, bc_span_str(text));
	return request->url != NULL;
}

static bool read_body(const struct cfg_source *source, const struct toml_node *node,
		      struct cfg_request *request)
{
	const char *text = cfg_text_read(source, "body", node);

	if (text == NULL) {
		return false;
	}
	if (strlen(text) > BODY_LEN_MAX) {
		cfg_finding(source->findings, source->file, node->at,
			    "\"body\" has %zu bytes; expected at most %zu", strlen(text),
			    BODY_LEN_MAX);
		return false;
	}
	request->body = cfg_text_copy(source, bc_span_str(text));
	return request->body != NULL;
}

static bool read_member(const struct cfg_source *source, const struct cfg_option *option,
			const struct toml_node *node, struct cfg_request *request)
{
	const char *near;

	if (strcmp(node->key, "method") == 0) {
		return read_method(source, node, request);
	}
	if (strcmp(node->key, "url") == 0) {
		return read_url(source, node, request);
	}
	if (strcmp(node->key, "headers") == 0) {
		return read_headers(source, node, request);
	}
	if (strcmp(node->key, "body") == 0) {
		return read_body(source, node, request);
	}
	near = cfg_nearest(node->key, member_next, /* arg= */ NULL);
	cfg_finding(
		source->findings, source->file, node->key_at,
		near != NULL
			? "unknown key \"%s\" in \"%s\"; did you mean \"%s\"?"
			: "unknown key \"%s\" in \"%s\"; expected method, url, headers or body%s",
		cfg_quoted(node->key).text, option->key, near != NULL ? near : "");
	return false;
}

void cfg_request_read(const struct cfg_source *source, const struct cfg_option *option,
		      const struct toml_node *node, struct cfg_request *dest)
{
	struct cfg_request request = {0};
	bool good = true;

	if (node->kind != TOML_TABLE) {
		cfg_finding(source->findings, source->file, node->at, "\"%s\" is %s; expected %s",
			    option->key, cfg_kind_text(node->kind), cfg_type_text(option->type));
		return;
	}
	for (size_t i = 0; i < node->count; i++) {
		good = read_member(source, option, &node->children[i], &request) && good;
	}
	if (!good) {
		return;
	}
	if (request.method == NULL || request.url == NULL) {
		cfg_finding(source->findings, source->file, node->at,
			    "\"%s\" has no %s; expected %s", option->key,
			    request.method == NULL ? "method" : "url", cfg_type_text(option->type));
		return;
	}
	if (request.body != NULL && strcmp(request.method, "GET") == 0) {
		cfg_finding(source->findings, source->file, node->at,
			    "\"%s\" is a GET with a body; expected no body, or another method",
			    option->key);
		return;
	}
	*dest = request;
}
