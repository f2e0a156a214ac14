/* The scripted caller: options, one call, its time line. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/caller/call.h"

#define ID_SIZE     128
#define HEADER_SIZE 512
#define HOST_SIZE   256

struct options {
	const char *url;
	const char *key;
	const char *ca;
	const char *timing;
	const char *provider;
	const char *timeline;
	const char *id;
	struct call_conf conf;
};

enum {
	OPT_URL = 256,
	OPT_KEY,
	OPT_CA,
	OPT_DIALOGUES,
	OPT_DIALOGUE,
	OPT_TIMING,
	OPT_PROVIDER,
	OPT_TIMELINE,
	OPT_FORMAT,
	OPT_SEED,
	OPT_SCALE,
	OPT_PAUSE_RATE,
	OPT_RESUME_RATE,
	OPT_PATIENCE,
	OPT_REPAIRS
};

static const struct option option_table[] = {
	{"url", required_argument, NULL, OPT_URL},
	{"key", required_argument, NULL, OPT_KEY},
	{"ca", required_argument, NULL, OPT_CA},
	{"dialogues", required_argument, NULL, OPT_DIALOGUES},
	{"dialogue", required_argument, NULL, OPT_DIALOGUE},
	{"timing", required_argument, NULL, OPT_TIMING},
	{"provider", required_argument, NULL, OPT_PROVIDER},
	{"timeline", required_argument, NULL, OPT_TIMELINE},
	{"format", required_argument, NULL, OPT_FORMAT},
	{"seed", required_argument, NULL, OPT_SEED},
	{"scale", required_argument, NULL, OPT_SCALE},
	{"pause-rate", required_argument, NULL, OPT_PAUSE_RATE},
	{"resume-rate", required_argument, NULL, OPT_RESUME_RATE},
	{"patience", required_argument, NULL, OPT_PATIENCE},
	{"repairs", no_argument, NULL, OPT_REPAIRS},
	{NULL, 0, NULL, 0},
};

static int usage(void)
{
	(void)fputs(
		"usage: caller --url ws[s]://HOST:PORT/PATH?model=ID --dialogues FILE... --timing FILE\n"
		"              [--dialogue ID] [--key KEY] [--ca FILE] [--format pcm|pcmu|pcma]\n"
		"              [--timeline FILE] [--provider NAME] [--seed N] [--scale X] [--patience S]\n"
		"              [--pause-rate P] [--resume-rate P] [--repairs]\n",
		stderr);
	return 2;
}

static bool parse_real(const char *text, double min, double *ret)
{
	char *end = NULL;

	errno = 0;
	*ret = strtod(text, &end);
	return errno == 0 && end != text && *end == '\0' && *ret >= min && *ret <= 1e6;
}

static bool parse_format(const char *text, enum audio_format *ret)
{
	static const char *const names[] = {
		[AUDIO_PCM16] = "pcm", [AUDIO_PCMU] = "pcmu", [AUDIO_PCMA] = "pcma"};

	for (size_t i = 0; i < BC_ARRAY_LEN(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum audio_format)i;
			return true;
		}
	}
	return false;
}

static bool load_dialogues(struct dialogue_set *set, char *const *argv)
{
	char error[256];

	for (optind--; argv[optind] != NULL && argv[optind][0] != '-'; optind++) {
		if (dialogue_set_load(set, argv[optind], error, sizeof(error)) != BC_OK) {
			(void)fprintf(stderr, "caller: %s\n", error);
			return false;
		}
	}
	return true;
}

/* Where an option that is kept as text goes; NULL: it is none of these. */
static const char **text_option(int option, struct options *options)
{
	switch (option) {
	case OPT_URL:
		return &options->url;
	case OPT_KEY:
		return &options->key;
	case OPT_CA:
		return &options->ca;
	case OPT_DIALOGUE:
		return &options->id;
	case OPT_TIMING:
		return &options->timing;
	case OPT_PROVIDER:
		return &options->provider;
	case OPT_TIMELINE:
		return &options->timeline;
	default:
		return NULL;
	}
}

static bool parse_option(int option, struct options *options)
{
	struct call_conf *conf = &options->conf;
	const char **text = text_option(option, options);
	char *end = NULL;

	if (text != NULL) {
		*text = optarg;
		return true;
	}
	switch (option) {
	case OPT_FORMAT:
		return parse_format(optarg, &conf->format);
	case OPT_SEED:
		errno = 0;
		conf->seed = strtoull(optarg, &end, 10);
		return errno == 0 && end != optarg && *end == '\0';
	case OPT_SCALE:
		return parse_real(optarg, 0.01, &conf->scale);
	case OPT_PAUSE_RATE:
		return parse_real(optarg, 0, &conf->pause_rate) && conf->pause_rate <= 1;
	case OPT_RESUME_RATE:
		return parse_real(optarg, 0, &conf->resume_rate) && conf->resume_rate <= 1;
	case OPT_PATIENCE:
		return parse_real(optarg, 0.1, &conf->patience);
	case OPT_REPAIRS:
		conf->repairs = true;
		return true;
	default:
		return false;
	}
}

