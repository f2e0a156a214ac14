/* What a pass is given to hear: 300 ms before the piece in which the first word began, and all that came since. */
#include "proto/b64.h"
#include "tests/unit/session_talk.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_PER_MS 48 /* of PCM16 */
#define BEFORE_MS    300
#define VOICE_AT_MS  2050
#define VOICE_MS     500
#define STREAM_MS    4000
#define STREAM_BYTES ((size_t)STREAM_MS * BYTES_PER_MS)

static uint8_t stream[STREAM_BYTES];

/* The noise of a line, and in it a voice; no two pieces of it are equal. */
static void record(void)
{
	uint32_t state = 1;

	for (size_t i = 0; i < STREAM_BYTES / 2; i++) {
		bool voice = i >= VOICE_AT_MS * 24 && i < (VOICE_AT_MS + VOICE_MS) * 24;
		uint16_t value;

		state = state * 1103515245u + 12345u;
		value = (uint16_t)((int)(state >> 16) % 64 +
				   (voice ? (i / 30 % 2 == 0 ? 8000 : -8000) : 0));
		stream[2 * i] = (uint8_t)(value & 0xff);
		stream[2 * i + 1] = (uint8_t)(value >> 8);
	}
}

static void append(struct rig *rig, const uint8_t *bytes, size_t len)
{
	char *text = malloc(B64_ENCODED_LEN(len) + 1);

	ck_assert_ptr_nonnull(text);
	text[b64_encode(text, bytes, len)] = '\0';
	rig_client(rig, "{'type':'input_audio_buffer.append','audio':'%s'}", text);
	free(text);
}

/* The audio of the first pass that reached the provider; false: there was none yet. */
static bool take_audio(struct rig *rig, uint8_t *out, size_t *ret_len)
{
	static const char mark[] = "\"input_audio\",\"audio\":\"";

	for (; rig->seen[SESS_UPSTREAM] < rig->count[SESS_UPSTREAM]; rig->seen[SESS_UPSTREAM]++) {
		const char *at = strstr(rig->sent[SESS_UPSTREAM][rig->seen[SESS_UPSTREAM]], mark);

		if (at != NULL) {
			at += sizeof(mark) - 1;
			ck_assert_int_eq(b64_decode(out, bc_span(at, strcspn(at, "\"")), ret_len),
					 BC_OK);
			return true;
		}
	}
	return false;
}

/* Bytes of a message: pieces that are listened to before they are kept, and longer ones; whole samples, and cut ones. */
static const size_t pieces[] = {333, 960, 3072, 6144, 8189, 8190, 12000, 30001, 45000};

START_TEST(a_pass_hears_the_word_and_what_stood_before_it)
{
	static uint8_t heard[STREAM_BYTES + 3];
	size_t piece = pieces[_i];
	/* Where the piece began whose last sample made 30 ms of voice, in windows of 10 ms. */
	size_t onset = (size_t)(VOICE_AT_MS + 30) * BYTES_PER_MS;
	size_t first = (onset - 1) / piece * piece;
	size_t before = (size_t)BEFORE_MS * BYTES_PER_MS;
	size_t from = first > before ? first - before : 0;
	static struct rig rig;
	size_t len = 0;

	record();
	talk_begin(&rig, TALK_CONFIG, "pcm");
	for (size_t at = 0; len == 0; at += piece) {
		ck_assert_uint_lt(at, STREAM_BYTES);
		append(&rig, stream + at, piece < STREAM_BYTES - at ? piece : STREAM_BYTES - at);
		(void)take_audio(&rig, heard, &len);
	}
	/* More by less than a sample, so that samples stay whole. */
	from -= from % 2;
	ck_assert_uint_ge(len, before + 30 * BYTES_PER_MS);
	ck_assert_mem_eq(heard, stream + from, len);
	rig_fini(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session_hearing");
	TCase *tcase = tcase_create("session_hearing");

	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, a_pass_hears_the_word_and_what_stood_before_it, 0,
			    (int)BC_ARRAY_LEN(pieces));
	return tap_run(suite);
}
