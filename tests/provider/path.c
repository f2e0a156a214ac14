/*
 * The way between a client and us takes time in both directions.  Messages wait in one queue for all sessions: the
 * delay is the same for each, so the first one is always the next.
 */
#include "tests/provider/session.h"

#include <stdlib.h>
#include <string.h>

enum parcel_kind {
	PARCEL_IN,
	PARCEL_OUT,
	PARCEL_CLOSE, /* text is the reason */
	PARCEL_ABORT
};

struct parcel {
	TAILQ_ENTRY(parcel) link;
	ev_tstamp due;
	struct session *session;
	enum parcel_kind kind;
	uint16_t code;
	size_t len;
	char text[];
};

static void deliver(struct session *session, enum parcel_kind kind, uint16_t code,
		    struct bc_span text)
{
	char reason[128];

	switch (kind) {
	case PARCEL_IN:
		session_message(session, text);
		return;
	case PARCEL_OUT:
		wire_send(session->wire, text);
		return;
	case PARCEL_CLOSE:
		snprintf(reason, sizeof(reason), "%.*s", BC_SPAN_ARG(text));
		wire_close(session->wire, code, reason);
		return;
	case PARCEL_ABORT:
		wire_abort(session->wire);
		return;
	}
}

static void timer_arm(struct provider *provider)
{
	struct path *path = &provider->path;
	struct parcel *first = TAILQ_FIRST(&path->parcels);
	double wait;

	ev_timer_stop(provider->loop, &path->timer);
	if (first != NULL) {
		wait = first->due - ev_now(provider->loop);
		ev_timer_set(&path->timer, wait > 0.0 ? wait : 0.0, 0.);
		ev_timer_start(provider->loop, &path->timer);
	}
}

static void timer_fired(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct provider *provider = timer->data;
	struct parcel *parcel;

	(void)events;
	while ((parcel = TAILQ_FIRST(&provider->path.parcels)) != NULL &&
	       parcel->due <= ev_now(loop) + 1e-6) {
		TAILQ_REMOVE(&provider->path.parcels, parcel, link);
		deliver(parcel->session, parcel->kind, parcel->code,
			bc_span(parcel->text, parcel->len));
		free(parcel);
	}
	timer_arm(provider);
}

static void send_off(struct session *session, enum parcel_kind kind, uint16_t code,
		     struct bc_span text)
{
	struct provider *provider = session->provider;
	struct path *path = &provider->path;
	struct parcel *parcel;

	if (path->seconds <= 0.0) {
		deliver(session, kind, code, text);
		return;
	}
	parcel = malloc(sizeof(*parcel) + text.len);
	BC_BUG_ON(parcel == NULL);
	*parcel = (struct parcel){.due = ev_now(provider->loop) + path->seconds,
				  .session = session,
				  .kind = kind,
				  .code = code,
				  .len = text.len};
	if (text.len > 0) {
		memcpy(parcel->text, text.ptr, text.len);
	}
	TAILQ_INSERT_TAIL(&path->parcels, parcel, link);
	if (TAILQ_FIRST(&path->parcels) == parcel) {
		timer_arm(provider);
	}
}

void path_in(struct session *session, struct bc_span text)
{
	send_off(session, PARCEL_IN, 0, text);
}

void path_out(struct session *session, struct bc_span text)
{
	send_off(session, PARCEL_OUT, 0, text);
}

void path_close(struct session *session, uint16_t code, const char *reason)
{
	send_off(session, PARCEL_CLOSE, code, bc_span_str(reason));
}

void path_abort(struct session *session)
{
	send_off(session, PARCEL_ABORT, 0, bc_span_str(""));
}

static struct parcel *parcel_of(const struct session *session, struct parcel *from)
{
	while (from != NULL && from->session != session) {
		from = TAILQ_NEXT(from, link);
	}
	return from;
}

void path_end(struct session *session)
{
	struct path *path = &session->provider->path;
	struct parcel *parcel = parcel_of(session, TAILQ_FIRST(&path->parcels));

	/* What the client had sent arrives although it is gone; that may add parcels at the end. */
	while (parcel != NULL) {
		struct parcel *next = parcel_of(session, TAILQ_NEXT(parcel, link));

		if (parcel->kind == PARCEL_IN) {
			session_message(session, bc_span(parcel->text, parcel->len));
		}
		TAILQ_REMOVE(&path->parcels, parcel, link);
		free(parcel);
		parcel = next;
	}
	while ((parcel = parcel_of(session, TAILQ_FIRST(&path->parcels))) != NULL) {
		TAILQ_REMOVE(&path->parcels, parcel, link);
		free(parcel);
	}
}

void path_init(struct provider *provider)
{
	struct path *path = &provider->path;

	TAILQ_INIT(&path->parcels);
	ev_timer_init(&path->timer, timer_fired, 0., 0.);
	path->timer.data = provider;
	path->seconds = provider_seconds(provider, provider->options.rtt / 2.0);
}

double path_beside(const struct provider *provider, double seconds)
{
	double inside = provider->options.rtt < provider->timing.rtt_provider
				? provider->options.rtt
				: provider->timing.rtt_provider;

	return seconds > inside ? seconds - inside : 0.0;
}
