/* What one loading of the configuration has gathered; shared by the reader of files and the checks. */
#ifndef BACKCHANNEL_CONFIG_LOAD_H
#define BACKCHANNEL_CONFIG_LOAD_H

#include "daemon/config/value.h"

#include <sys/types.h>

#define CFG_FILE_SIZE_MAX    ((size_t)1 << 20) /* bytes of one file */
#define CFG_FILES_MAX        ((size_t)64)
#define CFG_INSTANCES_MAX    ((size_t)1024) /* of one section */
#define CFG_SECTION_ROWS_MAX ((size_t)64)   /* options of one section */

/* One [section] as it stands in a file. */
struct cfg_instance {
	struct cfg_instance *next;
	const struct cfg_section *section;
	struct cfg_source source;
	struct toml_place at;         /* its header; 1:1 of the main file when it is in no file */
	const struct toml_node *node; /* NULL: in no file, all defaults */
	void *object;                 /* in the snapshot */
	/* by row of the section; NULL: absent */
	const struct toml_node *given[CFG_SECTION_ROWS_MAX];
};

struct cfg_file {
	const char *shown; /* path for findings */
	const char *dir;   /* absolute; NULL: text without a file */
	dev_t device;
	ino_t inode;
};

struct cfg_load {
	struct cfg_findings findings;
	struct cfg_arena *arena;   /* of the snapshot */
	struct cfg_arena *scratch; /* of what only the loading needs: documents, instances */
	struct cfg_file files[CFG_FILES_MAX];
	size_t file_count;
	struct cfg_instance *instances; /* in the order of files, and within them as written */
	struct cfg_instance **instances_end;
	bool incomplete; /* a part could not be taken in: what seems to be missing may stand there */
	struct cfg *cfg;
};

/*
 * Read the main file and what it includes, the including file before the included ones, into load->instances.  What is
 * wrong becomes findings.
 */
void cfg_read_files(struct cfg_load *load, const char *path);

/* The same for one text that includes nothing. */
void cfg_read_text(struct cfg_load *load, const char *name, struct bc_span text);

/* The node that gave an option of the instance; NULL: absent. */
const struct toml_node *cfg_given(const struct cfg_instance *instance, const char *key);

/* Where to point at for an option: its value, or the section when it is absent. */
struct toml_place cfg_given_at(const struct cfg_instance *instance, const char *key);

/* What no single option can be checked for; needs all values in place.  What is wrong becomes findings. */
void cfg_check(struct cfg_load *load);

/* The part of it about one [[tool]]; also fills in the default of tags. */
void cfg_check_tool(struct cfg_load *load, const struct cfg_instance *instance,
		    struct cfg_tool *tool);

/* As cfg_load(), of a text instead of a file: no include, relative paths stay as they are. */
enum bc_err cfg_load_text(const char *name, struct bc_span text, struct bc_buf *findings,
			  struct cfg **ret) BC_MUST;

#endif
