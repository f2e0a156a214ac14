/*
 * A session's life: waiting for the provider, forwarding, limits, the end.
 *
 * Invariants:
 *   S1  The first frame the provider gets is the gateway's own update, if there is one; then the client's messages in
 *       their order.
 *   S2  Nothing is dropped for want of room: whoever produces faster than the other side takes is not read.
 *   S3  After the end nothing is sent and no callback of a tool touches the session.
 */
#include "daemon/session/session.h"

#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = {
#define STATE(id, name) name,
#define EVENT(id, name)
#define EDGE(from, on, to)
#include "daemon/session/sess_fsm.def"
};

static_assert(BC_ARRAY_LEN(state_names) == SESS_STATE__COUNT, "a state has no name");

static enum sess_state next_state(enum sess_state from, enum sess_event on)
{
	switch (BC_FSM_KEY(from, on)) {
#define STATE(id, name)
#define EVENT(id, name)
#define EDGE(from, on, to)                          \
	case BC_FSM_KEY(SESS_##from, SESS_EV_##on): \
		return SESS_##to;
#include "daemon/session/sess_fsm.def"
	default:
		return SESS_STATE__COUNT;
	}
}

const char *sess_state_name(enum sess_state state)
{
	BC_BUG_ON(state >= SESS_STATE__COUNT);
	return state_names[state];
}

void sess_move(struct sess *sess, enum sess_event event)
{
	enum sess_state next = next_state(sess->state, event);

	BC_BUG_ON(next == SESS_STATE__COUNT);
	if (bc_log_wants(BC_LOG_DEBUG)) {
		bc_log(BC_LOG_DEBUG, &sess->log, "session %s -> %s", state_names[sess->state],
		       state_names[next]);
	}
	wait_state(sess);
	sess->state = next;
}

bc_usec sess_now(const struct sess *sess)
{
	return sess->world->now(sess->world_arg);
}

/* ---- reading and writing ---- */

void sess_block(struct sess *sess, enum sess_side side, enum flow_block reason)
{
	if (sess->blocked[side] == 0) {
		sess->world->read(sess->world_arg, side, false);
		bc_metric_inc(side == SESS_CLIENT ? BC_M_FLOW_PAUSES_CLIENT
						  : BC_M_FLOW_PAUSES_UPSTREAM);
	}
	sess->blocked[side] |= reason;
}

void sess_unblock(struct sess *sess, enum sess_side side, enum flow_block reason)
{
	if ((sess->blocked[side] & reason) == 0) {
		return;
	}
	sess->blocked[side] &= ~(unsigned)reason;
	if (sess->blocked[side] == 0) {
		sess->world->read(sess->world_arg, side, true);
	}
}

static enum sess_side other(enum sess_side side)
{
	return side == SESS_CLIENT ? SESS_UPSTREAM : SESS_CLIENT;
}

static bool send_to(struct sess *sess, enum sess_side side, enum ws_opcode opcode,
		    struct bc_span payload)
{
	if (sess->state != SESS_OPEN && !(sess->state == SESS_CONNECTING && side == SESS_CLIENT)) {
		return false;
	}
	if (!sess->world->send(sess->world_arg, side, opcode, payload)) {
		return false;
	}
	sess_block(sess, other(side), FLOW_PEER_SLOW);
	return true;
}

bool sess_to_client(struct sess *sess, struct bc_span text)
{
	return send_to(sess, SESS_CLIENT, WS_TEXT, text);
}

bool sess_to_upstream(struct sess *sess, struct bc_span text)
{
	return send_to(sess, SESS_UPSTREAM, WS_TEXT, text);
}

void sess_drained(struct sess *sess, enum sess_side side)
{
	BC_CHECK(sess, SESS_MAGIC);
	if (sess->state != SESS_ENDED) {
		ledger_drained(sess, side);
		sess_unblock(sess, other(side), FLOW_PEER_SLOW);
	}
}

/* ---- limits ---- */

/* Wake when the nearer of the two limits may be reached. */
static void arm_life(struct sess *sess)
{
	const struct cfg_session *limits = &sess->cfg->session;
	bc_usec now = sess_now(sess);
	bc_usec idle_left = sess->last_message + limits->idle_timeout - now;
	bc_usec life_left = sess->started + limits->lifetime_max - now;

	sess->world->timer(sess->world_arg, SESS_TIMER_LIFE,
			   idle_left < life_left ? idle_left : life_left);
}

/* ---- begin ---- */

static void agent_fini(struct sess *sess)
{
	struct agent *agent = sess->agent;

	if (agent == NULL) {
		return;
	}
	agent->current = NULL;
	step_fini(sess);
	reasoner_fini(agent);
	pass_fini(sess);
	prepare_fini(agent);
	take_fini(agent);
	eager_fini(agent);
	works_fini(sess);
	resp_fini(sess);
	lane_fini(agent);
	tools_fini(agent);
	hear_fini(agent);
	items_fini(&agent->items);
	results_fini(&agent->results);
	json_decref(agent->usage);
	free(agent->transcripts.own);
	free(agent->audio.items);
	free(agent);
	sess->agent = NULL;
}

static enum bc_err agent_new(struct sess *sess, const struct sess_conf *from)
{
	struct agent *agent = calloc(1, sizeof(*agent));

