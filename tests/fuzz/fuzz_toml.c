/* The configuration loader on an arbitrary document; what it accepts is printed, and loads again to the same. */
#include "daemon/config/load.h"
#include "tests/fuzz/fuzz.h"

#define TEXT_MAX ((size_t)64 << 20) /* bytes: escapes make a text several times longer */

/* Print cfg and load what was printed; once more printed it must be the same text. */
static void round_trip(const struct cfg *cfg)
{
	struct bc_buf findings, first, second;
	struct cfg *again = NULL;

	bc_buf_init(&findings, TEXT_MAX);
	bc_buf_init(&first, TEXT_MAX);
	bc_buf_init(&second, TEXT_MAX);
	BC_BUG_ON(cfg_print(cfg, &first) != BC_OK);
	/* with the defaults written out a text may outgrow what a file may hold */
	if (bc_buf_len(&first) <= CFG_FILE_SIZE_MAX) {
		BC_BUG_ON(cfg_load_text("again.toml", bc_buf_span(&first), &findings, &again) !=
			  BC_OK);
		BC_BUG_ON(cfg_print(again, &second) != BC_OK);
		BC_BUG_ON(!bc_span_eq(bc_buf_span(&first), bc_buf_span(&second)));
		again = cfg_unref(again);
	}
	bc_buf_release(&findings);
	bc_buf_release(&first);
	bc_buf_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bc_buf findings;
	struct cfg *cfg = NULL;
	enum bc_err err;

	bc_buf_init(&findings, (size_t)1 << 20);
	err = cfg_load_text("fuzz.toml", bc_span((const char *)data, size), &findings, &cfg);
	BC_BUG_ON(err != BC_OK && err != BC_E_INVALID);
	BC_BUG_ON((err == BC_OK) != (bc_buf_len(&findings) == 0));
	if (err == BC_OK) {
		round_trip(cfg);
	}
	cfg = cfg_unref(cfg);
	bc_buf_release(&findings);
	return 0;
}
