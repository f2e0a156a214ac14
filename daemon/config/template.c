#include "daemon/config/template.h"

#define NAME_START "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define NAME_CHARS NAME_START "0123456789"

bool cfg_placeholder_next(const char **at, struct bc_span *ret)
{
	const char *brace = *at;

	while ((brace = strchr(brace, '{')) != NULL) {
		const char *path = ++brace;
		size_t len = *path == '*' ? 1 : 0;

		if (len == 0 && *path != '\0' && strchr(NAME_START, *path) != NULL) {
			len = strspn(path, NAME_CHARS ".[]");
		}
		if (len > 0 && path[len] == '}') {
			*ret = bc_span(path, len);
			*at = path + len + 1;
			return true;
		}
	}
	return false;
}

struct bc_span cfg_placeholder_name(struct bc_span path)
{
	size_t len = 0;

	while (len < path.len && path.ptr[len] != '.' && path.ptr[len] != '[') {
		len++;
	}
	return bc_span(path.ptr, len);
}

struct bc_span cfg_placeholder_under(struct bc_span path, const char *root)
{
	size_t len = strlen(root);

	if (!bc_span_has_prefix(path, root) || path.len == len) {
		return bc_span("", 0);
	}
	if (path.ptr[len] == '.') {
		len++;
	} else if (path.ptr[len] != '[') {
		return bc_span("", 0);
	}
	return bc_span(path.ptr + len, path.len - len);
}
