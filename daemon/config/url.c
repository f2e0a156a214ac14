#include "daemon/config/url.h"

#include "daemon/config/unit.h"

static const char *const schemes[] = {"wss", "ws", "https", "http"};

static const char *split_scheme(const char *text, struct cfg_url *url, const char **ret_rest)
{
	const char *end = strstr(text, "://");

	if (end == NULL) {
		return "it does not begin with a scheme and ://";
	}
	url->scheme = bc_span(text, (size_t)(end - text));
	for (size_t i = 0; i < BC_ARRAY_LEN(schemes); i++) {
		if (bc_span_is(url->scheme, schemes[i])) {
			*ret_rest = end + 3;
			return NULL;
		}
	}
	return "its scheme is none of wss, ws, https and http";
}

static const char *check_port(struct bc_span text)
{
	uint64_t port;

	if (text.len > 0 && (!cfg_parse_count(bc_span(text.ptr + 1, text.len - 1), &port) ||
			     port < 1 || port > UINT16_MAX)) {
		return "its port is not a number from 1 to 65535";
	}
	return NULL;
}

static const char *split_authority(struct bc_span authority, struct cfg_url *url)
{
	bool bracket = authority.len > 0 && authority.ptr[0] == '[';
	const char *close = bracket ? memchr(authority.ptr, ']', authority.len) : NULL;
	const char *end = authority.ptr + authority.len;
	const char *colon;

	if (memchr(authority.ptr, '@', authority.len) != NULL) {
		return "it holds a user name, which is no place for a secret";
	}
	if (memchr(authority.ptr, '{', authority.len) != NULL) {
		return "a {placeholder} cannot stand in the host or port";
	}
	if (bracket) {
		if (close == NULL || (close + 1 < end && close[1] != ':')) {
			return "the brackets of its address do not match";
		}
		url->host = bc_span(authority.ptr + 1, (size_t)(close - authority.ptr) - 1);
		colon = close + 1;
	} else {
		colon = memchr(authority.ptr, ':', authority.len);
		colon = colon == NULL ? end : colon;
		url->host = bc_span(authority.ptr, (size_t)(colon - authority.ptr));
	}
	if (url->host.len == 0) {
		return "it names no host";
	}
	return check_port(bc_span(colon, (size_t)(end - colon)));
}

const char *cfg_url_split(const char *text, struct cfg_url *ret)
{
	struct cfg_url url = {0};
	const char *rest = NULL;
	const char *wrong;
	size_t authority;

	for (const char *at = text; *at != '\0'; at++) {
		if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f) {
			return "it holds a character that must be percent-encoded";
		}
	}
	if (strchr(text, '#') != NULL) {
		return "it has a fragment";
	}
	wrong = split_scheme(text, &url, &rest);
	if (wrong != NULL) {
		return wrong;
	}
	authority = strcspn(rest, "/?");
	wrong = split_authority(bc_span(rest, authority), &url);
	if (wrong != NULL) {
		return wrong;
	}
	url.rest = bc_span_str(rest + authority);
	*ret = url;
	return NULL;
}
