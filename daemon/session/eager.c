/*
 * Eager turns: the provider ends the caller's turn after a shorter silence than the client asked for, and what it makes of
 * it is kept back until the client's own silence has passed.  If the caller goes on within that window, nothing of it is
 * ever shown: the turn is split into two items, and the response that came too early leaves the conversation.
 *
 *   speech ends        provider's silence           client's silence
 *       |---------------------|------ window -------------|
 *                             events are kept             events are shown
 *
 * Invariants:
 *   E1  Events of the conversation are handled in the order in which they came, whether they were kept or not.
 *   E2  While the window is open the turn counts as not ended: nothing is committed, taken over or released.
 *   E3  A response of a turn that went on is never shown, runs no tool, and is deleted when it has ended.
 *   E4  No answer is shown before the window's end, however much of it there is: one that is too long to be kept counts as
 *       one of a turn that went on, and is asked for again at the window's end.  Nothing else that is kept is ever lost.
 *   E5  While the caller speaks on in a turn that was split, nobody asks for a response in the conversation: it would be made
 *       of half a turn, and its calls would be real.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX (1u << 20) /* bytes of events kept, but for the last one; then no more are read */
/* The caller is heard at the window's end: how often, and how long, the provider's own word is waited for. */
#define AGAIN_MAX 5
#define AGAIN     (60 * BC_USEC_PER_MS)
/* The provider says that speech is over so long after it must have heard the silence, or has forgotten the speech. */
#define LOST_AFTER (2 * BC_USEC_PER_SEC)

void eager_init(struct sess *sess, struct eager *eager)
{
	bc_buf_init(&eager->queue, QUEUE_MAX + sess->cfg->session.message_max + 1);
}

void eager_fini(struct agent *agent)
{
	bc_buf_release(&agent->eager.queue);
	free(agent->eager.own);
	free(agent->eager.answer);
}

/* ---- the provider's silence ---- */

static bc_usec silence_of(struct bc_span detection)
{
	json_t *object = json_parse(detection);
	json_t *silence = json_object_get(object, "silence_duration_ms");
	bc_usec ms = json_is_integer(silence) ? json_integer_value(silence) : 0;

	json_decref(object);
	return ms < 0 || ms > 60000 ? 0 : ms * BC_USEC_PER_MS;
}

/* These settings with another silence, raw JSON, heap; NULL when out of memory. */
static char *with_silence(struct bc_span detection, bc_usec silence)
{
	struct rewrite rewrite;
	struct bc_buf changed;
	char *text = NULL;
	char number[24];

	(void)snprintf(number, sizeof(number), "%lld", (long long)(silence / BC_USEC_PER_MS));
	rewrite_begin(&rewrite, detection);
	rewrite_set(&rewrite, detection, "silence_duration_ms", bc_span_str(number));
	if (rewrite_end(&rewrite, &changed)) {
		text = bc_span_dup(bc_buf_span(&changed));
	}
	bc_buf_release(&changed);
	return text;
}

/* Only where the provider itself begins answers and breaks them off: with both flags, and a silence that is a number. */
static bool fits(const struct sess *sess, struct bc_span detection)
{
	bc_usec least = sess->cfg->speculation.eager_silence + 50 * BC_USEC_PER_MS;

	return detection.len > 0 && detection.ptr[0] == '{' &&
	       field_is(detection, "type", "server_vad") &&
	       !bc_span_is(field_raw(detection, "create_response"), "false") &&
	       !bc_span_is(field_raw(detection, "interrupt_response"), "false") &&
	       silence_of(detection) >= least;
}

static void send_detection(struct sess *sess, struct bc_span detection)
{
	struct bc_buf members;

	bc_buf_init(&members, detection.len + 1024);
	if (bc_buf_printf(&members, "\"audio\":{\"input\":{\"turn_detection\":%.*s}}",
			  BC_SPAN_ARG(detection)) == BC_OK &&
	    bc_buf_put(&members, "", 1) == BC_OK) {
		sess->agent->eager.asked +=
			tools_send_update(sess, bc_buf_span(&members).ptr, UPDATE_DETECTION);
	}
	bc_buf_release(&members);
}

/* Ask the provider for the client's own settings with the shorter silence. */
static void ask(struct sess *sess, struct bc_span detection)
{
	char *shorter = with_silence(detection, sess->cfg->speculation.eager_silence);

	if (shorter != NULL) {
		send_detection(sess, bc_span_str(shorter));
	}
	free(shorter);
}

