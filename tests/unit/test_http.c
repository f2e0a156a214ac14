/* net_http against a small server of the test's own, which counts what really arrives. */
#include "daemon/base/buf.h"
#include "daemon/loop/loop.h"
#include "daemon/net/http.h"
#include "tests/unit/certs.h"
#include "tests/unit/tap.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUARD      (30 * BC_USEC_PER_SEC) /* nothing here takes that long */
#define PATIENT    (20 * BC_USEC_PER_SEC)
#define BIG_LEN    (256 * 1024)
#define MANY       200
#define CAPTURED   4096
#define SERVER_BUF 65536

static int listener;
static int tls_listener;
static pthread_t tls_server;
static char tls_url[64];
static struct certs certs;
static unsigned port;
static atomic_uint connections;
static atomic_uint drops;           /* requests for /drop that arrived completely */
static atomic_uint drop_connection; /* the connection the last one came on, from 1 */
static atomic_uint flakies;         /* the same for /flaky */
static atomic_uint oks;
static atomic_uint silents;
static sem_t heard;             /* posted when a client has got the first piece of /pieces */
static char captured[CAPTURED]; /* the last request for /echo */

static unsigned awaited; /* callbacks until the loop stops */
static struct loop *loop;
static struct net_http *http;

/* --- server --- */

static void send_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);

		if (sent <= 0) {
			return;
		}
		bytes += sent;
		len -= (size_t)sent;
	}
}

static void answer(int fd, const char *status, const char *headers, const char *body)
{
	char text[1024];
	int len = snprintf(text, sizeof(text), "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s",
			   status, headers, strlen(body), body);

	send_all(fd, text, (size_t)len);
}

static void answer_big(int fd, bool with_length)
{
	char *body = malloc(BIG_LEN);
	char head[128];

	memset(body, 'x', BIG_LEN);
	if (with_length) {
		(void)snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
			       BIG_LEN);
	} else {
		(void)snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
	}
	send_all(fd, head, strlen(head));
	send_all(fd, body, BIG_LEN);
	free(body);
}

/* Read one request into buf; its length, 0 when the peer closed. */
static size_t read_request(int fd, char *buf)
{
	size_t len = 0;
	size_t want = 0;

	while (want == 0 || len < want) {
		ssize_t got = recv(fd, buf + len, SERVER_BUF - 1 - len, 0);
		char *end;

		if (got <= 0) {
			return 0;
		}
		len += (size_t)got;
		buf[len] = '\0';
		end = strstr(buf, "\r\n\r\n");
		if (want == 0 && end != NULL) {
			const char *field = strcasestr(buf, "\r\nContent-Length:");

			want = (size_t)(end - buf) + 4;
			want += field == NULL ? 0 : strtoul(field + 17, NULL, 10);
		}
	}
	return len;
}

static bool is_for(const char *request, const char *path)
{
	const char *target = strchr(request, ' ');
	size_t len = strlen(path);

	return target != NULL && strncmp(target + 1, path, len) == 0 && target[1 + len] == ' ';
}

/* An answer whose rest comes only when its beginning has arrived. */
static void answer_pieces(int fd, const char *status)
{
	char head[128];
	int len = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: 10\r\n\r\nfirst",
			   status);

	send_all(fd, head, (size_t)len);
	while (sem_wait(&heard) != 0) {
	}
	send_all(fd, "again", 5);
}

