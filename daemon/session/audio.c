/*
 * What the client was sent to play, by the bytes of each spoken item; a session without gateway tools is not looked into.
 *
 * A client says with conversation.item.truncate how much of an item its caller has heard.  It counts by its own clock, and
 * a provider refuses a number beyond the item's end ("Audio content of 1200ms is already shorter than 1500ms"), which ends
 * some clients and leaves the model believing that everything was heard.  Nobody can have heard more than was sent, so a
 * larger number is corrected to that, and everything else passes as it is.
 */
#include "daemon/base/metric.h"
#include "daemon/session/sess.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_RATE 24000 /* samples per second of audio/pcm, where none is said */

void audio_configure(struct sess *sess, struct bc_span session)
{
	struct bc_span format = field_raw(
		field_raw(field_raw(field_raw(session, "audio"), "output"), "format"), "rate");
	struct bc_span type = field_raw(
		field_raw(field_raw(field_raw(session, "audio"), "output"), "format"), "type");
	unsigned long rate = DEFAULT_RATE;
	char digits[16] = "";

	if (format.len > 0 && format.len < sizeof(digits)) {
		memcpy(digits, format.ptr, format.len);
		rate = strtoul(digits, NULL, 10);
	}
	if (json_string_is(type, "audio/pcmu") || json_string_is(type, "audio/pcma")) {
		sess->agent->audio.bytes_per_ms = 8;
	} else if (json_string_is(type, "audio/pcm")) {
		sess->agent->audio.bytes_per_ms = (unsigned)(rate * 2 / 1000);
	}
}

static struct sent_item *find(struct sent_audio *audio, const char *id)
{
	uint64_t key = id_hash(id);

	for (unsigned i = 0; audio->items != NULL && i < ASYNC_AUDIO_ITEMS; i++) {
		if (audio->items[i].id == key) {
			return &audio->items[i];
		}
	}
	return NULL;
}

/* The oldest is forgotten: nobody truncates what was played long ago.  NULL when out of memory. */
static struct sent_item *get(struct sent_audio *audio, const char *id)
{
	struct sent_item *item = find(audio, id);

	if (audio->items == NULL) {
		audio->items = calloc(ASYNC_AUDIO_ITEMS, sizeof(*audio->items));
	}
	if (item == NULL && audio->items != NULL) {
		item = &audio->items[audio->next];
		audio->next = (audio->next + 1) % ASYNC_AUDIO_ITEMS;
		*item = (struct sent_item){.id = id_hash(id)};
	}
	return item;
}

void audio_aside(struct sess *sess, const char *id)
{
	struct sent_item *item = get(&sess->agent->audio, id);

	if (item != NULL) {
		item->aside = 1;
	}
}

/* Of base64 text with its quotes. */
static uint64_t decoded_length(struct bc_span raw)
{
	uint64_t chars = raw.len - 2;

	while (chars > 0 && raw.ptr[chars] == '=') {
		chars--;
	}
	return chars * 3 / 4;
}

void audio_sent(struct sess *sess, struct bc_span text)
{
	static const char *const keys[] = {"delta", "item_id"};
	struct sent_audio *audio = &sess->agent->audio;
	struct bc_span found[BC_ARRAY_LEN(keys)];
	struct sent_item *item;
	char id[SESS_ID_MAX];
	uint64_t bytes;
	bc_usec now;

	if (json_members(text, keys, BC_ARRAY_LEN(keys), found) != BC_OK ||
	    !json_raw_is_string(found[0]) || !field_id_of(found[1], id)) {
		return;
	}
	bytes = decoded_length(found[0]);
	item = get(audio, id);
	if (item != NULL) {
		item->bytes = (item->bytes + bytes) & (UINT64_MAX >> 1);
	}
	if (audio->bytes_per_ms > 0) {
		now = sess_now(sess);
		audio->playing_until = audio->playing_until > now ? audio->playing_until : now;
		audio->playing_until +=
			(bc_usec)(bytes * (uint64_t)BC_USEC_PER_MS / audio->bytes_per_ms);
	}
}

void audio_stopped(struct sess *sess)
{
	sess->agent->audio.playing_until = 0;
}

/* A number of milliseconds that is beyond what was sent; false: it is not, or nobody can tell. */
static bool is_beyond(struct bc_span raw, uint64_t sent)
{
	char digits[24] = "";
	char *end;
	double asked;

	if (raw.len == 0 || raw.len >= sizeof(digits)) {
		return false;
	}
	memcpy(digits, raw.ptr, raw.len);
	asked = strtod(digits, &end);
	return end == digits + raw.len && asked > (double)sent;
}

static void correct(struct sess *sess, struct bc_span text, struct bc_span asked, uint64_t sent)
{
	struct rewrite rewrite;
	struct bc_buf out;
	char number[24];

	(void)snprintf(number, sizeof(number), "%" PRIu64, sent);
	rewrite_begin(&rewrite, text);
	rewrite_replace(&rewrite, asked, bc_span_str(number));
	(void)sess_to_upstream(sess, rewrite_end(&rewrite, &out) ? bc_buf_span(&out) : text);
	bc_buf_release(&out);
	bc_metric_inc(BC_M_TRUNCATES_CORRECTED);
}

void audio_client_truncate(struct sess *sess, struct bc_span text)
{
	struct sent_audio *audio = &sess->agent->audio;
	struct bc_span asked = field_raw(text, "audio_end_ms");
	const struct sent_item *item;
	char id[SESS_ID_MAX];
	uint64_t sent;

	item = field_id(text, "item_id", id) ? find(audio, id) : NULL;
	if (item != NULL && item->aside) {
		/* The provider would answer with an error to what the client was right to ask for. */
		bc_metric_inc(BC_M_TRUNCATES_KEPT);
		return;
	}
	sent = item == NULL || audio->bytes_per_ms == 0 ? 0 : item->bytes / audio->bytes_per_ms;
	if (sent > 0 && is_beyond(asked, sent)) {
		correct(sess, text, asked, sent);
		return;
	}
	(void)sess_to_upstream(sess, text); /* pressure shows with the next message */
}
