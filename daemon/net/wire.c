#include "daemon/net/wire.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

void wire_init(struct net_wire *wire, int fd, SSL *ssl)
{
	*wire = (struct net_wire){.fd = fd, .ssl = ssl};
	if (ssl != NULL) {
		/* Idle connections give their 34 KB back; a write may be retried from another address. */
		(void)SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
						SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
						SSL_MODE_RELEASE_BUFFERS);
		/* Header and body of a record come with one system call instead of two. */
		SSL_set_read_ahead(ssl, 1);
	}
}

static bool is_transient(int error)
{
	return error == EAGAIN || error == EINTR;
}

static enum bc_err read_plain(struct net_wire *wire, void *buf, size_t len, size_t *ret)
{
	ssize_t got = recv(wire->fd, buf, len, 0);

	if (got > 0) {
		*ret = (size_t)got;
		return BC_OK;
	}
	return got < 0 && is_transient(errno) ? BC_E_AGAIN : BC_E_CLOSED;
}

static enum bc_err read_tls(struct net_wire *wire, void *buf, size_t len, size_t *ret)
{
	size_t got;

	ERR_clear_error();
	wire->read_wants_write = false;
	if (SSL_read_ex(wire->ssl, buf, len, &got) == 1) {
		*ret = got;
		return BC_OK;
	}
	switch (SSL_get_error(wire->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
		return BC_E_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		wire->read_wants_write = true;
		return BC_E_AGAIN;
	default:
		ERR_clear_error();
		return BC_E_CLOSED;
	}
}

enum bc_err wire_read(struct net_wire *wire, void *buf, size_t len, size_t *ret)
{
	return wire->ssl == NULL ? read_plain(wire, buf, len, ret) : read_tls(wire, buf, len, ret);
}

static enum bc_err write_plain(struct net_wire *wire, const void *buf, size_t len, size_t *ret)
{
	ssize_t put = send(wire->fd, buf, len, MSG_NOSIGNAL);

	if (put >= 0) {
		*ret = (size_t)put;
		return BC_OK;
	}
	return is_transient(errno) ? BC_E_AGAIN : BC_E_CLOSED;
}

static enum bc_err write_tls(struct net_wire *wire, const void *buf, size_t len, size_t *ret)
{
	ERR_clear_error();
	wire->write_wants_read = false;
	if (SSL_write_ex(wire->ssl, buf, len, ret) == 1) {
		return BC_OK;
	}
	switch (SSL_get_error(wire->ssl, 0)) {
	case SSL_ERROR_WANT_WRITE:
		return BC_E_AGAIN;
	case SSL_ERROR_WANT_READ:
		wire->write_wants_read = true;
		return BC_E_AGAIN;
	default:
		ERR_clear_error();
		return BC_E_CLOSED;
	}
}

enum bc_err wire_write(struct net_wire *wire, const void *buf, size_t len, size_t *ret)
{
	const char *bytes = buf;
	size_t done = 0;
	enum bc_err err = BC_OK;

	while (done < len && err == BC_OK) {
		size_t put = 0;

		err = wire->ssl == NULL ? write_plain(wire, bytes + done, len - done, &put)
					: write_tls(wire, bytes + done, len - done, &put);
		done += err == BC_OK ? put : 0;
	}
	*ret = done;
	return err;
}

bool wire_has_pending(const struct net_wire *wire)
{
	return wire->ssl != NULL && SSL_has_pending(wire->ssl) == 1;
}

void wire_shutdown(struct net_wire *wire)
{
	if (wire->ssl != NULL) {
		/* Sends close_notify; that the peer's has not come yet is no error for us. */
		ERR_clear_error();
		(void)SSL_shutdown(wire->ssl);
		ERR_clear_error();
	}
	/* Fails only where the peer has gone already. */
	(void)shutdown(wire->fd, SHUT_WR);
}