/* Whether the connection goes on. */
static bool serve(int fd, const char *request, size_t len)
{
	if (is_for(request, "/ok")) {
		atomic_fetch_add(&oks, 1);
		answer(fd, "200 OK", "Content-Type: application/json\r\n", "{\"ok\":true}");
	} else if (is_for(request, "/silent")) {
		atomic_fetch_add(&silents, 1);
	} else if (is_for(request, "/drop")) {
		atomic_fetch_add(&drops, 1);
		return false;
	} else if (is_for(request, "/flaky")) {
		if (atomic_fetch_add(&flakies, 1) == 0) {
			return false;
		}
		answer(fd, "200 OK", "", "second");
	} else if (is_for(request, "/half")) {
		send_all(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", 42);
		return false;
	} else if (is_for(request, "/big")) {
		answer_big(fd, true);
	} else if (is_for(request, "/stream")) {
		answer_big(fd, false);
		return false;
	} else if (is_for(request, "/pieces")) {
		answer_pieces(fd, "200 OK");
	} else if (is_for(request, "/busy")) {
		sem_post(&heard);
		answer_pieces(fd, "503 Busy");
	} else if (is_for(request, "/redirect")) {
		answer(fd, "302 Found", "Location: /ok\r\n", "");
	} else if (is_for(request, "/echo")) {
		memcpy(captured, request, len < CAPTURED ? len : CAPTURED - 1);
		captured[len < CAPTURED ? len : CAPTURED - 1] = '\0';
		answer(fd, "200 OK", "", "");
	} else {
		answer(fd, "404 Not Found", "", "no");
	}
	return true;
}

static void *run_connection(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char *buf = malloc(SERVER_BUF);
	unsigned nth = atomic_fetch_add(&connections, 1) + 1;
	size_t len;

	while ((len = read_request(fd, buf)) > 0) {
		if (is_for(buf, "/drop")) {
			atomic_store(&drop_connection, nth);
		}
		if (!serve(fd, buf, len)) {
			break;
		}
	}
	free(buf);
	close(fd);
	return NULL;
}

static void *run_server(void *arg)
{
	(void)arg;
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;

		if (fd < 0) {
			return NULL;
		}
		ck_assert_int_eq(
			pthread_create(&thread, NULL, run_connection, (void *)(intptr_t)fd), 0);
		pthread_detach(thread);
	}
}

static int bind_local(unsigned *ret_port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*ret_port = ntohs(addr.sin_port);
	return fd;
}

static pthread_t server;

static void on_guard(void *arg)
{
	(void)arg;
	ck_abort_msg("nothing happened for too long");
}

static struct loop_timer *guard;

static void set_up(void)
{
	atomic_uint *counters[] = {&connections, &drops, &drop_connection,
				   &flakies,     &oks,   &silents};

	for (size_t i = 0; i < BC_ARRAY_LEN(counters); i++) {
		atomic_store(counters[i], 0);
	}
	awaited = 0;
	ck_assert_int_eq(sem_init(&heard, 0, 0), 0);
	(void)signal(SIGPIPE, SIG_IGN);
	listener = bind_local(&port);
	ck_assert_int_eq(listen(listener, 512), 0);
	ck_assert_int_eq(pthread_create(&server, NULL, run_server, NULL), 0);
	ck_assert_int_eq(loop_new(&loop), BC_OK);
	guard = loop_timer_new(loop, on_guard, NULL);
	loop_timer_start(guard, GUARD);
	http = net_http_new(loop, NULL);
	ck_assert_ptr_nonnull(http);
}

static void tear_down(void)
{
	http = net_http_free(http);
	guard = loop_timer_free(guard);
	loop = loop_free(loop);
	shutdown(listener, SHUT_RDWR);
	pthread_join(server, NULL);
	close(listener);
	sem_destroy(&heard);
}

/* --- calls --- */

/* What came of one call; copies, because the answer lives only in the callback. */
struct outcome {
	bool called;
	enum net_http_end end;
	int status;
	bool sent;
	char body[64];
	char type[64];
	struct net_http_call *victim; /* cancelled in the callback when set */
	char pieces[64];              /* what came before the end */
	bool cancels;                 /* the victim goes with the first piece */
};

static void copy(char out[64], struct bc_span span)
{
	(void)snprintf(out, 64, "%.*s",
		       BC_SPAN_ARG(bc_span(span.ptr, span.len < 63 ? span.len : 63)));
}

