#include "tests/fault/faulty_vfs.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct faulty_file {
	sqlite3_file base;  /* first member */
	const char *path;   /* SQLite keeps it as long as the file; NULL: a temporary one */
	sqlite3_file *real; /* behind this struct, in SQLite's own memory */
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs faulty_vfs;
static sqlite3_io_methods faulty_methods;
static char shadow_dir[256];

/* Several threads open and write. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned armed_kinds;
static unsigned left; /* operations until the fault, 0: none is due */
static bool fired;

static bool fails(enum fault_kind kind)
{
	bool now = false;

	(void)pthread_mutex_lock(&lock);
	if ((armed_kinds & (unsigned)kind) != 0 && left > 0 && --left == 0) {
		now = true;
		fired = true;
	}
	(void)pthread_mutex_unlock(&lock);
	return now;
}

void faulty_vfs_arm(unsigned kinds, unsigned nth)
{
	(void)pthread_mutex_lock(&lock);
	armed_kinds = kinds;
	left = nth;
	fired = false;
	(void)pthread_mutex_unlock(&lock);
}

bool faulty_vfs_has_fired(void)
{
	bool has;

	(void)pthread_mutex_lock(&lock);
	has = fired;
	(void)pthread_mutex_unlock(&lock);
	return has;
}

static struct faulty_file *self(sqlite3_file *file)
{
	return (struct faulty_file *)file;
}

static sqlite3_file *real(sqlite3_file *file)
{
	return self(file)->real;
}

static void shadow_path(const char *path, char name[512])
{
	const char *slash = strrchr(path, '/');

	(void)snprintf(name, 512, "%s/%s", shadow_dir, slash == NULL ? path : slash + 1);
}

/* Replace the shadow as a whole, as a disk would: either the old content or the new. */
static void shadow_write(sqlite3_file *file)
{
	sqlite3_int64 size = 0;
	char name[512];
	char *bytes;
	int fd;

	if (self(file)->path == NULL ||
	    real(file)->pMethods->xFileSize(real(file), &size) != SQLITE_OK) {
		return;
	}
	shadow_path(self(file)->path, name);
	bytes = malloc((size_t)size + 1);
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (bytes == NULL || fd < 0 ||
	    (size > 0 &&
	     real(file)->pMethods->xRead(real(file), bytes, (int)size, 0) != SQLITE_OK) ||
	    write(fd, bytes, (size_t)size) != (ssize_t)size) {
		abort();
	}
	(void)close(fd);
	free(bytes);
}

static int faulty_close(sqlite3_file *file)
{
	return real(file)->pMethods->xClose(real(file));
}

static int faulty_read(sqlite3_file *file, void *bytes, int len, sqlite3_int64 at)
{
	return fails(FAULT_READ) ? SQLITE_IOERR_READ
				 : real(file)->pMethods->xRead(real(file), bytes, len, at);
}

static int faulty_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at)
{
	if (fails(FAULT_WRITE)) {
		/* A disk that fills up takes the first half. */
		(void)real(file)->pMethods->xWrite(real(file), bytes, len / 2, at);
		return SQLITE_IOERR_WRITE;
	}
	return real(file)->pMethods->xWrite(real(file), bytes, len, at);
}

static int faulty_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	return fails(FAULT_TRUNCATE) ? SQLITE_IOERR_TRUNCATE
				     : real(file)->pMethods->xTruncate(real(file), size);
}

static int faulty_sync(sqlite3_file *file, int flags)
{
	int rc;

	if (fails(FAULT_SYNC)) {
		return SQLITE_IOERR_FSYNC;
	}
	rc = real(file)->pMethods->xSync(real(file), flags);
	if (rc == SQLITE_OK) {
		shadow_write(file);
	}
	return rc;
}

static int faulty_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
	return fails(FAULT_READ) ? SQLITE_IOERR_FSTAT
				 : real(file)->pMethods->xFileSize(real(file), size);
}

