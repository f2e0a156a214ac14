/* Both ends of a TLS connection over a socket pair, handshake complete. */
#ifndef BACKCHANNEL_TESTS_TLS_PAIR_H
#define BACKCHANNEL_TESTS_TLS_PAIR_H

#include <openssl/ssl.h>

/* Aborts the test when anything fails.  fds: a connected non-blocking pair; [0] becomes the server. */
void tls_pair_make(const int fds[2], SSL *ret_ssl[2]);

#endif
