/* Where in a JSON tree a value stands, as an array of keys and indices; null is the index of each element of a list. */
#ifndef BACKCHANNEL_SPEC_PATH_H
#define BACKCHANNEL_SPEC_PATH_H

#include <jansson.h>
#include <stdbool.h>

/*
 * The path to the first node that equals what is wanted, to be freed; empty when the whole tree is that string.  NULL:
 * there is none within 6 levels and 512 nodes, or out of memory.
 */
json_t *spec_path_of(const json_t *tree, const json_t *wanted);

/* What a path leads to in a tree, borrowed, with the index each for null; NULL: nothing. */
json_t *spec_path_follow(json_t *tree, const json_t *path, size_t each);

/* Whether a path goes through a list. */
bool spec_path_has_index(const json_t *path);

/* Puts null in place of a path's only index; false, and the path as it was: it has none or several, or out of memory. */
bool spec_path_make_each(json_t *path);

/* Whether two paths with null go through the same list. */
bool spec_path_same_list(const json_t *one, const json_t *other);

/* The length of the list in a tree through which a path with null goes; 0: there is none, or no null. */
size_t spec_path_length(json_t *tree, const json_t *path);

#endif
