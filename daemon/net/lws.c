/*
 * The library's side: one context per worker on our loop, one virtual host per listener, raw connections, for which
 * libwebsockets does the TLS handshake and owns the socket.
 *
 * Traps of version 4.1.6 that shape this file: its timers do not fire on an idle libev loop (hence net_lws_kick());
 * TLS is silently off unless the virtual host repeats the global option; strings are not copied; the client context
 * it makes for each virtual host, with all certificate authorities of the system, is leaked as soon as there is a second
 * worker (hence one of ours, empty, that nobody uses); a wsi whose SSL
 * still holds bytes stays on a list that keeps the loop busy, so one read must take a whole TLS record.
 */
#include "daemon/base/log.h"
#include "daemon/net/accept_internal.h"

#include <assert.h>
#include <libwebsockets.h>
#include <pthread.h>

#define RX_SIZE      ((size_t)20 * 1024) /* bytes; more than the longest TLS record */
#define TIMEOUT_SECS 600                 /* far beyond ours, which counts */

static_assert(NET_LWS_PRE >= LWS_PRE, "libwebsockets may write in front of the bytes");

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		    size_t len)
{
	struct net_conn *conn = lws_get_opaque_user_data(wsi);

	if (reason == LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS) {
		struct net_acceptor *acceptor = lws_context_user(lws_get_context(wsi));

		/* The context of a listener with TLS has just been made.  Nonzero: the listener cannot be used. */
		return net_ration_guard(&acceptor->ration, user) == BC_OK ? 0 : -1;
	}
	if (conn == NULL) {
		return 0; /* the context's own, or not yet adopted, or gone */
	}
	BC_CHECK(conn, NET_CONN_MAGIC);
	/* The library's own enum of some hundred reasons; the rest is of no interest. */
	if (reason == LWS_CALLBACK_RAW_RX) {
		return net_conn_received(conn, bc_span(in, len));
	}
	if (reason == LWS_CALLBACK_RAW_WRITEABLE) {
		return net_conn_writable(conn);
	}
	if (reason == LWS_CALLBACK_RAW_CLOSE || reason == LWS_CALLBACK_WSI_DESTROY) {
		lws_set_opaque_user_data(wsi, NULL);
		net_conn_gone(conn);
	}
	return 0;
}

static const struct lws_protocols protocols[] = {
	{.name = "backchannel", .callback = on_event, .rx_buffer_size = RX_SIZE},
	{.name = NULL},
};

/* Pings and time-outs of its own would write into a stream that is ours. */
static const lws_retry_bo_t no_retry = {.secs_since_valid_ping = 0, .secs_since_valid_hangup = 0};

static void on_log(int level, const char *line)
{
	(void)level;
	bc_log(BC_LOG_DEBUG, NULL, "libwebsockets: %s", line);
}

static void set_log(void)
{
	lws_set_log_level(LLL_ERR | LLL_WARN, on_log);
}

/* Creating contexts touches globals of libwebsockets and OpenSSL. */
static pthread_mutex_t creating = PTHREAD_MUTEX_INITIALIZER;

enum bc_err net_lws_new(struct net_acceptor *acceptor)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	void *loops[] = {loop_ev(acceptor->loop)};
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.protocols = protocols,
		.gid = -1,
		.uid = -1,
		.options = LWS_SERVER_OPTION_LIBEV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
			   LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
		.foreign_loops = loops,
		.user = acceptor,
		.pt_serv_buf_size = RX_SIZE,
		.timeout_secs = TIMEOUT_SECS,
		.retry_and_idle_policy = &no_retry,
	};

	BC_BUG_ON(pthread_once(&once, set_log) != 0);
	acceptor->unused = SSL_CTX_new(TLS_client_method());
	if (acceptor->unused == NULL) {
		return BC_E_SYSTEM;
	}
	BC_BUG_ON(pthread_mutex_lock(&creating) != 0);
	acceptor->lws = lws_create_context(&info);
	BC_BUG_ON(pthread_mutex_unlock(&creating) != 0);
	return acceptor->lws == NULL ? BC_E_SYSTEM : BC_OK;
}

enum bc_err net_lws_listener(struct net_acceptor *acceptor, struct net_listener *listener)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.protocols = protocols,
		.vhost_name = listener->vhost_name,
		.timeout_secs = TIMEOUT_SECS,
		.retry_and_idle_policy = &no_retry,
	};

	if (listener->certificate != NULL) {
		info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
		info.ssl_cert_filepath = listener->certificate;
		info.ssl_private_key_filepath = listener->key;
		info.ssl_options_set =
			(long)(SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1);
		info.alpn = "http/1.1";
		info.provided_client_ssl_ctx = acceptor->unused;
	}
	BC_BUG_ON(pthread_mutex_lock(&creating) != 0);
	listener->vhost = lws_create_vhost(acceptor->lws, &info);
	BC_BUG_ON(pthread_mutex_unlock(&creating) != 0);
	return listener->vhost == NULL ? BC_E_SYSTEM : BC_OK;
}

void net_lws_free(struct net_acceptor *acceptor)
{
	struct lws_context *context = acceptor->lws;

	acceptor->lws = NULL;
	if (context != NULL) {
		BC_BUG_ON(pthread_mutex_lock(&creating) != 0);
		lws_context_destroy(context);
		BC_BUG_ON(pthread_mutex_unlock(&creating) != 0);
	}
	SSL_CTX_free(acceptor->unused);
	acceptor->unused = NULL;
}

void net_lws_kick(struct net_acceptor *acceptor)
{
	lws_cancel_service(acceptor->lws);
}

struct lws *net_lws_adopt(struct net_conn *conn, int fd)
{
	lws_adopt_desc_t desc = {
		.vh = conn->listener->vhost,
		.type = LWS_ADOPT_SOCKET,
		.fd = {.sockfd = fd},
		.vh_prot_name = protocols[0].name,
		.opaque = conn,
	};

	if (conn->listener->certificate != NULL) {
		desc.type |= LWS_ADOPT_ALLOW_SSL;
	}
	return lws_adopt_descriptor_vhost_via_info(&desc);
}

int net_lws_write(struct lws *wsi, void *bytes, size_t len)
{
	if (lws_write(wsi, bytes, len, LWS_WRITE_RAW) < 0) {
		return -1;
	}
	return lws_callback_on_writable(wsi) < 0 ? -1 : 0;
}

bool net_lws_is_sending(struct lws *wsi)
{
	if (lws_partial_buffered(wsi) == 0) {
		return false;
	}
	(void)lws_callback_on_writable(wsi);
	return true;
}

void net_lws_peek(struct lws *wsi, int *ret_fd, SSL **ret_ssl)
{
	*ret_fd = lws_get_socket_fd(wsi);
	*ret_ssl = lws_get_ssl(wsi);
}

void net_lws_take(struct lws *wsi, int *ret_fd, SSL **ret_ssl)
{
	(void)lws_rx_flow_control(wsi, 0);
	lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
	net_lws_peek(wsi, ret_fd, ret_ssl);
	net_ration_open(*ret_ssl);
}

void net_lws_kill(struct net_acceptor *acceptor, struct lws *wsi)
{
	lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
	lws_cancel_service(acceptor->lws);
}