static void on_end(void *arg, const struct net_http_answer *got)
{
	struct outcome *outcome = arg;

	ck_assert(!outcome->called);
	outcome->called = true;
	outcome->end = got->end;
	outcome->status = got->status;
	outcome->sent = got->sent;
	copy(outcome->body, got->body);
	copy(outcome->type, got->type);
	ck_assert_ptr_nonnull(got->detail);
	if (outcome->victim != NULL) {
		net_http_cancel(outcome->victim);
	}
	if (--awaited == 0) {
		loop_stop(loop);
	}
}

static struct net_http_request request_for(const char *method, const char *path)
{
	static char urls[4][64];
	static unsigned next;
	char *url = urls[next++ % 4];

	(void)snprintf(url, 64, "http://127.0.0.1:%u%s", port, path);
	return (struct net_http_request){
		.method = method, .url = url, .timeout = PATIENT, .response_max = 65536};
}

static struct net_http_call *start(const struct net_http_request *request, struct outcome *outcome)
{
	struct net_http_call *call = NULL;

	*outcome = (struct outcome){.called = false};
	ck_assert_int_eq(net_http_start(http, request, on_end, outcome, &call), BC_OK);
	ck_assert(!outcome->called);
	awaited++;
	return call;
}

static struct outcome perform(const struct net_http_request *request)
{
	struct outcome outcome;

	(void)start(request, &outcome);
	loop_run(loop);
	ck_assert(outcome.called);
	return outcome;
}

/* Leaves one idle connection in the pool. */
static void warm(void)
{
	struct net_http_request request = request_for("GET", "/ok");
	struct outcome outcome = perform(&request);

	ck_assert_int_eq(outcome.end, NET_HTTP_DONE);
	ck_assert_uint_eq(atomic_load(&connections), 1);
}

static struct net_http_request effect_for(const char *path)
{
	struct net_http_request request = request_for("POST", path);

	request.once = true;
	request.has_body = true;
	request.body = BC_SPAN_LIT("{\"pay\":1}");
	return request;
}

START_TEST(test_answer)
{
	struct net_http_request request = request_for("GET", "/ok");
	struct outcome outcome = perform(&request);

	ck_assert_int_eq(outcome.end, NET_HTTP_DONE);
	ck_assert_int_eq(outcome.status, 200);
	ck_assert(outcome.sent);
	ck_assert_str_eq(outcome.body, "{\"ok\":true}");
	ck_assert_str_eq(outcome.type, "application/json");
}
END_TEST

/* Two clients of a TLS listener, one after the other; each that believes the certificate gets an answer. */
static void *serve_tls(void *arg)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	char request[1024];

	(void)arg;
	ck_assert_int_eq(SSL_CTX_use_certificate_file(ctx, certs.leaf, SSL_FILETYPE_PEM), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(ctx, certs.key, SSL_FILETYPE_PEM), 1);
	for (int i = 0; i < 2; i++) {
		SSL *ssl = SSL_new(ctx);
		int fd = accept(tls_listener, NULL, NULL);

		ck_assert_int_eq(SSL_set_fd(ssl, fd), 1);
		if (SSL_accept(ssl) == 1 && SSL_read(ssl, request, sizeof(request)) > 0) {
			(void)SSL_write(ssl, answer, sizeof(answer) - 1);
		}
		SSL_free(ssl);
		(void)close(fd);
	}
	SSL_CTX_free(ctx);
	return NULL;
}

static struct net_http_request begin_tls(void)
{
	struct net_http_request request = request_for("GET", "/ok");
	unsigned tls_port;

	certs_make(&certs);
	tls_listener = bind_local(&tls_port);
	ck_assert_int_eq(listen(tls_listener, 2), 0);
	ck_assert_int_eq(pthread_create(&tls_server, NULL, serve_tls, NULL), 0);
	(void)snprintf(tls_url, sizeof(tls_url), "https://127.0.0.1:%u/ok", tls_port);
	request.url = tls_url;
	return request;
}

