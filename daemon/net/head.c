#include "daemon/net/head.h"

#include <string.h>
#include <strings.h>

#define CURSOR_FIELD_SHIFT 16 /* cursor: index of the field, then offset in its value */

bool net_span_is_nocase(struct bc_span span, const char *string)
{
	return span.len == strlen(string) && strncasecmp(span.ptr, string, span.len) == 0;
}

bool net_span_has_prefix_nocase(struct bc_span span, const char *prefix)
{
	size_t len = strlen(prefix);

	return span.len >= len && strncasecmp(span.ptr, prefix, len) == 0;
}

bool net_head_is_complete(struct bc_span data, size_t seen)
{
	size_t from = seen < 3 ? 0 : seen - 3;
	size_t len = data.len < NET_HEAD_MAX ? data.len : NET_HEAD_MAX;

	return from < len && memmem(data.ptr + from, len - from, "\r\n\r\n", 4) != NULL;
}

/* Take what stands before the separator; false: it does not occur. */
static bool take_until(struct bc_span *rest, const char *separator, struct bc_span *ret)
{
	size_t len = strlen(separator);
	const char *end = memmem(rest->ptr, rest->len, separator, len);

	if (end == NULL) {
		return false;
	}
	*ret = bc_span(rest->ptr, (size_t)(end - rest->ptr));
	*rest = bc_span(end + len, rest->len - ret->len - len);
	return true;
}

static bool is_token(struct bc_span span)
{
	size_t i;

	for (i = 0; i < span.len; i++) {
		char c = span.ptr[i];

		if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c) != NULL) {
			return false;
		}
	}
	return span.len > 0;
}

static bool is_visible(struct bc_span span)
{
	size_t i;

	for (i = 0; i < span.len; i++) {
		if (span.ptr[i] <= ' ' || span.ptr[i] >= 0x7f) {
			return false;
		}
	}
	return true;
}

static bool is_value(struct bc_span span)
{
	size_t i;

	for (i = 0; i < span.len; i++) {
		unsigned char c = (unsigned char)span.ptr[i];

		if ((c < ' ' && c != '\t') || c == 0x7f) {
			return false;
		}
	}
	return true;
}

static struct bc_span trim(struct bc_span span)
{
	while (span.len > 0 && (span.ptr[0] == ' ' || span.ptr[0] == '\t')) {
		span = bc_span(span.ptr + 1, span.len - 1);
	}
	while (span.len > 0 && (span.ptr[span.len - 1] == ' ' || span.ptr[span.len - 1] == '\t')) {
		span.len--;
	}
	return span;
}

static bool parse_request_line(struct bc_span line, struct net_head *head)
{
	if (!take_until(&line, " ", &head->method) || !take_until(&line, " ", &head->target)) {
		return false;
	}
	if (bc_span_is(line, "HTTP/1.1")) {
		head->minor = 1;
	} else if (bc_span_is(line, "HTTP/1.0")) {
		head->minor = 0;
	} else {
		return false;
	}
	return is_token(head->method) && head->target.len > 0 && head->target.ptr[0] == '/' &&
	       is_visible(head->target);
}

static bool parse_field(struct bc_span line, struct net_field *field)
{
	if (!take_until(&line, ":", &field->name)) {
		return false;
	}
	field->value = trim(line);
	return is_token(field->name) && is_value(field->value);
}

enum bc_err net_head_parse(struct bc_span data, struct net_head *ret)
{
	struct net_head head = {.field_count = 0};
	struct bc_span rest = data;
	struct bc_span line;

	if (!take_until(&rest, "\r\n", &line) || !parse_request_line(line, &head)) {
		return BC_E_PROTO;
	}
	while (take_until(&rest, "\r\n", &line)) {
		if (line.len == 0) {
			head.len = (size_t)(rest.ptr - data.ptr);
			*ret = head;
			return BC_OK;
		}
		if (head.field_count == NET_FIELDS_MAX) {
			return BC_E_LIMIT;
		}
		if (!parse_field(line, &head.fields[head.field_count])) {
			return BC_E_PROTO;
		}
		head.field_count++;
	}
	return BC_E_PROTO;
}

struct bc_span net_head_field(const struct net_head *head, const char *name)
{
	size_t i;

	for (i = 0; i < head->field_count; i++) {
		if (net_span_is_nocase(head->fields[i].name, name)) {
			return head->fields[i].value;
		}
	}
	return bc_span(NULL, 0);
}

bool net_head_next_item(const struct net_head *head, const char *name, size_t *cursor,
			struct bc_span *ret_item)
{
	size_t i = *cursor >> CURSOR_FIELD_SHIFT;
	size_t at = *cursor & (((size_t)1 << CURSOR_FIELD_SHIFT) - 1);

	for (; i < head->field_count; i++, at = 0) {
		struct bc_span value = head->fields[i].value;

		if (!net_span_is_nocase(head->fields[i].name, name)) {
			continue;
		}
		while (at < value.len) {
			struct bc_span rest = bc_span(value.ptr + at, value.len - at);
			struct bc_span item = rest;

			(void)take_until(&rest, ",", &item);
			at += item.len + 1;
			item = trim(item);
			if (item.len > 0) {
				*ret_item = item;
				*cursor = i << CURSOR_FIELD_SHIFT | at;
				return true;
			}
		}
	}
	return false;
}

bool net_head_has_item(const struct net_head *head, const char *name, const char *token)
{
	struct bc_span item;
	size_t cursor = 0;

	while (net_head_next_item(head, name, &cursor, &item)) {
		if (net_span_is_nocase(item, token)) {
			return true;
		}
	}
	return false;
}
