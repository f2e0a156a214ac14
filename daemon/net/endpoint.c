#include "daemon/net/endpoint.h"

#include <string.h>

/* A scheme and what it implies. */
struct scheme {
	const char *prefix;
	bool tls;
	uint16_t port;
};

static const struct scheme schemes[] = {
	{"wss://", true, 443},
	{"ws://", false, 80},
	{"http://", false, 80},
};

static const struct scheme *find_scheme(const char *url)
{
	for (size_t i = 0; i < BC_ARRAY_LEN(schemes); i++) {
		if (strncmp(url, schemes[i].prefix, strlen(schemes[i].prefix)) == 0) {
			return &schemes[i];
		}
	}
	return NULL;
}

static enum bc_err parse_port(struct bc_span text, uint16_t *ret)
{
	unsigned port = 0;

	if (text.len == 0 || text.len > 5) {
		return BC_E_INVALID;
	}
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9') {
			return BC_E_INVALID;
		}
		port = port * 10 + (unsigned)(text.ptr[i] - '0');
	}
	if (port == 0 || port > UINT16_MAX) {
		return BC_E_INVALID;
	}
	*ret = (uint16_t)port;
	return BC_OK;
}

/* Cut "host", "[host]" off the front of authority; what is left is empty or begins with ':'. */
static enum bc_err take_host(struct bc_span *authority, struct net_endpoint *endpoint)
{
	bool has_brackets = authority->len > 0 && authority->ptr[0] == '[';
	const char *end = memchr(authority->ptr, has_brackets ? ']' : ':', authority->len);
	size_t used = end == NULL ? authority->len : (size_t)(end - authority->ptr);
	struct bc_span host = bc_span(authority->ptr, used);

	if (has_brackets) {
		if (end == NULL) {
			return BC_E_INVALID;
		}
		host = bc_span(host.ptr + 1, host.len - 1);
		used++;
	}
	if (host.len == 0 || host.len >= NET_HOST_SIZE) {
		return BC_E_INVALID;
	}
	memcpy(endpoint->host, host.ptr, host.len);
	endpoint->host[host.len] = '\0';
	endpoint->has_brackets = has_brackets;
	*authority = bc_span(authority->ptr + used, authority->len - used);
	return BC_OK;
}

enum bc_err net_endpoint_parse(const char *url, struct net_endpoint *ret)
{
	const struct scheme *scheme = find_scheme(url);
	struct net_endpoint endpoint = {0};
	struct bc_span authority;
	enum bc_err err;

	if (scheme == NULL || strchr(url, '#') != NULL) {
		return BC_E_INVALID;
	}
	authority.ptr = url + strlen(scheme->prefix);
	authority.len = strcspn(authority.ptr, "/?");
	endpoint.rest = bc_span_str(authority.ptr + authority.len);
	endpoint.tls = scheme->tls;
	endpoint.port = scheme->port;
	/* A user name would be a secret in a place that gets logged. */
	if (memchr(authority.ptr, '@', authority.len) != NULL) {
		return BC_E_INVALID;
	}
	err = take_host(&authority, &endpoint);
	if (err == BC_OK && authority.len > 0) {
		err = authority.ptr[0] != ':'
			      ? BC_E_INVALID
			      : parse_port(bc_span(authority.ptr + 1, authority.len - 1),
					   &endpoint.port);
	}
	if (err != BC_OK) {
		return err;
	}
	endpoint.has_own_port = endpoint.port != scheme->port;
	*ret = endpoint;
	return BC_OK;
}

enum bc_err net_endpoint_put(struct bc_buf *out, const struct net_endpoint *endpoint, bool always)
{
	enum bc_err err =
		bc_buf_printf(out, endpoint->has_brackets ? "[%s]" : "%s", endpoint->host);

	if (err == BC_OK && (always || endpoint->has_own_port)) {
		err = bc_buf_printf(out, ":%u", (unsigned)endpoint->port);
	}
	return err;
}

enum bc_err net_endpoint_put_target(struct bc_buf *out, const struct net_endpoint *endpoint,
				    struct bc_span more)
{
	struct bc_span rest = endpoint->rest;
	enum bc_err err = BC_OK;
	const char *joint = "?";

	if (rest.len > 0 && memchr(rest.ptr, '?', rest.len) != NULL) {
		joint = rest.ptr[rest.len - 1] == '?' ? "" : "&";
	}
	if (rest.len == 0 || rest.ptr[0] != '/') {
		err = bc_buf_put_str(out, "/");
	}
	if (err == BC_OK) {
		err = bc_buf_put_span(out, rest);
	}
	if (err == BC_OK && more.len > 0) {
		err = bc_buf_put_str(out, joint);
	}
	return err == BC_OK ? bc_buf_put_span(out, more) : err;
}
