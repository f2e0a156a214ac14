#include "daemon/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1100

static _Atomic int level_max = BC_LOG_INFO;

void bc_log_level_set(enum bc_log_level level)
{
	atomic_store(&level_max, (int)level);
}

int bc_log_wants(enum bc_log_level level)
{
	return (int)level <= atomic_load_explicit(&level_max, memory_order_relaxed);
}

void bc_log(enum bc_log_level level, const struct bc_log_ctx *ctx, const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	va_list args;
	int prefix;
	int len;

	if (!bc_log_wants(level)) {
		return;
	}
	if (ctx != NULL && ctx->session[0] != '\0') {
		prefix = snprintf(line, sizeof(line), "<%d>session=%s ", (int)level, ctx->session);
	} else {
		prefix = snprintf(line, sizeof(line), "<%d>", (int)level);
	}
	va_start(args, format);
	len = vsnprintf(line + prefix, sizeof(line) - (size_t)prefix - 1, format, args);
	va_end(args);
	BC_BUG_ON(prefix < 0 || len < 0);
	len += prefix;
	if (len > (int)sizeof(line) - 2) {
		len = (int)sizeof(line) - 2;
	}
	for (int i = 0; i < len; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) {
			line[i] = '?';
		}
	}
	line[len++] = '\n';
	/* One write per line keeps lines of several threads whole; a full pipe loses lines, not calls. */
	if (write(STDERR_FILENO, line, (size_t)len) < 0) {
		return;
	}
}
