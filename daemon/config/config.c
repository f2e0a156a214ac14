/*
 * From files to a snapshot, in three steps: all files are read into a list of sections; the snapshot's arrays are
 * made as long as that list says and every option is filled in, from its node or its default; then what spans several
 * options is checked.  A step is taken even when an earlier one found something, so that an operator sees everything at
 * once; only what would be said because a part is missing that could not be read is not said.
 */
#include "daemon/config/config.h"

#include "daemon/config/load.h"

#include <stdatomic.h>
#include <stdlib.h>

struct cfg *cfg_ref(struct cfg *cfg)
{
	unsigned before = atomic_fetch_add_explicit(&cfg->refs, 1, memory_order_relaxed);

	BC_BUG_ON(before == 0 || before == UINT32_MAX);
	return cfg;
}

struct cfg *cfg_unref(struct cfg *cfg)
{
	unsigned before;

	if (cfg == NULL) {
		return NULL;
	}
	before = atomic_fetch_sub_explicit(&cfg->refs, 1, memory_order_acq_rel);
	BC_BUG_ON(before == 0);
	if (before == 1) {
		/* the snapshot itself lies in its arena */
		(void)cfg_arena_free(cfg->arena);
	}
	return NULL;
}

const struct cfg_upstream *cfg_upstream_find(const struct cfg *cfg, const char *name)
{
	for (size_t i = 0; i < cfg->upstream_count; i++) {
		if (name == NULL || strcmp(cfg->upstream[i].name, name) == 0) {
			return &cfg->upstream[i];
		}
	}
	return NULL;
}

const struct cfg_tool *cfg_tool_find(const struct cfg *cfg, struct bc_span name)
{
	for (size_t i = 0; i < cfg->tool_count; i++) {
		if (bc_span_is(name, cfg->tool[i].name)) {
			return &cfg->tool[i];
		}
	}
	return NULL;
}

static size_t count_instances(const struct cfg_load *load, const struct cfg_section *section)
{
	size_t count = 0;

	for (const struct cfg_instance *at = load->instances; at != NULL; at = at->next) {
		count += at->section == section;
	}
	return count;
}

/* A ONE section that no file holds is there nevertheless, with its defaults. */
static enum bc_err add_silent_section(struct cfg_load *load, const struct cfg_section *section)
{
	struct cfg_instance *instance = cfg_arena_alloc(load->scratch, sizeof(*instance));

	if (instance == NULL) {
		return BC_E_NOMEM;
	}
	*instance = (struct cfg_instance){
		.section = section,
		.source = {.arena = load->arena,
			   .findings = &load->findings,
			   .file = load->files[0].shown},
		.at = {1, 1},
	};
	*load->instances_end = instance;
	load->instances_end = &instance->next;
	return BC_OK;
}

/* Give every instance of section its place in the snapshot. */
static enum bc_err place_section(struct cfg_load *load, const struct cfg_section *section)
{
	char *in_cfg = (char *)load->cfg + section->offset;
	size_t count = count_instances(load, section);
	char *object = in_cfg;

	if (section->many) {
		object = cfg_arena_alloc(load->arena, (count + 1) * section->size);
		if (object == NULL) {
			return BC_E_NOMEM;
		}
		memcpy(in_cfg, &object, sizeof(object));
		memcpy((char *)load->cfg + section->count_offset, &count, sizeof(count));
	} else if (count == 0 && add_silent_section(load, section) != BC_OK) {
		return BC_E_NOMEM;
	}
	for (struct cfg_instance *at = load->instances; at != NULL; at = at->next) {
		if (at->section == section) {
			at->object = object;
			object += section->size;
		}
	}
	return BC_OK;
}

static const char *key_next(const void *arg, size_t i)
{
	const struct cfg_section *section = arg;

	return i < section->count ? cfg_options[section->first + i].key : NULL;
}

static void find_given(struct cfg_instance *instance)
{
	const struct cfg_section *section = instance->section;

	for (size_t i = 0; instance->node != NULL && i < instance->node->count; i++) {
		const struct toml_node *node = &instance->node->children[i];
		const struct cfg_option *option = cfg_option_find(section, node->key);
		const char *near;

		if (option != NULL) {
			instance->given[option - cfg_options - (ptrdiff_t)section->first] = node;
			continue;
		}
		near = cfg_nearest(node->key, key_next, section);
		cfg_finding(instance->source.findings, instance->source.file, node->key_at,
			    near != NULL
				    ? "unknown key \"%s\" in %s%s%s; did you mean \"%s\"?"
				    : "unknown key \"%s\" in %s%s%s; see backchannel.toml(5)%s",
			    cfg_quoted(node->key).text, CFG_SECTION_ARG(section),
			    near != NULL ? near : "");
	}
}

