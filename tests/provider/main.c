/* simprovider: a Realtime provider without a model, for tests and measurements.  127.0.0.1 only. */
#include "tests/provider/session.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
	"usage: simprovider [OPTION]...\n"
	"  --listen [127.0.0.1:]PORT  0 chooses a free port; it is printed as \"listening PORT\"\n"
	"  --cert FILE --key-file FILE  serve wss with this certificate and key (PEM)\n"
	"  --key KEY                API key clients must show; others get 401\n"
	"  --dialogues FILE         JSON lines; chosen by ?model=<id>, ?model=sim:<id>, the header\n"
	"                           X-Simulated-Dialogue or \"sim:<id>\" in the instructions\n"
	"  --script FILE            rules for sessions without a dialogue\n"
	"  --timing FILE --profile NAME --seed N --scale X  the simulated world\n"
	"  --rule clause|word       when a call is determined\n"
	"  --log FILE               every event, decision and final conversation as JSON lines\n"
	"  --refuse STATUS          answer every upgrade with that HTTP status\n"
	"  --drop-after N           cut the connection behind the N-th client event\n"
	"  --drop-at TYPE           cut it behind the first server event of that type\n"
	"  --reject-inline-audio    refuse audio in response.create input\n"
	"  --anonymous-errors       collision errors carry no event_id of the client\n"
	"  --cancel-delay MS        response.done that long after a cancel\n"
	"  --rival RATE             turns in which the default response decides otherwise\n"
	"  --early-wrong RATE --premature RATE --disagree RATE  errors of passes\n"
	"  --silent                 nothing after session.created\n"
	"  --reset-vad              an update of turn_detection forgets the speech under way\n"
	"  --fail N                 every session's N-th response fails for its rate limit\n";

enum option_id {
	OPT_LISTEN = 256,
	OPT_CERT,
	OPT_KEY_FILE,
	OPT_KEY,
	OPT_DIALOGUES,
	OPT_SCRIPT,
	OPT_TIMING,
	OPT_PROFILE,
	OPT_SEED,
	OPT_SCALE,
	OPT_RULE,
	OPT_LOG,
	OPT_REFUSE,
	OPT_DROP_AFTER,
	OPT_DROP_AT,
	OPT_REJECT_INLINE,
	OPT_ANONYMOUS,
	OPT_CANCEL_DELAY,
	OPT_RIVAL,
	OPT_EARLY_WRONG,
	OPT_PREMATURE,
	OPT_DISAGREE,
	OPT_SILENT,
	OPT_RESET_VAD,
	OPT_FAIL
};

static const struct option long_options[] = {
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"cert", required_argument, NULL, OPT_CERT},
	{"key-file", required_argument, NULL, OPT_KEY_FILE},
	{"key", required_argument, NULL, OPT_KEY},
	{"dialogues", required_argument, NULL, OPT_DIALOGUES},
	{"script", required_argument, NULL, OPT_SCRIPT},
	{"timing", required_argument, NULL, OPT_TIMING},
	{"profile", required_argument, NULL, OPT_PROFILE},
	{"seed", required_argument, NULL, OPT_SEED},
	{"scale", required_argument, NULL, OPT_SCALE},
	{"rule", required_argument, NULL, OPT_RULE},
	{"log", required_argument, NULL, OPT_LOG},
	{"refuse", required_argument, NULL, OPT_REFUSE},
	{"drop-after", required_argument, NULL, OPT_DROP_AFTER},
	{"drop-at", required_argument, NULL, OPT_DROP_AT},
	{"reject-inline-audio", no_argument, NULL, OPT_REJECT_INLINE},
	{"anonymous-errors", no_argument, NULL, OPT_ANONYMOUS},
	{"cancel-delay", required_argument, NULL, OPT_CANCEL_DELAY},
	{"rival", required_argument, NULL, OPT_RIVAL},
	{"early-wrong", required_argument, NULL, OPT_EARLY_WRONG},
	{"premature", required_argument, NULL, OPT_PREMATURE},
	{"disagree", required_argument, NULL, OPT_DISAGREE},
	{"silent", no_argument, NULL, OPT_SILENT},
	{"reset-vad", no_argument, NULL, OPT_RESET_VAD},
	{"fail", required_argument, NULL, OPT_FAIL},
	{NULL, 0, NULL, 0},
};

static unsigned number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

/* Options whose value is kept as it is. */
static bool text_take(struct options *options, int id, const char *value)
{
	switch (id) {
	case OPT_CERT:
		options->cert = value;
		return true;
	case OPT_KEY_FILE:
		options->key_file = value;
		return true;
	case OPT_KEY:
		options->key = value;
		return true;
	case OPT_DIALOGUES:
		options->dialogues = value;
		return true;
	case OPT_SCRIPT:
		options->script = value;
		return true;
	case OPT_TIMING:
		options->timing = value;
		return true;
	case OPT_PROFILE:
		options->profile = value;
		return true;
	case OPT_LOG:
		options->log = value;
		return true;
	case OPT_DROP_AT:
		options->drop_at = value;
		return true;
	default:
		return false;
	}
}

