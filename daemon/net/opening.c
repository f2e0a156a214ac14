#include "daemon/net/opening.h"

#include "daemon/net/connect.h"

#include <stdlib.h>
#include <string.h>

#define REQUEST_MAX 65536 /* bytes */

void net_opening_wipe(struct bc_buf *buf)
{
	if (buf->mem != NULL) {
		explicit_bzero(buf->mem, buf->cap);
	}
	bc_buf_release(buf);
}

static bool has_line_break(const char *text)
{
	return strpbrk(text, "\r\n") != NULL;
}

static enum bc_err put_headers(struct bc_buf *out, const struct net_target *target)
{
	enum bc_err err = BC_OK;

	if (target->header_name != NULL) {
		if (target->header_value == NULL || has_line_break(target->header_name) ||
		    has_line_break(target->header_value)) {
			return BC_E_INVALID;
		}
		err = bc_buf_printf(out, "%s: %s\r\n", target->header_name, target->header_value);
	}
	return err == BC_OK ? bc_buf_put_span(out, target->headers) : err;
}

static enum bc_err make_request(struct net_opening *opening, const struct net_target *target)
{
	struct bc_buf host;
	struct bc_buf path;
	struct bc_buf headers;
	enum bc_err err;

	bc_buf_init(&host, REQUEST_MAX);
	bc_buf_init(&path, REQUEST_MAX);
	bc_buf_init(&headers, REQUEST_MAX);
	ws_key_new(opening->key);
	err = net_endpoint_put(&host, &opening->target, false);
	if (err == BC_OK) {
		err = net_endpoint_put_target(&path, &opening->target, target->query);
	}
	if (err == BC_OK) {
		err = put_headers(&headers, target);
	}
	if (err == BC_OK) {
		const struct ws_request request = {.host = bc_buf_span(&host),
						   .target = bc_buf_span(&path),
						   .key = opening->key,
						   .headers = bc_buf_span(&headers)};

		err = ws_request_put(&opening->request, &request);
	}
	bc_buf_release(&host);
	bc_buf_release(&path);
	net_opening_wipe(&headers);
	return err;
}

/* Source: RFC 9110 9.3.6. */
static enum bc_err make_tunnel(struct net_opening *opening)
{
	struct bc_buf name;
	enum bc_err err;

	bc_buf_init(&name, REQUEST_MAX);
	err = net_endpoint_put(&name, &opening->target, true);
	if (err == BC_OK) {
		err = bc_buf_printf(&opening->tunnel, "CONNECT %.*s HTTP/1.1\r\nHost: %.*s\r\n\r\n",
				    BC_SPAN_ARG(bc_buf_span(&name)),
				    BC_SPAN_ARG(bc_buf_span(&name)));
	}
	bc_buf_release(&name);
	return err;
}

enum bc_err net_opening_init(struct net_opening *opening, const struct net_target *target)
{
	enum bc_err err;

	*opening = (struct net_opening){.via_proxy = target->proxy != NULL};
	bc_buf_init(&opening->request, REQUEST_MAX);
	bc_buf_init(&opening->tunnel, REQUEST_MAX);
	err = net_endpoint_parse(target->url, &opening->target);
	if (err != BC_OK) {
		return err;
	}
	opening->first = opening->target;
	if (opening->via_proxy) {
		err = net_endpoint_parse(target->proxy, &opening->first);
		err = err == BC_OK ? make_tunnel(opening) : err;
	}
	if (err == BC_OK) {
		err = make_request(opening, target);
	}
	/* It points into the owner's URL. */
	opening->target.rest = bc_span(NULL, 0);
	opening->first.rest = bc_span(NULL, 0);
	if (err == BC_OK && target->ca_file != NULL) {
		opening->ca_file = strdup(target->ca_file);
		err = opening->ca_file == NULL ? BC_E_NOMEM : BC_OK;
	}
	return err;
}

void net_opening_fini(struct net_opening *opening)
{
	net_opening_wipe(&opening->request);
	bc_buf_release(&opening->tunnel);
	free(opening->ca_file);
	opening->ca_file = NULL;
}
