/*
 * TOML text into a tree of nodes that know their line and column, and the same content as JSON.  The only door
 * to the C++ library; plain C types only, so that both languages can read this header.
 */
#ifndef BACKCHANNEL_CONFIG_TOML_H
#define BACKCHANNEL_CONFIG_TOML_H

#include "daemon/config/arena.h"

#include <jansson.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Tables and arrays inside each other, counting the parts of dotted keys. */
#define TOML_DEPTH_MAX 32

enum toml_kind {
	TOML_TABLE,
	TOML_ARRAY,
	TOML_STRING,
	TOML_WHOLE, /* whole number */
	TOML_REAL,  /* with a fraction; infinity and not-a-number have no JSON and are TOML_OTHER */
	TOML_BOOLEAN,
	TOML_OTHER, /* dates and times: no option takes them */
};

struct toml_place {
	unsigned line, column; /* from 1; column counts characters */
};

struct toml_node {
	enum toml_kind kind;
	const char *key;            /* NULL: an array's element, or the document */
	struct toml_place key_at;   /* where key stands, of an element the same as at */
	struct toml_place at;       /* where the value begins; of a [table] its header */
	json_t *json;               /* the content below this node; null for TOML_OTHER */
	struct toml_node *children; /* of tables and arrays, in the order they were written */
	size_t count;
};

struct toml_error {
	struct toml_place at;
	char message[160]; /* never a piece of a value; empty: out of memory */
};

/*
 * The document in text, all of it taken from arena; NULL: *reterr says where and why not.  Nesting beyond
 * TOML_DEPTH_MAX is an error.  Any thread.
 * Source: TOML 1.0.
 */
const struct toml_node *toml_parse(struct cfg_arena *arena, const char *text, size_t len,
				   struct toml_error *reterr);

#ifdef __cplusplus
}
#endif

#endif
