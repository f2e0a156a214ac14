/* What may be sent at all as an HTTP request. */
#ifndef BACKCHANNEL_NET_REQUEST_H
#define BACKCHANNEL_NET_REQUEST_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"

#include <stdbool.h>

struct net_http_request;

/*
 * BC_E_INVALID: the URL is not http or https, the method is none, or a header holds a character that could end its line.
 * Any thread, once curl is initialized.
 */
enum bc_err net_request_check(const struct net_http_request *request) BC_MUST;

/* Whether a method has a Content-Length even when it is 0.  Source: RFC 9110 8.6. */
bool net_request_wants_length(const char *method);

#endif