static bool parse_options(int argc, char **argv, struct options *options, struct dialogue_set *set)
{
	int option = 0;

	while ((option = getopt_long(argc, argv, "+", option_table, NULL)) != -1) {
		if (option == OPT_DIALOGUES ? !load_dialogues(set, argv)
					    : !parse_option(option, options)) {
			return false;
		}
	}
	return optind == argc && set->n > 0 && options->timing != NULL && options->url != NULL;
}

/* The parts of the URL; host and id are filled as strings. */
static bool parse_url(const char *url, struct wire_connect_conf *wire, char host[HOST_SIZE],
		      bool *ret_tls)
{
	const char *at = url;
	size_t len = 0;
	unsigned long port = 0;
	char *end = NULL;

	*ret_tls = strncmp(url, "wss://", 6) == 0;
	if (!*ret_tls && strncmp(url, "ws://", 5) != 0) {
		return false;
	}
	at += *ret_tls ? 6 : 5;
	len = strcspn(at, ":/?");
	if (len == 0 || len >= HOST_SIZE || at[len] != ':') {
		return false;
	}
	memcpy(host, at, len);
	host[len] = '\0';
	port = strtoul(at + len + 1, &end, 10);
	if (port == 0 || port > UINT16_MAX || *end != '/') {
		return false;
	}
	wire->host = host;
	wire->port = (unsigned)port;
	wire->target = end;
	return true;
}

/* The dialogue is named by --dialogue, else by the model in the URL. */
static const struct dialogue *choose(const struct options *options, const struct dialogue_set *set)
{
	const char *model = strstr(options->url, "model=");
	struct bc_span id = bc_span_str(options->id);

	if (options->id == NULL && model != NULL) {
		id = bc_span(model + 6, strcspn(model + 6, "&"));
	}
	return dialogue_find(set, id);
}

static void print_turns(const json_t *timeline)
{
	size_t index = 0;
	json_t *turn = NULL;
	json_t *breach = NULL;

	json_array_foreach(json_object_get(timeline, "turns"), index, turn) {
		json_t *latency = json_object_get(turn, "latency");

		if (json_is_real(latency)) {
			(void)printf("turn %zu: %.3f s\n", index, json_real_value(latency));
		} else {
			(void)printf("turn %zu: no answer\n", index);
		}
	}
	json_array_foreach(json_object_get(timeline, "breaches"), index, breach) {
		(void)printf("breach: %s\n", json_string_value(breach));
	}
}

static int report(const struct options *options, const struct call *call)
{
	json_t *timeline = call_timeline(call);
	int status = call_went_well(call) ? 0 : 1;

	if (timeline == NULL) {
		return 1;
	}
	print_turns(timeline);
	if (options->timeline != NULL &&
	    json_dump_file(timeline, options->timeline, JSON_INDENT(1) | JSON_REAL_PRECISION(15)) !=
		    0) {
		(void)fprintf(stderr, "caller: cannot write %s\n", options->timeline);
		status = 1;
	}
	json_decref(timeline);
	return status;
}

static int make_call(const struct options *options)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	struct call *call = NULL;
	int status = 3;

	if (loop == NULL || call_new(loop, &options->conf, &call) != BC_OK) {
		(void)fprintf(stderr, "caller: cannot connect\n");
	} else {
		ev_run(loop, 0);
		status = report(options, call);
	}
	(void)call_free(call);
	if (loop != NULL) {
		ev_loop_destroy(loop);
	}
	return status;
}

static int run(struct options *options, const struct dialogue_set *set)
{
	struct timing timing;
	char host[HOST_SIZE];
	char headers[HEADER_SIZE] = "";
	char error[256];
	bool tls = false;
	int status = 0;

	options->conf.dialogue = choose(options, set);
	if (options->conf.dialogue == NULL ||
	    !parse_url(options->url, &options->conf.wire, host, &tls)) {
		(void)fprintf(stderr, "caller: no such dialogue, or the URL is none\n");
		return 2;
	}
	if (timing_load(options->timing, options->provider, &timing, error, sizeof(error)) !=
	    BC_OK) {
		(void)fprintf(stderr, "caller: %s\n", error);
		return 2;
	}
	options->conf.timing = &timing;
	if (options->key != NULL) {
		(void)snprintf(headers, sizeof(headers), "Authorization: Bearer %s\r\n",
			       options->key);
	}
	options->conf.wire.headers = headers;
	if (tls && (options->conf.wire.tls = wire_tls_client(options->ca)) == NULL) {
		return 2;
	}
	status = make_call(options);
	options->conf.wire.tls = wire_tls_free(options->conf.wire.tls);
	return status;
}

int main(int argc, char **argv)
{
	struct dialogue_set set = {0};
	struct options options = {.provider = "gpt-realtime",
				  .conf = {.seed = 1, .scale = 1, .patience = 30}};
	int status = 0;

	/* A peer that goes away is an event of the connection, not the end of the program. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (!parse_options(argc, argv, &options, &set)) {
		status = usage();
	} else {
		status = run(&options, &set);
	}
	dialogue_set_release(&set);
	return status;
}