static void end_tls(void)
{
	ck_assert_int_eq(pthread_join(tls_server, NULL), 0);
	(void)close(tls_listener);
	certs_remove(&certs);
}

static enum net_http_end ask_trusting(const struct net_http_request *request, const char *ca_file)
{
	ck_assert_int_eq(net_http_trust(http, ca_file), BC_OK);
	return perform(request).end;
}

START_TEST(another_ca_is_trusted_from_the_next_request_on)
{
	struct net_http_request request = begin_tls();

	ck_assert_int_eq(ask_trusting(&request, certs.stranger), NET_HTTP_UNREACHABLE);
	ck_assert_int_eq(ask_trusting(&request, certs.ca), NET_HTTP_DONE);
	end_tls();
}
END_TEST

static char system_dir[] = "/tmp/test_http_XXXXXX";
static char system_ca[64];     /* as OpenSSL looks for it in a directory */
static char system_bundle[64]; /* the file that curl reads by itself */

/* For this process the system trusts the CA of the tests, by its directory; false: it may not do that. */
static bool be_trusted_by_the_system(void)
{
	FILE *file = fopen(certs.ca, "re");
	X509 *ca = PEM_read_X509(file, NULL, NULL, NULL);

	ck_assert_ptr_nonnull(ca);
	ck_assert_ptr_nonnull(mkdtemp(system_dir));
	(void)snprintf(system_ca, sizeof(system_ca), "%s/%08lx.0", system_dir,
		       X509_subject_name_hash(ca));
	(void)snprintf(system_bundle, sizeof(system_bundle), "%s/ca-certificates.crt", system_dir);
	X509_free(ca);
	(void)fclose(file);
	ck_assert_int_eq(symlink(certs.ca, system_ca), 0);
	ck_assert_int_eq(symlink(certs.stranger, system_bundle), 0);
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount(system_dir, "/etc/ssl/certs", NULL, MS_BIND, NULL) == 0;
}

START_TEST(beside_a_ca_file_the_system_is_not_trusted)
{
	struct net_http_request request = begin_tls();
	bool able = be_trusted_by_the_system();

	ck_assert_int_eq(ask_trusting(&request, certs.stranger), NET_HTTP_UNREACHABLE);
	if (able) {
		/* What the first was refused by is there. */
		ck_assert_int_eq(ask_trusting(&request, NULL), NET_HTTP_DONE);
	} else {
		(void)ask_trusting(&request, certs.ca);
	}
	ck_assert_int_eq(unlink(system_ca) | unlink(system_bundle) | rmdir(system_dir), 0);
	end_tls();
}
END_TEST

START_TEST(test_connection_is_kept)
{
	warm();
	warm();
	ck_assert_uint_eq(atomic_load(&oks), 2);
}
END_TEST

START_TEST(test_not_found)
{
	struct net_http_request request = request_for("GET", "/nowhere");
	struct outcome outcome = perform(&request);

	ck_assert_int_eq(outcome.end, NET_HTTP_DONE);
	ck_assert_int_eq(outcome.status, 404);
}
END_TEST

START_TEST(test_redirect_is_an_answer)
{
	struct net_http_request request = request_for("GET", "/redirect");
	struct outcome outcome = perform(&request);

	ck_assert_int_eq(outcome.end, NET_HTTP_DONE);
	ck_assert_int_eq(outcome.status, 302);
	ck_assert_uint_eq(atomic_load(&oks), 0);
}
END_TEST

START_TEST(test_timeout)
{
	struct net_http_request request = request_for("GET", "/silent");
	bc_usec begin = loop_clock();
	struct outcome outcome;

	request.timeout = 150 * BC_USEC_PER_MS;
	outcome = perform(&request);
	ck_assert_int_eq(outcome.end, NET_HTTP_TIMEOUT);
	ck_assert_int_eq(outcome.status, 0);
	ck_assert(outcome.sent);
	ck_assert(loop_clock() - begin >= 140 * BC_USEC_PER_MS);
}
END_TEST