/* Options that are numbers. */
static bool number_take(struct options *options, int id, const char *value)
{
	switch (id) {
	case OPT_SEED:
		options->seed = strtoull(value, NULL, 10);
		return true;
	case OPT_SCALE:
		options->scale = strtod(value, NULL);
		return options->scale > 0.0;
	case OPT_REFUSE:
		options->refuse = number(value);
		return true;
	case OPT_DROP_AFTER:
		options->drop_after = number(value);
		return true;
	case OPT_FAIL:
		options->fail = number(value);
		return true;
	case OPT_CANCEL_DELAY:
		options->cancel_delay = strtod(value, NULL) / 1000.0;
		return true;
	case OPT_RIVAL:
		options->rival = strtod(value, NULL);
		return true;
	case OPT_EARLY_WRONG:
		options->early_wrong = strtod(value, NULL);
		return true;
	case OPT_PREMATURE:
		options->premature = strtod(value, NULL);
		return true;
	case OPT_DISAGREE:
		options->disagree = strtod(value, NULL);
		return true;
	default:
		return false;
	}
}

static bool other_take(struct options *options, int id, const char *value)
{
	switch (id) {
	case OPT_LISTEN:
		options->port = number(value + (strncmp(value, "127.0.0.1:", 10) == 0 ? 10 : 0));
		return options->port <= UINT16_MAX;
	case OPT_RULE:
		options->clause = strcmp(value, "clause") == 0;
		return options->clause || strcmp(value, "word") == 0;
	case OPT_REJECT_INLINE:
		options->reject_inline_audio = true;
		return true;
	case OPT_ANONYMOUS:
		options->anonymous_errors = true;
		return true;
	case OPT_SILENT:
		options->silent = true;
		return true;
	case OPT_RESET_VAD:
		options->reset_vad = true;
		return true;
	default:
		return false;
	}
}

static bool options_parse(int argc, char **argv, struct options *options)
{
	int id;

	*options = (struct options){.profile = "gpt-realtime",
				    .timing = "tests/provider/timing.json",
				    .seed = 1,
				    .scale = 1.0,
				    .clause = true,
				    .early_wrong = -1.0,
				    .premature = -1.0,
				    .disagree = -1.0};
	while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (!text_take(options, id, optarg) && !number_take(options, id, optarg) &&
		    !other_take(options, id, optarg)) {
			return false;
		}
	}
	return optind == argc && (options->cert == NULL) == (options->key_file == NULL);
}

static bool files_load(struct provider *provider)
{
	const struct options *options = &provider->options;
	char error[512] = "";
	json_error_t where;

	if (timing_load(options->timing, options->profile, &provider->timing, error,
			sizeof(error)) != BC_OK ||
	    (options->dialogues != NULL &&
	     dialogue_set_load(&provider->dialogues, options->dialogues, error, sizeof(error)) !=
		     BC_OK)) {
		fprintf(stderr, "simprovider: %s\n", error);
		return false;
	}
	if (options->script != NULL) {
		provider->script = json_load_file(options->script, 0, &where);
		if (provider->script == NULL) {
			fprintf(stderr, "simprovider: %s:%d: %s\n", options->script, where.line,
				where.text);
			return false;
		}
	}
	if (options->log != NULL) {
		provider->log = fopen(options->log, "we");
		if (provider->log == NULL) {
			fprintf(stderr, "simprovider: %s: %s\n", options->log, strerror(errno));
			return false;
		}
	}
	return true;
}

static bool listening_begin(struct provider *provider)
{
	struct wire_listen_conf conf = {
		.port = provider->options.port, .accept = session_accept, .arg = provider};

	if (provider->options.cert != NULL) {
		provider->tls = wire_tls_server(provider->options.cert, provider->options.key_file);
		if (provider->tls == NULL) {
			return false;
		}
		conf.tls = provider->tls;
	}
	if (wire_listen(provider->loop, &conf, &provider->listener) != BC_OK) {
		fprintf(stderr, "simprovider: cannot listen on 127.0.0.1:%u: %s\n", conf.port,
			strerror(errno));
		return false;
	}
	printf("listening %u\n", wire_listener_port(provider->listener));
	fflush(stdout);
	return true;
}

static void stop(struct ev_loop *loop, ev_signal *signal, int events)
{
	(void)signal;
	(void)events;
	ev_break(loop, EVBREAK_ALL);
}

int main(int argc, char **argv)
{
	struct provider provider = {.loop = ev_default_loop(0)};
	ev_signal terminate;
	ev_signal interrupt;
	bool ready;

	TAILQ_INIT(&provider.live);
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage_text, stdout);
		return 0;
	}
	if (!options_parse(argc, argv, &provider.options)) {
		fputs(usage_text, stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	provider.started = ev_time();
	ready = files_load(&provider) && listening_begin(&provider);
	if (ready) {
		ev_signal_init(&terminate, stop, SIGTERM);
		ev_signal_init(&interrupt, stop, SIGINT);
		ev_signal_start(provider.loop, &terminate);
		ev_signal_start(provider.loop, &interrupt);
		ev_run(provider.loop, 0);
		ev_signal_stop(provider.loop, &terminate);
		ev_signal_stop(provider.loop, &interrupt);
		sessions_end(&provider);
	}
	wire_listener_free(provider.listener);
	dialogue_set_release(&provider.dialogues);
	json_decref(provider.script);
	wire_tls_free(provider.tls);
	if (provider.log != NULL) {
		fclose(provider.log);
	}
	return ready ? 0 : 1;
}
