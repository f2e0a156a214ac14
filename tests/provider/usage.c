/* Tokens: what a response reads and says, and how much of its context an earlier one had read. */
#include "tests/provider/session.h"

#include <stdlib.h>
#include <string.h>

#define CHARS_PER_TOKEN 4
#define HASH_START      14695981039346656037u
#define CACHE_MIN       1024 /* tokens a shared prefix needs to be cached */

unsigned usage_tokens(const char *text)
{
	return text == NULL ? 0
			    : (unsigned)((strlen(text) + CHARS_PER_TOKEN - 1) / CHARS_PER_TOKEN);
}

/* FNV-1a. */
static uint64_t hash_add(uint64_t hash, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++) {
		hash = (hash ^ at[i]) * 1099511628211u;
	}
	return hash;
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
	return text == NULL ? hash : hash_add(hash, text, strlen(text) + 1);
}

static struct usage_unit head_unit(const struct context *context)
{
	char *tools = context->tools == NULL ? NULL : json_dumps(context->tools, JSON_COMPACT);
	struct usage_unit unit = {.hash = HASH_START};

	unit.hash = hash_text(hash_text(unit.hash, context->instructions), tools);
	unit.text = usage_tokens(context->instructions) + usage_tokens(tools);
	free(tools);
	return unit;
}

/* Hash of an item's audio, which does not change once it is an item. */
static uint64_t audio_hash(const struct item *item)
{
	struct item *cache = (struct item *)(uintptr_t)item;
	struct bc_span audio = bc_buf_span(&item->audio);

	if (cache->audio_id == 0) {
		cache->audio_id = hash_add(HASH_START, audio.ptr, audio.len);
	}
	return cache->audio_id;
}

static struct usage_unit item_unit(const struct session *session, const struct item *item)
{
	const struct timing_prices *prices = &session->provider->timing.prices;
	struct usage_unit unit = {.hash = HASH_START};
	uint64_t audio = audio_hash(item);

	unit.hash = hash_add(unit.hash, &item->kind, sizeof(item->kind));
	unit.hash = hash_text(unit.hash, item->text);
	unit.hash = hash_text(unit.hash, item_string(item, "name"));
	unit.hash = hash_text(unit.hash, item_string(item, "arguments"));
	unit.hash = hash_text(unit.hash, item_string(item, "output"));
	unit.hash = hash_add(unit.hash, &audio, sizeof(audio));
	unit.text = usage_tokens(item_string(item, "arguments")) +
		    usage_tokens(item_string(item, "name")) +
		    usage_tokens(item_string(item, "output"));
	if (item->audio_out) {
		unit.audio = (unsigned)(item->audio_s * prices->assistant_audio_rate);
	} else {
		unit.text += usage_tokens(item->text);
		unit.audio = (unsigned)(item->audio_s * prices->user_audio_rate);
	}
	return unit;
}

/* The longest leading part an earlier context shares. */
static void cached_count(const struct session *session, const struct usage_unit *units, size_t n,
			 struct response *response)
{
	unsigned tokens = 0;
	size_t best = 0;

	for (size_t i = 0; i < USAGE_PREFIXES; i++) {
		const struct usage_prefix *prefix = &session->prefixes[i];
		size_t same = 0;

		while (same < n && same < prefix->n &&
		       units[same].hash == prefix->units[same].hash) {
			same++;
		}
		best = same > best ? same : best;
	}
	for (size_t i = 0; i < best; i++) {
		tokens += units[i].text + units[i].audio;
	}
	for (size_t i = 0; i < best && tokens >= CACHE_MIN; i++) {
		response->cached_text += units[i].text;
		response->cached_audio += units[i].audio;
	}
}

void usage_count(struct session *session, const struct context *context, struct response *response)
{
	size_t n = context->n + 1;
	struct usage_unit *units = calloc(n, sizeof(*units));
	struct usage_prefix *slot = &session->prefixes[session->prefix_at];

	BC_BUG_ON(units == NULL);
	units[0] = head_unit(context);
	for (size_t i = 0; i < context->n; i++) {
		units[i + 1] = item_unit(session, context->items[i]);
	}
	for (size_t i = 0; i < n; i++) {
		response->in_text += units[i].text;
		response->in_audio += units[i].audio;
	}
	cached_count(session, units, n, response);
	free(slot->units);
	slot->units = units;
	slot->n = n;
	session->prefix_at = (session->prefix_at + 1) % USAGE_PREFIXES;
}

json_t *usage_json(const struct response *response)
{
	int in = (int)(response->in_text + response->in_audio);
	int out = (int)(response->out_text + response->out_audio);
	json_t *cached = json_pack("{s:i,s:i,s:i}", "text_tokens", (int)response->cached_text,
				   "audio_tokens", (int)response->cached_audio, "image_tokens", 0);

	return json_pack("{s:i,s:i,s:i,s:{s:i,s:i,s:i,s:i,s:o},s:{s:i,s:i}}", "total_tokens",
			 in + out, "input_tokens", in, "output_tokens", out, "input_token_details",
			 "text_tokens", (int)response->in_text, "audio_tokens",
			 (int)response->in_audio, "image_tokens", 0, "cached_tokens",
			 (int)(response->cached_text + response->cached_audio),
			 "cached_tokens_details", cached, "output_token_details", "text_tokens",
			 (int)response->out_text, "audio_tokens", (int)response->out_audio);
}

json_t *usage_account(const struct response *response)
{
	const struct timing_prices *prices = &response->session->provider->timing.prices;
	double cached = response->cached_text + response->cached_audio;
	double usd = ((response->in_text - response->cached_text) * prices->text_in +
		      (response->in_audio - response->cached_audio) * prices->audio_in +
		      cached * prices->cached_in + response->out_text * prices->text_out +
		      response->out_audio * prices->audio_out) /
		     1e6;

	return json_pack("{s:{s:i,s:i,s:i,s:i,s:i,s:i},s:f}", "tokens", "text_in",
			 (int)response->in_text, "audio_in", (int)response->in_audio, "cached_text",
			 (int)response->cached_text, "cached_audio", (int)response->cached_audio,
			 "text_out", (int)response->out_text, "audio_out", (int)response->out_audio,
			 "usd", usd);
}

void usage_release(struct session *session)
{
	for (size_t i = 0; i < USAGE_PREFIXES; i++) {
		free(session->prefixes[i].units);
		session->prefixes[i] = (struct usage_prefix){0};
	}
}
