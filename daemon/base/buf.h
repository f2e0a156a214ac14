/*
 * A byte buffer that grows up to a limit and is consumed from the front.
 *
 *   mem            mem+head          mem+tail          mem+cap
 *    |  consumed     |  content (len)  |  free            |
 *
 * Invariant B1: head <= tail <= cap <= max(limit, 0); mem is NULL exactly when cap is 0.
 * An empty buffer holds no memory after bc_buf_release(), so idle sessions pay nothing for it.
 */
#ifndef BACKCHANNEL_BASE_BUF_H
#define BACKCHANNEL_BASE_BUF_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <stdarg.h>
#include <stddef.h>

struct bc_buf {
	char *mem;
	size_t head;  /* offset of the first content byte */
	size_t tail;  /* offset behind the last content byte */
	size_t cap;   /* bytes allocated */
	size_t limit; /* content never grows beyond this many bytes */
};

/* limit > 0, bytes.  Allocates nothing. */
void bc_buf_init(struct bc_buf *buf, size_t limit);

/* Free the memory; the buffer is empty and usable again with the same limit. */
void bc_buf_release(struct bc_buf *buf);

/* Drop the content, keep the memory. */
void bc_buf_clear(struct bc_buf *buf);

static inline size_t bc_buf_len(const struct bc_buf *buf)
{
	return buf->tail - buf->head;
}

/* The content; valid until the next call that changes the buffer. */
static inline struct bc_span bc_buf_span(const struct bc_buf *buf)
{
	return bc_span(buf->mem == NULL ? "" : buf->mem + buf->head, buf->tail - buf->head);
}

/*
 * Room for at least len more bytes at the end: *ret points to it, commit with bc_buf_grow().
 * BC_E_LIMIT if the content would exceed the limit, BC_E_NOMEM; the buffer is unchanged then.
 */
enum bc_err bc_buf_room(struct bc_buf *buf, size_t len, char **ret) BC_MUST;

/* len bytes written at the end through bc_buf_room() become content. */
void bc_buf_grow(struct bc_buf *buf, size_t len);

/* Append; errors as bc_buf_room(), all or nothing. */
enum bc_err bc_buf_put(struct bc_buf *buf, const void *bytes, size_t len) BC_MUST;
enum bc_err bc_buf_put_span(struct bc_buf *buf, struct bc_span span) BC_MUST;
enum bc_err bc_buf_put_str(struct bc_buf *buf, const char *string) BC_MUST;
enum bc_err bc_buf_printf(struct bc_buf *buf, const char *format, ...) BC_MUST BC_PRINTF(2, 3);

/* Remove len <= bc_buf_len() bytes from the front. */
void bc_buf_consume(struct bc_buf *buf, size_t len);

/* Keep the first len <= bc_buf_len() bytes only. */
void bc_buf_cut(struct bc_buf *buf, size_t len);

#endif