START_TEST(test_refused_port)
{
	struct net_http_request request = request_for("POST", "/ok");
	unsigned closed;
	int fd = bind_local(&closed); /* bound, never listening */
	char url[64];
	struct outcome outcome;

	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", closed);
	request.url = url;
	request.once = true;
	outcome = perform(&request);
	ck_assert_int_eq(outcome.end, NET_HTTP_UNREACHABLE);
	ck_assert(!outcome.sent);
	close(fd);
}
END_TEST

START_TEST(test_unresolvable)
{
	struct net_http_request request = request_for("GET", "/");
	struct outcome outcome;

	request.url = "http://nonexistent.invalid/";
	outcome = perform(&request);
	ck_assert_int_eq(outcome.end, NET_HTTP_UNREACHABLE);
	ck_assert(!outcome.sent);
}
END_TEST

START_TEST(test_closed_without_answer)
{
	struct net_http_request request = request_for("GET", "/drop");
	struct outcome outcome = perform(&request);

	ck_assert_int_eq(outcome.end, NET_HTTP_LOST);
	ck_assert_int_eq(outcome.status, 0);
	ck_assert(outcome.sent);
}
END_TEST

START_TEST(test_half_an_answer)
{
	struct net_http_request request = effect_for("/half");
	struct outcome outcome = perform(&request);

	ck_assert_int_eq(outcome.end, NET_HTTP_LOST);
	ck_assert_int_eq(outcome.status, 200);
	ck_assert(outcome.sent);
}
END_TEST

START_TEST(test_effect_goes_out_once)
{
	struct net_http_request request = effect_for("/drop");
	struct outcome outcome;

	warm();
	outcome = perform(&request);
	ck_assert_int_eq(outcome.end, NET_HTTP_LOST);
	ck_assert(outcome.sent);
	ck_assert_uint_eq(atomic_load(&drops), 1);
	/* It did travel on the pooled connection, where curl would send again. */
	ck_assert_uint_eq(atomic_load(&drop_connection), 1);
}
END_TEST

START_TEST(test_effect_without_body_goes_out_once)
{
	static const char *const methods[] = {"POST", "DELETE", "GET"};
	struct net_http_request request = request_for(methods[_i], "/drop");
	struct outcome outcome;

	request.once = true;
	warm();
	outcome = perform(&request);
	ck_assert_int_eq(outcome.end, NET_HTTP_LOST);
	ck_assert(outcome.sent);
	ck_assert_uint_eq(atomic_load(&drops), 1);
}
END_TEST

