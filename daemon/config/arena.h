/*
 * Memory that lives as long as one snapshot: strings, arrays and JSON trees are taken from it one by one and
 * go back all at once.  Freed bytes are overwritten, because secrets lie among them.  Plain C types only: the
 * TOML reader in C++ takes its nodes from here too.
 */
#ifndef BACKCHANNEL_CONFIG_ARENA_H
#define BACKCHANNEL_CONFIG_ARENA_H

#include <jansson.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cfg_arena;

/* NULL: out of memory. */
struct cfg_arena *cfg_arena_new(void);

/* Wipe and free all that was taken; accepts NULL, returns NULL. */
struct cfg_arena *cfg_arena_free(struct cfg_arena *arena);

/* size bytes of zeroes, aligned for any type; NULL: out of memory. */
void *cfg_arena_alloc(struct cfg_arena *arena, size_t size);

/* A copy of len bytes with a NUL behind them; NULL: out of memory. */
char *cfg_arena_text(struct cfg_arena *arena, const char *text, size_t len);

/* The arena takes over one reference to json (also on failure) and returns json; NULL: json was NULL or out of memory. */
json_t *cfg_arena_json(struct cfg_arena *arena, json_t *json);

#ifdef __cplusplus
}
#endif

#endif
