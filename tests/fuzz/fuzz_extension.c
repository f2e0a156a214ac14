/* What a client may send as an extension event: what is taken keeps its promises, and what is not has its reason. */
#include "tests/fuzz/fuzz.h"

#include "proto/extension.h"
#include "proto/json.h"

#include <stdlib.h>

static void check_within(struct bc_span all, struct bc_span part)
{
	BC_BUG_ON(part.len > 0 && (part.ptr < all.ptr || part.ptr + part.len > all.ptr + all.len));
}

static void check_taken(const struct ext_event *event)
{
	bool words = event->type == EXT_INPUT_TEXT_PARTIAL || event->type == EXT_INPUT_TEXT_FINAL;

	BC_BUG_ON(event->type >= EXT_WELCOME);
	BC_BUG_ON(event->item_id.len > 0 && !json_raw_is_string(event->item_id));
	BC_BUG_ON(event->type != EXT_HELLO && event->wants != 0);
	BC_BUG_ON((event->wants & ((1u << EXT_WELCOME) - 1)) != 0 ||
		  (event->wants >> (EXT_TYPE__COUNT - 1) >> 1) != 0);
	if (words) {
		BC_BUG_ON(event->revision < 1 || event->revision > EXT_REVISION_MAX);
		BC_BUG_ON(!json_raw_is_string(event->text));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bc_span bytes = bc_span((const char *)data, size);
	struct ext_event event;
	struct ext_fault fault = {NULL, NULL};
	enum bc_err err = ext_event_read(bytes, &event, &fault);

	check_within(bytes, event.event_id);
	if (err == BC_OK) {
		check_within(bytes, event.text);
		check_within(bytes, event.item_id);
		check_taken(&event);
		return 0;
	}
	BC_BUG_ON(fault.code == NULL || fault.message == NULL);
	BC_BUG_ON(err != BC_E_SYNTAX && err != BC_E_INVALID && err != BC_E_NOTFOUND);
	BC_BUG_ON((err == BC_E_NOTFOUND) != (event.type == EXT_TYPE__COUNT));
	return 0;
}
