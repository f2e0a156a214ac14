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
	if ((depth > 0 || json_is_string(node)) && json_equal(node, search->wanted)) {
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

static json_t *step_into(json_t *tree, const json_t *key, size_t each)
{
	if (json_is_string(key)) {
		return json_object_get(tree, json_string_value(key));
	}
	return json_array_get(tree, json_is_null(key) ? each : (size_t)json_integer_value(key));
}

json_t *spec_path_follow(json_t *tree, const json_t *path, size_t each)
{
	json_t *key;
	size_t i;

	if (json_array_size(path) == 0 && !json_is_string(tree)) {
		return NULL; /* only a string is found as a whole */
	}
	json_array_foreach(path, i, key) {
		tree = step_into(tree, key, each);
	}
	return tree;
}

bool spec_path_has_index(const json_t *path)
{
	json_t *key;
	size_t i;

	json_array_foreach(path, i, key) {
		if (!json_is_string(key)) {
			return true;
		}
	}
	return false;
}

bool spec_path_make_each(json_t *path)
{
	size_t at = json_array_size(path);
	json_t *key;
	size_t i;

	json_array_foreach(path, i, key) {
		if (json_is_string(key)) {
			continue;
		}
		if (at < i) {
			return false;
		}
		at = i;
	}
	return at < json_array_size(path) && json_array_set_new(path, at, json_null()) == 0;
}

bool spec_path_same_list(const json_t *one, const json_t *other)
{
	json_t *key;
	size_t i;

	json_array_foreach(one, i, key) {
		if (!json_equal(key, json_array_get(other, i))) {
			return false;
		}
		if (json_is_null(key)) {
			return true;
		}
	}
	return false;
}

size_t spec_path_length(json_t *tree, const json_t *path)
{
	json_t *key;
	size_t i;

	json_array_foreach(path, i, key) {
		if (json_is_null(key)) {
			return json_array_size(tree);
		}
		tree = step_into(tree, key, 0);
	}
	return 0;
}
