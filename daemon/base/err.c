#include "daemon/base/err.h"

#include "daemon/base/bug.h"

#include <assert.h>

static const struct {
	const char *name;
	const char *text;
	unsigned close_code;
} rows[] = {
	{"ok", "ok", 0},
#define BC_ERR(id, close_code, class, text) {#id, text, close_code},
#include "daemon/base/err.def"
};

static_assert(BC_ARRAY_LEN(rows) == BC_ERR__COUNT, "an error has no row");

const char *bc_err_text(enum bc_err err)
{
	BC_BUG_ON(err >= BC_ERR__COUNT);
	return rows[err].text;
}

const char *bc_err_name(enum bc_err err)
{
	BC_BUG_ON(err >= BC_ERR__COUNT);
	return rows[err].name;
}

unsigned bc_err_close_code(enum bc_err err)
{
	BC_BUG_ON(err >= BC_ERR__COUNT);
	return rows[err].close_code;
}