START_TEST(test_effect_arrives)
{
	struct net_http_request request = effect_for("/echo");
	struct outcome outcome = perform(&request);

	ck_assert_int_eq(outcome.end, NET_HTTP_DONE);
	ck_assert_int_eq(outcome.status, 200);
	ck_assert_ptr_nonnull(strstr(captured, "POST /echo HTTP/1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(captured, "\r\nContent-Length: 9\r\n"));
	ck_assert_ptr_nonnull(strstr(captured, "\r\n\r\n{\"pay\":1}"));
}
END_TEST

START_TEST(test_read_may_be_sent_again)
{
	struct net_http_request request = request_for("GET", "/flaky");
	struct outcome outcome;

	warm();
	outcome = perform(&request);
	ck_assert_int_eq(outcome.end, NET_HTTP_DONE);
	ck_assert_str_eq(outcome.body, "second");
	ck_assert_uint_eq(atomic_load(&flakies), 2);
}
END_TEST

START_TEST(test_too_big)
{
	static const char *const paths[] = {"/big", "/stream"};
	struct net_http_request request = request_for("GET", paths[_i]);
	struct outcome outcome = perform(&request);

	ck_assert_int_eq(outcome.end, NET_HTTP_TOO_BIG);
	ck_assert_int_eq(outcome.status, 200);
	ck_assert(outcome.sent);
}
END_TEST

START_TEST(test_body_without_expect)
{
	struct net_http_request request = request_for("PUT", "/echo");
	static const char *const headers[] = {"Content-Type: application/json", "X-One: 1"};
	static char body[2000]; /* above this size curl would ask first */
	struct outcome outcome;

	memset(body, 'b', sizeof(body));
	request.once = _i == 1;
	request.has_body = true;
	request.body = bc_span(body, sizeof(body));
	request.headers = headers;
	request.header_count = 2;
	outcome = perform(&request);
	ck_assert_int_eq(outcome.end, NET_HTTP_DONE);
	ck_assert_ptr_nonnull(strstr(captured, "PUT /echo HTTP/1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(captured, "\r\nContent-Type: application/json\r\n"));
	ck_assert_ptr_nonnull(strstr(captured, "\r\nX-One: 1\r\n"));
	ck_assert_ptr_nonnull(strstr(captured, "\r\nContent-Length: 2000\r\n"));
	ck_assert_ptr_null(strcasestr(captured, "\r\nExpect"));
	ck_assert_ptr_null(strcasestr(captured, "\r\nTransfer-Encoding"));
}
END_TEST

START_TEST(test_post_without_body_says_so)
{
	struct net_http_request request = request_for("POST", "/echo");

	(void)perform(&request);
	ck_assert_ptr_nonnull(strstr(captured, "POST /echo HTTP/1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(captured, "\r\nContent-Length: 0\r\n"));
	ck_assert_ptr_null(strcasestr(captured, "\r\nContent-Type"));
}
END_TEST

START_TEST(test_cancel_at_once)
{
	struct net_http_request request = request_for("GET", "/silent");
	struct outcome cancelled;
	struct net_http_call *call = start(&request, &cancelled);

	net_http_cancel(call);
	awaited--;
	warm();
	ck_assert(!cancelled.called);
}
END_TEST

START_TEST(test_cancel_in_flight)
{
	struct net_http_request silent = request_for("GET", "/silent");
	struct outcome cancelled;
	struct net_http_call *call = start(&silent, &cancelled);

	while (atomic_load(&silents) == 0) {
		struct net_http_request ok = request_for("GET", "/ok");
		struct outcome outcome;

		awaited = 0;
		outcome = perform(&ok);
		ck_assert_int_eq(outcome.end, NET_HTTP_DONE);
	}
	net_http_cancel(call);
	awaited = 0;
	{
		struct net_http_request ok = request_for("GET", "/ok");

		(void)perform(&ok);
	}
	ck_assert(!cancelled.called);
}
END_TEST

START_TEST(test_cancel_in_callback)
{
	struct net_http_request silent = request_for("GET", "/silent");
	struct net_http_request ok = request_for("GET", "/ok");
	struct outcome cancelled;
	struct outcome outcome;
	struct net_http_call *victim = start(&silent, &cancelled);

	awaited = 0;
	(void)start(&ok, &outcome);
	outcome.victim = victim;
	loop_run(loop);
	ck_assert(outcome.called);
	ck_assert(!cancelled.called);
}
END_TEST

START_TEST(test_cancel_of_one_just_finished)
{
	struct net_http_request request = request_for("GET", "/ok");
	struct outcome first;
	struct outcome second;
	struct net_http_call *a = start(&request, &first);
	struct net_http_call *b = start(&request, &second);

	/* Whoever is first cancels the other, also when curl has both results already. */
	first.victim = b;
	second.victim = a;
	awaited = 1;
	loop_run(loop);
	ck_assert(first.called != second.called);
}
END_TEST

START_TEST(test_many)
{
	struct net_http_request request = request_for("GET", "/ok");
	static struct outcome outcomes[MANY];

	for (size_t i = 0; i < MANY; i++) {
		(void)start(&request, &outcomes[i]);
	}
	loop_run(loop);
	for (size_t i = 0; i < MANY; i++) {
		ck_assert(outcomes[i].called);
		ck_assert_int_eq(outcomes[i].end, NET_HTTP_DONE);
		ck_assert_int_eq(outcomes[i].status, 200);
	}
	ck_assert_uint_eq(atomic_load(&oks), MANY);
}
END_TEST

static void on_end_start_next(void *arg, const struct net_http_answer *got)
{
	struct net_http_request request = request_for("GET", "/ok");

	ck_assert_int_eq(got->end, NET_HTTP_DONE);
	(void)start(&request, arg);
}

START_TEST(test_start_in_callback)
{
	struct net_http_request request = request_for("GET", "/ok");
	struct net_http_call *call;
	struct outcome outcome;

	ck_assert_int_eq(net_http_start(http, &request, on_end_start_next, &outcome, &call), BC_OK);
	loop_run(loop);
	ck_assert(outcome.called);
	ck_assert_int_eq(outcome.end, NET_HTTP_DONE);
}
END_TEST

static void on_end_free_all(void *arg, const struct net_http_answer *got)
{
	(void)arg;
	ck_assert_int_eq(got->end, NET_HTTP_DONE);
	http = net_http_free(http);
	loop_stop(loop);
}

START_TEST(test_free_in_callback)
{
	struct net_http_request request = request_for("GET", "/ok");
	struct net_http_call *call;

	ck_assert_int_eq(net_http_start(http, &request, on_end_free_all, NULL, &call), BC_OK);
	loop_run(loop);
	ck_assert_ptr_null(http);
}
END_TEST

START_TEST(test_invalid)
{
	static const char *const urls[] = {
		"ftp://127.0.0.1/", "file:///etc/passwd", "127.0.0.1", "http://", "",
		"http://a b/"};
	static const char *const evil[] = {"X: 1\r\nY: 2"};
	struct net_http_request request = request_for("GET", "/ok");
	struct net_http_call *call = NULL;

	request.headers = evil;
	request.header_count = 1;
	ck_assert_int_eq(net_http_start(http, &request, on_end, NULL, &call), BC_E_INVALID);
	request.header_count = 0;
	for (size_t i = 0; i < BC_ARRAY_LEN(urls); i++) {
		request.url = urls[i];
		ck_assert_int_eq(net_http_start(http, &request, on_end, NULL, &call), BC_E_INVALID);
	}
	request = request_for("GET /x", "/ok");
	ck_assert_int_eq(net_http_start(http, &request, on_end, NULL, &call), BC_E_INVALID);
	ck_assert_ptr_null(call);
}
END_TEST

/* ---- answers in pieces ---- */

static void on_piece(void *arg, struct bc_span piece)
{
	struct outcome *outcome = arg;

	ck_assert(!outcome->called);
	ck_assert_uint_gt(piece.len, 0);
	ck_assert_uint_lt(strlen(outcome->pieces) + piece.len, sizeof(outcome->pieces));
	memcpy(outcome->pieces + strlen(outcome->pieces), piece.ptr, piece.len);
	sem_post(&heard);
	if (outcome->cancels) {
		net_http_cancel(outcome->victim);
		loop_stop(loop);
	}
}

START_TEST(an_answer_is_handed_out_as_it_comes)
{
	struct net_http_request request = request_for("GET", "/pieces");
	struct outcome outcome;

	request.bytes = on_piece;
	outcome = perform(&request);
	ck_assert_int_eq(outcome.end, NET_HTTP_DONE);
	ck_assert_str_eq(outcome.pieces, "firstagain");
	ck_assert_str_eq(outcome.body, "");
}
END_TEST

START_TEST(the_body_of_an_error_is_gathered)
{
	struct net_http_request request = request_for("GET", "/busy");
	struct outcome outcome;

	request.bytes = on_piece;
	outcome = perform(&request);
	ck_assert_int_eq(outcome.status, 503);
	ck_assert_str_eq(outcome.pieces, "");
	ck_assert_str_eq(outcome.body, "firstagain");
}
END_TEST

START_TEST(pieces_count_towards_the_bound)
{
	struct net_http_request request = request_for("GET", "/pieces");
	struct outcome outcome;

	request.bytes = on_piece;
	request.response_max = 7;
	sem_post(&heard); /* the server need not wait for what may never be handed out */
	outcome = perform(&request);
	ck_assert_int_eq(outcome.end, NET_HTTP_TOO_BIG);
	ck_assert_str_eq(outcome.pieces, outcome.pieces[0] == '\0' ? "" : "first");
}
END_TEST

START_TEST(a_call_may_be_cancelled_inside_its_own_piece)
{
	struct net_http_request request = request_for("GET", "/pieces");
	struct outcome outcome;

	request.bytes = on_piece;
	outcome = (struct outcome){.cancels = true};
	ck_assert_int_eq(net_http_start(http, &request, on_end, &outcome, &outcome.victim), BC_OK);
	loop_run(loop);
	ck_assert(!outcome.called);
	ck_assert_str_eq(outcome.pieces, "first");
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("http");
	TCase *answers = tcase_create("answers");
	TCase *effects = tcase_create("effects");
	TCase *cancels = tcase_create("cancels");

	tcase_set_timeout(answers, 50);
	tcase_add_checked_fixture(answers, set_up, tear_down);
	tcase_add_test(answers, test_answer);
	tcase_add_test(answers, another_ca_is_trusted_from_the_next_request_on);
	tcase_add_test(answers, beside_a_ca_file_the_system_is_not_trusted);
	tcase_add_test(answers, test_connection_is_kept);
	tcase_add_test(answers, test_not_found);
	tcase_add_test(answers, test_redirect_is_an_answer);
	tcase_add_test(answers, test_timeout);
	tcase_add_test(answers, test_refused_port);
	tcase_add_test(answers, test_unresolvable);
	tcase_add_test(answers, test_closed_without_answer);
	tcase_add_test(answers, test_half_an_answer);
	tcase_add_loop_test(answers, test_too_big, 0, 2);
	tcase_add_loop_test(answers, test_body_without_expect, 0, 2);
	tcase_add_test(answers, test_post_without_body_says_so);
	tcase_add_test(answers, test_many);
	tcase_add_test(answers, test_start_in_callback);
	tcase_add_test(answers, test_free_in_callback);
	tcase_add_test(answers, test_invalid);
	tcase_add_test(answers, an_answer_is_handed_out_as_it_comes);
	tcase_add_test(answers, the_body_of_an_error_is_gathered);
	tcase_add_test(answers, pieces_count_towards_the_bound);
	tcase_set_timeout(effects, 50);
	tcase_add_checked_fixture(effects, set_up, tear_down);
	tcase_add_test(effects, test_effect_goes_out_once);
	tcase_add_loop_test(effects, test_effect_without_body_goes_out_once, 0, 3);
	tcase_add_test(effects, test_effect_arrives);
	tcase_add_test(effects, test_read_may_be_sent_again);
	tcase_set_timeout(cancels, 50);
	tcase_add_checked_fixture(cancels, set_up, tear_down);
	tcase_add_test(cancels, test_cancel_at_once);
	tcase_add_test(cancels, test_cancel_in_flight);
	tcase_add_test(cancels, a_call_may_be_cancelled_inside_its_own_piece);
	tcase_add_test(cancels, test_cancel_in_callback);
	tcase_add_test(cancels, test_cancel_of_one_just_finished);
	suite_add_tcase(suite, answers);
	suite_add_tcase(suite, effects);
	suite_add_tcase(suite, cancels);
	return suite;
}

int main(void)
{
	return tap_run(make_suite());
}
