/*
 * A client's request: the head and what is read from it.  Whatever is accepted must be safe to put into another
 * request line by line.
 */
#include "tests/fuzz/fuzz.h"

#include "daemon/net/head.h"
#include "daemon/net/upgrade.h"

static void check_lines(struct bc_span lines)
{
	size_t i;

	for (i = 0; i < lines.len; i++) {
		char c = lines.ptr[i];

		BC_BUG_ON(c == '\0');
		BC_BUG_ON(c == '\n' && (i == 0 || lines.ptr[i - 1] != '\r'));
		BC_BUG_ON(c == '\r' && (i + 1 == lines.len || lines.ptr[i + 1] != '\n'));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bc_span bytes = bc_span((const char *)data, size);
	struct net_upgrade upgrade;
	struct net_head head;
	struct bc_buf text;
	struct bc_buf answer;

	if (!net_head_is_complete(bytes, 0) || net_head_parse(bytes, &head) != BC_OK) {
		return 0;
	}
	BC_BUG_ON(head.len > size || head.target.len == 0 || head.target.ptr[0] != '/');
	bc_buf_init(&text, NET_UPGRADE_TEXT_MAX);
	bc_buf_init(&answer, NET_HEAD_MAX);
	BC_BUG_ON(net_upgrade_read(&head, &text, &upgrade) != BC_OK);
	check_lines(upgrade.forwarded_headers);
	BC_BUG_ON(upgrade.path.len == 0 || upgrade.path.ptr[0] != '/');
	if (net_upgrade_is_wanted(&head) && net_upgrade_check(&head) == 101) {
		BC_BUG_ON(net_upgrade_accept(&head, &answer) != BC_OK);
	}
	bc_buf_release(&text);
	bc_buf_release(&answer);
	return 0;
}
