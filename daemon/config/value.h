/* One option's value: from a node of the file, or from the default in its row, into the snapshot. */
#ifndef BACKCHANNEL_CONFIG_VALUE_H
#define BACKCHANNEL_CONFIG_VALUE_H

#include "daemon/config/finding.h"
#include "daemon/config/schema.h"

/* Where values come from and go to. */
struct cfg_source {
	struct cfg_arena *arena;
	struct cfg_findings *findings;
	const char *file; /* as findings name it */
	/* absolute, what relative paths are relative to; NULL: they stay as they are */
	const char *dir;
};

/*
 * Read node into dest, the option's field.  What is wrong becomes a finding and leaves dest as it is; running out of
 * memory sets findings->nomem.  May read the file of a secret.
 */
void cfg_value_read(const struct cfg_source *source, const struct cfg_option *option,
		    const struct toml_node *node, void *dest);

/* The default of an option that has one. */
void cfg_value_default(const struct cfg_option *option, void *dest);

/* What an option takes, for messages and the manual: "a duration such as …".  Static storage. */
const char *cfg_type_text(enum cfg_type type);

/* "1 to 64 bytes", "at least 3"; empty when the row has no bounds. */
struct cfg_range_text {
	char text[64];
};
struct cfg_range_text cfg_range_text(const struct cfg_option *option);

/* The words of a choice list as '"a", "b" or "c"'. */
struct cfg_words_text {
	char text[160];
};
struct cfg_words_text cfg_words_text(enum cfg_type type);

/* A string of the file without control characters (newline and tab may be); NULL after a finding about what. */
const char *cfg_text_read(const struct cfg_source *source, const char *what,
			  const struct toml_node *node);

/* "a table", "a whole number", … of the node.  Static storage. */
const char *cfg_kind_text(enum toml_kind kind);

/* path, made absolute with source->dir; NULL: out of memory, noted in the findings. */
const char *cfg_path_resolve(const struct cfg_source *source, const char *path);

/* A new string in the source's arena; NULL: out of memory, noted in the findings. */
const char *cfg_text_copy(const struct cfg_source *source, struct bc_span text);

/* size bytes of zeroes in the source's arena; NULL: out of memory, noted in the findings. */
void *cfg_memory(const struct cfg_source *source, size_t size);

#endif
