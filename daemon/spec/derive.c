#include "daemon/spec/derive.h"

#include "daemon/spec/path.h"

#include <stdlib.h>
#include <string.h>

/* Whether finding a value somewhere says anything about where it comes from. */
static bool is_telling(const json_t *value)
{
	if (json_is_string(value)) {
		return json_string_length(value) >= 2;
	}
	if (json_is_integer(value)) {
		return json_integer_value(value) > 9 || json_integer_value(value) < -9;
	}
	return json_is_real(value) || (json_is_array(value) && json_array_size(value) > 0) ||
	       (json_is_object(value) && json_object_size(value) > 0);
}

/* Where an argument of B comes from, given A; false: from somewhere else. */
static bool find_source(struct derive_source *source, const char *argument, json_t *value,
			const json_t *arguments_of_a, const json_t *result_of_a)
{
	*source = (struct derive_source){.from = DERIVE_CONSTANT};
	if (is_telling(value)) {
		source->from = DERIVE_RESULT;
		source->path = spec_path_of(result_of_a, value);
		if (source->path == NULL) {
			source->from = DERIVE_ARGUMENTS;
			source->path = spec_path_of(arguments_of_a, value);
		}
		if (source->path == NULL) {
			return false;
		}
	} else {
		source->value = json_incref(value);
	}
	source->argument = strdup(argument);
	return source->argument != NULL;
}

/* Makes of one element of a list each of them; false: the result's values do not come from elements of one list. */
static bool generalize(struct derivation *derivation)
{
	const json_t *first = NULL;

	for (unsigned i = 0; i < derivation->count; i++) {
		struct derive_source *source = &derivation->sources[i];

		if (source->from != DERIVE_RESULT || !spec_path_has_index(source->path)) {
			continue;
		}
		if (!spec_path_make_each(source->path) ||
		    (first != NULL && !spec_path_same_list(first, source->path))) {
			return false;
		}
		first = source->path;
	}
	return first != NULL;
}

bool derive(struct derivation *ret, bool each, json_t *arguments_of_a, json_t *result_of_a,
	    json_t *arguments_of_b)
{
	struct derivation found = {.each = each};
	unsigned taken = 0;
	const char *key;
	json_t *value;

	json_object_foreach(arguments_of_b, key, value) {
		struct derive_source *source = &found.sources[found.count];

		if (found.count == DERIVE_ARGUMENTS_MAX) {
			derivation_release(&found);
			return false;
		}
		found.count++;
		if (!find_source(source, key, value, arguments_of_a, result_of_a)) {
			derivation_release(&found);
			return false;
		}
		taken += source->from != DERIVE_CONSTANT;
	}
	/* One that names always the same call says nothing about A. */
	if (taken == 0 || (each && !generalize(&found))) {
		derivation_release(&found);
		return false;
	}
	*ret = found;
	return true;
}

void derivation_release(struct derivation *derivation)
{
	for (unsigned i = 0; i < derivation->count; i++) {
		free(derivation->sources[i].argument);
		json_decref(derivation->sources[i].path);
		json_decref(derivation->sources[i].value);
	}
	*derivation = (struct derivation){.count = 0};
}

size_t derivation_length(const struct derivation *derivation, json_t *result_of_a)
{
	for (unsigned i = 0; derivation->each && i < derivation->count; i++) {
		const struct derive_source *source = &derivation->sources[i];
		size_t length = source->from == DERIVE_RESULT
					? spec_path_length(result_of_a, source->path)
					: 0;

		if (length > 0) {
			return length;
		}
	}
	return 1;
}

unsigned derivation_calls(const struct derivation *derivation, json_t *result_of_a)
{
	size_t length = derivation_length(derivation, result_of_a);

	return length < DERIVE_LIST_MAX ? (unsigned)length : DERIVE_LIST_MAX;
}

json_t *derivation_apply(const struct derivation *derivation, json_t *arguments_of_a,
			 json_t *result_of_a, unsigned at)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < derivation->count && object != NULL; i++) {
		const struct derive_source *source = &derivation->sources[i];
		json_t *value = source->value;

		if (source->from != DERIVE_CONSTANT) {
			value = spec_path_follow(source->from == DERIVE_RESULT ? result_of_a
									       : arguments_of_a,
						 source->path, at);
		}
		if (value == NULL || json_is_null(value) ||
		    json_object_set(object, source->argument, value) != 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}
