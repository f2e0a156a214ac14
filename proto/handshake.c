#include "proto/handshake.h"

#include "daemon/base/id.h"
#include "proto/b64.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <strings.h>

#define KEY_BYTES  16 /* RFC 6455 4.1 */
#define SHA1_BYTES 20

/* Source: RFC 6455 1.3. */
static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

void ws_key_new(char key[WS_KEY_SIZE])
{
	uint8_t noise[KEY_BYTES];

	bc_random(noise, sizeof(noise));
	key[b64_encode(key, noise, sizeof(noise))] = '\0';
}

void ws_accept_make(struct bc_span key, char accept[WS_ACCEPT_SIZE])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	BC_BUG_ON(context == NULL);
	BC_BUG_ON(EVP_DigestInit_ex(context, EVP_sha1(), /* impl= */ NULL) != 1);
	BC_BUG_ON(EVP_DigestUpdate(context, key.ptr, key.len) != 1);
	BC_BUG_ON(EVP_DigestUpdate(context, guid, sizeof(guid) - 1) != 1);
	BC_BUG_ON(EVP_DigestFinal_ex(context, digest, &len) != 1 || len != SHA1_BYTES);
	EVP_MD_CTX_free(context);
	accept[b64_encode(accept, digest, SHA1_BYTES)] = '\0';
}

static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* A field value: no control character but the tab.  Source: RFC 9110 5.5. */
static bool is_value(struct bc_span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (is_control(text.ptr[i]) && text.ptr[i] != '\t') {
			return false;
		}
	}
	return true;
}

/* What may stand in the request line or in Host: a blank there would end the field for the reader. */
static bool is_word(struct bc_span text)
{
	return text.len > 0 && is_value(text) && memchr(text.ptr, ' ', text.len) == NULL &&
	       memchr(text.ptr, '\t', text.len) == NULL;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct bc_span trim(struct bc_span text)
{
	while (text.len > 0 && is_blank(text.ptr[0])) {
		text.ptr++;
		text.len--;
	}
	while (text.len > 0 && is_blank(text.ptr[text.len - 1])) {
		text.len--;
	}
	return text;
}

static bool eq_nocase(struct bc_span text, const char *word)
{
	return text.len == strlen(word) && strncasecmp(text.ptr, word, text.len) == 0;
}

/* Cut the piece in front of the next comma off a list; false at its end. */
static bool next_listed(struct bc_span *list, struct bc_span *ret)
{
	const char *comma;
	size_t len;

	if (list->len == 0) {
		return false;
	}
	comma = memchr(list->ptr, ',', list->len);
	len = comma == NULL ? list->len : (size_t)(comma - list->ptr);
	*ret = trim(bc_span(list->ptr, len));
	len += comma != NULL;
	*list = bc_span(list->ptr + len, list->len - len);
	return true;
}

/* Take one line off text, without its CRLF; false if there is no whole line. */
static bool next_line(struct bc_span *text, struct bc_span *ret)
{
	const char *end = text->len == 0 ? NULL : memmem(text->ptr, text->len, "\r\n", 2);
	size_t len;

	if (end == NULL) {
		return false;
	}
	len = (size_t)(end - text->ptr);
	*ret = bc_span(text->ptr, len);
	*text = bc_span(end + 2, text->len - len - 2);
	return true;
}

/* "name: value"; a folded line or a blank in front of the colon is refused.  Source: RFC 9112 5. */
static bool split_field(struct bc_span line, struct bc_span *ret_name, struct bc_span *ret_value)
{
	size_t colon = 0;

	while (colon < line.len && is_token_char(line.ptr[colon])) {
		colon++;
	}
	if (colon == 0 || colon == line.len || line.ptr[colon] != ':') {
		return false;
	}
	*ret_name = bc_span(line.ptr, colon);
	*ret_value = trim(bc_span(line.ptr + colon + 1, line.len - colon - 1));
	return is_value(*ret_value);
}

/* Whole lines and no empty one, which would end the head and turn what follows into a body. */
static bool is_field_lines(struct bc_span text)
{
	struct bc_span line;
	struct bc_span name;
	struct bc_span value;

	while (text.len > 0) {
		if (!next_line(&text, &line) || !split_field(line, &name, &value)) {
			return false;
		}
	}
	return true;
}

enum bc_err ws_request_put(struct bc_buf *out, const struct ws_request *request)
{
	bool protocols = request->subprotocols.len > 0;
	struct bc_span headers = request->headers.len > 0 ? request->headers : bc_span("", 0);

	if (!is_word(request->host) || !is_word(request->target) || request->target.ptr[0] != '/' ||
	    !is_value(request->subprotocols) || !is_field_lines(headers)) {
		return BC_E_INVALID;
	}
	return bc_buf_printf(out,
			     "GET %.*s HTTP/1.1\r\n"
			     "Host: %.*s\r\n"
			     "Upgrade: websocket\r\n"
			     "Connection: Upgrade\r\n"
			     "Sec-WebSocket-Key: %s\r\n"
			     "Sec-WebSocket-Version: 13\r\n"
			     "%s%.*s%s%.*s\r\n",
			     BC_SPAN_ARG(request->target), BC_SPAN_ARG(request->host), request->key,
			     protocols ? "Sec-WebSocket-Protocol: " : "",
			     protocols ? (int)request->subprotocols.len : 0,
			     protocols ? request->subprotocols.ptr : "", protocols ? "\r\n" : "",
			     BC_SPAN_ARG(headers));
}

/* What the fields of an answer said. */
struct fields {
	struct bc_span upgrade;
	struct bc_span accept;
	struct bc_span subprotocol;
	unsigned upgrade_count;
	unsigned accept_count;
	unsigned subprotocol_count;
	bool connection_upgrade;
	bool extension;
	bool transfer_coded;
	size_t content_len;
};

/* Decimal digits only; SIZE_MAX, which stands for "absent", is not reached. */
static bool parse_length(struct bc_span text, size_t *ret)
{
	size_t value = 0;

	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9' || value > SIZE_MAX / 10 - 1) {
			return false;
		}
		value = value * 10 + (size_t)(text.ptr[i] - '0');
	}
	*ret = value;
	return text.len > 0;
}

