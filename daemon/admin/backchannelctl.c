/* backchannelctl(1): what an operator does beside the running gateway; makes client keys and asks it. */
#include "daemon/base/id.h"
#include "daemon/config/config.h"
#include "daemon/config/traits.h"

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
	"       backchannelctl [--socket PATH] sessions | session ID [ledger] | memory\n"
	"       backchannelctl [--socket PATH] upstreams [help | forget NAME]\n"
	"       backchannelctl [--socket PATH] journal list | journal show SESSION\n"
	"       backchannelctl [--socket PATH] journal retry ID\n"
	"       backchannelctl [--socket PATH] journal resolve ID --as done|undone|not_done\n"
	"       backchannelctl [--socket PATH] speculation show|on|off|shadow [TOOL]\n"
	"       backchannelctl --version | --help\n"
	"\n"
	"  key new NAME   make a client key; NAME says in log lines who uses it\n"
	"  sessions       the calls of the running gateway, a line each\n"
	"  session ID     one call: what it does, and the reason for everything it waits for\n"
	"  session ID ledger\n"
	"                 what has happened in it and what was decided, event by event\n"
	"  memory         what calls hold, and what bounds it\n"
	"  upstreams      what is known of each upstream and model: value, where from, age\n"
	"  upstreams help what each of these behaviours is, and what is done without it\n"
	"  upstreams forget NAME\n"
	"                 notice it all again\n"
	"  journal list   effects that are open, in doubt or parked; show: all records of a call\n"
	"  journal retry  take up again an effect that is in doubt or parked\n"
	"  journal resolve  say what became of one: done: it stands; undone; not_done\n"
	"  speculation show  what is known of guesses, a line for each tool and what led to them\n"
	"  speculation on | off | shadow\n"
	"                 run guesses, of all tools or one; make none; watch them only; until\n"
	"                 changed or the gateway restarts\n"
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

/*
 * Send one line, copy the answer to stdout; false: the connection broke, or ended without an answer.  *ret_good: it was
 * no refusal.
 */
static bool converse(int fd, const char *line, bool *ret_good)
{
	char bytes[4096];
	bool answered = false;
	ssize_t got;

	*ret_good = true;
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line)) {
		return false;
	}
	while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		(void)fwrite(bytes, 1, (size_t)got, stdout); /* judged at the end */
		*ret_good = *ret_good && (answered || got < 6 || memcmp(bytes, "error:", 6) != 0);
		answered = true;
	}
	return answered && got == 0;
}

/* The words make the line. */
static int ask(const char *path, int count, const char *const *words)
{
	char line[256];
	size_t len = 0;
	bool answered;
	bool good;
	int fd;

	for (int i = 0; i < count; i++) {
		int put = snprintf(line + len, sizeof(line) - len, "%s%s", words[i],
				   i + 1 < count ? " " : "\n");

		if (put < 0 || (size_t)put >= sizeof(line) - len) {
			return misused();
		}
		len += (size_t)put;
	}
	fd = dial(path);
	if (fd < 0) {
		(void)fprintf(stderr, "backchannelctl: cannot reach the gateway at %s: %s\n", path,
			      strerrordesc_np(errno));
		return EXIT_FAILURE;
	}
	answered = converse(fd, line, &good);
	(void)close(fd);
	if (!answered) {
		(void)fputs("backchannelctl: the gateway broke the connection off\n", stderr);
		return EXIT_FAILURE;
	}
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run_journal(const char *socket_path, const char *as, int count, const char *const *words)
{
	if (count == 3 && as != NULL && strcmp(words[1], "resolve") == 0) {
		const char *const line[] = {words[0], words[1], words[2], as};

		return ask(socket_path, 4, line);
	}
	if (as == NULL &&
	    ((count == 2 && strcmp(words[1], "list") == 0) ||
	     (count == 3 && (strcmp(words[1], "show") == 0 || strcmp(words[1], "retry") == 0)))) {
		return ask(socket_path, count, words);
	}
	return misused();
}

/* Words that are asked as they are. */
static bool is_question(int count, const char *const *words)
{
	if (count == 1) {
		return strcmp(words[0], "sessions") == 0 || strcmp(words[0], "memory") == 0 ||
		       strcmp(words[0], "upstreams") == 0;
	}
	if (strcmp(words[0], "upstreams") == 0) {
		return count == 3 && strcmp(words[1], "forget") == 0;
	}
	if (strcmp(words[0], "speculation") == 0) {
		return count <= 3;
	}
	return strcmp(words[0], "session") == 0 &&
	       (count == 2 || (count == 3 && strcmp(words[2], "ledger") == 0));
}

/* What the names mean that "upstreams" shows. */
static int explain_traits(void)
{
	for (int i = 0; i < TRAIT__COUNT; i++) {
		(void)printf("%s\n  %s\n", trait_name((enum trait)i), trait_help((enum trait)i));
	}
	return EXIT_SUCCESS;
}

static int run(const char *socket_path, const char *as, int count, const char *const *words)
{
	if (count == 0) {
		return misused();
	}
	if (strcmp(words[0], "journal") == 0) {
		return run_journal(socket_path, as, count, words);
	}
	if (as != NULL) {
		return misused();
	}
	if (count == 3 && strcmp(words[0], "key") == 0 && strcmp(words[1], "new") == 0) {
		return key_new(words[2]);
	}
	if (count == 2 && strcmp(words[0], "upstreams") == 0 && strcmp(words[1], "help") == 0) {
		return explain_traits();
	}
	if (count >= 1 && is_question(count, words)) {
		return ask(socket_path, count, words);
	}
	return misused();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"as", required_argument, NULL, 'a'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *socket_path = SOCKET_PATH;
	const char *as = NULL;
	int status = EXIT_SUCCESS;
	int option = getopt_long(argc, argv, "h", options, NULL);

	while (option == 's' || option == 'a') {
		*(option == 's' ? &socket_path : &as) = optarg;
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
		status = run(socket_path, as, argc - optind, (const char *const *)(argv + optind));
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
