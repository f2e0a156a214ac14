#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/caller/url.h"

bool url_parse(const char *text, struct url *ret)
{
	const char *at = text;
	size_t len = 0;
	unsigned long port = 0;
	char *end = NULL;

	ret->tls = strncmp(text, "wss://", 6) == 0;
	if (!ret->tls && strncmp(text, "ws://", 5) != 0) {
		return false;
	}
	at += ret->tls ? 6 : 5;
	len = strcspn(at, ":/?");
	if (len == 0 || len >= URL_HOST_SIZE || at[len] != ':') {
		return false;
	}
	memcpy(ret->host, at, len);
	ret->host[len] = '\0';
	port = strtoul(at + len + 1, &end, 10);
	if (port == 0 || port > UINT16_MAX || *end != '/' || strlen(end) >= URL_TARGET_SIZE) {
		return false;
	}
	ret->port = (unsigned)port;
	memcpy(ret->target, end, strlen(end) + 1);
	return true;
}
