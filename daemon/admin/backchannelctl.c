/* backchannelctl(1): what an operator does beside the running gateway; makes client keys and asks it. */
#include "daemon/base/id.h"
#include "daemon/config/config.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define EXIT_USAGE 2

#define SOCKET_PATH "/run/backchannel/control.sock" /* as control.socket in conf/options.def */

#define NAME_MAX_BYTES 64 /* as client_key.name in conf/options.def */

static const char usage_text[] =
	"usage: backchannelctl key new NAME\n"
	"       backchannelctl [--socket PATH] sessions | session ID | memory\n"
	"       backchannelctl --version | --help\n"
	"\n"
	"  key new NAME   make a client key; NAME says in log lines who uses it\n"
	"  sessions       the calls of the running gateway, a line each\n"
	"  session ID     one call: what it does, and the reason for everything it waits for\n"
	"  memory         what calls hold, and what bounds it\n"
	"  --socket PATH  where the gateway listens, default " SOCKET_PATH "\n";

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

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd;

	if (len >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, len + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* Send one line, copy the answer to stdout; false: the connection broke, or ended without an answer. */
static bool converse(int fd, const char *line)
{
	char bytes[4096];
	bool answered = false;
	ssize_t got;

	if (send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line)) {
		return false;
	}
	while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		(void)fwrite(bytes, 1, (size_t)got, stdout); /* judged at the end */
		answered = true;
	}
	return answered && got == 0;
}

static int ask(const char *path, const char *question, const char *id)
{
	char line[256];
	bool answered;
	int fd;

	if (snprintf(line, sizeof(line), "%s%s%s\n", question, id == NULL ? "" : " ",
		     id == NULL ? "" : id) >= (int)sizeof(line)) {
		return misused();
	}
	fd = dial(path);
	if (fd < 0) {
		(void)fprintf(stderr, "backchannelctl: cannot reach the gateway at %s: %s\n", path,
			      strerrordesc_np(errno));
		return EXIT_FAILURE;
	}
	answered = converse(fd, line);
	(void)close(fd);
	if (!answered) {
		(void)fputs("backchannelctl: the gateway broke the connection off\n", stderr);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

static int run(const char *socket_path, int count, char *const *words)
{
	if (count == 3 && strcmp(words[0], "key") == 0 && strcmp(words[1], "new") == 0) {
		return key_new(words[2]);
	}
	if (count == 1 && (strcmp(words[0], "sessions") == 0 || strcmp(words[0], "memory") == 0)) {
		return ask(socket_path, words[0], NULL);
	}
	if (count == 2 && strcmp(words[0], "session") == 0) {
		return ask(socket_path, words[0], words[1]);
	}
	return misused();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *socket_path = SOCKET_PATH;
	int status = EXIT_SUCCESS;
	int option = getopt_long(argc, argv, "h", options, NULL);

	if (option == 's') {
		socket_path = optarg;
		option = getopt_long(argc, argv, "h", options, NULL);
	}
	switch (option) {
	case 'v':
		(void)puts("backchannelctl " BC_VERSION);
		break;
	case 'h':
		(void)fputs(usage_text, stdout);
		break;
	case -1:
		status = run(socket_path, argc - optind, argv + optind);
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
