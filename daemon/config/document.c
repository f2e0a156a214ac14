/*
 * Files into sections.  The list of files doubles as the work list: an include appends to it, so that nothing recurs
 * and every file is read once.
 */
#include "daemon/config/load.h"
#include "daemon/config/textfile.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const struct toml_place file_start = {1, 1};

static void *scratch(struct cfg_load *load, size_t size)
{
	void *memory = cfg_arena_alloc(load->scratch, size);

	if (memory == NULL) {
		load->findings.nomem = true;
	}
	return memory;
}

static size_t dir_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

/* The absolute directory of path; NULL: out of memory, noted, or the directory has just gone. */
static const char *absolute_dir(struct cfg_load *load, const char *path)
{
	size_t len = dir_len(path);
	const char *dir = len == 0 ? "." : cfg_arena_text(load->scratch, path, len);
	char *absolute = dir == NULL ? NULL : realpath(dir, NULL);
	const char *kept = NULL;

	if (absolute != NULL) {
		kept = cfg_arena_text(load->scratch, absolute, strlen(absolute));
	}
	free(absolute);
	return kept;
}

/* Put path on the list; what is wrong is found at `at` of file from. */
static void add_file(struct cfg_load *load, const char *path, const char *from,
		     struct toml_place at)
{
	struct cfg_file file = {.shown = cfg_arena_text(load->scratch, path, strlen(path)),
				.dir = absolute_dir(load, path)};
	const char *wrong = cfg_textfile_check(path);
	struct stat status = {0};

	if (file.shown == NULL) {
		load->findings.nomem = true;
		return;
	}
	if (wrong == NULL && (stat(path, &status) != 0 || file.dir == NULL)) {
		wrong = "which has just gone";
	}
	file.device = status.st_dev;
	file.inode = status.st_ino;
	for (size_t i = 0; i < load->file_count && wrong == NULL; i++) {
		if (load->files[i].device == file.device && load->files[i].inode == file.inode) {
			wrong = "which is part of the configuration already";
		}
	}
	if (wrong == NULL && load->file_count == CFG_FILES_MAX) {
		wrong = "which is one too many";
	}
	if (wrong != NULL) {
		load->incomplete = true;
		cfg_finding(&load->findings, from, at,
			    "the file %s is named, %s; expected one of at most %zu TOML files",
			    cfg_quoted(path).text, wrong, CFG_FILES_MAX);
		return;
	}
	load->files[load->file_count++] = file;
}

/* A pattern below the directory of file, whose own name is taken literally. */
static char *full_pattern(struct cfg_load *load, const struct cfg_file *file, const char *pattern)
{
	size_t len = pattern[0] == '/' ? 0 : dir_len(file->shown);
	char *full = scratch(load, 2 * len + strlen(pattern) + 1);
	char *at = full;

	if (full == NULL) {
		return NULL;
	}
	for (size_t i = 0; i < len; i++) {
		if (strchr("*?[\\", file->shown[i]) != NULL) {
			*at++ = '\\';
		}
		*at++ = file->shown[i];
	}
	for (; *pattern != '\0'; pattern++) {
		*at++ = *pattern;
	}
	return full;
}

static void include_pattern(struct cfg_load *load, const struct cfg_file *file,
			    const struct toml_node *node)
{
	const struct cfg_source source = {.findings = &load->findings, .file = file->shown};
	const char *text = cfg_text_read(&source, CFG_INCLUDE_KEY, node);
	bool literal = text != NULL && strpbrk(text, "*?[") == NULL;
	char *pattern = text == NULL ? NULL : full_pattern(load, file, text);
	const char *shown = file->shown;
	glob_t found = {0};
	int status;

	if (pattern == NULL) {
		return;
	}
	/* a directory of fragments may be empty; a file that is named must be there */
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): only ~ and the locale make it so, neither is used */
	status = glob(pattern, literal ? GLOB_NOCHECK : 0, NULL, &found);
	if (status != 0 && status != GLOB_NOMATCH) {
		load->findings.nomem = load->findings.nomem || status == GLOB_NOSPACE;
		cfg_finding(&load->findings, shown, node->at,
			    "\"%s\" cannot be searched; expected readable files", CFG_INCLUDE_KEY);
	}
	for (size_t i = 0; i < found.gl_pathc && i <= CFG_FILES_MAX; i++) {
		add_file(load, found.gl_pathv[i], shown, node->at);
	}
	globfree(&found);
}

static void include(struct cfg_load *load, const struct cfg_file *file,
		    const struct toml_node *node)
{
	if (node->kind != TOML_ARRAY) {
		load->incomplete = true;
		cfg_finding(&load->findings, file->shown, node->at,
			    "\"%s\" is %s; expected an array of paths", CFG_INCLUDE_KEY,
			    cfg_kind_text(node->kind));
		return;
	}
	if (file->dir == NULL && node->count > 0) {
		load->incomplete = true;
		cfg_finding(&load->findings, file->shown, node->at,
			    "\"%s\" stands in a text; expected it in a file", CFG_INCLUDE_KEY);
		return;
	}
	for (size_t i = 0; i < node->count; i++) {
		include_pattern(load, file, &node->children[i]);
	}
}

static const char *section_next(const void *arg, size_t i)
{
	(void)arg;
	return i == cfg_section_count  ? CFG_INCLUDE_KEY
	       : i < cfg_section_count ? cfg_sections[i].name
				       : NULL;
}

