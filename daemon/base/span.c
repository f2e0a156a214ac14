#include "daemon/base/span.h"

#include <stdlib.h>

char *bc_span_dup(struct bc_span span)
{
	char *copy = malloc(span.len + 1);

	if (copy == NULL) {
		return NULL;
	}
	if (span.len > 0) {
		memcpy(copy, span.ptr, span.len);
	}
	copy[span.len] = '\0';
	return copy;
}
