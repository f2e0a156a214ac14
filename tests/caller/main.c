/* The scripted caller: options; one call and its time line, or a crowd of them. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/caller/crowd.h"
#include "tests/caller/url.h"

#define HEADER_SIZE 512

struct options {
	const char *url;
	const char *key;
	const char *ca;
	const char *timing;
	const char *provider;
	const char *timeline;
	const char *id;
	bool crowd;
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
	OPT_REPAIRS,
	OPT_REPAIR_RATE,
	OPT_SILENCE,
	OPT_TURNS,
	OPT_ALONE,
	OPT_CROWD
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
	{"repair-rate", required_argument, NULL, OPT_REPAIR_RATE},
	{"silence", required_argument, NULL, OPT_SILENCE},
	{"turns", required_argument, NULL, OPT_TURNS},
	{"alone", required_argument, NULL, OPT_ALONE},
	{"crowd", no_argument, NULL, OPT_CROWD},
	{NULL, 0, NULL, 0},
};

static int usage(void)
{
	(void)fputs(
		"usage: caller --url ws[s]://HOST:PORT/PATH?model=ID --dialogues FILE... --timing FILE\n"
		"              [--dialogue ID] [--key KEY] [--ca FILE] [--format pcm|pcmu|pcma]\n"
		"              [--timeline FILE] [--provider NAME] [--seed N] [--scale X] [--patience S]\n"
		"              [--pause-rate P] [--resume-rate P] [--repairs | --repair-rate P]\n"
		"              [--turns vad|manual|text] [--silence S] [--alone TURN]\n"
		"       caller --crowd ...: without --url, --dialogue, --timeline and --alone; one JSON object\n"
		"              a line on standard input is one call (see tests/caller/crowd.h)\n",
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

/* Parse a word of a list into its index. */
static bool parse_word(const char *text, const char *const *words, size_t n, size_t *ret)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(text, words[i]) == 0) {
			*ret = i;
			return true;
		}
	}
	return false;
}

static bool parse_format(const char *text, enum audio_format *ret)
{
	static const char *const names[] = {
		[AUDIO_PCM16] = "pcm", [AUDIO_PCMU] = "pcmu", [AUDIO_PCMA] = "pcma"};
	size_t i = 0;
	bool found = parse_word(text, names, BC_ARRAY_LEN(names), &i);

	*ret = (enum audio_format)i;
	return found;
}

static bool parse_turns(const char *text, enum call_turns *ret)
{
	static const char *const names[] = {[CALL_TURNS_VAD] = "vad",
					    [CALL_TURNS_MANUAL] = "manual",
					    [CALL_TURNS_TEXT] = "text"};
	size_t i = 0;
	bool found = parse_word(text, names, BC_ARRAY_LEN(names), &i);

	*ret = (enum call_turns)i;
	return found;
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

/* How a call goes. */
static bool parse_manner(int option, struct options *options)
{
	struct call_conf *conf = &options->conf;
	double turn = 0;

	switch (option) {
	case OPT_FORMAT:
		return parse_format(optarg, &conf->format);
	case OPT_TURNS:
		return parse_turns(optarg, &conf->turns);
	case OPT_SILENCE:
		return parse_real(optarg, 0.01, &conf->silence);
	case OPT_ALONE:
		if (!parse_real(optarg, 0, &turn) || turn > 255) {
			return false;
		}
		conf->alone = (int)turn;
		return true;
	case OPT_CROWD:
		options->crowd = true;
		return true;
	default:
		return false;
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
		conf->repair_rate = 1;
		return true;
	case OPT_REPAIR_RATE:
		return parse_real(optarg, 0, &conf->repair_rate) && conf->repair_rate <= 1;
	default:
		return parse_manner(option, options);
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
	return optind == argc && set->n > 0 && options->timing != NULL &&
	       (options->url != NULL) != options->crowd;
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

static void on_ended(void *arg)
{
	ev_break(arg, EVBREAK_ALL);
}

static int make_call(struct options *options, struct ev_loop *loop)
{
	struct call *call = NULL;
	int status = 3;

	options->conf.ended = on_ended;
	options->conf.arg = loop;
	if (call_new(loop, &options->conf, &call) != BC_OK) {
		(void)fprintf(stderr, "caller: cannot connect\n");
	} else {
		ev_run(loop, 0);
		status = report(options, call);
	}
	(void)call_free(call);
	return status;
}

static int run_one(struct options *options, struct ev_loop *loop, const struct dialogue_set *set)
{
	struct url url;
	int status = 0;

	options->conf.dialogue = choose(options, set);
	if (options->conf.dialogue == NULL || !url_parse(options->url, &url)) {
		(void)fprintf(stderr, "caller: no such dialogue, or the URL is none\n");
		return 2;
	}
	options->conf.wire.host = url.host;
	options->conf.wire.port = url.port;
	options->conf.wire.target = url.target;
	if (url.tls && (options->conf.wire.tls = wire_tls_client(options->ca)) == NULL) {
		return 2;
	}
	status = make_call(options, loop);
	options->conf.wire.tls = wire_tls_free(options->conf.wire.tls);
	return status;
}

static int run_crowd(struct options *options, struct ev_loop *loop, const struct dialogue_set *set)
{
	int status = 0;

	if (options->ca != NULL &&
	    (options->conf.wire.tls = wire_tls_client(options->ca)) == NULL) {
		return 2;
	}
	status = crowd_run(loop, &options->conf, set);
	options->conf.wire.tls = wire_tls_free(options->conf.wire.tls);
	return status;
}

static int run(struct options *options, const struct dialogue_set *set)
{
	struct ev_loop *loop = NULL;
	struct timing timing;
	char headers[HEADER_SIZE] = "";
	char error[256];
	int status = 3;

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
	loop = ev_loop_new(EVFLAG_AUTO);
	if (loop != NULL) {
		status = options->crowd ? run_crowd(options, loop, set)
					: run_one(options, loop, set);
		ev_loop_destroy(loop);
	}
	return status;
}

int main(int argc, char **argv)
{
	struct dialogue_set set = {0};
	struct options options = {
		.provider = "gpt-realtime",
		.conf = {
			.seed = 1, .scale = 1, .patience = 30, .silence = -1, .alone = CALL_WHOLE}};
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