	if (agent == NULL) {
		return BC_E_NOMEM;
	}
	sess->agent = agent;
	items_init(&agent->items);
	pass_init(&agent->passes);
	eager_init(sess, &agent->eager);
	TAILQ_INIT(&agent->updates);
	TAILQ_INIT(&agent->kept);
	TAILQ_INIT(&agent->sent);
	TAILQ_INIT(&agent->late);
	TAILQ_INIT(&agent->steps);
	TAILQ_INIT(&agent->works);
	results_init(&agent->results);
	agent->interrupt_response = true; /* the provider's defaults until it says otherwise */
	agent->create_response = true;
	agent->yielded = calloc(sess->cfg->tool_count, sizeof(*agent->yielded));
	if (agent->yielded == NULL) {
		return BC_E_NOMEM;
	}
	traits_begin(sess, from->traits);
	return guessing_begin(sess, from);
}

enum bc_err sess_new(const struct sess_conf *conf, const struct sess_world *world, void *world_arg,
		     struct sess **ret)
{
	struct sess *sess = calloc(1, sizeof(*sess));

	if (sess == NULL) {
		return BC_E_NOMEM;
	}
	sess->magic = SESS_MAGIC;
	sess->world = world;
	sess->world_arg = world_arg;
	sess->cfg = cfg_ref(conf->cfg);
	sess->upstream = conf->upstream;
	sess->tools = conf->tools == NULL ? NULL : toolset_ref(conf->tools);
	BC_BUG_ON(strlen(conf->id) >= sizeof(sess->log.session));
	memcpy(sess->log.session, conf->id, strlen(conf->id) + 1);
	TAILQ_INIT(&sess->responses);
	bc_buf_init(&sess->start_queue,
		    sess->cfg->session.start_queue_max + sess->cfg->session.message_max + 16);
	if (ledger_new(sess, conf) != BC_OK ||
	    (sess->tools != NULL && agent_new(sess, conf) != BC_OK)) {
		sess_free(sess);
		return BC_E_NOMEM;
	}
	sess->started = sess_now(sess);
	sess->last_message = sess->started;
	arm_life(sess);
	bc_metric_inc(BC_M_SESSIONS_TOTAL);
	bc_metric_inc(BC_M_SESSIONS_OPEN);
	bc_log(BC_LOG_INFO, &sess->log, "session began client=%s upstream=%s",
	       conf->client == NULL ? "-" : conf->client, sess->upstream->name);
	*ret = sess;
	return BC_OK;
}

struct sess *sess_free(struct sess *sess)
{
	if (sess == NULL) {
		return NULL;
	}
	BC_CHECK(sess, SESS_MAGIC);
	agent_fini(sess);
	resp_fini(sess);
	ledger_free(sess);
	bc_buf_release(&sess->start_queue);
	toolset_unref(sess->tools);
	cfg_unref(sess->cfg);
	if (sess->started != 0) {
		bc_metric_add(BC_M_SESSIONS_OPEN, -1);
	}
	sess->magic = 0;
	free(sess);
	return NULL;
}

/* ---- messages ---- */

static void count(struct sess *sess, enum sess_side side, size_t len)
{
	sess->last_message = sess->ledger->at;
	sess->messages[side]++;
	sess->bytes[side] += len;
	bc_metric_inc(side == SESS_CLIENT ? BC_M_MESSAGES_UP : BC_M_MESSAGES_DOWN);
	bc_metric_add(side == SESS_CLIENT ? BC_M_BYTES_UP : BC_M_BYTES_DOWN, (int64_t)len);
}

/* A client message before the provider is there: opcode, length, payload. */
static void enqueue(struct sess *sess, enum ws_opcode opcode, struct bc_span payload)
{
	uint32_t head[2] = {(uint32_t)opcode, (uint32_t)payload.len};

	if (bc_buf_put(&sess->start_queue, head, sizeof(head)) != BC_OK ||
	    bc_buf_put_span(&sess->start_queue, payload) != BC_OK) {
		bc_metric_inc(BC_M_LIMIT_CLOSES);
		sess_end(sess, BC_E_LIMIT, "gateway_limit",
			 "Too much was sent before the provider could be reached.");
		return;
	}
	if (bc_buf_len(&sess->start_queue) >= sess->cfg->session.start_queue_max) {
		sess_block(sess, SESS_CLIENT, FLOW_START_QUEUE_FULL);
	}
}

static struct oai_envelope read_envelope(enum sess_side side, enum ws_opcode opcode,
					 struct bc_span payload)
{
	if (opcode != WS_TEXT) {
		return (struct oai_envelope){.text = payload, .event = OAI_UNKNOWN};
	}
	return oai_envelope(payload, side == SESS_CLIENT ? OAI_CLIENT : OAI_SERVER);
}

static void client_message(struct sess *sess, enum ws_opcode opcode,
			   const struct oai_envelope *envelope)
{
	if (sess->agent != NULL && opcode == WS_TEXT) {
		client_event(sess, envelope);
	} else {
		(void)send_to(sess, SESS_UPSTREAM, opcode,
			      envelope->text); /* pressure is handled inside */
	}
}

static void upstream_message(struct sess *sess, enum ws_opcode opcode,
			     const struct oai_envelope *envelope)
{
	if (sess->agent != NULL && opcode == WS_TEXT) {
		upstream_event(sess, envelope);
		return;
	}
	(void)send_to(sess, SESS_CLIENT, opcode, envelope->text); /* pressure is handled inside */
	upstream_event_note(sess, envelope);
}

void sess_message(struct sess *sess, enum sess_side side, enum ws_opcode opcode,
		  struct bc_span payload)
{
	struct oai_envelope envelope;

