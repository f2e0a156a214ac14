#include "daemon/net/upgrade.h"

#include <ctype.h>

#define PROTOCOLS      "sec-websocket-protocol"
#define KEY_BASE64_LEN 24 /* of 16 bytes */

bool net_upgrade_is_wanted(const struct net_head *head)
{
	return net_head_has_item(head, "upgrade", "websocket");
}

static bool is_nonce(struct bc_span key)
{
	size_t i;

	if (key.len != KEY_BASE64_LEN || memcmp(key.ptr + KEY_BASE64_LEN - 2, "==", 2) != 0) {
		return false;
	}
	for (i = 0; i < KEY_BASE64_LEN - 2; i++) {
		char c = key.ptr[i];

		if (isalnum((unsigned char)c) == 0 && c != '+' && c != '/') {
			return false;
		}
	}
	return true;
}

static bool has_body(const struct net_head *head)
{
	struct bc_span len = net_head_field(head, "content-length");

	return net_head_field(head, "transfer-encoding").len > 0 ||
	       (len.len > 0 && !bc_span_is(len, "0"));
}

unsigned net_upgrade_check(const struct net_head *head)
{
	if (!bc_span_is(head->method, "GET")) {
		return 405;
	}
	if (!bc_span_is(net_head_field(head, "sec-websocket-version"), "13")) {
		return 426;
	}
	if (head->minor < 1 || !net_head_has_item(head, "connection", "upgrade") ||
	    net_head_field(head, "host").len == 0 ||
	    !is_nonce(net_head_field(head, "sec-websocket-key")) || has_body(head)) {
		return 400;
	}
	return 101;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	if (c >= 'a' && c <= 'f') {
		return c - 'a' + 10;
	}
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One character of percent-encoded text; a broken escape stands for itself. */
static char take_decoded(struct bc_span *rest)
{
	char c = rest->ptr[0];
	size_t used = 1;

	if (c == '%' && rest->len >= 3 && hex_digit(rest->ptr[1]) >= 0 &&
	    hex_digit(rest->ptr[2]) >= 0) {
		c = (char)(hex_digit(rest->ptr[1]) << 4 | hex_digit(rest->ptr[2]));
		used = 3;
	}
	*rest = bc_span(rest->ptr + used, rest->len - used);
	return c;
}

bool net_query_names(struct bc_span parameter, const char *name)
{
	const char *end = memchr(parameter.ptr, '=', parameter.len);
	struct bc_span rest = parameter;

	if (end != NULL) {
		rest.len = (size_t)(end - parameter.ptr);
	}
	while (rest.len > 0 && *name != '\0') {
		if (take_decoded(&rest) != *name) {
			return false;
		}
		name++;
	}
	return rest.len == 0 && *name == '\0';
}

static bool is_key(struct bc_span parameter)
{
	return net_query_names(parameter, "key") || net_query_names(parameter, "api-key") ||
	       net_query_names(parameter, "access_token");
}

/* text has been given room for everything, so this cannot fail and moves nothing. */
static void add(struct bc_buf *text, struct bc_span bytes)
{
	BC_BUG_ON(bc_buf_put_span(text, bytes) != BC_OK);
}

/* What add() has written since text was len bytes long. */
static struct bc_span since(const struct bc_buf *text, size_t len)
{
	return bc_span(bc_buf_span(text).ptr + len, bc_buf_len(text) - len);
}

static struct bc_span read_path(struct bc_span path, struct bc_buf *text)
{
	size_t start = bc_buf_len(text);
	size_t i;

	for (i = 0; i < path.len; i++) {
		if (i == 0 || path.ptr[i] != '/' || path.ptr[i - 1] != '/') {
			add(text, bc_span(path.ptr + i, 1));
		}
	}
	return since(text, start);
}

static struct bc_span read_decoded(struct bc_span value, struct bc_buf *text)
{
	size_t start = bc_buf_len(text);

	while (value.len > 0) {
		char c = take_decoded(&value);

		add(text, bc_span(&c, 1));
	}
	return since(text, start);
}

static bool next_parameter(struct bc_span *rest, struct bc_span *ret)
{
	const char *end;

	if (rest->len == 0) {
		return false;
	}
	end = memchr(rest->ptr, '&', rest->len);
	*ret = bc_span(rest->ptr, end == NULL ? rest->len : (size_t)(end - rest->ptr));
	*rest = end == NULL ? bc_span(NULL, 0) : bc_span(end + 1, rest->len - ret->len - 1);
	return true;
}

/* The query without parameters that carry keys; the first key goes to ret_key, still encoded. */
static struct bc_span read_query(struct bc_span query, struct bc_buf *text, struct bc_span *ret_key)
{
	size_t start = bc_buf_len(text);
	struct bc_span all;

	*ret_key = bc_span(NULL, 0);
	while (next_parameter(&query, &all)) {
		const char *sign = memchr(all.ptr, '=', all.len);

		if (!is_key(all)) {
			if (bc_buf_len(text) > start) {
				add(text, BC_SPAN_LIT("&"));
			}
			add(text, all);
		} else if (ret_key->len == 0 && sign != NULL) {
			*ret_key = bc_span(sign + 1, (size_t)(all.ptr + all.len - sign) - 1);
		}
	}
	return since(text, start);
}

/* What follows prefix in the first offered subprotocol that begins with it. */
static struct bc_span offered(const struct net_head *head, const char *prefix)
{
	struct bc_span item;
	size_t cursor = 0;

	while (net_head_next_item(head, PROTOCOLS, &cursor, &item)) {
		if (bc_span_has_prefix(item, prefix)) {
			return bc_span(item.ptr + strlen(prefix), item.len - strlen(prefix));
		}
	}
	return bc_span(NULL, 0);
}

static struct bc_span bearer(const struct net_head *head)
{
	struct bc_span value = net_head_field(head, "authorization");

	if (!net_span_has_prefix_nocase(value, "Bearer ")) {
		return bc_span(NULL, 0);
	}
	value = bc_span(value.ptr + 7, value.len - 7);
	while (value.len > 0 && value.ptr[0] == ' ') {
		value = bc_span(value.ptr + 1, value.len - 1);
	}
	return value;
}

static struct bc_span first_of(struct bc_span a, struct bc_span b)
{
	return a.len > 0 ? a : b;
}

/* A header line for upstream, from the header or the subprotocol of that meaning. */
static void forward(const struct net_head *head, struct bc_buf *text, const char *name,
		    const char *protocol)
{
	struct bc_span value = net_head_field(head, name);

	if (value.len == 0 && protocol != NULL) {
		value = offered(head, protocol);
	}
	if (value.len == 0) {
		return;
	}
	add(text, bc_span_str(name));
	add(text, BC_SPAN_LIT(": "));
	add(text, value);
	add(text, BC_SPAN_LIT("\r\n"));
}

enum bc_err net_upgrade_read(const struct net_head *head, struct bc_buf *text,
			     struct net_upgrade *ret)
{
	struct bc_span target = head->target;
	const char *mark = memchr(target.ptr, '?', target.len);
	size_t path_len = mark == NULL ? target.len : (size_t)(mark - target.ptr);
	struct bc_span query = bc_span(NULL, 0);
	struct bc_span query_key;
	char *room;
	size_t start;
	enum bc_err err = bc_buf_room(text, NET_UPGRADE_TEXT_MAX, &room);

	if (err != BC_OK) {
		return err;
	}
	if (mark != NULL) {
		query = bc_span(mark + 1, target.len - path_len - 1);
	}
	*ret = (struct net_upgrade){.user_agent = net_head_field(head, "user-agent")};
	ret->path = read_path(bc_span(target.ptr, path_len), text);
	ret->query = read_query(query, text, &query_key);
	query_key = read_decoded(query_key, text);
	ret->key =
		first_of(first_of(bearer(head), net_head_field(head, "api-key")),
			 first_of(net_head_field(head, "x-goog-api-key"),
				  first_of(offered(head, "openai-insecure-api-key."), query_key)));
	ret->beta = net_head_has_item(head, "openai-beta", "realtime=v1") ||
		    net_head_has_item(head, PROTOCOLS, "openai-beta.realtime-v1");
	start = bc_buf_len(text);
	forward(head, text, "OpenAI-Organization", "openai-organization.");
	forward(head, text, "OpenAI-Project", "openai-project.");
	forward(head, text, "OpenAI-Safety-Identifier", NULL);
	ret->forwarded_headers = since(text, start);
	return BC_OK;
}

enum bc_err net_upgrade_accept(const struct net_head *head, struct bc_buf *out)
{
	char accept[WS_ACCEPT_SIZE];
	/* Never a name that holds a key, and none at all where "realtime" was not offered. */
	const char *protocol = net_head_has_item(head, PROTOCOLS, "realtime")
				       ? "Sec-WebSocket-Protocol: realtime\r\n"
				       : "";

	ws_accept_make(net_head_field(head, "sec-websocket-key"), accept);
	return bc_buf_printf(out,
			     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
			     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
			     accept, protocol);
}
