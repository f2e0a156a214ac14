/*
 * Files are opened without blocking and must be regular: an operator's slip (a directory, a pipe, a device) is a
 * message, never a daemon that hangs at start.
 */
#include "daemon/config/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP ((size_t)4096) /* bytes asked for at a time */

/* The reasons an operator meets, as half sentences; the rest is rare enough for one. */
static const char *reason(int error)
{
	switch (error) {
	case ENOENT:
		return "which does not exist";
	case EACCES:
	case EPERM:
		return "which this user may not read";
	case ENOTDIR:
		return "whose directory is none";
	case ELOOP:
		return "which is a loop of symbolic links";
	case ENAMETOOLONG:
		return "which is too long for a path";
	default:
		return "which cannot be read";
	}
}

/* A descriptor of the regular file at path, or -1 with *reterr. */
static int open_regular(const char *path, const char **reterr)
{
	/* O_NONBLOCK: a pipe in its place must not hold up the start */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;

	if (fd < 0) {
		*reterr = reason(errno);
		return -1;
	}
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
		(void)close(fd);
		*reterr = "which is no regular file";
		return -1;
	}
	return fd;
}

static const char *read_all(int fd, struct bc_buf *out)
{
	for (;;) {
		size_t room = out->limit - bc_buf_len(out);
		char *at;
		ssize_t got;

		/* a full buffer is right when the file ends just there */
		room = room < STEP ? room : STEP;
		if (room == 0) {
			char more;

			return read(fd, &more, 1) == 0 ? NULL : "which is too long";
		}
		if (bc_buf_room(out, room, &at) != BC_OK) {
			return "for which there is no memory";
		}
		got = read(fd, at, room);
		if (got < 0 && errno != EINTR) {
			return reason(errno);
		}
		if (got == 0) {
			return NULL;
		}
		if (got > 0) {
			bc_buf_grow(out, (size_t)got);
		}
	}
}

const char *cfg_textfile_read(const char *path, struct bc_buf *out)
{
	const char *wrong = NULL;
	int fd = open_regular(path, &wrong);

	if (fd < 0) {
		return wrong;
	}
	wrong = read_all(fd, out);
	(void)close(fd);
	return wrong;
}

const char *cfg_textfile_check(const char *path)
{
	const char *wrong = NULL;
	int fd = open_regular(path, &wrong);

	if (fd >= 0) {
		(void)close(fd);
	}
	return wrong;
}