	BC_CHECK(sess, SESS_MAGIC);
	if (sess->state == SESS_ENDED) {
		return;
	}
	envelope = read_envelope(side, opcode, payload);
	ledger_message(sess, side, opcode, &envelope);
	count(sess, side, payload.len);
	if (side == SESS_UPSTREAM) {
		upstream_message(sess, opcode, &envelope);
	} else if (!sess->world->charge(sess->world_arg, payload.len)) {
		bc_metric_inc(BC_M_QUOTA_CLOSES);
		sess_end(sess, BC_E_LIMIT, "rate_limit_exceeded",
			 "The client's key or address sends more than it may. Send less.");
	} else if (sess->state == SESS_CONNECTING) {
		enqueue(sess, opcode, payload);
	} else {
		client_message(sess, opcode, &envelope);
	}
}

void sess_upstream_open(struct sess *sess)
{
	struct bc_buf queue;
	struct bc_span rest;

	BC_CHECK(sess, SESS_MAGIC);
	if (sess->state == SESS_ENDED) {
		return; /* the client has left in the same turn of the loop */
	}
	ledger_opened(sess);
	sess_move(sess, SESS_EV_OPENED);
	if (sess->agent != NULL) {
		tools_offer(sess);
	}
	queue = sess->start_queue;
	bc_buf_init(&sess->start_queue, 1);
	rest = bc_buf_span(&queue);
	while (rest.len > 0 && sess->state == SESS_OPEN) {
		struct oai_envelope envelope;
		uint32_t head[2];

		memcpy(head, rest.ptr, sizeof(head));
		envelope = read_envelope(SESS_CLIENT, (enum ws_opcode)head[0],
					 bc_span(rest.ptr + sizeof(head), head[1]));
		ledger_resumed(sess, envelope.text);
		client_message(sess, (enum ws_opcode)head[0], &envelope);
		rest = bc_span(rest.ptr + sizeof(head) + head[1],
			       rest.len - sizeof(head) - head[1]);
	}
	bc_buf_release(&queue);
	sess_unblock(sess, SESS_CLIENT, FLOW_START_QUEUE_FULL);
}

void sess_event_invalid(struct sess *sess, enum sess_side side, const char *what)
{
	bc_metric_inc(BC_M_EVENTS_INVALID);
	bc_log(BC_LOG_DEBUG, &sess->log,
	       "%s sent an event that cannot be understood (%s), forwarding",
	       side == SESS_CLIENT ? "client" : "provider", what);
}

/* ---- end ---- */

static void finish(struct sess *sess, const char *why)
{
	bc_usec now = sess_now(sess);

	for (int i = 0; i < SESS_TIMER__COUNT; i++) {
		sess->world->timer(sess->world_arg, (enum sess_timer)i, -1);
	}
	sess_move(sess, SESS_EV_END);
	bc_log(BC_LOG_INFO, &sess->log,
	       "session ended why=\"%s\" seconds=%.3f messages_up=%" PRIu64
	       " messages_down=%" PRIu64 " bytes_up=%" PRIu64 " bytes_down=%" PRIu64,
	       why, (double)(now - sess->started) / (double)BC_USEC_PER_SEC,
	       sess->messages[SESS_CLIENT], sess->messages[SESS_UPSTREAM], sess->bytes[SESS_CLIENT],
	       sess->bytes[SESS_UPSTREAM]);
	sess->world->ended(sess->world_arg);
}

static void send_error(struct sess *sess, enum bc_err err, const char *code, const char *message)
{
	struct oai_error error = {.type = err == BC_E_REFUSED ? "invalid_request_error"
							      : "server_error",
				  .code = code,
				  .message = bc_span_str(message)};
	struct bc_buf text;

	bc_buf_init(&text, 16384);
	if (oai_error_put(&text, &error) == BC_OK) {
		(void)sess_to_client(
			sess, bc_buf_span(&text)); /* the session ends: no pressure to heed */
	}
	bc_buf_release(&text);
}

void sess_end(struct sess *sess, enum bc_err err, const char *code, const char *message)
{
	unsigned close_code = bc_err_close_code(err);

	if (sess->state == SESS_ENDED) {
		return;
	}
	resp_fail_open(sess, code, message);
	send_error(sess, err, code, message);
	sess->world->close(sess->world_arg, SESS_CLIENT,
			   (uint16_t)(close_code == 0 ? 1011 : close_code), bc_span_str(code));
	sess->world->close(sess->world_arg, SESS_UPSTREAM, WS_CLOSE_GOING_AWAY, BC_SPAN_LIT(""));
	finish(sess, code);
}

void sess_upstream_failed(struct sess *sess, enum bc_err err, unsigned status, const char *detail)
{
	char message[256];

	BC_CHECK(sess, SESS_MAGIC);
	if (sess->state == SESS_ENDED) {
		return;
	}
	ledger_failed(sess, err, status, detail);
	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider %s could not be reached (%s, HTTP status %u): %s, ending the session",
	       sess->upstream->name, bc_err_name(err), status, detail);
	if (err == BC_E_REFUSED) {
		(void)snprintf(
			message, sizeof(message),
			"The provider refused the gateway's connection with HTTP status %u. Trying again will not help.",
			status);
		sess_end(sess, BC_E_REFUSED, "upstream_refused", message);
	} else if (err == BC_E_TIMEOUT) {
		sess_end(sess, BC_E_TIMEOUT, "upstream_timeout",
			 "The provider did not answer in time. Try again later.");
	} else {
		sess_end(sess, BC_E_UPSTREAM, "upstream_unavailable",
			 "The provider cannot be reached at the moment. Try again later.");
	}
}

