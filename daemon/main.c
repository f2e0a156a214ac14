/* backchanneld: command line, configuration, then server.c. */
#include "daemon/base/log.h"
#include "daemon/config/config.h"
#include "daemon/server.h"
#include "daemon/tools/tool.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFIG_PATH "/etc/backchannel/backchannel.toml"

#define EXIT_CONFIG 2

enum action {
	SERVE,
	CHECK,
	PRINT
};

struct arguments {
	const char *path;
	enum action action;
	int status; /* when done already: exit status; else -1 */
};

static void usage(FILE *out)
{
	(void)fputs(
		"usage: backchanneld [--config FILE] [--check | --print-config]\n"
		"       backchanneld --version | --help\n"
		"\n"
		"  --config FILE    configuration to read, default " CONFIG_PATH "\n"
		"  --check          read and check the configuration, start nothing\n"
		"  --print-config   print what is in effect, defaults included, secrets as references\n",
		out);
}

static struct arguments arguments_read(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
		{"print-config", no_argument, NULL, 'p'}, {"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
	struct arguments arguments = {.path = CONFIG_PATH, .action = SERVE, .status = -1};
	int option;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			arguments.path = optarg;
			break;
		case 'k':
			arguments.action = CHECK;
			break;
		case 'p':
			arguments.action = PRINT;
			break;
		case 'v':
			(void)puts("backchanneld " BC_VERSION);
			arguments.status = EXIT_SUCCESS;
			return arguments;
		case 'h':
			usage(stdout);
			arguments.status = EXIT_SUCCESS;
			return arguments;
		default:
			usage(stderr);
			arguments.status = EXIT_CONFIG;
			return arguments;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "backchanneld: unexpected argument \"%s\"\n", argv[optind]);
		usage(stderr);
		arguments.status = EXIT_CONFIG;
	}
	return arguments;
}

static int print(const struct cfg *cfg)
{
	struct bc_buf text;
	int status = EXIT_FAILURE;

	bc_buf_init(&text, 16u << 20);
	if (cfg_print(cfg, &text) == BC_OK &&
	    fwrite(bc_buf_span(&text).ptr, 1, bc_buf_len(&text), stdout) == bc_buf_len(&text)) {
		status = EXIT_SUCCESS;
	}
	bc_buf_release(&text);
	return status;
}

static int act(const struct arguments *arguments, struct cfg *cfg)
{
	switch (arguments->action) {
	case CHECK:
		(void)printf("%s: ok\n", arguments->path);
		return EXIT_SUCCESS;
	case PRINT:
		return print(cfg);
	case SERVE:
		return server_run(cfg, arguments->path);
	}
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct arguments arguments = arguments_read(argc, argv);
	struct bc_buf findings;
	struct cfg *cfg;
	int status;

	if (arguments.status >= 0) {
		return arguments.status;
	}
	cfg_schema_check_set(tool_schema_check);
	cfg_request_check_set(tool_request_check);
	bc_buf_init(&findings, 65536);
	if (cfg_load(arguments.path, &findings, &cfg) != BC_OK) {
		(void)fprintf(stderr, "%.*s", BC_SPAN_ARG(bc_buf_span(&findings)));
		bc_buf_release(&findings);
		return EXIT_CONFIG;
	}
	bc_buf_release(&findings);
	status = act(&arguments, cfg);
	cfg_unref(cfg);
	return status;
}