/* Whether a silence is as the gateway wants it.  The client itself may want just that; updates are answered in order. */
static bool is_ours(const struct sess *sess, struct bc_span detection)
{
	const struct update *update = TAILQ_FIRST(&sess->agent->updates);
	bool client_said_so = update != NULL && !update->gateway && update->silence;

	return sess->agent->eager.own != NULL && detection.len > 0 && detection.ptr[0] == '{' &&
	       silence_of(detection) == sess->cfg->speculation.eager_silence && !client_said_so;
}

/* The client may have changed the rest of them, and not the silence. */
static void keep_own(struct eager *eager, struct bc_span detection)
{
	char *own = with_silence(detection, eager->silence);

	if (own != NULL) {
		free(eager->own);
		eager->own = own;
	}
}

/* A provider may forget the speech under way when it is told of other settings, and with it the turn (U6). */
static bool caller_speaks(const struct sess *sess)
{
	const struct agent *agent = sess->agent;

	return agent->speech || (agent->hearing.on && agent->hearing.detector.speech);
}

void eager_turn_over(struct sess *sess)
{
	struct eager *eager = &sess->agent->eager;

	if (!eager->later || caller_speaks(sess)) {
		return;
	}
	eager->later = false;
	if (eager->off) {
		send_detection(sess, bc_span_str(eager->own));
	} else {
		ask(sess, bc_span_str(eager->own));
	}
}

void eager_configure(struct sess *sess, struct bc_span detection)
{
	struct eager *eager = &sess->agent->eager;
	bool ours = is_ours(sess, detection);

	if (!sess->cfg->speculation.eager_turn || sess->agent->spec == NULL || detection.len == 0) {
		return;
	}
	eager->armed = ours;
	if (ours) {
		keep_own(eager, detection);
	}
	if (ours || (!eager->off && eager->asked > 0 && silence_of(detection) == eager->silence)) {
		return; /* as wanted, or an answer from before our request */
	}
	free(eager->own);
	eager->own = NULL;
	eager->later = false;
	if (!eager->off && fits(sess, detection) && (eager->own = field_dup(detection)) != NULL) {
		eager->silence = silence_of(detection);
		eager->later = true;
		eager_turn_over(sess);
	}
}

void eager_answered(struct sess *sess)
{
	struct eager *eager = &sess->agent->eager;

	eager->asked -= eager->asked > 0;
	if (eager->off) {
		return;
	}
	if (eager->armed) {
		/* The caller has begun to speak before the provider had the request. */
		eager->watched = sess->agent->speech;
		eager->silent_since = 0;
	} else if (eager->asked == 0 && eager->own != NULL && !eager->later) {
		eager_refused(sess); /* it says yes and does not do it */
	}
}

static void give_up(struct sess *sess)
{
	sess->agent->eager.off = true; /* also where the operator knows better */
	sess->agent->eager.watched = false;
	trait_notice(sess, TRAIT_SHORT_SILENCE, 0);
}

void eager_refused(struct sess *sess)
{
	struct eager *eager = &sess->agent->eager;

	give_up(sess);
	eager->armed = false;
	eager->later = false;
	free(eager->own);
	eager->own = NULL;
	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider refused a shorter silence, ending turns as the client asked for");
}

/* ---- a request that fell into the caller's speech (U6) ---- */

/* The provider has forgotten it.  What it will make of these words nobody can tell, so they are not guessed on. */
static void speech_lost(struct sess *sess)
{
	struct eager *eager = &sess->agent->eager;

	bc_log(BC_LOG_WARNING, &sess->log,
	       "provider has lost what the caller was saying when it was asked for a shorter silence, ending turns as the client asked for");
	give_up(sess);
	hear_forgotten(sess);
	eager->later = eager->own != NULL;
	eager_turn_over(sess);
}

/* What the provider says of that speech. */
static void follow_speech(struct sess *sess, enum oai_event event)
{
	switch ((int)event) {
	case OAI_INPUT_AUDIO_BUFFER_SPEECH_STARTED:
		speech_lost(sess); /* it had begun already */
		break;
	case OAI_INPUT_AUDIO_BUFFER_SPEECH_STOPPED:
	case OAI_INPUT_AUDIO_BUFFER_COMMITTED:
	case OAI_INPUT_AUDIO_BUFFER_CLEARED:
		sess->agent->eager.watched = false;
		break;
	default:
		break;
	}
}

