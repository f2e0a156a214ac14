#include "daemon/base/bug.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void bc_bug(const char *file, int line, const char *condition)
{
	/* stderr directly: the log may be what is broken. */
	(void)fprintf(stderr, "<2>bug: %s:%d: %s\n", file, line, condition);
	abort();
}
