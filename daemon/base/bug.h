/*
 * Checks that stay in release builds.
 *
 * A bug check is for what only a programmer can get wrong; data from outside is never bug-checked,
 * it is an error.  A failed check prints where and aborts: systemd restarts the daemon and the
 * journal recovers, which is safer than going on with a state nobody understands.
 */
#ifndef BACKCHANNEL_BASE_BUG_H
#define BACKCHANNEL_BASE_BUG_H

#include <stddef.h>
#include <stdint.h>

/* Print the failed condition and its place to stderr, then abort.  Any thread. */
_Noreturn void bc_bug(const char *file, int line, const char *condition);

#define BC_BUG_ON(condition)                                    \
	do {                                                    \
		if (__builtin_expect(!!(condition), 0)) {       \
			bc_bug(__FILE__, __LINE__, #condition); \
		}                                               \
	} while (0)

/*
 * First line of every callback that gets its object as void *: the object is there, it is of the
 * type we think, and it has not been freed (free functions clear magic).
 */
#define BC_CHECK(object, expected_magic) \
	BC_BUG_ON((object) == NULL || (object)->magic != (expected_magic))

/* A result that must be looked at. */
#define BC_MUST __attribute__((warn_unused_result))

#define BC_PRINTF(format_at, first_at) __attribute__((format(printf, format_at, first_at)))

#define BC_ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* One key for a (state, event) pair in a transition switch: equal pairs do not compile. */
#define BC_FSM_KEY(from, on) (((unsigned)(from) << 8) | (unsigned)(on))

#endif
