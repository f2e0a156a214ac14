/*
 * TLS towards providers: contexts by CA file, checked names, sessions for resumption.  One per worker, no locks.
 */
#ifndef BACKCHANNEL_NET_TLS_H
#define BACKCHANNEL_NET_TLS_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"

#include <openssl/ssl.h>
#include <stdint.h>

struct net_tls;

/* NULL when out of memory.  Free at any time: connections made with it stay valid. */
struct net_tls *net_tls_new(void);
struct net_tls *net_tls_free(struct net_tls *tls);

/* Whom to talk to.  host is a name or an IP address without brackets. */
struct net_tls_peer {
	const char *host;
	uint16_t port;
	const char *ca_file; /* PEM; NULL: the system's */
};

/*
 * A client connection on fd, ready for SSL_connect(): TLS 1.2 or newer, SNI for names, the peer's certificate checked
 * for the host, ALPN http/1.1, the last session with this peer offered again.  The caller frees it with SSL_free() and
 * keeps fd.  The CA file is read on first use of its name.
 * BC_E_INVALID: the CA file or host is not usable; BC_E_NOMEM.  reterr_detail is static and filled only on errors.
 */
enum bc_err net_tls_client(struct net_tls *tls, const struct net_tls_peer *peer, int fd,
			   const char **reterr_detail, SSL **ret) BC_MUST;

/*
 * What went wrong after SSL_connect(), SSL_read() or SSL_write() returned code <= 0 on ssl.  BC_E_AGAIN with *ret_events
 * from enum loop_io_events: wait for these; BC_E_INVALID: certificate refused by us; BC_E_PROTO: the peer does not
 * speak proper TLS or sent an alert; BC_E_UPSTREAM: connection lost.  ERR_clear_error() must precede the call that
 * failed.  reterr_detail is static and filled on errors other than BC_E_AGAIN.
 */
enum bc_err net_tls_error(const SSL *ssl, int code, unsigned *ret_events,
			  const char **reterr_detail) BC_MUST;

#endif
