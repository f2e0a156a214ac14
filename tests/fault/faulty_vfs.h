/*
 * SQLite's file layer with faults: the n-th write, sync, truncation, opening, read or lock of the process fails, and what
 * loss of power would leave of each file is kept apart.
 */
#ifndef BACKCHANNEL_TESTS_FAULTY_VFS_H
#define BACKCHANNEL_TESTS_FAULTY_VFS_H

#include <stdbool.h>

enum fault_kind {
	FAULT_OPEN = 1,
	FAULT_WRITE = 2,
	FAULT_SYNC = 4,
	FAULT_TRUNCATE = 8,
	FAULT_ALL = 15,  /* that change what is on the disk */
	FAULT_READ = 16, /* also of a file's size, and of the memory that processes share */
	FAULT_LOCK = 32
};

/*
 * Become the default file layer.  shadow_dir: an existing directory; after each good sync it holds a copy of the synced
 * file under its own name.  Bytes written since the last sync are not in it, as if the power had failed.
 * Once per process, before the first database is opened.
 */
void faulty_vfs_install(const char *shadow_dir);

/* The nth operation (from 1) of these kinds fails, once; the following ones work again, as a kernel's would. */
void faulty_vfs_arm(unsigned kinds, unsigned nth);

/* Whether the fault has happened. */
bool faulty_vfs_has_fired(void);

#endif
