#include "daemon/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_CAP_MIN 256 /* bytes of the first allocation */

static void check(const struct bc_buf *buf)
{
	BC_BUG_ON(buf->head > buf->tail || buf->tail > buf->cap);
	BC_BUG_ON((buf->mem == NULL) != (buf->cap == 0));
}

void bc_buf_init(struct bc_buf *buf, size_t limit)
{
	BC_BUG_ON(limit == 0);
	*buf = (struct bc_buf){.limit = limit};
}

void bc_buf_release(struct bc_buf *buf)
{
	free(buf->mem);
	*buf = (struct bc_buf){.limit = buf->limit};
}

void bc_buf_clear(struct bc_buf *buf)
{
	buf->head = 0;
	buf->tail = 0;
}

static void slide(struct bc_buf *buf)
{
	size_t len = bc_buf_len(buf);

	if (buf->head == 0) {
		return;
	}
	if (len > 0) {
		memmove(buf->mem, buf->mem + buf->head, len);
	}
	buf->head = 0;
	buf->tail = len;
}

static enum bc_err enlarge(struct bc_buf *buf, size_t wanted)
{
	size_t cap = buf->cap < BUF_CAP_MIN ? BUF_CAP_MIN : buf->cap;
	char *mem;

	while (cap < wanted) {
		cap = cap > buf->limit / 2 ? buf->limit : cap * 2;
		if (cap >= buf->limit) {
			cap = buf->limit > wanted ? buf->limit : wanted;
		}
	}
	mem = realloc(buf->mem, cap);
	if (mem == NULL) {
		return BC_E_NOMEM;
	}
	buf->mem = mem;
	buf->cap = cap;
	return BC_OK;
}

enum bc_err bc_buf_room(struct bc_buf *buf, size_t len, char **ret)
{
	enum bc_err err;

	check(buf);
	if (len > buf->limit || bc_buf_len(buf) > buf->limit - len) {
		return BC_E_LIMIT;
	}
	if (buf->cap - buf->tail < len) {
		slide(buf);
	}
	if (buf->cap - buf->tail < len || buf->cap == 0) {
		err = enlarge(buf, buf->tail + len);
		if (err != BC_OK) {
			return err;
		}
	}
	*ret = buf->mem + buf->tail;
	return BC_OK;
}

void bc_buf_grow(struct bc_buf *buf, size_t len)
{
	BC_BUG_ON(len > buf->cap - buf->tail);
	buf->tail += len;
}

enum bc_err bc_buf_put(struct bc_buf *buf, const void *bytes, size_t len)
{
	char *room;
	enum bc_err err;

	if (len == 0) {
		return BC_OK;
	}
	err = bc_buf_room(buf, len, &room);
	if (err != BC_OK) {
		return err;
	}
	memcpy(room, bytes, len);
	bc_buf_grow(buf, len);
	return BC_OK;
}

enum bc_err bc_buf_put_span(struct bc_buf *buf, struct bc_span span)
{
	return bc_buf_put(buf, span.ptr, span.len);
}

enum bc_err bc_buf_put_str(struct bc_buf *buf, const char *string)
{
	return bc_buf_put(buf, string, strlen(string));
}

enum bc_err bc_buf_printf(struct bc_buf *buf, const char *format, ...)
{
	va_list args;
	char *room;
	enum bc_err err;
	int len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	BC_BUG_ON(len < 0);
	err = bc_buf_room(buf, (size_t)len + 1, &room);
	if (err != BC_OK) {
		return err;
	}
	va_start(args, format);
	(void)vsnprintf(room, (size_t)len + 1, format, args);
	va_end(args);
	bc_buf_grow(buf, (size_t)len);
	return BC_OK;
}

void bc_buf_consume(struct bc_buf *buf, size_t len)
{
	BC_BUG_ON(len > bc_buf_len(buf));
	buf->head += len;
	if (buf->head == buf->tail) {
		bc_buf_clear(buf);
	}
}

void bc_buf_cut(struct bc_buf *buf, size_t len)
{
	BC_BUG_ON(len > bc_buf_len(buf));
	buf->tail = buf->head + len;
}
