#include "daemon/tools/wire.h"

#include "daemon/config/config.h"
#include "daemon/tools/template.h"

#include <string.h>

#define URL_MAX    ((size_t)16 << 10) /* bytes; servers take 8 KiB or less */
#define HEADER_MAX ((size_t)16 << 10)
#define BODY_MAX   ((size_t)1 << 20)

static enum bc_err terminate(struct bc_buf *buf)
{
	return bc_buf_put(buf, "", 1);
}

static enum bc_err add_header(struct tool_wire *wire, const struct cfg_header *header,
			      const struct tool_values *values, struct bc_buf *reterr_message)
{
	struct bc_buf *line = &wire->lines[wire->header_count];
	enum bc_err err;

	if (wire->header_count == TOOL_HEADERS_MAX) {
		return BC_E_LIMIT;
	}
	bc_buf_init(line, HEADER_MAX);
	wire->header_count++;
	err = tool_fill_header(line, header, values, reterr_message);
	if (err == BC_OK) {
		err = terminate(line);
	}
	return err;
}

static enum bc_err add_headers(struct tool_wire *wire, const struct cfg_request *request,
			       bool keyed, const struct tool_values *values,
			       struct bc_buf *reterr_message)
{
	static const struct cfg_header ours[] = {
		{.name = "Idempotency-Key", .value = "{idempotency_key}"},
		{.name = "User-Agent", .value = TOOL_USER_AGENT},
		{.name = "Content-Type", .value = "application/json"},
	};
	size_t count = BC_ARRAY_LEN(ours) - (request->body == NULL ? 1 : 0);
	struct tool_values own = *values;
	enum bc_err err = BC_OK;
	size_t i;

	/* The call's key on the request that undoes it would make a server take that for the call. */
	own.idempotency_key = values->own_key == NULL ? values->idempotency_key : values->own_key;
	for (i = 0; err == BC_OK && i < request->header_count; i++) {
		err = add_header(wire, &request->headers[i], values, reterr_message);
	}
	for (i = keyed ? 0 : 1; err == BC_OK && i < count; i++) {
		if (tool_header_find(request, ours[i].name) == NULL) {
			err = add_header(wire, &ours[i], &own, reterr_message);
		}
	}
	for (i = 0; i < wire->header_count; i++) {
		wire->headers[i] = bc_buf_span(&wire->lines[i]).ptr;
	}
	return err;
}

enum bc_err tool_wire_init(struct tool_wire *wire, const struct cfg_request *request, bool keyed,
			   const struct tool_values *values, struct bc_buf *reterr_message)
{
	enum bc_err err;

	wire->header_count = 0;
	bc_buf_init(&wire->url, URL_MAX);
	bc_buf_init(&wire->body, BODY_MAX);
	err = tool_fill_url(&wire->url, request, values, reterr_message);
	if (err == BC_OK) {
		err = terminate(&wire->url);
	}
	if (err == BC_OK) {
		err = add_headers(wire, request, keyed, values, reterr_message);
	}
	if (err == BC_OK && request->body != NULL) {
		err = tool_fill_body(&wire->body, request, values, reterr_message);
	}
	return err;
}

void tool_wire_fini(struct tool_wire *wire)
{
	size_t i;

	for (i = 0; i < wire->header_count; i++) {
		bc_buf_release(&wire->lines[i]);
	}
	bc_buf_release(&wire->url);
	bc_buf_release(&wire->body);
}
