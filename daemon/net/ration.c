#include "daemon/net/ration.h"

#include "daemon/base/metric.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>

#define GATE_MAGIC 0x4e455447u

/*
 * One SSL's, behind a BIO of ours in front of the socket's.  libwebsockets makes the SSL and reads from it at once, so the
 * gate is put in by a callback of the context, before the first byte is read.
 */
struct gate {
	unsigned magic;
	struct net_ration *ration;
	const SSL *ssl;
	uint64_t ticket; /* 0: it was not sent away since it last read */
	unsigned turn;   /* of the loop, in which it last read */
	unsigned reads;  /* in that */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int ration_index = -1; /* of a context's ex data */
static BIO_METHOD *gate_method;

void net_ration_init(struct net_ration *ration, const struct loop *loop)
{
	*ration = (struct net_ration){.loop = loop};
}

static void begin_turn(struct net_ration *ration)
{
	uint64_t waiting = ration->asked - ration->called;

	if (ration->turn == loop_turn(ration->loop)) {
		return;
	}
	ration->turn = loop_turn(ration->loop);
	ration->left = NET_RATION_TURN;
	ration->put_off = false;
	ration->called += waiting < NET_RATION_TURN ? waiting : NET_RATION_TURN;
}

void net_ration_put_off(struct net_ration *ration)
{
	begin_turn(ration);
	if (!ration->put_off) {
		ration->put_off = true;
		bc_metric_inc(BC_M_HANDSHAKES_PUT_OFF);
	}
}

/* Nobody passes those who were sent away before. */
static bool is_next(const struct net_ration *ration, const struct gate *gate)
{
	return gate->ticket != 0 ? gate->ticket <= ration->called : ration->asked == ration->gone;
}

static void drop_ticket(struct gate *gate)
{
	if (gate->ticket != 0) {
		gate->ticket = 0;
		gate->ration->gone++;
	}
}

static bool may_read(struct gate *gate)
{
	struct net_ration *ration = gate->ration;
	char none[1];

	if (SSL_get_finished(gate->ssl, none, 0) > 0) {
		return true;
	}
	begin_turn(ration);
	if (gate->turn == ration->turn && gate->reads < NET_RATION_READS) {
		gate->reads++;
		return true;
	}
	if (gate->turn != ration->turn && ration->left > 0 && is_next(ration, gate)) {
		drop_ticket(gate);
		ration->left--;
		gate->turn = ration->turn;
		gate->reads = 1;
		return true;
	}
	if (gate->ticket == 0) {
		ration->asked++;
		gate->ticket = ration->asked;
	}
	net_ration_put_off(ration);
	return false;
}

static int gate_read(BIO *bio, char *out, int len)
{
	struct gate *gate = BIO_get_data(bio);
	int got;

	BC_CHECK(gate, GATE_MAGIC);
	BIO_clear_retry_flags(bio);
	if (!may_read(gate)) {
		BIO_set_retry_read(bio);
		return -1;
	}
	got = BIO_read(BIO_next(bio), out, len);
	BIO_copy_next_retry(bio);
	return got;
}

static long gate_ctrl(BIO *bio, int command, long number, void *pointer)
{
	return BIO_next(bio) == NULL ? 0 : BIO_ctrl(BIO_next(bio), command, number, pointer);
}

static int gate_destroy(BIO *bio)
{
	struct gate *gate = BIO_get_data(bio);

	if (gate != NULL) {
		drop_ticket(gate);
		gate->magic = 0;
		free(gate);
	}
	return 1;
}

/* NULL when out of memory; then a handshake is as dear as it is. */
static BIO *make_gate(struct net_ration *ration, const SSL *ssl)
{
	struct gate *gate = calloc(1, sizeof(*gate));
	BIO *bio = gate == NULL ? NULL : BIO_new(gate_method);

	if (bio == NULL) {
		free(gate);
		return NULL;
	}
	*gate = (struct gate){.magic = GATE_MAGIC, .ration = ration, .ssl = ssl};
	BIO_set_data(bio, gate);
	BIO_set_init(bio, 1);
	return bio;
}

static bool has_gate(const SSL *ssl)
{
	BIO *bio = SSL_get_rbio(ssl);

	return bio != NULL && BIO_method_type(bio) == BIO_TYPE_FILTER && BIO_get_data(bio) != NULL;
}

static void on_info(const SSL *ssl, int where, int result)
{
	struct net_ration *ration = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ration_index);
	BIO *socket = SSL_get_rbio(ssl);
	BIO *bio;

	(void)result;
	if ((where & SSL_CB_HANDSHAKE_START) == 0 || SSL_is_server(ssl) == 0 || socket == NULL ||
	    has_gate(ssl) || BIO_up_ref(socket) != 1) {
		return;
	}
	bio = make_gate(ration, ssl);
	if (bio == NULL) {
		BIO_free(socket);
		bc_metric_inc(BC_M_OUT_OF_MEMORY);
		return;
	}
	/* It is told of what it does itself, hence const. */
	SSL_set0_rbio((SSL *)(uintptr_t)ssl, BIO_push(bio, socket));
}

static void make_method(void)
{
	ration_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	gate_method = BIO_meth_new(BIO_TYPE_FILTER, "gate");
	if (gate_method != NULL && (BIO_meth_set_read(gate_method, gate_read) != 1 ||
				    BIO_meth_set_ctrl(gate_method, gate_ctrl) != 1 ||
				    BIO_meth_set_destroy(gate_method, gate_destroy) != 1)) {
		BIO_meth_free(gate_method);
		gate_method = NULL;
	}
}

enum bc_err net_ration_guard(struct net_ration *ration, SSL_CTX *context)
{
	if (pthread_once(&once, make_method) != 0 || ration_index < 0 || gate_method == NULL ||
	    SSL_CTX_set_ex_data(context, ration_index, ration) != 1) {
		return BC_E_NOMEM;
	}
	SSL_CTX_set_info_callback(context, on_info);
	return BC_OK;
}

void net_ration_open(SSL *ssl)
{
	if (ssl != NULL && has_gate(ssl)) {
		/* What was the chain's reference to the socket's BIO becomes the SSL's. */
		SSL_set0_rbio(ssl, BIO_pop(SSL_get_rbio(ssl)));
	}
}
