/*
 * Both roles of the codec through the table of cases.  Usage: test_codec CASES
 *
 * Every input is given whole, in the pieces its case asks for, byte by byte, cut once at every place if it is short,
 * and cut at random places; always the same must come of it.
 */
#include "tests/rfc6455/table.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define CUT_EVERYWHERE_MAX 700U /* bytes of the longest input cut at every place */
#define EXACT_MAX          4096U /* bytes of the longest input of which each piece gets memory of its own */
#define BYTE_BY_BYTE_MAX   200000U             /* bytes of the longest input fed so */
#define LONG_MIN           ((size_t)256 << 10) /* bytes from which inputs are cut in fewer ways */
#define SHOWN_MAX          300                 /* bytes of a protocol that a failure shows */

static struct table_case *rows;
static size_t row_count;

/* Check's own assertions write to a file each time, which here would take longer than all that is tested. */
static void must(bool good, const char *what)
{
	if (!good) {
		ck_abort_msg("%s", what);
	}
}

static int shown(struct bc_span protocol)
{
	return protocol.len < SHOWN_MAX ? (int)protocol.len : SHOWN_MAX;
}

/* A connection that receives an input in pieces. */
struct receiver {
	struct ws_decoder decoder;
	uint8_t *copy; /* of the input, to be unmasked in place */
	size_t there;  /* bytes that have come */
	size_t done;   /* bytes decoded */
	bool failed;
	struct bc_buf protocol;
};

/*
 * Decode what has come.  Of a short input in memory of exactly its size, so that a sanitizer sees every read behind
 * it.
 */
static void decode(struct receiver *receiver, bool exact)
{
	size_t len = receiver->there - receiver->done;
	uint8_t *own = exact ? malloc(len + (len == 0)) : NULL;
	uint8_t *bytes = exact ? own : receiver->copy + receiver->done;
	size_t used_all = 0;
	enum ws_step step;

	if (exact) {
		must(own != NULL, "no memory");
		memcpy(own, receiver->copy + receiver->done, len);
	}
	do {
		struct ws_event event;
		size_t used = 0;
		size_t need = 0;

		step = ws_decode(&receiver->decoder, bytes + used_all, len - used_all, &used, &need,
				 &event);
		used_all += used;
		must(used_all <= len, "more used than is there");
		if (step == WS_STEP_EVENT) {
			table_say(&receiver->protocol, &event);
		} else if (step == WS_STEP_ERROR) {
			table_say_end(&receiver->protocol, "fail", receiver->decoder.error_code);
			receiver->failed = true;
		} else if (step == WS_STEP_MORE) {
			must(need == 0 || need > len - used_all, "waits for what is there");
		}
	} while (step == WS_STEP_EVENT || step == WS_STEP_SKIP);
	receiver->done += used_all;
	free(own);
}

/* A number below n; always the same ones. */
static size_t draw(uint64_t *state, size_t n)
{
	*state = *state * 6364136223846793005U + 1442695040888963407U;
	return (size_t)(*state >> 33) % n;
}

/* Pieces of exactly size bytes, or with a state of 1 to size bytes; first bytes come first if not 0. */
struct cutting {
	size_t first;
	size_t size;
	uint64_t *random;
};

static size_t next_piece(const struct cutting *cutting, size_t there)
{
	if (there == 0 && cutting->first > 0) {
		return cutting->first;
	}
	return cutting->random == NULL ? cutting->size : 1 + draw(cutting->random, cutting->size);
}

static void receive(const struct table_input *input, enum ws_role role,
		    const struct cutting *cutting)
{
	size_t len = bc_buf_len(&input->bytes);
	struct receiver receiver = {.copy = malloc(len + 1)};
	struct bc_span want = bc_buf_span(&input->comes);
	struct bc_span got;

	must(receiver.copy != NULL, "no memory");
	memcpy(receiver.copy, bc_buf_span(&input->bytes).ptr, len);
	ws_decoder_init(&receiver.decoder, role, input->message_max);
	bc_buf_init(&receiver.protocol, input->comes.limit);
	while (receiver.there < len && !receiver.failed) {
		size_t piece = next_piece(cutting, receiver.there);

		receiver.there = len - receiver.there < piece ? len : receiver.there + piece;
		decode(&receiver, len <= EXACT_MAX);
	}
	if (!receiver.failed && receiver.done < len) {
		table_say_end(&receiver.protocol, "more", 0);
	}
	got = bc_buf_span(&receiver.protocol);
	if (!bc_span_eq(got, want)) {
		ck_abort_msg("first %zu bytes, then pieces of %zu: got %.*s, want %.*s",
			     cutting->first, cutting->size, shown(got), got.ptr, shown(want),
			     want.ptr);
	}
	ws_decoder_fini(&receiver.decoder);
	bc_buf_release(&receiver.protocol);
	free(receiver.copy);
}

static void receive_in_every_way(const struct table_input *input, enum ws_role role)
{
	size_t len = bc_buf_len(&input->bytes);
	uint64_t state = len;

	receive(input, role, &(struct cutting){.size = len + 1});
	if (input->chop > 0) {
		receive(input, role, &(struct cutting){.size = input->chop});
	}
	if (len <= BYTE_BY_BYTE_MAX) {
		receive(input, role, &(struct cutting){.size = 1});
	}
	for (size_t cut = 1; cut < len && len <= CUT_EVERYWHERE_MAX; cut++) {
		receive(input, role, &(struct cutting){.first = cut, .size = len});
	}
	for (size_t size = len / 2 + 2; size > 2 + len / 20000; size /= len < LONG_MIN ? 3 : 100) {
		receive(input, role, &(struct cutting){.size = size, .random = &state});
	}
}

static void run(int i, enum ws_role role)
{
	struct table_input input;

	table_build(&rows[i], role, &input);
	receive_in_every_way(&input, role);
	table_input_fini(&input);
}

START_TEST(server)
{
	run(_i, WS_SERVER);
}
END_TEST

START_TEST(client)
{
	run(_i, WS_CLIENT);
}
END_TEST

/* The name of a case is that of its TCase, which is what Check reports. */
static void add_cases(Suite *suite)
{
	for (int i = 0; i < (int)row_count; i++) {
		TCase *cases = tcase_create(rows[i].name);

		tcase_set_timeout(cases, 60);
		tcase_add_loop_test(cases, server, i, i + 1);
		tcase_add_loop_test(cases, client, i, i + 1);
		suite_add_tcase(suite, cases);
	}
}

int main(int argc, char **argv)
{
	Suite *suite = suite_create("rfc6455");

	if (argc != 2) {
		fprintf(stderr, "usage: %s CASES\n", argv[0]);
		return 2;
	}
	rows = table_load(argv[1], &row_count);
	add_cases(suite);
	return tap_run(suite);
}
