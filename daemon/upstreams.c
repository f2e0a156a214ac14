#include "daemon/upstreams.h"

#include "daemon/base/log.h"
#include "daemon/base/metric.h"
#include "daemon/pace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_MAX_SIZE 65 /* of an upstream, as upstream.name in conf/options.def, with NUL */
#define VERSION       1  /* of the file */

struct known {
	char name[NAME_MAX_SIZE];
	char model[UPSTREAMS_MODEL_MAX];
	struct trait_set traits;
	bc_usec since[TRAIT__COUNT]; /* wall */
	bc_usec newest;
	struct pace pace; /* measured since the start */
};

struct upstreams {
	pthread_mutex_t lock;
	struct known known[UPSTREAMS_MAX];
	unsigned count;
	bool changed; /* and not written */
	bool urgent;  /* … and not only averages */
	bool failed;  /* to write: said once */
	char *path;   /* NULL: nothing is kept */
	char *fresh;  /* path of the file that takes its place */
};

static struct known *find(struct upstreams *upstreams, const char *name, const char *model)
{
	for (unsigned i = 0; i < upstreams->count; i++) {
		struct known *known = &upstreams->known[i];

		if (strcmp(known->name, name) == 0 && strcmp(known->model, model) == 0) {
			return known;
		}
	}
	return NULL;
}

static struct known *find_or_add(struct upstreams *upstreams, const char *name, const char *model)
{
	struct known *known = find(upstreams, name, model);

	if (known != NULL) {
		return known;
	}
	if (upstreams->count < UPSTREAMS_MAX) {
		known = &upstreams->known[upstreams->count++];
	} else {
		known = &upstreams->known[0];
		for (unsigned i = 1; i < upstreams->count; i++) {
			if (upstreams->known[i].newest < known->newest) {
				known = &upstreams->known[i];
			}
		}
	}
	memset(known, 0, sizeof(*known));
	(void)snprintf(known->name, sizeof(known->name), "%s", name);
	(void)snprintf(known->model, sizeof(known->model), "%s", model);
	trait_set_clear(&known->traits);
	return known;
}

static void set(struct known *known, enum trait trait, int32_t value, bc_usec wall)
{
	known->traits.value[trait] = value;
	known->since[trait] = wall;
	known->newest = wall > known->newest ? wall : known->newest;
}

/* ---- the file ---- */

static void read_traits(struct known *known, json_t *traits)
{
	const char *key;
	json_t *pair;

	json_object_foreach(traits, key, pair) {
		const char *text = json_string_value(json_array_get(pair, 0));
		json_int_t since = json_integer_value(json_array_get(pair, 1));
		enum trait trait;
		int32_t value;

		/* A trait of another version is none of ours. */
		if (text != NULL && trait_parse(bc_span_str(text), &trait, &value) == BC_OK &&
		    since > 0 && since < INT64_MAX / BC_USEC_PER_SEC) {
			set(known, trait, value, (bc_usec)since * BC_USEC_PER_SEC);
		}
	}
}

static bool read_all(struct upstreams *upstreams, json_t *root)
{
	size_t i;
	json_t *entry;

	if (json_integer_value(json_object_get(root, "version")) != VERSION) {
		return false;
	}
	json_array_foreach(json_object_get(root, "upstreams"), i, entry) {
		const char *name = json_string_value(json_object_get(entry, "upstream"));
		const char *model = json_string_value(json_object_get(entry, "model"));

		if (name != NULL && model != NULL && strlen(name) < NAME_MAX_SIZE &&
		    strlen(model) < UPSTREAMS_MODEL_MAX) {
			read_traits(find_or_add(upstreams, name, model),
				    json_object_get(entry, "traits"));
		}
	}
	return true;
}

