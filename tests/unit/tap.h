/*
 * How a Check program runs: every suite the same way, with its verdicts as TAP on standard output, where meson reads
 * them.  A header alone, so that a program needs no further source for it.
 */
#ifndef BACKCHANNEL_TESTS_TAP_H
#define BACKCHANNEL_TESTS_TAP_H

#include <check.h>
#include <stdlib.h>

/*
 * Run all tests of the suite, which is freed.  Returns what main() shall return: EXIT_SUCCESS when none failed,
 * otherwise EXIT_FAILURE.  Whether each test has a process of its own is CK_FORK's to say, as Check has it.
 */
static inline int tap_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
