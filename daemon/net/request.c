#include "daemon/net/request.h"

#include "daemon/net/http.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

/* Whether a text is free of what could end a header line. */
static bool is_line(const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c < 0x20 && c != '\t') || c == 0x7f) {
			return false;
		}
	}
	return true;
}

static bool is_method(const char *text)
{
	/* Source: RFC 9110 9.1; every registered method is made of these. */
	return text[0] != '\0' && text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-")] == '\0';
}

static bool is_url(const char *url)
{
	CURLU *parts = curl_url();
	char *scheme = NULL;
	bool ok;

	ok = parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
	     curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
	     (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0);
	curl_free(scheme);
	curl_url_cleanup(parts);
	return ok;
}

enum bc_err net_request_check(const struct net_http_request *request)
{
	if (!is_method(request->method) || !is_url(request->url)) {
		return BC_E_INVALID;
	}
	for (size_t i = 0; i < request->header_count; i++) {
		if (!is_line(request->headers[i])) {
			return BC_E_INVALID;
		}
	}
	return BC_OK;
}

bool net_request_wants_length(const char *method)
{
	return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
	       strcmp(method, "PATCH") == 0;
}
