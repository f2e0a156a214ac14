/*
 * How the arguments of a call B follow from an earlier call A: each is taken from A's result, from A's arguments, or is
 * always the same.  One that takes elements of a list stands for a call per element.
 *
 * Decides only.  One thread.
 */
#ifndef BACKCHANNEL_SPEC_DERIVE_H
#define BACKCHANNEL_SPEC_DERIVE_H

#include <jansson.h>
#include <stdbool.h>

#define DERIVE_ARGUMENTS_MAX 8 /* of B */
#define DERIVE_LIST_MAX \
	32 /* elements that can be told apart; what a longer list has behind them is not named */

/* Where an argument comes from. */
enum derive_from {
	DERIVE_RESULT,
	DERIVE_ARGUMENTS,
	DERIVE_CONSTANT
};

struct derive_source {
	char *argument;
	enum derive_from from;
	json_t *path;  /* as in path.h; NULL: DERIVE_CONSTANT */
	json_t *value; /* DERIVE_CONSTANT */
};

struct derivation {
	struct derive_source sources[DERIVE_ARGUMENTS_MAX];
	unsigned count;
	bool each; /* a call for every element of a list in A's result */
};

/*
 * Finds how B's arguments follow from A; with each, so that B is one element's call of many.  false: they do not, there
 * are more than DERIVE_ARGUMENTS_MAX, nothing of them is A's, there is no one list they come from, or out of memory; then
 * there is nothing to release.
 */
bool derive(struct derivation *ret, bool each, json_t *arguments_of_a, json_t *result_of_a,
	    json_t *arguments_of_b);

void derivation_release(struct derivation *derivation);

/*
 * How many calls follow from a result at most, 1 to DERIVE_LIST_MAX; 1 when it takes no list's elements, or the list is not
 * there.
 */
unsigned derivation_calls(const struct derivation *derivation, json_t *result_of_a);

/* How long the list is from which it takes elements, at least 1. */
size_t derivation_length(const struct derivation *derivation, json_t *result_of_a);

/* The arguments of the at-th call, to be freed; NULL: A lacks one of them, or out of memory. */
json_t *derivation_apply(const struct derivation *derivation, json_t *arguments_of_a,
			 json_t *result_of_a, unsigned at);

#endif
