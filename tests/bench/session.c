/*
 * Opening the sessions.  The provider greets each connection by its number; the client that hears it knows its
 * other end, whatever the proxy between them is.
 */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define EVENTS_MAX       512
#define BACKLOG          4096
#define OPENING_MAX      32 /* sessions that are being opened at once */
#define PATIENCE_NS      (60 * (uint64_t)1000000000)
#define PATIENCE_EACH_NS (30 * (uint64_t)1000000) /* and for each session */
#define QUIET_MS         200                      /* nothing came for so long: all has been said */
#define GREETING_MAX     1024

uint64_t bench_now(void)
{
	struct timespec now;

	BC_BUG_ON(clock_gettime(CLOCK_MONOTONIC, &now) != 0);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bench_fail(struct bench *bench, const char *format, ...)
{
	va_list args;

	if (bench_failed(bench)) {
		return;
	}
	va_start(args, format);
	(void)vsnprintf(bench->failure, sizeof(bench->failure), format, args);
	va_end(args);
}

void bench_open(struct bench *bench, size_t sessions)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	socklen_t len = sizeof(address);

	bench->wanted = sessions;
	bench->clients = calloc(sessions, sizeof(*bench->clients));
	bench->servers = calloc(sessions, sizeof(*bench->servers));
	bench->epoll = epoll_create1(EPOLL_CLOEXEC);
	bench->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bench->clients == NULL || bench->servers == NULL || bench->epoll < 0 ||
	    bind(bench->listener, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(bench->listener, BACKLOG) != 0 ||
	    getsockname(bench->listener, (struct sockaddr *)&address, &len) != 0 ||
	    epoll_ctl(bench->epoll, EPOLL_CTL_ADD, bench->listener, &event) != 0) {
		perror("relaybench: cannot listen");
		exit(1);
	}
	bench->port = ntohs(address.sin_port);
}

static void accept_one(struct bench *bench)
{
	int fd = accept4(bench->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED) {
			bench_fail(bench, "accepting failed: %s", strerror(errno));
		}
		return;
	}
	if (bench->accepted == bench->wanted) {
		bench_fail(bench, "the proxy connects more often than clients do");
		return;
	}
	end_accept(bench, &bench->servers[bench->accepted++], fd);
}

int bench_turn(struct bench *bench, int timeout)
{
	struct epoll_event events[EVENTS_MAX];
	int count = epoll_wait(bench->epoll, events, EVENTS_MAX, timeout);

	for (int i = 0; i < count && !bench_failed(bench); i++) {
		if (events[i].data.ptr == NULL) {
			accept_one(bench);
		} else {
			end_act(bench, events[i].data.ptr, events[i].events);
		}
	}
	return count;
}

void session_opened(struct bench *bench, struct end *end)
{
	char text[GREETING_MAX];

	if (end->is_client) {
		return;
	}
	(void)snprintf(
		text, sizeof(text),
		"{\"type\":\"session.created\",\"event_id\":\"event_created\",\"session\":{"
		"\"type\":\"realtime\",\"object\":\"realtime.session\",\"id\":\"sess_%zu\","
		"\"model\":\"bench\",\"tools\":[],\"tool_choice\":\"auto\","
		"\"audio\":{\"input\":{\"format\":{\"type\":\"audio/pcm\",\"rate\":24000}}}}}",
		(size_t)(end - bench->servers));
	end_say(bench, end, text);
}

static void meet(struct bench *bench, struct end *client, struct bc_span text)
{
	static const char id[] = "\"sess_";
	const char *at = memmem(text.ptr, text.len, id, sizeof(id) - 1);
	size_t number = bench->wanted;

	if (at != NULL) {
		number = strtoul(at + sizeof(id) - 1, NULL, 10); /* a quote ends it */
	}
	if (number >= bench->accepted || bench->servers[number].twin != NULL) {
		bench_fail(bench, "a client was greeted by nobody");
		return;
	}
	client->twin = &bench->servers[number];
	client->twin->twin = client;
	bench->ready++;
}

void session_text(struct bench *bench, struct end *end, struct bc_span text)
{
	static const char update[] = "\"session.update\"";

	if (end->is_client) {
		if (end->twin == NULL) {
			meet(bench, end, text);
		}
		return;
	}
	/* A gateway that offers tools of its own: a provider says that it took them. */
	if (memmem(text.ptr, text.len, update, sizeof(update) - 1) != NULL) {
		end_say(bench, end,
			"{\"type\":\"session.updated\",\"event_id\":\"event_updated\",\"session\":{"
			"\"type\":\"realtime\",\"object\":\"realtime.session\",\"tools\":[],"
			"\"audio\":{\"input\":{\"format\":{\"type\":\"audio/pcm\",\"rate\":24000}}}}}");
	}
}

void bench_connect(struct bench *bench, uint16_t proxy_port)
{
	uint64_t deadline = bench_now() + PATIENCE_NS + bench->wanted * PATIENCE_EACH_NS;

	bench->proxy_port = proxy_port;
	while (bench->ready < bench->wanted && !bench_failed(bench)) {
		while (bench->begun < bench->wanted && bench->begun < bench->ready + OPENING_MAX) {
			end_connect(bench, &bench->clients[bench->begun++]);
		}
		(void)bench_turn(bench, 1000);
		if (bench_now() > deadline) {
			bench_fail(bench, "only %zu of %zu sessions were opened", bench->ready,
				   bench->wanted);
		}
	}
	while (!bench_failed(bench) && bench_turn(bench, QUIET_MS) > 0) {
	}
}
