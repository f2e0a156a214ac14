/*
 * The gateway's own events of a client.  The first is backchannel.hello; whatever comes without it is answered with an
 * error.  None of them is ever forwarded, and a bad one has no effect but its error, its count and its log line.
 *
 * Opting in is an event of its own and no member of session.update: a provider refuses a whole update, with its tools
 * and instructions, for one member it does not know, so a client that meets no gateway would lose its session.  An
 * unknown event costs it one error.
 */
#include "daemon/base/id.h"
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <inttypes.h>
#include <stdlib.h>

static void refuse(struct sess *sess, struct bc_span event_id, struct ext_fault fault)
{
	bc_metric_inc(BC_M_EXT_REFUSED);
	bc_log(BC_LOG_INFO, &sess->log, "extension event refused (%s): %s", fault.code,
	       fault.message);
	client_refuse(sess, event_id, fault.code, fault.message);
}

static void note_stale(struct sess *sess, const char *why)
{
	bc_metric_inc(BC_M_EXT_STALE);
	bc_log(BC_LOG_DEBUG, &sess->log, "extension event ignored: %s", why);
}

/* Whether an even flow of events_per_second, with a second's worth at once, still has room for one. */
static bool within_rate(struct sess *sess)
{
	struct extension *ext = &sess->agent->extension;
	bc_usec now = sess_now(sess);
	bc_usec each = BC_USEC_PER_SEC / (bc_usec)sess->cfg->extension.events_per_second;
	bc_usec due = ext->rate_due > now ? ext->rate_due : now;

	if (due - now > BC_USEC_PER_SEC - each) {
		return false;
	}
	ext->rate_due = due + each;
	return true;
}

/* ---- hello ---- */

static enum bc_err put_wants(struct bc_buf *out, uint32_t wants)
{
	enum bc_err err = BC_OK;
	const char *comma = "";

	for (unsigned type = 0; type < EXT_TYPE__COUNT && err == BC_OK; type++) {
		if ((wants & (1u << type)) != 0) {
			err = bc_buf_printf(out, "%s\"%s\"", comma,
					    ext_type_name((enum ext_type)type));
			comma = ",";
		}
	}
	return err;
}

static void welcome(struct sess *sess)
{
	const struct cfg_extension *conf = &sess->cfg->extension;
	struct bc_buf text;
	char id[BC_ID_SIZE];

	bc_buf_init(&text, 4096);
	bc_id_new(id, 'x');
	if (bc_buf_printf(
		    &text,
		    "{\"type\":\"%s\",\"event_id\":\"event_%s\",\"version\":%d,\"session\":\"%s\","
		    "\"speculation\":%s,\"text_max\":%zu,\"events_per_second\":%" PRIu64
		    ",\"events\":[",
		    ext_type_name(EXT_WELCOME), id, EXT_VERSION, sess->log.session,
		    sess->agent->spec != NULL ? "true" : "false", conf->text_max,
		    conf->events_per_second) == BC_OK &&
	    put_wants(&text, sess->agent->extension.wants) == BC_OK &&
	    bc_buf_put_str(&text, "]}") == BC_OK) {
		(void)sess_to_client(sess,
				     bc_buf_span(&text)); /* pressure shows with the next message */
	}
	bc_buf_release(&text);
}

static void hello(struct sess *sess, const struct ext_event *event)
{
	struct extension *ext = &sess->agent->extension;

	if (!ext->on) {
		ext->on = true;
		bc_metric_inc(BC_M_EXT_CLIENTS);
		bc_log(BC_LOG_INFO, &sess->log, "client has opted in to the backchannel extension");
	}
	ext->wants = event->wants & ~(1u << EXT_WELCOME);
	welcome(sess);
}

/* ---- words and ends ---- */

/* Words of an item that has its place in the conversation come too late. */
static bool is_late(struct sess *sess, struct bc_span item_id)
{
	const struct item *item = NULL;
	char id[SESS_ID_MAX];
	size_t len;

	if (json_string_get(item_id, id, sizeof(id), &len) == BC_OK) {
		item = items_find(&sess->agent->items, id);
	}
	return item != NULL && item->placed;
}

static void take_text(struct sess *sess, const struct ext_event *event)
{
	static const struct ext_fault bad_text = {
		"invalid_value", "'text' holds an escape that is none, or U+0000."};
	static const struct ext_fault too_long = {
		"text_too_long", "'text', or the turn with it, is longer than the gateway takes."};
	size_t size = sess->cfg->extension.text_max + 1;
	enum bc_err err;
	size_t len;
	char *text;

	if (event->revision <= sess->agent->extension.revision) {
		note_stale(sess, "old revision");
		return;
	}
	size = event->text.len < size ? event->text.len : size;
	text = malloc(size);
	if (text == NULL) {
		sess_end(sess, BC_E_NOMEM, "out_of_memory", "The gateway is out of memory.");
		return;
	}
	err = json_string_get(event->text, text, size, &len);
	if (err == BC_OK) {
		err = words_take(sess, bc_span(text, len), event->type == EXT_INPUT_TEXT_FINAL);
	}
	free(text);
	if (err == BC_OK) {
		sess->agent->extension.revision = event->revision;
	} else {
		refuse(sess, event->event_id, err == BC_E_SYNTAX ? bad_text : too_long);
	}
}

static void take(struct sess *sess, const struct ext_event *event)
{
	if (is_late(sess, event->item_id)) {
		note_stale(sess, "the item is in the conversation");
		return;
	}
	switch ((int)event->type) {
	case EXT_INPUT_TEXT_PARTIAL:
	case EXT_INPUT_TEXT_FINAL:
		take_text(sess, event);
		break;
	case EXT_TURN_EAGER_END:
	case EXT_TURN_END:
		if (!words_complete(sess, event->type == EXT_TURN_END)) {
			note_stale(sess, "no turn is running");
		}
		break;
	case EXT_TURN_RESUMED:
		words_resumed(sess);
		break;
	default:
		BC_BUG_ON(true);
	}
}

void ext_client_event(struct sess *sess, struct bc_span text)
{
	static const struct ext_fault disabled = {
		"backchannel_disabled",
		"This gateway takes no events of the backchannel extension."};
	static const struct ext_fault not_opted_in = {
		"backchannel_not_opted_in",
		"Send backchannel.hello before any other backchannel event."};
	static const struct ext_fault too_many = {
		"rate_limit_exceeded", "Too many backchannel events. Send fewer partial texts."};
	struct ext_event event;
	struct ext_fault fault;
	enum bc_err err = ext_event_read(text, &event, &fault);

	bc_metric_inc(BC_M_EXT_EVENTS);
	if (!sess->cfg->extension.enabled) {
		refuse(sess, event.event_id, disabled);
	} else if (!within_rate(sess)) {
		refuse(sess, event.event_id, too_many);
	} else if (!sess->agent->extension.on && err != BC_E_SYNTAX && event.type != EXT_HELLO) {
		refuse(sess, event.event_id, not_opted_in);
	} else if (err != BC_OK) {
		refuse(sess, event.event_id, fault);
	} else if (event.type == EXT_HELLO) {
		hello(sess, &event);
	} else {
		take(sess, &event);
	}
}
