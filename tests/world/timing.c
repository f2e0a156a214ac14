#include "tests/world/timing.h"

#include "daemon/base/digest.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 20) /* bytes of a timing.json */

/* Where the walk through the file stands; the first missing value is remembered. */
struct reading {
	json_t *root;
	char *error;
	size_t size;
	bool failed;
};

/* The number at a path of keys separated by '/'; complains once. */
static double number(struct reading *reading, const char *path)
{
	json_t *at = reading->root;
	const char *key = path;

	while (at != NULL && *key != '\0') {
		size_t len = strcspn(key, "/");

		at = json_object_getn(at, key, len);
		key += len;
		if (*key == '/') {
			key++;
		}
	}
	if (!json_is_number(at) && !reading->failed) {
		reading->failed = true;
		snprintf(reading->error, reading->size, "no number at %s", path);
	}
	return json_number_value(at);
}

static struct timing_lognormal lognormal(struct reading *reading, const char *base)
{
	struct timing_lognormal dist;
	char path[128];

	snprintf(path, sizeof(path), "%s/lognormal_median", base);
	dist.median = number(reading, path);
	snprintf(path, sizeof(path), "%s/sigma", base);
	dist.sigma = number(reading, path);
	return dist;
}

/* The study that measured eagerness names models its own way; one it did not see counts as gpt-realtime. */
static const char *eagerness_name(const char *profile)
{
	static const char *const names[][2] = {{"gemini-3.1-flash-live", "gemini-live-3.1"},
					       {"gemini-2.5-native", "gemini-live-2.5"}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(profile, names[i][0]) == 0) {
			return names[i][1];
		}
	}
	return "gpt-realtime";
}

static void profile_read(struct reading *reading, const char *profile, struct timing *ret)
{
	char path[112];

	snprintf(path, sizeof(path), "model_behaviour/eagerness/%s unprompted",
		 eagerness_name(profile));
	ret->eagerness = number(reading, path);

	snprintf(path, sizeof(path), "providers/%s/final_first_audio", profile);
	ret->final_first_audio = lognormal(reading, path);
	snprintf(path, sizeof(path), "providers/%s/call_pass", profile);
	ret->call_pass = lognormal(reading, path);
	snprintf(path, sizeof(path), "providers/%s/args_tokens_per_s", profile);
	ret->args_tokens_per_s = number(reading, path);
}

static void prices_read(struct reading *reading, struct timing_prices *ret)
{
	const struct {
		const char *key;
		double *to;
	} rows[] = {{"text_in", &ret->text_in},
		    {"audio_in", &ret->audio_in},
		    {"cached_in", &ret->cached_in},
		    {"text_out", &ret->text_out},
		    {"audio_out", &ret->audio_out},
		    {"audio_tokens_per_s_user", &ret->user_audio_rate},
		    {"audio_tokens_per_s_assistant", &ret->assistant_audio_rate}};
	char path[96];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(path, sizeof(path), "prices_usd_per_million_tokens/%s", rows[i].key);
		*rows[i].to = number(reading, path);
	}
}

static void world_read(struct reading *reading, struct timing *ret)
{
	ret->word_a = number(reading, "word_duration/a");
	ret->word_b = number(reading, "word_duration/b");
	ret->speaker_sigma = number(reading, "word_duration/speaker_factor_lognormal_sigma");
	ret->tool_fast = lognormal(reading, "tools/fast");
	ret->tool_typical = lognormal(reading, "tools/typical");
	ret->tool_slow = lognormal(reading, "tools/slow");
	ret->rtt_client = number(reading, "network_rtt/client_gateway");
	ret->rtt_provider = number(reading, "network_rtt/gateway_provider");
	ret->rtt_tool = number(reading, "network_rtt/gateway_tool");
	ret->vad_silence = number(reading, "vad_silence/value");
	ret->reply_gap = number(reading, "gaps/user_reply_gap");
	ret->asr_lag = number(reading, "model_behaviour/asr_lag/default");
	ret->early_call_wrong = number(reading, "model_behaviour/early_call_wrong/default");
	ret->premature_guess = number(reading, "model_behaviour/premature_guess/default_rate");
	ret->pass_disagrees = number(reading, "model_behaviour/pass_disagrees/default");
	ret->repair_rate = number(reading, "model_behaviour/repair_rate_per_turn/default");
}

/* The whole file, heap; NULL with errno. */
static char *file_read(const char *path, size_t *ret_len)
{
	FILE *file = fopen(path, "re");
	char *text = file == NULL ? NULL : malloc(FILE_MAX);

	if (text != NULL) {
		*ret_len = fread(text, 1, FILE_MAX, file);
	}
	if (file != NULL) {
		fclose(file);
	}
	return text;
}

static void hash_note(struct timing *timing, struct bc_span text)
{
	struct bc_sha256 digest = bc_sha256(text);

	for (size_t i = 0; i < sizeof(digest.bytes); i++) {
		snprintf(timing->sha256 + 2 * i, 3, "%02x", digest.bytes[i]);
	}
}

enum bc_err timing_load(const char *path, const char *profile, struct timing *ret, char *error,
			size_t size)
{
	struct timing timing = {0};
	json_error_t where;
	struct reading reading = {.error = error, .size = size};
	enum bc_err err = BC_OK;
	size_t len = 0;
	char *text = file_read(path, &len);

	if (text == NULL) {
		snprintf(error, size, "%s: %s", path, strerror(errno));
		return BC_E_SYSTEM;
	}
	hash_note(&timing, bc_span(text, len));
	reading.root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	free(text);
	if (reading.root == NULL) {
		snprintf(error, size, "%s:%d: %s", path, where.line, where.text);
		return BC_E_SYNTAX;
	}
	if (!json_is_object(json_object_get(json_object_get(reading.root, "providers"), profile))) {
		snprintf(error, size, "%s: no provider profile \"%s\"", path, profile);
		err = BC_E_NOTFOUND;
	} else {
		profile_read(&reading, profile, &timing);
		world_read(&reading, &timing);
		prices_read(&reading, &timing.prices);
		err = reading.failed ? BC_E_INVALID : BC_OK;
	}
	json_decref(reading.root);
	if (err == BC_OK) {
		*ret = timing;
	}
	return err;
}