void eager_listen(struct sess *sess)
{
	const struct hearing *hearing = &sess->agent->hearing;
	struct eager *eager = &sess->agent->eager;
	bc_usec patience = eager->silence + LOST_AFTER;
	bc_usec now = sess_now(sess);

	if (hearing->detector.speech || !hearing->turn_open || !hearing->spoken) {
		eager->silent_since = 0; /* or the provider hears what the gateway does not */
		return;
	}
	if (eager->silent_since == 0) {
		eager->silent_since = now;
	}
	/* By the clock, because its word takes its way; by the stream, because it must have heard the silence. */
	if (now - eager->silent_since >= patience && hear_quiet(sess) >= patience &&
	    sess->blocked[SESS_UPSTREAM] == 0) {
		lane_speech(sess, false);
		speech_lost(sess);
		lane_pump(sess);
	}
}

void eager_show(const struct sess *sess, struct rewrite *rewrite, struct bc_span session)
{
	struct bc_span detection =
		field_raw(field_raw(field_raw(session, "audio"), "input"), "turn_detection");
	const struct eager *eager = &sess->agent->eager;

	if (eager->armed && eager->own != NULL && detection.len > 0) {
		rewrite_replace(rewrite, detection, bc_span_str(eager->own));
	}
}

/* ---- the window ---- */

static void flush(struct sess *sess)
{
	struct eager *eager = &sess->agent->eager;
	struct bc_buf queue = eager->queue;
	struct bc_span rest = bc_buf_span(&queue);

	sess->world->timer(sess->world_arg, SESS_TIMER_EAGER, -1);
	eager_init(sess, eager);
	eager->open = false;
	eager->flushing = true;
	while (rest.len > 0 && sess->state == SESS_OPEN) {
		size_t len = strnlen(rest.ptr, rest.len);
		struct oai_envelope envelope = oai_envelope(bc_span(rest.ptr, len), OAI_SERVER);

		upstream_event(sess, &envelope);
		rest = bc_span(rest.ptr + len + 1, rest.len - len - 1);
	}
	bc_buf_release(&queue);
	eager->flushing = false;
	sess_unblock(sess, SESS_UPSTREAM, FLOW_WINDOW_FULL);
}

/* Show what is kept but for what the provider has made of the pause. */
static void flush_hiding(struct sess *sess)
{
	sess->agent->eager.hiding = true;
	sess->agent->eager.hid = false;
	flush(sess);
	sess->agent->eager.hiding = false;
}

/* The turn is over, but not all of its answer is there (E4): another one is asked for. */
static void ask_again(struct sess *sess)
{
	struct agent *agent = sess->agent;

	flush_hiding(sess);
	if (!agent->eager.hid || sess->state != SESS_OPEN) {
		return;
	}
	if (agent->current != NULL && agent->current->unheard && agent->lane == LANE_ACTIVE) {
		lane_cancel(sess, agent->current);
	}
	lane_owe(sess, NULL, false);
}

static void close_window(struct sess *sess)
{
	if (!sess->agent->eager.open) {
		return;
	}
	if (sess->agent->eager.full) {
		ask_again(sess);
	} else {
		flush(sess);
	}
	if (sess->state == SESS_OPEN) {
		take_advance(sess);
		lane_pump(sess);
	}
}

void eager_timer(struct sess *sess)
{
	struct eager *eager = &sess->agent->eager;

	if (sess->agent->hearing.detector.speech && eager->again < AGAIN_MAX) {
		/* The caller is heard before the provider says so: its answer must not begin now. */
		eager->again++;
		sess->world->timer(sess->world_arg, SESS_TIMER_EAGER, AGAIN);
		return;
	}
	close_window(sess);
}

/* The caller goes on: what the provider made of the pause is hidden, and deleted when it has ended (E3). */
static void resume(struct sess *sess)
{
	bc_metric_inc(BC_M_EAGER_RESUMED);
	sess->agent->eager.split = true;
	flush_hiding(sess);
}

void eager_lost(struct sess *sess)
{
	if (sess->agent != NULL && sess->agent->eager.open) {
		flush_hiding(sess);
	}
}

static void open_window(struct sess *sess)
{
	struct eager *eager = &sess->agent->eager;

	bc_metric_inc(BC_M_EAGER_TURNS);
	eager->open = true;
	eager->full = false;
	free(eager->answer);
	eager->answer = NULL;
	eager->again = 0;
	sess->world->timer(sess->world_arg, SESS_TIMER_EAGER,
			   eager->silence - sess->cfg->speculation.eager_silence);
}

void eager_speech_over(struct sess *sess)
{
	struct eager *eager = &sess->agent->eager;

	eager->split = eager->split && eager->hiding;
}

bool eager_is_split(const struct sess *sess)
{
	return sess->agent->eager.split && sess->agent->speech;
}

bool eager_is_over(const struct sess *sess)
{
	const struct eager *eager = &sess->agent->eager;

	return eager->hiding || (eager->armed && sess->agent->speech);
}