static void upstream_gone(struct sess *sess, enum bc_err err, uint16_t code, struct bc_span reason)
{
	if (err == BC_OK && code != WS_CLOSE_NO_STATUS && code != WS_CLOSE_ABNORMAL) {
		/* The provider has said why: its words are passed on. */
		resp_fail_open(sess, "upstream_closed", "The provider closed the session.");
		sess->world->close(sess->world_arg, SESS_CLIENT, code, reason);
		sess->world->close(sess->world_arg, SESS_UPSTREAM, code, BC_SPAN_LIT(""));
		finish(sess, "provider closed");
		return;
	}
	bc_metric_inc(BC_M_UPSTREAM_LOST);
	sess_end(sess, BC_E_UPSTREAM, "upstream_lost",
		 "The connection to the provider was lost. Try again later.");
}

void sess_closed(struct sess *sess, enum sess_side side, enum bc_err err, uint16_t code,
		 struct bc_span reason)
{
	BC_CHECK(sess, SESS_MAGIC);
	if (sess->state == SESS_ENDED) {
		return;
	}
	ledger_closed(sess, side, err, code, reason);
	if (side == SESS_UPSTREAM) {
		eager_lost(sess);
		upstream_gone(sess, err, code, reason);
		return;
	}
	if (code == WS_CLOSE_NO_STATUS) {
		code = WS_CLOSE_NORMAL;
	} else if (code == WS_CLOSE_ABNORMAL) {
		code = WS_CLOSE_GOING_AWAY;
	}
	sess->world->close(sess->world_arg, SESS_UPSTREAM, code, reason);
	sess->world->close(sess->world_arg, SESS_CLIENT, code, BC_SPAN_LIT(""));
	finish(sess, err == BC_OK ? "client closed" : bc_err_name(err));
}

