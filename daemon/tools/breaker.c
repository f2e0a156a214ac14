#include "daemon/tools/breaker.h"

#include "daemon/base/bug.h"
#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/base/span.h"
#include "daemon/config/config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum breaker_state breaker_state_next(enum breaker_state from, enum breaker_event on)
{
	switch (BC_FSM_KEY(from, on)) {
#define STATE(id, help)
#define EVENT(id, help)
#define EDGE(from, on, to)                                   \
	case BC_FSM_KEY(BREAKER_##from, BREAKER_EVENT_##on): \
		return BREAKER_##to;
#include "daemon/tools/breaker_fsm.def"
	default:
		return BREAKER_STATE__COUNT;
	}
}

/* The only writer of state. */
static void breaker_move(struct breaker *breaker, enum breaker_event on)
{
	enum breaker_state next = breaker_state_next(breaker->state, on);

	BC_BUG_ON(next == BREAKER_STATE__COUNT);
	breaker->state = next;
}

static bool ends_with(struct bc_span text, struct bc_span end)
{
	return text.len >= end.len && memcmp(text.ptr + text.len - end.len, end.ptr, end.len) == 0;
}

/* Scheme, host and port, into url.  Source: RFC 6454 section 4. */
static struct bc_span origin_of(const char *url)
{
	const char *scheme_end = strstr(url, "://");
	size_t host = scheme_end == NULL ? 0 : (size_t)(scheme_end - url) + 3;
	struct bc_span origin = bc_span(url, host + strcspn(url + host, "/?#"));
	struct bc_span port =
		strncasecmp(url, "https:", 6) == 0 ? BC_SPAN_LIT(":443") : BC_SPAN_LIT(":80");

	if (ends_with(origin, port)) {
		origin.len -= port.len;
	}
	return origin;
}

static struct breaker *find(const struct breaker_list *list, const char *url)
{
	struct bc_span origin = origin_of(url);
	struct breaker *breaker;

	LIST_FOREACH(breaker, list, link)
	{
		if (strlen(breaker->origin) == origin.len &&
		    strncasecmp(breaker->origin, origin.ptr, origin.len) == 0) {
			return breaker;
		}
	}
	return NULL;
}

static struct breaker *find_or_make(struct breaker_list *list, const char *url)
{
	struct breaker *breaker = find(list, url);

	if (breaker != NULL) {
		return breaker;
	}
	breaker = calloc(1, sizeof(*breaker));
	if (breaker == NULL) {
		return NULL;
	}
	breaker->origin = bc_span_dup(origin_of(url));
	if (breaker->origin == NULL) {
		free(breaker);
		return NULL;
	}
	LIST_INSERT_HEAD(list, breaker, link);
	return breaker;
}

static void drop(struct breaker *breaker)
{
	LIST_REMOVE(breaker, link);
	free(breaker->origin);
	free(breaker);
}

/* For a log line: host and port. */
static const char *server_of(const struct breaker *breaker)
{
	const char *scheme_end = strstr(breaker->origin, "://");

	return scheme_end == NULL ? breaker->origin : scheme_end + 3;
}

bool breaker_refuses(const struct breaker_list *list, const char *url, bc_usec at)
{
	const struct breaker *breaker = find(list, url);

	if (breaker == NULL) {
		return false;
	}
	return breaker->state == BREAKER_HALF_OPEN ||
	       (breaker->state == BREAKER_OPEN && at < breaker->until);
}

bool breaker_enter(struct breaker_list *list, const char *url, bc_usec now)
{
	struct breaker *breaker = find(list, url);

	BC_BUG_ON(breaker_refuses(list, url, now));
	if (breaker == NULL || breaker->state == BREAKER_CLOSED) {
		return false;
	}
	breaker_move(breaker, BREAKER_EVENT_PROBE);
	return true;
}

static void open_breaker(struct breaker *breaker, enum breaker_event on,
			 const struct cfg_tools *limits, bc_usec now)
{
	bc_usec pause = limits->breaker_cooldown;
	unsigned i;

	for (i = 0; i < breaker->openings && pause < BREAKER_COOLDOWN_MAX; i++) {
		pause *= 2;
	}
	pause = pause > BREAKER_COOLDOWN_MAX ? BREAKER_COOLDOWN_MAX : pause;
	breaker->openings++;
	breaker->until = now + pause;
	breaker_move(breaker, on);
	bc_metric_inc(BC_M_BREAKER_OPENED);
	bc_log(BC_LOG_WARNING, NULL, "tool server %s %s, leaving it alone for %lld ms",
	       server_of(breaker), on == BREAKER_EVENT_TRIP ? "keeps failing" : "still fails",
	       (long long)(pause / BC_USEC_PER_MS));
}

static void report_failure(struct breaker_list *list, const struct breaker_outcome *outcome,
			   const struct cfg_tools *limits, bc_usec now)
{
	struct breaker *breaker;

	if (limits->breaker_failures == 0) {
		return;
	}
	breaker = find_or_make(list, outcome->url);
	if (breaker == NULL || breaker->state != BREAKER_CLOSED) {
		return;
	}
	breaker->failures++;
	if (breaker->failures >= limits->breaker_failures) {
		open_breaker(breaker, BREAKER_EVENT_TRIP, limits, now);
	}
}

static void report_probe(struct breaker *breaker, bool good, const struct cfg_tools *limits,
			 bc_usec now)
{
	BC_BUG_ON(breaker == NULL);
	if (!good) {
		open_breaker(breaker, BREAKER_EVENT_FAIL, limits, now);
		return;
	}
	breaker_move(breaker, BREAKER_EVENT_SUCCEED);
	bc_log(BC_LOG_NOTICE, NULL, "tool server %s works again", server_of(breaker));
	drop(breaker);
}

void breaker_report(struct breaker_list *list, const struct breaker_outcome *outcome,
		    const struct cfg_tools *limits, bc_usec now)
{
	struct breaker *breaker = find(list, outcome->url);

	if (outcome->probe) {
		report_probe(breaker, outcome->good, limits, now);
	} else if (!outcome->good) {
		report_failure(list, outcome, limits, now);
	} else if (breaker != NULL && breaker->state == BREAKER_CLOSED) {
		drop(breaker);
	}
}

void breaker_abandon(struct breaker_list *list, const char *url)
{
	struct breaker *breaker = find(list, url);

	BC_BUG_ON(breaker == NULL);
	breaker_move(breaker, BREAKER_EVENT_ABANDON);
}

void breaker_list_clear(struct breaker_list *list)
{
	struct breaker *breaker;

	while ((breaker = LIST_FIRST(list)) != NULL) {
		drop(breaker);
	}
}