static int faulty_lock(sqlite3_file *file, int level)
{
	return fails(FAULT_LOCK) ? SQLITE_IOERR_LOCK
				 : real(file)->pMethods->xLock(real(file), level);
}

static int faulty_unlock(sqlite3_file *file, int level)
{
	return real(file)->pMethods->xUnlock(real(file), level);
}

static int faulty_check_reserved(sqlite3_file *file, int *reserved)
{
	return real(file)->pMethods->xCheckReservedLock(real(file), reserved);
}

static int faulty_control(sqlite3_file *file, int op, void *arg)
{
	return real(file)->pMethods->xFileControl(real(file), op, arg);
}

static int faulty_sector_size(sqlite3_file *file)
{
	return real(file)->pMethods->xSectorSize(real(file));
}

static int faulty_characteristics(sqlite3_file *file)
{
	return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

static int faulty_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret)
{
	return fails(FAULT_READ)
		       ? SQLITE_IOERR_SHMMAP
		       : real(file)->pMethods->xShmMap(real(file), page, size, extend, ret);
}

static int faulty_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
	/* What is let go is let go. */
	return (flags & SQLITE_SHM_LOCK) != 0 && fails(FAULT_LOCK)
		       ? SQLITE_IOERR_SHMLOCK
		       : real(file)->pMethods->xShmLock(real(file), offset, n, flags);
}

static void faulty_shm_barrier(sqlite3_file *file)
{
	real(file)->pMethods->xShmBarrier(real(file));
}

static int faulty_shm_unmap(sqlite3_file *file, int delete)
{
	return real(file)->pMethods->xShmUnmap(real(file), delete);
}

static int faulty_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
		       int *ret_flags)
{
	struct faulty_file *f = self(file);
	int rc;

	(void)vfs;
	f->base.pMethods = NULL;
	f->path = path;
	f->real = (sqlite3_file *)(void *)(f + 1);
	if (fails(FAULT_OPEN)) {
		return SQLITE_CANTOPEN;
	}
	rc = real_vfs->xOpen(real_vfs, path, f->real, flags, ret_flags);
	if (f->real->pMethods != NULL) {
		f->base.pMethods = &faulty_methods;
	}
	return rc;
}

static int faulty_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
	char name[512];

	(void)vfs;
	shadow_path(path, name);
	(void)unlink(name);
	return real_vfs->xDelete(real_vfs, path, sync_dir);
}

void faulty_vfs_install(const char *dir)
{
	(void)snprintf(shadow_dir, sizeof(shadow_dir), "%s", dir);
	real_vfs = sqlite3_vfs_find(NULL);
	faulty_methods = (sqlite3_io_methods){
		.iVersion = 2, /* no memory mapping: every byte passes here */
		.xClose = faulty_close,
		.xRead = faulty_read,
		.xWrite = faulty_write,
		.xTruncate = faulty_truncate,
		.xSync = faulty_sync,
		.xFileSize = faulty_file_size,
		.xLock = faulty_lock,
		.xUnlock = faulty_unlock,
		.xCheckReservedLock = faulty_check_reserved,
		.xFileControl = faulty_control,
		.xSectorSize = faulty_sector_size,
		.xDeviceCharacteristics = faulty_characteristics,
		.xShmMap = faulty_shm_map,
		.xShmLock = faulty_shm_lock,
		.xShmBarrier = faulty_shm_barrier,
		.xShmUnmap = faulty_shm_unmap,
	};
	faulty_vfs = *real_vfs;
	faulty_vfs.zName = "faulty";
	faulty_vfs.pNext = NULL;
	faulty_vfs.szOsFile = (int)sizeof(struct faulty_file) + real_vfs->szOsFile;
	faulty_vfs.xOpen = faulty_open;
	faulty_vfs.xDelete = faulty_delete;
	if (sqlite3_vfs_register(&faulty_vfs, 1) != SQLITE_OK) {
		abort();
	}
}
