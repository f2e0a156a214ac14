/*
 * The only place that ever holds a secret outside of the arena, which wipes itself: what is read from a file is wiped
 * here.  No message of this file contains anything but the reference, and not even that when the text is none: it may
 * be the secret itself, written in the wrong place.
 */
#include "daemon/config/secret.h"

#include "daemon/config/textfile.h"

#include <stdio.h>
#include <stdlib.h>

#define SECRET_LEN_MAX ((size_t)8192) /* bytes; longer than any key or token */

/* What a reference may name, behind its prefix. */
struct lookup {
	const struct cfg_source *source;
	const char *what;
	struct toml_place at;
	const char *reference;
};

static void refuse(const struct lookup *lookup, const char *wrong, const char *right)
{
	cfg_finding(lookup->source->findings, lookup->source->file, lookup->at,
		    "\"%s\" names %s, %s; %s", lookup->what, cfg_quoted(lookup->reference).text,
		    wrong, right);
}

static const char *behind(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) == 0 && text[len] != '\0' ? text + len : NULL;
}

bool cfg_secret_is_reference(const char *text)
{
	return behind(text, "file:") != NULL || behind(text, "env:") != NULL ||
	       behind(text, "credential:") != NULL;
}

/* Keep text, which may be any bytes, as a secret that can stand in an HTTP header. */
static bool keep(const struct lookup *lookup, struct bc_span text, struct cfg_secret *ret)
{
	if (text.len > 0 && text.ptr[text.len - 1] == '\n') {
		text.len--;
	}
	if (text.len > 0 && text.ptr[text.len - 1] == '\r') {
		text.len--;
	}
	if (text.len == 0) {
		refuse(lookup, "which is empty", "put the secret there");
		return false;
	}
	for (size_t i = 0; i < text.len; i++) {
		if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f) {
			refuse(lookup, "which holds a control character",
			       "expected one line of text");
			return false;
		}
	}
	ret->value = cfg_text_copy(lookup->source, text);
	return ret->value != NULL;
}

static bool read_file(const struct lookup *lookup, const char *path, struct cfg_secret *ret)
{
	struct bc_buf content;
	const char *wrong;
	bool kept = false;

	bc_buf_init(&content, SECRET_LEN_MAX);
	wrong = cfg_textfile_read(path, &content);
	if (wrong != NULL) {
		refuse(lookup, wrong, "expected a readable file with the secret");
	} else {
		kept = keep(lookup, bc_buf_span(&content), ret);
	}
	if (content.mem != NULL) {
		explicit_bzero(content.mem, content.cap);
	}
	bc_buf_release(&content);
	return kept;
}

static bool read_credential(const struct lookup *lookup, const char *name, struct cfg_secret *ret)
{
	const char *dir = secure_getenv("CREDENTIALS_DIRECTORY");
	struct cfg_source in_dir = *lookup->source;
	const char *path;

	if (strchr(name, '/') != NULL || strcmp(name, "..") == 0 || strcmp(name, ".") == 0) {
		refuse(lookup, "which is no name of a credential", "a name has no slash");
		return false;
	}
	if (dir == NULL) {
		refuse(lookup, "but $CREDENTIALS_DIRECTORY is not set",
		       "systemd sets it for units with LoadCredential=");
		return false;
	}
	in_dir.dir = dir;
	path = cfg_path_resolve(&in_dir, name);
	return path != NULL && read_file(lookup, path, ret);
}

static bool read_environment(const struct lookup *lookup, const char *name, struct cfg_secret *ret)
{
	const char *value = secure_getenv(name);

	if (value == NULL) {
		refuse(lookup, "which is not set", "set that environment variable");
		return false;
	}
	if (strlen(value) > SECRET_LEN_MAX) {
		refuse(lookup, "which is too long", "expected at most 8192 bytes");
		return false;
	}
	return keep(lookup, bc_span_str(value), ret);
}

/* The reference as it is printed: a relative path would mean another file elsewhere. */
static const char *printable_reference(const struct cfg_source *source, const char *reference,
				       const char *path)
{
	size_t size;
	char *absolute;

	if (path == NULL) {
		return cfg_text_copy(source, bc_span_str(reference));
	}
	size = strlen(path) + sizeof("file:");
	absolute = cfg_memory(source, size);
	if (absolute != NULL) {
		(void)snprintf(absolute, size, "file:%s", path);
	}
	return absolute;
}

bool cfg_secret_read(const struct cfg_source *source, const char *what, struct toml_place at,
		     const char *reference, struct cfg_secret *ret)
{
	struct lookup lookup = {.source = source, .what = what, .at = at, .reference = reference};
	const char *file = behind(reference, "file:");
	const char *name = behind(reference, "env:");
	struct cfg_secret secret = {0};
	const char *path = NULL;
	bool found;

	if (!cfg_secret_is_reference(reference)) {
		/* the text may be the secret itself: never repeat it */
		cfg_finding(source->findings, source->file, at,
			    "\"%s\" is no reference; expected %s", what,
			    "\"file:PATH\", \"env:NAME\" or \"credential:NAME\"");
		return false;
	}
	if (file != NULL) {
		path = cfg_path_resolve(source, file);
		found = path != NULL && read_file(&lookup, path, &secret);
	} else if (name != NULL) {
		found = read_environment(&lookup, name, &secret);
	} else {
		found = read_credential(&lookup, behind(reference, "credential:"), &secret);
	}
	if (!found) {
		return false;
	}
	secret.reference = printable_reference(source, reference, path);
	if (secret.reference == NULL) {
		return false;
	}
	*ret = secret;
	return true;
}
