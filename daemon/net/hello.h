/* The first message of a TLS client, as far as it takes to tell whether it has come whole.  Pure. */
#ifndef BACKCHANNEL_NET_HELLO_H
#define BACKCHANNEL_NET_HELLO_H

#include "daemon/base/span.h"

/* Bytes of the longest ClientHello that is waited for, with the headers of its records; usual are 300 to 2000. */
#define NET_HELLO_MAX (8 * 1024)

/*
 * How many bytes of the stream, counted from its beginning, must have come before looking again is of use: more than
 * bytes.len and at most NET_HELLO_MAX.  0: whoever does the handshake can go on now, because the hello is whole, or
 * because what came is no ClientHello or a longer one, which is not ours to judge.
 * Source: RFC 8446 4 and 5.1.
 */
size_t net_hello_wanted(struct bc_span bytes);

#endif
