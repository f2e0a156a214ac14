/* The ring of what was heard before a turn, against a buffer that is cut. */
#include "daemon/session/sess.h"
#include "tests/unit/tap.h"

#include <check.h>
#include <stdlib.h>

#define KEEP  100 /* bytes */
#define LIMIT 4096

static unsigned draw(unsigned *state, unsigned below)
{
	*state = *state * 1103515245u + 12345u;
	return (*state >> 16) % below;
}

/* What preroll_keep() promises, made by moving everything every time. */
static void keep_plainly(struct bc_buf *kept, struct bc_span audio, size_t keep, unsigned sample)
{
	size_t cut;

	ck_assert_int_eq(bc_buf_put_span(kept, audio), BC_OK);
	cut = audio.len > 0 && bc_buf_len(kept) > keep ? bc_buf_len(kept) - keep : 0;
	bc_buf_consume(kept, cut - cut % sample);
}

static void check_given(struct preroll *preroll, struct bc_buf *kept)
{
	struct bc_buf audio;
	size_t len = bc_buf_len(kept);

	bc_buf_init(&audio, LIMIT);
	ck_assert_int_eq(bc_buf_put_str(&audio, "what comes next"), BC_OK);
	ck_assert_int_eq(bc_buf_put_str(kept, "what comes next"), BC_OK);
	ck_assert_uint_eq(preroll_give(preroll, &audio), len);
	ck_assert(bc_span_eq(bc_buf_span(&audio), bc_buf_span(kept)));
	ck_assert_uint_eq(preroll_give(preroll, &audio), 0);
	bc_buf_clear(kept);
	bc_buf_release(&audio);
}

START_TEST(keeps_the_last)
{
	unsigned state = (unsigned)_i;
	unsigned sample = 1 + (unsigned)_i % 2;
	struct preroll preroll = {0};
	size_t keep = KEEP;
	struct bc_buf kept;

	bc_buf_init(&kept, LIMIT);
	for (unsigned i = 0; i < 500; i++) {
		char bytes[3 * KEEP];
		/* Pieces shorter than what is kept, longer, of odd length, and none. */
		size_t len = draw(&state, draw(&state, 4) == 0 ? sizeof(bytes) : 30);

		for (size_t at = 0; at < len; at++) {
			bytes[at] = (char)draw(&state, 256);
		}
		if (draw(&state, 50) == 0) {
			keep = KEEP / 2 + draw(&state, 2 * KEEP); /* less, or more than ever */
		}
		preroll_keep(&preroll, bc_span(bytes, len), keep, sample);
		keep_plainly(&kept, bc_span(bytes, len), keep, sample);
		if (draw(&state, 20) == 0) {
			check_given(&preroll, &kept);
		}
	}
	check_given(&preroll, &kept);
	preroll_forget(&preroll);
	bc_buf_release(&kept);
}
END_TEST

START_TEST(gives_only_what_fits)
{
	struct preroll preroll = {0};
	struct bc_buf audio;

	preroll_keep(&preroll, BC_SPAN_LIT("before"), KEEP, 1);
	bc_buf_init(&audio, 8);
	ck_assert_int_eq(bc_buf_put_str(&audio, "now"), BC_OK);
	ck_assert_uint_eq(preroll_give(&preroll, &audio), 0);
	ck_assert(bc_span_is(bc_buf_span(&audio), "now"));
	preroll_forget(&preroll);
	preroll_forget(&preroll);
	bc_buf_release(&audio);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("preroll");
	TCase *cases = tcase_create("preroll");

	tcase_add_loop_test(cases, keeps_the_last, 0, 20);
	tcase_add_test(cases, gives_only_what_fits);
	suite_add_tcase(suite, cases);
	return tap_run(suite);
}
