#include "daemon/spec/path.h"

#include <stdint.h>

#define DEPTH_MAX 6
#define NODES_MAX 512 /* of a tree that are looked at */

struct search {
	const json_t *wanted;
	json_t *path; /* to the node that is looked at */
	unsigned nodes;
};

static bool find(struct search *search, const json_t *node, unsigned depth);

static bool find_below(struct search *search, json_t *key, const json_t *child, unsigned depth)
{
	if (key == NULL || json_array_append_new(search->path, key) != 0) {
		return false;
	}
	if (find(search, child, depth + 1)) {
		return true;
	}
	(void)json_array_remove(search->path, json_array_size(search->path) - 1);
	return false;
}

/* The first node that equals what is wanted; its path is left in the search. */
static bool find(struct search *search, const json_t *node, unsigned depth)
{
	const char *key;
	json_t *child;
	size_t i;

	if (++search->nodes > NODES_MAX || depth > DEPTH_MAX) {
		return false;
	}
	if (depth > 0 && json_equal(node, search->wanted)) {
		return true;
	}
	if (json_is_object(node)) {
		json_object_foreach((json_t *)(uintptr_t)node, key, child) {
			if (find_below(search, json_string(key), child, depth)) {
				return true;
			}
		}
	}
	json_array_foreach(node, i, child) {
		if (find_below(search, json_integer((json_int_t)i), child, depth)) {
			return true;
		}
	}
	return false;
}

json_t *spec_path_of(const json_t *tree, const json_t *wanted)
{
	struct search search = {.wanted = wanted, .path = json_array()};

	if (search.path != NULL && find(&search, tree, 0)) {
		return search.path;
	}
	json_decref(search.path);
	return NULL;
}

json_t *spec_path_follow(json_t *tree, const json_t *path)
{
	json_t *key;
	size_t i;

	json_array_foreach(path, i, key) {
		if (json_is_string(key)) {
			tree = json_object_get(tree, json_string_value(key));
		} else {
			tree = json_array_get(tree, (size_t)json_integer_value(key));
		}
	}
	return tree;
}
