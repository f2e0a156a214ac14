/*
 * A disk that turns read-only while the daemon runs, for LD_PRELOAD: as soon as the file named by CHAOS_READONLY is there,
 * what would change a journal fails as on a file system that the kernel has remounted read-only after an error.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_read_only(void)
{
	const char *flag = getenv("CHAOS_READONLY");

	return flag != NULL && access(flag, F_OK) == 0;
}

static bool is_journal(const char *path)
{
	return strstr(path, "/journal.db") != NULL;
}

/* Whether a change of that file is to fail. */
static bool refuses(int fd)
{
	char link[64];
	char path[512];
	ssize_t len;

	if (!is_read_only()) {
		return false;
	}
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	path[len < 0 ? 0 : len] = '\0';
	return is_journal(path);
}

/* What the next library calls by that name. */
static void *next(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (found == NULL) {
		abort();
	}
	return found;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
	ssize_t (*real)(int, const void *, size_t, off64_t);

	if (refuses(fd)) {
		errno = EROFS;
		return -1;
	}
	*(void **)&real = next("pwrite64");
	return real(fd, bytes, len, at);
}

int ftruncate64(int fd, off64_t size)
{
	int (*real)(int, off64_t);

	if (refuses(fd)) {
		errno = EROFS;
		return -1;
	}
	*(void **)&real = next("ftruncate64");
	return real(fd, size);
}

int fdatasync(int fd)
{
	int (*real)(int);

	if (refuses(fd)) {
		errno = EIO;
		return -1;
	}
	*(void **)&real = next("fdatasync");
	return real(fd);
}

int open64(const char *path, int flags, ...)
{
	int (*real)(const char *, int, ...);
	mode_t mode = 0;
	va_list args;

	if ((flags & O_CREAT) != 0) {
		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	if ((flags & O_ACCMODE) != O_RDONLY && is_journal(path) && is_read_only()) {
		errno = EROFS;
		return -1;
	}
	*(void **)&real = next("open64");
	return real(path, flags, mode);
}
