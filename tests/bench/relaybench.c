/*
 * The load generator of `make bench-relay`, told what to do by lines on stdin; each is answered by one line of JSON.
 *
 * usage: relaybench SESSIONS none|client|both CERTIFICATE KEY [CORE]
 *
 *                                         {"port": where the provider listens}
 *   connect PORT PID...                   open all sessions through the proxy with these processes
 *   run BYTES RATE WARM SECONDS           send messages; RATE 0 is saturation
 *
 * After a failure it says {"error": ...} and ends.
 */
#include "tests/bench/load.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/ssl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 1024

struct generator {
	struct bench bench;
	pid_t pids[LOAD_PIDS_MAX];
	size_t pid_count;
};

static void usage(void)
{
	(void)fputs("usage: relaybench SESSIONS none|client|both CERTIFICATE KEY [CORE]\n", stderr);
	exit(2);
}

static unsigned long number(const char *text, unsigned long max)
{
	char *rest;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &rest, 10);
	if (errno != 0 || rest == text || *rest != '\0' || value > max) {
		(void)fprintf(stderr, "relaybench: %s is no number up to %lu\n", text, max);
		exit(2);
	}
	return value;
}

static double seconds(const char *text)
{
	char *rest;
	double value = strtod(text, &rest);

	if (rest == text || *rest != '\0' || !(value >= 0)) {
		(void)fprintf(stderr, "relaybench: %s is no number\n", text);
		exit(2);
	}
	return value;
}

static void pin(unsigned long core)
{
	cpu_set_t cores;

	CPU_ZERO(&cores);
	CPU_SET(core, &cores);
	if (sched_setaffinity(0, sizeof(cores), &cores) != 0) {
		perror("relaybench: sched_setaffinity");
		exit(1);
	}
}

static SSL_CTX *make_tls(const SSL_METHOD *method, const char *certificate, const char *key)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	BC_BUG_ON(ctx == NULL);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1); /* the generator is to be cheap */
	if (certificate != NULL && (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1 ||
				    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)) {
		(void)fprintf(stderr, "relaybench: cannot use %s and %s\n", certificate, key);
		exit(1);
	}
	return ctx;
}

/* Say the failure and end, if there is one. */
static void check(const struct bench *bench)
{
	if (!bench_failed(bench)) {
		return;
	}
	(void)printf("{\"error\": \"");
	for (const char *at = bench->failure; *at != '\0'; at++) {
		/* Whatever the proxy said stands in it. */
		(void)putchar(*at < ' ' || *at > '~' || *at == '"' || *at == '\\' ? '?' : *at);
	}
	(void)printf("\"}\n");
	(void)fflush(stdout);
	exit(1);
}

/* The next word of the command; the process ends without one. */
static const char *word(char **rest)
{
	const char *found = strtok_r(NULL, " \n", rest);

	if (found == NULL) {
		(void)fputs("relaybench: the command lacks a word\n", stderr);
		exit(2);
	}
	return found;
}

static void do_connect(struct generator *generator, char **rest)
{
	struct bench *bench = &generator->bench;
	uint16_t port = (uint16_t)number(word(rest), UINT16_MAX);
	const char *pid;
	uint64_t began;
	uint64_t cpu_ns;
	double cpu;

	while (generator->pid_count < LOAD_PIDS_MAX &&
	       (pid = strtok_r(NULL, " \n", rest)) != NULL) {
		generator->pids[generator->pid_count++] = (pid_t)number(pid, INT32_MAX);
	}
	began = bench_now();
	cpu = load_cpu(bench, generator->pids, generator->pid_count);
	bench_connect(bench, port);
	cpu_ns = (uint64_t)((load_cpu(bench, generator->pids, generator->pid_count) - cpu) * 1e9);
	check(bench);
	(void)printf("{\"sessions\": %zu, \"seconds\": %.3f, \"proxy_cpu_ns\": %" PRIu64
		     ", \"control\": %" PRIu64 "}\n",
		     bench->ready, (double)(bench_now() - began) / 1e9, cpu_ns, bench->control);
}

static void print_histogram(const char *name, const struct histogram *histogram)
{
	(void)printf(", \"%s_p50_us\": %.2f, \"%s_p99_us\": %.2f, \"%s_max_us\": %.2f", name,
		     (double)histogram_quantile(histogram, 0.5) / 1e3, name,
		     (double)histogram_quantile(histogram, 0.99) / 1e3, name,
		     (double)histogram->max / 1e3);
}

static void do_run(struct generator *generator, char **rest)
{
	static struct load_result result;
	struct load_conf conf = {.pids = generator->pids, .pid_count = generator->pid_count};

	conf.len = number(word(rest), 1ul << 24);
	conf.rate = seconds(word(rest));
	conf.warm = seconds(word(rest));
	conf.seconds = seconds(word(rest));
	if (conf.len < PAYLOAD_MIN) {
		usage();
	}
	load_run(&generator->bench, &conf, &result);
	check(&generator->bench);
	(void)printf("{\"up\": %" PRIu64 ", \"down\": %" PRIu64 ", \"seconds\": %.6f, "
		     "\"proxy_cpu_ns\": %.0f, \"bench_cpu_ns\": %.0f, \"sent\": %" PRIu64
		     ", \"arrived\": %" PRIu64 ", \"skipped\": %" PRIu64 ", \"control\": %" PRIu64,
		     result.up, result.down, result.seconds, result.proxy_cpu * 1e9,
		     result.bench_cpu * 1e9, result.sent, result.arrived, result.skipped,
		     generator->bench.control);
	print_histogram("latency", &result.latency);
	print_histogram("late", &result.late);
	(void)printf("}\n");
}

static void command(struct generator *generator, char *line)
{
	char *rest;
	const char *name = strtok_r(line, " \n", &rest);

	if (name != NULL && strcmp(name, "connect") == 0 && generator->bench.begun == 0) {
		do_connect(generator, &rest);
	} else if (name != NULL && strcmp(name, "run") == 0 && generator->bench.ready > 0) {
		do_run(generator, &rest);
	} else {
		(void)fprintf(stderr, "relaybench: cannot %s now\n",
			      name == NULL ? "do nothing" : name);
		exit(2);
	}
	(void)fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct generator generator;
	char line[LINE_MAX_BYTES];

	if (argc < 5 || argc > 6) {
		usage();
	}
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc == 6) {
		pin(number(argv[5], CPU_SETSIZE - 1));
	}
	if (strcmp(argv[2], "none") != 0) {
		generator.bench.client_tls = make_tls(TLS_client_method(), NULL, NULL);
	}
	if (strcmp(argv[2], "both") == 0) {
		generator.bench.server_tls = make_tls(TLS_server_method(), argv[3], argv[4]);
	}
	bench_open(&generator.bench, number(argv[1], 100000));
	(void)printf("{\"port\": %u}\n", (unsigned)generator.bench.port);
	(void)fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		command(&generator, line);
	}
	return 0;
}