/*
 * Lengths that differ mean that somebody on the way reads the answer differently: refuse.
 * Source: RFC 9112 6.3.
 */
static bool note_length(struct fields *fields, struct bc_span value)
{
	size_t len;

	if (!parse_length(value, &len) ||
	    (fields->content_len != SIZE_MAX && fields->content_len != len)) {
		return false;
	}
	fields->content_len = len;
	return true;
}

static void note_connection(struct fields *fields, struct bc_span list)
{
	struct bc_span option;

	while (next_listed(&list, &option)) {
		if (eq_nocase(option, "upgrade")) {
			fields->connection_upgrade = true;
		}
	}
}

static bool note_field(struct fields *fields, struct bc_span name, struct bc_span value)
{
	if (eq_nocase(name, "Upgrade")) {
		fields->upgrade = value;
		fields->upgrade_count++;
	} else if (eq_nocase(name, "Connection")) {
		note_connection(fields, value);
	} else if (eq_nocase(name, "Sec-WebSocket-Accept")) {
		fields->accept = value;
		fields->accept_count++;
	} else if (eq_nocase(name, "Sec-WebSocket-Protocol")) {
		fields->subprotocol = value;
		fields->subprotocol_count++;
	} else if (eq_nocase(name, "Sec-WebSocket-Extensions")) {
		fields->extension = fields->extension || value.len > 0;
	} else if (eq_nocase(name, "Transfer-Encoding")) {
		fields->transfer_coded = true;
	} else if (eq_nocase(name, "Content-Length")) {
		return note_length(fields, value);
	}
	return true;
}

/* "HTTP/1.x nnn reason"; the blank behind the number may be missing. */
static bool parse_status_line(struct bc_span line, struct ws_answer *answer)
{
	size_t begin = sizeof("HTTP/1.1 ") - 1;
	unsigned status = 0;

	if (line.len < begin + 3 || !is_value(line)) {
		return false;
	}
	for (size_t i = begin; i < begin + 3; i++) {
		if (line.ptr[i] < '0' || line.ptr[i] > '9') {
			return false;
		}
		status = status * 10 + (unsigned)(line.ptr[i] - '0');
	}
	if (status < 100 || (line.len > begin + 3 && line.ptr[begin + 3] != ' ')) {
		return false;
	}
	answer->status = status;
	answer->reason = trim(bc_span(line.ptr + begin + 3, line.len - begin - 3));
	return true;
}

/* Whether the beginning that is there can become "HTTP/1.1 ", or HTTP/1.0 when old is allowed. */
static bool is_http(struct bc_span data, bool old)
{
	static const char version[] = "HTTP/1.1 ";

	for (size_t i = 0; i < data.len && i < sizeof(version) - 1; i++) {
		if (data.ptr[i] != version[i] && !(old && i == 7 && data.ptr[i] == '0')) {
			return false;
		}
	}
	return true;
}

