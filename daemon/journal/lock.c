/*
 * An open-file-description lock: unlike a classic record lock it is not lost when some other code of this process
 * closes the same file, and unlike a pid file it cannot outlive its holder.  The file stays when the lock goes:
 * removing it would let two processes lock two files of one name.
 */
#include "daemon/journal/lock.h"

#include "daemon/journal/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PID_SIZE 16 /* bytes of the text in the lock file, with its newline */

/* The pid in the file; 0 when the holder has not written it yet. */
static long holder(int fd)
{
	char text[PID_SIZE + 1];
	ssize_t len = pread(fd, text, PID_SIZE, 0);

	if (len <= 0) {
		return 0;
	}
	text[len] = '\0';
	return strtol(text, NULL, 10);
}

static enum bc_err refuse(int fd, const char *path, struct bc_buf *reterr_message)
{
	int cause = errno;
	long pid;

	if (cause != EAGAIN && cause != EACCES) {
		JRN_EXPLAIN(reterr_message, "cannot lock journal %s: %s", path, strerror(cause));
		return BC_E_SYSTEM;
	}
	pid = holder(fd);
	if (pid > 0) {
		JRN_EXPLAIN(reterr_message,
			    "journal %s is held by process %ld: stop it, or configure another path",
			    path, pid);
	} else {
		JRN_EXPLAIN(
			reterr_message,
			"journal %s is held by another process: stop it, or configure another path",
			path);
	}
	return BC_E_EXISTS;
}

static enum bc_err sign(int fd)
{
	char text[PID_SIZE];
	int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

	BC_BUG_ON(len <= 0 || len >= (int)sizeof(text));
	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len) {
		return BC_E_SYSTEM;
	}
	return BC_OK;
}

enum bc_err jrn_lock_new(const char *path, struct bc_buf *reterr_message, int *ret_fd)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char name[PATH_MAX];
	enum bc_err err;
	int len = snprintf(name, sizeof(name), "%s.lock", path);
	int fd;

	if (len < 0 || len >= (int)sizeof(name)) {
		JRN_EXPLAIN(reterr_message, "the path of the journal is too long");
		return BC_E_SYSTEM;
	}
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		JRN_EXPLAIN(reterr_message, "cannot make %s: %s", name, strerror(errno));
		return BC_E_SYSTEM;
	}
	if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
		err = refuse(fd, path, reterr_message);
		(void)close(fd);
		return err;
	}
	if (sign(fd) != BC_OK) {
		JRN_EXPLAIN(reterr_message, "cannot write %s: %s", name, strerror(errno));
		(void)close(fd);
		return BC_E_SYSTEM;
	}
	*ret_fd = fd;
	return BC_OK;
}

int jrn_lock_free(int fd)
{
	if (fd >= 0) {
		/* The lock goes with its last descriptor, whatever close() says. */
		(void)close(fd);
	}
	return -1;
}
