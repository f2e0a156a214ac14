#include "daemon/config/arena.h"

#include "daemon/base/bug.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_MAGIC 0x61726e61U
#define CHUNK_SIZE  ((size_t)16 * 1024) /* bytes; larger wishes get a chunk of their own */

struct chunk {
	struct chunk *next;
	size_t used, size; /* bytes of mem */
	_Alignas(max_align_t) char mem[];
};

struct tree {
	struct tree *next;
	json_t *json;
};

struct cfg_arena {
	uint32_t magic;
	struct chunk *chunks; /* the first one is the one being filled */
	struct tree *trees;   /* the entries themselves lie in the chunks */
};

struct cfg_arena *cfg_arena_new(void)
{
	struct cfg_arena *arena = calloc(1, sizeof(*arena));

	if (arena != NULL) {
		arena->magic = ARENA_MAGIC;
	}
	return arena;
}

struct cfg_arena *cfg_arena_free(struct cfg_arena *arena)
{
	struct chunk *chunk, *next;

	if (arena == NULL) {
		return NULL;
	}
	BC_CHECK(arena, ARENA_MAGIC);
	for (const struct tree *tree = arena->trees; tree != NULL; tree = tree->next) {
		json_decref(tree->json);
	}
	for (chunk = arena->chunks; chunk != NULL; chunk = next) {
		next = chunk->next;
		explicit_bzero(chunk->mem, chunk->size);
		free(chunk);
	}
	arena->magic = 0;
	free(arena);
	return NULL;
}

static struct chunk *chunk_new(size_t size)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk) + size);

	if (chunk != NULL) {
		chunk->size = size;
	}
	return chunk;
}

void *cfg_arena_alloc(struct cfg_arena *arena, size_t size)
{
	const size_t align = _Alignof(max_align_t);
	struct chunk *chunk = arena->chunks;
	void *mem;

	BC_CHECK(arena, ARENA_MAGIC);
	BC_BUG_ON(size > SIZE_MAX / 4);
	size = (size + align - 1) / align * align;
	if (chunk == NULL || chunk->size - chunk->used < size) {
		chunk = chunk_new(size > CHUNK_SIZE ? size : CHUNK_SIZE);
		if (chunk == NULL) {
			return NULL;
		}
		chunk->next = arena->chunks;
		arena->chunks = chunk;
	}
	mem = chunk->mem + chunk->used;
	chunk->used += size;
	return mem;
}

char *cfg_arena_text(struct cfg_arena *arena, const char *text, size_t len)
{
	char *copy = cfg_arena_alloc(arena, len + 1);

	if (copy != NULL && len > 0) {
		memcpy(copy, text, len);
	}
	return copy;
}

json_t *cfg_arena_json(struct cfg_arena *arena, json_t *json)
{
	struct tree *tree;

	if (json == NULL) {
		return NULL;
	}
	tree = cfg_arena_alloc(arena, sizeof(*tree));
	if (tree == NULL) {
		json_decref(json);
		return NULL;
	}
	*tree = (struct tree){.next = arena->trees, .json = json};
	arena->trees = tree;
	return json;
}
