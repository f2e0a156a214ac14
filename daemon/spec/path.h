/* Where in a JSON tree a value stands, as an array of keys and indices. */
#ifndef BACKCHANNEL_SPEC_PATH_H
#define BACKCHANNEL_SPEC_PATH_H

#include <jansson.h>
#include <stdbool.h>

/*
 * The path to the first node below the root that equals what is wanted, to be freed; NULL: there is none within 6 levels
 * and 512 nodes, or out of memory.
 */
json_t *spec_path_of(const json_t *tree, const json_t *wanted);

/* What a path leads to in a tree, borrowed; NULL: nothing. */
json_t *spec_path_follow(json_t *tree, const json_t *path);

#endif
