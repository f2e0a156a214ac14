#include "daemon/reasoning.h"

#include "daemon/bridge.h"
#include "daemon/net/http.h"

#include <string.h>

#define REASONING_MAGIC   0x7265736fu
#define AUTHORIZATION_MAX 8192              /* bytes of the header that carries the key */
#define ANSWER_MAX        (8 * 1024 * 1024) /* bytes of one streamed answer */

static void on_bytes(void *arg, struct bc_span bytes)
{
	struct reasoning *reasoning = arg;

	BC_CHECK(reasoning, REASONING_MAGIC);
	sess_reason_bytes(reasoning->bridge->sess, bytes);
}

static enum bc_err error_of(const struct net_http_answer *answer)
{
	switch (answer->end) {
	case NET_HTTP_DONE:
		if (answer->status / 100 == 2) {
			return BC_OK;
		}
		return answer->status / 100 == 4 ? BC_E_REFUSED : BC_E_UPSTREAM;
	case NET_HTTP_TIMEOUT:
		return BC_E_TIMEOUT;
	case NET_HTTP_TOO_BIG:
		return BC_E_LIMIT;
	case NET_HTTP_UNREACHABLE:
	case NET_HTTP_LOST:
		break;
	}
	return BC_E_UPSTREAM;
}

static void on_end(void *arg, const struct net_http_answer *answer)
{
	struct reasoning *reasoning = arg;

	BC_CHECK(reasoning, REASONING_MAGIC);
	reasoning->call = NULL;
	sess_reason_ended(reasoning->bridge->sess, error_of(answer), answer->status,
			  answer->retry_after);
}

bool reasoning_start(struct reasoning *reasoning, struct bridge *bridge, struct bc_span body)
{
	const struct cfg_reasoner *conf = &bridge->cfg->reasoner;
	char authorization[AUTHORIZATION_MAX];
	const char *headers[] = {"Content-Type: application/json", "Accept: text/event-stream",
				 authorization};
	struct net_http_request request = {.method = "POST",
					   .url = conf->url,
					   .headers = headers,
					   .header_count = conf->key.value == NULL ? 2 : 3,
					   .body = body,
					   .has_body = true,
					   .timeout = conf->timeout,
					   .response_max = ANSWER_MAX,
					   .ca_file = conf->ca_file,
					   .bytes = on_bytes};
	enum bc_err err;

	BC_BUG_ON(reasoning->call != NULL);
	*reasoning = (struct reasoning){.magic = REASONING_MAGIC, .bridge = bridge};
	if (conf->key.value != NULL &&
	    snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s",
		     conf->key.value) >= (int)sizeof(authorization)) {
		return false;
	}
	err = net_http_start(bridge->worker->http, &request, on_end, reasoning, &reasoning->call);
	explicit_bzero(authorization, sizeof(authorization));
	return err == BC_OK;
}

void reasoning_cancel(struct reasoning *reasoning)
{
	if (reasoning->call != NULL) {
		net_http_cancel(reasoning->call);
		reasoning->call = NULL;
	}
}
