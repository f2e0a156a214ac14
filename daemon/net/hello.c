#include "daemon/net/hello.h"

#include <stdint.h>

#define RECORD_HEADER  5 /* type, two bytes of version, two of length */
#define RECORD_MAX     (16 * 1024)
#define TYPE_HANDSHAKE 22
#define VERSION_MAJOR  3
#define MESSAGE_HEADER 4 /* type, three bytes of length */
#define CLIENT_HELLO   1

static size_t body_len(const uint8_t record[RECORD_HEADER])
{
	return (size_t)record[3] << 8 | record[4];
}

static bool is_handshake(const uint8_t record[RECORD_HEADER])
{
	return record[0] == TYPE_HANDSHAKE && record[1] == VERSION_MAJOR && body_len(record) > 0 &&
	       body_len(record) <= RECORD_MAX;
}

/* Whether a message that begins with start is no ClientHello, or is one of at most len bytes. */
static bool is_settled(const uint8_t start[MESSAGE_HEADER], size_t len)
{
	size_t whole = MESSAGE_HEADER + ((size_t)start[1] << 16 | (size_t)start[2] << 8 | start[3]);

	return start[0] != CLIENT_HELLO || len >= whole;
}

size_t net_hello_wanted(struct bc_span bytes)
{
	uint8_t start[MESSAGE_HEADER] = {0};
	size_t message = 0; /* bytes of it in the records before end */
	size_t end = 0;     /* of the records that were looked at */

	while (message < MESSAGE_HEADER || !is_settled(start, message)) {
		const uint8_t *record = (const uint8_t *)bytes.ptr + end;
		size_t wanted = end + RECORD_HEADER;
		size_t i;

		if (wanted <= bytes.len) {
			if (!is_handshake(record)) {
				return 0;
			}
			wanted += body_len(record);
		}
		if (wanted > bytes.len) {
			return wanted > NET_HELLO_MAX ? 0 : wanted;
		}
		/* A client may cut its message anywhere, also within its header. */
		for (i = RECORD_HEADER; end + i < wanted && message < MESSAGE_HEADER; i++) {
			start[message] = record[i];
			message++;
		}
		message += wanted - end - i;
		end = wanted;
	}
	return 0;
}