static void unknown_key(struct cfg_load *load, const struct cfg_file *file,
			const struct toml_node *node)
{
	const char *near = cfg_nearest(node->key, section_next, /* arg= */ NULL);
	const struct cfg_quoted key = cfg_quoted(node->key);

	load->incomplete = true;
	for (size_t i = 0; i < cfg_section_count && node->kind != TOML_TABLE; i++) {
		if (cfg_option_find(&cfg_sections[i], node->key) != NULL) {
			cfg_finding(
				&load->findings, file->shown, node->key_at,
				"key \"%s\" stands outside of all sections; expected it in %s%s%s",
				key.text, CFG_SECTION_ARG(&cfg_sections[i]));
			return;
		}
	}
	cfg_finding(&load->findings, file->shown, node->key_at,
		    near != NULL ? "unknown section \"%s\"; did you mean \"%s\"?"
				 : "unknown section \"%s\"; see backchannel.toml(5)%s",
		    key.text, near != NULL ? near : "");
}

static void add_instance(struct cfg_load *load, const struct cfg_file *file,
			 const struct cfg_section *section, const struct toml_node *node)
{
	struct cfg_instance *instance;
	size_t same = 0;

	for (instance = load->instances; instance != NULL; instance = instance->next) {
		same += instance->section == section;
		if (instance->section == section && !section->many) {
			cfg_finding(&load->findings, file->shown, node->at,
				    "[%s] is given twice; expected only the one at %s:%u",
				    section->name, instance->source.file, instance->at.line);
			return;
		}
	}
	if (same == CFG_INSTANCES_MAX) {
		load->incomplete = true;
		cfg_finding(&load->findings, file->shown, node->at,
			    "one [[%s]] too many; expected at most %zu", section->name,
			    CFG_INSTANCES_MAX);
		return;
	}
	instance = scratch(load, sizeof(*instance));
	if (instance == NULL) {
		return;
	}
	*instance = (struct cfg_instance){
		.section = section,
		.source = {.arena = load->arena,
			   .findings = &load->findings,
			   .file = file->shown,
			   .dir = file->dir},
		.at = node->at,
		.node = node,
	};
	*load->instances_end = instance;
	load->instances_end = &instance->next;
}

static void add_section(struct cfg_load *load, const struct cfg_file *file,
			const struct toml_node *node)
{
	const struct cfg_section *section = cfg_section_find(node->key);
	enum toml_kind expected;

	if (section == NULL) {
		unknown_key(load, file, node);
		return;
	}
	expected = section->many ? TOML_ARRAY : TOML_TABLE;
	if (node->kind != expected) {
		bool twin = node->kind == TOML_TABLE || node->kind == TOML_ARRAY;

		load->incomplete = true;
		cfg_finding(&load->findings, file->shown, node->at, "\"%s\" is %s; expected %s%s%s",
			    section->name,
			    !twin           ? cfg_kind_text(node->kind)
			    : section->many ? "a single table"
					    : "a list of tables",
			    CFG_SECTION_ARG(section));
		return;
	}
	if (!section->many) {
		add_instance(load, file, section, node);
		return;
	}
	for (size_t i = 0; i < node->count; i++) {
		if (node->children[i].kind == TOML_TABLE) {
			add_instance(load, file, section, &node->children[i]);
		} else {
			load->incomplete = true;
			cfg_finding(&load->findings, file->shown, node->children[i].at,
				    "an element of \"%s\" is %s; expected a table", section->name,
				    cfg_kind_text(node->children[i].kind));
		}
	}
}

static void read_document(struct cfg_load *load, const struct cfg_file *file, struct bc_span text)
{
	struct toml_error error;
	const struct toml_node *root = toml_parse(load->scratch, text.ptr, text.len, &error);

	if (root == NULL && error.message[0] == '\0') {
		load->findings.nomem = true;
		return;
	}
	if (root == NULL) {
		load->incomplete = true;
		cfg_finding(&load->findings, file->shown, error.at,
			    "no TOML: %s; expected TOML 1.0", cfg_quoted(error.message).text);
		return;
	}
	for (size_t i = 0; i < root->count; i++) {
		const struct toml_node *node = &root->children[i];

		if (strcmp(node->key, CFG_INCLUDE_KEY) == 0) {
			include(load, file, node);
		} else {
			add_section(load, file, node);
		}
	}
}

void cfg_read_files(struct cfg_load *load, const char *path)
{
	struct bc_buf text;

	bc_buf_init(&text, CFG_FILE_SIZE_MAX);
	add_file(load, path, path, file_start);
	for (size_t i = 0; i < load->file_count && !load->findings.nomem; i++) {
		const struct cfg_file *file = &load->files[i];
		const char *wrong;

		bc_buf_clear(&text);
		wrong = cfg_textfile_read(file->shown, &text);
		if (wrong != NULL) {
			load->incomplete = true;
			cfg_finding(&load->findings, file->shown, file_start,
				    "this is a file %s; expected TOML of at most %zu bytes", wrong,
				    CFG_FILE_SIZE_MAX);
			continue;
		}
		read_document(load, file, bc_buf_span(&text));
	}
	bc_buf_release(&text);
}

void cfg_read_text(struct cfg_load *load, const char *name, struct bc_span text)
{
	load->files[load->file_count++] = (struct cfg_file){.shown = name};
	if (text.len > CFG_FILE_SIZE_MAX) {
		load->incomplete = true;
		cfg_finding(&load->findings, name, file_start,
			    "%zu bytes of text; expected at most %zu", text.len, CFG_FILE_SIZE_MAX);
		return;
	}
	read_document(load, &load->files[0], text);
}
