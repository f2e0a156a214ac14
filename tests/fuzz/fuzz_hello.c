/* The beginning of a TLS stream: what is wanted next does not depend on how it arrives. */
#include "tests/fuzz/fuzz.h"

#include "daemon/base/bug.h"
#include "daemon/net/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t next = net_hello_wanted(bc_span(NULL, 0));
	size_t len;

	for (len = 0; len <= size && len <= NET_HELLO_MAX; len++) {
		size_t wanted = net_hello_wanted(bc_span((const char *)data, len));

		BC_BUG_ON(wanted != 0 && (wanted <= len || wanted > NET_HELLO_MAX));
		if (len == next) {
			next = wanted;
		}
		BC_BUG_ON(wanted != next);
		if (next == 0) {
			break;
		}
	}
	BC_BUG_ON(next == 0 && net_hello_wanted(bc_span((const char *)data, size)) != 0);
	return 0;
}
