#include "daemon/session/sess.h"

#include <stdlib.h>

struct bc_span field_raw(struct bc_span object, const char *key)
{
	struct bc_span raw;

	if (object.len == 0 || json_member(object, key, &raw) != BC_OK) {
		return bc_span(NULL, 0);
	}
	return raw;
}

bool field_id(struct bc_span object, const char *key, char out[SESS_ID_MAX])
{
	size_t len;

	return json_string_get(field_raw(object, key), out, SESS_ID_MAX, &len) == BC_OK && len > 0;
}

bool field_is(struct bc_span object, const char *key, const char *string)
{
	return json_string_is(field_raw(object, key), string);
}

char *field_dup(struct bc_span raw)
{
	return bc_span_dup(raw);
}
