/* ws:// and wss:// URLs of a listener on this machine, with a port. */
#ifndef BACKCHANNEL_TESTS_CALLER_URL_H
#define BACKCHANNEL_TESTS_CALLER_URL_H

#include <stdbool.h>

#define URL_HOST_SIZE   256
#define URL_TARGET_SIZE 512

struct url {
	bool tls;
	char host[URL_HOST_SIZE];
	unsigned port;
	char target[URL_TARGET_SIZE]; /* path and query */
};

/* False: it is none. */
bool url_parse(const char *text, struct url *ret);

#endif
