/* The tool server of tests and demo: options, files and signals. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/toolserver/server.h"

struct options {
	unsigned port;
	const char *timing;
	const char *effects;
	const char *hold;
	struct backend_conf conf;
};

enum {
	OPT_LISTEN = 256,
	OPT_DIALOGUES,
	OPT_EFFECTS,
	OPT_TIMING,
	OPT_PROFILE,
	OPT_SEED,
	OPT_SCALE,
	OPT_HOLD,
	OPT_PREVIOUS,
	OPT_FAIL_RATE,
	OPT_ERROR_RATE,
	OPT_LOSE_RATE,
	OPT_HANG_RATE
};

static const struct option option_table[] = {
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"dialogues", required_argument, NULL, OPT_DIALOGUES},
	{"effects", required_argument, NULL, OPT_EFFECTS},
	{"timing", required_argument, NULL, OPT_TIMING},
	{"profile", required_argument, NULL, OPT_PROFILE},
	{"seed", required_argument, NULL, OPT_SEED},
	{"scale", required_argument, NULL, OPT_SCALE},
	{"hold", required_argument, NULL, OPT_HOLD},
	{"previous", no_argument, NULL, OPT_PREVIOUS},
	{"fail-rate", required_argument, NULL, OPT_FAIL_RATE},
	{"error-rate", required_argument, NULL, OPT_ERROR_RATE},
	{"lose-rate", required_argument, NULL, OPT_LOSE_RATE},
	{"hang-rate", required_argument, NULL, OPT_HANG_RATE},
	{NULL, 0, NULL, 0},
};

static int usage(void)
{
	(void)fputs(
		"usage: toolserver --dialogues FILE... --timing FILE [--listen PORT] [--effects FILE]\n"
		"                  [--profile fast|typical|slow|uniform|SECONDS] [--seed N] [--scale X]\n"
		"                  [--hold TOOL] [--previous] [--fail-rate R] [--error-rate R] [--lose-rate R] [--hang-rate R]\n",
		stderr);
	return 2;
}

static bool parse_seconds(const char *text, double *ret)
{
	char *end = NULL;

	errno = 0;
	*ret = strtod(text, &end);
	return errno == 0 && end != text && *end == '\0' && *ret >= 0 && *ret < 1e6;
}

static bool parse_number(const char *text, unsigned long max, unsigned long *ret)
{
	char *end = NULL;

	errno = 0;
	*ret = strtoul(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && *ret <= max;
}

static bool parse_profile(const char *text, struct backend_conf *conf)
{
	static const char *const names[] = {"fast", "typical", "slow", "uniform"};

	for (size_t i = 0; i < BC_ARRAY_LEN(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			conf->profile = (enum backend_profile)i;
			return true;
		}
	}
	conf->profile = BACKEND_CONSTANT;
	return parse_seconds(text, &conf->constant);
}

/* Load one file and, as in "--dialogues a.jsonl b.jsonl", the words that follow up to the next option. */
static bool load_dialogues(struct dialogue_set *set, char *const *argv)
{
	char error[256];

	for (optind--; argv[optind] != NULL && argv[optind][0] != '-'; optind++) {
		if (dialogue_set_load(set, argv[optind], error, sizeof(error)) != BC_OK) {
			(void)fprintf(stderr, "toolserver: %s\n", error);
			return false;
		}
	}
	return true;
}

/* Where the rate of a fault goes; NULL: the option is none. */
static double *fault_option(int option, struct backend_faults *faults)
{
	switch (option) {
	case OPT_FAIL_RATE:
		return &faults->fail;
	case OPT_ERROR_RATE:
		return &faults->error;
	case OPT_LOSE_RATE:
		return &faults->lose;
	case OPT_HANG_RATE:
		return &faults->hang;
	default:
		return NULL;
	}
}

static bool parse_fault(int option, struct backend_faults *faults)
{
	double *rate = fault_option(option, faults);

	return rate != NULL && parse_seconds(optarg, rate) &&
	       faults->fail + faults->error + faults->lose + faults->hang <= 1.0;
}

static bool parse_option(int option, struct options *options)
{
	unsigned long number = 0;

	switch (option) {
	case OPT_LISTEN:
		if (!parse_number(optarg, UINT16_MAX, &number)) {
			return false;
		}
		options->port = (unsigned)number;
		return true;
	case OPT_SEED:
		if (!parse_number(optarg, ULONG_MAX, &number)) {
			return false;
		}
		options->conf.seed = number;
		return true;
	case OPT_EFFECTS:
		options->effects = optarg;
		return true;
	case OPT_TIMING:
		options->timing = optarg;
		return true;
	case OPT_HOLD:
		options->hold = optarg;
		return true;
	case OPT_PROFILE:
		return parse_profile(optarg, &options->conf);
	case OPT_SCALE:
		return parse_seconds(optarg, &options->conf.scale) && options->conf.scale > 0;
	case OPT_PREVIOUS:
		options->conf.previous = true;
		return true;
	default:
		return parse_fault(option, &options->conf.faults);
	}
}

static bool parse_options(int argc, char **argv, struct options *options, struct dialogue_set *set)
{
	int option = 0;

	/* "+": stop at the first word that is no option; --dialogues takes its further files itself. */
	while ((option = getopt_long(argc, argv, "+", option_table, NULL)) != -1) {
		if (option == OPT_DIALOGUES ? !load_dialogues(set, argv)
					    : !parse_option(option, options)) {
			return false;
		}
	}
	return optind == argc && set->n > 0 && options->timing != NULL;
}

/* Serve until SIGTERM or SIGINT. */
static int serve(const struct options *options, struct backend *backend, const sigset_t *signals)
{
	struct server *server = backend == NULL ? NULL : server_new(backend, options->port);
	int number = 0;

	if (server == NULL) {
		return 1;
	}
	if (options->hold != NULL && server_hold(server, options->hold) != BC_OK) {
		(void)fprintf(stderr, "toolserver: cannot hold %s\n", options->hold);
		(void)server_free(server);
		return 2;
	}
	(void)printf("listening %u\n", server_port(server));
	(void)fflush(stdout);
	(void)sigwait(signals, &number);
	(void)server_free(server);
	return 0;
}

static int run(struct options *options)
{
	struct timing timing;
	struct backend *backend = NULL;
	sigset_t signals;
	char error[256];
	int status = 1;

	if (timing_load(options->timing, "gpt-realtime", &timing, error, sizeof(error)) != BC_OK) {
		(void)fprintf(stderr, "toolserver: %s\n", error);
		return 1;
	}
	options->conf.timing = &timing;
	if (options->effects != NULL &&
	    (options->conf.effects = fopen(options->effects, "ae")) == NULL) {
		(void)fprintf(stderr, "toolserver: %s: %s\n", options->effects, strerror(errno));
		return 1;
	}
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	/* Before any thread starts, so that only sigwait() sees them. */
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	backend = backend_new(&options->conf);
	status = serve(options, backend, &signals);
	(void)backend_free(backend);
	if (options->conf.effects != NULL) {
		(void)fclose(options->conf.effects);
	}
	return status;
}

int main(int argc, char **argv)
{
	struct dialogue_set set = {0};
	struct options options = {
		.conf = {.dialogues = &set, .profile = BACKEND_TYPICAL, .seed = 1, .scale = 1}};
	int status = parse_options(argc, argv, &options, &set) ? run(&options) : usage();

	dialogue_set_release(&set);
	return status;
}
