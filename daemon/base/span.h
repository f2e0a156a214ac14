/*
 * A view of bytes somebody else owns.  A span lives no longer than what it points into: a frame, a
 * buffer or a string literal, named where the span is handed over.  No terminating NUL is implied.
 */
#ifndef BACKCHANNEL_BASE_SPAN_H
#define BACKCHANNEL_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct bc_span {
	const char *ptr; /* may be NULL when len is 0 */
	size_t len;      /* bytes */
};

/* printf's "%.*s" for a span: printf("%.*s", BC_SPAN_ARG(s)). */
#define BC_SPAN_ARG(span) (int)(span).len, (span).ptr

/* A string literal as a span, usable as an initializer. */
#define BC_SPAN_LIT(literal) ((struct bc_span){(literal), sizeof(literal) - 1})

static inline struct bc_span bc_span(const char *ptr, size_t len)
{
	return (struct bc_span){ptr, len};
}

/* A NUL-terminated string as a span; NULL gives the empty span. */
static inline struct bc_span bc_span_str(const char *string)
{
	return (struct bc_span){string, string == NULL ? 0 : strlen(string)};
}

static inline bool bc_span_eq(struct bc_span a, struct bc_span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool bc_span_is(struct bc_span span, const char *string)
{
	return bc_span_eq(span, bc_span_str(string));
}

static inline bool bc_span_has_prefix(struct bc_span span, const char *prefix)
{
	size_t len = strlen(prefix);

	return span.len >= len && memcmp(span.ptr, prefix, len) == 0;
}

/* Heap copy with a terminating NUL, owned by the caller (free); NULL when out of memory. */
char *bc_span_dup(struct bc_span span);

#endif