static void load(struct upstreams *upstreams)
{
	json_error_t error;
	json_t *root = json_load_file(upstreams->path, JSON_REJECT_DUPLICATES, &error);

	if (root == NULL && access(upstreams->path, F_OK) != 0 && errno == ENOENT) {
		return; /* the first start */
	}
	if (root == NULL || !read_all(upstreams, root)) {
		bc_log(BC_LOG_WARNING, NULL,
		       "%s cannot be read, what was noticed of upstreams is learnt again",
		       upstreams->path);
	}
	json_decref(root);
}

static json_t *traits_json(const struct known *known)
{
	json_t *traits = json_object();
	struct bc_buf text;

	bc_buf_init(&text, 128);
	for (int i = 0; i < TRAIT__COUNT; i++) {
		bc_buf_clear(&text);
		if (known->traits.value[i] >= 0 &&
		    trait_put(&text, (enum trait)i, known->traits.value[i]) == BC_OK) {
			json_object_set_new(
				traits, trait_name((enum trait)i),
				json_pack("[s#I]", bc_buf_span(&text).ptr, (int)bc_buf_len(&text),
					  (json_int_t)(known->since[i] / BC_USEC_PER_SEC)));
		}
	}
	bc_buf_release(&text);
	return traits;
}

/* The whole file as text, heap; NULL: no memory.  Under the lock. */
static char *dump(const struct upstreams *upstreams)
{
	json_t *list = json_array();
	json_t *root;
	char *text;

	for (unsigned i = 0; i < upstreams->count; i++) {
		const struct known *known = &upstreams->known[i];

		json_array_append_new(list,
				      json_pack("{s:s,s:s,s:o}", "upstream", known->name, "model",
						known->model, "traits", traits_json(known)));
	}
	root = json_pack("{s:i,s:o}", "version", VERSION, "upstreams", list);
	text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(1));
	json_decref(root);
	return text;
}

static bool write_all(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t put = write(fd, text, len);

		if (put < 0 && errno == EINTR) {
			continue;
		}
		if (put <= 0) {
			return false;
		}
		text += put;
		len -= (size_t)put;
	}
	return true;
}

/*
 * A crash of the daemon leaves the old file or the new one; after one of the machine it may be neither, and all is learnt
 * again: not worth making callers wait for the disk.
 */
