#include "daemon/loop/reserve.h"

#include "daemon/base/bug.h"
#include "daemon/base/log.h"
#include "daemon/loop/loop.h"

#include <assert.h>
#include <ev.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FACTOR 3 /* bytes put by for each in use: that all arrays double takes two */
#define ALIGN  ((size_t)16)

/* What was put by at once; blocks stand behind it. */
struct region {
	size_t size;   /* all of it */
	size_t used;   /* from its beginning; grows only, until no block is left */
	size_t blocks; /* in use */
};

/* In front of each block. */
struct head {
	size_t size;           /* of the block */
	struct region *region; /* NULL: the system's */
};

static_assert(sizeof(struct head) == ALIGN && sizeof(struct region) <= 2 * ALIGN,
	      "a block is not aligned");

static struct {
	pthread_mutex_t lock;
	struct region *spare; /* NULL: nothing is put by */
	size_t total;         /* bytes of blocks */
	bool scarce;          /* the log knows */
} reserve = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t rounded(size_t size)
{
	return (size + ALIGN - 1) / ALIGN * ALIGN;
}

/* One whose blocks are all gone, and which is not the spare one, goes too. */
static void region_check(struct region *region)
{
	if (region == NULL || region->blocks > 0) {
		return;
	}
	region->used = 2 * ALIGN;
	if (region != reserve.spare) {
		(void)munmap(region, region->size);
	}
}

/* NULL: the system has none. */
static void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static struct region *region_new(size_t size)
{
	struct region *region = map(size);

	if (region != NULL) {
		*region = (struct region){.size = size, .used = 2 * ALIGN};
	}
	return region;
}

static void *carve(struct region *region, size_t size)
{
	struct head *head;

	if (region == NULL || size > region->size - region->used - sizeof(*head)) {
		return NULL;
	}
	head = (void *)((char *)region + region->used);
	*head = (struct head){.size = size, .region = region};
	region->used += sizeof(*head) + rounded(size);
	region->blocks++;
	return head + 1;
}

static void let_go(struct head *head)
{
	if (head->region == NULL) {
		free(head);
	} else {
		head->region->blocks--;
		region_check(head->region);
	}
}

/* Put by what is wanted; false: that cannot be. */
static bool put_by(void)
{
	size_t wanted = rounded(reserve.total * FACTOR + RESERVE_MIN);
	struct region *old = reserve.spare;

	/* Not a byte of it may be used: what is, stays so for as long as the array that has grown into it. */
	if (old == NULL || old->blocks > 0 || old->size < wanted) {
		struct region *fresh = region_new(wanted + RESERVE_MIN); /* for the next few, too */

		if (fresh == NULL) {
			return false;
		}
		reserve.spare = fresh;
		region_check(old);
	}
	return true;
}

/* Whether a session would get some beside that; what it asks for later may be in pieces the heap has still. */
static bool is_some_left(void)
{
	void *some = map(RESERVE_MIN);

	if (some == NULL) {
		return false;
	}
	(void)munmap(some, RESERVE_MIN);
	return true;
}

static void set_scarce(bool scarce)
{
	if (scarce && !reserve.scarce) {
		bc_log(BC_LOG_ERR, NULL,
		       "memory has run out, refusing new sessions until there is some again");
	} else if (!scarce && reserve.scarce) {
		bc_log(BC_LOG_NOTICE, NULL, "there is memory again, new sessions are taken");
	}
	reserve.scarce = scarce;
}

/* Under lock. */
static void *resize(struct head *old, size_t size)
{
	bool is_systems = old != NULL && old->region == NULL;
	struct head *head =
		is_systems ? realloc(old, sizeof(*head) + size) : malloc(sizeof(*head) + size);
	void *block;

	if (head != NULL) {
		*head = (struct head){.size = size};
		block = head + 1;
		if (is_systems) {
			return block; /* and old is no more */
		}
	} else {
		block = carve(reserve.spare, size);
	}
	if (block != NULL && old != NULL) {
		memcpy(block, old + 1, old->size < size ? old->size : size);
		let_go(old);
	}
	return block;
}

void *reserve_resize(void *ptr, size_t size)
{
	struct head *old = ptr == NULL ? NULL : (struct head *)ptr - 1;
	size_t before = old == NULL ? 0 : old->size;
	void *block = NULL;

	BC_BUG_ON(pthread_mutex_lock(&reserve.lock) != 0);
	if (size > 0) {
		block = resize(old, size);
	} else if (old != NULL) {
		let_go(old);
	}
	if (size == 0 || block != NULL) {
		reserve.total += size;
		reserve.total -= before;
		if (!put_by()) {
			set_scarce(true);
		}
	}
	BC_BUG_ON(pthread_mutex_unlock(&reserve.lock) != 0);
	return block;
}

static void *for_libev(void *ptr, long size)
{
	BC_BUG_ON(size < 0);
	return reserve_resize(ptr, (size_t)size);
}

static void begin(void)
{
	ev_set_allocator(for_libev);
}

void reserve_begin(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	BC_BUG_ON(pthread_once(&once, begin) != 0);
}

bool loop_memory_is_short(void)
{
	bool scarce;

	BC_BUG_ON(pthread_mutex_lock(&reserve.lock) != 0);
	set_scarce(!put_by() || !is_some_left());
	scarce = reserve.scarce;
	BC_BUG_ON(pthread_mutex_unlock(&reserve.lock) != 0);
	return scarce;
}