/* One head at the front of data, its fields noted; BC_E_AGAIN while it is incomplete. */
static enum bc_err parse_head(struct bc_span data, bool old, struct ws_answer *answer,
			      struct fields *fields)
{
	const char *end;
	struct bc_span lines;
	struct bc_span line;
	struct bc_span name;
	struct bc_span value;

	if (!is_http(data, old)) {
		return BC_E_PROTO;
	}
	end = data.len == 0 ? NULL : memmem(data.ptr, data.len, "\r\n\r\n", 4);
	if (end == NULL) {
		return BC_E_AGAIN;
	}
	answer->head_len = (size_t)(end - data.ptr) + 4;
	lines = bc_span(data.ptr, answer->head_len - 2);
	if (!next_line(&lines, &line) || !parse_status_line(line, answer)) {
		return BC_E_PROTO;
	}
	*fields = (struct fields){.content_len = SIZE_MAX};
	while (next_line(&lines, &line)) {
		if (!split_field(line, &name, &value) || !note_field(fields, name, value)) {
			return BC_E_PROTO;
		}
	}
	return BC_OK;
}

/*
 * The head of the final answer; interim answers (100, 103) in front of it are passed over, which a client
 * must be able to do (RFC 9110 15.2).  All heads together stay within WS_ANSWER_MAX.
 */
static enum bc_err parse_answer(struct bc_span data, bool old, struct ws_answer *answer,
				struct fields *fields)
{
	size_t visible = data.len < WS_ANSWER_MAX ? data.len : WS_ANSWER_MAX;
	size_t passed = 0;
	enum bc_err err;

	do {
		err = parse_head(bc_span(data.ptr + passed, visible - passed), old, answer, fields);
		if (err == BC_E_AGAIN && data.len >= WS_ANSWER_MAX) {
			return BC_E_LIMIT;
		}
		if (err != BC_OK) {
			return err;
		}
		passed += answer->head_len;
	} while (answer->status < 200 && answer->status != 101);
	answer->head_len = passed;
	return BC_OK;
}

/* Letter case counts in subprotocols.  Source: RFC 6455 4.1. */
static bool was_offered(struct bc_span offered, struct bc_span subprotocol)
{
	struct bc_span one;

	while (next_listed(&offered, &one)) {
		if (bc_span_eq(one, subprotocol)) {
			return true;
		}
	}
	return false;
}

/*
 * Whether a 101 is the answer to our request.  A second Upgrade or Accept is refused even if both agree:
 * no honest server sends it, and intermediaries differ in which one they believe.
 * Source: RFC 6455 4.1.
 */
static bool is_upgrade(const struct fields *fields, const struct ws_request *request)
{
	char accept[WS_ACCEPT_SIZE];

	if (fields->upgrade_count != 1 || !eq_nocase(fields->upgrade, "websocket") ||
	    !fields->connection_upgrade || fields->extension) {
		return false;
	}
	ws_accept_make(bc_span_str(request->key), accept);
	if (fields->accept_count != 1 || !bc_span_is(fields->accept, accept)) {
		return false;
	}
	return fields->subprotocol_count == 0 ||
	       (fields->subprotocol_count == 1 &&
		was_offered(request->subprotocols, fields->subprotocol));
}

enum bc_err ws_answer_parse(struct bc_span data, const struct ws_request *request,
			    struct ws_answer *ret)
{
	struct ws_answer answer = {0};
	struct fields fields;
	enum bc_err err = parse_answer(data, /* old= */ false, &answer, &fields);

	if (err != BC_OK) {
		return err;
	}
	answer.content_len = fields.transfer_coded ? SIZE_MAX : fields.content_len;
	if (answer.status == 101) {
		if (!is_upgrade(&fields, request)) {
			return BC_E_PROTO;
		}
		answer.subprotocol = fields.subprotocol;
	}
	*ret = answer;
	return BC_OK;
}

enum bc_err http_connect_answer_parse(struct bc_span data, struct ws_answer *ret)
{
	struct ws_answer answer = {0};
	struct fields fields;
	enum bc_err err = parse_answer(data, /* old= */ true, &answer, &fields);

	if (err != BC_OK) {
		return err;
	}
	/* A length in the answer to CONNECT means nothing: behind a 2xx the tunnel begins. */
	*ret = (struct ws_answer){.status = answer.status, .head_len = answer.head_len};
	return BC_OK;
}