static void fill_instance(struct cfg_instance *instance)
{
	const struct cfg_section *section = instance->section;

	BC_BUG_ON(section->count > CFG_SECTION_ROWS_MAX);
	find_given(instance);
	for (size_t i = 0; i < section->count; i++) {
		const struct cfg_option *option = &cfg_options[section->first + i];
		const struct toml_node *node = instance->given[i];
		void *dest = (char *)instance->object + option->offset;

		if (option->def != NULL && option->def != cfg_needed) {
			cfg_value_default(option, dest);
		}
		if (node != NULL) {
			cfg_value_read(&instance->source, option, node, dest);
		} else if (option->def == cfg_needed) {
			cfg_finding(instance->source.findings, instance->source.file, instance->at,
				    "%s%s%s has no \"%s\"; expected %s", CFG_SECTION_ARG(section),
				    option->key, cfg_type_text(option->type));
		}
	}
}

const struct toml_node *cfg_given(const struct cfg_instance *instance, const char *key)
{
	const struct cfg_option *option = cfg_option_find(instance->section, key);

	BC_BUG_ON(option == NULL);
	return instance->given[option - cfg_options - (ptrdiff_t)instance->section->first];
}

struct toml_place cfg_given_at(const struct cfg_instance *instance, const char *key)
{
	const struct toml_node *node = cfg_given(instance, key);

	return node == NULL ? instance->at : node->at;
}

static void fill(struct cfg_load *load)
{
	for (size_t i = 0; i < cfg_section_count; i++) {
		if (place_section(load, &cfg_sections[i]) != BC_OK) {
			load->findings.nomem = true;
			return;
		}
	}
	for (struct cfg_instance *at = load->instances; at != NULL && !load->findings.nomem;
	     at = at->next) {
		fill_instance(at);
	}
}

static enum bc_err begin(struct cfg_load *load, struct bc_buf *findings)
{
	*load = (struct cfg_load){.findings = {.buf = findings}};
	load->instances_end = &load->instances;
	load->arena = cfg_arena_new();
	load->scratch = cfg_arena_new();
	if (load->arena != NULL && load->scratch != NULL) {
		load->cfg = cfg_arena_alloc(load->arena, sizeof(*load->cfg));
	}
	if (load->cfg == NULL) {
		load->arena = cfg_arena_free(load->arena);
		load->scratch = cfg_arena_free(load->scratch);
		return BC_E_NOMEM;
	}
	return BC_OK;
}

/* The last two steps and the verdict; frees what the loading needed. */
static enum bc_err finish(struct cfg_load *load, struct cfg **ret)
{
	enum bc_err err;

	if (load->file_count > 0 && !load->findings.nomem) {
		fill(load);
	}
	if (!load->incomplete && !load->findings.nomem) {
		cfg_check(load);
	}
	load->scratch = cfg_arena_free(load->scratch);
	err = load->findings.nomem ? BC_E_NOMEM : load->findings.count > 0 ? BC_E_INVALID : BC_OK;
	if (err != BC_OK) {
		load->arena = cfg_arena_free(load->arena);
		return err;
	}
	load->cfg->arena = load->arena;
	atomic_init(&load->cfg->refs, 1);
	*ret = load->cfg;
	return BC_OK;
}

enum bc_err cfg_load(const char *path, struct bc_buf *findings, struct cfg **ret)
{
	struct cfg_load load;
	enum bc_err err = begin(&load, findings);

	if (err != BC_OK) {
		return err;
	}
	cfg_read_files(&load, path);
	return finish(&load, ret);
}

enum bc_err cfg_load_text(const char *name, struct bc_span text, struct bc_buf *findings,
			  struct cfg **ret)
{
	struct cfg_load load;
	enum bc_err err = begin(&load, findings);

	if (err != BC_OK) {
		return err;
	}
	cfg_read_text(&load, name, text);
	return finish(&load, ret);
}
