/*
 * The head of an HTTP/1 request, as a server sees it.  Pure.
 *
 * libwebsockets' own parser is not used for upgrades, because version 4.1 refuses any Sec-WebSocket-Protocol longer
 * than 127 bytes, and browsers carry their key there.
 */
#ifndef BACKCHANNEL_NET_HEAD_H
#define BACKCHANNEL_NET_HEAD_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdbool.h>
#include <stddef.h>

#define NET_HEAD_MAX   (16 * 1024) /* bytes of the longest head, empty line included */
#define NET_FIELDS_MAX 64          /* header lines */

struct net_field {
	struct bc_span name;
	struct bc_span value; /* without surrounding white space */
};

/* Spans point into the parsed bytes. */
struct net_head {
	struct bc_span method;
	struct bc_span target; /* begins with '/' */
	unsigned minor;        /* HTTP/1.<minor> */
	size_t len;            /* bytes up to and including the empty line */
	struct net_field fields[NET_FIELDS_MAX];
	size_t field_count;
};

/*
 * Whether the head is complete in data; seen bytes of it were looked at before.  A head that is longer than
 * NET_HEAD_MAX never is.
 */
bool net_head_is_complete(struct bc_span data, size_t seen);

/*
 * Parse a complete head.  BC_E_LIMIT: too many header lines; BC_E_PROTO: not HTTP/1, a control character, a folded
 * line, or whatever else proxies disagree about.
 * Source: RFC 9112 2 to 5.
 */
enum bc_err net_head_parse(struct bc_span data, struct net_head *ret) BC_MUST;

/* Value of the first field of that name (any case); empty when there is none. */
struct bc_span net_head_field(const struct net_head *head, const char *name);

/* Step through the comma-separated items of all fields of that name; *cursor begins at 0 and is opaque. */
bool net_head_next_item(const struct net_head *head, const char *name, size_t *cursor,
			struct bc_span *ret_item);

/* Whether one of those items equals token (any case). */
bool net_head_has_item(const struct net_head *head, const char *name, const char *token);

/* Whether span equals string, letters of any case. */
bool net_span_is_nocase(struct bc_span span, const char *string);

/* Whether span begins with string, letters of any case. */
bool net_span_has_prefix_nocase(struct bc_span span, const char *prefix);

#endif
