/*
 * The simulated reasoner: an OpenAI-compatible /v1/chat/completions on 127.0.0.1 that streams the steps of mind.h.
 *
 *   simreasoner --dialogues FILE [--listen PORT] [--first MS] [--token MS]
 *
 * Prints "listening PORT".  The model a request names is the dialogue's id; an unknown one is the first dialogue.
 */
#include "daemon/base/buf.h"
#include "proto/json.h"
#include "tests/reasoner/mind.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BODY_MAX  ((size_t)16 << 20) /* bytes of a request */
#define STEP_MAX  65536              /* bytes of a step */
#define TOKEN_LEN 4                  /* bytes of a token */

struct reasoner {
	struct dialogue_set dialogues;
	unsigned long first_ms;
	unsigned long token_ms;
};

struct exchange {
	struct bc_buf body;
	struct bc_buf step;
	const struct reasoner *reasoner;
	size_t told; /* bytes of the step that were sent */
	bool begun;
	bool ended;
};

static void nap(unsigned long ms)
{
	struct timespec time = {.tv_sec = (time_t)(ms / 1000),
				.tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&time, NULL);
}

/* Whole characters of about one token. */
static size_t token_len(struct bc_span text)
{
	size_t len = text.len < TOKEN_LEN ? text.len : TOKEN_LEN;

	while (len < text.len && ((unsigned char)text.ptr[len] & 0xc0) == 0x80) {
		len++;
	}
	return len;
}

/* The next chunk, which takes its time; there is a thread for each connection. */
static ssize_t read_chunk(void *arg, uint64_t position, char *out, size_t size)
{
	struct exchange *exchange = arg;
	struct bc_span rest = bc_buf_span(&exchange->step);
	struct bc_buf chunk;
	ssize_t len;

	(void)position;
	if (exchange->ended) {
		return MHD_CONTENT_READER_END_OF_STREAM;
	}
	nap(exchange->begun ? exchange->reasoner->token_ms : exchange->reasoner->first_ms);
	exchange->begun = true;
	rest = bc_span(rest.ptr + exchange->told, rest.len - exchange->told);
	rest.len = token_len(rest);
	exchange->told += rest.len;
	bc_buf_init(&chunk, size);
	if (rest.len == 0) {
		exchange->ended = true;
		BC_BUG_ON(bc_buf_put_str(&chunk,
					 "data: {\"choices\":[{\"index\":0,\"delta\":{},"
					 "\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n") !=
			  BC_OK);
	} else {
		BC_BUG_ON(bc_buf_put_str(&chunk, "data: {\"choices\":[{\"index\":0,\"delta\":{"
						 "\"content\":") != BC_OK ||
			  json_string_put(&chunk, rest) != BC_OK ||
			  bc_buf_put_str(&chunk, "},\"finish_reason\":null}]}\n\n") != BC_OK);
	}
	len = (ssize_t)bc_buf_len(&chunk);
	memcpy(out, bc_buf_span(&chunk).ptr, (size_t)len);
	bc_buf_release(&chunk);
	return len;
}

