/* backchannel-journal(1): look into a journal from outside. */
#include "daemon/journal/inspect.h"

#include <getopt.h>
#include <stdlib.h>

#define DEFAULT_PATH "/var/lib/backchannel/journal.db"

static const char usage_text[] = "Usage: backchannel-journal [--path FILE] list [--open] [FILE]\n"
				 "       backchannel-journal [--path FILE] show SESSION [FILE]\n"
				 "       backchannel-journal [--path FILE] verify [FILE]\n"
				 "Default FILE: " DEFAULT_PATH "\n";

static int misused(void)
{
	(void)fputs(usage_text, stderr);
	return JRN_INSPECT_UNREADABLE;
}

/* words: the arguments that are no options; the last may name the file. */
static int run(const char *path, bool open_only, int count, char *const *words)
{
	const struct jrn_inspect_output output = {stdout, stderr};
	struct bc_span command = bc_span_str(count > 0 ? words[0] : NULL);
	bool show = bc_span_is(command, "show");
	int count_min = show ? 2 : 1;

	if (count < count_min || count > count_min + 1) {
		return misused();
	}
	if (count > count_min) {
		path = words[count_min];
	}
	if (open_only && !bc_span_is(command, "list")) {
		return misused();
	}
	if (show) {
		return (int)jrn_inspect_show(path, bc_span_str(words[1]), output);
	}
	if (bc_span_is(command, "list")) {
		return (int)jrn_inspect_list(path, open_only, output);
	}
	if (bc_span_is(command, "verify")) {
		return (int)jrn_inspect_verify(path, output);
	}
	return misused();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"path", required_argument, NULL, 'p'},
		{"open", no_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *path = DEFAULT_PATH;
	bool open_only = false;
	int option;
	int status;

	while ((option = getopt_long(argc, argv, "p:oh", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			path = optarg;
			break;
		case 'o':
			open_only = true;
			break;
		case 'h':
			(void)fputs(usage_text, stdout);
			return 0;
		default:
			return misused();
		}
	}
	status = run(path, open_only, argc - optind, argv + optind);
	/* A report that was cut by a full disk or a closed pipe is no report. */
	return fflush(stdout) == 0 && ferror(stdout) == 0 ? status : (int)JRN_INSPECT_UNREADABLE;
}
