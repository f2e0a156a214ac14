/*
 * TLS client contexts.
 *
 * T1 The sessions of a context hang on the context itself (ex data) and are never moved: TLS 1.3 tickets come
 *    while a link reads, when nobody but the SSL and its context is certain to exist.
 * T2 A session is copied when stored and when offered: SSL_free() marks the session of a connection that was cut
 *    as not resumable, and a cut connection says nothing about the ticket.
 */
#include "daemon/net/tls.h"

#include "daemon/loop/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define CONTEXTS_MAX 64 /* CA files; names come from the configuration only */
#define SESSIONS_MAX 64 /* peers per context that can be resumed */

/* The last session with one peer. */
struct peer_session {
	SLIST_ENTRY(peer_session) link;
	SSL_SESSION *session; /* NULL: none yet */
	uint16_t port;
	char *host;
};

/* Ex data of an SSL_CTX (T1). */
struct session_store {
	SLIST_HEAD(, peer_session) list;
	size_t count;
};

struct tls_context {
	SLIST_ENTRY(tls_context) link;
	SSL_CTX *ctx;
	char *ca_file; /* NULL: the system's */
};

struct net_tls {
	SLIST_HEAD(, tls_context) contexts;
	size_t count;
};

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int store_index = -1;

static struct peer_session *free_peer_session(struct peer_session *entry)
{
	if (entry != NULL) {
		SSL_SESSION_free(entry->session);
		free(entry->host);
		free(entry);
	}
	return NULL;
}

/* Called by SSL_CTX_free() of the last reference. */
static void free_store(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl,
		       void *argp)
{
	struct session_store *store = ptr;
	struct peer_session *entry;

	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	if (store == NULL) {
		return;
	}
	while ((entry = SLIST_FIRST(&store->list)) != NULL) {
		SLIST_REMOVE_HEAD(&store->list, link);
		entry = free_peer_session(entry);
	}
	free(store);
}

static void make_index(void)
{
	store_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_store);
}

/* A session or ticket came.  Returns 0: we took no reference of the library's. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
	struct peer_session *entry = SSL_get_app_data(ssl);
	SSL_SESSION *copy;

	if (entry == NULL || SSL_SESSION_is_resumable(session) != 1) {
		return 0;
	}
	copy = SSL_SESSION_dup(session);
	if (copy != NULL) {
		SSL_SESSION_free(entry->session);
		entry->session = copy;
	}
	return 0;
}

struct net_tls *net_tls_new(void)
{
	struct net_tls *tls;

	pthread_once(&index_once, make_index);
	if (store_index < 0) {
		return NULL;
	}
	tls = calloc(1, sizeof(*tls));
	if (tls != NULL) {
		SLIST_INIT(&tls->contexts);
	}
	return tls;
}

static void free_context(struct tls_context *context)
{
	SSL_CTX_free(context->ctx);
	free(context->ca_file);
	free(context);
}

struct net_tls *net_tls_free(struct net_tls *tls)
{
	struct tls_context *context;

	if (tls == NULL) {
		return NULL;
	}
	while ((context = SLIST_FIRST(&tls->contexts)) != NULL) {
		SLIST_REMOVE_HEAD(&tls->contexts, link);
		free_context(context);
	}
	free(tls);
	return NULL;
}

static bool set_options(SSL_CTX *ctx, struct session_store *store)
{
	static const unsigned char alpn[] = "\x08http/1.1";

	(void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
					    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					    SSL_MODE_RELEASE_BUFFERS);
	(void)SSL_CTX_set_session_cache_mode(ctx,
					     SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_alpn_protos(ctx, alpn, sizeof(alpn) - 1) == 0 &&
	       SSL_CTX_set_ex_data(ctx, store_index, store) == 1;
}

/* NULL when out of memory. */
static SSL_CTX *new_ctx(void)
{
	struct session_store *store = calloc(1, sizeof(*store));
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (store == NULL || ctx == NULL || !set_options(ctx, store)) {
		bool owned = ctx != NULL && SSL_CTX_get_ex_data(ctx, store_index) == store;

		SSL_CTX_free(ctx);
		if (!owned) {
			free(store);
		}
		return NULL;
	}
	SLIST_INIT(&store->list);
	return ctx;
}

static struct tls_context *new_context(const char *ca_file)
{
	struct tls_context *context = calloc(1, sizeof(*context));

	if (context == NULL) {
		return NULL;
	}
	context->ctx = new_ctx();
	context->ca_file = ca_file == NULL ? NULL : strdup(ca_file);
	if (context->ctx == NULL || (ca_file != NULL && context->ca_file == NULL)) {
		free_context(context);
		return NULL;
	}
	return context;
}

static bool is_same_file(const char *a, const char *b)
{
	if (a == NULL || b == NULL) {
		return a == b;
	}
	return strcmp(a, b) == 0;
}

