/*
 * Dialogues: what a caller says turn by turn, which calls a good model makes and when it can know them.
 * One JSON object per line; the format is written down in dialogue-format.md beside this file.
 */
#ifndef BACKCHANNEL_TESTS_WORLD_DIALOGUE_H
#define BACKCHANNEL_TESTS_WORLD_DIALOGUE_H

#include "daemon/base/bug.h"
#include "daemon/base/err.h"
#include "daemon/base/span.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define DIALOGUE_CALLS_MAX 16 /* calls of one turn */
#define DIALOGUE_WORDS_MAX 2047

/* One call a good model makes in a turn; JSON values are borrowed from the dialogue. */
struct dialogue_call {
	const char *name;
	json_t *args;   /* object */
	json_t *result; /* any value, JSON null when none was recorded */
	bool read_only;
	unsigned ready;        /* words that must have been heard: optimistic rule */
	unsigned ready_clause; /* the same, moved to the end of the clause */
	unsigned intent_word;  /* words after which the tool is wanted */
	json_t *arg_word;      /* object: argument to words needed; NULL when absent */
	unsigned depends_on
		[DIALOGUE_CALLS_MAX]; /* earlier calls of the turn that supply arguments */
	size_t depends_n;
	unsigned order_after[DIALOGUE_CALLS_MAX]; /* earlier writes of the turn that must be done */
	size_t order_n;
};

/* The same turn with one value first said wrong, then corrected. */
struct dialogue_repair {
	const char *user;
	unsigned words;
	unsigned call; /* which call's argument is corrected */
	const char *arg;
	json_t *wrong_args;   /* arguments of the call as they stand before the correction */
	unsigned wrong_ready; /* words after which the wrong call is complete; 0: never */
	unsigned ready;
	unsigned ready_clause;
	unsigned from; /* index of the first word that differs from the plain wording */
};

struct dialogue_turn {
	const char *user;
	unsigned words;    /* blank-separated words of user */
	const char *reply; /* "" when the dialogue has none */
	struct dialogue_call *calls;
	size_t calls_n;
	struct dialogue_repair *repair; /* NULL: none */
	json_t *json;                   /* the turn as it stands in the file */
};

struct dialogue_tool {
	const char *name;
	const char *description;
	json_t *parameters; /* JSON schema */
	bool read_only;
	json_t *inverse; /* NULL: none */
};

struct dialogue {
	json_t *json; /* owns every string and value */
	const char *id;
	struct dialogue_turn *turns;
	size_t turns_n;
	struct dialogue_tool *tools;
	size_t tools_n;
};

/* Read one line.  BC_E_SYNTAX: no JSON; BC_E_INVALID: not a dialogue (error, size bytes, says what);
 * BC_E_NOMEM.  The caller frees *ret. */
enum bc_err dialogue_parse(struct bc_span line, struct dialogue **ret, char *error,
			   size_t size) BC_MUST;

/* Always NULL; NULL is accepted. */
struct dialogue *dialogue_free(struct dialogue *dialogue);

/* All dialogues of a file, in its order. */
struct dialogue_set {
	struct dialogue **items;
	size_t n;
};

/*
 * Add a file to a set (zeroed at first).  Errors of dialogue_parse(), BC_E_SYSTEM when it cannot be read;
 * error then holds file, line and reason, and the set keeps what was read before.
 */
enum bc_err dialogue_set_load(struct dialogue_set *set, const char *path, char *error,
			      size_t size) BC_MUST;

void dialogue_set_release(struct dialogue_set *set);

/* The dialogue of that id, or NULL. */
const struct dialogue *dialogue_find(const struct dialogue_set *set, struct bc_span id);

/* The words of a turn as spoken: plain, or as repaired (which the turn must have). */
const char *dialogue_text(const struct dialogue_turn *turn, bool repair);
unsigned dialogue_words(const struct dialogue_turn *turn, bool repair);

/* Words after which a call is determined, in either wording and by either rule. */
unsigned dialogue_ready(const struct dialogue_turn *turn, size_t call, bool repair, bool clause);

/* The index-th blank-separated word of a text; empty behind the last one. */
struct bc_span dialogue_word(const char *text, unsigned index);

/*
 * How many leading words of text the words of heard equal (letter case and punctuation at a word's edges
 * do not count); *ret_all tells whether heard holds nothing else.
 */
unsigned dialogue_match(const char *text, struct bc_span heard, bool *ret_all);

#endif
