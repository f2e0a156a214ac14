/* backchannelctl(1): what an operator does beside the running gateway; makes client keys. */
#include "daemon/base/id.h"
#include "daemon/config/config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 2

#define NAME_MAX_BYTES 64 /* as client_key.name in conf/options.def */

static const char usage_text[] =
	"usage: backchannelctl key new NAME\n"
	"       backchannelctl --version | --help\n"
	"\n"
	"  key new NAME   make a client key; NAME says in log lines who uses it\n";

/*
 * name as a TOML string, to be freed; NULL: no memory, or not text that may stand in one.  Without control characters a
 * JSON string is a TOML string: only quotes and backslashes are escaped.
 */
static char *quoted(const char *name)
{
	json_t *string;
	char *text;

	for (const char *c = name; *c != '\0'; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f) {
			return NULL;
		}
	}
	string = json_string(name); /* refuses what is not UTF-8 */
	text = string == NULL ? NULL : json_dumps(string, JSON_ENCODE_ANY);
	json_decref(string);
	return text;
}

/* Remarks go to stderr, so that the first line of stdout is the key and the rest is the section. */
static void print_key(const char *name)
{
	char key[CFG_KEY_SIZE];
	struct bc_sha256 digest;
	char hex[2 * BC_SHA256_SIZE + 1];

	cfg_client_key_new(key, &digest);
	bc_hex(digest.bytes, sizeof(digest.bytes), hex);
	(void)fputs("The key for the client; it is kept nowhere and not shown again:\n", stderr);
	(void)printf("%s\n\n", key);
	(void)fflush(stdout); /* judged at the end */
	(void)fputs("For the gateway's configuration, then reload it:\n", stderr);
	(void)printf("[[client_key]]\nname = %s\nsha256 = \"%s\"\n", name, hex);
	explicit_bzero(key, sizeof(key));
}

static int key_new(const char *name)
{
	size_t len = strlen(name);
	char *text;

	if (len == 0 || len > NAME_MAX_BYTES) {
		(void)fprintf(stderr, "backchannelctl: a name has 1 to %d bytes\n", NAME_MAX_BYTES);
		return EXIT_USAGE;
	}
	text = quoted(name);
	if (text == NULL) {
		(void)fputs("backchannelctl: a name is UTF-8 without control characters\n", stderr);
		return EXIT_USAGE;
	}
	print_key(text);
	free(text);
	return EXIT_SUCCESS;
}

static int misused(void)
{
	(void)fputs(usage_text, stderr);
	return EXIT_USAGE;
}

static int run(int count, char *const *words)
{
	if (count == 3 && strcmp(words[0], "key") == 0 && strcmp(words[1], "new") == 0) {
		return key_new(words[2]);
	}
	return misused();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int status = EXIT_SUCCESS;

	switch (getopt_long(argc, argv, "h", options, NULL)) {
	case 'v':
		(void)puts("backchannelctl " BC_VERSION);
		break;
	case 'h':
		(void)fputs(usage_text, stdout);
		break;
	case -1:
		status = run(argc - optind, argv + optind);
		break;
	default:
		status = misused();
		break;
	}
	/* A key that was lost on a full disk or a closed pipe must not look made. */
	if (fflush(stdout) != 0 || ferror(stdout) != 0) {
		(void)fputs("backchannelctl: cannot write to standard output\n", stderr);
		return EXIT_FAILURE;
	}
	return status;
}
