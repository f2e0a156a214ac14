/*
 * Transcription of the caller's audio: streaming recognisers say each word asr_lag after it was heard, the
 * others say everything that long after the commit.  A word's text comes from the dialogue, but only once
 * the audio that carries it has arrived.
 */
#include "tests/provider/session.h"

#include <stdlib.h>
#include <string.h>

/* A delta to come, or (final) the whole transcript. */
struct transcript_word {
	TAILQ_ENTRY(transcript_word) link;
	ev_tstamp due;
	bool final;
	char item_id[ID_SIZE];
	char *text;
	double audio_s;
};

static const char *recogniser(const struct session *session)
{
	return json_string_value(
		session_get(session, "audio", "input", "transcription", "model", NULL));
}

static bool streams(const char *model)
{
	return strcmp(model, "gpt-live-transcribe") == 0 ||
	       strcmp(model, "gpt-realtime-whisper") == 0;
}

static void timer_arm(struct session *session)
{
	struct transcript_word *first = TAILQ_FIRST(&session->transcripts);
	double wait;

	ev_timer_stop(session->provider->loop, &session->transcript_timer);
	if (first != NULL) {
		wait = first->due - ev_now(session->provider->loop);
		ev_timer_set(&session->transcript_timer, wait > 0.0 ? wait : 0.0, 0.);
		ev_timer_start(session->provider->loop, &session->transcript_timer);
	}
}

static void queue(struct session *session, const char *item_id, char *text, bool final,
		  double audio_s)
{
	struct transcript_word *word = calloc(1, sizeof(*word));
	double lag = provider_seconds(session->provider, session->provider->options.asr_lag);

	BC_BUG_ON(word == NULL || text == NULL);
	word->due = ev_now(session->provider->loop) + lag;
	word->final = final;
	word->text = text;
	word->audio_s = audio_s;
	snprintf(word->item_id, sizeof(word->item_id), "%s", item_id);
	TAILQ_INSERT_TAIL(&session->transcripts, word, link);
	timer_arm(session);
}

static json_t *usage(const struct transcript_word *word, const char *model)
{
	unsigned in = (unsigned)(word->audio_s * 10.0);
	unsigned out = usage_tokens(word->text);

	if (model == NULL || strcmp(model, "whisper-1") == 0 || streams(model)) {
		return json_pack("{s:s,s:f}", "type", "duration", "seconds", word->audio_s);
	}
	return json_pack("{s:s,s:i,s:i,s:i,s:{s:i,s:i}}", "type", "tokens", "total_tokens",
			 (int)(in + out), "input_tokens", (int)in, "output_tokens", (int)out,
			 "input_token_details", "text_tokens", 0, "audio_tokens", (int)in);
}

static void word_say(struct session *session, const struct transcript_word *word)
{
	struct item *item = item_find(session, word->item_id);

	if (!word->final) {
		emit_delta(session,
			   json_pack("{s:s,s:s,s:i,s:s}", "type",
				     "conversation.item.input_audio_transcription.delta", "item_id",
				     word->item_id, "content_index", 0, "delta", word->text));
		return;
	}
	if (item != NULL) {
		json_object_set_new(json_array_get(json_object_get(item->json, "content"), 0),
				    "transcript", json_string(word->text));
	}
	emit(session, json_pack("{s:s,s:s,s:i,s:s,s:o}", "type",
				"conversation.item.input_audio_transcription.completed", "item_id",
				word->item_id, "content_index", 0, "transcript", word->text,
				"usage", usage(word, recogniser(session))));
}

static void word_drop(struct session *session, struct transcript_word *word)
{
	TAILQ_REMOVE(&session->transcripts, word, link);
	free(word->text);
	free(word);
}

static void timer_fired(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct session *session = timer->data;
	struct transcript_word *word;

	(void)events;
	BC_CHECK(session, SESSION_MAGIC);
	while ((word = TAILQ_FIRST(&session->transcripts)) != NULL &&
	       word->due <= ev_now(loop) + 1e-6) {
		word_say(session, word);
		word_drop(session, word);
	}
	timer_arm(session);
}

void transcript_init(struct session *session)
{
	TAILQ_INIT(&session->transcripts);
	ev_timer_init(&session->transcript_timer, timer_fired, 0., 0.);
	session->transcript_timer.data = session;
}

void transcript_release(struct session *session)
{
	struct transcript_word *word;

	ev_timer_stop(session->provider->loop, &session->transcript_timer);
	while ((word = TAILQ_FIRST(&session->transcripts)) != NULL) {
		word_drop(session, word);
	}
}

/* Text of a word with a blank in front unless it is the first. */
static char *word_text(const struct session *session, unsigned turn, bool repair, unsigned word,
		       bool first)
{
	struct bc_span span = {0};
	char *text = NULL;

	if (session->dialogue != NULL && turn < session->dialogue->turns_n) {
		span = dialogue_word(dialogue_text(&session->dialogue->turns[turn], repair), word);
	}
	if (asprintf(&text, "%s%.*s", first || span.len == 0 ? "" : " ", BC_SPAN_ARG(span)) < 0) {
		return NULL;
	}
	return text;
}

void transcript_word(struct session *session, const struct carrier_mark *mark)
{
	struct listening *listening = &session->listening;
	const char *model = recogniser(session);

	if (model == NULL || !streams(model)) {
		return;
	}
	if (listening->item_id[0] == '\0') {
		id_make(listening->item_id, "item_");
	}
	queue(session, listening->item_id,
	      word_text(session, mark->turn, mark->repair, mark->word, listening->words_said == 0),
	      false, 0.0);
	listening->words_said++;
}

char *transcript_of(const struct session *session, const struct heard *heard)
{
	char *all = strdup("");

	for (size_t i = 0; all != NULL && i < heard->n; i++) {
		const struct heard_turn *turn = &heard->turns[i];

		for (unsigned word = 0; word <= CARRIER_WORD_MAX; word++) {
			char *text;
			char *longer = NULL;

			if (!(turn->words[word / 8] >> (word % 8) & 1)) {
				continue;
			}
			text = word_text(session, turn->turn, turn->repair, word, all[0] == '\0');
			if (text == NULL || asprintf(&longer, "%s%s", all, text) < 0) {
				longer = NULL;
			}
			free(text);
			free(all);
			all = longer;
		}
	}
	return all;
}

void transcript_commit(struct session *session, struct item *item)
{
	const char *model = recogniser(session);
	char *text;

	session->listening.words_said = 0;
	if (model == NULL) {
		return;
	}
	text = transcript_of(session, &item->heard);
	if (!streams(model)) {
		queue(session, item->id, strdup(text), false, item->audio_s);
	}
	queue(session, item->id, text, true, item->audio_s);
}