void sess_shut_down(struct sess *sess)
{
	BC_CHECK(sess, SESS_MAGIC);
	ledger_shut_down(sess);
	sess_end(sess, BC_E_CLOSED, "gateway_shutdown",
		 "The gateway is shutting down. Connect again.");
}

static void check_life(struct sess *sess)
{
	const struct cfg_session *limits = &sess->cfg->session;
	bc_usec now = sess_now(sess);

	if (now - sess->started >= limits->lifetime_max) {
		bc_metric_inc(BC_M_LIMIT_CLOSES);
		sess_end(sess, BC_E_CLOSED, "session_expired",
			 "The session has reached its longest duration.");
	} else if (now - sess->last_message >= limits->idle_timeout) {
		bc_metric_inc(BC_M_LIMIT_CLOSES);
		sess_end(sess, BC_E_CLOSED, "session_idle",
			 "The session carried no message for too long.");
	} else {
		arm_life(sess);
	}
}

void sess_timer_fired(struct sess *sess, enum sess_timer which)
{
	BC_CHECK(sess, SESS_MAGIC);
	if (sess->state == SESS_ENDED) {
		return;
	}
	ledger_timer(sess, which);
	switch (which) {
	case SESS_TIMER_LIFE:
		check_life(sess);
		break;
	case SESS_TIMER_STEP:
		step_advance(sess);
		break;
	case SESS_TIMER_OWED:
		sess->agent->answer_expected = false;
		lane_pump(sess);
		break;
	case SESS_TIMER_CONFIRM:
		take_wait_ends(sess);
		lane_pump(sess);
		break;
	case SESS_TIMER_GATE:
		take_advance(sess);
		break;
	case SESS_TIMER_WORDS:
		words_timer(sess);
		break;
	case SESS_TIMER_EAGER:
		eager_timer(sess);
		break;
	case SESS_TIMER_DEADLINE:
		deadlines_fired(sess);
		break;
	case SESS_TIMER__COUNT:
		BC_BUG_ON(true);
	}
}