/* Whether an event is about a response beside the conversation, a request, or the session: then it keeps nobody waiting. */
static bool stands_apart(struct sess *sess, enum oai_event event, struct bc_span text)
{
	struct bc_span response = field_raw(text, "response");
	const struct resp *resp;
	char id[SESS_ID_MAX];

	switch ((int)event) {
	case OAI_ERROR:
	case OAI_SESSION_UPDATED:
		return true;
	case OAI_RATE_LIMITS_UPDATED:
		return sess->agent->hide_rate_limits;
	case OAI_RESPONSE_CREATED:
		return bc_span_is(field_raw(response, "conversation_id"), "null");
	default:
		break;
	}
	if (!field_id(text, "response_id", id) && !field_id(response, "id", id)) {
		return false;
	}
	resp = resp_find(sess, id);
	return resp != NULL && !resp->default_conversation;
}

void eager_hides(struct sess *sess, struct resp *resp)
{
	sess->agent->eager.hid = true;
	resp->unheard = true;
	resp->unwanted = true;
}

/* ---- what is kept ---- */

static bool put(struct bc_buf *queue, struct bc_span text)
{
	return bc_buf_put_span(queue, text) == BC_OK && bc_buf_put(queue, "", 1) == BC_OK;
}

/* A piece of what is said in the answer that is never shown: nothing else depends on it. */
static bool is_piece(const struct eager *eager, struct bc_span text)
{
	static const char end[] = ".delta";
	size_t len = sizeof(end) - 1;
	struct bc_span type;

	return eager->answer != NULL && bc_span_is(field_raw(text, "response_id"), eager->answer) &&
	       env_type(text, &type) == BC_OK && type.len > len &&
	       memcmp(type.ptr + type.len - len, end, len) == 0;
}

static bool let_go_of_pieces(struct sess *sess)
{
	struct eager *eager = &sess->agent->eager;
	struct bc_buf all = eager->queue;
	struct bc_span rest = bc_buf_span(&all);
	bool kept = true;

	eager_init(sess, eager);
	while (rest.len > 0 && kept) {
		size_t len = strnlen(rest.ptr, rest.len);
		struct bc_span text = bc_span(rest.ptr, len);

		kept = is_piece(eager, text) || put(&eager->queue, text);
		rest = bc_span(rest.ptr + len + 1, rest.len - len - 1);
	}
	bc_buf_release(&all);
	return kept;
}

/* The provider begins to answer by itself: whoever asks for responses waits while the window is open. */
static void note_answer(struct sess *sess, enum oai_event event, struct bc_span text)
{
	struct eager *eager = &sess->agent->eager;

	if (event == OAI_RESPONSE_CREATED && eager->answer == NULL && !lane_is_asked(sess)) {
		eager->answer = field_dup(field_raw(field_raw(text, "response"), "id"));
	}
}

/* More than is to be kept: it is not shown for that (E4). */
static bool make_room(struct sess *sess)
{
	struct eager *eager = &sess->agent->eager;

	if (bc_buf_len(&eager->queue) < QUEUE_MAX) {
		return true;
	}
	bc_metric_add(BC_M_EAGER_OVERFLOWS, !eager->full);
	eager->full = true;
	if (!let_go_of_pieces(sess)) {
		return false;
	}
	if (bc_buf_len(&eager->queue) >= QUEUE_MAX) {
		sess_block(sess, SESS_UPSTREAM, FLOW_WINDOW_FULL);
	}
	return true;
}

static void keep(struct sess *sess, enum oai_event event, struct bc_span text)
{
	struct eager *eager = &sess->agent->eager;

	note_answer(sess, event, text);
	if (eager->full && is_piece(eager, text)) {
		return;
	}
	if (!put(&eager->queue, text) || !make_room(sess)) {
		sess_end(sess, BC_E_NOMEM, "out_of_memory", "The gateway is out of memory.");
	}
}

bool eager_keeps(struct sess *sess, enum oai_event event, struct bc_span text)
{
	struct eager *eager = &sess->agent->eager;

	if (eager->flushing) {
		return false;
	}
	if (eager->watched) {
		follow_speech(sess, event);
	}
	if (!eager->open) {
		if (!eager->armed || event != OAI_INPUT_AUDIO_BUFFER_SPEECH_STOPPED) {
			return false;
		}
		open_window(sess);
	} else if (event == OAI_INPUT_AUDIO_BUFFER_SPEECH_STARTED) {
		resume(sess);
		return false;
	} else if (stands_apart(sess, event, text)) {
		return false;
	}
	keep(sess, event, text);
	return true;
}