static enum bc_err get_ctx(struct net_tls *tls, const char *ca_file, const char **reterr_detail,
			   SSL_CTX **ret)
{
	struct tls_context *context;

	SLIST_FOREACH(context, &tls->contexts, link)
	{
		if (is_same_file(context->ca_file, ca_file)) {
			*ret = context->ctx;
			return BC_OK;
		}
	}
	*reterr_detail = "too many CA files";
	if (tls->count == CONTEXTS_MAX) {
		return BC_E_INVALID;
	}
	*reterr_detail = "out of memory";
	context = new_context(ca_file);
	if (context == NULL) {
		return BC_E_NOMEM;
	}
	if (ca_file == NULL ? SSL_CTX_set_default_verify_paths(context->ctx) != 1
			    : SSL_CTX_load_verify_file(context->ctx, ca_file) != 1) {
		ERR_clear_error();
		free_context(context);
		*reterr_detail = "the CA file cannot be used";
		return BC_E_INVALID;
	}
	SLIST_INSERT_HEAD(&tls->contexts, context, link);
	tls->count++;
	*ret = context->ctx;
	return BC_OK;
}

/* The place for sessions with peer; NULL when there is none, which only costs the resumption. */
static struct peer_session *get_peer_session(SSL_CTX *ctx, const struct net_tls_peer *peer)
{
	struct session_store *store = SSL_CTX_get_ex_data(ctx, store_index);
	struct peer_session *entry;

	SLIST_FOREACH(entry, &store->list, link)
	{
		if (entry->port == peer->port && strcmp(entry->host, peer->host) == 0) {
			return entry;
		}
	}
	if (store->count == SESSIONS_MAX) {
		return NULL;
	}
	entry = calloc(1, sizeof(*entry));
	if (entry == NULL) {
		return NULL;
	}
	entry->port = peer->port;
	entry->host = strdup(peer->host);
	if (entry->host == NULL) {
		return free_peer_session(entry);
	}
	SLIST_INSERT_HEAD(&store->list, entry, link);
	store->count++;
	return entry;
}

/* Whom the certificate must name.  Source: RFC 9525 6, RFC 6066 3 (SNI holds names only). */
static bool set_name(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	unsigned char address[sizeof(struct in6_addr)];
	char name[TLSEXT_MAXLEN_host_name + 1]; /* OpenSSL's macro wants to be able to write */
	size_t len = strlen(host);

	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1) {
		return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
	}
	if (len >= sizeof(name)) {
		return false;
	}
	memcpy(name, host, len + 1);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
	       SSL_set_tlsext_host_name(ssl, name) == 1;
}

static void offer_session(SSL *ssl, const struct peer_session *entry)
{
	SSL_SESSION *copy;

	if (entry == NULL || entry->session == NULL) {
		return;
	}
	copy = SSL_SESSION_dup(entry->session);
	if (copy != NULL) {
		/* A session that cannot be used only costs a full handshake. */
		(void)SSL_set_session(ssl, copy);
		SSL_SESSION_free(copy);
	}
}

enum bc_err net_tls_client(struct net_tls *tls, const struct net_tls_peer *peer, int fd,
			   const char **reterr_detail, SSL **ret)
{
	struct peer_session *entry;
	SSL_CTX *ctx;
	enum bc_err err;
	SSL *ssl;

	err = get_ctx(tls, peer->ca_file, reterr_detail, &ctx);
	if (err != BC_OK) {
		return err;
	}
	ssl = SSL_new(ctx);
	if (ssl == NULL || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		ERR_clear_error();
		*reterr_detail = "out of memory";
		return BC_E_NOMEM;
	}
	if (!set_name(ssl, peer->host)) {
		SSL_free(ssl);
		ERR_clear_error();
		*reterr_detail = "the host name cannot be checked";
		return BC_E_INVALID;
	}
	entry = get_peer_session(ctx, peer);
	(void)SSL_set_app_data(ssl, entry);
	offer_session(ssl, entry);
	*ret = ssl;
	return BC_OK;
}

/* SSL_ERROR_SSL: look into the queue of errors, and leave it empty. */
static enum bc_err fatal_error(const SSL *ssl, const char **reterr_detail)
{
	unsigned long code = ERR_peek_error();
	long verify = SSL_get_verify_result(ssl);
	const char *reason = ERR_reason_error_string(code);

	ERR_clear_error();
	if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
	    ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		*reterr_detail = "connection closed";
		return BC_E_UPSTREAM;
	}
	if (verify != X509_V_OK) {
		*reterr_detail = X509_verify_cert_error_string(verify);
		return BC_E_INVALID;
	}
	*reterr_detail = reason == NULL ? "TLS error" : reason;
	return BC_E_PROTO;
}

enum bc_err net_tls_error(const SSL *ssl, int code, unsigned *ret_events,
			  const char **reterr_detail)
{
	int saved = errno;
	const char *text;

	switch (SSL_get_error(ssl, code)) {
	case SSL_ERROR_WANT_READ:
		*ret_events = LOOP_READ;
		return BC_E_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		*ret_events = LOOP_WRITE;
		return BC_E_AGAIN;
	case SSL_ERROR_SSL:
		return fatal_error(ssl, reterr_detail);
	case SSL_ERROR_SYSCALL:
		text = saved == 0 ? NULL : strerrordesc_np(saved);
		*reterr_detail = text == NULL ? "connection closed" : text;
		break;
	default:
		*reterr_detail = "connection closed";
		break;
	}
	ERR_clear_error();
	return BC_E_UPSTREAM;
}
