/* Collects the changes to one event, then makes the new text in one go; everything else keeps its bytes. */
#include "daemon/session/sess.h"

#define INSERT_MAX (1u << 24) /* bytes of one inserted text */

void rewrite_begin(struct rewrite *rewrite, struct bc_span original)
{
	rewrite->original = original;
	rewrite->count = 0;
	rewrite->failed = false;
}

static struct json_edit *edit_new(struct rewrite *rewrite)
{
	if (rewrite->count >= REWRITE_EDITS_MAX) {
		rewrite->failed = true;
		return NULL;
	}
	bc_buf_init(&rewrite->inserts[rewrite->count], INSERT_MAX);
	return &rewrite->edits[rewrite->count++];
}

void rewrite_replace(struct rewrite *rewrite, struct bc_span at, struct bc_span text)
{
	struct json_edit *edit = edit_new(rewrite);
	struct bc_buf *insert;

	if (edit == NULL) {
		return;
	}
	insert = &rewrite->inserts[rewrite->count - 1];
	BC_BUG_ON(at.ptr < rewrite->original.ptr ||
		  at.ptr + at.len > rewrite->original.ptr + rewrite->original.len);
	if (bc_buf_put_span(insert, text) != BC_OK) {
		rewrite->failed = true;
	}
	*edit = (struct json_edit){.at = (size_t)(at.ptr - rewrite->original.ptr),
				   .remove = at.len,
				   .text = bc_buf_span(insert)};
}

void rewrite_replace_string(struct rewrite *rewrite, struct bc_span at, const char *string)
{
	struct bc_buf quoted;

	bc_buf_init(&quoted, 1024);
	if (json_string_put(&quoted, bc_span_str(string)) != BC_OK) {
		rewrite->failed = true;
	} else {
		rewrite_replace(rewrite, at, bc_buf_span(&quoted));
	}
	bc_buf_release(&quoted);
}

void rewrite_set(struct rewrite *rewrite, struct bc_span object, const char *key,
		 struct bc_span raw)
{
	struct json_edit *edit = edit_new(rewrite);

	if (edit != NULL && json_edit_set(rewrite->original, object, key, raw,
					  &rewrite->inserts[rewrite->count - 1], edit) != BC_OK) {
		rewrite->failed = true;
		*edit = (struct json_edit){.at = 0, .remove = 0, .text = bc_span(NULL, 0)};
	}
}

/* At most REWRITE_EDITS_MAX: insertion sort. */
static void sort_edits(struct rewrite *rewrite)
{
	for (unsigned i = 1; i < rewrite->count; i++) {
		struct json_edit edit = rewrite->edits[i];
		unsigned at = i;

		while (at > 0 && rewrite->edits[at - 1].at > edit.at) {
			rewrite->edits[at] = rewrite->edits[at - 1];
			at--;
		}
		rewrite->edits[at] = edit;
	}
}

bool rewrite_end(struct rewrite *rewrite, struct bc_buf *out)
{
	bool ok;

	bc_buf_init(out, rewrite->original.len + REWRITE_EDITS_MAX * (size_t)INSERT_MAX);
	sort_edits(rewrite);
	ok = !rewrite->failed &&
	     json_splice(out, rewrite->original, rewrite->edits, rewrite->count) == BC_OK;
	for (unsigned i = 0; i < rewrite->count; i++) {
		bc_buf_release(&rewrite->inserts[i]);
	}
	return ok;
}