static bool replace(const struct upstreams *upstreams, const char *text)
{
	int fd = open(upstreams->fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool good = fd >= 0 && write_all(fd, text);

	if (fd >= 0) {
		good = close(fd) == 0 && good;
	}
	return good && rename(upstreams->fresh, upstreams->path) == 0;
}

static void save(struct upstreams *upstreams)
{
	char *text = NULL;
	bool good;

	(void)pthread_mutex_lock(&upstreams->lock);
	if (upstreams->changed) {
		text = dump(upstreams);
		upstreams->changed = false;
		upstreams->urgent = false;
	}
	(void)pthread_mutex_unlock(&upstreams->lock);
	if (text == NULL) {
		return;
	}
	good = replace(upstreams, text);
	if (!good && !upstreams->failed) {
		bc_log(BC_LOG_WARNING, NULL,
		       "%s cannot be written (%s), what is noticed of upstreams is lost at the end",
		       upstreams->path, strerrorname_np(errno));
	}
	upstreams->failed = !good;
	free(text);
}

void upstreams_save(struct upstreams *upstreams)
{
	bool urgent;

	(void)pthread_mutex_lock(&upstreams->lock);
	urgent = upstreams->urgent;
	(void)pthread_mutex_unlock(&upstreams->lock);
	if (urgent && upstreams->path != NULL) {
		save(upstreams);
	}
}

/* ---- life ---- */

struct upstreams *upstreams_new(const char *journal)
{
	struct upstreams *upstreams = calloc(1, sizeof(*upstreams));

	if (upstreams == NULL) {
		return NULL;
	}
	(void)pthread_mutex_init(&upstreams->lock, NULL);
	if (journal == NULL) {
		return upstreams;
	}
	if (asprintf(&upstreams->path, "%s.upstreams", journal) < 0) {
		upstreams->path = NULL;
	}
	if (asprintf(&upstreams->fresh, "%s.upstreams.new", journal) < 0) {
		upstreams->fresh = NULL;
	}
	if (upstreams->path == NULL || upstreams->fresh == NULL) {
		free(upstreams->path);
		upstreams->path = NULL;
		return upstreams_free(upstreams);
	}
	load(upstreams);
	return upstreams;
}

struct upstreams *upstreams_free(struct upstreams *upstreams)
{
	if (upstreams == NULL) {
		return NULL;
	}
	if (upstreams->path != NULL) {
		save(upstreams);
	}
	(void)pthread_mutex_destroy(&upstreams->lock);
	free(upstreams->path);
	free(upstreams->fresh);
	free(upstreams);
	return NULL;
}

/* ---- what is known ---- */

void upstreams_model(const char *query, char out[UPSTREAMS_MODEL_MAX])
{
	static const char key[] = "model=";
	const char *at = query;
	size_t len = 0;

	while (at != NULL && strncmp(at, key, sizeof(key) - 1) != 0) {
		at = strchr(at, '&');
		at += at != NULL;
	}
	at = at == NULL ? "" : at + sizeof(key) - 1;
	for (; *at != '\0' && *at != '&' && len < UPSTREAMS_MODEL_MAX - 1; at++) {
		/* As it stands in the query; it goes into lines with blanks between words. */
		out[len++] = (char)(*at > ' ' && *at < 0x7f ? *at : '_');
	}
	if (len == 0) {
		out[len++] = '-';
	}
	out[len] = '\0';
}

void upstreams_known(struct upstreams *upstreams, const char *name, const char *model,
		     bc_usec relearn_after, bc_usec wall, struct trait_set *ret)
{
	const struct known *known;

	trait_set_clear(ret);
	(void)pthread_mutex_lock(&upstreams->lock);
	known = find(upstreams, name, model);
	for (int i = 0; known != NULL && i < TRAIT__COUNT; i++) {
		if (wall - known->since[i] <= relearn_after) {
			ret->value[i] = known->traits.value[i];
		}
	}
	(void)pthread_mutex_unlock(&upstreams->lock);
}

/* One more answer has begun. */
static void note_pace(struct upstreams *upstreams, struct known *known, enum trait trait,
		      int32_t ms, bc_usec wall)
{
	int32_t was = known->traits.value[TRAIT_PARALLEL_PASSES];
	int32_t is;

	set(known, trait, pace_note(&known->pace, trait, ms), wall);
	if (trait != TRAIT_ANSWER_BESIDE) {
		return; /* what is thought is made anew only of what tells of passes, and grows old without */
	}
	is = pace_judge(&known->pace, was);
	if (is == TRAIT_UNKNOWN) {
		return;
	}
	set(known, TRAIT_PARALLEL_PASSES, is, wall);
	if (is == was) {
		return;
	}
	upstreams->urgent = true;
	bc_metric_add(BC_M_TRAITS_MISSING, is == 0);
	if (was >= 0 || is == 0) {
		bc_log(BC_LOG_WARNING, NULL,
		       "upstream=%s model=%s answers begin after %dms beside a pass and %dms alone, %s",
		       known->name, known->model, known->traits.value[TRAIT_ANSWER_BESIDE],
		       known->traits.value[TRAIT_ANSWER_ALONE],
		       is == 0 ? "beginning none while one is awaited"
			       : "beginning them at any time again");
	}
}

void upstreams_notice(struct upstreams *upstreams, const char *name, const char *model,
		      enum trait trait, int32_t value, bc_usec wall)
{
	bool averaged = trait_kind(trait) == TRAIT_IS_MS || trait_kind(trait) == TRAIT_IS_MEDIAN;
	struct known *known;

	(void)pthread_mutex_lock(&upstreams->lock);
	known = find_or_add(upstreams, name, model);
	upstreams->urgent = upstreams->urgent || !averaged;
	upstreams->changed = true;
	if (trait_kind(trait) == TRAIT_IS_MEDIAN) {
		note_pace(upstreams, known, trait, value, wall);
	} else {
		set(known, trait, value, wall);
	}
	(void)pthread_mutex_unlock(&upstreams->lock);
}

unsigned upstreams_forget(struct upstreams *upstreams, const char *name)
{
	unsigned forgotten = 0;
	unsigned i = 0;

	(void)pthread_mutex_lock(&upstreams->lock);
	while (i < upstreams->count) {
		if (strcmp(upstreams->known[i].name, name) == 0) {
			upstreams->known[i] = upstreams->known[--upstreams->count];
			forgotten++;
		} else {
			i++;
		}
	}
	upstreams->changed = upstreams->changed || forgotten > 0;
	upstreams->urgent = upstreams->changed;
	(void)pthread_mutex_unlock(&upstreams->lock);
	return forgotten;
}

/* ---- what the operator sees ---- */

/* The value the operator has set; TRAIT_UNKNOWN: none. */
static int32_t assumed(const struct cfg_upstream *upstream, enum trait wanted)
{
	int32_t found = TRAIT_UNKNOWN;

	for (size_t i = 0; upstream != NULL && i < upstream->assume.count; i++) {
		enum trait trait;
		int32_t value;

		if (trait_parse(bc_span_str(upstream->assume.items[i]), &trait, &value) == BC_OK &&
		    trait == wanted) {
			found = value;
		}
	}
	return found;
}

static enum bc_err show_trait(struct bc_buf *out, const struct cfg_upstream *upstream,
			      const struct known *known, enum trait trait, bc_usec wall)
{
	int32_t configured = assumed(upstream, trait);
	int32_t noticed = known == NULL ? TRAIT_UNKNOWN : known->traits.value[trait];
	enum bc_err err = bc_buf_put_str(out, " ");

	if (err == BC_OK) {
		err = trait_put(out, trait, configured >= 0 ? configured : noticed);
	}
	if (err != BC_OK || (configured < 0 && noticed < 0)) {
		return err;
	}
	if (configured >= 0) {
		return bc_buf_put_str(out, "(configured)");
	}
	return bc_buf_printf(out, "(noticed,%" PRId64 "s)",
			     (int64_t)((wall - known->since[trait]) / BC_USEC_PER_SEC));
}

static enum bc_err show(struct bc_buf *out, const struct cfg *cfg, const char *name,
			const struct known *known, bc_usec wall)
{
	const struct cfg_upstream *upstream = cfg_upstream_find(cfg, name);
	enum bc_err err = bc_buf_printf(out, "upstream=%s model=%s", name,
					known == NULL ? "-" : known->model);

	for (int i = 0; i < TRAIT__COUNT && err == BC_OK; i++) {
		err = show_trait(out, upstream, known, (enum trait)i, wall);
	}
	return err == BC_OK ? bc_buf_put_str(out, "\n") : err;
}

static bool is_known(const struct upstreams *upstreams, const char *name)
{
	for (unsigned i = 0; i < upstreams->count; i++) {
		if (strcmp(upstreams->known[i].name, name) == 0) {
			return true;
		}
	}
	return false;
}

enum bc_err upstreams_show(struct upstreams *upstreams, const struct cfg *cfg, bc_usec wall,
			   struct bc_buf *out)
{
	enum bc_err err = BC_OK;

	(void)pthread_mutex_lock(&upstreams->lock);
	for (unsigned i = 0; i < upstreams->count && err == BC_OK; i++) {
		err = show(out, cfg, upstreams->known[i].name, &upstreams->known[i], wall);
	}
	for (size_t i = 0; i < cfg->upstream_count && err == BC_OK; i++) {
		if (!is_known(upstreams, cfg->upstream[i].name)) {
			err = show(out, cfg, cfg->upstream[i].name, NULL, wall);
		}
	}
	(void)pthread_mutex_unlock(&upstreams->lock);
	return err;
}