static const struct dialogue *pick(const struct reasoner *reasoner, const json_t *request)
{
	const char *model = json_string_value(json_object_get(request, "model"));
	const struct dialogue *found = dialogue_find(&reasoner->dialogues, bc_span_str(model));

	return found == NULL ? reasoner->dialogues.items[0] : found;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status)
{
	static char text[] = "{\"error\":{\"message\":\"That is no request for a stream.\"}}";
	struct MHD_Response *response =
		MHD_create_response_from_buffer(sizeof(text) - 1, text, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result = MHD_queue_response(connection, status, response);

	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer(struct MHD_Connection *connection, struct exchange *exchange)
{
	json_t *request = json_parse(bc_buf_span(&exchange->body));
	const json_t *messages = json_object_get(request, "messages");
	struct MHD_Response *response;
	enum MHD_Result result;

	if (!json_is_array(messages) || !json_is_true(json_object_get(request, "stream")) ||
	    mind_step(pick(exchange->reasoner, request), messages, &exchange->step) != BC_OK) {
		json_decref(request);
		return refuse(connection, MHD_HTTP_BAD_REQUEST);
	}
	json_decref(request);
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_chunk, exchange,
						     NULL);
	(void)MHD_add_response_header(response, "Content-Type", "text/event-stream");
	result = MHD_queue_response(connection, MHD_HTTP_OK, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_size, void **state)
{
	struct exchange *exchange = *state;

	(void)version;
	if (exchange == NULL) {
		exchange = calloc(1, sizeof(*exchange));
		BC_BUG_ON(exchange == NULL);
		exchange->reasoner = arg;
		bc_buf_init(&exchange->body, BODY_MAX);
		bc_buf_init(&exchange->step, STEP_MAX);
		*state = exchange;
		return MHD_YES;
	}
	if (*upload_size > 0) {
		enum bc_err err = bc_buf_put(&exchange->body, upload, *upload_size);

		*upload_size = 0;
		return err == BC_OK ? MHD_YES : MHD_NO;
	}
	if (strcmp(method, "POST") != 0 || strcmp(url, "/v1/chat/completions") != 0) {
		return refuse(connection, MHD_HTTP_NOT_FOUND);
	}
	return answer(connection, exchange);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode code)
{
	struct exchange *exchange = *state;

	(void)arg;
	(void)connection;
	(void)code;
	if (exchange != NULL) {
		bc_buf_release(&exchange->body);
		bc_buf_release(&exchange->step);
		free(exchange);
	}
}

static int usage(void)
{
	(void)fputs(
		"usage: simreasoner --dialogues FILE [--listen PORT] [--first MS] [--token MS]\n",
		stderr);
	return 2;
}

/* false: an option is wrong. */
static bool parse(int argc, char **argv, struct reasoner *reasoner, unsigned long *ret_port)
{
	static const struct option options[] = {{"dialogues", required_argument, NULL, 'd'},
						{"listen", required_argument, NULL, 'l'},
						{"first", required_argument, NULL, 'f'},
						{"token", required_argument, NULL, 't'},
						{NULL, 0, NULL, 0}};
	char error[256];
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		unsigned long number = optarg == NULL ? 0 : strtoul(optarg, NULL, 10);

		if (option == 'd') {
			if (dialogue_set_load(&reasoner->dialogues, optarg, error, sizeof(error)) !=
			    BC_OK) {
				(void)fprintf(stderr, "simreasoner: %s\n", error);
				return false;
			}
		} else if (option == 'l' && number <= UINT16_MAX) {
			*ret_port = number;
		} else if (option == 'f') {
			reasoner->first_ms = number;
		} else if (option == 't') {
			reasoner->token_ms = number;
		} else {
			return false;
		}
	}
	return optind == argc && reasoner->dialogues.n > 0;
}

int main(int argc, char **argv)
{
	struct reasoner reasoner = {.first_ms = 100, .token_ms = 1};
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	unsigned long port = 0;
	struct MHD_Daemon *http;
	sigset_t ends;
	int got;

	if (!parse(argc, argv, &reasoner, &port)) {
		return usage();
	}
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	address.sin_port = htons((uint16_t)port);
	http = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0,
				NULL, NULL, on_request, &reasoner, MHD_OPTION_SOCK_ADDR,
				(struct sockaddr *)&address, MHD_OPTION_NOTIFY_COMPLETED,
				on_completed, NULL, MHD_OPTION_END);
	if (http == NULL) {
		(void)fputs("simreasoner: cannot listen\n", stderr);
		return 1;
	}
	(void)printf("listening %u\n",
		     (unsigned)MHD_get_daemon_info(http, MHD_DAEMON_INFO_BIND_PORT)->port);
	(void)fflush(stdout);
	(void)sigwait(&ends, &got);
	MHD_stop_daemon(http);
	dialogue_set_release(&reasoner.dialogues);
	return 0;
}
