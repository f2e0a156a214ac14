#include "tests/unit/tls_pair.h"

#include "tests/unit/certs.h"

#include <check.h>
#include <stdbool.h>

static SSL_CTX *make_context(const SSL_METHOD *method)
{
	SSL_CTX *context = SSL_CTX_new(method);

	ck_assert_ptr_nonnull(context);
	return context;
}

static bool advance(SSL *ssl)
{
	int result = SSL_do_handshake(ssl);

	if (result == 1) {
		return true;
	}
	ck_assert_int_eq(SSL_get_error(ssl, result), SSL_ERROR_WANT_READ);
	return false;
}

void tls_pair_make(const int fds[2], SSL *ret_ssl[2])
{
	struct certs certs;
	SSL_CTX *contexts[2] = {make_context(TLS_server_method()),
				make_context(TLS_client_method())};
	bool done[2] = {false, false};
	int i;

	certs_make(&certs);
	ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(contexts[0], certs.leaf), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(contexts[0], certs.key, SSL_FILETYPE_PEM), 1);
	certs_remove(&certs);
	for (i = 0; i < 2; i++) {
		ret_ssl[i] = SSL_new(contexts[i]);
		ck_assert_ptr_nonnull(ret_ssl[i]);
		ck_assert_int_eq(SSL_set_fd(ret_ssl[i], fds[i]), 1);
		SSL_CTX_free(contexts[i]);
	}
	SSL_set_accept_state(ret_ssl[0]);
	SSL_set_connect_state(ret_ssl[1]);
	while (!done[0] || !done[1]) {
		for (i = 0; i < 2; i++) {
			done[i] = done[i] || advance(ret_ssl[i]);
		}
	}
}
